//! Error budget, drill-down by gradient, forward values and gates.

use std::collections::HashMap;

use askama::Template;

use super::cell::{self, Cell, Mark, TITLED};
use super::gradients::{self, RungCell, rung_cell};
use super::graph;
use crate::certificate::{
    Certificate, Contribution, ForwardLayer, Gradient, Histogram, Method, NodeAttribute, Rung, Tolerance,
};

/// Beyond so many gradients the details, and the charts' tables, are left out of what is printed.
pub(super) const PRINTED: usize = 100;
/// So many gradients have their budget shown outside the details.
const BUDGETS: usize = 12;
/// So many parts of a budget stand in the details of a long report, and so many nodes with undecided gates in
/// those of any.
const PARTS: usize = 4;

/// Which roundings make up the errors: the gradients with the fewest correct digits.
#[derive(Template)]
#[template(path = "report/budget.html")]
pub(super) struct Budget {
    groups: Vec<BudgetGroup>,
    missing: bool,
    /// Are there more than are shown here?
    more: bool,
}

/// The parts of one gradient's error.
struct BudgetGroup {
    size: usize,
    rows: Vec<BudgetRow>,
}

/// The gradient, named in the first of its rows.
struct BudgetHead {
    gradient: String,
    anchor: usize,
}

struct BudgetRow {
    head: Option<BudgetHead>,
    node: String,
    op: String,
    pass: String,
    error: Cell,
    share: Cell,
    bar: String,
}

pub(super) fn budget(c: &Certificate) -> Budget {
    let mut with: Vec<(usize, &Gradient)> =
        c.gradients.iter().enumerate().filter(|(_, g)| g.budget.is_some()).collect();
    // A stable sort: the model's order among equals.
    with.sort_by(|(_, a), (_, b)| a.correct_digits.get().total_cmp(&b.correct_digits.get()));
    let group = |&(i, g): &(usize, &Gradient)| {
        let rows = g.budget.iter().flatten().enumerate().map(|(k, part)| BudgetRow {
            head: (k == 0).then(|| BudgetHead { gradient: cell::name(&g.name), anchor: i + 1 }),
            node: cell::name(&part.node),
            op: cell::name(&part.op),
            pass: cell::name(&part.pass),
            error: cell::signed(part.error),
            share: cell::upper(part.share),
            bar: format!("{:.1}", part.share.get().clamp(0.0, 1.0) * 100.0),
        });
        let rows: Vec<BudgetRow> = rows.collect();
        BudgetGroup { size: rows.len(), rows }
    };
    Budget {
        groups: with.iter().take(BUDGETS).map(group).collect(),
        missing: with.is_empty(),
        more: with.len() > BUDGETS,
    }
}

/// One folded block per gradient.
#[derive(Template)]
#[template(path = "report/layers.html")]
pub(super) struct Layers {
    items: Vec<Layer>,
    /// Too many to be printed?
    long: bool,
    /// So many that bounds stand in the table of gradients and in the first chart's only?
    lean: bool,
}

struct Layer {
    number: usize,
    name: String,
    /// Empty where the name begins with it.
    layer: String,
    node: String,
    op: String,
    onnx: Option<Node>,
    /// The number of the gradient with which the node is shown, if that is another.
    shown: Option<usize>,
    shape: String,
    mark: Mark,
    digits: String,
    warnings: Vec<String>,
    /// Nodes between the parameter and the loss with undecided gates, and how many.
    undecided: String,
    told: Vec<Told>,
    facts: Vec<Fact>,
    ladder: Vec<Step>,
    budget: String,
}

/// A node as graph viewers show it.
struct Node {
    domain: String,
    opset: i64,
    inputs: String,
    outputs: String,
    shape: String,
    attributes: Vec<Fact>,
}

/// Words, and what follows them that can be pasted.
struct Told {
    before: String,
    paste: Option<String>,
}

/// The tolerances, in words.
fn tolerances(t: &Tolerance) -> Vec<Told> {
    told(&format!("Tolerance: {}. Two runtimes: {}.", t.recommendation, t.between_runtimes))
}

/// A text about tolerances, its arguments for a comparison set apart.
fn told(text: &str) -> Vec<Told> {
    const START: &str = "rtol=0, atol=";
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(START) {
        let end = rest[at + START.len()..].find([' ', ',', ';']).map_or(rest.len(), |n| at + START.len() + n);
        parts.push(Told { before: cell::prose(&rest[..at]), paste: Some(cell::prose(&rest[at..end])) });
        rest = &rest[end..];
    }
    parts.push(Told { before: cell::prose(rest), paste: None });
    parts
}

/// A line of a list of figures.
struct Fact {
    text: String,
    value: String,
}

/// A rung of the ladder, in detail.
struct Step {
    name: &'static str,
    cell: RungCell,
    rel: String,
    how: String,
}

pub(super) fn layers(c: &Certificate) -> Layers {
    let mut first = HashMap::new();
    for (i, g) in c.gradients.iter().enumerate() {
        first.entry(g.node.as_str()).or_insert(i + 1);
    }
    let index = c.forward.iter().enumerate().rev().map(|(i, l)| (l.node.as_str(), i)).collect();
    let way = Way { forward: &c.forward, index, nodes: graph::nodes(c), first, lean: c.gradients.len() > TITLED };
    Layers {
        items: c.gradients.iter().enumerate().map(|(i, g)| layer(i + 1, g, &way)).collect(),
        long: c.gradients.len() > PRINTED,
        lean: way.lean,
    }
}

/// The graph behind the gradients.
struct Way<'a> {
    forward: &'a [ForwardLayer],
    /// Where each of them stands, by name.
    index: HashMap<&'a str, usize>,
    nodes: Vec<graph::GraphNode>,
    /// The number of the first gradient of each node.
    first: HashMap<&'a str, usize>,
    /// Is the report so long that nothing is said twice?
    lean: bool,
}

impl Way<'_> {
    /// A node as its file has it.
    fn node(&self, name: &str) -> Option<Node> {
        let l = &self.forward[*self.index.get(name)?];
        let names = |all: &[String]| {
            let one = |n: &String| if n.is_empty() { "(left out)".to_string() } else { cell::name(n) };
            if all.is_empty() { "none".to_string() } else { all.iter().map(one).collect::<Vec<_>>().join(", ") }
        };
        let attribute = |a: &NodeAttribute| Fact {
            text: cell::name(&a.name),
            value: format!("{} ({})", cell::prose(&a.value), cell::name(&a.kind)),
        };
        Some(Node {
            domain: cell::name(&l.onnx.domain),
            opset: l.onnx.opset,
            inputs: names(&l.onnx.inputs),
            outputs: names(&l.onnx.outputs),
            shape: cell::shape(&l.shape),
            attributes: l.onnx.attributes.iter().map(attribute).collect(),
        })
    }

    /// The nodes from the gradient's on that have undecided gates; empty where there is none.
    fn undecided(&self, g: &Gradient) -> String {
        if self.lean || g.undecided_gates == 0 {
            return String::new();
        }
        let mut reached = vec![false; self.forward.len()];
        let mut found = Vec::new();
        for (i, l) in self.forward.iter().enumerate() {
            reached[i] = l.node == g.node || self.nodes[i].reads.iter().any(|&j| reached[j]);
            if reached[i] && l.gates.undecided > 0 {
                found.push(format!("{} at {}", cell::count(l.gates.undecided), cell::name(&l.node)));
            }
        }
        let more = if found.len() > PARTS { ", and at more nodes" } else { "" };
        found.truncate(PARTS);
        let at = if found.is_empty() { String::new() } else { format!(": {}{more}", found.join(", ")) };
        format!("{}{at}", cell::count(g.undecided_gates))
    }
}

fn layer(number: usize, g: &Gradient, way: &Way<'_>) -> Layer {
    let parts = if way.lean { PARTS } else { usize::MAX };
    let node = |p: &Contribution| match way.index.get(p.node.as_str()) {
        Some(i) if way.lean => format!("#{}", i + 1),
        _ => cell::name(&p.node),
    };
    let budget = g.budget.iter().flatten().take(parts).map(|p| {
        format!("{} {} {} ({})", node(p), cell::name(&p.pass), cell::signed(p.error).text, cell::upper(p.share).text)
    });
    let shown = way.first.get(g.node.as_str()).copied().filter(|&n| n != number);
    Layer {
        number,
        name: cell::name(&g.name),
        layer: if g.name.starts_with(&g.layer) { String::new() } else { cell::name(&g.layer) },
        node: cell::name(&g.node),
        op: cell::name(&g.op),
        onnx: if shown.is_none() { way.node(&g.node) } else { None },
        shown,
        shape: cell::shape(&g.shape),
        mark: cell::mark(g.verdict),
        digits: cell::digits(g.correct_digits),
        undecided: way.undecided(g),
        warnings: g.warnings.iter().map(|w| cell::prose(w)).collect(),
        told: if way.lean { Vec::new() } else { tolerances(&g.tolerance) },
        facts: facts(g, way.lean),
        ladder: if way.lean { Vec::new() } else { g.bounds.iter().map(|(r, b)| step(g, r, b)).collect() },
        budget: budget.collect::<Vec<_>>().join("; "),
    }
}

/// The figures of a gradient that the table has no room for; `lean` leaves out what stands in the charts' tables,
/// and has the tolerances between runtimes, which are else among the words.
fn facts(g: &Gradient, lean: bool) -> Vec<Fact> {
    let mut v = Vec::new();
    let mut fact = |text: &str, value: String| v.push(Fact { text: text.into(), value });
    fact("‖g‖∞, exact", cell::interval(g.spec_norm).text);
    fact("observed error", cell::interval(g.observed).text);
    if let Some(w) = &g.worst {
        let index = w.index.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
        fact("worst entry", format!("[{index}]"));
        fact("in this run", format!("{} = {}", cell::exact(w.runtime.0).text, w.runtime.0.hex()));
        fact("exactly", cell::interval(w.spec).text);
        fact("error in ulps", cell::upper(w.ulps).text);
    }
    if let Some(n) = g.lost_entries.filter(|n| *n > 0) {
        fact("entries off by more than twice their exact size", cell::count(n));
    }
    if let Some(t) = &g.terms {
        let (carried, local) = (cell::upper(t.carried).text, cell::upper(t.local).text);
        fact(&format!("{}: carried, local", gradients::rung_name(t.rung)), format!("{carried}, {local}"));
    }
    if let Some(s) = g.region_scale {
        fact("scale over the region", cell::upper(s).text);
    }
    if let Some(r) = &g.region_tolerance {
        let vacuous = if r.vacuous { " (vacuous: not below ‖g‖∞)" } else { "" };
        fact("atol over the region, any runtime", format!("{}{vacuous}", cell::upper_or_none(r.atol).text));
    }
    if let Some(a) = &g.adversary {
        let factor = a
            .factor
            .map_or_else(String::new, |f| format!("; the portable bound is at most {} × that", cell::upper(f).text));
        fact("an adversary reached", format!("{}{factor}", cell::lower(a.error).text));
    }
    if let Some(s) = g.tolerance.rel_of_scale {
        fact("atol ÷ scale", cell::upper(s).text);
    }
    if lean {
        if let (Some(this), Some(any)) = (g.tolerance.atol_between_runtimes, g.tolerance.atol_any_two_runtimes) {
            let (this, any) = (cell::upper(this).text, cell::upper(any).text);
            fact("atol between runtimes", format!("{this}; any two {any}"));
        }
    } else {
        fact("margin: observed ÷ T", cell::upper_or_none(g.margin).text);
        fact("detects corruptions from", detection(g));
    }
    if let Some(h) = &g.histogram {
        fact(&format!("errors in {}", cell::name(&h.unit)), histogram(h));
    }
    v
}

/// What this certificate's limit and the defaults of others detect.
fn detection(g: &Gradient) -> String {
    let defaults = g.detection.defaults.iter().map(|d| {
        let blind = if d.blind { " (blind: accepts all zeros)" } else { "" };
        format!("{}: {}{blind}", cell::name(&d.name), cell::upper(d.limit).text)
    });
    let own = format!("this limit: {}", cell::upper(g.detection.limit).text);
    std::iter::once(own).chain(defaults).collect::<Vec<_>>().join("; ")
}

fn step(g: &Gradient, r: Rung, b: &crate::certificate::Bound) -> Step {
    let method = match b.method {
        Method::Composed => "composed",
        Method::Exact => "exact",
        Method::Probes => "probes",
    };
    let confidence =
        b.confidence.map_or_else(String::new, |p| format!(", holds with probability {}", cell::exact(p).text));
    let observed = match b.observed {
        Some(o) if o != g.observed => {
            let (lo, hi) = cell::ends(o);
            format!("; its run errs by {} – {}", lo.text, hi.text)
        }
        _ => String::new(),
    };
    Step {
        name: gradients::rung_name(r),
        cell: rung_cell(Some(b)),
        rel: cell::upper_or_none(b.rel).text,
        how: format!("{}, {method}{confidence}{observed}", gradients::standing(b.standing)),
    }
}

/// A histogram in a line, entries after each bin, without the empty ones.
fn histogram(h: &Histogram) -> String {
    let edge = |i: usize| h.edges.get(i).map(|&e| cell::exact(e).text);
    let bin = |(i, &n): (usize, &u64)| {
        let range = match (i.checked_sub(1).and_then(edge), edge(i)) {
            (None, Some(hi)) => format!("< {hi}"),
            (Some(lo), Some(hi)) => format!("{lo} to {hi}"),
            (Some(lo), None) => format!("≥ {lo}"),
            (None, None) => "all".into(),
        };
        format!("{range}: {}", cell::count(n))
    };
    h.counts.iter().enumerate().filter(|(_, n)| **n > 0).map(bin).collect::<Vec<_>>().join("; ")
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
    /// HTML.
    node: String,
    op: String,
    shape: String,
    max_abs: Cell,
    lo: Cell,
    hi: Cell,
    digits: String,
    /// The fewest of the gradients of the parameters that it reads.
    backward: String,
    /// The numbers of the nodes that it reads.
    reads: String,
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
    let titled = c.forward.len() <= TITLED;
    let nodes = graph::nodes(c);
    let row = |(i, (l, n)): (usize, (&ForwardLayer, &graph::GraphNode))| ForwardRow {
        backward: n.backward.map_or_else(|| "–".into(), cell::digits),
        reads: n.reads.iter().map(|j| format!("#{}", j + 1)).collect::<Vec<_>>().join(", "),
        ..forward_row(i + 1, l, &present, titled)
    };
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
        rows: c.forward.iter().zip(&nodes).enumerate().map(row).collect(),
        gates: gates.collect(),
        outputs: outputs.collect(),
    }
}

fn forward_row(number: usize, l: &ForwardLayer, present: &[Rung], titled: bool) -> ForwardRow {
    let (lo, hi) = cell::ends(l.observed);
    let some = |n: u64| if l.gates.total == 0 { "–".to_string() } else { cell::count(n) };
    let mut row = ForwardRow {
        number,
        node: cell::parted(&l.node),
        op: cell::name(&l.op),
        shape: cell::shape(&l.shape),
        max_abs: cell::upper(l.max_abs),
        lo,
        hi,
        digits: cell::digits(l.correct_digits),
        backward: String::new(),
        reads: String::new(),
        rungs: present.iter().map(|&r| rung_cell(l.bounds.get(r))).collect(),
        gates: some(l.gates.total),
        undecided: some(l.gates.undecided),
    };
    if !titled {
        row.rungs.iter_mut().for_each(|b| b.abs.full.clear());
        [&mut row.max_abs, &mut row.lo, &mut row.hi].into_iter().for_each(|c| c.full.clear());
    }
    row
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
