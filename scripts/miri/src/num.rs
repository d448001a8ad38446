//! The tool's own files.

#[path = "../../../src/num/format.rs"]
pub mod format;
#[path = "../../../src/num/interval.rs"]
pub mod interval;
#[path = "../../../src/num/lemma.rs"]
pub mod lemma;
#[path = "../../../src/num/mag.rs"]
pub mod mag;
#[path = "../../../src/num/matmul/mod.rs"]
pub mod matmul;
#[path = "../../../src/num/parallel.rs"]
pub mod parallel;
#[path = "../../../src/num/reduce.rs"]
pub mod reduce;

pub use format::Format;
pub use interval::Interval;
pub use mag::Mag;
