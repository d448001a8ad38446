//! Local functions, inlined: every call is replaced by the function's body.

use std::collections::{BTreeMap, HashMap};

use super::model::{Attribute, Function, Node, OnnxModel};
use super::rename::Renaming;
use crate::error::{Code, Diagnostic, Diagnostics};

/// Calls inside calls may be nested so deep; deeper ones are likely endless.
const MAX_DEPTH: usize = 32;
/// The graph may grow to so many nodes.
const MAX_NODES: usize = super::decode::MAX_NODES;

/// Replaces all calls of local functions, those in subgraphs included.
pub fn functions(model: &mut OnnxModel) -> Result<(), Diagnostics> {
    if model.functions.is_empty() {
        return Ok(());
    }
    let nodes = std::mem::take(&mut model.graph.nodes);
    model.graph.nodes = all(&model.functions, nodes, 0).map_err(|d| d.file(&model.file))?;
    Ok(())
}

type Functions = BTreeMap<(String, String), Function>;

fn all(functions: &Functions, nodes: Vec<Node>, depth: usize) -> Result<Vec<Node>, Diagnostic> {
    let mut out = Vec::new();
    for node in nodes {
        call(functions, node, &mut out, depth)?;
    }
    Ok(out)
}

fn call(functions: &Functions, mut node: Node, out: &mut Vec<Node>, depth: usize) -> Result<(), Diagnostic> {
    let Some(f) = functions.get(&(node.domain.clone(), node.op.clone())) else {
        for value in node.attributes.values_mut() {
            if let Attribute::Graph(g) = value {
                g.nodes = all(functions, std::mem::take(&mut g.nodes), depth)?;
            }
        }
        out.push(node);
        return Ok(());
    };
    if depth >= MAX_DEPTH || out.len() > MAX_NODES {
        let what = format!("local functions call each other more than {MAX_DEPTH} deep, or grow too large");
        return Err(Diagnostic::new(Code::Limit, what).node(node.label(), node.full_op(), node.opset));
    }
    // formal names → actual ones; results that nobody wants, and inner values, get names of their own
    let mut names: HashMap<&str, String> = HashMap::new();
    for (k, formal) in f.inputs.iter().enumerate() {
        names.insert(formal, node.inputs.get(k).cloned().unwrap_or_default());
    }
    for (k, formal) in f.outputs.iter().enumerate() {
        let own = !f.inputs.contains(formal);
        if let Some(actual) = node.outputs.get(k).filter(|o| own && !o.is_empty()) {
            names.insert(formal, actual.clone());
        }
    }
    let label = node.label().to_string();
    let value = |name: &str| names.get(name).cloned().unwrap_or_else(|| format!("{label}/{name}"));
    let attribute = |name: &str| node.attributes.get(name).or_else(|| f.defaults.get(name)).cloned();
    let renaming = Renaming { value: &value, attribute: Some(&attribute) };
    for inner in &f.nodes {
        let mut made = renaming.node(inner);
        made.name = format!("{label}/{}", inner.label());
        made.metadata = node.metadata.clone();
        made.metadata.extend(inner.metadata.clone());
        call(functions, made, out, depth + 1)?;
    }
    // a result that is an operand itself
    for (k, formal) in f.outputs.iter().enumerate() {
        let actual = node.outputs.get(k).filter(|o| !o.is_empty());
        let (Some(actual), Some(j)) = (actual, f.inputs.iter().position(|i| i == formal)) else { continue };
        let opset = f.opsets.get("").copied().unwrap_or(node.opset);
        out.push(Node {
            name: format!("{label}/{formal}"),
            op: "Identity".into(),
            domain: String::new(),
            opset,
            inputs: vec![node.inputs.get(j).cloned().unwrap_or_default()],
            outputs: vec![actual.clone()],
            attributes: BTreeMap::new(),
            doc: String::new(),
            metadata: HashMap::new(),
        });
    }
    Ok(())
}
