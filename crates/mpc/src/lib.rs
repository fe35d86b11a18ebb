//! Secure multi-party computation of fixed-point programs.
//!
//! - [`protocol`]: the two traits a protocol implements, [`Evaluator`] and [`Protocol`];
//! - [`masked`]: the engine of protocols in which a dealer knows the masks: [`rep3`], [`beaver`],
//!   [`fss`];
//! - [`vouched`]: the engine of those in which every message is vouched for: [`rep4`],
//!   [`rep3_malicious`];
//! - [`execute`]: runs a program on any evaluator;
//! - [`predict`](mod@predict): its cost before it runs, by running it on [`dry`];
//! - [`party`]: one compute party; [`roles`]: what owners and the receiver do; [`ahead`]: a dealer
//!   who is not there;
//! - [`cluster`]: parties as threads, with the roles as endpoints of their own;
//! - [`robust`]: a result although one of four parties deviates;
//! - `conformance`: the suite every protocol passes (feature
//!   `conformance`).
//!
//! **Invariant:** no ONNX, no sockets, no floating point. A protocol never sees more of a
//! model than its [`Program`](subrosa_graph::Program).
//!
//! Adding a protocol: `docs/add-protocol.md`.

/// Evaluates `$body` with `$p` naming the protocol type of a [`ProtocolKind`] over a ring:
/// the one table. A new protocol is one row of the first macro.
macro_rules! with_protocol {
    ($kind:expr, $ring:expr, $p:ident => $body:expr) => {
        match $kind {
            $crate::ProtocolKind::Rep3 => with_ring!($crate::rep3::Rep3, $ring, $p => $body),
            $crate::ProtocolKind::Rep3Malicious => {
                with_ring!($crate::rep3_malicious::Rep3Malicious, $ring, $p => $body)
            }
            $crate::ProtocolKind::Rep4 => with_ring!($crate::rep4::Rep4, $ring, $p => $body),
            $crate::ProtocolKind::Beaver2 => with_ring!($crate::beaver::Beaver2, $ring, $p => $body),
            $crate::ProtocolKind::Beaver3 => with_ring!($crate::beaver::Beaver3, $ring, $p => $body),
            $crate::ProtocolKind::Beaver4 => with_ring!($crate::beaver::Beaver4, $ring, $p => $body),
            $crate::ProtocolKind::Beaver5 => with_ring!($crate::beaver::Beaver5, $ring, $p => $body),
            $crate::ProtocolKind::Fss => with_ring!($crate::fss::Fss, $ring, $p => $body),
        }
    };
}

macro_rules! with_ring {
    ($protocol:path, $ring:expr, $p:ident => $body:expr) => {{
        use $protocol as Over;
        match $ring {
            subrosa_core::RingWidth::W32 => {
                type $p = Over<subrosa_ring::Z32>;
                $body
            }
            subrosa_core::RingWidth::W48 => {
                type $p = Over<subrosa_ring::Z48>;
                $body
            }
            subrosa_core::RingWidth::W64 => {
                type $p = Over<subrosa_ring::Z64>;
                $body
            }
        }
    }};
}

pub mod ahead;
pub mod beaver;
pub mod cluster;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod dry;
mod error;
pub mod execute;
pub mod fss;
pub mod masked;
pub mod party;
pub mod predict;
pub mod protocol;
pub mod rep3;
pub mod rep3_malicious;
pub mod rep4;
pub mod robust;
pub mod roles;
pub mod vouched;

pub use cluster::{Inference, LocalCluster, Measured};
pub use error::Error;
pub use party::{Job, ModelShare, Party, Seats};
pub use predict::{NodeCost, Predicted, predict};
pub use protocol::{Contradiction, Evaluator, Form, Linear, Primitive, Protocol, Source};

use subrosa_core::{Claim, RingWidth};
use subrosa_graph::Comparing;
use subrosa_net::EndpointId;

/// The protocols. A new one adds a variant, and a row in the table at the head of this
/// file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProtocolKind {
    /// Replicated secret sharing between three parties ([`rep3`]).
    Rep3,
    /// Replicated secret sharing between three parties, one of whom may deviate
    /// ([`rep3_malicious`]).
    Rep3Malicious,
    /// Replicated secret sharing between four parties, one of whom may deviate ([`rep4`]).
    Rep4,
    /// Two parties and a dealer ([`beaver`]).
    Beaver2,
    /// Three parties and a dealer.
    Beaver3,
    /// Four parties and a dealer.
    Beaver4,
    /// Five parties and a dealer.
    Beaver5,
    /// Two parties with keys of comparison functions, and their dealer ([`fss`]).
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
