//! How a product is sliced: what its rows and columns hold, and how many digits of how many bits.

use super::digits;
use crate::num::{Ball, Mag};
use rayon::prelude::*;

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

/// How a product is sliced.
#[derive(Debug)]
pub(super) struct Plan {
    /// Bits of a digit.
    pub beta: u32,
    /// Digits of A.
    pub left: usize,
    /// Digits of B.
    pub right: usize,
    /// Products of weight below this are made.
    pub kept: usize,
    /// Inner indices that one GEMM takes.
    pub chunk: usize,
    /// Length of the inner index.
    pub k: usize,
    /// Rows of A.
    pub rows: Vec<Line>,
    /// Columns of B.
    pub columns: Vec<Line>,
}

impl Plan {
    /// The cheapest plan for midpoints of `prec` bits.
    pub fn new(prec: u32, k: usize, rows: Vec<Line>, columns: Vec<Line>) -> Plan {
        let plans = (12..=24).filter_map(|beta| Plan::with(beta, prec, k, &rows, &columns));
        let best = plans.min_by(|a, b| a.cost().total_cmp(&b.cost()));
        let mut plan = best.expect("digits of 12 bits leave room for any inner index");
        let most = most(prec, plan.beta);
        plan.rows = rows.into_iter().map(|l| l.sliced(plan.beta, most)).collect();
        plan.columns = columns.into_iter().map(|l| l.sliced(plan.beta, most)).collect();
        plan
    }

    /// A plan, still without its lines.
    fn with(beta: u32, prec: u32, k: usize, rows: &[Line], columns: &[Line]) -> Option<Plan> {
        let most = most(prec, beta);
        let survey = |lines: &[Line]| {
            lines.iter().map(|l| l.sliced(beta, most)).fold((0, 0), |(all, exact): (usize, usize), l| {
                (all.max(l.digits), if l.is_exact() { exact.max(l.digits) } else { exact })
            })
        };
        let ((left, exact_left), (right, exact_right)) = (survey(rows), survey(columns));
        // Where both are exact, nothing is left out.
        let kept = most.max((exact_left + exact_right).saturating_sub(1)).min((left + right).saturating_sub(1));
        // K·2^(2β−2) ≤ 2^53 for K = s·chunk products in one GEMM
        let together = left.min(right).min(kept).max(1);
        let chunk = ((1usize << (55 - 2 * beta)) / together).min(k);
        if chunk == 0 {
            return None;
        }
        let chunks = k.div_ceil(chunk);
        let plan =
            Plan { beta, left, right, kept, chunk: k.div_ceil(chunks), k, rows: Vec::new(), columns: Vec::new() };
        (chunks <= CHUNKS).then_some(plan)
    }

    /// The digits of A that meet digits of B at a weight.
    pub fn meeting(&self, weight: usize) -> std::ops::Range<usize> {
        (weight + 1).saturating_sub(self.right)..(weight + 1).min(self.left)
    }

    /// GEMMs of one length, and a fixed cost for each of their starts and for adding the sums.
    fn cost(&self) -> f64 {
        let products: usize = (0..self.kept).map(|w| self.meeting(w).len()).sum();
        products as f64 + (self.kept as f64 + self.left as f64 + self.right as f64) * 16.0 / self.chunk as f64
    }

    /// Rows and columns of a block of the result whose digits and sums fit the memory.
    pub fn block(&self, side: usize, room: usize) -> (usize, usize) {
        let fit = |digits: usize| side.min(room / (digits * self.chunk).max(1)).max(1);
        let square = ((room / 2 / self.kept.max(1)) as f64).sqrt() as usize;
        (fit(self.left).min(square.max(64)), fit(self.right).min(square.max(64)))
    }
}

/// Digits that hold as many bits as a midpoint has.
fn most(prec: u32, beta: u32) -> usize {
    prec.div_ceil(beta) as usize
}
