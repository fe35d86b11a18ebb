//! The protocols by name, and how a program is run.

use crate::predict;
use crate::protocol::Protocol;
use crate::sharing::Sharing;
use subrosa_core::{Claim, RingWidth};
use subrosa_graph::Comparing;
use subrosa_net::EndpointId;

/// The protocols. A new one adds a variant, and a row in the table at the head of
/// `lib.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProtocolKind {
    /// Replicated secret sharing between three parties ([`rep3`](crate::rep3)).
    Rep3,
    /// Replicated secret sharing between three parties, one of whom may deviate
    /// ([`rep3_malicious`](crate::rep3_malicious)).
    Rep3Malicious,
    /// Replicated secret sharing between four parties, one of whom may deviate ([`rep4`](crate::rep4)).
    Rep4,
    /// Two parties and a dealer ([`beaver`](crate::beaver)).
    Beaver2,
    /// Three parties and a dealer.
    Beaver3,
    /// Four parties and a dealer.
    Beaver4,
    /// Five parties and a dealer.
    Beaver5,
    /// Two parties with keys of comparison functions, and their dealer ([`fss`](crate::fss)).
    Fss,
}

impl ProtocolKind {
    /// Every protocol.
    pub const ALL: &'static [Self] = &[
        Self::Rep3,
        Self::Rep3Malicious,
        Self::Rep4,
        Self::Beaver2,
        Self::Beaver3,
        Self::Beaver4,
        Self::Beaver5,
        Self::Fss,
    ];

    /// Name as `--via` spells it.
    pub fn name(self) -> &'static str {
        predict::describe(self).0
    }

    /// Number of parties, a dealer included: endpoints of a session before the roles.
    pub fn parties(self) -> usize {
        with_protocol!(self, RingWidth::W64, P => <P as Protocol>::PARTIES)
    }

    /// How many of them, the first, are there when the input comes.
    pub fn online(self) -> usize {
        with_protocol!(self, RingWidth::W64, P => <P as Protocol>::ONLINE)
    }

    /// The party that deals and takes no other part, where there is one.
    pub fn dealer(self) -> Option<EndpointId> {
        (self.online() < self.parties()).then(|| self.online())
    }

    /// What its comparisons cost, for lowering a model to its programs.
    pub fn comparing(self) -> Comparing {
        with_protocol!(self, RingWidth::W64, P => <P as Protocol>::COMPARING)
    }

    /// How an owner shares an input before there is a session, where it needs to be told nothing for
    /// that.
    pub fn sharing(self) -> Option<Sharing> {
        match self {
            Self::Rep3 => Some(Sharing::Rep3),
            Self::Rep3Malicious => Some(Sharing::Rep3Malicious),
            Self::Rep4 => Some(Sharing::Rep4),
            Self::Beaver2 | Self::Beaver3 | Self::Beaver4 | Self::Beaver5 | Self::Fss => None,
        }
    }

    /// The security claim.
    pub fn claim(self) -> Claim {
        predict::describe(self).1
    }

    /// Paper, section and URL.
    pub fn source(self) -> &'static str {
        predict::describe(self).2
    }
}

/// How to run a program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The servers know the weights; only inputs and results are secret. Cheaper, and the
    /// model owner's choice alone.
    pub public_weights: bool,
    /// Threads of each party's kernels; 0 stands for 1. Each party's own choice: results and
    /// messages are the same for all.
    pub threads: usize,
    /// Truncations round down, always, at one more comparison each. If not, they round down or
    /// up at random, which shows in results (see the caveat in `docs/rep3.md`).
    pub exact: bool,
    /// A party deals for itself: no protection, as it knows all masks and masked values. For
    /// measuring on one machine, with protocols that have a dealer.
    pub insecure_self_dealer: bool,
}
