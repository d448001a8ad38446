//! Normalisations, built on the primitive `Normalize` so that the two-pass variance stays one rule.

use super::call::{Call, Done, Problem, invalid, unsupported};
use super::conv::spatial;
use crate::ir::ValueId;
use crate::num::Elementary;
use crate::ops;

/// A vector with one entry per channel, as a tensor that broadcasts to [N, C, spatial..].
fn per_channel(c: &mut Call, v: ValueId, rank: usize, channels: usize) -> Result<ValueId, Problem> {
    let shape = c.sizes(v);
    if shape.iter().product::<usize>() != channels {
        return Err(format!("a tensor of shape {shape:?} for {channels} channels").into());
    }
    let mut out = vec![1; rank];
    out[1.min(rank - 1)] = channels;
    c.reshape(v, out)
}

pub(super) fn batch_norm(c: &mut Call) -> Done {
    let x = c.graph(0)?;
    let shape = c.sizes(x);
    if shape.len() < 2 {
        return Err(format!("shape {shape:?} where [N, C, …] is needed").into());
    }
    if c.opset < 9 && !c.flag("spatial", true)? {
        return Err(unsupported("spatial = 0 (statistics per activation)"));
    }
    let epsilon = c.float("epsilon", 1e-5)?;
    // before opset 14 the number of results says whether the node trains
    let extra = (1..c.node.outputs.len()).any(|k| !c.node.outputs[k].is_empty());
    let training = if c.opset >= 14 { c.flag("training_mode", false)? } else { extra };
    let channels = shape[1];
    if !training && let Some(k) = (1..c.node.outputs.len()).find(|&k| c.wanted(k)) {
        return Err(unsupported(format!("result {k} of a batch normalization in evaluation mode")));
    }
    let (scale, bias) = (c.graph(1)?, c.graph(2)?);
    if !training && (3..=5).contains(&shape.len()) && channels > 0 {
        let (mean, var) = (c.graph(3)?, c.graph(4)?);
        let y = fixed_statistics(c, x, [scale, bias, mean, var], epsilon)?;
        c.set(0, y);
        return Ok(());
    }
    let normal = if training {
        let others: Vec<usize> = (0..shape.len()).filter(|&k| k != 1).collect();
        let rows = c.rows(x, &others)?;
        let normal = c.emit(ops::Normalize { epsilon: f64::from(epsilon), centred: true }, &[rows])?;
        running(c, rows)?;
        c.unrows(normal, &shape, &others)?
    } else {
        // (x − mean) / √(var + ε)
        let (mean, var) = (c.graph(3)?, c.graph(4)?);
        let mean = per_channel(c, mean, shape.len(), channels)?;
        let var = per_channel(c, var, shape.len(), channels)?;
        let centred = c.binary(ops::Sub, x, mean)?;
        let epsilon = c.scalar("epsilon", epsilon);
        let shifted = c.binary(ops::Add, var, epsilon)?;
        let deviation = c.smooth(Elementary::Sqrt, shifted)?;
        c.binary(ops::Div, centred, deviation)?
    };
    let y = channel_affine(c, normal, channels)?;
    c.set(0, y);
    Ok(())
}

/// With known statistics: x·a + (bias − mean·a) with a = scale/√(var + ε) of each channel, as a convolution
/// of every channel with one weight. What is as large as x is made once, not at every step.
fn fixed_statistics(
    c: &mut Call,
    x: ValueId,
    [scale, bias, mean, var]: [ValueId; 4],
    epsilon: f32,
) -> Result<ValueId, Problem> {
    let shape = c.sizes(x);
    let (channels, space) = (shape[1], shape.len() - 2);
    let mut flat = |v: ValueId| -> Result<ValueId, Problem> {
        let found = c.sizes(v);
        if found.iter().product::<usize>() != channels {
            return Err(format!("a tensor of shape {found:?} for {channels} channels").into());
        }
        c.reshape(v, vec![channels])
    };
    let (scale, bias, mean, var) = (flat(scale)?, flat(bias)?, flat(mean)?, flat(var)?);
    let epsilon = c.scalar("epsilon", epsilon);
    let shifted = c.binary(ops::Add, var, epsilon)?;
    let deviation = c.smooth(Elementary::Sqrt, shifted)?;
    let factor = c.binary(ops::Div, scale, deviation)?;
    let moved = c.binary(ops::Mul, mean, factor)?;
    let offset = c.binary(ops::Sub, bias, moved)?;
    let mut kernel = vec![1; shape.len()];
    kernel[0] = channels;
    let kernel = c.reshape(factor, kernel)?;
    c.emit(every_channel(channels, space), &[x, kernel, offset])
}

/// The convolution that gives every channel a weight and a bias of its own.
fn every_channel(channels: usize, space: usize) -> ops::Conv {
    let one = vec![1; space];
    ops::Conv { strides: one.clone(), pads: vec![0; 2 * space], dilations: one, groups: channels }
}

/// New running statistics, momentum·old + (1 − momentum)·batch, where somebody reads them.
fn running(c: &mut Call, rows: ValueId) -> Result<(), Problem> {
    if !(1..c.node.outputs.len()).any(|k| c.wanted(k)) {
        return Ok(());
    }
    let momentum = c.float("momentum", 0.9)?;
    let shape = c.sizes(rows);
    let n = shape.last().copied().unwrap_or(1);
    let mean = c.mean(rows, n)?;
    let column = c.reshape(mean, vec![shape[0], 1])?;
    let centred = c.binary(ops::Sub, rows, column)?;
    let squares = c.emit(ops::Mul, &[centred, centred])?;
    let var = c.mean(squares, n)?;
    for (k, batch) in [(1, mean), (2, var)] {
        if c.wanted(k) {
            let old = c.graph(k + 2)?;
            let kept = c.scaled(old, "momentum", momentum)?;
            let new = c.scaled(batch, "1 - momentum", 1.0 - momentum)?;
            let y = c.binary(ops::Add, kept, new)?;
            c.set(k, y);
        }
    }
    // opsets before 14 also return the batch's own statistics
    for (k, batch) in [(3, mean), (4, var)] {
        if c.wanted(k) {
            c.set(k, batch);
        }
    }
    Ok(())
}

/// Normalises over the axes from `axis` on, then scales and shifts.
pub(super) fn layer_norm(c: &mut Call) -> Done {
    if (1..c.node.outputs.len()).any(|k| c.wanted(k)) {
        return statistics(c);
    }
    let (y, _) = normalized_tail(c, true)?;
    let y = affine(c, y)?;
    c.set(0, y);
    Ok(())
}

/// Scale (operand 1) and bias (operand 2, if any), broadcast.
fn affine(c: &mut Call, y: ValueId) -> Result<ValueId, Problem> {
    let shape = c.sizes(y);
    let scale = c.graph(1)?;
    let scale = c.expand(scale, &shape)?;
    let mut y = c.binary(ops::Mul, y, scale)?;
    if c.has(2) {
        let bias = c.graph(2)?;
        y = c.binary(ops::Add, y, bias)?;
    }
    Ok(y)
}

/// x as rows over the axes from attribute `axis` on, normalised, back in its shape; and the axis.
fn normalized_tail(c: &mut Call, centred: bool) -> Result<(ValueId, usize), Problem> {
    let x = c.graph(0)?;
    let shape = c.sizes(x);
    let k = c.axis(-1, shape.len())?;
    if c.int("stash_type", 1)? != 1 {
        return Err(unsupported("stash_type other than FLOAT"));
    }
    let epsilon = c.float("epsilon", 1e-5)?;
    let mut rows = shape[..k].to_vec();
    rows.push(shape[k..].iter().product());
    let flat = c.reshape(x, rows)?;
    let normal = c.emit(ops::Normalize { epsilon: f64::from(epsilon), centred }, &[flat])?;
    Ok((c.reshape(normal, shape)?, k))
}

/// LayerNormalization whose mean or inverse deviation is read too.
fn statistics(c: &mut Call) -> Done {
    let (y, k) = normalized_tail(c, true)?;
    let y = affine(c, y)?;
    c.set(0, y);
    let x = c.graph(0)?;
    let shape = c.sizes(x);
    let epsilon = c.float("epsilon", 1e-5)?;
    let n: usize = shape[k..].iter().product();
    let outer = shape[..k].to_vec();
    let kept: Vec<usize> = shape.iter().enumerate().map(|(j, &d)| if j < k { d } else { 1 }).collect();
    let mut rows = outer.clone();
    rows.push(n);
    let flat = c.reshape(x, rows)?;
    let mean = c.mean(flat, n)?;
    let mut column = outer;
    column.push(1);
    let column = c.reshape(mean, column)?;
    let centred = c.binary(ops::Sub, flat, column)?;
    let squares = c.emit(ops::Mul, &[centred, centred])?;
    let var = c.mean(squares, n)?;
    let epsilon = c.scalar("epsilon", epsilon);
    let shifted = c.binary(ops::Add, var, epsilon)?;
    let deviation = c.smooth(Elementary::Sqrt, shifted)?;
    let one = c.scalar("one", 1.0);
    let inverse = c.binary(ops::Div, one, deviation)?;
    let mean = c.reshape(mean, kept.clone())?;
    let inverse = c.reshape(inverse, kept)?;
    c.set(1, mean);
    c.set(2, inverse);
    Ok(())
}

/// x / √(mean(x²) + ε) over the axes from `axis` on, then scaled.
pub(super) fn rms_norm(c: &mut Call) -> Done {
    let (y, _) = normalized_tail(c, false)?;
    let y = affine(c, y)?;
    c.set(0, y);
    Ok(())
}

/// Every channel of every sample on its own.
pub(super) fn instance_norm(c: &mut Call) -> Done {
    let x = c.graph(0)?;
    let shape = c.sizes(x);
    let (n, channels, input) = spatial(&shape)?;
    let epsilon = c.float("epsilon", 1e-5)?;
    let rows = c.reshape(x, vec![n, channels, input.iter().product()])?;
    let normal = c.emit(ops::Normalize { epsilon: f64::from(epsilon), centred: true }, &[rows])?;
    let normal = c.reshape(normal, shape.clone())?;
    let y = channel_affine(c, normal, channels)?;
    c.set(0, y);
    Ok(())
}

/// Groups of channels of every sample; scale and bias per channel (opset 21) or per group (18).
pub(super) fn group_norm(c: &mut Call) -> Done {
    let x = c.graph(0)?;
    let shape = c.sizes(x);
    let (n, channels, input) = spatial(&shape)?;
    let groups = usize::try_from(c.int("num_groups", 0)?).ok().filter(|&g| g > 0 && channels % g == 0);
    let groups = groups.ok_or_else(|| invalid(format!("num_groups doesn't divide {channels} channels")))?;
    if c.int("stash_type", 1)? != 1 {
        return Err(unsupported("stash_type other than FLOAT"));
    }
    let epsilon = c.float("epsilon", 1e-5)?;
    let size = channels / groups * input.iter().product::<usize>();
    let rows = c.reshape(x, vec![n, groups, size])?;
    let normal = c.emit(ops::Normalize { epsilon: f64::from(epsilon), centred: true }, &[rows])?;
    let y = if c.opset >= 21 {
        let normal = c.reshape(normal, shape.clone())?;
        channel_affine(c, normal, channels)?
    } else {
        let y = channel_affine(c, normal, groups)?;
        c.reshape(y, shape.clone())?
    };
    c.set(0, y);
    Ok(())
}

/// y·scale + bias with one entry per axis-1 position: as a convolution where it can be, so that neither factors
/// nor products are as large as y.
fn channel_affine(c: &mut Call, y: ValueId, channels: usize) -> Result<ValueId, Problem> {
    let shape = c.sizes(y);
    let rank = shape.len();
    let (scale, bias) = (c.graph(1)?, c.graph(2)?);
    if (3..=5).contains(&rank) && shape.iter().product::<usize>() > 0 {
        let mut kernel = vec![1; rank];
        kernel[0] = channels;
        let scale = per_channel(c, scale, 1, channels)?;
        let kernel = c.reshape(scale, kernel)?;
        let bias = per_channel(c, bias, 1, channels)?;
        return c.emit(every_channel(channels, rank - 2), &[y, kernel, bias]);
    }
    let scale = per_channel(c, scale, rank, channels)?;
    let bias = per_channel(c, bias, rank, channels)?;
    let scaled = c.binary(ops::Mul, y, scale)?;
    c.binary(ops::Add, scaled, bias)
}

/// (x − mean) / (√var + 1e-9) over the given axes, as the operator's definition composes it.
pub(super) fn mean_variance(c: &mut Call) -> Done {
    let x = c.graph(0)?;
    let shape = c.sizes(x);
    let list = c.ints("axes")?.unwrap_or_else(|| vec![0, 2, 3]);
    let list = crate::import::index::axes(&list, shape.len()).map_err(invalid)?;
    let rows = c.rows(x, &list)?;
    let row_shape = c.sizes(rows);
    let n = row_shape.last().copied().unwrap_or(1);
    let mut column = row_shape.clone();
    column[row_shape.len() - 1] = 1;
    let mean = c.mean(rows, n)?;
    let mean = c.reshape(mean, column.clone())?;
    let centred = c.binary(ops::Sub, rows, mean)?;
    let squares = c.emit(ops::Mul, &[centred, centred])?;
    let var = c.mean(squares, n)?;
    let deviation = c.smooth(Elementary::Sqrt, var)?;
    let small = c.scalar("epsilon", 1e-9);
    let below = c.binary(ops::Add, deviation, small)?;
    let below = c.reshape(below, column)?;
    let normal = c.binary(ops::Div, centred, below)?;
    let y = c.unrows(normal, &shape, &list)?;
    c.set(0, y);
    Ok(())
}

/// LpNormalization: x / ‖x‖_p along one axis.
pub(super) fn lp_norm(c: &mut Call) -> Done {
    let x = c.graph(0)?;
    let shape = c.sizes(x);
    let k = c.axis(-1, shape.len())?;
    let rows = c.rows(x, &[k])?;
    let size = match c.int("p", 2)? {
        1 => {
            let a = c.emit(ops::Piecewise::abs(), &[rows])?;
            c.sum(a)?
        }
        2 => {
            let a = c.emit(ops::Mul, &[rows, rows])?;
            let s = c.sum(a)?;
            c.smooth(Elementary::Sqrt, s)?
        }
        p => return Err(invalid(format!("p = {p}"))),
    };
    // a row of zeros stays zero: its norm is raised to the smallest positive number
    let size = c.emit(ops::Piecewise::clip(f32::from_bits(1), f32::INFINITY), &[size])?;
    let mut column = c.sizes(size);
    column.push(1);
    let size = c.reshape(size, column)?;
    let normal = c.binary(ops::Div, rows, size)?;
    let y = c.unrows(normal, &shape, &[k])?;
    c.set(0, y);
    Ok(())
}

/// Dropout: the identity when nothing is dropped.
pub(super) fn dropout(c: &mut Call) -> Done {
    if c.wanted(1) {
        let shape = c.shape(0)?;
        let n = shape.iter().product();
        c.set_known(1, crate::data::HostTensor::bool(shape, vec![true; n]));
    }
    c.alias(0, 0)
}

/// LRN: x / (bias + alpha/size·Σ x²)^beta over a window of channels.
pub(super) fn lrn(c: &mut Call) -> Done {
    let x = c.graph(0)?;
    let shape = c.sizes(x);
    let (n, channels, input) = spatial(&shape)?;
    let size = usize::try_from(c.int("size", 0)?).ok().filter(|&s| s > 0).ok_or_else(|| invalid("size"))?;
    let (alpha, beta, bias) = (c.float("alpha", 1e-4)?, c.float("beta", 0.75)?, c.float("bias", 1.0)?);
    let plane: usize = input.iter().product();
    let squares = c.emit(ops::Mul, &[x, x])?;
    // channel c reads channels c − ⌊(size−1)/2⌋ … c + ⌈(size−1)/2⌉, those that exist
    let before = (size - 1) / 2;
    let window = [n, channels, plane, size];
    crate::import::index::built(&window)?;
    let index = crate::import::index::from_fn(&window, |at| {
        let from = (at[1] + at[3]).checked_sub(before).filter(|&k| k < channels)?;
        Some((at[0] * channels + from) * plane + at[2])
    });
    let rows = c.gather(squares, window.to_vec(), index)?;
    let sum = c.sum(rows)?;
    let sum = c.reshape(sum, shape)?;
    let scaled = c.scaled(sum, "alpha / size", alpha / size as f32)?;
    let bias = c.scalar("bias", bias);
    let base = c.binary(ops::Add, scaled, bias)?;
    let power = c.smooth(Elementary::Pow(beta), base)?;
    let y = c.binary(ops::Div, x, power)?;
    c.set(0, y);
    Ok(())
}

/// ImageScaler, an experimental operator of early converters: scale·x + bias, one bias per channel.
pub(super) fn image_scaler(c: &mut Call) -> Done {
    let x = c.graph(0)?;
    let shape = c.sizes(x);
    let (_, channels, _) = spatial(&shape)?;
    let scale = c.float("scale", 1.0)?;
    let y = c.scaled(x, "scale", scale)?;
    let bias = match c.node.attributes.get("bias") {
        Some(crate::import::model::Attribute::Floats(v)) if v.iter().all(|x| x.is_finite()) => v.clone(),
        _ => return Err(invalid("attribute \"bias\" isn't a list of floats")),
    };
    let bias = c.tensor("bias", vec![bias.len()], bias);
    let bias = per_channel(c, bias, shape.len(), channels)?;
    let y = c.binary(ops::Add, y, bias)?;
    c.set(0, y);
    Ok(())
}
