//! The release checklist: questions a release engineer has to tick off, answered from the figures.

use super::rungs::{Covers, Standing};
use super::schema::{Certificate, CheckKind, ChecklistItem, InputSource, Status};

/// Every line, in the order in which it is shown.
pub(super) fn checklist(c: &Certificate) -> Vec<ChecklistItem> {
    vec![
        within_limits(c),
        agreement(c),
        bounds_hold(c),
        digits(c),
        tolerances(c),
        gates(c),
        precision(c),
        checks(c, CheckKind::Invariant, "invariants", "the graph and the two passes keep their invariants"),
        checks(c, CheckKind::Hypothesis, "hypotheses", "the hypotheses of the rounding model hold for this run"),
        checks(c, CheckKind::CrossCheck, "cross-checks", "independent computations agree"),
        checks(c, CheckKind::NegativeControl, "negative-controls", "planted defects are noticed"),
        inputs(c),
    ]
}

/// Does the model's verdict rest on this line? The others inform: a policy can make some of them count, and then
/// they count through the limits.
pub fn decides(id: &str) -> bool {
    ["within-limits", "agreement", "bounds-hold", "invariants", "hypotheses", "cross-checks", "negative-controls"]
        .contains(&id)
}

fn item(id: &str, text: &str, status: Status, evidence: String, section: &str) -> ChecklistItem {
    ChecklistItem { id: id.into(), text: text.into(), status, evidence, section: section.into() }
}

/// `pass` where nothing is bad, `not_applicable` where nothing is there.
fn none_bad(total: usize, bad: usize) -> Status {
    match (total, bad) {
        (0, _) => Status::NotApplicable,
        (_, 0) => Status::Pass,
        _ => Status::Fail,
    }
}

fn within_limits(c: &Certificate) -> ChecklistItem {
    let s = &c.summary;
    let status = match (s.gradients, s.fail, s.undecided) {
        (0, ..) => Status::NotApplicable,
        (_, 1.., _) => Status::Fail,
        (_, _, 1..) => Status::Undecided,
        _ => Status::Pass,
    };
    let mut evidence = format!("{} of {} within, {} beyond, {} undecided", s.pass, s.gradients, s.fail, s.undecided);
    if s.waived > 0 {
        evidence += &format!("; {} waived by the policy", s.waived);
    }
    item("within-limits", "every gradient is within its limit", status, evidence, "gradients")
}

fn agreement(c: &Certificate) -> ChecklistItem {
    let count = |s: Status| c.agreement.iter().filter(|a| a.verdict == s).count();
    let (bad, open) = (count(Status::Fail), count(Status::Undecided));
    let status = match (none_bad(c.agreement.len(), bad), open) {
        (Status::Pass, 1..) => Status::Undecided,
        (status, _) => status,
    };
    let evidence = match c.agreement.len() {
        0 => "the file states no gradients of its own".to_string(),
        n => format!("{} of {n} agree, {bad} differ, {open} undecided", n - bad - open),
    };
    item("agreement", "the file's own gradients are the derivatives of its forward part", status, evidence, "agreement")
}

fn bounds_hold(c: &Certificate) -> ChecklistItem {
    let sets = c.gradients.iter().map(|g| &g.bounds).chain(c.forward.iter().map(|l| &l.bounds));
    let compared: Vec<bool> = sets
        .chain(c.outputs.iter().map(|o| &o.bounds))
        .flat_map(|b| b.iter())
        .filter(|(_, b)| b.standing == Standing::Rigorous && b.observed.is_some())
        .map(|(_, b)| b.contradicted())
        .collect();
    let bad = compared.iter().filter(|&&b| b).count();
    let evidence = format!("{} bounds compared, {bad} contradicted", compared.len());
    let text = "every rigorous bound contains the error of the run that it covers";
    item("bounds-hold", text, none_bad(compared.len(), bad), evidence, "gradients")
}

fn digits(c: &Certificate) -> ChecklistItem {
    let some: Vec<_> = c.gradients.iter().filter(|g| g.spec_norm.lo() > 0.0).collect();
    let bad = some.iter().filter(|g| g.correct_digits.get() < 1.0).count();
    let evidence = format!(
        "{bad} of {} without a correct digit; {} more may be exactly 0",
        some.len(),
        c.gradients.len() - some.len()
    );
    let text = "every gradient known not to be 0 has a correct digit";
    item("digits", text, none_bad(some.len(), bad), evidence, "gradients")
}

fn tolerances(c: &Certificate) -> ChecklistItem {
    let covered = |g: &&super::Gradient| g.tolerance.covers == Some(Covers::EveryConformingRun);
    let good = c.gradients.iter().filter(covered).count();
    let evidence = format!("{good} of {} have one", c.gradients.len());
    let text = "every gradient has a rigorous tolerance for other runtimes that isn't vacuous";
    item("tolerances", text, none_bad(c.gradients.len(), c.gradients.len() - good), evidence, "gradients")
}

fn gates(c: &Certificate) -> ChecklistItem {
    let g = &c.gates;
    let status = match (g.total, g.unresolved) {
        (0, _) => Status::NotApplicable,
        (_, 0) => Status::Pass,
        _ => Status::Undecided,
    };
    let evidence = format!(
        "{} gates: {} unresolved, {} chosen otherwise by this run, {} undecided for other runtimes, {} exact ties",
        g.total, g.unresolved, g.differing, g.undecided, g.ties
    );
    item("gates", "every gate of the exact model is resolved", status, evidence, "gates")
}

fn precision(c: &Certificate) -> ChecklistItem {
    let p = &c.exact_pass;
    let status = if p.capped { Status::Undecided } else { Status::Pass };
    let evidence = format!("{} bits used, {} allowed", p.bits, p.cap);
    item("precision", "the exact pass decided below its precision cap", status, evidence, "exact-pass")
}

fn checks(c: &Certificate, kind: CheckKind, id: &str, text: &str) -> ChecklistItem {
    let count = |r: Status| c.checks.iter().filter(|k| k.kind == kind && k.result == r).count();
    let (pass, fail, undecided) = (count(Status::Pass), count(Status::Fail), count(Status::Undecided));
    let status = match (pass, fail, undecided) {
        (0, 0, 0) => Status::NotApplicable,
        (_, 0, 0) => Status::Pass,
        (_, 0, _) => Status::Undecided,
        _ => Status::Fail,
    };
    let evidence = match status {
        Status::NotApplicable => "none was run".to_string(),
        _ => format!("{} run: {pass} passed, {fail} failed, {undecided} undecided", pass + fail + undecided),
    };
    item(id, text, status, evidence, "checks")
}

fn inputs(c: &Certificate) -> ChecklistItem {
    let (status, evidence) = match c.inputs.source {
        InputSource::Synthetic => (Status::Fail, "pseudo-random numbers".to_string()),
        _ => (Status::Pass, "given by the user, identified by SHA-256".to_string()),
    };
    item("inputs", "the inputs are data, not random numbers", status, evidence, "inputs")
}
