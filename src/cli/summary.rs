//! What the terminal says about a certificate, in at most fifteen lines.

use std::fmt::Write as _;

use crate::certificate::{
    Bound, Certificate, Covers, Gradient, GradientSource, InputSource, ModelVerdict, Num, Rung, Standing, Status,
    decimal,
};
use crate::error::printable;

/// The rungs that take the derivative first.
const CHAIN: [Rung; 3] = [Rung::ChainPortable, Rung::ChainSchedule, Rung::ChainRun];

/// Rungs told of, so that the lines stay few.
const MOST_RUNGS: usize = 5;

/// Verdict, rule, counts, the worst gradient, the rungs, warnings, and where the files lie.
pub(super) fn of(c: &Certificate, places: &[(&'static str, String)]) -> String {
    let mut text = String::new();
    let mut line = |key: &str, value: String| {
        let _ = writeln!(text, "{key:<15}{value}");
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
    for (rung, what) in rungs(c) {
        line(rung.name(), what);
    }
    let derived = c.gradient_source == GradientSource::Derived;
    if derived && !c.gradients.iter().any(|g| CHAIN.iter().any(|r| g.bounds.get(*r).is_some())) {
        line("chain", "no chain rungs; --chain probes asks for estimates, at any cost".into());
    }
    let count = |r: Status| c.checks.iter().filter(|k| k.result == r).count();
    let asked = c.checks.len() - count(Status::NotApplicable);
    line("checks", format!("{} of {asked} pass, {} fail", count(Status::Pass), count(Status::Fail)));
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

/// What the rungs say: for which runs, and how far above the observed error. Where there are many,
/// the tightest ones, one of every conforming run among them. `direct` is left out: it is the error itself.
fn rungs(c: &Certificate) -> Vec<(Rung, String)> {
    let computed = Rung::ALL.into_iter().filter(|r| *r != Rung::Direct);
    let mut told: Vec<(Rung, Vec<&Bound>)> = computed
        .map(|r| (r, c.gradients.iter().filter_map(|g| g.bounds.get(r)).collect()))
        .filter(|(_, bounds): &(_, Vec<_>)| !bounds.is_empty())
        .collect();
    told.sort_by(|a, b| tightest(&a.1).total_cmp(&tightest(&b.1)));
    let of_every_run = |(r, _): &(Rung, Vec<&Bound>)| r.covers() == Covers::EveryConformingRun;
    if let Some(first) = told.iter().position(of_every_run).filter(|&first| first >= MOST_RUNGS) {
        told.swap(first, MOST_RUNGS - 1);
    }
    told.truncate(MOST_RUNGS);
    told.sort_by_key(|(r, _)| *r);
    told.into_iter().map(|(r, bounds)| (r, tell(r, &bounds, c.gradients.len()))).collect()
}

fn looseness<'a>(bounds: &'a [&Bound]) -> impl Iterator<Item = f64> + 'a {
    bounds.iter().filter_map(|b| b.looseness.map(Num::get))
}

fn tightest(bounds: &[&Bound]) -> f64 {
    looseness(bounds).fold(f64::INFINITY, f64::min)
}

fn tell(rung: Rung, bounds: &[&Bound], gradients: usize) -> String {
    let mut text = match rung.covers() {
        Covers::ReferenceRun => "the reference run",
        Covers::EveryConformingRun => "every conforming run",
        Covers::ThisRun => "this run",
        Covers::IndependentRoundings => "independent roundings",
    }
    .to_string();
    let weakest = bounds.iter().map(|b| b.standing).max();
    match weakest {
        Some(Standing::FirstOrder) => text += " (first order)",
        Some(Standing::Statistical) => text += " (statistical)",
        _ => {}
    }
    let (least, most) = (tightest(bounds), looseness(bounds).fold(0.0, f64::max));
    if least <= most {
        let _ = write!(text, ": {} to {} times the error", decimal::up(least, 2), decimal::up(most, 2));
    }
    let vacuous = bounds.iter().filter(|b| b.vacuous).count();
    if vacuous > 0 {
        let _ = write!(text, ", vacuous on {vacuous} of {gradients}");
    }
    if bounds.len() < gradients {
        let _ = write!(text, ", not known for {} of {gradients}", gradients - bounds.len());
    }
    text
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
        for want in [
            "verdict        certified: ",
            "pass, 0 fail",
            "T = 1e-3 · max",
            "worst ",
            "every conforming run: ",
            "r.json",
        ] {
            assert!(text.contains(want), "{want} in\n{text}");
        }
    }
}
