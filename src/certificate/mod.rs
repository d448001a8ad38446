//! The certificate: one JSON document that holds all that is claimed, and the rule that decides.
//!
//! The numeric passes fill a [`Certificate`]'s figures; [`Certificate::decide`] derives limits,
//! verdicts, digits, tolerances and the checklist from them, and nothing else does. The document is
//! deterministic: fields stand in the order of the structs, and there is no time stamp unless the
//! caller sets `date`. It is documented in `docs/certificate.md` and `docs/certificate.schema.json`.

pub mod canonical;
pub mod checklist;
pub mod decimal;
mod draft;
#[cfg(test)]
pub(crate) mod example;
mod number;
pub mod policy;
mod rungs;
mod schema;
mod tolerance;
mod verdict;

pub use draft::Figures;
pub use number::{Enclosure, Exact, Num};
pub use policy::{LimitRule, Policy, Waiver};
pub use rungs::{Bound, Bounds, Covers, Method, Rung, Standing};
pub use schema::*;
pub use verdict::{AGREEMENT, EXIT_TOOL_BUG, Limits, NEAREST, ToolBug, correct_digits, judge};

use crate::error::{Code, Diagnostic};

impl Certificate {
    /// The document: pretty-printed JSON with a final newline. The same certificate gives the same
    /// bytes.
    pub fn to_json(&self) -> String {
        // Numbers are finite by type and keys are strings, so that serialising cannot fail.
        let mut s = serde_json::to_string_pretty(self).expect("a certificate is always serialisable");
        s.push('\n');
        s
    }

    /// Reads a document back.
    ///
    /// # Errors
    /// E002 when it is not JSON, has another schema version, lacks a field or has one too many, or
    /// when a decimal and the hexadecimal figure beside it disagree.
    pub fn from_json(text: &str) -> Result<Certificate, Diagnostic> {
        let bad = |e: serde_json::Error| {
            Diagnostic::new(Code::Malformed, format!("the certificate can't be read: {e}"))
                .note(format!("line {}, column {}", e.line(), e.column()))
                .help("make it again with `certify MODEL --certificate FILE`")
        };
        let value: serde_json::Value = serde_json::from_str(text).map_err(bad)?;
        match value.get("schema") {
            Some(serde_json::Value::String(s)) if s == SCHEMA => {}
            Some(serde_json::Value::String(s)) if !s.starts_with("certify/certificate/") => {
                let what =
                    format!("the document has schema \"{s}\", and a certificate is asked for, which has \"{SCHEMA}\"");
                let help = "a certificate is written by `certify MODEL --certificate FILE`, without --each";
                return Err(Diagnostic::new(Code::Malformed, what).help(help));
            }
            Some(serde_json::Value::String(s)) => {
                return Err(Diagnostic::new(
                    Code::Malformed,
                    format!("the certificate has schema \"{s}\", and this version reads \"{SCHEMA}\""),
                )
                .help("read it with the version of certify that wrote it (\"tool\" names it), or make it again"));
            }
            _ => {
                return Err(Diagnostic::new(Code::Malformed, "no certificate: there is no text under \"schema\"")
                    .note(format!("a certificate says \"{SCHEMA}\" there"))
                    .help("a certificate is written by `certify MODEL --certificate FILE`"));
            }
        }
        serde_json::from_str(text).map_err(bad)
    }
}

#[cfg(test)]
mod schema_test;
#[cfg(test)]
mod tests;
