//! What the terminal says about a certificate, in at most fifteen lines.

use std::fmt::Write as _;

use crate::certificate::{Certificate, Covers, Gradient, InputSource, ModelVerdict, Rung, Standing, Status, decimal};
use crate::error::printable;

/// Verdict, rule, counts, the worst gradient, the rungs, warnings, and where the files lie.
pub(super) fn of(c: &Certificate, places: &[(&'static str, String)]) -> String {
    let mut text = String::new();
    let mut line = |key: &str, value: String| {
        let _ = writeln!(text, "{key:<13}{value}");
    };
    let verdict = match c.verdict {
        ModelVerdict::Certified => "certified",
        ModelVerdict::NotCertified => "not certified",
        ModelVerdict::Undecided => "undecided",
    };
    line("verdict", format!("{verdict}: {}", printable(&c.model.file)));
    if c.inputs.source == InputSource::Synthetic {
        let seed = c.inputs.random_seed.as_deref().unwrap_or("?");
        line("inputs", format!("SYNTHETIC, seed {seed}: nothing is said about real data"));
    }
    let s = &c.summary;
    line("gradients", format!("{} of {} pass, {} fail, {} undecided", s.pass, s.gradients, s.fail, s.undecided));
    if !c.agreement.is_empty() {
        let agreed = c.agreement.iter().filter(|a| a.verdict == Status::Pass).count();
        let wrong = c.agreement.iter().find_map(|a| a.wrong_node.as_ref().filter(|_| a.verdict == Status::Fail));
        let place = wrong
            .map_or(String::new(), |w| format!("; first wrong node \"{}\" ({})", printable(&w.node), printable(&w.op)));
        line(
            "agreement",
            format!("{agreed} of {} of the file's gradients are the derivatives{place}", c.agreement.len()),
        );
    }
    let rule = &c.decision_rule;
    let (rel, floor) = (decimal::full(rule.max_rel.get()), decimal::full(rule.floor.get()));
    line("rule", format!("observed error ≤ T = {rel} · max(‖g‖∞, {floor} · the largest ‖g‖∞)"));
    if let Some(g) = worst(c) {
        line("worst", describe(g));
    }
    if let Some((end, rung, x)) = loosenesses(c).into_iter().min_by(|a, b| a.2.total_cmp(&b.2)) {
        line("tightest", rung_line(end, rung, x));
    }
    if let Some((end, rung, x)) = loosenesses(c).into_iter().max_by(|a, b| a.2.total_cmp(&b.2)) {
        line("loosest", rung_line(end, rung, x));
    }
    let vacuous = vacuous(c);
    if !vacuous.is_empty() {
        line("vacuous", vacuous);
    }
    let failed = c.checks.iter().filter(|k| k.result == Status::Fail).count();
    line("checks", format!("{} of {} pass", c.checks.len() - failed, c.checks.len()));
    let own: usize = c.gradients.iter().map(|g| g.warnings.len()).sum();
    line("warnings", format!("{} on the model, {own} on gradients", c.warnings.len()));
    for (what, place) in places {
        line(what, printable(place));
    }
    if places.is_empty() {
        line("files", "none: --report FILE.html and --certificate FILE.json keep the result".into());
    }
    text
}

/// The gradient closest to its limit, or furthest beyond it.
fn worst(c: &Certificate) -> Option<&Gradient> {
    let badness = |g: &Gradient| match g.margin {
        Some(m) => m.get(),
        None if g.observed.hi() > 0.0 => f64::INFINITY,
        None => 0.0,
    };
    // The first of equals.
    c.gradients.iter().rev().max_by(|a, b| badness(a).total_cmp(&badness(b)))
}

fn describe(g: &Gradient) -> String {
    format!(
        "\"{}\": error ≤ {}, limit {}, {} correct digits",
        printable(&g.name),
        decimal::up(g.observed.hi(), 3),
        decimal::down(g.limit.get(), 3),
        decimal::full(g.correct_digits.get())
    )
}

/// Bound ÷ error of all rigorous composed rungs; `direct` is the error itself.
fn loosenesses(c: &Certificate) -> Vec<(&str, Rung, f64)> {
    let of = |g: &'_ Gradient| -> Vec<(Rung, f64)> {
        let rigorous = g.bounds.iter().filter(|(r, b)| *r != Rung::Direct && b.standing == Standing::Rigorous);
        rigorous.filter_map(|(r, b)| b.looseness.map(|x| (r, x.get()))).collect()
    };
    c.gradients.iter().flat_map(|g| of(g).into_iter().map(|(r, x)| (g.name.as_str(), r, x))).collect()
}

fn rung_line(name: &str, rung: Rung, looseness: f64) -> String {
    let covers = match rung.covers() {
        Covers::ReferenceRun => "the reference run",
        Covers::EveryConformingRun => "every conforming run",
        Covers::ThisRun => "this run",
        Covers::IndependentRoundings => "independent roundings",
    };
    let up = decimal::up(looseness, 3);
    format!("{} ({covers}) on \"{}\": {up} times the observed error", rung.name(), printable(name))
}

/// On how many gradients each rung says nothing.
fn vacuous(c: &Certificate) -> String {
    let count = |r: Rung| c.gradients.iter().filter_map(|g| g.bounds.get(r)).filter(|b| b.vacuous).count();
    let said: Vec<String> = Rung::ALL
        .into_iter()
        .filter(|r| *r != Rung::Direct && count(*r) > 0)
        .map(|r| format!("{} on {} of {}", r.name(), count(r), c.gradients.len()))
        .collect();
    said.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::example;

    #[test]
    fn the_summary_is_short_and_says_what_matters() {
        let c = example::certified();
        let places = [("report", "r.html".into()), ("certificate", "r.json".into()), ("dump", "d".to_string())];
        let text = of(&c, &places);
        assert!(text.lines().count() <= 15, "{text}");
        for want in ["verdict      certified: ", "pass, 0 fail", "T = 0.001 · max", "worst ", "tightest ", "r.json"] {
            assert!(text.contains(want), "{want} in\n{text}");
        }
    }
}
