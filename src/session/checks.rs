//! Checks that run on every model: link invariants, hypotheses, negative controls.

use super::{Loaded, Passes};
use crate::certificate::{Check, CheckKind, Status, decimal, judge};
use crate::error::Diagnostic;
use crate::import::{Lowered, crosscheck};
use crate::ir::{Array, Tensor, ValueId};
use crate::link;
use crate::num::reduce;
use crate::ops::RevGraph;
use crate::seed::Seed;
use crate::session::figures;
use std::collections::HashMap;

fn check(kind: CheckKind, name: &str, holds: bool, evidence: String) -> Check {
    let result = if holds { Status::Pass } else { Status::Fail };
    Check { kind, name: name.into(), result, evidence }
}

/// A figure that nothing exceeds, in two digits.
fn at_most(x: f64) -> String {
    if x.is_finite() { decimal::up(x, 2) } else { "without bound".into() }
}

/// The link between the graph and the tape that executes it, run on this model.
pub fn invariants(graph: &RevGraph, seeds: &[Seed]) -> Result<Vec<Check>, Diagnostic> {
    let all = link::invariants(graph, seeds)?;
    Ok(all.into_iter().map(|(name, holds, figures)| check(CheckKind::Invariant, name, holds, figures)).collect())
}

/// Entries of values and cotangents of this run.
fn entries(p: &Passes) -> usize {
    p.values.iter().chain(p.cotangents.total.iter().flatten()).map(|t| t.data.len()).sum()
}

/// Claims tested against the enclosures, and hypotheses against this machine.
pub fn claims(loaded: &Loaded, p: &Passes) -> Vec<Check> {
    let graph = &loaded.lowered.graph;
    let n = entries(p);
    let scales = p.scales.forward.iter().chain(p.scales.backward.iter().flatten());
    let out: usize = scales.map(|f| f.outside).sum();
    let mut all = vec![check(
        CheckKind::CrossCheck,
        "scales hold run and spec",
        out == 0,
        format!("{n} entries of values and cotangents, {out} outside"),
    )];
    let mut rungs = vec![
        ("portable rung contains", &p.portable),
        ("schedule rung contains", &p.schedule),
        ("run rung contains", &p.run),
    ];
    rungs.extend(p.region.as_ref().map(|r| ("region's bounds contain", &r.ladder)));
    for (name, ladder) in rungs {
        let out: usize = ladder.forward.iter().chain(ladder.backward.iter().flatten()).map(|f| f.outside).sum();
        all.push(check(
            CheckKind::CrossCheck,
            &format!("the {name} this run's error, entry by entry"),
            out == 0,
            format!("{n} entries of values and cotangents, {out} outside"),
        ));
    }
    if let Some(a) = &p.adversary {
        all.push(check(
            CheckKind::CrossCheck,
            "adversarial runs stay inside the rigorous rungs for every run, entry by entry",
            a.outside == 0,
            format!(
                "{} runs, {} of them finite; {} entries of values and cotangents, {} outside",
                a.runs, a.finite, a.entries, a.outside
            ),
        ));
    }
    let deepest = graph
        .nodes()
        .iter()
        .flat_map(|n| n.operands.iter().map(|&o| graph.shape(o).last().copied().unwrap_or(1)))
        .max();
    all.push(check(
        CheckKind::Hypothesis,
        "rounding to nearest, gradual underflow, fused multiply-add",
        crate::num::environment::check().is_ok(),
        "computed on every worker thread before the run, control register read".into(),
    ));
    all.push(check(
        CheckKind::Hypothesis,
        "every value of the run is finite",
        p.values.iter().chain(p.cotangents.total.iter().flatten()).all(|t| t.data.iter().all(|x| x.is_finite())),
        format!(
            "{} values; longest row {}, tree height {}",
            graph.len(),
            deepest.unwrap_or(0),
            reduce::height(deepest.unwrap_or(0))
        ),
    ));
    all
}

/// tract's values may be this far from ours, in units of the value's largest entry: far above what
/// roundings do to a well-conditioned value, far below what a misread attribute does.
const CROSS_CHECK: f64 = 1e-3;

/// Another program's reading of the same file. A difference stays undecided: a value that is all
/// rounding errors differs as well.
pub fn cross_check(loaded: &Loaded, values: &[Tensor]) -> Check {
    let named: HashMap<&str, ValueId> = loaded.lowered.graph.named().collect();
    let value = |name: &str| named.get(name).map(|v| values[v.index()].clone());
    let c = crosscheck::tract(&loaded.model, &loaded.inputs, &value);
    let (result, mut evidence) = if c.compared == 0 {
        (Status::NotApplicable, "nothing compared".to_string())
    } else {
        let agrees = c.worst_relative_difference <= CROSS_CHECK;
        let result = if agrees { Status::Pass } else { Status::Undecided };
        let evidence = format!(
            "{} of {} values compared, largest difference {} of the largest entry, at \"{}\"",
            c.compared,
            c.of,
            at_most(c.worst_relative_difference),
            c.worst
        );
        (result, evidence)
    };
    if let Some(why) = c.skipped {
        evidence.push_str("; ");
        evidence.push_str(&why);
    }
    Check { kind: CheckKind::CrossCheck, name: "the forward run of tract agrees".into(), result, evidence }
}

/// The signed parts of each worst entry's error against the error itself.
pub fn budget(p: &Passes) -> Option<Check> {
    let budget = p.chain.budget.as_ref()?;
    let mut worst = 0.0f64;
    for (k, (v, i)) in budget.entries.iter().enumerate() {
        let parts: f64 = budget.parts.iter().map(|(_, e)| e[k]).sum();
        let run = f64::from(p.cotangents.total[v.index()].as_ref()?.data[*i]);
        let spec = p.exact.cotangents[v.index()].as_ref()?[*i];
        let error = run - spec.mid();
        // what the enclosure leaves open, and the rounding of binary64 on the scale of the value
        let open = spec.radius().get() + 1e-15 * run.abs();
        // where the parts cancel to nearly nothing, what is left is their rounding
        let all: f64 = budget.parts.iter().map(|(_, e)| e[k].abs()).sum();
        let scale = error.abs().max(1e-6 * all).max(f64::MIN_POSITIVE);
        worst = worst.max(((parts - error).abs() - open).max(0.0) / scale);
    }
    let holds = worst <= 1e-6;
    let differ = match worst {
        0.0 => "agree as closely as the enclosures tell".to_string(),
        _ => format!("differ by {} of the error at most", at_most(worst)),
    };
    let figures = format!("{} gradients; parts and error {differ}", budget.entries.len());
    Some(check(CheckKind::CrossCheck, "the error budget adds up to the error", holds, figures))
}

/// Planted defects that the decision rule has to notice: in each gradient whose largest entry is right, a sign
/// flip of that entry, and an error of four limits.
pub fn controls(p: &Passes, lowered: &Lowered, limits: &[f64]) -> Check {
    let (mut planted, mut missed) = (0, 0);
    for (subject, limit) in p.subjects.iter().zip(limits) {
        let (run, spec) = (p.run_of(lowered, subject).data, subject.spec(&p.exact));
        let Some((at, &top)) = run.iter().enumerate().max_by(|a, b| a.1.abs().total_cmp(&b.1.abs())) else { continue };
        // the entry alone: the others can only add to the tensor's error
        let there = spec.map(|s| Array::new(vec![1], vec![s.data[at].clone()]));
        let verdict = |x: f32| judge(figures::of_balls(&[x], there.as_ref()).observed, *limit);
        // what is wrong by itself may be put right by a corruption
        if verdict(top) != Status::Pass {
            continue;
        }
        let mut defects = Vec::new();
        if f64::from(top).abs() > 4.0 * limit {
            defects.push(-top);
        }
        let shifted = top + (4.0 * limit) as f32 * if top < 0.0 { -1.0 } else { 1.0 };
        if f64::from(shifted - top).abs() > 3.0 * limit && shifted.is_finite() && *limit > 0.0 {
            defects.push(shifted);
        }
        for defect in defects {
            planted += 1;
            missed += usize::from(verdict(defect) != Status::Fail);
        }
    }
    let result = match (planted, missed) {
        (0, _) => Status::NotApplicable,
        (_, 0) => Status::Pass,
        _ => Status::Fail,
    };
    Check {
        kind: CheckKind::NegativeControl,
        name: "planted corruptions are rejected".into(),
        result,
        evidence: format!(
            "{planted} planted (largest entry with its sign flipped, or off by four limits), {missed} missed"
        ),
    }
}
