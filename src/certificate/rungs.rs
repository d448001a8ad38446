//! The ladder of bounds: what each rung covers, and how far it is to be believed.

use serde::{Deserialize, Serialize};

use super::number::{Enclosure, Num, agree};
use crate::num::Mag;

/// The rungs, in the order in which they are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rung {
    /// The published recursion word for word, one scalar per tensor.
    Literal,
    /// Any order, with or without FMA; composed per entry, centred on the spec.
    Portable,
    /// The recorded reduction trees of this run; composed per entry, centred on the run.
    Schedule,
    /// The measured local errors of this run, composed per entry.
    Run,
    /// What any conforming run's operations add, through signed derivatives.
    ChainPortable,
    /// `schedule`'s local errors through signed derivatives.
    ChainSchedule,
    /// `run`'s local errors through signed derivatives.
    ChainRun,
    /// Independent roundings of mean zero.
    Probabilistic,
    /// The largest distance of the run from the spec's enclosure.
    Direct,
}

impl Rung {
    /// All of them, in order.
    pub const ALL: [Rung; 9] = [
        Rung::Literal,
        Rung::Portable,
        Rung::Schedule,
        Rung::Run,
        Rung::ChainPortable,
        Rung::ChainSchedule,
        Rung::ChainRun,
        Rung::Probabilistic,
        Rung::Direct,
    ];

    /// The key in the certificate.
    pub fn name(self) -> &'static str {
        match self {
            Rung::Literal => "literal",
            Rung::Portable => "portable",
            Rung::Schedule => "schedule",
            Rung::Run => "run",
            Rung::ChainPortable => "chain_portable",
            Rung::ChainSchedule => "chain_schedule",
            Rung::ChainRun => "chain_run",
            Rung::Probabilistic => "probabilistic",
            Rung::Direct => "direct",
        }
    }

    /// Which runs the rung speaks of.
    pub fn covers(self) -> Covers {
        match self {
            Rung::Literal => Covers::ReferenceRun,
            Rung::Portable | Rung::ChainPortable => Covers::EveryConformingRun,
            Rung::Schedule | Rung::Run | Rung::ChainSchedule | Rung::ChainRun | Rung::Direct => Covers::ThisRun,
            Rung::Probabilistic => Covers::IndependentRoundings,
        }
    }

    /// Standing and method of the rung where it isn't made by probes.
    fn usual(self) -> (Standing, Method) {
        match self {
            Rung::Literal | Rung::Portable | Rung::Schedule | Rung::Run => (Standing::Rigorous, Method::Composed),
            Rung::ChainPortable | Rung::ChainSchedule | Rung::ChainRun | Rung::Direct => {
                (Standing::Rigorous, Method::Exact)
            }
            Rung::Probabilistic => (Standing::Statistical, Method::Probes),
        }
    }
}

/// The runs for which a bound holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Covers {
    /// The scalar reference execution: left folds, no FMA, correctly rounded elementary functions.
    ReferenceRun,
    /// Every execution of the graph's primitives on these inputs that conforms to the rounding model.
    EveryConformingRun,
    /// The run that was made for this certificate (deterministic: every run of this build).
    ThisRun,
    /// An imagined run whose roundings are independent and of mean zero.
    IndependentRoundings,
}

/// How far a bound is to be believed, the firmest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// A theorem about the runs it covers.
    Rigorous,
    /// Terms of second order are left out.
    FirstOrder,
    /// Holds with the confidence stated.
    Statistical,
}

/// How a bound was computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Operation by operation, absolute values first.
    Composed,
    /// Derivatives first, one column per local error, or the enclosure itself.
    Exact,
    /// Random probes.
    Probes,
}

/// One rung for one tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "BoundJson", into = "BoundJson")]
pub struct Bound {
    /// No entry of the tensor is further from the spec than this, absolutely; `None` is unbounded.
    pub abs: Option<Num>,
    /// `abs` in units of the lower end of ‖g‖∞, rounded up; `None` where that is 0 or `abs` is `None`.
    pub rel: Option<Num>,
    /// The runs for which it holds.
    pub covers: Covers,
    /// Encloses the largest |run − spec| of the run covered, where one was made.
    pub observed: Option<Enclosure>,
    /// `abs` ÷ `observed.lo`, rounded up; `None` where either is missing or the divisor is 0.
    pub looseness: Option<Num>,
    /// Not below the lower end of ‖g‖∞: an all-zero gradient would do as well.
    pub vacuous: bool,
    /// How far it is to be believed.
    pub standing: Standing,
    /// How it was computed.
    pub method: Method,
    /// Probability with which it holds; `None` where it is a theorem.
    pub confidence: Option<Num>,
}

impl Bound {
    /// The bound `abs` of a tensor whose spec has ∞-norm `norm`; `observed` is the error of the run
    /// that this rung covers. Standing and method are the rung's usual ones.
    pub fn new(rung: Rung, abs: Mag, norm: Enclosure, observed: Option<Enclosure>) -> Bound {
        let (standing, method) = rung.usual();
        // looseness = abs/observed, largest at observed.lo. rel = abs/‖g‖∞, largest at norm.lo.
        let looseness = observed.and_then(|o| quotient_up(abs, o.lo()));
        let abs_num = Num::new(abs.get());
        Bound {
            abs: abs_num,
            rel: quotient_up(abs, norm.lo()),
            covers: rung.covers(),
            observed,
            looseness,
            vacuous: !abs.is_zero() && abs.get() >= norm.lo(),
            standing,
            method,
            confidence: None,
        }
    }

    /// Marks a bound that was estimated by probes and holds with this probability.
    pub fn by_probes(mut self, confidence: f64) -> Bound {
        self.standing = Standing::Statistical;
        self.method = Method::Probes;
        self.confidence = Num::new(confidence);
        self
    }

    /// Marks a bound that leaves terms of second order out.
    pub fn first_order(mut self) -> Bound {
        self.standing = Standing::FirstOrder;
        self
    }

    /// Is it a theorem that says something?
    pub fn decides(&self) -> bool {
        self.standing == Standing::Rigorous && !self.vacuous && self.abs.is_some()
    }

    /// Does the run covered contradict a rigorous bound?
    pub(super) fn contradicted(&self) -> bool {
        match (self.standing, self.abs, self.observed) {
            (Standing::Rigorous, Some(abs), Some(observed)) => abs.get() < observed.lo(),
            _ => false,
        }
    }
}

/// a ÷ d rounded up, for a lower bound d; `None` where d ≤ 0 or the quotient isn't finite.
pub(super) fn quotient_up(a: Mag, d: f64) -> Option<Num> {
    if d > 0.0 { Num::new(a.div_lower(d).get()) } else { None }
}

/// A [`Bound`] as JSON has it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BoundJson {
    abs: Option<Num>,
    abs_hex: Option<String>,
    unbounded: bool,
    rel: Option<Num>,
    covers: Covers,
    observed: Option<Enclosure>,
    looseness: Option<Num>,
    vacuous: bool,
    standing: Standing,
    method: Method,
    confidence: Option<Num>,
}

impl From<Bound> for BoundJson {
    fn from(b: Bound) -> BoundJson {
        BoundJson {
            abs: b.abs,
            abs_hex: b.abs.map(Num::hex),
            unbounded: b.abs.is_none(),
            rel: b.rel,
            covers: b.covers,
            observed: b.observed,
            looseness: b.looseness,
            vacuous: b.vacuous,
            standing: b.standing,
            method: b.method,
            confidence: b.confidence,
        }
    }
}

impl TryFrom<BoundJson> for Bound {
    type Error = String;

    fn try_from(b: BoundJson) -> Result<Bound, String> {
        match (b.abs, &b.abs_hex) {
            (Some(abs), Some(hex)) => agree(abs, hex)?,
            (None, None) => {}
            _ => return Err("\"abs\" and \"abs_hex\" must be given together".into()),
        }
        if b.unbounded != b.abs.is_none() {
            return Err("\"unbounded\" contradicts \"abs\"".into());
        }
        Ok(Bound {
            abs: b.abs,
            rel: b.rel,
            covers: b.covers,
            observed: b.observed,
            looseness: b.looseness,
            vacuous: b.vacuous,
            standing: b.standing,
            method: b.method,
            confidence: b.confidence,
        })
    }
}

/// The rungs of one tensor; `None` is "not computed".
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    /// See [`Rung::Literal`].
    pub literal: Option<Bound>,
    /// See [`Rung::Portable`].
    pub portable: Option<Bound>,
    /// See [`Rung::Schedule`].
    pub schedule: Option<Bound>,
    /// See [`Rung::Run`].
    pub run: Option<Bound>,
    /// See [`Rung::ChainPortable`].
    pub chain_portable: Option<Bound>,
    /// See [`Rung::ChainSchedule`].
    pub chain_schedule: Option<Bound>,
    /// See [`Rung::ChainRun`].
    pub chain_run: Option<Bound>,
    /// See [`Rung::Probabilistic`].
    pub probabilistic: Option<Bound>,
    /// See [`Rung::Direct`].
    pub direct: Option<Bound>,
}

impl Bounds {
    /// One rung.
    pub fn get(&self, rung: Rung) -> Option<&Bound> {
        match rung {
            Rung::Literal => &self.literal,
            Rung::Portable => &self.portable,
            Rung::Schedule => &self.schedule,
            Rung::Run => &self.run,
            Rung::ChainPortable => &self.chain_portable,
            Rung::ChainSchedule => &self.chain_schedule,
            Rung::ChainRun => &self.chain_run,
            Rung::Probabilistic => &self.probabilistic,
            Rung::Direct => &self.direct,
        }
        .as_ref()
    }

    /// Puts a bound on its rung.
    pub fn set(&mut self, rung: Rung, bound: Bound) {
        let slot = match rung {
            Rung::Literal => &mut self.literal,
            Rung::Portable => &mut self.portable,
            Rung::Schedule => &mut self.schedule,
            Rung::Run => &mut self.run,
            Rung::ChainPortable => &mut self.chain_portable,
            Rung::ChainSchedule => &mut self.chain_schedule,
            Rung::ChainRun => &mut self.chain_run,
            Rung::Probabilistic => &mut self.probabilistic,
            Rung::Direct => &mut self.direct,
        };
        *slot = Some(bound);
    }

    /// The rungs that were computed, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Rung, &Bound)> {
        Rung::ALL.into_iter().filter_map(|r| self.get(r).map(|b| (r, b)))
    }

    /// The tightest rigorous rung that isn't vacuous and covers these runs.
    pub fn tightest(&self, covers: Covers) -> Option<(Rung, &Bound)> {
        self.iter()
            .filter(|(_, b)| b.decides() && b.covers == covers)
            .min_by(|(_, a), (_, b)| a.abs.partial_cmp(&b.abs).expect("finite numbers compare"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_infinite_bound_is_unbounded_and_vacuous_and_never_a_number() {
        let b = Bound::new(Rung::Portable, Mag::INFINITY, Enclosure::of(1.0, 1.0), Some(Enclosure::of(0.1, 0.2)));
        assert!(b.vacuous && b.abs.is_none() && b.looseness.is_none() && !b.decides() && !b.contradicted());
        let json = serde_json::to_value(&b).unwrap();
        assert_eq!(json["abs"], serde_json::Value::Null);
        assert_eq!(json["unbounded"], true);
        assert_eq!(serde_json::from_value::<Bound>(json).unwrap(), b);
    }

    #[test]
    fn looseness_and_vacuity_take_the_unfavourable_end() {
        let norm = Enclosure::of(1.0, 2.0);
        let b = Bound::new(Rung::Run, Mag::of(0.5), norm, Some(Enclosure::of(0.25, 0.5)));
        assert!(b.looseness.unwrap().get() >= 2.0 && b.looseness.unwrap().get() < 2.000001);
        assert!(!b.vacuous && b.decides());
        let b = Bound::new(Rung::Run, Mag::ONE, norm, None);
        assert!(b.vacuous, "a bound equal to the lower end of the norm says nothing");
        // An exact zero is no vacuous bound, even where the gradient is 0.
        let b = Bound::new(Rung::Run, Mag::ZERO, Enclosure::ZERO, Some(Enclosure::ZERO));
        assert!(!b.vacuous && b.looseness.is_none() && b.rel.is_none());
    }

    #[test]
    fn the_tightest_rung_is_rigorous_meaningful_and_covers_what_is_asked() {
        let norm = Enclosure::of(1.0, 1.0);
        let mut bounds = Bounds::default();
        bounds.set(Rung::Portable, Bound::new(Rung::Portable, Mag::of(0.5), norm, None));
        let chain = Bound::new(Rung::ChainPortable, Mag::of(0.1), norm, None);
        bounds.set(Rung::ChainPortable, chain.clone().by_probes(0.999));
        bounds.set(Rung::Direct, Bound::new(Rung::Direct, Mag::of(0.001), norm, None));
        assert_eq!(bounds.tightest(Covers::EveryConformingRun).unwrap().0, Rung::Portable);
        bounds.set(Rung::ChainPortable, chain);
        assert_eq!(bounds.tightest(Covers::EveryConformingRun).unwrap().0, Rung::ChainPortable);
        assert!(bounds.tightest(Covers::ReferenceRun).is_none());
    }
}
