//! The formulas of Softmax and LogSoftmax.

use super::*;
use crate::num::elementary::REL;
use crate::ops::softmax::{LogSoftmax, Softmax};

/// k ulps of every elementary function.
const K: f64 = 4.0;

/// Relative error of a softmax in binary64: four kernels, the arguments' 2^−40, n + 4 operations.
fn wide(n: usize) -> Real {
    real(4.0 * REL) + power_of_two(-40) + power_of_two(-52) * (n + 4) as f64
}

/// p at the ends: [e^lo/(e^lo + Σ others e^hi), e^hi/(e^hi + Σ others e^lo)].
fn shares(x: &[(Real, Real)]) -> Vec<(Real, Real)> {
    let top = x.iter().fold(x[0].1.clone(), |m, v| m.max(v.1.clone()));
    let (low, high): (Vec<Real>, Vec<Real>) = x.iter().map(|v| ((&v.0 - &top).exp(), (&v.1 - &top).exp())).unzip();
    let but = |e: &[Real], i: usize| sum((0..e.len()).filter(|&j| j != i).map(|j| e[j].clone()));
    (0..x.len()).map(|i| (&low[i] / (&low[i] + but(&high, i)), &high[i] / (&high[i] + but(&low, i)))).collect()
}

/// What the rules' heads name.
struct Known {
    p: Vec<(Real, Real)>,
    /// |ln p| moves by at most L_i.
    drift: Vec<Real>,
    /// e_p.
    carried: Vec<Real>,
    /// m − x_j at most.
    below: Vec<Real>,
    /// |m| at most.
    top: Real,
}

impl Known {
    fn of(x: &Row) -> Known {
        let n = x.len();
        let p = shares(&(0..n).map(|i| x.centre(i)).collect::<Vec<_>>());
        let r = most((0..n).map(|i| x.e(i)));
        let twice = expm1(&(&r + &r));
        // p anywhere: at most p·e^{2r}, at least p·e^{−2r}
        let anywhere = |i: usize| (&p[i].1 * (&twice + 1.0)).min(real(1.0));
        // L_i = (1−p_i)e_i + Σ_{j≠i} p_j e_j
        let drift = |i: usize| {
            let rest = real(1.0) - &p[i].0 * (-(&r + &r)).exp();
            let others = sum((0..n).filter(|&j| j != i).map(|j| anywhere(j) * x.e(j)));
            (rest * x.e(i) + others).min(&r + &r)
        };
        let drift: Vec<Real> = (0..n).map(drift).collect();
        // min(p(1−p)(e^{2r}−1), p(e^L−1)), at most 1
        let moved = |i: usize| ((real(1.0) - &p[i].0) * &twice).min(expm1(&drift[i]));
        let carried = (0..n).map(|i| (&p[i].1 * moved(i)).min(real(1.0))).collect();
        let (lows, highs): (Vec<Real>, Vec<Real>) = (0..n).map(|i| x.hull(i)).unzip();
        let largest = |v: &[Real]| v.iter().skip(1).fold(v[0].clone(), |m, x| m.max(x.clone()));
        let highest = largest(&highs);
        let below = lows.iter().map(|l| &highest - l).collect();
        let top = highest.abs().max(largest(&lows).abs());
        Known { p, drift, carried, below, top }
    }

    /// A_j = e^{u(m−x_j)+2ku} − 1.
    fn exponential(&self, j: usize) -> Real {
        expm1(&(u() * &self.below[j] + u() * (2.0 * K)))
    }

    /// B = Σ p_j A_j ≤ max A_j, p anywhere; nothing known beyond ½.
    fn of_sum(&self, x: &Row) -> Real {
        let n = self.p.len();
        let r = most((0..n).map(|i| x.e(i)));
        let anywhere = |j: usize| (&self.p[j].1 * (expm1(&(&r + &r)) + 1.0)).min(real(1.0));
        let b = sum((0..n).map(|j| anywhere(j) * self.exponential(j)));
        let b = b.min(most((0..n).map(|j| self.exponential(j))));
        if b <= real(0.5) { b } else { real(f64::INFINITY) }
    }

    /// p(e^t − 1), t = A + B + B² + (n+2)(u+u²), and 4k(n+2) half-η.
    fn every_run(&self, x: &Row) -> Vec<Real> {
        let (n, b) = (self.p.len(), self.of_sum(x));
        let shared = &b + &b * &b + (u() + u() * u()) * (n + 2) as f64;
        let one = |i: usize| (&self.p[i].1 + &self.carried[i]) * expm1(&(self.exponential(i) + &shared));
        (0..n).map(|i| one(i) + half_eta() * (4.0 * K * (n + 2) as f64)).collect()
    }
}

/// Ranges of p: at the ends with a margin, then 4k(n+2) half-η and the relative error of every run.
fn ranges(x: &[Interval]) -> Vec<(Real, Real)> {
    let n = x.len();
    let spread = most(x.iter().flat_map(|a| x.iter().map(|b| real(a.hi) - real(b.lo))));
    let relative = expm1(&((&spread + &spread + n as f64 + (4.0 * K + 6.0)) * u()));
    let one = |(lo, hi): (Real, Real)| {
        let (lo, hi) = ((lo * (1.0 - 1e-9)), (hi * (1.0 + 1e-9) + 1e-12).min(real(1.0)));
        let more = &hi * &relative + half_eta() * (4.0 * K * (n + 2) as f64);
        (lo - &more, hi + &more)
    };
    shares(&x.iter().map(|v| (real(v.lo), real(v.hi))).collect::<Vec<_>>()).into_iter().map(one).collect()
}

impl Formulas for Softmax {
    fn forward(&self, x: &Row, y: &Row) -> Vec<(Real, Real)> {
        let (n, k) = (x.len(), Known::of(x));
        let every = k.every_run(x);
        let local = |i: usize| match y.centre {
            // one rounding, and what binary64 errs
            Centre::Run => u() * y.y(i) + half_eta() + (y.y(i) + half_eta()) * wide(n) * 1.001,
            Centre::Spec => every[i].clone(),
        };
        (0..n).map(|i| (k.carried[i].clone(), local(i))).collect()
    }

    // x̄ = p(ȳ − D), D = Σ p ȳ
    fn vjp(&self, x: &Row, _: &Row, g: &Row) -> Vec<(Real, Real)> {
        let (n, k) = (x.len(), Known::of(x));
        let (p, e_p) = (|i: usize| &k.p[i].1, &k.carried);
        let own: Vec<Real> = match g.centre {
            Centre::Run => (0..n).map(|i| p(i) * wide(n) + half_eta()).collect(),
            Centre::Spec => k.every_run(x),
        };
        let d = sum((0..n).map(|j| p(j) * g.mag(j)));
        let e_d = sum((0..n).map(|j| p(j) * g.e(j) + &e_p[j] * (g.mag(j) + g.e(j))));
        // D's own error: p's, then n products, n−1 additions, and a difference
        let from_p = sum((0..n).map(|j| &own[j] * (g.mag(j) + g.e(j))));
        let (unit, underflow) = match g.centre {
            Centre::Run => (power_of_two(-52), real(0.0)),
            Centre::Spec => (u(), half_eta() * n as f64),
        };
        let own_d = &from_p + unit * (n + 2) as f64 * (&d + &e_d + &from_p) + underflow;
        let one = |i: usize| {
            let difference = g.mag(i) + &d;
            let run = &difference + g.e(i) + &e_d;
            let carried = p(i) * (g.e(i) + &e_d) + &e_p[i] * &run;
            let p_run = p(i) + &e_p[i];
            let from_operands = &p_run * &own_d + &own[i] * (&run + &own_d);
            let last = match g.centre {
                Centre::Run => &p_run * &run * power_of_two(-50) + rounding(&(&p_run * (&run + &own_d))),
                Centre::Spec => {
                    let p_own = &p_run + &own[i];
                    monomial(2, &(&p_own * (&run + &own_d)), &p_own)
                }
            };
            (carried, from_operands + last)
        };
        (0..n).map(one).collect()
    }

    fn forward_range(&self, x: &[Interval]) -> Vec<(Real, Real)> {
        ranges(x)
    }

    // p(|ȳ| + D(1+growth))·(1+growth), D = Σ p|ȳ|, and n+4 underflows
    fn vjp_range(&self, x: &[Interval], g: &[Interval]) -> Vec<(Real, Real)> {
        let (n, p) = (x.len(), ranges(x));
        let widen = growth(n + 6) + 1.0;
        let mag = |i: usize| of(g[i].mag());
        let d = sum((0..n).map(|j| &p[j].1 * mag(j)));
        let one = |i: usize| &p[i].1 * (mag(i) + &d * &widen) * &widen + half_eta() * (n + 4) as f64;
        (0..n).map(|i| symmetric(one(i))).collect()
    }

    // |ȳ − D| ≤ 2.01·max|ȳ|
    fn peaks(&self, _: &Row, g: &Row) -> (Real, Real) {
        (real(0.0), most((0..g.len()).map(|i| g.run_mag(i))) * 2.01)
    }
}

impl Formulas for LogSoftmax {
    fn forward(&self, x: &Row, y: &Row) -> Vec<(Real, Real)> {
        let (n, k) = (x.len(), Known::of(x));
        let log_n = real((n as f64).ln()) * 1.01;
        // s: the sum's relative error; −ln(1−s) ≤ s + s²
        let s = k.of_sum(x) + growth(n) + half_eta() * (4.0 * K * n as f64);
        let s = if s <= real(0.5) { &s + &s * &s } else { real(f64::INFINITY) };
        // k ulps of the logarithm
        let log = (u() * (&log_n + &s) + half_eta()) * (2.0 * K);
        let local = |i: usize| match y.centre {
            Centre::Run => {
                let sizes = real(f64::from(x.run[i])).abs() + &k.below[i] + &log_n;
                u() * y.y(i) + half_eta() + wide(n) + sizes * power_of_two(-50)
            }
            Centre::Spec => {
                // x − m or m + ln Σ, then the result
                let first = u() * k.below[i].clone().max(&k.top + &log_n + &s + &log);
                let own = &s + &log + first;
                &own + u() * (y.mag(i) + &k.drift[i] + &own)
            }
        };
        (0..n).map(|i| (k.drift[i].clone(), local(i))).collect()
    }

    // x̄ = ȳ − p·S, S = Σ ȳ
    fn vjp(&self, x: &Row, y: &Row, g: &Row) -> Vec<(Real, Real)> {
        let (n, k) = (x.len(), Known::of(x));
        let every = k.every_run(x);
        let s = sum((0..n).map(|j| g.mag(j)));
        let e_s = sum((0..n).map(|j| g.e(j)));
        let total = sum((0..n).map(|j| g.run_mag(j)));
        let terms = (0..n).filter(|&j| !g.run_mag(j).is_zero()).count();
        let own_s = match g.centre {
            Centre::Run => power_of_two(-53) * n as f64 * &total * 1.01,
            Centre::Spec => u() * terms.saturating_sub(1) as f64 * &total,
        };
        let one = |i: usize| {
            let (p, e_p) = (&k.p[i].1, &k.carried[i]);
            let s_run = &s + &e_s;
            let carried = g.e(i) + p * &e_s + e_p * &s_run;
            let own = match g.centre {
                Centre::Run => p * wide(n) + half_eta(),
                // softmax(x), or exp(y): p(e^{e_y} − 1) and k ulps
                Centre::Spec => {
                    let again = (p + e_p) * expm1(&y.e(i)) + (u() * (p + e_p) * 1.1 + half_eta()) * (2.0 * K);
                    every[i].clone().max(again)
                }
            };
            let p_own = p + e_p + &own;
            let product = &p_own * (&s_run + &own_s);
            let result = g.run_mag(i) + &product;
            let last = match g.centre {
                Centre::Run => &result * power_of_two(-50) + rounding(&result),
                Centre::Spec => rounding(&product) + rounding(&result),
            };
            (carried, p_own * &own_s + own * s_run + last)
        };
        (0..n).map(one).collect()
    }

    // x − ln Σe^x with a margin, at most 0; then the sum's relative error, k ulps, three subtractions
    fn forward_range(&self, x: &[Interval]) -> Vec<(Real, Real)> {
        let n = x.len();
        let top = x.iter().fold(f64::NEG_INFINITY, |m, v| m.max(v.hi));
        let bottom = x.iter().fold(f64::NEG_INFINITY, |m, v| m.max(v.lo));
        let at = |end: &dyn Fn(&Interval) -> f64| real(top) + sum(x.iter().map(|v| (real(end(v)) - top).exp())).ln();
        let margin = real(1e-9) * (real(top).abs() + 1.0);
        let (low, high) = (at(&|v| v.lo).max(real(bottom)) - &margin, at(&|v| v.hi) + &margin);
        let m = most(x.iter().map(|v| of(v.mag())));
        let log_n = real((n as f64).ln()) * 1.01;
        let slack = expm1(&((&m + &m + n as f64 + (2.0 * K + 6.0)) * u()))
            + (u() * &log_n + half_eta()) * (2.0 * K)
            + u() * 6.0 * (&m + &log_n);
        let one = |v: &Interval| (real(v.lo) - &high - &slack, (real(v.hi) - &low).min(real(0.0)) + &slack);
        x.iter().map(one).collect()
    }

    // (|ȳ| + p·S·(1+growth))·(1+growth), and four underflows
    fn vjp_range(&self, x: &[Interval], g: &[Interval]) -> Vec<(Real, Real)> {
        let (n, p) = (x.len(), ranges(x));
        let widen = growth(n + 6) + 1.0;
        let s = sum(g.iter().map(|v| of(v.mag())));
        let one = |i: usize| (of(g[i].mag()) + &p[i].1 * &s * &widen) * &widen + half_eta() * 4.0;
        (0..n).map(|i| symmetric(one(i))).collect()
    }

    // Σȳ in any order
    fn peaks(&self, _: &Row, g: &Row) -> (Real, Real) {
        (real(0.0), sum((0..g.len()).map(|i| g.run_mag(i))) * 2.0)
    }
}

#[test]
fn softmax_keeps_to_its_formulas() {
    hold_table("Softmax", &Softmax, operands);
}

#[test]
fn log_softmax_keeps_to_its_formulas() {
    hold_table("LogSoftmax", &LogSoftmax, operands);
}
