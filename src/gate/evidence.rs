//! What a verifier computes itself: this run, and enclosures by scalar MPFR arithmetic.

use crate::certificate::Certificate;
use crate::error::Diagnostic;
use crate::import::random::Random;
use crate::ir::{Array, Tensor, ValueId};
use crate::num::{Ball, Balls, Interval};
use crate::ops::{Op, RevGraph, UNKNOWN_GATE};
use crate::runtime::{self, Cotangents};
use crate::seed::Seed;
use crate::session::subject::{self, Subject};
use crate::session::{Loaded, Progress};
use crate::spec::exact::PRECISION_CAP;
use crate::spec::textbook::{self, left_fold};

use super::verify::Extent;

/// A run and enclosures of a model.
pub struct Evidence {
    /// What the backward pass starts from.
    pub seeds: Vec<Seed>,
    /// What is certified.
    pub subjects: Vec<Subject>,
    /// Enclosures of the cotangents that lead to a gradient of the sample.
    pub totals: Vec<Option<Vec<Interval>>>,
    /// The parameters.
    pub parameters: Vec<ValueId>,
    /// Values of the run.
    pub values: Vec<Tensor>,
    /// Cotangents of the run.
    pub cotangents: Cotangents,
    /// Enclosures of all values.
    pub spec: Vec<Vec<Interval>>,
    /// Balls of the outputs.
    pub outputs: Vec<Array<Ball>>,
    /// Per parameter the balls of its gradient (`Some(None)` is an exact zero), `None` if it isn't in
    /// the sample.
    pub gradients: Vec<Option<Option<Array<Ball>>>>,
    /// Branches of the gates, per value.
    pub gates: Vec<Vec<u32>>,
    /// Seed of the sample; `None` when every gradient was derived.
    pub sample: Option<u64>,
    /// Bits of the midpoints.
    pub bits: u32,
}

/// Multiplications and additions of the exact pass above which only a sample is derived again.
const LARGE: u64 = 2_000_000_000;

/// Gradients in a sample.
const SAMPLED: usize = 8;

/// Runs and encloses. The precision is another than the certificate's, and raised while gates are open.
pub fn evidence(
    claimed: &Certificate,
    loaded: &Loaded,
    outputs: bool,
    extent: Extent,
    progress: &dyn Progress,
) -> Result<Evidence, Diagnostic> {
    let subjects = subject::of(loaded, outputs)?;
    let graph = &loaded.lowered.graph;
    let seeds: Vec<Seed> = (loaded.lowered.seeds.iter())
        .map(|(_, value, cotangent)| Seed { value: *value, cotangent: cotangent.clone() })
        .collect();
    let parameters: Vec<ValueId> = graph.parameters().collect();
    progress.pass("binary32 run");
    let wanted = graph.differentiated(&[]);
    let values = runtime::eval(graph)?;
    let cotangents = runtime::backprop(graph, &values, &seeds, &wanted)?;
    let sample = match extent {
        Extent::Sample(seed) if parameters.len() > SAMPLED && work(graph) > LARGE => Some(seed),
        _ => None,
    };
    let chosen = sample.map_or_else(|| vec![true; parameters.len()], |s| choose(s, parameters.len()));
    progress.pass("exact pass");
    // A little more than the certificate's precision: other roundings, and surely enough.
    let start = u32::try_from(claimed.exact_pass.bits).unwrap_or(PRECISION_CAP).clamp(64, PRECISION_CAP) + 32;
    let mut bits = start;
    loop {
        let mut e = enclose(graph, &seeds, &parameters, &chosen, &loaded.lowered.outputs, bits);
        if e.3 == 0 || bits >= PRECISION_CAP || claimed.exact_pass.capped {
            return Ok(Evidence {
                subjects,
                totals: e.5,
                seeds,
                parameters,
                values,
                cotangents,
                spec: std::mem::take(&mut e.0),
                gradients: e.1,
                gates: e.2,
                outputs: e.4,
                sample,
                bits,
            });
        }
        bits = (2 * bits).min(PRECISION_CAP + 32);
    }
}

type Enclosed = (
    Vec<Vec<Interval>>,
    Vec<Option<Option<Array<Ball>>>>,
    Vec<Vec<u32>>,
    usize,
    Vec<Array<Ball>>,
    Vec<Option<Vec<Interval>>>,
);

/// Values, gradients, gates, open questions, outputs, cotangents.
fn enclose(
    graph: &RevGraph,
    seeds: &[Seed],
    parameters: &[ValueId],
    chosen: &[bool],
    outputs: &[(String, ValueId)],
    bits: u32,
) -> Enclosed {
    let balls = Balls::new(bits);
    let mut gates: Vec<Vec<u32>> = vec![Vec::new(); graph.len()];
    let values = textbook::eval(graph, &balls, |v, x, y| {
        if let Some(n) = graph.node(v) {
            gates[v.index()] = n.op.gates(&balls, x);
        }
        y
    });
    // Cotangents only where they lead to a gradient of the sample.
    let mut wanted = vec![false; graph.leaves().len()];
    parameters.iter().zip(chosen).for_each(|(v, c)| wanted[v.index()] = *c);
    for n in graph.nodes() {
        wanted.push(n.operands.iter().any(|o| wanted[o.index()]));
    }
    let totals = textbook::backprop(graph, &balls, &values, seeds, &wanted, |_, c| c, |_, c| left_fold(&balls, c));
    let gradients = parameters.iter().zip(chosen).map(|(v, c)| c.then(|| totals[v.index()].clone())).collect();
    let open = gates.iter().flatten().filter(|&&g| g == UNKNOWN_GATE).count();
    let kept = outputs.iter().map(|(_, v)| values[v.index()].clone()).collect();
    let intervals = values.iter().map(|x| x.data.iter().map(Ball::interval).collect()).collect();
    let cotangents = totals.iter().map(|t| t.as_ref().map(|t| t.data.iter().map(Ball::interval).collect())).collect();
    (intervals, gradients, gates, balls.undecided().max(open), kept, cotangents)
}

/// Scalar multiplications of forward and backward pass together, roughly.
fn work(graph: &RevGraph) -> u64 {
    let one = |n: &crate::ir::Node<Op>| {
        let out: u64 = n.shape.iter().map(|&d| d as u64).product();
        let second = n.operands.get(1).map_or(&[][..], |&o| graph.shape(o));
        let depth: u64 = match n.op {
            Op::MatMul(_) => graph.shape(n.operands[0]).last().map_or(1, |&k| k as u64),
            Op::Conv(_) => second.iter().skip(1).map(|&d| d as u64).product(),
            _ => 1,
        };
        3 * out * depth
    };
    graph.nodes().iter().map(one).sum()
}

/// Which of n gradients are in the sample of a seed.
fn choose(seed: u64, n: usize) -> Vec<bool> {
    let mut random = Random::new(seed, "certify verify");
    let mut order: Vec<(u64, usize)> = (0..n).map(|i| (random.bits(), i)).collect();
    order.sort_unstable();
    let mut chosen = vec![false; n];
    order.iter().take(SAMPLED).for_each(|(_, i)| chosen[*i] = true);
    chosen
}
