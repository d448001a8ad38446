//! # MatMul: batched matrix products, with an optional bias
//!
//! ## Definition
//! Y = op(A)·op(B) (+ C) for each matrix of the batch; op transposes or not; C has the shape of Y.
//!
//! ## Algorithm
//! Every entry is one contraction on the recorded tree (fused multiply–adds in blocks, blocks added
//! pairwise); the bias is added last.
//!
//! ## VJP
//! Ȳ·op(B)ᵀ and op(A)ᵀ·Ȳ, transposed back where op transposes; Ȳ for the bias.
//!
//! ## Error
//! Carried |A|E_B + E_A(|B|+E_B) (+ E_C). Local, with S = Σ|a||b| over a covered run's operands:
//! ((1+u)^h − 1)·S + k(η/2)(1+u)^h with the tree's height h, and u|y| for the bias, for this run;
//! n·u·S + (nη/2)(1+nu) in any order and grouping, with or without FMA, n = k or k+1 terms.
//!
//! ## Scale
//! Midpoint–radius product, widened by the rounding in any order.
//!
//! ## Domain
//! Everywhere; the passes check that no order of the terms can overflow.
//!
//! ## References
//! Jeannerod & Rump 2013; Higham §3.1, §3.5; Rump, Fast and parallel interval arithmetic, 1999.

use super::contraction::{Bias, Factor, Layout, Product};
use super::{Approx, Bound, PerOperand, RevNode, map, map2};
use crate::ir::{Array, Shaped, Tensor, elements};
use crate::num::{Arith, Interval};

/// op(A)·op(B), batched.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MatMul {
    /// A is stored transposed: [.., K, M].
    pub trans_a: bool,
    /// B is stored transposed: [.., N, K].
    pub trans_b: bool,
}

/// Sizes of a product.
#[derive(Clone, Copy)]
struct Sizes {
    batch: usize,
    m: usize,
    n: usize,
    k: usize,
}

impl MatMul {
    /// Sizes of the product, from the shapes of A and B.
    fn sizes(&self, a: &[usize], b: &[usize]) -> Sizes {
        let (r, s) = (a.len(), b.len());
        let (m, k) = if self.trans_a { (a[r - 1], a[r - 2]) } else { (a[r - 2], a[r - 1]) };
        let n = if self.trans_b { b[s - 2] } else { b[s - 1] };
        Sizes { batch: elements(&a[..r - 2]), m, n, k }
    }

    /// op(A)[i,l] of matrix t of the batch, op(A) being m×k.
    fn at_a<'a, S>(&self, x: &'a Array<S>, t: usize, i: usize, l: usize, (m, k): (usize, usize)) -> &'a S {
        &x.data[t * m * k + if self.trans_a { l * m + i } else { i * k + l }]
    }

    /// op(B)[l,j] of matrix t of the batch, op(B) being k×n.
    fn at_b<'a, S>(&self, x: &'a Array<S>, t: usize, l: usize, j: usize, (k, n): (usize, usize)) -> &'a S {
        &x.data[t * k * n + if self.trans_b { j * k + l } else { l * n + j }]
    }

    /// How op(A) is read from A.
    fn left(&self, s: Sizes) -> Layout {
        if self.trans_a { Layout::plain(s.m).t() } else { Layout::plain(s.k) }
    }

    /// How op(B) is read from B.
    fn right(&self, s: Sizes) -> Layout {
        if self.trans_b { Layout::plain(s.k).t() } else { Layout::plain(s.n) }
    }

    /// Y = op(A)·op(B).
    fn forward(&self, s: Sizes) -> Product {
        Product { batch: s.batch, m: s.m, n: s.n, k: s.k, left: self.left(s), right: self.right(s) }
    }

    /// Y without its bias, by any way of making a product.
    fn forward_by<T>(&self, x: &[&Tensor], product: impl Fn(&Product, &[f32], &[f32]) -> Vec<T>) -> Vec<T> {
        let s = self.sizes(&x[0].shape, &x[1].shape);
        product(&self.forward(s), &x[0].data, &x[1].data)
    }

    /// The cotangents of A and B, by any way of making a product.
    fn vjp_by<T>(
        &self,
        x: &[&Tensor],
        ybar: &Tensor,
        wanted: &[bool],
        product: impl Fn(&Product, &[f32], &[f32]) -> Vec<T>,
    ) -> PerOperand<Vec<T>> {
        let s = self.sizes(&x[0].shape, &x[1].shape);
        let one = |operand: usize| {
            let (p, y_first) = self.backward(s, operand);
            let other = &x[1 - operand].data;
            if y_first { product(&p, &ybar.data, other) } else { product(&p, other, &ybar.data) }
        };
        (0..2).map(|o| wanted[o].then(|| one(o))).collect()
    }

    /// Enclosures of what this run's operands make.
    pub(super) fn forward_wide(&self, x: &[&Tensor]) -> Vec<Interval> {
        let y = self.forward_by(x, Product::wide);
        match x.get(2) {
            Some(c) => map(y.len(), |i| y[i].add(Interval::point(f64::from(c.data[i])))),
            None => y,
        }
    }

    /// Enclosures of what this run's operands and cotangent make.
    pub(super) fn vjp_wide(&self, x: &[&Tensor], ybar: &Tensor, wanted: &[bool]) -> PerOperand<Vec<Interval>> {
        let mut out = self.vjp_by(x, ybar, wanted, Product::wide);
        let same = || map(ybar.data.len(), |i| Interval::point(f64::from(ybar.data[i])));
        out.extend(wanted.get(2).map(|&w| w.then(same)));
        out
    }

    /// The product that gives the cotangent of operand 0 or 1, and whether Ȳ is its left factor.
    fn backward(&self, s: Sizes, operand: usize) -> (Product, bool) {
        let Sizes { batch, m, n, k } = s;
        let y = Layout::plain(n);
        let (left, right, y_first, rows, cols, inner) = match (operand, self.trans_a, self.trans_b) {
            // Ā = Ȳ·op(B)ᵀ
            (0, false, _) => (y, self.right(s).t(), true, m, k, n),
            // stored transposed: op(B)·Ȳᵀ
            (0, true, _) => (self.right(s), y.t(), false, k, m, n),
            // B̄ = op(A)ᵀ·Ȳ
            (_, _, false) => (self.left(s).t(), y, false, k, n, m),
            // stored transposed: Ȳᵀ·op(A)
            (_, _, true) => (y.t(), self.left(s), true, n, k, m),
        };
        (Product { batch, m: rows, n: cols, k: inner, left, right }, y_first)
    }
}

impl Shaped for MatMul {
    fn infer(&self, operands: &[&[usize]]) -> Result<Vec<usize>, String> {
        let (a, b) = match operands {
            [a, b] | [a, b, _] => (*a, *b),
            _ => return Err(format!("{} operands given, 2 or 3 required", operands.len())),
        };
        if a.len() < 2 || b.len() != a.len() || a[..a.len() - 2] != b[..b.len() - 2] {
            return Err(format!("matrices {a:?} and {b:?} don't have the same batch dimensions"));
        }
        let s = self.sizes(a, b);
        let kb = if self.trans_b { b[b.len() - 1] } else { b[b.len() - 2] };
        if s.k != kb {
            return Err(format!("inner dimensions {} and {kb} of {a:?} and {b:?} differ", s.k));
        }
        let out = [&a[..a.len() - 2], &[s.m, s.n]].concat();
        match operands.get(2) {
            Some(c) if **c != out[..] => Err(format!("bias has shape {c:?}, {out:?} required")),
            _ => Ok(out),
        }
    }
}

impl RevNode for MatMul {
    fn forward_spec<A: Arith>(&self, a: &A, x: &[&Array<A::S>]) -> Array<A::S> {
        let (p, q) = (x[0], x[1]);
        let Sizes { batch, m, n, k } = self.sizes(&p.shape, &q.shape);
        // Y[i,j] = Σ_l op(A)[i,l]·op(B)[l,j] (+ C[i,j])
        let matrix = |t: usize| {
            let left = |i: usize, l: usize| Some(self.at_a(p, t, i, l, (m, k)));
            let right = |l: usize, j: usize| Some(self.at_b(q, t, l, j, (k, n)));
            a.products((m, n, k), left, right, |i, j| x.get(2).map(|c| &c.data[t * m * n + i * n + j]))
        };
        let shape = [&p.shape[..p.shape.len() - 2], &[m, n]].concat();
        Array::new(shape, super::flat_rows(batch, matrix))
    }

    fn vjp_spec<A: Arith>(
        &self,
        a: &A,
        x: &[&Array<A::S>],
        _: &Array<A::S>,
        ybar: &Array<A::S>,
        wanted: &[bool],
    ) -> PerOperand<Array<A::S>> {
        let (p, q) = (x[0], x[1]);
        let Sizes { batch, m, n, k } = self.sizes(&p.shape, &q.shape);
        let y = |t: usize, i: usize, j: usize| Some(&ybar.data[t * m * n + i * n + j]);
        // Ā[i,l] = Σ_j Ȳ[i,j]·B[l,j], stored as A is
        let left = || {
            let b = |t, l, j| Some(self.at_b(q, t, l, j, (k, n)));
            let matrix = |t: usize| match self.trans_a {
                false => a.products((m, k, n), |i, j| y(t, i, j), |j, l| b(t, l, j), |_, _| None),
                true => a.products((k, m, n), |l, j| b(t, l, j), |j, i| y(t, i, j), |_, _| None),
            };
            Array::new(p.shape.clone(), super::flat_rows(batch, matrix))
        };
        // B̄[l,j] = Σ_i A[i,l]·Ȳ[i,j], stored as B is
        let right = || {
            let at = |t, i, l| Some(self.at_a(p, t, i, l, (m, k)));
            let matrix = |t: usize| match self.trans_b {
                false => a.products((k, n, m), |l, i| at(t, i, l), |i, j| y(t, i, j), |_, _| None),
                true => a.products((n, k, m), |j, i| y(t, i, j), |i, l| at(t, i, l), |_, _| None),
            };
            Array::new(q.shape.clone(), super::flat_rows(batch, matrix))
        };
        let mut out = vec![wanted[0].then(left), wanted[1].then(right)];
        out.extend(wanted.get(2).map(|&w| w.then(|| ybar.clone())));
        out
    }

    fn forward_runtime(&self, x: &[&Tensor]) -> Tensor {
        let s = self.sizes(&x[0].shape, &x[1].shape);
        let mut data = self.forward_by(x, Product::runtime);
        if let Some(c) = x.get(2) {
            data = map2(&data, &c.data, |y, c| y + c);
        }
        Array::new([&x[0].shape[..x[0].shape.len() - 2], &[s.m, s.n]].concat(), data)
    }

    fn vjp_runtime(&self, x: &[&Tensor], _: &Tensor, ybar: &Tensor, wanted: &[bool]) -> PerOperand<Tensor> {
        let made = self.vjp_by(x, ybar, wanted, Product::runtime).into_iter().zip(x);
        let mut out: PerOperand<Tensor> = made.map(|(d, x)| Some(Array::new(x.shape.clone(), d?))).collect();
        out.extend(wanted.get(2).map(|&w| w.then(|| ybar.clone())));
        out
    }

    fn forward_bound(&self, x: &[Approx], y: &Approx) -> Bound {
        let s = self.sizes(x[0].shape, x[1].shape);
        let bias = x.get(2).map(|c| Bias {
            run: c.run_mags(),
            eps: c.eps.to_vec(),
            rounding: map(y.len(), |i| y.sum_rounding(i, Default::default())),
        });
        self.forward(s).bound(&Factor::of(&x[0]), &Factor::of(&x[1]), y.replayed(), bias.as_ref())
    }

    fn vjp_bound(&self, x: &[Approx], _: &Approx, ybar: &Approx, wanted: &[bool]) -> PerOperand<Bound> {
        let s = self.sizes(x[0].shape, x[1].shape);
        let g = Factor::of(ybar);
        let one = |operand: usize| {
            let (p, y_first) = self.backward(s, operand);
            let other = Factor::of(&x[1 - operand]);
            let (left, right) = if y_first { (&g, &other) } else { (&other, &g) };
            p.bound(left, right, ybar.replayed(), None)
        };
        let mut out: PerOperand<Bound> = (0..2).map(|o| wanted[o].then(|| one(o))).collect();
        out.extend(wanted.get(2).map(|&w| w.then(|| Bound::exact(ybar.eps.to_vec()))));
        out
    }

    fn forward_scale(&self, x: &[&Array<Interval>]) -> Array<Interval> {
        let s = self.sizes(&x[0].shape, &x[1].shape);
        let data = self.forward(s).scale(&x[0].data, &x[1].data, x.get(2).map(|c| &c.data[..]));
        Array::new([&x[0].shape[..x[0].shape.len() - 2], &[s.m, s.n]].concat(), data)
    }

    fn vjp_scale(
        &self,
        x: &[&Array<Interval>],
        _: &Array<Interval>,
        ybar: &Array<Interval>,
        wanted: &[bool],
    ) -> PerOperand<Array<Interval>> {
        let s = self.sizes(&x[0].shape, &x[1].shape);
        let one = |operand: usize| {
            let (p, y_first) = self.backward(s, operand);
            let other = &x[1 - operand].data;
            let data = if y_first { p.scale(&ybar.data, other, None) } else { p.scale(other, &ybar.data, None) };
            Array::new(x[operand].shape.clone(), data)
        };
        let mut out: PerOperand<Array<Interval>> = (0..2).map(|o| wanted[o].then(|| one(o))).collect();
        out.extend(wanted.get(2).map(|&w| w.then(|| ybar.clone())));
        out
    }
}
