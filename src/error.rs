//! Diagnostics: what is wrong, where, why, and what to do about it.
//!
//! Every layer reports user-facing problems as [`Diagnostic`]s and collects as many as it can
//! before giving up ([`Diagnostics`]). Bugs of the tool itself panic with the broken invariant.

use std::fmt::{self, Write as _};

/// What kind of problem a diagnostic reports; the number is stable across releases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Code {
    /// E001: a file can't be read or written.
    Io,
    /// E002: a file is not what its format says (truncated, malformed, contradictory).
    Malformed,
    /// E003: the graph has a cycle, a missing producer or a duplicate name.
    Graph,
    /// E004: shapes contradict each other or can't be determined.
    Shape,
    /// E005: element types that can't be combined or aren't supported.
    Type,
    /// E006: an attribute or input has a value its operator doesn't allow.
    Attribute,
    /// E012: an operator (or a form of it) has no rules here.
    Unsupported,
    /// E020: an input is missing, superfluous or doesn't fit.
    Input,
    /// E021: there is nothing to differentiate, or no seed for it.
    Seed,
    /// E030: a value is not finite or leaves the domain of an operator.
    Domain,
    /// E040: a hypothesis of the rounding model doesn't hold on this machine.
    Environment,
    /// E050: a limit on size, depth or memory is exceeded.
    Limit,
    /// E060: the command line asks for something impossible.
    Usage,
}

impl Code {
    /// The stable number, e.g. `"E012"`.
    pub fn number(self) -> &'static str {
        match self {
            Code::Io => "E001",
            Code::Malformed => "E002",
            Code::Graph => "E003",
            Code::Shape => "E004",
            Code::Type => "E005",
            Code::Attribute => "E006",
            Code::Unsupported => "E012",
            Code::Input => "E020",
            Code::Seed => "E021",
            Code::Domain => "E030",
            Code::Environment => "E040",
            Code::Limit => "E050",
            Code::Usage => "E060",
        }
    }
}

/// Where a problem is, in the words one finds in a graph viewer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The file, as the user named it.
    pub file: Option<String>,
    /// Name of the ONNX node (or its first output when it has none).
    pub node: Option<String>,
    /// Operator, with its domain unless that is the default one.
    pub op: Option<String>,
    /// Version of the operator set in force.
    pub opset: Option<i64>,
}

/// One problem: what, where, why, and what to do.
///
/// Texts are lower case, without a final period; names are quoted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Kind of problem.
    pub code: Code,
    /// What is wrong, with the number that failed and the number required.
    pub what: String,
    /// Where it is.
    pub place: Place,
    /// Why it matters or how it came about.
    pub notes: Vec<String>,
    /// What to do.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A diagnostic without a place yet.
    pub fn new(code: Code, what: impl Into<String>) -> Self {
        Diagnostic { code, what: what.into(), place: Place::default(), notes: Vec::new(), help: None }
    }

    /// Names the file.
    pub fn file(mut self, file: impl Into<String>) -> Self {
        self.place.file = Some(file.into());
        self
    }

    /// Names the ONNX node, its operator and the operator set version.
    pub fn node(mut self, node: impl Into<String>, op: impl Into<String>, opset: i64) -> Self {
        self.place.node = Some(node.into());
        self.place.op = Some(op.into());
        self.place.opset = Some(opset);
        self
    }

    /// Adds an explanation.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Says what to do.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error[{}]: {}", self.code.number(), printable(&self.what))?;
        let mut at = String::new();
        if let Some(file) = &self.place.file {
            let _ = write!(at, "{}", printable(file));
        }
        if let Some(node) = &self.place.node {
            let sep = if at.is_empty() { "" } else { ": " };
            let _ = write!(at, "{sep}node \"{}\"", printable(node));
            if let (Some(op), Some(opset)) = (&self.place.op, self.place.opset) {
                let _ = write!(at, " ({}, opset {opset})", printable(op));
            }
        }
        if !at.is_empty() {
            write!(f, "\n  --> {at}")?;
        }
        for note in &self.notes {
            write!(f, "\n  note: {}", printable(note))?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n  help: {}", printable(help))?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostic {}

/// All problems found, in the order in which they were met; never empty when returned as an error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    /// Adds one more.
    pub fn push(&mut self, d: Diagnostic) {
        self.0.push(d);
    }

    /// `Ok(value)` when nothing was found.
    pub fn into_result<T>(self, value: T) -> Result<T, Diagnostics> {
        if self.0.is_empty() { Ok(value) } else { Err(self) }
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(d: Diagnostic) -> Self {
        Diagnostics(vec![d])
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, d) in self.0.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            writeln!(f, "{d}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

/// A name from a file, made safe to print: control and bidirectional formatting characters are
/// shown as `\u{…}`, and nothing is longer than 300 characters.
pub fn printable(s: &str) -> String {
    let mut out = String::with_capacity(s.len());
    for (n, c) in s.chars().enumerate() {
        if n == 300 {
            out.push('…');
            break;
        }
        let bidi =
            matches!(c, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || bidi || matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}') {
            let _ = write!(out, "\\u{{{:x}}}", c as u32);
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn diagnostic_renders_place_note_and_help() {
        let d = Diagnostic::new(Code::Unsupported, "operator GridSample has no rules")
            .file("encoder.onnx")
            .node("/vis/GridSample_1", "GridSample", 16)
            .note("reached by output \"logits\"")
            .help("`certify ops` lists the operators with rules");
        assert_eq!(
            d.to_string(),
            "error[E012]: operator GridSample has no rules\n  --> encoder.onnx: node \"/vis/GridSample_1\" (GridSample, opset 16)\n  note: reached by output \"logits\"\n  help: `certify ops` lists the operators with rules"
        );
    }

    #[test]
    fn hostile_names_are_shown_inert() {
        assert_eq!(printable("a\u{1b}[31m\u{202e}b"), "a\\u{1b}[31m\\u{202e}b");
        assert_eq!(printable(&"x".repeat(5000)).chars().count(), 301);
    }
}
