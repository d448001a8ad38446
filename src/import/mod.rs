//! From files to the graph: the only place that knows ONNX.
//!
//! [`read`] decodes a model as written ([`OnnxModel`]); [`Inputs`] brings values for its inputs.

pub mod decode;
pub mod hints;
pub mod inputs;
pub mod model;
pub mod overlay;
pub mod random;
pub mod sort;
pub mod tensor;

pub use decode::read;
pub use inputs::{Inputs, Source};
pub use model::OnnxModel;
