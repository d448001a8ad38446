//! What any conforming run may add at an operation, on top of the linearisation at this run.
//!
//! Let R be a conforming run, S the spec, e = R − S, and J̃ the linear map of an operation f at this run's
//! values. With R's operands x_R and its result y_R,
//!
//! > y_R − y_S − J̃·e_operands = (y_R − f(x_R)) + (f(x_R) − f(x_S) − J̃·e_operands):
//!
//! what R's own rounding adds, which is the rule's local part for operands within E of the spec
//! ([`Steps`]), and what the linearisation misses ([`Remainders`]). Both need a bound E on |R − S| at the
//! operands: the chain's own sums over all places before, which are complete when the operation is reached. So
//! nothing is assumed: the chain proves, step by step along the passes, that R neither overflows nor leaves it.
//!
//! A cotangent rule that reads its node's result takes it for f(x_R) + what R added there: the rule's local part
//! speaks of f(x_R), the columns move with y_R. The difference enters as the result's own rest.
//!
//! Hypotheses: R conforms (any order, FMA or not, elementary functions and algorithms as the rules list), rounds
//! to nearest, and sees the same leaves.

use super::remainder::{Apart, Remainders};
use crate::bounds::{Errors, Evidence, Steps};
use crate::ir::{Array, Tensor, ValueId};
use crate::num::{Interval, Mag};
use crate::ops::{Centre, RevNode, map};

/// The operations of a graph as any conforming run may carry them out.
#[derive(Clone, Debug)]
pub struct Portable<'a> {
    steps: Steps<'a>,
    /// What the operations themselves add to each value.
    own: Vec<Vec<Mag>>,
}

/// Numbers of this run, the spec's enclosures, how far any run is from the spec, and from the linearisation.
fn apart(run: &Tensor, spec: &[Interval], error: &[Mag], rest: impl Fn(usize) -> Mag + Sync) -> Array<Apart> {
    let at = |i: usize| {
        let x = f64::from(run.data[i]);
        Apart::new(x, spec[i].radius_about(x), error[i], rest(i))
    };
    Array::new(run.shape.clone(), map(run.data.len(), at))
}

impl<'a> Portable<'a> {
    /// Nothing done yet.
    pub fn new(evidence: Evidence<'a>) -> Portable<'a> {
        let own = evidence.values.iter().map(|v| vec![Mag::ZERO; v.data.len()]).collect();
        Portable { steps: Steps { evidence, centre: Centre::Spec }, own }
    }

    fn operands(&self, v: ValueId, error: &[Vec<Mag>]) -> Vec<Array<Apart>> {
        let e = &self.steps.evidence;
        let n = e.graph.node(v).expect("a step is a node's");
        let one = |(o, error): (&ValueId, &Vec<Mag>)| {
            apart(&e.values[o.index()], &e.exact.values[o.index()], error, |_| Mag::ZERO)
        };
        n.operands.iter().zip(error).map(one).collect()
    }

    /// At the value of a node whose operands are within these errors of the spec.
    pub fn forward(&mut self, v: ValueId, error: &[Vec<Mag>]) -> Vec<Mag> {
        let n = self.steps.evidence.graph.node(v).expect("a step is a node's");
        let local = self.steps.forward(v, error).locals;
        let x = self.operands(v, error);
        let missed = n.op.forward_spec(&Remainders, &x.iter().collect::<Vec<_>>());
        let all = local.iter().zip(&missed.data).map(|(&l, m)| l + m.rest()).collect();
        self.own[v.index()] = local;
        all
    }

    /// At each contribution of a node; `y` and `ybar` are the errors of its value and its cotangent.
    pub fn backward(
        &self,
        v: ValueId,
        error: &[Vec<Mag>],
        y: &[Mag],
        ybar: &[Mag],
        want: &[bool],
    ) -> Vec<Option<Vec<Mag>>> {
        let (e, i) = (&self.steps.evidence, v.index());
        let n = e.graph.node(v).expect("a step is a node's");
        let (Some(run), Some(spec)) = (&e.cotangents.total[i], &e.exact.cotangents[i]) else {
            return vec![None; want.len()];
        };
        let own = &self.own[i];
        let local = self.steps.backward(v, error, own, ybar, want);
        let x = self.operands(v, error);
        // f(x_R): as far from y_R as R's own error
        let defined: Vec<Mag> = y.iter().zip(own).map(|(&y, &o)| y + o).collect();
        let y = apart(&e.values[i], &e.exact.values[i], &defined, |k| own[k]);
        let ybar = apart(run, spec, ybar, |_| Mag::ZERO);
        let missed = n.op.vjp_spec(&Remainders, &x.iter().collect::<Vec<_>>(), &y, &ybar, want);
        let both = |(local, missed): (Option<Errors>, Option<Array<Apart>>)| {
            let (local, missed) = (local?, missed?);
            Some(local.locals.iter().zip(&missed.data).map(|(&l, m)| l + m.rest()).collect())
        };
        local.into_iter().zip(missed).map(both).collect()
    }

    /// At the accumulation of a shared value's contributions, of which those that nodes made are within `arrived`
    /// of the spec; the ones before them are seeds.
    pub fn total(&self, v: ValueId, arrived: Vec<Vec<Mag>>) -> Vec<Mag> {
        let all = self.steps.evidence.cotangents.parts[v.index()].len();
        let n = self.steps.evidence.values[v.index()].data.len();
        let seeds = (arrived.len()..all).map(|_| Errors::none(n));
        let contributions: Vec<Errors> =
            seeds.chain(arrived.into_iter().map(|eps| Errors { eps, ..Errors::default() })).collect();
        self.steps.total(v, &contributions).locals
    }
}
