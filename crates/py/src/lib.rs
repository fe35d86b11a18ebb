//! The native half of the Python package `subrosa`: thin, without logic of its own.
//!
//! Arrays cross as bytes of little-endian 32-bit floats, everything structured as JSON; the
//! Python half (`crates/py/python/subrosa`) makes NumPy arrays and classes of them. Whatever
//! computes, reads a file or waits for a network releases the interpreter's lock.
//!
//! **Invariant:** nothing here decides anything: it calls the crate `subrosa` and hands back
//! what that says, errors by class.

mod array;
mod cluster;
mod comparison;
mod error;
mod model;
mod roles;

use pyo3::prelude::*;

/// The extension module.
#[pymodule]
mod _subrosa {
    use super::*;

    #[pymodule_export]
    use super::cluster::{Cluster, Party, Remote, make_identity};
    #[pymodule_export]
    use super::comparison::compare;
    #[pymodule_export]
    use super::error::{Error, InputError, IoError, MisuseError, ModelError, PeerError, PlanError};
    #[pymodule_export]
    use super::model::{Model, Plan, Session, backends};
    #[pymodule_export]
    use super::roles::{ckks_decrypt, ckks_encrypt, ckks_evaluate, ckks_keygen, ckks_port};

    #[pymodule_init]
    fn init(m: &Bound<'_, PyModule>) -> PyResult<()> {
        m.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
