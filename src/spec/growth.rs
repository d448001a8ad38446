//! [`Growth`]: how far one rounding at every operation would carry, to first order.
//!
//! Evaluated in this arithmetic, the definitions say how large the radii of balls of p bits become, in
//! units of 2^−p: |∂|·error of every operand, absolute values everywhere as balls take them, plus the
//! result's own size. It only guides the choice of a precision; nothing rests on it.

use crate::num::matmul::{View, matmul_f64};
use crate::num::{Arith, Elementary, Pieces, Steps, Ties, parallel};
use crate::ops::Smooth;

/// A value and its error in units of the rounding unit.
#[derive(Clone, Copy, Debug)]
pub struct Grown {
    /// The value, in binary64.
    pub value: f64,
    /// First-order error.
    pub error: f64,
}

impl Grown {
    /// A result with what its operands carry and its own rounding.
    fn of(value: f64, carried: f64) -> Grown {
        Grown { value, error: carried + value.abs() }
    }
}

/// The arithmetic of [`Grown`].
#[derive(Clone, Copy, Debug)]
pub struct Growth;

/// Numbers in a packed factor, at most (unless one column has more).
const PACKED: usize = 1 << 20;

fn packed<'a>(
    rows: usize,
    cols: usize,
    entry: impl Fn(usize, usize) -> Option<&'a Grown> + Sync,
) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let one = |g: &Grown| (g.value, g.value.abs(), g.error);
    let all: Vec<(f64, f64, f64)> =
        parallel::map(rows * cols, 1 << 10, |at| entry(at / cols, at % cols).map_or((0.0, 0.0, 0.0), one));
    (all.iter().map(|a| a.0).collect(), all.iter().map(|a| a.1).collect(), all.iter().map(|a| a.2).collect())
}

impl Arith for Growth {
    type S = Grown;

    fn constant(&self, x: f64) -> Grown {
        Grown { value: x, error: 0.0 }
    }

    fn neg(&self, a: &Grown) -> Grown {
        Grown { value: -a.value, error: a.error }
    }

    fn add(&self, a: &Grown, b: &Grown) -> Grown {
        Grown::of(a.value + b.value, a.error + b.error)
    }

    fn sub(&self, a: &Grown, b: &Grown) -> Grown {
        Grown::of(a.value - b.value, a.error + b.error)
    }

    fn mul(&self, a: &Grown, b: &Grown) -> Grown {
        Grown::of(a.value * b.value, a.value.abs() * b.error + a.error * b.value.abs())
    }

    fn quotient(&self, a: &Grown, b: &Grown, _: f64) -> Grown {
        let q = a.value / b.value;
        Grown::of(q, (a.error + q.abs() * b.error) / b.value.abs())
    }

    fn root(&self, a: &Grown, _: f64) -> Grown {
        let y = a.value.sqrt();
        Grown::of(y, if a.error == 0.0 { 0.0 } else { a.error * 0.5 / y })
    }

    fn share(&self, a: &Grown, total: &Grown) -> Grown {
        self.div(a, total)
    }

    fn apply(&self, f: Elementary, a: &Grown) -> Grown {
        let f = Smooth(f);
        Grown::of(f.kernel(a.value), if a.error == 0.0 { 0.0 } else { a.error * f.slope_kernel(a.value).abs() })
    }

    fn sum<'a>(&self, terms: impl Iterator<Item = &'a Grown>) -> Grown {
        terms.fold(Grown { value: 0.0, error: 0.0 }, |s, t| self.add(&s, t))
    }

    fn dot<'a>(&self, terms: impl Iterator<Item = (&'a Grown, &'a Grown)>, bias: Option<&Grown>) -> Grown {
        let start = bias.copied().unwrap_or(Grown { value: 0.0, error: 0.0 });
        let s = terms.fold(start, |s, (a, b)| Grown {
            value: s.value + a.value * b.value,
            error: s.error + a.value.abs() * b.error + a.error * b.value.abs(),
        });
        Grown::of(s.value, s.error)
    }

    fn products<'a>(
        &self,
        (m, n, k): (usize, usize, usize),
        left: impl Fn(usize, usize) -> Option<&'a Grown> + Sync,
        right: impl Fn(usize, usize) -> Option<&'a Grown> + Sync,
        bias: impl Fn(usize, usize) -> Option<&'a Grown> + Sync,
    ) -> Vec<Grown> {
        if m < 4 || n < 4 || k < 4 {
            return crate::num::arith::textbook(self, (m, n, k), left, right, bias);
        }
        let a = packed(m, k, &left);
        let mut out = vec![Grown { value: 0.0, error: 0.0 }; m * n];
        let width = (PACKED / k).clamp(1, n);
        for j0 in (0..n).step_by(width) {
            let w = width.min(n - j0);
            let b = packed(k, w, |l, j| right(l, j0 + j));
            let product = |x: &[f64], y: &[f64]| matmul_f64(View::rows(x, k), View::rows(y, w), m, w, k);
            let (value, by_right, by_left) = (product(&a.0, &b.0), product(&a.1, &b.2), product(&a.2, &b.1));
            parallel::chunks(&mut out, n, 1, |i, row| {
                for (j, y) in row[j0..j0 + w].iter_mut().enumerate() {
                    let at = i * w + j;
                    let (c, e) = bias(i, j0 + j).map_or((0.0, 0.0), |b| (b.value, b.error));
                    *y = Grown::of(value[at] + c, by_right[at] + by_left[at] + e);
                }
            });
        }
        out
    }

    fn piece_value(&self, p: &Pieces, a: &Grown) -> Grown {
        Grown { value: p.value(a.value), error: a.error * p.slopes[p.at(a.value)].abs() }
    }

    fn piece_slope(&self, p: &Pieces, a: &Grown, ybar: &Grown) -> Grown {
        let slope = p.slopes[p.at(a.value)];
        Grown { value: slope * ybar.value, error: slope.abs() * ybar.error }
    }

    fn step(&self, steps: Steps, a: &Grown) -> Grown {
        Grown { value: steps.at(a.value), error: 0.0 }
    }

    fn max(&self, xs: &[Grown]) -> Grown {
        xs.iter().copied().reduce(|m, x| if x.value > m.value { x } else { m }).expect("rows are not empty")
    }

    fn max_vjp(&self, xs: &[Grown], ties: Ties, ybar: &Grown) -> Vec<Grown> {
        let top = self.max(xs).value;
        let won = xs.iter().filter(|x| x.value == top).count();
        let first = xs.iter().position(|x| x.value == top);
        let share = match ties {
            Ties::First => 1.0,
            Ties::Split => 1.0 / won as f64,
        };
        let gets = |i: usize, x: &Grown| match ties {
            Ties::First => Some(i) == first,
            Ties::Split => x.value == top,
        };
        let none = Grown { value: 0.0, error: 0.0 };
        let some = Grown { value: share * ybar.value, error: share * ybar.error };
        xs.iter().enumerate().map(|(i, x)| if gets(i, x) { some } else { none }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Grown = Grown { value: 1.5, error: 0.75 };
    const B: Grown = Grown { value: -2.5, error: 3.0 };
    const C: Grown = Grown { value: 0.25, error: 0.0 };

    /// A value and its error, to the last bits of binary64.
    fn is(what: &str, g: Grown, value: f64, error: f64) {
        let near = |x: f64, y: f64| (x - y).abs() <= 1e-14 * y.abs();
        assert!(near(g.value, value) && near(g.error, error), "{what}: {g:?} for {value} and {error}");
    }

    #[test]
    fn errors_are_the_derivatives_times_those_of_the_operands_and_the_size_of_the_result() {
        let g = Growth;
        is("a constant", g.constant(-3.0), -3.0, 0.0);
        is("−x", g.neg(&B), 2.5, 3.0);
        is("x + y", g.add(&A, &B), -1.0, 0.75 + 3.0 + 1.0);
        is("x − y", g.sub(&A, &B), 4.0, 0.75 + 3.0 + 4.0);
        is("xy", g.mul(&A, &B), -3.75, 1.5 * 3.0 + 0.75 * 2.5 + 3.75);
        // (e_x + |x/y|·e_y)/|y|
        is("x/y", g.quotient(&A, &B, 0.0), -0.6, (0.75 + 0.6 * 3.0) / 2.5 + 0.6);
        is("a share", g.share(&A, &B), -0.6, (0.75 + 0.6 * 3.0) / 2.5 + 0.6);
        // e/(2√x); nothing of nothing, even at 0
        let root = 1.5f64.sqrt();
        is("√x", g.root(&A, 0.0), root, 0.75 / (2.0 * root) + root);
        is("√0", g.root(&g.constant(0.0), 0.0), 0.0, 0.0);
        is("exp", g.apply(Elementary::Exp, &A), 1.5f64.exp(), 1.5f64.exp() * 1.75);
        is("exp of a constant", g.apply(Elementary::Exp, &C), 0.25f64.exp(), 0.25f64.exp());
        // every partial sum is rounded
        is("a sum", g.sum([A, B, C].iter()), -0.75, 0.75 + 3.0 + 1.5 + 1.0 + 0.75);
        let both = 1.5 * 3.0 + 0.75 * 2.5 + 0.25 * 3.0;
        is("a dot product", g.dot([(&A, &B), (&C, &B)].into_iter(), None), -4.375, both + 4.375);
        is("with a bias", g.dot([(&A, &B), (&C, &B)].into_iter(), Some(&A)), -2.875, both + 0.75 + 2.875);
    }

    #[test]
    fn large_products_are_dot_products() {
        let (m, n, k) = (5, 4, 6);
        let make = |len: usize, s: f64| -> Vec<Grown> {
            (0..len).map(|i| Grown { value: ((i as f64 + s) * 1.7).sin(), error: i as f64 / 8.0 + s }).collect()
        };
        let (a, b, c) = (make(m * k, 0.5), make(k * n, 2.0), make(m * n, 1.0));
        // an entry that isn't there is 0
        let left = |i: usize, l: usize| (i != 3 || l != 2).then(|| &a[i * k + l]);
        let right = |l: usize, j: usize| Some(&b[l * n + j]);
        for with in [false, true] {
            let bias = |i: usize, j: usize| with.then(|| &c[i * n + j]);
            let all = Growth.products((m, n, k), left, right, bias);
            for (at, found) in all.iter().enumerate() {
                let (i, j) = (at / n, at % n);
                let terms = (0..k).filter_map(|l| Some((left(i, l)?, right(l, j)?)));
                let one = Growth.dot(terms, bias(i, j));
                let near = |x: f64, y: f64| (x - y).abs() <= 1e-13 * (1.0 + y.abs());
                assert!(near(found.value, one.value) && near(found.error, one.error), "{i} {j}: {found:?} for {one:?}");
            }
        }
    }

    #[test]
    fn gates_follow_the_value() {
        let g = Growth;
        let p = Pieces { kinks: vec![0.0], slopes: vec![-0.5, 3.0], offsets: vec![1.0, 1.0], left_closed: vec![true] };
        is("right of a kink", g.piece_value(&p, &A), 5.5, 3.0 * 0.75);
        is("left of it", g.piece_value(&p, &B), 2.25, 0.5 * 3.0);
        is("the slope", g.piece_slope(&p, &B, &A), -0.75, 0.5 * 0.75);
        is("steps", g.step(Steps::Floor, &A), 1.0, 0.0);
        is("the largest", g.max(&[C, A, B]), 1.5, 0.75);
        let all = |xs: &[Grown], ties| -> Vec<(f64, f64)> {
            g.max_vjp(xs, ties, &B).iter().map(|g| (g.value, g.error)).collect()
        };
        let (none, whole, half) = ((0.0, 0.0), (-2.5, 3.0), (-1.25, 1.5));
        assert_eq!(all(&[C, A, B, A], Ties::First), [none, whole, none, none]);
        assert_eq!(all(&[C, A, B, A], Ties::Split), [none, half, none, half]);
        assert_eq!(all(&[C, A, B], Ties::Split), [none, whole, none]);
    }
}
