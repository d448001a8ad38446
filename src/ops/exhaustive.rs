//! The portable rules in formats so small that nothing is left out: every combination of operands, and
//! every legal way of computing each: all orders and groupings of sums, fused or not, both ways in ties,
//! division or a product with the reciprocal. The rules read the format's u, η and largest number
//! ([`format::about`]), so it is the same code that bounds binary32.
//!
//! `cargo test --release --lib exhaustive` tries some of the combinations; `CERTIFY_EXHAUSTIVE=10000000` all,
//! as far as so many runs of each primitive, shape and size of errors go.

use super::*;
use crate::ir::{Index, Shaped, elements};
use crate::num::format::{self, Format};
use crate::num::{Elementary, Mag, Pieces, Steps, Ties, rounded::round_once};
use rug::Float;
use std::sync::Mutex;

/// 3 bits, exponents −2 to 3: 55 numbers from −14 to 14, subnormal ones included.
const P3: Format = Format { p: 3, emin: -2, emax: 3 };
/// 4 bits, exponents −2 to 3: 111 numbers.
const P4: Format = Format { p: 4, emin: -2, emax: 3 };
/// IEEE 754 binary16.
const BINARY16: Format = Format { p: 11, emin: -14, emax: 15 };

/// Choices on the way of one run; all runs are visited depth first.
#[derive(Default)]
struct Oracle {
    path: Vec<(usize, usize)>,
    at: usize,
}

impl Oracle {
    fn choose(&mut self, n: usize) -> usize {
        if n < 2 {
            return 0;
        }
        if self.at == self.path.len() {
            self.path.push((0, n));
        }
        let (chosen, among) = self.path[self.at];
        assert_eq!(among, n, "the same run asks the same questions");
        self.at += 1;
        chosen
    }

    /// Goes on to the next run, if there is one.
    fn advance(&mut self) -> bool {
        self.at = 0;
        while let Some((chosen, among)) = self.path.pop() {
            if chosen + 1 < among {
                self.path.push((chosen + 1, among));
                return true;
            }
        }
        false
    }
}

/// Arithmetic of one conforming run in a small format.
struct Run {
    format: Format,
    oracle: Mutex<Oracle>,
    /// May quotients be products with a reciprocal?
    reciprocal: bool,
    /// Elementary functions may be off by so many ulps.
    ulps: f64,
}

/// A term of a sum on its way: a product that isn't rounded yet, or a number.
#[derive(Clone, Copy)]
enum Term {
    Product(f64, f64),
    Number(f64),
}

impl Run {
    fn choose(&self, n: usize) -> usize {
        self.oracle.lock().expect("one thread").choose(n)
    }

    /// Rounds an exact value, a tie either way.
    fn round(&self, x: f64) -> f64 {
        let r = self.format.round(x);
        let tie = r.is_finite() && (x - r).abs() == self.format.half_ulp(x).get();
        let other = x + (x - r);
        if tie && other.abs() <= self.format.largest() && self.choose(2) == 1 { other } else { r }
    }

    /// a·b + s, rounded once. Exact in binary64 for the small formats, in MPFR for binary16.
    fn fma(&self, a: f64, b: f64, s: f64) -> f64 {
        if self.format.p <= 4 || !(a * b + s).is_finite() {
            return self.round(a * b + s);
        }
        round_once(&(Float::with_val(200, a * b) + s), self.format)
    }

    fn number(&self, t: Term) -> f64 {
        match t {
            Term::Product(a, b) => self.round(a * b),
            Term::Number(s) => s,
        }
    }

    /// The sum of two terms by any legal operation.
    fn join(&self, x: Term, y: Term) -> f64 {
        match (x, y) {
            (Term::Product(a, b), Term::Product(c, d)) => match self.choose(3) {
                0 => self.round(self.number(x) + self.number(y)),
                1 => self.fma(a, b, self.number(y)),
                _ => self.fma(c, d, self.number(x)),
            },
            (Term::Product(a, b), Term::Number(s)) | (Term::Number(s), Term::Product(a, b)) => match self.choose(2) {
                0 => self.round(self.round(a * b) + s),
                _ => self.fma(a, b, s),
            },
            (Term::Number(s), Term::Number(t)) => self.round(s + t),
        }
    }

    /// The sum in any order and grouping: two terms, whichever, become one until one is left.
    fn total(&self, mut terms: Vec<Term>) -> f64 {
        while terms.len() > 1 {
            let n = terms.len();
            let mut k = self.choose(n * (n - 1) / 2);
            let mut i = 0;
            while k >= n - 1 - i {
                k -= n - 1 - i;
                i += 1;
            }
            let y = terms.remove(i + 1 + k);
            let x = terms.remove(i);
            terms.push(Term::Number(self.join(x, y)));
        }
        terms.first().map_or(0.0, |&t| self.number(t))
    }
}

impl Arith for Run {
    type S = f64;

    fn constant(&self, x: f64) -> f64 {
        self.format.round(x)
    }
    fn neg(&self, a: &f64) -> f64 {
        -a
    }
    fn add(&self, a: &f64, b: &f64) -> f64 {
        self.round(a + b)
    }
    fn sub(&self, a: &f64, b: &f64) -> f64 {
        self.round(a - b)
    }
    fn mul(&self, a: &f64, b: &f64) -> f64 {
        self.round(a * b)
    }
    // a quotient of two numbers of at most 11 bits is a tie only where binary64 holds it exactly
    fn quotient(&self, a: &f64, b: &f64, _: f64) -> f64 {
        if self.reciprocal && self.choose(2) == 1 { self.round(a * self.round(1.0 / b)) } else { self.round(a / b) }
    }
    fn root(&self, a: &f64, _: f64) -> f64 {
        self.format.round(a.sqrt())
    }
    fn share(&self, a: &f64, total: &f64) -> f64 {
        self.div(a, total)
    }

    fn apply(&self, f: Elementary, a: &f64) -> f64 {
        // the square in a slope may overflow: e^−∞ is 0
        if f == Elementary::Exp && *a == f64::NEG_INFINITY {
            return 0.0;
        }
        if !a.is_finite() {
            return f64::NAN;
        }
        let v = f.eval(&Float::with_val(53, *a), 200);
        let nearest = round_once(&v, self.format);
        if f == Elementary::Sqrt || self.ulps == 0.0 || !nearest.is_finite() || v.is_zero() {
            return nearest;
        }
        // as far off as allowed, either way, on the same side of 0
        let reach = 2.0 * self.ulps * self.format.half_ulp(v.to_f64()).get();
        let off = match self.choose(3) {
            0 => return nearest,
            1 => reach,
            _ => -reach,
        };
        let spacing = 2.0 * self.format.half_ulp(v.to_f64()).get();
        let mut best = nearest;
        for k in 1..=(self.ulps as i32 + 1) {
            let next = self.format.round(nearest + f64::from(k) * spacing.copysign(off));
            let far = Float::with_val(300, &v - next).abs() > reach;
            if far || !next.is_finite() || (next != 0.0 && (next < 0.0) != v.is_sign_negative()) {
                break;
            }
            best = next;
        }
        best
    }

    fn sum<'a>(&self, terms: impl Iterator<Item = &'a f64>) -> f64 {
        self.total(terms.map(|&t| Term::Number(t)).collect())
    }

    fn dot<'a>(&self, terms: impl Iterator<Item = (&'a f64, &'a f64)>, bias: Option<&f64>) -> f64 {
        let mut all: Vec<Term> = terms.map(|(a, b)| Term::Product(*a, *b)).collect();
        all.extend(bias.map(|b| Term::Number(*b)));
        self.total(all)
    }

    fn piece_value(&self, p: &Pieces, a: &f64) -> f64 {
        let i = p.at(*a);
        match (p.slopes[i], p.offsets[i]) {
            (0.0, o) => o,
            (s, 0.0) => self.round(s * a),
            (s, o) => self.join(Term::Product(s, *a), Term::Number(o)),
        }
    }

    fn step(&self, steps: Steps, a: &f64) -> f64 {
        steps.at(*a)
    }

    fn piece_slope(&self, p: &Pieces, a: &f64, ybar: &f64) -> f64 {
        match p.slopes[p.at(*a)] {
            0.0 => 0.0,
            s => self.round(s * ybar),
        }
    }

    fn max(&self, xs: &[f64]) -> f64 {
        xs.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }

    fn max_vjp(&self, xs: &[f64], ties: Ties, ybar: &f64) -> Vec<f64> {
        let m = self.max(xs);
        let won: Vec<usize> = (0..xs.len()).filter(|&i| xs[i] == m).collect();
        let mut out = vec![0.0; xs.len()];
        match ties {
            Ties::First => out[won[0]] = *ybar,
            Ties::Split => {
                let share = self.quotient(ybar, &(won.len() as f64), 0.0);
                won.iter().for_each(|&i| out[i] = share);
            }
        }
        out
    }
}

/// All numbers of a format, ascending.
fn numbers(f: Format) -> Vec<f64> {
    let eta = f.eta().get();
    let mut positive = Vec::new();
    let mut x = eta;
    while x <= f.largest() {
        positive.push(x);
        x += 2.0 * f.half_ulp(x).get();
    }
    positive.iter().rev().map(|x| -x).chain([0.0]).chain(positive.iter().copied()).collect()
}

/// What was tried.
#[derive(Default)]
struct Tally {
    combinations: u64,
    runs: u64,
    /// Largest error ÷ bound.
    worst: f64,
    failures: Vec<String>,
}

/// A primitive with shapes of its operands.
struct Subject {
    op: Op,
    shapes: Vec<Vec<usize>>,
    reciprocal: bool,
}

impl Subject {
    fn new(op: impl Into<Op>, shapes: &[&[usize]]) -> Subject {
        let op = op.into();
        let reciprocal = matches!(op, Op::Mean(_) | Op::Softmax(_) | Op::LogSoftmax(_) | Op::Normalize(_) | Op::Max(_));
        Subject { op, shapes: shapes.iter().map(|s| s.to_vec()).collect(), reciprocal }
    }

    fn out(&self) -> Vec<usize> {
        let shapes: Vec<&[usize]> = self.shapes.iter().map(Vec::as_slice).collect();
        self.op.infer(&shapes).expect("shapes fit")
    }

    /// Numbers that a combination consists of: all operands, then the cotangent.
    fn arity(&self) -> usize {
        self.shapes.iter().map(|s| elements(s)).sum::<usize>() + elements(&self.out())
    }
}

fn points(shape: &[usize], x: &[f64]) -> Array<Ball> {
    Array::new(shape.to_vec(), x.iter().map(|&v| Ball::exact(v)).collect())
}

/// Numbers of the format within eps of x: the lowest, x itself, the highest.
fn near(all: &[f64], x: f64, eps: f64) -> Vec<f64> {
    let mut v: Vec<f64> = all.iter().copied().filter(|v| (v - x).abs() <= eps).collect();
    if v.len() > 3 {
        v = vec![v[0], x, v[v.len() - 1]];
    }
    v
}

/// Every run on one combination of operands keeps to the bounds and ranges; the runs' operands may be off
/// by eps.
#[allow(clippy::too_many_lines)]
fn combination(s: &Subject, run: &Run, all: &[f64], values: &[f64], eps: f64, budget: u64, t: &mut Tally) {
    let (op, balls) = (&s.op, Balls::new(160));
    let mut rest = values;
    let mut take = |shape: &[usize]| {
        let (now, later) = rest.split_at(elements(shape));
        rest = later;
        now.to_vec()
    };
    let x: Vec<Vec<f64>> = s.shapes.iter().map(|shape| take(shape)).collect();
    let out = s.out();
    let ybar = take(&out);
    let wanted = vec![true; x.len()];
    let spec: Vec<Array<Ball>> = x.iter().zip(&s.shapes).map(|(v, shape)| points(shape, v)).collect();
    let spec: Vec<&Array<Ball>> = spec.iter().collect();
    let y_spec = op.forward_spec(&balls, &spec);
    let known = |a: &Array<Ball>| a.data.iter().all(|b| b.mid.is_finite() && b.rad.is_finite());
    if !known(&y_spec) {
        return;
    }
    let gbar = points(&out, &ybar);
    let xbar_spec = op.vjp_spec(&balls, &spec, &y_spec, &gbar, &wanted);

    let intervals = |a: &Array<Ball>| a.data.iter().map(Ball::interval).collect::<Vec<Interval>>();
    let (spec_x, spec_y): (Vec<_>, _) = (spec.iter().map(|a| intervals(a)).collect(), intervals(&y_spec));
    let spec_g = intervals(&gbar);
    let none: Vec<Vec<f32>> = s.shapes.iter().map(|shape| vec![f32::NAN; elements(shape)]).collect();
    let none_y = vec![f32::NAN; elements(&out)];
    let errors: Vec<Vec<Mag>> = x.iter().map(|v| vec![Mag::of(eps); v.len()]).collect();
    let gates = op.gates(&balls, &spec);
    let side = |k: usize| Approx {
        shape: &s.shapes[k],
        run: &none[k],
        spec: &spec_x[k],
        eps: &errors[k],
        centre: Centre::Spec,
        measured: false,
        gates: &[],
    };
    let ax: Vec<Approx> = (0..x.len()).map(side).collect();
    let y = |eps| Approx {
        shape: &out,
        run: &none_y,
        spec: &spec_y,
        eps,
        centre: Centre::Spec,
        measured: false,
        gates: &gates,
    };
    let bound = op.forward_bound(&ax, &y(&[]));
    let total = bound.total();
    let g_eps = vec![Mag::of(eps); ybar.len()];
    let g = Approx {
        shape: &out,
        run: &none_y,
        spec: &spec_g,
        eps: &g_eps,
        centre: Centre::Spec,
        measured: false,
        gates: &[],
    };
    let bounds = op.vjp_bound(&ax, &y(&total), &g, &wanted);
    let range = |shape: &[usize], v: &[f64]| {
        Array::new(shape.to_vec(), v.iter().map(|&v| Interval::point(v).widen(Mag::of(eps))).collect())
    };
    let rx: Vec<Array<Interval>> = x.iter().zip(&s.shapes).map(|(v, shape)| range(shape, v)).collect();
    let rx: Vec<&Array<Interval>> = rx.iter().collect();
    let ry = op.forward_scale(&rx);
    let rbar = op.vjp_scale(&rx, &ry, &range(&out, &ybar), &wanted);
    t.combinations += 1;

    let compare = |t: &mut Tally,
                   what: &str,
                   b: &Bound,
                   scale: &Array<Interval>,
                   r: &Array<f64>,
                   exact: &Array<Ball>|
     -> bool {
        let mut finite = true;
        if b.peak.get() > format::largest() {
            return r.data.iter().all(|v| v.is_finite());
        }
        for (i, (&v, e)) in r.data.iter().zip(b.total()).enumerate() {
            finite &= v.is_finite();
            let spec = &exact.data[i];
            if !e.is_finite() || spec.rad.get() > 1e-30 {
                continue;
            }
            let error = if v.is_finite() { spec.distance(v).0 } else { f64::INFINITY };
            // beyond the largest number the passes say nothing, see `bounds::checked`
            if !v.is_finite() && (spec.mag() + e).get() > format::largest() {
                continue;
            }
            let outside = v.is_finite() && !scale.data[i].contains(v);
            if error > e.get() || outside {
                if t.failures.len() < 12 {
                    let (at, name) = (spec.mid.to_f64(), op.name());
                    let of = if outside { "outside its range" } else { "beyond its bound" };
                    t.failures.push(format!(
                        "{name} {what}[{i}] {of}: operands {values:?} off by {eps}: run {v:e}, spec {at:e}, error {error:e}, bound {:e}",
                        e.get()
                    ));
                }
            } else if e.get() > 0.0 {
                t.worst = t.worst.max(error / e.get());
            }
        }
        finite
    };
    *run.oracle.lock().expect("one thread") = Oracle::default();
    loop {
        let moved = |shape: &[usize], v: &[f64]| {
            let pick = |&x: &f64| {
                let near = near(all, x, eps);
                near[run.choose(near.len())]
            };
            Array::new(shape.to_vec(), v.iter().map(pick).collect())
        };
        let rx: Vec<Array<f64>> = x.iter().zip(&s.shapes).map(|(v, shape)| moved(shape, v)).collect();
        let rx: Vec<&Array<f64>> = rx.iter().collect();
        let y = op.forward_spec(run, &rx);
        t.runs += 1;
        if compare(t, "y", &bound, &ry, &y, &y_spec) {
            let g = moved(&out, &ybar);
            let xbar = op.vjp_spec(run, &rx, &y, &g, &wanted);
            for (k, r) in xbar.iter().enumerate() {
                if let (Some(r), Some(b), Some(e), Some(scale)) = (r, &bounds[k], &xbar_spec[k], &rbar[k]) {
                    compare(t, &format!("cotangent {k}"), b, scale, r, e);
                }
            }
        }
        if t.failures.len() >= 12 || t.runs >= budget || !run.oracle.lock().expect("one thread").advance() {
            break;
        }
    }
}

/// Runs of one subject in one format with one size of errors: few, or as many as are asked for.
fn budget() -> u64 {
    std::env::var("CERTIFY_EXHAUSTIVE").ok().and_then(|v| v.parse().ok()).unwrap_or(3000)
}

/// Runs of one subject in one format: those of all combinations, or until so many have been seen.
fn exhaust(s: &Subject, f: Format, eps: f64, budget: u64) -> Tally {
    let all = numbers(f);
    let run = Run { format: f, oracle: Mutex::default(), reciprocal: s.reciprocal, ulps: 0.0 };
    let (arity, base) = (s.arity(), all.len() as u128);
    let count = base.checked_pow(arity as u32).expect("a moderate number of operands");
    // a step about the golden section, which shares no factor with the number: all are visited, and any
    // part of them is spread over all
    let golden = (count as f64 * 0.618_033_988_75) as u128;
    let step = (golden.max(1)..).find(|s| gcd(*s, base) == 1).expect("there are primes") % count;
    let mut t = Tally::default();
    let (mut k, mut seen) = (0, 0);
    while seen < count && t.runs < budget && t.failures.len() < 12 {
        let digit = |i: usize| all[(k / base.pow(i as u32) % base) as usize];
        let values: Vec<f64> = (0..arity).map(digit).collect();
        combination(s, &run, &all, &values, eps, budget, &mut t);
        k = (k + step) % count;
        seen += 1;
    }
    t
}

fn gcd(a: u128, b: u128) -> u128 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Subjects whose rules hold for every u: they are made of the lemmas.
fn subjects() -> Vec<Subject> {
    let table = |t: &[u32]| Index::Table(t.to_vec().into());
    let conv = || Conv { strides: vec![1], pads: vec![1, 0], dilations: vec![1], groups: 1 };
    let mean = |d: u32| Mean { divisors: vec![d] };
    let clip = Piecewise {
        pieces: Pieces {
            kinks: vec![-1.0, 2.0],
            left_closed: vec![true, false],
            slopes: vec![0.0, 1.0, 0.0],
            offsets: vec![-1.0, 0.0, 2.0],
        },
    };
    let ramp = Piecewise {
        pieces: Pieces {
            kinks: vec![-1.0, 1.0],
            left_closed: vec![true, false],
            slopes: vec![0.0, 0.25, 0.0],
            offsets: vec![0.25, 0.5, 0.75],
        },
    };
    let product = || MatMul { trans_a: false, trans_b: false };
    vec![
        Subject::new(Add, &[&[1], &[1]]),
        Subject::new(Sub, &[&[1], &[1]]),
        Subject::new(Mul, &[&[1], &[1]]),
        Subject::new(Div, &[&[1], &[1]]),
        Subject::new(Piecewise::relu(), &[&[1]]),
        Subject::new(Piecewise::abs(), &[&[1]]),
        Subject::new(Piecewise::leaky_relu(0.25), &[&[1]]),
        Subject::new(clip, &[&[1]]),
        Subject::new(ramp, &[&[1]]),
        Subject::new(Staircase(Steps::Floor), &[&[1]]),
        Subject::new(Staircase(Steps::Ceil), &[&[1]]),
        Subject::new(Staircase(Steps::Round), &[&[1]]),
        Subject::new(Staircase(Steps::Truncate), &[&[1]]),
        Subject::new(Gather { shape: vec![3], index: table(&[1, 0, 1]) }, &[&[2]]),
        Subject::new(Gather { shape: vec![4], index: table(&[0, 0, 0, 0]) }, &[&[1]]),
        Subject::new(Join, &[&[1], &[1]]),
        Subject::new(Sum, &[&[1, 2]]),
        Subject::new(Sum, &[&[1, 3]]),
        Subject::new(Sum, &[&[1, 4]]),
        Subject::new(Sum, &[&[1, 5]]),
        Subject::new(mean(2), &[&[1, 2]]),
        Subject::new(mean(3), &[&[1, 3]]),
        Subject::new(mean(4), &[&[1, 4]]),
        Subject::new(Max { ties: Ties::First }, &[&[1, 3]]),
        Subject::new(Max { ties: Ties::Split }, &[&[1, 3]]),
        Subject::new(product(), &[&[1, 1], &[1, 1]]),
        Subject::new(product(), &[&[1, 2], &[2, 1]]),
        Subject::new(product(), &[&[1, 2], &[2, 1], &[1, 1]]),
        Subject::new(product(), &[&[1, 3], &[3, 1]]),
        Subject::new(product(), &[&[1, 4], &[4, 1]]),
        Subject::new(product(), &[&[2, 1], &[1, 2]]),
        Subject::new(conv(), &[&[1, 1, 2], &[1, 1, 2]]),
    ]
}

/// Runs all subjects in a format, and tells the figures.
fn all_subjects(f: Format) {
    format::about(f, || {
        let mut failures = Vec::new();
        for s in subjects() {
            for eps in [0.0, 0.25, 1.0] {
                let t = exhaust(&s, f, eps, budget());
                println!(
                    "p = {}, {} {:?}, operands off by {eps}: {} combinations, {} runs, worst error/bound {:.3}",
                    f.p,
                    s.op.name(),
                    s.shapes,
                    t.combinations,
                    t.runs,
                    t.worst
                );
                failures.extend(t.failures);
            }
        }
        assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    });
}

#[test]
fn no_bound_is_exceeded_with_3_bits() {
    all_subjects(P3);
}

#[test]
fn no_bound_is_exceeded_with_4_bits() {
    all_subjects(P4);
}

/// Every primitive in binary16, elementary functions as far off as conforming runs may be; operands are
/// drawn.
#[test]
fn no_bound_is_exceeded_in_binary16() {
    let functions = [
        Elementary::Exp,
        Elementary::Log,
        Elementary::Sqrt,
        Elementary::Tanh,
        Elementary::Sigmoid,
        Elementary::Erf,
        Elementary::Softplus,
        Elementary::Sin,
        Elementary::Cos,
        Elementary::Atan,
        Elementary::Pow(2.5),
    ];
    let mut all = subjects();
    all.extend(functions.iter().map(|&f| Subject::new(Smooth(f), &[&[1]])));
    all.push(Subject::new(Softmax, &[&[1, 2]]));
    all.push(Subject::new(LogSoftmax, &[&[1, 2]]));
    all.push(Subject::new(Normalize { epsilon: 0.0625, centred: true }, &[&[1, 2]]));
    all.push(Subject::new(Normalize { epsilon: 0.0625, centred: false }, &[&[1, 2]]));
    let each = budget();
    format::about(BINARY16, || {
        let grid = numbers(BINARY16);
        let mut failures = Vec::new();
        for s in &all {
            let run = Run {
                format: BINARY16,
                oracle: Mutex::default(),
                reciprocal: s.reciprocal,
                ulps: smooth::PORTABLE_ULPS,
            };
            let (mut t, mut state) = (Tally::default(), 0x9e37_79b9_7f4a_7c15u64);
            let mut draw = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) as usize
            };
            for k in 0..each {
                // of all magnitudes, or near 1
                let any = k % 2 == 0;
                let one = |r: usize, e: usize| {
                    let x = BINARY16.round((1.0 + (r % 1024) as f64 / 1024.0) * [0.25, 0.5, 1.0, 2.0, 4.0][e % 5]);
                    if e % 2 == 0 { x } else { -x }
                };
                let values: Vec<f64> =
                    (0..s.arity()).map(|_| if any { grid[draw() % grid.len()] } else { one(draw(), draw()) }).collect();
                combination(s, &run, &grid, &values, 0.0, each, &mut t);
                if t.failures.len() >= 12 || t.runs >= each {
                    break;
                }
            }
            println!(
                "binary16, {} {:?}: {} combinations, {} runs, worst error/bound {:.3}",
                s.op.name(),
                s.shapes,
                t.combinations,
                t.runs,
                t.worst
            );
            failures.extend(t.failures);
        }
        assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    });
}

/// The harness finds what it should: with u and η of a finer format the bounds are too small.
#[test]
fn bounds_of_a_finer_format_are_exceeded() {
    let mut blind = Vec::new();
    for s in subjects() {
        // nothing rounds in these, or only the contributions that a shared entry gets
        let exact = matches!(s.op, Op::Join(_) | Op::Staircase(_))
            || matches!(&s.op, Op::Piecewise(p) if p.pieces.slopes.iter().all(|s| s.fract() == 0.0));
        let exact = exact || matches!(&s.op, Op::Max(m) if m.ties == Ties::First);
        let finer = Format { p: P3.p + 2, emin: P3.emin, emax: P3.emax };
        let found = format::about(finer, || !exhaust(&s, P3, 0.0, 20_000).failures.is_empty());
        if found == exact {
            blind.push(format!("{} {:?}", s.op.name(), s.shapes));
        }
    }
    assert!(blind.is_empty(), "bounds of p = 5 hold for runs of p = 3, or rounding where there is none: {blind:?}");
}
