//! What can go wrong, by who can mend it.

/// An error of this crate.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A node of the model cannot be computed on ciphertexts.
    #[error("{op} '{node}' cannot be computed via ckks: {why}; {hint}")]
    Unsupported {
        /// Its name.
        node: String,
        /// Its operation.
        op: String,
        /// Why not.
        why: String,
        /// The way out.
        hint: String,
    },
    /// The model is not one that can be planned.
    #[error("{0}")]
    Plan(String),
    /// No parameters serve the model: it is too deep, or its values are too large.
    #[error("{0}")]
    TooDeep(String),
    /// The data does not fit the plan.
    #[error("{0}")]
    Input(String),
    /// Bytes that are no valid file of ours, or not of this plan.
    #[error("the {what} is not valid: {why}")]
    Wire {
        /// What was to be read.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The system gave no threads.
    #[error("{0}")]
    Threads(String),
    /// From the arithmetic below.
    #[error(transparent)]
    Lattice(#[from] subrosa_lattice::Error),
}
