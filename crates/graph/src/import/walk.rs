//! The walk over the file's nodes.

use super::builder::{Builder, Fault, Value, unsupported, unsupported_hint};
use super::constant::Constant;
use super::fold::{self, Folder};
use super::fuse::fuse;
use super::hints::hint;
use super::node::OnnxNode;
use super::proto;
use super::table::{Build, supported_ops};
use crate::model::Port;
use crate::op::{Graph, Op};
use crate::{Error, UnsupportedNode};
use std::collections::{HashMap, HashSet};
use tract_onnx::pb;

/// An imported model.
pub(crate) struct Imported {
    /// The operations; meaningless if anything is unsupported.
    pub(crate) graph: Graph,
    pub(crate) inputs: Vec<Port>,
    pub(crate) outputs: Vec<Port>,
    pub(crate) unsupported: Vec<UnsupportedNode>,
}

/// Imports a decoded model. Nodes that no output depends on are left out.
///
/// **Errors:** [`Error::Malformed`]; what is merely unsupported is listed in the result.
///
/// `bytes` is the size of the file: what is made from it stays in proportion.
pub(crate) fn import(model: &pb::ModelProto, bytes: usize) -> Result<Imported, Error> {
    let Some(graph) = &model.graph else { return proto::malformed("the model contains no graph") };
    let inputs = proto::inputs(graph)?;
    let builder = Builder::new(bytes, is_batched(&inputs));
    let mut walk = Walk::new(proto::opset(model)?, needed(graph), builder, Folder::new(proto::opset(model)?, bytes));
    walk.constants(graph)?;
    let input_ids = walk.inputs(graph, &inputs)?;
    for node in &graph.node {
        if node.output.iter().any(|o| walk.needed.contains(o.as_str())) {
            walk.node(node)?;
        }
    }
    let outputs = walk.outputs(graph, is_batched(&inputs))?;
    let (ids, ports): (Vec<_>, Vec<_>) = outputs.into_iter().unzip();
    let mut graph = Graph { nodes: walk.builder.nodes, inputs: input_ids, outputs: ids };
    if walk.unsupported.is_empty() {
        graph = fuse(graph);
    }
    Ok(Imported { graph, inputs, outputs: ports, unsupported: walk.unsupported })
}

/// Whether a batch of samples is one run: every input has a batch axis.
pub(crate) fn is_batched(inputs: &[Port]) -> bool {
    !inputs.is_empty() && inputs.iter().all(|i| i.batched)
}

/// Names of values that an output depends on. Nodes are in order, so one pass backwards
/// finds them.
pub(crate) fn needed(graph: &pb::GraphProto) -> HashSet<&str> {
    let mut needed: HashSet<&str> = graph.output.iter().map(|o| o.name.as_str()).collect();
    for node in graph.node.iter().rev() {
        if node.output.iter().any(|o| needed.contains(o.as_str())) {
            needed.extend(node.input.iter().filter(|i| !i.is_empty()).map(String::as_str));
        }
    }
    needed
}

struct Walk<'a> {
    builder: Builder,
    folder: Folder,
    opset: i64,
    needed: HashSet<&'a str>,
    values: HashMap<&'a str, Value>,
    unsupported: Vec<UnsupportedNode>,
}

impl<'a> Walk<'a> {
    fn new(opset: i64, needed: HashSet<&'a str>, builder: Builder, folder: Folder) -> Self {
        Self { builder, folder, opset, needed, values: HashMap::new(), unsupported: Vec::new() }
    }

    fn constants(&mut self, graph: &'a pb::GraphProto) -> Result<(), Error> {
        for t in graph.initializer.iter().filter(|t| self.needed.contains(t.name.as_str())) {
            match Constant::from_proto(&t.name, t) {
                Ok(c) => self.values.insert(&t.name, Value::Const(c)),
                Err(why) => return proto::malformed(format!("the weight '{}': {why}", t.name)),
            };
        }
        Ok(())
    }

    fn inputs(&mut self, graph: &'a pb::GraphProto, ports: &[Port]) -> Result<Vec<usize>, Error> {
        let mut ids = HashMap::new();
        for port in ports {
            self.builder.enter(&port.name);
            match self.builder.emit(Op::Input, Vec::new(), port.shape.dims().to_vec()) {
                Ok(id) => ids.insert(port.name.as_str(), id),
                Err(fault) => return proto::malformed(format!("the input '{}': {}", port.name, fault.why())),
            };
        }
        for info in &graph.input {
            if let Some(&id) = ids.get(info.name.as_str()) {
                self.values.insert(&info.name, Value::Node(id));
            }
        }
        Ok(ports.iter().map(|p| ids[p.name.as_str()]).collect())
    }

    fn node(&mut self, node: &'a pb::NodeProto) -> Result<(), Error> {
        let name = proto::node_name(node);
        self.builder.enter(name);
        let outputs = match self.build(node) {
            Ok(outputs) => outputs,
            Err(Fault::Malformed(why)) => {
                return proto::malformed(format!("node '{name}' ({}): {why}", node.op_type));
            }
            Err(Fault::Unsupported { why, hint }) => {
                let (node, op) = (name.to_owned(), node.op_type.clone());
                self.unsupported.push(UnsupportedNode { node, op, why, hint });
                Vec::new()
            }
        };
        for (i, name) in node.output.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
            self.values.insert(name, outputs.get(i).cloned().unwrap_or(Value::Unknown));
        }
        Ok(())
    }

    /// The values of a node's outputs; none if they depend on an unsupported node.
    fn build(&mut self, node: &pb::NodeProto) -> Result<Vec<Value>, Fault> {
        check_domain(node)?;
        let inputs: Vec<Option<Value>> = node.input.iter().map(|i| self.values.get(i.as_str()).cloned()).collect();
        let outputs = match constants(node, &inputs) {
            Some(constants) => self.folder.fold(node, &constants)?.into_iter().map(Value::Const).collect(),
            None => self.emit(node, inputs)?,
        };
        match node.output.iter().skip(outputs.len()).find(|o| self.needed.contains(o.as_str())) {
            Some(extra) => unsupported(format!("its output '{extra}' is not supported")),
            None => Ok(outputs),
        }
    }

    fn emit(&mut self, node: &pb::NodeProto, inputs: Vec<Option<Value>>) -> Result<Vec<Value>, Fault> {
        let build = builder_of(node)?;
        if inputs.iter().any(|v| matches!(v, Some(Value::Unknown))) {
            return Ok(vec![Value::Unknown; node.output.len()]);
        }
        let n = OnnxNode { proto: node, opset: self.opset, inputs };
        let index = |v: &Value| matches!(v, Value::Node(x) if self.builder.is_index(*x));
        if n.inputs.iter().flatten().any(index) && !moves_only(&node.op_type) {
            return unsupported_hint(
                "it computes with the index that an ArgMax found",
                "let the ArgMax be the last step, and do this to the result",
            );
        }
        build(&mut self.builder, &n)
    }

    fn outputs(&mut self, graph: &pb::GraphProto, batched: bool) -> Result<Vec<(usize, Port)>, Error> {
        graph.output.iter().map(|o| self.output(o, batched)).collect()
    }

    fn output(&mut self, info: &pb::ValueInfoProto, batched: bool) -> Result<(usize, Port), Error> {
        let name = info.name.clone();
        let id = match self.values.get(info.name.as_str()) {
            None | Some(Value::Unknown) => return Ok((0, proto::declared(info, batched))),
            Some(Value::Node(id)) => Ok(*id),
            Some(Value::Const(c)) => self.builder.weight(c),
        };
        match id {
            Ok(id) => Ok((id, Port { name, shape: self.builder.nodes[id].shape.clone(), batched })),
            Err(fault) => proto::malformed(format!("the output '{name}': {}", fault.why())),
        }
    }
}

/// Operators that leave an index what it is.
fn moves_only(op: &str) -> bool {
    const MOVES: [&str; 8] = ["Cast", "Flatten", "Identity", "Reshape", "Shape", "Squeeze", "Transpose", "Unsqueeze"];
    MOVES.contains(&op)
}

/// A node's inputs, if all are constants and the node is one to evaluate.
fn constants<'a>(node: &pb::NodeProto, inputs: &'a [Option<Value>]) -> Option<Vec<&'a Constant>> {
    let constants = inputs.iter().flatten().map(|v| match v {
        Value::Const(c) => Some(c),
        Value::Node(_) | Value::Unknown => None,
    });
    let constants: Option<Vec<&Constant>> = constants.collect();
    constants.filter(|c| !c.is_empty() && fold::is_foldable(&node.op_type))
}

fn check_domain(node: &pb::NodeProto) -> Result<(), Fault> {
    match node.domain.as_str() {
        "" | "ai.onnx" => Ok(()),
        "ai.onnx.ml" => Err(Fault::Unsupported {
            why: "classical machine-learning operators are not supported".to_owned(),
            hint: hint(&node.op_type).map(str::to_owned),
        }),
        domain => unsupported_hint(
            format!("operators of the domain '{domain}' are not supported"),
            "export with standard ONNX operators only",
        ),
    }
}

/// The row of the table for this node.
fn builder_of(node: &pb::NodeProto) -> Result<Build, Fault> {
    if let Some(row) = supported_ops().iter().find(|row| row.name == node.op_type) {
        return Ok(row.build);
    }
    if fold::is_foldable(&node.op_type) {
        return unsupported_hint_of("it is supported for constants only", &node.op_type);
    }
    unsupported_hint_of("this operator is not supported", &node.op_type)
}

fn unsupported_hint_of<T>(why: &str, op: &str) -> Result<T, Fault> {
    Err(Fault::Unsupported { why: why.to_owned(), hint: hint(op).map(str::to_owned) })
}
