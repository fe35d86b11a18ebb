//! What keeps a server from running. What a client does wrong is answered, not returned.

use std::path::PathBuf;

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What keeps a server from running, by who can mend it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A model, a policy or the hardware.
    #[error(transparent)]
    Library(#[from] subrosa::Error),
    /// Whoever starts it asked for what cannot be.
    #[error("{0}")]
    Misuse(String),
    /// The operating system refused.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Its answer.
        source: std::io::Error,
    },
    /// A certificate or its key is of no use.
    #[error("{path}: {reason}")]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file of API keys is of no use.
    #[error("{path}: line {line}: {reason}")]
    ApiKeys {
        /// The file.
        path: PathBuf,
        /// Which line.
        line: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A file of an issuer's keys is of no use.
    #[error("{path}: {reason}")]
    Tokens {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
}
