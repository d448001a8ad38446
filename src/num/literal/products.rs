//! Dot products of the literal rung, eight side by side: the same operations in the same order as one by one.

use super::{Literal, Tracked};
use crate::num::format::{BINARY32, Format};
use crate::num::{Mag, parallel};
use pulp::{Arch, Simd, WithSimd};

/// Columns side by side.
const LANES: usize = 8;

/// û(x) of binary32.
// 2^(max(⌊log2|x|⌋, −126) − 24); the exponent field of 0 and of what is subnormal in binary64 is 0
#[inline(always)]
fn half_ulp(x: f64) -> Mag {
    const LEAST: u64 = (1023 + BINARY32.emin) as u64;
    let field = (x.to_bits() >> 52) & 0x7ff;
    let e = if field > LEAST { field } else { LEAST };
    Mag::of(f64::from_bits((e - BINARY32.p as u64) << 52))
}

/// An entry of a factor as the product's formula reads it: x̂, e and |x̂| + e.
#[derive(Clone, Copy)]
struct Factor {
    value: f64,
    eps: Mag,
    reach: Mag,
}

impl Factor {
    const NOTHING: Factor = Factor { value: 0.0, eps: Mag::ZERO, reach: Mag::ZERO };

    fn of(t: &Tracked) -> Factor {
        Factor { value: t.value, eps: t.eps, reach: Mag::of(t.value) + t.eps }
    }
}

/// Line l of some columns, each field of [`Factor`] side by side.
#[derive(Clone, Copy)]
struct Line {
    there: [bool; LANES],
    value: [f64; LANES],
    eps: [Mag; LANES],
    reach: [Mag; LANES],
}

/// One row times the columns of a panel.
struct Row<'a> {
    row: &'a [Option<Factor>],
    panel: &'a [Line],
    value: [f64; LANES],
    eps: [Mag; LANES],
}

impl WithSimd for Row<'_> {
    type Output = ([f64; LANES], [Mag; LANES]);

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Self::Output {
        let Row { row, panel, mut value, mut eps } = self;
        for l in 0..row.len() {
            let Some(a) = row[l] else { continue };
            let b = &panel[l];
            // M(x̂,ŷ;e_x,e_y) = (|x̂|+e_x)e_y + (|ŷ|+e_y)e_x + û(x̂ŷ); ε += M + û(acc+p)
            for j in 0..LANES {
                let exact = a.value * b.value[j];
                let own = a.reach * b.eps[j] + b.reach[j] * a.eps + half_ulp(exact);
                let sum = value[j] + f64::from(exact as f32);
                let grown = eps[j] + own + half_ulp(sum);
                value[j] = if b.there[j] { f64::from(sum as f32) } else { value[j] };
                eps[j] = if b.there[j] { grown } else { eps[j] };
            }
        }
        (value, eps)
    }
}

/// [`crate::num::Arith::products`] of the literal rung, where its format is binary32 and the product is large enough;
/// else `None`.
pub(super) fn products<'a>(
    a: &Literal,
    (m, n, k): (usize, usize, usize),
    left: impl Fn(usize, usize) -> Option<&'a Tracked> + Sync,
    right: impl Fn(usize, usize) -> Option<&'a Tracked> + Sync,
    bias: impl Fn(usize, usize) -> Option<&'a Tracked> + Sync,
) -> Option<Vec<Tracked>> {
    use crate::num::Arith;
    let format: Format = a.runtime.format;
    if format != BINARY32 || n < LANES / 2 || m < 2 || k == 0 {
        return None;
    }
    let rows = parallel::map(m * k, 1 << 10, |at| left(at / k, at % k).map(Factor::of));
    let zero = (0.0, half_ulp(0.0));
    let panels = parallel::map(n.div_ceil(LANES), 1, |p| {
        let at = |j: usize| p * LANES + j;
        let panel: Vec<Line> = (0..k)
            .map(|l| {
                let found: [Option<Factor>; LANES] =
                    std::array::from_fn(|j| (at(j) < n).then(|| right(l, at(j)).map(Factor::of)).flatten());
                let f = found.map(|f| f.unwrap_or(Factor::NOTHING));
                Line {
                    there: found.map(|f| f.is_some()),
                    value: f.map(|f| f.value),
                    eps: f.map(|f| f.eps),
                    reach: f.map(|f| f.reach),
                }
            })
            .collect();
        let row = |i: usize| {
            let row = &rows[i * k..][..k];
            let (value, eps) =
                Arch::new().dispatch(Row { row, panel: &panel, value: [zero.0; LANES], eps: [zero.1; LANES] });
            std::array::from_fn(|j| {
                let s = Tracked { value: value[j], eps: eps[j] };
                (at(j) < n).then(|| bias(i, at(j))).flatten().map_or(s, |b| a.add(&s, b))
            })
        };
        (0..m).map(row).collect::<Vec<[Tracked; LANES]>>()
    });
    Some(parallel::map(m * n, 1 << 10, |at| panels[at % n / LANES][at / n][at % n % LANES]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::Arith;
    use crate::num::arith::textbook;

    /// Numbers of many sizes, some of them infinite or zero, some errors infinite.
    fn some(count: usize, mut state: u64) -> Vec<Tracked> {
        let mut next = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            state >> 20
        };
        let mut one = || {
            let (size, sign, kind) = ((next() % 90) as i32 - 60, next() % 2, next() % 40);
            let x = (1.0 + (next() % (1 << 23)) as f64 / (1 << 23) as f64) * 2f64.powi(size);
            let value = match kind {
                0 => 0.0,
                1 => f64::from(f32::from_bits((next() % 900) as u32)),
                2 => f64::from(f32::MAX),
                _ => x,
            };
            let eps = match next() % 50 {
                0..5 => 0.0,
                5 => f64::INFINITY,
                6 => 5e-324,
                _ => x * 2f64.powi(-((next() % 60) as i32)),
            };
            Tracked { value: if sign == 0 { value } else { -value }, eps: Mag::of(eps) }
        };
        (0..count).map(|_| one()).collect()
    }

    #[test]
    fn side_by_side_is_one_by_one_bit_for_bit() {
        let literal = Literal::new(BINARY32);
        for (m, n, k) in [(2, 4, 1), (3, 8, 5), (5, 19, 33), (2, 17, 200)] {
            for seed in 0..20 {
                let (a, b, c) = (some(m * k, seed), some(k * n, seed + 100), some(m * n, seed + 200));
                let left = |i: usize, l: usize| ((i + 2 * l) % 7 != 3).then(|| &a[i * k + l]);
                let right = |l: usize, j: usize| ((3 * l + j) % 5 != 2).then(|| &b[l * n + j]);
                let bias = |i: usize, j: usize| (j % 3 != 1).then(|| &c[i * n + j]);
                let fast = products(&literal, (m, n, k), left, right, bias).expect("large enough");
                let slow = textbook(&literal, (m, n, k), left, right, bias);
                for (f, s) in fast.iter().zip(&slow) {
                    let same = f.value.to_bits() == s.value.to_bits() || f.value.is_nan() && s.value.is_nan();
                    assert!(same && f.eps.get().to_bits() == s.eps.get().to_bits(), "{m} {n} {k}: {f:?} for {s:?}");
                }
            }
        }
    }

    #[test]
    fn half_an_ulp_is_the_formats() {
        for bits in (0..2047u64 << 52).step_by(1 << 45) {
            for x in [f64::from_bits(bits), -f64::from_bits(bits + 12345)] {
                assert_eq!(half_ulp(x), BINARY32.half_ulp(x), "{x:e}");
            }
        }
        assert_eq!(half_ulp(f64::INFINITY), BINARY32.half_ulp(f64::INFINITY));
        let literal = Literal::new(BINARY32);
        assert!(products(&literal, (1, 9, 4), |_, _| None, |_, _| None, |_, _| None).is_none());
        assert_eq!(literal.sum([].iter()).eps, half_ulp(0.0));
    }
}
