//! The exact pass: enclosures of all values and cotangents, and the textbook walk they share with the
//! reference runtime and the literal rung.

pub mod exact;
pub mod growth;
pub mod journal;
pub mod textbook;

pub use exact::{Arithmetic, Exact, exact, exact_with};
pub use journal::Journal;
