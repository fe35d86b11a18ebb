//! Arithmetic over Z_2^k with no parties in it: words, matrix products, convolutions,
//! bit planes and packing.
//!
//! **Invariant:** knows nothing of shares or the network. `unsafe` appears only in [`heap`] and
//! [`mod@isa`], each block with its argument; every path of these is bit-identical to the portable one.
//!
//! Start with [`word`]. `gemm` holds the blocked product that [`matmul()`] and [`conv2d`]
//! share: `operand` says where its operands lie, `panels` rearranges the right one,
//! `frame` lays out a convolution's input, `limbs` is its other form, for the tile unit.
//! [`packed`] keeps operands rearranged, [`threads`] bounds the threads in use. [`bits`]
//! holds bit-sliced tensors, [`mod@pack`] the wire form of words. [`gf64`] is the one field
//! here: random combinations of bits are taken in it.

pub mod bits;
pub mod conv;
mod frame;
mod gemm;
pub mod gf64;
pub mod heap;
pub mod isa;
mod limbs;
pub mod matmul;
mod operand;
pub mod pack;
pub mod packed;
mod panels;
pub mod span;
pub mod threads;
mod transpose;
pub mod word;

pub use bits::BitPlanes;
pub use conv::{conv2d, conv2d_acc, conv2d_acc_over};
pub use isa::{Isa, isa};
pub use matmul::{matmul, matmul_acc, matmul_acc_over};
pub use pack::{pack, packed_len, unpack};
pub use packed::{PackedKernels, PackedMatrix, conv2d_packed_acc, matmul_packed_acc};
pub use span::{OutsideSpan, Span};
pub use threads::{Threads, ThreadsError};
pub use word::{Ring, Word, Z32, Z48, Z64, mask, sign_extend};
