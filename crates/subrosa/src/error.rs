//! What can go wrong, by who can mend it.

use std::path::Path;
use subrosa_graph::UnsupportedNode;

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of this crate. Its text is one sentence that names the culprit; the remedy,
/// where there is one, follows after a semicolon and is also given by [`Error::hint`].
///
/// No error holds a secret: of inputs it names positions, never values of neighbours.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The model file is damaged, or uses what is not supported.
    #[error("{message}{}", tail(hint))]
    Model {
        /// What is wrong.
        message: String,
        /// Every unsupported node; empty for a damaged file.
        unsupported: Vec<UnsupportedNode>,
        /// The way out.
        hint: Option<String>,
    },
    /// The model is sound but cannot be computed as asked: no ring holds its values, or a
    /// function is undefined on its range.
    #[error("{message}{}", tail(hint))]
    Plan {
        /// What is wrong.
        message: String,
        /// The ONNX node at fault.
        node: Option<String>,
        /// The way out.
        hint: Option<String>,
    },
    /// The data does not fit the model or the plan.
    #[error("{message}{}", tail(hint))]
    Input {
        /// What is wrong.
        message: String,
        /// The way out.
        hint: Option<String>,
    },
    /// A party misbehaved, disagrees or is gone.
    #[error("{message}")]
    Peer {
        /// What it did, with its name.
        message: String,
    },
    /// The operating system refused.
    #[error("{message}{}", tail(hint))]
    Io {
        /// What was tried, and its answer.
        message: String,
        /// The way out.
        hint: Option<String>,
    },
    /// The caller asked for what does not exist or contradicts itself.
    #[error("{message}{}", tail(hint))]
    Misuse {
        /// What is wrong.
        message: String,
        /// The way out.
        hint: Option<String>,
    },
}

impl Error {
    /// The remedy, where there is one.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Model { hint, .. }
            | Self::Plan { hint, .. }
            | Self::Input { hint, .. }
            | Self::Io { hint, .. }
            | Self::Misuse { hint, .. } => hint.as_deref(),
            Self::Peer { .. } => None,
        }
    }

    pub(crate) fn model(message: impl Into<String>, hint: &str) -> Self {
        Self::Model { message: message.into(), unsupported: Vec::new(), hint: some(hint) }
    }

    pub(crate) fn input(message: impl Into<String>, hint: &str) -> Self {
        Self::Input { message: message.into(), hint: some(hint) }
    }

    pub(crate) fn misuse(message: impl Into<String>, hint: &str) -> Self {
        Self::Misuse { message: message.into(), hint: some(hint) }
    }

    /// `verb` ("read", "write") failed on `path`.
    pub(crate) fn io(verb: &str, path: &Path, error: &std::io::Error) -> Self {
        let message = format!("cannot {verb} {}: {}", path.display(), reason(error));
        let hint = if error.kind() == std::io::ErrorKind::NotFound { "check the path" } else { "" };
        let hint = some(hint);
        Self::Io { message, hint }
    }

    /// The same error with the file it came from in front of the message.
    pub(crate) fn in_file(mut self, path: &Path) -> Self {
        match &mut self {
            Self::Model { message, .. }
            | Self::Plan { message, .. }
            | Self::Input { message, .. }
            | Self::Peer { message }
            | Self::Io { message, .. }
            | Self::Misuse { message, .. } => *message = format!("{}: {message}", path.display()),
        }
        self
    }
}

impl From<subrosa_graph::Error> for Error {
    fn from(error: subrosa_graph::Error) -> Self {
        use subrosa_graph::Error as Graph;
        let message = error.to_string();
        match error {
            Graph::Unsupported(unsupported) => Self::Model { message, unsupported, hint: None },
            Graph::Range { node, .. } | Graph::Domain { node, .. } => {
                Self::Plan { message, node: Some(node), hint: None }
            }
            Graph::Input(_) => Self::Input { message, hint: None },
            // `graph::Error` may grow; what is new there concerns the model.
            Graph::Malformed(_) | _ => Self::Model { message, unsupported: Vec::new(), hint: None },
        }
    }
}

impl From<subrosa_mpc::Error> for Error {
    fn from(error: subrosa_mpc::Error) -> Self {
        use subrosa_mpc::Error as Mpc;
        let message = error.to_string();
        match error {
            Mpc::Entropy(_) | Mpc::Disk(_) => Self::Io { message, hint: None },
            Mpc::Misuse(_) | Mpc::Peer(subrosa_net::Error::SessionLimit { .. }) => {
                Self::Plan { message, node: None, hint: None }
            }
            // `mpc::Error` may grow; what is new there concerns the parties.
            Mpc::Peer(_) | Mpc::Stopped { .. } | _ => Self::Peer { message },
        }
    }
}

impl From<subrosa_he::Error> for Error {
    fn from(error: subrosa_he::Error) -> Self {
        use subrosa_he::Error as He;
        let message = error.to_string();
        match error {
            He::Unsupported { node, op, why, hint } => {
                let message = format!("{op} '{node}' cannot be computed via ckks: {why}");
                Self::Plan { message, node: Some(node), hint: some(&hint) }
            }
            He::Plan(_) | He::TooDeep(_) => Self::Plan { message, node: None, hint: None },
            He::Input(_) | He::Wire { .. } => Self::Input { message, hint: None },
            He::Lattice(subrosa_lattice::Error::Wire { .. }) => Self::Input { message, hint: None },
            He::Threads(_) | He::Lattice(subrosa_lattice::Error::Entropy(_)) => Self::Io { message, hint: None },
            // Either may grow; what is new there concerns the plan.
            He::Lattice(_) | _ => Self::Plan { message, node: None, hint: None },
        }
    }
}

impl From<subrosa_tee::Error> for Error {
    fn from(error: subrosa_tee::Error) -> Self {
        use subrosa_tee::Error as Tee;
        let message = error.to_string();
        match error {
            Tee::Random => Self::Io { message, hint: None },
            Tee::Policy(_) | Tee::PolicySignature(_) | Tee::SealedModel(_) => Self::Input { message, hint: None },
            // `tee::Error` may grow; what is new there concerns the program at the other end.
            Tee::Message { .. } | Tee::Rollback { .. } | Tee::NotReleased(_) | _ => Self::Peer { message },
        }
    }
}

impl From<subrosa_mpc::relayed::Fault> for Error {
    fn from(fault: subrosa_mpc::relayed::Fault) -> Self {
        use subrosa_mpc::relayed::Fault;
        let message = fault.to_string();
        match fault {
            Fault::Inputs(_) | Fault::Request(_) => Self::Input { message, hint: None },
            Fault::Seal(_) => Self::Io { message, hint: None },
            // `Fault` may grow; what is new there concerns the parties, or who passes their words on.
            Fault::Outline(_) | Fault::Answer(_) | Fault::Length { .. } | Fault::Contradicted { .. } | _ => {
                Self::Peer { message }
            }
        }
    }
}

impl From<subrosa_net::Error> for Error {
    fn from(error: subrosa_net::Error) -> Self {
        subrosa_mpc::Error::Peer(error).into()
    }
}

fn some(hint: &str) -> Option<String> {
    (!hint.is_empty()).then(|| hint.to_owned())
}

fn tail(hint: &Option<String>) -> String {
    hint.as_ref().map(|h| format!("; {h}")).unwrap_or_default()
}

/// The system's words without Rust's "(os error 2)".
fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}
