//! LinearAttention, CausalConvWithState and FlexAttention, as compositions.

use super::call::{Call, Done, Problem, invalid};
use super::linear::product;
use crate::import::index::{built, from_fn};
use crate::ir::ValueId;
use crate::num::Elementary;
use crate::ops;

/// [B, T, H·d] → [B, H, T, d].
fn split(c: &mut Call, k: usize, heads: usize) -> Result<ValueId, Problem> {
    let x = c.graph(k)?;
    let s = c.sizes(x);
    let [b, t, width] = s[..] else { return Err(format!("operand {k} of shape {s:?}").into()) };
    // one number for all heads
    let heads = if width == 1 { 1 } else { heads };
    if heads == 0 || width % heads != 0 {
        return Err(invalid(format!("{heads} heads of {width} entries")));
    }
    let x = c.reshape(x, vec![b, t, heads, width / heads])?;
    c.transpose(x, &[0, 2, 1, 3])
}

/// Entry t of axis 2 of [B, H, T, d], as [B, H, d].
fn entry(c: &mut Call, x: ValueId, t: usize) -> Result<ValueId, Problem> {
    let s = c.sizes(x);
    let out = vec![s[0], s[1], s[3]];
    let index = from_fn(&out, |at| Some(((at[0] * s[1] + at[1]) * s[2] + t) * s[3] + at[2]));
    c.gather(x, out, index)
}

/// The recurrence S_t = e^(g_t)·S_(t−1) + β_t·k_t ⊗ (v_t − (e^(g_t)·S_(t−1))ᵀ·k_t), o_t = scale·q_tᵀ·S_t, or
/// less of it, one entry of the sequence after the other.
pub(super) fn linear_attention(c: &mut Call) -> Done {
    let count = |name: &str| usize::try_from(c.int(name, 0)?).map_err(|_| invalid(name.to_string()));
    let (hq, hk) = (count("q_num_heads")?, count("kv_num_heads")?);
    if hk == 0 || hq % hk != 0 {
        return Err(invalid(format!("{hq} query heads for {hk} heads")));
    }
    let (gated, delta) = match c.text("update_rule", "gated_delta")?.as_str() {
        "linear" => (false, false),
        "gated" => (true, false),
        "delta" => (false, true),
        "gated_delta" => (true, true),
        other => return Err(invalid(format!("update_rule \"{other}\""))),
    };
    let (q, k, v) = (split(c, 0, hq)?, split(c, 1, hk)?, split(c, 2, hk)?);
    let (sk, sv) = (c.sizes(k), c.sizes(v));
    let [b, _, steps, dk] = sk[..] else { return Err(Problem::Operand) };
    let dv = sv[3];
    if c.sizes(q)[3] != dk || sv[2] != steps || c.sizes(q)[2] != steps {
        return Err(format!("queries {:?}, keys {sk:?} and values {sv:?}", c.sizes(q)).into());
    }
    let scale = match c.float("scale", 0.0)? {
        0.0 => (1.0 / (dk as f64).sqrt()) as f32,
        s => s,
    };
    // [B, T, H·d] or [B, T, H]: one number for every key entry, or for the head
    let decay = if gated { Some(split(c, 4, hk)?) } else { None };
    let beta = if delta { Some(split(c, 5, hk)?) } else { None };
    let mut state = match c.has(3) {
        true => c.graph(3)?,
        false => c.tensor("empty state", vec![b, hk, dk, dv], vec![0.0; b * hk * dk * dv]),
    };
    let mut rows = Vec::with_capacity(steps);
    let group = hq / hk;
    for t in 0..steps {
        let (kt, vt, qt) = (entry(c, k, t)?, entry(c, v, t)?, entry(c, q, t)?);
        if let Some(g) = decay {
            let g = entry(c, g, t)?;
            let (own, width) = (c.sizes(g)[1], c.sizes(g)[2]);
            let g = c.reshape(g, vec![b, own, width, 1])?;
            let keep = c.smooth(Elementary::Exp, g)?;
            state = c.binary(ops::Mul, state, keep)?;
        }
        let column = c.reshape(kt, vec![b, hk, dk, 1])?;
        let mut value = c.reshape(vt, vec![b, hk, 1, dv])?;
        if let Some(beta) = beta {
            let row = c.reshape(kt, vec![b, hk, 1, dk])?;
            let held = product(c, row, state)?;
            let new = c.emit(ops::Sub, &[value, held])?;
            let rate = entry(c, beta, t)?;
            let (own, width) = (c.sizes(rate)[1], c.sizes(rate)[2]);
            let rate = c.reshape(rate, vec![b, own, 1, width])?;
            value = c.binary(ops::Mul, new, rate)?;
        }
        let update = c.binary(ops::Mul, column, value)?;
        state = c.emit(ops::Add, &[state, update])?;
        // [B, Hk, group, dk] · [B, Hk, dk, dv]
        let qt = c.reshape(qt, vec![b, hk, group, dk])?;
        let o = product(c, qt, state)?;
        rows.push(c.scaled(o, "scale", scale)?);
    }
    if rows.is_empty() {
        return Err(format!("keys of shape {sk:?}").into());
    }
    let all = c.join(&rows)?;
    let out = vec![b, steps, hq * dv];
    built(&out)?;
    let y = c.gather(all, out.clone(), from_fn(&out, |at| Some((at[1] * b + at[0]) * hq * dv + at[2])))?;
    c.set(0, y);
    c.set(1, state);
    Ok(())
}

/// CausalConvWithState: a depthwise convolution over the state and the data after it.
pub(super) fn causal_conv(c: &mut Call) -> Done {
    let (x, w) = (c.graph(0)?, c.graph(1)?);
    let (sx, sw) = (c.sizes(x), c.sizes(w));
    let (&[b, channels, length], &[maps, 1, k]) = (&sx[..], &sw[..]) else {
        return Err(format!("data of shape {sx:?} and weights of shape {sw:?}").into());
    };
    if maps != channels || k == 0 {
        return Err(format!("weights of shape {sw:?} for {channels} channels").into());
    }
    let before = k - 1;
    let past = match c.has(3) {
        true => c.graph(3)?,
        false => c.tensor("empty state", vec![b, channels, before], vec![0.0; b * channels * before]),
    };
    if c.sizes(past) != [b, channels, before] {
        return Err(format!("a state of shape {:?} for {before} entries", c.sizes(past)).into());
    }
    let both = c.join(&[past, x])?;
    let total = before + length;
    let n = b * channels * before;
    let place = |row: usize, i: usize| match i.checked_sub(before) {
        None => row * before + i,
        Some(j) => n + row * length + j,
    };
    let padded = [b, channels, total];
    let data = c.gather(both, padded.to_vec(), from_fn(&padded, |at| Some(place(at[0] * channels + at[1], at[2]))))?;
    let mut operands = vec![data, w];
    if c.has(2) {
        operands.push(c.graph(2)?);
    }
    let conv = ops::Conv { strides: vec![1], pads: vec![0, 0], dilations: vec![1], groups: channels };
    let mut y = c.emit(conv, &operands)?;
    match c.text("activation", "none")?.as_str() {
        "none" => {}
        "silu" | "swish" => {
            let gate = c.smooth(Elementary::Sigmoid, y)?;
            y = c.emit(ops::Mul, &[y, gate])?;
        }
        other => return Err(invalid(format!("activation \"{other}\""))),
    }
    c.set(0, y);
    if c.wanted(1) {
        let state = [b, channels, before];
        let last = c.gather(
            both,
            state.to_vec(),
            from_fn(&state, |at| Some(place(at[0] * channels + at[1], length + at[2]))),
        )?;
        c.set(1, last);
    }
    Ok(())
}
