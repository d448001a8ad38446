//! Figures of one tensor: norms, errors, digits, the worst entry.

use crate::certificate::{Enclosure, Exact as Number, Histogram, NEAREST, Num, WorstEntry};
use crate::ir::Array;
use crate::num::format::BINARY32;
use crate::num::{Ball, Interval, Mag, parallel};

/// Error of a tensor, entry by entry, and what follows from it.
#[derive(Clone, Debug)]
pub struct TensorFigures {
    /// Largest |x̂|.
    pub max_abs: f64,
    /// ‖x‖∞ of the spec.
    pub norm: Enclosure,
    /// Largest |x̂ − x|.
    pub observed: Enclosure,
    /// Position of the largest error.
    pub worst: usize,
    /// Per entry, an upper bound on the error.
    pub errors: Vec<f64>,
    /// Entries that are off by more than twice their exact size: this many surely, and at most.
    pub lost: (usize, usize),
}

/// The largest binary64 number stands for what no bound is known of.
fn finite(x: f64) -> f64 {
    x.min(f64::MAX)
}

fn collect(run: impl Iterator<Item = f64>, entries: impl Iterator<Item = ((f64, f64), (f64, Mag))>) -> TensorFigures {
    let mut f = TensorFigures {
        max_abs: 0.0,
        norm: Enclosure::of(0.0, 0.0),
        observed: Enclosure::of(0.0, 0.0),
        worst: 0,
        errors: Vec::new(),
        lost: (0, 0),
    };
    let (mut norm, mut error) = ((0.0f64, 0.0f64), (0.0f64, 0.0f64));
    for (i, (x, ((lo, hi), (near, far)))) in run.zip(entries).enumerate() {
        f.max_abs = f.max_abs.max(x.abs());
        norm = (norm.0.max(lo), norm.1.max(hi));
        if far.get() > error.1 {
            f.worst = i;
        }
        error = (error.0.max(near), error.1.max(far.get()));
        // twice a number is exact
        f.lost.0 += usize::from(near > 2.0 * hi);
        f.lost.1 += usize::from(far.get() > 2.0 * lo);
        f.errors.push(finite(far.get()));
    }
    f.norm = Enclosure::of(finite(norm.0), finite(norm.1));
    f.observed = Enclosure::of(finite(error.0), finite(error.1));
    f
}

/// Figures of a tensor with balls; `None` is an exact zero of the run's shape.
pub fn of_balls(run: &[f32], spec: Option<&Array<Ball>>) -> TensorFigures {
    let wide = |i: usize| f64::from(run[i]);
    match spec {
        None => of_intervals(run, &vec![Interval::ZERO; run.len()]),
        Some(balls) => {
            let one = |i: usize| {
                let b = &balls.data[i];
                (b.mags(), b.distance(wide(i)))
            };
            collect((0..run.len()).map(wide), parallel::map(run.len(), 256, one).into_iter())
        }
    }
}

/// Figures of a tensor with intervals.
pub fn of_intervals(run: &[f32], spec: &[Interval]) -> TensorFigures {
    collect(
        run.iter().map(|&x| f64::from(x)),
        run.iter().zip(spec).map(|(&x, s)| {
            let x = f64::from(x);
            ((s.mig(), s.mag().get()), (s.gap(x), s.radius_about(x)))
        }),
    )
}

/// Is every gradient's error known well enough: to 2^−9 of itself, or negligible in the model or in binary32?
pub fn decided(all: &[TensorFigures]) -> bool {
    let largest = all.iter().fold(0.0, |m: f64, f| m.max(f.norm.lo()));
    let negligible = (1e-14 * largest).max(NEAREST);
    all.iter().all(|f| {
        let (lo, hi) = (f.observed.lo(), f.observed.hi());
        let known = hi - lo <= hi / 512.0 || hi <= negligible;
        // and the norm, which limits are made of
        known && f.norm.hi() - f.norm.lo() <= (f.norm.hi() / 512.0).max(negligible)
    })
}

/// The entry with the largest error.
pub fn worst_entry(f: &TensorFigures, shape: &[usize], run: &[f32], spec: Option<&Array<Ball>>) -> Option<WorstEntry> {
    let runtime = f64::from(*run.get(f.worst)?);
    let s = spec.map_or(Interval::ZERO, |b| b.data[f.worst].interval());
    let at = if s.mig() > 0.0 { s.mig() } else { 0.0 };
    let half = BINARY32.half_ulp(at).get();
    let ulps = Mag::of(f.errors[f.worst]).div_lower(2.0 * half).get();
    let mut index = Vec::new();
    let mut rest = f.worst;
    for &n in shape.iter().rev() {
        index.push((rest % n) as u64);
        rest /= n;
    }
    index.reverse();
    Some(WorstEntry {
        index,
        runtime: Number(Num::of(runtime)),
        spec: Enclosure::of(s.lo.max(-f64::MAX), finite(s.hi)),
        ulps: Num::of(finite(ulps)),
    })
}

/// Errors of the entries in units of u·‖g‖∞, in decades.
pub fn histogram(f: &TensorFigures) -> Option<Histogram> {
    let unit = f.norm.lo() * BINARY32.u().get() * 2.0;
    if unit <= 0.0 || !unit.is_finite() {
        return None;
    }
    let edges: Vec<f64> = vec![0.001, 0.01, 0.1, 1.0, 10.0, 100.0, 1000.0, 10_000.0];
    let mut counts = vec![0u64; edges.len() + 1];
    for e in &f.errors {
        counts[edges.partition_point(|&edge| edge <= e / unit)] += 1;
    }
    Some(Histogram { unit: "ulp of ‖g‖∞".into(), edges: edges.into_iter().map(Num::of).collect(), counts })
}
