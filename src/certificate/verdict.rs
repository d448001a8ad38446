//! The decision rule: limits, verdicts, digits, and the tool's own alarm.
//!
//! A decision rule in the sense of ISO/IEC 17025 and ILAC-G8:09/2019: a statement of conformity
//! takes the uncertainty of the measurement into account. Here the uncertainty is the width of an
//! enclosure, so that no guard band has to be chosen.

use std::fmt;

use super::number::{Enclosure, Num};
use super::policy::{Policy, waived_text};
use super::rungs::{Bound, Bounds, quotient_up};
use super::schema::{Certificate, Gradient, ModelVerdict, Status, Summary};
use super::{checklist, decimal, tolerance};
use crate::num::Mag;

/// Exit status for a bug of this tool (`EX_SOFTWARE` of sysexits.h).
pub const EXIT_TOOL_BUG: u8 = 70;

/// The digits that count as all: a binary64 number has no more.
const MOST_DIGITS: f64 = 17.0;

/// Largest difference between a file's exact gradient and the derivative, in units of the latter's norm:
/// 256·u, which some rounded constants (1/√(2π), √d) explain and a wrong node doesn't.
pub const AGREEMENT: f64 = 1.0 / 65536.0;

/// 2^−150, half of the smallest binary32 number: within this distance of the exact one no other binary32 number
/// is nearer, so no limit asks for less.
pub const NEAREST: f64 = f64::from_bits((1023 - 150) << 52);

/// How large an error may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// In units of ‖g‖∞.
    pub max_rel: f64,
    /// Tensors with ‖g‖∞ below this part of the model's largest are judged as if they had it.
    pub floor: f64,
}

impl Default for Limits {
    /// The documented policy: `1e-3 · max(‖g‖∞, 1e-4 · the largest ‖g‖∞ of the model)`, not below [`NEAREST`].
    fn default() -> Limits {
        Limits { max_rel: 1e-3, floor: 1e-4 }
    }
}

impl Limits {
    /// The limit T of a tensor: norms are the lower ends of the spec's. T is this binary64 number,
    /// rounded down so that nothing passes by rounding.
    pub fn limit(self, norm: f64, largest: f64) -> f64 {
        // T = max(max_rel · max(‖g‖∞, floor·largest), 2^−150)
        self.relative(norm, largest).max(NEAREST)
    }

    /// As [`Limits::limit`], but as small as it comes out.
    pub(super) fn relative(self, norm: f64, largest: f64) -> f64 {
        // max_rel · max(‖g‖∞, floor·largest)
        let t = self.max_rel * norm.max(self.floor * largest);
        t.next_down().next_down().max(0.0)
    }
}

/// `pass` iff hi ≤ T, `fail` iff lo > T, else `undecided`.
pub fn judge(observed: Enclosure, limit: f64) -> Status {
    if observed.hi() <= limit {
        Status::Pass
    } else if observed.lo() > limit {
        Status::Fail
    } else {
        Status::Undecided
    }
}

/// Decimal digits of a tensor that are right, relative to its largest exact entry:
/// −log10(observed.hi/‖g‖∞) rounded down to 0.1, between 0 and 17 (17 also where there is no error).
pub fn correct_digits(observed: Enclosure, norm: Enclosure) -> f64 {
    if observed.hi() == 0.0 {
        return MOST_DIGITS;
    }
    match quotient_up(Mag::of(observed.hi()), norm.lo()) {
        // −log10 of an upper bound is a lower bound; 1e−12 covers the error of log10.
        Some(q) => ((-q.get().log10() - 1e-12) * 10.0).floor().clamp(0.0, 10.0 * MOST_DIGITS) / 10.0,
        None => 0.0,
    }
}

/// A rigorous bound that is below the error that it covers: the claim is false, so the tool is.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolBug {
    /// One line each: tensor, rung, and both figures.
    pub violations: Vec<String>,
}

impl fmt::Display for ToolBug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this is a bug of certify: {} of its rigorous bounds are contradicted", self.violations.len())?;
        for v in &self.violations {
            write!(f, "\n  {v}")?;
        }
        write!(f, "\n  help: nothing was certified; please report it with the model and the inputs")
    }
}

impl std::error::Error for ToolBug {}

impl Certificate {
    /// Derives everything that follows from the figures: per gradient `observed_rel`, `limit`,
    /// `margin`, `correct_digits`, `verdict`, `tolerance`, `detection` and warnings; per layer its
    /// digits; and the model's `decision_rule`, `summary`, `checklist`, warnings and `verdict`.
    /// Doing it again changes nothing. The policy is these limits for every gradient.
    ///
    /// # Errors
    /// As [`Certificate::decide_by`].
    pub fn decide(&mut self, limits: Limits) -> Result<(), ToolBug> {
        self.decide_by(&Policy { name: self.decision_rule.policy.clone(), ..Policy::from(limits) })
    }

    /// As [`Certificate::decide`], by any policy.
    ///
    /// # Errors
    /// [`ToolBug`] when a rigorous bound is below the error, or a scale below the magnitude, that it
    /// covers. The certificate must then not be issued.
    pub fn decide_by(&mut self, policy: &Policy) -> Result<(), ToolBug> {
        self.contradictions()?;
        let limits = policy.limits;
        let largest = self.gradients.iter().map(|g| g.spec_norm.lo()).fold(0.0, f64::max);
        let rule = &mut self.decision_rule;
        rule.max_rel = Num::of(limits.max_rel);
        rule.floor = Num::of(limits.floor);
        rule.largest_norm = Num::of(largest);
        rule.policy = policy.name.clone();
        rule.limits = policy.rules.clone();
        rule.waivers = policy.waivers.clone();
        rule.waivers_judged_on = policy.today.clone();
        rule.text = format!(
            "a gradient passes if the upper end of its observed error is at most its limit T, fails if the lower \
             end exceeds T, and is undecided otherwise; T = {} · max(‖g‖∞, {} · the largest ‖g‖∞ of the model), in \
             norms of the exact gradients, lower ends, but never less than 2^-150, half of the smallest binary32 \
             number; the model's verdict is its worst gradient's, and no model \
             is certified while a check of this tool fails on it",
            decimal::full(limits.max_rel),
            decimal::full(limits.floor)
        );
        if !policy.rules.is_empty() {
            rule.text += "; rules of the policy that speak of a gradient replace its max_rel, and add what they ask";
        }
        if !policy.waivers.is_empty() {
            rule.text += "; a failure that an unexpired waiver speaks of doesn't count against the model";
        }
        for g in &mut self.gradients {
            decide_gradient(g, policy, largest);
        }
        let most = self.agreement.iter().map(|a| a.derived_norm.lo()).fold(0.0, f64::max);
        for a in &mut self.agreement {
            // 2^−16 · max(‖g‖∞, floor · the largest ‖g‖∞), of the derivatives
            let limit = AGREEMENT * a.derived_norm.lo().max(limits.floor * most);
            a.limit = Num::of(limit);
            a.verdict = judge(a.difference, limit);
        }
        for l in &mut self.forward {
            l.correct_digits = Num::of(correct_digits(l.observed, l.spec_norm));
        }
        self.summary = summary(&self.gradients, limits.floor * largest);
        self.verdict = self.worst();
        self.warn();
        self.checklist = checklist::checklist(self);
        Ok(())
    }

    /// The model's verdict: its worst gradient's. Nothing is certified where there is no gradient or
    /// a check failed.
    fn worst(&self) -> ModelVerdict {
        let s = &self.summary;
        let sound = self.checks.iter().all(|c| c.result != Status::Fail);
        let open = |status| self.gradients.iter().filter(|g| g.verdict == status && g.waiver.is_none()).count();
        let wrong = self.agreement.iter().any(|a| a.verdict == Status::Fail);
        let agreed = self.agreement.iter().all(|a| a.verdict == Status::Pass);
        match (open(Status::Fail), open(Status::Undecided)) {
            (1.., _) => ModelVerdict::NotCertified,
            _ if wrong => ModelVerdict::NotCertified,
            (0, 0) if s.gradients > 0 && sound && agreed => ModelVerdict::Certified,
            _ => ModelVerdict::Undecided,
        }
    }

    /// Warnings about the certificate as a whole.
    fn warn(&mut self) {
        let mut found = Vec::new();
        if self.gradients.is_empty() {
            found.push("there is no gradient to certify".into());
        }
        for w in Policy::of(&self.decision_rule).outdated() {
            found.push(w);
        }
        if self.exact_pass.capped {
            found
                .push(format!("the exact pass reached its cap of {} bits before all was decided", self.exact_pass.cap));
        }
        for a in self.agreement.iter().filter(|a| a.verdict == Status::Fail) {
            let place = a.wrong_node.as_ref().map_or_else(String::new, |w| {
                format!(": the first wrong node is \"{}\" ({}), which computes \"{}\"", w.node, w.op, w.tensor)
            });
            found.push(format!("\"{}\" is not the gradient of \"{}\"{place}", a.tensor, a.parameter));
        }
        let failed = self.checks.iter().filter(|c| c.result == Status::Fail).count();
        if failed > 0 {
            found.push(format!("{failed} of {} checks of this tool failed: nothing is certified", self.checks.len()));
        }
        for w in found {
            push_new(&mut self.warnings, w);
        }
    }

    /// Every bound and every scale against what it covers.
    fn contradictions(&self) -> Result<(), ToolBug> {
        let mut violations = Vec::new();
        for g in &self.gradients {
            let what = format!("gradient \"{}\"", g.name);
            contradicted(&what, &g.bounds, &mut violations);
            if let Some(b) = g.scale {
                let seen = g.max_abs.get().max(g.spec_norm.lo());
                if b.get() < seen {
                    violations.push(format!("{what}: scale {} is below the magnitude {seen}", b.get()));
                }
            }
        }
        for g in &self.gradients {
            let what = format!("gradient \"{}\"", g.name);
            // the region holds the given inputs, and the portable rung every adversarial run
            let region = g.region_tolerance.as_ref().and_then(|r| r.atol).map(|a| (a, g.observed.lo(), "the region"));
            let portable = g.bounds.portable.as_ref().and_then(|b| b.abs);
            let played = portable.zip(g.adversary).map(|(a, r)| (a, r.error.get(), "rung portable"));
            for (abs, seen, who) in region.into_iter().chain(played).filter(|(abs, seen, _)| abs.get() < *seen) {
                violations.push(format!("{what}: {who} bounds the error by {}, but a run errs by {seen}", abs.get()));
            }
        }
        for l in &self.forward {
            contradicted(&format!("value of node \"{}\"", l.node), &l.bounds, &mut violations);
        }
        for o in &self.outputs {
            contradicted(&format!("output \"{}\"", o.name), &o.bounds, &mut violations);
        }
        if violations.is_empty() { Ok(()) } else { Err(ToolBug { violations }) }
    }
}

/// Lists the rungs of one tensor that its runs contradict.
fn contradicted(what: &str, bounds: &Bounds, violations: &mut Vec<String>) {
    for (rung, bound) in bounds.iter().filter(|(_, b)| b.contradicted()) {
        let Bound { abs: Some(abs), observed: Some(seen), .. } = bound else { continue };
        violations.push(format!(
            "{what}: rung {} bounds the error by {} ({}), but it is in [{}, {}] ([{}, {}])",
            rung.name(),
            abs.get(),
            abs.hex(),
            seen.lo(),
            seen.hi(),
            Num::of(seen.lo()).hex(),
            Num::of(seen.hi()).hex()
        ));
    }
}

/// All that follows from one gradient's figures.
fn decide_gradient(g: &mut Gradient, policy: &Policy, largest: f64) {
    let limits = policy.limits;
    let limit = policy.limit(&[&g.name, &g.layer, &g.node], g.spec_norm.lo(), largest);
    g.limit = Num::of(limit);
    g.margin = quotient_up(Mag::of(g.observed.hi()), limit);
    g.breaches = policy.breaches(g, limits.floor * largest);
    g.verdict = if g.breaches.is_empty() { judge(g.observed, limit) } else { Status::Fail };
    let waiver = policy.waiver(&[&g.name, &g.layer, &g.node]).filter(|_| g.verdict != Status::Pass);
    g.waiver = waiver.map(waived_text);
    g.correct_digits = Num::of(correct_digits(g.observed, g.spec_norm));
    g.observed_rel = relative(g.observed, g.spec_norm);
    g.tolerance = tolerance::tolerance(g);
    g.detection = tolerance::detection(g);
    if g.spec_norm.hi() == 0.0 {
        let text = if g.max_abs.get() == 0.0 {
            "the exact gradient is 0, and so is this run's"
        } else {
            "no correct digit: the exact gradient is 0, and what the run shows is rounding error"
        };
        push_new(&mut g.warnings, text.into());
    } else if g.spec_norm.lo() == 0.0 {
        push_new(&mut g.warnings, "no correct digit: the exact gradient may be 0".into());
    } else if g.correct_digits.get() < 1.0 {
        push_new(&mut g.warnings, "no correct digit: the error may exceed a tenth of ‖g‖∞".into());
    }
    let entries: u64 = g.shape.iter().product();
    // a few small ones among many are to be expected
    if let Some(lost) = g.lost_entries.filter(|&n| n > entries / 100 && n < entries) {
        let text = format!("{lost} of {entries} entries show rounding error only: it exceeds twice their exact size");
        push_new(&mut g.warnings, text);
    }
    if g.verdict == Status::Pass && g.correct_digits.get() < 1.0 && g.spec_norm.lo() < limits.floor * largest {
        push_new(
            &mut g.warnings,
            format!(
                "below the floor: it passes because ‖g‖∞ is less than {} · the largest ‖g‖∞ of the model",
                decimal::full(limits.floor)
            ),
        );
    }
}

/// An error in units of the norm: [lo/norm.hi rounded down, hi/norm.lo rounded up].
fn relative(observed: Enclosure, norm: Enclosure) -> Option<Enclosure> {
    let hi = quotient_up(Mag::of(observed.hi()), norm.lo())?.get();
    let lo = (observed.lo() / norm.hi()).next_down().max(0.0);
    Enclosure::new(lo, hi)
}

/// Counts verdicts; digits are those of gradients that are not below the floor.
fn summary(gradients: &[Gradient], floor: f64) -> Summary {
    let count = |s: Status| gradients.iter().filter(|g| g.verdict == s).count() as u64;
    Summary {
        gradients: gradients.len() as u64,
        pass: count(Status::Pass),
        fail: count(Status::Fail),
        undecided: count(Status::Undecided),
        waived: gradients.iter().filter(|g| g.waiver.is_some()).count() as u64,
        warned: gradients.iter().filter(|g| !g.warnings.is_empty()).count() as u64,
        min_correct_digits: gradients
            .iter()
            .filter(|g| g.spec_norm.lo() > 0.0 && g.spec_norm.lo() >= floor)
            .map(|g| g.correct_digits)
            .min_by(|a, b| a.partial_cmp(b).expect("finite numbers compare")),
    }
}

/// Adds a text unless it is there already.
fn push_new(list: &mut Vec<String>, text: String) {
    if !list.contains(&text) {
        list.push(text);
    }
}
