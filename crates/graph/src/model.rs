//! An ONNX model: read and run in the clear through tract, imported as a [`Graph`].

use crate::import::{self, Imported};
use crate::{Error, Graph, PlainRunner, UnsupportedNode, plain};
use std::collections::BTreeMap;
use subrosa_core::Shape;
use tract_onnx::pb::ModelProto;

/// A model that has been read, checked and imported.
pub struct Model {
    graph: Graph,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    proto: ModelProto,
    digest: [u8; 32],
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

impl Model {
    /// Reads and imports a model.
    ///
    /// **Errors:** [`Error::Malformed`] for anything that is not a well-formed ONNX model
    /// within limits; [`Error::Unsupported`] with every unsupported node.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        Self::read(bytes).map_err(import::text::error)
    }

    fn read(bytes: &[u8]) -> Result<Self, Error> {
        let proto = import::proto::decode(bytes)?;
        let Imported { graph, inputs, outputs, unsupported } = import::import(&proto, bytes.len())?;
        if !unsupported.is_empty() {
            return Err(Error::Unsupported(unsupported));
        }
        Ok(Self { graph, inputs, outputs, proto, digest: *blake3::hash(bytes).as_bytes() })
    }

    /// Describes a model without requiring that all of it be supported.
    ///
    /// **Errors:** [`Error::Malformed`].
    pub fn inspect(bytes: &[u8]) -> Result<Inspection, Error> {
        describe(bytes).map_err(import::text::error)
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

    /// Whether a batch is one run of the model: every input has a batch axis.
    pub fn is_batched(&self) -> bool {
        import::is_batched(&self.inputs)
    }

    /// BLAKE3 of the model file.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// Compiles the model for `batch` samples at a time.
    ///
    /// **Errors:** [`Error::Malformed`] where tract cannot run it.
    pub fn plain(&self, batch: usize) -> Result<PlainRunner, Error> {
        PlainRunner::new(self, batch)
    }

    /// Runs a model with a batch axis on two samples at once and one by one, and compares.
    /// Protection computes each sample on its own, so a model that mixes the samples of a
    /// batch (a mean over the batch, a batch axis moved away) must be refused.
    ///
    /// **Errors:** [`Error::Malformed`] when the results differ, or where tract cannot run
    /// the model.
    pub fn check_batching(&self) -> Result<(), Error> {
        if self.is_batched() { plain::check_batching(self) } else { Ok(()) }
    }

    pub(crate) fn proto(&self) -> &ModelProto {
        &self.proto
    }
}

/// See [`Model::inspect`].
fn describe(bytes: &[u8]) -> Result<Inspection, Error> {
    let proto = import::proto::decode(bytes)?;
    let Imported { inputs, outputs, unsupported, .. } = import::import(&proto, bytes.len())?;
    let opset = import::proto::opset(&proto)?;
    let graph = proto.graph.unwrap_or_default();
    let parameters = import::proto::parameters(&graph);
    let mut ops = BTreeMap::<String, usize>::new();
    graph.node.into_iter().for_each(|n| *ops.entry(import::text::name(&n.op_type)).or_default() += 1);
    let unsupported = unsupported.into_iter().map(import::text::node).collect();
    Ok(Inspection { inputs, outputs, ops: ops.into_iter().collect(), opset, parameters, unsupported })
}
