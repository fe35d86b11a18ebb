//! How far a protected result is from the one in the clear.

use crate::output::Output;
use serde::Serialize;

/// The difference of two outputs of the same samples.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verification {
    /// Samples compared.
    pub samples: usize,
    /// Samples with the same label.
    pub same_labels: usize,
    /// Largest absolute difference of any value; none where only labels were opened.
    pub max_abs_err: Option<f64>,
    /// Sample by sample.
    pub each: Vec<SampleDifference>,
}

/// The difference in one sample.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SampleDifference {
    /// Label under protection.
    pub label: i64,
    /// Label in the clear.
    pub plain_label: i64,
    /// Largest absolute difference of any value.
    pub max_abs_err: Option<f64>,
}

impl Verification {
    /// Share of samples with the same label; 1 if there are none.
    pub fn agreement(&self) -> f64 {
        if self.samples == 0 { 1.0 } else { self.same_labels as f64 / self.samples as f64 }
    }
}

/// Compares `output` with the same samples computed in the clear (all of the outputs, not
/// only labels); further samples of `plain` are ignored.
pub fn verify(output: &Output, plain: &Output) -> Verification {
    let labels = output.labels().into_iter().zip(plain.labels());
    let each: Vec<_> = labels
        .enumerate()
        .map(|(i, (label, plain_label))| SampleDifference {
            label,
            plain_label,
            max_abs_err: (!output.labels_only).then(|| sample_error(output, plain, i)),
        })
        .collect();
    Verification {
        samples: each.len(),
        same_labels: each.iter().filter(|d| d.label == d.plain_label).count(),
        max_abs_err: each.iter().filter_map(|d| d.max_abs_err).reduce(larger),
        each,
    }
}

fn sample_error(output: &Output, plain: &Output, sample: usize) -> f64 {
    let difference = |(a, b): (&f32, &f32)| (f64::from(*a) - f64::from(*b)).abs();
    let per_output = |o: usize| output.sample(o, sample).iter().zip(plain.sample(o, sample)).map(difference);
    (0..output.ports.len()).flat_map(per_output).fold(0.0, larger)
}

/// The larger one; NaN, once met, stays: a difference that is no number must not vanish.
fn larger(a: f64, b: f64) -> f64 {
    if a.is_nan() || a >= b { a } else { b }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backends::Via;
    use crate::model::Port;

    fn output(values: &[f32], labels_only: bool) -> Output {
        let width = if labels_only { 1 } else { 2 };
        Output {
            model: "m".into(),
            via: Via::Plain,
            labels_only,
            samples: values.len() / width,
            ports: vec![Port { name: "y".into(), shape: vec![1, width], batched: true }],
            values: vec![values.to_vec()],
            setup: Default::default(),
            batches: Vec::new(),
        }
    }

    #[test]
    fn differences_are_found() {
        let found = verify(&output(&[1.0, 2.0, 3.5, 3.0], false), &output(&[1.0, 2.25, 3.0, 3.5], false));
        assert_eq!((found.samples, found.same_labels, found.max_abs_err), (2, 1, Some(0.5)));
        assert_eq!(found.agreement(), 0.5);
    }

    #[test]
    fn labels_alone_are_compared_with_argmax() {
        let found = verify(&output(&[1.0, 1.0], true), &output(&[1.0, 2.0, 3.0, 2.0], false));
        assert_eq!((found.same_labels, found.max_abs_err), (1, None));
    }

    #[test]
    fn nan_is_never_a_small_difference() {
        let found = verify(&output(&[f32::NAN, 2.0, 1.0, 1.0], false), &output(&[1.0, 2.0, 1.0, 1.0], false));
        assert!(found.max_abs_err.is_some_and(f64::is_nan));
    }
}
