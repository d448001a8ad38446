//! Real models with synthetic inputs: which are lowered, and why the others are refused.

use std::collections::BTreeMap;

use crate::corpus;
use certify::import::{self, Inputs, Options, Seed};

/// Lowers every model of a folder; prints the table; returns how many were lowered.
fn survey(folder: &str) -> Option<(usize, usize)> {
    let root = corpus::folder()?;
    let files = corpus::files(&root.join(folder), "onnx");
    let mut lowered = 0;
    for path in &files {
        let model = import::read(path).unwrap_or_else(|e| panic!("{e}"));
        let name = path.strip_prefix(&root).unwrap_or(path).display();
        let options = Options { seed: Seed::None, ..Options::default() };
        let inputs = Inputs::synthetic(&model, 1, &BTreeMap::new());
        match inputs.and_then(|inputs| import::lower(&model, &inputs, &options)) {
            Ok(l) => {
                l.graph.check().unwrap_or_else(|e| panic!("{name}: {e}"));
                lowered += 1;
                let (leaves, nodes, parameters) =
                    (l.graph.leaves().len(), l.graph.nodes().len(), l.parameters().count());
                println!("{name}: {leaves} leaves, {nodes} nodes, {parameters} parameters");
            }
            Err(problems) => {
                let mut why: BTreeMap<&str, usize> = BTreeMap::new();
                problems.0.iter().for_each(|d| *why.entry(&d.what).or_default() += 1);
                println!("{name}: refused: {why:?}");
            }
        }
    }
    println!("{folder}: {lowered} of {} lowered", files.len());
    Some((lowered, files.len()))
}

#[test]
fn inference_models_lower() {
    assert!(survey("models").is_none_or(|(n, _)| n >= 19));
}

#[test]
fn torch_exports_lower_or_name_their_dropout() {
    assert!(survey("torch_exports").is_none_or(|(n, _)| n >= 19));
}

#[test]
fn other_training_files_are_lowered_or_refused_without_panic() {
    for folder in ["jax_training", "training_info", "ort_artifacts", "training_real"] {
        assert!(survey(folder).is_none_or(|(n, _)| n >= 1));
    }
}

#[test]
fn lost_batch_normalizations_are_warned_about() {
    let Some(root) = corpus::folder() else { return };
    let warned = |file: &str| {
        let model = import::read(&root.join("torch_exports").join(file)).unwrap_or_else(|e| panic!("{e}"));
        import::lower::notes(&model).iter().filter(|n| n.warning).count()
    };
    assert_eq!(warned("cnn_ce_dynamo.onnx"), 1);
    assert_eq!(warned("arch_unet_dynamo.onnx"), 1);
    assert_eq!(warned("cnn_ce_ts.onnx"), 0);
    assert_eq!(warned("mlp_ce_dynamo.onnx"), 0);
    // its batch normalization, and its label smoothing
    assert_eq!(warned("cnn_ce_ls_dynamo.onnx"), 2);
    // two scales of layer normalizations were equal; its transposed weights have lost their names
    assert_eq!(warned("arch_vit_tiny_dynamo.onnx"), 2);
    assert_eq!(warned("arch_vit_tiny_ts.onnx"), 0);
}
