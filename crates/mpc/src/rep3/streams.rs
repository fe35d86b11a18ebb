//! The random streams of `rep3`: for each slot, one per purpose, known to the slot's two
//! holders, who draw from them in the same order.
//!
//! No two uses share a stream, so no value is drawn twice (see `subrosa_core::prg`).

use subrosa_core::{Prg, Seed};
use subrosa_ring::bits::mask_tail;
use subrosa_ring::{Word, mask};

/// The streams of one slot, at one of its two holders.
pub(super) struct Streams {
    /// Slots 0 and 2: the masks of values.
    pub(super) mask: Prg,
    /// Slots 0 and 2: the masks of bits.
    pub(super) mask_bits: Prg,
    /// Slot 2: party 1's half of party 2's parts of products.
    pub(super) product: Prg,
    /// Slot 0: party 0's half of what party 2 deals, words.
    pub(super) dealt: Prg,
    /// Slot 0: party 0's half of what party 2 deals, bits.
    pub(super) dealt_bits: Prg,
    /// Every slot: zero shares, under which results are opened.
    pub(super) zero: Prg,
}

impl Streams {
    /// All streams of a slot from its seed.
    pub(super) fn new(seed: &Seed) -> Self {
        Self {
            mask: seed.stream("rep3 mask"),
            mask_bits: seed.stream("rep3 mask bits"),
            product: seed.stream("rep3 product"),
            dealt: seed.stream("rep3 dealt"),
            dealt_bits: seed.stream("rep3 dealt bits"),
            zero: seed.stream("rep3 zero"),
        }
    }
}

/// The next `n` random words of a stream.
pub(super) fn words<W: Word>(prg: &mut Prg, n: usize) -> Vec<W> {
    narrow_words(prg, n, W::BITS)
}

/// The next `n` random words of `bits` bits.
pub(super) fn narrow_words<W: Word>(prg: &mut Prg, n: usize, bits: u32) -> Vec<W> {
    // Whole words are drawn: cheaper than unpacking narrow ones.
    let low = mask(bits);
    let words: Vec<W> = match W::BITS {
        32 => prg.u32s(n).into_iter().map(|v| W::from_u64(u64::from(v) & low)).collect(),
        _ => prg.u64s(n).into_iter().map(|v| W::from_u64(v & low)).collect(),
    };
    #[cfg(test)]
    let words = super::leak_tests::flattened(prg, bits, words);
    words
}

/// The next `count` random bit planes of `n` bits, one after another; the unused bits of
/// each are zero.
pub(super) fn planes(prg: &mut Prg, count: usize, n: usize) -> Vec<u64> {
    let len = n.div_ceil(64);
    let mut words = prg.u64s(count * len);
    for plane in words.chunks_mut(len.max(1)) {
        #[cfg(test)]
        super::leak_tests::flatten_plane(prg, plane);
        mask_tail(plane, n);
    }
    words
}
