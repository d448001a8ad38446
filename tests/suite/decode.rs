//! Every file of the corpus is read; what can't be is named with its reason.

use std::collections::BTreeMap;

use crate::corpus;
use certify::import::{self, Inputs};

#[test]
fn every_model_of_the_corpus_decodes() {
    let Some(root) = corpus::folder() else { return };
    let files = corpus::files(&root, "onnx");
    assert!(files.len() > 700, "{} models", files.len());
    let mut failures = Vec::new();
    let mut layers = 0;
    for path in &files {
        match import::read(path) {
            Ok(model) => {
                layers +=
                    model.graph.nodes.iter().filter(|n| n.metadata.contains_key("pkg.torch.onnx.name_scopes")).count();
            }
            Err(problems) => failures.push(problems.to_string()),
        }
    }
    assert!(layers > 100, "{layers} nodes with PyTorch scopes");
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), files.len(), failures.join("\n"));
}

#[test]
fn every_archive_of_the_corpus_is_read() {
    let Some(root) = corpus::folder() else { return };
    for path in corpus::files(&root, "npz") {
        let bytes = std::fs::read(&path).expect("readable");
        let arrays = certify::data::npz::read(&bytes, &path.display().to_string()).unwrap_or_else(|e| panic!("{e}"));
        assert!(!arrays.is_empty());
        let again = certify::data::npz::write(&arrays).unwrap_or_else(|e| panic!("{e}"));
        let back = certify::data::npz::read(&again, "again").unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(arrays.len(), back.len());
    }
}

#[test]
fn inputs_fit_their_models() {
    let Some(root) = corpus::folder() else { return };
    for path in corpus::files(&root.join("gradients"), "onnx") {
        let model = import::read(&path).unwrap_or_else(|e| panic!("{e}"));
        Inputs::read(&path.with_file_name("inputs.npz"), &model).unwrap_or_else(|e| panic!("{e}"));
    }
    let (mut read, mut refused) = (0, BTreeMap::<String, usize>::new());
    for path in corpus::files(&root.join("node_tests"), "onnx") {
        let model = import::read(&path).unwrap_or_else(|e| panic!("{e}"));
        match Inputs::read(&path.with_file_name("test_data_set_0"), &model) {
            Ok(_) => read += 1,
            Err(e) => *refused.entry(e.0[0].what.clone()).or_default() += 1,
        }
    }
    println!("{read} node tests with readable inputs; refused: {refused:#?}");
    assert!(read > 690, "{read} read, refused: {refused:#?}");
}

#[test]
fn synthetic_inputs_exist_for_every_inference_model() {
    let Some(root) = corpus::folder() else { return };
    for path in corpus::files(&root.join("models"), "onnx") {
        let model = import::read(&path).unwrap_or_else(|e| panic!("{e}"));
        Inputs::synthetic(&model, 1, &BTreeMap::new()).unwrap_or_else(|e| panic!("{e}"));
    }
}
