//! Forward operators of onnxruntime's own domain that its training graphs use.
//!
//! Meaning as in ONNX Runtime 1.19 (`contrib_defs.cc`, `training_op_defs.cc`).

use super::call::{Call, Done, Problem, invalid, unsupported};
use super::{elementwise, linear, loss};
use crate::data::HostTensor;
use crate::import::prepare::yielded;
use crate::import::value::{Cotangent, Seed};
use crate::ir::ValueId;
use crate::num::Elementary;
use crate::ops;

/// Gelu(x) = x·Φ(x), as ONNX's.
pub(super) fn gelu(c: &mut Call) -> Done {
    elementwise::gelu(c)
}

/// BiasGelu(x, b) = Gelu(x + b).
pub(super) fn bias_gelu(c: &mut Call) -> Done {
    let (x, b) = (c.graph(0)?, c.graph(1)?);
    let x = c.binary(ops::Add, x, b)?;
    let half = phi(c, x)?;
    let y = c.binary(ops::Mul, x, half)?;
    c.set(0, y);
    Ok(())
}

/// Φ(x) = ½·(1 + erf(x/√2)).
pub(super) fn phi(c: &mut Call, x: ValueId) -> Result<ValueId, Problem> {
    let root = c.root("two", 2.0)?;
    let scaled = c.binary(ops::Div, x, root)?;
    let inner = c.smooth(Elementary::Erf, scaled)?;
    let one = c.scalar("one", 1.0);
    let sum = c.binary(ops::Add, one, inner)?;
    c.scaled(sum, "half", 0.5)
}

/// tanh(√(2/π)·(x + 0.044715·x³)).
pub(super) fn fast_inner(c: &mut Call, x: ValueId) -> Result<ValueId, Problem> {
    let cube = c.smooth(Elementary::Pow(3.0), x)?;
    let small = c.scaled(cube, "cubic coefficient", 0.044715)?;
    let sum = c.binary(ops::Add, x, small)?;
    // √(2/π) = 0.7978845608…
    let scaled = c.scaled(sum, "sqrt two over pi", 0.797_884_6)?;
    c.smooth(Elementary::Tanh, scaled)
}

/// FastGelu(x[, b]) = ½·z·(1 + tanh(…z…)), z = x + b.
pub(super) fn fast_gelu(c: &mut Call) -> Done {
    let mut x = c.graph(0)?;
    if c.has(1) {
        let b = c.graph(1)?;
        x = c.binary(ops::Add, x, b)?;
    }
    let inner = fast_inner(c, x)?;
    let one = c.scalar("one", 1.0);
    let sum = c.binary(ops::Add, one, inner)?;
    let half = c.scaled(x, "half", 0.5)?;
    let y = c.binary(ops::Mul, half, sum)?;
    c.set(0, y);
    Ok(())
}

/// QuickGelu(x) = x·sigmoid(alpha·x).
pub(super) fn quick_gelu(c: &mut Call) -> Done {
    let alpha = c.float("alpha", 1.702)?;
    let x = c.graph(0)?;
    let scaled = c.scaled(x, "alpha", alpha)?;
    let gate = c.smooth(Elementary::Sigmoid, scaled)?;
    let y = c.binary(ops::Mul, x, gate)?;
    c.set(0, y);
    Ok(())
}

/// alpha·A'·B' with NumPy's batch rules; transA and transB exchange the last two axes, transBatchA and
/// transBatchB move the first axis to the last but one before that.
pub(super) fn fused_matmul(c: &mut Call) -> Done {
    let alpha = c.float("alpha", 1.0)?;
    let mut sides = [c.graph(0)?, c.graph(1)?];
    for (k, (batch, plain)) in [("transBatchA", "transA"), ("transBatchB", "transB")].into_iter().enumerate() {
        let (batch, plain) = (c.flag(batch, false)?, c.flag(plain, false)?);
        let rank = c.sizes(sides[k]).len();
        if rank < 2 {
            continue;
        }
        let mut perm: Vec<usize> = (0..rank).collect();
        if batch {
            // [d0, d1, …, dk, n] → [d1, …, dk, d0, n]
            perm = (1..rank - 1).chain([0, rank - 1]).collect();
        }
        if plain {
            perm.swap(rank - 2, rank - 1);
        }
        sides[k] = c.transpose(sides[k], &perm)?;
    }
    let y = linear::product(c, sides[0], sides[1])?;
    let y = c.scaled(y, "alpha", alpha)?;
    c.set(0, y);
    Ok(())
}

/// x·s, or x/s with `scale_down`; s is one number.
pub(super) fn scale(c: &mut Call) -> Done {
    let down = c.flag("scale_down", false)?;
    let x = c.graph(0)?;
    let s = if c.is_float(1)? {
        let s = c.graph(1)?;
        if c.sizes(s).iter().product::<usize>() != 1 {
            return Err(format!("a scale of shape {:?}, one number required", c.sizes(s)).into());
        }
        c.reshape(s, Vec::new())?
    } else {
        match c.known_ints(1)?.as_slice() {
            // integers beyond 2^24 may not be binary32 numbers
            [s] if s.unsigned_abs() <= 1 << 24 => c.scalar("scale", *s as f32),
            [s] => return Err(unsupported(format!("a scale of {s}"))),
            other => return Err(invalid(format!("{} scales, one required", other.len()))),
        }
    };
    let y = if down { c.binary(ops::Div, x, s)? } else { c.binary(ops::Mul, x, s)? };
    c.set(0, y);
    Ok(())
}

/// Mean and 1/√(var + ε) of rows [.., n]: each of shape [..].
pub(super) fn row_statistics(c: &mut Call, rows: ValueId, epsilon: f32) -> Result<(ValueId, ValueId), Problem> {
    let shape = c.sizes(rows);
    let n = shape.last().copied().unwrap_or(1);
    let mean = c.mean(rows, n)?;
    let mut column = shape;
    column.pop();
    column.push(1);
    let aligned = c.reshape(mean, column)?;
    let centred = c.binary(ops::Sub, rows, aligned)?;
    let squares = c.emit(ops::Mul, &[centred, centred])?;
    let var = c.mean(squares, n)?;
    let epsilon = c.scalar("epsilon", epsilon);
    let shifted = c.binary(ops::Add, var, epsilon)?;
    let deviation = c.smooth(Elementary::Sqrt, shifted)?;
    let one = c.scalar("one", 1.0);
    let inverse = c.binary(ops::Div, one, deviation)?;
    Ok((mean, inverse))
}

/// A vector with one entry per channel, for data with `rank` axes.
pub(super) fn channels(c: &mut Call, v: ValueId, rank: usize) -> Result<ValueId, Problem> {
    let n: usize = c.sizes(v).iter().product();
    let mut shape = vec![1; rank];
    shape[1] = n;
    c.reshape(v, shape)
}

/// BatchNormalization that hands on the batch's mean and inverse deviation as results 3 and 4.
pub(super) fn batch_norm_internal(c: &mut Call) -> Done {
    let x = c.graph(0)?;
    let shape = c.sizes(x);
    if shape.len() < 2 {
        return Err(format!("shape {shape:?} where [N, C, …] is needed").into());
    }
    if !c.flag("training_mode", true)? {
        return Err(unsupported("training_mode = 0"));
    }
    let epsilon = c.float("epsilon", 1e-5)?;
    let others: Vec<usize> = (0..shape.len()).filter(|&k| k != 1).collect();
    let rows = c.rows(x, &others)?;
    let normal = c.emit(ops::Normalize { epsilon: f64::from(epsilon), centred: true }, &[rows])?;
    let normal = c.unrows(normal, &shape, &others)?;
    let (scale, bias) = (c.graph(1)?, c.graph(2)?);
    let (scale, bias) = (channels(c, scale, shape.len())?, channels(c, bias, shape.len())?);
    let scaled = c.binary(ops::Mul, normal, scale)?;
    let y = c.binary(ops::Add, scaled, bias)?;
    c.set(0, y);
    if c.wanted(1) || c.wanted(2) {
        return Err(unsupported("running statistics that are read"));
    }
    if c.wanted(3) || c.wanted(4) {
        let (mean, inverse) = row_statistics(c, rows, epsilon)?;
        c.set(3, mean);
        c.set(4, inverse);
    }
    Ok(())
}

/// Axes over which the cotangents of two broadcast operands are to be summed, from their shapes.
pub(super) fn broadcast_gradient_args(c: &mut Call) -> Done {
    let (a, b) = (c.known_ints(0)?, c.known_ints(1)?);
    let rank = a.len().max(b.len());
    let size = |s: &[i64], k: usize| if k + s.len() >= rank { s[k + s.len() - rank] } else { 1 };
    for (which, (own, other)) in [(&a, &b), (&b, &a)].into_iter().enumerate() {
        let axes: Vec<i64> = (0..rank)
            .filter(|&k| (k + own.len() < rank) || (size(own, k) == 1 && size(other, k) != 1))
            .map(|k| k as i64)
            .collect();
        c.set_known(which, HostTensor::i64(vec![axes.len()], axes));
    }
    Ok(())
}

/// Concat that hands on the sizes of its operands along the axis.
pub(super) fn concat_training(c: &mut Call) -> Done {
    super::movement::concat(c)?;
    let rank = c.shape(0)?.len();
    let axis = c.axis(0, rank)?;
    let sizes = (0..c.operands()).map(|k| Ok(c.shape(k)?[axis] as i64)).collect::<Result<Vec<_>, Problem>>()?;
    c.set_known(1, HostTensor::i64(vec![sizes.len()], sizes));
    Ok(())
}

/// The seam of an ORTModule graph: what comes back is the cotangent of what was handed out.
pub(super) fn yield_op(c: &mut Call) -> Done {
    for (k, from) in yielded(&c.node.clone()).into_iter().enumerate() {
        let name = c.operand(from)?;
        let shape = c.shape(from)?;
        let given = match &c.low.options.seed {
            Seed::Given(list) => list.iter().find(|(n, _)| *n == name).map(|(_, t)| t.clone()),
            _ => None,
        };
        let data = match given {
            Some(Cotangent::Tensor(t)) if t.shape == shape => t.as_f32().map(<[f32]>::to_vec),
            Some(Cotangent::Tensor(_)) => None,
            _ => Some(vec![1.0; shape.iter().product()]),
        };
        let data =
            data.ok_or_else(|| invalid(format!("the cotangent of \"{name}\" isn't FLOAT of shape {shape:?}")))?;
        let seed = c.tensor("cotangent", shape, data);
        c.set(k, seed);
    }
    Ok(())
}

/// The loss over scores and labels, with its log probabilities as result 1; ignore_index is an operand.
pub(super) fn cross_entropy_internal(c: &mut Call) -> Done {
    loss::cross_entropy(c)
}
