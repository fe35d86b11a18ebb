//! The roles of homomorphic inference, file by file.

use crate::array::{Given, given, samples};
use crate::error::{json, raised};
use crate::model::Model;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use std::path::PathBuf;
use subrosa::ckks::roles;

/// A client's keys for a saved plan: the secret one stays with it.
#[pyfunction]
pub(crate) fn ckks_keygen(py: Python<'_>, plan: PathBuf, secret: PathBuf, public: PathBuf) -> PyResult<String> {
    json(&py.detach(|| roles::keygen(&plan, &secret, &public)).map_err(raised)?)
}

/// The input that a client's key was made for, and the most samples in one request.
#[pyfunction]
pub(crate) fn ckks_port(py: Python<'_>, secret: PathBuf) -> PyResult<String> {
    json(&py.detach(|| roles::input_port(&secret)).map_err(raised)?)
}

/// Encrypts samples into a request.
#[pyfunction]
pub(crate) fn ckks_encrypt(
    py: Python<'_>,
    secret: PathBuf,
    inputs: Vec<PyBackedBytes>,
    count: usize,
    request: PathBuf,
) -> PyResult<String> {
    let samples = samples(&inputs, count, None)?;
    json(&py.detach(|| roles::encrypt(&secret, &samples, &request)).map_err(raised)?)
}

/// The server's part: a request, into an answer.
#[pyfunction]
pub(crate) fn ckks_evaluate(
    py: Python<'_>,
    model: &Model,
    keys: PathBuf,
    request: PathBuf,
    answer: PathBuf,
    calibrate: Option<(Vec<PyBackedBytes>, usize)>,
    threads: usize,
) -> PyResult<String> {
    let calibration = match calibrate {
        Some((inputs, count)) => samples(&inputs, count, None)?.inputs,
        None => Vec::new(),
    };
    let evaluate = || roles::evaluate(&model.0, &keys, &request, &answer, &calibration, threads);
    json(&py.detach(evaluate).map_err(raised)?)
}

/// Decrypts an answer.
#[pyfunction]
pub(crate) fn ckks_decrypt(
    py: Python<'_>,
    secret: PathBuf,
    answer: PathBuf,
    publish: Option<u32>,
) -> PyResult<Given<'_>> {
    let output = py.detach(|| roles::decrypt(&secret, &answer, publish)).map_err(raised)?;
    given(py, &output)
}
