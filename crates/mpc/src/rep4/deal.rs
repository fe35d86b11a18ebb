//! What is computed of masks in the preprocessing, where the helper knows everything.
//!
//! Party `i` holds the pieces `a = i + 1` and `b = i + 2` (modulo 3), so a term of these two is
//! known to it and to the helper. Such a term `t` becomes pieces like this: piece `a` is drawn
//! from the stream of piece `a`, which party `i`, the helper and party `b` have; piece `b` is
//! `t` less that, the *correction*, which party `i` sends to party `a` and for which the
//! helper vouches. A product of two masks is a sum of three such terms, one a party: one
//! round, three corrections. So whatever circuit of masks is computed with sums and
//! products, every message has a second party who vouches for it.

use super::Rep4;
use super::compare::CompareMaterial;
use super::share::{HELD, HELPER, Pieces, next, previous, slot};
use super::vouch::{DIGEST, Vouched, digest, plane_message};
use crate::Error;
use crate::masked::{narrow_words, planes, sub_from};
use crate::protocol::Primitive;
use std::sync::Arc;
use subrosa_core::{Cost, Prg, Seed};
use subrosa_ring::bits::{and_xor_assign, plane_bytes, plane_words, planes_from_bytes, xor_assign};
use subrosa_ring::{Ring, Word, pack, packed_len, unpack};
use zeroize::Zeroize;

/// All of parties 0 to 2 have a term.
pub(super) const ALL: &[usize] = &[0, 1, 2];

/// The random streams of one piece, at each of its three holders. No two uses share one.
pub(super) struct Streams {
    pub(super) mask: Prg,
    pub(super) mask_bits: Prg,
    pub(super) dealt: Prg,
    pub(super) dealt_bits: Prg,
}

impl Streams {
    pub(super) fn new(seed: &Seed) -> Self {
        Self {
            mask: seed.stream("rep4 mask"),
            mask_bits: seed.stream("rep4 mask bits"),
            dealt: seed.stream("rep4 dealt"),
            dealt_bits: seed.stream("rep4 dealt bits"),
        }
    }
}

/// What one primitive consumes at one party.
pub(super) struct Material<W: Word> {
    /// The call it was made for: any other must not consume it.
    pub(super) call: Primitive,
    pub(super) parts: Parts<W>,
}

/// The parts of [`Material`]; what a primitive does not need is empty.
pub(super) struct Parts<W: Word> {
    /// What is added to a product's pieces before they are opened.
    pub(super) offset: Pieces<W>,
    /// The masks of two factors, neither known before.
    pub(super) factors: [Vec<Arc<Vec<W>>>; 2],
    pub(super) truncation: Option<Truncation<W>>,
    pub(super) selection: Option<Selection<W>>,
}

/// What a truncation consumes.
pub(super) struct Truncation<W: Word> {
    /// The piece of the value's mask that parties 1 and 2 have (the public one).
    pub(super) mask: Vec<W>,
    /// What hides the masked value's top bit from party 0, at the others.
    pub(super) top_mask: Vec<u64>,
    /// What is added, the new mask included.
    pub(super) base: Pieces<W>,
    /// The wrap-around where the masked top bit is 0, and where it is 1.
    pub(super) wrap: [Pieces<W>; 2],
}

/// What a sign, or the choice that it makes, consumes.
pub(super) struct Selection<W: Word> {
    pub(super) compare: CompareMaterial,
    /// The sign's mask in the ring.
    pub(super) slope: Pieces<W>,
    /// What is added where the masked sign is 0, and where it is 1: the new mask included.
    pub(super) base: [Pieces<W>; 2],
}

// Written out: deriving would ask for a default of the word type's owner as well.
impl<W: Word> Default for Parts<W> {
    fn default() -> Self {
        Self { offset: Vec::new(), factors: Default::default(), truncation: None, selection: None }
    }
}

// Wiped when it was used, or when a batch is given up.
impl<W: Word> Drop for Material<W> {
    fn drop(&mut self) {
        self.parts.offset.zeroize();
        self.parts.factors.iter_mut().flatten().filter_map(Arc::get_mut).for_each(Zeroize::zeroize);
    }
}

impl<W: Word> Drop for Truncation<W> {
    fn drop(&mut self) {
        self.mask.zeroize();
        self.top_mask.zeroize();
        self.base.zeroize();
        self.wrap.iter_mut().for_each(Zeroize::zeroize);
    }
}

impl<W: Word> Drop for Selection<W> {
    fn drop(&mut self) {
        self.slope.zeroize();
        self.base.iter_mut().for_each(Zeroize::zeroize);
    }
}

/// Terms that become pieces: vectors of `n` words modulo 2^bits, one from each party of `from`.
pub(super) struct Terms<W> {
    /// Who has a term.
    pub(super) from: &'static [usize],
    pub(super) n: usize,
    pub(super) bits: u32,
    /// This party's own, if it is one of them; at the helper those of all, in order.
    pub(super) terms: Vec<Vec<W>>,
}

/// Corrections on their way: by sender.
#[derive(Default)]
struct Corrections {
    sent: [Vec<u8>; 3],
    due: usize,
}

impl<R: Ring> Rep4<R> {
    /// New masks of `n` words: the pieces held.
    pub(super) fn mask_words(&mut self, n: usize) -> Pieces<R::Word> {
        self.streams.iter_mut().map(|s| narrow_words(&mut s.mask, n, R::Word::BITS)).collect()
    }

    /// As [`Rep4::mask_words`], `n` bits.
    pub(super) fn mask_plane(&mut self, n: usize) -> Pieces<u64> {
        self.streams.iter_mut().map(|s| planes(&mut s.mask_bits, 1, n)).collect()
    }

    /// A plane that the holders of the public piece alone draw.
    pub(super) fn public_piece_plane(&mut self, n: usize) -> Vec<u64> {
        let at = slot(self.me, super::share::PUBLIC);
        let streams = at.and_then(|at| self.streams.get_mut(at));
        streams.map_or_else(Vec::new, |s| planes(&mut s.mask_bits, 1, n))
    }

    /// The terms that this party computes: of each pair of pieces `(a, b)` that only one of
    /// parties 0 to 2 holds whole, given as places among the pieces held.
    pub(super) fn own_pairs(&self) -> Vec<(usize, usize)> {
        let pair = |party: usize| Some((slot(self.me, next(party))?, slot(self.me, previous(party))?));
        let mine = |party: &usize| self.me == HELPER || self.me == *party;
        ALL.iter().filter(|party| mine(party)).filter_map(|&party| pair(party)).collect()
    }

    /// Turns terms into pieces, several vectors at once. One round.
    pub(super) fn deal_words(&mut self, all: Vec<Terms<R::Word>>) -> Result<Vec<Pieces<R::Word>>, Error> {
        let (me, held) = (self.me, self.streams.len());
        let mut corrections = Corrections::default();
        let mut results = Vec::with_capacity(all.len());
        for Terms { from, n, bits, terms } in &all {
            let mut pieces = vec![vec![R::Word::default(); *n]; held];
            let mut terms = terms.iter();
            for &party in *from {
                if me == next(party) {
                    corrections.due += packed_len(*n, *bits);
                }
                let Some(at) = slot(me, next(party)) else { continue };
                let drawn: Vec<R::Word> = match self.streams.get_mut(at) {
                    Some(streams) => narrow_words(&mut streams.dealt, *n, *bits),
                    None => continue,
                };
                if let (true, Some(b)) = (me == party || me == HELPER, slot(me, previous(party))) {
                    let mut correction = terms.next().cloned().unwrap_or_default();
                    sub_from(&mut correction, &drawn);
                    corrections.sent[party].extend(pack(&correction, *bits));
                    add(&mut pieces, b, &correction);
                }
                add(&mut pieces, at, &drawn);
            }
            results.push(pieces);
        }
        let received = self.exchange(corrections)?;
        let mut rest = received.as_slice();
        for (Terms { from, n, bits, .. }, pieces) in all.iter().zip(&mut results) {
            // What this party is sent is of the piece that the sender and it hold.
            for &party in from.iter().filter(|&&party| me == next(party)) {
                let (now, later) = rest.split_at_checked(packed_len(*n, *bits)).unwrap_or((rest, &[]));
                rest = later;
                if let Some(b) = slot(me, previous(party)) {
                    add(pieces, b, &unpack::<R::Word>(now, *bits, *n));
                }
            }
        }
        Ok(results)
    }

    /// As [`Rep4::deal_words`] of all parties' terms, `count` planes of `n` bits each.
    pub(super) fn deal_planes(&mut self, n: usize, count: usize, terms: Vec<Vec<u64>>) -> Result<Pieces<u64>, Error> {
        let (me, held) = (self.me, self.streams.len());
        let mut pieces = vec![vec![0u64; count * plane_words(n)]; held];
        let mut corrections = Corrections::default();
        let mut terms = terms.into_iter();
        for &party in ALL {
            if me == next(party) {
                corrections.due += count * plane_bytes(n);
            }
            let Some(at) = slot(me, next(party)) else { continue };
            let Some(streams) = self.streams.get_mut(at) else { continue };
            let drawn = planes(&mut streams.dealt_bits, count, n);
            if let (true, Some(b)) = (me == party || me == HELPER, slot(me, previous(party))) {
                let mut correction = terms.next().unwrap_or_default();
                xor_assign(&mut correction, &drawn);
                corrections.sent[party] = plane_message(&correction, n);
                xor(&mut pieces, b, &correction);
            }
            xor(&mut pieces, at, &drawn);
        }
        let received = self.exchange(corrections)?;
        if let (true, Some(b)) = (me < HELPER && !received.is_empty(), slot(me, next(me))) {
            xor(&mut pieces, b, planes_from_bytes(&received, count, n).words());
        }
        Ok(pieces)
    }

    /// Parties 0 to 2 send their corrections on, the helper vouches for all. One round.
    fn exchange(&mut self, mut corrections: Corrections) -> Result<Vec<u8>, Error> {
        let me = self.me;
        if me == HELPER {
            let sent = corrections.sent.iter().enumerate().filter(|(_, c)| !c.is_empty());
            let sends = sent.map(|(party, c)| (next(party), digest(c).to_vec())).collect();
            return self.vouched_round(sends, None);
        }
        let message = std::mem::take(&mut corrections.sent[me]);
        let sends = if message.is_empty() { vec![] } else { vec![(next(me), message)] };
        self.vouched_round(sends, Some(Vouched { sender: previous(me), by: HELPER, len: corrections.due }))
    }

    /// Pieces of the product of two masks given in pieces, by a bilinear map with `len`
    /// results: this party's terms of it.
    pub(super) fn crossed(
        &self,
        x: &[impl AsRef<Vec<R::Word>>],
        y: &[impl AsRef<Vec<R::Word>>],
        len: usize,
        acc: &impl Fn(&[R::Word], &[R::Word], &mut [R::Word]),
    ) -> Vec<Vec<R::Word>> {
        // x_a y_a + x_a y_b + x_b y_a: with those of the other parties all of x y.
        let term = |(a, b): (usize, usize)| {
            let mut z = vec![R::Word::default(); len];
            if let (Some(x_a), Some(x_b), Some(y_a), Some(y_b)) = (x.get(a), x.get(b), y.get(a), y.get(b)) {
                acc(x_a.as_ref(), &crate::masked::zip(y_a.as_ref(), y_b.as_ref(), Word::add), &mut z);
                acc(x_b.as_ref(), y_a.as_ref(), &mut z);
            }
            z
        };
        self.own_pairs().into_iter().map(term).collect()
    }

    /// The product, element by element, of two vectors of planes in pieces. One round.
    pub(super) fn and(&mut self, n: usize, x: &[Vec<u64>], y: &[Vec<u64>]) -> Result<Pieces<u64>, Error> {
        let len = x.first().map_or(0, Vec::len);
        // x_a (y_a + y_b) + x_b y_a
        let term = |(a, b): (usize, usize)| -> Vec<u64> {
            let mut z = vec![0; len];
            if let (Some(x_a), Some(x_b), Some(y_a), Some(y_b)) = (x.get(a), x.get(b), y.get(a), y.get(b)) {
                let mut both = y_a.clone();
                xor_assign(&mut both, y_b);
                and_xor_assign(&mut z, x_a, &both);
                and_xor_assign(&mut z, x_b, y_a);
            }
            z
        };
        let terms = self.own_pairs().into_iter().map(term).collect();
        self.deal_planes(n, len.checked_div(plane_words(n)).unwrap_or(0), terms)
    }
}

fn add<W: Word>(pieces: &mut [Vec<W>], at: usize, by: &[W]) {
    if let Some(piece) = pieces.get_mut(at) {
        crate::masked::add_into(piece, by);
    }
}

fn xor(pieces: &mut [Vec<u64>], at: usize, by: &[u64]) {
    if let Some(piece) = pieces.get_mut(at) {
        xor_assign(piece, by);
    }
}

/// Declared cost of one round of corrections from `senders` parties, of `bytes` each.
pub(super) fn cost(senders: usize, bytes: usize) -> Cost {
    Cost::round([bytes as u64, DIGEST as u64].repeat(senders))
}

/// The number of pieces that party `me` holds.
pub(super) fn held(me: usize) -> usize {
    HELD.get(me).map_or(0, |held| held.len())
}
