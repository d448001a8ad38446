//! What tract's protobuf schema lacks, decoded from the same bytes.
//!
//! `NodeProto.metadata_props` (field 9) holds the layer names of PyTorch's newer exporter, and
//! `FunctionProto.attribute_proto` (field 11) the defaults of a function's attributes. Field numbers:
//! `onnx.proto` of ONNX 1.17.

use tract_onnx::pb;

/// `ModelProto`, only what is added.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Model {
    /// The graph.
    #[prost(message, optional, tag = "7")]
    pub graph: Option<Graph>,
    /// The local functions, in file order.
    #[prost(message, repeated, tag = "25")]
    pub functions: Vec<Function>,
}

/// `GraphProto`, only what is added.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Graph {
    /// Nodes in file order.
    #[prost(message, repeated, tag = "1")]
    pub nodes: Vec<Node>,
}

/// `NodeProto`, only what is added.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Node {
    /// Named strings.
    #[prost(message, repeated, tag = "9")]
    pub metadata: Vec<pb::StringStringEntryProto>,
}

/// `FunctionProto`, only what is added.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Function {
    /// Body in file order.
    #[prost(message, repeated, tag = "7")]
    pub nodes: Vec<Node>,
    /// Attributes with defaults.
    #[prost(message, repeated, tag = "11")]
    pub defaults: Vec<pb::AttributeProto>,
}
