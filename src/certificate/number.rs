//! Numbers as they stand in a certificate: finite, and exact when read back.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A finite binary64 number.
///
/// JSON knows neither NaN nor infinity, and `null` means "not computed" in a certificate, so that a
/// value that isn't finite must be dealt with before it gets here. Printed with the fewest decimals
/// that read back to the same bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Num(f64);

impl Num {
    /// Zero.
    pub const ZERO: Num = Num(0.0);

    /// `None` for NaN and ±∞.
    pub fn new(x: f64) -> Option<Num> {
        x.is_finite().then_some(Num(x))
    }

    /// A number that is known to be finite.
    ///
    /// # Panics
    /// If it isn't: the caller has broken the invariant that only finite figures are certified.
    #[track_caller]
    pub fn of(x: f64) -> Num {
        assert!(x.is_finite(), "a figure of a certificate must be finite, not {x}");
        Num(x)
    }

    /// The number.
    #[inline]
    pub fn get(self) -> f64 {
        self.0
    }

    /// The number in hexadecimal, exactly, as C's `%a` prints it.
    pub fn hex(self) -> String {
        hex(self.0)
    }
}

impl Serialize for Num {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_f64(self.0)
    }
}

impl<'de> Deserialize<'de> for Num {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Num, D::Error> {
        Num::new(f64::deserialize(d)?).ok_or_else(|| de::Error::custom("a number that is not finite"))
    }
}

/// A closed interval that contains a real number; both ends are finite.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Ends", into = "Ends")]
pub struct Enclosure {
    lo: f64,
    hi: f64,
}

impl Enclosure {
    /// The exact zero.
    pub const ZERO: Enclosure = Enclosure { lo: 0.0, hi: 0.0 };

    /// `None` unless lo ≤ hi and both are finite.
    pub fn new(lo: f64, hi: f64) -> Option<Enclosure> {
        (lo.is_finite() && hi.is_finite() && lo <= hi).then_some(Enclosure { lo, hi })
    }

    /// An interval that is known to be one.
    ///
    /// # Panics
    /// If lo > hi or an end isn't finite.
    #[track_caller]
    pub fn of(lo: f64, hi: f64) -> Enclosure {
        Enclosure::new(lo, hi).unwrap_or_else(|| panic!("an enclosure needs finite lo ≤ hi, not [{lo}, {hi}]"))
    }

    /// The lower end.
    #[inline]
    pub fn lo(self) -> f64 {
        self.lo
    }

    /// The upper end.
    #[inline]
    pub fn hi(self) -> f64 {
        self.hi
    }
}

/// An [`Enclosure`] as JSON has it: each end in decimal and in hexadecimal.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ends {
    lo: Num,
    hi: Num,
    lo_hex: String,
    hi_hex: String,
}

impl From<Enclosure> for Ends {
    fn from(e: Enclosure) -> Ends {
        // RFC 8785 has no −0: it becomes 0 (−0 + 0 = +0) in both figures.
        let (lo, hi) = (e.lo + 0.0, e.hi + 0.0);
        Ends { lo: Num(lo), hi: Num(hi), lo_hex: hex(lo), hi_hex: hex(hi) }
    }
}

impl TryFrom<Ends> for Enclosure {
    type Error = String;

    fn try_from(e: Ends) -> Result<Enclosure, String> {
        agree(e.lo, &e.lo_hex)?;
        agree(e.hi, &e.hi_hex)?;
        Enclosure::new(e.lo.0, e.hi.0).ok_or_else(|| format!("an enclosure from {} to {}", e.lo.0, e.hi.0))
    }
}

/// One value, in decimal and in hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Both", into = "Both")]
pub struct Exact(pub Num);

/// An [`Exact`] as JSON has it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Both {
    value: Num,
    hex: String,
}

impl From<Exact> for Both {
    fn from(e: Exact) -> Both {
        // as for `Ends`
        let value = Num(e.0.0 + 0.0);
        Both { value, hex: value.hex() }
    }
}

impl TryFrom<Both> for Exact {
    type Error = String;

    fn try_from(b: Both) -> Result<Exact, String> {
        agree(b.value, &b.hex)?;
        Ok(Exact(b.value))
    }
}

/// Do a decimal and a hexadecimal figure name the same number?
pub(super) fn agree(dec: Num, hexadecimal: &str) -> Result<(), String> {
    let expected = dec.hex();
    if expected == hexadecimal {
        Ok(())
    } else {
        Err(format!("the decimal {} is {expected}, but {hexadecimal:?} stands beside it", dec.0))
    }
}

/// A finite binary64 number in hexadecimal, exactly, as C's `%a` prints it: `-0x1.8p-24`.
fn hex(x: f64) -> String {
    let bits = x.to_bits();
    let sign = if bits >> 63 == 1 { "-" } else { "" };
    let fraction = bits & 0x000f_ffff_ffff_ffff;
    let (lead, exponent) = match (bits >> 52) & 0x7ff {
        0 if fraction == 0 => (0, 0),
        0 => (0, -1022),
        e => (1, e as i64 - 1023),
    };
    let digits = format!("{fraction:013x}");
    let digits = digits.trim_end_matches('0');
    let point = if digits.is_empty() { "" } else { "." };
    format!("{sign}0x{lead}{point}{digits}p{exponent:+}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_is_what_c_prints() {
        // Each right side was printed by printf("%a").
        for (x, want) in [
            (0.0, "0x0p+0"),
            (-0.0, "-0x0p+0"),
            (1.0, "0x1p+0"),
            (-0.1, "-0x1.999999999999ap-4"),
            (1.5 * 2f64.powi(-24), "0x1.8p-24"),
            (f64::from_bits(1), "0x0.0000000000001p-1022"),
            (f64::MAX, "0x1.fffffffffffffp+1023"),
        ] {
            assert_eq!(hex(x), want);
        }
    }

    #[test]
    fn a_number_reads_back_to_the_same_bits() {
        for x in [0.1, -0.0, 5e-324, f64::MAX, 1e22, 0.1f32.into(), 2f64.powi(-149)] {
            let json = serde_json::to_string(&Num::of(x)).unwrap();
            let back: Num = serde_json::from_str(&json).unwrap();
            assert_eq!(back.get().to_bits(), x.to_bits(), "{json}");
        }
        assert_eq!(Num::new(f64::NAN), None);
        assert_eq!(Num::new(f64::INFINITY), None);
        assert!(serde_json::from_str::<Num>("null").is_err());
        assert!(serde_json::from_str::<Num>("1e999").is_err());
    }

    #[test]
    fn an_enclosure_with_contradicting_figures_is_refused() {
        let json = serde_json::to_string(&Enclosure::of(0.25, 0.5)).unwrap();
        assert_eq!(json, r#"{"lo":0.25,"hi":0.5,"lo_hex":"0x1p-2","hi_hex":"0x1p-1"}"#);
        assert_eq!(serde_json::from_str::<Enclosure>(&json).unwrap(), Enclosure::of(0.25, 0.5));
        let tampered = json.replace("0.25", "0.2");
        assert!(serde_json::from_str::<Enclosure>(&tampered).unwrap_err().to_string().contains("0x1p-2"));
        let upside_down = r#"{"lo":0.5,"hi":0.25,"lo_hex":"0x1p-1","hi_hex":"0x1p-2"}"#;
        assert!(serde_json::from_str::<Enclosure>(upside_down).is_err());
    }
}
