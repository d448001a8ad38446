//! Results for machines: checked before the work begins, written after it has ended.

use std::path::PathBuf;

use serde::Serialize;

use super::args::{GraphArgs, ResultArgs};
use super::files::{place, standard, taken};
use crate::certificate::canonical::canonical;
use crate::error::{Code, Diagnostic, Diagnostics};
use crate::gate::outputs::{self, Findings};
use crate::output;

impl ResultArgs {
    /// The places asked for, by flag.
    pub(super) fn places(&self) -> Vec<(&'static str, PathBuf)> {
        let all = [("--junit", &self.junit), ("--sarif", &self.sarif), ("--in-toto", &self.in_toto)];
        all.into_iter().filter_map(|(f, p)| p.as_deref().map(|p| (f, standard(p)))).collect()
    }

    /// What goes there.
    pub(super) fn contents(&self, f: &Findings) -> Vec<(PathBuf, Vec<u8>)> {
        let make = |flag| match flag {
            "--junit" => outputs::junit(f),
            "--sarif" => outputs::sarif(f),
            _ => outputs::in_toto(f),
        };
        self.places().into_iter().map(|(flag, p)| (p, make(flag).into_bytes())).collect()
    }
}

/// A document of this tool: readable, or in the canonical form.
pub(super) fn document(d: &impl Serialize, in_canonical_form: bool) -> Vec<u8> {
    if in_canonical_form {
        return canonical(d);
    }
    // Numbers are finite by type and keys are strings, so that serialising cannot fail.
    let mut text = serde_json::to_string_pretty(d).expect("a document is always serialisable");
    text.push('\n');
    text.into_bytes()
}

/// Checks that places can be files, are asked for once, and aren't read from.
pub(super) fn check(places: &[(&'static str, PathBuf)], graph: &GraphArgs) -> Result<(), Diagnostics> {
    let mut problems = Diagnostics::default();
    let mut known = taken(graph);
    for (flag, path) in places {
        if let Err(d) = place(path) {
            problems.push(d);
        } else if let Some(other) = known.insert(super::files::identity(path), flag) {
            let what = format!("{flag} \"{}\" would overwrite {other}", path.display());
            problems.push(Diagnostic::new(Code::Usage, what).help("choose another path"));
        }
    }
    problems.into_result(())
}

/// Writes all or none.
pub(super) fn write(files: &[(PathBuf, Vec<u8>)]) -> Result<(), Diagnostic> {
    output::write_all_atomically(files)
}
