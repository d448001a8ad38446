//! A node's attributes in words, as graph viewers show them: short texts.

use super::model::{Attribute, Graph, Node};
use crate::data::{Data, HostTensor};
use crate::ir;

/// So many entries of a list or a tensor are written out.
const ENTRIES: usize = 8;
/// So many characters of a text.
const CHARACTERS: usize = 60;

/// The attributes of a node, by name.
pub fn attributes(node: &Node) -> Vec<ir::Attribute> {
    let one = |(name, a): (&String, &Attribute)| {
        let (kind, value) = shown(a);
        ir::Attribute { name: name.clone(), kind, value }
    };
    node.attributes.iter().map(one).collect()
}

/// ONNX's name of the type, and the value.
fn shown(a: &Attribute) -> (&'static str, String) {
    match a {
        Attribute::Float(x) => ("FLOAT", float(x)),
        Attribute::Int(n) => ("INT", n.to_string()),
        Attribute::Str(s) => ("STRING", cut(s)),
        Attribute::Tensor(t) => ("TENSOR", tensor(t)),
        Attribute::Graph(g) => ("GRAPH", graph(g)),
        Attribute::Floats(v) => ("FLOATS", list(v, float)),
        Attribute::Ints(v) => ("INTS", list(v, i64::to_string)),
        Attribute::Strs(v) => ("STRINGS", list(v, |s| cut(s))),
        Attribute::Reference(name) => ("REFERENCE", format!("the function's {}", cut(name))),
        Attribute::Other(kind) => (kind, "not read".into()),
    }
}

/// The fewest decimals that read back to the same bits.
fn float(x: &f32) -> String {
    format!("{x:?}")
}

/// The beginning, and how much follows.
fn cut(s: &str) -> String {
    match s.chars().count().saturating_sub(CHARACTERS) {
        0 => s.to_string(),
        more => format!("{}… and {more} characters more", s.chars().take(CHARACTERS).collect::<String>()),
    }
}

/// The first entries, and how many follow.
fn list<T>(entries: &[T], text: impl Fn(&T) -> String) -> String {
    let mut first: Vec<String> = entries.iter().take(ENTRIES).map(text).collect();
    if entries.len() > ENTRIES {
        first.push(format!("… and {} more", entries.len() - ENTRIES));
    }
    format!("[{}]", first.join(", "))
}

/// Type and sizes, then the entries.
fn tensor(t: &HostTensor) -> String {
    let sizes: Vec<String> = t.shape.iter().map(usize::to_string).collect();
    let entries = match &t.data {
        Data::F32(v) => list(v, float),
        Data::F64(v) => list(v, |x| format!("{x:?}")),
        Data::Int(v) => list(v, i64::to_string),
        Data::Bool(v) => list(v, bool::to_string),
        Data::Opaque => "not read".into(),
    };
    format!("{}[{}] {entries}", t.dtype.numpy(), sizes.join(","))
}

fn graph(g: &Graph) -> String {
    format!("{}: {} nodes, {} inputs, {} outputs", cut(&g.name), g.nodes.len(), g.inputs.len(), g.outputs.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_short_and_say_what_is_left_out() {
        let text = |a: Attribute| shown(&a).1;
        assert_eq!(text(Attribute::Float(1e-5)), "1e-5");
        assert_eq!(text(Attribute::Ints(vec![1, -2])), "[1, -2]");
        assert_eq!(text(Attribute::Ints((0..20).collect())), "[0, 1, 2, 3, 4, 5, 6, 7, … and 12 more]");
        assert_eq!(text(Attribute::Str("NOTSET".into())), "NOTSET");
        assert_eq!(text(Attribute::Str("é".repeat(70))), format!("{}… and 10 characters more", "é".repeat(60)));
        let t = HostTensor::f32(vec![3, 4], vec![0.5; 12]);
        let long = "float32[3,4] [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, … and 4 more]";
        assert_eq!(text(Attribute::Tensor(t.into())), long);
        assert_eq!(text(Attribute::Tensor(HostTensor::f32(vec![], vec![2.0]).into())), "float32[] [2.0]");
        let body = Graph { name: "body".into(), ..Graph::default() };
        assert_eq!(text(Attribute::Graph(Box::new(body))), "body: 0 nodes, 0 inputs, 0 outputs");
        assert_eq!(shown(&Attribute::Other("TYPE_PROTO")), ("TYPE_PROTO", "not read".into()));
    }
}
