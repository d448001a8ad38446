//! One npy array: a magic string, a version, a Python dictionary, then the elements.
//!
//! Format: NumPy enhancement proposal 1 and `numpy.lib.format`. The header is parsed here with a
//! fixed grammar because it comes from outside: lengths, nesting and sizes are bounded before use.

use super::{DType, Data, HostTensor, elements, too_large};

/// No sane header is longer; NumPy itself refuses headers above 10,000 bytes.
const MAX_HEADER: usize = 10_000;

/// Reads one npy file. `bytes` is the whole file; errors are one sentence without place.
pub fn read(bytes: &[u8]) -> Result<HostTensor, String> {
    if bytes.len() < 10 || &bytes[..6] != b"\x93NUMPY" {
        return Err("not an npy array: the magic string is missing".into());
    }
    let (length, start) = match bytes[6] {
        1 => (usize::from(u16::from_le_bytes([bytes[8], bytes[9]])), 10),
        2 | 3 if bytes.len() >= 12 => (u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]) as usize, 12),
        v => return Err(format!("npy version {v} isn't known (1, 2 and 3 are)")),
    };
    if length > MAX_HEADER {
        return Err(format!("npy header of {length} bytes (at most {MAX_HEADER} are accepted)"));
    }
    let Some(text) = bytes.get(start..start + length) else {
        return Err(format!("npy header of {length} bytes in a file of {}", bytes.len()));
    };
    let text = std::str::from_utf8(text).map_err(|_| "npy header isn't text".to_string())?;
    let header = Header::parse(text)?;
    let payload = &bytes[start + length..];
    let tensor = HostTensor::from_bytes(header.dtype, header.shape, payload, header.big_endian)?;
    Ok(if header.fortran { from_column_major(tensor) } else { tensor })
}

struct Header {
    dtype: DType,
    big_endian: bool,
    fortran: bool,
    shape: Vec<usize>,
}

impl Header {
    /// Parses `{'descr': '<f4', 'fortran_order': False, 'shape': (8, 1), }`, keys in any order.
    fn parse(text: &str) -> Result<Header, String> {
        let bad = |why: &str| format!("npy header: {why}");
        let mut p = text.trim().strip_prefix('{').ok_or_else(|| bad("no dictionary"))?;
        let (mut descr, mut fortran, mut shape) = (None, None, None);
        loop {
            p = p.trim_start();
            if let Some(rest) = p.strip_prefix('}') {
                if !rest.trim().is_empty() {
                    return Err(bad("text after the dictionary"));
                }
                break;
            }
            let (key, rest) = quoted(p).ok_or_else(|| bad("a key isn't a string"))?;
            p = rest.trim_start().strip_prefix(':').ok_or_else(|| bad("a key without value"))?.trim_start();
            match key {
                "descr" => {
                    let (v, rest) = quoted(p).ok_or_else(|| "structured npy arrays aren't tensors".to_string())?;
                    descr = Some(v);
                    p = rest;
                }
                "fortran_order" => {
                    (fortran, p) = if let Some(rest) = p.strip_prefix("True") {
                        (Some(true), rest)
                    } else if let Some(rest) = p.strip_prefix("False") {
                        (Some(false), rest)
                    } else {
                        return Err(bad("fortran_order is neither True nor False"));
                    };
                }
                "shape" => {
                    let inner = p.strip_prefix('(').ok_or_else(|| bad("shape isn't a tuple"))?;
                    let (inner, rest) = inner.split_once(')').ok_or_else(|| bad("shape isn't a tuple"))?;
                    let dims = inner.split(',').map(str::trim).filter(|s| !s.is_empty());
                    let parse = |s: &str| s.parse::<usize>().map_err(|_| bad("a size isn't a number"));
                    shape = Some(dims.map(parse).collect::<Result<Vec<_>, _>>()?);
                    p = rest;
                }
                other => return Err(bad(&format!("unknown key \"{other}\""))),
            }
            p = p.trim_start();
            p = p.strip_prefix(',').unwrap_or(p);
        }
        let (Some(descr), Some(fortran), Some(shape)) = (descr, fortran, shape) else {
            return Err(bad("descr, fortran_order and shape must all be there"));
        };
        let count = elements(&shape).ok_or_else(|| too_large(&shape))?;
        // entries are held in at most 8 bytes
        crate::limits::afford("the array", 8 * count as u64).map_err(|d| d.what)?;
        let (dtype, big_endian) = dtype(descr)?;
        Ok(Header { dtype, big_endian, fortran, shape })
    }
}

fn quoted(p: &str) -> Option<(&str, &str)> {
    let q = p.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    p[1..].split_once(q)
}

fn dtype(descr: &str) -> Result<(DType, bool), String> {
    let refuse = || format!("npy element type \"{descr}\" isn't supported (float, integer and bool arrays are)");
    let big = match descr.chars().next() {
        Some('>') => true,
        Some('<' | '|' | '=') => false,
        _ => return Err(refuse()),
    };
    let ty = match &descr[1..] {
        "f2" => DType::F16,
        "f4" => DType::F32,
        "f8" => DType::F64,
        "i1" => DType::I8,
        "i2" => DType::I16,
        "i4" => DType::I32,
        "i8" => DType::I64,
        "u1" => DType::U8,
        "u2" => DType::U16,
        "u4" => DType::U32,
        "u8" => DType::U64,
        "b1" => DType::Bool,
        _ => return Err(refuse()),
    };
    Ok((ty, big))
}

/// Row-major order from column-major: element (i_0, …, i_k) stood at i_0 + n_0·(i_1 + n_1·(…)).
fn from_column_major(t: HostTensor) -> HostTensor {
    fn permute<T: Copy>(v: &[T], shape: &[usize]) -> Vec<T> {
        let mut index = vec![0usize; shape.len()];
        let mut stride = vec![1usize; shape.len()];
        for k in 1..shape.len() {
            stride[k] = stride[k - 1] * shape[k - 1];
        }
        let mut out = Vec::with_capacity(v.len());
        for _ in 0..v.len() {
            out.push(v[index.iter().zip(&stride).map(|(i, s)| i * s).sum::<usize>()]);
            for k in (0..shape.len()).rev() {
                index[k] += 1;
                if index[k] < shape[k] {
                    break;
                }
                index[k] = 0;
            }
        }
        out
    }
    let data = match &t.data {
        Data::F32(v) => Data::F32(permute(v, &t.shape)),
        Data::F64(v) => Data::F64(permute(v, &t.shape)),
        Data::Int(v) => Data::Int(permute(v, &t.shape)),
        Data::Bool(v) => Data::Bool(permute(v, &t.shape)),
        Data::Opaque => Data::Opaque,
    };
    HostTensor { data, ..t }
}

/// The bytes of an npy file (version 1.0, little-endian, C order) with this tensor.
///
/// Integers of every width become `<i8`, narrow floats their widened `<f4`.
/// Returns an error for types that can't be held.
pub fn write(t: &HostTensor) -> Result<Vec<u8>, String> {
    let (descr, size) = match &t.data {
        Data::F32(_) => ("<f4", 4),
        Data::F64(_) => ("<f8", 8),
        Data::Int(_) => ("<i8", 8),
        Data::Bool(_) => ("|b1", 1),
        Data::Opaque => return Err(format!("a tensor of {} can't be written", t.dtype)),
    };
    let mut dims = String::new();
    for d in &t.shape {
        dims.push_str(&format!("{d}, "));
    }
    // Python's one-tuple keeps its comma, longer ones don't
    let dims = if t.shape.len() == 1 { dims.trim_end() } else { dims.trim_end_matches(", ") };
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({dims}), }}");
    // magic + version + length + text + newline is a multiple of 64, so that mapped data is aligned
    while (10 + header.len() + 1) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let length = u16::try_from(header.len()).map_err(|_| format!("{} dimensions are too many", t.shape.len()))?;
    let mut out = Vec::with_capacity(10 + header.len() + t.len() * size);
    out.extend_from_slice(b"\x93NUMPY\x01\x00");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(header.as_bytes());
    match &t.data {
        Data::F32(v) => v.iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes())),
        Data::F64(v) => v.iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes())),
        Data::Int(v) => v.iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes())),
        Data::Bool(v) => out.extend(v.iter().map(|&b| u8::from(b))),
        Data::Opaque => {}
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, payload: &[u8]) -> Vec<u8> {
        let mut out = b"\x93NUMPY\x01\x00".to_vec();
        out.extend_from_slice(&(header.len() as u16).to_le_bytes());
        out.extend_from_slice(header.as_bytes());
        out.extend_from_slice(payload);
        out
    }

    #[test]
    fn what_is_written_is_read_back_and_by_npyz_too() {
        for t in [
            HostTensor::f32(vec![2, 3], vec![1.0, -0.0, f32::MIN_POSITIVE, 4.0, 5.0, f32::MAX]),
            HostTensor::f64(vec![], vec![0.1]),
            HostTensor::i64(vec![3], vec![i64::MIN, 0, i64::MAX]),
            HostTensor::bool(vec![0, 2], vec![]),
        ] {
            let bytes = write(&t).unwrap();
            assert_eq!(read(&bytes).unwrap(), t);
            let other = npyz::NpyFile::new(&bytes[..]).unwrap();
            assert_eq!(other.shape().iter().map(|&d| d as usize).collect::<Vec<_>>(), t.shape);
            assert_eq!((bytes.len() - t.len() * t.dtype.size().unwrap()) % 64, 0);
        }
    }

    #[test]
    fn column_major_and_big_endian_arrays_are_read() {
        // [[1, 2, 3], [4, 5, 6]] in column-major order is 1 4 2 5 3 6
        let payload: Vec<u8> = [1i16, 4, 2, 5, 3, 6].iter().flat_map(|x| x.to_be_bytes()).collect();
        let bytes = file("{'descr': '>i2', 'fortran_order': True, 'shape': (2, 3), }\n", &payload);
        let t = read(&bytes).unwrap();
        assert_eq!((t.shape.clone(), t.as_int().unwrap()), (vec![2, 3], &[1i64, 2, 3, 4, 5, 6][..]));
    }

    #[test]
    fn hostile_headers_are_refused() {
        let huge = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, 9), }}", u64::MAX);
        let nested = format!("{{'descr': {}", "(".repeat(9000));
        for header in [
            huge.as_str(),
            nested.as_str(),
            "{'descr': '<f4', 'fortran_order': False, 'shape': (4, -1), }",
            "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }",
            "{'descr': '<f4', 'fortran_order': Maybe, 'shape': (2,), }",
            "{'descr': 'é', 'fortran_order': False, 'shape': (2,), }",
            "{'shape': (2,)}",
            "{",
            "",
        ] {
            assert!(read(&file(header, &[0; 8])).is_err(), "{header}");
        }
        let good = write(&HostTensor::f32(vec![2], vec![1.0, 2.0])).unwrap();
        for cut in 0..good.len() {
            assert!(read(&good[..cut]).is_err(), "cut at {cut}");
        }
    }
}
