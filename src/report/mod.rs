//! The report: one HTML file, made from the certificate alone.
//!
//! It formats and decides nothing. Every section is a typed struct with a template of its own under
//! `templates/report/`; templates neither compute nor compare. Names are made inert by
//! [`crate::error::printable`] and by askama's escaping.

mod cell;
mod chart;
mod charts;
mod facts;
mod gradients;
mod layers;
mod summary;

use askama::Template;

use crate::certificate::Certificate;

/// The page.
#[derive(Template)]
#[template(path = "report/page.html")]
struct Page {
    title: String,
    /// The beginning of the model's hash, for the foot of printed pages: hexadecimal digits only.
    foot: String,
    contents: Vec<Entry>,
    verdict: summary::Verdict,
    scope: summary::Scope,
    checklist: summary::Checklist,
    gradients: gradients::Gradients,
    charts: charts::Charts,
    budget: layers::Budget,
    layers: layers::Layers,
    forward: layers::Forward,
    assumptions: facts::Assumptions,
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
const CONTENTS: [(&str, &str); 13] = [
    ("verdict", "Verdict"),
    ("scope", "Scope"),
    ("checklist", "Release checklist"),
    ("gradients", "Gradient tolerances"),
    ("charts", "Charts"),
    ("budget", "Error budget"),
    ("layers", "Layers in detail"),
    ("gates", "Forward values and gates"),
    ("assumptions", "Assumptions and limits"),
    ("checks", "Checks that were run"),
    ("environment", "Environment and reproduction"),
    ("identity", "Hashes and signature"),
    ("glossary", "Glossary and rules"),
];

/// The report on a certificate, as one self-contained HTML document.
pub fn render(c: &Certificate) -> String {
    let page = Page {
        title: format!("Gradient certificate: {}", cell::name(&c.model.file)),
        foot: c.model.sha256.chars().filter(char::is_ascii_hexdigit).take(16).collect(),
        contents: CONTENTS.iter().map(|&(id, text)| Entry { id, text }).collect(),
        verdict: summary::verdict(c),
        scope: summary::scope(c),
        checklist: summary::checklist(c),
        gradients: gradients::gradients(c),
        charts: charts::charts(c),
        budget: layers::budget(c),
        layers: layers::layers(c),
        forward: layers::forward(c),
        assumptions: facts::assumptions(c),
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
