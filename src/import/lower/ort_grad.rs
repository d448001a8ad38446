//! Gradient nodes of onnxruntime-training, as the forward computations that they are.
//!
//! In each formula dY is the cotangent that comes in, and dX the one that goes out. Meaning as in ONNX
//! Runtime 1.19 (`training_op_defs.cc` and the kernels in `orttraining`).

use super::call::{Call, Done, Problem, invalid, unsupported};
use super::elementwise::pieces;
use super::ort_forward::{channels, fast_inner, phi};
use crate::error::Code;
use crate::import::index::{self, from_fn, strides};
use crate::ir::{Index, ValueId};
use crate::num::Elementary;
use crate::ops;

fn one_minus(c: &mut Call, x: ValueId) -> Result<ValueId, Problem> {
    let one = c.scalar("one", 1.0);
    c.binary(ops::Sub, one, x)
}

/// ReluGrad(dY, Y): dX = dY where Y > 0, else 0.
pub(super) fn relu(c: &mut Call) -> Done {
    let (dy, y) = (c.graph(0)?, c.graph(1)?);
    let open = c.emit(pieces(&[0.0], &[0.0, 0.0], &[0.0, 1.0], &[true]), &[y])?;
    let dx = c.binary(ops::Mul, dy, open)?;
    c.set(0, dx);
    Ok(())
}

/// SigmoidGrad(dY, Y): dX = dY·Y·(1 − Y).
pub(super) fn sigmoid(c: &mut Call) -> Done {
    let (dy, y) = (c.graph(0)?, c.graph(1)?);
    let rest = one_minus(c, y)?;
    let scaled = c.binary(ops::Mul, dy, y)?;
    let dx = c.binary(ops::Mul, scaled, rest)?;
    c.set(0, dx);
    Ok(())
}

/// TanhGrad(dY, Y): dX = dY·(1 − Y²).
pub(super) fn tanh(c: &mut Call) -> Done {
    let (dy, y) = (c.graph(0)?, c.graph(1)?);
    let square = c.emit(ops::Mul, &[y, y])?;
    let slope = one_minus(c, square)?;
    let dx = c.binary(ops::Mul, dy, slope)?;
    c.set(0, dx);
    Ok(())
}

/// GeluGrad(dY, X): dX = dY·(Φ(x) + x·φ(x)), φ(x) = e^(−x²/2)/√(2π).
pub(super) fn gelu(c: &mut Call) -> Done {
    let (dy, x) = (c.graph(0)?, c.graph(1)?);
    let dx = gelu_slope(c, x)?;
    let dx = c.binary(ops::Mul, dy, dx)?;
    c.set(0, dx);
    Ok(())
}

/// BiasGeluGrad_dX(dY, X, B): the same at x + b.
pub(super) fn bias_gelu(c: &mut Call) -> Done {
    let (dy, x, b) = (c.graph(0)?, c.graph(1)?, c.graph(2)?);
    let z = c.binary(ops::Add, x, b)?;
    let slope = gelu_slope(c, z)?;
    let dx = c.binary(ops::Mul, dy, slope)?;
    c.set(0, dx);
    Ok(())
}

fn gelu_slope(c: &mut Call, x: ValueId) -> Result<ValueId, Problem> {
    let cumulative = phi(c, x)?;
    let square = c.emit(ops::Mul, &[x, x])?;
    let half = c.scaled(square, "minus half", -0.5)?;
    let bell = c.smooth(Elementary::Exp, half)?;
    // 1/√(2π) = 0.3989422804…
    let density = c.scaled(bell, "one over sqrt two pi", 0.398_942_3)?;
    let moment = c.binary(ops::Mul, x, density)?;
    c.binary(ops::Add, cumulative, moment)
}

/// FastGeluGrad(dY, X) and BiasFastGeluGrad_dX(dY, X, B), with z = x + b and t = tanh(√(2/π)(z + 0.044715z³)):
/// dX = dY·(½(1 + t) + ½z(1 − t²)·√(2/π)(1 + 3·0.044715z²)).
pub(super) fn fast_gelu(c: &mut Call) -> Done {
    let (dy, mut z) = (c.graph(0)?, c.graph(1)?);
    if c.has(2) {
        let b = c.graph(2)?;
        z = c.binary(ops::Add, z, b)?;
    }
    let t = fast_inner(c, z)?;
    let one = c.scalar("one", 1.0);
    let sum = c.binary(ops::Add, one, t)?;
    let first = c.scaled(sum, "half", 0.5)?;
    let tt = c.emit(ops::Mul, &[t, t])?;
    let sech = one_minus(c, tt)?;
    let zz = c.emit(ops::Mul, &[z, z])?;
    // 3·0.044715 = 0.134145
    let inner = c.scaled(zz, "thrice the cubic coefficient", 0.134_145)?;
    let one = c.scalar("one", 1.0);
    let inner = c.binary(ops::Add, one, inner)?;
    let inner = c.scaled(inner, "sqrt two over pi", 0.797_884_6)?;
    let half = c.scaled(z, "half", 0.5)?;
    let second = c.binary(ops::Mul, half, sech)?;
    let second = c.binary(ops::Mul, second, inner)?;
    let slope = c.binary(ops::Add, first, second)?;
    let dx = c.binary(ops::Mul, dy, slope)?;
    c.set(0, dx);
    Ok(())
}

/// QuickGeluGrad(dY, X), s = sigmoid(αx): dX = dY·s·(1 + αx·(1 − s)).
pub(super) fn quick_gelu(c: &mut Call) -> Done {
    let alpha = c.float("alpha", 1.702)?;
    let (dy, x) = (c.graph(0)?, c.graph(1)?);
    let scaled = c.scaled(x, "alpha", alpha)?;
    let s = c.smooth(Elementary::Sigmoid, scaled)?;
    let rest = one_minus(c, s)?;
    let inner = c.binary(ops::Mul, scaled, rest)?;
    let one = c.scalar("one", 1.0);
    let inner = c.binary(ops::Add, one, inner)?;
    let slope = c.binary(ops::Mul, s, inner)?;
    let dx = c.binary(ops::Mul, dy, slope)?;
    c.set(0, dx);
    Ok(())
}

/// SoftmaxGrad(dY, Y): dX = Y·(dY − Σ dY·Y); LogSoftmaxGrad(dY, Y): dX = dY − e^Y·Σ dY.
pub(super) fn softmax(c: &mut Call) -> Done {
    let (dy, y) = (c.graph(0)?, c.graph(1)?);
    let shape = c.sizes(y);
    let k = c.axis(if c.node.op.ends_with("_13") { -1 } else { 1 }, shape.len())?;
    // before opset 13 all axes from k on are one
    let axes: Vec<usize> = if c.node.op.ends_with("_13") { vec![k] } else { (k..shape.len()).collect() };
    let (g, p) = (c.rows(dy, &axes)?, c.rows(y, &axes)?);
    let mut column = c.sizes(p);
    column.pop();
    column.push(1);
    let dx = if c.node.op.starts_with("Log") {
        let total = c.sum(g)?;
        let total = c.reshape(total, column)?;
        let e = c.smooth(Elementary::Exp, p)?;
        let part = c.binary(ops::Mul, e, total)?;
        c.binary(ops::Sub, g, part)?
    } else {
        let products = c.emit(ops::Mul, &[g, p])?;
        let total = c.sum(products)?;
        let total = c.reshape(total, column)?;
        let centred = c.binary(ops::Sub, g, total)?;
        c.binary(ops::Mul, centred, p)?
    };
    let dx = c.unrows(dx, &shape, &axes)?;
    c.set(0, dx);
    Ok(())
}

/// SoftmaxCrossEntropyLossGrad(dY, log_prob, labels[, weight[, ignore_index]]):
/// dX = dY·w·(e^log_prob − [class = label]), divided by Σ w for the mean; 0 for ignored labels.
pub(super) fn cross_entropy(c: &mut Call) -> Done {
    let (dy, logs) = (c.graph(0)?, c.graph(1)?);
    let shape = c.sizes(logs);
    let [_, classes, ..] = shape[..] else {
        return Err(format!("log probabilities of shape {shape:?} where [N, C, …] is needed").into());
    };
    let labels = c.known_ints(2)?;
    let rows = c.rows(logs, &[1])?;
    let n = labels.len();
    if c.sizes(rows).iter().product::<usize>() != n * classes {
        return Err(format!("{n} labels for log probabilities of shape {shape:?}").into());
    }
    let ignored = match (c.node.attributes.contains_key("ignore_index"), c.has(4)) {
        (true, _) => Some(c.int("ignore_index", 0)?),
        (false, true) => c.known_ints(4)?.first().copied(),
        (false, false) => None,
    };
    let class = |l: i64| usize::try_from(l).ok().filter(|&l| l < classes);
    if let Some(l) = labels.iter().find(|l| Some(**l) != ignored && class(**l).is_none()) {
        return Err(Problem::found(Code::Input, format!("label {l} isn't one of {classes} classes")));
    }
    let counted: Vec<Option<usize>> =
        labels.iter().map(|&l| if Some(l) == ignored { None } else { class(l) }).collect();
    let flat = c.reshape(rows, vec![n, classes])?;
    let p = c.smooth(Elementary::Exp, flat)?;
    let hot = (0..n * classes).map(|i| f32::from(u8::from(counted[i / classes] == Some(i % classes)))).collect();
    let hot = c.tensor("one-hot labels", vec![n, classes], hot);
    let mut dx = c.binary(ops::Sub, p, hot)?;
    // every sample's share of the loss
    let weights = if c.has(3) {
        let w = c.graph(3)?;
        c.gather(w, vec![n], from_fn(&[n], |i| counted[i[0]]))?
    } else {
        let data = counted.iter().map(|l| f32::from(u8::from(l.is_some()))).collect();
        c.tensor("counted samples", vec![n], data)
    };
    let seed = match c.text("reduction", "mean")?.as_str() {
        "none" => c.reshape(dy, vec![n])?,
        "sum" => c.reshape(dy, vec![1])?,
        "mean" => {
            let dy = c.reshape(dy, Vec::new())?;
            let mass = c.sum(weights)?;
            let each = c.binary(ops::Div, dy, mass)?;
            c.reshape(each, vec![1])?
        }
        other => return Err(invalid(format!("reduction \"{other}\""))),
    };
    let share = c.binary(ops::Mul, seed, weights)?;
    let share = c.reshape(share, vec![n, 1])?;
    dx = c.binary(ops::Mul, dx, share)?;
    let mut moved: Vec<usize> = shape.iter().enumerate().filter(|(k, _)| *k != 1).map(|(_, &d)| d).collect();
    moved.push(classes);
    let dx = c.reshape(dx, moved)?;
    let dx = c.unrows(dx, &shape, &[1])?;
    c.set(0, dx);
    Ok(())
}

/// BatchNormalizationGrad(dY, X, scale, mean, 1/√(var + ε)) → dX, dScale, dBias, over all axes but 1.
pub(super) fn batch_norm(c: &mut Call) -> Done {
    let x = c.graph(1)?;
    let shape = c.sizes(x);
    if shape.len() < 2 {
        return Err(format!("shape {shape:?} where [N, C, …] is needed").into());
    }
    let axes: Vec<usize> = (0..shape.len()).filter(|&k| k != 1).collect();
    let [scale, mean, inverse] = [2, 3, 4].map(|k| c.graph(k));
    let (scale, mean, inverse) = (scale?, mean?, inverse?);
    let scale = channels(c, scale, shape.len())?;
    let mean = channels(c, mean, shape.len())?;
    let inverse = channels(c, inverse, shape.len())?;
    let dy = c.graph(0)?;
    let centred = c.binary(ops::Sub, x, mean)?;
    let normal = c.binary(ops::Mul, centred, inverse)?;
    let products = c.binary(ops::Mul, dy, normal)?;
    let [rows_b, rows_s] = [c.rows(dy, &axes)?, c.rows(products, &axes)?];
    let (d_bias, d_scale) = (c.sum(rows_b)?, c.sum(rows_s)?);
    // dX = scale·inverse·(dY − (dBias + x̂·dScale)/n)
    let n: usize = axes.iter().map(|&k| shape[k]).product();
    let factor = c.binary(ops::Mul, scale, inverse)?;
    let (bias_part, scale_part) = (channels(c, d_bias, shape.len())?, channels(c, d_scale, shape.len())?);
    let dx = normalized(c, dy, normal, Some(bias_part), scale_part, n)?;
    let dx = c.binary(ops::Mul, dx, factor)?;
    c.set(0, dx);
    c.set(1, d_scale);
    c.set(2, d_bias);
    Ok(())
}

/// g − (Σ g + x̂·Σ g·x̂)/n, the sums broadcast.
fn normalized(
    c: &mut Call,
    g: ValueId,
    normal: ValueId,
    sum: Option<ValueId>,
    moment: ValueId,
    n: usize,
) -> Result<ValueId, Problem> {
    if n > 1 << 24 {
        return Err(unsupported(format!("statistics over {n} entries")));
    }
    let mut part = c.binary(ops::Mul, normal, moment)?;
    if let Some(sum) = sum {
        part = c.binary(ops::Add, part, sum)?;
    }
    let count = c.scalar("count", n as f32);
    let part = c.binary(ops::Div, part, count)?;
    c.binary(ops::Sub, g, part)
}

/// LayerNormalizationGrad(dY, X, scale, mean, 1/√(var + ε)) → dX, dScale, dBias, and
/// SimplifiedLayerNormalizationGrad(dY, X, scale, 1/√(mean x² + ε)) → dX, dScale.
pub(super) fn layer_norm(c: &mut Call) -> Done {
    let simple = c.node.op.starts_with("Simplified");
    let (dy, x, scale) = (c.graph(0)?, c.graph(1)?, c.graph(2)?);
    let shape = c.sizes(x);
    let k = c.axis(-1, shape.len())?;
    let (outer, inner): (usize, usize) = (shape[..k].iter().product(), shape[k..].iter().product());
    let [dy, x] = [dy, x].map(|v| c.reshape(v, vec![outer, inner]));
    let (dy, x) = (dy?, x?);
    let scale_shape = c.sizes(scale);
    let scale = c.reshape(scale, vec![1, inner])?;
    let inverse = c.graph(if simple { 3 } else { 4 })?;
    let inverse = c.reshape(inverse, vec![outer, 1])?;
    let centred = if simple {
        x
    } else {
        let mean = c.graph(3)?;
        let mean = c.reshape(mean, vec![outer, 1])?;
        c.binary(ops::Sub, x, mean)?
    };
    let normal = c.binary(ops::Mul, centred, inverse)?;
    // dX = inverse·(g − (Σ g + x̂·Σ g·x̂)/n), g = dY·scale
    let g = c.binary(ops::Mul, dy, scale)?;
    let products = c.emit(ops::Mul, &[g, normal])?;
    let moment = c.sum(products)?;
    let moment = c.reshape(moment, vec![outer, 1])?;
    let sum = if simple {
        None
    } else {
        let sum = c.sum(g)?;
        Some(c.reshape(sum, vec![outer, 1])?)
    };
    let dx = normalized(c, g, normal, sum, moment, inner)?;
    let dx = c.binary(ops::Mul, dx, inverse)?;
    let dx = c.reshape(dx, shape)?;
    c.set(0, dx);
    // dScale = Σ_rows dY·x̂, dBias = Σ_rows dY
    let products = c.emit(ops::Mul, &[dy, normal])?;
    for (k, what) in [(1, Some(products)), (2, (!simple).then_some(dy))] {
        let Some(what) = what else { continue };
        let columns = c.transpose(what, &[1, 0])?;
        let sums = c.sum(columns)?;
        let sums = c.reshape(sums, scale_shape.clone())?;
        c.set(k, sums);
    }
    Ok(())
}

/// DropoutGrad(dY, mask[, ratio[, training_mode]]): dX = dY·mask/(1 − ratio).
pub(super) fn dropout(c: &mut Call) -> Done {
    let training = !c.has(3) || c.known(3)?.as_bool().is_none_or(|m| m.first() == Some(&true));
    let ratio = match (training, c.has(2)) {
        (false, _) => 0.0,
        (true, true) => c.known_scalar(2)?,
        (true, false) => 0.5,
    };
    let mask = c.known(1)?;
    let Some(bits) = mask.as_bool() else {
        return Err(Problem::found(Code::Type, format!("the mask is {}, not BOOL", mask.dtype)));
    };
    if !training || (ratio == 0.0 && bits.iter().all(|b| *b)) {
        return c.alias(0, 0);
    }
    let (bits, shape) = (bits.to_vec(), mask.shape.clone());
    let dx = super::draw::apply(c, &bits, shape, ratio)?;
    c.set(0, dx);
    Ok(())
}

/// SliceGrad(dY, shape of X, starts, ends[, axes[, steps]]): dY put back where it was taken, else 0.
pub(super) fn slice(c: &mut Call) -> Done {
    let shape = sizes_of(c, 1)?;
    let rank = shape.len();
    let (starts, ends) = (c.known_ints(2)?, c.known_ints(3)?);
    let axes = if c.has(4) { c.known_ints(4)? } else { (0..starts.len() as i64).collect() };
    let steps = if c.has(5) { c.known_ints(5)? } else { vec![1; starts.len()] };
    if ends.len() != starts.len() || axes.len() != starts.len() || steps.len() != starts.len() {
        return Err(invalid("starts, ends, axes and steps differ in length"));
    }
    let dy = c.graph(0)?;
    let small = c.sizes(dy);
    if small.len() != rank {
        return Err(format!("a cotangent of shape {small:?} of a slice of {shape:?}").into());
    }
    let mut from: Vec<(i64, i64)> = vec![(0, 1); rank];
    for (i, &a) in axes.iter().enumerate() {
        let a = index::axis(a, rank).map_err(invalid)?;
        let (d, step) = (shape[a] as i64, steps[i]);
        if step == 0 {
            return Err(invalid("a step of 0"));
        }
        let start = if starts[i] < 0 { starts[i].saturating_add(d) } else { starts[i] };
        let start = if step > 0 { start.clamp(0, d) } else { start.clamp(0, d - 1) };
        from[a] = (start, step);
    }
    let own = strides(&small);
    let table = from_fn(&shape, |at| {
        (0..rank).try_fold(0, |flat, k| {
            let (start, step) = from[k];
            let d = at[k] as i64 - start;
            let i = usize::try_from(d / step).ok().filter(|&i| d % step == 0 && i < small[k])?;
            Some(flat + i * own[k])
        })
    });
    let dx = c.gather(dy, shape, table)?;
    c.set(0, dx);
    Ok(())
}

/// Operand k, known integers, as sizes.
fn sizes_of(c: &Call, k: usize) -> Result<Vec<usize>, Problem> {
    let shape: Option<Vec<usize>> = c.known_ints(k)?.iter().map(|&d| usize::try_from(d).ok()).collect();
    let shape = shape.ok_or_else(|| invalid(format!("operand {k} has a negative size")))?;
    index::built(&shape)?;
    Ok(shape)
}

/// GatherGrad(shape of X, indices, dY): every entry of X collects the dY of the places it went to.
pub(super) fn gather(c: &mut Call) -> Done {
    let shape = sizes_of(c, 0)?;
    let k = c.axis(0, shape.len())?;
    let picked = super::movement::wrapped(c, 1, shape[k])?;
    let dy = c.graph(2)?;
    let (outer, inner): (usize, usize) = (shape[..k].iter().product(), shape[k + 1..].iter().product());
    if c.sizes(dy).iter().product::<usize>() != outer * picked.len() * inner {
        return Err(format!("a cotangent of shape {:?} of a gather from {shape:?}", c.sizes(dy)).into());
    }
    let mut places: Vec<Vec<u32>> = vec![Vec::new(); shape.iter().product()];
    for o in 0..outer {
        for (j, &row) in picked.iter().enumerate() {
            for i in 0..inner {
                places[(o * shape[k] + row) * inner + i].push(((o * picked.len() + j) * inner + i) as u32);
            }
        }
    }
    let dx = collect(c, dy, &places, shape)?;
    c.set(0, dx);
    Ok(())
}

/// Entry i is the sum of the entries of `x` at `places[i]`, in order; 0 where there is none.
pub(super) fn collect(c: &mut Call, x: ValueId, places: &[Vec<u32>], shape: Vec<usize>) -> Result<ValueId, Problem> {
    let most = places.iter().map(Vec::len).max().unwrap_or(0);
    if most <= 1 {
        let table: Vec<u32> = places.iter().map(|p| p.first().copied().unwrap_or(Index::NOTHING)).collect();
        return c.gather(x, shape, Index::Table(table.into()));
    }
    index::built(&[places.len(), most])?;
    let table: Vec<u32> =
        places.iter().flat_map(|p| (0..most).map(|j| p.get(j).copied().unwrap_or(Index::NOTHING))).collect();
    let rows = c.gather(x, vec![places.len(), most], Index::Table(table.into()))?;
    let sums = c.sum(rows)?;
    c.reshape(sums, shape)
}

/// SplitTraining(x, sizes) along `axis`.
pub(super) fn split(c: &mut Call) -> Done {
    let shape = c.shape(0)?;
    let k = c.axis(0, shape.len())?;
    let sizes = c.known_ints(1)?;
    if sizes.iter().any(|&s| s < 0)
        || sizes.iter().sum::<i64>() != shape[k] as i64
        || sizes.len() != c.node.outputs.len()
    {
        return Err(invalid(format!("parts of sizes {sizes:?} of an axis of {}", shape[k])));
    }
    let own = strides(&shape);
    let mut begin = 0;
    for (j, &size) in sizes.iter().enumerate() {
        let mut part = shape.clone();
        part[k] = size as usize;
        let step: Vec<isize> = own.iter().map(|&s| s as isize).collect();
        let table = index::strided(&part, begin * own[k], &step);
        c.moved_to(j, 0, part, table)?;
        begin += size as usize;
    }
    Ok(())
}
