//! The formulas of Normalize.

use super::*;
use crate::num::format::{largest, smallest_normal};
use crate::ops::normalize::Normalize;

/// What the rule's head names, for one row.
struct Known {
    sigma: Real,
    /// |x_i − μ| at the centre, with its sign.
    centred: Vec<Real>,
    low: Real,
    rho: Real,
    y: Vec<Real>,
    carried: Vec<Real>,
    own_wide: Vec<Real>,
    every_y: Vec<Real>,
    every_sigma: Real,
}

impl Normalize {
    fn only_if_centred(&self, x: Real) -> Real {
        if self.centred { x } else { real(0.0) }
    }

    /// √ε, and a hair less.
    fn root_of_epsilon(&self) -> Real {
        real(self.epsilon).sqrt() * (1.0 - 1e-14)
    }

    /// σ_low of a run: the exact one's less its own error, and never below what 4 ulps leave of √ε.
    fn run_low(&self, low: &Real, own: &Real) -> Real {
        (low - own).max(self.root_of_epsilon() * (1.0 - 1e-6))
    }

    fn known(&self, x: &Row) -> Known {
        let count = x.len() as f64;
        let n = x.len();
        let mean = |v: &dyn Fn(usize) -> Real| sum((0..n).map(v)) / count;
        let rms = |v: &dyn Fn(usize) -> Real| mean(&|i| v(i) * v(i)).sqrt();
        let mid = |i: usize| (x.centre(i).0 + x.centre(i).1) / 2.0;
        let width = |i: usize| x.centre(i).1 - mid(i);
        let e = |i: usize| x.e(i);
        let mu = self.only_if_centred(mean(&mid));
        let centred: Vec<Real> = (0..n).map(|i| mid(i) - &mu).collect();
        let variance = mean(&|i| &centred[i] * &centred[i]);
        let sigma = (variance + self.epsilon).sqrt();
        // what binary64 errs: n+6 roundings of the largest entry, n+10 of σ
        let wide = power_of_two(-52) * (n + 6) as f64 * most((0..n).map(|i| mid(i).abs()));
        let of_sigma = power_of_two(-52) * (n + 10) as f64 * &sigma;
        let (rho, rho_width) = (rms(&e), rms(&width));
        let low = (&sigma - &of_sigma - &wide - &rho_width - &rho).max(self.root_of_epsilon()).max(real(0.0));
        let root_n = real(count).sqrt();
        let moved = |v: &dyn Fn(usize) -> Real, i: usize| v(i) + self.only_if_centred(mean(v));
        let d: Vec<Real> = (0..n).map(|i| centred[i].abs() + &wide + moved(&width, i)).collect();
        let y: Vec<Real> = (0..n).map(|i| (&d[i] / &low).min(root_n.clone())).collect();
        // (a_i + |y_i|ρ)/σ_low, at most 2√n
        let carried = |i: usize| ((moved(&e, i) + &y[i] * &rho) / &low).min(&root_n + &root_n);
        let carried: Vec<Real> = (0..n).map(carried).collect();
        let own_wide = |i: usize| (&wide + &y[i] * (&wide + &of_sigma)) / &low + &y[i] * power_of_two(-50);
        let own_wide = (0..n).map(own_wide).collect();

        // binary32: the mean with n+1 roundings and an underflow, the difference with one more
        let eta = half_eta() * 2.0;
        let own_mean = self.only_if_centred(growth(n + 2) * mean(&|i| x.run_mag(i)) + &eta);
        let d_run: Vec<Real> = (0..n).map(|i| &d[i] + moved(&e, i)).collect();
        let own_d = |i: usize| self.only_if_centred(&own_mean + u() * (&d_run[i] + &own_mean));
        // the variance with n+4 roundings and a root of 4 ulps
        let off = rms(&own_d);
        let high = &sigma + &of_sigma + &wide + &rho_width + &rho;
        let every_sigma = &off + (high + &off) * growth(n + 20) + (&eta + &eta) / &low;
        let under = self.run_low(&low, &every_sigma);
        let widest = if self.epsilon >= smallest_normal() { root_n * 2.01 } else { real(f64::INFINITY) };
        let every_y = |i: usize| {
            let y_run = &y[i] + &carried[i];
            let formed = (own_d(i) + &y_run * &every_sigma) / &under;
            let gain = real(1.0) / &under + &d_run[i];
            (&formed + monomial(3, &(&y_run + &formed), &gain)).min(widest.clone())
        };
        let every_y = (0..n).map(every_y).collect();
        Known { sigma, centred, low, rho, y, carried, own_wide, every_y, every_sigma }
    }

    /// Ranges of y, and σ_low of every run: as of runs about the intervals' midpoints.
    fn written_ranges(&self, x: &[Interval]) -> (Vec<(Real, Real)>, Real) {
        let mids: Vec<Interval> = x.iter().map(|v| Interval::point(v.lo * 0.5 + v.hi * 0.5)).collect();
        let eps = x.iter().zip(&mids).map(|(v, m)| Mag::of(v.hi - m.lo).max(Mag::of(m.lo - v.lo))).collect();
        let about = Row { run: vec![0.0; x.len()], spec: mids, eps, centre: Centre::Spec };
        let k = self.known(&about);
        let root_n = real(x.len() as f64).sqrt();
        let one = |i: usize| {
            let y = &k.centred[i] / &k.sigma;
            let spread = &k.carried[i] + &k.every_y[i] + &k.own_wide[i];
            let lo = (&y - &spread).max(-(&root_n + &k.every_y[i]));
            (lo, (y + spread).min(&root_n + &k.every_y[i]))
        };
        ((0..x.len()).map(one).collect(), self.run_low(&k.low, &k.every_sigma).max(real(0.0)))
    }
}

impl Formulas for Normalize {
    fn forward(&self, x: &Row, y: &Row) -> Vec<(Real, Real)> {
        let k = self.known(x);
        let local = |i: usize| match y.centre {
            Centre::Run => u() * y.y(i) + half_eta() + &k.own_wide[i],
            Centre::Spec => k.every_y[i].clone(),
        };
        (0..x.len()).map(|i| (k.carried[i].clone(), local(i))).collect()
    }

    // x̄ = T/σ, T = ȳ − mean ȳ − y·M, M = mean(ȳy)
    fn vjp(&self, x: &Row, _: &Row, g: &Row) -> Vec<(Real, Real)> {
        let (n, k) = (x.len(), self.known(x));
        let mean = |v: &dyn Fn(usize) -> Real| sum((0..n).map(v)) / n as f64;
        let b = self.only_if_centred(mean(&|i| g.mag(i)));
        let e_b = self.only_if_centred(mean(&|i| g.e(i)));
        let m = mean(&|i| g.mag(i) * &k.y[i]);
        let e_m = mean(&|i| &k.y[i] * g.e(i) + (g.mag(i) + g.e(i)) * &k.carried[i]);
        let run = |i: usize| real(f64::from(g.run[i]));
        let y_exact = |i: usize| &k.centred[i] / &k.sigma;
        let (run_mean, run_m) = (self.only_if_centred(mean(&run)), mean(&|i| run(i) * y_exact(i)));
        let four = half_eta() * 4.0;
        let one = |i: usize| {
            let t = g.mag(i) + &b + &k.y[i] * &m;
            let e_t = g.e(i) + &e_b + &k.y[i] * &e_m + &k.carried[i] * (&m + &e_m);
            // (ΔT + |T|ρ/σ_low)/σ_low
            let carried = (&e_t + &t * &k.rho / &k.low) / &k.low;
            let local = if g.run_only() {
                let value = ((run(i) - &run_mean - y_exact(i) * &run_m) / &k.sigma).abs();
                let own_m = mean(&|j| g.mag(j) * &k.own_wide[j]);
                let own_sigma = most(k.own_wide.iter().cloned());
                let own_t = &t * (n + 12) as f64 * power_of_two(-52) + &k.own_wide[i] * &m + &k.y[i] * own_m;
                let own = (own_t + &t * own_sigma) / &k.low;
                rounding(&(value + &own)) + own
            } else {
                let under = self.run_low(&k.low, &k.every_sigma);
                if real(1.0) / &under > real(largest()) {
                    return (carried, real(f64::INFINITY));
                }
                let own_y = mean(&|j| (g.mag(j) + g.e(j)) * &k.every_y[j]);
                let own_m = &own_y + growth(n + 4) * (&m + &e_m + &own_y) + &four;
                let own_b = self.only_if_centred(growth(n + 2) * (&b + &e_b) + &four);
                let (t_run, y_run) = (&t + &e_t, &k.y[i] + &k.carried[i]);
                let own_t = own_b + y_run * &own_m + &k.every_y[i] * (&m + &e_m + &own_m);
                let all = &t_run + &own_t;
                let own_t = own_t + growth(6) * &all * 1.01 + half_eta() * 8.0;
                let formed = (own_t + t_run * &k.every_sigma / &k.low) / &under;
                let gain = real(1.0) / &under + &all;
                &formed + monomial(4, &(all / &under + &formed), &gain)
            };
            (carried, local)
        };
        (0..n).map(one).collect()
    }

    fn forward_range(&self, x: &[Interval]) -> Vec<(Real, Real)> {
        self.written_ranges(x).0
    }

    // (|ȳ| + mean|ȳ| + |y|·mean|ȳy|)(1+growth)²/σ_low, and 16 underflows before and after
    fn vjp_range(&self, x: &[Interval], g: &[Interval]) -> Vec<(Real, Real)> {
        let ((y, low), n) = (self.written_ranges(x), x.len());
        let (mag, y) = (|i: usize| of(g[i].mag()), |i: usize| y[i].0.abs().max(y[i].1.abs()));
        let mean = self.only_if_centred(sum((0..n).map(mag)) / n as f64);
        let moment = sum((0..n).map(|i| mag(i) * y(i))) / n as f64;
        let widen = growth(2 * n + 40) + 1.0;
        let sixteen = half_eta() * 16.0;
        let one = |i: usize| ((mag(i) + &mean + y(i) * &moment) * &widen * &widen + &sixteen) / &low + &sixteen;
        (0..n).map(|i| symmetric(one(i))).collect()
    }

    // Σx², Σȳ and Σȳy
    fn peaks(&self, x: &Row, g: &Row) -> (Real, Real) {
        let n = real(x.len() as f64);
        let top = |r: &Row| most((0..r.len()).map(|i| r.run_mag(i)));
        let squares = top(x) * top(x) * &n * 8.0;
        let sums = top(g) * &n * (n.sqrt() + 1.0) * 2.0;
        (squares.clone(), sums.max(squares))
    }
}

/// Rows whose squares underflow as well.
fn rows(centre: Centre) -> Vec<Vec<Row>> {
    let row = |x: &[f32], e: &[f64]| Row::new(centre, x, 0.0, e);
    let mut all = operands(centre);
    all.push(vec![row(&[1e-20, -2e-20, 3e-20], &[0.0, 1e-27, 1e-25]), row(&[1e-40, -2e-40, 3e-41], &[0.0; 3])]);
    all
}

#[test]
fn normalize_keeps_to_its_formulas() {
    for centred in [true, false] {
        for epsilon in [1e-5f32, 1.0, 1e-40, 0.0].map(f64::from) {
            let rows = |centre: Centre| {
                let mut all = rows(centre);
                // alone it is all mean, and only ε keeps σ from 0
                if epsilon > 0.0 {
                    all.push(vec![Row::new(centre, &[1.5], 0.0, &[1e-3])]);
                }
                all
            };
            hold_table(
                &format!("Normalize, ε = {epsilon:e}, centred: {centred}"),
                &Normalize { epsilon, centred },
                rows,
            );
        }
    }
}
