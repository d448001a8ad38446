//! Operators that pick, place or order entries.

use super::call::{Call, Done, Problem, invalid, unsupported};
use super::movement::joined;
use super::ort_grad::collect;
use crate::data::{DType, Data, HostTensor};
use crate::error::Code;
use crate::import::index::{self, built, from_fn, strides};
use crate::ir::{Index, ValueId};
use crate::num::Ties;
use crate::ops;

/// A sorting network may have so many layers of comparisons times entries.
const MAX_COMPARED: usize = 1 << 24;

/// Sizes from a list of integers.
pub(super) fn sizes(list: &[i64]) -> Result<Vec<usize>, Problem> {
    let shape: Vec<usize> =
        list.iter().map(|&d| usize::try_from(d).map_err(|_| format!("size {d}"))).collect::<Result<_, _>>()?;
    built(&shape)?;
    Ok(shape)
}

/// Compress: the entries, or slices along an axis, where a known condition holds.
pub(super) fn compress(c: &mut Call) -> Done {
    let shape = c.shape(0)?;
    let condition = c.known(1)?;
    let bits = condition.as_bool().ok_or_else(|| invalid("the condition isn't BOOL"))?;
    let (shape, k) = match c.node.attributes.contains_key("axis") {
        true => (shape.clone(), c.axis(0, shape.len())?),
        // without an axis the tensor is a vector
        false => (vec![shape.iter().product()], 0),
    };
    let picked: Vec<usize> = (0..bits.len().min(shape[k])).filter(|&i| bits[i]).collect();
    let own = strides(&shape);
    let mut out = shape.clone();
    out[k] = picked.len();
    let index =
        from_fn(&out, |at| Some((0..at.len()).map(|j| if j == k { picked[at[j]] } else { at[j] } * own[j]).sum()));
    c.moved(out, index)
}

/// CenterCropPad: every axis cut at both ends, or filled with zeros there.
pub(super) fn center_crop_pad(c: &mut Call) -> Done {
    let shape = c.shape(0)?;
    let wanted = sizes(&c.known_ints(1)?)?;
    let axes: Vec<usize> = match c.ints("axes")? {
        None => (0..shape.len()).collect(),
        Some(v) => v.iter().map(|&a| index::axis(a, shape.len())).collect::<Result<_, _>>().map_err(invalid)?,
    };
    if axes.len() != wanted.len() {
        return Err(invalid(format!("{} sizes for {} axes", wanted.len(), axes.len())));
    }
    let mut out = shape.clone();
    axes.iter().zip(&wanted).for_each(|(&a, &n)| out[a] = n);
    built(&out)?;
    let own = strides(&shape);
    let index = from_fn(&out, |at| {
        (0..at.len()).try_fold(0, |flat, k| {
            // a cut of d entries starts at ⌊d/2⌋, d zeros are ⌊d/2⌋ before
            let i = match shape[k] >= out[k] {
                true => at[k] + (shape[k] - out[k]) / 2,
                false => at[k].checked_sub((out[k] - shape[k]) / 2).filter(|&i| i < shape[k])?,
            };
            Some(flat + i * own[k])
        })
    });
    c.moved(out, index)
}

/// Crop, an experimental operator of early converters: images less left, top, right and bottom border,
/// or a part of a given size.
pub(super) fn crop(c: &mut Call) -> Done {
    let shape = c.shape(0)?;
    let [n, channels, height, width] = shape[..] else {
        return Err(format!("shape {shape:?} where [N, C, H, W] is needed").into());
    };
    let border = match c.ints("border")? {
        Some(b) if b.len() == 4 => sizes(&b)?,
        other => return Err(invalid(format!("attribute \"border\" is {other:?}"))),
    };
    let (left, top) = (border[0], border[1]);
    let (rows, cols) = match c.ints("scale")? {
        Some(s) if s.len() == 2 => {
            let s = sizes(&s)?;
            (Some(s[0]), Some(s[1]))
        }
        Some(s) => return Err(invalid(format!("attribute \"scale\" is {s:?}"))),
        None => (height.checked_sub(top + border[3]), width.checked_sub(left + border[2])),
    };
    let (Some(rows), Some(cols)) = (rows, cols) else {
        return Err(format!("borders {border:?} of an image of {height} × {width}").into());
    };
    if top + rows > height || left + cols > width {
        return Err(format!("{rows} × {cols} entries of an image of {height} × {width}").into());
    }
    let out = vec![n, channels, rows, cols];
    let own = strides(&shape);
    let index = from_fn(&out, |at| Some(at[0] * own[0] + at[1] * own[1] + (at[2] + top) * own[2] + at[3] + left));
    c.moved(out, index)
}

/// ReverseSequence: the first entries of every sequence in reverse, the rest as they are.
pub(super) fn reverse_sequence(c: &mut Call) -> Done {
    let shape = c.shape(0)?;
    let axis = |name: &str, default: i64| -> Result<usize, Problem> {
        index::axis(c.int(name, default)?, shape.len()).map_err(invalid)
    };
    let (batch, time) = (axis("batch_axis", 1)?, axis("time_axis", 0)?);
    let lengths = sizes(&c.known_ints(1)?)?;
    if batch == time || lengths.len() != shape[batch] || lengths.iter().any(|&n| n > shape[time]) {
        return Err(invalid(format!("sequences of {lengths:?} entries in a tensor of shape {shape:?}")));
    }
    let own = strides(&shape);
    let index = from_fn(&shape, |at| {
        let n = lengths[at[batch]];
        let t = if at[time] < n { n - 1 - at[time] } else { at[time] };
        Some((0..at.len()).map(|k| if k == time { t } else { at[k] } * own[k]).sum())
    });
    c.moved(shape, index)
}

/// TensorScatter: a cache with updates written along one axis, at a known place for every sample.
pub(super) fn tensor_scatter(c: &mut Call) -> Done {
    let (shape, update) = (c.shape(0)?, c.shape(1)?);
    let k = c.axis(-2, shape.len())?;
    let same = shape.len() == update.len() && (0..shape.len()).all(|j| j == k || shape[j] == update[j]);
    if !same || k == 0 || update[k] > shape[k] {
        return Err(format!("an update of shape {update:?} for a cache of shape {shape:?}").into());
    }
    let begin = if c.has(2) { sizes(&c.known_ints(2)?)? } else { vec![0; shape[0]] };
    let circular = match c.text("mode", "linear")?.as_str() {
        "linear" => false,
        "circular" => true,
        other => return Err(invalid(format!("mode \"{other}\""))),
    };
    let over = |b: &usize| !circular && b + update[k] > shape[k];
    if begin.len() != shape[0] || begin.iter().any(over) {
        return Err(Problem::found(Code::Input, format!("updates written at {begin:?} of an axis of {}", shape[k])));
    }
    let (own, new) = (strides(&shape), strides(&update));
    let n: usize = shape.iter().product();
    let index = from_fn(&shape, |at| {
        let from = (at[k] + shape[k]).wrapping_sub(begin[at[0]] % shape[k]);
        let from = if circular { Some(from % shape[k]) } else { at[k].checked_sub(begin[at[0]]) };
        match from.filter(|&i| i < update[k]) {
            Some(i) => Some(n + (0..at.len()).map(|j| if j == k { i } else { at[j] } * new[j]).sum::<usize>()),
            None => Some(at.iter().zip(&own).map(|(&i, s)| i * s).sum()),
        }
    });
    if !c.is_float(0)? {
        let y = index::apply(&joined(&[c.known(0)?, c.known(1)?])?, shape, &index);
        c.set_known(0, y);
        return Ok(());
    }
    let (cache, update) = (c.graph(0)?, c.graph(1)?);
    let both = c.join(&[cache, update])?;
    let y = c.gather(both, shape, index)?;
    c.set(0, y);
    Ok(())
}

/// MaxUnpool: values put back at known places of zeros.
pub(super) fn max_unpool(c: &mut Call) -> Done {
    let shape = c.shape(0)?;
    let (n, channels, input) = super::conv::spatial(&shape)?;
    let r = input.len();
    let list = |name: &str, default: i64, len: usize| -> Result<Vec<i64>, Problem> {
        match c.ints(name)? {
            None => Ok(vec![default; len]),
            Some(v) if v.len() == len => Ok(v),
            Some(v) => Err(invalid(format!("attribute \"{name}\" is {v:?}"))),
        }
    };
    let (kernel, strides_, pads) = (list("kernel_shape", 1, r)?, list("strides", 1, r)?, list("pads", 0, 2 * r)?);
    // (n − 1)·stride + kernel − pads
    let own: Vec<i64> = (0..r)
        .map(|k| {
            (input[k] as i64 - 1)
                .saturating_mul(strides_[k])
                .saturating_add(kernel[k])
                .saturating_sub(pads[k])
                .saturating_sub(pads[r + k])
        })
        .collect();
    let mut implied = vec![n, channels];
    implied.extend(sizes(&own)?);
    let out = if c.has(2) { sizes(&c.known_ints(2)?)? } else { implied.clone() };
    if out.len() != shape.len() || c.shape(1)? != shape {
        return Err(format!("a result of shape {out:?} from {shape:?}").into());
    }
    // places are counted in the tensor that was pooled, whose planes may be smaller than the result's
    let (before, after) = (strides(&implied), strides(&out));
    let mut table = vec![Index::NOTHING; built(&out)?];
    for (i, &at) in c.known_ints(1)?.iter().enumerate() {
        let flat = usize::try_from(at).ok().filter(|&a| a < implied.iter().product::<usize>());
        let flat = flat.ok_or_else(|| Problem::found(Code::Input, format!("index {at} outside {implied:?}")))?;
        let place: Option<usize> = (0..out.len()).try_fold(0, |p, k| {
            let i = flat / before[k] % implied[k];
            (i < out[k]).then_some(p + i * after[k])
        });
        let place = place.ok_or_else(|| Problem::found(Code::Input, format!("index {at} outside {out:?}")))?;
        table[place] = i as u32;
    }
    let x = c.graph(0)?;
    let y = c.gather(x, out, Index::Table(table.into()))?;
    c.set(0, y);
    Ok(())
}

/// Col2Im: every entry of the image is the sum of the block entries that lie over it.
pub(super) fn col2im(c: &mut Call) -> Done {
    let shape = c.shape(0)?;
    let (image, block) = (sizes(&c.known_ints(1)?)?, sizes(&c.known_ints(2)?)?);
    let r = image.len();
    let [n, mixed, positions] = shape[..] else {
        return Err(format!("shape {shape:?} where [N, C·block, L] is needed").into());
    };
    let list = |name: &str, default: usize, len: usize| -> Result<Vec<usize>, Problem> {
        match c.ints(name)? {
            None => Ok(vec![default; len]),
            Some(v) if v.len() == len => sizes(&v),
            Some(v) => Err(invalid(format!("attribute \"{name}\" is {v:?}"))),
        }
    };
    let (dilations, strides_, pads) = (list("dilations", 1, r)?, list("strides", 1, r)?, list("pads", 0, 2 * r)?);
    let cells: usize = block.iter().product();
    if block.len() != r || cells == 0 || mixed % cells != 0 || strides_.contains(&0) {
        return Err(invalid(format!("blocks of {block:?} in columns of {mixed}")));
    }
    let windows: Option<Vec<usize>> = (0..r)
        .map(|k| {
            let padded = image[k] + pads[k] + pads[r + k];
            Some(padded.checked_sub(dilations[k] * (block[k] - 1) + 1)? / strides_[k] + 1)
        })
        .collect();
    let windows = windows.filter(|w| w.iter().product::<usize>() == positions);
    let windows =
        windows.ok_or_else(|| invalid(format!("{positions} blocks of {block:?} over an image of {image:?}")))?;
    let channels = mixed / cells;
    let mut out = vec![n, channels];
    out.extend(&image);
    let plane: usize = image.iter().product();
    let mut places: Vec<Vec<u32>> = vec![Vec::new(); built(&out)?];
    let (in_window, in_block, in_image) = (strides(&windows), strides(&block), strides(&image));
    for (cell, at) in (0..cells).flat_map(|b| (0..positions).map(move |l| (b, l))) {
        let spot: Option<usize> = (0..r).try_fold(0, |flat, k| {
            let p = (at / in_window[k] % windows[k]) * strides_[k] + (cell / in_block[k] % block[k]) * dilations[k];
            let p = p.checked_sub(pads[k]).filter(|&p| p < image[k])?;
            Some(flat + p * in_image[k])
        });
        let Some(spot) = spot else { continue };
        for m in 0..n * channels {
            places[m * plane + spot].push(((m * cells + cell) * positions + at) as u32);
        }
    }
    let x = c.graph(0)?;
    let y = collect(c, x, &places, out)?;
    c.set(0, y);
    Ok(())
}

/// Hardmax: 1 at the first largest entry, else 0: what a maximum hands back to its row.
pub(super) fn hardmax(c: &mut Call) -> Done {
    let x = c.graph(0)?;
    let shape = c.sizes(x);
    let k = c.axis(if c.opset >= 13 { -1 } else { 1 }, shape.len())?;
    // before opset 13 all axes from k on are one
    let axes: Vec<usize> = if c.opset >= 13 { vec![k] } else { (k..shape.len()).collect() };
    let rows = c.rows(x, &axes)?;
    let mut outer = c.sizes(rows);
    if outer.pop() == Some(0) {
        return Err(Problem::found(Code::Domain, "the maximum of no entries is −∞"));
    }
    let count = outer.iter().product();
    let ones = c.tensor("ones", outer, vec![1.0; count]);
    let y = c.emit(ops::Route, &[rows, ones])?;
    let y = c.unrows(y, &shape, &axes)?;
    c.set(0, y);
    Ok(())
}

/// The comparisons of Batcher's merge exchange for n entries, layer by layer (Knuth, The Art of
/// Computer Programming 3, algorithm 5.2.2M).
fn layers(n: usize) -> Vec<Vec<(usize, usize)>> {
    let mut out = Vec::new();
    let top = n.next_power_of_two() / 2;
    let mut p = top;
    while p > 0 {
        let (mut q, mut r, mut d) = (top, 0, p);
        loop {
            let layer: Vec<(usize, usize)> =
                (0..n.saturating_sub(d)).filter(|i| i & p == r).map(|i| (i, i + d)).collect();
            if !layer.is_empty() {
                out.push(layer);
            }
            if q == p {
                break;
            }
            (d, q, r) = (q - p, q / 2, p);
        }
        p /= 2;
    }
    out
}

/// Rows [.., n] in descending order. Comparing and exchanging rounds nothing, and ties go half to each
/// side in the derivative.
fn sorted(c: &mut Call, rows: ValueId) -> Result<ValueId, Problem> {
    let shape = c.sizes(rows);
    let n = shape.last().copied().unwrap_or(1);
    let outer: usize = shape[..shape.len() - 1].iter().product();
    let layers = layers(n);
    if layers.iter().map(Vec::len).sum::<usize>() * outer > MAX_COMPARED {
        return Err(Problem::found(Code::Limit, format!("sorting {outer} rows of {n} entries")));
    }
    let mut x = c.reshape(rows, vec![outer, n])?;
    for layer in layers {
        let m = layer.len();
        let pairs = c.gather(
            x,
            vec![outer, m, 2],
            from_fn(&[outer, m, 2], |at| Some(at[0] * n + if at[2] == 0 { layer[at[1]].0 } else { layer[at[1]].1 })),
        )?;
        let high = c.max(pairs, Ties::Split)?;
        let negated = c.negated(pairs)?;
        let low = c.max(negated, Ties::Split)?;
        let low = c.negated(low)?;
        let all = c.join(&[x, high, low])?;
        let mut from: Vec<usize> = (0..n).collect();
        // marks: n + j for the j-th larger, n + m + j for the j-th smaller one
        layer.iter().enumerate().for_each(|(j, &(a, b))| (from[a], from[b]) = (n + j, n + m + j));
        x = c.gather(
            all,
            vec![outer, n],
            from_fn(&[outer, n], |at| {
                let f = from[at[1]];
                Some(match f {
                    f if f < n => at[0] * n + f,
                    f if f < n + m => outer * n + at[0] * m + f - n,
                    f => outer * (n + m) + at[0] * m + f - n - m,
                })
            }),
        )?;
    }
    c.reshape(x, shape)
}

/// TopK. Places are data where the operand is; the values come out of a sorting network.
pub(super) fn top_k(c: &mut Call) -> Done {
    let shape = c.shape(0)?;
    let axis = c.axis(-1, shape.len())?;
    let k = if c.opset < 10 { c.int("k", 0)? } else { c.known_ints(1)?.first().copied().unwrap_or(0) };
    let k = usize::try_from(k).ok().filter(|&k| k <= shape[axis]);
    let k = k.ok_or_else(|| invalid(format!("k of an axis with {} entries", shape[axis])))?;
    let largest = c.flag("largest", true)?;
    let mut out = shape.clone();
    out[axis] = k;
    if c.has_host(0)? {
        let host = c.known(0)?;
        let index = places(&host, axis, k, largest)?;
        let (own, new) = (strides(&shape), strides(&out));
        let at = from_fn(&out, |i| {
            let flat: usize = i.iter().zip(&new).map(|(&i, s)| i * s).sum();
            Some((0..i.len()).map(|j| if j == axis { index[flat] as usize } else { i[j] } * own[j]).sum())
        });
        c.set_known(1, HostTensor::i64(out.clone(), index));
        return c.moved(out, at);
    }
    if c.wanted(1) {
        return Err(unsupported("the places of the largest entries depend on floating-point data"));
    }
    let mut x = c.graph(0)?;
    if !largest {
        x = c.negated(x)?;
    }
    let rows = c.rows(x, &[axis])?;
    let mut y = sorted(c, rows)?;
    if !largest {
        y = c.negated(y)?;
    }
    let mut moved: Vec<usize> = out.clone();
    moved.remove(axis);
    moved.push(k);
    let n = shape[axis];
    let first = index::strided(&[moved.iter().product::<usize>() / k.max(1), k], 0, &[n as isize, 1]);
    let y = c.gather(y, moved, first)?;
    let y = c.unrows(y, &out, &[axis])?;
    c.set(0, y);
    Ok(())
}

/// Places of the k largest (or smallest) entries along an axis, in order; of equal ones the first.
fn places(host: &HostTensor, axis: usize, k: usize, largest: bool) -> Result<Vec<i64>, Problem> {
    let values = super::fold::cast(host, DType::F64)?;
    let Data::F64(v) = &values.data else { return Err(unsupported(format!("TopK of {}", host.dtype))) };
    let shape = &host.shape;
    let (outer, inner): (usize, usize) = (shape[..axis].iter().product(), shape[axis + 1..].iter().product());
    let n = shape[axis];
    let mut out = vec![0i64; outer * k * inner];
    for (o, i) in (0..outer).flat_map(|o| (0..inner).map(move |i| (o, i))) {
        let at = |j: usize| v[(o * n + j) * inner + i];
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by(|&a, &b| if largest { at(b).total_cmp(&at(a)) } else { at(a).total_cmp(&at(b)) });
        order.iter().take(k).enumerate().for_each(|(j, &p)| out[(o * k + j) * inner + i] = p as i64);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_network_sorts_everything() {
        for n in 0..=9usize {
            // by the 0-1 principle sequences of zeros and ones decide
            for bits in 0..1u32 << n {
                let mut x: Vec<u32> = (0..n).map(|i| bits >> i & 1).collect();
                for layer in layers(n) {
                    for (a, b) in layer {
                        (x[a], x[b]) = (x[a].max(x[b]), x[a].min(x[b]));
                    }
                }
                assert!(x.is_sorted_by(|a, b| a >= b), "{n} {bits:b}");
            }
        }
    }
}
