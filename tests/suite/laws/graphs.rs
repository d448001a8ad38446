//! Random graphs of 20 to 60 nodes: every rung contains the error of the runs that it covers, for every
//! value and every cotangent.

use super::loose::Loose;
use super::rng::Rng;
use super::seeds;
use super::values::narrow_within;
use certify::adversary::{Strategy, adjoints, play};
use certify::bounds::rungs::{Figures, Ladder, rungs};
use certify::bounds::{self, Backward, Errors, Evidence, literal, region};
use certify::chain::columns::Reach;
use certify::chain::propagate::Table;
use certify::chain::{Sources, exact_chain};
use certify::ir::{Array, Index, Leaf, LeafKind, Tensor, ValueId, elements};
use certify::num::format::BINARY32;
use certify::num::{Arith, Ball, Elementary, Interval, Mag, Rounded, Steps, Ties};
use certify::ops::{
    Add, Builder, Centre, Conv, Div, Gather, Join, LogSoftmax, MatMul, Max, Mean, Mul, Normalize, Op, Piecewise,
    RevGraph, Smooth, Softmax, Staircase, Sub, Sum,
};
use certify::seed::Seed;
use certify::spec::{Exact, exact, textbook};
use certify::{runtime, scale};

/// Builds one random graph; the same nodes for the same seed, whatever the leaves' values.
struct Grower {
    rng: Rng,
    builder: Builder,
    values: Vec<ValueId>,
}

impl Grower {
    fn add(&mut self, op: impl Into<Op>, operands: &[ValueId]) -> ValueId {
        let v = self.builder.node(op, operands).expect("a random graph's shapes fit");
        self.values.push(v);
        v
    }

    /// A value, the latest ones more often.
    fn any(&mut self) -> ValueId {
        let n = self.values.len();
        let from = if self.rng.one_in(3) { 0 } else { n.saturating_sub(6) };
        self.values[from + self.rng.below(n - from)]
    }

    fn shape(&self, v: ValueId) -> Vec<usize> {
        self.builder.shape(v).to_vec()
    }

    /// Some value, its entries picked into a shape.
    fn picked(&mut self, shape: &[usize]) -> ValueId {
        let v = self.any();
        let have = self.shape(v);
        if have == shape {
            return v;
        }
        let (n, m) = (elements(&have), elements(shape));
        if n == m {
            return self.add(Gather::reshape(shape), &[v]);
        }
        let holes = self.rng.one_in(4);
        let table: Vec<u32> = (0..m)
            .map(|_| if holes && self.rng.one_in(5) { Index::NOTHING } else { self.rng.below(n) as u32 })
            .collect();
        self.add(Gather { shape: shape.to_vec(), index: Index::Table(table.into()) }, &[v])
    }

    fn rows(&mut self) -> ValueId {
        let shape = [1 + self.rng.below(3), 1 + self.rng.below(9)];
        self.picked(&shape)
    }

    fn smooth(&mut self, f: Elementary, x: ValueId) -> ValueId {
        self.add(Smooth(f), &[x])
    }

    fn grow(&mut self) {
        match self.rng.below(19) {
            0 | 1 => {
                let a = self.any();
                let b = self.picked(&self.shape(a));
                if self.rng.one_in(2) {
                    self.add(Add, &[a, b])
                } else {
                    self.add(Sub, &[a, b])
                };
            }
            2 => {
                let a = self.any();
                let b = self.picked(&self.shape(a));
                self.add(Mul, &[a, b]);
            }
            3 => {
                let a = self.any();
                let b = self.picked(&self.shape(a));
                let b = self.add(Piecewise::clip(0.3, 3.0), &[b]);
                self.add(Div, &[a, b]);
            }
            4 | 5 => {
                let x = self.any();
                let all = [
                    Elementary::Tanh,
                    Elementary::Sigmoid,
                    Elementary::Erf,
                    Elementary::Softplus,
                    Elementary::Sin,
                    Elementary::Cos,
                    Elementary::Atan,
                    Elementary::Asinh,
                    Elementary::Pow(2.0),
                ];
                let f = self.rng.pick(&all);
                self.smooth(f, x);
            }
            6 => {
                let x = self.any();
                let (f, lo, hi) = self.rng.pick(&[
                    (Elementary::Exp, -3.0, 2.0),
                    (Elementary::Log, 0.1, 9.0),
                    (Elementary::Sqrt, 0.1, 9.0),
                    (Elementary::Asin, -0.9, 0.9),
                    (Elementary::Acosh, 1.25, 4.0),
                    (Elementary::Tan, -1.2, 1.2),
                    (Elementary::Pow(-0.5), 0.2, 4.0),
                ]);
                let x = self.add(Piecewise::clip(lo, hi), &[x]);
                self.smooth(f, x);
            }
            7 | 8 => {
                let x = self.any();
                if self.rng.one_in(8) {
                    let steps = self.rng.pick(&Steps::ALL);
                    self.add(Staircase(steps), &[x]);
                    return;
                }
                let p = match self.rng.below(4) {
                    0 => Piecewise::leaky_relu(0.1),
                    1 => Piecewise::abs(),
                    2 => Piecewise::clip(-1.0, 1.0),
                    _ => Piecewise::relu(),
                };
                self.add(p, &[x]);
            }
            9 => {
                let shape = [1 + self.rng.below(4), 1 + self.rng.below(9)];
                self.picked(&shape);
            }
            10 => {
                let (a, b) = (self.any(), self.any());
                if elements(&self.shape(a)) + elements(&self.shape(b)) <= 48 {
                    self.add(Join, &[a, b]);
                }
            }
            11 => {
                let x = self.rows();
                self.add(Sum, &[x]);
            }
            12 => {
                let x = self.rows();
                let n = self.shape(x)[1] as u32;
                self.add(Mean { divisors: vec![n] }, &[x]);
            }
            13 => {
                let x = self.rows();
                let ties = if self.rng.one_in(2) { Ties::First } else { Ties::Split };
                self.add(Max { ties }, &[x]);
            }
            14 | 15 => {
                let (m, k, n) = (1 + self.rng.below(4), 1 + self.rng.below(9), 1 + self.rng.below(4));
                let op = MatMul { trans_a: self.rng.one_in(2), trans_b: self.rng.one_in(2) };
                let a = self.picked(&if op.trans_a { [k, m] } else { [m, k] });
                let b = self.picked(&if op.trans_b { [n, k] } else { [k, n] });
                if self.rng.one_in(2) {
                    let c = self.picked(&[m, n]);
                    self.add(op, &[a, b, c]);
                } else {
                    self.add(op, &[a, b]);
                }
            }
            16 => {
                let groups = 1 + self.rng.below(2);
                let op = Conv {
                    strides: vec![1 + self.rng.below(2)],
                    pads: vec![self.rng.below(2), self.rng.below(2)],
                    dilations: vec![1 + self.rng.below(2)],
                    groups,
                };
                let x = self.picked(&[1 + groups % 2, 2, 6]);
                let w = self.picked(&[2, 2 / groups, 3]);
                let b = self.picked(&[2]);
                self.add(op, &[x, w, b]);
            }
            17 => {
                let x = self.rows();
                if self.rng.one_in(2) {
                    self.add(Softmax, &[x])
                } else {
                    self.add(LogSoftmax, &[x])
                };
            }
            _ => {
                let x = self.rows();
                let centred = self.rng.one_in(2);
                self.add(Normalize { epsilon: f64::from(1e-5f32), centred }, &[x]);
            }
        }
    }
}

/// How leaves are moved.
#[derive(Clone, Copy)]
struct Moved {
    by: Mag,
    seed: u64,
    /// The input only, and anywhere within the distance.
    input_only: bool,
}

/// A random graph with its seeds; leaves may be moved.
fn graph(seed: u64, moved: Option<Moved>) -> (RevGraph, Vec<Seed>) {
    let mut g = Grower { rng: Rng::of("graph", seed), builder: Builder::new(), values: Vec::new() };
    let mut numbers = Rng::of("leaves", seed);
    for l in 0..3 + g.rng.below(3) {
        let shape = vec![1 + g.rng.below(4), 1 + g.rng.below(6)];
        let scale = numbers.pick(&[1.0, 1.0, 0.3, 3.0]);
        let integers = numbers.one_in(4);
        let mut data: Vec<f32> = (0..elements(&shape))
            .map(|_| {
                let v = numbers.signed() * scale;
                // small integers make exact ties and exact kinks
                if integers { (v * 2.0).round() as f32 } else { v as f32 }
            })
            .collect();
        if let Some(m) = moved.filter(|m| l == 0 || !m.input_only) {
            let mut rng = Rng::of("moved", m.seed ^ l as u64);
            data.iter_mut().for_each(|v| {
                let way = if rng.one_in(2) { rng.signed() } else { rng.pick(&[1.0, -1.0, 0.4]) };
                *v = narrow_within(f64::from(*v), m.by.get(), way, *v);
            });
        }
        let kind = if l == 0 { LeafKind::Input } else { LeafKind::Parameter };
        let v = g.builder.leaf(Leaf::new(format!("leaf{l}"), kind, Tensor::new(shape, data)));
        g.values.push(v);
    }
    let nodes = 20 + g.rng.below(41);
    let first = g.values.len();
    while g.values.len() < first + nodes {
        g.grow();
    }
    let last = *g.values.last().expect("there are nodes");
    let loss = if g.shape(last).is_empty() { last } else { g.add(Sum, &[last]) };
    let other = g.any();
    let shape = g.shape(loss);
    let other_shape = g.shape(other);
    let cotangent = (0..elements(&other_shape)).map(|_| numbers.signed() as f32).collect();
    let (graph, renumber) = g.builder.finish();
    graph.check().expect("a built graph obeys the link invariants");
    let seeds = vec![
        Seed::ones(renumber(loss), &shape),
        Seed { value: renumber(other), cotangent: Tensor::new(other_shape, cotangent) },
    ];
    (graph, seeds)
}

/// What a run computed, as binary64 numbers.
struct Run {
    what: &'static str,
    values: Vec<Array<f64>>,
    cotangents: Vec<Option<Array<f64>>>,
}

/// A run of the textbook definitions in some binary32 arithmetic.
fn textbook_run<A: Arith>(
    what: &'static str,
    graph: &RevGraph,
    seeds: &[Seed],
    wanted: &[bool],
    a: &A,
    wide: impl Fn(&A::S) -> f64,
    mut rng: Option<Rng>,
) -> Run {
    let values = textbook::eval(graph, a, |_, _, y| y);
    let cotangents = textbook::backprop(
        graph,
        a,
        &values,
        seeds,
        wanted,
        |_, c| c,
        |_, mut parts| {
            if let Some(rng) = &mut rng {
                rng.shuffle(&mut parts);
            }
            textbook::left_fold(a, parts)
        },
    );
    let widen = |x: &Array<A::S>| Array::new(x.shape.clone(), x.data.iter().map(&wide).collect());
    Run {
        what,
        values: values.iter().map(widen).collect(),
        cotangents: cotangents.iter().map(|c| c.as_ref().map(widen)).collect(),
    }
}

fn wide(t: &Tensor) -> Array<f64> {
    Array::new(t.shape.clone(), t.data.iter().map(|&v| f64::from(v)).collect())
}

/// Counts and complaints.
#[derive(Default)]
struct Tally {
    failures: Vec<String>,
    compared: usize,
    vacuous: usize,
    /// Graphs whose exact chain covers every run.
    chained: usize,
}

impl Tally {
    /// |run − spec| ≤ eps for every entry; a run that isn't finite needs an infinite bound.
    fn within(&mut self, what: &str, run: &Array<f64>, spec: &Array<Ball>, eps: impl Fn(usize) -> Mag) {
        for (i, (&v, s)) in run.data.iter().zip(&spec.data).enumerate() {
            let bound = eps(i);
            self.compared += 1;
            if !bound.is_finite() {
                self.vacuous += 1;
                continue;
            }
            let error = if v.is_finite() { s.distance(v).0 } else { f64::INFINITY };
            if error > bound.get() {
                self.failures.push(format!(
                    "{what}[{i}]: error {error:e} > {:e}, spec {:e}",
                    bound.get(),
                    s.mid.to_f64()
                ));
            }
        }
    }

    fn escapes(&mut self, what: &str, (entries, escapes): &(usize, Vec<certify::adversary::Escape>)) {
        self.compared += entries;
        self.failures.extend(escapes.iter().map(|e| format!("{what}: {e:?}")));
    }

    /// Rungs that were found together: `portable` is what it is alone, `schedule` no more than that and than it is
    /// alone, `run` no more than `schedule`; all of them hold this run.
    fn ladders(&mut self, [portable, schedule]: [&Ladder; 2], together: &[Ladder; 3]) {
        let all =
            |l: &Ladder| -> Vec<Figures> { l.forward.iter().chain(l.backward.iter().flatten()).cloned().collect() };
        let (portable, schedule, [p, s, r]) = (all(portable), all(schedule), together.each_ref().map(all));
        for (i, (portable, schedule)) in portable.iter().zip(&schedule).enumerate() {
            let (p, s, r) = (&p[i], &s[i], &r[i]);
            let ordered = p.max == portable.max && s.max <= portable.max && s.max <= schedule.max && r.max <= s.max;
            if !ordered || p.outside + s.outside + r.outside > 0 || p.undecided != portable.undecided {
                self.failures.push(format!(
                    "table {i}: portable {portable:?}, schedule {schedule:?}, together {p:?} {s:?} {r:?}"
                ));
            }
        }
    }

    fn contains(&mut self, what: &str, scale: &Array<Interval>, run: &Array<f64>) {
        for (i, (s, &v)) in scale.data.iter().zip(&run.data).enumerate() {
            if v.is_finite() && !s.contains(v) {
                self.failures.push(format!("{what}[{i}]: {v:e} outside [{:e}, {:e}]", s.lo, s.hi));
            }
        }
    }

    /// A run's values and cotangents within the bounds of a rung.
    fn covers(
        &mut self,
        what: &str,
        graph: &RevGraph,
        run: &Run,
        found: &Exact,
        forward: &[Errors],
        backward: &Backward,
    ) {
        for (v, ball) in &found.kept {
            let op = graph.node(*v).map_or("leaf", |n| n.op.name());
            let errors = &forward[v.index()].eps;
            self.within(&format!("{what}, {}: value {} ({op})", run.what, v.0), &run.values[v.index()], ball, |i| {
                errors[i]
            });
        }
        for (v, ball) in &found.gradients {
            let i = v.index();
            let op = graph.node(*v).map_or("leaf", |n| n.op.name());
            match (ball, &run.cotangents[i], &backward.total[i]) {
                (Some(ball), Some(run_bar), Some(b)) => {
                    self.within(&format!("{what}, {}: cotangent of {} ({op})", run.what, v.0), run_bar, ball, |i| {
                        b.eps[i]
                    });
                }
                (None, None, None) => {}
                _ => self.failures.push(format!("{what}: the passes disagree whether {} has a cotangent", v.0)),
            }
        }
    }
}

/// One graph; `None` when its run isn't finite.
fn check(seed: u64, tally: &mut Tally) -> Option<()> {
    let (graph, seeds) = self::graph(seed, None);
    let wanted = graph.differentiated(&[]);
    let values = runtime::eval(&graph).ok()?;
    let cotangents = runtime::backprop(&graph, &values, &seeds, &wanted).ok()?;
    let all: Vec<ValueId> = (0..graph.len() as u32).map(ValueId).collect();
    let found = exact(&graph, &seeds, &wanted, &all, &all, 192, |_| true);
    let run = Run {
        what: "this run",
        values: values.iter().map(wide).collect(),
        cotangents: cotangents.total.iter().map(|c| c.as_ref().map(wide)).collect(),
    };
    let evidence = Evidence { graph: &graph, values: &values, cotangents: &cotangents, exact: &found };
    let bound = |centre: Centre, eps_in: Mag| {
        let forward = bounds::eval(evidence, centre, |_| eps_in);
        let backward = bounds::backprop(evidence, &forward, &seeds, &wanted, centre, bounds::add_bound);
        (forward, backward)
    };

    let (forward, backward) = bound(Centre::Run, Mag::ZERO);
    tally.covers("schedule", &graph, &run, &found, &forward, &backward);
    let alone = Ladder::of(evidence, &forward, &backward);

    let reference = literal::run(&graph, &seeds, &wanted);
    for (v, ball) in &found.kept {
        let i = v.index();
        tally.within(&format!("literal: value {i}"), &wide(&reference.values[i]), ball, |_| reference.eps[i]);
    }
    for (v, ball) in found.gradients.iter().filter_map(|(v, b)| b.as_ref().map(|b| (v, b))) {
        let i = v.index();
        let (bar, eps) = (reference.cotangents[i].as_ref()?, reference.cotangent_eps[i]?);
        tally.within(&format!("literal: cotangent of {i}"), &wide(bar), ball, |_| eps);
    }

    let (forward, backward) = bound(Centre::Spec, Mag::ZERO);
    tally.ladders([&Ladder::of(evidence, &forward, &backward), &alone], &rungs(evidence, &seeds, &wanted));
    let mut rng = Rng::of("graph runs", seed);
    let mut runs = vec![run, textbook_run("reference", &graph, &seeds, &wanted, &Rounded::new(BINARY32), |v| *v, None)];
    for _ in 0..3 {
        let loose = Loose::random(&mut rng, false);
        let order = Rng(rng.next());
        runs.push(textbook_run("another run", &graph, &seeds, &wanted, &loose, |v| f64::from(*v), Some(order)));
    }
    let chain = {
        let table = Table::new(evidence, &seeds, &wanted);
        let (forward, backward) = bounds::one_step(evidence, &seeds, &wanted, Centre::Run);
        let sources = Sources::measure(evidence, &table, &forward, &backward);
        exact_chain(evidence, &table, &sources)
    };
    for (what, reach) in [("chain_run", &chain.run), ("chain_schedule", &chain.schedule)] {
        let (forward, backward) = reach.errors();
        tally.covers(what, &graph, &runs[0], &found, &forward, &backward);
    }
    let by_chain = chain.portable.as_ref().map(Reach::errors);
    tally.chained += usize::from(by_chain.is_some());
    // An adversary that aims at one entry of one gradient, up and down, and one that doesn't care.
    let leaf = ValueId(rng.below(graph.leaves().len()) as u32);
    let target = (leaf, rng.below(elements(graph.shape(leaf))));
    let ways = adjoints(&graph, &seeds, &[target]);
    for strategy in [Strategy::Greedy(&ways, 0, 1.0), Strategy::Greedy(&ways, 0, -1.0), Strategy::Random] {
        let played = play(&graph, &seeds, &wanted, strategy, rng.next());
        tally.escapes("portable, adversary", &played.escapes(&found, &forward, &backward));
        if let Some((forward, backward)) = &by_chain {
            tally.escapes("chain_portable, adversary", &played.escapes(&found, forward, backward));
        }
    }
    let scales = scale::eval(&graph, Mag::ZERO);
    let bars = scale::backprop(&graph, &scales, &seeds, &wanted);
    for run in &runs {
        tally.covers("portable", &graph, run, &found, &forward, &backward);
        if let Some((forward, backward)) = &by_chain {
            tally.covers("chain_portable", &graph, run, &found, forward, backward);
        }
        for i in 0..graph.len() {
            // a range says nothing of runs that overflow on the way
            if forward[i].eps.iter().all(|e| e.is_finite()) {
                tally.contains(&format!("scale of value {i}, {}", run.what), &scales[i], &run.values[i]);
            }
            if let (Some(bar), Some(s), Some(b)) = (&run.cotangents[i], &bars[i], &backward.total[i])
                && b.eps.iter().all(|e| e.is_finite())
            {
                tally.contains(&format!("scale of cotangent {i}, {}", run.what), s, bar);
            }
        }
    }

    // Leaves that other runs know only up to an error.
    let eps = Mag::exp2(-22 + (seed % 12) as i64);
    let (forward, backward) = bound(Centre::Spec, eps);
    for k in 0..2 {
        let (moved, _) = self::graph(seed, Some(Moved { by: eps, seed: rng.next(), input_only: false }));
        let loose = Loose::random(&mut rng, false);
        let order = (k == 0).then(|| Rng(rng.next()));
        let run = textbook_run("moved leaves", &moved, &seeds, &wanted, &loose, |v| f64::from(*v), order);
        tally.covers("portable with input errors", &graph, &run, &found, &forward, &backward);
    }

    // Every input of a box, each with its own spec.
    let radius = Mag::exp2(-24 + (seed % 23) as i64);
    let box_ = region::over(&graph, (&values, &cotangents), &seeds, &wanted, radius);
    for k in 0..2 {
        let (moved, _) = self::graph(seed, Some(Moved { by: radius, seed: rng.next(), input_only: true }));
        let there = exact(&moved, &seeds, &wanted, &all, &all, 192, |_| true);
        let loose = Loose::random(&mut rng, false);
        let order = (k == 0).then(|| Rng(rng.next()));
        let run = textbook_run("in the box", &moved, &seeds, &wanted, &loose, |v| f64::from(*v), order);
        tally.covers("region", &graph, &run, &there, &box_.forward, &box_.backward);
        let played = play(&moved, &seeds, &wanted, Strategy::Random, rng.next());
        tally.escapes("region", &played.escapes(&there, &box_.forward, &box_.backward));
    }
    Some(())
}

#[test]
fn every_rung_covers_its_runs() {
    let (mut done, mut compared, mut vacuous, mut chained) = (0, 0, 0, 0);
    let mut complaints = Vec::new();
    let seeds = seeds(200);
    for &seed in &seeds {
        let mut tally = Tally::default();
        done += usize::from(check(seed, &mut tally).is_some());
        (compared, vacuous, chained) = (compared + tally.compared, vacuous + tally.vacuous, chained + tally.chained);
        if let Some(first) = tally.failures.first() {
            complaints.push(format!("graph {seed}, {} times: {first}", tally.failures.len()));
        }
    }
    assert!(
        complaints.is_empty(),
        "{} graphs:\n{}",
        complaints.len(),
        complaints[..complaints.len().min(12)].join("\n")
    );
    assert!(2 * done >= seeds.len(), "only {done} graphs of {} have finite runs", seeds.len());
    assert!(2 * vacuous < compared, "{vacuous} of {compared} bounds are infinite");
    println!("{done} graphs, {compared} entries compared, {chained} with an exact chain for every run");
    assert!(2 * chained > done, "only {chained} graphs of {done} have an exact chain for every run");
}
