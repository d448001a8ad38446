//! What the rules say of many combinations of operands at once: exact values, bounds on errors, ranges.

use super::subjects::Subject;
use crate::ir::{Array, elements};
use crate::num::format::largest;
use crate::num::{Ball, Balls, Interval, Mag};
use crate::ops::*;
use rug::Float;

/// One entry of a result or a cotangent.
pub(super) struct Entry {
    pub(super) spec: Ball,
    pub(super) bound: Mag,
    range: Interval,
    /// The binary64 number nearest to the exact value, and whether it is that value.
    near: f64,
    exact: bool,
    /// Is there a bound, and an exact value to hold a run against?
    known: bool,
}

/// What became of an entry in a run.
pub(super) enum Outcome {
    /// Nothing is said about it.
    Unsaid,
    /// Error ÷ bound.
    Within(f64),
    /// Error.
    Beyond(f64),
    OutOfRange(f64),
}

impl Entry {
    fn new(spec: Ball, bound: Mag, range: Interval) -> Entry {
        let near = spec.mid.to_f64();
        let exact = spec.is_exact() && spec.mid == near;
        let known = bound.is_finite() && spec.rad.get() <= 1e-30;
        Entry { spec, bound, range, near, exact, known }
    }

    /// |v − exact|, and whether it certainly exceeds the bound.
    fn error(&self, v: f64) -> (f64, bool) {
        let (d, bound) = ((v - self.near).abs(), self.bound.get());
        if self.exact && exactly(v, self.near) {
            return (d, d > bound);
        }
        // the nearest number and the difference are off by 2^−53 of themselves, the exact value by its radius
        let slack = (self.near.abs() + d) * f64::EPSILON + 2e-30;
        if (d - bound).abs() > slack + bound * f64::EPSILON {
            return (d, d > bound);
        }
        let d = Float::with_val(self.spec.mid.prec() + 1200, &self.spec.mid - v).abs();
        (d.to_f64(), d > Float::with_val(1200, bound) + self.spec.rad.get())
    }

    fn outcome(&self, v: f64) -> Outcome {
        if !self.known {
            return Outcome::Unsaid;
        }
        if !v.is_finite() {
            // beyond the largest number the passes say nothing, see `bounds::checked`
            let silent = (self.spec.mag() + self.bound).get() > largest();
            return if silent { Outcome::Unsaid } else { Outcome::Beyond(f64::INFINITY) };
        }
        match self.error(v) {
            (error, true) => Outcome::Beyond(error),
            (error, false) if !self.range.contains(v) => Outcome::OutOfRange(error),
            (error, false) if error > 0.0 => Outcome::Within(error / self.bound.get()),
            _ => Outcome::Within(0.0),
        }
    }
}

/// Is a − b a binary64 number? (Knuth's two-sum leaves no rest.)
fn exactly(a: f64, b: f64) -> bool {
    let s = a - b;
    let t = s - a;
    (a - (s - t)) - (b + t) == 0.0
}

/// The results of all combinations, or their cotangents of one operand.
pub(super) struct Claim {
    entries: Vec<Entry>,
    /// Entries of each combination.
    pub(super) width: usize,
    /// May an intermediate of the combination overflow?
    overflows: Vec<bool>,
}

impl Claim {
    pub(super) fn entry(&self, c: usize, j: usize) -> &Entry {
        &self.entries[c * self.width + j]
    }

    /// Holds the entries of a run on combination c against the claim. Returns whether all are finite.
    pub(super) fn compare(&self, c: usize, run: &[f64], mut tell: impl FnMut(usize, Outcome)) -> bool {
        if !self.overflows[c] {
            run.iter().enumerate().for_each(|(j, &v)| tell(j, self.entry(c, j).outcome(v)));
        }
        run.iter().all(|v| v.is_finite())
    }
}

/// Many combinations.
pub(super) struct Batch {
    /// Is the result defined?
    pub(super) defined: Vec<bool>,
    pub(super) result: Claim,
    pub(super) cotangents: Vec<Claim>,
}

/// What the bound rules are told: alone, and of all combinations.
struct Known<'a> {
    one: &'a Subject,
    all: &'a Subject,
    out: [Vec<usize>; 2],
    x: Vec<Vec<Interval>>,
    y: Vec<Interval>,
    ybar: Vec<Interval>,
    eps: Vec<Mag>,
    /// No rule about every run may look at this one.
    run: Vec<f32>,
    gates: Vec<u32>,
}

impl Known<'_> {
    /// A value of combination c, or of all.
    fn value<'a>(
        &'a self,
        c: Option<usize>,
        shapes: [&'a [usize]; 2],
        spec: &'a [Interval],
        eps: &'a [Mag],
    ) -> Approx<'a> {
        let width = elements(shapes[0]);
        let (shape, from, n) = match c {
            Some(c) => (shapes[0], c * width, width),
            None => (shapes[1], 0, spec.len()),
        };
        let eps = if eps.is_empty() { eps } else { &eps[from..from + n] };
        let (run, spec) = (&self.run[..n], &spec[from..from + n]);
        Approx { shape, run, spec, eps, centre: Centre::Spec, measured: false, gates: &[] }
    }

    fn operands(&self, c: Option<usize>) -> Vec<Approx<'_>> {
        let shapes = self.one.shapes.iter().zip(&self.all.shapes);
        shapes.zip(&self.x).map(|((one, all), x)| self.value(c, [one, all], x, &self.eps)).collect()
    }

    fn output<'a>(&'a self, c: Option<usize>, spec: &'a [Interval], eps: &'a [Mag]) -> Approx<'a> {
        self.value(c, [&self.out[0], &self.out[1]], spec, eps)
    }

    fn op(&self, c: Option<usize>) -> &Op {
        if c.is_some() { &self.one.op } else { &self.all.op }
    }

    fn forward(&self, c: Option<usize>) -> Bound {
        let y = Approx { gates: &self.gates, ..self.output(c, &self.y, &[]) };
        self.op(c).forward_bound(&self.operands(c), &y)
    }

    fn backward(&self, c: Option<usize>, total: &[Mag]) -> Vec<Bound> {
        let y = Approx { gates: &self.gates, ..self.output(c, &self.y, total) };
        let (x, ybar) = (self.operands(c), self.output(c, &self.ybar, &self.eps));
        let wanted = vec![true; x.len()];
        let bounds = self.op(c).vjp_bound(&x, &y, &ybar, &wanted);
        bounds.into_iter().map(|b| b.expect("asked for")).collect()
    }
}

/// A bound of all combinations as one entry by entry, and whether intermediates may overflow: the peak is that
/// of a whole tensor, so that where it is too large every combination is asked by itself.
fn apart(n: usize, all: Bound, one: impl Fn(usize) -> Bound) -> (Vec<Mag>, Vec<bool>) {
    if n == 1 || all.peak.get() <= largest() {
        return (all.total(), vec![all.peak.get() > largest(); n]);
    }
    let (mut total, mut overflows) = (Vec::new(), Vec::new());
    for c in 0..n {
        let b = one(c);
        total.extend(b.total());
        overflows.push(b.peak.get() > largest());
    }
    (total, overflows)
}

impl Batch {
    /// `values` are the combinations one after the other, each its operands and then ȳ; runs' operands and
    /// cotangents may be off by eps.
    pub(super) fn new(one: &Subject, values: &[f64], eps: f64) -> Batch {
        let balls = Balls::scalar(160);
        let (arity, out) = (one.arity(), one.out());
        let (n, width) = (values.len() / arity, elements(&out));
        let all = one.times(n);
        let all_out = all.out();

        let mut from = 0;
        let mut x: Vec<Vec<f64>> = Vec::new();
        for shape in &one.shapes {
            let (start, len) = (from, elements(shape));
            x.push((0..n).flat_map(|c| &values[c * arity + start..][..len]).copied().collect());
            from += len;
        }
        let mut ybar = vec![0.0; n * width];
        for c in 0..n {
            (0..width).for_each(|j| ybar[one.place(c, j, n, width)] = values[c * arity + from + j]);
        }
        let points =
            |shape: &[usize], x: &[f64]| Array::new(shape.to_vec(), x.iter().map(|&v| Ball::exact(v)).collect());
        let spec: Vec<Array<Ball>> = x.iter().zip(&all.shapes).map(|(v, shape)| points(shape, v)).collect();
        let spec: Vec<&Array<Ball>> = spec.iter().collect();
        let wanted = vec![true; x.len()];
        let y = all.op.forward_spec(&balls, &spec);
        let xbar = all.op.vjp_spec(&balls, &spec, &y, &points(&all_out, &ybar), &wanted);

        let range = |shape: &[usize], v: &[f64]| {
            Array::new(shape.to_vec(), v.iter().map(|&v| Interval::point(v).widen(Mag::of(eps))).collect())
        };
        let ranges: Vec<Array<Interval>> = x.iter().zip(&all.shapes).map(|(v, shape)| range(shape, v)).collect();
        let ranges: Vec<&Array<Interval>> = ranges.iter().collect();
        let y_range = all.op.forward_scale(&ranges);
        let xbar_range = all.op.vjp_scale(&ranges, &y_range, &range(&all_out, &ybar), &wanted);

        let longest = x.iter().map(Vec::len).max().unwrap_or(0).max(ybar.len());
        let known = Known {
            one,
            all: &all,
            out: [out, all_out],
            x: x.iter().map(|v| v.iter().copied().map(Interval::point).collect()).collect(),
            y: y.data.iter().map(Ball::interval).collect(),
            ybar: ybar.iter().copied().map(Interval::point).collect(),
            eps: vec![Mag::of(eps); longest],
            run: vec![f32::NAN; longest],
            gates: all.op.gates(&balls, &spec),
        };
        let (total, overflows) = apart(n, known.forward(None), |c| known.forward(Some(c)));
        let back: Vec<(Vec<Mag>, Vec<bool>)> = known
            .backward(None, &total)
            .into_iter()
            .enumerate()
            .map(|(k, all)| apart(n, all, |c| known.backward(Some(c), &total).swap_remove(k)))
            .collect();

        let claim = |spec: Array<Ball>, range: Array<Interval>, bound: Vec<Mag>, overflows: Vec<bool>| {
            let all = spec.data.into_vec().into_iter().zip(bound).zip(range.data.into_vec());
            let width = range.shape.iter().product::<usize>() / n;
            Claim { entries: all.map(|((s, b), r)| Entry::new(s, b, r)).collect(), width, overflows }
        };
        let mut result = claim(y, y_range, total, overflows);
        if matches!(one.op, Op::Join(_)) {
            let mut entries: Vec<Option<Entry>> = result.entries.into_iter().map(Some).collect();
            let places = (0..n * width).map(|i| one.place(i / width, i % width, n, width));
            result.entries = places.map(|i| entries[i].take().expect("each once")).collect();
        }
        let sure =
            |c: usize| (0..width).map(|j| &result.entry(c, j).spec).all(|b| b.mid.is_finite() && b.rad.is_finite());
        let defined = (0..n).map(sure).collect();
        let cotangents = xbar.into_iter().zip(xbar_range).zip(back).map(|((spec, range), (bound, overflows))| {
            claim(spec.expect("asked for"), range.expect("asked for"), bound, overflows)
        });
        Batch { defined, cotangents: cotangents.collect(), result }
    }
}

#[test]
fn many_combinations_are_told_what_each_is_told_alone() {
    use super::{P3, numbers, subjects};
    let (grid, n) = (numbers(P3), 7);
    crate::num::format::about(P3, || {
        for s in subjects() {
            for eps in [0.0, 0.25] {
                let mut state = 1;
                let values: Vec<f64> = (0..n * s.arity()).map(|_| grid[super::draw(&mut state) % grid.len()]).collect();
                let all = Batch::new(&s, &values, eps);
                for (c, values) in values.chunks(s.arity()).enumerate() {
                    let one = Batch::new(&s, values, eps);
                    assert_eq!(all.defined[c], one.defined[0]);
                    let pairs =
                        std::iter::once((&all.result, &one.result)).chain(all.cotangents.iter().zip(&one.cotangents));
                    for (many, alone) in pairs {
                        assert_eq!((many.width, many.overflows[c]), (alone.width, alone.overflows[0]));
                        for j in 0..many.width {
                            let (m, a) = (many.entry(c, j), alone.entry(0, j));
                            let same = m.spec.mid == a.spec.mid && m.bound == a.bound && m.range == a.range;
                            assert!(same || !all.defined[c], "{} {:?} {values:?} [{j}]", s.op.name(), s.shapes);
                        }
                    }
                }
            }
        }
    });
}
