//! Which charts there are, and their twins as tables.

use askama::Template;

use super::cell::{self, Cell};
use super::chart::{self, Chart};
use super::gradients::{rung_name, rungs};
use crate::certificate::{Certificate, Num, Rung};

/// Width of the page's column, in CSS pixels.
const WIDTH: f64 = 1180.0;
/// −log10 of the unit roundoff 2^−24: no more digits are to be had from binary32.
const ALL_DIGITS: f64 = 7.22;

/// The charts.
#[derive(Template)]
#[template(path = "report/charts.html")]
pub(super) struct Charts {
    errors: Option<Drawn>,
    left_out: String,
    heads: Vec<&'static str>,
    twin: Vec<TwinRow>,
    digits: Vec<Drawn>,
    depth: Vec<DepthRow>,
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
    lo: Cell,
    hi: Cell,
    rungs: Vec<Cell>,
}

/// A row of the second chart's twin.
struct DepthRow {
    number: usize,
    name: String,
    digits: String,
}

pub(super) fn charts(c: &Certificate) -> Charts {
    let (present, _) = rungs(c);
    let left_out = c.gradients.iter().filter(|g| g.observed_rel.is_none()).count();
    let depth = c.forward.iter().enumerate();
    Charts {
        errors: errors(c, &present),
        left_out: if left_out == 0 { String::new() } else { cell::count(left_out as u64) },
        heads: present.iter().filter(|&&r| r != Rung::Direct).map(|&r| rung_name(r)).collect(),
        twin: twin(c, &present),
        digits: [forward_digits(c), backward_digits(c)].into_iter().flatten().collect(),
        depth: depth
            .map(|(i, l)| DepthRow {
                number: i + 1,
                name: format!("{} ({})", cell::name(&l.node), cell::name(&l.op)),
                digits: cell::digits(l.correct_digits),
            })
            .collect(),
    }
}

/// log10 of a positive figure.
fn log(x: f64) -> Option<f64> {
    (x > 0.0).then(|| x.log10())
}

/// Error and rungs of every gradient in units of its ‖g‖∞, on a logarithmic axis.
fn errors(c: &Certificate, present: &[Rung]) -> Option<Drawn> {
    let observed: Vec<Option<f64>> = c.gradients.iter().map(|g| g.observed_rel.and_then(|e| log(e.hi()))).collect();
    let mut series = vec![(0, "observed".to_string(), observed)];
    for &r in present.iter().filter(|&&r| r != Rung::Direct) {
        let values = c.gradients.iter().map(|g| g.bounds.get(r).and_then(|b| b.rel).map(Num::get).and_then(log));
        series.push((1 + r as usize, rung_name(r).to_string(), values.collect()));
    }
    let all = || series.iter().flat_map(|(_, _, v)| v.iter().flatten().copied());
    let lowest = all().fold(f64::INFINITY, f64::min);
    if !lowest.is_finite() {
        return None;
    }
    // At least down to u and up to 1; wild bounds leave the scale.
    let range = (lowest.floor().clamp(-18.0, -8.0), all().fold(0.0, f64::max).ceil().clamp(1.0, 4.0));
    let ticks = (range.0 as i32..=range.1 as i32)
        .map(|k| {
            let digits = if k <= 0 { (-k).to_string() } else { String::new() };
            (f64::from(k), if k == 0 { "1".into() } else { format!("1e{k}") }, digits)
        })
        .collect();
    let references = vec![
        (0.0, "‖g‖∞: a bound above this line is vacuous".to_string()),
        (c.decision_rule.max_rel.get().log10(), "limit for gradients above the floor".to_string()),
        (-ALL_DIGITS, "u: half an ulp".to_string()),
    ];
    Some(Drawn {
        c: chart::lay_out(chart::Input {
            id: "error-chart",
            title: "Observed error and bounds by gradient".into(),
            desc: "Every gradient's observed error and each rung's bound, in units of its largest exact entry, on a \
                   logarithmic axis; on the right the correct digits that each height leaves. The figures stand in \
                   the table below the chart."
                .into(),
            size: (WIDTH, 470.0),
            left_title: "error ÷ ‖g‖∞".into(),
            right_title: "correct digits".into(),
            range,
            ticks,
            references,
            names: c.gradients.iter().map(|g| cell::name(&g.name)).collect(),
            series,
        }),
    })
}

/// The figures of the first chart.
fn twin(c: &Certificate, present: &[Rung]) -> Vec<TwinRow> {
    let row = |(i, g): (usize, &crate::certificate::Gradient)| {
        let (lo, hi) = g.observed_rel.map_or_else(|| (Cell::none(), Cell::none()), cell::ends);
        let rung = |&r: &Rung| match g.bounds.get(r) {
            None => Cell::none(),
            Some(b) if b.abs.is_none() => Cell::plain("unbounded"),
            Some(b) => cell::upper_or_none(b.rel),
        };
        TwinRow {
            number: i + 1,
            name: cell::name(&g.name),
            lo,
            hi,
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
            right_title: String::new(),
            range: (0.0, 8.0),
            ticks,
            references: vec![(ALL_DIGITS, "all that binary32 has".into())],
            names,
            series: vec![(0, title.into(), values)],
        }),
    })
}

fn forward_digits(c: &Certificate) -> Option<Drawn> {
    digits(
        "forward-digits",
        "Digits kept on the way forward",
        "Correct digits of each node's value, in the order of execution. The figures stand in the table below.",
        c.forward.iter().map(|l| cell::name(&l.node)).collect(),
        c.forward.iter().map(|l| Some(l.correct_digits.get())).collect(),
    )
}

fn backward_digits(c: &Certificate) -> Option<Drawn> {
    digits(
        "backward-digits",
        "Digits of the gradients",
        "Correct digits of each gradient, in the model's order. The figures stand in the table of gradients.",
        c.gradients.iter().map(|g| cell::name(&g.name)).collect(),
        c.gradients.iter().map(|g| Some(g.correct_digits.get())).collect(),
    )
}
