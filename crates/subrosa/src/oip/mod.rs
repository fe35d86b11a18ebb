//! The messages of the Open Inference Protocol, version 2, over HTTP, with its extension for
//! binary tensors.
//!
//! **Source:** <https://github.com/kserve/open-inference-protocol>, and for binary tensors
//! <https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md>.
//! Models here take and give 32-bit floating point, so `FP32` is the one datatype.
//!
//! **Invariant:** memory is taken for what a message holds, not for what it announces.

mod few;
mod flat;
mod tensor;
#[cfg(test)]
mod tests;

pub use tensor::Tensor;

use crate::model::Port;
use crate::session::check_values;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use tensor::{Given, Written};

/// The header that gives the length of the JSON before binary tensors.
pub const HEADER_LENGTH: &str = "inference-header-content-length";

/// A request to compute a model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InferRequest {
    /// The client's name for it, given back with the answer.
    pub id: Option<String>,
    /// Its tensors.
    pub inputs: Vec<Tensor>,
    /// Which outputs are wanted, and how; all if empty.
    pub outputs: Vec<Wanted>,
    /// Whether outputs that say nothing of it are wanted as bytes.
    pub binary: bool,
}

/// An output that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// Whether as bytes; as the request says if none.
    pub binary: Option<bool>,
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq)]
pub struct InferResponse {
    /// The model's name.
    pub model: String,
    /// Its version.
    pub version: Option<String>,
    /// The request's name.
    pub id: Option<String>,
    /// What protects nothing, if anything does not: `SIMULATED, NO CONFIDENTIALITY`.
    pub warning: Option<String>,
    /// Its tensors, each with whether it is written as bytes.
    pub outputs: Vec<(Tensor, bool)>,
}

/// What an error looks like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What is wrong, and the way out.
    pub error: String,
}

/// A message: JSON, and after it the bytes of binary tensors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// All of it.
    pub body: Vec<u8>,
    /// The length of the JSON, if bytes follow it.
    pub json: Option<usize>,
}

#[derive(Deserialize)]
struct RequestJson {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    parameters: Option<RequestParameters>,
    #[serde(deserialize_with = "few::few::<_, _, MAX_TENSORS>")]
    inputs: Vec<Given>,
    #[serde(default, deserialize_with = "few::few::<_, _, MAX_TENSORS>")]
    outputs: Vec<WantedJson>,
}

#[derive(Default, Serialize, Deserialize)]
struct RequestParameters {
    #[serde(default)]
    binary_data_output: bool,
}

#[derive(Serialize, Deserialize)]
struct WantedJson {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parameters: Option<WantedParameters>,
}

#[derive(Serialize, Deserialize)]
struct WantedParameters {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    binary_data: Option<bool>,
}

#[derive(Serialize)]
struct RequestOut<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: &'a Option<String>,
    parameters: RequestParameters,
    inputs: Vec<Written<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    outputs: Vec<WantedJson>,
}

#[derive(Serialize, Deserialize, Default)]
struct ResponseParameters {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    warning: Option<String>,
}

#[derive(Serialize)]
struct ResponseOut<'a> {
    model_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    model_version: &'a Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: &'a Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<ResponseParameters>,
    outputs: Vec<Written<'a>>,
}

#[derive(Deserialize)]
struct ResponseJson {
    model_name: String,
    #[serde(default)]
    model_version: Option<String>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    parameters: Option<ResponseParameters>,
    #[serde(deserialize_with = "few::few::<_, _, MAX_TENSORS>")]
    outputs: Vec<Given>,
}

impl InferRequest {
    /// Reads a request. `json` is the value of [`HEADER_LENGTH`].
    ///
    /// **Errors:** [`Error::Input`], saying what is wrong with it.
    pub fn decode(body: &[u8], json: Option<usize>) -> Result<Self> {
        let (json, rest) = split(body, json)?;
        let read: RequestJson = serde_json::from_slice(json).map_err(unreadable)?;
        let wanted = |w: WantedJson| Wanted { name: w.name, binary: w.parameters.and_then(|p| p.binary_data) };
        let request = Self {
            id: read.id,
            inputs: tensor::read(read.inputs, rest)?.into_iter().map(|(tensor, _)| tensor).collect(),
            outputs: read.outputs.into_iter().map(wanted).collect(),
            binary: read.parameters.unwrap_or_default().binary_data_output,
        };
        request.checked()
    }

    /// The same, read in another encoding.
    ///
    /// **Errors:** [`Error::Input`] for an id that is too long to be repeated.
    pub fn checked(self) -> Result<Self> {
        if self.id.as_ref().is_some_and(|id| id.len() > MAX_ID) {
            return Err(Error::input(format!("the request's id has more than {MAX_ID} bytes"), "give a shorter one"));
        }
        Ok(self)
    }

    /// The message, its tensors as bytes.
    ///
    /// **Errors:** [`Error::Input`] if it cannot be written.
    pub fn encode(&self) -> Result<Message> {
        let mut bytes = Vec::new();
        let inputs = self.inputs.iter().map(|t| t.write(true, &mut bytes)).collect();
        let wanted = |w: &Wanted| WantedJson {
            name: w.name.clone(),
            parameters: w.binary.map(|binary| WantedParameters { binary_data: Some(binary) }),
        };
        let parameters = RequestParameters { binary_data_output: self.binary };
        let outputs = self.outputs.iter().map(wanted).collect();
        Message::new(&RequestOut { id: &self.id, parameters, inputs, outputs }, bytes)
    }

    /// The values of each of a model's inputs, in the model's order, and the number of samples.
    ///
    /// **Errors:** [`Error::Input`] naming the input that is missing, doubled, unknown or of
    /// another shape, or the place of a value that is not finite.
    pub fn fit(self, ports: &[Port], most: usize) -> Result<(Vec<Vec<f32>>, usize)> {
        if let Some(unknown) = self.inputs.iter().find(|t| !ports.iter().any(|p| p.name == t.name)) {
            let names: Vec<_> = ports.iter().map(|p| p.name.as_str()).collect();
            let message = format!("the model has no input '{}'", unknown.name);
            return Err(Error::input(message, &format!("it takes {}", names.join(", "))));
        }
        let mut given = self.inputs;
        let mut samples = None;
        let mut values = Vec::new();
        for port in ports {
            let at = given.iter().position(|t| t.name == port.name);
            let tensor = at.map(|at| given.swap_remove(at));
            let tensor = tensor.ok_or_else(|| Error::input(format!("the input '{}' is missing", port.name), ""))?;
            let count = tensor.samples(port)?;
            check_values(&tensor.values, port, None, 0)?;
            if samples.is_some_and(|n| n != count) {
                return Err(Error::input("the inputs hold different numbers of samples", "give as many for each"));
            }
            samples = Some(count);
            values.push(tensor.values);
        }
        match (samples, given.is_empty()) {
            (Some(n), true) if (1..=most).contains(&n) => Ok((values, n)),
            (Some(n), true) => {
                Err(Error::input(format!("a request of {n} samples is not answered"), &format!("send 1 to {most}")))
            }
            (Some(_), false) => Err(Error::input("an input is given twice", "give each once")),
            (None, _) => Err(Error::input("the model has no input", "")),
        }
    }

    /// Which of a model's outputs to give back, by index, and whether as bytes.
    ///
    /// **Errors:** [`Error::Input`] naming an output that there is not, or one wanted twice.
    pub fn wanted(&self, ports: &[Port]) -> Result<Vec<(usize, bool)>> {
        if self.outputs.is_empty() {
            return Ok((0..ports.len()).map(|i| (i, self.binary)).collect());
        }
        let mut out: Vec<(usize, bool)> = Vec::new();
        for wanted in &self.outputs {
            let index = ports.iter().position(|p| p.name == wanted.name).ok_or_else(|| {
                let names: Vec<_> = ports.iter().map(|p| p.name.as_str()).collect();
                let message = format!("the model has no output '{}'", wanted.name);
                Error::input(message, &format!("it gives {}", names.join(", ")))
            })?;
            if out.iter().any(|(i, _)| *i == index) {
                return Err(Error::input(format!("the output '{}' is wanted twice", wanted.name), ""));
            }
            out.push((index, wanted.binary.unwrap_or(self.binary)));
        }
        Ok(out)
    }
}

impl InferResponse {
    /// The message.
    ///
    /// **Errors:** [`Error::Input`] if it cannot be written.
    pub fn encode(&self) -> Result<Message> {
        let mut bytes = Vec::new();
        let outputs = self.outputs.iter().map(|(tensor, binary)| tensor.write(*binary, &mut bytes)).collect();
        let warning = self.warning.clone();
        let parameters = warning.is_some().then_some(ResponseParameters { warning });
        let (model_name, model_version, id) = (self.model.as_str(), &self.version, &self.id);
        Message::new(&ResponseOut { model_name, model_version, id, parameters, outputs }, bytes)
    }

    /// Reads an answer. `json` is the value of [`HEADER_LENGTH`].
    ///
    /// **Errors:** [`Error::Input`], saying what is wrong with it.
    pub fn decode(body: &[u8], json: Option<usize>) -> Result<Self> {
        let (json, rest) = split(body, json)?;
        let read: ResponseJson = serde_json::from_slice(json).map_err(unreadable)?;
        Ok(Self {
            model: read.model_name,
            version: read.model_version,
            id: read.id,
            warning: read.parameters.unwrap_or_default().warning,
            outputs: tensor::read(read.outputs, rest)?,
        })
    }
}

impl Message {
    fn new(json: &impl Serialize, bytes: Vec<u8>) -> Result<Self> {
        let mut body = serde_json::to_vec(json).map_err(unreadable)?;
        let length = (!bytes.is_empty()).then_some(body.len());
        body.extend(bytes);
        Ok(Self { body, json: length })
    }
}

fn split(body: &[u8], json: Option<usize>) -> Result<(&[u8], &[u8])> {
    body.split_at_checked(json.unwrap_or(body.len())).ok_or_else(|| {
        Error::input(format!("{HEADER_LENGTH} is beyond the end of the body"), "give the length of its JSON")
    })
}

/// Never the values: serde names places.
fn unreadable(error: serde_json::Error) -> Error {
    let place = format!("line {}, column {}", error.line(), error.column());
    let what = match error.classify() {
        serde_json::error::Category::Syntax => "is no JSON",
        serde_json::error::Category::Eof => "is cut off",
        serde_json::error::Category::Data => "has a field that is missing, too long or of another kind",
        serde_json::error::Category::Io => "cannot be written",
    };
    Error::input(format!("the message {what} at {place}"), "see the Open Inference Protocol, version 2")
}

/// Tensors of one message: more than a model has.
const MAX_TENSORS: usize = 256;

/// Bytes of a request's id, which its answer repeats.
const MAX_ID: usize = 1 << 10;
