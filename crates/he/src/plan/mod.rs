//! From a model and samples of its input to everything else: packing, levels, scales,
//! primes, ring degree, rotations. No user ever types a modulus.

mod choose;
mod cost;
mod image;
mod latency;
mod publish;
mod throughput;

pub use choose::{Choice, MIN_SCALE_BITS};
pub(crate) use latency::VIEWS;
pub use latency::{CombineStage, GiantStep, LinearStage, Stage, StageKind};
pub use throughput::Throughput;

use crate::Error;
use crate::circuit::Circuit;
use crate::public::{Packing, PublicPlan};
use subrosa_lattice::Attacker;

/// What a caller may choose.
#[derive(Clone, Debug, Default)]
pub struct PlanOptions {
    /// Against whom 128 bits must hold.
    pub attacker: Attacker,
    /// The values an input may take.
    pub input_range: (f64, f64),
    /// Samples like the inputs to come: the ranges inside the model are taken from them.
    pub samples: Vec<Vec<f64>>,
    /// Name for reports.
    pub model: String,
    /// The least bits of the scale, if more are needed than usual.
    pub least_scale: u32,
}

/// A decided computation: the public half and the server's.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What the client needs.
    pub public: PublicPlan,
    /// What the server computes. It holds the weights: the model owner's secret.
    pub work: Work,
    /// Largest magnitude met inside the model on the samples.
    pub largest: f64,
}

/// The server's half.
#[derive(Clone, Debug)]
pub enum Work {
    /// One sample spread over the slots.
    Latency(Vec<Stage>),
    /// One slot a sample.
    Throughput(Throughput),
}

impl Plan {
    /// A plan for one sample at a time. The circuit has polynomials only: see
    /// [`Circuit::approximated`].
    ///
    /// **Errors:** [`Error::Plan`] where no parameters serve.
    pub fn latency(circuit: &Circuit, options: &PlanOptions) -> Result<Self, Error> {
        latency::plan(circuit, options)
    }

    /// Whether `public` is for a model with as many inputs and outputs as this one.
    ///
    /// **Errors:** [`Error::Plan`].
    pub fn check_shape(circuit: &Circuit, public: &PublicPlan) -> Result<(), Error> {
        let len = |step: Option<&usize>| step.map_or(0, |&step| circuit.steps[step].len);
        match (len(circuit.inputs.first()), len(circuit.outputs.first())) == (public.input_len, public.output_len) {
            true => Ok(()),
            false => Err(another_model()),
        }
    }

    /// The server's half again, from the circuit that was planned and the public half that was
    /// handed out.
    ///
    /// **Errors:** [`Error::Plan`] where the model does not give this plan.
    pub fn from_public(circuit: &Circuit, public: &PublicPlan) -> Result<Self, Error> {
        let choice = Choice { params: public.params.clone(), scale_bits: public.fresh.scale.log2().round() as u32 };
        let options = PlanOptions {
            attacker: public.literal().attacker,
            input_range: public.input_range,
            model: public.model.clone(),
            ..PlanOptions::default()
        };
        // Before any search: a plan of others may be anything.
        Self::check_shape(circuit, public)?;
        let plan = match public.packing {
            Packing::Latency { .. } => latency::rebuild(circuit, &choice, &options)?,
            Packing::Throughput => throughput::rebuild(circuit, &choice, &options)?,
        };
        // The room is in the parameters; the rest of it is for the client.
        let plan = plan.map(|mut plan| {
            plan.public.publish = public.publish;
            plan
        });
        plan.filter(|plan| plan.public.digest() == public.digest()).ok_or_else(another_model)
    }

    /// Whether an operand is summed over slots before a matrix.
    fn sums_before(&self) -> bool {
        let Work::Latency(stages) = &self.work else { return false };
        stages.iter().any(|s| matches!(&s.kind, StageKind::Linear(l) if !l.pools.is_empty()))
    }

    /// A plan for as many samples at a time as there are slots.
    ///
    /// **Errors:** [`Error::Plan`] where no parameters serve.
    pub fn throughput(circuit: &Circuit, options: &PlanOptions) -> Result<Self, Error> {
        throughput::plan(circuit, options)
    }
}

fn another_model() -> Error {
    Error::Plan("the plan was made for another model, or by another version".to_owned())
}

/// Largest magnitude to expect where no sample is given.
const UNKNOWN: f64 = 1024.0;

/// The largest magnitude of any step's value on the samples.
fn largest_value(circuit: &Circuit, options: &PlanOptions) -> f64 {
    if options.samples.is_empty() {
        return UNKNOWN;
    }
    let values = options.samples.iter().map(|x| circuit.evaluate(std::slice::from_ref(x)));
    values.flatten().flatten().fold(0.0, |m: f64, v| m.max(v.abs()))
}
