//! `certify render CERT --report F`: the report of a certificate that was written before.

use std::path::Path;

use super::{Exit, files, print};
use crate::certificate::{Certificate, Policy};
use crate::error::{Code, Diagnostic, printable};
use crate::session::Failure;
use crate::{output, report};

pub(super) fn run(certificate: &Path, to: &Path) -> Result<Exit, Failure> {
    let file = certificate.display().to_string();
    let to = if to == Path::new("-") { Path::new("/dev/stdout") } else { to };
    if let (Ok(a), Ok(b)) = (std::fs::canonicalize(certificate), std::fs::canonicalize(to))
        && a == b
    {
        return Err(Diagnostic::new(Code::Usage, "--report would overwrite the certificate").file(file).into());
    }
    files::place(to)?;
    let text = crate::limits::read_to_string(certificate)
        .map_err(|e| Diagnostic::new(Code::Io, format!("the certificate can't be read: {e}")).file(&file))?;
    let parsed = Certificate::from_json(&text).map_err(|d| d.file(&file))?;
    consistent(&parsed).map_err(|d| d.file(&file))?;
    let page = report::render(&parsed);
    output::write_atomically(to, page.as_bytes())?;
    if to != Path::new("/dev/stdout") {
        print(&format!("report  {}\n", printable(&to.display().to_string())))?;
    }
    Ok(Exit::Good)
}

/// A certificate that was edited may claim what its figures don't say.
fn consistent(c: &Certificate) -> Result<(), Diagnostic> {
    let mut again = c.clone();
    let bad = |what: String| {
        Err(Diagnostic::new(Code::Malformed, what)
            .note("it was changed after it was written, or written by another version")
            .help("make it again with `certify MODEL --certificate FILE`"))
    };
    match again.decide_by(&Policy::of(&c.decision_rule)) {
        Err(bug) => bad(format!("the certificate contradicts itself: {}", bug.violations.join("; "))),
        Ok(()) if again != *c => bad("the certificate's verdicts don't follow from its figures".into()),
        Ok(()) => Ok(()),
    }
}
