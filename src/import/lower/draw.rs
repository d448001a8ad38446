//! Operators that draw at random: what they draw is drawn once, recorded, and part of the input.

use super::call::{Call, Done, Problem, invalid, unsupported};
use super::norm;
use crate::data::{DType, Data, HostTensor};
use crate::error::Code;
use crate::import::index::built;
use crate::import::random::Random;
use crate::import::value::LeafInfo;
use crate::ir::{Leaf, LeafKind, Tensor, ValueId};
use crate::ops;

impl Call<'_, '_> {
    /// What this node draws: recorded earlier under the node's name, or made from the seed.
    fn drawn(
        &mut self,
        dtype: DType,
        shape: &[usize],
        draw: &mut dyn FnMut(&mut Random) -> f32,
    ) -> Result<HostTensor, Problem> {
        let name = self.node.label().to_string();
        let n = built(shape)?;
        let given = self.low.options.drawn.iter().find(|(k, _)| *k == name);
        let tensor = match (given, self.low.options.draw) {
            (Some((_, t)), _) if t.dtype == dtype && t.shape == shape => t.clone(),
            (Some((_, t)), _) => {
                let is = format!("{} of shape {:?}", t.dtype, t.shape);
                let what = format!("what is recorded for \"{name}\" is {is}, {dtype} of {shape:?} is needed");
                return Err(Problem::found(Code::Input, what));
            }
            (None, Some(seed)) => {
                let mut r = Random::new(seed, &format!("mask of {name}"));
                let data = (0..n).map(|_| draw(&mut r));
                match dtype {
                    DType::Bool => HostTensor::bool(shape.to_vec(), data.map(|x| x != 0.0).collect()),
                    DType::F32 => HostTensor::f32(shape.to_vec(), data.collect()),
                    other => {
                        let data = Data::Int(data.map(|x| x as i64).collect());
                        HostTensor { dtype: other, shape: shape.to_vec(), data }
                    }
                }
            }
            (None, None) => {
                return Err(unsupported(format!("{} draws at random", self.node.op))
                    .note("the gradient depends on what is drawn, which the file doesn't hold")
                    .help("--seed-masks N draws it once and records it; or export without randomness"));
            }
        };
        self.low.drawn.push((name, tensor.clone()));
        Ok(tensor)
    }
}

/// Uniform on [0, 1), a multiple of 2^−24.
fn unit(r: &mut Random) -> f32 {
    r.below(1 << 24) as f32 / (1 << 24) as f32
}

/// Dropout. In training and with a ratio, y = x·mask/(1 − ratio).
pub(super) fn dropout(c: &mut Call) -> Done {
    // before opset 7 there was a mode; from 12 on it is an operand
    let training = c.opset >= 12 && c.has(2) && c.known(2)?.as_bool().is_some_and(|m| m.first() == Some(&true));
    let ratio = match (training, c.has(1)) {
        (false, _) => 0.0,
        (true, true) => c.known_scalar(1)?,
        (true, false) => 0.5,
    };
    if ratio == 0.0 {
        return norm::dropout(c);
    }
    if !(0.0..1.0).contains(&ratio) {
        return Err(invalid(format!("a ratio of {ratio}, at least 0 and less than 1 required")));
    }
    let shape = c.shape(0)?;
    let mask = c.drawn(DType::Bool, &shape, &mut |r| if unit(r) >= ratio { 1.0 } else { 0.0 })?;
    let bits = mask.as_bool().unwrap_or(&[]).to_vec();
    let y = apply(c, &bits, shape, ratio)?;
    c.set(0, y);
    c.set_known(1, mask);
    Ok(())
}

/// Operand 0 times mask/(1 − ratio), the quotient rounded once to binary32.
pub(super) fn apply(c: &mut Call, bits: &[bool], shape: Vec<usize>, ratio: f32) -> Result<ValueId, Problem> {
    let kept = 1.0 / (1.0 - ratio);
    let data = bits.iter().map(|&b| if b { kept } else { 0.0 }).collect();
    let x = c.graph(0)?;
    if c.sizes(x) != shape {
        return Err(format!("a mask of shape {shape:?} for data of shape {:?}", c.sizes(x)).into());
    }
    let name = format!("{}:mask", c.node.label());
    let id = c.low.builder.leaf(Leaf::new(name.clone(), LeafKind::Input, Tensor::new(shape.clone(), data)));
    let (reason, layer) = ("a mask that was drawn once and recorded", c.node.layer());
    c.low.leaves.push(LeafInfo { id, name, kind: LeafKind::Input, reason, shape, layer });
    c.emit(ops::Mul, &[x, id])
}

/// RandomUniform, RandomNormal, their Like forms, and Bernoulli of known probabilities.
pub(super) fn random(c: &mut Call) -> Done {
    let op = c.node.op.clone();
    let shape: Vec<usize> = if op.ends_with("Like") || op == "Bernoulli" {
        c.shape(0)?
    } else {
        let dims = c.ints("shape")?.ok_or_else(|| invalid("attribute \"shape\" is missing"))?;
        dims.iter().map(|&d| usize::try_from(d).map_err(|_| format!("size {d}"))).collect::<Result<_, _>>()?
    };
    let like = op.ends_with("Like") || op == "Bernoulli";
    let own = if like { c.dtype(0)? } else { DType::F32 };
    let dtype = match c.node.attributes.contains_key("dtype") {
        true => DType::from_onnx(i32::try_from(c.int("dtype", 1)?).unwrap_or(0)),
        false => own,
    };
    let tensor = match op.as_str() {
        "Bernoulli" => {
            let p = c.known(0)?;
            let p = p.as_f32().ok_or_else(|| unsupported("probabilities that aren't FLOAT"))?.to_vec();
            let mut next = p.iter();
            c.drawn(dtype, &shape, &mut |r| if unit(r) < *next.next().unwrap_or(&0.0) { 1.0 } else { 0.0 })?
        }
        _ if dtype != DType::F32 => {
            return Err(unsupported(format!("random numbers of type {dtype}, FLOAT required")));
        }
        "RandomNormal" | "RandomNormalLike" => {
            let (mean, scale) = (c.float("mean", 0.0)?, c.float("scale", 1.0)?);
            c.drawn(dtype, &shape, &mut |r| mean + scale * r.normal())?
        }
        _ => {
            let (low, high) = (c.float("low", 0.0)?, c.float("high", 1.0)?);
            c.drawn(dtype, &shape, &mut |r| low + (high - low) * unit(r))?
        }
    };
    c.set_known(0, tensor);
    super::constant::exact(c);
    Ok(())
}
