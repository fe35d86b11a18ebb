//! Ways to compute a test.

use crate::case::{Case, Form};
use crate::coverage::Outcome;
use crate::tolerance;
use std::panic::{AssertUnwindSafe, catch_unwind};
use subrosa::{Cost, Error, InputRange, InputSpec, Model, Plan, PlanOptions, Via};

/// A way to compute a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Backend {
    /// What `--via` names.
    Via(Via),
    /// The fixed-point reference, in the clear: what every protocol must equal.
    Oracle,
}

impl Backend {
    pub(crate) const ALL: [Self; 8] = [
        Self::Via(Via::Plain),
        Self::Oracle,
        Self::Via(Via::Rep3),
        Self::Via(Via::Rep3Malicious),
        Self::Via(Via::Rep4),
        Self::Via(Via::Beaver2),
        Self::Via(Via::Fss),
        Self::Via(Via::Ckks),
    ];
    pub(crate) const PLAIN: Self = Self::Via(Via::Plain);

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Via(via) => via.name(),
            Self::Oracle => "oracle",
        }
    }

    /// Computes a test in the first form that is supported and judges the result.
    pub(crate) fn run(self, case: &Case) -> Outcome {
        let mut refused = String::new();
        for form in case.forms() {
            match catch_unwind(AssertUnwindSafe(|| self.compute(&form))) {
                Ok(Ok(values)) => return judge(self, case, &values),
                Ok(Err(Fault::Refused(why))) => refused = why,
                Ok(Err(Fault::Failed(why))) => return Outcome::Failed(why),
                Err(_) => return Outcome::Failed("panicked".to_owned()),
            }
        }
        Outcome::Refused(refused)
    }

    fn compute(self, form: &Form) -> Result<Vec<Vec<f32>>, Fault> {
        let model = Model::from_bytes("node", &form.model)?;
        let via = match self {
            Self::Via(via) => via,
            Self::Oracle => Via::Rep3,
        };
        let input = InputSpec::Given(form.inputs.iter().map(|values| range(values)).collect());
        let plan = model.plan(&PlanOptions { via, batch: batch(&model, form), input, ..PlanOptions::default() })?;
        match self {
            Self::Oracle => Ok(plan.simulate()?.run(&form.inputs)?.values),
            Self::Via(_) => measured(&plan, form),
        }
    }
}

/// Why there is no result.
enum Fault {
    /// Not supported, and said so before anything ran.
    Refused(String),
    /// Anything else.
    Failed(String),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        if let Error::Model { unsupported, .. } = &error
            && let Some(first) = unsupported.first()
        {
            return Self::Refused(first.why.clone());
        }
        match matches!(error, Error::Plan { .. }) {
            true => Self::Refused(error.to_string()),
            false => Self::Failed(error.to_string()),
        }
    }
}

/// Runs a plan, and holds its prediction against what was sent.
fn measured(plan: &Plan, form: &Form) -> Result<Vec<Vec<f32>>, Fault> {
    let output = plan.open()?.run(&form.inputs)?;
    if let Some(predicted) = &plan.sheet().fixed {
        for batch in &output.batches {
            exact("offline", predicted.offline, batch.offline.cost)?;
            exact("online", predicted.online, batch.online.cost)?;
        }
    }
    Ok(output.values)
}

fn exact(phase: &str, predicted: Cost, measured: Cost) -> Result<(), Fault> {
    if predicted == measured {
        return Ok(());
    }
    Err(Fault::Failed(format!(
        "{phase}: {} rounds and {} bytes were planned, {} and {} measured",
        predicted.rounds, predicted.bytes, measured.rounds, measured.bytes
    )))
}

fn judge(backend: Backend, case: &Case, values: &[Vec<f32>]) -> Outcome {
    let tolerance = tolerance::of(&case.operators, backend);
    if values.len() != case.expected.len() {
        return Outcome::Failed(format!("{} outputs instead of {}", values.len(), case.expected.len()));
    }
    for (output, (got, want)) in values.iter().zip(&case.expected).enumerate() {
        if got.len() != want.len() {
            return Outcome::Failed(format!("output {output} has {} values instead of {}", got.len(), want.len()));
        }
        if let Some(i) = (0..got.len()).find(|&i| !tolerance.accepts(f64::from(got[i]), want[i])) {
            return Outcome::Failed(format!("output {output}[{i}] is {} instead of {}", got[i], want[i]));
        }
    }
    Outcome::Passed
}

/// Samples in the inputs: 1 unless the first axis is open.
fn batch(model: &Model, form: &Form) -> usize {
    match (model.inputs().first(), form.inputs.first()) {
        (Some(port), Some(values)) if port.batched => values.len() / port.sample_len().max(1),
        _ => 1,
    }
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
