//! The report: one HTML file, made from the certificate alone.
//!
//! It formats and decides nothing. Every section is a typed struct with a template of its own under
//! `templates/report/`; templates neither compute nor compare. Names are made inert by
//! [`crate::error::printable`] and by askama's escaping.

mod agreement;
mod cell;
mod chart;
mod charts;
mod facts;
mod gradients;
mod graph;
mod layers;
mod summary;

use askama::Template;
use sha2::{Digest, Sha256};

use crate::certificate::Certificate;

/// The page.
#[derive(Template)]
#[template(path = "report/page.html")]
struct Page {
    title: String,
    /// The beginning of the model's hash, for the foot of printed pages: hexadecimal digits only.
    foot: String,
    contents: Vec<Entry>,
    /// The script, and its hash as the content security policy wants it.
    script: &'static str,
    script_hash: String,
    verdict: summary::Verdict,
    scope: summary::Scope,
    checklist: summary::Checklist,
    gradients: gradients::Gradients,
    charts: charts::Charts,
    budget: layers::Budget,
    layers: layers::Layers,
    forward: layers::Forward,
    assumptions: facts::Assumptions,
    agreement: agreement::Agreements,
    checks: facts::Checks,
    environment: facts::Environment,
    reproduce: facts::Reproduce,
    identity: facts::Identity,
    glossary: facts::Glossary,
}

/// A line of the table of contents.
struct Entry {
    id: &'static str,
    text: &'static str,
}

/// Sections in order: anchor, heading.
const CONTENTS: [(&str, &str); 14] = [
    ("verdict", "Verdict"),
    ("scope", "Scope"),
    ("checklist", "Release checklist"),
    ("gradients", "Gradient tolerances"),
    ("charts", "Charts"),
    ("budget", "Error budget"),
    ("layers", "Layers in detail"),
    ("gates", "Forward values and gates"),
    ("assumptions", "Assumptions and limits"),
    ("agreement", "The file's own gradients"),
    ("checks", "Checks that were run"),
    ("environment", "Environment and reproduction"),
    ("identity", "Hashes and signature"),
    ("glossary", "Glossary and rules"),
];

/// Sorts, filters and folds; the page is complete without it.
const SCRIPT: &str = include_str!("../../templates/report/script.js");

/// Base64 with padding (RFC 4648, section 4).
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let group = (0..3).fold(0, |g, i| g << 8 | u32::from(*chunk.get(i).unwrap_or(&0)));
        for i in 0..4 {
            let sextet = ALPHABET[(group >> (18 - 6 * i) & 63) as usize];
            out.push(if i <= chunk.len() { char::from(sextet) } else { '=' });
        }
    }
    out
}

/// The report on a certificate, as one self-contained HTML document.
pub fn render(c: &Certificate) -> String {
    let page = Page {
        title: format!("Gradient certificate: {}", cell::name(&c.model.file)),
        foot: c.model.sha256.chars().filter(char::is_ascii_hexdigit).take(16).collect(),
        contents: CONTENTS.iter().map(|&(id, text)| Entry { id, text }).collect(),
        script: SCRIPT,
        script_hash: format!("sha256-{}", base64(&Sha256::digest(SCRIPT))),
        verdict: summary::verdict(c),
        scope: summary::scope(c),
        checklist: summary::checklist(c),
        gradients: gradients::gradients(c),
        charts: charts::charts(c),
        budget: layers::budget(c),
        layers: layers::layers(c),
        forward: layers::forward(c),
        assumptions: facts::assumptions(c),
        agreement: agreement::agreements(c),
        checks: facts::checks(c),
        environment: facts::environment(c),
        reproduce: facts::reproduce(c),
        identity: facts::identity(c),
        glossary: facts::glossary(c),
    };
    page.render().expect("writing to a string cannot fail")
}

#[cfg(test)]
mod tests;
