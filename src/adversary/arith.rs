//! [`Conforming`]: binary32 arithmetic that makes every choice which the portable rung leaves open.

use crate::num::{Arith, Elementary, Pieces, Steps, Ties};
use crate::ops::Smooth;

/// Where free choices are to lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To the larger result.
    Up,
    /// To the smaller one.
    Down,
    /// Anywhere.
    Random,
}

impl Way {
    /// Is a change by `by` one that is wanted?
    fn wants(self, by: f64) -> bool {
        match self {
            Way::Up => by > 0.0,
            Way::Down => by < 0.0,
            Way::Random => false,
        }
    }
}

/// A conforming binary32 arithmetic: sums in any order and grouping, products fused or not, ties either
/// way, elementary functions up to [`ULPS_PLAYED`] off.
#[derive(Clone, Copy, Debug)]
pub struct Conforming {
    /// Where roundings of sums, and ties, are to lead.
    pub sums: Way,
    /// Where elementary functions are to err.
    pub functions: Way,
    /// What random choices start from.
    pub seed: u64,
}

/// Units in the last place by which elementary functions are made to err: the portable rung allows 4,
/// and the kernel that this is counted from is itself off by 2^−24 of one.
pub const ULPS_PLAYED: f64 = 3.999;

/// Terms among which the next one of a sum is chosen.
const WINDOW: usize = 6;

/// Mixes all bits (SplitMix64).
pub(super) fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// A stream of random choices.
struct Choices(u64);

impl Choices {
    fn below(&mut self, n: usize) -> usize {
        self.0 = mix(self.0);
        (self.0 % n as u64) as usize
    }
}

/// The next binary32 number above (or below).
fn next(x: f32, up: bool) -> f32 {
    if up { x.next_up() } else { x.next_down() }
}

/// (s, t) with s + t = a + b exactly, s = fl(a + b) in binary64.
// Knuth's TwoSum; nothing overflows, since a and b are binary32 numbers or products of two
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let s = a + b;
    let z = s - a;
    (s, (a - (s - z)) + (b - z))
}

/// hi + lo rounded to the nearest binary32 number, a tie towards `way`; |lo| is at most half an ulp of hi.
fn round(hi: f64, lo: f64, way: Way) -> f32 {
    let r = hi as f32;
    if !r.is_finite() {
        return r;
    }
    // hi − r is exact: r is hi's nearest binary32 number, or 0
    let off = hi - f64::from(r);
    if off == 0.0 {
        return r;
    }
    let other = next(r, off > 0.0);
    if !other.is_finite() || f64::from(other) - f64::from(r) != 2.0 * off {
        return r;
    }
    // hi is a midpoint: lo decides, else it is a tie
    let towards_other = if lo != 0.0 { (lo > 0.0) == (off > 0.0) } else { way.wants(off) };
    if towards_other { other } else { r }
}

impl Conforming {
    fn choices(&self, first: f32, n: usize) -> Choices {
        Choices(mix(self.seed ^ u64::from(first.to_bits()) ^ (n as u64) << 32))
    }

    fn plus(&self, a: f32, b: f32) -> f32 {
        let (hi, lo) = two_sum(f64::from(a), f64::from(b));
        round(hi, lo, self.sums)
    }

    fn times(&self, a: f32, b: f32) -> f32 {
        // 48 bits at most: exact
        round(f64::from(a) * f64::from(b), 0.0, self.sums)
    }

    fn fused(&self, a: f32, b: f32, c: f32) -> f32 {
        let (hi, lo) = two_sum(f64::from(a) * f64::from(b), f64::from(c));
        round(hi, lo, self.sums)
    }

    /// Σ a·b; b = 1 marks a term that isn't a product.
    fn contract(&self, mut x: Vec<(f32, f32)>) -> f32 {
        let Some(&(first, _)) = x.first() else { return 0.0 };
        let mut choices = self.choices(first, x.len());
        if self.sums == Way::Random {
            for i in (1..x.len()).rev() {
                x.swap(i, choices.below(i + 1));
            }
            return self.tree(&x, &mut choices);
        }
        // one after another, always the term (of a few) and the form, fused or not, that errs most the
        // way it should
        let sign = if self.sums == Way::Up { 1.0 } else { -1.0 };
        let start = choices.below(x.len().min(WINDOW));
        let (a, b) = x.swap_remove(start);
        let mut s = self.times(a, b);
        while !x.is_empty() {
            let mut best = (f64::NEG_INFINITY, 0, 0.0f32);
            for (i, &(a, b)) in x.iter().enumerate().rev().take(WINDOW) {
                let exact = f64::from(s) + f64::from(a) * f64::from(b);
                for y in [self.fused(a, b, s), self.plus(s, self.times(a, b))] {
                    let gain = sign * (f64::from(y) - exact);
                    if gain > best.0 {
                        best = (gain, i, y);
                    }
                }
            }
            // nothing gains where the sum isn't finite: any term will do
            let (gain, i, y) = best;
            if gain == f64::NEG_INFINITY {
                let (a, b) = x.pop().expect("it isn't empty");
                s = self.plus(s, self.times(a, b));
            } else {
                x.swap_remove(i);
                s = y;
            }
        }
        s
    }

    /// Some grouping, some products fused.
    fn tree(&self, x: &[(f32, f32)], choices: &mut Choices) -> f32 {
        if let [(a, b)] = x {
            return self.times(*a, *b);
        }
        // a long row mostly in sequence, so that recursion stays shallow
        let cut = if x.len() > 64 { x.len() / 2 } else { 1 + choices.below(x.len() - 1) };
        let (left, right) = x.split_at(cut);
        if let [(a, b)] = left
            && choices.below(2) == 0
        {
            let rest = self.tree(right, choices);
            return self.fused(*a, *b, rest);
        }
        let left = self.tree(left, choices);
        self.plus(left, self.tree(right, choices))
    }

    /// A binary32 number up to [`ULPS_PLAYED`] from the value that a kernel gives as v.
    fn near(&self, v: f64) -> f32 {
        let nearest = v as f32;
        if !nearest.is_finite() || v == 0.0 {
            return nearest;
        }
        // an ulp of v: 2^(max(e, −126) − 23) for 2^e ≤ |v| < 2^(e+1)
        let e = ((v.abs().to_bits() >> 52) as i32 - 1023).max(-126);
        let limit = ULPS_PLAYED * 2f64.powi(e - 23);
        let (up, mut steps) = match self.functions {
            Way::Up => (true, 9),
            Way::Down => (false, 9),
            Way::Random => {
                let mut c = self.choices(nearest, 1);
                (c.below(2) == 0, c.below(5))
            }
        };
        let mut best = nearest;
        while steps > 0 {
            let other = next(best, up);
            let kept = other == 0.0 || (other < 0.0) == (v < 0.0);
            if !other.is_finite() || !kept || (f64::from(other) - v).abs() > limit {
                break;
            }
            (best, steps) = (other, steps - 1);
        }
        best
    }
}

impl Arith for Conforming {
    type S = f32;

    fn constant(&self, x: f64) -> f32 {
        x as f32
    }

    fn neg(&self, a: &f32) -> f32 {
        -a
    }

    fn add(&self, a: &f32, b: &f32) -> f32 {
        self.plus(*a, *b)
    }

    fn sub(&self, a: &f32, b: &f32) -> f32 {
        self.plus(*a, -b)
    }

    fn mul(&self, a: &f32, b: &f32) -> f32 {
        self.times(*a, *b)
    }

    fn quotient(&self, a: &f32, b: &f32, _: f64) -> f32 {
        a / b
    }

    fn root(&self, a: &f32, _: f64) -> f32 {
        self.apply(Elementary::Sqrt, a)
    }

    fn share(&self, a: &f32, total: &f32) -> f32 {
        a / total
    }

    fn apply(&self, f: Elementary, a: &f32) -> f32 {
        self.near(Smooth(f).kernel(f64::from(*a)))
    }

    fn sum<'a>(&self, terms: impl Iterator<Item = &'a f32>) -> f32 {
        self.contract(terms.map(|&v| (v, 1.0)).collect())
    }

    fn dot<'a>(&self, terms: impl Iterator<Item = (&'a f32, &'a f32)>, bias: Option<&f32>) -> f32 {
        let mut x: Vec<(f32, f32)> = terms.map(|(a, b)| (*a, *b)).collect();
        x.extend(bias.map(|b| (*b, 1.0)));
        self.contract(x)
    }

    fn piece_value(&self, p: &Pieces, a: &f32) -> f32 {
        let i = p.at(f64::from(*a));
        let (s, o) = (p.slopes[i] as f32, p.offsets[i] as f32);
        if s == 0.0 {
            return o;
        }
        let (fused, plain) = (self.fused(s, *a, o), self.plus(self.times(s, *a), o));
        match self.sums {
            Way::Up => fused.max(plain),
            Way::Down => fused.min(plain),
            Way::Random if self.seed & 1 == 0 => fused,
            Way::Random => plain,
        }
    }

    fn piece_slope(&self, p: &Pieces, a: &f32, ybar: &f32) -> f32 {
        match p.slopes[p.at(f64::from(*a))] as f32 {
            0.0 => 0.0,
            s => self.times(s, *ybar),
        }
    }

    fn step(&self, steps: Steps, a: &f32) -> f32 {
        steps.at(f64::from(*a)) as f32
    }

    fn max(&self, xs: &[f32]) -> f32 {
        xs.iter().copied().fold(f32::NEG_INFINITY, f32::max)
    }

    fn max_vjp(&self, xs: &[f32], ties: Ties, ybar: &f32) -> Vec<f32> {
        let m = self.max(xs);
        let won: Vec<usize> = (0..xs.len()).filter(|&i| xs[i] == m).collect();
        let mut out = vec![0.0; xs.len()];
        match ties {
            Ties::First => won.iter().take(1).for_each(|&i| out[i] = *ybar),
            Ties::Split => {
                let n = won.len() as f32;
                let by_reciprocal = self.seed & 2 == 0;
                won.iter().for_each(|&i| out[i] = if by_reciprocal { self.times(*ybar, 1.0 / n) } else { ybar / n });
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arith(sums: Way, functions: Way) -> Conforming {
        Conforming { sums, functions, seed: 5 }
    }

    #[test]
    fn ties_go_either_way_and_everything_else_to_the_nearest() {
        let tiny = 2f32.powi(-24);
        let (up, down) = (arith(Way::Up, Way::Random), arith(Way::Down, Way::Random));
        // 1 + 2^−24 is halfway between 1 and its successor
        assert_eq!((up.plus(1.0, tiny), down.plus(1.0, tiny)), (1f32.next_up(), 1.0));
        assert_eq!((up.plus(-1.0, -tiny), down.plus(-1.0, -tiny)), (-1.0, (-1f32).next_down()));
        // just beside the tie there is no choice
        let beside = 2f32.powi(-24) + 2f32.powi(-40);
        assert_eq!((up.plus(1.0, beside), down.plus(1.0, beside)), (1f32.next_up(), 1f32.next_up()));
        // 3·2^−150 is halfway between two subnormal numbers
        let (a, b) = (3.0 * 2f32.powi(-100), 2f32.powi(-50));
        assert_eq!((up.times(a, b), down.times(a, b)), (f32::from_bits(2), f32::from_bits(1)));
        let mut c = Choices(1);
        for _ in 0..20_000 {
            let mut some = || (c.below(1 << 25) as f32 - 1.6e7) * 2f32.powi(c.below(60) as i32 - 30);
            let (a, b, s) = (some(), some(), some());
            for x in [up, down] {
                // hardware's result, or its neighbour at the same distance
                let exact = (f64::from(a) + f64::from(b)) - f64::from(x.plus(a, b));
                let nearest = (f64::from(a) + f64::from(b)) - f64::from(a + b);
                assert_eq!(exact.abs(), nearest.abs(), "{a:e} + {b:e}");
                let product = f64::from(a) * f64::from(b);
                assert_eq!((product - f64::from(x.times(a, b))).abs(), (product - f64::from(a * b)).abs());
                let y = a.mul_add(b, s);
                let z = x.fused(a, b, s);
                assert!(z == y || z == y.next_up() || z == y.next_down(), "{a:e}·{b:e} + {s:e}");
            }
        }
    }

    #[test]
    fn greedy_sums_err_further_than_random_ones() {
        let mut c = Choices(3);
        let x: Vec<f32> = (0..400).map(|_| c.below(1 << 20) as f32 / 1e5 - 5.0).collect();
        let exact: f64 = x.iter().map(|&v| f64::from(v)).sum();
        let error = |w: Way| f64::from(arith(w, w).sum(x.iter())) - exact;
        let (up, down, some) = (error(Way::Up), error(Way::Down), error(Way::Random));
        assert!(up > 4.0 * some.abs() && down < -4.0 * some.abs(), "{up:e} {down:e} {some:e}");
    }

    #[test]
    fn functions_keep_their_four_ulps() {
        for f in [Elementary::Exp, Elementary::Tanh, Elementary::Sigmoid, Elementary::Log, Elementary::Sqrt] {
            let mut c = Choices(9);
            for _ in 0..500 {
                let x = c.below(1 << 24) as f32 / 2e6;
                let exact = Smooth(f).kernel(f64::from(x));
                if !exact.is_finite() || exact == 0.0 {
                    continue;
                }
                let ulp = 2f64.powi((exact.abs().log2().floor() as i32).max(-126) - 23);
                let off = |w| (f64::from(arith(w, w).apply(f, &x)) - exact) / ulp;
                assert!(off(Way::Up) > 2.0 && off(Way::Up) < 4.0 && off(Way::Down) < -2.0 && off(Way::Down) > -4.0);
            }
        }
    }
}
