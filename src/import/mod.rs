//! From files to the graph: the only place that knows ONNX.
//!
//! [`read`] decodes a model as written ([`OnnxModel`]); [`Inputs`] brings values for its inputs;
//! [`lower`] makes a RevGraph of what the outputs need.

pub mod crosscheck;
pub mod decode;
pub mod hints;
pub mod index;
pub mod inputs;
pub mod lower;
pub mod model;
pub mod overlay;
pub mod random;
pub mod sort;
pub mod tensor;
pub mod value;

pub use decode::read;
pub use inputs::{Inputs, Source};
pub use lower::lower;
pub use model::OnnxModel;
pub use value::{Cotangent, LeafInfo, Lowered, Note, Options, Seed};
