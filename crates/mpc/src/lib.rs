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
//! - [`sharing`]: what an owner and a receiver do who take no part in a session; [`relayed`]: how their
//!   messages reach the parties through somebody who must not read them. Both build without the rest of the
//!   crate (feature `parties`), also for wasm32;
//! - `conformance`: the suite every protocol passes (feature
//!   `conformance`).
//!
//! **Invariant:** no ONNX, no sockets, and no floating point in a protocol. A protocol never sees more of a
//! model than its [`Program`](subrosa_graph::Program).
//!
//! Adding a protocol: `docs/add-protocol.md`.

/// Evaluates `$body` with `$p` naming the protocol type of a [`ProtocolKind`] over a ring:
/// the one table. A new protocol is one row of the first macro.
#[cfg(feature = "parties")]
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

#[cfg(feature = "parties")]
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

#[cfg(feature = "parties")]
pub mod ahead;
#[cfg(feature = "parties")]
pub mod beaver;
#[cfg(feature = "parties")]
pub mod cluster;
#[cfg(all(feature = "parties", any(test, feature = "conformance")))]
pub mod conformance;
#[cfg(feature = "parties")]
pub mod dry;
mod error;
#[cfg(feature = "parties")]
pub mod execute;
#[cfg(feature = "parties")]
pub mod fss;
#[cfg(feature = "parties")]
mod kinds;
#[cfg(feature = "parties")]
pub mod masked;
#[cfg(feature = "parties")]
pub mod party;
#[cfg(feature = "parties")]
pub mod predict;
#[cfg(feature = "parties")]
pub mod protocol;
pub mod relayed;
#[cfg(feature = "parties")]
pub mod rep3;
#[cfg(feature = "parties")]
pub mod rep3_malicious;
#[cfg(feature = "parties")]
pub mod rep4;
#[cfg(feature = "parties")]
pub mod robust;
#[cfg(feature = "parties")]
pub mod roles;
pub mod sharing;
#[cfg(feature = "parties")]
pub mod vouched;

#[cfg(feature = "parties")]
pub use cluster::{Inference, LocalCluster, Measured};
pub use error::Error;
#[cfg(feature = "parties")]
pub use kinds::{Options, ProtocolKind};
#[cfg(feature = "parties")]
pub use party::{Job, ModelShare, Party, Seats};
#[cfg(feature = "parties")]
pub use predict::{NodeCost, Predicted, predict};
#[cfg(feature = "parties")]
pub use protocol::{Evaluator, Form, Linear, Load, Primitive, Protocol, Source};
pub use sharing::{Contradiction, Sharing};
