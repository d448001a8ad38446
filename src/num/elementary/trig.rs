//! Sine, cosine and tangent, for all binary32 arguments.
//!
//! Reduction: x = k·π/2 + r with |r| ≤ π/4 (1 + 2^−30). A binary32 number that isn't 0 keeps a distance of more than
//! 2^−34 from multiples of π/2 (relative to which both ways below are accurate to 2^−52).

use super::{SHIFT, poly};

/// (sin r − r)/r³ in r², Taylor: −1/3!, 1/5!, … −1/15!. The remainder, relative to sin r, is below 2^−56.
const SIN: [f64; 7] = [
    -1.0 / 6.0,
    1.0 / 120.0,
    -1.0 / 5_040.0,
    1.0 / 362_880.0,
    -1.0 / 39_916_800.0,
    1.0 / 6_227_020_800.0,
    -1.0 / 1_307_674_368_000.0,
];

/// cos r in r², Taylor: 1, −1/2!, … 1/16!. The remainder is below 2^−58.
const COS: [f64; 9] = [
    1.0,
    -1.0 / 2.0,
    1.0 / 24.0,
    -1.0 / 720.0,
    1.0 / 40_320.0,
    -1.0 / 3_628_800.0,
    1.0 / 479_001_600.0,
    -1.0 / 87_178_291_200.0,
    1.0 / 20_922_789_888_000.0,
];

/// π/2 in three parts, two of 33 bits.
const PIO2: [f64; 3] = [1.5707963267341256, 6.077100506303966e-11, 2.0222662487959506e-21];

/// 2/π in binary, after 64 zeros.
const TWO_OVER_PI: [u64; 6] = [
    0,
    0xa2f9_836e_4e44_1529,
    0xfc27_57d1_f534_ddc0,
    0xdb62_9599_3c43_9041,
    0xfe51_63ab_debb_c561,
    0xb724_6e3a_424d_d2e0,
];

/// r and k mod 4.
// k·PIO2[0] is exact for |k| < 2^20, a multiple of 2^−32; so is x for k ≠ 0: the first difference is exact. The second
// subtrahend is an exact multiple of 2^−66: the difference is exact when it is below 2^−13, else rounded relatively.
// The third term is below 2^−46 with an error below 2^−98.
#[inline(always)]
fn reduced(x: f64) -> (f64, u64) {
    if x.abs() < 1_048_576.0 {
        let shifted = x * std::f64::consts::FRAC_2_PI + SHIFT;
        let k = shifted - SHIFT;
        let r = ((x - k * PIO2[0]) - k * PIO2[1]) - k * PIO2[2];
        (r, shifted.to_bits() & 3)
    } else {
        reduced_large(x)
    }
}

/// The same for 2^20 ≤ |x| < 2^128, by Payne and Hanek's method: only those bits of 2/π count whose product with x is
/// not a multiple of 4.
// |x| = m·2^e with 2^23 ≤ m < 2^24. With w = the 128 bits of 2/π from weight 2^(1−e) down, m·w·2^−126 is x·2/π mod 4 up
// to m·2^−126 < 2^−102, absolutely.
#[inline(never)]
fn reduced_large(x: f64) -> (f64, u64) {
    if !x.is_finite() {
        return (f64::NAN, 0);
    }
    let bits = (x.abs() as f32).to_bits();
    let m = u128::from(bits & 0x7f_ffff | 0x80_0000);
    let e = (bits >> 23) as usize - 150 + 64;
    // bit i after the point of 2/π has weight 2^−i and stands at position 63 + i; the first one needed is i = e − 1
    let position = e - 2;
    let word = |i: usize| u128::from(TWO_OVER_PI[position / 64 + i]);
    let w = match position % 64 {
        0 => word(0) << 64 | word(1),
        s => word(0) << (64 + s) | word(1) << s | word(2) >> (64 - s),
    };
    let product = m.wrapping_mul(w);
    // the two leading bits are the quadrant, the others the fraction, taken in [−½, ½)
    let fraction = (product << 2) as i128;
    let k = (product >> 126) as u64 + u64::from(fraction < 0);
    // 2^−128
    let unit = f64::from_bits((1023 - 128) << 52);
    let r = fraction as f64 * unit * std::f64::consts::FRAC_PI_2;
    if x < 0.0 { (-r, 4 - (k & 3)) } else { (r, k) }
}

/// sin r and cos r for |r| ≤ π/4.
#[inline(always)]
fn both(r: f64) -> (f64, f64) {
    let z = r * r;
    (r + r * z * poly(z, &SIN), poly(z, &COS))
}

/// sin x.
#[inline(always)]
pub fn sin(x: f64) -> f64 {
    let (r, k) = reduced(x);
    let (s, c) = both(r);
    let y = if k & 1 == 0 { s } else { c };
    if k & 2 == 0 { y } else { -y }
}

/// cos x.
#[inline(always)]
pub fn cos(x: f64) -> f64 {
    let (r, k) = reduced(x);
    let (s, c) = both(r);
    let y = if k & 1 == 0 { c } else { s };
    if (k + 1) & 2 == 0 { y } else { -y }
}

/// tan x.
#[inline(always)]
pub fn tan(x: f64) -> f64 {
    let (r, k) = reduced(x);
    let (s, c) = both(r);
    if k & 1 == 0 { s / c } else { -c / s }
}
