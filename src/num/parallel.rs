//! Loops over all threads, in pieces whose results don't depend on who computes them.
//!
//! Every loop goes through one function on a borrowed body: the machinery of the thread pool is compiled
//! once, not once for each of the thousand bodies that the arithmetics make of the definitions.
//!
//! The innermost loops are functions of their own over indices: their arguments tell the compiler that what is read
//! isn't written, and iterators' adapters would be calls.

#![allow(clippy::needless_range_loop)]

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;
use std::cell::Cell;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Pieces for every thread: enough that none waits long for the last.
const PIECES: usize = 16;

/// Pieces for every thread from which on a loop inside a piece isn't cut again.
const ENOUGH: usize = 4;

thread_local! {
    /// Is this thread at a piece of a loop that keeps all threads busy?
    static BUSY: Cell<bool> = const { Cell::new(false) };
}

/// What [`BUSY`] was, and is again at the end of a piece, however that comes.
struct Busy(bool);

impl Drop for Busy {
    fn drop(&mut self) {
        BUSY.set(self.0);
    }
}

/// Calls `body` on disjoint ranges that make up 0..n, each of `grain` or more indices unless n has fewer.
pub fn ranges(n: usize, grain: usize, body: &(dyn Fn(Range<usize>) + Sync)) {
    let threads = rayon::current_num_threads();
    let pieces = (n / grain.max(1)).min(PIECES * threads);
    if pieces <= 1 || BUSY.get() {
        if n > 0 {
            body(0..n);
        }
        return;
    }
    let start = |p: usize| p * (n / pieces) + p.min(n % pieces);
    let piece = |p: usize| {
        let _before = Busy(BUSY.replace(pieces >= ENOUGH * threads));
        body(start(p)..start(p + 1));
    };
    (0..pieces).into_par_iter().with_max_len(1).for_each(piece);
}

/// A place that several threads write to, each its own entries.
struct Shared<T>(*mut T);

// SAFETY: the functions below hand every entry to one call of the body only, so that no two threads have a
// reference to one entry, and no &T is shared: T need not be Sync. It is made, changed and dropped on other threads
// than the caller's, so it must be Send. The pool ends or unwinds only when all pieces have: no piece outlives what
// it writes to.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// # Safety
    /// `at` lies within the allocation.
    unsafe fn at(&self, at: usize) -> *mut T {
        // SAFETY: the caller's word
        unsafe { self.0.add(at) }
    }
}

/// n entries, each range of them made by one call of `body`, which writes all of it.
fn made<T: Send>(n: usize, grain: usize, body: &(impl Fn(Range<usize>, &mut [MaybeUninit<T>]) + Sync)) -> Vec<T> {
    let mut out: Vec<T> = Vec::with_capacity(n);
    let to = Shared(out.as_mut_ptr());
    ranges(n, grain, &|range| {
        // SAFETY: the range lies within the capacity, and `ranges` covers each index once. A panic of the body
        // leaves `out` empty: what was written leaks.
        let part = unsafe { std::slice::from_raw_parts_mut(to.at(range.start).cast(), range.len()) };
        body(range, part);
    });
    // SAFETY: all n entries have been written
    unsafe { out.set_len(n) };
    out
}

/// f(0), f(1), …, f(n−1), in order.
pub fn map<T: Send>(n: usize, grain: usize, f: impl Fn(usize) -> T + Sync) -> Vec<T> {
    made(n, grain, &|range, out| fill(out, range.start, &f))
}

/// f(start), f(start + 1), ….
fn fill<T>(out: &mut [MaybeUninit<T>], start: usize, f: &impl Fn(usize) -> T) {
    for i in 0..out.len() {
        out[i].write(f(start + i));
    }
}

/// f(x_0), f(x_1), …: a few instructions for each entry, in vectors of the best instruction set there is.
pub fn map1<A: Sync, T: Send>(x: &[A], grain: usize, f: impl Fn(&A) -> T + Sync) -> Vec<T> {
    let arch = Arch::new();
    made(x.len(), grain, &|range, out| arch.dispatch(Map1 { out, x: &x[range], f: &f }))
}

struct Map1<'a, A, T, F> {
    out: &'a mut [MaybeUninit<T>],
    x: &'a [A],
    f: &'a F,
}

impl<A, T, F: Fn(&A) -> T> WithSimd for Map1<'_, A, T, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        fill1(self.out, self.x, self.f);
    }
}

#[inline(always)]
fn fill1<A, T>(out: &mut [MaybeUninit<T>], x: &[A], f: &impl Fn(&A) -> T) {
    let x = &x[..out.len()];
    for i in 0..out.len() {
        out[i].write(f(&x[i]));
    }
}

/// f(x_0, y_0), f(x_1, y_1), …, as [`map1`]. Panics unless there are as many y as x.
pub fn map2<A: Sync, B: Sync, T: Send>(x: &[A], y: &[B], grain: usize, f: impl Fn(&A, &B) -> T + Sync) -> Vec<T> {
    assert_eq!(x.len(), y.len(), "entries to pair");
    let arch = Arch::new();
    made(x.len(), grain, &|range, out| arch.dispatch(Map2 { out, x: &x[range.clone()], y: &y[range], f: &f }))
}

struct Map2<'a, A, B, T, F> {
    out: &'a mut [MaybeUninit<T>],
    x: &'a [A],
    y: &'a [B],
    f: &'a F,
}

impl<A, B, T, F: Fn(&A, &B) -> T> WithSimd for Map2<'_, A, B, T, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        fill2(self.out, self.x, self.y, self.f);
    }
}

#[inline(always)]
fn fill2<A, B, T>(out: &mut [MaybeUninit<T>], x: &[A], y: &[B], f: &impl Fn(&A, &B) -> T) {
    let (x, y) = (&x[..out.len()], &y[..out.len()]);
    for i in 0..out.len() {
        out[i].write(f(&x[i], &y[i]));
    }
}

/// All of f(0), f(1), …, f(n−1), one after another.
pub fn flat<T: Send>(n: usize, grain: usize, f: impl Fn(usize) -> Vec<T> + Sync) -> Vec<T> {
    let mut parts = map(n, grain, f);
    if parts.len() == 1 {
        return parts.pop().unwrap_or_default();
    }
    let mut out = Vec::with_capacity(parts.iter().map(Vec::len).sum());
    parts.iter_mut().for_each(|p| out.append(p));
    out
}

/// `body(c, chunk)` for the c-th chunk of `size` entries (the last may be shorter), `grain` or more chunks at
/// a time.
pub fn chunks<T: Send>(data: &mut [T], size: usize, grain: usize, body: impl Fn(usize, &mut [T]) + Sync) {
    let (n, size) = (data.len(), size.max(1));
    let from = Shared(data.as_mut_ptr());
    ranges(n.div_ceil(size), grain, &|range| {
        for c in range {
            let (start, end) = (c * size, n.min((c + 1) * size));
            // SAFETY: start..end lies within `data`, which is borrowed for this call; no two c overlap, and
            // `ranges` covers each once
            body(c, unsafe { std::slice::from_raw_parts_mut(from.at(start), end - start) });
        }
    });
}

/// `n` lines of `size` entries, one after the other: `body(l, line)` makes line l from `blank` entries.
pub fn lines<T: Copy + Send + Sync>(
    n: usize,
    size: usize,
    blank: T,
    grain: usize,
    body: impl Fn(usize, &mut [T]) + Sync,
) -> Vec<T> {
    let mut out: Vec<T> = Vec::with_capacity(n * size);
    let to = Shared(out.as_mut_ptr());
    ranges(n, grain, &|range| {
        for l in range {
            // SAFETY: line l lies within the capacity, no two overlap, and `ranges` covers each once; it is written
            // before it is lent. A panic of the body leaves `out` empty, and T: Copy has nothing to drop.
            let line = unsafe {
                let start = to.at(l * size);
                std::slice::from_raw_parts_mut(start.cast::<MaybeUninit<T>>(), size).fill(MaybeUninit::new(blank));
                std::slice::from_raw_parts_mut(start, size)
            };
            body(l, line);
        }
    });
    // SAFETY: all n lines have been written
    unsafe { out.set_len(n * size) };
    out
}

/// `body(i, entry)` for every entry.
pub fn each<T: Send>(data: &mut [T], grain: usize, body: impl Fn(usize, &mut T) + Sync) {
    // the length first: `data` isn't looked at while its entries are written through `from`
    let n = data.len();
    let from = Shared(data.as_mut_ptr());
    ranges(n, grain, &|range| {
        // SAFETY: the range lies within `data`, which is borrowed for this call, and `ranges` covers each index once
        change(unsafe { std::slice::from_raw_parts_mut(from.at(range.start), range.len()) }, range.start, &body);
    });
}

/// `body` of every entry, the first of which is number `start`.
fn change<T>(part: &mut [T], start: usize, body: &impl Fn(usize, &mut T)) {
    for i in 0..part.len() {
        body(start + i, &mut part[i]);
    }
}

/// Of how many indices below n is `f` true?
pub fn count(n: usize, grain: usize, f: impl Fn(usize) -> bool + Sync) -> usize {
    let found = std::sync::atomic::AtomicUsize::new(0);
    ranges(n, grain, &|range| {
        found.fetch_add(range.filter(|&i| f(i)).count(), std::sync::atomic::Ordering::Relaxed);
    });
    found.into_inner()
}

/// Is `f` true of some index below n?
pub fn any(n: usize, grain: usize, f: impl Fn(usize) -> bool + Sync) -> bool {
    let found = std::sync::atomic::AtomicBool::new(false);
    let relaxed = std::sync::atomic::Ordering::Relaxed;
    ranges(n, grain, &|mut range| {
        if !found.load(relaxed) && range.any(&f) {
            found.store(true, relaxed);
        }
    });
    found.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_index_is_met_once() {
        for n in [0usize, 1, 2, 7, 31, 32, 33, 1000] {
            for grain in [0, 1, 5, 64] {
                assert_eq!(map(n, grain, |i| i.to_string()), (0..n).map(|i| i.to_string()).collect::<Vec<_>>());
                let twice = |i: usize| vec![i; i % 3];
                let x: Vec<usize> = (0..n).map(|i| i + 7).collect();
                assert_eq!(map1(&x, grain, |x| x * 3), (0..n).map(|i| (i + 7) * 3).collect::<Vec<_>>());
                let y: Vec<u8> = (0..n).map(|i| (i % 251) as u8).collect();
                let pairs: Vec<_> = x.iter().copied().zip(y.iter().copied()).collect();
                assert_eq!(map2(&x, &y, grain, |&x, &y| (x, y)), pairs);
                assert_eq!(flat(n, grain, twice), (0..n).flat_map(twice).collect::<Vec<_>>());
                let mut data = vec![0; n];
                each(&mut data, grain, |i, x| *x += i + 1);
                chunks(&mut data, 3, grain, |c, part| part.iter_mut().for_each(|x| *x += 1000 * c));
                assert_eq!(data, (0..n).map(|i| i + 1 + 1000 * (i / 3)).collect::<Vec<_>>());
                let line = |l: usize, line: &mut [usize]| line.iter_mut().step_by(2).for_each(|x| *x = l);
                let want: Vec<usize> = (0..n).flat_map(|l| [l, 7, l]).collect();
                assert_eq!(lines(n, 3, 7, grain, line), want);
                assert_eq!(count(n, grain, |i| i % 3 == 1), n.saturating_sub(1).div_ceil(3));
                assert_eq!(any(n, grain, |i| i + 1 == n), n > 0);
                assert!(!any(n, grain, |i| i == n));
            }
        }
    }

    #[test]
    fn a_panic_passes_through() {
        let all = std::panic::catch_unwind(|| map(100, 1, |i| if i == 37 { panic!("37") } else { vec![i] }));
        assert!(all.is_err());
    }
}
