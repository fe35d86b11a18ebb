//! Executes a [`Program`] in the clear: the oracle every protocol must equal.

use crate::{Error, Program, WeightSet};

/// Runs `program` on `batch` samples of each input, truncations rounding down. Checks at
/// every instruction that the values are within the proven `bits`.
///
/// **Errors:** [`Error::Input`] when an input's length is not `batch` samples;
/// [`Error::Range`] if a value leaves its proven range (a bug, or an unchecked input).
pub fn run(program: &Program, weights: &WeightSet, inputs: &[Vec<i64>], batch: usize) -> Result<Vec<Vec<i64>>, Error> {
    let _ = (program, weights, inputs, batch);
    Err(Error::Malformed(String::new()))
}
