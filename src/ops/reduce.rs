//! # Sum, Mean: reductions of the last dimension
//!
//! ## Definition
//! Sum: y_r = Σ_i x_{r,i}. Mean: y_r = Σ_i x_{r,i}/d_r with whole divisors d.
//!
//! ## Algorithm
//! A sum on the recorded tree; one division by d.
//!
//! ## VJP
//! x̄_{r,i} = ȳ_r, and ȳ_r/d_r.
//!
//! ## Error
//! Sum: carried Σe_i; local ((1+u)^h − 1)·Σ|x_i| for this run, (n−1)·u·Σ(|x_i|+e_i) for any order.
//! Mean: both divided by d, and u|y| + η/2 for the division; portable covers sum/d and sum·fl(1/d)
//! (two roundings more).
//!
//! ## Scale
//! Sums of ranges, widened by the rounding of any order.
//!
//! ## Domain
//! d > 0.
//!
//! ## References
//! Higham, §4.2; Jeannerod & Rump 2013.

use super::gather::{sum_bound, sum_error, sum_range};
use super::{Approx, Bound, Centre, PerOperand, RevNode, map, map_rows, rows_of};
use crate::ir::{Array, Shaped, Tensor, elements};
use crate::num::format::half_eta;
use crate::num::{Arith, Interval, Mag, lemma, reduce};

/// Σ over the last dimension.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sum;

/// Σ over the last dimension, divided by a whole number.
#[derive(Clone, Debug, PartialEq)]
pub struct Mean {
    /// One divisor for all rows, or one per row; 0 < d < 2^24.
    pub divisors: Vec<u32>,
}

impl Mean {
    /// d_r.
    fn divisor(&self, row: usize) -> f64 {
        f64::from(if self.divisors.len() == 1 { self.divisors[0] } else { self.divisors[row] })
    }
}

impl Shaped for Sum {
    fn infer(&self, operands: &[&[usize]]) -> Result<Vec<usize>, String> {
        match operands {
            [s] if !s.is_empty() => Ok(s[..s.len() - 1].to_vec()),
            _ => Err(format!("a reduction needs one operand with a last dimension, not {operands:?}")),
        }
    }
}

impl Shaped for Mean {
    fn infer(&self, operands: &[&[usize]]) -> Result<Vec<usize>, String> {
        let s = rows_of(operands)?;
        let out = s[..s.len() - 1].to_vec();
        if self.divisors.len() != 1 && self.divisors.len() != elements(&out) {
            return Err(format!("{} divisors given for {} rows", self.divisors.len(), elements(&out)));
        }
        match self.divisors.iter().find(|&&d| d == 0 || d >= 1 << 24) {
            Some(d) => Err(format!("divisor {d} is not between 1 and 2^24 − 1")),
            None => Ok(out),
        }
    }
}

/// Shape without the last dimension, number of rows, length of a row.
fn rows(shape: &[usize]) -> (Vec<usize>, usize, usize) {
    let out = shape[..shape.len() - 1].to_vec();
    (out.clone(), elements(&out), shape[shape.len() - 1])
}

/// Every entry of y repeated n times.
fn spread<T: Clone + Send + Sync>(shape: &[usize], y: &[T]) -> Array<T> {
    let n = shape[shape.len() - 1];
    Array::new(shape.to_vec(), map(elements(shape), |i| y[i / n].clone()))
}

impl RevNode for Sum {
    fn forward_spec<A: Arith>(&self, a: &A, x: &[&Array<A::S>]) -> Array<A::S> {
        let (shape, rows, n) = rows(&x[0].shape);
        Array::new(shape, map_rows(rows, |r| a.sum((0..n).map(|i| &x[0].data[r * n + i]))))
    }

    fn vjp_spec<A: Arith>(
        &self,
        _: &A,
        x: &[&Array<A::S>],
        _: &Array<A::S>,
        ybar: &Array<A::S>,
        _: &[bool],
    ) -> PerOperand<Array<A::S>> {
        let (_, rows, n) = rows(&x[0].shape);
        let mut data = Vec::with_capacity(rows * n);
        for row in 0..rows {
            for _ in 0..n {
                data.push(ybar.data[row].clone());
            }
        }
        vec![Some(Array::new(x[0].shape.clone(), data))]
    }

    fn forward_runtime(&self, x: &[&Tensor]) -> Tensor {
        let (shape, rows, n) = rows(&x[0].shape);
        Array::new(shape, map_rows(rows, |r| reduce::sum(&x[0].data[r * n..(r + 1) * n])))
    }

    fn vjp_runtime(&self, x: &[&Tensor], _: &Tensor, ybar: &Tensor, _: &[bool]) -> PerOperand<Tensor> {
        vec![Some(spread(&x[0].shape, &ybar.data))]
    }

    fn forward_bound(&self, x: &[Approx], _: &Approx) -> Bound {
        let (_, rows, n) = rows(x[0].shape);
        sum_bound(map_rows(rows, |r| sum_error(&x[0], r * n..(r + 1) * n)))
    }

    fn vjp_bound(&self, x: &[Approx], _: &Approx, ybar: &Approx, _: &[bool]) -> PerOperand<Bound> {
        vec![Some(Bound::exact(spread(x[0].shape, ybar.eps).data.into_vec()))]
    }

    fn forward_scale(&self, x: &[&Array<Interval>]) -> Array<Interval> {
        let (shape, rows, n) = rows(&x[0].shape);
        Array::new(shape, map_rows(rows, |r| sum_range(x[0].data[r * n..(r + 1) * n].iter().copied())))
    }

    fn vjp_scale(
        &self,
        x: &[&Array<Interval>],
        _: &Array<Interval>,
        ybar: &Array<Interval>,
        _: &[bool],
    ) -> PerOperand<Array<Interval>> {
        vec![Some(spread(&x[0].shape, &ybar.data))]
    }
}

impl Mean {
    /// Error of dividing a value of magnitude `exact` (error included) by d.
    fn division(&self, run_only: bool, d: f64, exact: Mag) -> Mag {
        if d == 1.0 || exact.is_zero() {
            Mag::ZERO
        } else if run_only {
            lemma::rounding(exact)
        } else {
            // x/d, or x·fl(1/d): fl(1/d) = (1/d)(1+δ), then one more rounding
            lemma::monomial(2, exact, Mag::ZERO)
        }
    }

    /// The range of x/d by either algorithm.
    fn divided(&self, x: Interval, d: f64) -> Interval {
        let q = x.div(Interval::point(d));
        q.widen(self.division(false, d, q.mag()))
    }
}

impl RevNode for Mean {
    fn forward_spec<A: Arith>(&self, a: &A, x: &[&Array<A::S>]) -> Array<A::S> {
        let (shape, rows, n) = rows(&x[0].shape);
        let mean = |r: usize| {
            let total = a.sum((0..n).map(|i| &x[0].data[r * n + i]));
            a.div(&total, &a.constant(self.divisor(r)))
        };
        Array::new(shape, map_rows(rows, mean))
    }

    fn vjp_spec<A: Arith>(
        &self,
        a: &A,
        x: &[&Array<A::S>],
        _: &Array<A::S>,
        ybar: &Array<A::S>,
        _: &[bool],
    ) -> PerOperand<Array<A::S>> {
        let (_, rows, n) = rows(&x[0].shape);
        let mut data = Vec::with_capacity(rows * n);
        for r in 0..rows {
            let share = a.div(&ybar.data[r], &a.constant(self.divisor(r)));
            for _ in 0..n {
                data.push(share.clone());
            }
        }
        vec![Some(Array::new(x[0].shape.clone(), data))]
    }

    fn forward_runtime(&self, x: &[&Tensor]) -> Tensor {
        let (shape, rows, n) = rows(&x[0].shape);
        let mean = |r: usize| reduce::sum(&x[0].data[r * n..(r + 1) * n]) / self.divisor(r) as f32;
        Array::new(shape, map_rows(rows, mean))
    }

    fn vjp_runtime(&self, x: &[&Tensor], _: &Tensor, ybar: &Tensor, _: &[bool]) -> PerOperand<Tensor> {
        let shares = map(ybar.data.len(), |r| ybar.data[r] / self.divisor(r) as f32);
        vec![Some(spread(&x[0].shape, &shares))]
    }

    fn forward_bound(&self, x: &[Approx], y: &Approx) -> Bound {
        let (_, rows, n) = rows(x[0].shape);
        let one = |r: usize| {
            let d = self.divisor(r);
            let (carried, local, total) = sum_error(&x[0], r * n..(r + 1) * n);
            let (carried, local) = (carried.div_lower(d), local.div_lower(d));
            // the quotient before its rounding: |q| ≤ (|fl(q)| + η)/(1−u), or the centre's and all that
            // was added to it
            let exact = match y.centre {
                Centre::Run => (Mag::of_f32(y.run[r]) + half_eta() + half_eta()) * Mag::of(1.0001),
                Centre::Spec => y.spec[r].mag() + carried + local,
            };
            let nothing =
                carried.is_zero() && local.is_zero() && (r * n..(r + 1) * n).all(|i| x[0].run_mag(i).is_zero());
            (carried, if nothing { Mag::ZERO } else { local + self.division(y.run_only(), d, exact) }, total)
        };
        sum_bound(map_rows(rows, one))
    }

    fn vjp_bound(&self, x: &[Approx], _: &Approx, ybar: &Approx, _: &[bool]) -> PerOperand<Bound> {
        let share = map(ybar.len(), |r| {
            let d = self.divisor(r);
            let carried = ybar.eps[r].div_lower(d);
            let local = self.division(ybar.run_only(), d, ybar.run_mag(r).div_lower(d));
            (carried, local)
        });
        vec![Some(Bound::of_pairs(spread(x[0].shape, &share).data.into_vec()))]
    }

    fn forward_scale(&self, x: &[&Array<Interval>]) -> Array<Interval> {
        let (shape, rows, n) = rows(&x[0].shape);
        let one = |r: usize| self.divided(sum_range(x[0].data[r * n..(r + 1) * n].iter().copied()), self.divisor(r));
        Array::new(shape, map_rows(rows, one))
    }

    fn vjp_scale(
        &self,
        x: &[&Array<Interval>],
        _: &Array<Interval>,
        ybar: &Array<Interval>,
        _: &[bool],
    ) -> PerOperand<Array<Interval>> {
        let shares = map(ybar.data.len(), |r| self.divided(ybar.data[r], self.divisor(r)));
        vec![Some(spread(&x[0].shape, &shares))]
    }
}
