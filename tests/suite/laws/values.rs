//! Numbers that are worth trying: zeros of both signs, subnormals, powers of two and their
//! neighbours, large magnitudes, repetitions and near-cancellations.

use super::rng::Rng;

/// Where the numbers of a case come from.
#[derive(Clone, Copy, Debug)]
pub enum Palette {
    /// Around 1.
    Plain,
    /// Around 1, with zeros, repetitions, negations and neighbours of earlier entries.
    Engineered,
    /// A large offset and small differences.
    Offset,
    /// Around the smallest normal number, and subnormals.
    Tiny,
    /// Up to the largest numbers.
    Large,
    /// All exponents.
    Any,
}

pub const PALETTES: [Palette; 6] =
    [Palette::Plain, Palette::Engineered, Palette::Offset, Palette::Tiny, Palette::Large, Palette::Any];

/// The next binary32 number `steps` places away, signed, across zero.
pub fn neighbour(x: f32, steps: i64) -> f32 {
    let ordered = |b: u32| if b >> 31 == 1 { -i64::from(b & 0x7fff_ffff) } else { i64::from(b) };
    let k = (ordered(x.to_bits()) + steps).clamp(-0x7f7f_ffff, 0x7f7f_ffff);
    let v = f32::from_bits(k.unsigned_abs() as u32);
    if k < 0 || (k == 0 && x.is_sign_negative()) { -v } else { v }
}

fn power(rng: &mut Rng, low: i32, high: i32) -> f32 {
    let e = low + rng.below((high - low) as usize) as i32;
    let p = 2f64.powi(e) as f32;
    let p = neighbour(p, rng.below(5) as i64 - 2);
    if rng.one_in(2) { -p } else { p }
}

fn plain(rng: &mut Rng) -> f32 {
    let scale = rng.pick(&[0.01, 0.3, 1.0, 1.0, 3.0, 20.0]);
    (rng.signed() * scale) as f32
}

/// One number, given the ones before.
fn value(rng: &mut Rng, palette: Palette, before: &[f32]) -> f32 {
    let special = |rng: &mut Rng| match rng.below(8) {
        0 => 0.0,
        1 => -0.0,
        2 => power(rng, -4, 5),
        3 if !before.is_empty() => rng.pick(before),
        4 if !before.is_empty() => -rng.pick(before),
        5 if !before.is_empty() => {
            let (b, s) = (rng.pick(before), rng.below(5) as i64 - 2);
            neighbour(b, s)
        }
        6 if !before.is_empty() => {
            let (b, s) = (rng.pick(before), rng.below(5) as i64 - 2);
            -neighbour(b, s)
        }
        _ => rng.below(7) as f32 - 3.0,
    };
    match palette {
        Palette::Plain => plain(rng),
        Palette::Engineered => {
            if rng.one_in(3) {
                plain(rng)
            } else {
                special(rng)
            }
        }
        Palette::Offset => match before.first() {
            None => power(rng, 3, 14),
            Some(&b) => b + plain(rng) * 2f32.powi(-(rng.below(12) as i32)),
        },
        Palette::Tiny => match rng.below(4) {
            0 => f32::from_bits(rng.below(1 << 23) as u32),
            1 => -f32::from_bits(rng.below(40) as u32),
            2 => power(rng, -149, -110),
            _ => plain(rng) * 2f32.powi(-120),
        },
        Palette::Large => match rng.below(5) {
            0 => power(rng, 100, 128),
            1 => f32::MAX * rng.signed() as f32,
            2 => plain(rng),
            _ => plain(rng) * 1e18,
        },
        Palette::Any => match rng.below(3) {
            0 => special(rng),
            1 => power(rng, -149, 127),
            _ => plain(rng) * 2f64.powi(rng.below(240) as i32 - 120) as f32,
        },
    }
}

/// n numbers of one palette.
pub fn values(rng: &mut Rng, palette: Palette, n: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(n);
    for _ in 0..n {
        let v = value(rng, palette, &out);
        out.push(if v.is_finite() { v } else { 1.0 });
    }
    out
}

/// How large the errors of a case are.
#[derive(Clone, Copy, Debug)]
pub enum Errors {
    None,
    /// Some entries only, a few ulps.
    Few,
    /// 2^−24 to 2^−12 of each entry.
    Relative,
    /// 2^−12 to 2 of each entry.
    Wide,
    /// The same absolute error for all, of the size of the largest entry's ulps.
    Absolute,
    /// Around the smallest subnormal.
    Tiny,
}

pub const ERRORS: [Errors; 7] =
    [Errors::None, Errors::Few, Errors::Relative, Errors::Relative, Errors::Wide, Errors::Absolute, Errors::Tiny];

/// An error for each of the numbers.
pub fn errors(rng: &mut Rng, kind: Errors, x: &[f32]) -> Vec<f64> {
    let top = x.iter().fold(0f64, |m, v| m.max(f64::from(v.abs())));
    let absolute = top * 2f64.powi(-(rng.below(26) as i32)) * (1.0 + rng.unit());
    x.iter()
        .map(|&v| {
            let size = f64::from(v.abs());
            let factor = 1.0 + rng.unit();
            match kind {
                Errors::None => 0.0,
                Errors::Few if rng.one_in(2) => 0.0,
                Errors::Few => size * 2f64.powi(-24 + rng.below(4) as i32),
                Errors::Relative => size * factor * 2f64.powi(-24 + rng.below(12) as i32),
                Errors::Wide => (size + 1e-3 * top) * factor * 2f64.powi(-12 + rng.below(13) as i32),
                Errors::Absolute => absolute,
                Errors::Tiny => factor * 2f64.powi(-155 + rng.below(20) as i32),
            }
        })
        .collect()
}

/// The binary64 number c + t·e for −1 ≤ t ≤ 1, certainly within e of c; the corner itself where it is a
/// binary64 number.
pub fn within(c: f64, e: f64, t: f64) -> f64 {
    let (lo, hi) = ends(c, e);
    if t == 1.0 {
        hi
    } else if t == -1.0 {
        lo
    } else {
        (c + t * e).clamp(lo, hi)
    }
}

/// The outermost binary64 numbers that are certainly within e of c.
pub fn ends(c: f64, e: f64) -> (f64, f64) {
    let exact = |s: f64, e: f64| {
        // 2Sum: the error of s = c + e is a binary64 number
        let bb = s - c;
        (c - (s - bb)) + (e - bb) == 0.0
    };
    let (hi, lo) = (c + e, c - e);
    (if exact(lo, -e) { lo } else { lo.next_up().min(c) }, if exact(hi, e) { hi } else { hi.next_down().max(c) })
}

/// A binary32 number within e of c, near c + t·e; `fallback` is one.
pub fn narrow_within(c: f64, e: f64, t: f64, fallback: f32) -> f32 {
    let (lo, hi) = ends(c, e);
    let mut v = within(c, e, t) as f32;
    if f64::from(v) > hi {
        v = neighbour(v, -1);
    }
    if f64::from(v) < lo {
        v = neighbour(v, 1);
    }
    if v.is_finite() && f64::from(v) <= hi && f64::from(v) >= lo { v } else { fallback }
}
