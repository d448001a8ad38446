//! At which layer an error enters: activations and cotangents against the enclosures, in the order of
//! the execution.

use serde::{Deserialize, Serialize};

use super::compare::with_intervals;
use super::tensors::{Given, GivenTensor};
use crate::certificate::{Enclosure, NEAREST, Num, Policy, Status, correct_digits, judge};
use crate::ir::ValueId;
use crate::num::Interval;
use crate::session::Loaded;
use crate::spec::Exact;

/// Prefix of keys that name the cotangent of a value.
pub const COTANGENT: &str = "grad:";

/// One activation or cotangent that was compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerCheck {
    /// The key in the file: a value's name, or `grad:` and a value's name.
    pub name: String,
    /// `forward` or `backward`.
    pub pass: String,
    /// The ONNX node that makes the value.
    pub node: String,
    /// Its operator.
    pub op: String,
    /// Encloses the largest |given − spec|; `None` when an entry isn't finite or the shape is another.
    pub observed: Option<Enclosure>,
    /// Correct digits, relative to the largest exact entry.
    pub correct_digits: Num,
    /// Largest error allowed: `max_rel` of the policy times the largest exact entry.
    pub limit: Num,
    /// Within it?
    pub verdict: Status,
}

/// A key that names a value of the graph, and whether its cotangent is meant.
pub fn value_of(loaded: &Loaded, key: &str) -> Option<(ValueId, bool)> {
    let graph = &loaded.lowered.graph;
    let find = |name: &str| (0..graph.len() as u32).rev().map(ValueId).find(|&v| graph.name(v) == name);
    match key.strip_prefix(COTANGENT) {
        Some(name) => find(name).map(|v| (v, true)),
        None => find(key).map(|v| (v, false)),
    }
}

/// Compares all values and cotangents that the file has: forward in the order of execution, then
/// backward in the order of the backward pass.
pub fn compare(loaded: &Loaded, exact: &Exact, given: &Given, policy: &Policy) -> Vec<LayerCheck> {
    let parameter = |name: &str| loaded.lowered.parameters().any(|(p, _)| p == name);
    let mut found: Vec<((bool, i64), LayerCheck)> = Vec::new();
    for (key, tensor) in given.tensors.iter().filter(|(k, _)| !parameter(k)) {
        let Some((v, backward)) = value_of(loaded, key) else { continue };
        let spec =
            if backward { exact.cotangents[v.index()].as_deref() } else { Some(exact.values[v.index()].as_slice()) };
        let order = if backward { -i64::from(v.0) } else { i64::from(v.0) };
        found.push(((backward, order), one(loaded, key, v, backward, tensor, spec, policy)));
    }
    found.sort_by_key(|(order, _)| *order);
    found.into_iter().map(|(_, l)| l).collect()
}

fn one(
    loaded: &Loaded,
    key: &str,
    v: ValueId,
    backward: bool,
    tensor: &GivenTensor,
    spec: Option<&[Interval]>,
    policy: &Policy,
) -> LayerCheck {
    let graph = &loaded.lowered.graph;
    let (node, op) = graph.node(v).map_or(("", ""), |n| {
        let o = &graph.origins()[n.origin];
        (o.node.as_str(), o.op.as_str())
    });
    let zero;
    let spec = match spec {
        Some(s) => s,
        None => {
            zero = vec![Interval::ZERO; graph.shape(v).iter().product()];
            &zero
        }
    };
    let fits = tensor.shape == graph.shape(v);
    let c = fits.then(|| with_intervals(&tensor.data, spec));
    let norm = c.as_ref().map_or(Enclosure::ZERO, |c| c.norm);
    let observed = c.as_ref().and_then(|c| c.observed);
    let asked = policy.asked(&[key, node]).max_rel.map_or(policy.limits.max_rel, Num::get);
    let limit = (asked * norm.lo()).max(NEAREST);
    LayerCheck {
        name: key.into(),
        pass: if backward { "backward" } else { "forward" }.into(),
        node: node.into(),
        op: op.into(),
        observed,
        correct_digits: Num::of(observed.map_or(0.0, |o| correct_digits(o, norm))),
        limit: Num::new(limit).unwrap_or(Num::ZERO),
        verdict: observed.map_or(Status::Fail, |o| judge(o, limit)),
    }
}

/// The layer at which the error enters, in words; `None` when all that was compared is right.
pub fn entry(layers: &[LayerCheck]) -> Option<String> {
    let k = layers.iter().position(|l| l.verdict == Status::Fail)?;
    let bad = &layers[k];
    let made =
        if bad.node.is_empty() { "given from outside".into() } else { format!("node \"{}\", {}", bad.node, bad.op) };
    let before = layers[..k].iter().rev().find(|l| l.pass == bad.pass);
    let since = match before {
        Some(b) => format!("the one before it, \"{}\", is right", b.name),
        None => "nothing before it was given".into(),
    };
    Some(format!(
        "the error enters in the {} pass at \"{}\" ({made}), {} correct digits; {since}",
        bad.pass,
        bad.name,
        bad.correct_digits.get()
    ))
}
