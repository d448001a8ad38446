//! [`Cells`]: a primitive's table as the laws see it, with a defect planted where one is wanted.

use certify::ir::{Array, Tensor};
use certify::num::{Interval, Mag};
use certify::ops::{Approx, Bound, Op, PerOperand, RevNode};

/// What is wrong with the cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    None,
    /// Half of the forward rule's local part is missing.
    HalvedLocal,
    /// Half of the VJP rule's local part is missing.
    HalvedVjpLocal,
    /// The forward rule forgets what is carried.
    DroppedCarried,
    /// The VJP rule forgets what is carried.
    DroppedVjpCarried,
    /// The kernel's results stand one place off.
    ShiftedIndex,
    /// The kernel's cotangents stand one place off.
    ShiftedVjpIndex,
    /// The kernel takes n − 1 for n.
    WrongCount,
    /// Ranges are half as wide as they should be.
    HalvedScale,
    /// Ranges of cotangents are half as wide as they should be.
    HalvedVjpScale,
}

/// A primitive's cells.
#[derive(Clone, Debug)]
pub struct Cells {
    pub op: Op,
    pub defect: Defect,
}

fn halved(mut b: Bound) -> Bound {
    b.local = b.local.iter().map(|m| Mag::of(m.get() * 0.5)).collect();
    b
}

fn without_carried(mut b: Bound) -> Bound {
    b.carried.fill(Mag::ZERO);
    b
}

fn shifted(mut t: Tensor) -> Tensor {
    if !t.data.is_empty() {
        t.data.rotate_left(1);
    }
    t
}

fn narrowed(mut a: Array<Interval>) -> Array<Interval> {
    for i in a.data.iter_mut().filter(|i| i.mag().is_finite()) {
        let (m, r) = (i.mid(), (i.hi - i.lo) * 0.25);
        *i = Interval::new(m - r, m + r);
    }
    a
}

impl Cells {
    pub fn sound(op: &Op) -> Cells {
        Cells { op: op.clone(), defect: Defect::None }
    }

    fn when<T>(&self, defect: Defect, x: T, f: impl FnOnce(T) -> T) -> T {
        if self.defect == defect { f(x) } else { x }
    }

    fn miscounted(&self, x: &[&Tensor], y: Tensor) -> Tensor {
        let n = x[0].row_len() as f64;
        let factor = match &self.op {
            // Bessel's correction: the variance over n − 1
            Op::Normalize(_) => ((n - 1.0) / n).sqrt(),
            Op::Mean(_) => n / (n - 1.0),
            // the last term is forgotten
            Op::Sum(_) | Op::MatMul(_) | Op::Conv(_) | Op::Softmax(_) | Op::LogSoftmax(_) => (n - 1.0) / n,
            _ => return y,
        };
        Array::new(y.shape, y.data.iter().map(|&v| (f64::from(v) * factor) as f32).collect())
    }

    pub fn forward_runtime(&self, x: &[&Tensor]) -> Tensor {
        let y = self.op.forward_runtime(x);
        let y = self.when(Defect::ShiftedIndex, y, shifted);
        self.when(Defect::WrongCount, y, |y| self.miscounted(x, y))
    }

    pub fn vjp_runtime(&self, x: &[&Tensor], y: &Tensor, ybar: &Tensor, wanted: &[bool]) -> PerOperand<Tensor> {
        let out = self.op.vjp_runtime(x, y, ybar, wanted);
        self.when(Defect::ShiftedVjpIndex, out, |o| o.into_iter().map(|t| t.map(shifted)).collect())
    }

    pub fn forward_bound(&self, x: &[Approx], y: &Approx) -> Bound {
        let b = self.op.forward_bound(x, y);
        let b = self.when(Defect::HalvedLocal, b, halved);
        self.when(Defect::DroppedCarried, b, without_carried)
    }

    pub fn vjp_bound(&self, x: &[Approx], y: &Approx, ybar: &Approx, wanted: &[bool]) -> PerOperand<Bound> {
        let b = self.op.vjp_bound(x, y, ybar, wanted);
        let b = self.when(Defect::HalvedVjpLocal, b, |b| b.into_iter().map(|b| b.map(halved)).collect());
        self.when(Defect::DroppedVjpCarried, b, |b| b.into_iter().map(|b| b.map(without_carried)).collect())
    }

    pub fn forward_scale(&self, x: &[&Array<Interval>]) -> Array<Interval> {
        self.when(Defect::HalvedScale, self.op.forward_scale(x), narrowed)
    }

    pub fn vjp_scale(
        &self,
        x: &[&Array<Interval>],
        y: &Array<Interval>,
        ybar: &Array<Interval>,
        wanted: &[bool],
    ) -> PerOperand<Array<Interval>> {
        let s = self.op.vjp_scale(x, y, ybar, wanted);
        self.when(Defect::HalvedVjpScale, s, |s| s.into_iter().map(|s| s.map(narrowed)).collect())
    }
}
