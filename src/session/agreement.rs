//! The gradients that a file computes itself against those that follow from its forward part.

use super::{Loaded, Passes};
use crate::certificate::{Agreement, Enclosure, Num, Status, WrongNode};
use crate::import::Pair;
use crate::ir::{Array, ValueId};
use crate::num::{Ball, Interval, Mag};

/// What both sides are read from.
pub(crate) struct Sides<'a> {
    /// The parameters, and the balls of their derivatives; `None` is an exact zero.
    pub derived: Vec<(ValueId, Option<&'a Array<Ball>>)>,
    /// Balls of the outputs, in their order.
    pub outputs: Vec<&'a Array<Ball>>,
    /// Enclosures of all values.
    pub values: &'a [Vec<Interval>],
    /// Enclosures of all cotangents.
    pub cotangents: &'a [Option<Vec<Interval>>],
}

impl<'a> Sides<'a> {
    /// As the passes found them.
    pub fn of(p: &'a Passes) -> Sides<'a> {
        Sides {
            derived: p.exact.gradients.iter().map(|(v, b)| (*v, b.as_ref())).collect(),
            outputs: p.exact.kept.iter().map(|(_, b)| b).collect(),
            values: &p.exact.values,
            cotangents: &p.exact.cotangents,
        }
    }
}

/// One line per stated gradient. Both sides are exact, so nothing but rounded constants of the file
/// may lie between them.
pub(crate) fn compare(loaded: &Loaded, p: &Sides) -> Vec<Agreement> {
    let lowered = &loaded.lowered;
    let derived =
        |leaf: Option<ValueId>| p.derived.iter().find(|(v, _)| Some(*v) == leaf).and_then(|(_, balls)| *balls);
    let one = |s: &crate::import::Stated| {
        let k = lowered.outputs.iter().position(|(n, v)| *v == s.gradient && *n == s.tensor)?;
        let (stated, derived) = (p.outputs[k], derived(s.leaf));
        let shape = s.leaf.map_or(&stated.shape[..], |v| lowered.graph.shape(v));
        // a tensor of another shape can't be the gradient: it is told apart by its size alone
        let fits = stated.data.len() == shape.iter().product::<usize>();
        let (difference, meets) = if fits { difference(stated, derived) } else { (all_of(stated), false) };
        let wrong = if meets { None } else { first_wrong(&lowered.pairs, p) };
        Some(Agreement {
            parameter: s.parameter.clone(),
            tensor: s.tensor.clone(),
            stated_norm: norm(Some(stated)),
            derived_norm: norm(derived),
            difference,
            enclosures_meet: meets,
            limit: Num::ZERO,
            verdict: Status::Undecided,
            wrong_node: wrong,
        })
    };
    lowered.stated.iter().filter_map(one).collect()
}

fn finite(lo: f64, hi: f64) -> Enclosure {
    Enclosure::of(lo.min(f64::MAX), hi.min(f64::MAX))
}

fn norm(x: Option<&Array<Ball>>) -> Enclosure {
    let most = |m: (f64, f64), b: &Ball| {
        let i = b.interval();
        (m.0.max(i.mig()), m.1.max(i.mag().get()))
    };
    let (lo, hi) = x.map_or((0.0, 0.0), |x| x.data.iter().fold((0.0, 0.0), most));
    finite(lo, hi)
}

fn all_of(x: &Array<Ball>) -> Enclosure {
    norm(Some(x))
}

/// Largest |a − b| of an entry, and whether all enclosures have a number in common. Entries that do
/// count as equal up to their widths: only what is certain raises the lower end.
fn difference(a: &Array<Ball>, b: Option<&Array<Ball>>) -> (Enclosure, bool) {
    let zero = Ball::exact(0.0);
    let (mut lo, mut hi, mut meets) = (0.0f64, 0.0f64, true);
    for (i, x) in a.data.iter().enumerate() {
        let y = b.map_or(&zero, |b| &b.data[i]);
        let (near, far) = x.gap(y);
        (lo, hi) = (lo.max(near), hi.max(far.get()));
        meets &= x.overlaps(y);
    }
    (finite(lo, hi), meets)
}

/// The first node of the file, in its own order, that computes a cotangent which is not the derived one
/// by more than rounded constants explain.
fn first_wrong(pairs: &[Pair], p: &Sides) -> Option<WrongNode> {
    let gap = |stated: &[Interval], derived: &[Interval]| {
        let apart = |(s, d): (&Interval, &Interval)| (s.lo - d.hi).max(d.lo - s.hi).max(0.0);
        let largest = derived.iter().fold(Mag::ZERO, |m, d| m.max(d.mag())).get();
        let most = stated.iter().zip(derived).map(apart).fold(0.0, f64::max);
        (stated.len() != derived.len() || most > crate::certificate::AGREEMENT * largest, most)
    };
    let wrong = |pair: &&Pair| {
        let stated = &p.values[pair.cotangent.index()];
        match &p.cotangents[pair.value.index()] {
            Some(derived) => gap(stated, derived).0,
            // no cotangent arrives at a parameter: 0 is right
            None => {
                p.derived.iter().any(|(v, _)| *v == pair.value) && gap(stated, &vec![Interval::ZERO; stated.len()]).0
            }
        }
    };
    let pair = pairs.iter().find(wrong)?;
    Some(WrongNode { node: pair.node.clone(), op: pair.op.clone(), tensor: pair.tensor.clone() })
}
