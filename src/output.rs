//! Writing result files: complete or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::error::{Code, Diagnostic};

/// Writes a file so that readers see the old content or all of the new one, never a part; a file
/// that was there survives any failure. Permissions are those of the file replaced, or 0644 less the
/// umask. Something that exists and isn't a regular file (`/dev/stdout`, a pipe) is written directly,
/// and a symbolic link is followed.
///
/// # Errors
/// E001 with the path and the system's reason.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), Diagnostic> {
    stage(path, bytes).and_then(Staged::commit).map_err(|e| failure(path, &e))
}

/// Writes several files, each as [`write_atomically`] does. All contents are on the disk before the
/// first name points at them: what can't be written leaves all files as they were. (Only a name that
/// can't be changed although a file could be made beside it comes too late for that.)
///
/// # Errors
/// E001 with the path and the system's reason.
pub fn write_all_atomically(files: &[(PathBuf, Vec<u8>)]) -> Result<(), Diagnostic> {
    let mut staged = Vec::with_capacity(files.len());
    for (path, bytes) in files {
        staged.push((path, stage(path, bytes).map_err(|e| failure(path, &e))?));
    }
    // Streams first: they may break, and names hardly do.
    staged.sort_by_key(|(_, s)| matches!(s, Staged::Name { .. }));
    staged.into_iter().try_for_each(|(path, s)| s.commit().map_err(|e| failure(path, &e)))
}

fn failure(path: &Path, e: &io::Error) -> Diagnostic {
    let file = path.display().to_string();
    let help = match e.kind() {
        io::ErrorKind::NotFound => "the directory must exist",
        io::ErrorKind::PermissionDenied => "the directory must be writable",
        io::ErrorKind::StorageFull => "free some space, or write elsewhere",
        _ => "choose another path",
    };
    Diagnostic::new(Code::Io, format!("\"{file}\" can't be written: {e}")).file(file).help(help)
}

/// A file that is ready to be put in its place.
enum Staged<'a> {
    /// All of it is in a temporary file that takes the target's name.
    Name { temporary: tempfile::NamedTempFile, target: PathBuf },
    /// A pipe, a terminal or a device, open.
    Stream { file: File, bytes: &'a [u8] },
}

impl Staged<'_> {
    fn commit(self) -> io::Result<()> {
        match self {
            Staged::Name { temporary, target } => {
                temporary.persist(&target).map_err(|e| e.error)?;
                // The new name as well, where directories can be synchronised; the file is complete either way.
                #[cfg(unix)]
                let _ = File::open(folder(&target)).and_then(|d| d.sync_all());
                Ok(())
            }
            Staged::Stream { mut file, bytes } => file.write_all(bytes).and_then(|()| file.flush()),
        }
    }
}

fn stage<'a>(path: &Path, bytes: &'a [u8]) -> io::Result<Staged<'a>> {
    // A directory fails to open, with the right message.
    let stream = || Ok(Staged::Stream { file: fs::OpenOptions::new().append(true).open(path)?, bytes });
    // A standard stream that was redirected to a file has a name of its own, which isn't to be replaced.
    if path.starts_with("/dev") || path.starts_with("/proc") {
        return stream();
    }
    // The target of a link is replaced, not the link.
    let target = match fs::canonicalize(path) {
        Ok(p) => p,
        Err(e) if e.kind() == io::ErrorKind::NotFound => path.to_path_buf(),
        Err(e) => return Err(e),
    };
    let old = match fs::metadata(&target) {
        Ok(m) => Some(m),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => return Err(e),
    };
    if let Some(m) = &old
        && !m.is_file()
    {
        return stream();
    }
    let mut temporary = temporary(folder(&target))?;
    temporary.write_all(bytes)?;
    if let Some(m) = &old {
        temporary.as_file().set_permissions(m.permissions())?;
    }
    // The content must be on the disk before the name points at it.
    temporary.as_file().sync_all()?;
    Ok(Staged::Name { temporary, target })
}

fn folder(file: &Path) -> &Path {
    match file.parent() {
        Some(d) if !d.as_os_str().is_empty() => d,
        _ => Path::new("."),
    }
}

/// A temporary file beside the target; it vanishes unless it is renamed.
fn temporary(dir: &Path) -> io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".certify-").suffix(".part");
    // Left alone, temporary files are 0600; with a mode given, the umask applies to it.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o644));
    }
    builder.tempfile_in(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut v: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        v.sort();
        v
    }

    #[test]
    fn a_file_is_made_and_replaced_and_nothing_else_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.html");
        write_atomically(&path, b"one").unwrap();
        write_atomically(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(names(dir.path()), ["out.html"]);
    }

    #[cfg(unix)]
    #[test]
    fn permissions_are_kept_and_others_may_read() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.json");
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        // A file made in the ordinary way shows what the umask leaves of 0666.
        fs::write(dir.path().join("ordinary"), b"").unwrap();
        let ordinary = fs::metadata(dir.path().join("ordinary")).unwrap().permissions().mode() & 0o777;
        write_atomically(&path, b"one").unwrap();
        assert_eq!(mode(), 0o644 & ordinary);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        write_atomically(&path, b"two").unwrap();
        assert_eq!(mode(), 0o640);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_a_link_and_a_device_is_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real"), dir.path().join("link"));
        fs::write(&real, b"old").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        write_atomically(&link, b"new").unwrap();
        assert_eq!(fs::read(&real).unwrap(), b"new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        write_atomically(Path::new("/dev/null"), b"gone").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }

    #[test]
    fn failures_name_the_path_and_leave_what_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let d = write_atomically(&dir.path().join("no/such/dir.html"), b"x").unwrap_err();
        assert_eq!(d.code, Code::Io);
        assert!(d.what.contains("no/such/dir.html") && d.help.unwrap().contains("directory"));
        fs::create_dir(dir.path().join("sub")).unwrap();
        assert!(write_atomically(&dir.path().join("sub"), b"x").is_err());
        assert_eq!(names(dir.path()), ["sub"]);
    }
    #[test]
    fn of_several_files_all_are_written_or_none() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), b"old").unwrap();
        let files = |last: &str| ["a", "b", last].map(|n| (dir.path().join(n), b"new".to_vec())).to_vec();
        let d = write_all_atomically(&files("no/such")).unwrap_err();
        assert!(d.what.contains("no/such"), "{d}");
        assert_eq!((names(dir.path()), fs::read(dir.path().join("a")).unwrap()), (vec!["a".into()], b"old".to_vec()));
        write_all_atomically(&files("c")).unwrap();
        assert_eq!(
            (names(dir.path()), fs::read(dir.path().join("a")).unwrap()),
            (["a", "b", "c"].map(String::from).to_vec(), b"new".to_vec())
        );
    }
}
