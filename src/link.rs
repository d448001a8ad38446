//! The seeds' functions under their names, and the link between a graph and the tape that runs it.
//!
//! | here | in the seeds |
//! |---|---|
//! | [`RevGraph::eval_spec`](Graph::eval_spec), `eval_runtime`, `eval_bounds`, `eval_scales` | `RevGraph.evalSpec`, `evalRuntime`, `evalBounds`, `RevGraphScale.evalScales` |
//! | `backprop_spec`, `backprop_runtime`, `backprop_bounds`, `backprop_scales` | the same, for Γ only |
//! | `backprop_all` | `backpropAllCtx`: a cotangent for every value |
//! | `forget_scales`, `to_forward_graph`, `erase` | `toRevGraph`, `toFwdGraph`, `toGraphData` |
//! | [`ConvBounds`] | `conv2d{Kernel,Bias,Input}{PointBound,BoundTensor}` |
//!
//! A posteriori bounds read a run and the spec's enclosures ([`Evidence`]).

use crate::bounds::{self, AddBound, Errors, Evidence};
use crate::error::Diagnostic;
use crate::ir::{Array, Graph, Tensor, ValueId, walk};
use crate::num::format::BINARY32;
use crate::num::mag::max_of;
use crate::num::{Ball, Balls, Interval, Literal, Mag, Tracked};
use crate::ops::{Centre, Conv, Op, RevGraph, RevNode};
use crate::runtime::{self, Cotangents};
use crate::scale;
use crate::seed::Seed;
use crate::spec::textbook::{self, left_fold};
use std::convert::Infallible;

/// One result per leaf of Γ; `None` where no cotangent arrived.
pub type OverLeaves<T> = Vec<Option<T>>;

impl Graph<Op> {
    /// Enclosures of Γ ++ ss at `prec` bits.
    pub fn eval_spec(&self, prec: u32) -> Vec<Array<Ball>> {
        textbook::eval(self, &Balls::new(prec), |_, _, y| y)
    }

    /// Values of Γ ++ ss in binary32.
    pub fn eval_runtime(&self) -> Result<Vec<Tensor>, Diagnostic> {
        runtime::eval(self)
    }

    /// Error bounds of Γ ++ ss from those of the leaves.
    pub fn eval_bounds(&self, evidence: Evidence, centre: Centre, eps_in: impl Fn(ValueId) -> Mag) -> Vec<Errors> {
        bounds::eval(evidence, centre, eps_in)
    }

    /// Ranges of Γ ++ ss, every input entry within ±`region`.
    pub fn eval_scales(&self, region: Mag) -> Vec<Array<Interval>> {
        scale::eval(self, region)
    }

    /// Enclosures of the gradients of Γ.
    pub fn backprop_spec(&self, prec: u32, values: &[Array<Ball>], seeds: &[Seed]) -> OverLeaves<Array<Ball>> {
        let a = Balls::new(prec);
        let total = |_, c| left_fold(&a, c);
        let mut all = textbook::backprop(self, &a, values, seeds, &self.everything(), |_, c| c, total);
        all.truncate(self.leaves().len());
        all
    }

    /// Gradients of Γ in binary32.
    pub fn backprop_runtime(&self, values: &[Tensor], seeds: &[Seed]) -> Result<OverLeaves<Tensor>, Diagnostic> {
        let mut all = self.backprop_all(values, seeds)?.total;
        all.truncate(self.leaves().len());
        Ok(all)
    }

    /// Cotangents of Γ ++ ss in binary32; its Γ-prefix is [`Graph::backprop_runtime`].
    pub fn backprop_all(&self, values: &[Tensor], seeds: &[Seed]) -> Result<Cotangents, Diagnostic> {
        runtime::backprop(self, values, seeds, &self.everything())
    }

    /// Error bounds of the gradients of Γ. `add_bound` bounds the accumulation at shared values, from the
    /// addends before they are added ([`bounds::add_bound`] is the rule used everywhere).
    pub fn backprop_bounds(
        &self,
        evidence: Evidence,
        forward: &[Errors],
        seeds: &[Seed],
        centre: Centre,
        add_bound: AddBound,
    ) -> OverLeaves<Errors> {
        let wanted: Vec<bool> = evidence.cotangents.total.iter().map(Option::is_some).collect();
        let mut all = bounds::backprop(evidence, forward, seeds, &wanted, centre, add_bound).total;
        all.truncate(self.leaves().len());
        all
    }

    /// Ranges of the gradients of Γ.
    pub fn backprop_scales(&self, values: &[Array<Interval>], seeds: &[Seed]) -> OverLeaves<Array<Interval>> {
        let mut all = scale::backprop(self, values, seeds, &self.everything());
        all.truncate(self.leaves().len());
        all
    }

    /// The graph without its scale cells.
    pub fn forget_scales(&self) -> Unscaled<'_> {
        Unscaled(self)
    }

    /// The graph without its backward cells.
    pub fn to_forward_graph(&self) -> ForwardGraph<'_> {
        ForwardGraph(self)
    }

    /// The graph without spec, bound and scale cells: what is left runs.
    pub fn erase(&self) -> Tape {
        let nodes = self.nodes().iter().map(|n| (n.op.clone(), n.operands.clone())).collect();
        Tape { leaves: self.leaves().iter().map(|l| l.tensor.clone()).collect(), nodes }
    }

    /// Cotangents are wanted everywhere.
    fn everything(&self) -> Vec<bool> {
        vec![true; self.len()]
    }
}

/// A graph that has forgotten its scales.
#[derive(Clone, Copy, Debug)]
pub struct Unscaled<'a>(&'a RevGraph);

impl Unscaled<'_> {
    /// As [`Graph::eval_runtime`].
    pub fn eval_runtime(&self) -> Result<Vec<Tensor>, Diagnostic> {
        self.0.eval_runtime()
    }

    /// As [`Graph::eval_bounds`].
    pub fn eval_bounds(&self, evidence: Evidence, centre: Centre, eps_in: impl Fn(ValueId) -> Mag) -> Vec<Errors> {
        self.0.eval_bounds(evidence, centre, eps_in)
    }

    /// As [`Graph::backprop_runtime`].
    pub fn backprop_runtime(&self, values: &[Tensor], seeds: &[Seed]) -> Result<OverLeaves<Tensor>, Diagnostic> {
        self.0.backprop_runtime(values, seeds)
    }

    /// Drops the backward cells too.
    pub fn to_forward_graph(&self) -> ForwardGraph<'_> {
        ForwardGraph(self.0)
    }
}

/// A graph that only runs forward.
#[derive(Clone, Copy, Debug)]
pub struct ForwardGraph<'a>(&'a RevGraph);

impl ForwardGraph<'_> {
    /// As [`Graph::eval_spec`].
    pub fn eval_spec(&self, prec: u32) -> Vec<Array<Ball>> {
        self.0.eval_spec(prec)
    }

    /// As [`Graph::eval_runtime`].
    pub fn eval_runtime(&self) -> Result<Vec<Tensor>, Diagnostic> {
        self.0.eval_runtime()
    }

    /// As [`Graph::eval_bounds`].
    pub fn eval_bounds(&self, evidence: Evidence, centre: Centre, eps_in: impl Fn(ValueId) -> Mag) -> Vec<Errors> {
        self.0.eval_bounds(evidence, centre, eps_in)
    }
}

/// What is left of a graph when only its execution counts: leaves, and nodes that know their
/// forward and backward kernels.
#[derive(Clone, Debug)]
pub struct Tape {
    leaves: Vec<Tensor>,
    nodes: Vec<(Op, Vec<ValueId>)>,
}

impl Tape {
    /// |Γ| + |ss|.
    pub fn len(&self) -> usize {
        self.leaves.len() + self.nodes.len()
    }

    /// Is there nothing at all?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Values in the order of their ids.
    pub fn forward(&self) -> Vec<Tensor> {
        let mut values = self.leaves.clone();
        for (op, operands) in &self.nodes {
            let x: Vec<&Tensor> = operands.iter().map(|o| &values[o.index()]).collect();
            let y = op.forward_runtime(&x);
            values.push(y);
        }
        values
    }

    /// Dense backward pass: a zero tensor where nothing arrives, consumers in descending order, each
    /// contribution added as `P + C`.
    ///
    /// Panics when a seed has another shape than its value.
    pub fn backward(&self, values: &[Tensor], seeds: &[Seed]) -> Vec<Option<Tensor>> {
        let mut total: Vec<Option<Tensor>> = vec![None; self.len()];
        let add = |slot: &mut Option<Tensor>, c: Tensor| {
            *slot = Some(match slot.take() {
                None => c,
                Some(p) => runtime::add(&p, &c),
            });
        };
        for s in seeds {
            assert_eq!(s.cotangent.shape, values[s.value.index()].shape, "a seed has its value's shape");
            add(&mut total[s.value.index()], s.cotangent.clone());
        }
        for (k, (op, operands)) in self.nodes.iter().enumerate().rev() {
            let id = self.leaves.len() + k;
            let Some(ybar) = total[id].clone() else { continue };
            let x: Vec<&Tensor> = operands.iter().map(|o| &values[o.index()]).collect();
            for (o, c) in operands.iter().zip(op.vjp_runtime(&x, &values[id], &ybar, &vec![true; operands.len()])) {
                assert!(o.index() < id, "contributions go to earlier ids only");
                if let Some(c) = c {
                    assert_eq!(c.shape, values[o.index()].shape, "a contribution has its target's shape");
                    add(&mut total[o.index()], c);
                }
            }
        }
        total
    }
}

/// The seeds' bounds on the three gradients of a convolution in the reference runtime: the gradient's
/// own accumulation, replayed with errors beside the values.
#[derive(Clone, Debug)]
pub struct ConvBounds {
    /// Shaped like the kernel.
    pub kernel: Array<Mag>,
    /// One per output channel; `None` without a bias.
    pub bias: Option<Array<Mag>>,
    /// Shaped like the input.
    pub input: Array<Mag>,
}

impl ConvBounds {
    /// From operands and cotangent of the reference runtime and one error bound for each.
    pub fn of(conv: &Conv, operands: &[(&Tensor, Mag)], ybar: (&Tensor, Mag)) -> ConvBounds {
        let a = Literal::new(BINARY32);
        let tracked = |(t, eps): (&Tensor, Mag)| {
            let data = t.data.iter().map(|&x| Tracked { value: f64::from(x), eps }).collect();
            Array::new(t.shape.clone(), data)
        };
        let x: Vec<Array<Tracked>> = operands.iter().map(|&o| tracked(o)).collect();
        let x: Vec<&Array<Tracked>> = x.iter().collect();
        let g = tracked(ybar);
        let out = conv.vjp_spec(&a, &x, &g, &g, &vec![true; x.len()]);
        let mut bounds = out.into_iter().map(|t| {
            let t = t.expect("all were wanted");
            Array::new(t.shape, t.data.into_iter().map(|e| e.eps).collect())
        });
        let (input, kernel) = (bounds.next().expect("input"), bounds.next().expect("kernel"));
        ConvBounds { kernel, bias: bounds.next(), input }
    }

    /// Point bound of the kernel gradient at output channel o, channel c of its group, kernel offset k.
    pub fn kernel_point(&self, o: usize, c: usize, k: usize) -> Mag {
        let offsets: usize = self.kernel.shape[2..].iter().product();
        self.kernel.data[(o * self.kernel.shape[1] + c) * offsets + k]
    }

    /// Point bound of the bias gradient at output channel o.
    pub fn bias_point(&self, o: usize) -> Option<Mag> {
        self.bias.as_ref().map(|b| b.data[o])
    }

    /// Point bound of the input gradient at image n, channel c, position q.
    pub fn input_point(&self, n: usize, c: usize, q: usize) -> Mag {
        let space: usize = self.input.shape[2..].iter().product();
        self.input.data[(n * self.input.shape[1] + c) * space + q]
    }

    /// ∞-norms of kernel, bias and input bound tensors.
    pub fn linf_norms(&self) -> (Mag, Option<Mag>, Mag) {
        (max_of(&self.kernel.data), self.bias.as_ref().map(|b| max_of(&b.data)), max_of(&self.input.data))
    }
}

/// The link invariants, checked on one graph: name, whether it holds, and the figures.
pub fn invariants(graph: &RevGraph, seeds: &[Seed]) -> Result<Vec<(&'static str, bool, String)>, Diagnostic> {
    let same = |a: &Tensor, b: &Tensor| {
        a.shape == b.shape && a.data.iter().zip(&b.data).all(|(x, y)| x.to_bits() == y.to_bits())
    };
    let values = graph.eval_runtime()?;
    let all = graph.backprop_all(&values, seeds)?;
    let tape = graph.erase();
    let replayed = tape.forward();
    let back = tape.backward(&replayed, seeds);
    let (leaves, nodes) = (graph.leaves().len(), graph.nodes().len());
    let mut reads_forward = 0;
    let mut order = true;
    let mut consumers: Vec<Vec<usize>> = vec![Vec::new(); graph.len()];
    // the order in which contributions reach a value, seen on the walk that every pass shares
    let walked = walk::down(
        graph,
        &vec![true; graph.len()],
        seeds.iter().map(|s| (s.value, ())).collect(),
        |v, n, (), want| {
            reads_forward += n.operands.iter().filter(|o| **o >= v).count();
            n.operands.iter().for_each(|o| consumers[o.index()].push(v.index()));
            Ok::<_, Infallible>(want.iter().map(|_| Some(())).collect())
        },
        |_, _| Ok(()),
    );
    walked.unwrap_or_else(|e| match e {});
    order &= consumers.iter().all(|c| c.windows(2).all(|w| w[0] >= w[1]));
    let prefix = graph.backprop_runtime(&values, seeds)?;
    let equal = |a: &[Option<Tensor>], b: &[Option<Tensor>]| {
        a.iter().zip(b).all(|pair| match pair {
            (Some(x), Some(y)) => same(x, y),
            (None, None) => true,
            _ => false,
        })
    };
    let shapes = all.total.iter().zip(&values).all(|(c, v)| c.as_ref().is_none_or(|c| c.shape == v.shape));
    Ok(vec![
        (
            "leaves occupy the first ids",
            (0..leaves).all(|i| graph.node(ValueId(i as u32)).is_none()),
            format!("{leaves} leaves"),
        ),
        (
            "as many tape entries as leaves and nodes",
            tape.len() == leaves + nodes && replayed.len() == values.len(),
            format!("{leaves} + {nodes}"),
        ),
        (
            "operands and contributions go to smaller ids",
            reads_forward == 0 && graph.check().is_ok(),
            format!("{nodes} nodes, {reads_forward} violations"),
        ),
        (
            "the tape's values are the graph's, bit for bit, in order",
            replayed.iter().zip(&values).all(|(a, b)| same(a, b)),
            format!("{} values", values.len()),
        ),
        (
            "erasing spec, bound and scale leaves the cotangents' bits",
            equal(&back, &all.total),
            format!("{} cotangents", all.total.iter().flatten().count()),
        ),
        (
            "cotangents have the shapes of their values",
            shapes,
            format!("{} cotangents", all.total.iter().flatten().count()),
        ),
        ("contributions arrive in descending order of their consumers", order, format!("{} values", graph.len())),
        (
            "gradients of the leaves are the prefix of the dense backward pass",
            equal(&prefix, &all.total[..leaves]),
            format!("{leaves} leaves"),
        ),
    ])
}
