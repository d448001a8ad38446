//! Dense row-major arrays.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// A dense row-major array; `data.len()` is the product of `shape`.
#[derive(Clone, Debug, PartialEq)]
pub struct Array<T> {
    /// Dimensions; empty for a scalar.
    pub shape: Vec<usize>,
    /// Entries, the last dimension fastest.
    pub data: Entries<T>,
}

/// A binary32 tensor.
pub type Tensor = Array<f32>;

/// The entries of an array. Copies share them until one is changed: a leaf, a reshaped value and a cotangent
/// that is handed on are in memory once.
#[derive(Clone, Debug, PartialEq)]
pub struct Entries<T>(Arc<Vec<T>>);

impl<T> From<Vec<T>> for Entries<T> {
    fn from(data: Vec<T>) -> Self {
        Entries(Arc::new(data))
    }
}

impl<T> Deref for Entries<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<'a, T> IntoIterator for &'a Entries<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<T: PartialEq, const N: usize> PartialEq<[T; N]> for Entries<T> {
    fn eq(&self, other: &[T; N]) -> bool {
        self[..] == other[..]
    }
}

impl<T: Clone> DerefMut for Entries<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        Arc::make_mut(&mut self.0).as_mut_slice()
    }
}

impl<T: Clone> Entries<T> {
    /// The entries themselves; copied where they are shared.
    pub fn into_vec(self) -> Vec<T> {
        Arc::unwrap_or_clone(self.0)
    }
}

/// Number of entries of a shape.
pub fn elements(shape: &[usize]) -> usize {
    shape.iter().product()
}

impl<T> Array<T> {
    /// An array from its parts; panics when they don't agree.
    pub fn new(shape: Vec<usize>, data: Vec<T>) -> Self {
        assert_eq!(elements(&shape), data.len(), "shape {shape:?} and number of entries disagree");
        Array { shape, data: data.into() }
    }

    /// Length of the last dimension; 1 for a scalar.
    pub fn row_len(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }
}

impl<T: Clone> Array<T> {
    /// The same entries in another shape; panics when it has another number of them.
    pub fn reshaped(&self, shape: Vec<usize>) -> Self {
        assert_eq!(elements(&shape), self.data.len(), "shape {shape:?} and number of entries disagree");
        Array { shape, data: self.data.clone() }
    }

    /// An array of equal entries.
    pub fn filled(shape: &[usize], value: T) -> Self {
        Array::new(shape.to_vec(), vec![value; elements(shape)])
    }
}
