//! Conv, and the geometry that convolutions and pools share.

use super::call::{Call, Done, Problem, invalid};
use crate::data::MAX_ELEMENTS;
use crate::import::index::from_fn;
use crate::ops;

/// Kernel, strides, dilations and pads of a sliding window over spatial dimensions.
pub(super) struct Window {
    pub kernel: Vec<usize>,
    pub strides: Vec<usize>,
    pub dilations: Vec<usize>,
    /// Begin of every axis, then end of every axis.
    pub pads: Vec<usize>,
    /// Positions per axis.
    pub out: Vec<usize>,
}

impl Window {
    /// Reads the attributes for spatial sizes `input`; `kernel` from the weights where it is known.
    pub fn read(c: &Call, input: &[usize], kernel: Option<&[usize]>) -> Result<Window, Problem> {
        let n = input.len();
        let list = |name: &str, default: usize| -> Result<Vec<usize>, Problem> {
            match c.ints(name)? {
                None => Ok(vec![default; n]),
                Some(v) if v.len() == n => v
                    .iter()
                    .map(|&x| usize::try_from(x).ok().filter(|&x| x >= default))
                    .collect::<Option<Vec<_>>>()
                    .ok_or_else(|| invalid(format!("attribute \"{name}\" is {v:?}"))),
                Some(v) => {
                    Err(invalid(format!("attribute \"{name}\" has {} entries for {n} spatial dimensions", v.len())))
                }
            }
        };
        let stated = if c.node.attributes.contains_key("kernel_shape") { Some(list("kernel_shape", 1)?) } else { None };
        let kernel = match (kernel, stated) {
            (Some(k), Some(s)) if k != s => {
                return Err(invalid(format!("kernel_shape is {s:?} but the weights have {k:?}")));
            }
            (Some(k), _) => k.to_vec(),
            (None, Some(s)) => s,
            (None, None) => return Err(invalid("attribute \"kernel_shape\" is missing")),
        };
        let (strides, dilations) = (list("strides", 1)?, list("dilations", 1)?);
        let extent: Vec<usize> =
            kernel.iter().zip(&dilations).map(|(&k, &d)| (k - 1).saturating_mul(d).saturating_add(1)).collect();
        let ceil = c.flag("ceil_mode", false)?;
        let auto = c.text("auto_pad", "NOTSET")?;
        let mut pads = vec![0; 2 * n];
        match auto.as_str() {
            "NOTSET" => {
                if let Some(v) = c.ints("pads")? {
                    if v.len() != 2 * n {
                        return Err(invalid(format!(
                            "attribute \"pads\" has {} entries, {} are needed",
                            v.len(),
                            2 * n
                        )));
                    }
                    for (p, x) in pads.iter_mut().zip(&v) {
                        *p = usize::try_from(*x).map_err(|_| invalid(format!("negative pad {x}")))?;
                    }
                }
            }
            "VALID" => {}
            // as many positions as ⌈input/stride⌉; an odd pad goes to the end (or the begin)
            "SAME_UPPER" | "SAME_LOWER" => {
                for k in 0..n {
                    let out = input[k].div_ceil(strides[k]);
                    let total = ((out.max(1) - 1) * strides[k]).saturating_add(extent[k]).saturating_sub(input[k]);
                    let (small, large) = (total / 2, total - total / 2);
                    let upper = auto == "SAME_UPPER";
                    pads[k] = if upper { small } else { large };
                    pads[n + k] = if upper { large } else { small };
                }
            }
            other => return Err(invalid(format!("auto_pad \"{other}\""))),
        }
        let mut out = Vec::with_capacity(n);
        for k in 0..n {
            let padded = pads[k].checked_add(pads[n + k]).and_then(|p| p.checked_add(input[k]));
            let padded = padded
                .filter(|&p| p <= MAX_ELEMENTS)
                .ok_or_else(|| format!("pads {} and {} of axis {k} are too large", pads[k], pads[n + k]))?;
            let room = padded.checked_sub(extent[k]).ok_or_else(|| {
                format!("a window of {} entries doesn't fit an axis of {padded} (pads included)", extent[k])
            })?;
            let mut o = room / strides[k] + 1;
            // the last position may hang over the end, but must begin before it
            if ceil && room % strides[k] != 0 && o * strides[k] < input[k] + pads[k] {
                o += 1;
            }
            out.push(o);
        }
        Ok(Window { kernel, strides, dilations, pads, out })
    }
}

/// [N, C, spatial..] with at least one spatial dimension.
pub(super) fn spatial(shape: &[usize]) -> Result<(usize, usize, &[usize]), Problem> {
    match shape {
        [n, c, rest @ ..] if !rest.is_empty() => Ok((*n, *c, rest)),
        _ => Err(format!("shape {shape:?} where [N, C, spatial…] is needed").into()),
    }
}

pub(super) fn conv(c: &mut Call) -> Done {
    let (x, w) = (c.graph(0)?, c.graph(1)?);
    let (sx, sw) = (c.sizes(x), c.sizes(w));
    let (_, channels, input) = spatial(&sx)?;
    let (_, per_group, kernel) = spatial(&sw)?;
    if kernel.len() != input.len() || input.len() > 3 {
        return Err(format!("data of shape {sx:?} and weights of shape {sw:?} (1 to 3 spatial dimensions)").into());
    }
    let groups = usize::try_from(c.int("group", 1)?).ok().filter(|&g| g > 0).ok_or_else(|| invalid("group"))?;
    if per_group * groups != channels || sw[0] % groups != 0 {
        let what = format!("{channels} channels in {groups} groups, for weights of shape {sw:?}");
        return Err(what.into());
    }
    let window = Window::read(c, input, Some(kernel))?;
    let mut operands = vec![x, w];
    if c.has(2) {
        operands.push(c.graph(2)?);
    }
    let Window { strides, dilations, pads, .. } = window;
    let y = c.emit(ops::Conv { strides, pads, dilations, groups }, &operands)?;
    c.set(0, y);
    Ok(())
}

/// ConvTranspose as a convolution with stride 1: the data with stride − 1 zeros between its entries
/// and the mirrored kernel, its in- and out-channels exchanged. Inserted zeros are exact.
pub(super) fn conv_transpose(c: &mut Call) -> Done {
    let (x, w) = (c.graph(0)?, c.graph(1)?);
    let (sx, sw) = (c.sizes(x), c.sizes(w));
    let (batch, channels, input) = spatial(&sx)?;
    let (_, per_group, kernel) = spatial(&sw)?;
    let n = input.len();
    let groups = usize::try_from(c.int("group", 1)?).ok().filter(|&g| g > 0 && channels % g == 0);
    let groups = groups.ok_or_else(|| invalid("group"))?;
    if kernel.len() != n || n > 3 || sw[0] != channels {
        return Err(format!("data of shape {sx:?} and weights of shape {sw:?} (1 to 3 spatial dimensions)").into());
    }
    let list = |c: &Call, name: &str, default: usize, length: usize| -> Result<Vec<usize>, Problem> {
        match c.ints(name)? {
            None => Ok(vec![default; length]),
            Some(v) => {
                let v: Option<Vec<usize>> = v.iter().map(|&x| usize::try_from(x).ok()).collect();
                v.filter(|v| v.len() == length).ok_or_else(|| invalid(format!("attribute \"{name}\"")))
            }
        }
    };
    if list(c, "kernel_shape", 0, n)? != vec![0; n] && list(c, "kernel_shape", 0, n)? != kernel {
        return Err(invalid("kernel_shape isn't the shape of the weights"));
    }
    let (strides, dilations) = (list(c, "strides", 1, n)?, list(c, "dilations", 1, n)?);
    if strides.contains(&0) || dilations.contains(&0) {
        return Err(invalid("a stride or dilation of 0"));
    }
    let extra = list(c, "output_padding", 0, n)?;
    let auto = c.text("auto_pad", "NOTSET")?;
    let extent: Vec<usize> = (0..n).map(|k| (kernel[k] - 1) * dilations[k] + 1).collect();
    // length without pads: stride·(input − 1) + output_padding + extent
    let full: Vec<usize> = (0..n).map(|k| strides[k] * input[k].saturating_sub(1) + extra[k] + extent[k]).collect();
    let mut pads = list(c, "pads", 0, 2 * n)?;
    let wanted = match (c.node.attributes.contains_key("output_shape"), auto.as_str()) {
        (true, _) => {
            let shape = c.ints("output_shape")?.unwrap_or_default();
            let tail = shape.get(shape.len().saturating_sub(n)..).unwrap_or(&[]);
            Some(tail.iter().map(|&d| usize::try_from(d).unwrap_or(0)).collect::<Vec<_>>())
        }
        (false, "SAME_UPPER" | "SAME_LOWER") => Some((0..n).map(|k| input[k] * strides[k]).collect()),
        (false, "NOTSET" | "VALID") => None,
        (false, other) => return Err(invalid(format!("auto_pad \"{other}\""))),
    };
    let out: Vec<usize> = match wanted {
        Some(out) if out.len() == n => {
            for k in 0..n {
                let total = full[k].saturating_sub(out[k]);
                let (small, large) = (total / 2, total - total / 2);
                (pads[k], pads[n + k]) = if auto == "SAME_UPPER" { (small, large) } else { (large, small) };
            }
            out
        }
        Some(_) => return Err(invalid("attribute \"output_shape\"")),
        None => {
            let size = |k: usize| full[k].checked_sub(pads[k] + pads[n + k]);
            (0..n).map(size).collect::<Option<_>>().ok_or_else(|| invalid("pads larger than the result"))?
        }
    };
    // entry q of the spread data stands at position q + extent − 1 − pad of the padded data
    let mut spread = vec![batch, channels];
    spread.extend((0..n).map(|k| out[k] + extent[k] - 1));
    crate::import::index::built(&spread)?;
    let own = crate::import::index::strides(&sx);
    let index = from_fn(&spread, |at| {
        let mut flat = at[0] * own[0] + at[1] * own[1];
        for k in 0..n {
            let q = (at[k + 2] + pads[k]).checked_sub(extent[k] - 1)?;
            if q % strides[k] != 0 || q / strides[k] >= input[k] {
                return None;
            }
            flat += q / strides[k] * own[k + 2];
        }
        Some(flat)
    });
    let spread = c.gather(x, spread, index)?;
    // [C, M/g, k..] → [M, C/g, k.. mirrored]
    let inputs = channels / groups;
    let mut mirrored = vec![per_group * groups, inputs];
    mirrored.extend(kernel);
    let own = crate::import::index::strides(&sw);
    let index = from_fn(&mirrored, |at| {
        let (g, m) = (at[0] / per_group, at[0] % per_group);
        let place: usize = (0..n).map(|k| (kernel[k] - 1 - at[k + 2]) * own[k + 2]).sum();
        Some((g * inputs + at[1]) * own[0] + m * own[1] + place)
    });
    let kernel = c.gather(w, mirrored, index)?;
    let mut operands = vec![spread, kernel];
    if c.has(2) {
        operands.push(c.graph(2)?);
    }
    let y = c.emit(ops::Conv { strides: vec![1; n], pads: vec![0; 2 * n], dilations, groups }, &operands)?;
    c.set(0, y);
    Ok(())
}
