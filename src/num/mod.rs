//! Numbers: magnitudes that round up, intervals, balls, formats, and the binary32 kernels.

pub mod arith;
pub mod ball;
pub mod elementary;
pub mod environment;
pub mod format;
pub mod function;
pub mod interval;
pub mod lemma;
pub mod literal;
pub mod mag;
pub mod matmul;
pub mod parallel;
pub mod pieces;
pub mod reduce;
pub mod rounded;
mod sliced;
#[cfg(test)]
mod unsound;

pub use arith::{Arith, Ties};
pub use ball::{Ball, Balls};
pub use format::Format;
pub use function::Elementary;
pub use interval::Interval;
pub use literal::{Literal, Tracked};
pub use mag::Mag;
pub use pieces::{Pieces, Steps};
pub use rounded::Rounded;
