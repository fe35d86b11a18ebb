//! What a model file holds, and what each backend can do with it.

use crate::backends::Via;
use crate::model::{Model, Port};
use crate::options::PlanOptions;
use crate::{Error, Result};
use serde::Serialize;
use std::fmt;

/// What `subrosa inspect` prints.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// File name without extension.
    pub model: String,
    /// File size.
    pub bytes: usize,
    /// ONNX opset of the default domain.
    pub opset: i64,
    /// Trained parameters.
    pub parameters: usize,
    /// Inputs in ONNX order.
    pub inputs: Vec<Port>,
    /// Outputs in ONNX order.
    pub outputs: Vec<Port>,
    /// Operators used, with how many nodes use each.
    pub ops: Vec<OpCount>,
    /// Every node that is not supported.
    pub unsupported: Vec<Unsupported>,
    /// What each backend can do.
    pub backends: Vec<Ability>,
}

/// An operator and the number of nodes using it.
#[derive(Clone, Debug, Serialize)]
pub struct OpCount {
    /// ONNX operator.
    pub op: String,
    /// Nodes.
    pub nodes: usize,
}

/// A node that is not supported.
#[derive(Clone, Debug, Serialize)]
pub struct Unsupported {
    /// ONNX node name.
    pub node: String,
    /// ONNX operator.
    pub op: String,
    /// Why.
    pub why: String,
    /// The way out, where there is one.
    pub hint: Option<String>,
}

/// What one backend can do with the model.
#[derive(Clone, Debug, Serialize)]
pub struct Ability {
    /// The backend.
    pub via: Via,
    /// Whether it can compute the model.
    pub able: bool,
    /// On what terms, or why not.
    pub note: String,
}

impl Inspection {
    pub(crate) fn new(name: &str, bytes: &[u8]) -> Result<Self> {
        let seen = subrosa_graph::Model::inspect(bytes)?;
        let unsupported: Vec<_> = seen.unsupported.into_iter().map(Unsupported::from).collect();
        Ok(Self {
            model: name.to_owned(),
            bytes: bytes.len(),
            opset: seen.opset,
            parameters: seen.parameters,
            inputs: seen.inputs.iter().map(Port::from).collect(),
            outputs: seen.outputs.iter().map(Port::from).collect(),
            ops: seen.ops.into_iter().map(|(op, nodes)| OpCount { op, nodes }).collect(),
            backends: abilities(name, bytes, &unsupported),
            unsupported,
        })
    }

    /// Whether every node is supported.
    pub fn supported(&self) -> bool {
        self.unsupported.is_empty()
    }
}

impl From<subrosa_graph::UnsupportedNode> for Unsupported {
    fn from(n: subrosa_graph::UnsupportedNode) -> Self {
        Self { node: n.node, op: n.op, why: n.why, hint: n.hint }
    }
}

fn abilities(name: &str, bytes: &[u8], unsupported: &[Unsupported]) -> Vec<Ability> {
    let model = if unsupported.is_empty() {
        Model::from_bytes(name, bytes)
    } else {
        Err(Error::model("unsupported nodes, listed below", ""))
    };
    Via::ALL.into_iter().map(|via| ability(via, &model)).collect()
}

fn ability(via: Via, model: &Result<Model>) -> Ability {
    let plan = model.clone().and_then(|model| model.plan(&PlanOptions { via, ..PlanOptions::default() }));
    match plan {
        Ok(plan) => Ability { via, able: true, note: plan.sheet().terms() },
        Err(error) => Ability { via, able: false, note: error.to_string() },
    }
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes: usize = self.ops.iter().map(|o| o.nodes).sum();
        let parameters = crate::text::thousands(self.parameters as u64);
        writeln!(f, "{}: ONNX opset {}, {nodes} nodes, {parameters} parameters", self.model, self.opset)?;
        for (what, ports) in [("input", &self.inputs), ("output", &self.outputs)] {
            for port in ports {
                writeln!(f, "  {what:<8} {} {}", port.name, port.dims_text())?;
            }
        }
        let ops: Vec<_> = self.ops.iter().map(|o| format!("{} x{}", o.op, o.nodes)).collect();
        writeln!(f, "  {:<8} {}", "nodes", ops.join(", "))?;
        for ability in &self.backends {
            let answer = if ability.able { "yes" } else { "no" };
            writeln!(f, "  {:<8} {answer}: {}", ability.via, ability.note)?;
        }
        for n in &self.unsupported {
            let hint = n.hint.as_ref().map(|h| format!("; {h}")).unwrap_or_default();
            writeln!(f, "  unsupported: {} '{}': {}{hint}", n.op, n.node, n.why)?;
        }
        Ok(())
    }
}
