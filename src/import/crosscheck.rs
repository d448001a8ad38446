//! tract's own forward run, as an independent opinion on what the file means.
//!
//! tract knows neither losses nor training-mode batch normalization (it computes the latter in
//! evaluation mode without a word), and ignores operator domains. The graph is cut there: its
//! outputs become the values that the operators left out would have read.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use prost::Message as _;
use tract_onnx::pb;
use tract_onnx::prelude::*;

use super::inputs::Inputs;
use crate::data::{DType, Data, HostTensor};

/// Values that tract computed, by ONNX name; an error says why it could not.
///
/// Only floating-point values are handed back. `path` is the model file that `inputs` belong to.
pub fn forward(path: &Path, inputs: &Inputs) -> Result<Vec<(String, HostTensor)>, String> {
    let bytes = std::fs::read(path).map_err(|e| e.to_string())?;
    let mut proto = pb::ModelProto::decode(&bytes[..]).map_err(|e| e.to_string())?;
    let onnx = tract_onnx::onnx();
    let opset =
        proto.opset_import.iter().find(|o| matches!(o.domain.as_str(), "" | "ai.onnx")).map_or(1, |o| o.version);
    let graph = proto.graph.as_mut().ok_or("no graph")?;
    let outputs = cut(graph, opset, &|op| onnx.op_register.0.contains_key(op));
    if outputs.is_empty() {
        return Err("tract has no operator before the first one it doesn't know".into());
    }
    let folder = path.parent().and_then(Path::to_str).unwrap_or("");
    // a file that tract can't cope with must not end the program
    let run = AssertUnwindSafe(|| evaluate(&onnx, &proto, folder, inputs, &outputs));
    catch_unwind(run).unwrap_or_else(|_| Err("tract failed".into()))
}

/// Removes nodes that tract has no (right) rules for and all that depend on them; returns the names
/// of the new outputs.
fn cut(graph: &mut pb::GraphProto, opset: i64, knows: &dyn Fn(&str) -> bool) -> Vec<String> {
    let mut lost: HashSet<String> = HashSet::new();
    let int = |n: &pb::NodeProto, name: &str| n.attribute.iter().find(|a| a.name == name).map(|a| a.i);
    let outputs: Vec<String> = graph.output.iter().map(|o| o.name.clone()).collect();
    let mut kept: Vec<pb::NodeProto> = Vec::new();
    let mut frontier: Vec<String> = Vec::new();
    for node in &graph.node {
        let training = match node.op_type.as_str() {
            "BatchNormalization" if opset >= 14 => int(node, "training_mode") == Some(1),
            "BatchNormalization" => node.output.len() > 1,
            "Dropout" => node.input.len() > 2,
            _ => false,
        };
        let known = matches!(node.domain.as_str(), "" | "ai.onnx") && knows(&node.op_type);
        if known && !training && !node.input.iter().any(|i| lost.contains(i)) {
            kept.push(node.clone());
        } else {
            lost.extend(node.output.iter().cloned());
            frontier.extend(node.input.iter().cloned());
        }
    }
    let made: HashSet<&String> = kept.iter().flat_map(|n| &n.output).collect();
    let mut out: Vec<String> = Vec::new();
    for name in frontier.iter().chain(&outputs) {
        if made.contains(name) && !name.is_empty() && !out.contains(name) {
            out.push(name.clone());
        }
    }
    let info = |name: &String| pb::ValueInfoProto { name: name.clone(), ..Default::default() };
    graph.output = out.iter().map(info).collect();
    graph.value_info.clear();
    graph.node = kept;
    out
}

fn evaluate(
    onnx: &tract_onnx::Onnx,
    proto: &pb::ModelProto,
    folder: &str,
    inputs: &Inputs,
    outputs: &[String],
) -> Result<Vec<(String, HostTensor)>, String> {
    let text = |e: TractError| format!("{e:#}");
    let onnx = onnx.clone().with_ignore_value_info(true);
    let mut model = onnx.parse(proto, Some(folder)).map_err(text)?.model;
    let mut values = TVec::new();
    let slots = model.input_outlets().map_err(text)?.to_vec();
    for (k, outlet) in slots.iter().enumerate() {
        let name = model.node(outlet.node).name.clone();
        let (_, tensor) = inputs.values.iter().find(|(n, _)| *n == name).ok_or(format!("input \"{name}\""))?;
        let tensor = to_tract(tensor)?;
        model.set_input_fact(k, InferenceFact::dt_shape(tensor.datum_type(), tensor.shape())).map_err(text)?;
        values.push(tensor.into());
    }
    let plan = model.into_typed().map_err(text)?.into_runnable().map_err(text)?;
    let results = plan.run(values).map_err(text)?;
    let mut out = Vec::new();
    for (name, value) in outputs.iter().zip(results.iter()) {
        if value.datum_type() == f32::datum_type() {
            let view = value.to_plain_array_view::<f32>().map_err(text)?;
            out.push((name.clone(), HostTensor::f32(view.shape().to_vec(), view.iter().copied().collect())));
        }
    }
    Ok(out)
}

fn to_tract(t: &HostTensor) -> Result<Tensor, String> {
    let make = |r: TractResult<Tensor>| r.map_err(|e| format!("{e:#}"));
    match (&t.data, t.dtype) {
        (Data::F32(v), DType::F32) => make(Tensor::from_shape(&t.shape, v)),
        (Data::F64(v), DType::F64) => make(Tensor::from_shape(&t.shape, v)),
        (Data::Int(v), DType::I64) => make(Tensor::from_shape(&t.shape, v)),
        (Data::Int(v), DType::I32) => {
            make(Tensor::from_shape(&t.shape, &v.iter().map(|&x| x as i32).collect::<Vec<_>>()))
        }
        (Data::Bool(v), DType::Bool) => make(Tensor::from_shape(&t.shape, v)),
        (_, other) => Err(format!("an input of {other}")),
    }
}
