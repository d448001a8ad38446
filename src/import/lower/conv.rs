//! Conv, and the geometry that convolutions and pools share.

use super::call::{Call, Done, Problem, invalid};
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
        let extent: Vec<usize> = kernel.iter().zip(&dilations).map(|(&k, &d)| (k - 1).saturating_mul(d) + 1).collect();
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
                    let total = ((out.max(1) - 1) * strides[k] + extent[k]).saturating_sub(input[k]);
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
            let padded = input[k] + pads[k] + pads[n + k];
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
