//! The adversary: conforming runs that err as far as it can make them.
//!
//! The portable rung speaks of every run that conforms: sums in any order and grouping, products fused
//! or not, ties either way, elementary functions up to 4 ulps off. The adversary plays such runs of the
//! textbook definitions ([`Conforming`]). *Greedy* runs make every choice by the sign with which it moves
//! one entry of one gradient; *random* ones don't care. All of them have to stay inside every rigorous
//! bound that covers them, for every value and every cotangent ([`Played::escapes`]); and what they reach
//! is a lower bound of the worst case, which says how much of a bound may be looseness
//! ([`Played::reaches`]).
//!
//! The signs: let g_i = ∂L/∂p_i be the entry aimed at. An error δ added to a cotangent x̄_v moves g_i by
//! ⟨dx_v/dp_i, δ⟩, since g_i = ⟨dx_v/dp_i, x̄_v⟩ + what doesn't pass through v. An error δ added to a value
//! x_v moves it by ⟨∂²L/∂p_i∂x_v, δ⟩ = ⟨dx̄_v/dp_i, δ⟩, second derivatives being symmetric. So one
//! derivative in direction p_i through the forward and the backward pass ([`adjoints`]) has all signs.

mod arith;

pub use arith::{Conforming, ULPS_PLAYED, Way};

use crate::bounds::{Backward, Errors};
use crate::chain::jet::{Jet, Jets, LANES};
use crate::chain::propagate::jets_of;
use crate::ir::{Array, Tensor, ValueId, elements, walk};
use crate::num::{Arith, Interval, parallel};
use crate::ops::{Op, RevGraph, RevNode};
use crate::runtime;
use crate::seed::Seed;
use crate::spec::Exact;
use crate::spec::textbook::left_fold;
use arith::mix;
use std::convert::Infallible;

/// How every value and cotangent moves the entries aimed at, one lane per entry.
#[derive(Debug)]
pub struct Adjoints {
    /// Lanes of cotangents: d(entry)/d(value).
    values: Vec<Option<Array<Jet>>>,
    /// Lanes of values: d(entry)/d(cotangent).
    cotangents: Vec<Array<Jet>>,
}

/// Jets at the values of a run.
fn at(mut jets: Array<Jet>, run: Option<&Tensor>) -> Array<Jet> {
    jets.data.iter_mut().zip(run.into_iter().flat_map(|t| &t.data)).for_each(|(j, &x)| j.value = f64::from(x));
    jets
}

/// The adjoints of up to [`LANES`] entries of gradients: parameter and flat position.
pub fn adjoints(graph: &RevGraph, seeds: &[Seed], targets: &[(ValueId, usize)]) -> Adjoints {
    assert!(targets.len() <= LANES, "one lane per entry");
    let mut leaves: Vec<Array<Jet>> = graph.leaves().iter().map(|l| jets_of(&l.tensor)).collect();
    for (lane, (v, i)) in targets.iter().enumerate() {
        let j = &mut leaves[v.index()].data[*i];
        (j.live, j.lanes[lane]) = (true, 1.0);
    }
    let mut leaves = leaves.into_iter();
    let leaves = std::cell::RefCell::new(&mut leaves);
    let leaf = |_: &crate::ir::Leaf| leaves.borrow_mut().next().expect("leaves come in order");
    // products of jets leave their values open: they are those of a run
    let all = vec![true; graph.len()];
    let run = runtime::eval(graph).expect("the graph has been run before");
    let back = runtime::backprop(graph, &run, seeds, &all).expect("the graph has been run before");
    let values =
        walk::up(graph, leaf, |v, n, x| Ok::<_, Infallible>(at(n.op.forward_spec(&Jets, x), Some(&run[v.index()]))))
            .unwrap_or_else(|e| match e {});
    let cotangents = walk::down(
        graph,
        &all,
        seeds.iter().map(|s| (s.value, jets_of(&s.cotangent))).collect(),
        |v, n, ybar, want| {
            let x: Vec<&Array<Jet>> = n.operands.iter().map(|o| &values[o.index()]).collect();
            Ok::<_, Infallible>(n.op.vjp_spec(&Jets, &x, &values[v.index()], ybar, want))
        },
        |v, c| Ok(at(left_fold(&Jets, c), back.total[v.index()].as_ref())),
    )
    .unwrap_or_else(|e| match e {});
    Adjoints { values: cotangents, cotangents: values }
}

/// What decides an execution's free choices.
#[derive(Clone, Copy, Debug)]
pub enum Strategy<'a> {
    /// Chance.
    Random,
    /// Towards a larger (or smaller) entry: which lane of the adjoints, and its sign.
    Greedy(&'a Adjoints, usize, f64),
}

/// One execution.
#[derive(Clone, Debug)]
pub struct Played {
    /// Values of leaves and nodes.
    pub values: Vec<Tensor>,
    /// Their cotangents.
    pub cotangents: Vec<Option<Tensor>>,
}

/// Executions of one operation among which a greedy run chooses.
const CANDIDATES: [(Way, Way); 5] = [
    (Way::Up, Way::Up),
    (Way::Up, Way::Down),
    (Way::Down, Way::Up),
    (Way::Down, Way::Down),
    (Way::Random, Way::Random),
];

/// Entries whose errors hang together: a whole row where the operation works row by row.
fn group(op: &Op, shape: &[usize]) -> usize {
    match op {
        Op::Softmax(_) | Op::LogSoftmax(_) | Op::Normalize(_) | Op::Max(_) => shape.last().copied().unwrap_or(1).max(1),
        _ => 1,
    }
}

/// Of some executions of one operation, entry by entry (row by row) the one that leads furthest.
fn best(candidates: Vec<Tensor>, group: usize, weight: impl Fn(usize) -> f64 + Sync) -> Tensor {
    let mut candidates = candidates.into_iter();
    let mut chosen = candidates.next().expect("there is one");
    for other in candidates {
        parallel::chunks(&mut chosen.data, group, 1, |g, now| {
            let new = &other.data[g * group..][..now.len()];
            let gain: f64 = now
                .iter()
                .zip(new)
                .enumerate()
                .map(|(i, (&a, &b))| if a == b { 0.0 } else { weight(g * group + i) * (f64::from(b) - f64::from(a)) })
                .sum();
            if gain > 0.0 && new.iter().all(|x| x.is_finite()) {
                now.copy_from_slice(new);
            }
        });
    }
    chosen
}

/// Plays one conforming execution.
pub fn play(graph: &RevGraph, seeds: &[Seed], wanted: &[bool], strategy: Strategy, seed: u64) -> Played {
    let arith =
        |place: u64, (sums, functions): (Way, Way)| Conforming { sums, functions, seed: mix(seed ^ mix(place)) };
    let ways: &[(Way, Way)] = match strategy {
        Strategy::Random => &CANDIDATES[4..],
        Strategy::Greedy(..) => &CANDIDATES,
    };
    // how much the entry aimed at grows with an entry of a value (or of a cotangent)
    let weight = |jets: Option<&Array<Jet>>, i: usize| match (strategy, jets) {
        (Strategy::Greedy(_, lane, sign), Some(j)) => sign * j.data[i].lanes[lane],
        _ => 0.0,
    };
    let of_value = |v: ValueId| match strategy {
        Strategy::Greedy(a, ..) => a.values[v.index()].as_ref(),
        Strategy::Random => None,
    };
    let of_cotangent = |v: ValueId| match strategy {
        Strategy::Greedy(a, ..) => Some(&a.cotangents[v.index()]),
        Strategy::Random => None,
    };
    let values = walk::up(
        graph,
        |l| l.tensor.clone(),
        |v, n, x| {
            let made = ways.iter().map(|&w| n.op.forward_spec(&arith(u64::from(v.0), w), x)).collect();
            Ok::<_, Infallible>(best(made, group(&n.op, &n.shape), |i| weight(of_value(v), i)))
        },
    )
    .unwrap_or_else(|e| match e {});
    let cotangents = walk::down(
        graph,
        wanted,
        seeds.iter().map(|s| (s.value, s.cotangent.clone())).collect(),
        |v, n, ybar, want| {
            let x: Vec<&Tensor> = n.operands.iter().map(|o| &values[o.index()]).collect();
            let place = u64::from(v.0) | 1 << 32;
            let mut made: Vec<Vec<Option<Tensor>>> =
                ways.iter().map(|&w| n.op.vjp_spec(&arith(place, w), &x, &values[v.index()], ybar, want)).collect();
            let operand = |k: usize| {
                let all: Vec<Tensor> = made.iter_mut().filter_map(|m| m[k].take()).collect();
                let o = n.operands[k];
                let group = group(&n.op, graph.shape(o));
                (!all.is_empty()).then(|| best(all, group, |i| weight(of_cotangent(o), i)))
            };
            Ok::<_, Infallible>((0..want.len()).map(operand).collect())
        },
        |v, contributions| {
            if contributions.len() == 1 {
                return Ok(contributions.into_iter().next().expect("there is one"));
            }
            let n = elements(graph.shape(v));
            let sum = |way: (Way, Way)| {
                let a = arith(u64::from(v.0) | 2 << 32, way);
                let data = (0..n).map(|i| a.sum(contributions.iter().map(|c| &c.data[i]))).collect();
                Array::new(graph.shape(v).to_vec(), data)
            };
            Ok(best(ways.iter().map(|&w| sum(w)).collect(), 1, |i| weight(of_cotangent(v), i)))
        },
    )
    .unwrap_or_else(|e| match e {});
    Played { values, cotangents }
}

/// An entry outside its bound.
#[derive(Clone, Debug, PartialEq)]
pub struct Escape {
    /// The value.
    pub value: ValueId,
    /// Is it its cotangent?
    pub cotangent: bool,
    /// Flat position.
    pub entry: usize,
    /// |run − spec| at least.
    pub error: f64,
    /// The bound.
    pub bound: f64,
}

impl Played {
    /// Entries whose error certainly exceeds a bound, and how many entries were compared. An entry that isn't
    /// finite needs an infinite bound.
    pub fn escapes(&self, exact: &Exact, forward: &[Errors], backward: &Backward) -> (usize, Vec<Escape>) {
        let (mut entries, mut out) = (0, Vec::new());
        let mut look = |v: usize, cotangent: bool, run: &Tensor, spec: &[Interval], errors: &Errors| {
            for (i, &x) in run.data.iter().enumerate() {
                entries += 1;
                let error = if x.is_finite() { distance(f64::from(x), spec[i]) } else { f64::INFINITY };
                let bound = errors.eps[i];
                if bound.is_finite() && error > bound.get() {
                    out.push(Escape { value: ValueId(v as u32), cotangent, entry: i, error, bound: bound.get() });
                }
            }
        };
        for (v, run) in self.values.iter().enumerate() {
            look(v, false, run, &exact.values[v], &forward[v]);
        }
        for (v, run) in self.cotangents.iter().enumerate() {
            if let (Some(run), Some(spec), Some(errors)) = (run, &exact.cotangents[v], &backward.total[v]) {
                look(v, true, run, spec, errors);
            }
        }
        (entries, out)
    }

    /// Did nothing overflow?
    pub fn is_finite(&self) -> bool {
        self.values.iter().chain(self.cotangents.iter().flatten()).all(|t| t.data.iter().all(|x| x.is_finite()))
    }

    /// The largest error of an entry of a value (or of its cotangent), at least; 0 where the run isn't finite.
    pub fn reaches(&self, exact: &Exact, v: ValueId, cotangent: bool) -> f64 {
        let i = v.index();
        let (run, spec) = match cotangent {
            true => (self.cotangents[i].as_ref(), exact.cotangents[i].as_ref()),
            false => (Some(&self.values[i]), Some(&exact.values[i])),
        };
        match (run, spec) {
            (Some(run), Some(spec)) if self.is_finite() => {
                run.data.iter().zip(spec).fold(0.0, |m, (&x, s)| m.max(distance(f64::from(x), *s)))
            }
            _ => 0.0,
        }
    }
}

/// |x − s| at least, for s anywhere in an interval.
fn distance(x: f64, s: Interval) -> f64 {
    if s.contains(x) { 0.0 } else { (s.lo - x).max(x - s.hi).next_down().max(0.0) }
}
