//! Weights that the model file doesn't hold: from a checkpoint, another model, or an archive.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::inputs::convert;
use super::model::OnnxModel;
use super::tensor::hex;
use super::{checkpoint, decode, safetensors};
use crate::data::{HostTensor, npz};
use crate::error::{Code, Diagnostic, Diagnostics};

/// Reads tensors by name. The kind of file shows in its content, else in its extension.
pub fn read(path: &Path) -> Result<(Vec<(String, HostTensor)>, String), Diagnostics> {
    let file = path.display().to_string();
    let bytes = crate::limits::read(path)
        .map_err(|e| Diagnostic::new(Code::Io, format!("the weights can't be read: {e}")).file(&file))?;
    let malformed = |what: String| Diagnostics::from(Diagnostic::new(Code::Malformed, what).file(&file));
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    let tensors = if checkpoint::is_checkpoint(&bytes) {
        checkpoint::read(&bytes).map_err(malformed)?
    } else if extension == "safetensors" {
        safetensors::read(&bytes).map_err(malformed)?
    } else if bytes.starts_with(b"PK") {
        npz::read(&bytes, &file)?
    } else if extension == "onnx" {
        let model = decode::from_bytes(&bytes, &file, path.parent().unwrap_or(Path::new("")))?;
        model.graph.initializers.iter().map(|(n, t)| (n.clone(), (**t).clone())).collect()
    } else {
        let d = Diagnostic::new(Code::Malformed, "these weights are of no kind that is known").file(&file);
        let help = "--weights takes a checkpoint of onnxruntime-training, an .onnx, an .npz or a .safetensors file";
        return Err(d.help(help).into());
    };
    Ok((tensors, hex(&Sha256::digest(&bytes))))
}

/// A checkpoint or forward model beside a model whose parameters are inputs, as onnxruntime-training
/// writes them into one folder.
pub fn beside(model: &OnnxModel) -> Option<PathBuf> {
    ["checkpoint", "checkpoint.ckpt", "forward.onnx"].iter().map(|n| model.folder.join(n)).find(|p| p.is_file())
}

/// Makes initializers of the inputs that `path` has values for, and gives initializers of the same
/// name its values. Inputs in `needed` must be among them.
pub fn put(model: &mut OnnxModel, path: &Path, needed: &[String]) -> Result<(), Diagnostics> {
    let (tensors, sha256) = read(path)?;
    let file = path.display().to_string();
    let mut given: BTreeMap<String, HostTensor> = tensors.into_iter().collect();
    let mut problems = Diagnostics::default();
    let mut used = 0;
    let mut inputs = Vec::new();
    for info in std::mem::take(&mut model.graph.inputs) {
        let Some(tensor) = given.remove(&info.name) else {
            inputs.push(info);
            continue;
        };
        used += 1;
        let fitted = convert(tensor, info.dtype).and_then(|t| {
            super::inputs::fits(&t, &info, &mut BTreeMap::new())?;
            Ok(t)
        });
        match fitted {
            Ok(t) => model.graph.initializers.push((info.name.clone(), Arc::new(t))),
            Err(why) => {
                problems.push(Diagnostic::new(Code::Input, format!("weight \"{}\" {why}", info.name)).file(&file));
            }
        }
    }
    for (name, old) in &mut model.graph.initializers {
        let Some(tensor) = given.remove(name) else { continue };
        used += 1;
        let shape = tensor.shape.clone();
        match convert(tensor, Some(old.dtype)) {
            Ok(t) if t.shape == old.shape => *old = Arc::new(t),
            Ok(_) => problems.push(
                Diagnostic::new(
                    Code::Input,
                    format!("weight \"{name}\" has shape {shape:?} where the model has {:?}", old.shape),
                )
                .file(&file),
            ),
            Err(why) => problems.push(Diagnostic::new(Code::Input, format!("weight \"{name}\" {why}")).file(&file)),
        }
    }
    for name in needed.iter().filter(|n| inputs.iter().any(|i| i.name == **n)) {
        let what = format!("there is no value for parameter \"{name}\"");
        problems.push(Diagnostic::new(Code::Input, what).file(&file).help("--weights FILE names the right file"));
    }
    if used == 0 && problems.0.is_empty() {
        let what = "none of its tensors has the name of an input or initializer of the model";
        problems.push(Diagnostic::new(Code::Input, what).file(&file));
    }
    model.graph.inputs = inputs;
    model.plan.weights = Some((file, sha256));
    problems.into_result(())
}
