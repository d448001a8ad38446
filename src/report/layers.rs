//! Error budget, drill-down by gradient, forward values and gates.

use askama::Template;

use super::cell::{self, Cell, Mark};
use super::gradients::{self, RungCell, rung_cell};
use crate::certificate::{Certificate, ForwardLayer, Gradient, Histogram, Method, Rung};

/// Which roundings make up the errors.
#[derive(Template)]
#[template(path = "report/budget.html")]
pub(super) struct Budget {
    rows: Vec<BudgetRow>,
    missing: bool,
}

struct BudgetRow {
    gradient: String,
    anchor: usize,
    node: String,
    op: String,
    pass: String,
    error: Cell,
    share: Cell,
    bar: String,
}

pub(super) fn budget(c: &Certificate) -> Budget {
    let mut rows = Vec::new();
    for (i, g) in c.gradients.iter().enumerate() {
        for part in g.budget.iter().flatten() {
            rows.push(BudgetRow {
                gradient: cell::name(&g.name),
                anchor: i + 1,
                node: cell::name(&part.node),
                op: cell::name(&part.op),
                pass: cell::name(&part.pass),
                error: cell::signed(part.error),
                share: cell::upper(part.share),
                bar: format!("{:.1}", part.share.get().clamp(0.0, 1.0) * 100.0),
            });
        }
    }
    Budget { missing: rows.is_empty(), rows }
}

/// One folded block per gradient.
#[derive(Template)]
#[template(path = "report/layers.html")]
pub(super) struct Layers {
    items: Vec<Layer>,
}

struct Layer {
    number: usize,
    name: String,
    layer: String,
    node: String,
    op: String,
    shape: String,
    mark: Mark,
    digits: String,
    warnings: Vec<String>,
    recommendation: String,
    facts: Vec<Fact>,
    ladder: Vec<Step>,
    detection: Vec<Detected>,
    bins: Vec<Bin>,
    unit: String,
}

/// A line of a list of figures.
struct Fact {
    text: String,
    value: Cell,
    note: String,
}

/// A rung of the ladder, in detail.
struct Step {
    name: &'static str,
    cell: RungCell,
    rel: Cell,
    covers: &'static str,
    observed: Cell,
    how: String,
}

struct Detected {
    name: String,
    limit: Cell,
    blind: &'static str,
}

struct Bin {
    range: String,
    count: String,
}

pub(super) fn layers(c: &Certificate) -> Layers {
    Layers { items: c.gradients.iter().enumerate().map(|(i, g)| layer(i + 1, g)).collect() }
}

fn layer(number: usize, g: &Gradient) -> Layer {
    let own = Detected { name: "this certificate's limit".into(), limit: cell::upper(g.detection.limit), blind: "" };
    let others = g.detection.defaults.iter().map(|d| Detected {
        name: cell::name(&d.name),
        limit: cell::upper(d.limit),
        blind: if d.blind { "blind: accepts an all-zero gradient" } else { "" },
    });
    Layer {
        number,
        name: cell::name(&g.name),
        layer: cell::name(&g.layer),
        node: cell::name(&g.node),
        op: cell::name(&g.op),
        shape: cell::shape(&g.shape),
        mark: cell::mark(g.verdict),
        digits: cell::digits(g.correct_digits),
        warnings: g.warnings.iter().map(|w| cell::prose(w)).collect(),
        recommendation: cell::prose(&g.tolerance.recommendation),
        facts: facts(g),
        ladder: g.bounds.iter().map(|(r, b)| step(r, b)).collect(),
        detection: std::iter::once(own).chain(others).collect(),
        bins: g.histogram.as_ref().map(bins).unwrap_or_default(),
        unit: g.histogram.as_ref().map_or_else(String::new, |h| cell::name(&h.unit)),
    }
}

/// The figures of a gradient that the table has no room for.
fn facts(g: &Gradient) -> Vec<Fact> {
    let fact = |text: &str, value: Cell, note: &str| Fact { text: text.into(), value, note: note.into() };
    let mut v = vec![
        fact("‖g‖∞, exact", cell::interval(g.spec_norm), ""),
        fact("observed error", cell::interval(g.observed), ""),
        fact("limit T", cell::lower(g.limit), ""),
        fact("margin", cell::upper_or_none(g.margin), "observed ÷ T: up to 1 passes"),
    ];
    if let Some(w) = &g.worst {
        let index = w.index.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
        v.push(fact("worst entry", Cell::plain(format!("[{index}]")), "index"));
        v.push(fact("… in this run", cell::exact(w.runtime.0), &w.runtime.0.hex()));
        v.push(fact("… exactly", cell::interval(w.spec), ""));
        v.push(fact("… error", cell::upper(w.ulps), "ulps"));
    }
    if let Some(t) = &g.terms {
        let note = format!("part of the {} bound", gradients::rung_name(t.rung));
        v.push(fact("carried from operands", cell::upper(t.carried), &note));
        v.push(fact("local roundings", cell::upper(t.local), &note));
    }
    if let Some(s) = g.scale {
        v.push(fact("scale B", cell::upper(s), "no entry is larger, in run or spec"));
    }
    if let Some(s) = g.region_scale {
        v.push(fact("scale B over the region", cell::upper(s), ""));
    }
    if let Some(s) = g.tolerance.rel_of_scale {
        v.push(fact("atol ÷ B", cell::upper(s), "relative part of tolFromEpsScale; not recommended"));
    }
    if let Some(s) = g.tolerance.atol_between_runtimes {
        v.push(fact("atol between runtimes", cell::upper(s), "another runtime against this run"));
    }
    v
}

fn step(r: Rung, b: &crate::certificate::Bound) -> Step {
    let method = match b.method {
        Method::Composed => "composed",
        Method::Exact => "exact",
        Method::Probes => "probes",
    };
    let confidence =
        b.confidence.map_or_else(String::new, |p| format!(", holds with probability {}", cell::lower(p).text));
    Step {
        name: gradients::rung_name(r),
        cell: rung_cell(Some(b)),
        rel: cell::upper_or_none(b.rel),
        covers: gradients::covers(b.covers),
        observed: b.observed.map_or_else(Cell::none, |o| {
            let (lo, hi) = cell::ends(o);
            Cell { text: format!("{} – {}", lo.text, hi.text), full: format!("{} – {}", lo.full, hi.full) }
        }),
        how: format!("{}, {method}{confidence}", gradients::standing(b.standing)),
    }
}

/// A histogram as lines.
fn bins(h: &Histogram) -> Vec<Bin> {
    let edge = |i: usize| h.edges.get(i).map(|&e| cell::exact(e).text);
    let range = |i: usize| match (i.checked_sub(1).and_then(edge), edge(i)) {
        (None, Some(hi)) => format!("< {hi}"),
        (Some(lo), Some(hi)) => format!("{lo} to {hi}"),
        (Some(lo), None) => format!("≥ {lo}"),
        (None, None) => "all".into(),
    };
    h.counts.iter().enumerate().map(|(i, &n)| Bin { range: range(i), count: cell::count(n) }).collect()
}

/// The values on the way forward, and the gates.
#[derive(Template)]
#[template(path = "report/forward.html")]
pub(super) struct Forward {
    total: String,
    undecided: String,
    differing: String,
    ties: String,
    unresolved: String,
    rungs: Vec<&'static str>,
    rows: Vec<ForwardRow>,
    gates: Vec<Gate>,
    outputs: Vec<OutputRow>,
}

struct ForwardRow {
    number: usize,
    node: String,
    op: String,
    shape: String,
    max_abs: Cell,
    lo: Cell,
    hi: Cell,
    digits: String,
    rungs: Vec<RungCell>,
    gates: String,
    undecided: String,
}

struct Gate {
    node: String,
    index: String,
    runtime: Cell,
    hex: String,
    spec: Cell,
    kink: Cell,
    error: Cell,
}

struct OutputRow {
    name: String,
    shape: String,
    max_abs: Cell,
    lo: Cell,
    hi: Cell,
    rungs: Vec<RungCell>,
}

pub(super) fn forward(c: &Certificate) -> Forward {
    let sets = || c.forward.iter().map(|l| &l.bounds).chain(c.outputs.iter().map(|o| &o.bounds));
    let present: Vec<Rung> = Rung::ALL.into_iter().filter(|&r| sets().any(|b| b.get(r).is_some())).collect();
    let gates = c.forward.iter().flat_map(|l| l.undecided.iter().map(move |u| gate(l, u)));
    let outputs = c.outputs.iter().map(|o| {
        let (lo, hi) = cell::ends(o.observed);
        OutputRow {
            name: cell::name(&o.name),
            shape: cell::shape(&o.shape),
            max_abs: cell::upper(o.max_abs),
            lo,
            hi,
            rungs: present.iter().map(|&r| rung_cell(o.bounds.get(r))).collect(),
        }
    });
    Forward {
        total: cell::count(c.gates.total),
        undecided: cell::count(c.gates.undecided),
        differing: cell::count(c.gates.differing),
        ties: cell::count(c.gates.ties),
        unresolved: cell::count(c.gates.unresolved),
        rungs: present.iter().map(|&r| gradients::rung_name(r)).collect(),
        rows: c.forward.iter().enumerate().map(|(i, l)| forward_row(i + 1, l, &present)).collect(),
        gates: gates.collect(),
        outputs: outputs.collect(),
    }
}

fn forward_row(number: usize, l: &ForwardLayer, present: &[Rung]) -> ForwardRow {
    let (lo, hi) = cell::ends(l.observed);
    let some = |n: u64| if l.gates.total == 0 { "–".to_string() } else { cell::count(n) };
    ForwardRow {
        number,
        node: cell::name(&l.node),
        op: cell::name(&l.op),
        shape: cell::shape(&l.shape),
        max_abs: cell::upper(l.max_abs),
        lo,
        hi,
        digits: cell::digits(l.correct_digits),
        rungs: present.iter().map(|&r| rung_cell(l.bounds.get(r))).collect(),
        gates: some(l.gates.total),
        undecided: some(l.gates.undecided),
    }
}

fn gate(l: &ForwardLayer, u: &crate::certificate::UndecidedGate) -> Gate {
    Gate {
        node: cell::name(&l.node),
        index: u.index.iter().map(u64::to_string).collect::<Vec<_>>().join(", "),
        runtime: cell::exact(u.runtime.0),
        hex: u.runtime.0.hex(),
        spec: cell::interval(u.spec),
        kink: cell::exact(u.kink),
        error: cell::upper_or_none(u.error),
    }
}
