//! Errors that need no columns of their own, because the next operation only passes them on.
//!
//! Let an error z enter at a place whose only way on is one operation with the linear map J. Where every column
//! of J has at most one entry other than 0 (an elementwise function, a copy, a sum of entries each of which
//! goes to one result), Σ|G·J|·m = Σ|G|·(|J|·m): the errors z may as well enter behind the operation, as J·z.
//! Where the operation's results are cotangents of leaves, nothing follows that could cancel, and the same holds
//! for any J whose entries are single products. |J|·m is what [`Majorants`] make of m.

use super::majorant::{Major, Majorants};
use super::propagate::Table;
use super::sources::Site;
use crate::bounds::Evidence;
use crate::ir::{Array, Index, Tensor, ValueId, elements};
use crate::num::{Elementary, Mag, Ties};
use crate::ops::{Op, RevNode, map};

/// Majorants at a run's values.
pub(super) fn majors(run: &Tensor, sum: impl Fn(usize) -> Mag + Sync) -> Array<Major> {
    let at = |i: usize| Major { value: f64::from(run.data[i]), sum: sum(i) };
    Array::new(run.shape.clone(), map(run.data.len(), at))
}

/// For every value its only reader, where there is one: the node, and which operand.
pub(super) fn only_readers(table: &Table) -> Vec<Option<(ValueId, usize)>> {
    let graph = table.graph;
    let mut readers = vec![(0, None); graph.len()];
    for (k, n) in graph.nodes().iter().enumerate() {
        for (operand, o) in n.operands.iter().enumerate() {
            let r = &mut readers[o.index()];
            *r = (r.0 + 1, Some((graph.node_id(k), operand)));
        }
    }
    readers.into_iter().map(|(count, reader)| reader.filter(|_| count == 1)).collect()
}

/// Does the derivative of f, as its rule has it, depend on f(x) alone?
fn by_result(f: Elementary) -> bool {
    matches!(f, Elementary::Exp | Elementary::Sqrt | Elementary::Tanh | Elementary::Sigmoid | Elementary::Tan)
}

/// Does the cotangent rule of a node read its result?
fn reads_result(op: &Op) -> bool {
    matches!(op, Op::Smooth(_) | Op::Softmax(_))
}

/// Is each entry of a gathered tensor read at most once?
pub(super) fn once(index: &Index, n: usize) -> bool {
    let Index::Table(table) = index else { return true };
    let mut seen = vec![false; n];
    table.iter().filter(|&&j| j != Index::NOTHING).all(|&j| !std::mem::replace(&mut seen[j as usize], true))
}

/// Each entry of an operand goes to at most one entry of the result, and the cotangent rule has no derivative in
/// that operand.
fn passes_value(op: &Op, entries: usize) -> bool {
    match op {
        Op::Piecewise(_) | Op::Add(_) | Op::Sub(_) | Op::Sum(_) | Op::Mean(_) | Op::Max(_) | Op::Join(_) => true,
        Op::Smooth(f) => by_result(f.0),
        Op::Gather(g) => once(&g.index, entries),
        _ => false,
    }
}

/// Each entry of the cotangent goes to at most one entry of one operand's.
fn passes_cotangent(op: &Op, wanted: usize) -> bool {
    match op {
        Op::Join(_) => true,
        Op::Piecewise(_) | Op::Smooth(_) | Op::Gather(_) | Op::Add(_) | Op::Sub(_) => wanted == 1,
        Op::Max(m) => m.ties == Ties::First,
        _ => false,
    }
}

/// Each entry of a contribution is a sum of products of single entries of the cotangent.
fn single_products(op: &Op) -> bool {
    !matches!(op, Op::Softmax(_) | Op::LogSoftmax(_) | Op::Normalize(_) | Op::Div(_) | Op::Route(_))
}

/// The one operation that errors pass through unmixed.
pub(super) enum Way {
    /// The node that reads a value, and as which operand.
    Up(ValueId, usize),
    /// The node that a cotangent belongs to, and which operands want one.
    Down(ValueId, Vec<bool>),
}

/// Which way on errors at a site have, if they need no columns; `reader` is the only one of the value.
pub(super) fn way(table: &Table, reader: Option<(ValueId, usize)>, site: Site) -> Option<Way> {
    let graph = table.graph;
    if let Site::Forward(v) = site {
        let (to, operand) = reader?;
        let read = graph.node(v).is_some_and(|own| reads_result(&own.op));
        let passes = !read && passes_value(&graph.node(to)?.op, elements(graph.shape(v)));
        return passes.then_some(Way::Up(to, operand));
    }
    let target = site.target(table);
    let n = graph.node(target)?;
    let want: Vec<bool> = n.operands.iter().map(|o| table.wanted[o.index()]).collect();
    let ends = n.operands.iter().zip(&want).all(|(o, w)| !w || graph.node(*o).is_none()) && single_products(&n.op);
    let passes = ends || passes_cotangent(&n.op, want.iter().filter(|w| **w).count());
    passes.then_some(Way::Down(target, want))
}

/// Where errors at the start of a way enter instead, and their sizes there.
pub(super) fn onward(e: Evidence, table: &Table, way: &Way, sizes: &[Vec<Mag>]) -> Vec<(Site, Vec<Vec<Mag>>)> {
    let run = |v: ValueId| &e.values[v.index()];
    let sums = |m: Array<Major>| m.data.into_iter().map(|m| m.sum).collect::<Vec<Mag>>();
    let (Way::Up(at, _) | Way::Down(at, _)) = way;
    let n = table.graph.node(*at).expect("a way leads through a node");
    let mut x: Vec<Array<Major>> = n.operands.iter().map(|&o| majors(run(o), |_| Mag::ZERO)).collect();
    let (target, want) = match way {
        Way::Up(to, operand) => {
            let behind = |m: &Vec<Mag>| {
                x[*operand] = majors(run(n.operands[*operand]), |i| m[i]);
                sums(n.op.forward_spec(&Majorants, &x.iter().collect::<Vec<_>>()))
            };
            return vec![(Site::Forward(*to), sizes.iter().map(behind).collect())];
        }
        Way::Down(target, want) => (*target, want),
    };
    let ybar = e.cotangents.total[target.index()].as_ref().expect("an error of a cotangent that is there");
    let (x, y) = (x.iter().collect::<Vec<_>>(), majors(run(target), |_| Mag::ZERO));
    let mut behind: Vec<_> =
        sizes.iter().map(|m| n.op.vjp_spec(&Majorants, &x, &y, &majors(ybar, |i| m[i]), want).into_iter()).collect();
    let mut found = Vec::new();
    for (operand, want) in want.iter().enumerate() {
        // all of them first: none may fall behind
        let each: Vec<Option<Array<Major>>> = behind.iter_mut().map(|b| b.next().flatten()).collect();
        if let (true, Some(each)) = (*want, each.into_iter().collect::<Option<Vec<_>>>()) {
            found.push((Site::Backward { from: target, operand }, each.into_iter().map(sums).collect()));
        }
    }
    found
}
