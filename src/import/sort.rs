//! Names and order: every value has one producer, and operands come before their users.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

use super::model::{Attribute, Graph, Node};
use crate::error::{Code, Diagnostic, Diagnostics};

/// Names that a node reads: its operands, and what its subgraphs take from outside.
pub fn reads(node: &Node) -> Vec<&str> {
    let mut out: Vec<&str> = node.inputs.iter().map(String::as_str).filter(|s| !s.is_empty()).collect();
    for attribute in node.attributes.values() {
        if let Attribute::Graph(g) = attribute {
            captured(g, &mut out);
        }
    }
    out
}

/// Names that a subgraph reads but doesn't define.
fn captured<'a>(g: &'a Graph, out: &mut Vec<&'a str>) {
    let defined: HashSet<&str> = g
        .inputs
        .iter()
        .map(|v| v.name.as_str())
        .chain(g.initializers.iter().map(|(n, _)| n.as_str()))
        .chain(g.nodes.iter().flat_map(|n| n.outputs.iter().map(String::as_str)))
        .collect();
    let wanted = g.nodes.iter().flat_map(reads).chain(g.outputs.iter().map(|v| v.name.as_str()));
    out.extend(wanted.filter(|name| !defined.contains(name)));
}

/// Puts nodes into topological order (Kahn's algorithm, earliest position in the file first, so a
/// sorted file keeps its order). `outer` are the values that exist before the first node.
///
/// Errors: values produced twice, operands that nothing produces, cycles. `describe` makes the
/// diagnostic's place.
pub fn sort(
    nodes: Vec<Node>,
    outer: &HashSet<&str>,
    describe: &dyn Fn(Diagnostic, &Node) -> Diagnostic,
    problems: &mut Diagnostics,
) -> Vec<Node> {
    let before = problems.0.len();
    let mut producer: HashMap<&str, usize> = HashMap::new();
    for (i, node) in nodes.iter().enumerate() {
        for name in node.outputs.iter().filter(|o| !o.is_empty()) {
            if outer.contains(name.as_str()) || producer.insert(name, i).is_some() {
                let what = format!("value \"{name}\" is produced more than once");
                problems.push(describe(Diagnostic::new(Code::Graph, what), node));
            }
        }
    }
    let mut waiting = vec![0usize; nodes.len()];
    let mut users: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    for (i, node) in nodes.iter().enumerate() {
        let mut operands = reads(node);
        operands.sort_unstable();
        operands.dedup();
        for name in operands {
            if let Some(&p) = producer.get(name) {
                waiting[i] += 1;
                users[p].push(i);
            } else if !outer.contains(name) {
                let what = format!("operand \"{name}\" is neither an input, nor an initializer, nor any node's output");
                problems.push(describe(Diagnostic::new(Code::Graph, what), node));
            }
        }
    }
    let mut ready: BinaryHeap<Reverse<usize>> = (0..nodes.len()).filter(|&i| waiting[i] == 0).map(Reverse).collect();
    let mut order = Vec::with_capacity(nodes.len());
    while let Some(Reverse(i)) = ready.pop() {
        order.push(i);
        for &u in &users[i] {
            waiting[u] -= 1;
            if waiting[u] == 0 {
                ready.push(Reverse(u));
            }
        }
    }
    if order.len() < nodes.len() {
        // any unordered node reads another unordered one: walk back until one repeats
        let start = (0..nodes.len()).find(|&i| waiting[i] > 0).unwrap_or(0);
        let mut seen = Vec::new();
        let mut at = start;
        while !seen.contains(&at) {
            seen.push(at);
            let next = reads(&nodes[at]).into_iter().filter_map(|n| producer.get(n)).copied().find(|&p| waiting[p] > 0);
            at = next.unwrap_or(at);
        }
        let first = seen.iter().position(|&i| i == at).unwrap_or(0);
        let names: Vec<String> =
            seen[first..].iter().rev().take(6).map(|&i| format!("\"{}\"", nodes[i].label())).collect();
        let what = format!("the graph has a cycle of {} nodes: {}", seen.len() - first, names.join(" → "));
        problems.push(describe(Diagnostic::new(Code::Graph, what), &nodes[at]));
    }
    if problems.0.len() > before {
        return nodes;
    }
    let mut slots: Vec<Option<Node>> = nodes.into_iter().map(Some).collect();
    order.into_iter().filter_map(|i| slots[i].take()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn node(inputs: &[&str], outputs: &[&str]) -> Node {
        Node {
            name: String::new(),
            op: "Op".into(),
            domain: String::new(),
            opset: 17,
            inputs: inputs.iter().map(|s| s.to_string()).collect(),
            outputs: outputs.iter().map(|s| s.to_string()).collect(),
            attributes: BTreeMap::new(),
            doc: String::new(),
            metadata: HashMap::new(),
        }
    }

    fn run(nodes: Vec<Node>) -> (Vec<String>, String) {
        let mut problems = Diagnostics::default();
        let sorted = sort(nodes, &HashSet::from(["x"]), &|d, n| d.node(n.label(), "Op", 1), &mut problems);
        (sorted.iter().map(|n| n.label().to_string()).collect(), problems.to_string())
    }

    #[test]
    fn operands_come_before_users_and_file_order_is_kept_otherwise() {
        let nodes =
            vec![node(&["c", "a"], &["d"]), node(&["x", "x"], &["a"]), node(&["x"], &["b"]), node(&["b"], &["c"])];
        assert_eq!(run(nodes).0, ["a", "b", "c", "d"]);
        let sorted = vec![node(&["x"], &["b"]), node(&["x"], &["a"])];
        assert_eq!(run(sorted).0, ["b", "a"]);
    }

    #[test]
    fn cycles_duplicates_and_missing_operands_are_named() {
        assert!(
            run(vec![node(&["x", "c"], &["a"]), node(&["a"], &["b"]), node(&["b"], &["c"])])
                .1
                .contains("cycle of 3 nodes")
        );
        assert!(run(vec![node(&["a"], &["a"])]).1.contains("cycle of 1 nodes"));
        assert!(run(vec![node(&["x"], &["a"]), node(&["x"], &["a"])]).1.contains("\"a\" is produced more than once"));
        assert!(run(vec![node(&["x"], &["x"])]).1.contains("\"x\" is produced more than once"));
        assert!(run(vec![node(&["ghost", ""], &["a"])]).1.contains("\"ghost\" is neither"));
    }
}
