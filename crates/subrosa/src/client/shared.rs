//! Inference on shares, through a gateway that passes them on to the parties sealed: it gets neither an
//! input nor a result, and the parties are known by their fingerprints.

use super::http::BYTES;
use super::{Client, ServedModel, no_oip, path};
use crate::backends::Via;
use crate::data::Samples;
use crate::deploy::{ClusterConfig, Offer, port};
use crate::model::Port;
use crate::output::{Batch, Output, Phase};
use crate::{Error, Result};
use std::time::Instant;
use subrosa_core::Cost;
use subrosa_mpc::relayed::Outline;
use ureq::http::StatusCode;

/// What inputs are shared and sealed by: a model's outline, and keys that the parties vouch for.
pub struct Shares {
    parties: ClusterConfig,
    outline: Outline,
    keys: Vec<[u8; 32]>,
    setup: Phase,
}

impl Client {
    /// Fetches a model's outline and the parties' sealing keys, and checks that the parties of this
    /// configuration vouch for them.
    ///
    /// **Errors:** [`Error::Peer`] if the gateway refuses or is gone, or offers other parties' keys.
    pub fn shares(&self, model: &str, version: Option<u64>, parties: &ClusterConfig) -> Result<Shares> {
        let start = Instant::now();
        let answer = self.http.get(&(path(model, version) + "/sharing"), MOST_OFFER)?.accepted()?;
        let offer: Offer = serde_json::from_slice(&answer.body).map_err(|e| no_oip(&e))?;
        let (outline, keys) = offer.check(&parties.parties)?;
        let offered = outline.sharing.name();
        if parties.protocol.name() != offered || outline.model != model {
            let message =
                format!("the gateway offers another model, or via {offered}, not via {}", parties.protocol.name());
            return Err(Error::Peer { message });
        }
        let setup =
            Phase { cost: Cost { rounds: 2, bytes: answer.body.len() as u64 }, ..Phase::local(start.elapsed()) };
        Ok(Shares { parties: parties.clone(), outline, keys, setup })
    }

    /// Computes all samples on shares in batches of `batch`; after each, `watch` is told how many are done.
    ///
    /// **Errors:** [`Error::Input`] for values outside the model's range; [`Error::Peer`].
    pub fn run_shared(
        &self,
        model: &ServedModel,
        shares: &mut Shares,
        samples: &Samples,
        batch: usize,
        watch: &mut dyn FnMut(usize, usize),
    ) -> Result<Output> {
        let mut output = Output {
            model: model.name.clone(),
            via: Via::from(shares.parties.protocol),
            labels_only: shares.outline.labels_only,
            samples: 0,
            ports: model.outputs.clone(),
            values: vec![Vec::new(); model.outputs.len()],
            setup: shares.setup,
            batches: Vec::new(),
        };
        for first in (0..samples.count).step_by(batch.max(1)) {
            let count = batch.max(1).min(samples.count - first);
            let part = |(port, values): (&Port, &Vec<f32>)| {
                let len = port.sample_len();
                values.get(first * len..(first + count) * len).unwrap_or_default().to_vec()
            };
            let inputs: Vec<Vec<f32>> = model.inputs.iter().zip(&samples.inputs).map(part).collect();
            let start = Instant::now();
            let (found, cost) = self.infer_shared(model, shares, &inputs)?;
            output.values.iter_mut().zip(found).for_each(|(all, new)| all.extend(new));
            let online = Phase { cost, ..Phase::local(start.elapsed()) };
            output.batches.push(Batch { samples: count, offline: Phase::default(), online });
            output.samples += count;
            watch(output.samples, samples.count);
        }
        Ok(output)
    }

    fn infer_shared(
        &self,
        model: &ServedModel,
        shares: &mut Shares,
        inputs: &[Vec<f32>],
    ) -> Result<(Vec<Vec<f32>>, Cost)> {
        let url = path(&model.name, model.version) + "/shared-infer";
        let (mut sent, mut again) = (0, 0);
        loop {
            let (request, asked) = shares.outline.ask(&shares.keys, inputs)?;
            sent += request.len();
            let answer = self.http.post(&url, &[("content-type", BYTES)], &request, MOST_ANSWER)?;
            // Keys change, a party starts anew, a box comes twice: shares made anew pass.
            if answer.status == StatusCode::CONFLICT && again < MOST_AGAIN {
                again += 1;
                let fresh = self.shares(&model.name, model.version, &shares.parties)?;
                if fresh.outline != shares.outline {
                    return Err(Error::Peer { message: "the gateway offers another model than it did".to_owned() });
                }
                *shares = Shares { setup: shares.setup, ..fresh };
                continue;
            }
            let body = answer.accepted()?.body;
            let found = asked.read(&shares.outline, &body)?;
            return Ok((found, Cost { rounds: 2 + 4 * again as u64, bytes: (sent + body.len()) as u64 }));
        }
    }
}

impl Shares {
    /// The model, as its outline says.
    pub fn model(&self, version: Option<u64>) -> ServedModel {
        let inputs = self.outline.inputs.iter().map(|input| port(&input.port)).collect();
        let outputs = self.outline.outputs.iter().map(port).collect();
        ServedModel { name: self.outline.model.clone(), version, inputs, outputs }
    }

    /// In words: who gets the shares.
    pub fn terms(&self) -> String {
        let names: Vec<&str> = self.parties.parties.iter().map(|party| party.name.as_str()).collect();
        format!("shares for {}, each sealed to a key that its party vouches for", names.join(", "))
    }

    /// Whether the parties know the weights.
    pub fn public_weights(&self) -> bool {
        self.outline.public_weights
    }
}

/// How often a request is made anew.
const MOST_AGAIN: usize = 2;

/// The longest description of a model and its parties.
const MOST_OFFER: u64 = 1 << 20;

/// The longest answer.
const MOST_ANSWER: u64 = 1 << 28;
