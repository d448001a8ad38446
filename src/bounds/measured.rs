//! Measured local errors: each operation's definition, evaluated at this run's operands.
//!
//! Of a contraction one binary64 product of the very operands says what it should have been, whatever the
//! order of the run's: its own error, k·2^−53·Σ|ab|, is far below what it measures. All else is evaluated
//! in balls.

use super::Evidence;
use crate::ir::{Array, Tensor, ValueId, walk};
use crate::num::{Ball, Balls, Interval, Mag};
use crate::ops::{Op, PerOperand, RevNode, map};
use crate::seed::Seed;
use crate::spec::textbook::lift;
use std::collections::BTreeMap;

/// Bits in which definitions are evaluated: the measured error is off by 2^−70 of the operands' size.
const BITS: u32 = 96;

/// Moves entries without computing.
fn moves_only(op: &Op) -> bool {
    matches!(op, Op::Gather(_) | Op::Join(_) | Op::Max(_))
}

/// Distances from enclosures of what the operands make.
fn from_wide(run: &[f32], exact: &[Interval]) -> Vec<Mag> {
    map(run.len(), |i| exact[i].radius_about(f64::from(run[i])))
}

fn distances(run: &[f32], exact: &Array<Ball>) -> Vec<Mag> {
    map(run.len(), |i| exact.data[i].distance(f64::from(run[i])).1)
}

/// Measures the operations of one run, one by one: |what it computed − what its operands define|, per entry.
#[derive(Debug)]
pub struct Measure<'a> {
    evidence: Evidence<'a>,
    balls: Balls,
    /// The place of each (consumer, operand) among the contributions of that operand.
    arrival: BTreeMap<(ValueId, usize), usize>,
}

impl<'a> Measure<'a> {
    /// For a run with these seeds and wanted cotangents.
    pub fn new(e: Evidence<'a>, seeds: &[Seed], wanted: &[bool]) -> Measure<'a> {
        let seeded: Vec<ValueId> = seeds.iter().map(|s| s.value).collect();
        let arrival = walk::arrivals(e.graph, wanted, &seeded, |v| e.cotangents.total[v.index()].is_some());
        Measure { evidence: e, balls: Balls::new(BITS), arrival }
    }

    fn operands(&self, v: ValueId) -> (&'a Op, Vec<&'a Tensor>) {
        let (graph, values) = (self.evidence.graph, self.evidence.values);
        let n = graph.node(v).expect("operations are nodes");
        (&n.op, n.operands.iter().map(|o| &values[o.index()]).collect())
    }

    /// Of the value of node v.
    pub fn forward(&self, v: ValueId) -> Vec<Mag> {
        let run = &self.evidence.values[v.index()].data;
        let (op, operands) = self.operands(v);
        if moves_only(op) {
            return vec![Mag::ZERO; run.len()];
        }
        match op.forward_wide(&operands) {
            Some(y) => from_wide(run, &y),
            None => {
                let x: Vec<Array<Ball>> = operands.iter().map(|x| lift(&self.balls, x)).collect();
                distances(run, &op.forward_spec(&self.balls, &x.iter().collect::<Vec<_>>()))
            }
        }
    }

    /// Of what node v sent to each operand that is wanted.
    pub fn backward(&self, v: ValueId, want: &[bool]) -> PerOperand<Vec<Mag>> {
        let e = &self.evidence;
        let ybar = e.cotangents.total[v.index()].as_ref().expect("only what has a cotangent sends one");
        let (op, operands) = self.operands(v);
        let sent = |operand: usize| -> &Tensor {
            let o = e.graph.node(v).expect("operations are nodes").operands[operand];
            let place = self.arrival[&(v, operand)];
            e.cotangents.parts[o.index()].get(place).unwrap_or_else(|| {
                e.cotangents.total[o.index()].as_ref().expect("a contribution that was made has arrived")
            })
        };
        if let Some(made) = op.vjp_wide(&operands, ybar, want) {
            let one = |(k, c): (usize, Option<Vec<Interval>>)| c.map(|c| from_wide(&sent(k).data, &c));
            return made.into_iter().enumerate().map(one).collect();
        }
        let x: Vec<Array<Ball>> = operands.iter().map(|x| lift(&self.balls, x)).collect();
        let x: Vec<&Array<Ball>> = x.iter().collect();
        let y = op.forward_spec(&self.balls, &x);
        let made = op.vjp_spec(&self.balls, &x, &y, &lift(&self.balls, ybar), want);
        let one = |(k, c): (usize, Option<Array<Ball>>)| c.map(|c| distances(&sent(k).data, &c));
        made.into_iter().enumerate().map(one).collect()
    }
}
