use rayon::prelude::*;
use std::cmp::Ordering;

use proptest::prelude::*;
use rug::Float;

use super::reference::{BITS, correct, oracle, reference};
use super::*;

/// The relative error of `got`, or 0 where the result is out of range on the right side; panics where it is wrong.
fn relative_error(what: &str, got: f64, want: &Float) -> f64 {
    if want.is_nan() {
        assert!(got.is_nan(), "{what}: {got:e} for NaN");
        return 0.0;
    }
    assert!(!got.is_nan(), "{what}: NaN for {want:e}");
    let size = Float::with_val(BITS, want.abs_ref());
    let (least, most) = (Float::with_val(BITS, 1) >> 151, Float::with_val(BITS, 1) << 129);
    if want.is_zero() || want.is_infinite() || size < least || size > most {
        let limit = if want.is_infinite() || size > most { f32::INFINITY } else { 0.0 };
        assert_eq!(round32(got).abs(), limit, "{what}: {got:e} for {want:e}");
        assert!(
            want.is_zero() || got == 0.0 || (got > 0.0) == (want.cmp0() == Some(Ordering::Greater)),
            "{what}: sign"
        );
        return 0.0;
    }
    let err = Float::with_val(BITS, got - want) / want;
    err.to_f64().abs()
}

/// Numbers where kernels change their way, with six neighbours on each side.
fn special() -> Vec<f32> {
    let ln2 = std::f32::consts::LN_2;
    let pi = std::f32::consts::PI;
    let mut at = vec![
        0.0,
        1.0,
        0.5,
        2.0,
        4.0,
        0.75,
        f32::MIN_POSITIVE,
        f32::MAX,
        1e-30,
        1e30,
        6.5,
        10.3,
        20.0,
        22.0,
        44.0,
        60.0,
        88.7,
        103.9,
        87.3,
        104.0,
        709.8,
        710.0,
        746.0,
        1_048_576.0,
        0.414_213_57,
        2.414_213_7,
        0.353_553_4,
        std::f32::consts::FRAC_1_SQRT_2,
        std::f32::consts::SQRT_2,
        9.19,
        10.06,
        3.92,
        16_777_216.0,
    ];
    for k in 1..40 {
        at.push(ln2 * (k as f32 - 0.5));
        at.push(ln2 * k as f32);
        at.push(pi / 4.0 * k as f32);
        at.push(2f32.powi(-3 * k));
        at.push(2f32.powi(3 * k));
        at.push(1.0 - 2f32.powi(-k / 2));
    }
    // Binary32 numbers close to multiples of π/2: those whose sine or cosine is smallest in their binades.
    at.extend([16_367_173.0 * 2f32.powi(72), 13_176_795.0 * 2f32.powi(-22), 11_472_233.0 * 2f32.powi(-20)]);
    let mut out = Vec::new();
    for v in at {
        for d in -6i32..=6 {
            let x = f32::from_bits((v.to_bits() as i32 + d).clamp(0, 0x7f7f_ffff) as u32);
            out.extend([x, -x]);
        }
    }
    out
}

#[test]
fn kernels_are_within_their_bound_of_mpfr() {
    // every 2^17-th pattern with varying low bits, and the special places
    let mut xs = special();
    xs.extend((0..1u32 << 15).map(|i| f32::from_bits(i << 17 | (i * 7919) >> 2 & 0x1ffff)).filter(|x| x.is_finite()));
    KERNELS.par_iter().for_each(|kernel| {
        for &x in &xs {
            let what = format!("{}({x:e} = {:#x})", kernel.name, x.to_bits());
            let err = relative_error(&what, (kernel.f)(f64::from(x)), &oracle(kernel.name, x));
            assert!(err <= REL, "{what}: relative error 2^{:.2}", err.log2());
        }
    });
}

#[test]
fn kernels_are_within_their_bound_at_every_1024th_input() {
    KERNELS.par_iter().for_each(|kernel| {
        let reference = reference(kernel.name);
        for i in 0..1u32 << 22 {
            let x = f32::from_bits(i << 10 | i.wrapping_mul(0x9e37_79b9) >> 22);
            if !x.is_finite() {
                continue;
            }
            let (got, want) = ((kernel.f)(f64::from(x)), reference(f64::from(x)));
            let size = want.abs();
            if (1e-45..1e39).contains(&size) {
                // the reference itself is within 2^-51
                let err = ((got - want) / want).abs();
                assert!(err <= REL, "{}({x:e} = {:#x}): {got:e} for {want:e}", kernel.name, x.to_bits());
            } else {
                let (got, want) = (round32(got), correct(kernel.name).map_or(round32(want), |f| f(x)));
                assert!(got == want || got.is_nan() && want.is_nan(), "{}({x:e}): {got:e} for {want:e}", kernel.name);
            }
        }
    });
}

/// The recorded inputs are as bad as recorded: a kernel that changes must be measured again.
#[test]
fn recorded_worst_inputs() {
    for kernel in KERNELS {
        let (bits, seen) = kernel.worst;
        let x = f32::from_bits(bits);
        let err = relative_error(kernel.name, (kernel.f)(f64::from(x)), &oracle(kernel.name, x));
        assert!(seen.exp2() <= REL);
        // the reference of the exhaustive run had an error of its own
        let slack = 2f64.powi(-51);
        assert!((err - seen.exp2()).abs() <= slack, "{}({x:e}): 2^{:.2}, recorded 2^{seen}", kernel.name, err.log2());
        assert!(err >= 2f64.powi(-54), "{}({x:e}) is no bad case: 2^{:.2}", kernel.name, err.log2());
    }
}

fn power(x: f32, p: f32) -> Float {
    rug::ops::Pow::pow(Float::with_val(BITS, x), Float::with_val(BITS, p))
}

#[test]
fn powers_at_the_edges() {
    let xs =
        [0.0f32, 1e-45, 1e-38, 0.1, 0.5, 0.999_999_94, 1.0, 1.000_000_1, 2.0, 3.0, 1e10, f32::MAX, -1.0, -2.0, -0.3];
    let ps = [0.0f32, 1.0, -1.0, 0.5, -0.5, 2.0, 3.0, -3.0, 1e-30, 1e10, -1e10, f32::MAX, 127.5, -149.0, 16_777_217.0];
    for x in xs {
        for p in ps {
            let what = format!("pow({x:e}, {p:e})");
            let err = relative_error(&what, pow(f64::from(x), f64::from(p)), &power(x, p));
            assert!(err <= REL, "{what}: 2^{:.2}", err.log2());
        }
    }
    assert!(pow(-2.0, 0.5).is_nan());
    assert!(pow(f64::NAN, 2.0).is_nan());
    assert_eq!(pow(f64::INFINITY, -0.5), 0.0);
    assert_eq!(pow(0.0, -0.5), f64::INFINITY);
    assert_eq!(pow(-3.0, 3.0), -pow(3.0, 3.0));
    assert_eq!(pow(-3.0, 4.0), pow(3.0, 4.0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40_000))]
    /// Exponents are drawn so that most results are in range, up to its ends.
    #[test]
    fn powers_are_within_their_bound(bits in 1u32..0x7f80_0000, near_one in any::<bool>(), log2 in -152.0..130.0f32) {
        let x = if near_one { f32::from_bits(0x3f80_0000 + bits % 0x20_0000 - 0x10_0000) } else { f32::from_bits(bits) };
        let p = if x == 1.0 { log2 } else { (f64::from(log2) / f64::from(x).log2()) as f32 };
        let what = format!("pow({x:e}, {p:e})");
        let err = relative_error(&what, pow(f64::from(x), f64::from(p)), &power(x, p));
        prop_assert!(err <= REL, "{}: 2^{:.2}", what, err.log2());
    }

    /// The power serves exponents that are no binary32 values as well, such as p − 1 in a derivative.
    #[test]
    fn powers_of_binary64_exponents(bits in 1u32..0x7f80_0000, log2 in -152.0..130.0f64) {
        let x = f32::from_bits(bits);
        let p = if x == 1.0 { log2 } else { log2 / f64::from(x).log2() };
        let want = rug::ops::Pow::pow(Float::with_val(BITS, x), Float::with_val(BITS, p));
        let what = format!("pow({x:e}, {p:e})");
        let err = relative_error(&what, pow(f64::from(x), p), &want);
        prop_assert!(err <= REL, "{}: 2^{:.2}", what, err.log2());
    }

    /// These serve arguments that are no binary32 values as well.
    #[test]
    fn binary64_arguments(e in -100i32..100, m in 1.0..2.0f64, negative in any::<bool>()) {
        let x = if negative { -m * 2f64.powi(e) } else { m * 2f64.powi(e) };
        let v = Float::with_val(BITS, x);
        for (name, got, want) in [
            ("exp", exp(x), v.clone().exp()),
            ("expm1", expm1(x), v.clone().exp_m1()),
            ("log", log(x), v.clone().ln()),
            ("log1p", log1p(x), v.clone().ln_1p()),
            ("tanh", tanh(x), v.clone().tanh()),
            ("sigmoid", sigmoid(x), ((-v).exp() + 1u32).recip()),
        ] {
            let err = relative_error(name, got, &want);
            prop_assert!(err <= REL, "{name}({x:e}): 2^{:.2}", err.log2());
        }
    }
}

#[test]
fn vectors_and_scalars_have_the_same_bits() {
    let x: Vec<f32> = (0..1u32 << 16).map(|i| f32::from_bits(i << 16 | i)).collect();
    let mut y = vec![0.0; x.len()];
    macro_rules! compare {
        ($($f:ident)+) => {$(
            map(&mut y, &x, #[inline(always)] |x| $f(x));
            for (&x, &y) in x.iter().zip(&y) {
                let one = round32(std::hint::black_box($f as fn(f64) -> f64)(f64::from(x)));
                assert!(one.to_bits() == y.to_bits() || one.is_nan() && y.is_nan(), "{}({x:e})", stringify!($f));
            }
        )+};
    }
    compare!(exp expm1 log log1p tanh sigmoid softplus erf erfc erf_derivative sin cos tan asin acos atan sinh cosh);
    compare!(asinh acosh atanh);
    for p in [0.7, -3.0] {
        map(
            &mut y,
            &x,
            #[inline(always)]
            |x| pow(x, p),
        );
        for (&x, &y) in x.iter().zip(&y) {
            let one = round32(std::hint::black_box(pow as fn(f64, f64) -> f64)(f64::from(x), p));
            assert!(one.to_bits() == y.to_bits() || one.is_nan() && y.is_nan(), "pow({x:e}, {p})");
        }
    }
}
