//! `certify check MODEL --gradients G`.

use std::fmt::Write as _;

use super::args::{Check, ExtraArgs};
use super::files::{on_stdout, standard};
use super::progress::Spinner;
use super::{Exit, prepare, print, request, results, say};
use crate::certificate::{Enclosure, Status, decimal};
use crate::error::printable;
use crate::gate::check::TensorCheck;
use crate::gate::constants::Reading;
use crate::gate::outputs::Findings;
use crate::gate::{self, Checked, Rename, tensors};
use crate::session::Failure;

pub(super) fn run(args: &Check) -> Result<Exit, Failure> {
    let renames: Vec<Rename> =
        args.renames.iter().map(|(from, to)| Rename { from: from.clone(), to: to.clone() }).collect();
    prepare(&args.run)?;
    let mut places = args.results.places();
    places.extend(args.json.as_deref().map(|p| ("--json", standard(p))));
    results::check(&places, &args.graph)?;
    let request = request::of(&args.graph, ExtraArgs::default(), args.policy.as_deref())?;
    let given = tensors::read(&args.gradients, &renames)?;
    let spinner = Spinner::new(&args.run);
    let checked = gate::check(&request, &given, args.constants, &spinner)?;
    drop(spinner);
    let mut files = args.results.contents(&Findings::from(&checked));
    files.extend(args.json.as_deref().map(|p| (standard(p), results::document(&checked, args.canonical))));
    results::write(&files)?;
    if !args.run.quiet {
        for w in &checked.warnings {
            say(&format!("warning: {}\n", printable(w)));
        }
    }
    if on_stdout(&files) {
        say(&text(&checked))
    } else {
        print(&text(&checked))?
    }
    Ok(if checked.verdict == Status::Pass { Exit::Good } else { Exit::NotCertified })
}

/// Tensors that are listed one by one.
const LISTED: usize = 20;

/// The gradient that is closest to its limit, or furthest beyond it; `None` where one fails that has no error, as it
/// is missing or not finite.
fn worst(c: &Checked) -> Option<&TensorCheck> {
    if c.tensors.iter().any(|t| t.verdict == Status::Fail && t.observed.is_none()) {
        return None;
    }
    let beyond = |t: &TensorCheck| t.observed.filter(|o| o.hi() > 0.0).map_or(0.0, |o| o.hi() / t.limit.get());
    // The first of equals.
    c.tensors.iter().rev().filter(|t| t.observed.is_some()).max_by(|a, b| beyond(a).total_cmp(&beyond(b)))
}

/// The error: absolutely, in units of ‖g‖∞ and in digits, with the limit.
fn figures(t: &TensorCheck) -> String {
    let ends = |o: Enclosure| format!("[{}, {}]", decimal::down(o.lo(), 3), decimal::up(o.hi(), 3));
    let Some(o) = t.observed else { return String::new() };
    let rel = t.observed_rel.map_or_else(String::new, |r| format!(" = {} of ‖g‖∞", ends(r)));
    let digits = decimal::full(t.correct_digits.get());
    format!(": error in {}{rel}, {digits} correct digits, limit {}", ends(o), decimal::down(t.limit.get(), 3))
}

/// How constants were read: a line for each number, with where it stands first.
fn constants(c: &Checked) -> String {
    let mut out = String::new();
    let first = |r: &&Reading| c.readings.iter().find(|o| o.held == r.held).is_some_and(|o| o.at == r.at);
    let numbers: Vec<_> = c.readings.iter().filter(first).collect();
    for r in numbers.iter().take(LISTED) {
        let (held, more) = (decimal::full(r.held.0.get()), c.readings.iter().filter(|o| o.held == r.held).count() - 1);
        let at = match more {
            0 => printable(&r.at).to_string(),
            n => format!("{} and {n} more", printable(&r.at)),
        };
        let _ = match &r.read {
            Some(read) => writeln!(out, "constant     {held} is read as {read} ({at})"),
            None => writeln!(out, "constant     {held} is kept: nothing known rounds to it ({at})"),
        };
    }
    if numbers.len() > LISTED {
        let _ = writeln!(out, "             and {} more", numbers.len() - LISTED);
    }
    out
}

/// The result in words: what doesn't pass, with its causes, and counts.
fn text(c: &Checked) -> String {
    let mut out = String::new();
    let verdict = match c.verdict {
        Status::Pass => "pass",
        Status::Fail => "FAIL",
        _ => "undecided",
    };
    let _ =
        writeln!(out, "verdict      {verdict}: {} against {}", printable(&c.gradients.file), printable(&c.model.file));
    let s = &c.summary;
    let mut counts = format!("{} of {} pass, {} fail, {} undecided", s.pass, s.gradients, s.fail, s.undecided);
    for (n, what) in [(s.missing, "missing"), (s.waived, "waived")] {
        if n > 0 {
            let _ = write!(counts, ", {n} {what}");
        }
    }
    let _ = writeln!(out, "gradients    {counts}");
    let rule = &c.decision_rule;
    let _ = writeln!(
        out,
        "policy       {}: error ≤ T = {} · max(‖g‖∞, {} · the largest ‖g‖∞){}",
        printable(&rule.policy),
        decimal::full(rule.max_rel.get()),
        decimal::full(rule.floor.get()),
        if rule.limits.is_empty() { "" } else { ", or as its rules say" }
    );
    out.push_str(&constants(c));
    if let Some(t) = worst(c) {
        let _ = writeln!(out, "worst        \"{}\"{}", printable(&t.name), figures(t));
    }
    let bad: Vec<_> = c.tensors.iter().filter(|t| t.verdict != Status::Pass).collect();
    for t in bad.iter().take(LISTED) {
        let word = if t.verdict == Status::Fail { "fail" } else { "undecided" };
        let _ = writeln!(out, "{word:<13}\"{}\" ({}){}", printable(&t.name), printable(&t.op), figures(t));
        for cause in &t.causes {
            let _ = writeln!(out, "             {}", printable(&cause.text));
        }
        if let Some(w) = &t.waiver {
            let _ = writeln!(out, "             {}", printable(w));
        }
    }
    if bad.len() > LISTED {
        let _ = writeln!(out, "             and {} more", bad.len() - LISTED);
    }
    for h in &c.hints {
        let _ = writeln!(out, "likely       {}", printable(&h.text));
    }
    if let Some(e) = &c.entry {
        let _ = writeln!(out, "entry        {}", printable(e));
    }
    for e in c.extra.iter().take(LISTED) {
        let _ = writeln!(out, "extra        \"{}\": {}", printable(&e.name), printable(&e.cause));
    }
    for t in c.tensors.iter().filter(|t| t.verdict == Status::Pass && !t.causes.is_empty()).take(LISTED) {
        let _ = writeln!(out, "note         \"{}\": {}", printable(&t.name), printable(&t.causes[0].text));
    }
    out
}
