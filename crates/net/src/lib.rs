//! Sessions between named endpoints: rounds, frames, metering, deadlines, aborts.
//!
//! **Invariant:** no protocol logic and no async runtime. A protocol sees only
//! [`Session::round`]: everything it sends in a round is posted before anything is
//! waited for, so no ordering of parties can deadlock.

use subrosa_core::{Meter, Phase};

/// Index of an endpoint in a session: compute parties first, then the roles.
pub type EndpointId = usize;

/// One endpoint's end of a session.
pub struct Session {
    _private: (),
}

/// What went wrong on the network, by the endpoint at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A peer misbehaved or is gone.
    #[error("{peer}: {kind}")]
    Peer {
        /// The peer's name.
        peer: String,
        /// What it did.
        kind: String,
    },
}

impl Session {
    /// This endpoint's index.
    pub fn id(&self) -> EndpointId {
        0
    }

    /// Names of all endpoints, by index.
    pub fn names(&self) -> &[String] {
        &[]
    }

    /// Accounts for everything that follows under `phase`.
    pub fn set_phase(&mut self, phase: Phase) {
        let _ = phase;
    }

    /// What this endpoint has sent so far.
    pub fn meter(&self) -> &Meter {
        unimplemented!()
    }

    /// One round: posts every message of `sends`, then waits for exactly one message from
    /// each endpoint in `receives`, whose payload must have the stated length (bytes).
    /// Returns the payloads in the order of `receives`. Counts as one round of the current
    /// phase even if nothing is sent. At most one message a peer each way.
    ///
    /// **Errors:** a peer that is gone, late, aborting, or whose message has another
    /// length or sequence number.
    pub fn round(
        &mut self,
        sends: Vec<(EndpointId, Vec<u8>)>,
        receives: &[(EndpointId, usize)],
    ) -> Result<Vec<Vec<u8>>, Error> {
        let _ = (sends, receives);
        Ok(Vec::new())
    }

    /// Tells every peer that this endpoint stops, and why (no secrets), and consumes the
    /// session.
    pub fn abort(self, reason: &str) {
        let _ = reason;
    }
}

/// In-process sessions between `names.len()` endpoints, one to move into each thread.
pub fn local(names: &[&str]) -> Vec<Session> {
    let _ = names;
    Vec::new()
}
