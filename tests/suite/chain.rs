//! The chain rungs: tight, never below the error, and their probes as reliable as they say.

use certify::bounds::{Evidence, one_step};
use certify::certificate::{Method, Rung, Standing, Status};
use certify::chain::propagate::Table;
use certify::chain::{Sources, exact_chain, probe, probes};
use certify::ir::ValueId;
use certify::num::Mag;
use certify::num::mag::max_of;
use certify::ops::Centre;
use certify::runtime;
use certify::session::{self, InputChoice, Passes, Quiet, Request};
use std::path::Path;

fn request(model: &str) -> Request {
    let at = Path::new(env!("CARGO_MANIFEST_DIR")).join(model);
    let inputs = if at.is_dir() { at.join("inputs.npz") } else { at.with_extension("inputs.npz") };
    let model = if at.is_dir() { at.join("model.onnx") } else { at };
    Request::new(model, InputChoice::Path(inputs))
}

#[test]
fn the_chain_is_tight_and_contains_the_error() {
    for model in ["models/digits_mlp.onnx", "tests/data/graphs/norms", "tests/data/graphs/conv_grouped"] {
        let c = session::certify(&request(model), &Quiet).unwrap_or_else(|e| panic!("{model}: {e}")).certificate;
        let mut looseness: Vec<f64> = Vec::new();
        for g in &c.gradients {
            let bound = g.bounds.get(Rung::ChainRun).unwrap_or_else(|| panic!("{model}: no chain_run for {}", g.name));
            let schedule = g.bounds.get(Rung::ChainSchedule).expect("it comes with chain_run");
            assert_eq!(bound.method, Method::Exact, "{model} {}", g.name);
            let abs = bound.abs.expect("finite").get();
            assert!(abs >= g.observed.lo(), "{model} {}: {abs:e} below {:e}", g.name, g.observed.lo());
            assert!(schedule.abs.expect("finite").get() >= abs, "{model} {}", g.name);
            looseness.extend(bound.looseness.map(|l| l.get()));
        }
        looseness.sort_by(f64::total_cmp);
        let median = looseness[looseness.len() / 2];
        println!("{model}: chain_run median looseness {median:.2}");
        assert!(median <= 20.0, "{model}: median looseness {median}");
    }
}

/// Where columns are affordable, other runtimes get a theorem, and the recommendation is made of it.
#[test]
fn the_chain_of_every_run_is_recommended() {
    for model in ["models/digits_mlp.onnx", "tests/data/graphs/conv_grouped"] {
        let c = session::certify(&request(model), &Quiet).unwrap_or_else(|e| panic!("{model}: {e}")).certificate;
        for g in &c.gradients {
            let b = g.bounds.get(Rung::ChainPortable).unwrap_or_else(|| panic!("{model}: none for {}", g.name));
            assert_eq!((b.method, b.standing), (Method::Exact, Standing::Rigorous), "{model} {}", g.name);
            let abs = b.abs.expect("finite").get();
            let own = g.bounds.get(Rung::ChainRun).and_then(|b| b.abs).expect("it comes with the others").get();
            assert!(abs >= own && abs >= g.observed.lo(), "{model} {}: {abs:e}, this run {own:e}", g.name);
            let composed = g.bounds.get(Rung::Portable).and_then(|b| b.abs).expect("finite").get();
            println!("{model} {}: chain {abs:.3e}, composed {composed:.3e}", g.name);
            if abs < composed && !b.vacuous {
                assert_eq!(g.tolerance.rung, Some(Rung::ChainPortable), "{model} {}", g.name);
                assert!(g.tolerance.recommendation.ends_with("(chain_portable)"), "{}", g.tolerance.recommendation);
                assert!(g.tolerance.between_runtimes.ends_with("(chain_portable)"), "{}", g.tolerance.between_runtimes);
            }
        }
    }
}

#[test]
fn the_budget_adds_up_to_the_error() {
    let c = session::certify(&request("models/digits_mlp.onnx"), &Quiet).expect("it certifies").certificate;
    let check = c.checks.iter().find(|k| k.name.contains("error budget")).expect("the budget is checked");
    assert_eq!(check.result, Status::Pass, "{}", check.evidence);
    assert!(c.gradients.iter().all(|g| g.budget.as_ref().is_some_and(|b| !b.is_empty())));
}

/// P(X ≥ k) for a binomial X of n trials with probability p.
fn at_least(k: usize, n: usize, p: f64) -> f64 {
    let mut term = (1.0 - p).ln() * n as f64;
    let mut below = 0.0;
    for i in 0..k {
        below += term.exp();
        term += ((n - i) as f64 / (i + 1) as f64).ln() + (p / (1.0 - p)).ln();
    }
    (1.0 - below).max(0.0)
}

/// 1,000 seeded trials against the exact chain: the probability that some tensor's figure is below the exact
/// sum is no larger than stated, judged by a binomial test at 10⁻⁶; for the confidence that is printed and
/// for lower ones, where failures are frequent enough to show.
#[test]
fn probes_fail_no_more_often_than_they_say() {
    let loaded = session::load(&request("tests/data/graphs/gemm_forms")).expect("it lowers");
    let subjects = session::subjects(&loaded).expect("parameters");
    let graph = &loaded.lowered.graph;
    let values = runtime::eval(graph).expect("it is finite");
    let p = Passes::run(&loaded.lowered, values, subjects, Default::default(), None, &Quiet).expect("it runs");
    let wanted = graph.differentiated(&[]);
    let e = Evidence { graph, values: &p.values, cotangents: &p.cotangents, exact: &p.exact };
    let table = Table::new(e, &p.seeds, &wanted);
    let (forward, backward) = one_step(e, &p.seeds, &wanted, Centre::Run);
    let sources = Sources::measure(e, &table, &forward, &backward);
    let exact = exact_chain(e, &table, &sources);
    let trials = 1000;
    // estimate ÷ exact sum, the smallest of all tensors; the exact bound is inflated by its columns' rounding
    // only: 10⁻⁶ of it is more than that
    let lowest: Vec<f64> = (0..trials as u64)
        .map(|seed| {
            let found = probe(&table, &sources, |k| sources.list[k].size.clone(), seed);
            let ratio = |v: ValueId| {
                let sum = max_of(exact.run.gradient(v).unwrap_or(&[])).get() * (1.0 - 1e-6);
                if sum == 0.0 { f64::INFINITY } else { found.magnitude[&v] / sum }
            };
            graph.parameters().map(ratio).fold(f64::INFINITY, f64::min)
        })
        .collect();
    let tensors = graph.parameters().count() as f64;
    let stated = probes::factor(probes::DRAWS, probes::FAILURE / tensors);
    for failure in [probes::FAILURE, 0.02, 0.2, 0.5] {
        // the same estimates, reported with the factor of another confidence
        let factor = probes::factor(probes::DRAWS, failure / tensors) / stated;
        let failed = lowest.iter().filter(|r| **r * factor < 1.0).count();
        let chance = at_least(failed, trials, failure);
        println!("{failed} of {trials} trials failed, {failure} stated: probability {chance:.2}");
        assert!(chance > 1e-6, "{failed} of {trials} trials failed, {failure} stated");
    }
    // without a factor the estimate is too low about half the time: the test can fail
    let bare = lowest.iter().filter(|r| **r < stated).count();
    assert!(at_least(bare, trials, probes::FAILURE) < 1e-6, "only {bare} bare estimates are too low");
}

#[test]
fn the_binomial_tail_is_right() {
    let close = |a: f64, b: f64| (a - b).abs() < 1e-12;
    assert!(close(at_least(0, 10, 0.3), 1.0) && close(at_least(1, 2, 0.5), 0.75) && close(at_least(2, 2, 0.1), 0.01));
}

#[test]
fn the_factor_is_the_literatures() {
    // P(κ·exp(mean log) < scale) by Chernoff; κ falls with more draws and grows with confidence
    assert!(probes::factor(208, 1e-3) < probes::factor(208, 1e-6));
    assert!(probes::factor(416, 1e-6) < probes::factor(208, 1e-6));
    let kappa = probes::factor(208, 1e-6);
    assert!(kappa > 1.5 && kappa < 2.0, "{kappa}");
    assert!(Mag::of(kappa).is_finite());
}
