//! Sizes of matrix products and convolutions, shared by programs and kernels.

use serde::{Deserialize, Serialize};

/// Sizes of a batch of matrix products.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatDims {
    /// Independent products in one sample.
    pub groups: usize,
    /// Rows of `x`.
    pub m: usize,
    /// Columns of `x`, rows of `y`.
    pub k: usize,
    /// Columns of `y`.
    pub n: usize,
}

impl MatDims {
    /// How many right operands `len` elements are.
    pub fn matrices(&self, len: usize) -> usize {
        len.checked_div(self.k * self.n).unwrap_or(1)
    }
}

/// Sizes of a 2-d convolution: pairs are `(height, width)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConvGeometry {
    /// Input channels.
    pub c: usize,
    /// Input height and width.
    pub input: (usize, usize),
    /// Output channels.
    pub o: usize,
    /// Output height and width.
    pub output: (usize, usize),
    /// Kernel size.
    pub kernel: (usize, usize),
    /// Strides.
    pub strides: (usize, usize),
    /// Dilations.
    pub dilations: (usize, usize),
    /// Padding at the top and left.
    pub pads: (usize, usize),
    /// Channel groups.
    pub groups: usize,
}
