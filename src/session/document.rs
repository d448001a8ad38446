//! The certificate's figures, put together from what the passes found.

use super::figures::{self, TensorFigures};
use super::subject::{self, From, Subject};
use super::{Failure, Loaded, Passes, Request, agreement, checks, passes};
use crate::bounds::rungs::{LISTED, Ladder};
use crate::certificate::policy::source_date;
use crate::certificate::{
    Adversary, Assumption, Assurance, Bound, Bounds, Certificate, Check, Contribution, Elementary, Enclosure,
    Environment, Exact, ExactPass, Figures, ForwardLayer, Gates, Gradient, GraphSize, InputSource, Inputs, Loss, Model,
    ModelFile, NodeAttribute, Num, OnnxNode, Opset, Output, Reached, Reduction, Region, RegionTolerance, RoundingModel,
    Rule, Rung, Seed, Status, TensorInfo, Terms, UndecidedGate,
};
use crate::chain::Site;
use crate::chain::probes::FAILURE;
use crate::data::npz;
use crate::error::Diagnostics;
use crate::import::Source;
use crate::import::tensor::hex;
use crate::ir::{Attribute, Origin, ValueId};
use crate::num::mag::max_of;
use crate::num::{Mag, elementary, reduce};
use crate::ops::{self, Op, RevGraph, SHARED, UNKNOWN_GATE};
use crate::spec::exact::PRECISION_CAP;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Puts the certificate together and decides it; `cross` is what another program made of the file.
pub fn certificate(request: &Request, loaded: &Loaded, p: &Passes, cross: Check) -> Result<Certificate, Failure> {
    let graph = &loaded.lowered.graph;
    let mut c = Certificate::new(model(loaded), inputs(loaded), rounding(), exact_pass(p), environment());
    c.seed = seeds(request, loaded);
    c.loss = losses(loaded, p);
    c.graph = GraphSize {
        leaves: graph.leaves().len() as u64,
        primitive_nodes: graph.nodes().len() as u64,
        onnx_nodes: onnx_nodes(graph).len() as u64,
    };
    c.region = p.region.as_ref().and_then(|r| Num::new(r.radius.get())).map(|radius| Region { radius });
    c.adversary =
        p.adversary.as_ref().map(|a| Adversary { runs: a.runs as u64, seed: passes::ADVERSARY_SEED.to_string() });
    let gates = GateTable::of(graph, p);
    c.gradients = p.subjects.iter().enumerate().map(|(k, s)| gradient(loaded, p, &gates, k, s)).collect();
    c.gradient_source = subject::source(&p.subjects);
    c.agreement = agreement::compare(loaded, &agreement::Sides::of(p));
    c.forward = forward(loaded, p, &gates);
    c.outputs =
        loaded.lowered.outputs.iter().zip(&p.exact.kept).map(|((n, v), (_, b))| output(graph, p, n, *v, b)).collect();
    c.gates = gates.total();
    c.checks = checks::invariants(graph, &p.seeds).map_err(Diagnostics::from)?;
    c.checks.extend(checks::claims(loaded, p));
    c.checks.extend(checks::budget(p));
    c.warnings.extend(disagreement(&cross));
    c.checks.push(cross);
    let largest = c.gradients.iter().map(|g| g.spec_norm.lo()).fold(0.0, f64::max);
    let limit = |g: &Gradient| request.policy.limit(&[&g.name, &g.layer, &g.node], g.spec_norm.lo(), largest);
    let limits: Vec<f64> = c.gradients.iter().map(limit).collect();
    c.checks.push(checks::controls(p, &loaded.lowered, &limits));
    c.assumptions = assumptions();
    c.rules = rules(graph);
    let (warnings, notes) = remarks(loaded);
    c.warnings.extend(warnings);
    c.notes.extend(notes);
    c.reproduce = vec![request.reproduce.clone()];
    c.date = source_date();
    c.decide_by(&request.policy)?;
    c.seal();
    Ok(c)
}

/// The warning that belongs to a cross-check.
pub(crate) fn disagreement(cross: &Check) -> Option<String> {
    let differs = cross.result == Status::Undecided;
    differs.then(|| format!("another program computes other values: {}", cross.evidence))
}

/// What the importer has to say: warnings and notes.
pub(crate) fn remarks(loaded: &Loaded) -> (Vec<String>, Vec<String>) {
    let (mut warnings, mut notes) = (Vec::new(), Vec::new());
    for note in &loaded.lowered.notes {
        let at = if note.nodes.is_empty() { String::new() } else { format!(" ({})", note.nodes.join(", ")) };
        let list = if note.warning { &mut warnings } else { &mut notes };
        list.push(format!("{}{at}", note.what));
    }
    (warnings, notes)
}

/// Last component of a path.
pub(crate) fn base(path: &str) -> String {
    Path::new(path).file_name().map_or_else(|| path.to_owned(), |n| n.to_string_lossy().into_owned())
}

/// The model, as the certificate names it.
pub(crate) fn model(loaded: &Loaded) -> Model {
    let m = &loaded.model;
    let parameters: Vec<_> = loaded.lowered.parameters().collect();
    let graph = &loaded.lowered.graph;
    Model {
        file: base(&m.file),
        sha256: m.sha256.clone(),
        producer: format!("{} {}", m.producer.0, m.producer.1).trim().to_owned(),
        opsets: m.opsets.iter().map(|(d, v)| Opset { domain: d.clone(), version: *v }).collect(),
        nodes: m.graph.nodes.len() as u64,
        parameter_tensors: parameters.len() as u64,
        parameters: parameters.iter().map(|(_, v)| graph.shape(*v).iter().product::<usize>() as u64).sum(),
        files: files(loaded),
    }
}

/// Files beside the model, and what was drawn for it.
fn files(loaded: &Loaded) -> Vec<ModelFile> {
    let m = &loaded.model;
    let file =
        |role: &str, file: &str, sha256: &str| ModelFile { role: role.into(), file: base(file), sha256: sha256.into() };
    let mut all: Vec<ModelFile> = m.external.iter().map(|(f, h)| file("external_data", f, h)).collect();
    all.extend(m.plan.weights.iter().map(|(f, h)| file("weights", f, h)));
    if !loaded.lowered.drawn.is_empty()
        && let Ok(bytes) = npz::write(&loaded.lowered.drawn)
    {
        all.push(file("masks", "masks.npz", &hex(&Sha256::digest(bytes))));
    }
    all
}

/// The inputs, as the certificate names them.
pub(crate) fn inputs(loaded: &Loaded) -> Inputs {
    let i = &loaded.inputs;
    let (source, file, random_seed) = match &i.source {
        Source::Archive(f) => (InputSource::File, Some(base(f)), None),
        Source::Folder(f) => (InputSource::Directory, Some(base(f)), None),
        Source::Synthetic(s) => (InputSource::Synthetic, None, Some(s.to_string())),
    };
    let tensors = i.values.iter().map(|(name, t)| TensorInfo {
        name: name.clone(),
        shape: t.shape.iter().map(|&n| n as u64).collect(),
        dtype: t.dtype.numpy().into(),
    });
    Inputs { source, file, random_seed, sha256: i.sha256.clone(), tensors: tensors.collect() }
}

/// The cotangents put on the outputs.
pub(crate) fn seeds(request: &Request, loaded: &Loaded) -> Vec<Seed> {
    let given = |name: &str| request.cotangents.iter().find(|(n, _)| n == name);
    loaded
        .lowered
        .seeds
        .iter()
        .map(|(output, _, _)| {
            let value = match given(output) {
                None => "1",
                Some((_, crate::import::Cotangent::Ones)) => "ones",
                Some(_) => "file",
            };
            Seed { output: output.clone(), value: value.into(), sha256: None }
        })
        .collect()
}

fn losses(loaded: &Loaded, p: &Passes) -> Vec<Loss> {
    let seeded: BTreeSet<ValueId> = loaded.lowered.seeds.iter().map(|(_, v, _)| *v).collect();
    let scalar = |v: &ValueId| p.values[v.index()].data.len() == 1 && seeded.contains(v);
    loaded
        .lowered
        .outputs
        .iter()
        .filter(|(_, v)| scalar(v))
        .map(|(name, v)| {
            let s = p.exact.values[v.index()][0];
            Loss {
                output: name.clone(),
                runtime: Exact(Num::of(f64::from(p.values[v.index()].data[0]))),
                spec: Enclosure::of(s.lo.max(-f64::MAX), s.hi.min(f64::MAX)),
            }
        })
        .collect()
}

/// The arithmetic of this run.
pub(crate) fn rounding() -> RoundingModel {
    let line = |what: &str, tree: String, fma: bool| Reduction { what: what.into(), tree, fma };
    let ulps = Num::of(elementary::ULPS);
    let established = "binary64 kernels within 2^-48 relatively, rounded once; measured against MPFR";
    let names = [
        "exp",
        "log",
        "tanh",
        "sigmoid",
        "erf",
        "softplus",
        "sin",
        "cos",
        "tan",
        "pow",
        "softmax",
        "log-softmax",
        "normalise",
    ];
    RoundingModel {
        reductions: vec![
            line(
                "matrix products, convolutions and their gradients",
                format!(
                    "chains of {} fused multiply-adds, blocks added pairwise: height {}+⌈log2⌈n/{}⌉⌉",
                    reduce::BLOCK,
                    reduce::BLOCK,
                    reduce::BLOCK
                ),
                true,
            ),
            line(
                "sums, means, accumulation of broadcasts",
                format!(
                    "{} lanes, rows added pairwise, lanes folded in halves: height ⌈log2⌈n/{}⌉⌉+⌈log2 min(n,{})⌉",
                    reduce::LANES,
                    reduce::LANES,
                    reduce::LANES
                ),
                false,
            ),
            line("cotangents of a shared value", "left fold, consumers in descending order".into(), false),
        ],
        elementary: names
            .iter()
            .map(|n| Elementary { function: (*n).into(), ulps, established: established.into() })
            .collect(),
        ..RoundingModel::default()
    }
}

fn exact_pass(p: &Passes) -> ExactPass {
    ExactPass {
        arithmetic: "MPFR balls (midpoint and radius), scalar".into(),
        bits: u64::from(p.exact.precision),
        attempts: p.attempts.iter().map(|&b| u64::from(b)).collect(),
        cap: u64::from(PRECISION_CAP),
        capped: p.exact.capped,
    }
}

/// What a level of vector instructions is called, from pulp's name for it.
fn simd(level: &str) -> String {
    let level: String = level.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    match level.as_str() {
        "V4" => "x86-64-v4: AVX-512 with fused multiply-add".into(),
        "V3" => "x86-64-v3: AVX2 with fused multiply-add".into(),
        "Scalar" => "none".into(),
        _ => level,
    }
}

fn environment() -> Environment {
    Environment {
        os: std::env::consts::OS.into(),
        arch: std::env::consts::ARCH.into(),
        simd: simd(&format!("{:?}", pulp::Arch::new())),
        compiler: env!("CERTIFY_RUSTC").into(),
    }
}

/// Indices of the ONNX nodes that primitives came from.
pub(crate) fn onnx_nodes(graph: &RevGraph) -> BTreeSet<usize> {
    graph.nodes().iter().map(|n| n.origin).collect()
}

/// Gates of every node, and how many lie between a value and the seed.
struct GateTable {
    per_node: Vec<Gates>,
    /// Undecided gates among the value's own node and all that depends on it.
    downstream: Vec<u64>,
}

impl GateTable {
    fn of(graph: &RevGraph, p: &Passes) -> GateTable {
        let mut per_node = vec![Gates::default(); graph.len()];
        for (k, n) in graph.nodes().iter().enumerate() {
            let id = graph.node_id(k);
            let spec = &p.exact.gates[id.index()];
            if spec.is_empty() {
                continue;
            }
            let x: Vec<_> = n.operands.iter().map(|o| &p.values[o.index()]).collect();
            let run = n.op.run_gates(&x);
            let shared = |g: u32| matches!(n.op, Op::Max(_) | Op::Route(_)) && g & SHARED != 0;
            let bare = |g: u32| if matches!(n.op, Op::Max(_) | Op::Route(_)) { g & !SHARED } else { g };
            let known = || spec.iter().zip(&run).filter(|(s, _)| **s != UNKNOWN_GATE);
            per_node[id.index()] = Gates {
                total: spec.len() as u64,
                undecided: p.portable.forward[id.index()].undecided as u64,
                differing: known().filter(|(s, r)| bare(**s) != bare(**r)).count() as u64,
                ties: known().filter(|(s, _)| shared(**s)).count() as u64,
                unresolved: spec.iter().filter(|g| **g == UNKNOWN_GATE).count() as u64,
            };
        }
        // Sets of downstream gate nodes as bits, so that a shared node counts once.
        let undecided: Vec<usize> = (0..graph.len()).filter(|&i| per_node[i].undecided > 0).collect();
        let words = undecided.len().div_ceil(64);
        let mut sets = vec![vec![0u64; words]; graph.len()];
        for (bit, &i) in undecided.iter().enumerate() {
            sets[i][bit / 64] |= 1 << (bit % 64);
        }
        for (k, n) in graph.nodes().iter().enumerate().rev() {
            let own = sets[graph.node_id(k).index()].clone();
            for o in &n.operands {
                sets[o.index()].iter_mut().zip(&own).for_each(|(s, w)| *s |= w);
            }
        }
        let count = |set: &Vec<u64>| {
            let member = |bit: usize| set[bit / 64] >> (bit % 64) & 1 == 1;
            undecided.iter().enumerate().filter(|(bit, _)| member(*bit)).map(|(_, &i)| per_node[i].undecided).sum()
        };
        let downstream = sets.iter().map(count).collect();
        GateTable { per_node, downstream }
    }

    fn total(&self) -> Gates {
        self.per_node.iter().fold(Gates::default(), |a, g| add(a, *g))
    }
}

fn add(a: Gates, b: Gates) -> Gates {
    Gates {
        total: a.total + b.total,
        undecided: a.undecided + b.undecided,
        differing: a.differing + b.differing,
        ties: a.ties + b.ties,
        unresolved: a.unresolved + b.unresolved,
    }
}

fn figures_of(f: &TensorFigures) -> Figures {
    Figures { max_abs: f.max_abs, spec_norm: f.norm, observed: f.observed }
}

/// How a gradient goes by.
pub(crate) struct Identity {
    /// The parameter, or the tensor where no parameter is known.
    pub name: String,
    /// Its layer.
    pub layer: String,
    /// Operator of the ONNX node that reads it, else of the one that computes it.
    pub op: String,
    /// Name of that node.
    pub node: String,
}

impl Identity {
    /// Of what is certified.
    pub(crate) fn of(loaded: &Loaded, subject: &Subject) -> Identity {
        let graph = &loaded.lowered.graph;
        let info = loaded.lowered.leaves.iter().find(|l| Some(l.id) == subject.leaf);
        let reads = |v: ValueId| graph.nodes().iter().find(|n| n.operands.contains(&v));
        let made = match subject.from {
            From::Output(_, v) => graph.node(v),
            From::Cotangent(..) => None,
        };
        let origin = subject.leaf.and_then(reads).or(made).map(|n| &graph.origins()[n.origin]);
        let (node, op) = origin.map_or(("", ""), |o| (o.node.as_str(), o.op.as_str()));
        let layer = info.map(|l| l.layer.as_str()).or(origin.map(|o| o.layer.as_str())).unwrap_or("");
        Identity { name: subject.name.clone(), layer: layer.into(), op: op.into(), node: node.into() }
    }
}

fn gradient(loaded: &Loaded, p: &Passes, gates: &GateTable, k: usize, subject: &Subject) -> Gradient {
    let graph = &loaded.lowered.graph;
    let run = p.run_of(&loaded.lowered, subject);
    let spec = subject.spec(&p.exact);
    let f = figures::of_balls(&run.data, spec);
    let leaf = subject.leaf;
    let who = Identity::of(loaded, subject);
    let mut g = Gradient::new(&who.name, &who.layer, &who.op, &who.node, &run.shape, figures_of(&f));
    let ladder = |l: &Ladder| p.bounds(l, subject).map_or(Mag::ZERO, |b| b.max);
    rung(&mut g, Rung::Portable, ladder(&p.portable), f.observed);
    rung(&mut g, Rung::Schedule, ladder(&p.schedule), f.observed);
    rung(&mut g, Rung::Run, ladder(&p.run), f.observed);
    // the chain rungs and the budget speak of cotangents of parameters
    if let From::Cotangent(_, v) = subject.from {
        chain_rungs(&mut g, p, v, &f);
        g.budget = contributions(graph, p, v);
    }
    let reference = p.reference_of(subject);
    let finite = reference.is_none_or(|(r, _)| r.data.iter().all(|x| x.is_finite()));
    if finite {
        let data = reference.map_or_else(|| vec![0.0; run.data.len()], |(r, _)| r.data.to_vec());
        let eps = reference.map_or(Mag::ZERO, |(_, e)| e);
        rung(&mut g, Rung::Literal, eps, figures::of_balls(&data, spec).observed);
    }
    g.bound(Rung::Direct, Mag::of(f.observed.hi()), Some(f.observed));
    g.scale = Num::new(p.scale(&p.scales, subject).get());
    if let Some(over) = &p.region {
        g.region_scale = Num::new(p.scale(&over.scales, subject).get());
        g.region_tolerance = Some(RegionTolerance::new(ladder(&over.ladder), f.norm));
    }
    if let Some(a) = &p.adversary {
        g.adversary = Some(Reached::new(a.reached[k], g.bounds.portable.as_ref()));
    }
    // gates between the parameter and the seed; those of a tensor that the graph computes are in its layers
    g.undecided_gates = leaf.map_or(0, |v| gates.downstream[v.index()]);
    g.lost_entries = Some(f.lost.0 as u64);
    g.worst = figures::worst_entry(&f, &run.shape, &run.data, spec);
    g.histogram = figures::histogram(&f);
    if let Some(b) = p.bounds(&p.schedule, subject) {
        if let (Some(carried), Some(local)) = (Num::new(b.carried.get()), Num::new(b.local.get())) {
            g.terms = Some(Terms { rung: Rung::Schedule, carried, local });
        }
    }
    g
}

/// The chain rungs: exact where columns were affordable, else estimates.
fn chain_rungs(g: &mut Gradient, p: &Passes, v: ValueId, f: &TensorFigures) {
    let norm = g.spec_norm;
    let mut estimate = |rung: Rung, abs: f64, confidence: f64, first_order: bool| {
        if abs.is_finite() {
            let b = Bound::new(rung, Mag::of(abs), norm, Some(f.observed)).by_probes(confidence);
            g.bounds.set(rung, if first_order { b.first_order() } else { b });
        }
    };
    if let Some(portable) = &p.chain.portable {
        if let Some(&abs) = portable.magnitude.get(&v) {
            estimate(Rung::ChainPortable, abs, portable.confidence, true);
        }
    }
    if let Some(&abs) = p.chain.spread.as_ref().and_then(|s| s.get(&v)) {
        estimate(Rung::Probabilistic, abs, 1.0 - FAILURE, true);
    }
    if let Some((run, schedule)) = &p.chain.probes {
        for (rung, probes) in [(Rung::ChainRun, run), (Rung::ChainSchedule, schedule)] {
            if let Some(&abs) = probes.magnitude.get(&v) {
                estimate(rung, abs, probes.confidence, false);
            }
        }
    }
    if let Some(exact) = &p.chain.exact {
        let all = [(Rung::ChainRun, Some(&exact.run)), (Rung::ChainSchedule, Some(&exact.schedule))];
        for (which, reach) in all.into_iter().chain([(Rung::ChainPortable, exact.portable.as_ref())]) {
            if let Some(reach) = reach {
                rung(g, which, max_of(reach.gradient(v).unwrap_or(&[])), f.observed);
            }
        }
    }
}

/// Contributions listed per gradient.
const LISTED_CONTRIBUTIONS: usize = 8;

/// Who made the error of the gradient's worst entry: parts by ONNX node and pass, largest first.
fn contributions(graph: &RevGraph, p: &Passes, v: ValueId) -> Option<Vec<Contribution>> {
    let budget = p.chain.budget.as_ref()?;
    let entry = budget.entries.iter().position(|(w, _)| *w == v)?;
    let mut parts: BTreeMap<(usize, &str), f64> = BTreeMap::new();
    for (site, errors) in &budget.parts {
        let (origin, pass) = match site {
            Site::Forward(w) => (graph.node(*w).map_or(0, |n| n.origin), "forward"),
            Site::Backward { from, .. } => (graph.node(*from).map_or(0, |n| n.origin), "backward"),
            Site::Total(w) => (graph.node(*w).map_or(0, |n| n.origin), "backward"),
        };
        *parts.entry((origin, pass)).or_insert(0.0) += errors[entry];
    }
    let all: f64 = parts.values().map(|e| e.abs()).sum();
    let mut list: Vec<_> = parts.into_iter().filter(|(_, e)| *e != 0.0).collect();
    list.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()).then(a.0.cmp(&b.0)));
    let one = |((origin, pass), error): ((usize, &str), f64)| {
        let o = &graph.origins()[origin];
        Some(Contribution {
            node: if o.node.is_empty() { "accumulation".into() } else { o.node.clone() },
            op: o.op.clone(),
            pass: pass.into(),
            error: Num::new(error)?,
            share: Num::new((error.abs() / all).min(1.0))?,
        })
    };
    Some(list.into_iter().take(LISTED_CONTRIBUTIONS).filter_map(one).collect())
}

/// Sets a bound, or says that there is none.
fn rung(g: &mut Gradient, rung: Rung, abs: Mag, observed: Enclosure) {
    if abs.is_finite() {
        g.bound(rung, abs, Some(observed));
    } else {
        let why = match rung {
            Rung::Portable => "some conforming run might overflow or leave a domain",
            _ => "its error terms exceed binary64",
        };
        g.warnings.push(format!("no {} bound: {why}", rung.name()));
    }
}

/// Forward bounds of a value.
fn forward_bounds(p: &Passes, v: ValueId, f: &TensorFigures) -> Bounds {
    let i = v.index();
    let mut b = Bounds::default();
    let mut set = |rung, abs: Mag, observed| {
        if abs.is_finite() {
            b.set(rung, Bound::new(rung, abs, f.norm, Some(observed)));
        }
    };
    set(Rung::Portable, p.portable.forward[i].max, f.observed);
    set(Rung::Schedule, p.schedule.forward[i].max, f.observed);
    set(Rung::Direct, Mag::of(f.observed.hi()), f.observed);
    let reference = &p.reference.values[i].data;
    if reference.iter().all(|x| x.is_finite()) {
        set(Rung::Literal, p.reference.eps[i], figures::of_intervals(reference, &p.exact.values[i]).observed);
    }
    b
}

fn forward(loaded: &Loaded, p: &Passes, table: &GateTable) -> Vec<ForwardLayer> {
    let graph = &loaded.lowered.graph;
    let layer = |origin: usize| {
        let nodes: Vec<usize> = (0..graph.nodes().len()).filter(|&k| graph.nodes()[k].origin == origin).collect();
        let last = graph.node_id(*nodes.last()?);
        let f = figures::of_intervals(&p.values[last.index()].data, &p.exact.values[last.index()]);
        let o = &graph.origins()[origin];
        let gates = nodes.iter().map(|&k| table.per_node[graph.node_id(k).index()]).fold(Gates::default(), add);
        let undecided = nodes.iter().flat_map(|&k| undecided_gates(graph, p, k)).take(LISTED).collect();
        Some(ForwardLayer {
            node: o.node.clone(),
            op: o.op.clone(),
            onnx: as_written(o),
            inputs: nodes_read(graph, &nodes, origin),
            shape: graph.shape(last).iter().map(|&n| n as u64).collect(),
            max_abs: Num::of(f.max_abs),
            spec_norm: f.norm,
            observed: f.observed,
            correct_digits: Num::ZERO,
            bounds: forward_bounds(p, last, &f),
            gates,
            undecided,
        })
    };
    onnx_nodes(graph).into_iter().filter_map(layer).collect()
}

/// An ONNX node, as the certificate shows it.
pub(crate) fn as_written(o: &Origin) -> OnnxNode {
    let attribute = |a: &Attribute| NodeAttribute { name: a.name.clone(), kind: a.kind.into(), value: a.value.clone() };
    OnnxNode {
        domain: if o.domain.is_empty() { "ai.onnx".into() } else { o.domain.clone() },
        opset: o.opset,
        inputs: o.inputs.clone(),
        outputs: o.outputs.clone(),
        attributes: o.attributes.iter().map(attribute).collect(),
    }
}

/// Names of the other ONNX nodes whose values the primitives `nodes` of one ONNX node read.
pub(crate) fn nodes_read(graph: &RevGraph, nodes: &[usize], origin: usize) -> Vec<String> {
    let mut read: Vec<usize> = Vec::new();
    for producer in nodes.iter().flat_map(|&k| &graph.nodes()[k].operands).filter_map(|&v| graph.node(v)) {
        if producer.origin != origin && !read.contains(&producer.origin) {
            read.push(producer.origin);
        }
    }
    read.into_iter().map(|o| graph.origins()[o].node.clone()).collect()
}

/// Kinks and jumps that the portable rung can't decide, with the place that each is close to.
fn undecided_gates(graph: &RevGraph, p: &Passes, k: usize) -> Vec<UndecidedGate> {
    let n = &graph.nodes()[k];
    let near = |run: f64| match &n.op {
        Op::Piecewise(op) => op.pieces.kinks.iter().copied().min_by(|a, b| (a - run).abs().total_cmp(&(b - run).abs())),
        Op::Staircase(op) => Some(op.0.jump_near(run)),
        _ => None,
    };
    if !matches!(n.op, Op::Piecewise(_) | Op::Staircase(_)) {
        return Vec::new();
    }
    let id = graph.node_id(k);
    let x = n.operands[0];
    let one = |&(i, bound): &(u32, Mag)| {
        let i = i as usize;
        let run = f64::from(p.values[x.index()].data[i]);
        let kink = near(run)?;
        let s = p.exact.values[x.index()][i];
        let mut index = Vec::new();
        let mut rest = i;
        for &d in n.shape.iter().rev() {
            index.push((rest % d) as u64);
            rest /= d;
        }
        index.reverse();
        Some(UndecidedGate {
            index,
            runtime: Exact(Num::of(run)),
            spec: Enclosure::of(s.lo.max(-f64::MAX), s.hi.min(f64::MAX)),
            kink: Num::of(kink),
            error: Num::new(bound.get()),
        })
    };
    p.portable.forward[id.index()].listed.iter().filter_map(one).collect()
}

fn output(graph: &RevGraph, p: &Passes, name: &str, v: ValueId, balls: &crate::ir::Array<crate::num::Ball>) -> Output {
    let f = figures::of_balls(&p.values[v.index()].data, Some(balls));
    Output {
        name: name.into(),
        shape: graph.shape(v).iter().map(|&n| n as u64).collect(),
        max_abs: Num::of(f.max_abs),
        spec_norm: f.norm,
        observed: f.observed,
        bounds: forward_bounds(p, v, &f),
    }
}

/// What the claim rests on.
pub(crate) fn assumptions() -> Vec<Assumption> {
    let of = |layer, text: &str, source: &str| Assumption { layer, text: text.into(), source: source.into() };
    vec![
        of(
            Assurance::Proved,
            "a dot product of n terms errs by at most n·u·Σ|ab| + (nη/2)(1+nu) in any order and grouping, with or without fused multiply-adds",
            "Jeannerod & Rump 2013; for fused multiply-adds by induction over the expression tree (rule of MatMul)",
        ),
        of(
            Assurance::Proved,
            "a sum over a tree of height h errs by at most ((1+u)^h − 1)·Σ|x|",
            "Higham, Accuracy and Stability of Numerical Algorithms, §4.2",
        ),
        of(
            Assurance::Proved,
            "error bounds of nodes compose over the graph, forward and backward",
            "TorchLean, RevGraph.eval_approx and RevGraph.backprop_approx; carried out here with outward rounding",
        ),
        of(
            Assurance::Checked,
            "vector-Jacobian products are the derivatives of the definitions",
            "each compared with a central difference of its own forward definition at 400 bits in the test suite",
        ),
        of(Assurance::Checked, "elementary functions of this run keep their error constant", "measured against MPFR"),
        of(Assurance::Checked, "operators mean what ONNX says", "the ONNX node tests in the test suite"),
        of(
            Assurance::Checked,
            "rounding to nearest, gradual underflow and fused multiply-adds on every thread",
            "computed at start, control register read",
        ),
        of(Assurance::Assumed, "the processor's binary32 and binary64 arithmetic is that of IEEE 754", "hardware"),
        of(
            Assurance::Assumed,
            "the compiler doesn't contract, reorder or approximate floating-point operations",
            "rustc's documented semantics",
        ),
        of(Assurance::Assumed, "MPFR rounds as it says", "GNU MPFR, correctly rounded by specification"),
        of(
            Assurance::Assumed,
            "the portable rung speaks of executions of this graph's primitives: any summation order, fused or not, elementary functions within 4 ulps, the algorithms listed with each rule; not of other algorithms (one-pass variance, folded batch norm, Winograd, TF32 inputs)",
            "scope",
        ),
    ]
}

/// The rules of the primitives that this graph uses.
pub(crate) fn rules(graph: &RevGraph) -> Vec<Rule> {
    let used: BTreeSet<&str> = graph.nodes().iter().map(|n| n.op.name()).collect();
    used.into_iter()
        .filter_map(|name| {
            let text = ops::explain(name)?;
            let section = |head: &str| {
                let mut lines = text.lines().skip_while(|l| l.trim() != format!("## {head}")).skip(1);
                let body: Vec<&str> = lines
                    .by_ref()
                    .take_while(|l| !l.starts_with("## "))
                    .map(str::trim)
                    .filter(|l| !l.is_empty())
                    .collect();
                body.join(" ")
            };
            Some(Rule {
                primitive: name.into(),
                definition: section("Definition"),
                error: section("Error"),
                source: section("References"),
            })
        })
        .collect()
}
