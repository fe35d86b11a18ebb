//! Small ONNX models, written here rather than stored.

use prost::Message;
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, tensor_proto::DataType, tensor_shape_proto::Dimension, tensor_shape_proto::dimension,
    type_proto::Tensor, type_proto::Value,
};

/// A model under construction; `0` stands for the symbolic batch axis.
#[derive(Clone)]
pub(crate) struct Onnx {
    pub(crate) model: ModelProto,
}

impl Onnx {
    pub(crate) fn new(opset: i64) -> Self {
        let opset = OperatorSetIdProto { domain: String::new(), version: opset };
        let model = ModelProto {
            ir_version: 8,
            opset_import: vec![opset],
            graph: Some(GraphProto::default()),
            ..Default::default()
        };
        Self { model }
    }

    pub(crate) fn graph(&mut self) -> &mut GraphProto {
        self.model.graph.as_mut().unwrap()
    }

    pub(crate) fn input(mut self, name: &str, dims: &[i64]) -> Self {
        let dim = |&d: &i64| Dimension {
            value: Some(match d {
                0 => dimension::Value::DimParam("N".into()),
                d => dimension::Value::DimValue(d),
            }),
            ..Default::default()
        };
        let shape = Some(TensorShapeProto { dim: dims.iter().map(dim).collect() });
        let tensor = Value::TensorType(Tensor { elem_type: DataType::Float as i32, shape });
        let r#type = Some(TypeProto { value: Some(tensor), ..Default::default() });
        self.graph().input.push(ValueInfoProto { name: name.into(), r#type, ..Default::default() });
        self
    }

    pub(crate) fn output(mut self, name: &str) -> Self {
        self.graph().output.push(ValueInfoProto { name: name.into(), ..Default::default() });
        self
    }

    pub(crate) fn weight(mut self, name: &str, dims: &[i64], values: &[f32]) -> Self {
        let raw_data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.graph().initializer.push(tensor(name, dims, DataType::Float, raw_data));
        self
    }

    pub(crate) fn ints(mut self, name: &str, values: &[i64]) -> Self {
        let raw_data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.graph().initializer.push(tensor(name, &[values.len() as i64], DataType::Int64, raw_data));
        self
    }

    /// A node; inputs and outputs are separated by blanks, its name is its first output.
    pub(crate) fn node(mut self, op: &str, inputs: &str, outputs: &str, attributes: &[Attribute]) -> Self {
        let names = |s: &str| s.split_whitespace().map(|n| if n == "_" { "" } else { n }.to_owned()).collect();
        self.graph().node.push(NodeProto {
            op_type: op.into(),
            input: names(inputs),
            output: names(outputs),
            attribute: attributes.iter().map(|(name, value)| value.proto(name)).collect(),
            ..Default::default()
        });
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.model.encode_to_vec()
    }
}

fn tensor(name: &str, dims: &[i64], dtype: DataType, raw_data: Vec<u8>) -> TensorProto {
    TensorProto { name: name.into(), dims: dims.to_vec(), data_type: dtype as i32, raw_data, ..Default::default() }
}

pub(crate) type Attribute<'a> = (&'a str, Setting<'a>);

/// The value of an attribute.
#[derive(Clone, Copy)]
pub(crate) enum Setting<'a> {
    Int(i64),
    Ints(&'a [i64]),
    Float(f32),
    Text(&'a str),
}

impl Setting<'_> {
    fn proto(&self, name: &str) -> AttributeProto {
        let mut a = AttributeProto { name: name.into(), ..Default::default() };
        match *self {
            Self::Int(i) => (a.i, a.r#type) = (i, 2),
            Self::Ints(v) => (a.ints, a.r#type) = (v.to_vec(), 7),
            Self::Float(f) => (a.f, a.r#type) = (f, 1),
            Self::Text(s) => (a.s, a.r#type) = (s.as_bytes().to_vec(), 3),
        }
        a
    }
}
