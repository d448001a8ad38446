//! [`Interval`]: a closed binary64 interval with outward rounding.

use super::Mag;

/// All reals between `lo` and `hi`; bounds may be infinite. Operations round outward.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Lower end.
    pub lo: f64,
    /// Upper end.
    pub hi: f64,
}

impl Interval {
    /// The exact zero.
    pub const ZERO: Interval = Interval { lo: 0.0, hi: 0.0 };
    /// Nothing known.
    pub const ALL: Interval = Interval { lo: f64::NEG_INFINITY, hi: f64::INFINITY };

    /// [lo, hi]; a NaN end becomes infinite.
    #[inline]
    pub fn new(lo: f64, hi: f64) -> Interval {
        Interval {
            lo: if lo.is_nan() { f64::NEG_INFINITY } else { lo },
            hi: if hi.is_nan() { f64::INFINITY } else { hi },
        }
    }

    /// The one number x.
    #[inline]
    pub fn point(x: f64) -> Interval {
        Interval::new(x, x)
    }

    /// [−r, r].
    #[inline]
    pub fn symmetric(r: Mag) -> Interval {
        Interval { lo: -r.get(), hi: r.get() }
    }

    /// Everything within `r` of this interval.
    #[inline]
    pub fn widen(self, r: Mag) -> Interval {
        if r.is_zero() {
            return self;
        }
        Interval::new((self.lo - r.get()).next_down(), (self.hi + r.get()).next_up())
    }

    /// The smallest interval around both.
    #[inline]
    pub fn hull(self, o: Interval) -> Interval {
        Interval { lo: self.lo.min(o.lo), hi: self.hi.max(o.hi) }
    }

    /// What lies in both; the tighter ends win even where the two miss each other, which can't be
    /// when both contain the same number.
    #[inline]
    pub fn meet(self, o: Interval) -> Interval {
        Interval { lo: self.lo.max(o.lo), hi: self.hi.min(o.hi) }
    }

    /// max |x|.
    #[inline]
    pub fn mag(self) -> Mag {
        Mag::of(self.lo).max(Mag::of(self.hi))
    }

    /// min |x|, a lower bound.
    #[inline]
    pub fn mig(self) -> f64 {
        if self.lo > 0.0 {
            self.lo
        } else if self.hi < 0.0 {
            -self.hi
        } else {
            0.0
        }
    }

    /// Half the width, rounded up.
    #[inline]
    pub fn radius(self) -> Mag {
        if self.lo == self.hi { Mag::ZERO } else { Mag::of(((self.hi - self.lo) * 0.5).next_up()) }
    }

    /// A number near the middle; with [`Interval::radius_about`] an exact midpoint–radius form.
    #[inline]
    pub fn mid(self) -> f64 {
        if self.lo == self.hi { self.lo } else { self.lo * 0.5 + self.hi * 0.5 }
    }

    /// max |x − m| over the interval, rounded up.
    #[inline]
    pub fn radius_about(self, m: f64) -> Mag {
        if self.lo == m && self.hi == m {
            return Mag::ZERO;
        }
        Mag::of((self.hi - m).next_up()).max(Mag::of((m - self.lo).next_up()))
    }

    /// min |x − m| over the interval, rounded down.
    #[inline]
    pub fn gap(self, m: f64) -> f64 {
        // the difference is rounded to nearest: the number below it is a lower bound
        if self.contains(m) { 0.0 } else { (self.lo - m).max(m - self.hi).next_down().max(0.0) }
    }

    /// Does it contain x?
    #[inline]
    pub fn contains(self, x: f64) -> bool {
        self.lo <= x && x <= self.hi
    }

    /// −x.
    #[inline]
    pub fn neg(self) -> Interval {
        Interval { lo: -self.hi, hi: -self.lo }
    }

    /// x + y.
    #[inline]
    pub fn add(self, o: Interval) -> Interval {
        if o == Interval::ZERO {
            return self;
        }
        if self == Interval::ZERO {
            return o;
        }
        Interval::new((self.lo + o.lo).next_down(), (self.hi + o.hi).next_up())
    }

    /// x − y.
    #[inline]
    pub fn sub(self, o: Interval) -> Interval {
        self.add(o.neg())
    }

    /// x·y; an exact zero factor gives an exact zero.
    #[inline]
    pub fn mul(self, o: Interval) -> Interval {
        if self == Interval::ZERO || o == Interval::ZERO {
            return Interval::ZERO;
        }
        let p = |a: f64, b: f64| if a == 0.0 || b == 0.0 { 0.0 } else { a * b };
        let q = [p(self.lo, o.lo), p(self.lo, o.hi), p(self.hi, o.lo), p(self.hi, o.hi)];
        let (lo, hi) = q.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), &v| (l.min(v), h.max(v)));
        Interval::new(lo.next_down(), hi.next_up())
    }

    /// x/y; everything when y may be 0.
    #[inline]
    pub fn div(self, o: Interval) -> Interval {
        if o.contains(0.0) {
            return Interval::ALL;
        }
        if self == Interval::ZERO {
            return self;
        }
        let q = [self.lo / o.lo, self.lo / o.hi, self.hi / o.lo, self.hi / o.hi];
        if q.iter().any(|v| v.is_nan()) {
            return Interval::ALL;
        }
        let (lo, hi) = q.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), &v| (l.min(v), h.max(v)));
        Interval::new(lo.next_down(), hi.next_up())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rug::Float;

    proptest! {
        #[test]
        fn operations_contain(a in -1e9f64..1e9, b in -1e9f64..1e9, s in 0.0f64..1.0, t in 0.0f64..1.0, ra in 0.0f64..10.0, rb in 0.0f64..10.0) {
            let (x, y) = (Interval::new(a - ra, a + ra), Interval::new(b - rb, b + rb));
            let (p, q) = (x.lo + s * (x.hi - x.lo), y.lo + t * (y.hi - y.lo));
            let (p, q) = (p.clamp(x.lo, x.hi), q.clamp(y.lo, y.hi));
            let (fp, fq) = (Float::with_val(300, p), Float::with_val(300, q));
            let inside = |i: Interval, v: Float| v >= i.lo && v <= i.hi;
            prop_assert!(inside(x.add(y), Float::with_val(300, &fp + &fq)));
            prop_assert!(inside(x.sub(y), Float::with_val(300, &fp - &fq)));
            prop_assert!(inside(x.mul(y), Float::with_val(300, &fp * &fq)));
            if q != 0.0 {
                prop_assert!(inside(x.div(y), Float::with_val(300, &fp / &fq)));
            }
        }
    }

    #[test]
    fn magnitudes_of_either_side() {
        let all = [(1.5, 4.0, 1.5, 4.0), (-4.0, -1.5, 1.5, 4.0), (-4.0, 1.5, 0.0, 4.0), (-1.0, 4.0, 0.0, 4.0)];
        for (lo, hi, least, most) in all {
            let x = Interval::new(lo, hi);
            assert_eq!((x.mig(), x.mag().get(), x.neg()), (least, most, Interval::new(-hi, -lo)));
            for m in [lo, hi, x.mid(), 0.5, -7.0, 11.0] {
                let far = (hi - m).max(m - lo);
                let r = x.radius_about(m).get();
                assert!(r >= far && r <= far.next_up(), "{x:?} about {m}: {r}");
            }
            let r = x.radius().get();
            assert!(r >= (hi - lo) / 2.0 && r <= ((hi - lo) / 2.0).next_up());
        }
        assert_eq!(Interval::point(3.0).radius_about(3.0), Mag::ZERO);
    }
}
