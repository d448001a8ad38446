//! From files to the graph: the only place that knows ONNX.
//!
//! [`read`] decodes a model as written ([`OnnxModel`]); [`prepare`] finds out what kind of training
//! graph it is; [`Inputs`] brings values for its inputs; [`lower`] makes a RevGraph of what the outputs need.

pub mod checkpoint;
pub mod crosscheck;
pub mod decode;
pub mod hints;
pub mod index;
pub mod inline;
pub mod inputs;
pub mod lower;
pub mod model;
pub mod objective;
pub mod overlay;
pub mod prepare;
pub mod random;
pub mod rename;
pub mod safetensors;
pub mod sort;
pub mod synthetic;
pub mod tensor;
pub mod value;
pub mod viewer;
pub mod weights;

pub use decode::read;
pub use inputs::{Inputs, Source};
pub use lower::lower;
pub use model::OnnxModel;
pub use objective::Objective;
pub use prepare::{Plan, Preparation, open};
pub use value::{Cotangent, LeafInfo, Lowered, Note, Options, Pair, Seed, Stated};
