//! Exact arithmetic on import-time data.
//!
//! Integers: exact, an overflow is an error. Floats: binary32 (binary64, binary16, bfloat16 for
//! tensors of these types), rounded to nearest after every operation, as ONNX says; only
//! correctly rounded operations are here, so that the result doesn't depend on a library.

use super::call::{Problem, invalid, unsupported};
use crate::data::{DType, Data, HostTensor};
use crate::error::Code;
use crate::import::index::{apply, broadcast_shape, built, expand};

/// Arithmetic with two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Sub,
    Mul,
    Div,
    /// Remainder with the sign of the divisor (Python's), as ONNX's Mod for integers.
    Mod,
    /// Remainder with the sign of the dividend (C's fmod).
    Fmod,
    Min,
    Max,
}

/// Comparisons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Two tensors of one type, broadcast to one shape.
pub(super) fn aligned(a: &HostTensor, b: &HostTensor) -> Result<(HostTensor, HostTensor), Problem> {
    if a.dtype != b.dtype {
        return Err(Problem::found(Code::Type, format!("operands are {} and {}", a.dtype, b.dtype)));
    }
    let shape = broadcast_shape(&a.shape, &b.shape)?;
    built(&shape)?;
    let to =
        |t: &HostTensor| if t.shape == shape { t.clone() } else { apply(t, shape.clone(), &expand(&t.shape, &shape)) };
    Ok((to(a), to(b)))
}

/// Rounds a binary32 value to the tensor's own type. For + − · ÷ √ of 11- or 8-bit operands,
/// rounding to 24 bits first is innocuous: 24 ≥ 2·11 + 2 (Figueroa 1995).
fn narrow(dtype: DType, x: f32) -> f32 {
    match dtype {
        DType::F16 => half::f16::from_f32(x).to_f32(),
        DType::BF16 => half::bf16::from_f32(x).to_f32(),
        _ => x,
    }
}

/// a ∘ b with broadcasting.
pub(super) fn arithmetic(op: Arithmetic, a: &HostTensor, b: &HostTensor) -> Result<HostTensor, Problem> {
    use Arithmetic as A;
    let (a, b) = aligned(a, b)?;
    let range = a.dtype.int_range();
    let int = |x: i64, y: i64| -> Result<i64, Problem> {
        let zero = || invalid(format!("integer division {x} / 0"));
        let z = match op {
            A::Add => x.checked_add(y),
            A::Sub => x.checked_sub(y),
            A::Mul => x.checked_mul(y),
            A::Div if y == 0 => return Err(zero()),
            // C's division, which truncates: ONNX leaves the sign to the implementation, all truncate
            A::Div => x.checked_div(y),
            A::Mod | A::Fmod if y == 0 => return Err(zero()),
            A::Mod => x.checked_rem(y).map(|r| if r != 0 && (r < 0) != (y < 0) { r + y } else { r }),
            A::Fmod => x.checked_rem(y),
            A::Min => Some(x.min(y)),
            A::Max => Some(x.max(y)),
        };
        z.filter(|z| range.is_none_or(|(lo, hi)| (lo..=hi).contains(z)))
            .ok_or_else(|| invalid(format!("integer overflow in {x} {op:?} {y}")))
    };
    macro_rules! float {
        ($x:expr, $y:expr) => {
            match op {
                A::Add => $x + $y,
                A::Sub => $x - $y,
                A::Mul => $x * $y,
                A::Div => $x / $y,
                A::Fmod => $x % $y,
                A::Mod => {
                    let r = $x % $y;
                    if r != 0.0 && (r < 0.0) != ($y < 0.0) { r + $y } else { r }
                }
                A::Min => {
                    if $x < $y || $x.is_nan() {
                        $x
                    } else {
                        $y
                    }
                }
                A::Max => {
                    if $x > $y || $x.is_nan() {
                        $x
                    } else {
                        $y
                    }
                }
            }
        };
    }
    let dtype = a.dtype;
    let data = match (&a.data, &b.data) {
        (Data::Int(x), Data::Int(y)) => Data::Int(x.iter().zip(y).map(|(&x, &y)| int(x, y)).collect::<Result<_, _>>()?),
        (Data::F32(x), Data::F32(y)) => {
            Data::F32(x.iter().zip(y).map(|(&x, &y)| narrow(dtype, float!(x, y))).collect())
        }
        (Data::F64(x), Data::F64(y)) => Data::F64(x.iter().zip(y).map(|(&x, &y)| float!(x, y)).collect()),
        _ => return Err(Problem::found(Code::Type, format!("no arithmetic on {dtype}"))),
    };
    Ok(HostTensor { data, ..a })
}

/// a ∘ b with broadcasting, as truth values.
pub(super) fn comparison(op: Comparison, a: &HostTensor, b: &HostTensor) -> Result<HostTensor, Problem> {
    fn all<T: PartialOrd + Copy>(op: Comparison, x: &[T], y: &[T]) -> Vec<bool> {
        let one = |(x, y): (&T, &T)| match op {
            Comparison::Equal => x == y,
            Comparison::Less => x < y,
            Comparison::LessOrEqual => x <= y,
            Comparison::Greater => x > y,
            Comparison::GreaterOrEqual => x >= y,
        };
        x.iter().zip(y).map(one).collect()
    }
    let (a, b) = aligned(a, b)?;
    let data = match (&a.data, &b.data) {
        (Data::Int(x), Data::Int(y)) => all(op, x, y),
        (Data::F32(x), Data::F32(y)) => all(op, x, y),
        (Data::F64(x), Data::F64(y)) => all(op, x, y),
        (Data::Bool(x), Data::Bool(y)) => all(op, x, y),
        _ => return Err(Problem::found(Code::Type, format!("no comparison of {}", a.dtype))),
    };
    Ok(HostTensor::bool(a.shape, data))
}

/// a ∘ b for truth values, with broadcasting.
pub(super) fn logic(op: fn(bool, bool) -> bool, a: &HostTensor, b: &HostTensor) -> Result<HostTensor, Problem> {
    let (a, b) = aligned(a, b)?;
    match (&a.data, &b.data) {
        (Data::Bool(x), Data::Bool(y)) => {
            Ok(HostTensor::bool(a.shape, x.iter().zip(y).map(|(&x, &y)| op(x, y)).collect()))
        }
        _ => Err(Problem::found(Code::Type, format!("operands are {} where BOOL is needed", a.dtype))),
    }
}

/// Functions of one operand that are exact or correctly rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Neg,
    Abs,
    Sign,
    Floor,
    Ceil,
    /// To the nearest integer, ties to even.
    Round,
    Sqrt,
    Reciprocal,
    Relu,
}

/// f(x), or `None` for integers under a function of floats.
pub(super) fn function(f: Function, x: &HostTensor) -> Result<HostTensor, Problem> {
    use Function as F;
    macro_rules! float {
        ($x:expr, $one:expr, $zero:expr) => {
            match f {
                F::Neg => -$x,
                F::Abs => $x.abs(),
                F::Sign if $x > $zero => $one,
                F::Sign if $x < $zero => -$one,
                F::Sign => $x,
                F::Floor => $x.floor(),
                F::Ceil => $x.ceil(),
                F::Round => $x.round_ties_even(),
                F::Sqrt => $x.sqrt(),
                F::Reciprocal => $one / $x,
                F::Relu if $x > $zero || $x.is_nan() => $x,
                F::Relu => $zero,
            }
        };
    }
    let (dtype, range) = (x.dtype, x.dtype.int_range());
    let int = |x: i64| -> Result<i64, Problem> {
        let y = match f {
            F::Neg => x.checked_neg(),
            F::Abs => x.checked_abs(),
            F::Sign => Some(x.signum()),
            F::Relu => Some(x.max(0)),
            _ => return Err(Problem::found(Code::Type, format!("{f:?} of integers"))),
        };
        y.filter(|y| range.is_none_or(|(lo, hi)| (lo..=hi).contains(y)))
            .ok_or_else(|| invalid(format!("integer overflow in {f:?} of {x}")))
    };
    let data = match &x.data {
        Data::Int(v) => Data::Int(v.iter().map(|&x| int(x)).collect::<Result<_, _>>()?),
        Data::F32(v) => Data::F32(v.iter().map(|&x| narrow(dtype, float!(x, 1.0f32, 0.0f32))).collect()),
        Data::F64(v) => Data::F64(v.iter().map(|&x| float!(x, 1.0f64, 0.0f64)).collect()),
        _ => return Err(Problem::found(Code::Type, format!("{f:?} of {dtype}"))),
    };
    Ok(HostTensor { dtype, shape: x.shape.clone(), data })
}

/// Converts the elements to another type, as ONNX's Cast: integers to floats round to nearest,
/// floats to integers truncate.
pub(super) fn cast(x: &HostTensor, to: DType) -> Result<HostTensor, Problem> {
    let int = |v: f64| -> Result<i64, Problem> {
        let t = v.trunc();
        match to.int_range() {
            // hi as f64 may round up to 2^63, which is out of range: hence the strict comparison there
            Some((lo, hi)) if t >= lo as f64 && (t < hi as f64 || (hi < 1 << 53 && t <= hi as f64)) => Ok(t as i64),
            _ => Err(invalid(format!("{v} isn't a value of {to}"))),
        }
    };
    // integers to narrow floats: through binary64 (exact up to 2^53), then one rounding
    let float = |v: f64| match to {
        DType::F16 => half::f16::from_f64(v).to_f32(),
        DType::BF16 => half::bf16::from_f64(v).to_f32(),
        _ => v as f32,
    };
    let data = match (&x.data, to) {
        (Data::Opaque, _) | (_, DType::Other(_)) => {
            return Err(unsupported(format!("a cast from {} to {to}", x.dtype)));
        }
        (Data::Int(v), DType::F32) => Data::F32(v.iter().map(|&x| x as f32).collect()),
        (Data::Int(v), DType::F64) => Data::F64(v.iter().map(|&x| x as f64).collect()),
        (Data::Int(v), DType::F16 | DType::BF16) => Data::F32(v.iter().map(|&x| float(x as f64)).collect()),
        (Data::Int(v), DType::Bool) => Data::Bool(v.iter().map(|&x| x != 0).collect()),
        (Data::Int(v), _) => {
            let (lo, hi) = to.int_range().unwrap_or((i64::MIN, i64::MAX));
            if let Some(x) = v.iter().find(|x| !(lo..=hi).contains(*x)) {
                return Err(invalid(format!("{x} isn't a value of {to}")));
            }
            Data::Int(v.clone())
        }
        (Data::Bool(v), DType::F32 | DType::F16 | DType::BF16) => {
            Data::F32(v.iter().map(|&b| f32::from(u8::from(b))).collect())
        }
        (Data::Bool(v), DType::F64) => Data::F64(v.iter().map(|&b| f64::from(u8::from(b))).collect()),
        (Data::Bool(v), DType::Bool) => Data::Bool(v.clone()),
        (Data::Bool(v), _) => Data::Int(v.iter().map(|&b| i64::from(b)).collect()),
        (Data::F32(v), DType::F32) => Data::F32(v.clone()),
        (Data::F32(v), DType::F64) => Data::F64(v.iter().map(|&x| f64::from(x)).collect()),
        (Data::F32(v), DType::F16 | DType::BF16) => Data::F32(v.iter().map(|&x| float(f64::from(x))).collect()),
        (Data::F32(v), DType::Bool) => Data::Bool(v.iter().map(|&x| x != 0.0).collect()),
        (Data::F32(v), _) => Data::Int(v.iter().map(|&x| int(f64::from(x))).collect::<Result<_, _>>()?),
        (Data::F64(v), DType::F64) => Data::F64(v.clone()),
        (Data::F64(v), DType::F32 | DType::F16 | DType::BF16) => Data::F32(v.iter().map(|&x| float(x)).collect()),
        (Data::F64(v), DType::Bool) => Data::Bool(v.iter().map(|&x| x != 0.0).collect()),
        (Data::F64(v), _) => Data::Int(v.iter().map(|&x| int(x)).collect::<Result<_, _>>()?),
    };
    Ok(HostTensor { dtype: to, shape: x.shape.clone(), data })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ints(v: &[i64]) -> HostTensor {
        HostTensor::i64(vec![v.len()], v.to_vec())
    }

    fn run(op: Arithmetic, a: &[i64], b: &[i64]) -> Option<Vec<i64>> {
        arithmetic(op, &ints(a), &ints(b)).ok().map(|t| t.as_int().unwrap().to_vec())
    }

    #[test]
    fn integers_are_exact_or_refused() {
        assert_eq!(run(Arithmetic::Div, &[7, -7, 7], &[2, 2, -2]), Some(vec![3, -3, -3]));
        assert_eq!(run(Arithmetic::Mod, &[7, -7, 7, -7], &[3, 3, -3, -3]), Some(vec![1, 2, -2, -1]));
        assert_eq!(run(Arithmetic::Fmod, &[7, -7, 7, -7], &[3, 3, -3, -3]), Some(vec![1, -1, 1, -1]));
        assert_eq!(run(Arithmetic::Add, &[1, 2], &[10]), Some(vec![11, 12]));
        assert_eq!(run(Arithmetic::Mul, &[i64::MAX], &[2]), None);
        assert_eq!(run(Arithmetic::Div, &[1], &[0]), None);
        assert_eq!(run(Arithmetic::Div, &[i64::MIN], &[-1]), None);
        let small = HostTensor { dtype: DType::U8, shape: vec![1], data: Data::Int(vec![200]) };
        assert!(arithmetic(Arithmetic::Add, &small, &small).is_err());
        assert!(arithmetic(Arithmetic::Add, &small, &ints(&[1])).is_err());
    }

    #[test]
    fn floats_are_rounded_as_their_type_says() {
        let one = |x: f32| HostTensor::f32(vec![], vec![x]);
        let sum = arithmetic(Arithmetic::Add, &one(1.0), &one(f32::EPSILON / 2.0)).ok().unwrap();
        assert_eq!(sum.as_f32(), Some(&[1.0][..]));
        let half = HostTensor { dtype: DType::F16, shape: vec![], data: Data::F32(vec![2048.0]) };
        let unit = HostTensor { dtype: DType::F16, shape: vec![], data: Data::F32(vec![1.0]) };
        assert_eq!(arithmetic(Arithmetic::Add, &half, &unit).ok().unwrap().as_f32(), Some(&[2048.0][..]));
        assert_eq!(function(Function::Sqrt, &one(2.0)).ok().unwrap().as_f32(), Some(&[std::f32::consts::SQRT_2][..]));
        assert_eq!(function(Function::Round, &one(2.5)).ok().unwrap().as_f32(), Some(&[2.0][..]));
    }

    #[test]
    fn casts_truncate_and_refuse_what_does_not_fit() {
        let f = |x: f32| HostTensor::f32(vec![1], vec![x]);
        assert_eq!(cast(&f(-2.7), DType::I64).ok().unwrap().as_int(), Some(&[-2][..]));
        assert!(cast(&f(f32::NAN), DType::I64).is_err() && cast(&f(9.3e18), DType::I64).is_err());
        assert!(cast(&f(256.0), DType::U8).is_err() && cast(&f(255.5), DType::U8).is_ok());
        assert_eq!(cast(&ints(&[16_777_217]), DType::F32).ok().unwrap().as_f32(), Some(&[16_777_216.0][..]));
        assert!(cast(&ints(&[1]), DType::Other("STRING")).is_err());
    }

    #[test]
    fn comparisons_and_logic_broadcast() {
        let less = comparison(Comparison::Less, &ints(&[1, 2, 3]), &ints(&[2])).ok().unwrap();
        assert_eq!(less.as_bool(), Some(&[true, false, false][..]));
        let or = logic(|a, b| a || b, &less, &HostTensor::bool(vec![], vec![false])).ok().unwrap();
        assert_eq!(or, less);
        assert!(logic(|a, b| a && b, &less, &ints(&[1])).is_err());
    }
}
