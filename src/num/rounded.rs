//! [`Rounded`]: the reference runtime's arithmetic; every operation rounds to nearest in a format.

use super::{Arith, Elementary, Format, Pieces, Steps, Ties};
use rug::Float;
use rug::float::Round;

/// Correctly rounded arithmetic of a format with at most 24 bits, held in binary64.
///
/// Sum, product, quotient of two such numbers rounded first to binary64 and then to the format are
/// correctly rounded, since 53 ≥ 2·24 + 2 (Figueroa, "When is double rounding innocuous?", 1995).
#[derive(Clone, Copy, Debug)]
pub struct Rounded {
    /// The format.
    pub format: Format,
}

impl Rounded {
    /// Arithmetic of a format with p ≤ 24.
    pub fn new(format: Format) -> Rounded {
        assert!(format.p <= 24, "double rounding is innocuous up to 24 bits only");
        Rounded { format }
    }
}

/// A high-precision value rounded to a format once: first to odd in binary64, then to nearest.
///
/// Rounding to odd keeps the information on which side of a tie the value lies.
pub fn round_once(x: &Float, format: Format) -> f64 {
    let t = x.to_f64_round(Round::Zero);
    let odd = if Float::with_val(53, t) != *x && t.is_finite() { f64::from_bits(t.to_bits() | 1) } else { t };
    format.round(odd)
}

impl Arith for Rounded {
    type S = f64;

    fn constant(&self, x: f64) -> f64 {
        self.format.round(x)
    }

    fn neg(&self, a: &f64) -> f64 {
        -a
    }

    fn add(&self, a: &f64, b: &f64) -> f64 {
        self.format.round(a + b)
    }

    fn sub(&self, a: &f64, b: &f64) -> f64 {
        self.format.round(a - b)
    }

    fn mul(&self, a: &f64, b: &f64) -> f64 {
        self.format.round(a * b)
    }

    fn quotient(&self, a: &f64, b: &f64, _: f64) -> f64 {
        self.format.round(a / b)
    }

    fn root(&self, a: &f64, _: f64) -> f64 {
        self.apply(Elementary::Sqrt, a)
    }

    fn share(&self, a: &f64, total: &f64) -> f64 {
        self.div(a, total)
    }

    fn apply(&self, f: Elementary, a: &f64) -> f64 {
        if !a.is_finite() {
            return f64::NAN;
        }
        round_once(&f.eval(&Float::with_val(53, *a), 160), self.format)
    }

    fn sum<'a>(&self, terms: impl Iterator<Item = &'a f64>) -> f64 {
        terms.fold(0.0, |acc, t| self.add(&acc, t))
    }

    fn dot<'a>(&self, terms: impl Iterator<Item = (&'a f64, &'a f64)>, bias: Option<&f64>) -> f64 {
        let s = terms.fold(0.0, |acc, (a, b)| self.add(&acc, &self.mul(a, b)));
        bias.map_or(s, |b| self.add(&s, b))
    }

    fn piece_value(&self, p: &Pieces, a: &f64) -> f64 {
        let i = p.at(*a);
        let scaled = if p.slopes[i] == 0.0 { 0.0 } else { self.mul(&p.slopes[i], a) };
        if p.offsets[i] == 0.0 { scaled } else { self.add(&scaled, &p.offsets[i]) }
    }

    fn piece_slope(&self, p: &Pieces, a: &f64, ybar: &f64) -> f64 {
        match p.slopes[p.at(*a)] {
            0.0 => 0.0,
            s => self.mul(&s, ybar),
        }
    }

    fn step(&self, steps: Steps, a: &f64) -> f64 {
        steps.at(*a)
    }

    fn max(&self, xs: &[f64]) -> f64 {
        xs.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }

    fn max_vjp(&self, xs: &[f64], ties: Ties, ybar: &f64) -> Vec<f64> {
        let m = self.max(xs);
        let winners: Vec<usize> = (0..xs.len()).filter(|&i| xs[i] == m).collect();
        let mut out = vec![0.0; xs.len()];
        match ties {
            Ties::First => out[winners[0]] = *ybar,
            Ties::Split => {
                let share = self.div(ybar, &(winners.len() as f64));
                winners.iter().for_each(|&i| out[i] = share);
            }
        }
        out
    }
}
