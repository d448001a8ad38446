//! certify's `unsafe` code as far as Miri can run it: what calls no C. `tests/` takes it through its ways with
//! small sizes.
//!
//! `sh scripts/miri/run.sh` (a nightly toolchain with the components `miri` and `rust-src`).
#![allow(missing_docs, dead_code)]

pub mod num;
