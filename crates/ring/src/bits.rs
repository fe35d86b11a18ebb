//! Bit-sliced tensors: one plane of bits for each bit position.

use crate::isa::{Isa, Loop, isa, run};
use crate::transpose::{ToPlanes, ToWords};
use crate::word::{Word, mask};
use std::fmt;
use subrosa_core::Prg;

/// `width` planes of `n` bits. Bit `j` of an element set is bit `j % 64` of word `j / 64`
/// of its plane; the unused bits of each plane's last word are zero, which every function
/// here keeps and relies on.
#[derive(Clone, PartialEq, Eq, zeroize::Zeroize)]
pub struct BitPlanes {
    /// Plane-major.
    words: Vec<u64>,
    width: usize,
    n: usize,
}

/// Words of a plane of `n` bits.
pub const fn plane_words(n: usize) -> usize {
    n.div_ceil(64)
}

/// Bytes of a plane of `n` bits on the wire.
pub const fn plane_bytes(n: usize) -> usize {
    n.div_ceil(8)
}

/// Clears the unused bits in the last word of a plane of `n` bits.
pub fn mask_tail(plane: &mut [u64], n: usize) {
    if let (Some(last), used @ 1..) = (plane.last_mut(), n % 64) {
        *last &= mask(used as u32);
    }
}

impl BitPlanes {
    /// All zeros.
    pub fn zero(width: usize, n: usize) -> Self {
        Self { words: vec![0; width * plane_words(n)], width, n }
    }

    /// Planes of bits `low_bit..low_bit + width` of `words`, which must lie within 64
    /// bits: plane `i` holds bit `low_bit + i` of every word.
    ///
    /// **Panics** if `low_bit + width > 64`.
    pub fn from_words<W: Word>(words: &[W], low_bit: u32, width: usize) -> Self {
        Self::from_words_on(isa(), words, low_bit, width)
    }

    fn from_words_on<W: Word>(isa: Isa, words: &[W], low_bit: u32, width: usize) -> Self {
        assert!(low_bit as usize + width <= 64, "bits {low_bit}..{} of a word", low_bit as usize + width);
        let mut planes = Self::zero(width, words.len());
        if width > 0 {
            ToPlanes { words, low_bit, width, planes: &mut planes.words }.run_on(isa);
        }
        planes
    }

    /// One word for each element: bit `i` is its bit in plane `i`, the others are zero.
    /// Planes beyond the word's width are left out.
    pub fn to_words<W: Word>(&self) -> Vec<W> {
        self.to_words_on(isa())
    }

    fn to_words_on<W: Word>(&self, isa: Isa) -> Vec<W> {
        let mut words = vec![W::default(); self.n];
        let width = self.width.min(W::BITS as usize);
        if width > 0 {
            ToWords { planes: &self.words, width, words: &mut words }.run_on(isa);
        }
        words
    }

    /// Random bits. Takes `width * plane_words(n)` 64-bit words from the stream.
    pub fn from_prg(prg: &mut Prg, width: usize, n: usize) -> Self {
        Self::from_plane_major(prg.u64s(width * plane_words(n)), width, n)
    }

    /// Planes from their words, plane after plane; unused bits are cleared.
    ///
    /// **Panics** if there are not `width * plane_words(n)` words.
    pub fn from_plane_major(words: Vec<u64>, width: usize, n: usize) -> Self {
        assert_eq!(words.len(), width * plane_words(n), "{width} planes of {n} bits");
        let mut planes = Self { words, width, n };
        planes.planes_mut().for_each(|plane| mask_tail(plane, n));
        planes
    }

    /// Number of planes.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Bits in a plane.
    #[expect(clippy::len_without_is_empty, reason = "a matrix of bits is no collection")]
    pub fn len(&self) -> usize {
        self.n
    }

    /// Words in a plane.
    pub fn words_per_plane(&self) -> usize {
        plane_words(self.n)
    }

    /// Plane `i`, `i < width`.
    pub fn plane(&self, i: usize) -> &[u64] {
        let len = self.words_per_plane();
        &self.words[i * len..(i + 1) * len]
    }

    /// Plane `i`, `i < width`. Whoever writes to it keeps the unused bits zero.
    pub fn plane_mut(&mut self, i: usize) -> &mut [u64] {
        let len = self.words_per_plane();
        &mut self.words[i * len..(i + 1) * len]
    }

    /// All planes, in order.
    pub fn planes(&self) -> impl Iterator<Item = &[u64]> {
        (0..self.width).map(|i| self.plane(i))
    }

    /// All planes, in order, to be written to as [`BitPlanes::plane_mut`].
    pub fn planes_mut(&mut self) -> impl Iterator<Item = &mut [u64]> {
        // An empty plane has no words, and a chunk needs some.
        self.words.chunks_exact_mut(plane_words(self.n).max(1))
    }

    /// The words of all planes, plane after plane.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// The same, to be written to as [`BitPlanes::plane_mut`].
    pub fn words_mut(&mut self) -> &mut [u64] {
        &mut self.words
    }
}

/// Sizes only: the bits may be secret.
impl fmt::Debug for BitPlanes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BitPlanes({} planes of {} bits)", self.width, self.n)
    }
}

/// `a ^= b`, word by word.
pub fn xor_assign(a: &mut [u64], b: &[u64]) {
    run(isa(), Combine { sum: a, x: b, y: b, each: |a, b, _| a ^ b });
}

/// `a &= b`, word by word.
pub fn and_assign(a: &mut [u64], b: &[u64]) {
    run(isa(), Combine { sum: a, x: b, y: b, each: |a, b, _| a & b });
}

/// `sum ^= a & b`, word by word.
pub fn and_xor_assign(sum: &mut [u64], a: &[u64], b: &[u64]) {
    run(isa(), Combine { sum, x: a, y: b, each: |sum, a, b| sum ^ a & b });
}

/// Replaces each word of `sum` by `each` of it and the words of `x` and `y`.
struct Combine<'a, F> {
    sum: &'a mut [u64],
    x: &'a [u64],
    y: &'a [u64],
    each: F,
}

impl<F: Fn(u64, u64, u64) -> u64> Loop for Combine<'_, F> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        self.sum.iter_mut().zip(self.x).zip(self.y).for_each(|((sum, &x), &y)| *sum = (self.each)(*sum, x, y));
    }
}

/// The first `n` bits of a plane as words that are 0 or 1.
///
/// **Panics** if the plane has fewer bits.
pub fn expand_bits<W: Word>(plane: &[u64], n: usize) -> Vec<W> {
    assert!(n <= plane.len() * 64, "{n} bits of a plane of {} words", plane.len());
    let mut words = vec![W::default(); n];
    run(isa(), Expand { plane, words: &mut words });
    words
}

struct Expand<'a, W> {
    plane: &'a [u64],
    words: &'a mut [W],
}

impl<W: Word> Loop for Expand<'_, W> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        for (words, &bits) in self.words.chunks_mut(64).zip(self.plane) {
            for (i, word) in words.iter_mut().enumerate() {
                *word = W::from_u64(bits >> i & 1);
            }
        }
    }
}

/// Planes of `n` bits on the wire: [`plane_bytes`]`(n)` bytes each, one after the other,
/// bit 0 of a plane lowest in its first byte.
pub fn planes_to_bytes(planes: &[&[u64]], n: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(planes.len() * plane_bytes(n));
    for plane in planes {
        let (whole, rest) = (n / 64, plane_bytes(n) - n / 64 * 8);
        plane[..whole].iter().for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
        if let Some(last) = plane.get(whole) {
            bytes.extend_from_slice(&last.to_le_bytes()[..rest]);
        }
    }
    bytes
}

/// What [`planes_to_bytes`] wrote. Unused bits are cleared, whatever the sender put there.
///
/// **Panics** if there are not `planes * plane_bytes(n)` bytes; a session hands over
/// messages of the length that was asked for only.
pub fn planes_from_bytes(bytes: &[u8], planes: usize, n: usize) -> BitPlanes {
    assert_eq!(bytes.len(), planes * plane_bytes(n), "a message of {planes} planes of {n} bits");
    let mut result = BitPlanes::zero(planes, n);
    for (plane, bytes) in result.planes_mut().zip(bytes.chunks(plane_bytes(n).max(1))) {
        for (word, bytes) in plane.iter_mut().zip(bytes.chunks(8)) {
            let mut le = [0; 8];
            le[..bytes.len()].copy_from_slice(bytes);
            *word = u64::from_le_bytes(le);
        }
        mask_tail(plane, n);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use subrosa_core::Seed;

    fn bit(planes: &BitPlanes, plane: usize, j: usize) -> u64 {
        planes.plane(plane)[j / 64] >> (j % 64) & 1
    }

    fn check_transposition<W: Word>(words: &[W], low_bit: u32, width: usize) {
        for isa in crate::isa::tested() {
            let planes = BitPlanes::from_words_on(isa, words, low_bit, width);
            for (j, word) in words.iter().enumerate() {
                for p in 0..width {
                    assert_eq!(bit(&planes, p, j), word.to_u64() >> (low_bit as usize + p) & 1, "{isa}");
                }
            }
            let mut tail = planes.clone();
            tail.planes_mut().for_each(|plane| mask_tail(plane, words.len()));
            assert_eq!(planes, tail);
            let low = |w: &W| W::from_u64(w.to_u64() >> low_bit & mask(width as u32));
            assert!(planes.to_words_on::<W>(isa) == words.iter().map(low).collect::<Vec<W>>(), "{isa}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn planes_hold_the_bits_asked_for(words in prop::collection::vec(any::<u64>(), 0..1200), low_bit in 0u32..64, width in 0usize..=64) {
            check_transposition(&words, low_bit, width.min(64 - low_bit as usize));
            let narrow: Vec<u32> = words.iter().map(|&w| w as u32).collect();
            check_transposition(&narrow, low_bit % 32, width.min(32 - low_bit as usize % 32));
        }

        #[test]
        fn planes_survive_the_wire(width in 0usize..9, n in 0usize..300, seed: u8) {
            let planes = BitPlanes::from_prg(&mut Seed::from_bytes([seed; 32]).stream("planes"), width, n);
            let views: Vec<&[u64]> = planes.planes().collect();
            prop_assert_eq!(views.len(), width);
            let bytes = planes_to_bytes(&views, n);
            prop_assert_eq!(bytes.len(), width * plane_bytes(n));
            for (p, j) in (0..width).flat_map(|p| (0..n).map(move |j| (p, j))) {
                prop_assert_eq!(u64::from(bytes[p * plane_bytes(n) + j / 8] >> (j % 8) & 1), bit(&planes, p, j));
            }
            prop_assert_eq!(planes_from_bytes(&bytes, width, n), planes);
        }

        #[test]
        fn bits_expand_to_words(plane in prop::collection::vec(any::<u64>(), 1..5), cut in 0usize..64) {
            let n = plane.len() * 64 - cut;
            let expected: Vec<u64> = (0..n).map(|j| plane[j / 64] >> (j % 64) & 1).collect();
            prop_assert_eq!(expand_bits::<u32>(&plane, n), expected.iter().map(|&b| b as u32).collect::<Vec<_>>());
            prop_assert_eq!(expand_bits::<u64>(&plane, n), expected);
        }
    }

    #[test]
    fn a_senders_junk_in_unused_bits_is_cleared() {
        let planes = planes_from_bytes(&[0xff; 4], 2, 9);
        assert_eq!(planes.words(), [0x1ff, 0x1ff]);
        assert_eq!(BitPlanes::from_plane_major(vec![u64::MAX; 2], 1, 65).words(), [u64::MAX, 1]);
    }

    #[test]
    fn random_planes_are_random_and_cut() {
        let planes = BitPlanes::from_prg(&mut Seed::from_bytes([1; 32]).stream("planes"), 3, 1000);
        assert!(planes.planes().all(|p| p[15] >> 40 == 0));
        let ones: u32 = planes.words().iter().map(|w| w.count_ones()).sum();
        // 3000 fair bits: mean 1500, standard deviation 27; six deviations either way.
        assert!((1336..1664).contains(&ones), "{ones} ones");
        assert_eq!(format!("{planes:?}"), "BitPlanes(3 planes of 1000 bits)");
    }

    #[test]
    fn words_combine() {
        let mut sum = vec![0b1100, 1];
        and_xor_assign(&mut sum, &[0b1010, 1], &[0b0110, 1]);
        assert_eq!(sum, [0b1110, 0]);
        xor_assign(&mut sum, &[0b0011, 2]);
        and_assign(&mut sum, &[0b0111, 3]);
        assert_eq!(sum, [0b0101, 2]);
    }
}
