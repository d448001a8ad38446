//! Index tables: where every entry of a moved tensor comes from, as flat row-major positions.
//!
//! One table serves both worlds: exact import-time data ([`apply`]) and the graph's `Gather`.

use crate::data::{Data, HostTensor, MAX_RANK, too_large};
use crate::ir::Index;

/// Largest tensor that lowering builds itself (windows, expansions): 2^28 entries, 1 GiB.
pub const MAX_BUILT: usize = 1 << 28;

/// Number of entries of a shape that lowering is about to build, or why it can't.
pub fn built(shape: &[usize]) -> Result<usize, String> {
    let n = match crate::data::elements(shape) {
        None if shape.len() > MAX_RANK => return Err(too_large(shape)),
        Some(n) if n <= MAX_BUILT => n,
        _ => return Err(format!("a tensor of shape {shape:?} is needed, with more than {MAX_BUILT} entries")),
    };
    // an index table of it
    crate::limits::afford(&format!("a tensor of shape {shape:?}"), 4 * n as u64).map_err(|d| d.what)?;
    Ok(n)
}

/// Row-major strides: the last dimension has stride 1.
pub fn strides(shape: &[usize]) -> Vec<usize> {
    let mut out = vec![1; shape.len()];
    for k in (0..shape.len().saturating_sub(1)).rev() {
        out[k] = out[k + 1] * shape[k + 1];
    }
    out
}

/// The table of `f` over all multi-indices of `shape` in row-major order; `None` is an exact zero.
pub fn from_fn(shape: &[usize], mut f: impl FnMut(&[usize]) -> Option<usize>) -> Index {
    let count: usize = shape.iter().product();
    let mut at = vec![0usize; shape.len()];
    let mut table = Vec::with_capacity(count);
    for _ in 0..count {
        table.push(f(&at).map_or(Index::NOTHING, |i| i as u32));
        for k in (0..shape.len()).rev() {
            at[k] += 1;
            if at[k] < shape[k] {
                break;
            }
            at[k] = 0;
        }
    }
    normal(table)
}

/// A table with entry i = i everywhere is the identity.
fn normal(table: Vec<u32>) -> Index {
    Index::Table(table.into())
}

/// position(i) = offset + Σ_k i_k·stride_k.
pub fn strided(shape: &[usize], offset: usize, stride: &[isize]) -> Index {
    from_fn(shape, |at| {
        let step: isize = at.iter().zip(stride).map(|(&i, &s)| i as isize * s).sum();
        Some((offset as isize + step) as usize)
    })
}

/// The shape that two shapes broadcast to (NumPy's rule: sizes equal or 1, aligned at the end).
pub fn broadcast_shape(a: &[usize], b: &[usize]) -> Result<Vec<usize>, String> {
    let rank = a.len().max(b.len());
    let size = |s: &[usize], k: usize| if k + s.len() >= rank { s[k + s.len() - rank] } else { 1 };
    (0..rank)
        .map(|k| match (size(a, k), size(b, k)) {
            (x, y) if x == y => Ok(x),
            (1, y) => Ok(y),
            (x, 1) => Ok(x),
            (x, y) => Err(format!("shapes {a:?} and {b:?} don't broadcast: sizes {x} and {y}")),
        })
        .collect()
}

/// Repeats `from` along the axes where it has size 1 (or none), so that it has shape `to`.
pub fn expand(from: &[usize], to: &[usize]) -> Index {
    let lead = to.len() - from.len();
    let own = strides(from);
    let stride: Vec<isize> =
        (0..to.len()).map(|k| if k < lead || from[k - lead] == 1 { 0 } else { own[k - lead] as isize }).collect();
    strided(to, 0, &stride)
}

/// Axis k of the result is axis `perm[k]` of the operand; returns the new shape as well.
pub fn transpose(shape: &[usize], perm: &[usize]) -> (Vec<usize>, Index) {
    let own = strides(shape);
    let out: Vec<usize> = perm.iter().map(|&p| shape[p]).collect();
    // axes of size 1 may go anywhere without moving an entry
    let moved: Vec<usize> = perm.iter().copied().filter(|&p| shape[p] != 1).collect();
    if moved.windows(2).all(|w| w[0] < w[1]) {
        return (out, Index::Identity);
    }
    let stride: Vec<isize> = perm.iter().map(|&p| own[p] as isize).collect();
    let index = strided(&out, 0, &stride);
    (out, index)
}

/// The permutation that brings `axes` (sorted) to the end and keeps all others in order.
pub fn to_end(rank: usize, axes: &[usize]) -> Vec<usize> {
    (0..rank).filter(|k| !axes.contains(k)).chain(axes.iter().copied()).collect()
}

/// The permutation that undoes `perm`.
pub fn inverse(perm: &[usize]) -> Vec<usize> {
    let mut out = vec![0; perm.len()];
    perm.iter().enumerate().for_each(|(k, &p)| out[p] = k);
    out
}

/// Entries of import-time data, moved; zero (false) where the table says nothing.
pub fn apply(t: &HostTensor, shape: Vec<usize>, index: &Index) -> HostTensor {
    fn pick<T: Copy + Default>(v: &[T], n: usize, index: &Index) -> Vec<T> {
        (0..n).map(|i| index.source(i).map_or(T::default(), |j| v[j])).collect()
    }
    let n = shape.iter().product();
    let data = match &t.data {
        Data::F32(v) => Data::F32(pick(v, n, index)),
        Data::F64(v) => Data::F64(pick(v, n, index)),
        Data::Int(v) => Data::Int(pick(v, n, index)),
        Data::Bool(v) => Data::Bool(pick(v, n, index)),
        Data::Opaque => Data::Opaque,
    };
    HostTensor { dtype: t.dtype, shape, data }
}

/// An axis given by ONNX: negative ones count from the end.
pub fn axis(a: i64, rank: usize) -> Result<usize, String> {
    let r = rank as i64;
    let wrapped = if a < 0 { a + r } else { a };
    usize::try_from(wrapped)
        .ok()
        .filter(|&k| k < rank)
        .ok_or_else(|| format!("axis {a} of a tensor with {rank} dimensions"))
}

/// Axes given by ONNX: sorted, each at most once.
pub fn axes(list: &[i64], rank: usize) -> Result<Vec<usize>, String> {
    let mut out = list.iter().map(|&a| axis(a, rank)).collect::<Result<Vec<_>, _>>()?;
    out.sort_unstable();
    if out.windows(2).any(|w| w[0] == w[1]) {
        return Err(format!("axes {list:?} name one axis twice"));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(shape: &[usize], index: &Index, n: usize) -> Vec<i64> {
        let t = HostTensor::i64(vec![n], (0..n as i64).collect());
        apply(&t, shape.to_vec(), index).as_int().unwrap().to_vec()
    }

    #[test]
    fn broadcasting_follows_numpy() {
        assert_eq!(broadcast_shape(&[2, 1, 3], &[4, 1]).unwrap(), [2, 4, 3]);
        assert_eq!(broadcast_shape(&[], &[0]).unwrap(), [0]);
        assert!(broadcast_shape(&[2], &[3]).is_err());
        assert_eq!(run(&[2, 3], &expand(&[3], &[2, 3]), 3), [0, 1, 2, 0, 1, 2]);
        assert_eq!(run(&[2, 3], &expand(&[2, 1], &[2, 3]), 2), [0, 0, 0, 1, 1, 1]);
    }

    #[test]
    fn transposition_and_its_inverse() {
        let (shape, index) = transpose(&[2, 3], &[1, 0]);
        assert_eq!((shape, run(&[3, 2], &index, 6)), (vec![3, 2], vec![0, 3, 1, 4, 2, 5]));
        assert_eq!(transpose(&[2, 1, 3], &[1, 0, 2]), (vec![1, 2, 3], Index::Identity));
        assert_eq!(inverse(&to_end(4, &[1])), [0, 3, 1, 2]);
    }

    #[test]
    fn axes_wrap_and_repeat_at_most_once() {
        assert_eq!(axes(&[-1, 0], 3).unwrap(), [0, 2]);
        assert!(axes(&[-1, 2], 3).is_err() && axis(3, 3).is_err() && axis(-4, 3).is_err());
    }
}
