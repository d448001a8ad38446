//! What can be seen in a file that its author should know.

use std::collections::{BTreeMap, BTreeSet};

use crate::import::model::{Attribute, Node, OnnxModel};
use crate::import::value::{Note, folded_name, weight};

/// Warnings about the model as written.
///
/// PyTorch's newer exporter (`dynamo=True`) writes batch normalization in evaluation mode even when
/// the module trains, and by default folds it into the convolution before it. What remains shows.
pub fn of(model: &OnnxModel) -> Vec<Note> {
    let mut out = Vec::new();
    let nodes = &model.graph.nodes;
    let mut warn = |what: &str, found: Vec<&Node>| {
        if !found.is_empty() {
            let nodes = found.iter().map(|n| n.label().to_string()).collect();
            out.push(Note { warning: true, what: what.to_string(), nodes });
        }
    };
    let fused = |n: &&Node| n.metadata.iter().any(|(k, v)| k.ends_with("rule_name") && v.contains("FuseBatchNorm"));
    warn(
        "PyTorch's exporter folded batch normalizations into other operators: this is the network in evaluation mode, \
         its gradients are not those of training",
        nodes.iter().filter(fused).collect(),
    );
    let scoped = |n: &Node| n.metadata.keys().any(|k| k.starts_with("pkg.torch.onnx."));
    let evaluates = |n: &&Node| {
        n.op == "BatchNormalization"
            && n.domain.is_empty()
            && !matches!(n.attributes.get("training_mode"), Some(Attribute::Int(1)))
    };
    if model.producer.0 == "pytorch" && nodes.iter().any(scoped) {
        warn(
            "PyTorch's newer exporter writes batch normalization in evaluation mode even for a module that trains: \
             export with dynamo=False and training=TrainingMode.TRAINING for the gradients of training",
            nodes.iter().filter(|n| evaluates(n)).collect(),
        );
    }
    warn(
        "PyTorch's newer exporter drops label smoothing: the loss in this file has none, so its gradients are not those \
         of training",
        nodes.iter().filter(|n| smoothed(n)).collect(),
    );
    if model.producer.0 == "pytorch" && nodes.iter().any(scoped) {
        let stored = |name: &String| model.graph.initializers.iter().any(|(i, _)| i == name);
        let folded = |n: &&Node| {
            let mut read = n.inputs.iter().enumerate();
            n.domain.is_empty() && read.any(|(k, i)| weight(&n.op, k) && folded_name(i) && stored(i))
        };
        warn(
            "PyTorch's newer exporter stored transposed or joined weights as tensors of their own: they have lost their names, and \
             one that is shared with another layer has its gradient in two parts",
            nodes.iter().filter(folded).collect(),
        );
    }
    let joined: Vec<String> = joined(nodes).into_iter().map(str::to_string).collect();
    if !joined.is_empty() {
        let what = "PyTorch's newer exporter keeps one of several equal tensors, as fresh biases and scales are: unless \
                    you tied these parameters yourself, their gradients are sums over layers that train apart";
        out.push(Note { warning: true, what: what.to_string(), nodes: joined });
    }
    let trimmed =
        |n: &&Node| n.metadata.iter().any(|(k, v)| k.ends_with("rule_name") && v.contains("RemoveOptionalBias"));
    let trimmed: Vec<String> = nodes.iter().filter(trimmed).map(|n| n.label().to_string()).collect();
    if !trimmed.is_empty() {
        let what = "PyTorch's exporter removed biases that are zero: they aren't among the parameters";
        out.push(Note { warning: false, what: what.to_string(), nodes: trimmed });
    }
    out
}

/// Parameters that layers of one kind share although only one of them is the module that the name tells.
fn joined(nodes: &[Node]) -> BTreeSet<&str> {
    // "['', 'net', 'net.fc1', 'linear']"
    let within = |n: &Node, module: &str| {
        n.metadata.get("pkg.torch.onnx.name_scopes").map(|s| s.contains(&format!("'{module}'")))
    };
    let mut readers: BTreeMap<(&str, &str, usize), Vec<&Node>> = BTreeMap::new();
    for n in nodes {
        for (k, name) in n.inputs.iter().enumerate().filter(|(_, name)| name.contains('.')) {
            readers.entry((name, &n.op, k)).or_default().push(n);
        }
    }
    let shared = readers.into_iter().filter(|((name, _, _), all)| {
        let module = name.rsplit_once('.').map_or("", |(module, _)| module);
        let inside = |is: bool| all.iter().any(|n| within(n, module) == Some(is));
        inside(true) && inside(false)
    });
    shared.map(|((name, _, _), _)| name).collect()
}

/// Was this loss called with label smoothing? The exporter keeps the call:
/// `cross_entropy_loss.default](args = (%x, %y, None, 1, -100, 0.1), kwargs = {})`.
fn smoothed(n: &Node) -> bool {
    let Some(call) = n.metadata.get("pkg.torch.onnx.fx_node").filter(|c| c.contains("cross_entropy_loss")) else {
        return false;
    };
    let between = |from: &str, to: &str| call.split_once(from).and_then(|(_, r)| r.split_once(to)).map(|(a, _)| a);
    let number = |s: &str| s.trim().parse::<f64>().is_ok_and(|x| x != 0.0);
    let sixth = between("args = (", ")").and_then(|a| a.split(',').nth(5));
    let named = call.split_once("label_smoothing").map(|(_, r)| {
        let r = r.trim_start_matches([':', '=', '\'', ' ']);
        &r[..r.find([',', '}', ')']).unwrap_or(r.len())]
    });
    sixth.is_some_and(number) || named.is_some_and(number)
}
