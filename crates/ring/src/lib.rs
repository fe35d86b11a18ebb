//! Arithmetic over Z_2^k with no parties in it: words, matrix products, convolutions,
//! bit planes and packing.
//!
//! **Invariant:** knows nothing of shares or the network. `unsafe` appears only in
//! `isa`, each block with its argument; every path is bit-identical to the portable one.

use subrosa_core::RingWidth;
use subrosa_core::geometry::{ConvGeometry, MatDims};

/// A machine word holding a ring element: `u32` or `u64`, arithmetic modulo 2^bits.
pub trait Word: Copy + Default + PartialEq + Send + Sync + std::fmt::Debug + zeroize::Zeroize + 'static {
    /// Bits in the word.
    const BITS: u32;
    /// Sum modulo 2^BITS.
    fn add(self, other: Self) -> Self;
    /// Difference modulo 2^BITS.
    fn sub(self, other: Self) -> Self;
    /// Product modulo 2^BITS.
    fn mul(self, other: Self) -> Self;
    /// Low BITS bits of a two's complement integer.
    fn from_i64(v: i64) -> Self;
    /// Zero-extended.
    fn to_u64(self) -> u64;
    /// Low BITS bits.
    fn from_u64(v: u64) -> Self;
}

/// A ring Z_2^k. For `k = 48` the word is `u64` and only its low 48 bits mean anything:
/// sums and products stay right, while shifts, comparisons and messages mask first.
pub trait Ring: Copy + Send + Sync + 'static {
    /// The word elements are kept in.
    type Word: Word;
    /// `k`.
    const WIDTH: RingWidth;
}
/// Z_2^32.
#[derive(Clone, Copy, Debug)]
pub struct Z32;
/// Z_2^48.
#[derive(Clone, Copy, Debug)]
pub struct Z48;
/// Z_2^64.
#[derive(Clone, Copy, Debug)]
pub struct Z64;

/// `dims.groups` products `a [groups, m, k] x b [groups, k, n]`, or `b [k, n]` shared by
/// all groups when it is that long, modulo 2^BITS.
pub fn matmul<W: Word>(dims: MatDims, a: &[W], b: &[W]) -> Vec<W> {
    let _ = (dims, a, b);
    Vec::new()
}

/// Convolution of `batch` samples `[c, h, w]` with `w [o, c/groups, kh, kw]`, modulo
/// 2^BITS; the result is `[batch, o, oh, ow]`.
pub fn conv2d<W: Word>(geometry: &ConvGeometry, batch: usize, x: &[W], w: &[W]) -> Vec<W> {
    let _ = (geometry, batch, x, w);
    Vec::new()
}
