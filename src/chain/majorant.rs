//! [`Majorants`]: how much a one-step derivative can move, absolute values taken at every operation.
//!
//! Where [`Jets`](super::jet::Jets) compute Σ ±terms in binary64, this computes Σ |terms| rounded up:
//! the rounding error of the former is at most (number of operations on a path)·2^−53 of the latter.

use super::jet::Jet;
use super::products;
use crate::num::arith::textbook;
use crate::num::{Arith, Elementary, Mag, Pieces, Ties};
use crate::ops::Smooth;

/// A value and a bound on the sum of the magnitudes that its derivative is made of.
#[derive(Clone, Copy, Debug)]
pub struct Major {
    /// The value, as a [`Jet`] has it.
    pub value: f64,
    /// Σ |terms| of its derivative.
    pub sum: Mag,
}

/// The arithmetic of [`Major`]s.
#[derive(Clone, Copy, Debug)]
pub struct Majorants;

impl Majorants {
    fn of(value: f64, parts: &[(f64, &Major)]) -> Major {
        Major { value, sum: parts.iter().map(|(f, m)| Mag::of(*f) * m.sum).sum() }
    }

    fn as_jets(xs: &[Major]) -> Vec<Jet> {
        xs.iter().map(|m| Jet::still(m.value)).collect()
    }
}

impl Arith for Majorants {
    type S = Major;

    fn constant(&self, x: f64) -> Major {
        Major { value: x, sum: Mag::ZERO }
    }

    fn neg(&self, a: &Major) -> Major {
        Self::of(-a.value, &[(1.0, a)])
    }

    fn add(&self, a: &Major, b: &Major) -> Major {
        Self::of(a.value + b.value, &[(1.0, a), (1.0, b)])
    }

    fn sub(&self, a: &Major, b: &Major) -> Major {
        Self::of(a.value - b.value, &[(1.0, a), (1.0, b)])
    }

    fn mul(&self, a: &Major, b: &Major) -> Major {
        Self::of(a.value * b.value, &[(b.value, a), (a.value, b)])
    }

    fn quotient(&self, a: &Major, b: &Major, _: f64) -> Major {
        let q = a.value / b.value;
        Self::of(q, &[(1.0 / b.value, a), (q / b.value, b)])
    }

    fn root(&self, a: &Major, _: f64) -> Major {
        let y = a.value.sqrt();
        Self::of(y, &[(0.5 / y, a)])
    }

    fn share(&self, a: &Major, total: &Major) -> Major {
        self.div(a, total)
    }

    fn shift(&self, xs: &[Major]) -> Major {
        Major { sum: Mag::ZERO, ..self.max(xs) }
    }

    fn apply(&self, f: Elementary, a: &Major) -> Major {
        let f = Smooth(f);
        Self::of(f.kernel(a.value), &[(f.slope_kernel(a.value), a)])
    }

    fn sum<'a>(&self, terms: impl Iterator<Item = &'a Major>) -> Major {
        terms.fold(Major { value: 0.0, sum: Mag::ZERO }, |s, t| Major { value: s.value + t.value, sum: s.sum + t.sum })
    }

    fn dot<'a>(&self, terms: impl Iterator<Item = (&'a Major, &'a Major)>, bias: Option<&Major>) -> Major {
        let start = bias.copied().unwrap_or(Major { value: 0.0, sum: Mag::ZERO });
        terms.fold(start, |s, (a, b)| Major {
            value: s.value + a.value * b.value,
            sum: s.sum + Mag::of(b.value) * a.sum + Mag::of(a.value) * b.sum,
        })
    }

    fn products<'a>(
        &self,
        size: (usize, usize, usize),
        left: impl Fn(usize, usize) -> Option<&'a Major> + Sync,
        right: impl Fn(usize, usize) -> Option<&'a Major> + Sync,
        bias: impl Fn(usize, usize) -> Option<&'a Major> + Sync,
    ) -> Vec<Major> {
        if products::pays(size) {
            products::majorants(size, left, right, bias)
        } else {
            textbook(self, size, left, right, bias)
        }
    }

    fn piece_value(&self, p: &Pieces, a: &Major) -> Major {
        Self::of(p.value(a.value), &[(p.slopes[p.at(a.value)], a)])
    }

    fn piece_slope(&self, p: &Pieces, a: &Major, ybar: &Major) -> Major {
        let slope = p.slopes[p.at(a.value)];
        Self::of(slope * ybar.value, &[(slope, ybar)])
    }

    fn max(&self, xs: &[Major]) -> Major {
        let m = xs.iter().fold(f64::NEG_INFINITY, |m, x| m.max(x.value));
        *xs.iter().find(|x| x.value == m).expect("rows are not empty")
    }

    fn max_vjp(&self, xs: &[Major], ties: Ties, ybar: &Major) -> Vec<Major> {
        // routed as jets are: a still jet of value 1 shows each entry's share
        let shares = super::jet::Jets.max_vjp(&Self::as_jets(xs), ties, &Jet::still(1.0));
        shares.iter().map(|s| Self::of(s.value * ybar.value, &[(s.value, ybar)])).collect()
    }
}
