//! Time of the passes over one model: the binary32 run, its error bounds and its scales.
//!
//! `cargo run --release --example passes MODEL.onnx INPUTS.npz [SECONDS [run]]`: prints the median time of a run
//! (forward and backward) in milliseconds, and what the bounds of this run and the scales cost beside it, unless
//! it is told `run`.

use certify::bounds::{self, Evidence, add_bound};
use certify::num::{Interval, Mag};
use certify::ops::Centre;
use certify::runtime;
use certify::scale;
use certify::seed::Seed;
use certify::session::{self, InputChoice, Request};
use certify::spec::Exact;
use std::time::Instant;

/// The tool's own allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, inputs, rest @ ..] = args.as_slice() else { panic!("MODEL.onnx INPUTS.npz [SECONDS [run]]") };
    let seconds: f64 = rest.first().map_or(2.0, |s| s.parse().expect("seconds"));
    let request = Request {
        freeze: vec!["*running*".into(), "zero".into(), "six".into()],
        ..Request::new(model.into(), InputChoice::Path(inputs.into()))
    };
    let loaded = session::load(&request).unwrap_or_else(|e| panic!("{e}"));
    let graph = &loaded.lowered.graph;
    let seeds: Vec<Seed> =
        loaded.lowered.seeds.iter().map(|(_, value, c)| Seed { value: *value, cotangent: c.clone() }).collect();
    let wanted = graph.differentiated(&[]);
    let run = || {
        let values = runtime::eval(graph).unwrap_or_else(|e| panic!("{e}"));
        let cotangents = runtime::backprop(graph, &values, &seeds, &wanted).unwrap_or_else(|e| panic!("{e}"));
        (values, cotangents)
    };
    let (values, cotangents) = run();
    let mut times = Vec::new();
    let start = Instant::now();
    while times.len() < 5 || start.elapsed().as_secs_f64() < seconds {
        let t = Instant::now();
        run();
        times.push(t.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    let median = times[times.len() / 2];
    let (least, most) = (times[0], times[times.len() - 1]);
    print!("run {median:.3} ms (of {} from {least:.3} to {most:.3})", times.len());
    if rest.get(1).is_some_and(|s| s == "run") {
        println!();
        return;
    }
    // the run's own values stand for the spec's: the bounds don't care
    let points = |x: &[f32]| -> Vec<Interval> { x.iter().map(|&x| Interval::point(f64::from(x))).collect() };
    let gates = |v: usize| {
        let id = certify::ir::ValueId(v as u32);
        graph.node(id).map_or_else(Vec::new, |n| {
            n.op.run_gates(&n.operands.iter().map(|o| &values[o.index()]).collect::<Vec<_>>())
        })
    };
    let exact = Exact {
        precision: 0,
        capped: false,
        undecided: 0,
        values: values.iter().map(|t| points(&t.data)).collect(),
        cotangents: cotangents.total.iter().map(|t| t.as_ref().map(|t| points(&t.data))).collect(),
        parts: cotangents.parts.iter().map(|p| p.iter().map(|t| points(&t.data)).collect()).collect(),
        gates: (0..graph.len()).map(gates).collect(),
        kept: Vec::new(),
        gradients: Vec::new(),
    };
    let evidence = Evidence { graph, values: &values, cotangents: &cotangents, exact: &exact };
    let t = Instant::now();
    let forward = bounds::eval(evidence, Centre::Run, |_| Mag::ZERO);
    let backward = bounds::backprop(evidence, &forward, &seeds, &wanted, Centre::Run, add_bound);
    let errors = t.elapsed().as_secs_f64() * 1e3;
    drop((forward, backward));
    let t = Instant::now();
    let ranges = scale::eval(graph, Mag::ZERO);
    let back = scale::backprop(graph, &ranges, &seeds, &wanted);
    let scales = t.elapsed().as_secs_f64() * 1e3;
    drop((ranges, back));
    println!(", bounds {errors:.3} ms, scales {scales:.3} ms: {:.2} runs", (errors + scales) / median);
}
