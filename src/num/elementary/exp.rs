//! The exponential and what is made of it.
//!
//! Reduction: x = k·ln 2 + r with |r| ≤ ½ ln 2 (1 + 2^−40). k·LN2_HI is exact and within a factor of 2 of x for
//! k ≠ 0 (and 0 for k = 0), so x − k·LN2_HI is exact (Sterbenz); the rest costs 2^−54 absolutely.

use super::log::log1p;
use super::{LN2_HI, LN2_LO, SHIFT, poly};

/// (e^r − 1 − r)/r², Taylor: 1/2!, 1/3!, … 1/13!. The remainder is below r^14/14!·1.2 < 2^−57.
const TAYLOR: [f64; 12] = [
    1.0 / 2.0,
    1.0 / 6.0,
    1.0 / 24.0,
    1.0 / 120.0,
    1.0 / 720.0,
    1.0 / 5_040.0,
    1.0 / 40_320.0,
    1.0 / 362_880.0,
    1.0 / 3_628_800.0,
    1.0 / 39_916_800.0,
    1.0 / 479_001_600.0,
    1.0 / 6_227_020_800.0,
];

/// For |x| ≤ 750 and a small correction `lo`: x + lo = k·ln 2 + r; returns e^r − 1 and k, shifted by [`SHIFT`].
#[inline(always)]
fn reduced(x: f64, lo: f64) -> (f64, f64) {
    let shifted = x * std::f64::consts::LOG2_E + SHIFT;
    let k = shifted - SHIFT;
    let r = ((x - k * LN2_HI) - k * LN2_LO) + lo;
    // e^r − 1 = r + r²·(1/2! + r/3! + …): relative error 2^−52.5, for the last sum rounds r + (≤ 0.2·r)
    (r + r * r * poly(r, &TAYLOR), shifted)
}

/// e^(x + lo) for any x, with |lo| ≤ 2^−20·|x|.
#[inline(always)]
pub(super) fn exp_with(x: f64, lo: f64) -> f64 {
    // Beyond these e^x is 0 or ∞ in binary64. Comparisons let NaN pass.
    let lo = if x.abs() < 746.0 { lo } else { 0.0 };
    let x = if x < -746.0 { -746.0 } else { x };
    let x = if x > 710.0 { 710.0 } else { x };
    let (p, shifted) = reduced(x, lo);
    // 2^k as a product of two powers, since k may exceed the exponents; 4096 keeps the halving unsigned.
    let biased = shifted.to_bits().wrapping_sub(SHIFT.to_bits()).wrapping_add(4096);
    let half = biased >> 1;
    let rest = biased.wrapping_sub(half);
    let power = |half: u64| f64::from_bits(half.wrapping_sub(2048).wrapping_add(1023) << 52);
    // 1 + p rounds once: 2^−53 relative to a number ≥ 0.7, and p's own error is smaller
    (1.0 + p) * power(half) * power(rest)
}

/// e^x.
#[inline(always)]
pub fn exp(x: f64) -> f64 {
    exp_with(x, 0.0)
}

/// e^x − 1.
// e^x − 1 = 2^k·(e^r − 1) + (2^k − 1). For k = 0 the second term vanishes. For k = 1 the sum is ≥ 0.41 with terms
// ≤ 1, for k = −1 ≥ 0.29 in magnitude with terms ≤ 0.5; otherwise the second term dominates: about 2^−51.
#[inline(always)]
pub fn expm1(x: f64) -> f64 {
    // Below −60 it is −1 within 2^−86; above 709.8 it overflows.
    let y = if x < -60.0 { -60.0 } else { x };
    let y = if y > 709.8 { 709.8 } else { y };
    let (p, shifted) = reduced(y, 0.0);
    let k = shifted.to_bits().wrapping_sub(SHIFT.to_bits());
    // 2^(k−1), doubled at the end, since k reaches 1024
    let power = f64::from_bits(k.wrapping_add(1022) << 52);
    let e = 2.0 * (power * p + (power - 0.5));
    // keeps the sign of zero
    if x == 0.0 { x } else { e }
}

/// tanh x.
// With t = e^(2a) − 1, a = |x|: tanh a = t/(t + 2). An error of t counts 2/(t+2) ≤ 1 times; two roundings more.
#[inline(always)]
pub fn tanh(x: f64) -> f64 {
    let a = x.abs();
    // 1 − tanh 22 < 2^−62
    let a = if a > 22.0 { 22.0 } else { a };
    let t = expm1(2.0 * a);
    (t / (t + 2.0)).copysign(x)
}

/// The logistic function 1/(1 + e^−x); 1 − sigmoid(x) is sigmoid(−x).
// e^−x carries 2^−52, the sum and the quotient 2^−53 each; nothing cancels.
#[inline(always)]
pub fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + exp(-x))
}

/// ln(1 + e^x).
// max(x, 0) + ln(1 + e^−|x|): both terms are non-negative, and the second inherits e^−|x|'s relative error.
#[inline(always)]
pub fn softplus(x: f64) -> f64 {
    let positive = if x < 0.0 { 0.0 } else { x };
    positive + log1p(exp(-x.abs()))
}

/// sinh x; ∞ from |x| = 709.8 on.
// With t = e^a − 1: (t + t/(t+1))/2, sums of non-negative terms. Beyond 20, t/(t+1) is 1 within 2^−28, and
// t is ≥ 2^28: an error of 2^−56.
#[inline(always)]
pub fn sinh(x: f64) -> f64 {
    let a = x.abs();
    let t = expm1(a);
    let q = if a > 20.0 { 1.0 } else { t / (t + 1.0) };
    (0.5 * (t + q)).copysign(x)
}

/// cosh x; ∞ from |x| = 709.8 on.
#[inline(always)]
pub fn cosh(x: f64) -> f64 {
    let e = exp(x.abs());
    0.5 * (e + 1.0 / e)
}
