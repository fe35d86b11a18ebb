//! Ways to compute a test.

use crate::case::{Case, Form};
use crate::coverage::Outcome;
use crate::tolerance;
use std::panic::{AssertUnwindSafe, catch_unwind};
use subrosa_graph::{Error, InputRange, LowerOptions, Model, Reveal, lower, oracle};

/// A way to compute a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Backend {
    /// In the clear, by tract.
    Plain,
    /// The fixed-point reference, in the clear.
    Oracle,
}

impl Backend {
    pub(crate) const ALL: [Self; 2] = [Self::Plain, Self::Oracle];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Oracle => "oracle",
        }
    }

    /// Computes a test in the first form that is supported and judges the result.
    pub(crate) fn run(self, case: &Case) -> Outcome {
        let mut refused = String::new();
        for form in case.forms() {
            match catch_unwind(AssertUnwindSafe(|| self.compute(&form))) {
                Ok(Ok(values)) => return judge(self, case, &values),
                Ok(Err(e)) => match reason(&e) {
                    Ok(why) => refused = why,
                    Err(why) => return Outcome::Failed(why),
                },
                Err(_) => return Outcome::Failed("panicked".to_owned()),
            }
        }
        Outcome::Refused(refused)
    }

    fn compute(self, form: &Form) -> Result<Vec<Vec<f64>>, Error> {
        let model = Model::from_bytes(&form.model)?;
        match self {
            Self::Plain => plain(&model, form),
            Self::Oracle => fixed_point(&model, form),
        }
    }
}

/// Why an error is a refusal, or else what failed.
fn reason(e: &Error) -> Result<String, String> {
    match e {
        Error::Unsupported(nodes) => Ok(nodes.first().map(|n| n.why.clone()).unwrap_or_default()),
        Error::Domain { why, .. } => Ok(why.clone()),
        Error::Range { needed, .. } => Ok(format!("the range: {needed}")),
        other => Err(other.to_string()),
    }
}

fn judge(backend: Backend, case: &Case, values: &[Vec<f64>]) -> Outcome {
    let tolerance = tolerance::of(&case.operators, backend);
    if values.len() != case.expected.len() {
        return Outcome::Failed(format!("{} outputs instead of {}", values.len(), case.expected.len()));
    }
    for (output, (got, want)) in values.iter().zip(&case.expected).enumerate() {
        if got.len() != want.len() {
            return Outcome::Failed(format!("output {output} has {} values instead of {}", got.len(), want.len()));
        }
        if let Some(i) = (0..got.len()).find(|&i| !tolerance.accepts(got[i], want[i])) {
            return Outcome::Failed(format!("output {output}[{i}] is {} instead of {}", got[i], want[i]));
        }
    }
    Outcome::Passed
}

/// Samples in the inputs: 1 unless the first axis is open.
fn batch(model: &Model, form: &Form) -> usize {
    match (model.inputs().first(), form.inputs.first()) {
        (Some(port), Some(values)) if port.batched => values.len() / port.shape.len().max(1),
        _ => 1,
    }
}

fn plain(model: &Model, form: &Form) -> Result<Vec<Vec<f64>>, Error> {
    let inputs: Vec<&[f32]> = form.inputs.iter().map(Vec::as_slice).collect();
    let outputs = model.plain(batch(model, form))?.run(&inputs)?;
    Ok(outputs.iter().map(|o| o.iter().map(|&v| f64::from(v)).collect()).collect())
}

fn fixed_point(model: &Model, form: &Form) -> Result<Vec<Vec<f64>>, Error> {
    let options = LowerOptions {
        ring: None,
        inputs: form.inputs.iter().map(|values| range(values)).collect(),
        reveal: Reveal::Logits,
    };
    let lowered = lower(model.graph(), &options)?;
    let inputs: Result<Vec<_>, _> = form.inputs.iter().enumerate().map(|(i, x)| lowered.encode(i, x)).collect();
    let outputs = oracle::run(&lowered.program, &lowered.weights, &inputs?, batch(model, form))?;
    let decoded = outputs.iter().enumerate().map(|(i, o)| lowered.decode(i, o));
    Ok(decoded.map(|o| o.iter().map(|&v| f64::from(v)).collect()).collect())
}

/// The range of the data, widened by a tenth of its width but never across zero: the
/// domain of a square root or a reciprocal is the test's own.
fn range(values: &[f32]) -> InputRange {
    let lo = values.iter().copied().fold(f32::INFINITY, f32::min);
    let hi = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if lo > hi {
        return InputRange { lo: -1.0, hi: 1.0 };
    }
    let (lo, hi) = (f64::from(lo), f64::from(hi));
    let slack = 0.1 * (hi - lo);
    let outward = |bound: f64, by: f64| if (bound + by) * bound < 0.0 { bound / 2.0 } else { bound + by };
    InputRange { lo: outward(lo, -slack), hi: outward(hi, slack) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_widened_but_not_across_zero() {
        assert_eq!(range(&[-1.0, 1.0]), InputRange { lo: -1.2, hi: 1.2 });
        assert_eq!(range(&[0.5, 100.5]).lo, 0.25);
        assert_eq!(range(&[-100.5, -0.5]).hi, -0.25);
        assert_eq!(range(&[]), InputRange { lo: -1.0, hi: 1.0 });
    }
}
