//! What went wrong, by who can mend it. Evidence that is not trusted is no error but a
//! [`crate::Reason`].

use crate::reason::Reason;

/// What went wrong, by who can mend it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The policy's author has to mend it.
    #[error("the policy cannot be used: {0}")]
    Policy(String),
    /// The policy is not what somebody signed whom this program trusts.
    #[error("the policy is not to be trusted: {0}")]
    PolicySignature(&'static str),
    /// A message that nobody with the other key made, or that was changed.
    #[error("{what} cannot be opened: it was changed, or made for another key, nonce, model or policy")]
    Message {
        /// What was to be opened.
        what: &'static str,
    },
    /// A message that was here before.
    #[error("the request was answered before: somebody sends it again")]
    Replayed,
    /// The channel key has served as many requests as it may.
    #[error("the channel key has answered {answered} requests, which is its limit; make a new one and attest it")]
    KeySpent {
        /// Requests that it has answered.
        answered: usize,
    },
    /// The verdict is too old to send anything under it.
    #[error("the verification was valid until {} and is no longer; verify again", crate::date::text(*until))]
    Stale {
        /// Its last second, since 1970.
        until: u64,
    },
    /// A sealed model that is not what it should be.
    #[error("the sealed model cannot be used: {0}")]
    SealedModel(&'static str),
    /// An older model than the newest known one.
    #[error("version {version} of the model is refused: {least} is the oldest that is still allowed")]
    Rollback {
        /// The version asked for.
        version: u64,
        /// The oldest allowed.
        least: u64,
    },
    /// The broker does not release a key.
    #[error("the broker does not release the key: {0}")]
    NotReleased(Refusal),
    /// An outsourced product that is wrong, or could not be one.
    #[error("outsourced computation: {0}")]
    Outsourced(&'static str),
    /// The operating system gives no random bytes.
    #[error("the operating system has no random bytes to give")]
    Random,
}

/// Why a broker does not release a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It has no such model, or no such version.
    #[error("it has no such model or version")]
    Unknown,
    /// The nonce is none of its own, was used before, or is too old.
    #[error("the nonce is not one that it gave out within {} s, or it was used before", crate::broker::CHALLENGE_LASTS)]
    Nonce,
    /// The evidence is about another model, another policy, or not about fetching a key.
    #[error("the evidence was not made to fetch this model's key under its owner's policy")]
    Purpose,
    /// The evidence is not trusted.
    #[error("{0}")]
    Untrusted(Reason),
    /// Simulated evidence asks for a key that is not for trials.
    #[error("the key is a production key, and simulated evidence gets none")]
    Production,
    /// More challenges are open than are kept.
    #[error("too many challenges are open; try again later")]
    Busy,
}
