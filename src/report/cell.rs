//! How figures and names stand in the page. Upper bounds are rounded up, lower bounds down, and the
//! full figure stands in the cell's title; names are made inert.

use crate::certificate::{Enclosure, Num, Status, decimal};
use crate::error::printable;

/// Up to so many rows, every full figure is in its cell's title, and the details repeat what the tables say;
/// beyond, the page would get too large for what it is.
pub(super) const TITLED: usize = 300;
/// Significant digits in tables.
const DIGITS: usize = 3;

/// A short text, and what it stands for in full.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Cell {
    /// What is shown.
    pub text: String,
    /// What the title says; empty for no title.
    pub full: String,
}

impl Cell {
    /// Text that needs no title.
    pub fn plain(text: impl Into<String>) -> Cell {
        Cell { text: text.into(), full: String::new() }
    }

    /// The `title` attribute with a space before it, or nothing. Figures consist of digits, signs and
    /// brackets only, so that nothing has to be escaped.
    pub fn title(&self) -> String {
        if self.full.is_empty() || self.full == self.text { String::new() } else { format!(" title=\"{}\"", self.full) }
    }

    /// The text, in an element of its own where it has a title. For figures only.
    pub fn span(&self) -> String {
        let title = self.title();
        if title.is_empty() { self.text.clone() } else { format!("<span{title}>{}</span>", self.text) }
    }

    /// For figures that don't exist.
    pub fn none() -> Cell {
        Cell::plain("–")
    }
}

/// An upper bound.
pub(super) fn upper(x: Num) -> Cell {
    Cell { text: decimal::up(x.get(), DIGITS), full: decimal::full(x.get()) }
}

/// A lower bound.
pub(super) fn lower(x: Num) -> Cell {
    Cell { text: decimal::down(x.get(), DIGITS), full: decimal::full(x.get()) }
}

/// A figure with a sign, away from zero.
pub(super) fn signed(x: Num) -> Cell {
    if x.get() < 0.0 { lower(x) } else { upper(x) }
}

/// An upper bound, or a dash.
pub(super) fn upper_or_none(x: Option<Num>) -> Cell {
    x.map_or_else(Cell::none, upper)
}

/// Both ends of an enclosure.
pub(super) fn ends(e: Enclosure) -> (Cell, Cell) {
    (lower(Num::of(e.lo())), upper(Num::of(e.hi())))
}

/// An enclosure of a value whose leading digits agree: 10 digits, rounded outward.
pub(super) fn interval(e: Enclosure) -> Cell {
    Cell {
        text: format!("[{}, {}]", decimal::down(e.lo(), 10), decimal::up(e.hi(), 10)),
        full: format!("[{}, {}]", decimal::full(e.lo()), decimal::full(e.hi())),
    }
}

/// Correct digits: tenths, already rounded down.
pub(super) fn digits(x: Num) -> String {
    if x.get() >= 17.0 { "≥ 17".into() } else { format!("{:.1}", x.get()) }
}

/// A shape as people write it.
pub(super) fn shape(s: &[u64]) -> String {
    if s.is_empty() { "scalar".into() } else { s.iter().map(u64::to_string).collect::<Vec<_>>().join("×") }
}

/// A name from a file.
pub(super) fn name(s: &str) -> String {
    if s.is_empty() { "(no name)".into() } else { printable(s) }
}

/// A name from a file as HTML, which may be parted behind its dots and slashes.
pub(super) fn parted(s: &str) -> String {
    let mut out = String::new();
    for (i, c) in name(s).chars().enumerate() {
        match c {
            '&' | '<' | '>' | '"' | '\'' => out += &format!("&#{};", u32::from(c)),
            _ => out.push(c),
        }
        if i > 0 && matches!(c, '.' | '/') {
            out += "<wbr>";
        }
    }
    out
}

/// A longer text, word by word.
pub(super) fn prose(s: &str) -> String {
    s.split_inclusive(' ').take(2000).map(printable).collect()
}

/// A value that is exactly known.
pub(super) fn exact(x: Num) -> Cell {
    Cell::plain(decimal::full(x.get()))
}

/// A count with its thousands set apart.
pub(super) fn count(n: u64) -> String {
    let s = n.to_string();
    let mut out = String::with_capacity(s.len() + s.len() / 3);
    for (i, c) in s.chars().enumerate() {
        if i > 0 && (s.len() - i).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(c);
    }
    out
}

/// A verdict as class and word: never colour alone. The style sheet puts a sign before the word.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Mark {
    /// Class in the style sheet.
    pub class: &'static str,
    /// Word.
    pub word: &'static str,
}

/// The mark of a status.
pub(super) fn mark(s: Status) -> Mark {
    match s {
        Status::Pass => Mark { class: "pass", word: "pass" },
        Status::Fail => Mark { class: "fail", word: "fail" },
        Status::Undecided => Mark { class: "open", word: "undecided" },
        Status::NotApplicable => Mark { class: "none", word: "not applicable" },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1\u{202f}000", "1\u{202f}234\u{202f}567"]);
    }

    #[test]
    fn names_are_parted_and_stay_text() {
        assert_eq!(parted("/a.b/<i>"), "/a.<wbr>b/<wbr>&#60;i&#62;");
        assert_eq!(parted("\u{202e}&\"'"), "\\u{202e}&#38;&#34;&#39;");
    }

    #[test]
    fn ends_are_rounded_outward_and_never_to_zero() {
        let (lo, hi) = ends(Enclosure::of(1.2399e-30, 1.2341e-9));
        assert_eq!((lo.text.as_str(), hi.text.as_str()), ("1.23e-30", "1.24e-9"));
        assert_eq!((lo.full.as_str(), hi.full.as_str()), ("1.2399e-30", "1.2341e-9"));
        assert_ne!(upper(Num::of(5e-324)).text, "0");
        assert_ne!(lower(Num::of(5e-324)).text, "0");
        assert_eq!(upper(Num::ZERO).text, "0");
    }
}
