//! Laws 5 and 6: the VJP is the derivative of the forward definition, and nothing but that.
//!
//! A central difference of step 2^−200 (relative to the entry) at 800 bits is within about 2^−300 of
//! the derivative; another derivation of the same formula would only repeat its mistakes.

use super::cases::{Case, case};
use super::rng::Rng;
use super::seeds;
use certify::ir::Array;
use certify::num::{Ball, Balls, Steps};
use certify::ops::{Op, RevNode};
use rug::Float;

const BITS: u32 = 800;

/// Bits of agreement demanded, relative to what is summed up: about 1e−60.
const AGREEMENT: u32 = 200;

fn number(v: f64) -> Float {
    Float::with_val(BITS, v)
}

fn ball(mid: Float) -> Ball {
    Ball { mid, rad: Default::default() }
}

fn zeros(like: &Array<Ball>) -> Vec<Float> {
    vec![number(0.0); like.data.len()]
}

/// Exact operands, moved by h·dx.
fn moved(x: &[Array<Ball>], dx: &[Vec<Float>], h: &Float) -> Vec<Array<Ball>> {
    let entry = |b: &Ball, d: &Float| ball(Float::with_val(BITS, &b.mid + Float::with_val(BITS, d * h)));
    x.iter()
        .zip(dx)
        .map(|(x, d)| Array::new(x.shape.clone(), x.data.iter().zip(d).map(|(b, d)| entry(b, d)).collect()))
        .collect()
}

/// (f(x + h·dx) − f(x − h·dx))/2h.
fn difference(op: &Op, x: &[Array<Ball>], dx: &[Vec<Float>]) -> Vec<Float> {
    let arith = Balls::new(BITS);
    let h = number(1.0) >> 200;
    let at = |h: &Float| {
        let x = moved(x, dx, h);
        op.forward_spec(&arith, &x.iter().collect::<Vec<_>>())
    };
    let (up, down) = (at(&h), at(&Float::with_val(BITS, -&h)));
    up.data
        .iter()
        .zip(&down.data)
        .map(|(a, b)| Float::with_val(BITS, &a.mid - &b.mid) / Float::with_val(BITS, &h * 2u32))
        .collect()
}

/// Does the function have a kink, a tie or an edge of its domain at these operands?
fn singular(op: &Op, x: &[Array<Ball>]) -> bool {
    use certify::num::Elementary::{Acos, Asin, Pow, Sqrt};
    let first = &x[0];
    match op {
        Op::Piecewise(p) => first.data.iter().any(|b| p.pieces.kinks.iter().any(|k| b.mid == *k)),
        Op::Staircase(s) => first.data.iter().any(|b| {
            let twice = Float::with_val(BITS, &b.mid * 2u32);
            let half = twice.is_integer() && !b.mid.is_integer();
            match s.0 {
                Steps::Round => half,
                Steps::Truncate => b.mid.is_integer() && !b.mid.is_zero(),
                _ => b.mid.is_integer(),
            }
        }),
        Op::Max(_) | Op::Route(_) => {
            let n = first.row_len();
            first.data.chunks(n).any(|row| {
                let top = row.iter().fold(&row[0].mid, |m, b| if b.mid > *m { &b.mid } else { m });
                row.iter().filter(|b| b.mid == *top).count() > 1
            })
        }
        Op::Smooth(s) => first.data.iter().any(|b| match s.0 {
            Sqrt => b.mid.is_zero(),
            Pow(p) => b.mid.is_zero() && !(p >= 1.0 && p.trunc() == p),
            Asin | Acos => b.mid.clone().abs() == 1.0,
            _ => false,
        }),
        Op::Normalize(n) if n.epsilon == 0.0 => {
            let constant =
                |row: &[Ball]| row.iter().all(|b| if n.centred { b.mid == row[0].mid } else { b.mid.is_zero() });
            first.data.chunks(first.row_len()).any(constant)
        }
        _ => false,
    }
}

/// Compares ⟨difference along dx, ȳ⟩ with ⟨dx, vjp⟩.
fn agree(
    case: &Case,
    what: &str,
    x: &[Array<Ball>],
    y: &Array<Ball>,
    vjp: &[Array<Ball>],
    dx: &[Vec<Float>],
) -> Result<(), String> {
    let j = difference(&case.op, x, dx);
    let sum = |pairs: &mut dyn Iterator<Item = (Float, Float)>| {
        let (mut s, mut size) = (number(0.0), number(0.0));
        for (a, b) in pairs {
            let p = Float::with_val(BITS, &a * &b);
            size += p.clone().abs();
            s += p;
        }
        (s, size)
    };
    let (left, size) = sum(&mut j.iter().zip(&case.ybar.data).map(|(j, g)| (j.clone(), number(f64::from(*g)))));
    let (right, other) =
        sum(&mut vjp.iter().zip(dx).flat_map(|(v, d)| v.data.iter().zip(d).map(|(v, d)| (v.mid.clone(), d.clone()))));
    // what the difference loses to cancellation: |y|·2^−800 over a step of 2^−200
    let (_, lost) = sum(&mut y.data.iter().zip(&case.ybar.data).map(|(y, g)| (y.mid.clone(), number(f64::from(*g)))));
    let tolerance = Float::with_val(BITS, (size + other) >> AGREEMENT) + (lost >> 580u32);
    let off = Float::with_val(BITS, &left - &right).abs();
    if off <= tolerance {
        return Ok(());
    }
    Err(format!(
        "{} seed {} {:?} {what}: ⟨J·dx, ȳ⟩ = {:e}, ⟨dx, Jᵀ·ȳ⟩ = {:e}",
        case.op.name(),
        case.seed,
        case.op,
        left.to_f64(),
        right.to_f64()
    ))
}

/// Both laws for one case; true when it was regular.
fn check(case: &Case, entries: usize) -> Result<bool, String> {
    let arith = Balls::new(BITS);
    let x: Vec<Array<Ball>> = case
        .x
        .iter()
        .map(|t| Array::new(t.shape.clone(), t.data.iter().map(|&v| ball(number(f64::from(v)))).collect()))
        .collect();
    let operands: Vec<&Array<Ball>> = x.iter().collect();
    if x.is_empty() || singular(&case.op, &x) {
        return Ok(false);
    }
    let y = case.op.forward_spec(&arith, &operands);
    if y.data.iter().any(|b| !b.rad.is_finite()) {
        return Ok(false);
    }
    let g = Array::new(y.shape.clone(), case.ybar.data.iter().map(|&v| ball(number(f64::from(v)))).collect());
    let vjp = case.op.vjp_spec(&arith, &operands, &y, &g, &vec![true; x.len()]);
    let vjp: Vec<Array<Ball>> = vjp.into_iter().map(|v| v.expect("all cotangents are wanted")).collect();
    let mut rng = Rng::of("derivative", case.seed);
    // a step in proportion to the entry, but no larger than what the function bends on: 1 of most, √ε of a row
    // that is normalised by so little
    let bend = match case.op {
        Op::Normalize(n) if n.epsilon > 0.0 => number(n.epsilon).sqrt().min(&number(1.0)),
        _ => number(1.0),
    };
    let step = |k: usize, i: usize| {
        let v = &x[k].data[i].mid;
        if v.is_zero() { number(1.0) >> 149 } else { v.clone().abs().min(&bend) }
    };
    // Law 5: one entry at a time.
    let all: Vec<(usize, usize)> = (0..x.len()).flat_map(|k| (0..x[k].data.len()).map(move |i| (k, i))).collect();
    for _ in 0..entries.min(all.len()) {
        let (k, i) = rng.pick(&all);
        let mut dx: Vec<Vec<Float>> = x.iter().map(zeros).collect();
        dx[k][i] = step(k, i);
        agree(case, &format!("entry {i} of operand {k}"), &x, &y, &vjp, &dx)?;
    }
    // Law 6: a random direction.
    let dx: Vec<Vec<Float>> = (0..x.len())
        .map(|k| (0..x[k].data.len()).map(|i| Float::with_val(BITS, step(k, i) * number(rng.signed()))).collect())
        .collect();
    agree(case, "a direction", &x, &y, &vjp, &dx)?;
    Ok(true)
}

#[test]
fn vjps_are_derivatives() {
    let mut failures = Vec::new();
    for (name, _) in Op::REGISTRY {
        let mut regular = 0;
        for seed in seeds(40) {
            match check(&case(name, seed), 4) {
                Ok(counted) => regular += usize::from(counted),
                Err(what) => failures.push(what),
            }
        }
        assert!(regular > 0, "{name}: no case is regular");
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures[..failures.len().min(12)].join("\n"));
}
