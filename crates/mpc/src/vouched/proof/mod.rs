//! What nobody vouches for is proven: that each party's terms were right, before anything that
//! was computed of them is used.
//!
//! Party `p` alone knows its term `t` of a product, and sends the correction `z = t - r` to party
//! `p + 1`, `r` drawn by it and party `p + 2` ([`super::deal`]). All it can do wrong is send another
//! `z`. What a right one is the two others know *together*: `p + 2`, the *first* verifier, has `r`
//! and the pieces `a` of the factors; `p + 1`, the *second*, has `z` and the pieces `b`.
//!
//! ```text
//! z + r - x_a y_a  =  x_a y_b + x_b y_a
//! ```
//!
//! So the prover shows to the two, for all its terms at once, that a random combination of these
//! equations holds. Words are proven in [`words`], bits in [`bits`]. In both
//! - challenges come from the stream of piece `p`, which `p` lacks: nobody can choose them, and `p`
//!   gets them when what it claims has come to its second verifier, and the first knows that;
//! - whatever one verifier tells the other the prover knows as well, and vouches for;
//! - everything sent is hidden by fresh draws of streams that its receiver lacks.
//!
//! A proof fails only if the prover has sent something wrong, or with the probability stated in
//! each module passes nevertheless. Whether it fails depends on what the prover added to its
//! corrections, and on challenges, never on a secret.

pub(super) mod bits;
#[cfg(test)]
mod tests;
pub(super) mod wide;
pub(super) mod words;

use super::bilinear::Bilinear;
use super::deal::{Factors, Operands};
use super::share::{next, previous, slot};
use super::{Crew, Vouched};
use crate::Error;
use crate::masked::SEED_BYTES;
use crate::protocol::Contradiction;
use subrosa_core::{Cost, Seed};
use subrosa_ring::{Ring, Word};
use words::Dealt;
use zeroize::Zeroize;

/// What was dealt and is still to be proven.
#[derive(Default)]
pub(super) struct Ledger {
    layers: Vec<Layer>,
    dealt: Vec<Dealt>,
    load: Load,
}

/// One layer of ANDs, at one party. Of the pieces held, the first is `b` and the second `a` in its
/// own terms; the first is `a` in the next party's, the second `b` in the previous one's.
#[derive(Default)]
pub(super) struct Layer {
    /// By piece held: the factors.
    x: [Vec<u64>; 2],
    y: [Vec<u64>; 2],
    /// The factors are the same: any two pieces of it are multiplied.
    majority: bool,
    /// By piece held: what was drawn of it.
    drawn: [Vec<u64>; 2],
    /// The previous party's correction.
    pub(super) received: Vec<u64>,
}

impl Layer {
    /// Notes what was drawn for the piece at `place`.
    pub(super) fn drawn(&mut self, place: usize, planes: Vec<u64>) {
        if let Some(drawn) = self.drawn.get_mut(place) {
            *drawn = planes;
        }
    }

    /// Notes the factors, of `len` words each.
    pub(super) fn of(&mut self, operands: Operands<'_>, len: usize) {
        let pieces =
            |x: &[Vec<u64>]| [0, 1].map(|at| x.get(at).map_or_else(Vec::new, |x| x.get(..len).unwrap_or(x).to_vec()));
        match operands {
            Operands::Two(x, y) => (self.x, self.y) = (pieces(x), pieces(y)),
            Operands::Majority(x) => (self.x, self.majority) = (pieces(x), true),
        }
    }
}

impl Drop for Layer {
    fn drop(&mut self) {
        self.x.zeroize();
        self.y.zeroize();
        self.drawn.zeroize();
        self.received.zeroize();
    }
}

/// How much there is to prove.
#[derive(Clone, Copy, Default)]
pub(super) struct Load {
    /// Words of planes of ANDs.
    words: usize,
    /// Words dealt.
    dealt: usize,
    /// By prover: lengths of what the verifiers tell each other, first to second and back.
    told: [[usize; 2]; 3],
}

impl Load {
    /// Counts so many words of planes of ANDs.
    pub(super) fn planes(&mut self, words: usize) {
        self.words += words;
    }

    /// Counts a product of words.
    pub(super) fn product(&mut self, map: &Bilinear, from: &[usize], supports: [[bool; 3]; 2]) {
        self.dealt += map.outputs();
        for &p in from {
            let terms = words::terms(p, supports);
            for (told, there) in self.told[p].iter_mut().zip(terms) {
                *told += if there { wide::inner(map) } else { 0 };
            }
        }
    }

    /// Whether it is time to prove, before more is dealt: bounds the memory for what is noted.
    pub(super) fn is_much(&self) -> bool {
        64 * self.words + DEALT_WEIGHT * self.dealt >= MUCH
    }

    /// Declared cost of proving it, in a ring of k bits.
    pub(super) fn cost(&self, k: u32) -> Cost {
        let words = if self.dealt == 0 { Cost::FREE } else { words::cost(k, self.told) };
        words + if self.words == 0 { Cost::FREE } else { bits::cost(self.words) }
    }
}

/// Bits of ANDs noted before they are proven: 16 MB, and as much again while they are.
const MUCH: usize = 1 << 24;
/// What a word dealt takes, compared with a bit of an AND.
const DEALT_WEIGHT: usize = 512;

impl Ledger {
    /// Notes a layer of `words` words.
    pub(super) fn planes(&mut self, layer: Layer, words: usize) {
        self.load.planes(words);
        self.layers.push(layer);
    }

    /// Notes a product.
    pub(super) fn product<W: Word>(&mut self, factors: &Factors<W>, dealt: Dealt) {
        self.load.product(&factors.map, factors.from, factors.supports);
        self.dealt.push(dealt);
    }
}

impl<R: Ring, C: Crew> Vouched<R, C> {
    /// Proves what is noted, if that is much.
    pub(super) fn prove_if_much(&mut self) -> Result<(), Error> {
        if self.ledger.load.is_much() { self.prove() } else { Ok(()) }
    }

    /// Proves whatever is noted.
    ///
    /// **Errors:** [`PeerFault::Contradicted`](subrosa_net::PeerFault::Contradicted) if a proof
    /// fails.
    pub(super) fn prove(&mut self) -> Result<(), Error> {
        let Ledger { layers, dealt, .. } = std::mem::take(&mut self.ledger);
        if !dealt.is_empty() {
            self.prove_words(dealt)?;
        }
        match layers.is_empty() {
            true => Ok(()),
            false => self.prove_bits(layers),
        }
    }

    /// The next challenges, by prover: this party draws those of the two others and tells them, and
    /// gets its own from both. Two rounds.
    ///
    /// What a prover claims it has sent to its second verifier alone. So the first one waits until the
    /// second says that it has come: a prover that got its challenge from the first could otherwise
    /// choose its claim to suit.
    fn challenges(&mut self) -> Result<[Seed; 3], Error> {
        let me = self.me;
        self.pass_on(vec![0], 1)?;
        let others = [next(me), previous(me)];
        let mut drawn = [[0u8; SEED_BYTES]; 3];
        for prover in others {
            if let Some(streams) = slot(me, prover).and_then(|at| self.streams.get_mut(at)) {
                streams.challenge.fill(&mut drawn[prover]);
            }
        }
        let sends = others.iter().map(|&prover| (prover, drawn[prover].to_vec())).collect();
        let received = self.session.round(sends, &others.map(|p| (p, SEED_BYTES)))?;
        if received.first() != received.get(1) {
            return Err(self.accuse(next(me), previous(me)));
        }
        drawn[me] = received.first().and_then(|r| r.first_chunk().copied()).unwrap_or_default();
        Ok(drawn.map(Seed::from_bytes))
    }

    fn accuse(&mut self, sender: usize, by: usize) -> Error {
        Contradiction { sender, by }.accuse(&mut self.session)
    }
}

/// Declared cost of [`Vouched::challenges`].
fn challenge_cost() -> Cost {
    Cost::messages(3, 1) + Cost::messages(6, SEED_BYTES as u64)
}
