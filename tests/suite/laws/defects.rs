//! Law 10: the harness works. Each planted defect is found in every primitive where it makes a
//! difference, in the rules about this run and, apart from them, in those about every run.

use super::cases::case;
use super::cells::{Cells, Defect};
use super::check::{Findings, every_run, this_run};
use certify::ops::Op;

/// Whose rules have the defect: those about this run, or those about every run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    ThisRun,
    EveryRun,
}

/// Primitives in which a defect changes nothing: their rules have no such part.
fn without(defect: Defect) -> &'static [&'static str] {
    match defect {
        // nothing is rounded
        Defect::HalvedLocal => &["Staircase", "Gather", "Join", "Max", "Route"],
        Defect::HalvedVjpLocal => &["Add", "Sub", "Staircase", "Join", "Sum", "Route"],
        Defect::WrongCount => {
            &["Add", "Sub", "Mul", "Div", "Smooth", "Piecewise", "Staircase", "Gather", "Join", "Max", "Route"]
        }
        // its cotangents are zeros
        Defect::DroppedVjpCarried | Defect::ShiftedVjpIndex | Defect::HalvedVjpScale => &["Staircase"],
        _ => &[],
    }
}

/// Where half of a local part is still a bound of all runs that are tried, and no unsound one: no run can show it.
/// That the parts are what they are said to be is seen by tests of the formulas, in `ops::max` and `ops::formulas`.
fn is_still_sound(name: &str, defect: Defect, about: About) -> bool {
    match (name, defect, about) {
        // two roundings of ȳ/k are covered, a reciprocal's and a product's; this run divides once
        ("Max", Defect::HalvedVjpLocal, About::ThisRun) => true,
        // all n + 4 roundings of mean and variance may go one way; in no run that is tried do half of them
        ("Normalize", Defect::HalvedLocal | Defect::HalvedVjpLocal, About::EveryRun) => true,
        _ => false,
    }
}

const DEFECTS: [Defect; 9] = [
    Defect::HalvedLocal,
    Defect::HalvedVjpLocal,
    Defect::DroppedCarried,
    Defect::DroppedVjpCarried,
    Defect::ShiftedIndex,
    Defect::ShiftedVjpIndex,
    Defect::WrongCount,
    Defect::HalvedScale,
    Defect::HalvedVjpScale,
];

/// Is the defect found within so many cases, in the rules about these runs alone?
fn found(name: &str, defect: Defect, about: About, cases: u64) -> bool {
    (0..cases).any(|seed| {
        let case = case(name, seed);
        let cells = Cells { op: case.op.clone(), defect };
        let mut f = Findings::default();
        match about {
            About::ThisRun => this_run(&cells, &case, &mut f),
            About::EveryRun => every_run(&cells, &case, 2, &mut f),
        }
        !f.failures.is_empty()
    })
}

#[test]
fn planted_defects_are_found() {
    let mut missed = Vec::new();
    for (name, _) in Op::REGISTRY {
        for defect in DEFECTS {
            for about in [About::ThisRun, About::EveryRun] {
                let changes = !without(defect).contains(name) && !is_still_sound(name, defect, about);
                if changes && !found(name, defect, about, 400) {
                    missed.push(format!("{name} with {defect:?}, about {about:?}"));
                }
            }
        }
    }
    assert!(missed.is_empty(), "defects that no case shows: {missed:#?}");
}

/// The exemptions are exact: where they say that nothing is rounded, or too little to be seen, it is so.
#[test]
fn exempt_primitives_have_nothing_to_find() {
    for defect in [Defect::HalvedLocal, Defect::HalvedVjpLocal] {
        for (name, _) in Op::REGISTRY {
            for about in [About::ThisRun, About::EveryRun] {
                let exempt = without(defect).contains(name) || is_still_sound(name, defect, about);
                assert!(!exempt || !found(name, defect, about, 60), "{name} with {defect:?} is found after all");
            }
        }
    }
}
