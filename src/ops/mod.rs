//! The primitives: each is a table {forward, vjp} × {spec, runtime, bound, scale}.
//!
//! | cell | what it says |
//! |---|---|
//! | spec | the textbook definition, over any [`Arith`] |
//! | runtime | the binary32 kernel, its reduction order fixed and recorded |
//! | bound | |runtime − spec| per entry, split into carried and local |
//! | scale | an interval that holds spec and runtime |

mod approx;
mod arithmetic;
mod contraction;
mod conv;
#[cfg(test)]
mod exhaustive;
#[cfg(test)]
mod formulas;
mod gather;
mod matmul;
mod max;
mod normalize;
mod patches;
mod piecewise;
mod reduce;
mod route;
mod smooth;
mod softmax;
mod staircase;

pub use approx::{Approx, Bound, Centre, UNKNOWN_GATE};
pub use arithmetic::{Add, Div, Mul, Sub};
pub use conv::Conv;
pub use gather::{Gather, Join};
pub use matmul::MatMul;
pub use max::Max;
pub(crate) use max::SHARED;
pub use normalize::Normalize;
pub use piecewise::Piecewise;
pub use reduce::{Mean, Sum};
pub use route::Route;
pub use smooth::Smooth;
pub use softmax::{LogSoftmax, Softmax};
pub use staircase::Staircase;

use crate::ir::{Array, Graph, GraphBuilder, Shaped, Tensor};
use crate::num::{Arith, Ball, Balls, Interval, parallel};

/// A RevGraph over the primitives of this crate.
pub type RevGraph = Graph<Op>;

/// Builds a [`RevGraph`].
pub type Builder = GraphBuilder<Op>;

/// One result per operand; `None` where no cotangent was wanted.
pub type PerOperand<T> = Vec<Option<T>>;

/// The eight cells of a primitive. There are no default methods: the compiler is the checklist.
///
/// `x` are the operands, `y` the result, `ybar` its cotangent, `wanted[k]` whether operand k needs a
/// cotangent. Shapes have been checked by [`Shaped::infer`].
pub trait RevNode: Shaped {
    /// The definition.
    fn forward_spec<A: Arith>(&self, a: &A, x: &[&Array<A::S>]) -> Array<A::S>;
    /// The exact vector–Jacobian product.
    fn vjp_spec<A: Arith>(
        &self,
        a: &A,
        x: &[&Array<A::S>],
        y: &Array<A::S>,
        ybar: &Array<A::S>,
        wanted: &[bool],
    ) -> PerOperand<Array<A::S>>;
    /// The binary32 kernel.
    fn forward_runtime(&self, x: &[&Tensor]) -> Tensor;
    /// The binary32 vector–Jacobian product.
    fn vjp_runtime(&self, x: &[&Tensor], y: &Tensor, ybar: &Tensor, wanted: &[bool]) -> PerOperand<Tensor>;
    /// Error of the result.
    fn forward_bound(&self, x: &[Approx], y: &Approx) -> Bound;
    /// Error of the cotangents.
    fn vjp_bound(&self, x: &[Approx], y: &Approx, ybar: &Approx, wanted: &[bool]) -> PerOperand<Bound>;
    /// Range of the result.
    fn forward_scale(&self, x: &[&Array<Interval>]) -> Array<Interval>;
    /// Range of the cotangents.
    fn vjp_scale(
        &self,
        x: &[&Array<Interval>],
        y: &Array<Interval>,
        ybar: &Array<Interval>,
        wanted: &[bool],
    ) -> PerOperand<Array<Interval>>;
}

macro_rules! registry {
    ($($name:ident: $file:literal),+ $(,)?) => {
        /// A primitive.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Op {
            $(#[allow(missing_docs)] $name($name)),+
        }

        $(impl From<$name> for Op {
            fn from(p: $name) -> Op {
                Op::$name(p)
            }
        })+

        impl Op {
            /// The primitive's name.
            pub fn name(&self) -> &'static str {
                match self { $(Op::$name(_) => stringify!($name)),+ }
            }

            /// Names of all primitives and the source files that hold their rules.
            pub const REGISTRY: &'static [(&'static str, &'static str)] = &[$((stringify!($name), include_str!($file))),+];
        }

        impl Shaped for Op {
            fn infer(&self, operands: &[&[usize]]) -> Result<Vec<usize>, String> {
                match self { $(Op::$name(p) => p.infer(operands)),+ }
            }
        }

        impl RevNode for Op {
            fn forward_spec<A: Arith>(&self, a: &A, x: &[&Array<A::S>]) -> Array<A::S> {
                match self { $(Op::$name(p) => p.forward_spec(a, x)),+ }
            }
            fn vjp_spec<A: Arith>(&self, a: &A, x: &[&Array<A::S>], y: &Array<A::S>, ybar: &Array<A::S>, wanted: &[bool]) -> PerOperand<Array<A::S>> {
                match self { $(Op::$name(p) => p.vjp_spec(a, x, y, ybar, wanted)),+ }
            }
            fn forward_runtime(&self, x: &[&Tensor]) -> Tensor {
                match self { $(Op::$name(p) => p.forward_runtime(x)),+ }
            }
            fn vjp_runtime(&self, x: &[&Tensor], y: &Tensor, ybar: &Tensor, wanted: &[bool]) -> PerOperand<Tensor> {
                match self { $(Op::$name(p) => p.vjp_runtime(x, y, ybar, wanted)),+ }
            }
            fn forward_bound(&self, x: &[Approx], y: &Approx) -> Bound {
                match self { $(Op::$name(p) => p.forward_bound(x, y)),+ }
            }
            fn vjp_bound(&self, x: &[Approx], y: &Approx, ybar: &Approx, wanted: &[bool]) -> PerOperand<Bound> {
                match self { $(Op::$name(p) => p.vjp_bound(x, y, ybar, wanted)),+ }
            }
            fn forward_scale(&self, x: &[&Array<Interval>]) -> Array<Interval> {
                match self { $(Op::$name(p) => p.forward_scale(x)),+ }
            }
            fn vjp_scale(&self, x: &[&Array<Interval>], y: &Array<Interval>, ybar: &Array<Interval>, wanted: &[bool]) -> PerOperand<Array<Interval>> {
                match self { $(Op::$name(p) => p.vjp_scale(x, y, ybar, wanted)),+ }
            }
        }
    };
}

registry! {
    Add: "arithmetic.rs",
    Sub: "arithmetic.rs",
    Mul: "arithmetic.rs",
    Div: "arithmetic.rs",
    Smooth: "smooth.rs",
    Piecewise: "piecewise.rs",
    Staircase: "staircase.rs",
    Gather: "gather.rs",
    Join: "gather.rs",
    Sum: "reduce.rs",
    Mean: "reduce.rs",
    Max: "max.rs",
    Route: "route.rs",
    MatMul: "matmul.rs",
    Conv: "conv.rs",
    Softmax: "softmax.rs",
    LogSoftmax: "softmax.rs",
    Normalize: "normalize.rs",
}

impl Op {
    /// The spec's branch at every gate of this node: a piece of a piecewise function, the first winner
    /// of a maximum; [`UNKNOWN_GATE`] where the enclosures can't tell. Empty for smooth primitives.
    pub fn gates(&self, balls: &Balls, x: &[&Array<Ball>]) -> Vec<u32> {
        match self {
            Op::Piecewise(p) => p.gates(balls, x[0]),
            Op::Staircase(s) => s.gates(balls, x[0]),
            Op::Max(m) => m.gates(balls, x[0]),
            Op::Route(m) => m.gates(balls, x[0]),
            _ => Vec::new(),
        }
    }

    /// The branches that a run took, written as [`Op::gates`] writes them.
    pub fn run_gates(&self, x: &[&Tensor]) -> Vec<u32> {
        match self {
            Op::Piecewise(p) => p.run_gates(x[0]),
            Op::Staircase(s) => s.run_gates(x[0]),
            Op::Max(m) => m.run_gates(x[0]),
            Op::Route(m) => m.run_gates(x[0]),
            _ => Vec::new(),
        }
    }

    /// Enclosures of what a contraction makes of these very operands; `None` for other primitives, whose
    /// definitions are evaluated entry by entry.
    pub fn forward_wide(&self, x: &[&Tensor]) -> Option<Vec<Interval>> {
        match self {
            Op::MatMul(p) => Some(p.forward_wide(x)),
            Op::Conv(p) => Some(p.forward_wide(x)),
            _ => None,
        }
    }

    /// As [`Op::forward_wide`], of the cotangents.
    pub fn vjp_wide(&self, x: &[&Tensor], ybar: &Tensor, wanted: &[bool]) -> Option<PerOperand<Vec<Interval>>> {
        match self {
            Op::MatMul(p) => Some(p.vjp_wide(x, ybar, wanted)),
            Op::Conv(p) => Some(p.vjp_wide(x, ybar, wanted)),
            _ => None,
        }
    }

    /// Gates of this node whose branch may differ between spec and covered runs.
    pub fn undecided(&self, x: &[Approx], y: &Approx) -> Vec<u32> {
        match self {
            Op::Piecewise(p) => p.undecided(&x[0], y),
            Op::Staircase(s) => s.undecided(&x[0], y),
            Op::Max(m) => m.undecided(&x[0], y),
            Op::Route(m) => m.undecided(&x[0], y),
            _ => Vec::new(),
        }
    }
}

/// The rules of a primitive, as they stand at the head of its file; `None` for an unknown name.
pub fn explain(name: &str) -> Option<String> {
    let (_, source) = Op::REGISTRY.iter().find(|(n, _)| n.eq_ignore_ascii_case(name))?;
    let lines = source.lines().take_while(|l| l.starts_with("//!"));
    Some(lines.map(|l| l.trim_start_matches("//!").trim_start_matches(' ').to_owned() + "\n").collect())
}

/// f(0), f(1), …, f(n−1), in parallel, in order.
pub(crate) fn map<T: Send>(n: usize, f: impl Fn(usize) -> T + Sync) -> Vec<T> {
    parallel::map(n, 512, f)
}

/// An f of a few instructions, of every entry, in parallel, in order.
pub(crate) fn map1<A: Sync, T: Send>(x: &[A], f: impl Fn(&A) -> T + Sync) -> Vec<T> {
    parallel::map1(x, 1 << 14, f)
}

/// An f of a few instructions, of every pair of entries, in parallel, in order.
pub(crate) fn map2<A: Sync, B: Sync, T: Send>(x: &[A], y: &[B], f: impl Fn(&A, &B) -> T + Sync) -> Vec<T> {
    parallel::map2(x, y, 1 << 14, f)
}

/// One result per row of length `n`, in parallel.
pub(crate) fn map_rows<T: Send>(rows: usize, f: impl Fn(usize) -> T + Sync) -> Vec<T> {
    parallel::map(rows, 1, f)
}

/// Rows worked on in parallel, each yielding as many entries as it likes, joined in order.
pub(crate) fn flat_rows<T: Send>(rows: usize, f: impl Fn(usize) -> Vec<T> + Sync) -> Vec<T> {
    parallel::flat(rows, 1, f)
}

/// All operands have the same shape, which is the result's.
pub(crate) fn same_shapes(operands: &[&[usize]], n: usize) -> Result<Vec<usize>, String> {
    if operands.len() != n {
        return Err(format!("{} operands given, {n} required", operands.len()));
    }
    if operands.iter().any(|s| *s != operands[0]) {
        return Err(format!("operands have different shapes {operands:?}"));
    }
    Ok(operands[0].to_vec())
}

/// The only operand is [.., n] with n > 0; its shape.
pub(crate) fn rows_of<'a>(operands: &[&'a [usize]]) -> Result<&'a [usize], String> {
    match operands {
        [s] if s.last().is_some_and(|&n| n > 0) => Ok(s),
        [s] => Err(format!("shape {s:?} has no last dimension to work along")),
        _ => Err(format!("{} operands given, 1 required", operands.len())),
    }
}
