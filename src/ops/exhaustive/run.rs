//! The arithmetic of one conforming run in a small format, and the choices that lead to all of them.

use crate::num::format::exponent;
use crate::num::rounded::round_once;
use crate::num::{Arith, Elementary, Format, Mag, Pieces, Steps, Ties};
use rug::Float;
use std::cell::RefCell;

/// Choices on the way of one run.
#[derive(Default)]
struct Oracle {
    /// What was chosen, among how many.
    path: Vec<(u32, u32)>,
    at: usize,
    /// Draws every choice instead, where there are too many runs.
    drawn: Option<u64>,
}

thread_local! {
    /// Of the run on this thread: it asks often, and a lock would take longer than its arithmetic.
    static ORACLE: RefCell<Oracle> = RefCell::default();
}

/// One of 0, 1, …, n − 1.
pub(super) fn choose(n: usize) -> usize {
    if n < 2 {
        return 0;
    }
    ORACLE.with_borrow_mut(|o| {
        if let Some(state) = &mut o.drawn {
            return super::draw(state) % n;
        }
        if o.at == o.path.len() {
            o.path.push((0, n as u32));
        }
        let (chosen, among) = o.path[o.at];
        assert_eq!(among as usize, n, "the same run asks the same questions");
        o.at += 1;
        chosen as usize
    })
}

/// Calls `run` for every way to answer its questions, depth first; where there are more than `most`, for half
/// as many of them and as many that are drawn. Returns how many, and whether these were all.
pub(super) fn all_runs(most: u64, mut run: impl FnMut()) -> (u64, bool) {
    ORACLE.with_borrow_mut(|o| {
        o.path.clear();
        (o.at, o.drawn) = (0, None);
    });
    let mut n = 0;
    loop {
        run();
        n += 1;
        if !ORACLE.with_borrow_mut(Oracle::advance) {
            return (n, true);
        }
        if n >= most.div_ceil(2) {
            break;
        }
    }
    ORACLE.with_borrow_mut(|o| o.drawn = Some(n));
    (0..n).for_each(|_| run());
    (2 * n, false)
}

impl Oracle {
    /// Goes on to the next run, if there is one.
    fn advance(&mut self) -> bool {
        self.at = 0;
        while let Some((chosen, among)) = self.path.pop() {
            if chosen + 1 < among {
                self.path.push((chosen + 1, among));
                return true;
            }
        }
        false
    }
}

/// Arithmetic of one conforming run.
pub(super) struct Run {
    pub(super) format: Format,
    /// May quotients be products with a reciprocal?
    reciprocal: bool,
    /// Elementary functions may be off by so many ulps.
    ulps: f64,
    /// Of the format.
    largest: f64,
}

/// A term of a sum on its way: a product that isn't rounded yet, or a number.
#[derive(Clone, Copy)]
enum Term {
    Product(f64, f64),
    Number(f64),
}

/// a + b, rounded to odd in binary64: rounded once more to a short format it is a + b rounded once.
fn add_to_odd(a: f64, b: f64) -> f64 {
    let s = a + b;
    let t = s - a;
    // what s lacks (Knuth's two-sum)
    let e = (a - (s - t)) + (b - t);
    if e == 0.0 || !s.is_finite() || s.to_bits() & 1 == 1 {
        return s;
    }
    f64::from_bits(if (e > 0.0) == (s > 0.0) { s.to_bits() + 1 } else { s.to_bits() - 1 })
}

impl Run {
    pub(super) fn new(format: Format, reciprocal: bool, ulps: f64) -> Run {
        Run { format, reciprocal, ulps, largest: format.largest() }
    }

    /// Rounds an exact value, a tie either way.
    fn round(&self, x: f64) -> f64 {
        let f = &self.format;
        if x == 0.0 || !x.is_finite() {
            return x;
        }
        let spacing = Mag::exp2(i64::from(exponent(x).max(f.emin) - f.p + 1)).get();
        // both exact, or so small that the rest is neither 0 nor a half
        let units = x / spacing;
        let toward_zero = (units as i64) as f64;
        let rest = (units - toward_zero).abs();
        if rest == 0.0 && x.abs() <= self.largest {
            return x;
        }
        let away = toward_zero + 1f64.copysign(x);
        let to = |units: f64| {
            if (units * spacing).abs() > self.largest { f64::INFINITY.copysign(x) } else { units * spacing }
        };
        if rest != 0.5 {
            return to(if rest < 0.5 { toward_zero } else { away });
        }
        let (even, odd) = if toward_zero as i64 % 2 == 0 { (toward_zero, away) } else { (away, toward_zero) };
        if to(even).is_finite() && to(odd).is_finite() && choose(2) == 1 { to(odd) } else { to(even) }
    }

    /// a·b + s, rounded once; a·b is exact in binary64.
    fn fma(&self, a: f64, b: f64, s: f64) -> f64 {
        self.round(add_to_odd(a * b, s))
    }

    fn number(&self, t: Term) -> f64 {
        match t {
            Term::Product(a, b) => self.round(a * b),
            Term::Number(s) => s,
        }
    }

    /// The sum of two terms by any legal operation.
    fn join(&self, x: Term, y: Term) -> f64 {
        match (x, y) {
            (Term::Product(a, b), Term::Product(c, d)) => match choose(3) {
                0 => self.round(self.number(x) + self.number(y)),
                1 => self.fma(a, b, self.number(y)),
                _ => self.fma(c, d, self.number(x)),
            },
            (Term::Product(a, b), Term::Number(s)) | (Term::Number(s), Term::Product(a, b)) => match choose(2) {
                0 => self.round(self.round(a * b) + s),
                _ => self.fma(a, b, s),
            },
            (Term::Number(s), Term::Number(t)) => self.round(s + t),
        }
    }

    /// The sum in any order and grouping: two terms, whichever, become one until one is left.
    fn total(&self, mut terms: Vec<Term>) -> f64 {
        while terms.len() > 1 {
            let n = terms.len();
            let mut k = choose(n * (n - 1) / 2);
            let mut i = 0;
            while k >= n - 1 - i {
                k -= n - 1 - i;
                i += 1;
            }
            let y = terms.remove(i + 1 + k);
            let x = terms.remove(i);
            terms.push(Term::Number(self.join(x, y)));
        }
        terms.first().map_or(0.0, |&t| self.number(t))
    }
}

impl Arith for Run {
    type S = f64;

    fn constant(&self, x: f64) -> f64 {
        self.format.round(x)
    }
    fn neg(&self, a: &f64) -> f64 {
        -a
    }
    fn add(&self, a: &f64, b: &f64) -> f64 {
        self.round(a + b)
    }
    fn sub(&self, a: &f64, b: &f64) -> f64 {
        self.round(a - b)
    }
    fn mul(&self, a: &f64, b: &f64) -> f64 {
        self.round(a * b)
    }
    // a quotient of two numbers of at most 11 bits is a tie only where binary64 holds it exactly
    fn quotient(&self, a: &f64, b: &f64, _: f64) -> f64 {
        if self.reciprocal && choose(2) == 1 { self.round(a * self.round(1.0 / b)) } else { self.round(a / b) }
    }
    fn root(&self, a: &f64, _: f64) -> f64 {
        self.format.round(a.sqrt())
    }
    fn share(&self, a: &f64, total: &f64) -> f64 {
        self.div(a, total)
    }

    fn apply(&self, f: Elementary, a: &f64) -> f64 {
        // the square in a slope may overflow: e^−∞ is 0
        if f == Elementary::Exp && *a == f64::NEG_INFINITY {
            return 0.0;
        }
        // and so may the one under a root: √∞ is ∞
        if f == Elementary::Sqrt && *a == f64::INFINITY {
            return *a;
        }
        if !a.is_finite() {
            return f64::NAN;
        }
        let v = f.eval(&Float::with_val(53, *a), 200);
        let nearest = round_once(&v, self.format);
        if f == Elementary::Sqrt || self.ulps == 0.0 || !nearest.is_finite() || v.is_zero() {
            return nearest;
        }
        // as far off as allowed, either way, on the same side of 0
        let reach = 2.0 * self.ulps * self.format.half_ulp(v.to_f64()).get();
        let off = match choose(3) {
            0 => return nearest,
            1 => reach,
            _ => -reach,
        };
        let spacing = 2.0 * self.format.half_ulp(v.to_f64()).get();
        let mut best = nearest;
        for k in 1..=(self.ulps as i32 + 1) {
            let next = self.format.round(nearest + f64::from(k) * spacing.copysign(off));
            let far = Float::with_val(300, &v - next).abs() > reach;
            if far || !next.is_finite() || (next != 0.0 && (next < 0.0) != v.is_sign_negative()) {
                break;
            }
            best = next;
        }
        best
    }

    fn sum<'a>(&self, terms: impl Iterator<Item = &'a f64>) -> f64 {
        self.total(terms.map(|&t| Term::Number(t)).collect())
    }

    fn dot<'a>(&self, terms: impl Iterator<Item = (&'a f64, &'a f64)>, bias: Option<&f64>) -> f64 {
        let mut all: Vec<Term> = terms.map(|(a, b)| Term::Product(*a, *b)).collect();
        all.extend(bias.map(|b| Term::Number(*b)));
        self.total(all)
    }

    fn piece_value(&self, p: &Pieces, a: &f64) -> f64 {
        let i = p.at(*a);
        match (p.slopes[i], p.offsets[i]) {
            (0.0, o) => o,
            (s, 0.0) => self.round(s * a),
            (s, o) => self.join(Term::Product(s, *a), Term::Number(o)),
        }
    }

    fn step(&self, steps: Steps, a: &f64) -> f64 {
        steps.at(*a)
    }

    fn piece_slope(&self, p: &Pieces, a: &f64, ybar: &f64) -> f64 {
        match p.slopes[p.at(*a)] {
            0.0 => 0.0,
            s => self.round(s * ybar),
        }
    }

    fn max(&self, xs: &[f64]) -> f64 {
        xs.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }

    fn max_vjp(&self, xs: &[f64], ties: Ties, ybar: &f64) -> Vec<f64> {
        let m = self.max(xs);
        let won: Vec<usize> = (0..xs.len()).filter(|&i| xs[i] == m).collect();
        let mut out = vec![0.0; xs.len()];
        match ties {
            Ties::First => out[won[0]] = *ybar,
            Ties::Split => {
                let share = self.quotient(ybar, &(won.len() as f64), 0.0);
                won.iter().for_each(|&i| out[i] = share);
            }
        }
        out
    }
}

#[test]
fn a_run_rounds_as_its_format_does_and_meets_both_sides_of_ties() {
    use super::{BINARY16, P3, P4, numbers};
    let both = |run: &Run, x: f64| {
        let mut found = Vec::new();
        all_runs(10, || found.push(run.round(x)));
        found
    };
    for format in [P3, P4, BINARY16] {
        let run = Run::new(format, false, 0.0);
        let all = numbers(format);
        let some: Vec<f64> = all.iter().copied().step_by(all.len().div_ceil(150)).collect();
        for a in &some {
            for b in &some {
                for x in [a + b, a * b, a / b, a * 1e-3] {
                    let (found, r) = (both(&run, x), format.round(x));
                    assert!(found[0] == r || x.is_nan(), "{x:e}: {} for {r}", found[0]);
                    let tie = r.is_finite() && r != x && (x - r).abs() == format.half_ulp(x).get();
                    let other = x + (x - r);
                    let expected = if tie && other.abs() <= format.largest() { vec![r, other] } else { vec![r] };
                    assert!(found == expected || x.is_nan(), "{x:e}: {found:?} for {expected:?}");
                }
                for c in some.iter().step_by(17) {
                    let exact = Float::with_val(200, a * b) + c;
                    let mut first = None;
                    all_runs(10, || _ = first.get_or_insert(run.fma(*a, *b, *c)));
                    assert_eq!(first, Some(round_once(&exact, format)), "{a}·{b} + {c}");
                }
            }
        }
    }
}
