//! Local functions, inlined: every call is replaced by the function's body.

use std::collections::{BTreeMap, HashMap};

use super::model::{Attribute, Function, Node, OnnxModel};
use crate::error::{Code, Diagnostic, Diagnostics};

/// Calls inside calls may be nested so deep; deeper ones are likely endless.
const MAX_DEPTH: usize = 32;
/// The graph may grow to so many nodes.
const MAX_NODES: usize = super::decode::MAX_NODES;

/// Replaces all calls of local functions.
pub fn functions(model: &mut OnnxModel) -> Result<(), Diagnostics> {
    if model.functions.is_empty() {
        return Ok(());
    }
    let mut out = Vec::new();
    let nodes = std::mem::take(&mut model.graph.nodes);
    let mut opsets = model.opsets.clone();
    for node in nodes {
        call(&model.functions, &mut opsets, node, &mut out, 0).map_err(|d| d.file(&model.file))?;
    }
    model.graph.nodes = out;
    model.opsets = opsets;
    Ok(())
}

fn call(
    functions: &BTreeMap<(String, String), Function>,
    opsets: &mut BTreeMap<String, i64>,
    node: Node,
    out: &mut Vec<Node>,
    depth: usize,
) -> Result<(), Diagnostic> {
    let Some(f) = functions.get(&(node.domain.clone(), node.op.clone())) else {
        out.push(node);
        return Ok(());
    };
    let place = |code, what: String| Diagnostic::new(code, what).node(node.label(), node.full_op(), 1);
    if depth >= MAX_DEPTH || out.len() > MAX_NODES {
        return Err(place(
            Code::Limit,
            format!("local functions call each other more than {MAX_DEPTH} deep, or grow too large"),
        ));
    }
    for (domain, &version) in &f.opsets {
        match opsets.get(domain) {
            Some(&v) if v != version && f.nodes.iter().any(|n| n.domain == *domain) => {
                let what =
                    format!("the function is written for operator set {version} of \"{domain}\", the model for {v}");
                return Err(place(Code::Unsupported, what));
            }
            Some(_) => {}
            None => {
                opsets.insert(domain.clone(), version);
            }
        }
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
    let rename = |name: &String| match names.get(name.as_str()) {
        _ if name.is_empty() => String::new(),
        Some(actual) => actual.clone(),
        None => format!("{label}/{name}"),
    };
    for inner in &f.nodes {
        let mut attributes = BTreeMap::new();
        for (key, value) in &inner.attributes {
            match value {
                Attribute::Reference(outer) => {
                    if let Some(v) = node.attributes.get(outer).or_else(|| f.defaults.get(outer)) {
                        attributes.insert(key.clone(), v.clone());
                    }
                }
                Attribute::Graph(_) => return Err(place(Code::Unsupported, "a local function with a subgraph".into())),
                other => {
                    attributes.insert(key.clone(), other.clone());
                }
            }
        }
        let mut metadata = node.metadata.clone();
        metadata.extend(inner.metadata.clone());
        let made = Node {
            name: format!("{label}/{}", inner.label()),
            op: inner.op.clone(),
            domain: inner.domain.clone(),
            inputs: inner.inputs.iter().map(rename).collect(),
            outputs: inner.outputs.iter().map(rename).collect(),
            attributes,
            doc: inner.doc.clone(),
            metadata,
        };
        call(functions, opsets, made, out, depth + 1)?;
    }
    // a result that is an operand itself
    for (k, formal) in f.outputs.iter().enumerate() {
        let actual = node.outputs.get(k).filter(|o| !o.is_empty());
        let (Some(actual), Some(j)) = (actual, f.inputs.iter().position(|i| i == formal)) else { continue };
        out.push(Node {
            name: format!("{label}/{formal}"),
            op: "Identity".into(),
            domain: String::new(),
            inputs: vec![node.inputs.get(j).cloned().unwrap_or_default()],
            outputs: vec![actual.clone()],
            attributes: BTreeMap::new(),
            doc: String::new(),
            metadata: HashMap::new(),
        });
    }
    Ok(())
}
