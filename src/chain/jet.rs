//! [`Jets`]: values with [`LANES`] directional derivatives, in binary64.
//!
//! The textbook definitions, evaluated in this arithmetic, propagate derivatives forward through both
//! the forward and the backward pass, signs and all. At a gate the branch of the value counts.

use super::products;
use crate::num::arith::textbook;
use crate::num::{Arith, Elementary, Pieces, Ties};
use crate::ops::Smooth;

/// Directions carried at once.
pub const LANES: usize = 16;

/// A value and its derivatives in [`LANES`] directions.
#[derive(Clone, Copy, Debug)]
pub struct Jet {
    /// The value.
    pub value: f64,
    /// Is any derivative other than 0?
    pub live: bool,
    /// The derivatives.
    pub lanes: [f64; LANES],
}

impl Jet {
    /// A value that doesn't move.
    #[inline]
    pub const fn still(value: f64) -> Jet {
        Jet { value, live: false, lanes: [0.0; LANES] }
    }

    /// value, and Σ factor·derivatives over some jets.
    #[inline]
    fn moving(value: f64, parts: &[(f64, &Jet)]) -> Jet {
        let mut y = Jet::still(value);
        for (f, j) in parts {
            if j.live {
                y.live = true;
                for (t, s) in y.lanes.iter_mut().zip(&j.lanes) {
                    *t += f * s;
                }
            }
        }
        y
    }
}

/// The arithmetic of [`Jet`]s.
#[derive(Clone, Copy, Debug)]
pub struct Jets;

impl Arith for Jets {
    type S = Jet;

    fn constant(&self, x: f64) -> Jet {
        Jet::still(x)
    }

    fn neg(&self, a: &Jet) -> Jet {
        Jet::moving(-a.value, &[(-1.0, a)])
    }

    fn add(&self, a: &Jet, b: &Jet) -> Jet {
        Jet::moving(a.value + b.value, &[(1.0, a), (1.0, b)])
    }

    fn sub(&self, a: &Jet, b: &Jet) -> Jet {
        Jet::moving(a.value - b.value, &[(1.0, a), (-1.0, b)])
    }

    // d(ab) = b·da + a·db
    fn mul(&self, a: &Jet, b: &Jet) -> Jet {
        Jet::moving(a.value * b.value, &[(b.value, a), (a.value, b)])
    }

    // d(a/b) = (da − (a/b)·db)/b
    fn quotient(&self, a: &Jet, b: &Jet, _: f64) -> Jet {
        let q = a.value / b.value;
        Jet::moving(q, &[(1.0 / b.value, a), (-q / b.value, b)])
    }

    // d√a = da/(2√a)
    fn root(&self, a: &Jet, _: f64) -> Jet {
        let y = a.value.sqrt();
        Jet::moving(y, &[(0.5 / y, a)])
    }

    fn share(&self, a: &Jet, total: &Jet) -> Jet {
        self.div(a, total)
    }

    // what it adds to a derivative cancels
    fn shift(&self, xs: &[Jet]) -> Jet {
        Jet::still(xs[winners(xs)[0]].value)
    }

    fn apply(&self, f: Elementary, a: &Jet) -> Jet {
        let f = Smooth(f);
        let slope = if a.live { f.slope_kernel(a.value) } else { 0.0 };
        Jet::moving(f.kernel(a.value), &[(slope, a)])
    }

    fn sum<'a>(&self, terms: impl Iterator<Item = &'a Jet>) -> Jet {
        let mut y = Jet::still(0.0);
        for t in terms {
            y.value += t.value;
            if t.live {
                y.live = true;
                y.lanes.iter_mut().zip(&t.lanes).for_each(|(s, d)| *s += d);
            }
        }
        y
    }

    fn dot<'a>(&self, terms: impl Iterator<Item = (&'a Jet, &'a Jet)>, bias: Option<&Jet>) -> Jet {
        let mut y = Jet::still(bias.map_or(0.0, |b| b.value));
        if let Some(b) = bias.filter(|b| b.live) {
            (y.live, y.lanes) = (true, b.lanes);
        }
        for (a, b) in terms {
            y.value += a.value * b.value;
            if a.live {
                y.live = true;
                y.lanes.iter_mut().zip(&a.lanes).for_each(|(s, d)| *s += b.value * d);
            }
            if b.live {
                y.live = true;
                y.lanes.iter_mut().zip(&b.lanes).for_each(|(s, d)| *s += a.value * d);
            }
        }
        y
    }

    fn products<'a>(
        &self,
        size: (usize, usize, usize),
        left: impl Fn(usize, usize) -> Option<&'a Jet> + Sync,
        right: impl Fn(usize, usize) -> Option<&'a Jet> + Sync,
        bias: impl Fn(usize, usize) -> Option<&'a Jet> + Sync,
    ) -> Vec<Jet> {
        if products::pays(size) {
            products::jets(size, left, right, bias)
        } else {
            textbook(self, size, left, right, bias)
        }
    }

    fn piece_value(&self, p: &Pieces, a: &Jet) -> Jet {
        Jet::moving(p.value(a.value), &[(p.slopes[p.at(a.value)], a)])
    }

    fn piece_slope(&self, p: &Pieces, a: &Jet, ybar: &Jet) -> Jet {
        let slope = p.slopes[p.at(a.value)];
        Jet::moving(slope * ybar.value, &[(slope, ybar)])
    }

    fn max(&self, xs: &[Jet]) -> Jet {
        xs[winners(xs)[0]]
    }

    fn max_vjp(&self, xs: &[Jet], ties: Ties, ybar: &Jet) -> Vec<Jet> {
        let won = winners(xs);
        let mut out = vec![Jet::still(0.0); xs.len()];
        match ties {
            Ties::First => out[won[0]] = *ybar,
            Ties::Split => {
                let share = 1.0 / won.len() as f64;
                won.iter().for_each(|&i| out[i] = Jet::moving(share * ybar.value, &[(share, ybar)]));
            }
        }
        out
    }
}

/// All entries that attain the largest value.
fn winners(xs: &[Jet]) -> Vec<usize> {
    let m = xs.iter().fold(f64::NEG_INFINITY, |m, x| m.max(x.value));
    (0..xs.len()).filter(|&i| xs[i].value == m).collect()
}
