//! Where results go: checked before the work begins, written after it has ended.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::args::{Certify, GraphArgs};
use crate::error::{Code, Diagnostic, Diagnostics};
use crate::output;

/// The files of one run of `certify MODEL`.
pub(super) struct Files {
    report: Option<PathBuf>,
    certificate: Option<PathBuf>,
    dump: Option<PathBuf>,
    contents: Vec<(PathBuf, Vec<u8>)>,
}

impl Files {
    /// Checks that every place asked for can be a file, is asked for once, and isn't read from.
    pub(super) fn new(args: &Certify) -> Result<Files, Diagnostics> {
        let mut problems = Diagnostics::default();
        let report = args.report.as_deref().map(standard);
        let certificate = args.certificate.as_deref().map(standard);
        let mut taken = taken(&args.graph);
        let resume = args.resume.clone();
        let own = [("--report", report.clone()), ("--certificate", certificate.clone()), ("--resume", resume)];
        let own = own.into_iter().filter_map(|(f, p)| p.map(|p| (f, p)));
        for (flag, path) in &own.chain(args.results.places()).collect::<Vec<_>>() {
            if let Err(d) = place(path) {
                problems.push(d);
                continue;
            }
            if let Some(other) = taken.insert(identity(path), flag) {
                let what = format!("{flag} \"{}\" would overwrite {other}", path.display());
                problems.push(Diagnostic::new(Code::Usage, what).help("choose another path"));
            }
        }
        if let Some(dir) = &args.dump
            && let Err(d) = folder(dir)
        {
            problems.push(d);
        }
        problems.into_result(Files { report, certificate, dump: args.dump.clone(), contents: Vec::new() })
    }

    /// Takes the report.
    pub(super) fn report(&mut self, bytes: Vec<u8>) {
        self.contents.extend(self.report.clone().map(|p| (p, bytes)));
    }

    /// Takes the certificate.
    pub(super) fn certificate(&mut self, bytes: Vec<u8>) {
        self.contents.extend(self.certificate.clone().map(|p| (p, bytes)));
    }

    /// Takes other results.
    pub(super) fn others(&mut self, files: Vec<(PathBuf, Vec<u8>)>) {
        self.contents.extend(files);
    }

    /// Takes a file of the dump.
    pub(super) fn dump(&mut self, name: &str, bytes: Vec<u8>) {
        self.contents.extend(self.dump.as_ref().map(|d| (d.join(name), bytes)));
    }

    /// What was asked for, and where it goes.
    pub(super) fn places(&self) -> Vec<(&'static str, String)> {
        let all = [("report", &self.report), ("certificate", &self.certificate), ("dump", &self.dump)];
        all.into_iter().filter_map(|(n, p)| p.as_ref().map(|p| (n, p.display().to_string()))).collect()
    }

    /// Does something go to standard output?
    pub(super) fn on_stdout(&self) -> bool {
        on_stdout(&self.contents)
    }

    /// Writes all that was taken, or nothing.
    pub(super) fn write(&self) -> Result<(), Diagnostic> {
        let Some(dir) = &self.dump else { return output::write_all_atomically(&self.contents) };
        let made = match fs::create_dir(dir) {
            Ok(()) => true,
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => false,
            Err(e) => {
                let what = format!("the directory can't be made: {e}");
                return Err(Diagnostic::new(Code::Io, what).file(dir.display().to_string()));
            }
        };
        output::write_all_atomically(&self.contents).inspect_err(|_| {
            if made {
                // empty, so that this doesn't fail
                let _ = fs::remove_dir(dir);
            }
        })
    }
}

/// Does one of these files go to standard output?
pub(super) fn on_stdout(files: &[(PathBuf, Vec<u8>)]) -> bool {
    files.iter().any(|(p, _)| ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"].iter().any(|s| p == Path::new(s)))
}

/// Files that are read, which no result may overwrite.
pub(super) fn taken(graph: &GraphArgs) -> BTreeMap<PathBuf, &'static str> {
    let cotangents = graph.cotangents.iter().filter(|(_, v)| v != "ones").map(|(_, v)| Path::new(v));
    let read = [&graph.model, &graph.inputs, &graph.weights].map(|p| p.as_deref());
    let paths = read.into_iter().flatten().chain(cotangents).filter_map(|p| fs::canonicalize(p).ok());
    paths.map(|p| (p, "a file that is read")).collect()
}

/// "-" is standard output.
pub(super) fn standard(path: &Path) -> PathBuf {
    if path == Path::new("-") { "/dev/stdout".into() } else { path.into() }
}

/// What tells a place from another, even before it exists.
pub(super) fn identity(path: &Path) -> PathBuf {
    let parent = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    fs::canonicalize(path)
        .or_else(|_| fs::canonicalize(parent).map(|p| p.join(path.file_name().unwrap_or_default())))
        .unwrap_or_else(|_| path.to_path_buf())
}

/// Can a file stand here?
pub(super) fn place(path: &Path) -> Result<(), Diagnostic> {
    let file = path.display().to_string();
    let bad = |what: String, help: &str| Err(Diagnostic::new(Code::Io, what).file(&file).help(help));
    if path.is_dir() {
        return bad(format!("\"{file}\" is a directory, a file is required"), "name a file inside it");
    }
    match path.parent() {
        Some(p) if !p.as_os_str().is_empty() && !p.is_dir() => bad(
            format!("\"{file}\" can't be written: there is no directory \"{}\"", p.display()),
            "make the directory first",
        ),
        _ if path.file_name().is_none() => bad(format!("\"{file}\" is no file name"), "name a file"),
        _ => Ok(()),
    }
}

/// Can a directory stand here?
fn folder(path: &Path) -> Result<(), Diagnostic> {
    let file = path.display().to_string();
    let bad = |what: String, help: &str| Err(Diagnostic::new(Code::Io, what).file(&file).help(help));
    match path.parent() {
        _ if path.is_dir() => Ok(()),
        _ if path.exists() => bad(format!("\"{file}\" is a file, a directory is required"), "choose another path"),
        Some(p) if !p.as_os_str().is_empty() && !p.is_dir() => bad(
            format!("\"{file}\" can't be made: there is no directory \"{}\"", p.display()),
            "make the directory first",
        ),
        _ => Ok(()),
    }
}
