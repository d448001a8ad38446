//! Midpoints as balanced digits, and as magnitudes relative to a power of two.

use crate::num::Mag;
use gmp_mpfr_sys::gmp::limb_t;
use rug::Float;

/// Bits of a limb.
const LIMB: i64 = 64;
const _: () = assert!(limb_t::BITS == 64, "sliced products are written for limbs of 64 bits");

/// Scaled magnitudes are at least 2^−FLOOR, so that products of two never underflow.
pub(super) const FLOOR: i64 = 500;

/// The significand of a number that is neither 0, ∞ nor NaN, least limb first; its first bit is 1.
fn limbs(x: &Float) -> &[limb_t] {
    debug_assert!(x.is_normal());
    let n = x.prec().div_ceil(64) as usize;
    // SAFETY: MPFR keeps the significand of a number of p bits in ⌈p/64⌉ limbs at `d`, initialised for
    // regular numbers, and they live and stay unchanged as long as the borrowed number.
    unsafe { std::slice::from_raw_parts((*x.as_raw()).d.as_ptr(), n) }
}

/// Exponents of the first and the last non-zero bit: |x| < 2^first, and x is a multiple of 2^last.
pub(super) fn span(x: &Float) -> Option<(i64, i64)> {
    let first = i64::from(x.get_exp()?);
    let limbs = limbs(x);
    let zeros = limbs.iter().position(|&l| l != 0).expect("the first bit is 1");
    let from_end = zeros as i64 * LIMB + i64::from(limbs[zeros].trailing_zeros());
    Some((first, first - limbs.len() as i64 * LIMB + from_end))
}

/// Cuts x into `count` digits of `beta` bits below 2^(top+1), where |x| < 2^top, and hands (s, d_s) to
/// `put`, last first. Says whether a remainder, at most half a last digit, was left.
#[inline]
pub(super) fn cut(x: &Float, top: i64, beta: u32, count: usize, mut put: impl FnMut(usize, f64)) -> bool {
    let limbs = limbs(x);
    let n = limbs.len() as i64;
    let limb = |q: i64| if (0..n).contains(&q) { limbs[(n - 1 - q) as usize] } else { 0 };
    // 64 bits of the significand, from its bit `at` on, counted from the first
    let word = |at: i64| {
        let (q, r) = (at >> 6, (at & 63) as u32);
        if r == 0 { limb(q) } else { limb(q) << r | limb(q + 1) >> (64 - r) }
    };
    let beta_i = i64::from(beta);
    let (base, half) = (1i64 << beta, 1i64 << (beta - 1));
    let sign = if x.is_sign_negative() { -1.0 } else { 1.0 };
    let lead = top + 1 - i64::from(x.get_exp().expect("a regular number"));
    let mut at = beta_i * count as i64 - lead;
    // nearest: the first bit that is left out is carried; everything from `at` on is left out
    let mut carry = (word(at) >> 63) as i64;
    let left_out = at < n * LIMB && rest(limbs, at.max(0));
    for s in (0..count).rev() {
        at -= beta_i;
        let mut d = (word(at) >> (64 - beta)) as i64 + carry;
        // balanced: −2^(β−1) < d ≤ 2^(β−1)
        carry = i64::from(d > half);
        d -= base * carry;
        put(s, d as f64 * sign);
    }
    // the first digit is below 2^(β−1) before the carry, because its first bit is that of 2^top
    debug_assert_eq!(carry, 0);
    left_out
}

/// Is a bit from position `at` on (counted from the first) set?
fn rest(limbs: &[limb_t], at: i64) -> bool {
    let (q, r) = ((at >> 6) as usize, (at & 63) as u32);
    let last = limbs.len() - 1 - q;
    limbs[last] << r != 0 || limbs[..last].iter().any(|&l| l != 0)
}

/// |x|/2^scale for |x| < 2^scale, rounded up, and at least 2^−FLOOR unless x = 0.
#[inline]
pub(super) fn magnitude(x: &Float, scale: i64) -> Mag {
    let Some(e) = x.get_exp() else { return Mag::ZERO };
    let e = i64::from(e) - scale;
    if e <= -FLOOR {
        return Mag::exp2(-FLOOR);
    }
    // |x| < (m+1)·2^(e−53) with the first 53 bits m
    let limbs = limbs(x);
    let m = (limbs[limbs.len() - 1] >> 11) + 1;
    Mag::of(m as f64) * Mag::exp2(e - 53)
}

/// r/2^scale for r ≤ 2^scale, rounded up, and at least 2^−FLOOR unless r = 0.
#[inline]
pub(super) fn relative(r: Mag, scale: i64) -> Mag {
    if r.is_zero() {
        return r;
    }
    let e = exponent(r) - scale;
    if e <= -FLOOR {
        return Mag::exp2(-FLOOR);
    }
    // The significand of a normal number stays; a subnormal one, whose exponent is −1022 or less, first
    // becomes normal.
    if scale >= -1000 { r * Mag::exp2(-scale) } else { r * Mag::exp2(1000) * Mag::exp2(-scale - 1000) }
}

/// 2^e, at least 2^−FLOOR.
#[inline]
pub(super) fn power(e: i64) -> Mag {
    Mag::exp2(e.max(-FLOOR))
}

/// The least e with r < 2^e, for 0 < r < ∞; something small for 0.
#[inline]
pub(super) fn exponent(r: Mag) -> i64 {
    let bits = r.get().to_bits();
    match (bits >> 52) as i64 {
        0 => 64 - i64::from(bits.leading_zeros()) - 1074,
        e => e - 1022,
    }
}
