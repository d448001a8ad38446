//! Weights in an ONNX Runtime checkpoint.
#![no_main]

use certify::import::checkpoint;
use certify::limits;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    limits::set(1 << 30);
    let _ = checkpoint::is_checkpoint(bytes);
    let _ = checkpoint::read(bytes);
});
