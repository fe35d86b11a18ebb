//! ONNX tensors as numbers.

use tract_onnx::pb::{TensorProto, tensor_proto::DataType};

/// The values of a numeric tensor, row-major, or why they cannot be read.
#[expect(clippy::wildcard_enum_match_arm, reason = "another crate's enum; the rest is refused alike")]
pub(crate) fn values(t: &TensorProto) -> Result<Vec<f64>, String> {
    let kind = kind(t);
    match kind {
        DataType::Float if !t.float_data.is_empty() => Ok(t.float_data.iter().map(|&v| f64::from(v)).collect()),
        DataType::Float => Ok(raw::<4>(t, |b| f64::from(f32::from_le_bytes(b)))),
        DataType::Double if !t.double_data.is_empty() => Ok(t.double_data.clone()),
        DataType::Double => Ok(raw::<8>(t, f64::from_le_bytes)),
        DataType::Int64 if !t.int64_data.is_empty() => Ok(t.int64_data.iter().map(|&v| v as f64).collect()),
        DataType::Int64 => Ok(raw::<8>(t, |b| i64::from_le_bytes(b) as f64)),
        DataType::Int32 if t.int32_data.is_empty() => Ok(raw::<4>(t, |b| f64::from(i32::from_le_bytes(b)))),
        DataType::Bool if t.int32_data.is_empty() => Ok(t.raw_data.iter().map(|&b| f64::from(b)).collect()),
        DataType::Int32 | DataType::Bool => Ok(t.int32_data.iter().map(|&v| f64::from(v)).collect()),
        other => Err(format!("{} tensors are not read by this runner", other.as_str_name())),
    }
}

/// The element type; `Undefined` where it is unknown.
pub(crate) fn kind(t: &TensorProto) -> DataType {
    DataType::try_from(t.data_type).unwrap_or(DataType::Undefined)
}

fn raw<const N: usize>(t: &TensorProto, value: impl Fn([u8; N]) -> f64) -> Vec<f64> {
    t.raw_data.as_chunks::<N>().0.iter().map(|b| value(*b)).collect()
}
