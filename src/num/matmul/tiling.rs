//! Tiling of the binary32 product over caches and threads.

use std::cell::Cell;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::View;
use super::kernel::{self, CHUNK, Groups, Out, VECTORS};

/// Rows and columns of the block of the output that one task computes, at most.
const BLOCK_ROWS: usize = 288;
const BLOCK_COLS: usize = 512;

/// Below this many products everything stays on the calling thread.
const PARALLEL: usize = 1 << 18;

/// A·B for an m×k matrix A and a k×n matrix B, row after row.
///
/// Every entry is contracted on the tree of height `reduce::height(k)`; k = 0 gives +0.
/// Panics when a matrix is smaller than said.
pub fn matmul(a: View<f32>, b: View<f32>, m: usize, n: usize, k: usize) -> Vec<f32> {
    batched(a, b, &[(0, 0)], m, n, k)
}

/// Products of equal shape, one after the other: A_i·B_i, where A_i and B_i start at `offsets[i]` in the data
/// of `a` and `b`.
///
/// Entries as in [`matmul`]. Panics when a matrix is smaller than said.
pub fn batched(a: View<f32>, b: View<f32>, offsets: &[(usize, usize)], m: usize, n: usize, k: usize) -> Vec<f32> {
    batched_on(Arch::new(), a, b, offsets, (m, n, k))
}

/// [`batched`] on a given instruction set.
pub(super) fn batched_on(
    arch: Arch,
    a: View<f32>,
    b: View<f32>,
    offsets: &[(usize, usize)],
    (m, n, k): (usize, usize, usize),
) -> Vec<f32> {
    let len = m.checked_mul(n).and_then(|x| x.checked_mul(offsets.len())).expect("the product fits in memory");
    for &(oa, ob) in offsets {
        a.check(oa, m, k, "A");
        b.check(ob, k, n, "B");
    }
    if len == 0 || k == 0 {
        return vec![0.0; len];
    }
    let mut c: Vec<f32> = Vec::with_capacity(len);
    arch.dispatch(Plan { arch, c: c.as_mut_ptr(), a, b, offsets, m, n, k });
    // SAFETY: every entry belongs to one task, which writes it with its last chunk; a panic of a task passes
    // through `dispatch` and leaves `c` empty.
    unsafe { c.set_len(len) };
    c
}

/// All of a product, before it is cut into tasks.
struct Plan<'a> {
    arch: Arch,
    /// The output, of as many entries as there are, not yet written.
    c: *mut f32,
    a: View<'a, f32>,
    b: View<'a, f32>,
    offsets: &'a [(usize, usize)],
    m: usize,
    n: usize,
    k: usize,
}

/// The output, shared by tasks that write disjoint entries.
#[derive(Clone, Copy)]
struct Shared(*mut f32);
// SAFETY: tasks write disjoint entries (each has its own batch entry, rows and columns), and the output, which
// nobody else knows of yet, outlives them.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl WithSimd for Plan<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Plan { arch, c, mut a, mut b, offsets, mut m, mut n, k } = self;
        let lanes = S::F32_LANES;
        let mut strides = (n, 1);
        // Cᵀ = Bᵀ·Aᵀ where that fills vectors better: a product is commutative, so the bits stay.
        let transposed = n.next_multiple_of(lanes) * m > m.next_multiple_of(lanes) * n;
        if transposed {
            (a, b) = (b.t(), a.t());
            (m, n) = (n, m);
            strides = (1, m);
        }
        let (rows, cols) = block_size(m, n, k, offsets.len(), kernel::tile_rows::<S>(), VECTORS * lanes);
        let (down, across) = (m.div_ceil(rows), n.div_ceil(cols));
        let c = Shared(c);
        let run = move |t: usize| {
            // Bind the whole wrapper, so that the closure captures it and not the bare pointer.
            let c: Shared = c;
            let (batch, t) = (t / (down * across), t % (down * across));
            let (i0, j0) = (t / across * rows, t % across * cols);
            let (oa, ob) = if transposed { (offsets[batch].1, offsets[batch].0) } else { offsets[batch] };
            arch.dispatch(Task {
                a: View { data: &a.data[oa + i0 * a.row_stride..], ..a },
                b: View { data: &b.data[ob + j0 * b.col_stride..], ..b },
                // SAFETY: entry (i0, j0) of the batch entry lies in the output.
                c: unsafe { c.0.add(batch * m * n + i0 * strides.0 + j0 * strides.1) },
                strides,
                size: (rows.min(m - i0), cols.min(n - j0)),
                k,
            });
        };
        let tasks = offsets.len() * down * across;
        if tasks == 1 || offsets.len() * m * n * k < PARALLEL {
            (0..tasks).for_each(run);
        } else {
            (0..tasks).into_par_iter().with_max_len(1).for_each(run);
        }
    }
}

/// Rows and columns of a task: as large as the caches like, small enough to keep all threads busy.
fn block_size(m: usize, n: usize, k: usize, batch: usize, tile_rows: usize, tile_cols: usize) -> (usize, usize) {
    let even = |n: usize, most: usize, unit: usize| n.div_ceil(n.div_ceil(most)).next_multiple_of(unit);
    let (mut rows, mut cols) = (even(m, BLOCK_ROWS, tile_rows), even(n, BLOCK_COLS, tile_cols));
    let threads = rayon::current_num_threads();
    if threads > 1 && batch * m * n * k >= PARALLEL {
        // Three tasks a thread even out; halve the side whose panels are read again least.
        while batch * m.div_ceil(rows) * n.div_ceil(cols) < 3 * threads {
            if cols >= 2 * tile_cols && (cols >= 2 * rows || rows < 2 * tile_rows) {
                cols = (cols / 2).next_multiple_of(tile_cols);
            } else if rows >= 2 * tile_rows {
                rows = (rows / 2).next_multiple_of(tile_rows);
            } else {
                break;
            }
        }
    }
    (rows, cols)
}

/// One block of the output.
struct Task<'a> {
    a: View<'a, f32>,
    b: View<'a, f32>,
    c: *mut f32,
    strides: (usize, usize),
    size: (usize, usize),
    k: usize,
}

/// A cache line; the unit of scratch memory, so that vectors never straddle two.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

thread_local! {
    /// Packed panels and results of earlier chunks, kept for the next task of the thread.
    static SCRATCH: Cell<Vec<Line>> = const { Cell::new(Vec::new()) };
}

impl WithSimd for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (tile_rows, tile_cols) = (kernel::tile_rows::<S>(), VECTORS * S::F32_LANES);
        let (rows, cols) = self.size;
        let (down, across) = (rows.div_ceil(tile_rows), cols.div_ceil(tile_cols));
        if rows.min(cols) == 1 && self.a.col_stride == 1 && self.b.row_stride == 1 {
            return self.dots(simd);
        }
        // Numbers that are used once, or once for each column, are read where they are.
        let single = rows == 1;
        let direct = if down == 1 && self.b.col_stride == 1 { cols / tile_cols } else { 0 };
        let chunks = self.k.div_ceil(CHUNK);
        let depth = CHUNK.min(self.k);
        let levels = chunks.next_power_of_two().trailing_zeros() as usize;
        let line = |n: usize| n.next_multiple_of(16);
        let len_a = line(down * tile_rows * depth);
        let len_b = line(across * tile_cols * depth);
        let len_tile = line(kernel::tile_len::<S>());
        let lines = (len_a + len_b + levels * down * across * len_tile) / 16;
        // Taken, not borrowed: a closure would be compiled without this instruction set.
        let mut kept = SCRATCH.take();
        if kept.len() < lines {
            kept.resize(lines, Line([0.0; 16]));
        }
        // SAFETY: a `Line` is 16 numbers without padding, and `lines` of them exist.
        let scratch = unsafe { std::slice::from_raw_parts_mut(kept.as_mut_ptr().cast::<f32>(), lines * 16) };
        let (pa, rest) = scratch.split_at_mut(len_a);
        let (pb, waiting) = rest.split_at_mut(len_b);
        let waiting = waiting.as_mut_ptr();
        let mut parts = [std::ptr::null::<f32>(); usize::BITS as usize];
        for chunk in 0..chunks {
            let p0 = chunk * CHUNK;
            let k = CHUNK.min(self.k - p0);
            // SAFETY: the plan checked that all entries up to the last of the matrix are there.
            let (a, b) = unsafe {
                let a = self.a.data.as_ptr().add(p0 * self.a.col_stride);
                let b = self.b.data.as_ptr().add(p0 * self.b.row_stride);
                if !single {
                    kernel::pack::<S>(pa, a, (k, self.a.col_stride), (rows, self.a.row_stride), tile_rows);
                }
                if direct < across {
                    let (done, strides) = (direct * tile_cols, (self.b.row_stride, self.b.col_stride));
                    kernel::pack::<S>(pb, b.add(done * strides.1), (k, strides.0), (cols - done, strides.1), tile_cols);
                }
                (a, b)
            };
            // The binary counter over chunks continues the one over blocks inside a chunk.
            let last = chunk + 1 == chunks;
            let due = if last { chunk } else { chunk & !(chunk + 1) };
            for i in 0..down {
                for j in 0..across {
                    let at = |level: usize| (level * down * across + i * across + j) * len_tile;
                    let mut count = 0;
                    for level in (0..levels).filter(|l| due >> l & 1 == 1) {
                        // SAFETY: level < levels, and the tile lies in the scratch memory.
                        parts[count] = unsafe { waiting.add(at(level)) };
                        count += 1;
                    }
                    let used = (tile_rows.min(rows - i * tile_rows), tile_cols.min(cols - j * tile_cols));
                    // SAFETY: the last chunk writes to the tile's entries of C, which belong to this task;
                    // another one to its tile in the scratch memory, which has all rows and columns.
                    unsafe {
                        let (to, strides) = if last {
                            let (row, col) = (i * tile_rows * self.strides.0, j * tile_cols * self.strides.1);
                            (self.c.add(row + col), self.strides)
                        } else {
                            (waiting.add(at(count)), (tile_cols, 1))
                        };
                        let out = Out { parts: &parts[..count], to, strides, size: used };
                        let a = if single {
                            Groups { first: a, step: self.a.col_stride }
                        } else {
                            Groups { first: pa.as_ptr().add(i * tile_rows * k), step: tile_rows }
                        };
                        let b = if j < direct {
                            Groups { first: b.add(j * tile_cols), step: self.b.row_stride }
                        } else {
                            Groups { first: pb.as_ptr().add((j - direct) * tile_cols * k), step: tile_cols }
                        };
                        kernel::tile(simd, k, a, b, &out);
                    }
                }
            }
        }
        SCRATCH.set(kept);
    }
}

impl Task<'_> {
    /// The entries one by one, of factors whose numbers follow each other along the contraction.
    #[inline(always)]
    fn dots<S: Simd>(self, simd: S) {
        for i in 0..self.size.0 {
            for j in 0..self.size.1 {
                // SAFETY: the plan checked that all entries up to the last of both matrices are there, and the
                // entry of C belongs to this task.
                unsafe {
                    let a = self.a.data.as_ptr().add(i * self.a.row_stride);
                    let b = self.b.data.as_ptr().add(j * self.b.col_stride);
                    *self.c.add(i * self.strides.0 + j * self.strides.1) = kernel::dot(simd, self.k, a, b);
                }
            }
        }
    }
}
