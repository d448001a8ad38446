//! The binary32 run: forward and backward on recorded trees.

use crate::error::{Code, Diagnostic};
use crate::ir::{Tensor, ValueId, walk};
use crate::num::parallel;
use crate::ops::{RevGraph, RevNode, map2};
use crate::seed::Seed;

/// Cotangents of a run.
#[derive(Clone, Debug)]
pub struct Cotangents {
    /// Total cotangent of each value; `None` where none was wanted or none arrived.
    pub total: Vec<Option<Tensor>>,
    /// The contributions of each value that has more than one, in the order of their addition.
    pub parts: Vec<Vec<Tensor>>,
}

/// Values of leaves and nodes; a value that isn't finite ends the run with its node named.
pub fn eval(graph: &RevGraph) -> Result<Vec<Tensor>, Diagnostic> {
    if let Some(l) = graph.leaves().iter().find(|l| not_finite(&l.tensor.data).is_some()) {
        return Err(Diagnostic::new(Code::Domain, format!("\"{}\" has an entry that is not finite", l.name))
            .help("the error of a gradient is defined for finite weights and inputs only"));
    }
    walk::up(graph, |l| l.tensor.clone(), |v, n, x| finite(graph, v, n.op.forward_runtime(x), "value"))
}

/// Cotangents of all values that lead to something `wanted`, from the seeds.
pub fn backprop(
    graph: &RevGraph,
    values: &[Tensor],
    seeds: &[Seed],
    wanted: &[bool],
) -> Result<Cotangents, Diagnostic> {
    let mut parts: Vec<Vec<Tensor>> = vec![Vec::new(); graph.len()];
    let total = walk::down(
        graph,
        wanted,
        seeds.iter().map(|s| (s.value, s.cotangent.clone())).collect(),
        |v, n, ybar, want| {
            let x: Vec<&Tensor> = n.operands.iter().map(|o| &values[o.index()]).collect();
            let y = &values[v.index()];
            Ok(n.op.vjp_runtime(&x, y, ybar, want))
        },
        |v, mut contributions| {
            let sum = match contributions.as_slice() {
                [first, second, more @ ..] => {
                    let sum = more.iter().fold(add(first, second), |p, c| add(&p, c));
                    parts[v.index()] = contributions;
                    sum
                }
                _ => contributions.swap_remove(0),
            };
            // what isn't finite in a contribution isn't in the sum either
            finite(graph, v, sum, "cotangent")
        },
    )?;
    Ok(Cotangents { total, parts })
}

/// P + C, entry by entry.
pub fn add(p: &Tensor, c: &Tensor) -> Tensor {
    Tensor::new(p.shape.clone(), map2(&p.data, &c.data, |p, c| p + c))
}

/// Place of the first entry that is not finite. Blocks are judged whole, so that vectors do it.
fn not_finite(x: &[f32]) -> Option<usize> {
    const BLOCK: usize = 1 << 12;
    let block = |b: usize| &x[b * BLOCK..x.len().min((b + 1) * BLOCK)];
    // one more in an exponent of ones carries into the sign
    let bad = |b: usize| {
        let mut carries = 0;
        for x in block(b) {
            carries |= (x.to_bits() & 0x7fff_ffff) + 0x0080_0000;
        }
        carries >> 31 == 1
    };
    let blocks = x.len().div_ceil(BLOCK);
    if !parallel::any(blocks, 16, bad) {
        return None;
    }
    let first = (0..blocks).find(|&b| bad(b))?;
    Some(first * BLOCK + block(first).iter().position(|x| !x.is_finite())?)
}

fn finite(graph: &RevGraph, v: ValueId, t: Tensor, what: &str) -> Result<Tensor, Diagnostic> {
    match not_finite(&t.data) {
        None => Ok(t),
        Some(i) => {
            let d = Diagnostic::new(
                Code::Domain,
                format!("{what} \"{}\" has {} at position {i}, a finite number required", graph.name(v), t.data[i]),
            );
            let d = match graph.node(v).map(|n| &graph.origins()[n.origin]) {
                Some(o) => d.node(o.node.clone(), o.op.clone(), o.opset),
                None => d,
            };
            Err(d.note("binary32 overflows here, or leaves the domain of the operator")
                .help("the model's own binary32 gradient is not a number for this input: rescale the input, or use a numerically stable form of the operator"))
        }
    }
}
