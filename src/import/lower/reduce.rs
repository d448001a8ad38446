//! Reductions over axes: the axes are brought to the end and joined, then one primitive works along
//! the last dimension.

use super::call::{Call, Done, Problem, invalid, unsupported};
use super::fold::{self, Arithmetic};
use crate::data::{DType, Data, HostTensor};
use crate::error::Code;
use crate::import::index::{self, axes, strides};
use crate::ir::{Index, ValueId};
use crate::num::{Elementary, Ties};
use crate::ops::{self, Piecewise};

/// Axes to reduce (sorted), or `None` when nothing is to be reduced, and the shape of the result.
fn plan(c: &Call, shape: &[usize], since: i64) -> Result<(Option<Vec<usize>>, Vec<usize>), Problem> {
    let keep = c.flag("keepdims", true)?;
    let list = match c.axes(1, since)? {
        Some(list) if !list.is_empty() => axes(&list, shape.len()).map_err(invalid)?,
        _ if c.flag("noop_with_empty_axes", false)? => return Ok((None, shape.to_vec())),
        _ => (0..shape.len()).collect(),
    };
    let mut out = Vec::new();
    for (k, &d) in shape.iter().enumerate() {
        match (list.contains(&k), keep) {
            (true, true) => out.push(1),
            (true, false) => {}
            (false, _) => out.push(d),
        }
    }
    Ok((Some(list), out))
}

/// The opset since which a reduction takes its axes as an operand.
fn axes_since(op: &str) -> i64 {
    if op == "ReduceSum" { 13 } else { 18 }
}

/// ReduceSum, ReduceMean, ReduceMax, … of graph values; integers are reduced exactly.
pub(super) fn reduce(c: &mut Call) -> Done {
    let op = c.node.op.clone();
    let shape = c.shape(0)?;
    let (list, out) = plan(c, &shape, axes_since(&op))?;
    let held = if c.undecided(0)? { Some(c.dtype(0)?) } else { None };
    if held.is_some() && !matches!(op.as_str(), "ReduceSum" | "ReduceMax" | "ReduceMin" | "ReduceProd" | "ReduceL1") {
        return Err(unsupported(format!("{op} of integers that are only known in the run")));
    }
    // those that are exact or correctly rounded, step by step
    let plain = matches!(op.as_str(), "ReduceSum" | "ReduceMean" | "ReduceProd" | "ReduceMax" | "ReduceMin");
    if held.is_none() && (plain && c.foldable()? || !c.is_float(0)?) {
        let y = folded(&*c.known(0)?, &op, list.as_deref(), out)?;
        c.set_known(0, y);
        return Ok(());
    }
    let x = if held.is_some() { c.whole(0)? } else { c.graph(0)? };
    let x = before(c, &op, x)?;
    let y = match list {
        None => x,
        Some(list) => {
            let rows = c.rows(x, &list)?;
            let reduced = along(c, &op, rows)?;
            c.reshape(reduced, out)?
        }
    };
    let y = after(c, &op, y)?;
    match held {
        Some(dtype) => c.set_integer(0, y, dtype)?,
        None => c.set(0, y),
    }
    Ok(())
}

/// What is done to every entry before the reduction.
fn before(c: &mut Call, op: &str, x: ValueId) -> Result<ValueId, Problem> {
    match op {
        "ReduceL1" => c.emit(Piecewise::abs(), &[x]),
        "ReduceL2" | "ReduceSumSquare" => c.emit(ops::Mul, &[x, x]),
        _ => Ok(x),
    }
}

/// The reduction along the last dimension.
fn along(c: &mut Call, op: &str, rows: ValueId) -> Result<ValueId, Problem> {
    let length = c.sizes(rows).last().copied().unwrap_or(1);
    match op {
        "ReduceMean" => c.mean(rows, length),
        "ReduceMax" => c.max(rows, Ties::Split),
        "ReduceMin" => {
            let negated = c.negated(rows)?;
            let best = c.max(negated, Ties::Split)?;
            c.negated(best)
        }
        "ReduceLogSumExp" => log_sum_exp(c, rows),
        "ReduceProd" => product(c, rows),
        _ => c.sum(rows),
    }
}

fn after(c: &mut Call, op: &str, y: ValueId) -> Result<ValueId, Problem> {
    match op {
        "ReduceL2" => c.smooth(Elementary::Sqrt, y),
        "ReduceLogSum" => c.smooth(Elementary::Log, y),
        _ => Ok(y),
    }
}

/// log Σ e^x = x_0 − log_softmax(x)_0, which never overflows: LogSoftmax subtracts the maximum.
fn log_sum_exp(c: &mut Call, rows: ValueId) -> Result<ValueId, Problem> {
    let shape = c.sizes(rows);
    let n = shape.last().copied().unwrap_or(1);
    let outer: Vec<usize> = shape[..shape.len() - 1].to_vec();
    if n == 0 {
        return Err(Problem::found(Code::Domain, "the logarithm of an empty sum is −∞"));
    }
    let count: usize = outer.iter().product();
    let first = index::strided(&[count], 0, &[n as isize]);
    let logs = c.emit(ops::LogSoftmax, &[rows])?;
    let x0 = c.gather(rows, outer.clone(), first.clone())?;
    let y0 = c.gather(logs, outer, first)?;
    c.emit(ops::Sub, &[x0, y0])
}

/// Π from left to right, one multiplication after the other.
pub(super) fn product(c: &mut Call, rows: ValueId) -> Result<ValueId, Problem> {
    let shape = c.sizes(rows);
    let n = shape.last().copied().unwrap_or(1);
    let outer: Vec<usize> = shape[..shape.len() - 1].to_vec();
    let count: usize = outer.iter().product();
    if n > 4096 {
        return Err(Problem::found(Code::Limit, format!("a product of {n} factors (at most 4096 are supported)")));
    }
    let mut y: Option<ValueId> = None;
    for k in 0..n {
        let factor = c.gather(rows, outer.clone(), index::strided(&[count], k, &[n as isize]))?;
        y = Some(match y {
            Some(y) => c.emit(ops::Mul, &[y, factor])?,
            None => factor,
        });
    }
    match y {
        Some(y) => Ok(y),
        None => Ok(c.tensor("empty product", outer, vec![1.0; count])),
    }
}

/// Reductions of import-time data, left to right.
fn folded(x: &HostTensor, op: &str, list: Option<&[usize]>, out: Vec<usize>) -> Result<HostTensor, Problem> {
    let Some(list) = list else { return Ok(x.clone()) };
    if let (Data::Bool(v), "ReduceMax" | "ReduceMin") = (&x.data, op) {
        // false < true; of no entries the smallest, or the largest, truth value
        let data = Data::Int(v.iter().map(|&b| b.into()).collect());
        let bits = HostTensor { dtype: DType::U8, shape: x.shape.clone(), data };
        let y = if list.iter().any(|&k| x.shape[k] == 0) {
            let count = out.iter().product();
            HostTensor { dtype: DType::U8, shape: out, data: Data::Int(vec![(op == "ReduceMin").into(); count]) }
        } else {
            folded(&bits, op, Some(list), out)?
        };
        return fold::cast(&y, DType::Bool);
    }
    let perm = index::to_end(x.shape.len(), list);
    let (moved, table) = index::transpose(&x.shape, &perm);
    let rows = index::apply(x, moved, &table);
    let n: usize = list.iter().map(|&k| x.shape[k]).product();
    let count: usize = out.iter().product();
    let slot = |k: usize| index::apply(&rows, vec![count], &index::strided(&[count], k, &[n as isize]));
    let fold = match op {
        "ReduceSum" | "ReduceMean" => Arithmetic::Add,
        "ReduceProd" => Arithmetic::Mul,
        "ReduceMax" => Arithmetic::Max,
        "ReduceMin" => Arithmetic::Min,
        _ => return Err(Problem::found(Code::Unsupported, format!("{op} of import-time data"))),
    };
    let neutral = |v: i64| fold::cast(&HostTensor::i64(vec![count], vec![v; count]), x.dtype);
    let mut y = match (n, op) {
        (0, "ReduceSum") => neutral(0)?,
        (0, "ReduceProd") => neutral(1)?,
        (0, _) => return Err(Problem::found(Code::Domain, format!("{op} of no entries"))),
        _ => slot(0),
    };
    for k in 1..n {
        y = fold::arithmetic(fold, &y, &slot(k))?;
    }
    if op == "ReduceMean" {
        y = fold::arithmetic(Arithmetic::Div, &y, &neutral(n as i64)?)?;
    }
    Ok(HostTensor { shape: out, ..y })
}

/// ArgMax and ArgMin of values of the run: Σ j·[j wins], exact, and so rounded to the whole number it is.
fn arg_extremum_in_the_run(c: &mut Call) -> Done {
    let x = if c.undecided(0)? { c.whole(0)? } else { c.graph(0)? };
    let shape = c.sizes(x);
    let k = c.axis(0, shape.len())?;
    let n = shape[k];
    if n == 0 {
        return Err(Problem::found(Code::Domain, "the largest of no entries"));
    }
    let keep = c.flag("keepdims", true)?;
    let x = if c.node.op == "ArgMin" { c.negated(x)? } else { x };
    let rows = c.rows(x, &[k])?;
    let outer = c.sizes(rows)[..shape.len() - 1].to_vec();
    let count: usize = outer.iter().product();
    // the first of equal entries wins; the last one does when the row is turned round
    let last = c.flag("select_last_index", false)?;
    let place = |i: usize| if last { n - 1 - i % n } else { i % n };
    let rows = if last {
        let turned = (0..count * n).map(|i| (i / n * n + place(i)) as u32).collect::<Vec<_>>();
        let shape = c.sizes(rows);
        c.gather(rows, shape, Index::Table(turned.into()))?
    } else {
        rows
    };
    let ones = c.tensor("ones", outer.clone(), vec![1.0; count]);
    let won = c.emit(ops::Route, &[rows, ones])?;
    let places = c.sizes(won);
    let places = c.tensor("places", places, (0..count * n).map(|i| place(i) as f32).collect());
    let parts = c.emit(ops::Mul, &[won, places])?;
    let index = c.sum(parts)?;
    let mut out = shape;
    if keep {
        out[k] = 1;
    } else {
        out.remove(k);
    }
    let y = c.reshape(index, out)?;
    c.set_integer(0, y, DType::I64)
}

/// ArgMax and ArgMin.
pub(super) fn arg_extremum(c: &mut Call) -> Done {
    if !c.has_host(0)? {
        return arg_extremum_in_the_run(c);
    }
    let x = c.known(0)?;
    let k = c.axis(0, x.shape.len())?;
    let keep = c.flag("keepdims", true)?;
    let last = c.flag("select_last_index", false)?;
    let sign = if c.node.op == "ArgMin" { -1.0 } else { 1.0 };
    // integers up to 2^53 and binary32 numbers are exact in binary64
    let v = fold::cast(&x, crate::data::DType::F64)?;
    let Data::F64(v) = &v.data else { return Err(Problem::Operand) };
    let own = strides(&x.shape);
    let mut out = x.shape.clone();
    out[k] = 1;
    let n = x.shape[k];
    let base = index::strided(&out, 0, &own.iter().map(|&s| s as isize).collect::<Vec<_>>());
    let count: usize = out.iter().product();
    let mut best = Vec::with_capacity(count);
    for i in 0..count {
        let from = base.source(i).unwrap_or(0);
        let mut at = 0;
        for j in 1..n {
            let (new, old) = (sign * v[from + j * own[k]], sign * v[from + at * own[k]]);
            if new > old || (last && new == old) {
                at = j;
            }
        }
        best.push(at as i64);
    }
    if !keep {
        out.remove(k);
    }
    c.set_known(0, HostTensor::i64(out, best));
    Ok(())
}

/// CumSum along one axis, from left to right, one addition after the other.
pub(super) fn cum_sum(c: &mut Call) -> Done {
    let shape = c.shape(0)?;
    let a = fold::cast(&*c.known(1)?, crate::data::DType::I64)?.as_int().and_then(|v| v.first().copied()).unwrap_or(0);
    let k = index::axis(a, shape.len()).map_err(invalid)?;
    let (exclusive, reverse) = (c.flag("exclusive", false)?, c.flag("reverse", false)?);
    let n = shape[k];
    let own = strides(&shape);
    let mut slice_shape = shape.clone();
    slice_shape[k] = 1;
    let stride: Vec<isize> = own.iter().map(|&s| s as isize).collect();
    let slot = |j: usize| index::strided(&slice_shape, j * own[k], &stride);
    let order: Vec<usize> = if reverse { (0..n).rev().collect() } else { (0..n).collect() };
    if n == 0 {
        return c.moved(shape, crate::ir::Index::Identity);
    }
    if n > 4096 {
        return Err(Problem::found(Code::Limit, format!("a running sum of {n} terms (at most 4096 are supported)")));
    }
    let count: usize = slice_shape.iter().product();
    // results in the order of the axis, each of the slice's shape; then rearranged like Concat
    let place = index::from_fn(&shape, |at| {
        let rest: usize =
            at.iter().enumerate().map(|(d, &i)| if d == k { 0 } else { i * strides(&slice_shape)[d] }).sum();
        Some(at[k] * count + rest)
    });
    if !c.is_float(0)? || c.foldable()? {
        let x = c.known(0)?;
        let zero = fold::arithmetic(
            Arithmetic::Sub,
            &index::apply(&x, slice_shape.clone(), &slot(0)),
            &index::apply(&x, slice_shape.clone(), &slot(0)),
        )?;
        let mut sum = zero;
        let mut parts = vec![None; n];
        for &j in &order {
            let next = fold::arithmetic(Arithmetic::Add, &sum, &index::apply(&x, slice_shape.clone(), &slot(j)))?;
            parts[j] = Some(std::sync::Arc::new(if exclusive { sum.clone() } else { next.clone() }));
            sum = next;
        }
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        let y = index::apply(&super::movement::joined(&parts)?, shape, &place);
        c.set_known(0, y);
        return Ok(());
    }
    let x = c.graph(0)?;
    let zero = c.tensor("zero", slice_shape.clone(), vec![0.0; count]);
    let mut sum: Option<ValueId> = None;
    let mut parts = vec![zero; n];
    for &j in &order {
        let term = c.gather(x, slice_shape.clone(), slot(j))?;
        let next = match sum {
            Some(s) => c.emit(ops::Add, &[s, term])?,
            None => term,
        };
        parts[j] = if exclusive { sum.unwrap_or(zero) } else { next };
        sum = Some(next);
    }
    let flat = c.join(&parts)?;
    let y = c.gather(flat, shape, place)?;
    c.set(0, y);
    Ok(())
}
