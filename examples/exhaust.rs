//! Runs elementary kernels through all 2^32 binary32 inputs.
//!
//! `cargo run --release --example exhaust -- [--threads N] NAME …` prints, per kernel, the largest
//! relative error with its input, and how many inputs round to another binary32 number than the true
//! value does: the correctly rounded binary32 function tells where there is one, else the binary64
//! reference, and MPFR confirms. It fails when a kernel leaves its stated bound. `pow:P` runs the power
//! with the fixed exponent P.
//!
//! With `--ulps` first, only what the runtime relies on: the largest error of the rounded result in ulps. Results
//! are compared with the correctly rounded binary32 function, and where the two differ MPFR measures by how
//! much; one to two minutes of one processor a kernel.

#[path = "../src/num/elementary/reference.rs"]
mod reference;

use std::time::Instant;

use certify::num::elementary::{KERNELS, REL, ULPS, pow, round32};
use rayon::prelude::*;
use reference::{BITS, oracle};
use rug::Float;

/// What one stretch of inputs showed.
#[derive(Clone, Copy, Default)]
struct Seen {
    /// Largest relative error against the reference, and its input.
    worst: f64,
    at: u32,
    /// Inputs whose result rounds to another number than the nearest, and the last of them.
    misrounded: u64,
    misrounded_at: u32,
    /// Results that aren't even on the right side of the range, or NaN where a number is due.
    wrong: u64,
    wrong_at: u32,
}

impl Seen {
    fn join(self, o: Seen) -> Seen {
        let (worst, at) = if o.worst > self.worst { (o.worst, o.at) } else { (self.worst, self.at) };
        Seen {
            worst,
            at,
            misrounded: self.misrounded + o.misrounded,
            misrounded_at: if o.misrounded > 0 { o.misrounded_at } else { self.misrounded_at },
            wrong: self.wrong + o.wrong,
            wrong_at: if o.wrong > 0 { o.wrong_at } else { self.wrong_at },
        }
    }
}

fn run(
    f: impl Fn(f64) -> f64 + Sync,
    reference: impl Fn(f64) -> f64 + Sync,
    correct: impl Fn(f32, f64) -> f32 + Sync,
    exact: impl Fn(f32) -> Float + Sync,
) -> Seen {
    let stretch = |part: u32| {
        let mut seen = Seen::default();
        for bits in part << 20..=part << 20 | 0xf_ffff {
            let x = f32::from_bits(bits);
            if !x.is_finite() {
                continue;
            }
            let (got, want) = (f(f64::from(x)), reference(f64::from(x)));
            let size = want.abs();
            if (3e-46..7e38).contains(&size) {
                let err = ((got - want) / want).abs();
                if err > seen.worst || err.is_nan() {
                    (seen.worst, seen.at) = (if err.is_nan() { f64::INFINITY } else { err }, bits);
                }
            } else if round32(got) != round32(want) && !(got.is_nan() && want.is_nan()) {
                seen.wrong += 1;
                seen.wrong_at = bits;
            }
            let (rounded, nearest) = (round32(got), correct(x, want));
            if rounded != nearest && !want.is_nan() {
                // MPFR has no subnormals: the distances to both neighbours decide.
                let exact = exact(x);
                let distance = |y: f32| Float::with_val(BITS, &exact - y).abs();
                let d = distance(rounded);
                if !rounded.is_finite() || d > distance(rounded.next_up()) || d > distance(rounded.next_down()) {
                    seen.misrounded += 1;
                    seen.misrounded_at = bits;
                }
            }
        }
        seen
    };
    (0..1u32 << 12).into_par_iter().map(stretch).reduce(Seen::default, Seen::join)
}

/// Results that aren't the nearest binary32 number.
#[derive(Clone, Copy, Default)]
struct Off {
    misrounded: u64,
    /// Largest error in ulps, and its input.
    worst: f64,
    at: u32,
}

impl Off {
    fn join(self, o: Off) -> Off {
        let (worst, at) = if o.worst > self.worst { (o.worst, o.at) } else { (self.worst, self.at) };
        Off { misrounded: self.misrounded + o.misrounded, worst, at }
    }
}

/// Error in units of the last place that the exact value has in binary32; infinite where one is finite alone.
fn in_ulps(y: f32, exact: &Float) -> f64 {
    let e = exact.get_exp();
    match e {
        Some(e) if y.is_finite() && e <= 128 => {
            let spacing = Float::with_val(BITS, 1) << ((e - 1).max(-126) - 23);
            (Float::with_val(BITS, exact - y).abs() / spacing).to_f64()
        }
        _ => f64::INFINITY,
    }
}

fn ulps(f: fn(f64) -> f64, correct: fn(f32) -> f32, exact: impl Fn(f32) -> Float + Sync) -> Off {
    let stretch = |part: u32| {
        let mut off = Off::default();
        for bits in part << 20..=part << 20 | 0xf_ffff {
            let x = f32::from_bits(bits);
            if !x.is_finite() {
                continue;
            }
            let (y, nearest) = (round32(f(f64::from(x))), correct(x));
            if y != nearest && !(y.is_nan() && nearest.is_nan()) {
                let error = in_ulps(y, &exact(x));
                off = off.join(Off { misrounded: 1, worst: error, at: bits });
            }
        }
        off
    };
    (0..1u32 << 12).into_par_iter().map(stretch).reduce(Off::default, Off::join)
}

fn main() {
    let mut names: Vec<String> = std::env::args().skip(1).collect();
    if names.first().is_some_and(|a| a == "--threads") {
        let n = names.get(1).and_then(|n| n.parse().ok()).expect("--threads takes a number");
        rayon::ThreadPoolBuilder::new().num_threads(n).build_global().expect("the pool is built once");
        names.drain(..2);
    }
    let mut failed = false;
    if names.first().is_some_and(|a| a == "--ulps") {
        for name in &names[1..] {
            let start = Instant::now();
            let kernel = KERNELS.iter().find(|k| k.name == name).expect("a kernel's name");
            let correct = reference::correct(name).expect("a kernel with a correctly rounded binary32 function");
            let Off { misrounded, worst, at } = ulps(kernel.f, correct, |x| oracle(name, x));
            println!(
                "{name}: {misrounded} misrounded, at most {:.3e} ulp beyond a half at {:e} ({at:#010x}); {:.0} s",
                (worst - 0.5).max(0.0),
                f32::from_bits(at),
                start.elapsed().as_secs_f64()
            );
            failed |= worst > ULPS;
        }
        names.clear();
    }
    for name in names {
        let start = Instant::now();
        let seen = if let Some(p) = name.strip_prefix("pow:") {
            let p: f32 = p.parse().expect("pow:P takes a number");
            let exact = |x: f32| rug::ops::Pow::pow(Float::with_val(BITS, x), Float::with_val(BITS, p));
            let p = f64::from(p);
            run(|x| pow(x, p), |x| core_math::pow(x, p), |x, _| core_math::powf(x, p as f32), exact)
        } else {
            let kernel = KERNELS.iter().find(|k| k.name == name).expect("a kernel's name");
            let exact = |x| oracle(kernel.name, x);
            match reference::correct(kernel.name) {
                Some(correct) => run(kernel.f, reference::reference(kernel.name), |x, _| correct(x), exact),
                None => run(kernel.f, reference::reference(kernel.name), |_, want| round32(want), exact),
            }
        };
        let Seen { worst, at, misrounded, misrounded_at, wrong, wrong_at } = seen;
        println!(
            "{name}: relative error 2^{:.3} at {:e} ({at:#010x}); {misrounded} misrounded (last {misrounded_at:#010x}); {wrong} wrong (last {wrong_at:#010x}); {:.0} s",
            worst.log2(),
            f32::from_bits(at),
            start.elapsed().as_secs_f64()
        );
        failed |= worst > REL || wrong > 0;
    }
    if failed {
        std::process::exit(1);
    }
}
