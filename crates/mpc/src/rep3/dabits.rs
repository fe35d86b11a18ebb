//! daBits: random bits that nobody knows, shared both as bits and in the ring.
//!
//! Bit `d_s` comes from slot `s`'s stream. Party 0 knows `v = d_0 + d_1 mod 2` and shares it
//! as `v_0` (from slot 0) and `v_1 = v - v_0`, sent to party 1. Then
//! `d = v + d_2 - 2 v d_2`, and `v d_2 = t_0 + t_1 + t_2` with `t_0`, `t_1` from the streams of
//! slots 0 and 1 and `t_2 = (v_0 d_2 - t_0) + (v_1 d_2 - t_1)`: party 2 knows the first term,
//! party 1 the second, and they exchange them. Three ring elements in all.

use super::Rep3;
use super::prep::Reader;
use super::share::{Share, xor_into, zip};
use super::streams::{plane, words};
use subrosa_ring::bits::expand_bits;
use subrosa_ring::{Ring, Word, pack};
use zeroize::Zeroize;

/// Random bits, shared both as bits and in the ring; wiped when dropped.
pub(super) struct DaBits<W: Word> {
    /// This party's own slot of the bits: its additive part.
    pub(super) bits: Vec<u64>,
    pub(super) ring: Share<W>,
}

/// Party 1's or 2's daBits before the exchange.
pub(super) struct HalfDaBits<W: Word> {
    /// As [`DaBits::bits`].
    bits: Vec<u64>,
    /// `d_2`, slot 2 of the bits, as ring elements.
    d_2: Vec<W>,
    /// The other slot this party holds, complete: `v_1 - 2 t_1` or `v_0 - 2 t_0`.
    known: Vec<W>,
    /// This party's term of `t_2`.
    term: Vec<W>,
    /// Whether slot 2 is this party's first slot: so at party 2.
    slot_2_first: bool,
}

impl<W: Word> DaBits<W> {
    /// Party 0's daBits, complete; appends `v_1` to `message`, for party 1.
    pub(super) fn of_0<R: Ring<Word = W>>(party: &mut Rep3<R>, n: usize, message: &mut Vec<u8>) -> Self {
        let (d_0, d_1) = (plane(&mut party.a.dabit_bits, n), plane(&mut party.b.dabit_bits, n));
        let mut v = d_0.clone();
        xor_into(&mut v, &d_1);
        let v_0: Vec<W> = words(&mut party.a.dabit_share, n);
        let v_1 = zip(&expand_bits::<W>(&v, n), &v_0, W::sub);
        message.extend(pack(&v_1, R::WIDTH.bits()));
        let t_0: Vec<W> = words(&mut party.a.dabit_share, n);
        let t_1: Vec<W> = words(&mut party.b.dabit_share, n);
        Self { bits: d_0, ring: Share { a: minus_twice(&v_0, &t_0), b: minus_twice(&v_1, &t_1) } }
    }
}

impl<W: Word> HalfDaBits<W> {
    /// Party 1's: `v_1` is read from party 0's message, its term appended to `message`.
    pub(super) fn of_1<R: Ring<Word = W>>(
        party: &mut Rep3<R>,
        n: usize,
        shared: &mut Reader<'_>,
        message: &mut Vec<u8>,
    ) -> Self {
        let (d_1, d_2) = (plane(&mut party.a.dabit_bits, n), plane(&mut party.b.dabit_bits, n));
        let v_1 = shared.words(n, R::WIDTH.bits());
        let t_1 = words(&mut party.a.dabit_share, n);
        Self::new::<R>(d_1, expand_bits(&d_2, n), (v_1, t_1), false, message)
    }

    /// Party 2's; its term is appended to `message`.
    pub(super) fn of_2<R: Ring<Word = W>>(party: &mut Rep3<R>, n: usize, message: &mut Vec<u8>) -> Self {
        let d_2 = plane(&mut party.a.dabit_bits, n);
        let v_0 = words(&mut party.b.dabit_share, n);
        let t_0 = words(&mut party.b.dabit_share, n);
        let in_ring = expand_bits(&d_2, n);
        Self::new::<R>(d_2, in_ring, (v_0, t_0), true, message)
    }

    fn new<R: Ring<Word = W>>(
        bits: Vec<u64>,
        d_2: Vec<W>,
        (v, t): (Vec<W>, Vec<W>),
        slot_2_first: bool,
        message: &mut Vec<u8>,
    ) -> Self {
        let term = zip(&zip(&v, &d_2, W::mul), &t, W::sub);
        message.extend(pack(&term, R::WIDTH.bits()));
        Self { bits, d_2, known: minus_twice(&v, &t), term, slot_2_first }
    }

    /// Complete, with the other party's term.
    pub(super) fn finish(self, theirs: &mut Reader<'_>, k: u32) -> DaBits<W> {
        let t_2 = zip(&self.term, &theirs.words::<W>(self.term.len(), k), W::add);
        let slot_2 = minus_twice(&self.d_2, &t_2);
        let ring = match self.slot_2_first {
            true => Share { a: slot_2, b: self.known },
            false => Share { a: self.known, b: slot_2 },
        };
        DaBits { bits: self.bits, ring }
    }
}

impl<W: Word> Drop for DaBits<W> {
    fn drop(&mut self) {
        self.bits.zeroize();
        self.ring.a.zeroize();
        self.ring.b.zeroize();
    }
}

/// `x - 2 y`.
fn minus_twice<W: Word>(x: &[W], y: &[W]) -> Vec<W> {
    zip(x, y, |x, y| x.sub(y).sub(y))
}
