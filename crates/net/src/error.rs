//! What went wrong in a session, by the endpoint at fault.

use std::time::Duration;

/// What went wrong in a session, by the endpoint at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A peer misbehaved or is gone.
    #[error("{peer} {kind}")]
    Peer {
        /// The peer's name.
        peer: String,
        /// What it did.
        kind: PeerFault,
    },
    /// The session has lasted as long as this endpoint allows; nobody is at fault.
    #[error(
        "the session reached its limit of time here while waiting for {waiting_for}; \
         ask for fewer samples a session, or raise this endpoint's limit"
    )]
    SessionLimit {
        /// The peer whose message was awaited.
        waiting_for: String,
    },
    /// This endpoint's own code asked for something impossible, whatever its peers sent.
    #[error("a bug in this program: {0}")]
    Misuse(String),
}

/// What a peer did.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerFault {
    /// Its end of the link is closed: it ended, crashed or was cut off.
    #[error("is gone; see its own messages for the reason, then start the session again")]
    Gone,
    /// It sent nothing before the deadline of the round.
    #[error("sent nothing for {waited:.0?}; check that it runs and can be reached, or raise the deadline")]
    Late {
        /// The time allowed for the round.
        waited: Duration,
    },
    /// It runs another version, protocol, ring or plan.
    #[error("disagrees about version, protocol, ring or plan; give every party the same model, options and program")]
    Disagrees,
    /// It told us that it stops, and why.
    #[error("stopped the session: {0}")]
    Aborted(String),
    /// A frame of unknown kind, or one that does not carry what its header announces.
    #[error(
        "sent a malformed frame (kind {kind}, {carried} bytes where the header says {announced}); \
         check that both ends run the same version"
    )]
    Frame {
        /// The kind in the header.
        kind: u32,
        /// The payload length in the header, bytes.
        announced: u64,
        /// The payload length found, bytes.
        carried: u64,
    },
    /// A message of another length than this round calls for.
    #[error("sent {got} bytes where {expected} belong; check that both ends run the same version, model and plan")]
    Length {
        /// Bytes this round calls for.
        expected: u64,
        /// Bytes that came.
        got: u64,
    },
    /// Nobody answers at its address.
    #[error("cannot be reached at {address} ({reason}); check that it runs, its address, and firewalls between")]
    Unreachable {
        /// The address in the configuration.
        address: String,
        /// What the operating system says.
        reason: String,
    },
    /// It is not who it should be.
    #[cfg(unix)]
    #[error("presents a certificate {0}")]
    Certificate(crate::tcp::CertificateFault),
    /// It does not accept this endpoint's certificate.
    #[error(
        "refused the connection ({0}); check that its configuration has this endpoint's fingerprint, \
         and that this endpoint's certificate is still valid"
    )]
    RefusedUs(String),
    /// What came over its connection is not what it sent.
    #[error("the connection was damaged on the way ({0}); start the session again")]
    Damaged(String),
    /// What it said beforehand, in a file, cannot be written or used.
    #[error("is played back from a file that cannot be used: {0}")]
    Recording(String),
    /// What it sent is not what another party vouches for.
    #[error("sent something else than {by} vouches for, so one of the two deviates from the protocol")]
    Contradicted {
        /// The other party's name.
        by: String,
    },
    /// A message that is not the next one of its link: one was lost, repeated or reordered.
    #[error("sent message number {got} where number {expected} belongs; start the session again")]
    Sequence {
        /// The number of the next message.
        expected: u32,
        /// The number that came.
        got: u32,
    },
}
