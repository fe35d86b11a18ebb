//! What can be wrong with a model, by who can mend it.

/// An error from this crate. Messages name the ONNX node and, where there is one, the
/// way out.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file is not an ONNX model, or is damaged.
    #[error("{0}")]
    Malformed(String),
    /// The model uses what is not supported: every such node at once.
    #[error("{}", list(.0))]
    Unsupported(Vec<UnsupportedNode>),
    /// No ring holds the model's values: the plan is refused.
    #[error("node '{node}': values may reach 2^{magnitude_bits:.1}, but {needed}; {remedy}")]
    Range {
        /// ONNX node name.
        node: String,
        /// log2 of the largest magnitude proven possible.
        magnitude_bits: f64,
        /// What would be needed and what is available, in words.
        needed: String,
        /// The way out.
        remedy: String,
    },
    /// A node cannot be computed on the range its input may take (for example the
    /// reciprocal of a value that may be zero).
    #[error("node '{node}': {why}; {remedy}")]
    Domain {
        /// ONNX node name.
        node: String,
        /// What is wrong.
        why: String,
        /// The way out.
        remedy: String,
    },
    /// An input does not fit the model or the range the plan was proven for.
    #[error("{0}")]
    Input(String),
}

/// One node that cannot be imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsupportedNode {
    /// ONNX node name.
    pub node: String,
    /// ONNX operator.
    pub op: String,
    /// Why.
    pub why: String,
    /// The way out, where there is one.
    pub hint: Option<String>,
}

fn list(nodes: &[UnsupportedNode]) -> String {
    let mut text = match nodes.len() {
        1 => "1 node is not supported:".to_owned(),
        n => format!("{n} nodes are not supported:"),
    };
    for n in nodes {
        text += &format!("\n  {} '{}': {}", n.op, n.node, n.why);
        if let Some(hint) = &n.hint {
            text += &format!("; {hint}");
        }
    }
    text
}
