//! A client of `subrosa serve`, or in the clear of any server of the Open Inference Protocol.

use crate::attest::enclave::{Configuration, Offer};
use crate::attest::{Expected, Inquiry, Link, Trust};
use crate::backends::Via;
use crate::data::Samples;
use crate::model::Port;
use crate::oip::{ErrorBody, HEADER_LENGTH, InferRequest, InferResponse, Message, Tensor};
use crate::output::{Batch, Output, Phase};
use crate::{Error, Result};
use serde::Deserialize;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use subrosa_core::Cost;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

/// A server elsewhere.
pub struct Client {
    agent: ureq::Agent,
    base: String,
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
        let secure = url.starts_with("https://");
        if !secure && !url.starts_with("http://") {
            return Err(Error::misuse(format!("'{url}' is no URL of a server"), "give one such as http://HOST:8080"));
        }
        let roots = match (ca, secure) {
            (Some(path), _) => certificates(path)?,
            (None, false) => Vec::new(),
            (None, true) => {
                return Err(Error::misuse("no certificate authority is built in", "give --ca FILE for an https URL"));
            }
        };
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::Specific(Arc::new(roots)))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .build();
        let config = ureq::Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .timeout_global(Some(patience))
            .build();
        Ok(Self { agent: config.new_agent(), base: url.trim_end_matches('/').to_owned() })
    }

    /// Asks for a model's inputs and outputs.
    ///
    /// **Errors:** [`Error::Peer`].
    pub fn model(&self, name: &str, version: Option<u64>) -> Result<ServedModel> {
        let (body, _) = self.get(&path(name, version))?;
        let read: MetadataJson = serde_json::from_slice(&body).map_err(|e| no_oip(&e))?;
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
        let (body, _) = self.post(&url, &[("content-type", JSON)], &wish, MOST_SAID_OF_ITSELF)?;
        let offer: Offer = serde_json::from_slice(&body).map_err(|e| no_oip(&e))?;
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
                let (body, json) = self.post(&(url + "/infer"), &headers, &message.body, MOST_BYTES)?;
                Ok((InferResponse::decode(&body, json)?, (message.body.len() + body.len()) as u64))
            }
            Way::Attested(link) => {
                let (sealed, awaited) = link.seal(&Inner::request(&message))?;
                let (body, _) = self.post(&(url + "/sealed-infer"), &[("content-type", BYTES)], &sealed, MOST_BYTES)?;
                let opened = awaited.open(&body)?;
                let answer = Inner::read_answer(&opened)?;
                Ok((InferResponse::decode(answer.body, answer.json)?, (sealed.len() + body.len()) as u64))
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

    fn get(&self, path: &str) -> Result<(Vec<u8>, Option<usize>)> {
        self.finish(self.agent.get(self.base.clone() + path).call(), MOST_SAID_OF_ITSELF)
    }

    fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8], most: u64) -> Result<(Vec<u8>, Option<usize>)> {
        let mut request = self.agent.post(self.base.clone() + path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.finish(request.send(body), most)
    }

    /// The body, and the value of [`HEADER_LENGTH`].
    fn finish(
        &self,
        response: std::result::Result<ureq::http::Response<ureq::Body>, ureq::Error>,
        most: u64,
    ) -> Result<(Vec<u8>, Option<usize>)> {
        let gone = |e: ureq::Error| Error::Peer { message: format!("no answer from {}: {e}", self.base) };
        let mut response = response.map_err(gone)?;
        let status = response.status();
        let json = response.headers().get(HEADER_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
        let body = response.body_mut().with_config().limit(most).read_to_vec().map_err(gone)?;
        if status.is_success() {
            return Ok((body, json));
        }
        let said = serde_json::from_slice::<ErrorBody>(&body).map(|e| e.error);
        let said = said.unwrap_or_else(|_| "without saying why".to_owned());
        let said = printable(&said);
        Err(Error::Peer { message: format!("{} refuses ({}): {said}", self.base, status.as_u16()) })
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

/// What is sealed: a request, or the answer with its status.
pub struct Inner<'a> {
    /// 200, or the status of a refusal.
    pub status: u16,
    /// The length of the JSON, if bytes follow it.
    pub json: Option<usize>,
    /// The message's body.
    pub body: &'a [u8],
}

impl<'a> Inner<'a> {
    fn request(message: &Message) -> Vec<u8> {
        [&length(message.json)[..], &message.body].concat()
    }

    /// Reads what [`Client::infer`] seals.
    ///
    /// **Errors:** [`Error::Input`] if it is none.
    pub fn read_request(bytes: &'a [u8]) -> Result<Self> {
        let (json, body) = bytes.split_first_chunk::<8>().ok_or_else(cut)?;
        Ok(Self { status: 200, json: unlength(*json), body })
    }

    /// An answer as it is sealed.
    pub fn answer(status: u16, message: &Message) -> Vec<u8> {
        [&status.to_le_bytes()[..], &length(message.json), &message.body].concat()
    }

    /// **Errors:** [`Error::Input`] if it is none; [`Error::Peer`] with a refusal's words.
    fn read_answer(bytes: &'a [u8]) -> Result<Self> {
        let (status, rest) = bytes.split_first_chunk::<2>().ok_or_else(cut)?;
        let (json, body) = rest.split_first_chunk::<8>().ok_or_else(cut)?;
        let status = u16::from_le_bytes(*status);
        if status == 200 {
            return Ok(Self { status, json: unlength(*json), body });
        }
        let said = serde_json::from_slice::<ErrorBody>(body).map_or_else(|_| "no reason".to_owned(), |e| e.error);
        Err(Error::Peer { message: format!("the program refuses ({status}): {}", printable(&said)) })
    }
}

fn length(json: Option<usize>) -> [u8; 8] {
    json.map_or(u64::MAX, |n| n as u64).to_le_bytes()
}

fn unlength(bytes: [u8; 8]) -> Option<usize> {
    match u64::from_le_bytes(bytes) {
        u64::MAX => None,
        n => Some(usize::try_from(n).unwrap_or(usize::MAX)),
    }
}

fn cut() -> Error {
    Error::input("the sealed message is cut off", "")
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

fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>> {
    let pem = std::fs::read(path).map_err(|e| Error::io("read", path, &e))?;
    let found = parse_pem(&pem).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        Ok(_) | Err(_) => None,
    });
    let found: Vec<_> = found.collect();
    match found.is_empty() {
        true => Err(Error::input("it holds no certificate", "give PEM").in_file(path)),
        false => Ok(found),
    }
}

fn no_oip(error: &serde_json::Error) -> Error {
    let said = printable(&error.to_string());
    Error::Peer { message: format!("the server does not speak the Open Inference Protocol: {said}") }
}

/// What a server says, as it is repeated: no control characters of its own, and not too much.
fn printable(said: &str) -> String {
    said.chars().filter(|c| !c.is_control()).take(MOST_SAID).collect()
}

const JSON: &str = "application/json";
const BYTES: &str = "application/octet-stream";

/// The longest answer that is read.
const MOST_BYTES: u64 = 1 << 30;

/// The longest description of a model, or evidence with collateral.
const MOST_SAID_OF_ITSELF: u64 = 2 << 20;

/// The most of a refusal's words that are repeated.
const MOST_SAID: usize = 1000;

/// The most values of one sample of a served model.
const MOST_VALUES: usize = 1 << 28;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_words_of_a_server_steer_a_terminal() {
        let said = br#"{"error":"a\u001b[2Jb"}"#.to_vec();
        let answer = Inner::answer(400, &Message { body: said, json: None });
        let refused = Inner::read_answer(&answer).err().unwrap().to_string();
        assert!(refused.contains("a[2Jb") && !refused.contains('\u{1b}'), "{refused}");
        let wrong = serde_json::from_str::<ErrorBody>("{\"error\": 1").err().unwrap();
        assert!(no_oip(&wrong).to_string().contains("does not speak"));
        assert_eq!(printable(&"\u{1b}x".repeat(2000)).len(), MOST_SAID);
    }
}
