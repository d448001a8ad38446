//! certify proves how far a model's binary32 gradients are from the true ones.

pub mod certificate;
pub mod error;
pub mod num;
pub mod output;
pub mod report;
