//! Values for the graph's inputs, from an npz archive or a folder of ONNX tensors.

use std::collections::BTreeMap;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::model::{Dim, OnnxModel, ValueInfo};
use super::tensor::{decode_file, hex};
use crate::data::{DType, Data, HostTensor, npz};
use crate::error::{Code, Diagnostic, Diagnostics};

/// Where the input values come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// An npz archive.
    Archive(String),
    /// A folder with `input_0.pb`, `input_1.pb`, …
    Folder(String),
    /// Drawn from a seed: not data that anybody has.
    Synthetic(u64),
}

/// A value for every graph input, checked against what the model states about it.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// Values in the order of the graph's inputs.
    pub values: Vec<(String, HostTensor)>,
    /// Where they come from.
    pub source: Source,
    /// SHA-256 of the archive; of the tensor files' bytes one after the other; or of the npz
    /// archive that [`npz::write`] makes of synthetic values.
    pub sha256: String,
}

impl Inputs {
    /// Inputs from a path: a folder of `input_k.pb`, or an npz archive keyed by input name.
    pub fn read(path: &Path, model: &OnnxModel) -> Result<Inputs, Diagnostics> {
        if path.is_dir() { Inputs::folder(path, model) } else { Inputs::archive(path, model) }
    }

    fn archive(path: &Path, model: &OnnxModel) -> Result<Inputs, Diagnostics> {
        let file = path.display().to_string();
        let bytes = crate::limits::read(path)
            .map_err(|e| Diagnostic::new(Code::Io, format!("the inputs can't be read: {e}")).file(&file))?;
        let arrays = npz::read(&bytes, &file)?;
        Inputs::check(arrays, model, Source::Archive(file), hex(&Sha256::digest(&bytes)))
    }

    /// Inputs that no array can stand for.
    pub(super) fn refused(model: &OnnxModel) -> Result<(), Diagnostics> {
        let mut problems = Diagnostics::default();
        for info in &model.graph.inputs {
            if let Some(DType::Other(what)) = info.dtype {
                let what = format!("input \"{}\" is of type {what}", info.name);
                let note = "only tensors of numbers and truth values are certified";
                problems.push(Diagnostic::new(Code::Type, what).file(&model.file).note(note));
            }
        }
        problems.into_result(())
    }

    /// The k-th file belongs to the k-th input that isn't an initializer.
    fn folder(path: &Path, model: &OnnxModel) -> Result<Inputs, Diagnostics> {
        let mut problems = Diagnostics::default();
        let mut hash = Sha256::new();
        let mut arrays = Vec::new();
        Inputs::refused(model)?;
        for (k, info) in model.graph.inputs.iter().enumerate() {
            let file = path.join(format!("input_{k}.pb"));
            let name = file.display().to_string();
            match crate::limits::read(&file) {
                Err(e) => {
                    let what = format!("input \"{}\" can't be read: {e}", info.name);
                    problems.push(Diagnostic::new(Code::Io, what).file(name));
                }
                Ok(bytes) => {
                    hash.update(&bytes);
                    match decode_file(&bytes, path) {
                        Ok((_, tensor)) => arrays.push((info.name.clone(), tensor)),
                        Err(e) => problems.push(Diagnostic::new(Code::Malformed, e).file(name)),
                    }
                }
            }
        }
        problems.into_result(())?;
        Inputs::check(arrays, model, Source::Folder(path.display().to_string()), hex(&hash.finalize()))
    }

    /// Values given by name, checked against the model's inputs.
    pub fn check(
        arrays: Vec<(String, HostTensor)>,
        model: &OnnxModel,
        source: Source,
        sha256: String,
    ) -> Result<Inputs, Diagnostics> {
        let mut problems = Diagnostics::default();
        let mut given: BTreeMap<String, HostTensor> = arrays.into_iter().collect();
        let mut sizes: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
        let mut values = Vec::new();
        for info in &model.graph.inputs {
            let bad =
                |why: String| Diagnostic::new(Code::Input, format!("input \"{}\" {why}", info.name)).file(&model.file);
            let Some(tensor) = given.remove(&info.name) else {
                problems.push(
                    bad("has no value".into()).help("the keys of the npz archive are the names of the graph's inputs"),
                );
                continue;
            };
            match convert(tensor, info.dtype) {
                Err(why) => problems.push(bad(why)),
                Ok(tensor) => {
                    // what a target has to fit is the value that the loss is of, whatever the file states of it
                    let target = model.plan.target.as_ref() == Some(&info.name);
                    if let (false, Err(why)) = (target, fits(&tensor, info, &mut sizes)) {
                        problems.push(bad(why));
                    }
                    values.push((info.name.clone(), tensor));
                }
            }
        }
        for name in given.keys() {
            let names: Vec<String> = model.graph.inputs.iter().map(|v| format!("\"{}\"", v.name)).collect();
            problems.push(
                Diagnostic::new(Code::Input, format!("the graph has no input \"{name}\""))
                    .file(&model.file)
                    .note(format!("its inputs are {}", names.join(", "))),
            );
        }
        problems.into_result(Inputs { values, source, sha256 })
    }
}

/// Brings a value to the type that the model states, if that loses nothing.
pub(super) fn convert(t: HostTensor, want: Option<DType>) -> Result<HostTensor, String> {
    let Some(want) = want.filter(|w| *w != t.dtype) else {
        return if t.data == Data::Opaque { Err(format!("is a tensor of {}", t.dtype)) } else { Ok(t) };
    };
    let refuse = || format!("is a tensor of {} where the model states {want}", t.dtype);
    let exact = |x: f64| {
        let y = match want {
            DType::F32 => f64::from(x as f32),
            DType::F16 => half::f16::from_f64(x).to_f64(),
            DType::BF16 => half::bf16::from_f64(x).to_f64(),
            _ => x,
        };
        if y == x || x.is_nan() { Ok(x) } else { Err(format!("has the value {x:e}, which {want} can't hold")) }
    };
    let data = match (&t.data, want) {
        (Data::Int(v), _) if want.is_int() => {
            let (lo, hi) = want.int_range().ok_or_else(refuse)?;
            if let Some(x) = v.iter().find(|x| !(lo..=hi).contains(*x)) {
                return Err(format!("has the value {x}, which {want} can't hold"));
            }
            Data::Int(v.clone())
        }
        (Data::F32(v), DType::F64) => Data::F64(v.iter().map(|&x| f64::from(x)).collect()),
        (Data::F32(v), _) if want.is_float() => {
            v.iter().try_for_each(|&x| exact(f64::from(x)).map(drop))?;
            Data::F32(v.clone())
        }
        (Data::F64(v), DType::F32 | DType::F16 | DType::BF16) => {
            Data::F32(v.iter().map(|&x| exact(x).map(|x| x as f32)).collect::<Result<_, _>>()?)
        }
        _ => return Err(refuse()),
    };
    Ok(HostTensor { dtype: want, shape: t.shape, data })
}

pub(super) fn fits<'m>(
    t: &HostTensor,
    info: &'m ValueInfo,
    sizes: &mut BTreeMap<&'m str, (usize, &'m str)>,
) -> Result<(), String> {
    let Some(dims) = &info.dims else { return Ok(()) };
    if dims.len() != t.shape.len() {
        return Err(format!("has shape {:?} where the model states {} dimensions", t.shape, dims.len()));
    }
    for (axis, (dim, &size)) in dims.iter().zip(&t.shape).enumerate() {
        match dim {
            Dim::Size(n) if *n != size => {
                return Err(format!("has shape {:?}: size {size} of axis {axis} where the model states {n}", t.shape));
            }
            Dim::Symbol(s) => {
                let (n, first) = *sizes.entry(s).or_insert((size, &info.name));
                if n != size {
                    return Err(format!("has \"{s}\" = {size} (axis {axis}), but \"{first}\" has \"{s}\" = {n}"));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
pub(in crate::import) mod tests {
    use super::*;
    use crate::import::model::Graph;
    use std::path::PathBuf;

    pub(in crate::import) fn model(inputs: Vec<ValueInfo>) -> OnnxModel {
        OnnxModel {
            file: "m.onnx".into(),
            folder: PathBuf::new(),
            sha256: String::new(),
            external: vec![],
            ir_version: 8,
            producer: (String::new(), String::new()),
            opsets: BTreeMap::from([(String::new(), 17)]),
            graph: Graph { inputs, ..Default::default() },
            functions: BTreeMap::new(),
            training: vec![],
            metadata: vec![],
            plan: Default::default(),
        }
    }

    pub(in crate::import) fn info(name: &str, dtype: DType, dims: Vec<Dim>) -> ValueInfo {
        ValueInfo { name: name.into(), dtype: Some(dtype), dims: Some(dims) }
    }

    pub(in crate::import) fn two() -> OnnxModel {
        let n = || Dim::Symbol("N".into());
        model(vec![info("x", DType::F32, vec![n(), Dim::Size(2)]), info("y", DType::I32, vec![n()])])
    }

    fn check(arrays: Vec<(&str, HostTensor)>) -> Result<Inputs, Diagnostics> {
        let arrays = arrays.into_iter().map(|(n, t)| (n.to_string(), t)).collect();
        Inputs::check(arrays, &two(), Source::Archive("x.npz".into()), String::new())
    }

    #[test]
    fn values_are_converted_only_when_nothing_is_lost() {
        let y = HostTensor::i64(vec![1], vec![3]);
        let ok = check(vec![("y", y.clone()), ("x", HostTensor::f64(vec![1, 2], vec![0.5, 2.0]))]).unwrap();
        assert_eq!(ok.values[0].1, HostTensor::f32(vec![1, 2], vec![0.5, 2.0]));
        assert_eq!((ok.values[1].0.as_str(), ok.values[1].1.dtype), ("y", DType::I32));
        let lossy = check(vec![("y", y.clone()), ("x", HostTensor::f64(vec![1, 2], vec![0.1, 2.0]))]).unwrap_err();
        assert!(lossy.to_string().contains("1e-1, which FLOAT can't hold"), "{lossy}");
        let wide =
            check(vec![("y", HostTensor::i64(vec![1], vec![1 << 40])), ("x", HostTensor::i64(vec![1, 2], vec![1, 2]))]);
        let text = wide.unwrap_err().to_string();
        assert!(text.contains("INT32 can't hold") && text.contains("where the model states FLOAT"), "{text}");
    }

    #[test]
    fn every_misfit_is_reported() {
        let text =
            check(vec![("x", HostTensor::f32(vec![2, 3], vec![0.0; 6])), ("z", HostTensor::f32(vec![], vec![0.0]))])
                .unwrap_err()
                .to_string();
        for want in ["\"y\" has no value", "no input \"z\"", "size 3 of axis 1 where the model states 2"] {
            assert!(text.contains(want), "{want} in {text}");
        }
        let x = HostTensor::f32(vec![2, 2], vec![0.0; 4]);
        let text = check(vec![("x", x), ("y", HostTensor::i64(vec![3], vec![0; 3]))]).unwrap_err().to_string();
        assert!(text.contains("\"N\" = 3 (axis 0), but \"x\" has \"N\" = 2"), "{text}");
    }
}
