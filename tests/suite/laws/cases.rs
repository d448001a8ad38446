//! Cases: a primitive with operands, a cotangent, and errors of both.

use super::rng::Rng;
use super::values::{ERRORS, Errors, PALETTES, Palette, errors, neighbour, values};
use certify::ir::{Array, Index, Shaped, Tensor, elements};
use certify::num::{Elementary, Pieces, Steps, Ties};
use certify::ops::{
    Add, Conv, Div, Gather, Join, LogSoftmax, MatMul, Max, Mean, Mul, Normalize, Op, Piecewise, Route, Smooth, Softmax,
    Staircase, Sub, Sum,
};

/// One case.
#[derive(Clone, Debug)]
pub struct Case {
    /// To be found again.
    pub seed: u64,
    pub op: Op,
    pub x: Vec<Tensor>,
    pub eps: Vec<Vec<f64>>,
    pub ybar: Tensor,
    pub ybar_eps: Vec<f64>,
    /// Enclosures of the spec's operands are thin intervals and not points.
    pub thin: bool,
}

const SIZES: [usize; 12] = [0, 1, 2, 3, 7, 8, 9, 16, 17, 33, 64, 65];

/// The functions of a smooth node.
pub const FUNCTIONS: [Elementary; 29] = [
    Elementary::Exp,
    Elementary::Log,
    Elementary::Sqrt,
    Elementary::Tanh,
    Elementary::Sigmoid,
    Elementary::Erf,
    Elementary::Softplus,
    Elementary::Sin,
    Elementary::Cos,
    Elementary::Tan,
    Elementary::Asin,
    Elementary::Acos,
    Elementary::Atan,
    Elementary::Sinh,
    Elementary::Cosh,
    Elementary::Asinh,
    Elementary::Acosh,
    Elementary::Atanh,
    Elementary::Pow(2.0),
    Elementary::Pow(3.0),
    Elementary::Pow(0.5),
    Elementary::Pow(-0.5),
    Elementary::Pow(-1.0),
    Elementary::Pow(-2.0),
    Elementary::Pow(1.7),
    Elementary::Pow(0.1),
    Elementary::Pow(1.0),
    Elementary::Pow(0.0),
    Elementary::Pow(7.0),
];

/// Brings x into the domain of f, away from overflow.
fn into_domain(f: Elementary, x: f32) -> f32 {
    let below_one = |x: f32| if x.abs() < 1.0 { x } else { (1.0 / x).clamp(-0.999_999_94, 0.999_999_94) };
    match f {
        Elementary::Exp | Elementary::Sinh | Elementary::Cosh => {
            if x.abs() < 85.0 {
                x
            } else {
                x % 85.0
            }
        }
        Elementary::Log => {
            if x == 0.0 {
                1.0
            } else {
                x.abs()
            }
        }
        Elementary::Sqrt => x.abs(),
        Elementary::Asin | Elementary::Acos | Elementary::Atanh => below_one(x),
        Elementary::Acosh => neighbour(1.0, 1).max(1.0 + x.abs().min(1e30)),
        Elementary::Pow(p) if p < 0.0 => {
            let x = if x == 0.0 { 1.0 } else { x };
            let x = if p.trunc() == p { x } else { x.abs() };
            let limit = 2f32.powf(120.0 / p.abs());
            x.signum() * x.abs().clamp(1.0 / limit, limit)
        }
        Elementary::Pow(p) => {
            let x = if p.trunc() == p { x } else { x.abs() };
            let limit = 2f32.powf(120.0 / p.max(1.0));
            x.clamp(-limit, limit)
        }
        _ => x,
    }
}

/// The piecewise functions.
fn piecewise(rng: &mut Rng) -> Piecewise {
    let own = |kinks: &[f32], slopes: &[f32], offsets: &[f32], closed: &[bool]| {
        let wide = |v: &[f32]| v.iter().map(|&x| f64::from(x)).collect();
        Piecewise {
            pieces: Pieces {
                kinks: wide(kinks),
                slopes: wide(slopes),
                offsets: wide(offsets),
                left_closed: closed.to_vec(),
            },
        }
    };
    match rng.below(11) {
        0 | 1 => Piecewise::relu(),
        2 => Piecewise::leaky_relu(0.01),
        3 => Piecewise::leaky_relu(1.5),
        4 => Piecewise::leaky_relu(-0.3),
        5 => Piecewise::abs(),
        6 => Piecewise::clip(-1.0, 1.0),
        7 => Piecewise::clip(0.0, 6.0),
        8 => Piecewise::clip(f32::NEG_INFINITY, 0.1),
        // hard sigmoid: max(0, min(1, 0.2x + 0.5)), kinks not exactly where the pieces meet
        9 => own(&[-2.5, 2.5], &[0.0, 0.2, 0.0], &[0.0, 0.5, 1.0], &[true, false]),
        // thresholded relu: a jump
        _ => own(&[1.0], &[0.0, 1.0], &[0.0, 0.0], &[true]),
    }
}

fn index_table(rng: &mut Rng, n: usize, m: usize) -> Vec<u32> {
    let style = rng.below(4);
    (0..m)
        .map(|i| {
            if n == 0 || (style == 1 && rng.one_in(3)) {
                Index::NOTHING
            } else if style == 2 {
                // many readers of one entry
                if rng.one_in(8) { rng.below(n) as u32 } else { 0 }
            } else if style == 3 {
                (i % n) as u32
            } else {
                rng.below(n) as u32
            }
        })
        .collect()
}

/// A primitive by its registry name, and the shapes of its operands.
fn primitive(name: &str, rng: &mut Rng, index: u64) -> (Op, Vec<Vec<usize>>) {
    let n = rng.pick(&SIZES);
    let positive = n.max(1);
    let rows = rng.pick(&[1, 1, 2, 3]);
    let pair = vec![vec![n], vec![n]];
    match name {
        "Add" => (Add.into(), pair),
        "Sub" => (Sub.into(), pair),
        "Mul" => (Mul.into(), pair),
        "Div" => (Div.into(), pair),
        "Smooth" => (Smooth(FUNCTIONS[index as usize % FUNCTIONS.len()]).into(), vec![vec![positive]]),
        "Piecewise" => (piecewise(rng).into(), vec![vec![n]]),
        "Staircase" => (Staircase(rng.pick(&Steps::ALL)).into(), vec![vec![n]]),
        "Gather" => {
            if rng.one_in(5) {
                return (Gather::reshape(&[n, 1]).into(), vec![vec![n]]);
            }
            let m = rng.pick(&[0, 1, 2, 5, 9, 17, 33, 65, 130]);
            let table = index_table(rng, n, m);
            (Gather { shape: vec![m], index: Index::Table(table.into()) }.into(), vec![vec![n]])
        }
        "Join" => (Join.into(), (0..1 + rng.below(3)).map(|_| vec![rng.below(9)]).collect()),
        "Sum" => (Sum.into(), vec![vec![rows, rng.pick(&[0, 1, 2, 3, 7, 8, 9, 16, 17, 64, 65, 129, 300, 4097])]]),
        "Mean" => {
            let n = rng.pick(&[1, 2, 3, 7, 8, 9, 16, 17, 64, 65, 129, 300]);
            let divisors = match rng.below(3) {
                0 => vec![n as u32],
                1 => (0..rows).map(|_| 1 + rng.below(n) as u32).collect(),
                _ => vec![1 + rng.below(1 << 20) as u32],
            };
            (Mean { divisors }.into(), vec![vec![rows, n]])
        }
        "Max" => {
            let ties = if rng.one_in(2) { Ties::First } else { Ties::Split };
            (Max { ties }.into(), vec![vec![rows, positive]])
        }
        "Route" => (Route.into(), vec![vec![rows, positive], vec![rows]]),
        "MatMul" => {
            let op = MatMul { trans_a: rng.one_in(2), trans_b: rng.one_in(2) };
            let small = [0, 1, 1, 2, 3, 5];
            let (m, n) = (rng.pick(&small), rng.pick(&small));
            let k = rng.pick(&[0, 1, 1, 2, 3, 7, 8, 9, 31, 32, 33, 64, 65, 100]);
            let batch: Vec<usize> = rng.pick(&[vec![], vec![], vec![2], vec![2, 2], vec![0]]);
            let a = if op.trans_a { [k, m] } else { [m, k] };
            let b = if op.trans_b { [n, k] } else { [k, n] };
            let mut shapes = vec![[&batch[..], &a].concat(), [&batch[..], &b].concat()];
            if rng.one_in(2) {
                shapes.push([&batch[..], &[m, n]].concat());
            }
            (op.into(), shapes)
        }
        "Conv" => conv(rng),
        "Softmax" => (Softmax.into(), vec![vec![rows, positive]]),
        "LogSoftmax" => (LogSoftmax.into(), vec![vec![rows, positive]]),
        "Normalize" => {
            let epsilon = f64::from(rng.pick(&[0.0f32, 1e-5, 1e-5, 1e-12, 1.0, 1e-30]));
            (Normalize { epsilon, centred: !rng.one_in(3) }.into(), vec![vec![rows, positive]])
        }
        _ => panic!("the primitive {name} has no cases: add them in tests/suite/laws/cases.rs"),
    }
}

fn conv(rng: &mut Rng) -> (Op, Vec<Vec<usize>>) {
    loop {
        let d = rng.pick(&[1, 1, 2, 2, 3]);
        let small = |rng: &mut Rng, upto: usize| (0..d).map(|_| 1 + rng.below(upto)).collect::<Vec<usize>>();
        let (strides, dilations) = (small(rng, 3), small(rng, 2));
        let pads = (0..2 * d).map(|_| rng.below(3)).collect();
        let groups = rng.pick(&[1, 1, 2, 3]);
        let (cin, cout) = (1 + rng.below(3), 1 + rng.below(2));
        let batch = rng.pick(&[1, 1, 2, 0]);
        let input = small(rng, if d == 1 { 12 } else { 5 });
        let kernel = small(rng, 3);
        let op = Conv { strides, pads, dilations, groups };
        let mut shapes =
            vec![[&[batch, groups * cin], &input[..]].concat(), [&[groups * cout, cin], &kernel[..]].concat()];
        if rng.one_in(2) {
            shapes.push(vec![groups * cout]);
        }
        let op = Op::from(op);
        if op.infer(&shapes.iter().map(|s| &s[..]).collect::<Vec<_>>()).is_ok() {
            return (op, shapes);
        }
    }
}

/// Values that suit the primitive.
fn operand(op: &Op, rng: &mut Rng, palette: Palette, shape: &[usize], which: usize) -> Tensor {
    let mut data = values(rng, palette, elements(shape));
    match op {
        Op::Div(_) if which == 1 => data.iter_mut().filter(|v| **v == 0.0).for_each(|v| *v = 1.5),
        Op::Smooth(s) => data.iter_mut().for_each(|v| *v = into_domain(s.0, *v)),
        // kinks, and values around them
        Op::Piecewise(p) => data.iter_mut().for_each(|v| {
            if rng.one_in(3) && !p.pieces.kinks.is_empty() {
                let k = rng.pick(&p.pieces.kinks) as f32;
                *v = neighbour(k, rng.below(9) as i64 - 4);
            }
        }),
        // jumps, and values around them
        Op::Staircase(_) => data.iter_mut().for_each(|v| {
            if rng.one_in(2) {
                let jump = rng.pick(&[-2.5, -2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 65_536.0, 16_777_216.0]);
                *v = neighbour(jump, rng.below(9) as i64 - 4);
            }
        }),
        Op::Max(_) | Op::Route(_) if which == 0 && rng.one_in(2) => {
            let top = data.iter().copied().fold(0.0, f32::max);
            data.iter_mut().for_each(|v| {
                if rng.one_in(3) {
                    *v = neighbour(top, -(rng.below(3) as i64));
                }
            });
        }
        // rows that don't vary at all
        Op::Normalize(_) if rng.one_in(6) => {
            let v = data[0];
            data.iter_mut().for_each(|x| *x = v);
        }
        _ => {}
    }
    Array::new(shape.to_vec(), data)
}

/// The `index`-th case of a primitive.
pub fn case(name: &str, index: u64) -> Case {
    let mut rng = Rng::of(name, index);
    let (op, shapes) = primitive(name, &mut rng, index);
    let shape = op.infer(&shapes.iter().map(|s| &s[..]).collect::<Vec<_>>()).expect("a case's shapes fit");
    let palette = match rng.below(3) {
        0 => Palette::Plain,
        1 => Palette::Engineered,
        _ => rng.pick(&PALETTES),
    };
    let kind = rng.pick(&ERRORS);
    let x: Vec<Tensor> = shapes.iter().enumerate().map(|(k, s)| operand(&op, &mut rng, palette, s, k)).collect();
    let eps = x
        .iter()
        .map(|t| {
            let own = if rng.one_in(3) { rng.pick(&ERRORS) } else { kind };
            errors(&mut rng, own, &t.data)
        })
        .collect();
    let palette = if rng.one_in(2) { Palette::Plain } else { rng.pick(&PALETTES) };
    let ybar = Array::new(shape.clone(), values(&mut rng, palette, elements(&shape)));
    let ybar_kind = if matches!(kind, Errors::None) && rng.one_in(2) { kind } else { rng.pick(&ERRORS) };
    let ybar_eps = errors(&mut rng, ybar_kind, &ybar.data);
    Case { seed: index, op, x, eps, ybar, ybar_eps, thin: rng.one_in(3) }
}
