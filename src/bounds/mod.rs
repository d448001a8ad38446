//! Error bounds, forward and backward.
//!
//! [`eval`] and [`backprop`] are a posteriori: they read this run's values and the spec's enclosures,
//! and bound |R − spec| per entry for the runs R that a [`Centre`] covers: this run (`schedule`), or
//! every conforming one (`portable`). [`literal`] is the seeds' recursion for the reference run.
//!
//! Bounds are per entry, through |W|. A bound on ‖e‖₂ per sample beside them, through a certified upper bound on
//! the spectral norm of W, grows more slowly (σ ≈ 2.8 against ≈ 4.5 for gated 64×64 layers in He's
//! initialisation), but doesn't reach further: on such nets the median of `portable` ÷ ‖g‖∞ would fall from 0.041
//! to 0.022 with 4 layers, 0.82 to 0.30 with 5, 4.6 to 0.98 with 6, 640 to 40 with 8, 5·10¹⁰ to 5·10⁶ with 16.
//! Where the norm would help, a bound says nothing either way; there [`crate::chain`] is the tighter one by orders
//! of magnitude. So the rules stay free of it.

pub mod literal;
pub mod measured;
pub mod region;
pub mod rungs;
mod step;

use crate::ir::{Tensor, ValueId, walk};
use crate::num::format::{largest, u};
use crate::num::mag::max_of;
use crate::num::{Interval, Mag, lemma};
use crate::ops::{Approx, Bound, Centre, PerOperand, RevGraph, RevNode, map};
use crate::runtime::Cotangents;
use crate::seed::Seed;
use crate::spec::Exact;
use std::convert::Infallible;
pub use step::{Steps, one_step};

/// What a bound pass reads: one run, and the enclosures of the spec.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// The graph.
    pub graph: &'a RevGraph,
    /// Values of the run.
    pub values: &'a [Tensor],
    /// Cotangents of the run.
    pub cotangents: &'a Cotangents,
    /// Enclosures.
    pub exact: &'a Exact,
}

/// Error bounds of one table (values, or cotangents).
#[derive(Clone, Debug, Default)]
pub struct Errors {
    /// Per entry.
    pub eps: Vec<Mag>,
    /// Per entry, what the node's own roundings cause.
    pub locals: Vec<Mag>,
    /// Largest part carried from operands.
    pub carried: Mag,
    /// Largest part made by the node itself.
    pub local: Mag,
    /// Gates of this node whose branch may differ between spec and covered runs; values only.
    pub undecided: Vec<u32>,
}

impl Errors {
    /// No error at all.
    pub fn none(n: usize) -> Errors {
        Errors { eps: vec![Mag::ZERO; n], locals: vec![Mag::ZERO; n], ..Errors::default() }
    }

    /// Largest bound.
    pub fn max(&self) -> Mag {
        max_of(&self.eps)
    }

    fn of(b: Bound) -> Errors {
        let eps = b.total();
        Errors { carried: max_of(&b.carried), local: max_of(&b.local), eps, locals: b.local, undecided: Vec::new() }
    }
}

impl<'a> Evidence<'a> {
    fn value<'b>(&'b self, v: ValueId, errors: &'b [Mag], centre: Centre) -> Approx<'b> {
        let i = v.index();
        Approx {
            shape: &self.values[i].shape,
            run: &self.values[i].data,
            spec: &self.exact.values[i],
            eps: errors,
            centre,
            measured: false,
            gates: &self.exact.gates[i],
        }
    }
}

impl Evidence<'_> {
    /// Bounds of node v; `eps` are those of its operands. `measured` is what its own roundings were seen to
    /// make, instead of a bound on them.
    fn forward<'b>(
        &'b self,
        v: ValueId,
        centre: Centre,
        eps: impl Fn(ValueId) -> &'b [Mag],
        measured: Option<Vec<Mag>>,
    ) -> Errors {
        let n = self.graph.node(v).expect("bounds of leaves are given");
        let x: Vec<Approx> = n.operands.iter().map(|&o| self.value(o, eps(o), centre)).collect();
        let y = Approx { measured: measured.is_some(), ..self.value(v, &[], centre) };
        let mut b = n.op.forward_bound(&x, &y);
        b.local = measured.unwrap_or(b.local);
        let peak = b.peak;
        let undecided = n.op.undecided(&x, &y);
        Errors { undecided, ..checked(Errors::of(b), peak, &self.exact.values[v.index()], centre) }
    }

    /// Bounds of what node v sends to each operand that is wanted; `eps` are those of its operands and its
    /// own, `ybar` those of its cotangent. `measured` as for [`Evidence::forward`].
    fn backward<'b>(
        &'b self,
        v: ValueId,
        centre: Centre,
        eps: impl Fn(ValueId) -> &'b [Mag],
        ybar: &[Mag],
        want: &[bool],
        measured: Option<PerOperand<Vec<Mag>>>,
    ) -> PerOperand<Errors> {
        let n = self.graph.node(v).expect("leaves send nothing");
        let x: Vec<Approx> = n.operands.iter().map(|&o| self.value(o, eps(o), centre)).collect();
        let y = self.value(v, eps(v), centre);
        let run = self.cotangents.total[v.index()].as_ref().expect("the run has a cotangent where bounds have one");
        let spec = self.exact.cotangents[v.index()].as_deref().expect("and so has the spec");
        let seen = measured.is_some();
        let ybar = Approx { shape: &run.shape, run: &run.data, spec, eps: ybar, centre, measured: seen, gates: &[] };
        let mut measured = measured.unwrap_or_default().into_iter();
        let one = |b: Option<Bound>| {
            let local = measured.next().flatten();
            let mut b = b?;
            b.local = local.unwrap_or(b.local);
            let peak = b.peak;
            Some(checked(Errors::of(b), peak, &[], centre))
        };
        n.op.vjp_bound(&x, &y, &ybar, want).into_iter().map(one).collect()
    }

    /// Bounds of the cotangent of v, from those of its contributions; and those, where there are several.
    // an infinite bound goes on from here: a run whose sum overflows has no finite cotangent to hand down
    fn total(&self, v: ValueId, centre: Centre, mut of: Vec<Errors>, add_bound: AddBound) -> (Errors, Vec<Errors>) {
        let i = v.index();
        let (sum, addends) = match of.len() {
            1 => (of.swap_remove(0), Vec::new()),
            _ => (add_bound(&self.cotangents.parts[i], &self.exact.parts[i], &of, centre), of),
        };
        (checked(sum, Mag::ZERO, self.exact.cotangents[i].as_deref().unwrap_or(&[]), centre), addends)
    }
}

/// Bounds that say nothing, where a covered run might overflow.
// |x_S| + eps ≤ largest finite, and every intermediate of any order as well
fn checked(mut b: Errors, peak: Mag, spec: &[Interval], centre: Centre) -> Errors {
    if centre == Centre::Spec {
        let over = peak.get() > largest() || b.eps.iter().zip(spec).any(|(&e, s)| (s.mag() + e).get() > largest());
        if over {
            b.eps.fill(Mag::INFINITY);
            b.locals.fill(Mag::INFINITY);
            b.local = Mag::INFINITY;
        }
    }
    b
}

/// Error bounds of all values; `eps_in` bounds the leaves' own errors (usually none).
pub fn eval(e: Evidence, centre: Centre, eps_in: impl Fn(ValueId) -> Mag) -> Vec<Errors> {
    let graph = e.graph;
    let mut errors: Vec<Errors> = Vec::with_capacity(graph.len());
    for (i, l) in graph.leaves().iter().enumerate() {
        let eps = eps_in(ValueId(i as u32));
        let n = l.tensor.data.len();
        errors.push(Errors { eps: vec![eps; n], locals: vec![Mag::ZERO; n], carried: eps, ..Errors::default() });
    }
    for k in 0..graph.nodes().len() {
        let found = e.forward(graph.node_id(k), centre, |o| &errors[o.index()].eps, None);
        errors.push(found);
    }
    errors
}

/// How errors of contributions add up; see [`backprop`].
///
/// Arguments: the contributions' values in this run, their enclosures, their error bounds.
pub type AddBound = fn(&[Tensor], &[Vec<Interval>], &[Errors], Centre) -> Errors;

/// Error bounds of cotangents.
#[derive(Clone, Debug)]
pub struct Backward {
    /// Per value; `None` where no cotangent was wanted or none arrived.
    pub total: Vec<Option<Errors>>,
    /// Bounds of the contributions of each value that has more than one, in the order of their addition.
    pub parts: Vec<Vec<Errors>>,
}

/// Error bounds of all cotangents.
///
/// `add_bound` bounds the sum of a value's contributions from the addends, before the addition
/// ([`add_bound`] is the rule).
pub fn backprop(
    e: Evidence,
    forward: &[Errors],
    seeds: &[Seed],
    wanted: &[bool],
    centre: Centre,
    add_bound: AddBound,
) -> Backward {
    let mut parts: Vec<Vec<Errors>> = vec![Vec::new(); e.graph.len()];
    let walked = walk::down(
        e.graph,
        wanted,
        seeds.iter().map(|s| (s.value, Errors::none(s.cotangent.data.len()))).collect(),
        |v, _, errors: &Errors, want| {
            Ok::<_, Infallible>(e.backward(v, centre, |o| &forward[o.index()].eps, &errors.eps, want, None))
        },
        |v, contributions| {
            let (sum, addends) = e.total(v, centre, contributions, add_bound);
            parts[v.index()] = addends;
            Ok(sum)
        },
    );
    Backward { total: walked.unwrap_or_else(|e| match e {}), parts }
}

/// The rule for accumulation at a shared value.
///
/// This run adds in order, P + C each time: Σe_i + Σ u|partial sum|. Another run may add in any order:
/// Σe_i + (m−1)·u·Σ(|c_i|+e_i) for m contributions.
pub fn add_bound(run: &[Tensor], spec: &[Vec<Interval>], errors: &[Errors], centre: Centre) -> Errors {
    let n = errors[0].eps.len();
    let pairs = map(n, |i| {
        let carried: Mag = errors.iter().map(|e| e.eps[i]).sum();
        let local = match centre {
            Centre::Run => {
                let mut partial = run[0].data[i];
                let mut rounding = Mag::ZERO;
                for c in &run[1..] {
                    let next = partial + c.data[i];
                    // adding an exact zero rounds nothing
                    if partial != 0.0 && c.data[i] != 0.0 {
                        rounding += u() * Mag::of_f32(next);
                    }
                    partial = next;
                }
                rounding
            }
            Centre::Spec => {
                let mags: Vec<Mag> = spec.iter().zip(errors).map(|(s, e)| s[i].mag() + e.eps[i]).collect();
                let terms = mags.iter().filter(|m| !m.is_zero()).count();
                let total: Mag = mags.into_iter().sum();
                // 3e38 + 3e38 − 3e38 overflows in one order and not in another
                if total.get() > 0.999 * largest() { Mag::INFINITY } else { lemma::sum_any_order(terms, total) }
            }
        };
        (carried, local)
    });
    Errors::of(Bound::of_pairs(pairs))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(eps: &[f64]) -> Errors {
        let eps: Vec<Mag> = eps.iter().map(|&e| Mag::of(e)).collect();
        Errors { local: max_of(&eps), locals: eps.clone(), eps, ..Errors::default() }
    }

    #[test]
    fn a_run_that_may_overflow_is_bounded_by_nothing() {
        let most = largest();
        let spec = [Interval::new(-2.0, 1.0), Interval::point(most / 2.0)];
        let finite = |peak: f64, eps: &[f64], centre| {
            let b = checked(errors(eps), Mag::of(peak), &spec, centre);
            let all = [&b.eps[..], &b.locals[..], &[b.local]].concat();
            assert!(all.iter().all(|m| m.is_finite()) || all.iter().all(|m| !m.is_finite()));
            all[0].is_finite()
        };
        assert!(finite(1.0, &[1.0, 1.0], Centre::Spec) && finite(most, &[1.0, most / 4.0], Centre::Spec));
        // an intermediate, a result, and a result only with its error
        assert!(!finite(most * 1.01, &[0.0, 0.0], Centre::Spec));
        assert!(!finite(1.0, &[0.0, most * 0.51], Centre::Spec));
        assert!(!finite(1.0, &[most, 0.0], Centre::Spec));
        // this run was seen not to overflow
        assert!(finite(most * 1.01, &[0.0, most * 0.51], Centre::Run));
    }

    #[test]
    fn accumulation_adds_errors_and_a_rounding_for_each_partial_sum() {
        let run = [[1.5, 0.0, 2.0], [-0.25, 3.0, 0.0], [4.0, -1.0, 1.0]].map(|x| Tensor::new(vec![3], x.to_vec()));
        let spec: Vec<Vec<Interval>> =
            run.iter().map(|t| t.data.iter().map(|&v| Interval::point(f64::from(v))).collect()).collect();
        let parts = [errors(&[0.125, 0.0, 0.0]), errors(&[0.5, 0.25, 0.0]), errors(&[0.25, 0.0, 0.0])];
        let near = |x: Mag, y: f64| x.get() >= y && x.get() <= y * (1.0 + 1e-14);
        let unit = 2f64.powi(-24);
        let here = add_bound(&run, &spec, &parts, Centre::Run);
        // u·(|1.25| + |5.25|); adding to 0 and of 0 rounds nothing
        let locals = [unit * (1.25 + 5.25), unit * 2.0, unit * 3.0];
        let carried = [0.875, 0.25, 0.0];
        for i in 0..3 {
            assert!(near(here.locals[i], locals[i]), "{i}: {:?}", here.locals);
            assert!(near(here.eps[i], carried[i] + locals[i]), "{i}: {:?}", here.eps);
        }
        let every = add_bound(&run, &spec, &parts, Centre::Spec);
        // (m − 1)·u·Σ(|c| + e), of those that aren't 0
        let locals = [2.0 * unit * (5.75 + 0.875), unit * (4.0 + 0.25), unit * 3.0];
        for i in 0..3 {
            assert!(near(every.locals[i], locals[i]), "{i}: {:?}", every.locals);
            assert!(near(every.eps[i], carried[i] + locals[i]), "{i}: {:?}", every.eps);
        }
        // a sum that overflows in some order
        let huge = Tensor::new(vec![1], vec![2e38]);
        let ranges = vec![vec![Interval::point(2e38)]; 2];
        let none = [errors(&[0.0]), errors(&[0.0])];
        let every = add_bound(&[huge.clone(), huge], &ranges, &none, Centre::Spec);
        assert!(!every.locals[0].is_finite() && !every.eps[0].is_finite());
    }
}
