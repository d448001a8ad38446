//! Attention and RotaryEmbedding.

use super::call::{Call, Done, Problem, invalid, unsupported};
use super::linear::product;
use super::loss::masked_softmax;
use crate::data::Data;
use crate::error::Code;
use crate::import::index::{broadcast_shape, built, expand, from_fn};
use crate::ir::{Index, ValueId};
use crate::num::Elementary;
use crate::ops;

/// [B, S, heads·size] → [B, heads, S, size]; four dimensions stay.
fn heads(c: &mut Call, k: usize, count: &str) -> Result<ValueId, Problem> {
    let x = c.graph(k)?;
    let shape = c.sizes(x);
    match shape[..] {
        [_, _, _, _] => Ok(x),
        [b, s, width] => {
            let n = usize::try_from(c.int(count, 0)?).ok().filter(|&n| n > 0 && width % n == 0);
            let n = n.ok_or_else(|| invalid(format!("attribute \"{count}\" doesn't divide {width}")))?;
            let split = c.reshape(x, vec![b, s, n, width / n])?;
            c.transpose(split, &[0, 2, 1, 3])
        }
        _ => Err(format!("operand {k} of shape {shape:?} where 3 or 4 dimensions are needed").into()),
    }
}

/// `past` and x one after the other along axis 2.
fn appended(c: &mut Call, past: usize, x: ValueId) -> Result<ValueId, Problem> {
    if !c.has(past) {
        return Ok(x);
    }
    let p = c.graph(past)?;
    let (sp, sx) = (c.sizes(p), c.sizes(x));
    if sp.len() != 4 || sp[..2] != sx[..2] || sp[3] != sx[3] {
        return Err(format!("a cache of shape {sp:?} for {sx:?}").into());
    }
    let both = c.join(&[p, x])?;
    let out = vec![sx[0], sx[1], sp[2] + sx[2], sx[3]];
    let n: usize = sp.iter().product();
    let index = from_fn(&out, |i| {
        let lead = i[0] * sx[1] + i[1];
        Some(match i[2].checked_sub(sp[2]) {
            None => (lead * sp[2] + i[2]) * sx[3] + i[3],
            Some(s) => n + (lead * sx[2] + s) * sx[3] + i[3],
        })
    });
    c.gather(both, out, index)
}

/// Every key or value head serves `times` query heads: [h0, h0, h1, h1, …].
fn repeated(c: &mut Call, x: ValueId, times: usize) -> Result<ValueId, Problem> {
    if times == 1 {
        return Ok(x);
    }
    let s = c.sizes(x);
    let out = vec![s[0], s[1] * times, s[2], s[3]];
    built(&out)?;
    let index = from_fn(&out, |i| Some(((i[0] * s[1] + i[1] / times) * s[2] + i[2]) * s[3] + i[3]));
    c.gather(x, out, index)
}

/// Which scores [B, H, q, kv] are hidden, and what is added to the others.
struct Mask {
    hidden: Vec<bool>,
    bias: Option<ValueId>,
}

fn mask(c: &mut Call, shape: &[usize], past: usize) -> Result<Mask, Problem> {
    let (b, h, q, kv) = (shape[0], shape[1], shape[2], shape[3]);
    let n = built(shape)?;
    let mut hidden = vec![false; n];
    let mut bias = None;
    if c.has(3) {
        let given = c.shape(3)?;
        let width = given.last().copied().unwrap_or(0);
        if given.is_empty() || width > kv {
            return Err(format!("a mask of shape {given:?} for scores of shape {shape:?}").into());
        }
        let mut padded = given.clone();
        *padded.last_mut().unwrap_or(&mut 0) = kv;
        if broadcast_shape(&padded, shape)? != shape {
            return Err(format!("a mask of shape {given:?} for scores of shape {shape:?}").into());
        }
        let spread = expand(&padded, shape);
        // position in the mask as given; beyond its width everything is hidden
        let place = |i: usize| {
            let j = spread.source(i).unwrap_or(0);
            (j % kv < width).then(|| j / kv * width + j % kv)
        };
        let host = if c.has_host(3)? { Some(c.known(3)?) } else { None };
        match host.as_ref().map(|h| &h.data) {
            Some(Data::Bool(v)) => hidden.iter_mut().enumerate().for_each(|(i, x)| *x = place(i).is_none_or(|j| !v[j])),
            Some(Data::F32(v)) => {
                let off = |j: usize| v[j] == f32::NEG_INFINITY;
                hidden.iter_mut().enumerate().for_each(|(i, x)| *x = place(i).is_none_or(off));
                if v.iter().any(|x| *x != 0.0 && *x != f32::NEG_INFINITY) {
                    let table = (0..n).map(|i| if hidden[i] { Index::NOTHING } else { place(i).unwrap_or(0) as u32 });
                    let source = if v.iter().all(|x| x.is_finite()) {
                        c.graph(3)?
                    } else {
                        let finite: Vec<f32> =
                            v.iter().map(|&x| if x == f32::NEG_INFINITY { 0.0 } else { x }).collect();
                        if finite.iter().any(|x| !x.is_finite()) {
                            return Err(Problem::found(Code::Domain, "the mask holds values that aren't finite"));
                        }
                        c.tensor("finite part of the mask", given, finite)
                    };
                    let table: Vec<u32> = table.collect();
                    bias = Some(c.gather(source, shape.to_vec(), Index::Table(table.into()))?);
                }
            }
            Some(_) => return Err(Problem::found(Code::Type, "the mask is neither BOOL nor FLOAT")),
            None => {
                let source = c.graph(3)?;
                hidden.iter_mut().enumerate().for_each(|(i, x)| *x = place(i).is_none());
                let table: Vec<u32> = (0..n).map(|i| place(i).map_or(Index::NOTHING, |j| j as u32)).collect();
                bias = Some(c.gather(source, shape.to_vec(), Index::Table(table.into()))?);
            }
        }
    }
    let lengths = if c.has(6) { Some(c.known_ints(6)?) } else { None };
    if lengths.as_ref().is_some_and(|l| l.len() != b) {
        return Err(format!("{} key lengths for {b} sequences", lengths.map_or(0, |l| l.len())).into());
    }
    let causal = c.flag("is_causal", false)?;
    let (left, right) = (c.int("left_window_size", -1)?, c.int("right_window_size", -1)?);
    for (i, x) in hidden.iter_mut().enumerate() {
        let (batch, row, key) = (i / (h * q * kv), (i / kv % q) as i64, (i % kv) as i64);
        // where the query stands among the keys
        let offset = match (&lengths, c.has(4)) {
            (Some(l), false) => l[batch] - q as i64,
            _ => past as i64,
        };
        let ahead = key - (row + offset);
        *x |= causal && ahead > 0;
        *x |= left >= 0 && -ahead > left;
        *x |= right >= 0 && ahead > right;
        *x |= lengths.as_ref().is_some_and(|l| key >= l[batch]);
    }
    Ok(Mask { hidden, bias })
}

/// softmax(softcap(√s·Q · (√s·K)ᵀ) + mask) · V, as the reference composes it.
pub(super) fn attention(c: &mut Call) -> Done {
    if !matches!(c.int("softmax_precision", 1)?, 1) {
        return Err(unsupported("softmax_precision other than FLOAT"));
    }
    let flat = c.shape(0)?.len() == 3;
    let q = heads(c, 0, "q_num_heads")?;
    let k = heads(c, 1, "kv_num_heads")?;
    let v = heads(c, 2, "kv_num_heads")?;
    let (k, v) = (appended(c, 4, k)?, appended(c, 5, v)?);
    let past = if c.has(4) { c.shape(4)?[2] } else { 0 };
    let (sq, sk) = (c.sizes(q), c.sizes(k));
    if sk[1] == 0 || sq[1] % sk[1] != 0 || c.sizes(v)[..3] != sk[..3] || sq[0] != sk[0] {
        return Err(format!("queries {sq:?}, keys {sk:?} and values {:?}", c.sizes(v)).into());
    }
    c.set(1, k);
    c.set(2, v);
    let times = sq[1] / sk[1];
    let (k, v) = (repeated(c, k, times)?, repeated(c, v, times)?);
    let scale = match c.node.attributes.contains_key("scale") {
        true => f64::from(c.float("scale", 1.0)?),
        false => 1.0 / (sq[3] as f64).sqrt(),
    };
    if scale < 0.0 {
        return Err(invalid(format!("scale {scale}")));
    }
    let root = scale.sqrt() as f32;
    let q = c.scaled(q, "root of scale", root)?;
    let k = c.scaled(k, "root of scale", root)?;
    let kt = c.transpose(k, &[0, 1, 3, 2])?;
    let raw = product(c, q, kt)?;
    let shape = c.sizes(raw);
    let softcap = c.float("softcap", 0.0)?;
    let capped = if softcap > 0.0 {
        let cap = c.scalar("softcap", softcap);
        let small = c.binary(ops::Div, raw, cap)?;
        let bent = c.smooth(Elementary::Tanh, small)?;
        c.scaled(bent, "softcap", softcap)?
    } else {
        raw
    };
    let mask = mask(c, &shape, past)?;
    let biased = match mask.bias {
        Some(bias) => c.emit(ops::Add, &[capped, bias])?,
        None => capped,
    };
    let weights = if mask.hidden.iter().any(|&h| h) {
        masked_softmax(c, biased, &mask.hidden, true)?
    } else {
        c.emit(ops::Softmax, &[biased])?
    };
    let y = product(c, weights, v)?;
    let y = if flat {
        let moved = c.transpose(y, &[0, 2, 1, 3])?;
        let s = c.sizes(moved);
        c.reshape(moved, vec![s[0], s[1], s[2] * s[3]])?
    } else {
        y
    };
    c.set(0, y);
    if c.wanted(3) {
        let shown = match c.int("qk_matmul_output_mode", 0)? {
            0 => raw,
            1 => capped,
            2 if mask.hidden.iter().any(|&h| h) => {
                return Err(Problem::found(Code::Domain, "the scores with their mask hold −∞"));
            }
            2 => biased,
            3 => weights,
            other => return Err(invalid(format!("qk_matmul_output_mode {other}"))),
        };
        c.set(3, shown);
    }
    Ok(())
}

/// RotaryEmbedding: pairs (x1, x2) turned by the angles of their positions:
/// (cos·x1 − sin·x2, sin·x1 + cos·x2).
pub(super) fn rotary(c: &mut Call) -> Done {
    let x = c.graph(0)?;
    let shape = c.sizes(x);
    // sizes and the flat position of (batch, position, head, entry)
    let (b, s, h, size) = match shape[..] {
        [b, h, s, size] => (b, s, h, size),
        [b, s, width] => {
            let h = usize::try_from(c.int("num_heads", 0)?).ok().filter(|&h| h > 0 && width % h == 0);
            let h = h.ok_or_else(|| invalid(format!("num_heads doesn't divide {width}")))?;
            (b, s, h, width / h)
        }
        _ => return Err(format!("shape {shape:?} where 3 or 4 dimensions are needed").into()),
    };
    let four = shape.len() == 4;
    let place = move |n: usize, t: usize, k: usize, e: usize| {
        if four { ((n * h + k) * s + t) * size + e } else { ((n * s + t) * h + k) * size + e }
    };
    let dim = match c.int("rotary_embedding_dim", 0)? {
        0 => size,
        d => usize::try_from(d)
            .ok()
            .filter(|&d| d <= size)
            .ok_or_else(|| invalid(format!("rotary_embedding_dim {d}")))?,
    };
    let half = dim / 2;
    let interleaved = c.flag("interleaved", false)?;
    let pair = move |i: usize| if interleaved { (2 * i, 2 * i + 1) } else { (i, half + i) };
    let turned = [b, s, h, half];
    let first = c.gather(x, turned.to_vec(), from_fn(&turned, |i| Some(place(i[0], i[1], i[2], pair(i[3]).0))))?;
    let second = c.gather(x, turned.to_vec(), from_fn(&turned, |i| Some(place(i[0], i[1], i[2], pair(i[3]).1))))?;
    let mut angles = Vec::new();
    for k in [1, 2] {
        let cache = c.graph(k)?;
        let sc = c.sizes(cache);
        if sc.last() != Some(&half) {
            return Err(format!("a cache of shape {sc:?} where the last size must be {half}").into());
        }
        let rows: usize = sc[..sc.len() - 1].iter().product();
        let row: Vec<usize> = if c.has(3) {
            let ids = c.known_ints(3)?;
            let one = |&i: &i64| usize::try_from(i).ok().filter(|&i| i < rows);
            let ids: Option<Vec<usize>> = ids.iter().map(one).collect();
            ids.ok_or_else(|| Problem::found(Code::Input, format!("a position outside the cache of {rows} rows")))?
        } else {
            (0..rows).collect()
        };
        if row.len() != b * s {
            return Err(format!("{} positions for {b} sequences of length {s}", row.len()).into());
        }
        angles.push(c.gather(
            cache,
            turned.to_vec(),
            from_fn(&turned, |i| Some(row[i[0] * s + i[1]] * half + i[3])),
        )?);
    }
    let (cos, sin) = (angles[0], angles[1]);
    let terms = [(cos, first), (sin, second), (sin, first), (cos, second)];
    let mut products = Vec::new();
    for (a, v) in terms {
        products.push(c.emit(ops::Mul, &[a, v])?);
    }
    let real = c.emit(ops::Sub, &[products[0], products[1]])?;
    let imaginary = c.emit(ops::Add, &[products[2], products[3]])?;
    // back in place; entries beyond the turned part stay
    let all = c.join(&[real, imaginary, x])?;
    let n = b * s * h * half;
    let mut table = vec![0u32; shape.iter().product()];
    for (flat, slot) in table.iter_mut().enumerate() {
        *slot = (2 * n + flat) as u32;
    }
    for t in 0..b * s * h {
        let (m, at, k) = (t / (s * h), t / h % s, t % h);
        for i in 0..half {
            let (one, two) = pair(i);
            table[place(m, at, k, one)] = (t * half + i) as u32;
            table[place(m, at, k, two)] = (n + t * half + i) as u32;
        }
    }
    let y = c.gather(all, shape, Index::Table(table.into()))?;
    c.set(0, y);
    Ok(())
}
