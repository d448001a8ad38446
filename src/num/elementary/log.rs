//! The logarithm and the power.
//!
//! x = 2^e·m with m in [√½, √2); f = m − 1 is exact; s = f/(2 + f); ln m = 2·atanh s = 2s + 2s³/3 + …

use super::exp::exp_with;
use super::{LN2_HI, LN2_LO, SHIFT, poly};

/// (2·atanh s − 2s)/s³ in z = s² ≤ 0.0295, Taylor: 2/3, 2/5, … 2/21. The remainder, relative to 2s, is below
/// z^10/21·1.04 < 2^−55.
const TAYLOR: [f64; 9] =
    [2.0 / 3.0, 2.0 / 5.0, 2.0 / 7.0, 2.0 / 9.0, 2.0 / 11.0, 2.0 / 13.0, 2.0 / 15.0, 2.0 / 17.0, 2.0 / 19.0];

/// e and m of a positive normal number.
#[inline(always)]
fn split(x: f64) -> (f64, f64) {
    // Subtracting the pattern of √½ moves the binade boundary there.
    let offset = x.to_bits().wrapping_sub(std::f64::consts::FRAC_1_SQRT_2.to_bits());
    let m = f64::from_bits(x.to_bits().wrapping_sub(offset & (0xfff << 52)));
    // The exponent plus 2048, as an integer in the low bits of 2^52.
    let biased = offset.wrapping_add(2048 << 52) >> 52;
    let e = f64::from_bits((1075 << 52) | biased) - (4_503_599_627_370_496.0 + 2048.0);
    (e, m)
}

/// ln x + c, for positive normal x and small c.
// e·LN2_HI is exact. For e ≠ 0 the sum is ≥ 0.34 in magnitude, no term above 1.5 times that; for e = 0 it is
// 2s + …, with s within 2^−52. In all below 2^−50.
#[inline(always)]
fn log_with(x: f64, c: f64) -> f64 {
    let (e, m) = split(x);
    let f = m - 1.0;
    let s = f / (2.0 + f);
    let z = s * s;
    e * LN2_HI + (2.0 * s + (s * z * poly(z, &TAYLOR) + (c + e * LN2_LO)))
}

/// ln x; −∞ at 0, NaN below.
#[inline(always)]
pub fn log(x: f64) -> f64 {
    let y = log_with(x, 0.0);
    let y = if x == f64::INFINITY { x } else { y };
    let y = if x == 0.0 { f64::NEG_INFINITY } else { y };
    if x >= 0.0 { y } else { f64::NAN }
}

/// ln(1 + x), also for general binary64 arguments; −∞ at −1, NaN below.
// With w = fl(1 + x): ln(1 + x) = ln w + ln(1 + (1 + x − w)/w), where 1 + x − w is exact and the quotient c is below
// 2^−53, so ln(1 + c) = c up to c²/2. If w = 1, the result is c = x.
#[inline(always)]
pub fn log1p(x: f64) -> f64 {
    let w = 1.0 + x;
    let lost = if x.abs() < 1.0 { x - (w - 1.0) } else { 1.0 - (w - x) };
    let y = log_with(w, lost / w);
    let y = if x == f64::INFINITY { x } else { y };
    let y = if x == -1.0 { f64::NEG_INFINITY } else { y };
    // keeps the sign of zero
    let y = if x == 0.0 { x } else { y };
    if x >= -1.0 { y } else { f64::NAN }
}

/// x^p for a binary32 value x. For x < 0 the result is NaN unless p is an integer; x^0 = 1.
// p·ln x reaches 104 in magnitude where the result is in range, so ln x is needed with 7 bits more than the result:
// ln x = hi + lo within 2^−57 and p = p_hi + p_lo, with 29 and 24 bits, so that p_hi·hi is exact.
#[inline(always)]
pub fn pow(x: f64, p: f64) -> f64 {
    let (e, m) = split(x.abs());
    // f and d are exact, as m has 24 bits
    let (f, d) = (m - 1.0, m + 1.0);
    let inverse = 1.0 / d;
    let s = f * inverse;
    // 28 bits of s, so that s_hi·d and (Sterbenz) f − s_hi·d are exact
    let s_hi = leading(s, 25);
    let s_lo = (f - s_hi * d) * inverse;
    let z = s * s;
    // the tail is at most 1 % of 2s, and so is what its roundings weigh
    let tail = s * z * poly(z, &TAYLOR);
    let (a, b) = (e * LN2_HI, 2.0 * s_hi);
    // Fast2Sum: a = 0 or |a| > |b|
    let sum = a + b;
    let lost = b - (sum - a);
    let rest = lost + (e * LN2_LO + (2.0 * s_lo + tail));
    let hi = leading(sum + rest, 24);
    // sum − hi is exact (they differ by less than 2 %), so that lo ≤ 2^−28·hi
    let lo = (sum - hi) + rest;
    let p_hi = leading(p, 29);
    let y = exp_with(p_hi * hi, p_hi * lo + (p - p_hi) * (hi + lo));
    // An integer below 2^50 survives SHIFT, with its parity in the last bit; of larger exponents only binary32 values
    // matter, which are even.
    let shifted = p + SHIFT;
    let large = p.abs() > 1e15;
    let integer = large || shifted - SHIFT == p;
    let odd = !large && shifted.to_bits() & 1 == 1;
    let signed = if odd { -y } else { y };
    let signed = if integer { signed } else { f64::NAN };
    let y = if x < 0.0 { signed } else { y };
    // 0 and ∞, and NaN stays
    let (low, high) = (x.abs(), 1.0 / x.abs());
    let limit = if p > 0.0 { low } else { high };
    let y = if x.abs() > 0.0 && x.abs() < f64::INFINITY { y } else { limit };
    if p == 0.0 { 1.0 } else { y }
}

/// x with its last `bits` bits cleared.
#[inline(always)]
fn leading(x: f64, bits: u32) -> f64 {
    f64::from_bits(x.to_bits() & (u64::MAX << bits))
}
