//! Gradient nodes of convolutions and pools.

use super::call::{Call, Done, Problem, invalid, unsupported};
use super::conv::{Window, spatial};
use super::ort_grad::collect;
use super::pool::cells;
use crate::import::index::{built, from_fn, strides};
use crate::ir::{Index, ValueId};
use crate::ops;
use std::collections::BTreeMap;
use std::rc::Rc;

/// ConvGrad(dY, X, W) → dX, dW, dB.
pub(super) fn conv(c: &mut Call) -> Done {
    let (dy, x, w) = (c.graph(0)?, c.graph(1)?, c.graph(2)?);
    let (sx, sw, sy) = (c.sizes(x), c.sizes(w), c.sizes(dy));
    let (_, channels, input) = spatial(&sx)?;
    let (maps, per_group, kernel) = spatial(&sw)?;
    let groups = usize::try_from(c.int("group", 1)?).ok().filter(|&g| g > 0).ok_or_else(|| invalid("group"))?;
    if kernel.len() != input.len() || input.len() > 3 || per_group * groups != channels || maps % groups != 0 {
        return Err(format!("data of shape {sx:?} and weights of shape {sw:?} in {groups} groups").into());
    }
    let window = Window::read(c, input, Some(kernel))?;
    let expected: Vec<usize> = [sx[0], maps].into_iter().chain(window.out.iter().copied()).collect();
    if sy != expected {
        return Err(format!("a cotangent of shape {sy:?} where {expected:?} is needed").into());
    }
    if c.wanted(0) {
        let dx = data_gradient(c, dy, w, &sx, &sw, groups, &window)?;
        c.set(0, dx);
    }
    if c.wanted(1) {
        let dw = weight_gradient(c, dy, x, &sx, &sw, groups, &window)?;
        c.set(1, dw);
    }
    if c.wanted(2) {
        let others: Vec<usize> = (0..sy.len()).filter(|&k| k != 1).collect();
        let rows = c.rows(dy, &others)?;
        let db = c.sum(rows)?;
        c.set(2, db);
    }
    Ok(())
}

/// dX as a convolution with stride 1 of dY, spread out by the stride, with the mirrored weights whose
/// in- and out-channels are exchanged.
fn data_gradient(
    c: &mut Call,
    dy: ValueId,
    w: ValueId,
    sx: &[usize],
    sw: &[usize],
    groups: usize,
    window: &Window,
) -> Result<ValueId, Problem> {
    let n = window.out.len();
    let (input, kernel) = (&sx[2..], &sw[2..]);
    let extent: Vec<usize> = (0..n).map(|k| (kernel[k] - 1) * window.dilations[k] + 1).collect();
    // entry o of dY stands at position stride·o − pad + extent − 1
    let mut spread = vec![sx[0], sw[0]];
    spread.extend((0..n).map(|k| input[k] + extent[k] - 1));
    built(&spread)?;
    let own = strides(&c.sizes(dy));
    let index = from_fn(&spread, |at| {
        let mut flat = at[0] * own[0] + at[1] * own[1];
        for k in 0..n {
            let q = (at[k + 2] + window.pads[k]).checked_sub(extent[k] - 1)?;
            if q % window.strides[k] != 0 || q / window.strides[k] >= window.out[k] {
                return None;
            }
            flat += q / window.strides[k] * own[k + 2];
        }
        Some(flat)
    });
    let spread = c.gather(dy, spread, index)?;
    // [M, C/g, k..] → [C, M/g, k.. mirrored]
    let (maps, per_group) = (sw[0] / groups, sw[1]);
    let mut mirrored = vec![per_group * groups, maps];
    mirrored.extend(kernel);
    let own = strides(sw);
    let index = from_fn(&mirrored, |at| {
        let (g, ch) = (at[0] / per_group, at[0] % per_group);
        let place: usize = (0..n).map(|k| (kernel[k] - 1 - at[k + 2]) * own[k + 2]).sum();
        Some((g * maps + at[1]) * own[0] + ch * own[1] + place)
    });
    let mirrored = c.gather(w, mirrored, index)?;
    let dilations = window.dilations.clone();
    c.emit(ops::Conv { strides: vec![1; n], pads: vec![0; 2 * n], dilations, groups }, &[spread, mirrored])
}

/// dW as a convolution of X with dY as its weights: samples are summed over like channels, and stride
/// and dilation change places.
fn weight_gradient(
    c: &mut Call,
    dy: ValueId,
    x: ValueId,
    sx: &[usize],
    sw: &[usize],
    groups: usize,
    window: &Window,
) -> Result<ValueId, Problem> {
    let n = window.out.len();
    let (samples, per_group, maps) = (sx[0], sw[1], sw[0]);
    // X as [C/g, g·N, in..], dY as [M, N, out..]
    let mut data = vec![per_group, groups * samples];
    data.extend(&sx[2..]);
    let own = strides(sx);
    let index = from_fn(&data, |at| {
        let (g, sample) = (at[1] / samples, at[1] % samples);
        let place: usize = (0..n).map(|k| at[k + 2] * own[k + 2]).sum();
        Some(sample * own[0] + (g * per_group + at[0]) * own[1] + place)
    });
    let data = c.gather(x, data, index)?;
    let perm: Vec<usize> = [1, 0].into_iter().chain(2..n + 2).collect();
    let weights = c.transpose(dy, &perm)?;
    let op = ops::Conv {
        strides: window.dilations.clone(),
        pads: window.pads.clone(),
        dilations: window.strides.clone(),
        groups,
    };
    let all = c.emit(op, &[data, weights])?;
    // [C/g, M, k.. or a little more] → [M, C/g, k..]
    let own = strides(&c.sizes(all));
    let index = from_fn(sw, |at| {
        let place: usize = (0..n).map(|k| at[k + 2] * own[k + 2]).sum();
        Some(at[1] * own[0] + at[0] * own[1] + place)
    });
    debug_assert_eq!(c.sizes(all)[..2], [per_group, maps]);
    c.gather(all, sw.to_vec(), index)
}

/// MaxPoolGrad(dY, indices): dY goes to the first maximum of every window. The indices are those of a
/// MaxPool node of the graph, whose windows are looked at again.
pub(super) fn max_pool(c: &mut Call) -> Done {
    let indices = c.operand(1)?;
    let find = |n: &&crate::import::model::Node| n.op == "MaxPool" && n.outputs.get(1) == Some(&indices);
    let Some(forward) = c.low.model.graph.nodes.iter().find(find) else {
        return Err(unsupported(format!("indices \"{indices}\" that aren't those of a MaxPool node")));
    };
    let forward = Rc::new(forward.clone());
    let dy = c.graph(0)?;
    let (node, opset) = (c.node.clone(), c.opset);
    let version = forward.opset;
    (c.node, c.opset) = (forward, version);
    let read = pooled(c);
    (c.node, c.opset) = (node, opset);
    let (x, shape, window) = read?;
    let (planes, plane): (usize, usize) = (shape[0] * shape[1], shape[2..].iter().product());
    let cells = cells(&window, &shape[2..])?;
    let positions = cells.windows.len();
    if c.sizes(dy).iter().product::<usize>() != planes * positions {
        return Err(format!("a cotangent of shape {:?} for {positions} windows of {shape:?}", c.sizes(dy)).into());
    }
    let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (o, cells) in cells.windows.iter().enumerate().filter(|(_, w)| !w.is_empty()) {
        groups.entry(cells.len()).or_default().push(o);
    }
    built(&[planes, cells.windows.iter().map(Vec::len).sum()])?;
    let mut places: Vec<Vec<u32>> = vec![Vec::new(); planes * plane];
    let (mut parts, mut next) = (Vec::new(), 0u32);
    for (length, members) in groups {
        let (mut from, mut seeds) = (Vec::new(), Vec::new());
        for p in 0..planes {
            for &o in &members {
                seeds.push((p * positions + o) as u32);
                for &cell in &cells.windows[o] {
                    let at = p * plane + cell as usize;
                    from.push(at as u32);
                    places[at].push(next);
                    next += 1;
                }
            }
        }
        let rows = planes * members.len();
        let windows = c.gather(x, vec![rows, length], Index::Table(from.into()))?;
        let seeds = c.gather(dy, vec![rows], Index::Table(seeds.into()))?;
        parts.push(c.emit(ops::Route, &[windows, seeds])?);
    }
    let joined = c.join(&parts)?;
    let dx = collect(c, joined, &places, shape)?;
    c.set(0, dx);
    Ok(())
}

/// Data, its shape and the windows of the pool that `c` is at.
fn pooled(c: &mut Call) -> Result<(ValueId, Vec<usize>, Window), Problem> {
    if c.flag("storage_order", false)? {
        return Err(unsupported("storage_order 1 (column-major)"));
    }
    let x = c.graph(0)?;
    let shape = c.sizes(x);
    let (_, _, input) = spatial(&shape)?;
    let window = Window::read(c, input, None)?;
    Ok((x, shape, window))
}

/// AveragePoolGrad(shape of X, dY): every entry collects dY/count of the windows it is in.
pub(super) fn average_pool(c: &mut Call) -> Done {
    let shape: Option<Vec<usize>> = c.known_ints(0)?.iter().map(|&d| usize::try_from(d).ok()).collect();
    let shape = shape.ok_or_else(|| invalid("a negative size"))?;
    let (_, _, input) = spatial(&shape)?;
    built(&shape)?;
    let include = c.flag("count_include_pad", false)?;
    let window = Window::read(c, input, None)?;
    let cells = cells(&window, input)?;
    let dy = c.graph(1)?;
    let (planes, plane): (usize, usize) = (shape[0] * shape[1], shape[2..].iter().product());
    let positions = cells.windows.len();
    let mut expected = shape[..2].to_vec();
    expected.extend(&window.out);
    if c.sizes(dy) != expected {
        return Err(format!("a cotangent of shape {:?} where {expected:?} is needed", c.sizes(dy)).into());
    }
    let counts = (0..positions).map(|o| if include { cells.padded[o] } else { cells.windows[o].len() });
    let counts: Vec<f32> = counts.map(|n| n.max(1) as f32).collect();
    let divisors = c.tensor("counts", window.out.clone(), counts);
    let each = c.binary(ops::Div, dy, divisors)?;
    let mut places: Vec<Vec<u32>> = vec![Vec::new(); planes * plane];
    for p in 0..planes {
        for (o, list) in cells.windows.iter().enumerate() {
            list.iter().for_each(|&cell| places[p * plane + cell as usize].push((p * positions + o) as u32));
        }
    }
    let dx = collect(c, each, &places, shape)?;
    c.set(0, dx);
    Ok(())
}

/// GlobalAveragePoolGrad(X, dY): dY/size everywhere.
pub(super) fn global_average_pool(c: &mut Call) -> Done {
    let shape = c.shape(0)?;
    let (_, _, input) = spatial(&shape)?;
    let size: usize = input.iter().product();
    if size > 1 << 24 {
        return Err(unsupported(format!("a mean of {size} entries")));
    }
    let dy = c.graph(1)?;
    let size = c.scalar("size", size as f32);
    let each = c.binary(ops::Div, dy, size)?;
    let dx = c.expand(each, &shape)?;
    c.set(0, dx);
    Ok(())
}
