//! A client of `subrosa serve`, or in the clear of any server of the Open Inference Protocol.

mod encrypted;
mod http;
mod inner;
mod shared;

pub use encrypted::Encryption;
pub use inner::Inner;
pub use shared::Shares;

use crate::attest::enclave::{Configuration, Offer};
use crate::attest::{Expected, Inquiry, Link, Trust};
use crate::backends::Via;
use crate::data::Samples;
use crate::model::Port;
use crate::oip::{HEADER_LENGTH, InferRequest, InferResponse, Tensor};
use crate::output::{Batch, Output, Phase};
use crate::{Error, Result};
use http::{BYTES, Http, JSON, printable};
use serde::Deserialize;
use std::path::Path;
use std::time::{Duration, Instant};
use subrosa_core::{Cost, Secret};

/// A server elsewhere.
pub struct Client {
    http: Http,
}

/// A model that a server has, as it says itself.
#[derive(Clone, Debug)]
pub struct ServedModel {
    /// Its name.
    pub name: String,
    /// The version asked for.
    pub version: Option<u64>,
    /// Its inputs.
    pub inputs: Vec<Port>,
    /// Its outputs.
    pub outputs: Vec<Port>,
}

/// How requests go to a model.
#[derive(Clone, Debug)]
pub enum Way {
    /// In the clear: the server sees everything.
    Plain,
    /// To a verified program only.
    Attested(Box<Link>),
}

#[derive(Deserialize)]
struct MetadataJson {
    inputs: Vec<PortJson>,
    outputs: Vec<PortJson>,
}

#[derive(Deserialize)]
struct PortJson {
    name: String,
    shape: Vec<i64>,
}

impl Client {
    /// A client of the server at `url`, such as `http://127.0.0.1:8080`. `ca` holds the
    /// certificates (PEM) that `https` rests on: none are built in. Waits up to `patience` for
    /// an answer.
    ///
    /// **Errors:** [`Error::Io`]; [`Error::Misuse`] for what is no such URL, or `https` without
    /// `ca`.
    pub fn new(url: &str, ca: Option<&Path>, patience: Duration) -> Result<Self> {
        Ok(Self { http: Http::new(url, ca, patience)? })
    }

    /// The same, that says who it is to a server that asks.
    ///
    /// **Errors:** [`Error::Input`] for what cannot be a key.
    pub fn with_api_key(mut self, key: &Secret<String>) -> Result<Self> {
        self.http.authorise(key)?;
        Ok(self)
    }

    /// Fetches the very URL of this client, and succeeds if that does.
    ///
    /// **Errors:** [`Error::Peer`] if there is no answer in time, or a refusal.
    pub fn health(&self) -> Result<()> {
        self.http.get("", MOST_SAID_OF_ITSELF)?.accepted().map(|_| ())
    }

    /// Asks for a model's inputs and outputs.
    ///
    /// **Errors:** [`Error::Peer`].
    pub fn model(&self, name: &str, version: Option<u64>) -> Result<ServedModel> {
        let answer = self.http.get(&path(name, version), MOST_SAID_OF_ITSELF)?.accepted()?;
        let read: MetadataJson = serde_json::from_slice(&answer.body).map_err(|e| no_oip(&e))?;
        let ports = |ports: &[PortJson]| ports.iter().map(PortJson::port).collect::<Result<Vec<_>>>();
        Ok(ServedModel { name: name.to_owned(), version, inputs: ports(&read.inputs)?, outputs: ports(&read.outputs)? })
    }

    /// Asks the program that serves a model for evidence, and verifies it. What the model takes and
    /// gives is told under attestation too: a host that swapped names would be noticed.
    ///
    /// **Errors:** [`Error::Peer`] with the reason why it is not trusted.
    pub fn verify(&self, inquiry: Inquiry, expected: &Expected, trust: &Trust) -> Result<(ServedModel, Link)> {
        let url = path(&expected.model, expected.version) + "/attestation";
        let wish = serde_json::to_vec(&inquiry.wish()).map_err(|e| no_oip(&e))?;
        let answer = self.http.post(&url, &[("content-type", JSON)], &wish, MOST_SAID_OF_ITSELF)?.accepted()?;
        let offer: Offer = serde_json::from_slice(&answer.body).map_err(|e| no_oip(&e))?;
        let link = inquiry.judge(&offer, expected, trust)?;
        let Configuration { inputs, outputs, .. } = link.configuration();
        let ports = |ports: &[Port]| ports.iter().cloned().map(sound).collect::<Result<Vec<_>>>();
        let (inputs, outputs) = (ports(inputs)?, ports(outputs)?);
        Ok((ServedModel { name: expected.model.clone(), version: expected.version, inputs, outputs }, link))
    }

    /// Computes one request; gives the answer, and the bytes sent and received.
    ///
    /// **Errors:** [`Error::Peer`] if the server refuses or is gone; [`Error::Input`] for an
    /// answer that is none.
    pub fn infer(&self, model: &ServedModel, way: &Way, request: &InferRequest) -> Result<(InferResponse, u64)> {
        let url = path(&model.name, model.version);
        let message = request.encode()?;
        match way {
            Way::Plain => {
                let length = message.json.map(|n| n.to_string());
                let mut headers = vec![("content-type", if length.is_some() { BYTES } else { JSON })];
                headers.extend(length.as_deref().map(|n| (HEADER_LENGTH, n)));
                let answer = self.http.post(&(url + "/infer"), &headers, &message.body, MOST_BYTES)?.accepted()?;
                let (body, json) = (answer.body, answer.json);
                Ok((InferResponse::decode(&body, json)?, (message.body.len() + body.len()) as u64))
            }
            Way::Attested(link) => {
                let (sealed, awaited) = link.seal(&Inner::request(&message))?;
                let url = url + "/sealed-infer";
                let answered = self.http.post(&url, &[("content-type", BYTES)], &sealed, MOST_BYTES)?.accepted()?;
                let opened = awaited.open(&answered.body)?;
                let answer = Inner::read_answer(&opened)?;
                Ok((InferResponse::decode(answer.body, answer.json)?, (sealed.len() + answered.body.len()) as u64))
            }
        }
    }

    /// Computes all samples in batches of `batch`; after each, `watch` is told how many are done.
    ///
    /// **Errors:** those of [`Client::infer`].
    pub fn run(
        &self,
        model: &ServedModel,
        way: &Way,
        samples: &Samples,
        batch: usize,
        watch: &mut dyn FnMut(usize, usize),
    ) -> Result<Output> {
        let mut output = Output {
            model: model.name.clone(),
            via: match way {
                Way::Plain => Via::Plain,
                Way::Attested(_) => Via::Tee,
            },
            labels_only: false,
            samples: 0,
            ports: model.outputs.clone(),
            values: vec![Vec::new(); model.outputs.len()],
            setup: Phase::default(),
            batches: Vec::new(),
        };
        for first in (0..samples.count).step_by(batch.max(1)) {
            let count = batch.max(1).min(samples.count - first);
            let request = request(model, samples, first, count);
            let start = Instant::now();
            let (response, bytes) = self.infer(model, way, &request)?;
            let online = Phase { cost: Cost { rounds: 2, bytes }, ..Phase::local(start.elapsed()) };
            for (port, values) in model.outputs.iter().zip(&mut output.values) {
                values.extend(expect(&response, port, count)?);
            }
            output.batches.push(Batch { samples: count, offline: Phase::default(), online });
            output.samples += count;
            watch(output.samples, samples.count);
        }
        Ok(output)
    }
}

impl PortJson {
    fn port(&self) -> Result<Port> {
        let batched = self.shape.first() == Some(&-1);
        let dims = self.shape.iter().enumerate().map(|(i, &d)| match (i, d) {
            (0, -1) => Some(1),
            (_, d) => usize::try_from(d).ok(),
        });
        let shape: Option<Vec<usize>> = dims.collect();
        shape.map(|shape| Port { name: self.name.clone(), shape, batched }).ok_or_else(no_shape).and_then(sound)
    }
}

/// A port from elsewhere whose tensors can be held.
fn sound(port: Port) -> Result<Port> {
    let batched = !port.batched || port.shape.first() == Some(&1);
    match batched && port.checked_len().is_some_and(|n| n <= MOST_VALUES) {
        true => Ok(port),
        false => Err(no_shape()),
    }
}

fn no_shape() -> Error {
    Error::Peer { message: "the server's model has a shape that no tensor has".to_owned() }
}

fn request(model: &ServedModel, samples: &Samples, first: usize, count: usize) -> InferRequest {
    let tensor = |(port, values): (&Port, &Vec<f32>)| {
        let len = port.sample_len();
        let mut shape = port.shape.clone();
        if let Some(batch) = shape.first_mut().filter(|_| port.batched) {
            *batch = count;
        }
        let values = values.get(first * len..(first + count) * len).unwrap_or_default().to_vec();
        Tensor { name: port.name.clone(), shape, values }
    };
    let inputs = model.inputs.iter().zip(&samples.inputs).map(tensor).collect();
    InferRequest { inputs, binary: true, ..InferRequest::default() }
}

fn expect<'a>(response: &'a InferResponse, port: &Port, count: usize) -> Result<&'a [f32]> {
    let found = response.outputs.iter().find(|(tensor, _)| tensor.name == port.name);
    let values = found.map(|(tensor, _)| tensor.values.as_slice());
    values.filter(|v| Some(v.len()) == count.checked_mul(port.sample_len())).ok_or_else(|| {
        let message = format!("the answer has no output '{}' of {count} samples", port.name);
        Error::Peer { message }
    })
}

fn path(name: &str, version: Option<u64>) -> String {
    let name: String = name.bytes().map(escaped).collect();
    match version {
        None => format!("/v2/models/{name}"),
        Some(version) => format!("/v2/models/{name}/versions/{version}"),
    }
}

/// RFC 3986 §2.3: what is not unreserved is escaped.
fn escaped(byte: u8) -> String {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    }
}

fn no_oip(error: &serde_json::Error) -> Error {
    let said = printable(&error.to_string());
    Error::Peer { message: format!("the server does not speak the Open Inference Protocol: {said}") }
}

/// The longest answer that is read.
const MOST_BYTES: u64 = 1 << 30;

/// The longest description of a model, or evidence with collateral.
const MOST_SAID_OF_ITSELF: u64 = 2 << 20;

/// The most values of one sample of a served model.
const MOST_VALUES: usize = 1 << 28;
