//! Who plays in a protocol of masked values.

use super::streams::Streams;
use crate::Error;
use crate::fss::Hash;
use subrosa_core::{Claim, Cost, Seed};
use subrosa_net::Session;
use subrosa_ring::Word;

/// How signs are found and what rests on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gates {
    /// By shared bits, in a tree of ANDs (`compare`): one message of the dealer a batch.
    Bits,
    /// By keys of comparison functions (`keyed`), for two computing parties: the dealer streams,
    /// one message a primitive and more for its keys.
    Keys,
}

/// What sets one protocol of masked values apart from another: how many parties know the
/// masked values, who deals, and how results are opened.
pub trait Cast: Sized {
    /// Name of the protocol, and of its random streams.
    const NAME: &'static str;
    /// Parties `0..COMPUTING` know the masked values, at least two; party `COMPUTING` deals.
    const COMPUTING: usize;
    /// Whether the dealer sends the receiver a part of each result. If not, it is done when
    /// the input comes.
    const DEALER_OPENS: bool;
    /// Whether each computing party tells a data owner in the preprocessing which mask it will use for
    /// its input, so that the owner itself opens it masked.
    const OWNER_MASKS: bool;
    /// How signs are found.
    const GATES: Gates;
    /// The security claim.
    const CLAIM: Claim;
    /// Paper, section and URL.
    const SOURCE: &'static str;

    /// Agrees on keys. Returns the seeds that this party shares with the dealer, one; at the
    /// dealer, those of all computing parties.
    fn setup(session: &mut Session) -> Result<(Self, Vec<Seed>), Error>;
    /// Declared cost of [`Cast::setup`].
    fn setup_cost() -> Cost;
    /// Bytes that a dealer who does not open tells each computing party in [`Cast::setup`].
    fn told_in_setup() -> u64 {
        0
    }
    /// New keys for batch number `batch`.
    fn renew(&mut self, batch: u64);
    /// The batch's hash, under a key that all know, where there are [`Gates::Keys`].
    #[doc(hidden)]
    fn hash(&self) -> Option<&Hash>;
    /// This party's part of `n` zeros, under which a result is opened where the dealer opens
    /// too: uniform given the parts of the others that the receiver does not collude with.
    #[doc(hidden)]
    fn zero<W: Word>(&mut self, streams: &mut [Streams], n: usize) -> Vec<W>;
}
