//! Contractions of jets and majorants as matrix products.
//!
//! d(Σ ab) = Σ a·db + Σ da·b: one product whose right factor holds the derivatives of B side by side,
//! and one with those of A. Only rows, columns and inner indices at which something moves take part.
//! What these sums' order may do is covered for any order ([`super::majorant`]).

use super::jet::{Jet, LANES};
use super::majorant::Major;
use crate::num::matmul::{View, matmul_f64, matmul_up};
use crate::num::{Mag, parallel};

/// Numbers in a packed factor, at most (unless one line has more).
const PACKED: usize = 1 << 19;

/// Is a matrix product faster than its definition?
pub(super) fn pays((m, n, k): (usize, usize, usize)) -> bool {
    m >= 4 && n >= 4 && k >= 4 && m * n * k >= 1 << 12
}

/// The indices below `n` at which `f` holds.
fn those(n: usize, f: impl Fn(usize) -> bool + Sync) -> Vec<usize> {
    let found: Vec<bool> = parallel::map(n, 16, f);
    (0..n).filter(|&i| found[i]).collect()
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
    let lives = |j: Option<&Jet>| j.is_some_and(|j| j.live);
    let value = |j: Option<&Jet>| j.map_or(0.0, |j| j.value);
    let lanes = |j: Option<&'a Jet>, to: &mut [f64]| {
        if let Some(j) = j.filter(|j| j.live) {
            to.copy_from_slice(&j.lanes);
        }
    };
    // Σ_l a[i,l]·db[l,j], some columns at a time
    let columns = those(n, |j| (0..k).any(|l| lives(right(l, j))));
    for js in columns.chunks((PACKED / (k.max(1) * LANES)).max(1)) {
        let inner = those(k, |l| js.iter().any(|&j| lives(right(l, j))));
        let width = js.len() * LANES;
        let b = packed(&inner, width, 0.0, |l, row| {
            row.chunks_exact_mut(LANES).zip(js).for_each(|(to, &j)| lanes(right(l, j), to));
        });
        let rows: Vec<usize> = (0..m).collect();
        let a = packed(&rows, inner.len(), 0.0, |i, row| {
            row.iter_mut().zip(&inner).for_each(|(to, &l)| *to = value(left(i, l)));
        });
        let c = matmul_f64(View::rows(&a, inner.len()), View::rows(&b, width), m, width, inner.len());
        parallel::chunks(&mut out, n, 1, |i, y| {
            js.iter().zip(c[i * width..][..width].chunks_exact(LANES)).for_each(|(&j, c)| add(&mut y[j], c));
        });
    }
    // Σ_l da[i,l]·b[l,j], some rows at a time; as its transpose, so that the lanes of an entry are neighbours
    let rows = those(m, |i| (0..k).any(|l| lives(left(i, l))));
    let all: Vec<usize> = if rows.is_empty() { Vec::new() } else { (0..n).collect() };
    for is in rows.chunks((PACKED / (k.max(1) * LANES)).max(1)) {
        let inner = those(k, |l| is.iter().any(|&i| lives(left(i, l))));
        let width = is.len() * LANES;
        let a = packed(&inner, width, 0.0, |l, row| {
            row.chunks_exact_mut(LANES).zip(is).for_each(|(to, &i)| lanes(left(i, l), to));
        });
        for js in all.chunks((4 * PACKED / (inner.len().max(1) + width)).max(1)) {
            let b = packed(&inner, js.len(), 0.0, |l, row| {
                row.iter_mut().zip(js).for_each(|(to, &j)| *to = value(right(l, j)));
            });
            let c = matmul_f64(View::rows(&b, js.len()).t(), View::rows(&a, width), js.len(), width, inner.len());
            for (at, &i) in is.iter().enumerate() {
                let row = &mut out[i * n + js[0]..][..js.len()];
                parallel::each(row, 256, |j, y| add(y, &c[j * width + at * LANES..][..LANES]));
            }
        }
    }
    out
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
