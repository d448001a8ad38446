//! Sums of all weights, put together as one integer.

use gmp_mpfr_sys::mpfr::{exp_t, mpfr_t, prec_t};
use rug::float::BorrowFloat;
use std::ptr::NonNull;

/// An integer as MPFR holds a significand: least limb first, the first bit 1; no limbs for 0.
#[derive(Default)]
pub(super) struct Total {
    limbs: Vec<u64>,
    negative: bool,
    bits: i64,
}

impl Total {
    /// Σ_t c_t·2^(β·t) for |c_t| ≤ 2^62 and 12 ≤ β.
    pub fn set(&mut self, sums: impl Iterator<Item = i64>, beta: u32) {
        let limbs = &mut self.limbs;
        limbs.clear();
        // `carry` counts from bit 64·limbs.len() on; at most six sums of 62 bits begin within a limb.
        let (mut carry, mut shift) = (0i128, 0u32);
        for c in sums {
            while shift >= 64 {
                limbs.push(carry as u64);
                carry >>= 64;
                shift -= 64;
            }
            carry += i128::from(c) << shift;
            shift += beta;
        }
        limbs.extend([carry as u64, (carry >> 64) as u64]);
        self.negative = carry < 0;
        if self.negative {
            let mut one = true;
            for l in limbs.iter_mut() {
                (*l, one) = (!*l).overflowing_add(u64::from(one));
            }
        }
        while limbs.last() == Some(&0) {
            limbs.pop();
        }
        let Some(first) = limbs.last() else { return };
        let up = first.leading_zeros();
        self.bits = limbs.len() as i64 * 64 - i64::from(up);
        if up > 0 {
            let mut below = 0;
            for l in limbs.iter_mut() {
                (*l, below) = (*l << up | below, *l >> (64 - up));
            }
        }
    }

    /// The integer times 2^unit; `None` for 0.
    pub fn float(&self, unit: i64) -> Option<BorrowFloat<'_>> {
        let raw = mpfr_t {
            prec: self.limbs.len() as prec_t * 64,
            sign: if self.negative { -1 } else { 1 },
            exp: exp_t::try_from(unit + self.bits).expect("exponents of lines are limited"),
            d: NonNull::from(self.limbs.first()?).cast(),
        };
        // SAFETY: a regular MPFR number: all its limbs of 64 bits are there, the first bit is 1, the
        // precision has no unused bits, the exponent is in range (lines with exponents beyond ±2^28 don't
        // come here), and `self` is borrowed, unchanged, for as long as the number is. It is only read.
        Some(unsafe { BorrowFloat::from_raw(raw) })
    }
}
