//! Which tensors of the file are gradients that it computes itself, and of what.

use std::collections::HashMap;

use super::Lowering;
use crate::import::value::{Pair, Stated};
use crate::ir::ValueId;

impl Lowering<'_> {
    /// The stated gradients among the outputs; and every value T with the file's `T_grad`, where T is
    /// told apart from all other values (an Identity makes one value of two names, and the cotangent of
    /// one of them need not be that of both).
    pub(super) fn stated(&self, outputs: &[(String, ValueId)]) -> (Vec<Stated>, Vec<Pair>) {
        let plan = &self.model.plan;
        if plan.stated.is_empty() {
            return (Vec::new(), Vec::new());
        }
        let id = |name: &str| self.values.get(self.resolve(name)).and_then(|v| v.graph);
        let stated = plan.stated.iter().filter_map(|(parameter, tensor)| {
            let (_, gradient) = outputs.iter().find(|(n, _)| n == tensor)?;
            let (leaf, gradient) = (id(parameter), *gradient);
            Some(Stated { parameter: parameter.clone(), leaf, tensor: tensor.clone(), gradient })
        });
        let mut names: HashMap<ValueId, usize> = HashMap::new();
        for name in self.values.keys().chain(self.aliases.keys()) {
            id(name).into_iter().for_each(|v| *names.entry(v).or_default() += 1);
        }
        let mut pairs = Vec::new();
        for node in &self.model.graph.nodes {
            for tensor in &node.outputs {
                let Some(name) = tensor.strip_suffix("_grad") else { continue };
                let (Some(value), Some(cotangent)) = (id(name), id(tensor)) else { continue };
                if names[&value] == 1 {
                    let (node, op) = (node.label().to_string(), node.full_op());
                    pairs.push(Pair { value, cotangent, tensor: tensor.clone(), node, op });
                }
            }
        }
        (stated.collect(), pairs)
    }
}
