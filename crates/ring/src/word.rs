//! Machine words as ring elements, and the rings themselves.

use crate::isa::{self, Isa, Kernel};
use subrosa_core::RingWidth;

/// A machine word holding a ring element: `u32` or `u64`, arithmetic modulo 2^bits.
pub trait Word: Copy + Default + PartialEq + Send + Sync + std::fmt::Debug + zeroize::Zeroize + 'static {
    /// The ring that takes every bit of the word.
    type Full: Ring<Word = Self>;
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
    /// Bits `shift..shift + 8`, zeros beyond the word; `shift < 64`.
    fn shifted(self, shift: u32) -> u8;
    /// `byte 2^shift` modulo 2^BITS, `shift < 64`.
    fn placed(byte: u8, shift: u32) -> Self;
}

macro_rules! word {
    ($word:ty, $full:ty) => {
        impl Word for $word {
            type Full = $full;
            const BITS: u32 = <$word>::BITS;
            #[inline(always)]
            fn add(self, other: Self) -> Self {
                self.wrapping_add(other)
            }
            #[inline(always)]
            fn sub(self, other: Self) -> Self {
                self.wrapping_sub(other)
            }
            #[inline(always)]
            fn mul(self, other: Self) -> Self {
                self.wrapping_mul(other)
            }
            #[inline(always)]
            fn from_i64(v: i64) -> Self {
                v as $word
            }
            #[inline(always)]
            fn to_u64(self) -> u64 {
                u64::from(self)
            }
            #[inline(always)]
            fn from_u64(v: u64) -> Self {
                v as $word
            }
            #[inline(always)]
            fn shifted(self, shift: u32) -> u8 {
                self.unbounded_shr(shift) as u8
            }
            #[inline(always)]
            fn placed(byte: u8, shift: u32) -> Self {
                <$word>::from(byte).unbounded_shl(shift)
            }
        }
    };
}
word!(u32, Z32);
word!(u64, Z64);

/// A ring Z_2^k. For `k = 48` the word is `u64` and only its low 48 bits mean anything:
/// sums and products stay right, while shifts, comparisons and messages mask first.
pub trait Ring: Copy + Send + Sync + 'static {
    /// The word elements are kept in.
    type Word: Word;
    /// `k`.
    const WIDTH: RingWidth;
    /// The matrix product's tiles for `isa`, or the portable ones if this processor lacks
    /// `isa`.
    fn kernel(isa: Isa) -> Kernel<Self::Word>;
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

impl Ring for Z32 {
    type Word = u32;
    const WIDTH: RingWidth = RingWidth::W32;
    fn kernel(isa: Isa) -> Kernel<u32> {
        isa::z32(isa)
    }
}
impl Ring for Z48 {
    type Word = u64;
    const WIDTH: RingWidth = RingWidth::W48;
    fn kernel(isa: Isa) -> Kernel<u64> {
        isa::z48(isa)
    }
}
impl Ring for Z64 {
    type Word = u64;
    const WIDTH: RingWidth = RingWidth::W64;
    fn kernel(isa: Isa) -> Kernel<u64> {
        isa::z64(isa)
    }
}

/// The low `width` bits set, `width <= 64`; the mask of Z_2^width.
#[inline]
pub const fn mask(width: u32) -> u64 {
    if width >= 64 { u64::MAX } else { (1 << width) - 1 }
}

/// The integer whose two's complement is the low `width` bits of `word`,
/// `1 <= width <= 64`; what lies above them is ignored.
#[inline]
pub fn sign_extend<W: Word>(word: W, width: u32) -> i64 {
    let unused = 64 - width;
    (word.to_u64() << unused) as i64 >> unused
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_and_signs() {
        assert_eq!((mask(0), mask(1), mask(48), mask(64)), (0, 1, (1 << 48) - 1, u64::MAX));
        assert_eq!(sign_extend(0xffff_ffffu32, 32), -1);
        assert_eq!(sign_extend(0x7fff_ffffu32, 32), i64::from(i32::MAX));
        assert_eq!(sign_extend(0xabcd_8000_0000_0000u64, 48), -(1 << 47));
        assert_eq!(sign_extend(u64::MAX, 64), -1);
        assert_eq!(sign_extend(1u32, 1), -1);
    }

    #[test]
    fn words_wrap() {
        assert_eq!(Word::mul(0x8000_0001u32, 2), 2);
        assert_eq!(Word::sub(0u64, 1), u64::MAX);
        assert_eq!(u32::from_i64(-1), u32::MAX);
        assert_eq!(u32::from_u64(1 << 40), 0);
    }
}
