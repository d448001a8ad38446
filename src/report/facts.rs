//! The sections that list what the certificate says in words.

use askama::Template;

use super::cell::{self, Cell, Mark};
use super::summary::sentence_case;
use crate::certificate::{Assurance, Certificate, CheckKind};

/// What the claim rests on, by layer of assurance.
#[derive(Template)]
#[template(path = "report/assumptions.html")]
pub(super) struct Assumptions {
    groups: Vec<AssumptionGroup>,
    elementary: Vec<ElementaryRow>,
    reductions: Vec<ReductionRow>,
    format: String,
    precision: String,
    u: Cell,
    u_hex: String,
    eta: Cell,
    eta_hex: String,
    largest: Cell,
    largest_hex: String,
    rounding: String,
    subnormals: String,
}

struct AssumptionGroup {
    title: &'static str,
    text: &'static str,
    items: Vec<Sourced>,
}

struct Sourced {
    text: String,
    source: String,
}

/// Functions with the same error.
struct ElementaryRow {
    function: String,
    ulps: Cell,
    established: String,
}

struct ReductionRow {
    what: String,
    tree: String,
    fma: &'static str,
}

pub(super) fn assumptions(c: &Certificate) -> Assumptions {
    let groups = [
        (Assurance::Proved, "Proved", "theorems, with their sources"),
        (Assurance::Checked, "Checked", "tested, exhaustively or on samples, or on this very run"),
        (Assurance::Assumed, "Assumed", "neither proved nor checked: whoever signs accepts them"),
    ];
    let m = &c.rounding_model;
    let group = |(layer, title, text)| AssumptionGroup {
        title,
        text,
        items: c
            .assumptions
            .iter()
            .filter(|a| a.layer == layer)
            .map(|a| Sourced { text: sentence_case(&a.text), source: cell::prose(&a.source) })
            .collect(),
    };
    Assumptions {
        groups: groups.into_iter().map(group).collect(),
        elementary: m
            .elementary
            .chunk_by(|a, b| (a.ulps, &a.established) == (b.ulps, &b.established))
            .map(|alike| ElementaryRow {
                function: alike.iter().map(|e| cell::name(&e.function)).collect::<Vec<_>>().join(", "),
                ulps: cell::upper(alike[0].ulps),
                established: cell::prose(&alike[0].established),
            })
            .collect(),
        reductions: m
            .reductions
            .iter()
            .map(|r| ReductionRow {
                what: cell::prose(&r.what),
                tree: cell::prose(&r.tree),
                fma: if r.fma { "yes" } else { "no" },
            })
            .collect(),
        format: cell::name(&m.format),
        precision: m.precision_bits.to_string(),
        u: cell::exact(m.u.0),
        u_hex: m.u.0.hex(),
        eta: cell::exact(m.eta.0),
        eta_hex: m.eta.0.hex(),
        largest: cell::exact(m.largest.0),
        largest_hex: m.largest.0.hex(),
        rounding: cell::name(&m.rounding),
        subnormals: cell::prose(&m.subnormals),
    }
}

/// Checks that were run.
#[derive(Template)]
#[template(path = "report/checks.html")]
pub(super) struct Checks {
    groups: Vec<CheckGroup>,
}

struct CheckGroup {
    title: &'static str,
    text: &'static str,
    rows: Vec<CheckRow>,
    none: bool,
}

struct CheckRow {
    name: String,
    mark: Mark,
    evidence: String,
}

pub(super) fn checks(c: &Certificate) -> Checks {
    let groups = [
        (CheckKind::Invariant, "Invariants", "laws of the graph and of the passes over it"),
        (CheckKind::Hypothesis, "Hypotheses", "what the rounding model presupposes, tested here"),
        (CheckKind::CrossCheck, "Cross-checks", "agreement with independent computations"),
        (CheckKind::NegativeControl, "Negative controls", "planted defects, which had to be noticed"),
    ];
    let group = |(kind, title, text)| {
        let rows: Vec<CheckRow> = c
            .checks
            .iter()
            .filter(|k| k.kind == kind)
            .map(|k| CheckRow {
                name: cell::prose(&k.name),
                mark: cell::mark(k.result),
                evidence: cell::prose(&k.evidence),
            })
            .collect();
        CheckGroup { title, text, none: rows.is_empty(), rows }
    };
    Checks { groups: groups.into_iter().map(group).collect() }
}

/// Where it ran.
#[derive(Template)]
#[template(path = "report/environment.html")]
pub(super) struct Environment {
    rows: Vec<Pair>,
}

/// A term and what is said about it.
struct Pair {
    term: String,
    text: String,
}

pub(super) fn environment(c: &Certificate) -> Environment {
    let e = &c.environment;
    let pair = |term: &str, text: String| Pair { term: term.into(), text };
    let attempts: Vec<String> = c.exact_pass.attempts.iter().map(|b| cell::count(*b)).collect();
    let rows = vec![
        pair("tool", format!("{} {}", cell::name(&c.tool.name), cell::name(&c.tool.version))),
        pair("operating system", cell::name(&e.os)),
        pair("architecture", cell::name(&e.arch)),
        pair("vector instructions", cell::name(&e.simd)),
        pair("compiler", cell::name(&e.compiler)),
        pair("exact pass", cell::name(&c.exact_pass.arithmetic)),
        pair("precisions tried", format!("{} bits; at most {}", attempts.join(", "), cell::count(c.exact_pass.cap))),
    ];
    Environment { rows }
}

/// How to make the certificate again.
#[derive(Template)]
#[template(path = "report/reproduce.html")]
pub(super) struct Reproduce {
    commands: Vec<String>,
}

pub(super) fn reproduce(c: &Certificate) -> Reproduce {
    Reproduce { commands: c.reproduce.iter().map(|r| cell::prose(r)).collect() }
}

/// Hashes, sizes and the block to sign.
#[derive(Template)]
#[template(path = "report/identity.html")]
pub(super) struct Identity {
    hashes: Vec<Pair>,
    rows: Vec<Pair>,
}

pub(super) fn identity(c: &Certificate) -> Identity {
    let pair = |term: &str, text: String| Pair { term: term.into(), text };
    let opset = |o: &crate::certificate::Opset| {
        let domain = if o.domain.is_empty() { "ai.onnx".to_string() } else { cell::name(&o.domain) };
        format!("{domain} {}", o.version)
    };
    let inputs = c.inputs.file.as_deref().map_or_else(|| "synthetic inputs".into(), cell::name);
    Identity {
        hashes: vec![
            pair(&cell::name(&c.model.file), cell::name(&c.model.sha256)),
            pair(&inputs, cell::name(&c.inputs.sha256)),
            pair(
                "this certificate, in canonical form without the key \"digest\"",
                c.digest.as_deref().map_or_else(|| "not sealed".into(), cell::name),
            ),
        ],
        rows: vec![
            pair("schema of the certificate", cell::name(&c.schema)),
            pair("policy", cell::name(&c.decision_rule.policy)),
            pair("producer of the model", cell::name(&c.model.producer)),
            pair("operator sets", c.model.opsets.iter().map(opset).collect::<Vec<_>>().join(", ")),
            pair("ONNX nodes", cell::count(c.model.nodes)),
            pair(
                "parameters",
                format!("{} in {} tensors", cell::count(c.model.parameters), cell::count(c.model.parameter_tensors)),
            ),
            pair("leaves of the graph (inputs, parameters and constants)", cell::count(c.graph.leaves)),
            pair("primitive operations", cell::count(c.graph.primitive_nodes)),
            pair("ONNX nodes they were made from", cell::count(c.graph.onnx_nodes)),
        ],
    }
}

/// Terms, and the rules that were used.
#[derive(Template)]
#[template(path = "report/glossary.html")]
pub(super) struct Glossary {
    rules: Vec<RuleRow>,
}

struct RuleRow {
    primitives: String,
    definition: String,
    error: String,
    source: String,
}

pub(super) fn glossary(c: &Certificate) -> Glossary {
    let mut rules: Vec<RuleRow> = Vec::new();
    for r in &c.rules {
        let row = RuleRow {
            primitives: cell::name(&r.primitive),
            definition: cell::prose(&r.definition),
            error: cell::prose(&r.error),
            source: cell::prose(&r.source),
        };
        // Primitives with one lemma share a line.
        let same =
            |o: &&mut RuleRow| (&o.definition, &o.error, &o.source) == (&row.definition, &row.error, &row.source);
        match rules.iter_mut().find(same) {
            Some(o) => o.primitives = format!("{}, {}", o.primitives, row.primitives),
            None => rules.push(row),
        }
    }
    Glossary { rules }
}
