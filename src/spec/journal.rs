//! [`Journal`]: what the exact pass has found so far, in a file, so that a run that was killed goes on
//! where it was.
//!
//! The pass is a fixed sequence of steps (a node's value, a node's contributions), each a function of
//! those before it. The file holds their results in order, each with a digest; a step that is there is
//! read, one that isn't is computed and appended. What a kill left unfinished at the end is cut off.
//! So a resumed run finds the very balls that an undisturbed one does.
//!
//! The file begins with a digest of all that the pass reads: graph, weights, inputs, seeds, precision,
//! and this program. It is trusted as this process's memory is: `certify verify` needs none.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rug::integer::Order;
use rug::{Float, Integer};
use sha2::{Digest, Sha256};

use crate::error::{Code, Diagnostic};
use crate::ir::{Array, elements};
use crate::num::{Ball, Balls, Mag};
use crate::ops::{PerOperand, RevGraph};
use crate::seed::Seed;

const MAGIC: &[u8; 24] = b"certify exact pass, 001\n";
/// Bytes of a digest.
const DIGEST: usize = 32;
/// How often the file is synchronised: a power failure loses no more than this.
const SYNC: Duration = Duration::from_secs(5);

/// The file, and where in it the pass is.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: BufReader<File>,
    /// Bytes that are known to be good.
    good: u64,
    /// Steps are still being read.
    replaying: bool,
    step: u64,
    read: u64,
    synced: Instant,
    failure: Option<io::Error>,
}

/// Hashes what is written to it.
struct Hashed(Sha256);

impl std::fmt::Write for Hashed {
    fn write_str(&mut self, s: &str) -> std::fmt::Result {
        self.0.update(s.as_bytes());
        Ok(())
    }
}

/// A digest of all that the exact pass reads.
fn identity(graph: &RevGraph, seeds: &[Seed], wanted: &[bool], start: u32) -> [u8; DIGEST] {
    let mut h = Hashed(Sha256::new());
    // the program itself: rules of another build may differ
    h.0.update(env!("CARGO_PKG_VERSION"));
    if let Ok(program) = std::env::current_exe().and_then(std::fs::read) {
        h.0.update(Sha256::digest(&program));
    }
    let tensor = |h: &mut Hashed, t: &crate::ir::Tensor| {
        // writing into a hash doesn't fail
        let _ = write!(h, "{:?}", t.shape);
        t.data.iter().for_each(|x| h.0.update(x.to_bits().to_le_bytes()));
    };
    for l in graph.leaves() {
        tensor(&mut h, &l.tensor);
        let _ = write!(h, "{:?}", l.meant);
    }
    for n in graph.nodes() {
        let _ = write!(h, "{:?}{:?}{:?}", n.op, n.operands, n.shape);
    }
    for s in seeds {
        let _ = write!(h, "{:?}", s.value);
        tensor(&mut h, &s.cotangent);
    }
    let _ = write!(h, "{wanted:?}{start}");
    h.0.finalize().into()
}

impl Journal {
    /// Opens the checkpoint of this very pass, or begins one.
    ///
    /// # Errors
    /// E001 where the file can't be opened, or another run has it; E020 where it is something else.
    pub fn open(
        path: &Path,
        graph: &RevGraph,
        seeds: &[Seed],
        wanted: &[bool],
        start: u32,
    ) -> Result<Journal, Diagnostic> {
        Journal::with(path, &identity(graph, seeds, wanted, start))
    }

    fn with(path: &Path, identity: &[u8; DIGEST]) -> Result<Journal, Diagnostic> {
        let file = path.display().to_string();
        let io = |e: io::Error| {
            Diagnostic::new(Code::Io, format!("the checkpoint \"{file}\" can't be used: {e}")).file(&file)
        };
        let mut f = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(io)?;
        f.try_lock().map_err(|e| match e {
            std::fs::TryLockError::Error(e) => io(e),
            std::fs::TryLockError::WouldBlock => {
                Diagnostic::new(Code::Io, format!("the checkpoint \"{file}\" is in use by another run")).file(&file)
            }
        })?;
        let head = [&MAGIC[..], identity].concat();
        let mut found = Vec::new();
        (&mut f).take(head.len() as u64).read_to_end(&mut found).map_err(io)?;
        if found != head {
            // an empty file, or one whose first bytes were on their way, is begun anew
            if !head.starts_with(&found) {
                let other = if found.starts_with(MAGIC) {
                    "is of another model, other inputs or another program"
                } else {
                    "is no checkpoint"
                };
                return Err(Diagnostic::new(Code::Input, format!("\"{file}\" {other}"))
                    .file(&file)
                    .help("name another file, or delete this one to begin anew"));
            }
            f.set_len(0).and_then(|()| f.rewind()).and_then(|()| f.write_all(&head)).map_err(io)?;
            f.sync_all().map_err(io)?;
        }
        Ok(Journal {
            path: path.to_path_buf(),
            file: BufReader::new(f),
            good: head.len() as u64,
            replaying: true,
            step: 0,
            read: 0,
            synced: Instant::now(),
            failure: None,
        })
    }

    /// How many steps were read instead of computed.
    pub fn steps_read(&self) -> u64 {
        self.read
    }

    /// Why nothing more is kept, if so: the pass goes on without.
    pub fn failure(&self) -> Option<String> {
        self.failure.as_ref().map(|e| format!("the checkpoint \"{}\" can't be written: {e}", self.path.display()))
    }

    /// The results of the next step: read, or computed and kept.
    pub fn step(
        &mut self,
        balls: &Balls,
        compute: impl FnOnce() -> PerOperand<Array<Ball>>,
    ) -> PerOperand<Array<Ball>> {
        if self.replaying {
            if let Some((open, found)) = self.next(balls.prec) {
                balls.count_undecided(open);
                self.step += 1;
                self.read += 1;
                return found;
            }
            self.replaying = false;
            // what follows is half a step, or damaged
            let f = self.file.get_mut();
            self.failure = f.set_len(self.good).and_then(|()| f.seek(SeekFrom::Start(self.good))).err();
        }
        let before = balls.undecided();
        let made = compute();
        if self.failure.is_none() {
            self.failure = self.append(balls.prec, balls.undecided() - before, &made).err();
        }
        self.step += 1;
        made
    }

    /// The next step in the file, if it is whole and the one that is due.
    fn next(&mut self, prec: u32) -> Option<(usize, PerOperand<Array<Ball>>)> {
        let mut length = [0; 8];
        self.file.read_exact(&mut length).ok()?;
        let length = u64::from_le_bytes(length);
        let mut record = Vec::new();
        (&mut self.file).take(length.checked_add(DIGEST as u64)?).read_to_end(&mut record).ok()?;
        let (payload, digest) = record.split_at_checked(usize::try_from(length).ok()?)?;
        if digest != &Sha256::digest(payload)[..] {
            return None;
        }
        let mut r = Reader(payload);
        if r.u32()? != prec || r.u64()? != self.step {
            return None;
        }
        let open = usize::try_from(r.u64()?).ok()?;
        let count = usize::try_from(r.u64()?).ok()?;
        let found = (0..count).map(|_| r.array()).collect::<Option<PerOperand<Array<Ball>>>>()?;
        self.good += 8 + length + DIGEST as u64;
        Some((open, found))
    }

    fn append(&mut self, prec: u32, open: usize, made: &[Option<Array<Ball>>]) -> io::Result<()> {
        let mut b = vec![0; 8];
        b.extend(prec.to_le_bytes());
        b.extend(self.step.to_le_bytes());
        b.extend((open as u64).to_le_bytes());
        b.extend((made.len() as u64).to_le_bytes());
        made.iter().for_each(|a| put_array(&mut b, a.as_ref()));
        let length = (b.len() - 8) as u64;
        b[..8].copy_from_slice(&length.to_le_bytes());
        let digest = Sha256::digest(&b[8..]);
        b.extend(digest);
        let f = self.file.get_mut();
        f.write_all(&b)?;
        if self.synced.elapsed() > SYNC {
            f.sync_data()?;
            self.synced = Instant::now();
        }
        Ok(())
    }
}

fn put_array(b: &mut Vec<u8>, a: Option<&Array<Ball>>) {
    let Some(a) = a else {
        b.push(0);
        return;
    };
    b.push(1);
    b.extend((a.shape.len() as u64).to_le_bytes());
    a.shape.iter().for_each(|&d| b.extend((d as u64).to_le_bytes()));
    a.data.iter().for_each(|x| put_ball(b, x));
}

// sign, precision, radius; then, of a finite number other than 0, exponent and limbs
fn put_ball(b: &mut Vec<u8>, x: &Ball) {
    let kind = match x.mid.get_significand() {
        _ if !x.mid.is_finite() => 4,
        None => 0,
        Some(_) => 2,
    };
    b.push(kind + u8::from(x.mid.is_sign_negative()));
    b.extend(x.mid.prec().to_le_bytes());
    b.extend(x.rad.get().to_bits().to_le_bytes());
    if let (2, Some(m), Some(e)) = (kind, x.mid.get_significand(), x.mid.get_exp()) {
        b.extend(e.to_le_bytes());
        m.to_digits::<u64>(Order::Lsf).iter().for_each(|d| b.extend(d.to_le_bytes()));
    }
}

/// Bytes from the front of a slice.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (now, later) = self.0.split_first_chunk::<N>()?;
        self.0 = later;
        Some(*now)
    }
    fn u32(&mut self) -> Option<u32> {
        self.bytes().map(u32::from_le_bytes)
    }
    fn u64(&mut self) -> Option<u64> {
        self.bytes().map(u64::from_le_bytes)
    }

    /// An array, or `None` inside where there is none.
    #[allow(clippy::option_option)]
    fn array(&mut self) -> Option<Option<Array<Ball>>> {
        if self.bytes::<1>()? == [0] {
            return Some(None);
        }
        let rank = usize::try_from(self.u64()?).ok()?;
        let shape = (0..rank).map(|_| usize::try_from(self.u64()?).ok()).collect::<Option<Vec<usize>>>()?;
        let data = (0..elements(&shape)).map(|_| self.ball()).collect::<Option<Vec<Ball>>>()?;
        Some(Some(Array::new(shape, data)))
    }

    fn ball(&mut self) -> Option<Ball> {
        let [kind] = self.bytes()?;
        let prec = self.u32()?;
        let rad = Mag::of(f64::from_bits(self.u64()?));
        let mut mid = match kind & 6 {
            0 => Float::new(prec),
            2 => {
                let e = i32::from_le_bytes(self.bytes()?);
                let digits = (0..prec.div_ceil(64)).map(|_| self.u64()).collect::<Option<Vec<u64>>>()?;
                // limbs are full: |x| = m·2^(e − bits of m)
                let m = Integer::from_digits(&digits, Order::Lsf);
                let bits = i32::try_from(m.significant_bits()).ok()?;
                Float::with_val(prec, &m) << (e - bits)
            }
            _ => Float::with_val(prec, f64::NAN),
        };
        if kind & 1 == 1 {
            mid = -mid;
        }
        Some(Ball { mid, rad })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn balls() -> Vec<Ball> {
        let third = Float::with_val(200, 1) / 3u32;
        let tiny = Float::with_val(130, 5) >> 5000;
        let ball = |mid: Float, rad: f64| Ball { mid, rad: Mag::of(rad) };
        vec![
            ball(third.clone(), 1e-60),
            ball(-third, f64::INFINITY),
            ball(Float::new(64), 0.0),
            ball(-Float::new(64), 0.0),
            ball(tiny, 5e-324),
            ball(Float::with_val(53, -1.5e300), 0.25),
            ball(Float::with_val(1, 4), 0.0),
        ]
    }

    fn same(a: &Ball, b: &Ball) -> bool {
        let sign = |x: &Ball| x.mid.is_sign_negative();
        a.mid == b.mid && sign(a) == sign(b) && a.mid.prec() == b.mid.prec() && a.rad == b.rad
    }

    fn made(k: usize) -> PerOperand<Array<Ball>> {
        vec![Some(Array::new(vec![7], balls())), None, Some(Array::new(vec![], vec![Ball::exact(k as f64 + 1.0)]))]
    }

    /// Runs three steps; says how many were computed.
    fn three(path: &Path) -> usize {
        let mut j = Journal::with(path, &[7; DIGEST]).unwrap();
        let mut computed = 0;
        for k in 0..3 {
            let found = j.step(&Balls::new(128), || {
                computed += 1;
                made(k)
            });
            assert_eq!(found.len(), 3);
            for (a, b) in found.iter().zip(made(k)) {
                assert_eq!(a.is_some(), b.is_some());
                let (Some(a), Some(b)) = (a, b) else { continue };
                assert!(a.shape == b.shape && a.data.iter().zip(&b.data).all(|(a, b)| same(a, b)), "{a:?}");
            }
        }
        assert!(j.failure().is_none() && j.steps_read() as usize == 3 - computed);
        computed
    }

    #[test]
    fn steps_are_read_again_wherever_the_file_was_cut_or_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j");
        assert_eq!(three(&path), 3);
        assert_eq!(three(&path), 0);
        let whole = std::fs::read(&path).unwrap();
        let step = (whole.len() - 56) / 3;
        for cut in (0..=whole.len()).step_by(7) {
            std::fs::write(&path, &whole[..cut]).unwrap();
            assert_eq!(three(&path), 3 - cut.saturating_sub(56) / step, "cut at {cut}");
            assert_eq!(std::fs::read(&path).unwrap(), whole);
        }
        for at in (56..whole.len()).step_by(11) {
            let mut damaged = whole.clone();
            damaged[at] ^= 4;
            std::fs::write(&path, &damaged).unwrap();
            assert_eq!(three(&path), 3 - (at - 56) / step, "damaged at {at}");
            assert_eq!(std::fs::read(&path).unwrap(), whole);
        }
    }

    #[test]
    fn steps_of_another_precision_are_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j");
        assert_eq!(three(&path), 3);
        let mut j = Journal::with(&path, &[7; DIGEST]).unwrap();
        let mut computed = false;
        j.step(&Balls::new(192), || {
            computed = true;
            made(0)
        });
        assert!(computed && j.steps_read() == 0);
    }

    #[test]
    fn other_files_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.onnx");
        std::fs::write(&path, "not a checkpoint").unwrap();
        let d = Journal::with(&path, &[7; DIGEST]).unwrap_err();
        assert!(d.to_string().contains("model.onnx\" is no checkpoint"), "{d}");
        assert_eq!(std::fs::read(&path).unwrap(), b"not a checkpoint");
        let path = dir.path().join("j");
        drop(Journal::with(&path, &[7; DIGEST]).unwrap());
        let d = Journal::with(&path, &[8; DIGEST]).unwrap_err();
        assert!(d.to_string().contains("is of another model, other inputs or another program"), "{d}");
        let _used = Journal::with(&path, &[7; DIGEST]).unwrap();
        assert!(Journal::with(&path, &[7; DIGEST]).unwrap_err().to_string().contains("in use by another run"));
    }
}
