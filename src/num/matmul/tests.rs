use proptest::prelude::*;
use rug::Float;

use super::*;
use crate::num::Mag;
use crate::num::reduce::{BLOCK, height};

/// The documented contraction, written down as it is documented, with its height.
fn dot_reference(a: &[f32], b: &[f32]) -> (f32, usize) {
    fn split(parts: &[(f32, usize)]) -> (f32, usize) {
        if parts.len() == 1 {
            return parts[0];
        }
        let mut left = 1;
        while 2 * left < parts.len() {
            left *= 2;
        }
        let ((x, hx), (y, hy)) = (split(&parts[..left]), split(&parts[left..]));
        (x + y, 1 + hx.max(hy))
    }
    let blocks: Vec<(f32, usize)> = a
        .chunks(BLOCK)
        .zip(b.chunks(BLOCK))
        .map(|(a, b)| (a.iter().zip(b).fold(0.0, |acc, (&x, &y)| x.mul_add(y, acc)), a.len()))
        .collect();
    if blocks.is_empty() { (0.0, 0) } else { split(&blocks) }
}

/// Numbers of mixed sign and magnitude, the same on every machine.
fn numbers(n: usize, seed: u64) -> Vec<f32> {
    let mut s = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..n)
        .map(|_| {
            s = s.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let scale = f32::from_bits((117 + (s >> 60) as u32) << 23);
            ((s >> 33) as f32 / (1u64 << 30) as f32 - 1.0) * scale
        })
        .collect()
}

/// A copy of the row-major `x` (rows × cols) in another layout: 0 row-major, 1 transposed, 2 with
/// gaps in both directions.
fn layout(x: &[f32], rows: usize, cols: usize, how: usize) -> (Vec<f32>, usize, usize) {
    let (rs, cs) = [(cols, 1), (1, rows), (3 * cols + 5, 3)][how];
    let len = if x.is_empty() { 0 } else { (rows - 1) * rs + (cols - 1) * cs + 1 };
    let mut out = vec![f32::NAN; len];
    for i in 0..rows {
        for j in 0..cols {
            out[i * rs + j * cs] = x[i * cols + j];
        }
    }
    (out, rs, cs)
}

fn assert_exact_bits(m: usize, n: usize, k: usize, how: (usize, usize)) {
    let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
    let (da, ra, ca) = layout(&a, m, k, how.0);
    let (db, rb, cb) = layout(&b, k, n, how.1);
    let mut c = vec![f32::NAN; m * n];
    let va = View { data: &da, row_stride: ra, col_stride: ca };
    let vb = View { data: &db, row_stride: rb, col_stride: cb };
    c = matmul(va, vb, m, n, k);
    // All entries of small products, a sample of large ones that meets every tile edge.
    let step = 1 + m * n * k / 3_000_000;
    for i in 0..m {
        for j in (i % step..n).step_by(step) {
            let column: Vec<f32> = (0..k).map(|p| b[p * n + j]).collect();
            let (want, h) = dot_reference(&a[i * k..][..k], &column);
            assert!(h <= height(k));
            let got = c[i * n + j];
            assert_eq!(got.to_bits(), want.to_bits(), "{m}×{n}×{k}, layout {how:?}, entry {i},{j}: {got:e} {want:e}");
        }
    }
}

#[test]
fn bits_equal_the_scalar_chains_for_all_lengths() {
    for k in [0, 1, 7, 8, 9, 31, 32, 33, 63, 64, 65, 128, 129, 255, 256, 257, 511, 513, 768, 1000, 1025, 2303, 4097] {
        for how in [(0, 0), (0, 1), (1, 0), (1, 1), (2, 2)] {
            assert_exact_bits(5, 19, k, how);
            assert_exact_bits(1, 70, k, how);
            assert_exact_bits(3, 1, k, how);
        }
    }
}

#[test]
fn bits_equal_the_scalar_chains_for_all_shapes() {
    let sizes = [0, 1, 2, 5, 7, 8, 9, 12, 13, 31, 32, 33, 63, 64, 65];
    for m in sizes {
        for n in sizes {
            assert_exact_bits(m, n, 70, (m % 3, n % 3));
        }
    }
    for (m, n, k) in [(1, 4097, 300), (4097, 1, 300), (2, 1000, 65), (1000, 3, 129), (150, 530, 300), (300, 1100, 33)] {
        for how in [(0, 0), (0, 1), (1, 0), (2, 1)] {
            assert_exact_bits(m, n, k, how);
        }
    }
}

#[test]
fn bits_do_not_depend_on_the_instruction_set() {
    let mut archs = vec![("scalar", pulp::Arch::Scalar), ("best", pulp::Arch::new())];
    #[cfg(target_arch = "x86_64")]
    if let Some(v3) = pulp::x86::V3::try_new() {
        archs.push(("avx2", pulp::Arch::V3(v3)));
    }
    for (m, n, k) in [(1, 1, 1), (7, 9, 65), (1, 37, 300), (37, 1, 300), (13, 17, 1025), (32, 70, 129)] {
        let (a, b) = (numbers(m * k, 11), numbers(k * n, 12));
        for transposed in [false, true] {
            let vb = if transposed { View::rows(&b, k).t() } else { View::rows(&b, n) };
            for &(name, arch) in &archs {
                let c = super::tiling::batched_on(arch, View::rows(&a, k), vb, &[(0, 0)], (m, n, k));
                for (at, got) in c.iter().enumerate() {
                    let column: Vec<f32> = (0..k).map(|p| b[p * vb.row_stride + at % n * vb.col_stride]).collect();
                    let (want, _) = dot_reference(&a[at / n * k..][..k], &column);
                    assert_eq!(got.to_bits(), want.to_bits(), "{m}×{n}×{k} on {name}, entry {at}");
                }
            }
        }
    }
}

#[test]
fn bits_do_not_depend_on_threads() {
    for (m, n, k) in [(129, 1000, 257), (64, 64, 4097), (1, 5000, 1000), (700, 9, 800)] {
        let (a, b) = (numbers(m * k, 3), numbers(k * n, 4));
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let c = pool.install(|| matmul(View::rows(&a, k), View::rows(&b, n), m, n, k));
            c.iter().map(|x| x.to_bits()).collect::<Vec<u32>>()
        };
        let one = run(1);
        for threads in [2, 3, 8] {
            assert_eq!(one, run(threads), "{m}×{n}×{k} on {threads} threads");
        }
    }
}

#[test]
fn batches_equal_single_products() {
    for (m, n, k, batch) in [(3, 5, 40, 4), (64, 64, 64, 9), (1, 33, 100, 7), (40, 2, 9, 5), (0, 3, 2, 2), (3, 3, 3, 0)]
    {
        let (a, b) = (numbers(m * k * batch, 5), numbers(k * n * 2, 6));
        // B is shared by every other entry, as broadcasting does.
        let offsets: Vec<(usize, usize)> = (0..batch).map(|i| (i * m * k, i % 2 * k * n)).collect();
        let c = batched(View::rows(&a, k), View::rows(&b, n), &offsets, m, n, k);
        for (i, &(oa, ob)) in offsets.iter().enumerate() {
            let one = matmul(View::rows(&a, k).from(oa), View::rows(&b, n).from(ob), m, n, k);
            let bits = |x: &[f32]| x.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&one), bits(&c[i * m * n..][..m * n]), "{m}×{n}×{k}, entry {i}");
        }
    }
}

#[test]
fn infinities_and_nan_stay_in_their_entries() {
    let (m, n, k) = (13, 35, 40);
    let (mut a, b) = (numbers(m * k, 7), numbers(k * n, 8));
    a[3 * k + 2] = f32::INFINITY;
    a[5 * k + 7] = f32::NAN;
    let c = matmul(View::rows(&a, k), View::rows(&b, n), m, n, k);
    for i in 0..m {
        assert!(c[i * n..][..n].iter().all(|x| x.is_finite() == (i != 3 && i != 5)), "row {i}");
    }
}

#[test]
#[should_panic(expected = "matrix B of 3×4")]
fn a_view_that_is_too_short_is_refused() {
    let (a, b) = ([0.0; 6], [0.0; 11]);
    matmul(View::rows(&a, 3), View::rows(&b, 4), 2, 4, 3);
}

/// Σ of exact products, 0·∞ = 0; `None` is +∞.
fn exact_dot(pairs: impl Iterator<Item = (f64, f64)>) -> Option<Float> {
    let mut s = Float::with_val(4400, 0);
    for (x, y) in pairs {
        if x == 0.0 || y == 0.0 {
            continue;
        }
        if x.is_infinite() || y.is_infinite() {
            return None;
        }
        s += Float::with_val(120, x) * y;
    }
    Some(s)
}

fn magnitude() -> impl Strategy<Value = f64> {
    prop_oneof![
        2 => Just(0.0),
        4 => 0.0..1e3f64,
        1 => (0u64..1 << 54).prop_map(f64::from_bits),
        2 => (-560i32..560, 1.0..2.0f64).prop_map(|(e, x)| x * 2f64.powi(e)),
        1 => prop_oneof![Just(f64::INFINITY), Just(f64::MAX), Just(f64::from_bits(1))],
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn products_of_magnitudes_never_round_down(
        (m, n, k) in (0usize..6, 0usize..6, 0usize..40),
        pool in prop::collection::vec(magnitude(), 1..60),
        wild in any::<bool>(),
        transposed in any::<bool>(),
    ) {
        let value = |i: usize| {
            let v = pool[i * 7919 % pool.len()];
            if wild || (v < 1e3 && v > 1e-3) { v } else { 0.0 }
        };
        let a: Vec<Mag> = (0..m * k).map(|i| Mag::of(value(i))).collect();
        let b: Vec<Mag> = (0..k * n).map(|i| Mag::of(value(i + 31))).collect();
        let va = if transposed { View::rows(&a, m).t() } else { View::rows(&a, k) };
        let vb = View::rows(&b, n);
        let c = matmul_up(va, vb, m, n, k);
        for i in 0..m {
            for j in 0..n {
                let pairs = (0..k).map(|p| {
                    (a[i * va.row_stride + p * va.col_stride].get(), b[p * n + j].get())
                });
                let got = c[i * n + j];
                match exact_dot(pairs) {
                    None => prop_assert!(!got.is_finite()),
                    Some(want) => {
                        prop_assert!(got.get() >= want, "{:e} < {want:e}", got.get());
                        // and it is tight wherever it could be
                        if !wild {
                            prop_assert!(got.get() <= Float::with_val(200, &want * (1.0 + 1e-13)));
                        }
                    }
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    /// |computed − exact| ≤ ((1+u)^h − 1)·Σ|ab| + n·(η/2)·(1+u)^h, with cancellation and underflow.
    #[test]
    fn the_error_is_within_the_recorded_height(
        pairs in prop::collection::vec((-1.0..1.0f32, -1.0..1.0f32), 0..200),
        scale in -80i32..20,
        cancel in any::<bool>(),
    ) {
        let s = 2f32.powi(scale);
        let mut a: Vec<f32> = pairs.iter().map(|p| p.0 * s).collect();
        let mut b: Vec<f32> = pairs.iter().map(|p| p.1 * s).collect();
        if cancel {
            a.extend(a.clone());
            b.extend(b.iter().map(|x| -x).collect::<Vec<f32>>());
        }
        let k = a.len();
        let c = matmul(View::rows(&a, k), View::rows(&b, 1), 1, 1, k);
        let (mut exact, mut sum, mut growth) = (Float::new(900), Float::new(900), Float::with_val(900, 1));
        for (&x, &y) in a.iter().zip(&b) {
            let t = Float::with_val(60, x) * y;
            exact += &t;
            sum += t.abs();
        }
        let u = Float::with_val(900, 1) >> 24;
        for _ in 0..height(k) {
            growth *= Float::with_val(900, 1 + &u);
        }
        let underflow = (Float::with_val(900, k) >> 150) * &growth;
        let bound = sum * (growth - 1u32) + underflow;
        let err = Float::with_val(900, exact - c[0]).abs();
        prop_assert!(err <= bound, "{err:e} > {bound:e}");
    }
}

#[test]
fn binary64_products_are_within_their_bound() {
    for (m, n, k) in [(1, 1, 1), (3, 4, 2), (2, 2, 1000), (17, 5, 65), (4, 4, 0)] {
        let a: Vec<f64> = numbers(m * k, 9).iter().map(|&x| f64::from(x) / 3.0).collect();
        let b: Vec<f64> = numbers(k * n, 10).iter().map(|&x| f64::from(x) / 7.0).collect();
        let c = matmul_f64(View::rows(&a, k), View::rows(&b, n), m, n, k);
        for i in 0..m {
            for j in 0..n {
                let (mut s, mut abs) = (Float::with_val(400, 0), Float::with_val(400, 0));
                for p in 0..k {
                    let t = Float::with_val(400, a[i * k + p]) * b[p * n + j];
                    s += &t;
                    abs += t.abs();
                }
                let err = (s - c[i * n + j]).abs();
                assert!(err <= abs * (k as f64 * 2f64.powi(-53)), "{m}×{n}×{k}");
            }
        }
    }
}
