//! [`Loose`]: binary32 arithmetic of a conforming run: any order of a sum, fused or not, elementary
//! functions up to 4 ulps off. Evaluating a definition with it gives one run of many.

use super::rng::{Rng, mix};
use super::values::neighbour;
use certify::num::{Arith, Elementary, Pieces, Steps, Ties};
use rug::Float;

/// In which order sums are added up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Order {
    Left,
    Right,
    /// Smallest magnitude first.
    Ascending,
    /// Largest magnitude first.
    Descending,
    /// A random tree over a random permutation.
    Tree,
    /// Positive terms, then negative ones.
    BySign,
}

/// How elementary functions err.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ulps {
    Exact,
    /// As far up as allowed.
    Up,
    /// As far down as allowed.
    Down,
    Random,
}

/// A conforming binary32 arithmetic.
#[derive(Clone, Copy, Debug)]
pub struct Loose {
    pub seed: u64,
    pub order: Order,
    pub fused: bool,
    pub ulps: Ulps,
    /// Quotients as products with a rounded reciprocal (where the rules say so).
    pub reciprocal: bool,
}

impl Loose {
    /// A random one.
    pub fn random(rng: &mut Rng, reciprocal: bool) -> Loose {
        let order =
            [Order::Left, Order::Right, Order::Ascending, Order::Descending, Order::Tree, Order::Tree, Order::BySign];
        Loose {
            seed: rng.next(),
            order: rng.pick(&order),
            fused: rng.one_in(2),
            ulps: rng.pick(&[Ulps::Exact, Ulps::Up, Ulps::Down, Ulps::Random]),
            reciprocal: reciprocal && rng.one_in(2),
        }
    }

    /// Random choices that depend on nothing but the operands, so that threads don't matter.
    fn choices(&self, x: impl Iterator<Item = f32>) -> Rng {
        Rng(x.fold(self.seed, |h, v| mix(h ^ u64::from(v.to_bits()))))
    }

    fn arrange(&self, rng: &mut Rng, x: &mut [(f32, f32)]) {
        let size = |p: &(f32, f32)| f64::from(p.0).abs() * f64::from(p.1).abs();
        match self.order {
            Order::Left => {}
            Order::Right => x.reverse(),
            Order::Ascending => x.sort_by(|a, b| size(a).total_cmp(&size(b))),
            Order::Descending => x.sort_by(|a, b| size(b).total_cmp(&size(a))),
            Order::Tree => rng.shuffle(x),
            Order::BySign => x.sort_by_key(|p| (p.0 * p.1) < 0.0),
        }
    }

    /// Σ a·b over terms in their order; b = 1 marks a term that isn't a product.
    fn contract(&self, rng: &mut Rng, x: &[(f32, f32)]) -> f32 {
        let times = |&(a, b): &(f32, f32)| a * b;
        if self.order == Order::Tree && x.len() > 1 {
            let cut = 1 + rng.below(x.len() - 1);
            if self.fused && cut == 1 {
                let rest = self.contract(rng, &x[1..]);
                return x[0].0.mul_add(x[0].1, rest);
            }
            return self.contract(rng, &x[..cut]) + self.contract(rng, &x[cut..]);
        }
        match x {
            [] => 0.0,
            [first, rest @ ..] => {
                rest.iter().fold(times(first), |s, p| if self.fused { p.0.mul_add(p.1, s) } else { s + times(p) })
            }
        }
    }
}

/// A binary32 number within 4 ulps of the real value v, towards `way` (−1, 0, 1).
pub fn near(v: &Float, way: i32) -> f32 {
    let nearest = v.to_f32();
    if way == 0 || !nearest.is_finite() || v.is_zero() {
        return nearest;
    }
    // an ulp of v: 2^(max(e, −126) − 23) for 2^e ≤ |v| < 2^(e+1)
    let e = v.get_exp().map_or(-126, |e| (e - 1).max(-126));
    let limit = 4.0 * 2f64.powi(e - 23);
    let mut best = nearest;
    for _ in 0..10 {
        let next = neighbour(best, i64::from(way));
        let off = Float::with_val(400, v - next).abs();
        if off > limit || !next.is_finite() || (next != 0.0 && (next < 0.0) != v.is_sign_negative()) {
            break;
        }
        best = next;
    }
    best
}

impl Arith for Loose {
    type S = f32;

    fn constant(&self, x: f64) -> f32 {
        x as f32
    }
    fn neg(&self, a: &f32) -> f32 {
        -a
    }
    fn add(&self, a: &f32, b: &f32) -> f32 {
        a + b
    }
    fn sub(&self, a: &f32, b: &f32) -> f32 {
        a - b
    }
    fn mul(&self, a: &f32, b: &f32) -> f32 {
        a * b
    }
    fn quotient(&self, a: &f32, b: &f32, _: f64) -> f32 {
        if self.reciprocal { a * (1.0 / b) } else { a / b }
    }
    fn root(&self, a: &f32, _: f64) -> f32 {
        self.apply(Elementary::Sqrt, a)
    }
    fn share(&self, a: &f32, total: &f32) -> f32 {
        self.div(a, total)
    }

    fn apply(&self, f: Elementary, a: &f32) -> f32 {
        if !a.is_finite() {
            return match f {
                Elementary::Exp => a.exp(),
                Elementary::Sqrt => a.sqrt(),
                _ => f32::NAN,
            };
        }
        let v = f.eval(&Float::with_val(53, *a), 200);
        if v.is_nan() {
            return f32::NAN;
        }
        let way = match self.ulps {
            Ulps::Exact => 0,
            Ulps::Up => 1,
            Ulps::Down => -1,
            Ulps::Random => self.choices([*a].into_iter()).below(3) as i32 - 1,
        };
        near(&v, way)
    }

    fn sum<'a>(&self, terms: impl Iterator<Item = &'a f32>) -> f32 {
        let mut x: Vec<(f32, f32)> = terms.map(|&v| (v, 1.0)).collect();
        let mut rng = self.choices(x.iter().map(|p| p.0));
        self.arrange(&mut rng, &mut x);
        self.contract(&mut rng, &x)
    }

    fn dot<'a>(&self, terms: impl Iterator<Item = (&'a f32, &'a f32)>, bias: Option<&f32>) -> f32 {
        let mut x: Vec<(f32, f32)> = terms.map(|(a, b)| (*a, *b)).collect();
        x.extend(bias.map(|b| (*b, 1.0)));
        let mut rng = self.choices(x.iter().map(|p| p.0));
        self.arrange(&mut rng, &mut x);
        self.contract(&mut rng, &x)
    }

    fn piece_value(&self, p: &Pieces, a: &f32) -> f32 {
        let i = p.at(f64::from(*a));
        let (s, o) = (p.slopes[i] as f32, p.offsets[i] as f32);
        if s == 0.0 {
            o
        } else if self.fused {
            s.mul_add(*a, o)
        } else {
            s * a + o
        }
    }

    fn step(&self, steps: Steps, a: &f32) -> f32 {
        steps.at(f64::from(*a)) as f32
    }

    fn piece_slope(&self, p: &Pieces, a: &f32, ybar: &f32) -> f32 {
        match p.slopes[p.at(f64::from(*a))] as f32 {
            0.0 => 0.0,
            s => s * ybar,
        }
    }

    fn max(&self, xs: &[f32]) -> f32 {
        xs.iter().copied().fold(f32::NEG_INFINITY, f32::max)
    }

    fn max_vjp(&self, xs: &[f32], ties: Ties, ybar: &f32) -> Vec<f32> {
        let m = self.max(xs);
        let won: Vec<usize> = (0..xs.len()).filter(|&i| xs[i] == m).collect();
        let mut out = vec![0.0; xs.len()];
        match ties {
            Ties::First => out[won[0]] = *ybar,
            Ties::Split => won.iter().for_each(|&i| {
                let n = won.len() as f32;
                out[i] = if self.fused { ybar * (1.0 / n) } else { ybar / n };
            }),
        }
        out
    }
}
