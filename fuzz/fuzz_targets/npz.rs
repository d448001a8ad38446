//! An npz archive; the bytes as one npy array as well.
#![no_main]

use certify::data::{npy, npz};
use certify::limits;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    limits::set(1 << 30);
    if let Ok(arrays) = npz::read(bytes, "fuzzed.npz") {
        let again = npz::write(&arrays).expect("what was read can be written");
        let back = npz::read(&again, "again").expect("what was written can be read");
        assert_eq!(arrays.len(), back.len());
    }
    let _ = npy::read(bytes);
});
