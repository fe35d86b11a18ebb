//! What can go wrong, by who can mend it.

/// An error of this crate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// These parameters cannot be built.
    #[error("{0}")]
    Parameters(String),
    /// They can, but not with 128-bit security.
    #[error(
        "ring degree 2^{log_n} allows {allowed} bits of modulus at 128-bit security ({table}), and {wanted} were asked for"
    )]
    Insecure {
        /// log2 of the ring degree.
        log_n: u32,
        /// Bits of all primes together, the special ones included.
        wanted: u32,
        /// Bits that the table allows; 0 where it has no row.
        allowed: u32,
        /// The column of the table.
        table: &'static str,
    },
    /// Bytes that are no valid object of ours.
    #[error("the {what} is not valid: {why}")]
    Wire {
        /// What was to be read.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// Objects that do not fit together: another level, other parameters, a missing key.
    #[error("{0}")]
    Misuse(String),
    /// The operating system gave no randomness.
    #[error(transparent)]
    Entropy(#[from] subrosa_core::prg::EntropyError),
}
