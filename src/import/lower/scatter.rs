//! ScatterElements and ScatterND: for every entry of the result, which entries of data and updates
//! make it up.

use std::collections::BTreeMap;

use super::call::{Call, Done, Problem, invalid};
use super::movement::{joined, wrapped};
use crate::error::Code;
use crate::import::index::{self, built, strides};
use crate::ir::{Index, ValueId};
use crate::num::Ties;
use crate::ops;

pub(super) fn scatter_elements(c: &mut Call) -> Done {
    let shape = c.shape(0)?;
    let k = c.axis(0, shape.len())?;
    let from = c.shape(1)?;
    if from.len() != shape.len() || c.shape(2)? != from || (0..from.len()).any(|j| j != k && from[j] > shape[j]) {
        return Err(format!("indices of shape {from:?} for data of shape {shape:?}").into());
    }
    let at = wrapped(c, 1, shape[k])?;
    let own = strides(&shape);
    let mut targets = Vec::with_capacity(at.len());
    let mut flat = 0;
    index::from_fn(&from, |i| {
        targets
            .push(i.iter().zip(&own).enumerate().map(|(j, (&i, s))| if j == k { at[flat] * s } else { i * s }).sum());
        flat += 1;
        None
    });
    scatter(c, shape, &targets)
}

pub(super) fn scatter_nd(c: &mut Call) -> Done {
    let (shape, ind) = (c.shape(0)?, c.shape(1)?);
    let depth = ind.last().copied().ok_or_else(|| "the index tensor is a scalar".to_string())?;
    if depth > shape.len() {
        return Err(format!("index tuples of length {depth} into shape {shape:?}").into());
    }
    let mut expected = ind[..ind.len() - 1].to_vec();
    expected.extend(&shape[depth..]);
    if c.shape(2)? != expected {
        return Err(format!("updates of shape {:?} where {expected:?} is needed", c.shape(2)?).into());
    }
    let own = strides(&shape);
    let inner: usize = shape[depth..].iter().product();
    let list = c.known_ints(1)?;
    let mut targets = Vec::new();
    for tuple in list.chunks(depth.max(1)) {
        let mut start = 0;
        for (j, &i) in tuple.iter().enumerate() {
            let w = if i < 0 { i128::from(i) + shape[j] as i128 } else { i128::from(i) };
            let w = usize::try_from(w).ok().filter(|&w| w < shape[j]);
            let size = shape[j];
            let w =
                w.ok_or_else(|| Problem::found(Code::Input, format!("index {i} lies outside an axis of size {size}")))?;
            start += w * own[j];
        }
        targets.extend((0..inner).map(|i| start + i));
    }
    scatter(c, shape, &targets)
}

/// `targets[i]` is where update i goes. Updates that meet are combined in their order, after the
/// data; without a reduction the last one stays (ONNX leaves that open).
fn scatter(c: &mut Call, shape: Vec<usize>, targets: &[usize]) -> Done {
    let n = built(&shape)?;
    let reduction = c.text("reduction", "none")?;
    if reduction == "none" {
        let mut table: Vec<u32> = (0..n as u32).collect();
        targets.iter().enumerate().for_each(|(u, &t)| table[t] = (n + u) as u32);
        let index = Index::Table(table.into());
        if !c.is_float(0)? || c.foldable()? {
            let y = index::apply(&joined(&[c.known(0)?, c.known(2)?])?, shape, &index);
            c.set_known(0, y);
            return Ok(());
        }
        let (data, updates) = (c.graph(0)?, c.graph(2)?);
        let both = c.join(&[data, updates])?;
        let y = c.gather(both, shape, index)?;
        c.set(0, y);
        return Ok(());
    }
    let mut lists: Vec<Vec<u32>> = (0..n as u32).map(|i| vec![i]).collect();
    targets.iter().enumerate().for_each(|(u, &t)| lists[t].push((n + u) as u32));
    let (data, updates) = (c.graph(0)?, c.graph(2)?);
    let both = c.join(&[data, updates])?;
    let y = ragged(c, both, &lists, shape, &mut |c, rows| match reduction.as_str() {
        "add" => c.sum(rows),
        "max" => c.max(rows, Ties::Split),
        "min" => {
            let negated = c.negated(rows)?;
            let best = c.max(negated, Ties::Split)?;
            c.negated(best)
        }
        "mul" => super::reduce::product(c, rows),
        other => Err(invalid(format!("reduction \"{other}\""))),
    })?;
    c.set(0, y);
    Ok(())
}

/// Entry i of the result is `reduce` of the entries `lists[i]` of a vector; lists of equal length are
/// handled together as rows.
pub(super) fn ragged(
    c: &mut Call,
    source: ValueId,
    lists: &[Vec<u32>],
    shape: Vec<usize>,
    reduce: &mut dyn FnMut(&mut Call, ValueId) -> Result<ValueId, Problem>,
) -> Result<ValueId, Problem> {
    let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    lists.iter().enumerate().for_each(|(i, l)| groups.entry(l.len()).or_default().push(i));
    let mut place = vec![0u32; lists.len()];
    let (mut parts, mut next) = (Vec::new(), 0u32);
    for (length, members) in groups {
        let table: Vec<u32> = members.iter().flat_map(|&i| lists[i].iter().copied()).collect();
        for i in &members {
            place[*i] = next;
            next += 1;
        }
        let rows = c.gather(source, vec![members.len(), length], Index::Table(table.into()))?;
        parts.push(if length == 1 { c.reshape(rows, vec![members.len()])? } else { reduce(c, rows)? });
    }
    if parts.len() == 1 {
        return c.reshape(parts[0], shape);
    }
    let joined = c.emit(ops::Join, &parts)?;
    c.gather(joined, shape, Index::Table(place.into()))
}
