//! Scales: intervals that hold the spec's value and that of every conforming run, as long as nothing
//! overflows in it.
//!
//! Reads graph and input only. With a region, every entry of an input may lie anywhere within ±R of
//! its given value.

use crate::ir::{Array, LeafKind, Tensor, ValueId, walk};
use crate::num::{Interval, Mag, lemma, parallel};
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
    backprop_leaving(graph, values, seeds, wanted, |_, _| {}, |_, range| range)
}

/// As [`backprop`]. `parts` gets the contributions of each value that has more than one, in the order of their
/// addition; of a cotangent that no rule will ask for again only what `leave` makes of it stays.
pub fn backprop_leaving<R>(
    graph: &RevGraph,
    values: &[Array<Interval>],
    seeds: &[Seed],
    wanted: &[bool],
    mut parts: impl FnMut(ValueId, Vec<Array<Interval>>),
    leave: impl FnMut(ValueId, Array<Interval>) -> R,
) -> Vec<Option<R>> {
    let lift = |s: &Seed| {
        let data = s.cotangent.data.iter().map(|&x| Interval::point(f64::from(x))).collect();
        (s.value, Array::new(s.cotangent.shape.clone(), data))
    };
    let walked = walk::down_leaving(
        graph,
        wanted,
        seeds.iter().map(lift).collect(),
        |v, n, ybar, want| {
            let x: Vec<&Array<Interval>> = n.operands.iter().map(|o| &values[o.index()]).collect();
            Ok::<_, Infallible>(n.op.vjp_scale(&x, &values[v.index()], ybar, want))
        },
        |v, mut contributions| {
            if contributions.len() == 1 {
                return Ok(contributions.swap_remove(0));
            }
            let sum = total(&contributions);
            parts(v, contributions);
            Ok(sum)
        },
        leave,
    );
    walked.unwrap_or_else(|e| match e {})
}

/// Σ contributions in any order.
fn total(contributions: &[Array<Interval>]) -> Array<Interval> {
    let first = &contributions[0];
    let data = map(first.data.len(), |i| {
        let sum = contributions.iter().fold(Interval::ZERO, |s, c| s.add(c.data[i]));
        let mags: Mag = contributions.iter().map(|c| c.data[i].mag()).sum();
        sum.widen(lemma::sum_any_order(contributions.len(), mags))
    });
    Array::new(first.shape.clone(), data)
}

/// What stays of the ranges of one table.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// The largest magnitude.
    pub scale: Mag,
    /// Entries of this run or of the spec that are outside: none, or a range is wrong.
    pub outside: usize,
}

impl Figures {
    /// Of ranges, for a run and the enclosures of the spec.
    pub fn of(x: &Array<Interval>, run: &Tensor, spec: &[Interval]) -> Figures {
        let outside = |i: usize| {
            let (r, s) = (x.data[i], spec[i]);
            !(r.contains(f64::from(run.data[i])) && r.lo <= s.hi && s.lo <= r.hi)
        };
        Figures {
            scale: x.data.iter().fold(Mag::ZERO, |m, i| m.max(i.mag())),
            outside: parallel::count(x.data.len(), 1 << 12, outside),
        }
    }
}
