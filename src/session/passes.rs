//! All passes over one lowered model, in order.

use super::Progress;
use super::figures::{self, TensorFigures};
use super::subject::{From, Subject};
use crate::adversary::{self, Adjoints, Strategy, play};
use crate::bounds::literal::{self, ReferenceRun};
use crate::bounds::region;
use crate::bounds::rungs::{Figures, Ladder, rungs};
use crate::bounds::{self, Backward, Errors, Evidence, add_bound};
use crate::chain::budget::{Budget, budget};
use crate::chain::columns::{AFFORDABLE, Chain, Reach, cost, sweep_work};
use crate::chain::jet::{Jet, LANES};
use crate::chain::propagate::Table;
use crate::chain::{Probes, Site, Sources, exact_chain, probe, spread};
use crate::error::{Diagnostic, Diagnostics};
use crate::import::Lowered;
use crate::ir::{Array, Tensor, ValueId, elements};
use crate::limits;
use crate::num::{Interval, Mag};
use crate::ops::{Centre, RevGraph};
use crate::runtime::{self, Cotangents};
use crate::scale;
use crate::seed::Seed;
use crate::spec::exact::first_precision;
use crate::spec::{Exact, Journal, exact_with};
use std::collections::BTreeMap;
use std::path::Path;

/// Figures of ranges, forward and backward.
#[derive(Debug)]
pub struct Scales {
    /// Per value.
    pub forward: Vec<scale::Figures>,
    /// Per cotangent.
    pub backward: Vec<Option<scale::Figures>>,
}

/// The chain rungs and the error budget, as far as they were affordable.
#[derive(Debug, Default)]
pub struct Chained {
    /// Exact columns.
    pub exact: Option<Chain>,
    /// Estimates of what `chain_run` and `chain_schedule` would be.
    pub probes: Option<(Probes, Probes)>,
    /// Estimate of what `chain_portable` would be, to first order; where there is no exact one.
    pub portable: Option<Probes>,
    /// The same for independent errors: six standard deviations.
    pub spread: Option<BTreeMap<ValueId, f64>>,
    /// Who made the error of each gradient's worst entry.
    pub budget: Option<Budget>,
}

/// What all passes found.
#[derive(Debug)]
pub struct Passes {
    /// What the backward pass starts from.
    pub seeds: Vec<Seed>,
    /// What is certified, in the order of the certificate.
    pub subjects: Vec<Subject>,
    /// The parameters that a derived gradient is wanted of, in the order of `exact.gradients`.
    pub parameters: Vec<ValueId>,
    /// Values of this run.
    pub values: Vec<Tensor>,
    /// Cotangents of this run.
    pub cotangents: Cotangents,
    /// Enclosures.
    pub exact: Exact,
    /// Precisions tried.
    pub attempts: Vec<u32>,
    /// Every conforming run.
    pub portable: Ladder,
    /// This run.
    pub schedule: Ladder,
    /// This run, with measured local errors.
    pub run: Ladder,
    /// What the chain says.
    pub chain: Chained,
    /// The reference run with the seeds' bounds.
    pub reference: ReferenceRun,
    /// Ranges at the given inputs.
    pub scales: Scales,
    /// Ranges and bounds over the region, where one was asked for.
    pub region: Option<Region>,
    /// What adversarial runs reached, where they were asked for.
    pub adversary: Option<Adversary>,
}

/// A box around the inputs.
#[derive(Debug)]
pub struct Region {
    /// Every input entry may move by this much either way.
    pub radius: Mag,
    /// Ranges over it.
    pub scales: Scales,
    /// Every conforming run, at every input of it.
    pub ladder: Ladder,
}

/// How the chain rungs come about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ChainChoice {
    /// Exact where columns are affordable, else by probes where those are.
    #[default]
    Auto,
    /// Exact, at any cost.
    Exact,
    /// By probes, at any cost.
    Probes,
    /// Not at all, nor the error budget.
    Off,
}

/// What may be asked for beyond the usual passes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extras {
    /// How the chain rungs come about.
    pub chain: ChainChoice,
    /// Every input entry may move by this much either way.
    pub region: Option<Mag>,
    /// So many adversarial runs.
    pub adversary: Option<usize>,
}

/// What adversarial runs reached.
#[derive(Clone, Debug)]
pub struct Adversary {
    /// How many were played.
    pub runs: usize,
    /// How many of them stayed finite.
    pub finite: usize,
    /// The largest error of each subject, at least.
    pub reached: Vec<f64>,
    /// Entries of values and cotangents that were compared with each bound that covers every run.
    pub entries: usize,
    /// How many of them were outside.
    pub outside: usize,
}

impl Passes {
    /// Runs them, on a graph that is [`affordable`] and whose values this run has found.
    pub fn run(
        lowered: &Lowered,
        values: Vec<Tensor>,
        subjects: Vec<Subject>,
        extras: Extras,
        resume: Option<&Path>,
        progress: &dyn Progress,
    ) -> Result<Passes, Diagnostics> {
        let graph = &lowered.graph;
        graph.check().unwrap_or_else(|e| panic!("link invariant: {e}"));
        let seeds: Vec<Seed> = lowered
            .seeds
            .iter()
            .map(|(_, value, cotangent)| Seed { value: *value, cotangent: cotangent.clone() })
            .collect();
        let parameters: Vec<ValueId> = graph.parameters().collect();
        let wanted = graph.differentiated(&[]);

        progress.pass("binary32 run, backward");
        let cotangents = runtime::backprop(graph, &values, &seeds, &wanted)?;

        progress.pass("exact pass");
        let outputs: Vec<ValueId> = lowered.outputs.iter().map(|(_, v)| *v).collect();
        let start = first_precision(graph, &seeds, &wanted);
        let mut attempts = Vec::new();
        let mut journal = resume.map(|p| Journal::open(p, graph, &seeds, &wanted, start)).transpose()?;
        let found = exact_with(graph, &seeds, &wanted, &outputs, &parameters, start, journal.as_mut(), |e| {
            attempts.push(e.precision);
            let figures: Vec<TensorFigures> = subjects
                .iter()
                .map(|s| {
                    let run = s.run(graph, lowered, &values, &cotangents);
                    figures::of_balls(&run.data, s.spec(e))
                })
                .collect();
            figures::decided(&figures)
        });
        if let Some(why) = journal.and_then(|j| j.failure()) {
            progress.warn(&why);
        }
        if attempts.last() != Some(&found.precision) {
            attempts =
                std::iter::successors(Some(start), |p| Some(p * 2)).take_while(|&p| p < found.precision).collect();
            attempts.push(found.precision);
        }

        let evidence = Evidence { graph, values: &values, cotangents: &cotangents, exact: &found };
        progress.pass("bounds and measured errors");
        let [portable, schedule, run] = rungs(evidence, &seeds, &wanted);
        // the chain starts from the seeds: it says nothing of gradients that the file computes itself
        let derives = subjects.iter().any(|s| matches!(s.from, From::Cotangent(..)));
        let asked = match extras.chain {
            ChainChoice::Auto => sweep_cost(graph) * 100.0 <= AFFORDABLE_SWEEPS,
            ChainChoice::Exact | ChainChoice::Probes => true,
            ChainChoice::Off => false,
        };
        let chain = match derives && asked {
            true => chained(evidence, &seeds, &wanted, extras.chain, progress),
            false => Chained::default(),
        };
        let reference = if 3.0 * sweep_work(graph) <= AFFORDABLE_REFERENCE {
            progress.pass("reference run");
            literal::run(graph, &seeds, &wanted)
        } else {
            ReferenceRun::unknown(graph)
        };
        progress.pass("scales");
        let of_value = |i: usize, r: &Array<Interval>| scale::Figures::of(r, &values[i], &found.values[i]);
        let of_cotangent = |i: usize, r: &Array<Interval>| {
            let run = cotangents.total[i].as_ref().expect("the run has a cotangent where ranges have one");
            scale::Figures::of(r, run, found.cotangents[i].as_deref().expect("and so has the spec"))
        };
        let scales = {
            let ranges = scale::eval(graph, Mag::ZERO);
            let forward = ranges.iter().enumerate().map(|(i, r)| of_value(i, r)).collect();
            let leave = |v: ValueId, r: Array<Interval>| of_cotangent(v.index(), &r);
            let backward = scale::backprop_leaving(graph, &ranges, &seeds, &wanted, |_, _| {}, leave);
            Scales { forward, backward }
        };
        let region = extras.region.map(|radius| {
            progress.pass("bounds over the region");
            let r = region::over(graph, (&values, &cotangents), &seeds, &wanted, radius);
            let forward = r.values.iter().enumerate().map(|(i, r)| of_value(i, r)).collect();
            let backward = r.cotangents.iter().enumerate().map(|(i, r)| r.as_ref().map(|r| of_cotangent(i, r)));
            Region {
                radius,
                scales: Scales { forward, backward: backward.collect() },
                ladder: Ladder::of(evidence, &r.forward, &r.backward),
            }
        });
        let adversary = extras.adversary.map(|runs| {
            progress.pass("adversarial runs");
            let forward = bounds::eval(evidence, Centre::Spec, |_| Mag::ZERO);
            let backward = bounds::backprop(evidence, &forward, &seeds, &wanted, Centre::Spec, add_bound);
            let every = chain.exact.as_ref().and_then(|c| c.portable.as_ref()).map(Reach::errors);
            adversarial(evidence, &seeds, &wanted, ((forward, backward), every), &subjects, runs)
        });
        Ok(Passes {
            seeds,
            subjects,
            parameters,
            values,
            cotangents,
            exact: found,
            attempts,
            portable,
            schedule,
            run,
            chain,
            reference,
            scales,
            region,
            adversary,
        })
    }

    /// What this run has for a subject.
    pub fn run_of(&self, lowered: &Lowered, s: &Subject) -> Tensor {
        s.run(&lowered.graph, lowered, &self.values, &self.cotangents)
    }

    /// Bounds of a subject on a rung; `None` where it is an exact zero.
    pub fn bounds<'a>(&self, ladder: &'a Ladder, s: &Subject) -> Option<&'a Figures> {
        match s.from {
            From::Cotangent(_, v) => ladder.backward[v.index()].as_ref(),
            From::Output(_, v) => Some(&ladder.forward[v.index()]),
        }
    }

    /// The reference run's tensor and its bound; `None` where it is an exact zero.
    pub fn reference_of(&self, s: &Subject) -> Option<(&Tensor, Mag)> {
        let r = &self.reference;
        match s.from {
            From::Cotangent(_, v) => {
                let eps = r.cotangent_eps[v.index()].unwrap_or(Mag::ZERO);
                r.cotangents[v.index()].as_ref().map(|t| (t, eps))
            }
            From::Output(_, v) => Some((&r.values[v.index()], r.eps[v.index()])),
        }
    }

    /// The largest magnitude of a subject; 0 where it is an exact zero.
    pub fn scale(&self, scales: &Scales, s: &Subject) -> Mag {
        let of = match s.from {
            From::Cotangent(_, v) => scales.backward[v.index()].as_ref(),
            From::Output(_, v) => Some(&scales.forward[v.index()]),
        };
        of.map_or(Mag::ZERO, |f| f.scale)
    }
}

/// Refuses a graph that the passes couldn't hold, before they begin.
pub(super) fn affordable(graph: &RevGraph, chain: ChainChoice) -> Result<(), Diagnostic> {
    let entries: u64 = (0..graph.len()).map(|v| elements(graph.shape(ValueId(v as u32))) as u64).sum();
    // a sweep holds what moves of the nodes' values
    let (sweep, with) = match chain {
        ChainChoice::Exact | ChainChoice::Probes => {
            let moving: u64 = graph.nodes().iter().map(|n| elements(&n.shape) as u64).sum();
            (moving.saturating_mul(size_of::<Jet>() as u64), " with its chain rungs")
        }
        ChainChoice::Auto | ChainChoice::Off => (0, ""),
    };
    let what = format!("a graph of {entries} entries{with}");
    limits::afford(&what, limits::of_passes(entries).saturating_add(sweep))
}

/// Seed of the adversary's choices: part of what makes a certificate reproducible.
pub const ADVERSARY_SEED: u64 = 0xad5e;

/// Plays adversarial runs: three of four by the sign of an adjoint, aiming at the entry with the largest
/// portable bound of one derived gradient after another, up and down; the fourth at random. Gradients that the
/// file computes itself are not aimed at.
fn adversarial(
    e: Evidence,
    seeds: &[Seed],
    wanted: &[bool],
    (portable, chain): ((Vec<Errors>, Backward), Option<(Vec<Errors>, Backward)>),
    subjects: &[Subject],
    runs: usize,
) -> Adversary {
    let aim = |s: &Subject| {
        let From::Cotangent(_, v) = s.from else { return None };
        let eps = portable.1.total[v.index()].as_ref().map_or(&[][..], |b| &b.eps);
        let largest = (0..eps.len()).max_by(|&a, &b| eps[a].get().total_cmp(&eps[b].get()).then(b.cmp(&a)))?;
        Some((v, largest))
    };
    let targets: Vec<(ValueId, usize)> = subjects.iter().filter_map(aim).collect();
    let mut adjoints: Option<(usize, Adjoints)> = None;
    let mut found = Adversary { runs, finite: 0, reached: vec![0.0; subjects.len()], entries: 0, outside: 0 };
    let mut greedy = 0;
    for k in 0..runs {
        let seed = ADVERSARY_SEED.wrapping_add(k as u64);
        let played = if k % 4 == 3 || targets.is_empty() {
            play(e.graph, seeds, wanted, Strategy::Random, seed)
        } else {
            let target = greedy / 2 % targets.len();
            let sign = if greedy % 2 == 0 { 1.0 } else { -1.0 };
            greedy += 1;
            let (block, lane) = (target / LANES, target % LANES);
            let of = match adjoints.take() {
                Some((b, a)) if b == block => a,
                _ => {
                    let these = &targets[block * LANES..targets.len().min((block + 1) * LANES)];
                    adversary::adjoints(e.graph, seeds, these)
                }
            };
            let played = play(e.graph, seeds, wanted, Strategy::Greedy(&of, lane, sign), seed);
            adjoints = Some((block, of));
            played
        };
        let (entries, escapes) = played.escapes(e.exact, &portable.0, &portable.1);
        found.entries += entries;
        found.outside += escapes.len();
        if let Some((forward, backward)) = &chain {
            let (entries, escapes) = played.escapes(e.exact, forward, backward);
            found.entries += entries;
            found.outside += escapes.len();
        }
        found.finite += usize::from(played.is_finite());
        for (r, s) in found.reached.iter_mut().zip(subjects) {
            *r = r.max(match s.from {
                From::Cotangent(_, v) => played.reaches(e.exact, v, true),
                From::Output(_, v) => played.reaches(e.exact, v, false),
            });
        }
    }
    found
}

/// Seed of the probes' draws: part of what makes a certificate reproducible.
const PROBE_SEED: u64 = 0x5eed;

/// Multiply–adds that probes and budget may cost.
const AFFORDABLE_SWEEPS: f64 = 4e11;

/// Multiply–adds, one by one in emulated roundings, that the reference run may cost: some seconds.
const AFFORDABLE_REFERENCE: f64 = 3e8;

/// The chain rungs: exact where the columns are affordable, by probes where they aren't.
fn chained(e: Evidence, seeds: &[Seed], wanted: &[bool], how: ChainChoice, progress: &dyn Progress) -> Chained {
    let mut found = Chained::default();
    let sweeps = sweep_cost(e.graph);
    let table = Table::new(e, seeds, wanted);
    progress.pass("sources of error");
    let (forward, backward) = bounds::one_step(e, seeds, wanted, Centre::Run);
    let sources = Sources::measure(e, &table, &forward, &backward);
    if sweeps * (sources.list.len() / LANES + 1) as f64 <= AFFORDABLE_SWEEPS {
        progress.pass("error budget");
        let worst = |v: ValueId| {
            let run = e.cotangents.total[v.index()].as_ref()?;
            let spec = e.exact.cotangents[v.index()].as_deref()?;
            Some((v, figures::of_intervals(&run.data, spec).worst))
        };
        let entries: Vec<(ValueId, usize)> = e.graph.parameters().filter_map(worst).collect();
        found.budget = Some(budget(&table, &sources, &entries));
    }
    let columns = match how {
        ChainChoice::Exact => true,
        ChainChoice::Auto => cost(&table, &sources) <= AFFORDABLE,
        ChainChoice::Probes | ChainChoice::Off => false,
    };
    if columns {
        progress.pass("exact chain");
        found.exact = Some(exact_chain(e, &table, &sources));
    }
    progress.pass("probes");
    if found.exact.is_none() {
        let run = probe(&table, &sources, |k| sources.list[k].size.clone(), PROBE_SEED);
        let larger =
            |k: usize| sources.list[k].size.iter().zip(&sources.list[k].prior).map(|(&a, &b)| a.max(b)).collect();
        found.probes = Some((run, probe(&table, &sources, larger, PROBE_SEED)));
    }
    let (forward, backward) = bounds::one_step(e, seeds, wanted, Centre::Spec);
    let first_order = |k: usize| portable_local(e, &table, &forward, &backward, sources.list[k].site);
    if found.exact.as_ref().is_none_or(|c| c.portable.is_none()) {
        found.portable = Some(probe(&table, &sources, first_order, PROBE_SEED));
    }
    found.spread = Some(spread(&table, &sources, first_order, PROBE_SEED));
    found
}

/// Multiply–adds of one sweep.
fn sweep_cost(graph: &RevGraph) -> f64 {
    3.0 * LANES as f64 * sweep_work(graph)
}

/// What any conforming run may add at a site, to first order.
fn portable_local(e: Evidence, table: &Table, forward: &[Errors], backward: &Backward, site: Site) -> Vec<Mag> {
    match site {
        Site::Forward(v) => forward[v.index()].locals.clone(),
        Site::Total(v) => backward.total[v.index()].as_ref().map_or_else(Vec::new, |t| t.locals.clone()),
        Site::Backward { from, operand } => {
            let o = site.target(table);
            table.contribution(e, backward, from, operand, o).2.to_vec()
        }
    }
}
