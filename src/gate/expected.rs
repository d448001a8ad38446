//! The certificate that a verifier's own figures make: what is claimed must equal it.
//!
//! An enclosure that is claimed is kept where it agrees with the one found (both contain the same number,
//! so that they overlap, and it is as narrow as certificates are made); everything that follows from the
//! figures is then derived from those kept, and must be equal.

use super::evidence::Evidence;
use crate::certificate::{
    Agreement, Bound, Bounds, Certificate, Check, CheckKind, Enclosure, Exact, ExactPass, Figures, ForwardLayer, Gates,
    Gradient, GraphSize, Histogram, Loss, NEAREST, Num, Output, Policy, Reached, RegionTolerance, Rung, Standing,
    Status, ToolBug,
};
use crate::ir::{Array, Tensor, ValueId};
use crate::num::format::BINARY32;
use crate::num::{Ball, Interval, Mag, Rounded};
use crate::ops::{Op, SHARED, UNKNOWN_GATE};
use crate::seed::Seed;
use crate::session::agreement::{self, Sides};
use crate::session::document::{self, Identity};
use crate::session::figures::{self, TensorFigures};
use crate::session::subject::{self, From, Subject};
use crate::session::{self, Loaded, Request};
use crate::spec::exact::{PRECISION_CAP, first_precision};
use crate::spec::textbook::{self, left_fold};

/// Puts the document together; what can be said only in words goes to `findings`.
pub fn document(
    claimed: &Certificate,
    request: &Request,
    loaded: &Loaded,
    e: &Evidence,
    findings: &mut Vec<String>,
) -> Result<Certificate, ToolBug> {
    let graph = &loaded.lowered.graph;
    let (mut model, mut inputs) = (document::model(loaded), document::inputs(loaded));
    // Files may have been renamed; their hashes were compared.
    model.file = claimed.model.file.clone();
    model.files = claimed.model.files.clone();
    inputs.file = claimed.inputs.file.clone();
    let exact = exact_pass(claimed, loaded, findings);
    let mut w = Certificate::new(model, inputs, document::rounding(), exact, claimed.environment.clone());
    w.digest = claimed.digest.clone();
    w.date = claimed.date.clone();
    w.seed = document::seeds(request, loaded);
    w.reproduce = claimed.reproduce.clone();
    w.region = claimed.region;
    w.adversary = claimed.adversary.clone();
    w.graph = GraphSize {
        leaves: graph.leaves().len() as u64,
        primitive_nodes: graph.nodes().len() as u64,
        onnx_nodes: document::onnx_nodes(graph).len() as u64,
    };
    w.assumptions = document::assumptions();
    w.rules = document::rules(graph);
    let cross = session::cross_check(loaded, &e.values);
    w.warnings.extend(document::disagreement(&cross));
    let (warnings, notes) = document::remarks(loaded);
    w.warnings.extend(warnings);
    w.notes.extend(notes);
    let reference = e.sample.is_none().then(|| Reference::run(loaded, e));
    let capped = claimed.exact_pass.capped;
    // of the run, which is known of every gradient, also of those that aren't in the sample
    let largest = e.subjects.iter().map(|s| max_abs(&run_of(loaded, e, s))).fold(0.0, f64::max);
    let one = |(k, s): (usize, &Subject)| gradient(claimed, loaded, e, (k, s), (reference.as_ref(), largest), findings);
    w.gradients = e.subjects.iter().enumerate().map(one).collect();
    w.gradient_source = subject::source(&e.subjects);
    w.agreement = agreements(claimed, loaded, e);
    let per_node = gates(loaded, e);
    w.forward = forward(claimed, loaded, e, &per_node, reference.as_ref(), findings);
    w.outputs = outputs(claimed, loaded, e, reference.as_ref(), findings);
    w.loss = losses(claimed, loaded, e);
    w.gates = Gates { undecided: claimed.gates.undecided, ..per_node.iter().fold(Gates::default(), |a, g| add(a, *g)) };
    let undecided: u64 = claimed.forward.iter().map(|l| l.gates.undecided).sum();
    if claimed.gates.undecided != undecided || claimed.gates.undecided > w.gates.total {
        findings.push(format!("gates: {} undecided, the layers have {undecided}", claimed.gates.undecided));
    }
    if !capped && w.gates.unresolved > 0 {
        findings.push(format!("gates: {} stay unresolved here", w.gates.unresolved));
    }
    w.checks = checks(claimed, loaded, e, cross, findings);
    let policy = Policy::of(&claimed.decision_rule);
    policies(&policy, &request.policy, findings);
    w.decide_by(&policy)?;
    Ok(w)
}

/// The policy is part of what is claimed: `default` means the documented one, and a file that is given
/// must ask the same.
fn policies(claimed: &Policy, given: &Policy, findings: &mut Vec<String>) {
    let same = |a: &Policy, b: &Policy| a.limits == b.limits && a.rules == b.rules && a.waivers == b.waivers;
    if claimed.name == "default" && !same(claimed, &Policy::default()) {
        findings.push("decision_rule: called \"default\", but asks something else".into());
    }
    if *given != Policy::default() && !same(claimed, given) {
        findings.push(format!("decision_rule: not what the policy \"{}\" asks", given.name));
    }
}

/// The precisions must be those that the exact pass tries.
fn exact_pass(claimed: &Certificate, loaded: &Loaded, findings: &mut Vec<String>) -> ExactPass {
    let p = &claimed.exact_pass;
    let graph = &loaded.lowered.graph;
    let seed = |(_, value, cotangent): &(_, ValueId, Tensor)| Seed { value: *value, cotangent: cotangent.clone() };
    let seeds: Vec<Seed> = loaded.lowered.seeds.iter().map(seed).collect();
    let first = u64::from(first_precision(graph, &seeds, &graph.differentiated(&[])));
    let cap = u64::from(PRECISION_CAP);
    let steps: Vec<u64> =
        std::iter::successors(Some(first), |b| (*b < cap).then(|| (2 * b).min(cap))).take(p.attempts.len()).collect();
    if p.attempts != steps || p.attempts.last() != Some(&p.bits) || p.cap != cap || (p.capped && p.bits != cap) {
        findings
            .push(format!("exact_pass: {:?} bits tried up to {}, which the exact pass doesn't do", p.attempts, p.cap));
    }
    p.clone()
}

/// Keeps what is claimed if it agrees with what was found.
fn agree(claimed: Enclosure, found: Enclosure, scale: f64, capped: bool) -> Enclosure {
    let overlap = claimed.lo() <= found.hi() && found.lo() <= claimed.hi();
    // The exact pass ends when an error is known to 2^−9 of itself, or is negligible in the model or in binary32.
    let width = claimed.hi() - claimed.lo();
    let negligible = (1e-13 * scale).max(2.0 * NEAREST);
    let narrow =
        capped || width <= claimed.hi() / 256.0 || width <= negligible || width <= 4.0 * (found.hi() - found.lo());
    if overlap && narrow && claimed.lo() >= 0.0 { claimed } else { found }
}

/// As [`agree`], of values with a sign: a spec's enclosure about a known magnitude.
fn agree_value(claimed: Enclosure, found: Enclosure) -> Enclosure {
    let overlap = claimed.lo() <= found.hi() && found.lo() <= claimed.hi();
    let size = found.lo().abs().max(found.hi().abs());
    let narrow = claimed.hi() - claimed.lo() <= (size / 256.0).max(4.0 * (found.hi() - found.lo())).max(1e-30);
    if overlap && narrow { claimed } else { found }
}

/// `largest` is the model's largest gradient, or 0 where a tensor is judged by itself.
fn agreed(claimed: Option<(Enclosure, Enclosure)>, f: &TensorFigures, largest: f64, capped: bool) -> Figures {
    let (norm, observed) = claimed.unwrap_or((f.norm, f.observed));
    let size = f.norm.hi().max(f.max_abs).max(largest);
    Figures {
        max_abs: f.max_abs,
        spec_norm: agree(norm, f.norm, size, capped),
        observed: agree(observed, f.observed, size, capped),
    }
}

/// The reference run: the textbook definitions in correctly rounded binary32.
struct Reference {
    values: Vec<Tensor>,
    cotangents: Vec<Option<Tensor>>,
}

impl Reference {
    fn run(loaded: &Loaded, e: &Evidence) -> Reference {
        let graph = &loaded.lowered.graph;
        let a = Rounded::new(BINARY32);
        let values = textbook::eval(graph, &a, |_, _, y| y);
        let wanted = graph.differentiated(&[]);
        let totals = textbook::backprop(graph, &a, &values, &e.seeds, &wanted, |_, c| c, |_, c| left_fold(&a, c));
        let plain =
            |x: &crate::ir::Array<f64>| Tensor::new(x.shape.clone(), x.data.iter().map(|&v| v as f32).collect());
        Reference {
            values: values.iter().map(plain).collect(),
            cotangents: totals.iter().map(|t| t.as_ref().map(plain)).collect(),
        }
    }
}

/// Bounds as they follow from what is claimed of them: values are kept, all else is derived. `reference`
/// is the reference run's error, where it is known.
fn bounds(
    what: &str,
    claimed: &Bounds,
    warnings: &[String],
    f: Figures,
    reference: Option<Option<Enclosure>>,
    findings: &mut Vec<String>,
) -> Bounds {
    let mut out = Bounds::default();
    for (rung, b) in claimed.iter() {
        let abs = b.abs.map_or(Mag::INFINITY, |a| Mag::of(a.get().max(0.0)));
        let observed = match rung {
            Rung::Literal => match (b.observed, reference.flatten()) {
                (Some(c), Some(r)) => {
                    // it is made of the same enclosures, whose width has been accepted: four of it, as a scale
                    let width = |e: Enclosure| e.hi() - e.lo();
                    let open = 4.0 / 1e-13 * width(f.observed).max(width(f.spec_norm));
                    Some(agree(c, r, f.spec_norm.hi().max(f.max_abs).max(open), false))
                }
                (c, _) => c,
            },
            _ => b.observed.map(|_| f.observed),
        };
        let abs = if rung == Rung::Direct { Mag::of(f.observed.hi()) } else { abs };
        let mut again = Bound::new(rung, abs, f.spec_norm, observed);
        if b.standing != Standing::Rigorous {
            (again.standing, again.method, again.confidence) = (b.standing, b.method, b.confidence);
        }
        out.set(rung, again);
    }
    let told = |r: Rung| warnings.iter().any(|w| w.starts_with(&format!("no {} bound: ", r.name())));
    // A gradient says which rungs have no bound; of a value an unbounded one is left out.
    let silent = |r: Rung| r != Rung::Direct && !what.starts_with("gradient");
    for r in [Rung::Portable, Rung::Schedule, Rung::Direct] {
        if claimed.get(r).is_none() && !told(r) && !silent(r) {
            findings.push(format!("{what}: the {} bound is missing", r.name()));
        }
        if claimed.get(r).is_some_and(|b| b.observed.is_none() || b.standing != Standing::Rigorous) {
            findings.push(format!("{what}: the {} bound is no longer rigorous, or isn't compared", r.name()));
        }
    }
    let unbounded = told(Rung::Literal) || silent(Rung::Literal);
    if claimed.literal.is_none() && !unbounded && reference.is_some_and(|r| r.is_some()) {
        findings.push(format!("{what}: the literal bound is missing"));
    }
    // This run is one of every run.
    let value = |r: Rung| claimed.get(r).and_then(|b| b.abs).map(Num::get);
    if let (Some(s), Some(p)) = (value(Rung::Schedule), value(Rung::Portable))
        && s > p
    {
        findings.push(format!("{what}: the schedule bound {s:e} exceeds the portable one {p:e}"));
    }
    out
}

/// The file's own gradients against the derivatives, once more.
fn agreements(c: &Certificate, loaded: &Loaded, e: &Evidence) -> Vec<Agreement> {
    // Of a model of which only a sample was derived, the others' derivatives aren't known.
    if e.sample.is_some() {
        return c.agreement.clone();
    }
    let sides = Sides {
        derived: e
            .parameters
            .iter()
            .zip(&e.gradients)
            .map(|(v, g)| (*v, g.as_ref().and_then(|g| g.as_ref())))
            .collect(),
        outputs: e.outputs.iter().collect(),
        values: &e.spec,
        cotangents: &e.totals,
    };
    let mut all = agreement::compare(loaded, &sides);
    for a in &mut all {
        let Some(claimed) = c.agreement.iter().find(|x| x.parameter == a.parameter && x.tensor == a.tensor) else {
            continue;
        };
        let size = a.stated_norm.hi().max(a.derived_norm.hi());
        let capped = c.exact_pass.capped;
        a.stated_norm = agree(claimed.stated_norm, a.stated_norm, size, capped);
        a.derived_norm = agree(claimed.derived_norm, a.derived_norm, size, capped);
        a.difference = agree(claimed.difference, a.difference, size, capped);
    }
    all
}

fn run_of(loaded: &Loaded, e: &Evidence, subject: &Subject) -> Tensor {
    subject.run(&loaded.lowered.graph, &loaded.lowered, &e.values, &e.cotangents)
}

fn max_abs(run: &Tensor) -> f64 {
    run.data.iter().fold(0.0, |m, x| m.max(f64::from(x.abs())))
}

fn gradient(
    c: &Certificate,
    loaded: &Loaded,
    e: &Evidence,
    (k, subject): (usize, &Subject),
    (reference, largest): (Option<&Reference>, f64),
    findings: &mut Vec<String>,
) -> Gradient {
    let who = Identity::of(loaded, subject);
    let run = run_of(loaded, e, subject);
    // `Some(None)` is an exact zero, `None` isn't in the sample
    let spec: Option<Option<&Array<Ball>>> = match subject.from {
        From::Cotangent(k, _) => e.gradients[k].as_ref().map(Option::as_ref),
        From::Output(k, _) => Some(Some(&e.outputs[k])),
    };
    // Names decide, not places, so that a list that lacks one shows which.
    let claimed =
        c.gradients.get(k).filter(|g| g.name == who.name).or_else(|| c.gradients.iter().find(|g| g.name == who.name));
    let capped = c.exact_pass.capped;
    let pair = claimed.map(|g| (g.spec_norm, g.observed));
    let derived = spec.map(|spec| figures::of_balls(&run.data, spec));
    let figures = match (&derived, pair) {
        (Some(f), _) => agreed(pair, f, largest, capped),
        // Not in the sample: what is claimed stands, but the run's own magnitude is known.
        (None, Some((spec_norm, observed))) => Figures { max_abs: max_abs(&run), spec_norm, observed },
        (None, None) => Figures { max_abs: 0.0, spec_norm: Enclosure::ZERO, observed: Enclosure::ZERO },
    };
    let mut g = Gradient::new(&who.name, &who.layer, &who.op, &who.node, &run.shape, figures);
    let Some(claimed) = claimed else { return g };
    let what = format!("gradient \"{}\"", who.name);
    g.warnings = claimed.warnings.iter().filter(|w| w.starts_with("no ") && w.contains(" bound: ")).cloned().collect();
    for r in Rung::ALL.iter().filter(|r| claimed.bounds.get(**r).is_some_and(|b| b.abs.is_some())) {
        g.warnings.retain(|w| !w.starts_with(&format!("no {} bound: ", r.name())));
    }
    let literal = reference.zip(spec).map(|(r, spec)| {
        let tensor = match subject.from {
            From::Cotangent(_, v) => r.cotangents[v.index()].as_ref(),
            From::Output(_, v) => Some(&r.values[v.index()]),
        };
        let data = tensor.map_or_else(|| vec![0.0; run.data.len()], |t| t.data.to_vec());
        data.iter().all(|x| x.is_finite()).then(|| figures::of_balls(&data, spec).observed)
    });
    g.bounds = bounds(&what, &claimed.bounds, &claimed.warnings, figures, literal, findings);
    g.scale = claimed.scale;
    g.region_scale = claimed.region_scale;
    if claimed.scale.is_none() {
        findings.push(format!("{what}: the scale is missing"));
    }
    let wider = |r: Option<Num>| r.zip(claimed.scale).is_none_or(|(r, s)| r.get() >= s.get());
    if c.region.is_some() != claimed.region_scale.is_some() || !wider(claimed.region_scale) {
        findings.push(format!("{what}: its scale over the region contradicts the region or the scale"));
    }
    beyond(claimed, c, &what, &mut g, findings);
    g.undecided_gates = claimed.undecided_gates.min(c.gates.undecided);
    g.terms = claimed.terms;
    if claimed.terms.is_some_and(|t| t.carried.get() < 0.0 || t.local.get() < 0.0) {
        findings.push(format!("{what}: a part of its bound is negative"));
    }
    g.budget = claimed.budget.clone();
    match (&derived, spec) {
        (Some(f), Some(spec)) => {
            // entries that one precision can't tell may be counted or not
            let fits = |n: &u64| (f.lost.0 as u64..=f.lost.1 as u64).contains(n);
            g.lost_entries = Some(claimed.lost_entries.filter(fits).unwrap_or(f.lost.0 as u64));
            g.worst = worst(claimed, f, (&run, spec), figures.observed == claimed.observed, capped);
            g.histogram = histogram(claimed, f);
        }
        _ => {
            g.lost_entries = claimed.lost_entries;
            (g.worst, g.histogram) = (claimed.worst.clone(), claimed.histogram.clone());
        }
    }
    g
}

/// What is claimed of a region and of adversarial runs: neither is derived again, but both have to fit.
fn beyond(claimed: &Gradient, c: &Certificate, what: &str, g: &mut Gradient, findings: &mut Vec<String>) {
    let magnitude = |n: Option<Num>| crate::num::Mag::of(n.map_or(f64::INFINITY, Num::get));
    g.region_tolerance =
        claimed.region_tolerance.as_ref().map(|r| RegionTolerance::new(magnitude(r.atol), g.spec_norm));
    // this run is one of those that it covers
    let below = claimed.region_tolerance.as_ref().is_some_and(|r| magnitude(r.atol).get() < g.observed.lo());
    if c.region.is_some() != claimed.region_tolerance.is_some() || below {
        findings.push(format!("{what}: its tolerance over the region contradicts the region or the run's error"));
    }
    g.adversary = claimed.adversary.map(|a| Reached::new(a.error.get(), g.bounds.portable.as_ref()));
    let portable = g.bounds.portable.as_ref().and_then(|b| b.abs);
    let beyond = claimed.adversary.is_some_and(|a| portable.is_some_and(|p| a.error.get() > p.get()));
    if c.adversary.is_some() != claimed.adversary.is_some() || beyond {
        findings.push(format!("{what}: what an adversary reached contradicts the runs played or the portable bound"));
    }
}

/// The worst entry: where several are equally bad, any of them. `accepted`: the claimed error stands.
fn worst(
    claimed: &Gradient,
    f: &TensorFigures,
    (run, spec): (&Tensor, Option<&Array<Ball>>),
    accepted: bool,
    capped: bool,
) -> Option<crate::certificate::WorstEntry> {
    let at = |index: &[u64]| {
        let fits = index.len() == run.shape.len() && index.iter().zip(&run.shape).all(|(i, n)| *i < *n as u64);
        fits.then(|| index.iter().zip(&run.shape).fold(0, |p, (i, n)| p * n + *i as usize))
    };
    let mine = figures::worst_entry(f, &run.shape, &run.data, spec);
    let (Some(w), Some(mine_)) = (&claimed.worst, &mine) else { return mine };
    // what is left of an exact result is the width of its enclosure, which depends on the precision
    let nothing = |ulps: f64| ulps <= 1e-9;
    let as_bad = |p: usize| f.errors[p] >= f.observed.hi() * (1.0 - 1e-9) || nothing(mine_.ulps.get());
    let Some(p) = at(&w.index).filter(|&p| as_bad(p)) else { return mine };
    let there = figures::worst_entry(&TensorFigures { worst: p, ..f.clone() }, &run.shape, &run.data, spec);
    let Some(mut there) = there else { return mine };
    there.spec = agree_value(w.spec, there.spec);
    let slack = if capped { 1.0 } else { 1e-2 };
    let close = (w.ulps.get() - there.ulps.get()).abs() <= slack * there.ulps.get().max(mine_.ulps.get());
    // a negligible error may be known less closely there: what matters is that both figures say the same
    let size = spec.map_or(0.0, |s| s.data[p].interval().mig().max(0.0));
    let said = Mag::of(claimed.observed.hi()).div_lower(2.0 * BINARY32.half_ulp(size).get()).get();
    let same = accepted && (w.ulps.get() - said).abs() <= 1e-9 * said;
    if close || same || nothing(w.ulps.get()) && nothing(there.ulps.get()) {
        there.ulps = w.ulps;
    }
    Some(there)
}

/// The histogram: counts may differ by the entries that lie next to an edge.
fn histogram(claimed: &Gradient, f: &TensorFigures) -> Option<Histogram> {
    let mine = figures::histogram(f);
    let (Some(c), Some(m)) = (&claimed.histogram, &mine) else { return mine };
    if c.unit != m.unit || c.edges != m.edges || c.counts.len() != m.counts.len() {
        return mine;
    }
    let scaled =
        |k: f64| figures::histogram(&TensorFigures { errors: f.errors.iter().map(|e| e * k).collect(), ..f.clone() });
    let below = |h: &Histogram, i: usize| h.counts[..=i].iter().sum::<u64>();
    let (Some(less), Some(more)) = (scaled(1.0 - 1e-2), scaled(1.0 + 1e-2)) else { return mine };
    // Smaller errors put more entries below an edge.
    let fits = (0..c.counts.len()).all(|i| (below(&more, i)..=below(&less, i)).contains(&below(c, i)));
    if fits { claimed.histogram.clone() } else { mine }
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

/// Gates of every value; those undecided for other runs are the bound pass's to know.
fn gates(loaded: &Loaded, e: &Evidence) -> Vec<Gates> {
    let graph = &loaded.lowered.graph;
    let mut all = vec![Gates::default(); graph.len()];
    for (k, n) in graph.nodes().iter().enumerate() {
        let id = graph.node_id(k);
        let spec = &e.gates[id.index()];
        if spec.is_empty() {
            continue;
        }
        let x: Vec<&Tensor> = n.operands.iter().map(|o| &e.values[o.index()]).collect();
        let run = n.op.run_gates(&x);
        let maximum = matches!(n.op, Op::Max(_));
        let bare = |g: u32| if maximum { g & !SHARED } else { g };
        let known = || spec.iter().zip(&run).filter(|(s, _)| **s != UNKNOWN_GATE);
        all[id.index()] = Gates {
            total: spec.len() as u64,
            undecided: 0,
            differing: known().filter(|(s, r)| bare(**s) != bare(**r)).count() as u64,
            ties: known().filter(|(s, _)| maximum && **s & SHARED != 0).count() as u64,
            unresolved: spec.iter().filter(|g| **g == UNKNOWN_GATE).count() as u64,
        };
    }
    all
}

/// Figures of a value's bounds.
fn value_bounds(
    what: &str,
    claimed: Option<&Bounds>,
    v: ValueId,
    spec: &[Interval],
    f: Figures,
    reference: Option<&Reference>,
    findings: &mut Vec<String>,
) -> Bounds {
    let Some(claimed) = claimed else { return Bounds::default() };
    let literal = reference.map(|r| {
        let data = &r.values[v.index()].data;
        data.iter().all(|x| x.is_finite()).then(|| figures::of_intervals(data, spec).observed)
    });
    // Forward a bound that isn't finite is left out, without a word.
    let silent = [Rung::Portable, Rung::Schedule].map(|r| format!("no {} bound: it isn't finite", r.name()));
    bounds(what, claimed, &silent, f, literal, findings)
}

fn forward(
    c: &Certificate,
    loaded: &Loaded,
    e: &Evidence,
    per_node: &[Gates],
    reference: Option<&Reference>,
    findings: &mut Vec<String>,
) -> Vec<ForwardLayer> {
    let graph = &loaded.lowered.graph;
    let mut layers = Vec::new();
    for (i, origin) in document::onnx_nodes(graph).into_iter().enumerate() {
        let nodes: Vec<usize> = (0..graph.nodes().len()).filter(|&k| graph.nodes()[k].origin == origin).collect();
        let Some(&last) = nodes.last() else { continue };
        let v = graph.node_id(last);
        let o = &graph.origins()[origin];
        let spec = &e.spec[v.index()];
        let f = figures::of_intervals(&e.values[v.index()].data, spec);
        let claimed = c.forward.get(i).filter(|l| l.node == o.node);
        let figures = agreed(claimed.map(|l| (l.spec_norm, l.observed)), &f, 0.0, c.exact_pass.capped);
        let mut layer = ForwardLayer::new(&o.node, &o.op, graph.shape(v), figures);
        let what = format!("value of node \"{}\"", o.node);
        layer.bounds = value_bounds(&what, claimed.map(|l| &l.bounds), v, spec, figures, reference, findings);
        layer.gates = nodes.iter().map(|&k| per_node[graph.node_id(k).index()]).fold(Gates::default(), add);
        layer.onnx = document::as_written(o);
        layer.inputs = document::nodes_read(graph, &nodes, origin);
        if let Some(l) = claimed {
            layer.gates.undecided = l.gates.undecided.min(layer.gates.total);
            layer.undecided = l.undecided.clone();
            layer.undecided.truncate(layer.gates.undecided as usize);
        }
        layers.push(layer);
    }
    layers
}

fn outputs(
    c: &Certificate,
    loaded: &Loaded,
    e: &Evidence,
    reference: Option<&Reference>,
    findings: &mut Vec<String>,
) -> Vec<Output> {
    let graph = &loaded.lowered.graph;
    let mut all = Vec::new();
    for ((name, v), balls) in loaded.lowered.outputs.iter().zip(&e.outputs) {
        let f = figures::of_balls(&e.values[v.index()].data, Some(balls));
        let claimed = c.outputs.iter().find(|o| o.name == *name);
        let figures = agreed(claimed.map(|o| (o.spec_norm, o.observed)), &f, 0.0, c.exact_pass.capped);
        let mut out = Output::new(name, graph.shape(*v), figures);
        let what = format!("output \"{name}\"");
        out.bounds =
            value_bounds(&what, claimed.map(|o| &o.bounds), *v, &e.spec[v.index()], figures, reference, findings);
        all.push(out);
    }
    all
}

fn losses(c: &Certificate, loaded: &Loaded, e: &Evidence) -> Vec<Loss> {
    let seeded = |v: ValueId| loaded.lowered.seeds.iter().any(|(_, s, _)| *s == v);
    let scalar = |v: ValueId| e.values[v.index()].data.len() == 1 && seeded(v);
    let one = |(name, v): &(String, ValueId)| {
        let s = e.spec[v.index()][0];
        let found = Enclosure::of(s.lo.max(-f64::MAX), s.hi.min(f64::MAX));
        let claimed = c.loss.iter().find(|l| l.output == *name);
        Loss {
            output: name.clone(),
            runtime: Exact(Num::of(f64::from(e.values[v.index()].data[0]))),
            spec: claimed.map_or(found, |l| agree_value(l.spec, found)),
        }
    };
    loaded.lowered.outputs.iter().filter(|(_, v)| scalar(*v)).map(one).collect()
}

/// Checks of every certificate, beside the invariants.
const CHECKS: [(CheckKind, &str, &str); 7] = [
    (CheckKind::CrossCheck, "scales hold run and spec", ", 0 outside"),
    (CheckKind::CrossCheck, "the portable rung contains this run's error, entry by entry", ", 0 outside"),
    (CheckKind::CrossCheck, "the schedule rung contains this run's error, entry by entry", ", 0 outside"),
    (CheckKind::CrossCheck, "the run rung contains this run's error, entry by entry", ", 0 outside"),
    (CheckKind::Hypothesis, "rounding to nearest, gradual underflow, fused multiply-add", ""),
    (CheckKind::Hypothesis, "every value of the run is finite", ""),
    (CheckKind::NegativeControl, "planted corruptions are rejected", ", 0 missed"),
];

/// And those that go with a region and with adversarial runs.
const REGION: (CheckKind, &str, &str) =
    (CheckKind::CrossCheck, "the region's bounds contain this run's error, entry by entry", ", 0 outside");
const ADVERSARY: (CheckKind, &str, &str) =
    (CheckKind::CrossCheck, "adversarial runs stay inside the portable rung, entry by entry", ", 0 outside");

/// Invariants are checked again; the rest needs the bound and scale cells, and must be there and say
/// what its figures say.
fn checks(c: &Certificate, loaded: &Loaded, e: &Evidence, cross: Check, findings: &mut Vec<String>) -> Vec<Check> {
    let invariants = match session::invariants(&loaded.lowered.graph, &e.seeds) {
        Ok(all) => all,
        Err(d) => {
            findings.push(format!("checks: the invariants can't be checked: {}", d.what));
            Vec::new()
        }
    };
    let rest = c.checks.get(invariants.len()..).unwrap_or_default();
    let extras = c.region.map(|_| REGION).into_iter().chain(c.adversary.as_ref().map(|_| ADVERSARY));
    for (kind, name, figure) in CHECKS.into_iter().chain(extras) {
        match rest.iter().filter(|k| k.name == name && k.kind == kind).collect::<Vec<_>>().as_slice() {
            [one] if one.result == Status::Pass && !one.evidence.contains(figure) => {
                findings.push(format!("checks: \"{name}\" passed, its figures say otherwise: {}", one.evidence));
            }
            [_] => {}
            found => findings.push(format!("checks: \"{name}\" stands {} times", found.len())),
        }
    }
    let again = rest.iter().map(|k| if k.name == cross.name { cross.clone() } else { k.clone() });
    let mut all: Vec<Check> = invariants.into_iter().chain(again).collect();
    if !rest.iter().any(|k| k.name == cross.name) {
        all.push(cross);
    }
    all
}
