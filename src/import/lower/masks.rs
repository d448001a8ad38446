//! Random operators with a recorded draw: `--seed-masks N` draws every mask once, before the run.

use super::call::{Call, Done, Problem, invalid};
use super::norm;
use crate::data::{DType, HostTensor};
use crate::import::random::Random;
use crate::ir::ValueId;
use crate::ops;

/// Dropout. With a ratio and in training mode the mask is drawn from the seed and the node's name, and
/// y = x·mask/(1 − ratio).
pub(super) fn dropout(c: &mut Call) -> Done {
    let training = c.opset >= 12 && c.has(2) && c.known(2)?.as_bool().is_some_and(|m| m.first() == Some(&true));
    let ratio = match (training, c.has(1)) {
        (false, _) => 0.0,
        (true, true) => c.known_scalar(1)?,
        (true, false) => 0.5,
    };
    let Some(seed) = c.low.options.draw.filter(|_| ratio != 0.0) else {
        return norm::dropout(c).map_err(|p| match ratio {
            0.0 => p,
            _ => p.help("--seed-masks N draws the mask once and records it"),
        });
    };
    if !(0.0..1.0).contains(&ratio) {
        return Err(invalid(format!("a ratio of {ratio}, less than 1 required")));
    }
    let shape = c.shape(0)?;
    let n: usize = crate::import::index::built(&shape)?;
    let mut r = Random::new(seed, &format!("mask of {}", c.node.label()));
    // dropped where a uniform number of 24 bits is below the ratio
    let bits: Vec<bool> = (0..n).map(|_| r.below(1 << 24) as f32 / (1 << 24) as f32 >= ratio).collect();
    let mask = HostTensor::bool(shape.clone(), bits.clone());
    c.low.drawn.push((c.node.label().to_string(), mask.clone()));
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
    let mask = c.tensor("mask / (1 - ratio)", shape, data);
    c.emit(ops::Mul, &[x, mask])
}

/// RandomUniformLike: numbers of 24 bits in [low, high), drawn once.
pub(super) fn random_uniform_like(c: &mut Call) -> Done {
    let Some(seed) = c.low.options.draw else {
        return Err(super::call::unsupported("random numbers that the file doesn't hold")
            .note("the gradient depends on them")
            .help("--seed-masks N draws them once and records them"));
    };
    let (low, high) = (c.float("low", 0.0)?, c.float("high", 1.0)?);
    let dtype = match c.int("dtype", 1)? {
        1 => DType::F32,
        other => return Err(super::call::unsupported(format!("random numbers of type {other}, FLOAT (1) required"))),
    };
    let shape = c.shape(0)?;
    let n: usize = crate::import::index::built(&shape)?;
    let mut r = Random::new(seed, &format!("mask of {}", c.node.label()));
    let uniform = |r: &mut Random| r.below(1 << 24) as f32 / (1 << 24) as f32;
    let data = (0..n).map(|_| low + (high - low) * uniform(&mut r)).collect();
    let host = HostTensor { dtype, shape, data: crate::data::Data::F32(data) };
    c.low.drawn.push((c.node.label().to_string(), host.clone()));
    c.set_known(0, host);
    super::constant::exact(c);
    Ok(())
}
