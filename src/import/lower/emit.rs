//! Building blocks: primitives with their broadcasts, transpositions and reductions.

use super::call::{Call, Problem};
use crate::error::Code;
use crate::import::index::{self, broadcast_shape, built, expand, inverse, to_end, transpose};
use crate::ir::{Index, ValueId};
use crate::num::Ties;
use crate::ops::{self, Op};

impl Call<'_, '_> {
    /// Adds a primitive; a refusal of its shapes becomes a diagnostic.
    pub fn emit(&mut self, op: impl Into<Op>, operands: &[ValueId]) -> Result<ValueId, Problem> {
        let node = self.node.clone();
        self.low.at(&node);
        let id = self.low.builder.node(op, operands).map_err(|why| Problem::found(Code::Shape, why))?;
        let shape = self.sizes(id);
        self.low.afford(&shape)?;
        Ok(id)
    }

    /// Sizes of a graph value.
    pub fn sizes(&self, v: ValueId) -> Vec<usize> {
        self.low.builder.shape(v).to_vec()
    }

    /// Moves entries; nothing is added when nothing moves.
    pub fn gather(&mut self, x: ValueId, shape: Vec<usize>, index: Index) -> Result<ValueId, Problem> {
        if index == Index::Identity && self.sizes(x) == shape {
            return Ok(x);
        }
        self.emit(ops::Gather { shape, index }, &[x])
    }

    /// The same entries under another shape.
    pub fn reshape(&mut self, x: ValueId, shape: Vec<usize>) -> Result<ValueId, Problem> {
        self.gather(x, shape, Index::Identity)
    }

    /// Axis k of the result is axis `perm[k]` of x.
    pub fn transpose(&mut self, x: ValueId, perm: &[usize]) -> Result<ValueId, Problem> {
        let (shape, index) = transpose(&self.sizes(x), perm);
        self.gather(x, shape, index)
    }

    /// Repeats x along axes of size 1 so that it has this shape.
    pub fn expand(&mut self, x: ValueId, shape: &[usize]) -> Result<ValueId, Problem> {
        let from = self.sizes(x);
        if from == shape {
            return Ok(x);
        }
        let n = built(shape)?;
        // only sizes of 1 are added: no entry is repeated
        if n == from.iter().product::<usize>() {
            return self.reshape(x, shape.to_vec());
        }
        self.gather(x, shape.to_vec(), expand(&from, shape))
    }

    /// A primitive with two operands, which are broadcast first.
    pub fn binary(&mut self, op: impl Into<Op>, a: ValueId, b: ValueId) -> Result<ValueId, Problem> {
        let shape = broadcast_shape(&self.sizes(a), &self.sizes(b))?;
        let a = self.expand(a, &shape)?;
        let b = self.expand(b, &shape)?;
        self.emit(op, &[a, b])
    }

    /// A constant leaf with one value, named after the node.
    pub fn scalar(&mut self, what: &str, x: f32) -> ValueId {
        self.tensor(what, Vec::new(), vec![x])
    }

    /// A constant leaf, named after the node.
    pub fn tensor(&mut self, what: &str, shape: Vec<usize>, data: Vec<f32>) -> ValueId {
        let name = format!("{}:{what}", self.node.label());
        self.low.constant(name, shape, data)
    }

    /// x·c, for a constant c of the operator; x itself when c = 1.
    pub fn scaled(&mut self, x: ValueId, what: &str, c: f32) -> Result<ValueId, Problem> {
        if c == 1.0 {
            return Ok(x);
        }
        let c = self.scalar(what, c);
        self.binary(ops::Mul, x, c)
    }

    /// Brings `axes` (sorted) to the end and joins them: [others.., n].
    pub fn rows(&mut self, x: ValueId, axes: &[usize]) -> Result<ValueId, Problem> {
        let shape = self.sizes(x);
        let moved = self.transpose(x, &to_end(shape.len(), axes))?;
        let mut out: Vec<usize> = (0..shape.len()).filter(|k| !axes.contains(k)).map(|k| shape[k]).collect();
        out.push(axes.iter().map(|&k| shape[k]).product());
        self.reshape(moved, out)
    }

    /// Undoes [`Call::rows`] for a result that kept all entries.
    pub fn unrows(&mut self, y: ValueId, shape: &[usize], axes: &[usize]) -> Result<ValueId, Problem> {
        let perm = to_end(shape.len(), axes);
        let y = self.reshape(y, perm.iter().map(|&p| shape[p]).collect())?;
        self.transpose(y, &inverse(&perm))
    }

    /// The tensors one after the other, as a vector.
    pub fn join(&mut self, parts: &[ValueId]) -> Result<ValueId, Problem> {
        match parts {
            [one] => {
                let n = self.sizes(*one).iter().product();
                self.reshape(*one, vec![n])
            }
            _ => self.emit(ops::Join, parts),
        }
    }

    /// Σ over the last dimension; a single entry needs no addition.
    pub fn sum(&mut self, x: ValueId) -> Result<ValueId, Problem> {
        let mut shape = self.sizes(x);
        match shape.pop() {
            Some(1) => self.reshape(x, shape),
            Some(0) => {
                let n = index::built(&shape)?;
                Ok(self.tensor("empty sum", shape, vec![0.0; n]))
            }
            _ => self.emit(ops::Sum, &[x]),
        }
    }

    /// Σ over the last dimension divided by `count`.
    pub fn mean(&mut self, x: ValueId, count: usize) -> Result<ValueId, Problem> {
        let mut shape = self.sizes(x);
        let length = shape.pop().unwrap_or(1);
        if count == 1 && length == 1 {
            return self.reshape(x, shape);
        }
        if length == 0 {
            return Err(Problem::found(Code::Domain, "the mean of no entries isn't a number"));
        }
        let d = u32::try_from(count).map_err(|_| format!("a mean of {count} entries"))?;
        self.emit(ops::Mean { divisors: vec![d] }, &[x])
    }

    /// The largest entry of the last dimension.
    pub fn max(&mut self, x: ValueId, ties: Ties) -> Result<ValueId, Problem> {
        if self.sizes(x).last() == Some(&0) {
            return Err(Problem::found(Code::Domain, "the maximum of no entries is −∞"));
        }
        self.emit(ops::Max { ties }, &[x])
    }
}
