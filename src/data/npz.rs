//! npz archives: a zip file with one npy array per name.

use std::collections::HashSet;
use std::io::{Cursor, Read, Write};

use super::{HostTensor, npy};
use crate::error::{Code, Diagnostic, Diagnostics};

/// An archive that expands to more than this per member is refused.
const MAX_MEMBER: u64 = 1 << 34;

/// Reads all arrays of an npz archive in the order of its directory, names without `.npy`.
///
/// `file` is how messages call it. All unreadable members are reported.
pub fn read(bytes: &[u8], file: &str) -> Result<Vec<(String, HostTensor)>, Diagnostics> {
    let malformed = |what: String| Diagnostic::new(Code::Malformed, what).file(file);
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes))
        .map_err(|e| malformed(format!("not an npz archive: {e}")).help("write it with numpy.savez"))?;
    // members of one name are one to the library, the last
    if listed(bytes).is_some_and(|n| n != archive.len()) {
        return Err(malformed("an array occurs twice in the archive".into()).into());
    }
    let (mut out, mut names) = (Vec::new(), HashSet::new());
    let mut problems = Diagnostics::default();
    let mut held = 0;
    for i in 0..archive.len() {
        match member(&mut archive, i, held) {
            Ok((name, _)) if !names.insert(name.clone()) => {
                problems.push(malformed(format!("array \"{name}\" occurs twice")));
            }
            Ok(pair) => {
                held += 8 * pair.1.len() as u64;
                out.push(pair);
            }
            Err(what) => problems.push(malformed(what)),
        }
    }
    problems.into_result(out)
}

/// Number of members that the end of the archive's directory states; `None` where they need the larger form.
fn listed(bytes: &[u8]) -> Option<usize> {
    let end = bytes.windows(4).rposition(|w| w == b"PK\x05\x06")?;
    let n = u16::from_le_bytes(bytes.get(end + 10..end + 12)?.try_into().ok()?);
    (n < u16::MAX).then_some(n.into())
}

/// The i-th array, when those before it take `held` bytes.
fn member(archive: &mut zip::ZipArchive<Cursor<&[u8]>>, i: usize, held: u64) -> Result<(String, HostTensor), String> {
    let mut member = archive.by_index(i).map_err(|e| format!("member {i}: {e}"))?;
    let raw = String::from_utf8_lossy(member.name_raw()).into_owned();
    let name = raw.strip_suffix(".npy").unwrap_or(&raw).to_string();
    let stated = member.size();
    if stated > MAX_MEMBER {
        return Err(format!("array \"{name}\" states {stated} bytes (at most {MAX_MEMBER} are accepted)"));
    }
    crate::limits::afford(&format!("array \"{name}\", with those before it,"), held.saturating_add(stated))
        .map_err(|d| d.what)?;
    // the stated size isn't trusted with memory: the buffer grows with what really comes
    let mut bytes = Vec::new();
    let read = member.by_ref().take(stated + 1).read_to_end(&mut bytes);
    read.map_err(|e| format!("array \"{name}\": {e}"))?;
    if bytes.len() as u64 != stated {
        return Err(format!("array \"{name}\" has {} bytes where its entry states {stated}", bytes.len()));
    }
    let tensor = npy::read(&bytes).map_err(|e| format!("array \"{name}\": {e}"))?;
    Ok((name, tensor))
}

/// The bytes of an npz archive with these arrays, in this order; the same arrays give the same
/// bytes on every machine and day (no compression, dates fixed at 1980-01-01).
pub fn write(arrays: &[(String, HostTensor)]) -> Result<Vec<u8>, Diagnostics> {
    let fail = |name: &str, e: String| {
        Diagnostics::from(Diagnostic::new(Code::Io, format!("array \"{name}\" can't be archived: {e}")))
    };
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, tensor) in arrays {
        let bytes = npy::write(tensor).map_err(|e| fail(name, e))?;
        let options = zip::write::SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Stored)
            .last_modified_time(zip::DateTime::default())
            .unix_permissions(0o644)
            .large_file(bytes.len() as u64 >= u64::from(u32::MAX));
        archive.start_file(format!("{name}.npy"), options).map_err(|e| fail(name, e.to_string()))?;
        archive.write_all(&bytes).map_err(|e| fail(name, e.to_string()))?;
    }
    let cursor = archive.finish().map_err(|e| fail("", e.to_string()))?;
    Ok(cursor.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrays() -> Vec<(String, HostTensor)> {
        vec![
            ("fc1.weight".into(), HostTensor::f32(vec![2, 2], vec![1.0, 2.0, 3.0, 4.0])),
            ("onnx::Reshape_2".into(), HostTensor::i64(vec![2], vec![-1, 7])),
            ("../evil".into(), HostTensor::f64(vec![], vec![0.5])),
        ]
    }

    #[test]
    fn archives_are_reproducible_and_read_back() {
        let bytes = write(&arrays()).unwrap();
        assert_eq!(bytes, write(&arrays()).unwrap());
        assert_eq!(read(&bytes, "x.npz").unwrap(), arrays());
    }

    #[test]
    fn a_name_that_occurs_twice_is_told() {
        let two =
            [("ab".into(), HostTensor::f32(vec![], vec![1.0])), ("ac".into(), HostTensor::f32(vec![], vec![2.0]))];
        let mut bytes = write(&two).unwrap();
        for at in 0..bytes.len() - 6 {
            if &bytes[at..at + 6] == b"ac.npy" {
                bytes[at + 1] = b'b';
            }
        }
        assert!(read(&bytes, "x.npz").unwrap_err().to_string().contains("an array occurs twice"));
    }

    #[test]
    fn damaged_archives_are_diagnosed() {
        let bytes = write(&arrays()).unwrap();
        for cut in (0..bytes.len()).step_by(7) {
            assert!(read(&bytes[..cut], "x.npz").is_err(), "cut at {cut}");
        }
        // one flipped bit in the data is found by the checksum
        let mut bad = bytes.clone();
        let at = bad.windows(4).position(|w| w == 1.0f32.to_le_bytes()).unwrap();
        bad[at] ^= 1;
        let err = read(&bad, "x.npz").unwrap_err().to_string();
        assert!(err.contains("x.npz") && err.contains("fc1.weight"), "{err}");
    }
}
