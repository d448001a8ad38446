//! PyTorch's training graphs: the right tensors are parameters, and their gradients agree.

use std::path::Path;

use crate::corpus;
use certify::data::{Data, HostTensor, npz};
use certify::error::Diagnostics;
use certify::import::{self, Inputs, Lowered, Options};
use certify::ir::{Tensor, ValueId};
use certify::runtime;
use certify::seed::Seed;
use certify::spec::{exact, exact::first_precision};

fn lower(dir: &Path) -> Result<Lowered, Diagnostics> {
    let model = import::read(&dir.join("model.onnx"))?;
    let inputs = Inputs::read(&dir.join("inputs.npz"), &model)?;
    import::lower(&model, &inputs, &Options::default())
}

/// The binary32 gradients of the parameters.
fn gradients(lowered: &Lowered) -> Vec<(String, Tensor)> {
    let graph = &lowered.graph;
    let values = runtime::eval(graph).unwrap_or_else(|e| panic!("{e}"));
    let seeds: Vec<Seed> = lowered.seeds.iter().map(|(_, v, t)| Seed { value: *v, cotangent: t.clone() }).collect();
    let cotangents =
        runtime::backprop(graph, &values, &seeds, &graph.differentiated(&[])).unwrap_or_else(|e| panic!("{e}"));
    let zero = |v: ValueId| Tensor::filled(graph.shape(v), 0.0);
    let of = |v: ValueId| cotangents.total[v.index()].clone().unwrap_or_else(|| zero(v));
    lowered.parameters().map(|(name, v)| (name.to_string(), of(v))).collect()
}

fn f32s(t: &HostTensor) -> Vec<f64> {
    match &t.data {
        Data::F32(v) => v.iter().map(|&x| f64::from(x)).collect(),
        Data::F64(v) => v.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn parameters_and_gradients_are_pytorchs() {
    let Some(root) = corpus::folder() else { return };
    let mut done = 0;
    let mut refused = Vec::new();
    for model in corpus::files(&root.join("gradients"), "onnx") {
        let dir = model.parent().expect("a folder");
        let lowered = match lower(dir) {
            Ok(lowered) => lowered,
            Err(problems) => {
                refused.push(format!("{}: {problems}", dir.display()));
                continue;
            }
        };
        lowered.graph.check().unwrap_or_else(|e| panic!("{e}"));
        let bytes = std::fs::read(dir.join("grads_f64.npz")).expect("readable");
        let want = npz::read(&bytes, "grads_f64.npz").unwrap_or_else(|e| panic!("{e}"));
        let got = gradients(&lowered);
        let names = |v: Vec<&String>| {
            let mut v: Vec<String> = v.into_iter().cloned().collect();
            v.sort();
            v
        };
        assert_eq!(names(got.iter().map(|(n, _)| n).collect()), names(want.iter().map(|(n, _)| n).collect()));
        let largest = want.iter().flat_map(|(_, t)| f32s(t)).fold(0.0f64, |m, x| m.max(x.abs()));
        for (name, g) in &got {
            let (_, w) = want.iter().find(|(n, _)| n == name).expect("the names agree");
            assert_eq!(w.shape, g.shape, "{name}");
            let worst = f32s(w).iter().zip(&g.data).map(|(w, g)| (w - f64::from(*g)).abs()).fold(0.0, f64::max);
            assert!(worst <= 1e-4 * largest, "{} {name}: {worst:e} of {largest:e}", dir.display());
        }
        done += 1;
    }
    println!("{done} training graphs agree; refused: {refused:#?}");
    assert!(done >= 9, "{refused:#?}");
}

/// The exact gradients of the small graphs, next to what JAX and PyTorch compute in binary64.
#[test]
fn exact_gradients_of_the_fixtures_are_the_recorded_ones() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    // attributes count as binary32 numbers for JAX, as real ones for PyTorch: an epsilon of 1e-5 differs
    let mut counts = [0, 0];
    let folders = [("graphs", 1e-12), ("torch", 1e-9)];
    let models = |folder: &str| corpus::files(&data.join(folder), "onnx");
    let all = folders.iter().enumerate().flat_map(|(k, (f, limit))| models(f).into_iter().map(move |m| (k, *limit, m)));
    for (k, limit, model) in all {
        let dir = model.parent().expect("a folder");
        let name = dir.file_name().unwrap_or_default().to_string_lossy();
        // the rules of Gelu take √2 and √(2/π) as binary32 numbers, JAX as real ones
        let limit = if name == "opset20" { 1e-8 } else { limit };
        let lowered = lower(dir).unwrap_or_else(|e| panic!("{name}: {e}"));
        let graph = &lowered.graph;
        let seeds: Vec<Seed> = lowered.seeds.iter().map(|(_, v, t)| Seed { value: *v, cotangent: t.clone() }).collect();
        let wanted = graph.differentiated(&[]);
        let parameters: Vec<ValueId> = lowered.parameters().map(|(_, v)| v).collect();
        let first = first_precision(graph, &seeds, &wanted);
        let found = exact(graph, &seeds, &wanted, &[], &parameters, first, |_| true);
        let bytes = std::fs::read(dir.join("grads_f64.npz")).expect("readable");
        let want = npz::read(&bytes, "grads_f64.npz").unwrap_or_else(|e| panic!("{e}"));
        let largest = want.iter().flat_map(|(_, t)| f32s(t)).fold(0.0f64, |m, x| m.max(x.abs()));
        assert!(want.len() >= 2 && largest > 0.0, "{name}");
        for (key, w) in &want {
            let Some((_, v)) = lowered.parameters().find(|(n, _)| n == key) else {
                assert!(f32s(w).iter().all(|&x| x == 0.0), "{name} has no {key}");
                continue;
            };
            assert_eq!(w.shape, graph.shape(v), "{name} {key}");
            let (_, balls) = found.gradients.iter().find(|(g, _)| *g == v).expect("it was asked for");
            for (i, w) in f32s(w).iter().enumerate() {
                let off = balls.as_ref().map_or(w.abs(), |b| b.data[i].distance(*w).1.get());
                assert!(off <= limit * largest, "{name} {key}[{i}]: {off:e} of {largest:e}");
            }
        }
        counts[k] += 1;
    }
    assert!(counts[0] >= 20 && counts[1] >= 8, "{counts:?}");
}
