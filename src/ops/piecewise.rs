//! # Piecewise: Relu, LeakyRelu, Clip, Abs and their kind
//!
//! ## Definition
//! y = slope_i·x + offset_i on the i-th piece; pieces are data (kinks, slopes, offsets, and which side
//! of a kink the kink itself belongs to).
//!
//! ## Algorithm
//! slope·x + offset in binary64, rounded once; exact where the slope is 0 or ±1 and the offset 0.
//!
//! ## VJP
//! x̄ = slope_i·ȳ.
//!
//! ## Error
//! Forward: carried steepest·e over the pieces that may apply (0 where all are flat), plus the jumps
//! between them; local u|y| + η/2 unless exact, and portable one more rounding u|slope·x|. Cotangent,
//! where spec and covered runs certainly take the same piece: |slope|·e; otherwise
//! jump·|ȳ| + steepest·e with jump the largest difference of slopes. For this run the enclosures show
//! the spec's piece; for every run both must lie on one piece.
//!
//! ## Scale
//! Hull of the pieces' ranges; cotangents the hull of slope·ȳ.
//!
//! ## Domain
//! Everywhere.
//!
//! ## References
//! The method's gate rule; at a kink the operator's convention (Relu′(0) = 0).

use super::approx::UNKNOWN_GATE;
use super::arithmetic::rounded;
use super::{Approx, Bound, PerOperand, RevNode, map, map1, map2, same_shapes};
use crate::ir::{Array, Shaped, Tensor};
use crate::num::format::{half_eta, u};
use crate::num::{Arith, Ball, Balls, Interval, Mag, Pieces, lemma};

/// A piecewise linear function of each entry.
#[derive(Clone, Debug, PartialEq)]
pub struct Piecewise {
    /// The function.
    pub pieces: Pieces,
}

impl Piecewise {
    fn of(kinks: &[f32], slopes: &[f32], offsets: &[f32], left_closed: &[bool]) -> Piecewise {
        let wide = |v: &[f32]| v.iter().map(|&x| f64::from(x)).collect();
        Piecewise {
            pieces: Pieces {
                kinks: wide(kinks),
                slopes: wide(slopes),
                offsets: wide(offsets),
                left_closed: left_closed.to_vec(),
            },
        }
    }

    /// max(x, 0); slope 0 at 0.
    pub fn relu() -> Piecewise {
        Self::of(&[0.0], &[0.0, 1.0], &[0.0, 0.0], &[true])
    }

    /// x for x > 0, else alpha·x.
    pub fn leaky_relu(alpha: f32) -> Piecewise {
        Self::of(&[0.0], &[alpha, 1.0], &[0.0, 0.0], &[true])
    }

    /// |x|; slope 0 at 0 by convention, as every framework has it.
    pub fn abs() -> Piecewise {
        // a flat piece of no width would need a third slope: at 0 the sign function gives 0
        let smallest = f32::from_bits(1);
        Self::of(&[-smallest, smallest], &[-1.0, 0.0, 1.0], &[0.0, 0.0, 0.0], &[true, false])
    }

    /// min(max(x, lo), hi); slope 1 between and at the ends.
    pub fn clip(lo: f32, hi: f32) -> Piecewise {
        if lo >= hi {
            return Self::of(&[], &[0.0], &[hi], &[]);
        }
        match (lo == f32::NEG_INFINITY, hi == f32::INFINITY) {
            (true, true) => Self::of(&[], &[1.0], &[0.0], &[]),
            (true, false) => Self::of(&[hi], &[1.0, 0.0], &[0.0, hi], &[true]),
            (false, true) => Self::of(&[lo], &[0.0, 1.0], &[lo, 0.0], &[false]),
            (false, false) => Self::of(&[lo, hi], &[0.0, 1.0, 0.0], &[lo, 0.0, hi], &[false, true]),
        }
    }

    /// The spec's piece at each entry as the enclosures show it, or [`UNKNOWN_GATE`].
    pub(crate) fn gates(&self, balls: &Balls, x: &Array<Ball>) -> Vec<u32> {
        map(x.data.len(), |i| match balls.pieces(&self.pieces, &x.data[i]) {
            (first, last) if first == last => first as u32,
            _ => UNKNOWN_GATE,
        })
    }

    /// Entries where spec and covered runs may lie on different pieces.
    pub(crate) fn undecided(&self, x: &Approx, y: &Approx) -> Vec<u32> {
        (0..x.len()).filter(|&i| !self.outcome(x, y, i).1).map(|i| i as u32).collect()
    }

    /// The piece at each entry of a run.
    pub(crate) fn run_gates(&self, x: &Tensor) -> Vec<u32> {
        map(x.data.len(), |i| self.pieces.at(f64::from(x.data[i])) as u32)
    }

    /// Pieces that may apply to spec or covered runs, and whether both certainly take the same one.
    fn outcome(&self, x: &Approx, y: &Approx, i: usize) -> ((usize, usize), bool) {
        let p = &self.pieces;
        let hull = x.hull(i);
        let open = p.between(hull.lo, hull.hi);
        if open.0 == open.1 {
            return (open, true);
        }
        let agreed = x.run_only() && y.gates[i] as usize == p.at(f64::from(x.run[i]));
        (open, agreed)
    }

    /// Is slope·x free of rounding?
    fn exact_slope(&self, piece: usize) -> bool {
        matches!(self.pieces.slopes[piece].abs(), 0.0 | 1.0)
    }

    /// Rounding of the value on one piece.
    fn value_rounding(&self, x: &Approx, i: usize, piece: usize) -> Mag {
        let (s, o) = (Mag::of(self.pieces.slopes[piece]), Mag::of(self.pieces.offsets[piece]));
        if s.is_zero() || (self.exact_slope(piece) && o.is_zero()) {
            return Mag::ZERO;
        }
        let scaled = s * x.run_mag(i);
        // one rounding of slope·x + offset, |y| ≤ |slope·x| + |offset|; binary64 adds 2^−53 of it
        let once = lemma::rounding((scaled + o) * Mag::of(1.0 + 1e-9));
        if x.run_only() { once } else { once + u() * scaled + half_eta() }
    }
}

/// slope·ȳ, rounded once; a slope of 0 gives +0.
#[inline(always)]
fn sloped(slope: f64, g: f32) -> f32 {
    if slope == 0.0 { 0.0 } else { (slope * f64::from(g)) as f32 }
}

/// A function of K kinks for the run: one choice per kink, no branch, so that vectors do it.
struct Choice<const K: usize> {
    /// Slope and offset left of all kinks.
    first: (f64, f64),
    /// For each kink: what x must exceed, and slope and offset right of it.
    passed: [(f64, f64, f64); K],
}

impl<const K: usize> Choice<K> {
    fn of(p: &Pieces) -> Self {
        // x ≥ k is x > the number before k
        let above = |i: usize| if p.left_closed[i] { p.kinks[i] } else { p.kinks[i].next_down() };
        let passed = std::array::from_fn(|i| (above(i), p.slopes[i + 1], p.offsets[i + 1]));
        Choice { first: (p.slopes[0], p.offsets[0]), passed }
    }

    /// Slope and offset at x.
    #[inline(always)]
    fn at(&self, x: f64) -> (f64, f64) {
        let (mut slope, mut offset) = self.first;
        for (kink, s, o) in self.passed {
            slope = if x > kink { s } else { slope };
            offset = if x > kink { o } else { offset };
        }
        (slope, offset)
    }

    fn values(&self, x: &[f32]) -> Vec<f32> {
        map1(x, |&x| {
            let x = f64::from(x);
            let (slope, offset) = self.at(x);
            (if slope == 0.0 { offset } else { slope * x + offset }) as f32
        })
    }

    fn slopes(&self, x: &[f32], ybar: &[f32]) -> Vec<f32> {
        map2(x, ybar, |&x, &g| {
            let slope = self.at(f64::from(x)).0;
            let kept = if slope == 0.0 { 0 } else { u32::MAX };
            f32::from_bits(((slope * f64::from(g)) as f32).to_bits() & kept)
        })
    }
}

impl Shaped for Piecewise {
    fn infer(&self, operands: &[&[usize]]) -> Result<Vec<usize>, String> {
        same_shapes(operands, 1)
    }
}

impl RevNode for Piecewise {
    fn forward_spec<A: Arith>(&self, a: &A, x: &[&Array<A::S>]) -> Array<A::S> {
        let x = x[0];
        Array::new(x.shape.clone(), map(x.data.len(), |i| a.piece_value(&self.pieces, &x.data[i])))
    }

    fn vjp_spec<A: Arith>(
        &self,
        a: &A,
        x: &[&Array<A::S>],
        _: &Array<A::S>,
        ybar: &Array<A::S>,
        _: &[bool],
    ) -> PerOperand<Array<A::S>> {
        let x = x[0];
        let one = |i: usize| a.piece_slope(&self.pieces, &x.data[i], &ybar.data[i]);
        vec![Some(Array::new(x.shape.clone(), map(x.data.len(), one)))]
    }

    fn forward_runtime(&self, x: &[&Tensor]) -> Tensor {
        let data = match self.pieces.kinks.len() {
            0 => Choice::<0>::of(&self.pieces).values(&x[0].data),
            1 => Choice::<1>::of(&self.pieces).values(&x[0].data),
            2 => Choice::<2>::of(&self.pieces).values(&x[0].data),
            _ => map1(&x[0].data, |&x| self.pieces.value(f64::from(x)) as f32),
        };
        Array::new(x[0].shape.clone(), data)
    }

    fn vjp_runtime(&self, x: &[&Tensor], _: &Tensor, ybar: &Tensor, _: &[bool]) -> PerOperand<Tensor> {
        let data = match self.pieces.kinks.len() {
            0 => Choice::<0>::of(&self.pieces).slopes(&x[0].data, &ybar.data),
            1 => Choice::<1>::of(&self.pieces).slopes(&x[0].data, &ybar.data),
            2 => Choice::<2>::of(&self.pieces).slopes(&x[0].data, &ybar.data),
            _ => map2(&x[0].data, &ybar.data, |&x, &g| sloped(self.pieces.slopes[self.pieces.at(f64::from(x))], g)),
        };
        vec![Some(Array::new(x[0].shape.clone(), data))]
    }

    fn forward_bound(&self, x: &[Approx], y: &Approx) -> Bound {
        let x = &x[0];
        Bound::of_pairs(map(y.len(), |i| {
            let (open, _) = self.outcome(x, y, i);
            let jump = Mag::of(self.pieces.value_jump(open)) * Mag::of(1.0 + 1e-12);
            let carried = Mag::of(self.pieces.steepest(open)) * x.eps[i] + jump;
            let local = (open.0..=open.1).fold(Mag::ZERO, |m, p| m.max(self.value_rounding(x, i, p)));
            (carried, local)
        }))
    }

    fn vjp_bound(&self, x: &[Approx], y: &Approx, ybar: &Approx, _: &[bool]) -> PerOperand<Bound> {
        let x = &x[0];
        let one = |i: usize| {
            let (open, agreed) = self.outcome(x, y, i);
            let open = if agreed && x.run_only() {
                let p = self.pieces.at(f64::from(x.run[i]));
                (p, p)
            } else {
                open
            };
            let steepest = Mag::of(self.pieces.steepest(open));
            let carried = if agreed {
                steepest * ybar.eps[i]
            } else {
                // jump·|ȳ| + steepest·e
                Mag::of(self.pieces.slope_jump(open)) * ybar.mag(i) + steepest * ybar.eps[i]
            };
            let exact = (open.0..=open.1).all(|p| self.exact_slope(p));
            let local = if exact { Mag::ZERO } else { lemma::rounding(steepest * ybar.run_mag(i)) };
            (carried, local)
        };
        vec![Some(Bound::of_pairs(map(x.len(), one)))]
    }

    fn forward_scale(&self, x: &[&Array<Interval>]) -> Array<Interval> {
        let p = &self.pieces;
        let range = |i: usize| {
            let v = x[0].data[i];
            let (first, last) = p.between(v.lo, v.hi);
            let piece = |k: usize| {
                let lo = if k == first { v.lo } else { p.kinks[k - 1] };
                let hi = if k == last { v.hi } else { p.kinks[k] };
                let scaled = Interval::new(lo, hi).mul(Interval::point(p.slopes[k]));
                let exact = self.exact_slope(k) && p.offsets[k] == 0.0;
                if p.slopes[k] == 0.0 {
                    Interval::point(p.offsets[k])
                } else if exact && p.slopes[k] == 1.0 {
                    Interval::new(lo, hi)
                } else {
                    rounded(rounded(scaled).add(Interval::point(p.offsets[k])))
                }
            };
            (first + 1..=last).fold(piece(first), |h, k| h.hull(piece(k)))
        };
        Array::new(x[0].shape.clone(), map(x[0].data.len(), range))
    }

    fn vjp_scale(
        &self,
        x: &[&Array<Interval>],
        _: &Array<Interval>,
        ybar: &Array<Interval>,
        _: &[bool],
    ) -> PerOperand<Array<Interval>> {
        let one = |i: usize| {
            let (first, last) = self.pieces.between(x[0].data[i].lo, x[0].data[i].hi);
            let piece = |k: usize| match self.pieces.slopes[k] {
                0.0 => Interval::ZERO,
                1.0 => ybar.data[i],
                -1.0 => ybar.data[i].neg(),
                s => rounded(ybar.data[i].mul(Interval::point(s))),
            };
            (first + 1..=last).fold(piece(first), |h, k| h.hull(piece(k)))
        };
        vec![Some(Array::new(x[0].shape.clone(), map(x[0].data.len(), one)))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_run_takes_the_piece_that_the_function_has() {
        let inf = f32::INFINITY;
        let all = [
            Piecewise::relu(),
            Piecewise::leaky_relu(0.01),
            Piecewise::abs(),
            Piecewise::clip(-inf, inf),
            Piecewise::clip(0.0, 6.0),
            Piecewise::clip(-0.5, inf),
            Piecewise::clip(-inf, -0.0),
            Piecewise::clip(2.0, 1.0),
        ];
        let around = |x: f32| [x.next_down(), x, x.next_up()];
        let x: Vec<f32> =
            [0.0, -0.0, 6.0, -0.5, 1.0, 2.0, 1e30, -1e30, 1e-45, -1e-45].into_iter().flat_map(around).collect();
        let ybar: Vec<f32> = (0..x.len()).map(|i| if i % 3 == 0 { -0.0 } else { i as f32 - 7.3 }).collect();
        let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        let (x, ybar) = (Array::new(vec![x.len()], x), Array::new(vec![ybar.len()], ybar));
        for f in all {
            let p = &f.pieces;
            let y = f.forward_runtime(&[&x]);
            let value: Vec<f32> = x.data.iter().map(|&x| p.value(f64::from(x)) as f32).collect();
            assert_eq!(bits(&y.data), bits(&value), "{p:?}");
            let xbar = f.vjp_runtime(&[&x], &y, &ybar, &[true]).remove(0).expect("wanted");
            let slope = |(&x, &g)| sloped(p.slopes[p.at(f64::from(x))], g);
            let want: Vec<f32> = x.data.iter().zip(&ybar.data).map(slope).collect();
            assert_eq!(bits(&xbar.data), bits(&want), "{p:?}");
        }
    }
}
