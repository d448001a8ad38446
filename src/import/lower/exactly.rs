//! Integers by their bits, and tensors stored as integers with a scale.

use super::call::{Call, Done, Problem, invalid, unsupported};
use super::constant::exact;
use crate::data::{DType, Data, HostTensor};
use crate::error::Code;
use crate::import::index::{apply, broadcast_shape, built, expand, from_fn};
use crate::ops;

/// The integers of operand k, and how many bits they have.
fn integers(c: &Call, k: usize) -> Result<(HostTensor, u32), Problem> {
    let host = c.known(k)?;
    let bits = match host.dtype {
        DType::I8 | DType::U8 => 8,
        DType::I16 | DType::U16 => 16,
        DType::I32 | DType::U32 => 32,
        DType::I64 | DType::U64 => 64,
        other => return Err(Problem::found(Code::Type, format!("operand {k} is {other} where integers are needed"))),
    };
    Ok(((*host).clone(), bits))
}

/// A bit pattern as a value of an integer type.
fn wrapped(x: i64, dtype: DType) -> i64 {
    match dtype {
        DType::I8 => i64::from(x as i8),
        DType::U8 => i64::from(x as u8),
        DType::I16 => i64::from(x as i16),
        DType::U16 => i64::from(x as u16),
        DType::I32 => i64::from(x as i32),
        DType::U32 => i64::from(x as u32),
        _ => x,
    }
}

/// BitShift, BitwiseAnd, BitwiseOr, BitwiseXor.
pub(super) fn bitwise(c: &mut Call) -> Done {
    let ((a, bits), (b, _)) = (integers(c, 0)?, integers(c, 1)?);
    let shape = broadcast_shape(&a.shape, &b.shape)?;
    built(&shape)?;
    let dtype = a.dtype;
    let [a, b] = [a, b].map(|t| apply(&t, shape.clone(), &expand(&t.shape, &shape)));
    let right = c.node.op == "BitShift"
        && match c.text("direction", "")?.as_str() {
            "LEFT" => false,
            "RIGHT" => true,
            other => return Err(invalid(format!("direction \"{other}\""))),
        };
    let mask = if bits == 64 { u64::MAX } else { (1 << bits) - 1 };
    let one = |x: i64, y: i64| match c.node.op.as_str() {
        "BitwiseAnd" => x & y,
        "BitwiseOr" => x | y,
        "BitwiseXor" => x ^ y,
        // a shift by all bits or more leaves nothing; to the right the sign is kept
        _ => match (u32::try_from(y).ok().filter(|&y| y < bits), right) {
            (Some(y), false) => wrapped(((x as u64 & mask) << y) as i64, dtype),
            (Some(y), true) if dtype == DType::U64 => ((x as u64) >> y) as i64,
            (Some(y), true) => x >> y,
            (None, true) if x < 0 && dtype != DType::U64 => -1,
            (None, _) => 0,
        },
    };
    let (Some(x), Some(y)) = (a.as_int(), b.as_int()) else { return Err(Problem::Operand) };
    let data = Data::Int(x.iter().zip(y).map(|(&x, &y)| one(x, y)).collect());
    c.set_known(0, HostTensor { dtype, shape, data });
    Ok(())
}

/// BitwiseNot.
pub(super) fn bitwise_not(c: &mut Call) -> Done {
    let (a, _) = integers(c, 0)?;
    let data = Data::Int(a.as_int().unwrap_or(&[]).iter().map(|&x| wrapped(!x, a.dtype)).collect());
    c.set_known(0, HostTensor { data, ..a });
    Ok(())
}

/// BitCast of known data: the same bits under another type.
pub(super) fn bit_cast(c: &mut Call) -> Done {
    let to = DType::from_onnx(i32::try_from(c.int("to", 0)?).unwrap_or(0));
    let host = c.known(0)?;
    let half = |x: f32| {
        if host.dtype == DType::F16 { half::f16::from_f32(x).to_bits() } else { half::bf16::from_f32(x).to_bits() }
    };
    let bytes: Vec<Vec<u8>> = match (&host.data, host.dtype) {
        (Data::F32(v), DType::F32) => v.iter().map(|x| x.to_bits().to_le_bytes().to_vec()).collect(),
        (Data::F32(v), _) => v.iter().map(|x| half(*x).to_le_bytes().to_vec()).collect(),
        (Data::F64(v), _) => v.iter().map(|x| x.to_bits().to_le_bytes().to_vec()).collect(),
        (Data::Bool(v), _) => v.iter().map(|b| vec![u8::from(*b)]).collect(),
        (Data::Int(v), _) => {
            let width = integers(c, 0)?.1 as usize / 8;
            v.iter().map(|x| x.to_le_bytes()[..width].to_vec()).collect()
        }
        (Data::Opaque, t) => return Err(Problem::found(Code::Type, format!("tensors of {t} aren't supported"))),
    };
    let y = HostTensor::from_bytes(to, host.shape.clone(), &bytes.concat(), false).map_err(invalid)?;
    c.set_known(0, y);
    exact(c);
    Ok(())
}

/// DequantizeLinear: (q − zero)·scale for known integers q; only the product rounds.
pub(super) fn dequantize(c: &mut Call) -> Done {
    let q = c.known(0)?;
    let Some(v) = q.as_int() else {
        return Err(Problem::found(Code::Type, format!("tensors of {} aren't supported", q.dtype)));
    };
    if c.dtype(1)? != DType::F32 {
        return Err(Problem::found(Code::Type, format!("a scale of {}, FLOAT required", c.dtype(1)?)));
    }
    let scale = c.graph(1)?;
    let s = c.sizes(scale);
    let zero = if c.has(2) { Some(c.known(2)?) } else { None };
    let block = usize::try_from(c.int("block_size", 0)?).map_err(|_| invalid("block_size"))?;
    let count: usize = s.iter().product();
    // every entry's place among the scales
    let axis = if count == 1 && block == 0 { 0 } else { c.axis(1, q.shape.len())? };
    let fits = match block {
        0 => count == 1 || (s.len() == 1 && s[0] == q.shape[axis]),
        b => {
            s.len() == q.shape.len()
                && (0..s.len()).all(|k| s[k] == if k == axis { q.shape[k].div_ceil(b) } else { q.shape[k] })
        }
    };
    if !fits || zero.as_ref().is_some_and(|z| z.len() != count) {
        return Err(format!("scales of shape {s:?} for data of shape {:?}", q.shape).into());
    }
    let own = crate::import::index::strides(&s);
    let place = |at: &[usize]| match (count, block) {
        (1, 0) => 0,
        (_, 0) => at[axis],
        (_, b) => (0..at.len()).map(|k| if k == axis { at[k] / b } else { at[k] } * own[k]).sum(),
    };
    let index = from_fn(&q.shape, |at| Some(place(at)));
    let zeros = match zero.as_ref().map(|z| (z.as_int(), z.dtype)) {
        None => vec![0; v.len()],
        Some((Some(z), _)) => (0..v.len()).map(|i| index.source(i).map_or(0, |j| z[j])).collect(),
        Some((None, t)) => return Err(Problem::found(Code::Type, format!("a zero point of {t}"))),
    };
    let difference: Vec<i64> = v.iter().zip(&zeros).map(|(&q, &z)| q.saturating_sub(z)).collect();
    if let Some(d) = difference.iter().find(|d| d.unsigned_abs() > 1 << 24) {
        return Err(unsupported(format!("an integer {d}, which binary32 may not hold")));
    }
    let shape = q.shape.clone();
    let x = c.tensor("quantized", shape.clone(), difference.iter().map(|&d| d as f32).collect());
    let scale = if s == shape { scale } else { c.gather(scale, shape, index)? };
    let y = c.emit(ops::Mul, &[x, scale])?;
    c.set(0, y);
    Ok(())
}
