//! tract's forward run beside ours, on every model at hand.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::corpus;
use certify::import::crosscheck::{self, CrossCheck};
use certify::import::{self, Inputs, Options, Seed};
use certify::runtime;

/// `None` where the model or its inputs have no rules.
fn run(path: &Path, inputs: &Path) -> Option<CrossCheck> {
    let model = import::read(path).unwrap_or_else(|e| panic!("{e}"));
    let inputs = Inputs::read(inputs, &model).ok()?;
    let lowered = import::lower(&model, &inputs, &Options { seed: Seed::None, ..Options::default() }).ok()?;
    let values = runtime::eval(&lowered.graph).ok()?;
    let ids: HashMap<&str, usize> = lowered.graph.named().map(|(n, v)| (n, v.index())).collect();
    Some(crosscheck::tract(&model, &inputs, &|name| ids.get(name).map(|&i| values[i].clone())))
}

fn report(name: &str, path: &Path, inputs: &Path) -> CrossCheck {
    let c = run(path, inputs).unwrap_or_else(|| panic!("{name} has no rules"));
    println!(
        "{name}: {} of {}, {:.1e} at {:?}{}",
        c.compared,
        c.of,
        c.worst_relative_difference,
        c.worst,
        c.skipped.as_ref().map(|s| format!("; {s}")).unwrap_or_default()
    );
    c
}

#[test]
fn trained_models_agree_up_to_the_loss() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    for name in ["digits_mlp", "digits_cnn"] {
        let c = report(name, &folder.join(format!("{name}.onnx")), &folder.join(format!("{name}.inputs.npz")));
        assert_eq!(c.compared + 1, c.of, "all but the loss");
        assert!(c.worst_relative_difference < 1e-5);
    }
    let name = "digits_resnet_bn";
    let c = report(name, &folder.join(format!("{name}.onnx")), &folder.join(format!("{name}.inputs.npz")));
    assert_eq!(c.compared, 1, "the convolution before the first batch normalization");
    assert!(c.skipped.is_some_and(|s| s.contains("inference mode")));
}

#[test]
fn small_graphs_agree_where_tract_runs_them() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/graphs");
    let mut names: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("fixtures").map(|e| e.expect("readable").path()).collect();
    names.sort();
    let mut compared = 0;
    for path in names {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let c = report(&name, &path.join("model.onnx"), &path.join("inputs.npz"));
        assert!(c.worst_relative_difference < 1e-5, "{name}");
        compared += c.compared;
    }
    assert!(compared > 100, "{compared}");
}

#[test]
fn the_corpus_agrees_where_tract_runs_it() {
    let Some(root) = corpus::folder() else { return };
    let mut counts = [0; 3];
    let mut differing = Vec::new();
    let [compared, skipped, without] = &mut counts;
    let gradients = corpus::files(&root.join("gradients"), "onnx");
    let gradients = gradients.into_iter().map(|p| (p.with_file_name("inputs.npz"), p));
    let nodes = corpus::files(&root.join("node_tests"), "onnx");
    let nodes = nodes.into_iter().map(|p| (p.with_file_name("test_data_set_0"), p));
    for (inputs, path) in gradients.chain(nodes) {
        let Some(c) = run(&path, &inputs) else {
            *without += 1;
            continue;
        };
        if c.worst_relative_difference >= 1e-5 {
            differing.push(format!("{}: {c:?}", path.display()));
        }
        *(if c.compared > 0 { &mut *compared } else { &mut *skipped }) += 1;
    }
    println!("{} graphs compared, {} that tract doesn't run, {} without rules", counts[0], counts[1], counts[2]);
    assert!(differing.is_empty(), "{}", differing.join("\n"));
    assert!(counts[0] > 250, "{counts:?}");
}
