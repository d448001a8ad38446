//! The command line as users meet it: exit status, streams, files.

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use certify::data::{HostTensor, npz};
use prost::Message;
use tempfile::TempDir;
use tract_onnx::pb;

/// A run: status, standard output, standard error.
pub struct Run {
    pub status: i32,
    pub out: String,
    pub err: String,
}

/// Runs the tool in a directory.
pub fn certify(dir: &Path, args: &[&str]) -> Run {
    let out = Command::new(env!("CARGO_BIN_EXE_certify")).current_dir(dir).args(args).output().expect("it starts");
    Run {
        status: out.status.code().expect("no signal"),
        out: String::from_utf8(out.stdout).expect("text"),
        err: String::from_utf8(out.stderr).expect("text"),
    }
}

/// Fails with 2, says these things on standard error and nothing on standard output, and leaves the
/// directory as it was.
#[track_caller]
pub fn refused(dir: &Path, args: &[&str], want: &[&str]) {
    let before = listing(dir);
    let run = certify(dir, args);
    assert_eq!(run.status, 2, "{args:?}\n{}{}", run.out, run.err);
    for w in want {
        assert!(run.err.contains(w), "{w:?} in\n{}", run.err);
    }
    assert_eq!(run.out, "");
    assert!(listing(dir) == before, "{args:?} changed files");
}

/// All files below a directory with their contents.
pub fn listing(dir: &Path) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).expect("readable") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            all.extend(listing(&path));
            all.push((path, None));
        } else {
            let bytes = fs::read(&path).expect("readable");
            all.push((path, Some(bytes)));
        }
    }
    all.sort();
    all
}

fn crate_file(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name).display().to_string()
}

pub fn tensor(name: &str, dims: &[i64], data: &[f32]) -> pb::TensorProto {
    pb::TensorProto {
        name: name.into(),
        dims: dims.to_vec(),
        data_type: 1,
        float_data: data.to_vec(),
        ..Default::default()
    }
}

pub fn node(op: &str, inputs: &[&str], output: &str) -> pb::NodeProto {
    pb::NodeProto {
        name: format!("/{output}/{op}"),
        op_type: op.into(),
        input: inputs.iter().map(|s| (*s).into()).collect(),
        output: vec![output.into()],
        ..Default::default()
    }
}

fn constant(output: &str, value: f32) -> pb::NodeProto {
    let value = pb::AttributeProto {
        name: "value".into(),
        r#type: 4,
        t: Some(tensor("", &[], &[value])),
        ..Default::default()
    };
    pb::NodeProto { attribute: vec![value], ..node("Constant", &[], output) }
}

pub fn float_input(name: &str, dims: &[Result<i64, &str>]) -> pb::ValueInfoProto {
    use pb::tensor_shape_proto::{Dimension, dimension::Value};
    let dim = dims
        .iter()
        .map(|d| Dimension {
            value: Some(match d {
                Ok(n) => Value::DimValue(*n),
                Err(s) => Value::DimParam((*s).into()),
            }),
            ..Default::default()
        })
        .collect();
    let tensor = pb::type_proto::Tensor { elem_type: 1, shape: Some(pb::TensorShapeProto { dim }) };
    pb::ValueInfoProto {
        name: name.into(),
        r#type: Some(pb::TypeProto { value: Some(pb::type_proto::Value::TensorType(tensor)), ..Default::default() }),
        ..Default::default()
    }
}

pub fn model(
    nodes: Vec<pb::NodeProto>,
    weights: Vec<pb::TensorProto>,
    inputs: Vec<pb::ValueInfoProto>,
    outputs: &[&str],
) -> Vec<u8> {
    let graph = pb::GraphProto {
        node: nodes,
        initializer: weights,
        input: inputs,
        output: outputs.iter().map(|o| pb::ValueInfoProto { name: (*o).into(), ..Default::default() }).collect(),
        ..Default::default()
    };
    pb::ModelProto {
        ir_version: 8,
        opset_import: vec![pb::OperatorSetIdProto { domain: String::new(), version: 17 }],
        graph: Some(graph),
        ..Default::default()
    }
    .encode_to_vec()
}

/// Σ (x·w)², x of shape [N, 2].
pub fn square(weight: [f32; 2]) -> Vec<u8> {
    model(
        vec![node("Mul", &["x", "w"], "y"), node("Mul", &["y", "y"], "z"), node("ReduceSum", &["z"], "loss")],
        vec![tensor("w", &[2], &weight)],
        vec![float_input("x", &[Err("N"), Ok(2)])],
        &["loss"],
    )
}

/// ((w + 10⁸) − 10⁸)²: binary32 sees 0, the truth is w².
fn cancelling() -> Vec<u8> {
    model(
        vec![
            constant("c", 1e8),
            node("Add", &["w", "c"], "a"),
            node("Sub", &["a", "c"], "b"),
            node("Mul", &["b", "b"], "q"),
            node("ReduceSum", &["q"], "loss"),
        ],
        vec![tensor("w", &[1], &[1.0])],
        vec![],
        &["loss"],
    )
}

/// A directory with `m.onnx`, its inputs, and a report that was there before.
pub fn place() -> TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("m.onnx"), square([0.5, -1.25])).expect("written");
    let x = HostTensor::f32(vec![3, 2], vec![1.0, 2.0, -3.0, 0.1, 0.7, 5.0]);
    let bytes = npz::write(&[("x".to_string(), x)]).expect("an archive");
    fs::write(dir.path().join("m.inputs.npz"), bytes).expect("written");
    fs::write(dir.path().join("old.html"), "old").expect("written");
    dir
}

pub const INPUTS: [&str; 2] = ["--inputs", "m.inputs.npz"];

#[test]
fn help_has_examples_and_the_version_is_the_crates() {
    let dir = place();
    let help = certify(dir.path(), &["--help"]);
    assert_eq!((help.status, help.err.as_str()), (0, ""));
    for want in [
        "Proves how far a model's binary32 gradients are from the true ones",
        "Usage: certify [OPTIONS] <MODEL>\n       certify <COMMAND>",
        "  inspect  ",
        "  ops      ",
        "  explain  ",
        "  render   ",
        "--cotangent <OUTPUT=ones|FILE.npy>",
        "Examples:\n  certify model.onnx --inputs batch.npz --report report.html\n",
        "Exit status:\n  0   certified",
        "certify ./inspect",
    ] {
        assert!(help.out.contains(want), "{want:?} in\n{}", help.out);
    }
    let version = certify(dir.path(), &["--version"]);
    assert_eq!((version.status, version.out), (0, format!("certify {}\n", env!("CARGO_PKG_VERSION"))));
    assert_eq!(certify(dir.path(), &["inspect", "--help"]).status, 0);
}

#[test]
fn a_certified_model_ends_with_0_and_all_files() {
    let dir = place();
    let args = [&["m.onnx"], &INPUTS[..], &["--report", "r.html", "--certificate", "c.json", "--dump", "d"]].concat();
    let run = certify(dir.path(), &args);
    assert_eq!((run.status, run.err.as_str()), (0, ""), "{}", run.out);
    assert!(run.out.starts_with("verdict        certified: m.onnx\n"), "{}", run.out);
    assert!(run.out.lines().count() <= 15, "{}", run.out);
    for want in ["1 of 1 pass, 0 fail, 0 undecided", "\"w\": error ≤ ", "r.html", "c.json"] {
        assert!(run.out.contains(want), "{want:?} in\n{}", run.out);
    }
    let file = |name: &str| fs::read(dir.path().join(name)).expect(name);
    let json: serde_json::Value = serde_json::from_slice(&file("c.json")).expect("JSON");
    assert_eq!(json["schema"], "certify/certificate/v1");
    assert_eq!(json["verdict"], "certified");
    assert_eq!(
        json["reproduce"][0],
        "certify m.onnx --inputs m.inputs.npz --certificate report.json --report report.html"
    );
    assert!(String::from_utf8(file("r.html")).expect("text").contains("m.onnx"));
    for (name, key) in [("runtime", "w"), ("spec", "w"), ("outputs_runtime", "loss"), ("outputs_spec", "loss")]
        .map(|(n, k)| (format!("d/{n}.npz"), k))
    {
        let arrays = npz::read(&file(&name), &name).expect("an archive");
        assert_eq!(arrays.iter().map(|(n, _)| n.as_str()).collect::<Vec<_>>(), [key], "{name}");
    }
    // 2·Σ x²·w, exactly
    let spec = npz::read(&file("d/spec.npz"), "spec").expect("an archive");
    let want = [2.0 * 0.5 * (1.0 + 9.0 + f64::from(0.7f32).powi(2)), -2.5 * (4.0 + f64::from(0.1f32).powi(2) + 25.0)];
    let certify::data::Data::F64(got) = &spec[0].1.data else { panic!("binary64") };
    assert!(got.iter().zip(want).all(|(g, w)| (g - w).abs() <= 1e-15 * w.abs()), "{got:?} {want:?}");
}

#[test]
fn the_report_is_rendered_again_from_the_certificate() {
    let dir = place();
    let args = [&["m.onnx"], &INPUTS[..], &["--report", "r.html", "--certificate", "c.json"]].concat();
    assert_eq!(certify(dir.path(), &args).status, 0);
    let run = certify(dir.path(), &["render", "c.json", "--report", "again.html"]);
    assert_eq!((run.status, run.out.as_str(), run.err.as_str()), (0, "report  again.html\n", ""));
    let read = |name: &str| fs::read_to_string(dir.path().join(name)).expect(name);
    assert_eq!(read("r.html"), read("again.html"));
    refused(dir.path(), &["render", "nothing.json", "--report", "x.html"], &["error[E001]", "nothing.json"]);
    refused(dir.path(), &["render", "r.html", "--report", "x.html"], &["error[E002]"]);
    refused(dir.path(), &["render", "c.json", "--report", "c.json"], &["error[E060]", "overwrite"]);
    fs::write(dir.path().join("bad.json"), read("c.json").replacen("\"certified\"", "\"not_certified\"", 1))
        .expect("written");
    refused(
        dir.path(),
        &["render", "bad.json", "--report", "x.html"],
        &["error[E002]", "don't follow from its figures"],
    );
}

#[test]
fn a_gradient_that_is_wrong_ends_with_1_and_the_report_is_still_written() {
    let dir = place();
    fs::write(dir.path().join("c.onnx"), cancelling()).expect("written");
    let run = certify(dir.path(), &["c.onnx", "--report", "r.html"]);
    assert_eq!(run.status, 1, "{}{}", run.out, run.err);
    assert!(run.out.starts_with("verdict        not certified: c.onnx\n"), "{}", run.out);
    assert!(dir.path().join("r.html").exists());
}

#[test]
fn inputs_are_never_guessed() {
    let dir = place();
    refused(
        dir.path(),
        &["m.onnx", "--report", "r.html"],
        &[
            "error[E020]: neither --inputs nor --random is given",
            "\"m.inputs.npz\" stands beside the model",
            "help: --inputs m.inputs.npz takes them from there; --random SEED draws synthetic ones",
        ],
    );
    fs::remove_file(dir.path().join("m.inputs.npz")).expect("removed");
    refused(dir.path(), &["m.onnx"], &["error[E020]", "--inputs FILE.npz gives them"]);
}

#[test]
fn synthetic_inputs_are_told_and_their_sizes_are_chosen() {
    let dir = place();
    let run = certify(dir.path(), &["m.onnx", "--random", "3", "--dim", "N=5", "--certificate", "c.json"]);
    assert_eq!(run.status, 0, "{}{}", run.out, run.err);
    assert!(run.out.contains("SYNTHETIC, seed 3"), "{}", run.out);
    let json: serde_json::Value =
        serde_json::from_slice(&fs::read(dir.path().join("c.json")).expect("a file")).expect("JSON");
    assert_eq!(json["inputs"]["source"], "synthetic");
    assert_eq!(json["inputs"]["tensors"][0]["shape"], serde_json::json!([5, 2]));
    refused(
        dir.path(),
        &["m.onnx", "--random", "3", "--dim", "M=5"],
        &["error[E060]: no input has a dimension \"M\"", "the dynamic dimensions are \"N\""],
    );
}

#[test]
fn usage_errors_end_with_2() {
    let dir = place();
    refused(dir.path(), &[], &["<MODEL>", "--help"]);
    refused(dir.path(), &["m.onnx", "--inputs", "a", "--random", "1"], &["cannot be used with"]);
    refused(dir.path(), &["m.onnx", "--random", "x"], &["invalid value 'x'"]);
    refused(dir.path(), &["m.onnx", "--wrong"], &["unexpected argument '--wrong'"]);
    refused(dir.path(), &["m.onnx", "--random", "1", "--threads", "0"], &["0 is not in 1..=1024"]);
    refused(
        dir.path(),
        &["m.onnx", "--random", "1", "--params", "nothing*", "--freeze", "q"],
        &["--params \"nothing*\" matches no value", "--freeze \"q\" matches no value"],
    );
    refused(dir.path(), &["m.onnx", "--random", "1", "--freeze", "w"], &["error[E021]", "no parameters"]);
    refused(
        dir.path(),
        &["m.onnx", "--random", "1", "--cotangent", "nope=ones"],
        &["error[E021]", "no output \"nope\""],
    );
    refused(dir.path(), &["m.onnx", "--random", "1", "--cotangent", "loss=no.npy"], &["error[E001]", "no.npy"]);
}

#[test]
fn a_cotangent_is_read_from_a_file() {
    let dir = place();
    let bytes = model(vec![node("Mul", &["w", "w"], "y")], vec![tensor("w", &[2], &[3.0, 5.0])], vec![], &["y"]);
    fs::write(dir.path().join("y.onnx"), bytes).expect("written");
    refused(dir.path(), &["y.onnx"], &["error[E021]", "isn't a scalar loss", "--cotangent y=ones"]);
    let npy = certify::data::npy::write(&HostTensor::f32(vec![2], vec![1.0, -2.0])).expect("npy");
    fs::write(dir.path().join("y.npy"), npy).expect("written");
    let run = certify(dir.path(), &["y.onnx", "--cotangent", "y=y.npy", "--dump", "d"]);
    assert_eq!(run.status, 0, "{}{}", run.out, run.err);
    let arrays = npz::read(&fs::read(dir.path().join("d/runtime.npz")).expect("a file"), "d").expect("an archive");
    assert_eq!(arrays[0].1.as_f32(), Some(&[6.0, -20.0][..]));
}

#[test]
fn unreadable_models_are_diagnosed() {
    let dir = place();
    let write = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).expect("written");
    let good = square([0.5, 1.0]);
    write("empty.onnx", &[]);
    write("cut.onnx", &good[..good.len() / 2]);
    write("text.onnx", b"this is no model at all");
    let files = ["--random", "1", "--report", "r.html", "--certificate", "c.json", "--dump", "d"];
    let all = |name: &'static str| [&[name], &files[..]].concat();
    refused(dir.path(), &all("missing.onnx"), &["error[E001]", "missing.onnx"]);
    refused(dir.path(), &all("empty.onnx"), &["error[E002]", "empty.onnx"]);
    refused(dir.path(), &all("cut.onnx"), &["error[E00", "cut.onnx"]);
    refused(dir.path(), &all("text.onnx"), &["error[E002]", "text.onnx"]);
    refused(dir.path(), &all("."), &["error[E001]"]);
}

#[test]
fn models_without_a_certificate_are_diagnosed() {
    let dir = place();
    let write = |name: &str, bytes: Vec<u8>| fs::write(dir.path().join(name), bytes).expect("written");
    let one = |nodes| model(nodes, vec![tensor("w", &[1], &[1.0])], vec![], &["loss"]);
    write("nan.onnx", square([f32::NAN, 1.0]));
    write("inf.onnx", square([1.0, f32::INFINITY]));
    write(
        "unknown.onnx",
        one(vec![node("TfIdfVectorizer", &["w"], "y"), node("Wobble", &["w"], "z"), node("Add", &["y", "z"], "loss")]),
    );
    write(
        "cycle.onnx",
        one(vec![node("Add", &["w", "b"], "a"), node("Add", &["w", "a"], "b"), node("ReduceSum", &["a"], "loss")]),
    );
    write(
        "shapes.onnx",
        model(
            vec![node("Add", &["w", "v"], "loss")],
            vec![tensor("w", &[2], &[1.0; 2]), tensor("v", &[3], &[1.0; 3])],
            vec![],
            &["loss"],
        ),
    );
    write("log.onnx", model(vec![node("Log", &["w"], "loss")], vec![tensor("w", &[], &[-1.0])], vec![], &["loss"]));
    let files = ["--random", "1", "--report", "old.html", "--certificate", "c.json", "--dump", "d"];
    let all = |name: &'static str| [&[name], &files[..]].concat();
    refused(dir.path(), &all("nan.onnx"), &["error[E030]", "\"w\" holds NaN at flat position 0"]);
    refused(dir.path(), &all("inf.onnx"), &["error[E030]", "\"w\" holds inf at flat position 1"]);
    refused(
        dir.path(),
        &all("unknown.onnx"),
        &[
            "error[E012]: operator TfIdfVectorizer has no rules: it works on text\n  --> unknown.onnx: node \"/y/TfIdfVectorizer\" (TfIdfVectorizer, opset 17)",
            "error[E012]: operator Wobble has no rules",
            "help: `certify ops` lists the operators with rules",
        ],
    );
    refused(dir.path(), &all("cycle.onnx"), &["error[E003]", "cycle"]);
    refused(dir.path(), &all("shapes.onnx"), &["error[E004]", "/loss/Add"]);
    refused(dir.path(), &all("log.onnx"), &["error[E030]"]);
}

#[test]
fn wrong_inputs_are_diagnosed() {
    let dir = place();
    let write = |name: &str, arrays: &[(&str, HostTensor)]| {
        let arrays: Vec<_> = arrays.iter().map(|(n, t)| (n.to_string(), t.clone())).collect();
        fs::write(dir.path().join(name), npz::write(&arrays).expect("an archive")).expect("written");
    };
    let x = |shape: &[usize]| HostTensor::f32(shape.to_vec(), vec![1.0; shape.iter().product()]);
    write("name.npz", &[("z", x(&[3, 2]))]);
    write("shape.npz", &[("x", x(&[3, 4]))]);
    write("type.npz", &[("x", HostTensor::i64(vec![3, 2], vec![1; 6]))]);
    write("nan.npz", &[("x", HostTensor::f32(vec![1, 2], vec![1.0, f32::NAN]))]);
    let all = |name: &'static str| ["m.onnx", "--inputs", name, "--report", "old.html"];
    refused(dir.path(), &all("name.npz"), &["input \"x\" has no value", "the graph has no input \"z\""]);
    refused(dir.path(), &all("shape.npz"), &["error[E020]", "size 4 of axis 1 where the model states 2"]);
    refused(dir.path(), &all("type.npz"), &["error[E020]", "INT64 where the model states FLOAT"]);
    refused(dir.path(), &all("nan.npz"), &["error[E030]"]);
    refused(dir.path(), &all("none.npz"), &["error[E001]", "none.npz"]);
    refused(dir.path(), &all("m.onnx"), &["error[E002]", "not an npz archive"]);
    refused(dir.path(), &all("."), &["error[E001]", "input_0.pb"]);
}

#[test]
fn places_for_results_are_checked_before_the_work() {
    let dir = place();
    fs::create_dir(dir.path().join("sub")).expect("made");
    let with = |more: &[&'static str]| [&["m.onnx"][..], &INPUTS, more].concat();
    refused(dir.path(), &with(&["--report", "sub"]), &["error[E001]", "\"sub\" is a directory"]);
    refused(dir.path(), &with(&["--certificate", "no/c.json"]), &["there is no directory \"no\""]);
    refused(dir.path(), &with(&["--dump", "old.html"]), &["\"old.html\" is a file, a directory is required"]);
    refused(dir.path(), &with(&["--report", "m.onnx"]), &["error[E060]", "would overwrite a file that is read"]);
    refused(dir.path(), &with(&["--certificate", "./m.inputs.npz"]), &["would overwrite a file that is read"]);
    refused(dir.path(), &with(&["--report", "a", "--certificate", "sub/../a"]), &["would overwrite --report"]);
}

#[cfg(target_os = "linux")]
#[test]
fn where_one_file_cant_be_written_none_is() {
    use std::os::unix::fs::PermissionsExt;
    let dir = place();
    let with = |more: &[&'static str]| [&["m.onnx"][..], &INPUTS, more].concat();
    // not even root makes files there
    refused(
        dir.path(),
        &with(&["--report", "old.html", "--certificate", "/sys/c.json", "--dump", "d"]),
        &["error[E001]", "/sys/c.json"],
    );
    let locked = dir.path().join("locked");
    fs::create_dir(&locked).expect("made");
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o555)).expect("set");
    if fs::write(locked.join("probe"), "").is_err() {
        refused(
            dir.path(),
            &with(&["--report", "old.html", "--certificate", "locked/c.json"]),
            &["error[E001]", "writable"],
        );
    } else {
        println!("run by one who may write anywhere: the read-only directory isn't tested");
        fs::remove_file(locked.join("probe")).expect("removed");
    }
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o755)).expect("set");
}

#[test]
fn odd_names_work() {
    let dir = place();
    let odd = "ein Ordner – 模型 \u{202e}x";
    fs::create_dir(dir.path().join(odd)).expect("made");
    for name in ["inspect", "-m.onnx", "mit Leerzeichen.onnx"] {
        fs::copy(dir.path().join("m.onnx"), dir.path().join(odd).join(name)).expect("copied");
        let path = format!("./{odd}/{name}");
        let report = format!("{odd}/{name}.html");
        let run = certify(dir.path(), &[&path, "--random", "1", "--report", &report]);
        assert_eq!(run.status, 0, "{name}: {}{}", run.out, run.err);
        assert!(dir.path().join(&report).exists(), "{name}");
        assert!(!run.out.contains('\u{202e}') && run.out.contains("\\u{202e}"), "{}", run.out);
    }
    let inside = dir.path().join(odd);
    assert_eq!(certify(&inside, &["./inspect", "--random", "1"]).status, 0);
    assert_eq!(certify(&inside, &["--random", "1", "--", "-m.onnx"]).status, 0);
    // a hostile name can't steer the terminal
    let run = certify(dir.path(), &["no\u{1b}[31m.onnx", "--random", "1"]);
    assert!(run.status == 2 && !run.err.contains('\u{1b}'), "{:?}", run.err);
}

#[cfg(target_os = "linux")]
#[test]
fn a_document_on_standard_output_stays_alone_there() {
    let dir = place();
    let args = [&["m.onnx"][..], &INPUTS, &["--certificate", "-", "--report", "r.html"]].concat();
    let run = certify(dir.path(), &args);
    assert_eq!(run.status, 0, "{}", run.err);
    let json: serde_json::Value = serde_json::from_str(&run.out).expect("nothing but JSON");
    assert_eq!(json["verdict"], "certified");
    assert!(run.err.starts_with("verdict        certified"), "{}", run.err);
    let again = certify(dir.path(), &[&["m.onnx"][..], &INPUTS, &["--certificate", "/dev/stdout"]].concat());
    assert_eq!(again.out, run.out);
}

#[cfg(target_os = "linux")]
#[test]
fn a_reader_that_goes_away_is_no_error_and_a_full_device_is() {
    let dir = place();
    for args in [&["ops"][..], &["--help"], &["explain", "Softmax"], &["inspect", "m.onnx"]] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let run = std::process::Command::new(env!("CARGO_BIN_EXE_certify"))
            .current_dir(dir.path())
            .args(args)
            .stdout(writer)
            .output()
            .expect("it starts");
        assert_eq!((run.status.code(), run.stderr), (Some(0), vec![]), "{args:?}");
    }
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("a device");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_certify"));
    let run = command.arg("ops").stdout(full).output().expect("it starts");
    assert_eq!(run.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&run.stderr).contains("error[E001]: standard output can't be written"));
}

#[test]
fn inspect_shows_the_graph_and_its_invariants() {
    let dir = place();
    let run = certify(dir.path(), &["inspect", "m.onnx"]);
    assert_eq!((run.status, run.err.as_str()), (0, ""));
    for want in [
        "inputs   synthetic, seed 0\n  \"x\" FLOAT [2, 2]",
        "parameter  \"w\"  [2]     float initializer",
        "\"/y/Mul\"",
        "ReduceSum (opset 17)",
        "\"loss\"  [1, 1]  ones",
        "the tape's values are the graph's, bit for bit, in order",
    ] {
        assert!(run.out.contains(want), "{want:?} in\n{}", run.out);
    }
    assert!(!run.out.contains("FAIL"), "{}", run.out);
    let real = certify(dir.path(), &[&["inspect", "m.onnx"][..], &INPUTS].concat());
    assert!(real.out.contains("\"x\" FLOAT [3, 2]"), "{}", real.out);
    let bytes = model(vec![node("Mul", &["w", "w"], "y")], vec![tensor("w", &[2], &[3.0; 2])], vec![], &["y"]);
    fs::write(dir.path().join("y.onnx"), bytes).expect("written");
    let unseeded = certify(dir.path(), &["inspect", "y.onnx"]);
    assert_eq!(unseeded.status, 0, "{}", unseeded.err);
    assert!(
        unseeded.out.contains("run forward only: output \"y\" has shape [2]: it isn't a scalar loss"),
        "{}",
        unseeded.out
    );
    refused(dir.path(), &["inspect", "missing.onnx"], &["error[E001]"]);
}

#[test]
fn every_model_at_hand_keeps_its_invariants() {
    let dir = place();
    let mut models: Vec<String> =
        ["mlp", "cnn", "resnet_bn"].map(|n| crate_file(&format!("models/digits_{n}.onnx"))).to_vec();
    for entry in fs::read_dir(crate_file("tests/data/graphs")).expect("fixtures") {
        models.push(entry.expect("readable").path().join("model.onnx").display().to_string());
    }
    for m in models {
        let run = certify(dir.path(), &["inspect", &m]);
        let (_, links) =
            run.out.split_once("\nlink invariants: ").unwrap_or_else(|| panic!("{m}\n{}{}", run.out, run.err));
        let counts: Vec<&str> = links.lines().next().unwrap_or_default().split(' ').collect();
        assert!(run.status == 0 && counts[0] == counts[2] && counts[3] == "pass", "{m}\n{}", run.out);
    }
}

#[test]
fn ops_and_explain_know_the_registry() {
    let dir = place();
    let ops = certify(dir.path(), &["ops"]);
    assert_eq!(ops.status, 0);
    for form in certify::import::lower::table().iter().filter(|f| f.domain != certify::import::objective::DOMAIN) {
        let name = form.name();
        let row = |l: &str| l.split_whitespace().next() == Some(&name) && form.attributes.iter().all(|a| l.contains(a));
        assert!(ops.out.lines().any(row), "{} in\n{}", form.op, ops.out);
    }
    let readme = fs::read_to_string(crate_file("README.md")).expect("readable");
    assert!(readme.contains(&ops.out), "README.md lacks the table that `certify ops` prints");
    for (name, _) in certify::ops::Op::REGISTRY {
        let run = certify(dir.path(), &["explain", name]);
        assert!(run.status == 0 && run.out.contains("## Definition") && run.out.contains("## VJP"), "{name}");
    }
    let gemm = certify(dir.path(), &["explain", "gemm"]);
    assert!(gemm.out.contains("ONNX operator Gemm") && gemm.out.contains("transA"), "{}", gemm.out);
    refused(
        dir.path(),
        &["explain", "Sotfmax"],
        &["error[E012]: operator \"Sotfmax\" has no rules", "is it \"Softmax\"?"],
    );
}

#[test]
fn results_dont_depend_on_the_number_of_threads() {
    let dir = place();
    let file = |name: &str| crate_file(&format!("models/{name}"));
    let mlp = [file("digits_mlp.onnx"), "--inputs".into(), file("digits_mlp.inputs.npz")];
    let cnn = [file("digits_cnn.onnx"), "--random".into(), "0".into()];
    let run = |what: &[String], folder: &str, threads: &str| {
        let d = |name: &str| format!("{folder}/{name}");
        fs::create_dir(dir.path().join(folder)).expect("made");
        let results = ["--report", &d("r.html"), "--certificate", &d("c.json"), "--dump", &d("dump")];
        let what: Vec<&str> = what.iter().map(String::as_str).collect();
        let run = certify(dir.path(), &[&what[..], &results, &["--threads", threads]].concat());
        assert_eq!(run.status, 0, "{}{}", run.out, run.err);
        let root = dir.path().join(folder);
        let inside = |p: PathBuf| p.strip_prefix(&root).expect("inside").to_path_buf();
        let files: Vec<_> = listing(&root).into_iter().map(|(p, b)| (inside(p), b)).collect();
        assert_eq!(files.len(), 7, "two documents, a directory, four archives");
        files
    };
    for (name, what) in [("mlp", &mlp), ("cnn", &cnn)] {
        let one = run(what, &format!("{name}1"), "1");
        for threads in ["2", "8"] {
            for ((path, a), (_, b)) in one.iter().zip(&run(what, &format!("{name}{threads}"), threads)) {
                assert!(a == b, "{name}: {} differs with {threads} threads", path.display());
            }
        }
    }
}

/// A text word by word, with figures as "#".
fn without_figures(text: &str) -> Vec<Vec<&str>> {
    let plain = |w| if str::starts_with(w, |c: char| c.is_ascii_digit()) { "#" } else { w };
    text.lines().map(|l| l.split_whitespace().map(plain).collect()).collect()
}

#[test]
fn the_readme_shows_what_the_demo_prints() {
    let readme = fs::read_to_string(crate_file("README.md")).expect("there is a README");
    let (_, shown) = readme.split_once("`make demo` prints").expect("it shows the demo");
    let shown = shown.split("```").nth(1).expect("a block").trim_start();
    let dir = tempfile::tempdir().expect("a directory");
    let (model, inputs) = (crate_file("models/digits_cnn.onnx"), crate_file("models/digits_cnn.inputs.npz"));
    let run =
        certify(dir.path(), &[&model, "--inputs", &inputs, "--report", "report.html", "--certificate", "report.json"]);
    assert_eq!(run.status, 0, "{}{}", run.out, run.err);
    assert_eq!(without_figures(shown), without_figures(&run.out), "\n{shown}\n{}", run.out);
}
