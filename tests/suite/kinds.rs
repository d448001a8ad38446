//! Kinds of training graph beyond forward and loss: what people's tools write is certified as it is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use prost::Message as _;
use tract_onnx::pb;

use crate::corpus;
use certify::certificate::{Certificate, GradientSource, ModelVerdict, Status};
use certify::data::{HostTensor, npz};
use certify::import::weights;
use certify::session::{self, InputChoice, Outcome, Quiet, Request};

/// A request on synthetic inputs.
fn request(model: &Path) -> Request {
    let inputs = InputChoice::Random { seed: 1, sizes: BTreeMap::from([("N".to_string(), 6)]) };
    Request { seed_masks: Some(7), ..Request::new(model.to_path_buf(), inputs) }
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

/// The certificate of a copy of a request.
fn with(r: &Request, change: impl FnOnce(&mut Request)) -> Certificate {
    let mut r = r.clone();
    change(&mut r);
    certified(&r).certificate
}

#[test]
fn losses_are_what_their_names_say() {
    let Some(root) = corpus::folder() else { return };
    let mut r = request(&root.join("models/lunarlander.onnx"));
    r.outputs = vec!["output".into()];
    let scores = certified(&r).dump;
    let (_, outputs) = scores.iter().find(|(n, _)| *n == "outputs_spec.npz").expect("outputs");
    let certify::data::Data::F64(x) = &outputs[0].1.data else { panic!("binary64 midpoints") };
    r.outputs.clear();
    let folder = tempfile::tempdir().expect("a folder");
    let model = certify::import::read(&r.model).unwrap_or_else(|e| panic!("{e}"));
    let inputs = r.inputs.read(&model).unwrap_or_else(|e| panic!("{e}"));
    let target = [1.0f32, 0.0, 1.0, 0.5];
    let sum: f64 = x.iter().map(|v| v.exp()).sum();
    let pairs = || x.iter().zip(target).map(|(x, t)| (*x, f64::from(t)));
    let wanted = [
        ("cross-entropy", sum.ln() - x[2]),
        ("nll", -x[2]),
        ("mse", pairs().map(|(x, t)| (x - t) * (x - t)).sum::<f64>() / 4.0),
        ("bce-logits", pairs().map(|(x, t)| x.max(0.0) - x * t + (-x.abs()).exp().ln_1p()).sum::<f64>() / 4.0),
        ("sum", x.iter().sum()),
    ];
    for (kind, value) in wanted {
        let mut arrays = inputs.values.clone();
        match kind {
            "cross-entropy" | "nll" => arrays.push(("labels".into(), HostTensor::i64(vec![1], vec![2]))),
            "mse" | "bce-logits" => arrays.push(("target".into(), HostTensor::f32(vec![1, 4], target.to_vec()))),
            _ => {}
        }
        let file = folder.path().join("inputs.npz");
        std::fs::write(&file, npz::write(&arrays).expect("an archive")).expect("written");
        let c = with(&r, |r| {
            r.inputs = InputChoice::Path(file);
            r.objective = Some(kind.parse().expect("a loss"));
        });
        let loss = c.loss[0].spec;
        // the scores that the loss is computed from are midpoints, rounded to binary64
        assert!((loss.lo() - value).abs() <= 1e-12 * value.abs().max(1.0), "{kind}: {loss:?} {value}");
        assert_eq!(c.gradients.len(), 6);
    }
}

#[test]
fn weights_come_from_any_of_four_kinds_of_file() {
    let Some(root) = corpus::folder() else { return };
    let set = root.join("ort_artifacts/mlp_ce_sgd");
    let (tensors, _) = weights::read(&set.join("checkpoint")).unwrap_or_else(|e| panic!("{e}"));
    let folder = tempfile::tempdir().expect("a folder");
    let (archive, safe) = (folder.path().join("weights.npz"), folder.path().join("weights.safetensors"));
    std::fs::write(&archive, npz::write(&tensors).expect("an archive")).expect("written");
    // safetensors: the length of a JSON header, the header, then the data
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, t) in &tensors {
        let begin = data.len();
        t.as_f32().expect("FLOAT").iter().for_each(|x| data.extend(x.to_le_bytes()));
        let entry = serde_json::json!({"dtype": "F32", "shape": t.shape, "data_offsets": [begin, data.len()]});
        header.insert(name.clone(), entry);
    }
    let header = serde_json::Value::Object(header).to_string();
    let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat();
    std::fs::write(&safe, bytes).expect("written");
    let r = request(&set.join("eval_model.onnx"));
    let files = [set.join("checkpoint"), set.join("forward.onnx"), archive, safe];
    let all = files.map(|f| with(&r, |r| r.weights = Some(f)));
    for c in &all {
        assert_eq!((c.verdict, c.gradients.len()), (ModelVerdict::Certified, 4), "{:?}", c.warnings);
        assert_eq!(c.gradients, all[0].gradients);
        assert_eq!(c.model.files.iter().filter(|f| f.role == "weights" && f.sha256.len() == 64).count(), 1);
    }
    // a file without the weights
    let other = root.join("ort_artifacts/cnn_ce_adamw/checkpoint");
    let mut wrong = r.clone();
    wrong.weights = Some(other);
    assert!(session::certify(&wrong, &Quiet).is_err());
}

#[test]
fn masks_are_drawn_once_recorded_and_hashed() {
    let odd = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/odd");
    let mut r = request(&odd.join("dropout.onnx"));
    r.inputs = InputChoice::Path(odd.join("dropout.npz"));
    r.seed_masks = None;
    let text = session::certify(&r, &Quiet).expect_err("nothing to draw from").to_string();
    assert!(text.contains("Dropout draws at random") && text.contains("--seed-masks"), "{text}");
    let seeded = |n: u64| {
        let mut r = r.clone();
        r.seed_masks = Some(n);
        certified(&r)
    };
    let hash = |o: &Outcome| {
        let file = o.certificate.model.files.iter().find(|f| f.role == "masks").expect("the masks are hashed");
        file.sha256.clone()
    };
    let (one, again, other) = (seeded(3), seeded(3), seeded(4));
    assert_eq!(hash(&one), hash(&again));
    assert_eq!(one.certificate.gradients, again.certificate.gradients);
    assert_ne!(hash(&one), hash(&other));
    assert_ne!(one.certificate.loss, other.certificate.loss);
    let (_, masks) = one.dump.iter().find(|(n, _)| *n == "masks.npz").expect("the masks are stored");
    let bits = masks[0].1.as_bool().expect("BOOL");
    assert!(bits.contains(&true) && bits.contains(&false));
}

#[test]
fn other_shapes_than_the_file_states_can_be_asked_for() {
    let Some(root) = corpus::folder() else { return };
    let mut r = request(&root.join("models/super_resolution.onnx"));
    r.objective = Some("mse".parse().expect("a loss"));
    let names = [("input", vec![1, 1, 12, 8]), ("image", vec![1]), ("input", vec![1])];
    r.shapes = names.map(|(n, s)| (n.to_string(), s)).to_vec();
    let text = session::certify(&r, &Quiet).expect_err("names are checked").to_string();
    assert!(text.contains("no input \"image\"") && text.contains("\"input\" is given two shapes"), "{text}");
    r.shapes.truncate(1);
    let c = certified(&r).certificate;
    let shapes: Vec<&[u64]> = c.inputs.tensors.iter().map(|t| t.shape.as_slice()).collect();
    // three times as many pixels each way
    assert_eq!(shapes, [&[1, 1, 12, 8][..], &[1, 1, 36, 24]]);
    let note = "input \"input\" has the shape [1, 1, 12, 8] by --shape; the file states [batch_size, 1, 224, 224]";
    assert!(c.notes.iter().any(|n| n == note), "{:?}", c.notes);
}

#[test]
fn patterns_choose_what_is_a_parameter() {
    let Some(root) = corpus::folder() else { return };
    let mut r = request(&root.join("models/lunarlander.onnx"));
    r.objective = Some("sum".parse().expect("a loss"));
    let names = |c: &Certificate| c.gradients.iter().map(|g| g.name.clone()).collect::<Vec<_>>();
    let all = names(&with(&r, |_| {}));
    let some = names(&with(&r, |r| r.freeze = vec![all[0].clone(), format!("{}*", all[1])]));
    assert_eq!(some, all[2..]);
    let more = names(&with(&r, |r| r.params = vec!["inp?t".into()]));
    assert!(more.contains(&"input".to_string()) && more.len() == all.len() + 1, "{more:?}");
}

#[test]
fn what_an_exporter_lost_is_said_loudly() {
    let Some(root) = corpus::folder() else { return };
    let model = root.join("torch_exports/cnn_ce_ls_dynamo.onnx");
    let folder = tempfile::tempdir().expect("a folder");
    let out = std::process::Command::new(env!("CARGO_BIN_EXE_certify"))
        .current_dir(folder.path())
        .arg(&model)
        .args(["--random", "1", "--seed-masks", "7", "--certificate", "c.json", "--report", "r.html"])
        .output()
        .expect("it starts");
    let terminal = [out.stdout, out.stderr].map(|b| String::from_utf8_lossy(&b).into_owned()).concat();
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).expect("written");
    let c = Certificate::from_json(&read("c.json")).unwrap_or_else(|e| panic!("{}", e.what));
    let report = read("r.html");
    for what in ["batch normalization", "label smoothing"] {
        assert!(c.warnings.iter().any(|w| w.contains(what)), "{what}: {:?}", c.warnings);
        assert!(report.contains(what) && terminal.contains(what), "{what}\n{terminal}");
    }
}

/// The small ones of the real models; `CERTIFY_ALL_MODELS` certifies all of them, which takes an hour.
#[test]
fn real_models_are_certified_or_refuted() {
    let Some(root) = corpus::folder() else { return };
    let small = [
        ("acasxu_1_1", "linear_7_Add"),
        ("cnn_mnist_pytorch", "21"),
        ("convnet_maxpool", "output"),
        ("gru_bidir", "Y"),
        ("lunarlander", "output"),
    ];
    let all = std::env::var_os("CERTIFY_ALL_MODELS").is_some();
    let mut decided = 0;
    for model in corpus::files(&root.join("models"), "onnx") {
        let name = model.file_stem().expect("a name").to_string_lossy().into_owned();
        let known = small.iter().find(|(n, _)| *n == name).map(|(_, o)| o.to_string());
        if !all && known.is_none() {
            continue;
        }
        let file = certify::import::read(&model).unwrap_or_else(|e| panic!("{e}"));
        let output = known.unwrap_or_else(|| file.graph.outputs[0].name.clone());
        let mut r = request(&model);
        r.cotangents = vec![(output, certify::import::Cotangent::Ones)];
        match session::certify(&r, &Quiet) {
            Ok(o) => {
                assert_ne!(o.certificate.verdict, ModelVerdict::Undecided, "{name}: {:?}", o.certificate.warnings);
                decided += 1;
            }
            Err(e) => println!("{name}: {e}"),
        }
    }
    assert!(decided >= if all { 20 } else { small.len() }, "{decided}");
}
