//! Softmax, LogSoftmax and the losses.

use std::collections::BTreeMap;

use super::call::{Call, Done, Problem, invalid};
use crate::data::HostTensor;
use crate::error::Code;
use crate::import::index::{from_fn, to_end, transpose};
use crate::ir::{Index, ValueId};
use crate::ops;

/// Softmax and LogSoftmax: along one axis; before opset 13 over all axes from `axis` on together.
pub(super) fn softmax(c: &mut Call) -> Done {
    let log = c.node.op == "LogSoftmax";
    let (x, mask) = if log { (c.graph(0)?, None) } else { c.masked(0)? };
    let shape = c.sizes(x);
    if let Some(mask) = mask {
        let k = c.axis(if c.opset >= 13 { -1 } else { 1 }, shape.len())?;
        let axes: Vec<usize> = if c.opset >= 13 { vec![k] } else { (k..shape.len()).collect() };
        let rows = c.rows(x, &axes)?;
        let (_, moved) = transpose(&shape, &to_end(shape.len(), &axes));
        let hidden: Vec<bool> = (0..mask.len()).map(|i| moved.source(i).is_some_and(|j| mask[j])).collect();
        let y = masked_softmax(c, rows, &hidden, false)?;
        let y = c.unrows(y, &shape, &axes)?;
        c.set(0, y);
        return Ok(());
    }
    let along = |c: &mut Call, rows: ValueId| {
        if log { c.emit(ops::LogSoftmax, &[rows]) } else { c.emit(ops::Softmax, &[rows]) }
    };
    let y = if c.opset >= 13 {
        let k = c.axis(-1, shape.len())?;
        let moved = c.rows(x, &[k])?;
        let y = along(c, moved)?;
        c.unrows(y, &shape, &[k])?
    } else {
        let k = c.axis(1, shape.len())?;
        let flat = c.reshape(x, vec![shape[..k].iter().product(), shape[k..].iter().product()])?;
        let y = along(c, flat)?;
        c.reshape(y, shape)?
    };
    c.set(0, y);
    Ok(())
}

/// Softmax along the last dimension over the entries that aren't hidden; those that are get an exact
/// zero, as e^−∞ is. Rows with equally many entries are handled together; a row without any is zero
/// if `empty` allows it.
pub(super) fn masked_softmax(c: &mut Call, rows: ValueId, hidden: &[bool], empty: bool) -> Result<ValueId, Problem> {
    let shape = c.sizes(rows);
    let n = shape.last().copied().unwrap_or(1).max(1);
    let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (r, row) in hidden.chunks(n).enumerate() {
        groups.entry(row.iter().filter(|h| !**h).count()).or_default().push(r);
    }
    if groups.remove(&0).is_some() && !empty {
        return Err(Problem::found(Code::Domain, "a row of a softmax is masked entirely: 0 / 0"));
    }
    let mut place = vec![Index::NOTHING; hidden.len()];
    let (mut parts, mut next) = (Vec::new(), 0u32);
    for (count, members) in groups {
        let mut table = Vec::with_capacity(members.len() * count);
        for &r in &members {
            for i in (r * n..(r + 1) * n).filter(|&i| !hidden[i]) {
                table.push(i as u32);
                place[i] = next;
                next += 1;
            }
        }
        let part = c.gather(rows, vec![members.len(), count], Index::Table(table.into()))?;
        parts.push(c.emit(ops::Softmax, &[part])?);
    }
    if parts.is_empty() {
        return Ok(c.tensor("all masked", shape, vec![0.0; hidden.len()]));
    }
    let joined = c.join(&parts)?;
    c.gather(joined, shape, Index::Table(place.into()))
}

/// Log probabilities from scores, then the negative log likelihood of the labels.
pub(super) fn cross_entropy(c: &mut Call) -> Done {
    let x = c.graph(0)?;
    let shape = c.sizes(x);
    classes(&shape)?;
    let rows = c.rows(x, &[1])?;
    let logs = c.emit(ops::LogSoftmax, &[rows])?;
    let loss = likelihood(c, logs, &shape)?;
    c.set(0, loss);
    if c.wanted(1) {
        let y = c.unrows(logs, &shape, &[1])?;
        c.set(1, y);
    }
    Ok(())
}

/// The negative log likelihood of the labels, from log probabilities.
pub(super) fn nll(c: &mut Call) -> Done {
    let x = c.graph(0)?;
    let shape = c.sizes(x);
    classes(&shape)?;
    let rows = c.rows(x, &[1])?;
    let loss = likelihood(c, rows, &shape)?;
    c.set(0, loss);
    Ok(())
}

fn classes(shape: &[usize]) -> Result<usize, Problem> {
    match shape {
        [_, classes, ..] => Ok(*classes),
        _ => Err(format!("scores of shape {shape:?} where [N, C, …] is needed").into()),
    }
}

/// Picks −w_y·log p_y for every sample and reduces. `logs` is [N, d.., C]; ignored samples give an
/// exact zero, and the mean divides by the weights of the others.
fn likelihood(c: &mut Call, logs: ValueId, shape: &[usize]) -> Result<ValueId, Problem> {
    let classes = classes(shape)?;
    let samples: Vec<usize> = shape.iter().enumerate().filter(|(k, _)| *k != 1).map(|(_, &d)| d).collect();
    let labels = c.known_ints(1)?;
    if c.shape(1)? != samples {
        return Err(format!("labels of shape {:?} where {samples:?} is needed", c.shape(1)?).into());
    }
    let ignored = match c.node.attributes.contains_key("ignore_index") {
        true => Some(c.int("ignore_index", 0)?),
        false => None,
    };
    let mut picked = Vec::with_capacity(labels.len());
    for &label in &labels {
        if Some(label) == ignored {
            picked.push(None);
            continue;
        }
        match usize::try_from(label).ok().filter(|&l| l < classes) {
            Some(l) => picked.push(Some(l)),
            None => {
                let what = format!("label {label} isn't one of {classes} classes");
                let hint = "labels are 0 to classes − 1, or the operator's ignore_index";
                return Err(Problem::found(Code::Input, what).help(hint));
            }
        }
    }
    let n = labels.len();
    let index = from_fn(&[n], |i| picked[i[0]].map(|l| i[0] * classes + l));
    let chosen = c.gather(logs, samples.clone(), index)?;
    let negative = c.negated(chosen)?;
    let weights = if c.has(2) {
        let w = c.graph(2)?;
        if c.sizes(w) != [classes] {
            return Err(format!("weights of shape {:?} for {classes} classes", c.sizes(w)).into());
        }
        let index = from_fn(&[n], |i| picked[i[0]]);
        Some(c.gather(w, samples.clone(), index)?)
    } else {
        None
    };
    let losses = match weights {
        Some(w) => c.emit(ops::Mul, &[w, negative])?,
        None => negative,
    };
    let counted = picked.iter().flatten().count();
    let row = |c: &mut Call, x| c.gather(x, vec![n], Index::Identity);
    match c.text("reduction", "mean")?.as_str() {
        "none" => Ok(losses),
        "sum" => {
            let flat = row(c, losses)?;
            c.sum(flat)
        }
        "mean" => {
            if counted == 0 {
                return Err(Problem::found(Code::Domain, "all labels are ignored: the mean divides by zero"));
            }
            let flat = row(c, losses)?;
            match weights {
                None => c.mean(flat, counted),
                Some(w) => {
                    let w = row(c, w)?;
                    let (total, mass) = (c.sum(flat)?, c.sum(w)?);
                    c.emit(ops::Div, &[total, mass])
                }
            }
        }
        other => Err(invalid(format!("reduction \"{other}\""))),
    }
}

/// Shape and size of a value, as import-time data.
pub(super) fn measured(c: &mut Call) -> Done {
    let shape = c.shape(0)?;
    let dims: Vec<i64> = shape.iter().map(|&d| d as i64).collect();
    if c.node.op == "Size" {
        c.set_known(0, HostTensor::i64(vec![], vec![dims.iter().product()]));
        return Ok(());
    }
    let r = dims.len() as i64;
    let clamp = |a: i64| (if a < 0 { a.saturating_add(r) } else { a }).clamp(0, r) as usize;
    let (start, end) = (clamp(c.int("start", 0)?), clamp(c.int("end", r)?));
    let part = if start < end { dims[start..end].to_vec() } else { Vec::new() };
    c.set_known(0, HostTensor::i64(vec![part.len()], part));
    Ok(())
}
