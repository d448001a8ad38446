//! Where roundings happen, and what each adds: the ζ of every operation.

use super::jet::{Jet, Jets};
use super::majorant::{Major, Majorants};
use super::onward::once;
use super::propagate::Table;
use crate::bounds::{Backward, Errors, Evidence};
use crate::ir::{Array, Tensor, ValueId};
use crate::num::{Interval, Mag};
use crate::ops::{Op, RevNode, map};

/// A place where an operation's result enters the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Site {
    /// The forward result of a node.
    Forward(ValueId),
    /// What node `from` contributes to the cotangent of its k-th operand.
    Backward {
        /// The consumer.
        from: ValueId,
        /// Which of its operands.
        operand: usize,
    },
    /// The accumulation of a value's contributions.
    Total(ValueId),
}

impl Site {
    /// The value whose forward value or cotangent moves.
    pub fn target(self, table: &Table) -> ValueId {
        match self {
            Site::Forward(v) | Site::Total(v) => v,
            Site::Backward { from, operand } => table.graph.node(from).expect("a consumer is a node").operands[operand],
        }
    }
}

/// One operation's own errors.
#[derive(Clone, Debug)]
pub struct Source {
    /// Where.
    pub site: Site,
    /// ζ, per entry, rounded to binary64.
    pub signed: Vec<f64>,
    /// |ζ| at most.
    pub size: Vec<Mag>,
    /// A bound known before the run was compared with anything; the local part of the schedule rung.
    pub prior: Vec<Mag>,
    /// Bound on (operations on a path)·2^−53 of the columns' propagation through this operation.
    pub gamma: Mag,
}

/// The sources of one run.
#[derive(Clone, Debug)]
pub struct Sources {
    /// In the order of the passes: forward up, backward down.
    pub list: Vec<Source>,
}

/// e = x̂ − x as midpoint and radius.
fn error(run: &[f32], spec: &[Interval]) -> Vec<(f64, Mag)> {
    run.iter()
        .zip(spec)
        .map(|(&x, s)| {
            let e = Interval::point(f64::from(x)).sub(*s);
            let mid = e.mid();
            (mid, e.radius_about(mid))
        })
        .collect()
}

/// Jets whose first lane is the error, majorants of |error|, and of what of it isn't known.
struct Moved {
    jets: Array<Jet>,
    known: Array<Major>,
    unknown: Array<Major>,
}

fn moved(run: &Tensor, spec: &[Interval]) -> Moved {
    let errors = error(&run.data, spec);
    let shape = || run.shape.clone();
    let value = |i: usize| f64::from(run.data[i]);
    let jet = |i: usize| {
        let mut j = Jet::still(value(i));
        (j.live, j.lanes[0]) = (errors[i].0 != 0.0, errors[i].0);
        j
    };
    let n = run.data.len();
    Moved {
        jets: Array::new(shape(), map(n, jet)),
        known: Array::new(shape(), map(n, |i| Major { value: value(i), sum: Mag::of(errors[i].0) })),
        unknown: Array::new(shape(), map(n, |i| Major { value: value(i), sum: errors[i].1 })),
    }
}

/// Does propagating jets through this operation round at all?
fn rounds(op: &Op, backward: bool, largest: usize) -> bool {
    match op {
        Op::Gather(g) => backward && !once(&g.index, largest),
        Op::Add(_) | Op::Sub(_) | Op::Sum(_) => !backward,
        Op::Join(_) | Op::Max(_) | Op::Staircase(_) => false,
        Op::Piecewise(p) => p.pieces.slopes.iter().any(|s| !matches!(s.abs(), 0.0 | 1.0)),
        _ => true,
    }
}

/// (operations on a path + some)·2^−52: no reduction is longer than the largest tensor at hand.
fn gamma(op: &Op, backward: bool, largest: usize) -> Mag {
    if rounds(op, backward, largest) { Mag::count(4 * largest + 64) * Mag::exp2(-52) } else { Mag::ZERO }
}

/// ζ = e − J·e_operands with everything that isn't known of it.
fn source(
    site: Site,
    run: &[f32],
    spec: &[Interval],
    step: &Array<Jet>,
    known: &Array<Major>,
    unknown: &Array<Major>,
    gamma: Mag,
    prior: &[Mag],
) -> Source {
    assert_eq!(prior.len(), run.len(), "the schedule rung's local bounds must be given for every entry");
    let e = error(run, spec);
    let zeta = |i: usize| e[i].0 - step.data[i].lanes[0];
    // |ζ| ≤ |mid| + radius of e + rounding of J·e and of the difference + what J makes of unknown operands
    let size = |i: usize| {
        let slack = e[i].1
            + gamma * known.data[i].sum
            + unknown.data[i].sum * Mag::of(1.001)
            + Mag::of(zeta(i)) * Mag::exp2(-51);
        Mag::of(zeta(i)) + slack
    };
    Source { site, signed: map(run.len(), zeta), size: map(run.len(), size), prior: prior.to_vec(), gamma }
}

impl Sources {
    /// Measures all of them. `forward` and `backward` are the schedule rung's bounds.
    pub fn measure(e: Evidence, table: &Table, forward: &[Errors], backward: &Backward) -> Sources {
        let graph = e.graph;
        let mut list = Vec::new();
        let value = |v: ValueId| moved(&e.values[v.index()], &e.exact.values[v.index()]);
        for (k, n) in graph.nodes().iter().enumerate() {
            let v = graph.node_id(k);
            let x: Vec<Moved> = n.operands.iter().map(|&o| value(o)).collect();
            let step = n.op.forward_spec(&Jets, &x.iter().map(|m| &m.jets).collect::<Vec<_>>());
            let known = n.op.forward_spec(&Majorants, &x.iter().map(|m| &m.known).collect::<Vec<_>>());
            let unknown = n.op.forward_spec(&Majorants, &x.iter().map(|m| &m.unknown).collect::<Vec<_>>());
            let largest = table.largest(n);
            let g = gamma(&n.op, false, largest);
            let i = v.index();
            list.push(source(
                Site::Forward(v),
                &e.values[i].data,
                &e.exact.values[i],
                &step,
                &known,
                &unknown,
                g,
                &forward[i].locals,
            ));
        }
        for (k, n) in graph.nodes().iter().enumerate().rev() {
            let v = graph.node_id(k);
            let (Some(run), Some(spec)) = (&e.cotangents.total[v.index()], &e.exact.cotangents[v.index()]) else {
                continue;
            };
            if let Some(total) = accumulation(e, v, backward) {
                list.push(total);
            }
            let want: Vec<bool> = n.operands.iter().map(|o| table.wanted[o.index()]).collect();
            if !want.contains(&true) {
                continue;
            }
            let ybar = moved(run, spec);
            let (x, y): (Vec<Moved>, Moved) = (n.operands.iter().map(|&o| value(o)).collect(), value(v));
            let jets: Vec<_> = x.iter().map(|m| &m.jets).collect();
            let step = n.op.vjp_spec(&Jets, &jets, &y.jets, &ybar.jets, &want);
            let known: Vec<_> = x.iter().map(|m| &m.known).collect();
            let known = n.op.vjp_spec(&Majorants, &known, &y.known, &ybar.known, &want);
            let unknown: Vec<_> = x.iter().map(|m| &m.unknown).collect();
            let unknown = n.op.vjp_spec(&Majorants, &unknown, &y.unknown, &ybar.unknown, &want);
            for (operand, o) in n.operands.iter().enumerate() {
                let (Some(step), Some(known), Some(unknown)) = (&step[operand], &known[operand], &unknown[operand])
                else {
                    continue;
                };
                if !want[operand] {
                    continue;
                }
                let (run, spec, prior) = table.contribution(e, backward, v, operand, *o);
                let g = gamma(&n.op, true, table.largest(n));
                list.push(source(Site::Backward { from: v, operand }, run, spec, step, known, unknown, g, prior));
            }
        }
        for i in 0..graph.leaves().len() {
            list.extend(accumulation(e, ValueId(i as u32), backward));
        }
        Sources { list }
    }
}

/// The accumulation of a shared value's contributions: ζ = e_total − Σ e_i.
fn accumulation(e: Evidence, v: ValueId, backward: &Backward) -> Option<Source> {
    let i = v.index();
    let parts = &e.cotangents.parts[i];
    if parts.is_empty() {
        return None;
    }
    let total = e.cotangents.total[i].as_ref()?;
    let errors: Vec<Vec<(f64, Mag)>> = parts.iter().zip(&e.exact.parts[i]).map(|(r, s)| error(&r.data, s)).collect();
    let n = total.data.len();
    let step = Array::new(
        vec![n],
        map(n, |k| {
            let mut j = Jet::still(0.0);
            j.lanes[0] = errors.iter().map(|p| p[k].0).sum();
            j
        }),
    );
    let sum = |f: fn(&(f64, Mag)) -> Mag| {
        Array::new(vec![n], map(n, |k| Major { value: 0.0, sum: errors.iter().map(|p| f(&p[k])).sum() }))
    };
    let (known, unknown) = (sum(|p| Mag::of(p.0)), sum(|p| p.1));
    let prior: Vec<Mag> = backward.total[i].as_ref().map_or_else(|| vec![Mag::ZERO; n], |t| t.locals.clone());
    let g = Mag::count(parts.len() + 4) * Mag::exp2(-52);
    Some(source(Site::Total(v), &total.data, e.exact.cotangents[i].as_ref()?, &step, &known, &unknown, g, &prior))
}
