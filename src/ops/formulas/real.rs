//! Real numbers with 200 bits, in which formulas are written as they stand on paper.

use crate::num::Elementary;
use rug::Float;
use rug::ops::Pow;
use std::cmp::Ordering;
use std::ops::{Add, Div, Mul, Neg, Sub};

const BITS: u32 = 200;

/// A real number, or +∞ where a bound says nothing.
#[derive(Clone, Debug, PartialEq, PartialOrd)]
pub struct Real(Float);

/// A binary64 number as it is.
pub fn real(x: f64) -> Real {
    Real(Float::with_val(BITS, x))
}

/// 2^e.
pub fn power_of_two(e: i32) -> Real {
    Real(Float::with_val(BITS, 1) << e)
}

impl Real {
    pub fn exp(&self) -> Real {
        Real(self.0.clone().exp())
    }

    pub fn ln(&self) -> Real {
        Real(self.0.clone().ln())
    }

    pub fn sqrt(&self) -> Real {
        Real(self.0.clone().sqrt())
    }

    pub fn abs(&self) -> Real {
        Real(self.0.clone().abs())
    }

    pub fn pow(&self, p: f64) -> Real {
        Real(self.0.clone().pow(p))
    }

    pub fn apply(&self, f: Elementary) -> Real {
        Real(f.eval(&self.0, BITS))
    }

    pub fn min(self, o: Real) -> Real {
        if self <= o { self } else { o }
    }

    pub fn max(self, o: Real) -> Real {
        if self >= o { self } else { o }
    }

    pub fn is_zero(&self) -> bool {
        self.0.is_zero()
    }

    pub fn is_finite(&self) -> bool {
        self.0.is_finite()
    }

    pub fn to_f64(&self) -> f64 {
        self.0.to_f64()
    }
}

/// The largest of some; 0 when there are none.
pub fn most(x: impl IntoIterator<Item = Real>) -> Real {
    x.into_iter().fold(real(0.0), Real::max)
}

/// Their sum.
pub fn sum(x: impl IntoIterator<Item = Real>) -> Real {
    x.into_iter().fold(real(0.0), |a, b| a + b)
}

fn add(a: &Float, b: &Float) -> Float {
    Float::with_val(BITS, a + b)
}

fn sub(a: &Float, b: &Float) -> Float {
    Float::with_val(BITS, a - b)
}

// nothing of what is unbounded is nothing
fn mul(a: &Float, b: &Float) -> Float {
    if a.is_zero() || b.is_zero() { Float::new(BITS) } else { Float::with_val(BITS, a * b) }
}

// a denominator that may be 0 bounds nothing
fn div(a: &Float, b: &Float) -> Float {
    if a.is_zero() {
        Float::new(BITS)
    } else if b.cmp0() != Some(Ordering::Greater) {
        Float::with_val(BITS, rug::float::Special::Infinity)
    } else {
        Float::with_val(BITS, a / b)
    }
}

macro_rules! operators {
    ($($operator:ident $method:ident),+) => {$(
        impl $operator<&Real> for &Real {
            type Output = Real;
            fn $method(self, o: &Real) -> Real { Real($method(&self.0, &o.0)) }
        }
        impl $operator<Real> for &Real {
            type Output = Real;
            fn $method(self, o: Real) -> Real { self.$method(&o) }
        }
        impl $operator<&Real> for Real {
            type Output = Real;
            fn $method(self, o: &Real) -> Real { (&self).$method(o) }
        }
        impl $operator<Real> for Real {
            type Output = Real;
            fn $method(self, o: Real) -> Real { (&self).$method(&o) }
        }
        impl $operator<f64> for &Real {
            type Output = Real;
            fn $method(self, o: f64) -> Real { self.$method(&real(o)) }
        }
        impl $operator<f64> for Real {
            type Output = Real;
            fn $method(self, o: f64) -> Real { (&self).$method(&real(o)) }
        }
    )+}
}
operators!(Add add, Sub sub, Mul mul, Div div);

impl Neg for Real {
    type Output = Real;
    fn neg(self) -> Real {
        Real(-self.0)
    }
}
