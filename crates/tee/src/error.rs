//! What went wrong, by who can mend it. Evidence that is not trusted is no error but a
//! [`crate::Reason`].

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
    /// The operating system gives no random bytes.
    #[error("the operating system has no random bytes to give")]
    Random,
}
