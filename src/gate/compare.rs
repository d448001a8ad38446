//! Entries of any format against enclosures.

use rug::float::Round;

use crate::certificate::Enclosure;
use crate::ir::Array;
use crate::num::{Ball, Interval, Mag, parallel};

/// The errors of a tensor's entries, and what follows from them.
#[derive(Clone, Debug)]
pub struct Compared {
    /// ‖g‖∞ of the spec.
    pub norm: Enclosure,
    /// Largest |given − spec|; `None` when an entry isn't finite.
    pub observed: Option<Enclosure>,
    /// Position of the largest error, or of the first entry that isn't finite.
    pub worst: usize,
    /// Per entry, an upper bound on the error; infinite where the entry isn't finite.
    pub errors: Vec<f64>,
    /// Entries that are NaN or infinite.
    pub not_finite: usize,
    /// Midpoints of the spec, rounded: to look for causes, not to decide.
    pub spec: Vec<f64>,
}

/// One entry of a spec: [lower, upper] bounds of its magnitude and of its distance, and its middle.
type Entry = ((f64, f64), (f64, f64), f64);

fn collect(entries: Vec<Entry>, given: &[f64]) -> Compared {
    let finite = |x: f64| x.min(f64::MAX);
    let (mut norm, mut error) = ((0.0f64, 0.0f64), (0.0f64, 0.0f64));
    let (mut worst, mut top) = (0, -1.0);
    for (i, (mag, distance, _)) in entries.iter().enumerate() {
        norm = (norm.0.max(mag.0), norm.1.max(mag.1));
        error = (error.0.max(distance.0), error.1.max(distance.1));
        if distance.1 > top {
            (worst, top) = (i, distance.1);
        }
    }
    let not_finite = given.iter().filter(|x| !x.is_finite()).count();
    Compared {
        norm: Enclosure::of(finite(norm.0), finite(norm.1)),
        observed: (not_finite == 0).then(|| Enclosure::of(finite(error.0), finite(error.1))),
        worst,
        errors: entries.iter().map(|e| e.1.1).collect(),
        not_finite,
        spec: entries.iter().map(|e| e.2).collect(),
    }
}

/// Against balls; `None` is an exact zero. `given` must have as many entries.
pub fn with_balls(given: &[f64], spec: Option<&Array<Ball>>) -> Compared {
    let Some(balls) = spec else { return with_intervals(given, &vec![Interval::ZERO; given.len()]) };
    assert_eq!(given.len(), balls.data.len(), "shapes are compared first");
    let one = |(&x, b): (&f64, &Ball)| {
        let distance = if x.is_finite() {
            let (near, far) = b.distance(x);
            (near, far.get())
        } else {
            (f64::INFINITY, f64::INFINITY)
        };
        (magnitude(b), distance, b.mid.to_f64())
    };
    collect(parallel::map(given.len(), 64, |i| one((&given[i], &balls.data[i]))), given)
}

/// [lower, upper] bounds of |x|.
pub fn magnitude(b: &Ball) -> (f64, f64) {
    let lo = Mag::sub_below(b.mid.clone().abs().to_f64_round(Round::Down), b.rad).max(0.0);
    (lo, b.mag().get())
}

/// Against binary64 intervals. `given` must have as many entries.
pub fn with_intervals(given: &[f64], spec: &[Interval]) -> Compared {
    assert_eq!(given.len(), spec.len(), "shapes are compared first");
    let one = |(&x, s): (&f64, &Interval)| {
        let distance = if !x.is_finite() {
            (f64::INFINITY, f64::INFINITY)
        } else if s.contains(x) {
            (0.0, s.radius_about(x).get())
        } else {
            ((s.lo - x).max(x - s.hi).next_down().max(0.0), s.radius_about(x).get())
        };
        ((s.mig(), s.mag().get()), distance, s.lo / 2.0 + s.hi / 2.0)
    };
    collect(parallel::map(given.len(), 256, |i| one((&given[i], &spec[i]))), given)
}

/// The indices of a flat position, one per axis.
pub fn index_of(flat: usize, shape: &[usize]) -> Vec<u64> {
    let mut index = Vec::new();
    let mut rest = flat;
    for &n in shape.iter().rev() {
        index.push((rest % n.max(1)) as u64);
        rest /= n.max(1);
    }
    index.reverse();
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_any_entry_are_enclosed() {
        let balls = Array::new(
            vec![3],
            vec![Ball::exact(1.0), Ball::exact(-2.0), Ball { rad: Mag::of(0.5), ..Ball::exact(0.0) }],
        );
        let c = with_balls(&[1.0, -2.0 - 1e-12, 0.25], Some(&balls));
        assert!(c.norm.lo() <= 2.0 && c.norm.lo() > 2.0 - 1e-12 && c.norm.hi() >= 2.0 && c.norm.hi() < 2.0 + 1e-12);
        let o = c.observed.unwrap();
        assert!(o.lo() <= 0.75 && o.hi() >= 0.75 && c.worst == 2, "{c:?}");
        let c = with_balls(&[1.0, f64::NAN, 0.0], Some(&balls));
        assert_eq!((c.observed, c.not_finite, c.worst), (None, 1, 1));
        let c = with_balls(&[0.0, 3.0], None);
        assert_eq!(c.norm, Enclosure::ZERO);
        assert!(c.observed.unwrap().lo() <= 3.0 && c.observed.unwrap().hi() >= 3.0);
        assert_eq!(index_of(11, &[2, 3, 2]), [1, 2, 1]);
    }
}
