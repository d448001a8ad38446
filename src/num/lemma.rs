//! Error lemmas, one function each, with hypotheses and source.
//!
//! u = 2^−24 and η = 2^−149 of binary32 throughout; rounding is to nearest, nothing overflows, nothing
//! is flushed to zero. [`super::environment`] and the passes check that.

use super::Mag;
use super::format::{half_eta, u};

/// A product, quotient or single rounding of an exact value of magnitude ≤ `exact`.
// |fl(x) − x| ≤ u|x| + η/2 (Higham, Accuracy and Stability, (2.8))
pub fn rounding(exact: Mag) -> Mag {
    if exact.is_zero() { Mag::ZERO } else { u() * exact + half_eta() }
}

/// Rounding of the result `y` of a run, when all that is known is y itself.
// |fl(x) − x| ≤ u|fl(x)| + η/2
pub fn rounding_of_result(y: f32) -> Mag {
    u() * Mag::of_f32(y) + half_eta()
}

/// A sum of n terms in any order and grouping, Σ|x_i| ≤ `total`.
// (n−1)·u·Σ|x_i| (Jeannerod & Rump 2013)
#[inline]
pub fn sum_any_order(n: usize, total: Mag) -> Mag {
    if n < 2 { Mag::ZERO } else { Mag::count(n - 1) * u() * total }
}

/// A dot product of n terms (a bias counts as one) in any order and grouping, with or without FMA,
/// Σ|a_i·b_i| ≤ `total`.
// n·u·Σ|a_i b_i| + (nη/2)(1+nu): without FMA Jeannerod & Rump 2013; with FMA by induction over the
// expression tree: a leaf fl(p) errs ≤ u|p|; an FMA node errs ≤ min(|p|, v(|p|+S₁+n₁uS₁)) ≤ u(S₁+n|p|);
// an addition errs ≤ u(n₂S₁+n₁S₂), v = u/(1+u). Underflow: replace p by p+θ, |θ| ≤ η/2.
#[inline]
pub fn dot_any_order(n: usize, total: Mag) -> Mag {
    if total.is_zero() {
        // every product has an exact zero factor
        return Mag::ZERO;
    }
    let n = Mag::count(n);
    n * u() * total + n * half_eta() * (Mag::ONE + n * u())
}

/// A sum over a tree of height h: every term passes at most h roundings, Σ|x_i| ≤ `total`.
// ((1+u)^h − 1)·Σ|x_i| (Higham, §4.2)
#[inline]
pub fn tree(h: usize, total: Mag) -> Mag {
    growth(h) * total
}

/// A dot product over a tree of height h with n products.
// ((1+u)^h − 1)·Σ|a_i b_i| + n·(η/2)·(1+u)^h
#[inline]
pub fn dot_tree(h: usize, n: usize, total: Mag) -> Mag {
    if total.is_zero() {
        return Mag::ZERO;
    }
    growth(h) * total + Mag::count(n) * half_eta() * (Mag::ONE + growth(h))
}

/// (1+u)^h − 1, rounded up.
// = hu + h(h−1)/2·u² + … ≤ hu·(1 + hu) for hu ≤ 1, since (1+u)^h ≤ e^{hu} and e^t − 1 ≤ t + t²
#[inline]
pub fn growth(h: usize) -> Mag {
    let hu = Mag::count(h) * u();
    if hu.get() <= 1.0 { hu + hu * hu } else { Mag::INFINITY }
}

/// k rounded operations in a row on a value: (1+u)^k − 1 relative, and an underflow of each that is
/// amplified at most `gain` times.
pub fn monomial(k: usize, exact: Mag, gain: Mag) -> Mag {
    if exact.is_zero() {
        return Mag::ZERO;
    }
    growth(k) * exact + Mag::count(k) * half_eta() * (Mag::ONE + gain) * Mag::of(1.001)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rug::Float;

    /// A bound is its formula in 200 bits, up to what binary64 rounds.
    fn is(what: &str, bound: Mag, formula: Float) {
        let excess = Float::with_val(200, bound.get() - &formula);
        let small = Float::with_val(200, &formula * 2e-15);
        assert!(excess >= 0 && excess <= small, "{what}: {:e} for {:e}", bound.get(), formula.to_f64());
    }

    #[test]
    fn lemmas_are_the_written_formulas() {
        let real = |x: f64| Float::with_val(200, x);
        let (u, half_eta) = (real(1.0) >> 24, real(1.0) >> 150);
        let growth_of = |h: usize| {
            let hu = real(h as f64) * &u;
            real(1.0) * &hu + Float::with_val(200, &hu * &hu)
        };
        let sizes = [1e-45, 3e-41, 0.75, 1e30];
        for x in sizes {
            let m = Mag::of(x);
            is("a rounding", rounding(m), real(x) * &u + &half_eta);
            is("of a result", rounding_of_result(x as f32), real(f64::from(x as f32)) * &u + &half_eta);
            for k in [1usize, 3, 200] {
                for gain in [0.0, 7.0, 1e20] {
                    let underflow = real(k as f64) * &half_eta * (1.0 + real(gain)) * 1.001;
                    is("in a row", monomial(k, m, Mag::of(gain)), growth_of(k) * x + underflow);
                }
            }
        }
        // terms enough for the products of small quantities to show
        for n in [1usize, 2, 3, 1000, 1 << 20, 1 << 23] {
            let nu = real(n as f64) * &u;
            for x in sizes {
                let total = Mag::of(x);
                is("a sum", sum_any_order(n, total), real((n - 1) as f64) * &u * x);
                let underflow = real(n as f64) * &half_eta * (1.0 + real(1.0) * &nu);
                is("a dot product", dot_any_order(n, total), real(1.0) * &nu * x + underflow);
                is("a tree", tree(n, total), growth_of(n) * x);
                let underflow = real(n as f64) * &half_eta * (1.0 + growth_of(n));
                is("a dot product on a tree", dot_tree(n, n, total), growth_of(n) * x + underflow);
            }
        }
        for nothing in [
            rounding(Mag::ZERO),
            monomial(3, Mag::ZERO, Mag::ONE),
            sum_any_order(1, Mag::ONE),
            dot_any_order(5, Mag::ZERO),
            dot_tree(3, 5, Mag::ZERO),
            tree(0, Mag::ONE),
        ] {
            assert_eq!(nothing, Mag::ZERO);
        }
        assert!(growth(1 << 23).is_finite() && !growth((1 << 24) + 1).is_finite());
    }

    #[test]
    fn growth_is_an_upper_bound() {
        for h in [0usize, 1, 2, 64, 1000, 1 << 20] {
            let u = Float::with_val(300, 1) >> 24;
            let mut p = Float::with_val(300, 1 + u);
            p = rug::ops::Pow::pow(p, h as u32) - 1u32;
            assert!(growth(h).get() >= p, "{h}");
            assert!(growth(h).get() <= p.to_f64() * 1.07 + 1e-300);
        }
    }
}
