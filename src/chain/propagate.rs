//! One sweep of derivatives through the forward and the backward pass.
//!
//! Only what moves is evaluated: everything else keeps this run's values.

use super::jet::{Jet, Jets, LANES};
use super::sources::Site;
use crate::bounds::{Backward, Evidence};
use crate::ir::{Array, Node, Tensor, ValueId, elements, walk};
use crate::num::{Interval, Mag, parallel};
use crate::ops::{Op, RevGraph, RevNode, map};
use crate::seed::Seed;
use std::collections::BTreeMap;

/// A run's values and cotangents as jets that stand still, and the order in which contributions arrive.
#[derive(Debug)]
pub struct Table<'a> {
    /// The graph.
    pub graph: &'a RevGraph,
    /// Which values have cotangents.
    pub wanted: &'a [bool],
    values: Vec<Array<Jet>>,
    cotangents: Vec<Option<Array<Jet>>>,
    /// For (consumer, operand): its place among the contributions of that value.
    arrival: BTreeMap<(ValueId, usize), usize>,
}

/// Jets of a tensor that don't move.
pub fn jets_of(t: &Tensor) -> Array<Jet> {
    Array::new(t.shape.clone(), map(t.data.len(), |i| Jet::still(f64::from(t.data[i]))))
}

/// What moved in a sweep; `None` stands still.
#[derive(Debug)]
pub struct Moves {
    /// Values.
    pub values: Vec<Option<Array<Jet>>>,
    /// Cotangents.
    pub cotangents: Vec<Option<Array<Jet>>>,
}

impl<'a> Table<'a> {
    /// Prepares sweeps over one run.
    pub fn new(e: Evidence<'a>, seeds: &[Seed], wanted: &'a [bool]) -> Table<'a> {
        let graph = e.graph;
        let seeded: Vec<ValueId> = seeds.iter().map(|s| s.value).collect();
        let arrival = walk::arrivals(graph, wanted, &seeded, |v| e.cotangents.total[v.index()].is_some());
        Table {
            graph,
            wanted,
            values: e.values.iter().map(jets_of).collect(),
            cotangents: e.cotangents.total.iter().map(|c| c.as_ref().map(jets_of)).collect(),
            arrival,
        }
    }

    /// Entries of the largest tensor at a node.
    pub fn largest(&self, n: &Node<Op>) -> usize {
        n.operands.iter().map(|&o| elements(self.graph.shape(o))).max().unwrap_or(0).max(elements(&n.shape))
    }

    /// A contribution of this run, its enclosure, and its local bounds.
    pub fn contribution<'b>(
        &self,
        e: Evidence<'b>,
        backward: &'b Backward,
        from: ValueId,
        operand: usize,
        to: ValueId,
    ) -> (&'b [f32], &'b [Interval], &'b [Mag]) {
        let i = to.index();
        match e.cotangents.parts[i].get(self.arrival[&(from, operand)]) {
            Some(part) => {
                let k = self.arrival[&(from, operand)];
                (&part.data, &e.exact.parts[i][k], &backward.parts[i][k].locals)
            }
            // the only contribution is the cotangent
            None => (
                &e.cotangents.total[i].as_ref().expect("it has arrived").data,
                e.exact.cotangents[i].as_deref().expect("it has arrived"),
                &backward.total[i].as_ref().expect("it has arrived").locals,
            ),
        }
    }

    /// One sweep: `inject(site)` says what enters there, per entry, in each lane.
    pub fn sweep(&self, inject: impl Fn(Site) -> Option<Injection>) -> Moves {
        let graph = self.graph;
        let mut values: Vec<Option<Array<Jet>>> = vec![None; graph.len()];
        for (k, n) in graph.nodes().iter().enumerate() {
            let v = graph.node_id(k);
            let entering = inject(Site::Forward(v));
            let live = n.operands.iter().any(|o| values[o.index()].is_some());
            if !live && entering.is_none() {
                continue;
            }
            let mut y = if live {
                let x: Vec<&Array<Jet>> = n.operands.iter().map(|o| self.value(&values, *o)).collect();
                let mut moved = n.op.forward_spec(&Jets, &x);
                values_onto(&mut moved, &self.values[v.index()]);
                moved
            } else {
                self.values[v.index()].clone()
            };
            enter(&mut y, entering);
            values[v.index()] = moves(&y).then_some(y);
        }
        let mut cotangents: Vec<Option<Array<Jet>>> = vec![None; graph.len()];
        for id in (0..graph.len()).rev() {
            let v = ValueId(id as u32);
            let Some(still) = &self.cotangents[id] else { continue };
            if let Some(entering) = inject(Site::Total(v)) {
                enter(cotangents[id].get_or_insert_with(|| still.clone()), Some(entering));
            }
            let Some(n) = graph.node(v) else { continue };
            let want: Vec<bool> = n.operands.iter().map(|o| self.wanted[o.index()]).collect();
            let entering: Vec<Option<Injection>> = (0..want.len())
                .map(|operand| want[operand].then(|| inject(Site::Backward { from: v, operand })).flatten())
                .collect();
            // a rule may read the result: it moves the contributions as well
            let read = || n.operands.iter().chain([&v]).any(|o| values[o.index()].is_some());
            let live = cotangents[id].is_some() || read();
            let mut contributions = if live {
                let x: Vec<&Array<Jet>> = n.operands.iter().map(|o| self.value(&values, *o)).collect();
                let ybar = cotangents[id].as_ref().unwrap_or(still);
                n.op.vjp_spec(&Jets, &x, self.value(&values, v), ybar, &want)
            } else {
                vec![None; want.len()]
            };
            for (operand, (o, entering)) in n.operands.iter().zip(entering).enumerate() {
                if !want[operand] || (contributions[operand].is_none() && entering.is_none()) {
                    continue;
                }
                let Some(base) = &self.cotangents[o.index()] else { continue };
                let mut c = contributions[operand].take().unwrap_or_else(|| base.clone());
                enter(&mut c, entering);
                if !moves(&c) {
                    continue;
                }
                match &mut cotangents[o.index()] {
                    Some(sum) => {
                        parallel::each(&mut sum.data, 256, |i, s| {
                            let j = &c.data[i];
                            if j.live {
                                s.live = true;
                                s.lanes.iter_mut().zip(&j.lanes).for_each(|(s, t)| *s += t);
                            }
                        });
                    }
                    first => {
                        values_onto(&mut c, base);
                        *first = Some(c);
                    }
                }
            }
        }
        Moves { values, cotangents }
    }

    fn value<'b>(&'b self, values: &'b [Option<Array<Jet>>], v: ValueId) -> &'b Array<Jet> {
        values[v.index()].as_ref().unwrap_or(&self.values[v.index()])
    }
}

/// Derivatives that enter at a site: entry and lanes.
pub type Injection = Vec<(usize, [f64; LANES])>;

fn enter(y: &mut Array<Jet>, entering: Option<Injection>) {
    for (i, lanes) in entering.into_iter().flatten() {
        let j = &mut y.data[i];
        j.live = true;
        j.lanes.iter_mut().zip(&lanes).for_each(|(s, t)| *s += t);
    }
}

/// Derivatives just computed get this run's values.
fn values_onto(moved: &mut Array<Jet>, values: &Array<Jet>) {
    parallel::each(&mut moved.data, 512, |i, m| m.value = values.data[i].value);
}

/// Does any entry move?
fn moves(x: &Array<Jet>) -> bool {
    parallel::any(x.data.len(), 1 << 12, |i| x.data[i].live)
}
