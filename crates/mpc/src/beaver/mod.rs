//! `beaver`: any number of parties and a dealer who sees no data, semi-honest; all parties
//! but one may collude, none of them with the dealer.
//!
//! Beaver's idea, *Efficient Multiparty Protocols Using Circuit Randomization*, CRYPTO '91,
//! <https://doi.org/10.1007/3-540-46766-1_34>: open what is multiplied under random masks, of
//! whose product everybody has a share. The form is that of SPDZ, Damgard, Pastro, Smart,
//! Zakarias, <https://eprint.iacr.org/2011/535>, figure 7, without its MACs (they are against
//! malicious parties), and with the dealer's randomness as in SyMPC, CrypTen and Pond.
//!
//! **Differs from these in** that the mask belongs to the value and not to the product, as
//! in Turbospeedz, Ben-Efraim, Nielsen, Omri, <https://eprint.iacr.org/2019/080>: a value is
//! opened once under its mask, and each product costs one opening of its result instead of two
//! of its factors. A triple is then the two factors' masks, which are seeds, and the dealt
//! product of both, of which one party is sent a correction. A weight is opened masked
//! once, in every session. All else is the engine of [`masked`](crate::masked), with its
//! truncation and its comparison by shared bits.
//!
//! `docs/beaver.md` has the argument in full.

use crate::Error;
use crate::fss::Hash;
use crate::masked::{Cast, Gates, Masked, SEED_BYTES, Streams};
use subrosa_core::{Adversary, Claim, Cost, Seed};
use subrosa_net::Session;
use subrosa_ring::Word;
use zeroize::Zeroize;

/// One party of `beaver` between `N` parties and a dealer.
pub type Beaver<R, const N: usize> = Masked<R, WithDealer<N>>;
/// One of two parties, or their dealer.
pub type Beaver2<R> = Beaver<R, 2>;
/// One of three parties, or their dealer.
pub type Beaver3<R> = Beaver<R, 3>;
/// One of four parties, or their dealer.
pub type Beaver4<R> = Beaver<R, 4>;
/// One of five parties, or their dealer.
pub type Beaver5<R> = Beaver<R, 5>;

/// `N` parties and a dealer.
pub struct WithDealer<const N: usize>;

const CLAIM: Claim = Claim {
    adversary: Adversary::SemiHonest,
    parties: 0,
    threshold: 0,
    security_bits: 128,
    summary: "parties compute on shares, a dealer that sees no data gives them random numbers; safe while all follow the protocol, the dealer colludes with nobody, and at least one party colludes with no other",
    learns: &[
        "each party: the architecture, the layers' fraction bits and magnitudes (powers of two) and the number of inputs; nothing of inputs or results, nor of weights unless these were declared public",
        "dealer: what each party learns, and the masks of everything; no masked value, so nothing of inputs or results, nor of weights unless these were declared public",
        "model owner: nothing",
        "data owner and result receiver, in a deployment: the public plan, as the parties do",
        "result receiver: the output to its last fraction bit; and, as hidden values are rounded at random, from many equal or similar inputs more than the outputs of a fixed function tell, in the end weights: open labels only (--reveal label) to a receiver who must not learn the model; no party should also be the receiver",
        "all parties but one, colluding: nothing more",
        "the dealer and one party, colluding: everything",
    ],
};

impl<const N: usize> WithDealer<N> {
    const TWO_AND_MORE: () = assert!(N >= 2, "one party has nobody to hide anything from");
}

impl<const N: usize> Cast for WithDealer<N> {
    const NAME: &'static str = match N {
        2 => "beaver",
        3 => "beaver3",
        4 => "beaver4",
        5 => "beaver5",
        _ => "beaver-n",
    };
    const COMPUTING: usize = N;
    const DEALER_OPENS: bool = false;
    const OWNER_MASKS: bool = false;
    const GATES: Gates = Gates::Bits;
    const CLAIM: Claim = Claim { parties: N, threshold: N - 1, ..CLAIM };
    const SOURCE: &'static str = "Beaver, CRYPTO '91, https://doi.org/10.1007/3-540-46766-1_34; SPDZ, https://eprint.iacr.org/2011/535, figure 7; \
         Turbospeedz, https://eprint.iacr.org/2019/080, section 3";

    // The dealer chooses what each party shares with it: a party that wanted a seed of its
    // own could not be trusted more for it.
    fn setup(session: &mut Session) -> Result<(Self, Vec<Seed>), Error> {
        let () = Self::TWO_AND_MORE;
        if session.id() == N {
            let seeds = (0..N).map(|_| Seed::random()).collect::<Result<Vec<_>, _>>()?;
            let sends = seeds.iter().enumerate().map(|(p, seed)| (p, seed.expose().to_vec())).collect();
            session.round(sends, &[])?;
            return Ok((Self, seeds));
        }
        let mut received = session.round(vec![], &[(N, SEED_BYTES)])?;
        let seed = received.iter().filter_map(|m| m.first_chunk()).map(|bytes| Seed::from_bytes(*bytes)).collect();
        received.zeroize();
        Ok((Self, seed))
    }

    fn setup_cost() -> Cost {
        Cost::messages(N as u64, Self::told_in_setup())
    }

    fn told_in_setup() -> u64 {
        SEED_BYTES as u64
    }

    // All that is drawn comes from what is shared with the dealer.
    fn renew(&mut self, _batch: u64) {}

    fn hash(&self) -> Option<&Hash> {
        None
    }

    // A result is opened under what the dealer deals for it.
    fn zero<W: Word>(&mut self, _streams: &mut [Streams], n: usize) -> Vec<W> {
        vec![W::default(); n]
    }
}
