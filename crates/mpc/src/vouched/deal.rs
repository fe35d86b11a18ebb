//! What is computed of masks in the preprocessing.
//!
//! Party `i` holds the pieces `a = i + 1` and `b = i + 2` (modulo 3), so a term of these two is
//! known to it, and to the helper if there is one. Such a term `t` becomes pieces like this: piece
//! `a` is drawn from the stream of piece `a`, which party `i`, party `b` and the helper have; piece
//! `b` is `t` less that, the *correction*, which party `i` sends to party `a`. A product of two
//! masks is a sum of three such terms, one a party: one round, three corrections. The helper
//! vouches for every correction; without one, all of them go into the ledger, to be proven
//! ([`super::proof`]).

use super::bilinear::Bilinear;
use super::proof::Layer;
use super::share::{HELD, HELPER, Pieces, next, previous, slot};
use super::vouch::{DIGEST, Due, digest, plane_message};
use super::{Crew, Vouched};
use crate::Error;
use crate::masked::{narrow_words, planes, sub_from};
use std::sync::Arc;
use subrosa_core::{Cost, Prg, Seed};
use subrosa_ring::bits::{and_xor_assign, plane_bytes, plane_words, planes_from_bytes, xor_assign};
use subrosa_ring::{Ring, Word, pack, packed_len, unpack};

/// All of parties 0 to 2 have a term.
pub(super) const ALL: &[usize] = &[0, 1, 2];

/// The random streams of one piece, at each of its three holders. No two uses share one.
pub(super) struct Streams {
    pub(super) mask: Prg,
    pub(super) mask_bits: Prg,
    pub(super) dealt: Prg,
    pub(super) dealt_bits: Prg,
    /// What hides a proof, where the piece is `a`, and where it is `b`.
    pub(super) proof: [Prg; 2],
    /// Challenges to the party that lacks the piece.
    pub(super) challenge: Prg,
}

impl Streams {
    /// All streams of protocol `name` from a batch's seed.
    pub(super) fn new(name: &str, seed: &Seed) -> Self {
        let stream = |purpose: &str| seed.stream(&format!("{name} {purpose}"));
        Self {
            mask: stream("mask"),
            mask_bits: stream("mask bits"),
            dealt: stream("dealt"),
            dealt_bits: stream("dealt bits"),
            proof: [stream("proof"), stream("proof the other way")],
            challenge: stream("challenge"),
        }
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

/// A product to be computed: two vectors in pieces, some of which may be known to be zero.
pub(super) struct Factors<W> {
    pub(super) map: Bilinear,
    /// Who has a term.
    pub(super) from: &'static [usize],
    /// How many bits of the result are needed.
    pub(super) bits: u32,
    /// By place among the pieces held; absent where zero.
    pub(super) x: Vec<Option<Arc<Vec<W>>>>,
    pub(super) y: Vec<Option<Arc<Vec<W>>>>,
    /// Which pieces are not zero.
    pub(super) supports: [[bool; 3]; 2],
}

impl<W: Word> Factors<W> {
    /// All pieces, and so terms of all parties.
    pub(super) fn whole(map: Bilinear, x: &[Arc<Vec<W>>], y: &[Arc<Vec<W>>]) -> Self {
        let some = |pieces: &[Arc<Vec<W>>]| pieces.iter().cloned().map(Some).collect();
        Self { map, from: ALL, bits: W::BITS, x: some(x), y: some(y), supports: [[true; 3]; 2] }
    }

    /// Of numbers that are the sum of a few pieces: each what a party has, by piece.
    pub(super) fn of(
        me: usize,
        map: Bilinear,
        from: &'static [usize],
        x: [Option<Vec<W>>; 3],
        y: [Option<Vec<W>>; 3],
        supports: [[bool; 3]; 2],
    ) -> Self {
        let held = HELD.get(me).copied().unwrap_or_default();
        let place = |mut pieces: [Option<Vec<W>>; 3]| -> Vec<_> {
            held.iter().map(|&piece| pieces.get_mut(piece).and_then(Option::take).map(Arc::new)).collect()
        };
        Self { map, from, bits: W::BITS, x: place(x), y: place(y), supports }
    }

    /// Only the low bits of the result are needed.
    pub(super) fn low(self, bits: u32) -> Self {
        Self { bits, ..self }
    }
}

/// What an AND of planes is taken of.
#[derive(Clone, Copy)]
pub(super) enum Operands<'a> {
    /// Two vectors of planes in pieces.
    Two(&'a [Vec<u64>], &'a [Vec<u64>]),
    /// The products of any two pieces of one, added up: the majority of three bits.
    Majority(&'a [Vec<u64>]),
}

/// Corrections on their way: by sender.
#[derive(Default)]
struct Corrections {
    sent: [Vec<u8>; 3],
    due: usize,
}

impl<R: Ring, C: Crew> Vouched<R, C> {
    /// New masks of `n` words: the pieces held.
    pub(super) fn mask_words(&mut self, n: usize) -> Pieces<R::Word> {
        self.streams.iter_mut().map(|s| narrow_words(&mut s.mask, n, R::Word::BITS)).collect()
    }

    /// As [`Vouched::mask_words`], `n` bits.
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

    /// Products in pieces, several at once. One round.
    pub(super) fn multiply(&mut self, all: Vec<Factors<R::Word>>) -> Result<Vec<Pieces<R::Word>>, Error> {
        if !C::HELPED {
            return self.multiply_unvouched(all);
        }
        let terms = |f: &Factors<R::Word>| {
            let (from, n, bits) = (f.from, f.map.outputs(), f.bits.min(R::WIDTH.bits()));
            Terms { from, n, bits, terms: self.crossed(f) }
        };
        let terms = all.iter().map(terms).collect();
        self.deal_words(terms)
    }

    /// As [`Vouched::multiply`], one product.
    pub(super) fn multiply_one(&mut self, factors: Factors<R::Word>) -> Result<Pieces<R::Word>, Error> {
        Ok(self.multiply(vec![factors])?.pop().unwrap_or_default())
    }

    /// As [`Vouched::multiply`], bit by bit: `count` planes of `n` bits each.
    pub(super) fn deal_planes(&mut self, n: usize, count: usize, of: Operands<'_>) -> Result<Pieces<u64>, Error> {
        let (me, held) = (self.me, self.streams.len());
        let len = count * plane_words(n);
        let terms: Vec<Vec<u64>> = self.own_pairs().into_iter().map(|pair| plane_term(of, pair, len)).collect();
        let mut layer = Layer::default();
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
            if !C::HELPED {
                layer.drawn(at, drawn);
            }
        }
        let received = self.exchange(corrections)?;
        if let (true, Some(b)) = (me < HELPER && !received.is_empty(), slot(me, next(me))) {
            let received = planes_from_bytes(&received, count, n).words().to_vec();
            xor(&mut pieces, b, &received);
            layer.received = received;
        }
        if !C::HELPED {
            layer.of(of, len);
            self.ledger.planes(layer, len);
            self.prove_if_much()?;
        }
        Ok(pieces)
    }

    /// Parties 0 to 2 send their corrections on, the helper vouches for all. One round.
    fn exchange(&mut self, mut corrections: Corrections) -> Result<Vec<u8>, Error> {
        let me = self.me;
        if !C::HELPED {
            let message = std::mem::take(&mut corrections.sent[me]);
            return self.pass_on(message, corrections.due);
        }
        if me == HELPER {
            let sent = corrections.sent.iter().enumerate().filter(|(_, c)| !c.is_empty());
            let sends = sent.map(|(party, c)| (next(party), digest(c).to_vec())).collect();
            return self.vouched_round(sends, None);
        }
        let message = std::mem::take(&mut corrections.sent[me]);
        let sends = if message.is_empty() { vec![] } else { vec![(next(me), message)] };
        self.vouched_round(sends, Some(Due { sender: previous(me), by: HELPER, len: corrections.due }))
    }

    /// One round: a message to the next party, and one of `due` bytes from the previous one.
    pub(super) fn pass_on(&mut self, message: Vec<u8>, due: usize) -> Result<Vec<u8>, Error> {
        let me = self.me;
        let sends = if message.is_empty() { vec![] } else { vec![(next(me), message)] };
        let due = if due == 0 { vec![] } else { vec![(previous(me), due)] };
        Ok(self.session.round(sends, &due)?.pop().unwrap_or_default())
    }

    /// This party's terms of a product; at the helper those of all.
    pub(super) fn crossed(&self, factors: &Factors<R::Word>) -> Vec<Vec<R::Word>> {
        // x_a y_a + x_a y_b + x_b y_a: with those of the other parties all of x y.
        let Factors { map, from, x, y, .. } = factors;
        let term = |(a, b): (usize, usize)| {
            let mut z = vec![R::Word::default(); map.outputs()];
            let at = |pieces: &[Option<Arc<Vec<R::Word>>>], at: usize| pieces.get(at).cloned().flatten();
            let (y_a, y_b) = (at(y, a), at(y, b));
            if let Some(x_a) = at(x, a) {
                match (&y_a, y_b) {
                    (Some(y_a), Some(y_b)) => map.add(&x_a, &crate::masked::zip(y_a, &y_b, Word::add), &mut z),
                    (Some(y), None) => map.add(&x_a, y, &mut z),
                    (None, Some(y)) => map.add(&x_a, &y, &mut z),
                    (None, None) => {}
                }
            }
            if let (Some(x_b), Some(y_a)) = (at(x, b), &y_a) {
                map.add(&x_b, y_a, &mut z);
            }
            z
        };
        let mine = |party: &usize| self.me == HELPER || self.me == *party;
        let pair = |party: usize| Some((slot(self.me, next(party))?, slot(self.me, previous(party))?));
        from.iter().copied().filter(|party| mine(party)).filter_map(pair).map(term).collect()
    }

    /// The product, element by element, of two vectors of planes in pieces. One round.
    pub(super) fn and(&mut self, n: usize, x: &[Vec<u64>], y: &[Vec<u64>]) -> Result<Pieces<u64>, Error> {
        let len = x.first().map_or(0, Vec::len);
        self.deal_planes(n, len.checked_div(plane_words(n)).unwrap_or(0), Operands::Two(x, y))
    }
}

/// The term of two pieces, given by their places, of an AND of planes.
fn plane_term(of: Operands<'_>, (a, b): (usize, usize), len: usize) -> Vec<u64> {
    let mut z = vec![0; len];
    match of {
        // x_a (y_a + y_b) + x_b y_a
        Operands::Two(x, y) => {
            if let (Some(x_a), Some(x_b), Some(y_a), Some(y_b)) = (x.get(a), x.get(b), y.get(a), y.get(b)) {
                let mut both = y_a.clone();
                xor_assign(&mut both, y_b);
                and_xor_assign(&mut z, x_a, &both);
                and_xor_assign(&mut z, x_b, y_a);
            }
        }
        Operands::Majority(x) => {
            if let (Some(x_a), Some(x_b)) = (x.get(a), x.get(b)) {
                and_xor_assign(&mut z, x_a.get(..len).unwrap_or(x_a), x_b.get(..len).unwrap_or(x_b));
            }
        }
    }
    z
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
