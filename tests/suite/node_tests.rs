//! ONNX's own node tests: every case passes, or is refused for a reason that is stated; none fails.
//!
//! A stored output has to lie inside the enclosure of the exact value, widened by what a binary32
//! evaluation of that case may be off by, in whatever order it sums (the bound of every conforming
//! run). Integer and boolean outputs have to be equal. Where an operator's reference implementation
//! rounds more than that (its sines, its intermediate formats), ONNX's own tolerance decides, and the
//! table says how often it had to.
//!
//! `CERTIFY_NODE_TESTS` names a folder of further cases in the same format.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use crate::corpus;
use certify::bounds::{self, Evidence};
use certify::data::{Data, HostTensor};
use certify::error::{Code, Diagnostics};
use certify::import::{self, Inputs, Lowered, Options, Preparation, Seed};
use certify::num::Mag;
use certify::ops::Centre;
use certify::spec::{exact, exact::first_precision};
use certify::{runtime, seed};

/// What became of a case.
enum Outcome {
    /// Inside, or equal.
    Inside,
    /// Inside ONNX's tolerance only.
    Near,
    /// Not certifiable, and why.
    Refused(Code, String),
    Failed(String),
}

fn lower(dir: &Path) -> Result<Lowered, Diagnostics> {
    let model = import::open(&dir.join("model.onnx"), &Preparation::default())?;
    let inputs = Inputs::read(&dir.join("test_data_set_0"), &model)?;
    // the mask that a case's reference drew is that of its stored output, or shows in its zeros
    let mut drawn = Vec::new();
    for node in model.graph.nodes.iter().filter(|n| n.op == "Dropout" && n.inputs.len() == 3) {
        let k = usize::from(node.outputs.len() > 1);
        let bytes = std::fs::read(dir.join(format!("test_data_set_0/output_{k}.pb"))).unwrap_or_default();
        let Ok((_, t)) = import::tensor::decode_file(&bytes, dir) else { continue };
        let mask = match &t.data {
            Data::Bool(v) => v.clone(),
            Data::F32(v) => v.iter().map(|&x| x != 0.0).collect(),
            _ => continue,
        };
        drawn.push((node.label().to_string(), HostTensor::bool(t.shape, mask)));
    }
    import::lower(&model, &inputs, &Options { seed: Seed::None, drawn, ..Options::default() })
}

/// The tolerance of ONNX's own runner, |a − b| ≤ 1e-7 + 1e-3·|b|, with 1e-7 of the largest entry where
/// that is more: a transform's entry that cancels is no better than that.
fn close(a: f64, b: f64, largest: f64) -> bool {
    a == b || (a - b).abs() <= 1e-7 * largest.max(1.0) + 1e-3 * b.abs()
}

/// Compares all outputs of a case.
fn compare(dir: &Path, lowered: &Lowered) -> Result<Outcome, Diagnostics> {
    let graph = &lowered.graph;
    graph.check().unwrap_or_else(|e| panic!("{e}"));
    let values = runtime::eval(graph)?;
    let none: Vec<seed::Seed> = Vec::new();
    let wanted = graph.differentiated(&[]);
    let cotangents = runtime::backprop(graph, &values, &none, &wanted)?;
    let keep: Vec<_> = lowered.outputs.iter().map(|(_, v)| *v).collect();
    let found = exact::exact(graph, &none, &wanted, &keep, &[], first_precision(graph, &none, &wanted), |_| true);
    let evidence = Evidence { graph, values: &values, cotangents: &cotangents, exact: &found };
    let errors = bounds::eval(evidence, Centre::Spec, |_| Mag::ZERO);
    let model = import::read(&dir.join("model.onnx"))?;
    let mut outcome = Outcome::Inside;
    for (k, info) in model.graph.outputs.iter().enumerate() {
        let name = &info.name;
        let failed = |what: String| Ok(Outcome::Failed(format!("{name}{what}")));
        let bytes = std::fs::read(dir.join(format!("test_data_set_0/output_{k}.pb"))).expect("an output is stored");
        let (_, want) = match import::tensor::decode_file(&bytes, dir) {
            Ok(t) => t,
            Err(e) => return failed(format!(": {e}")),
        };
        if let Some((_, exact)) = lowered.exact_outputs.iter().find(|(n, _)| n == name) {
            if exact.shape != want.shape || exact.data != want.data {
                return failed(format!(": {exact:?} instead of {want:?}"));
            }
            continue;
        }
        let Some((_, id)) = lowered.outputs.iter().find(|(n, _)| n == name) else {
            return failed(" is missing".into());
        };
        let numbers: Vec<f64> = match &want.data {
            Data::F32(v) => v.iter().map(|&x| f64::from(x)).collect(),
            Data::F64(v) => v.clone(),
            // truth values of the run are zeros and ones, integers whole numbers: all exact
            Data::Bool(v) => v.iter().map(|&b| f64::from(u8::from(b))).collect(),
            Data::Int(v) => v.iter().map(|&x| x as f64).collect(),
            _ => return failed(format!(" is {}", want.dtype)),
        };
        let shape = graph.shape(*id);
        if want.shape != shape {
            return failed(format!(": shape {shape:?} instead of {:?}", want.shape));
        }
        let largest = numbers.iter().fold(0.0f64, |m, x| m.max(x.abs()));
        for (i, &x) in numbers.iter().enumerate() {
            let at = found.values[id.index()][i];
            let eps = errors[id.index()].eps[i];
            let exactly = !want.dtype.is_float();
            if exactly && f64::from(values[id.index()].data[i]) != x {
                return failed(format!("[{i}] = {} instead of {x}", values[id.index()].data[i]));
            }
            if x.is_finite() && (Mag::of((at.lo - x).max(x - at.hi).max(0.0)) <= eps) {
                continue;
            }
            let run = f64::from(values[id.index()].data[i]);
            if !close(run, x, largest) {
                return failed(format!("[{i}] = {run:e} instead of {x:e}"));
            }
            outcome = Outcome::Near;
        }
    }
    Ok(outcome)
}

fn one(dir: &Path) -> Outcome {
    if !dir.join("test_data_set_0").is_dir() {
        return Outcome::Refused(Code::Io, "no data stored with the case".into());
    }
    match lower(dir).and_then(|lowered| compare(dir, &lowered)) {
        Ok(outcome) => outcome,
        Err(problems) => {
            let first = &problems.0[0];
            Outcome::Refused(first.code, first.what.clone())
        }
    }
}

/// The operator that a case is about.
fn operator(dir: &Path) -> String {
    let Ok(model) = import::read(&dir.join("model.onnx")) else { return "unreadable".into() };
    let name = dir.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let expanded = name.contains("_expanded");
    let first = model.graph.nodes.iter().find(|n| n.op != "Constant").map(|n| n.full_op()).unwrap_or_default();
    if expanded { "function bodies".into() } else { first }
}

#[derive(Default)]
struct Row {
    inside: usize,
    near: usize,
    refused: BTreeMap<String, Vec<String>>,
}

/// Runs all cases of a folder; returns how many there are, how many pass, and what fails.
fn survey(root: &Path) -> (usize, usize, Vec<String>) {
    let mut table: BTreeMap<String, Row> = BTreeMap::new();
    let mut failed = Vec::new();
    let dirs: Vec<PathBuf> =
        corpus::files(root, "onnx").iter().filter_map(|p| p.parent().map(Path::to_path_buf)).collect();
    for dir in &dirs {
        let name = dir.file_name().expect("a name").to_string_lossy().into_owned();
        let row = table.entry(operator(dir)).or_default();
        match catch_unwind(AssertUnwindSafe(|| one(dir))) {
            Ok(Outcome::Inside) => row.inside += 1,
            Ok(Outcome::Near) => {
                row.near += 1;
                println!("near: {name}");
            }
            // a refusal says what isn't supported, isn't FLOAT, isn't finite, or isn't stored
            Ok(Outcome::Refused(Code::Unsupported | Code::Type | Code::Domain | Code::Io, why)) => {
                row.refused.entry(why).or_default().push(name);
            }
            Ok(Outcome::Refused(code, why)) => failed.push(format!("{name}: {code:?} {why}")),
            Ok(Outcome::Failed(why)) => failed.push(format!("{name}: {why}")),
            Err(_) => failed.push(format!("{name}: panicked")),
        }
    }
    println!("{:40} passed (by ONNX's tolerance) refused", "operator");
    for (op, row) in &table {
        let refused: usize = row.refused.values().map(Vec::len).sum();
        println!("{op:40} {:6} ({}) {refused:6}", row.inside + row.near, row.near);
        for (why, names) in &row.refused {
            println!("    {:3} refused: {why} ({})", names.len(), names.join(" "));
        }
    }
    let passed = table.values().map(|r| r.inside + r.near).sum();
    println!("{passed} of {} pass, {} fail", dirs.len(), failed.len());
    (dirs.len(), passed, failed)
}

#[test]
fn supported_operators_have_no_failing_case() {
    let Some(root) = corpus::folder() else { return };
    let (all, passed, failed) = survey(&root.join("node_tests"));
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
    assert_eq!(all, 730);
    assert!(passed >= 700, "{passed}");
}

#[test]
fn further_node_tests_have_no_failing_case() {
    let Some(root) = std::env::var_os("CERTIFY_NODE_TESTS") else { return };
    let (_, passed, failed) = survey(Path::new(&root));
    assert!(failed.is_empty() && passed > 0, "{} failed:\n{}", failed.len(), failed.join("\n"));
}
