//! # Normalize: rows brought to mean 0 and variance 1
//!
//! ## Definition
//! y_i = (x_i − μ)/σ, μ = Σx/n, σ = √(Σ(x_j−μ)²/n + ε); not centred: μ = 0 (root mean square).
//! Batch, layer, instance and group normalisation are this between two Gathers.
//!
//! ## Algorithm
//! Two passes in binary64 over the binary32 operands, one rounding to binary32 at the end.
//!
//! ## VJP
//! x̄_i = (ȳ_i − mean(ȳ) − y_i·mean(ȳ·y))/σ; without the mean(ȳ) when not centred.
//!
//! ## Error
//! Taking the mean away is a projection and √(t²+ε) is 1-Lipschitz, so σ moves by at most
//! ρ = √(Σe²/n), and never below √ε: no normalisation with ε > 0 is refused. Carried:
//! (a_i + |y_i|ρ)/σ_low with a_i = e_i + mean(e) (centred) or e_i. Cotangent: with
//! T_i = ȳ_i − mean ȳ − y_i·M, M = mean(ȳy): (ΔT_i + |T_i|ρ/σ_low)/σ_low,
//! ΔT_i = e_ȳ,i + mean(e_ȳ) + |y_i|ΔM + e_y,i(|M|+ΔM), ΔM = mean(|y|e_ȳ + (|ȳ|+e_ȳ)e_y).
//! Local of this run: one rounding and the binary64 passes' own. Local of every run: binary32 two-pass
//! algorithms (mean as sum/n or sum·fl(1/n), sums in any order, √ and division or reciprocal √ within
//! 4 ulps); not one-pass variances, not the folded x·α + β.
//!
//! ## Scale
//! |y| ≤ √n and ≤ |x−μ|/σ_low; cotangents by magnitudes.
//!
//! ## Domain
//! ε > 0, or a row whose variance can't reach 0.
//!
//! ## References
//! Higham §1.9 (two-pass variance); the Lipschitz argument stands above.

use super::smooth::PORTABLE_ULPS;
use super::{Approx, Bound, PerOperand, RevNode, flat_rows, rows_of};
use crate::ir::{Array, Shaped, Tensor};
use crate::num::format::{half_eta, largest, smallest_normal, u};
use crate::num::{Arith, Interval, Mag, lemma};

/// Normalises each row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalize {
    /// ε, added to the variance: a binary32 number, but where gradients of a program in binary64 are checked.
    pub epsilon: f64,
    /// Whether the mean is taken away first.
    pub centred: bool,
}

impl Shaped for Normalize {
    fn infer(&self, operands: &[&[usize]]) -> Result<Vec<usize>, String> {
        if !(self.epsilon >= 0.0 && self.epsilon.is_finite()) {
            return Err(format!("epsilon is {}, a finite number ≥ 0 required", self.epsilon));
        }
        rows_of(operands).map(<[usize]>::to_vec)
    }
}

/// A row in binary64.
struct Row {
    d: Vec<f64>,
    sigma: f64,
}

impl Normalize {
    fn row(&self, x: impl Iterator<Item = f64> + Clone) -> Row {
        let n = x.clone().count() as f64;
        let mean = if self.centred { x.clone().sum::<f64>() / n } else { 0.0 };
        let d: Vec<f64> = x.map(|v| v - mean).collect();
        let variance = d.iter().map(|v| v * v).sum::<f64>() / n;
        Row { d, sigma: (variance + self.epsilon).sqrt() }
    }

    /// mean(ȳ) (or 0) and mean(ȳ·y), in binary64.
    fn moments(&self, row: &Row, g: &[f32]) -> (f64, f64) {
        let n = g.len() as f64;
        let mean = if self.centred { g.iter().map(|&v| f64::from(v)).sum::<f64>() / n } else { 0.0 };
        let moment = g.iter().zip(&row.d).map(|(&g, d)| f64::from(g) * d).sum::<f64>() / (n * row.sigma);
        (mean, moment)
    }

    /// A lower bound on every exact σ: √ε.
    fn floor(&self) -> f64 {
        self.epsilon.sqrt() * (1.0 - 1e-14)
    }

    /// A lower bound on the σ that a run computes: the exact one's less its error, and never below what
    /// 4 ulps leave of √ε, since a computed variance is not negative.
    fn computed_floor(&self, low: f64, own_sigma: Mag) -> f64 {
        Mag::sub_below(low, own_sigma).max(self.floor() * (1.0 - 1e-6))
    }

    /// The row as the definition has it: y and σ.
    fn define<A: Arith>(&self, a: &A, x: &[A::S]) -> (Vec<A::S>, A::S) {
        let n = a.constant(x.len() as f64);
        let d: Vec<A::S> = if self.centred {
            let mean = a.div(&a.sum(x.iter()), &n);
            x.iter().map(|v| a.sub(v, &mean)).collect()
        } else {
            x.to_vec()
        };
        let variance = a.div(&a.dot(d.iter().map(|v| (v, v)), None), &n);
        let epsilon = self.epsilon;
        let sigma = a.root(&a.add(&variance, &a.constant(epsilon)), epsilon);
        (d.iter().map(|v| a.quotient(v, &sigma, self.floor())).collect(), sigma)
    }

    /// Everything the bounds of a row need.
    fn knowledge(&self, x: &Approx, r: usize) -> Knowledge {
        let n = x.row_len();
        let at = r * n;
        let mids: Vec<f64> = (0..n).map(|i| x.centre(at + i).mid()).collect();
        let width: Vec<Mag> = (0..n).map(|i| x.centre(at + i).radius_about(mids[i])).collect();
        let eps = &x.eps[at..at + n];
        let row = self.row(mids.iter().copied());
        // the binary64 mean errs by (n+2)·2^−53·max|x|, the difference by 2^−53 of it
        let top = mids.iter().fold(Mag::ZERO, |m, &v| m.max(Mag::of(v)));
        let wide = Mag::count(n + 6) * Mag::exp2(-52) * top;
        let rms = |e: &[Mag]| (e.iter().map(|&v| v * v).sum::<Mag>().div_lower(n as f64)).sqrt();
        let mean = |e: &[Mag]| e.iter().copied().sum::<Mag>().div_lower(n as f64);
        let (rho, rho_width) = (rms(eps), rms(&width));
        // σ of the centre, less what rounding and the enclosure's width may have added
        let rel = (n + 10) as f64 * f64::EPSILON;
        let below = Mag::sub_below(row.sigma * (1.0 - rel), wide + rho_width + rho);
        let low = below.max(self.floor()).max(0.0);
        let (mean_eps, mean_width) = (mean(eps), mean(&width));
        let moved = |e: Mag, m: Mag| if self.centred { e + m } else { e };
        let largest = Mag::count(n).sqrt();
        let d: Vec<Mag> = (0..n).map(|i| Mag::of(row.d[i]) + wide + moved(width[i], mean_width)).collect();
        let y: Vec<Mag> = d.iter().map(|&v| v.div_lower(low).min(largest)).collect();
        // (a_i + |y_i|ρ)/σ_low, and no two normalised rows are further apart than 2√n
        let carried: Vec<Mag> =
            (0..n).map(|i| (moved(eps[i], mean_eps) + y[i] * rho).div_lower(low).min(largest + largest)).collect();
        let own_wide = {
            let sigma = wide + Mag::of(row.sigma * rel);
            y.iter().map(|&y| (wide + y * sigma).div_lower(low) + y * Mag::exp2(-50)).collect()
        };
        let high = Mag::of(row.sigma * (1.0 + rel)) + wide + rho_width + rho;
        let (portable, own_sigma) = self.portable(x, at, &d, eps, mean_eps, &y, &carried, low, high);
        Knowledge { low, rho, y, carried, own_wide, portable, own_sigma, row }
    }

    /// Local errors of y and σ of every run's binary32 two-pass algorithm.
    #[allow(clippy::too_many_arguments)]
    fn portable(
        &self,
        x: &Approx,
        at: usize,
        d: &[Mag],
        eps: &[Mag],
        mean_eps: Mag,
        y: &[Mag],
        carried: &[Mag],
        low: f64,
        high: Mag,
    ) -> (Vec<Mag>, Mag) {
        let n = d.len();
        let eta = half_eta() + half_eta();
        // mean: n−1 additions, a division or a product with a reciprocal
        let own_mean = if self.centred {
            let total: Mag = (0..n).map(|i| x.run_mag(at + i)).sum();
            lemma::growth(n + 2) * total.div_lower(n as f64) + eta
        } else {
            Mag::ZERO
        };
        let run_d: Vec<Mag> = (0..n).map(|i| d[i] + eps[i] + if self.centred { mean_eps } else { Mag::ZERO }).collect();
        let own_d: Vec<Mag> =
            run_d.iter().map(|&v| own_mean + if self.centred { u() * (v + own_mean) } else { Mag::ZERO }).collect();
        let rms = (own_d.iter().map(|&v| v * v).sum::<Mag>().div_lower(n as f64)).sqrt();
        // variance: squares, n−1 additions, /n, +ε: (n+4) roundings, halved by the root, whose own are 2k
        let relative = lemma::growth(n + 4 + 2 * (2.0 * PORTABLE_ULPS) as usize);
        let own_sigma = rms + (high + rms) * relative + (eta + eta).div_lower(low);
        let under = self.computed_floor(low, own_sigma);
        // A run's y are its d over their own root mean square: they don't exceed √n either, unless squares
        // underflow and nothing makes up for it.
        let widest = if self.epsilon >= smallest_normal() && relative.get() < 1e-3 {
            Mag::count(n).sqrt() * Mag::of(2.01)
        } else {
            Mag::INFINITY
        };
        let own = (0..n)
            .map(|i| {
                let run_y = y[i] + carried[i];
                let formed = (own_d[i] + run_y * own_sigma).div_lower(under);
                let local = formed + lemma::monomial(3, run_y + formed, Mag::ONE.div_lower(under) + run_d[i]);
                local.min(widest)
            })
            .collect();
        (own, own_sigma)
    }
}

/// Bound on the sums of squares of every run.
fn squares(x: &Approx) -> Mag {
    let top = (0..x.len()).fold(Mag::ZERO, |m, i| m.max(x.run_mag(i)));
    Mag::of(8.0) * top * top * Mag::count(x.row_len())
}

/// Bounds on a row at its centre and on how far spec and covered runs are apart.
struct Knowledge {
    /// Lower bound on σ of spec and of covered runs' operands.
    low: f64,
    /// How far σ moves at most.
    rho: Mag,
    /// |y| at the centre.
    y: Vec<Mag>,
    /// Carried error of y.
    carried: Vec<Mag>,
    /// Error of the binary64 y.
    own_wide: Vec<Mag>,
    /// Local error of y of every run.
    portable: Vec<Mag>,
    /// Local error of σ of every run.
    own_sigma: Mag,
    row: Row,
}

impl RevNode for Normalize {
    fn forward_spec<A: Arith>(&self, a: &A, x: &[&Array<A::S>]) -> Array<A::S> {
        let n = x[0].row_len();
        let row = |r: usize| self.define(a, &x[0].data[r * n..(r + 1) * n]).0;
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
            let (y, sigma) = self.define(a, &x[0].data[r * n..(r + 1) * n]);
            let g = &ybar.data[r * n..(r + 1) * n];
            let count = a.constant(n as f64);
            let mean = a.div(&a.sum(g.iter()), &count);
            let moment = a.div(&a.dot(g.iter().zip(&y), None), &count);
            g.iter()
                .zip(&y)
                .map(|(g, y)| {
                    let g = if self.centred { a.sub(g, &mean) } else { g.clone() };
                    a.quotient(&a.sub(&g, &a.mul(y, &moment)), &sigma, self.floor())
                })
                .collect()
        };
        vec![Some(Array::new(ybar.shape.clone(), flat_rows(ybar.data.len() / n, row)))]
    }

    fn forward_runtime(&self, x: &[&Tensor]) -> Tensor {
        let n = x[0].row_len();
        let row = |r: usize| {
            let row = self.row(x[0].data[r * n..(r + 1) * n].iter().map(|&v| f64::from(v)));
            row.d.iter().map(|d| (d / row.sigma) as f32).collect()
        };
        Array::new(x[0].shape.clone(), flat_rows(x[0].data.len() / n, row))
    }

    fn vjp_runtime(&self, x: &[&Tensor], _: &Tensor, ybar: &Tensor, _: &[bool]) -> PerOperand<Tensor> {
        let n = ybar.row_len();
        let row = |r: usize| {
            let row = self.row(x[0].data[r * n..(r + 1) * n].iter().map(|&v| f64::from(v)));
            let g = &ybar.data[r * n..(r + 1) * n];
            let (mean, moment) = self.moments(&row, g);
            let entry = |(g, d): (&f32, &f64)| ((f64::from(*g) - mean - d / row.sigma * moment) / row.sigma) as f32;
            g.iter().zip(&row.d).map(entry).collect()
        };
        vec![Some(Array::new(ybar.shape.clone(), flat_rows(ybar.data.len() / n, row)))]
    }

    fn forward_bound(&self, x: &[Approx], y: &Approx) -> Bound {
        let n = y.row_len();
        let row = |r: usize| {
            let k = self.knowledge(&x[0], r);
            (0..n)
                .map(|i| {
                    let local = if y.run_only() {
                        lemma::rounding_of_result(y.run[r * n + i]) + k.own_wide[i]
                    } else {
                        k.portable[i]
                    };
                    (k.carried[i], local)
                })
                .collect()
        };
        Bound::of_pairs(flat_rows(y.len() / n, row)).with_peak(squares(&x[0]))
    }

    fn vjp_bound(&self, x: &[Approx], _: &Approx, ybar: &Approx, _: &[bool]) -> PerOperand<Bound> {
        let n = ybar.row_len();
        let row = |r: usize| {
            let k = self.knowledge(&x[0], r);
            let g = |i: usize| (ybar.mag(r * n + i), ybar.eps[r * n + i]);
            let mean = |f: &dyn Fn(usize) -> Mag| (0..n).map(f).sum::<Mag>().div_lower(n as f64);
            let centred = |m: Mag| if self.centred { m } else { Mag::ZERO };
            // |mean ȳ|, |M| and how far they move
            let (b, e_b) = (centred(mean(&|i| g(i).0)), centred(mean(&|i| g(i).1)));
            let m = mean(&|i| g(i).0 * k.y[i]);
            let e_m = mean(&|i| k.y[i] * g(i).1 + (g(i).0 + g(i).1) * k.carried[i]);
            let own = if ybar.run_only() {
                Own::Wide {
                    moments: self.moments(&k.row, &ybar.run[r * n..(r + 1) * n]),
                    own_m: mean(&|j| g(j).0 * k.own_wide[j]),
                    own_sigma: k.own_wide.iter().fold(Mag::ZERO, |a, &v| a.max(v)),
                }
            } else {
                // sums of n terms, a division, y's own error
                let own_y = mean(&|i| (g(i).0 + g(i).1) * k.portable[i]);
                let own_m = own_y + lemma::growth(n + 4) * (m + e_m + own_y) + half_eta() * Mag::of(4.0);
                let own_b = centred(lemma::growth(n + 2) * (b + e_b) + half_eta() * Mag::of(4.0));
                Own::Narrow { own_b, own_m }
            };
            (0..n)
                .map(|i| {
                    let (gi, ei) = g(i);
                    let t = gi + b + k.y[i] * m;
                    let e_t = ei + e_b + k.y[i] * e_m + k.carried[i] * (m + e_m);
                    // (ΔT + |T|·ρ/σ_low)/σ_low
                    let carried = (e_t + (t * k.rho).div_lower(k.low)).div_lower(k.low);
                    let local = match own {
                        Own::Wide { moments: (mean_g, moment), own_m, own_sigma } => {
                            let row = &k.row;
                            let value =
                                (f64::from(ybar.run[r * n + i]) - mean_g - row.d[i] / row.sigma * moment) / row.sigma;
                            // binary64: (n+12) roundings of |T|, and y's own error twice
                            let t_own = t * Mag::count(n + 12) * Mag::exp2(-52) + k.own_wide[i] * m + k.y[i] * own_m;
                            let own = (t_own + t * own_sigma).div_lower(k.low);
                            lemma::rounding(Mag::of(value) + own) + own
                        }
                        Own::Narrow { own_b, own_m } => {
                            let (t_run, y_run) = (t + e_t, k.y[i] + k.carried[i]);
                            let own_t = own_b + y_run * own_m + k.portable[i] * (m + e_m + own_m);
                            let under = self.computed_floor(k.low, k.own_sigma);
                            if Mag::ONE.div_lower(under).get() > largest() {
                                return (carried, Mag::INFINITY);
                            }
                            let all = t_run + own_t;
                            let own_t = own_t + lemma::growth(6) * all * Mag::of(1.01) + half_eta() * Mag::of(8.0);
                            let formed = (own_t + (t_run * k.own_sigma).div_lower(k.low)).div_lower(under);
                            formed + lemma::monomial(4, all.div_lower(under) + formed, Mag::ONE.div_lower(under) + all)
                        }
                    };
                    (carried, local)
                })
                .collect()
        };
        // Σȳ and Σȳ·y of every run, |y| ≤ 1.01·√n
        let top = (0..ybar.len()).fold(Mag::ZERO, |m, i| m.max(ybar.run_mag(i)));
        let peak = Mag::of(2.0) * top * Mag::count(n) * (Mag::ONE + Mag::count(n).sqrt());
        vec![Some(Bound::of_pairs(flat_rows(ybar.len() / n, row)).with_peak(peak.max(squares(&x[0]))))]
    }

    fn forward_scale(&self, x: &[&Array<Interval>]) -> Array<Interval> {
        let n = x[0].row_len();
        let row = |r: usize| self.ranges(&x[0].data[r * n..(r + 1) * n]).0;
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
            let (y, low) = self.ranges(&x[0].data[r * n..(r + 1) * n]);
            let g: Vec<Mag> = ybar.data[r * n..(r + 1) * n].iter().map(|v| v.mag()).collect();
            let mean: Mag = if self.centred { g.iter().copied().sum::<Mag>().div_lower(n as f64) } else { Mag::ZERO };
            let moment = (0..n).map(|i| g[i] * y[i].mag()).sum::<Mag>().div_lower(n as f64);
            let widen = Mag::ONE + lemma::growth(2 * n + 40);
            (0..n)
                .map(|i| {
                    let t = (g[i] + mean + y[i].mag() * moment) * widen * widen;
                    Interval::symmetric((t + Mag::of(16.0) * half_eta()).div_lower(low) + Mag::of(16.0) * half_eta())
                })
                .collect()
        };
        vec![Some(Array::new(x[0].shape.clone(), flat_rows(x[0].data.len() / n, row)))]
    }
}

/// This run's moments in binary64, or bounds on what every run's moments err.
#[derive(Clone, Copy)]
enum Own {
    Wide { moments: (f64, f64), own_m: Mag, own_sigma: Mag },
    Narrow { own_b: Mag, own_m: Mag },
}

impl Normalize {
    /// Ranges of y, and a lower bound on σ, over spec and every run.
    fn ranges(&self, x: &[Interval]) -> (Vec<Interval>, f64) {
        let n = x.len();
        let run: Vec<f32> = x.iter().map(|i| i.mid() as f32).collect();
        let mids: Vec<Interval> = x.iter().map(|i| Interval::point(i.mid())).collect();
        let radius: Vec<Mag> = x.iter().map(|i| i.radius_about(i.mid())).collect();
        // Every run's operands lie within `radius` of the midpoints: the bound of a run about a spec there.
        let shape = [n];
        let about = Approx {
            shape: &shape,
            run: &run,
            spec: &mids,
            eps: &radius,
            centre: super::Centre::Spec,
            measured: false,
            gates: &[],
        };
        let k = self.knowledge(&about, 0);
        let under = self.computed_floor(k.low, k.own_sigma).max(0.0);
        let y = (0..n)
            .map(|i| {
                let y = k.row.d[i] / k.row.sigma;
                let y = if y.is_finite() { y } else { 0.0 };
                let spread = k.carried[i] + k.portable[i] + k.own_wide[i];
                let own = Interval::point(y).widen(spread);
                // |y| ≤ √n for the spec; a run may exceed it by its own rounding
                own.meet(Interval::symmetric(Mag::count(n).sqrt()).widen(k.portable[i]))
            })
            .collect();
        (y, under)
    }
}
