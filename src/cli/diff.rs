//! `certify diff OLD NEW`.

use std::fmt::Write as _;
use std::path::Path;

use super::args::Diff;
use super::files::{identity, on_stdout, place, standard};
use super::{Exit, print, results, say};
use crate::certificate::Certificate;
use crate::error::{Code, Diagnostic, Diagnostics, printable};
use crate::gate::diff::diff;
use crate::session::Failure;

pub(super) fn run(args: &Diff) -> Result<Exit, Failure> {
    let json = args.json.as_deref().map(standard);
    if let Some(p) = &json {
        place(p)?;
        if [&args.old, &args.new].iter().any(|r| identity(r) == identity(p)) {
            let what = format!("--json \"{}\" would overwrite a certificate", p.display());
            return Err(Diagnostic::new(Code::Usage, what).help("choose another path").into());
        }
    }
    let mut problems = Diagnostics::default();
    let mut get = |p: &Path| read(p).map_err(|d| problems.push(d)).ok();
    let both = (get(&args.old), get(&args.new));
    let (Some(old), Some(new)) = both else { return Err(problems.into()) };
    let d = diff(&old, &new, args.allow);
    let files: Vec<_> = json.into_iter().map(|p| (p, results::document(&d, false))).collect();
    results::write(&files)?;
    let worse = d.changes.iter().filter(|c| c.worse).count();
    let mut out = format!("changes      {}, {worse} for the worse\n", d.changes.len());
    for c in &d.changes {
        let word = if c.worse { "WORSE" } else { "changed" };
        let _ = writeln!(out, "{word:<13}\"{}\": {}", printable(&c.what), printable(&c.text));
    }
    if on_stdout(&files) {
        say(&out)
    } else {
        print(&out)?
    }
    Ok(if d.worse() { Exit::NotCertified } else { Exit::Good })
}

/// Reads a certificate, and refuses one that was changed after it was sealed.
pub(super) fn read(path: &Path) -> Result<Certificate, Diagnostic> {
    let file = path.display().to_string();
    let text = crate::limits::read_to_string(path)
        .map_err(|e| Diagnostic::new(Code::Io, format!("the certificate can't be read: {e}")).file(&file))?;
    let c = Certificate::from_json(&text).map_err(|d| d.file(&file))?;
    if !c.sealed() {
        let d = Diagnostic::new(Code::Malformed, "the certificate's digest isn't that of its contents").file(&file);
        return Err(d.help("it was changed after it was written: make it again"));
    }
    Ok(c)
}
