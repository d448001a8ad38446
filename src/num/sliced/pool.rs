//! Memory of earlier products, kept for the next one: fresh pages cost as much as a GEMM.

use crate::num::Mag;
use std::ops::{Deref, DerefMut};
use std::sync::Mutex;

/// Buffers that nobody uses at the moment.
#[derive(Debug, Default)]
pub(super) struct Pool<T>(Mutex<Vec<Vec<T>>>);

/// The buffers that sliced products of one arithmetic share.
#[derive(Debug, Default)]
pub(in crate::num) struct Scratch {
    pub(super) numbers: Pool<f64>,
    pub(super) mags: Pool<Mag>,
}

/// A buffer of anything that was left in it; goes back to its pool.
pub(super) struct Buffer<'p, T> {
    pool: &'p Pool<T>,
    data: Vec<T>,
    len: usize,
}

impl<T: Copy + Default> Pool<T> {
    /// A buffer of `len` numbers of any value.
    pub fn take(&self, len: usize) -> Buffer<'_, T> {
        let mut idle = self.0.lock().expect("no panic while the pool is held");
        let size = |i: &usize| idle[*i].len();
        let all = 0..idle.len();
        // the smallest that fits; otherwise the largest makes place for a new one
        let fit = all.clone().filter(|i| size(i) >= len).min_by_key(size);
        let found = fit.or(all.max_by_key(size)).map(|i| idle.swap_remove(i));
        drop(idle);
        let data = found.filter(|b| b.len() >= len).unwrap_or_else(|| vec![T::default(); len]);
        Buffer { pool: self, data, len }
    }
}

impl<T> Deref for Buffer<'_, T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.data[..self.len]
    }
}

impl<T> DerefMut for Buffer<'_, T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.data[..self.len]
    }
}

impl<T> Drop for Buffer<'_, T> {
    fn drop(&mut self) {
        if let Ok(mut idle) = self.pool.0.lock() {
            idle.push(std::mem::take(&mut self.data));
        }
    }
}
