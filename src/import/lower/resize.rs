//! Resize and Upsample: along each axis every result is a fixed combination of few entries.
//!
//! Coordinates and coefficients follow ONNX's reference (`Resize` in Operators.md); they are
//! computed in binary64 and rounded once, and count as exact constants of the graph.

use super::call::{Call, Done, Problem, invalid, unsupported};
use crate::data::Data;
use crate::import::index::{axis, built, strides};
use crate::ir::ValueId;
use crate::ops;

/// How one axis is resampled.
struct Axis {
    /// Entries before and after.
    input: usize,
    output: usize,
    /// As stated or implied.
    scale: f64,
    /// Part of the axis that tf_crop_and_resize reads.
    roi: (f64, f64),
}

/// The choices that hold for all axes.
struct Mode {
    kind: String,
    transform: String,
    nearest: String,
    cubic: f64,
    exclude_outside: bool,
    antialias: bool,
    extrapolation: f32,
}

/// The entries that a result is made of and their coefficients; `None` outside the axis.
type Taps = Option<Vec<(usize, f64)>>;

pub(super) fn resize(c: &mut Call) -> Done {
    let shape = c.shape(0)?;
    let rank = shape.len();
    let modern = c.node.op == "Resize" && c.opset >= 11;
    let mode = Mode {
        kind: c.text("mode", "nearest")?,
        transform: c.text("coordinate_transformation_mode", if modern { "half_pixel" } else { "asymmetric" })?,
        nearest: c.text("nearest_mode", if modern { "round_prefer_floor" } else { "floor" })?,
        cubic: f64::from(c.float("cubic_coeff_a", -0.75)?),
        exclude_outside: c.flag("exclude_outside", false)?,
        antialias: c.flag("antialias", false)?,
        extrapolation: c.float("extrapolation_value", 0.0)?,
    };
    let axes: Vec<usize> = match c.ints("axes")? {
        Some(list) => list.iter().map(|&a| axis(a, rank)).collect::<Result<_, _>>().map_err(invalid)?,
        None => (0..rank).collect(),
    };
    let mut plan: Vec<Axis> =
        shape.iter().map(|&n| Axis { input: n, output: n, scale: 1.0, roi: (0.0, 1.0) }).collect();
    let (scales_at, sizes_at) = if modern { (2, Some(3)) } else { (1, None) };
    let sizes = match sizes_at.filter(|&k| c.has(k)) {
        Some(k) if !c.known(k)?.is_empty() => Some(c.known_ints(k)?),
        _ => None,
    };
    if let Some(sizes) = sizes {
        if sizes.len() != axes.len() {
            return Err(format!("{} sizes for {} axes", sizes.len(), axes.len()).into());
        }
        let policy = c.text("keep_aspect_ratio_policy", "stretch")?;
        let ratio = |(&k, &s): (&usize, &i64)| s as f64 / shape[k] as f64;
        let ratios: Vec<f64> = axes.iter().zip(&sizes).map(ratio).collect();
        let common = match policy.as_str() {
            "stretch" => None,
            "not_larger" => Some(ratios.iter().copied().fold(f64::INFINITY, f64::min)),
            "not_smaller" => Some(ratios.iter().copied().fold(0.0, f64::max)),
            other => return Err(invalid(format!("keep_aspect_ratio_policy \"{other}\""))),
        };
        for (j, &k) in axes.iter().enumerate() {
            plan[k].scale = common.unwrap_or(ratios[j]);
            plan[k].output = match common {
                None => usize::try_from(sizes[j]).map_err(|_| format!("size {}", sizes[j]))?,
                // to the nearest whole number, halves up
                Some(s) => (s * shape[k] as f64 + 0.5).floor() as usize,
            };
        }
    } else {
        let scales = scales(c, scales_at)?;
        if scales.len() != axes.len() {
            return Err(format!("{} scales for {} axes", scales.len(), axes.len()).into());
        }
        for (&k, &s) in axes.iter().zip(&scales) {
            if !(s > 0.0 && s.is_finite()) {
                return Err(invalid(format!("scale {s}")));
            }
            plan[k].scale = s;
            plan[k].output = (s * shape[k] as f64).floor() as usize;
        }
    }
    if mode.transform == "tf_crop_and_resize" {
        let roi = c.known(1)?;
        let roi = roi.as_f32().filter(|r| r.len() == 2 * axes.len()).ok_or_else(|| invalid("roi"))?.to_vec();
        for (j, &k) in axes.iter().enumerate() {
            plan[k].roi = (f64::from(roi[j]), f64::from(roi[axes.len() + j]));
        }
    }
    let out: Vec<usize> = plan.iter().map(|a| a.output).collect();
    built(&out)?;
    let mut y = c.graph(0)?;
    for (k, a) in plan.iter().enumerate() {
        let cropped = mode.transform == "tf_crop_and_resize" && a.roi != (0.0, 1.0);
        if a.scale == 1.0 && a.input == a.output && !cropped {
            continue;
        }
        let taps = (0..a.output).map(|x| taps(&mode, a, x)).collect::<Result<Vec<_>, _>>()?;
        y = along(c, y, k, &taps, mode.extrapolation)?;
    }
    c.set(0, y);
    Ok(())
}

fn scales(c: &Call, k: usize) -> Result<Vec<f64>, Problem> {
    if c.node.op == "Upsample" && c.opset < 9 {
        return match c.node.attributes.get("scales") {
            Some(crate::import::model::Attribute::Floats(v)) => Ok(v.iter().map(|&x| f64::from(x)).collect()),
            _ => Err(invalid("attribute \"scales\" is missing")),
        };
    }
    match &c.known(k)?.data {
        Data::F32(v) => Ok(v.iter().map(|&x| f64::from(x)).collect()),
        _ => Err(invalid("the scales aren't FLOAT")),
    }
}

/// Where position x of the result lies on the input axis, and what it is made of.
fn taps(mode: &Mode, a: &Axis, x: usize) -> Result<Taps, Problem> {
    let (n, x) = (a.input as f64, x as f64);
    // the length that the scale asks for, before it is cut to a whole number
    let length = a.scale * n;
    let at = match mode.transform.as_str() {
        "align_corners" if length == 1.0 => 0.0,
        "align_corners" => x * (n - 1.0) / (length - 1.0),
        "asymmetric" => x / a.scale,
        "half_pixel" => (x + 0.5) / a.scale - 0.5,
        "pytorch_half_pixel" if length == 1.0 => -0.5,
        "pytorch_half_pixel" => (x + 0.5) / a.scale - 0.5,
        "tf_half_pixel_for_nn" => (x + 0.5) / a.scale,
        "half_pixel_symmetric" => {
            let offset = n / 2.0 * (1.0 - a.output as f64 / length);
            offset + (x + 0.5) / a.scale - 0.5
        }
        "tf_crop_and_resize" => {
            let (from, to) = a.roi;
            let at = if length == 1.0 {
                (to - from) * (n - 1.0) / 2.0
            } else {
                x * (to - from) * (n - 1.0) / (length - 1.0)
            } + from * (n - 1.0);
            if at < 0.0 || at > n - 1.0 {
                return Ok(None);
            }
            at
        }
        other => return Err(unsupported(format!("coordinate_transformation_mode \"{other}\""))),
    };
    // the entry to the left of a whole position is preferred: its fraction is then 1
    let fraction = if at.fract() == 0.0 { 1.0 } else { at - at.floor() };
    let left = if at.fract() == 0.0 { at - 1.0 } else { at.floor() };
    // smaller scales widen the kernel when antialiasing
    let s = if mode.antialias { a.scale.min(1.0) } else { 1.0 };
    let (first, mut weights): (f64, Vec<f64>) = match mode.kind.as_str() {
        "nearest" => (left, nearest(&mode.nearest, fraction)?),
        "linear" | "bilinear" | "trilinear" => widened(1.0, s, left, fraction, &|d| (1.0 - d.abs()).max(0.0)),
        "cubic" => widened(2.0, s, left, fraction, &|d| keys(mode.cubic, d.abs())),
        other => return Err(unsupported(format!("mode \"{other}\""))),
    };
    let inside = |i: f64| (0.0..n).contains(&i);
    if mode.exclude_outside {
        for (j, w) in weights.iter_mut().enumerate() {
            if !inside(first + j as f64) {
                *w = 0.0;
            }
        }
        let sum: f64 = weights.iter().sum();
        weights.iter_mut().for_each(|w| *w /= sum);
    }
    // positions outside repeat the edge; the edge's coefficients are added up
    let mut out: Vec<(usize, f64)> = Vec::new();
    for (j, &w) in weights.iter().enumerate().filter(|(_, w)| **w != 0.0) {
        let i = (first + j as f64).clamp(0.0, n - 1.0) as usize;
        match out.iter_mut().find(|(k, _)| *k == i) {
            Some((_, sum)) => *sum += w,
            None => out.push((i, w)),
        }
    }
    Ok(Some(out))
}

/// Coefficients of the left and right neighbour.
fn nearest(mode: &str, fraction: f64) -> Result<Vec<f64>, Problem> {
    let right = fraction == 1.0
        || match mode {
            "round_prefer_floor" => fraction > 0.5,
            "round_prefer_ceil" => fraction >= 0.5,
            "floor" => false,
            "ceil" => true,
            other => return Err(invalid(format!("nearest_mode \"{other}\""))),
        };
    Ok(if right { vec![0.0, 1.0] } else { vec![1.0, 0.0] })
}

/// Coefficients of a kernel of half-width `half`, widened by 1/s: position of the first entry, and
/// the values kernel(s·distance), normalised when widened.
fn widened(half: f64, s: f64, left: f64, fraction: f64, kernel: &dyn Fn(f64) -> f64) -> (f64, Vec<f64>) {
    let start = (-half / s).floor() + 1.0;
    let count = (2.0 - 2.0 * start) as usize;
    let mut weights: Vec<f64> = (0..count).map(|j| kernel(s * (start + j as f64 - fraction))).collect();
    if s < 1.0 {
        let sum: f64 = weights.iter().sum();
        weights.iter_mut().for_each(|w| *w /= sum);
    }
    (left + start, weights)
}

/// Keys' cubic kernel: (A+2)d³ − (A+3)d² + 1 up to 1, A(d³ − 5d² + 8d − 4) up to 2.
/// R. Keys, "Cubic convolution interpolation for digital image processing", 1981.
fn keys(a: f64, d: f64) -> f64 {
    if d <= 1.0 {
        ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0
    } else if d < 2.0 {
        ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a
    } else {
        0.0
    }
}

/// Applies the taps along axis k. Where one entry with coefficient 1 is all, nothing is computed.
fn along(c: &mut Call, x: ValueId, k: usize, taps: &[Taps], extrapolation: f32) -> Result<ValueId, Problem> {
    let shape = c.sizes(x);
    let own = strides(&shape);
    let mut out = shape.clone();
    out[k] = taps.len();
    let width = taps.iter().flatten().map(Vec::len).max().unwrap_or(1).max(1);
    let (outer, inner) = (shape[..k].iter().product::<usize>(), own[k]);
    let mut windows = vec![outer, taps.len(), inner];
    windows.push(width);
    built(&windows)?;
    let block = shape[k] * inner;
    let index = crate::import::index::from_fn(&windows, |i| {
        let (entry, _) = taps[i[1]].as_ref()?.get(i[3])?;
        Some(i[0] * block + entry * inner + i[2])
    });
    let copies = taps.iter().all(|t| t.as_ref().is_some_and(|t| t.len() == 1 && t[0].1 == 1.0));
    let gathered = c.gather(x, windows.clone(), index)?;
    if copies {
        return c.reshape(gathered, out);
    }
    let weights: Vec<f32> = taps
        .iter()
        .flat_map(|t| (0..width).map(move |j| t.as_ref().and_then(|t| t.get(j)).map_or(0.0, |(_, w)| *w as f32)))
        .collect();
    let weights = c.tensor(&format!("coefficients of axis {k}"), vec![taps.len(), 1, width], weights);
    let products = c.binary(ops::Mul, gathered, weights)?;
    let y = c.sum(products)?;
    let y = c.reshape(y, out.clone())?;
    if extrapolation != 0.0 && taps.iter().any(Option::is_none) {
        let value = c.scalar("extrapolation", extrapolation);
        let both = c.join(&[y, value])?;
        let last: usize = out.iter().product();
        let index = crate::import::index::from_fn(&[outer, taps.len(), inner], |i| {
            Some(if taps[i[1]].is_some() { (i[0] * taps.len() + i[1]) * inner + i[2] } else { last })
        });
        return c.gather(both, out, index);
    }
    Ok(y)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(kind: &str, transform: &str) -> Mode {
        Mode {
            kind: kind.into(),
            transform: transform.into(),
            nearest: "round_prefer_floor".into(),
            cubic: -0.75,
            exclude_outside: false,
            antialias: false,
            extrapolation: 0.0,
        }
    }

    #[test]
    fn linear_coefficients_are_those_of_the_definition() {
        let a = Axis { input: 2, output: 4, scale: 2.0, roi: (0.0, 1.0) };
        let at = |x| taps(&mode("linear", "half_pixel"), &a, x).ok().flatten().unwrap();
        // positions −0.25, 0.25, 0.75, 1.25
        assert_eq!(at(0), [(0, 1.0)]);
        assert_eq!(at(1), [(0, 0.75), (1, 0.25)]);
        assert_eq!(at(2), [(0, 0.25), (1, 0.75)]);
        assert_eq!(at(3), [(1, 1.0)]);
    }

    #[test]
    fn coefficients_add_up_to_one() {
        for kind in ["nearest", "linear", "cubic"] {
            for transform in ["half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel"] {
                for antialias in [false, true] {
                    let m = Mode { antialias: antialias && kind != "nearest", ..mode(kind, transform) };
                    let a = Axis { input: 7, output: 5, scale: 5.0 / 7.0, roi: (0.0, 1.0) };
                    for x in 0..5 {
                        let sum: f64 = taps(&m, &a, x).ok().flatten().unwrap().iter().map(|(_, w)| w).sum();
                        assert!((sum - 1.0).abs() < 1e-12, "{kind} {transform} {x}: {sum}");
                    }
                }
            }
        }
    }
}
