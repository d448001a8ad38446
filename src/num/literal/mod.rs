//! [`Literal`]: the seeds' error formulas, word for word: a rounded value and the error bound that
//! TorchLean's NF backend carries beside it.
//!
//! û(x) is half an ulp at the exact value before rounding. Two things that look like mistakes are
//! the seeds' own and stay: a product counts e_a·e_b twice, and a gate charges |ȳ| + e always.
//! Where the seeds have no rule, one in their style is used and marked *ours*.

mod products;

use super::{Arith, Elementary, Format, Interval, Mag, Pieces, Rounded, Steps, Ties};

/// A value of the reference runtime and a bound on its distance from the spec's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tracked {
    /// What the reference runtime computes.
    pub value: f64,
    /// |value − spec| ≤ eps.
    pub eps: Mag,
}

/// The arithmetic of the literal rung.
#[derive(Clone, Copy, Debug)]
pub struct Literal {
    runtime: Rounded,
}

impl Literal {
    /// The literal rung of the reference runtime in a format.
    pub fn new(format: Format) -> Literal {
        Literal { runtime: Rounded::new(format) }
    }

    /// û(x)
    fn half_ulp(&self, x: f64) -> Mag {
        self.runtime.format.half_ulp(x)
    }
}

impl Arith for Literal {
    type S = Tracked;

    fn constant(&self, x: f64) -> Tracked {
        let value = self.runtime.constant(x);
        Tracked { value, eps: Mag::of(x - value) }
    }

    // e + û(−x̂)
    fn neg(&self, a: &Tracked) -> Tracked {
        Tracked { value: -a.value, eps: a.eps + self.half_ulp(a.value) }
    }

    // e_x + e_y + û(x̂+ŷ)
    fn add(&self, a: &Tracked, b: &Tracked) -> Tracked {
        let exact = a.value + b.value;
        Tracked { value: self.runtime.format.round(exact), eps: a.eps + b.eps + self.half_ulp(exact) }
    }

    fn sub(&self, a: &Tracked, b: &Tracked) -> Tracked {
        let exact = a.value - b.value;
        Tracked { value: self.runtime.format.round(exact), eps: a.eps + b.eps + self.half_ulp(exact) }
    }

    // M(x̂,ŷ;e_x,e_y) = (|x̂|+e_x)e_y + (|ŷ|+e_y)e_x + û(x̂ŷ)
    fn mul(&self, a: &Tracked, b: &Tracked) -> Tracked {
        let exact = a.value * b.value;
        let eps = (Mag::of(a.value) + a.eps) * b.eps + (Mag::of(b.value) + b.eps) * a.eps + self.half_ulp(exact);
        Tracked { value: self.runtime.format.round(exact), eps }
    }

    // divPosErrorBound with a lower bound η' on the exact denominator, the known floor or |ŷ| − e_y:
    // e_x/η' + (|x̂|+e_x)e_y/(η'·|ŷ|) + û(x̂/ŷ)
    fn quotient(&self, a: &Tracked, b: &Tracked, floor: f64) -> Tracked {
        let exact = a.value / b.value;
        let below = Mag::sub_below(b.value.abs(), b.eps).max(floor);
        let eps = a.eps.div_lower(below)
            + ((Mag::of(a.value) + a.eps) * b.eps).div_lower(b.value.abs()).div_lower(below)
            + self.half_ulp(exact);
        Tracked { value: self.runtime.format.round(exact), eps }
    }

    // √ on [η,∞): e/√η + û(√x̂)
    fn root(&self, a: &Tracked, floor: f64) -> Tracked {
        let own = self.apply(Elementary::Sqrt, a);
        let by_floor = a.eps.div_lower(floor.sqrt().next_down()) + self.half_ulp(own.value);
        Tracked { eps: own.eps.min(by_floor), ..own }
    }

    // where divPosErrorBound's side condition fails: the exact share lies between 0 and 1 (ours)
    fn share(&self, a: &Tracked, total: &Tracked) -> Tracked {
        let own = self.div(a, total);
        Tracked { eps: own.eps.min(Mag::of(own.value).max(Mag::ONE)), ..own }
    }

    fn apply(&self, f: Elementary, a: &Tracked) -> Tracked {
        let value = self.runtime.apply(f, &a.value);
        // û at the exact value: û at the rounded one is at least that.
        let rounding = self.half_ulp(value);
        let eps = match f {
            // tanh: 2 + û, whatever e is
            Elementary::Tanh => Mag::of(2.0) + rounding,
            // σ: û(q̂) + |1̂|·|1/den| + |1̂| + û(1)
            Elementary::Sigmoid => rounding + Mag::of(value) + self.half_ulp(value) + Mag::ONE + self.half_ulp(1.0),
            // exp(x̂+e)·e + û(exp x̂), √: e/√η + û, and for all others (ours) e·sup|f′| + û
            _ if a.eps.is_zero() => rounding,
            _ => a.eps * f.slope(Interval::point(a.value).widen(a.eps)) + rounding,
        };
        Tracked { value, eps }
    }

    // sumNode: ε₀ = û(0); ε += e + û(acc+x)
    fn sum<'a>(&self, terms: impl Iterator<Item = &'a Tracked>) -> Tracked {
        terms.fold(Tracked { value: 0.0, eps: self.half_ulp(0.0) }, |acc, t| self.add(&acc, t))
    }

    // dotBound: ε₀ = û(0); p = fl(ab); ε += M(a,b) + û(acc+p)
    fn dot<'a>(&self, terms: impl Iterator<Item = (&'a Tracked, &'a Tracked)>, bias: Option<&Tracked>) -> Tracked {
        let zero = Tracked { value: 0.0, eps: self.half_ulp(0.0) };
        let s = terms.fold(zero, |acc, (a, b)| self.add(&acc, &self.mul(a, b)));
        bias.map_or(s, |b| self.add(&s, b))
    }

    fn products<'a>(
        &self,
        size: (usize, usize, usize),
        left: impl Fn(usize, usize) -> Option<&'a Tracked> + Sync,
        right: impl Fn(usize, usize) -> Option<&'a Tracked> + Sync,
        bias: impl Fn(usize, usize) -> Option<&'a Tracked> + Sync,
    ) -> Vec<Tracked> {
        products::products(self, size, &left, &right, &bias)
            .unwrap_or_else(|| super::arith::textbook(self, size, left, right, bias))
    }

    // reluNode: e + û(f(x̂)); other piecewise linear functions (ours): e·steepest + jumps + û
    fn piece_value(&self, p: &Pieces, a: &Tracked) -> Tracked {
        let value = self.runtime.piece_value(p, &a.value);
        let all = (0, p.kinks.len());
        let eps = a.eps * Mag::of(p.steepest(all))
            + Mag::of(p.value_jump(all))
            + self.half_ulp(value)
            + if p.offsets.iter().all(|&o| o == 0.0) { Mag::ZERO } else { self.half_ulp(a.value * p.steepest(all)) };
        Tracked { value, eps }
    }

    // reluRevNode: |δ| + e_δ, without a look at x̂; in general jump·|δ| + steepest·e_δ (ours) + û
    fn piece_slope(&self, p: &Pieces, a: &Tracked, ybar: &Tracked) -> Tracked {
        let all = (0, p.kinks.len());
        let value = self.runtime.piece_slope(p, &a.value, &ybar.value);
        let exact = p.slopes.iter().all(|s| s.abs() == 1.0 || *s == 0.0);
        let eps = Mag::of(p.slope_jump(all)) * Mag::of(ybar.value)
            + Mag::of(p.steepest(all)) * ybar.eps
            + if exact { Mag::ZERO } else { self.half_ulp(value) };
        Tracked { value, eps }
    }

    // ours: the steps between x̂ − e and x̂ + e
    fn step(&self, steps: Steps, a: &Tracked) -> Tracked {
        let eps = steps.rise(Interval::point(a.value).widen(a.eps));
        Tracked { value: self.runtime.step(steps, &a.value), eps }
    }

    // ours: the largest error of any candidate
    fn max(&self, xs: &[Tracked]) -> Tracked {
        let values: Vec<f64> = xs.iter().map(|t| t.value).collect();
        let eps = xs.iter().fold(Mag::ZERO, |m, t| m.max(t.eps));
        Tracked { value: self.runtime.max(&values), eps }
    }

    // ours, in the style of reluRevNode: |δ| + e_δ for every candidate
    fn max_vjp(&self, xs: &[Tracked], ties: Ties, ybar: &Tracked) -> Vec<Tracked> {
        let values: Vec<f64> = xs.iter().map(|t| t.value).collect();
        let eps = Mag::of(ybar.value) + ybar.eps;
        self.runtime.max_vjp(&values, ties, &ybar.value).into_iter().map(|value| Tracked { value, eps }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::format::BINARY32;
    use rug::Float;

    const A: Tracked = Tracked { value: 1.5, eps: Mag::power_of_two(-3) };
    const B: Tracked = Tracked { value: -2.75, eps: Mag::power_of_two(-5) };
    const C: Tracked = Tracked { value: 0.3125, eps: Mag::power_of_two(-4) };

    /// û of binary32, as the spacing of its numbers.
    fn half_ulp(x: f64) -> f64 {
        let x = x.abs() as f32;
        f64::from(if x == 0.0 { f32::from_bits(1) } else { x.next_up() - x }) / 2.0
    }

    /// A bound is its formula, up to binary64 rounding up.
    fn is(what: &str, t: &Tracked, value: f64, eps: f64) {
        assert_eq!(t.value, value, "{what}");
        let close = t.eps.get() >= eps && t.eps.get() <= eps * (1.0 + 1e-14);
        assert!(close, "{what}: {:e} for {eps:e}", t.eps.get());
    }

    #[test]
    fn errors_are_the_written_formulas() {
        let l = Literal::new(BINARY32);
        let (a, b, c) = (1.5, -2.75, 0.3125);
        let (ea, eb, ec) = (A.eps.get(), B.eps.get(), C.eps.get());
        is("constant", &l.constant(0.1), f64::from(0.1f32), (0.1 - f64::from(0.1f32)).abs());
        is("−x", &l.neg(&A), -a, ea + half_ulp(a));
        is("x + y", &l.add(&A, &B), a + b, ea + eb + half_ulp(a + b));
        is("x − y", &l.sub(&A, &B), a - b, ea + eb + half_ulp(a - b));
        let product = |x: f64, ex: f64, y: f64, ey: f64| (x.abs() + ex) * ey + (y.abs() + ey) * ex + half_ulp(x * y);
        is("xy", &l.mul(&A, &B), a * b, product(a, ea, b, eb));
        // e_x/η' + (|x̂|+e_x)e_y/(η'|ŷ|) + û, η' = |ŷ| − e_y or the floor
        let quotient = |low: f64| ea / low + (a + ea) * eb / (low * b.abs()) + half_ulp(a / b);
        let rounded = f64::from((a / b) as f32);
        is("x/y", &l.quotient(&A, &B, 0.0), rounded, quotient(b.abs() - eb));
        is("x/y over a floor", &l.quotient(&A, &B, 2.74), rounded, quotient(2.74));
        // the smaller of e/√η and e·sup 1/(2√x), and û
        let root = f64::from(1.5f32.sqrt());
        is("√x", &l.root(&A, 1e-9), root, ea / (2.0 * (a - ea).sqrt()) + half_ulp(root));
        is("√x over a floor", &l.root(&A, 1.0), root, (ea / (2.0 * (a - ea).sqrt())).min(ea) + half_ulp(root));
        let small = Tracked { value: 0.25, eps: Mag::of(0.5) };
        is("√x near 0", &l.root(&small, 0.25), 0.5, 0.5 / 0.5 + half_ulp(0.5));
        is("a share", &l.share(&A, &Tracked { value: 2.0, eps: Mag::of(2.0) }), 0.75, 1.0);
        let tanh = Float::with_val(60, 1.5).tanh().to_f32();
        is("tanh", &l.apply(Elementary::Tanh, &A), f64::from(tanh), 2.0 + half_ulp(f64::from(tanh)));
        let sigma = l.apply(Elementary::Sigmoid, &A);
        is("σ", &sigma, sigma.value, half_ulp(sigma.value) * 2.0 + sigma.value + 1.0 + half_ulp(1.0));
        // û(0), then e + û of every partial sum
        let sum = ea + eb + ec + half_ulp(0.0) + half_ulp(a) + half_ulp(a + b) + half_ulp(a + b + c);
        is("a sum", &l.sum([A, B, C].iter()), a + b + c, sum);
        let dot = product(a, ea, b, eb) + product(b, eb, c, ec);
        let partial = half_ulp(0.0) + half_ulp(a * b) + half_ulp(a * b + b * c) + half_ulp(a * b + b * c + c) + ec;
        is("a dot product", &l.dot([(&A, &B), (&B, &C)].into_iter(), Some(&C)), a * b + b * c + c, dot + partial);
        is("a maximum", &l.max(&[B, A, C]), a, ea);
        for (k, t) in l.max_vjp(&[B, A, C], Ties::First, &B).iter().enumerate() {
            is("a maximum's cotangent", t, if k == 1 { b } else { 0.0 }, b.abs() + eb);
        }
    }

    #[test]
    fn piecewise_errors_are_the_written_formulas() {
        let l = Literal::new(BINARY32);
        let pieces = |slopes: [f64; 2], offsets: [f64; 2]| Pieces {
            kinks: vec![0.0],
            slopes: slopes.to_vec(),
            offsets: offsets.to_vec(),
            left_closed: vec![true],
        };
        let (a, b, ea, eb) = (A.value, B.value, A.eps.get(), B.eps.get());
        let relu = pieces([0.0, 1.0], [0.0, 0.0]);
        // e + û(f(x̂)); |δ| + e_δ
        is("ReLU", &l.piece_value(&relu, &A), a, ea + half_ulp(a));
        is("ReLU's cotangent", &l.piece_slope(&relu, &A, &B), b, b.abs() + eb);
        // a jump of 1 at 0, slopes of −0.5 and 0.25; slope·x rounds as well
        let jump = pieces([-0.5, 0.25], [0.0, 1.0]);
        is("a jump", &l.piece_value(&jump, &A), 1.375, 0.5 * ea + 1.0 + half_ulp(1.375) + half_ulp(a * 0.5));
        let slope = 0.75 * b.abs() + 0.5 * eb + half_ulp(b * 0.25);
        is("a jump's cotangent", &l.piece_slope(&jump, &A, &B), b * 0.25, slope);
        // one slope is 1: the other still rounds
        let leaky = pieces([0.25, 1.0], [0.0, 0.0]);
        is("a leaky cotangent", &l.piece_slope(&leaky, &A, &B), b, 0.75 * b.abs() + eb + half_ulp(b));
        let flat = pieces([0.0, 0.25], [0.0, 0.0]);
        is(
            "a flat one's cotangent",
            &l.piece_slope(&flat, &A, &B),
            b * 0.25,
            0.25 * (b.abs() + eb) + half_ulp(b * 0.25),
        );
        is("steps", &l.step(Steps::Floor, &A), 1.0, 0.0);
        is("steps near a jump", &l.step(Steps::Round, &A), 2.0, 1.0);
    }
}
