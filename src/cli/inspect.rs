//! `certify inspect MODEL`: what the graph is made of, and that it keeps its invariants.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::args::{ExtraArgs, Inspect};
use super::{Exit, prepare, print, request};
use crate::certificate::{Check, Status};
use crate::error::{Code, Diagnostics, printable};
use crate::import::{self, Inputs, Lowered, OnnxModel, Source};
use crate::ir::LeafKind;
use crate::num::environment;
use crate::seed::Seed;
use crate::session::{self, Failure, Loaded, Request};

pub(super) fn run(args: &Inspect) -> Result<Exit, Failure> {
    prepare(&args.run)?;
    environment::check()?;
    let mut graph = args.graph.clone();
    if graph.inputs.is_none() {
        graph.random.get_or_insert(0);
    }
    let request = request::of(&graph, ExtraArgs::default(), None)?;
    let (loaded, unseeded) = load(&request)?;
    let checks = invariants(&loaded.lowered)?;
    let mut text = String::new();
    file(&loaded.model, &loaded.inputs, &mut text);
    leaves(&loaded.lowered, &mut text);
    nodes(&loaded.lowered, &mut text);
    outputs(&loaded.lowered, unseeded.as_deref(), &mut text);
    links(&checks, &mut text);
    notes(&loaded.lowered, &mut text);
    print(&text)?;
    let broken: Vec<String> = checks.iter().filter(|c| c.result == Status::Fail).map(|c| c.name.clone()).collect();
    assert!(broken.is_empty(), "link invariant: {}", broken.join(", "));
    Ok(Exit::Good)
}

/// Loads; a graph without a scalar loss, and without a cotangent given, is only run forward, and the
/// reason is handed back.
fn load(request: &Request) -> Result<(Loaded, Option<String>), Diagnostics> {
    let problems = match session::load(request) {
        Ok(loaded) => return Ok((loaded, None)),
        Err(problems) => problems,
    };
    if !request.cotangents.is_empty() || problems.0.iter().any(|d| d.code != Code::Seed) {
        return Err(problems);
    }
    let loaded = session::load_with(request, import::Seed::None)?;
    let why = problems.0.iter().map(|d| d.what.clone()).collect::<Vec<_>>().join("; ");
    Ok((loaded, Some(why)))
}

/// The link invariants, run on this graph.
fn invariants(lowered: &Lowered) -> Result<Vec<Check>, Diagnostics> {
    let graph = &lowered.graph;
    let seeds: Vec<Seed> = lowered.seeds.iter().map(|(_, v, t)| Seed { value: *v, cotangent: t.clone() }).collect();
    Ok(session::invariants(graph, &seeds)?)
}

fn file(model: &OnnxModel, inputs: &Inputs, text: &mut String) {
    let _ = writeln!(text, "model    {}", printable(&model.file));
    let _ = writeln!(text, "sha256   {}", model.sha256);
    let producer = format!("{} {}", model.producer.0, model.producer.1);
    if !producer.trim().is_empty() {
        let _ = writeln!(text, "made by  {}", printable(producer.trim()));
    }
    let domain = |d: &str| if d.is_empty() { "ai.onnx".to_string() } else { printable(d) };
    let opsets: Vec<String> = model.opsets.iter().map(|(d, v)| format!("{} {v}", domain(d))).collect();
    let _ = writeln!(text, "opsets   {}", opsets.join(", "));
    let source = match &inputs.source {
        Source::Archive(f) | Source::Folder(f) => printable(f),
        Source::Synthetic(seed) => format!("synthetic, seed {seed}"),
    };
    let _ = writeln!(text, "inputs   {source}");
    for (name, t) in &inputs.values {
        let _ = writeln!(text, "  \"{}\" {} {:?}", printable(name), t.dtype, t.shape);
    }
}

fn leaves(lowered: &Lowered, text: &mut String) {
    let kind = |k: LeafKind| match k {
        LeafKind::Parameter => "parameter",
        LeafKind::Input => "input",
        LeafKind::Constant => "constant",
    };
    let _ = writeln!(text, "\nleaves ({}): kind, name, shape, why", lowered.leaves.len());
    let rows: Vec<[String; 4]> = lowered
        .leaves
        .iter()
        .map(|l| {
            [kind(l.kind).into(), format!("\"{}\"", printable(&l.name)), format!("{:?}", l.shape), l.reason.into()]
        })
        .collect();
    table(&rows, text);
}

fn nodes(lowered: &Lowered, text: &mut String) {
    let graph = &lowered.graph;
    let mut by_op: BTreeMap<&str, usize> = BTreeMap::new();
    let mut by_origin: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
    for n in graph.nodes() {
        *by_op.entry(n.op.name()).or_default() += 1;
        by_origin.entry(n.origin).or_default().push(n.op.name());
    }
    let counts: Vec<String> = by_op.iter().map(|(op, n)| format!("{n} {op}")).collect();
    let _ = writeln!(text, "\nprimitive nodes ({}): {}", graph.nodes().len(), counts.join(", "));
    let _ = writeln!(text, "\nONNX nodes ({}): name, operator, primitives", by_origin.len());
    let rows: Vec<[String; 4]> = by_origin
        .iter()
        .map(|(&o, primitives)| {
            let origin = &graph.origins()[o];
            let op = format!("{} (opset {})", printable(&origin.op), origin.opset);
            [format!("\"{}\"", printable(&origin.node)), op, primitives.join(" "), String::new()]
        })
        .collect();
    table(&rows, text);
}

fn outputs(lowered: &Lowered, unseeded: Option<&str>, text: &mut String) {
    let all = lowered.outputs.len() + lowered.exact_outputs.len();
    let _ = writeln!(text, "\noutputs ({all}): name, shape, cotangent");
    let mut rows: Vec<[String; 4]> = Vec::new();
    for (name, v) in &lowered.outputs {
        let seed = lowered.seeds.iter().find(|(n, ..)| n == name);
        let seed = match seed {
            Some((_, _, t)) if t.data.iter().all(|&x| x == 1.0) => "ones",
            Some(_) => "given",
            None => "none",
        };
        rows.push([
            format!("\"{}\"", printable(name)),
            format!("{:?}", lowered.graph.shape(*v)),
            seed.into(),
            String::new(),
        ]);
    }
    for (name, t) in &lowered.exact_outputs {
        let exact = format!("none ({}, known exactly)", t.dtype);
        rows.push([format!("\"{}\"", printable(name)), format!("{:?}", t.shape), exact, String::new()]);
    }
    table(&rows, text);
    if let Some(why) = unseeded {
        let _ = writeln!(text, "  run forward only: {}", printable(why));
    }
}

fn links(checks: &[Check], text: &mut String) {
    let passed = checks.iter().filter(|c| c.result == Status::Pass).count();
    let _ = writeln!(text, "\nlink invariants: {passed} of {} pass", checks.len());
    let word = |s: Status| match s {
        Status::Pass => "pass",
        Status::Fail => "FAIL",
        Status::Undecided => "undecided",
        Status::NotApplicable => "not applicable",
    };
    let rows: Vec<[String; 4]> =
        checks.iter().map(|c| [word(c.result).into(), c.name.clone(), c.evidence.clone(), String::new()]).collect();
    table(&rows, text);
}

fn notes(lowered: &Lowered, text: &mut String) {
    for (warning, title) in [(true, "warnings"), (false, "notes")] {
        let some: Vec<_> = lowered.notes.iter().filter(|n| n.warning == warning).collect();
        if some.is_empty() {
            continue;
        }
        let _ = writeln!(text, "\n{title}");
        for n in some {
            let at: Vec<String> = n.nodes.iter().map(|s| format!("\"{}\"", printable(s))).collect();
            let at = if at.is_empty() { String::new() } else { format!(" ({})", at.join(", ")) };
            let _ = writeln!(text, "  {}{at}", printable(&n.what));
        }
    }
}

/// Rows in aligned columns; names too long for theirs push the rest to the right.
fn table(rows: &[[String; 4]], text: &mut String) {
    let width = |k: usize| rows.iter().map(|r| r[k].chars().count()).max().unwrap_or(0).min(72);
    let widths: Vec<usize> = (0..4).map(width).collect();
    for r in rows {
        let cells: Vec<String> = r.iter().zip(&widths).map(|(c, w)| format!("{c:w$}")).collect();
        let _ = writeln!(text, "  {}", cells.join("  ").trim_end());
    }
}
