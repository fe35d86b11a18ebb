//! What can go wrong in a secure computation, by who is at fault.

/// An error from this crate.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A peer misbehaved, disagreed or is gone.
    #[error(transparent)]
    Peer(#[from] subrosa_net::Error),
    /// The operating system gave no randomness.
    #[error(transparent)]
    Entropy(#[from] subrosa_core::prg::EntropyError),
    /// The caller asked for something this crate does not do; never caused by a peer.
    #[error("{0}")]
    Misuse(String),
    /// Keys did not find room, or could not be read back.
    #[error("the file for keys that do not fit in memory: {0}; make room, or set TMPDIR to a directory that has some")]
    Disk(String),
    /// Keys that were dealt ahead of time could not be read when their turn came.
    #[error("the keys {0}; they are used up, and the next session takes others")]
    Keys(String),
    /// A party thread stopped without saying why.
    #[error("compute party {party} stopped unexpectedly; start a new session")]
    Stopped {
        /// Index of the party.
        party: usize,
    },
}

#[cfg(feature = "parties")]
impl Error {
    /// A failure of the file for keys.
    pub(crate) fn disk(error: std::io::Error) -> Self {
        Self::Disk(error.to_string())
    }
}
