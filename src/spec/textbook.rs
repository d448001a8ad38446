//! Forward and backward by the textbook definitions, over any arithmetic.
//!
//! With [`Balls`](crate::num::Balls) this is the specification; with
//! [`Rounded`](crate::num::Rounded) the reference runtime: sequential left folds, no FMA, elementary
//! functions correctly rounded.

use crate::ir::{Array, walk};
use crate::num::Arith;
use crate::ops::{PerOperand, RevGraph, RevNode};
use crate::seed::Seed;
use rayon::prelude::*;
use std::cell::RefCell;
use std::convert::Infallible;

/// A tensor's entries as exact scalars.
pub fn lift<A: Arith>(a: &A, t: &crate::ir::Tensor) -> Array<A::S> {
    Array::new(t.shape.clone(), t.data.iter().map(|&x| a.constant(f64::from(x))).collect())
}

/// Values of leaves and nodes; `after` may look at each node's value as it is made.
pub fn eval<A: Arith>(
    graph: &RevGraph,
    a: &A,
    after: impl FnMut(crate::ir::ValueId, &[&Array<A::S>], Array<A::S>) -> Array<A::S>,
) -> Vec<Array<A::S>> {
    eval_by(graph, a, |compute| compute(), after)
}

/// As [`eval`]; `step` computes each node's value, or knows it already.
pub fn eval_by<A: Arith>(
    graph: &RevGraph,
    a: &A,
    mut step: impl FnMut(&dyn Fn() -> PerOperand<Array<A::S>>) -> PerOperand<Array<A::S>>,
    mut after: impl FnMut(crate::ir::ValueId, &[&Array<A::S>], Array<A::S>) -> Array<A::S>,
) -> Vec<Array<A::S>> {
    let walked = walk::up(
        graph,
        |l| lift(a, &l.tensor),
        |v, n, x| {
            let y = step(&|| vec![Some(n.op.forward_spec(a, x))]).pop().flatten();
            Ok::<_, Infallible>(after(v, x, y.expect("a node has a value")))
        },
    );
    walked.unwrap_or_else(|e| match e {})
}

/// Cotangents of all values that lead to something wanted.
///
/// `after` may look at the contributions of a node as they are made, `total` makes one cotangent of
/// a value's contributions ([`left_fold`] unless there is reason for more).
pub fn backprop<A: Arith>(
    graph: &RevGraph,
    a: &A,
    values: &[Array<A::S>],
    seeds: &[Seed],
    wanted: &[bool],
    mut after: impl FnMut(crate::ir::ValueId, Vec<Option<Array<A::S>>>) -> Vec<Option<Array<A::S>>>,
    mut total: impl FnMut(crate::ir::ValueId, Vec<Array<A::S>>) -> Array<A::S>,
) -> Vec<Option<Array<A::S>>> {
    let walked = walk::down(
        graph,
        wanted,
        seeds.iter().map(|s| (s.value, lift(a, &s.cotangent))).collect(),
        |v, n, ybar, want| {
            let x: Vec<&Array<A::S>> = n.operands.iter().map(|o| &values[o.index()]).collect();
            Ok::<_, Infallible>(after(v, n.op.vjp_spec(a, &x, &values[v.index()], ybar, want)))
        },
        |v, contributions| Ok(total(v, contributions)),
    );
    walked.unwrap_or_else(|e| match e {})
}

/// As [`backprop`], but hands value and cotangent over to `leave` when no rule will ask for them again;
/// an empty array stays in `values`. `step` computes each node's contributions, or knows them already.
pub fn backprop_leaving<A: Arith, R>(
    graph: &RevGraph,
    a: &A,
    values: &mut [Array<A::S>],
    seeds: &[Seed],
    wanted: &[bool],
    mut step: impl FnMut(&dyn Fn() -> PerOperand<Array<A::S>>) -> PerOperand<Array<A::S>>,
    mut total: impl FnMut(crate::ir::ValueId, Vec<Array<A::S>>) -> Array<A::S>,
    mut leave: impl FnMut(crate::ir::ValueId, Array<A::S>, Array<A::S>) -> R,
) -> Vec<Option<R>> {
    let values = RefCell::new(values);
    let walked = walk::down_leaving(
        graph,
        wanted,
        seeds.iter().map(|s| (s.value, lift(a, &s.cotangent))).collect(),
        |v, n, ybar, want| {
            let values = values.borrow();
            let x: Vec<&Array<A::S>> = n.operands.iter().map(|o| &values[o.index()]).collect();
            Ok::<_, Infallible>(step(&|| n.op.vjp_spec(a, &x, &values[v.index()], ybar, want)))
        },
        |v, contributions| Ok(total(v, contributions)),
        |v, ybar| {
            let empty = Array { shape: vec![0], data: Vec::new() };
            leave(v, std::mem::replace(&mut values.borrow_mut()[v.index()], empty), ybar)
        },
    );
    walked.unwrap_or_else(|e| match e {})
}

/// ((c₁ + c₂) + c₃) + …, entry by entry.
pub fn left_fold<A: Arith>(a: &A, contributions: Vec<Array<A::S>>) -> Array<A::S> {
    let mut it = contributions.into_iter();
    let first = it.next().expect("a cotangent has at least one contribution");
    it.fold(first, |p, c| {
        let data = p.data.par_iter().zip(&c.data).map(|(x, y)| a.add(x, y)).collect();
        Array::new(p.shape, data)
    })
}
