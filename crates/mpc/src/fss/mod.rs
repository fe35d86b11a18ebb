//! `fss`: two servers and a dealer that sees no data, semi-honest, no two colluding; comparisons
//! by function secret sharing.
//!
//! Boyle, Gilboa, Ishai, *Secure Computation with Preprocessing via Function Secret Sharing*,
//! <https://eprint.iacr.org/2019/1095>: values are opened under masks, and the dealer, who knows
//! the masks, has dealt keys by which both servers evaluate a gate on the masked value,
//! locally. Comparison keys are those of Boyle et al., <https://eprint.iacr.org/2020/1392>
//! (`dcf`). That truncation, sign extension and relu are one gate follows LLAMA, Gupta, Kumaraswamy,
//! Chandran, Gupta, <https://eprint.iacr.org/2022/793>, and Orca, Jawalkar, Gupta, Basu, Chandran,
//! Gupta, Sharma, <https://eprint.iacr.org/2023/206>; AriaNN, Ryffel, Tholoniat, Pointcheval, Bach,
//! <https://eprint.iacr.org/2020/593>, is the first with one message a comparison.
//!
//! All else is the engine of [`masked`](crate::masked): this is a [`Cast`] whose
//! gates are [`Gates::Keys`]. A layer of products, truncation and relu is two messages.
//!
//! **Differs from these in** that one key of `w - 1` bits serves the whole gate, and that the
//! truncation is the engine's, the floor or one more, on a window of the plan's proven width.
//!
//! `docs/fss.md` has the argument in full. **Deliberately absent:** two-party key generation
//! without a dealer, and protection against a dealer or a server that deviates.

mod dcf;
mod deal;
mod eval;
mod hash;
mod lanes;
mod layout;
#[cfg(test)]
mod tests;

pub use dcf::{FIELDS, Form, Keys, LANES, Secrets, Trees};
pub use hash::Hash;

use crate::Error;
use crate::masked::{Cast, Gates, Masked, SEED_BYTES, Streams};
use hash::KEY_BYTES;
use subrosa_core::{Adversary, Claim, Cost, Seed};
use subrosa_net::Session;
use subrosa_ring::Word;
use zeroize::Zeroize;

/// One of two servers of `fss`, or their dealer.
pub type Fss<R> = Masked<R, KeyDealer>;

/// Two servers and a dealer of comparison keys.
pub struct KeyDealer {
    /// Known to all three: each batch's hash key comes from it.
    public: Seed,
    hash: Option<Hash>,
}

const NAME: &str = "fss";

const COMPUTING: usize = 2;

const CLAIM: Claim = Claim {
    adversary: Adversary::SemiHonest,
    parties: 2,
    threshold: 1,
    security_bits: 128,
    summary: "two servers compute on masked values with keys from a dealer that sees no data; safe while all three follow the protocol and no two of them collude",
    learns: &[
        "each server: the architecture, the layers' fraction bits and magnitudes (powers of two) and the number of inputs; nothing of inputs or results, nor of weights unless these were declared public",
        "dealer: what each server learns, and the masks of everything; no masked value, so nothing of inputs or results, nor of weights unless these were declared public",
        "model owner: nothing",
        "data owner and result receiver, in a deployment: the public plan, as the servers do",
        "result receiver: the output to its last fraction bit; and, as hidden values are rounded at random, from many equal or similar inputs more than the outputs of a fixed function tell, in the end weights: open labels only (--reveal label) to a receiver who must not learn the model; no server should also be the receiver",
        "two of the three, colluding: everything",
    ],
};

impl Cast for KeyDealer {
    const NAME: &'static str = NAME;
    const COMPUTING: usize = COMPUTING;
    const DEALER_OPENS: bool = false;
    const OWNER_MASKS: bool = true;
    const GATES: Gates = Gates::Keys;
    const CLAIM: Claim = CLAIM;
    const SOURCE: &'static str = "Boyle, Gilboa, Ishai, https://eprint.iacr.org/2019/1095, section 4; Boyle et al., \
         https://eprint.iacr.org/2020/1392, section 3; LLAMA, https://eprint.iacr.org/2022/793";

    // The dealer chooses what it shares with each server, and the seed of what all know.
    fn setup(session: &mut Session) -> Result<(Self, Vec<Seed>), Error> {
        let cast = |public: Seed| Self { public, hash: None };
        if session.id() == COMPUTING {
            let public = Seed::random()?;
            let seeds = (0..COMPUTING).map(|_| Seed::random()).collect::<Result<Vec<_>, _>>()?;
            let message = |seed: &Seed| [seed.expose().as_slice(), public.expose()].concat();
            session.round(seeds.iter().map(message).enumerate().collect(), &[])?;
            return Ok((cast(public), seeds));
        }
        let mut received = session.round(vec![], &[(COMPUTING, 2 * SEED_BYTES)])?;
        let seeds = received.iter().flat_map(|m| m.as_chunks::<SEED_BYTES>().0).map(|&bytes| Seed::from_bytes(bytes));
        let mut seeds: Vec<Seed> = seeds.collect();
        received.zeroize();
        let public = seeds.pop().unwrap_or_else(|| Seed::from_bytes([0; SEED_BYTES]));
        Ok((cast(public), seeds))
    }

    fn setup_cost() -> Cost {
        Cost::messages(COMPUTING as u64, Self::told_in_setup())
    }

    fn told_in_setup() -> u64 {
        2 * SEED_BYTES as u64
    }

    fn renew(&mut self, batch: u64) {
        let mut key = [0; KEY_BYTES];
        self.public.derive(&batch.to_le_bytes()).stream("fss hash key").fill(&mut key);
        self.hash = Some(Hash::new(key));
    }

    fn hash(&self) -> Option<&Hash> {
        self.hash.as_ref()
    }

    // A result is opened under what the dealer deals for it.
    fn zero<W: Word>(&mut self, _streams: &mut [Streams], n: usize) -> Vec<W> {
        vec![W::default(); n]
    }
}
