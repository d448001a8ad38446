//! Numbers: magnitudes that round up, formats, elementary kernels, balls.

pub mod elementary;
pub mod environment;
pub mod mag;
pub mod matmul;
pub mod reduce;

pub use mag::Mag;
