//! Enclosures by MPFR balls, at a precision that is raised until every question is decided.

use super::growth::{Grown, Growth};
use super::journal::Journal;
use super::textbook::{self, left_fold};
use crate::ir::{Array, ValueId};
use crate::num::{Ball, Balls, Interval, parallel};
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
///
/// 4 to 8 bits a contraction, forward and backward (the method's §5); where that makes many, the growth is
/// looked at in binary64.
pub fn first_precision(graph: &RevGraph, seeds: &[Seed], wanted: &[bool]) -> u32 {
    let mut depth = vec![0u32; graph.len()];
    for (k, n) in graph.nodes().iter().enumerate() {
        let own =
            u32::from(matches!(n.op, Op::MatMul(_) | Op::Conv(_) | Op::Normalize(_) | Op::Softmax(_) | Op::Div(_)));
        let below = n.operands.iter().map(|o| depth[o.index()]).max().unwrap_or(0);
        depth[graph.node_id(k).index()] = below + own;
    }
    let deepest = depth.iter().copied().max().unwrap_or(0);
    let by_depth = 24 + 20 + 20 + 2 * 6 * deepest;
    // MPFR counts in limbs of 64
    let bits = if by_depth > LOOK { grown(graph, seeds, wanted).map_or(by_depth, |g| 24 + 40 + g) } else { by_depth };
    bits.next_multiple_of(64).clamp(128, PRECISION_CAP)
}

/// From this many bits on a look at the growth costs less than bits that weren't needed.
const LOOK: u32 = 256;

/// log2 of the largest growth of a gradient's radius, in units of 2^−p of the gradient's largest entry.
fn grown(graph: &RevGraph, seeds: &[Seed], wanted: &[bool]) -> Option<u32> {
    let mut values = textbook::eval_leaving(graph, &Growth, |compute| compute(), |_, _, _| {}, |_, _| {});
    let mut growth = 0.0f64;
    textbook::backprop_leaving(
        graph,
        (&Growth, &Growth),
        &mut values,
        seeds,
        wanted,
        |compute| compute(),
        |_, contributions| left_fold(&Growth, contributions),
        |v, _, cotangent| {
            let largest = |f: fn(&Grown) -> f64| cotangent.data.iter().map(f).fold(0.0f64, f64::max);
            let (norm, error) = (largest(|g| g.value.abs()), largest(|g| g.error));
            if graph.node(v).is_none() && norm > 0.0 {
                growth = growth.max((error / norm).log2());
            }
        },
    );
    growth.is_finite().then(|| growth.ceil() as u32)
}

/// Bits of what contractions contribute to leaves, which no radius grows from: at least as many as a
/// small graph has throughout.
fn last_precision(precision: u32) -> u32 {
    (precision / 4).next_multiple_of(64).clamp(128, precision.max(128)).min(precision)
}

/// The values that a rule reads again, on the way down, to make what is not the end of the way: all others
/// need no more bits than the ends do.
fn needed(graph: &RevGraph, wanted: &[bool]) -> Vec<bool> {
    let mut needed = vec![false; graph.len()];
    for (k, n) in graph.nodes().iter().enumerate() {
        match &n.op {
            Op::Add(_) | Op::Sub(_) | Op::Gather(_) | Op::Join(_) | Op::Sum(_) | Op::Mean(_) => {}
            // which branch was taken can be told from fewer bits
            Op::Piecewise(_) | Op::Staircase(_) | Op::Max(_) => {}
            op if textbook::is_contraction(op) => {
                for (own, other) in [(0, 1), (1, 0)] {
                    let o = n.operands[other];
                    needed[n.operands[own].index()] |= wanted[o.index()] && graph.node(o).is_some();
                }
            }
            _ => {
                n.operands.iter().for_each(|o| needed[o.index()] = true);
                needed[graph.node_id(k).index()] = true;
            }
        }
    }
    needed
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
        let how = (arithmetic, precision);
        let mut found = once(graph, seeds, wanted, keep, gradients_of, how, journal.as_deref_mut());
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
    (arithmetic, precision): (Arithmetic, u32),
    mut journal: Option<&mut Journal>,
) -> Exact {
    let balls = arithmetic.balls(precision);
    let mut step = |compute: &dyn Fn() -> PerOperand<Array<Ball>>| match journal.as_deref_mut() {
        Some(j) => j.step(&balls, compute),
        None => compute(),
    };
    let mut gates: Vec<Vec<u32>> = vec![Vec::new(); graph.len()];
    let end = arithmetic.balls(last_precision(precision));
    let mut precise = needed(graph, wanted);
    keep.iter().for_each(|v| precise[v.index()] = true);
    // Balls are large: they lose the bits that no rule asks for again, and a value and its cotangent go
    // when all rules that read them are through.
    let mut values = textbook::eval_leaving(
        graph,
        &balls,
        &mut step,
        |v, x, _| {
            if let Some(n) = graph.node(v) {
                gates[v.index()] = n.op.gates(&balls, x);
            }
        },
        |v, y| {
            if !precise[v.index()] && end.prec < balls.prec {
                parallel::each(&mut y.data, 512, |_, b| end.round(b));
            }
        },
    );
    let value = |v: ValueId, values: &[Array<Ball>]| match graph.leaves().get(v.index()) {
        Some(leaf) => textbook::lift_leaf(&balls, leaf),
        None => values[v.index()].clone(),
    };
    let kept = keep.iter().map(|&v| (v, value(v, &values))).collect();
    let points =
        |v: ValueId| graph.leaves().get(v.index()).map(|l| map(l.tensor.data.len(), |i| Interval::point(l.exact(i))));
    let mut parts: Vec<Vec<Vec<Interval>>> = vec![Vec::new(); graph.len()];
    let mut gradients: Vec<(ValueId, Option<Array<Ball>>)> = gradients_of.iter().map(|&v| (v, None)).collect();
    let mut enclosures: Vec<Option<Vec<Interval>>> = vec![None; graph.len()];
    let cotangents = textbook::backprop_leaving(
        graph,
        (&balls, &end),
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
            enclosures[v.index()] = Some(points(v).unwrap_or_else(|| intervals(&value)));
            let found = intervals(&cotangent);
            let mut places = gradients.iter_mut().filter(|(g, _)| *g == v);
            if let Some((_, place)) = places.next() {
                places.for_each(|(_, again)| *again = Some(cotangent.clone()));
                *place = Some(cotangent);
            }
            found
        },
    );
    let left = |(i, e): (usize, Option<Vec<Interval>>)| {
        e.or_else(|| points(ValueId(i as u32))).unwrap_or_else(|| intervals(&values[i]))
    };
    let found_values = enclosures.into_iter().enumerate().map(left).collect();
    let open = gates.iter().flatten().filter(|&&g| g == UNKNOWN_GATE).count();
    Exact {
        precision: balls.prec,
        capped: false,
        undecided: balls.undecided().max(open),
        values: found_values,
        cotangents,
        parts,
        gates,
        kept,
        gradients,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{Leaf, LeafKind, Tensor};
    use crate::num::Elementary;
    use crate::ops::{Add, Builder, Div, MatMul, Mul, Smooth, Sub};

    fn leaf(b: &mut Builder, kind: LeafKind, shape: &[usize], data: &[f32]) -> ValueId {
        b.leaf(Leaf::new("leaf", kind, Tensor::new(shape.to_vec(), data.to_vec())))
    }

    fn ones(v: ValueId, shape: &[usize]) -> Seed {
        Seed { value: v, cotangent: Tensor::filled(shape, 1.0) }
    }

    /// Nearly all of 1.
    const NEAR: f32 = 1.0 - f32::EPSILON / 2.0;

    /// `divisions` by 1 after `cancellations` of x ↦ x − part·x, of two entries.
    fn chain(divisions: usize, cancellations: usize, part: [f32; 2]) -> (RevGraph, Vec<Seed>) {
        let mut b = Builder::new();
        let p = leaf(&mut b, LeafKind::Parameter, &[2], &[3.0, -0.5]);
        let one = leaf(&mut b, LeafKind::Constant, &[2], &[1.0; 2]);
        let near = leaf(&mut b, LeafKind::Constant, &[2], &part);
        let mut x = p;
        for _ in 0..cancellations {
            let (whole, part) = (b.node(Mul, &[x, one]).unwrap(), b.node(Mul, &[x, near]).unwrap());
            x = b.node(Sub, &[whole, part]).unwrap();
        }
        for _ in 0..divisions {
            x = b.node(Div, &[x, one]).unwrap();
        }
        let (g, id) = b.finish();
        let seeds = vec![ones(id(x), &[2])];
        (g, seeds)
    }

    fn first(divisions: usize, cancellations: usize) -> u32 {
        let (g, seeds) = chain(divisions, cancellations, [NEAR; 2]);
        first_precision(&g, &seeds, &g.differentiated(&[]))
    }

    #[test]
    fn the_first_precision_is_twelve_bits_an_operation_that_grows_or_what_is_seen_to_grow() {
        // 24 + 20 + 20 + 12 each, in limbs, two at least
        let by_depth = [0, 1, 5, 6, 10, 11, 16].map(|d| first(d, 0));
        assert_eq!(by_depth, [128, 128, 128, 192, 192, 256, 256]);
        // 17 ask for more than 256: then the growth is looked at, and there is hardly any
        assert_eq!(first(17, 0), 128);
        // three cancellations of 24 bits and more
        assert_eq!(first(17, 3), 192);
        assert_eq!(first(17, 6), 256);
    }

    #[test]
    fn growth_is_the_error_of_the_worst_gradient_in_units_of_its_largest_entry() {
        let growth = |d, c| {
            let (g, seeds) = chain(d, c, [NEAR, 0.5]);
            grown(&g, &seeds, &g.differentiated(&[]))
        };
        // k divisions by 1: error k of 1
        assert_eq!(growth(16, 0), Some(4));
        assert_eq!(growth(17, 0), Some(5));
        assert_eq!(growth(0, 0), Some(0), "no rounding at all");
        // entry 0: 2^−24 left of 1, with errors of 1 and near 1 and the sum's; entry 1, the largest: 1/2, with 1 + 1/2 + 1/2
        assert_eq!(growth(0, 1), Some(2));
    }

    #[test]
    fn the_ends_have_a_quarter_of_the_bits() {
        let last = [64, 128, 192, 512, 600, 1024, 1088, 4096].map(last_precision);
        assert_eq!(last, [64, 128, 128, 128, 192, 256, 320, 1024]);
    }

    #[test]
    fn precision_doubles_until_all_is_decided_or_the_cap_is_reached() {
        let (g, seeds) = chain(1, 0, [NEAR; 2]);
        let wanted = g.differentiated(&[]);
        let mut asked = Vec::new();
        let found = exact(&g, &seeds, &wanted, &[], &[], 192, |e| {
            asked.push(e.precision);
            e.precision >= 700
        });
        assert_eq!((asked, found.precision, found.capped), (vec![192, 384, 768], 768, false));
        let never = exact(&g, &seeds, &wanted, &[], &[], 1100, |_| false);
        assert_eq!((never.precision, never.capped), (PRECISION_CAP, true));
    }

    #[test]
    fn what_rules_read_again_keeps_its_bits() {
        let mut b = Builder::new();
        let p = leaf(&mut b, LeafKind::Parameter, &[2, 2], &[0.5, 0.25, -0.75, 1.0]);
        let q = leaf(&mut b, LeafKind::Parameter, &[2, 2], &[1.5, 0.125, 0.75, -1.0]);
        let r = leaf(&mut b, LeafKind::Parameter, &[2, 2], &[0.5, 2.0, -0.25, 1.25]);
        let product = MatMul { trans_a: false, trans_b: false };
        let e = b.node(Smooth(Elementary::Exp), &[p]).unwrap();
        let scaled = b.node(Mul, &[e, q]).unwrap();
        let by_leaf = b.node(product, &[scaled, r]).unwrap();
        let both = b.node(product, &[by_leaf, scaled]).unwrap();
        let shifted = b.node(Add, &[both, both]).unwrap();
        let last = b.node(product, &[shifted, r]).unwrap();
        let (g, id) = b.finish();
        let (p, q, r, by_leaf, last) = (id(p), id(q), id(r), id(by_leaf), id(last));
        let wanted = g.differentiated(&[]);
        let names: Vec<usize> = (0..g.len()).filter(|&v| needed(&g, &wanted)[v]).collect();
        // operands and results of exp and of products entry by entry; the factor of a contraction whose other one
        // goes on: not what only sums, or a leaf's contraction, read
        assert_eq!(names, [p, q, r, id(e), id(scaled), by_leaf].map(ValueId::index));
        let seeds = [ones(last, &[2, 2])];
        let found = exact(&g, &seeds, &wanted, &[], &[p, q, r], 512, |_| true);
        let width = |k: usize| {
            let x = found.gradients[k].1.as_ref().expect("a gradient");
            x.data.iter().map(|b| b.rad.get()).fold(0.0, f64::max).log2()
        };
        // r is the end of a contraction's way; the others are reached through exp and products entry by entry
        assert!(width(0) < -480.0 && width(1) < -480.0, "{} {}", width(0), width(1));
        assert!(width(2) < -110.0 && width(2) > -140.0, "{}", width(2));
    }
}
