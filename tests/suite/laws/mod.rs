//! The laws of the primitives: for each of [`Op::REGISTRY`],
//!
//! 1. the local error is contained, 2. the carried error is, corners included, 3. both together are;
//!    for this run's own kernel, and for many conforming runs;
//! 4. scales contain spec and runs;
//! 5. the VJP is the derivative of the forward definition (central difference at 800 bits);
//! 6. ⟨J·dx, ȳ⟩ = ⟨dx, Jᵀ·ȳ⟩;
//! 7. the VJP row obeys 1–4;
//! 8. larger errors give no smaller bounds;
//! 9. tightness doesn't rot;
//! 10. planted defects are found.
//!
//! Containment is the tolerance: there are no epsilons here. A failure names the primitive and the seed
//! of the case; `CERTIFY_SEED=n` runs that case alone, `CERTIFY_CASES=k` k times as many cases.

mod cases;
mod cells;
mod check;
mod defects;
mod derivative;
mod graphs;
mod loose;
mod rng;
mod runs;
mod steps;
mod tightness;
mod values;

use cases::case;
use cells::Cells;
use certify::ops::Op;
use check::Findings;

/// How many times as many cases as by default.
pub fn factor() -> u64 {
    std::env::var("CERTIFY_CASES").ok().and_then(|v| v.parse().ok()).unwrap_or(1)
}

/// Seeds of the cases to try.
pub fn seeds(by_default: u64) -> Vec<u64> {
    match std::env::var("CERTIFY_SEED").ok().and_then(|v| v.parse().ok()) {
        Some(seed) => vec![seed],
        None => (0..by_default * factor()).collect(),
    }
}

/// Cases of each primitive by default.
const CASES: u64 = 120;

fn verdict(name: &str, f: &Findings) {
    assert!(
        f.failures.is_empty(),
        "{name} breaks {} laws:\n{}",
        f.failures.len(),
        f.failures.iter().filter(|s| !s.is_empty()).cloned().collect::<Vec<_>>().join("\n")
    );
}

/// Laws 1 to 4, 7 and 8 of a primitive.
fn containment(name: &str) {
    let mut f = Findings::default();
    for seed in seeds(CASES) {
        let case = case(name, seed);
        let cells = Cells::sound(&case.op);
        check::this_run(&cells, &case, &mut f);
        check::every_run(&cells, &case, 6, &mut f);
        check::monotone(&case, &mut f);
    }
    verdict(name, &f);
    assert!(f.compared > 0, "{name}: no bound was compared with an error");
}

macro_rules! laws {
    ($($test:ident: $name:literal),+ $(,)?) => {
        $(#[test] fn $test() { containment($name) })+

        /// Every primitive has its laws.
        #[test]
        fn every_primitive_is_covered() {
            let covered = [$($name),+];
            let missing: Vec<&str> = Op::REGISTRY.iter().map(|r| r.0).filter(|n| !covered.contains(n)).collect();
            assert!(missing.is_empty(), "primitives without laws: {missing:?}");
            assert_eq!(covered.len(), Op::REGISTRY.len(), "laws for a primitive that isn't there");
        }
    };
}

laws! {
    add: "Add",
    sub: "Sub",
    mul: "Mul",
    div: "Div",
    smooth: "Smooth",
    piecewise: "Piecewise",
    gather: "Gather",
    join: "Join",
    sum: "Sum",
    mean: "Mean",
    max: "Max",
    route: "Route",
    matmul: "MatMul",
    conv: "Conv",
    softmax: "Softmax",
    logsoftmax: "LogSoftmax",
    normalize: "Normalize",
}
