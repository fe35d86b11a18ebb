//! An ONNX model: read and run in the clear through tract, imported as a [`Graph`].

use crate::{Error, Graph, UnsupportedNode};
use subrosa_core::Shape;

/// A model that has been read, checked and imported.
pub struct Model {
    graph: Graph,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
}

/// An input or output of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// ONNX value name.
    pub name: String,
    /// Shape of one sample. A symbolic batch axis is kept, as 1.
    pub shape: Shape,
    /// Whether the first axis was symbolic: then a batch is one run of the model;
    /// otherwise a batch is one run a sample.
    pub batched: bool,
}

/// What `inspect` prints about a file, importable or not.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// Inputs in ONNX order (without initializers).
    pub inputs: Vec<Port>,
    /// Outputs in ONNX order.
    pub outputs: Vec<Port>,
    /// Operator name and number of nodes using it, by name.
    pub ops: Vec<(String, usize)>,
    /// ONNX opset of the default domain.
    pub opset: i64,
    /// Trained parameters.
    pub parameters: usize,
    /// Every unsupported node; empty when the model can be imported.
    pub unsupported: Vec<UnsupportedNode>,
}

/// The model compiled by tract for one batch size.
pub struct PlainRunner {
    batch: usize,
}

impl Model {
    /// Reads and imports a model.
    ///
    /// **Errors:** [`Error::Malformed`] for anything that is not a well-formed ONNX model
    /// within limits; [`Error::Unsupported`] with every unsupported node.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let _ = bytes;
        Err(Error::Malformed(String::new()))
    }

    /// Describes a model without requiring that all of it be supported.
    ///
    /// **Errors:** [`Error::Malformed`].
    pub fn inspect(bytes: &[u8]) -> Result<Inspection, Error> {
        let _ = bytes;
        Err(Error::Malformed(String::new()))
    }

    /// The imported operations.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The inputs in ONNX order.
    pub fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    /// The outputs in ONNX order.
    pub fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    /// BLAKE3 of the model file.
    pub fn digest(&self) -> [u8; 32] {
        [0; 32]
    }

    /// Compiles the model for `batch` samples at a time.
    ///
    /// **Errors:** [`Error::Malformed`] where tract cannot run it.
    pub fn plain(&self, batch: usize) -> Result<PlainRunner, Error> {
        Ok(PlainRunner { batch })
    }
}

impl PlainRunner {
    /// Runs the model on `batch` samples, flat and row-major, one slice an input.
    ///
    /// **Errors:** [`Error::Input`] when a length is not `batch` samples.
    pub fn run(&self, inputs: &[&[f32]]) -> Result<Vec<Vec<f32>>, Error> {
        let _ = (inputs, self.batch);
        Err(Error::Malformed(String::new()))
    }
}
