//! Files that nobody means well with: each is refused with a diagnosis, and nothing is written.

use std::fs;
use std::path::Path;

use certify::data::{HostTensor, npz};
use prost::Message;
use tract_onnx::pb;

use super::cli::{certify, float_input, model, node, place, refused, square, tensor};

fn ints(name: &str, dims: &[i64], data: &[i64]) -> pb::TensorProto {
    pb::TensorProto {
        name: name.into(),
        dims: dims.to_vec(),
        data_type: 7,
        int64_data: data.to_vec(),
        ..Default::default()
    }
}

fn attribute(name: &str, ints: &[i64]) -> pb::AttributeProto {
    pb::AttributeProto { name: name.into(), r#type: 7, ints: ints.to_vec(), ..Default::default() }
}

fn with(mut n: pb::NodeProto, attributes: &[pb::AttributeProto]) -> pb::NodeProto {
    n.attribute.extend(attributes.iter().cloned());
    n
}

/// Inputs x and weights w, one node made of them, and the sum of what it makes.
fn around(n: pb::NodeProto, w: pb::TensorProto, x: &[i64]) -> Vec<u8> {
    let dims: Vec<Result<i64, &str>> = x.iter().map(|&d| Ok(d)).collect();
    let flat = with(
        node("ReduceSum", &["y"], "loss"),
        &[pb::AttributeProto { name: "keepdims".into(), r#type: 2, i: 0, ..Default::default() }],
    );
    let scale = node("Mul", &["x", "s"], "xs");
    model(vec![scale, n, flat], vec![tensor("s", &[1], &[0.5]), w], vec![float_input("x", &dims)], &["loss"])
}

/// The tool refuses a model within moderate memory.
#[track_caller]
fn refuses(bytes: &[u8], want: &[&str]) {
    let dir = tempfile::tempdir().expect("a directory");
    refuses_in(dir.path(), bytes, want);
}

#[track_caller]
fn refuses_in(dir: &Path, bytes: &[u8], want: &[&str]) {
    fs::write(dir.join("h.onnx"), bytes).expect("written");
    let args = ["h.onnx", "--random", "1", "--max-memory", "1G", "--report", "r.html", "--certificate", "c.json"];
    refused(dir, &args, want);
}

#[test]
fn external_data_stays_in_the_folder_and_inside_its_file() {
    let dir = place();
    let inside = dir.path().join("in");
    fs::create_dir(&inside).expect("made");
    fs::write(dir.path().join("secret"), [0u8; 8]).expect("written");
    fs::write(inside.join("w.bin"), [0u8; 8]).expect("written");
    #[cfg(unix)]
    std::os::unix::fs::symlink(dir.path().join("secret"), inside.join("link")).expect("linked");
    let absolute = dir.path().join("secret").display().to_string();
    let mut cases = vec![
        (vec![("location", "../secret")], "isn't a plain path inside the model's folder"),
        (vec![("location", "a/../../secret")], "isn't a plain path inside the model's folder"),
        (vec![("location", absolute.as_str())], "isn't a plain path inside the model's folder"),
        (vec![("location", "missing.bin")], "can't be read"),
        (vec![("location", ".")], "isn't a regular file"),
        (vec![("location", "w.bin"), ("offset", "4")], "bytes 4 to 4 + 8 of a file of 8"),
        (vec![("location", "w.bin"), ("offset", "18446744073709551615")], "of a file of 8"),
        (vec![("location", "w.bin"), ("offset", "-1")], "isn't a number"),
        (vec![("location", "w.bin"), ("length", "4")], "4 bytes of data where shape [2] of FLOAT needs 8"),
        (vec![("offset", "0")], "without a location"),
    ];
    if cfg!(unix) {
        cases.push((vec![("location", "link")], "is a link that leaves the model's folder"));
    }
    for (entries, want) in cases {
        let mut m = pb::ModelProto::decode(&square([1.0, 2.0])[..]).expect("a model");
        let w = &mut m.graph.as_mut().expect("a graph").initializer[0];
        w.float_data.clear();
        w.data_location = Some(1);
        let entry = |(k, v): &(&str, &str)| pb::StringStringEntryProto { key: (*k).into(), value: (*v).into() };
        w.external_data = entries.iter().map(entry).collect();
        refuses_in(&inside, &m.encode_to_vec(), &["error[E002]", want]);
    }
}

#[test]
fn one_external_file_is_not_read_a_million_times() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("w.bin"), vec![0u8; 1 << 22]).expect("written");
    let mut m = pb::ModelProto::decode(&square([1.0, 2.0])[..]).expect("a model");
    let entry = pb::StringStringEntryProto { key: "location".into(), value: "w.bin".into() };
    for k in 0..400 {
        m.graph.as_mut().expect("a graph").initializer.push(pb::TensorProto {
            name: format!("w{k}"),
            dims: vec![1 << 20],
            data_type: 1,
            data_location: Some(1),
            external_data: vec![entry.clone()],
            ..Default::default()
        });
    }
    refuses_in(dir.path(), &m.encode_to_vec(), &["external and sparse tensors together would take", "at most 1.0 GiB"]);
}

#[test]
fn sizes_that_overflow_or_are_negative_are_told() {
    let sized = |dims: &[i64]| {
        let mut m = pb::ModelProto::decode(&square([1.0, 2.0])[..]).expect("a model");
        m.graph.as_mut().expect("a graph").initializer[0].dims = dims.to_vec();
        m.encode_to_vec()
    };
    refuses(&sized(&[1 << 62, 1 << 62]), &["error[E002]", "more than 2147483648 elements"]);
    refuses(&sized(&[i64::MAX, 2, 0]), &["error[E002]", "more than 2147483648 elements but for the size 0"]);
    refuses(&sized(&[1 << 20, 2, 0]), &["error[E002]", "2 elements in float_data"]);
    refuses(&sized(&[-2]), &["error[E002]", "negative size -2"]);
    refuses(&sized(&[3]), &["2 elements in float_data where shape [3] needs 3"]);
    let declared = |d: &[Result<i64, &str>]| {
        let nodes = vec![node("Mul", &["x", "w"], "y"), node("ReduceSum", &["y"], "loss")];
        model(nodes, vec![tensor("w", &[1], &[1.0])], vec![float_input("x", d)], &["loss"])
    };
    refuses(&declared(&[Ok(1 << 62), Ok(1 << 62)]), &["error[E020]", "more than 2147483648 elements"]);
    refuses(&declared(&[Ok(1 << 28)]), &["error[E0", "at most 1.0 GiB may be taken"]);
    refuses(&declared(&[Ok(1 << 30)]), &["error[E020]", "its values would take 8.0 GiB or more, at most 1.0 GiB"]);
    refuses(&declared(&[Ok(1); 5000]), &["error[E020]", "a shape of 5000 dimensions, where 64 are the most"]);
    refuses(&sized(&[1; 5000]), &["error[E002]", "a shape of 5000 dimensions, where 64 are the most"]);
    refuses(&declared(&[Ok(-5)]), &["error[E004]", "input \"x\" states the size -5"]);
}

#[test]
fn small_files_that_ask_for_much_memory_are_refused_before_they_get_it() {
    let big = 1i64 << 27;
    let cases: Vec<(pb::NodeProto, pb::TensorProto)> = vec![
        (node("Expand", &["xs", "k"], "y"), ints("k", &[2], &[big, 2])),
        (node("Expand", &["xs", "k"], "y"), ints("k", &[3], &[1 << 40, 1 << 40, 2])),
        (node("Tile", &["xs", "k"], "y"), ints("k", &[2], &[1 << 14, 1 << 14])),
        (node("Tile", &["xs", "k"], "y"), ints("k", &[2], &[i64::MAX, i64::MAX])),
        (node("Pad", &["xs", "k"], "y"), ints("k", &[4], &[0, 0, 0, big])),
        (node("Pad", &["xs", "k"], "y"), ints("k", &[4], &[i64::MAX, 0, i64::MAX, 0])),
    ];
    for (n, w) in cases {
        refuses(&around(n, w, &[2, 2]), &["error[E0"]);
    }
    // a sum over all pairs
    let column = tensor("w", &[1 << 17, 1], &vec![0.5; 1 << 17]);
    let more = ["error[E0", "is needed, with more than 268435456 entries"];
    refuses(&around(node("Add", &["xs", "w"], "y"), column, &[1, 1 << 17]), &more);
    let column = tensor("w", &[1 << 14, 1], &vec![0.5; 1 << 14]);
    let masked = tensor("w", &[1 << 15, 1], &vec![f32::NEG_INFINITY; 1 << 15]);
    refuses(&around(node("Add", &["xs", "w"], "y"), masked, &[1, 1 << 17]), &more);
    refuses(&around(node("Mul", &["xs", "w"], "y"), column, &[1, 1 << 15]), &["error[E0", "is needed, with more than"]);
    // an outer product
    let many = vec![0.5; 1 << 14];
    let w = tensor("w", &[1, 1 << 14], &many);
    let product = around(node("MatMul", &["xs", "w"], "y"), w, &[1 << 14, 1]);
    refuses(&product, &["error[E050]", "would take ", "at most 1.0 GiB may be taken", "(MatMul, opset 17)"]);
    // constants that a shape makes
    let filled = vec![
        node("ConstantOfShape", &["k"], "c"),
        node("ConstantOfShape", &["k"], "d"),
        node("Add", &["c", "d"], "e"),
        node("Mul", &["e", "w"], "y"),
        node("ReduceSum", &["y"], "loss"),
    ];
    let weights = vec![ints("k", &[1], &[big]), tensor("w", &[1], &[1.0])];
    refuses(&model(filled, weights, vec![], &["loss"]), &["error[E050]", "at most 1.0 GiB"]);
    // a sparse tensor says how large it is
    let mut m = pb::ModelProto::decode(&square([1.0, 2.0])[..]).expect("a model");
    m.graph.as_mut().expect("a graph").sparse_initializer.push(pb::SparseTensorProto {
        values: Some(tensor("sparse", &[1], &[1.0])),
        indices: Some(ints("", &[1], &[5])),
        dims: vec![1 << 28],
    });
    refuses(&m.encode_to_vec(), &["external and sparse tensors together would take 2.0 GiB"]);
}

#[test]
fn names_and_order_are_checked() {
    let x = || vec![float_input("x", &[Ok(2)])];
    let w = || vec![tensor("w", &[2], &[1.0, 2.0])];
    let sum = || node("ReduceSum", &["y"], "loss");
    let twice = vec![node("Mul", &["x", "w"], "y"), node("Add", &["x", "w"], "y"), sum()];
    refuses(&model(twice, w(), x(), &["loss"]), &["error[E003]", "\"y\" is produced more than once"]);
    let cycle = vec![node("Mul", &["x", "z"], "y"), node("Add", &["y", "w"], "z"), sum()];
    refuses(&model(cycle, w(), x(), &["loss"]), &["error[E003]", "cycle of 2 nodes"]);
    let ghost = vec![node("Mul", &["x", "ghost"], "y"), sum()];
    refuses(&model(ghost, w(), x(), &["loss"]), &["error[E003]", "\"ghost\" is neither"]);
    let nodes = || vec![node("Mul", &["x", "w"], "y"), sum()];
    refuses(&model(nodes(), [w(), w()].concat(), x(), &["loss"]), &["error[E003]", "initializer \"w\" occurs twice"]);
    refuses(&model(nodes(), w(), [x(), x()].concat(), &["loss"]), &["error[E003]", "input \"x\" occurs twice"]);
    refuses(&model(nodes(), w(), x(), &["nothing"]), &["error[E003]", "\"nothing\" is produced by nothing"]);
    refuses(&model(nodes(), w(), x(), &[]), &["error[E002]", "the graph has no outputs"]);
}

#[test]
fn shapes_and_types_that_contradict_each_other_are_told() {
    let f = |dims: &[i64], n: usize| tensor("w", dims, &vec![0.5; n]);
    refuses(&around(node("Add", &["xs", "w"], "y"), f(&[3], 3), &[2, 2]), &["error[E004]", "don't broadcast"]);
    refuses(&around(node("MatMul", &["xs", "w"], "y"), f(&[3, 2], 6), &[2, 2]), &["error[E0", "(MatMul, opset 17)"]);
    refuses(&around(node("Reshape", &["xs", "w"], "y"), ints("w", &[2], &[-1, -1]), &[2, 2]), &["error[E0"]);
    refuses(&around(node("Reshape", &["xs", "w"], "y"), ints("w", &[1], &[5]), &[2, 2]), &["error[E0"]);
    refuses(&around(node("Gather", &["xs", "w"], "y"), ints("w", &[1], &[2]), &[2, 2]), &["error[E0"]);
    refuses(&around(node("Gather", &["xs", "w"], "y"), ints("w", &[1], &[i64::MIN]), &[2, 2]), &["error[E0"]);
    let mut text = tensor("w", &[2], &[]);
    text.data_type = 8;
    text.string_data = vec![b"a".to_vec(), b"b".to_vec()];
    refuses(&around(node("Add", &["xs", "w"], "y"), text, &[2, 2]), &["error[E0", "STRING"]);
    let double =
        pb::TensorProto { data_type: 11, double_data: vec![1.0], float_data: vec![], ..tensor("w", &[1], &[]) };
    refuses(&around(node("Add", &["xs", "w"], "y"), double, &[2, 2]), &["error[E0", "DOUBLE"]);
    let nan = tensor("w", &[1], &[f32::NAN]);
    refuses(&around(node("Add", &["xs", "w"], "y"), nan, &[2, 2]), &["error[E030]", "\"w\" holds NaN"]);
}

#[test]
fn attributes_out_of_range_are_told() {
    let kernel = || tensor("w", &[1, 1, 2, 2], &[0.5; 4]);
    let conv = |a: &[pb::AttributeProto]| around(with(node("Conv", &["xs", "w"], "y"), a), kernel(), &[1, 1, 4, 4]);
    let group = |i: i64| pb::AttributeProto { name: "group".into(), r#type: 2, i, ..Default::default() };
    let max = i64::MAX;
    for a in [
        attribute("strides", &[0, 1]),
        attribute("strides", &[-1, 1]),
        attribute("strides", &[1]),
        attribute("dilations", &[max, max]),
        attribute("dilations", &[0, 0]),
        attribute("pads", &[max, max, max, max]),
        attribute("pads", &[-9, 0, 0, 0]),
        attribute("pads", &[i64::MIN, i64::MIN, i64::MIN, i64::MIN]),
        attribute("pads", &[1 << 30, 1 << 30, 1 << 30, 1 << 30]),
        attribute("kernel_shape", &[3, 3]),
        group(0),
        group(-1),
        group(3),
    ] {
        refuses(&conv(std::slice::from_ref(&a)), &["error[E0", "(Conv, opset 17)"]);
    }
    let pool = |a: &[pb::AttributeProto]| around(with(node("MaxPool", &["xs"], "y"), a), kernel(), &[1, 1, 4, 4]);
    for a in [&[0, 2][..], &[-1, -1], &[max, max], &[9, 9], &[2]] {
        refuses(&pool(&[attribute("kernel_shape", a)]), &["error[E0", "(MaxPool, opset 17)"]);
    }
    let perm = |p: &[i64]| around(with(node("Transpose", &["xs"], "y"), &[attribute("perm", p)]), kernel(), &[2, 2]);
    for p in [&[0, 0][..], &[0, 2], &[0], &[max, 0]] {
        refuses(&perm(p), &["error[E0", "(Transpose, opset 17)"]);
    }
    let axis = |op: &str, i: i64| {
        let a = pb::AttributeProto { name: "axis".into(), r#type: 2, i, ..Default::default() };
        around(with(node(op, &["xs"], "y"), &[a]), kernel(), &[2, 2])
    };
    for (op, i) in [("Softmax", 2), ("Softmax", i64::MIN), ("Flatten", 5), ("LogSoftmax", max)] {
        refuses(&axis(op, i), &["error[E0"]);
    }
}

/// A chain of subgraphs, each inside the one before.
fn nested(depth: usize) -> Vec<u8> {
    let mut inner = pb::GraphProto { name: "g".into(), ..Default::default() };
    for _ in 0..depth {
        let branch =
            pb::AttributeProto { name: "then_branch".into(), r#type: 5, g: Some(inner.clone()), ..Default::default() };
        let n = with(node("If", &["c"], "y"), &[branch]);
        inner = pb::GraphProto { name: "g".into(), node: vec![n], ..Default::default() };
    }
    model(inner.node, vec![], vec![float_input("c", &[])], &["y"])
}

#[test]
fn depth_and_number_have_limits() {
    refuses(&nested(20), &["error[E050]", "subgraphs are nested deeper than 16"]);
    refuses(&nested(60), &["error[E002]", "not an ONNX model: failed to decode Protobuf message"]);
    // two bytes a node
    let mut graph = Vec::new();
    for _ in 0..1_000_001 {
        graph.extend([0x0a, 0x00]);
    }
    let mut bytes = vec![0x3a];
    prost::encoding::encode_varint(graph.len() as u64, &mut bytes);
    bytes.extend(graph);
    refuses(&bytes, &["error[E050]", "1000001 nodes (at most 1000000 are accepted)"]);
}

#[test]
fn files_that_were_cut_are_refused_wherever_the_cut_is() {
    let dir = place();
    let whole = fs::read(dir.path().join("m.onnx")).expect("read");
    let archive = fs::read(dir.path().join("m.inputs.npz")).expect("read");
    for k in 0..16 {
        let cut = &whole[..whole.len() * k / 16];
        fs::write(dir.path().join("cut.onnx"), cut).expect("written");
        refused(dir.path(), &["cut.onnx", "--random", "1", "--report", "r.html"], &["error[E0"]);
        fs::write(dir.path().join("cut.npz"), &archive[..archive.len() * k / 16]).expect("written");
        refused(dir.path(), &["m.onnx", "--inputs", "cut.npz", "--report", "r.html"], &["error[E002]", "npz"]);
    }
    refused(dir.path(), &["/dev/null", "--random", "1"], &["error[E002]", "the file is empty"]);
    if cfg!(target_os = "linux") {
        let args = ["/dev/zero", "--random", "1", "--max-memory", "20M"];
        refused(dir.path(), &args, &["error[E001]", "at most 20.0 MiB may be taken"]);
    }
}

#[test]
fn archives_that_expand_without_end_are_refused() {
    let dir = place();
    // 300 MB of zeros in 300 kB
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
    zip.start_file("x.npy", options).expect("started");
    for _ in 0..300 {
        std::io::Write::write_all(&mut zip, &vec![0u8; 1_000_000]).expect("written");
    }
    fs::write(dir.path().join("bomb.npz"), zip.finish().expect("finished").into_inner()).expect("written");
    let args = ["m.onnx", "--inputs", "bomb.npz", "--max-memory", "200M"];
    refused(dir.path(), &args, &["error[E002]", "array \"x\"", "would take 286.1 MiB or more, at most 200.0 MiB"]);
}

/// A checkpoint that lists one tensor of a megabyte so many times.
fn repeated(count: u32) -> Vec<u8> {
    let mut b = Vec::new();
    let words = |b: &mut Vec<u8>, v: &[u32]| v.iter().for_each(|x| b.extend(x.to_le_bytes()));
    let halves = |b: &mut Vec<u8>, v: &[u16]| v.iter().for_each(|x| b.extend(x.to_le_bytes()));
    words(&mut b, &[16]);
    b.extend(b"ODTC");
    halves(&mut b, &[8, 8, 0, 4]); // 8: fields of Checkpoint
    words(&mut b, &[8, 12]); // 16: Checkpoint, module_state at 20 → 32
    halves(&mut b, &[6, 8, 4, 0]); // 24: fields of ModuleState
    words(&mut b, &[8, 4, count]); // 32: ModuleState, trained at 36 → 40: so many tensors
    let list = 44;
    let tensor = list + 4 * count + 16;
    (0..count).for_each(|k| words(&mut b, &[tensor - (list + 4 * k)]));
    halves(&mut b, &[14, 20, 4, 0, 8, 12, 16, 0]); // fields of Tensor
    words(&mut b, &[16, 16, 20, 1, 32]); // Tensor: name, dims, type, raw data
    words(&mut b, &[1]);
    b.extend(b"w\0\0\0");
    words(&mut b, &[1, 1 << 18, 0, 0, 0]);
    words(&mut b, &[1 << 20]);
    b.resize(b.len() + (1 << 20), 0);
    b
}

#[test]
fn one_tensor_of_a_checkpoint_is_not_read_a_thousand_times() {
    let dir = place();
    fs::write(dir.path().join("checkpoint"), repeated(1000)).expect("written");
    let args = ["m.onnx", "--inputs", "m.inputs.npz", "--weights", "checkpoint", "--max-memory", "100M"];
    refused(dir.path(), &args, &["error[E002]", "as far as this one, would take ", "at most 100.0 MiB may be taken"]);
}

#[test]
fn functions_that_call_each_other_without_end_are_refused() {
    let call = |op: &str, x: &str, y: &str| pb::NodeProto { domain: "f".into(), ..node(op, &[x], y) };
    let opset = |domain: &str, version| pb::OperatorSetIdProto { domain: domain.into(), version };
    let with = |functions: Vec<(String, Vec<pb::NodeProto>)>, first: &str| {
        let nodes = vec![call(first, "x", "z"), node("Mul", &["z", "w"], "y"), node("ReduceSum", &["y"], "loss")];
        let w = vec![tensor("w", &[2], &[1.0, 2.0])];
        let whole = model(nodes, w, vec![float_input("x", &[Ok(2)])], &["loss"]);
        let mut m = pb::ModelProto::decode(&whole[..]).expect("a model");
        m.opset_import.push(opset("f", 1));
        m.functions = functions
            .into_iter()
            .map(|(name, node)| pb::FunctionProto {
                name: Some(name),
                domain: Some("f".into()),
                input: vec!["a".into()],
                output: vec!["b".into()],
                node,
                opset_import: vec![opset("", 17), opset("f", 1)],
                ..Default::default()
            })
            .collect();
        m.encode_to_vec()
    };
    let itself = vec![("R".to_string(), vec![call("R", "a", "b")])];
    refuses(&with(itself, "R"), &["error[E050]", "local functions call each other more than 32 deep"]);
    // each calls the one before twice: 2^25 nodes
    let twice = |k: u32| match k {
        0 => vec![node("Neg", &["a"], "b")],
        _ => vec![call(&format!("F{}", k - 1), "a", "t"), call(&format!("F{}", k - 1), "t", "b")],
    };
    let doubled = (0..26).map(|k| (format!("F{k}"), twice(k))).collect();
    refuses(&with(doubled, "F25"), &["error[E050]", "or grow too large"]);
}

/// Whoever opens a pipe a second time waits for ever.
#[cfg(unix)]
#[test]
fn what_comes_through_a_pipe_is_read_once() {
    let dir = place();
    for (file, args) in [("m.onnx", ["p", "--inputs", "m.inputs.npz"]), ("m.inputs.npz", ["m.onnx", "--inputs", "p"])] {
        let pipe = dir.path().join("p");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo starts");
        assert!(made.success());
        let bytes = fs::read(dir.path().join(file)).expect("read");
        let to = pipe.clone();
        let writer = std::thread::spawn(move || fs::write(to, bytes));
        let run = certify(dir.path(), &args);
        assert_eq!(run.status, 0, "{}", run.err);
        writer.join().expect("no panic").expect("written");
        fs::remove_file(&pipe).expect("removed");
    }
}

#[test]
fn a_limit_on_memory_refuses_before_the_passes_begin() {
    let dir = place();
    let args = ["m.onnx", "--inputs", "m.inputs.npz", "--report", "r.html", "--max-memory", "2K"];
    refused(dir.path(), &args, &["error[E050]", "would take ", "at most 2048 bytes may be taken", "help: "]);
    refused(dir.path(), &["m.onnx", "--random", "1", "--max-memory", "much"], &["is no amount of memory"]);
    let x = HostTensor::f32(vec![1, 2], vec![1.0, 2.0]);
    fs::write(dir.path().join("one.npz"), npz::write(&[("x".to_string(), x)]).expect("an archive")).expect("written");
    let run = certify(dir.path(), &["m.onnx", "--inputs", "one.npz", "--max-memory", "1G"]);
    assert_eq!(run.status, 0, "{}", run.err);
}
