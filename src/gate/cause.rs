//! Why a gradient is wrong: hypotheses that are tried on its entries.
//!
//! A hypothesis that changes the entries is named only if the error after the change is within the limit
//! or a small part of what it was. Causes explain; they decide nothing.

use serde::{Deserialize, Serialize};

use super::compare::{Compared, index_of};
use super::constants::Constants;
use super::tensors::GivenTensor;
use crate::data::DType;

/// A likely cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cause {
    /// Stable identifier, e.g. `sign`.
    pub id: String,
    /// What was found, in words.
    pub text: String,
}

/// One cause.
pub fn cause(id: &str, text: impl Into<String>) -> Cause {
    Cause { id: id.into(), text: text.into() }
}

/// What is known around a tensor.
pub struct Context<'a> {
    /// Shape of the parameter.
    pub shape: &'a [usize],
    /// Its limit.
    pub limit: f64,
    /// The largest ‖g‖∞ of the model.
    pub largest: f64,
    /// Midpoints of all exact gradients: name, shape, entries.
    pub others: &'a [(String, Vec<usize>, Vec<f64>)],
    /// Sizes that a factor may stem from: what it is, and how large.
    pub sizes: &'a [(String, usize)],
    /// Which constants the exact gradients have.
    pub constants: Constants,
}

/// A change explains an error if what remains of it is this small a part, or within the limit.
const EXPLAINED: f64 = 1.0 / 32.0;

/// Largest distance of two lists; infinite where one isn't finite.
fn distance(a: impl Iterator<Item = f64>, b: &[f64]) -> f64 {
    let worst = |m: f64, d: f64| if d.is_nan() { f64::INFINITY } else { m.max(d) };
    a.zip(b).map(|(x, y)| (x - y).abs()).fold(0.0, worst)
}

/// Causes of a tensor of the right shape that is beyond its limit; the likeliest first.
pub fn of_values(name: &str, given: &GivenTensor, c: &Compared, context: &Context) -> Vec<Cause> {
    let mut found = Vec::new();
    let n = given.data.len();
    if c.not_finite > 0 {
        let nan = given.data.iter().filter(|x| x.is_nan()).count();
        let at = index_of(c.worst, context.shape);
        found.push(cause(
            "not-finite",
            format!("NaN entries: {nan}, infinite ones: {}, the first at {at:?}", c.not_finite - nan),
        ));
        return found;
    }
    let error = c.observed.map_or(f64::INFINITY, |o| o.hi());
    let explained = |rest: f64| rest <= context.limit.max(EXPLAINED * error);
    if c.norm.lo() == 0.0 {
        // Factors and formats of rounding errors mean nothing.
        found.push(cause("exact-zero", "the exact gradient is 0, or can't be told from it: no digit can be right"));
        return found;
    }
    if given.data.iter().all(|&x| x == 0.0) {
        found.push(cause("zeroed", "every entry is 0: the gradient was never computed, or was reset"));
        return found;
    }
    if explained(distance(given.data.iter().map(|x| -x), &c.spec)) {
        found.push(cause("sign", "the sign is flipped: the negated tensor is within reach of the exact gradient"));
    }
    if let Some(axes) = permutation(given, context.shape, &c.spec, context.limit, error) {
        found.push(cause("transposed", format!("transposed: it matches with its axes in the order {axes:?}")));
    }
    for (other, _, values) in context.others.iter().filter(|(o, _, v)| o != name && v.len() == n) {
        if values.iter().any(|&x| x != 0.0) && explained(distance(given.data.iter().copied(), values)) {
            found.push(cause("swapped", format!("swapped: it is the gradient of \"{other}\"")));
            break;
        }
    }
    if found.is_empty() {
        found.extend(factor(given, c, context, &explained));
    }
    // The pattern of errors as small as these says nothing.
    if found.is_empty()
        && let Some(c) = of_binary64(given, c, context.constants)
    {
        return vec![c];
    }
    let off: Vec<usize> = (0..n).filter(|&i| c.errors[i] > context.limit).collect();
    let low = low_precision(given, c);
    // Half an ulp of the format in which they are stored is no pattern either.
    let unit = match low.as_ref().map(|l| l.id.as_str()) {
        Some("bfloat16") => 2f64.powi(-9),
        Some("float16") => 2f64.powi(-12),
        _ => 0.0,
    };
    let stored = off.iter().all(|&i| c.errors[i] <= 1.01 * unit * given.data[i].abs());
    if n > 1 && !stored && (off.len() == 1 || off.len() * 100 <= n) && !off.is_empty() {
        let at = index_of(c.worst, context.shape);
        let (x, s) = (given.data[c.worst], c.spec[c.worst]);
        let text = if off.len() == 1 {
            format!("one entry is off: at {at:?} stands {x:e}, exact is {s:e} (ratio {:.4})", x / s)
        } else {
            format!("{} of {n} entries are off, most of all the one at {at:?}: {x:e}, exact is {s:e}", off.len())
        };
        found.push(cause("entries", text));
    }
    if let Some(text) = shifted(&given.data, context.shape, &c.spec, &explained) {
        found.push(cause("shifted", text));
    }
    found.extend(low);
    // 2^-20 of the largest gradient: what binary32 leaves where larger terms cancel.
    if found.is_empty() && given.dtype == DType::F32 && error <= context.largest * 2f64.powi(-20) {
        let text = format!(
            "rounding after cancellation: the error is {:.1e} of the model's largest gradient entry, and this tensor is small beside it",
            error / context.largest
        );
        found.push(cause("cancellation", text));
    }
    found
}

/// The order of axes in which a tensor matches, if it isn't the one it has.
fn permutation(given: &GivenTensor, shape: &[usize], spec: &[f64], limit: f64, error: f64) -> Option<Vec<usize>> {
    let rank = given.shape.len();
    if !(2..=5).contains(&rank) || shape.len() != rank {
        return None;
    }
    let mut best: Option<(f64, Vec<usize>)> = None;
    for axes in orders(rank).into_iter().skip(1) {
        if axes.iter().zip(shape).any(|(&a, &n)| given.shape[a] != n) {
            continue;
        }
        let rest = distance(transposed(given, &axes), spec);
        if best.as_ref().is_none_or(|(b, _)| rest < *b) {
            best = Some((rest, axes));
        }
    }
    best.filter(|(rest, _)| *rest <= limit.max(EXPLAINED * error)).map(|(_, axes)| axes)
}

/// All orders of n axes, the identity first.
fn orders(n: usize) -> Vec<Vec<usize>> {
    let mut all = vec![vec![]];
    for k in 0..n {
        let longer = |o: &Vec<usize>| {
            (0..n).filter(|a| !o.contains(a)).map(|a| [o.as_slice(), &[a]].concat()).collect::<Vec<_>>()
        };
        all = all.iter().flat_map(longer).collect();
        debug_assert!(all.iter().all(|o| o.len() == k + 1));
    }
    all
}

/// Entries of the tensor whose axis i is axis `axes[i]` of the one given, row-major.
fn transposed<'a>(given: &'a GivenTensor, axes: &'a [usize]) -> impl Iterator<Item = f64> + 'a {
    let mut strides = vec![1usize; given.shape.len()];
    for i in (0..given.shape.len().saturating_sub(1)).rev() {
        strides[i] = strides[i + 1] * given.shape[i + 1];
    }
    let shape: Vec<usize> = axes.iter().map(|&a| given.shape[a]).collect();
    (0..given.data.len()).map(move |flat| {
        let index = index_of(flat, &shape);
        given.data[index.iter().zip(axes).map(|(&i, &a)| i as usize * strides[a]).sum::<usize>()]
    })
}

/// One factor for all entries, and what it may be.
fn factor(given: &GivenTensor, c: &Compared, context: &Context, explained: &impl Fn(f64) -> bool) -> Option<Cause> {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    // The scale that fits best in the least squares sense: k = <g, s>/<s, s>.
    let k = dot(&given.data, &c.spec) / dot(&c.spec, &c.spec);
    let fits = k.is_finite()
        && k != 0.0
        && given.data.len() > 1
        && explained(distance(given.data.iter().map(|x| x / k), &c.spec));
    // A factor next to 1 is no factor but an error.
    if !fits || (k - 1.0).abs() < 1e-2 {
        return None;
    }
    let near = |x: f64| (k / x - 1.0).abs() < 1e-2;
    let meaning = context
        .sizes
        .iter()
        .find_map(|(what, n)| match *n as f64 {
            n if n > 1.0 && near(n) => {
                Some(format!(": {what} is {n}, so that a 1/{n} is missing (sum in place of mean)"))
            }
            n if n > 1.0 && near(1.0 / n) => {
                Some(format!(": {what} is {n}, so that a 1/{n} was applied once too often (mean in place of sum)"))
            }
            _ => None,
        })
        .unwrap_or_default();
    let whole = [k, 1.0 / k].iter().any(|x| (x - x.round()).abs() < 1e-2 * x.abs() && x.abs() < 1e6);
    let text = if whole && k.abs() < 1.0 {
        format!("off by the factor 1/{}{meaning}", (1.0 / k).round())
    } else if whole {
        format!("off by the factor {}{meaning}", k.round())
    } else {
        let k = if (1e-3..1e6).contains(&k.abs()) { format!("{k:.6}") } else { format!("{k:.6e}") };
        format!("off by the factor {k}{meaning}")
    };
    Some(cause("factor", text))
}

/// Entries moved by one along an axis, as a padding that is off by one does.
fn shifted(data: &[f64], shape: &[usize], spec: &[f64], explained: &impl Fn(f64) -> bool) -> Option<String> {
    for (axis, &n) in shape.iter().enumerate().filter(|(_, n)| **n >= 3) {
        let stride: usize = shape[axis + 1..].iter().product();
        for by in [1i64, -1] {
            let rest = (0..data.len()).filter_map(|i| {
                let at = (i / stride % n) as i64 + by;
                (0..n as i64).contains(&at).then(|| (data[(i as i64 + by * stride as i64) as usize] - spec[i]).abs())
            });
            if explained(rest.fold(0.0, f64::max)) {
                return Some(format!("shifted by one along axis {axis}: a padding or an offset is off by one"));
            }
        }
    }
    None
}

/// Entries that a narrower format holds exactly, in a tensor that could hold more.
pub fn low_precision(given: &GivenTensor, c: &Compared) -> Option<Cause> {
    if c.norm.lo() == 0.0 {
        return None;
    }
    let nonzero: Vec<f64> = given.data.iter().copied().filter(|&x| x != 0.0).collect();
    let held = |f: &dyn Fn(f64) -> f64| nonzero.iter().all(|&x| f(x) == x);
    let rel = c.observed.map_or(0.0, |o| o.hi()) / c.norm.hi().max(f64::MIN_POSITIVE);
    let stored = |d| given.dtype == d;
    // Few entries may be round numbers by chance.
    if stored(DType::BF16) || (nonzero.len() >= 4 && held(&|x| half::bf16::from_f64(x).to_f64())) {
        let how = if stored(DType::BF16) { "stored as" } else { "every entry is" };
        return Some(cause(
            "bfloat16",
            format!(
                "{how} a bfloat16 number (8 bits, relative error up to 2^-9 = 1.95e-3 an entry; here {rel:.1e} of ‖g‖∞)"
            ),
        ));
    }
    if stored(DType::F16) || (nonzero.len() >= 4 && held(&|x| half::f16::from_f64(x).to_f64())) {
        let how = if stored(DType::F16) { "stored as" } else { "every entry is" };
        return Some(cause(
            "float16",
            format!(
                "{how} a binary16 number (11 bits, relative error up to 2^-12 = 2.4e-4 an entry, more below 6e-5; here {rel:.1e} of ‖g‖∞)"
            ),
        ));
    }
    if !stored(DType::F32) && nonzero.len() >= 4 && held(&|x| f64::from(x as f32)) && rel > 1e-9 {
        return Some(cause(
            "binary32",
            format!(
                "every entry is a binary32 number (24 bits, relative error up to 2^-25 = 3e-8 an entry, and of all that went before; here {rel:.1e} of ‖g‖∞)"
            ),
        ));
    }
    if stored(DType::F32) && rel < 1e-4 {
        return Some(cause("binary32", format!("stored as binary32: {rel:.1e} of ‖g‖∞ is what rounding makes")));
    }
    None
}

/// What a binary64 computation may differ by from the exact gradient of a graph in binary32, rightly.
fn of_binary64(given: &GivenTensor, c: &Compared, constants: Constants) -> Option<Cause> {
    let rel = c.observed?.hi() / c.norm.lo();
    if given.dtype != DType::F64 || low_precision(given, c).is_some() {
        return None;
    }
    let file = constants == Constants::File;
    // 2^20 unit roundoffs 2^-53, then some unit roundoffs 2^-24
    if rel <= 2f64.powi(-33) {
        let epsilon = if file {
            ", or what a normalisation's epsilon makes that the graph holds in binary32 and the other program in \
             binary64 (`--constants binary64` takes that one)"
        } else {
            ""
        };
        let text = format!(
            "{rel:.1e} of ‖g‖∞ is what rounding in binary64 can add up to on the way (2^-53 = 1.1e-16 an \
             operation){epsilon}: the limit asks for more than such gradients give here"
        );
        return Some(cause("binary64", text));
    }
    let whose = if file {
        "(√2 of a GELU, 0.01 of a LeakyRelu, epsilon): exact here is the graph with its constants as the file holds \
         them. Try `--constants binary64`, compute with the file's, or set max_rel above this"
    } else {
        "and that isn't among those read as the program has them: compute with the file's, or set max_rel above this"
    };
    let text = format!(
        "{rel:.1e} of ‖g‖∞ is too much for roundings in binary64 and about what a constant makes that the graph holds \
         in binary32 (2^-24 = 6e-8 a constant) {whose}"
    );
    (rel <= 2f64.powi(-20)).then(|| cause("constants", text))
}

/// Causes of a tensor of another shape; `matches` tells how far entries are from the exact gradient.
pub fn of_shape(given: &GivenTensor, shape: &[usize], spec: &[f64], limit: f64) -> Cause {
    let norm = spec.iter().fold(0.0f64, |m, x| m.max(x.abs()));
    let near = |rest: f64| rest <= limit.max(EXPLAINED * norm);
    let (have, want) = (&given.shape, shape);
    if let Some(axes) = permutation(given, shape, spec, limit, norm) {
        return cause("transposed", format!("transposed: it matches with its axes in the order {axes:?}"));
    }
    if given.data.len() == spec.len() {
        let fit = if near(distance(given.data.iter().copied(), spec)) {
            "and its entries match in this order"
        } else {
            "but its entries don't match in this order"
        };
        return cause("reshaped", format!("shape {have:?} where the parameter has {want:?}: as many entries, {fit}"));
    }
    if have.len() == want.len() + 1 && have[1..] == *want && !spec.is_empty() {
        let sum: Vec<f64> = (0..spec.len()).map(|i| given.data.iter().skip(i).step_by(spec.len()).sum()).collect();
        let mean = sum.iter().map(|x| x / have[0] as f64);
        let how = match (near(distance(sum.iter().copied(), spec)), near(distance(mean, spec))) {
            (true, _) => ": their sum matches",
            (_, true) => ": their mean matches",
            _ => "",
        };
        return cause(
            "per-sample",
            format!("shape {have:?} where the parameter has {want:?}: one gradient per sample{how}"),
        );
    }
    cause("shape", format!("shape {have:?} where the parameter has {want:?}"))
}

#[cfg(test)]
mod tests {
    use super::super::compare::with_balls;
    use super::*;
    use crate::ir::Array;
    use crate::num::Ball;

    fn spec(n: usize, k: f64) -> Vec<f64> {
        (0..n).map(|i| f64::from(((i as f64 * 12.9898 + k).sin() * 43.7) as f32)).collect()
    }

    fn ids(given: Vec<f64>, dtype: DType, shape: &[usize], s: &[f64]) -> Vec<String> {
        ids_at(given, dtype, shape, s, |c| 1e-4 * c.norm.lo())
    }

    fn ids_at(
        given: Vec<f64>,
        dtype: DType,
        shape: &[usize],
        s: &[f64],
        limit: impl Fn(&Compared) -> f64,
    ) -> Vec<String> {
        let balls = Array::new(shape.to_vec(), s.iter().map(|&x| Ball::exact(x)).collect());
        let given = GivenTensor { given_as: "g".into(), dtype, shape: shape.to_vec(), data: given };
        let c = with_balls(&given.data, Some(&balls));
        let others = [("other".to_string(), shape.to_vec(), spec(s.len(), 5.0))];
        let sizes = [("the batch size".to_string(), 16)];
        let context = Context {
            shape,
            limit: limit(&c),
            largest: c.norm.lo(),
            others: &others,
            sizes: &sizes,
            constants: Constants::File,
        };
        of_values("g", &given, &c, &context).into_iter().map(|c| format!("{}: {}", c.id, c.text)).collect()
    }

    #[test]
    fn every_cause_is_recognised() {
        let shape = [6, 6];
        let s = spec(36, 1.0);
        let t: Vec<f64> = (0..36).map(|i| s[i % 6 * 6 + i / 6]).collect();
        let with = |f: &dyn Fn(usize) -> f64| (0..36).map(f).collect::<Vec<f64>>();
        for (given, want) in [
            (with(&|i| -s[i]), "sign"),
            (t, "transposed: transposed: it matches with its axes in the order [1, 0]"),
            (spec(36, 5.0), "swapped: swapped: it is the gradient of \"other\""),
            (with(&|_| 0.0), "zeroed"),
            (
                with(&|i| if i == 7 { f64::NAN } else { s[i] }),
                "not-finite: NaN entries: 1, infinite ones: 0, the first at [1, 1]",
            ),
            (with(&|i| 16.0 * s[i]), "factor: off by the factor 16: the batch size is 16, so that a 1/16 is missing"),
            (
                with(&|i| s[i] / 16.0),
                "factor: off by the factor 1/16: the batch size is 16, so that a 1/16 was applied once too often",
            ),
            (with(&|i| 2.5 * s[i]), "factor: off by the factor 2.5"),
            (with(&|i| if i == 8 { s[i] * 1.01 } else { s[i] }), "entries: one entry is off: at [1, 2]"),
            (with(&|i| half::bf16::from_f64(s[i]).to_f64()), "bfloat16: every entry is a bfloat16 number"),
            (with(&|i| if i % 6 > 0 { s[i - 1] } else { 0.3 }), "shifted: shifted by one along axis 1"),
        ] {
            let got = ids(given, DType::F32, &shape, &s);
            assert!(got.iter().any(|g| g.starts_with(want)), "{want}: {got:?}");
        }
        // In binary64, as near as its roundings or the graph's constants let it be.
        for (by, want) in [(1e-12, "binary64"), (1e-9, "constants"), (1e-5, "")] {
            let near = with(&|i| s[i] + by * 43.0 * (i as f64 - 17.5) / 18.0);
            let limit = |c: &Compared| by * 1e-3 * c.norm.lo();
            let got = ids_at(near, DType::F64, &shape, &s, limit);
            assert!(got.first().map_or("", |g| g.split(':').next().unwrap()) == want, "{by}: {got:?}");
        }
        assert!(ids(spec(36, 9.0), DType::F32, &shape, &s).is_empty(), "noise has no cause that can be told");
    }

    #[test]
    fn other_shapes_are_explained() {
        let s = spec(6, 1.0);
        let of = |shape: &[usize], data: Vec<f64>| {
            let g = GivenTensor { given_as: "g".into(), dtype: DType::F32, shape: shape.to_vec(), data };
            of_shape(&g, &[2, 3], &s, 1e-9).text
        };
        let t: Vec<f64> = (0..6).map(|i| s[i % 2 * 3 + i / 2]).collect();
        assert!(of(&[3, 2], t).starts_with("transposed"));
        assert!(of(&[6], s.clone()).contains("as many entries, and its entries match"));
        assert!(of(&[3, 2], spec(6, 8.0)).contains("don't match"));
        let two: Vec<f64> = s.iter().map(|x| 0.25 * x).chain(s.iter().map(|x| 0.75 * x)).collect();
        assert!(of(&[2, 2, 3], two).contains("one gradient per sample: their sum matches"));
        assert!(of(&[5], vec![0.0; 5]).starts_with("shape [5]"));
    }
}
