//! Nodes under other names: bodies of functions and subgraphs put in place of what calls them.

use std::collections::BTreeMap;

use super::model::{Attribute, Graph, Node, ValueInfo};

/// How names and attribute references are replaced.
pub struct Renaming<'a> {
    /// The new name of a value; never asked about "".
    pub value: &'a dyn Fn(&str) -> String,
    /// What stands for a reference to an attribute of the caller; `None` where there is none to replace.
    pub attribute: Option<&'a dyn Fn(&str) -> Option<Attribute>>,
}

impl Renaming<'_> {
    fn name(&self, name: &String) -> String {
        if name.is_empty() { String::new() } else { (self.value)(name) }
    }

    /// The node with its values renamed, subgraphs included. An attribute that the caller leaves out is
    /// left out inside as well.
    pub fn node(&self, node: &Node) -> Node {
        let mut attributes = BTreeMap::new();
        for (key, value) in &node.attributes {
            let value = match (value, self.attribute) {
                (Attribute::Reference(outer), Some(actual)) => match actual(outer) {
                    Some(v) => v,
                    None => continue,
                },
                (Attribute::Graph(g), _) => Attribute::Graph(Box::new(self.graph(g))),
                (other, _) => other.clone(),
            };
            attributes.insert(key.clone(), value);
        }
        Node {
            inputs: node.inputs.iter().map(|n| self.name(n)).collect(),
            outputs: node.outputs.iter().map(|n| self.name(n)).collect(),
            attributes,
            ..node.clone()
        }
    }

    fn graph(&self, g: &Graph) -> Graph {
        let infos =
            |list: &[ValueInfo]| list.iter().map(|v| ValueInfo { name: self.name(&v.name), ..v.clone() }).collect();
        Graph {
            name: g.name.clone(),
            nodes: g.nodes.iter().map(|n| self.node(n)).collect(),
            initializers: g.initializers.iter().map(|(n, t)| (self.name(n), t.clone())).collect(),
            inputs: infos(&g.inputs),
            outputs: infos(&g.outputs),
        }
    }
}
