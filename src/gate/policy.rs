//! Policy files (TOML): what a release asks of its gradients. `docs/gate.md` says how to write one.

use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use crate::certificate::policy::{is_day, today};
use crate::certificate::{LimitRule, Limits, Num, Policy, Rung, Waiver};
use crate::error::{Code, Diagnostic, Diagnostics};

/// A commented policy that asks what is asked without one.
pub const TEMPLATE: &str = include_str!("policy.toml");

/// Serde's `flatten` would forget unknown keys and lines, so that the keys stand in both tables.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: Option<Spanned<String>>,
    floor: Option<Spanned<f64>>,
    max_rel: Option<Spanned<f64>>,
    max_abs: Option<Spanned<f64>>,
    min_correct_digits: Option<Spanned<f64>>,
    max_undecided_gates: Option<u64>,
    forbid_vacuous: Option<bool>,
    require_rung: Option<Rung>,
    #[serde(default)]
    limit: Vec<Limit>,
    #[serde(default)]
    waiver: Vec<Waived>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Limit {
    #[serde(rename = "match")]
    pattern: Spanned<String>,
    max_rel: Option<Spanned<f64>>,
    max_abs: Option<Spanned<f64>>,
    min_correct_digits: Option<Spanned<f64>>,
    max_undecided_gates: Option<u64>,
    forbid_vacuous: Option<bool>,
    require_rung: Option<Rung>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Waived {
    #[serde(rename = "match")]
    pattern: Spanned<String>,
    reason: Spanned<String>,
    expires: Spanned<String>,
}

/// Reads a policy file.
///
/// # Errors
/// E001 when it can't be read, E002 with the line for everything else: unknown keys, wrong types,
/// numbers out of range, days that don't exist.
pub fn read(path: &Path) -> Result<Policy, Diagnostics> {
    let file = path.display().to_string();
    let text = crate::limits::read_to_string(path)
        .map_err(|e| Diagnostic::new(Code::Io, format!("the policy can't be read: {e}")).file(&file))?;
    let name = path.file_name().map_or_else(|| file.clone(), |n| n.to_string_lossy().into_owned());
    parse(&text, &name).map_err(|all| Diagnostics(all.0.into_iter().map(|d| d.file(&file)).collect()))
}

/// Reads the text of a policy; `name` is what it is called unless it says so itself.
pub fn parse(text: &str, name: &str) -> Result<Policy, Diagnostics> {
    let line = |at: usize| text[..at.min(text.len())].matches('\n').count() + 1;
    let bad = |at: usize, what: String| {
        Diagnostic::new(Code::Malformed, format!("line {}: {what}", line(at)))
            .help("`certify policy init` writes a policy in which every key is explained")
    };
    let file: File = toml::from_str(text).map_err(|e| {
        let what = e.message().lines().next().unwrap_or("not TOML").to_string();
        bad(e.span().map_or(0, |s| s.start), what)
    })?;
    let mut problems = Diagnostics::default();
    let mut number = |x: &Option<Spanned<f64>>, key: &str, most: f64| {
        let x = x.as_ref()?;
        let v = *x.get_ref();
        if v.is_finite() && (0.0..=most).contains(&v) {
            return Num::new(v);
        }
        let range = if most == f64::MAX { "a finite number of at least 0".into() } else { format!("0 to {most}") };
        problems.push(bad(x.span().start, format!("{key} is {v}, {range} is required")));
        None
    };
    let mut rules = Vec::new();
    let floor = number(&file.floor, "floor", 1.0);
    let max_rel = number(&file.max_rel, "max_rel", f64::MAX);
    let all = LimitRule {
        pattern: "*".into(),
        max_rel: None,
        max_abs: number(&file.max_abs, "max_abs", f64::MAX),
        min_correct_digits: number(&file.min_correct_digits, "min_correct_digits", 17.0),
        max_undecided_gates: file.max_undecided_gates,
        forbid_vacuous: file.forbid_vacuous,
        require_rung: file.require_rung,
    };
    if all != (LimitRule { pattern: "*".into(), ..LimitRule::default() }) {
        rules.push(all);
    }
    for l in &file.limit {
        rules.push(LimitRule {
            pattern: l.pattern.get_ref().clone(),
            max_rel: number(&l.max_rel, "max_rel", f64::MAX),
            max_abs: number(&l.max_abs, "max_abs", f64::MAX),
            min_correct_digits: number(&l.min_correct_digits, "min_correct_digits", 17.0),
            max_undecided_gates: l.max_undecided_gates,
            forbid_vacuous: l.forbid_vacuous,
            require_rung: l.require_rung,
        });
    }
    let patterns = file.limit.iter().map(|l| &l.pattern).chain(file.waiver.iter().map(|w| &w.pattern));
    for p in patterns.filter(|p| p.get_ref().is_empty()) {
        problems.push(bad(p.span().start, "match is empty and would match nothing".into()));
    }
    let mut waivers = Vec::new();
    for w in &file.waiver {
        if !is_day(w.expires.get_ref()) {
            let what = format!("expires is \"{}\", a day like \"2027-03-31\" is required", w.expires.get_ref());
            problems.push(bad(w.expires.span().start, what));
        }
        if w.reason.get_ref().trim().is_empty() {
            problems.push(bad(w.reason.span().start, "a waiver needs a reason".into()));
        }
        waivers.push(Waiver {
            pattern: w.pattern.get_ref().clone(),
            reason: w.reason.get_ref().clone(),
            expires: w.expires.get_ref().clone(),
        });
    }
    let default = Limits::default();
    let limits =
        Limits { max_rel: max_rel.map_or(default.max_rel, Num::get), floor: floor.map_or(default.floor, Num::get) };
    let today = (!waivers.is_empty()).then(today);
    let name = file.name.map_or_else(|| name.to_string(), Spanned::into_inner);
    problems.into_result(Policy { name, limits, rules, waivers, today })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_asks_what_is_asked_without_a_policy() {
        let p = parse(TEMPLATE, "release.toml").unwrap();
        assert_eq!(p.limits, Limits::default());
        assert!(p.rules.is_empty() && p.waivers.is_empty() && p.today.is_none());
        // Every key is explained, and what is commented out is right as well.
        let uncommented: String =
            TEMPLATE.lines().map(|l| l.strip_prefix("#: ").unwrap_or(l).to_string() + "\n").collect();
        let p = parse(&uncommented, "x").unwrap();
        assert_eq!((p.rules.len(), p.waivers.len()), (3, 1));
        for key in ["max_rel", "max_abs", "min_correct_digits", "max_undecided_gates", "forbid_vacuous", "require_rung"]
        {
            assert!(uncommented.contains(&format!("\n{key} =")), "{key}");
        }
        assert!(p.today.is_some());
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        for (text, want) in [
            ("max_rel = 1e-4\nmax_relative = 1e-3\n", "line 2: unknown field `max_relative`"),
            ("\n[[limit]]\nmatch = \"a\"\nmax_rell = 1\n", "line 4: unknown field `max_rell`"),
            ("max_rel = -1.0\n", "line 1: max_rel is -1"),
            ("floor = 2.0\n", "line 1: floor is 2, 0 to 1 is required"),
            ("max_rel = \"x\"\n", "line 1: invalid type"),
            ("max_abs = nan\n", "line 1: max_abs is NaN"),
            ("\n\nrequire_rung = \"portabel\"\n", "line 3: unknown variant"),
            (
                "[[waiver]]\nmatch = \"a\"\nreason = \"b\"\nexpires = \"2026-02-30\"\n",
                "line 4: expires is \"2026-02-30\"",
            ),
            (
                "[[waiver]]\nmatch = \"a\"\nreason = \" \"\nexpires = \"2026-02-20\"\n",
                "line 3: a waiver needs a reason",
            ),
            ("[[waiver]]\nmatch = \"a\"\nexpires = \"2026-02-20\"\n", "missing field `reason`"),
            ("[[limit]]\nmatch = \"\"\n", "line 2: match is empty"),
            ("max_rel = = 1\n", "line 1: "),
        ] {
            let all = parse(text, "x").unwrap_err();
            assert!(all.0[0].what.contains(want), "{text:?}: {all}");
        }
        let two = parse("max_rel = -1.0\nfloor = 3.0\n", "x").unwrap_err();
        assert_eq!(two.0.len(), 2, "all problems are told");
    }
}
