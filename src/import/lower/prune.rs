//! The finished graph: only what the outputs need, with names, leaves and seeds renumbered.

use std::collections::HashMap;

use crate::import::value::{LeafInfo, Lowered, Pair, Stated};
use crate::ir::{Origin, ValueId};
use crate::ops::Builder;

/// Drops leaves and nodes that no output reads, such as values that were only measured. `parts` are
/// told by the ids that the builder handed out; its graph is empty.
pub(super) fn finish(builder: Builder, parts: Lowered, named: HashMap<ValueId, String>) -> Lowered {
    let Lowered { outputs, exact_outputs, seeds, leaves, notes, stated, pairs, drawn, .. } = parts;
    let (graph, renumber) = builder.finish();
    let count = graph.leaves().len();
    let mut live = vec![false; graph.len()];
    outputs.iter().for_each(|(_, v)| live[renumber(*v).index()] = true);
    for (k, node) in graph.nodes().iter().enumerate().rev() {
        if live[count + k] {
            node.operands.iter().for_each(|o| live[o.index()] = true);
        }
    }
    let names: HashMap<ValueId, String> = named.into_iter().map(|(v, n)| (renumber(v), n)).collect();
    let mut kept = Builder::new();
    let mut new: Vec<Option<ValueId>> = vec![None; graph.len()];
    for (i, leaf) in graph.leaves().iter().enumerate().filter(|(i, _)| live[*i]) {
        new[i] = Some(kept.leaf(leaf.clone()));
    }
    let at = |new: &[Option<ValueId>], v: ValueId| new[v.index()].expect("what a live node reads is live");
    let mut origin: Option<&Origin> = None;
    for (k, node) in graph.nodes().iter().enumerate().filter(|(k, _)| live[count + k]) {
        let from = &graph.origins()[node.origin];
        if origin != Some(from) {
            kept.at(from.clone());
            origin = Some(from);
        }
        let operands: Vec<ValueId> = node.operands.iter().map(|&o| at(&new, o)).collect();
        let id = kept.node(node.op.clone(), &operands).expect("the shapes fitted before");
        new[count + k] = Some(id);
        if let Some(name) = names.get(&graph.node_id(k)) {
            kept.name(id, name);
        }
    }
    let place = |v: ValueId| at(&new, renumber(v));
    let outputs: Vec<_> = outputs.into_iter().map(|(n, v)| (n, place(v))).collect();
    let seeds: Vec<_> = seeds.into_iter().map(|(n, v, t)| (n, place(v), t)).collect();
    let mut leaves: Vec<LeafInfo> =
        leaves.into_iter().filter_map(|l| new[renumber(l.id).index()].map(|id| LeafInfo { id, ..l })).collect();
    let try_place = |v: ValueId| new[renumber(v).index()];
    let (graph, last) = kept.finish();
    let outputs = outputs.into_iter().map(|(n, v)| (n, last(v))).collect();
    let seeds = seeds.into_iter().map(|(n, v, t)| (n, last(v), t)).collect();
    let stated = stated
        .into_iter()
        .map(|s| Stated { leaf: s.leaf.and_then(try_place).map(&last), gradient: last(place(s.gradient)), ..s })
        .collect();
    let pairs = pairs
        .into_iter()
        .filter_map(|p| {
            let (value, cotangent) = (last(try_place(p.value)?), last(try_place(p.cotangent)?));
            Some(Pair { value, cotangent, ..p })
        })
        .collect();
    leaves.iter_mut().for_each(|l| l.id = last(l.id));
    leaves.sort_by_key(|l| l.id);
    Lowered { graph, outputs, exact_outputs, seeds, leaves, notes, stated, pairs, drawn }
}
