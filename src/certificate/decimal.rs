//! Short decimals that are rounded outward, exactly.

/// Digits after the first that are computed before looking at all of them.
const GUARD: usize = 30;
/// A binary64 number has at most 767 significant decimal digits.
const ALL: usize = 770;

/// The smallest number with `digits` significant decimals that is not below x.
///
/// Finite x only. Zero is `0`, and nothing else is.
pub fn up(x: f64, digits: usize) -> String {
    if x < 0.0 { format!("-{}", toward(-x, digits, false)) } else { toward(x, digits, true) }
}

/// The largest number with `digits` significant decimals that is not above x.
pub fn down(x: f64, digits: usize) -> String {
    if x < 0.0 { format!("-{}", toward(-x, digits, true)) } else { toward(x, digits, false) }
}

/// x in full: the fewest decimals that read back to the same bits.
pub fn full(x: f64) -> String {
    let a = x.abs();
    if a == 0.0 {
        "0".into()
    } else if (1e-2..1e7).contains(&a) {
        format!("{x}")
    } else {
        format!("{x:e}")
    }
}

/// x ≥ 0 with `digits` significant decimals, away from zero or toward it.
fn toward(x: f64, digits: usize, away: bool) -> String {
    assert!(x.is_finite() && digits > 0, "{x} in {digits} digits");
    if x == 0.0 {
        return "0".into();
    }
    let (mut kept, mut exponent, mut exact) = truncate(x, digits, GUARD);
    if exact {
        // The guard digits are all 0: rounding may have made them so.
        (kept, exponent, exact) = truncate(x, digits, ALL);
    }
    if away && !exact {
        let carry = kept.iter().rposition(|&d| d != b'9');
        match carry {
            Some(i) => {
                kept[i] += 1;
                kept[i + 1..].fill(b'0');
            }
            None => {
                kept.fill(b'0');
                kept[0] = b'1';
                exponent += 1;
            }
        }
    }
    place(&kept, exponent)
}

/// The first `digits` of x > 0 as printed with `more` further ones, its decimal exponent, and
/// whether the further ones are all 0.
fn truncate(x: f64, digits: usize, more: usize) -> (Vec<u8>, i32, bool) {
    // Rust prints the exact value, correctly rounded to the digits asked for.
    let s = format!("{x:.*e}", digits - 1 + more);
    let (mantissa, exponent) = s.split_once('e').expect("scientific notation has an exponent");
    let mut all: Vec<u8> = mantissa.bytes().filter(u8::is_ascii_digit).collect();
    let rest = all.split_off(digits);
    (all, exponent.parse().expect("an exponent is an integer"), rest.iter().all(|&d| d == b'0'))
}

/// Decimal digits d.ddd × 10^exponent, without an exponent where the point falls into or just
/// before the digits.
fn place(digits: &[u8], exponent: i32) -> String {
    let text = std::str::from_utf8(digits).expect("digits are ASCII");
    let n = digits.len() as i32;
    if (0..n).contains(&exponent) {
        let (whole, fraction) = text.split_at(exponent as usize + 1);
        if fraction.is_empty() { whole.into() } else { format!("{whole}.{fraction}") }
    } else if (-2..0).contains(&exponent) {
        format!("0.{}{text}", "0".repeat((-exponent - 1) as usize))
    } else {
        let (whole, fraction) = text.split_at(1);
        let point = if fraction.is_empty() { "" } else { "." };
        format!("{whole}{point}{fraction}e{exponent}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rug::Float;

    #[test]
    fn rounds_outward() {
        for (x, n, d, u) in [
            (0.0, 3, "0", "0"),
            (1.0, 3, "1.00", "1.00"),
            (2.5, 2, "2.5", "2.5"),
            // The binary64 number nearest to 0.001 is a little above it.
            (0.001, 3, "1.00e-3", "1.01e-3"),
            // 0.9's is above it too; 0.7's is below.
            (0.7, 1, "0.6", "0.7"),
            (999.9, 3, "999", "1.00e3"),
            (1234.0, 3, "1.23e3", "1.24e3"),
            (5e-324, 3, "4.94e-324", "4.95e-324"),
            (-1.0 / 3.0, 3, "-0.334", "-0.333"),
            (f64::MAX, 2, "1.7e308", "1.8e308"),
            (1.0 - f64::EPSILON / 2.0, 4, "0.9999", "1.000"),
        ] {
            assert_eq!((down(x, n).as_str(), up(x, n).as_str()), (d, u), "{x}");
        }
    }

    #[test]
    fn full_figures_read_back() {
        for x in [0.1, 1e-10, 123456.0, 1e7, 5e-324, -2.5e-8] {
            assert_eq!(full(x).parse::<f64>().unwrap(), x);
        }
        assert_eq!(full(0.0), "0");
        assert_eq!(full(0.001), "1e-3");
        assert_eq!(full(0.01), "0.01");
    }

    proptest! {
        #[test]
        fn the_exact_value_lies_between(bits in 1u64..0x7ff0_0000_0000_0000, negative: bool, n in 1usize..6) {
            let x = f64::from_bits(bits) * if negative { -1.0 } else { 1.0 };
            let exact = Float::with_val(4000, x);
            let read = |s: String| Float::with_val(4000, Float::parse(s).unwrap());
            let (lo, hi) = (read(down(x, n)), read(up(x, n)));
            prop_assert!(lo <= exact && exact <= hi);
            // One unit in the last place apart at most.
            let gap = Float::with_val(60, Float::with_val(4000, &hi - &lo) / exact.abs()).to_f64();
            prop_assert!(gap <= 1.001 * 10f64.powi(1 - n as i32));
        }
    }
}
