//! Det and CumProd: products written out.

use std::collections::HashMap;

use super::call::{Call, Done, Problem, invalid, unsupported};
use crate::error::Code;
use crate::import::index::{self, from_fn, strided, strides};
use crate::ir::ValueId;
use crate::ops;

/// Larger determinants are refused: the expansion has n·2^(n−1) products.
const MAX_DET: usize = 8;

/// Det of [.., n, n] by expansion along the rows: the minors of the last rows by sets of columns.
pub(super) fn det(c: &mut Call) -> Done {
    let x = c.graph(0)?;
    let shape = c.sizes(x);
    let (outer, n) = match shape[..] {
        [ref outer @ .., a, b] if a == b => (outer.to_vec(), a),
        _ => return Err(format!("shape {shape:?} where [.., n, n] is needed").into()),
    };
    if n > MAX_DET {
        return Err(unsupported(format!("the determinant of {n} × {n} entries (at most {MAX_DET})")));
    }
    let count: usize = outer.iter().product();
    let entry = |c: &mut Call, i: usize, j: usize| {
        c.gather(x, outer.clone(), strided(&[count], i * n + j, &[(n * n) as isize]))
    };
    let mut minors: HashMap<u32, ValueId> = HashMap::new();
    minors.insert(0, c.tensor("one", outer.clone(), vec![1.0; count]));
    for size in 1..=n {
        let row = n - size;
        let mut next = HashMap::new();
        for set in (0..1u32 << n).filter(|s| s.count_ones() as usize == size) {
            // Σ_j ± x_(row, j)·minor without column j
            let mut total: Option<ValueId> = None;
            for (place, j) in (0..n).filter(|j| set >> j & 1 == 1).enumerate() {
                let x = entry(c, row, j)?;
                let minor = minors[&(set & !(1 << j))];
                let term = if size == 1 { x } else { c.emit(ops::Mul, &[x, minor])? };
                total = Some(match (total, place % 2) {
                    (None, _) => term,
                    (Some(t), 0) => c.emit(ops::Add, &[t, term])?,
                    (Some(t), _) => c.emit(ops::Sub, &[t, term])?,
                });
            }
            next.insert(set, total.ok_or_else(|| invalid("an empty minor"))?);
        }
        minors = next;
    }
    let all = if n == 0 { 0 } else { (1u32 << n) - 1 };
    let y = minors[&all];
    c.set(0, y);
    Ok(())
}

/// CumProd: every entry times the product of those before it.
pub(super) fn cum_prod(c: &mut Call) -> Done {
    let shape = c.shape(0)?;
    let axis = c.known_ints(1)?.first().copied().ok_or_else(|| invalid("no axis"))?;
    let k = index::axis(axis, shape.len()).map_err(invalid)?;
    let (exclusive, reverse) = (c.flag("exclusive", false)?, c.flag("reverse", false)?);
    let n = shape[k];
    if n > 4096 {
        return Err(Problem::found(Code::Limit, format!("a product of {n} factors (at most 4096 are supported)")));
    }
    if !c.is_float(0)? {
        return Err(unsupported("a cumulative product of integers"));
    }
    let x = c.graph(0)?;
    let mut outer = shape.clone();
    outer.remove(k);
    let own = strides(&shape);
    let slice = |c: &mut Call, j: usize| {
        let index = from_fn(&outer, |at| {
            Some((0..shape.len()).map(|d| own[d] * if d == k { j } else { at[d - usize::from(d > k)] }).sum())
        });
        c.gather(x, outer.clone(), index)
    };
    let count: usize = outer.iter().product();
    let mut parts = Vec::with_capacity(n);
    let mut running = if exclusive { Some(c.tensor("one", outer.clone(), vec![1.0; count])) } else { None };
    for step in 0..n {
        // the exclusive product of entry `step` has the factors before it
        let from = if exclusive { step.checked_sub(1) } else { Some(step) };
        if let Some(from) = from {
            let factor = slice(c, if reverse { n - 1 - from } else { from })?;
            running = Some(match running {
                Some(r) if !(exclusive && from == 0) => c.emit(ops::Mul, &[r, factor])?,
                _ => factor,
            });
        }
        parts.extend(running);
    }
    if parts.is_empty() {
        return c.alias(0, 0);
    }
    let joined = c.join(&parts)?;
    let index = from_fn(&shape, |at| {
        let step = if reverse { n - 1 - at[k] } else { at[k] };
        let rest = (0..shape.len()).filter(|&d| d != k).fold(0, |flat, d| flat * shape[d] + at[d]);
        Some(step * count + rest)
    });
    let y = c.gather(joined, shape, index)?;
    c.set(0, y);
    Ok(())
}
