//! Ten unsound bounds, one or more a lemma: each is what a slip of the pen would make of the lemma, and each
//! is found by runs in a format of 3 bits, where the lemma itself holds.
//!
//! A bound is a function; the same search is given the lemma and the slip.

use super::format::{self, Format, half_eta, u};
use super::{Interval, Mag, lemma};

const TOY: Format = Format { p: 3, emin: -2, emax: 3 };

/// All numbers of the toy format.
fn numbers() -> Vec<f64> {
    let mut x: Vec<f64> = (0..2 * 14 * 16).map(|k| f64::from(k - 14 * 16) / 16.0).collect();
    x.retain(|&v| TOY.round(v) == v);
    x
}

/// Both roundings of a tie, the one rounding of all else.
fn roundings(x: f64) -> Vec<f64> {
    let r = TOY.round(x);
    let tie = r.is_finite() && x != r && (x - r).abs() == TOY.half_ulp(x).get();
    if tie { vec![r, x + (x - r)] } else { vec![r] }
}

/// Is one rounding of some product or quotient off by more than the bound says?
fn rounding_breaks(bound: impl Fn(Mag) -> Mag) -> bool {
    let all = numbers();
    let exceeds = |x: f64| {
        x.is_finite()
            && roundings(x).iter().any(|r| r.is_finite() && (r - x).abs() > bound(Mag::of(x)).get() * (1.0 + 1e-14))
    };
    all.iter().any(|a| all.iter().any(|b| exceeds(a * b) || exceeds(a / b)))
}

/// The same for a bound that knows the result only.
fn result_breaks(bound: impl Fn(f32) -> Mag) -> bool {
    let all = numbers();
    let exceeds = |x: f64| roundings(x).iter().any(|r| r.is_finite() && (r - x).abs() > bound(*r as f32).get());
    all.iter().any(|a| all.iter().any(|b| exceeds(a * b)))
}

/// A few numbers whose sums and products round in every way.
const SOME: [f64; 11] = [-3.5, -1.25, -0.625, -0.125, 0.0625, 0.125, 0.5, 0.875, 1.75, 3.0, 5.0];

/// Every combination of n of them.
fn combinations(n: usize) -> impl Iterator<Item = Vec<f64>> {
    (0..SOME.len().pow(n as u32))
        .map(move |k| (0..n).map(|i| SOME[k / SOME.len().pow(i as u32) % SOME.len()]).collect())
}

/// All results of adding from the left.
fn folds(terms: &[f64]) -> Vec<f64> {
    terms[1..].iter().fold(vec![terms[0]], |all, t| all.iter().flat_map(|s| roundings(s + t)).collect())
}

/// Is a sum of n terms, added from the left, off by more than the bound says of n and Σ|x|?
fn sum_breaks(n: usize, bound: impl Fn(usize, Mag) -> Mag) -> bool {
    combinations(n).any(|x| {
        let (exact, total): (f64, f64) = (x.iter().sum(), x.iter().map(|v| v.abs()).sum());
        folds(&x).iter().any(|s| s.is_finite() && (s - exact).abs() > bound(n, Mag::of(total)).get())
    })
}

/// Is a dot product of n terms, rounded one by one, off by more than the bound says of n and Σ|ab|?
fn dot_breaks(n: usize, bound: impl Fn(usize, Mag) -> Mag) -> bool {
    let pairs: Vec<Vec<f64>> = combinations(n).collect();
    let step = pairs.len().div_ceil(400);
    pairs.iter().step_by(step).any(|a| {
        pairs.iter().step_by(step).any(|b| {
            let p: Vec<f64> = a.iter().zip(b).map(|(a, b)| a * b).collect();
            let (exact, total): (f64, f64) = (p.iter().sum(), p.iter().map(|v| v.abs()).sum());
            let rounded = p.iter().fold(vec![vec![]], |all: Vec<Vec<f64>>, p| {
                all.iter().flat_map(|l| roundings(*p).into_iter().map(|r| [&l[..], &[r]].concat())).collect()
            });
            let most = bound(n, Mag::of(total)).get();
            rounded.iter().flat_map(|r| folds(r)).any(|s| s.is_finite() && (s - exact).abs() > most)
        })
    })
}

/// Are k operations in a row off by more than the bound says of the exact result? Factors from 1 to 2, so
/// that nothing underflows.
fn monomial_breaks(bound: impl Fn(usize, Mag) -> Mag) -> bool {
    let factors = [1.0, 1.25, 1.5, 1.75, 2.0];
    factors.iter().any(|a| {
        factors.iter().any(|b| {
            factors.iter().any(|c| {
                let exact = a * b * c;
                let twice = roundings(a * b).into_iter().flat_map(|p| roundings(p * c));
                twice.into_iter().any(|p| p.is_finite() && (p - exact).abs() > bound(2, Mag::of(exact)).get())
            })
        })
    })
}

/// Does a product of factors that are off by their errors differ by more than the bound says?
fn carried_breaks(bound: impl Fn(Mag, Mag, Mag, Mag) -> Mag) -> bool {
    let sizes = [0.0, 0.25, 1.0, 3.0];
    sizes.iter().any(|&a| {
        sizes.iter().any(|&b| {
            sizes.iter().any(|&ea| {
                sizes.iter().any(|&eb| {
                    let worst = (a + ea) * (b + eb) - a * b;
                    worst > bound(Mag::of(a), Mag::of(b), Mag::of(ea), Mag::of(eb)).get()
                })
            })
        })
    })
}

/// Is a product of magnitudes smaller than the exact one? Both have 53 bits; the exact one is taken in two parts.
fn magnitude_breaks(product: impl Fn(f64, f64) -> f64) -> bool {
    let values = (0..200u32).map(|k| 1.0 + f64::from(k).sqrt() / 15.0);
    values.clone().any(|a| values.clone().any(|b| (-a).mul_add(b, product(a, b)) < 0.0))
}

/// Is the range of a rounded sum too narrow for some run?
fn range_breaks(widened: impl Fn(Interval) -> Interval) -> bool {
    let all = numbers();
    all.iter().any(|a| {
        all.iter().any(|b| {
            let range = widened(Interval::point(a + b));
            roundings(a + b).iter().any(|r| r.is_finite() && !range.contains(*r))
        })
    })
}

fn product(a: Mag, b: Mag, ea: Mag, eb: Mag) -> Mag {
    a * eb + ea * (b + eb)
}

#[test]
fn the_lemmas_hold_in_three_bits() {
    format::about(TOY, || {
        assert!(!rounding_breaks(lemma::rounding));
        assert!(!result_breaks(lemma::rounding_of_result));
        for n in 2..=4 {
            assert!(!sum_breaks(n, lemma::sum_any_order), "{n}");
            assert!(!sum_breaks(n, |n, t| lemma::tree(n - 1, t)), "{n}");
        }
        for n in 1..=3 {
            assert!(!dot_breaks(n, lemma::dot_any_order), "{n}");
            assert!(!dot_breaks(n, |n, t| lemma::dot_tree(n, n, t)), "{n}");
        }
        assert!(!monomial_breaks(|k, x| lemma::monomial(k, x, Mag::ZERO)));
        assert!(!carried_breaks(product));
        assert!(!magnitude_breaks(|a, b| (Mag::of(a) * Mag::of(b)).get()));
        assert!(!range_breaks(|x| x.widen(lemma::rounding(x.mag()))));
    });
}

#[test]
fn ten_slips_are_found() {
    format::about(TOY, || {
        let half = |m: Mag| Mag::of(m.get() / 2.0);
        let found = [
            ("rounding: half of the half ulp", rounding_breaks(|x| half(u()) * x + half_eta())),
            ("rounding: no underflow", rounding_breaks(|x| u() * x)),
            ("rounding of a result: no underflow", result_breaks(|y| u() * Mag::of_f32(y))),
            ("sum in any order: n − 2 for n − 1", sum_breaks(3, |n, t| Mag::count(n - 2) * u() * t)),
            ("dot product: n − 1 for n", dot_breaks(2, |n, t| lemma::sum_any_order(n, t) + Mag::count(n) * half_eta())),
            ("dot product: no underflow", dot_breaks(2, |n, t| Mag::count(n) * u() * t)),
            ("tree: height h − 1", sum_breaks(2, |n, t| lemma::tree(n - 2, t))),
            ("dot product over a tree: no underflow", dot_breaks(2, |n, t| lemma::tree(n, t))),
            ("operations in a row: one forgotten", monomial_breaks(|k, x| lemma::growth(k - 1) * x)),
            ("product: e_a·e_b dropped", carried_breaks(|a, b, ea, eb| a * eb + ea * b)),
            ("product: what a carries dropped", carried_breaks(|a, _, _, eb| a * eb)),
            ("magnitudes: a product rounded to nearest", magnitude_breaks(|a, b| a * b)),
            ("range: not widened by the rounding", range_breaks(|x| x)),
        ];
        let missed: Vec<&str> = found.iter().filter(|f| !f.1).map(|f| f.0).collect();
        assert!(missed.is_empty(), "{missed:?}");
    });
}
