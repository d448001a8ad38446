//! Gradients in a safetensors file.
#![no_main]

use certify::{gate, limits};
use libfuzzer_sys::fuzz_target;

thread_local! {
    static FILE: tempfile::TempDir = tempfile::tempdir().expect("a directory");
}

fuzz_target!(|bytes: &[u8]| {
    limits::set(1 << 30);
    FILE.with(|dir| {
        let file = dir.path().join("g.safetensors");
        std::fs::write(&file, bytes).expect("written");
        let _ = gate::tensors::read(&file, &[]);
    });
});
