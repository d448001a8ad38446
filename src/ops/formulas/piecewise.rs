//! The formulas of piecewise linear functions.

use super::*;
use crate::num::Pieces;
use crate::ops::piecewise::Piecewise;

/// u|x| + η/2 further on both sides.
fn rounded(x: (Real, Real)) -> (Real, Real) {
    let more = rounding(&x.0.abs().max(x.1.abs()));
    (x.0 - &more, x.1 + &more)
}

/// s·[lo, hi].
fn scaled(s: f64, x: &(Real, Real)) -> (Real, Real) {
    if s < 0.0 { (&x.1 * s, &x.0 * s) } else { (&x.0 * s, &x.1 * s) }
}

fn hull(a: (Real, Real), b: (Real, Real)) -> (Real, Real) {
    (a.0.min(b.0), a.1.max(b.1))
}

impl Piecewise {
    /// The pieces that an interval meets, each with its part of it.
    fn met(&self, x: &(Real, Real)) -> Vec<(usize, (Real, Real))> {
        let (p, n) = (&self.pieces, self.pieces.kinks.len());
        let beyond = |v: &Real, k: usize| *v > real(p.kinks[k]) || (!p.left_closed[k] && *v == real(p.kinks[k]));
        let piece = |v: &Real| (0..n).filter(|&k| beyond(v, k)).count();
        let (first, last) = (piece(&x.0), piece(&x.1));
        let lo = |k: usize| if k == first { x.0.clone() } else { real(p.kinks[k - 1]) };
        let hi = |k: usize| if k == last { x.1.clone() } else { real(p.kinks[k]) };
        (first..=last).map(|k| (k, (lo(k), hi(k)))).collect()
    }

    fn slope(&self, k: usize) -> f64 {
        self.pieces.slopes[k]
    }

    fn steepest_of(&self, open: &[usize]) -> Real {
        most(open.iter().map(|&k| real(self.slope(k)).abs()))
    }
}

impl Formulas for Piecewise {
    fn forward(&self, x: &Row, _: &Row) -> Vec<(Real, Real)> {
        let (s, o) = (&self.pieces.slopes, &self.pieces.offsets);
        let one = |i: usize| {
            let open: Vec<usize> = self.met(&x.hull(i)).into_iter().map(|m| m.0).collect();
            // steepest·e, and the jumps between the pieces
            let jump = |k: usize| (real(self.pieces.kinks[k]) * (s[k + 1] - s[k]) + o[k + 1] - real(o[k])).abs();
            let jumps = sum((open[0]..*open.last().expect("one piece")).map(jump));
            let carried = self.steepest_of(&open) * x.e(i) + jumps;
            // a product and a sum, each exact where it does nothing
            let local = |&k: &usize| {
                if s[k] == 0.0 || (s[k].abs() == 1.0 && o[k] == 0.0) {
                    return real(0.0);
                }
                let product = real(s[k]).abs() * x.run_mag(i);
                let once = rounding(&(&product + real(o[k]).abs()));
                if x.run_only() { once } else { once + u() * product + half_eta() }
            };
            (carried, most(open.iter().map(local)))
        };
        (0..x.len()).map(one).collect()
    }

    fn vjp(&self, x: &Row, _: &Row, g: &Row) -> Vec<(Real, Real)> {
        let one = |i: usize| {
            let open: Vec<usize> = self.met(&x.hull(i)).into_iter().map(|m| m.0).collect();
            let steepest = self.steepest_of(&open);
            // jump·|ȳ| + steepest·e
            let jump = most(
                open.iter()
                    .flat_map(|&a| open.iter().map(move |&b| (a, b)))
                    .map(|(a, b)| real(self.slope(a)) - real(self.slope(b))),
            );
            let carried = jump * g.mag(i) + &steepest * g.e(i);
            let exact = open.iter().all(|&k| self.slope(k) == 0.0 || self.slope(k).abs() == 1.0);
            (carried, if exact { real(0.0) } else { rounding(&(steepest * g.run_mag(i))) })
        };
        (0..x.len()).map(one).collect()
    }

    fn forward_range(&self, x: &[Interval]) -> Vec<(Real, Real)> {
        let piece = |(k, part): (usize, (Real, Real))| {
            let (s, o) = (self.slope(k), self.pieces.offsets[k]);
            if s == 0.0 {
                (real(o), real(o))
            } else if s == 1.0 && o == 0.0 {
                part
            } else {
                let product = rounded(scaled(s, &part));
                rounded((product.0 + o, product.1 + o))
            }
        };
        let one = |v: &Interval| self.met(&(real(v.lo), real(v.hi))).into_iter().map(piece).reduce(hull).expect("one");
        x.iter().map(one).collect()
    }

    fn vjp_range(&self, x: &[Interval], g: &[Interval]) -> Vec<(Real, Real)> {
        let one = |(v, g): (&Interval, &Interval)| {
            let piece = |(k, _): (usize, (Real, Real))| {
                let product = scaled(self.slope(k), &(real(g.lo), real(g.hi)));
                let exact = self.slope(k) == 0.0 || self.slope(k).abs() == 1.0;
                if exact { product } else { rounded(product) }
            };
            self.met(&(real(v.lo), real(v.hi))).into_iter().map(piece).reduce(hull).expect("one")
        };
        x.iter().zip(g).map(one).collect()
    }

    fn peaks(&self, _: &Row, _: &Row) -> (Real, Real) {
        (real(0.0), real(0.0))
    }
}

/// Entries on one piece, at a kink, and across.
fn entries(centre: Centre) -> Vec<Vec<Row>> {
    let row = |x: &[f32], width: f64, e: &[f64]| Row::new(centre, x, width, e);
    vec![
        vec![row(&[0.5, -1.25, 2.0, 7.5], 0.0, &[0.0; 4]), row(&[0.0, -3.0, 6.0, 1.0], 0.0, &[0.0; 4])],
        vec![
            row(&[0.5, -1.25, 2.0, -3.0], 0.0, &[1e-3, 2e-3, 0.5, 0.1]),
            row(&[3e-42, -2e-43, 0.1, 9.0], 0.0, &[0.0; 4]),
        ],
        vec![row(&[0.5, -1.25, 5.5, -2.5], 2.0, &[1.0, 2.0, 1.5, 4.0])],
    ]
}

#[test]
fn piecewise_functions_keep_to_their_formulas() {
    let hard_sigmoid = Pieces {
        kinks: vec![-3.0, 3.0],
        slopes: vec![0.0, f64::from(1.0f32 / 6.0), 0.0],
        offsets: vec![0.0, 0.5, 1.0],
        left_closed: vec![true, false],
    };
    let jump = Pieces { kinks: vec![1.0], slopes: vec![-0.3, 0.7], offsets: vec![2.0, -0.1], left_closed: vec![false] };
    for op in [
        Piecewise::relu(),
        Piecewise::leaky_relu(0.01),
        Piecewise::abs(),
        Piecewise::clip(-1.0, 6.0),
        Piecewise { pieces: hard_sigmoid },
        Piecewise { pieces: jump },
    ] {
        hold_table(&format!("{:?}", op.pieces), &op, entries);
    }
}
