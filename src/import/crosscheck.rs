//! tract's own forward run as a cross-check of ours: a second reading of ONNX, by other people.
//!
//! tract computes a training-mode BatchNormalization as an inference-mode one, ignores operator
//! domains and knows no loss: such nodes and all that depends on them are left out, as is what it
//! can't type. Where nothing can be compared, the reason is said; nothing here is an error.

use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::panic::{self, AssertUnwindSafe};
use std::thread;

use prost::Message;
use sha2::{Digest, Sha256};
use tract_onnx::pb;
use tract_onnx::prelude::{IntoRunnable, TValue, Tensor as TractTensor, TractResult, tvec};
use tract_onnx::tract_hir::internal::{DatumType, InferenceFact, InferenceModelExt};

use super::inputs::Inputs;
use super::model::{Attribute, Node, OnnxModel};
use super::tensor::hex;
use crate::data::{DType, Data, HostTensor};
use crate::ir::Tensor;

/// tract is built without optimisation: graphs beyond these sizes are left out.
const MAX_NODES: usize = 400;
/// Entries of all initializers and values together.
const MAX_ENTRIES: usize = 20_000_000;
/// Multiply-adds of matrix products and convolutions.
const MAX_WORK: usize = 50_000_000;
/// Nodes that tract refuses and that are left out, one after the other.
const MAX_REFUSED: usize = 3;
/// Some of tract's passes recurse along the graph.
const STACK: usize = 64 << 20;

/// How far tract's forward run is from ours.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CrossCheck {
    /// Values compared.
    pub compared: usize,
    /// Values that our run has under an ONNX name, inputs and initializers left out.
    pub of: usize,
    /// The largest ‖tract − ours‖∞ ÷ ‖ours‖∞ of a value; ∞ where a shape differs or tract has a
    /// value that isn't finite.
    pub worst_relative_difference: f64,
    /// Name of that value.
    pub worst: String,
    /// Why nothing, or not all, was compared.
    pub skipped: Option<String>,
}

/// Runs a model's forward graph in tract and compares what `values` knows by ONNX name.
///
/// Never panics and is never long: what is too large for an unoptimised build is skipped, by sizes
/// only, so that the answer is the same every time.
pub fn tract(model: &OnnxModel, inputs: &Inputs, values: &dyn Fn(&str) -> Option<Tensor>) -> CrossCheck {
    let ours: HashMap<&str, Tensor> = model
        .graph
        .nodes
        .iter()
        .flat_map(|n| &n.outputs)
        .filter(|o| !o.is_empty())
        .filter_map(|o| values(o).map(|t| (o.as_str(), t)))
        .collect();
    let mut out = CrossCheck { of: ours.len(), ..CrossCheck::default() };
    match compared(model, inputs, &ours) {
        Err(why) => out.skipped = Some(why),
        Ok(found) => {
            out.compared = found.differences.len();
            for (name, d) in found.differences {
                // NaN can't occur: `difference` says ∞ instead
                if d > out.worst_relative_difference || out.worst.is_empty() {
                    (out.worst_relative_difference, out.worst) = (d, name);
                }
            }
            if out.compared < out.of {
                out.skipped = Some(found.left_out);
            }
        }
    }
    out
}

/// Differences by name, in the order of the graph, and why some are missing.
struct Found {
    differences: Vec<(String, f64)>,
    left_out: String,
}

fn compared(model: &OnnxModel, inputs: &Inputs, ours: &HashMap<&str, Tensor>) -> Result<Found, String> {
    size(model, inputs, ours)?;
    // what was read from a pipe is gone, and whoever waits for more waits for ever
    if !std::fs::metadata(&model.file).is_ok_and(|m| m.is_file()) {
        return Err("the model wasn't read from a regular file".into());
    }
    let bytes = std::fs::read(&model.file).map_err(|e| format!("the file can't be read again: {e}"))?;
    if hex(&Sha256::digest(&bytes)) != model.sha256 {
        return Err("the file has changed since it was read".into());
    }
    let proto = pb::ModelProto::decode(bytes.as_slice()).map_err(|e| format!("the file can't be decoded: {e}"))?;
    let (mut keep, mut left_out) = comparable(model);
    let folder = model.folder.display().to_string();
    let work = || {
        guarded(|| {
            for _ in 0..MAX_REFUSED {
                let all = Cut::new(&proto, model, &keep, ours, inputs, &folder)?;
                match all.run() {
                    Ok(found) => return Ok((found, left_out)),
                    Err(why) => {
                        let (name, why) = first_refused(&proto, model, &keep, ours, inputs, &folder)
                            .unwrap_or_else(|| (String::new(), why));
                        if name.is_empty() {
                            return Err(format!("tract can't run the graph: {why}"));
                        }
                        let node = model.graph.nodes.iter().find(|n| first_output(n) == name);
                        let label = node.map_or("", Node::label);
                        left_out = format!("what depends on node \"{label}\" is left out: tract refuses it: {why}");
                        drop_with_users(model, &mut keep, &name);
                    }
                }
            }
            Err(left_out.clone())
        })
    };
    let run = thread::scope(|s| {
        let started = thread::Builder::new().name("tract".into()).stack_size(STACK).spawn_scoped(s, work);
        started.map_err(|e| e.to_string())?.join().unwrap_or_else(|p| Err(message(p.as_ref())))
    });
    let (theirs, left_out) = run?;
    let differences = theirs.into_iter().map(|(name, t)| {
        let d = difference(&ours[name.as_str()], &t);
        (name, d)
    });
    Ok(Found { differences: differences.collect(), left_out })
}

/// Is the graph small enough?
fn size(model: &OnnxModel, inputs: &Inputs, ours: &HashMap<&str, Tensor>) -> Result<(), String> {
    let nodes = model.graph.nodes.len();
    if nodes > MAX_NODES {
        return Err(format!("{nodes} nodes are too many for it (at most {MAX_NODES})"));
    }
    let initializers: usize = model.graph.initializers.iter().map(|(_, t)| t.len()).sum();
    let entries = initializers + ours.values().map(|t| t.data.len()).sum::<usize>();
    if entries > MAX_ENTRIES {
        return Err(format!("{entries} entries are too many for it (at most {MAX_ENTRIES})"));
    }
    let mut shapes: HashMap<&str, &[usize]> = HashMap::new();
    shapes.extend(model.graph.initializers.iter().map(|(n, t)| (n.as_str(), t.shape.as_slice())));
    shapes.extend(inputs.values.iter().map(|(n, t)| (n.as_str(), t.shape.as_slice())));
    shapes.extend(ours.iter().map(|(n, t)| (*n, t.shape.as_slice())));
    let work = model.graph.nodes.iter().map(|n| multiply_adds(n, &shapes)).fold(0usize, usize::saturating_add);
    if work > MAX_WORK {
        return Err(format!("{work} multiply-adds are too many for it (at most {MAX_WORK})"));
    }
    Ok(())
}

fn multiply_adds(node: &Node, shapes: &HashMap<&str, &[usize]>) -> usize {
    let shape = |names: &[String], k: usize| names.get(k).and_then(|n| shapes.get(n.as_str())).copied().unwrap_or(&[]);
    let product = |s: &[usize]| s.iter().copied().fold(1usize, usize::saturating_mul);
    let results = product(shape(&node.outputs, 0));
    let terms = match node.op.as_str() {
        // a kernel [M, C/group, k…] makes one entry of C/group·k… terms
        "Conv" => product(shape(&node.inputs, 1).get(1..).unwrap_or(&[])),
        "MatMul" => shape(&node.inputs, 0).last().copied().unwrap_or(1),
        // whichever way A is turned
        "Gemm" => shape(&node.inputs, 0).iter().copied().max().unwrap_or(1),
        _ => 1,
    };
    results.saturating_mul(terms)
}

/// Names of the outputs of nodes whose meaning tract shares, in topological order, and what the
/// first other node is.
fn comparable(model: &OnnxModel) -> (Vec<String>, String) {
    let registered = tract_onnx::onnx().op_register.0;
    let mut known: HashSet<&str> = model.graph.inputs.iter().map(|v| v.name.as_str()).collect();
    known.extend(model.graph.initializers.iter().map(|(n, _)| n.as_str()));
    let (mut keep, mut left_out) = (Vec::new(), String::new());
    for node in &model.graph.nodes {
        let why = if !registered.contains_key(&node.op) || !node.domain.is_empty() {
            Some("tract has no such operator")
        } else {
            foreign(node, model.opset(""))
        };
        if let Some(why) = why
            && left_out.is_empty()
        {
            left_out = format!("what depends on node \"{}\" ({}) is left out: {why}", node.label(), node.full_op());
        }
        if why.is_none() && node.inputs.iter().all(|i| i.is_empty() || known.contains(i.as_str())) {
            known.extend(node.outputs.iter().map(String::as_str));
            keep.push(first_output(node).to_string());
        }
    }
    (keep, left_out)
}

/// Why tract means something else by a node.
fn foreign(node: &Node, opset: i64) -> Option<&'static str> {
    let set = |name: &str| matches!(node.attributes.get(name), Some(Attribute::Int(x)) if *x != 0);
    let given = |k: usize| node.inputs.get(k).is_some_and(|i| !i.is_empty());
    match node.op.as_str() {
        "BatchNormalization" if set("training_mode") || (opset < 14 && node.outputs.len() > 1) => {
            Some("tract computes it in inference mode")
        }
        // seen on ONNX's own cases test_gru_reverse and its like, whose expected values are ours
        "GRU" | "LSTM" | "RNN" if matches!(node.attributes.get("direction"), Some(Attribute::Str(d)) if d != "forward") => {
            Some("tract's reverse sequences aren't ONNX's")
        }
        "Dropout" if given(2) => Some("it may be in training mode"),
        // ONNX's own case test_spacetodepth_crd_mode_example has our values
        "SpaceToDepth" if matches!(node.attributes.get("mode"), Some(Attribute::Str(m)) if m != "DCR") => {
            Some("tract knows one mode of it only")
        }
        _ if node.attributes.values().any(|a| matches!(a, Attribute::Graph(_))) => Some("it has a subgraph"),
        _ => None,
    }
}

fn first_output(node: &Node) -> &str {
    node.outputs.iter().find(|o| !o.is_empty()).map_or("", |o| o)
}

/// The first node, in topological order, whose graph tract doesn't type: its name and the reason.
fn first_refused(
    proto: &pb::ModelProto,
    model: &OnnxModel,
    keep: &[String],
    ours: &HashMap<&str, Tensor>,
    inputs: &Inputs,
    folder: &str,
) -> Option<(String, String)> {
    let types = |k: usize| guarded(|| Cut::new(proto, model, &keep[..k], ours, inputs, folder)?.typed().map(drop));
    // the prefix of length `good` types, the one of length `bad` doesn't
    let (mut good, mut bad) = (0, keep.len());
    let mut why = types(bad).err()?;
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        match types(middle) {
            Ok(()) => good = middle,
            Err(e) => (bad, why) = (middle, e),
        }
    }
    Some((keep[bad - 1].clone(), why))
}

/// Leaves out the node that makes `name`, and all that depends on it.
fn drop_with_users(model: &OnnxModel, keep: &mut Vec<String>, name: &str) {
    let mut gone: HashSet<&str> = HashSet::new();
    for node in &model.graph.nodes {
        if first_output(node) == name || node.inputs.iter().any(|i| gone.contains(i.as_str())) {
            gone.extend(node.outputs.iter().filter(|o| !o.is_empty()).map(String::as_str));
        }
    }
    keep.retain(|k| !gone.contains(k.as_str()));
}

/// A part of the model that ends in values that our run knows.
struct Cut<'a> {
    proto: pb::ModelProto,
    outputs: Vec<String>,
    inputs: &'a Inputs,
    folder: &'a str,
}

impl<'a> Cut<'a> {
    fn new(
        proto: &pb::ModelProto,
        model: &OnnxModel,
        keep: &[String],
        ours: &HashMap<&str, Tensor>,
        inputs: &'a Inputs,
        folder: &'a str,
    ) -> Result<Cut<'a>, String> {
        let keep: HashSet<&str> = keep.iter().map(String::as_str).collect();
        let nodes = model.graph.nodes.iter().filter(|n| keep.contains(first_output(n)));
        let outputs: Vec<String> =
            nodes.flat_map(|n| &n.outputs).filter(|o| ours.contains_key(o.as_str())).cloned().collect();
        if outputs.is_empty() {
            return Err("there is no value that both runs have".into());
        }
        let mut proto = proto.clone();
        let graph = proto.graph.as_mut().ok_or("the file has no graph")?;
        graph.node.retain(|n| n.output.iter().find(|o| !o.is_empty()).is_some_and(|o| keep.contains(o.as_str())));
        graph.output = outputs.iter().map(|o| pb::ValueInfoProto { name: o.clone(), ..Default::default() }).collect();
        // what the file claims about values is not what is to be checked
        graph.value_info.clear();
        Ok(Cut { proto, outputs, inputs, folder })
    }

    fn typed(&self) -> Result<tract_onnx::prelude::TypedModel, String> {
        let parsed = tract_onnx::onnx().parse(&self.proto, Some(self.folder)).map_err(reason)?;
        if let Some(name) = parsed.unresolved_inputs.first() {
            return Err(format!("value \"{name}\" has no producer"));
        }
        let mut model = parsed.model;
        let ids = model.input_outlets().map_err(reason)?.to_vec();
        for (k, id) in ids.into_iter().enumerate() {
            let name = model.node(id.node).name.clone();
            let (_, value) = self.value(&name).ok_or_else(|| format!("input \"{name}\" has no value"))?;
            let tensor = convert(value)?;
            let fact = InferenceFact::dt_shape(tensor.datum_type(), tensor.shape().to_vec());
            model.set_input_fact(k, fact).map_err(reason)?;
        }
        model.into_typed().map_err(reason)
    }

    fn value(&self, name: &str) -> Option<&(String, HostTensor)> {
        self.inputs.values.iter().find(|(n, _)| n == name)
    }

    /// tract's values by name.
    fn run(&self) -> Result<Vec<(String, Tensor)>, String> {
        let typed = self.typed()?;
        let mut feed = tvec![];
        for id in typed.input_outlets().map_err(reason)? {
            let name = &typed.node(id.node).name;
            let (_, value) = self.value(name).ok_or_else(|| format!("input \"{name}\" has no value"))?;
            feed.push(TValue::from(convert(value)?));
        }
        let results = typed.into_runnable().and_then(|plan| plan.run(feed)).map_err(reason)?;
        let tensors = results.iter().map(|t| float(t).map_err(reason)).collect::<Result<Vec<_>, _>>()?;
        Ok(self.outputs.iter().cloned().zip(tensors).collect())
    }
}

fn float(t: &TractTensor) -> TractResult<Tensor> {
    let cast = t.cast_to::<f32>()?;
    let data = cast.try_as_plain_ram()?.as_slice::<f32>()?.to_vec();
    Ok(Tensor::new(t.shape().to_vec(), data))
}

fn convert(t: &HostTensor) -> Result<TractTensor, String> {
    let make = |dt: DatumType, made: TractResult<TractTensor>| {
        made.and_then(|t| t.cast_to_dt(dt).map(|t| t.into_owned())).map_err(reason)
    };
    let int = |dt| match &t.data {
        Data::Int(v) => make(dt, TractTensor::from_shape(&t.shape, v)),
        _ => Err("an integer tensor without integers".to_string()),
    };
    match (&t.data, t.dtype) {
        (Data::F32(v), DType::F32) => make(DatumType::F32, TractTensor::from_shape(&t.shape, v)),
        (Data::F32(v), DType::F16) => make(DatumType::F16, TractTensor::from_shape(&t.shape, v)),
        (Data::F64(v), _) => make(DatumType::F64, TractTensor::from_shape(&t.shape, v)),
        (Data::Bool(v), _) => make(DatumType::Bool, TractTensor::from_shape(&t.shape, v)),
        (_, DType::I8) => int(DatumType::I8),
        (_, DType::I16) => int(DatumType::I16),
        (_, DType::I32) => int(DatumType::I32),
        (_, DType::I64) => int(DatumType::I64),
        (_, DType::U8) => int(DatumType::U8),
        (_, DType::U16) => int(DatumType::U16),
        (_, DType::U32) => int(DatumType::U32),
        (_, DType::U64) => int(DatumType::U64),
        (_, other) => Err(format!("tract has no tensors of {other}")),
    }
}

/// ‖theirs − ours‖∞ ÷ ‖ours‖∞; absolute where ours is 0; ∞ where they can't be compared.
fn difference(ours: &Tensor, theirs: &Tensor) -> f64 {
    if ours.shape != theirs.shape {
        return f64::INFINITY;
    }
    let norm = ours.data.iter().map(|&x| f64::from(x).abs()).fold(0.0, f64::max);
    let worst = ours.data.iter().zip(&theirs.data).map(|(&a, &b)| {
        let d = (f64::from(a) - f64::from(b)).abs();
        if d.is_finite() { d } else { f64::INFINITY }
    });
    let worst = worst.fold(0.0, f64::max);
    if norm > 0.0 { worst / norm } else { worst }
}

/// Runs something that may panic.
fn guarded<T>(f: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    panic::catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|p| Err(message(p.as_ref())))
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|s| (*s).to_string());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default();
    format!("tract panics: {}", short(&text))
}

/// The innermost reason of an error.
fn reason(e: impl Into<tract_onnx::prelude::TractError>) -> String {
    let e = e.into();
    short(&e.root_cause().to_string())
}

/// First line, at most 200 characters.
fn short(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(200).collect()
}
