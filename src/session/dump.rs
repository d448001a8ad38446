//! The arrays of `--dump`: this run's values, and the midpoints of the spec's enclosures.

use super::Passes;
use super::subject::Subject;
use crate::data::HostTensor;
use crate::import::Lowered;
use crate::ir::{Array, Tensor};
use crate::num::Ball;

/// Midpoints rounded to binary64; zeros where there is no cotangent at all.
fn midpoints(balls: Option<&Array<Ball>>, shape: &[usize]) -> HostTensor {
    let n = shape.iter().product();
    HostTensor::f64(
        shape.to_vec(),
        balls.map_or_else(|| vec![0.0; n], |b| b.data.iter().map(|x| x.mid.to_f64()).collect()),
    )
}

fn plain(t: Tensor) -> HostTensor {
    HostTensor::f32(t.shape, t.data.into_vec())
}

/// File name and arrays, keyed by parameter name and by output name.
pub fn files(lowered: &Lowered, p: &Passes) -> Vec<(&'static str, Vec<(String, HostTensor)>)> {
    let graph = &lowered.graph;
    let runtime = p.subjects.iter().map(|s| (s.name.clone(), plain(p.run_of(lowered, s)))).collect();
    let shape = |s: &Subject| p.run_of(lowered, s).shape;
    let spec = p.subjects.iter().map(|s| (s.name.clone(), midpoints(s.spec(&p.exact), &shape(s)))).collect();
    let outputs = lowered.outputs.iter().map(|(n, v)| (n.clone(), plain(p.values[v.index()].clone())));
    let exact = lowered.exact_outputs.iter().map(|(n, t)| (n.clone(), (**t).clone()));
    let outputs_spec = lowered
        .outputs
        .iter()
        .zip(&p.exact.kept)
        .map(|((n, v), (_, b))| (n.clone(), midpoints(Some(b), graph.shape(*v))));
    let mut all = vec![
        ("runtime.npz", runtime),
        ("spec.npz", spec),
        ("outputs_runtime.npz", outputs.chain(exact.clone()).collect()),
        ("outputs_spec.npz", outputs_spec.chain(exact).collect()),
    ];
    // what random operators drew, by the node it belongs to
    if !lowered.drawn.is_empty() {
        all.push(("masks.npz", lowered.drawn.clone()));
    }
    all
}
