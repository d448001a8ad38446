//! ONNX's own node tests: every supported case is lowered, run, and compared with the stored output.

use std::collections::BTreeMap;
use std::path::Path;

use crate::corpus;
use certify::data::{Data, HostTensor};
use certify::error::{Code, Diagnostics};
use certify::import::{self, Inputs, Lowered, Options, Seed};
use certify::ir::Tensor;
use certify::runtime;

fn lower(dir: &Path) -> Result<Lowered, Diagnostics> {
    let model = import::read(&dir.join("model.onnx"))?;
    let inputs = Inputs::read(&dir.join("test_data_set_0"), &model)?;
    import::lower(&model, &inputs, &Options { seed: Seed::None, ..Options::default() })
}

/// The tolerance of ONNX's own runner: |a − b| ≤ 1e-7 + 1e-3·|b|.
fn close(a: f32, b: f32) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (f64::from(a) - f64::from(b)).abs() <= 1e-7 + 1e-3 * f64::from(b).abs()
}

/// Compares all outputs of a case; says what differs.
fn compare(dir: &Path, lowered: &Lowered, values: &[Tensor]) -> Result<(), String> {
    let model = import::read(&dir.join("model.onnx")).map_err(|e| e.to_string())?;
    for (k, info) in model.graph.outputs.iter().enumerate() {
        let bytes = std::fs::read(dir.join(format!("test_data_set_0/output_{k}.pb"))).map_err(|e| e.to_string())?;
        let (_, want) = import::tensor::decode_file(&bytes, dir)?;
        if let Some((_, exact)) = lowered.exact_outputs.iter().find(|(n, _)| *n == info.name) {
            if exact.shape != want.shape || exact.data != want.data {
                return Err(format!("{}: {:?} instead of {:?}", info.name, exact, want));
            }
            continue;
        }
        let Some((_, id)) = lowered.outputs.iter().find(|(n, _)| *n == info.name) else {
            return Err(format!("output {} is missing", info.name));
        };
        let got = &values[id.index()];
        let HostTensor { shape, data: Data::F32(data), .. } = &want else {
            return Err(format!("{} is {}", info.name, want.dtype));
        };
        if *shape != got.shape {
            return Err(format!("{}: shape {:?} instead of {shape:?}", info.name, got.shape));
        }
        if let Some(i) = (0..data.len()).find(|&i| !close(got.data[i], data[i])) {
            return Err(format!("{}[{i}] = {:e} instead of {:e}", info.name, got.data[i], data[i]));
        }
    }
    Ok(())
}

#[test]
fn supported_operators_have_no_failing_case() {
    let Some(root) = corpus::folder() else { return };
    let mut passed = 0;
    let mut refused: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut failed = Vec::new();
    for model in corpus::files(&root.join("node_tests"), "onnx") {
        let dir = model.parent().expect("a file has a folder");
        let name = dir.file_name().expect("a name").to_string_lossy().into_owned();
        if !dir.join("test_data_set_0").is_dir() {
            refused.entry("no data stored with the case".into()).or_default().push(name);
            continue;
        }
        let run = lower(dir).and_then(|lowered| {
            lowered.graph.check().unwrap_or_else(|e| panic!("{name}: {e}"));
            let values = runtime::eval(&lowered.graph)?;
            Ok((lowered, values))
        });
        match run {
            Ok((lowered, values)) => match compare(dir, &lowered, &values) {
                Ok(()) => passed += 1,
                Err(why) => failed.push(format!("{name}: {why}")),
            },
            Err(problems) => {
                let first = &problems.0[0];
                // what has no rules, isn't FLOAT, isn't finite, or isn't stored
                let known = matches!(first.code, Code::Unsupported | Code::Type | Code::Domain | Code::Io);
                if !known {
                    failed.push(format!("{name}: {problems}"));
                }
                refused.entry(first.what.clone()).or_default().push(name);
            }
        }
    }
    println!("{passed} passed");
    for (why, names) in &refused {
        println!("{:4} refused: {why} ({})", names.len(), names.join(" "));
    }
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
    assert!(passed >= 690, "{passed}");
}
