//! The head of the report: verdict, scope, checklist.

use askama::Template;

use super::cell::{self, Mark};
use super::gradients::rung_name;
use crate::certificate::{Certificate, Gradient, InputSource, LimitRule, ModelVerdict, Num, Status, Waiver, checklist};

/// Verdict and decision rule.
#[derive(Template)]
#[template(path = "report/verdict.html")]
pub(super) struct Verdict {
    mark: Mark,
    model: String,
    sentence: String,
    rule: String,
    policy: String,
    asked: Vec<Asked>,
    waivers: Vec<Waived>,
    /// The day on which the waivers were judged.
    judged: String,
    tiles: Vec<Tile>,
    synthetic: Option<String>,
    warnings: Vec<String>,
    notes: Vec<String>,
    date: Option<String>,
    tool: String,
}

/// What the policy asks of some gradients.
struct Asked {
    pattern: String,
    what: String,
}

/// A failure that the policy accepts for a while.
struct Waived {
    pattern: String,
    reason: String,
    expires: String,
}

/// A rule of the policy in words.
fn asked(r: &LimitRule) -> Asked {
    let figure = |x: Num| cell::exact(x).text;
    let parts = [
        r.max_rel.map(|x| format!("error ≤ {} · max(‖g‖∞, floor)", figure(x))),
        r.max_abs.map(|x| format!("error ≤ {}", figure(x))),
        r.min_correct_digits.map(|x| format!("at least {} correct digits", figure(x))),
        r.max_undecided_gates.map(|n| format!("at most {} undecided gates", cell::count(n))),
        r.forbid_vacuous.filter(|&yes| yes).map(|_| "a bound for other runtimes that isn’t vacuous".into()),
        r.require_rung.map(|r| format!("a finite, rigorous {} bound", rung_name(r))),
    ];
    Asked { pattern: cell::name(&r.pattern), what: parts.into_iter().flatten().collect::<Vec<_>>().join("; ") }
}

/// A key figure.
struct Tile {
    figure: String,
    unit: String,
    text: &'static str,
}

pub(super) fn verdict(c: &Certificate) -> Verdict {
    let s = &c.summary;
    let mark = match c.verdict {
        ModelVerdict::Certified => Mark { class: "pass", word: "Certified" },
        ModelVerdict::NotCertified => Mark { class: "fail", word: "Not certified" },
        ModelVerdict::Undecided => Mark { class: "open", word: "Undecided" },
    };
    let tiles = vec![
        Tile {
            figure: cell::count(s.pass),
            unit: format!("of {}", cell::count(s.gradients)),
            text: "gradients within their limits",
        },
        Tile {
            figure: s.min_correct_digits.map_or_else(|| "–".into(), cell::digits),
            unit: "digits".into(),
            text: if c.decision_rule.floor.get() > 0.0 {
                "correct at least, in every gradient above the floor"
            } else {
                "correct at least, in every gradient known not to be 0"
            },
        },
        Tile { figure: cell::count(s.warned), unit: String::new(), text: "gradients with a warning" },
        Tile { figure: cell::count(c.exact_pass.bits), unit: "bits".into(), text: "precision of the exact pass" },
    ];
    Verdict {
        mark,
        model: cell::name(&c.model.file),
        sentence: reasons(c),
        rule: sentence_case(&c.decision_rule.text),
        policy: cell::name(&c.decision_rule.policy),
        asked: c.decision_rule.limits.iter().map(asked).collect(),
        waivers: c.decision_rule.waivers.iter().map(waived).collect(),
        judged: c.decision_rule.waivers_judged_on.as_deref().map_or_else(String::new, cell::name),
        tiles,
        synthetic: synthetic(c),
        warnings: c.warnings.iter().map(|w| cell::name(w)).collect(),
        notes: c.notes.iter().map(|n| cell::name(n)).collect(),
        date: c.date.as_deref().map(cell::name),
        tool: format!("{} {}", cell::name(&c.tool.name), cell::name(&c.tool.version)),
    }
}

fn waived(w: &Waiver) -> Waived {
    Waived { pattern: cell::name(&w.pattern), reason: cell::prose(&w.reason), expires: cell::name(&w.expires) }
}

/// What the verdict comes from, in one or a few sentences.
fn reasons(c: &Certificate) -> String {
    let count = |yes: &dyn Fn(&&Gradient) -> bool| c.gradients.iter().filter(yes).count() as u64;
    let of = |n: u64, one: &str, more: &str| match (n, c.gradients.len()) {
        (1, 1) => format!("The gradient {one}."),
        (n, all) if n == all as u64 => format!("All {} gradients {more}.", cell::count(n)),
        (1, all) => format!("1 of {} gradients {one}.", cell::count(all as u64)),
        (n, all) => format!("{} of {} gradients {more}.", cell::count(n), cell::count(all as u64)),
    };
    let status = |g: &Gradient, s: Status| g.verdict == s && g.waiver.is_none();
    let beyond = count(&|g| status(g, Status::Fail) && g.breaches.is_empty());
    let breaches = count(&|g| status(g, Status::Fail) && !g.breaches.is_empty());
    let undecided = count(&|g| status(g, Status::Undecided));
    let waived = count(&|g| g.waiver.is_some());
    let wrong = c.agreement.iter().filter(|a| a.verdict == Status::Fail).count() as u64;
    let unknown = c.agreement.iter().filter(|a| a.verdict == Status::Undecided).count() as u64;
    let failed = c.checks.iter().filter(|k| k.result == Status::Fail).count() as u64;
    let mut told = Vec::new();
    if beyond > 0 {
        told.push(of(beyond, "exceeds its limit", "exceed their limits"));
    }
    if breaches > 0 {
        told.push(of(breaches, "doesn’t keep what the policy asks of it", "don’t keep what the policy asks of them"));
    }
    if wrong > 0 {
        let verb = if wrong == 1 { "is not the derivative" } else { "are not the derivatives" };
        told.push(format!("Of the file’s own gradients, {} {verb}.", cell::count(wrong)));
    }
    if undecided > 0 {
        told.push(of(undecided, "is undecided", "are undecided"));
    }
    if unknown > 0 {
        let verb = if unknown == 1 { "is" } else { "are" };
        told.push(format!("Of the file’s own gradients, {} {verb} undecided.", cell::count(unknown)));
    }
    if failed > 0 {
        told.push(format!("Of this tool’s own checks, {} failed.", cell::count(failed)));
    }
    if told.is_empty() && c.summary.pass > 0 {
        told.push(of(c.summary.pass, "is within its limit", "are within their limits"));
    }
    if c.gradients.is_empty() {
        told.push("There is no gradient to certify.".into());
    }
    if waived > 0 {
        told.push(of(waived, "is not, which the policy waives", "are not, which the policy waives"));
    }
    told.join(" ")
}

/// The warning shown in red where the inputs are no data.
fn synthetic(c: &Certificate) -> Option<String> {
    (c.inputs.source == InputSource::Synthetic).then(|| {
        let seed = c.inputs.random_seed.as_deref().map_or_else(|| "unknown".into(), cell::name);
        format!("Synthetic inputs (random seed {seed}): nothing is shown about real data.")
    })
}

/// A text of the certificate as a sentence: capital and full stop. It may be long.
pub(super) fn sentence_case(s: &str) -> String {
    let mut chars = s.chars();
    let first: String = chars.next().into_iter().flat_map(char::to_uppercase).collect();
    let mut out = cell::prose(&format!("{first}{}", chars.as_str()));
    if !out.ends_with('.') {
        out.push('.');
    }
    out
}

/// What is shown, and what isn't.
#[derive(Template)]
#[template(path = "report/scope.html")]
pub(super) struct Scope {
    inputs: String,
    inputs_hash: String,
    model: String,
    model_hash: String,
    outputs: String,
    region: Option<String>,
    adversary: Option<u64>,
    tensors: Vec<Tensor>,
    seeds: Vec<Seed>,
    losses: Vec<Loss>,
    synthetic: Option<String>,
}

struct Tensor {
    name: String,
    shape: String,
    dtype: String,
}

struct Seed {
    output: String,
    value: String,
    hash: String,
}

struct Loss {
    output: String,
    runtime: cell::Cell,
    hex: String,
    spec: cell::Cell,
}

pub(super) fn scope(c: &Certificate) -> Scope {
    let inputs = match (&c.inputs.file, c.inputs.source) {
        (_, InputSource::Synthetic) => "the synthetic inputs".to_string(),
        (Some(f), _) => format!("the inputs in “{}”", cell::name(f)),
        (None, _) => "the inputs".to_string(),
    };
    let quoted: Vec<String> = c.seed.iter().map(|s| format!("“{}”", cell::name(&s.output))).collect();
    Scope {
        inputs,
        inputs_hash: cell::name(&c.inputs.sha256),
        model: cell::name(&c.model.file),
        model_hash: cell::name(&c.model.sha256),
        outputs: if quoted.is_empty() { "the outputs".into() } else { quoted.join(", ") },
        region: c.region.map(|r| cell::upper(r.radius).full),
        adversary: c.adversary.as_ref().map(|a| a.runs),
        tensors: c
            .inputs
            .tensors
            .iter()
            .map(|t| Tensor { name: cell::name(&t.name), shape: cell::shape(&t.shape), dtype: cell::name(&t.dtype) })
            .collect(),
        seeds: c
            .seed
            .iter()
            .map(|s| Seed {
                output: cell::name(&s.output),
                value: cell::name(&s.value),
                hash: s.sha256.as_deref().map_or_else(|| "–".into(), cell::name),
            })
            .collect(),
        losses: c
            .loss
            .iter()
            .map(|l| Loss {
                output: cell::name(&l.output),
                runtime: cell::exact(l.runtime.0),
                hex: l.runtime.0.hex(),
                spec: cell::interval(l.spec),
            })
            .collect(),
        synthetic: synthetic(c),
    }
}

/// The release checklist.
#[derive(Template)]
#[template(path = "report/checklist.html")]
pub(super) struct Checklist {
    lines: Vec<Line>,
}

struct Line {
    id: String,
    text: String,
    mark: Mark,
    evidence: String,
    section: String,
    /// Does the verdict rest on it?
    counts: &'static str,
}

pub(super) fn checklist(c: &Certificate) -> Checklist {
    let line = |i: &crate::certificate::ChecklistItem| Line {
        id: anchor(&i.id),
        text: sentence_case(&i.text),
        mark: cell::mark(i.status),
        evidence: cell::name(&i.evidence),
        section: anchor(&i.section),
        counts: if checklist::decides(&i.id) { "yes" } else { "no" },
    };
    Checklist { lines: c.checklist.iter().map(line).collect() }
}

/// Text that may stand in an `id` or after `#`.
fn anchor(s: &str) -> String {
    s.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(40).collect()
}
