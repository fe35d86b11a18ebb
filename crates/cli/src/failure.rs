//! How a command ends when it does not succeed.

use crate::print;
use std::io;
use std::process::ExitCode;
use subrosa::Error;

/// Why a command did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The library's error.
    Library(Error),
    /// The answer is printed, and it is no.
    Negative,
    /// Standard output is gone or full.
    Output(io::Error),
}

/// Shorthand for results of commands.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    /// Tells it on stderr and gives the exit code.
    pub(crate) fn report(self) -> ExitCode {
        match self {
            Self::Library(error) => {
                print::log(&format!("error: {error}"));
                ExitCode::from(if matches!(error, Error::Misuse { .. }) { 2 } else { 1 })
            }
            Self::Negative => ExitCode::from(1),
            // Whoever reads has had enough (`subrosa ... | head`): no error of ours.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
            Self::Output(error) => {
                print::log(&format!("error: cannot write to standard output: {error}"));
                ExitCode::from(1)
            }
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Library(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::Output(error.into())
    }
}
