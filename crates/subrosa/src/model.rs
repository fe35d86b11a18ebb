//! A model read from an ONNX file.

use crate::data::dims_text;
use crate::inspection::Inspection;
use crate::options::PlanOptions;
use crate::plan::Plan;
use crate::{Error, Result};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

/// The largest model file (bytes): protobuf's own limit.
const MAX_MODEL_BYTES: u64 = 1 << 31;

/// A model, read and checked. The first state of `Model -> Plan -> Session -> Output`.
#[derive(Clone)]
pub struct Model {
    inner: Arc<subrosa_graph::Model>,
    sha256: [u8; 32],
    name: String,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
}

/// An input or output of a model.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Port {
    /// ONNX name.
    pub name: String,
    /// Shape of one sample; a symbolic batch axis is kept, as 1.
    pub shape: Vec<usize>,
    /// Whether the first axis is symbolic.
    pub batched: bool,
}

impl Model {
    /// Reads an ONNX file.
    ///
    /// **Errors:** [`Error::Io`] if it cannot be read, [`Error::Model`] if it is damaged
    /// or uses what is not supported.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Self::from_bytes(&stem(path), &read(path)?).map_err(|e| e.in_file(path))
    }

    /// A model from the bytes of an ONNX file, under a name for reports.
    ///
    /// **Errors:** [`Error::Model`].
    pub fn from_bytes(name: &str, bytes: &[u8]) -> Result<Self> {
        let inner = subrosa_graph::Model::from_bytes(bytes)?;
        let ports = |ports: &[subrosa_graph::model::Port]| ports.iter().map(Port::from).collect();
        let (inputs, outputs) = (ports(inner.inputs()), ports(inner.outputs()));
        let sha256 = subrosa_tee::sha256(bytes);
        Ok(Self { inner: Arc::new(inner), sha256, name: name.to_owned(), inputs, outputs })
    }

    /// Describes an ONNX file, supported or not, and what each backend can do with it.
    ///
    /// **Errors:** [`Error::Io`], or [`Error::Model`] if it is no ONNX model.
    pub fn inspect(path: impl AsRef<Path>) -> Result<Inspection> {
        let path = path.as_ref();
        Inspection::new(&stem(path), &read(path)?).map_err(|e| e.in_file(path))
    }

    /// File name without extension.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Inputs in ONNX order.
    pub fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    /// Outputs in ONNX order.
    pub fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    /// BLAKE3 of the model file, in hexadecimal.
    pub fn digest(&self) -> String {
        hex(&self.inner.digest())
    }

    /// SHA-256 of the model file, by which evidence of trusted hardware names it.
    pub fn sha256(&self) -> [u8; 32] {
        self.sha256
    }

    /// Decides how to compute the model: the second state.
    ///
    /// **Errors:** [`Error::Plan`] naming the node that cannot be computed so, the bound
    /// and the remedy; [`Error::Misuse`] for options that contradict.
    pub fn plan(&self, options: &PlanOptions) -> Result<Plan> {
        Plan::new(self, options)
    }

    pub(crate) fn graph(&self) -> &subrosa_graph::Model {
        &self.inner
    }
}

impl Port {
    /// Values in one sample; none for a port from elsewhere whose sizes no tensor has.
    pub(crate) fn checked_len(&self) -> Option<usize> {
        self.shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d))
    }

    /// Values in one sample.
    pub fn sample_len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Its shape as ONNX would write it: `[N, 1, 28, 28]`.
    pub fn dims_text(&self) -> String {
        let text = dims_text(&self.shape);
        match (self.batched, self.shape.as_slice()) {
            (true, [1, ..]) => format!("[N{}", &text[2..]),
            _ => text,
        }
    }

    /// Values in one sample, and height and width where its shape tells.
    pub(crate) fn picture(&self) -> (usize, Option<(usize, usize)>) {
        let sample = if self.batched { self.shape.get(1..).unwrap_or_default() } else { &self.shape };
        let size = match sample {
            [.., h, w] => Some((*h, *w)),
            _ => None,
        };
        (self.sample_len(), size)
    }
}

impl From<&subrosa_graph::model::Port> for Port {
    fn from(port: &subrosa_graph::model::Port) -> Self {
        Self { name: port.name.clone(), shape: port.shape.dims().to_vec(), batched: port.batched }
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let file = std::fs::File::open(path).map_err(|e| Error::io("read", path, &e))?;
    if file.metadata().is_ok_and(|m| m.is_dir()) {
        return Err(Error::misuse(format!("{} is a directory", path.display()), "name an ONNX file in it"));
    }
    let mut bytes = Vec::new();
    file.take(MAX_MODEL_BYTES + 1).read_to_end(&mut bytes).map_err(|e| Error::io("read", path, &e))?;
    if bytes.len() as u64 > MAX_MODEL_BYTES {
        let message = format!("{} is larger than 2 GiB", path.display());
        return Err(Error::model(message, "ONNX files end there; use a smaller model"));
    }
    Ok(bytes)
}
