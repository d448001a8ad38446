//! Dense row-major arrays.

/// A dense row-major array; `data.len()` is the product of `shape`.
#[derive(Clone, Debug, PartialEq)]
pub struct Array<T> {
    /// Dimensions; empty for a scalar.
    pub shape: Vec<usize>,
    /// Entries, the last dimension fastest.
    pub data: Vec<T>,
}

/// A binary32 tensor.
pub type Tensor = Array<f32>;

/// Number of entries of a shape.
pub fn elements(shape: &[usize]) -> usize {
    shape.iter().product()
}

impl<T> Array<T> {
    /// An array from its parts; panics when they don't agree.
    pub fn new(shape: Vec<usize>, data: Vec<T>) -> Self {
        assert_eq!(elements(&shape), data.len(), "shape {shape:?} and number of entries disagree");
        Array { shape, data }
    }

    /// Length of the last dimension; 1 for a scalar.
    pub fn row_len(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }
}

impl<T: Clone> Array<T> {
    /// An array of equal entries.
    pub fn filled(shape: &[usize], value: T) -> Self {
        Array { shape: shape.to_vec(), data: vec![value; elements(shape)] }
    }
}
