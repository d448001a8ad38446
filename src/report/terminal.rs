//! The same verdict in a few lines, for the terminal.

use super::cell;
use crate::certificate::{Certificate, Covers, Gradient, InputSource, ModelVerdict, Status};

/// Warnings shown before the rest is only counted.
const WARNINGS: usize = 3;

/// The verdict with its main figures: plain text without colours, 15 lines at most, with a final
/// newline.
pub fn terminal(c: &Certificate) -> String {
    let s = &c.summary;
    let word = match c.verdict {
        ModelVerdict::Certified => "certified",
        ModelVerdict::NotCertified => "not certified",
        ModelVerdict::Undecided => "undecided",
    };
    let inputs = match (&c.inputs.file, c.inputs.source) {
        (_, InputSource::Synthetic) => {
            let seed = c.inputs.random_seed.as_deref().map_or_else(|| "unknown".into(), cell::name);
            format!("SYNTHETIC (seed {seed}): nothing is shown about real data")
        }
        (Some(f), _) => cell::name(f),
        (None, _) => "given".into(),
    };
    let digits = s.min_correct_digits.map_or_else(|| "–".into(), cell::digits);
    let covered = |g: &&Gradient| g.tolerance.covers == Some(Covers::EveryConformingRun);
    let mut lines = vec![
        format!("{}: {word}", cell::name(&c.model.file)),
        format!("  gradients   {} of {} pass, {} fail, {} undecided", s.pass, s.gradients, s.fail, s.undecided),
        format!("  inputs      {inputs}"),
        format!("  digits      at least {digits} correct in every gradient above the floor"),
    ];
    if let Some(g) = worst(c) {
        lines.push(format!(
            "  worst       {}: error at most {}, limit {}, {} digits",
            cell::name(&g.name),
            cell::ends(g.observed).1.text,
            cell::lower(g.limit).text,
            cell::digits(g.correct_digits)
        ));
    }
    lines.push(format!(
        "  tolerances  {} of {} gradients have a rigorous one for other runtimes",
        c.gradients.iter().filter(covered).count(),
        s.gradients
    ));
    lines.push(format!("  gates       {}, {} undecided for other runtimes", c.gates.total, c.gates.undecided));
    lines.push(format!("  exact pass  {} bits", c.exact_pass.bits));
    let failed: Vec<String> =
        c.checks.iter().filter(|k| k.result == Status::Fail).map(|k| cell::name(&k.name)).collect();
    if !failed.is_empty() {
        lines.push(format!("  FAILED      {} checks of this tool: {}", failed.len(), failed.join(", ")));
    }
    for w in c.warnings.iter().take(WARNINGS) {
        lines.push(format!("  warning     {}", cell::prose(w)));
    }
    if c.warnings.len() > WARNINGS {
        lines.push(format!("  warning     {} more in the report", c.warnings.len() - WARNINGS));
    }
    match s.warned {
        0 => {}
        1 => lines.push("  warning     1 gradient carries one, see the report".into()),
        n => lines.push(format!("  warning     {n} gradients carry one, see the report")),
    }
    lines.join("\n") + "\n"
}

/// The gradient nearest to its limit, or furthest beyond it.
fn worst(c: &Certificate) -> Option<&Gradient> {
    c.gradients.iter().max_by(|a, b| {
        let key = |g: &Gradient| g.margin.map_or(0.0, crate::certificate::Num::get);
        // The first among equals.
        key(a).total_cmp(&key(b)).then(std::cmp::Ordering::Greater)
    })
}
