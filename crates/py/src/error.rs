//! Errors of the library as Python exceptions, one class for each party at fault.

use pyo3::create_exception;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;

create_exception!(subrosa, Error, PyException, "What went wrong, in one sentence with the way out.");
create_exception!(subrosa, ModelError, Error, "The model file is damaged or uses what is not supported.");
create_exception!(subrosa, PlanError, Error, "The model cannot be computed as asked.");
create_exception!(subrosa, InputError, Error, "The data does not fit the model or the plan.");
create_exception!(subrosa, PeerError, Error, "A party misbehaved, disagrees or is gone.");
create_exception!(subrosa, IoError, Error, "The operating system refused.");
create_exception!(subrosa, MisuseError, Error, "What was asked for does not exist or contradicts itself.");

/// The exception for an error, with its remedy as `hint`.
pub(crate) fn raised(error: subrosa::Error) -> PyErr {
    let (message, hint) = (error.to_string(), error.hint().map(str::to_owned));
    let exception = match error {
        subrosa::Error::Model { .. } => ModelError::new_err(message),
        subrosa::Error::Plan { .. } => PlanError::new_err(message),
        subrosa::Error::Input { .. } => InputError::new_err(message),
        subrosa::Error::Peer { .. } => PeerError::new_err(message),
        subrosa::Error::Io { .. } => IoError::new_err(message),
        subrosa::Error::Misuse { .. } => MisuseError::new_err(message),
        // The enum may grow.
        _ => Error::new_err(message),
    };
    Python::attach(|py| {
        // An exception object takes any attribute; if it does not, the text has the hint too.
        let _ = exception.value(py).setattr("hint", hint);
    });
    exception
}

/// Misuse that this crate itself notices.
pub(crate) fn misuse(message: impl Into<String>) -> PyErr {
    raised(subrosa::Error::Misuse { message: message.into(), hint: None })
}

/// As JSON, for the Python half.
pub(crate) fn json(value: &impl serde::Serialize) -> PyResult<String> {
    serde_json::to_string(value).map_err(|e| Error::new_err(format!("cannot be written as JSON: {e}")))
}
