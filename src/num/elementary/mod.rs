//! The project's own elementary functions: binary64 kernels for binary32 arguments.
//!
//! Each kernel takes a binary64 number that holds a binary32 value exactly, and returns the function
//! in binary64 with a relative error of at most [`REL`]; [`round32`] of that is within [`ULPS`] units
//! in the last place of the true value, subnormals included. Only + − × ÷ √ and bit operations are
//! used, in a fixed order, so that the bits are the same on every machine, and most kernels have no
//! branches, so that [`map`] runs them in vectors.
//!
//! The bound holds for every finite argument of the domain whose result lies in the range of binary32,
//! [2^−150, 2^128]; results beyond it are on the same side of that range as the true ones, so that they
//! round to the same zero or infinity. Outside the domain the result is NaN, at poles infinite.
//!
//! [`exp()`], [`expm1`], [`log()`], [`log1p`], [`tanh`] and [`sigmoid`] keep the bound for every binary64 argument.
//!
//! Kernels, with the largest relative error seen and the input where it was seen, are listed in
//! [`KERNELS`].

mod exp;
mod gauss;
mod inverse;
mod log;
mod trig;

pub use exp::{cosh, exp, expm1, sigmoid, sinh, softplus, tanh};
pub use gauss::{erf, erf_derivative, erfc};
pub use inverse::{acos, acosh, asin, asinh, atan, atanh};
pub use log::{log, log1p, pow};
pub use trig::{cos, sin, tan};

use super::parallel;
use pulp::{Arch, Simd, WithSimd};

/// Relative error of every kernel: 2^−48. Established in the comments of each, with room to spare, and
/// measured (see [`KERNELS`]).
pub const REL: f64 = 1.0 / (1u64 << 48) as f64;

/// Error of [`round32`] of a kernel's result, in units in the last place of the true value:
/// ½ + 2^24·[`REL`] = ½ + 2^−24.
// For |f| in [2^e, 2^(e+1)) an ulp is 2^(e−23) and the kernel is within REL·2^(e+1) = REL·2^24 ulp;
// rounding adds half an ulp. Where the ulp is that of subnormals it is larger and the same holds.
// At |f| just below 2^(e+1) the result may have the larger ulp of the next binade: it is then 2^(e+1)
// itself, the nearest number from either side, at a distance below the same bound.
pub const ULPS: f64 = 0.5 + (1u64 << 24) as f64 * REL;

/// Rounds a kernel's result to binary32: to nearest even, gradually underflowing.
#[inline(always)]
pub fn round32(x: f64) -> f32 {
    x as f32
}

/// A kernel of one argument with what was measured.
pub struct Kernel {
    /// Its name.
    pub name: &'static str,
    /// The kernel itself.
    pub f: fn(f64) -> f64,
    /// The binary32 input (its bits) with the largest relative error seen, and log2 of that error.
    pub worst: (u32, f64),
    /// How many of all 2^32 inputs don't round to the nearest binary32 number but to its neighbour at very nearly the
    /// same distance (for sigmoid, softplus and erf_derivative: as far as the binary64 reference tells).
    pub misrounded: u32,
}

/// All kernels of one argument.
///
/// Measured on 2026-11-21 with `cargo run --release --example exhaust -- --threads 1 NAME …` against correctly rounded
/// binary64 functions, whose own half ulp the errors include; samples against MPFR. Sin, cos, tan and atanh: all inputs
/// on 2026-11-28 with `--ulps`, which counts and measures what is misrounded (at most ½ + 7·10⁻¹⁰ ulp: sin at
/// 0x46199998); their relative errors are those of a sample, every 1024th input.
pub const KERNELS: &[Kernel] = &[
    Kernel { name: "exp", f: exp, worst: (0x25000000, -52.00), misrounded: 0 },
    Kernel { name: "expm1", f: expm1, worst: (0x3eb1722b, -51.73), misrounded: 0 },
    Kernel { name: "log", f: log, worst: (0x39afe106, -52.00), misrounded: 5 },
    Kernel { name: "log1p", f: log1p, worst: (0x2a801001, -51.00), misrounded: 9 },
    Kernel { name: "tanh", f: tanh, worst: (0x3503aa89, -51.04), misrounded: 0 },
    Kernel { name: "sigmoid", f: sigmoid, worst: (0xc2137643, -50.81), misrounded: 0 },
    Kernel { name: "softplus", f: softplus, worst: (0xc1a6238f, -50.45), misrounded: 0 },
    Kernel { name: "erf", f: erf, worst: (0x3f63c07f, -51.66), misrounded: 0 },
    Kernel { name: "erfc", f: erfc, worst: (0x3f7fffd9, -49.52), misrounded: 1 },
    Kernel { name: "erf_derivative", f: erf_derivative, worst: (0x3fee3fd5, -51.18), misrounded: 0 },
    Kernel { name: "sin", f: sin, worst: (0xd1946025, -51.57), misrounded: 2 },
    Kernel { name: "cos", f: cos, worst: (0x5d91c72e, -51.60), misrounded: 4 },
    Kernel { name: "tan", f: tan, worst: (0xdebf46ec, -50.91), misrounded: 0 },
    Kernel { name: "asin", f: asin, worst: (0x3f0002f3, -50.48), misrounded: 0 },
    Kernel { name: "acos", f: acos, worst: (0x3f7df95f, -51.01), misrounded: 2 },
    Kernel { name: "atan", f: atan, worst: (0x3ed413e2, -51.65), misrounded: 2 },
    Kernel { name: "sinh", f: sinh, worst: (0x38071514, -51.08), misrounded: 2 },
    Kernel { name: "cosh", f: cosh, worst: (0x32800000, -52.00), misrounded: 0 },
    Kernel { name: "asinh", f: asinh, worst: (0x2e000020, -51.00), misrounded: 6 },
    Kernel { name: "acosh", f: acosh, worst: (0x3f80100a, -51.00), misrounded: 2 },
    Kernel { name: "atanh", f: atanh, worst: (0x24800001, -51.00), misrounded: 0 },
];

/// `out[i]` = [`round32`]`(f(x[i]))` for every entry, in vectors and on all threads.
///
/// Write `#[inline(always)] |x| tanh(x)`: without the attribute a large kernel is called out of line, which is no
/// error but undoes the vectors. Panics when the lengths differ.
pub fn map(out: &mut [f32], x: &[f32], f: impl Fn(f64) -> f64 + Copy + Send + Sync) {
    assert_eq!(out.len(), x.len(), "map: lengths");
    const PIECE: usize = 1 << 13;
    if x.len() <= PIECE {
        Arch::new().dispatch(Map { out, x, f });
    } else {
        parallel::chunks(out, PIECE, 1, |c, out| {
            let x = &x[c * PIECE..][..out.len()];
            Arch::new().dispatch(Map { out, x, f });
        });
    }
}

struct Map<'a, F> {
    out: &'a mut [f32],
    x: &'a [f32],
    f: F,
}

impl<F: Fn(f64) -> f64> WithSimd for Map<'_, F> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (y, &x) in self.out.iter_mut().zip(self.x) {
            *y = round32((self.f)(f64::from(x)));
        }
    }
}

/// c[0] + z·(c[1] + z·(…)), by Horner's rule.
#[inline(always)]
fn poly<const N: usize>(z: f64, c: &[f64; N]) -> f64 {
    let mut p = c[N - 1];
    for i in (0..N - 1).rev() {
        p = p * z + c[i];
    }
    p
}

/// ln 2 in two parts; the first has 42 bits, so that its product with an exponent is exact.
const LN2_HI: f64 = 0.6931471805598903;
const LN2_LO: f64 = 5.497923018708371e-14;

/// Adding it rounds a number below 2^51 to an integer, which then stands in the low bits.
const SHIFT: f64 = 6_755_399_441_055_744.0; // 1.5·2^52

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
