//! Gradients made elsewhere: npz, npy, safetensors or ONNX tensors, in any binary floating-point format
//! up to binary64.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use sha2::{Digest, Sha256};

use crate::data::{DType, Data, HostTensor, npy, npz};
use crate::error::{Code, Diagnostic, Diagnostics};
use crate::import::tensor::{decode_file, hex};

/// One tensor, widened to binary64 (exact).
#[derive(Clone, Debug, PartialEq)]
pub struct GivenTensor {
    /// The name it had in the file.
    pub given_as: String,
    /// Its element type in the file.
    pub dtype: DType,
    /// Its sizes.
    pub shape: Vec<usize>,
    /// Entries, row-major; they may be NaN or infinite.
    pub data: Vec<f64>,
}

/// What one file or directory holds.
#[derive(Clone, Debug)]
pub struct Given {
    /// Last component of its name.
    pub file: String,
    /// SHA-256 of the file; for a directory over its files' names and bytes.
    pub sha256: String,
    /// By the name that the model is asked for, after `--rename`.
    pub tensors: BTreeMap<String, GivenTensor>,
}

/// `--rename FROM=TO`: tensors whose names match FROM are called TO; the k-th `*` or `?` of TO stands for
/// what the k-th of FROM matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rename {
    /// Names in the file.
    pub from: String,
    /// Names in the model.
    pub to: String,
}

impl Rename {
    /// The new name of `name`, if it matches.
    pub fn apply(&self, name: &str) -> Option<String> {
        let pattern: Vec<char> = self.from.chars().collect();
        let text: Vec<char> = name.chars().collect();
        let mut parts = capture(&pattern, &text)?.into_iter();
        Some(self.to.chars().fold(String::new(), |mut out, c| {
            match c {
                '*' | '?' => out.push_str(&parts.next().unwrap_or_default()),
                c => out.push(c),
            }
            out
        }))
    }
}

/// What the wildcards of a pattern stand for; each `*` takes as little as possible.
fn capture(pattern: &[char], text: &[char]) -> Option<Vec<String>> {
    // reach[i][j]: does pattern[i..] match text[j..]? Filled from the end, so that no pattern is slow.
    let (n, m) = (pattern.len(), text.len());
    let mut reach = vec![vec![false; m + 1]; n + 1];
    reach[n][m] = true;
    for i in (0..n).rev() {
        for j in (0..=m).rev() {
            reach[i][j] = match pattern[i] {
                '*' => reach[i + 1][j] || (j < m && reach[i][j + 1]),
                c => j < m && (c == '?' || c == text[j]) && reach[i + 1][j + 1],
            };
        }
    }
    if !reach[0][0] {
        return None;
    }
    let (mut j, mut parts) = (0, Vec::new());
    for (i, &c) in pattern.iter().enumerate() {
        let from = j;
        match c {
            '*' => {
                while !reach[i + 1][j] {
                    j += 1;
                }
                parts.push(text[from..j].iter().collect());
            }
            c => {
                j += 1;
                if c == '?' {
                    parts.push(text[from..j].iter().collect());
                }
            }
        }
    }
    Some(parts)
}

/// Reads a file or directory of tensors and renames them.
///
/// # Errors
/// Everything that can't be read, is no floating-point tensor, or would get the same name as another.
pub fn read(path: &Path, renames: &[Rename]) -> Result<Given, Diagnostics> {
    let file = path.display().to_string();
    let (arrays, sha256) = if path.is_dir() { folder(path)? } else { archive(path)? };
    let mut problems = Diagnostics::default();
    let mut tensors: BTreeMap<String, GivenTensor> = BTreeMap::new();
    let mut used = vec![false; renames.len()];
    for (given_as, t) in arrays {
        let renamed = renames.iter().enumerate().find_map(|(k, r)| r.apply(&given_as).map(|n| (k, n)));
        let name = match renamed {
            Some((k, n)) => {
                used[k] = true;
                n
            }
            None => given_as.clone(),
        };
        let data = match t.data {
            Data::F32(v) => v.into_iter().map(f64::from).collect(),
            Data::F64(v) => v,
            _ => {
                let what = format!("tensor \"{given_as}\" is of type {}", t.dtype);
                problems.push(
                    Diagnostic::new(Code::Type, what)
                        .file(&file)
                        .note("FLOAT, DOUBLE, FLOAT16 and BFLOAT16 are compared"),
                );
                continue;
            }
        };
        if let Some(other) = tensors.get(&name) {
            let what = format!("tensors \"{}\" and \"{given_as}\" are both called \"{name}\"", other.given_as);
            problems
                .push(Diagnostic::new(Code::Usage, what).file(&file).help("make the patterns of --rename narrower"));
            continue;
        }
        tensors.insert(name, GivenTensor { given_as, dtype: t.dtype, shape: t.shape, data });
    }
    for (r, _) in renames.iter().zip(used).filter(|(_, used)| !used) {
        let what = format!("--rename \"{}\" matches no tensor, or one renamed before", r.from);
        problems.push(Diagnostic::new(Code::Usage, what).file(&file));
    }
    if tensors.is_empty() && problems.0.is_empty() {
        problems.push(
            Diagnostic::new(Code::Input, "there is no tensor in it")
                .file(&file)
                .help("one array for each parameter, under the parameter's name (`certify inspect MODEL` lists them)"),
        );
    }
    let base = path.file_name().map_or_else(|| file.clone(), |n| n.to_string_lossy().into_owned());
    problems.into_result(Given { file: base, sha256, tensors })
}

type Arrays = (Vec<(String, HostTensor)>, String);

fn io(path: &Path) -> impl Fn(std::io::Error) -> Diagnostics + '_ {
    move |e| {
        let file = path.display().to_string();
        Diagnostic::new(Code::Io, format!("the gradients can't be read: {e}")).file(file).into()
    }
}

/// One file: what it is shows in its first bytes; safetensors has no mark but its suffix.
fn archive(path: &Path) -> Result<Arrays, Diagnostics> {
    let bytes = crate::limits::read(path).map_err(io(path))?;
    let hash = hex(&Sha256::digest(&bytes));
    let file = path.display().to_string();
    if path.extension().is_some_and(|e| e == "safetensors") {
        return Ok((safetensors(&bytes).map_err(|e| malformed(e, &file))?, hash));
    }
    if bytes.is_empty() {
        return Err(malformed("the file is empty".into(), &file));
    }
    if bytes.starts_with(b"PK") {
        // torch.save writes a Zip archive with a pickle in it.
        return match npz::read(&bytes, &file) {
            Err(_) if bytes.windows(9).take(4096).any(|w| w == b"/data.pkl") => Err(Diagnostics::from(
                Diagnostic::new(Code::Malformed, "this is a file of torch.save, whose pickle isn't read")
                    .file(&file)
                    .help("write the gradients with numpy.savez or safetensors.torch.save_file"),
            )),
            other => Ok((other?, hash)),
        };
    }
    if path.extension().is_some_and(|e| e == "npz") {
        let what = "not an npz archive, which is a Zip file";
        return Err(Diagnostic::new(Code::Malformed, what).file(&file).help("write it with numpy.savez").into());
    }
    let one = single(path, &bytes).map_err(|e| {
        Diagnostics::from(
            Diagnostic::new(Code::Malformed, e)
                .file(&file)
                .help("npz, npy, safetensors and ONNX tensors (.pb) are read, and directories of .npy or .pb files"),
        )
    })?;
    Ok((vec![one], hash))
}

fn malformed(what: String, file: &str) -> Diagnostics {
    Diagnostic::new(Code::Malformed, what).file(file).into()
}

/// An npy file, named by its file name, or an ONNX tensor, named by itself.
fn single(path: &Path, bytes: &[u8]) -> Result<(String, HostTensor), String> {
    let stem = path.file_stem().map_or_else(String::new, |s| s.to_string_lossy().into_owned());
    if bytes.starts_with(b"\x93NUMPY") {
        return Ok((stem, npy::read(bytes)?));
    }
    let (name, tensor) = decode_file(bytes, path.parent().unwrap_or(Path::new(".")))?;
    Ok((if name.is_empty() { stem } else { name }, tensor))
}

/// All `.npy` and `.pb` files of a directory, by name.
fn folder(path: &Path) -> Result<Arrays, Diagnostics> {
    let entries = std::fs::read_dir(path).map_err(io(path))?;
    let wanted = |p: &PathBuf| p.extension().is_some_and(|e| e == "npy" || e == "pb");
    let files: BTreeSet<PathBuf> = entries.filter_map(|e| e.ok().map(|e| e.path())).filter(wanted).collect();
    let mut problems = Diagnostics::default();
    let mut hash = Sha256::new();
    let mut arrays = Vec::new();
    for f in &files {
        let bytes = crate::limits::read(f).map_err(io(f))?;
        let name = f.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        // lengths keep names and contents of different directories apart
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name.as_bytes());
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(&bytes);
        match single(f, &bytes) {
            Ok(one) => arrays.push(one),
            Err(e) => problems.push(Diagnostic::new(Code::Malformed, e).file(f.display().to_string())),
        }
    }
    problems.into_result((arrays, hex(&hash.finalize())))
}

fn safetensors(bytes: &[u8]) -> Result<Vec<(String, HostTensor)>, String> {
    let all = SafeTensors::deserialize(bytes).map_err(|e| format!("not a safetensors file: {e}"))?;
    let mut out = Vec::new();
    for (name, view) in all.tensors() {
        let dtype = match view.dtype() {
            Dtype::F32 => DType::F32,
            Dtype::F64 => DType::F64,
            Dtype::F16 => DType::F16,
            Dtype::BF16 => DType::BF16,
            Dtype::I64 => DType::I64,
            Dtype::I32 => DType::I32,
            Dtype::U8 => DType::U8,
            Dtype::BOOL => DType::Bool,
            _ => DType::Other("a format of safetensors that isn't compared"),
        };
        let t = HostTensor::from_bytes(dtype, view.shape().to_vec(), view.data(), false);
        out.push((name.clone(), t.map_err(|e| format!("tensor \"{name}\": {e}"))?));
    }
    out.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_rewritten_by_patterns() {
        let r = |from: &str, to: &str, name: &str| Rename { from: from.into(), to: to.into() }.apply(name);
        assert_eq!(r("*", "net.*", "fc.weight").as_deref(), Some("net.fc.weight"));
        assert_eq!(r("module.*_grad", "*", "module.fc.w_grad").as_deref(), Some("fc.w"));
        assert_eq!(r("block?.*.kernel", "l.?.*.weight", "block3.a.kernel").as_deref(), Some("l.3.a.weight"));
        assert_eq!(r("a", "b", "a").as_deref(), Some("b"));
        assert_eq!(r("a*", "b", "xa"), None);
        assert_eq!(r("*.*", "*/*", "a.b.c").as_deref(), Some("a/b.c"));
    }

    #[test]
    fn every_container_and_format_gives_the_same_numbers() {
        let dir = tempfile::tempdir().unwrap();
        let values = [1.5f32, -2.0, 0.25];
        let names = ["fc.weight".to_string()];
        let write = |file: &str, bytes: Vec<u8>| {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, bytes).unwrap();
        };
        let t = HostTensor::f32(vec![3], values.to_vec());
        write("g.npz", npz::write(&[(names[0].clone(), t.clone())]).unwrap());
        write("d/fc.weight.npy", npy::write(&t).unwrap());
        let raw = |dtype, bytes: Vec<u8>| {
            let view = safetensors::tensor::TensorView::new(dtype, vec![3], &bytes).unwrap();
            safetensors::serialize([(&names[0], view)], None).unwrap()
        };
        write("f32.safetensors", raw(Dtype::F32, values.iter().flat_map(|x| x.to_le_bytes()).collect()));
        write("f64.safetensors", raw(Dtype::F64, values.iter().flat_map(|x| f64::from(*x).to_le_bytes()).collect()));
        let bf16 = values.iter().flat_map(|&x| half::bf16::from_f32(x).to_le_bytes()).collect();
        write("bf16.safetensors", raw(Dtype::BF16, bf16));
        let f16 = values.iter().flat_map(|&x| half::f16::from_f32(x).to_le_bytes()).collect();
        write("f16.safetensors", raw(Dtype::F16, f16));
        // TensorProto: dims = 3 (field 1), data_type = 1 (field 2), name (field 8), raw_data (field 9)
        let mut proto = vec![0x08, 3, 0x10, 1, 0x42, 9];
        proto.extend(names[0].bytes());
        proto.extend([0x4a, 12]);
        proto.extend(values.iter().flat_map(|x| x.to_le_bytes()));
        write("p/0.pb", proto);
        for place in [
            "g.npz",
            "d",
            "d/fc.weight.npy",
            "f32.safetensors",
            "f64.safetensors",
            "bf16.safetensors",
            "f16.safetensors",
            "p",
            "p/0.pb",
        ] {
            let g = read(&dir.path().join(place), &[]).unwrap_or_else(|e| panic!("{place}: {e}"));
            assert_eq!(g.tensors.keys().collect::<Vec<_>>(), ["fc.weight"], "{place}");
            assert_eq!(g.tensors["fc.weight"].data, values.map(f64::from), "{place}");
            assert_eq!((g.tensors["fc.weight"].shape.as_slice(), g.sha256.len()), (&[3][..], 64), "{place}");
        }
    }

    #[test]
    fn what_cannot_be_compared_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("g.npz");
        let arrays = [
            ("a.x".to_string(), HostTensor::f32(vec![1], vec![1.0])),
            ("b.x".to_string(), HostTensor::f32(vec![1], vec![1.0])),
            ("n".to_string(), HostTensor::i64(vec![1], vec![1])),
        ];
        std::fs::write(&path, npz::write(&arrays).unwrap()).unwrap();
        let renames = [Rename { from: "?.x".into(), to: "x".into() }, Rename { from: "zzz".into(), to: "y".into() }];
        let told = read(&path, &renames).unwrap_err().to_string();
        for want in [
            "\"a.x\" and \"b.x\" are both called \"x\"",
            "\"n\" is of type INT64",
            "--rename \"zzz\" matches no tensor",
        ] {
            assert!(told.contains(want), "{want} in {told}");
        }
        std::fs::write(dir.path().join("x.bin"), b"what is this").unwrap();
        assert!(read(&dir.path().join("x.bin"), &[]).unwrap_err().to_string().contains("safetensors"));
        assert!(read(&dir.path().join("none"), &[]).unwrap_err().to_string().contains("can't be read"));
    }
}
