//! RNN, GRU and LSTM, unrolled in time.
//!
//! Equations: the operators' reference in ONNX. The products with the weights of the input are one
//! product for all times; every step then adds the product with the weights of the state.

use super::call::{Call, Done, Problem, invalid, unsupported};
use crate::import::index::from_fn;
use crate::ir::ValueId;
use crate::num::Elementary;
use crate::ops::{self, Piecewise};

/// Sizes and operands of one recurrent node.
struct Plan {
    steps: usize,
    batch: usize,
    hidden: usize,
    gates: usize,
    directions: usize,
    /// Batch first in X, Y and the states.
    batch_first: bool,
    /// Length of every sequence.
    lengths: Vec<usize>,
    /// Three activations per direction for LSTM, two for GRU, one for RNN.
    activations: Vec<String>,
    clip: Option<f32>,
    /// X as [steps·batch, inputs].
    x: ValueId,
}

fn plan(c: &mut Call, gates: usize, defaults: &[&str]) -> Result<Plan, Problem> {
    let batch_first = c.flag("layout", false)?;
    let x = c.graph(0)?;
    let sx = c.sizes(x);
    let sw = c.shape(1)?;
    let ([first, second, inputs], [directions, rows, width]) = (&sx[..], &sw[..]) else {
        return Err(format!("X of shape {sx:?} and W of shape {sw:?}").into());
    };
    let (steps, batch) = if batch_first { (*second, *first) } else { (*first, *second) };
    let wanted = match c.text("direction", "forward")?.as_str() {
        "forward" | "reverse" => 1,
        "bidirectional" => 2,
        other => return Err(invalid(format!("direction \"{other}\""))),
    };
    let hidden = rows / gates;
    if *directions != wanted || hidden * gates != *rows || width != inputs || hidden == 0 {
        return Err(format!("X of shape {sx:?} and W of shape {sw:?} for {wanted} directions").into());
    }
    if c.int("hidden_size", hidden as i64)? != hidden as i64 {
        return Err(invalid(format!("hidden_size isn't {hidden}, which the weights have")));
    }
    let lengths = if c.has(4) {
        let list = c.known_ints(4)?;
        let one = |&l: &i64| usize::try_from(l).ok().filter(|&l| l <= steps);
        list.iter().map(one).collect::<Option<Vec<_>>>().ok_or_else(|| invalid(format!("sequence lengths {list:?}")))?
    } else {
        vec![steps; batch]
    };
    if lengths.len() != batch {
        return Err(format!("{} sequence lengths for {batch} sequences", lengths.len()).into());
    }
    let activations = match c.node.attributes.get("activations") {
        None => defaults.iter().cycle().take(defaults.len() * wanted).map(|s| s.to_string()).collect(),
        Some(crate::import::model::Attribute::Strs(list)) if list.len() == defaults.len() * wanted => list.clone(),
        Some(_) => return Err(invalid("attribute \"activations\" has another length than the directions need")),
    };
    let clip = if c.node.attributes.contains_key("clip") { Some(c.float("clip", 0.0)?) } else { None };
    let x = if batch_first { c.transpose(x, &[1, 0, 2])? } else { x };
    let x = c.reshape(x, vec![steps * batch, *inputs])?;
    Ok(Plan { steps, batch, hidden, gates, directions: wanted, batch_first, lengths, activations, clip, x })
}

impl Plan {
    /// Which time step of sequence n is worked on in step s, if any.
    fn time(&self, reverse: bool, s: usize, n: usize) -> Option<usize> {
        match s < self.lengths[n] {
            true if reverse => Some(self.lengths[n] - 1 - s),
            true => Some(s),
            false => None,
        }
    }

    /// The activation of a gate, its argument clipped where the node says so.
    fn activate(&self, c: &mut Call, name: &str, x: ValueId) -> Result<ValueId, Problem> {
        let x = match self.clip {
            Some(t) => c.emit(Piecewise::clip(-t, t), &[x])?,
            None => x,
        };
        activation(c, name, x)
    }
}

fn activation(c: &mut Call, name: &str, x: ValueId) -> Result<ValueId, Problem> {
    match name.to_ascii_lowercase().as_str() {
        "sigmoid" => c.smooth(Elementary::Sigmoid, x),
        "tanh" => c.smooth(Elementary::Tanh, x),
        "softplus" => c.smooth(Elementary::Softplus, x),
        "relu" => c.emit(Piecewise::relu(), &[x]),
        _ => Err(unsupported(format!("activation \"{name}\" of a recurrent operator"))),
    }
}

/// Part `d` of an operand whose first dimension counts the directions.
fn direction(c: &mut Call, k: usize, d: usize) -> Result<ValueId, Problem> {
    let v = c.graph(k)?;
    let shape = c.sizes(v);
    let rest: Vec<usize> = shape[1..].to_vec();
    let size: usize = rest.iter().product();
    if shape[0] == 1 {
        return c.reshape(v, rest);
    }
    c.gather(v, rest, from_fn(&[size], |i| Some(d * size + i[0])))
}

/// Rows `from..from + count` of a matrix, or entries of a vector.
fn rows(c: &mut Call, m: ValueId, from: usize, count: usize) -> Result<ValueId, Problem> {
    let shape = c.sizes(m);
    let width: usize = shape[1..].iter().product();
    let mut out = shape.clone();
    out[0] = count;
    c.gather(m, out, from_fn(&[count * width], |i| Some(from * width + i[0])))
}

/// The state operand k for direction d as [batch, hidden], or zeros.
fn state(c: &mut Call, p: &Plan, k: usize, d: usize) -> Result<ValueId, Problem> {
    let shape = vec![p.batch, p.hidden];
    if !c.has(k) {
        return Ok(c.tensor(&format!("initial state {k}"), shape, vec![0.0; p.batch * p.hidden]));
    }
    let v = c.graph(k)?;
    let v = if p.batch_first { c.transpose(v, &[1, 0, 2])? } else { v };
    if c.sizes(v) != [p.directions, p.batch, p.hidden] {
        return Err(format!("initial state of shape {:?}", c.sizes(v)).into());
    }
    let size = p.batch * p.hidden;
    c.gather(v, shape, from_fn(&[size], |i| Some(d * size + i[0])))
}

/// For sequences that have ended, the old state; zeros when there is none to keep.
fn keep(c: &mut Call, p: &Plan, s: usize, new: ValueId, old: Option<ValueId>) -> Result<ValueId, Problem> {
    if p.lengths.iter().all(|&l| s < l) {
        return Ok(new);
    }
    let (shape, size) = (c.sizes(new), p.batch * p.hidden);
    let on = |i: usize| s < p.lengths[i / p.hidden];
    match old {
        Some(old) => {
            let both = c.join(&[new, old])?;
            c.gather(both, shape, from_fn(&[size], |i| Some(if on(i[0]) { i[0] } else { size + i[0] })))
        }
        None => c.gather(new, shape, from_fn(&[size], |i| on(i[0]).then_some(i[0]))),
    }
}

/// Everything a direction's steps need: products of the input for all steps with biases added, and
/// the weights of the state.
struct Direction {
    /// [steps·batch, gates·hidden]; row s·batch + n belongs to step s.
    pre: ValueId,
    r: ValueId,
}

/// X·Wᵀ plus both biases where `both` says so for a gate, rearranged into the order of the steps.
fn prepare(
    c: &mut Call,
    p: &Plan,
    d: usize,
    reverse: bool,
    both: &dyn Fn(usize) -> bool,
) -> Result<Direction, Problem> {
    let (w, r) = (direction(c, 1, d)?, direction(c, 2, d)?);
    let width = p.gates * p.hidden;
    if c.sizes(r) != [width, p.hidden] {
        return Err(format!("R of shape {:?} where [.., {width}, {}] is needed", c.sizes(r), p.hidden).into());
    }
    let product = ops::MatMul { trans_a: false, trans_b: true };
    let mut operands = vec![p.x, w];
    if c.has(3) {
        let b = direction(c, 3, d)?;
        if c.sizes(b) != [2 * width] {
            return Err(format!("B of shape {:?} where [.., {}] is needed", c.sizes(b), 2 * width).into());
        }
        let wb = rows(c, b, 0, width)?;
        let rb = c.gather(b, vec![width], from_fn(&[width], |i| both(i[0] / p.hidden).then_some(width + i[0])))?;
        let sum = c.emit(ops::Add, &[wb, rb])?;
        operands.push(c.expand(sum, &[p.steps * p.batch, width])?);
    }
    let xw = c.emit(product, &operands)?;
    let in_order = !reverse && p.lengths.iter().all(|&l| l == p.steps);
    let pre = if in_order {
        xw
    } else {
        let shape = [p.steps, p.batch, width];
        let index = from_fn(&shape, |i| p.time(reverse, i[0], i[1]).map(|t| (t * p.batch + i[1]) * width + i[2]));
        c.gather(xw, vec![p.steps * p.batch, width], index)?
    };
    Ok(Direction { pre, r })
}

/// Columns of gate `g` of a [batch, gates·hidden] matrix.
fn gate(c: &mut Call, p: &Plan, all: ValueId, g: usize) -> Result<ValueId, Problem> {
    let width = c.sizes(all)[1];
    let index = from_fn(&[p.batch, p.hidden], |i| Some(i[0] * width + g * p.hidden + i[1]));
    c.gather(all, vec![p.batch, p.hidden], index)
}

/// Puts together Y, Y_h (and Y_c) from the hidden states of every direction and step.
fn results(c: &mut Call, p: &Plan, hs: &[Vec<ValueId>], last: &[Vec<ValueId>], reverse: &[bool]) -> Done {
    let size = p.batch * p.hidden;
    if c.wanted(0) {
        let parts: Vec<ValueId> = hs.iter().flatten().copied().collect();
        let joined = c.join(&parts)?;
        // part (d, s) holds step s of direction d; Y is [steps, directions, batch, hidden]
        let at = |t: usize, d: usize, n: usize, h: usize| {
            let s = if reverse[d] { p.lengths[n].checked_sub(t + 1)? } else { (t < p.lengths[n]).then_some(t)? };
            Some((d * p.steps + s) * size + n * p.hidden + h)
        };
        let y = if p.batch_first {
            let shape = vec![p.batch, p.steps, p.directions, p.hidden];
            let index = from_fn(&shape, |i| at(i[1], i[2], i[0], i[3]));
            c.gather(joined, shape, index)?
        } else {
            let shape = vec![p.steps, p.directions, p.batch, p.hidden];
            let index = from_fn(&shape, |i| at(i[0], i[1], i[2], i[3]));
            c.gather(joined, shape, index)?
        };
        c.set(0, y);
    }
    for (k, states) in last.iter().enumerate() {
        if c.wanted(k + 1) {
            let joined = c.join(states)?;
            let y = c.reshape(joined, vec![p.directions, p.batch, p.hidden])?;
            let y = if p.batch_first { c.transpose(y, &[1, 0, 2])? } else { y };
            c.set(k + 1, y);
        }
    }
    Ok(())
}

/// Does direction d run backwards?
fn reversed(c: &Call, d: usize) -> Result<bool, Problem> {
    Ok(d == 1 || c.text("direction", "forward")? == "reverse")
}

/// H_t = f(X_t·Wᵀ + H_{t−1}·Rᵀ + W_b + R_b).
pub(super) fn rnn(c: &mut Call) -> Done {
    let p = plan(c, 1, &["Tanh"])?;
    let (mut hs, mut last, mut reverse) = (Vec::new(), vec![Vec::new()], Vec::new());
    for d in 0..p.directions {
        let back = reversed(c, d)?;
        let dir = prepare(c, &p, d, back, &|_| true)?;
        let mut h = state(c, &p, 5, d)?;
        let mut steps = Vec::new();
        for s in 0..p.steps {
            let pre = rows(c, dir.pre, s * p.batch, p.batch)?;
            let sum = c.emit(ops::MatMul { trans_a: false, trans_b: true }, &[h, dir.r, pre])?;
            let new = p.activate(c, &p.activations[d], sum)?;
            h = keep(c, &p, s, new, Some(h))?;
            steps.push(h);
        }
        last[0].push(h);
        hs.push(steps);
        reverse.push(back);
    }
    results(c, &p, &hs, &last, &reverse)
}

/// z, r = f(…); h̃ = g(…); H_t = (1 − z)∘h̃ + z∘H_{t−1}; gates in the order z, r, h.
pub(super) fn gru(c: &mut Call) -> Done {
    let p = plan(c, 3, &["Sigmoid", "Tanh"])?;
    let after = c.flag("linear_before_reset", false)?;
    let (mut hs, mut last, mut reverse) = (Vec::new(), vec![Vec::new()], Vec::new());
    let product = ops::MatMul { trans_a: false, trans_b: true };
    for d in 0..p.directions {
        let back = reversed(c, d)?;
        // with linear_before_reset the state's bias of h̃ belongs inside the reset product
        let dir = prepare(c, &p, d, back, &|g| g < 2 || !after)?;
        let inner = if after && c.has(3) {
            let b = direction(c, 3, d)?;
            let bias = rows(c, b, 5 * p.hidden, p.hidden)?;
            Some(c.expand(bias, &[p.batch, p.hidden])?)
        } else {
            None
        };
        let (f, g) = (p.activations[2 * d].clone(), p.activations[2 * d + 1].clone());
        let r_zr = rows(c, dir.r, 0, 2 * p.hidden)?;
        let r_h = rows(c, dir.r, 2 * p.hidden, p.hidden)?;
        let mut h = state(c, &p, 5, d)?;
        let mut steps = Vec::new();
        for s in 0..p.steps {
            let pre = rows(c, dir.pre, s * p.batch, p.batch)?;
            let index = from_fn(&[p.batch, 2 * p.hidden], |i| Some(i[0] * 3 * p.hidden + i[1]));
            let pre_zr = c.gather(pre, vec![p.batch, 2 * p.hidden], index)?;
            let pre_h = gate(c, &p, pre, 2)?;
            let zr = c.emit(product, &[h, r_zr, pre_zr])?;
            let zr = p.activate(c, &f, zr)?;
            let (z, r) = (gate(c, &p, zr, 0)?, gate(c, &p, zr, 1)?);
            let sum = if after {
                let mut operands = vec![h, r_h];
                operands.extend(inner);
                let hr = c.emit(product, &operands)?;
                let reset = c.emit(ops::Mul, &[r, hr])?;
                c.emit(ops::Add, &[pre_h, reset])?
            } else {
                let reset = c.emit(ops::Mul, &[r, h])?;
                c.emit(product, &[reset, r_h, pre_h])?
            };
            let candidate = p.activate(c, &g, sum)?;
            let one = c.scalar("one", 1.0);
            let rest = c.binary(ops::Sub, one, z)?;
            let fresh = c.emit(ops::Mul, &[rest, candidate])?;
            let kept = c.emit(ops::Mul, &[z, h])?;
            let new = c.emit(ops::Add, &[fresh, kept])?;
            h = keep(c, &p, s, new, Some(h))?;
            steps.push(h);
        }
        last[0].push(h);
        hs.push(steps);
        reverse.push(back);
    }
    results(c, &p, &hs, &last, &reverse)
}

/// i, o, f = f(…), c̃ = g(…); C_t = f∘C_{t−1} + i∘c̃; H_t = o∘h(C_t); gates in the order i, o, f, c.
pub(super) fn lstm(c: &mut Call) -> Done {
    let p = plan(c, 4, &["Sigmoid", "Tanh", "Tanh"])?;
    if c.flag("input_forget", false)? {
        return Err(unsupported("input_forget 1 (coupled gates)"));
    }
    let (mut hs, mut last, mut reverse) = (Vec::new(), vec![Vec::new(), Vec::new()], Vec::new());
    let product = ops::MatMul { trans_a: false, trans_b: true };
    for d in 0..p.directions {
        let back = reversed(c, d)?;
        let dir = prepare(c, &p, d, back, &|_| true)?;
        // peepholes in the order i, o, f
        let mut peeps = Vec::new();
        if c.has(7) {
            let all = direction(c, 7, d)?;
            for g in 0..3 {
                let part = rows(c, all, g * p.hidden, p.hidden)?;
                peeps.push(c.expand(part, &[p.batch, p.hidden])?);
            }
        }
        let peep = |c: &mut Call, g: usize, sum: ValueId, cell: ValueId| match peeps.get(g) {
            Some(&w) => {
                let look = c.emit(ops::Mul, &[w, cell])?;
                c.emit(ops::Add, &[sum, look])
            }
            None => Ok(sum),
        };
        let names: Vec<String> = p.activations[3 * d..3 * d + 3].to_vec();
        let (mut h, mut cell) = (state(c, &p, 5, d)?, state(c, &p, 6, d)?);
        let mut steps = Vec::new();
        for s in 0..p.steps {
            let pre = rows(c, dir.pre, s * p.batch, p.batch)?;
            let all = c.emit(product, &[h, dir.r, pre])?;
            let (i, f) = (gate(c, &p, all, 0)?, gate(c, &p, all, 2)?);
            let (o, g) = (gate(c, &p, all, 1)?, gate(c, &p, all, 3)?);
            let (i, f) = (peep(c, 0, i, cell)?, peep(c, 2, f, cell)?);
            let (i, f) = (p.activate(c, &names[0], i)?, p.activate(c, &names[0], f)?);
            let g = p.activate(c, &names[1], g)?;
            let kept = c.emit(ops::Mul, &[f, cell])?;
            let fresh = c.emit(ops::Mul, &[i, g])?;
            let new_cell = c.emit(ops::Add, &[kept, fresh])?;
            let o = peep(c, 1, o, new_cell)?;
            let o = p.activate(c, &names[0], o)?;
            let squashed = activation(c, &names[2], new_cell)?;
            let new = c.emit(ops::Mul, &[o, squashed])?;
            h = keep(c, &p, s, new, Some(h))?;
            cell = keep(c, &p, s, new_cell, Some(cell))?;
            steps.push(h);
        }
        last[0].push(h);
        last[1].push(cell);
        hs.push(steps);
        reverse.push(back);
    }
    results(c, &p, &hs, &last, &reverse)
}
