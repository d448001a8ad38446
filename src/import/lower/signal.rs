//! Fourier transforms as products with matrices of cosines and sines, and the windows before them.
//!
//! The matrices and windows are constants: binary64 formulas rounded once to binary32.

use std::f64::consts::TAU;

use super::call::{Call, Done, Problem, invalid, unsupported};
use super::constant::exact;
use super::fold;
use super::linear::product;
use crate::data::{DType, HostTensor};
use crate::error::Code;
use crate::import::index::{self, built, from_fn, strides};
use crate::ir::ValueId;
use crate::ops;

/// cos(2πjk/n) and sin(2πjk/n), with jk reduced modulo n first.
fn turn(j: usize, k: usize, n: usize) -> (f64, f64) {
    let angle = TAU * ((j as u128 * k as u128) % n as u128) as f64 / n as f64;
    (angle.cos(), angle.sin())
}

/// Transforms the axis before the last of [.., n, 1 or 2] into [.., m, 2].
///
/// X_k = Σ_j x_j·e^(∓2πijk/n), divided by n for the inverse.
fn transform(c: &mut Call, x: ValueId, n: usize, m: usize, inverse: bool) -> Result<ValueId, Problem> {
    let shape = c.sizes(x);
    let parts = shape[shape.len() - 1];
    built(&[n * parts, m * 2])?;
    let sign = if inverse { 1.0 } else { -1.0 };
    let over = if inverse { n as f64 } else { 1.0 };
    let mut matrix = Vec::with_capacity(n * parts * m * 2);
    for j in 0..n {
        for part in 0..parts {
            for k in 0..m {
                let (cos, sin) = turn(j, k, n);
                let sin = sign * sin;
                // (a + bi)(cos + i·sin) = (a·cos − b·sin) + (a·sin + b·cos)i
                let (re, im) = if part == 0 { (cos, sin) } else { (-sin, cos) };
                matrix.extend([(re / over) as f32, (im / over) as f32]);
            }
        }
    }
    let matrix = c.tensor("turns", vec![n * parts, m * 2], matrix);
    let mut flat = shape[..shape.len() - 2].to_vec();
    let mut out = flat.clone();
    flat.push(n * parts);
    let rows = c.reshape(x, flat)?;
    let y = product(c, rows, matrix)?;
    out.extend([m, 2]);
    c.reshape(y, out)
}

/// DFT along one axis of [.., 1 or 2].
pub(super) fn dft(c: &mut Call) -> Done {
    let x = c.graph(0)?;
    let shape = c.sizes(x);
    let rank = shape.len();
    if rank < 2 || !matches!(shape[rank - 1], 1 | 2) {
        return Err(format!("shape {shape:?} where [.., n, 1 or 2] is needed").into());
    }
    let axis = match (c.opset < 20, c.has(2)) {
        (true, _) => c.int("axis", 1)?,
        (false, true) => c.known_ints(2)?.first().copied().unwrap_or(-2),
        (false, false) => -2,
    };
    let axis = index::axis(axis, rank).ok().filter(|&a| a + 1 < rank).ok_or_else(|| invalid(format!("axis {axis}")))?;
    let (inverse, onesided) = (c.flag("inverse", false)?, c.flag("onesided", false)?);
    let length = if c.has(1) { c.known_ints(1)?.first().copied() } else { None };
    let mut perm: Vec<usize> = (0..rank - 1).filter(|&k| k != axis).collect();
    perm.extend([axis, rank - 1]);
    let moved = c.transpose(x, &perm)?;
    let own = c.sizes(moved);
    let given = own[rank - 2];
    let half = onesided && inverse;
    let full = match length {
        Some(n) => usize::try_from(n).ok().filter(|&n| n > 0).ok_or_else(|| invalid(format!("dft_length {n}")))?,
        // the half that is given stands for an even number of entries
        None if half => given.saturating_sub(1) * 2,
        None => given,
    };
    if full == 0 {
        return Err(invalid("a transform of no entries"));
    }
    // the other half of a real signal's transform is the conjugate of this one
    let mut spread = own.clone();
    spread[rank - 2] = full;
    let row = strides(&own);
    let index = from_fn(&spread, |at| {
        let j = if half && at[rank - 2] >= given { full - at[rank - 2] } else { at[rank - 2] };
        (j < given).then(|| (0..rank).map(|k| if k == rank - 2 { j } else { at[k] } * row[k]).sum())
    });
    let mut moved = if full == given { moved } else { c.gather(moved, spread.clone(), index)? };
    if half {
        if own[rank - 1] != 2 {
            return Err(format!("an inverse of one half of shape {shape:?}").into());
        }
        let signs = from_fn(&spread, |_| None);
        let crate::ir::Index::Table(count) = &signs else { return Err(Problem::Operand) };
        let data = (0..count.len()).map(|i| if i % 2 == 1 && i / 2 % full >= given { -1.0 } else { 1.0 }).collect();
        let signs = c.tensor("conjugates", spread, data);
        moved = c.emit(ops::Mul, &[moved, signs])?;
    }
    let m = if onesided && !inverse { full / 2 + 1 } else { full };
    let y = transform(c, moved, full, m, inverse)?;
    let y = if half {
        let s = c.sizes(y);
        let mut real = s.clone();
        real[rank - 1] = 1;
        let own = strides(&s);
        c.gather(y, real.clone(), from_fn(&real, |at| Some(at.iter().zip(&own).map(|(&i, s)| i * s).sum())))?
    } else {
        y
    };
    let y = c.transpose(y, &index::inverse(&perm))?;
    c.set(0, y);
    Ok(())
}

/// STFT(signal [N, length, 1 or 2], frame_step, window, frame_length): frames, windowed, transformed.
pub(super) fn stft(c: &mut Call) -> Done {
    let x = c.graph(0)?;
    let shape = c.sizes(x);
    let (batch, length, parts) = match shape[..] {
        [n, l, p @ (1 | 2)] => (n, l, p),
        [n, l] => (n, l, 1),
        _ => return Err(format!("a signal of shape {shape:?} where [N, length, 1 or 2] is needed").into()),
    };
    let positive = |v: Option<i64>| v.and_then(|v| usize::try_from(v).ok()).filter(|&v| v > 0);
    let step = positive(c.known_ints(1)?.first().copied()).ok_or_else(|| invalid("frame_step"))?;
    let window = if c.has(2) { Some(c.graph(2)?) } else { None };
    let frame = match (c.has(3), window) {
        (true, _) => positive(c.known_ints(3)?.first().copied()),
        (false, Some(w)) => Some(c.sizes(w).iter().product()),
        (false, None) => None,
    };
    let frame = frame.filter(|&f| f > 0 && f <= length).ok_or_else(|| invalid("frame_length"))?;
    let frames = (length - frame) / step + 1;
    let out = [batch, frames, frame, parts];
    built(&out)?;
    let index = from_fn(&out, |at| Some((at[0] * length + at[1] * step + at[2]) * parts + at[3]));
    let mut cut = c.gather(x, out.to_vec(), index)?;
    if let Some(w) = window {
        if c.sizes(w) != [frame] {
            return Err(format!("a window of shape {:?} for frames of {frame}", c.sizes(w)).into());
        }
        let w = c.reshape(w, vec![frame, 1])?;
        cut = c.binary(ops::Mul, cut, w)?;
    }
    let m = if c.flag("onesided", true)? { frame / 2 + 1 } else { frame };
    let y = transform(c, cut, frame, m, false)?;
    c.set(0, y);
    Ok(())
}

fn output_type(c: &Call) -> Result<DType, Problem> {
    Ok(DType::from_onnx(i32::try_from(c.int("output_datatype", 1)?).unwrap_or(0)))
}

fn give(c: &mut Call, shape: Vec<usize>, data: Vec<f64>) -> Done {
    let dtype = output_type(c)?;
    let y = fold::cast(&HostTensor::f64(shape, data), dtype)?;
    c.set_known(0, y);
    exact(c);
    Ok(())
}

/// HannWindow, HammingWindow, BlackmanWindow: a0 − a1·cos(2πn/N) + a2·cos(4πn/N).
pub(super) fn window(c: &mut Call) -> Done {
    let n = c.known_ints(0)?.first().and_then(|&n| usize::try_from(n).ok()).ok_or_else(|| invalid("size"))?;
    built(&[n])?;
    let [a0, a1, a2] = match c.node.op.as_str() {
        "HannWindow" => [0.5, 0.5, 0.0],
        "HammingWindow" => [25.0 / 46.0, 21.0 / 46.0, 0.0],
        _ => [0.42, 0.5, 0.08],
    };
    let period = if c.flag("periodic", true)? { n } else { n.saturating_sub(1) }.max(1) as f64;
    let at = |i: usize| {
        let angle = TAU * i as f64 / period;
        a0 - a1 * angle.cos() + a2 * (2.0 * angle).cos()
    };
    give(c, vec![n], (0..n).map(at).collect())
}

/// MelWeightMatrix: triangles over the bins of a transform, equally wide in mel = 2595·log10(1 + f/700).
pub(super) fn mel(c: &mut Call) -> Done {
    let whole = |k: usize| -> Result<usize, Problem> {
        let v = c.known_ints(k)?.first().and_then(|&v| usize::try_from(v).ok()).filter(|&v| v > 0);
        v.ok_or_else(|| invalid(format!("operand {k} isn't a positive number")))
    };
    let (bands, length, rate) = (whole(0)?, whole(1)?, whole(2)?);
    let (low, high) = (f64::from(c.known_scalar(3)?), f64::from(c.known_scalar(4)?));
    let bins = length / 2 + 1;
    built(&[bins, bands])?;
    let mel = |f: f64| 2595.0 * (1.0 + f / 700.0).log10();
    let hertz = |m: f64| 700.0 * (10f64.powf(m / 2595.0) - 1.0);
    let step = (mel(high) - mel(low)) / (bands + 2) as f64;
    // the first and last bin of every triangle, and where it is highest
    let edge = |i: usize| ((length + 1) as f64 * hertz(mel(low) + step * i as f64) / rate as f64).floor();
    if !(low >= 0.0 && high > low && edge(bands + 1) < 1e9) {
        return Err(Problem::found(Code::Input, format!("bands from {low} to {high} Hz")));
    }
    let edges: Vec<usize> = (0..bands + 2).map(|i| edge(i) as usize).collect();
    let mut data = vec![0.0; bins * bands];
    for b in 0..bands {
        let [from, top, to] = [edges[b], edges[b + 1], edges[b + 2]];
        if to > bins {
            return Err(unsupported(format!("bands up to bin {to} of a transform with {bins}")));
        }
        if top == from {
            data[top * bands + b] = 1.0;
        } else {
            (from..=top).for_each(|j| data[j * bands + b] = (j - from) as f64 / (top - from) as f64);
        }
        if to > top {
            (top..to).for_each(|j| data[j * bands + b] = (to - j) as f64 / (to - top) as f64);
        }
    }
    give(c, vec![bins, bands], data)
}
