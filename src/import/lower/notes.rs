//! What can be seen in a file that its author should know.

use crate::import::model::{Attribute, Node, OnnxModel};
use crate::import::value::Note;

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
    let trimmed =
        |n: &&Node| n.metadata.iter().any(|(k, v)| k.ends_with("rule_name") && v.contains("RemoveOptionalBias"));
    let trimmed: Vec<String> = nodes.iter().filter(trimmed).map(|n| n.label().to_string()).collect();
    if !trimmed.is_empty() {
        let what = "PyTorch's exporter removed biases that are zero: they aren't among the parameters";
        out.push(Note { warning: false, what: what.to_string(), nodes: trimmed });
    }
    out
}
