//! Values for the graph's inputs where nobody has any: drawn from a seed.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::hints;
use super::inputs::{Inputs, Source};
use super::lower::lower;
use super::model::{Dim, OnnxModel, ValueInfo};
use super::random::Random;
use super::tensor::hex;
use super::value::{Options, Seed};
use crate::data::{DType, Data, HostTensor, elements, npz, too_large};
use crate::error::{Code, Diagnostic, Diagnostics};

impl Inputs {
    /// Draws every input from a seed: floats about N(0, 1), labels and indices inside the range
    /// that the graph shows (1 where it shows none), truth values fair.
    ///
    /// Sizes that the model leaves open come from `sizes` by their name, else 2 for the first
    /// dimension, 8 for those of sequences and 32 for those of images. The target of an appended loss gets
    /// the shape of the value that it meets, labels the range of its classes.
    pub fn synthetic(model: &OnnxModel, seed: u64, sizes: &BTreeMap<String, usize>) -> Result<Inputs, Diagnostics> {
        Inputs::refused(model)?;
        let mut problems = Diagnostics::default();
        let bounds = hints::index_bounds(&model.graph);
        let met = hints::targets(&model.graph);
        let mut drawn: Vec<(String, HostTensor)> = Vec::new();
        // a symbol's size is settled where it first occurs
        let mut sizes = sizes.clone();
        // targets last: what they meet depends on the others
        let (late, early): (Vec<&ValueInfo>, _) =
            model.graph.inputs.iter().partition(|i| met.contains_key(i.name.as_str()));
        for info in early.into_iter().chain(late) {
            let appended = model.plan.target.as_ref() == Some(&info.name);
            let scores = met.get(info.name.as_str()).and_then(|scores| shape_of(model, &drawn, seed, scores));
            let labels = info.dtype.is_some_and(|d| d.is_int());
            let bound = scores.as_ref().filter(|_| labels).and_then(|s| classes(s)).map(|&n| n as u64);
            let bound = bound.or_else(|| bounds.get(info.name.as_str()).copied());
            let shape = match scores.filter(|_| appended) {
                Some(s) => Ok(if labels { without_classes(s) } else { s }),
                None => stated(info, &mut sizes),
            };
            match shape.and_then(|s| draw(info, seed, s, bound)) {
                Ok(tensor) => drawn.push((info.name.clone(), tensor)),
                Err(why) => problems.push(
                    Diagnostic::new(Code::Input, format!("input \"{}\": {why}", info.name))
                        .file(&model.file)
                        .help("give the inputs with --inputs"),
                ),
            }
        }
        problems.into_result(())?;
        let place = |name: &str| model.graph.inputs.iter().position(|i| i.name == name);
        drawn.sort_by_key(|(name, _)| place(name));
        let sha256 = hex(&Sha256::digest(npz::write(&drawn)?));
        Inputs::check(drawn, model, Source::Synthetic(seed), sha256)
    }
}

/// The shape of a value of the graph at the inputs that are there; `None` where it needs others, or can't be lowered.
fn shape_of(model: &OnnxModel, drawn: &[(String, HostTensor)], seed: u64, value: &str) -> Option<Vec<usize>> {
    let inputs = Inputs { values: drawn.to_vec(), source: Source::Synthetic(seed), sha256: String::new() };
    let options = Options { outputs: vec![value.to_owned()], seed: Seed::None, draw: Some(seed), ..Options::default() };
    let lowered = lower(model, &inputs, &options).ok()?;
    let (_, v) = lowered.outputs.first()?;
    Some(lowered.graph.shape(*v).to_vec())
}

/// Scores have their classes along axis 1, or along their only one.
fn classes(scores: &[usize]) -> Option<&usize> {
    scores.get(1).or(scores.first())
}

/// Labels have no axis of classes.
fn without_classes(mut scores: Vec<usize>) -> Vec<usize> {
    if scores.len() > 1 {
        scores.remove(1);
    }
    scores
}

/// The shape that the model states, with sizes for what it leaves open.
fn stated(info: &ValueInfo, sizes: &mut BTreeMap<String, usize>) -> Result<Vec<usize>, String> {
    let dims = info.dims.as_ref().ok_or("the model states no shape to draw a value for")?;
    let open = |axis: usize| match axis {
        0 => 2,
        a if a >= 2 && dims.len() >= 4 => 32,
        _ => 8,
    };
    let size = |(axis, d): (usize, &Dim)| match d {
        Dim::Size(n) => *n,
        Dim::Symbol(s) => *sizes.entry(s.clone()).or_insert(open(axis)),
        Dim::Unknown => open(axis),
    };
    Ok(dims.iter().enumerate().map(size).collect())
}

fn draw(info: &ValueInfo, seed: u64, shape: Vec<usize>, bound: Option<u64>) -> Result<HostTensor, String> {
    let dtype = info.dtype.ok_or("the model states no element type to draw a value for")?;
    let count = elements(&shape).ok_or_else(|| too_large(&shape))?;
    crate::limits::afford("its values", 8 * count as u64).map_err(|d| d.what)?;
    let mut r = Random::new(seed, &info.name);
    let data = match dtype {
        DType::F32 => Data::F32((0..count).map(|_| r.normal()).collect()),
        DType::F64 => Data::F64((0..count).map(|_| f64::from(r.normal())).collect()),
        DType::F16 => Data::F32((0..count).map(|_| half::f16::from_f32(r.normal()).to_f32()).collect()),
        DType::BF16 => Data::F32((0..count).map(|_| half::bf16::from_f32(r.normal()).to_f32()).collect()),
        DType::Bool => Data::Bool((0..count).map(|_| r.below(2) == 1).collect()),
        _ => match (dtype.int_range(), bound) {
            (None, _) => return Err(format!("no synthetic values of {dtype}")),
            (Some((_, hi)), Some(b)) => {
                let b = b.min(hi as u64).max(1);
                Data::Int((0..count).map(|_| r.below(b) as i64).collect())
            }
            (Some(_), None) => Data::Int(vec![1; count]),
        },
    };
    Ok(HostTensor { dtype, shape, data })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::inputs::tests::{info, model, two};
    use crate::import::model::{Graph, Node};
    use crate::import::objective::{self, Objective};
    use std::collections::HashMap;
    use std::sync::Arc;

    #[test]
    fn synthetic_inputs_depend_on_seed_and_sizes_only() {
        let m = two();
        let a = Inputs::synthetic(&m, 1, &BTreeMap::new()).unwrap();
        assert_eq!(a.values[0].1.shape, [2, 2]);
        assert_eq!(a.sha256, Inputs::synthetic(&m, 1, &BTreeMap::new()).unwrap().sha256);
        assert_ne!(a.sha256, Inputs::synthetic(&m, 2, &BTreeMap::new()).unwrap().sha256);
        let b = Inputs::synthetic(&m, 1, &BTreeMap::from([("N".to_string(), 5)])).unwrap();
        assert_eq!(b.values[1].1.shape, [5]);
        let shapeless = model(vec![ValueInfo { name: "x".into(), dtype: Some(DType::F32), dims: None }]);
        assert!(Inputs::synthetic(&shapeless, 1, &BTreeMap::new()).unwrap_err().to_string().contains("no shape"));
    }

    /// The file may state no shape of the scores, or a wrong one: what counts is what the graph makes of its inputs.
    #[test]
    fn targets_take_shape_and_range_from_what_they_meet() {
        let node = Node {
            name: "scores".into(),
            op: "MatMul".into(),
            domain: String::new(),
            opset: 17,
            inputs: vec!["x".into(), "w".into()],
            outputs: vec!["y".into()],
            attributes: BTreeMap::new(),
            doc: String::new(),
            metadata: HashMap::new(),
        };
        for dims in [None, Some(Vec::new()), Some(vec![Dim::Size(9), Dim::Symbol("N".into())])] {
            let mut m = model(vec![info("x", DType::F32, vec![Dim::Size(40), Dim::Size(2)])]);
            m.graph = Graph {
                nodes: vec![node.clone()],
                initializers: vec![("w".into(), Arc::new(HostTensor::f32(vec![2, 3], vec![0.5; 6])))],
                outputs: vec![ValueInfo { name: "y".into(), dtype: Some(DType::F32), dims }],
                inputs: m.graph.inputs,
                ..Graph::default()
            };
            let with = |loss: &str| {
                let mut m = m.clone();
                objective::append(&mut m, &loss.parse::<Objective>().unwrap()).unwrap();
                Inputs::synthetic(&m, 1, &BTreeMap::new()).unwrap().values[1].1.clone()
            };
            assert_eq!(with("mse").shape, [40, 3]);
            let labels = with("cross-entropy");
            assert_eq!(labels.shape, [40]);
            let Data::Int(labels) = labels.data else { panic!("labels are integers") };
            assert!((0..3).all(|k| labels.contains(&k)) && labels.iter().all(|k| *k < 3), "{labels:?}");
        }
    }
}
