//! [`Elementary`]: the elementary functions of the specification, by their names.
//!
//! Each has an MPFR evaluation (the definition), and a bound on its slope over an interval (the mean
//! value form of an enclosure needs it). Reference for all derivatives: DLMF §4, §7.

use super::{Interval, Mag};
use rug::Float;
use rug::float::Round;
use rug::ops::Pow;
use std::cmp::Ordering;

/// An elementary function of one real variable.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Elementary {
    /// eˣ
    Exp,
    /// ln x
    Log,
    /// √x
    Sqrt,
    /// tanh x
    Tanh,
    /// 1/(1+e^−x)
    Sigmoid,
    /// erf x
    Erf,
    /// ln(1+eˣ)
    Softplus,
    /// sin x
    Sin,
    /// cos x
    Cos,
    /// tan x
    Tan,
    /// asin x
    Asin,
    /// acos x
    Acos,
    /// atan x
    Atan,
    /// sinh x
    Sinh,
    /// cosh x
    Cosh,
    /// asinh x
    Asinh,
    /// acosh x
    Acosh,
    /// atanh x
    Atanh,
    /// x^p for a fixed binary32 exponent
    Pow(f32),
}

/// A binary64 result of the platform's library (a few ulps) made an upper bound.
fn above(x: f64) -> Mag {
    // 2^−20 covers any library error by orders of magnitude, 2^−1074 an underflow.
    Mag::of(x) * Mag::of(1.0 + 1e-6) + Mag::exp2(-1074)
}

impl Elementary {
    /// f(x) correctly rounded to within one unit of the `prec`-th bit; NaN outside the domain.
    pub fn eval(self, x: &Float, prec: u32) -> Float {
        self.eval_exactly(x, prec).0
    }

    /// [`Elementary::eval`], and whether that is f(x) exactly.
    pub fn eval_exactly(self, x: &Float, prec: u32) -> (Float, bool) {
        let w = prec + 24;
        let on = |x: &Float| Float::with_val(w, x);
        macro_rules! rounded {
            ($f:expr) => {{
                let (y, way) = Float::with_val_round(prec, $f, Round::Nearest);
                let exact = way == Ordering::Equal && y.is_finite();
                (y, exact)
            }};
        }
        match self {
            Elementary::Exp => rounded!(x.exp_ref()),
            Elementary::Log => rounded!(x.ln_ref()),
            Elementary::Sqrt => rounded!(x.sqrt_ref()),
            Elementary::Tanh => rounded!(x.tanh_ref()),
            Elementary::Sigmoid => {
                let e = Float::with_val(w, (-on(x)).exp_ref());
                (Float::with_val(prec, 1 / (e + 1u32)), x.is_zero())
            }
            Elementary::Erf => rounded!(x.erf_ref()),
            Elementary::Softplus => {
                // max(x, 0) + log(1 + e^−|x|): e^x of a large x is beyond MPFR's exponents
                let e = Float::with_val(w, (-on(x).abs()).exp_ref());
                let above = Float::with_val(w, e.ln_1p_ref());
                let whole = if *x > 0 { on(x) } else { Float::new(w) };
                (Float::with_val(prec, whole + above), false)
            }
            Elementary::Sin => rounded!(x.sin_ref()),
            Elementary::Cos => rounded!(x.cos_ref()),
            Elementary::Tan => rounded!(x.tan_ref()),
            Elementary::Asin => rounded!(x.asin_ref()),
            Elementary::Acos => rounded!(x.acos_ref()),
            Elementary::Atan => rounded!(x.atan_ref()),
            Elementary::Sinh => rounded!(x.sinh_ref()),
            Elementary::Cosh => rounded!(x.cosh_ref()),
            Elementary::Asinh => rounded!(x.asinh_ref()),
            Elementary::Acosh => rounded!(x.acosh_ref()),
            Elementary::Atanh => rounded!(x.atanh_ref()),
            // by reference on both sides: a power of values has the precision of the exponent
            Elementary::Pow(p) => {
                let p = Float::with_val(53, p);
                rounded!(x.pow(&p))
            }
        }
    }

    /// sup |f′| over an interval, rounded up; +∞ where the interval leaves the domain.
    pub fn slope(self, x: Interval) -> Mag {
        let Interval { lo, hi } = x;
        let (mig, mag) = (x.mig(), x.mag().get());
        match self {
            // (eˣ)′ = eˣ
            Elementary::Exp => above(hi.exp()),
            // (ln x)′ = 1/x
            Elementary::Log => Mag::ONE.div_lower(lo),
            // (√x)′ = 1/(2√x)
            Elementary::Sqrt => {
                if lo > 0.0 {
                    Mag::of(0.5).div_lower(lo.sqrt().next_down())
                } else {
                    Mag::INFINITY
                }
            }
            // tanh′ = 1 − tanh² = 4e^−2|x|/(1+e^−2|x|)² ≤ min(1, 4e^−2|x|)
            Elementary::Tanh => above(4.0 * (-2.0 * mig).exp()).min(Mag::ONE),
            // σ′ = σ(1−σ) ≤ min(¼, e^−|x|)
            Elementary::Sigmoid => above((-mig).exp()).min(Mag::of(0.25)),
            // erf′ = 2/√π·e^−x²
            Elementary::Erf => above(std::f64::consts::FRAC_2_SQRT_PI * (-mig * mig).exp()),
            // softplus′ = σ ≤ min(1, eˣ)
            Elementary::Softplus => above(hi.exp()).min(Mag::ONE),
            // |sin′| = |cos| ≤ 1, |cos′| = |sin| ≤ min(1, |x|)
            Elementary::Sin => Mag::ONE,
            Elementary::Cos => Mag::of(mag).min(Mag::ONE),
            // tan′ = 1 + tan² = 1/cos²; monotone in the distance from the nearest multiple of π
            Elementary::Tan if mag <= 1e6 => {
                let k = (x.mid() / std::f64::consts::PI).round() * std::f64::consts::PI;
                // k·π is off by less than 1e−9
                let far = (lo - k).abs().max((hi - k).abs()) + 1e-9;
                if far < 1.57 {
                    let c = far.cos() * (1.0 - 1e-6);
                    Mag::ONE.div_lower((c * c).next_down())
                } else {
                    Mag::INFINITY
                }
            }
            Elementary::Tan => Mag::INFINITY,
            // asin′ = −acos′ = 1/√(1−x²)
            Elementary::Asin | Elementary::Acos => {
                let d = ((1.0 - mag) * (1.0 + mag)) * (1.0 - 1e-12);
                if mag < 1.0 { Mag::ONE.div_lower(d.sqrt().next_down()) } else { Mag::INFINITY }
            }
            // atan′ = 1/(1+x²)
            Elementary::Atan => Mag::ONE.div_lower((1.0 + mig * mig) * (1.0 - 1e-12)),
            // sinh′ = cosh, cosh′ = sinh
            Elementary::Sinh => above(mag.cosh()),
            Elementary::Cosh => above(mag.sinh()),
            // asinh′ = 1/√(1+x²)
            Elementary::Asinh => Mag::ONE.div_lower((1.0 + mig * mig).sqrt() * (1.0 - 1e-12)),
            // acosh′ = 1/√(x²−1)
            Elementary::Acosh => {
                let d = (lo - 1.0) * (lo + 1.0) * (1.0 - 1e-12);
                if lo > 1.0 { Mag::ONE.div_lower(d.sqrt().next_down()) } else { Mag::INFINITY }
            }
            // atanh′ = 1/(1−x²)
            Elementary::Atanh => {
                if mag < 1.0 {
                    Mag::ONE.div_lower((1.0 - mag) * (1.0 + mag) * (1.0 - 1e-12))
                } else {
                    Mag::INFINITY
                }
            }
            Elementary::Pow(p) => power_slope(f64::from(p), x),
        }
    }
}

/// sup |p·x^(p−1)|.
pub fn power_slope(p: f64, x: Interval) -> Mag {
    Mag::of(p) * power_magnitude(p - 1.0, x)
}

/// sup |x|^q over an interval; +∞ where q < 0 and the interval touches 0, and where q is not whole and
/// the interval reaches below 0.
pub fn power_magnitude(q: f64, x: Interval) -> Mag {
    if q == 0.0 {
        Mag::ONE
    } else if x.lo < 0.0 && q.trunc() != q {
        Mag::INFINITY
    } else if q > 0.0 {
        let m = x.mag().get();
        if m == 0.0 { Mag::ZERO } else { power(m, q) }
    } else if x.mig() > 0.0 {
        power(x.mig(), q)
    } else {
        Mag::INFINITY
    }
}

/// 10^−d rounded down to binary64: by MPFR, as libraries' powers differ between machines and builds.
pub fn ten_to_minus(d: f64) -> f64 {
    let (ten, exponent) = (Float::with_val(53, 10), Float::with_val(53, -d));
    Float::with_val_round(53, (&ten).pow(&exponent), Round::Down).0.to_f64_round(Round::Down)
}

/// m^q rounded up.
// small whole q by Mag products; otherwise the library's, whose relative error is a few ulps
fn power(m: f64, q: f64) -> Mag {
    if q == 1.0 {
        Mag::of(m)
    } else if q == 2.0 {
        Mag::of(m) * Mag::of(m)
    } else if q == 3.0 {
        Mag::of(m) * Mag::of(m) * Mag::of(m)
    } else {
        above(m.powf(q))
    }
}

#[cfg(test)]
impl Elementary {
    /// All of them, powers with some exponents.
    pub(crate) const ALL: [Elementary; 26] = [
        Elementary::Exp,
        Elementary::Log,
        Elementary::Sqrt,
        Elementary::Tanh,
        Elementary::Sigmoid,
        Elementary::Erf,
        Elementary::Softplus,
        Elementary::Sin,
        Elementary::Cos,
        Elementary::Tan,
        Elementary::Asin,
        Elementary::Acos,
        Elementary::Atan,
        Elementary::Sinh,
        Elementary::Cosh,
        Elementary::Asinh,
        Elementary::Acosh,
        Elementary::Atanh,
        Elementary::Pow(2.0),
        Elementary::Pow(3.0),
        Elementary::Pow(0.5),
        Elementary::Pow(0.1),
        Elementary::Pow(-0.5),
        Elementary::Pow(-1.5),
        Elementary::Pow(-2.0),
        Elementary::Pow(1.7),
    ];
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn powers_of_ten_are_rounded_down() {
        // of these powers but the first the nearest numbers are above
        assert_eq!(
            [0.0, 1.0, 3.0, 9.0].map(ten_to_minus),
            [1.0, 0.1f64.next_down(), 0.001f64.next_down(), 1e-9f64.next_down()]
        );
        assert_eq!(ten_to_minus(4000.0), 0.0);
        assert!(
            ten_to_minus(2.5) < 10f64.powf(-2.5) * (1.0 + 1e-15)
                && ten_to_minus(2.5) > 10f64.powf(-2.5) * (1.0 - 1e-15)
        );
    }

    /// A result has the precision that was asked for: more bits change it by less than a unit.
    #[test]
    fn results_have_the_precision_asked_for() {
        for x in [0.3, 1.7, 2.5, -0.6] {
            for f in Elementary::ALL {
                let of = |prec| f.eval(&Float::with_val(60, x), prec);
                let (few, many) = (of(200), of(400));
                if few.is_finite() {
                    let off = Float::with_val(400, &few - &many).abs();
                    assert!(off <= few.clone().abs() >> 198, "{f:?} at {x}: {off:e}");
                }
            }
        }
    }

    #[test]
    fn exact_results_are_known_as_such() {
        let exact = |f: Elementary, x: f64| f.eval_exactly(&Float::with_val(60, x), 100).1;
        assert!(exact(Elementary::Sqrt, 4.0) && exact(Elementary::Exp, 0.0) && exact(Elementary::Log, 1.0));
        assert!(exact(Elementary::Pow(2.0), 3.0) && exact(Elementary::Sigmoid, 0.0) && exact(Elementary::Cos, 0.0));
        assert!(!exact(Elementary::Sqrt, 2.0) && !exact(Elementary::Exp, 1.0) && !exact(Elementary::Log, 0.0));
        assert!(!exact(Elementary::Exp, -1e10), "an underflow is not an exact 0");
        let of = |x: f64| Elementary::Softplus.eval(&Float::with_val(60, x), 100);
        assert!(of(2e25) == 2e25 && of(-2e25) == 0, "softplus of what e^x has no exponent for");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        /// The slope bound is at least a difference quotient anywhere in the interval.
        #[test]
        fn slope_bounds_difference_quotients(c in prop_oneof![-4.0f64..4.0, -4000.0f64..4000.0], r in 1e-9f64..0.5, s in -1.0f64..1.0, t in -1.0f64..1.0) {
            let (a, b) = (c + r * s, c + r * t);
            prop_assume!(a != b);
            for f in Elementary::ALL {
                let (fa, fb) = (f.eval(&Float::with_val(300, a), 300), f.eval(&Float::with_val(300, b), 300));
                if fa.is_nan() || fb.is_nan() { continue; }
                let gap = Float::with_val(300, a) - b;
                // both values are rounded to 300 bits, which is more than the slope of a saturated tanh
                let noise = Float::with_val(300, Float::with_val(300, &fa).abs() + Float::with_val(300, &fb).abs()) >> 299;
                let rise = Float::with_val(300, fa - fb).abs() - noise;
                let quotient = Float::with_val(300, rise / gap.abs());
                let sup = f.slope(Interval::new(c - r, c + r));
                prop_assert!(quotient <= sup.get(), "{f:?} on {c} ± {r}: {quotient} > {}", sup.get());
            }
        }
    }
}
