//! [`Mag`]: an upper bound on a magnitude. Every operation rounds up.
//!
//! Error bounds and scales are computed in this type only. A `Mag` is a non-negative binary64
//! number or +∞; an operation returns a value that is at least the exact result. Zero stays exact:
//! a sum is 0 iff all terms are 0, a product is 0 iff a factor is 0 (0·∞ = 0, because a factor 0
//! says that nothing is there to be multiplied).

use std::iter::Sum;
use std::ops::{Add, AddAssign, Mul};

/// An upper bound on a magnitude: non-negative, or +∞ when nothing is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
#[repr(transparent)]
pub struct Mag(f64);

/// The next binary64 above a non-negative one; +∞ stays.
#[inline(always)]
fn up(x: f64) -> f64 {
    // For x ≥ 0 the successor of the bit pattern is the successor of the number.
    if x < f64::INFINITY { f64::from_bits(x.to_bits() + 1) } else { f64::INFINITY }
}

impl Mag {
    /// Nothing: the exact zero.
    pub const ZERO: Mag = Mag(0.0);
    /// One.
    pub const ONE: Mag = Mag(1.0);
    /// No bound known.
    pub const INFINITY: Mag = Mag(f64::INFINITY);

    /// |x|, exactly. NaN gives +∞.
    #[inline(always)]
    pub fn of(x: f64) -> Mag {
        let a = x.abs();
        if a.is_nan() { Mag::INFINITY } else { Mag(a) }
    }

    /// |x| of a binary32 number, exactly. NaN gives +∞.
    #[inline(always)]
    pub fn of_f32(x: f32) -> Mag {
        Mag::of(f64::from(x))
    }

    /// An integer count, rounded up.
    #[inline]
    pub fn count(n: usize) -> Mag {
        let x = n as f64;
        Mag(if n > (1 << 53) { up(x) } else { x })
    }

    /// 2^e, rounded up to the smallest positive number where that is smaller, +∞ where larger.
    #[inline]
    pub fn exp2(e: i64) -> Mag {
        match e {
            ..=-1074 => Mag(f64::from_bits(1)),
            -1073..=-1023 => Mag(f64::from_bits(1u64 << (e + 1074))),
            -1022..=1023 => Mag(f64::from_bits(((e + 1023) as u64) << 52)),
            _ => Mag::INFINITY,
        }
    }

    /// 2^e for −1022 ≤ e ≤ 1023, exactly; for constants.
    #[inline]
    pub const fn power_of_two(e: i32) -> Mag {
        assert!(e >= -1022 && e <= 1023);
        Mag(f64::from_bits(((e + 1023) as u64) << 52))
    }

    /// The bound as a number.
    #[inline(always)]
    pub fn get(self) -> f64 {
        self.0
    }

    /// Is this the exact zero?
    #[inline(always)]
    pub fn is_zero(self) -> bool {
        self.0 == 0.0
    }

    /// Is anything known?
    #[inline(always)]
    pub fn is_finite(self) -> bool {
        self.0 < f64::INFINITY
    }

    /// The larger of both.
    #[inline(always)]
    pub fn max(self, o: Mag) -> Mag {
        if self.0 >= o.0 { self } else { o }
    }

    /// The smaller of both: both must bound the same thing.
    #[inline(always)]
    pub fn min(self, o: Mag) -> Mag {
        if self.0 <= o.0 { self } else { o }
    }

    /// a/d for a *lower* bound d on a positive denominator; +∞ when d ≤ 0 (or NaN), unless a = 0.
    #[inline]
    pub fn div_lower(self, d: f64) -> Mag {
        if self.0 == 0.0 {
            Mag::ZERO
        } else if d > 0.0 {
            let q = self.0 / d;
            Mag(if q.is_nan() { f64::INFINITY } else { up(q) })
        } else {
            Mag::INFINITY
        }
    }

    /// √a, rounded up.
    #[inline]
    pub fn sqrt(self) -> Mag {
        if self.0 == 0.0 || self.0 == f64::INFINITY { self } else { Mag(up(self.0.sqrt())) }
    }

    /// max(a − b, 0) for a *lower* bound b ≥ 0, rounded up.
    #[inline]
    pub fn sub_lower(self, b: f64) -> Mag {
        if b <= 0.0 || b.is_nan() || self.0 == f64::INFINITY {
            return self;
        }
        let d = self.0 - b;
        if d <= 0.0 { Mag::ZERO } else { Mag(up(d)) }
    }

    /// a − b rounded *down* (may be negative): a lower bound on |x| − e for |x| = `x` exactly known.
    #[inline]
    pub fn sub_below(x: f64, e: Mag) -> f64 {
        (x - e.0).next_down()
    }

    /// Reinterprets a slice of magnitudes as numbers, for GEMM kernels that round up afterwards.
    pub fn as_f64s(s: &[Mag]) -> &[f64] {
        // SAFETY: `Mag` is `repr(transparent)` over `f64`, so layout and validity agree.
        unsafe { std::slice::from_raw_parts(s.as_ptr().cast::<f64>(), s.len()) }
    }

    /// Rounds the non-negative result of `ops` rounded binary64 operations on non-negative numbers
    /// up, so that it is at least the exact result: x·(1 + 2·ops·2^−53) + tiny, where `tiny` covers
    /// underflow (0 when the caller has excluded it).
    // |fl − exact| ≤ ((1+v)^ops − 1)·fl with v = 2^−53/(1−2^−53); for ops ≤ 2^50 that is < 2·ops·2^−53·fl.
    #[inline(always)]
    pub fn from_rounded(x: f64, ops: usize, tiny: f64) -> Mag {
        if x == 0.0 && tiny == 0.0 {
            return Mag::ZERO;
        }
        debug_assert!(ops < 1 << 40);
        let factor = 1.0 + (2 * ops + 4) as f64 * (f64::EPSILON / 2.0);
        let y = x * factor + tiny;
        Mag(if y.is_nan() { f64::INFINITY } else { up(y) })
    }
}

impl Add for Mag {
    type Output = Mag;
    #[inline(always)]
    fn add(self, o: Mag) -> Mag {
        if self.0 == 0.0 {
            o
        } else if o.0 == 0.0 {
            self
        } else {
            Mag(up(self.0 + o.0))
        }
    }
}

impl AddAssign for Mag {
    #[inline(always)]
    fn add_assign(&mut self, o: Mag) {
        *self = *self + o;
    }
}

impl Mul for Mag {
    type Output = Mag;
    #[inline(always)]
    fn mul(self, o: Mag) -> Mag {
        if self.0 == 0.0 || o.0 == 0.0 { Mag::ZERO } else { Mag(up(self.0 * o.0)) }
    }
}

impl Sum for Mag {
    fn sum<I: Iterator<Item = Mag>>(iter: I) -> Mag {
        iter.fold(Mag::ZERO, Add::add)
    }
}

/// The largest of some magnitudes; 0 when there are none.
pub fn max_of(xs: &[Mag]) -> Mag {
    xs.iter().fold(Mag::ZERO, |m, &x| m.max(x))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rug::Float;

    fn exact(op: impl Fn(&Float, &Float) -> Float, a: f64, b: f64) -> Float {
        op(&Float::with_val(4000, a), &Float::with_val(4000, b))
    }

    fn any_mag() -> impl Strategy<Value = f64> {
        prop_oneof![
            Just(0.0),
            Just(f64::MIN_POSITIVE),
            Just(f64::from_bits(1)),
            Just(f64::MAX),
            Just(1.0),
            (0u64..0x7ff0_0000_0000_0000).prop_map(f64::from_bits)
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]
        #[test]
        fn operations_round_up(a in any_mag(), b in any_mag()) {
            let (ma, mb) = (Mag::of(a), Mag::of(b));
            prop_assert!((ma + mb).get() >= exact(|x, y| Float::with_val(4000, x + y), a, b));
            prop_assert!((ma * mb).get() >= exact(|x, y| Float::with_val(4000, x * y), a, b));
            prop_assert!(ma.sqrt().get() >= exact(|x, _| x.clone().sqrt(), a, b));
            prop_assert!(ma.sub_lower(b).get() >= exact(|x, y| Float::with_val(4000, x - y), a, b));
            if b > 0.0 {
                prop_assert!(ma.div_lower(b).get() >= exact(|x, y| Float::with_val(4000, x / y), a, b));
            }
        }
    }

    #[test]
    fn zero_is_exact_and_infinity_absorbs() {
        assert!((Mag::ZERO * Mag::INFINITY).is_zero());
        assert!((Mag::ZERO + Mag::ZERO).is_zero());
        assert_eq!(Mag::of(f64::NAN), Mag::INFINITY);
        assert!(!(Mag::of(f64::MAX) + Mag::of(f64::MAX)).is_finite());
        assert!(!Mag::ONE.div_lower(0.0).is_finite());
    }

    #[test]
    fn powers_of_two_are_exact() {
        for e in -1074..=1023 {
            assert_eq!(Float::with_val(53, Mag::exp2(e).get()), Float::with_val(53, 1) << e as i32, "2^{e}");
        }
        assert_eq!(Mag::exp2(-5000).get(), f64::from_bits(1));
        assert!(!Mag::exp2(1024).is_finite());
    }

    #[test]
    fn nothing_is_given_away() {
        // one binary64 number above the nearest at most, and exact where nothing has to be done
        let near = |m: Mag, x: f64| m.get() >= x && m.get() <= x.next_up();
        let (a, b) = (Mag::of(3.1), Mag::of(0.7));
        assert!(near(a + b, 3.1 + 0.7) && near(a * b, 3.1 * 0.7) && near(a.sqrt(), 3.1f64.sqrt()));
        assert!(near(a.div_lower(0.7), 3.1 / 0.7) && near(a.sub_lower(0.7), 3.1 - 0.7));
        assert_eq!((a + Mag::ZERO, Mag::ZERO + a, a.sub_lower(0.0), a.sub_lower(-1.0)), (a, a, a, a));
        assert_eq!((a.sub_lower(f64::NAN), Mag::INFINITY.sub_lower(1.0)), (a, Mag::INFINITY));
        assert_eq!(a.sub_lower(3.1), Mag::ZERO);
        assert_eq!(Mag::sub_below(3.0, Mag::ONE), 2f64.next_down());
        assert!(Mag::ZERO.is_zero() && !Mag::of(f64::from_bits(1)).is_zero() && !Mag::of(0.25).is_zero());
        assert_eq!((a.max(b), b.max(a), a.min(b), b.min(a)), (a, a, b, b));
        assert_eq!((Mag::count(5).get(), Mag::count((1 << 53) + 1).get()), (5.0, 2f64.powi(53).next_up()));
        // x·(1 + (2·ops + 4)·2^−53) + tiny
        for ops in [0usize, 1, 1000, 1 << 30] {
            let more = (Mag::from_rounded(1.0, ops, 0.0).get() - 1.0) / (f64::EPSILON / 2.0);
            let stated = (2 * ops + 4) as f64;
            assert!(more >= stated && more <= stated + 4.0, "{ops}: {more}");
        }
        assert!(near(Mag::from_rounded(0.0, 7, 1e-300), 1e-300));
        assert_eq!(Mag::from_rounded(0.0, 7, 0.0), Mag::ZERO);
        assert_eq!(Mag::from_rounded(f64::NAN, 7, 0.0), Mag::INFINITY);
    }
}
