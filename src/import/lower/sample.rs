//! Sampling between entries: GridSample, AffineGrid, DeformConv, RoiAlign.
//!
//! Which entries a place lies between is decided by exact arithmetic on places that are known before
//! the run (binary64 holds them); how far it lies between them is computed in the graph, so that the
//! derivative with respect to the places is there too.

use super::call::{Call, Done, Problem, invalid, unsupported};
use super::conv::Window;
use super::linear::product;
use super::select::sizes;
use crate::import::index::{built, from_fn, strides};
use crate::ir::{Index, ValueId};
use crate::ops;

/// What lies outside of the data.
#[derive(Clone, Copy, PartialEq)]
enum Outside {
    Zeros,
    Border,
    Reflection,
}

/// One axis of the data.
#[derive(Clone, Copy)]
struct Axis {
    size: usize,
    corners: bool,
    outside: Outside,
}

/// A place on an axis: `sign·x + shift` of the place x that the graph computes.
#[derive(Clone, Copy)]
struct Spot {
    /// Where it is, exactly.
    at: f64,
    /// Derivative of `at` with respect to x: 1, −1 after a reflection, 0 at a border.
    sign: f64,
    shift: f64,
}

impl Axis {
    /// From [−1, 1] to entries: ((g + 1)·n − 1)/2, or (g + 1)/2·(n − 1) between the corners' centres.
    fn place(&self, g: f64) -> f64 {
        let n = self.size as f64;
        if self.corners { (g + 1.0) / 2.0 * (n - 1.0) } else { ((g + 1.0) * n - 1.0) / 2.0 }
    }

    /// Scale and offset of [`Axis::place`], both exact in binary32 for sizes up to 2^24.
    fn line(&self) -> (f32, f32) {
        let n = self.size as f32;
        if self.corners { ((n - 1.0) / 2.0, (n - 1.0) / 2.0) } else { (n / 2.0, (n - 1.0) / 2.0) }
    }

    /// The place after clipping or reflection.
    fn inside(&self, x: f64) -> Spot {
        let n = self.size as f64;
        let (low, high) = if self.corners { (0.0, n - 1.0) } else { (-0.5, n - 0.5) };
        let plain = Spot { at: x, sign: 1.0, shift: 0.0 };
        match self.outside {
            Outside::Zeros => plain,
            Outside::Border => clipped(plain, 0.0, n - 1.0),
            Outside::Reflection => {
                let span = high - low;
                if span <= 0.0 {
                    return Spot { at: 0.0, sign: 0.0, shift: 0.0 };
                }
                // the k-th copy of the data, every other one mirrored
                let k = ((x - low) / span).floor();
                let spot = match k.rem_euclid(2.0) == 0.0 {
                    true => Spot { at: x - k * span, sign: 1.0, shift: -k * span },
                    false => {
                        let shift = (k + 1.0) * span + 2.0 * low;
                        Spot { at: shift - x, sign: -1.0, shift }
                    }
                };
                clipped(spot, 0.0, n - 1.0)
            }
        }
    }

    /// An entry, if there is one: outside, the mode says which stands for it.
    fn entry(&self, i: f64) -> Option<usize> {
        let at = match self.outside {
            Outside::Zeros => i,
            Outside::Border => i.clamp(0.0, self.size as f64 - 1.0),
            Outside::Reflection => self.inside(i).at.round_ties_even(),
        };
        (at >= 0.0 && at < self.size as f64).then_some(at as usize)
    }
}

fn clipped(s: Spot, low: f64, high: f64) -> Spot {
    if s.at < low {
        Spot { at: low, sign: 0.0, shift: low }
    } else if s.at > high {
        Spot { at: high, sign: 0.0, shift: high }
    } else {
        s
    }
}

/// Weights of the entries around a place that lies t ∈ [0, 1] after one, in the graph.
fn weights(c: &mut Call, t: ValueId, cubic: bool) -> Result<Vec<ValueId>, Problem> {
    let one = c.scalar("one", 1.0);
    let rest = c.binary(ops::Sub, one, t)?;
    if !cubic {
        return Ok(vec![rest, t]);
    }
    // Keys' kernel with a = −3/4: near |s| ≤ 1: ((a + 2)s − (a + 3))s² + 1, else ((as − 5a)s + 8a)s − 4a
    const A: f32 = -0.75;
    let near = [A + 2.0, -(A + 3.0), 0.0, 1.0];
    let far = [A, -5.0 * A, 8.0 * A, -4.0 * A];
    let (before, after) = (c.binary(ops::Add, t, one)?, c.binary(ops::Add, rest, one)?);
    Ok(vec![
        polynomial(c, before, far)?,
        polynomial(c, t, near)?,
        polynomial(c, rest, near)?,
        polynomial(c, after, far)?,
    ])
}

/// ((p0·s + p1)·s + p2)·s + p3.
fn polynomial(c: &mut Call, s: ValueId, p: [f32; 4]) -> Result<ValueId, Problem> {
    let mut y = c.scaled(s, "coefficient", p[0])?;
    for (k, &q) in p[1..].iter().enumerate() {
        if q != 0.0 {
            let q = c.scalar("coefficient", q);
            y = c.binary(ops::Add, y, q)?;
        }
        if k < 2 {
            y = c.emit(ops::Mul, &[y, s])?;
        }
    }
    Ok(y)
}

/// Samples planes of x [N, C, data..] at P places per sample. `exact[k]` are the places on axis k for all
/// N·P, `graph[k]` the same as a value [N, P]. Returns [N, C, P].
fn sampled(
    c: &mut Call,
    x: ValueId,
    axes: &[Axis],
    exact: &[Vec<f64>],
    graph: &[ValueId],
    how: &str,
) -> Result<ValueId, Problem> {
    let shape = c.sizes(x);
    let (n, channels) = (shape[0], shape[1]);
    let total = exact[0].len();
    let places = total.checked_div(n).unwrap_or(0);
    let cubic = how == "cubic";
    let nearest = how == "nearest";
    // per axis: first entry of every place, and the weights
    let (mut first, mut parts): (Vec<Vec<f64>>, Vec<Vec<ValueId>>) = (Vec::new(), Vec::new());
    for (k, axis) in axes.iter().enumerate() {
        // a cubic takes entries where they are and reflects each of them
        let spot = |x: f64| if cubic { Spot { at: x, sign: 1.0, shift: 0.0 } } else { axis.inside(x) };
        let spots: Vec<Spot> = exact[k].iter().map(|&x| spot(x)).collect();
        if nearest {
            first.push(spots.iter().map(|s| s.at.round_ties_even()).collect());
            parts.push(Vec::new());
            continue;
        }
        let base: Vec<f64> = spots.iter().map(|s| s.at.floor()).collect();
        // t = sign·x + (shift − base)
        let sign = c.tensor("sign", vec![n, places], spots.iter().map(|s| s.sign as f32).collect());
        let shift: Vec<f32> = spots.iter().zip(&base).map(|(s, b)| (s.shift - b) as f32).collect();
        let shift = c.tensor("shift", vec![n, places], shift);
        let turned = c.emit(ops::Mul, &[graph[k], sign])?;
        let t = c.emit(ops::Add, &[turned, shift])?;
        parts.push(weights(c, t, cubic)?);
        first.push(base.iter().map(|b| if cubic { b - 1.0 } else { *b }).collect());
    }
    let width = if nearest { 1 } else { parts[0].len() };
    let taps = width.pow(axes.len() as u32);
    let own = strides(&shape[2..]);
    let plane: usize = shape[2..].iter().product();
    let offset = |tap: usize, k: usize| tap / width.pow((axes.len() - 1 - k) as u32) % width;
    built(&[n, channels, places, taps])?;
    let spread = [n, channels, places, taps];
    let index = from_fn(&spread, |at| {
        let place = at[0] * places + at[2];
        let flat = (0..axes.len()).try_fold(0, |flat, k| {
            let i = axes[k].entry(first[k][place] + offset(at[3], k) as f64)?;
            Some(flat + i * own[k])
        })?;
        Some((at[0] * channels + at[1]) * plane + flat)
    });
    let entries = c.gather(x, spread.to_vec(), index)?;
    if nearest {
        return c.reshape(entries, vec![n, channels, places]);
    }
    // the weight of a tap is the product of its axes' weights
    let mut columns = Vec::new();
    for tap in 0..taps {
        let mut w = parts[0][offset(tap, 0)];
        for (k, list) in parts.iter().enumerate().skip(1) {
            w = c.emit(ops::Mul, &[w, list[offset(tap, k)]])?;
        }
        columns.push(w);
    }
    let joined = c.join(&columns)?;
    let all = [n, 1, places, taps];
    let index = from_fn(&all, |at| Some((at[3] * n + at[0]) * places + at[2]));
    let w = c.gather(joined, all.to_vec(), index)?;
    let terms = c.binary(ops::Mul, entries, w)?;
    c.sum(terms)
}

/// GridSample(X [N, C, data..], grid [N, places.., r]).
pub(super) fn grid_sample(c: &mut Call) -> Done {
    let (x, shape, grid) = (c.graph(0)?, c.shape(0)?, c.shape(1)?);
    let r = shape.len().saturating_sub(2);
    if r == 0 || grid.len() != r + 2 || grid[r + 1] != r || grid[0] != shape[0] {
        return Err(format!("a grid of shape {grid:?} for data of shape {shape:?}").into());
    }
    let outside = match c.text("padding_mode", "zeros")?.as_str() {
        "zeros" => Outside::Zeros,
        "border" => Outside::Border,
        "reflection" => Outside::Reflection,
        other => return Err(invalid(format!("padding_mode \"{other}\""))),
    };
    let how = match c.text("mode", if c.opset < 20 { "bilinear" } else { "linear" })?.as_str() {
        "bilinear" | "linear" => "linear",
        "bicubic" | "cubic" => "cubic",
        "nearest" => "nearest",
        other => return Err(invalid(format!("mode \"{other}\""))),
    };
    let corners = c.flag("align_corners", false)?;
    if shape[2..].iter().any(|&n| n == 0 || n > 1 << 24) {
        return Err(unsupported(format!("data of shape {shape:?}")));
    }
    let known = c.known_places(1)?;
    let values = known.as_f32().ok_or_else(|| unsupported(format!("a grid of {}", known.dtype)))?.to_vec();
    if let Some(bad) = values.iter().find(|v| v.is_nan() || v.abs() > 1e6) {
        return Err(unsupported(format!("a grid with {bad}")));
    }
    let places: usize = grid[1..=r].iter().product();
    let axes: Vec<Axis> = shape[2..].iter().map(|&size| Axis { size, corners, outside }).collect();
    let g = c.graph(1)?;
    let (mut exact, mut graph) = (Vec::new(), Vec::new());
    for (k, axis) in axes.iter().enumerate() {
        // the last coordinate belongs to the first axis
        let own = r - 1 - k;
        let list = values.iter().skip(own).step_by(r);
        exact.push(list.map(|&v| axis.place(f64::from(v))).collect::<Vec<_>>());
        let column = c.gather(
            g,
            vec![grid[0], places],
            from_fn(&[grid[0], places], |at| Some((at[0] * places + at[1]) * r + own)),
        )?;
        let (scale, shift) = axis.line();
        let scaled = c.scaled(column, "scale", scale)?;
        let shift = c.scalar("shift", shift);
        graph.push(c.binary(ops::Add, scaled, shift)?);
    }
    let y = sampled(c, x, &axes, &exact, &graph, how)?;
    let mut out = shape[..2].to_vec();
    out.extend(&grid[1..=r]);
    let y = c.reshape(y, out)?;
    c.set(0, y);
    Ok(())
}

/// AffineGrid(theta [N, r, r + 1], size): theta·(x, …, 1) at every place.
pub(super) fn affine_grid(c: &mut Call) -> Done {
    let theta = c.graph(0)?;
    let size = sizes(&c.known_ints(1)?)?;
    let r = size.len().saturating_sub(2);
    let corners = c.flag("align_corners", false)?;
    let n = c.sizes(theta).first().copied().unwrap_or(0);
    if !matches!(r, 2 | 3) || c.sizes(theta) != [n, r, r + 1] {
        return Err(format!("theta of shape {:?} for size {size:?}", c.sizes(theta)).into());
    }
    let data = &size[2..];
    let places: usize = data.iter().product();
    built(&[places, r + 1])?;
    let own = strides(data);
    let mut base = Vec::with_capacity(places * (r + 1));
    for p in 0..places {
        for k in (0..r).rev() {
            let (i, n) = ((p / own[k] % data[k]) as f64, data[k] as f64);
            // from −1 to 1, between the corners' centres or the outer edges
            let x = match (corners, data[k]) {
                (true, 1) => 0.0,
                (true, _) => -1.0 + 2.0 * i / (n - 1.0),
                (false, _) => -1.0 + (2.0 * i + 1.0) / n,
            };
            base.push(x as f32);
        }
        base.push(1.0);
    }
    let base = c.tensor("base", vec![places, r + 1], base);
    let turned = c.transpose(theta, &[0, 2, 1])?;
    let y = product(c, base, turned)?;
    let mut out = vec![n];
    out.extend(data);
    out.push(r);
    let y = c.reshape(y, out)?;
    c.set(0, y);
    Ok(())
}

/// DeformConv(X, W, offset[, B[, mask]]): a convolution whose cells are moved by known offsets.
pub(super) fn deform_conv(c: &mut Call) -> Done {
    let (x, w) = (c.graph(0)?, c.graph(1)?);
    let (sx, sw, so) = (c.sizes(x), c.sizes(w), c.shape(2)?);
    let (&[n, channels, ref input @ ..], &[maps, per_group, ref kernel @ ..]) = (&sx[..], &sw[..]) else {
        return Err(format!("shapes {sx:?} and {sw:?}").into());
    };
    let count = |name: &str| -> Result<usize, Problem> {
        usize::try_from(c.int(name, 1)?).ok().filter(|&g| g > 0).ok_or_else(|| invalid(name.to_string()))
    };
    let (groups, shifted) = (count("group")?, count("offset_group")?);
    if input.is_empty()
        || kernel.len() != input.len()
        || per_group * groups != channels
        || maps % groups != 0
        || channels % shifted != 0
    {
        return Err(format!("data of shape {sx:?} and weights of shape {sw:?} in {groups} groups").into());
    }
    let r = input.len();
    let t = Window::read(c, input, Some(kernel))?;
    let (cells, outs): (usize, usize) = (kernel.iter().product(), t.out.iter().product());
    let mut wanted = vec![n, shifted * cells * r];
    wanted.extend(&t.out);
    if so != wanted {
        return Err(format!("offsets of shape {so:?} where {wanted:?} is needed").into());
    }
    let known = c.known_places(2)?;
    let offsets = known.as_f32().ok_or_else(|| unsupported(format!("offsets of {}", known.dtype)))?.to_vec();
    if let Some(bad) = offsets.iter().find(|v| v.is_nan() || v.abs() > 1e6) {
        return Err(unsupported(format!("an offset of {bad}")));
    }
    let o = c.graph(2)?;
    // a sample and offset group is one sample of the sampling, its places all cells of all windows
    let (batch, places) = (n * shifted, cells * outs);
    let (out_step, cell_step) = (strides(&t.out), strides(kernel));
    let axes: Vec<Axis> = input.iter().map(|&size| Axis { size, corners: false, outside: Outside::Zeros }).collect();
    let (mut exact, mut graph) = (Vec::new(), Vec::new());
    for k in 0..r {
        let start = |p: usize| {
            let (cell, at) = (p / outs, p % outs);
            let begin =
                (at / out_step[k] % t.out[k]) * t.strides[k] + (cell / cell_step[k] % kernel[k]) * t.dilations[k];
            begin as f64 - t.pads[k] as f64
        };
        let source = |b: usize, p: usize| (b * cells + p / outs) * r * outs + k * outs + p % outs;
        exact.push(
            (0..batch * places)
                .map(|i| start(i % places) + f64::from(offsets[source(i / places, i % places)]))
                .collect::<Vec<_>>(),
        );
        let moved = c.gather(o, vec![batch, places], from_fn(&[batch, places], |at| Some(source(at[0], at[1]))))?;
        let starts = c.tensor("start", vec![places], (0..places).map(|p| start(p) as f32).collect());
        graph.push(c.binary(ops::Add, moved, starts)?);
    }
    let mut split = vec![batch, channels / shifted];
    split.extend(input);
    let x = c.reshape(x, split)?;
    // [N·G, C/G, cells·outs] → [N, C, cells, outs]
    let read = sampled(c, x, &axes, &exact, &graph, "linear")?;
    let mut read = c.reshape(read, vec![n, shifted, channels / shifted, cells, outs])?;
    if c.has(4) {
        let mask = c.graph(4)?;
        if c.sizes(mask).iter().product::<usize>() != n * shifted * cells * outs {
            return Err(format!("a mask of shape {:?}", c.sizes(mask)).into());
        }
        let mask = c.reshape(mask, vec![n, shifted, 1, cells, outs])?;
        read = c.binary(ops::Mul, read, mask)?;
    }
    let columns = c.reshape(read, vec![n, groups, per_group * cells, outs])?;
    let kernels = c.reshape(w, vec![groups, maps / groups, per_group * cells])?;
    let y = product(c, kernels, columns)?;
    let mut out = vec![n, maps];
    out.extend(&t.out);
    let mut y = c.reshape(y, out)?;
    if c.has(3) {
        let bias = c.graph(3)?;
        let mut shape = vec![1; r + 2];
        shape[1] = maps;
        let bias = c.reshape(bias, shape)?;
        y = c.binary(ops::Add, y, bias)?;
    }
    c.set(0, y);
    Ok(())
}

/// RoiAlign: means or maxima of samples inside the cells of known regions.
pub(super) fn roi_align(c: &mut Call) -> Done {
    let x = c.graph(0)?;
    let shape = c.sizes(x);
    let [n, channels, height, width] = shape[..] else {
        return Err(format!("shape {shape:?} where [N, C, H, W] is needed").into());
    };
    let known = c.known(1).map_err(|p| p.note("which entries are read depends on the regions"))?;
    let rois = known.as_f32().filter(|_| known.shape.len() == 2 && known.shape[1] == 4);
    let rois = rois.ok_or_else(|| invalid(format!("regions of shape {:?}", known.shape)))?.to_vec();
    let of: Vec<usize> = sizes(&c.known_ints(2)?)?;
    if of.len() * 4 != rois.len() || of.iter().any(|&b| b >= n) || rois.iter().any(|v| !(v.abs() < 1e6)) {
        return Err(invalid(format!("{} regions of samples {of:?}", rois.len() / 4)));
    }
    let size =
        |name: &str| usize::try_from(c.int(name, 1)?).ok().filter(|&v| v > 0).ok_or_else(|| invalid(name.to_string()));
    let (rows, cols) = (size("output_height")?, size("output_width")?);
    let ratio = usize::try_from(c.int("sampling_ratio", 0)?).map_err(|_| invalid("sampling_ratio"))?;
    let scale = f64::from(c.float("spatial_scale", 1.0)?);
    let half = c
        .text("coordinate_transformation_mode", if c.opset < 16 { "output_half_pixel" } else { "half_pixel" })?
        == "half_pixel";
    let average = match c.text("mode", "avg")?.as_str() {
        "avg" => true,
        "max" => false,
        other => return Err(invalid(format!("mode \"{other}\""))),
    };
    let shift = if half { 0.5 } else { 0.0 };
    let (own, plane) = ([channels * height * width, height * width, width], height * width);
    let mut lists: Vec<(Vec<u32>, Vec<f32>, usize)> = Vec::new();
    for (roi, &b) in rois.chunks(4).zip(&of) {
        let [x1, y1, x2, y2] = [0, 1, 2, 3].map(|k| f64::from(roi[k]) * scale - shift);
        let (mut w, mut h) = (x2 - x1, y2 - y1);
        if !half {
            (w, h) = (w.max(1.0), h.max(1.0));
        }
        let (bin_w, bin_h) = (w / cols as f64, h / rows as f64);
        let grid = |extent: f64, cells: usize| {
            if ratio > 0 { ratio } else { (extent / cells as f64).ceil().max(0.0) as usize }
        };
        let (gh, gw) = (grid(h, rows), grid(w, cols));
        built(&[gh * gw * rows * cols * 4, channels])?;
        for ch in 0..channels {
            for (i, j) in (0..rows).flat_map(|i| (0..cols).map(move |j| (i, j))) {
                let (mut at, mut weight) = (Vec::new(), Vec::new());
                for (p, q) in (0..gh).flat_map(|p| (0..gw).map(move |q| (p, q))) {
                    let y = y1 + i as f64 * bin_h + (p as f64 + 0.5) * bin_h / gh as f64;
                    let x = x1 + j as f64 * bin_w + (q as f64 + 0.5) * bin_w / gw as f64;
                    let out = y < -1.0 || y > height as f64 || x < -1.0 || x > width as f64;
                    let (y, x) = (y.max(0.0).min(height as f64 - 1.0), x.max(0.0).min(width as f64 - 1.0));
                    let (fy, fx) = (y.floor(), x.floor());
                    let (ty, tx) = (y - fy, x - fx);
                    for (dy, wy) in [(0, 1.0 - ty), (1, ty)] {
                        for (dx, wx) in [(0, 1.0 - tx), (1, tx)] {
                            let (r, s) = ((fy as usize + dy).min(height - 1), (fx as usize + dx).min(width - 1));
                            at.push(if out {
                                Index::NOTHING
                            } else {
                                (b * own[0] + ch * plane + r * width + s) as u32
                            });
                            weight.push((wy * wx) as f32);
                        }
                    }
                }
                lists.push((at, weight, gh * gw));
            }
        }
    }
    let out = vec![of.len(), channels, rows, cols];
    let longest = lists.iter().map(|l| l.0.len()).max().unwrap_or(0);
    if lists.iter().any(|l| l.0.len() != longest) && !average {
        return Err(unsupported("the maximum over regions of different sizes with sampling_ratio 0"));
    }
    built(&[lists.len(), longest])?;
    let pad = |l: &Vec<u32>, k: usize| l.get(k).copied().unwrap_or(Index::NOTHING);
    let table: Vec<u32> = lists.iter().flat_map(|l| (0..longest).map(|k| pad(&l.0, k))).collect();
    let weight: Vec<f32> =
        lists.iter().flat_map(|l| (0..longest).map(|k| l.1.get(k).copied().unwrap_or(0.0))).collect();
    let entries = c.gather(x, vec![lists.len(), longest], Index::Table(table.into()))?;
    let weight = c.tensor("weights", vec![lists.len(), longest], weight);
    let terms = c.emit(ops::Mul, &[entries, weight])?;
    let y = if average {
        let sums = c.sum(terms)?;
        let counts = c.tensor("samples", vec![lists.len()], lists.iter().map(|l| l.2.max(1) as f32).collect());
        c.emit(ops::Div, &[sums, counts])?
    } else {
        // onnxruntime takes the largest of a sample's four weighted entries, then of all samples
        c.max(terms, crate::num::Ties::First)?
    };
    let y = c.reshape(y, out)?;
    c.set(0, y);
    Ok(())
}
