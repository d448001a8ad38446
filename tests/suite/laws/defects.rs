//! Law 10: the harness works. Each planted defect is found in every primitive where it makes a
//! difference.

use super::cases::case;
use super::cells::{Cells, Defect};
use super::check::{Findings, every_run, this_run};
use certify::ops::Op;

/// Primitives in which a defect changes nothing: their rules have no such part.
fn without(defect: Defect) -> &'static [&'static str] {
    match defect {
        // nothing is rounded
        Defect::HalvedLocal => &["Staircase", "Gather", "Join", "Max"],
        Defect::HalvedVjpLocal => &["Add", "Sub", "Staircase", "Join", "Sum"],
        Defect::WrongCount => {
            &["Add", "Sub", "Mul", "Div", "Smooth", "Piecewise", "Staircase", "Gather", "Join", "Max"]
        }
        // its cotangents are zeros
        Defect::DroppedVjpCarried | Defect::ShiftedVjpIndex | Defect::HalvedVjpScale => &["Staircase"],
        _ => &[],
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

/// Is the defect found within so many cases?
fn found(name: &str, defect: Defect, cases: u64) -> bool {
    (0..cases).any(|seed| {
        let case = case(name, seed);
        let cells = Cells { op: case.op.clone(), defect };
        let mut f = Findings::default();
        this_run(&cells, &case, &mut f);
        if f.failures.is_empty() {
            every_run(&cells, &case, 2, &mut f);
        }
        !f.failures.is_empty()
    })
}

#[test]
fn planted_defects_are_found() {
    let mut missed = Vec::new();
    for (name, _) in Op::REGISTRY {
        for defect in DEFECTS {
            if !without(defect).contains(name) && !found(name, defect, 400) {
                missed.push(format!("{name} with {defect:?}"));
            }
        }
    }
    assert!(missed.is_empty(), "defects that no case shows: {missed:#?}");
}

/// The list of exemptions is exact: where it says that nothing is rounded, no local part is.
#[test]
fn exempt_primitives_have_nothing_to_find() {
    for defect in [Defect::HalvedLocal, Defect::HalvedVjpLocal] {
        for name in without(defect) {
            assert!(!found(name, defect, 60), "{name} with {defect:?} is found after all");
        }
    }
}
