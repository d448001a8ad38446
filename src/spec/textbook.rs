//! Forward and backward by the textbook definitions, over any arithmetic.
//!
//! With [`Balls`](crate::num::Balls) this is the specification; with
//! [`Rounded`](crate::num::Rounded) the reference runtime: sequential left folds, no FMA, elementary
//! functions correctly rounded.

use crate::ir::{Array, Leaf, Node, ValueId, walk};
use crate::num::Arith;
use crate::ops::{Op, PerOperand, RevGraph, RevNode, map};
use crate::seed::Seed;
use std::borrow::Cow;
use std::cell::RefCell;
use std::convert::Infallible;

/// A tensor's entries as exact scalars.
pub fn lift<A: Arith>(a: &A, t: &crate::ir::Tensor) -> Array<A::S> {
    Array::new(t.shape.clone(), map(t.data.len(), |i| a.constant(f64::from(t.data[i]))))
}

/// A leaf's entries as the specification has them.
pub fn lift_leaf<A: Arith>(a: &A, l: &Leaf) -> Array<A::S> {
    Array::new(l.tensor.shape.clone(), map(l.tensor.data.len(), |i| a.constant(l.exact(i))))
}

/// The operands of a node: leaves are lifted for it alone, all else stands in `values`.
fn operands<'v, A: Arith>(graph: &RevGraph, a: &A, values: &'v [Array<A::S>], n: &Node<Op>) -> Vec<Cow<'v, Array<A::S>>>
where
    A::S: Clone,
{
    let one = |o: &ValueId| match graph.leaves().get(o.index()) {
        Some(leaf) => Cow::Owned(lift_leaf(a, leaf)),
        None => Cow::Borrowed(&values[o.index()]),
    };
    n.operands.iter().map(one).collect()
}

/// As [`eval`], but leaves stay empty, and `through` gets hold of each value when the last of its
/// readers has been evaluated. `step` computes each node's value, or knows it already.
pub fn eval_leaving<A: Arith>(
    graph: &RevGraph,
    a: &A,
    mut step: impl FnMut(&dyn Fn() -> PerOperand<Array<A::S>>) -> PerOperand<Array<A::S>>,
    mut after: impl FnMut(ValueId, &[&Array<A::S>], &Array<A::S>),
    mut through: impl FnMut(ValueId, &mut Array<A::S>),
) -> Vec<Array<A::S>> {
    let mut last = vec![None; graph.len()];
    for (k, n) in graph.nodes().iter().enumerate() {
        n.operands.iter().for_each(|o| last[o.index()] = Some(k));
    }
    let mut values: Vec<Array<A::S>> = graph.leaves().iter().map(|_| Array::new(vec![0], Vec::new())).collect();
    for (k, n) in graph.nodes().iter().enumerate() {
        let lifted = operands(graph, a, &values, n);
        let x: Vec<&Array<A::S>> = lifted.iter().map(|x| &**x).collect();
        let y = step(&|| vec![Some(n.op.forward_spec(a, &x))]).pop().flatten().expect("a node has a value");
        after(graph.node_id(k), &x, &y);
        drop(lifted);
        values.push(y);
        let mut done: Vec<ValueId> = n.operands.clone();
        done.dedup();
        for o in done.into_iter().filter(|o| last[o.index()] == Some(k) && graph.node(*o).is_some()) {
            through(o, &mut values[o.index()]);
        }
    }
    values
}

/// Values of leaves and nodes; `after` may look at each node's value as it is made.
pub fn eval<A: Arith>(
    graph: &RevGraph,
    a: &A,
    mut after: impl FnMut(crate::ir::ValueId, &[&Array<A::S>], Array<A::S>) -> Array<A::S>,
) -> Vec<Array<A::S>> {
    let walked =
        walk::up(graph, |l| lift_leaf(a, l), |v, n, x| Ok::<_, Infallible>(after(v, x, n.op.forward_spec(a, x))));
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

/// As [`backprop`] over the values of [`eval_leaving`]; hands value and cotangent over to `leave` when no
/// rule will ask for them again; an empty array stays in `values`. `step` computes each node's
/// contributions, or knows them already.
///
/// What convolutions and matrix products contribute to leaves goes nowhere else: it is evaluated in `end`.
pub fn backprop_leaving<A: Arith, R>(
    graph: &RevGraph,
    (a, end): (&A, &A),
    values: &mut [Array<A::S>],
    seeds: &[Seed],
    wanted: &[bool],
    mut step: impl FnMut(&dyn Fn() -> PerOperand<Array<A::S>>) -> PerOperand<Array<A::S>>,
    mut total: impl FnMut(ValueId, Vec<Array<A::S>>) -> Array<A::S>,
    mut leave: impl FnMut(ValueId, Array<A::S>, Array<A::S>) -> R,
) -> Vec<Option<R>> {
    let values = RefCell::new(values);
    let walked = walk::down_leaving(
        graph,
        wanted,
        seeds.iter().map(|s| (s.value, lift(a, &s.cotangent))).collect(),
        |v, n, ybar, want| {
            let values = values.borrow();
            Ok::<_, Infallible>(step(&|| {
                let lifted = operands(graph, a, &values, n);
                let x: Vec<&Array<A::S>> = lifted.iter().map(|x| &**x).collect();
                let ends = |k: usize| is_contraction(&n.op) && graph.node(n.operands[k]).is_none();
                let part =
                    |of_ends: bool| -> Vec<bool> { (0..want.len()).map(|k| want[k] && ends(k) == of_ends).collect() };
                let (inner, outer) = (part(false), part(true));
                let vjp = |a: &A, want: &[bool]| match want.contains(&true) {
                    true => n.op.vjp_spec(a, &x, &values[v.index()], ybar, want),
                    false => want.iter().map(|_| None).collect(),
                };
                let out = vjp(a, &inner).into_iter().zip(vjp(end, &outer));
                out.map(|(i, o)| i.or(o)).collect()
            }))
        },
        |v, contributions| Ok(total(v, contributions)),
        |v, ybar| {
            let empty = Array::new(vec![0], Vec::new());
            leave(v, std::mem::replace(&mut values.borrow_mut()[v.index()], empty), ybar)
        },
    );
    walked.unwrap_or_else(|e| match e {})
}

/// A matrix product or a convolution.
pub fn is_contraction(op: &Op) -> bool {
    matches!(op, Op::MatMul(_) | Op::Conv(_))
}

/// ((c₁ + c₂) + c₃) + …, entry by entry.
pub fn left_fold<A: Arith>(a: &A, contributions: Vec<Array<A::S>>) -> Array<A::S> {
    let mut it = contributions.into_iter();
    let first = it.next().expect("a cotangent has at least one contribution");
    it.fold(first, |p, c| {
        let data = map(p.data.len(), |i| a.add(&p.data[i], &c.data[i]));
        Array::new(p.shape, data)
    })
}
