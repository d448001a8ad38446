//! # Softmax, LogSoftmax: along the last dimension
//!
//! ## Definition
//! Softmax: p_i = e^{x_i−m}/Σ_j e^{x_j−m}, m = max x. LogSoftmax: y_i = x_i − m − ln Σ_j e^{x_j−m}.
//!
//! ## Algorithm
//! Everything in binary64 from the binary32 operands, rounded once to binary32.
//!
//! ## VJP
//! Softmax: x̄_i = p_i(ȳ_i − Σ_j p_j ȳ_j). LogSoftmax: x̄_i = ȳ_i − p_i Σ_j ȳ_j, which for a picked label
//! is p − onehot.
//!
//! ## Error
//! r = max_j e_j. LogSoftmax carried: L_i = (1−p_i)e_i + Σ_{j≠i} p_j e_j with each p anywhere between
//! p·e^{−2r} and p·e^{2r}. Softmax carried: the smaller of p_i(1−p_i)(e^{2r}−1) and p_i(e^{L_i}−1). Local
//! of this run: one rounding. Local of every run: an exponential errs by A_j = e^{u(m−x_j)+2ku}−1
//! relatively (the subtraction, k ulps), their sum by B = Σp_j·A_j and its n−1 additions; softmax
//! p_i(e^{t}−1), t = A_i + B + B² + (n+2)(u+u²) (a division, or a product with a reciprocal); log-softmax
//! the sum's relative error, the logarithm's k ulps, and the subtractions in either grouping. Cotangents
//! by the product rule; p's own error as above, by whichever of softmax(x) and exp(logsoftmax(x)) the run
//! forms it.
//!
//! ## Scale
//! p in [0, 1], cut by the ranges of its quotient; cotangents by magnitudes.
//!
//! ## Domain
//! Rows are not empty.
//!
//! ## References
//! Blanchard, Higham & Higham, Accurately computing the log-sum-exp and softmax functions, 2021; the
//! carried bound from p(1−p)(e^{2r}−1)/min(1−p+p·e^{2r}, e^{2r}(1−p)+p) with both denominators ≥ 1.

use super::{Approx, Bound, Centre, PerOperand, RevNode, flat_rows, rows_of};
use crate::ir::{Array, Shaped, Tensor};
use crate::num::format::{half_eta, u};
use crate::num::{Arith, Elementary, Interval, Mag, elementary, lemma};

use super::smooth::PORTABLE_ULPS;

/// Softmax along the last dimension.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Softmax;

/// Logarithm of the softmax along the last dimension.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogSoftmax;

impl Shaped for Softmax {
    fn infer(&self, operands: &[&[usize]]) -> Result<Vec<usize>, String> {
        rows_of(operands).map(<[usize]>::to_vec)
    }
}

impl Shaped for LogSoftmax {
    fn infer(&self, operands: &[&[usize]]) -> Result<Vec<usize>, String> {
        rows_of(operands).map(<[usize]>::to_vec)
    }
}

/// The binary64 values of a row.
struct Row {
    max: f64,
    exps: Vec<f64>,
    sum: f64,
}

impl Row {
    /// Relative error of exps: REL and the subtraction's 2^−53·|x−m| ≤ 2^−42 wherever e^{x−m} isn't
    /// below binary32's range; of the sum n·2^−53 more.
    fn of(x: &[f32]) -> Row {
        let max = f64::from(x.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        let exps: Vec<f64> = x.iter().map(|&v| elementary::exp(f64::from(v) - max)).collect();
        let sum = exps.iter().sum();
        Row { max, exps, sum }
    }

    fn p(&self, i: usize) -> f64 {
        self.exps[i] / self.sum
    }
}

/// Relative error of a binary64 softmax of n entries.
fn wide_rel(n: usize) -> Mag {
    Mag::of(4.0 * elementary::REL) + Mag::exp2(-40) + Mag::count(n + 4) * Mag::exp2(-52)
}

/// What the bounds of a row need.
struct RowBounds {
    /// Bounds on p at the centre.
    low: Vec<f64>,
    high: Vec<Mag>,
    /// e^{2r} − 1.
    growth: Mag,
    /// How far ln p_i moves at most.
    drift: Vec<Mag>,
    /// m − x_i at most, over all covered runs.
    below: Vec<Mag>,
    /// |m| at most.
    top: Mag,
}

/// For every entry the sum of all others, without cancellation.
fn all_but_one(x: &[f64]) -> Vec<f64> {
    let mut out = vec![0.0; x.len()];
    let (mut before, mut after) = (0.0, 0.0);
    for i in 0..x.len() {
        out[i] += before;
        before += x[i];
        let j = x.len() - 1 - i;
        out[j] += after;
        after += x[j];
    }
    out
}

/// e^t − 1 rounded up.
fn expm1(t: Mag) -> Mag {
    let v = t.get();
    if v == 0.0 {
        Mag::ZERO
    } else if v < 1e-3 {
        // e^t − 1 ≤ t + t² for t ≤ 1
        t + t * t
    } else {
        Mag::of(v.exp_m1()) * Mag::of(1.0 + 1e-9)
    }
}

impl RowBounds {
    fn of(x: &Approx, row: usize) -> RowBounds {
        let n = x.row_len();
        let at = row * n;
        let top = (0..n).map(|i| x.centre(at + i).hi).fold(f64::NEG_INFINITY, f64::max);
        let lows: Vec<f64> = (0..n).map(|i| (x.centre(at + i).lo - top).exp() * (1.0 - 1e-12)).collect();
        let highs: Vec<f64> = (0..n).map(|i| (x.centre(at + i).hi - top).exp() * (1.0 + 1e-12)).collect();
        let slack = 1.0 + 1e-12 + n as f64 * 1e-15;
        // p_i lies between its values where all others are high and where they are low
        let (low_others, high_others) = (all_but_one(&lows), all_but_one(&highs));
        let low = (0..n).map(|i| (lows[i] / (high_others[i] * slack + lows[i])).min(1.0) * (1.0 - 1e-12));
        let low: Vec<f64> = low.map(|p| if p.is_nan() { 0.0 } else { p.max(0.0) }).collect();
        let high = |i: usize| {
            let p = Mag::of(highs[i] * (1.0 + 1e-12) + 1e-300).div_lower(low_others[i] / slack + highs[i]);
            p.min(Mag::ONE)
        };
        let high = (0..n).map(high).collect();
        let r = (0..n).fold(Mag::ZERO, |m, i| m.max(x.eps[at + i]));
        let highest = (0..n).map(|i| x.hull(at + i).hi).fold(f64::NEG_INFINITY, f64::max);
        let lead = (0..n).map(|i| x.hull(at + i).lo).fold(f64::NEG_INFINITY, f64::max);
        let below = (0..n).map(|i| Mag::of((highest - x.hull(at + i).lo).next_up())).collect();
        let mut b = RowBounds {
            low,
            high,
            growth: expm1(r + r),
            drift: Vec::new(),
            below,
            top: Mag::of(highest).max(Mag::of(lead)),
        };
        // (1−p_i)e_i + Σ_{j≠i} p_j e_j
        let (mut before, mut after) = (Mag::ZERO, Mag::ZERO);
        b.drift = vec![Mag::ZERO; n];
        for i in 0..n {
            let j = n - 1 - i;
            b.drift[i] += before;
            b.drift[j] += after;
            before += b.most(i) * x.eps[at + i];
            after += b.most(j) * x.eps[at + j];
        }
        let shrunk = (-2.0 * r.get()).exp() * (1.0 - 1e-12);
        for i in 0..n {
            let stay = Mag::of(1.0 - b.low[i] * shrunk).min(Mag::ONE);
            b.drift[i] = (b.drift[i] + stay * x.eps[at + i]).min(r + r);
        }
        b
    }

    /// p_i anywhere on the way from the centre to spec or run.
    // p·e^{2r}
    fn most(&self, i: usize) -> Mag {
        (self.high[i] * (Mag::ONE + self.growth)).min(Mag::ONE)
    }

    /// Carried error of p_i.
    // min(p(1−p)(e^{2r}−1), p(e^L−1)), and never more than 1
    fn carried(&self, i: usize) -> Mag {
        let rest = Mag::of(1.0 - self.low[i]) * Mag::of(1.0 + 1e-15);
        let moved = (rest.min(Mag::ONE) * self.growth).min(expm1(self.drift[i]));
        (self.high[i].min(Mag::ONE) * moved).min(Mag::ONE)
    }

    /// Relative error of every run's e^{x_i−m}, as long as it doesn't underflow.
    // A = e^{u(m−x) + 2ku} − 1
    fn exponential(&self, i: usize) -> Mag {
        expm1(u() * self.below[i] + Mag::of(2.0 * PORTABLE_ULPS) * u())
    }

    /// What the exponentials' errors do to their sum, relatively; +∞ beyond ½.
    // B = Σp_j·A_j ≤ max A_j
    fn of_sum(&self) -> Mag {
        let n = self.high.len();
        let (mut mean, mut most) = (Mag::ZERO, Mag::ZERO);
        for j in 0..n {
            let a = self.exponential(j);
            mean += self.most(j) * a;
            most = most.max(a);
        }
        let b = mean.min(most);
        if b.get() <= 0.5 { b } else { Mag::INFINITY }
    }

    /// Local errors of all p formed in binary32 by every run, on top of what is carried.
    fn local(&self) -> Vec<Mag> {
        let n = self.high.len();
        let b = self.of_sum();
        // −ln(1−B) ≤ B + B² for B ≤ ½, −ln(1−u) ≤ u + u²
        let shared = b + b * b + Mag::count(n + 2) * (u() + u() * u());
        // an exponential that underflows is off by k·η, and so is every term of the sum
        let underflow = Mag::of(4.0 * PORTABLE_ULPS) * Mag::count(n + 2) * half_eta();
        let one = |i: usize| (self.high[i] + self.carried(i)) * expm1(self.exponential(i) + shared) + underflow;
        (0..n).map(one).collect()
    }
}

impl RevNode for Softmax {
    fn forward_spec<A: Arith>(&self, a: &A, x: &[&Array<A::S>]) -> Array<A::S> {
        let n = x[0].row_len();
        let row = |r: usize| definition(a, &x[0].data[r * n..(r + 1) * n]).0;
        Array::new(x[0].shape.clone(), flat_rows(x[0].data.len() / n, row))
    }

    fn vjp_spec<A: Arith>(
        &self,
        a: &A,
        _: &[&Array<A::S>],
        y: &Array<A::S>,
        ybar: &Array<A::S>,
        _: &[bool],
    ) -> PerOperand<Array<A::S>> {
        let n = y.row_len();
        let row = |r: usize| {
            let (p, g) = (&y.data[r * n..(r + 1) * n], &ybar.data[r * n..(r + 1) * n]);
            let inner = a.dot(p.iter().zip(g), None);
            p.iter().zip(g).map(|(p, g)| a.mul(p, &a.sub(g, &inner))).collect()
        };
        vec![Some(Array::new(y.shape.clone(), flat_rows(y.data.len() / n, row)))]
    }

    fn forward_runtime(&self, x: &[&Tensor]) -> Tensor {
        let n = x[0].row_len();
        let row = |r: usize| {
            let row = Row::of(&x[0].data[r * n..(r + 1) * n]);
            (0..n).map(|i| row.p(i) as f32).collect()
        };
        Array::new(x[0].shape.clone(), flat_rows(x[0].data.len() / n, row))
    }

    fn vjp_runtime(&self, x: &[&Tensor], _: &Tensor, ybar: &Tensor, _: &[bool]) -> PerOperand<Tensor> {
        let n = x[0].row_len();
        let row = |r: usize| {
            let row = Row::of(&x[0].data[r * n..(r + 1) * n]);
            let g = &ybar.data[r * n..(r + 1) * n];
            let inner: f64 = (0..n).map(|i| row.p(i) * f64::from(g[i])).sum();
            (0..n).map(|i| (row.p(i) * (f64::from(g[i]) - inner)) as f32).collect()
        };
        vec![Some(Array::new(x[0].shape.clone(), flat_rows(x[0].data.len() / n, row)))]
    }

    fn forward_bound(&self, x: &[Approx], y: &Approx) -> Bound {
        let n = y.row_len();
        let row = |r: usize| {
            let b = RowBounds::of(&x[0], r);
            let own = if y.run_only() { Vec::new() } else { b.local() };
            (0..n)
                .map(|i| {
                    let local = match y.centre {
                        Centre::Run => {
                            let p = Mag::of_f32(y.run[r * n + i]);
                            lemma::rounding_of_result(y.run[r * n + i])
                                + (p + half_eta()) * wide_rel(n) * Mag::of(1.001)
                        }
                        Centre::Spec => own[i],
                    };
                    (b.carried(i), local)
                })
                .collect()
        };
        Bound::of_pairs(flat_rows(y.len() / n, row))
    }

    fn vjp_bound(&self, x: &[Approx], _: &Approx, ybar: &Approx, _: &[bool]) -> PerOperand<Bound> {
        let n = ybar.row_len();
        let row = |r: usize| {
            let b = RowBounds::of(&x[0], r);
            let g = |j: usize| (ybar.mag(r * n + j), ybar.eps[r * n + j]);
            let moved: Vec<Mag> = (0..n).map(|j| b.carried(j)).collect();
            // own error of p in a covered run
            let own: Vec<Mag> = if ybar.run_only() {
                b.high.iter().map(|&p| p * wide_rel(n) + half_eta()).collect()
            } else {
                b.local()
            };
            // D = Σ p_j ȳ_j: |D|, its carried error, and its own
            let (mut d, mut e_d, mut own_d) = (Mag::ZERO, Mag::ZERO, Mag::ZERO);
            for j in 0..n {
                let (m, e) = g(j);
                d += b.high[j] * m;
                e_d += b.high[j] * e + moved[j] * (m + e);
                own_d += own[j] * (m + e);
            }
            let roundings = Mag::count(n + 2) * if ybar.run_only() { Mag::exp2(-52) } else { u() };
            own_d +=
                roundings * (d + e_d + own_d) + if ybar.run_only() { Mag::ZERO } else { Mag::count(n) * half_eta() };
            (0..n)
                .map(|i| {
                    let (m, e) = g(i);
                    // |ȳ_i − D| at the centre
                    let diff = m + d;
                    // p(ȳ − D): p·(e_ȳ + e_D) + e_p·(|ȳ − D| + e_ȳ + e_D)
                    let carried = b.high[i] * (e + e_d) + moved[i] * (diff + e + e_d);
                    let (pr, dr) = (b.high[i] + moved[i], diff + e + e_d);
                    let mut local = pr * own_d + own[i] * (dr + own_d);
                    local += if ybar.run_only() {
                        // binary64 difference and product, then one rounding of the result
                        pr * dr * Mag::exp2(-50) + lemma::rounding(pr * (dr + own_d))
                    } else {
                        lemma::monomial(2, (pr + own[i]) * (dr + own_d), pr + own[i])
                    };
                    (carried, local)
                })
                .collect()
        };
        // ȳ − D before it is multiplied by p: |D| ≤ 1.001·max(|ȳ| + e)
        let top = (0..ybar.len()).fold(Mag::ZERO, |m, i| m.max(ybar.run_mag(i)));
        vec![Some(Bound::of_pairs(flat_rows(ybar.len() / n, row)).with_peak(top * Mag::of(2.01)))]
    }

    fn forward_scale(&self, x: &[&Array<Interval>]) -> Array<Interval> {
        let n = x[0].row_len();
        let row = |r: usize| probabilities(&x[0].data[r * n..(r + 1) * n]);
        Array::new(x[0].shape.clone(), flat_rows(x[0].data.len() / n, row))
    }

    fn vjp_scale(
        &self,
        x: &[&Array<Interval>],
        _: &Array<Interval>,
        ybar: &Array<Interval>,
        _: &[bool],
    ) -> PerOperand<Array<Interval>> {
        let n = x[0].row_len();
        let row = |r: usize| {
            let p = probabilities(&x[0].data[r * n..(r + 1) * n]);
            let g: Vec<Mag> = (0..n).map(|i| ybar.data[r * n + i].mag()).collect();
            // |p_i(ȳ_i − D)| ≤ p_i(|ȳ_i| + Σ p_j|ȳ_j|), and n+4 roundings
            let d: Mag = (0..n).map(|j| p[j].mag() * g[j]).sum();
            let widen = Mag::ONE + lemma::growth(n + 6);
            (0..n)
                .map(|i| Interval::symmetric(p[i].mag() * (g[i] + d * widen) * widen + Mag::count(n + 4) * half_eta()))
                .collect()
        };
        vec![Some(Array::new(x[0].shape.clone(), flat_rows(x[0].data.len() / n, row)))]
    }
}

/// Softmax of a row by the definition, and the sum Σ e^{x−m} with m.
fn definition<A: Arith>(a: &A, x: &[A::S]) -> (Vec<A::S>, A::S, A::S) {
    let m = a.shift(x);
    let exps: Vec<A::S> = x.iter().map(|v| a.apply(Elementary::Exp, &a.sub(v, &m))).collect();
    let sum = a.sum(exps.iter());
    (exps.iter().map(|e| a.share(e, &sum)).collect(), sum, m)
}

/// Ranges of the softmax of a row, for spec and every run.
fn probabilities(x: &[Interval]) -> Vec<Interval> {
    let n = x.len();
    let top = x.iter().map(|i| i.hi).fold(f64::NEG_INFINITY, f64::max);
    let bottom = x.iter().map(|i| i.lo).fold(f64::INFINITY, f64::min);
    let lows: Vec<f64> = x.iter().map(|i| (i.lo - top).exp()).collect();
    let highs: Vec<f64> = x.iter().map(|i| (i.hi - top).exp()).collect();
    let (low_others, high_others) = (all_but_one(&lows), all_but_one(&highs));
    let slack =
        expm1((Mag::of(2.0) * Mag::of(top - bottom) + Mag::count(n) + Mag::of(4.0 * PORTABLE_ULPS + 6.0)) * u());
    (0..n)
        .map(|i| {
            let lo = lows[i] / (high_others[i] + lows[i]);
            let hi = highs[i] / (low_others[i] + highs[i]);
            let own = Interval::new(lo * (1.0 - 1e-9), hi * (1.0 + 1e-9) + 1e-12).meet(Interval::new(0.0, 1.0));
            own.widen(own.mag() * slack + Mag::of(4.0 * PORTABLE_ULPS) * Mag::count(n + 2) * half_eta())
        })
        .collect()
}

impl RevNode for LogSoftmax {
    fn forward_spec<A: Arith>(&self, a: &A, x: &[&Array<A::S>]) -> Array<A::S> {
        let n = x[0].row_len();
        let row = |r: usize| {
            let x = &x[0].data[r * n..(r + 1) * n];
            let (_, sum, m) = definition(a, x);
            let log = a.apply(Elementary::Log, &sum);
            x.iter().map(|v| a.sub(&a.sub(v, &m), &log)).collect()
        };
        Array::new(x[0].shape.clone(), flat_rows(x[0].data.len() / n, row))
    }

    fn vjp_spec<A: Arith>(
        &self,
        a: &A,
        x: &[&Array<A::S>],
        _: &Array<A::S>,
        ybar: &Array<A::S>,
        _: &[bool],
    ) -> PerOperand<Array<A::S>> {
        let n = ybar.row_len();
        let row = |r: usize| {
            let g = &ybar.data[r * n..(r + 1) * n];
            let total = a.sum(g.iter());
            let p = definition(a, &x[0].data[r * n..(r + 1) * n]).0;
            p.iter().zip(g).map(|(p, g)| a.sub(g, &a.mul(p, &total))).collect()
        };
        vec![Some(Array::new(ybar.shape.clone(), flat_rows(ybar.data.len() / n, row)))]
    }

    fn forward_runtime(&self, x: &[&Tensor]) -> Tensor {
        let n = x[0].row_len();
        let row = |r: usize| {
            let values = &x[0].data[r * n..(r + 1) * n];
            let row = Row::of(values);
            let log = elementary::log(row.sum);
            values.iter().map(|&v| (f64::from(v) - row.max - log) as f32).collect()
        };
        Array::new(x[0].shape.clone(), flat_rows(x[0].data.len() / n, row))
    }

    fn vjp_runtime(&self, x: &[&Tensor], _: &Tensor, ybar: &Tensor, _: &[bool]) -> PerOperand<Tensor> {
        let n = x[0].row_len();
        let row = |r: usize| {
            let row = Row::of(&x[0].data[r * n..(r + 1) * n]);
            let g = &ybar.data[r * n..(r + 1) * n];
            let total: f64 = g.iter().map(|&v| f64::from(v)).sum();
            (0..n).map(|i| (f64::from(g[i]) - row.p(i) * total) as f32).collect()
        };
        vec![Some(Array::new(x[0].shape.clone(), flat_rows(x[0].data.len() / n, row)))]
    }

    fn forward_bound(&self, x: &[Approx], y: &Approx) -> Bound {
        let (x, n) = (&x[0], y.row_len());
        let row = |r: usize| {
            let b = RowBounds::of(x, r);
            // 0 ≤ ln Σ ≤ ln n
            let log_sum = Mag::of((n as f64).ln() * 1.01);
            // −ln(1−s) ≤ s + s² for s ≤ ½, s the relative error of the sum: its terms' and n−1 additions
            let s = b.of_sum() + lemma::growth(n) + Mag::of(4.0 * PORTABLE_ULPS) * Mag::count(n) * half_eta();
            let sum = if s.get() <= 0.5 { s + s * s } else { Mag::INFINITY };
            let log = Mag::of(2.0 * PORTABLE_ULPS) * (u() * (log_sum + sum) + half_eta());
            (0..n)
                .map(|i| {
                    let carried = b.drift[i];
                    let k = r * n + i;
                    let local = match y.centre {
                        Centre::Run => {
                            let size = Mag::of_f32(x.run[k]) + b.below[i] + log_sum;
                            lemma::rounding_of_result(y.run[k]) + wide_rel(n) + size * Mag::exp2(-50)
                        }
                        Centre::Spec => {
                            // u of x−m, or of m + ln Σ, then u of the result
                            let first = u() * b.below[i].max(b.top + log_sum + sum + log);
                            let own = sum + log + first;
                            own + u() * (y.spec[k].mag() + carried + own)
                        }
                    };
                    (carried, local)
                })
                .collect()
        };
        Bound::of_pairs(flat_rows(y.len() / n, row))
    }

    fn vjp_bound(&self, x: &[Approx], y: &Approx, ybar: &Approx, _: &[bool]) -> PerOperand<Bound> {
        let n = ybar.row_len();
        let row = |r: usize| {
            let b = RowBounds::of(&x[0], r);
            let local_p = if ybar.run_only() { Vec::new() } else { b.local() };
            let at = |j: usize| r * n + j;
            // S = Σȳ: |S|, carried and own error
            let (mut s, mut e_s, mut total, mut terms) = (Mag::ZERO, Mag::ZERO, Mag::ZERO, 0);
            for j in 0..n {
                s += ybar.mag(at(j));
                e_s += ybar.eps[at(j)];
                total += ybar.run_mag(at(j));
                terms += usize::from(!ybar.run_mag(at(j)).is_zero());
            }
            let own_s = if ybar.run_only() {
                Mag::count(n) * Mag::exp2(-53) * total * Mag::of(1.01)
            } else {
                lemma::sum_any_order(terms, total)
            };
            (0..n)
                .map(|i| {
                    let p = b.high[i];
                    let moved = b.carried(i);
                    // e_ȳ + p·e_S + e_p(|S| + e_S)
                    let carried = ybar.eps[at(i)] + p * e_s + moved * (s + e_s);
                    let sr = s + e_s;
                    let own = if ybar.run_only() {
                        // the kernels are relative down to 2^−150 only
                        p * wide_rel(n) + half_eta()
                    } else {
                        // softmax(x), or exp of the log-softmax this run computed: p(e^{e_y}−1) + k ulps
                        let from_log = (p + moved) * expm1(y.eps[at(i)])
                            + Mag::of(2.0 * PORTABLE_ULPS) * (u() * (p + moved) * Mag::of(1.1) + half_eta());
                        local_p[i].max(from_log)
                    };
                    let mut local = (p + moved + own) * own_s + own * sr;
                    let product = (p + moved + own) * (sr + own_s);
                    let result = ybar.run_mag(at(i)) + product;
                    local += if ybar.run_only() {
                        result * Mag::exp2(-50) + lemma::rounding(result)
                    } else {
                        lemma::rounding(product) + lemma::rounding(result)
                    };
                    (carried, local)
                })
                .collect()
        };
        // Σȳ in any order
        let total = |r: usize| (r * n..(r + 1) * n).map(|i| ybar.run_mag(i)).sum::<Mag>();
        let peak = (0..ybar.len() / n).fold(Mag::ZERO, |m, r| m.max(total(r)));
        vec![Some(Bound::of_pairs(flat_rows(ybar.len() / n, row)).with_peak(peak + peak))]
    }

    fn forward_scale(&self, x: &[&Array<Interval>]) -> Array<Interval> {
        let n = x[0].row_len();
        let row = |r: usize| {
            let x = &x[0].data[r * n..(r + 1) * n];
            let top = x.iter().map(|i| i.hi).fold(f64::NEG_INFINITY, f64::max);
            let high: f64 = x.iter().map(|i| (i.hi - top).exp()).sum();
            let low: f64 = x.iter().map(|i| (i.lo - top).exp()).sum();
            // log Σ e^x between its values at the ends
            let bottom = x.iter().map(|i| i.lo).fold(f64::NEG_INFINITY, f64::max);
            let margin = 1e-9 * (1.0 + top.abs());
            let (lo, hi) = ((top + low.ln()).max(bottom) - margin, top + high.ln() + margin);
            let m = x.iter().fold(Mag::ZERO, |m, i| m.max(i.mag()));
            // the sum's relative error, the logarithm's ulps, and three subtractions
            let log_sum = Mag::of((n as f64).ln() * 1.01);
            let slack = expm1((m + m + Mag::count(n) + Mag::of(2.0 * PORTABLE_ULPS + 6.0)) * u())
                + Mag::of(2.0 * PORTABLE_ULPS) * (u() * log_sum + half_eta())
                + Mag::of(6.0) * u() * (m + log_sum);
            x.iter()
                .map(|v| v.sub(Interval::new(lo, hi)).meet(Interval::new(f64::NEG_INFINITY, 0.0)).widen(slack))
                .collect()
        };
        Array::new(x[0].shape.clone(), flat_rows(x[0].data.len() / n, row))
    }

    fn vjp_scale(
        &self,
        x: &[&Array<Interval>],
        y: &Array<Interval>,
        ybar: &Array<Interval>,
        _: &[bool],
    ) -> PerOperand<Array<Interval>> {
        let n = x[0].row_len();
        let row = |r: usize| {
            // softmax(x), or exp of the log-softmax that the run computed
            let from_log = |i: usize| {
                let p = Mag::of(y.data[r * n + i].hi.exp()) * Mag::of(1.0 + 1e-9);
                p + Mag::of(2.0 * PORTABLE_ULPS) * (u() * p + half_eta())
            };
            let p = probabilities(&x[0].data[r * n..(r + 1) * n]);
            let p: Vec<Mag> = (0..n).map(|i| p[i].mag().max(from_log(i))).collect();
            let s: Mag = (0..n).map(|i| ybar.data[r * n + i].mag()).sum();
            let widen = Mag::ONE + lemma::growth(n + 6);
            (0..n)
                .map(|i| {
                    let g = ybar.data[r * n + i].mag();
                    Interval::symmetric((g + p[i] * s * widen) * widen + Mag::of(4.0) * half_eta())
                })
                .collect()
        };
        vec![Some(Array::new(x[0].shape.clone(), flat_rows(x[0].data.len() / n, row)))]
    }
}
