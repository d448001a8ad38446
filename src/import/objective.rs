//! A loss appended to an inference graph (`--loss`), its target one more input.

use std::collections::{BTreeMap, HashMap};
use std::str::FromStr;

use super::model::{Attribute, Node, OnnxModel, ValueInfo};
use super::value::Note;
use crate::data::DType;
use crate::error::{Code, Diagnostic};

/// Domain of the operators that stand for losses; no file has them.
pub const DOMAIN: &str = "certify.loss";

/// A loss, and the output it is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objective {
    /// Which.
    pub kind: Kind,
    /// The output, or another value that a node makes; `None`: the only output.
    pub output: Option<String>,
}

/// The losses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Mean of −log softmax(x)[label], classes along axis 1.
    CrossEntropy,
    /// Mean of −x[label], for x that is log probabilities.
    Nll,
    /// Mean of (x − target)².
    Mse,
    /// Mean of max(x, 0) − x·target + log(1 + e^−|x|).
    BceLogits,
    /// Sum of x.
    Sum,
}

/// Names as the command line has them.
pub const KINDS: [(&str, Kind); 5] = [
    ("cross-entropy", Kind::CrossEntropy),
    ("nll", Kind::Nll),
    ("mse", Kind::Mse),
    ("bce-logits", Kind::BceLogits),
    ("sum", Kind::Sum),
];

impl FromStr for Objective {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let (name, output) = s.split_once(':').map_or((s, None), |(k, o)| (k, Some(o.to_string())));
        match KINDS.iter().find(|(n, _)| *n == name) {
            Some((_, kind)) if output.as_deref() != Some("") => Ok(Objective { kind: *kind, output }),
            _ => {
                Err("cross-entropy, nll, mse, bce-logits or sum required, with \":OUTPUT\" after it if need be".into())
            }
        }
    }
}

/// Appends the loss; the graph has no other output afterwards.
pub fn append(model: &mut OnnxModel, objective: &Objective) -> Result<(), Diagnostic> {
    if model.plan.parameters.is_some() {
        return Err(Diagnostic::new(Code::Usage, "--loss is given for a graph that has a loss of its own"));
    }
    let outputs = &model.graph.outputs;
    let all = || outputs.iter().map(|o| format!("\"{}\"", o.name)).collect::<Vec<_>>().join(", ");
    let made = |name: &String| model.graph.nodes.iter().any(|n| n.outputs.contains(name));
    let output = match (&objective.output, outputs.as_slice()) {
        (Some(name), list) => match list.iter().find(|o| o.name == *name) {
            Some(output) => output.clone(),
            // any value that a node makes will do
            None if made(name) => ValueInfo { name: name.clone(), dtype: None, dims: None },
            None => {
                return Err(Diagnostic::new(Code::Usage, format!("the graph has no value \"{name}\""))
                    .note(format!("its outputs are {}", all())));
            }
        },
        (None, [one]) => one.clone(),
        (None, _) => {
            let d = Diagnostic::new(Code::Usage, format!("--loss has to say of which output: {}", all()));
            return Err(d.help(format!("such as --loss cross-entropy:{}", outputs[0].name)));
        }
    };
    let free = |wanted: &str| {
        let mut name = wanted.to_string();
        while model.graph.values().any(|v| v == name) {
            name.push('_');
        }
        name
    };
    let (op, target) = match objective.kind {
        Kind::CrossEntropy => ("SoftmaxCrossEntropyLoss", Some(("labels", DType::I64))),
        Kind::Nll => ("NegativeLogLikelihoodLoss", Some(("labels", DType::I64))),
        Kind::Mse => ("MeanSquaredError", Some(("target", DType::F32))),
        Kind::BceLogits => ("BinaryCrossEntropyWithLogits", Some(("target", DType::F32))),
        Kind::Sum => ("Sum", None),
    };
    let target = target.map(|(name, dtype)| {
        let dims = output.dims.clone().map(|mut d| {
            // labels have no axis of classes
            if dtype == DType::I64 && d.len() > 1 {
                d.remove(1);
            }
            d
        });
        ValueInfo { name: free(name), dtype: Some(dtype), dims }
    });
    let loss = free("loss");
    let last = model.graph.nodes.iter().find(|n| n.outputs.contains(&output.name));
    if objective.kind == Kind::CrossEntropy
        && let Some(n) = last.filter(|n| matches!(n.op.as_str(), "Softmax" | "LogSoftmax" | "Sigmoid"))
    {
        model.plan.notes.push(Note {
            warning: true,
            what: format!("--loss cross-entropy takes scores, but output \"{}\" is a {}", output.name, n.op),
            nodes: vec![n.label().to_string()],
        });
    }
    let mut inputs = vec![output.name];
    inputs.extend(target.iter().map(|t| t.name.clone()));
    model.graph.nodes.push(Node {
        name: "loss".into(),
        op: op.into(),
        domain: DOMAIN.into(),
        opset: 1,
        inputs,
        outputs: vec![loss.clone()],
        attributes: BTreeMap::<String, Attribute>::new(),
        doc: String::new(),
        metadata: HashMap::new(),
    });
    model.plan.target = target.as_ref().map(|t| t.name.clone());
    model.graph.inputs.extend(target);
    model.graph.outputs = vec![ValueInfo { name: loss, dtype: Some(DType::F32), dims: Some(Vec::new()) }];
    Ok(())
}
