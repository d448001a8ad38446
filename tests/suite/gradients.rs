//! PyTorch's training graphs: the right tensors are parameters, and their gradients agree.

use std::path::Path;

use crate::corpus;
use certify::certificate::ModelVerdict;
use certify::data::{Data, HostTensor, npz};
use certify::error::Diagnostics;
use certify::import::{self, Inputs, Lowered, Options};
use certify::ir::{Array, Tensor, ValueId};
use certify::num::Ball;
use certify::runtime;
use certify::seed::Seed;
use certify::session::{self, ChainChoice, InputChoice, Quiet, Request};
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

/// The exact gradients of the parameters; `None` is an exact zero.
fn exact_gradients(lowered: &Lowered) -> Vec<(String, Option<Array<Ball>>)> {
    let graph = &lowered.graph;
    let seeds: Vec<Seed> = lowered.seeds.iter().map(|(_, v, t)| Seed { value: *v, cotangent: t.clone() }).collect();
    let wanted = graph.differentiated(&[]);
    let parameters: Vec<ValueId> = lowered.parameters().map(|(_, v)| v).collect();
    let first = first_precision(graph, &seeds, &wanted);
    let mut found = exact(graph, &seeds, &wanted, &[], &parameters, first, |_| true).gradients;
    let mut of = |v: ValueId| found.iter_mut().find(|(g, _)| *g == v).expect("it was asked for").1.take();
    lowered.parameters().map(|(name, v)| (name.to_string(), of(v))).collect()
}

fn recorded(dir: &Path, file: &str) -> Vec<(String, HostTensor)> {
    let bytes = std::fs::read(dir.join(file)).expect("readable");
    let mut all = npz::read(&bytes, file).unwrap_or_else(|e| panic!("{e}"));
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

fn largest(all: &[(String, HostTensor)]) -> f64 {
    all.iter().flat_map(|(_, t)| f32s(t)).fold(0.0f64, |m, x| m.max(x.abs()))
}

/// How far exact gradients are from recorded ones at most.
fn farthest(balls: Option<&Array<Ball>>, want: &[f64]) -> f64 {
    let off = |(i, w): (usize, &f64)| balls.map_or(w.abs(), |b| b.data[i].distance(*w).1.get());
    want.iter().enumerate().map(off).fold(0.0, f64::max)
}

/// The corpus' training graphs, and how far exact gradients may be from PyTorch's binary64 ones, in units of the
/// model's largest ‖g‖∞.
///
/// Where the file holds binary32 constants for PyTorch's real ones, the exact gradients are those of the file: √2 of
/// Gelu in three of them.
const PYTORCH: [(&str, f64); 11] = [
    ("autoencoder_mse", 1e-9),
    ("bert_tiny", 1e-7),
    ("cnn_bn_ce", 1e-9),
    ("deep_relu_9x64", 1e-9),
    ("digits_cnn", 1e-9),
    ("lenet", 1e-9),
    ("mlp_ce", 1e-9),
    ("mlp_mse", 1e-9),
    ("resnet8_bn", 1e-9),
    ("transformer_enc", 1e-7),
    ("vit_tiny", 1e-7),
];

#[test]
fn parameters_and_gradients_are_pytorchs() {
    let Some(root) = corpus::folder() else { return };
    let root = root.join("gradients");
    assert_eq!(corpus::files(&root, "onnx").len(), PYTORCH.len(), "every one of them has its limit");
    for (name, limit) in PYTORCH {
        let dir = root.join(name);
        let lowered = lower(&dir).unwrap_or_else(|e| panic!("{name}: {e}"));
        lowered.graph.check().unwrap_or_else(|e| panic!("{e}"));
        let (f64s, singles) = (recorded(&dir, "grads_f64.npz"), recorded(&dir, "grads_f32.npz"));
        let top = largest(&f64s);
        let (mut run, mut spec) = (gradients(&lowered), exact_gradients(&lowered));
        run.sort_by(|a, b| a.0.cmp(&b.0));
        spec.sort_by(|a, b| a.0.cmp(&b.0));
        let names = |all: &[(String, HostTensor)]| all.iter().map(|(n, _)| n.clone()).collect::<Vec<_>>();
        assert_eq!(run.iter().map(|(n, _)| n.clone()).collect::<Vec<_>>(), names(&f64s), "{name}");
        assert_eq!(names(&singles), names(&f64s), "{name}");
        let (mut off, mut off_spec) = (0.0f64, 0.0f64);
        for (k, (parameter, want)) in f64s.iter().enumerate() {
            let (got, single) = (&run[k].1, f32s(&singles[k].1));
            assert_eq!(want.shape, got.shape, "{name} {parameter}");
            let far = single.iter().zip(&got.data).map(|(w, g)| (w - f64::from(*g)).abs()).fold(0.0, f64::max);
            off = off.max(far / top);
            off_spec = off_spec.max(farthest(spec[k].1.as_ref(), &f32s(want)) / top);
            assert!(far <= 1e-4 * top, "{name} {parameter}: the run is {far:e} of {top:e} off");
            assert!(off_spec <= limit, "{name} {parameter}: the exact gradient is {off_spec:e} of {top:e} off");
        }
        println!(
            "{name}: exact gradients {off_spec:.1e} off PyTorch's in binary64, the run {off:.1e} off its binary32"
        );
    }
}

/// Softmax doesn't see what is added to all scores of a row, so the bias of the keys has a gradient of 0.
#[test]
fn key_biases_have_a_gradient_of_zero() {
    let Some(root) = corpus::folder() else { return };
    let root = root.join("gradients");
    let of = |name: &str| exact_gradients(&lower(&root.join(name)).unwrap_or_else(|e| panic!("{name}: {e}")));
    // far below the rounding of a run, which is 1e-9 here
    let zero = |b: &Ball| b.distance(0.0).0 == 0.0 && b.distance(0.0).1.get() < 1e-16;
    let mut keys = 0;
    for (parameter, balls) in of("bert_tiny") {
        let none = balls.as_ref().is_none_or(|b| b.data.iter().all(zero));
        assert_eq!(none, parameter.ends_with("attention.self.key.bias"), "{parameter}");
        keys += usize::from(none);
    }
    assert_eq!(keys, 2);
    // queries, keys and values in one tensor
    let mut packed = 0;
    for (parameter, balls) in of("transformer_enc") {
        let balls = balls.expect("all take part");
        if parameter.ends_with("in_proj_bias") {
            let third = balls.data.len() / 3;
            let zeros: Vec<bool> = balls.data.iter().map(zero).collect();
            assert!(zeros[third..2 * third].iter().all(|&z| z), "{parameter}: {zeros:?}");
            assert!(!zeros[..third].iter().chain(&zeros[2 * third..]).any(|&z| z), "{parameter}: {zeros:?}");
            packed += 1;
        }
    }
    assert_eq!(packed, 2);
    // nothing passes a head of zeros: all but its own gradients are 0
    let through = of("vit_tiny");
    let is_zero =
        |b: &Option<Array<Ball>>| b.as_ref().is_none_or(|b| b.data.iter().all(|x| x.distance(0.0).1.is_zero()));
    assert_eq!((through.len(), through.iter().filter(|(_, b)| is_zero(b)).count()), (32, 30));
}

/// What the certificate says of gradients of 0: that they are, and that no digit of the run's can be right.
#[test]
fn gradients_of_zero_are_shown_as_such() {
    let Some(root) = corpus::folder() else { return };
    for (name, zeros, text) in [
        ("vit_tiny", 30, "the exact gradient is 0"),
        ("bert_tiny", 2, "the exact gradient may be 0"),
        ("cnn_bn_ce", 1, "the exact gradient may be 0"),
    ] {
        let dir = root.join("gradients").join(name);
        let request = Request {
            chain: ChainChoice::Off,
            ..Request::new(dir.join("model.onnx"), InputChoice::Path(dir.join("inputs.npz")))
        };
        let c = session::certify(&request, &Quiet).unwrap_or_else(|e| panic!("{name}: {e}")).certificate;
        let said: Vec<_> = c.gradients.iter().filter(|g| g.warnings.iter().any(|w| w.contains(text))).collect();
        assert_eq!(said.len(), zeros, "{name}");
        for g in said {
            assert!(g.spec_norm.hi() < 1e-16, "{name} {}: {:?}", g.name, g.spec_norm);
            assert!(g.max_abs.get() == 0.0 || g.correct_digits.get() == 0.0, "{name} {}", g.name);
        }
        assert_eq!(c.verdict, ModelVerdict::Certified, "{name}");
    }
}

/// Where queries, keys and values share one tensor, a third of its gradient is 0: said of the entries.
#[test]
fn entries_that_are_rounding_error_only_are_counted() {
    let Some(root) = corpus::folder() else { return };
    let dir = root.join("gradients/transformer_enc");
    let request = Request {
        chain: ChainChoice::Off,
        ..Request::new(dir.join("model.onnx"), InputChoice::Path(dir.join("inputs.npz")))
    };
    let c = session::certify(&request, &Quiet).unwrap_or_else(|e| panic!("{e}")).certificate;
    for g in &c.gradients {
        let (lost, entries) = (g.lost_entries.expect("they are counted"), g.shape.iter().product::<u64>());
        let said = format!("{lost} of {entries} entries show rounding error only");
        let packed = g.name.ends_with("in_proj_bias");
        assert_eq!(g.warnings.iter().any(|w| w.starts_with(&said)), packed, "{}: {:?}", g.name, g.warnings);
        // those of the keys that the run doesn't happen to have as 0
        let third = entries / 3;
        assert!(!packed || (third / 2..=third).contains(&lost), "{}: {said}", g.name);
    }
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
        // 0.044715 and 2/π of Gelu are binary32 numbers in the graph, real ones in JAX
        let limit = if name == "opset20" { 1e-8 } else { limit };
        let lowered = lower(dir).unwrap_or_else(|e| panic!("{name}: {e}"));
        let found = exact_gradients(&lowered);
        let want = recorded(dir, "grads_f64.npz");
        let largest = largest(&want);
        assert!(want.len() >= 2 && largest > 0.0, "{name}");
        for (key, w) in &want {
            let Some((_, balls)) = found.iter().find(|(n, _)| n == key) else {
                assert!(f32s(w).iter().all(|&x| x == 0.0), "{name} has no {key}");
                continue;
            };
            assert!(balls.as_ref().is_none_or(|b| b.shape == w.shape), "{name} {key}");
            let off = farthest(balls.as_ref(), &f32s(w));
            assert!(off <= limit * largest, "{name} {key}: {off:e} of {largest:e}");
        }
        counts[k] += 1;
    }
    assert!(counts[0] >= 20 && counts[1] >= 8, "{counts:?}");
}
