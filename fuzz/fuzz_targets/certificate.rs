//! A certificate: parsed, and rendered where it parses.
#![no_main]

use certify::certificate::Certificate;
use certify::report;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(c) = Certificate::from_json(text) {
        let _ = c.sealed();
        assert!(!report::render(&c).is_empty());
    }
});
