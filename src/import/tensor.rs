//! `TensorProto` → [`HostTensor`], with the data inline, in typed fields, or in an external file.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tract_onnx::pb;

use crate::data::{DType, Data, HostTensor, elements, too_large, u64_to_i64};

/// External data files of one model, each read once.
pub struct External {
    folder: PathBuf,
    files: BTreeMap<String, (Arc<Vec<u8>>, String)>,
    made: u64,
}

impl External {
    /// No file read yet; locations are relative to `folder`.
    pub fn new(folder: &Path) -> Self {
        External { folder: folder.to_path_buf(), files: BTreeMap::new(), made: 0 }
    }

    /// Location and SHA-256 of every file read, sorted.
    pub fn digests(&self) -> Vec<(String, String)> {
        self.files.iter().map(|(k, (_, hash))| (k.clone(), hash.clone())).collect()
    }

    /// Counts memory that a few bytes of the model file ask for: one external file may be read by many
    /// tensors, and sparse tensors say how large they are.
    fn make(&mut self, bytes: usize) -> Result<(), String> {
        self.made = self.made.saturating_add(bytes as u64);
        crate::limits::afford("the model's external and sparse tensors together", self.made).map_err(|d| d.what)
    }

    /// The whole file at a location inside the model's folder.
    ///
    /// Absolute paths, `..` and links that leave the folder are refused: a model file must not be
    /// able to name other files of the machine.
    fn file(&mut self, location: &str) -> Result<Arc<Vec<u8>>, String> {
        if let Some((bytes, _)) = self.files.get(location) {
            return Ok(bytes.clone());
        }
        let relative = Path::new(location);
        let plain = relative.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
        if location.is_empty() || !plain || location.contains('\\') || location.contains('\0') {
            return Err(format!("external data at \"{location}\" isn't a plain path inside the model's folder"));
        }
        let folder = if self.folder.as_os_str().is_empty() { Path::new(".") } else { &self.folder };
        let read = |e: std::io::Error| format!("external data \"{location}\" can't be read: {e}");
        let root = folder.canonicalize().map_err(read)?;
        let path = root.join(relative).canonicalize().map_err(read)?;
        if !path.starts_with(&root) {
            return Err(format!("external data at \"{location}\" is a link that leaves the model's folder"));
        }
        if !path.metadata().map_err(read)?.is_file() {
            return Err(format!("external data \"{location}\" isn't a regular file"));
        }
        let bytes = Arc::new(crate::limits::read(&path).map_err(read)?);
        let hash = hex(&Sha256::digest(&bytes[..]));
        self.files.insert(location.to_string(), (bytes.clone(), hash));
        Ok(bytes)
    }
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Decodes one tensor; errors are one sentence without place.
///
/// Exactly one storage may be used, and it must have exactly as many elements as the shape says.
pub fn decode(t: &pb::TensorProto, external: &mut External) -> Result<HostTensor, String> {
    let dtype = DType::from_onnx(t.data_type);
    let shape = t
        .dims
        .iter()
        .map(|&d| usize::try_from(d).map_err(|_| format!("negative size {d} in shape {:?}", t.dims)))
        .collect::<Result<Vec<_>, _>>()?;
    let count = elements(&shape).ok_or_else(|| too_large(&shape))?;
    if t.segment.is_some() {
        return Err("a tensor in segments isn't supported".into());
    }
    if matches!(dtype, DType::Other(_)) {
        return Ok(HostTensor { dtype, shape, data: Data::Opaque });
    }
    if t.data_location == Some(pb::tensor_proto::DataLocation::External as i32) {
        return from_external(t, dtype, shape, external);
    }
    let typed = [
        ("float_data", t.float_data.len()),
        ("int32_data", t.int32_data.len()),
        ("int64_data", t.int64_data.len()),
        ("double_data", t.double_data.len()),
        ("uint64_data", t.uint64_data.len()),
        ("string_data", t.string_data.len()),
    ];
    let used: Vec<&str> = typed.iter().filter(|(_, n)| *n > 0).map(|(name, _)| *name).collect();
    if used.len() > 1 || (used.len() == 1 && !t.raw_data.is_empty()) {
        return Err(format!("data stored twice, in {} and {}", used[0], used.get(1).unwrap_or(&"raw_data")));
    }
    if !t.raw_data.is_empty() || (used.is_empty() && count > 0) {
        return HostTensor::from_bytes(dtype, shape, &t.raw_data, false);
    }
    let (field, len) = match dtype {
        DType::F32 => ("float_data", t.float_data.len()),
        DType::F64 => ("double_data", t.double_data.len()),
        DType::I64 => ("int64_data", t.int64_data.len()),
        DType::U32 | DType::U64 => ("uint64_data", t.uint64_data.len()),
        _ => ("int32_data", t.int32_data.len()),
    };
    if let Some(other) = used.first().filter(|&&u| u != field) {
        return Err(format!("a {dtype} tensor keeps its data in {field}, not in {other}"));
    }
    if len != count {
        return Err(format!("{len} elements in {field} where shape {shape:?} needs {count}"));
    }
    let bits = |x: i32| u16::try_from(x).map_err(|_| format!("{dtype} element with bits {x:#x}"));
    let data = match dtype {
        DType::F32 => Data::F32(t.float_data.clone()),
        DType::F64 => Data::F64(t.double_data.clone()),
        DType::F16 => Data::F32(
            t.int32_data
                .iter()
                .map(|&x| bits(x).map(|b| half::f16::from_bits(b).to_f32()))
                .collect::<Result<_, _>>()?,
        ),
        DType::BF16 => Data::F32(
            t.int32_data
                .iter()
                .map(|&x| bits(x).map(|b| half::bf16::from_bits(b).to_f32()))
                .collect::<Result<_, _>>()?,
        ),
        DType::Bool => Data::Bool(t.int32_data.iter().map(|&x| x != 0).collect()),
        DType::I64 => Data::Int(t.int64_data.clone()),
        DType::U32 | DType::U64 => Data::Int(t.uint64_data.iter().map(|&x| u64_to_i64(x)).collect::<Result<_, _>>()?),
        _ => Data::Int(t.int32_data.iter().map(|&x| i64::from(x)).collect()),
    };
    if let (Some((lo, hi)), Data::Int(v)) = (dtype.int_range(), &data)
        && let Some(x) = v.iter().find(|x| !(lo..=hi).contains(*x))
    {
        return Err(format!("{x} isn't a value of {dtype} ({lo} to {hi})"));
    }
    Ok(HostTensor { dtype, shape, data })
}

fn from_external(
    t: &pb::TensorProto,
    dtype: DType,
    shape: Vec<usize>,
    external: &mut External,
) -> Result<HostTensor, String> {
    let entry = |key: &str| t.external_data.iter().find(|e| e.key == key).map(|e| e.value.as_str());
    let number = |key: &str| {
        entry(key)
            .map(|v| v.parse::<usize>().map_err(|_| format!("external data: {key} \"{v}\" isn't a number")))
            .transpose()
    };
    let location = entry("location").ok_or("external data without a location")?;
    let offset = number("offset")?.unwrap_or(0);
    let count = elements(&shape).ok_or_else(|| too_large(&shape))?;
    let needed = count * dtype.size().unwrap_or(0);
    let length = number("length")?.unwrap_or(needed);
    external.make(8 * count)?;
    let file = external.file(location)?;
    let bytes = offset.checked_add(length).and_then(|end| file.get(offset..end)).ok_or_else(|| {
        format!("external data \"{location}\": bytes {offset} to {offset} + {length} of a file of {}", file.len())
    })?;
    HostTensor::from_bytes(dtype, shape, bytes, false)
}

/// A sparse tensor made dense: values at flat positions ([n]) or at index tuples ([n, rank]).
pub fn decode_sparse(t: &pb::SparseTensorProto, external: &mut External) -> Result<(String, HostTensor), String> {
    let (Some(values), Some(indices)) = (&t.values, &t.indices) else {
        return Err("a sparse tensor without values or indices".into());
    };
    let name = values.name.clone();
    let dense_dims: Vec<usize> = t
        .dims
        .iter()
        .map(|&d| usize::try_from(d).map_err(|_| format!("negative size {d} in shape {:?}", t.dims)))
        .collect::<Result<_, _>>()?;
    // a sparse tensor may promise far more memory than the file has: keep it to what index tables of
    // a practical graph can hold
    let count = super::index::built(&dense_dims)?;
    external.make(8 * count)?;
    let values = decode(values, external)?;
    let indices = decode(indices, external)?;
    let at = indices.as_int().ok_or("the indices of a sparse tensor aren't integers")?;
    let n = values.len();
    let flat: Vec<usize> = if indices.shape == [n] {
        at.iter().map(|&i| usize::try_from(i).unwrap_or(usize::MAX)).collect()
    } else if indices.shape == [n, dense_dims.len()] && !dense_dims.is_empty() {
        let tuple = |row: &[i64]| {
            row.iter()
                .zip(&dense_dims)
                .try_fold(0usize, |flat, (&i, &d)| usize::try_from(i).ok().filter(|&i| i < d).map(|i| flat * d + i))
        };
        at.chunks(dense_dims.len()).map(|row| tuple(row).unwrap_or(usize::MAX)).collect()
    } else {
        return Err(format!(
            "indices of shape {:?} for {n} values of a sparse tensor of shape {dense_dims:?}",
            indices.shape
        ));
    };
    if flat.iter().any(|&i| i >= count) || flat.windows(2).any(|w| w[0] >= w[1]) {
        return Err("the indices of a sparse tensor must ascend and lie inside its shape".into());
    }
    fn spread<T: Copy + Default>(v: &[T], flat: &[usize], count: usize) -> Vec<T> {
        let mut out = vec![T::default(); count];
        flat.iter().zip(v).for_each(|(&i, &x)| out[i] = x);
        out
    }
    let data = match &values.data {
        Data::F32(v) => Data::F32(spread(v, &flat, count)),
        Data::F64(v) => Data::F64(spread(v, &flat, count)),
        Data::Int(v) => Data::Int(spread(v, &flat, count)),
        Data::Bool(v) => Data::Bool(spread(v, &flat, count)),
        Data::Opaque => Data::Opaque,
    };
    Ok((name, HostTensor { dtype: values.dtype, shape: dense_dims, data }))
}

/// Reads a file that holds one serialized `TensorProto` (ONNX's `input_0.pb`).
pub fn decode_file(bytes: &[u8], folder: &Path) -> Result<(String, HostTensor), String> {
    use prost::Message as _;
    let proto = pb::TensorProto::decode(bytes).map_err(|e| format!("not a serialized tensor: {e}"))?;
    let tensor = decode(&proto, &mut External::new(folder))?;
    Ok((proto.name, tensor))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &str, value: &str) -> pb::StringStringEntryProto {
        pb::StringStringEntryProto { key: key.into(), value: value.into() }
    }

    fn none() -> External {
        External::new(Path::new("."))
    }

    #[test]
    fn typed_fields_and_raw_data_agree() {
        let typed =
            pb::TensorProto { dims: vec![2], data_type: 10, int32_data: vec![0x3c00, 0xc000], ..Default::default() };
        let raw =
            pb::TensorProto { dims: vec![2], data_type: 10, raw_data: vec![0, 0x3c, 0, 0xc0], ..Default::default() };
        let want = HostTensor { dtype: DType::F16, shape: vec![2], data: Data::F32(vec![1.0, -2.0]) };
        assert_eq!(decode(&typed, &mut none()).unwrap(), want);
        assert_eq!(decode(&raw, &mut none()).unwrap(), want);
        let empty = pb::TensorProto { dims: vec![0], data_type: 7, ..Default::default() };
        assert_eq!(decode(&empty, &mut none()).unwrap(), HostTensor::i64(vec![0], vec![]));
    }

    #[test]
    fn contradictions_are_refused() {
        let base = pb::TensorProto { dims: vec![2], data_type: 1, ..Default::default() };
        let cases = [
            (pb::TensorProto { float_data: vec![1.0], ..base.clone() }, "1 elements in float_data"),
            (pb::TensorProto { raw_data: vec![0; 7], ..base.clone() }, "7 bytes"),
            (pb::TensorProto { ..base.clone() }, "0 bytes"),
            (pb::TensorProto { float_data: vec![1.0; 2], raw_data: vec![0; 8], ..base.clone() }, "twice"),
            (pb::TensorProto { float_data: vec![1.0; 2], int64_data: vec![0; 2], ..base.clone() }, "twice"),
            (pb::TensorProto { int64_data: vec![1; 2], ..base.clone() }, "not in int64_data"),
            (pb::TensorProto { dims: vec![-1], ..base.clone() }, "negative size -1"),
            (pb::TensorProto { dims: vec![i64::MAX, 4], ..base.clone() }, "more than"),
            (pb::TensorProto { data_type: 3, int32_data: vec![1, 300], ..base.clone() }, "300 isn't a value of INT8"),
            (pb::TensorProto { data_type: 10, int32_data: vec![1, 70000], ..base.clone() }, "bits 0x11170"),
        ];
        for (proto, want) in cases {
            let err = decode(&proto, &mut none()).unwrap_err();
            assert!(err.contains(want), "{err} / {want}");
        }
        let text = pb::TensorProto { dims: vec![1], data_type: 8, raw_data: vec![1], ..Default::default() };
        assert_eq!(decode(&text, &mut none()).unwrap().data, Data::Opaque);
    }

    #[test]
    fn external_data_stays_inside_the_folder() {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("model");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(outer.path().join("secret"), [0u8; 8]).unwrap();
        std::fs::write(folder.join("w.bin"), [0, 0, 0, 0, 0, 0, 128, 63]).unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(outer.path().join("secret"), folder.join("link")).unwrap();
        let at = |location: &str, more: &[(&str, &str)]| {
            let mut data = vec![entry("location", location)];
            data.extend(more.iter().map(|(k, v)| entry(k, v)));
            let proto = pb::TensorProto {
                dims: vec![1],
                data_type: 1,
                data_location: Some(1),
                external_data: data,
                ..Default::default()
            };
            decode(&proto, &mut External::new(&folder))
        };
        assert_eq!(at("w.bin", &[("offset", "4"), ("length", "4")]).unwrap().as_f32(), Some(&[1.0][..]));
        assert_eq!(at("./w.bin", &[("offset", "4")]).unwrap().as_f32(), Some(&[1.0][..]));
        for bad in ["../secret", "/etc/passwd", "link", "missing", "", "a/../../secret", ".", "..\\secret"] {
            assert!(at(bad, &[]).is_err(), "{bad}");
        }
        for bad in
            [("offset", "8"), ("offset", "-1"), ("length", "9"), ("length", "8"), ("offset", "18446744073709551615")]
        {
            assert!(at("w.bin", &[bad]).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn sparse_tensors_become_dense() {
        let values = pb::TensorProto {
            name: "w".into(),
            dims: vec![2],
            data_type: 1,
            float_data: vec![3.0, 4.0],
            ..Default::default()
        };
        let indices =
            |dims: Vec<i64>, at: Vec<i64>| pb::TensorProto { dims, data_type: 7, int64_data: at, ..Default::default() };
        let sparse = |i| pb::SparseTensorProto { values: Some(values.clone()), indices: Some(i), dims: vec![2, 3] };
        let dense = HostTensor::f32(vec![2, 3], vec![0.0, 3.0, 0.0, 0.0, 0.0, 4.0]);
        let flat = decode_sparse(&sparse(indices(vec![2], vec![1, 5])), &mut none()).unwrap();
        assert_eq!(flat, ("w".to_string(), dense.clone()));
        assert_eq!(decode_sparse(&sparse(indices(vec![2, 2], vec![0, 1, 1, 2])), &mut none()).unwrap().1, dense);
        for bad in [
            indices(vec![2], vec![1, 6]),
            indices(vec![2], vec![5, 1]),
            indices(vec![2, 2], vec![0, 1, 1, 3]),
            indices(vec![1], vec![1]),
        ] {
            assert!(decode_sparse(&sparse(bad), &mut none()).is_err());
        }
    }
}
