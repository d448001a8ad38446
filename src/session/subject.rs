//! What is certified: gradients that this tool derives, or tensors that the file computes itself.

use super::Loaded;
use crate::certificate::GradientSource;
use crate::error::{Code, Diagnostic};
use crate::import::Lowered;
use crate::ir::{Array, Tensor, ValueId};
use crate::num::Ball;
use crate::ops::RevGraph;
use crate::runtime::Cotangents;
use crate::spec::Exact;

/// One tensor of the certificate's list of gradients.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Name of the parameter, or of the output where no parameter is known.
    pub name: String,
    /// The parameter's leaf.
    pub leaf: Option<ValueId>,
    /// Where its values are.
    pub from: From,
}

/// Where the values of a subject are.
#[derive(Clone, Copy, Debug)]
pub enum From {
    /// The cotangent of a leaf: the k-th of `exact.gradients`.
    Cotangent(usize, ValueId),
    /// A value: the k-th output.
    Output(usize, ValueId),
}

impl Subject {
    /// The gradient of a leaf, the k-th of `exact.gradients`.
    pub fn leaf(lowered: &Lowered, k: usize, v: ValueId) -> Subject {
        let name = lowered.graph.leaves()[v.index()].name.clone();
        Subject { name, leaf: Some(v), from: From::Cotangent(k, v) }
    }

    /// What a run has for it; zeros where no cotangent arrived.
    pub fn run(&self, graph: &RevGraph, lowered: &Lowered, values: &[Tensor], cotangents: &Cotangents) -> Tensor {
        match self.from {
            From::Cotangent(_, v) => {
                cotangents.total[v.index()].clone().unwrap_or_else(|| Tensor::filled(graph.shape(v), 0.0))
            }
            From::Output(k, _) => values[lowered.outputs[k].1.index()].clone(),
        }
    }

    /// Its enclosure; `None` is an exact zero.
    pub fn spec<'a>(&self, exact: &'a Exact) -> Option<&'a Array<Ball>> {
        match self.from {
            From::Cotangent(k, _) => exact.gradients[k].1.as_ref(),
            From::Output(k, _) => Some(&exact.kept[k].1),
        }
    }
}

/// The subjects of a model: the gradients that it computes itself, all outputs when those were asked
/// for, else the parameters' gradients.
pub(crate) fn of(loaded: &Loaded, outputs: bool) -> Result<Vec<Subject>, Diagnostic> {
    let lowered = &loaded.lowered;
    let place = |v: ValueId, name: &str| lowered.outputs.iter().position(|(n, o)| *o == v && n == name);
    if outputs {
        let all = lowered.outputs.iter().enumerate();
        return Ok(all.map(|(k, (n, v))| Subject { name: n.clone(), leaf: None, from: From::Output(k, *v) }).collect());
    }
    if !lowered.stated.is_empty() {
        let one = |s: &crate::import::Stated| {
            let k = place(s.gradient, &s.tensor)?;
            Some(Subject { name: s.parameter.clone(), leaf: s.leaf, from: From::Output(k, s.gradient) })
        };
        return Ok(lowered.stated.iter().filter_map(one).collect());
    }
    let all: Vec<Subject> = lowered.graph.parameters().enumerate().map(|(k, v)| Subject::leaf(lowered, k, v)).collect();
    if all.is_empty() {
        return Err(Diagnostic::new(Code::Seed, "the graph has no parameters to differentiate by")
            .help("`certify inspect MODEL` lists what counts as a parameter; `--params GLOB` adds to it"));
    }
    Ok(all)
}

/// Whose gradients these are.
pub(crate) fn source(subjects: &[Subject]) -> GradientSource {
    match subjects.first().map(|s| s.from) {
        Some(From::Output(..)) => GradientSource::File,
        _ => GradientSource::Derived,
    }
}
