//! [`Arith`]: the scalar arithmetic in which the textbook definitions are evaluated.
//!
//! A primitive's definition is written once, over any arithmetic. Evaluated with [`super::Balls`] it
//! is the specification (an enclosure of the real value), with [`super::Rounded`] it is the reference
//! runtime (left fold, no FMA, every operation rounded to a format), with [`super::Literal`] it is the
//! literal rung (value and error carried through the same accumulation).

use super::{Elementary, Pieces, parallel};

/// Which entry gets the cotangent where a maximum is attained more than once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ties {
    /// The first one (max pooling).
    First,
    /// All in equal parts (reductions, elementwise maximum).
    Split,
}

/// A scalar arithmetic. `sum` and `dot` are operations of their own, because their order matters.
pub trait Arith: Sync {
    /// A scalar.
    type S: Clone + Send + Sync;

    /// A constant that is exact in binary64 and in the arithmetic's format.
    fn constant(&self, x: f64) -> Self::S;
    /// −a.
    fn neg(&self, a: &Self::S) -> Self::S;
    /// a + b.
    fn add(&self, a: &Self::S, b: &Self::S) -> Self::S;
    /// a − b.
    fn sub(&self, a: &Self::S, b: &Self::S) -> Self::S;
    /// a·b.
    fn mul(&self, a: &Self::S, b: &Self::S) -> Self::S;
    /// a/b, where the exact |b| is known to be at least `floor` (0: nothing is known).
    fn quotient(&self, a: &Self::S, b: &Self::S, floor: f64) -> Self::S;
    /// a/b.
    fn div(&self, a: &Self::S, b: &Self::S) -> Self::S {
        self.quotient(a, b, 0.0)
    }
    /// √a, where the exact a is known to be at least `floor`.
    fn root(&self, a: &Self::S, floor: f64) -> Self::S;
    /// a/total, where total is a sum of non-negative terms of which a is one: between 0 and 1.
    fn share(&self, a: &Self::S, total: &Self::S) -> Self::S;
    /// What a softmax takes from all its entries before it exponentiates: the largest of them. The result
    /// doesn't depend on it, so an arithmetic that only asks for the result may take any number.
    fn shift(&self, xs: &[Self::S]) -> Self::S {
        self.max(xs)
    }
    /// An elementary function.
    fn apply(&self, f: Elementary, a: &Self::S) -> Self::S;
    /// Σ terms, in order, from 0.
    fn sum<'a>(&self, terms: impl Iterator<Item = &'a Self::S>) -> Self::S
    where
        Self::S: 'a;
    /// Σ a·b in order, from 0, then + bias.
    fn dot<'a>(&self, terms: impl Iterator<Item = (&'a Self::S, &'a Self::S)>, bias: Option<&Self::S>) -> Self::S
    where
        Self::S: 'a;
    /// Σ_l left(i,l)·right(l,j), then + bias(i,j), for i < m, j < n, l < k, row after row; `None` is an
    /// exact zero that takes no part. Each entry is a [`Arith::dot`] over l in order, unless the
    /// arithmetic knows better.
    fn products<'a>(
        &self,
        (m, n, k): (usize, usize, usize),
        left: impl Fn(usize, usize) -> Option<&'a Self::S> + Sync,
        right: impl Fn(usize, usize) -> Option<&'a Self::S> + Sync,
        bias: impl Fn(usize, usize) -> Option<&'a Self::S> + Sync,
    ) -> Vec<Self::S>
    where
        Self::S: 'a,
    {
        textbook(self, (m, n, k), left, right, bias)
    }
    /// The value at a of a piecewise linear function.
    fn piece_value(&self, pieces: &Pieces, a: &Self::S) -> Self::S;
    /// ȳ times the slope at a of a piecewise linear function.
    fn piece_slope(&self, pieces: &Pieces, a: &Self::S, ybar: &Self::S) -> Self::S;
    /// The largest of some scalars (at least one).
    fn max(&self, xs: &[Self::S]) -> Self::S;
    /// The cotangents of the entries of a maximum.
    fn max_vjp(&self, xs: &[Self::S], ties: Ties, ybar: &Self::S) -> Vec<Self::S>;
}

/// [`Arith::products`] by its definition.
pub(crate) fn textbook<'a, A: Arith + ?Sized>(
    a: &A,
    (m, n, k): (usize, usize, usize),
    left: impl Fn(usize, usize) -> Option<&'a A::S> + Sync,
    right: impl Fn(usize, usize) -> Option<&'a A::S> + Sync,
    bias: impl Fn(usize, usize) -> Option<&'a A::S> + Sync,
) -> Vec<A::S>
where
    A::S: 'a,
{
    let entry = |e: usize| {
        let (i, j) = (e / n, e % n);
        a.dot((0..k).filter_map(|l| left(i, l).zip(right(l, j))), bias(i, j))
    };
    parallel::map(m * n, 1, entry)
}
