//! Constants as a program in binary64 has them, where the graph holds them in binary32.
//!
//! A graph in binary32 holds 1.41421354 where the program that it was exported from says √2, and 9.99999975e-6
//! where that says 1e-5. The same program in binary64 computes another function than the graph, off by some
//! 2^−25 a constant. To check its gradients to twelve digits, the specification has to hold the program's numbers.
//! Which they were is guessed from a short list, every guess rounds to what the graph holds, and all of them are
//! told: what is checked is the function with just these constants.

use serde::{Deserialize, Serialize};

use crate::certificate::{Exact, Num};
use crate::ir::LeafKind;
use crate::ops::{Op, RevGraph};

/// Which numbers the specification has for constants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Constants {
    /// Those of the file.
    #[default]
    File,
    /// Those that they were rounded from, in binary64, where that can be told.
    Binary64,
}

/// A constant that isn't a short decimal in binary32.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reading {
    /// The leaf that holds it, or the node whose attribute it is.
    pub at: String,
    /// What the graph holds.
    pub held: Exact,
    /// The number in its place, as one writes it; `None` where the graph's own is kept.
    pub read: Option<String>,
    /// The number itself.
    pub value: Exact,
}

/// Leaves with more distinct numbers are data, not a program's constants.
const DISTINCT: usize = 4;
/// Significant digits of a decimal that somebody wrote: 0.044715 has five.
const DECIMAL_DIGITS: usize = 6;
/// … of one under a root, or beside π.
const INNER_DIGITS: usize = 4;

/// Constants that are no decimals or roots.
const NAMED: [(&str, f64); 6] = [
    ("e", std::f64::consts::E),
    ("ln 2", std::f64::consts::LN_2),
    ("ln 10", std::f64::consts::LN_10),
    ("log2 e", std::f64::consts::LOG2_E),
    // Klambauer et al., Self-Normalizing Neural Networks (2017)
    ("α of SELU", 1.673_263_242_354_377_2),
    ("λ of SELU", 1.050_700_987_355_480_5),
];

/// A decimal as one writes it.
fn plain(x: f64) -> String {
    if (1e-3..1e6).contains(&x) { format!("{x}") } else { format!("{x:e}") }
}

/// Significant digits of the shortest decimal of x.
fn digits(x: f64) -> usize {
    let text = format!("{x:e}");
    text.split('e').next().map_or(0, |m| m.bytes().filter(u8::is_ascii_digit).count())
}

/// The decimal of a few digits nearest to x.
fn short(x: f64) -> Option<f64> {
    format!("{x:.*e}", INNER_DIGITS - 1).parse().ok().filter(|d: &f64| d.is_finite() && *d > 0.0)
}

/// What a program meant by a binary32 number.
#[derive(Debug, PartialEq)]
enum Meaning {
    /// The number itself.
    Itself,
    /// One in binary64 that was rounded to it, and how one writes that.
    Rounded(f64, String),
    /// Nobody knows.
    Unknown,
}

/// What `held` may stand for.
fn meaning(held: f32) -> Meaning {
    use std::f64::consts::PI;
    let x = f64::from(held.abs());
    if !held.is_finite() || held.abs() < f32::MIN_POSITIVE || digits(x) <= DECIMAL_DIGITS {
        return Meaning::Itself;
    }
    let rounds = |(value, _): &(f64, String)| *value as f32 == held.abs();
    // the shortest decimal that rounds to it
    let decimal = || {
        let d: f64 = format!("{:e}", held.abs()).parse().ok()?;
        (digits(d) <= DECIMAL_DIGITS).then(|| (d, plain(d)))
    };
    // d from what x would be of it, then that function of d
    let of = |d: f64, f: &dyn Fn(f64) -> (f64, String)| short(d).map(f).filter(rounds);
    let found = decimal()
        .or_else(|| of(1.0 / x, &|d| (1.0 / d, format!("1/{d}"))))
        .or_else(|| of(x * x, &|d| (d.sqrt(), format!("√{d}"))))
        .or_else(|| of(1.0 / (x * x), &|d| (1.0 / d.sqrt(), format!("1/√{d}"))))
        .or_else(|| of(x / PI, &|d| (d * PI, if d == 1.0 { "π".into() } else { format!("{d}·π") })))
        .or_else(|| of(x * PI, &|d| (d / PI, format!("{d}/π"))))
        .or_else(|| of(x * x / PI, &|d| ((d * PI).sqrt(), format!("√({d}·π)"))))
        .or_else(|| of(x * x * PI, &|d| ((d / PI).sqrt(), format!("√({d}/π)"))))
        .or_else(|| of(x.powi(4), &|d| (d.sqrt().sqrt(), format!("{d}^(1/4)"))))
        .or_else(|| of(1.0 / x.powi(4), &|d| (1.0 / d.sqrt().sqrt(), format!("{d}^(−1/4)"))))
        .or_else(|| NAMED.iter().map(|(n, v)| (*v, (*n).to_string())).find(rounds));
    match found {
        None => Meaning::Unknown,
        // 1/1024 is a number of both formats
        Some((value, _)) if value == x => Meaning::Itself,
        Some((value, text)) if held < 0.0 => Meaning::Rounded(-value, format!("−{text}")),
        Some((value, text)) => Meaning::Rounded(value, text),
    }
}

/// What a reader has to know of the readings, in one sentence.
pub fn remark(readings: &[Reading]) -> Option<String> {
    let read = readings.iter().filter(|r| r.read.is_some()).count();
    (read > 0).then(|| {
        format!(
            "the exact gradients have {read} constants as a program in binary64 has them, not as the file holds them \
             (--constants binary64)"
        )
    })
}

/// Puts the program's numbers into the graph's specification, and tells which.
pub fn reread(graph: &mut RevGraph) -> Vec<Reading> {
    let told = std::cell::RefCell::new(Vec::<Reading>::new());
    let read = |at: &str, held: f32| -> f64 {
        let itself = f64::from(held);
        let (value, text) = match meaning(held) {
            Meaning::Itself => return itself,
            Meaning::Rounded(value, text) => (value, Some(text)),
            Meaning::Unknown => (itself, None),
        };
        let reading =
            Reading { at: at.to_string(), held: Exact(Num::of(itself)), read: text, value: Exact(Num::of(value)) };
        let mut told = told.borrow_mut();
        // a function may hold a number in several pieces
        if !told.iter().rev().take_while(|r| r.at == at).any(|r| *r == reading) {
            told.push(reading);
        }
        value
    };
    graph.reread(
        |leaf| {
            let mut distinct: Vec<f32> = Vec::new();
            for x in &leaf.tensor.data {
                if !distinct.contains(x) {
                    distinct.push(*x);
                }
                if leaf.kind != LeafKind::Constant || distinct.len() > DISTINCT {
                    return;
                }
            }
            let changed = |&h: &f32| Some((h, read(&leaf.name, h))).filter(|(h, m)| f64::from(*h) != *m);
            leaf.meant = distinct.iter().filter_map(changed).collect();
        },
        |node, op| {
            let each = |v: &mut f64| {
                let held = *v as f32;
                // what a lowering made of several attributes is no binary32 number, and stays
                if f64::from(held) == *v {
                    *v = read(node, held);
                }
            };
            match op {
                Op::Normalize(n) => each(&mut n.epsilon),
                Op::Piecewise(p) => {
                    let p = &mut p.pieces;
                    p.slopes.iter_mut().chain(&mut p.offsets).chain(&mut p.kinks).for_each(each);
                }
                _ => {}
            }
        },
    );
    told.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_programs_write_are_read() {
        for (x, want) in [
            (1e-5, "1e-5"),
            (1e-12, "1e-12"),
            (0.1, "0.1"),
            (-0.1, "−0.1"),
            (0.044715, "0.044715"),
            (1.0 / 6.0, "1/6"),
            (1.0 / 0.9, "1/0.9"),
            (2f64.sqrt(), "√2"),
            (-(2f64.sqrt()), "−√2"),
            (8f64.powf(-0.5), "√0.125"),
            (32f64.powf(-0.25), "0.03125^(1/4)"),
            ((2.0 / std::f64::consts::PI).sqrt(), "√(2/π)"),
            (std::f64::consts::PI, "π"),
            (1.673_263_242_354_377_2, "α of SELU"),
        ] {
            let Meaning::Rounded(value, text) = meaning(x as f32) else { panic!("{want} isn't known") };
            assert_eq!((value as f32, &*text), (x as f32, want));
            assert!((value - x).abs() <= 1e-15 * x.abs(), "{want}: {value:e} for {x:e}");
        }
    }

    #[test]
    fn numbers_that_binary32_holds_are_left_alone() {
        for x in [0.0, 1.0, -0.5, 3.0, 0.125, 65536.0, 1.0 / 1024.0, -1.0 / 4096.0] {
            assert_eq!(meaning(x), Meaning::Itself, "{x}");
        }
        for x in [f32::MIN_POSITIVE / 2.0, f32::INFINITY, f32::NAN] {
            assert_eq!(meaning(x), Meaning::Itself, "{x}");
        }
        // nor are those that nobody would have written
        for x in [0.743_210_9, f32::MAX] {
            assert_eq!(meaning(x), Meaning::Unknown, "{x}");
        }
    }
}
