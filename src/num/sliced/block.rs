//! A block of the result: digits of its rows and columns, their GEMMs, and the carried radii.

use super::plan::{Line, Plan};
use super::{Entry, digits, within};
use crate::num::matmul::{View, matmul_f64_into, matmul_up};
use crate::num::{Ball, Mag};
use rayon::prelude::*;
use std::ops::Range;

/// Sums and radii of a block.
pub(super) struct Block<'p> {
    plan: &'p Plan,
    rows: Range<usize>,
    columns: Range<usize>,
    /// Σ of products of digits, for every weight.
    sums: Vec<Vec<i64>>,
    /// What the operands carry.
    carried: Vec<Mag>,
}

impl<'p> Block<'p> {
    /// All sums of a block.
    pub fn new<'a>(
        plan: &'p Plan,
        rows: Range<usize>,
        columns: Range<usize>,
        left: &(impl Fn(usize, usize) -> Option<&'a Ball> + Sync),
        right: &(impl Fn(usize, usize) -> Option<&'a Ball> + Sync),
    ) -> Block<'p> {
        let (m, n) = (rows.len(), columns.len());
        let mut block = Block {
            plan,
            sums: vec![vec![0; m * n]; plan.kept],
            carried: vec![Mag::ZERO; m * n],
            rows: rows.clone(),
            columns: columns.clone(),
        };
        let (left_carries, right_carries) = (
            plan.rows[rows.clone()].iter().any(Line::carries),
            plan.columns[columns.clone()].iter().any(Line::carries),
        );
        let mut a = Factor::new(plan.left, m, plan.chunk, right_carries, left_carries);
        let mut b = Factor::new(plan.right, plan.chunk, n, left_carries, right_carries);
        let mut product = vec![0.0; m * n];
        for l0 in (0..plan.k).step_by(plan.chunk) {
            let k = plan.chunk.min(plan.k - l0);
            a.fill(plan, (m, k), false, |i, l| (&plan.rows[rows.start + i], left(rows.start + i, l0 + l)));
            b.fill(plan, (k, n), true, |l, j| (&plan.columns[columns.start + j], right(l0 + l, columns.start + j)));
            for (w, sums) in block.sums.iter_mut().enumerate() {
                let s = plan.meeting(w);
                // Digits s of A stand in ascending order, digits w − s of B too, because they stand reversed.
                let u = plan.right - 1 - (w - s.start);
                let va = View { data: &a.digits[s.start * k..], row_stride: plan.left * k, col_stride: 1 };
                let vb = View::rows(&b.digits[u * k * n..], n);
                matmul_f64_into(&mut product, va, vb, m, n, s.len() * k);
                // integers of at most 2^53
                sums.par_iter_mut().with_min_len(1 << 14).zip(&product).for_each(|(sum, &p)| *sum += p as i64);
            }
            // |A|·r_B + r_A·(|B| + r_B)
            if right_carries {
                let scale = |r: &Line, c: &Line| r.size_scale() + c.radius_scale(plan.beta);
                block.carry(matmul_up(View::rows(&a.size, k), View::rows(&b.radius, n), m, n, k), scale);
            }
            if left_carries {
                let scale = |r: &Line, c: &Line| r.radius_scale(plan.beta) + c.total_scale(plan.beta);
                block.carry(matmul_up(View::rows(&a.radius, k), View::rows(&b.size, n), m, n, k), scale);
            }
        }
        block
    }

    /// Adds scaled magnitudes.
    fn carry(&mut self, terms: Vec<Mag>, scale: impl Fn(&Line, &Line) -> i64 + Sync) {
        let n = self.columns.len();
        let (rows, columns) = (&self.plan.rows[self.rows.clone()], &self.plan.columns[self.columns.clone()]);
        self.carried.par_iter_mut().with_min_len(1 << 12).zip(terms).enumerate().for_each(|(at, (sum, t))| {
            *sum += t * Mag::exp2(scale(&rows[at / n], &columns[at % n]));
        });
    }

    /// An entry; `None` where it has to be found otherwise.
    pub fn entry(&self, i: usize, j: usize) -> Option<Entry<'_>> {
        let Plan { beta, kept, k, .. } = *self.plan;
        let (r, c) = (&self.plan.rows[i], &self.plan.columns[j]);
        if r.wild || c.wild {
            return None;
        }
        let at = within(&self.rows, i) * self.columns.len() + within(&self.columns, j);
        let mut radius = self.carried[at];
        let beta = i64::from(beta);
        // Digits s of a meet those of b from T − s on, which make up at most 2^(F−β(T−s))·(1 + 2^−10), and
        // |digit s| ≤ 2^(E−βs): together 2^(E+F−βT)·(1 + 2^−10) for each such s and each l.
        let left_out = (r.digits + c.digits).saturating_sub(kept + 1);
        if left_out > 0 && r.digits > 0 && c.digits > 0 {
            if radius.is_zero() {
                return None;
            }
            let each = Mag::exp2(r.top + c.top - beta * kept as i64) * Mag::of(1.0 + 1.0 / 1024.0);
            radius += Mag::count(left_out) * Mag::count(k) * each;
        }
        // weight w counts 2^(E+F+2−β(w+2))
        let unit = if r.digits > 0 && c.digits > 0 { r.top + c.top + 2 - beta * (kept as i64 + 1) } else { 0 };
        Some(Entry { sums: &self.sums, at, unit, radius })
    }
}

/// One factor of a block, sliced.
struct Factor {
    count: usize,
    digits: Vec<f64>,
    /// |midpoints| (+ radii, in the right factor), scaled; empty where nobody asks.
    size: Vec<Mag>,
    /// Radii and what was cut off, scaled; empty where nothing is.
    radius: Vec<Mag>,
}

/// What one thread fills: a slice for every digit, and the magnitudes.
struct Slot<'f> {
    digits: Vec<&'f mut [f64]>,
    size: Option<&'f mut [Mag]>,
    radius: Option<&'f mut [Mag]>,
}

impl Factor {
    fn new(count: usize, outer: usize, inner: usize, sizes: bool, radii: bool) -> Factor {
        let mags = |wanted: bool| if wanted { vec![Mag::ZERO; outer * inner] } else { Vec::new() };
        Factor { count, digits: vec![0.0; count * outer * inner], size: mags(sizes), radius: mags(radii) }
    }

    /// Slices the entries (outer, inner). The left factor's digits stand in its rows, [outer][s][inner],
    /// the right one's in reversed order below each other, [count−1−s][outer][inner].
    fn fill<'a, 'p>(
        &mut self,
        plan: &Plan,
        (outer, inner): (usize, usize),
        is_right: bool,
        entry: impl Fn(usize, usize) -> (&'p Line, Option<&'a Ball>) + Sync,
    ) {
        let (count, beta) = (self.count, plan.beta);
        let (mut size, mut radius) = (self.size.chunks_mut(inner), self.radius.chunks_mut(inner));
        let mut slots: Vec<Slot> = (0..outer)
            .map(|_| Slot { digits: Vec::with_capacity(count), size: size.next(), radius: radius.next() })
            .collect();
        for (c, chunk) in self.digits.chunks_mut(inner).take(count * outer).enumerate() {
            slots[if is_right { c % outer } else { c / count }].digits.push(chunk);
        }
        slots.into_par_iter().enumerate().for_each(|(o, mut slot)| {
            for i in 0..inner {
                let (line, ball) = entry(o, i);
                let ball = ball.filter(|_| !line.wild);
                let mut put = |s: usize, d: f64| slot.digits[if is_right { count - 1 - s } else { s }][i] = d;
                let regular = ball.filter(|b| !b.mid.is_zero());
                let own = if regular.is_some() { line.digits } else { 0 };
                (own..count).for_each(|s| put(s, 0.0));
                let cut = regular.is_some_and(|b| digits::cut(&b.mid, line.top, beta, own, &mut put));
                let tail = |scale: i64| if cut { digits::power(line.tail(beta) - scale) } else { Mag::ZERO };
                let of = |f: &dyn Fn(&Ball) -> Mag| ball.map_or(Mag::ZERO, f);
                if let Some(size) = &mut slot.size {
                    size[i] = if is_right {
                        let scale = line.total_scale(beta);
                        of(&|b| digits::magnitude(&b.mid, scale) + digits::relative(b.rad, scale))
                            + tail(scale)
                            + tail(scale)
                    } else {
                        let scale = line.size_scale();
                        of(&|b| digits::magnitude(&b.mid, scale)) + tail(scale)
                    };
                }
                if let Some(radius) = &mut slot.radius {
                    let scale = line.radius_scale(beta);
                    radius[i] = of(&|b| digits::relative(b.rad, scale)) + tail(scale);
                }
            }
        });
    }
}
