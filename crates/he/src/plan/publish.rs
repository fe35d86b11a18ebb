//! What the error of answers stays below: found by computing some.

use super::{Plan, PlanOptions};
use crate::circuit::Circuit;
use crate::public::Publish;
use crate::{Client, Error, Server};

/// Samples that are computed under encryption to see their error.
const TRIED: usize = 4;
/// How far below the stated bound those errors are.
const SAFETY: f64 = 8.0;

impl Plan {
    /// Notes how large errors are, so that clients can flood them. The samples are encrypted
    /// under a key that is thrown away.
    ///
    /// This is an estimate from runs, not a proof of a worst case: Q. Guo et al., "Key recovery
    /// attacks on approximate homomorphic encryption with non-worst-case noise flooding
    /// countermeasures", USENIX Security 2024, tells what may follow if an input has a much
    /// larger error than those tried.
    ///
    /// **Errors:** [`Error::Plan`] without samples; [`Error::Input`] for one outside the range.
    ///
    /// **Cost:** keys, and a few evaluations.
    pub fn with_room_to_publish(mut self, circuit: &Circuit, options: &PlanOptions) -> Result<Self, Error> {
        let client = Client::new(self.public.clone())?;
        let (keys, server) = (client.evaluation_keys()?, Server::new(&self)?);
        let mut error = 0f64;
        for sample in options.samples.iter().take(TRIED) {
            let input: Vec<f32> = sample.iter().map(|&v| v as f32).collect();
            let found = client.decrypt_values(&server.evaluate(&keys, client.encrypt(&input)?)?)?;
            let right = circuit.evaluate(&[input.into_iter().map(f64::from).collect()]);
            let right = circuit.outputs.first().map_or(&[][..], |&o| right[o].as_slice());
            error = found.iter().zip(right).map(|(a, b)| (a - b).abs()).fold(error, f64::max);
        }
        if error == 0.0 {
            return Err(Error::Plan(
                "publishing needs samples of the input, to see how large errors are (--calibrate FILE)".to_owned(),
            ));
        }
        self.public.publish = Some(Publish { bits: options.publish, error: SAFETY * error });
        Ok(self)
    }
}
