//! Weights from onnxruntime-training's checkpoint: a FlatBuffer with the identifier `ODTC`.
//!
//! A small reader of that one schema (`checkpoint.fbs` and `Tensor` of `ort.fbs` of ONNX Runtime 1.19):
//! Checkpoint {version, module_state, …}, ModuleState {requires_grad_params, frozen_params, …}: vectors
//! of Tensor {name, doc_string, dims, data_type, raw_data, …}. FlatBuffers are offsets into the file
//! (little endian); every one is checked before it is followed, and what it leads to is counted.

use crate::data::{DType, HostTensor, MAX_RANK};
use crate::limits;

/// Field numbers of the tables.
const MODULE_STATE: usize = 1;
const TRAINED: usize = 0;
const FROZEN: usize = 1;
const NAME: usize = 0;
const DIMS: usize = 2;
const DATA_TYPE: usize = 3;
const RAW_DATA: usize = 4;
const EXTERNAL_OFFSET: usize = 6;

/// Is this a checkpoint?
pub fn is_checkpoint(bytes: &[u8]) -> bool {
    bytes.get(4..8) == Some(b"ODTC")
}

/// All tensors of the module state: those that are trained, then those that are frozen.
pub fn read(bytes: &[u8]) -> Result<Vec<(String, HostTensor)>, String> {
    if !is_checkpoint(bytes) {
        return Err("no checkpoint: its identifier isn't \"ODTC\"".into());
    }
    let file = File(bytes);
    let root = file.table(file.follow(0)?)?;
    let Some(state) = root.field(MODULE_STATE)? else { return Ok(Vec::new()) };
    let state = file.table(file.follow(state)?)?;
    let (mut out, mut held) = (Vec::new(), 0);
    for field in [TRAINED, FROZEN] {
        let Some(at) = state.field(field)? else { continue };
        let (start, count) = file.vector(at, 4)?;
        for k in 0..count {
            out.push(file.tensor(file.follow(start + 4 * k)?, &mut held)?);
        }
    }
    Ok(out)
}

#[derive(Clone, Copy)]
struct File<'a>(&'a [u8]);

/// A table, with its list of field offsets.
struct Table<'a> {
    file: File<'a>,
    at: usize,
    fields: usize,
    count: usize,
}

impl<'a> File<'a> {
    fn bytes(self, at: usize, n: usize) -> Result<&'a [u8], String> {
        at.checked_add(n)
            .and_then(|end| self.0.get(at..end))
            .ok_or_else(|| format!("the checkpoint is damaged: {n} bytes at {at} of a file of {}", self.0.len()))
    }

    fn number<const N: usize>(self, at: usize) -> Result<[u8; N], String> {
        let b = self.bytes(at, N)?;
        Ok(std::array::from_fn(|i| b[i]))
    }

    fn u32(self, at: usize) -> Result<usize, String> {
        Ok(u32::from_le_bytes(self.number(at)?) as usize)
    }

    /// The place that the offset at `at` points to: always forward.
    fn follow(self, at: usize) -> Result<usize, String> {
        let offset = self.u32(at)?;
        at.checked_add(offset).filter(|&to| offset > 0 && to < self.0.len()).ok_or_else(|| {
            format!("the checkpoint is damaged: an offset of {offset} at {at} of a file of {}", self.0.len())
        })
    }

    /// A table begins with the signed distance back to its list: two lengths, then 16-bit offsets.
    fn table(self, at: usize) -> Result<Table<'a>, String> {
        let back = i32::from_le_bytes(self.number(at)?);
        let list = (at as i64).checked_sub(i64::from(back)).and_then(|l| usize::try_from(l).ok());
        let list = list.ok_or_else(|| format!("the checkpoint is damaged: a table at {at} without fields"))?;
        let size = usize::from(u16::from_le_bytes(self.number(list)?));
        self.bytes(list, size)?;
        Ok(Table { file: self, at, fields: list + 4, count: size.saturating_sub(4) / 2 })
    }

    /// First entry and number of entries of the vector that the offset at `at` points to.
    fn vector(self, at: usize, size: usize) -> Result<(usize, usize), String> {
        let start = self.follow(at)?;
        let count = self.u32(start)?;
        let bytes = count.checked_mul(size).ok_or("the checkpoint is damaged: a vector too long")?;
        self.bytes(start + 4, bytes)?;
        Ok((start + 4, count))
    }

    /// The tensor at `at`; `held` counts the bytes of all tensors so far. Many entries may name one place in the
    /// file, so the file's size bounds nothing.
    fn tensor(self, at: usize, held: &mut u64) -> Result<(String, HostTensor), String> {
        let mut hold = |bytes: usize| {
            *held = held.saturating_add(bytes as u64);
            limits::afford("the checkpoint's tensors, as far as this one,", *held).map_err(|d| d.what)
        };
        let t = self.table(at)?;
        let Some(name) = t.field(NAME)? else { return Err("a tensor of the checkpoint has no name".into()) };
        let (start, length) = self.vector(name, 1)?;
        hold(length)?;
        let name = String::from_utf8_lossy(self.bytes(start, length)?).into_owned();
        let mut shape = Vec::new();
        if let Some(dims) = t.field(DIMS)? {
            let (start, rank) = self.vector(dims, 8)?;
            if rank > MAX_RANK {
                return Err(format!("\"{name}\": {rank} dimensions, where {MAX_RANK} are the most"));
            }
            for k in 0..rank {
                let d = i64::from_le_bytes(self.number(start + 8 * k)?);
                shape.push(usize::try_from(d).map_err(|_| format!("\"{name}\": negative size {d}"))?);
            }
        }
        let dtype = match t.field(DATA_TYPE)? {
            Some(at) => DType::from_onnx(i32::from_le_bytes(self.number(at)?)),
            None => DType::Other("UNDEFINED"),
        };
        let Some(raw) = t.field(RAW_DATA)? else {
            let why = if t.field(EXTERNAL_OFFSET)?.is_some() { "lie in another file" } else { "are missing" };
            return Err(format!("\"{name}\": the values {why}"));
        };
        let (start, length) = self.vector(raw, 1)?;
        // the widest that is held of the narrowest that is stored: an INT8 as 64 bits
        hold(8 * length)?;
        let tensor = HostTensor::from_bytes(dtype, shape, self.bytes(start, length)?, false);
        Ok((name.clone(), tensor.map_err(|e| format!("\"{name}\": {e}"))?))
    }
}

impl Table<'_> {
    /// Place of a field, `None` when it has its default.
    fn field(&self, k: usize) -> Result<Option<usize>, String> {
        if k >= self.count {
            return Ok(None);
        }
        match u16::from_le_bytes(self.file.number(self.fields + 2 * k)?) {
            0 => Ok(None),
            offset => Ok(Some(self.at + usize::from(offset))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A checkpoint with one trained tensor `w` = [1, 2], put together by hand.
    fn sample() -> Vec<u8> {
        let mut b = Vec::new();
        let words = |b: &mut Vec<u8>, v: &[u32]| v.iter().for_each(|x| b.extend(x.to_le_bytes()));
        let halves = |b: &mut Vec<u8>, v: &[u16]| v.iter().for_each(|x| b.extend(x.to_le_bytes()));
        words(&mut b, &[16]);
        b.extend(b"ODTC");
        halves(&mut b, &[8, 8, 0, 4]); // 8: fields of Checkpoint
        words(&mut b, &[8, 12]); // 16: Checkpoint, module_state at 20 → 32
        halves(&mut b, &[6, 8, 4, 0]); // 24: fields of ModuleState
        words(&mut b, &[8, 4]); // 32: ModuleState, trained at 36 → 40
        words(&mut b, &[1, 20]); // 40: one tensor, at 44 → 64
        halves(&mut b, &[14, 20, 4, 0, 8, 12, 16, 0]); // 48: fields of Tensor
        words(&mut b, &[16, 16, 20, 1, 32]); // 64: Tensor; name 68 → 84, dims 72 → 92, raw 80 → 112
        words(&mut b, &[1]); // 84: "w"
        b.extend(b"w\0\0\0");
        words(&mut b, &[1, 2, 0, 0, 0]); // 92: dims [2]
        words(&mut b, &[8]); // 112: raw data
        b.extend(1f32.to_le_bytes());
        b.extend(2f32.to_le_bytes());
        b
    }

    #[test]
    fn tensors_are_found() {
        assert_eq!(read(&sample()).unwrap(), [("w".to_string(), HostTensor::f32(vec![2], vec![1.0, 2.0]))]);
    }

    #[test]
    fn damage_is_noticed_and_never_panics() {
        let good = sample();
        for cut in 0..good.len() {
            assert!(read(&good[..cut]).is_err(), "cut at {cut}");
        }
        for at in 0..good.len() {
            for value in 0..=255 {
                let mut bad = good.clone();
                bad[at] = value;
                let _ = read(&bad);
            }
        }
    }
}
