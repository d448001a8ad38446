//! How a product is sliced: what its rows and columns hold, and how many digits of how many bits.

use super::digits;
use crate::num::{Ball, Mag};
use rayon::prelude::*;
use std::ops::Range;

/// Exponents of midpoints beyond ±2^28 are left to MPFR.
const FAR: i64 = 1 << 28;

/// Chunks of the inner index whose sums of at most 2^53 are added in 64 bits.
const CHUNKS: usize = 1 << 9;

/// A row of A or a column of B.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    /// |midpoints| < 2^top.
    pub top: i64,
    /// Midpoints are multiples of 2^low.
    low: i64,
    /// The largest radius.
    rad: Mag,
    /// Is it none of ours: ∞ or NaN somewhere, or exponents too far out?
    pub wild: bool,
    /// Digits in use.
    pub digits: usize,
    /// Do these leave something out?
    pub truncated: bool,
}

impl Line {
    const EMPTY: Line = Line { top: i64::MIN, low: i64::MAX, rad: Mag::ZERO, wild: false, digits: 0, truncated: false };

    /// What a line of balls holds.
    pub fn of<'a>(balls: impl Iterator<Item = &'a Ball>) -> Line {
        let mut line = Line::EMPTY;
        balls.for_each(|b| line.see(b));
        line
    }

    fn see(&mut self, b: &Ball) {
        if let Some((top, low)) = digits::span(&b.mid) {
            (self.top, self.low) = (self.top.max(top), self.low.min(low));
            self.wild |= top.abs() > FAR;
        } else {
            self.wild |= !b.mid.is_zero();
        }
        self.rad = self.rad.max(b.rad);
        self.wild |= !b.rad.is_finite();
    }

    fn merge(&mut self, o: &Line) {
        (self.top, self.low) = (self.top.max(o.top), self.low.min(o.low));
        self.rad = self.rad.max(o.rad);
        self.wild |= o.wild;
    }

    fn is_exact(&self) -> bool {
        self.rad.is_zero()
    }

    /// Digits that hold every midpoint of the line, one bit above it kept for the balance.
    fn need(&self, beta: u32) -> usize {
        if self.top < self.low { 0 } else { ((self.top + 1 - self.low) as usize).div_ceil(beta as usize) }
    }

    /// The line with digits of `beta` bits, `most` of them where its balls aren't exact anyway. Exact
    /// lines are kept whole, or are none of ours.
    fn sliced(mut self, beta: u32, most: usize) -> Line {
        let need = self.need(beta);
        self.wild |= self.is_exact() && need > 2 * most;
        self.digits = if self.wild {
            0
        } else if self.is_exact() {
            need
        } else {
            need.min(most)
        };
        self.truncated = !self.wild && self.digits < need;
        self
    }

    /// What is cut off an entry is at most 2^this: half a last digit.
    pub fn tail(&self, beta: u32) -> i64 {
        self.top - i64::from(beta) * self.digits as i64
    }

    /// Radii, with what is cut off, are at most 2^this.
    pub fn radius_scale(&self, beta: u32) -> i64 {
        let own = if self.rad.is_zero() { i64::MIN / 2 } else { digits::exponent(self.rad) };
        if self.truncated { own.max(self.tail(beta)) + 1 } else { own }
    }

    /// Magnitudes, with what is cut off, are at most 2^this; with radii too.
    pub fn size_scale(&self) -> i64 {
        if self.need(1) == 0 { 0 } else { self.top + 1 }
    }

    /// Magnitudes and radii together are at most 2^this.
    pub fn total_scale(&self, beta: u32) -> i64 {
        self.size_scale().max(self.radius_scale(beta)) + 1
    }

    /// Does the line carry an error of its own?
    pub fn carries(&self) -> bool {
        !self.wild && (!self.rad.is_zero() || self.truncated)
    }
}

/// What the columns of a k×n matrix hold.
pub(super) fn columns<'a>(n: usize, k: usize, right: &(impl Fn(usize, usize) -> Option<&'a Ball> + Sync)) -> Vec<Line> {
    let none = || vec![Line::EMPTY; n];
    (0..k)
        .into_par_iter()
        .with_min_len(16)
        .fold(none, |mut lines, l| {
            lines.iter_mut().enumerate().for_each(|(j, line)| right(l, j).into_iter().for_each(|b| line.see(b)));
            lines
        })
        .reduce(none, |mut a, b| {
            a.iter_mut().zip(&b).for_each(|(a, b)| a.merge(b));
            a
        })
}

/// All rows of A, or all columns of B, in the order in which they are worked on.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// What they hold.
    pub lines: Vec<Line>,
    /// Where they stand in the matrix.
    pub at: Vec<usize>,
    /// Digits of the longest.
    pub digits: usize,
    /// Digits of most of them: longer ones come first and have GEMMs of their own for the rest.
    pub common: usize,
}

impl Lines {
    fn new(lines: &[Line], digits: usize, common: usize) -> Lines {
        let mut at: Vec<usize> = (0..lines.len()).collect();
        if common < digits {
            at.sort_by_key(|&i| std::cmp::Reverse(lines[i].digits));
        }
        Lines { lines: at.iter().map(|&i| lines[i]).collect(), at, digits, common }
    }

    /// How many of some lines are longer than most.
    pub fn longer(&self, range: Range<usize>) -> usize {
        if self.common == self.digits {
            return 0;
        }
        self.lines[range].partition_point(|l| l.digits > self.common)
    }
}

/// How a product is sliced.
#[derive(Debug)]
pub(super) struct Plan {
    /// Bits of a digit.
    pub beta: u32,
    /// Products of weight below this are made.
    pub kept: usize,
    /// Inner indices that one GEMM takes.
    pub chunk: usize,
    /// Length of the inner index.
    pub k: usize,
    /// Rows of A.
    pub rows: Lines,
    /// Columns of B.
    pub columns: Lines,
    /// Time of all GEMMs, in GEMMs.
    cost: f64,
}

impl Plan {
    /// The cheapest plan for midpoints of `prec` bits.
    pub fn new(prec: u32, k: usize, rows: &[Line], columns: &[Line]) -> Plan {
        let plans = (12..=24).filter_map(|beta| Plan::with(beta, prec, k, rows, columns));
        let best = plans.min_by(|a, b| a.cost.total_cmp(&b.cost));
        best.expect("digits of 12 bits leave room for any inner index")
    }

    fn with(beta: u32, prec: u32, k: usize, rows: &[Line], columns: &[Line]) -> Option<Plan> {
        let most = prec.div_ceil(beta) as usize;
        let sliced = |lines: &[Line]| lines.iter().map(|l| l.sliced(beta, most)).collect::<Vec<Line>>();
        let longest = |lines: &[Line]| lines.iter().map(|l| l.digits).max().unwrap_or(0);
        let (rows, columns) = (sliced(rows), sliced(columns));
        let (left, right) = (longest(&rows), longest(&columns));
        // Where both are exact, nothing is left out.
        let exact = |lines: &[Line]| lines.iter().filter(|l| l.is_exact()).map(|l| l.digits).max().unwrap_or(0);
        let whole = (exact(&rows) + exact(&columns)).saturating_sub(1);
        let kept = most.max(whole).min((left + right).saturating_sub(1));
        // K·2^(2β−2) ≤ 2^53 for K = s·chunk products in one sum
        let together = left.min(right).min(kept).max(1);
        let chunk = ((1usize << (55 - 2 * beta)) / together).min(k);
        let chunks = k.div_ceil(chunk.max(1));
        if chunk == 0 || chunks > CHUNKS {
            return None;
        }
        // products of digits that most lines need, and what the longer lines need besides
        let all = pairs(left, right, kept);
        let split = |lines: &[Line], longest: usize, rest: &dyn Fn(usize) -> usize| {
            let mut lengths: Vec<usize> = lines.iter().map(|l| l.digits).filter(|&d| d > 0).collect();
            lengths.sort_unstable();
            let total = lines.len() as f64;
            let cost = |common: usize| {
                let longer = lengths.len() - lengths.partition_point(|&d| d <= common);
                rest(common) as f64 + (all - rest(common)) as f64 * ((longer + 4) as f64 / total).min(1.0)
            };
            let mut candidates = lengths.clone();
            candidates.dedup();
            let best = candidates.iter().filter(|&&c| c < longest).map(|&c| (cost(c), c));
            best.min_by(|a, b| a.0.total_cmp(&b.0)).filter(|b| b.0 < all as f64).unwrap_or((all as f64, longest))
        };
        let by_rows = split(&rows, left, &|c| pairs(c, right, kept));
        let by_columns = split(&columns, right, &|c| pairs(left, c, kept));
        let (cost, common_left, common_right) =
            if by_rows.0 <= by_columns.0 { (by_rows.0, by_rows.1, right) } else { (by_columns.0, left, by_columns.1) };
        let chunk = k.div_ceil(chunks);
        Some(Plan {
            beta,
            kept,
            chunk,
            k,
            // every GEMM has its start, and every digit and every sum is written once
            cost: cost + (kept + left + right) as f64 * 16.0 / chunk as f64,
            rows: Lines::new(&rows, left, common_left),
            columns: Lines::new(&columns, right, common_right),
        })
    }

    /// The digits of A that meet digits of B at a weight: those that all lines have, and those that only
    /// the longer ones have.
    pub fn meeting(&self, weight: usize) -> (Range<usize>, Range<usize>) {
        let (rows, columns) = (&self.rows, &self.columns);
        let all = meeting(weight, rows.digits, columns.digits);
        if rows.common < rows.digits {
            let at = rows.common.clamp(all.start, all.end);
            (all.start..at, at..all.end)
        } else {
            // t = w − s < common
            let at = (weight + 1).saturating_sub(columns.common).clamp(all.start, all.end);
            (at..all.end, all.start..at)
        }
    }

    /// Rows and columns of a block of the result whose digits and sums fit the memory.
    pub fn block(&self, side: usize, room: usize) -> (usize, usize) {
        let fit = |digits: usize| side.min(room / (digits * self.chunk).max(1)).max(1);
        let square = ((room / 2 / self.kept.max(1)) as f64).sqrt() as usize;
        (fit(self.rows.digits).min(square.max(64)), fit(self.columns.digits).min(square.max(64)))
    }
}

/// The digits s < left with a partner t < right at s + t = weight.
fn meeting(weight: usize, left: usize, right: usize) -> Range<usize> {
    (weight + 1).saturating_sub(right)..(weight + 1).min(left)
}

/// Pairs of digits with weights below `kept`.
fn pairs(left: usize, right: usize, kept: usize) -> usize {
    (0..kept).map(|w| meeting(w, left, right).len()).sum()
}
