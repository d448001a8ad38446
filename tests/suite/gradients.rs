//! PyTorch's training graphs: the right tensors are parameters, and their gradients agree.

use std::path::Path;

use crate::corpus;
use certify::data::{Data, HostTensor, npz};
use certify::error::Diagnostics;
use certify::import::{self, Inputs, Lowered, Options};
use certify::ir::{Tensor, ValueId};
use certify::runtime;
use certify::seed::Seed;

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
