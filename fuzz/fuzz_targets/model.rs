//! A model file: read, given synthetic inputs, lowered, and run where it is small.
#![no_main]

use std::collections::BTreeMap;
use std::path::Path;

use certify::import::{self, Inputs, Options, Seed};
use certify::ir::{ValueId, elements};
use certify::{limits, runtime, seed};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // small enough that what is within it is built in no time, instrumented as it is
    limits::set(1 << 26);
    let Ok(model) = import::decode::from_bytes(bytes, "fuzzed.onnx", Path::new("/nonexistent")) else { return };
    let Ok(inputs) = Inputs::synthetic(&model, 1, &BTreeMap::new()) else { return };
    let lower = |seed| import::lower(&model, &inputs, &Options { seed, ..Options::default() });
    let Ok(lowered) = lower(Seed::Loss).or_else(|_| lower(Seed::None)) else { return };
    let graph = &lowered.graph;
    graph.check().unwrap_or_else(|e| panic!("link invariant: {e}"));
    let entries: usize = (0..graph.len()).map(|v| elements(graph.shape(ValueId(v as u32)))).sum();
    if entries > 5_000 {
        return;
    }
    let Ok(values) = runtime::eval(graph) else { return };
    let seeds: Vec<seed::Seed> =
        lowered.seeds.iter().map(|(_, v, t)| seed::Seed { value: *v, cotangent: t.clone() }).collect();
    let _ = runtime::backprop(graph, &values, &seeds, &graph.differentiated(&[]));
});
