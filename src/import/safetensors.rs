//! Weights from a safetensors file: the length of a JSON header, the header, then the raw tensors.
//!
//! Format: `{"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, …}`, offsets
//! counted from the end of the header, all little endian.

use crate::data::{DType, HostTensor};

/// All tensors that are held, in the order of the header's keys.
pub fn read(bytes: &[u8]) -> Result<Vec<(String, HostTensor)>, String> {
    let damaged = |what: &str| format!("not a safetensors file: {what}");
    let length = bytes.get(..8).ok_or_else(|| damaged("it is too short"))?;
    let length = u64::from_le_bytes(std::array::from_fn(|i| length[i]));
    let end = usize::try_from(length).ok().and_then(|n| n.checked_add(8)).filter(|&e| e <= bytes.len());
    let end = end.ok_or_else(|| damaged("its header is longer than the file"))?;
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..end]).map_err(|e| damaged(&e.to_string()))?;
    let header = header.as_object().ok_or_else(|| damaged("its header is no JSON object"))?;
    let data = &bytes[end..];
    let mut out = Vec::new();
    for (name, entry) in header.iter().filter(|(name, _)| *name != "__metadata__") {
        let list = |key: &str| -> Option<Vec<usize>> {
            entry.get(key)?.as_array()?.iter().map(|d| d.as_u64().and_then(|d| usize::try_from(d).ok())).collect()
        };
        let (Some(shape), Some(offsets)) = (list("shape"), list("data_offsets")) else {
            return Err(format!("\"{name}\": no shape or no place"));
        };
        let raw = match offsets[..] {
            [from, to] => {
                data.get(from..to).ok_or_else(|| format!("\"{name}\": it lies beyond the end of the file"))?
            }
            _ => return Err(format!("\"{name}\": data_offsets has {} entries, 2 required", offsets.len())),
        };
        let dtype = match entry.get("dtype").and_then(|d| d.as_str()).unwrap_or_default() {
            "F32" => DType::F32,
            "F64" => DType::F64,
            "F16" => DType::F16,
            "BF16" => DType::BF16,
            "I64" => DType::I64,
            "I32" => DType::I32,
            "I16" => DType::I16,
            "I8" => DType::I8,
            "U8" => DType::U8,
            "BOOL" => DType::Bool,
            // narrower formats: weights of a graph in FLOAT aren't among them
            _ => continue,
        };
        let tensor = HostTensor::from_bytes(dtype, shape, raw, false).map_err(|e| format!("\"{name}\": {e}"))?;
        out.push((name.clone(), tensor));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let mut b = (header.len() as u64).to_le_bytes().to_vec();
        b.extend(header.as_bytes());
        b.extend(data);
        b
    }

    #[test]
    fn tensors_are_found_and_contradictions_refused() {
        let good = r#"{"__metadata__":{"a":"b"},"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
        let one = 1f32.to_le_bytes();
        assert_eq!(read(&file(good, &one)).unwrap(), [("w".to_string(), HostTensor::f32(vec![1], vec![1.0]))]);
        assert!(read(&file(good, &one[..3])).unwrap_err().contains("beyond the end"));
        assert!(read(&file(&good.replace("[1]", "[2]"), &one)).unwrap_err().contains("\"w\""));
        assert!(read(&file("[]", &[])).is_err());
        assert!(read(&u64::MAX.to_le_bytes()).is_err());
        assert!(read(&[1]).is_err());
    }
}
