//! A quick fuzzer: good files with bytes or numbers changed. Whatever comes of them is a result or a
//! diagnosis, soon, and never a panic. `fuzz/` holds the same for longer runs, guided by coverage.
//!
//! `CERTIFY_CASES=k` tries k times as many, `CERTIFY_SEED=n` one alone. What either has found stands, as small as
//! it got, in `tests/data/found`, and is tried every time.

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use certify::certificate::Certificate;
use certify::data::{npy, npz};
use certify::import::{self, Inputs, Options, Seed};
use certify::ir::elements;
use certify::seed::Seed as Cotangent;
use certify::{gate, runtime};
use prost::Message;
use tract_onnx::pb;

use super::corpus;
use super::laws::seeds;

/// Reproducible random numbers (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    /// A number that breaks things.
    fn odd(&mut self) -> i64 {
        const ODD: [i64; 16] = [
            0,
            1,
            -1,
            2,
            3,
            7,
            255,
            65536,
            i32::MAX as i64,
            i32::MIN as i64,
            1 << 31,
            1 << 32,
            1 << 62,
            i64::MAX,
            i64::MIN,
            -2,
        ];
        ODD[self.below(ODD.len())]
    }
}

/// Bytes changed, removed, doubled or put elsewhere.
fn bytes(r: &mut Random, mut b: Vec<u8>) -> Vec<u8> {
    for _ in 0..1 + r.below(4) {
        if b.is_empty() {
            return b;
        }
        let at = r.below(b.len());
        let n = 1 + r.below(16.min(b.len() - at));
        match r.below(7) {
            0 => b[at] ^= 1 << r.below(8),
            1 => b[at] = [0, 1, 0x7f, 0x80, 0xff][r.below(5)],
            2 => b.truncate(at),
            3 => drop(b.drain(at..at + n)),
            4 => {
                let part = b[at..at + n].to_vec();
                let to = r.below(b.len());
                b.splice(to..to, part);
            }
            5 => b[at..at + n].fill(0xff),
            _ => {
                let v = r.next().to_le_bytes();
                b[at..at + n.min(8)].copy_from_slice(&v[..n.min(8)]);
            }
        }
    }
    b
}

/// Names, numbers and lists of a model changed, so that it still decodes.
fn fields(r: &mut Random, b: &[u8]) -> Vec<u8> {
    let mut m = pb::ModelProto::decode(b).expect("a model");
    let Some(g) = m.graph.as_mut() else { return b.to_vec() };
    let names: Vec<String> = g.node.iter().flat_map(|n| n.input.iter().chain(&n.output)).cloned().collect();
    for _ in 0..1 + r.below(3) {
        let (nodes, tensors) = (g.node.len(), g.initializer.len());
        let node = r.below(nodes);
        match r.below(10) {
            0 | 1 if nodes > 0 => {
                let n = &mut g.node[node];
                let count = n.attribute.len();
                if count > 0 {
                    let a = &mut n.attribute[r.below(count)];
                    a.i = r.odd();
                    a.f = [0.0, -1.0, f32::NAN, f32::INFINITY, 1e30][r.below(5)];
                    let k = r.below(a.ints.len());
                    if let Some(x) = a.ints.get_mut(k) {
                        *x = r.odd();
                    }
                }
            }
            2 if nodes > 0 => {
                let k = r.below(g.node[node].attribute.len());
                if k < g.node[node].attribute.len() {
                    g.node[node].attribute.remove(k);
                }
            }
            3 if nodes > 0 && !names.is_empty() => {
                let n = &mut g.node[node];
                let k = r.below(n.input.len());
                if let Some(x) = n.input.get_mut(k) {
                    *x = names[r.below(names.len())].clone();
                }
            }
            4 if nodes > 0 => {
                let other = r.below(nodes);
                g.node[node].op_type = g.node[other].op_type.clone();
            }
            5 if nodes > 1 => drop(g.node.remove(node)),
            6 if nodes > 0 => {
                let n = &mut g.node[node];
                let keep = r.below(n.input.len() + 1);
                n.input.truncate(keep);
            }
            7 if tensors > 0 => {
                let t = &mut g.initializer[r.below(tensors)];
                let k = r.below(t.dims.len());
                match t.dims.get_mut(k) {
                    Some(d) if r.below(2) == 0 => *d = r.odd(),
                    _ => t.dims.push(1),
                }
            }
            8 if tensors > 0 => {
                let t = &mut g.initializer[r.below(tensors)];
                let k = r.below(t.int64_data.len());
                match t.int64_data.get_mut(k) {
                    Some(x) => *x = r.odd(),
                    None if t.data_type == 7 && t.raw_data.len() >= 8 => {
                        t.raw_data[..8].copy_from_slice(&r.odd().to_le_bytes());
                    }
                    None => t.data_type = r.below(28) as i32,
                }
            }
            _ => {
                let v = m.opset_import.len();
                if v > 0 {
                    m.opset_import[r.below(v)].version = [1, 7, 9, 11, 13, 17, 21][r.below(7)];
                }
            }
        }
    }
    m.encode_to_vec()
}

/// Reads, lowers and, where it is small, runs a model.
fn run(model: &[u8], folder: &Path) -> Option<()> {
    let model = import::decode::from_bytes(model, "fuzzed.onnx", folder).ok()?;
    let inputs = Inputs::synthetic(&model, 1, &BTreeMap::new()).ok()?;
    let lower = |seed| import::lower(&model, &inputs, &Options { seed, ..Options::default() });
    let lowered = lower(Seed::Loss).or_else(|_| lower(Seed::None)).ok()?;
    let graph = &lowered.graph;
    graph.check().unwrap_or_else(|e| panic!("link invariant: {e}"));
    let entries: usize = (0..graph.len()).map(|v| elements(graph.shape(certify::ir::ValueId(v as u32)))).sum();
    if entries <= 20_000 {
        let values = runtime::eval(graph).ok()?;
        let seeds: Vec<Cotangent> =
            lowered.seeds.iter().map(|(_, v, t)| Cotangent { value: *v, cotangent: t.clone() }).collect();
        runtime::backprop(graph, &values, &seeds, &graph.differentiated(&[])).ok()?;
    }
    Some(())
}

/// Reads and renders a certificate; its digest may be wrong, and its report must come nevertheless.
fn render(b: &[u8]) -> bool {
    let Some(c) = std::str::from_utf8(b).ok().and_then(|t| Certificate::from_json(t).ok()) else { return false };
    let _ = c.sealed();
    !certify::report::render(&c).is_empty()
}

fn policy(b: &[u8]) -> bool {
    std::str::from_utf8(b).is_ok_and(|t| gate::policy::parse(t, "fuzzed").is_ok())
}

/// Gradients in a safetensors file.
fn gradients(b: &[u8], dir: &Path) -> bool {
    let file = dir.join("g.safetensors");
    fs::write(&file, b).expect("written");
    gate::tensors::read(&file, &[]).is_ok()
}

/// Longer than this is a hang, on a busy machine too.
const SOON: Duration = Duration::from_secs(20);

/// Tries mutants of good files; a panic or a hang names the file and the seed, and the mutant is kept.
fn survive(
    what: &str,
    cases: u64,
    mutant: impl Fn(&mut Random) -> (PathBuf, Vec<u8>),
    run: impl Fn(&[u8], &Path) -> bool,
) {
    let (mut failures, mut through) = (Vec::new(), 0);
    let seeds = seeds(cases);
    let count = seeds.len();
    for seed in seeds {
        let (from, bytes) = mutant(&mut Random(seed));
        let begun = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| run(&bytes, from.parent().unwrap_or(Path::new(".")))));
        through += usize::from(*result.as_ref().unwrap_or(&false));
        if result.is_err() || begun.elapsed() > SOON {
            let kept = std::env::temp_dir().join(format!("certify-{what}-{seed}"));
            fs::write(&kept, &bytes).expect("written");
            let why = if result.is_err() { "panics" } else { "hangs" };
            failures.push(format!("seed {seed}, from {}: {why}; the file is {}", from.display(), kept.display()));
        }
    }
    println!("{what}: {count} mutants, {through} of them still good");
    assert!(failures.is_empty(), "{} of {count}:\n{}", failures.len(), failures.join("\n"));
}

/// Small files below the crate's own folders, and those of the corpus.
fn good(extension: &str, more: &[&str]) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all: Vec<PathBuf> =
        ["models", "tests/data"].iter().flat_map(|d| corpus::files(&root.join(d), extension)).collect();
    if let Some(c) = corpus::folder() {
        all.extend(more.iter().flat_map(|d| corpus::files(&c.join(d), extension)));
    }
    // what was found is tried as it is
    all.retain(|p| {
        fs::metadata(p).is_ok_and(|m| m.len() < 200_000) && !p.components().any(|c| c.as_os_str() == "found")
    });
    assert!(all.len() >= 3, "{extension}: {}", all.len());
    all
}

#[test]
fn changed_models_are_read_or_refused() {
    let files = good("onnx", &["node_tests", "gradients", "torch_exports", "ort_artifacts"]);
    let mutant = |r: &mut Random| {
        let from = files[r.below(files.len())].clone();
        let whole = fs::read(&from).expect("read");
        let bytes = if r.below(3) == 0 { bytes(r, whole) } else { fields(r, &whole) };
        (from, bytes)
    };
    survive("model", 1500, mutant, |b, folder| run(b, folder).is_some());
}

#[test]
fn changed_arrays_are_read_or_refused() {
    let files = good("npz", &["gradients"]);
    let mutant = |r: &mut Random| {
        let from = files[r.below(files.len())].clone();
        let whole = fs::read(&from).expect("read");
        (from, bytes(r, whole))
    };
    survive("npz", 400, mutant, |b, _| npz::read(b, "fuzzed.npz").is_ok());
    let array = |r: &mut Random| {
        let from = files[r.below(files.len())].clone();
        let all = npz::read(&fs::read(&from).expect("read"), "good").expect("good");
        // an archive of a model without inputs is empty
        let one = all.get(r.below(all.len())).map_or_else(Vec::new, |(_, t)| npy::write(t).expect("written"));
        (from, bytes(r, one))
    };
    survive("npy", 400, array, |b, _| npy::read(b).is_ok());
    let tensors = |r: &mut Random| {
        let data: Vec<u8> = (0..24).map(|_| r.next() as u8).collect();
        let view = |shape: Vec<usize>, b| safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape, b);
        let list =
            [("a", view(vec![2, 2], &data[..16]).expect("fits")), ("b", view(vec![2], &data[16..]).expect("fits"))];
        let whole = safetensors::serialize(list, None).expect("serialized");
        (PathBuf::from("safetensors"), bytes(r, whole))
    };
    let dir = tempfile::tempdir().expect("a directory");
    survive("safetensors", 400, tensors, |b, _| gradients(b, dir.path()));
}

#[test]
fn changed_documents_are_read_or_refused() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let certificates = corpus::files(&root.join("docs/samples"), "json");
    assert!(!certificates.is_empty());
    let mutant = |r: &mut Random| {
        let from = certificates[r.below(certificates.len())].clone();
        let whole = fs::read(&from).expect("read");
        (from, bytes(r, whole))
    };
    survive("certificate", 150, mutant, |b, _| render(b));
    let template =
        |r: &mut Random| (PathBuf::from("policy"), bytes(r, gate::policy::TEMPLATE.replace("#: ", "").into_bytes()));
    survive("policy", 400, template, |b, _| policy(b));
}

#[test]
fn found_files_are_read_or_refused() {
    let found = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/found");
    let dir = tempfile::tempdir().expect("a directory");
    let mut tried = 0;
    for kind in fs::read_dir(&found).expect("files that were found").flatten() {
        let name = kind.file_name().to_string_lossy().into_owned();
        for file in fs::read_dir(kind.path()).expect("a folder of files").flatten() {
            let (b, path) = (fs::read(file.path()).expect("read"), file.path());
            let begun = Instant::now();
            // a panic fails the test, and its message stands above
            let good = match name.as_str() {
                "model" => run(&b, dir.path()).is_some(),
                "npz" => npz::read(&b, "found").is_ok() | npy::read(&b).is_ok(),
                "safetensors" => gradients(&b, dir.path()),
                "checkpoint" => import::checkpoint::read(&b).is_ok(),
                "certificate" => render(&b),
                "policy" => policy(&b),
                _ => panic!("\"{name}\" is no kind of file"),
            };
            println!("{}: {}", path.display(), if good { "good" } else { "refused" });
            assert!(begun.elapsed() < SOON, "{}: takes too long", path.display());
            tried += 1;
        }
    }
    assert!(tried > 0);
}
