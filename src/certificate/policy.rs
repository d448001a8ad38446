//! The policy that a certificate is decided by: limits by name, requirements on bounds, waivers.
//!
//! A policy is part of the certificate (`decision_rule`), so that its verdicts can be derived again.

use serde::{Deserialize, Serialize};

use super::number::Num;
use super::rungs::{Covers, Rung, Standing};
use super::schema::{DecisionRule, Gradient};
use super::verdict::Limits;
use crate::import::value::matches;
use crate::num::function::ten_to_minus;

/// What is asked of the gradients whose parameter, layer or node matches a pattern; `None` leaves it to
/// the rules before it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitRule {
    /// Name of a parameter, layer or node; `*` is any text, `?` any character.
    pub pattern: String,
    /// Largest error, in units of ‖g‖∞ (or of the floor, where that is larger).
    pub max_rel: Option<Num>,
    /// Largest error, absolutely.
    pub max_abs: Option<Num>,
    /// Correct decimal digits, of ‖g‖∞ (or of the floor, where that is larger).
    pub min_correct_digits: Option<Num>,
    /// Gates that the `portable` rung may leave undecided between the parameter and the seed.
    pub max_undecided_gates: Option<u64>,
    /// The bound asked for (`require_rung`, else the tightest for other runtimes) may not be vacuous.
    pub forbid_vacuous: Option<bool>,
    /// A finite, rigorous bound must stand on this rung.
    pub require_rung: Option<Rung>,
}

/// A failure that is known and accepted for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Waiver {
    /// Name of a parameter, layer or node; `*` is any text, `?` any character.
    pub pattern: String,
    /// Why it is accepted.
    pub reason: String,
    /// Last day on which it counts, `YYYY-MM-DD`.
    pub expires: String,
}

/// What verdicts follow from, beside the figures.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// `default`, or what the file calls it.
    pub name: String,
    /// For gradients that no rule speaks of.
    pub limits: Limits,
    /// In order: what a later one says of a gradient replaces what earlier ones said.
    pub rules: Vec<LimitRule>,
    /// Accepted failures.
    pub waivers: Vec<Waiver>,
    /// The day on which waivers are judged, `YYYY-MM-DD`; `None` where there are none.
    pub today: Option<String>,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy::from(Limits::default())
    }
}

impl From<Limits> for Policy {
    fn from(limits: Limits) -> Policy {
        Policy { name: "default".into(), limits, rules: Vec::new(), waivers: Vec::new(), today: None }
    }
}

impl Policy {
    /// The policy that a certificate says it was decided by.
    pub fn of(rule: &DecisionRule) -> Policy {
        Policy {
            name: rule.policy.clone(),
            limits: Limits { max_rel: rule.max_rel.get(), floor: rule.floor.get() },
            rules: rule.limits.clone(),
            waivers: rule.waivers.clone(),
            today: rule.waivers_judged_on.clone(),
        }
    }

    /// All that is asked of a gradient that goes by these names.
    pub fn asked(&self, names: &[&str]) -> LimitRule {
        let mut asked = LimitRule::default();
        for r in self.rules.iter().filter(|r| names.iter().any(|n| matches(&r.pattern, n))) {
            asked.max_rel = r.max_rel.or(asked.max_rel);
            asked.max_abs = r.max_abs.or(asked.max_abs);
            asked.min_correct_digits = r.min_correct_digits.or(asked.min_correct_digits);
            asked.max_undecided_gates = r.max_undecided_gates.or(asked.max_undecided_gates);
            asked.forbid_vacuous = r.forbid_vacuous.or(asked.forbid_vacuous);
            asked.require_rung = r.require_rung.or(asked.require_rung);
        }
        asked
    }

    /// The limit T of a tensor that goes by these names: norms are the lower ends of the spec's.
    pub fn limit(&self, names: &[&str], norm: f64, largest: f64) -> f64 {
        let asked = self.asked(names);
        let max_rel = asked.max_rel.map_or(self.limits.max_rel, Num::get);
        // T = min(max(max_rel·M, 2^−150), max_abs, 10^−digits·M), M = max(‖g‖∞, floor·largest)
        let mut t = Limits { max_rel, ..self.limits }.limit(norm, largest);
        if let Some(a) = asked.max_abs {
            t = t.min(a.get());
        }
        if let Some(d) = asked.min_correct_digits {
            let rel = ten_to_minus(d.get());
            // digits that binary32 can't hold are missing all the same
            t = t.min(Limits { max_rel: rel, ..self.limits }.relative(norm, largest));
        }
        t
    }

    /// What a gradient breaks beside its limit; `floor` is the smallest norm that is judged by itself.
    pub(super) fn breaches(&self, g: &Gradient, floor: f64) -> Vec<String> {
        let asked = self.asked(&[&g.name, &g.layer, &g.node]);
        let mut found = Vec::new();
        if let Some(most) = asked.max_undecided_gates
            && g.undecided_gates > most
        {
            found.push(format!("{} undecided gates, {most} allowed", g.undecided_gates));
        }
        // Of a gradient below the floor nothing relative is asked: its bound may well exceed it.
        let judged = g.spec_norm.lo() > 0.0 && g.spec_norm.lo() >= floor;
        let vacuous = asked.forbid_vacuous == Some(true) && judged;
        match asked.require_rung {
            Some(rung) => match g.bounds.get(rung) {
                Some(b) if b.standing == Standing::Rigorous && b.abs.is_some() => {
                    if vacuous && b.vacuous {
                        found.push(format!("the {} bound is vacuous", rung.name()));
                    }
                }
                _ => found.push(format!("no finite rigorous {} bound, one is required", rung.name())),
            },
            None if vacuous && g.bounds.tightest(Covers::EveryConformingRun).is_none() => {
                found.push("every bound for other runtimes is vacuous".into());
            }
            None => {}
        }
        found
    }

    /// The waiver that speaks of these names and hasn't expired.
    pub fn waiver(&self, names: &[&str]) -> Option<&Waiver> {
        self.speaking_of(names).find(|w| !self.expired(w))
    }

    /// The waivers that speak of these names, expired ones too.
    pub fn speaking_of(&self, names: &[&str]) -> impl Iterator<Item = &Waiver> {
        self.waivers.iter().filter(move |w| names.iter().any(|n| matches(&w.pattern, n)))
    }

    /// One line for each waiver that has expired.
    pub fn outdated(&self) -> Vec<String> {
        let expired = self.waivers.iter().filter(|w| self.expired(w));
        expired.map(|w| format!("the waiver for \"{}\" expired after {}: {}", w.pattern, w.expires, w.reason)).collect()
    }

    /// Is the last day over? Days in this form compare as texts. Without a date nothing is waived.
    pub fn expired(&self, w: &Waiver) -> bool {
        self.today.as_ref().is_none_or(|t| *t > w.expires)
    }
}

/// Is this text a day of the calendar, `YYYY-MM-DD`?
pub fn is_day(text: &str) -> bool {
    let b = text.as_bytes();
    let digits = b.len() == 10
        && b.iter().enumerate().all(|(i, c)| if i == 4 || i == 7 { *c == b'-' } else { c.is_ascii_digit() });
    let number = |at: std::ops::Range<usize>| text[at].parse::<u32>().unwrap_or(0);
    if !digits {
        return false;
    }
    let (year, month, day) = (number(0..4), number(5..7), number(8..10));
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28 + u32::from(leap),
        1..=12 => 31,
        _ => 0,
    };
    (1..=last).contains(&day)
}

/// The day that many seconds after 1970-01-01 lie in (UTC, proleptic Gregorian calendar).
pub fn day_of(seconds: u64) -> String {
    // Days are counted from 0000-03-01, so that the leap day ends a year; 146097 days are 400 years.
    let days = seconds / 86_400 + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    format!("{:04}-{month:02}-{day:02}", year + era * 400 + u64::from(month <= 2))
}

/// The day that `SOURCE_DATE_EPOCH` (seconds since 1970) gives, for documents that are to be the same again.
pub fn source_date() -> Option<String> {
    // More digits than a year has places for are no date.
    let seconds = std::env::var("SOURCE_DATE_EPOCH").ok()?.trim().parse::<u64>().ok()?;
    (seconds < 253_402_300_800).then(|| day_of(seconds))
}

/// The day by which waivers are judged: `SOURCE_DATE_EPOCH`'s, else today's (UTC).
pub fn today() -> String {
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs());
    source_date().unwrap_or_else(|| day_of(now()))
}

/// How a waiver is quoted.
pub fn waived_text(w: &Waiver) -> String {
    format!("waived until {}: {}", w.expires, w.reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        for (seconds, day) in [
            (0, "1970-01-01"),
            (951_782_399, "2000-02-28"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (1_767_225_599, "2025-12-31"),
            (4_107_542_400, "2100-03-01"),
        ] {
            assert_eq!(day_of(seconds), day);
            assert!(is_day(day));
        }
        for bad in ["2025-02-29", "2025-13-01", "2025-00-10", "2025-1-01", "2025-01-32", "20250101", "2025-01-0é"] {
            assert!(!is_day(bad), "{bad}");
        }
    }

    #[test]
    fn days_follow_each_other() {
        let mut last = String::new();
        // from 1970 to 2105, over a year without a leap day
        for k in 0..49_500u64 {
            let day = day_of(k * 86_400 + 43_200);
            assert!(is_day(&day) && day > last, "{day} after {last}");
            // all days of a month that are days of the calendar come
            if let Some(d) = last.get(8..10).filter(|_| last[..7] == day[..7]) {
                assert_eq!(d.parse::<u32>().unwrap() + 1, day[8..10].parse::<u32>().unwrap());
            } else if !last.is_empty() {
                let after = format!("{}{:02}", &last[..8], last[8..10].parse::<u32>().unwrap() + 1);
                assert!(day.ends_with("-01") && !is_day(&after), "{day} after {last}");
            }
            last = day;
        }
        assert!(last.starts_with("2105"), "{last}");
    }

    #[test]
    fn later_rules_replace_what_earlier_ones_said() {
        let rule = |pattern: &str, rel: Option<f64>, abs: Option<f64>| LimitRule {
            pattern: pattern.into(),
            max_rel: rel.map(Num::of),
            max_abs: abs.map(Num::of),
            ..LimitRule::default()
        };
        let p = Policy {
            rules: vec![
                rule("*", Some(1e-4), None),
                rule("head.*", Some(1e-2), None),
                rule("*.bias", None, Some(1e-9)),
            ],
            ..Policy::default()
        };
        let t = |n: &str| p.limit(&[n], 1.0, 1.0);
        assert!(t("body.weight") <= 1e-4 && t("body.weight") > 0.9999e-4);
        assert!(t("head.weight") <= 1e-2 && t("head.weight") > 0.9999e-2);
        assert_eq!(t("head.bias"), 1e-9);
        let digits = Policy {
            rules: vec![LimitRule { pattern: "*".into(), min_correct_digits: Num::new(5.0), ..LimitRule::default() }],
            ..Policy::default()
        };
        let t = digits.limit(&["x"], 2.0, 2.0);
        assert!(t <= 2e-5 && t > 1.999_999e-5, "{t}");
    }

    #[test]
    fn a_waiver_counts_until_its_last_day_is_over() {
        let waiver = Waiver { pattern: "head.*".into(), reason: "known".into(), expires: "2026-02-28".into() };
        let on = |day: Option<&str>| Policy {
            waivers: vec![waiver.clone()],
            today: day.map(String::from),
            ..Policy::default()
        };
        assert!(on(Some("2026-02-28")).waiver(&["head.bias"]).is_some());
        assert!(on(Some("2026-03-01")).waiver(&["head.bias"]).is_none());
        assert!(on(Some("2026-02-01")).waiver(&["body.bias"]).is_none());
        assert!(on(None).waiver(&["head.bias"]).is_none());
    }
}
