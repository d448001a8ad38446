//! # Gather, Join: data movement
//!
//! ## Definition
//! Gather: y_i = x_{index(i)}, or an exact 0 where the index names nothing. Join: the operands' entries
//! one after the other. Reshaping, transposing, slicing, broadcasting, padding, pooling windows and
//! picking labels are all of this form.
//!
//! ## Algorithm
//! Copies. The cotangent of an entry that is read more than once is a sum on the recorded tree, its
//! readers in increasing order.
//!
//! ## VJP
//! Gather: x̄_j = Σ ȳ_i over all i with index(i) = j. Join: the parts of ȳ.
//!
//! ## Error
//! Forward exact: carried e. Cotangent: carried Σe_i; local, with h the height of the recorded tree,
//! ((1+u)^h − 1)·Σ|ȳ_i| for this run, (n−1)·u·Σ(|ȳ_i|+e_i) for any order, n counting the terms that
//! are not exact zeros.
//!
//! ## Scale
//! The range of the entry read; cotangents add.
//!
//! ## Domain
//! Everywhere.
//!
//! ## References
//! Higham, §4.2; Jeannerod & Rump, Improved error bounds for inner products in floating-point
//! arithmetic, 2013.

use super::{Approx, Bound, PerOperand, RevNode, map, map_rows, map1};
use crate::ir::{Array, Index, Readers, Shaped, Table, Tensor, elements};
use crate::num::{Arith, Interval, Mag, lemma, parallel, reduce};

/// Copies entries to new places.
#[derive(Clone, Debug, PartialEq)]
pub struct Gather {
    /// Shape of the result.
    pub shape: Vec<usize>,
    /// Where each entry of the result comes from.
    pub index: Index,
}

/// Operands one after the other, as a vector.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Join;

impl Gather {
    /// The same entries under another shape.
    pub fn reshape(shape: &[usize]) -> Gather {
        Gather { shape: shape.to_vec(), index: Index::Identity }
    }
}

/// The entries that a table names, in its order.
fn gathered(table: &Table, x: &[f32]) -> Vec<f32> {
    let run = table.run();
    if run < 4 {
        return map1(table, |&i| if i == Index::NOTHING { 0.0 } else { x[i as usize] });
    }
    parallel::lines(table.len() / run, run, 0.0, (1 << 14) / run + 1, |r, line| {
        if table[r * run] != Index::NOTHING {
            line.copy_from_slice(&x[table[r * run] as usize..][..run]);
        }
    })
}

/// For every position that is read, the sum over its readers on the recorded tree.
fn summed(readers: &Readers, ybar: &[f32]) -> Vec<f32> {
    match readers {
        Readers::One(reader) => gathered(reader, ybar),
        Readers::Repeated { outer, n, inner: 1 } => {
            let mut sums = vec![0.0; *n];
            reduce::sum_axis(&mut sums, ybar, 1, *outer, *n);
            sums
        }
        Readers::Repeated { outer: 1, n, inner } => map_rows(*n, |j| reduce::sum(&ybar[j * inner..][..*inner])),
        Readers::Repeated { n, .. } => {
            map_rows(*n, |j| reduce::sum(&readers.at(j).map(|i| ybar[i]).collect::<Vec<f32>>()))
        }
        Readers::Many { start, list } => {
            map(start.len() - 1, |j| match &list[start[j] as usize..start[j + 1] as usize] {
                [] => 0.0,
                [i] => ybar[*i as usize],
                many => reduce::sum_indexed(ybar, many),
            })
        }
    }
}

impl Shaped for Gather {
    fn infer(&self, operands: &[&[usize]]) -> Result<Vec<usize>, String> {
        let [x] = operands else {
            return Err(format!("{} operands given, 1 required", operands.len()));
        };
        let (n, m) = (elements(x), elements(&self.shape));
        match &self.index {
            Index::Identity if n != m => Err(format!("{n} entries can't take the shape {:?}", self.shape)),
            Index::Table(t) if t.len() != m => Err(format!("{} index entries given, {m} required", t.len())),
            Index::Table(t) => match t.iter().find(|&&j| j != Index::NOTHING && j as usize >= n) {
                Some(j) => Err(format!("index {j} lies outside the {n} entries of the operand")),
                None => Ok(self.shape.clone()),
            },
            Index::Identity => Ok(self.shape.clone()),
        }
    }
}

impl Shaped for Join {
    fn infer(&self, operands: &[&[usize]]) -> Result<Vec<usize>, String> {
        Ok(vec![operands.iter().map(|s| elements(s)).sum()])
    }
}

/// Sum of the error bounds and magnitudes of some entries: carried, and the local error of adding
/// them up, by the recorded tree (this run only) or in any order.
pub(crate) fn sum_error(x: &Approx, entries: impl Iterator<Item = usize>) -> (Mag, Mag, Mag) {
    let (mut n, mut terms, mut carried, mut total) = (0, 0, Mag::ZERO, Mag::ZERO);
    for i in entries {
        let m = x.run_mag(i);
        n += 1;
        terms += usize::from(!m.is_zero());
        carried += x.eps[i];
        total += m;
    }
    // adding an exact zero never rounds, so only the other terms count
    let any = lemma::sum_any_order(terms, total);
    let local = if x.run_only() { any.min(lemma::tree(reduce::sum_height(n), total)) } else { any };
    (carried, local, total)
}

/// The bound of many sums.
pub(crate) fn sum_bound(sums: Vec<(Mag, Mag, Mag)>) -> Bound {
    let peak = sums.iter().fold(Mag::ZERO, |m, s| m.max(s.2));
    // every partial sum of any order is at most (1+nu)·Σ|x| ≤ 1.01·Σ|x| for n ≤ 10⁵, 2·Σ|x| for 10⁷
    Bound::of_pairs(sums.into_iter().map(|(c, l, _)| (c, l)).collect()).with_peak(peak + peak)
}

impl RevNode for Gather {
    fn forward_spec<A: Arith>(&self, a: &A, x: &[&Array<A::S>]) -> Array<A::S> {
        let pick = |i: usize| match &self.index {
            Index::Identity => x[0].data[i].clone(),
            Index::Table(t) if t[i] == Index::NOTHING => a.constant(0.0),
            Index::Table(t) => x[0].data[t[i] as usize].clone(),
        };
        Array::new(self.shape.clone(), map(elements(&self.shape), pick))
    }

    fn vjp_spec<A: Arith>(
        &self,
        a: &A,
        x: &[&Array<A::S>],
        _: &Array<A::S>,
        ybar: &Array<A::S>,
        _: &[bool],
    ) -> PerOperand<Array<A::S>> {
        let Index::Table(t) = &self.index else {
            return vec![Some(ybar.reshaped(x[0].shape.clone()))];
        };
        let mut readers: Vec<Vec<u32>> = vec![Vec::new(); x[0].data.len()];
        for (i, &j) in t.iter().enumerate().filter(|(_, j)| **j != Index::NOTHING) {
            readers[j as usize].push(i as u32);
        }
        let total = |j: usize| match readers[j].as_slice() {
            [] => a.constant(0.0),
            [i] => ybar.data[*i as usize].clone(),
            list => a.sum(list.iter().map(|&i| &ybar.data[i as usize])),
        };
        vec![Some(Array::new(x[0].shape.clone(), map(readers.len(), total)))]
    }

    fn forward_runtime(&self, x: &[&Tensor]) -> Tensor {
        let Index::Table(t) = &self.index else {
            return x[0].reshaped(self.shape.clone());
        };
        Array::new(self.shape.clone(), gathered(t, &x[0].data))
    }

    fn vjp_runtime(&self, x: &[&Tensor], _: &Tensor, ybar: &Tensor, _: &[bool]) -> PerOperand<Tensor> {
        let Index::Table(t) = &self.index else {
            return vec![Some(ybar.reshaped(x[0].shape.clone()))];
        };
        let mut data = summed(t.readers(), &ybar.data);
        // nobody reads the last ones
        data.resize(x[0].data.len(), 0.0);
        vec![Some(Array::new(x[0].shape.clone(), data))]
    }

    fn forward_bound(&self, x: &[Approx], y: &Approx) -> Bound {
        Bound::exact(map(y.len(), |i| self.index.source(i).map_or(Mag::ZERO, |j| x[0].eps[j])))
    }

    fn vjp_bound(&self, x: &[Approx], _: &Approx, ybar: &Approx, _: &[bool]) -> PerOperand<Bound> {
        let Index::Table(t) = &self.index else {
            return vec![Some(Bound::exact(ybar.eps.to_vec()))];
        };
        let readers = t.readers();
        vec![Some(sum_bound(map(x[0].len(), |j| sum_error(ybar, readers.at(j)))))]
    }

    fn forward_scale(&self, x: &[&Array<Interval>]) -> Array<Interval> {
        let pick = |i: usize| self.index.source(i).map_or(Interval::ZERO, |j| x[0].data[j]);
        Array::new(self.shape.clone(), map(elements(&self.shape), pick))
    }

    fn vjp_scale(
        &self,
        x: &[&Array<Interval>],
        _: &Array<Interval>,
        ybar: &Array<Interval>,
        _: &[bool],
    ) -> PerOperand<Array<Interval>> {
        let Index::Table(t) = &self.index else {
            return vec![Some(ybar.reshaped(x[0].shape.clone()))];
        };
        let readers = t.readers();
        let total = |j: usize| sum_range(readers.at(j).map(|i| ybar.data[i]));
        vec![Some(Array::new(x[0].shape.clone(), map(x[0].data.len(), total)))]
    }
}

/// Range of a sum computed in any order.
pub(crate) fn sum_range(terms: impl Iterator<Item = Interval>) -> Interval {
    let (mut n, mut sum, mut total) = (0, Interval::ZERO, Mag::ZERO);
    for t in terms {
        n += usize::from(t != Interval::ZERO);
        sum = sum.add(t);
        total += t.mag();
    }
    sum.widen(lemma::sum_any_order(n, total))
}

/// The parts of a joined array, cut back into the shapes of the operands.
fn parts<T: Clone>(x: &[&Array<T>], joined: &[T], wanted: &[bool]) -> PerOperand<Array<T>> {
    cut(x.iter().map(|a| a.data.len()), joined)
        .zip(x)
        .zip(wanted)
        .map(|((part, a), &w)| w.then(|| Array::new(a.shape.clone(), part.to_vec())))
        .collect()
}

/// Consecutive parts of given lengths.
fn cut<'a, T>(lengths: impl Iterator<Item = usize> + 'a, joined: &'a [T]) -> impl Iterator<Item = &'a [T]> + 'a {
    let mut from = 0;
    lengths.map(move |n| {
        from += n;
        &joined[from - n..from]
    })
}

/// All entries one after the other.
fn join<T: Clone>(x: &[&Array<T>]) -> Array<T> {
    let data: Vec<T> = x.iter().flat_map(|a| a.data.iter().cloned()).collect();
    Array::new(vec![data.len()], data)
}

impl RevNode for Join {
    fn forward_spec<A: Arith>(&self, _: &A, x: &[&Array<A::S>]) -> Array<A::S> {
        let mut data = Vec::new();
        for operand in x {
            for entry in &operand.data {
                data.push(entry.clone());
            }
        }
        Array::new(vec![data.len()], data)
    }

    fn vjp_spec<A: Arith>(
        &self,
        _: &A,
        x: &[&Array<A::S>],
        _: &Array<A::S>,
        ybar: &Array<A::S>,
        wanted: &[bool],
    ) -> PerOperand<Array<A::S>> {
        let mut entries = ybar.data.iter();
        let mut out = Vec::new();
        for (operand, &w) in x.iter().zip(wanted) {
            let part: Vec<A::S> =
                operand.data.iter().map(|_| entries.next().expect("as many as were joined").clone()).collect();
            out.push(w.then(|| Array::new(operand.shape.clone(), part)));
        }
        out
    }

    fn forward_runtime(&self, x: &[&Tensor]) -> Tensor {
        join(x)
    }

    fn vjp_runtime(&self, x: &[&Tensor], _: &Tensor, ybar: &Tensor, wanted: &[bool]) -> PerOperand<Tensor> {
        parts(x, &ybar.data, wanted)
    }

    fn forward_bound(&self, x: &[Approx], _: &Approx) -> Bound {
        Bound::exact(x.iter().flat_map(|a| a.eps.iter().copied()).collect())
    }

    fn vjp_bound(&self, x: &[Approx], _: &Approx, ybar: &Approx, wanted: &[bool]) -> PerOperand<Bound> {
        cut(x.iter().map(|a| a.len()), ybar.eps)
            .zip(wanted)
            .map(|(e, &w)| w.then(|| Bound::exact(e.to_vec())))
            .collect()
    }

    fn forward_scale(&self, x: &[&Array<Interval>]) -> Array<Interval> {
        join(x)
    }

    fn vjp_scale(
        &self,
        x: &[&Array<Interval>],
        _: &Array<Interval>,
        ybar: &Array<Interval>,
        wanted: &[bool],
    ) -> PerOperand<Array<Interval>> {
        parts(x, &ybar.data, wanted)
    }
}
