//! Piecewise linear functions of one variable, as data, and staircases.

use super::{Interval, Mag};
use rug::Float;

/// f(x) = slope_i·x + offset_i on the i-th piece; piece i lies between kink i−1 and kink i.
///
/// Slopes, offsets and kinks are binary32 numbers. At a kink, the piece to the left applies when
/// `left_closed`, else the one to the right.
#[derive(Clone, Debug, PartialEq)]
pub struct Pieces {
    /// Strictly increasing.
    pub kinks: Vec<f64>,
    /// One more than there are kinks.
    pub slopes: Vec<f64>,
    /// One more than there are kinks.
    pub offsets: Vec<f64>,
    /// Which slope holds at a kink: the left one, or the right one.
    pub left_closed: Vec<bool>,
}

impl Pieces {
    /// The piece that applies at x.
    pub fn at(&self, x: f64) -> usize {
        let passed = |(&k, &left): (&f64, &bool)| if left { x > k } else { x >= k };
        self.kinks.iter().zip(&self.left_closed).take_while(|&(k, l)| passed((k, l))).count()
    }

    /// The first and the last piece met between lo and hi (both inclusive).
    pub fn between(&self, lo: f64, hi: f64) -> (usize, usize) {
        (self.at(lo), self.at(hi))
    }

    /// Largest |slope| of pieces `first..=last`.
    pub fn steepest(&self, (first, last): (usize, usize)) -> f64 {
        self.slopes[first..=last].iter().fold(0.0, |m, s| s.abs().max(m))
    }

    /// Largest difference of two slopes among pieces `first..=last`.
    pub fn slope_jump(&self, (first, last): (usize, usize)) -> f64 {
        let s = &self.slopes[first..=last];
        s.iter().fold(f64::NEG_INFINITY, |m, &x| m.max(x)) - s.iter().fold(f64::INFINITY, |m, &x| m.min(x))
    }

    /// Bound on how far the value jumps at the kinks between pieces `first` and `last`; 0 where it doesn't.
    // the products of binary32 numbers are exact, and 2Sum keeps what each addition loses
    pub fn value_jump(&self, (first, last): (usize, usize)) -> f64 {
        let jump = |i: usize| {
            let k = self.kinks[i];
            let terms = [self.slopes[i + 1] * k, -self.slopes[i] * k, self.offsets[i + 1], -self.offsets[i]];
            let (mut sum, mut lost) = (0.0f64, 0.0f64);
            for t in terms {
                let s = sum + t;
                let back = s - sum;
                lost += ((sum - (s - back)) + (t - back)).abs();
                sum = s;
            }
            sum.abs() + lost
        };
        (first..last).map(jump).sum()
    }

    /// f as a function of binary64 numbers.
    pub fn value(&self, x: f64) -> f64 {
        let i = self.at(x);
        if self.slopes[i] == 0.0 { self.offsets[i] } else { self.slopes[i] * x + self.offsets[i] }
    }
}

/// Functions that give whole numbers and jump from one to the next; all of them increase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steps {
    /// The largest whole number ≤ x.
    Floor,
    /// The smallest whole number ≥ x.
    Ceil,
    /// The nearest whole number, of two equally near ones the even one.
    Round,
    /// x without its fraction.
    Truncate,
}

impl Steps {
    /// All of them.
    pub const ALL: [Steps; 4] = [Steps::Floor, Steps::Ceil, Steps::Round, Steps::Truncate];

    /// The step on which x lies. Exact, and a binary32 number where x is one.
    pub fn at(self, x: f64) -> f64 {
        match self {
            Steps::Floor => x.floor(),
            Steps::Ceil => x.ceil(),
            Steps::Round => x.round_ties_even(),
            Steps::Truncate => x.trunc(),
        }
    }

    /// The step on which a number of any precision lies. Exact.
    pub fn of(self, x: Float) -> Float {
        match self {
            Steps::Floor => x.floor(),
            Steps::Ceil => x.ceil(),
            Steps::Round => x.round_even(),
            Steps::Truncate => x.trunc(),
        }
    }

    /// The jump next to x.
    pub fn jump_near(self, x: f64) -> f64 {
        match self {
            Steps::Round => x.floor() + 0.5,
            // there is none at 0
            Steps::Truncate if x.abs() < 1.0 => 1f64.copysign(x),
            _ => x.round(),
        }
    }

    /// How far apart the steps of two numbers between lo and hi may be.
    pub fn rise(self, x: Interval) -> Mag {
        // an increasing function takes its extremes at the ends
        let (lo, hi) = (self.at(x.lo), self.at(x.hi));
        if lo == hi { Mag::ZERO } else { Interval::point(hi).sub(Interval::point(lo)).mag() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_jump_next_to_a_number_is_where_the_step_changes() {
        for steps in Steps::ALL {
            for k in -40..=40 {
                let x = f64::from(k) / 8.0 + 0.01;
                let jump = steps.jump_near(x);
                let rise = steps.rise(Interval::new(jump - 1e-3, jump + 1e-3)).get();
                assert!((x - jump).abs() <= 1.0 && (1.0..1.0 + 1e-9).contains(&rise), "{steps:?} of {x}: {jump}");
                // no other one lies between
                let (lo, hi) = (x.min(jump), x.max(jump));
                assert!(hi - lo < 2e-3 || steps.at(lo + 1e-3) == steps.at(hi - 1e-3), "{steps:?} of {x}: {jump}");
            }
        }
    }

    #[test]
    fn jumps_are_bounded_even_where_terms_cancel() {
        let f = |k: f32, s: [f32; 2], o: [f32; 2]| {
            let wide = |v: [f32; 2]| v.map(f64::from).to_vec();
            let p = Pieces { kinks: vec![f64::from(k)], slopes: wide(s), offsets: wide(o), left_closed: vec![true] };
            p.value_jump((0, 1))
        };
        assert_eq!(f(6.0, [1.0, 0.0], [0.0, 6.0]), 0.0);
        assert_eq!(f(1.0, [0.0, 1.0], [0.0, 0.0]), 1.0);
        // 1·1e8 − 1e8 − 1e−30 is −1e−30, which binary64 loses next to 1e8
        let tiny = 1e-30f32;
        assert!(f(1e8, [1.0, 0.0], [tiny, 1e8]) >= f64::from(tiny));
        // what each addition loses counts once, and hardly more
        let (kink, slopes, offsets) = (0.1f32, [3.0f32, -2.0], [1e9f32, 0.7]);
        let wide = |v: f32| rug::Float::with_val(400, v);
        let exact = (wide(slopes[1]) - wide(slopes[0])) * wide(kink) + wide(offsets[1]) - wide(offsets[0]);
        let (bound, exact) = (f(kink, slopes, offsets), exact.abs());
        assert!(bound >= exact && bound <= exact.to_f64() * (1.0 + 1e-15), "{bound:e}");
    }
}
