//! No lost work: whenever the tool is killed, and whatever it can't write, a file is the old one or the
//! complete new one.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::cli::{INPUTS, certify, place, refused};

fn tool(dir: &Path, args: &[&str]) -> Command {
    let mut c = Command::new(env!("CARGO_BIN_EXE_certify"));
    c.current_dir(dir).args(args).stdout(Stdio::null()).stderr(Stdio::null());
    c
}

const RESULTS: [&str; 4] = ["--report", "r.html", "--certificate", "c.json"];

#[test]
fn a_kill_at_any_moment_leaves_the_old_file_or_the_new_one() {
    let dir = place();
    let args = [&["m.onnx"][..], &INPUTS, &RESULTS].concat();
    assert_eq!(certify(dir.path(), &args).status, 0);
    let new: Vec<Vec<u8>> = ["r.html", "c.json"].iter().map(|f| fs::read(dir.path().join(f)).expect("there")).collect();
    let begun = Instant::now();
    assert!(tool(dir.path(), &args).status().expect("it starts").success());
    let whole = begun.elapsed();
    let mut seen = [0usize; 2];
    for k in 0..100u32 {
        for f in ["r.html", "c.json"] {
            fs::write(dir.path().join(f), "old").expect("written");
        }
        let mut child = tool(dir.path(), &args).spawn().expect("it starts");
        // most moments near the end, where files are written
        let part = f64::from(k * 37 % 100) / 100.0;
        std::thread::sleep(whole.mul_f64(1.1 * part.sqrt()));
        // already over: as good
        let _ = child.kill();
        child.wait().expect("it ended");
        for (f, new) in ["r.html", "c.json"].iter().zip(&new) {
            let now = fs::read(dir.path().join(f)).expect("there is always a file");
            assert!(now == b"old" || now == *new, "{f} is neither, after {part} of a run ({} bytes)", now.len());
            seen[usize::from(now == *new)] += 1;
        }
    }
    println!("old {}, new {}", seen[0], seen[1]);
    assert!(seen[0] > 0, "no kill came in time");
}

/// Runs with files limited to so many bytes; the signal of the limit is ignored, as programs that check
/// their writes do.
fn limited(dir: &Path, args: &[&str], bytes: u64) -> std::process::Output {
    let script = format!("trap '' XFSZ; ulimit -f {}; exec \"$0\" \"$@\"", bytes / 512);
    let mut c = Command::new("sh");
    c.current_dir(dir).arg("-c").arg(script).arg(env!("CARGO_BIN_EXE_certify")).args(args);
    c.output().expect("it starts")
}

#[test]
fn a_full_disk_is_an_error_that_names_the_file() {
    let dir = place();
    fs::write(dir.path().join("c.json"), "old").expect("written");
    let args = [&["m.onnx"][..], &INPUTS, &["--certificate", "c.json"]].concat();
    let run = limited(dir.path(), &args, 512);
    let err = String::from_utf8_lossy(&run.stderr).into_owned();
    assert_eq!(run.status.code(), Some(2), "{err}");
    assert!(err.contains("error[E001]: \"c.json\" can't be written") && err.contains("help: "), "{err}");
    assert_eq!(fs::read(dir.path().join("c.json")).expect("there"), b"old");
    let left: Vec<_> = fs::read_dir(dir.path()).expect("readable").flatten().map(|e| e.file_name()).collect();
    assert!(!left.iter().any(|n| n.to_string_lossy().contains(".part")), "{left:?}");
    if cfg!(target_os = "linux") {
        let args = [&["m.onnx"][..], &INPUTS, &["--certificate", "/dev/full"]].concat();
        let run = certify(dir.path(), &args);
        assert_eq!(run.status, 2, "{}", run.err);
        assert!(
            run.err.contains("\"/dev/full\" can't be written") && run.err.contains("free some space"),
            "{}",
            run.err
        );
    }
}

/// What a killed run leaves beside its results doesn't hinder the next one.
#[test]
fn the_next_run_is_not_hindered_by_what_a_kill_left() {
    let dir = place();
    fs::write(dir.path().join(".certify-abc.part"), "half").expect("written");
    let args = [&["m.onnx"][..], &INPUTS, &RESULTS].concat();
    let begun = Instant::now();
    assert_eq!(certify(dir.path(), &args).status, 0);
    assert!(begun.elapsed() < Duration::from_secs(120));
    assert_eq!(fs::read(dir.path().join(".certify-abc.part")).expect("untouched"), b"half");
}

/// A run that is killed again and again, and goes on each time, ends with the certificate of one that wasn't.
#[test]
fn a_run_that_was_killed_goes_on_and_finds_the_same() {
    let dir = tempfile::tempdir().expect("a directory");
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    for f in ["digits_mlp.onnx", "digits_mlp.inputs.npz"] {
        fs::copy(models.join(f), dir.path().join(f)).expect("copied");
    }
    let model = ["digits_mlp.onnx", "--inputs", "digits_mlp.inputs.npz", "--quiet"];
    let begun = Instant::now();
    assert_eq!(certify(dir.path(), &[&model[..], &["--certificate", "whole.json"]].concat()).status, 0);
    let whole = begun.elapsed();
    let resumed = [&model[..], &["--certificate", "c.json", "--resume", "kept"]].concat();
    let kept = dir.path().join("kept");
    let (mut kills, mut sizes) = (0, Vec::new());
    for k in 1..=5u32 {
        let mut child = tool(dir.path(), &resumed).spawn().expect("it starts");
        std::thread::sleep(whole.mul_f64(0.15 * f64::from(k)));
        if child.try_wait().expect("it is there").is_some() {
            break;
        }
        // it may end in this very moment
        let _ = child.kill();
        kills += usize::from(!child.wait().expect("it ended").success());
        sizes.push(fs::metadata(&kept).map_or(0, |m| m.len()));
    }
    println!("killed {kills} times; bytes kept: {sizes:?}");
    assert!(kills > 0, "it was over before the first kill");
    let run = certify(dir.path(), &resumed);
    assert_eq!(run.status, 0, "{}", run.err);
    let read = |f: &str| fs::read(dir.path().join(f)).expect("written");
    assert!(read("c.json") == read("whole.json"), "another certificate");
    assert!(!kept.exists(), "the checkpoint stays behind");
}

#[test]
fn a_checkpoint_of_something_else_is_refused() {
    let dir = place();
    let args = |more: &[&'static str]| [&["m.onnx"][..], &INPUTS, more].concat();
    fs::write(dir.path().join("notes.txt"), "mine").expect("written");
    refused(dir.path(), &args(&["--resume", "notes.txt"]), &["error[E020]", "\"notes.txt\" is no checkpoint"]);
    refused(dir.path(), &args(&["--resume", "m.onnx"]), &["error[E060]", "would overwrite a file that is read"]);
    refused(
        dir.path(),
        &args(&["--resume", "c", "--certificate", "c"]),
        &["error[E060]", "--resume \"c\" would overwrite --certificate"],
    );
}
