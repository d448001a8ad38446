//! tract's forward run agrees with ours, as far as tract goes.

use std::collections::{BTreeMap, HashMap};

use crate::corpus;
use certify::import::{self, Inputs, Options, Seed, crosscheck};
use certify::ir::ValueId;
use certify::runtime;

#[test]
fn tract_computes_the_same_values() {
    let Some(root) = corpus::folder() else { return };
    let mut files = corpus::files(&root.join("gradients"), "onnx");
    files.extend(corpus::files(&root.join("models"), "onnx"));
    let (mut agreed, mut values_compared) = (0, 0);
    for path in &files {
        let model = import::read(path).unwrap_or_else(|e| panic!("{e}"));
        let given = path.with_file_name("inputs.npz");
        let inputs =
            if given.is_file() { Inputs::read(&given, &model) } else { Inputs::synthetic(&model, 1, &BTreeMap::new()) };
        let inputs = inputs.unwrap_or_else(|e| panic!("{e}"));
        let options = Options { seed: Seed::None, ..Options::default() };
        let Ok(lowered) = import::lower(&model, &inputs, &options) else { continue };
        let name = path.strip_prefix(&root).unwrap_or(path).display().to_string();
        let theirs = match crosscheck::forward(path, &inputs) {
            Ok(values) => values,
            Err(why) => {
                println!("{name}: no cross-check: {}", why.lines().next().unwrap_or(""));
                continue;
            }
        };
        let graph = &lowered.graph;
        let ours = runtime::eval(graph).unwrap_or_else(|e| panic!("{name}: {e}"));
        let nodes = (0..graph.nodes().len()).map(|k| graph.node_id(k));
        // primitives of a nameless node share its first output's name
        let mut named: HashMap<&str, Vec<ValueId>> = HashMap::new();
        nodes.for_each(|v| named.entry(graph.name(v)).or_default().push(v));
        for (value, tensor) in &theirs {
            let b = tensor.as_f32().expect("tract hands back floats");
            let candidates = named.get(value.as_str()).into_iter().flatten().map(|v| &ours[v.index()]);
            let candidates: Vec<_> = candidates.filter(|a| a.shape == tensor.shape).collect();
            if candidates.is_empty() {
                continue;
            }
            let size = b.iter().fold(1e-6f32, |m, x| m.max(x.abs()));
            let distance = |a: &[f32]| a.iter().zip(b).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
            let nearest = candidates.iter().map(|a| distance(&a.data)).fold(f32::INFINITY, f32::min);
            assert!(nearest <= 1e-4 * size, "{name}: {value} differs by {nearest:e} of {size:e}");
            values_compared += 1;
        }
        agreed += 1;
    }
    println!("{agreed} of {} models agree with tract in {values_compared} values", files.len());
    assert!(agreed >= 15 && values_compared >= 15, "{agreed} {values_compared}");
}
