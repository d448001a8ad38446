//! An adversarial runtime: plays whatever the portable rung allows, and never leaves it.

use crate::corpus;
use certify::adversary::{Strategy, adjoints, play};
use certify::bounds::{self, Backward, Evidence, add_bound, region};
use certify::certificate::Status;
use certify::chain::columns::cost;
use certify::chain::propagate::Table;
use certify::chain::{Sources, exact_chain};
use certify::import::{self, Inputs, Lowered, Options};
use certify::ir::{LeafKind, ValueId, elements};
use certify::num::Mag;
use certify::ops::{Centre, Op, RevGraph};
use certify::runtime;
use certify::seed::Seed;
use certify::session::{self, InputChoice, Quiet, Request};
use certify::spec::exact;
use std::path::Path;

/// Multiply–adds of a forward pass up to which a model is played with.
const SMALL: usize = 1_500_000;

/// Multiply–adds of an exact chain that is played against too.
const CHEAP: f64 = 4e9;

fn lower(model: &Path, inputs: &Path) -> Lowered {
    let model = import::read(model).unwrap_or_else(|e| panic!("{e}"));
    let inputs = Inputs::read(inputs, &model).unwrap_or_else(|e| panic!("{e}"));
    import::lower(&model, &inputs, &Options::default()).unwrap_or_else(|e| panic!("{e}"))
}

fn seeds(lowered: &Lowered) -> Vec<Seed> {
    lowered.seeds.iter().map(|(_, v, t)| Seed { value: *v, cotangent: t.clone() }).collect()
}

fn work(graph: &RevGraph) -> usize {
    let of = |n: &certify::ir::Node<Op>| {
        let size = elements(&n.shape);
        match &n.op {
            Op::MatMul(m) => {
                let a = graph.shape(n.operands[0]);
                size * a[a.len() - if m.trans_a { 2 } else { 1 }]
            }
            Op::Conv(_) => size * elements(&graph.shape(n.operands[1])[1..]),
            _ => size,
        }
    };
    graph.nodes().iter().map(of).sum()
}

/// Plays a model, at the given inputs and at others of a box; says how far the adversary got.
fn face(name: &str, lowered: &Lowered, rounds: usize) {
    let graph = &lowered.graph;
    let (seeds, wanted) = (seeds(lowered), graph.differentiated(&[]));
    let values = runtime::eval(graph).unwrap_or_else(|e| panic!("{e}"));
    let cotangents = runtime::backprop(graph, &values, &seeds, &wanted).unwrap_or_else(|e| panic!("{e}"));
    let found = exact(graph, &seeds, &wanted, &[], &[], 192, |_| true);
    let e = Evidence { graph, values: &values, cotangents: &cotangents, exact: &found };
    let forward = bounds::eval(e, Centre::Spec, |_| Mag::ZERO);
    let backward = bounds::backprop(e, &forward, &seeds, &wanted, Centre::Spec, add_bound);
    let chain = {
        let table = Table::new(e, &seeds, &wanted);
        let (f, b) = bounds::one_step(e, &seeds, &wanted, Centre::Run);
        let sources = Sources::measure(e, &table, &f, &b);
        let cheap = cost(&table, &sources) <= CHEAP * super::laws::factor() as f64;
        cheap.then(|| exact_chain(e, &table, &sources)).and_then(|c| c.portable).map(|c| c.errors())
    };
    let parameters: Vec<ValueId> = graph.parameters().collect();
    let (mut compared, mut reached, mut by_chance) =
        (0, vec![0.0f64; parameters.len()], vec![0.0f64; parameters.len()]);
    for round in 0..rounds {
        let target = parameters[round * 5 % parameters.len()];
        let bound = &backward.total[target.index()];
        let Some(bound) = bound else { continue };
        let entry =
            (0..bound.eps.len()).max_by(|&a, &b| bound.eps[a].get().total_cmp(&bound.eps[b].get())).unwrap_or(0);
        let ways = adjoints(graph, &seeds, &[(target, entry)]);
        let all = [Strategy::Greedy(&ways, 0, 1.0), Strategy::Greedy(&ways, 0, -1.0), Strategy::Random];
        for (k, strategy) in all.into_iter().enumerate() {
            let played = play(graph, &seeds, &wanted, strategy, (3 * round + k) as u64);
            let (entries, escapes) = played.escapes(&found, &forward, &backward);
            assert!(
                escapes.is_empty(),
                "{name}: {} of {entries} entries escape, first {:?}",
                escapes.len(),
                escapes[0]
            );
            compared += entries;
            if let Some((forward, backward)) = &chain {
                let (entries, escapes) = played.escapes(&found, forward, backward);
                assert!(
                    escapes.is_empty(),
                    "{name}: {} of {entries} entries escape the chain, first {:?}",
                    escapes.len(),
                    escapes[0]
                );
                compared += entries;
            }
            let best = if k == 2 { &mut by_chance } else { &mut reached };
            for (r, &v) in best.iter_mut().zip(&parameters) {
                *r = r.max(played.reaches(&found, v, true));
            }
        }
    }
    let factors = |backward: &Backward| {
        let of = |(v, &r): (&ValueId, &f64)| {
            let b = backward.total[v.index()].as_ref()?.max();
            (r > 0.0 && b.is_finite()).then(|| b.get() / r)
        };
        let mut all: Vec<f64> = parameters.iter().zip(&reached).filter_map(of).collect();
        all.sort_by(f64::total_cmp);
        let at = |i: usize| all.get(i).copied().unwrap_or(f64::INFINITY);
        format!("at most {:.3e} (median) and {:.3e} (worst)", at(all.len() / 2), at(all.len().max(1) - 1))
    };
    // a gradient that nothing moves is 0 in every run
    let moving = reached.iter().zip(&by_chance).filter(|(r, c)| r.max(**c) > 0.0).count();
    let ahead = reached.iter().zip(&by_chance).filter(|(r, c)| r > c).count();
    println!(
        "{name}: {compared} entries compared; greedy runs ahead of random ones in {ahead} of {moving} gradients; portable bounds \
         {} times what was reached, the exact chain's {}",
        factors(&backward),
        chain.as_ref().map_or("none".into(), |(_, b)| factors(b)),
    );
    assert!(2 * ahead >= moving, "{name}: greed doesn't pay");
    boxed(name, lowered, &seeds, &wanted);
}

/// Inputs sampled in a box, corners among them: run, adversary and spec at the same input.
fn boxed(name: &str, lowered: &Lowered, seeds: &[Seed], wanted: &[bool]) {
    let graph = &lowered.graph;
    let radius = 1e-4;
    let values = runtime::eval(graph).unwrap_or_else(|e| panic!("{e}"));
    let cotangents = runtime::backprop(graph, &values, seeds, wanted).unwrap_or_else(|e| panic!("{e}"));
    let region = region::over(graph, (&values, &cotangents), seeds, wanted, Mag::of(radius));
    for sample in 0..3u64 {
        let mut state = sample;
        let moved = graph.with_leaves(|l| {
            let mut t = l.tensor.clone();
            if l.kind == LeafKind::Input {
                for x in t.data.iter_mut() {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let way = (state >> 40) as f64 / f64::from(1 << 23) - 1.0;
                    // corners in the first sample
                    let way = if sample == 0 { way.signum() } else { way };
                    let y = (f64::from(*x) + way * radius) as f32;
                    // rounding must not leave the box
                    *x = if (f64::from(y) - f64::from(*x)).abs() <= radius { y } else { *x };
                }
            }
            t
        });
        let there = exact(&moved, seeds, wanted, &[], &[], 192, |_| true);
        let v = runtime::eval(&moved).unwrap_or_else(|e| panic!("{e}"));
        let c = runtime::backprop(&moved, &v, seeds, wanted).unwrap_or_else(|e| panic!("{e}"));
        let own = certify::adversary::Played { values: v, cotangents: c.total };
        for played in [own, play(&moved, seeds, wanted, Strategy::Random, sample)] {
            let (entries, escapes) = played.escapes(&there, &region.forward, &region.backward);
            assert!(
                escapes.is_empty(),
                "{name}: {} of {entries} leave the region's bounds, first {:?}",
                escapes.len(),
                escapes[0]
            );
        }
    }
}

#[test]
fn it_stays_inside_the_bounds_of_small_training_graphs() {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    face("digits_mlp", &lower(&models.join("digits_mlp.onnx"), &models.join("digits_mlp.inputs.npz")), 3);
    let Some(root) = corpus::folder() else { return };
    let mut left_out = Vec::new();
    for model in corpus::files(&root.join("gradients"), "onnx") {
        let dir = model.parent().expect("a folder");
        let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let lowered = lower(&model, &dir.join("inputs.npz"));
        if work(&lowered.graph) > SMALL * super::laws::factor() as usize {
            left_out.push(name);
            continue;
        }
        face(&name, &lowered, 2);
    }
    println!("too large: {}", left_out.join(", "));
}

#[test]
fn the_certificate_says_what_it_reached() {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    let request = Request {
        region: Some(1e-5),
        adversary: Some(8),
        ..Request::new(models.join("digits_mlp.onnx"), InputChoice::Path(models.join("digits_mlp.inputs.npz")))
    };
    let c = session::certify(&request, &Quiet).unwrap_or_else(|e| panic!("{e}")).certificate;
    assert_eq!(c.adversary.as_ref().map(|a| a.runs), Some(8));
    for name in ["adversarial runs", "region's bounds"] {
        let check = c.checks.iter().find(|k| k.name.contains(name)).unwrap_or_else(|| panic!("no check of {name}"));
        assert_eq!(check.result, Status::Pass, "{}", check.evidence);
    }
    for g in &c.gradients {
        let reached = g.adversary.expect("it was asked for");
        assert!(reached.error.get() > 0.0, "{}", g.name);
        assert!(reached.factor.expect("there is a portable bound").get() >= 1.0, "{}", g.name);
        let region = g.region_tolerance.as_ref().expect("it was asked for");
        let portable = g.bounds.portable.as_ref().and_then(|b| b.abs).expect("finite").get();
        assert!(region.atol.is_none_or(|a| a.get() >= 0.9 * portable), "{}: a box holds its centre", g.name);
        assert!(g.tolerance.recommendation.starts_with("rtol=0, atol="), "{}", g.tolerance.recommendation);
        assert!(g.tolerance.between_runtimes.starts_with("rtol=0, atol="), "{}", g.tolerance.between_runtimes);
    }
    // a Relu whose kink lies in the box moves the first layer's gradient by a jump; nothing does the last one's
    let last = c.gradients.iter().rev().find_map(|g| g.region_tolerance.as_ref()).expect("it was asked for");
    assert!(!last.vacuous, "a small box has useful bounds");
    // the same choices again
    let again = session::certify(&request, &Quiet).unwrap_or_else(|e| panic!("{e}")).certificate;
    assert!(c.gradients.iter().zip(&again.gradients).all(|(a, b)| a.adversary == b.adversary));
}
