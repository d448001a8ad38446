//! What lowering is asked for and what it hands back; which constants count as parameters.

use std::rc::Rc;
use std::sync::Arc;

use super::model::Node;
use crate::data::{DType, HostTensor};
use crate::ir::{LeafKind, Tensor, ValueId};
use crate::ops::RevGraph;

/// What to differentiate, and with respect to what.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Graph outputs to keep; empty for all.
    pub outputs: Vec<String>,
    /// What is put on the outputs.
    pub seed: Seed,
    /// Leaves whose name matches one of these patterns are parameters, whatever the rule says.
    pub params: Vec<String>,
    /// Leaves whose name matches one of these (and none of `params`) are not.
    pub freeze: Vec<String>,
    /// Seed for the masks and random numbers that the graph draws; none: drawing is refused.
    pub draw: Option<u64>,
    /// Masks and random numbers by name (see [`Lowered::drawn`]), used instead of drawing.
    pub drawn: Vec<(String, HostTensor)>,
}

/// The cotangents that are put on the outputs.
#[derive(Clone, Debug, Default)]
pub enum Seed {
    /// 1 on the only output, which must be a scalar.
    #[default]
    Loss,
    /// The graph is only run forward.
    None,
    /// These, by output name.
    Given(Vec<(String, Cotangent)>),
}

/// The cotangent of one output.
#[derive(Clone, Debug)]
pub enum Cotangent {
    /// 1 everywhere.
    Ones,
    /// This tensor, of the output's shape.
    Tensor(HostTensor),
}

/// A graph, and how it answers to the ONNX file.
#[derive(Clone, Debug)]
pub struct Lowered {
    /// The graph.
    pub graph: RevGraph,
    /// Floating-point outputs by their ONNX name.
    pub outputs: Vec<(String, ValueId)>,
    /// Integer and boolean outputs: known exactly before the run.
    pub exact_outputs: Vec<(String, Arc<HostTensor>)>,
    /// Cotangents by output: name, value, tensor.
    pub seeds: Vec<(String, ValueId, Tensor)>,
    /// Every leaf of the graph with the reason for its kind, in the order of their ids.
    pub leaves: Vec<LeafInfo>,
    /// What the user should know about this file.
    pub notes: Vec<Note>,
    /// Gradients that the file computes itself, those that the graph holds.
    pub stated: Vec<Stated>,
    /// Values and what the file says are their cotangents, in the order of the file's nodes.
    pub pairs: Vec<Pair>,
    /// Masks and random numbers that were drawn or given, by name: part of the input.
    pub drawn: Vec<(String, HostTensor)>,
}

/// A gradient that the file computes itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Stated {
    /// The parameter.
    pub parameter: String,
    /// Its leaf; `None` where no output depends on it.
    pub leaf: Option<ValueId>,
    /// The file's tensor, one of the outputs.
    pub tensor: String,
    /// Its value in the graph.
    pub gradient: ValueId,
}

/// A value, and the tensor that the file computes as its cotangent.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// The value.
    pub value: ValueId,
    /// What the file says is its cotangent.
    pub cotangent: ValueId,
    /// That tensor's name.
    pub tensor: String,
    /// The node that computes it, and its operator.
    pub node: String,
    /// Its operator.
    pub op: String,
}

impl Lowered {
    /// The parameters by name.
    pub fn parameters(&self) -> impl Iterator<Item = (&str, ValueId)> {
        self.leaves.iter().filter(|l| l.kind == LeafKind::Parameter).map(|l| (l.name.as_str(), l.id))
    }
}

/// A leaf and why it is what it is.
#[derive(Clone, Debug, PartialEq)]
pub struct LeafInfo {
    /// Its id.
    pub id: ValueId,
    /// Its ONNX name.
    pub name: String,
    /// What it stands for.
    pub kind: LeafKind,
    /// Why, in a few words.
    pub reason: &'static str,
    /// Its sizes.
    pub shape: Vec<usize>,
    /// The layer of the first node that reads it.
    pub layer: String,
}

/// Something that the user should know, though it stops nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// A claim of the file is likely not what its author meant: shown loudly.
    pub warning: bool,
    /// What.
    pub what: String,
    /// Names of the nodes it is about.
    pub nodes: Vec<String>,
}

/// Where an ONNX value comes from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// A graph input.
    Input,
    /// An initializer.
    Initializer,
    /// The tensor of a Constant node.
    ConstantNode,
    /// Exact import-time data: integers, truth values, and floats made from them without rounding.
    Exact,
    /// Floats computed at import time. Only integers derive from them; if the graph needs the value,
    /// the node is lowered after all, so that its rounding counts.
    Folded(Rc<Node>),
    /// A value of the graph.
    Computed,
    /// A sequence of tensors, by their names.
    Sequence(Vec<String>),
    /// Its node has been refused; users are passed over in silence.
    Refused,
}

/// An ONNX value while lowering: import-time data, a value of the graph, or both.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    pub source: Source,
    pub host: Option<Arc<HostTensor>>,
    pub graph: Option<ValueId>,
    /// The graph value stands for this type, BOOL (as 0 or 1) or an integer: what comparisons, casts and
    /// indices of maxima make of floating-point data.
    pub held: Option<DType>,
}

/// Names of the roles that keep a float tensor from being trained, by the operand it is used as.
pub(crate) fn role(op: &str, operand: usize) -> Option<&'static str> {
    Some(match (op, operand) {
        ("BatchNormalization", 3 | 4) => "running statistics of a batch normalization",
        ("Dropout", 1) => "ratio of a dropout",
        ("SoftmaxCrossEntropyLoss" | "NegativeLogLikelihoodLoss", 2) => "class weights of a loss",
        _ => return None,
    })
}

/// Operands that are weights as a rule.
pub(crate) fn weight(op: &str, operand: usize) -> bool {
    match op {
        "MatMul" | "Gemm" | "Conv" | "ConvTranspose" => operand == 1,
        // of the input, of the state, and biases
        "RNN" | "GRU" | "LSTM" => (1..=3).contains(&operand),
        _ => false,
    }
}

/// Is a float constant that the graph reads trained? Returns the kind and the reason.
///
/// The rule, in order: a role that is never trained; scalars of Constant nodes and of PyTorch's
/// newer exporter (it stores folded constants as initializers of rank 0), and other constants that it has
/// folded, unless they are the weight of a layer, transposed; all others are.
pub(crate) fn trained(
    source: &Source,
    name: &str,
    tensor: &HostTensor,
    role: Option<&'static str>,
    weight: bool,
    dynamo: bool,
) -> (LeafKind, &'static str) {
    if let Some(role) = role {
        return (LeafKind::Constant, role);
    }
    match source {
        Source::ConstantNode if tensor.len() <= 1 => (LeafKind::Constant, "scalar of a Constant node"),
        Source::ConstantNode => (LeafKind::Parameter, "float tensor of a Constant node"),
        Source::Initializer if dynamo && tensor.shape.is_empty() => {
            (LeafKind::Constant, "scalar constant stored by PyTorch's exporter")
        }
        Source::Initializer if dynamo && folded_name(name) && weight => {
            (LeafKind::Parameter, "weight folded by PyTorch's exporter")
        }
        Source::Initializer if dynamo && folded_name(name) => {
            (LeafKind::Constant, "constant folded by PyTorch's exporter")
        }
        Source::Initializer => (LeafKind::Parameter, "float initializer"),
        Source::Input => (LeafKind::Input, "graph input"),
        _ => (LeafKind::Constant, "computed at import time"),
    }
}

/// `val_11`, `scalar_tensor_default`, `_tensor_constant0`, `lifted_tensor_3`: names that PyTorch's
/// newer exporter gives to constants it has folded or lifted, never to parameters.
pub(crate) fn folded_name(name: &str) -> bool {
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    name.strip_prefix("val_").is_some_and(digits)
        || name.starts_with("scalar_tensor_default")
        || name.contains("_tensor_constant")
        || name.contains("lifted_tensor")
}

/// Does a name match a pattern of literal characters, `*` (any text) and `?` (any one character)?
pub fn matches(pattern: &str, name: &str) -> bool {
    let (p, n): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut i, mut j) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while j < n.len() {
        match p.get(i) {
            Some('*') => {
                star = Some((i, j));
                i += 1;
            }
            Some(&c) if c == '?' || c == n[j] => {
                i += 1;
                j += 1;
            }
            _ => match star {
                Some((s, from)) => {
                    star = Some((s, from + 1));
                    (i, j) = (s + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    p[i..].iter().all(|&c| c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_like_a_shell() {
        for (p, n, want) in [
            ("*", "", true),
            ("net.*.weight", "net.fc1.weight", true),
            ("net.*.weight", "net.fc1.bias", false),
            ("*1*", "fc1.weight", true),
            ("fc?.bias", "fc12.bias", false),
            ("a*b*c", "aXbYbZc", true),
            ("fc1", "fc1.weight", false),
        ] {
            assert_eq!(matches(p, n), want, "{p} {n}");
        }
    }

    #[test]
    fn what_is_trained_and_why() {
        let scalar = HostTensor::f32(vec![], vec![1.0]);
        let vector = HostTensor::f32(vec![2], vec![1.0, 2.0]);
        let kind = |s: &Source, n: &str, t: &HostTensor, r, d| trained(s, n, t, r, false, d).0;
        assert_eq!(trained(&Source::Initializer, "val_7", &vector, None, true, true).0, LeafKind::Parameter);
        assert_eq!(kind(&Source::Initializer, "w", &vector, None, false), LeafKind::Parameter);
        assert_eq!(kind(&Source::Initializer, "scale", &scalar, None, false), LeafKind::Parameter);
        assert_eq!(kind(&Source::Initializer, "scale", &scalar, None, true), LeafKind::Constant);
        assert_eq!(kind(&Source::Initializer, "val_7", &vector, None, true), LeafKind::Constant);
        assert_eq!(kind(&Source::Initializer, "val_7x", &vector, None, true), LeafKind::Parameter);
        assert_eq!(kind(&Source::ConstantNode, "c", &vector, None, false), LeafKind::Parameter);
        assert_eq!(kind(&Source::ConstantNode, "c", &scalar, None, false), LeafKind::Constant);
        assert_eq!(kind(&Source::Initializer, "m", &vector, role("BatchNormalization", 3), false), LeafKind::Constant);
        assert_eq!(kind(&Source::Input, "x", &vector, None, false), LeafKind::Input);
    }
}
