//! From an ONNX graph to primitives: one function per operator family, one table of all of them.
//!
//! Nodes are visited in topological order, only those that the requested outputs need. A value is
//! import-time data (known exactly), a value of the graph, or both; see [`Value`].

mod algebra;
mod attention;
mod call;
mod constant;
mod conv;
mod draw;
mod einsum;
mod elementwise;
mod emit;
mod exactly;
mod fold;
mod linear;
mod linear_attention;
mod logic;
mod loss;
mod movement;
mod norm;
mod notes;
mod objectives;
mod optimizer;
mod ort_forward;
mod ort_grad;
mod ort_window;
mod pairs;
mod pool;
mod prune;
mod recurrent;
mod reduce;
mod registry;
mod resize;
mod sample;
mod scatter;
mod select;
mod sequence;
mod signal;
mod structure;

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use self::call::{Call, Problem};
use super::inputs::Inputs;
use super::model::{Node, OnnxModel};
use super::sort::reads;
use super::value::{Cotangent, LeafInfo, Lowered, Note, Options, Seed, Source, Value, matches, role, trained, weight};
use super::viewer;
use crate::data::{DType, Data, HostTensor};
use crate::error::{Code, Diagnostic, Diagnostics};
use crate::ir::{Leaf, LeafKind, Origin, Tensor, ValueId};
use crate::limits;
use crate::ops::Builder;

pub use notes::of as notes;
pub use registry::{Form, NEWEST, OLDEST, table};

/// Chains of import-time float arithmetic that end up in the graph may be this long.
const MAX_FOLDED_DEPTH: usize = 100;

/// Lowers the parts of a model that its outputs need.
///
/// Reports every unsupported or contradictory node at once.
pub fn lower(model: &OnnxModel, inputs: &Inputs, options: &Options) -> Result<Lowered, Diagnostics> {
    let version = |n: &&Node| n.domain.is_empty() && !(OLDEST..=NEWEST).contains(&n.opset);
    if let Some(old) = model.graph.nodes.iter().find(version) {
        let what = format!("operator set {} isn't supported ({OLDEST} to {NEWEST} are)", old.opset);
        let help = "convert the model with onnx.version_converter, or export it anew";
        return Err(Diagnostic::new(Code::Unsupported, what).file(&model.file).help(help).into());
    }
    let mut low = Lowering::new(model, options);
    low.enter(inputs);
    let outputs = low.requested()?;
    let needed = needed(&model.graph.nodes, &outputs);
    for (node, _) in model.graph.nodes.iter().zip(&needed).filter(|(_, n)| **n) {
        low.visit(&Rc::new(node.clone()), false);
    }
    low.finish(&outputs)
}

/// Which of the nodes, in topological order, some values depend on.
fn needed(nodes: &[Node], outputs: &[String]) -> Vec<bool> {
    let mut wanted: HashSet<&str> = outputs.iter().map(String::as_str).collect();
    let mut out = vec![false; nodes.len()];
    for (i, node) in nodes.iter().enumerate().rev() {
        if node.outputs.iter().any(|o| !o.is_empty() && wanted.contains(o.as_str())) {
            out[i] = true;
            wanted.extend(reads(node));
        }
    }
    out
}

/// The state of one lowering.
pub(super) struct Lowering<'m> {
    model: &'m OnnxModel,
    options: &'m Options,
    builder: Builder,
    values: HashMap<String, Value>,
    /// Results that equal another value, by the name of that value.
    aliases: HashMap<String, String>,
    /// Names read by some node or graph output: optional results that nobody reads aren't built.
    used: HashSet<String>,
    roles: HashMap<&'m str, &'static str>,
    /// Names that some node reads as its weight.
    weights: HashSet<&'m str>,
    dynamo: bool,
    problems: Diagnostics,
    leaves: Vec<LeafInfo>,
    named: HashMap<ValueId, String>,
    /// Values with entries that stand for −∞ (and hold 0), by flat position.
    masks: HashMap<ValueId, Rc<Vec<bool>>>,
    origin: Option<Rc<Node>>,
    notes: Vec<Note>,
    depth: usize,
    /// Entries of all values of the graph.
    entries: u64,
    /// Entries of all that was computed before the run.
    known: u64,
    /// How deep inside subgraphs, and how many of their nodes were lowered.
    nesting: usize,
    inner: usize,
    /// Masks and random numbers drawn, by the node they belong to.
    drawn: Vec<(String, HostTensor)>,
    /// Results that are 16-bit tensors read as FLOAT, by the name of the tensor, and the other way round.
    widened: HashMap<String, String>,
    shown: HashMap<String, String>,
}

impl<'m> Lowering<'m> {
    fn new(model: &'m OnnxModel, options: &'m Options) -> Self {
        let graph = &model.graph;
        // MaxPoolGrad looks at the windows again instead of at the indices of their maxima
        let read = |n: &'m Node| {
            let mut all = reads(n);
            all.truncate(if n.op == "MaxPoolGrad" { 1 } else { usize::MAX });
            all
        };
        let mut used: HashSet<String> = graph.nodes.iter().flat_map(read).map(str::to_string).collect();
        used.extend(graph.outputs.iter().map(|v| v.name.clone()));
        let alias: HashMap<&str, &str> = graph
            .nodes
            .iter()
            .filter(|n| n.op == "Identity" && n.inputs.len() == 1 && n.outputs.len() == 1)
            .map(|n| (n.outputs[0].as_str(), n.inputs[0].as_str()))
            .collect();
        let (mut roles, mut weights) = (HashMap::new(), HashSet::new());
        for node in graph.nodes.iter().filter(|n| n.domain.is_empty()) {
            for (k, name) in node.inputs.iter().enumerate() {
                if weight(&node.op, k) {
                    weights.insert(name.as_str());
                }
                if let Some(role) = role(&node.op, k) {
                    let mut name = name.as_str();
                    // decoding has refused cycles, so this ends
                    while let Some(from) = alias.get(name) {
                        name = from;
                    }
                    roles.insert(name, role);
                }
            }
        }
        let dynamo = model.producer.0 == "pytorch"
            && graph.nodes.iter().any(|n| n.metadata.keys().any(|k| k.starts_with("pkg.torch.onnx.")));
        Lowering {
            model,
            options,
            builder: Builder::new(),
            values: HashMap::new(),
            aliases: HashMap::new(),
            used,
            roles,
            weights,
            dynamo,
            problems: Diagnostics::default(),
            leaves: Vec::new(),
            named: HashMap::new(),
            masks: HashMap::new(),
            origin: None,
            notes: notes::of(model).into_iter().chain(model.plan.notes.clone()).collect(),
            depth: 0,
            entries: 0,
            known: 0,
            nesting: 0,
            inner: 0,
            drawn: Vec::new(),
            widened: HashMap::new(),
            shown: HashMap::new(),
        }
    }

    /// Makes the inputs and initializers known.
    fn enter(&mut self, inputs: &Inputs) {
        for (name, tensor) in &inputs.values {
            let value = Value { source: Source::Input, host: Some(Arc::new(tensor.clone())), graph: None, held: None };
            self.values.insert(name.clone(), value);
        }
        for (name, tensor) in &self.model.graph.initializers {
            let value = Value { source: Source::Initializer, host: Some(tensor.clone()), graph: None, held: None };
            self.values.insert(name.clone(), value);
        }
    }

    /// Names of the outputs to keep: those asked for, those that are seeded, or all.
    fn requested(&self) -> Result<Vec<String>, Diagnostics> {
        let all: Vec<String> = self.model.graph.outputs.iter().map(|v| v.name.clone()).collect();
        let mut wanted = self.options.outputs.clone();
        if let Seed::Given(seeds) = &self.options.seed {
            let missing = seeds.iter().map(|(n, _)| n).filter(|n| !wanted.contains(n)).cloned().collect::<Vec<_>>();
            wanted.extend(missing);
        }
        let mut problems = Diagnostics::default();
        // a cotangent may be given to any value that a node makes
        let made = |name: &String| self.model.graph.nodes.iter().any(|n| n.outputs.contains(name));
        for name in wanted.iter().filter(|n| !all.contains(n) && !made(n)) {
            let what = format!("the graph has no output \"{name}\"");
            let note = format!("its outputs are {}", quoted(&all));
            problems.push(Diagnostic::new(Code::Seed, what).file(&self.model.file).note(note));
        }
        problems.into_result(if wanted.is_empty() { all } else { wanted })
    }

    /// Lowers one node. `forced`: its float results are wanted in the graph, not as import-time data.
    fn visit(&mut self, node: &Rc<Node>, forced: bool) {
        let opset = node.opset;
        let place = |d: Diagnostic| d.file(&self.model.file).node(node.label(), node.full_op(), opset);
        let form = match registry::find(&node.domain, &node.op, opset) {
            Ok(form) => form,
            Err(d) => {
                let d = place(*d);
                self.refuse(node, Some(d));
                return;
            }
        };
        let unknown: Vec<&String> = node.attributes.keys().filter(|a| !form.attributes.contains(&a.as_str())).collect();
        if let Some(name) = unknown.first() {
            let what = format!("attribute \"{name}\" has no meaning for this operator");
            let d = place(Diagnostic::new(Code::Unsupported, what));
            self.refuse(node, Some(d));
            return;
        }
        let mut call = Call { low: self, node: node.clone(), opset, forced };
        let done = (form.lower)(&mut call).and_then(|()| self.keep(node));
        match done {
            Ok(()) => {}
            Err(Problem::Operand) => {
                // nothing was refused before: the operand is there, but is a sequence, or integers not known yet
                let told = !self.problems.0.is_empty();
                let d = Diagnostic::new(Code::Type, "an operand is not of a kind that this operator takes here")
                    .file(&self.model.file)
                    .node(node.label(), node.full_op(), opset);
                self.refuse(node, (!told).then_some(d));
            }
            Err(Problem::Found(d)) => {
                let d = d.file(&self.model.file).node(node.label(), node.full_op(), opset);
                self.refuse(node, Some(d));
            }
        }
    }

    /// Counts what a node made known before the run.
    fn keep(&mut self, node: &Node) -> Result<(), Problem> {
        let made = node.outputs.iter().filter_map(|o| self.values.get(o)?.host.as_ref());
        self.known += made.map(|h| h.len() as u64).sum::<u64>();
        let bytes = self.known.saturating_mul(8);
        limits::afford("what is known before the run", bytes).map_err(|d| Problem::Found(Box::new(d)))
    }

    /// Counts a tensor that the graph is about to have, and refuses what the passes couldn't hold.
    fn afford(&mut self, shape: &[usize]) -> Result<(), Problem> {
        let n =
            crate::data::elements(shape).ok_or_else(|| Problem::found(Code::Limit, crate::data::too_large(shape)))?;
        self.entries += n as u64;
        let what = format!("a graph with the {} entries up to here", self.entries);
        limits::afford(&what, limits::of_graph(self.entries)).map_err(|d| Problem::Found(Box::new(d)))
    }

    fn refuse(&mut self, node: &Node, problem: Option<Diagnostic>) {
        if let Some(d) = problem {
            self.problems.push(d);
        }
        for name in node.outputs.iter().filter(|o| !o.is_empty()) {
            self.values.insert(name.clone(), Value { source: Source::Refused, host: None, graph: None, held: None });
        }
    }

    /// The name under which a value is kept.
    fn resolve<'n>(&'n self, name: &'n str) -> &'n str {
        self.aliases.get(name).map_or(name, String::as_str)
    }

    fn value(&self, name: &str) -> Result<&Value, Problem> {
        match self.values.get(self.resolve(name)) {
            Some(v) if matches!(v.source, Source::Refused) => Err(Problem::Operand),
            Some(v) => Ok(v),
            // decoding has checked that everything has a producer, so this one was refused
            None => Err(Problem::Operand),
        }
    }

    /// The value as a binary32 tensor of the graph; `reader` is who wants it.
    fn graph(&mut self, name: &str, reader: Option<&Node>) -> Result<ValueId, Problem> {
        let name = &self.resolve(name).to_string();
        let value = self.value(name)?.clone();
        if let Some(id) = value.graph {
            return Ok(id);
        }
        if matches!(value.source, Source::Sequence(_)) {
            return Err(Problem::found(Code::Type, format!("\"{name}\" is a sequence where a tensor is needed")));
        }
        let host = value.host.clone().ok_or(Problem::Operand)?;
        match (&host.data, host.dtype) {
            (Data::F32(_), DType::F32) => {}
            (_, t) if t.is_float() => {
                let what = format!("value \"{name}\" is {t}: only graphs of FLOAT (binary32) are certified");
                return Err(Problem::found(Code::Type, what));
            }
            (_, t) => {
                let what = format!("value \"{name}\" is {t} where a FLOAT tensor is needed");
                return Err(Problem::found(Code::Type, what));
            }
        }
        if let Source::Folded(node) = &value.source {
            self.depth += 1;
            if self.depth > MAX_FOLDED_DEPTH {
                let what = format!("a chain of more than {MAX_FOLDED_DEPTH} operators on constants");
                return Err(Problem::found(Code::Limit, what));
            }
            self.visit(node, true);
            self.depth -= 1;
            let what = || format!("what {} of constants gives is data, not a value with a derivative", node.op);
            return match self.value(name)?.graph {
                Some(id) => Ok(id),
                // its data stands for it: nothing that the graph could repeat
                None => {
                    Err(Problem::found(Code::Unsupported, what()).note(format!("value \"{name}\" is needed as FLOAT")))
                }
            };
        }
        let id = self.leaf(name, &value.source, &host, reader)?;
        if let Some(v) = self.values.get_mut(name) {
            v.graph = Some(id);
        }
        Ok(id)
    }

    /// Makes a leaf of a float tensor.
    fn leaf(
        &mut self,
        name: &str,
        source: &Source,
        host: &HostTensor,
        reader: Option<&Node>,
    ) -> Result<ValueId, Problem> {
        let Data::F32(data) = &host.data else { return Err(Problem::Operand) };
        let name = &self.shown.get(name).cloned().unwrap_or_else(|| name.to_string());
        let (kind, reason) = self.kind(name, source, host);
        if let Some(at) = data.iter().position(|x| !x.is_finite()) {
            let what = format!("\"{name}\" holds {} at flat position {at}", data[at]);
            return Err(
                Problem::found(Code::Domain, what).help("only finite numbers have an error that can be bounded")
            );
        }
        self.afford(&host.shape)?;
        let tensor = Tensor::new(host.shape.clone(), data.clone());
        let id = self.builder.leaf(Leaf::new(name.clone(), kind, tensor));
        let layer = reader.map(Node::layer).unwrap_or_default();
        self.leaves.push(LeafInfo { id, name: name.clone(), kind, reason, shape: host.shape.clone(), layer });
        Ok(id)
    }

    /// What a float value that isn't computed stands for, and why: patterns first, then the rule.
    fn kind(&self, name: &str, source: &Source, host: &HostTensor) -> (LeafKind, &'static str) {
        let nameable = matches!(source, Source::Input | Source::Initializer | Source::ConstantNode);
        if nameable && self.options.params.iter().any(|p| matches(p, name)) {
            return (LeafKind::Parameter, "chosen by --params");
        }
        let (kind, reason) = match (&self.model.plan.parameters, source) {
            (Some(list), _) if nameable && list.iter().any(|p| p == name) => {
                (LeafKind::Parameter, "trained, as the file says")
            }
            (Some(_), Source::Input) => (LeafKind::Input, "graph input"),
            (Some(_), _) => (LeafKind::Constant, "not among the parameters that the file trains"),
            (None, _) => {
                trained(source, name, host, self.roles.get(name).copied(), self.weights.contains(name), self.dynamo)
            }
        };
        if kind == LeafKind::Parameter && self.options.freeze.iter().any(|p| matches(p, name)) {
            return (LeafKind::Constant, "frozen by --freeze");
        }
        (kind, reason)
    }

    /// A constant made up by a lowering, such as an epsilon.
    fn constant(&mut self, name: String, shape: Vec<usize>, data: Vec<f32>) -> ValueId {
        let tensor = Tensor::new(shape.clone(), data);
        let id = self.builder.leaf(Leaf::new(name.clone(), LeafKind::Constant, tensor));
        let reason = "part of an operator";
        self.leaves.push(LeafInfo { id, name, kind: LeafKind::Constant, reason, shape, layer: String::new() });
        id
    }

    /// All later primitives come from this node.
    fn at(&mut self, node: &Rc<Node>) {
        if self.origin.as_ref().is_some_and(|o| Rc::ptr_eq(o, node)) {
            return;
        }
        self.origin = Some(node.clone());
        self.builder.at(Origin {
            node: node.label().to_string(),
            op: node.full_op(),
            opset: node.opset,
            layer: node.layer(),
            domain: node.domain.clone(),
            inputs: node.inputs.clone(),
            outputs: node.outputs.clone(),
            attributes: viewer::attributes(node),
        });
    }

    fn finish(mut self, outputs: &[String]) -> Result<Lowered, Diagnostics> {
        let (mut graph_outputs, mut exact_outputs) = (Vec::new(), Vec::new());
        for name in outputs {
            let Ok(value) = self.value(name).cloned() else {
                // its node or one before it has been refused, and said why
                assert!(!self.problems.0.is_empty(), "output \"{name}\" has no value and no problem was found");
                continue;
            };
            let float = value.graph.is_some() || value.host.as_ref().is_some_and(|h| h.dtype.is_float());
            match (float, value.host) {
                (false, Some(host)) => exact_outputs.push((name.clone(), host)),
                _ => match self.graph(name, None) {
                    Ok(id) if self.masks.contains_key(&id) => {
                        let what = format!("output \"{name}\" holds −∞");
                        self.problems.push(Diagnostic::new(Code::Domain, what).file(&self.model.file));
                    }
                    Ok(id) => graph_outputs.push((name.clone(), id)),
                    Err(Problem::Operand) => {}
                    Err(Problem::Found(d)) => self.problems.push(d.file(&self.model.file)),
                },
            }
        }
        if !self.problems.0.is_empty() {
            return Err(self.problems);
        }
        // truth values and integers have no derivative
        let held = |name: &str| self.value(name).is_ok_and(|v| v.held.is_some());
        let floats: Vec<_> = graph_outputs.iter().filter(|(n, _)| !held(n)).cloned().collect();
        let seeds = self.seeds(&floats, outputs)?;
        let (stated, pairs) = self.stated(&graph_outputs);
        let drawn = std::mem::take(&mut self.drawn);
        let lowered = Lowered {
            outputs: graph_outputs,
            exact_outputs,
            seeds,
            leaves: self.leaves,
            notes: self.notes,
            stated,
            pairs,
            drawn,
            graph: Builder::new().finish().0,
        };
        Ok(prune::finish(self.builder, lowered, self.named))
    }

    /// The cotangents of the outputs.
    fn seeds(
        &self,
        outputs: &[(String, ValueId)],
        all: &[String],
    ) -> Result<Vec<(String, ValueId, Tensor)>, Diagnostics> {
        let ones = |v: ValueId| Tensor::filled(self.builder.shape(v), 1.0);
        let error = |what: String| Diagnostic::new(Code::Seed, what).file(&self.model.file);
        match &self.options.seed {
            Seed::None => Ok(Vec::new()),
            Seed::Loss if !self.model.plan.seeded.is_empty() => {
                let seeded = |n: &String| self.model.plan.seeded.contains(n);
                let kept = outputs.iter().filter(|(n, _)| seeded(n));
                Ok(kept.map(|(n, v)| (n.clone(), *v, ones(*v))).collect())
            }
            Seed::Loss => match outputs {
                [(name, v)] if self.builder.shape(*v).iter().product::<usize>() == 1 => {
                    Ok(vec![(name.clone(), *v, ones(*v))])
                }
                [(name, v)] => {
                    let shape = self.builder.shape(*v);
                    Err(error(format!("output \"{name}\" has shape {shape:?}: it isn't a scalar loss"))
                        .help(format!("say what to differentiate, such as --cotangent {name}=ones"))
                        .into())
                }
                [] => {
                    let note = format!("integers and truth values have no derivative; its outputs are {}", quoted(all));
                    Err(error("the graph has no floating-point output to differentiate".into())
                        .note(note)
                        .help("name a value before them, such as --loss sum:NAME or --cotangent NAME=ones")
                        .into())
                }
                [(first, _), ..] => {
                    let names: Vec<String> = outputs.iter().map(|(n, _)| n.clone()).collect();
                    Err(error(format!("the graph has {} floating-point outputs: {}", names.len(), quoted(&names)))
                        .help(format!("say what to differentiate, such as --cotangent {first}=ones"))
                        .into())
                }
            },
            Seed::Given(list) => {
                let mut problems = Diagnostics::default();
                let mut seeds = Vec::new();
                for (name, cotangent) in list {
                    let Some((_, v)) = outputs.iter().find(|(n, _)| n == name) else {
                        problems.push(error(format!("output \"{name}\" isn't a floating-point tensor")));
                        continue;
                    };
                    match (cotangent, self.builder.shape(*v)) {
                        (Cotangent::Ones, _) => seeds.push((name.clone(), *v, ones(*v))),
                        (Cotangent::Tensor(t), shape) => match t.as_f32() {
                            Some(data) if t.shape == shape => {
                                seeds.push((name.clone(), *v, Tensor::new(shape.to_vec(), data.to_vec())));
                            }
                            _ => problems.push(error(format!(
                                "the cotangent of \"{name}\" is {} of shape {:?} where FLOAT of shape {shape:?} is needed",
                                t.dtype, t.shape
                            ))),
                        },
                    }
                }
                problems.into_result(seeds)
            }
        }
    }
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|n| format!("\"{n}\"")).collect::<Vec<_>>().join(", ")
}
