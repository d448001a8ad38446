//! How a product is sliced: what its rows and columns hold, and how many digits of how many bits.

use super::digits;
use crate::num::{Ball, Mag, parallel};
use std::ops::{Range, RangeInclusive};

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
    /// Midpoints of exact balls are multiples of 2^this.
    exact_low: i64,
    /// Every ball reaches 2^(least−1): by its midpoint, or by its radius.
    least: i64,
    /// The largest radius.
    rad: Mag,
    /// Is it none of ours: ∞ or NaN somewhere, or exponents too far out or too far apart?
    pub wild: bool,
    /// Digits in use.
    pub digits: usize,
    /// Do these leave something out?
    truncated: bool,
    /// What is cut off an entry is at most 2^tail: half a last digit.
    pub tail: i64,
    /// Midpoints, with what is cut off, are at most 2^this.
    pub size_scale: i64,
    /// Radii, with what is cut off, are at most 2^this.
    pub radius_scale: i64,
    /// Midpoints and radii together are at most 2^this.
    pub total_scale: i64,
}

impl Line {
    const EMPTY: Line = Line {
        top: i64::MIN,
        low: i64::MAX,
        exact_low: i64::MAX,
        least: i64::MAX,
        rad: Mag::ZERO,
        wild: false,
        digits: 0,
        truncated: false,
        tail: 0,
        size_scale: 0,
        radius_scale: 0,
        total_scale: 0,
    };

    /// What a line of balls holds.
    pub fn of<'a>(balls: impl Iterator<Item = &'a Ball>) -> Line {
        let mut line = Line::EMPTY;
        balls.for_each(|b| line.see(b));
        line
    }

    fn see(&mut self, b: &Ball) {
        if let Some((top, low)) = digits::span(&b.mid) {
            (self.top, self.low) = (self.top.max(top), self.low.min(low));
            self.exact_low = if b.is_exact() { self.exact_low.min(low) } else { self.exact_low };
            let reach = if b.rad.is_zero() || !b.rad.is_finite() { top } else { top.max(digits::exponent(b.rad)) };
            self.least = self.least.min(reach);
            self.wild |= top.abs() > FAR;
        } else {
            self.wild |= !b.mid.is_zero();
        }
        self.rad = self.rad.max(b.rad);
        self.wild |= !b.rad.is_finite();
    }

    fn merge(&mut self, o: &Line) {
        (self.top, self.low) = (self.top.max(o.top), self.low.min(o.low));
        self.exact_low = self.exact_low.min(o.exact_low);
        self.least = self.least.min(o.least);
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
    /// lines are kept whole, if that takes no more than twice as many. Of the others those are none of ours
    /// in which a small entry would lose all of its digits: what the large ones lose would drown it.
    fn sliced(mut self, beta: u32, most: usize) -> Line {
        let need = self.need(beta);
        let far = if self.is_exact() { need > 2 * most } else { self.top - self.least > i64::from(beta) * most as i64 };
        self.wild |= need > 0 && far;
        self.digits = if self.wild {
            0
        } else if self.is_exact() {
            need
        } else {
            need.min(most)
        };
        self.truncated = !self.wild && self.digits < need;
        if self.wild {
            return self;
        }
        if need > 0 {
            self.tail = self.top - i64::from(beta) * self.digits as i64;
        }
        // nothing is ever scaled where there is neither midpoint nor radius
        let size = (need > 0).then_some(self.top + 1);
        let own = (!self.rad.is_zero()).then(|| digits::exponent(self.rad));
        let cut = self.truncated.then_some(self.tail);
        // the larger of both, doubled
        let radius = own.max(cut).map(|e| e + 1);
        self.size_scale = size.unwrap_or(0);
        self.radius_scale = radius.unwrap_or(0);
        self.total_scale = size.max(radius).map_or(0, |e| e + 1);
        self
    }

    /// Where digits end, if something stands beyond.
    pub fn cut(&self) -> Option<i64> {
        self.truncated.then_some(self.tail)
    }

    /// Does an exact ball of it lose digits? The last digit counts 2^(tail+1).
    pub fn cuts_exact(&self) -> bool {
        self.truncated && self.exact_low <= self.tail
    }

    /// Does the line carry an error of its own?
    pub fn carries(&self) -> bool {
        !self.wild && (!self.rad.is_zero() || self.truncated)
    }
}

/// What the columns of a k×n matrix hold.
pub(super) fn columns<'a>(n: usize, k: usize, right: &(impl Fn(usize, usize) -> Option<&'a Ball> + Sync)) -> Vec<Line> {
    let rows = k.div_ceil(16).max(16);
    let mut parts = parallel::map(k.div_ceil(rows), 1, |p| {
        let mut lines = vec![Line::EMPTY; n];
        for l in p * rows..k.min((p + 1) * rows) {
            lines.iter_mut().enumerate().for_each(|(j, line)| right(l, j).into_iter().for_each(|b| line.see(b)));
        }
        lines
    });
    let mut all = parts.pop().unwrap_or_else(|| vec![Line::EMPTY; n]);
    parts.iter().for_each(|part| all.iter_mut().zip(part).for_each(|(a, b)| a.merge(b)));
    all
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
    fn new(lines: Vec<Line>, (digits, common): (usize, usize)) -> Lines {
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
}

impl Plan {
    /// The cheapest plan for midpoints of `prec` bits.
    pub fn new(prec: u32, k: usize, rows: &[Line], columns: &[Line]) -> Plan {
        let cheapest = |betas: RangeInclusive<u32>| {
            betas.filter_map(|beta| Draft::new(beta, prec, k, rows, columns)).min_by(|a, b| a.cost.total_cmp(&b.cost))
        };
        // shorter digits are for inner indices of any length only
        let d = cheapest(17..=24).or_else(|| cheapest(12..=16));
        let d = d.expect("digits of 12 bits leave room for any inner index");
        Plan {
            beta: d.beta,
            kept: d.kept,
            chunk: d.chunk,
            k,
            rows: Lines::new(rows.iter().map(|l| l.sliced(d.beta, d.most)).collect(), d.left),
            columns: Lines::new(columns.iter().map(|l| l.sliced(d.beta, d.most)).collect(), d.right),
        }
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

/// What digits of `beta` bits would cost.
struct Draft {
    beta: u32,
    most: usize,
    kept: usize,
    chunk: usize,
    /// Digits of the longest and of most rows, and columns.
    left: (usize, usize),
    right: (usize, usize),
    /// Time of all GEMMs, in GEMMs.
    cost: f64,
}

impl Draft {
    fn new(beta: u32, prec: u32, k: usize, rows: &[Line], columns: &[Line]) -> Option<Draft> {
        let most = prec.div_ceil(beta) as usize;
        let ((by_rows, exact_rows), (by_columns, exact_columns)) =
            (lengths(rows, beta, most), lengths(columns, beta, most));
        let (left, right) = (by_rows.len() - 1, by_columns.len() - 1);
        // Where both are exact, nothing is left out.
        let whole = (exact_rows + exact_columns).saturating_sub(1);
        let kept = most.max(whole).min((left + right).saturating_sub(1));
        // K·2^(2β−2) ≤ 2^53 for K = s·chunk products in one sum
        let together = left.min(right).min(kept).max(1);
        let chunk = ((1usize << (55 - 2 * beta)) / together).min(k);
        let chunks = k.div_ceil(chunk.max(1));
        if chunk == 0 || chunks > CHUNKS {
            return None;
        }
        let chunk = k.div_ceil(chunks);
        // products of digits that most lines need, and what the longer lines need besides
        let all = pairs(left, right, kept);
        let split = |counts: &[usize], lines: usize, pairs: &dyn Fn(usize) -> usize| {
            let longest = counts.len() - 1;
            let (mut best, mut longer) = ((all as f64, longest), 0);
            for common in (1..longest).rev() {
                longer += counts[common + 1];
                if counts[common] > 0 {
                    // a GEMM of a few lines costs as much as one of some more
                    let share = ((longer + 4) as f64 / lines as f64).min(1.0);
                    let cost = pairs(common) as f64 + (all - pairs(common)) as f64 * share;
                    best = if cost < best.0 { (cost, common) } else { best };
                }
            }
            best
        };
        let by_rows = split(&by_rows, rows.len(), &|c| pairs(c, right, kept));
        let by_columns = split(&by_columns, columns.len(), &|c| pairs(left, c, kept));
        let (cost, common_left, common_right) =
            if by_rows.0 <= by_columns.0 { (by_rows.0, by_rows.1, right) } else { (by_columns.0, left, by_columns.1) };
        // every GEMM has its start, and every digit and every sum is written once
        let cost = cost + (kept + left + right) as f64 * 16.0 / chunk as f64;
        Some(Draft { beta, most, kept, chunk, left: (left, common_left), right: (right, common_right), cost })
    }
}

/// How many lines have 0, 1, 2, … digits, and the most that an exact one has.
fn lengths(lines: &[Line], beta: u32, most: usize) -> (Vec<usize>, usize) {
    let (mut counts, mut exact) = (vec![0], 0);
    for line in lines.iter().map(|l| l.sliced(beta, most)) {
        if line.digits >= counts.len() {
            counts.resize(line.digits + 1, 0);
        }
        counts[line.digits] += 1;
        exact = if line.is_exact() { exact.max(line.digits) } else { exact };
    }
    (counts, exact)
}

/// The digits s < left with a partner t < right at s + t = weight.
fn meeting(weight: usize, left: usize, right: usize) -> Range<usize> {
    (weight + 1).saturating_sub(right)..(weight + 1).min(left)
}

/// Pairs of digits with weights below `kept`.
fn pairs(left: usize, right: usize, kept: usize) -> usize {
    (0..kept).map(|w| meeting(w, left, right).len()).sum()
}
