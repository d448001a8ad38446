//! What the backward pass starts from.

use crate::ir::{Tensor, ValueId};

/// A cotangent put on a value, exactly.
#[derive(Clone, Debug)]
pub struct Seed {
    /// The value.
    pub value: ValueId,
    /// Its cotangent, of the value's shape.
    pub cotangent: Tensor,
}

impl Seed {
    /// A cotangent of ones, the usual seed of a scalar loss.
    pub fn ones(value: ValueId, shape: &[usize]) -> Seed {
        Seed { value, cotangent: Tensor::filled(shape, 1.0) }
    }
}
