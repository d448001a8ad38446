//! One node being lowered: its operands, attributes and results.

use std::rc::Rc;
use std::sync::Arc;

use super::Lowering;
use crate::data::{DType, Data, HostTensor};
use crate::error::{Code, Diagnostic};
use crate::import::index;
use crate::import::model::{Attribute, Node};
use crate::import::value::{Note, Source, Value};
use crate::ir::{Index, ValueId};
use crate::num::Steps;
use crate::ops;

/// Why a node can't be lowered.
pub(super) enum Problem {
    /// An operand's node has been refused already: nothing more to say.
    Operand,
    /// This.
    Found(Box<Diagnostic>),
}

impl Problem {
    pub(super) fn found(code: Code, what: impl Into<String>) -> Problem {
        Problem::Found(Box::new(Diagnostic::new(code, what)))
    }

    pub(super) fn help(self, help: impl Into<String>) -> Problem {
        match self {
            Problem::Found(d) => Problem::Found(Box::new(d.help(help))),
            other => other,
        }
    }

    pub(super) fn note(self, note: impl Into<String>) -> Problem {
        match self {
            Problem::Found(d) => Problem::Found(Box::new(d.note(note))),
            other => other,
        }
    }
}

/// What helpers without place say is a contradiction of shapes.
impl From<String> for Problem {
    fn from(what: String) -> Problem {
        Problem::found(Code::Shape, what)
    }
}

pub(super) type Done = Result<(), Problem>;

/// A form of an operator that has no rules here.
pub(super) fn unsupported(what: impl Into<String>) -> Problem {
    Problem::found(Code::Unsupported, what)
}

/// A value that the operator doesn't allow.
pub(super) fn invalid(what: impl Into<String>) -> Problem {
    Problem::found(Code::Attribute, what)
}

/// Float tensors up to this size are computed with at import time, in case integers derive from them.
const FOLDED: usize = 64;

/// A node, and everything known around it.
pub(super) struct Call<'a, 'm> {
    pub low: &'a mut Lowering<'m>,
    pub node: Rc<Node>,
    pub opset: i64,
    /// Float results are wanted in the graph, not as import-time data.
    pub forced: bool,
}

impl Call<'_, '_> {
    /// Number of operands written (trailing ones may be left out).
    pub fn operands(&self) -> usize {
        self.node.inputs.len()
    }

    /// Is operand k there?
    pub fn has(&self, k: usize) -> bool {
        self.node.inputs.get(k).is_some_and(|n| !n.is_empty())
    }

    /// Does anybody read result k?
    pub fn wanted(&self, k: usize) -> bool {
        self.node.outputs.get(k).is_some_and(|n| !n.is_empty() && self.low.used.contains(n.as_str()))
    }

    /// Name of operand k.
    pub fn operand(&self, k: usize) -> Result<String, Problem> {
        match self.node.inputs.get(k).filter(|n| !n.is_empty()) {
            Some(name) => Ok(name.clone()),
            None => Err(invalid(format!("operand {k} is missing"))),
        }
    }

    fn value(&self, k: usize) -> Result<Value, Problem> {
        self.low.value(&self.operand(k)?).cloned()
    }

    /// Operand k as a binary32 tensor of the graph.
    pub fn graph(&mut self, k: usize) -> Result<ValueId, Problem> {
        let (id, mask) = self.masked(k)?;
        match mask {
            None => Ok(id),
            Some(_) => Err(unsupported(format!("operand {k} holds −∞, which only Softmax can take")).note(
                "entries that a mask sets to −∞ are left out of the softmax; elsewhere they have no finite error",
            )),
        }
    }

    /// Operand k as a binary32 tensor of the graph, and which of its entries are −∞ (they hold 0).
    pub fn masked(&mut self, k: usize) -> Result<(ValueId, Option<Rc<Vec<bool>>>), Problem> {
        if let Some(held) = self.value(k)?.held {
            return Err(Problem::found(Code::Type, format!("operand {k} is {held} where FLOAT is needed")));
        }
        let name = self.operand(k)?;
        let node = self.node.clone();
        let id = self.low.graph(&name, Some(&node))?;
        Ok((id, self.low.masks.get(&id).cloned()))
    }

    /// Operand k, a BOOL, as zeros and ones in the graph.
    pub fn truth(&mut self, k: usize) -> Result<ValueId, Problem> {
        match self.dtype(k)? {
            DType::Bool => self.whole(k),
            other => Err(Problem::found(Code::Type, format!("operand {k} is {other} where BOOL is needed"))),
        }
    }

    /// Operand k, a BOOL or integers, as whole numbers in the graph.
    pub fn whole(&mut self, k: usize) -> Result<ValueId, Problem> {
        let v = self.value(k)?;
        if let (Some(_), Some(id)) = (v.held, v.graph) {
            return Ok(id);
        }
        let host = self.known(k)?;
        let data: Vec<f32> = match &host.data {
            Data::Bool(bits) => bits.iter().map(|&b| f32::from(u8::from(b))).collect(),
            Data::Int(v) => match v.iter().find(|x| x.unsigned_abs() > 1 << 24) {
                None => v.iter().map(|&x| x as f32).collect(),
                Some(x) => return Err(unsupported(format!("an integer {x}, which binary32 may not hold"))),
            },
            _ => {
                return Err(Problem::found(
                    Code::Type,
                    format!("operand {k} is {} where integers are needed", host.dtype),
                ));
            }
        };
        Ok(self.tensor(&format!("operand {k}"), host.shape.clone(), data))
    }

    /// Is operand k BOOL or integers, made from floating-point data, so that it is only known in the run?
    pub fn undecided(&self, k: usize) -> Result<bool, Problem> {
        Ok(self.value(k)?.held.is_some())
    }

    /// Result 0 is a truth value of the graph.
    pub fn set_truth(&mut self, id: ValueId) {
        self.set_held(0, id, DType::Bool);
    }

    /// Result k is this value of the graph, which stands for BOOL or integers.
    pub fn set_held(&mut self, k: usize, id: ValueId, dtype: DType) {
        self.set(k, id);
        if let Some(v) = self.node.outputs.get(k).and_then(|n| self.low.values.get_mut(n)) {
            v.held = Some(dtype);
        }
    }

    /// Result k is what arithmetic on whole numbers gave: rounding to the nearest one makes it exact again
    /// in the eyes of the bounds, as it is in every run that keeps below 2^24.
    pub fn set_integer(&mut self, k: usize, id: ValueId, dtype: DType) -> Done {
        let id = self.emit(ops::Staircase(Steps::Round), &[id])?;
        self.set_held(k, id, dtype);
        Ok(())
    }

    /// Tells the user about this node, in one breath with others of which the same is said.
    pub fn remark(&mut self, what: String) {
        let label = self.node.label().to_string();
        match self.low.notes.iter_mut().find(|n| n.what == what) {
            Some(note) => note.nodes.push(label),
            None => self.low.notes.push(Note { warning: false, what, nodes: vec![label] }),
        }
    }

    /// Sizes of operand k.
    pub fn shape(&self, k: usize) -> Result<Vec<usize>, Problem> {
        let v = self.value(k)?;
        match (v.graph, v.host) {
            (Some(id), _) => Ok(self.low.builder.shape(id).to_vec()),
            (None, Some(host)) => Ok(host.shape.clone()),
            (None, None) => Err(Problem::Operand),
        }
    }

    /// Element type of operand k.
    pub fn dtype(&self, k: usize) -> Result<DType, Problem> {
        let v = self.value(k)?;
        Ok(v.held.unwrap_or_else(|| v.host.map_or(DType::F32, |h| h.dtype)))
    }

    /// Is operand k a tensor of floats?
    pub fn is_float(&self, k: usize) -> Result<bool, Problem> {
        Ok(self.dtype(k)?.is_float())
    }

    /// Operand k as import-time data: constants, and what derives exactly from them and from the
    /// shapes and integers among the inputs.
    pub fn known(&self, k: usize) -> Result<Arc<HostTensor>, Problem> {
        let name = self.operand(k)?;
        let v = self.value(k)?;
        let refuse = |why: &str| {
            unsupported(format!("operand {k} (\"{name}\") must be known before the run")).note(why.to_string())
        };
        let host = v.host.ok_or_else(|| refuse("it is computed from floating-point data"))?;
        if host.dtype.is_float() && !matches!(v.source, Source::Exact | Source::Folded(_)) {
            let (kind, _) = self.low.kind(&name, &v.source, &host);
            let chosen = self.low.options.params.iter().any(|p| crate::import::value::matches(p, &name));
            if kind == crate::ir::LeafKind::Parameter && chosen {
                return Err(refuse("it was chosen as a parameter, but there is no derivative with respect to it"));
            }
        }
        Ok(host)
    }

    /// Operand k as places that the graph differentiates by as well: known, and maybe a parameter.
    pub fn known_places(&self, k: usize) -> Result<Arc<HostTensor>, Problem> {
        let name = self.operand(k)?;
        self.value(k)?.host.ok_or_else(|| {
            let note = "which entries are read depends on floating-point data";
            unsupported(format!("operand {k} (\"{name}\") must be known before the run")).note(note)
        })
    }

    /// Is operand k import-time data?
    pub fn has_host(&self, k: usize) -> Result<bool, Problem> {
        Ok(self.value(k)?.host.is_some())
    }

    /// Is operand k import-time data, and neither an input nor a parameter?
    pub fn is_constant(&self, k: usize) -> Result<bool, Problem> {
        let name = self.operand(k)?;
        let v = self.value(k)?;
        let Some(host) = &v.host else { return Ok(false) };
        let name = self.low.resolve(&name);
        Ok(self.low.kind(name, &v.source, host).0 == crate::ir::LeafKind::Constant)
    }

    /// Operand k as integers.
    pub fn known_ints(&self, k: usize) -> Result<Vec<i64>, Problem> {
        let host = self.known(k)?;
        match host.as_int() {
            Some(v) => Ok(v.to_vec()),
            None => Err(Problem::found(Code::Type, format!("operand {k} is {} where integers are needed", host.dtype))),
        }
    }

    /// Operand k as one finite binary32 number.
    pub fn known_scalar(&self, k: usize) -> Result<f32, Problem> {
        let host = self.known(k)?;
        match (host.as_f32(), host.len()) {
            (Some(v), 1) => Ok(v[0]),
            _ => Err(invalid(format!(
                "operand {k} is {} of shape {:?} where one FLOAT is needed",
                host.dtype, host.shape
            ))),
        }
    }

    /// May the node be computed at import time? All operands are known, and none is a tensor that a
    /// gradient may be wanted for (those are handled by the graph).
    pub fn foldable(&self) -> Result<bool, Problem> {
        let mut all = true;
        for k in (0..self.operands()).filter(|&k| self.has(k)) {
            let v = self.value(k)?;
            let small = |h: &HostTensor| h.len() <= FOLDED;
            all &= match (&v.host, &v.source) {
                (None, _) => false,
                (Some(h), _) if !h.dtype.is_float() => true,
                (Some(_), Source::Exact | Source::Folded(_)) => !self.forced,
                (Some(h), Source::Initializer | Source::ConstantNode) => small(h) && !self.forced,
                // DOUBLE and 16-bit constants have no place in the graph: they can only be folded
                _ => false,
            };
        }
        Ok(all)
    }

    /// Result k is import-time data. Floats computed from floats may still be wanted in the graph.
    pub fn set_known(&mut self, k: usize, host: HostTensor) {
        let Some(name) = self.node.outputs.get(k).filter(|n| !n.is_empty()).cloned() else { return };
        let from_floats = (0..self.operands()).any(|k| self.is_float(k).unwrap_or(false));
        let source =
            if host.dtype.is_float() && from_floats { Source::Folded(self.node.clone()) } else { Source::Exact };
        self.low.values.insert(name, Value { source, host: Some(Arc::new(host)), graph: None, held: None });
    }

    /// Result k is this value of the graph.
    pub fn set(&mut self, k: usize, id: ValueId) {
        let Some(name) = self.node.outputs.get(k).filter(|n| !n.is_empty()).cloned() else { return };
        if self.low.builder.leaf_kind(id).is_none() {
            self.low.named.entry(id).or_insert_with(|| name.clone());
        }
        // when lowered late, the import-time data stays for those who need it
        let host = if self.forced { self.low.values.get(&name).and_then(|v| v.host.clone()) } else { None };
        self.low.aliases.remove(&name);
        self.low.values.insert(name, Value { source: Source::Computed, host, graph: Some(id), held: None });
    }

    /// Result k is operand `from` itself, under its name.
    pub fn alias(&mut self, k: usize, from: usize) -> Done {
        let name = self.operand(from)?;
        self.alias_name(k, &name)
    }

    /// Result k is the value of this name.
    pub fn alias_name(&mut self, k: usize, from: &str) -> Done {
        self.low.value(from)?;
        let root = self.low.resolve(from).to_string();
        let Some(name) = self.node.outputs.get(k).filter(|n| !n.is_empty()).cloned() else { return Ok(()) };
        // a branch may name its result like the node's own
        if name != root {
            self.low.aliases.insert(name, root);
        }
        Ok(())
    }

    /// Result 0 is operand 0, its entries moved: import-time data if it is that, else a `Gather`.
    pub fn moved(&mut self, shape: Vec<usize>, index: Index) -> Done {
        self.moved_to(0, 0, shape, index)
    }

    /// Result k is operand `from`, its entries moved.
    pub fn moved_to(&mut self, k: usize, from: usize, shape: Vec<usize>, index: Index) -> Done {
        let v = self.value(from)?;
        let fold = match (&v.host, &v.source) {
            (None, _) => false,
            (Some(h), _) if h.dtype != DType::F32 => true,
            (Some(_), Source::Exact | Source::Folded(_)) => !self.forced,
            (Some(h), Source::Initializer | Source::ConstantNode) => h.len() <= FOLDED && !self.forced,
            _ => false,
        };
        if let (true, Some(host)) = (fold, &v.host) {
            if host.data == crate::data::Data::Opaque {
                return Err(Problem::found(Code::Type, format!("tensors of {} aren't supported", host.dtype)));
            }
            let host = index::apply(host, shape, &index);
            self.set_known(k, host);
            return Ok(());
        }
        let x = if v.held.is_some() { self.whole(from)? } else { self.graph(from)? };
        let y = self.gather(x, shape, index)?;
        match v.held {
            Some(dtype) => self.set_held(k, y, dtype),
            None => self.set(k, y),
        }
        Ok(())
    }

    /// Integer attribute.
    pub fn int(&self, name: &str, default: i64) -> Result<i64, Problem> {
        match self.node.attributes.get(name) {
            None => Ok(default),
            Some(Attribute::Int(i)) => Ok(*i),
            Some(_) => Err(invalid(format!("attribute \"{name}\" isn't an integer"))),
        }
    }

    /// Float attribute, finite.
    pub fn float(&self, name: &str, default: f32) -> Result<f32, Problem> {
        match self.node.attributes.get(name) {
            None => Ok(default),
            Some(Attribute::Float(x)) if x.is_finite() => Ok(*x),
            Some(Attribute::Float(x)) => Err(invalid(format!("attribute \"{name}\" is {x}"))),
            Some(_) => Err(invalid(format!("attribute \"{name}\" isn't a float"))),
        }
    }

    /// Attribute with a list of integers.
    pub fn ints(&self, name: &str) -> Result<Option<Vec<i64>>, Problem> {
        match self.node.attributes.get(name) {
            None => Ok(None),
            Some(Attribute::Ints(v)) => Ok(Some(v.clone())),
            Some(_) => Err(invalid(format!("attribute \"{name}\" isn't a list of integers"))),
        }
    }

    /// Attribute with a text.
    pub fn text(&self, name: &str, default: &str) -> Result<String, Problem> {
        match self.node.attributes.get(name) {
            None => Ok(default.to_string()),
            Some(Attribute::Str(s)) => Ok(s.clone()),
            Some(_) => Err(invalid(format!("attribute \"{name}\" isn't a string"))),
        }
    }

    /// A switch: 0 or 1.
    pub fn flag(&self, name: &str, default: bool) -> Result<bool, Problem> {
        match self.int(name, i64::from(default))? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(invalid(format!("attribute \"{name}\" is {other}, neither 0 nor 1"))),
        }
    }

    /// Axes: an attribute before opset `since`, operand `k` from then on; `None` when not given.
    pub fn axes(&self, k: usize, since: i64) -> Result<Option<Vec<i64>>, Problem> {
        if self.opset < since {
            return self.ints("axes");
        }
        if self.has(k) { Ok(Some(self.known_ints(k)?)) } else { Ok(None) }
    }

    /// Attribute `axis` as an axis of a tensor with `rank` dimensions.
    pub fn axis(&self, default: i64, rank: usize) -> Result<usize, Problem> {
        let a = self.int("axis", default)?;
        index::axis(a, rank).map_err(invalid)
    }
}
