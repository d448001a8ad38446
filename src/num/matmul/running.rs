//! Running error of the binary32 product: half an ulp of every partial result of the recorded tree.
//!
//! Every step of the contraction rounds one number, and what it adds to the result is that rounding,
//! unamplified: the steps after it are linear in it. So the error is Σ ρ_step, and
//! |ρ| ≤ half an ulp of what is rounded (Higham, *Accuracy and Stability of Numerical Algorithms*, §3.3, with
//! the tree's order). The partial results are known from a replay in binary64: what is rounded at a step
//! differs from the replay's s̃ by at most δ = ((1+u)^h − 1 + k·2^−52)·Σ|ab| + k·η, so that with 2^e the
//! largest power of two in |s̃| + δ
//!
//! > |ρ| ≤ 2^(e−24) + η/2
//!
//! A step whose product is 0 rounds nothing.

use pulp::{Arch, Simd, WithSimd};

use super::View;
use crate::num::format::{half_eta, u};
use crate::num::reduce::{BLOCK, height};
use crate::num::{Mag, lemma, parallel};

/// Columns that are replayed side by side.
const COLUMNS: usize = 64;

/// Bounds on the error of every entry of the binary32 product A·B on its tree; `total` are bounds on
/// Σ|a||b|, row after row.
///
/// Panics when a matrix is smaller than said.
pub fn running_error(a: View<f32>, b: View<f32>, (m, n, k): (usize, usize, usize), total: &[Mag]) -> Vec<Mag> {
    let a = View { data: a.check(0, m, k, "A"), ..a };
    let b = View { data: b.check(0, k, n, "B"), ..b };
    assert_eq!(total.len(), m * n, "magnitudes");
    let mut out = vec![Mag::ZERO; m * n];
    if out.is_empty() || k == 0 {
        return out;
    }
    // B in binary64, in panels of COLUMNS
    let panels = n.div_ceil(COLUMNS);
    let mut packed = vec![0.0f64; panels * k * COLUMNS];
    parallel::chunks(&mut packed, k * COLUMNS, 1, |p, panel| {
        for (l, row) in panel.chunks_mut(COLUMNS).enumerate() {
            for (j, x) in row.iter_mut().enumerate().take(n - p * COLUMNS) {
                *x = f64::from(b.data[l * b.row_stride + (p * COLUMNS + j) * b.col_stride]);
            }
        }
    });
    let relative = lemma::growth(height(k)) + Mag::count(k) * Mag::exp2(-52);
    let absolute = Mag::count(k + 1) * (half_eta() + half_eta());
    let steps = Mag::count(k + k.div_ceil(BLOCK)) * half_eta();
    // adding up at most k + k/BLOCK powers of two in binary64
    let inflate = Mag::ONE + Mag::count(2 * k + 8) * Mag::exp2(-53);
    parallel::chunks(&mut out, n, 1, |i, row| {
        for (p, row) in row.chunks_mut(COLUMNS).enumerate() {
            let mut replay = Replay { slack: [0.0; COLUMNS], powers: [0.0; COLUMNS] };
            for (j, s) in replay.slack.iter_mut().enumerate().take(row.len()) {
                *s = (relative * total[i * n + p * COLUMNS + j] + absolute).get();
            }
            let panel = &packed[p * k * COLUMNS..][..k * COLUMNS];
            let entry = |l: usize| f64::from(a.data[i * a.row_stride + l * a.col_stride]);
            replay.blocks(&entry, panel, 0, k.div_ceil(BLOCK), k);
            for (j, e) in row.iter_mut().enumerate() {
                let whole = total[i * n + p * COLUMNS + j];
                *e = if whole.is_zero() {
                    Mag::ZERO
                } else if whole.is_finite() {
                    u() * Mag::of(replay.powers[j]) * inflate + steps
                } else {
                    Mag::INFINITY
                };
            }
        }
    });
    out
}

/// The replay of some neighbouring entries of a row.
struct Replay {
    /// δ of each.
    slack: [f64; COLUMNS],
    /// Σ 2^e over the steps of each.
    powers: [f64; COLUMNS],
}

/// The largest power of two not above x ≥ 0; 0 for a subnormal x, whose half ulp is η/2 anyway.
#[inline(always)]
fn power(x: f64) -> f64 {
    f64::from_bits(x.to_bits() & (0x7ff << 52))
}

impl Replay {
    /// The partial results of blocks `first..last`, combined pairwise as [`crate::num::reduce`] says.
    fn blocks(&mut self, a: &impl Fn(usize) -> f64, b: &[f64], first: usize, last: usize, k: usize) -> [f64; COLUMNS] {
        if last - first == 1 {
            return Arch::new().dispatch(Chain { replay: self, a, b, from: first * BLOCK, to: k.min(last * BLOCK) });
        }
        // the first 2^e blocks against the rest, 2^e the largest power of two below their number
        let left = (last - first).next_power_of_two() / 2;
        let mut s = self.blocks(a, b, first, first + left, k);
        let t = self.blocks(a, b, first + left, last, k);
        for j in 0..COLUMNS {
            s[j] += t[j];
            self.powers[j] += power(s[j].abs() + self.slack[j]);
        }
        s
    }
}

/// A chain of fused multiply–adds from 0, in vectors of the best instruction set there is.
struct Chain<'a, A> {
    replay: &'a mut Replay,
    a: &'a A,
    b: &'a [f64],
    from: usize,
    to: usize,
}

impl<A: Fn(usize) -> f64> WithSimd for Chain<'_, A> {
    type Output = [f64; COLUMNS];

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> [f64; COLUMNS] {
        let mut s = [0.0; COLUMNS];
        let (slack, mut powers) = (self.replay.slack, self.replay.powers);
        for l in self.from..self.to {
            let x = (self.a)(l);
            if x == 0.0 {
                continue;
            }
            let b = &self.b[l * COLUMNS..][..COLUMNS];
            for j in 0..COLUMNS {
                let product = x * b[j];
                s[j] += product;
                let of = power(s[j].abs() + slack[j]);
                powers[j] += if product == 0.0 { 0.0 } else { of };
            }
        }
        self.replay.powers = powers;
        s
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::matmul::{matmul, matmul_up};

    /// The error of the kernel is within the bound, and the bound well below that of the tree's height.
    #[test]
    fn the_error_is_within_the_running_bound() {
        let mut state = 7u64;
        let mut draw = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / 8e6 - 1.0
        };
        for (m, n, k) in [(1, 1, 1), (3, 5, 31), (2, 70, 32), (4, 3, 33), (3, 65, 100), (2, 2, 1000), (1, 3, 257)] {
            for kind in 0..4 {
                let mut entry = |_| match kind {
                    0 => draw(),
                    1 => (draw() * 4.0).round(),
                    // far apart, and no sum of products overflows
                    2 => draw() * 2f32.powi((draw() * 50.0) as i32),
                    _ => draw() * f32::MIN_POSITIVE * 64.0,
                };
                let a: Vec<f32> = (0..m * k).map(&mut entry).collect();
                let mut b: Vec<f32> = (0..k * n).map(&mut entry).collect();
                if kind == 3 {
                    b.iter_mut().for_each(|x| *x *= 2f32.powi(30));
                }
                let mags = |x: &[f32]| x.iter().map(|&v| Mag::of_f32(v)).collect::<Vec<_>>();
                let (ma, mb) = (mags(&a), mags(&b));
                let total = matmul_up(View::rows(&ma, k), View::rows(&mb, n), m, n, k);
                let bound = running_error(View::rows(&a, k), View::rows(&b, n), (m, n, k), &total);
                let c = matmul(View::rows(&a, k), View::rows(&b, n), m, n, k);
                for i in 0..m {
                    for j in 0..n {
                        let mut exact = rug::Float::with_val(2000, 0);
                        for l in 0..k {
                            exact += rug::Float::with_val(2000, a[i * k + l]) * b[l * n + j];
                        }
                        let error = (exact - c[i * n + j]).abs().to_f64();
                        let at = i * n + j;
                        assert!(error <= bound[at].get(), "{m}×{n}×{k} kind {kind}: {error:e} > {:e}", bound[at].get());
                        let tree = lemma::dot_tree(height(k), k, total[at]);
                        if kind == 0 && k >= 100 {
                            assert!(bound[at].get() < 0.5 * tree.get(), "{m}×{n}×{k}: no tighter than the tree");
                        }
                    }
                }
            }
        }
    }
}
