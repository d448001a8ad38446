//! Scales: intervals that hold the spec's value and that of every conforming run, as long as nothing
//! overflows in it.
//!
//! Reads graph and input only. With a region, every entry of an input may lie anywhere within ±R of
//! its given value.

use crate::ir::{Array, LeafKind, walk};
use crate::num::{Interval, Mag, lemma};
use crate::ops::{RevGraph, RevNode, map};
use crate::seed::Seed;
use std::convert::Infallible;

/// Ranges of leaves and nodes.
pub fn eval(graph: &RevGraph, region: Mag) -> Vec<Array<Interval>> {
    let leaf = |l: &crate::ir::Leaf| {
        let r = if l.kind == LeafKind::Input { region } else { Mag::ZERO };
        Array::new(
            l.tensor.shape.clone(),
            l.tensor.data.iter().map(|&x| Interval::point(f64::from(x)).widen(r)).collect(),
        )
    };
    walk::up(graph, leaf, |_, n, x| Ok::<_, Infallible>(n.op.forward_scale(x))).unwrap_or_else(|e| match e {})
}

/// Ranges of the cotangents.
pub fn backprop(
    graph: &RevGraph,
    values: &[Array<Interval>],
    seeds: &[Seed],
    wanted: &[bool],
) -> Vec<Option<Array<Interval>>> {
    backprop_parts(graph, values, seeds, wanted).0
}

/// Ranges of the cotangents, and of the contributions of each value that has more than one, in the order of
/// their addition.
pub fn backprop_parts(
    graph: &RevGraph,
    values: &[Array<Interval>],
    seeds: &[Seed],
    wanted: &[bool],
) -> (Vec<Option<Array<Interval>>>, Vec<Vec<Array<Interval>>>) {
    let lift = |s: &Seed| {
        let data = s.cotangent.data.iter().map(|&x| Interval::point(f64::from(x))).collect();
        (s.value, Array::new(s.cotangent.shape.clone(), data))
    };
    let mut parts: Vec<Vec<Array<Interval>>> = vec![Vec::new(); graph.len()];
    let walked = walk::down(
        graph,
        wanted,
        seeds.iter().map(lift).collect(),
        |v, n, ybar, want| {
            let x: Vec<&Array<Interval>> = n.operands.iter().map(|o| &values[o.index()]).collect();
            Ok::<_, Infallible>(n.op.vjp_scale(&x, &values[v.index()], ybar, want))
        },
        |v, contributions| {
            let sum = total(&contributions);
            if contributions.len() > 1 {
                parts[v.index()] = contributions;
            }
            Ok(sum)
        },
    );
    (walked.unwrap_or_else(|e| match e {}), parts)
}

/// Σ contributions in any order.
fn total(contributions: &[Array<Interval>]) -> Array<Interval> {
    let first = &contributions[0];
    if contributions.len() == 1 {
        return first.clone();
    }
    let data = map(first.data.len(), |i| {
        let sum = contributions.iter().fold(Interval::ZERO, |s, c| s.add(c.data[i]));
        let mags: Mag = contributions.iter().map(|c| c.data[i].mag()).sum();
        sum.widen(lemma::sum_any_order(contributions.len(), mags))
    });
    Array::new(first.shape.clone(), data)
}

/// The largest magnitude of a value.
pub fn scale(x: &Array<Interval>) -> Mag {
    x.data.iter().fold(Mag::ZERO, |m, i| m.max(i.mag()))
}
