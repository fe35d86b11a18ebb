//! What a plan via ckks decided, as people and programs read it.

use super::Ckks;
use crate::text;
use serde::Serialize;
use std::fmt;
use subrosa_core::Cost;
use subrosa_he::Publish;
use subrosa_he::plan::Work;

/// Parameters, packing and sizes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CkksSheet {
    /// `latency` (one sample spread over the slots) or `throughput` (one slot a sample).
    pub packing: &'static str,
    /// Ring degree.
    pub ring_degree: usize,
    /// Bits of the ciphertext primes; rescaling drops the last first.
    pub prime_bits: Vec<u32>,
    /// Bits of the special primes.
    pub special_bits: Vec<u32>,
    /// log2 of the scale.
    pub scale_bits: u32,
    /// Multiplications one after another.
    pub levels: usize,
    /// Largest magnitude met inside the model.
    pub largest: f64,
    /// Whether it was met on calibration data, or on made-up inputs.
    pub calibrated: bool,
    /// Largest magnitude that the parameters hold.
    pub holds: f64,
    /// Samples in one evaluation.
    pub samples: usize,
    /// Ciphertexts in a request.
    pub request_ciphertexts: usize,
    /// Bytes of a request.
    pub request_bytes: usize,
    /// Bytes of an answer.
    pub answer_bytes: usize,
    /// Rotations that keys are made for.
    pub rotations: usize,
    /// Bytes of the evaluation keys, sent once.
    pub key_bytes: usize,
    /// Plaintext diagonals that the server holds.
    pub diagonals: usize,
    /// About the most memory the server needs (bytes).
    pub memory_bytes: u64,
    /// Room to publish answers; none if none was asked for.
    pub publish: Option<PublishSheet>,
    /// What stands for activations that are no polynomials.
    pub approximations: Vec<ApproximationSheet>,
    /// What they do to answers; none if there are none.
    pub forecast: Option<ForecastSheet>,
    /// One batch.
    pub online: Cost,
}

/// A polynomial in place of an activation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ApproximationSheet {
    /// The ONNX node.
    pub node: String,
    /// Degree.
    pub degree: usize,
    /// Polynomials: one a channel.
    pub channels: usize,
    /// They hold within plus and minus this, in the channel with the largest values.
    pub range: f64,
    /// Root of the mean squared error on the calibration data.
    pub rms_error: f64,
}

/// Noise under which answers can be published.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PublishSheet {
    /// Bits by which it exceeds the error.
    pub bits: u32,
    /// What the error of an output was seen to stay below.
    pub error: f64,
    /// Deviation of the noise in an output.
    pub noise: f64,
    /// One published answer tells the error from another with an advantage below two to the minus
    /// this; `t` answers, `log2 t` less.
    pub statistical_bits: f64,
}

/// What approximations do to the answers for calibration data that they were not fitted to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ForecastSheet {
    /// Such samples.
    pub samples: usize,
    /// Share of them with the model's own label.
    pub agreement: f64,
    /// Root of the mean squared error of the outputs, in units of their deviation.
    pub error: f64,
    /// Share of them with a value outside the range of its polynomial.
    pub outside: f64,
}

fn forecast(f: subrosa_he::circuit::Forecast) -> ForecastSheet {
    ForecastSheet { samples: f.samples, agreement: f.agreement, error: f.error, outside: f.outside }
}

impl CkksSheet {
    pub(crate) fn new(ckks: &Ckks, batch: usize) -> Self {
        let public = &ckks.plan.public;
        let params = &public.params;
        let bits = |primes: &[u64]| primes.iter().map(|p| u64::BITS - p.leading_zeros()).collect();
        let literal = public.literal();
        let answer_modulus: f64 = literal.q[..public.answer.level].iter().map(|&p| p as f64).product();
        Self {
            packing: if ckks.is_throughput() { "throughput" } else { "latency" },
            ring_degree: params.n(),
            prime_bits: bits(&literal.q),
            special_bits: bits(&literal.special),
            scale_bits: public.fresh.scale.log2().round() as u32,
            levels: public.fresh.level - public.answer.level,
            largest: ckks.plan.largest,
            calibrated: ckks.calibrated,
            holds: answer_modulus / 2.0 / public.answer.scale,
            samples: public.batch(),
            request_ciphertexts: public.input_ciphertexts(),
            request_bytes: ckks.request_bytes(),
            answer_bytes: ckks.answer_bytes(),
            rotations: public.rotations.len(),
            key_bytes: public.key_bytes(),
            diagonals: diagonals(&ckks.plan.work),
            memory_bytes: memory(&ckks.plan),
            publish: public.publish.map(|p| PublishSheet {
                bits: p.bits,
                error: p.error,
                noise: p.deviation(p.bits, public.output_len),
                statistical_bits: Publish::statistical_bits(p.bits),
            }),
            approximations: ckks.functions.iter().map(approximation).collect(),
            forecast: ckks.forecast.map(forecast),
            online: ckks.cost(batch),
        }
    }

    /// The plan in one line.
    pub fn terms(&self) -> String {
        format!(
            "N = {}, {} levels, {}, {} up and {} down for {}",
            self.ring_degree,
            self.levels,
            self.packing,
            text::bytes(self.request_bytes as f64),
            text::bytes(self.answer_bytes as f64),
            text::counted(self.samples, "sample")
        )
    }
}

fn approximation(a: &subrosa_he::circuit::Approximation) -> ApproximationSheet {
    ApproximationSheet {
        node: a.name.clone(),
        degree: a.degree,
        channels: a.channels,
        range: a.range,
        rms_error: a.rms_error,
    }
}

fn diagonals(work: &Work) -> usize {
    match work {
        Work::Latency(stages) => stages.iter().map(|s| s.diagonals()).sum(),
        Work::Throughput(_) => 0,
    }
}

/// Keys, weights and what is computed on.
pub(super) fn memory(plan: &subrosa_he::Plan) -> u64 {
    let public = &plan.public;
    let work = match &plan.work {
        Work::Latency(stages) => stages.iter().map(|s| s.bytes(&public.params)).sum(),
        Work::Throughput(work) => work.value_bytes(public.params.n()),
    };
    public.key_memory() + work
}

impl fmt::Display for CkksSheet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |bits: &[u32]| bits.iter().map(u32::to_string).collect::<Vec<_>>().join("+");
        let modulus: u32 = self.prime_bits.iter().chain(&self.special_bits).sum();
        writeln!(
            f,
            "  parameters   ring degree {}, {modulus} bits of modulus: {} and special {}, scale 2^{}",
            self.ring_degree,
            list(&self.prime_bits),
            list(&self.special_bits),
            self.scale_bits
        )?;
        let origin = if self.calibrated { "calibration data" } else { "made-up inputs; --calibrate FILE is safer" };
        writeln!(
            f,
            "  range        values up to {} inside the model (on {origin}), {} would still fit",
            text::significant(self.largest),
            text::significant(self.holds)
        )?;
        writeln!(
            f,
            "  packing      {}: {} an evaluation, {} multiplications deep",
            self.packing,
            text::counted(self.samples, "sample"),
            self.levels
        )?;
        writeln!(
            f,
            "  setup        {} of evaluation keys ({} rotations), once a client",
            text::bytes(self.key_bytes as f64),
            self.rotations
        )?;
        writeln!(
            f,
            "  online       {} up in {}, {} down, an evaluation",
            text::bytes(self.request_bytes as f64),
            text::counted(self.request_ciphertexts, "ciphertext"),
            text::bytes(self.answer_bytes as f64)
        )?;
        for a in &self.approximations {
            let (range, error) = (text::significant(a.range), text::significant(a.rms_error));
            writeln!(
                f,
                "  activation   {}: degree {} within ±{range}, error {error} (root mean square); {}",
                a.node,
                a.degree,
                text::counted(a.channels, "polynomial")
            )?;
        }
        if let Some(p) = &self.forecast {
            writeln!(
                f,
                "  predicted    {:.1} % of labels as in the clear, outputs off by {:.3} of their deviation, {:.1} % with a value out of range (on {} of calibration not fitted to)",
                100.0 * p.agreement,
                p.error,
                100.0 * p.outside,
                text::counted(p.samples, "sample")
            )?;
        }
        if let Some(p) = &self.publish {
            writeln!(
                f,
                "  publish      under {} bits of noise: outputs off by {} (deviation), {:.0} statistical bits of security for one answer, log2 t less for t",
                p.bits,
                text::significant(p.noise),
                p.statistical_bits
            )?;
        }
        writeln!(f, "  memory       about {} at the server", text::bytes(self.memory_bytes as f64))
    }
}
