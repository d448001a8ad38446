//! [`Remainders`]: what a linearisation at this run misses of any other run.
//!
//! Let S be the spec's operands of an operation f, R those of any conforming run, x̂ those of this run, and J̃
//! the linear map that [`Jets`](super::jet::Jets) make of f at x̂, with the very coefficients that they
//! compute. Evaluated in this arithmetic, the definition of f bounds
//!
//! > |f(R) − f(S) − J̃·e|, e = R − S,
//!
//! for all S and R with |S − x̂| ≤ off and |R − S| ≤ error. A scalar a of the definition carries its value â as
//! jets have it, and bounds on |a_S − â|, on e_a = a_R − a_S, and on the rest q_a = e_a − l_a, where l_a is what
//! J̃ makes of e. The rules are identities in real numbers, each followed by a triangle inequality:
//!
//! * ab: q = e_a(b_R − b̂) + e_b(a_S − â) + b̂·q_a + â·q_b.
//! * a/b: e = (e_a − y_S·e_b)/b_R, against coefficients 1/b̂ and ŷ/b̂.
//! * √a: e = e_a/(y_R + y_S), against 1/(2ŷ).
//! * f(a): e = e_a·∫f′, and |∫f′ − f′(â)| ≤ sup|f″|·(off + error/2) over all that lies within off + error of â.
//! * a piecewise linear f: |e − s(â)·e_a| ≤ (jump of the slope)·(length of the way from a_S to a_R off the piece
//!   of â) + jumps of the value; its cotangent s(a)·ȳ: where a kink may be passed, jump·|ȳ_R|, and jump·|e_ȳ|
//!   more where the spec itself may lie beyond it.
//! * a maximum: how far others may lead before â's winner; its cotangent: all of it, for every candidate.
//!
//! The rest is of second order where no kink is near. Everything rounds up.

use super::majorant::Major;
use super::products;
use crate::num::arith::textbook;
use crate::num::{Arith, Elementary, Interval, Mag, Pieces, Ties};
use crate::ops::Smooth;

/// A scalar: its value at this run, and how far spec, other runs and linearisation are apart.
#[derive(Clone, Copy, Debug)]
pub struct Apart {
    /// Value and rest.
    linear: Major,
    /// off and error: what a left factor lends to the second order of a product.
    left: Major,
    /// off + error and error: what a right factor does.
    right: Major,
}

impl Apart {
    /// A value; bounds on how far the spec is from it, any run from the spec, and that from the linearisation.
    pub fn new(value: f64, off: Mag, error: Mag, rest: Mag) -> Apart {
        Apart {
            linear: Major { value, sum: rest },
            left: Major { value: off.get(), sum: error },
            right: Major { value: (off + error).get(), sum: error },
        }
    }

    /// A number that is the same everywhere.
    fn exact(value: f64) -> Apart {
        Apart::new(value, Mag::ZERO, Mag::ZERO, Mag::ZERO)
    }

    /// The value at this run.
    pub fn value(&self) -> f64 {
        self.linear.value
    }

    /// |spec − value| at most.
    pub fn off(&self) -> Mag {
        Mag::of(self.left.value)
    }

    /// |any run − spec| at most.
    pub fn error(&self) -> Mag {
        self.left.sum
    }

    /// |any run − spec − linearisation| at most.
    pub fn rest(&self) -> Mag {
        self.linear.sum
    }

    /// |any run − value| at most, and |spec − value| too.
    fn reach(&self) -> Mag {
        Mag::of(self.right.value)
    }

    /// |value|
    fn size(&self) -> Mag {
        Mag::of(self.value())
    }

    /// |spec| at most.
    fn spec(&self) -> Mag {
        self.size() + self.off()
    }

    /// All that spec and any run may be.
    fn hull(&self) -> Interval {
        Interval::point(self.value()).widen(self.reach())
    }

    /// A lower bound on |x|, for x within `reach` of the value, of which |x| ≥ floor is known.
    fn below(&self, reach: Mag, floor: f64) -> f64 {
        Mag::sub_below(self.value().abs(), reach).max(floor)
    }
}

/// The arithmetic of [`Apart`].
#[derive(Clone, Copy, Debug)]
pub struct Remainders;

/// Relative error of a few operations in binary64.
const FEW: Mag = Mag::power_of_two(-50);

/// Relative error of an elementary function or its slope in binary64, with orders of magnitude to spare.
const KERNEL: Mag = Mag::power_of_two(-40);

/// Their absolute error where they underflow.
const TINY: Mag = Mag::power_of_two(-140);

/// Rounding of a binary64 product.
fn rounding(product: f64) -> Mag {
    if product == 0.0 { Mag::exp2(-1074) } else { Mag::of(product) * FEW + Mag::exp2(-1074) }
}

/// The entry that jets take for the largest, and how far each of the others may lead before it; negative where
/// it certainly doesn't.
fn leads(xs: &[Apart]) -> (usize, Vec<f64>) {
    let top = xs.iter().fold(f64::NEG_INFINITY, |m, x| m.max(x.value()));
    let won = xs.iter().position(|x| x.value() == top).expect("rows are not empty");
    let lead = |x: &Apart| {
        let reach = x.reach() + xs[won].reach();
        let ahead = x.value() - top;
        if reach.is_zero() { ahead } else { (ahead.next_up() + reach.get()).next_up() }
    };
    (won, xs.iter().map(lead).collect())
}

impl Remainders {
    /// The pieces that spec and any run may lie on.
    fn open(p: &Pieces, a: &Apart) -> (usize, usize) {
        let hull = a.hull();
        p.between(hull.lo, hull.hi)
    }
}

impl Arith for Remainders {
    type S = Apart;

    fn constant(&self, x: f64) -> Apart {
        Apart::exact(x)
    }

    fn neg(&self, a: &Apart) -> Apart {
        Apart::new(-a.value(), a.off(), a.error(), a.rest())
    }

    fn add(&self, a: &Apart, b: &Apart) -> Apart {
        let y = a.value() + b.value();
        Apart::new(y, a.off() + b.off() + Mag::of(y) * FEW, a.error() + b.error(), a.rest() + b.rest())
    }

    fn sub(&self, a: &Apart, b: &Apart) -> Apart {
        self.add(a, &self.neg(b))
    }

    fn mul(&self, a: &Apart, b: &Apart) -> Apart {
        let y = a.value() * b.value();
        let off = a.size() * b.off() + b.spec() * a.off() + rounding(y);
        let error = a.error() * (b.spec() + b.error()) + a.spec() * b.error();
        // e_a(b_R − b̂) + e_b(a_S − â) + b̂·q_a + â·q_b
        let rest = a.error() * b.reach() + a.off() * b.error() + b.size() * a.rest() + a.size() * b.rest();
        Apart::new(y, off, error, rest)
    }

    fn quotient(&self, a: &Apart, b: &Apart, floor: f64) -> Apart {
        let y = a.value() / b.value();
        let (size, here) = (Mag::of(y), b.value().abs());
        let (spec, any) = (b.below(b.off(), floor), b.below(b.reach(), floor));
        // y_S − â/b̂ = (a_S − â − (â/b̂)(b_S − b̂))/b_S
        let off = (a.off() + size * b.off()).div_lower(spec) + rounding(y);
        // (e_a − y_S·e_b)/b_R
        let error = (a.error() + (size + off) * b.error()).div_lower(any);
        // |1/b_R − 1/b̂| ≤ |b_R − b̂|/(|b_R||b̂|), and the rounded coefficient
        let inverse = b.reach().div_lower(any).div_lower(here) + FEW.div_lower(here);
        // |y_S/b_R − ŷ/b̂| ≤ |y_S − ŷ|/|b_R| + |ŷ||1/b_R − 1/b̂|
        let scaled = off.div_lower(any) + size * inverse;
        let rest =
            a.error() * inverse + b.error() * scaled + (a.rest() + size * b.rest()).div_lower(here) * (Mag::ONE + FEW);
        Apart::new(y, off, error, rest)
    }

    fn root(&self, a: &Apart, floor: f64) -> Apart {
        let y = a.value().sqrt();
        let low = |reach: Mag| Mag::sub_below(a.value(), reach).max(floor).max(0.0).sqrt().next_down();
        let (spec, any) = (low(a.off()), low(a.reach()));
        let sum = ((spec + any) * (1.0 - 1e-15)).max(0.0);
        // (a_S − â)/(y_S + √â)
        let off = a.off().div_lower(spec) + rounding(y);
        let error = a.error().div_lower(sum);
        // |1/(y_R + y_S) − 1/(2ŷ)| ≤ (2|y_S − ŷ| + e_y)/((y_R + y_S)·2ŷ)
        let slope = Mag::of(0.5).div_lower(y);
        let missed = (off + off + error).div_lower(sum) * slope + slope * FEW;
        Apart::new(y, off, error, a.error() * missed + slope * (Mag::ONE + FEW) * a.rest())
    }

    fn share(&self, a: &Apart, total: &Apart) -> Apart {
        let y = self.div(a, total);
        Apart::new(y.value(), y.off(), y.error().min(Mag::ONE), y.rest())
    }

    // any shift gives the same result: take this run's for all
    fn shift(&self, xs: &[Apart]) -> Apart {
        Apart::exact(xs.iter().fold(f64::NEG_INFINITY, |m, x| m.max(x.value())))
    }

    fn apply(&self, f: Elementary, a: &Apart) -> Apart {
        let smooth = Smooth(f);
        let y = smooth.kernel(a.value());
        let near = Interval::point(a.value()).widen(a.off());
        let moved = if a.off().is_zero() { Mag::ZERO } else { a.off() * f.slope(near) };
        let off = moved + Mag::of(y) * KERNEL + TINY;
        if a.error().is_zero() && a.rest().is_zero() {
            return Apart::new(y, off, Mag::ZERO, Mag::ZERO);
        }
        let slope = Mag::of(smooth.slope_kernel(a.value()));
        let steepest = f.slope(a.hull());
        // |∫f′ − f′(â)| ≤ sup|f″|·(off + e/2), or any two slopes
        let bent = smooth.curvature(a.hull()) * (a.off() + Mag::of(0.5) * a.error());
        let missed = bent.min(steepest + slope) + slope * KERNEL + TINY;
        Apart::new(y, off, a.error() * steepest, a.error() * missed + slope * a.rest())
    }

    fn sum<'a>(&self, terms: impl Iterator<Item = &'a Apart>) -> Apart {
        let (mut y, mut off, mut error, mut rest) = (0.0, Mag::ZERO, Mag::ZERO, Mag::ZERO);
        let (mut n, mut total) = (1, Mag::ZERO);
        for t in terms {
            y += t.value();
            off += t.off();
            error += t.error();
            rest += t.rest();
            total += t.size();
            n += 1;
        }
        Apart::new(y, off + Mag::count(n) * FEW * total, error, rest)
    }

    fn dot<'a>(&self, terms: impl Iterator<Item = (&'a Apart, &'a Apart)>, bias: Option<&Apart>) -> Apart {
        let start = bias.copied().unwrap_or(Apart::exact(0.0));
        let (mut y, mut off, mut error, mut rest) = (start.value(), start.off(), start.error(), start.rest());
        let (mut n, mut total) = (1, start.size());
        for (a, b) in terms {
            y += a.value() * b.value();
            let p = self.mul(a, b);
            off += p.off();
            error += p.error();
            rest += p.rest();
            total += p.size();
            n += 1;
        }
        Apart::new(y, off + Mag::count(n) * FEW * total, error, rest)
    }

    // only the rest: values stay open, as those of jets do
    fn products<'a>(
        &self,
        size: (usize, usize, usize),
        left: impl Fn(usize, usize) -> Option<&'a Apart> + Sync,
        right: impl Fn(usize, usize) -> Option<&'a Apart> + Sync,
        bias: impl Fn(usize, usize) -> Option<&'a Apart> + Sync,
    ) -> Vec<Apart> {
        if !products::pays(size) {
            return textbook(self, size, left, right, bias);
        }
        // Σ |b̂|q_a + |â|q_b (+ q_c)
        let linear = products::majorants(
            size,
            |i, l| left(i, l).map(|a| &a.linear),
            |l, j| right(l, j).map(|b| &b.linear),
            |i, j| bias(i, j).map(|c| &c.linear),
        );
        // Σ off_a·e_b + e_a·(off_b + e_b)
        let second = products::majorants(
            size,
            |i, l| left(i, l).map(|a| &a.left),
            |l, j| right(l, j).map(|b| &b.right),
            |_, _| None,
        );
        let open = |(a, b): (&Major, &Major)| Apart::new(f64::NAN, Mag::INFINITY, Mag::INFINITY, a.sum + b.sum);
        linear.iter().zip(&second).map(open).collect()
    }

    fn piece_value(&self, p: &Pieces, a: &Apart) -> Apart {
        let (open, here) = (Self::open(p, a), p.at(a.value()));
        let (y, slope) = (p.value(a.value()), Mag::of(p.slopes[here]));
        let jump = Mag::of(p.value_jump(open)) * Mag::of(1.0 + 1e-12);
        let steepest = Mag::of(p.steepest(open));
        let off = steepest * a.off() + jump + rounding(y);
        let mut rest = slope * a.rest();
        if open.0 != open.1 {
            // how far beyond the nearest kink on either side
            let past = |kink: Option<&f64>| {
                kink.map_or(Mag::ZERO, |k| a.reach().sub_lower((a.value() - k).abs().next_down().max(0.0)))
            };
            let beyond = past(here.checked_sub(1).map(|k| &p.kinks[k])) + past(p.kinks.get(here));
            rest += Mag::of(p.slope_jump(open)) * beyond.min(a.error()) + jump;
        }
        Apart::new(y, off, steepest * a.error() + jump, rest)
    }

    fn piece_slope(&self, p: &Pieces, a: &Apart, ybar: &Apart) -> Apart {
        let (open, here) = (Self::open(p, a), p.at(a.value()));
        let (y, slope) = (p.slopes[here] * ybar.value(), Mag::of(p.slopes[here]));
        if open.0 == open.1 {
            return Apart::new(y, slope * ybar.off() + rounding(y), slope * ybar.error(), slope * ybar.rest());
        }
        let near = Interval::point(a.value()).widen(a.off());
        let known = p.between(near.lo, near.hi) == (here, here);
        let (jump, steepest) = (Mag::of(p.slope_jump(open)), Mag::of(p.steepest(open)));
        // (s(a_R) − ŝ)·ȳ_R − (s(a_S) − ŝ)·ȳ_S
        let any = jump * (ybar.spec() + ybar.error());
        let rest = if known { any } else { any + jump * ybar.error() };
        let off = slope * ybar.off() + jump * ybar.spec() + rounding(y);
        Apart::new(y, off, steepest * ybar.error() + jump * ybar.spec(), rest + slope * ybar.rest())
    }

    fn max(&self, xs: &[Apart]) -> Apart {
        let (won, lead) = leads(xs);
        let ahead = || (0..xs.len()).filter(|&i| i == won || lead[i] > 0.0);
        let most = |f: fn(&Apart) -> Mag| ahead().fold(Mag::ZERO, |m, i| m.max(f(&xs[i])));
        let error = most(Apart::error);
        // (max_R − x_R) − (max_S − x_S) with x the winner here: each between 0 and the lead
        let missed = ahead().filter(|&i| i != won).fold(Mag::ZERO, |m, i| m.max(Mag::of(lead[i])));
        let rest = xs[won].rest() + missed.min(error + xs[won].error());
        Apart::new(xs[won].value(), most(Apart::off), error, rest)
    }

    fn max_vjp(&self, xs: &[Apart], ties: Ties, ybar: &Apart) -> Vec<Apart> {
        let (won, lead) = leads(xs);
        let shared = xs.iter().filter(|x| x.value() == xs[won].value()).count();
        let share = match ties {
            Ties::First => 1.0,
            Ties::Split => 1.0 / shared as f64,
        };
        let here = |i: usize| match ties {
            Ties::First => i == won,
            Ties::Split => xs[i].value() == xs[won].value(),
        };
        let decided = (0..xs.len()).all(|i| i == won || lead[i] <= 0.0);
        let one = |i: usize| {
            let value = if here(i) { share * ybar.value() } else { 0.0 };
            match (decided, here(i)) {
                (true, false) => Apart::exact(0.0),
                (true, true) if share == 1.0 => *ybar,
                (true, true) => {
                    let part = |m: Mag| m * Mag::of(share);
                    let rest = part(ybar.rest()) + part(ybar.error()) * FEW;
                    Apart::new(value, part(ybar.off()) + rounding(value), ybar.error() * Mag::of(share), rest)
                }
                (false, _) if i != won && lead[i] < 0.0 => Apart::exact(0.0),
                (false, _) => {
                    // any share between 0 and 1 on either side, against the share here
                    let error = ybar.spec() + ybar.error();
                    Apart::new(value, ybar.spec() + ybar.size(), error, error + ybar.error() + ybar.rest())
                }
            }
        };
        (0..xs.len()).map(one).collect()
    }
}
