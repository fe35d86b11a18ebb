//! Room for noise that hides the error of answers. How large errors are is found by computing
//! some answers.

use super::{Plan, PlanOptions};
use crate::circuit::Circuit;
use crate::public::{LEAST_PUBLISH_BITS, Publish};
use crate::{Client, Error, Server};
use subrosa_lattice::modulus::MAX_PRIME_BITS;

/// Samples that are computed under encryption to see their error.
const TRIED: usize = 4;
/// How far below the stated bound those errors are.
const SAFETY: f64 = 8.0;
/// Most noise, in units of the outputs' deviation: beyond, what is published tells little.
const MOST_NOISE: f64 = 0.125;

impl Plan {
    /// A plan for one sample at a time whose answers can be published under noise of `2^bits`
    /// times their error: its scale is as large as that takes. The samples are encrypted under
    /// keys that are thrown away.
    ///
    /// The error is an estimate from runs, not a proof of a worst case: Q. Guo et al., "Key
    /// recovery attacks on approximate homomorphic encryption with non-worst-case noise
    /// flooding countermeasures", USENIX Security 2024, tells what may follow if an input has a
    /// much larger error than those tried.
    ///
    /// **Errors:** [`Error::Plan`] for less than [`LEAST_PUBLISH_BITS`], without samples, and where the noise would drown the outputs
    /// at the largest scale there is; [`Error::Input`] for a sample outside the range; as
    /// [`Plan::latency`].
    ///
    /// **Cost:** two or three times planning, keys and a few evaluations.
    pub fn publishable(circuit: &Circuit, options: &PlanOptions, bits: u32) -> Result<Self, Error> {
        if bits < LEAST_PUBLISH_BITS {
            return Err(Error::Plan(format!(
                "{bits} bits of noise hide nothing worth the name; ask for {LEAST_PUBLISH_BITS} at least"
            )));
        }
        let mut options = options.clone();
        loop {
            let mut plan = Self::latency(circuit, &options)?;
            let (error, spread) = plan.measured(circuit, &options.samples)?;
            let publish = Publish { bits, error: SAFETY * error };
            let excess = publish.deviation(bits, plan.public.output_len) / (MOST_NOISE * spread);
            if excess <= 1.0 {
                plan.public.publish = Some(publish);
                return Ok(plan);
            }
            let scale = plan.public.fresh.scale.log2().round() as u32;
            // One bit more than it seems to take: errors vary.
            let wanted = scale + excess.log2().ceil() as u32 + 1;
            if scale + 1 >= MAX_PRIME_BITS {
                let least = wanted - scale;
                return Err(Error::Plan(format!(
                    "under {bits} bits of noise nothing of the outputs would be left, even at the largest scale of 2^{scale}; ask for some {least} bits fewer"
                )));
            }
            options.least_scale = wanted.min(MAX_PRIME_BITS - 1);
        }
    }

    /// The largest error of an output, and the outputs' deviation.
    fn measured(&self, circuit: &Circuit, samples: &[Vec<f64>]) -> Result<(f64, f64), Error> {
        let client = Client::new(self.public.clone())?;
        let (keys, server) = (client.evaluation_keys()?, Server::new(self)?);
        let (mut error, mut squares, mut count) = (0f64, 0.0, 0);
        for sample in samples.iter().take(TRIED) {
            let input: Vec<f32> = sample.iter().map(|&v| v as f32).collect();
            let found = client.decrypt_values(&server.evaluate(&keys, client.encrypt(&input)?)?)?;
            let right = circuit.evaluate(&[input.into_iter().map(f64::from).collect()]);
            let right = circuit.outputs.first().map_or(&[][..], |&o| right[o].as_slice());
            let mean = right.iter().sum::<f64>() / right.len().max(1) as f64;
            squares += right.iter().map(|v| (v - mean).powi(2)).sum::<f64>();
            count += right.len();
            error = found.iter().zip(right).map(|(a, b)| (a - b).abs()).fold(error, f64::max);
        }
        if count == 0 || error == 0.0 {
            return Err(Error::Plan(
                "publishing needs samples of the input, to see how large errors are (--calibrate FILE)".to_owned(),
            ));
        }
        Ok((error, (squares / count as f64).sqrt()))
    }
}
