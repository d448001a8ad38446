//! Comparisons, logic and integer arithmetic: import-time data only.

use super::call::{Call, Done, Problem};
use super::fold::{self, Arithmetic, Comparison};
use crate::data::HostTensor;
use crate::error::Code;

pub(super) fn compare(c: &mut Call) -> Done {
    let op = match c.node.op.as_str() {
        "Equal" => Comparison::Equal,
        "Less" => Comparison::Less,
        "LessOrEqual" => Comparison::LessOrEqual,
        "Greater" => Comparison::Greater,
        _ => Comparison::GreaterOrEqual,
    };
    let y = fold::comparison(op, &*c.known(0)?, &*c.known(1)?)?;
    c.set_known(0, y);
    Ok(())
}

pub(super) fn logic(c: &mut Call) -> Done {
    let op: fn(bool, bool) -> bool = match c.node.op.as_str() {
        "And" => |a, b| a && b,
        "Or" => |a, b| a || b,
        _ => |a, b| a != b,
    };
    let y = fold::logic(op, &*c.known(0)?, &*c.known(1)?)?;
    c.set_known(0, y);
    Ok(())
}

pub(super) fn not(c: &mut Call) -> Done {
    let x = c.known(0)?;
    let Some(v) = x.as_bool() else {
        return Err(Problem::found(Code::Type, format!("the operand is {}, not BOOL", x.dtype)));
    };
    c.set_known(0, HostTensor::bool(x.shape.clone(), v.iter().map(|b| !b).collect()));
    Ok(())
}

pub(super) fn modulo(c: &mut Call) -> Done {
    let op = if c.flag("fmod", false)? { Arithmetic::Fmod } else { Arithmetic::Mod };
    let (a, b) = (c.known(0)?, c.known(1)?);
    if a.dtype.is_float() && op == Arithmetic::Mod {
        return Err(Problem::found(Code::Attribute, "Mod of floats needs fmod = 1"));
    }
    let y = fold::arithmetic(op, &a, &b)?;
    c.set_known(0, y);
    Ok(())
}

/// IsNaN and IsInf of import-time data.
pub(super) fn classify(c: &mut Call) -> Done {
    let x = c.known(0)?;
    let Some(v) = x.as_f32() else {
        return Err(Problem::found(Code::Type, format!("the operand is {}", x.dtype)));
    };
    let y: Vec<bool> = if c.node.op == "IsNaN" {
        v.iter().map(|x| x.is_nan()).collect()
    } else {
        let (neg, pos) = (c.flag("detect_negative", true)?, c.flag("detect_positive", true)?);
        v.iter().map(|x| x.is_infinite() && if *x > 0.0 { pos } else { neg }).collect()
    };
    c.set_known(0, HostTensor::bool(x.shape.clone(), y));
    Ok(())
}
