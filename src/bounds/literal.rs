//! The literal rung: the seeds' recursion, one error bound per tensor, for the reference run.
//!
//! Node bounds are computed per entry and collapsed to the largest before they leave the node
//! (`linfNorm`); accumulation is TorchLean's `ctxAddBound`, which charges max û(P + C) on *every*
//! earlier slot at *every* reverse step, also where the contribution is a zero tensor.

use crate::ir::{Array, Tensor, ValueId, elements};
use crate::num::format::BINARY32;
use crate::num::mag::max_of;
use crate::num::{Literal, Mag, Tracked};
use crate::ops::RevGraph;
use crate::seed::Seed;
use crate::spec::textbook::{self, left_fold};

/// The reference run and its bounds.
#[derive(Debug)]
pub struct ReferenceRun {
    /// Forward values of the reference runtime.
    pub values: Vec<Tensor>,
    /// One forward error bound per value.
    pub eps: Vec<Mag>,
    /// Cotangents of the reference runtime.
    pub cotangents: Vec<Option<Tensor>>,
    /// One error bound per cotangent.
    pub cotangent_eps: Vec<Option<Mag>>,
}

impl ReferenceRun {
    /// For a graph that is too large to be run so: no finite value, no bound.
    pub fn unknown(graph: &RevGraph) -> ReferenceRun {
        let nothing = || Tensor::new(vec![1], vec![f32::NAN]);
        ReferenceRun {
            values: (0..graph.len()).map(|_| nothing()).collect(),
            eps: vec![Mag::INFINITY; graph.len()],
            cotangents: (0..graph.len()).map(|_| Some(nothing())).collect(),
            cotangent_eps: vec![Some(Mag::INFINITY); graph.len()],
        }
    }
}

/// Runs the reference runtime in binary32 with the seeds' error formulas beside it.
///
/// Values beyond binary32 show as infinite entries and bounds.
pub fn run(graph: &RevGraph, seeds: &[Seed], wanted: &[bool]) -> ReferenceRun {
    let a = Literal::new(BINARY32);
    let values = textbook::eval(graph, &a, |_, _, y| collapse(y));
    // Zero contributions: slot j is charged û(P_j) at every later node that sends it nothing.
    let readers = readers(graph, wanted);
    let cotangents = textbook::backprop(
        graph,
        &a,
        &values,
        seeds,
        wanted,
        |_, c| c.into_iter().map(|t| t.map(collapse)).collect(),
        |v, contributions| charge_zero_additions(graph, &readers, v, collapse(left_fold(&a, contributions))),
    );
    let plain = |x: &Array<Tracked>| Tensor::new(x.shape.clone(), x.data.iter().map(|t| t.value as f32).collect());
    let eps = |x: &Array<Tracked>| x.data.first().map_or(Mag::ZERO, |t| t.eps);
    ReferenceRun {
        eps: values.iter().map(eps).collect(),
        values: values.iter().map(plain).collect(),
        cotangent_eps: cotangents.iter().map(|c| c.as_ref().map(eps)).collect(),
        cotangents: cotangents.iter().map(|c| c.as_ref().map(plain)).collect(),
    }
}

/// Every entry gets the tensor's largest error bound; an entry that isn't finite has none.
fn collapse(mut x: Array<Tracked>) -> Array<Tracked> {
    let bound = |t: &Tracked| if t.value.is_finite() { t.eps } else { Mag::INFINITY };
    let eps = max_of(&x.data.iter().map(bound).collect::<Vec<Mag>>());
    x.data.iter_mut().for_each(|t| t.eps = eps);
    x
}

/// How many nodes send a cotangent to each value.
fn readers(graph: &RevGraph, wanted: &[bool]) -> Vec<usize> {
    let mut n = vec![0; graph.len()];
    for node in graph.nodes() {
        let mut operands = node.operands.clone();
        operands.sort_unstable();
        operands.dedup();
        operands.iter().filter(|o| wanted[o.index()]).for_each(|o| n[o.index()] += 1);
    }
    n
}

/// û of the slot's largest entry, once for every later node that sends it an exact zero.
// before the first contribution the slot is 0 and costs û(0); afterwards at most û(max|P|), and the
// final P is taken for all of them, which dominates while |P| grows
fn charge_zero_additions(graph: &RevGraph, readers: &[usize], v: ValueId, mut x: Array<Tracked>) -> Array<Tracked> {
    let later = graph.len() - graph.leaves().len().max(v.index() + 1);
    let silent = later.saturating_sub(readers[v.index()]);
    if elements(&x.shape) == 0 || silent == 0 {
        return x;
    }
    let top = x.data.iter().fold(0.0f64, |m, t| m.max(t.value.abs()));
    let charge = Mag::count(silent) * BINARY32.half_ulp(top);
    x.data.iter_mut().for_each(|t| t.eps += charge);
    x
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{Leaf, LeafKind};
    use crate::ops::{Add, Builder, Mul};

    #[test]
    fn silent_nodes_are_charged_half_an_ulp_of_the_largest_entry() {
        let mut b = Builder::new();
        let mut leaf = |kind, data: &[f32]| b.leaf(Leaf::new("leaf", kind, Tensor::new(vec![2], data.to_vec())));
        let (p, c) = (leaf(LeafKind::Parameter, &[1.5, 2.0]), leaf(LeafKind::Constant, &[0.5, 0.25]));
        let scaled = b.node(Mul, &[p, c]).unwrap();
        let square = b.node(Mul, &[scaled, scaled]).unwrap();
        let sum = b.node(Add, &[square, scaled]).unwrap();
        let (g, id) = b.finish();
        let readers = readers(&g, &g.differentiated(&[]));
        // a node that reads a value twice is one reader; constants are sent nothing
        assert_eq!(readers, [1, 0, 2, 1, 0]);
        let charged = |v: ValueId, silent: usize| {
            let tracked = |value: f64, eps: f64| Tracked { value, eps: Mag::of(eps) };
            let x = Array::new(vec![2], vec![tracked(1.5, 0.125), tracked(-3.0, 0.25)]);
            let y = charge_zero_additions(&g, &readers, id(v), x);
            for (t, (value, eps)) in y.data.iter().zip([(1.5, 0.125), (-3.0, 0.25)]) {
                // û(3) = 2^−23
                let formula = eps + silent as f64 * 2f64.powi(-23);
                let near = t.eps.get() >= formula && t.eps.get() <= formula * (1.0 + 1e-15);
                assert!(t.value == value && near, "{v:?}: {t:?} for {formula:e}");
            }
        };
        // of the three nodes two send p nothing; both later ones read `scaled`, and the last one reads `square`
        charged(p, 2);
        charged(c, 3);
        charged(scaled, 0);
        charged(square, 0);
        charged(sum, 0);
    }

    #[test]
    fn one_bound_a_tensor_and_none_of_what_is_not_finite() {
        let x = Array::new(
            vec![3],
            [(1.0, 0.5), (2.0, 2.0), (0.0, 0.25)].map(|(value, e)| Tracked { value, eps: Mag::of(e) }).to_vec(),
        );
        assert!(collapse(x.clone()).data.iter().all(|t| t.eps == Mag::of(2.0)));
        let mut beyond = x;
        beyond.data[2].value = f64::INFINITY;
        assert!(collapse(beyond).data.iter().all(|t| !t.eps.is_finite()));
    }
}
