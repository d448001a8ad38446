//! The optimizers of `ai.onnx.preview.training`: Adagrad, Adam and Momentum, as ONNX defines them.
//!
//! Operands: R (rate), T (update count), then all X, all G, and all of each state; results: all new X,
//! then the new states.

use super::call::{Call, Done, Problem, invalid};
use crate::import::model::Attribute;
use crate::ir::ValueId;
use crate::num::Elementary;
use crate::ops;

/// Operand k of group `g` for tensor `i` of `n`.
fn operand(c: &mut Call, g: usize, i: usize, n: usize) -> Result<ValueId, Problem> {
    c.graph(2 + g * n + i)
}

/// How many tensors are optimized, when each has `groups` operands.
fn count(c: &Call, groups: usize) -> Result<usize, Problem> {
    match c.operands().checked_sub(2) {
        Some(k) if k > 0 && k % groups == 0 => Ok(k / groups),
        _ => Err(invalid(format!("{} operands", c.operands()))),
    }
}

/// norm_coefficient·X + G.
fn regularized(c: &mut Call, x: ValueId, g: ValueId) -> Result<ValueId, Problem> {
    let k = c.float("norm_coefficient", 0.0)?;
    if k == 0.0 {
        return Ok(g);
    }
    let kx = c.scaled(x, "norm_coefficient", k)?;
    c.emit(ops::Add, &[kx, g])
}

/// a·x + b·y.
fn blend(c: &mut Call, a: f32, x: ValueId, b: f32, y: ValueId) -> Result<ValueId, Problem> {
    let ax = c.scaled(x, "a", a)?;
    let by = c.scaled(y, "b", b)?;
    c.emit(ops::Add, &[ax, by])
}

/// x − r·d.
fn stepped(c: &mut Call, x: ValueId, r: ValueId, d: ValueId) -> Result<ValueId, Problem> {
    let step = c.binary(ops::Mul, r, d)?;
    c.emit(ops::Sub, &[x, step])
}

fn updates(c: &Call) -> Result<i64, Problem> {
    c.known_ints(1)?.first().copied().ok_or_else(|| invalid("T is empty"))
}

/// X − R/(1 + T·decay) · G/(√(H + G²) + ε).
pub(super) fn adagrad(c: &mut Call) -> Done {
    let n = count(c, 3)?;
    let (epsilon, decay) = (c.float("epsilon", 1e-6)?, c.float("decay_factor", 0.0)?);
    let t = updates(c)?;
    let rate = c.graph(0)?;
    let fade = c.scalar("1 + T decay_factor", 1.0 + t as f32 * decay);
    let rate = c.binary(ops::Div, rate, fade)?;
    for i in 0..n {
        let (x, g, h) = (operand(c, 0, i, n)?, operand(c, 1, i, n)?, operand(c, 2, i, n)?);
        let g = regularized(c, x, g)?;
        let square = c.emit(ops::Mul, &[g, g])?;
        let h = c.emit(ops::Add, &[h, square])?;
        let direction = scaled_by_root(c, g, h, epsilon)?;
        let x = stepped(c, x, rate, direction)?;
        c.set(i, x);
        c.set(n + i, h);
    }
    Ok(())
}

/// v/(√h + ε).
fn scaled_by_root(c: &mut Call, v: ValueId, h: ValueId, epsilon: f32) -> Result<ValueId, Problem> {
    let root = c.smooth(Elementary::Sqrt, h)?;
    let epsilon = c.scalar("epsilon", epsilon);
    let below = c.binary(ops::Add, root, epsilon)?;
    c.emit(ops::Div, &[v, below])
}

/// X − R'·V/(√H + ε), R' = R·√(1 − βᵀ)/(1 − αᵀ), V and H the running means of G and G².
pub(super) fn adam(c: &mut Call) -> Done {
    let n = count(c, 4)?;
    let (alpha, beta) = (c.float("alpha", 0.9)?, c.float("beta", 0.999)?);
    let (epsilon, post) = (c.float("epsilon", 1e-6)?, c.float("norm_coefficient_post", 0.0)?);
    let t = updates(c)?;
    let rate = c.graph(0)?;
    let rate = if t > 0 {
        let power = |b: f32| f64::from(b).powi(i32::try_from(t).unwrap_or(i32::MAX));
        let factor = ((1.0 - power(beta)).sqrt() / (1.0 - power(alpha))) as f32;
        c.scaled(rate, "bias correction", factor)?
    } else {
        rate
    };
    for i in 0..n {
        let (x, g) = (operand(c, 0, i, n)?, operand(c, 1, i, n)?);
        let (v, h) = (operand(c, 2, i, n)?, operand(c, 3, i, n)?);
        let g = regularized(c, x, g)?;
        let v = blend(c, alpha, v, 1.0 - alpha, g)?;
        let square = c.emit(ops::Mul, &[g, g])?;
        let h = blend(c, beta, h, 1.0 - beta, square)?;
        let direction = scaled_by_root(c, v, h, epsilon)?;
        let x = stepped(c, x, rate, direction)?;
        let x = c.scaled(x, "1 - norm_coefficient_post", 1.0 - post)?;
        c.set(i, x);
        c.set(n + i, v);
        c.set(2 * n + i, h);
    }
    Ok(())
}

/// V = α·V + β·G; X − R·V, or by Nesterov X − R·(G + α·V).
pub(super) fn momentum(c: &mut Call) -> Done {
    let n = count(c, 3)?;
    let (alpha, beta) = (c.float("alpha", 0.0)?, c.float("beta", 0.0)?);
    let nesterov = match c.node.attributes.get("mode") {
        Some(Attribute::Str(m)) if m == "nesterov" => true,
        Some(Attribute::Str(m)) if m == "standard" => false,
        _ => return Err(invalid("attribute \"mode\" is neither \"standard\" nor \"nesterov\"")),
    };
    let beta = if updates(c)? > 0 { beta } else { 1.0 };
    let rate = c.graph(0)?;
    for i in 0..n {
        let (x, g, v) = (operand(c, 0, i, n)?, operand(c, 1, i, n)?, operand(c, 2, i, n)?);
        let g = regularized(c, x, g)?;
        let v = blend(c, alpha, v, beta, g)?;
        let direction = if nesterov { blend(c, 1.0, g, alpha, v)? } else { v };
        let x = stepped(c, x, rate, direction)?;
        c.set(i, x);
        c.set(n + i, v);
    }
    Ok(())
}
