//! Sliced products: matrix products of balls by binary64 GEMMs in which nothing is ever rounded.
//!
//! A row of A has one exponent E with |a| < 2^E, a column of B one exponent F. A midpoint is cut into
//! balanced digits of β bits, a = Σ_s d_s·2^(E+1−β(s+1)) with integers |d_s| ≤ 2^(β−1); so is b. Products
//! of digits with s + t = w have one weight. They are summed over s and l in one GEMM, whose partial
//! sums are integers of at most K·2^(2β−2) ≤ 2^53 for K products: exact in any order, with or without
//! FMA. Sums of all weights are put together as integers of any length and rounded to the midpoint once.
//!
//! The radius takes up what was left out: the tail of a cut midpoint (half a last digit, added to the
//! entry's own radius), products of weight T and above, the rounding, and the carried
//! |A|·r_B + r_A·(|B| + r_B), which are two GEMMs of magnitudes. Entries that could be exact although
//! something was left out, and rows and columns that don't fit, go through [`Arith::dot`](super::Arith).
//!
//! Ozaki, Ogita, Oishi & Rump, "Error-free transformations of matrix multiplication", 2012; Johansson,
//! "Faster arbitrary-precision dot product and matrix multiplication", arXiv:1901.04289, for the blocks.

mod block;
mod digits;
mod plan;
mod pool;
mod total;

#[cfg(test)]
mod tests;

use super::{Arith, Ball, Balls, Mag, parallel};
use block::{Block, Sums};
use plan::{Line, Plan};
pub(super) use pool::Scratch;
use rug::Float;
use rug::float::Round;
use std::cmp::Ordering;
use total::Total;

/// Rows and columns of the block of the result that is worked on at a time, at most.
const BLOCK: usize = 1024;

/// Numbers in the digits of one factor's block, at most (unless a single line has more).
const DIGITS: usize = 1 << 24;

/// Is a sliced product faster than its definition?
// An entry of A is cut once for n products, one of B once for m; an entry of the result is put together
// once for k.
pub(super) fn pays((m, n, k): (usize, usize, usize)) -> bool {
    m >= 4 && n >= 4 && k >= 4 && m * n * k >= 1 << 12
}

/// [`Arith::products`] of balls, sliced.
pub(super) fn products<'a>(
    balls: &Balls,
    (m, n, k): (usize, usize, usize),
    left: impl Fn(usize, usize) -> Option<&'a Ball> + Sync,
    right: impl Fn(usize, usize) -> Option<&'a Ball> + Sync,
    bias: impl Fn(usize, usize) -> Option<&'a Ball> + Sync,
) -> Vec<Ball> {
    let rows: Vec<Line> = parallel::map(m, 1, |i| Line::of((0..k).filter_map(|l| left(i, l))));
    let columns = plan::columns(n, k, &right);
    let plan = Plan::new(balls.prec, k, &rows, &columns);
    let by_dot = |i: usize, j: usize| balls.dot((0..k).filter_map(|l| left(i, l).zip(right(l, j))), bias(i, j));
    // all terms, where something exact was cut
    let exact = |x: &Ball, y: &Ball| x.is_exact() && (y.is_exact() || x.mid.is_zero());
    let all_exact = |i: usize, j: usize| {
        let mut terms = (0..k).filter_map(|l| left(i, l).zip(right(l, j)));
        terms.all(|(x, y)| exact(x, y) || exact(y, x))
    };
    let (left_at, right_at) =
        (|p: usize, l: usize| left(plan.rows.at[p], l), |l: usize, q: usize| right(l, plan.columns.at[q]));
    let mut out: Vec<Option<Ball>> = vec![None; m * n];
    let mut lines: Vec<Option<&mut [Option<Ball>]>> = out.chunks_mut(n).map(Some).collect();
    let (down, across) = plan.block(BLOCK, DIGITS);
    for p0 in (0..m).step_by(down) {
        let ps = p0..m.min(p0 + down);
        let mut targets: Vec<(usize, &mut [Option<Ball>])> =
            ps.clone().map(|p| (p, lines[plan.rows.at[p]].take().expect("every row is made once"))).collect();
        for q0 in (0..n).step_by(across) {
            let qs = q0..n.min(q0 + across);
            let block = Block::new(&plan, &balls.scratch, ps.clone(), qs.clone(), &left_at, &right_at);
            parallel::each(&mut targets, 1, |_, (p, row)| {
                let (i, mut total) = (plan.rows.at[*p], Total::default());
                for q in qs.clone() {
                    let j = plan.columns.at[q];
                    let cut = plan.rows.lines[*p].cuts_exact() || plan.columns.lines[q].cuts_exact();
                    let entry = block.entry(*p, q).filter(|_| !(cut && all_exact(i, j))).and_then(|e| {
                        let ball = finish(balls, &mut total, &plan, &e, bias(i, j))?;
                        // what a wide line lost may drown an entry that its definition gives sharply
                        (Mag::of(4.0) * e.lost <= e.radius || sharp(&ball, balls.prec)).then_some(ball)
                    });
                    row[j] = Some(entry.unwrap_or_else(|| by_dot(i, j)));
                }
            });
        }
    }
    out.into_iter().map(|b| b.expect("blocks cover the product")).collect()
}

/// Is the radius small beside the midpoint?
fn sharp(b: &Ball, prec: u32) -> bool {
    let small = |e: i32| b.rad <= Mag::exp2(i64::from(e) - i64::from(prec / 4));
    b.rad.is_zero() || b.mid.get_exp().is_some_and(small)
}

/// What the GEMMs say of an entry.
struct Entry<'a> {
    sums: &'a Sums<'a>,
    /// Where the entry stands in the sums.
    at: usize,
    /// Exponent of the unit of weight T − 1.
    unit: i64,
    /// Everything but the last rounding.
    radius: Mag,
    /// What of it comes from cut digits and products left out, at most.
    lost: Mag,
}

/// The ball of an entry; `None` where MPFR has to say what it is.
fn finish(balls: &Balls, total: &mut Total, plan: &Plan, e: &Entry, bias: Option<&Ball>) -> Option<Ball> {
    if bias.is_some_and(|b| !b.mid.is_finite()) {
        return None;
    }
    match e.sums {
        Sums::One(sums) => total.set(sums.iter().rev().map(|s| s[e.at] as i64), plan.beta),
        Sums::Many(sums) => total.set(sums.iter().rev().map(|s| s[e.at]), plan.beta),
    }
    let sum = total.float(e.unit);
    let (mid, rounded) = match (&sum, bias) {
        (Some(s), None) => Float::with_val_round(balls.prec, &**s, Round::Nearest),
        (Some(s), Some(b)) => Float::with_val_round(balls.prec, &**s + &b.mid, Round::Nearest),
        (None, Some(b)) => Float::with_val_round(balls.prec, &b.mid, Round::Nearest),
        (None, None) => (Float::new(balls.prec), Ordering::Equal),
    };
    let carried = e.radius + bias.map_or(Mag::ZERO, |b| b.rad);
    Some(balls.rounded((mid, rounded), carried))
}
