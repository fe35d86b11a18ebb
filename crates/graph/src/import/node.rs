//! One ONNX node as the importers see it: attributes and inputs, with their checks.

use super::builder::{Builder, Fault, Value, malformed, unsupported, unsupported_hint};
use super::constant::Constant;
use crate::op::ValueId;
use tract_onnx::pb;

/// A node with its inputs looked up.
pub(crate) struct OnnxNode<'a> {
    pub(crate) proto: &'a pb::NodeProto,
    /// Version of the default operator set.
    pub(crate) opset: i64,
    /// In ONNX order; `None` where an optional input is absent.
    pub(crate) inputs: Vec<Option<Value>>,
}

impl OnnxNode<'_> {
    /// Name of the first output.
    pub(crate) fn output(&self) -> &str {
        self.proto.output.first().map_or("", String::as_str)
    }

    pub(crate) fn attribute(&self, name: &str) -> Option<&pb::AttributeProto> {
        self.proto.attribute.iter().find(|a| a.name == name)
    }

    pub(crate) fn int(&self, name: &str, default: i64) -> i64 {
        self.attribute(name).map_or(default, |a| a.i)
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        self.int(name, 0) != 0
    }

    pub(crate) fn float(&self, name: &str, default: f32) -> f32 {
        self.attribute(name).map_or(default, |a| a.f)
    }

    pub(crate) fn ints(&self, name: &str) -> Option<&[i64]> {
        self.attribute(name).map(|a| a.ints.as_slice())
    }

    pub(crate) fn string(&self, name: &str) -> Option<String> {
        self.attribute(name).map(|a| String::from_utf8_lossy(&a.s).into_owned())
    }

    /// `name` as sizes (all at least `least`), `n` of them, `default` if absent.
    pub(crate) fn sizes(&self, name: &str, n: usize, least: i64, default: usize) -> Result<Vec<usize>, Fault> {
        let Some(values) = self.ints(name) else { return Ok(vec![default; n]) };
        if values.len() != n {
            return malformed(format!("{name} has {} values where {n} are due", values.len()));
        }
        let size = |&v: &i64| match u32::try_from(v) {
            Ok(size) if v >= least => Ok(size as usize),
            _ => malformed(format!("{name} is {values:?}")),
        };
        values.iter().map(size).collect()
    }

    /// An axis attribute, counted from the front; `rank` itself is allowed if `end`.
    pub(crate) fn axis(&self, name: &str, default: i64, rank: usize, end: bool) -> Result<usize, Fault> {
        axis_of(self.int(name, default), rank, end)
    }

    /// An optional input.
    pub(crate) fn input(&self, i: usize) -> Option<&Value> {
        self.inputs.get(i).and_then(Option::as_ref)
    }

    /// Input `i` as a value of the graph; a constant becomes a weight.
    pub(crate) fn value(&self, b: &mut Builder, i: usize) -> Result<ValueId, Fault> {
        match self.input(i) {
            Some(v) => to_node(b, v),
            None => malformed(format!("its input {i} is missing")),
        }
    }

    /// All inputs as values of the graph.
    pub(crate) fn values(&self, b: &mut Builder) -> Result<Vec<ValueId>, Fault> {
        (0..self.inputs.len()).map(|i| self.value(b, i)).collect()
    }

    /// An optional input that has to be a constant.
    pub(crate) fn constant(&self, i: usize, what: &str) -> Result<Option<&Constant>, Fault> {
        match self.input(i) {
            None => Ok(None),
            Some(Value::Const(c)) => Ok(Some(c)),
            Some(Value::Node(_) | Value::Unknown) => unsupported_hint(
                format!("its {what} is computed from the model's input"),
                "export it as a constant (fixed input shape, no dynamic axes but the batch)",
            ),
        }
    }

    /// A required constant.
    pub(crate) fn required(&self, i: usize, what: &str) -> Result<&Constant, Fault> {
        match self.constant(i, what)? {
            Some(c) => Ok(c),
            None => malformed(format!("its {what} is missing")),
        }
    }

    /// Integers given as constant input `i`, or by older opsets as attribute `name`.
    pub(crate) fn int_list(&self, i: usize, name: &str) -> Result<Option<Vec<i64>>, Fault> {
        if let Some(values) = self.ints(name) {
            return Ok(Some(values.to_vec()));
        }
        let Some(constant) = self.constant(i, name)? else { return Ok(None) };
        match constant.ints() {
            Some(values) => Ok(Some(values.to_vec())),
            None => malformed(format!("its {name} are not integers")),
        }
    }
}

/// A value of the graph; a constant becomes a weight.
pub(crate) fn to_node(b: &mut Builder, value: &Value) -> Result<ValueId, Fault> {
    match value {
        Value::Node(id) => Ok(*id),
        Value::Const(c) => b.weight(c),
        Value::Unknown => unsupported("it follows an unsupported node"),
    }
}

/// ONNX counts negative axes from the end; `end` allows `rank` itself.
pub(crate) fn axis_of(axis: i64, rank: usize, end: bool) -> Result<usize, Fault> {
    let from_front = if axis < 0 { axis.saturating_add(rank as i64) } else { axis };
    match usize::try_from(from_front) {
        Ok(a) if a < rank + usize::from(end) => Ok(a),
        _ => malformed(format!("axis {axis} does not exist in a tensor of rank {rank}")),
    }
}

/// Several axes in ascending order, each once.
pub(crate) fn axes_of(axes: &[i64], rank: usize) -> Result<Vec<usize>, Fault> {
    let mut sorted = axes.iter().map(|&a| axis_of(a, rank, false)).collect::<Result<Vec<_>, _>>()?;
    sorted.sort_unstable();
    if sorted.windows(2).any(|w| w[0] == w[1]) {
        return malformed(format!("axes {axes:?} name one twice"));
    }
    Ok(sorted)
}
