//! Bounds held on both sides against the formulas that are written above them.
//!
//! Each cell of a rule is a formula in what is known of its operands. Here the formulas stand once more, in real
//! numbers of 200 bits and without the rules' own arithmetic; on a table of operands that make each term count
//! somewhere, a bound must be at least its formula, and no more than a hundred-millionth above it. A term that is
//! missing, a factor that is off or a smaller half ulp shows at once, and so does a bound that got looser.
//!
//! Whether the formulas are right is shown elsewhere: by proofs in the rules' heads, the laws and small formats.

mod contraction;
mod normalize;
mod piecewise;
mod real;
mod smooth;
mod softmax;

use super::approx::UNKNOWN_GATE;
use super::{Approx, Bound, Centre, RevNode};
use crate::ir::Array;
use crate::num::{Interval, Mag};
use real::{Real, most, power_of_two, real, sum};

/// u of binary32.
fn u() -> Real {
    power_of_two(-24)
}

/// η/2 of binary32.
fn half_eta() -> Real {
    power_of_two(-150)
}

/// (1+u)^h − 1, as hu + (hu)².
fn growth(h: usize) -> Real {
    let hu = u() * h as f64;
    &hu + &hu * &hu
}

/// u|x| + η/2, nothing of nothing.
fn rounding(x: &Real) -> Real {
    if x.is_zero() { real(0.0) } else { u() * x + half_eta() }
}

/// k roundings in a row, and k underflows amplified.
fn monomial(k: usize, x: &Real, gain: &Real) -> Real {
    if x.is_zero() {
        return real(0.0);
    }
    growth(k) * x + half_eta() * k as f64 * (gain + 1.0) * 1.001
}

/// e^t − 1, as t + t² below a thousandth.
fn expm1(t: &Real) -> Real {
    if *t < real(1e-3) { t + t * t } else { t.exp() - 1.0 }
}

/// [−r, r].
fn symmetric(r: Real) -> (Real, Real) {
    (-r.clone(), r)
}

fn of(m: Mag) -> Real {
    real(m.get())
}

/// One row of an operand or a cotangent: what this run has, an enclosure of the spec, and |R − spec|.
#[derive(Clone, Debug)]
struct Row {
    run: Vec<f32>,
    spec: Vec<Interval>,
    eps: Vec<Mag>,
    centre: Centre,
}

impl Row {
    /// The spec is the run, ± width.
    fn new(centre: Centre, run: &[f32], width: f64, eps: &[f64]) -> Row {
        let spec = run.iter().map(|&x| Interval::point(f64::from(x)).widen(Mag::of(width))).collect();
        Row { run: run.to_vec(), spec, eps: eps.iter().map(|&e| Mag::of(e)).collect(), centre }
    }

    fn len(&self) -> usize {
        self.run.len()
    }

    fn run_only(&self) -> bool {
        self.centre == Centre::Run
    }

    fn e(&self, i: usize) -> Real {
        of(self.eps[i])
    }

    /// Where the centre lies.
    fn centre(&self, i: usize) -> (Real, Real) {
        match self.centre {
            Centre::Run => (real(f64::from(self.run[i])), real(f64::from(self.run[i]))),
            Centre::Spec => (real(self.spec[i].lo), real(self.spec[i].hi)),
        }
    }

    /// Where spec and covered runs lie.
    fn hull(&self, i: usize) -> (Real, Real) {
        let ((lo, hi), e) = (self.centre(i), self.e(i));
        match self.centre {
            Centre::Run => {
                let spec = ((&lo - &e).max(real(self.spec[i].lo)), (&hi + &e).min(real(self.spec[i].hi)));
                (spec.0.min(lo), spec.1.max(hi))
            }
            Centre::Spec => (lo - &e, hi + &e),
        }
    }

    /// |x| at the centre.
    fn mag(&self, i: usize) -> Real {
        let (lo, hi) = self.centre(i);
        lo.abs().max(hi.abs())
    }

    /// |x| of covered runs.
    fn run_mag(&self, i: usize) -> Real {
        match self.centre {
            Centre::Run => self.mag(i),
            Centre::Spec => self.mag(i) + self.e(i),
        }
    }

    /// |y| of this run; NaN says nothing.
    fn y(&self, i: usize) -> Real {
        of(Mag::of_f32(self.run[i]))
    }
}

/// Rows of one length, one after another.
struct Rows {
    shape: [usize; 2],
    run: Vec<f32>,
    spec: Vec<Interval>,
    eps: Vec<Mag>,
    centre: Centre,
    /// The enclosures tell of no gate.
    gates: Vec<u32>,
}

impl Rows {
    fn of(rows: &[Row]) -> Rows {
        Rows {
            shape: [rows.len(), rows[0].len()],
            run: rows.iter().flat_map(|r| r.run.clone()).collect(),
            spec: rows.iter().flat_map(|r| r.spec.clone()).collect(),
            eps: rows.iter().flat_map(|r| r.eps.clone()).collect(),
            centre: rows[0].centre,
            gates: vec![UNKNOWN_GATE; rows.len() * rows[0].len()],
        }
    }

    fn approx(&self) -> Approx<'_> {
        Approx {
            shape: &self.shape,
            run: &self.run,
            spec: &self.spec,
            eps: &self.eps,
            centre: self.centre,
            measured: false,
            gates: &self.gates,
        }
    }

    fn ranges(&self) -> Array<Interval> {
        Array::new(self.shape.to_vec(), self.spec.clone())
    }
}

/// The formulas of a rule with one operand: carried and local errors, intermediates, ranges. `None` for an
/// intermediate that isn't looked at.
trait Formulas {
    fn forward(&self, x: &Row, y: &Row) -> Vec<(Real, Real)>;
    fn vjp(&self, x: &Row, y: &Row, g: &Row) -> Vec<(Real, Real)>;
    fn forward_range(&self, x: &[Interval]) -> Vec<(Real, Real)>;
    fn vjp_range(&self, x: &[Interval], g: &[Interval]) -> Vec<(Real, Real)>;
    /// Intermediates, forward and backward, of one row.
    fn peaks(&self, x: &Row, g: &Row) -> (Real, Real);
}

/// What a bound may lack of its formula, relatively: the rules take differences in binary64 where the formula is
/// exact.
const BELOW: f64 = 1e-9;
/// What it may have more.
const ABOVE: f64 = 1e-8;

/// A bound against its formula.
fn hold(what: &str, bound: f64, formula: &Real) {
    let f = formula.to_f64();
    let ok = if formula.is_finite() {
        bound >= f * (1.0 - BELOW) && bound <= f * (1.0 + ABOVE) + 1e-290
    } else {
        bound == f
    };
    assert!(ok, "{what}: the bound is {bound:e}, its formula {f:e}, bound ÷ formula − 1 = {:e}", bound / f - 1.0);
}

fn hold_pairs(what: &str, bound: &Bound, formulas: &[(Real, Real)]) {
    assert_eq!(bound.carried.len(), formulas.len(), "{what}");
    for (i, (carried, local)) in formulas.iter().enumerate() {
        hold(&format!("{what}, carried, entry {i}"), bound.carried[i].get(), carried);
        hold(&format!("{what}, local, entry {i}"), bound.local[i].get(), local);
    }
}

/// A range against its formula: it contains what the formula gives, and hardly more.
fn hold_range(what: &str, range: Interval, (lo, hi): &(Real, Real)) {
    let (lo, hi) = (lo.to_f64(), hi.to_f64());
    let slack = lo.abs().max(hi.abs());
    let near = |a: f64, b: f64| a == b || b - a >= -BELOW * slack && b - a <= ABOVE * slack + 1e-290;
    assert!(near(range.lo, lo) && near(hi, range.hi), "{what}: the range is {range:?}, its formula [{lo:e}, {hi:e}]");
}

/// Holds all cells of a rule against its formulas, for rows of operands, results and cotangents.
fn hold_all(name: &str, op: &(impl RevNode + Formulas), x: &[Row], y: &[Row], g: &[Row]) {
    let (xs, ys, gs) = (Rows::of(x), Rows::of(y), Rows::of(g));
    let name = format!("{name}, {:?}, x = {:?} ± {:?}, ȳ = {:?}", xs.centre, xs.run, xs.eps, gs.run);
    let rows = 0..x.len();
    let bound = op.forward_bound(&[xs.approx()], &ys.approx());
    let formulas: Vec<_> = rows.clone().flat_map(|r| op.forward(&x[r], &y[r])).collect();
    hold_pairs(&format!("{name}: result"), &bound, &formulas);
    let back = op.vjp_bound(&[xs.approx()], &ys.approx(), &gs.approx(), &[true]).swap_remove(0).expect("asked for");
    let formulas: Vec<_> = rows.clone().flat_map(|r| op.vjp(&x[r], &y[r], &g[r])).collect();
    hold_pairs(&format!("{name}: cotangent"), &back, &formulas);
    let (forward, backward): (Vec<Real>, Vec<Real>) = rows.clone().map(|r| op.peaks(&x[r], &g[r])).unzip();
    hold(&format!("{name}: intermediates of the result"), bound.peak.get(), &most(forward));
    hold(&format!("{name}: intermediates of the cotangent"), back.peak.get(), &most(backward));
    let range = op.forward_scale(&[&xs.ranges()]);
    let formulas: Vec<_> = x.iter().flat_map(|x| op.forward_range(&x.spec)).collect();
    for (i, f) in formulas.iter().enumerate() {
        hold_range(&format!("{name}: range, entry {i}"), range.data[i], f);
    }
    let range = op.vjp_scale(&[&xs.ranges()], &ys.ranges(), &gs.ranges(), &[true]).swap_remove(0).expect("asked for");
    let formulas: Vec<_> = rows.flat_map(|r| op.vjp_range(&x[r].spec, &g[r].spec)).collect();
    for (i, f) in formulas.iter().enumerate() {
        hold_range(&format!("{name}: range of the cotangent, entry {i}"), range.data[i], f);
    }
}

/// Rows of an operand that make one term or another count: exact, a little off, far off, one entry only; near,
/// far apart, beyond the range of the exponential, next to each other and far from 0.
fn operands(centre: Centre) -> Vec<Vec<Row>> {
    let row = |x: &[f32], width: f64, e: &[f64]| Row::new(centre, x, width, e);
    vec![
        vec![row(&[0.5, -1.25, 2.0, 0.75], 0.0, &[0.0; 4]), row(&[3.0, 3.5, -2.0, 1.0], 0.0, &[1e-7; 4])],
        vec![row(&[0.5, -1.25, 2.0], 0.0, &[3e-4, 1e-5, 2e-4]), row(&[-3.0, 1.0, 1.5], 1e-6, &[1e-3, 0.0, 2e-3])],
        vec![row(&[0.5, -1.25, 2.0, 1.5, 1.75], 0.25, &[0.5, 0.0, 0.25, 1.0, 0.125])],
        // the first is the largest; the last is
        vec![row(&[3.0, -1.25, 0.5], 0.0, &[2e-4, 1e-5, 3e-4]), row(&[-3.0, -1.0, 4.0], 1e-6, &[1e-3, 2e-3, 1e-4])],
        vec![row(&[7.0, 7.25, -60.0, -101.0], 0.0, &[1e-6, 1e-6, 1e-6, 1e-5])],
        vec![row(&[0.0, 5.0, -2.0], 0.0, &[3.0, 0.5, 40.0])],
        vec![row(&[1000.25, 1001.5, 998.0, 999.75], 0.0, &[0.0, 1e-6, 0.0, 1e-5])],
        vec![row(&[0.0, -1.0, 2.0], 0.0, &[1e6, 2e6, 1e6]), row(&[8e6, 8e6, 2.0], 0.0, &[1.0, 1.0, 1e-3])],
        vec![row(&[1.0, 1.0, 1.0, 1.0, 1.0, -40.0], 1e-3, &[0.0, 0.0, 0.0, 0.0, 0.0, 0.1])],
    ]
}

/// Cotangents of n entries: of every sign, with and without an error, one alone, tiny, nothing.
fn cotangents(centre: Centre, n: usize) -> Vec<Row> {
    let some = |k: usize, x: &[f32], e: f64| {
        let run: Vec<f32> = (0..n).map(|i| x[(i + k) % x.len()]).collect();
        let eps: Vec<f64> = (0..n).map(|i| e / (1 + (i + k) % 3) as f64).collect();
        Row::new(centre, &run, e / 4.0, &eps)
    };
    vec![
        some(0, &[1.5, -0.5, 2.0, 0.25, -1.0, 3.0], 0.0),
        some(1, &[-2.5, 0.125, 1.0, 7.0], 1e-3),
        some(2, &[0.0, 0.0, 1.0, 0.0, 0.0, 0.0], 0.0),
        some(0, &[3e-42, -2e-43, 1e-40], 1e-43),
        some(0, &[0.0], 0.0),
        some(1, &[1e4, -3e3], 50.0),
    ]
}

/// The table: all cells, for this run and for every run, at all operands and cotangents.
fn hold_table(name: &str, op: &(impl RevNode + Formulas), operands: impl Fn(Centre) -> Vec<Vec<Row>>) {
    for centre in [Centre::Run, Centre::Spec] {
        for x in operands(centre) {
            let result = |x: &Row| {
                let y = op.forward_runtime(&[&Array::new(vec![1, x.len()], x.run.clone())]);
                let e: Vec<f64> = (0..x.len()).map(|i| 1e-3 / (i + 2) as f64).collect();
                Row::new(centre, &y.data, 1e-9, &e)
            };
            let y: Vec<Row> = x.iter().map(result).collect();
            let all = cotangents(centre, x[0].len());
            for k in 0..all.len() {
                let g: Vec<Row> = (0..x.len()).map(|r| all[(k + r) % all.len()].clone()).collect();
                hold_all(name, op, &x, &y, &g);
            }
        }
    }
}
