//! What tract's protobuf schema lacks, decoded from the same bytes.
//!
//! Types of inputs that aren't tensors, which are refused. `NodeProto.metadata_props` (field 9) holds the layer names of PyTorch's newer exporter, and
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
    /// Inputs in file order.
    #[prost(message, repeated, tag = "11")]
    pub inputs: Vec<Value>,
}

/// `ValueInfoProto`: name and type.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Value {
    /// Name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Type.
    #[prost(message, optional, tag = "2")]
    pub kind: Option<Kind>,
}

/// `TypeProto`: the types that aren't dense tensors.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Kind {
    /// A sequence.
    #[prost(bytes, optional, tag = "4")]
    pub sequence: Option<Vec<u8>>,
    /// A map.
    #[prost(bytes, optional, tag = "5")]
    pub map: Option<Vec<u8>>,
    /// A sparse tensor.
    #[prost(bytes, optional, tag = "8")]
    pub sparse: Option<Vec<u8>>,
    /// An optional value.
    #[prost(bytes, optional, tag = "9")]
    pub optional: Option<Vec<u8>>,
}

impl Kind {
    /// What it is called, if it is one of these.
    pub fn name(&self) -> Option<&'static str> {
        let all = [
            (&self.sequence, "sequence"),
            (&self.map, "map"),
            (&self.sparse, "sparse tensor"),
            (&self.optional, "optional"),
        ];
        all.into_iter().find(|(k, _)| k.is_some()).map(|(_, name)| name)
    }
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
