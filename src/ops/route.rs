//! # Route: gives each row's number to the row's winner
//!
//! ## Definition
//! y_{r,i} = g_r where i is the first entry with x_{r,i} = max_j x_{r,j}, else 0: the cotangent of a
//! maximum as a value of its own, which files with explicit gradient nodes compute (MaxPoolGrad).
//!
//! ## Algorithm
//! Comparison and copying only; nothing is rounded.
//!
//! ## VJP
//! ḡ_r is ȳ at the winner. In x the result is piecewise constant: x̄ = 0.
//!
//! ## Error
//! Where spec and covered runs certainly agree on the winner: e of g (of ȳ at the winner, for the
//! cotangent). Otherwise |g| + e for every entry that may win; for the cotangent the sum of |ȳ| + e over
//! two of them. Who may win is decided as for Max.
//!
//! ## Scale
//! Between 0 and g for every entry that may win; the cotangent lies in the hull of ȳ over them.
//!
//! ## Domain
//! Rows are not empty.
//!
//! ## References
//! The rules of Max, whose cotangent this is.

use super::{Approx, Bound, Max, PerOperand, RevNode, flat_rows, map_rows};
use crate::ir::{Array, Shaped, Tensor};
use crate::num::{Arith, Ball, Balls, Interval, Mag, Ties};

/// Operands: rows x [.., n] and one number g [..] for each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Route;

const MAX: Max = Max { ties: Ties::First };

impl Shaped for Route {
    fn infer(&self, operands: &[&[usize]]) -> Result<Vec<usize>, String> {
        let [x, g] = operands else { return Err(format!("{} operands given, 2 required", operands.len())) };
        let rows = MAX.infer(&[*x])?;
        if rows != *g {
            return Err(format!("numbers of shape {g:?} for rows of shape {x:?}"));
        }
        Ok(x.to_vec())
    }
}

/// The first entry that attains the maximum.
fn winner(row: &[f32]) -> usize {
    (1..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best })
}

/// The winner of a row whose route is agreed: this run's, or, where no run is looked at, the first of those that
/// may win.
// agreed about every run: one may win, or all that may are exact and therefore equal
fn agreed(x: &Approx, r: usize, open: &[usize]) -> usize {
    let n = x.row_len();
    if x.run_only() { winner(&x.run[r * n..(r + 1) * n]) } else { open[0] }
}

impl Route {
    /// The first winner of each row as the enclosures show it.
    pub(crate) fn gates(&self, balls: &Balls, x: &Array<Ball>) -> Vec<u32> {
        MAX.gates(balls, x)
    }

    /// Rows that spec and covered runs may route differently.
    pub(crate) fn undecided(&self, x: &Approx, y: &Approx) -> Vec<u32> {
        let rows = x.len() / x.row_len();
        (0..rows).filter(|&r| !MAX.outcome(x, y, r).1).map(|r| r as u32).collect()
    }

    /// The first winner of each row of a run.
    pub(crate) fn run_gates(&self, x: &Tensor) -> Vec<u32> {
        MAX.run_gates(x)
    }
}

impl RevNode for Route {
    fn forward_spec<A: Arith>(&self, a: &A, x: &[&Array<A::S>]) -> Array<A::S> {
        let n = x[0].row_len();
        let row = |r: usize| a.max_vjp(&x[0].data[r * n..(r + 1) * n], Ties::First, &x[1].data[r]);
        Array::new(x[0].shape.clone(), flat_rows(x[1].data.len(), row))
    }

    fn vjp_spec<A: Arith>(
        &self,
        a: &A,
        x: &[&Array<A::S>],
        _: &Array<A::S>,
        ybar: &Array<A::S>,
        wanted: &[bool],
    ) -> PerOperand<Array<A::S>> {
        let n = x[0].row_len();
        let none = Array::new(x[0].shape.clone(), vec![a.constant(0.0); x[0].data.len()]);
        // Σ_i [i wins]·ȳ_i
        let row = |r: usize| {
            let won = a.max_vjp(&x[0].data[r * n..(r + 1) * n], Ties::First, &a.constant(1.0));
            let parts: Vec<A::S> = won.iter().zip(&ybar.data[r * n..]).map(|(w, y)| a.mul(w, y)).collect();
            a.sum(parts.iter())
        };
        let g = Array::new(x[1].shape.clone(), map_rows(x[1].data.len(), row));
        vec![wanted[0].then_some(none), wanted[1].then_some(g)]
    }

    fn forward_runtime(&self, x: &[&Tensor]) -> Tensor {
        let n = x[0].row_len();
        let row = |r: usize| {
            let mut out = vec![0.0; n];
            out[winner(&x[0].data[r * n..(r + 1) * n])] = x[1].data[r];
            out
        };
        Array::new(x[0].shape.clone(), flat_rows(x[1].data.len(), row))
    }

    fn vjp_runtime(&self, x: &[&Tensor], _: &Tensor, ybar: &Tensor, wanted: &[bool]) -> PerOperand<Tensor> {
        let n = x[0].row_len();
        let none = Tensor::filled(&x[0].shape, 0.0);
        let row = |r: usize| ybar.data[r * n + winner(&x[0].data[r * n..(r + 1) * n])];
        let g = Array::new(x[1].shape.clone(), map_rows(x[1].data.len(), row));
        vec![wanted[0].then_some(none), wanted[1].then_some(g)]
    }

    fn forward_bound(&self, x: &[Approx], y: &Approx) -> Bound {
        let (n, g) = (x[0].row_len(), &x[1]);
        let row = |r: usize| {
            let mut out = vec![Mag::ZERO; n];
            match MAX.outcome(&x[0], y, r) {
                (open, true) => out[agreed(&x[0], r, &open)] = g.eps[r],
                (open, false) => open.iter().for_each(|&i| out[i] = g.mag(r) + g.eps[r]),
            }
            out
        };
        Bound::exact(flat_rows(g.len(), row))
    }

    fn vjp_bound(&self, x: &[Approx], y: &Approx, ybar: &Approx, wanted: &[bool]) -> PerOperand<Bound> {
        let n = x[0].row_len();
        let row = |r: usize| {
            let at = |i: usize| r * n + i;
            match MAX.outcome(&x[0], y, r) {
                (open, true) => ybar.eps[at(agreed(&x[0], r, &open))],
                // |ȳ_i − ȳ_j| of two different winners, each within its error
                (open, false) => {
                    let most = open.iter().fold(Mag::ZERO, |m, &i| m.max(ybar.mag(at(i)) + ybar.eps[at(i)]));
                    most + most
                }
            }
        };
        let g = Bound::exact(map_rows(x[1].len(), row));
        vec![wanted[0].then(|| Bound::exact(vec![Mag::ZERO; x[0].len()])), wanted[1].then_some(g)]
    }

    fn forward_scale(&self, x: &[&Array<Interval>]) -> Array<Interval> {
        let n = x[0].row_len();
        let row = |r: usize| {
            let open = super::max::candidates(n, |i| x[0].data[r * n + i]);
            let mut out = vec![Interval::ZERO; n];
            for &i in &open {
                out[i] = if open.len() == 1 { x[1].data[r] } else { x[1].data[r].hull(Interval::ZERO) };
            }
            out
        };
        Array::new(x[0].shape.clone(), flat_rows(x[1].data.len(), row))
    }

    fn vjp_scale(
        &self,
        x: &[&Array<Interval>],
        _: &Array<Interval>,
        ybar: &Array<Interval>,
        wanted: &[bool],
    ) -> PerOperand<Array<Interval>> {
        let n = x[0].row_len();
        let row = |r: usize| {
            let open = super::max::candidates(n, |i| x[0].data[r * n + i]);
            open[1..].iter().fold(ybar.data[r * n + open[0]], |h, &i| h.hull(ybar.data[r * n + i]))
        };
        let none = Array::new(x[0].shape.clone(), vec![Interval::ZERO; x[0].data.len()]);
        let g = Array::new(x[1].shape.clone(), map_rows(x[1].data.len(), row));
        vec![wanted[0].then_some(none), wanted[1].then_some(g)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_winner_gets_the_number_as_max_hands_out_cotangents() {
        let x = Tensor::new(vec![2, 3], vec![1.0, 3.0, 3.0, -1.0, -2.0, -0.0]);
        let g = Tensor::new(vec![2], vec![5.0, 7.0]);
        let y = Route.forward_runtime(&[&x, &g]);
        assert_eq!(y.data, [0.0, 5.0, 0.0, 0.0, 0.0, 7.0]);
        let top = MAX.forward_runtime(&[&x]);
        assert_eq!(MAX.vjp_runtime(&[&x], &top, &g, &[true])[0].as_ref(), Some(&y));
        let back = Route.vjp_runtime(&[&x, &g], &y, &x, &[true, true]);
        assert_eq!(back[1].as_ref().map(|t| t.data.to_vec()), Some(vec![3.0, -0.0]));
        assert!(Route.infer(&[&[2, 3], &[3]]).is_err());
    }
}
