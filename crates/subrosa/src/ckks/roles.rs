//! Client and server apart: everything between them is a file.
//!
//! The model's owner hands out the public plan ([`save_plan`]); the client makes its two
//! key files ([`keygen`]), keeps one and sends the other; [`encrypt`], [`evaluate`] and
//! [`decrypt`] follow. The server never holds a secret key, the client never a weight.

use super::store::{Most, read, write, write_secret};
use crate::backends::Via;
use crate::data::Samples;
use crate::model::{Model, Port};
use crate::output::{Batch, Output, Phase};
use crate::plan::Plan;
use crate::{Error, Result};
use std::path::Path;
use std::time::Instant;
use subrosa_he::circuit::Circuit;
use subrosa_he::{Client, PublicPlan, Server, files};

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Written {
    /// Its size.
    pub bytes: usize,
    /// BLAKE3 of the evaluation keys that the file belongs to, in hexadecimal.
    pub keys: String,
    /// Samples in it.
    pub samples: usize,
}

/// Saves the public half of a plan: what a client needs.
///
/// **Errors:** [`Error::Misuse`] for a plan of another backend, [`Error::Io`].
pub fn save_plan(plan: &Plan, path: &Path) -> Result<()> {
    let Some(ckks) = &plan.inner.ckks else {
        return Err(Error::misuse("only a plan via ckks has a file for clients", "add --via ckks"));
    };
    write(path, &ckks.plan.public.to_bytes())
}

/// Makes a client's keys: `secret` for itself, readable by its owner alone, and `public`
/// for the server.
///
/// **Errors:** [`Error::Io`]; [`Error::Input`] for what is no plan; [`Error::Misuse`] if
/// `secret` exists, or both are one file: keys are never overwritten, by no function here.
pub fn keygen(plan: &Path, secret: &Path, public: &Path) -> Result<Written> {
    if secret == public {
        return Err(Error::misuse("both keys cannot go into one file", "name two: the server gets one of them"));
    }
    let plan = PublicPlan::from_bytes(&read(plan, Most::PLAN)?).map_err(|e| Error::from(e).in_file(plan))?;
    let (own, sent) = files::key_files(&Client::new(plan)?)?;
    write(public, &sent)?;
    write_secret(secret, own.expose())?;
    Ok(Written { bytes: sent.len(), keys: digest(blake3::hash(&sent).as_bytes()), samples: 0 })
}

/// Encrypts samples with a client's key.
///
/// **Errors:** [`Error::Io`], [`Error::Input`].
pub fn encrypt(secret: &Path, samples: &Samples, request: &Path) -> Result<Written> {
    let (client, bundle) = client(secret)?;
    let input = client.encrypt(samples.inputs.first().map_or(&[][..], Vec::as_slice))?;
    let bytes = files::request_to_bytes(client.plan(), &bundle, &input);
    write(request, &bytes)?;
    Ok(Written { bytes: bytes.len(), keys: digest(&bundle), samples: input.samples })
}

/// The input that a client's key was planned for, as samples are fitted to it, and the most
/// samples in one request.
///
/// **Errors:** [`Error::Io`], [`Error::Input`].
pub fn input_port(secret: &Path) -> Result<(Port, usize)> {
    let (client, _) = client(secret)?;
    let plan = client.plan();
    Ok((Port { name: "input".to_owned(), shape: vec![1, plan.input_len], batched: true }, plan.batch()))
}

/// Computes a request: the server's part. It reads the model, evaluation keys and a
/// request, and writes an answer. `samples` is the calibration data that the model was
/// planned on; it matters only where activations are approximated. `threads >= 1`.
///
/// **Errors:** [`Error::Io`]; [`Error::Input`] for files that are damaged or of another plan
/// or key; [`Error::Plan`] if the keys were made for another model; [`Error::Misuse`] for a
/// number of threads that cannot be.
pub fn evaluate(
    model: &Model,
    keys: &Path,
    request: &Path,
    answer: &Path,
    samples: &[Vec<f32>],
    threads: usize,
) -> Result<Written> {
    crate::plan::check_threads(threads)?;
    let circuit = Circuit::import(model.graph().graph())?;
    let (public, evaluation, bundle) =
        files::bundle_from_bytes(&read(keys, Most::KEYS)?).map_err(|e| Error::from(e).in_file(keys))?;
    // Before any work: keys of others may be for anything.
    subrosa_he::Plan::check_shape(&circuit, &public)?;
    let samples = super::calibration(&circuit, samples, public.input_len);
    let plan = subrosa_he::Plan::from_public(&circuit.approximated(&samples)?.circuit, &public)?;
    super::check_memory(&plan)?;
    let input = files::request_from_bytes(&public, &bundle, &read(request, Most::request(&public))?);
    let input = input.map_err(|e| Error::from(e).in_file(request))?;
    let mut server = Server::new(&plan)?;
    server.set_threads(threads)?;
    let output = server.evaluate(&evaluation, input)?;
    let bytes = files::answer_to_bytes(&public, &bundle, &output);
    write(answer, &bytes)?;
    Ok(Written { bytes: bytes.len(), keys: digest(&bundle), samples: output.samples })
}

/// Decrypts an answer: for the key's owner, or with `publish` bits of noise for anybody.
///
/// **Errors:** [`Error::Io`], [`Error::Input`]; also for a plan without room for the noise.
pub fn decrypt(secret: &Path, answer: &Path, publish: Option<u32>) -> Result<Output> {
    let start = Instant::now();
    let (client, bundle) = client(secret)?;
    let plan = client.plan();
    let encrypted = files::answer_from_bytes(plan, &bundle, &read(answer, Most::answer(plan))?);
    let encrypted = encrypted.map_err(|e| Error::from(e).in_file(answer))?;
    let values = match publish {
        None => client.decrypt(&encrypted)?,
        Some(bits) => client.decrypt_to_publish(&encrypted, bits)?.values,
    };
    let samples = encrypted.samples;
    Ok(Output {
        model: plan.model.clone(),
        via: Via::Ckks,
        labels_only: false,
        samples,
        ports: vec![Port { name: "output".to_owned(), shape: vec![1, plan.output_len], batched: true }],
        values: vec![values],
        setup: Phase::default(),
        batches: vec![Batch { samples, offline: Phase::default(), online: Phase::local(start.elapsed()) }],
    })
}

fn client(secret: &Path) -> Result<(Client, files::Digest)> {
    let bytes = subrosa_core::Secret::new(read(secret, Most::PLAN)?);
    files::client_from_bytes(bytes.expose()).map_err(|e| Error::from(e).in_file(secret))
}

fn digest(bytes: &[u8]) -> String {
    crate::model::hex(bytes)
}
