use super::verdict::judge;
use super::*;
use crate::num::Mag;

/// Decides a certificate whose only gradients have these norms and errors.
fn decided(figures: &[(Enclosure, Enclosure)]) -> Certificate {
    let mut c = example::empty();
    for (i, &(spec_norm, observed)) in figures.iter().enumerate() {
        let f = Figures { max_abs: spec_norm.hi() + observed.hi(), spec_norm, observed };
        c.gradients.push(Gradient::new(&format!("p{i}"), "l", "Gemm", "/l/Gemm", &[2], f));
    }
    c.decide(Limits::default()).unwrap();
    c
}

fn point(x: f64) -> Enclosure {
    Enclosure::of(x, x)
}

#[test]
fn the_rule_passes_fails_or_abstains() {
    assert_eq!(judge(Enclosure::of(0.5, 1.0), 1.0), Status::Pass);
    assert_eq!(judge(Enclosure::of(0.5, 1.0f64.next_up()), 1.0), Status::Undecided);
    assert_eq!(judge(Enclosure::of(1.0, 2.0), 1.0), Status::Undecided);
    assert_eq!(judge(Enclosure::of(1.0f64.next_up(), 2.0), 1.0), Status::Fail);
    assert_eq!(judge(Enclosure::ZERO, 0.0), Status::Pass);
}

#[test]
fn the_worst_gradient_decides() {
    let (good, unsure, bad) = (point(1e-4), Enclosure::of(9e-4, 1.1e-3), point(2e-3));
    let one = point(1.0);
    assert_eq!(decided(&[(one, good)]).verdict, ModelVerdict::Certified);
    assert_eq!(decided(&[(one, good), (one, unsure)]).verdict, ModelVerdict::Undecided);
    assert_eq!(decided(&[(one, good), (one, unsure), (one, bad)]).verdict, ModelVerdict::NotCertified);
    assert_eq!(decided(&[]).verdict, ModelVerdict::Undecided, "nothing is not certified");
}

#[test]
fn limits_take_the_lower_norm_and_the_floor() {
    // T = 1e-3·0.5, from the lower end of the norm.
    let c = decided(&[(Enclosure::of(0.5, 2.0), point(6e-4))]);
    assert_eq!(c.gradients[0].verdict, Status::Fail);
    // Floor: T = 1e-3·1e-4·1 for a tensor of norm 1e-9; its error is as large as itself.
    let c = decided(&[(point(1.0), point(1e-7)), (point(1e-9), point(1e-9))]);
    let g = &c.gradients[1];
    assert_eq!(g.verdict, Status::Pass);
    assert!(g.limit.get() <= 1e-7 && g.limit.get() > 0.999e-7);
    assert_eq!(g.correct_digits.get(), 0.0);
    assert!(g.warnings.iter().any(|w| w.starts_with("no correct digit")), "{:?}", g.warnings);
    assert!(g.warnings.iter().any(|w| w.contains("below the floor")), "{:?}", g.warnings);
    // Digits of the summary are those above the floor.
    assert_eq!(c.summary.min_correct_digits.unwrap().get(), 6.9);
    // Beyond the floor's limit it fails.
    assert_eq!(decided(&[(point(1.0), point(0.0)), (point(1e-9), point(2e-7))]).verdict, ModelVerdict::NotCertified);
}

#[test]
fn no_limit_asks_for_less_than_half_of_the_smallest_binary32_number() {
    let half = f64::from(f32::from_bits(1)) / 2.0;
    assert_eq!(NEAREST, half);
    let zero = |lo, hi| (Enclosure::ZERO, Enclosure::of(lo, hi));
    // all gradients are 0, the enclosure has some width
    assert_eq!(decided(&[zero(0.0, half)]).verdict, ModelVerdict::Certified);
    assert_eq!(decided(&[zero(0.0, half.next_up())]).verdict, ModelVerdict::Undecided);
    // a run that shows binary32's smallest number instead of 0
    assert_eq!(decided(&[zero(2.0 * half, 2.0 * half)]).verdict, ModelVerdict::NotCertified);
    let strict = Limits { max_rel: 0.0, floor: 0.0 };
    assert_eq!(strict.limit(1.0, 1.0), half);
    assert!(Limits::default().limit(1e-40, 0.0) > half);
}

#[test]
fn a_gradient_without_a_correct_digit_is_called_out() {
    let errors = [(0.2, true), (0.11, true), (0.09, false), (0.0, false)];
    for (error, called) in errors {
        let c = decided(&[(point(1.0), point(error))]);
        let found = c.gradients[0].warnings.iter().any(|w| w.starts_with("no correct digit"));
        assert_eq!(found, called, "{error}: {:?}", c.gradients[0].warnings);
    }
    // the summary's digits are the fewest of all gradients above the floor, the largest or not
    let c = decided(&[(point(1.0), point(1e-6)), (point(0.01), point(1e-6)), (point(1e-5), point(1e-6))]);
    assert_eq!(c.summary.min_correct_digits.unwrap().get(), 4.0 - 0.1);
}

#[test]
fn what_passes_by_the_floor_alone_is_called_out() {
    let lenient = Limits { max_rel: 0.5, ..Limits::default() };
    let mut c = decided(&[(point(1.0), point(0.2)), (point(1e-6), point(4e-7))]);
    c.decide(lenient).unwrap();
    let below = |i: usize| c.gradients[i].warnings.iter().any(|w| w.starts_with("below the floor"));
    assert!(c.gradients.iter().all(|g| g.verdict == Status::Pass) && !below(0) && below(1));
}

#[test]
fn the_rounding_model_states_the_units_of_binary32() {
    let m = RoundingModel::default();
    let unit = f64::from(f32::EPSILON) / 2.0;
    assert_eq!((m.precision_bits, m.u.0.get()), (f32::MANTISSA_DIGITS.into(), unit));
    assert_eq!((m.eta.0.get(), m.largest.0.get()), (f64::from(f32::from_bits(1)), f64::from(f32::MAX)));
}

#[test]
fn exact_zeros_are_called_out() {
    let c =
        decided(&[(point(1.0), point(0.0)), (Enclosure::ZERO, point(1e-9)), (Enclosure::of(0.0, 1e-30), point(1e-9))]);
    let warning = |i: usize| c.gradients[i].warnings.join("; ");
    assert!(warning(1).contains("the exact gradient is 0, and what the run shows is rounding error"), "{}", warning(1));
    assert!(warning(2).contains("the exact gradient may be 0"), "{}", warning(2));
    assert_eq!(c.verdict, ModelVerdict::Certified);
    assert_eq!(c.gradients[0].correct_digits.get(), 17.0);
    assert_eq!(c.gradients[1].correct_digits.get(), 0.0);
    assert_eq!(c.gradients[1].observed_rel, None);
    // A model whose gradients are all exactly 0 passes only where the run's are, too.
    assert_eq!(decided(&[(Enclosure::ZERO, point(0.0))]).verdict, ModelVerdict::Certified);
    assert_eq!(decided(&[(Enclosure::ZERO, point(1e-30))]).verdict, ModelVerdict::NotCertified);
}

#[test]
fn digits_are_rounded_down() {
    for (error, norm, digits) in
        [(1e-3, 1.0, 2.9), (9.9e-4, 1.0, 3.0), (1.0, 1.0, 0.0), (5.0, 1.0, 0.0), (1e-30, 1.0, 17.0), (0.5, 1.0, 0.3)]
    {
        // 1e-3 is a little above 10^-3 in binary64: three digits can't be claimed.
        assert_eq!(correct_digits(point(error), point(norm)), digits, "{error} of {norm}");
    }
}

#[test]
fn a_failed_check_certifies_nothing() {
    let mut c = example::certified();
    assert_eq!(c.verdict, ModelVerdict::Certified);
    c.checks[0].result = Status::Fail;
    c.decide(Limits::default()).unwrap();
    assert_eq!(c.verdict, ModelVerdict::Undecided);
    let line = c.checklist.iter().find(|i| i.id == "invariants").unwrap();
    assert_eq!(line.status, Status::Fail);
    assert!(c.warnings.iter().any(|w| w.starts_with("1 of 4 checks")));
}

#[test]
fn a_contradicted_rigorous_bound_is_a_bug_of_the_tool() {
    let mut c = example::certified();
    let g = &mut c.gradients[2];
    g.bound(Rung::Schedule, crate::num::Mag::of(g.observed.lo() / 2.0), Some(g.observed));
    let (lo, abs) = (g.observed.lo(), g.observed.lo() / 2.0);
    let bug = c.decide(Limits::default()).unwrap_err();
    assert_eq!(bug.violations.len(), 1);
    let text = bug.to_string();
    for part in ["features.3.weight", "schedule", &lo.to_string(), &abs.to_string(), &Num::of(abs).hex()] {
        assert!(text.contains(part), "{part} in {text}");
    }
    // The same figures of a bound that isn't rigorous, or against the error of another run, are none.
    let b = c.gradients[2].bounds.schedule.clone().unwrap();
    c.gradients[2].bounds.schedule = Some(b.by_probes(0.9));
    assert!(c.decide(Limits::default()).is_ok());
    // A region without its centre is one, and an adversary beyond the portable rung.
    let mut d = c.clone();
    d.gradients[0].region_tolerance = Some(RegionTolerance::new(Mag::of(lo * 1e-9), d.gradients[0].spec_norm));
    assert!(d.decide(Limits::default()).unwrap_err().violations[0].contains("region"));
    let mut d = c.clone();
    let portable = d.gradients[0].bounds.portable.clone();
    d.gradients[0].adversary =
        Some(Reached::new(portable.as_ref().unwrap().abs.unwrap().get() * 1.1, portable.as_ref()));
    assert!(d.decide(Limits::default()).unwrap_err().violations[0].contains("portable"));
    // A scale below a magnitude is one.
    c.gradients[0].scale = Some(Num::of(1e-9));
    assert!(c.decide(Limits::default()).unwrap_err().violations[0].contains("scale"));
}

#[test]
fn deciding_twice_changes_nothing() {
    for c in [example::certified(), example::not_certified()] {
        let mut again = c.clone();
        again.decide(Limits::default()).unwrap();
        assert_eq!(again, c);
    }
}

#[test]
fn tolerances_say_whom_they_cover() {
    let c = example::certified();
    let last = &c.gradients[7].tolerance;
    assert_eq!((last.rung, last.covers), (Some(Rung::ChainPortable), Some(Covers::EveryConformingRun)));
    assert!(last.recommendation.starts_with("rtol=0, atol="), "{}", last.recommendation);
    assert!(last.atol_between_runtimes.unwrap().get() > last.atol.unwrap().get());
    let (atol, any) = (last.atol.unwrap().get(), last.atol_any_two_runtimes.unwrap().get());
    assert!(any >= 2.0 * atol && any < 2.000001 * atol);
    assert!(last.between_runtimes.starts_with("rtol=0, atol="), "{}", last.between_runtimes);
    // The pasted figure is not below the bound.
    let pasted = last.recommendation.split("atol=").nth(1).unwrap().split(' ').next().unwrap();
    assert!(pasted.parse::<f64>().unwrap() >= last.atol.unwrap().get());

    let mut c = c;
    for g in &mut c.gradients {
        g.bounds.portable = None;
        g.bounds.chain_portable = g.bounds.chain_portable.take().map(|b| b.by_probes(0.999));
    }
    c.decide(Limits::default()).unwrap();
    let t = &c.gradients[0].tolerance;
    assert_eq!((t.rung, t.covers, t.atol_between_runtimes), (Some(Rung::Direct), Some(Covers::ThisRun), None));
    assert!(t.between_runtimes.starts_with("none rigorous") && t.atol_any_two_runtimes.is_none());
    assert!(t.recommendation.starts_with("none rigorous for other runtimes; statistical"), "{}", t.recommendation);
    assert!(t.recommendation.contains("(chain_portable)") && t.recommendation.contains("(probabilistic)"));
    assert_eq!(c.checklist.iter().find(|i| i.id == "tolerances").unwrap().status, Status::Fail);
}

#[test]
fn defaults_that_accept_an_all_zero_gradient_are_blind() {
    let c = decided(&[(point(1.0), point(1e-7)), (point(9e-6), point(1e-12)), (Enclosure::ZERO, point(1e-12))]);
    let blind = |i: usize| c.gradients[i].detection.defaults.iter().map(|d| d.blind).collect::<Vec<_>>();
    assert_eq!(blind(0), [false, false, false]);
    assert_eq!(blind(1), [true, true, true]);
    assert_eq!(blind(2), [false, false, false], "0 is right there");
    let d = &c.gradients[0].detection;
    assert!(d.limit.get() >= c.gradients[0].limit.get() + 1e-7);
    // assert_close: atol + rtol·‖g‖∞ + observed = 1e-5 + 1.3e-6 + 1e-7.
    assert!((d.defaults[0].limit.get() - 1.14e-5).abs() < 1e-12);
    // of a gradient of norm 4: both parts added, or the larger of both
    let c = decided(&[(point(4.0), point(0.0)), (point(0.25), point(0.0))]);
    let limits = |i: usize| c.gradients[i].detection.defaults.iter().map(|d| d.limit.get()).collect::<Vec<_>>();
    for (found, formula) in limits(0).iter().zip([1e-5 + 5.2e-6, 1e-2, 4e-5]) {
        assert!(*found >= formula * (1.0 - 1e-15) && *found <= formula * (1.0 + 1e-12), "{found:e} {formula:e}");
    }
    for (found, formula) in limits(1).iter().zip([1e-5 + 3.25e-7, 2.5e-3, 1e-5]) {
        assert!(*found >= formula * (1.0 - 1e-15) && *found <= formula * (1.0 + 1e-12), "{found:e} {formula:e}");
    }
}

#[test]
fn the_files_gradients_are_judged_by_a_limit_of_their_own() {
    let mut c = example::not_certified();
    let n = c.agreement.len();
    let line = |c: &Certificate| c.checklist.iter().find(|i| i.id == "agreement").unwrap().clone();
    assert_eq!(line(&c).evidence, format!("{} of {n} agree, 1 differ, 0 undecided", n - 1));
    assert_eq!(line(&c).status, Status::Fail);
    // 2^−16 · max(‖g‖∞, floor · the largest)
    let most = c.agreement.iter().map(|a| a.derived_norm.lo()).fold(0.0, f64::max);
    assert!(c.agreement.iter().any(|a| a.derived_norm.lo() < 1e-4 * most), "one is below the floor");
    for a in &c.agreement {
        let formula = a.derived_norm.lo().max(1e-4 * most) / 65536.0;
        assert!((a.limit.get() - formula).abs() <= 1e-15 * formula, "{:e} {formula:e}", a.limit.get());
    }
    // at twice and at half its limit, and around it
    let limit = c.agreement[2].limit.get();
    for (difference, status) in [
        (Enclosure::of(0.0, limit / 2.0), Status::Pass),
        (Enclosure::of(limit / 2.0, limit * 2.0), Status::Undecided),
        (Enclosure::of(limit * 2.0, limit * 3.0), Status::Fail),
    ] {
        c.agreement[2].difference = difference;
        c.decide(Limits::default()).unwrap();
        assert_eq!((c.agreement[2].verdict, line(&c).status), (status, status));
    }
}

#[test]
fn the_rule_says_what_the_policy_adds() {
    let text = |p: &Policy| {
        let mut c = example::certified();
        c.decide_by(p).unwrap();
        c.decision_rule.text
    };
    let plain = Policy::default();
    assert!(!text(&plain).contains("rules of the policy") && !text(&plain).contains("waiver"));
    let rule = LimitRule { pattern: "*".into(), max_rel: Some(Num::of(0.5)), ..LimitRule::default() };
    let ruled = Policy { rules: vec![rule], ..Policy::default() };
    assert!(text(&ruled).contains("rules of the policy") && !text(&ruled).contains("waiver"));
    let waiver = Waiver { pattern: "x".into(), reason: "known".into(), expires: "2030-01-01".into() };
    let waived = Policy { waivers: vec![waiver], today: Some("2026-01-01".into()), ..Policy::default() };
    assert!(text(&waived).contains("waiver") && !text(&waived).contains("rules of the policy"));
}

#[test]
fn a_certificate_reads_back_to_the_same_bytes() {
    for c in [example::certified(), example::not_certified(), example::hostile(), example::empty()] {
        let json = c.to_json();
        assert!(json.ends_with("}\n") && !json.contains('\r'));
        let back = Certificate::from_json(&json).unwrap();
        assert_eq!(back, c);
        assert_eq!(back.to_json(), json);
    }
}

#[test]
fn another_schema_or_a_broken_document_is_a_diagnostic() {
    let json = example::certified().to_json();
    let cases = [
        (json.replace("certify/certificate/v1", "certify/certificate/v2"), "v2"),
        ("{}".to_string(), "no certificate"),
        ("[1]".to_string(), "no certificate"),
        ("{\"schema\": 1}".to_string(), "no certificate"),
        (json[..json.len() / 2].to_string(), "can't be read"),
        (String::new(), "can't be read"),
        (json.replacen("\"verdict\"", "\"verdicts\"", 1), "verdict"),
        (json.replacen("\"certified\"", "\"fine\"", 1), "fine"),
        (json.replacen("\"max_rel\": 0.001", "\"max_rel\": null", 1), "null"),
    ];
    for (text, part) in cases {
        let d = Certificate::from_json(&text).unwrap_err();
        assert!(d.what.contains(part), "{part:?} in {d}");
        assert!(d.help.is_some());
    }
}

#[test]
fn a_vacuous_rigorous_bound_is_not_called_statistical() {
    let c = example::not_certified();
    let g = c.gradients.iter().find(|g| g.name == "net.fc1.weight").unwrap();
    assert!(g.bounds.chain_portable.as_ref().unwrap().vacuous);
    assert!(!g.tolerance.recommendation.contains("chain_portable"), "{}", g.tolerance.recommendation);
    assert!(g.tolerance.recommendation.contains("this run keeps rtol=0"));
}
