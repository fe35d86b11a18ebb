//! Sessions between named endpoints: rounds, frames, metering, deadlines, aborts.
//!
//! **Invariant:** no protocol logic and no async runtime. A protocol sees only
//! [`Session::round`]: everything it sends in a round is posted before anything is
//! waited for, so no ordering of parties can deadlock.
//!
//! Start with [`session`]; a new kind of transport implements [`Link`] and has to pass
//! the tests of `conformance` (feature `conformance`). What a party is told through the hands of
//! somebody who must not read it is [`sealed`]. Tests of misbehaving peers wrap a
//! session's links with `fault` (feature `fault`).

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod error;
#[cfg(any(test, feature = "fault"))]
pub mod fault;
pub mod frame;
pub mod link;
pub mod local;
#[cfg(unix)]
pub mod recorded;
pub mod sealed;
pub mod session;
pub mod shape;
pub mod spoken;
#[cfg(unix)]
pub mod tcp;
pub mod wait;

pub use error::{Error, PeerFault};
pub use frame::Frame;
pub use link::{Later, Link, LinkError};
pub use local::local;
#[cfg(unix)]
pub use recorded::{Opening, Recorder, Recording, recorded_bytes};
pub use session::{EndpointId, Session, Traffic};
pub use shape::Network;
pub use spoken::{Heard, spoken};
pub use wait::Spin;
