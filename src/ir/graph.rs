//! The graph itself, and its only way to be built.

use super::{Tensor, elements};
use std::collections::BTreeMap;

/// Index of a value: leaves first, then nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub u32);

impl ValueId {
    /// As an index into side tables.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What a leaf stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeafKind {
    /// Differentiated and reported.
    Parameter,
    /// Given from outside.
    Input,
    /// Part of the model, not differentiated.
    Constant,
}

/// A leaf: its exact binary32 value and what it stands for.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// ONNX name.
    pub name: String,
    /// What it stands for.
    pub kind: LeafKind,
    /// Its value.
    pub tensor: Tensor,
    /// Numbers that the specification is to have in place of some of its entries; none but where gradients of a
    /// program in binary64 are checked.
    pub meant: Vec<(f32, f64)>,
}

impl Leaf {
    /// A leaf that is what its tensor holds.
    pub fn new(name: impl Into<String>, kind: LeafKind, tensor: Tensor) -> Leaf {
        Leaf { name: name.into(), kind, tensor, meant: Vec::new() }
    }

    /// Entry i as the specification has it.
    pub fn exact(&self, i: usize) -> f64 {
        let held = self.tensor.data[i];
        self.meant.iter().find(|(h, _)| *h == held).map_or(f64::from(held), |(_, m)| *m)
    }
}

/// The ONNX node that a primitive node was lowered from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Node name, or first output of a nameless one.
    pub node: String,
    /// Operator, with its domain unless default.
    pub op: String,
    /// Version of the operator set.
    pub opset: i64,
    /// The layer it belongs to, as the model's author would call it.
    pub layer: String,
    /// Operator's domain; empty for the default one.
    pub domain: String,
    /// Tensors that it reads, in order; empty for one left out.
    pub inputs: Vec<String>,
    /// Tensors that it makes, in order; empty for one not wanted.
    pub outputs: Vec<String>,
    /// Its attributes, by name.
    pub attributes: Vec<Attribute>,
}

/// An attribute of an ONNX node in words, as graph viewers show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// Its name.
    pub name: String,
    /// ONNX's name of its type, such as `INTS`.
    pub kind: &'static str,
    /// Its value, shortened where it is long.
    pub value: String,
}

/// What a primitive must tell before it can stand in a graph.
pub trait Shaped {
    /// The shape of the result, or why the operands don't fit.
    fn infer(&self, operands: &[&[usize]]) -> Result<Vec<usize>, String>;
}

/// A node: a primitive, its operands, the shape of its result, and where it came from.
#[derive(Clone, Debug)]
pub struct Node<P> {
    /// The primitive.
    pub op: P,
    /// Operands, all smaller than the node's own id.
    pub operands: Vec<ValueId>,
    /// Shape of the result.
    pub shape: Vec<usize>,
    /// Index into [`Graph::origins`].
    pub origin: usize,
}

/// The tape: leaves Γ, then nodes ss in topological order.
#[derive(Clone, Debug)]
pub struct Graph<P> {
    leaves: Vec<Leaf>,
    nodes: Vec<Node<P>>,
    origins: Vec<Origin>,
    names: BTreeMap<ValueId, String>,
}

impl<P> Graph<P> {
    /// The leaves, ids 0..|Γ|.
    pub fn leaves(&self) -> &[Leaf] {
        &self.leaves
    }

    /// The nodes, ids |Γ|..|Γ|+|ss|.
    pub fn nodes(&self) -> &[Node<P>] {
        &self.nodes
    }

    /// The ONNX nodes that primitives were lowered from.
    pub fn origins(&self) -> &[Origin] {
        &self.origins
    }

    /// |Γ| + |ss|.
    pub fn len(&self) -> usize {
        self.leaves.len() + self.nodes.len()
    }

    /// Is there nothing at all?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The same tape over other leaf values, of the same shapes.
    pub fn with_leaves(&self, mut value: impl FnMut(&Leaf) -> Tensor) -> Graph<P>
    where
        P: Clone,
    {
        let leaf = |l: &Leaf| {
            let tensor = value(l);
            assert_eq!(tensor.shape, l.tensor.shape, "leaf \"{}\" keeps its shape", l.name);
            Leaf { tensor, ..l.clone() }
        };
        Graph { leaves: self.leaves.iter().map(leaf).collect(), ..self.clone() }
    }

    /// Lets the specification have other constants: `leaf` may say what entries of a leaf mean, `op` may change
    /// those of a primitive of the ONNX node named.
    pub fn reread(&mut self, mut leaf: impl FnMut(&mut Leaf), mut op: impl FnMut(&str, &mut P)) {
        self.leaves.iter_mut().for_each(&mut leaf);
        let origins = &self.origins;
        self.nodes.iter_mut().for_each(|n| op(&origins[n.origin].node, &mut n.op));
    }

    /// The id of the k-th node.
    pub fn node_id(&self, k: usize) -> ValueId {
        ValueId((self.leaves.len() + k) as u32)
    }

    /// The node of a value, unless it is a leaf.
    pub fn node(&self, v: ValueId) -> Option<&Node<P>> {
        v.index().checked_sub(self.leaves.len()).map(|k| &self.nodes[k])
    }

    /// Shape of a value.
    pub fn shape(&self, v: ValueId) -> &[usize] {
        match self.node(v) {
            Some(n) => &n.shape,
            None => &self.leaves[v.index()].tensor.shape,
        }
    }

    /// The name of a value: of its ONNX tensor, else of the ONNX node it belongs to.
    pub fn name(&self, v: ValueId) -> &str {
        match (self.names.get(&v), self.node(v)) {
            (Some(name), _) => name,
            (None, Some(n)) => &self.origins[n.origin].node,
            (None, None) => &self.leaves[v.index()].name,
        }
    }

    /// The nodes' values that have a name in the ONNX file, in the order of their ids.
    pub fn named(&self) -> impl Iterator<Item = (&str, ValueId)> {
        self.names.iter().filter(|(v, _)| self.node(**v).is_some()).map(|(v, name)| (name.as_str(), *v))
    }

    /// Ids of the leaves that are differentiated and reported.
    pub fn parameters(&self) -> impl Iterator<Item = ValueId> + '_ {
        let is_parameter = |(_, l): &(usize, &Leaf)| l.kind == LeafKind::Parameter;
        self.leaves.iter().enumerate().filter(is_parameter).map(|(i, _)| ValueId(i as u32))
    }

    /// For every value, whether a cotangent is wanted for it: it is a parameter, or depends on one.
    pub fn differentiated(&self, also: &[ValueId]) -> Vec<bool> {
        let mut wanted: Vec<bool> = self.leaves.iter().map(|l| l.kind == LeafKind::Parameter).collect();
        for v in also {
            if v.index() < wanted.len() {
                wanted[v.index()] = true;
            }
        }
        for n in &self.nodes {
            wanted.push(n.operands.iter().any(|o| wanted[o.index()]));
        }
        wanted
    }
}

impl<P: Shaped> Graph<P> {
    /// Checks the link invariants that hold by construction, so that they can be seen to hold:
    /// ids point backwards, shapes match, one value per leaf and node.
    pub fn check(&self) -> Result<(), String> {
        for (k, n) in self.nodes.iter().enumerate() {
            let id = self.node_id(k);
            if let Some(o) = n.operands.iter().find(|o| **o >= id) {
                return Err(format!("node {} reads {}, which does not come before it", id.0, o.0));
            }
            let shapes: Vec<&[usize]> = n.operands.iter().map(|&o| self.shape(o)).collect();
            if n.op.infer(&shapes)? != n.shape {
                return Err(format!("node {} has shape {:?}, its operands say otherwise", id.0, n.shape));
            }
        }
        for (i, l) in self.leaves.iter().enumerate() {
            if elements(&l.tensor.shape) != l.tensor.data.len() {
                return Err(format!("leaf {i} has {} entries for shape {:?}", l.tensor.data.len(), l.tensor.shape));
            }
        }
        Ok(())
    }
}

/// Builds a [`Graph`]; leaves and nodes may be added in any order.
#[derive(Debug)]
pub struct GraphBuilder<P> {
    leaves: Vec<Leaf>,
    nodes: Vec<Node<P>>,
    origins: Vec<Origin>,
    names: BTreeMap<ValueId, String>,
}

/// While building, node ids carry this bit, because the number of leaves isn't known yet.
const NODE: u32 = 1 << 31;

impl<P: Shaped> Default for GraphBuilder<P> {
    fn default() -> Self {
        Self::new()
    }
}

impl<P: Shaped> GraphBuilder<P> {
    /// An empty graph.
    pub fn new() -> Self {
        GraphBuilder { leaves: Vec::new(), nodes: Vec::new(), origins: vec![Origin::default()], names: BTreeMap::new() }
    }

    /// Adds a leaf.
    pub fn leaf(&mut self, leaf: Leaf) -> ValueId {
        assert_eq!(elements(&leaf.tensor.shape), leaf.tensor.data.len(), "leaf entries fit its shape");
        self.leaves.push(leaf);
        ValueId(self.leaves.len() as u32 - 1)
    }

    /// All later nodes come from this ONNX node.
    pub fn at(&mut self, origin: Origin) {
        self.origins.push(origin);
    }

    /// Adds a node, or says why the operands don't fit.
    pub fn node(&mut self, op: impl Into<P>, operands: &[ValueId]) -> Result<ValueId, String> {
        let op = op.into();
        let shapes: Vec<&[usize]> = operands.iter().map(|&o| self.shape(o)).collect();
        let shape = op.infer(&shapes)?;
        self.nodes.push(Node { op, operands: operands.to_vec(), shape, origin: self.origins.len() - 1 });
        Ok(ValueId((self.nodes.len() as u32 - 1) | NODE))
    }

    /// Shape of a value.
    pub fn shape(&self, v: ValueId) -> &[usize] {
        if v.0 & NODE != 0 { &self.nodes[(v.0 & !NODE) as usize].shape } else { &self.leaves[v.index()].tensor.shape }
    }

    /// The kind of a leaf, `None` for a node.
    pub fn leaf_kind(&self, v: ValueId) -> Option<LeafKind> {
        (v.0 & NODE == 0).then(|| self.leaves[v.index()].kind)
    }

    /// The value is shown under this ONNX name.
    pub fn name(&mut self, v: ValueId, onnx_name: &str) {
        self.names.insert(v, onnx_name.to_owned());
    }

    /// The finished graph, and the final id of every id handed out.
    pub fn finish(self) -> (Graph<P>, impl Fn(ValueId) -> ValueId) {
        let leaves = self.leaves.len() as u32;
        let renumber = move |v: ValueId| if v.0 & NODE != 0 { ValueId((v.0 & !NODE) + leaves) } else { v };
        let nodes = self
            .nodes
            .into_iter()
            .map(|n| Node { operands: n.operands.iter().map(|&o| renumber(o)).collect(), ..n })
            .collect();
        let names = self.names.into_iter().map(|(v, n)| (renumber(v), n)).collect();
        (Graph { leaves: self.leaves, nodes, origins: self.origins, names }, renumber)
    }
}
