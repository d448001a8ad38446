//! A block of the result: digits of its rows and columns, their GEMMs, and the carried radii.

use super::plan::{Line, Plan};
use super::pool::{Buffer, Scratch};
use super::{Entry, digits};
use crate::num::matmul::{View, matmul_f64_add, matmul_up};
use crate::num::{Ball, Mag, parallel};
use std::ops::Range;

/// Σ of products of digits, for every weight: integers of at most 2^53 for one chunk of the inner
/// index, and of at most 2^62 for all of them.
pub(super) enum Sums<'p> {
    One(Vec<Buffer<'p, f64>>),
    Many(Vec<Vec<i64>>),
}

/// Sums and radii of a block.
pub(super) struct Block<'p> {
    plan: &'p Plan,
    rows: Range<usize>,
    columns: Range<usize>,
    sums: Sums<'p>,
    /// What the operands carry.
    carried: Buffer<'p, Mag>,
}

impl<'p> Block<'p> {
    /// All sums of a block; `left` and `right` are asked for places in the plan's order.
    pub fn new<'a>(
        plan: &'p Plan,
        scratch: &'p Scratch,
        rows: Range<usize>,
        columns: Range<usize>,
        left: &(impl Fn(usize, usize) -> Option<&'a Ball> + Sync),
        right: &(impl Fn(usize, usize) -> Option<&'a Ball> + Sync),
    ) -> Block<'p> {
        let (m, n) = (rows.len(), columns.len());
        let (r, c) = (&plan.rows.lines[rows.clone()], &plan.columns.lines[columns.clone()]);
        let (left_carries, right_carries) = (r.iter().any(Line::carries), c.iter().any(Line::carries));
        let mut a = Factor::new(scratch, plan.rows.digits, m, plan.chunk, right_carries, left_carries);
        let mut b = Factor::new(scratch, plan.columns.digits, plan.chunk, n, left_carries, right_carries);
        let mut found: Vec<Buffer<f64>> = (0..plan.kept).map(|_| scratch.numbers.take(m * n)).collect();
        let mut many = (plan.chunk < plan.k).then(|| vec![vec![0i64; m * n]; plan.kept]);
        let mut carried = scratch.mags.take(m * n);
        carried.fill(Mag::ZERO);
        for l0 in (0..plan.k).step_by(plan.chunk) {
            let k = plan.chunk.min(plan.k - l0);
            a.fill(plan.beta, (m, k), false, |i, l| (&r[i], left(rows.start + i, l0 + l)));
            b.fill(plan.beta, (k, n), true, |l, j| (&c[j], right(l0 + l, columns.start + j)));
            let longer = (plan.rows.longer(rows.clone()), plan.columns.longer(columns.clone()));
            found
                .iter_mut()
                .enumerate()
                .for_each(|(w, sums)| weigh(plan, w, (&a.digits, &b.digits), (m, n, k), longer, sums));
            for (sums, part) in many.iter_mut().flatten().zip(&found) {
                parallel::each(sums, 1 << 14, |i, sum| *sum += part[i] as i64);
            }
            // |A|·r_B + r_A·(|B| + r_B)
            if right_carries {
                let terms = matmul_up(View::rows(&a.size, k), View::rows(&b.radius, n), m, n, k);
                carry(&mut carried, terms, n, |i, j| r[i].size_scale + c[j].radius_scale);
            }
            if left_carries {
                let terms = matmul_up(View::rows(&a.radius, k), View::rows(&b.size, n), m, n, k);
                carry(&mut carried, terms, n, |i, j| r[i].radius_scale + c[j].total_scale);
            }
        }
        let sums = many.map_or_else(|| Sums::One(found), Sums::Many);
        Block { plan, rows, columns, sums, carried }
    }

    /// An entry, by its place in the plan's order; `None` where it has to be found otherwise.
    pub fn entry(&self, i: usize, j: usize) -> Option<Entry<'_>> {
        let Plan { beta, kept, k, .. } = *self.plan;
        let (r, c) = (&self.plan.rows.lines[i], &self.plan.columns.lines[j]);
        if r.wild || c.wild {
            return None;
        }
        let at = (i - self.rows.start) * self.columns.len() + (j - self.columns.start);
        let mut radius = self.carried[at];
        let per_line = |cut: Option<i64>| cut.map_or(Mag::ZERO, |e| Mag::count(k) * Mag::exp2(e));
        // a tail of one factor meets midpoints and radii of the other
        let mut lost =
            per_line(c.cut().map(|e| e + r.total_scale + 1)) + per_line(r.cut().map(|e| e + c.total_scale + 1));
        if r.carries() || c.carries() {
            // magnitudes far below their line's were lifted to the floor
            lost += per_line(Some(r.total_scale + c.total_scale + 2 - digits::FLOOR));
        }
        let beta = i64::from(beta);
        // Digits s of a meet those of b from T − s on, which make up at most 2^(F−β(T−s))·(1 + 2^−10), and
        // |digit s| ≤ 2^(E−βs): together 2^(E+F−βT)·(1 + 2^−10) for each such s and each l.
        let left_out = (r.digits + c.digits).saturating_sub(kept + 1);
        if left_out > 0 && r.digits > 0 && c.digits > 0 {
            if radius.is_zero() {
                return None;
            }
            let each = Mag::exp2(r.top + c.top - beta * kept as i64) * Mag::of(1.0 + 1.0 / 1024.0);
            let left_out = Mag::count(left_out) * Mag::count(k) * each;
            radius += left_out;
            lost += left_out;
        }
        // weight w counts 2^(E+F+2−β(w+2))
        let unit = if r.digits > 0 && c.digits > 0 { r.top + c.top + 2 - beta * (kept as i64 + 1) } else { 0 };
        Some(Entry { sums: &self.sums, at, unit, radius, lost })
    }
}

/// The sums of one weight: a GEMM for all lines, and one for the digits that only the first few have.
fn weigh(
    plan: &Plan,
    weight: usize,
    (a, b): (&[f64], &[f64]),
    (m, n, k): (usize, usize, usize),
    (longer_rows, longer_columns): (usize, usize),
    sums: &mut [f64],
) {
    let (all, rest) = plan.meeting(weight);
    let few = if plan.rows.common < plan.rows.digits { (longer_rows, n) } else { (m, longer_columns) };
    if all.is_empty() {
        sums.fill(0.0);
    }
    for (s, (rows, columns), add) in [(all, (m, n), false), (rest, few, true)] {
        if s.is_empty() || rows == 0 || columns == 0 {
            continue;
        }
        // Digits s of A stand in ascending order, digits w − s of B too, because they stand reversed.
        let u = plan.columns.digits - 1 - (weight - s.start);
        let a = View { data: &a[s.start * k..], row_stride: plan.rows.digits * k, col_stride: 1 };
        let b = View::rows(&b[u * k * n..], n);
        matmul_f64_add(sums, n, add, a, b, rows, columns, s.len() * k);
    }
}

/// Adds scaled magnitudes.
fn carry(carried: &mut [Mag], terms: Vec<Mag>, n: usize, scale: impl Fn(usize, usize) -> i64 + Sync) {
    parallel::each(carried, 1 << 12, |at, sum| *sum += terms[at] * Mag::exp2(scale(at / n, at % n)));
}

/// One factor of a block, sliced.
struct Factor<'p> {
    count: usize,
    digits: Buffer<'p, f64>,
    /// |midpoints| (+ radii, in the right factor), scaled; empty where nobody asks.
    size: Buffer<'p, Mag>,
    /// Radii and what was cut off, scaled; empty where nothing is.
    radius: Buffer<'p, Mag>,
}

/// What one thread fills: a slice for every digit, and the magnitudes.
struct Slot<'f> {
    digits: Vec<&'f mut [f64]>,
    size: Option<&'f mut [Mag]>,
    radius: Option<&'f mut [Mag]>,
}

impl<'p> Factor<'p> {
    fn new(scratch: &'p Scratch, count: usize, outer: usize, inner: usize, sizes: bool, radii: bool) -> Factor<'p> {
        let mags = |wanted: bool| scratch.mags.take(if wanted { outer * inner } else { 0 });
        let digits = scratch.numbers.take(count * outer * inner);
        Factor { count, digits, size: mags(sizes), radius: mags(radii) }
    }

    /// Slices the entries (outer, inner). The left factor's digits stand in its rows, [outer][s][inner],
    /// the right one's in reversed order below each other, [count−1−s][outer][inner].
    fn fill<'a, 'l>(
        &mut self,
        beta: u32,
        (outer, inner): (usize, usize),
        is_right: bool,
        entry: impl Fn(usize, usize) -> (&'l Line, Option<&'a Ball>) + Sync,
    ) {
        let count = self.count;
        let (mut size, mut radius) = (self.size.chunks_mut(inner), self.radius.chunks_mut(inner));
        let mut slots: Vec<Slot> = (0..outer)
            .map(|_| Slot { digits: Vec::with_capacity(count), size: size.next(), radius: radius.next() })
            .collect();
        for (c, chunk) in self.digits.chunks_mut(inner).take(count * outer).enumerate() {
            slots[if is_right { c % outer } else { c / count }].digits.push(chunk);
        }
        let slice = |s: usize| if is_right { count - 1 - s } else { s };
        parallel::each(&mut slots, 1, |o, slot| {
            for i in 0..inner {
                let (line, ball) = entry(o, i);
                let Some(ball) = ball.filter(|_| !line.wild) else {
                    slot.digits.iter_mut().for_each(|d| d[i] = 0.0);
                    slot.size.iter_mut().chain(&mut slot.radius).for_each(|m| m[i] = Mag::ZERO);
                    continue;
                };
                let own = if ball.mid.is_zero() { 0 } else { line.digits };
                (own..count).for_each(|s| slot.digits[slice(s)][i] = 0.0);
                let cut = own > 0 && digits::cut(&ball.mid, line.top, beta, own, |s, d| slot.digits[slice(s)][i] = d);
                let tail = |scale: i64| if cut { digits::power(line.tail - scale) } else { Mag::ZERO };
                if let Some(size) = &mut slot.size {
                    let scale = if is_right { line.total_scale } else { line.size_scale };
                    size[i] = digits::magnitude(&ball.mid, scale) + tail(scale);
                    if is_right {
                        size[i] += digits::relative(ball.rad, scale) + tail(scale);
                    }
                }
                if let Some(radius) = &mut slot.radius {
                    radius[i] = digits::relative(ball.rad, line.radius_scale) + tail(line.radius_scale);
                }
            }
        });
    }
}
