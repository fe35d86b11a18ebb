//! Tensors of messages.

use super::few::few;
use super::flat::Flat;
use super::words::words;
use crate::model::Port;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// A named array of 32-bit floating point, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// The input's or output's name.
    pub name: String,
    /// Its dimensions, the batch first.
    pub shape: Vec<usize>,
    /// As many values as the dimensions say.
    pub values: Vec<f32>,
}

/// As it stands in JSON.
#[derive(Deserialize)]
pub(super) struct Given {
    name: String,
    #[serde(deserialize_with = "few::<_, _, MAX_RANK>")]
    shape: Vec<u64>,
    datatype: String,
    #[serde(default)]
    parameters: Option<Parameters>,
    #[serde(default)]
    data: Option<Flat>,
}

#[derive(Default, Serialize, Deserialize)]
struct Parameters {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    binary_data_size: Option<u64>,
}

/// As it is put into JSON.
#[derive(Serialize)]
pub(super) struct Written<'a> {
    name: &'a str,
    shape: &'a [usize],
    datatype: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<Parameters>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a [f32]>,
}

impl Tensor {
    /// A tensor of these dimensions.
    ///
    /// **Errors:** [`Error::Input`] for another number of values.
    pub fn checked(name: String, dims: impl Iterator<Item = u64>, values: Vec<f32>) -> Result<Self> {
        let dims: Option<Vec<usize>> = dims.map(|d| usize::try_from(d).ok()).collect();
        let shape = dims.filter(|dims| dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d)) == Some(values.len()));
        let Some(shape) = shape else {
            let message =
                format!("the tensor '{}' holds {} values, which its shape does not", words(&name), values.len());
            return Err(Error::input(message, "give as many values as the shape has places"));
        };
        Ok(Self { name, shape, values })
    }

    /// As JSON, or as bytes at the end of `binary`. What is not finite has no JSON and goes as
    /// bytes.
    pub(super) fn write<'a>(&'a self, as_bytes: bool, binary: &mut Vec<u8>) -> Written<'a> {
        let as_bytes = as_bytes || self.values.iter().any(|v| !v.is_finite());
        if as_bytes {
            binary.reserve(self.values.len() * 4);
            self.values.iter().for_each(|v| binary.extend(v.to_le_bytes()));
        }
        let size = self.values.len() as u64 * 4;
        Written {
            name: &self.name,
            shape: &self.shape,
            datatype: FP32,
            parameters: as_bytes.then_some(Parameters { binary_data_size: Some(size) }),
            data: (!as_bytes).then_some(self.values.as_slice()),
        }
    }

    /// How many samples of `port` it holds.
    ///
    /// **Errors:** [`Error::Input`] for another shape.
    pub(super) fn samples(&self, port: &Port) -> Result<usize> {
        let wrong = || {
            let message = format!("the input '{}' has the shape {:?}", port.name, self.shape);
            Error::input(message, &format!("it takes {}", port.dims_text()))
        };
        if !port.batched {
            return if self.shape == port.shape { Ok(1) } else { Err(wrong()) };
        }
        let (count, sample) = self.shape.split_first().ok_or_else(wrong)?;
        if Some(sample) == port.shape.get(1..) { Ok(*count) } else { Err(wrong()) }
    }

    /// Whether a model can compute on it.
    ///
    /// **Errors:** [`Error::Input`] with the place of what is not finite; which of these it is, is a
    /// value and not told.
    pub(super) fn finite(&self, port: &Port) -> Result<()> {
        let Some(at) = self.values.iter().position(|v| !v.is_finite()) else { return Ok(()) };
        let len = port.sample_len().max(1);
        let message =
            format!("the input '{}', sample {}, value {} is not finite", port.name, at / len + 1, at % len + 1);
        Err(Error::input(message, "replace NaN and infinities first"))
    }
}

/// Takes the tensors of a message, each with whether it came as bytes; `rest` is what follows
/// the JSON, and is used up.
pub(super) fn read(given: Vec<Given>, mut rest: &[u8]) -> Result<Vec<(Tensor, bool)>> {
    let mut out = Vec::with_capacity(given.len());
    for tensor in given {
        out.push(tensor.read(&mut rest)?);
    }
    match rest.len() {
        0 => Ok(out),
        n => Err(Error::input(format!("{n} bytes follow the last tensor"), "check each binary_data_size")),
    }
}

impl Given {
    fn read(self, rest: &mut &[u8]) -> Result<(Tensor, bool)> {
        let Self { name, shape, datatype, parameters, data } = self;
        if datatype != FP32 {
            let message = format!("the tensor '{}' is of the datatype {}", words(&name), words(&datatype));
            return Err(Error::input(message, "this server takes FP32"));
        }
        let size = parameters.and_then(|p| p.binary_data_size);
        let (values, binary) = match (size, data) {
            (Some(size), None) => (take(&name, size, rest)?, true),
            (None, Some(Flat(values))) => (values, false),
            (Some(_), Some(_)) | (None, None) => {
                let message = format!("the tensor '{}' has both or neither of data and binary_data_size", words(&name));
                return Err(Error::input(message, "give one of them"));
            }
        };
        Ok((Tensor::checked(name, shape.into_iter(), values)?, binary))
    }
}

fn take(name: &str, size: u64, rest: &mut &[u8]) -> Result<Vec<f32>> {
    let cut = || {
        let name = words(name);
        let message = format!("the {size} bytes of the tensor '{name}' are not there, or are no whole numbers");
        Error::input(message, "append them to the JSON, 4 a value, and give the JSON's length in the header")
    };
    let length = usize::try_from(size).ok().filter(|n| n.is_multiple_of(4)).ok_or_else(cut)?;
    let (bytes, tail) = rest.split_at_checked(length).ok_or_else(cut)?;
    *rest = tail;
    let (values, _) = bytes.as_chunks::<4>();
    Ok(values.iter().map(|v| f32::from_le_bytes(*v)).collect())
}

const FP32: &str = "FP32";

/// ONNX tensors have a few dimensions.
const MAX_RANK: usize = 32;
