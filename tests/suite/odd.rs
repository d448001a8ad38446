//! Small graphs with odd structure, made by hand (`tests/data/odd/make.py`): each is certified, and has
//! the loss that onnxruntime computes, or is refused for the reason that is expected.

use std::path::{Path, PathBuf};

use serde_json::Value;

use certify::certificate::ModelVerdict;
use certify::session::{self, InputChoice, Quiet, Request};

/// What can't be certified, and what the diagnostic has to say.
const REFUSED: [(&str, &str); 8] = [
    ("argmax_index", "operand 1 (\"a\") must be known before the run"),
    ("double", "is DOUBLE: only graphs of FLOAT (binary32) are certified"),
    ("fp16", "a cast of floating-point data from FLOAT to FLOAT16"),
    ("huge_shape", "a tensor of shape [1048576, 1048576] is needed"),
    ("if_data", "the condition of a branch depends on floating-point data"),
    ("maxunpool_net", "the places of maxima depend on floating-point data"),
    ("stn", "operand 1 (\"g\") must be known before the run"),
    ("zero_size", "the graph has no parameters to differentiate by"),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/odd")
}

fn request(name: &str, flags: &[&str]) -> Request {
    let after = |flag: &str| flags.iter().position(|f| *f == flag).map(|i| flags[i + 1].to_string());
    let inputs = InputChoice::Path(folder().join(format!("{name}.npz")));
    Request {
        params: after("--params").into_iter().collect(),
        seed_masks: after("--seed-masks").map(|s| s.parse().expect("a number")),
        ..Request::new(folder().join(format!("{name}.onnx")), inputs)
    }
}

#[test]
fn odd_graphs_are_certified_or_refused_for_their_reason() {
    let text = std::fs::read_to_string(folder().join("expected.json")).expect("readable");
    let Value::Object(all) = serde_json::from_str(&text).expect("JSON") else { panic!("an object") };
    assert!(all.len() >= 45, "{}", all.len());
    let (mut certified, mut compared) = (0, 0);
    for (name, want) in &all {
        let flags: Vec<&str> = want["flags"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
        let outcome = session::certify(&request(name, &flags), &Quiet);
        if let Some((_, why)) = REFUSED.iter().find(|(n, _)| n == name) {
            let text = outcome.err().unwrap_or_else(|| panic!("{name} is certified")).to_string();
            assert!(text.contains(why), "{name}: {text}");
            continue;
        }
        let c = outcome.unwrap_or_else(|e| panic!("{name}: {e}")).certificate;
        assert_eq!(c.verdict, ModelVerdict::Certified, "{name}: {:?} {:?}", c.warnings, c.checks);
        certified += 1;
        if let Some(loss) = want["loss"].as_f64() {
            let spec = c.loss[0].spec;
            let off = (spec.lo() - loss).max(loss - spec.hi()).max(0.0);
            assert!(off <= 2e-6 * loss.abs().max(1.0), "{name}: {spec:?} where onnxruntime has {loss}");
            compared += 1;
        }
    }
    assert!(certified >= 38 && compared >= 34, "{certified} certified, {compared} compared");
}
