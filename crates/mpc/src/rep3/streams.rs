//! The random streams of `rep3`: for each slot, one per purpose, known to the slot's two
//! holders, who draw from them in the same order.
//!
//! No two uses share a stream, so no value is drawn twice (see `subrosa_core::prg`).

use subrosa_core::{Prg, Seed};
use subrosa_ring::Word;
use zeroize::Zeroize;

/// The streams of one slot, at one of its two holders.
pub(super) struct Streams {
    /// Arithmetic zero shares.
    pub(super) zero: Prg,
    /// Boolean zero shares.
    pub(super) zero_bits: Prg,
    /// Masks of boolean values that two parties turn into a share.
    pub(super) bits_mask: Prg,
    /// Slots 0 and 2: a truncation's random output parts `y_0`, `y_2`.
    pub(super) trunc_share: Prg,
    /// Slots 0 and 2: keys of the wrap correction.
    pub(super) trunc_key: Prg,
    /// Slots 0 and 2: bits of the mask under which a compared value is opened.
    pub(super) compare_mask: Prg,
    /// Slot 0: party 0's part of the mask's monomials.
    pub(super) monomial: Prg,
    /// Every slot: the random bits of daBits.
    pub(super) dabit_bits: Prg,
    /// Slots 0 and 1: masks while making daBits' arithmetic form.
    pub(super) dabit_share: Prg,
}

impl Streams {
    /// All streams of a slot from its seed.
    pub(super) fn new(seed: &Seed) -> Self {
        Self {
            zero: seed.stream("rep3 zero"),
            zero_bits: seed.stream("rep3 zero bits"),
            bits_mask: seed.stream("rep3 bits mask"),
            trunc_share: seed.stream("rep3 trunc share"),
            trunc_key: seed.stream("rep3 trunc key"),
            compare_mask: seed.stream("rep3 compare mask"),
            monomial: seed.stream("rep3 monomial"),
            dabit_bits: seed.stream("rep3 dabit bits"),
            dabit_share: seed.stream("rep3 dabit share"),
        }
    }
}

/// The next `n` random words of a stream.
pub(super) fn words<W: Word>(prg: &mut Prg, n: usize) -> Vec<W> {
    let mut bytes = vec![0u8; n * (W::BITS as usize / 8)];
    prg.fill(&mut bytes);
    let words = subrosa_ring::unpack(&bytes, W::BITS, n);
    bytes.zeroize();
    words
}

/// The next random bit plane of `n` bits; bits beyond `n` are zero.
pub(super) fn plane(prg: &mut Prg, n: usize) -> Vec<u64> {
    let mut words = prg.u64s(n.div_ceil(64));
    if let (Some(last), used @ 1..) = (words.last_mut(), n % 64) {
        *last &= (1 << used) - 1;
    }
    words
}

/// The next `count` random bit planes.
pub(super) fn planes(prg: &mut Prg, count: usize, n: usize) -> Vec<Vec<u64>> {
    (0..count).map(|_| plane(prg, n)).collect()
}
