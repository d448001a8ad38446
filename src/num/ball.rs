//! [`Ball`]: midpoint and radius, an enclosure of a real number; [`Balls`], their arithmetic.
//!
//! The midpoint is an MPFR number, the radius a [`Mag`]. Operations round the midpoint to the
//! precision at hand and put what was lost into the radius, so the exact result stays enclosed.
//! An operation that MPFR reports as exact adds nothing: exactly known values stay exact.

use super::{Arith, Elementary, Interval, Mag, Pieces, Steps, Ties, arith, sliced};
use rug::Float;
use rug::float::Round;
use rug::ops::{AddAssignRound, AssignRound};
use std::cmp::Ordering;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// A real number known up to `rad`.
#[derive(Clone, Debug)]
pub struct Ball {
    /// Midpoint.
    pub mid: Float,
    /// The number lies within this distance of the midpoint.
    pub rad: Mag,
}

/// 2^e with |x| ≤ 2^e, or 0.
#[inline]
fn size(x: &Float) -> Mag {
    match x.get_exp() {
        Some(e) => Mag::exp2(i64::from(e)),
        None if x.is_zero() => Mag::ZERO,
        None => Mag::INFINITY,
    }
}

/// Half a unit in the last place of a midpoint that has been rounded.
#[inline]
fn half_unit(x: &Float) -> Mag {
    match x.get_exp() {
        // x = m·2^e with ½ ≤ |m| < 1, so the last of its p bits weighs 2^(e−p).
        Some(e) => Mag::exp2(i64::from(e) - i64::from(x.prec()) - 1),
        // below MPFR's exponents; NaN and ∞ know nothing
        None if x.is_zero() => Mag::exp2(-1074),
        None => Mag::INFINITY,
    }
}

impl Ball {
    /// The exact value of a binary64 number.
    pub fn exact(x: f64) -> Ball {
        Ball { mid: Float::with_val(53, x), rad: Mag::ZERO }
    }

    /// Is the value known exactly?
    pub fn is_exact(&self) -> bool {
        self.rad.is_zero() && self.mid.is_finite()
    }

    /// Is the value known to be exactly 0?
    pub fn is_zero(&self) -> bool {
        self.rad.is_zero() && self.mid.is_zero()
    }

    /// An upper bound on |x|.
    pub fn mag(&self) -> Mag {
        Mag::of(self.mid.to_f64_round(if self.mid.is_sign_negative() { Round::Down } else { Round::Up })) + self.rad
    }

    /// A binary64 enclosure, rounded outward.
    pub fn interval(&self) -> Interval {
        let lo = self.mid.to_f64_round(Round::Down);
        let hi = self.mid.to_f64_round(Round::Up);
        Interval::new(lo, hi).widen(self.rad)
    }

    /// [lower, upper] bounds of |x|.
    pub fn mags(&self) -> (f64, f64) {
        if self.mid.is_zero() {
            return (0.0, self.rad.get());
        }
        // |mid| lies within an ulp of its nearest binary64 number
        let near = self.mid.to_f64().abs();
        let lo = Mag::sub_below(near.next_down().max(0.0), self.rad).max(0.0);
        (lo, (Mag::of(near.next_up()) + self.rad).get())
    }

    /// [lower, upper] bounds of |x − a| for a binary64 number a.
    pub fn distance(&self, a: f64) -> (f64, Mag) {
        // In binary64, where what it rounds is far below the distance: mid and the difference by a little over
        // 2^−53 of themselves.
        let near = self.mid.to_f64();
        let d = (near - a).abs();
        if near.is_normal() && d.is_normal() {
            let err = self.rad + (Mag::of(near) + Mag::of(d)) * Mag::exp2(-52);
            if err.get() <= d * 1e-6 {
                return (Mag::sub_below(d, err).max(0.0), Mag::of(d) + err);
            }
        }
        let d = Float::with_val(self.mid.prec().max(53) + 64, &self.mid - a);
        let (lo, hi) = (d.clone().abs().to_f64_round(Round::Down), d.abs().to_f64_round(Round::Up));
        let slack = size(&self.mid).max(Mag::of(a)) * Mag::exp2(-i64::from(self.mid.prec().max(53) + 62));
        let err = self.rad + slack;
        (Mag::sub_below(lo, err).max(0.0), Mag::of(hi) + err)
    }

    /// [lower, upper] bounds of |x − y| for the value y of another ball.
    pub fn gap(&self, o: &Ball) -> (f64, Mag) {
        let prec = self.mid.prec().max(o.mid.prec()).max(53);
        let d = Float::with_val(prec + 64, &self.mid - &o.mid);
        let (lo, hi) = (d.clone().abs().to_f64_round(Round::Down), d.abs().to_f64_round(Round::Up));
        // the difference is rounded once to prec + 64 bits: an error of at most 2·max(|x|, |y|)·2^−(prec+64)
        let slack = size(&self.mid).max(size(&o.mid)) * Mag::exp2(-i64::from(prec + 62));
        let err = self.rad + o.rad + slack;
        (Mag::sub_below(lo, err).max(0.0), Mag::of(hi) + err)
    }

    /// Does the ball contain x, or a value that x enclosed?
    pub fn contains(&self, x: &Float) -> bool {
        let p = self.mid.prec().max(x.prec()) + 1200;
        Float::with_val(p, &self.mid - x).abs() <= self.rad.get()
    }

    /// Do the two balls have a number in common?
    pub fn overlaps(&self, o: &Ball) -> bool {
        let p = self.mid.prec().max(o.mid.prec()) + 1200;
        Float::with_val(p, &self.mid - &o.mid).abs() <= (self.rad + o.rad).get()
    }

    /// The smallest ball around both, up to rounding.
    pub fn hull(&self, o: &Ball, prec: u32) -> Ball {
        if self.is_exact() && o.is_exact() && self.mid == o.mid {
            return self.clone();
        }
        // |x − m| ≤ max(|a − m| + r_a, |b − m| + r_b) for any m; m near the middle.
        let m = Float::with_val(prec, &self.mid + &o.mid) / 2u32;
        let far = |b: &Ball| {
            let d = Float::with_val(prec, &b.mid - &m);
            size(&d) + size(&b.mid) * Mag::exp2(-i64::from(prec)) + size(&m) * Mag::exp2(-i64::from(prec)) + b.rad
        };
        let rad = far(self).max(far(o));
        Ball { mid: m, rad }
    }

    /// Sign relative to a number: Less/Greater when decided, Equal when exactly equal.
    fn side(&self, k: f64) -> Option<Ordering> {
        if self.is_exact() {
            return self.mid.partial_cmp(&k);
        }
        let d = Float::with_val(self.mid.prec().max(53) + 64, &self.mid - k);
        // |x − k| ≥ |mid − k| − rad; the subtraction's own rounding is covered by a factor 1 − 2^−60.
        let gap = d.clone().abs().to_f64_round(Round::Down) * (1.0 - 1e-15);
        if gap > self.rad.get() { d.cmp0() } else { None }
    }
}

/// Ball arithmetic with a given precision of the midpoints.
///
/// Counts the gates that the enclosures could not decide: the caller raises the precision.
#[derive(Debug)]
pub struct Balls {
    /// Bits of the midpoints.
    pub prec: u32,
    sliced: bool,
    pub(super) scratch: sliced::Scratch,
    undecided: AtomicUsize,
}

impl Balls {
    /// Arithmetic with `prec` bits; large contractions run as [sliced products](super::sliced).
    pub fn new(prec: u32) -> Balls {
        Balls { prec, sliced: true, scratch: sliced::Scratch::default(), undecided: AtomicUsize::new(0) }
    }

    /// Arithmetic with `prec` bits, in MPFR alone: the independent path.
    pub fn scalar(prec: u32) -> Balls {
        Balls { sliced: false, ..Balls::new(prec) }
    }

    /// How many gates have been left undecided (and enclosed by the hull of both branches) so far.
    pub fn undecided(&self) -> usize {
        self.undecided.load(Relaxed)
    }

    /// Rounds a midpoint that has more bits; the ball grows by what is lost. Exactly known values stay.
    pub fn round(&self, b: &mut Ball) {
        if b.mid.prec() > self.prec && !b.rad.is_zero() {
            *b = self.rounded(Float::with_val_round(self.prec, &b.mid, Round::Nearest), b.rad);
        }
    }

    /// Counts gates that were left undecided before, in a part of the pass that isn't repeated.
    pub(crate) fn count_undecided(&self, n: usize) {
        self.undecided.fetch_add(n, Relaxed);
    }

    pub(super) fn rounded(&self, (mid, exact): (Float, Ordering), carried: Mag) -> Ball {
        let rad = if exact == Ordering::Equal { carried } else { carried + half_unit(&mid) };
        Ball { mid, rad }
    }

    /// Candidates of a maximum: indices of all entries that may attain it.
    fn candidates(&self, xs: &[Ball]) -> Vec<usize> {
        // the largest certain lower end
        let mut lead = 0;
        for (i, x) in xs.iter().enumerate() {
            if x.mid > xs[lead].mid {
                lead = i;
            }
        }
        let l = &xs[lead];
        xs.iter()
            .enumerate()
            .filter(|(_, x)| {
                if l.is_exact() && x.is_exact() {
                    return x.mid == l.mid;
                }
                let d = Float::with_val(self.prec + 64, &l.mid - &x.mid);
                d.to_f64_round(Round::Down) * (1.0 - 1e-15) <= (l.rad + x.rad).get()
            })
            .map(|(i, _)| i)
            .collect()
    }
}

impl Arith for Balls {
    type S = Ball;

    fn constant(&self, x: f64) -> Ball {
        Ball::exact(x)
    }

    fn neg(&self, a: &Ball) -> Ball {
        Ball { mid: -a.mid.clone(), rad: a.rad }
    }

    // |(a+b) − mid| ≤ r_a + r_b + half a unit
    fn add(&self, a: &Ball, b: &Ball) -> Ball {
        self.rounded(Float::with_val_round(self.prec, &a.mid + &b.mid, Round::Nearest), a.rad + b.rad)
    }

    fn sub(&self, a: &Ball, b: &Ball) -> Ball {
        self.rounded(Float::with_val_round(self.prec, &a.mid - &b.mid, Round::Nearest), a.rad + b.rad)
    }

    // |ab − mid| ≤ |a|r_b + r_a|b| + r_a r_b + half a unit
    fn mul(&self, a: &Ball, b: &Ball) -> Ball {
        if a.is_zero() || b.is_zero() {
            return Ball::exact(0.0);
        }
        let carried = product_radius(a, b);
        self.rounded(Float::with_val_round(self.prec, &a.mid * &b.mid, Round::Nearest), carried)
    }

    // |a/b − â/b̂| ≤ (r_a + |â/b̂| r_b)/max(|b̂| − r_b, floor)
    fn quotient(&self, a: &Ball, b: &Ball, floor: f64) -> Ball {
        let (mid, exact) = Float::with_val_round(self.prec, &a.mid / &b.mid, Round::Nearest);
        let mut carried = Mag::ZERO;
        if !a.rad.is_zero() || !b.rad.is_zero() {
            let below = Mag::sub_below(b.mid.clone().abs().to_f64_round(Round::Down), b.rad).max(floor);
            carried = (a.rad + size(&mid) * b.rad).div_lower(below);
        }
        if b.mid.is_zero() {
            return Ball { mid: Float::with_val(self.prec, 0), rad: Mag::INFINITY };
        }
        self.rounded((mid, exact), carried)
    }

    // √ moves by at most rad/(2√floor), and by less where the ball is further from 0
    fn root(&self, a: &Ball, floor: f64) -> Ball {
        let own = self.apply(Elementary::Sqrt, a);
        if own.rad.is_finite() || floor <= 0.0 {
            return own;
        }
        // a centre at or above the floor is as good as any
        let mid = if a.mid < floor { Float::with_val(self.prec, floor) } else { a.mid.clone() };
        let centre = self.apply(Elementary::Sqrt, &Ball { mid, rad: Mag::ZERO });
        let carried = (a.rad + a.rad) * Mag::of(0.5).div_lower(floor.sqrt().next_down());
        Ball { rad: centre.rad + carried, ..centre }
    }

    fn share(&self, a: &Ball, total: &Ball) -> Ball {
        self.div(a, total)
    }

    // |f(x) − f(mid)| ≤ rad·sup|f′| over the ball; the evaluation is good to one unit of the last bit
    fn apply(&self, f: Elementary, a: &Ball) -> Ball {
        let (mid, exact) = f.eval_exactly(&a.mid, self.prec);
        if mid.is_nan() {
            return Ball { mid: Float::with_val(self.prec, 0), rad: Mag::INFINITY };
        }
        let carried = if a.rad.is_zero() { Mag::ZERO } else { a.rad * f.slope(a.interval()) };
        let rounding = if exact { Mag::ZERO } else { half_unit(&mid) + half_unit(&mid) };
        Ball { mid, rad: carried + rounding }
    }

    fn sum<'a>(&self, terms: impl Iterator<Item = &'a Ball>) -> Ball {
        let mut acc = Float::new(self.prec);
        let mut rad = Mag::ZERO;
        for t in terms {
            rad += t.rad;
            if !t.mid.is_zero() && acc.add_assign_round(&t.mid, Round::Nearest) != Ordering::Equal {
                rad += half_unit(&acc);
            }
        }
        if acc.is_nan() {
            rad = Mag::INFINITY;
        }
        Ball { mid: acc, rad }
    }

    fn dot<'a>(&self, terms: impl Iterator<Item = (&'a Ball, &'a Ball)>, bias: Option<&Ball>) -> Ball {
        let mut acc = Float::new(self.prec);
        let mut product = Float::new(self.prec);
        let mut rad = Mag::ZERO;
        for (a, b) in terms {
            if !a.rad.is_zero() || !b.rad.is_zero() {
                rad += product_radius(a, b);
            }
            if a.mid.is_zero() || b.mid.is_zero() {
                continue;
            }
            if product.assign_round(&a.mid * &b.mid, Round::Nearest) != Ordering::Equal {
                rad += half_unit(&product);
            }
            if acc.add_assign_round(&product, Round::Nearest) != Ordering::Equal {
                rad += half_unit(&acc);
            }
        }
        if let Some(b) = bias {
            rad += b.rad;
            if acc.add_assign_round(&b.mid, Round::Nearest) != Ordering::Equal {
                rad += half_unit(&acc);
            }
        }
        if acc.is_nan() {
            rad = Mag::INFINITY;
        }
        Ball { mid: acc, rad }
    }

    fn products<'a>(
        &self,
        size: (usize, usize, usize),
        left: impl Fn(usize, usize) -> Option<&'a Ball> + Sync,
        right: impl Fn(usize, usize) -> Option<&'a Ball> + Sync,
        bias: impl Fn(usize, usize) -> Option<&'a Ball> + Sync,
    ) -> Vec<Ball> {
        if self.sliced && sliced::pays(size) {
            sliced::products(self, size, left, right, bias)
        } else {
            arith::textbook(self, size, left, right, bias)
        }
    }

    fn piece_value(&self, p: &Pieces, a: &Ball) -> Ball {
        self.branches(p, a, |i| {
            let scaled = if p.slopes[i] == 0.0 {
                Ball::exact(0.0)
            } else if p.slopes[i] == 1.0 {
                a.clone()
            } else {
                self.mul(&self.constant(p.slopes[i]), a)
            };
            if p.offsets[i] == 0.0 { scaled } else { self.add(&scaled, &self.constant(p.offsets[i])) }
        })
    }

    fn piece_slope(&self, p: &Pieces, a: &Ball, ybar: &Ball) -> Ball {
        self.branches(
            p,
            a,
            |i| {
                if p.slopes[i] == 1.0 { ybar.clone() } else { self.mul(&self.constant(p.slopes[i]), ybar) }
            },
        )
    }

    fn step(&self, steps: Steps, a: &Ball) -> Ball {
        match self.steps(steps, a) {
            Some((lo, hi)) if lo == hi => Ball { mid: lo, rad: Mag::ZERO },
            Some((lo, hi)) => {
                self.undecided.fetch_add(1, Relaxed);
                let exact = |mid| Ball { mid, rad: Mag::ZERO };
                exact(lo).hull(&exact(hi), self.prec)
            }
            None => {
                self.undecided.fetch_add(1, Relaxed);
                Ball { mid: Float::new(self.prec), rad: Mag::INFINITY }
            }
        }
    }

    fn max(&self, xs: &[Ball]) -> Ball {
        let c = self.candidates(xs);
        let mut m = xs[c[0]].clone();
        for &i in &c[1..] {
            m = m.hull(&xs[i], self.prec);
        }
        m
    }

    fn max_vjp(&self, xs: &[Ball], ties: Ties, ybar: &Ball) -> Vec<Ball> {
        let mut out = vec![Ball::exact(0.0); xs.len()];
        // Exactly equal, exactly known entries follow the operator's convention.
        if let Some(c) = self.winners(xs) {
            match ties {
                Ties::First => out[c[0]] = ybar.clone(),
                Ties::Split => {
                    let share = self.div(ybar, &self.constant(c.len() as f64));
                    for i in c {
                        out[i] = share.clone();
                    }
                }
            }
        } else {
            self.undecided.fetch_add(1, Relaxed);
            let either = ybar.hull(&Ball::exact(0.0), self.prec);
            for i in self.candidates(xs) {
                out[i] = either.clone();
            }
        }
        out
    }
}

impl Balls {
    /// The first and the last piece that the enclosure meets.
    pub fn pieces(&self, p: &Pieces, a: &Ball) -> (usize, usize) {
        let (mut first, mut last) = (0, 0);
        for (k, &left) in p.kinks.iter().zip(&p.left_closed) {
            match a.side(*k) {
                Some(Ordering::Greater) => (first, last) = (first + 1, last + 1),
                Some(Ordering::Equal) if !left => (first, last) = (first + 1, last + 1),
                Some(_) => {}
                None => last += 1,
            }
        }
        (first, last)
    }

    /// The lowest and the highest step that the enclosure meets; `None` where it says nothing.
    pub fn steps(&self, steps: Steps, a: &Ball) -> Option<(Float, Float)> {
        if !a.rad.is_finite() || !a.mid.is_finite() {
            return None;
        }
        if a.is_exact() {
            let only = steps.of(a.mid.clone());
            return Some((only.clone(), only));
        }
        // the steps of the ends, themselves rounded outward
        let p = a.mid.prec().max(53) + 64;
        let lo = Float::with_val_round(p, &a.mid - a.rad.get(), Round::Down).0;
        let hi = Float::with_val_round(p, &a.mid + a.rad.get(), Round::Up).0;
        Some((steps.of(lo), steps.of(hi)))
    }

    /// The entries that attain the maximum, if that is certain: one leads all others, or all that may
    /// lead are known exactly and equal.
    pub fn winners(&self, xs: &[Ball]) -> Option<Vec<usize>> {
        let c = self.candidates(xs);
        (c.len() == 1 || c.iter().all(|&i| xs[i].is_exact())).then_some(c)
    }

    /// The branch at a, or the hull of all branches that the enclosure meets.
    fn branches(&self, p: &Pieces, a: &Ball, branch: impl Fn(usize) -> Ball) -> Ball {
        let (first, last) = self.pieces(p, a);
        let mut y = branch(first);
        if last > first {
            self.undecided.fetch_add(1, Relaxed);
            for i in first + 1..=last {
                y = y.hull(&branch(i), self.prec);
            }
        }
        y
    }
}

/// |a|r_b + r_a|b| + r_a r_b.
#[inline]
fn product_radius(a: &Ball, b: &Ball) -> Mag {
    size(&a.mid) * b.rad + a.rad * (size(&b.mid) + b.rad)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ball(mid: f64, rad: f64) -> Ball {
        Ball { mid: Float::with_val(64, mid), rad: Mag::of(rad) }
    }

    /// A radius is its formula, up to what 64 bits and binary64 lose.
    fn is(what: &str, rad: Mag, formula: f64) {
        let ok = rad.get() >= formula && rad.get() <= formula * (1.0 + 1e-14) + 1e-17;
        assert!(ok, "{what}: {:e} for {formula:e}", rad.get());
    }

    #[test]
    fn radii_are_the_written_formulas() {
        let b = Balls::new(64);
        let (x, y) = (ball(1.5, 0.25), ball(-2.75, 0.125));
        is("x + y", b.add(&x, &y).rad, 0.375);
        is("x − y", b.sub(&x, &y).rad, 0.375);
        // |x| ≤ 2 and |y| ≤ 4 as powers of two
        is("xy", b.mul(&x, &y).rad, 2.0 * 0.125 + 0.25 * (4.0 + 0.125));
        // (r_x + |x/y|·r_y)/(|y| − r_y), |x/y| ≤ 1, or over the floor; only one of both has a radius
        is("x/y", b.quotient(&x, &y, 0.0).rad, (0.25 + 0.125) / 2.625);
        is("x/y over a floor", b.quotient(&x, &y, 2.7).rad, (0.25 + 0.125) / 2.7);
        is("x/y, y exact", b.quotient(&x, &ball(-2.75, 0.0), 0.0).rad, 0.25 / 2.75);
        is("x/y, x exact", b.quotient(&ball(1.5, 0.0), &y, 0.0).rad, 0.125 / 2.625);
        assert!(!b.quotient(&x, &ball(0.0, 0.0), 0.0).rad.is_finite());
        // r·sup 1/(2√x)
        is("√x", b.apply(Elementary::Sqrt, &x).rad, 0.25 * 0.5 / 1.25f64.sqrt());
        // a unit in the last of 64 bits, and nothing where the result is exact
        let own = b.apply(Elementary::Sqrt, &ball(1.5, 0.0)).rad.get() / 2f64.powi(-63);
        assert!((1.0..1.0 + 1e-15).contains(&own), "{own}");
        assert_eq!(b.apply(Elementary::Sqrt, &ball(2.25, 0.0)).rad, Mag::ZERO);
        // √ of a ball that reaches 0: r/√floor
        let near = b.root(&ball(0.25, 0.5), 0.25);
        is("√x over a floor", near.rad, 0.5 / 0.5);
        is("Σ", b.sum([&x, &y, &x].into_iter()).rad, 0.625);
        let dot = 2.0 * 0.125 + 0.25 * 4.125 + 0.25 * (2.0 + 0.25) + 2.0 * 0.25 + 0.125;
        is("a dot product", b.dot([(&x, &y), (&x, &x)].into_iter(), Some(&y)).rad, dot);
        // an inexact operation adds half a unit of the last place, an exact one nothing
        assert_eq!(b.add(&ball(1.0, 0.0), &ball(0.5, 0.0)).rad, Mag::ZERO);
        assert_eq!(b.quotient(&ball(1.0, 0.0), &ball(3.0, 0.0), 0.0).rad, Mag::exp2(-66));
        assert_eq!(b.add(&ball(1.0, 0.0), &ball(2f64.powi(-80), 0.0)).rad, Mag::exp2(-64));
    }

    #[test]
    fn distances_are_sharp_on_both_sides() {
        // near: in binary64; far off in size and hardly apart: in MPFR
        for (mid, rad, a) in
            [(1.5, 1e-9, -2.25), (1.5, 0.25, 1.0), (1e-30, 1e-40, 1e-30), (3.0, 2.0, 3.0), (0.0, 0.5, 2.0)]
        {
            let (lo, hi) = ball(mid, rad).distance(a);
            let d = (mid - a).abs();
            let slack = 1e-14 * mid.abs().max(a.abs());
            assert!(lo <= (d - rad).max(0.0) && lo >= (d - rad).max(0.0) - slack, "{mid} {a}: {lo}");
            assert!(hi.get() >= d + rad && hi.get() <= d + rad + slack + 1e-16 * rad * 4.0, "{mid} {a}: {hi:?}");
            let (lo, hi) = ball(mid, rad).gap(&ball(a, 0.125));
            let all = rad + 0.125;
            assert!(lo <= (d - all).max(0.0) && lo >= (d - all).max(0.0) - slack - 1e-15, "{mid} {a}: {lo}");
            assert!(hi.get() >= d + all && hi.get() <= d + all + slack + 1e-15, "{mid} {a}: {hi:?}");
        }
        // a midpoint between binary64 numbers: 2^20 + 2^−34 is a little nearer to 2^20 + 1 than 2^20 is
        let between = Ball { mid: Float::with_val(64, 1u32 << 20) + 2f64.powi(-34), rad: Mag::ZERO };
        let a = f64::from(1u32 << 20) + 1.0;
        let (lo, hi) = between.distance(a);
        assert!(lo <= 1.0 - 2f64.powi(-34) && lo >= 1.0 - 2f64.powi(-30) && hi.get() >= 1.0, "{lo} {hi:?}");
        // no distance at all is seen as well as the midpoint's bits allow, with 64 more
        let (lo, hi) = ball(1.0, 0.0).distance(1.0);
        assert!(lo == 0.0 && hi.get() <= 2f64.powi(-120), "{hi:?}");
        let (lo, hi) = ball(1.0, 0.0).gap(&ball(1.0, 0.0));
        assert!(lo == 0.0 && hi.get() <= 2f64.powi(-120), "{hi:?}");
        let (lo, hi) = ball(-3.0, 0.5).mags();
        assert!(lo <= 2.5 && lo >= 2.5 - 2e-15 && hi >= 3.5 && hi <= 3.5 + 2e-15);
        is("mag", ball(-3.0, 0.5).mag(), 3.5);
        let touching = |gap: f64| ball(0.0, 0.5).overlaps(&ball(gap, 0.25));
        assert!(touching(0.75) && touching(-0.75) && !touching(0.75000001));
        assert!(
            ball(0.0, 0.5).contains(&Float::with_val(80, -0.5)) && !ball(0.0, 0.5).contains(&Float::with_val(80, 0.51))
        );
        // a hull holds both, and is no wider than four times their extent
        let hull = ball(1.0, 0.125).hull(&ball(2.0, 0.25), 64);
        let (low, high) = (hull.mid.to_f64() - hull.rad.get(), hull.mid.to_f64() + hull.rad.get());
        assert!(low <= 0.875 && high >= 2.25 && hull.rad.get() <= 2.0, "{hull:?}");
        // |b − m| ≤ 1, |b| ≤ 4, |m| ≤ 2 as powers of two; with 8 bits what is rounded shows
        is("a hull", ball(1.0, 0.125).hull(&ball(2.0, 0.25), 8).rad, 1.0 + (4.0 + 2.0) / 256.0 + 0.25);
        is("a hull, the other way", ball(2.0, 0.25).hull(&ball(1.0, 0.5), 8).rad, 1.0 + (2.0 + 2.0) / 256.0 + 0.5);
        let same = ball(1.0, 0.0);
        assert_eq!(same.hull(&same, 64).rad, Mag::ZERO);
    }

    #[test]
    fn a_maximum_is_any_of_those_that_may_lead() {
        let b = Balls::new(64);
        let exact = |x: f64| ball(x, 0.0);
        let holds = |m: &Ball, x: f64| m.contains(&Float::with_val(64, x));
        // only what is certainly less is left out, known exactly or not
        let m = b.max(&[exact(1.0), ball(0.875, 0.25), exact(0.5)]);
        assert!(holds(&m, 1.0) && holds(&m, 1.125) && !holds(&m, 0.25), "{m:?}");
        assert_eq!(b.winners(&[exact(1.0), ball(0.875, 0.25)]), None);
        assert_eq!(b.winners(&[exact(1.0), ball(0.5, 0.25), exact(1.0)]), Some(vec![0, 2]));
        assert_eq!(b.winners(&[ball(1.0, 0.25), exact(0.5), ball(0.25, 0.375)]), Some(vec![0]));
        assert_eq!(b.winners(&[ball(1.0, 0.25), exact(0.75)]), None);
        // the cotangent goes to one, to equals, or anywhere
        let bar = exact(3.0);
        let to = |xs: &[Ball], ties| b.max_vjp(xs, ties, &bar).iter().map(|x| x.mid.to_f64()).collect::<Vec<_>>();
        assert_eq!(to(&[exact(1.0), exact(0.5), exact(1.0)], Ties::First), [3.0, 0.0, 0.0]);
        assert_eq!(to(&[exact(1.0), exact(0.5), exact(1.0)], Ties::Split), [1.5, 0.0, 1.5]);
        assert_eq!(b.undecided(), 0);
        let open = b.max_vjp(&[ball(1.0, 0.25), exact(0.75), exact(0.5)], Ties::First, &bar);
        assert!(open[..2].iter().all(|x| holds(x, 0.0) && holds(x, 3.0)) && open[2].is_zero(), "{open:?}");
        assert_eq!(b.undecided(), 1);
    }

    #[test]
    fn sides_are_told_where_they_are_certain() {
        let kink = 1.0;
        assert_eq!(ball(1.5, 0.25).side(kink), Some(Ordering::Greater));
        assert_eq!(ball(0.5, 0.25).side(kink), Some(Ordering::Less));
        assert_eq!((ball(1.25, 0.25).side(kink), ball(1.25, 0.3).side(kink)), (None, None));
        assert_eq!((ball(1.0, 0.0).side(kink), ball(1.0, 1e-30).side(kink)), (Some(Ordering::Equal), None));
        assert_eq!(ball(1.25, 0.249_999).side(kink), Some(Ordering::Greater));
    }
}
