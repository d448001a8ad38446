//! Probes: the chain's sums estimated from random directions.
//!
//! One draw per error: with independent Cauchy draws c_k, Σ_k G_k·m_k·c_k is Cauchy with scale
//! Σ|G_k|m_k, whatever the signs. The mean of log|·| over N draws estimates the log of that scale; by
//! Chernoff, with E|C|^−t = sec(πt/2), P(κ·estimate < scale) ≤ min_t (sec(πt/2)·κ^−t)^N. A tensor's
//! largest entry needs no union over entries: the entry with the largest scale is one fixed entry.
//! With random signs instead, whose variance is 1, the root mean square estimates √Σ(G_k m_k)².

use super::jet::LANES;
use super::propagate::{Leaving, Table};
use super::sources::{Site, Sources};
use crate::ir::{LeafKind, ValueId, elements};
use crate::num::{Mag, parallel};
use std::collections::BTreeMap;

/// Draws of a sum of magnitudes: a multiple of [`LANES`]. κ is about 2.3 then for some dozens of tensors;
/// three times as many would make it 1.6.
pub const DRAWS: usize = 4 * LANES;

/// Draws of a root of a sum of squares.
const SQUARES: usize = 2 * LANES;

/// Probability that some tensor's figure is too low.
pub const FAILURE: f64 = 1e-3;

/// Estimates per parameter, each the largest over its entries.
#[derive(Clone, Debug)]
pub struct Probes {
    /// κ·(estimate of the largest Σ|G|m).
    pub magnitude: BTreeMap<ValueId, f64>,
    /// Probability with which all of `magnitude` hold.
    pub confidence: f64,
}

/// SplitMix64: a stream of its own for every place, the same whatever the threads do.
struct Stream(u64);

impl Stream {
    /// The stream of entry `i` of source `k` in a pass.
    #[inline]
    fn new(seed: u64, k: usize, i: usize, pass: usize) -> Stream {
        let place = [k, i, pass].into_iter().fold(Stream(seed), |s, x| Stream(Stream(s.0 ^ x as u64).bits()));
        Stream(place.0)
    }

    #[inline]
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// x/y of a point drawn from the unit disc: a Cauchy draw, without an elementary function.
    #[inline]
    fn cauchy(&mut self) -> f64 {
        loop {
            let bits = self.bits();
            // odd multiples of 2^−32 on (−1, 1): neither is 0
            let on = |half: u32| (f64::from(half as i32) + 0.5) * (1.0 / (1u64 << 31) as f64);
            let (x, y) = (on(bits as u32), on((bits >> 32) as u32));
            if x * x + y * y <= 1.0 {
                return x / y;
            }
        }
    }
}

/// What a probe draws for each error.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Draw {
    Cauchy,
    Sign,
}

impl Draw {
    fn lanes(self, mut from: Stream, m: f64) -> [f64; LANES] {
        match self {
            Draw::Cauchy => std::array::from_fn(|_| m * from.cauchy()),
            Draw::Sign => {
                let bits = from.bits();
                std::array::from_fn(|lane| if bits >> lane & 1 == 0 { m } else { -m })
            }
        }
    }
}

/// κ with which the estimate fails for one tensor with probability at most `failure`.
pub fn factor(draws: usize, failure: f64) -> f64 {
    // (sec(πt/2)·κ^−t)^N = failure  ⇔  ln κ = (ln(1/failure)/N + ln sec(πt/2))/t; the best t
    let best = (1..1000).map(|i| {
        let t = f64::from(i) / 1000.0;
        let sec = 1.0 / (std::f64::consts::FRAC_PI_2 * t).cos();
        ((1.0 / failure).ln() / draws as f64 + sec.ln()) / t
    });
    best.fold(f64::INFINITY, f64::min).exp() * (1.0 + 1e-9)
}

/// The parameters, in the order of their ids.
fn parameters(table: &Table) -> Vec<ValueId> {
    let leaves = table.graph.leaves().iter().enumerate();
    leaves.filter(|(_, l)| l.kind == LeafKind::Parameter).map(|(i, _)| ValueId(i as u32)).collect()
}

/// Per parameter, entry by entry: `each` of an entry's lanes, added up over all passes.
fn gather(
    table: &Table,
    sources: &Sources,
    size: impl Fn(usize) -> Vec<Mag> + Sync,
    (seed, draw, draws): (u64, Draw, usize),
    each: impl Fn(&[f64; LANES]) -> f64 + Sync,
) -> BTreeMap<ValueId, Vec<f64>> {
    let index: BTreeMap<Site, usize> = sources.list.iter().enumerate().map(|(k, s)| (s.site, k)).collect();
    let sizes: Vec<Vec<Mag>> = (0..sources.list.len()).map(&size).collect();
    let mut sums: BTreeMap<ValueId, Vec<f64>> =
        parameters(table).into_iter().map(|v| (v, vec![0.0; elements(table.graph.shape(v))])).collect();
    // some sweeps at a time, added up in order
    let passes: Vec<usize> = (0..draws / LANES).collect();
    for group in passes.chunks(table.together()) {
        let swept = parallel::map(group.len(), 1, |at| {
            let inject = |site: Site| {
                let &k = index.get(&site)?;
                let live: Vec<usize> = (0..sizes[k].len()).filter(|&i| !sizes[k][i].is_zero()).collect();
                let lanes = |i: usize| (i, draw.lanes(Stream::new(seed, k, i, group[at]), sizes[k][i].get()));
                Some(parallel::map(live.len(), 256, |at| lanes(live[at])))
            };
            let mut found: BTreeMap<ValueId, Vec<f64>> = BTreeMap::new();
            table.sweep(inject, |v, moved| {
                if let (Leaving::Cotangent(c), true) = (moved, sums.contains_key(&v)) {
                    found.insert(v, parallel::map(c.data.len(), 256, |i| each(&c.data[i].lanes)));
                }
            });
            found
        });
        for (v, moved) in swept.into_iter().flatten() {
            let sum = sums.get_mut(&v).expect("only what is asked for has been noted");
            sum.iter_mut().zip(moved).for_each(|(s, m)| *s += m);
        }
    }
    sums
}

/// Estimates Σ|G|m for all parameters, m as `size` says.
pub fn probe(table: &Table, sources: &Sources, size: impl Fn(usize) -> Vec<Mag> + Sync, seed: u64) -> Probes {
    let logs = gather(table, sources, size, (seed, Draw::Cauchy, DRAWS), log_of_all);
    let kappa = factor(DRAWS, FAILURE / logs.len().max(1) as f64);
    let magnitude = logs.into_iter().map(|(v, sums)| {
        // an entry that nothing reaches keeps the sum 0 it started with, one that never moves has no error
        let still = |s: f64| s == 0.0 || s <= DRAWS as f64 * log(0.0) * (1.0 - 1e-9);
        let top = largest(sums.iter().copied().filter(|&s| !still(s)));
        (v, top.map_or(0.0, |top| (top / DRAWS as f64).exp() * kappa))
    });
    Probes { magnitude: magnitude.collect(), confidence: 1.0 - FAILURE }
}

/// Six standard deviations of Σ ±G·m for independent errors of mean 0 and variance m²/3.
pub fn spread(
    table: &Table,
    sources: &Sources,
    size: impl Fn(usize) -> Vec<Mag> + Sync,
    seed: u64,
) -> BTreeMap<ValueId, f64> {
    let squares = gather(table, sources, size, (!seed, Draw::Sign, SQUARES), |t| t.iter().map(|t| t * t).sum());
    let six = |(v, sums): (ValueId, Vec<f64>)| {
        let top = largest(sums.iter().copied()).unwrap_or(0.0);
        // two standard deviations of the estimate more
        (v, 6.0 * 1.25 * (top / SQUARES as f64 / 3.0).sqrt())
    };
    squares.into_iter().map(six).collect()
}

/// Σ ln|t| as one logarithm: of the product of the significands, exponents counted apart.
fn log_of_all(lanes: &[f64; LANES]) -> f64 {
    let (mut product, mut exponents) = (1.0f64, 0i64);
    for t in lanes {
        let bits = t.abs().to_bits();
        let e = (bits >> 52) as i64;
        if e == 0 || e == 0x7ff {
            // 0, subnormal, ∞ or NaN
            return lanes.iter().map(|&t| log(t)).sum();
        }
        product *= f64::from_bits(bits & ((1 << 52) - 1) | 1023 << 52);
        exponents += e - 1023;
    }
    product.ln() + exponents as f64 * std::f64::consts::LN_2
}

/// ln|t|, at least that of the smallest normal number: a draw that underflows is no proof of no error.
fn log(t: f64) -> f64 {
    // `max` would take the number where t is NaN
    if t.is_nan() { t } else { t.abs().max(f64::MIN_POSITIVE).ln() }
}

/// The largest; ∞ where one isn't a number: overflow on the way leaves nothing to say.
fn largest(sums: impl Iterator<Item = f64>) -> Option<f64> {
    sums.map(|s| if s.is_nan() { f64::INFINITY } else { s }).reduce(f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overflow_and_underflow_are_no_proof_of_a_small_error() {
        assert_eq!(largest([1.0, f64::NAN, 2.0].into_iter()), Some(f64::INFINITY));
        assert_eq!(largest([-3.0, -2.0].into_iter()), Some(-2.0));
        assert!(log(0.0).is_finite() && log(f64::NAN).is_nan() && log(f64::INFINITY) == f64::INFINITY);
    }

    #[test]
    fn one_logarithm_is_the_sum_of_all() {
        for scale in [1.0, 1e-300, 1e300, 1e-310] {
            let lanes: [f64; LANES] =
                std::array::from_fn(|i| scale * (0.1 + i as f64) * if i % 2 == 0 { 1.0 } else { -1.0 });
            let sum: f64 = lanes.iter().map(|&t| log(t)).sum();
            assert!((log_of_all(&lanes) - sum).abs() < 1e-9, "{scale:e}");
        }
        assert!((log_of_all(&[0.0; LANES]) - LANES as f64 * log(0.0)).abs() < 1e-9);
        assert!(log_of_all(&[f64::NAN; LANES]).is_nan());
    }

    #[test]
    fn cauchy_draws_have_the_quartiles_of_a_cauchy() {
        let mut draws = Stream::new(1, 2, 3, 4);
        let n = 100_000;
        let c: Vec<f64> = (0..n).map(|_| draws.cauchy()).collect();
        // P(C < −1) = P(C > 1) = 1/4, P(|C| > tan(0.45·π)) = 1/10
        let share = |f: &dyn Fn(f64) -> bool| c.iter().filter(|&&x| f(x)).count() as f64 / f64::from(n);
        assert!((share(&|x| x < -1.0) - 0.25).abs() < 0.01);
        assert!((share(&|x| x > 1.0) - 0.25).abs() < 0.01);
        assert!((share(&|x| x.abs() > 6.313_751_514_675_043) - 0.1).abs() < 0.01);
    }
}
