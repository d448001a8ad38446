//! How much memory a run may take, and how much it will: what doesn't fit is refused before it is
//! asked for.
//!
//! The limit belongs to the process, as its thread pool does. Results don't depend on it: there are
//! results, or there is a refusal that names the estimate.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::OnceLock;

use crate::error::{Code, Diagnostic};

static LIMIT: OnceLock<u64> = OnceLock::new();

/// Sets the limit of this process in bytes, before anything was read. Says whether it was set.
pub fn set(bytes: u64) -> bool {
    LIMIT.set(bytes).is_ok()
}

/// Bytes that this process may take: what was [`set`], else 80 % of what was there at first sight.
pub fn limit() -> u64 {
    *LIMIT.get_or_init(|| available().map_or(u64::MAX, |n| n / 10 * 8))
}

/// Bytes of memory that are there: the machine's, or less where a control group allows less.
/// `None` where the system doesn't tell.
pub fn available() -> Option<u64> {
    let number = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let group = number("/sys/fs/cgroup/memory.max")
        .and_then(|max| Some(max.saturating_sub(number("/sys/fs/cgroup/memory.current")?)));
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|t| available_in(&t));
    machine.into_iter().chain(group).min()
}

/// The figure `MemAvailable` of `/proc/meminfo`, in bytes.
fn available_in(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// "8G", "512M", "100000K", "123456789" (bytes) or "50%" (of what is there).
pub fn parse(text: &str) -> Result<u64, String> {
    let bad = || format!("\"{text}\" is no amount of memory: 8G, 512M or 50% are");
    let unit = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let n: u64 = unit.parse().map_err(|_| bad())?;
    let bytes = match &text[unit.len()..] {
        "%" if n <= 100 => available().map(|a| a / 100 * n),
        "" => Some(n),
        "K" | "k" => n.checked_mul(1 << 10),
        "M" | "m" => n.checked_mul(1 << 20),
        "G" | "g" => n.checked_mul(1 << 30),
        "T" | "t" => n.checked_mul(1 << 40),
        _ => None,
    };
    bytes.filter(|&b| b > 0).ok_or_else(bad)
}

/// Bytes of the tables alone that are there together after the exact pass, of a graph whose values have so
/// many entries together. The exact pass may need more for a while: what fits is never refused.
// An entry has a value and a cotangent; each has: binary32 4, an enclosure 16. Bounds of values on three rungs of 8
// are there until the way down is over.
pub fn of_passes(entries: u64) -> u64 {
    entries.saturating_mul(2 * (4 + 16) + 3 * 8)
}

/// Bytes of a graph whose values have so many entries: a binary32 number, and a place in an index table.
pub fn of_graph(entries: u64) -> u64 {
    entries.saturating_mul(8)
}

/// Refuses what needs more than the limit. `what` is what needs it, such as "array \"x\"".
///
/// # Errors
/// E050 with the estimate and the limit.
pub fn afford(what: &str, bytes: u64) -> Result<(), Diagnostic> {
    afford_within(what, bytes, limit())
}

fn afford_within(what: &str, bytes: u64, limit: u64) -> Result<(), Diagnostic> {
    if bytes <= limit {
        return Ok(());
    }
    let text = format!("{what} would take {} or more, at most {} may be taken", amount(bytes), amount(limit));
    Err(Diagnostic::new(Code::Limit, text)
        .note("without --max-memory the limit is 80 % of the memory that is there")
        .help("certify a smaller batch or smaller inputs (--shape), or raise --max-memory on a machine that has it"))
}

/// Bytes for people.
fn amount(bytes: u64) -> String {
    let b = bytes as f64;
    match bytes {
        0..1_048_576 => format!("{bytes} bytes"),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", b / 1_048_576.0),
        _ => format!("{:.1} GiB", b / 1_073_741_824.0),
    }
}

/// Reads a whole file, as far as the limit goes; also from what has no length, such as a pipe.
///
/// # Errors
/// The system's, and one that names the sizes where the file is too large.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    read_within(path, limit())
}

fn read_within(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let large = |n: u64| {
        let text = format!("it has {} or more, at most {} may be taken (--max-memory)", amount(n), amount(limit));
        io::Error::new(io::ErrorKind::FileTooLarge, text)
    };
    if length > limit {
        return Err(large(length));
    }
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(usize::try_from(length).unwrap_or(usize::MAX)).map_err(|_| large(length))?;
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit { Err(large(bytes.len() as u64)) } else { Ok(bytes) }
}

/// As [`read`], for UTF-8 text.
///
/// # Errors
/// As [`read`]; bytes that aren't UTF-8 are invalid data.
pub fn read_to_string(path: &Path) -> io::Result<String> {
    String::from_utf8(read(path)?).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.utf8_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_and_shown() {
        assert_eq!(parse("8G"), Ok(8 << 30));
        assert_eq!(parse("512m"), Ok(512 << 20));
        assert_eq!(parse("100"), Ok(100));
        for bad in ["", "G", "0", "8X", "-1G", "101%", "99999999999999T", "1.5G", "G8", "8 G"] {
            assert!(parse(bad).unwrap_err().contains("is no amount"), "{bad}");
        }
        assert_eq!(
            (amount(3), amount(3 << 20), amount(5 << 29)),
            ("3 bytes".into(), "3.0 MiB".into(), "2.5 GiB".into())
        );
        assert_eq!(available_in("MemTotal: 8 kB\nMemAvailable:    1234 kB\n"), Some(1_263_616));
        assert_eq!(available_in("MemTotal: 8 kB\n"), None);
    }

    #[test]
    fn what_does_not_fit_is_refused_with_both_numbers() {
        assert!(afford_within("this", 1 << 20, 1 << 20).is_ok());
        let d = afford_within("this", (1 << 20) + 1, 1 << 20).unwrap_err();
        assert_eq!(d.code, Code::Limit);
        assert!(d.what.starts_with("this would take 1.0 MiB or more"), "{d}");
        assert_eq!(of_passes(u64::MAX), u64::MAX);
        assert!(of_passes(1000) > of_passes(999));
    }

    #[test]
    fn files_are_read_up_to_the_limit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, [7; 100]).unwrap();
        assert_eq!(read_within(&path, 100).unwrap(), [7; 100]);
        assert!(read_within(&path, 99).unwrap_err().to_string().contains("100 bytes"));
        // no length, and no end
        #[cfg(unix)]
        assert!(read_within(Path::new("/dev/zero"), 5000).unwrap_err().to_string().contains("5001 bytes"));
    }
}
