//! Models, plans and sessions.

use crate::array::{Given, floats, given, samples};
use crate::error::{json, misuse, raised};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use subrosa::{InputSpec, PlanOptions, Reveal, RingWidth, Via};

/// An ONNX model.
#[pyclass(frozen, module = "subrosa._subrosa")]
pub(crate) struct Model(pub(crate) subrosa::Model);

/// A decided computation.
#[pyclass(frozen, module = "subrosa._subrosa")]
pub(crate) struct Plan(pub(crate) subrosa::Plan);

/// Parties that hold a model.
#[pyclass(frozen, module = "subrosa._subrosa")]
pub(crate) struct Session(Mutex<subrosa::Session>);

/// What may be chosen of a plan, as Python spells it.
#[derive(FromPyObject)]
pub(crate) struct Options {
    via: String,
    batch: usize,
    threads: usize,
    /// `LO, HI`.
    input_range: Option<(f64, f64)>,
    /// Samples like the inputs to come, one array an input.
    calibrate: Option<(Vec<PyBackedBytes>, usize)>,
    reveal: String,
    ring: Option<u32>,
    public_weights: bool,
    exact: bool,
    insecure_self_dealer: bool,
    network: Option<String>,
    /// Bits after which published decryptions are rounded, via ckks.
    publish: Option<u32>,
}

impl Options {
    /// As the library takes them.
    pub(crate) fn read(&self) -> PyResult<PlanOptions> {
        let calibration = match &self.calibrate {
            Some((inputs, count)) => Some(samples(inputs, *count, None)?),
            None => None,
        };
        let input = match (&calibration, self.input_range) {
            (Some(_), Some(_)) => return Err(misuse("give either calibrate or input_range")),
            (Some(samples), None) => InputSpec::calibrate(samples).map_err(raised)?,
            (None, Some((lo, hi))) => InputSpec::given(lo, hi).map_err(raised)?,
            (None, None) => InputSpec::Auto,
        };
        Ok(PlanOptions {
            via: via(&self.via)?,
            batch: self.batch,
            threads: self.threads,
            input,
            reveal: reveal(&self.reveal)?,
            ring: self.ring.map(ring).transpose()?,
            public_weights: self.public_weights,
            exact: self.exact,
            insecure_self_dealer: self.insecure_self_dealer,
            calibration: calibration.map(|s| s.inputs).unwrap_or_default(),
            network: self.network.as_deref().map(network).transpose()?,
            publish: self.publish.unwrap_or(0),
            ..PlanOptions::default()
        })
    }
}

pub(crate) fn via(name: &str) -> PyResult<Via> {
    name.parse().map_err(raised)
}

pub(crate) fn network(shape: &str) -> PyResult<subrosa::Network> {
    shape.parse().map_err(|e| misuse(format!("{e}")))
}

fn reveal(what: &str) -> PyResult<Reveal> {
    match what {
        "logits" => Ok(Reveal::Logits),
        "label" => Ok(Reveal::Label),
        other => Err(misuse(format!("reveal is 'logits' or 'label', not '{other}'"))),
    }
}

fn ring(bits: u32) -> PyResult<RingWidth> {
    RingWidth::ALL
        .iter()
        .copied()
        .find(|r| r.bits() == bits)
        .ok_or_else(|| misuse(format!("a ring has 32, 48 or 64 bits, not {bits}")))
}

#[pymethods]
impl Model {
    /// Reads an ONNX file.
    #[staticmethod]
    fn open(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        py.detach(|| subrosa::Model::open(path)).map(Self).map_err(raised)
    }

    /// A model from the bytes of an ONNX file.
    #[staticmethod]
    fn from_bytes(py: Python<'_>, name: &str, bytes: PyBackedBytes) -> PyResult<Self> {
        py.detach(|| subrosa::Model::from_bytes(name, &bytes)).map(Self).map_err(raised)
    }

    /// What is in a file, supported or not, as JSON.
    #[staticmethod]
    fn inspect(py: Python<'_>, path: PathBuf) -> PyResult<String> {
        json(&py.detach(|| subrosa::Model::inspect(path)).map_err(raised)?)
    }

    #[getter]
    fn name(&self) -> &str {
        self.0.name()
    }

    #[getter]
    fn digest(&self) -> String {
        self.0.digest()
    }

    /// Inputs and outputs as JSON.
    fn ports(&self) -> PyResult<String> {
        json(&(self.0.inputs(), self.0.outputs()))
    }

    /// Decides how to compute it.
    fn plan(&self, py: Python<'_>, options: Options) -> PyResult<Plan> {
        let options = options.read()?;
        py.detach(|| self.0.plan(&options)).map(Plan).map_err(raised)
    }
}

#[pymethods]
impl Plan {
    fn __str__(&self) -> String {
        self.0.to_string()
    }

    /// What was decided and predicted, as JSON.
    fn sheet(&self) -> PyResult<String> {
        json(self.0.sheet())
    }

    /// Starts the parties.
    fn open(&self, py: Python<'_>, simulate: bool) -> PyResult<Session> {
        let opened = py.detach(|| if simulate { self.0.simulate() } else { self.0.open() });
        Ok(Session(Mutex::new(opened.map_err(raised)?)))
    }

    /// Writes the public half of a plan via ckks: what a client needs.
    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        py.detach(|| subrosa::ckks::roles::save_plan(&self.0, &path)).map_err(raised)
    }
}

#[pymethods]
impl Session {
    /// Computes all samples.
    fn run<'py>(&self, py: Python<'py>, inputs: Vec<PyBackedBytes>) -> PyResult<Given<'py>> {
        let output = py.detach(|| {
            let inputs = floats(&inputs)?;
            // A run that panicked left no session worth keeping; the next one says so itself.
            let mut session = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            session.run(&inputs).map_err(raised)
        })?;
        given(py, &output)
    }
}

/// Name, claim and source of every protection, as JSON.
#[pyfunction]
pub(crate) fn backends() -> PyResult<String> {
    let one = |via: Via| {
        let claim = via.claim();
        serde_json::json!({
            "via": via,
            "summary": claim.summary,
            "parties": claim.parties,
            "threshold": claim.threshold,
            "adversary": claim.adversary,
            "security_bits": claim.security_bits,
            "learns": claim.learns,
            "source": via.source(),
        })
    };
    json(&Via::ALL.iter().copied().map(one).collect::<Vec<_>>())
}
