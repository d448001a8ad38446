//! Matrix products.
//!
//! [`matmul`] and [`batched`] are the binary32 products of the runtime: every output entry is
//! contracted on the one tree of [`reduce::height`](super::reduce::height), whatever the sizes of the
//! matrices, their memory layout, the number of threads and the width of the vector unit.
//! [`matmul_up`] and [`matmul_f64`] are the binary64 products of bounds and defects, whose order is
//! free because their error is bounded for any order. [`running_error`] replays the tree of a binary32
//! product and bounds its error by the partial results.

mod kernel;
mod running;
mod tiling;
mod wide;

pub use running::running_error;
pub use tiling::{batched, matmul};
pub use wide::{matmul_f64, matmul_f64_add, matmul_up};

/// A matrix in memory: entry (i, j) is `data[i·row_stride + j·col_stride]`. A transposed matrix has
/// its strides swapped, a broadcast one has a stride 0.
#[derive(Debug)]
pub struct View<'a, T> {
    /// The entries, from (0, 0) on.
    pub data: &'a [T],
    /// Distance from a row to the next.
    pub row_stride: usize,
    /// Distance from a column to the next.
    pub col_stride: usize,
}

// Not derived: a view of anything may be copied.
impl<T> Clone for View<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for View<'_, T> {}

impl<'a, T> View<'a, T> {
    /// A matrix with `cols` columns whose rows follow each other.
    pub fn rows(data: &'a [T], cols: usize) -> Self {
        View { data, row_stride: cols, col_stride: 1 }
    }

    /// The same matrix, transposed.
    pub fn t(self) -> Self {
        View { data: self.data, row_stride: self.col_stride, col_stride: self.row_stride }
    }

    /// The same strides over the data from `offset` on.
    pub fn from(self, offset: usize) -> Self {
        View { data: &self.data[offset..], ..self }
    }

    /// The entries up to (rows − 1, cols − 1) of the matrix that starts at `offset`; panics unless
    /// they are all there.
    fn check(&self, offset: usize, rows: usize, cols: usize, name: &str) -> &'a [T] {
        if rows == 0 || cols == 0 {
            return &[];
        }
        let span = |n: usize, stride: usize| (n - 1).checked_mul(stride);
        let last = span(rows, self.row_stride)
            .zip(span(cols, self.col_stride))
            .and_then(|(r, c)| r.checked_add(c)?.checked_add(offset));
        match last {
            Some(last) if last < self.data.len() => &self.data[offset..=last],
            _ => panic!(
                "matrix {name} of {rows}×{cols} with strides {}, {} at {offset} exceeds its {} entries",
                self.row_stride,
                self.col_stride,
                self.data.len()
            ),
        }
    }
}

#[cfg(test)]
mod tests;
