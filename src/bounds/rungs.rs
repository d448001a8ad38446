//! The composed rungs together: every conforming run, this run, this run with measured errors.
//!
//! A run that a rung covers is one that the rungs before it cover. So each bound is the smaller of its own and
//! of those before, entry by entry, at every value and contribution, and goes on from there. Figures stay; the
//! bounds themselves go when no rule will ask for them again.

use super::measured::Measure;
use super::{Backward, Errors, Evidence, add_bound};
use crate::ir::{Tensor, ValueId, walk};
use crate::num::{Interval, Mag, parallel};
use crate::ops::{Centre, PerOperand};
use crate::seed::Seed;
use std::cell::RefCell;
use std::convert::Infallible;

/// What stays of the bounds of one table.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// The largest.
    pub max: Mag,
    /// The largest part carried from operands.
    pub carried: Mag,
    /// The largest part made by the node itself.
    pub local: Mag,
    /// How many gates of this node may branch otherwise in spec and covered runs; values only.
    pub undecided: usize,
    /// The first of them, each with the bound of the node's first operand at the same place.
    pub listed: Vec<(u32, Mag)>,
    /// Entries of this run that are further from the enclosure than their bounds: none, or a bound is wrong.
    pub outside: usize,
}

impl Figures {
    /// Of bounds, for a run and the enclosures that it is compared with; no gates are listed.
    pub fn of(e: &Errors, run: &Tensor, spec: &[Interval]) -> Figures {
        Figures {
            max: e.max(),
            carried: e.carried,
            local: e.local,
            undecided: e.undecided.len(),
            listed: Vec::new(),
            outside: outside(e, run, spec),
        }
    }
}

fn outside(e: &Errors, run: &Tensor, spec: &[Interval]) -> usize {
    let far = |i: usize| e.eps[i].get() < spec[i].gap(f64::from(run.data[i]));
    parallel::count(run.data.len(), 1 << 12, far)
}

/// Figures of one rung.
#[derive(Clone, Debug, Default)]
pub struct Ladder {
    /// Per value.
    pub forward: Vec<Figures>,
    /// Per cotangent.
    pub backward: Vec<Option<Figures>>,
}

impl Ladder {
    /// Of bounds that are all there.
    pub fn of(e: Evidence, forward: &[Errors], backward: &Backward) -> Ladder {
        let value = |(i, b): (usize, &Errors)| Figures::of(b, &e.values[i], &e.exact.values[i]);
        let cotangent = |(i, b): (usize, &Option<Errors>)| {
            let (run, spec) = (e.cotangents.total[i].as_ref()?, e.exact.cotangents[i].as_deref()?);
            Some(Figures::of(b.as_ref()?, run, spec))
        };
        Ladder {
            forward: forward.iter().enumerate().map(value).collect(),
            backward: backward.total.iter().enumerate().map(cotangent).collect(),
        }
    }
}

/// What the rungs cover, from the most to the least.
const CENTRES: [Centre; 3] = [Centre::Spec, Centre::Run, Centre::Run];

/// The rung whose local errors are measured.
const MEASURED: usize = 2;

/// Undecided gates that are listed per node.
pub const LISTED: usize = 8;

/// Bounds of all values on each rung; empty where there is no error at all.
struct Table {
    of: Vec<[Vec<Mag>; 3]>,
    zeros: Vec<Mag>,
}

impl Table {
    fn at(&self, e: &Evidence, v: ValueId, rung: usize) -> &[Mag] {
        match &self.of[v.index()][rung] {
            none if none.is_empty() => &self.zeros[..e.values[v.index()].data.len()],
            some => some,
        }
    }
}

/// A covered run is covered by the rung before as well: the smaller bound holds.
fn tighten(mut own: Errors, before: Option<&Errors>) -> Errors {
    own.locals = Vec::new();
    if let Some(b) = before {
        parallel::each(&mut own.eps, 1 << 12, |i, eps| *eps = eps.min(b.eps[i]));
    }
    own
}

/// Figures of `portable`, `schedule` and `run`, in this order.
pub fn rungs(e: Evidence, seeds: &[Seed], wanted: &[bool]) -> [Ladder; 3] {
    let graph = e.graph;
    let measure = Measure::new(e, seeds, wanted);
    let largest = e.values.iter().map(|v| v.data.len()).max().unwrap_or(0);
    let leaves = graph.leaves().len();
    let mut table = Table { of: vec![Default::default(); leaves], zeros: vec![Mag::ZERO; largest] };
    let mut ladders: [Ladder; 3] = Default::default();
    ladders.iter_mut().for_each(|l| l.forward.resize_with(leaves, Figures::default));
    for k in 0..graph.nodes().len() {
        let v = graph.node_id(k);
        let (run, spec) = (&e.values[v.index()], &e.exact.values[v.index()]);
        let mut found: Vec<Errors> = Vec::with_capacity(CENTRES.len());
        for (rung, centre) in CENTRES.into_iter().enumerate() {
            let measured = (rung == MEASURED).then(|| measure.forward(v));
            let own = tighten(e.forward(v, centre, |o| table.at(&e, o, rung), measured), found.last());
            let mut figures = Figures::of(&own, run, spec);
            let first = table.at(&e, graph.nodes()[k].operands[0], rung);
            let at = |&i: &u32| first.get(i as usize).map(|&b| (i, b));
            figures.listed = own.undecided.iter().take(LISTED).filter_map(at).collect();
            ladders[rung].forward.push(figures);
            found.push(own);
        }
        let kept = |b: Errors| if b.max().is_zero() { Vec::new() } else { b.eps };
        let mut found = found.into_iter().map(kept);
        table.of.push(std::array::from_fn(|_| found.next().unwrap_or_default()));
    }
    let table = RefCell::new(table);
    let none = |s: &Seed| vec![Errors::none(s.cotangent.data.len()); CENTRES.len()];
    let walked = walk::down_leaving(
        graph,
        wanted,
        seeds.iter().map(|s| (s.value, none(s))).collect(),
        |v, n, ybar: &Vec<Errors>, want| {
            let table = table.borrow();
            let mut sent: Vec<PerOperand<Errors>> = Vec::with_capacity(CENTRES.len());
            for (rung, centre) in CENTRES.into_iter().enumerate() {
                let measured = (rung == MEASURED).then(|| measure.backward(v, want));
                let own = e.backward(v, centre, |o| table.at(&e, o, rung), &ybar[rung].eps, want, measured);
                let before = |k: usize| sent.last().and_then(|s| s[k].as_ref());
                let own = own.into_iter().enumerate().map(|(k, b)| b.map(|b| tighten(b, before(k)))).collect();
                sent.push(own);
            }
            Ok::<_, Infallible>((0..n.operands.len()).map(|k| sent.iter_mut().map(|s| s[k].take()).collect()).collect())
        },
        |v, contributions| {
            let mut found: Vec<Errors> = Vec::with_capacity(CENTRES.len());
            let mut contributions: Vec<_> = contributions.into_iter().map(Vec::into_iter).collect();
            for centre in CENTRES {
                let of = contributions.iter_mut().filter_map(Iterator::next).collect();
                let own = tighten(e.total(v, centre, of, add_bound).0, found.last());
                found.push(own);
            }
            Ok(found)
        },
        |v, ybar| {
            let i = v.index();
            table.borrow_mut().of[i] = Default::default();
            let run = e.cotangents.total[i].as_ref().expect("the run has a cotangent where bounds have one");
            let spec = e.exact.cotangents[i].as_deref().expect("and so has the spec");
            ybar.iter().map(|b| Figures::of(b, run, spec)).collect::<Vec<_>>()
        },
    );
    for of in walked.unwrap_or_else(|e| match e {}) {
        let mut of = of.map(Vec::into_iter);
        ladders.iter_mut().for_each(|l| l.backward.push(of.as_mut().and_then(Iterator::next)));
    }
    ladders
}
