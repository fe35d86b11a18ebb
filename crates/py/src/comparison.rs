//! Models under several protections, measured side by side.

use crate::array::samples;
use crate::error::{json, misuse, raised};
use crate::model::{Model, network, via};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use std::time::Duration;
use subrosa::compare::{Comparison, Entry, Workload};
use subrosa::{InputSpec, report_html};

/// What is compared, as Python spells it.
#[derive(FromPyObject)]
pub(crate) struct Wanted {
    vias: Vec<String>,
    /// Samples in one inference.
    batches: Vec<usize>,
    images: Option<usize>,
    threads: usize,
    public_weights: bool,
    exact: bool,
    insecure_self_dealer: bool,
    network: Option<String>,
    budget_s: Option<f64>,
    input_range: Option<(f64, f64)>,
}

/// A model with its samples: one array an input, how many, labels if they are known.
type Sampled<'py> = (Bound<'py, Model>, Vec<PyBackedBytes>, usize, Option<Vec<i64>>);

/// Runs the comparison. Returns its rows as JSON, and the page that `compare --html` writes.
#[pyfunction]
pub(crate) fn compare(
    py: Python<'_>,
    entries: Vec<Sampled<'_>>,
    wanted: Wanted,
    data: String,
) -> PyResult<(String, String)> {
    let entries = entries.into_iter().map(|entry| read(entry, wanted.input_range)).collect::<PyResult<Vec<_>>>()?;
    let options = Comparison {
        vias: wanted.vias.iter().map(|name| via(name)).collect::<PyResult<_>>()?,
        workloads: wanted.batches.iter().map(|&batch| Workload { batch, images: wanted.images }).collect(),
        threads: wanted.threads,
        public_weights: wanted.public_weights,
        exact: wanted.exact,
        insecure_self_dealer: wanted.insecure_self_dealer,
        tee: None,
        network: wanted.network.as_deref().map(network).transpose()?,
        budget: wanted.budget_s.map(seconds).transpose()?,
    };
    let report = py.detach(|| subrosa::compare(&entries, &options, &mut |_| ())).map_err(raised)?;
    let context = report_html::Context { command: "subrosa.compare".into(), date: report_html::utc_now(), data };
    Ok((json(&report)?, report_html::page(&report, &context)))
}

fn read((model, inputs, count, labels): Sampled<'_>, range: Option<(f64, f64)>) -> PyResult<Entry> {
    let samples = samples(&inputs, count, labels)?;
    let input = match range {
        Some((lo, hi)) => InputSpec::given(lo, hi),
        None => InputSpec::calibrate(&samples),
    };
    Ok(Entry { model: model.get().0.clone(), samples, input: input.map_err(raised)? })
}

fn seconds(budget: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(budget).map_err(|_| misuse(format!("a budget of {budget} seconds is not possible")))
}
