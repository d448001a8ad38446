//! Visits combinations of operands, and every run on each.

use super::claims::{Batch, Outcome};
use super::run::{Run, all_runs, choose};
use super::subjects::{Reads, Subject};
use crate::ir::Array;
use crate::num::format::{self, Format};
use crate::ops::RevNode;

/// Combinations whose specs and bounds are found at once.
const BATCH: u64 = 512;
/// Parts of the work that threads share out; what is tried doesn't depend on how many threads there are.
const PARTS: u64 = 16;
/// Failures that are told.
const TOLD: usize = 12;

/// All numbers of a format, ascending, and what a run may take for each: those within eps of it.
pub(super) struct Grid {
    pub(super) numbers: Vec<f64>,
    pub(super) eps: f64,
    /// How many, and which: the lowest, the number itself, the highest; nothing where eps is 0.
    near: Vec<(usize, [f64; 3])>,
}

impl Grid {
    pub(super) fn new(f: Format, eps: f64) -> Grid {
        let numbers = super::numbers(f);
        let near = |&x: &f64| {
            let first = numbers.partition_point(|&v| v < x - eps);
            match numbers[first..numbers.partition_point(|&v| v <= x + eps)] {
                [_] => (1, [x; 3]),
                [a, b] => (2, [a, b, x]),
                [a, .., b] => (3, [a, x, b]),
                [] => unreachable!("x is a number"),
            }
        };
        let near = if eps == 0.0 { Vec::new() } else { numbers.iter().map(near).collect() };
        Grid { numbers, eps, near }
    }

    /// For each number chosen one near it.
    fn pick(&self, chosen: &[u32], to: &mut [f64]) {
        for (to, &i) in to.iter_mut().zip(chosen) {
            *to = self.near.get(i as usize).map_or_else(|| self.numbers[i as usize], |(n, near)| near[choose(*n)]);
        }
    }
}

/// Which combinations are tried, and in which order.
pub(super) enum Plan {
    /// All of them, with a step that shares no factor with their number: any part of them is spread over all.
    All { count: u128, step: u128 },
    /// So many; the first operand goes through all numbers if `through`, others are drawn.
    Drawn { count: u64, through: bool },
}

impl Plan {
    /// All combinations of so many numbers of a format that has `base` of them.
    pub(super) fn all(base: usize, arity: usize) -> Plan {
        let base = base as u128;
        let count = base.checked_pow(arity as u32).expect("a moderate number of operands");
        // about the golden section
        let golden = (count as f64 * 0.618_033_988_75) as u128;
        let step = (golden.max(1)..).find(|s| gcd(*s, base) == 1).expect("there are primes") % count;
        Plan::All { count, step }
    }

    fn count(&self) -> u128 {
        match self {
            Plan::All { count, .. } => *count,
            Plan::Drawn { count, .. } => u128::from(*count),
        }
    }

    /// What has been tried when nothing of the plan is left.
    pub(super) fn whole(&self) -> &'static str {
        match self {
            Plan::All { .. } => "all",
            Plan::Drawn { through: true, .. } => "every number",
            Plan::Drawn { .. } => "drawn",
        }
    }

    /// Combinations from..from + n, as indices of numbers one after the other.
    fn combinations(&self, grid: &Grid, arity: usize, from: u64, n: u64) -> Vec<u32> {
        let base = grid.numbers.len();
        let mut all = Vec::with_capacity(n as usize * arity);
        match self {
            Plan::All { count, step } => {
                let mut k = u128::from(from) * step % count;
                for _ in 0..n {
                    let mut rest = k;
                    for _ in 0..arity {
                        all.push((rest % base as u128) as u32);
                        rest /= base as u128;
                    }
                    k = (k + step) % count;
                }
            }
            Plan::Drawn { through, .. } => {
                // positive numbers from 1/4 to 8
                let zero = base / 2;
                let (low, high) =
                    (grid.numbers.partition_point(|&v| v < 0.25), grid.numbers.partition_point(|&v| v < 8.0));
                for k in from..from + n {
                    let state = &mut (0x9e37_79b9_7f4a_7c15u64 ^ k.wrapping_mul(0xd134_2543_de82_ef95));
                    super::draw(state);
                    // of all magnitudes, or near 1
                    let any = super::draw(state).is_multiple_of(2);
                    for i in 0..arity {
                        let near_1 = low + super::draw(state) % (high - low);
                        let one = if super::draw(state).is_multiple_of(2) { near_1 } else { 2 * zero - near_1 };
                        let index = if any { super::draw(state) % base } else { one };
                        all.push(if i == 0 && *through { k as usize % base } else { index } as u32);
                    }
                }
            }
        }
        all
    }
}

fn gcd(a: u128, b: u128) -> u128 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// What was tried.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) combinations: u64,
    /// Combinations with a result.
    pub(super) defined: u64,
    /// Ways of computing a result or a cotangent.
    pub(super) runs: u64,
    /// Entries held against a bound and a range.
    pub(super) compared: u64,
    /// Combinations whose runs were too many.
    pub(super) cut: u64,
    /// Have all combinations been tried?
    pub(super) all: bool,
    /// Largest error ÷ bound.
    pub(super) worst: f64,
    pub(super) failures: Vec<String>,
}

impl Tally {
    /// Has every run on every combination been tried?
    pub(super) fn complete(&self) -> bool {
        self.all && self.cut == 0
    }

    pub(super) fn add(&mut self, t: Tally) {
        self.combinations += t.combinations;
        self.defined += t.defined;
        self.runs += t.runs;
        self.compared += t.compared;
        self.cut += t.cut;
        self.worst = self.worst.max(t.worst);
        self.failures.extend(t.failures);
        self.failures.truncate(TOLD);
    }
}

/// A primitive with shapes in a format, and a size of its operands' errors.
pub(super) struct Line<'a> {
    pub(super) subject: &'a Subject,
    pub(super) run: Run,
    pub(super) grid: &'a Grid,
    pub(super) plan: Plan,
    /// The format that bounds and ranges are about: the runs', but for a test of this test.
    pub(super) about: Format,
}

impl Line<'_> {
    /// Tries combinations until all have been, or so many runs.
    pub(super) fn sweep(&self, budget: u64, threads: usize) -> Tally {
        let (mut t, mut next) = (Tally::default(), 0);
        while u128::from(next) < self.plan.count() && t.runs < budget && t.failures.is_empty() {
            // of equal size, about as many as are left by what they took so far
            let each = (t.runs / next.max(1)).max(1);
            let size = ((budget - t.runs) / each / PARTS).clamp(1, if next == 0 { 1 } else { BATCH });
            let parts: Vec<(u64, u64)> = (0..PARTS)
                .map(|p| next + p * size)
                .map(|from| (from, (self.plan.count().saturating_sub(u128::from(from)) as u64).min(size)))
                .filter(|(_, n)| *n > 0)
                .collect();
            for part in self.share_out(&parts, (budget / 500).clamp(1000, 20_000), threads) {
                t.add(part);
            }
            next += parts.iter().map(|(_, n)| n).sum::<u64>();
        }
        t.all = u128::from(next) == self.plan.count();
        t
    }

    /// Parts on several threads, in order.
    fn share_out(&self, parts: &[(u64, u64)], most: u64, threads: usize) -> Vec<Tally> {
        let worker = &|first: usize| {
            let own = parts.iter().skip(first).step_by(threads);
            format::about(self.about, || own.map(|&(from, n)| self.part(from, n, most)).collect::<Vec<Tally>>())
        };
        let mut done: Vec<std::vec::IntoIter<Tally>> = if threads == 1 {
            vec![worker(0).into_iter()]
        } else {
            std::thread::scope(|s| {
                let all: Vec<_> = (0..threads).map(|first| s.spawn(move || worker(first))).collect();
                all.into_iter().map(|w| w.join().expect("no panic").into_iter()).collect()
            })
        };
        (0..parts.len()).map(|p| done[p % threads].next().expect("one for each part")).collect()
    }

    /// Combinations from..from + n, with at most so many runs each.
    fn part(&self, from: u64, n: u64, most: u64) -> Tally {
        let arity = self.subject.arity();
        let chosen = self.plan.combinations(self.grid, arity, from, n);
        let values: Vec<f64> = chosen.iter().map(|&i| self.grid.numbers[i as usize]).collect();
        let batch = Batch::new(self.subject, &values, self.grid.eps);
        let blank = |shape: &[usize]| Array::filled(shape, f64::NAN);
        let mut v = Visit {
            line: self,
            batch: &batch,
            c: 0,
            chosen: &[],
            x: self.subject.shapes.iter().map(|s| blank(s)).collect(),
            ybar: blank(&self.subject.out()),
            nothing: blank(&self.subject.out()),
            t: Tally { combinations: n, ..Tally::default() },
        };
        for (c, chosen) in chosen.chunks(arity).enumerate() {
            if batch.defined[c] {
                (v.c, v.chosen) = (c, chosen);
                v.combination(most);
            }
        }
        v.t
    }
}

/// One combination of operands.
struct Visit<'a> {
    line: &'a Line<'a>,
    batch: &'a Batch,
    /// Which one of the batch.
    c: usize,
    /// Its numbers.
    chosen: &'a [u32],
    /// Operands and cotangent of the run at hand.
    x: Vec<Array<f64>>,
    ybar: Array<f64>,
    /// In place of a result that isn't read.
    nothing: Array<f64>,
    t: Tally,
}

impl Visit<'_> {
    /// Every run keeps to the bounds and ranges.
    fn combination(&mut self, most: u64) {
        let reads = self.line.subject.reads();
        let mut all = true;
        let mut count = |t: &mut Tally, (runs, complete): (u64, bool)| {
            t.runs += runs;
            all &= complete;
        };
        self.t.defined += 1;
        if reads != Reads::Result {
            let n = all_runs(most, || _ = self.forward());
            count(&mut self.t, n);
        }
        // what isn't read isn't a number: it would be seen
        if reads == Reads::Nothing {
            self.x.iter_mut().for_each(|x| x.data.fill(f64::NAN));
        }
        // cotangents one by one, and apart from the result that isn't read: their choices are their own
        for k in 0..self.batch.cotangents.len() {
            let n = all_runs(most, || match reads {
                Reads::Nothing => self.backward(k, None),
                Reads::Operands => {
                    self.pick_operands();
                    self.backward(k, None);
                }
                Reads::Result => {
                    if let Some(y) = self.forward() {
                        self.backward(k, Some(&y));
                    }
                }
            });
            count(&mut self.t, n);
        }
        self.t.cut += u64::from(!all);
    }

    /// The run's operands, each off by as much as may be.
    fn pick_operands(&mut self) {
        let mut from = 0;
        for x in &mut self.x {
            self.line.grid.pick(&self.chosen[from..], &mut x.data);
            from += x.data.len();
        }
    }

    /// Up to three operands, without an allocation for each run.
    fn operands(&self) -> [&Array<f64>; 3] {
        std::array::from_fn(|k| &self.x[k.min(self.x.len() - 1)])
    }

    /// A result, if it is finite.
    fn forward(&mut self) -> Option<Array<f64>> {
        self.pick_operands();
        let y = self.line.subject.op.forward_spec(&self.line.run, &self.operands()[..self.x.len()]);
        self.compare(None, &y.data).then_some(y)
    }

    /// A cotangent of operand k.
    fn backward(&mut self, k: usize, y: Option<&Array<f64>>) {
        let from = self.chosen.len() - self.ybar.data.len();
        self.line.grid.pick(&self.chosen[from..], &mut self.ybar.data);
        let (n, y) = (self.x.len(), y.unwrap_or(&self.nothing));
        let wanted = [k == 0, k == 1, k == 2];
        let Line { subject, run, .. } = self.line;
        let mut xbar = subject.op.vjp_spec(run, &self.operands()[..n], y, &self.ybar, &wanted[..n]);
        self.compare(Some(k), &xbar.swap_remove(k).expect("asked for").data);
    }

    /// Holds a result or the cotangent of operand k against what is claimed. Returns whether it is finite.
    fn compare(&mut self, k: Option<usize>, run: &[f64]) -> bool {
        let (c, t) = (self.c, &mut self.t);
        let claim = k.map_or(&self.batch.result, |k| &self.batch.cotangents[k]);
        claim.compare(c, run, |j, outcome| {
            t.compared += u64::from(!matches!(outcome, Outcome::Unsaid));
            let (of, error) = match outcome {
                Outcome::Unsaid => return,
                Outcome::Within(ratio) => return t.worst = t.worst.max(ratio),
                Outcome::Beyond(error) => ("beyond its bound", error),
                Outcome::OutOfRange(error) => ("outside its range", error),
            };
            if t.failures.len() < TOLD {
                let what = k.map_or("y".into(), |k| format!("cotangent {k}"));
                let grid = self.line.grid;
                let operands: Vec<f64> = self.chosen.iter().map(|&i| grid.numbers[i as usize]).collect();
                let Line { subject, run: Run { format, .. }, .. } = self.line;
                let entry = claim.entry(c, j);
                t.failures.push(format!(
                    "{format:?} {} {:?} {what}[{j}] {of}: operands {operands:?} off by {}: run {:e}, exact {:e}, error {error:e}, bound {:e}",
                    subject.op.name(),
                    subject.shapes,
                    grid.eps,
                    run[j],
                    entry.spec.mid.to_f64(),
                    entry.bound.get()
                ));
            }
        })
    }
}
