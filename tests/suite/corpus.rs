//! The shared test corpus: ONNX files that this project did not write.

use std::io::Write;
use std::path::{Path, PathBuf};

/// The corpus folder: `CERTIFY_CORPUS`, else `../shared/corpus` beside the crate. `None` (with a
/// plain message) where it isn't there; with `CERTIFY_REQUIRE_CORPUS` set that is a failure.
pub fn folder() -> Option<PathBuf> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
    let path = std::env::var_os("CERTIFY_CORPUS").map_or(default, PathBuf::from);
    if path.is_dir() {
        return Some(path);
    }
    assert!(std::env::var_os("CERTIFY_REQUIRE_CORPUS").is_none(), "the test corpus is not at {}", path.display());
    // Not `eprintln!`: the output of tests that pass is captured, and this is to be seen.
    let (test, at) = (std::thread::current().name().unwrap_or("a test").to_owned(), path.display());
    let _ = writeln!(std::io::stderr(), "NOT TESTED: {test}: the test corpus is not at {at} (set CERTIFY_CORPUS)");
    None
}

/// All files below a folder with this extension, sorted.
pub fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut out = Vec::new();
    let mut todo = vec![folder.to_path_buf()];
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(&dir).expect("corpus folder is readable").flatten() {
            let path = entry.path();
            if path.is_dir() {
                todo.push(path);
            } else if path.extension().is_some_and(|e| e == extension) {
                out.push(path);
            }
        }
    }
    out.sort();
    out
}
