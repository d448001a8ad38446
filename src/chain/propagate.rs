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
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Entries of a graph up to which jets that stand still are kept from sweep to sweep, and several sweeps are
/// made at a time: some 300 MB.
const SMALL: usize = 1 << 20;

/// A run's values and cotangents, and the order in which contributions arrive.
#[derive(Debug)]
pub struct Table<'a> {
    /// The graph.
    pub graph: &'a RevGraph,
    /// Which values have cotangents.
    pub wanted: &'a [bool],
    values: &'a [Tensor],
    cotangents: &'a [Option<Tensor>],
    /// The values as jets that stand still; empty for large graphs.
    still: Vec<Array<Jet>>,
    /// For (consumer, operand): its place among the contributions of that value.
    arrival: BTreeMap<(ValueId, usize), usize>,
    /// For every node: the leaves that no node before it reads.
    last: BTreeMap<ValueId, Vec<ValueId>>,
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

/// What moved, when nothing of the sweep will ask for it again.
#[derive(Debug)]
pub enum Leaving {
    /// A value.
    Value(Array<Jet>),
    /// A cotangent.
    Cotangent(Array<Jet>),
}

impl<'a> Table<'a> {
    /// Prepares sweeps over one run.
    pub fn new(e: Evidence<'a>, seeds: &[Seed], wanted: &'a [bool]) -> Table<'a> {
        let graph = e.graph;
        let seeded: Vec<ValueId> = seeds.iter().map(|s| s.value).collect();
        let arrival = walk::arrivals(graph, wanted, &seeded, |v| e.cotangents.total[v.index()].is_some());
        let mut last: BTreeMap<ValueId, Vec<ValueId>> = BTreeMap::new();
        let mut read = vec![false; graph.leaves().len()];
        for (k, n) in graph.nodes().iter().enumerate() {
            for o in n.operands.iter().filter(|o| graph.node(**o).is_none()) {
                if !std::mem::replace(&mut read[o.index()], true) {
                    last.entry(graph.node_id(k)).or_default().push(*o);
                }
            }
        }
        let mut table = Table {
            graph,
            wanted,
            values: e.values,
            cotangents: &e.cotangents.total,
            still: Vec::new(),
            arrival,
            last,
        };
        if table.is_small() {
            table.still = e.values.iter().map(jets_of).collect();
        }
        table
    }

    fn is_small(&self) -> bool {
        self.values.iter().map(|v| v.data.len()).sum::<usize>() <= SMALL
    }

    /// How many sweeps may be made at a time.
    pub fn together(&self) -> usize {
        if self.is_small() { 2 * rayon::current_num_threads().max(1) } else { 1 }
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

    /// One sweep: `inject(site)` says what enters there, per entry, in each lane; `leave` gets what moved.
    pub fn sweep(&self, inject: impl Fn(Site) -> Option<Injection>, mut leave: impl FnMut(ValueId, Leaving)) {
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
                let x: Vec<Cow<Array<Jet>>> = n.operands.iter().map(|o| self.value(&values, *o)).collect();
                let mut moved = n.op.forward_spec(&Jets, &x.iter().map(|x| &**x).collect::<Vec<_>>());
                values_onto(&mut moved, &self.values[v.index()]);
                moved
            } else {
                jets_of(&self.values[v.index()])
            };
            enter(&mut y, entering);
            values[v.index()] = moves(&y).then_some(y);
        }
        let mut cotangents: Vec<Option<Array<Jet>>> = vec![None; graph.len()];
        let total = |v: ValueId, cotangent: &mut Option<Array<Jet>>| {
            let Some(still) = &self.cotangents[v.index()] else { return };
            if let Some(entering) = inject(Site::Total(v)) {
                enter(cotangent.get_or_insert_with(|| jets_of(still)), Some(entering));
            }
        };
        for (k, n) in graph.nodes().iter().enumerate().rev() {
            let v = graph.node_id(k);
            total(v, &mut cotangents[v.index()]);
            let moved = cotangents[v.index()].take();
            self.back(v, n, &values, moved.as_ref(), &mut cotangents, &inject);
            for &leaf in self.last.get(&v).into_iter().flatten() {
                total(leaf, &mut cotangents[leaf.index()]);
                if let Some(c) = cotangents[leaf.index()].take() {
                    leave(leaf, Leaving::Cotangent(c));
                }
            }
            if let Some(y) = values[v.index()].take() {
                leave(v, Leaving::Value(y));
            }
            if let Some(c) = moved {
                leave(v, Leaving::Cotangent(c));
            }
        }
    }

    /// All that moved in one sweep.
    pub fn moves(&self, inject: impl Fn(Site) -> Option<Injection>) -> Moves {
        let none = || vec![None; self.graph.len()];
        let mut all = Moves { values: none(), cotangents: none() };
        self.sweep(inject, |v, moved| match moved {
            Leaving::Value(y) => all.values[v.index()] = Some(y),
            Leaving::Cotangent(c) => all.cotangents[v.index()] = Some(c),
        });
        all
    }

    /// What a node adds to the cotangents of its operands; `moved` is its own.
    fn back(
        &self,
        v: ValueId,
        n: &Node<Op>,
        values: &[Option<Array<Jet>>],
        moved: Option<&Array<Jet>>,
        cotangents: &mut [Option<Array<Jet>>],
        inject: impl Fn(Site) -> Option<Injection>,
    ) {
        let Some(still) = &self.cotangents[v.index()] else { return };
        let want: Vec<bool> = n.operands.iter().map(|o| self.wanted[o.index()]).collect();
        let entering: Vec<Option<Injection>> = (0..want.len())
            .map(|operand| want[operand].then(|| inject(Site::Backward { from: v, operand })).flatten())
            .collect();
        // a rule may read the result: it moves the contributions as well
        let read = || n.operands.iter().chain([&v]).any(|o| values[o.index()].is_some());
        let mut contributions = if moved.is_some() || read() {
            let x: Vec<Cow<Array<Jet>>> = n.operands.iter().map(|o| self.value(values, *o)).collect();
            let x: Vec<&Array<Jet>> = x.iter().map(|x| &**x).collect();
            let ybar = moved.map_or_else(|| Cow::Owned(jets_of(still)), Cow::Borrowed);
            n.op.vjp_spec(&Jets, &x, &self.value(values, v), &ybar, &want)
        } else {
            vec![None; want.len()]
        };
        for (operand, (o, entering)) in n.operands.iter().zip(entering).enumerate() {
            if !want[operand] || (contributions[operand].is_none() && entering.is_none()) {
                continue;
            }
            let Some(base) = &self.cotangents[o.index()] else { continue };
            let mut c = contributions[operand].take().unwrap_or_else(|| jets_of(base));
            enter(&mut c, entering);
            if !moves(&c) {
                continue;
            }
            match &mut cotangents[o.index()] {
                Some(sum) => parallel::each(&mut sum.data, 256, |i, s| {
                    let j = &c.data[i];
                    if j.live {
                        s.live = true;
                        s.lanes.iter_mut().zip(&j.lanes).for_each(|(s, t)| *s += t);
                    }
                }),
                first => {
                    values_onto(&mut c, base);
                    *first = Some(c);
                }
            }
        }
    }

    fn value<'b>(&'b self, moved: &'b [Option<Array<Jet>>], v: ValueId) -> Cow<'b, Array<Jet>> {
        match (&moved[v.index()], self.still.get(v.index())) {
            (Some(moved), _) => Cow::Borrowed(moved),
            (None, Some(still)) => Cow::Borrowed(still),
            (None, None) => Cow::Owned(jets_of(&self.values[v.index()])),
        }
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
fn values_onto(moved: &mut Array<Jet>, values: &Tensor) {
    parallel::each(&mut moved.data, 512, |i, m| m.value = f64::from(values.data[i]));
}

/// Does any entry move?
fn moves(x: &Array<Jet>) -> bool {
    parallel::any(x.data.len(), 1 << 12, |i| x.data[i].live)
}
