//! The two traversals that every pass shares: up the tape, and down.

use super::{Graph, Leaf, Node, ValueId};
use std::collections::BTreeMap;

/// Evaluates leaves, then nodes in order; results are indexed by [`ValueId`].
pub fn up<P, T, E>(
    graph: &Graph<P>,
    leaf: impl Fn(&Leaf) -> T,
    mut node: impl FnMut(ValueId, &Node<P>, &[&T]) -> Result<T, E>,
) -> Result<Vec<T>, E> {
    let mut values: Vec<T> = graph.leaves().iter().map(leaf).collect();
    values.reserve(graph.nodes().len());
    for (k, n) in graph.nodes().iter().enumerate() {
        let operands: Vec<&T> = n.operands.iter().map(|o| &values[o.index()]).collect();
        let value = node(graph.node_id(k), n, &operands)?;
        values.push(value);
    }
    Ok(values)
}

/// Propagates cotangents from the last node to the first.
///
/// A value's contributions come in descending order of their consumers (a seed comes first, operands
/// of one consumer in operand order); `accumulate` sees all of them at once, when no more can come.
/// The result has `None` where no cotangent was wanted or none arrived: that is no zero tensor.
pub fn down<P, T, E>(
    graph: &Graph<P>,
    wanted: &[bool],
    seeds: Vec<(ValueId, T)>,
    vjp: impl FnMut(ValueId, &Node<P>, &T, &[bool]) -> Result<Vec<Option<T>>, E>,
    accumulate: impl FnMut(ValueId, Vec<T>) -> Result<T, E>,
) -> Result<Vec<Option<T>>, E> {
    down_leaving(graph, wanted, seeds, vjp, accumulate, |_, t| t)
}

/// As [`down`]; of a cotangent that no rule will ask for again only what `leave` makes of it stays, and
/// neither will a rule ask for its value again.
pub fn down_leaving<P, T, R, E>(
    graph: &Graph<P>,
    wanted: &[bool],
    seeds: Vec<(ValueId, T)>,
    mut vjp: impl FnMut(ValueId, &Node<P>, &T, &[bool]) -> Result<Vec<Option<T>>, E>,
    mut accumulate: impl FnMut(ValueId, Vec<T>) -> Result<T, E>,
    mut leave: impl FnMut(ValueId, T) -> R,
) -> Result<Vec<Option<R>>, E> {
    let mut pending: Vec<Vec<T>> = (0..graph.len()).map(|_| Vec::new()).collect();
    for (v, seed) in seeds {
        if wanted[v.index()] {
            pending[v.index()].push(seed);
        }
    }
    let mut total: Vec<Option<R>> = (0..graph.len()).map(|_| None).collect();
    for id in (0..graph.len()).rev() {
        let contributions = std::mem::take(&mut pending[id]);
        if contributions.is_empty() {
            continue;
        }
        let v = ValueId(id as u32);
        let ybar = accumulate(v, contributions)?;
        if let Some(n) = graph.node(v) {
            let want: Vec<bool> = n.operands.iter().map(|o| wanted[o.index()]).collect();
            if want.contains(&true) {
                for (o, c) in n.operands.iter().zip(vjp(v, n, &ybar, &want)?) {
                    if wanted[o.index()] {
                        pending[o.index()].extend(c);
                    }
                }
            }
        }
        total[id] = Some(leave(v, ybar));
    }
    Ok(total)
}

/// For every (consumer, operand) that contributes to a cotangent: its place among the contributions of
/// that operand, as [`down`] collects them. `reached` are the values that have a cotangent.
pub fn arrivals<P>(
    graph: &Graph<P>,
    wanted: &[bool],
    seeds: &[ValueId],
    reached: impl Fn(ValueId) -> bool,
) -> BTreeMap<(ValueId, usize), usize> {
    let mut next = vec![0usize; graph.len()];
    for s in seeds.iter().filter(|s| wanted[s.index()]) {
        next[s.index()] += 1;
    }
    let mut arrival = BTreeMap::new();
    for (k, n) in graph.nodes().iter().enumerate().rev() {
        let v = graph.node_id(k);
        if !reached(v) {
            continue;
        }
        for (operand, o) in n.operands.iter().enumerate().filter(|(_, o)| wanted[o.index()]) {
            arrival.insert((v, operand), next[o.index()]);
            next[o.index()] += 1;
        }
    }
    arrival
}
