//! Law 9: tightness doesn't rot. For each primitive, the median of bound ÷ observed error over fixed
//! cases, next to the figure recorded when the rule was last improved.

use super::cases::case;
use super::cells::Cells;
use super::check::{Findings, every_run, this_run};
use certify::ops::Op;

/// Medians: value and cotangents of this run, value and cotangents of every run.
type Medians = [f64; 4];

/// Recorded figures; measured ones may be twice as large. A rule that becomes tighter is recorded anew.
const RECORDED: &[(&str, Medians)] = &[
    ("Add", [1.08, 1.01, 1.02, 1.01]),
    ("Sub", [1.12, 1.01, 1.04, 1.01]),
    ("Mul", [1.06, 1.05, 1.02, 1.01]),
    ("Div", [1.4, 1.1, 1.17, 1.04]),
    ("Smooth", [1.57, 1.37, 1.66, 2.01]),
    ("Piecewise", [1.01, 1.01, 1.08, 1.01]),
    ("Staircase", [1.01, 1.01, 1.01, 1.01]),
    ("Gather", [1.01, 1.01, 1.01, 1.01]),
    ("Join", [1.01, 1.01, 1.01, 1.01]),
    ("Sum", [4.04, 1.01, 5.46, 1.01]),
    ("Mean", [2.73, 1.12, 2.93, 1.02]),
    ("Max", [1.01, 1.01, 1.01, 1.02]),
    ("Route", [1.01, 1.01, 1.01, 1.6]),
    ("MatMul", [2.87, 1.14, 2.12, 1.04]),
    ("Conv", [1.68, 1.48, 1.1, 1.18]),
    ("Softmax", [7.58, 5.59, 43.91, 54.02]),
    ("LogSoftmax", [2.87, 2.18, 13.86, 2.42]),
    ("Normalize", [4.27, 6.59, 14.95, 30.36]),
];

fn median(x: &mut [f64]) -> f64 {
    if x.is_empty() {
        return 1.0;
    }
    x.sort_by(f64::total_cmp);
    x[x.len() / 2]
}

fn measured(name: &str) -> Medians {
    let mut f = Findings::default();
    for seed in 0..100 {
        let case = case(name, seed);
        let cells = Cells::sound(&case.op);
        this_run(&cells, &case, &mut f);
        every_run(&cells, &case, 2, &mut f);
    }
    [&mut f.run.forward, &mut f.run.vjp, &mut f.spec.forward, &mut f.spec.vjp].map(|x| median(x))
}

#[test]
fn tightness_does_not_rot() {
    let mut table = String::new();
    let mut worse = Vec::new();
    for (name, _) in Op::REGISTRY {
        let now = measured(name);
        let rounded = now.map(|v| (v * 100.0).ceil() / 100.0);
        table += &format!("    (\"{name}\", {rounded:?}),\n");
        match RECORDED.iter().find(|r| r.0 == *name) {
            None => worse.push(format!("{name} has no record")),
            Some((_, record)) => {
                for (what, (n, r)) in
                    ["y", "cotangents", "portable y", "portable cotangents"].iter().zip(now.iter().zip(record))
                {
                    if *n > 2.0 * r {
                        worse.push(format!("{name} {what}: bound ÷ error is {n:.2}, recorded {r:.2}"));
                    }
                }
            }
        }
    }
    assert!(worse.is_empty(), "{worse:#?}\nmeasured now:\n{table}");
}
