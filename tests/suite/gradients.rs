//! PyTorch's training graphs: the right tensors are parameters, and their gradients agree.

use std::path::Path;

use crate::corpus;
use crate::node_tests::run;
use certify::data::{Data, HostTensor, npz};
use certify::error::Diagnostics;
use certify::import::{self, Inputs, Lowered, Options};
use certify::ir::{Tensor, ValueId};
use certify::ops::RevNode;

fn lower(dir: &Path) -> Result<Lowered, Diagnostics> {
    let model = import::read(&dir.join("model.onnx"))?;
    let inputs = Inputs::read(&dir.join("inputs.npz"), &model)?;
    import::lower(&model, &inputs, &Options::default())
}

/// Cotangents of the parameters by plain accumulation.
fn backprop(lowered: &Lowered) -> Vec<(String, Tensor)> {
    let graph = &lowered.graph;
    let values = run(graph);
    let wanted = graph.differentiated(&[]);
    let mut bar: Vec<Option<Tensor>> = vec![None; graph.len()];
    let add = |bar: &mut Vec<Option<Tensor>>, v: ValueId, t: &Tensor| match &mut bar[v.index()] {
        Some(sum) => sum.data.iter_mut().zip(&t.data).for_each(|(s, x)| *s += x),
        empty => *empty = Some(t.clone()),
    };
    for (_, v, t) in &lowered.seeds {
        add(&mut bar, *v, t);
    }
    for (k, node) in graph.nodes().iter().enumerate().rev() {
        let Some(ybar) = bar[graph.node_id(k).index()].clone() else { continue };
        let x: Vec<&Tensor> = node.operands.iter().map(|o| &values[o.index()]).collect();
        let need: Vec<bool> = node.operands.iter().map(|o| wanted[o.index()]).collect();
        let y = &values[graph.node_id(k).index()];
        for (o, xbar) in node.operands.iter().zip(node.op.vjp_runtime(&x, y, &ybar, &need)) {
            if let (true, Some(t)) = (wanted[o.index()], xbar) {
                add(&mut bar, *o, &t);
            }
        }
    }
    lowered
        .parameters()
        .map(|(n, v)| {
            let zero = || Tensor::filled(graph.shape(v), 0.0);
            (n.to_string(), bar[v.index()].clone().unwrap_or_else(zero))
        })
        .collect()
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
        let got = backprop(&lowered);
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
