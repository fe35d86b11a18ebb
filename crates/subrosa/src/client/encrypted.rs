//! Inference on ciphertexts by a server: it gets evaluation keys and encrypted inputs, never an
//! input or the secret key.

use super::http::BYTES;
use super::{Client, ServedModel, path};
use crate::backends::Via;
use crate::ckks::service::KeysId;
use crate::data::Samples;
use crate::output::{Batch, Output, Phase};
use crate::session::check_values;
use crate::{Error, Result};
use std::time::Instant;
use subrosa_core::Cost;
use subrosa_graph::InputRange;
use subrosa_he::{PublicPlan, files};
use ureq::http::StatusCode;

/// A client's keys for one model of a server. They live as long as this: nothing is written to
/// disk, and another process makes its own.
pub struct Encryption {
    client: subrosa_he::Client,
    id: KeysId,
    /// Kept, since a server may forget them.
    keys: Vec<u8>,
    setup: Phase,
}

impl Client {
    /// Fetches the model's plan for so many samples, makes keys for it and gives the server those
    /// that it needs. With many samples that is a plan that computes many at once, if the server has
    /// one.
    ///
    /// **Cost:** the plan down and the evaluation keys up: 15 MB to 400 MB.
    ///
    /// **Errors:** [`Error::Peer`] if the server refuses or is gone, or its plan is not one for the
    /// model that it describes; [`Error::Input`] for a plan that is none, insecure or too large;
    /// [`Error::Io`] without randomness.
    pub fn encryption(&self, model: &ServedModel, samples: usize) -> Result<Encryption> {
        let start = Instant::now();
        let url = format!("{}/encryption-plan?samples={samples}", path(&model.name, model.version));
        let answer = self.http.get(&url, MOST_PLAN)?.accepted()?;
        let plan = PublicPlan::from_bytes(&answer.body)?;
        fits(&plan, model)?;
        let client = subrosa_he::Client::new(plan)?;
        let (secret, keys) = files::key_files(&client)?;
        drop(secret);
        let id = KeysId::of(&keys);
        let mut encryption = Encryption { client, id, keys, setup: Phase::default() };
        self.give(&encryption)?;
        let bytes = (answer.body.len() + encryption.keys.len()) as u64;
        encryption.setup = Phase { cost: Cost { rounds: 4, bytes }, ..Phase::local(start.elapsed()) };
        Ok(encryption)
    }

    /// Computes all samples on ciphertexts, as many at a time as the plan says; after each time
    /// `watch` is told how many are done.
    ///
    /// **Errors:** [`Error::Input`] for values outside the plan's range, or an answer that is none;
    /// [`Error::Peer`].
    pub fn run_encrypted(
        &self,
        model: &ServedModel,
        encryption: &Encryption,
        samples: &Samples,
        watch: &mut dyn FnMut(usize, usize),
    ) -> Result<Output> {
        let plan = encryption.client.plan();
        let values = samples.inputs.first().map_or(&[][..], Vec::as_slice);
        let (lo, hi) = plan.input_range;
        for port in &model.inputs {
            check_values(values, port, Some(&InputRange { lo, hi }), 0)?;
        }
        let mut output = Output {
            model: model.name.clone(),
            via: Via::Ckks,
            labels_only: false,
            samples: 0,
            ports: model.outputs.clone(),
            values: vec![Vec::new()],
            setup: encryption.setup,
            batches: Vec::new(),
        };
        for part in values.chunks(plan.input_len * plan.batch()) {
            let start = Instant::now();
            let (found, cost) = self.infer_encrypted(model, encryption, part)?;
            let count = part.len() / plan.input_len;
            output.values.iter_mut().for_each(|values| values.extend(&found));
            let online = Phase { cost, ..Phase::local(start.elapsed()) };
            output.batches.push(Batch { samples: count, offline: Phase::default(), online });
            output.samples += count;
            watch(output.samples, samples.count);
        }
        Ok(output)
    }

    fn infer_encrypted(&self, model: &ServedModel, own: &Encryption, values: &[f32]) -> Result<(Vec<f32>, Cost)> {
        let plan = own.client.plan();
        let request = files::request_to_bytes(plan, own.id.digest(), &own.client.encrypt(values)?);
        let url = path(&model.name, model.version) + "/encrypted-infer";
        let ask = || self.http.post(&url, &[("content-type", BYTES)], &request, MOST_ANSWER);
        let mut answer = ask()?;
        let mut again = 0;
        // Others' keys took the place of ours.
        while answer.status == StatusCode::CONFLICT && again < MOST_AGAIN {
            self.give(own)?;
            answer = ask()?;
            again += 1;
        }
        let body = answer.accepted()?.body;
        let decrypted = own.client.decrypt(&files::answer_from_bytes(plan, own.id.digest(), &body)?)?;
        let sent = request.len() * (again + 1) + own.keys.len() * again;
        Ok((decrypted, Cost { rounds: 2 + 4 * again as u64, bytes: (sent + body.len()) as u64 }))
    }

    fn give(&self, own: &Encryption) -> Result<()> {
        let url = format!("/v2/keys/{}", own.id);
        self.http.put(&url, &[("content-type", BYTES)], &own.keys, MOST_SAID_OF_KEYS)?.accepted().map(drop)
    }
}

impl Encryption {
    /// Bytes of the evaluation keys that the server was given.
    pub fn key_bytes(&self) -> usize {
        self.keys.len()
    }

    /// The plan's parameters in one line.
    pub fn terms(&self) -> String {
        let plan = self.client.plan();
        let (n, bits) = (plan.params.n(), subrosa_he::CLAIM.security_bits);
        let samples = crate::text::counted(plan.batch(), "sample");
        format!("N = {n}, {bits} bits of security, {samples} a request, keys {}", self.id)
    }
}

/// **Errors:** [`Error::Peer`] unless the plan takes and gives what the model does.
fn fits(plan: &PublicPlan, model: &ServedModel) -> Result<()> {
    let one = |ports: &[crate::Port], len: usize| matches!(ports, [port] if port.sample_len() == len);
    if one(&model.inputs, plan.input_len) && one(&model.outputs, plan.output_len) {
        return Ok(());
    }
    Err(Error::Peer { message: format!("the server's plan is not one for its model '{}'", model.name) })
}

/// The longest plan that is read: what it lays out are slots, 4 bytes each.
const MOST_PLAN: u64 = 64 << 20;

/// The longest answer that is read.
const MOST_ANSWER: u64 = 1 << 30;

/// The longest description of keys.
const MOST_SAID_OF_KEYS: u64 = 64 << 10;

/// How often keys are given anew for one request.
const MOST_AGAIN: usize = 2;
