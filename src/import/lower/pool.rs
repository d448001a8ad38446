//! Pools: the windows are gathered as rows, then one primitive works along them.

use std::collections::BTreeMap;

use super::call::{Call, Done, Problem, invalid, unsupported};
use super::conv::{Window, spatial};
use crate::data::HostTensor;
use crate::error::Code;
use crate::import::index::{built, strides};
use crate::ir::{Index, ValueId};
use crate::limits;
use crate::num::{Elementary, Ties};
use crate::ops::{self, Piecewise};

/// For every window of one channel plane: the flat positions inside the plane, in row-major order of
/// the kernel (positions in the padding left out), and how many of its cells lie inside the padded
/// plane.
pub(super) struct Cells {
    pub windows: Vec<Vec<u32>>,
    pub padded: Vec<usize>,
}

pub(super) fn cells(w: &Window, input: &[usize]) -> Result<Cells, Problem> {
    let n = input.len();
    let own = strides(input);
    built(&[&w.out[..], &w.kernel[..]].concat())?;
    let (positions, size) = (w.out.iter().product::<usize>(), w.kernel.iter().product::<usize>());
    // a list for every position, and a cell of it for every entry of the window
    limits::afford("the windows of a pool", (64 * positions + 4 * positions * size) as u64)
        .map_err(|d| Problem::Found(Box::new(d)))?;
    let mut out = Cells { windows: Vec::with_capacity(positions), padded: Vec::with_capacity(positions) };
    let unflatten = |mut i: usize, shape: &[usize]| {
        let mut at = vec![0; shape.len()];
        for k in (0..shape.len()).rev() {
            at[k] = i % shape[k];
            i /= shape[k];
        }
        at
    };
    for o in 0..positions {
        let at = unflatten(o, &w.out);
        let (mut list, mut padded) = (Vec::with_capacity(size), 0);
        for k in 0..size {
            let cell = unflatten(k, &w.kernel);
            // position in the padded plane; it may lie beyond its end when ceil_mode adds a window
            let p: Vec<usize> = (0..n).map(|d| at[d] * w.strides[d] + cell[d] * w.dilations[d]).collect();
            if (0..n).all(|d| p[d] < input[d] + w.pads[d] + w.pads[n + d]) {
                padded += 1;
            }
            if (0..n).all(|d| p[d] >= w.pads[d] && p[d] - w.pads[d] < input[d]) {
                list.push((0..n).map(|d| (p[d] - w.pads[d]) * own[d]).sum::<usize>() as u32);
            }
        }
        out.windows.push(list);
        out.padded.push(padded);
    }
    Ok(out)
}

/// Gathers windows of all planes, grouped by how many entries they have (windows at the border have
/// fewer), reduces each group along its rows, and puts the results in their places.
fn grouped(
    c: &mut Call,
    x: ValueId,
    shape: &[usize],
    key: &[usize],
    cells: &Cells,
    out: Vec<usize>,
    reduce: &mut dyn FnMut(&mut Call, ValueId, usize) -> Result<ValueId, Problem>,
) -> Result<ValueId, Problem> {
    let planes = shape[0] * shape[1];
    let plane: usize = shape[2..].iter().product();
    let positions = cells.windows.len();
    let mut groups: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
    for (o, window) in cells.windows.iter().enumerate() {
        if window.is_empty() {
            return Err(Problem::found(Code::Shape, "a window lies entirely in the padding"));
        }
        groups.entry((window.len(), key[o])).or_default().push(o);
    }
    built(&[planes, cells.windows.iter().map(Vec::len).sum()])?;
    let mut place = vec![0u32; planes * positions];
    let (mut parts, mut next) = (Vec::new(), 0u32);
    for ((length, key), members) in groups {
        let mut table = Vec::with_capacity(planes * members.len() * length);
        for p in 0..planes {
            for &o in &members {
                table.extend(cells.windows[o].iter().map(|&i| (p * plane) as u32 + i));
                place[p * positions + o] = next;
                next += 1;
            }
        }
        let rows = c.gather(x, vec![planes * members.len(), length], Index::Table(table.into()))?;
        parts.push(reduce(c, rows, key)?);
    }
    if parts.len() == 1 {
        return c.reshape(parts[0], out);
    }
    let joined = c.join(&parts)?;
    c.gather(joined, out, Index::Table(place.into()))
}

pub(super) fn max_pool(c: &mut Call) -> Done {
    if c.wanted(1) && !c.has_host(0)? {
        return Err(unsupported("the places of maxima depend on floating-point data"));
    }
    let x = c.graph(0)?;
    let shape = c.sizes(x);
    let (n, ch, input) = spatial(&shape)?;
    let w = Window::read(c, input, None)?;
    let cells = cells(&w, input)?;
    let out: Vec<usize> = [n, ch].into_iter().chain(w.out.iter().copied()).collect();
    if c.wanted(1) {
        let at = places(c, &cells, input)?;
        c.set_known(1, HostTensor::i64(out.clone(), at));
    }
    let key = vec![0; cells.windows.len()];
    let y = grouped(c, x, &shape, &key, &cells, out, &mut |c, rows, _| c.max(rows, Ties::First))?;
    c.set(0, y);
    Ok(())
}

/// The first largest entry of every window of operand 0, as a flat position in the whole tensor; with
/// storage_order 1 as a position in planes that are stored by columns.
fn places(c: &Call, cells: &Cells, input: &[usize]) -> Result<Vec<i64>, Problem> {
    let host = c.known(0)?;
    let v = host.as_f32().ok_or_else(|| unsupported(format!("places of maxima of {}", host.dtype)))?;
    let plane: usize = input.iter().product();
    let own = strides(input);
    let columns = c.flag("storage_order", false)?;
    let stored = |i: usize| match columns {
        // the first axis runs fastest
        true => (0..input.len()).rev().fold(0, |flat, k| flat * input[k] + i / own[k] % input[k]),
        false => i,
    };
    let planes = v.len().checked_div(plane).unwrap_or(0);
    let mut at = Vec::with_capacity(planes * cells.windows.len());
    for p in 0..planes {
        for window in &cells.windows {
            let larger = |best: usize, i: usize| if v[p * plane + i] > v[p * plane + best] { i } else { best };
            let best = window.iter().map(|&i| i as usize).reduce(larger).unwrap_or(0);
            at.push((p * plane + stored(best)) as i64);
        }
    }
    Ok(at)
}

pub(super) fn average_pool(c: &mut Call) -> Done {
    let x = c.graph(0)?;
    let shape = c.sizes(x);
    let (n, ch, input) = spatial(&shape)?;
    let include = c.flag("count_include_pad", false)?;
    let w = Window::read(c, input, None)?;
    let cells = cells(&w, input)?;
    // the divisor counts the cells inside the plane, or inside the padded plane
    let key: Vec<usize> = if include { cells.padded.clone() } else { cells.windows.iter().map(Vec::len).collect() };
    let out: Vec<usize> = [n, ch].into_iter().chain(w.out.iter().copied()).collect();
    let y = grouped(c, x, &shape, &key, &cells, out, &mut |c, rows, count| c.mean(rows, count))?;
    c.set(0, y);
    Ok(())
}

/// (Σ |x|^p)^(1/p) over every window.
pub(super) fn lp_pool(c: &mut Call) -> Done {
    let p = c.int("p", 2)?;
    let x = c.graph(0)?;
    let shape = c.sizes(x);
    let (n, ch, input) = spatial(&shape)?;
    let w = Window::read(c, input, None)?;
    let cells = cells(&w, input)?;
    let raised = power_of_magnitude(c, x, p)?;
    let out: Vec<usize> = [n, ch].into_iter().chain(w.out.iter().copied()).collect();
    let key = vec![0; cells.windows.len()];
    let sum = grouped(c, raised, &shape, &key, &cells, out, &mut |c, rows, _| c.sum(rows))?;
    let y = root(c, sum, p)?;
    c.set(0, y);
    Ok(())
}

/// |x|^p.
fn power_of_magnitude(c: &mut Call, x: ValueId, p: i64) -> Result<ValueId, Problem> {
    match p {
        1 => c.emit(Piecewise::abs(), &[x]),
        2 => c.emit(ops::Mul, &[x, x]),
        3..=64 => {
            let size = c.emit(Piecewise::abs(), &[x])?;
            c.smooth(Elementary::Pow(p as f32), size)
        }
        _ => Err(invalid(format!("p = {p}"))),
    }
}

/// y^(1/p).
fn root(c: &mut Call, y: ValueId, p: i64) -> Result<ValueId, Problem> {
    match p {
        1 => Ok(y),
        2 => c.smooth(Elementary::Sqrt, y),
        _ => c.smooth(Elementary::Pow(1.0 / p as f32), y),
    }
}

/// GlobalAveragePool, GlobalMaxPool, GlobalLpPool: one window that is the whole plane.
pub(super) fn global(c: &mut Call) -> Done {
    let x = c.graph(0)?;
    let shape = c.sizes(x);
    let (n, ch, input) = spatial(&shape)?;
    let size: usize = input.iter().product();
    let out: Vec<usize> = [n, ch].into_iter().chain(input.iter().map(|_| 1)).collect();
    let rows = |c: &mut Call, x| c.reshape(x, vec![n, ch, size]);
    let y = match c.node.op.as_str() {
        "GlobalAveragePool" => {
            let rows = rows(c, x)?;
            c.mean(rows, size)?
        }
        "GlobalMaxPool" => {
            let rows = rows(c, x)?;
            c.max(rows, Ties::First)?
        }
        _ => {
            let p = c.int("p", 2)?;
            let raised = power_of_magnitude(c, x, p)?;
            let rows = rows(c, raised)?;
            let sum = c.sum(rows)?;
            root(c, sum, p)?
        }
    };
    let y = c.reshape(y, out)?;
    c.set(0, y);
    Ok(())
}
