//! Enclosures by MPFR balls, at a precision that is raised until every question is decided.

use super::journal::Journal;
use super::textbook::{self, left_fold};
use crate::ir::{Array, ValueId};
use crate::num::{Ball, Balls, Interval};
use crate::ops::{Op, PerOperand, RevGraph, UNKNOWN_GATE, map};
use crate::seed::Seed;

/// What the exact pass knows of a graph.
#[derive(Debug)]
pub struct Exact {
    /// Bits of the midpoints at the end.
    pub precision: u32,
    /// Were some questions still open at the precision cap?
    pub capped: bool,
    /// Gates that stayed undecided: enclosed by the hull of both branches.
    pub undecided: usize,
    /// Enclosures of all values.
    pub values: Vec<Vec<Interval>>,
    /// Enclosures of all cotangents.
    pub cotangents: Vec<Option<Vec<Interval>>>,
    /// Enclosures of the contributions of each value that has more than one.
    pub parts: Vec<Vec<Vec<Interval>>>,
    /// The branch of every gate, per node (see [`Op::gates`]).
    pub gates: Vec<Vec<u32>>,
    /// Balls of the values that were asked for.
    pub kept: Vec<(ValueId, Array<Ball>)>,
    /// Balls of the cotangents of the values that were asked for; `None` for an exact zero.
    pub gradients: Vec<(ValueId, Option<Array<Ball>>)>,
}

/// The largest precision tried.
pub const PRECISION_CAP: u32 = 4096;

/// Bits to start with: 24 of binary32, 20 of margin, and what a composed radius grows by.
// 4 to 8 bits a contraction (forward and backward), see the method's §5; MPFR counts in limbs of 64.
pub fn first_precision(graph: &RevGraph) -> u32 {
    let mut depth = vec![0u32; graph.len()];
    for (k, n) in graph.nodes().iter().enumerate() {
        let own =
            u32::from(matches!(n.op, Op::MatMul(_) | Op::Conv(_) | Op::Normalize(_) | Op::Softmax(_) | Op::Div(_)));
        let below = n.operands.iter().map(|o| depth[o.index()]).max().unwrap_or(0);
        depth[graph.node_id(k).index()] = below + own;
    }
    let deepest = depth.iter().copied().max().unwrap_or(0);
    (24 + 20 + 20 + 2 * 6 * deepest).next_multiple_of(64).clamp(128, PRECISION_CAP)
}

/// The arithmetic of an exact pass; from a number of bits for sliced products.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arithmetic {
    /// Bits to start with.
    pub start: u32,
    /// MPFR alone, without sliced products.
    pub scalar: bool,
}

impl From<u32> for Arithmetic {
    fn from(start: u32) -> Arithmetic {
        Arithmetic { start, scalar: false }
    }
}

impl Arithmetic {
    fn balls(self, precision: u32) -> Balls {
        if self.scalar { Balls::scalar(precision) } else { Balls::new(precision) }
    }
}

/// Runs the exact pass, doubling the precision until `decided` says yes or the cap is reached.
///
/// `keep` are the values whose balls are returned, `gradients_of` those whose cotangents' are.
pub fn exact(
    graph: &RevGraph,
    seeds: &[Seed],
    wanted: &[bool],
    keep: &[ValueId],
    gradients_of: &[ValueId],
    arithmetic: impl Into<Arithmetic>,
    decided: impl FnMut(&Exact) -> bool,
) -> Exact {
    exact_with(graph, seeds, wanted, keep, gradients_of, arithmetic, None, decided)
}

/// As [`exact`], with what a journal knows already.
#[allow(clippy::too_many_arguments)]
pub fn exact_with(
    graph: &RevGraph,
    seeds: &[Seed],
    wanted: &[bool],
    keep: &[ValueId],
    gradients_of: &[ValueId],
    arithmetic: impl Into<Arithmetic>,
    mut journal: Option<&mut Journal>,
    mut decided: impl FnMut(&Exact) -> bool,
) -> Exact {
    let arithmetic = arithmetic.into();
    let mut precision = arithmetic.start;
    loop {
        let mut found =
            once(graph, seeds, wanted, keep, gradients_of, arithmetic.balls(precision), journal.as_deref_mut());
        if found.undecided == 0 && decided(&found) {
            return found;
        }
        if precision >= PRECISION_CAP {
            found.capped = true;
            return found;
        }
        precision = (2 * precision).min(PRECISION_CAP);
    }
}

fn intervals(x: &Array<Ball>) -> Vec<Interval> {
    map(x.data.len(), |i| x.data[i].interval())
}

fn once(
    graph: &RevGraph,
    seeds: &[Seed],
    wanted: &[bool],
    keep: &[ValueId],
    gradients_of: &[ValueId],
    balls: Balls,
    mut journal: Option<&mut Journal>,
) -> Exact {
    let mut step = |compute: &dyn Fn() -> PerOperand<Array<Ball>>| match journal.as_deref_mut() {
        Some(j) => j.step(&balls, compute),
        None => compute(),
    };
    let mut gates: Vec<Vec<u32>> = vec![Vec::new(); graph.len()];
    let mut values = textbook::eval_by(graph, &balls, &mut step, |v, x, y| {
        if let Some(n) = graph.node(v) {
            gates[v.index()] = n.op.gates(&balls, x);
        }
        y
    });
    let kept = keep.iter().map(|&v| (v, values[v.index()].clone())).collect();
    let mut parts: Vec<Vec<Vec<Interval>>> = vec![Vec::new(); graph.len()];
    let mut gradients: Vec<(ValueId, Option<Array<Ball>>)> = gradients_of.iter().map(|&v| (v, None)).collect();
    let mut enclosures: Vec<Option<Vec<Interval>>> = vec![None; graph.len()];
    // Balls are large: a value and its cotangent go when all rules that read them are through.
    let cotangents = textbook::backprop_leaving(
        graph,
        &balls,
        &mut values,
        seeds,
        wanted,
        step,
        |v, contributions| {
            if contributions.len() > 1 {
                parts[v.index()] = contributions.iter().map(intervals).collect();
            }
            left_fold(&balls, contributions)
        },
        |v, value, cotangent| {
            enclosures[v.index()] = Some(intervals(&value));
            let found = intervals(&cotangent);
            gradients.iter_mut().filter(|(g, _)| *g == v).for_each(|(_, g)| *g = Some(cotangent.clone()));
            found
        },
    );
    let open = gates.iter().flatten().filter(|&&g| g == UNKNOWN_GATE).count();
    Exact {
        precision: balls.prec,
        capped: false,
        undecided: balls.undecided().max(open),
        values: enclosures.into_iter().zip(&values).map(|(e, v)| e.unwrap_or_else(|| intervals(v))).collect(),
        cotangents,
        parts,
        gates,
        kept,
        gradients,
    }
}
