//! The random streams that a computing party shares with the dealer: one a purpose. Both
//! draw from them in the same order.
//!
//! No two uses share a stream, so no value is drawn twice (see `subrosa_core::prg`).

use subrosa_core::{Prg, Seed};
use subrosa_ring::bits::mask_tail;
use zeroize::Zeroize;

/// The streams of one computing party, at it or at the dealer.
pub struct Streams {
    /// The masks of values.
    pub(super) mask: Prg,
    /// The masks of bits.
    pub(super) mask_bits: Prg,
    /// All but party 0: the party's part of the dealer's part of a product.
    pub(super) product: Prg,
    /// All but the last party: the party's part of what is dealt, words.
    pub(super) dealt: Prg,
    /// All but the last party: the party's part of what is dealt, bits.
    pub(super) dealt_bits: Prg,
    /// Where comparisons have keys: the party's roots.
    pub(super) roots: Prg,
    /// Zero shares, under which results are opened where the dealer opens too.
    pub(crate) zero: Prg,
}

impl Streams {
    /// All streams of protocol `name` from a batch's seed.
    pub(crate) fn new(name: &str, seed: &Seed) -> Self {
        let stream = |purpose: &str| seed.stream(&format!("{name} {purpose}"));
        Self {
            mask: stream("mask"),
            mask_bits: stream("mask bits"),
            product: stream("product"),
            dealt: stream("dealt"),
            dealt_bits: stream("dealt bits"),
            roots: stream("roots"),
            zero: stream("zero"),
        }
    }
}

/// The next `n` roots of comparison keys.
pub(super) fn roots(prg: &mut Prg, n: usize) -> Vec<[u64; 2]> {
    let mut words = prg.u64s(2 * n);
    #[cfg(test)]
    super::leak_tests::flatten_roots(prg, &mut words);
    let roots = words.as_chunks().0.to_vec();
    words.zeroize();
    roots
}

/// The next `count` random bit planes of `n` bits, one after another; the unused bits of
/// each are zero.
pub(crate) fn planes(prg: &mut Prg, count: usize, n: usize) -> Vec<u64> {
    let len = n.div_ceil(64);
    let mut words = prg.u64s(count * len);
    for plane in words.chunks_mut(len.max(1)) {
        #[cfg(test)]
        super::leak_tests::flatten_plane(prg, plane);
        mask_tail(plane, n);
    }
    words
}
