//! `certify verify`: a certificate's figures and verdicts, derived again.
//!
//! The model is run again and enclosed again, by scalar MPFR arithmetic at another precision; neither the
//! bound nor the scale cells are called. From the figures found, a document is put together that the
//! certificate would have to be, and both are compared field by field. What only the bound cells could
//! make (values of bounds and scales, undecided gates) is checked for containment and consistency, and by
//! the digest.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::evidence::{Evidence, evidence};
use super::expected;
use crate::certificate::{Certificate, InputSource};
use crate::error::Diagnostics;
use crate::session::document;
use crate::session::{Failure, Loaded, Progress, Request, load};

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// All that was derived again agrees.
    Consistent,
    /// Something disagrees.
    Divergent,
    /// It can't be told: another version made the certificate, or this machine can't run the model.
    Unverifiable,
}

/// What a verification found.
#[derive(Clone, Debug, PartialEq)]
pub struct Verified {
    /// The answer.
    pub answer: Answer,
    /// Everything that disagrees, or stands in the way.
    pub findings: Vec<String>,
    /// Gradients that were derived again, and all of them.
    pub derived: (usize, usize),
    /// Seed of the sample; `None` when all were derived.
    pub sample: Option<u64>,
    /// Bits of the midpoints.
    pub bits: u32,
}

/// How much is derived again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Every gradient.
    Full,
    /// Of a large model a sample drawn from this seed.
    Sample(u64),
}

impl Verified {
    fn without(answer: Answer, findings: Vec<String>) -> Verified {
        Verified { answer, findings, derived: (0, 0), sample: None, bits: 0 }
    }
}

/// Verifies the text of a certificate against model and inputs.
///
/// # Errors
/// What stands in the way of reading model and inputs.
pub fn verify(text: &str, request: &Request, extent: Extent, progress: &dyn Progress) -> Result<Verified, Failure> {
    let claimed = match Certificate::from_json(text) {
        Ok(c) => c,
        // It says itself that it isn't one of this version, or contradicts itself.
        Err(d) => {
            let other = d.what.contains("has schema");
            let answer = if other { Answer::Unverifiable } else { Answer::Divergent };
            return Ok(Verified::without(answer, vec![d.what]));
        }
    };
    let mut findings = duplicates(text);
    if !claimed.sealed() {
        findings.push("digest: it isn't that of this document, which was changed after it was sealed".into());
    }
    let own = env!("CARGO_PKG_VERSION");
    if claimed.tool.name != "certify" || claimed.tool.version != own {
        let what = format!("made by {} {}, this is certify {own}", claimed.tool.name, claimed.tool.version);
        let answer = if findings.is_empty() { Answer::Unverifiable } else { Answer::Divergent };
        findings.push(what);
        return Ok(Verified::without(answer, findings));
    }
    progress.pass("import");
    let loaded = load(request)?;
    findings.extend(subject(&claimed, &loaded));
    if !findings.is_empty() {
        // Figures of another model or input would only hide what matters.
        return Ok(Verified::without(Answer::Divergent, findings));
    }
    let found = match evidence(&claimed, &loaded, !request.outputs.is_empty(), extent, progress) {
        Ok(e) => e,
        Err(d) => return Ok(Verified::without(Answer::Unverifiable, vec![Diagnostics::from(d).to_string()])),
    };
    progress.pass("comparison");
    findings.extend(compare(&claimed, request, &loaded, &found));
    Ok(Verified {
        answer: if findings.is_empty() { Answer::Consistent } else { Answer::Divergent },
        findings,
        derived: (found.gradients.iter().flatten().count(), found.gradients.len()),
        sample: found.sample,
        bits: found.bits,
    })
}

/// Is it the model, and are these the inputs, that the certificate speaks of?
fn subject(c: &Certificate, loaded: &Loaded) -> Vec<String> {
    let mut found = Vec::new();
    let (model, inputs) = (document::model(loaded), document::inputs(loaded));
    if c.model.sha256 != model.sha256 {
        found.push(format!("model: SHA-256 {} was certified, this one is {}", c.model.sha256, model.sha256));
    }
    if c.model.files.iter().map(|f| &f.sha256).ne(model.files.iter().map(|f| &f.sha256)) {
        found.push("model: its weights, external data or masks are not those that were certified".into());
    }
    if c.inputs.sha256 != inputs.sha256 {
        found.push(format!("inputs: SHA-256 {} was certified, these are {}", c.inputs.sha256, inputs.sha256));
    }
    if (c.inputs.source == InputSource::Synthetic) != (inputs.source == InputSource::Synthetic) {
        found.push("inputs: synthetic ones and data are not the same".into());
    }
    found
}

/// Every difference between what is claimed and what would have to stand there.
fn compare(claimed: &Certificate, request: &Request, loaded: &Loaded, found: &Evidence) -> Vec<String> {
    let mut findings = Vec::new();
    let wanted = expected::document(claimed, request, loaded, found, &mut findings);
    match wanted {
        Ok(wanted) => {
            let json = |c: &Certificate| serde_json::to_value(c).expect("a certificate is always serialisable");
            differences(&json(claimed), &json(&wanted), "", &mut findings);
        }
        Err(bug) => findings.extend(bug.violations.into_iter().map(|v| format!("contradiction: {v}"))),
    }
    findings
}

/// Findings that are listed; more don't help.
const LISTED: usize = 200;

/// Lists the places at which two documents differ.
fn differences(claimed: &Value, wanted: &Value, at: &str, found: &mut Vec<String>) {
    if found.len() >= LISTED {
        return;
    }
    match (claimed, wanted) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for k in keys {
                let none = Value::Null;
                differences(a.get(k).unwrap_or(&none), b.get(k).unwrap_or(&none), &format!("{at}/{k}"), found);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (i, (x, y)) in a.iter().zip(b).enumerate() {
                differences(x, y, &format!("{at}/{i}"), found);
            }
        }
        (Value::Array(a), Value::Array(b)) => {
            found.push(format!("{at}: {} entries, {} are found: {}", a.len(), b.len(), missing(a, b)));
        }
        (a, b) if a != b => found.push(format!("{at}: {}, {} is found", short(a), short(b))),
        _ => {}
    }
}

/// What one list has and the other hasn't.
fn missing(a: &[Value], b: &[Value]) -> String {
    let name = |v: &Value| v.get("name").or(v.get("node")).map_or_else(|| short(v), short);
    let without =
        |x: &[Value], y: &[Value]| x.iter().map(name).filter(|n| !y.iter().any(|v| name(v) == *n)).collect::<Vec<_>>();
    format!("missing {:?}, superfluous {:?}", without(b, a), without(a, b))
}

fn short(v: &Value) -> String {
    let text = v.to_string();
    if text.chars().count() > 80 { text.chars().take(80).chain(['…']).collect() } else { text }
}

/// Keys that occur twice in one object: readers take the first or the last.
fn duplicates(text: &str) -> Vec<String> {
    // serde refuses duplicate fields of structs, and a certificate is made of structs only, so that a
    // document that was read has none; the check here is against text after the document.
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let one = stream.next().is_some();
    if one && stream.next().is_none() { Vec::new() } else { vec!["there is more than one document".into()] }
}
