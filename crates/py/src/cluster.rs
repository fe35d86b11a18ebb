//! Parties on machines of their own: a client of them, and being one.

use crate::array::{Given, floats, given};
use crate::error::{json, misuse, raised};
use crate::model::Plan;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use subrosa::deploy::{ClusterConfig, Identity, IdentityError, OpenOptions, PartyOptions, PartyServer, Validity};

/// A client of a deployment.
#[pyclass(frozen, module = "subrosa._subrosa")]
pub(crate) struct Cluster(subrosa::deploy::Cluster);

/// Parties elsewhere that hold a model and wait for inputs.
#[pyclass(frozen, module = "subrosa._subrosa")]
pub(crate) struct Remote(Mutex<subrosa::deploy::Remote>);

/// A compute party that runs in this process.
#[pyclass(frozen, module = "subrosa._subrosa")]
pub(crate) struct Party {
    server: PartyServer,
    address: SocketAddr,
}

fn loaded(folder: &Path) -> PyResult<Identity> {
    // The others say themselves what to do.
    let hint = |e: &IdentityError| if matches!(e, IdentityError::Io { .. }) { "; make_identity makes one" } else { "" };
    Identity::load(folder).map_err(|e| misuse(format!("{e}{}", hint(&e))))
}

/// Makes a key and a certificate in a folder, and returns the fingerprint for everybody's
/// subrosa.toml.
#[pyfunction]
pub(crate) fn make_identity(py: Python<'_>, name: &str, folder: PathBuf, days: u32) -> PyResult<String> {
    if !(1..=Validity::MOST_DAYS).contains(&days) {
        return Err(misuse(format!("a certificate is valid for 1 to {} days, not {days}", Validity::MOST_DAYS)));
    }
    py.detach(|| {
        let identity = Identity::create(name, Validity::days(days))?;
        identity.save(&folder, false)?;
        Ok(identity.fingerprint().to_string())
    })
    .map_err(|e: IdentityError| misuse(e.to_string()))
}

#[pymethods]
impl Cluster {
    /// A client by a configuration file, with the identity of a folder.
    #[new]
    fn new(config: PathBuf, identity: PathBuf) -> PyResult<Self> {
        let config = ClusterConfig::read(&config).map_err(raised)?;
        subrosa::deploy::Cluster::new(config, loaded(&identity)?).map(Self).map_err(raised)
    }

    /// The protection that the parties compute.
    #[getter]
    fn via(&self) -> &'static str {
        self.0.config().protocol.name()
    }

    /// Gives every party its share of a model, to keep; returns its version.
    fn provision(&self, py: Python<'_>, plan: &Plan, name: &str) -> PyResult<u32> {
        py.detach(|| self.0.provision(&plan.0, name)).map_err(raised)
    }

    /// Makes every party forget a model: one version, or all.
    fn remove(&self, py: Python<'_>, name: &str, version: Option<u32>) -> PyResult<u32> {
        py.detach(|| self.0.remove(name, version)).map_err(raised)
    }

    /// A session on a model that the parties keep.
    fn open(&self, py: Python<'_>, name: &str, version: Option<u32>, batch: usize, lanes: usize) -> PyResult<Remote> {
        let options = OpenOptions { lanes, batch, ..OpenOptions::default() };
        let remote = py.detach(|| self.0.open(name, version, &options)).map_err(raised)?;
        Ok(Remote(Mutex::new(remote)))
    }

    /// A session on a planned model that this client brings.
    fn open_plan(&self, py: Python<'_>, plan: &Plan, batch: usize, lanes: usize) -> PyResult<Remote> {
        let options = OpenOptions { lanes, batch, ..OpenOptions::default() };
        let remote = py.detach(|| self.0.open_plan(&plan.0, &options)).map_err(raised)?;
        Ok(Remote(Mutex::new(remote)))
    }

    /// Every party's name, address, models and round trip, as JSON.
    fn check(&self, py: Python<'_>) -> PyResult<String> {
        let reports = py.detach(|| self.0.check(None));
        let one = |report: &subrosa::deploy::PartyReport| {
            let models =
                report.status.as_ref().map(|s| s.models.iter().map(|m| (&m.name, m.version)).collect::<Vec<_>>());
            serde_json::json!({
                "name": report.name,
                "address": report.address,
                "models": models.as_ref().ok(),
                "error": report.status.as_ref().err(),
            })
        };
        json(&reports.iter().map(one).collect::<Vec<_>>())
    }
}

#[pymethods]
impl Remote {
    /// The model's inputs, as JSON.
    fn ports(&self) -> PyResult<String> {
        let remote = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        json(&remote.card().inputs)
    }

    /// What of the model's options weakens the claim.
    fn insecure(&self) -> Vec<&'static str> {
        let remote = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        remote.card().insecure()
    }

    /// Computes all samples.
    fn run<'py>(&self, py: Python<'py>, inputs: Vec<PyBackedBytes>) -> PyResult<Given<'py>> {
        let output = py.detach(|| {
            let inputs = floats(&inputs)?;
            let mut remote = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            remote.run_watched(&inputs, &mut |_, _| ()).map_err(raised)
        })?;
        given(py, &output)
    }
}

#[pymethods]
impl Party {
    /// Opens the store and listens.
    #[new]
    fn new(
        config: PathBuf,
        identity: PathBuf,
        state: PathBuf,
        listen: Option<String>,
        threads: usize,
    ) -> PyResult<Self> {
        let config = ClusterConfig::read(&config).map_err(raised)?;
        let options =
            PartyOptions { listen, state, store_key: None, keys: None, threads, traces: None, log: Box::new(|_| ()) };
        let server = PartyServer::bind(config, loaded(&identity)?, options).map_err(raised)?;
        let address = server.address().map_err(raised)?;
        Ok(Self { server, address })
    }

    /// Where it listens.
    #[getter]
    fn address(&self) -> String {
        self.address.to_string()
    }

    /// Serves until told to stop.
    fn serve(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.server.run()).map_err(raised)
    }

    /// Makes `serve` return.
    fn stop(&self, py: Python<'_>) {
        py.detach(|| self.server.stop_handle().stop(self.address));
    }
}
