//! `certify policy init`.

use std::path::Path;

use super::files::standard;
use super::{Exit, print};
use crate::error::{Code, Diagnostic, printable};
use crate::gate::policy::TEMPLATE;
use crate::output;
use crate::session::Failure;

/// Writes the commented policy; a file that is there is kept.
pub(super) fn init(file: &Path) -> Result<Exit, Failure> {
    let to = standard(file);
    if to.is_file() {
        let what = format!("\"{}\" is there already", to.display());
        return Err(Diagnostic::new(Code::Usage, what).help("remove it first, or name another file").into());
    }
    output::write_atomically(&to, TEMPLATE.as_bytes())?;
    if to == file {
        print(&format!("policy  {}\n", printable(&to.display().to_string())))?;
    }
    Ok(Exit::Good)
}
