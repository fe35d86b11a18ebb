//! A row-major tensor in the clear.

use crate::shape::Shape;

/// A row-major tensor whose data length always equals its shape's.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor<T> {
    shape: Shape,
    data: Vec<T>,
}

/// Data whose length is not the shape's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{len} values cannot fill a tensor of shape {shape}")]
pub struct LengthError {
    /// The shape asked for.
    pub shape: Shape,
    /// The number of values given.
    pub len: usize,
}

impl<T> Tensor<T> {
    /// A tensor over `data`.
    ///
    /// **Errors:** [`LengthError`] when `data` does not fill `shape` exactly.
    pub fn new(shape: Shape, data: Vec<T>) -> Result<Self, LengthError> {
        if shape.len() == data.len() { Ok(Self { shape, data }) } else { Err(LengthError { len: data.len(), shape }) }
    }

    /// The shape.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The values, row-major.
    pub fn data(&self) -> &[T] {
        &self.data
    }

    /// The values, row-major.
    pub fn into_data(self) -> Vec<T> {
        self.data
    }
}
