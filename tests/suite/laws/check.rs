//! Laws 1–4 and 7: what the rules say of a primitive contains what is observed.

use super::cases::Case;
use super::cells::Cells;
use super::rng::Rng;
use super::runs::{Outcome, conforming};
use super::values::{ends, narrow_within, within};
use certify::ir::{Array, Tensor};
use certify::num::format::largest;
use certify::num::{Ball, Balls, Interval, Mag};
use certify::ops::{Approx, Bound, Centre, Op, PerOperand, RevNode, UNKNOWN_GATE};
use rug::Float;

/// Bits of the exact evaluations.
pub const BITS: u32 = 420;

/// Ratios bound ÷ observed error, for the tightness law.
#[derive(Clone, Debug, Default)]
pub struct Ratios {
    pub forward: Vec<f64>,
    pub vjp: Vec<f64>,
}

/// What came of the laws.
#[derive(Default)]
pub struct Findings {
    pub failures: Vec<String>,
    /// Finite bounds that were compared with an error.
    pub compared: usize,
    pub run: Ratios,
    pub spec: Ratios,
}

/// The numbers of one value on all three sides.
struct Side {
    shape: Vec<usize>,
    run: Vec<f32>,
    balls: Array<Ball>,
    spec: Vec<Interval>,
    eps: Vec<Mag>,
    gates: Vec<u32>,
}

impl Side {
    fn approx(&self, centre: Centre) -> Approx<'_> {
        Approx {
            shape: &self.shape,
            run: &self.run,
            spec: &self.spec,
            eps: &self.eps,
            centre,
            measured: false,
            gates: &self.gates,
        }
    }

    /// Spec values at exactly known binary64 numbers; enclosures are points, or intervals around them.
    fn known(shape: &[usize], run: Vec<f32>, exact: &[f64], eps: &[f64], thin: bool) -> Side {
        let around = |&x: &f64| {
            let r = Mag::of(x) * Mag::exp2(-40) + Mag::exp2(-200);
            if thin { Interval::point(x).widen(r) } else { Interval::point(x) }
        };
        Side {
            shape: shape.to_vec(),
            run,
            balls: Array::new(shape.to_vec(), exact.iter().map(|&x| Ball::exact(x)).collect()),
            spec: exact.iter().map(around).collect(),
            eps: eps.iter().map(|&e| Mag::of(e)).collect(),
            gates: Vec::new(),
        }
    }

    /// A result: the spec's value is a ball.
    fn made(run: Vec<f32>, balls: Array<Ball>, thin: bool) -> Side {
        let around = |b: &Ball| {
            let i = b.interval();
            if thin { i.widen(i.mag() * Mag::exp2(-40) + Mag::exp2(-200)) } else { i }
        };
        let spec = balls.data.iter().map(around).collect();
        Side { shape: balls.shape.clone(), run, balls, spec, eps: Vec::new(), gates: Vec::new() }
    }
}

fn balls(t: &Tensor) -> Array<Ball> {
    Array::new(t.shape.clone(), t.data.iter().map(|&v| Ball::exact(f64::from(v))).collect())
}

/// A certain lower bound on the distance of two enclosed numbers.
fn apart(a: &Ball, b: &Ball) -> f64 {
    let d = Float::with_val(2 * BITS, &a.mid - &b.mid).abs().to_f64_round(rug::float::Round::Down);
    (d * (1.0 - 1e-15) - (a.rad + b.rad).get()).max(0.0)
}

/// All runs are finite.
fn finite(t: &Tensor) -> bool {
    t.data.iter().all(|v| v.is_finite())
}

impl Findings {
    fn fail(&mut self, case: &Case, what: String) {
        if self.failures.len() < 8 {
            let shapes: Vec<&[usize]> = case.x.iter().map(|t| &t.shape[..]).collect();
            self.failures.push(format!("{} seed {} {:?} {shapes:?}: {what}", case.op.name(), case.seed, case.op));
        } else {
            self.failures.push(String::new());
        }
    }

    /// The total bound contains |run − spec|, the carried one `moved`.
    #[allow(clippy::too_many_arguments)]
    fn contained(
        &mut self,
        case: &Case,
        what: &str,
        bound: &Bound,
        run: Option<&Tensor>,
        spec: &Array<Ball>,
        centre: Option<&Array<Ball>>,
        ratios: fn(&mut Findings) -> &mut Vec<f64>,
    ) {
        let n = spec.data.len();
        if bound.carried.len() != n || bound.local.len() != n {
            return self.fail(case, format!("{what}: {} bounds for {n} entries", bound.carried.len()));
        }
        // The passes void the bounds about every run where one may overflow on the way, see `bounds::checked`.
        if what.starts_with("every") && bound.peak.get() > largest() {
            return;
        }
        for (i, (s, total)) in spec.data.iter().zip(bound.total()).enumerate() {
            if !total.is_finite() {
                continue;
            }
            if let Some(run) = run {
                let v = run.data[i];
                if !v.is_finite() {
                    if (s.mag() + total).get() <= largest() {
                        self.fail(
                            case,
                            format!("{what}[{i}]: the run has {v}, spec {:e}, bound {:e}", s.mid.to_f64(), total.get()),
                        );
                    }
                    continue;
                }
                // `Ball::distance` gives a little away
                let error = apart(s, &Ball::exact(f64::from(v)));
                self.compared += 1;
                if error > total.get() {
                    let (c, l) = (bound.carried[i].get(), bound.local[i].get());
                    self.fail(
                        case,
                        format!(
                            "{what}[{i}]: error {error:e} > {:e} = carried {c:e} + local {l:e}; run {v:e}, spec {:e}",
                            total.get(),
                            s.mid.to_f64()
                        ),
                    );
                } else if error > 0.0 {
                    ratios(self).push(total.get() / error);
                }
            }
            if let Some(c) = centre {
                let moved = apart(&c.data[i], s);
                if moved > bound.carried[i].get() {
                    self.fail(case, format!("{what}[{i}]: moved by {moved:e} > carried {:e}", bound.carried[i].get()));
                }
            }
        }
    }

    /// The scale contains a run's values and the spec's.
    fn within_scale(
        &mut self,
        case: &Case,
        what: &str,
        scale: &Array<Interval>,
        run: Option<&Tensor>,
        spec: &Array<Ball>,
    ) {
        if scale.shape != spec.shape {
            return self.fail(case, format!("{what}: scale has shape {:?}, {:?} required", scale.shape, spec.shape));
        }
        for (i, (s, b)) in scale.data.iter().zip(&spec.data).enumerate() {
            if let Some(v) = run.map(|t| t.data[i]).filter(|v| v.is_finite() && !s.contains(f64::from(*v))) {
                self.fail(case, format!("{what}[{i}]: run {v:e} outside its scale [{:e}, {:e}]", s.lo, s.hi));
            }
            let below = b.mid < s.lo && apart(b, &Ball::exact(s.lo)) > 0.0;
            let above = b.mid > s.hi && apart(b, &Ball::exact(s.hi)) > 0.0;
            if s.lo.is_finite() && below || s.hi.is_finite() && above {
                self.fail(
                    case,
                    format!("{what}[{i}]: spec {:e} outside its scale [{:e}, {:e}]", b.mid.to_f64(), s.lo, s.hi),
                );
            }
        }
    }
}

/// A point of [−1, 1] for every entry; corners mostly.
fn directions(rng: &mut Rng, style: usize, n: usize) -> Vec<f64> {
    (0..n)
        .map(|i| match style % 5 {
            0 => 1.0,
            1 => -1.0,
            2 => {
                if i % 2 == 0 {
                    1.0
                } else {
                    -1.0
                }
            }
            3 => {
                if rng.one_in(2) {
                    1.0
                } else {
                    -1.0
                }
            }
            _ => rng.signed(),
        })
        .collect()
}

/// Ranges that hold everything within eps of the spec's operands.
fn ranges(shape: &[usize], exact: &[f64], eps: &[f64], run: &[f32]) -> Array<Interval> {
    let data = exact.iter().zip(eps).zip(run).map(|((&x, &e), &r)| {
        let i = Interval::point(x).hull(Interval::point(f64::from(r)));
        if e == 0.0 { i } else { i.widen(Mag::of(e)) }
    });
    Array::new(shape.to_vec(), data.collect())
}

/// The spec's gates at exactly known operands, or what an enclosure that is too wide says.
fn gates(op: &Op, x: &[&Array<Ball>], known: bool) -> Vec<u32> {
    let gates = op.gates(&Balls::new(BITS), x);
    if known { gates } else { vec![UNKNOWN_GATE; gates.len()] }
}

/// Laws 1–4, 7 for the rules about one run: it has the case's operands, the spec others within eps.
pub fn this_run(cells: &Cells, case: &Case, f: &mut Findings) {
    let op = &case.op;
    let arith = Balls::new(BITS);
    let x: Vec<&Tensor> = case.x.iter().collect();
    let wanted = vec![true; x.len()];
    let y = cells.forward_runtime(&x);
    if !finite(&y) {
        return;
    }
    let xbar = cells.vjp_runtime(&x, &y, &case.ybar, &wanted);
    let here: Vec<Array<Ball>> = x.iter().map(|t| balls(t)).collect();
    let here: Vec<&Array<Ball>> = here.iter().collect();
    let y_here = op.forward_spec(&arith, &here);
    let xbar_here = op.vjp_spec(&arith, &here, &y_here, &balls(&case.ybar), &wanted);
    let exact = case.eps.iter().chain([&case.ybar_eps]).flatten().all(|e| *e == 0.0);
    let mut rng = Rng::of("this run", case.seed);
    for style in 0..if exact { 1 } else { 5 } {
        let place = |rng: &mut Rng, t: &Tensor, eps: &[f64]| -> Vec<f64> {
            let d = directions(rng, style, t.data.len());
            (0..d.len()).map(|i| within(f64::from(t.data[i]), eps[i], d[i])).collect()
        };
        let spec_x: Vec<Vec<f64>> = x.iter().zip(&case.eps).map(|(t, e)| place(&mut rng, t, e)).collect();
        let spec_ybar = place(&mut rng, &case.ybar, &case.ybar_eps);
        let sides: Vec<Side> = (0..x.len())
            .map(|k| Side::known(&x[k].shape, x[k].data.to_vec(), &spec_x[k], &case.eps[k], case.thin))
            .collect();
        let there: Vec<&Array<Ball>> = sides.iter().map(|s| &s.balls).collect();
        let y_there = op.forward_spec(&arith, &there);
        let ax: Vec<Approx> = sides.iter().map(|s| s.approx(Centre::Run)).collect();
        let mut ay = Side::made(y.data.to_vec(), y_there.clone(), case.thin);
        ay.gates = gates(op, &there, !case.thin || style % 2 == 0);
        let bound = cells.forward_bound(&ax, &ay.approx(Centre::Run));
        f.contained(case, &format!("this run, y, spec {style}"), &bound, Some(&y), &y_there, Some(&y_here), |f| {
            &mut f.run.forward
        });
        let rx: Vec<Array<Interval>> =
            (0..x.len()).map(|k| ranges(&x[k].shape, &spec_x[k], &vec![0.0; spec_x[k].len()], &x[k].data)).collect();
        let rx: Vec<&Array<Interval>> = rx.iter().collect();
        let ry = cells.forward_scale(&rx);
        f.within_scale(case, "this run, y", &ry, Some(&y), &y_there);

        let g = Side::known(&case.ybar.shape, case.ybar.data.to_vec(), &spec_ybar, &case.ybar_eps, case.thin);
        ay.eps = bound.total();
        let bounds = cells.vjp_bound(&ax, &ay.approx(Centre::Run), &g.approx(Centre::Run), &wanted);
        let xbar_there = op.vjp_spec(&arith, &there, &y_there, &g.balls, &wanted);
        let rg = ranges(&g.shape, &spec_ybar, &vec![0.0; spec_ybar.len()], &case.ybar.data);
        let scales = cells.vjp_scale(&rx, &ry, &rg, &wanted);
        for k in 0..x.len() {
            let what = format!("this run, cotangent {k}, spec {style}");
            let (Some(b), Some(s), Some(h), Some(scale)) = (&bounds[k], &xbar_there[k], &xbar_here[k], &scales[k])
            else {
                f.fail(case, format!("{what} is missing"));
                continue;
            };
            let Some(run) = &xbar[k] else { continue };
            if finite(run) {
                f.contained(case, &what, b, Some(run), s, Some(h), |f| &mut f.run.vjp);
                f.within_scale(case, &what, scale, Some(run), s);
            }
        }
    }
}

/// Laws 1–4, 7 for the rules about every run: the spec has operands near the case's, runs others
/// within eps of those.
pub fn every_run(cells: &Cells, case: &Case, runs: usize, f: &mut Findings) {
    let op = &case.op;
    let arith = Balls::new(BITS);
    let mut rng = Rng::of("every run", case.seed);
    let wanted = vec![true; case.x.len()];
    // The spec's operands, such that the case's lie within eps of them.
    let style = rng.below(5);
    let place = |rng: &mut Rng, t: &Tensor, eps: &[f64]| -> Vec<f64> {
        let d = directions(rng, style, t.data.len());
        let reach = rng.pick(&[0.0, 0.3, 1.0]);
        (0..d.len())
            .map(|i| {
                let s = within(f64::from(t.data[i]), eps[i], d[i] * reach);
                let (lo, hi) = ends(s, eps[i]);
                if lo <= f64::from(t.data[i]) && f64::from(t.data[i]) <= hi { s } else { f64::from(t.data[i]) }
            })
            .collect()
    };
    let spec_x: Vec<Vec<f64>> = case.x.iter().zip(&case.eps).map(|(t, e)| place(&mut rng, t, e)).collect();
    let spec_ybar = place(&mut rng, &case.ybar, &case.ybar_eps);
    // The rules about every run read no run: there is none.
    let nothing = |t: &Tensor| vec![f32::NAN; t.data.len()];
    let sides: Vec<Side> = (0..case.x.len())
        .map(|k| Side::known(&case.x[k].shape, nothing(&case.x[k]), &spec_x[k], &case.eps[k], case.thin))
        .collect();
    let there: Vec<&Array<Ball>> = sides.iter().map(|s| &s.balls).collect();
    let y_there = op.forward_spec(&arith, &there);
    let ax: Vec<Approx> = sides.iter().map(|s| s.approx(Centre::Spec)).collect();
    let mut ay = Side::made(vec![f32::NAN; y_there.data.len()], y_there.clone(), case.thin);
    ay.gates = gates(op, &there, true);
    let bound = cells.forward_bound(&ax, &ay.approx(Centre::Spec));
    ay.eps = bound.total();
    let g = Side::known(&case.ybar.shape, nothing(&case.ybar), &spec_ybar, &case.ybar_eps, case.thin);
    let bounds = cells.vjp_bound(&ax, &ay.approx(Centre::Spec), &g.approx(Centre::Spec), &wanted);
    let xbar_there = op.vjp_spec(&arith, &there, &y_there, &g.balls, &wanted);
    let rx: Vec<Array<Interval>> =
        (0..case.x.len()).map(|k| ranges(&case.x[k].shape, &spec_x[k], &case.eps[k], &case.x[k].data)).collect();
    let rx: Vec<&Array<Interval>> = rx.iter().collect();
    let ry = cells.forward_scale(&rx);
    let rg = ranges(&g.shape, &spec_ybar, &case.ybar_eps, &case.ybar.data);
    let scales = cells.vjp_scale(&rx, &ry, &rg, &wanted);

    let exact = case.eps.iter().chain([&case.ybar_eps]).flatten().all(|e| *e == 0.0);
    for style in 0..if exact { 1 } else { 4 } {
        let place = |rng: &mut Rng, t: &Tensor, spec: &[f64], eps: &[f64]| -> Tensor {
            let d = directions(rng, style, spec.len());
            let data = (0..spec.len()).map(|i| narrow_within(spec[i], eps[i], d[i], t.data[i])).collect();
            Array::new(t.shape.clone(), data)
        };
        let rx: Vec<Tensor> =
            (0..case.x.len()).map(|k| place(&mut rng, &case.x[k], &spec_x[k], &case.eps[k])).collect();
        let rx: Vec<&Tensor> = rx.iter().collect();
        let rg = place(&mut rng, &case.ybar, &spec_ybar, &case.ybar_eps);
        let own = cells.forward_runtime(&rx);
        let own_bar = cells.vjp_runtime(&rx, &own, &rg, &wanted);
        let mut outcomes = vec![Outcome { how: "own kernel".into(), y: own, xbar: own_bar }];
        outcomes.extend(conforming(op, &rx, &rg, &mut rng, runs));
        let moved: Vec<Array<Ball>> = rx.iter().map(|t| balls(t)).collect();
        let moved: Vec<&Array<Ball>> = moved.iter().collect();
        let y_moved = op.forward_spec(&arith, &moved);
        let xbar_moved = op.vjp_spec(&arith, &moved, &y_moved, &balls(&rg), &wanted);
        f.contained(case, "every run, y", &bound, None, &y_there, Some(&y_moved), |f| &mut f.spec.forward);
        for o in &outcomes {
            let what = format!("every run, y, {style}, {}", o.how);
            f.contained(case, &what, &bound, Some(&o.y), &y_there, None, |f| &mut f.spec.forward);
            let run = Some(&o.y).filter(|_| bound.peak.get() <= largest());
            f.within_scale(case, &what, &ry, run, &y_there);
        }
        for k in 0..case.x.len() {
            let (Some(b), Some(s), Some(m), Some(scale)) = (&bounds[k], &xbar_there[k], &xbar_moved[k], &scales[k])
            else {
                f.fail(case, format!("every run, cotangent {k} is missing"));
                continue;
            };
            f.contained(case, &format!("every run, cotangent {k}"), b, None, s, Some(m), |f| &mut f.spec.vjp);
            // a run whose own value isn't finite has ended before its cotangents
            for o in outcomes.iter().filter(|o| finite(&o.y)) {
                let what = format!("every run, cotangent {k}, {style}, {}", o.how);
                let Some(run) = &o.xbar[k] else { continue };
                f.contained(case, &what, b, Some(run), s, None, |f| &mut f.spec.vjp);
                f.within_scale(case, &what, scale, Some(run).filter(|_| b.peak.get() <= largest()), s);
            }
        }
    }
}

/// Law 8: larger errors of the operands give no smaller bounds.
pub fn monotone(case: &Case, f: &mut Findings) {
    let op = &case.op;
    let arith = Balls::new(BITS);
    let x: Vec<&Tensor> = case.x.iter().collect();
    let wanted = vec![true; x.len()];
    let y = op.forward_runtime(&x);
    if !finite(&y) {
        return;
    }
    for centre in [Centre::Run, Centre::Spec] {
        let mut last: Option<(Vec<Mag>, PerOperand<Vec<Mag>>)> = None;
        for factor in [0.0, 0.5, 1.0, 2.0, 64.0] {
            let side = |t: &Tensor, eps: &[f64]| {
                let exact: Vec<f64> = t.data.iter().map(|&v| f64::from(v)).collect();
                let eps: Vec<f64> = eps.iter().map(|e| e * factor).collect();
                Side::known(&t.shape, t.data.to_vec(), &exact, &eps, case.thin)
            };
            let sides: Vec<Side> = x.iter().zip(&case.eps).map(|(t, e)| side(t, e)).collect();
            let there: Vec<&Array<Ball>> = sides.iter().map(|s| &s.balls).collect();
            let mut ay = Side::made(y.data.to_vec(), op.forward_spec(&arith, &there), case.thin);
            ay.gates = gates(op, &there, true);
            let ax: Vec<Approx> = sides.iter().map(|s| s.approx(centre)).collect();
            let total = op.forward_bound(&ax, &ay.approx(centre)).total();
            ay.eps.clone_from(&total);
            let g = side(&case.ybar, &case.ybar_eps);
            let bars: PerOperand<Vec<Mag>> = op
                .vjp_bound(&ax, &ay.approx(centre), &g.approx(centre), &wanted)
                .into_iter()
                .map(|b| b.map(|b| b.total()))
                .collect();
            if let Some((before, bars_before)) = &last {
                let mut compare = |what: &str, a: &[Mag], b: &[Mag]| {
                    if let Some(i) = (0..a.len()).find(|&i| b[i].get() < a[i].get()) {
                        f.fail(
                            case,
                            format!(
                                "{centre:?} {what}[{i}]: eps·{factor} gives {:e}, less than {:e}",
                                b[i].get(),
                                a[i].get()
                            ),
                        );
                    }
                };
                compare("y", before, &total);
                for (k, (a, b)) in bars_before.iter().zip(&bars).enumerate() {
                    if let (Some(a), Some(b)) = (a, b) {
                        compare(&format!("cotangent {k}"), a, b);
                    }
                }
            }
            last = Some((total, bars));
        }
    }
}
