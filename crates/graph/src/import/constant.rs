//! Constants of a model file: initializers and everything computed from them alone.
//!
//! ONNX has some twenty number types. Here every float is `f32`, every integer `i64`;
//! that loses nothing a quantised or float32 model relies on.

use super::builder::MAX_RANK;
use std::sync::Arc;
use tract_onnx::pb::{self, tensor_proto::DataLocation, tensor_proto::DataType};
use tract_onnx::prelude::f16;

/// A constant tensor, row-major.
#[derive(Clone, Debug)]
pub(crate) struct Constant {
    /// ONNX value name.
    pub(crate) name: Arc<str>,
    /// Dimensions.
    pub(crate) dims: Vec<usize>,
    /// Values; their number is the product of `dims`.
    pub(crate) data: Data,
}

/// The values of a [`Constant`].
#[derive(Clone, Debug)]
pub(crate) enum Data {
    Float(Arc<Vec<f32>>),
    Int(Arc<Vec<i64>>),
    Bool(Arc<Vec<bool>>),
}

impl Constant {
    pub(crate) fn float(name: &str, dims: Vec<usize>, data: Vec<f32>) -> Self {
        Self { name: name.into(), dims, data: Data::Float(Arc::new(data)) }
    }

    pub(crate) fn int(name: &str, dims: Vec<usize>, data: Vec<i64>) -> Self {
        Self { name: name.into(), dims, data: Data::Int(Arc::new(data)) }
    }

    pub(crate) fn bool(name: &str, dims: Vec<usize>, data: Vec<bool>) -> Self {
        Self { name: name.into(), dims, data: Data::Bool(Arc::new(data)) }
    }

    /// Number of elements.
    pub(crate) fn len(&self) -> usize {
        match &self.data {
            Data::Float(v) => v.len(),
            Data::Int(v) => v.len(),
            Data::Bool(v) => v.len(),
        }
    }

    /// The values as floats, whatever their type.
    pub(crate) fn floats(&self) -> Arc<Vec<f32>> {
        match &self.data {
            Data::Float(v) => Arc::clone(v),
            Data::Int(v) => Arc::new(v.iter().map(|&x| x as f32).collect()),
            Data::Bool(v) => Arc::new(v.iter().map(|&x| f32::from(u8::from(x))).collect()),
        }
    }

    /// The values if they are integers.
    pub(crate) fn ints(&self) -> Option<&[i64]> {
        match &self.data {
            Data::Int(v) => Some(v),
            Data::Float(_) | Data::Bool(_) => None,
        }
    }

    /// The value of a tensor with one element.
    pub(crate) fn scalar(&self) -> Option<f32> {
        if self.len() == 1 { self.floats().first().copied() } else { None }
    }

    /// Reads a tensor of the file.
    ///
    /// **Errors:** a clause that says what is wrong with it.
    pub(crate) fn from_proto(name: &str, t: &pb::TensorProto) -> Result<Self, String> {
        if t.data_location == Some(DataLocation::External as i32) || !t.external_data.is_empty() {
            return Err("its values are in another file; save the model as one file (onnx.save_model with \
                        save_as_external_data=False)"
                .to_owned());
        }
        let dims = checked_dims(&t.dims)?;
        let len = dims.iter().product();
        let dtype = DataType::try_from(t.data_type).map_err(|_| format!("unknown element type {}", t.data_type))?;
        let data = if t.raw_data.is_empty() { typed(t, dtype, len)? } else { raw(&t.raw_data, dtype, len)? };
        Ok(Self { name: name.into(), dims, data })
    }
}

/// The dimensions of a tensor in the file. They may still promise more elements than
/// there are bytes: whoever reads the values compares.
fn checked_dims(dims: &[i64]) -> Result<Vec<usize>, String> {
    if dims.len() > MAX_RANK {
        return Err(format!("it has {} dimensions", dims.len()));
    }
    let positive: Option<Vec<usize>> = dims.iter().map(|&d| usize::try_from(d).ok()).collect();
    let sizes = positive.ok_or_else(|| format!("its dimensions {dims:?} include a negative one"))?;
    subrosa_core::Shape::new(sizes.clone()).map_err(|e| e.to_string())?;
    Ok(sizes)
}

/// Values stored as little-endian bytes.
fn raw(bytes: &[u8], dtype: DataType, len: usize) -> Result<Data, String> {
    let width = width(dtype).ok_or_else(|| unreadable(dtype))?;
    if bytes.len() != len * width {
        return Err(format!("its dimensions ask for {} bytes, the file holds {}", len * width, bytes.len()));
    }
    let floats = |f: fn(&[u8]) -> f32| Data::Float(Arc::new(bytes.chunks_exact(width).map(f).collect()));
    let ints = |f: fn(&[u8]) -> i64| Data::Int(Arc::new(bytes.chunks_exact(width).map(f).collect()));
    #[expect(clippy::wildcard_enum_match_arm, reason = "ONNX's type list grows; what has no width was refused above")]
    Ok(match dtype {
        DataType::Float => floats(|b| f32::from_bits(little(b) as u32)),
        DataType::Double => floats(|b| f64::from_bits(little(b)) as f32),
        DataType::Float16 => floats(|b| f16::from_bits(little(b) as u16).to_f32()),
        DataType::Bfloat16 => floats(|b| f32::from_bits((little(b) as u32) << 16)),
        DataType::Int8 => ints(|b| i64::from(little(b) as i8)),
        DataType::Int16 => ints(|b| i64::from(little(b) as i16)),
        DataType::Int32 => ints(|b| i64::from(little(b) as i32)),
        DataType::Bool => Data::Bool(Arc::new(bytes.iter().map(|&b| b != 0).collect())),
        _ => ints(|b| little(b) as i64),
    })
}

/// Values stored in the protobuf field of their type.
fn typed(t: &pb::TensorProto, dtype: DataType, len: usize) -> Result<Data, String> {
    let float32 = |v: Vec<f32>| Data::Float(Arc::new(v));
    let words = || t.int32_data.iter();
    #[expect(clippy::wildcard_enum_match_arm, reason = "ONNX's type list grows; an unlisted one is refused")]
    let data = match dtype {
        DataType::Float => float32(t.float_data.clone()),
        DataType::Double => float32(t.double_data.iter().map(|&x| x as f32).collect()),
        DataType::Float16 => float32(words().map(|&x| f16::from_bits(x as u16).to_f32()).collect()),
        DataType::Bfloat16 => float32(words().map(|&x| f32::from_bits((x as u32) << 16)).collect()),
        DataType::Int64 => Data::Int(Arc::new(t.int64_data.clone())),
        DataType::Uint32 | DataType::Uint64 => Data::Int(Arc::new(t.uint64_data.iter().map(|&x| x as i64).collect())),
        DataType::Bool => Data::Bool(Arc::new(words().map(|&x| x != 0).collect())),
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Uint8 | DataType::Uint16 => {
            Data::Int(Arc::new(words().map(|&x| i64::from(x)).collect()))
        }
        _ => return Err(unreadable(dtype)),
    };
    let constant = Constant { name: "".into(), dims: Vec::new(), data };
    if constant.len() != len {
        return Err(format!("its dimensions ask for {len} values, the file holds {}", constant.len()));
    }
    Ok(constant.data)
}

/// Bytes of one element, for the types read here.
fn width(dtype: DataType) -> Option<usize> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "ONNX's type list grows; an unlisted one is refused")]
    match dtype {
        DataType::Bool | DataType::Int8 | DataType::Uint8 => Some(1),
        DataType::Int16 | DataType::Uint16 | DataType::Float16 | DataType::Bfloat16 => Some(2),
        DataType::Int32 | DataType::Uint32 | DataType::Float => Some(4),
        DataType::Int64 | DataType::Uint64 | DataType::Double => Some(8),
        _ => None,
    }
}

fn unreadable(dtype: DataType) -> String {
    format!("its element type {} is not supported; export the float32 model", dtype.as_str_name())
}

/// Up to eight little-endian bytes as a number.
fn little(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |n, &b| n << 8 | u64::from(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(dtype: DataType, dims: &[i64], raw: &[u8]) -> pb::TensorProto {
        pb::TensorProto { dims: dims.to_vec(), data_type: dtype as i32, raw_data: raw.to_vec(), ..Default::default() }
    }

    #[test]
    fn every_number_type_is_read() {
        let read = |d, raw: &[u8]| Constant::from_proto("t", &tensor(d, &[1], raw)).unwrap().scalar().unwrap();
        assert_eq!(read(DataType::Float, &1.5f32.to_le_bytes()), 1.5);
        assert_eq!(read(DataType::Double, &(-2.5f64).to_le_bytes()), -2.5);
        assert_eq!(read(DataType::Float16, &0x3e00u16.to_le_bytes()), 1.5);
        assert_eq!(read(DataType::Bfloat16, &0x3fc0u16.to_le_bytes()), 1.5);
        assert_eq!(read(DataType::Int8, &[0xff]), -1.0);
        assert_eq!(read(DataType::Uint8, &[0xff]), 255.0);
        assert_eq!(read(DataType::Int16, &(-7i16).to_le_bytes()), -7.0);
        assert_eq!(read(DataType::Int32, &(-7i32).to_le_bytes()), -7.0);
        assert_eq!(read(DataType::Int64, &(-7i64).to_le_bytes()), -7.0);
        assert_eq!(read(DataType::Bool, &[2]), 1.0);
    }

    #[test]
    fn lying_tensors_are_refused() {
        let why =
            |dims: &[i64], raw: &[u8]| Constant::from_proto("t", &tensor(DataType::Float, dims, raw)).unwrap_err();
        assert!(why(&[2], &[0; 4]).contains("ask for 8 bytes, the file holds 4"));
        assert!(why(&[-1], &[0; 4]).contains("negative"));
        assert!(why(&[1 << 20, 1 << 20], &[0; 4]).contains("more than"));
        assert!(why(&[i64::MAX, i64::MAX], &[]).contains("more than"));
        assert!(why(&[1 << 31], &[]).contains("the file holds 0"));
        assert!(Constant::from_proto("t", &tensor(DataType::Float8e5m2, &[1], &[0])).unwrap_err().contains("FLOAT8"));
        let mut external = tensor(DataType::Float, &[1], &[]);
        external.data_location = Some(DataLocation::External as i32);
        assert!(Constant::from_proto("t", &external).unwrap_err().contains("another file"));
    }
}
