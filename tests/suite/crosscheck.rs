//! tract's forward run beside ours, on every model at hand.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::corpus;
use certify::import::crosscheck::{self, CrossCheck};
use certify::import::{self, Inputs, Options, Seed};
use certify::runtime;

fn run(path: &Path, inputs: &Path) -> CrossCheck {
    let model = import::read(path).unwrap_or_else(|e| panic!("{e}"));
    let inputs = Inputs::read(inputs, &model).unwrap_or_else(|e| panic!("{e}"));
    let lowered = import::lower(&model, &inputs, &Options { seed: Seed::None, ..Options::default() })
        .unwrap_or_else(|e| panic!("{e}"));
    let values = runtime::eval(&lowered.graph).unwrap_or_else(|e| panic!("{e}"));
    let ids: HashMap<&str, usize> = lowered.graph.named().map(|(n, v)| (n, v.index())).collect();
    crosscheck::tract(&model, &inputs, &|name| ids.get(name).map(|&i| values[i].clone()))
}

fn report(name: &str, path: &Path, inputs: &Path) -> CrossCheck {
    let start = std::time::Instant::now();
    let c = run(path, inputs);
    println!(
        "{name}: {} of {}, {:.1e} at {:?}, {:.1} s{}",
        c.compared,
        c.of,
        c.worst_relative_difference,
        c.worst,
        start.elapsed().as_secs_f64(),
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
    for path in corpus::files(&root.join("gradients"), "onnx") {
        let name = path.strip_prefix(&root).unwrap_or(&path).display().to_string();
        let c = report(&name, &path, &path.with_file_name("inputs.npz"));
        assert!(c.worst_relative_difference < 1e-5, "{name}");
    }
}
