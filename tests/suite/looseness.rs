//! How loose the rungs are: bound ÷ observed error per gradient, medians against limits.

use crate::corpus;
use certify::adversary::{Strategy, adjoints, play};
use certify::bounds::rungs::rungs;
use certify::bounds::{self, Evidence, literal};
use certify::chain::columns::Reach;
use certify::chain::propagate::Table;
use certify::chain::{Sources, exact_chain, probe};
use certify::import::{self, Inputs, Options};
use certify::ir::{Leaf, LeafKind, Tensor, ValueId, elements};
use certify::num::Mag;
use certify::num::mag::max_of;
use certify::ops::{Builder, Centre, Gather, LogSoftmax, MatMul, Piecewise, RevGraph, Sum};
use certify::runtime::{self, Cotangents};
use certify::seed::Seed;
use certify::spec::exact::first_precision;
use certify::spec::{Exact, exact};

/// One model's run and its enclosures.
struct Subject {
    name: String,
    graph: RevGraph,
    seeds: Vec<Seed>,
    wanted: Vec<bool>,
    values: Vec<Tensor>,
    cotangents: Cotangents,
    exact: Exact,
}

/// Observed error of a gradient, and ‖g‖∞, each enclosed.
struct Observed {
    lo: f64,
    hi: f64,
    norm: f64,
}

impl Subject {
    fn of(name: &str, graph: RevGraph, seeds: Vec<Seed>) -> Subject {
        let wanted = graph.differentiated(&[]);
        let values = runtime::eval(&graph).unwrap_or_else(|e| panic!("{name}: {e}"));
        let cotangents = runtime::backprop(&graph, &values, &seeds, &wanted).unwrap_or_else(|e| panic!("{name}: {e}"));
        let parameters: Vec<ValueId> = graph.parameters().collect();
        let start = first_precision(&graph, &seeds, &wanted);
        let found = exact(&graph, &seeds, &wanted, &[], &parameters, start, |e| {
            // every error known to a hundredth, or an exact zero
            e.gradients.iter().all(|(v, _)| {
                let o = observed(&cotangents, e, *v);
                o.hi - o.lo <= 0.005 * o.hi || o.hi < 1e-30
            })
        });
        Subject { name: name.into(), graph, seeds, wanted, values, cotangents, exact: found }
    }

    fn fixture(name: &str) -> Option<Subject> {
        let dir = corpus::folder()?.join("gradients").join(name);
        let model = import::read(&dir.join("model.onnx")).unwrap_or_else(|e| panic!("{name}: {e}"));
        let inputs = Inputs::read(&dir.join("inputs.npz"), &model).unwrap_or_else(|e| panic!("{name}: {e}"));
        let lowered = import::lower(&model, &inputs, &Options::default()).unwrap_or_else(|e| panic!("{name}: {e}"));
        let seeds = lowered.seeds.iter().map(|(_, v, t)| Seed { value: *v, cotangent: t.clone() }).collect();
        Some(Subject::of(name, lowered.graph, seeds))
    }

    fn evidence(&self) -> Evidence<'_> {
        Evidence { graph: &self.graph, values: &self.values, cotangents: &self.cotangents, exact: &self.exact }
    }

    fn chain<T>(&self, use_it: impl FnOnce(&Table, &Sources) -> T) -> T {
        let e = self.evidence();
        let table = Table::new(e, &self.seeds, &self.wanted);
        let (forward, backward) = bounds::one_step(e, &self.seeds, &self.wanted, Centre::Run);
        let sources = Sources::measure(e, &table, &forward, &backward);
        use_it(&table, &sources)
    }

    /// Bounds per gradient against its error: (parameter, bound, looseness).
    fn judge(&self, rung: &str, bound: impl Fn(ValueId) -> Option<f64>) -> Ladder {
        let mut rows = Vec::new();
        let mut vacuous = Vec::new();
        for v in self.graph.parameters() {
            let (Some(b), o) = (bound(v), observed(&self.cotangents, &self.exact, v)) else { continue };
            let name = &self.graph.leaves()[v.index()].name;
            assert!(b >= o.lo * (1.0 - 1e-12), "{} {rung} {name}: {b:e} below {:e}", self.name, o.lo);
            if o.norm > 0.0 && b >= o.norm {
                vacuous.push(name.clone());
            }
            // an exact gradient of 0 that is computed as 0 has no looseness
            if o.lo > 0.0 {
                rows.push(b / o.lo);
            }
        }
        assert!(!rows.is_empty(), "{} {rung}: no gradient has an error", self.name);
        rows.sort_by(f64::total_cmp);
        let (median, worst) = (rows[rows.len() / 2], rows[rows.len() - 1]);
        println!("| {} | {rung} | {median:.3} | {worst:.3} | {} of {} vacuous |", self.name, vacuous.len(), rows.len());
        Ladder { median, worst, vacuous }
    }
}

/// Looseness of one rung over a model's gradients.
struct Ladder {
    median: f64,
    worst: f64,
    /// Gradients that aren't 0 and for which the bound says nothing.
    vacuous: Vec<String>,
}

fn observed(run: &Cotangents, spec: &Exact, v: ValueId) -> Observed {
    let mut o = Observed { lo: 0.0, hi: 0.0, norm: 0.0 };
    let balls = spec.gradients.iter().find(|(w, _)| *w == v).and_then(|(_, b)| b.as_ref());
    if let (Some(run), Some(balls)) = (&run.total[v.index()], balls) {
        for (x, b) in run.data.iter().zip(&balls.data) {
            let (near, far) = b.distance(f64::from(*x));
            let i = b.interval();
            o = Observed { lo: o.lo.max(near), hi: o.hi.max(far.get()), norm: o.norm.max(i.mig()) };
        }
    }
    o
}

/// A net of Relu layers of 64 units, He's initialisation, two samples, cross-entropy.
fn relu_net(layers: usize) -> Subject {
    let mut state = 0x9e37_79b9_7f4a_7c15u64 ^ layers as u64;
    let mut unit = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f64 / f64::from(1 << 24)
    };
    let mut normal = move || (-2.0 * (unit() + 1e-9).ln()).sqrt() * (std::f64::consts::TAU * unit()).cos();
    let mut b = Builder::new();
    let mut leaf = |b: &mut Builder, name: String, kind, shape: &[usize], scale: f64| {
        let data = (0..elements(shape)).map(|_| (normal() * scale) as f32).collect();
        b.leaf(Leaf::new(name, kind, Tensor::new(shape.to_vec(), data)))
    };
    let (samples, width, classes) = (2, 64, 10);
    let mut parameters = Vec::new();
    let x = leaf(&mut b, "x".into(), LeafKind::Input, &[samples, width], 1.0);
    for l in 0..=layers {
        let n = if l == layers { classes } else { width };
        let w = leaf(&mut b, format!("w{l}"), LeafKind::Parameter, &[width, n], (2.0 / width as f64).sqrt());
        parameters.push((w, leaf(&mut b, format!("b{l}"), LeafKind::Parameter, &[n], 0.1), n));
    }
    let mut h = x;
    for (l, (w, bias, n)) in parameters.into_iter().enumerate() {
        let rows = Gather {
            shape: vec![samples, n],
            index: certify::ir::Index::Table((0..samples * n).map(|i| (i % n) as u32).collect::<Vec<u32>>().into()),
        };
        let bias = b.node(rows, &[bias]).expect("fits");
        h = b.node(MatMul { trans_a: false, trans_b: false }, &[h, w, bias]).expect("fits");
        if l < layers {
            h = b.node(Piecewise::relu(), &[h]).expect("fits");
        }
    }
    let p = b.node(LogSoftmax, &[h]).expect("fits");
    let labels: Vec<u32> = (0..samples).map(|s| (s * classes + 3 * s + 1) as u32).collect();
    let picked = Gather { shape: vec![samples], index: certify::ir::Index::Table(labels.into()) };
    let picked = b.node(picked, &[p]).expect("fits");
    let loss = b.node(Sum, &[picked]).expect("fits");
    let (graph, renumber) = b.finish();
    let seeds = vec![Seed::ones(renumber(loss), &[])];
    Subject::of(&format!("{layers}×64"), graph, seeds)
}

/// Adversarial runs, two of them aimed at the entry with the largest bound, stay inside the chain for every run.
fn contains_adversaries(s: &Subject, chain: &Reach) {
    let (forward, backward) = chain.errors();
    let largest = |v: ValueId| {
        let eps = chain.gradient(v)?;
        let i = (0..eps.len()).max_by(|&a, &b| eps[a].get().total_cmp(&eps[b].get()))?;
        Some((eps[i].get(), (v, i)))
    };
    let target = s.graph.parameters().filter_map(largest).max_by(|a, b| a.0.total_cmp(&b.0)).expect("a gradient").1;
    let ways = adjoints(&s.graph, &s.seeds, &[target]);
    for (k, strategy) in
        [Strategy::Greedy(&ways, 0, 1.0), Strategy::Greedy(&ways, 0, -1.0), Strategy::Random].into_iter().enumerate()
    {
        let played = play(&s.graph, &s.seeds, &s.wanted, strategy, k as u64);
        let (entries, escapes) = played.escapes(&s.exact, &forward, &backward);
        assert!(escapes.is_empty(), "{}: {} of {entries} escape, first {:?}", s.name, escapes.len(), escapes[0]);
    }
}

fn by_exact_chain(s: &Subject, run_limit: f64, schedule_limit: f64) {
    let chain = s.chain(|table, sources| exact_chain(s.evidence(), table, sources));
    let of = |reach: &Reach, v: ValueId| reach.gradient(v).map(|b| max_of(b).get());
    let run = s.judge("chain_run, exact", |v| of(&chain.run, v));
    assert!(run.median <= run_limit, "{}: chain_run has median looseness {}", s.name, run.median);
    let schedule = s.judge("chain_schedule, exact", |v| of(&chain.schedule, v));
    assert!(schedule.median <= schedule_limit, "{}: chain_schedule has median looseness {}", s.name, schedule.median);
    // what holds for every run says something, however deep the net is
    let portable = chain.portable.as_ref().unwrap_or_else(|| panic!("{}: no chain for every run", s.name));
    contains_adversaries(s, portable);
    let portable = s.judge("chain_portable, exact", |v| of(portable, v));
    assert!(portable.vacuous.is_empty(), "{}: vacuous for {}", s.name, portable.vacuous.join(", "));
}

fn by_probes(s: &Subject, limit: f64) -> Ladder {
    let found = s.chain(|table, sources| {
        let larger =
            |k: usize| sources.list[k].size.iter().zip(&sources.list[k].prior).map(|(&a, &b)| a.max(b)).collect();
        probe(table, sources, larger, 1)
    });
    let found = s.judge("chain_schedule, probes", |v| found.magnitude.get(&v).copied());
    assert!(found.median <= limit, "{}: chain_schedule has median looseness {}", s.name, found.median);
    found
}

#[test]
fn composed_rungs_of_shallow_nets() {
    for name in ["mlp_ce", "mlp_mse"] {
        let Some(s) = Subject::fixture(name) else { return };
        let e = s.evidence();
        let [portable, _, run] = rungs(e, &s.seeds, &s.wanted);
        let run = s.judge("run, composed", |v| run.backward[v.index()].as_ref().map(|b| b.max.get()));
        assert!(run.median <= 10.0, "{name}: run has median looseness {}", run.median);

        let of = |v: ValueId| portable.backward[v.index()].as_ref().map(|b| b.max.get());
        s.judge("portable, composed", of);
        let reference = literal::run(&s.graph, &s.seeds, &s.wanted);
        let literal = |v: ValueId| reference.cotangent_eps[v.index()].map(Mag::get);
        // the first layer's gradients: weight and bias of the first product
        let first: Vec<ValueId> =
            s.graph.parameters().filter(|v| s.graph.leaves()[v.index()].name.contains("fc1")).collect();
        assert_eq!(first.len(), 2, "{name}: the first layer has a weight and a bias");
        for v in first {
            let (l, p) = (literal(v).expect("it has a bound"), of(v).expect("it has a bound"));
            println!("| {name} | literal ÷ portable of {} | {:.3e} |", s.graph.leaves()[v.index()].name, l / p);
            assert!(l >= 100.0 * p, "{name}: literal {l:e}, portable {p:e}");
        }
    }
}

#[test]
fn exact_chains_of_convolutional_nets() {
    for (name, limit) in [("digits_cnn", 20.0), ("lenet", 30.0)] {
        let Some(s) = Subject::fixture(name) else { return };
        by_exact_chain(&s, limit, 1000.0);
    }
}

#[test]
fn exact_chains_of_deep_nets() {
    for layers in [16, 32] {
        by_exact_chain(&relu_net(layers), 3.0 * layers as f64, 1000.0);
    }
}

#[test]
fn exact_chains_of_a_deep_net_from_pytorch() {
    let Some(s) = Subject::fixture("deep_relu_9x64") else { return };
    by_exact_chain(&s, 30.0, 1000.0);
}

#[test]
fn probes_of_transformers() {
    for name in ["transformer_enc", "bert_tiny"] {
        let Some(s) = Subject::fixture(name) else { return };
        by_probes(&s, 1000.0);
    }
}

#[test]
fn probes_of_a_residual_net() {
    let Some(s) = Subject::fixture("resnet8_bn") else { return };
    let found = by_probes(&s, 10_000.0);
    assert!(found.vacuous.is_empty(), "vacuous: {}", found.vacuous.join(", "));
}

#[test]
fn the_direct_rung_is_the_error_itself() {
    let Some(root) = corpus::folder() else { return };
    for model in corpus::files(&root.join("gradients"), "onnx") {
        let name = model.parent().and_then(|d| d.file_name()).unwrap_or_default().to_string_lossy().into_owned();
        let Some(s) = Subject::fixture(&name) else { return };
        let direct = s.judge("direct", |v| Some(observed(&s.cotangents, &s.exact, v).hi));
        assert!(direct.worst <= 1.01, "{name}: direct is {} times the error", direct.worst);
    }
}
