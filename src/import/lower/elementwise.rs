//! Operators that work entry by entry, with NumPy broadcasting where there are two operands.

use std::rc::Rc;

use super::call::{Call, Done, Problem, invalid, unsupported};
use super::fold::{self, Arithmetic, Function};
use crate::data::DType;
use crate::error::Code;
use crate::import::index::{broadcast_shape, built, expand};
use crate::import::value::Source;
use crate::ir::{Index, ValueId};
use crate::num::{Elementary, Pieces, Steps, Ties};
use crate::ops::{self, Op, Piecewise, Smooth};

/// A piecewise linear function from its kinks, slopes and offsets; the left piece holds at a kink.
pub(super) fn pieces(kinks: &[f32], slopes: &[f32], offsets: &[f32], left_closed: &[bool]) -> Piecewise {
    let wide = |v: &[f32]| v.iter().map(|&x| f64::from(x)).collect();
    Piecewise {
        pieces: Pieces {
            kinks: wide(kinks),
            slopes: wide(slopes),
            offsets: wide(offsets),
            left_closed: left_closed.to_vec(),
        },
    }
}

impl Call<'_, '_> {
    /// f(x) for a smooth f.
    pub fn smooth(&mut self, f: Elementary, x: ValueId) -> Result<ValueId, Problem> {
        self.emit(Smooth(f), &[x])
    }

    /// √c of a constant of the operator: a real number in exact passes, rounded in the run.
    pub fn root(&mut self, what: &str, c: f32) -> Result<ValueId, Problem> {
        let c = self.scalar(what, c);
        self.smooth(Elementary::Sqrt, c)
    }

    /// −x, which is exact.
    pub fn negated(&mut self, x: ValueId) -> Result<ValueId, Problem> {
        self.emit(pieces(&[], &[-1.0], &[0.0], &[]), &[x])
    }

    /// min(x, 0).
    fn negative_part(&mut self, x: ValueId) -> Result<ValueId, Problem> {
        self.emit(Piecewise::clip(f32::NEG_INFINITY, 0.0), &[x])
    }

    /// The one float operand of a function.
    fn x(&mut self) -> Result<ValueId, Problem> {
        self.graph(0)
    }

    fn done(&mut self, y: ValueId) -> Done {
        self.set(0, y);
        Ok(())
    }
}

/// Computes f at import time if that is possible; says whether it was.
fn folded(c: &mut Call, f: Function) -> Result<bool, Problem> {
    if !c.foldable()? {
        return Ok(false);
    }
    let y = fold::function(f, &*c.known(0)?)?;
    c.set_known(0, y);
    Ok(true)
}

/// Exp, Log, Sqrt, Tanh, …
pub(super) fn smooth(c: &mut Call) -> Done {
    let f = match c.node.op.as_str() {
        "Exp" => Elementary::Exp,
        "Log" => Elementary::Log,
        "Sqrt" => Elementary::Sqrt,
        "Tanh" => Elementary::Tanh,
        "Sigmoid" => Elementary::Sigmoid,
        "Erf" => Elementary::Erf,
        "Softplus" => Elementary::Softplus,
        "Sin" => Elementary::Sin,
        "Cos" => Elementary::Cos,
        "Tan" => Elementary::Tan,
        "Asin" => Elementary::Asin,
        "Acos" => Elementary::Acos,
        "Atan" => Elementary::Atan,
        "Sinh" => Elementary::Sinh,
        "Cosh" => Elementary::Cosh,
        "Asinh" => Elementary::Asinh,
        "Acosh" => Elementary::Acosh,
        "Atanh" => Elementary::Atanh,
        other => return Err(unsupported(format!("no elementary function {other}"))),
    };
    if f == Elementary::Sqrt && folded(c, Function::Sqrt)? {
        return Ok(());
    }
    let x = c.x()?;
    let y = c.smooth(f, x)?;
    c.done(y)
}

pub(super) fn neg(c: &mut Call) -> Done {
    if folded(c, Function::Neg)? {
        return Ok(());
    }
    let x = c.x()?;
    let y = c.negated(x)?;
    c.done(y)
}

pub(super) fn relu(c: &mut Call) -> Done {
    if folded(c, Function::Relu)? {
        return Ok(());
    }
    let x = c.x()?;
    let y = c.emit(Piecewise::relu(), &[x])?;
    c.done(y)
}

pub(super) fn abs(c: &mut Call) -> Done {
    if folded(c, Function::Abs)? {
        return Ok(());
    }
    let x = c.x()?;
    let y = c.emit(Piecewise::abs(), &[x])?;
    c.done(y)
}

/// 1/x.
pub(super) fn reciprocal(c: &mut Call) -> Done {
    if folded(c, Function::Reciprocal)? {
        return Ok(());
    }
    let x = c.x()?;
    let one = c.scalar("one", 1.0);
    let y = c.binary(ops::Div, one, x)?;
    c.done(y)
}

/// Floor, Ceil, Round, Sign: their derivative is zero almost everywhere.
pub(super) fn stepwise(c: &mut Call) -> Done {
    let (f, steps) = match c.node.op.as_str() {
        "Floor" => (Function::Floor, Some(Steps::Floor)),
        "Ceil" => (Function::Ceil, Some(Steps::Ceil)),
        "Round" => (Function::Round, Some(Steps::Round)),
        _ => (Function::Sign, None),
    };
    // zero derivative, and no rounding: what is known is data
    if decided(c)? {
        let y = fold::function(f, &*c.known(0)?)?;
        c.set_known(0, y);
        super::constant::exact(c);
        return Ok(());
    }
    if folded(c, f)? {
        return Ok(());
    }
    let held = if c.undecided(0)? { Some(c.dtype(0)?) } else { None };
    let x = if held.is_some() { c.whole(0)? } else { c.x()? };
    let y = match steps {
        Some(steps) => {
            let what =
                format!("the derivative of {} is 0: no gradient passes, not even a straight-through one", c.node.op);
            c.remark(what);
            c.emit(ops::Staircase(steps), &[x])?
        }
        None => {
            // slope 0 on both sides; 0 itself has a piece of its own between ± the smallest number
            let eta = f32::from_bits(1);
            c.emit(pieces(&[-eta, eta], &[0.0, 0.0, 0.0], &[-1.0, 0.0, 1.0], &[true, false]), &[x])?
        }
    };
    match held {
        Some(dtype) => c.set_held(0, y, dtype),
        None => c.set(0, y),
    }
    Ok(())
}

/// Is the step on which operand 0 lies known before the run? That of constants is. Where one rounding
/// lies behind a number, it is too unless the number is whole: rounding is monotonic, so a number that
/// rounds to v < k for a whole k is below k itself.
fn decided(c: &Call) -> Result<bool, Problem> {
    let name = c.operand(0)?;
    let value = c.low.value(&name)?;
    let leaf = |s: &Source| matches!(s, Source::Exact | Source::Initializer | Source::ConstantNode);
    let Some(v) = value.host.as_ref().and_then(|h| h.as_f32()) else { return Ok(false) };
    Ok(match &value.source {
        Source::Folded(node) => {
            let once = matches!(node.op.as_str(), "Add" | "Sub" | "Mul" | "Div" | "Sqrt" | "Reciprocal");
            let plain = node.inputs.iter().all(|i| c.low.value(i).is_ok_and(|v| leaf(&v.source)));
            once && plain && v.iter().all(|x| x.fract() != 0.0)
        }
        source => leaf(source),
    })
}

/// x for x > 0, else alpha·x.
pub(super) fn leaky_relu(c: &mut Call) -> Done {
    let alpha = c.float("alpha", 0.01)?;
    let x = c.x()?;
    let y = c.emit(Piecewise::leaky_relu(alpha), &[x])?;
    c.done(y)
}

/// x for x > alpha, else 0.
pub(super) fn thresholded_relu(c: &mut Call) -> Done {
    let alpha = c.float("alpha", 1.0)?;
    let x = c.x()?;
    let y = c.emit(pieces(&[alpha], &[0.0, 1.0], &[0.0, 0.0], &[true]), &[x])?;
    c.done(y)
}

/// max(0, min(1, alpha·x + beta)), as alpha·x, + beta, clip.
fn hard_sigmoid_of(c: &mut Call, x: ValueId, alpha: f32, beta: f32) -> Result<ValueId, Problem> {
    let ax = c.scaled(x, "alpha", alpha)?;
    let beta = c.scalar("beta", beta);
    let line = c.binary(ops::Add, ax, beta)?;
    c.emit(Piecewise::clip(0.0, 1.0), &[line])
}

pub(super) fn hard_sigmoid(c: &mut Call) -> Done {
    let (alpha, beta) = (c.float("alpha", 0.2)?, c.float("beta", 0.5)?);
    let x = c.x()?;
    let y = hard_sigmoid_of(c, x, alpha, beta)?;
    c.done(y)
}

/// x · HardSigmoid(x) with alpha = 1/6, beta = 1/2.
pub(super) fn hard_swish(c: &mut Call) -> Done {
    let x = c.x()?;
    let gate = hard_sigmoid_of(c, x, 1.0 / 6.0, 0.5)?;
    let y = c.binary(ops::Mul, x, gate)?;
    c.done(y)
}

/// x for x ≥ 0, else alpha·(e^(x/width) − 1), as max(x, 0) + alpha·(e^(min(x, 0)/width) − 1).
fn exponential_unit(c: &mut Call, x: ValueId, alpha: f32, width: f32) -> Result<ValueId, Problem> {
    let positive = c.emit(Piecewise::relu(), &[x])?;
    let negative = c.negative_part(x)?;
    let scaled = if width == 1.0 {
        negative
    } else {
        let width = c.scalar("width", width);
        c.binary(ops::Div, negative, width)?
    };
    let exp = c.smooth(Elementary::Exp, scaled)?;
    let one = c.scalar("one", 1.0);
    let less = c.binary(ops::Sub, exp, one)?;
    let tail = c.scaled(less, "alpha", alpha)?;
    c.binary(ops::Add, positive, tail)
}

pub(super) fn elu(c: &mut Call) -> Done {
    let alpha = c.float("alpha", 1.0)?;
    let x = c.x()?;
    let y = exponential_unit(c, x, alpha, 1.0)?;
    c.done(y)
}

pub(super) fn celu(c: &mut Call) -> Done {
    let alpha = c.float("alpha", 1.0)?;
    if alpha == 0.0 {
        return Err(invalid("attribute \"alpha\" is 0"));
    }
    let x = c.x()?;
    let y = exponential_unit(c, x, alpha, alpha)?;
    c.done(y)
}

pub(super) fn selu(c: &mut Call) -> Done {
    let (alpha, gamma) = (c.float("alpha", 1.673_263_2)?, c.float("gamma", 1.050_701)?);
    let x = c.x()?;
    let unit = exponential_unit(c, x, alpha, 1.0)?;
    let y = c.scaled(unit, "gamma", gamma)?;
    c.done(y)
}

/// x / (1 + |x|).
pub(super) fn softsign(c: &mut Call) -> Done {
    let x = c.x()?;
    let size = c.emit(Piecewise::abs(), &[x])?;
    let one = c.scalar("one", 1.0);
    let below = c.binary(ops::Add, one, size)?;
    let y = c.binary(ops::Div, x, below)?;
    c.done(y)
}

/// x · sigmoid(alpha·x).
pub(super) fn swish(c: &mut Call) -> Done {
    let alpha = c.float("alpha", 1.0)?;
    let x = c.x()?;
    let ax = c.scaled(x, "alpha", alpha)?;
    let gate = c.smooth(Elementary::Sigmoid, ax)?;
    let y = c.binary(ops::Mul, x, gate)?;
    c.done(y)
}

/// x · tanh(softplus(x)).
/// Swish_alpha(a)·b.
pub(super) fn swiglu(c: &mut Call) -> Done {
    let alpha = c.float("alpha", 1.0)?;
    let (a, b) = (c.graph(0)?, c.graph(1)?);
    let scaled = c.scaled(a, "alpha", alpha)?;
    let gate = c.smooth(Elementary::Sigmoid, scaled)?;
    let swish = c.emit(ops::Mul, &[a, gate])?;
    let y = c.emit(ops::Mul, &[swish, b])?;
    c.done(y)
}

/// Affine, an experimental operator of early converters: alpha·x + beta.
pub(super) fn affine(c: &mut Call) -> Done {
    let (alpha, beta) = (c.float("alpha", 1.0)?, c.float("beta", 0.0)?);
    let x = c.x()?;
    let scaled = c.scaled(x, "alpha", alpha)?;
    let beta = c.scalar("beta", beta);
    let y = c.binary(ops::Add, scaled, beta)?;
    c.done(y)
}

/// x + bias for x < −lambd, x − bias for x > lambd, else 0.
pub(super) fn shrink(c: &mut Call) -> Done {
    let (bias, lambda) = (c.float("bias", 0.0)?, c.float("lambd", 0.5)?);
    if lambda < 0.0 {
        return Err(invalid(format!("lambd is {lambda}")));
    }
    let x = c.x()?;
    let y = c.emit(pieces(&[-lambda, lambda], &[1.0, 0.0, 1.0], &[bias, 0.0, -bias], &[false, true]), &[x])?;
    c.done(y)
}

pub(super) fn mish(c: &mut Call) -> Done {
    let x = c.x()?;
    let soft = c.smooth(Elementary::Softplus, x)?;
    let gate = c.smooth(Elementary::Tanh, soft)?;
    let y = c.binary(ops::Mul, x, gate)?;
    c.done(y)
}

/// ½·x·(1 + erf(x/√2)), or with the tanh approximation ½·x·(1 + tanh(√(2/π)·(x + 0.044715·x³))).
///
/// As in the function body that ONNX defines it by, both roots are `Sqrt` of a constant of the tensor's type, and a
/// part of what is computed: the exact √2 is the real one, and the run's rounding of it is an error of the run. 2/π
/// and 0.044715 are constants of that type.
pub(super) fn gelu(c: &mut Call) -> Done {
    let x = c.x()?;
    let inner = match c.text("approximate", "none")?.as_str() {
        "none" => {
            let root = c.root("two", 2.0)?;
            let scaled = c.binary(ops::Div, x, root)?;
            c.smooth(Elementary::Erf, scaled)?
        }
        "tanh" => {
            let cube = c.smooth(Elementary::Pow(3.0), x)?;
            let small = c.scaled(cube, "cubic coefficient", 0.044715)?;
            let sum = c.binary(ops::Add, x, small)?;
            let root = c.root("two over pi", std::f32::consts::FRAC_2_PI)?;
            let scaled = c.binary(ops::Mul, root, sum)?;
            c.smooth(Elementary::Tanh, scaled)?
        }
        other => return Err(invalid(format!("attribute \"approximate\" is \"{other}\""))),
    };
    let one = c.scalar("one", 1.0);
    let sum = c.binary(ops::Add, one, inner)?;
    let halved = c.scaled(x, "half", 0.5)?;
    let y = c.binary(ops::Mul, halved, sum)?;
    c.done(y)
}

/// x for x ≥ 0, else slope·x, as max(x, 0) + slope·min(x, 0); the slope broadcasts to x.
pub(super) fn prelu(c: &mut Call) -> Done {
    let x = c.x()?;
    let slope = c.graph(1)?;
    let shape = c.sizes(x);
    let slope = c.expand(slope, &shape)?;
    let positive = c.emit(Piecewise::relu(), &[x])?;
    let negative = c.negative_part(x)?;
    let tail = c.binary(ops::Mul, slope, negative)?;
    let y = c.binary(ops::Add, positive, tail)?;
    c.done(y)
}

/// Clip: limits are attributes before opset 11, operands after.
pub(super) fn clip(c: &mut Call) -> Done {
    let limit = |c: &Call, k: usize, name: &str, none: f32| -> Result<f32, Problem> {
        if c.opset < 11 {
            return match c.node.attributes.contains_key(name) {
                true => c.float(name, none),
                false => Ok(none),
            };
        }
        if c.has(k) { c.known_scalar(k) } else { Ok(none) }
    };
    if c.foldable()? && c.opset >= 11 {
        let mut x = (*c.known(0)?).clone();
        if c.has(1) {
            x = fold::arithmetic(Arithmetic::Max, &x, &*c.known(1)?)?;
        }
        if c.has(2) {
            x = fold::arithmetic(Arithmetic::Min, &x, &*c.known(2)?)?;
        }
        c.set_known(0, x);
        return Ok(());
    }
    if c.opset >= 11 && !c.is_float(0)? {
        return Err(Problem::Operand);
    }
    let lo = limit(c, 1, "min", f32::NEG_INFINITY)?;
    let hi = limit(c, 2, "max", f32::INFINITY)?;
    if lo.is_nan() || hi.is_nan() {
        return Err(invalid(format!("limits {lo} and {hi}")));
    }
    let x = c.x()?;
    // a limit of ±largest finite is how exporters write "none"
    let lo = if lo == f32::MIN { f32::NEG_INFINITY } else { lo };
    let hi = if hi == f32::MAX { f32::INFINITY } else { hi };
    let y = if lo == f32::NEG_INFINITY && hi == f32::INFINITY { x } else { c.emit(Piecewise::clip(lo, hi), &[x])? };
    c.done(y)
}

/// Add, Sub, Mul, Div.
pub(super) fn arithmetic(c: &mut Call) -> Done {
    let (fold, op): (Arithmetic, Op) = match c.node.op.as_str() {
        "Add" => (Arithmetic::Add, ops::Add.into()),
        "Sub" => (Arithmetic::Sub, ops::Sub.into()),
        "Mul" => (Arithmetic::Mul, ops::Mul.into()),
        _ => (Arithmetic::Div, ops::Div.into()),
    };
    if c.foldable()? {
        let y = fold::arithmetic(fold, &*c.known(0)?, &*c.known(1)?)?;
        c.set_known(0, y);
        return Ok(());
    }
    if c.undecided(0)? || c.undecided(1)? {
        if fold == Arithmetic::Div {
            return Err(unsupported("a quotient of integers that are only known in the run"));
        }
        let dtype = c.dtype(0)?;
        let (a, b) = (c.whole(0)?, c.whole(1)?);
        let y = c.binary(op, a, b)?;
        return c.set_integer(0, y, dtype);
    }
    if fold == Arithmetic::Add {
        return sum_with_mask(c);
    }
    let (a, b) = (c.graph(0)?, c.graph(1)?);
    let y = c.binary(op, a, b)?;
    c.done(y)
}

/// a + b, where entries of −∞ in a constant (an additive attention mask) or in a masked value stay
/// marked: the sum is −∞ there, and holds 0.
fn sum_with_mask(c: &mut Call) -> Done {
    let mut sides = Vec::new();
    for k in 0..2 {
        let host = if c.has_host(k)? { Some(c.known(k)?) } else { None };
        let hidden = host.as_ref().and_then(|h| h.as_f32()).filter(|v| v.contains(&f32::NEG_INFINITY));
        let side = match hidden {
            Some(v) => {
                let finite: Vec<f32> = v.iter().map(|&x| if x == f32::NEG_INFINITY { 0.0 } else { x }).collect();
                if finite.iter().any(|x| !x.is_finite()) {
                    return Err(Problem::found(Code::Domain, format!("operand {k} holds values that aren't finite")));
                }
                let mask: Vec<bool> = v.iter().map(|&x| x == f32::NEG_INFINITY).collect();
                let shape = c.shape(k)?;
                // a mask of nothing but 0 and −∞ adds nothing where it doesn't hide
                let plain = finite.iter().all(|&x| x == 0.0);
                let id = if plain { None } else { Some(c.tensor(&format!("operand {k}"), shape.clone(), finite)) };
                (id, Some(Rc::new(mask)), shape)
            }
            None => {
                let (id, mask) = c.masked(k)?;
                (Some(id), mask, c.shape(k)?)
            }
        };
        sides.push(side);
    }
    let shape = broadcast_shape(&sides[0].2, &sides[1].2)?;
    let n = built(&shape)?;
    let mut hidden = vec![false; n];
    let mut marked = false;
    for (_, mask, from) in &sides {
        if let Some(mask) = mask {
            marked = true;
            let index = expand(from, &shape);
            hidden.iter_mut().enumerate().for_each(|(i, h)| *h |= index.source(i).is_some_and(|j| mask[j]));
        }
    }
    let y = match (sides[0].0, sides[1].0) {
        (Some(a), Some(b)) => c.binary(ops::Add, a, b)?,
        (Some(x), None) | (None, Some(x)) => c.expand(x, &shape)?,
        (None, None) => c.tensor("zero", shape.clone(), vec![0.0; n]),
    };
    if marked {
        let table: Vec<u32> = (0..n).map(|i| if hidden[i] { Index::NOTHING } else { i as u32 }).collect();
        let y = c.gather(y, shape, Index::Table(table.into()))?;
        c.low.masks.insert(y, Rc::new(hidden));
        return c.done(y);
    }
    c.done(y)
}

/// x^p for an exponent known before the run; exponents that differ by entry are handled group by group.
pub(super) fn pow(c: &mut Call) -> Done {
    let exponent = c.known(1)?;
    let p = fold::cast(&exponent, DType::F32)?;
    let p = p.as_f32().unwrap_or(&[]).to_vec();
    if !c.is_float(0)? {
        let base = c.known(0)?;
        let (b, e) = fold::aligned(&fold::cast(&base, DType::I64)?, &fold::cast(&exponent, DType::I64)?)?;
        let power = |(&x, &e): (&i64, &i64)| u32::try_from(e).ok().and_then(|e| x.checked_pow(e));
        let values = b.as_int().unwrap_or(&[]).iter().zip(e.as_int().unwrap_or(&[])).map(power);
        let values =
            values.collect::<Option<Vec<_>>>().ok_or_else(|| invalid("integer overflow or negative exponent"))?;
        let y = fold::cast(&crate::data::HostTensor::i64(b.shape.clone(), values), base.dtype)?;
        c.set_known(0, y);
        return Ok(());
    }
    let x = c.x()?;
    let shape = broadcast_shape(&c.sizes(x), &exponent.shape)?;
    let x = c.expand(x, &shape)?;
    let (first, one) = (p.first().copied(), |a: f32, b: f32| a.to_bits() == b.to_bits());
    let y = match first {
        Some(p0) if p.iter().all(|&q| one(p0, q)) => power(c, x, p0)?,
        _ => {
            let spread = fold::aligned(
                &crate::data::HostTensor::f32(exponent.shape.clone(), p),
                &crate::data::HostTensor::f32(shape.clone(), vec![0.0; shape.iter().product()]),
            )?;
            grouped(c, x, &shape, spread.0.as_f32().unwrap_or(&[]))?
        }
    };
    c.done(y)
}

fn power(c: &mut Call, x: ValueId, p: f32) -> Result<ValueId, Problem> {
    if !p.is_finite() {
        return Err(invalid(format!("exponent {p}")));
    }
    if p == 1.0 {
        return Ok(x);
    }
    if p == 0.5 {
        return c.smooth(Elementary::Sqrt, x);
    }
    c.smooth(Elementary::Pow(p), x)
}

/// Entries with equal exponents are gathered, raised, and put back in their places.
fn grouped(c: &mut Call, x: ValueId, shape: &[usize], p: &[f32]) -> Result<ValueId, Problem> {
    let mut kinds: Vec<u32> = p.iter().map(|q| q.to_bits()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    if kinds.len() > 256 {
        return Err(unsupported(format!("{} different exponents", kinds.len())));
    }
    let mut place = vec![0u32; p.len()];
    let (mut parts, mut next) = (Vec::new(), 0);
    for kind in kinds {
        let at: Vec<u32> = (0..p.len() as u32).filter(|&i| p[i as usize].to_bits() == kind).collect();
        for &i in &at {
            place[i as usize] = next;
            next += 1;
        }
        let group = c.gather(x, vec![at.len()], Index::Table(at.into()))?;
        parts.push(power(c, group, f32::from_bits(kind))?);
    }
    let joined = c.join(&parts)?;
    c.gather(joined, shape.to_vec(), Index::Table(place.into()))
}

/// Sum and Mean of any number of tensors, added from left to right.
pub(super) fn total(c: &mut Call) -> Done {
    let n = c.operands();
    if n == 0 {
        return Err(invalid("no operands"));
    }
    if c.foldable()? && c.node.op == "Sum" {
        let mut y = (*c.known(0)?).clone();
        for k in 1..n {
            y = fold::arithmetic(Arithmetic::Add, &y, &*c.known(k)?)?;
        }
        c.set_known(0, y);
        return Ok(());
    }
    let mut y = c.graph(0)?;
    for k in 1..n {
        let x = c.graph(k)?;
        y = c.binary(ops::Add, y, x)?;
    }
    if c.node.op == "Mean" && n > 1 {
        let count = c.scalar("count", n as f32);
        y = c.binary(ops::Div, y, count)?;
    }
    c.done(y)
}

/// Max and Min of any number of tensors; equals share the cotangent.
pub(super) fn extremum(c: &mut Call) -> Done {
    let n = c.operands();
    let min = c.node.op == "Min";
    if n == 0 {
        return Err(invalid("no operands"));
    }
    if c.foldable()? || !c.is_float(0)? {
        let op = if min { Arithmetic::Min } else { Arithmetic::Max };
        let mut y = (*c.known(0)?).clone();
        for k in 1..n {
            y = fold::arithmetic(op, &y, &*c.known(k)?)?;
        }
        c.set_known(0, y);
        return Ok(());
    }
    let mut shape = c.shape(0)?;
    for k in 1..n {
        shape = broadcast_shape(&shape, &c.shape(k)?)?;
    }
    // −∞ never is the largest, +∞ never the smallest: such constants only have a shape
    let idle = if min { f32::INFINITY } else { f32::NEG_INFINITY };
    let mut parts = Vec::new();
    for k in 0..n {
        let skip = c.has_host(k)? && {
            let host = c.known(k)?;
            host.as_f32().is_some_and(|v| !v.is_empty() && v.iter().all(|&x| x == idle))
        };
        if !skip {
            parts.push(c.graph(k)?);
        }
    }
    if parts.is_empty() {
        return Err(Problem::found(Code::Domain, format!("all operands are {idle}")));
    }
    let n = parts.len();
    for p in &mut parts {
        *p = c.expand(*p, &shape)?;
    }
    if n == 1 {
        return c.done(parts[0]);
    }
    // [n, entries] → [entries, n]: the candidates for one entry lie in one row
    let count: usize = shape.iter().product();
    let joined = c.join(&parts)?;
    let stacked = c.reshape(joined, vec![n, count])?;
    let rows = c.transpose(stacked, &[1, 0])?;
    let rows = if min { c.negated(rows)? } else { rows };
    let best = c.max(rows, Ties::Split)?;
    let best = if min { c.negated(best)? } else { best };
    let y = c.reshape(best, shape)?;
    c.done(y)
}
