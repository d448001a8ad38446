//! Kinds of training graph beyond forward and loss: what people's tools write is certified as it is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use prost::Message as _;
use tract_onnx::pb;

use crate::corpus;
use certify::certificate::{Certificate, GradientSource, ModelVerdict, Policy, Status};
use certify::data::{HostTensor, npz};
use certify::import::weights;
use certify::session::{self, InputChoice, Outcome, Quiet, Request};

/// A request on synthetic inputs.
fn request(model: &Path) -> Request {
    Request {
        model: model.to_path_buf(),
        inputs: InputChoice::Random { seed: 1, sizes: BTreeMap::from([("N".to_string(), 6)]) },
        cotangents: Vec::new(),
        params: Vec::new(),
        freeze: Vec::new(),
        weights: None,
        objective: None,
        outputs: Vec::new(),
        seed_masks: Some(7),
        region: None,
        policy: Policy::default(),
        reproduce: String::new(),
    }
}

fn certified(r: &Request) -> Outcome {
    session::certify(r, &Quiet).unwrap_or_else(|e| panic!("{}: {e}", r.model.display()))
}

/// All gradients pass, and all of the file's own are the derivatives.
fn both_senses(c: &Certificate) {
    let bad: Vec<_> = c.gradients.iter().filter(|g| g.verdict != Status::Pass).map(|g| &g.name).collect();
    let wrong: Vec<_> = c.agreement.iter().filter(|a| a.verdict != Status::Pass).collect();
    assert!(bad.is_empty() && wrong.is_empty(), "{}: {bad:?} {wrong:#?} {:?}", c.model.file, c.warnings);
    assert_eq!(c.verdict, ModelVerdict::Certified, "{}: {:?}", c.model.file, c.checks);
}

#[test]
fn onnxruntimes_artifacts_certify_in_both_senses() {
    let Some(root) = corpus::folder() else { return };
    let all: Vec<PathBuf> = corpus::files(&root.join("ort_artifacts"), "onnx")
        .into_iter()
        .filter(|p| p.ends_with("training_model.onnx"))
        .collect();
    assert_eq!(all.len(), 7);
    for model in all {
        let c = certified(&request(&model)).certificate;
        both_senses(&c);
        assert_eq!(c.gradient_source, GradientSource::File);
        assert_eq!(c.agreement.len(), c.gradients.len());
        assert!(c.agreement.len() >= 2 && c.model.files.iter().any(|f| f.role == "weights"));
    }
}

#[test]
fn checkpoints_hold_the_weights_of_the_forward_model() {
    let Some(root) = corpus::folder() else { return };
    let mut compared = 0;
    for model in corpus::files(&root.join("ort_artifacts"), "onnx") {
        if !model.ends_with("forward.onnx") {
            continue;
        }
        let read = |p: &Path| weights::read(p).unwrap_or_else(|e| panic!("{e}")).0;
        let forward: BTreeMap<String, HostTensor> = read(&model).into_iter().collect();
        for (name, tensor) in read(&model.with_file_name("checkpoint")) {
            assert_eq!(forward.get(&name), Some(&tensor), "{name} of {}", model.display());
            compared += 1;
        }
    }
    assert!(compared > 20, "{compared}");
}

/// ONNX Runtime's own training set: weights, inputs and the loss that it computed.
#[test]
fn the_training_api_set_has_its_stored_loss() {
    let Some(root) = corpus::folder() else { return };
    let root = root.join("training_real");
    let data = root.join("ort_training_api_data");
    let text = std::fs::read_to_string(data.join("input-0.in")).expect("readable");
    // "name", then "[-0.1,0.2,…]" lines
    let numbers = |s: &str| -> Vec<f32> {
        s.split(|c: char| !(c.is_ascii_digit() || "+-.e".contains(c))).filter_map(|w| w.parse().ok()).collect()
    };
    let x: Vec<f32> = text.lines().skip(1).flat_map(numbers).collect();
    let n = x.len() / 784;
    assert_eq!((x.len() % 784, n > 0), (0, true), "{} numbers", x.len());
    // the labels that ONNX Runtime's own test of this set uses
    let arrays = [
        ("input-0".to_string(), HostTensor::f32(vec![n, 784], x)),
        ("labels".to_string(), HostTensor::i64(vec![n], vec![1; n])),
    ];
    let folder = tempfile::tempdir().expect("a folder");
    let inputs = folder.path().join("inputs.npz");
    std::fs::write(&inputs, npz::write(&arrays).expect("an archive")).expect("written");
    let mut r = request(&root.join("ort_training_api_training_model.onnx"));
    r.inputs = InputChoice::Path(inputs);
    r.weights = Some(data.join("checkpoint.ckpt"));
    let c = certified(&r).certificate;
    let stored = 2.178_624_9;
    both_senses(&c);
    assert!((c.loss[0].spec.lo() - stored).abs() < 2e-6, "{:?}", c.loss[0]);
    assert_eq!(c.gradients.len(), 4);
}

#[test]
fn ortmodule_graphs_have_their_seam() {
    let Some(root) = corpus::folder() else { return };
    let mut r = request(&root.join("training_real/ort_recompute_gelu.onnx"));
    let sizes = [("input1_dim0".to_string(), 3), ("input1_dim1".to_string(), 784)];
    r.inputs = InputChoice::Random { seed: 1, sizes: BTreeMap::from(sizes) };
    let c = certified(&r).certificate;
    both_senses(&c);
    assert_eq!(c.agreement.len(), 4);
    assert_eq!(c.seed[0].output, "data");
}

/// Copies an artifact with one node changed.
fn spoilt(root: &Path, set: &str, folder: &Path, change: impl Fn(&mut pb::NodeProto) -> bool) -> (PathBuf, String) {
    let from = root.join("ort_artifacts").join(set);
    let bytes = std::fs::read(from.join("training_model.onnx")).expect("readable");
    let mut model = pb::ModelProto::decode(&bytes[..]).expect("a model");
    let graph = model.graph.as_mut().expect("a graph");
    let name = graph.node.iter_mut().find_map(|n| change(n).then(|| n.name.clone())).expect("the node is there");
    let to = folder.join("training_model.onnx");
    std::fs::write(&to, model.encode_to_vec()).expect("written");
    std::fs::copy(from.join("checkpoint"), folder.join("checkpoint")).expect("copied");
    (to, name)
}

#[test]
fn a_wrong_gradient_node_is_found_and_named() {
    let Some(root) = corpus::folder() else { return };
    type Change = fn(&mut pb::NodeProto) -> bool;
    let cases: [(&str, Change); 3] = [
        // a cotangent that passes where the gate is shut
        ("mlp_mse_adamw", |n| {
            let hit = n.op_type == "ReluGrad";
            if hit {
                n.op_type = "TanhGrad".into();
            }
            hit
        }),
        // a cotangent scaled by a little too much
        ("attn_ce_adamw", |n| {
            let hit = n.op_type == "FusedMatMul" && n.name.contains("MatMul_1_Grad/FusedMatMul_0");
            if hit {
                n.attribute.iter_mut().filter(|a| a.name == "alpha").for_each(|a| a.f = 1.001);
            }
            hit
        }),
        // a softmax gradient along another axis
        ("attn_ce_adamw", |n| {
            let hit = n.op_type == "SoftmaxGrad_13";
            if hit {
                n.attribute.iter_mut().filter(|a| a.name == "axis").for_each(|a| a.i = 1);
            }
            hit
        }),
    ];
    for (set, change) in cases {
        let folder = tempfile::tempdir().expect("a folder");
        let (model, node) = spoilt(&root, set, folder.path(), change);
        let c = certified(&request(&model)).certificate;
        assert_eq!(c.verdict, ModelVerdict::NotCertified, "{set}");
        let wrong: Vec<_> = c.agreement.iter().filter(|a| a.verdict == Status::Fail).collect();
        assert!(!wrong.is_empty() && wrong.len() < c.agreement.len(), "{set}: {wrong:#?}");
        for a in &wrong {
            assert_eq!(a.wrong_node.as_ref().map(|w| w.node.as_str()), Some(node.as_str()), "{set}: {a:#?}");
        }
        assert!(c.warnings.iter().any(|w| w.contains(&node)), "{:?}", c.warnings);
        // the file's own nodes are computed well all the same: what is wrong is the graph
        assert!(c.gradients.iter().all(|g| g.verdict == Status::Pass), "{set}");
    }
}

#[test]
fn training_info_and_gradient_nodes_mean_our_reverse_mode() {
    let Some(root) = corpus::folder() else { return };
    let c = certified(&request(&root.join("training_info/training_info_linear.onnx"))).certificate;
    assert_eq!(c.verdict, ModelVerdict::Certified, "{:?}", c.warnings);
    assert_eq!(c.gradients.iter().map(|g| g.name.as_str()).collect::<Vec<_>>(), ["W", "b"]);
    assert_eq!(c.loss[0].output, "loss");
    for (file, y) in [("onnx_gradient_of_add", "c"), ("onnx_gradient_of_add_and_mul", "d")] {
        let out = certified(&request(&root.join(format!("training_real/{file}.onnx"))));
        let c = &out.certificate;
        assert_eq!(c.seed[0].output, y);
        assert_eq!(c.gradients.iter().map(|g| g.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(c.gradient_source, GradientSource::Derived);
        assert_eq!(c.verdict, ModelVerdict::Certified);
    }
}

#[test]
fn gradients_spelled_out_in_operators_are_certified_forward() {
    let Some(root) = corpus::folder() else { return };
    let mut r = request(&root.join("torch_exports/mlp_ce_joint_makefx_dynamo.onnx"));
    r.outputs = vec!["*".into()];
    let c = certified(&r).certificate;
    assert_eq!(c.gradient_source, GradientSource::File);
    assert_eq!((c.gradients.len(), c.verdict), (5, ModelVerdict::Certified), "{:?}", c.warnings);
    assert!(c.gradients.iter().all(|g| g.bounds.iter().count() > 2));
    // jax2onnx lost the transposition of two products: their sizes don't fit, whatever runs them
    r.model = root.join("jax_training/mlp_ce_value_and_grad.onnx");
    let text = session::certify(&r, &Quiet).expect_err("the file contradicts itself").to_string();
    assert!(text.contains("inner sizes") && text.contains("node_Gemm_82"), "{text}");
}

#[test]
fn inference_graphs_take_a_loss() {
    let Some(root) = corpus::folder() else { return };
    let model = root.join("models/lunarlander.onnx");
    for loss in ["cross-entropy", "mse", "bce-logits", "sum"] {
        let mut r = request(&model);
        r.objective = Some(loss.parse().expect("a loss"));
        let c = certified(&r).certificate;
        assert_ne!(c.verdict, ModelVerdict::NotCertified, "{loss}: {:?}", c.warnings);
        assert_eq!((c.loss.len(), c.gradients.len()), (1, 6), "{loss}");
        let inputs: Vec<&str> = c.inputs.tensors.iter().map(|t| t.name.as_str()).collect();
        let target: &[&str] = match loss {
            "cross-entropy" => &["input", "labels"],
            "sum" => &["input"],
            _ => &["input", "target"],
        };
        assert_eq!(inputs, target);
    }
}
