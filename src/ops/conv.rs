//! # Conv: convolution with one to three spatial dimensions
//!
//! ## Definition
//! y[n,o,p] = Σ_{c,k} x[n,c,p·s + k·d − pad]·w[o,c,k] + b[o], c over the group of o; reads outside x are
//! exact zeros. (A cross-correlation, as every framework means it.)
//!
//! ## Algorithm
//! Patches are unfolded to a matrix, and every entry is one contraction on the recorded tree over
//! (c, k) in order; the bias is added last.
//!
//! ## VJP
//! Three contractions of their own: kernel over (n, p), input over (o, k), each entry one recorded
//! tree; bias: a sum over (n, p).
//!
//! ## Error
//! As for a matrix product, with the convolution's index map: carried |x|E_w + E_x(|w|+E_w) (+ E_b);
//! local over the tree for this run, n·u·Σ|x||w| + (nη/2)(1+nu) in any order, with or without FMA.
//! Padding is exact and costs nothing. The bias gradient follows the sum rule.
//!
//! ## Scale
//! Midpoint–radius products of the unfolded ranges.
//!
//! ## Domain
//! Everywhere; the passes check that no order of the terms can overflow.
//!
//! ## References
//! As MatMul; the seeds' ConvBackward for the three gradients.

use super::contraction::{Bias, Factor, Layout, Product, some_columns};
use super::gather::{sum_bound, sum_error, sum_range};
use super::patches::{Extent, Images, Taps, by_input_channel, channel_rows, from_channel_rows, images_first};
use super::{Approx, Bound, PerOperand, RevNode, map, map_rows};
use crate::ir::{Array, Shaped, Tensor, elements};
use crate::num::{Arith, Interval, Mag, parallel, reduce};
use std::borrow::Cow;
use std::ops::Range;

/// Convolution.
#[derive(Clone, Debug, PartialEq)]
pub struct Conv {
    /// Stride of each spatial dimension.
    pub strides: Vec<usize>,
    /// Padding: all begins, then all ends.
    pub pads: Vec<usize>,
    /// Dilation of each spatial dimension.
    pub dilations: Vec<usize>,
    /// Number of groups.
    pub groups: usize,
}

/// Sizes of a convolution: batch, groups, channels per group in and out, and spatial extents.
struct Sizes {
    batch: usize,
    groups: usize,
    cin: usize,
    cout: usize,
    input: Vec<usize>,
    kernel: Vec<usize>,
    output: Vec<usize>,
}

impl Conv {
    fn output(&self, input: &[usize], kernel: &[usize]) -> Result<Vec<usize>, String> {
        let d = input.len();
        (0..d)
            .map(|i| {
                let extent = (kernel[i].max(1) - 1).checked_mul(self.dilations[i]).and_then(|e| e.checked_add(1));
                let padded = input[i].checked_add(self.pads[i]).and_then(|p| p.checked_add(self.pads[d + i]));
                let (extent, padded) = extent.zip(padded).ok_or("padding or dilation is too large")?;
                if kernel[i] == 0 || padded < extent {
                    return Err(format!("kernel reaches over {extent} positions, the padded input has {padded}"));
                }
                Ok((padded - extent) / self.strides[i] + 1)
            })
            .collect()
    }

    fn sizes(&self, x: &[usize], w: &[usize]) -> Sizes {
        Sizes {
            batch: x[0],
            groups: self.groups,
            cin: x[1] / self.groups,
            cout: w[0] / self.groups,
            input: x[2..].to_vec(),
            kernel: w[2..].to_vec(),
            output: self.output(&x[2..], &w[2..]).expect("checked when the node was built"),
        }
    }

    /// Targets are output positions, which read input p·s + k·d − pad, or input positions, which read output
    /// (q + pad − k·d)/s.
    fn taps(&self, s: &Sizes, onto_input: bool) -> Taps {
        let extent = |i: usize| Extent {
            input: s.input[i],
            kernel: s.kernel[i],
            output: s.output[i],
            stride: self.strides[i],
            dilation: self.dilations[i],
            pad: self.pads[i],
        };
        Taps::new(&(0..s.input.len()).map(extent).collect::<Vec<_>>(), onto_input)
    }
}

impl Conv {
    /// y without its bias, by any way of making a product.
    fn forward_by<T: Copy + Send + Sync>(
        &self,
        x: &[&Tensor],
        product: impl Fn(&Product, &[f32], &[f32]) -> Vec<T> + Sync,
    ) -> Vec<T> {
        let s = self.sizes(&x[0].shape, &x[1].shape);
        let taps = self.taps(&s, false);
        let group = |g| {
            by_blocks(&s.forward(), |p, columns| {
                product(p, s.group(&x[1].data, g), &s.input_columns(&x[0].data, 0.0, &taps, g, columns))
            })
        };
        s.to_output(map_rows(s.groups, group))
    }

    /// The cotangents of input and kernel, by any way of making a product.
    fn vjp_by<T: Copy + Send + Sync>(
        &self,
        x: &[&Tensor],
        ybar: &Tensor,
        wanted: &[bool],
        product: impl Fn(&Product, &[f32], &[f32]) -> Vec<T> + Sync,
    ) -> PerOperand<Vec<T>> {
        let s = self.sizes(&x[0].shape, &x[1].shape);
        let input = || {
            let taps = self.taps(&s, true);
            let group = |g| {
                let w = by_input_channel(s.group(&x[1].data, g), s.cout, s.cin, s.nk());
                by_blocks(&s.input_gradient(), |p, columns| {
                    product(p, &w, &s.output_columns(&ybar.data, 0.0, &taps, g, columns))
                })
            };
            s.to_input(map_rows(s.groups, group))
        };
        let kernel = || {
            let taps = self.taps(&s, false);
            let group = |g| {
                let y = s.output_rows(&ybar.data, g);
                by_blocks(&s.kernel_gradient(), |p, rows| {
                    product(p, &y, &s.input_rows(&x[0].data, 0.0, &taps, g, rows))
                })
            };
            map_rows(s.groups, group).concat()
        };
        vec![wanted[0].then(input), wanted[1].then(kernel)]
    }

    /// Enclosures of what this run's operands make.
    pub(super) fn forward_wide(&self, x: &[&Tensor]) -> Vec<Interval> {
        let s = self.sizes(&x[0].shape, &x[1].shape);
        let y = self.forward_by(x, Product::wide);
        let (channels, space) = (s.groups * s.cout, s.nout());
        match x.get(2) {
            Some(b) => map(y.len(), |i| y[i].add(Interval::point(f64::from(b.data[i / space % channels])))),
            None => y,
        }
    }

    /// Enclosures of what this run's operands and cotangent make.
    pub(super) fn vjp_wide(&self, x: &[&Tensor], ybar: &Tensor, wanted: &[bool]) -> PerOperand<Vec<Interval>> {
        let s = self.sizes(&x[0].shape, &x[1].shape);
        let bias = || {
            let one =
                |o: usize| s.of_channel(o).fold(Interval::ZERO, |b, i| b.add(Interval::point(f64::from(ybar.data[i]))));
            map_rows(s.groups * s.cout, one)
        };
        let mut out = self.vjp_by(x, ybar, wanted, Product::wide);
        out.extend(wanted.get(2).map(|&w| w.then(bias)));
        out
    }
}

/// A product block by block, from what makes some of its columns.
fn by_blocks<T: Copy>(whole: &Product, part: impl Fn(&Product, Range<usize>) -> Vec<T>) -> Vec<T> {
    whole.beside(whole.blocks().map(|(p, columns)| part(&p, columns)).collect())
}

/// The bound of a product block by block.
fn bound_by_blocks(whole: &Product, part: impl Fn(&Product, Range<usize>) -> Bound) -> Bound {
    let parts = whole.blocks().map(|(p, columns)| part(&p, columns)).collect();
    gather_bounds(parts, |columns| whole.beside(columns))
}

/// The three contractions of a convolution over any entries, through `product`, one call per group.
impl Sizes {
    fn nk(&self) -> usize {
        elements(&self.kernel)
    }
    fn nin(&self) -> usize {
        elements(&self.input)
    }
    fn nout(&self) -> usize {
        elements(&self.output)
    }
    fn weights_per_group(&self) -> usize {
        self.cout * self.cin * self.nk()
    }
    fn y_dims(&self) -> (usize, usize, usize) {
        (self.batch, self.groups * self.cout, self.nout())
    }

    /// y rows = W·unfold(x): [cout, cin·nk]·[cin·nk, batch·nout].
    fn forward(&self) -> Product {
        let (k, n) = (self.cin * self.nk(), self.batch * self.nout());
        Product { batch: 1, m: self.cout, n, k, left: Layout::plain(k), right: Layout::plain(n) }
    }

    /// w̄ = ȳ rows·unfold(x)ᵀ: [cout, batch·nout]·[batch·nout, cin·nk].
    fn kernel_gradient(&self) -> Product {
        let (k, n) = (self.batch * self.nout(), self.cin * self.nk());
        Product { batch: 1, m: self.cout, n, k, left: Layout::plain(k), right: Layout::plain(k).t() }
    }

    /// x̄ rows = Wᵀ·unfold(ȳ): [cin, cout·nk]·[cout·nk, batch·nin].
    fn input_gradient(&self) -> Product {
        let (k, n) = (self.cout * self.nk(), self.batch * self.nin());
        Product { batch: 1, m: self.cin, n, k, left: Layout::plain(k), right: Layout::plain(n) }
    }

    /// The input channels of group g.
    fn input<'a, T>(&self, data: &'a [T], g: usize) -> Images<'a, T> {
        Images { data, channels: self.groups * self.cin, first: g * self.cin }
    }

    /// The output channels of group g.
    fn above<'a, T>(&self, data: &'a [T], g: usize) -> Images<'a, T> {
        Images { data, channels: self.groups * self.cout, first: g * self.cout }
    }

    /// Some columns (image, output position) of the unfolded input.
    fn input_columns<'a, T: Copy + Send + Sync>(
        &self,
        x: &'a [T],
        zero: T,
        taps: &Taps,
        g: usize,
        columns: Range<usize>,
    ) -> Cow<'a, [T]> {
        taps.unfold(self.input(x, g), zero, 0..self.cin * self.nk(), columns)
    }

    /// Some rows (channel, kernel offset) of the unfolded input.
    fn input_rows<'a, T: Copy + Send + Sync>(
        &self,
        x: &'a [T],
        zero: T,
        taps: &Taps,
        g: usize,
        rows: Range<usize>,
    ) -> Cow<'a, [T]> {
        taps.unfold(self.input(x, g), zero, rows, 0..self.batch * self.nout())
    }

    /// Some columns (image, input position) of the unfolded output.
    fn output_columns<'a, T: Copy + Send + Sync>(
        &self,
        y: &'a [T],
        zero: T,
        taps: &Taps,
        g: usize,
        columns: Range<usize>,
    ) -> Cow<'a, [T]> {
        taps.unfold(self.above(y, g), zero, 0..self.cout * self.nk(), columns)
    }

    fn output_rows<'a, T: Copy>(&self, y: &'a [T], g: usize) -> Cow<'a, [T]> {
        channel_rows(self.above(y, g), self.batch, self.cout, self.nout())
    }

    fn group<'a, T>(&self, w: &'a [T], g: usize) -> &'a [T] {
        &w[g * self.weights_per_group()..(g + 1) * self.weights_per_group()]
    }

    fn to_output<T: Copy + Send + Sync>(&self, groups: Vec<Vec<T>>) -> Vec<T> {
        from_channel_rows(groups, self.batch, self.cout, self.nout())
    }

    fn to_input<T: Copy + Send + Sync>(&self, groups: Vec<Vec<T>>) -> Vec<T> {
        from_channel_rows(groups, self.batch, self.cin, self.nin())
    }

    /// Positions of channel o in an output tensor.
    fn of_channel(&self, o: usize) -> impl Iterator<Item = usize> + '_ {
        let (batch, channels, space) = self.y_dims();
        (0..batch).flat_map(move |n| (0..space).map(move |p| (n * channels + o) * space + p))
    }

    /// One entry per output position from one entry per channel.
    fn per_channel<T: Copy>(&self, b: &[T]) -> Vec<T> {
        let (batch, channels, space) = self.y_dims();
        (0..batch * channels * space).map(|i| b[i / space % channels]).collect()
    }
}

/// Bounds of all parts, brought back to the layout of a tensor.
fn gather_bounds(parts: Vec<Bound>, back: impl Fn(Vec<Vec<Mag>>) -> Vec<Mag>) -> Bound {
    let peak = parts.iter().fold(Mag::ZERO, |m, b| m.max(b.peak));
    let (carried, local) = parts.into_iter().map(|b| (b.carried, b.local)).unzip();
    Bound { carried: back(carried), local: back(local), peak }
}

impl Shaped for Conv {
    fn infer(&self, operands: &[&[usize]]) -> Result<Vec<usize>, String> {
        let (x, w) = match operands {
            [x, w] | [x, w, _] => (*x, *w),
            _ => return Err(format!("{} operands given, 2 or 3 required", operands.len())),
        };
        let d = x.len().saturating_sub(2);
        if !(1..=3).contains(&d) || w.len() != x.len() {
            return Err(format!("input {x:?} and kernel {w:?} don't have the same 1 to 3 spatial dimensions"));
        }
        if self.strides.len() != d || self.dilations.len() != d || self.pads.len() != 2 * d {
            return Err(format!("strides, dilations and pads don't fit {d} spatial dimensions"));
        }
        if self.strides.contains(&0) || self.dilations.contains(&0) || self.groups == 0 {
            return Err("strides, dilations and groups must be positive".into());
        }
        if x[1] != w[1] * self.groups || w[0] % self.groups != 0 {
            return Err(format!(
                "{} input and {} output channels don't fit {} groups of {}",
                x[1], w[0], self.groups, w[1]
            ));
        }
        if operands.get(2).is_some_and(|b| **b != [w[0]]) {
            return Err(format!("bias has shape {:?}, [{}] required", operands[2], w[0]));
        }
        Ok([&[x[0], w[0]], self.output(&x[2..], &w[2..])?.as_slice()].concat())
    }
}

/// Positions that the definition multiplies, found by counting through all of them; `None` where a
/// kernel offset reads padding, or meets no output position.
struct Meetings {
    /// For every output position, then kernel offset: the input position.
    input: Vec<Option<usize>>,
    /// For every input position, then kernel offset: the output position.
    output: Vec<Option<usize>>,
}

impl Conv {
    /// All (p, k, q) with q = p·s + k·d − pad inside the input.
    fn meetings(&self, s: &Sizes) -> Meetings {
        let (np, nk, nq) = (s.nout(), s.nk(), s.nin());
        let mut m = Meetings { input: vec![None; np * nk], output: vec![None; nq * nk] };
        let dims = s.input.len();
        let unravel = |mut flat: usize, extents: &[usize]| {
            let mut at = vec![0i64; dims];
            for i in (0..dims).rev() {
                at[i] = (flat % extents[i]) as i64;
                flat /= extents[i];
            }
            at
        };
        for p in 0..np {
            let output = unravel(p, &s.output);
            for k in 0..nk {
                let kernel = unravel(k, &s.kernel);
                let mut q = 0i64;
                let mut inside = true;
                for i in 0..dims {
                    let v =
                        output[i] * self.strides[i] as i64 + kernel[i] * self.dilations[i] as i64 - self.pads[i] as i64;
                    inside &= v >= 0 && v < s.input[i] as i64;
                    q = q * s.input[i] as i64 + v;
                }
                if inside {
                    m.input[p * nk + k] = Some(q as usize);
                    m.output[q as usize * nk + k] = Some(p);
                }
            }
        }
        m
    }
}

impl RevNode for Conv {
    fn forward_spec<A: Arith>(&self, a: &A, x: &[&Array<A::S>]) -> Array<A::S> {
        let s = self.sizes(&x[0].shape, &x[1].shape);
        let (np, nq, nk, inputs) = (s.nout(), s.nin(), s.nk(), s.groups * s.cin);
        let met = self.meetings(&s).input;
        // y[n,o,p] = Σ_{c,k} w[o,c,k]·x[n,c,p·s+k·d−pad] (+ b[o]), c over the group of o
        let group = |g: usize| {
            let weight = |o: usize, ck: usize| Some(&x[1].data[(g * s.cout + o) * s.cin * nk + ck]);
            let input = |ck: usize, np_: usize| {
                let (c, k, n, p) = (ck / nk, ck % nk, np_ / np, np_ % np);
                met[p * nk + k].map(|q| &x[0].data[(n * inputs + g * s.cin + c) * nq + q])
            };
            let bias = |o: usize, _| x.get(2).map(|b| &b.data[g * s.cout + o]);
            a.products((s.cout, s.batch * np, s.cin * nk), weight, input, bias)
        };
        let shape = [&[s.batch, s.groups * s.cout], s.output.as_slice()].concat();
        Array::new(shape, images_first(map_rows(s.groups, group), s.batch, np))
    }

    fn vjp_spec<A: Arith>(
        &self,
        a: &A,
        x: &[&Array<A::S>],
        _: &Array<A::S>,
        ybar: &Array<A::S>,
        wanted: &[bool],
    ) -> PerOperand<Array<A::S>> {
        let s = self.sizes(&x[0].shape, &x[1].shape);
        let (np, nq, nk) = (s.nout(), s.nin(), s.nk());
        let (inputs, outputs) = (s.groups * s.cin, s.groups * s.cout);
        let met = self.meetings(&s);
        let y = |n: usize, o: usize, p: usize| &ybar.data[(n * outputs + o) * np + p];
        // x̄[n,c,q] = Σ_{o,k} w[o,c,k]·ȳ[n,o,p] where p·s+k·d−pad = q for some p; in the order of p
        let input = || {
            let group = |g: usize| {
                let split = |ok: usize| (g * s.cout + ok / nk, nk - 1 - ok % nk);
                let weight = |c: usize, ok: usize| {
                    let (o, k) = split(ok);
                    Some(&x[1].data[(o * s.cin + c) * nk + k])
                };
                let above = |ok: usize, nq_: usize| {
                    let ((o, k), n, q) = (split(ok), nq_ / nq, nq_ % nq);
                    met.output[q * nk + k].map(|p| y(n, o, p))
                };
                a.products((s.cin, s.batch * nq, s.cout * nk), weight, above, |_, _| None)
            };
            Array::new(x[0].shape.clone(), images_first(map_rows(s.groups, group), s.batch, nq))
        };
        // w̄[o,c,k] = Σ_{n,p} ȳ[n,o,p]·x[n,c,p·s+k·d−pad]
        let kernel = || {
            let group = |g: usize| {
                let above = |o: usize, np_: usize| Some(y(np_ / np, g * s.cout + o, np_ % np));
                let below = |np_: usize, ck: usize| {
                    let (c, k, n, p) = (ck / nk, ck % nk, np_ / np, np_ % np);
                    met.input[p * nk + k].map(|q| &x[0].data[(n * inputs + g * s.cin + c) * nq + q])
                };
                a.products((s.cout, s.cin * nk, s.batch * np), above, below, |_, _| None)
            };
            Array::new(x[1].shape.clone(), super::flat_rows(s.groups, group))
        };
        // b̄[o] = Σ_{n,p} ȳ[n,o,p]
        let bias = || {
            let entry = |o: usize| a.sum((0..s.batch).flat_map(|n| (0..np).map(move |p| y(n, o, p))));
            Array::new(vec![outputs], map_rows(outputs, entry))
        };
        let mut out = vec![wanted[0].then(input), wanted[1].then(kernel)];
        out.extend(wanted.get(2).map(|&w| w.then(bias)));
        out
    }

    fn forward_runtime(&self, x: &[&Tensor]) -> Tensor {
        let s = self.sizes(&x[0].shape, &x[1].shape);
        let mut data = self.forward_by(x, Product::runtime);
        if let Some(b) = x.get(2) {
            let (channels, space) = (s.groups * s.cout, s.nout());
            parallel::chunks(&mut data, space, (1 << 14) / space.max(1) + 1, |row, line| {
                let b = b.data[row % channels];
                line.iter_mut().for_each(|y| *y += b);
            });
        }
        Array::new([&[s.batch, s.groups * s.cout], s.output.as_slice()].concat(), data)
    }

    fn vjp_runtime(&self, x: &[&Tensor], _: &Tensor, ybar: &Tensor, wanted: &[bool]) -> PerOperand<Tensor> {
        let s = self.sizes(&x[0].shape, &x[1].shape);
        let bias = || {
            let one = |o: usize| reduce::sum(&s.of_channel(o).map(|i| ybar.data[i]).collect::<Vec<f32>>());
            Array::new(vec![s.groups * s.cout], map_rows(s.groups * s.cout, one))
        };
        let made = self.vjp_by(x, ybar, wanted, Product::runtime).into_iter().zip(x);
        let mut out: PerOperand<Tensor> = made.map(|(d, x)| Some(Array::new(x.shape.clone(), d?))).collect();
        out.extend(wanted.get(2).map(|&w| w.then(bias)));
        out
    }

    fn forward_bound(&self, x: &[Approx], y: &Approx) -> Bound {
        let s = self.sizes(x[0].shape, x[1].shape);
        let taps = self.taps(&s, false);
        let (input, weights) = (Factor::of(&x[0]), Factor::of(&x[1]));
        let bias = x.get(2).map(|b| (s.per_channel(&b.run_mags()), s.per_channel(b.eps)));
        let rounding: Vec<Mag> = map(y.len(), |i| y.sum_rounding(i, Mag::ZERO));
        let group = |g: usize| {
            let w = weights.rearranged(|v| s.group(v, g).to_vec(), |v| s.group(v, g).to_vec());
            let bias = bias.as_ref().map(|(run, eps)| Bias {
                run: s.output_rows(run, g).into_owned(),
                eps: s.output_rows(eps, g).into_owned(),
                rounding: s.output_rows(&rounding, g).into_owned(),
            });
            bound_by_blocks(&s.forward(), |p, columns| {
                let right = input.rearranged(
                    |v| s.input_columns(v, Mag::ZERO, &taps, g, columns.clone()).into_owned(),
                    |v| s.input_columns(v, 0.0, &taps, g, columns.clone()).into_owned(),
                );
                let bias = bias.as_ref().map(|b| b.columns(s.forward().n, columns.clone()));
                p.bound(&w, &right, y.replayed(), bias.as_ref())
            })
        };
        gather_bounds(map_rows(s.groups, group), |rows| s.to_output(rows))
    }

    fn vjp_bound(&self, x: &[Approx], _: &Approx, ybar: &Approx, wanted: &[bool]) -> PerOperand<Bound> {
        let s = self.sizes(x[0].shape, x[1].shape);
        let g_all = Factor::of(ybar);
        let input = || {
            let taps = self.taps(&s, true);
            let weights = Factor::of(&x[1]);
            let group = |g: usize| {
                let w = weights.rearranged(
                    |v| by_input_channel(s.group(v, g), s.cout, s.cin, s.nk()),
                    |v| by_input_channel(s.group(v, g), s.cout, s.cin, s.nk()),
                );
                bound_by_blocks(&s.input_gradient(), |p, columns| {
                    let right = g_all.rearranged(
                        |v| s.output_columns(v, Mag::ZERO, &taps, g, columns.clone()).into_owned(),
                        |v| s.output_columns(v, 0.0, &taps, g, columns.clone()).into_owned(),
                    );
                    p.bound(&w, &right, ybar.replayed(), None)
                })
            };
            gather_bounds(map_rows(s.groups, group), |rows| s.to_input(rows))
        };
        let kernel = || {
            let taps = self.taps(&s, false);
            let values = Factor::of(&x[0]);
            let group = |g: usize| {
                let y = g_all.rearranged(|v| s.output_rows(v, g).into_owned(), |v| s.output_rows(v, g).into_owned());
                bound_by_blocks(&s.kernel_gradient(), |p, rows| {
                    let right = values.rearranged(
                        |v| s.input_rows(v, Mag::ZERO, &taps, g, rows.clone()).into_owned(),
                        |v| s.input_rows(v, 0.0, &taps, g, rows.clone()).into_owned(),
                    );
                    p.bound(&y, &right, ybar.replayed(), None)
                })
            };
            gather_bounds(map_rows(s.groups, group), |rows| rows.concat())
        };
        let bias = || sum_bound(map_rows(s.groups * s.cout, |o| sum_error(ybar, s.of_channel(o))));
        let mut out = vec![wanted[0].then(input), wanted[1].then(kernel)];
        out.extend(wanted.get(2).map(|&w| w.then(bias)));
        out
    }

    fn forward_scale(&self, x: &[&Array<Interval>]) -> Array<Interval> {
        let s = self.sizes(&x[0].shape, &x[1].shape);
        let taps = self.taps(&s, false);
        let bias = x.get(2).map(|b| s.per_channel(&b.data));
        let group = |g: usize| {
            let b = bias.as_ref().map(|b| s.output_rows(b, g));
            by_blocks(&s.forward(), |p, columns| {
                let right = s.input_columns(&x[0].data, Interval::ZERO, &taps, g, columns.clone());
                let b = b.as_ref().map(|b| some_columns(b, s.forward().n, columns));
                p.scale(s.group(&x[1].data, g), &right, b.as_deref())
            })
        };
        let data = s.to_output(map_rows(s.groups, group));
        Array::new([&[s.batch, s.groups * s.cout], s.output.as_slice()].concat(), data)
    }

    fn vjp_scale(
        &self,
        x: &[&Array<Interval>],
        _: &Array<Interval>,
        ybar: &Array<Interval>,
        wanted: &[bool],
    ) -> PerOperand<Array<Interval>> {
        let s = self.sizes(&x[0].shape, &x[1].shape);
        let input = || {
            let taps = self.taps(&s, true);
            let group = |g: usize| {
                let w = by_input_channel(s.group(&x[1].data, g), s.cout, s.cin, s.nk());
                by_blocks(&s.input_gradient(), |p, columns| {
                    p.scale(&w, &s.output_columns(&ybar.data, Interval::ZERO, &taps, g, columns), None)
                })
            };
            Array::new(x[0].shape.clone(), s.to_input(map_rows(s.groups, group)))
        };
        let kernel = || {
            let taps = self.taps(&s, false);
            let group = |g: usize| {
                let y = s.output_rows(&ybar.data, g);
                by_blocks(&s.kernel_gradient(), |p, rows| {
                    p.scale(&y, &s.input_rows(&x[0].data, Interval::ZERO, &taps, g, rows), None)
                })
            };
            Array::new(x[1].shape.clone(), map_rows(s.groups, group).concat())
        };
        let bias = || {
            let one = |o: usize| sum_range(s.of_channel(o).map(|i| ybar.data[i]));
            Array::new(vec![s.groups * s.cout], map_rows(s.groups * s.cout, one))
        };
        let mut out = vec![wanted[0].then(input), wanted[1].then(kernel)];
        out.extend(wanted.get(2).map(|&w| w.then(bias)));
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_convolution_is_told() {
        let good = Conv { strides: vec![2, 1], pads: vec![1, 0, 1, 0], dilations: vec![1, 2], groups: 2 };
        // ⌊(7 + 2 − 3)/2⌋ + 1 by 8 − 2·2
        assert_eq!(good.infer(&[&[3, 4, 7, 8], &[6, 2, 3, 3], &[6]]), Ok(vec![3, 6, 4, 4]));
        let told = |c: &Conv, x: &[usize], w: &[usize], b: &[usize], want: &str| {
            let text = c.infer(&[x, w, b]).expect_err(want);
            assert!(text.contains(want), "{text}");
        };
        let (x, w, b) = ([3, 4, 7, 8], [6, 2, 3, 3], [6]);
        for zero in [
            Conv { groups: 0, ..good.clone() },
            Conv { strides: vec![0, 1], ..good.clone() },
            Conv { dilations: vec![1, 0], ..good.clone() },
        ] {
            told(&zero, &x, &w, &b, "must be positive");
        }
        told(&Conv { strides: vec![1], ..good.clone() }, &x, &w, &b, "don't fit 2 spatial dimensions");
        told(&Conv { pads: vec![0; 2], ..good.clone() }, &x, &w, &b, "don't fit 2 spatial dimensions");
        told(&Conv { dilations: vec![1; 3], ..good.clone() }, &x, &w, &b, "don't fit 2 spatial dimensions");
        told(&good, &x, &[6, 2, 3], &b, "the same 1 to 3 spatial dimensions");
        told(&good, &[3, 4], &[6, 2], &b, "the same 1 to 3 spatial dimensions");
        told(&good, &[3, 5, 7, 8], &w, &b, "don't fit 2 groups of 2");
        told(&good, &x, &[5, 2, 3, 3], &[5], "don't fit 2 groups of 2");
        told(&good, &x, &w, &[5], "[6] required");
    }
}
