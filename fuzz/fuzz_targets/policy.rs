//! A policy file.
#![no_main]

use certify::gate::policy;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = policy::parse(text, "fuzzed");
});
