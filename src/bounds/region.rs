//! Error bounds that hold for every input of a box.
//!
//! The portable rules ([`Centre::Spec`]) read nothing of the spec but intervals that hold its values, and
//! nothing of this run but shapes. So give them, in place of enclosures at one input, the ranges of the scale
//! pass over a box. Take any input of the box whose entries are binary32 numbers, S the spec's values,
//! contributions and cotangents there, R those of a conforming run. Every S lies in its range, since ranges
//! are propagated outward from the box; the leaves of S and R agree, e = 0; and at every node the rule says,
//! for *every* spec value in the ranges and *every* run within e of it, how far the results are apart. By
//! induction over the graph, up and down, |R − S| ≤ e there as well. No gate is taken as decided unless the
//! ranges, widened by e, leave only one piece. Bounds of runs that might overflow somewhere in the box are
//! infinite, as they are at a point.

use super::{Backward, Errors, Evidence, add_bound, backprop, eval};
use crate::ir::{Array, Tensor, ValueId};
use crate::num::{Interval, Mag};
use crate::ops::{Centre, RevGraph, UNKNOWN_GATE};
use crate::runtime::Cotangents;
use crate::scale;
use crate::seed::Seed;
use crate::spec::Exact;

/// Ranges over a box, and how far conforming runs may be from the spec anywhere in it.
#[derive(Debug)]
pub struct Region {
    /// Every input entry may move by this much either way.
    pub radius: Mag,
    /// Ranges of values.
    pub values: Vec<Array<Interval>>,
    /// Ranges of cotangents.
    pub cotangents: Vec<Option<Array<Interval>>>,
    /// Bounds of values.
    pub forward: Vec<Errors>,
    /// Bounds of cotangents.
    pub backward: Backward,
}

/// Bounds over the box of this radius around the graph's inputs. A run at its centre lends its shapes.
pub fn over(graph: &RevGraph, run: (&[Tensor], &Cotangents), seeds: &[Seed], wanted: &[bool], radius: Mag) -> Region {
    let values = scale::eval(graph, radius);
    let mut parts: Vec<Vec<Vec<Interval>>> = vec![Vec::new(); graph.len()];
    let keep =
        |v: ValueId, of: Vec<Array<Interval>>| parts[v.index()] = of.into_iter().map(|c| c.data.into_vec()).collect();
    let cotangents = scale::backprop_leaving(graph, &values, seeds, wanted, keep, |_, range| range);
    let ranges = Exact {
        precision: 0,
        capped: false,
        undecided: 0,
        values: values.iter().map(|v| v.data.to_vec()).collect(),
        cotangents: cotangents.iter().map(|c| c.as_ref().map(|c| c.data.to_vec())).collect(),
        parts,
        gates: values.iter().map(|v| vec![UNKNOWN_GATE; v.data.len()]).collect(),
        kept: Vec::new(),
        gradients: Vec::new(),
    };
    let evidence = Evidence { graph, values: run.0, cotangents: run.1, exact: &ranges };
    let forward = eval(evidence, Centre::Spec, |_| Mag::ZERO);
    let backward = backprop(evidence, &forward, seeds, wanted, Centre::Spec, add_bound);
    Region { radius, values, cotangents, forward, backward }
}
