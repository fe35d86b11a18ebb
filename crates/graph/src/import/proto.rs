//! The protobuf of a model file: decoded, and checked as far as names go.

use super::scan::is_bloated;
use super::text::is_tidy;
use crate::{Error, model::Port};
use std::collections::HashSet;
use subrosa_core::Shape;
use tract_onnx::pb::{self, tensor_proto::DataType, tensor_shape_proto::dimension, type_proto};
use tract_onnx::prelude::Framework;

/// The protobuf format's own limit.
const MAX_BYTES: usize = i32::MAX as usize;
/// Operator sets whose meaning of the supported operators is known.
const OPSETS: std::ops::RangeInclusive<i64> = 7..=22;

pub(crate) fn malformed<T>(why: impl Into<String>) -> Result<T, Error> {
    Err(Error::Malformed(why.into()))
}

/// Decodes a file and checks that its graph is one: names unique, nodes in order.
pub(crate) fn decode(bytes: &[u8]) -> Result<pb::ModelProto, Error> {
    if let Some(why) = not_onnx(bytes) {
        return malformed(format!("this is not an ONNX model: {why}"));
    }
    if is_bloated(bytes) {
        return malformed("this is not an ONNX model: it consists of empty entries");
    }
    let mut reader = bytes;
    let proto = match tract_onnx::onnx().proto_model_for_read(&mut reader) {
        Ok(proto) => proto,
        Err(_) => return malformed("this is not an ONNX model, or the file is damaged or cut short"),
    };
    let Some(graph) = &proto.graph else {
        return malformed("this is not an ONNX model: it contains no graph");
    };
    check_names(graph)?;
    Ok(proto)
}

/// What a file of another kind is, where that is easily told.
fn not_onnx(bytes: &[u8]) -> Option<&'static str> {
    let starts = |magic: &[u8]| bytes.starts_with(magic);
    match () {
        () if bytes.is_empty() => Some("the file is empty"),
        () if bytes.len() > MAX_BYTES => Some("the file is larger than 2 GiB"),
        () if starts(b"PK\x03\x04") => Some("it is a zip archive (a PyTorch checkpoint?); use torch.onnx.export"),
        () if starts(b"\x89HDF") => Some("it is an HDF5 file (Keras?); convert it with tf2onnx"),
        () if starts(b"\x80") => Some("it is a Python pickle; use torch.onnx.export or skl2onnx"),
        () if starts(b"{") || starts(b"<") => Some("it is a text file"),
        () => None,
    }
}

/// The version of the default operator set.
pub(crate) fn opset(proto: &pb::ModelProto) -> Result<i64, Error> {
    let default = proto.opset_import.iter().find(|o| matches!(o.domain.as_str(), "" | "ai.onnx"));
    match default.map(|o| o.version) {
        Some(v) if OPSETS.contains(&v) => Ok(v),
        Some(v) => malformed(format!(
            "the model uses ONNX operator set {v}; {} to {} are supported (export with opset_version=17)",
            OPSETS.start(),
            OPSETS.end()
        )),
        None => malformed("the model does not say which ONNX operator set it uses"),
    }
}

/// A node's name for messages: its own, or that of its first output.
pub(crate) fn node_name(node: &pb::NodeProto) -> &str {
    match node.output.first() {
        Some(output) if node.name.is_empty() => output,
        _ => &node.name,
    }
}

/// Every value is made once, and before it is read.
fn check_names(graph: &pb::GraphProto) -> Result<(), Error> {
    let mut known: HashSet<&str> = HashSet::new();
    for t in &graph.initializer {
        if t.name.is_empty() || !known.insert(&t.name) {
            return malformed(format!("two initializers are named '{}', or one has no name", t.name));
        }
    }
    let mut inputs: HashSet<&str> = HashSet::new();
    for i in &graph.input {
        if i.name.is_empty() || !inputs.insert(&i.name) {
            return malformed(format!("two inputs are named '{}', or one has no name", i.name));
        }
    }
    if let Some(port) = graph.input.iter().chain(&graph.output).find(|p| !is_tidy(&p.name)) {
        return malformed(format!("the input or output '{}' has an unreadable name", port.name));
    }
    known.extend(inputs);
    for node in &graph.node {
        if let Some(x) = node.input.iter().find(|x| !x.is_empty() && !known.contains(x.as_str())) {
            return malformed(unread(graph, node, x));
        }
        for y in node.output.iter().filter(|y| !y.is_empty()) {
            if !known.insert(y) {
                return malformed(format!("node '{}': the value '{y}' is made twice", node_name(node)));
            }
        }
    }
    match graph.output.iter().find(|o| !known.contains(o.name.as_str())) {
        Some(o) => malformed(format!("nothing computes the output '{}'", o.name)),
        None if graph.output.is_empty() => malformed("the model has no outputs"),
        None => Ok(()),
    }
}

fn unread(graph: &pb::GraphProto, node: &pb::NodeProto, value: &str) -> String {
    let name = node_name(node);
    match graph.node.iter().any(|n| n.output.iter().any(|o| o == value)) {
        true => format!("node '{name}' reads '{value}' before it is made: the graph is cyclic or out of order"),
        false => format!("node '{name}' reads '{value}', which nothing makes"),
    }
}

/// Numbers in the floating-point initializers: what training found.
pub(crate) fn parameters(graph: &pb::GraphProto) -> usize {
    let float = |t: &&pb::TensorProto| t.data_type == DataType::Float as i32 || t.data_type == DataType::Double as i32;
    let len = |t: &pb::TensorProto| t.dims.iter().map(|&d| d.max(0) as usize).fold(1, usize::saturating_mul);
    graph.initializer.iter().filter(float).map(len).fold(0, usize::saturating_add)
}

/// The inputs that have to be given at run time: those without an initializer.
pub(crate) fn inputs(graph: &pb::GraphProto) -> Result<Vec<Port>, Error> {
    let initialised: HashSet<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
    graph.input.iter().filter(|i| !initialised.contains(i.name.as_str())).map(input).collect()
}

fn input(info: &pb::ValueInfoProto) -> Result<Port, Error> {
    let name = &info.name;
    let Some(type_proto::Value::TensorType(t)) = info.r#type.as_ref().and_then(|t| t.value.as_ref()) else {
        return malformed(format!("the input '{name}' is not a tensor"));
    };
    let float = [DataType::Float, DataType::Double, DataType::Float16];
    match DataType::try_from(t.elem_type) {
        Ok(d) if float.contains(&d) => {}
        Ok(d) => {
            return malformed(
                format!("the input '{name}' takes {} numbers; only float inputs can be", d.as_str_name())
                    + " protected: move the conversion or lookup before the model",
            );
        }
        Err(_) => return malformed(format!("the input '{name}' has the unknown element type {}", t.elem_type)),
    }
    let Some(shape) = &t.shape else {
        return malformed(format!("the input '{name}' has no shape; export the model with a fixed input shape"));
    };
    shape_of(name, shape)
}

/// A shape whose first axis alone may be open.
fn shape_of(name: &str, shape: &pb::TensorShapeProto) -> Result<Port, Error> {
    let sizes: Vec<Option<usize>> = shape.dim.iter().map(size).collect();
    let batched = matches!(sizes.first(), Some(None));
    if let Some(axis) = sizes.iter().skip(1).position(Option::is_none) {
        return malformed(format!(
            "axis {} of the input '{name}' has no fixed size; export the model with a fixed shape (only the first \
             axis, the batch, may be dynamic)",
            axis + 1
        ));
    }
    let dims: Vec<usize> = sizes.into_iter().map(|d| d.unwrap_or(1)).collect();
    match Shape::new(dims) {
        Ok(shape) => Ok(Port { name: name.to_owned(), shape, batched }),
        Err(e) => malformed(format!("the input '{name}': {e}")),
    }
}

/// An output as the file declares it, for a description of a model that cannot be
/// imported.
pub(crate) fn declared(info: &pb::ValueInfoProto, batched: bool) -> Port {
    let tensor = info.r#type.as_ref().and_then(|t| t.value.as_ref());
    let shape = tensor.and_then(|type_proto::Value::TensorType(t)| t.shape.as_ref());
    let dims: Vec<usize> = shape.map_or_else(Vec::new, |s| s.dim.iter().map(|d| size(d).unwrap_or(1)).collect());
    Port { name: info.name.clone(), shape: Shape::new(dims).unwrap_or_else(|_| Shape::scalar()), batched }
}

fn size(d: &pb::tensor_shape_proto::Dimension) -> Option<usize> {
    match &d.value {
        Some(dimension::Value::DimValue(v)) if *v > 0 => usize::try_from(*v).ok(),
        _ => None,
    }
}
