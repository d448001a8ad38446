//! How large the indices and labels among the graph's inputs may be, read off the graph.

use std::collections::HashMap;

use super::model::{Attribute, Graph, Node};
use super::objective;

/// For graph inputs that end up as labels or indices: how many classes or rows there are.
///
/// Only synthetic inputs use this; a miss costs nothing but a poorer draw.
pub fn index_bounds(graph: &Graph) -> HashMap<&str, u64> {
    let t = Trace {
        producer: producers(graph),
        shapes: graph.initializers.iter().map(|(n, t)| (n.as_str(), t.shape.as_slice())).collect(),
    };
    let mut out: HashMap<&str, u64> = HashMap::new();
    for node in &graph.nodes {
        let (index, size) = match node.op.as_str() {
            "Gather" | "GatherElements" if node.inputs.len() >= 2 => {
                let axis = match node.attributes.get("axis") {
                    Some(Attribute::Int(a)) => *a,
                    _ => 0,
                };
                let shape = t.shapes.get(t.source(&node.inputs[0]));
                let size = shape.and_then(|s| s.get(usize::try_from(axis).unwrap_or(s.len())));
                (&node.inputs[1], size.map(|&n| n as u64))
            }
            "SoftmaxCrossEntropyLoss" | "NegativeLogLikelihoodLoss" if node.inputs.len() >= 2 => {
                (&node.inputs[1], t.classes(&node.inputs[0], 0))
            }
            _ => continue,
        };
        let source = t.source(index);
        if let (Some(size), Some(info)) = (size, graph.inputs.iter().find(|v| v.name == source)) {
            let bound = out.entry(info.name.as_str()).or_insert(size);
            *bound = size.min(*bound);
        }
    }
    out
}

/// For graph inputs that a loss takes as its target: the value that they are compared with.
pub fn targets(graph: &Graph) -> HashMap<&str, &str> {
    let t = Trace { producer: producers(graph), shapes: HashMap::new() };
    let target = |n: &Node| {
        matches!(n.op.as_str(), "SoftmaxCrossEntropyLoss" | "NegativeLogLikelihoodLoss")
            || n.domain == objective::DOMAIN
    };
    let losses = graph.nodes.iter().filter(|n| target(n) && n.inputs.len() >= 2);
    losses
        .filter_map(|n| {
            let source = t.source(&n.inputs[1]);
            graph.inputs.iter().find(|i| i.name == source).map(|i| (i.name.as_str(), n.inputs[0].as_str()))
        })
        .collect()
}

fn producers(graph: &Graph) -> HashMap<&str, &Node> {
    graph.nodes.iter().flat_map(|n| n.outputs.iter().map(move |o| (o.as_str(), n))).collect()
}

struct Trace<'g> {
    producer: HashMap<&'g str, &'g Node>,
    shapes: HashMap<&'g str, &'g [usize]>,
}

impl<'g> Trace<'g> {
    /// Follows a value back through operators that only move data.
    fn source(&self, mut name: &'g str) -> &'g str {
        for _ in 0..64 {
            let Some(node) = self.producer.get(name) else { break };
            let moves = matches!(
                node.op.as_str(),
                "Identity"
                    | "Cast"
                    | "Reshape"
                    | "Squeeze"
                    | "Unsqueeze"
                    | "Flatten"
                    | "Transpose"
                    | "Slice"
                    | "Expand"
            );
            match node.inputs.first() {
                Some(from) if moves => name = from,
                _ => break,
            }
        }
        name
    }

    /// Number of classes of the scores `name`: the length of a bias or the width of the weights of
    /// the last linear operator before it.
    fn classes(&self, name: &'g str, depth: usize) -> Option<u64> {
        let node = self.producer.get(name)?;
        if depth > 16 {
            return None;
        }
        let shape = |k: usize| node.inputs.get(k).and_then(|n| self.shapes.get(self.source(n))).copied();
        let size = match node.op.as_str() {
            "Gemm" | "Conv" if shape(2).is_some() => shape(2).and_then(|s| s.last()),
            "Conv" => shape(1).and_then(|s| s.first()),
            "Gemm" if matches!(node.attributes.get("transB"), Some(Attribute::Int(1))) => {
                shape(1).and_then(|s| s.first())
            }
            "MatMul" | "Gemm" => shape(1).and_then(|s| s.last()),
            "Add" => [0, 1].into_iter().filter_map(shape).filter(|s| s.len() == 1).find_map(|s| s.last()),
            _ => None,
        };
        size.map(|&n| n as u64).or_else(|| node.inputs.first().and_then(|from| self.classes(from, depth + 1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{DType, HostTensor};
    use crate::import::model::ValueInfo;
    use std::collections::BTreeMap;
    use std::sync::Arc;

    #[test]
    fn labels_and_tokens_get_their_ranges() {
        let node = |op: &str, inputs: &[&str], output: &str| Node {
            name: String::new(),
            op: op.into(),
            domain: String::new(),
            opset: 17,
            inputs: inputs.iter().map(|s| s.to_string()).collect(),
            outputs: vec![output.into()],
            attributes: BTreeMap::new(),
            doc: String::new(),
            metadata: HashMap::new(),
        };
        let tensor = |shape: Vec<usize>| {
            let n = shape.iter().product();
            Arc::new(HostTensor::f32(shape, vec![0.0; n]))
        };
        let input = |name: &str| ValueInfo { name: name.into(), dtype: Some(DType::I64), dims: None };
        let g = Graph {
            nodes: vec![
                node("Cast", &["ids"], "ids32"),
                node("Gather", &["table", "ids32"], "e"),
                node("Gemm", &["e", "w", "b"], "h"),
                node("Relu", &["h"], "scores"),
                node("SoftmaxCrossEntropyLoss", &["scores", "y"], "loss"),
            ],
            initializers: vec![
                ("table".into(), tensor(vec![50, 8])),
                ("w".into(), tensor(vec![8, 7])),
                ("b".into(), tensor(vec![7])),
            ],
            inputs: vec![input("ids"), input("y"), input("mask")],
            ..Default::default()
        };
        assert_eq!(index_bounds(&g), HashMap::from([("ids", 50), ("y", 7)]));
    }
}
