//! Conforming runs of one primitive: its own kernel, its definition in loose binary32 arithmetic, and
//! the other algorithms that its file header lists.

use super::loose::Loose;
use super::rng::Rng;
use certify::ir::{Array, Tensor};
use certify::num::{Arith, Elementary};
use certify::ops::{Op, PerOperand, RevNode};

/// What one run made of its operands and cotangent.
pub struct Outcome {
    pub how: String,
    pub y: Tensor,
    pub xbar: PerOperand<Tensor>,
}

/// May quotients be products with a reciprocal here?
fn reciprocals(op: &Op) -> bool {
    matches!(op, Op::Mean(_) | Op::Softmax(_) | Op::LogSoftmax(_) | Op::Normalize(_))
}

/// `count` conforming runs other than the project's own kernel.
pub fn conforming(op: &Op, x: &[&Tensor], ybar: &Tensor, rng: &mut Rng, count: usize) -> Vec<Outcome> {
    let wanted = vec![true; x.len()];
    (0..count)
        .map(|_| {
            let a = Loose::random(rng, reciprocals(op));
            let (variant, mut how) = (rng.below(4), format!("{a:?}"));
            let y = other_forward(&a, op, x, variant).unwrap_or_else(|| op.forward_spec(&a, x));
            let xbar = match other_vjp(&a, op, x, &y, ybar, variant) {
                Some(xbar) => {
                    how = format!("{how}, other formula {variant}");
                    xbar
                }
                None => op.vjp_spec(&a, x, &y, ybar, &wanted),
            };
            Outcome { how, y, xbar }
        })
        .collect()
}

fn entries(like: &Tensor, f: impl Fn(usize) -> f32) -> Tensor {
    Array::new(like.shape.clone(), (0..like.data.len()).map(f).collect())
}

/// Other ways to a value.
fn other_forward(a: &Loose, op: &Op, x: &[&Tensor], variant: usize) -> Option<Tensor> {
    match op {
        // x − (m + ln Σ) in place of (x − m) − ln Σ
        Op::LogSoftmax(_) if variant >= 2 => {
            let n = x[0].row_len();
            let rows = x[0].data.chunks(n).flat_map(|row| {
                let m = a.max(row);
                let exps: Vec<f32> = row.iter().map(|v| a.apply(Elementary::Exp, &(v - m))).collect();
                let lse = m + a.apply(Elementary::Log, &a.sum(exps.iter()));
                row.iter().map(move |v| v - lse).collect::<Vec<f32>>()
            });
            Some(Array::new(x[0].shape.clone(), rows.collect()))
        }
        _ => None,
    }
}

/// Other formulas for the cotangents.
fn other_vjp(
    a: &Loose,
    op: &Op,
    x: &[&Tensor],
    y: &Tensor,
    ybar: &Tensor,
    variant: usize,
) -> Option<PerOperand<Tensor>> {
    if variant == 0 {
        return None;
    }
    let g = &ybar.data;
    match op {
        Op::Div(_) => {
            let (p, q) = (&x[0].data, &x[1].data);
            let first = entries(ybar, |i| g[i] / q[i]);
            let second = entries(ybar, |i| match variant {
                1 => -g[i] * p[i] / (q[i] * q[i]),
                2 => -((g[i] / q[i]) * (p[i] / q[i])),
                _ => (-g[i] * p[i]) * (1.0 / (q[i] * q[i])),
            });
            Some(vec![Some(first), Some(second)])
        }
        Op::Smooth(s) => {
            let slope = |i: usize| slope(a, s.0, x[0].data[i], y.data[i], g[i], variant);
            slope(0)?;
            Some(vec![Some(entries(ybar, |i| slope(i).unwrap_or(f32::NAN)))])
        }
        Op::Softmax(_) => {
            // p·ȳ − p·Σ(p·ȳ)
            let n = y.row_len();
            let mut out = Vec::new();
            for (p, g) in y.data.chunks(n).zip(g.chunks(n)) {
                let pg: Vec<f32> = p.iter().zip(g).map(|(p, g)| p * g).collect();
                let d = a.sum(pg.iter());
                out.extend(pg.iter().zip(p).map(|(t, p)| if a.fused { (-p).mul_add(d, *t) } else { t - p * d }));
            }
            Some(vec![Some(Array::new(y.shape.clone(), out))])
        }
        Op::LogSoftmax(_) => {
            // ȳ − e^y·Σȳ
            let n = y.row_len();
            let mut out = Vec::new();
            for (y, g) in y.data.chunks(n).zip(g.chunks(n)) {
                let s = a.sum(g.iter());
                out.extend(y.iter().zip(g).map(|(y, g)| g - a.apply(Elementary::Exp, y) * s));
            }
            Some(vec![Some(Array::new(y.shape.clone(), out))])
        }
        Op::Normalize(op) if variant == 1 => {
            // 1/σ once, products with it afterwards
            let n = y.row_len();
            let count = n as f32;
            let mut out = Vec::new();
            for (x, g) in x[0].data.chunks(n).zip(g.chunks(n)) {
                let mean = |s: f32| a.div(&s, &count);
                let mu = if op.centred { mean(a.sum(x.iter())) } else { 0.0 };
                let d: Vec<f32> = x.iter().map(|v| v - mu).collect();
                let sigma =
                    a.apply(Elementary::Sqrt, &(mean(a.dot(d.iter().map(|v| (v, v)), None)) + op.epsilon as f32));
                let inverse = 1.0 / sigma;
                let y: Vec<f32> = d.iter().map(|v| v * inverse).collect();
                let b = if op.centred { mean(a.sum(g.iter())) } else { 0.0 };
                let m = mean(a.dot(g.iter().zip(&y), None));
                out.extend(g.iter().zip(&y).map(|(g, y)| {
                    let t = if a.fused { (-y).mul_add(m, g - b) } else { (g - b) - y * m };
                    t * inverse
                }));
            }
            Some(vec![Some(Array::new(y.shape.clone(), out))])
        }
        _ => None,
    }
}

/// f′(x)·g by another binary32 formula.
fn slope(a: &Loose, f: Elementary, x: f32, y: f32, g: f32, variant: usize) -> Option<f32> {
    let apply = |f: Elementary, x: f32| a.apply(f, &x);
    Some(match (f, variant) {
        (Elementary::Log, 1) => g / x,
        (Elementary::Sqrt, 1) => g / (2.0 * y),
        (Elementary::Sqrt, 2) => 0.5 * g / y,
        (Elementary::Tanh, 1) => g * y.mul_add(-y, 1.0),
        (Elementary::Tanh, 2) => g * ((1.0 - y) * (1.0 + y)),
        (Elementary::Sigmoid, 1) => g * (y - y * y),
        (Elementary::Sigmoid, 2) => g * y * (1.0 - y),
        (Elementary::Softplus, 1) => {
            let z = apply(Elementary::Exp, x);
            if x > 20.0 { g } else { g * z / (z + 1.0) }
        }
        (Elementary::Softplus, 2) => g / (1.0 + apply(Elementary::Exp, -x)),
        (Elementary::Tan, 1) => {
            let c = apply(Elementary::Cos, x);
            g / (c * c)
        }
        (Elementary::Asin, 1) => g / apply(Elementary::Sqrt, (1.0 - x) * (1.0 + x)),
        (Elementary::Asin, 2) => g * (1.0 / apply(Elementary::Sqrt, x.mul_add(-x, 1.0))),
        (Elementary::Acos, 1) => -g / apply(Elementary::Sqrt, 1.0 - x * x),
        (Elementary::Atan, 1) => g / x.mul_add(x, 1.0),
        (Elementary::Atan, 2) => g / (1.0 + x * x),
        (Elementary::Asinh, 1) => g / apply(Elementary::Sqrt, x.mul_add(x, 1.0)),
        (Elementary::Acosh, 1) => g / apply(Elementary::Sqrt, (x - 1.0) * (x + 1.0)),
        (Elementary::Acosh, 2) => g / (apply(Elementary::Sqrt, x - 1.0) * apply(Elementary::Sqrt, x + 1.0)),
        (Elementary::Atanh, 1) => g / (1.0 - x * x),
        (Elementary::Erf, 1) => {
            let c = 2.0 / apply(Elementary::Sqrt, std::f32::consts::PI);
            g * (c * apply(Elementary::Exp, -(x * x)))
        }
        (Elementary::Pow(p), 1) if p != 0.0 => g * (p * apply(Elementary::Pow(p - 1.0), x)),
        (Elementary::Pow(p), 2) if p != 0.0 => (g * p) * apply(Elementary::Pow(p - 1.0), x),
        _ => return None,
    })
}
