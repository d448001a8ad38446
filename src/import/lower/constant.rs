//! Operators that make or convert import-time data.

use std::rc::Rc;
use std::sync::Arc;

use super::call::{Call, Done, Problem, invalid, unsupported};
use super::fold;
use super::logic::at_zero;
use crate::data::{DType, Data, HostTensor};
use crate::error::Code;
use crate::import::index::built;
use crate::import::model::Attribute;
use crate::import::value::{Source, Value};
use crate::num::Steps;
use crate::ops;

/// The tensor of a Constant node, in whichever attribute it is.
pub(super) fn constant(c: &mut Call) -> Done {
    let node: Rc<_> = c.node.clone();
    let mut given = node.attributes.iter().filter(|(k, _)| k.starts_with("value") || *k == "sparse_value");
    let tensor = match (given.next(), given.next()) {
        (Some((_, a)), None) => match a {
            Attribute::Tensor(t) => t.clone(),
            Attribute::Float(x) => Arc::new(HostTensor::f32(vec![], vec![*x])),
            Attribute::Floats(v) => Arc::new(HostTensor::f32(vec![v.len()], v.clone())),
            Attribute::Int(x) => Arc::new(HostTensor::i64(vec![], vec![*x])),
            Attribute::Ints(v) => Arc::new(HostTensor::i64(vec![v.len()], v.clone())),
            Attribute::Str(_) | Attribute::Strs(_) => {
                Arc::new(HostTensor { dtype: DType::Other("STRING"), shape: vec![], data: Data::Opaque })
            }
            _ => return Err(unsupported("a constant of this kind")),
        },
        _ => return Err(invalid("exactly one attribute must hold the value")),
    };
    let value = Value { source: Source::ConstantNode, host: Some(tensor), graph: None, held: None };
    super::movement::set_value(c, 0, value);
    Ok(())
}

pub(super) fn constant_of_shape(c: &mut Call) -> Done {
    let dims = c.known_ints(0)?;
    let shape: Vec<usize> =
        dims.iter().map(|&d| usize::try_from(d).map_err(|_| format!("size {d}"))).collect::<Result<_, _>>()?;
    let n = built(&shape)?;
    let value = match c.node.attributes.get("value") {
        None => Arc::new(HostTensor::f32(vec![1], vec![0.0])),
        Some(Attribute::Tensor(t)) if t.len() == 1 => t.clone(),
        Some(_) => return Err(invalid("attribute \"value\" isn't a tensor with one entry")),
    };
    let data = match &value.data {
        Data::F32(v) => Data::F32(vec![v[0]; n]),
        Data::F64(v) => Data::F64(vec![v[0]; n]),
        Data::Int(v) => Data::Int(vec![v[0]; n]),
        Data::Bool(v) => Data::Bool(vec![v[0]; n]),
        Data::Opaque => return Err(Problem::found(Code::Type, format!("tensors of {} aren't supported", value.dtype))),
    };
    c.set_known(0, HostTensor { dtype: value.dtype, shape, data });
    Ok(())
}

/// Cast and CastLike.
pub(super) fn cast(c: &mut Call) -> Done {
    let to = if c.node.op == "CastLike" {
        c.dtype(1)?
    } else {
        let number = c.int("to", 0)?;
        DType::from_onnx(i32::try_from(number).unwrap_or(0))
    };
    let from = c.dtype(0)?;
    if from == to {
        return c.alias(0, 0);
    }
    if c.undecided(0)? || (from == DType::F32 && !to.is_float() && !c.has_host(0)?) {
        return in_the_run(c, to);
    }
    if to == DType::F32 && matches!(from, DType::F16 | DType::BF16) && widened(c)? {
        return Ok(());
    }
    let data_only = !from.is_float() || from != DType::F32;
    if data_only || c.foldable()? {
        let x = c.known(0)?;
        let y = fold::cast(&x, to)?;
        c.set_known(0, y);
        // binary32 values made from integers, or from constants of other formats, are exact constants
        if to == DType::F32 {
            exact(c);
        }
        return Ok(());
    }
    if to.is_float() {
        let what = format!("a cast of floating-point data from {from} to {to}");
        return Err(unsupported(what).note("only graphs of FLOAT (binary32) are certified"));
    }
    let x = c.known(0)?;
    let y = fold::cast(&x, to)?;
    c.set_known(0, y);
    Ok(())
}

/// Casts that are done in the run: FLOAT to integers, of which the fraction is dropped, or to BOOL, and from
/// there on. Their derivative is zero.
fn in_the_run(c: &mut Call, to: DType) -> Done {
    let held = c.undecided(0)?;
    let from = c.dtype(0)?;
    let x = if held { c.whole(0)? } else { c.graph(0)? };
    match to {
        DType::F32 => c.set(0, x),
        DType::Bool => {
            // 1 − [x = 0]
            let zero = c.emit(at_zero(), &[x])?;
            let one = c.scalar("one", 1.0);
            let y = c.binary(ops::Sub, one, zero)?;
            c.set_truth(y);
        }
        to if held && from != DType::Bool && matches!(to, DType::I8 | DType::U8 | DType::I16 | DType::U16) => {
            return Err(unsupported(format!("a cast of {from} that is only known in the run to {to}, which may wrap")));
        }
        to if to.int_range().is_some() => {
            let y = if held { x } else { c.emit(ops::Staircase(Steps::Truncate), &[x])? };
            c.set_held(0, y, to);
        }
        to => return Err(unsupported(format!("a cast of data of the run from {from} to {to}"))),
    }
    Ok(())
}

/// A stored 16-bit tensor is read as FLOAT, which is exact: what is trained is the tensor itself, under
/// its own name. Says whether operand 0 is one.
fn widened(c: &mut Call) -> Result<bool, Problem> {
    let operand = c.operand(0)?;
    let name = c.low.resolve(&operand).to_string();
    if let Some(first) = c.low.widened.get(&name).cloned() {
        c.alias_name(0, &first)?;
        return Ok(true);
    }
    let value = c.low.value(&name)?.clone();
    let stored = matches!(value.source, Source::Initializer | Source::ConstantNode | Source::Input);
    let (true, Some(host), Some(output)) = (stored, &value.host, c.node.outputs.first().cloned()) else {
        return Ok(false);
    };
    let host = Some(Arc::new(fold::cast(host, DType::F32)?));
    c.low.widened.insert(name.clone(), output.clone());
    c.low.shown.insert(output, name);
    super::movement::set_value(c, 0, Value { host, ..value });
    Ok(true)
}

/// Result 0 is what it is: there is no arithmetic behind it that the graph could repeat.
pub(super) fn exact(c: &mut Call) {
    if let Some(name) = c.node.outputs.first().cloned()
        && let Some(v) = c.low.values.get_mut(&name)
    {
        v.source = Source::Exact;
    }
}

/// start, start + delta, …, below limit.
pub(super) fn range(c: &mut Call) -> Done {
    let (start, limit, delta) = (c.known(0)?, c.known(1)?, c.known(2)?);
    if start.len() != 1 || limit.len() != 1 || delta.len() != 1 {
        return Err(invalid("start, limit and delta must be scalars"));
    }
    let y = match (&start.data, &limit.data, &delta.data) {
        (Data::Int(s), Data::Int(l), Data::Int(d)) => {
            let (s, l, d) = (i128::from(s[0]), i128::from(l[0]), i128::from(d[0]));
            if d == 0 {
                return Err(invalid("delta is 0"));
            }
            let n = if d > 0 { (l - s + d - 1) / d } else { (s - l - d - 1) / -d };
            let n = usize::try_from(n.max(0)).unwrap_or(usize::MAX);
            built(&[n])?;
            let data = (0..n as i128).map(|i| (s + i * d) as i64).collect();
            HostTensor { dtype: start.dtype, shape: vec![n], data: Data::Int(data) }
        }
        (Data::F32(s), Data::F32(l), Data::F32(d)) if start.dtype == DType::F32 => {
            let (s, l, d) = (s[0], l[0], d[0]);
            // the count is ⌈(limit − start)/delta⌉; entry i is start + i·delta in binary32
            let n = f64::from((l - s) / d).ceil().max(0.0);
            if !n.is_finite() || n > crate::import::index::MAX_BUILT as f64 {
                return Err(invalid(format!("a range of {n} entries")));
            }
            let n = n as usize;
            HostTensor::f32(vec![n], (0..n).map(|i| s + i as f32 * d).collect())
        }
        _ => return Err(Problem::found(Code::Type, format!("a range of {}", start.dtype))),
    };
    c.set_known(0, y);
    exact(c);
    Ok(())
}

/// EyeLike: ones on one diagonal.
pub(super) fn eye_like(c: &mut Call) -> Done {
    let shape = c.shape(0)?;
    let [rows, cols] = shape[..] else { return Err(format!("shape {shape:?} isn't a matrix").into()) };
    let k = c.int("k", 0)?;
    let dtype = match c.node.attributes.get("dtype") {
        Some(Attribute::Int(t)) => DType::from_onnx(i32::try_from(*t).unwrap_or(0)),
        _ => c.dtype(0)?,
    };
    let n = built(&[rows, cols])?;
    let on = |i: usize| i128::from(k) == (i % cols) as i128 - (i / cols) as i128;
    let ones = HostTensor::i64(vec![rows, cols], (0..n).map(|i| i64::from(on(i))).collect());
    let y = fold::cast(&ones, dtype)?;
    c.set_known(0, y);
    exact(c);
    Ok(())
}

/// NonZero of import-time data: the positions of entries that aren't zero, one row per axis.
pub(super) fn non_zero(c: &mut Call) -> Done {
    let x = c.known(0)?;
    let truth = fold::cast(&x, DType::Bool)?;
    let at: Vec<usize> =
        truth.as_bool().unwrap_or(&[]).iter().enumerate().filter(|(_, b)| **b).map(|(i, _)| i).collect();
    let own = crate::import::index::strides(&x.shape);
    let mut data = Vec::with_capacity(at.len() * x.shape.len());
    for (k, s) in own.iter().enumerate() {
        data.extend(at.iter().map(|i| ((i / s) % x.shape[k]) as i64));
    }
    c.set_known(0, HostTensor::i64(vec![x.shape.len(), at.len()], data));
    Ok(())
}
