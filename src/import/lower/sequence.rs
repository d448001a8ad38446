//! Sequences of tensors: lists of names, known before the run.

use super::call::{Call, Done, Problem, invalid, unsupported};
use crate::data::HostTensor;
use crate::import::index::axis;
use crate::import::model::{Attribute, Node};
use crate::import::value::{Source, Value};
use std::collections::BTreeMap;

impl Call<'_, '_> {
    /// Names of the members of operand k.
    fn members(&self, k: usize) -> Result<Vec<String>, Problem> {
        let name = self.operand(k)?;
        match &self.low.value(&name)?.source {
            Source::Sequence(list) => Ok(list.clone()),
            _ => Err(invalid(format!("operand {k} (\"{name}\") isn't a sequence"))),
        }
    }

    fn set_members(&mut self, list: Vec<String>) {
        if let Some(name) = self.node.outputs.first().filter(|n| !n.is_empty()).cloned() {
            let source = Source::Sequence(list);
            self.low.values.insert(name, Value { source, host: None, graph: None, held: None });
        }
    }

    /// Operand k as a place among n (with `end`: or after the last).
    fn position(&self, k: usize, n: usize, end: bool) -> Result<usize, Problem> {
        let i = self.known_ints(k)?.first().copied().ok_or_else(|| invalid("no position"))?;
        let at = if i < 0 { i + n as i64 } else { i };
        let at = usize::try_from(at).ok().filter(|&p| p < n || (end && p == n));
        at.ok_or_else(|| invalid(format!("position {i} of a sequence of {n}")))
    }

    /// Another node in this one's place.
    fn instead(&self, op: &str, inputs: Vec<String>, outputs: Vec<String>, attributes: &[(&str, i64)]) -> Node {
        let attributes = attributes.iter().map(|(n, v)| (n.to_string(), Attribute::Int(*v)));
        Node {
            op: op.into(),
            domain: String::new(),
            opset: 13,
            inputs,
            outputs,
            attributes: attributes.collect::<BTreeMap<_, _>>(),
            ..(*self.node).clone()
        }
    }
}

/// SequenceEmpty and SequenceConstruct.
pub(super) fn construct(c: &mut Call) -> Done {
    let list = (0..c.operands()).map(|k| c.operand(k)).collect::<Result<Vec<_>, _>>()?;
    list.iter().try_for_each(|name| c.low.value(name).map(|_| ()))?;
    c.set_members(list);
    Ok(())
}

pub(super) fn at(c: &mut Call) -> Done {
    let list = c.members(0)?;
    let at = c.position(1, list.len(), false)?;
    c.alias_name(0, &list[at])
}

pub(super) fn length(c: &mut Call) -> Done {
    let n = c.members(0)?.len();
    c.set_known(0, HostTensor::i64(vec![], vec![n as i64]));
    Ok(())
}

pub(super) fn insert(c: &mut Call) -> Done {
    let mut list = c.members(0)?;
    let at = if c.has(2) { c.position(2, list.len(), true)? } else { list.len() };
    list.insert(at, c.operand(1)?);
    c.set_members(list);
    Ok(())
}

pub(super) fn erase(c: &mut Call) -> Done {
    let mut list = c.members(0)?;
    let last = list.len().checked_sub(1).ok_or_else(|| invalid("an empty sequence"))?;
    list.remove(if c.has(1) { c.position(1, list.len(), false)? } else { last });
    c.set_members(list);
    Ok(())
}

/// SplitToSequence: parts of given sizes, of one size (the last may be smaller), or single entries.
pub(super) fn split(c: &mut Call) -> Done {
    let shape = c.shape(0)?;
    let k = c.axis(0, shape.len())?;
    let n = shape[k];
    let whole = |v: &i64| usize::try_from(*v).map_err(|_| invalid(format!("a part of {v}")));
    let (parts, squeezed) = match c.has(1) {
        false => (vec![1; n], !c.flag("keepdims", true)?),
        true if c.shape(1)?.is_empty() => {
            let size = c.known_ints(1)?.first().map(whole).transpose()?.filter(|&s| s > 0);
            let size = size.ok_or_else(|| invalid("parts of no entries"))?;
            ((0..n.div_ceil(size)).map(|i| size.min(n - i * size)).collect(), false)
        }
        true => (c.known_ints(1)?.iter().map(whole).collect::<Result<Vec<_>, _>>()?, false),
    };
    let label = c.node.outputs.first().cloned().unwrap_or_default();
    let names: Vec<String> = (0..parts.len()).map(|i| format!("{label}/{i}")).collect();
    let sizes = format!("{label}/sizes");
    c.low.know(&sizes, HostTensor::i64(vec![parts.len()], parts.iter().map(|&p| p as i64).collect()));
    let wide: Vec<String> = if squeezed { names.iter().map(|n| format!("{n}/wide")).collect() } else { names.clone() };
    let mut nodes = vec![c.instead("Split", vec![c.operand(0)?, sizes], wide.clone(), &[("axis", k as i64)])];
    if squeezed {
        let axes = format!("{label}/axes");
        c.low.know(&axes, HostTensor::i64(vec![1], vec![k as i64]));
        for (from, to) in wide.into_iter().zip(&names) {
            nodes.push(c.instead("Squeeze", vec![from, axes.clone()], vec![to.clone()], &[]));
        }
    }
    c.low.all(&nodes, &names)?;
    c.set_members(names);
    Ok(())
}

/// ConcatFromSequence: the members one after the other, or along a new axis.
pub(super) fn concat(c: &mut Call) -> Done {
    let list = c.members(0)?;
    let Some(first) = list.first() else { return Err(unsupported("an empty sequence, put together")) };
    let new = c.flag("new_axis", false)?;
    let v = c.low.value(first)?;
    let rank = match (v.graph, &v.host) {
        (Some(id), _) => c.sizes(id).len(),
        (None, Some(h)) => h.shape.len(),
        (None, None) => return Err(Problem::Operand),
    };
    let k = axis(c.int("axis", 0)?, rank + usize::from(new)).map_err(invalid)? as i64;
    let output = c.node.outputs.first().cloned().unwrap_or_default();
    let mut nodes = Vec::new();
    let mut parts = list.clone();
    if new {
        let axes = format!("{output}/axes");
        c.low.know(&axes, HostTensor::i64(vec![1], vec![k]));
        parts = (0..list.len()).map(|i| format!("{output}/{i}")).collect();
        for (from, to) in list.iter().zip(&parts) {
            nodes.push(c.instead("Unsqueeze", vec![from.clone(), axes.clone()], vec![to.clone()], &[]));
        }
    }
    nodes.push(c.instead("Concat", parts, vec![output.clone()], &[("axis", k)]));
    c.low.all(&nodes, &[output])
}
