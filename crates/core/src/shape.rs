//! Shapes of row-major tensors, with every size checked.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The most elements a single tensor may have: 2^31, far above any model we serve and
/// small enough that no later product of sizes overflows `usize`.
pub const MAX_ELEMENTS: usize = 1 << 31;

/// The dimensions of a row-major tensor, outermost first. An empty shape is a scalar.
///
/// The product of the dimensions is checked when a shape is made, so [`Shape::len`]
/// cannot overflow afterwards.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<usize>", into = "Vec<usize>")]
pub struct Shape(Vec<usize>);

/// A shape whose element count is beyond [`MAX_ELEMENTS`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a tensor of shape {dims:?} has more than {MAX_ELEMENTS} elements")]
pub struct ShapeError {
    /// The dimensions asked for.
    pub dims: Vec<usize>,
}

impl Shape {
    /// The shape with these dimensions.
    ///
    /// **Errors:** [`ShapeError`] when the element count exceeds [`MAX_ELEMENTS`].
    pub fn new(dims: impl Into<Vec<usize>>) -> Result<Self, ShapeError> {
        let dims = dims.into();
        let mut len = 1usize;
        for &d in &dims {
            len = match len.checked_mul(d) {
                Some(n) if n <= MAX_ELEMENTS => n,
                _ => return Err(ShapeError { dims }),
            };
        }
        Ok(Self(dims))
    }

    /// The shape of one number.
    pub fn scalar() -> Self {
        Self(Vec::new())
    }

    /// A vector of `n` elements (`n` is capped at [`MAX_ELEMENTS`]).
    pub fn vector(n: usize) -> Self {
        Self(vec![n.min(MAX_ELEMENTS)])
    }

    /// Number of elements.
    #[expect(clippy::len_without_is_empty, reason = "a shape is no collection")]
    pub fn len(&self) -> usize {
        self.0.iter().product()
    }

    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// The dimensions, outermost first.
    pub fn dims(&self) -> &[usize] {
        &self.0
    }

    /// Row-major strides in elements.
    pub fn strides(&self) -> Vec<usize> {
        let mut strides = vec![1; self.0.len()];
        for i in (1..self.0.len()).rev() {
            strides[i - 1] = strides[i] * self.0[i];
        }
        strides
    }
}

impl TryFrom<Vec<usize>> for Shape {
    type Error = ShapeError;
    fn try_from(dims: Vec<usize>) -> Result<Self, ShapeError> {
        Self::new(dims)
    }
}

impl From<Shape> for Vec<usize> {
    fn from(shape: Shape) -> Self {
        shape.0
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[")?;
        for (i, d) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{d}")?;
        }
        write!(f, "]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn huge_shapes_are_refused() {
        assert!(Shape::new([1 << 20, 1 << 20]).is_err());
        assert!(Shape::new([usize::MAX, 2]).is_err());
        assert_eq!(Shape::new([1 << 31]).unwrap().len(), 1 << 31);
        assert!(Shape::new([usize::MAX, 0]).is_err());
    }

    #[test]
    fn strides_are_row_major() {
        assert_eq!(Shape::new([2, 3, 4]).unwrap().strides(), [12, 4, 1]);
        assert_eq!(Shape::scalar().len(), 1);
        assert_eq!(Shape::new([2, 3]).unwrap().to_string(), "[2, 3]");
    }
}
