//! The micro-kernel: one tile of the output over one chunk of the contraction, and packing.
//!
//! Loops run over indices: adapters of iterators are compiled in modules of their own, without this
//! instruction set, and would be called from the innermost loop.

#![allow(clippy::needless_range_loop)]

use std::mem::MaybeUninit;

use pulp::Simd;

use crate::num::reduce::BLOCK;

/// Vectors per row of a tile.
pub(super) const VECTORS: usize = 2;

/// Most rows of a tile.
pub(super) const MAX_ROWS: usize = 12;

/// Products per chunk; a power of two of blocks, so that a full chunk is a subtree.
pub(super) const CHUNK: usize = 8 * BLOCK;

/// Levels of the split inside a chunk: a chunk has at most 2^LEVELS blocks.
const LEVELS: usize = (CHUNK / BLOCK).trailing_zeros() as usize;

/// Rows of a tile on this instruction set: as many accumulators as registers allow.
#[inline(always)]
pub(super) fn tile_rows<S: Simd>() -> usize {
    if S::REGISTER_COUNT >= 32 { MAX_ROWS } else { 6 }
}

/// Where the results of a tile go. `parts` are the tile's results of earlier chunks that are due to
/// be added, the most recent first.
pub(super) struct Out<'a> {
    /// Addresses of earlier results, each a tile of `tile_rows` rows of VECTORS vectors.
    pub parts: &'a [*const f32],
    /// Address of the result.
    pub to: *mut f32,
    /// Distance between rows and between columns of the result.
    pub strides: (usize, usize),
    /// How many rows and columns to write.
    pub size: (usize, usize),
}

/// The numbers of one factor that meet in a tile: those of the first product, and how far those of the next are.
#[derive(Clone, Copy)]
pub(super) struct Groups {
    pub first: *const f32,
    pub step: usize,
}

impl Groups {
    /// The groups from product p on.
    ///
    /// # Safety
    /// There is a product p.
    #[inline(always)]
    unsafe fn from(self, p: usize) -> Groups {
        // SAFETY: the caller's word
        Groups { first: unsafe { self.first.add(p * self.step) }, ..self }
    }
}

/// Computes a tile: `size.0` rows (of `a`) times `size.1` columns (of `b`) over `k` products.
///
/// A group of `a` holds `tile_rows` numbers (one, for a single row), one of `b` VECTORS vectors.
///
/// # Safety
/// `a` and `b` are readable for `k` groups, `out.parts` for whole tiles, and `out.to` is writable at
/// `size` entries with `strides`, by this thread alone.
#[inline(always)]
pub(super) unsafe fn tile<S: Simd>(simd: S, k: usize, a: Groups, b: Groups, out: &Out) {
    let narrow = out.size.1 <= S::F32_LANES;
    // Fewer rows cost less; a tile is never higher than `tile_rows`. Rows and vectors beyond the size are
    // computed from the padding and not written.
    macro_rules! rows {
        ($($rows:literal)+) => {
            match (out.size.0, narrow) {
                $(
                    // SAFETY: the caller's contract.
                    (..=$rows, true) => unsafe { tile_of::<S, $rows, 1>(simd, k, a, b, out) },
                    (..=$rows, false) => unsafe { tile_of::<S, $rows, 2>(simd, k, a, b, out) },
                )+
                _ => unreachable!("a tile has at most {MAX_ROWS} rows"),
            }
        };
    }
    if S::REGISTER_COUNT >= 32 { rows!(1 2 4 8 12) } else { rows!(1 2 4 6) }
}

/// # Safety
/// As [`tile`], with `size` at most `M` rows and `V` vectors.
#[inline(always)]
unsafe fn tile_of<S: Simd, const M: usize, const V: usize>(simd: S, k: usize, a: Groups, b: Groups, out: &Out) {
    // Level l, M·V vectors, holds the sum of 2^l blocks while bit l of the block's number is set.
    let mut waiting = Waiting([const { [[MaybeUninit::<S::f32s>::uninit(); V]; M] }; LEVELS]);
    let blocks = k.div_ceil(BLOCK);
    for block in 0..blocks - 1 {
        // SAFETY: all blocks but the last are whole, and their groups are readable.
        let mut acc = unsafe { chain::<S, M, V>(simd, BLOCK, a.from(block * BLOCK), b.from(block * BLOCK)) };
        let level = block.trailing_ones() as usize;
        for left in &waiting.0[..level] {
            // SAFETY: the bits below `level` are set, so earlier blocks stored these levels.
            unsafe { add(simd, left.as_ptr().cast(), V, &mut acc) };
        }
        for i in 0..M {
            for v in 0..V {
                waiting.0[level][i][v].write(acc[i][v]);
            }
        }
    }
    let last = blocks - 1;
    let done = last * BLOCK;
    // SAFETY: the last block's groups are readable.
    let mut acc = unsafe { chain::<S, M, V>(simd, k - done, a.from(done), b.from(done)) };
    // The last block takes in all that waits, from the lowest level up.
    for level in 0..LEVELS {
        if last >> level & 1 == 1 {
            // SAFETY: bit `level` is set, so an earlier block stored this level.
            unsafe { add(simd, waiting.0[level].as_ptr().cast(), V, &mut acc) };
        }
    }
    for &part in out.parts {
        // SAFETY: parts are whole tiles.
        unsafe { add(simd, part.cast(), VECTORS, &mut acc) };
    }
    // SAFETY: the caller's contract on `out.to`.
    unsafe { store::<S, M, V>(&acc, out) };
}

/// Partial results that wait for their neighbours, at the start of a cache line.
#[repr(align(64))]
struct Waiting<T>([T; LEVELS]);

/// One block: a chain of multiply–adds from 0 for every entry of the tile.
///
/// A function of its own, so that the accumulators stay in registers: nothing here takes their address.
///
/// # Safety
/// `a` and `b` are readable for `k` groups.
#[inline(always)]
unsafe fn chain<S: Simd, const M: usize, const V: usize>(simd: S, k: usize, a: Groups, b: Groups) -> [[S::f32s; V]; M] {
    let (a_step, b_step) = (a.step, b.step);
    let (mut a, mut b) = (a.first, b.first);
    let zero = simd.splat_f32s(0.0);
    let mut acc = [[zero; V]; M];
    for _ in 0..k {
        // SAFETY: group number `_` < k.
        unsafe {
            let mut bs = [zero; V];
            for v in 0..V {
                bs[v] = b.cast::<S::f32s>().add(v).read_unaligned();
            }
            for i in 0..M {
                let ai = simd.splat_f32s(*a.add(i));
                for v in 0..V {
                    acc[i][v] = simd.mul_add_f32s(ai, bs[v], acc[i][v]);
                }
            }
            // no further than the last group: there may be nothing behind it
            a = a.wrapping_add(a_step);
            b = b.wrapping_add(b_step);
        }
    }
    acc
}

/// Adds a tile in memory, on the left: M rows, `stride` vectors apart.
///
/// # Safety
/// The rows are readable.
#[inline(always)]
unsafe fn add<S: Simd, const M: usize, const V: usize>(
    simd: S,
    left: *const S::f32s,
    stride: usize,
    acc: &mut [[S::f32s; V]; M],
) {
    for i in 0..M {
        for v in 0..V {
            // SAFETY: the caller's contract.
            acc[i][v] = simd.add_f32s(unsafe { left.add(i * stride + v).read_unaligned() }, acc[i][v]);
        }
    }
}

/// # Safety
/// `out.to` is writable at `out.size` entries with `out.strides`.
#[inline(always)]
unsafe fn store<S: Simd, const M: usize, const V: usize>(acc: &[[S::f32s; V]; M], out: &Out) {
    let ((rows, cols), (row_stride, col_stride)) = (out.size, out.strides);
    if cols == V * S::F32_LANES && col_stride == 1 {
        for i in 0..M {
            if i < rows {
                for v in 0..V {
                    // SAFETY: i < rows, and v < V vectors make up the columns.
                    unsafe { out.to.add(i * row_stride).cast::<S::f32s>().add(v).write_unaligned(acc[i][v]) };
                }
            }
        }
    } else {
        // A copy, so that the accumulators themselves need no address.
        let copy = *acc;
        for i in 0..M.min(rows) {
            let from = copy[i].as_ptr().cast::<f32>();
            for j in 0..cols {
                // SAFETY: i < rows and j < cols, which is at most V vectors.
                unsafe { *out.to.add(i * row_stride + j * col_stride) = *from.add(j) };
            }
        }
    }
}

/// Packs a `k × n` matrix into panels of `width` columns: for each panel and each product p, the
/// panel's `width` numbers, missing ones 0.
///
/// # Safety
/// `from` is readable at every p·`k_stride` + j·`n_stride`, and `to` has `k · width · ⌈n/width⌉` entries.
#[inline(always)]
pub(super) unsafe fn pack<S: Simd>(
    to: &mut [f32],
    from: *const f32,
    (k, k_stride): (usize, usize),
    (n, n_stride): (usize, usize),
    width: usize,
) {
    for (panel, to) in to.chunks_exact_mut(k * width).take(n.div_ceil(width)).enumerate() {
        let cols = width.min(n - panel * width);
        // SAFETY: the panel's columns start inside the matrix.
        let from = unsafe { from.add(panel * width * n_stride) };
        if cols < width {
            for p in 0..k {
                for j in cols..width {
                    to[p * width + j] = 0.0;
                }
            }
        }
        // SAFETY: p < k and j < cols throughout; `to` has k·width entries.
        unsafe {
            if n_stride == 1 && cols == width && width.is_multiple_of(S::F32_LANES) {
                for p in 0..k {
                    let (from, to) = (from.add(p * k_stride), to.as_mut_ptr().add(p * width));
                    for v in 0..width / S::F32_LANES {
                        let x = from.cast::<S::f32s>().add(v).read_unaligned();
                        to.cast::<S::f32s>().add(v).write_unaligned(x);
                    }
                }
            } else if n_stride == 1 {
                let quads = cols - cols % 4;
                for p in 0..k {
                    let (from, to) = (from.add(p * k_stride), to.as_mut_ptr().add(p * width));
                    for j in (0..quads).step_by(4) {
                        to.add(j).cast::<[f32; 4]>().write_unaligned(from.add(j).cast::<[f32; 4]>().read_unaligned());
                    }
                    for j in quads..cols {
                        *to.add(j) = *from.add(j);
                    }
                }
            } else if k_stride == 1 {
                // Squares of 4×4, then what is left to the right and below.
                let (square_k, square_cols) = (k - k % 4, cols - cols % 4);
                for j in (0..square_cols).step_by(4) {
                    for p in (0..square_k).step_by(4) {
                        transpose4(from.add(j * n_stride + p), n_stride, to.as_mut_ptr().add(p * width + j), width);
                    }
                }
                for j in 0..cols {
                    for p in if j < square_cols { square_k } else { 0 }..k {
                        *to.get_unchecked_mut(p * width + j) = *from.add(j * n_stride + p);
                    }
                }
            } else {
                for p in 0..k {
                    for j in 0..cols {
                        *to.get_unchecked_mut(p * width + j) = *from.add(p * k_stride + j * n_stride);
                    }
                }
            }
        }
    }
}

/// Copies a 4×4 square, transposed: `to[q·to_stride + j] = from[j·from_stride + q]`.
///
/// # Safety
/// The entries of both squares are readable and writable.
#[inline(always)]
unsafe fn transpose4(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the caller's contract; SSE is part of x86_64.
    unsafe {
        use std::arch::x86_64::{_MM_TRANSPOSE4_PS, _mm_loadu_ps, _mm_storeu_ps};
        let mut r0 = _mm_loadu_ps(from);
        let mut r1 = _mm_loadu_ps(from.add(from_stride));
        let mut r2 = _mm_loadu_ps(from.add(2 * from_stride));
        let mut r3 = _mm_loadu_ps(from.add(3 * from_stride));
        _MM_TRANSPOSE4_PS(&mut r0, &mut r1, &mut r2, &mut r3);
        _mm_storeu_ps(to, r0);
        _mm_storeu_ps(to.add(to_stride), r1);
        _mm_storeu_ps(to.add(2 * to_stride), r2);
        _mm_storeu_ps(to.add(3 * to_stride), r3);
    }
    #[cfg(not(target_arch = "x86_64"))]
    for j in 0..4 {
        for q in 0..4 {
            // SAFETY: the caller's contract.
            unsafe { *to.add(q * to_stride + j) = *from.add(j * from_stride + q) };
        }
    }
}

/// Blocks that [`dot`] works on side by side: all of a chunk.
const ABREAST: usize = CHUNK / BLOCK;

/// One entry over k ≥ 1 products of numbers that follow each other.
///
/// # Safety
/// `a` and `b` are readable for `k` numbers.
#[inline(always)]
pub(super) unsafe fn dot<S: Simd>(_: S, k: usize, a: *const f32, b: *const f32) -> f32 {
    // Level l holds the sum of 2^l chunks while bit l of the chunk's number is set.
    let mut waiting = [0.0f32; usize::BITS as usize];
    let chunks = k.div_ceil(CHUNK);
    for chunk in 0..chunks {
        let done = chunk * CHUNK;
        let here = CHUNK.min(k - done);
        let blocks = here.div_ceil(BLOCK);
        let mut acc = [0.0f32; ABREAST];
        // SAFETY: all products below done + here are there.
        unsafe {
            let (a, b) = (a.add(done), b.add(done));
            if here == CHUNK {
                for p in 0..BLOCK {
                    for block in 0..ABREAST {
                        acc[block] = (*a.add(block * BLOCK + p)).mul_add(*b.add(block * BLOCK + p), acc[block]);
                    }
                }
            } else {
                for block in 0..blocks {
                    for p in block * BLOCK..here.min((block + 1) * BLOCK) {
                        acc[block] = (*a.add(p)).mul_add(*b.add(p), acc[block]);
                    }
                }
            }
        }
        // The split of the blocks: neighbours pair up, and a last one without a neighbour waits for the next round.
        let mut parts = blocks;
        while parts > 1 {
            for i in 0..parts / 2 {
                acc[i] = acc[2 * i] + acc[2 * i + 1];
            }
            if parts % 2 == 1 {
                acc[parts / 2] = acc[parts - 1];
            }
            parts = parts.div_ceil(2);
        }
        let last = chunk + 1 == chunks;
        let mut sum = acc[0];
        let mut level = 0;
        while if last { chunk >> level > 0 } else { chunk >> level & 1 == 1 } {
            if chunk >> level & 1 == 1 {
                sum += waiting[level];
            }
            level += 1;
        }
        if last {
            return sum;
        }
        waiting[level] = sum;
    }
    0.0
}

/// Numbers in a whole tile of this instruction set.
#[inline(always)]
pub(super) fn tile_len<S: Simd>() -> usize {
    tile_rows::<S>() * VECTORS * S::F32_LANES
}
