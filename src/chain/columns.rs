//! The exact chain: one column for every entry that rounds.
//!
//! Columns are unit derivatives, [`LANES`] of them a sweep, and don't depend on how large the errors are. So the
//! sizes m can be decided place by place, in the order of the passes: when a place is reached, the columns of all
//! places before have been added up to E = Σ_j |G̃_j|·m_j at its operands, G̃ being the columns as computed.
//!
//! Claim: e = Σ_j G̃_j·z_j at every value and cotangent, |z_j| ≤ m_j; hence |e| ≤ E. By induction along the passes:
//! an operation with linear map J̃ (its coefficients as computed) gives e = J̃·e_operands + ζ, its columns are
//! G̃_j = J̃·G̃_operands,j + r_j with Σ|r_j|·m_j ≤ ρ = γ·(majorant of E), since at most γ/2^−53 roundings meet on a
//! path (see [`super::majorant`]); so e = Σ_j G̃_j·z_j + z with z = ζ − Σ r_j·z_j, |z| ≤ |ζ| + ρ =: m. Underflow
//! adds at most [`UNDERFLOW`] to each column.
//!
//! What |ζ| is at most: in the `run` rung what was measured of this run, in `schedule` its local bound if that is
//! more, in `portable` what [`super::portable`] makes of E.

use super::jet::{Jet, LANES};
use super::majorant::{Major, Majorants};
use super::onward::{majors, only_readers, onward, way};
use super::portable::Portable;
use super::propagate::{Moves, Table};
use super::sources::{Site, Source, Sources};
use crate::bounds::{Backward, Errors, Evidence};
use crate::ir::{Array, Tensor, ValueId, elements};
use crate::num::{Mag, parallel};
use crate::ops::{Op, RevGraph, RevNode, map};
use std::collections::BTreeMap;

/// Run, schedule, portable.
const RUNGS: usize = 3;

/// The place of `portable` among the rungs.
const PORTABLE: usize = 2;

/// What one operation's underflows may add to an entry of a column, with room to spare.
const UNDERFLOW: Mag = Mag::power_of_two(-1000);

/// How far the runs that a rung covers may be from the spec: Σ|G|·m per entry.
#[derive(Clone, Debug)]
pub struct Reach {
    /// Of every value.
    pub values: Vec<Vec<Mag>>,
    /// Of every cotangent; `None` where none arrived.
    pub cotangents: Vec<Option<Vec<Mag>>>,
}

impl Reach {
    /// Bounds of a parameter's gradient, where it has one.
    pub fn gradient(&self, v: ValueId) -> Option<&[Mag]> {
        self.cotangents[v.index()].as_deref()
    }

    /// The same as other rungs are written down.
    pub fn errors(&self) -> (Vec<Errors>, Backward) {
        let of = |eps: &Vec<Mag>| Errors { eps: eps.clone(), ..Errors::default() };
        let total = self.cotangents.iter().map(|c| c.as_ref().map(of)).collect();
        (self.values.iter().map(of).collect(), Backward { total, parts: Vec::new() })
    }
}

/// What the exact chain says.
#[derive(Clone, Debug)]
pub struct Chain {
    /// m = |ζ|: what this run's operations added.
    pub run: Reach,
    /// m = max(local bound, |ζ|).
    pub schedule: Reach,
    /// m for every conforming run; `None` where nothing is known of one of them.
    pub portable: Option<Reach>,
}

/// Multiply–adds of jets that the exact chain may cost: some two minutes of processor time on a core without
/// AVX-512.
pub const AFFORDABLE: f64 = 6e10;

/// Multiply–adds that the exact chain costs: for every entry that needs a column, those of all operations that it
/// may move.
pub fn cost(table: &Table, sources: &Sources) -> f64 {
    let graph = table.graph;
    let own = |k: usize| {
        let n = &graph.nodes()[k];
        work(graph, &n.op, &n.operands, &n.shape)
    };
    let works: Vec<f64> = (0..graph.nodes().len()).map(own).collect();
    let leaves = graph.leaves().len();
    // what depends on a value, and what a value depends on
    let moved = |site: Site| {
        let target = site.target(table).index();
        let mut reached = vec![false; graph.len()];
        reached[target] = true;
        let mut sum = 0.0;
        if let Site::Forward(_) = site {
            for (k, n) in graph.nodes().iter().enumerate() {
                if n.operands.iter().any(|o| reached[o.index()]) {
                    reached[leaves + k] = true;
                    sum += works[k];
                }
            }
        }
        // a value moves the cotangents of all its readers' operands, and theirs all before them
        for (k, n) in graph.nodes().iter().enumerate().rev() {
            if reached[leaves + k] {
                n.operands.iter().for_each(|o| reached[o.index()] = true);
                sum += 2.0 * works[k];
            }
        }
        sum
    };
    let readers = only_readers(table);
    let each = |s: &Source| {
        if !inner(table, s.site) || way(table, readers[s.site.target(table).index()], s.site).is_some() {
            return 0.0;
        }
        let columns = s.size.iter().zip(&s.prior).filter(|(a, b)| !a.max(**b).is_zero()).count();
        columns as f64 * moved(s.site)
    };
    sources.list.iter().map(each).sum()
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

/// Something for each rung.
type Each<T> = [T; RUNGS];

/// E of every value and cotangent, in each rung; empty where nothing has moved.
struct Sums {
    values: Vec<Vec<Each<Mag>>>,
    cotangents: Vec<Vec<Each<Mag>>>,
}

impl Sums {
    /// Columns that have been swept through, of errors of these sizes.
    fn add(&mut self, moves: &Moves, sizes: &[Each<Mag>]) {
        let weights: Each<[f64; LANES]> =
            std::array::from_fn(|r| std::array::from_fn(|l| sizes.get(l).map_or(0.0, |m| m[r].get())));
        let add = |sums: &mut Vec<Each<Mag>>, moved: &Option<Array<Jet>>| {
            let Some(moved) = moved else { return };
            sums.resize(moved.data.len(), [Mag::ZERO; RUNGS]);
            parallel::each(sums, 512, |i, s| {
                let j = &moved.data[i];
                if j.live {
                    s.iter_mut().zip(&weights).for_each(|(s, w)| *s += magnitude(&j.lanes, w));
                }
            });
        };
        self.values.iter_mut().zip(&moves.values).for_each(|(s, m)| add(s, m));
        self.cotangents.iter_mut().zip(&moves.cotangents).for_each(|(s, m)| add(s, m));
    }

    /// Errors of these sizes at their own place.
    fn enter(&mut self, site: Site, target: ValueId, sizes: &[Each<Mag>]) {
        let sums = match site {
            Site::Forward(_) => &mut self.values[target.index()],
            _ => &mut self.cotangents[target.index()],
        };
        sums.resize(sizes.len(), [Mag::ZERO; RUNGS]);
        sums.iter_mut().zip(sizes).for_each(|(s, m)| s.iter_mut().zip(m).for_each(|(s, &m)| *s += m));
    }
}

/// Σ|t|·w, rounded up.
fn magnitude(t: &[f64; LANES], w: &[f64; LANES]) -> Mag {
    // some sums side by side; any order keeps to the bound
    let mut sums = [0.0; 4];
    for (t, w) in t.as_chunks::<4>().0.iter().zip(w.as_chunks::<4>().0) {
        for l in 0..4 {
            sums[l] += t[l].abs() * w[l];
        }
    }
    let sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    let nothing = sum == 0.0 && t.iter().zip(w).all(|(t, w)| *t == 0.0 || *w == 0.0);
    if nothing { Mag::ZERO } else { Mag::from_rounded(sum, 2 * LANES, f64::MIN_POSITIVE) }
}

/// What is known while the places are gone through.
struct Walk<'a> {
    e: Evidence<'a>,
    table: &'a Table<'a>,
    sums: Sums,
    /// For every shared value: E of the contributions that have arrived.
    arrived: BTreeMap<ValueId, Vec<Vec<Each<Mag>>>>,
    /// Errors that enter later than where they are made.
    pushed: BTreeMap<Site, Vec<Vec<Mag>>>,
    /// What the node at hand contributes.
    contributions: Option<(ValueId, Vec<Option<Step>>)>,
    readers: Vec<Option<(ValueId, usize)>>,
    portable: Option<Portable<'a>>,
    /// Σm over all that have entered.
    entered: Each<Mag>,
}

/// One operation's part of a place.
struct Step {
    /// Majorants of E.
    majorants: Each<Vec<Mag>>,
    /// |ζ| of any conforming run.
    portable: Vec<Mag>,
}

/// One rung of some sums.
fn rung(sums: &[Each<Mag>], r: usize, n: usize) -> Vec<Mag> {
    if sums.is_empty() { vec![Mag::ZERO; n] } else { sums.iter().map(|s| s[r]).collect() }
}

impl Walk<'_> {
    /// E of a value in one rung.
    fn value(&self, v: ValueId, r: usize) -> Vec<Mag> {
        rung(&self.sums.values[v.index()], r, self.e.values[v.index()].data.len())
    }

    /// E of the operands of a node.
    fn operands(&self, v: ValueId, r: usize) -> Vec<Vec<Mag>> {
        self.table.graph.node(v).into_iter().flat_map(|n| n.operands.iter().map(|&o| self.value(o, r))).collect()
    }

    fn majors(&self, run: &Tensor, sums: &[Each<Mag>], r: usize) -> Array<Major> {
        majors(run, |i| sums.get(i).map_or(Mag::ZERO, |s| s[r]))
    }

    fn forward(&mut self, v: ValueId) -> Step {
        let n = self.table.graph.node(v).expect("a forward place is a node's");
        let of = |r: usize| {
            let x: Vec<Array<Major>> = n
                .operands
                .iter()
                .map(|o| self.majors(&self.e.values[o.index()], &self.sums.values[o.index()], r))
                .collect();
            sums_of(n.op.forward_spec(&Majorants, &x.iter().collect::<Vec<_>>()))
        };
        let majorants = std::array::from_fn(of);
        let operands = self.operands(v, PORTABLE);
        let portable = self.portable.as_mut().map_or_else(Vec::new, |p| p.forward(v, &operands));
        Step { majorants, portable }
    }

    /// All contributions of a node.
    fn backward(&mut self, v: ValueId) -> Vec<Option<Step>> {
        let (e, i) = (self.e, v.index());
        let n = self.table.graph.node(v).expect("contributions are made by nodes");
        let run = e.cotangents.total[i].as_ref().expect("a contribution has a cotangent to come from");
        let want: Vec<bool> = n.operands.iter().map(|o| self.table.wanted[o.index()]).collect();
        let of = |r: usize| {
            let x: Vec<Array<Major>> =
                n.operands.iter().map(|o| self.majors(&e.values[o.index()], &self.sums.values[o.index()], r)).collect();
            let y = self.majors(&e.values[i], &self.sums.values[i], r);
            let ybar = self.majors(run, &self.sums.cotangents[i], r);
            n.op.vjp_spec(&Majorants, &x.iter().collect::<Vec<_>>(), &y, &ybar, &want)
        };
        let mut majorants: Each<_> = std::array::from_fn(|r| of(r).into_iter());
        let operands = self.operands(v, PORTABLE);
        let (y, ybar) = (self.value(v, PORTABLE), rung(&self.sums.cotangents[i], PORTABLE, run.data.len()));
        let mut portable = match &self.portable {
            Some(p) => p.backward(v, &operands, &y, &ybar, &want),
            None => vec![Some(Vec::new()); want.len()],
        };
        let step = |k: usize| {
            let each: Each<Option<Array<Major>>> = std::array::from_fn(|r| majorants[r].next().flatten());
            let [Some(a), Some(b), Some(c)] = each else { return None };
            Some(Step { majorants: [sums_of(a), sums_of(b), sums_of(c)], portable: portable[k].take()? })
        };
        (0..want.len()).map(step).collect()
    }

    fn step(&mut self, site: Site) -> Step {
        match site {
            Site::Forward(v) => self.forward(v),
            Site::Backward { from, operand } => {
                if self.contributions.as_ref().is_none_or(|(v, _)| *v != from) {
                    self.contributions = Some((from, self.backward(from)));
                }
                let (_, all) = self.contributions.as_mut().expect("it has just been made");
                all[operand].take().expect("a contribution is asked for once, where there is one")
            }
            Site::Total(v) => {
                let arrived = self.arrived.remove(&v).unwrap_or_default();
                let n = self.e.values[v.index()].data.len();
                let of = |r: usize| map(n, |i| arrived.iter().map(|c| c[i][r]).sum());
                let eps: Vec<Vec<Mag>> = arrived.iter().map(|c| rung(c, PORTABLE, n)).collect();
                let portable = self.portable.as_ref().map_or_else(Vec::new, |p| p.total(v, eps));
                Step { majorants: std::array::from_fn(of), portable }
            }
        }
    }

    /// m of every entry of a place, without what has been pushed there.
    fn sizes(&mut self, s: &Source) -> Vec<Each<Mag>> {
        let step = self.step(s.site);
        let target = s.site.target(self.table);
        let tiny: Each<Mag> = self.entered.map(|m| m * UNDERFLOW);
        let own: Vec<Each<Mag>> = map(s.size.len(), |i| {
            let zeta = [s.size[i], s.size[i].max(s.prior[i]), step.portable.get(i).copied().unwrap_or(Mag::ZERO)];
            std::array::from_fn(|r| match s.gamma * step.majorants[r][i] {
                rho if rho.is_zero() => zeta[r],
                rho => zeta[r] + rho + tiny[r],
            })
        });
        if matches!(s.site, Site::Backward { .. }) && !self.e.cotangents.parts[target.index()].is_empty() {
            let whole = |i: usize| std::array::from_fn(|r| step.majorants[r][i] * Mag::of(1.001) + own[i][r]);
            self.arrived.entry(target).or_default().push(map(own.len(), whole));
        }
        own
    }

    fn place(&mut self, s: &Source) {
        let mut sizes = self.sizes(s);
        if let Some(pushed) = self.pushed.remove(&s.site) {
            sizes.iter_mut().enumerate().for_each(|(i, m)| (0..RUNGS).for_each(|r| m[r] += pushed[r][i]));
        }
        if self.portable.is_some() && sizes.iter().any(|m| !m[PORTABLE].is_finite()) {
            self.portable = None;
        }
        if self.portable.is_none() {
            sizes.iter_mut().for_each(|m| m[PORTABLE] = Mag::ZERO);
        }
        (0..RUNGS).for_each(|r| self.entered[r] += sizes.iter().map(|m| m[r]).sum::<Mag>());
        let target = s.site.target(self.table);
        if !inner(self.table, s.site) {
            self.sums.enter(s.site, target, &sizes);
            return;
        }
        let each: Vec<Vec<Mag>> = (0..RUNGS).map(|r| sizes.iter().map(|m| m[r]).collect()).collect();
        if let Some(way) = way(self.table, self.readers[target.index()], s.site) {
            self.sums.enter(s.site, target, &sizes);
            for (to, behind) in onward(self.e, self.table, &way, &each) {
                match self.pushed.get_mut(&to) {
                    Some(p) => p.iter_mut().flatten().zip(behind.into_iter().flatten()).for_each(|(p, b)| *p += b),
                    None => {
                        self.pushed.insert(to, behind);
                    }
                }
            }
            return;
        }
        self.sweep(s.site, &sizes);
    }

    /// Columns of all entries of a place.
    fn sweep(&mut self, site: Site, sizes: &[Each<Mag>]) {
        let entries: Vec<usize> = (0..sizes.len()).filter(|&i| sizes[i].iter().any(|m| !m.is_zero())).collect();
        let batches: Vec<&[usize]> = entries.chunks(LANES).collect();
        // a few sweeps at a time in parallel, added up in order
        for group in batches.chunks(self.table.together()) {
            let moves: Vec<Moves> = parallel::map(group.len(), 1, |g| {
                self.table.moves(|s| {
                    let unit = |lane: usize| std::array::from_fn(|l| f64::from(u8::from(l == lane)));
                    (s == site).then(|| group[g].iter().enumerate().map(|(lane, &i)| (i, unit(lane))).collect())
                })
            });
            for (batch, m) in group.iter().zip(&moves) {
                let sizes: Vec<Each<Mag>> = batch.iter().map(|&i| sizes[i]).collect();
                self.sums.add(m, &sizes);
            }
        }
    }

    /// E everywhere.
    fn reach(&self, r: usize) -> Reach {
        let graph = self.table.graph;
        let cotangent = |i: usize| {
            let run = self.e.cotangents.total[i].as_ref()?;
            Some(rung(&self.sums.cotangents[i], r, run.data.len()))
        };
        Reach {
            values: (0..graph.len()).map(|i| self.value(ValueId(i as u32), r)).collect(),
            cotangents: (0..graph.len()).map(cotangent).collect(),
        }
    }
}

fn sums_of(m: Array<Major>) -> Vec<Mag> {
    m.data.into_iter().map(|m| m.sum).collect()
}

/// The exact chain of one run.
pub fn exact_chain(e: Evidence, table: &Table, sources: &Sources) -> Chain {
    let n = table.graph.len();
    let mut walk = Walk {
        e,
        table,
        sums: Sums { values: vec![Vec::new(); n], cotangents: vec![Vec::new(); n] },
        arrived: BTreeMap::new(),
        pushed: BTreeMap::new(),
        contributions: None,
        readers: only_readers(table),
        portable: Some(Portable::new(e)),
        entered: [Mag::ZERO; RUNGS],
    };
    for s in &sources.list {
        walk.place(s);
    }
    assert!(walk.pushed.is_empty(), "what is pushed on enters at a place that is still to come");
    let portable = walk.portable.is_some().then(|| walk.reach(PORTABLE));
    Chain { run: walk.reach(0), schedule: walk.reach(1), portable }
}
