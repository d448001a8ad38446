//! Graphs inside graphs: branches whose condition is known before the run, and loops whose number of
//! rounds is, written out round by round.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use super::call::{Call, Done, Problem, invalid, unsupported};
use super::{Lowering, needed};
use crate::data::HostTensor;
use crate::error::Code;
use crate::import::index;
use crate::import::model::{Attribute, Graph, Node};
use crate::import::rename::Renaming;
use crate::import::sort::reads;
use crate::import::value::{Source, Value};

/// A loop is written out for so many rounds at most.
const MAX_ROUNDS: usize = 4096;

impl Call<'_, '_> {
    fn subgraph(&self, name: &str) -> Result<Graph, Problem> {
        match self.node.attributes.get(name) {
            Some(Attribute::Graph(g)) => Ok((**g).clone()),
            _ => Err(invalid(format!("attribute \"{name}\" isn't a graph"))),
        }
    }

    /// Operand k, one truth value known before the run.
    fn decided(&self, k: usize, what: &str) -> Result<bool, Problem> {
        let name = self.operand(k)?;
        self.low.decided(&name, what)
    }

    /// Lowers the nodes of a subgraph in place. `given` are the outer names of its inputs; what it
    /// defines itself is called `prefix/name` where its own name is taken. Returns the names of its
    /// outputs.
    fn body(&mut self, g: &Graph, given: &HashMap<String, String>, prefix: &str) -> Result<Vec<String>, Problem> {
        let mut names = given.clone();
        let defined = g.nodes.iter().flat_map(|n| &n.outputs).filter(|o| !o.is_empty());
        let constants = g.initializers.iter().map(|(n, _)| n);
        for name in defined.chain(constants).filter(|n| !given.contains_key(*n)) {
            let own = if self.low.taken(name) { format!("{prefix}/{name}") } else { name.clone() };
            names.insert(name.clone(), own);
        }
        let value = |name: &str| names.get(name).cloned().unwrap_or_else(|| name.to_string());
        let renaming = Renaming { value: &value, attribute: None };
        let nodes: Vec<Node> = g.nodes.iter().map(|n| renaming.node(n)).collect();
        for (name, tensor) in g.initializers.iter().filter(|(n, _)| !given.contains_key(n)) {
            let host = Some(tensor.clone());
            let value_of = Value { source: Source::Initializer, host, graph: None, held: None };
            self.low.values.insert(value(name), value_of);
        }
        let outputs: Vec<String> = g.outputs.iter().map(|o| value(&o.name)).collect();
        self.low.all(&nodes, &outputs)?;
        Ok(outputs)
    }

    /// Tensors of one shape as one, along a new axis, by the nodes that ONNX has for that.
    fn stacked(&mut self, k: usize, parts: &[String], axis: i64, prefix: &str) -> Done {
        if parts.is_empty() {
            return Err(unsupported("a loop of no rounds whose rounds are put side by side"));
        }
        let made = |op: &str, inputs: Vec<String>, output: String, attribute: (&str, Attribute)| Node {
            name: self.node.label().to_string(),
            op: op.into(),
            domain: String::new(),
            opset: 11,
            inputs,
            outputs: vec![output],
            attributes: BTreeMap::from([(attribute.0.to_string(), attribute.1)]),
            doc: String::new(),
            metadata: self.node.metadata.clone(),
        };
        let Some(result) = self.node.outputs.get(k).filter(|n| !n.is_empty()).cloned() else { return Ok(()) };
        let mut nodes = Vec::new();
        let mut wide = Vec::new();
        for (i, part) in parts.iter().enumerate() {
            let name = format!("{prefix}/{k}/{i}");
            nodes.push(made("Unsqueeze", vec![part.clone()], name.clone(), ("axes", Attribute::Ints(vec![axis]))));
            wide.push(name);
        }
        nodes.push(made("Concat", wide, result.clone(), ("axis", Attribute::Int(axis))));
        self.low.all(&nodes, &[result])
    }
}

impl Lowering<'_> {
    /// Is the name that of another value of the model?
    fn taken(&self, name: &str) -> bool {
        self.values.contains_key(name) || self.aliases.contains_key(name) || self.used.contains(name)
    }

    fn decided(&self, name: &str, what: &str) -> Result<bool, Problem> {
        let v = self.value(name)?;
        let host = v.host.as_ref().filter(|_| v.held.is_none());
        let host = host.ok_or_else(|| unsupported(format!("{what} depends on floating-point data")))?;
        match host.as_bool() {
            Some([b]) => Ok(*b),
            _ => Err(invalid(format!("{what} is {} of shape {:?}, not one BOOL", host.dtype, host.shape))),
        }
    }

    /// Lowers the nodes of an inner graph that its outputs need.
    pub(super) fn all(&mut self, nodes: &[Node], outputs: &[String]) -> Done {
        if self.nesting >= crate::import::decode::MAX_NESTING {
            return Err(Problem::found(Code::Limit, format!("graphs nested {} deep", self.nesting)));
        }
        self.used.extend(outputs.iter().cloned());
        let wanted: Vec<&Node> = nodes.iter().zip(needed(nodes, outputs)).filter(|(_, n)| *n).map(|(n, _)| n).collect();
        self.used.extend(wanted.iter().flat_map(|n| reads(n)).map(str::to_string));
        self.inner += wanted.len();
        if self.inner > crate::import::decode::MAX_NODES {
            return Err(Problem::found(Code::Limit, format!("loops written out to {} nodes", self.inner)));
        }
        self.nesting += 1;
        for node in wanted {
            self.visit(&Rc::new(node.clone()), false);
        }
        self.nesting -= 1;
        Ok(())
    }

    pub(super) fn know(&mut self, name: &str, host: HostTensor) {
        let value = Value { source: Source::Exact, host: Some(Arc::new(host)), graph: None, held: None };
        self.values.insert(name.to_string(), value);
    }
}

/// If: the branch that the condition takes, in place.
pub(super) fn branch(c: &mut Call) -> Done {
    let name = if c.decided(0, "the condition of a branch")? { "then_branch" } else { "else_branch" };
    let graph = c.subgraph(name)?;
    if graph.outputs.len() < c.node.outputs.len() {
        return Err(invalid(format!("{} results of a branch with {}", c.node.outputs.len(), graph.outputs.len())));
    }
    let prefix = c.node.label().to_string();
    let outputs = c.body(&graph, &HashMap::new(), &prefix)?;
    for (k, name) in outputs.iter().enumerate() {
        c.alias_name(k, name)?;
    }
    Ok(())
}

/// Loop(M, condition, v…): v and what is collected of every round, round by round.
pub(super) fn repeat(c: &mut Call) -> Done {
    let graph = c.subgraph("body")?;
    let limit = if c.has(0) { c.known_ints(0)?.first().copied() } else { None };
    let limit = limit.map_or(usize::MAX, |m| usize::try_from(m).unwrap_or(0));
    let carried = c.operands().saturating_sub(2);
    if graph.inputs.len() != carried + 2 || graph.outputs.len() < carried + 1 {
        let what = format!("a body with {} inputs and {} outputs", graph.inputs.len(), graph.outputs.len());
        return Err(invalid(format!("{what} for {carried} values that are carried on")));
    }
    let prefix = c.node.label().to_string();
    let mut state: Vec<String> = (2..2 + carried).map(|k| c.operand(k)).collect::<Result<_, _>>()?;
    let mut collected = vec![Vec::new(); graph.outputs.len() - 1 - carried];
    let mut going = if c.has(1) { c.decided(1, "the condition of a loop")? } else { true };
    let mut round = 0;
    while going && round < limit {
        if round == MAX_ROUNDS {
            return Err(Problem::found(Code::Limit, format!("a loop of more than {MAX_ROUNDS} rounds")));
        }
        let own = format!("{prefix}[{round}]");
        let (count, condition) = (format!("{own}/round"), format!("{own}/condition"));
        c.low.know(&count, HostTensor::i64(vec![], vec![round as i64]));
        c.low.know(&condition, HostTensor::bool(vec![], vec![true]));
        let actual = [count, condition].into_iter().chain(state.iter().cloned());
        let given = graph.inputs.iter().map(|v| v.name.clone()).zip(actual).collect();
        let outputs = c.body(&graph, &given, &own)?;
        going = c.low.decided(&outputs[0], "the condition of a loop")?;
        state = outputs[1..1 + carried].to_vec();
        collected.iter_mut().zip(&outputs[1 + carried..]).for_each(|(all, one)| all.push(one.clone()));
        round += 1;
    }
    for (k, name) in state.iter().enumerate() {
        c.alias_name(k, name)?;
    }
    for (k, parts) in collected.iter().enumerate() {
        c.stacked(carried + k, parts, 0, &prefix)?;
    }
    Ok(())
}

/// Scan(states…, sequences…): the states after all entries, and what is collected of every round.
pub(super) fn scan(c: &mut Call) -> Done {
    let graph = c.subgraph("body")?;
    let sequences = usize::try_from(c.int("num_scan_inputs", 0)?).unwrap_or(0);
    let Some(states) = c.operands().checked_sub(sequences).filter(|_| sequences > 0) else {
        return Err(invalid(format!("num_scan_inputs is {sequences} for {} operands", c.operands())));
    };
    if graph.inputs.len() != c.operands() || graph.outputs.len() < states {
        let what = format!("a body with {} inputs and {} outputs", graph.inputs.len(), graph.outputs.len());
        return Err(invalid(format!("{what} for {} operands", c.operands())));
    }
    let list = |c: &Call, name: &str, n: usize| -> Result<Vec<i64>, Problem> {
        match c.ints(name)? {
            None => Ok(vec![0; n]),
            Some(v) if v.len() == n => Ok(v),
            Some(v) => Err(invalid(format!("attribute \"{name}\" has {} entries, {n} required", v.len()))),
        }
    };
    let out = graph.outputs.len() - states;
    let (axes, back) = (list(c, "scan_input_axes", sequences)?, list(c, "scan_input_directions", sequences)?);
    let (out_axes, out_back) = (list(c, "scan_output_axes", out)?, list(c, "scan_output_directions", out)?);
    let mut length = None;
    for (j, &a) in axes.iter().enumerate() {
        let shape = c.shape(states + j)?;
        let n = shape[index::axis(a, shape.len()).map_err(invalid)?];
        if *length.get_or_insert(n) != n {
            return Err(format!("sequences of {} and {n} entries", length.unwrap_or(0)).into());
        }
    }
    let length = length.unwrap_or(0);
    if length > MAX_ROUNDS {
        return Err(Problem::found(Code::Limit, format!("a scan of {length} rounds (at most {MAX_ROUNDS})")));
    }
    let prefix = c.node.label().to_string();
    let mut state: Vec<String> = (0..states).map(|k| c.operand(k)).collect::<Result<_, _>>()?;
    let mut collected = vec![Vec::new(); out];
    for round in 0..length {
        let own = format!("{prefix}[{round}]");
        let mut actual = state.clone();
        for (j, &axis) in axes.iter().enumerate() {
            let (place, entry) = (format!("{own}/place {j}"), format!("{own}/entry {j}"));
            let at = if back[j] == 1 { length - 1 - round } else { round };
            c.low.know(&place, HostTensor::i64(vec![], vec![at as i64]));
            let node = Node {
                op: "Gather".into(),
                domain: String::new(),
                opset: 13,
                inputs: vec![c.operand(states + j)?, place],
                outputs: vec![entry.clone()],
                attributes: BTreeMap::from([("axis".to_string(), Attribute::Int(axis))]),
                ..(*c.node).clone()
            };
            c.low.all(&[node], std::slice::from_ref(&entry))?;
            actual.push(entry);
        }
        let given = graph.inputs.iter().map(|v| v.name.clone()).zip(actual).collect();
        let outputs = c.body(&graph, &given, &own)?;
        state = outputs[..states].to_vec();
        collected.iter_mut().zip(&outputs[states..]).for_each(|(all, one)| all.push(one.clone()));
    }
    for (k, name) in state.iter().enumerate() {
        c.alias_name(k, name)?;
    }
    for (k, parts) in collected.iter_mut().enumerate() {
        if out_back[k] == 1 {
            parts.reverse();
        }
        c.stacked(states + k, parts, out_axes[k], &prefix)?;
    }
    Ok(())
}
