//! One node test: a model, its inputs and the outputs expected.

use crate::tensor;
use prost::Message;
use std::collections::BTreeSet;
use std::path::Path;
use tract_onnx::pb::{ModelProto, TensorProto, tensor_proto::DataType};

/// A test that concerns us.
pub(crate) struct Case {
    /// Folder name.
    pub(crate) name: String,
    /// The operators of its graph.
    pub(crate) operators: BTreeSet<String>,
    /// Values expected, one list an output.
    pub(crate) expected: Vec<Vec<f64>>,
    model: ModelProto,
    inputs: Vec<TensorProto>,
}

/// A form of the test with some inputs made part of the model.
pub(crate) struct Form {
    /// The ONNX file.
    pub(crate) model: Vec<u8>,
    /// Values of the inputs left.
    pub(crate) inputs: Vec<Vec<f32>>,
}

impl Case {
    /// Reads a test's folder. The inner error says why the test does not concern us.
    pub(crate) fn read(folder: &Path) -> Result<Result<Self, String>, String> {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let model: ModelProto = decode(&folder.join("model.onnx"))?;
        let graph = model.graph.clone().unwrap_or_default();
        let operators: BTreeSet<String> = graph.node.iter().map(|n| n.op_type.clone()).collect();
        let own = supported();
        if let Some(other) = operators.iter().find(|o| !own.contains(&o.as_str())) {
            return Ok(Err(format!("operator {other}")));
        }
        let Some((inputs, outputs)) = data(folder, graph.input.len(), graph.output.len())? else {
            return Ok(Err("no plain tensors".to_owned()));
        };
        if !inputs.iter().any(is_float) {
            return Ok(Err("no float input".to_owned()));
        }
        if let Some(why) = inputs.iter().find_map(|t| check_usable(t).err()) {
            return Ok(Err(why));
        }
        let expected: Result<Vec<_>, String> = outputs.iter().map(tensor::values).collect();
        Ok(expected.and_then(|expected| match expected.iter().any(Vec::is_empty) {
            true => Err("empty tensors".to_owned()),
            false => Ok(Self { name, operators, expected, model, inputs }),
        }))
    }

    /// The forms in which to try the test, best first: every float input secret; only the
    /// first, the others being weights. Inputs that are no floats (shapes, axes) are always
    /// part of the model.
    pub(crate) fn forms(&self) -> Vec<Form> {
        let all: Vec<bool> = self.inputs.iter().map(is_float).collect();
        let first = all.iter().position(|f| *f);
        let one: Vec<bool> = (0..all.len()).map(|i| Some(i) == first).collect();
        let mut masks = vec![all];
        if masks[0] != one {
            masks.push(one);
        }
        masks.iter().map(|secret| self.form(secret)).collect()
    }

    fn form(&self, secret: &[bool]) -> Form {
        let mut model = self.model.clone();
        let mut inputs = Vec::new();
        if let Some(graph) = &mut model.graph {
            let infos = std::mem::take(&mut graph.input);
            for ((info, values), secret) in infos.into_iter().zip(&self.inputs).zip(secret) {
                if *secret {
                    inputs.push(tensor::values(values).unwrap_or_default().iter().map(|&v| v as f32).collect());
                    graph.input.push(info);
                } else {
                    graph.initializer.push(TensorProto { name: info.name, ..values.clone() });
                }
            }
        }
        Form { model: model.encode_to_vec(), inputs }
    }
}

/// The operators the importer claims.
fn supported() -> Vec<&'static str> {
    subrosa_graph::supported_ops().iter().map(|op| op.name).collect()
}

/// Why an input cannot be given to a model of ours.
fn check_usable(t: &TensorProto) -> Result<(), String> {
    let elements: i64 = t.dims.iter().product();
    match tensor::values(t)?.len() {
        0 => Err("empty tensors".to_owned()),
        n if n as i64 != elements => Err("no plain tensors".to_owned()),
        _ => Ok(()),
    }
}

fn is_float(t: &TensorProto) -> bool {
    matches!(tensor::kind(t), DataType::Float | DataType::Double)
}

/// Inputs and outputs.
type Data = (Vec<TensorProto>, Vec<TensorProto>);

/// The first data set, or `None` where an input or output is no tensor.
fn data(folder: &Path, inputs: usize, outputs: usize) -> Result<Option<Data>, String> {
    let folder = folder.join("test_data_set_0");
    let read = |what: &str, n: usize| -> Result<Option<Vec<TensorProto>>, String> {
        let mut tensors = Vec::new();
        for i in 0..n {
            match decode(&folder.join(format!("{what}_{i}.pb"))) {
                Ok(t) => tensors.push(t),
                Err(_) => return Ok(None),
            }
        }
        Ok(Some(tensors))
    };
    Ok(read("input", inputs)?.zip(read("output", outputs)?))
}

fn decode<M: Message + Default>(path: &Path) -> Result<M, String> {
    let bytes = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    M::decode(bytes.as_slice()).map_err(|e| format!("{}: {e}", path.display()))
}
