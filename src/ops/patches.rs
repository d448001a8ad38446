//! Patches of images as the columns of a matrix: what the contractions of a convolution multiply.
//!
//! A kernel offset meets the positions of one line of an image at regular steps, so a row of the matrix is made of
//! lines, each a strided copy between zeros.

use std::borrow::Cow;
use std::ops::Range;

use crate::num::parallel;

/// One spatial dimension of a convolution.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    pub input: usize,
    pub kernel: usize,
    pub output: usize,
    pub stride: usize,
    pub dilation: usize,
    /// Padding before the input.
    pub pad: usize,
}

/// Positions that one kernel offset joins: target `to + i·to_step` and source `from + i·from_step`, i < count.
#[derive(Clone, Copy, Debug)]
struct Steps {
    to: usize,
    to_step: usize,
    from: usize,
    from_step: usize,
    count: usize,
}

impl Extent {
    /// What offset k joins: output p and input q = p·stride + k·dilation − pad, where both exist.
    fn steps(&self, k: usize, onto_input: bool) -> Steps {
        let (ahead, least) = (k * self.dilation, self.pad.saturating_sub(k * self.dilation).div_ceil(self.stride));
        // q < input ⟺ p·stride < input + pad − k·dilation
        let beyond = (self.input + self.pad).saturating_sub(ahead).div_ceil(self.stride).min(self.output);
        let count = beyond.saturating_sub(least);
        // of no position the first one isn't asked for
        let (p, q) = (least, least.saturating_mul(self.stride).saturating_add(ahead).saturating_sub(self.pad));
        if onto_input {
            Steps { to: q, to_step: self.stride, from: p, from_step: 1, count }
        } else {
            Steps { to: p, to_step: 1, from: q, from_step: self.stride, count }
        }
    }
}

impl Steps {
    /// The source of target t.
    fn source(&self, t: usize) -> Option<usize> {
        let ahead = t.checked_sub(self.to)?;
        let i = ahead / self.to_step;
        (ahead % self.to_step == 0 && i < self.count).then(|| self.from + i * self.from_step)
    }

    /// Copies what targets `part` meet; the line holds those targets only, zeros so far.
    fn copy<T: Copy>(&self, line: &mut [T], part: Range<usize>, source: &[T]) {
        let before = |t: usize| t.saturating_sub(self.to).div_ceil(self.to_step).min(self.count);
        let (first, last) = (before(part.start), before(part.end));
        if first >= last {
            return;
        }
        let (to, from, count) =
            (self.to + first * self.to_step - part.start, self.from + first * self.from_step, last - first);
        if self.to_step == 1 && self.from_step == 1 {
            line[to..to + count].copy_from_slice(&source[from..from + count]);
        } else {
            let (line, source) = (&mut line[to..], &source[from..]);
            for i in 0..count {
                line[i * self.to_step] = source[i * self.from_step];
            }
        }
    }
}

/// For every kernel offset, the source position that each target position meets.
#[derive(Debug)]
pub(super) struct Taps {
    /// For the offset of all dimensions but the last, and for each line of targets: where its line of sources
    /// begins, if it meets one.
    lines: Vec<Option<usize>>,
    /// Lines of targets in an image.
    height: usize,
    /// For the offset of the last dimension: what it joins within a line.
    last: Vec<Steps>,
    /// Targets, and sources, in a line.
    width: (usize, usize),
    /// Sources in an image.
    space: usize,
}

/// Images [batch, channels, position], and the group of channels that is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Images<'a, T> {
    pub data: &'a [T],
    pub channels: usize,
    /// The first channel of the group.
    pub first: usize,
}

impl Taps {
    /// Of output positions onto the input they read, or the other way round.
    pub fn new(extents: &[Extent], onto_input: bool) -> Taps {
        let (inner, outer) = extents.split_last().expect("a convolution has a spatial dimension");
        let ends = |e: &Extent| if onto_input { (e.input, e.output) } else { (e.output, e.input) };
        let steps = |e: &Extent| -> Vec<Steps> { (0..e.kernel).map(|k| e.steps(k, onto_input)).collect() };
        let width = ends(inner);
        // (offset, line of targets) → line of sources, dimension by dimension
        let (mut lines, mut height, mut sources) = (vec![Some(0)], 1, 1);
        for e in outer {
            let ((targets, extent), met) = (ends(e), steps(e));
            let line = |i: usize| {
                let (t, rest) = (i % targets, i / targets);
                let (above, rest) = (rest % height, rest / height);
                let (k, offset) = (rest % e.kernel, rest / e.kernel);
                let above: Option<usize> = lines[offset * height + above];
                above.zip(met[k].source(t)).map(|(line, s)| line * extent + s)
            };
            lines = (0..lines.len() * e.kernel * targets).map(line).collect();
            (height, sources) = (height * targets, sources * extent);
        }
        let begins = lines.into_iter().map(|l| l.map(|l| l * width.1)).collect();
        Taps { lines: begins, height, last: steps(inner), width, space: sources * width.1 }
    }

    /// Targets in an image.
    fn targets(&self) -> usize {
        self.height * self.width.0
    }

    /// Every target meets the source at its own place, by the only offset.
    fn is_identity(&self) -> bool {
        let whole =
            |s: &Steps| s.to == 0 && s.from == 0 && s.to_step == 1 && s.from_step == 1 && s.count == self.width.0;
        self.width.0 == self.width.1
            && matches!(self.last.as_slice(), [s] if whole(s))
            && self.lines.len() == self.height
            && self.lines.iter().enumerate().all(|(i, &l)| l == Some(i * self.width.1))
    }

    /// Some of the rows (channel of the group, kernel offset) and columns (image, target position) of the matrix
    /// of patches, row after row.
    pub fn unfold<'a, T: Copy + Send + Sync>(
        &self,
        x: Images<'a, T>,
        zero: T,
        rows: Range<usize>,
        columns: Range<usize>,
    ) -> Cow<'a, [T]> {
        if rows.is_empty() || columns.is_empty() {
            return Cow::Owned(Vec::new());
        }
        let (targets, offsets) = (self.targets(), self.last.len() * self.lines.len() / self.height.max(1));
        if columns == (0..targets) && self.is_identity() {
            return Cow::Borrowed(&x.data[(x.first + rows.start) * self.space..][..rows.len() * self.space]);
        }
        let row = |row: usize, out: &mut [T]| {
            let (c, k) = (x.first + (rows.start + row) / offsets, (rows.start + row) % offsets);
            let (lines, steps) =
                (&self.lines[k / self.last.len() * self.height..][..self.height], self.last[k % self.last.len()]);
            let mut from = columns.start;
            while from < columns.end {
                let (n, line, t) = (from / targets, from % targets / self.width.0, from % self.width.0);
                let to = columns.end.min(from + self.width.0 - t);
                if let Some(begin) = lines[line] {
                    let source = &x.data[(n * x.channels + c) * self.space + begin..][..self.width.1];
                    let here = &mut out[from - columns.start..to - columns.start];
                    steps.copy(here, t..t + here.len(), source);
                }
                from = to;
            }
        };
        let grain = (1 << 12) / columns.len().max(1) + 1;
        Cow::Owned(parallel::lines(rows.len(), columns.len(), zero, grain, row))
    }
}

/// The channels from `first` on as rows, columns (image, position).
pub(super) fn channel_rows<T: Copy>(x: Images<'_, T>, batch: usize, per_group: usize, space: usize) -> Cow<'_, [T]> {
    if batch == 1 {
        return Cow::Borrowed(&x.data[x.first * space..][..per_group * space]);
    }
    let mut out = Vec::with_capacity(per_group * batch * space);
    for c in 0..per_group {
        for n in 0..batch {
            out.extend_from_slice(&x.data[(n * x.channels + x.first + c) * space..][..space]);
        }
    }
    Cow::Owned(out)
}

/// Inverse of [`channel_rows`] over all groups: rows of each group back to [batch, channels, space].
pub(super) fn from_channel_rows<T: Copy + Send + Sync>(
    mut groups: Vec<Vec<T>>,
    batch: usize,
    per_group: usize,
    space: usize,
) -> Vec<T> {
    match (groups.as_mut_slice(), batch) {
        ([], _) => Vec::new(),
        ([one], 1) => std::mem::take(one),
        (_, 1) => groups.concat(),
        ([first, ..], _) => {
            let Some(&some) = first.first() else { return Vec::new() };
            let channels = groups.len() * per_group;
            parallel::lines(batch * channels, space, some, (1 << 12) / space.max(1) + 1, |row, line| {
                let (n, channel) = (row / channels, row % channels);
                let (g, c) = (channel / per_group, channel % per_group);
                line.copy_from_slice(&groups[g][(c * batch + n) * space..][..space]);
            })
        }
    }
}

/// w[o,c,k] of one group as rows c, columns (o, k).
pub(super) fn by_input_channel<T: Copy + Send + Sync>(w: &[T], cout: usize, cin: usize, nk: usize) -> Vec<T> {
    let Some(&some) = w.first() else { return Vec::new() };
    parallel::lines(cin, cout * nk, some, (1 << 12) / (cout * nk) + 1, |c, line| {
        for o in 0..cout {
            let from = &w[(o * cin + c) * nk..][..nk];
            for (k, x) in line[o * nk..][..nk].iter_mut().enumerate() {
                *x = from[k];
            }
        }
    })
}

/// Rows (channel) of columns (image, position), group after group, as [image, channel, position].
pub(super) fn images_first<T>(groups: Vec<Vec<T>>, batch: usize, space: usize) -> Vec<T> {
    let mut out = Vec::with_capacity(groups.iter().map(Vec::len).sum());
    let mut channels = Vec::new();
    for mut rows in groups {
        let from = channels.len();
        while !rows.is_empty() {
            let first = rows.len() - batch * space;
            channels.push(rows.split_off(first).into_iter());
        }
        channels[from..].reverse();
    }
    for _ in 0..batch {
        channels.iter_mut().for_each(|c| out.extend(c.take(space)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::elements;

    /// Every column range of the matrix holds what the definition q = p·s + k·d − pad says, both ways.
    #[test]
    fn patches_are_what_the_definition_meets() {
        let extents = |input, kernel, stride, dilation, pad, after| {
            let output = (input + pad + after - ((kernel - 1) * dilation + 1)) / stride + 1;
            Extent { input, kernel, output, stride, dilation, pad }
        };
        let lines = [
            extents(1, 1, 1, 1, 0, 0),
            extents(5, 3, 1, 1, 1, 1),
            extents(6, 3, 2, 1, 1, 0),
            extents(7, 2, 3, 3, 4, 2),
            extents(4, 1, 2, 1, 0, 0),
            extents(3, 2, 1, 5, 4, 3),
            extents(4, 1, 1, 1, 0, 0),
        ];
        let (batch, channels, first, used) = (2, 3, 1, 2);
        for dims in 1..=3 {
            for at in 0..lines.len() {
                let e: Vec<Extent> = (0..dims).map(|d| lines[(at + 2 * d) % lines.len()]).collect();
                for onto_input in [false, true] {
                    let side = |input: bool| -> Vec<usize> {
                        e.iter().map(|e| if input { e.input } else { e.output }).collect()
                    };
                    let (targets, sources) = (side(onto_input), side(!onto_input));
                    let kernel: Vec<usize> = e.iter().map(|e| e.kernel).collect();
                    let unravel = |mut flat: usize, ends: &[usize]| {
                        let mut at = vec![0i64; ends.len()];
                        for i in (0..ends.len()).rev() {
                            at[i] = (flat % ends[i]) as i64;
                            flat /= ends[i];
                        }
                        at
                    };
                    let (nt, ns, nk) = (elements(&targets), elements(&sources), elements(&kernel));
                    let x: Vec<u32> = (1..=(batch * channels * ns) as u32).collect();
                    let want = |row: usize, column: usize| {
                        let (c, k) = (first + row / nk, unravel(row % nk, &kernel));
                        let (n, t) = (column / nt, unravel(column % nt, &targets));
                        let met = (0..ns).find(|&s| {
                            let s = unravel(s, &sources);
                            (0..dims).all(|d| {
                                let (p, q) = if onto_input { (s[d], t[d]) } else { (t[d], s[d]) };
                                q == p * e[d].stride as i64 + k[d] * e[d].dilation as i64 - e[d].pad as i64
                            })
                        });
                        met.map_or(0, |s| x[(n * channels + c) * ns + s])
                    };
                    let taps = Taps::new(&e, onto_input);
                    let images = Images { data: &x, channels, first };
                    let all = (used * nk, batch * nt);
                    for (rows, columns) in [
                        (0..all.0, 0..all.1),
                        (0..all.0, 0..nt),
                        (all.0 / 2..all.0, 0..nt),
                        (all.0 / 3..all.0, all.1 / 3..all.1 - all.1 / 4),
                        (0..1, all.1 / 2..all.1 / 2),
                    ] {
                        let got = taps.unfold(images, 0, rows.clone(), columns.clone());
                        let expected: Vec<u32> =
                            rows.flat_map(|r| columns.clone().map(move |c| (r, c))).map(|(r, c)| want(r, c)).collect();
                        assert_eq!(got.as_ref(), expected, "{e:?} onto input: {onto_input}");
                    }
                }
            }
        }
    }

    #[test]
    fn rows_of_channels_and_back() {
        let (groups, batch, per_group, space) = (3, 2, 2, 5);
        for batch in [1, batch] {
            for groups in [1, groups] {
                let x: Vec<u32> = (0..(groups * per_group * batch * space) as u32).collect();
                let rows = |g| {
                    let x = Images { data: &x, channels: groups * per_group, first: g * per_group };
                    channel_rows(x, batch, per_group, space).into_owned()
                };
                let all: Vec<Vec<u32>> = (0..groups).map(rows).collect();
                assert_eq!(all[0][..space], x[..space]);
                assert_eq!(from_channel_rows(all, batch, per_group, space), x);
            }
        }
        assert_eq!(
            by_input_channel(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], 3, 2, 2),
            [1, 2, 5, 6, 9, 10, 3, 4, 7, 8, 11, 12]
        );
    }
}
