//! Binary64 products: bounds that round up, and measured defects.

use gemm::Parallelism;

use super::View;
use crate::num::{Mag, parallel};

/// Below this many products a second thread costs more than it brings.
const PARALLEL: usize = 1 << 18;

/// A·B in binary64, row after row, in no particular order: every entry is within
/// k·2^−53·Σ|a_i b_i| + k·2^−1074 of the exact one (Jeannerod & Rump 2013, with k·2^−53 ≤ 1), unless it
/// overflows.
///
/// Panics when a matrix is smaller than said.
pub fn matmul_f64(a: View<f64>, b: View<f64>, m: usize, n: usize, k: usize) -> Vec<f64> {
    let mut c = vec![0.0; m * n];
    if m * n * k > 0 {
        matmul_f64_add(&mut c, n, false, a, b, m, n, k);
    }
    c
}

/// C = A·B, or C += A·B in binary64 where `add` says so, in no particular order; the rows of C begin
/// every `stride` entries.
///
/// Panics when a matrix is empty or smaller than said.
#[allow(clippy::too_many_arguments)]
pub fn matmul_f64_add(
    c: &mut [f64],
    c_stride: usize,
    add: bool,
    a: View<f64>,
    b: View<f64>,
    m: usize,
    n: usize,
    k: usize,
) {
    assert!(m > 0 && n > 0 && k > 0, "an empty product of {m}×{k} and {k}×{n}");
    a.check(0, m, k, "A");
    b.check(0, k, n, "B");
    let span = (m - 1).checked_mul(c_stride).and_then(|s| s.checked_add(n));
    assert!(n <= c_stride && span.is_some_and(|s| s <= c.len()), "matrix C is too small");
    let stride = |s: usize| isize::try_from(s).expect("strides fit the data");
    let parallel = if m * n * k < PARALLEL { Parallelism::None } else { Parallelism::Rayon(0) };
    // SAFETY: `check` found all entries of A and B inside their data, `span` all of C, whose rows don't
    // overlap, and the strides address exactly those.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            1,
            stride(c_stride),
            add,
            a.data.as_ptr(),
            stride(a.col_stride),
            stride(a.row_stride),
            b.data.as_ptr(),
            stride(b.col_stride),
            stride(b.row_stride),
            1.0,
            1.0,
            false,
            false,
            false,
            parallel,
        );
    }
}

/// A·B of magnitudes, row after row, rounded up; 0·∞ = 0 as everywhere in [`Mag`].
///
/// An entry is exactly 0 if all its products are, as long as no product of entries can underflow.
/// Panics when a matrix is smaller than said.
pub fn matmul_up(a: View<Mag>, b: View<Mag>, m: usize, n: usize, k: usize) -> Vec<Mag> {
    let a = View { data: a.check(0, m, k, "A"), ..a };
    let b = View { data: b.check(0, k, n, "B"), ..b };
    let (ka, kb) = (Kinds::of(a.data), Kinds::of(b.data));
    // A product of normal result is rounded relatively, and sums never underflow; otherwise each of k
    // operations adds at most 2^−1075, amplified by less than 2.
    let tiny = if ka.least * kb.least >= f64::MIN_POSITIVE { 0.0 } else { k as f64 * f64::from_bits(1) };
    let finite = |v: View<Mag>, kinds: &Kinds| -> Option<Vec<f64>> {
        // 0·∞ would be NaN: the finite entries are multiplied first.
        kinds.infinite.then(|| v.data.iter().map(|x| if x.is_finite() { x.get() } else { 0.0 }).collect())
    };
    let (fa, fb) = (finite(a, &ka), finite(b, &kb));
    let va = View {
        data: fa.as_deref().unwrap_or(Mag::as_f64s(a.data)),
        row_stride: a.row_stride,
        col_stride: a.col_stride,
    };
    let vb = View {
        data: fb.as_deref().unwrap_or(Mag::as_f64s(b.data)),
        row_stride: b.row_stride,
        col_stride: b.col_stride,
    };
    let c = matmul_f64(va, vb, m, n, k);
    // k products and at most k additions, any order: k roundings for each product, and two to spare
    let mut c = parallel::map(c.len(), 1 << 12, |i| Mag::from_rounded(c[i], k + 2, tiny));
    if ka.infinite {
        spread(a, b, (m, n, k), |i, j| i * n + j, &mut c);
    }
    if kb.infinite {
        spread(b.t(), a.t(), (n, m, k), |j, i| i * n + j, &mut c);
    }
    c
}

/// Entry (i, j) of `c` becomes ∞ where an infinite (i, p) of `a` meets a non-zero (p, j) of `b`.
fn spread(
    a: View<Mag>,
    b: View<Mag>,
    (m, n, k): (usize, usize, usize),
    at: impl Fn(usize, usize) -> usize,
    c: &mut [Mag],
) {
    for i in 0..m {
        let mut left: Vec<usize> = (0..n).filter(|&j| c[at(i, j)].is_finite()).collect();
        for p in 0..k {
            if left.is_empty() {
                break;
            }
            if !a.data[i * a.row_stride + p * a.col_stride].is_finite() {
                left.retain(|&j| {
                    let hit = !b.data[p * b.row_stride + j * b.col_stride].is_zero();
                    if hit {
                        c[at(i, j)] = Mag::INFINITY;
                    }
                    !hit
                });
            }
        }
    }
}

/// What a matrix holds, as far as rounding cares.
struct Kinds {
    /// The smallest non-zero entry; +∞ when all are 0.
    least: f64,
    /// Is an entry infinite?
    infinite: bool,
}

impl Kinds {
    fn of(data: &[Mag]) -> Kinds {
        const BLOCK: usize = 1 << 14;
        let block = |b: usize| {
            let mut found = Kinds { least: f64::INFINITY, infinite: false };
            for &x in Mag::as_f64s(&data[b * BLOCK..data.len().min((b + 1) * BLOCK)]) {
                found.least = if x > 0.0 && x < found.least { x } else { found.least };
                found.infinite |= x == f64::INFINITY;
            }
            found
        };
        let blocks = parallel::map(data.len().div_ceil(BLOCK), 1, block);
        Kinds {
            least: blocks.iter().fold(f64::INFINITY, |least, b| least.min(b.least)),
            infinite: blocks.iter().any(|b| b.infinite),
        }
    }
}
