//! The exact chain: one column for every entry that rounds.
//!
//! Columns are unit derivatives, [`LANES`] of them a sweep. Let E_v = Σ_j |G̃_vj|·m_j over the computed
//! columns G̃. Propagating them through an operation rounds by at most ρ = γ·maj(E) in sum over all
//! columns (see [`super::majorant`]); such a rounding acts like an error of that size made there. With
//! κ = max ρ/m over all entries, Σ_j |G_gj|·m_j ≤ E_g·(1 + κ/(1 − κ)).

use super::jet::LANES;
use super::majorant::{Major, Majorants};
use super::propagate::{Moves, Table};
use super::sources::{Site, Source, Sources};
use crate::bounds::Evidence;
use crate::ir::{Array, LeafKind, Tensor, ValueId, elements};
use crate::num::{Mag, parallel};
use crate::ops::{Op, RevGraph, RevNode};

/// Bounds per entry of each parameter's gradient.
#[derive(Debug)]
pub struct Chain {
    /// Σ|G||ζ|: the sizes of what this run's operations added.
    pub run: Vec<(ValueId, Vec<Mag>)>,
    /// Σ|G|·max(local bound, |ζ|).
    pub schedule: Vec<(ValueId, Vec<Mag>)>,
}

/// Products of jets that the exact chain may cost: about half a minute on two cores.
pub const AFFORDABLE: f64 = 4e10;

/// (number of columns) × (multiply–adds forward and backward): the cost of the exact chain.
pub fn cost(table: &Table, sources: &Sources) -> f64 {
    let columns: usize = sources.list.iter().filter(|s| inner(table, s.site)).map(|s| s.size.len()).sum();
    columns as f64 * 3.0 * sweep_work(table.graph)
}

/// Multiply–adds of the forward pass.
pub fn sweep_work(graph: &RevGraph) -> f64 {
    graph.nodes().iter().map(|n| work(graph, &n.op, &n.operands, &n.shape)).sum()
}

fn work(graph: &RevGraph, op: &Op, operands: &[ValueId], shape: &[usize]) -> f64 {
    let size = elements(shape) as f64;
    let of = |k: usize| graph.shape(operands[k]);
    match op {
        Op::MatMul(m) => size * if m.trans_a { of(0)[of(0).len() - 2] } else { of(0)[of(0).len() - 1] } as f64,
        Op::Conv(_) => size * elements(&of(1)[1..]) as f64,
        _ => size.max(operands.iter().map(|&o| elements(graph.shape(o)) as f64).sum()),
    }
}

/// Does what enters here go anywhere, rather than being the end itself?
fn inner(table: &Table, site: Site) -> bool {
    matches!(site, Site::Forward(_)) || table.graph.node(site.target(table)).is_some()
}

/// The two weights of a column: run, schedule.
type Pair = [Mag; 2];

/// What sums up over columns, per entry of every value and cotangent.
struct Sums {
    values: Vec<Vec<Pair>>,
    cotangents: Vec<Vec<Pair>>,
}

impl Sums {
    fn add(&mut self, moves: &Moves, weights: &[Pair]) {
        let add = |sums: &mut Vec<Pair>, moved: &Option<Array<super::jet::Jet>>| {
            let Some(moved) = moved else { return };
            if sums.is_empty() {
                sums.resize(moved.data.len(), [Mag::ZERO; 2]);
            }
            parallel::each(sums, 256, |i, s| {
                let lanes = if moved.data[i].live { &moved.data[i].lanes[..] } else { &[] };
                for (t, w) in lanes.iter().zip(weights) {
                    let g = Mag::of(*t);
                    s[0] += g * w[0];
                    s[1] += g * w[1];
                }
            });
        };
        self.values.iter_mut().zip(&moves.values).for_each(|(s, m)| add(s, m));
        self.cotangents.iter_mut().zip(&moves.cotangents).for_each(|(s, m)| add(s, m));
    }
}

/// The exact chain of one run; `None` when its columns' rounding can't be told from the errors.
pub fn exact_chain(e: Evidence, table: &Table, sources: &Sources) -> Option<Chain> {
    let graph = table.graph;
    let weights: Vec<Vec<Pair>> = sources.list.iter().map(|s| weigh(e, table, s)).collect();
    let mut sums = Sums { values: vec![Vec::new(); graph.len()], cotangents: vec![Vec::new(); graph.len()] };
    for (source, weights) in sources.list.iter().zip(&weights) {
        if !inner(table, source.site) {
            let i = source.site.target(table).index();
            if sums.cotangents[i].is_empty() {
                sums.cotangents[i].resize(weights.len(), [Mag::ZERO; 2]);
            }
            // the end itself: G = 1
            sums.cotangents[i].iter_mut().zip(weights).for_each(|(s, w)| {
                s[0] += w[0];
                s[1] += w[1];
            });
        }
    }
    let batches: Vec<(usize, Vec<usize>)> = sources
        .list
        .iter()
        .enumerate()
        .filter(|(_, s)| inner(table, s.site))
        .flat_map(|(k, _)| {
            let entries: Vec<usize> = (0..weights[k].len()).filter(|&i| !weights[k][i][1].is_zero()).collect();
            entries.chunks(LANES).map(|c| (k, c.to_vec())).collect::<Vec<_>>()
        })
        .collect();
    // a few sweeps at a time in parallel, added up in order
    for group in batches.chunks(2 * rayon::current_num_threads().max(1)) {
        let moves: Vec<Moves> = parallel::map(group.len(), 1, |g| {
            let (k, entries) = &group[g];
            let site = sources.list[*k].site;
            table.sweep(|s| {
                (s == site).then(|| {
                    let unit = |lane: usize| {
                        let mut t = [0.0; LANES];
                        t[lane] = 1.0;
                        t
                    };
                    entries.iter().enumerate().map(|(lane, &i)| (i, unit(lane))).collect()
                })
            })
        });
        for ((k, entries), m) in group.iter().zip(&moves) {
            let w: Vec<Pair> = entries.iter().map(|&i| weights[*k][i]).collect();
            sums.add(m, &w);
        }
    }
    let kappa = columns_rounding(e, table, sources, &weights, &sums)?;
    let of = |which: usize| {
        let factor = Mag::ONE + kappa[which].div_lower((1.0 - kappa[which].get()).next_down());
        let parameter = |(i, _): (usize, _)| {
            let v = ValueId(i as u32);
            let n = elements(graph.shape(v));
            let sums = &sums.cotangents[i];
            (v, (0..n).map(|k| sums.get(k).map_or(Mag::ZERO, |s| s[which] * factor)).collect())
        };
        graph.leaves().iter().enumerate().filter(|(_, l)| l.kind == LeafKind::Parameter).map(parameter).collect()
    };
    Some(Chain { run: of(0), schedule: of(1) })
}

/// m of every entry, not below what the columns' rounding must be told from.
fn weigh(e: Evidence, table: &Table, s: &Source) -> Vec<Pair> {
    let i = s.site.target(table).index();
    let run: Option<&Tensor> = match s.site {
        Site::Forward(_) => Some(&e.values[i]),
        _ => e.cotangents.total[i].as_ref(),
    };
    let top = run.map_or(0.0, |t| t.data.iter().fold(0.0f64, |m, x| m.max(f64::from(x.abs()))));
    let floor =
        if s.gamma.is_zero() || s.size.iter().all(|m| m.is_zero()) { Mag::ZERO } else { Mag::of(top) * Mag::exp2(-46) };
    let pair = |(&size, &prior): (&Mag, &Mag)| {
        let m = size.max(floor);
        [m, m.max(prior)]
    };
    s.size.iter().zip(&s.prior).map(pair).collect()
}

/// κ of both weights: the columns' rounding at every operation, in units of the error made there.
fn columns_rounding(
    e: Evidence,
    table: &Table,
    sources: &Sources,
    weights: &[Vec<Pair>],
    sums: &Sums,
) -> Option<[Mag; 2]> {
    let mut kappa = [Mag::ZERO; 2];
    for which in 0..2 {
        let major = |run: &Tensor, sums: &Vec<Pair>| {
            let at =
                |i: usize| Major { value: f64::from(run.data[i]), sum: sums.get(i).map_or(Mag::ZERO, |s| s[which]) };
            Array::new(run.shape.clone(), (0..run.data.len()).map(at).collect())
        };
        let values: Vec<Array<Major>> = e.values.iter().zip(&sums.values).map(|(r, s)| major(r, s)).collect();
        // Σ over a value's contributions of their majorants: what its accumulation adds up
        let mut arriving: Vec<Vec<Mag>> = vec![Vec::new(); table.graph.len()];
        for (s, w) in sources.list.iter().zip(weights) {
            let target = s.site.target(table).index();
            let shared = matches!(s.site, Site::Backward { .. }) && !e.cotangents.parts[target].is_empty();
            if s.gamma.is_zero() && !shared {
                continue;
            }
            let moved = match s.site {
                Site::Forward(v) => {
                    let n = table.graph.node(v)?;
                    let x: Vec<&Array<Major>> = n.operands.iter().map(|o| &values[o.index()]).collect();
                    n.op.forward_spec(&Majorants, &x)
                }
                Site::Backward { from, operand } => {
                    let n = table.graph.node(from)?;
                    let x: Vec<&Array<Major>> = n.operands.iter().map(|o| &values[o.index()]).collect();
                    let ybar = major(e.cotangents.total[from.index()].as_ref()?, &sums.cotangents[from.index()]);
                    let want: Vec<bool> = (0..n.operands.len()).map(|k| k == operand).collect();
                    n.op.vjp_spec(&Majorants, &x, &values[from.index()], &ybar, &want).swap_remove(operand)?
                }
                Site::Total(_) => {
                    let sums = std::mem::take(&mut arriving[target]);
                    let data = sums.into_iter().map(|sum| Major { value: 0.0, sum }).collect::<Vec<_>>();
                    Array::new(vec![data.len()], data)
                }
            };
            if shared {
                arriving[target].resize(moved.data.len(), Mag::ZERO);
                arriving[target].iter_mut().zip(&moved.data).for_each(|(a, m)| *a += m.sum);
            }
            for (m, w) in moved.data.iter().zip(w) {
                let rho = s.gamma * m.sum;
                if !rho.is_zero() {
                    kappa[which] = kappa[which].max(rho.div_lower(w[which].get()));
                }
            }
        }
    }
    kappa.iter().all(|k| k.get() < 0.25).then_some(kappa)
}
