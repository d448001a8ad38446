//! Checks that this machine computes as the rounding model says.
//!
//! Every bound rests on IEEE 754 binary32 and binary64 arithmetic: rounding to nearest even,
//! gradual underflow, fused multiply–adds with one rounding, no excess precision. A host program, a
//! preloaded library or a compiler flag can change that for a thread, and threads inherit it; so it
//! is checked in the calling thread and in every worker, by computing and by reading the control
//! register.

use std::hint::black_box;

use crate::error::{Code, Diagnostic};

/// Checks the calling thread and every worker of the current thread pool.
pub fn check() -> Result<(), Diagnostic> {
    check_thread()?;
    rayon::broadcast(|_| check_thread()).into_iter().collect()
}

/// Checks the calling thread only.
fn check_thread() -> Result<(), Diagnostic> {
    for (what, ok) in probes() {
        if !ok {
            return Err(failure(what));
        }
    }
    match control() {
        Some((name, value, bad)) if value & bad != 0 => {
            Err(failure(&format!("floating-point control register {name} is {value:#x}, bits {bad:#x} must be 0")))
        }
        _ => Ok(()),
    }
}

fn failure(what: &str) -> Diagnostic {
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("worker");
    Diagnostic::new(Code::Environment, format!("{what} in thread \"{thread}\""))
        .note("every error bound assumes ieee 754 arithmetic: round to nearest even, gradual underflow, fused multiply-add")
        .help("run without libraries or flags that change the floating-point mode, such as -ffast-math start-up code")
}

/// Computations whose results tell the modes apart. `black_box` keeps them from the compiler, which
/// assumes the default mode.
fn probes() -> [(&'static str, bool); 9] {
    let u = 2f32.powi(-24);
    let v = 2f64.powi(-53);
    let (one, min) = (black_box(1.0f32), black_box(f32::MIN_POSITIVE));
    let (one64, min64) = (black_box(1.0f64), black_box(f64::MIN_POSITIVE));
    let e = black_box(2f32.powi(-12));
    let e64 = black_box(2f64.powi(-27));
    [
        // 1 + u is a tie: to even gives 1. 1 + 1.5u and −1 − 1.5u round away from 0, 1 + 0.75u towards it.
        (
            "binary32 addition does not round to nearest even",
            one + black_box(u) == 1.0
                && one + black_box(3.0 * u) == 1.0 + 4.0 * u
                && one + black_box(1.5 * u) == 1.0 + 2.0 * u
                && -one - black_box(1.5 * u) == -1.0 - 2.0 * u
                && one + black_box(0.75 * u) == 1.0
                && -one - black_box(0.75 * u) == -1.0,
        ),
        (
            "binary64 addition does not round to nearest even",
            one64 + black_box(v) == 1.0
                && one64 + black_box(3.0 * v) == 1.0 + 4.0 * v
                && one64 + black_box(1.5 * v) == 1.0 + 2.0 * v
                && -one64 - black_box(1.5 * v) == -1.0 - 2.0 * v
                && one64 + black_box(0.75 * v) == 1.0,
        ),
        // A subnormal result must survive, ...
        ("binary32 results are flushed to zero", (min * black_box(0.5)).to_bits() == 1 << 22),
        ("binary64 results are flushed to zero", (min64 * black_box(0.5)).to_bits() == 1 << 51),
        // ... and so must a subnormal operand.
        (
            "binary32 operands are flushed to zero",
            (black_box(f32::from_bits(1)) * black_box(2f32.powi(100))).to_bits() == 2f32.powi(-49).to_bits(),
        ),
        (
            "binary64 operands are flushed to zero",
            (black_box(f64::from_bits(1)) * black_box(2f64.powi(1000))).to_bits() == 2f64.powi(-74).to_bits(),
        ),
        // (1+e)(1−e) − 1 = −e², which a rounded product would lose.
        ("the binary32 multiply-add is not fused", (one + e).mul_add(one - e, -one) == -(e * e)),
        ("the binary64 multiply-add is not fused", (one64 + e64).mul_add(one64 - e64, -one64) == -(e64 * e64)),
        // With excess precision 2^127·2 would not overflow, and 1 + u − 1 would be u.
        (
            "binary32 arithmetic keeps excess precision",
            black_box(2f32.powi(127)) * black_box(2.0) * black_box(0.5) == f32::INFINITY
                && (one + black_box(u)) - one == 0.0,
        ),
    ]
}

/// Name and value of the control register, and the bits of it that must be 0.
#[cfg(target_arch = "x86_64")]
fn control() -> Option<(&'static str, u64, u64)> {
    let mut mxcsr = 0u32;
    // SAFETY: stmxcsr stores 32 bits to the address given, which is a live, aligned u32; SSE is part
    // of x86_64.
    unsafe { std::arch::asm!("stmxcsr [{}]", in(reg) &mut mxcsr, options(nostack, preserves_flags)) };
    // bit 6 denormals-are-zero, bits 13–14 rounding control, bit 15 flush-to-zero
    Some(("mxcsr", u64::from(mxcsr), 1 << 6 | 3 << 13 | 1 << 15))
}

/// Name and value of the control register, and the bits of it that must be 0.
#[cfg(target_arch = "aarch64")]
fn control() -> Option<(&'static str, u64, u64)> {
    let fpcr: u64;
    // SAFETY: reads a register that user code may read.
    unsafe { std::arch::asm!("mrs {}, fpcr", out(reg) fpcr, options(nomem, nostack, preserves_flags)) };
    // bit 0 flush inputs to zero, bit 1 alternate handling, bits 22–23 rounding mode, bit 24 flush-to-zero
    Some(("fpcr", fpcr, 1 | 1 << 1 | 3 << 22 | 1 << 24))
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn control() -> Option<(&'static str, u64, u64)> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_passes() {
        check().unwrap();
    }

    /// Runs `f` in a thread of its own whose control register was changed, and restores it.
    #[cfg(target_arch = "x86_64")]
    fn with_mxcsr<T: Send + 'static>(bits: u32, f: impl FnOnce() -> T + Send + 'static) -> T {
        std::thread::spawn(move || {
            let set = |v: u32| {
                // SAFETY: only rounding and flushing bits of this short-lived thread change, and they
                // are restored before anything but `f` runs.
                unsafe { std::arch::asm!("ldmxcsr [{}]", in(reg) &v, options(nostack, preserves_flags)) }
            };
            set(0x1f80 | bits);
            let result = f();
            set(0x1f80);
            result
        })
        .join()
        .unwrap()
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn changed_modes_are_found_by_computing_and_by_reading() {
        for (bits, word) in [
            (1 << 15, "results are flushed"),
            (1 << 6, "operands are flushed"),
            (1 << 13, "round to nearest"),
            (2 << 13, "round to nearest"),
            (3 << 13, "round to nearest"),
        ] {
            let (failed, read) = with_mxcsr(bits, || {
                let failed: Vec<&str> = probes().iter().filter(|p| !p.1).map(|p| p.0).collect();
                (failed, control())
            });
            assert!(failed.iter().any(|f| f.contains(word)), "mode {bits:#x}: {failed:?}");
            let (_, value, bad) = read.unwrap();
            assert_ne!(value & bad, 0, "mode {bits:#x}");
        }
        let d = with_mxcsr(1 << 15, check_thread).unwrap_err();
        assert_eq!(d.code, Code::Environment);
    }

    /// A worker that inherited flush-to-zero is found from a clean calling thread.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn a_bad_worker_is_found() {
        let pool = with_mxcsr(1 << 15, || rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap());
        assert!(pool.install(check_thread).is_err());
        assert!(pool.broadcast(|_| check_thread()).into_iter().any(|r| r.is_err()));
    }
}
