//! An ONNX model as written: names kept, nothing simplified, tensors decoded.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::prepare::Plan;
use crate::data::{DType, HostTensor};

/// A decoded and validated model file.
#[derive(Clone, Debug)]
pub struct OnnxModel {
    /// The file as the user named it.
    pub file: String,
    /// Folder that holds the file (external data lies there).
    pub folder: PathBuf,
    /// SHA-256 of the very bytes that were decoded, in lower-case hex.
    pub sha256: String,
    /// External data files used, with their SHA-256, sorted by location.
    pub external: Vec<(String, String)>,
    /// IR version stated by the file.
    pub ir_version: i64,
    /// Program that wrote the file, e.g. `pytorch`, and its version.
    pub producer: (String, String),
    /// Operator set version by domain; the default domain is `""`.
    pub opsets: BTreeMap<String, i64>,
    /// The graph.
    pub graph: Graph,
    /// Model-local functions by (domain, name).
    pub functions: BTreeMap<(String, String), Function>,
    /// `training_info` entries: graph of the algorithm and its update bindings.
    pub training: Vec<Training>,
    /// Metadata of the model.
    pub metadata: Vec<(String, String)>,
    /// What kind of training graph it is; empty as decoded, see [`super::prepare`].
    pub plan: Plan,
}

impl OnnxModel {
    /// Version of the operator set of `domain`, 1 when the file imports none (as ONNX says for
    /// functions' and third-party domains).
    pub fn opset(&self, domain: &str) -> i64 {
        self.opsets.get(domain).copied().unwrap_or(1)
    }
}

/// A graph: nodes in topological order, values by name.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// Name of the graph.
    pub name: String,
    /// Nodes, operands before users (file order where that already holds).
    pub nodes: Vec<Node>,
    /// Constant tensors by name, in file order.
    pub initializers: Vec<(String, Arc<HostTensor>)>,
    /// Inputs in file order, without those that are initializers as well.
    pub inputs: Vec<ValueInfo>,
    /// Outputs in file order.
    pub outputs: Vec<ValueInfo>,
}

/// One operator application.
#[derive(Clone, Debug)]
pub struct Node {
    /// Name as written; may be empty. See [`Node::label`].
    pub name: String,
    /// Operator.
    pub op: String,
    /// Operator's domain, `""` for the default one (`ai.onnx` is normalised to it).
    pub domain: String,
    /// Version of the operator set in force for the operator.
    pub opset: i64,
    /// Operands by name; `""` for one left out.
    pub inputs: Vec<String>,
    /// Results by name; `""` for one not wanted.
    pub outputs: Vec<String>,
    /// Attributes by name.
    pub attributes: BTreeMap<String, Attribute>,
    /// Documentation string.
    pub doc: String,
    /// `metadata_props`: PyTorch's newer exporter keeps its layer names there.
    pub metadata: HashMap<String, String>,
}

impl Node {
    /// Name to show: the node's own, else its first output's.
    pub fn label(&self) -> &str {
        if self.name.is_empty() { self.outputs.iter().find(|o| !o.is_empty()).map_or("", |o| o) } else { &self.name }
    }

    /// Operator with its domain unless that is the default one.
    pub fn full_op(&self) -> String {
        if self.domain.is_empty() { self.op.clone() } else { format!("{}::{}", self.domain, self.op) }
    }

    /// The layer that the node belongs to: PyTorch's scope from the metadata
    /// (`['', 'net', 'net.bn1', 'batch_norm']` → `net.bn1`), else the node's path without its last
    /// component (`/net/bn1/BatchNormalization` → `net.bn1`), else the label.
    pub fn layer(&self) -> String {
        if let Some(scopes) = self.metadata.get("pkg.torch.onnx.name_scopes") {
            let names: Vec<&str> = scopes.split('\'').skip(1).step_by(2).filter(|s| !s.is_empty()).collect();
            // the last entry is the operation inside its module
            if let Some(module) = names.len().checked_sub(2).and_then(|i| names.get(i)) {
                return (*module).to_string();
            }
        }
        let forward = self.name.split_once("_Grad/").map_or(self.name.as_str(), |(forward, _)| forward);
        if let Some((scope, _)) = forward.trim_start_matches('/').rsplit_once('/') {
            return scope.replace('/', ".");
        }
        if forward.is_empty() { self.label().to_string() } else { forward.to_string() }
    }
}

/// The value of an attribute.
#[derive(Clone, Debug)]
pub enum Attribute {
    /// FLOAT.
    Float(f32),
    /// INT.
    Int(i64),
    /// STRING.
    Str(String),
    /// TENSOR.
    Tensor(Arc<HostTensor>),
    /// GRAPH, for control flow.
    Graph(Box<Graph>),
    /// FLOATS.
    Floats(Vec<f32>),
    /// INTS.
    Ints(Vec<i64>),
    /// STRINGS.
    Strs(Vec<String>),
    /// In a function's body: the value of the function's attribute of this name.
    Reference(String),
    /// A kind without use here (graph lists, sparse tensors, types), by name.
    Other(&'static str),
}

/// Name, element type and sizes of an input or output, as far as the file states them.
#[derive(Clone, Debug, PartialEq)]
pub struct ValueInfo {
    /// Name of the value.
    pub name: String,
    /// Element type, if it is a tensor with a stated type.
    pub dtype: Option<DType>,
    /// Sizes, if a shape is stated.
    pub dims: Option<Vec<Dim>>,
}

/// One size of a stated shape.
#[derive(Clone, Debug, PartialEq)]
pub enum Dim {
    /// A number.
    Size(usize),
    /// A name: equal names stand for equal sizes.
    Symbol(String),
    /// Nothing stated.
    Unknown,
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Dim::Size(n) => write!(f, "{n}"),
            Dim::Symbol(s) => write!(f, "{s}"),
            Dim::Unknown => write!(f, "?"),
        }
    }
}

/// A model-local function.
#[derive(Clone, Debug)]
pub struct Function {
    /// Formal operands and results.
    pub inputs: Vec<String>,
    /// Formal results.
    pub outputs: Vec<String>,
    /// Attributes without default.
    pub attributes: Vec<String>,
    /// Attributes with their defaults.
    pub defaults: BTreeMap<String, Attribute>,
    /// Body, in topological order.
    pub nodes: Vec<Node>,
    /// Operator sets of the body.
    pub opsets: BTreeMap<String, i64>,
}

/// One `TrainingInfoProto`.
#[derive(Clone, Debug)]
pub struct Training {
    /// Graph that is joined to the model's own.
    pub algorithm: Graph,
    /// (state name, name of its new value).
    pub update_binding: Vec<(String, String)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, scopes: Option<&str>) -> Node {
        Node {
            name: name.into(),
            op: "Relu".into(),
            domain: String::new(),
            opset: 17,
            inputs: vec!["x".into()],
            outputs: vec!["y".into()],
            attributes: BTreeMap::new(),
            doc: String::new(),
            metadata: scopes.map(|s| ("pkg.torch.onnx.name_scopes".to_string(), s.to_string())).into_iter().collect(),
        }
    }

    #[test]
    fn layers_come_from_scopes_then_paths_then_labels() {
        assert_eq!(node("node_relu", Some("['', 'net', 'net.act', 'relu']")).layer(), "net.act");
        assert_eq!(node("/net/conv1/Conv", None).layer(), "net.conv1");
        assert_eq!(node("/net/conv1/Conv_Grad/ConvGrad_0", None).layer(), "net.conv1");
        assert_eq!(node("Gemm_3", None).layer(), "Gemm_3");
        assert_eq!(node("", None).layer(), "y");
    }
}
