//! Arrays as bytes of little-endian 32-bit floats, in and out.

use crate::error::{json, misuse};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;
use subrosa::{Output, Samples};

/// One flat array an input of a model.
pub(crate) fn floats(inputs: &[PyBackedBytes]) -> PyResult<Vec<Vec<f32>>> {
    let one = |bytes: &PyBackedBytes| {
        let (words, rest) = bytes.as_chunks::<4>();
        if !rest.is_empty() {
            return Err(misuse("an array is not of 32-bit floats"));
        }
        Ok(words.iter().map(|w| f32::from_le_bytes(*w)).collect())
    };
    inputs.iter().map(one).collect()
}

/// Samples of an input each, all of one model.
pub(crate) fn samples(inputs: &[PyBackedBytes], count: usize, labels: Option<Vec<i64>>) -> PyResult<Samples> {
    Ok(Samples { inputs: floats(inputs)?, count, labels })
}

/// What a run gives: the outputs' values and dimensions, their labels, and all else as JSON.
pub(crate) type Given<'py> = (Vec<(Bound<'py, PyBytes>, Vec<usize>)>, Vec<i64>, String);

pub(crate) fn given<'py>(py: Python<'py>, output: &Output) -> PyResult<Given<'py>> {
    let arrays = output.values.iter().enumerate().map(|(i, values)| {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        (PyBytes::new(py, &bytes), output.dims(i))
    });
    let about = serde_json::json!({
        "via": output.via,
        "samples": output.samples,
        "outputs": output.ports,
        "labels_only": output.labels_only,
        "setup": output.setup,
        "batches": output.batches,
    });
    Ok((arrays.collect(), output.labels(), json(&about)?))
}
