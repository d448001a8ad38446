//! Gemm and MatMul.

use super::call::{Call, Done, Problem};
use crate::import::index::broadcast_shape;
use crate::ir::ValueId;
use crate::ops;

/// alpha·A'·B' + beta·C: with alpha = beta = 1 one matrix product with its bias.
pub(super) fn gemm(c: &mut Call) -> Done {
    let (alpha, beta) = (c.float("alpha", 1.0)?, c.float("beta", 1.0)?);
    let (trans_a, trans_b) = (c.flag("transA", false)?, c.flag("transB", false)?);
    let (a, b) = (c.graph(0)?, c.graph(1)?);
    let (sa, sb) = (c.sizes(a), c.sizes(b));
    let ([m, ka], [kb, n]) = (&sa[..], &sb[..]) else {
        return Err(format!("operands of shapes {sa:?} and {sb:?} where two matrices are needed").into());
    };
    let (m, ka) = if trans_a { (*ka, *m) } else { (*m, *ka) };
    let (kb, n) = if trans_b { (*n, *kb) } else { (*kb, *n) };
    if ka != kb {
        return Err(format!("inner sizes {ka} and {kb} of the product differ").into());
    }
    let product = ops::MatMul { trans_a, trans_b };
    let shape = [m, n];
    let bias = if c.has(2) && beta != 0.0 {
        let bias = c.graph(2)?;
        if broadcast_shape(&c.sizes(bias), &shape)? != shape {
            return Err(format!("C of shape {:?} doesn't broadcast to {shape:?}", c.sizes(bias)).into());
        }
        let bias = c.scaled(bias, "beta", beta)?;
        Some(c.expand(bias, &shape)?)
    } else {
        None
    };
    let y = match bias {
        Some(bias) if alpha == 1.0 => c.emit(product, &[a, b, bias])?,
        Some(bias) => {
            let ab = c.emit(product, &[a, b])?;
            let scaled = c.scaled(ab, "alpha", alpha)?;
            c.binary(ops::Add, scaled, bias)?
        }
        None => {
            let ab = c.emit(product, &[a, b])?;
            c.scaled(ab, "alpha", alpha)?
        }
    };
    c.set(0, y);
    Ok(())
}

pub(super) fn matmul(c: &mut Call) -> Done {
    let (a, b) = (c.graph(0)?, c.graph(1)?);
    let y = product(c, a, b)?;
    c.set(0, y);
    Ok(())
}

/// NumPy's matmul: batch dimensions broadcast; a vector stands for a row on the left and a column on
/// the right, and its dimension disappears from the result.
pub(super) fn product(c: &mut Call, a: ValueId, b: ValueId) -> Result<ValueId, Problem> {
    let (sa, sb) = (c.sizes(a), c.sizes(b));
    if sa.is_empty() || sb.is_empty() {
        return Err(format!("operands of shapes {sa:?} and {sb:?}: a scalar has no matrix product").into());
    }
    let matrix_a = if sa.len() == 1 { vec![1, sa[0]] } else { sa.clone() };
    let matrix_b = if sb.len() == 1 { vec![sb[0], 1] } else { sb.clone() };
    let (lead_a, core_a) = matrix_a.split_at(matrix_a.len() - 2);
    let (lead_b, core_b) = matrix_b.split_at(matrix_b.len() - 2);
    if core_a[1] != core_b[0] {
        return Err(format!("inner sizes {} and {} of the product differ", core_a[1], core_b[0]).into());
    }
    let lead = broadcast_shape(lead_a, lead_b)?;
    let mut result: Vec<usize> = lead.clone();
    result.extend([core_a[0], core_b[1]]);
    let mut x = c.reshape(a, matrix_a.clone())?;
    let mut w = c.reshape(b, matrix_b.clone())?;
    let plain = ops::MatMul { trans_a: false, trans_b: false };
    let y = if lead_b.iter().all(|&d| d == 1) && lead_a.len() >= lead_b.len() && lead == lead_a {
        // one matrix on the right for all rows on the left: a single product of [rows, K] and [K, N]
        let rows: usize = lead_a.iter().product::<usize>() * core_a[0];
        x = c.reshape(x, vec![rows, core_a[1]])?;
        w = c.reshape(w, core_b.to_vec())?;
        let y = c.emit(plain, &[x, w])?;
        c.reshape(y, result.clone())?
    } else {
        let full = |core: &[usize]| lead.iter().chain(core).copied().collect::<Vec<_>>();
        x = c.expand(x, &full(core_a))?;
        w = c.expand(w, &full(core_b))?;
        c.emit(plain, &[x, w])?
    };
    let mut out = lead;
    if sa.len() > 1 {
        out.push(core_a[0]);
    }
    if sb.len() > 1 {
        out.push(core_b[1]);
    }
    c.reshape(y, out)
}
