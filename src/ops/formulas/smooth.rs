//! The formulas of the elementary functions.

use super::*;
use crate::num::Elementary;
use crate::num::elementary::REL;
use crate::num::format::largest;
use crate::ops::smooth::Smooth;

/// k ulps of y: an ulp is at most 2u|y|, or η.
fn ulps(k: f64, y: &Real) -> Real {
    (u() * y + half_eta()) * (2.0 * k)
}

/// v^q, with the millionth that [`crate::num::function`] adds to powers that aren't a few products.
fn power(v: &Real, q: f64) -> Real {
    v.pow(q) * if [0.0, 1.0, 2.0, 3.0].contains(&q) { 1.0 } else { 1.0 + 1e-6 }
}

fn interval(x: &(Real, Real)) -> Interval {
    Interval::new(x.0.to_f64(), x.1.to_f64())
}

fn mag(x: &(Real, Real)) -> Real {
    x.0.abs().max(x.1.abs())
}

fn mig(x: &(Real, Real)) -> Real {
    if x.0 > real(0.0) {
        x.0.clone()
    } else if x.1 < real(0.0) {
        x.1.abs()
    } else {
        real(0.0)
    }
}

impl Smooth {
    /// sup |f′|, which has tests of its own.
    fn sup(&self, x: &(Real, Real)) -> Real {
        of(self.0.slope(interval(x)))
    }

    /// sup |f″|, as a formula in sup |f′| and |x|.
    fn bend(&self, x: &(Real, Real)) -> Real {
        use Elementary::*;
        let sup = |f: Elementary| of(f.slope(interval(x)));
        let (m, low) = (mag(x), &x.0);
        match self.0 {
            Exp => sup(Exp),
            // 1/x²
            Log => real(1.0) / (low * low),
            // x^(−3/2)/4
            Sqrt => power(low, -1.5) * 0.25,
            Tanh => (sup(Tanh) * 2.0).min(real(0.77)),
            Sigmoid => sup(Sigmoid).min(real(0.0963)),
            Softplus => sup(Sigmoid),
            // 2|x|·erf′
            Erf => m * 2.0 * sup(Erf),
            Sin | Cos => real(1.0),
            // 2·tan·tan′
            Tan => sup(Tan).sqrt() * sup(Tan) * 2.0,
            // |x|/(1−x²)^(3/2)
            Asin | Acos => m * sup(Asin) * sup(Asin) * sup(Asin),
            Atan => (m * 2.0).min(real(0.65)),
            Sinh => sup(Cosh),
            Cosh => sup(Sinh),
            Asinh => m.min(real(0.385)),
            // |x|/(x²−1)^(3/2)
            Acosh => m * sup(Acosh) * sup(Acosh) * sup(Acosh),
            // 2|x|/(1−x²)²
            Atanh => m * 2.0 * sup(Atanh) * sup(Atanh),
            // p(p−1)x^(p−2), largest at an end
            Pow(p) => {
                let p = f64::from(p);
                let at = |v: &Real| (real(p) * (p - 1.0) * power(v, p - 2.0)).abs();
                at(&x.0).max(at(&x.1))
            }
        }
    }

    /// Absolute error of f′ by binary32 formulas.
    fn slack(&self, x: &(Real, Real), slope: &Real) -> Real {
        use Elementary::*;
        let (m, relative) = (mag(x), |k: f64| u() * k * slope);
        // x² that overflows makes 0 of the whole derivative
        let squared = |slack: Real| if &m * &m > real(0.99 * largest()) { slack + slope } else { slack };
        let cube = slope * slope * slope;
        match self.0 {
            Exp | Sin | Cos | Sinh | Cosh => ulps(4.0, slope) + relative(2.0),
            Log | Sqrt => relative(12.0),
            Tanh | Sigmoid => u() * 20.0,
            Softplus => ulps(5.0, &real(1.0)),
            Erf => relative(16.0) + &m * &m * relative(2.0) + half_eta() * 12.0,
            Tan => relative(24.0),
            Asin | Acos | Atanh => relative(16.0) + u() * 4.0 * cube,
            Atan | Asinh => squared(relative(16.0)),
            Acosh => squared(relative(16.0) + &m * &m * u() * 4.0 * cube),
            Pow(p) => {
                let wide = f64::from(p);
                let own = relative(16.0) + half_eta() * (8.0 * wide.abs());
                if f64::from(p - 1.0) == wide - 1.0 {
                    return own;
                }
                // a rounded p − 1 moves x^(p−1) by u|p−1||ln x|
                let ln = |v: Real| v.max(power_of_two(-149)).ln().abs();
                own + u() * (2.0 * (wide - 1.0).abs()) * ln(mag(x)).max(ln(mig(x))) * slope
            }
        }
    }

    /// |f′|·max(2, 1/|p|).
    fn gain(&self, slope: Real) -> Real {
        let p = if let Elementary::Pow(p) = self.0 { f64::from(p).abs() } else { 1.0 };
        slope * real(2.0).max(real(1.0) / real(p))
    }

    fn image(&self) -> (f64, f64) {
        use Elementary::*;
        match self.0 {
            Tanh | Erf | Sin | Cos => (-1.0, 1.0),
            Sigmoid => (0.0, 1.0),
            Exp | Sqrt | Softplus => (0.0, f64::INFINITY),
            Cosh => (1.0, f64::INFINITY),
            _ => (f64::NEG_INFINITY, f64::INFINITY),
        }
    }
}

impl Formulas for Smooth {
    fn forward(&self, x: &Row, y: &Row) -> Vec<(Real, Real)> {
        let one = |i: usize| {
            // e·sup|f′|
            let carried = x.e(i) * self.sup(&x.hull(i));
            let local = match y.centre {
                Centre::Run => u() * y.y(i) + half_eta() + y.y(i) * (2.0 * REL),
                Centre::Spec => ulps(4.0, &(y.mag(i) + &carried)),
            };
            (carried, local)
        };
        (0..x.len()).map(one).collect()
    }

    fn vjp(&self, x: &Row, _: &Row, g: &Row) -> Vec<(Real, Real)> {
        let one = |i: usize| {
            let hull = x.hull(i);
            if g.run_mag(i).is_zero() && g.e(i).is_zero() {
                assert!(self.sup(&hull) <= real(largest()), "no case of a derivative that overflows");
                return (real(0.0), real(0.0));
            }
            let slope = self.sup(&x.centre(i));
            let moved = x.e(i) * self.bend(&hull);
            // |f′|e_ȳ + (|ȳ| + e_ȳ)·e·sup|f″|
            let carried = &slope * g.e(i) + (g.mag(i) + g.e(i)) * &moved;
            let local = match g.centre {
                Centre::Run => {
                    let exact = &slope * g.mag(i);
                    rounding(&(&exact * (1.0 + 1e-9))) + exact * (16.0 * REL) + g.mag(i) * half_eta() * 8.0
                }
                Centre::Spec => {
                    let worst = self.sup(&hull).min(&slope + &moved);
                    let slack = self.slack(&hull, &worst);
                    let all = &worst + &slack;
                    g.run_mag(i) * slack + monomial(2, &(g.run_mag(i) * &all), &(g.run_mag(i) + self.gain(all)))
                }
            };
            (carried, local)
        };
        (0..x.len()).map(one).collect()
    }

    // f(mid) ± radius·sup|f′|, a margin, the function's image, and 4 ulps
    fn forward_range(&self, x: &[Interval]) -> Vec<(Real, Real)> {
        let one = |v: &Interval| {
            let mid = real(v.lo * 0.5 + v.hi * 0.5);
            let radius = (real(v.hi) - &mid).max(&mid - real(v.lo));
            let f = mid.apply(self.0);
            let spread = radius * of(self.0.slope(*v)) + f.abs() * 1e-9 + power_of_two(-1000);
            let (lo, hi) = self.image();
            let own = ((&f - &spread).max(real(lo)), (f + spread).min(real(hi)));
            let more = ulps(4.0, &mag(&own));
            (own.0 - &more, own.1 + &more)
        };
        x.iter().map(one).collect()
    }

    fn vjp_range(&self, x: &[Interval], g: &[Interval]) -> Vec<(Real, Real)> {
        let one = |(v, g): (&Interval, &Interval)| {
            let (x, g) = ((real(v.lo), real(v.hi)), of(g.mag()));
            let slope = self.sup(&x);
            let worst = self.slack(&x, &slope) + slope;
            &g * &worst + monomial(2, &(&g * &worst), &(g + self.gain(worst)))
        };
        x.iter().zip(g).map(one).map(symmetric).collect()
    }

    fn peaks(&self, _: &Row, _: &Row) -> (Real, Real) {
        (real(0.0), real(0.0))
    }
}

/// Operands where f is defined: in the middle of things, near its edges, far out.
fn arguments(f: Elementary) -> Vec<Vec<f32>> {
    use Elementary::*;
    match f {
        Log | Sqrt | Pow(_) => vec![vec![0.5, 1.25, 40.0], vec![1e-3, 2.0, 7e4]],
        Asin | Acos | Atanh => vec![vec![0.5, -0.25, 0.0], vec![0.875, -0.96875, 0.125]],
        // squares below 0.99 of the largest number, between that and it, and beyond
        Acosh => vec![vec![1.5, 2.0, 40.0], vec![1.0625, 2e19, 1e9], vec![1.84e19, 1.8e19, 2.0]],
        Atan | Asinh => vec![vec![0.5, -0.25, 3.0], vec![-1e-3, 2e19, 1.8e19], vec![1.84e19, 2.0, -1.84e19]],
        Sin | Cos | Tan => vec![vec![0.5, -0.25, 1.0], vec![-1.25, 0.0, 4.0]],
        _ => vec![vec![0.5, -0.25, 1.5], vec![-3.0, 0.0, 5.0], vec![-9.0, -70.0, 30.0]],
    }
}

#[test]
fn elementary_functions_keep_to_their_formulas() {
    use Elementary::*;
    for f in Elementary::ALL {
        let rows = |centre: Centre| -> Vec<Vec<Row>> {
            let errors: [([f64; 3], f64); 4] =
                [([0.0; 3], 0.0), ([1e-7, 0.0, 1e-6], 0.0), ([1e-4, 2e-4, 3e-4], 1e-5), ([0.01, 0.02, 0.015], 1e-3)];
            let of = |x: &Vec<f32>| {
                // errors that stay inside the domain
                let near = x.iter().any(|&v| v.abs() < 0.1 && matches!(f, Log | Sqrt | Pow(_)));
                let some = &errors[..if near { 3 } else { 4 }];
                some.iter().map(|(e, w)| vec![Row::new(centre, x, *w, e)]).collect::<Vec<_>>()
            };
            arguments(f).iter().flat_map(of).collect()
        };
        hold_table(&format!("{f:?}"), &Smooth(f), rows);
    }
}
