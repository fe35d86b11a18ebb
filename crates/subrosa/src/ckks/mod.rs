//! Homomorphic inference as a backend: planning, and client and server in one process.
//!
//! [`roles`] has them apart, as files between machines.

pub mod roles;
pub mod service;
pub mod sheet;
mod store;

use crate::model::Model;
use crate::options::{InputSpec, PlanOptions};
use crate::output::{Batch, Phase};
use crate::{Error, Result};
use std::time::Instant;
use subrosa_core::Cost;
use subrosa_graph::{InputRange, Reveal};
pub use subrosa_he::Publish;
use subrosa_he::circuit::{Approximated, Approximation, Circuit, Forecast};
use subrosa_he::public::Packing;
use subrosa_he::{Client, Plan, PublicPlan, Server};
use subrosa_lattice::EvaluationKeys;

/// From this many samples on, one slot a sample is faster than one sample after another.
pub const THROUGHPUT_FROM: usize = 64;
/// Most samples that ranges are taken from.
const MOST_SAMPLES: usize = 256;
/// And most that polynomials are fitted to.
const MOST_FITTED: usize = 1000;
/// Most memory that a plan may ask of the server (bytes).
const MAX_MEMORY: u64 = subrosa_he::public::MAX_BYTES;
/// Bytes of a request or answer besides its residues: see `subrosa_he::files`.
const FILE_HEADER_BYTES: usize = 84;

/// A plan via ckks.
pub(crate) struct Ckks {
    pub(crate) plan: Plan,
    /// The polynomials that stand for other activations.
    pub(crate) functions: Vec<Approximation>,
    /// What they do to answers; none if there are none.
    pub(crate) forecast: Option<Forecast>,
    pub(crate) range: InputRange,
    /// Whether the ranges inside the model come from data, not from made-up inputs.
    pub(crate) calibrated: bool,
}

impl Ckks {
    pub(crate) fn new(model: &Model, options: &PlanOptions) -> Result<Self> {
        check(options)?;
        if options.batch > 1 {
            model.graph().check_batching()?;
        }
        let circuit = Circuit::import(model.graph().graph())?;
        let mut refused = Error::misuse("the model has no input", "");
        for ranges in options.input.candidates(model.inputs().len())? {
            let [range] = ranges.as_slice() else {
                return Err(plan_error("a model of several inputs is not supported via ckks"));
            };
            match Self::on_range(&circuit, model, options, *range) {
                Ok(ckks) => return Ok(ckks),
                Err(error @ Error::Plan { .. }) if options.input == InputSpec::Auto => refused = error,
                Err(error) => return Err(error),
            }
        }
        Err(refused)
    }

    fn on_range(circuit: &Circuit, model: &Model, options: &PlanOptions, range: InputRange) -> Result<Self> {
        let len = model.inputs().first().map_or(0, |p| p.sample_len());
        let given = calibration(circuit, &options.calibration, len);
        let calibrated = !given.is_empty();
        if !calibrated && circuit.has_functions() {
            let mut error = plan_error(
                "an activation of the model is no polynomial, and its range must be known to approximate it",
            );
            if let Error::Plan { hint, .. } = &mut error {
                *hint = Some(
                    "give samples of the input (--calibrate FILE), or choose another backend (--via rep3)".to_owned(),
                );
            }
            return Err(error);
        }
        let samples = if calibrated { given } else { made_up(len, range) };
        let Approximated { circuit, functions, forecast } = circuit.approximated(&samples)?;
        let circuit = &circuit;
        let he = subrosa_he::PlanOptions {
            input_range: (range.lo, range.hi),
            samples,
            model: model.name().to_owned(),
            ..subrosa_he::PlanOptions::default()
        };
        // Cheap, and refuses what no packing can compute.
        let throughput = Plan::throughput(circuit, &he).map_err(|e| {
            let too_deep = matches!(e, subrosa_he::Error::TooDeep(_));
            let mut error = Error::from(e);
            // Polynomials grow fast on inputs unlike any that the model was trained on.
            if let (true, false, Error::Plan { hint: hint @ None, .. }) = (too_deep, calibrated, &mut error) {
                *hint = Some("give samples of the input (--calibrate FILE): made-up ones may go far beyond".to_owned());
            }
            error
        })?;
        let mut ckks = Self { plan: throughput, functions, forecast, range, calibrated };
        if options.publish > 0 {
            if !calibrated {
                let message = "publishing floods the error of answers, and samples are needed to see how large it is";
                return Err(Error::misuse(message, "give samples of the input (--calibrate FILE)"));
            }
            // One sample at a time: its few outputs are all that is ever shown.
            ckks.plan = Plan::publishable(circuit, &he, options.publish)?;
        } else if options.batch < THROUGHPUT_FROM || sheet::memory(&ckks.plan) > MAX_MEMORY {
            ckks.plan = Plan::latency(circuit, &he).unwrap_or(ckks.plan);
        }
        check_memory(&ckks.plan)?;
        Ok(ckks)
    }

    pub(crate) fn is_throughput(&self) -> bool {
        self.plan.public.packing == Packing::Throughput
    }

    /// Evaluations for so many samples.
    pub(crate) fn requests(&self, samples: usize) -> usize {
        samples.div_ceil(self.plan.public.batch())
    }

    pub(crate) fn request_bytes(&self) -> usize {
        request_bytes(&self.plan.public)
    }

    pub(crate) fn answer_bytes(&self) -> usize {
        answer_bytes(&self.plan.public)
    }

    /// What one batch sends: a request and an answer for each evaluation.
    pub(crate) fn cost(&self, samples: usize) -> Cost {
        let requests = self.requests(samples) as u64;
        Cost { rounds: 2, bytes: requests * (self.request_bytes() + self.answer_bytes()) as u64 }
    }

    /// What the client sends once.
    pub(crate) fn setup_cost(&self) -> Cost {
        Cost { rounds: 1, bytes: self.plan.public.key_bytes() as u64 }
    }
}

/// Bytes of a request's file: of each the same.
fn request_bytes(plan: &PublicPlan) -> usize {
    plan.upload_bytes() + FILE_HEADER_BYTES
}

/// Bytes of an answer's file: of each the same.
fn answer_bytes(plan: &PublicPlan) -> usize {
    plan.answer_bytes() + FILE_HEADER_BYTES
}

/// The first samples, if there are whole ones: more of them where something is fitted.
fn calibration(circuit: &Circuit, inputs: &[Vec<f32>], len: usize) -> Vec<Vec<f64>> {
    let values = inputs.first().map_or(&[][..], Vec::as_slice);
    let most = if circuit.has_functions() { MOST_FITTED } else { MOST_SAMPLES };
    values.chunks_exact(len.max(1)).take(most).map(reals).collect()
}

fn reals(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

/// Inputs that fill the range: its ends, its middle, and spread-out values, dense and
/// sparse (multiples of the golden ratio).
fn made_up(len: usize, range: InputRange) -> Vec<Vec<f64>> {
    let at = |share: f64| range.lo + (range.hi - range.lo) * share;
    let spread = |seed: usize, i: usize| ((seed * len + i) as f64 * 0.618_033_988_749_895).fract();
    let dense = (0..16).map(|seed| (0..len).map(|i| at(spread(seed, i))).collect());
    let sparse = (16..32).map(|seed| {
        let ends = |i: usize| if spread(seed, i) < 0.2 { at(1.0) } else { at(0.0) };
        (0..len).map(ends).collect()
    });
    let flat = [0.0, 0.5, 1.0].into_iter().map(|share| vec![at(share); len]);
    dense.chain(sparse).chain(flat).collect()
}

/// **Errors:** [`Error::Plan`] for a plan, perhaps of somebody else's parameters, that asks too
/// much of the server.
fn check_memory(plan: &Plan) -> Result<()> {
    let bytes = sheet::memory(plan);
    if bytes <= MAX_MEMORY {
        return Ok(());
    }
    let size = crate::text::bytes(bytes as f64);
    Err(plan_error(&format!("the server would need about {size} of memory via ckks; 8 GB are the limit")))
}

fn plan_error(message: &str) -> Error {
    Error::Plan {
        message: message.to_owned(),
        node: None,
        hint: Some("choose another backend (--via rep3)".to_owned()),
    }
}

fn check(options: &PlanOptions) -> Result<()> {
    if options.reveal == Reveal::Label {
        let message = "ckks cannot open the label alone: the client decrypts the outputs";
        return Err(Error::misuse(
            message,
            "use --reveal logits: the label is their largest, and nobody else sees them",
        ));
    }
    if options.network.is_some() {
        let message = "a network to imitate was asked for, but client and server of 'ckks' share one process";
        return Err(Error::misuse(message, "leave it out: the plan tells the bytes each way"));
    }
    if options.public_weights || options.ring.is_some() {
        let message = "a ring or public weights were asked for, but 'ckks' has neither";
        return Err(Error::misuse(message, "leave them out: the weights stay with the server"));
    }
    Ok(())
}

/// Client and server in one process, each with its own keys.
pub(crate) struct Engine {
    client: Client,
    server: Server,
    keys: EvaluationKeys,
}

impl Engine {
    pub(crate) fn start(ckks: &Ckks, threads: usize) -> Result<(Self, Phase)> {
        let start = Instant::now();
        let client = Client::new(ckks.plan.public.clone())?;
        let keys = client.evaluation_keys()?;
        let mut server = Server::new(&ckks.plan)?;
        server.set_threads(threads)?;
        let setup = Phase { cost: ckks.setup_cost(), ms: start.elapsed().as_secs_f64() * 1e3 };
        Ok((Self { client, server, keys }, setup))
    }

    /// Samples in, outputs out, encrypted in between.
    pub(crate) fn run(&mut self, ckks: &Ckks, inputs: &[&[f32]], samples: usize) -> Result<(Vec<Vec<f32>>, Batch)> {
        let start = Instant::now();
        let len = ckks.plan.public.input_len;
        let values = inputs.first().copied().unwrap_or_default();
        let mut outputs = Vec::new();
        for request in values.chunks(len * ckks.plan.public.batch()) {
            let encrypted = self.client.encrypt(request)?;
            let answer = self.server.evaluate(&self.keys, encrypted)?;
            outputs.extend(self.client.decrypt(&answer)?);
        }
        let online = Phase { cost: ckks.cost(samples), ms: start.elapsed().as_secs_f64() * 1e3 };
        Ok((vec![outputs], Batch { samples, offline: Phase::default(), online }))
    }
}
