//! Reduction trees of the binary32 runtime, and their heights.
//!
//! The order of every reduction is a function of its length alone: not of threads, instruction set
//! or memory layout. The *height* of a tree is the largest number of roundings that any term passes
//! through, so that (u = 2^−24; Higham, *Accuracy and Stability of Numerical Algorithms*, §4.2)
//!
//! > |computed − exact| ≤ ((1+u)^height − 1)·Σ|terms|   (+ underflow for products)
//!
//! **Split.** Both trees combine `c` neighbouring parts pairwise: the first 2^e parts against the
//! rest, with 2^e the largest power of two below `c`. A split of `c` parts has ⌈log2 c⌉ levels, by
//! induction: the first half has e levels, the rest (at most 2^e parts) at most e.
//!
//! **Contraction** ([`height`]): products are taken in index order in blocks of [`BLOCK`]; a block
//! is a chain of fused multiply–adds that starts from 0, so its first product passes through as many
//! roundings as the block has products; blocks are combined by the split. An underflowing product
//! adds at most η/2 once per multiply–add, η = 2^−149, amplified by what follows: in total at most
//! n·(η/2)·(1+u)^height.
//!
//! **Sum** ([`sum_height`]): term i lies in lane i mod [`LANES`] of row ⌊i/LANES⌋; missing terms are
//! +0, whose addition is exact; rows are combined lane by lane by the split; the lanes are folded in
//! halves, 16 → 8 → 4 → 2 → 1. Additions never underflow. With r = ⌈n/16⌉ rows the height is
//! ⌈log2 r⌉ + ⌈log2 min(n, 16)⌉, which is as shallow as any tree of full rows.

use super::parallel;
use std::ops::Add;

/// Products per chain of fused multiply–adds.
pub const BLOCK: usize = 32;

/// Terms per row of a sum.
pub const LANES: usize = 16;

/// From this many terms on the two halves of a sum may run on two threads.
const PARALLEL: usize = 1 << 18;

/// ⌈log2 n⌉ for n ≥ 1; 0 for n = 0.
fn log2_ceil(n: usize) -> usize {
    n.max(1).next_power_of_two().trailing_zeros() as usize
}

/// The height of the tree by which [`matmul`](super::matmul::matmul) contracts `n` products.
// n ≤ BLOCK: n; otherwise BLOCK + ⌈log2 ⌈n/BLOCK⌉⌉
pub fn height(n: usize) -> usize {
    if n <= BLOCK { n } else { BLOCK + log2_ceil(n.div_ceil(BLOCK)) }
}

/// The height of the tree by which [`sum`], [`sum_indexed`] and [`sum_axis`] add `n` terms.
// ⌈log2 ⌈n/16⌉⌉ + ⌈log2 min(n, 16)⌉
pub fn sum_height(n: usize) -> usize {
    log2_ceil(n.div_ceil(LANES)) + log2_ceil(n.min(LANES))
}

/// The sum of `x`, on the tree of height `sum_height(x.len())`; 0 when empty.
pub fn sum(x: &[f32]) -> f32 {
    let full = x.len() / LANES;
    // The general row, kept apart so that full rows are plain vector loads.
    tree(x.len(), 0.0, &|row| {
        if row < full {
            let mut r = [0.0; LANES];
            r.copy_from_slice(&x[row * LANES..][..LANES]);
            r
        } else {
            gather(row, x.len(), 0.0, |i| x[i])
        }
    })
}

/// The sum of `x[i]` over the list `idx`, on the same tree over the list's positions.
///
/// Panics when an index is out of range.
pub fn sum_indexed(x: &[f32], idx: &[u32]) -> f32 {
    tree(idx.len(), 0.0, &|row| gather(row, idx.len(), 0.0, |i| x[idx[i] as usize]))
}

/// The sum of the `n` entries `x[start + i·stride]`, on the same tree.
///
/// Panics when an entry is out of range.
pub fn sum_strided(x: &[f32], start: usize, stride: usize, n: usize) -> f32 {
    if stride == 1 {
        return sum(&x[start..][..n]);
    }
    tree(n, 0.0, &|row| gather(row, n, 0.0, |i| x[start + i * stride]))
}

/// Sums an array of shape [outer, n, inner] over its middle axis into `out`, [outer, inner]; every
/// entry on the same tree as [`sum_strided`].
///
/// Panics when a length doesn't fit.
pub fn sum_axis(out: &mut [f32], x: &[f32], outer: usize, n: usize, inner: usize) {
    assert_eq!(x.len(), outer * n * inner, "sum_axis: input length");
    assert_eq!(out.len(), outer * inner, "sum_axis: output length");
    if outer * inner == 0 {
        return;
    }
    for (x, out) in (0..outer).map(|o| &x[o * n * inner..][..n * inner]).zip(out.chunks_mut(inner)) {
        parallel::chunks(out, COLUMNS, (1 << 14) / (n * COLUMNS + 1) + 1, |c, out| {
            let j = c * COLUMNS;
            if out.len() < COLUMNS {
                out.iter_mut().enumerate().for_each(|(k, y)| *y = sum_strided(x, j + k, inner, n));
            } else if n == 0 {
                out.fill(0.0);
            } else {
                columns(out, &x[j..], n, inner);
            }
        });
    }
}

/// Neighbouring columns that are summed side by side, each on its own tree.
const COLUMNS: usize = 32;

/// One row of terms of each of the columns, lane by lane.
type Lanes = [[f32; COLUMNS]; LANES];

/// Sums columns 0..COLUMNS of `n` ≥ 1 lines, which begin every `stride` entries. Rows are combined as they come:
/// level l holds the sum of 2^l rows while bit l of the row's number is set, and the last row takes in all that waits.
#[allow(clippy::needless_range_loop)]
fn columns(out: &mut [f32], x: &[f32], n: usize, stride: usize) {
    let rows = n.div_ceil(LANES);
    let mut waiting: Vec<Lanes> = vec![[[0.0; COLUMNS]; LANES]; log2_ceil(rows) + 1];
    let mut sum: Lanes = [[0.0; COLUMNS]; LANES];
    for row in 0..rows {
        for l in 0..LANES {
            let i = row * LANES + l;
            match i < n {
                true => sum[l].copy_from_slice(&x[i * stride..][..COLUMNS]),
                false => sum[l] = [0.0; COLUMNS],
            }
        }
        let last = row + 1 == rows;
        let due = if last { row } else { row & !(row + 1) };
        for level in (0..waiting.len()).filter(|l| due >> l & 1 == 1) {
            for l in 0..LANES {
                for c in 0..COLUMNS {
                    sum[l][c] += waiting[level][l][c];
                }
            }
        }
        if !last {
            waiting[row.trailing_ones() as usize] = sum;
        }
    }
    let mut half = LANES / 2;
    while half > 0 {
        for l in 0..half {
            for c in 0..COLUMNS {
                sum[l][c] += sum[l + half][c];
            }
        }
        half /= 2;
    }
    out.copy_from_slice(&sum[0]);
}

/// Row `row` of `n` terms, filled up with zeros.
#[inline(always)]
fn gather<T: Copy>(row: usize, n: usize, zero: T, get: impl Fn(usize) -> T) -> [T; LANES] {
    let start = row * LANES;
    if start + LANES <= n {
        return std::array::from_fn(|l| get(start + l));
    }
    let mut r = [zero; LANES];
    for (l, i) in (start..n).enumerate() {
        r[l] = get(i);
    }
    r
}

#[inline(always)]
fn add<T: Copy + Add<Output = T>>(a: [T; LANES], b: [T; LANES]) -> [T; LANES] {
    std::array::from_fn(|l| a[l] + b[l])
}

/// The sum tree over `n` terms, given by rows of [`LANES`].
fn tree<T: Copy + Add<Output = T> + Send>(n: usize, zero: T, row: &(impl Fn(usize) -> [T; LANES] + Sync)) -> T {
    if n == 0 {
        return zero;
    }
    let mut lanes = rows(0, n.div_ceil(LANES), row);
    let mut half = LANES / 2;
    while half > 0 {
        for l in 0..half {
            lanes[l] = lanes[l] + lanes[l + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// Rows `lo .. lo + count` combined by the split; `count` ≥ 1.
fn rows<T: Copy + Add<Output = T> + Send>(
    lo: usize,
    count: usize,
    row: &(impl Fn(usize) -> [T; LANES] + Sync),
) -> [T; LANES] {
    match count {
        1 => row(lo),
        2 => add(row(lo), row(lo + 1)),
        4 => add(add(row(lo), row(lo + 1)), add(row(lo + 2), row(lo + 3))),
        8 => {
            let left = add(add(row(lo), row(lo + 1)), add(row(lo + 2), row(lo + 3)));
            let right = add(add(row(lo + 4), row(lo + 5)), add(row(lo + 6), row(lo + 7)));
            add(left, right)
        }
        _ => {
            // the largest power of two below count
            let left = 1 << (log2_ceil(count) - 1);
            if count >= PARALLEL / LANES {
                let (a, b) = rayon::join(|| rows(lo, left, row), || rows(lo + left, count - left, row));
                add(a, b)
            } else {
                add(rows(lo, left, row), rows(lo + left, count - left, row))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rug::Float;

    /// The split over any parts, with the number of roundings each part passes through.
    fn split(parts: &[(f32, usize)]) -> (f32, usize) {
        if parts.len() == 1 {
            return parts[0];
        }
        let mut left = 1;
        while 2 * left < parts.len() {
            left *= 2;
        }
        let ((a, ha), (b, hb)) = (split(&parts[..left]), split(&parts[left..]));
        (a + b, 1 + ha.max(hb))
    }

    /// The documented order, written down term by term; a missing term costs no rounding.
    fn sum_reference(x: &[f32]) -> (f32, usize) {
        if x.is_empty() {
            return (0.0, 0);
        }
        let mut lanes: Vec<(f32, usize)> = (0..LANES.min(x.len()))
            .map(|l| {
                let lane: Vec<(f32, usize)> = x.iter().skip(l).step_by(LANES).map(|&v| (v, 0)).collect();
                split(&lane)
            })
            .collect();
        let mut half = LANES / 2;
        while half > 0 {
            for l in half..lanes.len() {
                let (b, hb) = lanes[l];
                let (a, ha) = lanes[l - half];
                lanes[l - half] = (a + b, 1 + ha.max(hb));
            }
            lanes.truncate(half);
            half /= 2;
        }
        lanes[0]
    }

    /// Numbers of mixed sign and magnitude, the same on every machine.
    fn numbers(n: usize, seed: u64) -> Vec<f32> {
        let mut s = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        (0..n)
            .map(|_| {
                s = s.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let scale = f32::from_bits(((117 + (s >> 60) as u32) & 0xff) << 23);
                ((s >> 33) as f32 / (1u64 << 30) as f32 - 1.0) * scale
            })
            .collect()
    }

    const SIZES: [usize; 22] =
        [0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 48, 63, 64, 65, 127, 129, 1000, 4097, 262_143, 600_001];

    #[test]
    fn sums_have_the_documented_order_and_height() {
        for n in SIZES {
            let x = numbers(n, n as u64);
            let (want, h) = sum_reference(&x);
            assert_eq!(sum(&x).to_bits(), want.to_bits(), "n = {n}");
            assert!(h <= sum_height(n), "n = {n}: height {h}, recorded {}", sum_height(n));
            let back: Vec<u32> = (0..n as u32).rev().collect();
            let reversed: Vec<f32> = x.iter().rev().copied().collect();
            assert_eq!(sum_indexed(&reversed, &back).to_bits(), want.to_bits(), "n = {n}");
            let spread: Vec<f32> = x.iter().flat_map(|&v| [f32::NAN, v, 7.0]).collect();
            assert_eq!(sum_strided(&spread, 1, 3, n).to_bits(), want.to_bits(), "n = {n}");
        }
    }

    #[test]
    fn axis_sums_equal_strided_sums() {
        for (outer, n, inner) in [
            (1, 1, 1),
            (2, 17, 3),
            (3, 64, 8),
            (2, 129, 21),
            (1, 1000, 16),
            (1, 300, 33),
            (2, 33, 64),
            (1, 1, 100),
            (0, 3, 4),
            (2, 0, 5),
            (1, 0, 40),
        ] {
            let x = numbers(outer * n * inner, 5);
            let mut out = vec![f32::NAN; outer * inner];
            sum_axis(&mut out, &x, outer, n, inner);
            for o in 0..outer {
                for j in 0..inner {
                    let want = sum_strided(&x[o * n * inner..], j, inner, n);
                    assert_eq!(out[o * inner + j].to_bits(), want.to_bits(), "{outer}×{n}×{inner} at {o},{j}");
                }
            }
        }
    }

    #[test]
    fn bits_do_not_depend_on_threads() {
        let x = numbers(1_300_003, 11);
        let of = |t| rayon::ThreadPoolBuilder::new().num_threads(t).build().unwrap().install(|| sum(&x).to_bits());
        assert_eq!(of(1), of(2));
        assert_eq!(of(1), of(8));
    }

    #[test]
    fn heights_at_the_edges() {
        assert_eq!([0, 1, 2, 31, 32, 33, 64, 65, 4096].map(height), [0, 1, 2, 31, 32, 33, 33, 34, 39]);
        assert_eq!([0, 1, 2, 3, 16, 17, 32, 33, 1 << 20].map(sum_height), [0, 0, 1, 2, 4, 5, 5, 6, 20]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        /// The bound of the recorded height holds, with cancellation and subnormals.
        #[test]
        fn sum_error_is_within_the_height(x in prop::collection::vec(-1e3f32..1e3, 0..300), tiny in any::<bool>()) {
            let x: Vec<f32> = if tiny { x.iter().map(|v| v * 1e-41).collect() } else { x };
            let (mut exact, mut absolute) = (Float::with_val(500, 0), Float::with_val(500, 0));
            for &v in &x {
                exact += v;
                absolute += v.abs();
            }
            let u = Float::with_val(500, 1) >> 24;
            let mut growth = Float::with_val(500, 1);
            for _ in 0..sum_height(x.len()) {
                growth *= Float::with_val(500, 1 + &u);
            }
            let err = Float::with_val(500, &exact - sum(&x)).abs();
            prop_assert!(err <= absolute * (growth - 1u32));
        }
    }
}
