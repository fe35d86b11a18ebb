//! The bilinear maps of which products are made.

use crate::masked::matmul_repeated;
use subrosa_core::geometry::{ConvGeometry, MatDims};
use subrosa_ring::{Word, conv2d_acc, mask};

/// A bilinear map of two vectors.
#[derive(Clone, Copy)]
pub(super) enum Bilinear {
    /// Element by element.
    Mul { n: usize },
    /// Matrix products, the right operand being so many matrices: see
    /// [`Evaluator::matmul`](crate::Evaluator::matmul).
    MatMul { batch: usize, dims: MatDims, matrices: usize },
    /// Convolutions of `batch` samples.
    Conv { batch: usize, geometry: ConvGeometry },
    /// Of two numbers of `k` bits each, from their bits: `x & y`, that less its low `shift` bits
    /// and divided by 2^shift, and its top bit; `n` each, one after another.
    And { n: usize, k: u32, shift: u32 },
    /// Zeros, whatever the operands.
    Zero { n: usize },
}

impl Bilinear {
    /// Number of results.
    pub(super) fn outputs(&self) -> usize {
        match *self {
            Self::Mul { n } | Self::Zero { n } => n,
            Self::MatMul { batch, dims, .. } => batch * dims.groups * dims.m * dims.n,
            Self::Conv { batch, geometry } => batch * geometry.o * area(geometry.output),
            Self::And { n, .. } => 3 * n,
        }
    }

    /// Adds the map's value to `z`, modulo 2^k.
    pub(super) fn add<W: Word>(&self, x: &[W], y: &[W], z: &mut [W]) {
        match *self {
            Self::Mul { .. } => z.iter_mut().zip(x.iter().zip(y)).for_each(|(z, (&x, &y))| *z = z.add(x.mul(y))),
            Self::MatMul { batch, dims, .. } => matmul_repeated(batch, dims, y.len(), x, y, z),
            Self::Conv { batch, geometry } => conv2d_acc(&geometry, batch, x, y, z),
            Self::And { n, k, shift } => {
                for (i, (&x, &y)) in x.iter().zip(y).enumerate() {
                    let both = x.to_u64() & y.to_u64() & mask(k);
                    for (at, value) in [both, both >> shift, both >> (k - 1)].into_iter().enumerate() {
                        if let Some(z) = z.get_mut(at * n + i) {
                            *z = z.add(W::from_u64(value));
                        }
                    }
                }
            }
            Self::Zero { .. } => {}
        }
    }
}

pub(super) fn area((height, width): (usize, usize)) -> usize {
    height * width
}
