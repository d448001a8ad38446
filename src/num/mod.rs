//! Numbers: magnitudes that round up, formats, elementary kernels, balls.

pub mod mag;

pub use mag::Mag;
