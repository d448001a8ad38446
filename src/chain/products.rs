//! Contractions of jets and majorants as matrix products.
//!
//! d(Σ ab) = Σ a·db + Σ da·b: one product whose right factor holds the derivatives of B side by side,
//! and one with those of A. Only rows, columns and inner indices at which something moves take part.
//! What these sums' order may do is covered for any order ([`super::majorant`]).

use super::jet::{Jet, LANES};
use super::majorant::Major;
use crate::num::matmul::{View, matmul_f64, matmul_up};
use crate::num::{Mag, parallel};
use std::ops::Range;

/// Numbers in a packed factor, at most (unless one line has more).
const PACKED: usize = 1 << 19;

/// Entries of both factors at a time, about.
const PLACES: usize = 1 << 22;

/// Is a matrix product faster than its definition?
pub(super) fn pays((m, n, k): (usize, usize, usize)) -> bool {
    m >= 4 && n >= 4 && k >= 4 && m * n * k >= 1 << 12
}

/// Rows of `width` numbers, one for each of some indices.
fn packed<T: Copy + Send + Sync>(
    rows: &[usize],
    width: usize,
    zero: T,
    fill: impl Fn(usize, &mut [T]) + Sync,
) -> Vec<T> {
    let mut out = vec![zero; rows.len() * width];
    parallel::chunks(&mut out, width, (1 << 12) / width.max(1) + 1, |at, row| fill(rows[at], row));
    out
}

/// [`Arith::products`](crate::num::Arith::products) of jets: the derivatives only. A value stays open
/// (NaN): sweeps put this run's in its place.
pub(super) fn jets<'a>(
    (m, n, k): (usize, usize, usize),
    left: impl Fn(usize, usize) -> Option<&'a Jet> + Sync,
    right: impl Fn(usize, usize) -> Option<&'a Jet> + Sync,
    bias: impl Fn(usize, usize) -> Option<&'a Jet> + Sync,
) -> Vec<Jet> {
    let still = Jet::still(f64::NAN);
    let mut out: Vec<Jet> = parallel::map(m * n, 256, |at| match bias(at / n, at % n) {
        Some(b) if b.live => Jet { value: f64::NAN, ..*b },
        _ => still,
    });
    // some inner indices at a time: the places of a factor's entries are asked for once
    let step = (PLACES / (m + n).max(1)).clamp(1 << 6, 1 << 10);
    for start in (0..k).step_by(step) {
        let ls = start..k.min(start + step);
        let a = Factor::of(m, ls.clone(), &left);
        let b = Factor::of(n, ls, |j, l| right(l, j));
        // Σ_l a[i,l]·db[l,j]
        let (inner, columns) = b.moving();
        let values = a.values(&inner);
        for js in columns.chunks((PACKED / (inner.len().max(1) * LANES)).max(1)) {
            let width = js.len() * LANES;
            let db = b.derivatives(&inner, js);
            let c = matmul_f64(View::rows(&values, inner.len()), View::rows(&db, width), m, width, inner.len());
            parallel::chunks(&mut out, n, 1, |i, y| {
                js.iter().zip(c[i * width..][..width].chunks_exact(LANES)).for_each(|(&j, c)| add(&mut y[j], c));
            });
        }
        // Σ_l da[i,l]·b[l,j], as its transpose, so that the lanes of an entry are neighbours
        let (inner, rows) = a.moving();
        let values = b.values(&inner);
        for is in rows.chunks((PACKED / (inner.len().max(1) * LANES)).max(1)) {
            let width = is.len() * LANES;
            let da = a.derivatives(&inner, is);
            // some columns at a time
            for from in (0..n).step_by(1 << 10) {
                let some = n.min(from + (1 << 10)) - from;
                let values = View::rows(&values[from * inner.len()..], inner.len());
                let c = matmul_f64(values, View::rows(&da, width), some, width, inner.len());
                for (at, &i) in is.iter().enumerate() {
                    let row = &mut out[i * n + from..][..some];
                    parallel::each(row, 256, |j, y| add(y, &c[j * width + at * LANES..][..LANES]));
                }
            }
        }
    }
    out
}

/// The entries of a factor, line by line: a row of the left one, a column of the right one.
struct Factor<'a> {
    /// Inner indices.
    width: usize,
    entries: Vec<Option<&'a Jet>>,
}

impl<'a> Factor<'a> {
    fn of(lines: usize, ls: Range<usize>, at: impl Fn(usize, usize) -> Option<&'a Jet> + Sync) -> Factor<'a> {
        let width = ls.len();
        Factor { width, entries: parallel::map(lines * width, 1 << 10, |i| at(i / width, ls.start + i % width)) }
    }

    /// The inner indices, counted from the first, and the lines at which something moves.
    fn moving(&self) -> (Vec<usize>, Vec<usize>) {
        let (mut inner, mut lines) = (vec![false; self.width], Vec::new());
        for (line, entries) in self.entries.chunks_exact(self.width).enumerate() {
            let mut any = false;
            for (inner, j) in inner.iter_mut().zip(entries) {
                let live = j.is_some_and(|j| j.live);
                (*inner, any) = (*inner | live, any | live);
            }
            lines.extend(any.then_some(line));
        }
        ((0..self.width).filter(|&l| inner[l]).collect(), lines)
    }

    /// The values at some inner indices, line by line.
    fn values(&self, inner: &[usize]) -> Vec<f64> {
        let lines: Vec<usize> =
            if inner.is_empty() { Vec::new() } else { (0..self.entries.len() / self.width).collect() };
        packed(&lines, inner.len(), 0.0, |line, row| {
            let entries = &self.entries[line * self.width..][..self.width];
            row.iter_mut().zip(inner).for_each(|(to, &l)| *to = entries[l].map_or(0.0, |j| j.value));
        })
    }

    /// For each of some inner indices, the derivatives of some lines side by side.
    fn derivatives(&self, inner: &[usize], lines: &[usize]) -> Vec<f64> {
        packed(inner, lines.len() * LANES, 0.0, |l, row| {
            for (to, line) in row.as_chunks_mut::<LANES>().0.iter_mut().zip(lines) {
                if let Some(j) = self.entries[line * self.width + l].filter(|j| j.live) {
                    *to = j.lanes;
                }
            }
        })
    }
}

#[inline]
fn add(y: &mut Jet, lanes: &[f64]) {
    y.live = true;
    y.lanes.iter_mut().zip(lanes).for_each(|(t, s)| *t += s);
}

/// [`Arith::products`](crate::num::Arith::products) of majorants: Σ|a|·M_b + M_a·|b| (+ M_c), rounded
/// up. Values stay open (NaN).
pub(super) fn majorants<'a>(
    (m, n, k): (usize, usize, usize),
    left: impl Fn(usize, usize) -> Option<&'a Major> + Sync,
    right: impl Fn(usize, usize) -> Option<&'a Major> + Sync,
    bias: impl Fn(usize, usize) -> Option<&'a Major> + Sync,
) -> Vec<Major> {
    let size = |x: Option<&Major>| x.map_or(Mag::ZERO, |x| Mag::of(x.value));
    let sum = |x: Option<&Major>| x.map_or(Mag::ZERO, |x| x.sum);
    let rows: Vec<usize> = (0..m).collect();
    let inner: Vec<usize> = (0..k).collect();
    let mut sums: Vec<Mag> = parallel::map(m * n, 256, |at| sum(bias(at / n, at % n)));
    let pack_left = |of: &(dyn Fn(Option<&Major>) -> Mag + Sync)| {
        packed(&rows, k, Mag::ZERO, |i, row| row.iter_mut().enumerate().for_each(|(l, to)| *to = of(left(i, l))))
    };
    let (sizes, moves) = (pack_left(&size), pack_left(&sum));
    let all: Vec<usize> = (0..n).collect();
    for js in all.chunks((PACKED / k.max(1)).max(1)) {
        let pack_right = |of: &(dyn Fn(Option<&Major>) -> Mag + Sync)| {
            packed(&inner, js.len(), Mag::ZERO, |l, row| {
                row.iter_mut().zip(js).for_each(|(to, &j)| *to = of(right(l, j)));
            })
        };
        for (a, b) in [(&sizes, pack_right(&sum)), (&moves, pack_right(&size))] {
            if a.iter().all(|x| x.is_zero()) || b.iter().all(|x| x.is_zero()) {
                continue;
            }
            let c = matmul_up(View::rows(a, k), View::rows(&b, js.len()), m, js.len(), k);
            sums.chunks_mut(n).zip(c.chunks(js.len())).for_each(|(y, c)| {
                y[js[0]..js[0] + js.len()].iter_mut().zip(c).for_each(|(y, &c)| *y += c);
            });
        }
    }
    sums.into_iter().map(|sum| Major { value: f64::NAN, sum }).collect()
}
