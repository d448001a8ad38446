//! Einsum: diagonals and sums first, then products of two operands at a time, from left to right.

use super::call::{Call, Done, Problem, invalid, unsupported};
use crate::import::index::{built, from_fn, strides};
use crate::ir::ValueId;
use crate::ops;

/// A subscript: a letter, or the k-th axis from the right of what an ellipsis stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Label {
    Dots(usize),
    Letter(char),
}

/// A value with one label per axis, all different.
struct Term {
    id: ValueId,
    labels: Vec<Label>,
}

/// Labels of one term; `rank` tells how many axes an ellipsis has.
fn labels(text: &str, rank: Option<usize>, dots: usize) -> Result<Vec<Label>, Problem> {
    let (before, after) = match text.split_once("...") {
        Some((a, b)) => (a, Some(b)),
        None => (text, None),
    };
    let letters = |s: &str| -> Result<Vec<Label>, Problem> {
        match s.chars().find(|c| !c.is_ascii_alphabetic()) {
            Some(c) => Err(invalid(format!("equation with \"{c}\" in \"{text}\""))),
            None => Ok(s.chars().map(Label::Letter).collect()),
        }
    };
    let mut out = letters(before)?;
    if let Some(after) = after {
        let after = letters(after)?;
        let named = out.len() + after.len();
        let hidden = rank.map_or(Some(dots), |r| r.checked_sub(named));
        let hidden = hidden.ok_or_else(|| invalid(format!("term \"{text}\" for {rank:?} axes")))?;
        out.extend((0..hidden).rev().map(Label::Dots));
        out.extend(after);
    }
    match rank {
        Some(r) if r != out.len() => Err(invalid(format!("term \"{text}\" names {} axes of {r}", out.len()))),
        _ => Ok(out),
    }
}

/// The sizes of labels, 1 only where no operand has another.
struct Sizes(Vec<(Label, usize)>);

impl Sizes {
    fn of(&self, l: Label) -> usize {
        self.0.iter().find(|(k, _)| *k == l).map_or(1, |(_, n)| *n)
    }

    fn note(&mut self, l: Label, n: usize) -> Result<(), Problem> {
        match self.0.iter_mut().find(|(k, _)| *k == l) {
            None => self.0.push((l, n)),
            Some((_, old)) if *old == 1 => *old = n,
            Some((_, old)) if *old == n || n == 1 => {}
            Some((_, old)) => return Err(format!("sizes {old} and {n} under one label").into()),
        }
        Ok(())
    }
}

pub(super) fn einsum(c: &mut Call) -> Done {
    let equation: String = c.text("equation", "")?.split_whitespace().collect();
    let (left, right) = match equation.split_once("->") {
        Some((l, r)) => (l.to_string(), Some(r.to_string())),
        None => (equation.clone(), None),
    };
    let texts: Vec<&str> = left.split(',').collect();
    if texts.len() != c.operands() {
        return Err(invalid(format!("equation \"{equation}\" for {} operands", c.operands())));
    }
    let mut sizes = Sizes(Vec::new());
    let mut raw = Vec::new();
    for (k, text) in texts.iter().enumerate() {
        let id = c.graph(k)?;
        let shape = c.sizes(id);
        let list = labels(text, Some(shape.len()), 0)?;
        for (&l, &n) in list.iter().zip(&shape) {
            sizes.note(l, n)?;
        }
        raw.push((id, list));
    }
    let dots = raw
        .iter()
        .flat_map(|(_, l)| l)
        .filter(|l| matches!(l, Label::Dots(_)))
        .collect::<std::collections::BTreeSet<_>>()
        .len();
    let out = match &right {
        Some(text) => labels(text, None, dots)?,
        None => {
            // what the ellipsis stands for, then the letters that occur once, by alphabet
            let all: Vec<Label> = raw.iter().flat_map(|(_, l)| l.iter().copied()).collect();
            let mut once: Vec<Label> = all
                .iter()
                .copied()
                .filter(|l| matches!(l, Label::Letter(_)) && all.iter().filter(|m| *m == l).count() == 1)
                .collect();
            once.sort_unstable();
            (0..dots).rev().map(Label::Dots).chain(once).collect()
        }
    };
    let known = |l: &&Label| !sizes.0.iter().any(|(k, _)| k == *l);
    if out.iter().find(known).is_some() || (1..out.len()).any(|i| out[..i].contains(&out[i])) {
        return Err(invalid(format!("result of equation \"{equation}\"")));
    }
    let mut terms = Vec::new();
    for (id, list) in raw {
        terms.push(diagonal(c, id, &list, &sizes)?);
    }
    while terms.len() > 1 {
        let (a, b) = (terms.remove(0), terms.remove(0));
        let keep = |l: &Label| out.contains(l) || terms.iter().any(|t| t.labels.contains(l));
        let joint = pair(c, a, b, &keep, &sizes)?;
        terms.insert(0, joint);
    }
    let last = terms.pop().ok_or_else(|| invalid("an equation without operands"))?;
    let last = summed(c, last, &|l| out.contains(l))?;
    let y = arranged(c, last, &out, &sizes)?;
    c.set(0, y);
    Ok(())
}

/// One axis per label: repeated labels take the diagonal, sizes of 1 are stretched to what others have.
fn diagonal(c: &mut Call, id: ValueId, list: &[Label], sizes: &Sizes) -> Result<Term, Problem> {
    let shape = c.sizes(id);
    let mut labels: Vec<Label> = Vec::new();
    list.iter().for_each(|l| {
        if !labels.contains(l) {
            labels.push(*l)
        }
    });
    // letters of size 1 stay as they are: they broadcast like an ellipsis does
    let out: Vec<usize> = labels.iter().map(|l| sizes.of(*l)).collect();
    if labels.len() == list.len() && out == shape {
        return Ok(Term { id, labels });
    }
    built(&out)?;
    let own = strides(&shape);
    let index = from_fn(&out, |at| {
        let place = |l: &Label| labels.iter().position(|m| m == l).map_or(0, |k| at[k]);
        Some(list.iter().enumerate().map(|(k, l)| if shape[k] == 1 { 0 } else { place(l) * own[k] }).sum())
    });
    let id = c.gather(id, out, index)?;
    Ok(Term { id, labels })
}

/// Σ over the labels that nobody needs any more.
fn summed(c: &mut Call, t: Term, keep: &dyn Fn(&Label) -> bool) -> Result<Term, Problem> {
    let axes: Vec<usize> = (0..t.labels.len()).filter(|&k| !keep(&t.labels[k])).collect();
    if axes.is_empty() {
        return Ok(t);
    }
    let rows = c.rows(t.id, &axes)?;
    let id = c.sum(rows)?;
    Ok(Term { id, labels: t.labels.into_iter().filter(|l| keep(l)).collect() })
}

/// The term with these labels in this order, as axes.
fn arranged(c: &mut Call, t: Term, order: &[Label], sizes: &Sizes) -> Result<ValueId, Problem> {
    let perm: Option<Vec<usize>> = order.iter().map(|l| t.labels.iter().position(|m| m == l)).collect();
    match perm {
        Some(perm) => c.transpose(t.id, &perm),
        None => {
            let shape: Vec<usize> = order.iter().map(|l| sizes.of(*l)).collect();
            Err(unsupported(format!("a result of shape {shape:?} with labels that no term has")))
        }
    }
}

/// Σ over the shared labels that nobody else needs, as a matrix product per shared label that is kept.
fn pair(c: &mut Call, a: Term, b: Term, keep: &dyn Fn(&Label) -> bool, sizes: &Sizes) -> Result<Term, Problem> {
    let a = summed(c, a, &|l| keep(l) || b.labels.contains(l))?;
    let b = summed(c, b, &|l| keep(l) || a.labels.contains(l))?;
    let shared = |l: &&Label| b.labels.contains(l);
    let batch: Vec<Label> = a.labels.iter().filter(shared).filter(|l| keep(l)).copied().collect();
    let inner: Vec<Label> = a.labels.iter().filter(shared).filter(|l| !keep(l)).copied().collect();
    let left: Vec<Label> = a.labels.iter().filter(|l| !b.labels.contains(l)).copied().collect();
    let right: Vec<Label> = b.labels.iter().filter(|l| !a.labels.contains(l)).copied().collect();
    let count = |list: &[Label]| list.iter().map(|l| sizes.of(*l)).product::<usize>();
    let (n, k, l, r) = (count(&batch), count(&inner), count(&left), count(&right));
    let chain = |parts: [&[Label]; 3]| parts.concat();
    let x = arranged(c, a, &chain([&batch, &left, &inner]), sizes)?;
    let y = arranged(c, b, &chain([&batch, &inner, &right]), sizes)?;
    let labels = chain([&batch, &left, &right]);
    let shape: Vec<usize> = labels.iter().map(|l| sizes.of(*l)).collect();
    let id = if inner.is_empty() {
        // no sum: an outer product, entry by entry
        let (x, y) = (c.reshape(x, vec![n, l, 1])?, c.reshape(y, vec![n, 1, r])?);
        c.binary(ops::Mul, x, y)?
    } else {
        let (x, y) = (c.reshape(x, vec![n, l, k])?, c.reshape(y, vec![n, k, r])?);
        super::linear::product(c, x, y)?
    };
    let id = c.reshape(id, shape)?;
    Ok(Term { id, labels })
}
