//! What release machinery reads, against the public schemas of its formats, by validators that others wrote.
//!
//! Without them these tests pass and say so; with `CERTIFY_REQUIRE_SCHEMAS` they fail. `scripts/schemas.sh`
//! gets what they need. Documents stay in `target/schemas/documents/`.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cli;
use certify::certificate::{Certificate, Status};
use certify::data::{HostTensor, npz};
use certify::gate::outputs::{self, Findings};

/// Endings of the three formats, as `tests/schemas/check.py` knows them, and how each is made.
const FORMATS: [(&str, fn(&Findings) -> String); 3] =
    [("junit.xml", outputs::junit), ("sarif", outputs::sarif), ("intoto.json", outputs::in_toto)];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// `target/schemas`.
fn schemas() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target directory has a name").join("schemas")
}

/// A file for documents.
fn kept(name: &str) -> PathBuf {
    let dir = schemas().join("documents");
    fs::create_dir_all(&dir).expect("the directory can be made");
    dir.join(name)
}

fn have_validators() -> bool {
    let there = ["requirements.txt", "sarif-2.1.0.json"].iter().all(|f| schemas().join(f).is_file());
    if !there {
        let test = std::thread::current().name().unwrap_or("a test").to_owned();
        let text = format!("NOT TESTED: {test}: no validators (scripts/schemas.sh fetches them)");
        assert!(std::env::var_os("CERTIFY_REQUIRE_SCHEMAS").is_none(), "{text}");
        let _ = writeln!(std::io::stderr(), "{text}");
    }
    there
}

/// What the validators say of each file.
fn judged(files: &[PathBuf]) -> Vec<String> {
    let out = Command::new(schemas().join("venv/bin/python"))
        .arg(root().join("tests/schemas/check.py"))
        .args([schemas(), root().join("docs/certificate.schema.json")])
        .args(files)
        .output()
        .expect("Python starts");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let lines: Vec<String> = String::from_utf8_lossy(&out.stdout).lines().map(String::from).collect();
    assert_eq!(lines.len(), files.len(), "a verdict for each file");
    lines
}

#[track_caller]
fn all_valid(files: &[PathBuf]) {
    for (file, verdict) in files.iter().zip(judged(files)) {
        assert_eq!(verdict, "valid", "{}", file.display());
    }
}

fn sample(name: &str) -> Certificate {
    let text = fs::read_to_string(root().join(format!("docs/samples/{name}.json"))).expect("the sample is there");
    Certificate::from_json(&text).unwrap_or_else(|e| panic!("{e}"))
}

/// Names that quoting, paths, markup and URIs stumble over.
const NAMES: [&str; 6] = [
    "<script>&\"'</script>",
    "\u{202e}gnp.exe\u{202c}",
    "\u{1f525}/weight",
    "a\u{0}b\u{1b}[31m\u{7}\u{fffe}",
    "",
    "%2e%2e/../c:\\d e",
];

fn hostile(mut f: Findings) -> Findings {
    for (one, name) in f.findings.iter_mut().zip(NAMES.iter().cycle()) {
        (one.name, one.layer) = (format!("{name}{}", one.name), (*name).into());
        one.message = format!("{name} {}", one.message);
    }
    f.findings[0].status = Status::Undecided;
    f.findings[1].waived = Some(NAMES[0].into());
    f.model = NAMES[3].into();
    f.policy = NAMES[1].into();
    f.warnings = NAMES.iter().map(|n| (*n).to_string()).collect();
    f
}

#[test]
fn machine_readable_results_are_valid_by_their_public_schemas() {
    if !have_validators() {
        return;
    }
    let mut files = Vec::new();
    for name in ["certified", "mixed", "not_certified"] {
        let f = Findings::from(&sample(name));
        for (what, f) in [(name.to_string(), f.clone()), (format!("{name}-hostile"), hostile(f))] {
            for (ending, make) in FORMATS {
                let file = kept(&format!("{what}.{ending}"));
                fs::write(&file, make(&f)).expect("it can be written");
                files.push(file);
            }
        }
        let file = kept(&format!("{name}.certificate.json"));
        fs::copy(root().join(format!("docs/samples/{name}.json")), &file).expect("it can be copied");
        files.push(file);
    }
    all_valid(&files);
}

/// The same, as the command writes them, of gradients that pass, are wrong, not finite, of another shape or missing.
#[test]
fn what_check_writes_is_valid_by_the_public_schemas() {
    if !have_validators() {
        return;
    }
    let dir = cli::place();
    let exact = [2.0 * 0.5 * (1.0 + 9.0 + 0.7f32.powi(2)), -2.5 * (4.0 + 0.1f32.powi(2) + 25.0)];
    let cases: [(&str, &str, Vec<usize>, Vec<f32>, i32); 5] = [
        ("right", "w", vec![2], exact.to_vec(), 0),
        ("wrong", "w", vec![2], vec![1.0, 2.0], 1),
        ("nan", "w", vec![2], vec![f32::NAN, 2.0], 1),
        ("shape", "w", vec![1, 2], exact.to_vec(), 1),
        ("missing", "v", vec![2], exact.to_vec(), 1),
    ];
    let mut files = Vec::new();
    for (what, key, shape, data, status) in cases {
        let grads = npz::write(&[(key.to_string(), HostTensor::f32(shape, data))]).expect("an archive");
        fs::write(dir.path().join("g.npz"), grads).expect("written");
        let at = |ending: &str| kept(&format!("check-{what}.{ending}"));
        let places = FORMATS.map(|(ending, _)| at(ending).display().to_string());
        let args = [
            &["check", "m.onnx"],
            &cli::INPUTS[..],
            &["--gradients", "g.npz", "--junit", &places[0], "--sarif", &places[1], "--in-toto", &places[2]],
        ]
        .concat();
        let run = cli::certify(dir.path(), &args);
        assert_eq!(run.status, status, "{what}: {}{}", run.out, run.err);
        files.extend(FORMATS.map(|(ending, _)| at(ending)));
    }
    all_valid(&files);
}

/// The validators do refuse: each of these breaks one rule of its format.
#[test]
fn documents_that_break_a_rule_are_refused() {
    if !have_validators() {
        return;
    }
    let f = Findings::from(&sample("not_certified"));
    let broken: [(&str, usize, &str, &str); 8] = [
        ("junit.xml", 0, "<testcase name=", "<testcase title="),
        ("junit.xml", 0, " failures=", " defects="),
        ("junit.xml", 0, "</testsuites>", "<testcase name=\"loose\"/></testsuites>"),
        ("sarif", 1, "\"kind\": \"fail\"", "\"kind\": \"failed\""),
        ("sarif", 1, "\"ruleId\"", "\"rule\""),
        ("sarif", 1, "\"driver\"", "\"conductor\""),
        ("intoto.json", 2, "\"passedTests\"", "\"passed\""),
        ("intoto.json", 2, "\"FAILED\"", "\"BROKEN\""),
    ];
    let mut files = Vec::new();
    for (i, (ending, format, from, to)) in broken.iter().enumerate() {
        let good = FORMATS[*format].1(&f);
        assert!(good.contains(from), "{from} is in\n{good}");
        let file = kept(&format!("broken-{i}.{ending}"));
        fs::write(&file, good.replacen(from, to, 1)).expect("it can be written");
        files.push(file);
    }
    let file = kept("broken.certificate.json");
    let text = fs::read_to_string(root().join("docs/samples/certified.json")).expect("the sample is there");
    fs::write(&file, text.replacen("\"verdict\": \"certified\"", "\"verdict\": \"good\"", 1)).expect("written");
    files.push(file);
    for (file, verdict) in files.iter().zip(judged(&files)) {
        assert_ne!(verdict, "valid", "{}", file.display());
        println!("{}: {verdict}", file.display());
    }
}
