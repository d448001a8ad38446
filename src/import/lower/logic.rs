//! Comparisons, logic and integer arithmetic.
//!
//! Exact import-time data where the operands are that. A comparison of values that are only known in
//! the run becomes a step function of their difference, 0 or 1, with derivative zero: a gate, whose
//! kink is counted like that of a Relu. a < b and fl(b − a) > 0 say the same: with gradual underflow
//! a difference of two binary32 numbers rounds to 0 only when they are equal (Higham, Accuracy and
//! Stability of Numerical Algorithms, §2.1).

use super::call::{Call, Done, Problem};
use super::elementwise::pieces;
use super::fold::{self, Arithmetic, Comparison};
use crate::data::{DType, HostTensor};
use crate::error::Code;
use crate::ir::ValueId;
use crate::num::Steps;
use crate::ops::{self, Piecewise};

/// 1 for x > 0 (or x ≥ 0 when `closed`), else 0.
fn step(closed: bool) -> Piecewise {
    pieces(&[0.0], &[0.0, 0.0], &[0.0, 1.0], &[!closed])
}

/// 1 for x = 0, else 0; the piece of 0 reaches to half way to the next numbers.
pub(super) fn at_zero() -> Piecewise {
    let eta = f32::from_bits(1);
    pieces(&[-eta, eta], &[0.0, 0.0, 0.0], &[0.0, 1.0, 0.0], &[true, false])
}

pub(super) fn compare(c: &mut Call) -> Done {
    let op = match c.node.op.as_str() {
        "Equal" => Comparison::Equal,
        "Less" => Comparison::Less,
        "LessOrEqual" => Comparison::LessOrEqual,
        "Greater" => Comparison::Greater,
        _ => Comparison::GreaterOrEqual,
    };
    if c.has_host(0)? && c.has_host(1)? {
        let y = fold::comparison(op, &*c.known(0)?, &*c.known(1)?)?;
        c.set_known(0, y);
        return Ok(());
    }
    let whole = c.undecided(0)? || c.undecided(1)?;
    if let (false, Some(y)) = (whole, against_infinity(c, op)?) {
        c.set_known(0, y);
        return Ok(());
    }
    // differences of truth values and of integers are exact
    let (a, b) = if whole { (c.whole(0)?, c.whole(1)?) } else { (c.graph(0)?, c.graph(1)?) };
    let (x, gate) = match op {
        Comparison::Equal => (c.binary(ops::Sub, a, b)?, at_zero()),
        Comparison::Less => (c.binary(ops::Sub, b, a)?, step(false)),
        Comparison::LessOrEqual => (c.binary(ops::Sub, b, a)?, step(true)),
        Comparison::Greater => (c.binary(ops::Sub, a, b)?, step(false)),
        Comparison::GreaterOrEqual => (c.binary(ops::Sub, a, b)?, step(true)),
    };
    let y = c.emit(gate, &[x])?;
    c.set_truth(y);
    Ok(())
}

/// Values of the graph are finite, so comparing them with a constant ±∞ is decided.
fn against_infinity(c: &mut Call, op: Comparison) -> Result<Option<HostTensor>, Problem> {
    for (k, other) in [(0, 1), (1, 0)] {
        if !c.has_host(k)? || c.has_host(other)? {
            continue;
        }
        let host = c.known(k)?;
        let Some(v) = host.as_f32().filter(|v| !v.is_empty() && v.iter().all(|x| x.is_infinite())) else { continue };
        let shape = c.shape(other)?;
        let count = shape.iter().product();
        let finite = HostTensor::f32(shape, vec![0.0; count]);
        let infinite = HostTensor::f32(host.shape.clone(), v.to_vec());
        let y =
            if k == 0 { fold::comparison(op, &infinite, &finite) } else { fold::comparison(op, &finite, &infinite) };
        return y.map(Some);
    }
    Ok(None)
}

pub(super) fn logic(c: &mut Call) -> Done {
    if c.undecided(0)? || c.undecided(1)? {
        let (a, b) = (c.truth(0)?, c.truth(1)?);
        let y = gates(c, a, b)?;
        c.set_truth(y);
        return Ok(());
    }
    let op: fn(bool, bool) -> bool = match c.node.op.as_str() {
        "And" => |a, b| a && b,
        "Or" => |a, b| a || b,
        _ => |a, b| a != b,
    };
    let y = fold::logic(op, &*c.known(0)?, &*c.known(1)?)?;
    c.set_known(0, y);
    Ok(())
}

/// Logic on zeros and ones, all exact: ab, a + b − ab, a + b − 2ab.
fn gates(c: &mut Call, a: ValueId, b: ValueId) -> Result<ValueId, Problem> {
    let both = c.binary(ops::Mul, a, b)?;
    let less = match c.node.op.as_str() {
        "And" => return Ok(both),
        "Or" => both,
        _ => c.scaled(both, "two", 2.0)?,
    };
    let sum = c.binary(ops::Add, a, b)?;
    c.binary(ops::Sub, sum, less)
}

pub(super) fn not(c: &mut Call) -> Done {
    if c.undecided(0)? {
        let x = c.truth(0)?;
        let one = c.scalar("one", 1.0);
        let y = c.binary(ops::Sub, one, x)?;
        c.set_truth(y);
        return Ok(());
    }
    let x = c.known(0)?;
    let Some(v) = x.as_bool() else {
        return Err(Problem::found(Code::Type, format!("the operand is {}, not BOOL", x.dtype)));
    };
    c.set_known(0, HostTensor::bool(x.shape.clone(), v.iter().map(|b| !b).collect()));
    Ok(())
}

pub(super) fn modulo(c: &mut Call) -> Done {
    let fmod = c.flag("fmod", false)?;
    if !c.has_host(0)? || !c.has_host(1)? {
        // a − q·b with q = a/b without its fraction, or rounded down
        let (a, b) = (c.graph(0)?, c.graph(1)?);
        let quotient = c.binary(ops::Div, a, b)?;
        let steps = if fmod { Steps::Truncate } else { Steps::Floor };
        let whole = c.emit(ops::Staircase(steps), &[quotient])?;
        let part = c.binary(ops::Mul, whole, b)?;
        let y = c.binary(ops::Sub, a, part)?;
        c.set(0, y);
        return Ok(());
    }
    let op = if fmod { Arithmetic::Fmod } else { Arithmetic::Mod };
    let (a, b) = (c.known(0)?, c.known(1)?);
    let y = fold::arithmetic(op, &a, &b)?;
    let (Some(x), Some(d), false) = (a.as_f32(), b.as_f32(), a.dtype != DType::F32 || !c.forced && c.foldable()?)
    else {
        c.set_known(0, y);
        return Ok(());
    };
    // a − q·b with the whole number q, which is constant between the jumps: exactly (a − y)/b
    let wide = |v: &[f32], shape: &[usize]| HostTensor::f64(shape.to_vec(), v.iter().map(|&x| f64::from(x)).collect());
    let (a64, b64) = (wide(x, &a.shape), wide(d, &b.shape));
    let difference = fold::arithmetic(Arithmetic::Sub, &a64, &fold::cast(&y, DType::F64)?)?;
    let q = fold::arithmetic(Arithmetic::Div, &difference, &b64)?;
    let q = fold::cast(&fold::function(fold::Function::Round, &q)?, DType::F32)?;
    let data = q.as_f32().unwrap_or(&[]).to_vec();
    if let Some(bad) = data.iter().find(|q| !(q.abs() <= 16_777_216.0)) {
        return Err(Problem::found(Code::Domain, format!("a quotient of {bad}, at most 2^24 is supported")));
    }
    let (a, b) = (c.graph(0)?, c.graph(1)?);
    let q = c.tensor("whole quotient", q.shape, data);
    let part = c.binary(ops::Mul, q, b)?;
    let y = c.binary(ops::Sub, a, part)?;
    c.set(0, y);
    Ok(())
}

/// IsNaN and IsInf: values of the graph are neither, else the run ends.
pub(super) fn classify(c: &mut Call) -> Done {
    let shape = c.shape(0)?;
    if !c.has_host(0)? {
        let n = shape.iter().product();
        c.set_known(0, HostTensor::bool(shape, vec![false; n]));
        return Ok(());
    }
    let x = c.known(0)?;
    let Some(v) = x.as_f32() else {
        return Err(Problem::found(Code::Type, format!("the operand is {}", x.dtype)));
    };
    let y: Vec<bool> = if c.node.op == "IsNaN" {
        v.iter().map(|x| x.is_nan()).collect()
    } else {
        let (neg, pos) = (c.flag("detect_negative", true)?, c.flag("detect_positive", true)?);
        v.iter().map(|x| x.is_infinite() && if *x > 0.0 { pos } else { neg }).collect()
    };
    c.set_known(0, HostTensor::bool(shape, y));
    Ok(())
}
