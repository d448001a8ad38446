//! The portable rules in formats so small that nothing is left out: every combination of operands, and
//! every legal way of computing each: all orders and groupings of sums, fused or not, both ways in ties,
//! division or a product with the reciprocal. The rules read the format's u, η and largest number
//! ([`format::about`]), so it is the same code that bounds binary32.
//!
//! A run is one way of computing a result, or the cotangent of one operand. `cargo test --release --lib
//! exhaustive` tries some; `CERTIFY_EXHAUSTIVE=10000000` all, as far as so many runs of each primitive, shape and
//! size of errors go. `RAYON_NUM_THREADS` says how many threads each test has; what is tried doesn't depend on it.

mod claims;
mod run;
mod subjects;
mod sweep;

use super::smooth::PORTABLE_ULPS;
use crate::num::format::Format;
use run::Run;
use subjects::{Subject, elementary, subjects};
use sweep::{Grid, Line, Plan, Tally};

/// 3 bits, exponents −2 to 3: 55 numbers from −14 to 14, subnormal ones included.
const P3: Format = Format { p: 3, emin: -2, emax: 3 };
/// 4 bits, exponents −2 to 3: 111 numbers.
const P4: Format = Format { p: 4, emin: -2, emax: 3 };
/// IEEE 754 binary16.
const BINARY16: Format = Format { p: 11, emin: -14, emax: 15 };

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

/// A number that looks random, and the next state.
fn draw(state: &mut u64) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) as usize
}

/// Runs of one subject in one format with one size of errors: few, or as many as are asked for.
fn budget() -> u64 {
    std::env::var("CERTIFY_EXHAUSTIVE").ok().and_then(|v| v.parse().ok()).unwrap_or(SHORT)
}

const SHORT: u64 = 20_000;

/// Tells the figures of a line.
fn tell(name: &str, line: &Line, t: &Tally, seconds: f64) {
    println!(
        "{name}, {} {:?}, off by {}: {}, {} combinations ({} defined, {} cut short), {} runs, largest error/bound {:.4}, {seconds:.1} s",
        label(line.subject),
        line.subject.shapes,
        line.grid.eps,
        if t.complete() { line.plan.whole() } else { "part" },
        t.combinations,
        t.defined,
        t.cut,
        t.runs,
        t.worst,
    );
}

/// The primitive, and what distinguishes it from others of its name.
fn label(s: &Subject) -> String {
    use crate::ops::Op;
    match &s.op {
        Op::Smooth(f) => format!("{:?}", f.0),
        Op::Staircase(f) => format!("{:?}", f.0),
        Op::Piecewise(p) => format!("Piecewise {:?}", p.pieces.slopes),
        Op::Max(m) => format!("Max {:?}", m.ties),
        Op::Gather(g) => format!("Gather {:?}", g.index),
        op => op.name().into(),
    }
}

/// Tries all lines of a format, and tells the figures.
fn all_lines(name: &str, lines: &[(Line, u64)]) {
    let threads = rayon::current_num_threads();
    let (mut sum, mut complete) = (Tally::default(), 0);
    for (line, budget) in lines {
        let since = std::time::Instant::now();
        let t = line.sweep(*budget, threads);
        tell(name, line, &t, since.elapsed().as_secs_f64());
        complete += usize::from(t.complete());
        assert!(t.compared > 0, "{name}, {} {:?}: nothing is bounded", label(line.subject), line.subject.shapes);
        sum.add(t);
    }
    println!(
        "{name}: {complete} of {} lines to their end, {} combinations, {} runs, largest error/bound {:.4}",
        lines.len(),
        sum.combinations,
        sum.runs,
        sum.worst
    );
    assert!(sum.failures.is_empty(), "{} failures:\n{}", sum.failures.len(), sum.failures.join("\n"));
}

/// All subjects in a small format, operands exact or off.
fn small_format(f: Format) {
    let (subjects, grids) = (subjects(), [0.0, 0.25, 1.0].map(|eps| Grid::new(f, eps)));
    let lines = subjects.iter().flat_map(|s| grids.iter().map(move |grid| (exhausted(s, f, f, grid), budget())));
    all_lines(&format!("p = {}", f.p), &lines.collect::<Vec<_>>());
}

/// All combinations of a subject in a format, with bounds about one.
fn exhausted<'a>(subject: &'a Subject, format: Format, about: Format, grid: &'a Grid) -> Line<'a> {
    let run = Run::new(format, subject.reciprocal, 0.0);
    let plan = Plan::all(grid.numbers.len(), subject.arity());
    Line { subject, run, grid, plan, about }
}

#[test]
fn no_bound_is_exceeded_with_3_bits() {
    small_format(P3);
}

#[test]
fn no_bound_is_exceeded_with_4_bits() {
    small_format(P4);
}

/// Combinations of a subject in binary16, and how many runs they may have.
fn drawn<'a>(subject: &'a Subject, smooth: bool, grid: &'a Grid) -> (Line<'a>, u64) {
    let (every, b) = (grid.numbers.len() as u64, budget());
    let (count, runs) = match subject.scalars() {
        // all numbers, with a cotangent each
        Some(1) if b >= every => (every, u64::MAX),
        // pairs are cheap: their arithmetic takes less time than the rest
        Some(2) if b >= every => (10 * b, u64::MAX),
        // functions of MPFR's are dear
        _ if smooth => (b, (b / 10).max(SHORT)),
        _ => (b, b),
    };
    let plan = Plan::Drawn { count, through: subject.scalars() == Some(1) && count >= every };
    let run = Run::new(BINARY16, subject.reciprocal, PORTABLE_ULPS);
    (Line { subject, run, grid, plan, about: BINARY16 }, runs)
}

/// Every primitive in binary16, elementary functions as far off as conforming runs may be. The operand of a
/// unary primitive is every number of the format (if as many runs are asked for); others are drawn.
#[test]
fn no_bound_is_exceeded_in_binary16() {
    let (rules, smooth, grid) = (subjects(), elementary(), Grid::new(BINARY16, 0.0));
    let lines = rules.iter().map(|s| drawn(s, false, &grid)).chain(smooth.iter().map(|s| drawn(s, true, &grid)));
    all_lines("binary16", &lines.collect::<Vec<_>>());
}

#[test]
fn threads_share_out_the_same_work() {
    let (subjects, grid) = (subjects(), Grid::new(P3, 0.25));
    for s in subjects.iter().step_by(5) {
        let tried = |threads| {
            let t = exhausted(s, P3, P3, &grid).sweep(5000, threads);
            (t.combinations, t.defined, t.runs, t.cut, t.worst.to_bits())
        };
        assert_eq!(tried(1), tried(3), "{}", label(s));
    }
}

/// The harness finds what it should: with u and η of a finer format the bounds are too small.
#[test]
fn bounds_of_a_finer_format_are_exceeded() {
    let finer = Format { p: P3.p + 2, emin: P3.emin, emax: P3.emax };
    let grid = Grid::new(P3, 0.0);
    let blind = |s: &Subject| exhausted(s, P3, finer, &grid).sweep(20_000, 1).failures.is_empty() != s.exact();
    let blind: Vec<String> =
        subjects().iter().filter(|s| blind(s)).map(|s| format!("{} {:?}", label(s), s.shapes)).collect();
    assert!(blind.is_empty(), "bounds of p = 5 hold for runs of p = 3, or rounding where there is none: {blind:?}");
}
