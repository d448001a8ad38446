//! What to compare another runtime's gradients with, and what such a comparison can detect.

use super::decimal;
use super::number::{Enclosure, Num};
use super::rungs::{Bound, Covers, Rung, Standing, quotient_up};
use super::schema::{DefaultDetection, Detection, Gradient, Tolerance};
use crate::num::Mag;

/// Significant digits of a tolerance to be pasted.
const PASTED: usize = 3;

/// The tolerance of a gradient, from the tightest rigorous rung that isn't vacuous and covers other
/// runtimes; where there is none, from the tightest that covers this run, and the text says so.
pub(super) fn tolerance(g: &Gradient) -> Tolerance {
    let portable = g.bounds.tightest(Covers::EveryConformingRun);
    let own = g.bounds.tightest(Covers::ThisRun);
    let recommendation = match (portable, own) {
        (Some((rung, b)), _) => {
            format!(
                "rtol=0, atol={} against the exact gradient, for any conforming runtime ({})",
                paste(b),
                rung.name()
            )
        }
        (None, own) => {
            let mut text = String::from("none rigorous for other runtimes");
            let figures = [Rung::ChainPortable, Rung::Probabilistic].map(|r| (r, g.bounds.get(r)));
            for (rung, b) in figures.into_iter().filter_map(|(r, b)| b.map(|b| (r, b))) {
                let word = match b.standing {
                    _ if b.vacuous => continue,
                    Standing::Rigorous => continue,
                    Standing::FirstOrder => "first order",
                    Standing::Statistical => "statistical",
                };
                text += &format!("; {word}, decides nothing: atol={} ({})", paste(b), rung.name());
            }
            if let Some((rung, b)) = own {
                text += &format!("; this run keeps rtol=0, atol={} ({})", paste(b), rung.name());
            }
            text
        }
    };
    let observed = Mag::of(g.observed.hi());
    let magnitude = |x: Num| Mag::of(x.get());
    let any = portable.and_then(|(rung, b)| Some((rung, magnitude(b.abs?))));
    let between_runtimes = match any {
        // Each runtime is within its own bound of the spec: the sum. This run's own is its observed error.
        Some((rung, a)) => format!(
            "rtol=0, atol={} between any two conforming runtimes, rtol=0, atol={} between one and this run ({})",
            decimal::up((a + a).get(), PASTED),
            decimal::up((a + observed).get(), PASTED),
            rung.name()
        ),
        None => "none rigorous: no bound says anything about another runtime".into(),
    };
    let chosen = portable.or(own);
    let atol = chosen.and_then(|(_, b)| b.abs);
    Tolerance {
        atol,
        atol_hex: atol.map(Num::hex),
        rtol: atol.and_then(|a| quotient_up(magnitude(a), g.spec_norm.lo())),
        rung: chosen.map(|(rung, _)| rung),
        covers: chosen.map(|(_, b)| b.covers),
        // Another runtime is within its bound of the spec, and this run within its observed error.
        atol_between_runtimes: any.and_then(|(_, a)| Num::new((a + observed).get())),
        atol_any_two_runtimes: any.and_then(|(_, a)| Num::new((a + a).get())),
        // tolFromEpsScale: abs = eps, rel = eps/B.
        rel_of_scale: atol.zip(g.scale).and_then(|(a, b)| quotient_up(magnitude(a), b.get())),
        recommendation,
        between_runtimes,
    }
}

/// A bound as one pastes it: rounded up.
fn paste(b: &Bound) -> String {
    b.abs.map_or_else(|| "unbounded".into(), |a| decimal::up(a.get(), PASTED))
}

/// How a framework decides whether two entries agree.
#[derive(Clone, Copy)]
enum Agree {
    /// |Δ| ≤ atol + rtol·|g|
    Sum,
    /// |Δ| ≤ atol or |Δ| ≤ rtol·|g|
    Either,
}

/// Default tolerances for binary32: name, how rtol and atol are joined, rtol, atol. Sources:
/// `torch/testing/_comparison.py` (`_DTYPE_PRECISIONS`), `jax/_src/public_test_util.py`
/// (`default_gradient_tolerance`, used as rtol and as atol), Polygraphy's `comparator/compare.py`.
const DEFAULTS: [(&str, Agree, f64, f64); 3] = [
    ("PyTorch assert_close", Agree::Sum, 1.3e-6, 1e-5),
    ("JAX check_grads", Agree::Sum, 2e-3, 2e-3),
    ("Polygraphy", Agree::Either, 1e-5, 1e-5),
];

/// The smallest corruption certain to be rejected, by this certificate's limit and by the defaults
/// of others.
pub(super) fn detection(g: &Gradient) -> Detection {
    let own = Mag::of(g.observed.hi());
    let certain = |allowed: Mag| Num::new((allowed + own).get()).unwrap_or(Num::of(f64::MAX));
    let defaults = DEFAULTS
        .into_iter()
        .map(|(name, agree, rtol, atol)| DefaultDetection {
            name: name.into(),
            limit: certain(allowed(agree, rtol, atol, g.spec_norm)),
            blind: accepts_zero(agree, rtol, atol, g.spec_norm),
        })
        .collect();
    // A corruption c at one entry makes an error of at least |c| − observed there; it can't pass if
    // that exceeds what is allowed: |c| > allowed + observed.
    Detection { limit: certain(Mag::of(g.limit.get())), defaults }
}

/// The largest difference that a default allows at any entry.
fn allowed(agree: Agree, rtol: f64, atol: f64, norm: Enclosure) -> Mag {
    let relative = Mag::of(rtol) * Mag::of(norm.hi());
    match agree {
        Agree::Sum => Mag::of(atol) + relative,
        Agree::Either => Mag::of(atol).max(relative),
    }
}

/// Would an all-zero gradient be accepted, although the exact one isn't 0?
fn accepts_zero(agree: Agree, rtol: f64, atol: f64, norm: Enclosure) -> bool {
    // Sum: |g| ≤ atol + rtol·|g| for every entry iff ‖g‖∞·(1 − rtol) ≤ atol. Either: iff ‖g‖∞ ≤ atol.
    let needed = match agree {
        Agree::Sum => Mag::of(norm.hi()) * Mag::of((1.0 - rtol).next_up()),
        Agree::Either => Mag::of(norm.hi()),
    };
    norm.lo() > 0.0 && needed.get() <= atol
}
