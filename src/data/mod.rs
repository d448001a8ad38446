//! Tensors outside the graph: what files hold (ONNX tensors, npz) and what is known at import time.
//!
//! Nothing here rounds silently: narrow floats are stored widened (exact), integers as `i64`
//! (exact; a `u64` above 2^63 − 1 is refused), and every size is checked before memory is asked for.

pub mod npy;
pub mod npz;

use std::fmt;

/// Largest number of elements of one tensor: flat positions must fit the 32-bit index tables of
/// the graph, with one value left over for "nothing".
pub const MAX_ELEMENTS: usize = 1 << 31;

/// Largest number of dimensions of one tensor, NumPy's limit: a file of a few kilobytes may state thousands, whose
/// handling takes time with their square.
pub const MAX_RANK: usize = 64;

/// Element type, by its ONNX name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    /// binary32.
    F32,
    /// binary64.
    F64,
    /// binary16.
    F16,
    /// bfloat16.
    BF16,
    /// Signed 8-bit integer.
    I8,
    /// Signed 16-bit integer.
    I16,
    /// Signed 32-bit integer.
    I32,
    /// Signed 64-bit integer.
    I64,
    /// Unsigned 8-bit integer.
    U8,
    /// Unsigned 16-bit integer.
    U16,
    /// Unsigned 32-bit integer.
    U32,
    /// Unsigned 64-bit integer.
    U64,
    /// Truth value.
    Bool,
    /// A type this tool can name but not hold (strings, complex numbers, 8- and 4-bit formats).
    Other(&'static str),
}

impl DType {
    /// The type with this number in ONNX's `TensorProto.DataType`.
    pub fn from_onnx(number: i32) -> DType {
        match number {
            1 => DType::F32,
            2 => DType::U8,
            3 => DType::I8,
            4 => DType::U16,
            5 => DType::I16,
            6 => DType::I32,
            7 => DType::I64,
            8 => DType::Other("STRING"),
            9 => DType::Bool,
            10 => DType::F16,
            11 => DType::F64,
            12 => DType::U32,
            13 => DType::U64,
            14 => DType::Other("COMPLEX64"),
            15 => DType::Other("COMPLEX128"),
            16 => DType::BF16,
            17 => DType::Other("FLOAT8E4M3FN"),
            18 => DType::Other("FLOAT8E4M3FNUZ"),
            19 => DType::Other("FLOAT8E5M2"),
            20 => DType::Other("FLOAT8E5M2FNUZ"),
            21 => DType::Other("UINT4"),
            22 => DType::Other("INT4"),
            23 => DType::Other("FLOAT4E2M1"),
            24 => DType::Other("FLOAT8E8M0"),
            25 => DType::Other("UINT2"),
            26 => DType::Other("INT2"),
            _ => DType::Other("UNDEFINED"),
        }
    }

    /// Bytes of one element in a file; `None` for types that aren't held.
    pub fn size(self) -> Option<usize> {
        Some(match self {
            DType::I8 | DType::U8 | DType::Bool => 1,
            DType::F16 | DType::BF16 | DType::I16 | DType::U16 => 2,
            DType::F32 | DType::I32 | DType::U32 => 4,
            DType::F64 | DType::I64 | DType::U64 => 8,
            DType::Other(_) => return None,
        })
    }

    /// Its name in NumPy, as certificates give it; what NumPy can't hold keeps its ONNX name.
    pub fn numpy(self) -> &'static str {
        match self {
            DType::F32 => "float32",
            DType::F64 => "float64",
            DType::F16 => "float16",
            DType::BF16 => "bfloat16",
            DType::I8 => "int8",
            DType::I16 => "int16",
            DType::I32 => "int32",
            DType::I64 => "int64",
            DType::U8 => "uint8",
            DType::U16 => "uint16",
            DType::U32 => "uint32",
            DType::U64 => "uint64",
            DType::Bool => "bool",
            DType::Other(name) => name,
        }
    }

    /// Is it one of the floating-point types that are held?
    pub fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::F64 | DType::F16 | DType::BF16)
    }

    /// Is it an integer type?
    pub fn is_int(self) -> bool {
        self.int_range().is_some()
    }

    /// Smallest and largest value of an integer type, as far as `i64` goes.
    pub fn int_range(self) -> Option<(i64, i64)> {
        Some(match self {
            DType::I8 => (i8::MIN.into(), i8::MAX.into()),
            DType::I16 => (i16::MIN.into(), i16::MAX.into()),
            DType::I32 => (i32::MIN.into(), i32::MAX.into()),
            DType::I64 => (i64::MIN, i64::MAX),
            DType::U8 => (0, u8::MAX.into()),
            DType::U16 => (0, u16::MAX.into()),
            DType::U32 => (0, u32::MAX.into()),
            DType::U64 => (0, i64::MAX),
            _ => return None,
        })
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DType::F32 => "FLOAT",
            DType::F64 => "DOUBLE",
            DType::F16 => "FLOAT16",
            DType::BF16 => "BFLOAT16",
            DType::I8 => "INT8",
            DType::I16 => "INT16",
            DType::I32 => "INT32",
            DType::I64 => "INT64",
            DType::U8 => "UINT8",
            DType::U16 => "UINT16",
            DType::U32 => "UINT32",
            DType::U64 => "UINT64",
            DType::Bool => "BOOL",
            DType::Other(name) => name,
        })
    }
}

/// Elements in row-major order, in the smallest set of machine types that holds all of [`DType`].
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// FLOAT, and FLOAT16 and BFLOAT16 widened (exact).
    F32(Vec<f32>),
    /// DOUBLE.
    F64(Vec<f64>),
    /// Every integer type.
    Int(Vec<i64>),
    /// BOOL.
    Bool(Vec<bool>),
    /// A type that isn't held: only its shape is known.
    Opaque,
}

/// A tensor with its element type, shape and row-major data.
#[derive(Clone, Debug, PartialEq)]
pub struct HostTensor {
    /// Element type as the file states it.
    pub dtype: DType,
    /// Sizes, outermost first; empty for a scalar.
    pub shape: Vec<usize>,
    /// Elements.
    pub data: Data,
}

/// Number of elements of a shape, or `None` when the product of its sizes, those that are 0 left out, exceeds
/// [`MAX_ELEMENTS`], or the shape [`MAX_RANK`].
// no part of a shape wraps around where it is multiplied, an empty tensor's neither
pub fn elements(shape: &[usize]) -> Option<usize> {
    if shape.len() > MAX_RANK {
        return None;
    }
    let product = shape.iter().filter(|&&d| d > 0).try_fold(1usize, |n, &d| n.checked_mul(d));
    product.filter(|&n| n <= MAX_ELEMENTS).map(|n| if shape.contains(&0) { 0 } else { n })
}

impl HostTensor {
    /// A tensor of binary32 values; `data` must have as many elements as `shape`.
    pub fn f32(shape: Vec<usize>, data: Vec<f32>) -> Self {
        debug_assert_eq!(elements(&shape), Some(data.len()));
        HostTensor { dtype: DType::F32, shape, data: Data::F32(data) }
    }

    /// A tensor of binary64 values; `data` must have as many elements as `shape`.
    pub fn f64(shape: Vec<usize>, data: Vec<f64>) -> Self {
        debug_assert_eq!(elements(&shape), Some(data.len()));
        HostTensor { dtype: DType::F64, shape, data: Data::F64(data) }
    }

    /// A tensor of 64-bit integers; `data` must have as many elements as `shape`.
    pub fn i64(shape: Vec<usize>, data: Vec<i64>) -> Self {
        debug_assert_eq!(elements(&shape), Some(data.len()));
        HostTensor { dtype: DType::I64, shape, data: Data::Int(data) }
    }

    /// A tensor of truth values; `data` must have as many elements as `shape`.
    pub fn bool(shape: Vec<usize>, data: Vec<bool>) -> Self {
        debug_assert_eq!(elements(&shape), Some(data.len()));
        HostTensor { dtype: DType::Bool, shape, data: Data::Bool(data) }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Has it no elements?
    pub fn is_empty(&self) -> bool {
        self.shape.contains(&0)
    }

    /// The binary32 elements, for FLOAT, FLOAT16 and BFLOAT16 tensors.
    pub fn as_f32(&self) -> Option<&[f32]> {
        match &self.data {
            Data::F32(v) => Some(v),
            _ => None,
        }
    }

    /// The integers, for integer tensors.
    pub fn as_int(&self) -> Option<&[i64]> {
        match &self.data {
            Data::Int(v) => Some(v),
            _ => None,
        }
    }

    /// The truth values, for BOOL tensors.
    pub fn as_bool(&self) -> Option<&[bool]> {
        match &self.data {
            Data::Bool(v) => Some(v),
            _ => None,
        }
    }

    /// Reads `shape` elements of `dtype` from exactly as many bytes as they take.
    ///
    /// Errors say which sizes disagree. Types that aren't held become [`Data::Opaque`].
    pub fn from_bytes(dtype: DType, shape: Vec<usize>, bytes: &[u8], big_endian: bool) -> Result<Self, String> {
        let Some(size) = dtype.size() else {
            return Ok(HostTensor { dtype, shape, data: Data::Opaque });
        };
        let count = elements(&shape).ok_or_else(|| too_large(&shape))?;
        // count ≤ 2^31 and size ≤ 8, so the product fits
        if bytes.len() != count * size {
            return Err(format!(
                "{} bytes of data where shape {shape:?} of {dtype} needs {}",
                bytes.len(),
                count * size
            ));
        }
        macro_rules! read {
            ($ty:ty) => {
                bytes.chunks_exact(size).map(|c| {
                    let mut b = [0u8; std::mem::size_of::<$ty>()];
                    b.copy_from_slice(c);
                    if big_endian { <$ty>::from_be_bytes(b) } else { <$ty>::from_le_bytes(b) }
                })
            };
        }
        let data = match dtype {
            DType::F32 => Data::F32(read!(f32).collect()),
            DType::F64 => Data::F64(read!(f64).collect()),
            DType::F16 => Data::F32(read!(u16).map(|b| half::f16::from_bits(b).to_f32()).collect()),
            DType::BF16 => Data::F32(read!(u16).map(|b| half::bf16::from_bits(b).to_f32()).collect()),
            DType::I8 => Data::Int(read!(i8).map(i64::from).collect()),
            DType::I16 => Data::Int(read!(i16).map(i64::from).collect()),
            DType::I32 => Data::Int(read!(i32).map(i64::from).collect()),
            DType::I64 => Data::Int(read!(i64).collect()),
            DType::U8 => Data::Int(read!(u8).map(i64::from).collect()),
            DType::U16 => Data::Int(read!(u16).map(i64::from).collect()),
            DType::U32 => Data::Int(read!(u32).map(i64::from).collect()),
            DType::U64 => Data::Int(read!(u64).map(u64_to_i64).collect::<Result<_, _>>()?),
            DType::Bool => Data::Bool(bytes.iter().map(|&b| b != 0).collect()),
            DType::Other(_) => Data::Opaque,
        };
        Ok(HostTensor { dtype, shape, data })
    }
}

/// The message for a shape without [`elements`].
pub fn too_large(shape: &[usize]) -> String {
    if shape.len() > MAX_RANK {
        return format!("a shape of {} dimensions, where {MAX_RANK} are the most", shape.len());
    }
    let empty = if shape.contains(&0) { " but for the size 0" } else { "" };
    format!("shape {shape:?} has more than {MAX_ELEMENTS} elements{empty}, the most that one tensor may have here")
}

/// A `u64` as `i64`, refused above 2^63 − 1.
pub fn u64_to_i64(x: u64) -> Result<i64, String> {
    i64::try_from(x).map_err(|_| format!("UINT64 value {x} is above 9223372036854775807, the largest held here"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_in_both_byte_orders() {
        let le = HostTensor::from_bytes(DType::F32, vec![2], &[0, 0, 128, 63, 0, 0, 0, 192], false).unwrap();
        assert_eq!(le.as_f32(), Some(&[1.0, -2.0][..]));
        let be = HostTensor::from_bytes(DType::I16, vec![1, 2], &[255, 254, 1, 0], true).unwrap();
        assert_eq!(be.as_int(), Some(&[-2, 256][..]));
        let half = HostTensor::from_bytes(DType::F16, vec![], &[0, 0x3c], false).unwrap();
        assert_eq!(half.as_f32(), Some(&[1.0][..]));
        let brain = HostTensor::from_bytes(DType::BF16, vec![], &[0x80, 0x3f], false).unwrap();
        assert_eq!(brain.as_f32(), Some(&[1.0][..]));
    }

    #[test]
    fn sizes_are_checked_before_anything_is_allocated() {
        let err = HostTensor::from_bytes(DType::F32, vec![3], &[0; 8], false).unwrap_err();
        assert_eq!(err, "8 bytes of data where shape [3] of FLOAT needs 12");
        assert!(HostTensor::from_bytes(DType::F32, vec![usize::MAX, 2], &[0; 8], false).is_err());
        assert!(HostTensor::from_bytes(DType::U64, vec![1], &[255; 8], false).unwrap_err().contains("UINT64"));
        assert_eq!((elements(&[7, 0, 9]), elements(&[])), (Some(0), Some(1)));
        // sizes beside a 0 are multiplied as well, where parts of the shape are
        assert_eq!(elements(&[usize::MAX, 0, usize::MAX]), None);
    }
}
