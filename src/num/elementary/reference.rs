//! What the kernels are compared with; shared by their tests and `examples/exhaust.rs`.

use rug::Float;
use rug::float::Constant;

/// Enough for a relative error of 2^−60 wherever the formulas of [`oracle`] cancel.
pub const BITS: u32 = 300;

/// The function by its definition, in MPFR.
pub fn oracle(name: &str, x: f32) -> Float {
    let x = Float::with_val(BITS, x);
    match name {
        "exp" => x.exp(),
        "expm1" => x.exp_m1(),
        "log" => x.ln(),
        "log1p" => x.ln_1p(),
        "tanh" => x.tanh(),
        "sigmoid" => ((-x).exp() + 1u32).recip(),
        // e^x overflows even MPFR's exponents for the largest x, where softplus x = x to any precision
        "softplus" if x > 1e6 => x,
        "softplus" => x.exp().ln_1p(),
        "erf" => x.erf(),
        "erfc" => x.erfc(),
        "erf_derivative" => (-x.square()).exp() * 2u32 / Float::with_val(BITS, Constant::Pi).sqrt(),
        "sin" => x.sin(),
        "cos" => x.cos(),
        "tan" => x.tan(),
        "asin" => x.asin(),
        "acos" => x.acos(),
        "atan" => x.atan(),
        "sinh" => x.sinh(),
        "cosh" => x.cosh(),
        "asinh" => x.asinh(),
        "acosh" => x.acosh(),
        "atanh" => x.atanh(),
        _ => panic!("no oracle for {name}"),
    }
}

/// Another binary64 implementation, correctly rounded (CORE-MATH) or made of two or three such steps without
/// cancellation: within 2^−51 for arguments that hold binary32 values.
pub fn reference(name: &str) -> fn(f64) -> f64 {
    match name {
        "exp" => core_math::exp,
        "expm1" => core_math::expm1,
        "log" => core_math::log,
        "log1p" => core_math::log1p,
        "tanh" => core_math::tanh,
        "sigmoid" => |x| 1.0 / (1.0 + core_math::exp(-x)),
        "softplus" => |x| x.max(0.0) + core_math::log1p(core_math::exp(-x.abs())),
        "erf" => core_math::erf,
        "erfc" => core_math::erfc,
        // 2/√π; the square of a binary32 value is exact
        "erf_derivative" => |x| std::f64::consts::FRAC_2_SQRT_PI * core_math::exp(-x * x),
        "sin" => core_math::sin,
        "cos" => core_math::cos,
        "tan" => core_math::tan,
        "asin" => core_math::asin,
        "acos" => core_math::acos,
        "atan" => core_math::atan,
        "sinh" => core_math::sinh,
        "cosh" => core_math::cosh,
        "asinh" => core_math::asinh,
        "acosh" => core_math::acosh,
        "atanh" => core_math::atanh,
        _ => panic!("no reference for {name}"),
    }
}

/// The correctly rounded binary32 function (CORE-MATH), where there is one.
pub fn correct(name: &str) -> Option<fn(f32) -> f32> {
    Some(match name {
        "exp" => core_math::expf,
        "expm1" => core_math::expm1f,
        "log" => core_math::logf,
        "log1p" => core_math::log1pf,
        "tanh" => core_math::tanhf,
        "erf" => core_math::erff,
        "erfc" => core_math::erfcf,
        "sin" => core_math::sinf,
        "cos" => core_math::cosf,
        "tan" => core_math::tanf,
        "asin" => core_math::asinf,
        "acos" => core_math::acosf,
        "atan" => core_math::atanf,
        "sinh" => core_math::sinhf,
        "cosh" => core_math::coshf,
        "asinh" => core_math::asinhf,
        "acosh" => core_math::acoshf,
        "atanh" => core_math::atanhf,
        _ => return None,
    })
}
