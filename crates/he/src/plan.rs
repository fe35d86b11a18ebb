//! From a model and samples of its input to everything else: packing, levels, scales,
//! primes, ring degree, rotations. No user ever types a modulus.

mod chain;
mod choose;
mod cost;
mod latency;

pub use chain::{Chain, ChainStep};
pub use choose::{Choice, MIN_SCALE_BITS};
pub use latency::{GiantStep, LinearStage, Stage};

use crate::Error;
use crate::circuit::Circuit;
use crate::public::PublicPlan;
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
}

/// A decided computation: the public half and the server's.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What the client needs.
    pub public: PublicPlan,
    /// What the server computes. It holds the weights: the model owner's secret.
    pub stages: Vec<Stage>,
    /// Largest magnitude met inside the model on the samples.
    pub largest: f64,
}

impl Plan {
    /// A plan for one sample at a time.
    ///
    /// **Errors:** [`Error::Plan`] where no parameters serve.
    pub fn latency(circuit: &Circuit, options: &PlanOptions) -> Result<Self, Error> {
        latency::plan(circuit, options)
    }
}
