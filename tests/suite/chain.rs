//! The chain rungs: tight, never below the error, and their probes as reliable as they say.

use certify::bounds::Evidence;
use certify::certificate::{Method, Rung, Status};
use certify::chain::propagate::Table;
use certify::chain::{Sources, exact_chain, probe, probes};
use certify::num::Mag;
use certify::num::mag::max_of;
use certify::session::{self, InputChoice, Passes, Quiet, Request};
use std::path::Path;

fn request(model: &str) -> Request {
    let at = Path::new(env!("CARGO_MANIFEST_DIR")).join(model);
    let inputs = if at.is_dir() { at.join("inputs.npz") } else { at.with_extension("inputs.npz") };
    let model = if at.is_dir() { at.join("model.onnx") } else { at };
    Request {
        model,
        inputs: InputChoice::Path(inputs),
        cotangents: Vec::new(),
        params: Vec::new(),
        freeze: Vec::new(),
        weights: None,
        objective: None,
        outputs: Vec::new(),
        seed_masks: None,
        region: None,
        policy: Default::default(),
        reproduce: String::new(),
    }
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

#[test]
fn the_budget_adds_up_to_the_error() {
    let c = session::certify(&request("models/digits_mlp.onnx"), &Quiet).expect("it certifies").certificate;
    let check = c.checks.iter().find(|k| k.name.contains("error budget")).expect("the budget is checked");
    assert_eq!(check.result, Status::Pass, "{}", check.evidence);
    assert!(c.gradients.iter().all(|g| g.budget.as_ref().is_some_and(|b| !b.is_empty())));
}

/// 1,000 seeded trials: some tensor's figure is below the exact sum no more often than stated.
#[test]
fn probes_fail_no_more_often_than_they_say() {
    let loaded = session::load(&request("tests/data/graphs/gemm_forms")).expect("it lowers");
    let p =
        Passes::run(&loaded.lowered, session::subjects(&loaded).expect("parameters"), None, &Quiet).expect("it runs");
    let graph = &loaded.lowered.graph;
    let wanted = graph.differentiated(&[]);
    let e = Evidence { graph, values: &p.values, cotangents: &p.cotangents, exact: &p.exact };
    let table = Table::new(e, &p.seeds, &wanted);
    let sources = Sources::measure(e, &table, &p.schedule.forward, &p.schedule.backward);
    let exact = exact_chain(e, &table, &sources).expect("a small graph has an exact chain");
    let trials = 1000;
    let mut failed = 0;
    for seed in 0..trials {
        let found = probe(&table, &sources, |k| sources.list[k].size.clone(), seed);
        // the exact bound is inflated by its columns' rounding only: 10⁻⁶ of it is more than that
        failed += usize::from(exact.run.iter().any(|(v, b)| found.magnitude[v] < max_of(b).get() * (1.0 - 1e-6)));
    }
    // one failure in a thousand is expected; eight or more have probability 10⁻⁵
    assert!(failed < 8, "{failed} of {trials} trials failed, {} stated", probes::FAILURE);
    println!("{failed} of {trials} trials failed, at most {} stated", probes::FAILURE * trials as f64);
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
