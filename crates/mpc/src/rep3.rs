//! `rep3`: replicated secret sharing over Z_2^k between three parties, semi-honest, no two
//! colluding.
//!
//! Sharing and re-randomised products follow Araki, Furukawa, Lindell, Nof, Ohara,
//! *High-Throughput Semi-Honest Secure Three-Party Computation*,
//! <https://eprint.iacr.org/2016/768>, section 3. That two of the three parts are drawn
//! before the input is there, so that party 2 is needed in the preprocessing only, follows
//! ASTRA, Chaudhari, Choudhury, Patra, Suresh, <https://eprint.iacr.org/2019/429> (the
//! semi-honest protocol).
//!
//! So it is the engine of [`masked`](crate::masked) with two computing parties, 0 and 1, and
//! party 2 as the dealer, which differs from both papers as that module says. Of the three
//! slots `m_0`, `c`, `m_2` of a sharing, party `i` holds slots `i` and `i + 1`.
//!
//! `docs/rep3.md` has the argument in full.

use crate::Error;
use crate::fss::Hash;
use crate::masked::{Cast, Gates, Masked, SEED_BYTES, Streams, sub_from, words, zip};
use subrosa_core::{Adversary, Claim, Cost, Prg, Seed};
use subrosa_net::Session;
use subrosa_ring::Word;
use zeroize::Zeroize;

/// One party of `rep3`.
pub type Rep3<R> = Masked<R, ThreeServers>;

/// Three servers, the last of which deals.
pub struct ThreeServers {
    me: usize,
    /// Slot 1, at parties 0 and 1: zero shares come from it.
    pub(crate) between: Option<(Seed, Prg)>,
}

const NAME: &str = "rep3";

const CLAIM: Claim = Claim {
    adversary: Adversary::SemiHonest,
    parties: 3,
    threshold: 1,
    security_bits: 128,
    summary: "three servers compute on shares; safe while they follow the protocol and no two collude",
    learns: &[
        "each server: the architecture, the layers' fraction bits and magnitudes (powers of two) and the number of inputs; nothing of inputs or results, nor of weights unless these were declared public",
        "model owner: nothing",
        "data owner and result receiver, in a deployment: the public plan, as the servers do",
        "result receiver: the output to its last fraction bit; and, as hidden values are rounded at random, from many equal or similar inputs more than the outputs of a fixed function tell, in the end weights: open labels only (--reveal label) to a receiver who must not learn the model; no server should also be the receiver",
        "two colluding servers: everything",
    ],
};

impl Cast for ThreeServers {
    const NAME: &'static str = NAME;
    const COMPUTING: usize = 2;
    const DEALER_OPENS: bool = true;
    const OWNER_MASKS: bool = false;
    const GATES: Gates = Gates::Bits;
    const CLAIM: Claim = CLAIM;
    const SOURCE: &'static str =
        "Araki et al., https://eprint.iacr.org/2016/768, section 3; ASTRA, https://eprint.iacr.org/2019/429";

    fn setup(session: &mut Session) -> Result<(Self, Vec<Seed>), Error> {
        let me = session.id();
        // Slot me is shared with the previous party, slot me + 1 with the next one.
        let halves = [Seed::random()?, Seed::random()?];
        let peers = [(me + 2) % 3, (me + 1) % 3];
        let sends = peers.iter().zip(&halves).map(|(&p, half)| (p, half.expose().to_vec())).collect();
        let mut received = session.round(sends, &peers.map(|p| (p, SEED_BYTES)))?;
        let mut theirs = received.iter().map(Vec::as_slice);
        // Of each pair the party that comes first in the circle contributes the first half.
        let previous = joint_seed(theirs.next().unwrap_or(&[]), halves[0].expose());
        let next = joint_seed(halves[1].expose(), theirs.next().unwrap_or(&[]));
        received.zeroize();
        let (between, with_dealer) = match me {
            0 => (Some(next), vec![previous]),
            1 => (Some(previous), vec![next]),
            // Slot 0 is party 0's, slot 2 party 1's.
            _ => (None, vec![next, previous]),
        };
        let stream = |seed: Seed| {
            let zero = Streams::new(NAME, &seed).zero;
            (seed, zero)
        };
        Ok((Self { me, between: between.map(stream) }, with_dealer))
    }

    fn setup_cost() -> Cost {
        Cost::messages(6, SEED_BYTES as u64)
    }

    fn renew(&mut self, batch: u64) {
        if let Some((seed, zero)) = &mut self.between {
            *zero = Streams::new(NAME, &seed.derive(&batch.to_le_bytes())).zero;
        }
    }

    fn hash(&self) -> Option<&Hash> {
        None
    }

    // Party i's part is F_i - F_(i+1), F_s the stream of slot s: Araki et al., section 3.1.
    fn zero<W: Word>(&mut self, streams: &mut [Streams], n: usize) -> Vec<W> {
        let mut with_dealer: Vec<Vec<W>> = streams.iter_mut().map(|streams| words(&mut streams.zero, n)).collect();
        let between = self.between.as_mut().map(|(_, zero)| words(zero, n)).unwrap_or_default();
        let last = with_dealer.pop().unwrap_or_default();
        match self.me {
            0 => zip(&last, &between, Word::sub),
            1 => zip(&between, &last, Word::sub),
            _ => {
                let mut part = last;
                with_dealer.iter().for_each(|slot_0| sub_from(&mut part, slot_0));
                part
            }
        }
    }
}

/// A slot's seed from both holders' halves, in order.
fn joint_seed(first: &[u8], second: &[u8]) -> Seed {
    let mut halves = [first, second].concat();
    let seed = Seed::from_bytes([0; SEED_BYTES]).derive(&halves);
    halves.zeroize();
    seed
}
