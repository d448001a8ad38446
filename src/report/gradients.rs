//! The table of gradient tolerances.

use askama::Template;

use super::cell::{self, Cell, Mark, TITLED};
use crate::certificate::{Bound, Certificate, Covers, Gradient, Rung, Standing};

/// The table, one row per gradient, one column per rung that was computed anywhere.
#[derive(Template)]
#[template(path = "report/gradients.html")]
pub(super) struct Gradients {
    rungs: Vec<Head>,
    missing: String,
    rows: Vec<Row>,
    largest: Cell,
    titled: bool,
}

/// Head of a rung's column.
pub(super) struct Head {
    pub name: &'static str,
    pub covers: &'static str,
    pub standing: &'static str,
    pub answers: &'static str,
}

/// What a rung is good for.
fn answers(r: Rung) -> &'static str {
    match r {
        Rung::Literal => "What the published recursion proves word for word, with one number per tensor: the baseline.",
        Rung::Portable => {
            "How far any conforming runtime can be from the exact gradient, whatever its order of summation: the \
             tolerance for comparing runtimes."
        }
        Rung::Schedule => "How far this build’s order of operations can go wrong, however its operations round.",
        Rung::Run => "What the roundings that this run made can add up to, each with its size, in the worst direction.",
        Rung::ChainPortable => {
            "As portable, through signed derivatives instead of magnitudes: doesn’t explode with depth."
        }
        Rung::ChainSchedule => "As schedule, through signed derivatives.",
        Rung::ChainRun => "As run, through signed derivatives.",
        Rung::Probabilistic => "What roundings that are independent and of mean zero would give. For comparison only.",
        Rung::Direct => "How far this run is from the exact gradient: the upper end of the observed error.",
    }
}

struct Row {
    number: usize,
    /// HTML.
    layer: String,
    parameter: String,
    op: String,
    shape: String,
    max_abs: Cell,
    lo: Cell,
    hi: Cell,
    digits: String,
    rungs: Vec<RungCell>,
    scale: Cell,
    atol: Cell,
    rtol: Cell,
    tolerance: String,
    region: String,
    limit: Cell,
    detection: Cell,
    gates: String,
    mark: Mark,
    remark: String,
}

/// A bound in a table: the figure, its looseness and what is to be said about it.
pub(super) struct RungCell {
    pub abs: Cell,
    pub looseness: String,
    /// Its standing, where the column's head can't say it for all; empty otherwise.
    pub standing: &'static str,
    /// The `class` attribute with a space before it, or nothing.
    pub class: &'static str,
}

/// Whom a rung covers, in two words.
pub(super) fn covers(c: Covers) -> &'static str {
    match c {
        Covers::ReferenceRun => "reference run",
        Covers::EveryConformingRun => "any runtime",
        Covers::ThisRun => "this run",
        Covers::IndependentRoundings => "random roundings",
    }
}

/// A bound's standing in a word.
pub(super) fn standing(s: Standing) -> &'static str {
    match s {
        Standing::Rigorous => "rigorous",
        Standing::FirstOrder => "first order",
        Standing::Statistical => "statistical",
    }
}

/// A bound's looseness, or why there is none.
pub(super) fn looseness(b: &Bound) -> String {
    match (b.abs, b.vacuous, b.looseness) {
        (None, ..) => "vacuous".into(),
        (_, true, _) => "vacuous".into(),
        (_, _, Some(l)) => format!("{}×", cell::upper(l).text),
        (_, _, None) => "–".into(),
    }
}

/// A bound as a table shows it.
pub(super) fn rung_cell(b: Option<&Bound>) -> RungCell {
    match b {
        None => RungCell { abs: Cell::none(), looseness: String::new(), standing: "", class: " class=void" },
        Some(b) => RungCell {
            abs: b.abs.map_or_else(|| Cell::plain("unbounded"), cell::upper),
            looseness: looseness(b),
            standing: "",
            class: if b.vacuous {
                " class=vac"
            } else if b.standing == Standing::Rigorous {
                ""
            } else {
                " class=stat"
            },
        },
    }
}

/// The rungs that some gradient has, and the names of the others.
pub(super) fn rungs(c: &Certificate) -> (Vec<Rung>, Vec<&'static str>) {
    let has = |r: &Rung| c.gradients.iter().any(|g| g.bounds.get(*r).is_some());
    let present: Vec<Rung> = Rung::ALL.into_iter().filter(has).collect();
    let missing = Rung::ALL.into_iter().filter(|r| !has(r)).map(Rung::name).collect();
    (present, missing)
}

/// A rung's name where words may be parted.
pub(super) fn rung_name(r: Rung) -> &'static str {
    match r {
        Rung::ChainPortable => "chain portable",
        Rung::ChainSchedule => "chain schedule",
        Rung::ChainRun => "chain run",
        other => other.name(),
    }
}

/// Where the bounds of a rung differ in standing.
const MIXED: &str = "see cells";

/// The standing that all bounds of a rung share.
fn shared_standing(c: &Certificate, r: Rung) -> &'static str {
    let mut all = c.gradients.iter().filter_map(|g| g.bounds.get(r)).map(|b| standing(b.standing));
    let first = all.next().unwrap_or("");
    if all.all(|s| s == first) { first } else { MIXED }
}

pub(super) fn gradients(c: &Certificate) -> Gradients {
    let (present, missing) = rungs(c);
    let titled = c.gradients.len() <= TITLED;
    let mixed: Vec<bool> = present.iter().map(|&r| shared_standing(c, r) == MIXED).collect();
    let numbered = |(i, g): (usize, &Gradient)| {
        let mut r = row(i + 1, g, &present);
        for ((cell, rung), _) in r.rungs.iter_mut().zip(&present).zip(&mixed).filter(|(_, mixed)| **mixed) {
            cell.standing = g.bounds.get(*rung).map_or("", |b| standing(b.standing));
        }
        if !titled {
            r.rungs.iter_mut().for_each(|b| b.abs.full.clear());
            let cells = [&mut r.max_abs, &mut r.lo, &mut r.hi, &mut r.scale, &mut r.atol, &mut r.rtol];
            cells.into_iter().chain([&mut r.limit, &mut r.detection]).for_each(|c| c.full.clear());
        }
        r
    };
    Gradients {
        rungs: present
            .iter()
            .map(|&r| Head {
                // with a place to part the longest
                name: if r == Rung::Probabilistic { "proba\u{ad}bilistic" } else { rung_name(r) },
                covers: covers(r.covers()),
                standing: shared_standing(c, r),
                answers: answers(r),
            })
            .collect(),
        missing: missing.join(", "),
        rows: c.gradients.iter().enumerate().map(numbered).collect(),
        largest: cell::lower(c.decision_rule.largest_norm),
        titled,
    }
}

/// The last part of a parameter's name, where the layer's name is the rest of it.
fn own_name(g: &Gradient) -> String {
    let own = g.name.strip_prefix(&g.layer).and_then(|s| s.strip_prefix('.')).filter(|s| !s.is_empty());
    cell::name(own.unwrap_or(&g.name))
}

fn row(number: usize, g: &Gradient, present: &[Rung]) -> Row {
    let (lo, hi) = cell::ends(g.observed);
    let t = &g.tolerance;
    Row {
        number,
        layer: cell::parted(&g.layer),
        parameter: own_name(g),
        op: cell::name(&g.op),
        shape: cell::shape(&g.shape),
        max_abs: cell::upper(g.max_abs),
        lo,
        hi,
        digits: cell::digits(g.correct_digits),
        rungs: present.iter().map(|&r| rung_cell(g.bounds.get(r))).collect(),
        scale: cell::upper_or_none(g.scale),
        atol: cell::upper_or_none(t.atol),
        rtol: cell::upper_or_none(t.rtol),
        tolerance: match (t.rung, t.covers) {
            (Some(_), Some(c)) => covers(c).into(),
            _ => "none".into(),
        },
        region: match &g.region_tolerance {
            None => String::new(),
            Some(r) if r.vacuous => "region: vacuous".into(),
            Some(r) => format!("region: {}", cell::upper_or_none(r.atol).text),
        },
        limit: cell::lower(g.limit),
        detection: cell::upper(g.detection.limit),
        gates: cell::count(g.undecided_gates),
        mark: cell::mark(g.verdict),
        remark: remark(g),
    }
}

/// What the table has room to say of a gradient's warnings, and who is blind to it.
fn remark(g: &Gradient) -> String {
    let mut parts: Vec<String> = Vec::new();
    // That a bound isn't there shows in its column.
    for w in g.warnings.iter().filter(|w| !(w.starts_with("no ") && w.contains(" bound: "))) {
        let head = w.split([':', ';']).next().unwrap_or(w).to_string();
        if !parts.contains(&head) {
            parts.push(head);
        }
    }
    let first_word = |name: &str| name.split(' ').next().unwrap_or(name).to_string();
    let blind: Vec<String> = g.detection.defaults.iter().filter(|d| d.blind).map(|d| first_word(&d.name)).collect();
    if !blind.is_empty() {
        parts.push(format!("blind: {}", blind.join(", ")));
    }
    cell::prose(&parts.join("; "))
}
