//! What kind of training graph a file holds, and the model rearranged so that one pipeline serves all.
//!
//! | file | what it becomes |
//! |---|---|
//! | onnxruntime-training artifact (`InPlaceAccumulatorV2`) | the gradients that it accumulates are outputs; accumulators and their buffers are gone |
//! | ORTModule graph (`YieldOp`) | what it yields are seeded outputs; its gradients of inputs are stated gradients |
//! | `training_info`, `Gradient` | the algorithm joined to the graph; `y` is the seeded output, `xs` the parameters |
//! | inference graph with `--loss` | the loss appended, its target one more input |

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::model::{Attribute, Dim, Graph, Node, OnnxModel, ValueInfo};
use super::objective::{self, Objective};
use super::value::Note;
use super::{decode, inline, weights};
use crate::error::{Code, Diagnostic, Diagnostics};

/// What was found out about a model.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The parameters, where the file says which they are.
    pub parameters: Option<Vec<String>>,
    /// Gradients that the file computes itself: (parameter, tensor).
    pub stated: Vec<(String, String)>,
    /// Outputs that have a cotangent of 1 unless one is given.
    pub seeded: Vec<String>,
    /// The input that is the target of an appended loss.
    pub target: Option<String>,
    /// Where weights came from, and the SHA-256 of that file.
    pub weights: Option<(String, String)>,
    /// What the user should know.
    pub notes: Vec<Note>,
}

/// What is added to the model file.
#[derive(Clone, Debug, Default)]
pub struct Preparation {
    /// Where weights come from.
    pub weights: Option<PathBuf>,
    /// A loss for a graph without one.
    pub objective: Option<Objective>,
    /// Shapes of inputs that count instead of what the file states.
    pub shapes: Vec<(String, Vec<usize>)>,
}

/// Reads a model and prepares it.
pub fn open(path: &Path, with: &Preparation) -> Result<OnnxModel, Diagnostics> {
    prepare(decode::read(path)?, with)
}

/// Rearranges a model as decoded.
pub fn prepare(mut model: OnnxModel, with: &Preparation) -> Result<OnnxModel, Diagnostics> {
    inline::functions(&mut model)?;
    joined(&mut model);
    let problem = |d: Diagnostic, model: &OnnxModel| Diagnostics::from(d.file(&model.file));
    gradients(&mut model).map_err(|d| problem(d, &model))?;
    accumulators(&mut model).map_err(|d| problem(d, &model))?;
    seam(&mut model).map_err(|d| problem(d, &model))?;
    reshaped(&mut model, &with.shapes)?;
    if let Some(o) = &with.objective {
        objective::append(&mut model, o).map_err(|d| problem(d, &model))?;
    }
    let needed: Vec<String> = model.plan.stated.iter().map(|(p, _)| p.clone()).collect();
    let open = needed.iter().any(|n| model.graph.inputs.iter().any(|i| i.name == *n));
    match &with.weights {
        Some(path) => weights::put(&mut model, path, &needed)?,
        None if open => {
            if let Some(path) = weights::beside(&model) {
                weights::put(&mut model, &path, &needed)?;
            }
        }
        None => {}
    }
    Ok(model)
}

/// States other shapes of the inputs than the file does. All names that aren't inputs are reported.
fn reshaped(model: &mut OnnxModel, shapes: &[(String, Vec<usize>)]) -> Result<(), Diagnostics> {
    let mut problems = Diagnostics::default();
    let names: Vec<String> = model.graph.inputs.iter().map(|i| format!("\"{}\"", i.name)).collect();
    for (k, (name, sizes)) in shapes.iter().enumerate() {
        let refuse = |what: String| Diagnostic::new(Code::Usage, what).file(&model.file);
        if shapes[..k].iter().any(|(n, _)| n == name) {
            problems.push(refuse(format!("input \"{name}\" is given two shapes")));
            continue;
        }
        let Some(input) = model.graph.inputs.iter_mut().find(|i| i.name == *name) else {
            let note = format!("its inputs are {}", names.join(", "));
            problems.push(refuse(format!("the graph has no input \"{name}\" to give a shape")).note(note));
            continue;
        };
        let dims: Vec<Dim> = sizes.iter().map(|&n| Dim::Size(n)).collect();
        let before = input.dims.replace(dims.clone());
        let text = |d: &[Dim]| format!("[{}]", d.iter().map(Dim::to_string).collect::<Vec<_>>().join(", "));
        let was = before.map_or_else(|| "none".into(), |d| text(&d));
        let what = format!("input \"{name}\" has the shape {} by --shape; the file states {was}", text(&dims));
        model.plan.notes.push(Note { warning: false, what, nodes: Vec::new() });
    }
    problems.into_result(())
}

/// The first algorithm with a `Gradient` node, joined to the graph.
fn joined(model: &mut OnnxModel) {
    let has = |g: &Graph| g.nodes.iter().any(is_gradient);
    let Some(training) = model.training.iter().find(|t| has(&t.algorithm)).cloned() else { return };
    let Graph { nodes, initializers, inputs, outputs, .. } = training.algorithm;
    let graph = &mut model.graph;
    graph.nodes.extend(nodes);
    graph.initializers.extend(initializers);
    graph.inputs.extend(inputs);
    graph.outputs.extend(outputs);
}

fn is_gradient(n: &Node) -> bool {
    n.op == "Gradient" && n.domain == "ai.onnx.preview.training"
}

/// `Gradient` means: the reverse mode of this tool, from y to xs.
fn gradients(model: &mut OnnxModel) -> Result<(), Diagnostic> {
    let found: Vec<&Node> = model.graph.nodes.iter().filter(|n| is_gradient(n)).collect();
    if found.is_empty() {
        return Ok(());
    }
    let (mut seeded, mut xs) = (Vec::<String>::new(), Vec::<String>::new());
    for node in &found {
        let refuse =
            |what: String| Err(Diagnostic::new(Code::Unsupported, what).node(node.label(), node.full_op(), node.opset));
        let names = |key: &str| match node.attributes.get(key) {
            Some(Attribute::Strs(v)) => v.clone(),
            _ => Vec::new(),
        };
        let Some(Attribute::Str(y)) = node.attributes.get("y") else {
            return refuse("attribute \"y\" is missing".into());
        };
        let (of, fixed) = (names("xs"), names("zs"));
        let same = node.inputs.iter().eq(of.iter().chain(&fixed));
        if of.is_empty() || !same {
            return refuse("a Gradient at other values than those of the tensors that \"xs\" and \"zs\" name".into());
        }
        let produced = |n: &String| model.graph.nodes.iter().any(|m| m.outputs.contains(n));
        if let Some(x) = of.iter().find(|x| produced(x)) {
            return refuse(format!("the derivative by \"{x}\", which is neither an input nor an initializer"));
        }
        if !produced(y) {
            return refuse(format!("the derivative of \"{y}\", which no node computes"));
        }
        if seeded.iter().any(|s| s != y) {
            return refuse(format!("derivatives of two values, \"{}\" and \"{y}\", in one graph", seeded[0]));
        }
        seeded = vec![y.clone()];
        of.into_iter().for_each(|x| {
            if !xs.contains(&x) {
                xs.push(x)
            }
        });
    }
    let dropped: Vec<String> = model.graph.outputs.iter().map(|o| o.name.clone()).filter(|n| *n != seeded[0]).collect();
    if !dropped.is_empty() {
        model.plan.notes.push(Note {
            warning: false,
            what: format!(
                "certified are the gradients of \"{}\"; what else the file computes is not looked at: {}",
                seeded[0],
                dropped.iter().map(|n| format!("\"{n}\"")).collect::<Vec<_>>().join(", ")
            ),
            nodes: Vec::new(),
        });
    }
    model.graph.nodes.retain(|n| !is_gradient(n));
    model.graph.outputs = vec![ValueInfo { name: seeded[0].clone(), dtype: None, dims: None }];
    model.plan.seeded = seeded;
    model.plan.parameters = Some(xs);
    loose_ends(model);
    Ok(())
}

/// Drops nodes whose operands are gone: an optimizer that read the gradients.
fn loose_ends(model: &mut OnnxModel) {
    let graph = &mut model.graph;
    let mut known: HashSet<String> = graph.inputs.iter().map(|v| v.name.clone()).collect();
    known.extend(graph.initializers.iter().map(|(n, _)| n.clone()));
    graph.nodes.retain(|n| {
        let whole = super::sort::reads(n).into_iter().all(|r| known.contains(r));
        if whole {
            known.extend(n.outputs.iter().cloned());
        }
        whole
    });
}

/// The gradients that an artifact of onnxruntime-training accumulates.
fn accumulators(model: &mut OnnxModel) -> Result<(), Diagnostic> {
    let is = |n: &Node| {
        n.domain == "com.microsoft" && matches!(n.op.as_str(), "InPlaceAccumulatorV2" | "InPlaceAccumulator")
    };
    let (found, rest): (Vec<Node>, Vec<Node>) = std::mem::take(&mut model.graph.nodes).into_iter().partition(is);
    model.graph.nodes = rest;
    if found.is_empty() {
        return Ok(());
    }
    let mut parameters = Vec::new();
    for node in &found {
        let leaf = |n: &&str| {
            model.graph.inputs.iter().any(|i| i.name == **n) || model.graph.initializers.iter().any(|(i, _)| i == *n)
        };
        let gradient = node.inputs.get(1).cloned().unwrap_or_default();
        let buffer = node.inputs.first().map(String::as_str).unwrap_or_default();
        let names = [gradient.strip_suffix("_grad"), buffer.strip_suffix("_grad.accumulation.buffer")];
        let Some(name) = names.into_iter().flatten().find(leaf) else {
            let what = format!("which parameter \"{gradient}\" is the gradient of can't be told");
            let d = Diagnostic::new(Code::Graph, what).node(node.label(), node.full_op(), 1);
            return Err(d.note("the name of a gradient is that of its parameter with \"_grad\""));
        };
        parameters.push(name.to_string());
        model.plan.stated.push((name.to_string(), gradient.clone()));
    }
    let made: HashSet<&String> = found.iter().flat_map(|n| &n.outputs).collect();
    let graph = &mut model.graph;
    graph.outputs.retain(|o| !made.contains(&o.name));
    let read: HashSet<&str> = graph.nodes.iter().flat_map(super::sort::reads).collect();
    let spent = |name: &String| {
        !read.contains(name.as_str())
            && found.iter().any(|n| n.inputs.iter().enumerate().any(|(k, i)| k != 1 && i == name))
    };
    graph.inputs.retain(|i| !spent(&i.name));
    // the loss is the output whose cotangent is a constant of the file
    let constant = |o: &&ValueInfo| graph.initializers.iter().any(|(n, _)| *n == format!("{}_grad", o.name));
    let seeded: Vec<String> = match graph.outputs.iter().filter(constant).map(|o| o.name.clone()).collect::<Vec<_>>() {
        none if none.is_empty() && graph.outputs.len() == 1 => vec![graph.outputs[0].name.clone()],
        some => some,
    };
    model.plan.seeded = seeded;
    finish(model, parameters);
    Ok(())
}

/// An ORTModule graph: the caller computes the loss between the two halves.
fn seam(model: &mut OnnxModel) -> Result<(), Diagnostic> {
    let is = |n: &&Node| n.op == "YieldOp" && n.domain == "com.microsoft";
    let Some(node) = model.graph.nodes.iter().find(is).cloned() else { return Ok(()) };
    let graph = &model.graph;
    let mut parameters = Vec::new();
    for o in &graph.outputs {
        let Some(name) = o.name.strip_suffix("_grad") else { continue };
        if graph.inputs.iter().any(|i| i.name == name) || graph.initializers.iter().any(|(n, _)| n == name) {
            parameters.push(name.to_string());
            model.plan.stated.push((name.to_string(), o.name.clone()));
        }
    }
    let seeded = yielded(&node).into_iter().map(|k| node.inputs[k].clone()).collect::<Vec<_>>();
    for name in &seeded {
        if !model.graph.outputs.iter().any(|o| o.name == *name) {
            model.graph.outputs.push(ValueInfo { name: name.clone(), dtype: None, dims: None });
        }
    }
    model.plan.seeded = seeded;
    model.plan.notes.push(Note {
        warning: false,
        what: "the graph has a seam where its caller computes the loss: the cotangents there are 1 unless --cotangent \
               gives them"
            .into(),
        nodes: vec![node.label().to_string()],
    });
    finish(model, parameters);
    Ok(())
}

/// Operands of a `YieldOp` that get a cotangent back, in the order of its results.
pub fn yielded(node: &Node) -> Vec<usize> {
    let none: &[i64] = match node.attributes.get("non_differentiable_outputs") {
        Some(Attribute::Ints(v)) => v,
        _ => &[],
    };
    (0..node.inputs.len()).filter(|&k| !none.contains(&(k as i64))).take(node.outputs.len()).collect()
}

/// The stated gradients become outputs.
fn finish(model: &mut OnnxModel, parameters: Vec<String>) {
    let outputs = &mut model.graph.outputs;
    for (_, gradient) in &model.plan.stated {
        if !outputs.iter().any(|o| o.name == *gradient) {
            outputs.push(ValueInfo { name: gradient.clone(), dtype: None, dims: None });
        }
    }
    model.plan.parameters = Some(parameters);
}
