//! Matrix products of values, of their error bounds and of their ranges: what MatMul and Conv share.

use super::{Approx, Bound};
use crate::num::mag::max_of;
use crate::num::matmul::{View, batched, matmul_f64, matmul_up, running_error};
use crate::num::{Interval, Mag, lemma, parallel, reduce};
use std::ops::Range;

/// Which way a stored matrix is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    /// Columns of the stored matrix.
    pub stored_cols: usize,
    /// Read as its transpose.
    pub transposed: bool,
}

impl Layout {
    /// A matrix as it is stored.
    pub fn plain(stored_cols: usize) -> Layout {
        Layout { stored_cols, transposed: false }
    }

    /// The transpose of this reading.
    pub fn t(self) -> Layout {
        Layout { transposed: !self.transposed, ..self }
    }

    fn view<T>(self, data: &[T]) -> View<'_, T> {
        let v = View::rows(data, self.stored_cols);
        if self.transposed { v.t() } else { v }
    }
}

/// `batch` products [m, k]·[k, n] of matrices that follow each other in memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Product {
    pub batch: usize,
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub left: Layout,
    pub right: Layout,
}

/// A factor of a product: bounds on its centre, on its covered runs, and on its error; and this run's
/// entries themselves, where only this run is covered.
pub(crate) struct Factor {
    pub mag: Vec<Mag>,
    pub run: Vec<Mag>,
    pub eps: Vec<Mag>,
    pub signed: Vec<f32>,
}

impl Factor {
    /// All that a product's bound needs of a value.
    pub fn of(x: &Approx) -> Factor {
        let signed = if x.run_only() { x.run.to_vec() } else { Vec::new() };
        Factor { mag: x.mags(), run: x.run_mags(), eps: x.eps.to_vec(), signed }
    }

    /// The same entries in other places.
    pub fn rearranged(&self, f: impl Fn(&[Mag]) -> Vec<Mag>, signed: impl Fn(&[f32]) -> Vec<f32>) -> Factor {
        let signed = if self.signed.is_empty() { Vec::new() } else { signed(&self.signed) };
        Factor { mag: f(&self.mag), run: f(&self.run), eps: f(&self.eps), signed }
    }

    fn is_exact(&self) -> bool {
        self.eps.iter().all(|e| e.is_zero())
    }
}

/// Entries of a right factor that are there at once, where it is made column by column.
const AT_ONCE: usize = if cfg!(test) { 1 << 6 } else { 1 << 22 };

impl Product {
    /// Columns that are made together, for a right factor too large to be there as a whole.
    pub fn blocks(&self) -> impl Iterator<Item = (Product, Range<usize>)> {
        let (whole, width) = (*self, (AT_ONCE / self.k.max(1)).max(1).next_multiple_of(64));
        (0..self.n.div_ceil(width)).map(move |b| {
            let columns = b * width..whole.n.min((b + 1) * width);
            let n = columns.len();
            let right = if whole.right.transposed { whole.right } else { Layout::plain(n) };
            (Product { n, right, ..whole }, columns)
        })
    }

    /// The columns of all blocks side by side again.
    pub fn beside<T: Copy>(&self, mut blocks: Vec<Vec<T>>) -> Vec<T> {
        if blocks.len() == 1 {
            return blocks.swap_remove(0);
        }
        let mut out = Vec::with_capacity(self.m * self.n);
        for i in 0..self.m {
            for b in &blocks {
                let n = b.len() / self.m;
                out.extend_from_slice(&b[i * n..(i + 1) * n]);
            }
        }
        out
    }

    /// The binary32 product on the recorded tree.
    pub fn runtime(&self, a: &[f32], b: &[f32]) -> Vec<f32> {
        let Product { batch, m, n, k, .. } = *self;
        let offsets: Vec<(usize, usize)> = (0..batch).map(|i| (i * m * k, i * k * n)).collect();
        batched(self.left.view(a), self.right.view(b), &offsets, m, n, k)
    }

    /// Enclosures of the product of these very numbers: one binary64 product, and its error bound.
    // products of binary32 numbers are exact in binary64, their sum errs by k·2^−53·Σ|ab| at most
    pub fn wide(&self, a: &[f32], b: &[f32]) -> Vec<Interval> {
        let Product { batch, m, n, k, .. } = *self;
        let wide = |x: &[f32]| super::map(x.len(), |i| f64::from(x[i]));
        let mags = |x: &[f32]| super::map(x.len(), |i| Mag::of_f32(x[i]));
        let total = self.magnitudes(&mags(a), &mags(b));
        let (a, b) = (wide(a), wide(b));
        let mut mid = Vec::with_capacity(batch * m * n);
        for i in 0..batch {
            let (a, b) = (&a[i * m * k..(i + 1) * m * k], &b[i * k * n..(i + 1) * k * n]);
            mid.extend(matmul_f64(self.left.view(a), self.right.view(b), m, n, k));
        }
        let unit = Mag::count(k) * Mag::exp2(-53);
        super::map(mid.len(), |i| Interval::point(mid[i]).widen(unit * total[i]))
    }

    /// Σ|a||b| rounded up.
    fn magnitudes(&self, a: &[Mag], b: &[Mag]) -> Vec<Mag> {
        let Product { batch, m, n, k, .. } = *self;
        let mut c = Vec::with_capacity(batch * m * n);
        for i in 0..batch {
            let (a, b) = (&a[i * m * k..(i + 1) * m * k], &b[i * k * n..(i + 1) * k * n]);
            c.extend(matmul_up(self.left.view(a), self.right.view(b), m, n, k));
        }
        c
    }

    /// Half an ulp of every partial result of this run, added up.
    fn running(&self, a: &[f32], b: &[f32], total: &[Mag]) -> Vec<Mag> {
        let Product { batch, m, n, k, .. } = *self;
        let mut c = Vec::with_capacity(batch * m * n);
        for i in 0..batch {
            let (a, b) = (&a[i * m * k..(i + 1) * m * k], &b[i * k * n..(i + 1) * k * n]);
            let total = &total[i * m * n..(i + 1) * m * n];
            c.extend(running_error(self.left.view(a), self.right.view(b), (m, n, k), total));
        }
        c
    }

    /// Error of the product: carried |A|E_B + E_A(|B|+E_B), and local over the recorded tree (this run: the
    /// running error) or in any order, with or without FMA; `bias` is a further term, added last by this run.
    pub fn bound(&self, a: &Factor, b: &Factor, replayed: bool, bias: Option<&Bias>) -> Bound {
        let len = self.batch * self.m * self.n;
        let mut carried = vec![Mag::ZERO; len];
        let mut add = |terms: Vec<Mag>| parallel::each(&mut carried, 1 << 12, |i, c| *c += terms[i]);
        if !b.is_exact() {
            add(self.magnitudes(&a.mag, &b.eps));
        }
        if !a.is_exact() {
            let right = super::map(b.mag.len(), |i| b.mag[i] + b.eps[i]);
            add(self.magnitudes(&a.eps, &right));
        }
        let total = self.magnitudes(&a.run, &b.run);
        let mut local = super::map(len, |i| lemma::dot_any_order(self.k, total[i]));
        if replayed {
            let running = self.running(&a.signed, &b.signed, &total);
            parallel::each(&mut local, 1 << 12, |i, l| {
                *l = l.min(lemma::dot_tree(reduce::height(self.k), self.k, total[i])).min(running[i]);
            });
        }
        if let Some(bias) = bias {
            for i in 0..len {
                carried[i] += bias.eps[i];
                local[i] = if replayed {
                    // the tree, then one addition: u|y|
                    local[i] + bias.rounding[i]
                } else {
                    lemma::dot_any_order(self.k + 1, total[i] + bias.run[i])
                };
            }
        }
        // every partial sum of any order is at most (1+nu)·Σ|a||b| (+ the bias)
        let peak = max_of(&total) + bias.map_or(Mag::ZERO, |b| max_of(&b.run));
        Bound { carried, local, peak: peak * (Mag::ONE + lemma::growth(self.k + 2)) }
    }

    /// Range of the product over all orders, with or without FMA.
    pub fn scale(&self, a: &[Interval], b: &[Interval], bias: Option<&[Interval]>) -> Vec<Interval> {
        let Product { batch, m, n, k, .. } = *self;
        let split = |x: &[Interval]| {
            let mid = super::map(x.len(), |i| if x[i].mag().is_finite() { x[i].mid() } else { 0.0 });
            let rad = super::map(x.len(), |i| x[i].radius_about(mid[i]));
            (mid, rad)
        };
        let ((ma, ra), (mb, rb)) = (split(a), split(b));
        let mut mid = Vec::with_capacity(batch * m * n);
        for i in 0..batch {
            let (a, b) = (&ma[i * m * k..(i + 1) * m * k], &mb[i * k * n..(i + 1) * k * n]);
            mid.extend(matmul_f64(self.left.view(a), self.right.view(b), m, n, k));
        }
        let mags = |x: &[Interval]| super::map(x.len(), |i| x[i].mag());
        let (xa, xb) = (mags(a), mags(b));
        let total = self.magnitudes(&xa, &xb);
        let exact = |r: &[Mag]| r.iter().all(|e| e.is_zero());
        let mut rad = vec![Mag::ZERO; mid.len()];
        if !exact(&rb) {
            // |m_A|·r_B ≤ |A|·r_B
            let terms = self.magnitudes(&xa, &rb);
            parallel::each(&mut rad, 1 << 12, |i, r| *r += terms[i]);
        }
        if !exact(&ra) {
            let terms = self.magnitudes(&ra, &xb);
            parallel::each(&mut rad, 1 << 12, |i, r| *r += terms[i]);
        }
        super::map(mid.len(), |i| {
            // the binary64 product of the midpoints errs by k·2^−53·Σ|ab|
            let own = Mag::count(k + 2) * Mag::exp2(-52) * total[i];
            match bias {
                None => Interval::point(mid[i]).widen(rad[i] + own + lemma::dot_any_order(k, total[i])),
                Some(b) => {
                    let rounding = lemma::dot_any_order(k + 1, total[i] + b[i].mag());
                    Interval::point(mid[i]).widen(rad[i] + own).add(b[i]).widen(rounding)
                }
            }
        })
    }
}

/// A bias entry for every entry of a product.
pub(crate) struct Bias {
    pub run: Vec<Mag>,
    pub eps: Vec<Mag>,
    /// Rounding of its addition in this run.
    pub rounding: Vec<Mag>,
}

impl Bias {
    /// Those of some columns, of rows of `n`.
    pub fn columns(&self, n: usize, columns: Range<usize>) -> Bias {
        let some = |x: &[Mag]| some_columns(x, n, columns.clone());
        Bias { run: some(&self.run), eps: some(&self.eps), rounding: some(&self.rounding) }
    }
}

/// Some columns of rows of `n`.
pub(crate) fn some_columns<T: Copy>(x: &[T], n: usize, columns: Range<usize>) -> Vec<T> {
    x.chunks(n.max(1)).flat_map(|row| &row[columns.clone()]).copied().collect()
}
