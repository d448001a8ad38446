//! Single operations: what each adds of its own, given how far its operands may be from the spec.
//!
//! A rule's local part bounds |y_R − f(x_R)|, for any covered run R whose operands x_R lie within the given
//! distances of the spec's. What these are is up to the caller: composed bounds, what the chain says, or what
//! was seen of this run.

use super::{Backward, Errors, Evidence, add_bound, checked};
use crate::ir::{Tensor, ValueId, walk};
use crate::num::{Interval, Mag};
use crate::ops::{Approx, Bound, Centre, RevNode, map};
use crate::seed::Seed;
use std::convert::Infallible;

/// The operations of a graph, one by one.
#[derive(Clone, Copy, Debug)]
pub struct Steps<'a> {
    /// What is known of the values.
    pub evidence: Evidence<'a>,
    /// Which runs are covered.
    pub centre: Centre,
}

impl Steps<'_> {
    fn operands<'b>(&'b self, v: ValueId, eps: &'b [Vec<Mag>]) -> Vec<Approx<'b>> {
        let n = self.evidence.graph.node(v).expect("a step is a node's");
        n.operands.iter().zip(eps).map(|(&o, e)| self.evidence.value(o, e, self.centre)).collect()
    }

    /// What node v adds; its k-th operand is within `eps[k]` of the spec. Infinite where a covered run may
    /// overflow.
    pub fn forward(&self, v: ValueId, eps: &[Vec<Mag>]) -> Errors {
        let n = self.evidence.graph.node(v).expect("a step is a node's");
        let b = n.op.forward_bound(&self.operands(v, eps), &self.evidence.value(v, &[], self.centre));
        let peak = b.peak;
        checked(Errors::of(b), peak, &self.evidence.exact.values[v.index()], self.centre)
    }

    /// What node v adds to each contribution that it makes; `own` is what it added to its value, `ybar` how far
    /// the cotangent of that is from the spec.
    // rules ask of the result only how far a run's is from what the run's operands define
    pub fn backward(
        &self,
        v: ValueId,
        eps: &[Vec<Mag>],
        own: &[Mag],
        ybar: &[Mag],
        want: &[bool],
    ) -> Vec<Option<Errors>> {
        let (e, i) = (&self.evidence, v.index());
        let n = e.graph.node(v).expect("a step is a node's");
        let run = e.cotangents.total[i].as_ref().expect("the run has a cotangent where bounds have one");
        let spec = e.exact.cotangents[i].as_deref().expect("and so has the spec");
        let shape = &run.shape;
        let ybar = Approx { shape, run: &run.data, spec, eps: ybar, centre: self.centre, measured: false, gates: &[] };
        let out = n.op.vjp_bound(&self.operands(v, eps), &e.value(v, own, self.centre), &ybar, want);
        let step = |(b, o): (Option<Bound>, &ValueId)| {
            let b = b?;
            let peak = b.peak;
            // contributions to a shared cotangent are checked where they are added up
            let alone = e.cotangents.parts[o.index()].is_empty();
            let spec = e.exact.cotangents[o.index()].as_deref().filter(|_| alone).unwrap_or(&[]);
            Some(checked(Errors::of(b), peak, spec, self.centre))
        };
        out.into_iter().zip(&n.operands).map(step).collect()
    }

    /// What the accumulation of a shared value's contributions adds.
    pub fn total(&self, v: ValueId, contributions: &[Errors]) -> Errors {
        let (e, i) = (&self.evidence, v.index());
        let sum = add_bound(&e.cotangents.parts[i], &e.exact.parts[i], contributions, self.centre);
        checked(sum, Mag::ZERO, e.exact.cotangents[i].as_deref().unwrap_or(&[]), self.centre)
    }
}

/// Local errors, every operation on its own: how far the operands are from the spec is read off the enclosures
/// of this run, not composed. `eps` of the result bounds one step only.
///
/// Where a rule's local part grows with what the operands carry (softmax, products of rounded factors, orders
/// that might overflow), the composed bounds would make it explode with depth. With [`Centre::Run`] the locals
/// bound what this run's operations add; with [`Centre::Spec`] what those of any run add whose operands are as
/// near to the spec as this run's: to first order, all of them.
pub fn one_step(e: Evidence, seeds: &[Seed], wanted: &[bool], centre: Centre) -> (Vec<Errors>, Backward) {
    let graph = e.graph;
    let steps = Steps { evidence: e, centre };
    // |x̂ − x| ≤ the largest distance of x̂ from the enclosure
    let seen = |run: &Tensor, spec: &[Interval]| -> Vec<Mag> {
        map(run.data.len(), |i| spec[i].radius_about(f64::from(run.data[i])))
    };
    let near: Vec<Vec<Mag>> = (0..graph.len()).map(|i| seen(&e.values[i], &e.exact.values[i])).collect();
    let of = |v: ValueId| -> Vec<Vec<Mag>> {
        graph.node(v).into_iter().flat_map(|n| n.operands.iter().map(|o| near[o.index()].clone())).collect()
    };
    let mut forward: Vec<Errors> = graph.leaves().iter().map(|l| Errors::none(l.tensor.data.len())).collect();
    for k in 0..graph.nodes().len() {
        let v = graph.node_id(k);
        forward.push(steps.forward(v, &of(v)));
    }
    let mut parts: Vec<Vec<Errors>> = vec![Vec::new(); graph.len()];
    let walked = walk::down(
        graph,
        wanted,
        seeds.iter().map(|s| (s.value, Errors::none(s.cotangent.data.len()))).collect(),
        |v, _, _: &Errors, want| {
            let i = v.index();
            let run = e.cotangents.total[i].as_ref().expect("the run has a cotangent where bounds have one");
            let ybar = seen(run, e.exact.cotangents[i].as_deref().expect("and so has the spec"));
            Ok::<_, Infallible>(steps.backward(v, &of(v), &forward[i].locals, &ybar, want))
        },
        |v, mut contributions| {
            if contributions.len() == 1 {
                return Ok(contributions.swap_remove(0));
            }
            let sum = steps.total(v, &contributions);
            parts[v.index()] = contributions;
            Ok(sum)
        },
    );
    (forward, Backward { total: walked.unwrap_or_else(|e| match e {}), parts })
}
