//! Probes: the chain's sums estimated from random directions.
//!
//! One draw per error: with independent Cauchy draws c_k, Σ_k G_k·m_k·c_k is Cauchy with scale
//! Σ|G_k|m_k, whatever the signs. The mean of log|·| over N draws estimates the log of that scale; by
//! Chernoff, with E|C|^−t = sec(πt/2), P(κ·estimate < scale) ≤ min_t (sec(πt/2)·κ^−t)^N. A tensor's
//! largest entry needs no union over entries: the entry with the largest scale is one fixed entry.
//! With normal draws instead, the root mean square estimates √Σ(G_k m_k)².

use super::jet::LANES;
use super::propagate::Table;
use super::sources::{Site, Sources};
use crate::ir::{LeafKind, ValueId, elements};
use crate::num::Mag;
use rayon::prelude::*;
use std::collections::BTreeMap;

/// Draws: a multiple of [`LANES`].
pub const DRAWS: usize = 13 * LANES;

/// Probability that some tensor's figure is too low.
pub const FAILURE: f64 = 1e-3;

/// Estimates per parameter, each the largest over its entries.
#[derive(Clone, Debug)]
pub struct Probes {
    /// κ·(estimate of the largest Σ|G|m).
    pub magnitude: BTreeMap<ValueId, f64>,
    /// For independent errors of mean 0 and variance m²/3.
    pub spread: BTreeMap<ValueId, f64>,
    /// Probability with which all of `magnitude` hold.
    pub confidence: f64,
}

/// SplitMix64 of a counter: the same draw for the same place, whatever the threads do.
fn draw(seed: u64, a: u64, b: u64, c: u64) -> f64 {
    let mut z = seed
        ^ a.wrapping_mul(0x9E37_79B9_7F4A_7C15)
        ^ b.wrapping_mul(0xD1B5_4A32_D192_ED03)
        ^ c.wrapping_mul(0x8CB9_2BA7_2F3D_8DD7);
    for _ in 0..2 {
        z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
    }
    // strictly between 0 and 1
    ((z >> 12) as f64 + 0.5) / (1u64 << 52) as f64
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

/// Estimates Σ|G|m and √Σ(Gm)²/3 for all parameters, m as `size` says.
pub fn probe(table: &Table, sources: &Sources, size: impl Fn(usize) -> Vec<Mag> + Sync, seed: u64) -> Probes {
    let graph = table.graph;
    let parameters: Vec<ValueId> = graph
        .leaves()
        .iter()
        .enumerate()
        .filter(|(_, l)| l.kind == LeafKind::Parameter)
        .map(|(i, _)| ValueId(i as u32))
        .collect();
    let index: BTreeMap<Site, usize> = sources.list.iter().enumerate().map(|(k, s)| (s.site, k)).collect();
    let sizes: Vec<Vec<Mag>> = (0..sources.list.len()).map(&size).collect();
    let sweep = |pass: usize, normal: bool| {
        let moves = table.sweep(|site| {
            let &k = index.get(&site)?;
            let lanes = |i: usize, m: f64| {
                let mut t = [0.0; LANES];
                for (lane, t) in t.iter_mut().enumerate() {
                    let u = draw(seed ^ u64::from(normal), k as u64, i as u64, (pass * LANES + lane) as u64);
                    *t = m * if normal {
                        let v = draw(!seed, k as u64, i as u64, (pass * LANES + lane) as u64);
                        // Box–Muller
                        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos() / 3f64.sqrt()
                    } else {
                        (std::f64::consts::PI * (u - 0.5)).tan()
                    };
                }
                (i, t)
            };
            let sources = sizes[k].iter().enumerate().filter(|(_, m)| !m.is_zero());
            Some(sources.map(|(i, m)| lanes(i, m.get())).collect())
        });
        parameters
            .iter()
            .map(|v| moves.cotangents[v.index()].as_ref().map(|a| a.data.iter().map(|j| j.lanes).collect::<Vec<_>>()))
            .collect::<Vec<_>>()
    };
    let gather = |normal: bool, each: fn(f64) -> f64| {
        let mut sums: Vec<Vec<f64>> = parameters.iter().map(|&v| vec![0.0; elements(graph.shape(v))]).collect();
        for pass in 0..DRAWS / LANES {
            for (sum, lanes) in sums.iter_mut().zip(sweep(pass, normal)) {
                let Some(lanes) = lanes else { continue };
                sum.par_iter_mut().zip(&lanes).for_each(|(s, l)| *s += l.iter().map(|&t| each(t)).sum::<f64>());
            }
        }
        sums
    };
    let kappa = factor(DRAWS, FAILURE / parameters.len().max(1) as f64);
    let logs = gather(false, log);
    let squares = gather(true, |t| t * t);
    let magnitude = parameters.iter().zip(&logs).map(|(&v, sums)| {
        // an entry that nothing reaches keeps the sum 0 it started with, one that never moves has no error
        let still = |s: f64| s == 0.0 || s <= DRAWS as f64 * log(0.0) * (1.0 - 1e-9);
        let top = largest(sums.iter().copied().filter(|&s| !still(s)));
        (v, top.map_or(0.0, |top| (top / DRAWS as f64).exp() * kappa))
    });
    let spread = parameters.iter().zip(&squares).map(|(&v, sums)| {
        let top = largest(sums.iter().copied()).unwrap_or(0.0);
        // six standard deviations, and a quarter more for the estimate's own scatter
        (v, 6.0 * 1.25 * (top / DRAWS as f64).sqrt())
    });
    Probes { magnitude: magnitude.collect(), spread: spread.collect(), confidence: 1.0 - FAILURE }
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
}
