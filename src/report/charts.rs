//! Which charts there are, and their twins as tables.

use askama::Template;

use super::cell::{self, Cell, Mark, TITLED};
use super::chart::{self, Chart};
use super::gradients::{rung_name, rungs};
use super::graph;
use super::layers::PRINTED;
use crate::certificate::{Certificate, LimitRule, Num, Rung, decimal};

/// Width of the page's column, in CSS pixels.
const WIDTH: f64 = 1180.0;
/// −log10 of the unit roundoff 2^−24: no more digits are to be had from binary32.
const ALL_DIGITS: f64 = 7.22;

/// The charts.
#[derive(Template)]
#[template(path = "report/charts.html")]
pub(super) struct Charts {
    /// Are the tables left out of print?
    long: bool,
    /// Do gradients go by their numbers alone?
    lean: bool,
    errors: Option<Drawn>,
    left_out: String,
    heads: Vec<&'static str>,
    twin: Vec<TwinRow>,
    detection: Option<Drawn>,
    defaults: Vec<String>,
    limits: Vec<LimitRow>,
    digits: Vec<Drawn>,
    margins: Option<Drawn>,
    graph: Option<graph::Picture>,
}

/// One chart.
#[derive(Template)]
#[template(path = "report/chart.html")]
pub(super) struct Drawn {
    c: Chart,
}

/// A row of the first chart's twin.
struct TwinRow {
    number: usize,
    name: String,
    observed: Cell,
    rungs: Vec<Cell>,
}

/// A row of the twin of detection limits and margins.
struct LimitRow {
    number: usize,
    name: String,
    norm: Cell,
    limits: Vec<Cell>,
    margin: Cell,
    mark: Mark,
}

pub(super) fn charts(c: &Certificate) -> Charts {
    let (present, _) = rungs(c);
    let left_out = c.gradients.iter().filter(|g| g.observed_rel.is_none()).count();
    let nodes = graph::nodes(c);
    Charts {
        long: c.gradients.len() > PRINTED,
        lean: c.gradients.len() > TITLED,
        errors: errors(c, &present),
        left_out: if left_out == 0 { String::new() } else { cell::count(left_out as u64) },
        heads: present.iter().filter(|&&r| r != Rung::Direct).map(|&r| rung_name(r)).collect(),
        twin: twin(c, &present),
        detection: detection(c),
        defaults: c
            .gradients
            .first()
            .map_or_else(Vec::new, |g| g.detection.defaults.iter().map(|d| cell::name(&d.name)).collect()),
        limits: limits(c),
        digits: [forward_digits(c), backward_digits(c)].into_iter().flatten().collect(),
        margins: margins(c),
        graph: graph::picture(c, &nodes),
    }
}

/// log10 of a positive figure.
fn log(x: f64) -> Option<f64> {
    (x > 0.0).then(|| x.log10())
}

/// Error and rungs of every gradient in units of its ‖g‖∞, on a logarithmic axis.
fn errors(c: &Certificate, present: &[Rung]) -> Option<Drawn> {
    let observed = c.gradients.iter().map(|g| g.observed_rel.and_then(|e| log(e.hi()))).collect();
    let mut series: Vec<Series> = vec![(0, "observed".to_string(), observed)];
    for &r in present.iter().filter(|&&r| r != Rung::Direct) {
        let values = c.gradients.iter().map(|g| g.bounds.get(r).and_then(|b| b.rel).map(Num::get).and_then(log));
        let values: Vec<Option<f64>> = values.collect();
        let unbounded = if values.iter().any(Option::is_some) { "" } else { " (unbounded)" };
        series.push((1 + r as usize, format!("{}{unbounded}", rung_name(r)), values));
    }
    let (lowest, highest) = extent(&series)?;
    let mut references = limits_drawn(c);
    // At least down to u and up to 1; wild bounds leave the scale.
    let lowest = references.iter().map(|(at, _)| *at).fold(lowest, f64::min);
    references.push((0.0, "‖g‖∞: a bound above this line is vacuous".to_string()));
    references.push((-ALL_DIGITS, "u: half an ulp".to_string()));
    let range = (lowest.floor().clamp(-18.0, -8.0), highest.ceil().clamp(1.0, 4.0));
    let digits = |k: i32| if k <= 0 { (-k).to_string() } else { String::new() };
    Some(Drawn {
        c: chart::lay_out(chart::Input {
            id: "error-chart",
            title: "Observed error and bounds by gradient".into(),
            desc: "Every gradient's observed error and each rung's bound, in units of its largest exact entry, on a \
                   logarithmic axis; on the right the correct digits that each height leaves, and how many ulps of \
                   ‖g‖∞ (2^-23·‖g‖∞ each) it is. The figures stand in \
                   the table below the chart."
                .into(),
            size: (WIDTH, 470.0),
            left_title: "error ÷ ‖g‖∞".into(),
            right_titles: ("digits", "ulps"),
            range,
            ticks: decades(range, digits),
            outer: ulps(range),
            references,
            names: names(c),
            series,
            bars: Vec::new(),
        }),
    })
}

/// The limits of gradients above the floor in units of ‖g‖∞: the rule's, and those that the policy sets in its place.
fn limits_drawn(c: &Certificate) -> Vec<(f64, String)> {
    let rule = &c.decision_rule;
    // Correct digits are a limit on the error in units of ‖g‖∞ as well, beside max_rel.
    let exponent = |r: &LimitRule| {
        let rel = log(r.max_rel.unwrap_or(rule.max_rel).get());
        match (r.max_rel, r.min_correct_digits) {
            (None, None) => None,
            (_, digits) => rel.into_iter().chain(digits.map(|d| -d.get())).reduce(f64::min),
        }
    };
    let of = |r: &LimitRule| Some((exponent(r)?, format!("limit by the policy: {}", cell::name(&r.pattern))));
    let mut drawn: Vec<(f64, String)> = rule.limits.iter().filter_map(of).take(3).collect();
    // A rule that speaks of every gradient leaves nothing to the default.
    if !rule.limits.iter().any(|r| r.pattern == "*" && exponent(r).is_some()) {
        let text = if rule.floor.get() > 0.0 { "limit for gradients above the floor" } else { "limit T" };
        drawn.extend(log(rule.max_rel.get()).map(|at| (at, text.to_string())));
    }
    drawn
}

/// What this certificate's limit and the defaults of others detect, against the size of the gradient.
fn detection(c: &Certificate) -> Option<Drawn> {
    let mut series: Vec<Series> = vec![
        // What may be 0 has no place on a logarithmic axis.
        (0, "‖g‖∞".into(), c.gradients.iter().map(|g| log(g.spec_norm.lo())).collect()),
        (2, "this limit".into(), c.gradients.iter().map(|g| log(g.detection.limit.get())).collect()),
    ];
    let others = c.gradients.first().map_or(0, |g| g.detection.defaults.len());
    for k in 0..others {
        let of = |g: &crate::certificate::Gradient| g.detection.defaults.get(k).and_then(|d| log(d.limit.get()));
        let name = c.gradients[0].detection.defaults[k].name.as_str();
        series.push((4 + k, cell::name(name), c.gradients.iter().map(of).collect()));
    }
    let (lowest, highest) = extent(&series)?;
    // with room below, so that no marker stands on the axis
    let from = (lowest - 0.2).floor().max(-46.0);
    let range = (from, highest.ceil().max(from + 1.0));
    Some(Drawn {
        c: chart::lay_out(chart::Input {
            id: "detection-chart",
            title: "Smallest corruption certain to be detected, by gradient".into(),
            desc: "For every gradient the smallest corruption of an entry that this certificate's limit and the \
                   default tolerances of others are certain to reject, beside the gradient's own size. Where a \
                   tolerance lies above the size, it may accept an all-zero gradient. The figures stand in the table \
                   below the next chart."
                .into(),
            size: (WIDTH, 400.0),
            left_title: "magnitude of an entry".into(),
            right_titles: ("", ""),
            range,
            ticks: decades(range, |_| String::new()),
            outer: Vec::new(),
            references: Vec::new(),
            names: names(c),
            series,
            bars: Vec::new(),
        }),
    })
}

/// Index of its colour, name, ordinates.
type Series = (usize, String, Vec<Option<f64>>);

/// The lowest and the highest ordinate; `None` where there is none.
fn extent(series: &[Series]) -> Option<(f64, f64)> {
    let all = || series.iter().flat_map(|(_, _, v)| v.iter().flatten().copied());
    let lowest = all().fold(f64::INFINITY, f64::min);
    lowest.is_finite().then(|| (lowest, all().fold(f64::NEG_INFINITY, f64::max)))
}

/// A tick at every power of ten, or at every so many-th.
fn decades(range: (f64, f64), right: impl Fn(i32) -> String) -> Vec<(f64, String, String)> {
    let step = ((range.1 - range.0) / 16.0).ceil().max(1.0) as usize;
    let label = |k: i32| if k == 0 { "1".into() } else { format!("1e{k}") };
    (range.0 as i32..=range.1 as i32).step_by(step).map(|k| (f64::from(k), label(k), right(k))).collect()
}

/// The scale of ulps: at 2^−23·10^j, for the j within the range.
fn ulps(range: (f64, f64)) -> Vec<(f64, String)> {
    let one = -23.0 * 2f64.log10();
    let label = |j: i32| match j {
        0..=2 => 10u32.pow(j as u32).to_string(),
        _ => format!("1e{j}"),
    };
    let (from, to) = ((range.0 - one).ceil() as i32, (range.1 - one).floor() as i32);
    (from..=to).map(|j| (one + f64::from(j), label(j))).collect()
}

/// What stands under the charts over gradients.
fn names(c: &Certificate) -> Vec<String> {
    c.gradients.iter().map(|g| cell::name(&g.name)).collect()
}

/// The figures of the charts of detection limits and margins.
fn limits(c: &Certificate) -> Vec<LimitRow> {
    let row = |(i, g): (usize, &crate::certificate::Gradient)| {
        let others = g.detection.defaults.iter().map(|d| {
            let mut shown = cell::upper(d.limit);
            if d.blind {
                shown.text += " blind";
            }
            shown
        });
        LimitRow {
            number: i + 1,
            name: cell::name(&g.name),
            norm: cell::ends(g.spec_norm).0,
            limits: std::iter::once(cell::upper(g.detection.limit)).chain(others).collect(),
            margin: cell::upper_or_none(g.margin),
            mark: cell::mark(g.verdict),
        }
    };
    c.gradients.iter().enumerate().map(row).collect()
}

/// The figures of the first chart.
fn twin(c: &Certificate, present: &[Rung]) -> Vec<TwinRow> {
    let row = |(i, g): (usize, &crate::certificate::Gradient)| {
        let rung = |&r: &Rung| match g.bounds.get(r) {
            None => Cell::none(),
            Some(b) if b.abs.is_none() => Cell::plain("unbounded"),
            Some(b) => cell::upper_or_none(b.rel),
        };
        TwinRow {
            number: i + 1,
            name: cell::name(&g.name),
            observed: g.observed_rel.map_or_else(Cell::none, |e| cell::ends(e).1),
            rungs: present.iter().filter(|&&r| r != Rung::Direct).map(rung).collect(),
        }
    };
    c.gradients.iter().enumerate().map(row).collect()
}

/// A chart of correct digits along some axis.
fn digits(id: &'static str, title: &str, desc: &str, names: Vec<String>, values: Vec<Option<f64>>) -> Option<Drawn> {
    if values.is_empty() {
        return None;
    }
    let ticks = (0..=8).map(|k| (f64::from(k), k.to_string(), String::new())).collect();
    Some(Drawn {
        c: chart::lay_out(chart::Input {
            id,
            title: title.into(),
            desc: desc.into(),
            size: (WIDTH / 2.0 - 8.0, 300.0),
            left_title: "correct digits".into(),
            right_titles: ("", ""),
            range: (0.0, 8.0),
            ticks,
            outer: Vec::new(),
            references: vec![(ALL_DIGITS, "all that binary32 has".into())],
            names,
            series: vec![(0, title.into(), values)],
            bars: Vec::new(),
        }),
    })
}

fn forward_digits(c: &Certificate) -> Option<Drawn> {
    digits(
        "forward-digits",
        "Digits kept on the way forward",
        "Correct digits of each node's value, in the order of execution. The figures stand in the table of forward values.",
        c.forward.iter().map(|l| cell::name(&l.node)).collect(),
        c.forward.iter().map(|l| Some(l.correct_digits.get())).collect(),
    )
}

fn backward_digits(c: &Certificate) -> Option<Drawn> {
    digits(
        "backward-digits",
        "Digits of the gradients",
        "Correct digits of each gradient, in the model's order. The figures stand in the table of gradients.",
        names(c),
        c.gradients.iter().map(|g| Some(g.correct_digits.get())).collect(),
    )
}

/// How many gradients there are by margin, in decades; what has no error at all is in the lowest bin.
fn margins(c: &Certificate) -> Option<Drawn> {
    if c.gradients.is_empty() {
        return None;
    }
    // A decade (10^(k−1), 10^k], so that a margin of exactly 1 is on the passing side of the line.
    let decade = |m: f64| if m > 0.0 { (m.log10().ceil() as i32).clamp(-9, 6) } else { -9 };
    let all: Vec<i32> = c.gradients.iter().filter_map(|g| g.margin).map(|m| decade(m.get())).collect();
    let edge = |k: i32| match k {
        -2..=2 => decimal::full(10f64.powi(k)),
        _ => format!("1e{k}"),
    };
    let name = |&b: &i32| match b {
        -9 => "≤ 1e-9".to_string(),
        6 => "> 1e5".to_string(),
        _ => format!("{} – {}", edge(b - 1), edge(b)),
    };
    let lowest = all.iter().min().map_or(-2, |&d| d.min(-2));
    let highest = all.iter().max().map_or(1, |&d| d.max(1));
    let bins: Vec<i32> = (lowest..=highest).collect();
    let mut names: Vec<String> = bins.iter().map(name).collect();
    let mut counts: Vec<usize> = bins.iter().map(|b| all.iter().filter(|d| *d == b).count()).collect();
    let mut classes: Vec<&str> = bins.iter().map(|&b| if b <= 0 { "pass" } else { "fail" }).collect();
    // A limit of 0 has no margin: met exactly, or not at all.
    let none = || c.gradients.iter().filter(|g| g.margin.is_none());
    for (class, met) in [("pass", true), ("fail", false)] {
        let n = none().filter(|g| (g.observed.hi() == 0.0) == met).count();
        if n > 0 {
            names.push(if met { "T = 0, met".into() } else { "T = 0, not met".into() });
            counts.push(n);
            classes.push(class);
        }
    }
    let top = counts.iter().max().copied().unwrap_or(0).max(1);
    let step = top.div_ceil(5);
    let tick = |n: usize| (n as f64, cell::count(n as u64), String::new());
    let bar = |(&class, &n): (&&'static str, &usize)| {
        (class, n as f64, if n == 0 { String::new() } else { cell::count(n as u64) })
    };
    Some(Drawn {
        c: chart::lay_out(chart::Input {
            id: "margin-chart",
            title: "Gradients by margin (observed error ÷ limit)".into(),
            desc: "How many gradients there are in each decade of the margin, which is the highest observed error \
                   divided by the limit; those whose limit is 0 have none and stand apart. A margin up to 1 passes; bars with a broken outline are beyond the limit. Every margin \
                   stands in the table below the chart."
                .into(),
            size: (WIDTH, 260.0),
            left_title: "gradients".into(),
            right_titles: ("", ""),
            range: (0.0, top as f64 * 1.15),
            ticks: (0..=top).step_by(step).map(tick).collect(),
            outer: Vec::new(),
            references: Vec::new(),
            names,
            series: Vec::new(),
            bars: classes.iter().zip(&counts).map(bar).collect(),
        }),
    })
}
