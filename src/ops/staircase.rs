//! # Staircase: Floor, Ceil, Round and truncation
//!
//! ## Definition
//! y = the step on which x lies: ⌊x⌋, ⌈x⌉, the nearest whole number (ties to even), or x without its
//! fraction.
//!
//! ## Algorithm
//! Exact: the step of a binary32 number is a binary32 number.
//!
//! ## VJP
//! x̄ = 0, the derivative wherever there is one. At a jump there is none; the convention is 0 too.
//!
//! ## Error
//! Forward: 0 where spec and covered runs certainly lie on the same step; otherwise f(h) − f(l) over an
//! interval [l, h] that holds them all, since f increases. For this run the enclosures show the spec's
//! step; for every run [l, h] is the enclosure widened by e. Nothing is rounded, and the cotangent is
//! exact. Entries that may lie on two steps are counted as undecided gates.
//!
//! ## Scale
//! [f(l), f(h)] for x in [l, h]; cotangents are 0.
//!
//! ## Domain
//! Everywhere.
//!
//! ## References
//! The method's gate rule: a function that jumps is charged its jump forward where a gate is undecided.

use super::approx::UNKNOWN_GATE;
use super::{Approx, Bound, PerOperand, RevNode, map, same_shapes};
use crate::ir::{Array, Shaped, Tensor};
use crate::num::{Arith, Ball, Balls, Interval, Mag, Steps};

/// A staircase of each entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Staircase(pub Steps);

/// A step as a branch; steps too high to be told apart by 32 bits are unknown.
fn branch(step: f64) -> u32 {
    const MIDDLE: f64 = (1u32 << 30) as f64;
    if step.abs() < MIDDLE { (step + MIDDLE) as u32 } else { UNKNOWN_GATE }
}

impl Staircase {
    /// The spec's step at each entry as the enclosures show it, or [`UNKNOWN_GATE`].
    pub(crate) fn gates(&self, balls: &Balls, x: &Array<Ball>) -> Vec<u32> {
        map(x.data.len(), |i| match balls.steps(self.0, &x.data[i]) {
            Some((lo, hi)) if lo == hi => branch(lo.to_f64()),
            _ => UNKNOWN_GATE,
        })
    }

    /// The step at each entry of a run.
    pub(crate) fn run_gates(&self, x: &Tensor) -> Vec<u32> {
        map(x.data.len(), |i| branch(self.0.at(f64::from(x.data[i]))))
    }

    /// Entries where spec and covered runs may lie on different steps.
    pub(crate) fn undecided(&self, x: &Approx, y: &Approx) -> Vec<u32> {
        (0..x.len()).filter(|&i| !self.apart(x, y, i).is_zero()).map(|i| i as u32).collect()
    }

    /// Bound on the distance of the spec's step from that of any covered run.
    fn apart(&self, x: &Approx, y: &Approx, i: usize) -> Mag {
        let agreed = |gate: u32| gate != UNKNOWN_GATE && gate == branch(self.0.at(f64::from(x.run[i])));
        if x.run_only() && agreed(y.gates[i]) { Mag::ZERO } else { self.0.rise(x.hull(i)) }
    }
}

impl Shaped for Staircase {
    fn infer(&self, operands: &[&[usize]]) -> Result<Vec<usize>, String> {
        same_shapes(operands, 1)
    }
}

impl RevNode for Staircase {
    fn forward_spec<A: Arith>(&self, a: &A, x: &[&Array<A::S>]) -> Array<A::S> {
        Array::new(x[0].shape.clone(), map(x[0].data.len(), |i| a.step(self.0, &x[0].data[i])))
    }

    fn vjp_spec<A: Arith>(
        &self,
        a: &A,
        x: &[&Array<A::S>],
        _: &Array<A::S>,
        _: &Array<A::S>,
        _: &[bool],
    ) -> PerOperand<Array<A::S>> {
        vec![Some(Array::new(x[0].shape.clone(), vec![a.constant(0.0); x[0].data.len()]))]
    }

    fn forward_runtime(&self, x: &[&Tensor]) -> Tensor {
        // exact in binary64, and a binary32 number again
        let value = |i: usize| self.0.at(f64::from(x[0].data[i])) as f32;
        Array::new(x[0].shape.clone(), map(x[0].data.len(), value))
    }

    fn vjp_runtime(&self, x: &[&Tensor], _: &Tensor, _: &Tensor, _: &[bool]) -> PerOperand<Tensor> {
        vec![Some(Tensor::filled(&x[0].shape, 0.0))]
    }

    fn forward_bound(&self, x: &[Approx], y: &Approx) -> Bound {
        Bound::exact(map(y.len(), |i| self.apart(&x[0], y, i)))
    }

    fn vjp_bound(&self, x: &[Approx], _: &Approx, _: &Approx, _: &[bool]) -> PerOperand<Bound> {
        vec![Some(Bound::exact(vec![Mag::ZERO; x[0].len()]))]
    }

    fn forward_scale(&self, x: &[&Array<Interval>]) -> Array<Interval> {
        let range = |i: usize| Interval::new(self.0.at(x[0].data[i].lo), self.0.at(x[0].data[i].hi));
        Array::new(x[0].shape.clone(), map(x[0].data.len(), range))
    }

    fn vjp_scale(
        &self,
        x: &[&Array<Interval>],
        _: &Array<Interval>,
        _: &Array<Interval>,
        _: &[bool],
    ) -> PerOperand<Array<Interval>> {
        vec![Some(Array::new(x[0].shape.clone(), vec![Interval::ZERO; x[0].data.len()]))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::Elementary;

    #[test]
    fn steps_are_those_of_the_standard() {
        let x = Tensor::new(vec![7], vec![-1.5, -0.5, -0.0, 0.5, 1.5, 2.5, 16_777_217.0]);
        let y = |s| Staircase(s).forward_runtime(&[&x]).data;
        assert_eq!(y(Steps::Floor), [-2.0, -1.0, 0.0, 0.0, 1.0, 2.0, 16_777_216.0]);
        assert_eq!(y(Steps::Ceil), [-1.0, 0.0, 0.0, 1.0, 2.0, 3.0, 16_777_216.0]);
        assert_eq!(y(Steps::Round), [-2.0, 0.0, 0.0, 0.0, 2.0, 2.0, 16_777_216.0]);
        assert_eq!(y(Steps::Truncate), [-1.0, 0.0, 0.0, 0.0, 1.0, 2.0, 16_777_216.0]);
    }

    #[test]
    fn a_step_is_known_as_soon_as_the_enclosure_lies_on_it() {
        let balls = Balls::new(64);
        let ball = |mid: f64, rad: f64| Ball { rad: Mag::of(rad), ..Ball::exact(mid) };
        let known = balls.step(Steps::Floor, &ball(2.5, 0.25));
        assert!(known.is_exact() && known.mid == 2.0 && balls.undecided() == 0);
        let open = balls.step(Steps::Floor, &ball(3.0, 0.25));
        let holds = |v: f64| open.contains(&Ball::exact(v).mid);
        assert!(holds(2.0) && holds(3.0) && balls.undecided() == 1);
        // exactly on a jump
        assert!(balls.step(Steps::Ceil, &Ball::exact(3.0)).is_exact());
        // nothing is known
        assert!(!balls.step(Steps::Round, &balls.apply(Elementary::Log, &Ball::exact(-1.0))).rad.is_finite());
    }
}
