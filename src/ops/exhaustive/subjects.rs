//! What is tried: primitives with shapes of their operands, alone and many at once.

use super::BINARY16;
use crate::ir::{Index, Shaped, elements};
use crate::num::{Elementary, Pieces, Steps, Ties};
use crate::ops::*;

/// What a cotangent is computed of, besides ȳ.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Reads {
    /// Nothing: the primitive is linear.
    Nothing,
    Operands,
    /// Operands and the result.
    Result,
}

/// A primitive with shapes of its operands.
pub(super) struct Subject {
    pub(super) op: Op,
    pub(super) shapes: Vec<Vec<usize>>,
    pub(super) reciprocal: bool,
}

impl Subject {
    pub(super) fn new(op: impl Into<Op>, shapes: &[&[usize]]) -> Subject {
        let op = op.into();
        let reciprocal = matches!(op, Op::Mean(_) | Op::Softmax(_) | Op::LogSoftmax(_) | Op::Normalize(_) | Op::Max(_));
        Subject { op, shapes: shapes.iter().map(|s| s.to_vec()).collect(), reciprocal }
    }

    pub(super) fn out(&self) -> Vec<usize> {
        let shapes: Vec<&[usize]> = self.shapes.iter().map(Vec::as_slice).collect();
        self.op.infer(&shapes).expect("shapes fit")
    }

    /// Numbers that a combination consists of: all operands, then the cotangent.
    pub(super) fn arity(&self) -> usize {
        self.shapes.iter().map(|s| elements(s)).sum::<usize>() + elements(&self.out())
    }

    /// Operands of one entry each, how many?
    pub(super) fn scalars(&self) -> Option<usize> {
        self.shapes.iter().all(|s| elements(s) == 1).then_some(self.shapes.len())
    }

    pub(super) fn reads(&self) -> Reads {
        match self.op {
            Op::Add(_) | Op::Sub(_) | Op::Sum(_) | Op::Mean(_) | Op::Gather(_) | Op::Join(_) | Op::Staircase(_) => {
                Reads::Nothing
            }
            Op::Mul(_) | Op::Div(_) | Op::Piecewise(_) | Op::Max(_) | Op::Route(_) | Op::MatMul(_) | Op::Conv(_) => {
                Reads::Operands
            }
            Op::Smooth(_) | Op::Softmax(_) | Op::LogSoftmax(_) | Op::Normalize(_) => Reads::Result,
        }
    }

    /// Does nothing round here, neither forward nor backward?
    pub(super) fn exact(&self) -> bool {
        match &self.op {
            Op::Join(_) | Op::Staircase(_) | Op::Route(_) => true,
            Op::Piecewise(p) => p.pieces.slopes.iter().all(|s| s.fract() == 0.0),
            Op::Max(m) => m.ties == Ties::First,
            Op::Sum(_) => self.shapes[0][1] == 1,
            Op::Gather(g) => match &g.index {
                Index::Identity => true,
                Index::Table(t) => (1..t.len()).all(|i| t[i] == Index::NOTHING || !t[..i].contains(&t[i])),
            },
            _ => false,
        }
    }

    /// The same for n combinations at once: their entries follow each other in every operand.
    pub(super) fn times(&self, n: usize) -> Subject {
        let mut shapes = self.shapes.clone();
        let mut op = self.op.clone();
        match &mut op {
            Op::MatMul(_) => shapes.iter_mut().for_each(|s| s.insert(0, n)),
            Op::Gather(g) => {
                let len = elements(&self.shapes[0]);
                if let Index::Table(t) = &g.index {
                    let shifted =
                        |c: usize| t.iter().map(move |&i| if i == Index::NOTHING { i } else { i + (c * len) as u32 });
                    g.index = Index::Table((0..n).flat_map(shifted).collect::<Vec<u32>>().into());
                }
                g.shape = vec![n * elements(&g.shape)];
                shapes = vec![vec![n * len]];
            }
            Op::Conv(c) => {
                // a group of channels each
                c.groups *= n;
                shapes[0][1] *= n;
                shapes[1..].iter_mut().for_each(|s| s[0] *= n);
            }
            _ => shapes.iter_mut().for_each(|s| s[0] *= n),
        }
        Subject { op, shapes, reciprocal: self.reciprocal }
    }

    /// Where entry j of combination c stands in the result of [`Subject::times`] n.
    pub(super) fn place(&self, c: usize, j: usize, n: usize, width: usize) -> usize {
        if matches!(self.op, Op::Join(_)) { j * n + c } else { c * width + j }
    }
}

fn table(t: &[u32]) -> Index {
    Index::Table(t.to_vec().into())
}

fn pieces(kinks: [f64; 2], left_closed: [bool; 2], slopes: [f64; 3], offsets: [f64; 3]) -> Piecewise {
    Piecewise {
        pieces: Pieces {
            kinks: kinks.to_vec(),
            left_closed: left_closed.to_vec(),
            slopes: slopes.to_vec(),
            offsets: offsets.to_vec(),
        },
    }
}

/// Subjects whose rules hold for every u: they are made of the lemmas.
pub(super) fn subjects() -> Vec<Subject> {
    let clip = pieces([-1.0, 2.0], [true, false], [0.0, 1.0, 0.0], [-1.0, 0.0, 2.0]);
    let ramp = pieces([-1.0, 1.0], [true, false], [0.0, 0.25, 0.0], [0.25, 0.5, 0.75]);
    let mean = |d: u32| Mean { divisors: vec![d] };
    let product = |trans_a, trans_b| MatMul { trans_a, trans_b };
    let plain = || product(false, false);
    let conv = |stride, pads: [usize; 2], dilation| Conv {
        strides: vec![stride],
        pads: pads.to_vec(),
        dilations: vec![dilation],
        groups: 1,
    };
    vec![
        Subject::new(Add, &[&[1], &[1]]),
        Subject::new(Sub, &[&[1], &[1]]),
        Subject::new(Mul, &[&[1], &[1]]),
        Subject::new(Div, &[&[1], &[1]]),
        Subject::new(Piecewise::relu(), &[&[1]]),
        Subject::new(Piecewise::abs(), &[&[1]]),
        Subject::new(Piecewise::leaky_relu(0.25), &[&[1]]),
        Subject::new(Piecewise::leaky_relu(0.375), &[&[1]]),
        Subject::new(clip, &[&[1]]),
        Subject::new(ramp, &[&[1]]),
        Subject::new(Staircase(Steps::Floor), &[&[1]]),
        Subject::new(Staircase(Steps::Ceil), &[&[1]]),
        Subject::new(Staircase(Steps::Round), &[&[1]]),
        Subject::new(Staircase(Steps::Truncate), &[&[1]]),
        Subject::new(Gather { shape: vec![3], index: table(&[1, 0, 1]) }, &[&[2]]),
        Subject::new(Gather { shape: vec![4], index: table(&[0, 0, 0, 0]) }, &[&[1]]),
        Subject::new(Gather { shape: vec![5], index: table(&[0, 0, 0, 0, 0]) }, &[&[1]]),
        Subject::new(Gather { shape: vec![3], index: table(&[1, Index::NOTHING, 0]) }, &[&[2]]),
        Subject::new(Gather::reshape(&[2]), &[&[2]]),
        Subject::new(Join, &[&[1], &[1]]),
        Subject::new(Sum, &[&[1, 1]]),
        Subject::new(Sum, &[&[1, 2]]),
        Subject::new(Sum, &[&[1, 3]]),
        Subject::new(Sum, &[&[1, 4]]),
        Subject::new(Sum, &[&[1, 5]]),
        Subject::new(mean(2), &[&[1, 2]]),
        Subject::new(mean(3), &[&[1, 3]]),
        Subject::new(mean(4), &[&[1, 4]]),
        Subject::new(mean(5), &[&[1, 5]]),
        Subject::new(Max { ties: Ties::First }, &[&[1, 3]]),
        Subject::new(Max { ties: Ties::Split }, &[&[1, 3]]),
        Subject::new(Route, &[&[1, 2], &[1]]),
        Subject::new(Route, &[&[1, 3], &[1]]),
        Subject::new(plain(), &[&[1, 1], &[1, 1]]),
        Subject::new(plain(), &[&[1, 2], &[2, 1]]),
        Subject::new(product(true, true), &[&[2, 1], &[1, 2]]),
        Subject::new(plain(), &[&[1, 2], &[2, 1], &[1, 1]]),
        Subject::new(plain(), &[&[1, 3], &[3, 1]]),
        Subject::new(plain(), &[&[1, 4], &[4, 1]]),
        Subject::new(plain(), &[&[1, 4], &[4, 1], &[1, 1]]),
        Subject::new(plain(), &[&[1, 5], &[5, 1]]),
        Subject::new(plain(), &[&[2, 1], &[1, 2]]),
        Subject::new(conv(1, [1, 0], 1), &[&[1, 1, 2], &[1, 1, 2]]),
        Subject::new(conv(1, [1, 0], 1), &[&[1, 1, 2], &[1, 1, 2], &[1]]),
        Subject::new(conv(2, [1, 1], 2), &[&[1, 1, 3], &[1, 1, 2]]),
    ]
}

/// Subjects whose rules have terms for small u, for binary16.
pub(super) fn elementary() -> Vec<Subject> {
    // an exponent is a number of the format, and so is the next lower one
    let held = |x: f32| BINARY16.round(f64::from(x)) == f64::from(x);
    let known = |f: &Elementary| !matches!(*f, Elementary::Pow(p) if !held(p) || !held(p - 1.0));
    let functions = Elementary::ALL.into_iter().filter(known).chain([Elementary::Pow(2.5), Elementary::Pow(-1.0)]);
    let mut all: Vec<Subject> = functions.map(|f| Subject::new(Smooth(f), &[&[1]])).collect();
    all.push(Subject::new(Softmax, &[&[1, 2]]));
    all.push(Subject::new(LogSoftmax, &[&[1, 2]]));
    all.push(Subject::new(Normalize { epsilon: 0.0625, centred: true }, &[&[1, 2]]));
    all.push(Subject::new(Normalize { epsilon: 0.0625, centred: false }, &[&[1, 2]]));
    all
}
