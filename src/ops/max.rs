//! # Max: the largest entry of the last dimension
//!
//! ## Definition
//! y_r = max_i x_{r,i}. Max pooling reads its windows by a Gather; a minimum is −max(−x).
//!
//! ## Algorithm
//! Comparison only; nothing is rounded.
//!
//! ## VJP
//! ȳ goes to the winner. Entries that tie exactly: the first one (max pooling), or equal parts
//! (reductions and elementwise maximum), as the node says.
//!
//! ## Error
//! Forward: carried max e_j over all entries that may win. Cotangent: where spec and covered runs
//! certainly agree on the winner, e of ȳ; otherwise |ȳ| + e for every entry that may win. For this run
//! the enclosures show who wins in the spec; for every run the winner's lead must exceed e_w + e_j.
//!
//! ## Scale
//! [max lo, max hi]; cotangents between 0 and ȳ for every entry that may win.
//!
//! ## Domain
//! Rows are not empty.
//!
//! ## References
//! ONNX MaxPool (first index wins); method: a gate is decided or charged.

use super::approx::UNKNOWN_GATE;
use super::{Approx, Bound, PerOperand, RevNode, flat_rows, map_rows, rows_of};
use crate::ir::{Array, Shaped, Tensor};
use crate::num::{Arith, Ball, Balls, Interval, Mag, Ties, lemma, parallel};

/// The largest entry of each row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Max {
    /// Who gets the cotangent among equals.
    pub ties: Ties,
}

impl Shaped for Max {
    fn infer(&self, operands: &[&[usize]]) -> Result<Vec<usize>, String> {
        let s = rows_of(operands)?;
        Ok(s[..s.len() - 1].to_vec())
    }
}

/// Indices that attain the maximum of a row of numbers.
fn winners(row: &[f32]) -> impl Iterator<Item = usize> + Clone + '_ {
    let m = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    (0..row.len()).filter(move |&i| row[i] == m)
}

/// The first winner of a row of numbers, as [`Max::gates`] writes it.
fn gate(row: &[f32]) -> u32 {
    let mut won = winners(row);
    won.next().map_or(UNKNOWN_GATE, |w| w as u32 | if won.next().is_some() { SHARED } else { 0 })
}

/// Indices that may attain the maximum, when entry i lies somewhere in `row(i)`.
pub(super) fn candidates(n: usize, row: impl Fn(usize) -> Interval) -> Vec<usize> {
    let lead = (0..n).map(|i| row(i).lo).fold(f64::NEG_INFINITY, f64::max);
    (0..n).filter(|&i| row(i).hi >= lead).collect()
}

/// The winner shares its place with exactly equal others.
pub(crate) const SHARED: u32 = 1 << 31;

impl Max {
    /// The first winner of each row as the enclosures show it, or [`UNKNOWN_GATE`].
    pub(crate) fn gates(&self, balls: &Balls, x: &Array<Ball>) -> Vec<u32> {
        let n = x.row_len();
        map_rows(x.data.len() / n, |r| match balls.winners(&x.data[r * n..(r + 1) * n]) {
            None => UNKNOWN_GATE,
            Some(won) => won[0] as u32 | if won.len() > 1 { SHARED } else { 0 },
        })
    }

    /// Rows whose cotangent spec and covered runs may route differently.
    pub(crate) fn undecided(&self, x: &Approx, y: &Approx) -> Vec<u32> {
        (0..y.len()).filter(|&r| !self.outcome(x, y, r).1).map(|r| r as u32).collect()
    }

    /// The first winner of each row of a run, as [`Max::gates`] writes it.
    pub(crate) fn run_gates(&self, x: &Tensor) -> Vec<u32> {
        let n = x.row_len();
        map_rows(x.data.len() / n, |r| gate(&x.data[r * n..(r + 1) * n]))
    }

    /// Who may win, and whether spec and covered runs certainly route the cotangent alike.
    pub(super) fn outcome(&self, x: &Approx, y: &Approx, r: usize) -> (Vec<usize>, bool) {
        let n = x.row_len();
        let at = |i: usize| r * n + i;
        let open = candidates(n, |i| x.hull(at(i)));
        let exact = |i: &usize| x.eps[at(*i)].is_zero() && x.spec[at(*i)].lo == x.spec[at(*i)].hi;
        if open.len() == 1 || open.iter().all(exact) {
            return (open, true);
        }
        // Compare this run's winner with the spec's; shared places agree for the first one only.
        let agreed = x.run_only() && y.gates[r] != UNKNOWN_GATE && {
            let run = gate(&x.run[r * n..(r + 1) * n]);
            let shared = (y.gates[r] | run) & SHARED != 0;
            run & !SHARED == y.gates[r] & !SHARED && (self.ties == Ties::First || !shared)
        };
        (open, agreed)
    }
}

impl RevNode for Max {
    fn forward_spec<A: Arith>(&self, a: &A, x: &[&Array<A::S>]) -> Array<A::S> {
        let n = x[0].row_len();
        let shape = x[0].shape[..x[0].shape.len() - 1].to_vec();
        Array::new(shape, map_rows(x[0].data.len() / n, |r| a.max(&x[0].data[r * n..(r + 1) * n])))
    }

    fn vjp_spec<A: Arith>(
        &self,
        a: &A,
        x: &[&Array<A::S>],
        _: &Array<A::S>,
        ybar: &Array<A::S>,
        _: &[bool],
    ) -> PerOperand<Array<A::S>> {
        let n = x[0].row_len();
        let row = |r: usize| a.max_vjp(&x[0].data[r * n..(r + 1) * n], self.ties, &ybar.data[r]);
        vec![Some(Array::new(x[0].shape.clone(), flat_rows(ybar.data.len(), row)))]
    }

    fn forward_runtime(&self, x: &[&Tensor]) -> Tensor {
        let n = x[0].row_len();
        let shape = x[0].shape[..x[0].shape.len() - 1].to_vec();
        let largest = |r: usize| x[0].data[r * n..(r + 1) * n].iter().copied().fold(f32::NEG_INFINITY, f32::max);
        Array::new(shape, map_rows(x[0].data.len() / n, largest))
    }

    fn vjp_runtime(&self, x: &[&Tensor], _: &Tensor, ybar: &Tensor, _: &[bool]) -> PerOperand<Tensor> {
        let n = x[0].row_len();
        let row = |r: usize, out: &mut [f32]| {
            let won = winners(&x[0].data[r * n..(r + 1) * n]);
            match self.ties {
                Ties::First => won.take(1).for_each(|i| out[i] = ybar.data[r]),
                Ties::Split => {
                    let share = ybar.data[r] / won.clone().count() as f32;
                    won.for_each(|i| out[i] = share);
                }
            }
        };
        let data = parallel::lines(ybar.data.len(), n, 0.0, (1 << 12) / n + 1, row);
        vec![Some(Array::new(x[0].shape.clone(), data))]
    }

    fn forward_bound(&self, x: &[Approx], y: &Approx) -> Bound {
        let n = x[0].row_len();
        let carried = |r: usize| {
            let (open, _) = self.outcome(&x[0], y, r);
            open.iter().fold(Mag::ZERO, |m, &i| m.max(x[0].eps[r * n + i]))
        };
        Bound::exact(map_rows(y.len(), carried))
    }

    fn vjp_bound(&self, x: &[Approx], y: &Approx, ybar: &Approx, _: &[bool]) -> PerOperand<Bound> {
        let n = x[0].row_len();
        let row = |r: usize| {
            let mut out = vec![(Mag::ZERO, Mag::ZERO); n];
            let (open, agreed) = self.outcome(&x[0], y, r);
            if !agreed {
                for i in open {
                    // any share between 0 and 1 on either side: |ȳ| + e
                    out[i] = (ybar.mag(r) + ybar.eps[r], lemma::rounding(ybar.run_mag(r)));
                }
                return out;
            }
            // This run knows its winners; of every run it is known that all of `open` are exact or one.
            let won = if ybar.run_only() { winners(&x[0].run[r * n..(r + 1) * n]).collect() } else { open };
            match self.ties {
                Ties::First => out[won[0]] = (ybar.eps[r], Mag::ZERO),
                Ties::Split => {
                    let d = won.len() as f64;
                    let local = if won.len() == 1 {
                        Mag::ZERO
                    } else {
                        lemma::monomial(2, ybar.run_mag(r).div_lower(d), Mag::ZERO)
                    };
                    won.iter().for_each(|&i| out[i] = (ybar.eps[r].div_lower(d), local));
                }
            }
            out
        };
        vec![Some(Bound::of_pairs(flat_rows(y.len(), row)))]
    }

    fn forward_scale(&self, x: &[&Array<Interval>]) -> Array<Interval> {
        let n = x[0].row_len();
        let shape = x[0].shape[..x[0].shape.len() - 1].to_vec();
        let range = |r: usize| {
            let row = &x[0].data[r * n..(r + 1) * n];
            let (lo, hi) =
                row.iter().fold((f64::NEG_INFINITY, f64::NEG_INFINITY), |(l, h), i| (i.lo.max(l), i.hi.max(h)));
            Interval::new(lo, hi)
        };
        Array::new(shape, map_rows(x[0].data.len() / n, range))
    }

    fn vjp_scale(
        &self,
        x: &[&Array<Interval>],
        _: &Array<Interval>,
        ybar: &Array<Interval>,
        _: &[bool],
    ) -> PerOperand<Array<Interval>> {
        let n = x[0].row_len();
        let row = |r: usize| {
            let open = candidates(n, |i| x[0].data[r * n + i]);
            let mut out = vec![Interval::ZERO; n];
            for &i in &open {
                out[i] = if open.len() == 1 { ybar.data[r] } else { ybar.data[r].hull(Interval::ZERO) };
            }
            out
        };
        vec![Some(Array::new(x[0].shape.clone(), flat_rows(ybar.data.len(), row)))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: Max = Max { ties: Ties::First };

    #[test]
    fn gates_name_the_first_winner_and_whether_it_shares_its_place() {
        let x = Tensor::new(vec![3, 3], vec![1.0, 3.0, 2.0, 5.0, -1.0, 5.0, -2.0, -3.0, -4.0]);
        assert_eq!(MAX.run_gates(&x), [1, SHARED, 0]);
        let balls = Balls::new(64);
        let ball = |m: f32, rad: f64| Ball { rad: Mag::of(rad), ..Ball::exact(f64::from(m)) };
        let all = |rad: f64| Array::new(x.shape.clone(), x.data.iter().map(|&m| ball(m, rad)).collect());
        assert_eq!(MAX.gates(&balls, &all(0.0)), [1, SHARED, 0]);
        // known to a quarter: equal ones can't be told apart; to a half and more, neighbours can't either
        assert_eq!(MAX.gates(&balls, &all(0.25)), [1, UNKNOWN_GATE, 0]);
        assert_eq!(MAX.gates(&balls, &all(0.625)), [UNKNOWN_GATE; 3]);
    }

    /// This run's row, enclosures of the spec's, and whether both route alike.
    fn routed(ties: Ties, centre: crate::ops::Centre, run: &[f32], eps: f64, gate: u32) -> (Vec<usize>, bool) {
        let (shape, gates) = ([1, run.len()], [gate]);
        let spec: Vec<Interval> = run.iter().map(|&v| Interval::point(f64::from(v)).widen(Mag::of(eps))).collect();
        let eps = vec![Mag::of(eps); run.len()];
        let x = Approx { shape: &shape, run, spec: &spec, eps: &eps, centre, measured: false, gates: &[] };
        let y = Approx { shape: &[1], run: &[0.0], spec: &[Interval::ZERO], gates: &gates, ..x };
        let max = Max { ties };
        let found = max.outcome(&x, &y, 0);
        assert_eq!(max.undecided(&x, &y), if found.1 { vec![] } else { vec![0] });
        found
    }

    #[test]
    fn a_route_is_agreed_where_one_may_win_or_both_winners_are_known() {
        use crate::ops::Centre::{Run, Spec};
        let (far, near) = ([1.0, 3.0, 2.0], [1.0, 3.0, 2.875]);
        for centre in [Run, Spec] {
            assert_eq!(routed(Ties::First, centre, &far, 0.125, UNKNOWN_GATE), (vec![1], true));
            // equal but exact: everybody sees the same
            assert_eq!(routed(Ties::Split, centre, &[3.0, 1.0, 3.0], 0.0, UNKNOWN_GATE), (vec![0, 2], true));
            assert_eq!(routed(Ties::First, centre, &near, 0.125, UNKNOWN_GATE), (vec![1, 2], false));
        }
        // this run's winner is the spec's, or isn't; of every run nothing is known
        assert_eq!(routed(Ties::First, Run, &near, 0.125, 1), (vec![1, 2], true));
        assert_eq!(routed(Ties::First, Run, &near, 0.125, 2), (vec![1, 2], false));
        assert_eq!(routed(Ties::First, Spec, &near, 0.125, 1), (vec![1, 2], false));
        // shared places: the first one is who it is, equal parts may be of more or fewer
        assert_eq!(routed(Ties::First, Run, &near, 0.125, 1 | SHARED), (vec![1, 2], true));
        assert_eq!(routed(Ties::Split, Run, &near, 0.125, 1 | SHARED), (vec![1, 2], false));
        assert_eq!(routed(Ties::Split, Run, &near, 0.125, 1), (vec![1, 2], true));
        assert_eq!(routed(Ties::Split, Run, &[1.0, 3.0, 3.0], 0.125, 1), (vec![1, 2], false));
    }

    /// Carried and local errors of a row's cotangent: ȳ = 1.5, off by 1/4 at most.
    fn cotangent(ties: Ties, centre: crate::ops::Centre, run: &[f32], eps: f64) -> Vec<(f64, f64)> {
        let shape = [1, run.len()];
        let spec: Vec<Interval> = run.iter().map(|&v| Interval::point(f64::from(v)).widen(Mag::of(eps))).collect();
        let eps = vec![Mag::of(eps); run.len()];
        let x = Approx { shape: &shape, run, spec: &spec, eps: &eps, centre, measured: false, gates: &[] };
        let y = Approx { shape: &[1], run: &[0.0], spec: &[Interval::ZERO], gates: &[UNKNOWN_GATE], ..x };
        let bar = Approx { run: &[1.5], spec: &[Interval::point(1.5)], eps: &[Mag::power_of_two(-2)], gates: &[], ..y };
        let b = Max { ties }.vjp_bound(&[x], &y, &bar, &[true]).swap_remove(0).expect("asked for");
        b.carried.iter().zip(&b.local).map(|(c, l)| (c.get(), l.get())).collect()
    }

    #[test]
    fn errors_of_cotangents_are_the_written_formulas() {
        use crate::ops::Centre::{Run, Spec};
        let (u, half_eta) = (2f64.powi(-24), 2f64.powi(-150));
        let near = |x: f64, y: f64| x >= y && x <= y * (1.0 + 1e-14);
        let none = (0.0, 0.0);
        // |ȳ| of covered runs
        for (centre, most) in [(Run, 1.5), (Spec, 1.75)] {
            // ȳ to the winner, unrounded
            assert_eq!(cotangent(Ties::First, centre, &[1.0, 3.0, 2.0], 0.125), [none, (0.25, 0.0), none]);
            let one = &cotangent(Ties::Split, centre, &[1.0, 3.0, 2.0], 0.125);
            assert!(near(one[1].0, 0.25) && one[1].1 == 0.0 && one[0] == none && one[2] == none, "{one:?}");
            assert_eq!(cotangent(Ties::First, centre, &[3.0, 1.0, 3.0], 0.0), [(0.25, 0.0), none, none]);
            // ȳ/2 to both, in two roundings: e/2, ((1+u)² − 1)·|ȳ|/2 + 2·(η/2)
            let half = &cotangent(Ties::Split, centre, &[3.0, 1.0, 3.0], 0.0);
            let local = (2.0 * u + 4.0 * u * u) * most / 2.0 + 2.0 * half_eta * 1.001;
            assert!(near(half[0].0, 0.125) && near(half[0].1, local) && half[0] == half[2], "{half:?}");
            assert_eq!(half[1], none);
            // nobody knows who wins: |ȳ| + e to each that may, and a rounding
            let open = &cotangent(Ties::First, centre, &[1.0, 3.0, 2.875], 0.125);
            let local = u * most + half_eta;
            assert!(near(open[1].0, 1.75) && near(open[1].1, local) && open[1] == open[2], "{open:?}");
            assert_eq!(open[0], none);
        }
    }
}
