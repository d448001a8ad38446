//! Floating-point formats as data, and half an ulp in them.

use super::Mag;

/// A binary format: precision `p`, exponents from `emin` to `emax`, gradual underflow.
///
/// A finite number is m·2^(e−p+1) with |m| < 2^p, emin ≤ e ≤ emax.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// Bits of the significand, the leading one included.
    pub p: i32,
    /// Smallest exponent of a normal number.
    pub emin: i32,
    /// Largest exponent.
    pub emax: i32,
}

/// IEEE 754 binary32.
pub const BINARY32: Format = Format { p: 24, emin: -126, emax: 127 };

/// The format of the runs that bounds and scales are about.
#[cfg(not(test))]
#[inline(always)]
const fn runs() -> Format {
    BINARY32
}

/// The format of the runs that bounds and scales are about: another one in exhaustive tests.
#[cfg(test)]
fn runs() -> Format {
    RUNS.with(std::cell::Cell::get)
}

#[cfg(test)]
thread_local! {
    static RUNS: std::cell::Cell<Format> = const { std::cell::Cell::new(BINARY32) };
}

/// Runs a test in a thread pool of its own, of one thread, where bounds and scales are about this format.
#[cfg(test)]
pub(crate) fn about<T: Send>(format: Format, test: impl FnOnce() -> T + Send) -> T {
    let set = move |_| RUNS.with(|r| r.set(format));
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).start_handler(set).build().expect("a thread");
    pool.install(test)
}

/// Unit roundoff of the runs: of binary32, u = 2^−24.
#[inline(always)]
pub fn u() -> Mag {
    Mag::power_of_two(-runs().p)
}

/// Half the smallest subnormal of the runs: of binary32, η/2 = 2^−150.
// η = 2^(emin−p+1)
#[inline(always)]
pub fn half_eta() -> Mag {
    Mag::power_of_two(runs().emin - runs().p)
}

/// The smallest normal number of the runs: of binary32, 2^−126.
#[inline(always)]
pub fn smallest_normal() -> f64 {
    Mag::power_of_two(runs().emin).get()
}

/// The largest finite number of the runs.
// (2 − 2^(1−p))·2^emax, exactly
#[inline(always)]
pub fn largest() -> f64 {
    (2.0 - Mag::power_of_two(1 - runs().p).get()) * Mag::power_of_two(runs().emax).get()
}

impl Format {
    /// Unit roundoff u = 2^−p.
    pub fn u(&self) -> Mag {
        Mag::exp2(i64::from(-self.p))
    }

    /// Smallest positive number η = 2^(emin−p+1).
    pub fn eta(&self) -> Mag {
        Mag::exp2(i64::from(self.emin - self.p + 1))
    }

    /// Half the distance between neighbours at x (at 0: half the smallest subnormal).
    // ulp(x) = 2^(max(⌊log2|x|⌋, emin) − p + 1)
    #[inline]
    pub fn half_ulp(&self, x: f64) -> Mag {
        // the field of 0 and of what is subnormal in binary64 is 0
        let field = ((x.to_bits() >> 52) & 0x7ff) as i32;
        Mag::exp2(i64::from((field - 1023).max(self.emin) - self.p))
    }

    /// The nearest number of the format, ties to even; ±∞ beyond the largest finite one.
    ///
    /// Exact for every binary64 x and p ≤ 52.
    #[inline]
    pub fn round(&self, x: f64) -> f64 {
        if *self == BINARY32 { f64::from(x as f32) } else { self.round_by_scaling(x) }
    }

    fn round_by_scaling(&self, x: f64) -> f64 {
        if x == 0.0 || !x.is_finite() {
            return x;
        }
        let e = exponent(x).max(self.emin);
        // 2^q is the spacing at x; x/2^q is exact or so small that it rounds to 0 or 1 anyway.
        let q = e - self.p + 1;
        let r = scale(scale(x, -q).round_ties_even(), q);
        if r.abs() > self.largest() { f64::INFINITY.copysign(x) } else { r }
    }

    /// The largest finite number.
    pub fn largest(&self) -> f64 {
        scale(2.0 - scale(1.0, 1 - self.p), self.emax)
    }
}

/// ⌊log2|x|⌋ of a finite non-zero binary64 number.
pub fn exponent(x: f64) -> i32 {
    let biased = ((x.to_bits() >> 52) & 0x7ff) as i32;
    if biased == 0 {
        (x.abs() * 18_014_398_509_481_984.0).to_bits().wrapping_shr(52) as i32 - 1023 - 54
    } else {
        biased - 1023
    }
}

/// x·2^q, exactly unless it under- or overflows.
fn scale(x: f64, q: i32) -> f64 {
    // Two steps: 2^q itself may lie outside the range.
    let (h, r) = (q / 2, q - q / 2);
    x * Mag::exp2(i64::from(h)).get() * Mag::exp2(i64::from(r)).get()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_to_binary32_is_the_hardware_cast() {
        let mut s = 1u64;
        for _ in 0..200_000 {
            s = s.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let x = f64::from_bits((s & 0x800f_ffff_ffff_ffff) | ((1023 - 160 + (s >> 40) % 300) << 52));
            let want = f64::from(x as f32);
            assert_eq!(BINARY32.round_by_scaling(x).to_bits(), want.to_bits(), "{x:e}");
            assert_eq!(BINARY32.round(x).to_bits(), want.to_bits(), "{x:e}");
            assert!((want - x).abs() <= BINARY32.half_ulp(x).get() || want.is_infinite());
        }
        assert_eq!((BINARY32.largest(), largest()), (f64::from(f32::MAX), f64::from(f32::MAX)));
    }

    #[test]
    fn exponents_of_edges() {
        assert_eq!(exponent(1.0), 0);
        assert_eq!(exponent(0.75), -1);
        assert_eq!(exponent(f64::from_bits(1)), -1074);
        assert_eq!(BINARY32.half_ulp(0.0).get(), half_eta().get());
        assert_eq!(u().get(), BINARY32.u().get());
        let toy = Format { p: 3, emin: -2, emax: 2 };
        assert_eq!(about(toy, || (u(), half_eta(), largest())), (toy.u(), toy.half_ulp(0.0), 7.0));
    }
}
