//! # Add, Sub, Mul, Div: entrywise arithmetic on tensors of one shape
//!
//! ## Definition
//! y = a + b, a − b, a·b, a/b, entry by entry. Broadcasting is a Gather before.
//!
//! ## Algorithm
//! One binary32 operation an entry. The cotangents of a quotient are computed in binary64 and
//! rounded once.
//!
//! ## VJP
//! add (ȳ, ȳ); sub (ȳ, −ȳ); mul (ȳ·b, ȳ·a); div (ȳ/b, −ȳ·a/b²).
//!
//! ## Error
//! Carried: add, sub e_a + e_b; mul |a|e_b + e_a|b| + e_a·e_b; div (e_a + |q|e_b)/(|b| − e_b) with
//! the centre's magnitudes. Local: u|y| for add and sub, u|y| + η/2 for mul and div. Portable covers for
//! the cotangent of a divisor any sequence of at most four rounded operations, such as (−ȳ·(a/b))/b,
//! −ȳ·a/(b·b) and −ȳ·a·(1/(b·b)), and has no bound where one of them overflows on the way.
//!
//! ## Scale
//! Interval arithmetic, widened by one rounding.
//!
//! ## Domain
//! div needs b ≠ 0; a divisor whose error reaches 0 has no bound.
//!
//! ## References
//! Higham, Accuracy and Stability of Numerical Algorithms, §2.2, §3.1.

use super::{Approx, Bound, PerOperand, RevNode, map, map2, same_shapes};
use crate::ir::{Array, Shaped, Tensor};
use crate::num::format::{half_eta, largest, smallest_normal};
use crate::num::{Arith, Interval, Mag, lemma};

/// a + b.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Add;

/// a − b.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sub;

/// a·b.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mul;

/// a/b.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Div;

macro_rules! two_operands {
    ($($name:ident),+) => {$(
        impl Shaped for $name {
            fn infer(&self, operands: &[&[usize]]) -> Result<Vec<usize>, String> {
                same_shapes(operands, 2)
            }
        }
    )+};
}
two_operands!(Add, Sub, Mul, Div);

/// f over pairs of entries.
fn zip<S: Send + Sync, T: Send>(a: &Array<S>, b: &Array<S>, f: impl Fn(&S, &S) -> T + Sync + Send) -> Array<T> {
    Array::new(a.shape.clone(), map2(&a.data, &b.data, f))
}

/// An interval that holds also what one rounding makes of its members.
pub(crate) fn rounded(x: Interval) -> Interval {
    if x == Interval::ZERO { x } else { x.widen(lemma::rounding(x.mag())) }
}

/// Carried error of a product.
// |a|e_b + e_a|b| + e_a e_b, |a| and |b| at the centre
fn product(a: &Approx, b: &Approx, i: usize) -> Mag {
    a.mag(i) * b.eps[i] + a.eps[i] * (b.mag(i) + b.eps[i])
}

/// Carried and local error of a rounded product.
fn rounded_product(a: &Approx, b: &Approx, i: usize) -> (Mag, Mag) {
    // local: u|ab| + η/2 at a covered run's operands
    (product(a, b, i), lemma::rounding(a.run_mag(i) * b.run_mag(i)))
}

/// Magnitude of the quotient at the centre, and the smallest |b| of spec and covered runs.
fn quotient(a: &Approx, b: &Approx, i: usize) -> (Mag, f64) {
    let below = b.hull(i).mig();
    (a.mag(i).div_lower(b.centre(i).mig()), below)
}

/// What an underflow on the way to ȳ·a/b² is multiplied by at most; |b| ≥ `below`.
// ȳ·a: 1/b²; a/b: |ȳ/b|; ȳ/b: |a/b|; a/b²: |ȳ|; ȳ/b²: |a|; 1/b: |ȳ·a/b|; 1/b²: |ȳ·a|; ȳ·(a/b), a·(ȳ/b): 1/|b|;
// b² off by η/2 moves the quotient by |ȳ·a/b⁴|·(η/2)/(1 − η/(2b²))
fn underflow_gain(g: Mag, p: Mag, below: f64) -> Mag {
    let inv = Mag::ONE.div_lower(below);
    let square = inv * inv;
    let gain = g + p + g * p + inv + (g + p) * inv + g * p * inv + square;
    // b² ≥ 2·2^emin is no subnormal number, b² < η may vanish
    if square.get() <= 0.5 / smallest_normal() {
        gain
    } else if square.get() <= 0.5 / half_eta().get() {
        gain + Mag::of(2.0) * g * p * square * square
    } else {
        Mag::INFINITY
    }
}

/// The largest intermediate on the way to ȳ·a/b².
fn divisor_peak(g: Mag, p: Mag, b: Mag, below: f64) -> Mag {
    let inv = Mag::ONE.div_lower(below);
    g * p + (g + p) * inv + inv * inv + b * b
}

impl RevNode for Add {
    fn forward_spec<A: Arith>(&self, a: &A, x: &[&Array<A::S>]) -> Array<A::S> {
        zip(x[0], x[1], |p, q| a.add(p, q))
    }

    fn vjp_spec<A: Arith>(
        &self,
        _: &A,
        _: &[&Array<A::S>],
        _: &Array<A::S>,
        ybar: &Array<A::S>,
        wanted: &[bool],
    ) -> PerOperand<Array<A::S>> {
        wanted.iter().map(|&w| w.then(|| ybar.clone())).collect()
    }

    fn forward_runtime(&self, x: &[&Tensor]) -> Tensor {
        zip(x[0], x[1], |p, q| p + q)
    }

    fn vjp_runtime(&self, _: &[&Tensor], _: &Tensor, ybar: &Tensor, wanted: &[bool]) -> PerOperand<Tensor> {
        wanted.iter().map(|&w| w.then(|| ybar.clone())).collect()
    }

    fn forward_bound(&self, x: &[Approx], y: &Approx) -> Bound {
        Bound::of_pairs(map(y.len(), |i| {
            // e_a + e_b, then u|a+b|
            let carried = x[0].eps[i] + x[1].eps[i];
            (carried, y.sum_rounding(i, carried))
        }))
    }

    fn vjp_bound(&self, _: &[Approx], _: &Approx, ybar: &Approx, wanted: &[bool]) -> PerOperand<Bound> {
        wanted.iter().map(|&w| w.then(|| Bound::exact(ybar.eps.to_vec()))).collect()
    }

    fn forward_scale(&self, x: &[&Array<Interval>]) -> Array<Interval> {
        zip(x[0], x[1], |p, q| rounded(p.add(*q)))
    }

    fn vjp_scale(
        &self,
        _: &[&Array<Interval>],
        _: &Array<Interval>,
        ybar: &Array<Interval>,
        wanted: &[bool],
    ) -> PerOperand<Array<Interval>> {
        wanted.iter().map(|&w| w.then(|| ybar.clone())).collect()
    }
}

impl RevNode for Sub {
    fn forward_spec<A: Arith>(&self, a: &A, x: &[&Array<A::S>]) -> Array<A::S> {
        zip(x[0], x[1], |p, q| a.sub(p, q))
    }

    fn vjp_spec<A: Arith>(
        &self,
        a: &A,
        _: &[&Array<A::S>],
        _: &Array<A::S>,
        ybar: &Array<A::S>,
        wanted: &[bool],
    ) -> PerOperand<Array<A::S>> {
        let negated = || zip(ybar, ybar, |g, _| a.neg(g));
        vec![wanted[0].then(|| ybar.clone()), wanted[1].then(negated)]
    }

    fn forward_runtime(&self, x: &[&Tensor]) -> Tensor {
        zip(x[0], x[1], |p, q| p - q)
    }

    fn vjp_runtime(&self, _: &[&Tensor], _: &Tensor, ybar: &Tensor, wanted: &[bool]) -> PerOperand<Tensor> {
        vec![wanted[0].then(|| ybar.clone()), wanted[1].then(|| zip(ybar, ybar, |g, _| -g))]
    }

    fn forward_bound(&self, x: &[Approx], y: &Approx) -> Bound {
        Add.forward_bound(x, y)
    }

    fn vjp_bound(&self, x: &[Approx], y: &Approx, ybar: &Approx, wanted: &[bool]) -> PerOperand<Bound> {
        Add.vjp_bound(x, y, ybar, wanted)
    }

    fn forward_scale(&self, x: &[&Array<Interval>]) -> Array<Interval> {
        zip(x[0], x[1], |p, q| rounded(p.sub(*q)))
    }

    fn vjp_scale(
        &self,
        _: &[&Array<Interval>],
        _: &Array<Interval>,
        ybar: &Array<Interval>,
        wanted: &[bool],
    ) -> PerOperand<Array<Interval>> {
        vec![wanted[0].then(|| ybar.clone()), wanted[1].then(|| zip(ybar, ybar, |g, _| g.neg()))]
    }
}

impl RevNode for Mul {
    fn forward_spec<A: Arith>(&self, a: &A, x: &[&Array<A::S>]) -> Array<A::S> {
        zip(x[0], x[1], |p, q| a.mul(p, q))
    }

    fn vjp_spec<A: Arith>(
        &self,
        a: &A,
        x: &[&Array<A::S>],
        _: &Array<A::S>,
        ybar: &Array<A::S>,
        wanted: &[bool],
    ) -> PerOperand<Array<A::S>> {
        (0..2).map(|k| wanted[k].then(|| zip(ybar, x[1 - k], |g, v| a.mul(g, v)))).collect()
    }

    fn forward_runtime(&self, x: &[&Tensor]) -> Tensor {
        zip(x[0], x[1], |p, q| p * q)
    }

    fn vjp_runtime(&self, x: &[&Tensor], _: &Tensor, ybar: &Tensor, wanted: &[bool]) -> PerOperand<Tensor> {
        (0..2).map(|k| wanted[k].then(|| zip(ybar, x[1 - k], |g, v| g * v))).collect()
    }

    fn forward_bound(&self, x: &[Approx], y: &Approx) -> Bound {
        Bound::of_pairs(map(y.len(), |i| rounded_product(&x[0], &x[1], i)))
    }

    fn vjp_bound(&self, x: &[Approx], _: &Approx, ybar: &Approx, wanted: &[bool]) -> PerOperand<Bound> {
        let one = |k: usize| Bound::of_pairs(map(ybar.len(), |i| rounded_product(ybar, &x[1 - k], i)));
        (0..2).map(|k| wanted[k].then(|| one(k))).collect()
    }

    fn forward_scale(&self, x: &[&Array<Interval>]) -> Array<Interval> {
        zip(x[0], x[1], |p, q| rounded(p.mul(*q)))
    }

    fn vjp_scale(
        &self,
        x: &[&Array<Interval>],
        _: &Array<Interval>,
        ybar: &Array<Interval>,
        wanted: &[bool],
    ) -> PerOperand<Array<Interval>> {
        (0..2).map(|k| wanted[k].then(|| zip(ybar, x[1 - k], |g, v| rounded(g.mul(*v))))).collect()
    }
}

impl RevNode for Div {
    fn forward_spec<A: Arith>(&self, a: &A, x: &[&Array<A::S>]) -> Array<A::S> {
        zip(x[0], x[1], |p, q| a.div(p, q))
    }

    fn vjp_spec<A: Arith>(
        &self,
        a: &A,
        x: &[&Array<A::S>],
        _: &Array<A::S>,
        ybar: &Array<A::S>,
        wanted: &[bool],
    ) -> PerOperand<Array<A::S>> {
        let numerator = || zip(ybar, x[1], |g, b| a.div(g, b));
        let denominator = || {
            let data = map(ybar.data.len(), |i| {
                let (g, p, q) = (&ybar.data[i], &x[0].data[i], &x[1].data[i]);
                // −ȳ·(a/b)/b
                a.neg(&a.div(&a.mul(g, &a.div(p, q)), q))
            });
            Array::new(ybar.shape.clone(), data)
        };
        vec![wanted[0].then(numerator), wanted[1].then(denominator)]
    }

    fn forward_runtime(&self, x: &[&Tensor]) -> Tensor {
        zip(x[0], x[1], |p, q| p / q)
    }

    fn vjp_runtime(&self, x: &[&Tensor], _: &Tensor, ybar: &Tensor, wanted: &[bool]) -> PerOperand<Tensor> {
        let denominator = || {
            let data = map(ybar.data.len(), |i| {
                let (g, p, q) = (f64::from(ybar.data[i]), f64::from(x[0].data[i]), f64::from(x[1].data[i]));
                // ȳ·a is exact in binary64, the two divisions and the final rounding are not
                (-(g * p) / q / q) as f32
            });
            Array::new(ybar.shape.clone(), data)
        };
        vec![wanted[0].then(|| zip(ybar, x[1], |g, b| g / b)), wanted[1].then(denominator)]
    }

    fn forward_bound(&self, x: &[Approx], y: &Approx) -> Bound {
        Bound::of_pairs(map(y.len(), |i| {
            let (q, below) = quotient(&x[0], &x[1], i);
            // (e_a + |q|e_b)/(|b| − e_b)
            let carried = (x[0].eps[i] + q * x[1].eps[i]).div_lower(below);
            let local = if x[0].run_mag(i).is_zero() { Mag::ZERO } else { lemma::rounding(q + carried) };
            (carried, local)
        }))
    }

    fn vjp_bound(&self, x: &[Approx], _: &Approx, ybar: &Approx, wanted: &[bool]) -> PerOperand<Bound> {
        let numerator = || {
            Bound::of_pairs(map(ybar.len(), |i| {
                let (q, below) = quotient(ybar, &x[1], i);
                let carried = (ybar.eps[i] + q * x[1].eps[i]).div_lower(below);
                (carried, if ybar.run_mag(i).is_zero() { Mag::ZERO } else { lemma::rounding(q + carried) })
            }))
        };
        let denominator = || {
            let (a, b) = (&x[0], &x[1]);
            Bound::of_pairs(map(ybar.len(), |i| {
                let (p, below) = (ybar.mag(i) * a.mag(i), b.hull(i).mig());
                let exact = p.div_lower(b.centre(i).mig()).div_lower(b.centre(i).mig());
                // with p = ȳa: (e_p + |p/b²|·(2|b|e_b + e_b²))/(|b|−e_b)²
                let square = Mag::of(2.0) * b.mag(i) * b.eps[i] + b.eps[i] * b.eps[i];
                let carried = (product(ybar, a, i) + exact * square).div_lower(below).div_lower(below);
                let local = if ybar.run_only() {
                    // two binary64 divisions (2·2^−53 relative) and one rounding to binary32
                    lemma::rounding(exact * Mag::of(1.0 + 1e-15)) + exact * Mag::exp2(-51)
                } else {
                    // four roundings, of which each may underflow
                    let (g, p) = (ybar.run_mag(i), a.run_mag(i));
                    if divisor_peak(g, p, b.run_mag(i), below).get() > largest() {
                        Mag::INFINITY
                    } else {
                        lemma::monomial(4, exact + carried, underflow_gain(g, p, below))
                    }
                };
                (carried, local)
            }))
        };
        vec![wanted[0].then(numerator), wanted[1].then(denominator)]
    }

    fn forward_scale(&self, x: &[&Array<Interval>]) -> Array<Interval> {
        zip(x[0], x[1], |p, q| rounded(p.div(*q)))
    }

    fn vjp_scale(
        &self,
        x: &[&Array<Interval>],
        _: &Array<Interval>,
        ybar: &Array<Interval>,
        wanted: &[bool],
    ) -> PerOperand<Array<Interval>> {
        let denominator = || {
            let data = map(ybar.data.len(), |i| {
                let (g, p, b) = (ybar.data[i], x[0].data[i], x[1].data[i]);
                let mut exact = g.mul(p.div(b)).div(b).neg();
                if (b.mag() * b.mag()).get() > largest() {
                    // ȳa/b² is 0 where b² overflows; whatever else overflows leaves no number
                    exact = exact.hull(Interval::ZERO);
                }
                exact.widen(lemma::monomial(4, exact.mag(), underflow_gain(g.mag(), p.mag(), b.mig())))
            });
            Array::new(ybar.shape.clone(), data)
        };
        vec![wanted[0].then(|| zip(ybar, x[1], |g, b| rounded(g.div(*b)))), wanted[1].then(denominator)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gains_and_peaks_of_a_division_are_the_written_formulas() {
        let is = |what: &str, m: Mag, formula: f64| {
            let near = m.get() >= formula * (1.0 - 1e-15) && m.get() <= formula * (1.0 + 1e-14);
            assert!(near, "{what}: {:e} for {formula:e}", m.get());
        };
        let (g, p, b) = (1.5, 0.625, 3.0);
        // |b| of ordinary size, b² a subnormal number, b² that may vanish
        for below in [2.0f64, 0.25, 1e-3] {
            let (i, s) = (1.0 / below, 1.0 / (below * below));
            let gain = g + p + g * p + i + (g + p) * i + g * p * i + s;
            is("the gain", underflow_gain(Mag::of(g), Mag::of(p), below), gain);
            let peak = g * p + (g + p) * i + s + b * b;
            is("the peak", divisor_peak(Mag::of(g), Mag::of(p), Mag::of(b), below), peak);
        }
        let below = 2f64.powi(-66);
        is("a subnormal square", underflow_gain(Mag::of(g), Mag::of(p), below), 2.0 * g * p * below.powi(-4));
        let ordinary = 2f64.powi(-62);
        is("an ordinary square", underflow_gain(Mag::of(g), Mag::of(p), ordinary), ordinary.powi(-2));
        assert!(!underflow_gain(Mag::of(g), Mag::of(p), 2f64.powi(-76)).is_finite());
        assert!(!underflow_gain(Mag::of(g), Mag::of(p), 0.0).is_finite());
    }
}
