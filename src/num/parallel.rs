//! Loops over all threads, in pieces whose results don't depend on who computes them.
//!
//! Every loop goes through one function on a borrowed body: the machinery of the thread pool is compiled
//! once, not once for each of the thousand bodies that the arithmetics make of the definitions.

use rayon::prelude::*;
use std::ops::Range;

/// Pieces for every thread: enough that none waits long for the last.
const PIECES: usize = 16;

/// Calls `body` on disjoint ranges that make up 0..n, each of `grain` or more indices unless n has fewer.
pub fn ranges(n: usize, grain: usize, body: &(dyn Fn(Range<usize>) + Sync)) {
    let pieces = (n / grain.max(1)).min(PIECES * rayon::current_num_threads());
    if pieces <= 1 {
        if n > 0 {
            body(0..n);
        }
        return;
    }
    let start = |p: usize| p * (n / pieces) + p.min(n % pieces);
    (0..pieces).into_par_iter().with_max_len(1).for_each(|p| body(start(p)..start(p + 1)));
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

/// f(0), f(1), …, f(n−1), in order.
pub fn map<T: Send>(n: usize, grain: usize, f: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let mut out: Vec<T> = Vec::with_capacity(n);
    let to = Shared(out.as_mut_ptr());
    ranges(n, grain, &|range| {
        for i in range {
            // SAFETY: i < n = the capacity, and `ranges` covers it once. A panic of f leaves `out` empty: what
            // was written leaks.
            unsafe { to.at(i).write(f(i)) };
        }
    });
    // SAFETY: all n entries have been written
    unsafe { out.set_len(n) };
    out
}

/// f(x_0), f(x_1), …: entry by entry, so that vectors do it.
pub fn map1<A: Sync, T: Send>(x: &[A], grain: usize, f: impl Fn(&A) -> T + Sync) -> Vec<T> {
    let mut out: Vec<T> = Vec::with_capacity(x.len());
    let to = Shared(out.as_mut_ptr());
    ranges(x.len(), grain, &|range| {
        let (start, x) = (range.start, &x[range]);
        for i in 0..x.len() {
            // SAFETY: as in `map`
            unsafe { to.at(start + i).write(f(&x[i])) };
        }
    });
    // SAFETY: all entries have been written
    unsafe { out.set_len(x.len()) };
    out
}

/// f(x_0, y_0), f(x_1, y_1), …: entry by entry, so that vectors do it. Panics unless there are as many y as x.
pub fn map2<A: Sync, B: Sync, T: Send>(x: &[A], y: &[B], grain: usize, f: impl Fn(&A, &B) -> T + Sync) -> Vec<T> {
    assert_eq!(x.len(), y.len(), "entries to pair");
    let mut out: Vec<T> = Vec::with_capacity(x.len());
    let to = Shared(out.as_mut_ptr());
    ranges(x.len(), grain, &|range| {
        let (start, x, y) = (range.start, &x[range.clone()], &y[range]);
        let y = &y[..x.len()];
        for i in 0..x.len() {
            // SAFETY: as in `map`
            unsafe { to.at(start + i).write(f(&x[i], &y[i])) };
        }
    });
    // SAFETY: all entries have been written
    unsafe { out.set_len(x.len()) };
    out
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

/// `body(i, entry)` for every entry.
pub fn each<T: Send>(data: &mut [T], grain: usize, body: impl Fn(usize, &mut T) + Sync) {
    // the length first: `data` isn't looked at while its entries are written through `from`
    let n = data.len();
    let from = Shared(data.as_mut_ptr());
    ranges(n, grain, &|range| {
        for i in range {
            // SAFETY: i lies within `data`, which is borrowed for this call, and `ranges` covers each once
            body(i, unsafe { &mut *from.at(i) });
        }
    });
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
