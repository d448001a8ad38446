//! Operators that only move entries: one index table each.

use std::sync::Arc;

use super::call::{Call, Done, Problem, invalid, unsupported};
use super::fold;
use crate::data::{Data, HostTensor};
use crate::error::Code;
use crate::import::index::{self, axes, axis, broadcast_shape, built, expand, from_fn, strided, strides, transpose};
use crate::import::value::Value;
use crate::ir::Index;
use crate::ops;

pub(super) fn identity(c: &mut Call) -> Done {
    c.alias(0, 0)
}

/// [d_0·…·d_(axis−1), d_axis·…].
pub(super) fn flatten(c: &mut Call) -> Done {
    let shape = c.shape(0)?;
    let a = c.int("axis", 1)?;
    let r = shape.len() as i64;
    let wrapped = if a < 0 { a + r } else { a };
    let at = usize::try_from(wrapped).ok().filter(|&k| k <= shape.len());
    let at = at.ok_or_else(|| invalid(format!("axis {a} of a tensor with {r} dimensions")))?;
    let out = vec![shape[..at].iter().product(), shape[at..].iter().product()];
    c.moved(out, Index::Identity)
}

/// 0 keeps a size (unless `allowzero`), −1 takes what is left.
pub(super) fn reshape(c: &mut Call) -> Done {
    let shape = c.shape(0)?;
    let wanted = c.known_ints(1)?;
    let zero = c.flag("allowzero", false)?;
    let count: usize = shape.iter().product();
    let mut out = Vec::with_capacity(wanted.len());
    let mut open = None;
    for (k, &d) in wanted.iter().enumerate() {
        out.push(match d {
            -1 if open.is_none() => {
                open = Some(k);
                1
            }
            0 if !zero => {
                *shape.get(k).ok_or_else(|| format!("size 0 at {k} keeps a size that shape {shape:?} doesn't have"))?
            }
            d => usize::try_from(d).map_err(|_| format!("size {d} in the new shape {wanted:?}"))?,
        });
    }
    if let Some(k) = open {
        let rest = crate::data::elements(&out).unwrap_or(0);
        if !count.is_multiple_of(rest) || rest == 0 {
            return Err(format!("{count} entries don't fill the shape {wanted:?}").into());
        }
        out[k] = count / rest;
    }
    if crate::data::elements(&out).ok_or_else(|| crate::data::too_large(&out))? != count {
        return Err(format!("shape {shape:?} has {count} entries, the new shape {out:?} another number").into());
    }
    c.moved(out, Index::Identity)
}

pub(super) fn squeeze(c: &mut Call) -> Done {
    let shape = c.shape(0)?;
    let out: Vec<usize> = match c.axes(1, 13)? {
        None => shape.iter().copied().filter(|&d| d != 1).collect(),
        Some(list) => {
            let list = axes(&list, shape.len()).map_err(invalid)?;
            if let Some(&k) = list.iter().find(|&&k| shape[k] != 1) {
                return Err(format!("axis {k} of shape {shape:?} has size {}, not 1", shape[k]).into());
            }
            (0..shape.len()).filter(|k| !list.contains(k)).map(|k| shape[k]).collect()
        }
    };
    c.moved(out, Index::Identity)
}

pub(super) fn unsqueeze(c: &mut Call) -> Done {
    let shape = c.shape(0)?;
    let list = c.axes(1, 13)?.ok_or_else(|| invalid("no axes given"))?;
    let rank = shape.len() + list.len();
    let list = axes(&list, rank).map_err(invalid)?;
    let mut rest = shape.iter().copied();
    let out = (0..rank).map(|k| if list.contains(&k) { 1 } else { rest.next().unwrap_or(1) }).collect();
    c.moved(out, Index::Identity)
}

pub(super) fn transposed(c: &mut Call) -> Done {
    let shape = c.shape(0)?;
    let perm: Vec<usize> = match c.ints("perm")? {
        None => (0..shape.len()).rev().collect(),
        Some(p) => p.iter().map(|&k| axis(k, shape.len())).collect::<Result<_, _>>().map_err(invalid)?,
    };
    let mut sorted = perm.clone();
    sorted.sort_unstable();
    if sorted != (0..shape.len()).collect::<Vec<_>>() {
        return Err(invalid(format!("perm {perm:?} isn't a permutation of {} axes", shape.len())));
    }
    let (out, index) = transpose(&shape, &perm);
    c.moved(out, index)
}

pub(super) fn expanded(c: &mut Call) -> Done {
    let shape = c.shape(0)?;
    let to: Vec<usize> = c
        .known_ints(1)?
        .iter()
        .map(|&d| usize::try_from(d).map_err(|_| format!("size {d}")))
        .collect::<Result<_, _>>()?;
    let out = broadcast_shape(&shape, &to)?;
    built(&out)?;
    if out == shape {
        return c.alias(0, 0);
    }
    c.moved(out.clone(), expand(&shape, &out))
}

pub(super) fn tile(c: &mut Call) -> Done {
    let shape = c.shape(0)?;
    let repeats = c.known_ints(1)?;
    if repeats.len() != shape.len() {
        return Err(format!("{} repeats for {} dimensions", repeats.len(), shape.len()).into());
    }
    let times = |(&d, &r): (&usize, &i64)| usize::try_from(r).ok().and_then(|r| d.checked_mul(r));
    let out: Vec<usize> =
        shape.iter().zip(&repeats).map(times).collect::<Option<_>>().ok_or_else(|| format!("repeats {repeats:?}"))?;
    built(&out)?;
    let own = strides(&shape);
    let index = from_fn(&out, |at| Some(at.iter().zip(&shape).zip(&own).map(|((i, d), s)| (i % d) * s).sum()));
    c.moved(out, index)
}

/// Slice, with attributes before opset 10 and operands from then on.
pub(super) fn slice(c: &mut Call) -> Done {
    let shape = c.shape(0)?;
    let (starts, ends, list, steps);
    if c.opset < 10 {
        starts = c.ints("starts")?.ok_or_else(|| invalid("attribute \"starts\" is missing"))?;
        ends = c.ints("ends")?.ok_or_else(|| invalid("attribute \"ends\" is missing"))?;
        list = c.ints("axes")?;
        steps = None;
    } else {
        starts = c.known_ints(1)?;
        ends = c.known_ints(2)?;
        list = if c.has(3) { Some(c.known_ints(3)?) } else { None };
        steps = if c.has(4) { Some(c.known_ints(4)?) } else { None };
    }
    let list = list.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = steps.unwrap_or_else(|| vec![1; starts.len()]);
    if ends.len() != starts.len() || list.len() != starts.len() || steps.len() != starts.len() {
        return Err(invalid("starts, ends, axes and steps have different lengths"));
    }
    let own = strides(&shape);
    let mut out = shape.clone();
    let mut stride: Vec<isize> = own.iter().map(|&s| s as isize).collect();
    let mut offset = 0usize;
    let mut seen = vec![false; shape.len()];
    for (((&start, &end), &a), &step) in starts.iter().zip(&ends).zip(&list).zip(&steps) {
        let k = axis(a, shape.len()).map_err(invalid)?;
        if std::mem::replace(&mut seen[k], true) {
            return Err(invalid(format!("axis {k} is sliced twice")));
        }
        let (first, count) = range(start, end, step, shape[k]).ok_or_else(|| invalid("a step of 0"))?;
        offset += first * own[k];
        out[k] = count;
        // a step longer than the axis leaves one entry: the stride is then never used
        stride[k] =
            own[k] as isize * isize::try_from(step).unwrap_or(1).clamp(-(shape[k] as isize) - 1, shape[k] as isize + 1);
    }
    if out.contains(&0) {
        offset = 0;
    }
    if out == shape && steps.iter().all(|&s| s == 1) {
        return c.moved(out, Index::Identity);
    }
    let index = strided(&out, offset, &stride);
    c.moved(out, index)
}

/// Python's slice start:end:step of `n` entries: first entry and number of entries.
fn range(start: i64, end: i64, step: i64, n: usize) -> Option<(usize, usize)> {
    if step == 0 {
        return None;
    }
    let n = n as i128;
    let (start, end, step) = (i128::from(start), i128::from(end), i128::from(step));
    let wrap = |x: i128| if x < 0 { x + n } else { x };
    let (lo, hi) = if step > 0 { (0, n) } else { (-1, n - 1) };
    let (start, end) = (wrap(start).clamp(lo, hi), wrap(end).clamp(lo, hi));
    let count = if step > 0 { (end - start + step - 1) / step } else { (start - end - step - 1) / -step };
    Some((usize::try_from(start).unwrap_or(0), usize::try_from(count).unwrap_or(0)))
}

/// Indices known before the run, wrapped into 0..size.
pub(super) fn wrapped(c: &Call, k: usize, size: usize) -> Result<Vec<usize>, Problem> {
    let one = |&i: &i64| {
        let w = if i < 0 { i128::from(i) + size as i128 } else { i128::from(i) };
        usize::try_from(w).ok().filter(|&w| w < size)
    };
    let list = c.known_ints(k)?;
    match list.iter().find(|i| one(i).is_none()) {
        Some(bad) => Err(Problem::found(Code::Input, format!("index {bad} lies outside an axis of size {size}"))),
        None => Ok(list.iter().filter_map(one).collect()),
    }
}

/// Gather: the entries along one axis that an index tensor names.
pub(super) fn gather(c: &mut Call) -> Done {
    let shape = c.shape(0)?;
    let k = c.axis(0, shape.len())?;
    let at = wrapped(c, 1, shape[k])?;
    let mut out = shape[..k].to_vec();
    out.extend(c.shape(1)?);
    out.extend(&shape[k + 1..]);
    built(&out)?;
    let inner: usize = shape[k + 1..].iter().product();
    let outer: usize = shape[..k].iter().product();
    let index = from_fn(&[outer, at.len(), inner], |i| Some((i[0] * shape[k] + at[i[1]]) * inner + i[2]));
    c.moved(out, index)
}

/// GatherElements: entry i of the result is data[.., index(i), ..] along one axis.
pub(super) fn gather_elements(c: &mut Call) -> Done {
    let shape = c.shape(0)?;
    let k = c.axis(0, shape.len())?;
    let out = c.shape(1)?;
    if out.len() != shape.len() || (0..out.len()).any(|j| j != k && out[j] > shape[j]) {
        return Err(format!("indices of shape {out:?} for data of shape {shape:?}").into());
    }
    let at = wrapped(c, 1, shape[k])?;
    let own = strides(&shape);
    let mut flat = 0;
    let index = from_fn(&out, |i| {
        let place = i.iter().zip(&own).enumerate().map(|(j, (&i, s))| if j == k { at[flat] * s } else { i * s }).sum();
        flat += 1;
        Some(place)
    });
    c.moved(out, index)
}

/// GatherND: index tuples along the last axis of the index tensor.
pub(super) fn gather_nd(c: &mut Call) -> Done {
    let (shape, ind) = (c.shape(0)?, c.shape(1)?);
    let batch = usize::try_from(c.int("batch_dims", 0)?).unwrap_or(usize::MAX);
    let depth = ind.last().copied().ok_or_else(|| "the index tensor is a scalar".to_string())?;
    if batch >= ind.len() || batch + depth > shape.len() || shape[..batch] != ind[..batch] {
        return Err(format!("index tuples of shape {ind:?} with batch_dims {batch} into shape {shape:?}").into());
    }
    let list = c.known_ints(1)?;
    let own = strides(&shape);
    let inner: usize = shape[batch + depth..].iter().product();
    let tuples: usize = ind[..ind.len() - 1].iter().product();
    let per_batch = tuples / ind[..batch].iter().product::<usize>().max(1);
    let step = if batch == 0 { 0 } else { own[batch - 1] };
    let mut start = Vec::with_capacity(tuples);
    for t in 0..tuples {
        let mut place = (t / per_batch.max(1)) * step;
        for j in 0..depth {
            let (i, size) = (list[t * depth + j], shape[batch + j]);
            let k = if i < 0 { i128::from(i) + size as i128 } else { i128::from(i) };
            let k = usize::try_from(k).ok().filter(|&k| k < size);
            let k =
                k.ok_or_else(|| Problem::found(Code::Input, format!("index {i} lies outside an axis of size {size}")))?;
            place += k * own[batch + j];
        }
        start.push(place);
    }
    let mut out = ind[..ind.len() - 1].to_vec();
    out.extend(&shape[batch + depth..]);
    built(&out)?;
    c.moved(out, from_fn(&[tuples, inner], |i| Some(start[i[0]] + i[1])))
}

/// Concat along one axis: the operands joined, then rearranged.
pub(super) fn concat(c: &mut Call) -> Done {
    let n = c.operands();
    let shapes = (0..n).map(|k| c.shape(k)).collect::<Result<Vec<_>, _>>()?;
    let first = shapes.first().ok_or_else(|| invalid("no operands"))?.clone();
    let k = c.axis(1, first.len())?;
    for s in &shapes {
        if s.len() != first.len() || (0..s.len()).any(|j| j != k && s[j] != first[j]) {
            return Err(format!("shapes {first:?} and {s:?} can't be joined along axis {k}").into());
        }
    }
    let mut out = first.clone();
    out[k] = shapes.iter().map(|s| s[k]).sum();
    built(&out)?;
    let outer: usize = out[..k].iter().product();
    // part p begins at base[p] of the joined vector; along the axis it covers start[p]..
    let block: Vec<usize> = shapes.iter().map(|s| s[k..].iter().product()).collect();
    let base: Vec<usize> = block.iter().scan(0, |sum, b| Some(std::mem::replace(sum, *sum + b * outer))).collect();
    let width: usize = block.iter().sum();
    let index = if outer == 1 {
        Index::Identity
    } else {
        let start: Vec<usize> = block.iter().scan(0, |sum, b| Some(std::mem::replace(sum, *sum + b))).collect();
        from_fn(&[outer, width], |i| {
            let p = start.partition_point(|&s| s <= i[1]) - 1;
            // empty parts share their start with the next one, which partition_point prefers
            Some(base[p] + i[0] * block[p] + i[1] - start[p])
        })
    };
    if c.foldable()? || !c.is_float(0)? {
        let parts = (0..n).map(|k| c.known(k)).collect::<Result<Vec<_>, _>>()?;
        let joined = joined(&parts)?;
        let y = index::apply(&joined, out, &index);
        c.set_known(0, y);
        return Ok(());
    }
    let parts = (0..n).map(|k| c.graph(k)).collect::<Result<Vec<_>, _>>()?;
    let flat = c.join(&parts)?;
    let y = c.gather(flat, out, index)?;
    c.set(0, y);
    Ok(())
}

/// Import-time data of one type, one after the other.
pub(super) fn joined(parts: &[Arc<HostTensor>]) -> Result<HostTensor, Problem> {
    let dtype = parts[0].dtype;
    if let Some(other) = parts.iter().find(|p| p.dtype != dtype) {
        return Err(Problem::found(Code::Type, format!("operands are {dtype} and {}", other.dtype)));
    }
    let mut all = match &parts[0].data {
        Data::F32(_) => Data::F32(Vec::new()),
        Data::F64(_) => Data::F64(Vec::new()),
        Data::Int(_) => Data::Int(Vec::new()),
        Data::Bool(_) => Data::Bool(Vec::new()),
        Data::Opaque => return Err(Problem::found(Code::Type, format!("tensors of {dtype} aren't supported"))),
    };
    for p in parts {
        match (&mut all, &p.data) {
            (Data::F32(a), Data::F32(b)) => a.extend(b),
            (Data::F64(a), Data::F64(b)) => a.extend(b),
            (Data::Int(a), Data::Int(b)) => a.extend(b),
            (Data::Bool(a), Data::Bool(b)) => a.extend(b),
            _ => {}
        }
    }
    let n = parts.iter().map(|p| p.len()).sum();
    Ok(HostTensor { dtype, shape: vec![n], data: all })
}

/// Split along one axis: sizes as an attribute before opset 13, an operand from then on, or equal.
pub(super) fn split(c: &mut Call) -> Done {
    let shape = c.shape(0)?;
    let k = c.axis(0, shape.len())?;
    let n = c.node.outputs.len();
    let given = match (c.opset < 13, c.has(1)) {
        (true, _) => c.ints("split")?,
        (false, true) => Some(c.known_ints(1)?),
        (false, false) => None,
    };
    let sizes: Vec<usize> = match given {
        Some(list) => {
            list.iter().map(|&d| usize::try_from(d).map_err(|_| format!("size {d}"))).collect::<Result<_, _>>()?
        }
        None => {
            let parts = usize::try_from(c.int("num_outputs", n as i64)?).unwrap_or(0);
            if parts == 0 || (c.opset < 18 && shape[k] % parts != 0) {
                return Err(format!("axis {k} of size {} can't be split into {parts} equal parts", shape[k]).into());
            }
            if parts != n {
                return Err(format!("{parts} parts for {n} results").into());
            }
            // all parts have the same size but the last, which may be smaller
            let size = shape[k].div_ceil(parts);
            (0..parts).map(|p| size.min(shape[k].saturating_sub(p * size))).collect()
        }
    };
    if sizes.len() != n || sizes.iter().sum::<usize>() != shape[k] {
        return Err(format!("parts {sizes:?} of an axis of size {} for {n} results", shape[k]).into());
    }
    let own = strides(&shape);
    let stride: Vec<isize> = own.iter().map(|&s| s as isize).collect();
    let mut start = 0;
    for (p, &size) in sizes.iter().enumerate() {
        let mut out = shape.clone();
        out[k] = size;
        if c.wanted(p) {
            let offset = if size == 0 { 0 } else { start * own[k] };
            let index = strided(&out, offset, &stride);
            c.moved_to(p, 0, out, index)?;
        }
        start += size;
    }
    Ok(())
}

/// Where: with a condition known before the run, every entry comes from one of two places; else the
/// condition is a gate.
pub(super) fn choose(c: &mut Call) -> Done {
    if c.undecided(0)? {
        return blend(c);
    }
    let condition = c.known(0)?;
    let Some(cond) = condition.as_bool() else {
        return Err(Problem::found(Code::Type, format!("the condition is {}, not BOOL", condition.dtype)));
    };
    let (sa, sb) = (c.shape(1)?, c.shape(2)?);
    let shape = broadcast_shape(&broadcast_shape(&condition.shape, &sa)?, &sb)?;
    let n = built(&shape)?;
    let (ic, ia, ib) = (expand(&condition.shape, &shape), expand(&sa, &shape), expand(&sb, &shape));
    let left: usize = sa.iter().product();
    let at = |index: &Index, i: usize| index.source(i).unwrap_or(0);
    let taken: Vec<bool> = (0..n).map(|i| cond[at(&ic, i)]).collect();
    let table: Vec<u32> =
        (0..n).map(|i| if taken[i] { at(&ia, i) as u32 } else { (left + at(&ib, i)) as u32 }).collect();
    if c.dtype(1)? != c.dtype(2)? {
        return Err(Problem::found(Code::Type, format!("operands are {} and {}", c.dtype(1)?, c.dtype(2)?)));
    }
    if !c.is_float(1)? || c.foldable()? {
        let y = index::apply(&joined(&[c.known(1)?, c.known(2)?])?, shape, &Index::Table(table.into()));
        c.set_known(0, y);
        return Ok(());
    }
    // a side that is −∞ marks entries that a later softmax leaves out; they hold 0 until then
    for (side, other, from) in [(1, 2, &ib), (2, 1, &ia)] {
        if minus_infinity(c, side)? {
            let (x, mask) = c.masked(other)?;
            let hidden = |i: usize| taken[i] == (side == 1);
            let old = |i: usize| mask.as_ref().is_some_and(|m| m[at(from, i)]);
            let table: Vec<u32> = (0..n).map(|i| if hidden(i) { Index::NOTHING } else { at(from, i) as u32 }).collect();
            let y = c.gather(x, shape, Index::Table(table.into()))?;
            c.low.masks.insert(y, std::rc::Rc::new((0..n).map(|i| hidden(i) || old(i)).collect()));
            c.set(0, y);
            return Ok(());
        }
    }
    // a side that no entry comes from needn't exist in the graph
    let y = if taken.iter().all(|&b| b) && !taken.is_empty() {
        let a = c.graph(1)?;
        c.expand(a, &shape)?
    } else if taken.iter().all(|&b| !b) && !taken.is_empty() {
        let b = c.graph(2)?;
        c.expand(b, &shape)?
    } else {
        let (a, b) = (c.graph(1)?, c.graph(2)?);
        let both = c.join(&[a, b])?;
        c.gather(both, shape, Index::Table(table.into()))?
    };
    c.set(0, y);
    Ok(())
}

/// Is operand k a constant with −∞ everywhere?
fn minus_infinity(c: &Call, k: usize) -> Result<bool, Problem> {
    if !c.has_host(k)? {
        return Ok(false);
    }
    let host = c.known(k)?;
    Ok(host.as_f32().is_some_and(|v| !v.is_empty() && v.iter().all(|&x| x == f32::NEG_INFINITY)))
}

/// s·a + (1 − s)·b for a gate s of 0 or 1: one product is exactly 0, the other exact, and so the sum.
fn blend(c: &mut Call) -> Done {
    let gate = c.truth(0)?;
    let zero = |c: &Call, k: usize| -> Result<bool, Problem> {
        Ok(c.is_constant(k)? && c.known(k)?.as_f32().is_some_and(|v| v.iter().all(|&x| x == 0.0)))
    };
    let dtype = c.dtype(1)?;
    let whole = !dtype.is_float();
    let (sa, sb) = (c.shape(1)?, c.shape(2)?);
    let shape = broadcast_shape(&broadcast_shape(&c.sizes(gate), &sa)?, &sb)?;
    let gate = c.expand(gate, &shape)?;
    let side = |c: &mut Call, k: usize| if whole { c.whole(k) } else { c.graph(k) };
    let first = if zero(c, 1)? {
        None
    } else {
        let a = side(c, 1)?;
        Some(c.binary(ops::Mul, gate, a)?)
    };
    let second = if zero(c, 2)? {
        None
    } else {
        let b = side(c, 2)?;
        let one = c.scalar("one", 1.0);
        let rest = c.binary(ops::Sub, one, gate)?;
        Some(c.binary(ops::Mul, rest, b)?)
    };
    let y = match (first, second) {
        (Some(a), Some(b)) => c.binary(ops::Add, a, b)?,
        (Some(y), None) | (None, Some(y)) => y,
        (None, None) => {
            let n = shape.iter().product();
            c.tensor("zero", shape, vec![0.0; n])
        }
    };
    match dtype {
        crate::data::DType::Bool => c.set_truth(y),
        _ if whole => c.set_integer(0, y, dtype)?,
        _ => c.set(0, y),
    }
    Ok(())
}

/// Pad: constant, reflect, edge, wrap.
pub(super) fn pad(c: &mut Call) -> Done {
    let shape = c.shape(0)?;
    let pads = if c.opset < 11 {
        c.ints("pads")?.ok_or_else(|| invalid("attribute \"pads\" is missing"))?
    } else {
        c.known_ints(1)?
    };
    let which: Vec<usize> = if c.opset >= 18 && c.has(3) {
        c.known_ints(3)?.iter().map(|&a| axis(a, shape.len())).collect::<Result<_, _>>().map_err(invalid)?
    } else {
        (0..shape.len()).collect()
    };
    if pads.len() != 2 * which.len() {
        return Err(format!("{} pads for {} axes", pads.len(), which.len()).into());
    }
    let mut begin = vec![0i64; shape.len()];
    let mut out = shape.clone();
    for (j, &k) in which.iter().enumerate() {
        let (b, e) = (pads[j], pads[j + which.len()]);
        begin[k] = b;
        let size =
            (shape[k] as i64).checked_add(b).and_then(|s| s.checked_add(e)).and_then(|s| usize::try_from(s).ok());
        out[k] = size.ok_or_else(|| format!("pads {b} and {e} of an axis of size {}", shape[k]))?;
    }
    built(&out)?;
    let mode = c.text("mode", "constant")?;
    let place: fn(i64, i64) -> Option<i64> = match mode.as_str() {
        "constant" => |i, n| (0..n).contains(&i).then_some(i),
        "edge" => |i, n| (n > 0).then(|| i.clamp(0, n - 1)),
        "wrap" => |i, n| (n > 0).then(|| i.rem_euclid(n)),
        // mirrored without repeating the edge: period 2(n − 1)
        "reflect" => |i, n| match n {
            0 => None,
            1 => Some(0),
            _ => {
                let p = 2 * (n - 1);
                let r = i.rem_euclid(p);
                Some(r.min(p - r))
            }
        },
        other => return Err(unsupported(format!("mode \"{other}\""))),
    };
    let own = strides(&shape);
    let entry = |at: &[usize]| {
        at.iter().enumerate().try_fold(0usize, |flat, (k, &i)| {
            place(i as i64 - begin[k], shape[k] as i64).map(|j| flat + j as usize * own[k])
        })
    };
    let fill: f32 = match (mode.as_str(), c.opset < 11) {
        ("constant", true) => c.float("value", 0.0)?,
        ("constant", false) if c.has(2) && c.is_float(0)? => c.known_scalar(2)?,
        ("constant", false) if c.has(2) => {
            if c.known_ints(2)? != [0] {
                return Err(unsupported("integer data padded with another value than 0"));
            }
            0.0
        }
        _ => 0.0,
    };
    if fill == 0.0 {
        return c.moved(out.clone(), from_fn(&out, entry));
    }
    let x = c.graph(0)?;
    let value = c.scalar("padding", fill);
    let both = c.join(&[x, value])?;
    let last: usize = shape.iter().product();
    let index = from_fn(&out, |at| Some(entry(at).unwrap_or(last)));
    let y = c.gather(both, out, index)?;
    c.set(0, y);
    Ok(())
}

/// DepthToSpace: blocks of channels become blocks of pixels (order DCR or CRD).
pub(super) fn depth_to_space(c: &mut Call) -> Done {
    let shape = c.shape(0)?;
    let b = usize::try_from(c.int("blocksize", 0)?).ok().filter(|&b| b > 0).ok_or_else(|| invalid("blocksize"))?;
    let [n, ch, h, w] = shape[..] else { return Err(format!("shape {shape:?} where [N, C, H, W] is needed").into()) };
    let Some(area) = b.checked_mul(b).filter(|area| ch % area == 0) else {
        return Err(format!("{ch} channels aren't a multiple of the square of {b}").into());
    };
    let d = ch / area;
    let crd = match c.text("mode", "DCR")?.as_str() {
        "DCR" => false,
        "CRD" => true,
        other => return Err(invalid(format!("mode \"{other}\""))),
    };
    let out = vec![n, d, h * b, w * b];
    let index = from_fn(&out, |i| {
        let (y, dy, x, dx) = (i[2] / b, i[2] % b, i[3] / b, i[3] % b);
        let channel = if crd { (i[1] * b + dy) * b + dx } else { (dy * b + dx) * d + i[1] };
        Some(((i[0] * ch + channel) * h + y) * w + x)
    });
    c.moved(out, index)
}

/// SpaceToDepth: the inverse of DepthToSpace.
pub(super) fn space_to_depth(c: &mut Call) -> Done {
    let shape = c.shape(0)?;
    let b = usize::try_from(c.int("blocksize", 0)?).ok().filter(|&b| b > 0).ok_or_else(|| invalid("blocksize"))?;
    let [n, ch, h, w] = shape[..] else { return Err(format!("shape {shape:?} where [N, C, H, W] is needed").into()) };
    if h % b != 0 || w % b != 0 {
        return Err(format!("sizes {h} and {w} aren't multiples of {b}").into());
    }
    let area = b.checked_mul(b).and_then(|area| ch.checked_mul(area));
    let Some(channels) = area else { return Err(format!("{ch} channels of blocks of {b}").into()) };
    let out = vec![n, channels, h / b, w / b];
    let crd = match c.text("mode", "DCR")?.as_str() {
        "DCR" => false,
        "CRD" => true,
        other => return Err(invalid(format!("mode \"{other}\""))),
    };
    let index = from_fn(&out, |i| {
        let (block, channel) = if crd { (i[1] % (b * b), i[1] / (b * b)) } else { (i[1] / ch, i[1] % ch) };
        Some(((i[0] * ch + channel) * h + i[2] * b + block / b) * w + i[3] * b + block % b)
    });
    c.moved(out, index)
}

/// Trilu: one triangle kept, the other zero.
pub(super) fn trilu(c: &mut Call) -> Done {
    let shape = c.shape(0)?;
    let upper = c.flag("upper", true)?;
    let k = if c.has(1) { c.known_ints(1)?.first().copied().unwrap_or(0) } else { 0 };
    if shape.len() < 2 {
        return Err(format!("shape {shape:?} has no last two dimensions").into());
    }
    let own = strides(&shape);
    let r = shape.len();
    let index = from_fn(&shape, |at| {
        let offset = at[r - 1] as i128 - at[r - 2] as i128;
        let keep = if upper { offset >= i128::from(k) } else { offset <= i128::from(k) };
        keep.then(|| at.iter().zip(&own).map(|(i, s)| i * s).sum())
    });
    c.moved(shape, index)
}

/// The value of another operator's result, by name, as it stands (for results that equal an operand).
pub(super) fn set_value(c: &mut Call, k: usize, value: Value) {
    if let Some(name) = c.node.outputs.get(k).filter(|n| !n.is_empty()).cloned() {
        c.low.values.insert(name, value);
    }
}

/// OneHot with import-time indices and values.
pub(super) fn one_hot(c: &mut Call) -> Done {
    if c.undecided(0)? || !c.has_host(0)? {
        return one_hot_in_the_run(c);
    }
    let indices = c.known(0)?;
    let list = fold::cast(&indices, crate::data::DType::I64)?;
    let depth =
        fold::cast(&*c.known(1)?, crate::data::DType::I64)?.as_int().and_then(|v| v.first().copied()).unwrap_or(0);
    let depth = usize::try_from(depth).map_err(|_| format!("depth {depth}"))?;
    let k = c.axis(-1, indices.shape.len() + 1)?;
    let mut out = indices.shape.clone();
    out.insert(k, depth);
    built(&out)?;
    let own = strides(&indices.shape);
    let hot = list.as_int().unwrap_or(&[]).to_vec();
    // position 0 of `values` is "off", 1 is "on"
    let index = from_fn(&out, |at| {
        let rest: usize = at.iter().enumerate().filter(|(j, _)| *j != k).zip(&own).map(|((_, i), s)| i * s).sum();
        let h = hot[rest];
        let h = if h < 0 { h + depth as i64 } else { h };
        Some(usize::from(usize::try_from(h) == Ok(at[k])))
    });
    if c.shape(2)? != [2] {
        return Err(format!("values of shape {:?} where [2] is needed", c.shape(2)?).into());
    }
    c.moved_to(0, 2, out, index)
}

/// OneHot of indices that are only known in the run: on·s + off·(1 − s) with s = 1 where the index is the
/// place's own, counted from either end.
fn one_hot_in_the_run(c: &mut Call) -> Done {
    let at = if c.undecided(0)? { c.whole(0)? } else { c.graph(0)? };
    let depth = fold::cast(&*c.known(1)?, crate::data::DType::I64)?.as_int().and_then(|v| v.first().copied());
    let depth = usize::try_from(depth.unwrap_or(0)).map_err(|_| invalid("a negative depth"))?;
    let mut shape = c.sizes(at);
    let k = c.axis(-1, shape.len() + 1)?;
    shape.insert(k, 1);
    let at = c.reshape(at, shape.clone())?;
    shape[k] = depth;
    let at = c.expand(at, &shape)?;
    let inner: usize = shape[k + 1..].iter().product();
    let n = built(&shape)?;
    let mut hot = Vec::new();
    for from in [0.0, -(depth as f32)] {
        let places = (0..n).map(|i| (i / inner.max(1) % depth.max(1)) as f32 + from).collect();
        let places = c.tensor("places", shape.clone(), places);
        let distance = c.emit(ops::Sub, &[at, places])?;
        hot.push(c.emit(super::logic::at_zero(), &[distance])?);
    }
    let hot = c.emit(ops::Add, &hot)?;
    if c.shape(2)? != [2] {
        return Err(format!("values of shape {:?} where [2] is needed", c.shape(2)?).into());
    }
    let dtype = c.dtype(2)?;
    let values = if dtype.is_float() { c.graph(2)? } else { c.whole(2)? };
    let one = c.scalar("one", 1.0);
    let cold = c.binary(ops::Sub, one, hot)?;
    let mut parts = Vec::new();
    for (place, gate) in [(0, cold), (1, hot)] {
        let value = c.gather(values, shape.clone(), Index::Table(vec![place; n].into()))?;
        parts.push(c.emit(ops::Mul, &[value, gate])?);
    }
    let y = c.emit(ops::Add, &parts)?;
    match dtype {
        _ if dtype.is_float() => c.set(0, y),
        _ => c.set_integer(0, y, dtype)?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::range;

    #[test]
    fn slices_follow_python() {
        // (start, end, step, n) → first, count; checked against list(range(n))[start:end:step]
        for (s, e, t, n, want) in [
            (0, 3, 1, 10, (0, 3)),
            (-3, i64::MAX, 1, 10, (7, 3)),
            (10, 0, -1, 10, (9, 9)),
            (-1, i64::MIN, -1, 5, (4, 5)),
            (1, 1000, 2, 5, (1, 2)),
            (3, 1, 1, 5, (3, 0)),
            (20, 30, 1, 5, (5, 0)),
            (0, 5, i64::MAX, 5, (0, 1)),
        ] {
            assert_eq!(range(s, e, t, n).map(|(a, b)| if b == 0 { (want.0, 0) } else { (a, b) }), Some(want));
        }
        assert_eq!(range(0, 1, 0, 3), None);
    }
}
