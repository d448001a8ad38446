//! Laws of single steps, on which the exact chain for every run rests: what any conforming run adds of its own
//! is within the rule's local part, and what the linearisation at this run misses of it is within the remainder.

use super::cases::{Case, case};
use super::rng::Rng;
use super::runs::{Outcome, conforming};
use super::seeds;
use super::values::{ends, narrow_within, neighbour, within};
use certify::chain::jet::{Jet, Jets};
use certify::chain::majorant::{Major, Majorants};
use certify::chain::remainder::{Apart, Remainders};
use certify::ir::{Array, Tensor};
use certify::num::format::largest;
use certify::num::{Ball, Balls, Interval, Mag};
use certify::ops::{Approx, Centre, Op, RevNode};
use rug::Float;

const BITS: u32 = 420;

/// What is wrong with the claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slip {
    None,
    /// The linearisation misses nothing.
    NoRemainder,
    /// Runs round nothing.
    NoLocal,
    /// Runs are eight times nearer to the spec than they are.
    SmallErrors,
    /// A run's result is what its operands define.
    ResultForgotten,
}

/// A value on all sides: this run, the spec, another run, and how far that may be from the spec.
struct Sides {
    here: Tensor,
    spec: Array<Ball>,
    any: Array<Ball>,
    hull: Vec<Interval>,
    eps: Vec<Mag>,
    rest: Vec<Mag>,
}

fn difference(a: &Ball, b: &Ball) -> Float {
    Float::with_val(2 * BITS, &a.mid - &b.mid)
}

fn balls(t: &Tensor) -> Array<Ball> {
    Array::new(t.shape.clone(), t.data.iter().map(|&v| Ball::exact(f64::from(v))).collect())
}

impl Sides {
    fn operand(here: Tensor, spec: &[f64], any: &Tensor, eps: &[f64]) -> Sides {
        let of = |f: &dyn Fn(usize) -> Ball| Array::new(here.shape.clone(), (0..spec.len()).map(f).collect());
        Sides {
            spec: of(&|i| Ball::exact(spec[i])),
            any: balls(any),
            hull: spec.iter().map(|&s| Interval::point(s)).collect(),
            eps: eps.iter().map(|&e| Mag::of(e)).collect(),
            rest: vec![Mag::ZERO; spec.len()],
            here,
        }
    }

    fn approx(&self) -> Approx<'_> {
        Approx {
            shape: &self.here.shape,
            run: &self.here.data,
            spec: &self.hull,
            eps: &self.eps,
            centre: Centre::Spec,
            measured: false,
            gates: &[],
        }
    }

    fn lane(&self, i: usize) -> f64 {
        difference(&self.any.data[i], &self.spec.data[i]).to_f64()
    }

    fn each<T>(&self, f: impl Fn(usize, f64) -> T) -> Array<T> {
        let data = self.here.data.iter().enumerate().map(|(i, &x)| f(i, f64::from(x))).collect();
        Array::new(self.here.shape.clone(), data)
    }

    fn jets(&self) -> Array<Jet> {
        self.each(|i, x| {
            let mut j = Jet::still(x);
            (j.live, j.lanes[0]) = (true, self.lane(i));
            j
        })
    }

    fn majors(&self) -> Array<Major> {
        self.each(|i, value| Major { value, sum: Mag::of(self.lane(i)) })
    }

    fn apart(&self) -> Array<Apart> {
        self.each(|i, x| Apart::new(x, self.hull[i].radius_about(x), self.eps[i], self.rest[i]))
    }
}

/// The claims about one result.
struct Claim<'a> {
    what: String,
    spec: &'a Array<Ball>,
    /// What the other run's operands define.
    defined: &'a Array<Ball>,
    step: &'a Array<Jet>,
    known: &'a Array<Major>,
    missed: &'a Array<Apart>,
    local: &'a [Mag],
    /// Rounding of the step in binary64, per magnitude.
    gamma: Mag,
}

#[derive(Default)]
struct Found {
    failures: Vec<String>,
    compared: usize,
    finite: usize,
}

impl Found {
    fn judge(&mut self, c: &Claim, slip: Slip, runs: &[&Tensor]) {
        for i in 0..c.spec.data.len() {
            let rest = if slip == Slip::NoRemainder { Mag::ZERO } else { c.missed.data[i].rest() };
            self.compared += 1;
            if rest.is_finite() && c.step.data[i].lanes[0].is_finite() {
                self.finite += 1;
                let moved = difference(&c.defined.data[i], &c.spec.data[i]);
                let off = Float::with_val(2 * BITS, &moved - c.step.data[i].lanes[0]).abs().to_f64();
                let blur = (c.spec.data[i].rad + c.defined.data[i].rad).get();
                let most = rest + c.gamma * c.known.data[i].sum + Mag::exp2(-1000);
                if off * (1.0 - 1e-15) - blur > most.get() {
                    self.failures.push(format!(
                        "{}[{i}]: the linearisation misses {off:e}, {:e} allowed",
                        c.what,
                        most.get()
                    ));
                }
            }
            let local = if slip == Slip::NoLocal { Mag::ZERO } else { c.local[i] };
            for run in runs.iter().filter(|r| local.is_finite() && r.data[i].is_finite()) {
                let (own, _) = c.defined.data[i].distance(f64::from(run.data[i]));
                if own > local.get() {
                    self.failures.push(format!("{}[{i}]: a run adds {own:e}, {:e} allowed", c.what, local.get()));
                }
            }
        }
    }
}

/// The spec's operands, and another run's within eps of them; this run's may be some places off.
fn sides(rng: &mut Rng, t: &Tensor, eps: &[f64], style: usize, slip: Slip) -> (Sides, Tensor) {
    let way = |rng: &mut Rng| match style {
        0 => 1.0,
        1 => -1.0,
        2 => rng.pick(&[1.0, -1.0]),
        _ => rng.signed(),
    };
    let spec: Vec<f64> = t
        .data
        .iter()
        .zip(eps)
        .map(|(&x, &e)| {
            let s = within(f64::from(x), e, way(rng) * rng.pick(&[0.0, 0.3, 1.0]));
            let (lo, hi) = ends(s, e);
            if lo <= f64::from(x) && f64::from(x) <= hi { s } else { f64::from(x) }
        })
        .collect();
    let any: Vec<f32> = (0..spec.len()).map(|i| narrow_within(spec[i], eps[i], way(rng), t.data[i])).collect();
    let shift = rng.one_in(3);
    let here = t.data.iter().map(|&x| if shift { neighbour(x, rng.below(7) as i64 - 3) } else { x }).collect();
    let any = Array::new(t.shape.clone(), any);
    let factor = if slip == Slip::SmallErrors { 0.125 } else { 1.0 };
    let eps: Vec<f64> = eps.iter().map(|e| e * factor).collect();
    (Sides::operand(Array::new(t.shape.clone(), here), &spec, &any, &eps), any)
}

fn check(case: &Case, slip: Slip, f: &mut Found) {
    let (op, arith) = (&case.op, Balls::new(BITS));
    let wanted = vec![true; case.x.len()];
    let mut rng = Rng::of("steps", case.seed);
    for style in 0..4 {
        let (x, any): (Vec<Sides>, Vec<Tensor>) =
            case.x.iter().zip(&case.eps).map(|(t, e)| sides(&mut rng, t, e, style, slip)).unzip();
        let (g, any_g) = sides(&mut rng, &case.ybar, &case.ybar_eps, style, slip);
        let here: Vec<&Tensor> = x.iter().map(|s| &s.here).collect();
        let y_here = op.forward_runtime(&here);
        if y_here.data.iter().any(|v| !v.is_finite()) {
            continue;
        }
        let of = |f: fn(&Sides) -> &Array<Ball>| x.iter().map(f).collect::<Vec<_>>();
        let y_spec = op.forward_spec(&arith, &of(|s| &s.spec));
        let y_any = op.forward_spec(&arith, &of(|s| &s.any));
        let entries = x.iter().map(|s| s.here.data.len()).max().unwrap_or(0).max(y_here.data.len());
        let gamma = Mag::count(4 * entries + 64) * Mag::exp2(-52);

        let ax: Vec<Approx> = x.iter().map(Sides::approx).collect();
        let hull: Vec<Interval> = y_spec.data.iter().map(Ball::interval).collect();
        let open = Approx {
            shape: &y_here.shape,
            run: &y_here.data,
            spec: &hull,
            eps: &[],
            centre: Centre::Spec,
            measured: false,
            gates: &[],
        };
        let bound = op.forward_bound(&ax, &open);
        let refs: Vec<&Tensor> = any.iter().collect();
        let own = op.forward_runtime(&refs);
        let own_bar = op.vjp_runtime(&refs, &own, &any_g, &wanted);
        let mut outcomes = vec![Outcome { how: "own kernel".into(), y: own, xbar: own_bar }];
        outcomes.extend(conforming(op, &refs, &any_g, &mut rng, 3));
        outcomes.retain(|o| o.y.data.iter().all(|v| v.is_finite()));
        if bound.peak.get() > largest() {
            continue;
        }
        let step = op.forward_spec(&Jets, &x.iter().map(Sides::jets).collect::<Vec<_>>().iter().collect::<Vec<_>>());
        let known =
            op.forward_spec(&Majorants, &x.iter().map(Sides::majors).collect::<Vec<_>>().iter().collect::<Vec<_>>());
        let missed =
            op.forward_spec(&Remainders, &x.iter().map(Sides::apart).collect::<Vec<_>>().iter().collect::<Vec<_>>());
        let what = format!("{} seed {} style {style}: value", op.name(), case.seed);
        let claim = Claim {
            what,
            spec: &y_spec,
            defined: &y_any,
            step: &step,
            known: &known,
            missed: &missed,
            local: &bound.local,
            gamma,
        };
        f.judge(&claim, slip, &outcomes.iter().map(|o| &o.y).collect::<Vec<_>>());

        for o in &outcomes {
            let defined: Vec<Mag> = bound.total().iter().zip(&bound.local).map(|(&t, &l)| t + l).collect();
            let rest = if slip == Slip::ResultForgotten { vec![Mag::ZERO; hull.len()] } else { bound.local.clone() };
            // the columns move with the run's own result
            let y = Sides {
                here: y_here.clone(),
                spec: y_spec.clone(),
                any: balls(&o.y),
                hull: hull.clone(),
                eps: defined,
                rest,
            };
            let ay = Approx { eps: &bound.local, ..open };
            let bounds = op.vjp_bound(&ax, &ay, &g.approx(), &wanted);
            let spec = op.vjp_spec(&arith, &of(|s| &s.spec), &y_spec, &g.spec, &wanted);
            let there = op.vjp_spec(&arith, &of(|s| &s.any), &y_any, &g.any, &wanted);
            let (jx, mx, ax_): (Vec<_>, Vec<_>, Vec<_>) = (
                x.iter().map(Sides::jets).collect(),
                x.iter().map(Sides::majors).collect(),
                x.iter().map(Sides::apart).collect(),
            );
            let step = op.vjp_spec(&Jets, &refs_of(&jx), &y.jets(), &g.jets(), &wanted);
            let known = op.vjp_spec(&Majorants, &refs_of(&mx), &y.majors(), &g.majors(), &wanted);
            let missed = op.vjp_spec(&Remainders, &refs_of(&ax_), &y.apart(), &g.apart(), &wanted);
            for k in 0..wanted.len() {
                let all = (&bounds[k], &spec[k], &there[k], &step[k], &known[k], &missed[k], &o.xbar[k]);
                let (Some(b), Some(s), Some(t), Some(j), Some(m), Some(q), Some(run)) = all else { continue };
                if b.peak.get() > largest() {
                    continue;
                }
                let claim = Claim {
                    what: format!("{} seed {} style {style}, {}: cotangent {k}", op.name(), case.seed, o.how),
                    spec: s,
                    defined: t,
                    step: j,
                    known: m,
                    missed: q,
                    local: &b.local,
                    gamma,
                };
                f.judge(&claim, slip, &[run]);
            }
        }
    }
}

fn refs_of<T>(x: &[T]) -> Vec<&T> {
    x.iter().collect()
}

#[test]
fn steps_of_every_run_are_within_local_part_and_remainder() {
    for (name, _) in Op::REGISTRY {
        let mut f = Found::default();
        for seed in seeds(40) {
            check(&case(name, seed), Slip::None, &mut f);
        }
        let n = f.failures.len();
        assert!(n == 0, "{name}, {n} times:\n{}", f.failures[..n.min(8)].join("\n"));
        assert!(2 * f.finite > f.compared, "{name}: only {} of {} remainders are finite", f.finite, f.compared);
    }
}

/// Primitives in which a slip changes nothing.
fn without(slip: Slip) -> &'static [&'static str] {
    match slip {
        // linear
        Slip::NoRemainder | Slip::SmallErrors => &["Add", "Sub", "Sum", "Mean", "Gather", "Join"],
        // nothing is rounded
        Slip::NoLocal => &["Staircase", "Join", "Route"],
        _ => &[],
    }
}

#[test]
fn slips_about_every_run_are_found() {
    let mut missed = Vec::new();
    let found = |name: &str, slip: Slip| {
        (0..200).any(|seed| {
            let mut f = Found::default();
            check(&case(name, seed), slip, &mut f);
            !f.failures.is_empty()
        })
    };
    for (name, _) in Op::REGISTRY {
        for slip in [Slip::NoRemainder, Slip::NoLocal, Slip::SmallErrors] {
            if !without(slip).contains(name) && !found(name, slip) {
                missed.push(format!("{name} with {slip:?}"));
            }
        }
    }
    for name in ["Smooth", "Softmax"] {
        if !found(name, Slip::ResultForgotten) {
            missed.push(format!("{name} with {:?}", Slip::ResultForgotten));
        }
    }
    assert!(missed.is_empty(), "slips that no case shows: {missed:#?}");
}
