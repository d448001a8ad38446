//! [`Literal`]: the seeds' error formulas, word for word: a rounded value and the error bound that
//! TorchLean's NF backend carries beside it.
//!
//! û(x) is half an ulp at the exact value before rounding. Two things that look like mistakes are
//! the seeds' own and stay: a product counts e_a·e_b twice, and a gate charges |ȳ| + e always.
//! Where the seeds have no rule, one in their style is used and marked *ours*.

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
