//! Inverse circular and hyperbolic functions.
//!
//! The coefficients interpolate at Chebyshev nodes, computed with 70 digits; the errors stated are those of the
//! rounded coefficients.

use std::f64::consts::{FRAC_PI_2, FRAC_PI_4, PI};

use super::log::log1p;
use super::poly;

/// atan(√z)/√z on [0, 0.17158], within 2^−58 (relative).
const ATAN: [f64; 12] = [
    1.0,
    -0.3333333333333312,
    0.19999999999940868,
    -0.14285714279248055,
    0.11111110744810647,
    -0.09090896805912162,
    0.07692045274291998,
    -0.06662951162727927,
    0.05846873503411509,
    -0.05035080589113427,
    0.03796469507021349,
    -0.01780477396050943,
];

/// asin(√z)/√z on [0, 0.2501], within 2^−54.9 (relative).
const ASIN: [f64; 13] = [
    1.0,
    0.1666666666666493,
    0.07500000000387176,
    0.04464285680440833,
    0.030381959763522627,
    0.02237174813285566,
    0.01735980419862596,
    0.013884595666751895,
    0.01217179262926294,
    0.006522012095112648,
    0.019533790077262372,
    -0.016219858915579775,
    0.03190226584034381,
];

/// atan x.
// atan a = atan c + atan((a − c)/(1 + a·c)) with c = 0, 1, ∞, chosen so that the argument is at most tan(π/8) = √2 − 1.
// For c = 1 and ∞ the sum is at least half of its larger term.
#[inline(always)]
pub fn atan(x: f64) -> f64 {
    let a = x.abs();
    let (low, high) = (a <= 0.414_213_562_4, a > 2.414_213_562_3);
    let base = if low { 0.0 } else { FRAC_PI_4 };
    let base = if high { FRAC_PI_2 } else { base };
    let up = if low { a } else { a - 1.0 };
    let up = if high { -1.0 } else { up };
    let down = if low { 1.0 } else { a + 1.0 };
    let down = if high { a } else { down };
    let t = up / down;
    (base + t * poly(t * t, &ATAN)).copysign(x)
}

/// asin t for |t| ≤ ½, given t and t².
#[inline(always)]
fn asin_small(t: f64, z: f64) -> f64 {
    t * poly(z, &ASIN)
}

/// asin x; NaN beyond ±1.
// Above ½: π/2 − 2·asin √((1−a)/2), where 1 − a is exact and the difference is at least a third of π/2.
#[inline(always)]
pub fn asin(x: f64) -> f64 {
    let a = x.abs();
    let half = 0.5 * (1.0 - a);
    let small = asin_small(a, a * a);
    let large = FRAC_PI_2 - 2.0 * asin_small(half.sqrt(), half);
    (if a <= 0.5 { small } else { large }).copysign(x)
}

/// acos x; NaN beyond ±1.
// Above ½: 2·asin √((1−x)/2), without cancellation; below −½: π minus that of −x.
#[inline(always)]
pub fn acos(x: f64) -> f64 {
    let a = x.abs();
    let half = 0.5 * (1.0 - a);
    let middle = FRAC_PI_2 - asin_small(x, a * a);
    let right = 2.0 * asin_small(half.sqrt(), half);
    let outer = if x < 0.0 { PI - right } else { right };
    if a <= 0.5 { middle } else { outer }
}

/// asinh x.
// ln(1 + a + a²/(1 + √(1 + a²))): sums of non-negative terms, and ln(1 + y) doesn't enlarge y's relative error.
#[inline(always)]
pub fn asinh(x: f64) -> f64 {
    let a = x.abs();
    let s = a * a;
    log1p(a + s / (1.0 + (1.0 + s).sqrt())).copysign(x)
}

/// acosh x; NaN below 1.
// With t = x − 1, exact: ln(1 + t + √(2t + t²)).
#[inline(always)]
pub fn acosh(x: f64) -> f64 {
    let t = x - 1.0;
    let y = log1p(t + (2.0 * t + t * t).sqrt());
    if x >= 1.0 { y } else { f64::NAN }
}

/// atanh x; ±∞ at ±1, NaN beyond.
// ½·ln(1 + 2a/(1 − a)), where 1 − a is exact for binary32 values above 2^−29 and otherwise rounds by 2^−53.
#[inline(always)]
pub fn atanh(x: f64) -> f64 {
    let a = x.abs();
    (0.5 * log1p(2.0 * a / (1.0 - a))).copysign(x)
}
