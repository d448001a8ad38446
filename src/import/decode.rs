//! Bytes of a model file → [`OnnxModel`] as written.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use prost::Message as _;
use sha2::{Digest, Sha256};
use tract_onnx::pb;

use super::model::{Attribute, Dim, Function, Graph, Node, OnnxModel, Training, ValueInfo};
use super::overlay;
use super::prepare::Plan;
use super::sort::sort;
use super::tensor::{External, decode, decode_sparse, hex};
use crate::data::{DType, HostTensor};
use crate::error::{Code, Diagnostic, Diagnostics};

/// More nodes than this are refused (the largest graphs people export have some 10,000).
pub const MAX_NODES: usize = 1_000_000;
/// Deeper nesting of subgraphs than this is refused.
pub const MAX_NESTING: usize = 16;

/// Reads a model file: once, with its SHA-256 taken of the same bytes.
pub fn read(path: &Path) -> Result<OnnxModel, Diagnostics> {
    let file = path.display().to_string();
    let bytes = crate::limits::read(path)
        .map_err(|e| Diagnostic::new(Code::Io, format!("the model can't be read: {e}")).file(&file))?;
    from_bytes(&bytes, &file, path.parent().unwrap_or(Path::new("")))
}

/// Decodes a model. `file` is its name in messages; external data is looked for in `folder`.
pub fn from_bytes(bytes: &[u8], file: &str, folder: &Path) -> Result<OnnxModel, Diagnostics> {
    let malformed = |what: String| Diagnostic::new(Code::Malformed, what).file(file);
    let proto = pb::ModelProto::decode(bytes).map_err(|e| {
        malformed(format!("not an ONNX model: {e}")).help("check that the file is complete, and not a Git LFS pointer")
    })?;
    let extra = overlay::Model::decode(bytes).map_err(|e| malformed(format!("not an ONNX model: {e}")))?;
    let Some(graph) = proto.graph else {
        let why = if bytes.is_empty() { "the file is empty" } else { "the file is truncated or something else" };
        return Err(malformed("the file has no graph".into()).note(why).into());
    };
    let mut opsets = BTreeMap::new();
    let mut c = Decoder { file, external: External::new(folder), problems: Diagnostics::default(), nodes: 0 };
    for o in &proto.opset_import {
        opsets.insert(normal(&o.domain), o.version);
    }
    match opsets.get("") {
        None if graph.node.iter().any(|n| normal(&n.domain).is_empty()) || opsets.is_empty() => {
            c.problem(Code::Malformed, "the file states no operator set for the default domain".into());
        }
        Some(&v) if v < 1 => c.problem(Code::Malformed, format!("operator set version {v} doesn't exist")),
        _ => {}
    }
    if graph.output.is_empty() {
        c.problem(Code::Malformed, "the graph has no outputs".into());
    }
    let overlay::Graph { nodes: extra_nodes, inputs: typed } = extra.graph.unwrap_or_default();
    let mut graph = c.graph(graph, extra_nodes, &opsets, &[], 0);
    for info in &mut graph.inputs {
        let kind = typed.iter().find(|v| v.name == info.name).and_then(|v| v.kind.as_ref()).and_then(|k| k.name());
        info.dtype = kind.map(DType::Other).or(info.dtype);
    }
    let mut functions = BTreeMap::new();
    for (f, more) in proto.functions.into_iter().zip(extra.functions) {
        let key = (normal(f.domain.as_deref().unwrap_or("")), f.name.clone().unwrap_or_default());
        let function = c.function(f, more, &opsets);
        if functions.insert(key.clone(), function).is_some() {
            c.problem(Code::Graph, format!("function \"{}\" of domain \"{}\" is defined twice", key.1, key.0));
        }
    }
    let names: Vec<String> = graph.values().map(str::to_string).collect();
    let training = proto
        .training_info
        .into_iter()
        .map(|t| Training {
            algorithm: t.algorithm.map(|g| c.graph(g, Vec::new(), &opsets, &names, 1)).unwrap_or_default(),
            update_binding: t.update_binding.into_iter().map(|e| (e.key, e.value)).collect(),
        })
        .collect();
    let model = OnnxModel {
        file: file.to_string(),
        folder: folder.to_path_buf(),
        sha256: hex(&Sha256::digest(bytes)),
        external: c.external.digests(),
        ir_version: proto.ir_version,
        producer: (proto.producer_name, proto.producer_version),
        opsets,
        graph,
        functions,
        training,
        metadata: proto.metadata_props.into_iter().map(|e| (e.key, e.value)).collect(),
        plan: Plan::default(),
    };
    c.problems.into_result(model)
}

/// `ai.onnx` and the empty string are the same domain.
fn normal(domain: &str) -> String {
    if domain == "ai.onnx" { String::new() } else { domain.to_string() }
}

impl Graph {
    /// Names of all values: inputs, initializers, node outputs.
    pub fn values(&self) -> impl Iterator<Item = &str> {
        let inputs = self.inputs.iter().map(|v| v.name.as_str());
        let initializers = self.initializers.iter().map(|(n, _)| n.as_str());
        inputs.chain(initializers).chain(self.nodes.iter().flat_map(|n| n.outputs.iter().map(String::as_str)))
    }
}

struct Decoder<'a> {
    file: &'a str,
    external: External,
    problems: Diagnostics,
    nodes: usize,
}

impl Decoder<'_> {
    fn problem(&mut self, code: Code, what: String) {
        self.problems.push(Diagnostic::new(code, what).file(self.file));
    }

    fn tensor(&mut self, t: &pb::TensorProto, of: &str) -> Arc<HostTensor> {
        decode(t, &mut self.external).map(Arc::new).unwrap_or_else(|why| {
            self.problem(Code::Malformed, format!("{of}: {why}"));
            Arc::new(HostTensor::f32(vec![0], vec![]))
        })
    }

    /// `outer`: names visible from the surrounding graph; `depth`: how far inside subgraphs.
    fn graph(
        &mut self,
        g: pb::GraphProto,
        extra: Vec<overlay::Node>,
        opsets: &BTreeMap<String, i64>,
        outer: &[String],
        depth: usize,
    ) -> Graph {
        if depth > MAX_NESTING {
            self.problem(Code::Limit, format!("subgraphs are nested deeper than {MAX_NESTING}"));
            return Graph::default();
        }
        let mut initializers = Vec::with_capacity(g.initializer.len());
        for t in &g.initializer {
            let tensor = self.tensor(t, &format!("initializer \"{}\"", t.name));
            initializers.push((t.name.clone(), tensor));
        }
        for t in &g.sparse_initializer {
            match decode_sparse(t, &mut self.external) {
                Ok((name, tensor)) => initializers.push((name, Arc::new(tensor))),
                Err(why) => self.problem(Code::Malformed, format!("sparse initializer: {why}")),
            }
        }
        let mut seen = HashSet::new();
        for (name, _) in &initializers {
            if !seen.insert(name.clone()) {
                self.problem(Code::Graph, format!("initializer \"{name}\" occurs twice"));
            }
        }
        // up to IR version 3 every initializer is repeated among the inputs
        let mut inputs: Vec<ValueInfo> = Vec::new();
        for v in g.input {
            if seen.contains(&v.name) {
                continue;
            }
            if inputs.iter().any(|i| i.name == v.name) {
                self.problem(Code::Graph, format!("input \"{}\" occurs twice", v.name));
            } else {
                self.sizes(&v);
                inputs.push(value_info(v));
            }
        }
        let outputs: Vec<ValueInfo> = g.output.into_iter().map(value_info).collect();
        let mut visible: Vec<String> = outer.to_vec();
        visible.extend(inputs.iter().map(|v| v.name.clone()));
        visible.extend(seen);
        let nodes = self.nodes(g.node, extra, opsets, &visible, depth);
        let produced: HashSet<&str> = nodes
            .iter()
            .flat_map(|n: &Node| &n.outputs)
            .map(String::as_str)
            .chain(visible.iter().map(String::as_str))
            .collect();
        for o in &outputs {
            if !produced.contains(o.name.as_str()) {
                self.problem(Code::Graph, format!("graph output \"{}\" is produced by nothing", o.name));
            }
        }
        Graph { name: g.name, nodes, initializers, inputs, outputs }
    }

    /// Reports a negative size of an input; −1 is what some exporters write for an unknown one.
    fn sizes(&mut self, v: &pb::ValueInfoProto) {
        use pb::tensor_shape_proto::dimension::Value as Size;
        use pb::type_proto::Value;
        let Some(Value::TensorType(t)) = v.r#type.as_ref().and_then(|t| t.value.as_ref()) else { return };
        for d in t.shape.iter().flat_map(|s| &s.dim) {
            if let Some(Size::DimValue(n @ ..=-2)) = d.value {
                self.problem(Code::Shape, format!("input \"{}\" states the size {n}", v.name));
            }
        }
    }

    fn nodes(
        &mut self,
        protos: Vec<pb::NodeProto>,
        extra: Vec<overlay::Node>,
        opsets: &BTreeMap<String, i64>,
        visible: &[String],
        depth: usize,
    ) -> Vec<Node> {
        self.nodes += protos.len();
        if self.nodes > MAX_NODES {
            self.problem(Code::Limit, format!("{} nodes (at most {MAX_NODES} are accepted)", self.nodes));
            return Vec::new();
        }
        let mut inner: Option<Vec<String>> = None;
        let mut extra = extra.into_iter();
        let mut nodes = Vec::with_capacity(protos.len());
        let outputs: Vec<String> = protos.iter().flat_map(|n| n.output.iter().cloned()).collect();
        for n in protos {
            let metadata: HashMap<String, String> =
                extra.next().map(|e| e.metadata.into_iter().map(|p| (p.key, p.value)).collect()).unwrap_or_default();
            let has_graph = n.attribute.iter().any(|a| a.g.is_some());
            if has_graph && inner.is_none() {
                inner = Some(visible.iter().chain(&outputs).cloned().collect());
            }
            let scope = inner.as_deref().unwrap_or(&[]);
            let mut attributes = BTreeMap::new();
            let label = if n.name.is_empty() { n.output.first().cloned().unwrap_or_default() } else { n.name.clone() };
            for a in n.attribute {
                let name = a.name.clone();
                let value = self.attribute(a, &label, opsets, if has_graph { scope } else { &[] }, depth);
                attributes.insert(name, value);
            }
            let domain = normal(&n.domain);
            nodes.push(Node {
                name: n.name,
                op: n.op_type,
                opset: opsets.get(&domain).copied().unwrap_or(1),
                domain,
                inputs: n.input,
                outputs: n.output,
                attributes,
                doc: n.doc_string,
                metadata,
            });
        }
        let outer: HashSet<&str> = visible.iter().map(String::as_str).collect();
        let file = self.file;
        let describe = |d: Diagnostic, n: &Node| d.file(file).node(n.label(), n.full_op(), n.opset);
        sort(nodes, &outer, &describe, &mut self.problems)
    }

    fn attribute(
        &mut self,
        a: pb::AttributeProto,
        node: &str,
        opsets: &BTreeMap<String, i64>,
        scope: &[String],
        depth: usize,
    ) -> Attribute {
        use pb::attribute_proto::AttributeType as T;
        if !a.ref_attr_name.is_empty() {
            return Attribute::Reference(a.ref_attr_name);
        }
        let text = |b: Vec<u8>| String::from_utf8_lossy(&b).into_owned();
        // files of IR version 1 state no kind: the field in use tells it
        let kind = match T::try_from(a.r#type) {
            Ok(T::Undefined) | Err(_) if a.t.is_some() => T::Tensor,
            Ok(T::Undefined) | Err(_) if a.g.is_some() => T::Graph,
            Ok(T::Undefined) | Err(_) if !a.ints.is_empty() => T::Ints,
            Ok(T::Undefined) | Err(_) if !a.floats.is_empty() => T::Floats,
            Ok(T::Undefined) | Err(_) if !a.strings.is_empty() => T::Strings,
            Ok(T::Undefined) | Err(_) if !a.s.is_empty() => T::String,
            Ok(T::Undefined) | Err(_) if a.f != 0.0 => T::Float,
            Ok(T::Undefined) | Err(_) => T::Int,
            Ok(kind) => kind,
        };
        match kind {
            T::Float => Attribute::Float(a.f),
            T::Int => Attribute::Int(a.i),
            T::String => Attribute::Str(text(a.s)),
            T::Floats => Attribute::Floats(a.floats),
            T::Ints => Attribute::Ints(a.ints),
            T::Strings => Attribute::Strs(a.strings.into_iter().map(text).collect()),
            T::Tensor => match &a.t {
                Some(t) => Attribute::Tensor(self.tensor(t, &format!("attribute \"{}\" of node \"{node}\"", a.name))),
                None => {
                    self.problem(Code::Malformed, format!("attribute \"{}\" of node \"{node}\" is empty", a.name));
                    Attribute::Other("TENSOR")
                }
            },
            T::Graph => match a.g {
                Some(g) => Attribute::Graph(Box::new(self.graph(g, Vec::new(), opsets, scope, depth + 1))),
                None => Attribute::Other("GRAPH"),
            },
            other => Attribute::Other(other.as_str_name()),
        }
    }

    fn function(&mut self, f: pb::FunctionProto, more: overlay::Function, outer: &BTreeMap<String, i64>) -> Function {
        let mut opsets = outer.clone();
        opsets.extend(f.opset_import.iter().map(|o| (normal(&o.domain), o.version)));
        let name = f.name.unwrap_or_default();
        let nodes = self.nodes(f.node, more.nodes, &opsets, &f.input, 0);
        let defaults =
            more.defaults.into_iter().map(|a| (a.name.clone(), self.attribute(a, &name, &opsets, &[], 0))).collect();
        Function { inputs: f.input, outputs: f.output, attributes: f.attribute, defaults, nodes, opsets }
    }
}

fn value_info(v: pb::ValueInfoProto) -> ValueInfo {
    use pb::tensor_shape_proto::dimension::Value as Size;
    let Some(pb::type_proto::Value::TensorType(t)) = v.r#type.and_then(|t| t.value) else {
        return ValueInfo { name: v.name, dtype: None, dims: None };
    };
    let dims = t.shape.map(|s| {
        s.dim
            .into_iter()
            .map(|d| match d.value {
                Some(Size::DimValue(n)) => usize::try_from(n).map_or(Dim::Unknown, Dim::Size),
                Some(Size::DimParam(s)) if !s.is_empty() => Dim::Symbol(s),
                _ => Dim::Unknown,
            })
            .collect()
    });
    let dtype = (t.elem_type != 0).then(|| DType::from_onnx(t.elem_type));
    ValueInfo { name: v.name, dtype, dims }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> pb::ModelProto {
        let value = |name: &str| pb::ValueInfoProto { name: name.into(), ..Default::default() };
        let node = pb::NodeProto {
            input: vec!["x".into(), "w".into()],
            output: vec!["y".into()],
            op_type: "Add".into(),
            domain: "ai.onnx".into(),
            ..Default::default()
        };
        let w = pb::TensorProto {
            name: "w".into(),
            dims: vec![2],
            data_type: 1,
            float_data: vec![1.0, 2.0],
            ..Default::default()
        };
        pb::ModelProto {
            ir_version: 3,
            opset_import: vec![pb::OperatorSetIdProto { domain: String::new(), version: 9 }],
            graph: Some(pb::GraphProto {
                node: vec![node],
                initializer: vec![w],
                input: vec![value("x"), value("w")],
                output: vec![value("y")],
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    fn run(m: &pb::ModelProto) -> Result<OnnxModel, Diagnostics> {
        from_bytes(&m.encode_to_vec(), "m.onnx", Path::new("."))
    }

    #[test]
    fn initializers_among_the_inputs_are_no_inputs() {
        let m = run(&model()).unwrap();
        assert_eq!(m.graph.inputs.iter().map(|v| v.name.as_str()).collect::<Vec<_>>(), ["x"]);
        assert_eq!((m.opset(""), m.graph.nodes[0].domain.as_str(), m.graph.nodes[0].label()), (9, "", "y"));
        assert_eq!(m.sha256, hex(&Sha256::digest(model().encode_to_vec())));
    }

    #[test]
    fn metadata_and_function_defaults_survive() {
        // field 9 of a node appended by hand: tract's schema can't write it
        let entry = pb::StringStringEntryProto { key: "k".into(), value: "v".into() };
        let node = overlay::Node { metadata: vec![entry] };
        let default = pb::AttributeProto { name: "alpha".into(), r#type: 1, f: 0.5, ..Default::default() };
        let extra = overlay::Model {
            graph: Some(overlay::Graph { nodes: vec![node], inputs: Vec::new() }),
            functions: vec![overlay::Function { nodes: vec![], defaults: vec![default] }],
        };
        let mut proto = model();
        let node = proto.graph.as_mut().unwrap().node.remove(0);
        // protobuf joins two occurrences of a message field: here node 0 would be two nodes, so the
        // node is written once by hand with both parts
        let mut body = node.encode_to_vec();
        body.extend(extra.graph.as_ref().unwrap().nodes[0].encode_to_vec());
        let mut graph = proto.graph.take().unwrap().encode_to_vec();
        prost::encoding::bytes::encode(1, &body, &mut graph);
        let mut bytes = proto.encode_to_vec();
        prost::encoding::bytes::encode(7, &graph, &mut bytes);
        bytes.extend(overlay::Model { graph: None, functions: extra.functions }.encode_to_vec());
        let m = from_bytes(&bytes, "m.onnx", Path::new(".")).unwrap();
        assert_eq!(m.graph.nodes[0].metadata["k"], "v");
        let f = &m.functions[&(String::new(), String::new())];
        assert!(matches!(f.defaults["alpha"], Attribute::Float(x) if x == 0.5));
    }

    #[test]
    fn damaged_files_are_diagnosed_never_panic() {
        let bytes = model().encode_to_vec();
        for cut in 0..bytes.len() {
            let err = from_bytes(&bytes[..cut], "m.onnx", Path::new(".")).map(|m| m.graph.outputs.len());
            assert!(err.is_err(), "cut at {cut}");
        }
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut bad = bytes.clone();
                bad[at] ^= 1 << bit;
                let _ = from_bytes(&bad, "m.onnx", Path::new("."));
            }
        }
        let empty = from_bytes(&[], "m.onnx", Path::new(".")).unwrap_err().to_string();
        assert!(empty.contains("no graph") && empty.contains("empty"), "{empty}");
    }

    #[test]
    fn all_contradictions_are_reported_at_once() {
        let mut m = model();
        m.opset_import.clear();
        let g = m.graph.as_mut().unwrap();
        g.initializer.push(g.initializer[0].clone());
        g.initializer[0].dims = vec![3];
        g.output[0].name = "ghost".into();
        g.node[0].input[0] = "phantom".into();
        let text = run(&m).unwrap_err().to_string();
        for want in ["no operator set", "occurs twice", "2 elements", "\"ghost\"", "\"phantom\""] {
            assert!(text.contains(want), "{want} in {text}");
        }
    }

    #[test]
    fn nesting_is_limited() {
        let mut m = model();
        let mut inner = m.graph.clone().unwrap();
        for _ in 0..MAX_NESTING + 2 {
            let a = pb::AttributeProto { name: "body".into(), r#type: 5, g: Some(inner.clone()), ..Default::default() };
            inner = pb::GraphProto {
                node: vec![pb::NodeProto {
                    op_type: "If".into(),
                    attribute: vec![a],
                    output: vec!["y".into()],
                    ..Default::default()
                }],
                output: inner.output.clone(),
                ..Default::default()
            };
        }
        m.graph = Some(inner);
        assert!(run(&m).unwrap_err().to_string().contains("nested deeper"));
    }
}
