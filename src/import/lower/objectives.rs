//! The losses of `--loss`, and what PyTorch means by the same names.

use super::call::{Call, Done, Problem};
use super::loss;
use crate::ir::ValueId;
use crate::num::Elementary;
use crate::ops::{self, Piecewise};

/// Mean of −log softmax(x)[label]: `torch.nn.functional.cross_entropy`.
pub(super) fn cross_entropy(c: &mut Call) -> Done {
    loss::cross_entropy(c)
}

/// Mean of −x[label]: `torch.nn.functional.nll_loss`.
pub(super) fn nll(c: &mut Call) -> Done {
    loss::nll(c)
}

/// Output and target of the same shape.
fn pair(c: &mut Call) -> Result<(ValueId, ValueId), Problem> {
    let (x, t) = (c.graph(0)?, c.graph(1)?);
    if c.sizes(x) != c.sizes(t) {
        return Err(format!("a target of shape {:?} for an output of shape {:?}", c.sizes(t), c.sizes(x)).into());
    }
    Ok((x, t))
}

fn mean_of_all(c: &mut Call, x: ValueId) -> Done {
    let n = c.sizes(x).iter().product();
    let flat = c.reshape(x, vec![n])?;
    let y = c.mean(flat, n)?;
    c.set(0, y);
    Ok(())
}

/// Mean of (x − t)²: `torch.nn.functional.mse_loss`.
pub(super) fn mse(c: &mut Call) -> Done {
    let (x, t) = pair(c)?;
    let d = c.emit(ops::Sub, &[x, t])?;
    let squares = c.emit(ops::Mul, &[d, d])?;
    mean_of_all(c, squares)
}

/// Mean of max(x, 0) − x·t + log(1 + e^−|x|): `torch.nn.functional.binary_cross_entropy_with_logits`.
pub(super) fn bce_logits(c: &mut Call) -> Done {
    let (x, t) = pair(c)?;
    let positive = c.emit(Piecewise::relu(), &[x])?;
    let product = c.emit(ops::Mul, &[x, t])?;
    let size = c.emit(Piecewise::abs(), &[x])?;
    let size = c.negated(size)?;
    let tail = c.smooth(Elementary::Softplus, size)?;
    let head = c.emit(ops::Sub, &[positive, product])?;
    let all = c.emit(ops::Add, &[head, tail])?;
    mean_of_all(c, all)
}

/// Sum of all entries.
pub(super) fn total(c: &mut Call) -> Done {
    let x = c.graph(0)?;
    let n = c.sizes(x).iter().product();
    let flat = c.reshape(x, vec![n])?;
    let y = c.sum(flat)?;
    c.set(0, y);
    Ok(())
}
