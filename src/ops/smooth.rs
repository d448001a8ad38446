//! # Smooth: the elementary functions, entry by entry
//!
//! ## Definition
//! y = f(x) with f one of exp, log, √, tanh, σ, erf, softplus, sin, cos, tan, asin, acos, atan, sinh,
//! cosh, asinh, acosh, atanh, x^p.
//!
//! ## Algorithm
//! f in binary64 by the project's own kernels, rounded once to binary32. The cotangent is ȳ·f′(x) in
//! binary64, rounded once.
//!
//! ## VJP
//! x̄ = f′(x)·ȳ, with the derivative in terms of x and y (tanh′ = 1 − y², σ′ = y(1 − y), …).
//!
//! ## Error
//! Forward: carried e·sup|f′| between spec and covered runs; local half an ulp and the kernel's own
//! error for this run, 4 ulps of any value for every run. Cotangent: carried
//! |f′|e_ȳ + |ȳ|·e·sup|f″| + e_ȳ·e·sup|f″|; local one rounding for this run; for every run the absolute
//! error that binary32 formulas for f′ make (1 − y² and y(1 − y) cancel), and two roundings more.
//! Where (ȳp)·x^(p−1), ȳ·(p·x^(p−1)), or ȳe^x/(e^x + 1) of softplus up to x = 20, may overflow on the way, every
//! run has no bound.
//!
//! ## Scale
//! Mean value form around the midpoint, cut by the function's range, widened by 4 ulps.
//!
//! ## Domain
//! As the function's; an error that reaches the edge has no bound.
//!
//! ## References
//! DLMF §4, §7 (derivatives); the kernels' error constants are measured over all binary32 arguments.

use super::{Approx, Bound, Centre, PerOperand, RevNode, map, same_shapes};
use crate::ir::{Array, Shaped, Tensor};
use crate::num::format::{half_eta, largest, u};
use crate::num::function::{power_magnitude, power_slope};
use crate::num::{Arith, Elementary, Interval, Mag, elementary, lemma};

/// f of each entry.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Smooth(pub Elementary);

/// Elementary functions of a conforming run are off by at most this many ulps.
pub const PORTABLE_ULPS: f64 = 4.0;

/// k ulps of a value of magnitude at most y: an ulp is at most 2u|y|, or η.
fn ulps(k: f64, y: Mag) -> Mag {
    Mag::of(2.0 * k) * (u() * y + half_eta())
}

impl Smooth {
    /// f(x) in binary64; relative error at most [`elementary::REL`].
    pub(crate) fn kernel(&self, x: f64) -> f64 {
        match self.0 {
            Elementary::Exp => elementary::exp(x),
            Elementary::Log => elementary::log(x),
            Elementary::Sqrt => x.sqrt(),
            Elementary::Tanh => elementary::tanh(x),
            Elementary::Sigmoid => elementary::sigmoid(x),
            Elementary::Erf => elementary::erf(x),
            Elementary::Softplus => elementary::softplus(x),
            Elementary::Sin => elementary::sin(x),
            Elementary::Cos => elementary::cos(x),
            Elementary::Tan => elementary::tan(x),
            Elementary::Asin => elementary::asin(x),
            Elementary::Acos => elementary::acos(x),
            Elementary::Atan => elementary::atan(x),
            Elementary::Sinh => elementary::sinh(x),
            Elementary::Cosh => elementary::cosh(x),
            Elementary::Asinh => elementary::asinh(x),
            Elementary::Acosh => elementary::acosh(x),
            Elementary::Atanh => elementary::atanh(x),
            Elementary::Pow(p) => elementary::pow(x, f64::from(p)),
        }
    }

    /// f′(x) in binary64; relative error at most [`elementary::REL`] times a few, see [`SLOPE_REL`].
    pub(crate) fn slope_kernel(&self, x: f64) -> f64 {
        match self.0 {
            Elementary::Exp => elementary::exp(x),
            Elementary::Log => 1.0 / x,
            Elementary::Sqrt => 0.5 / x.sqrt(),
            // 1 − tanh² = 4σ(2x)σ(−2x), without cancellation
            Elementary::Tanh => 4.0 * elementary::sigmoid(2.0 * x) * elementary::sigmoid(-2.0 * x),
            Elementary::Sigmoid => elementary::sigmoid(x) * elementary::sigmoid(-x),
            Elementary::Erf => elementary::erf_derivative(x),
            Elementary::Softplus => elementary::sigmoid(x),
            Elementary::Sin => elementary::cos(x),
            Elementary::Cos => -elementary::sin(x),
            Elementary::Tan => {
                let c = elementary::cos(x);
                1.0 / (c * c)
            }
            Elementary::Asin => 1.0 / ((1.0 - x) * (1.0 + x)).sqrt(),
            Elementary::Acos => -1.0 / ((1.0 - x) * (1.0 + x)).sqrt(),
            Elementary::Atan => 1.0 / (1.0 + x * x),
            Elementary::Sinh => elementary::cosh(x),
            Elementary::Cosh => elementary::sinh(x),
            Elementary::Asinh => 1.0 / (1.0 + x * x).sqrt(),
            Elementary::Acosh => 1.0 / ((x - 1.0) * (x + 1.0)).sqrt(),
            Elementary::Atanh => 1.0 / ((1.0 - x) * (1.0 + x)),
            Elementary::Pow(p) if p == 0.0 => 0.0,
            Elementary::Pow(p) => f64::from(p) * elementary::pow(x, f64::from(p) - 1.0),
        }
    }

    /// f′ over an arithmetic, from x and y = f(x).
    fn derive<A: Arith>(&self, a: &A, x: &A::S, y: &A::S) -> A::S {
        let c = |v: f64| a.constant(v);
        let one = c(1.0);
        match self.0 {
            Elementary::Exp => y.clone(),
            Elementary::Log => a.div(&one, x),
            Elementary::Sqrt => a.div(&one, &a.mul(&c(2.0), y)),
            Elementary::Tanh => a.sub(&one, &a.mul(y, y)),
            Elementary::Sigmoid => a.mul(y, &a.sub(&one, y)),
            Elementary::Erf => {
                // 2/√π·e^(−x²), π = 4·atan 1
                let pi = a.mul(&c(4.0), &a.apply(Elementary::Atan, &one));
                let k = a.div(&c(2.0), &a.apply(Elementary::Sqrt, &pi));
                a.mul(&k, &a.apply(Elementary::Exp, &a.neg(&a.mul(x, x))))
            }
            Elementary::Softplus => a.apply(Elementary::Sigmoid, x),
            Elementary::Sin => a.apply(Elementary::Cos, x),
            Elementary::Cos => a.neg(&a.apply(Elementary::Sin, x)),
            Elementary::Tan => a.add(&one, &a.mul(y, y)),
            Elementary::Asin => a.div(&one, &a.apply(Elementary::Sqrt, &a.sub(&one, &a.mul(x, x)))),
            Elementary::Acos => a.neg(&a.div(&one, &a.apply(Elementary::Sqrt, &a.sub(&one, &a.mul(x, x))))),
            Elementary::Atan => a.div(&one, &a.add(&one, &a.mul(x, x))),
            Elementary::Sinh => a.apply(Elementary::Cosh, x),
            Elementary::Cosh => a.apply(Elementary::Sinh, x),
            Elementary::Asinh => a.div(&one, &a.apply(Elementary::Sqrt, &a.add(&one, &a.mul(x, x)))),
            Elementary::Acosh => a.div(&one, &a.apply(Elementary::Sqrt, &a.sub(&a.mul(x, x), &one))),
            Elementary::Atanh => a.div(&one, &a.sub(&one, &a.mul(x, x))),
            Elementary::Pow(p) if p == 0.0 => c(0.0),
            Elementary::Pow(p) if p == 1.0 => one,
            Elementary::Pow(p) if p == 2.0 => a.mul(&c(2.0), x),
            // p − 1 is exact in binary32 for every exponent that isn't tiny; otherwise x^p/x
            Elementary::Pow(p) if f64::from(p - 1.0) == f64::from(p) - 1.0 => {
                a.mul(&c(f64::from(p)), &a.apply(Elementary::Pow(p - 1.0), x))
            }
            Elementary::Pow(p) => a.mul(&c(f64::from(p)), &a.div(y, x)),
        }
    }

    /// sup |f″|.
    pub(crate) fn curvature(&self, x: Interval) -> Mag {
        let mag = x.mag();
        let slope = |f: Elementary| f.slope(x);
        let two = Mag::of(2.0);
        match self.0 {
            Elementary::Exp => slope(Elementary::Exp),
            // 1/x²
            Elementary::Log => Mag::ONE.div_lower(x.lo).div_lower(x.lo),
            // ¼x^(−3/2)
            Elementary::Sqrt => Mag::of(0.25) * power_magnitude(-1.5, x),
            // |2y(1−y²)| ≤ min(0.77, 2·sup tanh′)
            Elementary::Tanh => Mag::of(0.77).min(two * slope(Elementary::Tanh)),
            // |y(1−y)(1−2y)| ≤ min(0.0963, sup σ′)
            Elementary::Sigmoid | Elementary::Softplus => {
                let s = Elementary::Sigmoid.slope(x);
                if self.0 == Elementary::Sigmoid { Mag::of(0.0963).min(s) } else { s }
            }
            // 2|x|·erf′
            Elementary::Erf => two * mag * slope(Elementary::Erf),
            Elementary::Sin | Elementary::Cos => Mag::ONE,
            // 2·tan·tan′ ≤ 2·√(tan′)·tan′
            Elementary::Tan => two * slope(Elementary::Tan).sqrt() * slope(Elementary::Tan),
            // |x|/(1−x²)^(3/2)
            Elementary::Asin | Elementary::Acos => {
                let s = slope(Elementary::Asin);
                mag * s * s * s
            }
            // 2|x|/(1+x²)² ≤ min(2|x|, 0.65)
            Elementary::Atan => (two * mag).min(Mag::of(0.65)),
            Elementary::Sinh => slope(Elementary::Cosh),
            Elementary::Cosh => slope(Elementary::Sinh),
            // |x|/(1+x²)^(3/2) ≤ min(|x|, 0.385)
            Elementary::Asinh => mag.min(Mag::of(0.385)),
            Elementary::Acosh => {
                let s = slope(Elementary::Acosh);
                mag * s * s * s
            }
            // 2|x|/(1−x²)²
            Elementary::Atanh => {
                let s = slope(Elementary::Atanh);
                two * mag * s * s
            }
            Elementary::Pow(p) => {
                // p(p−1)x^(p−2)
                Mag::of(f64::from(p)) * power_slope(f64::from(p) - 1.0, x)
            }
        }
    }

    /// Absolute error of f′ as binary32 formulas compute it from x and a y that is 4 ulps off.
    fn slope_slack(&self, x: Interval, slope: Mag) -> Mag {
        let relative = |k: f64| Mag::of(k) * u() * slope;
        let m = x.mag();
        // x² beyond the largest number makes 0 of 1/(1+x²), 1/√(1+x²) and 1/√(x²−1)
        let squared = |slack: Mag| if (m * m).get() > 0.99 * largest() { slack + slope } else { slack };
        match self.0 {
            Elementary::Exp | Elementary::Sin | Elementary::Cos | Elementary::Sinh | Elementary::Cosh => {
                ulps(PORTABLE_ULPS, slope) + relative(2.0)
            }
            Elementary::Log | Elementary::Sqrt => relative(12.0),
            // 1 − y·y: 2·8u·y² + u·y² + u
            Elementary::Tanh => Mag::of(20.0) * u(),
            // y(1−y): 8u·y(1−y) + y(8u·y + u(1−y)) + u·y(1−y) ≤ 20u·min(1, y)
            Elementary::Sigmoid => Mag::of(20.0) * u(),
            Elementary::Softplus => ulps(PORTABLE_ULPS + 1.0, Mag::ONE),
            // the rounding of x² moves e^(−x²) by u·x² relatively; 4 ulps of a subnormal one are 4η
            Elementary::Erf => relative(16.0) + Mag::of(2.0) * u() * m * m * slope + Mag::of(12.0) * half_eta(),
            // 1 + y²: 2·8u·y² + 2u(1+y²)
            Elementary::Tan => relative(24.0),
            // 1 − x² errs by 2u absolutely: u/(1−x²) relatively, halved by the root
            Elementary::Asin | Elementary::Acos | Elementary::Atanh => {
                relative(16.0) + Mag::of(4.0) * u() * slope * slope * slope
            }
            Elementary::Atan | Elementary::Asinh => squared(relative(16.0)),
            Elementary::Acosh => squared(relative(16.0) + Mag::of(4.0) * u() * m * m * slope * slope * slope),
            Elementary::Pow(p) => {
                // 4 ulps of a subnormal x^(p−1) are 4η, times p
                let own = relative(16.0) + Mag::of(f64::from(p)) * Mag::of(2.0 * PORTABLE_ULPS) * half_eta();
                if f64::from(p - 1.0) == f64::from(p) - 1.0 {
                    return own;
                }
                // a rounded p − 1 moves x^(p−1) by u·|p−1|·|ln x| relatively
                let ln = |v: f64| Mag::of(v.max(2f64.powi(-149)).ln()) * Mag::of(1.0 + 1e-9);
                own + Mag::of(2.0) * u() * Mag::of(f64::from(p) - 1.0) * ln(m.get()).max(ln(x.mig())) * slope
            }
        }
    }

    /// What a product ȳ·p or ȳ/2 that underflows may yet be multiplied by on the way to ȳ·f′.
    // x^(p−1) = f′/p, or 2f′
    fn after_scaling(&self, slope: Mag) -> Mag {
        let power = if let Elementary::Pow(p) = self.0 { f64::from(p).abs() } else { 1.0 };
        slope * Mag::of(2.0).max(Mag::ONE.div_lower(power))
    }

    /// May a run overflow on the way to ȳ·f′, by a formula whose result doesn't?
    // ȳ·(p·x^(p−1)) and (ȳ·p)·x^(p−1), where x^(p−1) = f′/p; ȳ·e^x/(e^x + 1), which its users take up to
    // x = 20 and not beyond
    fn may_overflow(&self, x: Interval, g: Mag, slope: Mag) -> bool {
        let (factor, scaled) = match self.0 {
            Elementary::Pow(p) if p != 0.0 => {
                let p = f64::from(p).abs();
                (slope.div_lower(p.min(1.0)), g * Mag::of(p))
            }
            Elementary::Softplus => (slope, g * Mag::of(elementary::exp(x.hi.clamp(0.0, 21.0))) * Mag::of(1.0 + 1e-5)),
            _ => (slope, g),
        };
        factor.get() > largest() || scaled.get() > largest()
    }

    /// sup |f′| as a bound on the derivative at the centre.
    fn slope_at(&self, x: Interval) -> Mag {
        self.0.slope(x)
    }

    /// The values that f can take at all.
    fn codomain(&self) -> Interval {
        match self.0 {
            Elementary::Tanh | Elementary::Erf | Elementary::Sin | Elementary::Cos => Interval::new(-1.0, 1.0),
            Elementary::Sigmoid => Interval::new(0.0, 1.0),
            Elementary::Exp | Elementary::Sqrt | Elementary::Softplus => Interval::new(0.0, f64::INFINITY),
            Elementary::Cosh => Interval::new(1.0, f64::INFINITY),
            _ => Interval::ALL,
        }
    }
}

/// Relative error of a binary64 slope kernel: a handful of kernel evaluations and operations. A
/// squared argument (erf′) adds 2^−53·x² ≤ 2^−45 wherever e^(−x²) isn't below binary32's range.
const SLOPE_REL: f64 = 8.0 * elementary::REL;

impl Shaped for Smooth {
    fn infer(&self, operands: &[&[usize]]) -> Result<Vec<usize>, String> {
        same_shapes(operands, 1)
    }
}

impl RevNode for Smooth {
    fn forward_spec<A: Arith>(&self, a: &A, x: &[&Array<A::S>]) -> Array<A::S> {
        let x = x[0];
        Array::new(x.shape.clone(), map(x.data.len(), |i| a.apply(self.0, &x.data[i])))
    }

    fn vjp_spec<A: Arith>(
        &self,
        a: &A,
        x: &[&Array<A::S>],
        y: &Array<A::S>,
        ybar: &Array<A::S>,
        _: &[bool],
    ) -> PerOperand<Array<A::S>> {
        let one = |i: usize| a.mul(&ybar.data[i], &self.derive(a, &x[0].data[i], &y.data[i]));
        vec![Some(Array::new(y.shape.clone(), map(y.data.len(), one)))]
    }

    fn forward_runtime(&self, x: &[&Tensor]) -> Tensor {
        let value = |i: usize| self.kernel(f64::from(x[0].data[i])) as f32;
        Array::new(x[0].shape.clone(), map(x[0].data.len(), value))
    }

    fn vjp_runtime(&self, x: &[&Tensor], _: &Tensor, ybar: &Tensor, _: &[bool]) -> PerOperand<Tensor> {
        let one = |i: usize| match ybar.data[i] {
            0.0 => 0.0,
            g => (f64::from(g) * self.slope_kernel(f64::from(x[0].data[i]))) as f32,
        };
        vec![Some(Array::new(x[0].shape.clone(), map(ybar.data.len(), one)))]
    }

    fn forward_bound(&self, x: &[Approx], y: &Approx) -> Bound {
        let x = &x[0];
        Bound::of_pairs(map(y.len(), |i| {
            // e·sup|f′|
            let carried = if x.eps[i].is_zero() { Mag::ZERO } else { x.eps[i] * self.0.slope(x.hull(i)) };
            let local = match y.centre {
                // one rounding of a value that is REL off
                Centre::Run => {
                    lemma::rounding_of_result(y.run[i]) + Mag::of(2.0 * elementary::REL) * Mag::of_f32(y.run[i])
                }
                Centre::Spec => ulps(PORTABLE_ULPS, y.spec[i].mag() + carried),
            };
            (carried, local)
        }))
    }

    fn vjp_bound(&self, x: &[Approx], _: &Approx, ybar: &Approx, _: &[bool]) -> PerOperand<Bound> {
        let x = &x[0];
        let one = |i: usize| {
            let nothing = ybar.run_mag(i).is_zero() && ybar.eps[i].is_zero();
            let steepest = || {
                let slope = self.0.slope(x.hull(i));
                slope + self.slope_slack(x.hull(i), slope)
            };
            if nothing && (ybar.run_only() || !self.may_overflow(x.hull(i), Mag::ZERO, steepest())) {
                return (Mag::ZERO, Mag::ZERO);
            }
            let (g, eg, e) = (ybar.mag(i), ybar.eps[i], x.eps[i]);
            let slope = self.slope_at(x.centre(i));
            let moved = if e.is_zero() { Mag::ZERO } else { e * self.curvature(x.hull(i)) };
            // |f′|e_ȳ + (|ȳ| + e_ȳ)·e·sup|f″|
            let carried = slope * eg + (g + eg) * moved;
            let local = match ybar.centre {
                Centre::Run => {
                    let exact = slope * g;
                    // the kernels are relative down to 2^−150 only: 8·2^−150 absolute below
                    lemma::rounding(exact * Mag::of(1.0 + 1e-9))
                        + exact * Mag::of(2.0 * SLOPE_REL)
                        + g * Mag::of(8.0) * half_eta()
                }
                Centre::Spec => {
                    let worst = self.slope_at(x.hull(i)).min(slope + moved);
                    let g = ybar.run_mag(i);
                    let slack = self.slope_slack(x.hull(i), worst);
                    if self.may_overflow(x.hull(i), g, worst + slack) {
                        // a derivative that overflows makes NaN of a cotangent 0
                        Mag::INFINITY
                    } else {
                        g * slack + lemma::monomial(2, g * (worst + slack), g + self.after_scaling(worst + slack))
                    }
                }
            };
            (carried, local)
        };
        vec![Some(Bound::of_pairs(map(x.len(), one)))]
    }

    fn forward_scale(&self, x: &[&Array<Interval>]) -> Array<Interval> {
        let range = |i: usize| {
            let v = x[0].data[i];
            // the reduction of large arguments takes binary32 numbers only; any centre will do
            let m = if v.mid().abs() < 1e6 { v.mid() } else { f64::from(v.mid() as f32) };
            // |f(x) − f(m)| ≤ |x − m|·sup|f′|
            let f = self.kernel(m);
            if !f.is_finite() {
                return self.codomain().widen(ulps(PORTABLE_ULPS, Mag::ONE));
            }
            let radius = v.radius_about(m);
            let spread = if radius.is_zero() { Mag::ZERO } else { radius * self.0.slope(v.hull(Interval::point(m))) };
            let own =
                Interval::point(f).widen(spread + Mag::of(f) * Mag::of(1e-9) + Mag::exp2(-1000)).meet(self.codomain());
            own.widen(ulps(PORTABLE_ULPS, own.mag()))
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
            if ybar.data[i] == Interval::ZERO {
                return Interval::ZERO;
            }
            let (v, g) = (x[0].data[i], ybar.data[i].mag());
            let slope = self.0.slope(v);
            let worst = slope + self.slope_slack(v, slope);
            Interval::symmetric(g * worst + lemma::monomial(2, g * worst, g + self.after_scaling(worst)))
        };
        vec![Some(Array::new(x[0].shape.clone(), map(ybar.data.len(), one)))]
    }
}
