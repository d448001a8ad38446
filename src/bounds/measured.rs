//! Measured local errors: each operation's definition, evaluated at this run's operands.
//!
//! Of a contraction one binary64 product of the very operands says what it should have been, whatever the
//! order of the run's: its own error, k·2^−53·Σ|ab|, is far below what it measures. All else is evaluated
//! in balls.

use super::Evidence;
use crate::ir::{Array, Tensor, ValueId, walk};
use crate::num::{Ball, Balls, Interval, Mag};
use crate::ops::{Op, RevNode, map};
use crate::seed::Seed;
use crate::spec::textbook::lift;
use std::collections::BTreeMap;

/// |what the run computed − what its operands define|, per entry.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Per node.
    pub forward: Vec<Vec<Mag>>,
    /// Per contribution: consumer and operand.
    pub backward: BTreeMap<(ValueId, usize), Vec<Mag>>,
}

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

/// Measures all operations of one run.
pub fn measure(e: Evidence, seeds: &[Seed], wanted: &[bool]) -> Measured {
    let (graph, balls) = (e.graph, Balls::new(BITS));
    let seeded: Vec<ValueId> = seeds.iter().map(|s| s.value).collect();
    let arrival = walk::arrivals(graph, wanted, &seeded, |v| e.cotangents.total[v.index()].is_some());
    let contribution = |v: ValueId, operand: usize, o: ValueId| -> &Tensor {
        let place = arrival[&(v, operand)];
        e.cotangents.parts[o.index()].get(place).unwrap_or_else(|| {
            e.cotangents.total[o.index()].as_ref().expect("a contribution that was made has arrived")
        })
    };
    let mut found = Measured { forward: Vec::with_capacity(graph.nodes().len()), backward: BTreeMap::new() };
    for (k, n) in graph.nodes().iter().enumerate() {
        let v = graph.node_id(k);
        let run = &e.values[v.index()].data;
        let want: Vec<bool> = n.operands.iter().map(|o| wanted[o.index()]).collect();
        let ybar = e.cotangents.total[v.index()].as_ref().filter(|_| want.contains(&true));
        if moves_only(&n.op) && ybar.is_none() {
            found.forward.push(vec![Mag::ZERO; run.len()]);
            continue;
        }
        let operands: Vec<&Tensor> = n.operands.iter().map(|o| &e.values[o.index()]).collect();
        if let Some(y) = n.op.forward_wide(&operands) {
            found.forward.push(from_wide(run, &y));
            let Some(made) = ybar.and_then(|ybar| n.op.vjp_wide(&operands, ybar, &want)) else { continue };
            for (operand, (o, c)) in n.operands.iter().zip(made).enumerate() {
                if let (true, Some(c)) = (want[operand], c) {
                    found.backward.insert((v, operand), from_wide(&contribution(v, operand, *o).data, &c));
                }
            }
            continue;
        }
        let x: Vec<Array<Ball>> = n.operands.iter().map(|o| lift(&balls, &e.values[o.index()])).collect();
        let x: Vec<&Array<Ball>> = x.iter().collect();
        let y = n.op.forward_spec(&balls, &x);
        found.forward.push(distances(run, &y));
        let Some(ybar) = ybar else { continue };
        let exact = n.op.vjp_spec(&balls, &x, &y, &lift(&balls, ybar), &want);
        for (operand, (o, c)) in n.operands.iter().zip(exact).enumerate() {
            if let (true, Some(c)) = (want[operand], c) {
                found.backward.insert((v, operand), distances(&contribution(v, operand, *o).data, &c));
            }
        }
    }
    found
}
