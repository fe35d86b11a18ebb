//! The node tests of the ONNX project: one operator each, with expected outputs.
//!
//! They are not part of this repository. With the Python package `onnx` installed, run
//! `SUBROSA_ONNX_NODE_TESTS=.../site-packages/onnx/backend/test/data/node cargo test -p
//! subrosa-graph --test import -- --nocapture`; without the variable the test
//! passes at once.

use crate::evaluator::evaluate;
use prost::Message;
use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use subrosa_graph::{Error, Model, supported_ops};
use tract_onnx::pb::{ModelProto, TensorProto, tensor_proto::DataType};
use tract_onnx::prelude::f16;

enum Verdict {
    Right { inputs: usize },
    Unsupported(String),
    Wrong(String),
}

#[test]
fn supported_operators_agree_with_the_onnx_project() {
    let Some(dir) = std::env::var_os("SUBROSA_ONNX_NODE_TESTS") else { return };
    let supported: HashSet<&str> = supported_ops().iter().map(|op| op.name).collect();
    let mut cases: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    cases.sort();
    let (mut right, mut constant, mut unsupported, mut wrong) = (0, 0, Vec::new(), Vec::new());
    for case in &cases {
        let bytes = std::fs::read(case.join("model.onnx")).unwrap();
        let model = ModelProto::decode(bytes.as_slice()).unwrap();
        let nodes = &model.graph.as_ref().unwrap().node;
        if !nodes.iter().all(|n| n.domain.is_empty() && supported.contains(n.op_type.as_str())) {
            continue;
        }
        let name = case.file_name().unwrap().to_string_lossy().into_owned();
        if name.contains("BFLOAT16") {
            continue; // the files hold the bits and say they are integers
        }
        match verdict(case, &model) {
            Verdict::Right { inputs: 0 } => constant += 1,
            Verdict::Right { .. } => right += 1,
            Verdict::Unsupported(why) => unsupported.push(format!("{name}: {why}")),
            Verdict::Wrong(why) => wrong.push(format!("{name}: {why}")),
        }
    }
    println!(
        "{right} right, {constant} right but for constants alone, {} unsupported, {} wrong",
        unsupported.len(),
        wrong.len()
    );
    unsupported.iter().for_each(|line| println!("unsupported {line}"));
    wrong.iter().for_each(|line| println!("WRONG {line}"));
    assert!(wrong.is_empty());
    assert!(right > 200, "only {right}");
}

/// A test gives everything as an input; here what has to be a constant becomes one:
/// integers, then also everything but the first input.
fn verdict(case: &Path, model: &ModelProto) -> Verdict {
    let data = tensors(&case.join("test_data_set_0"), "input_");
    let expected = tensors(&case.join("test_data_set_0"), "output_");
    let float = |t: &TensorProto| t.data_type == DataType::Float as i32 || t.data_type == DataType::Double as i32;
    let variants: [Box<dyn Fn(usize) -> bool>; 3] = [
        Box::new(|i| float(&data[&i])),
        Box::new(|i| float(&data[&i]) && i == 0),
        Box::new(|i| float(&data[&i]) && i + 1 == data.len()),
    ];
    let mut verdict = Verdict::Unsupported("nothing tried".into());
    for is_input in &variants {
        match (&verdict, run(model, &data, &expected, is_input)) {
            (_, Verdict::Wrong(why)) => return Verdict::Wrong(why),
            (Verdict::Right { .. }, _) => {}
            (_, next) => verdict = next,
        }
    }
    verdict
}

fn run(
    model: &ModelProto,
    data: &BTreeMap<usize, TensorProto>,
    expected: &BTreeMap<usize, TensorProto>,
    is_input: &dyn Fn(usize) -> bool,
) -> Verdict {
    let mut model = model.clone();
    let graph = model.graph.as_mut().unwrap();
    let mut inputs = Vec::new();
    for (i, info) in std::mem::take(&mut graph.input).into_iter().enumerate() {
        let Some(tensor) = data.get(&i) else { return Verdict::Unsupported("an input is no tensor".into()) };
        if is_input(i) {
            inputs.push(floats(tensor));
            graph.input.push(info);
        } else {
            graph.initializer.push(TensorProto { name: info.name, ..tensor.clone() });
        }
    }
    let model = match Model::from_bytes(&model.encode_to_vec()) {
        Ok(model) => model,
        Err(Error::Unsupported(nodes)) => return Verdict::Unsupported(nodes[0].why.clone()),
        Err(e) => return Verdict::Unsupported(format!("{e}")),
    };
    let got = evaluate(model.graph(), &inputs);
    for (i, got) in got.iter().enumerate() {
        let expected = &expected[&i];
        let dims: Vec<usize> = expected.dims.iter().map(|&d| d as usize).collect();
        if got.dims != dims {
            return Verdict::Wrong(format!("shape {:?}, expected {dims:?}", got.dims));
        }
        let error = got
            .data
            .iter()
            .zip(floats(expected))
            .map(|(a, b)| if *a == b || a.is_nan() && b.is_nan() { 0.0 } else { (a - b).abs() / b.abs().max(1.0) });
        let worst = error.fold(0.0, |w: f64, e| if e.is_nan() { f64::INFINITY } else { w.max(e) });
        if worst > 1e-4 && !coarse(expected) {
            return Verdict::Wrong(format!("off by {worst}"));
        }
    }
    Verdict::Right { inputs: inputs.len() }
}

/// Half-precision results carry ten bits; ours are exact.
fn coarse(t: &TensorProto) -> bool {
    t.data_type == DataType::Float16 as i32 || t.data_type == DataType::Bfloat16 as i32
}

fn tensors(dir: &Path, prefix: &str) -> BTreeMap<usize, TensorProto> {
    let mut found = BTreeMap::new();
    for i in 0.. {
        let Ok(bytes) = std::fs::read(dir.join(format!("{prefix}{i}.pb"))) else { break };
        if let Ok(tensor) = TensorProto::decode(bytes.as_slice()) {
            found.insert(i, tensor);
        }
    }
    found
}

fn floats(t: &TensorProto) -> Vec<f64> {
    let raw = |n: usize, f: fn(u64) -> f64| {
        t.raw_data.chunks_exact(n).map(|b| f(b.iter().rev().fold(0, |n, &b| n << 8 | u64::from(b)))).collect()
    };
    match DataType::try_from(t.data_type).unwrap() {
        DataType::Float if t.raw_data.is_empty() => t.float_data.iter().map(|&v| f64::from(v)).collect(),
        DataType::Float => raw(4, |b| f64::from(f32::from_bits(b as u32))),
        DataType::Double => raw(8, f64::from_bits),
        DataType::Float16 => raw(2, |b| f64::from(f16::from_bits(b as u16))),
        DataType::Bfloat16 => raw(2, |b| f64::from(f32::from_bits((b as u32) << 16))),
        DataType::Int64 => raw(8, |b| b as i64 as f64),
        DataType::Uint64 => raw(8, |b| b as f64),
        DataType::Int32 => raw(4, |b| f64::from(b as i32)),
        DataType::Uint32 => raw(4, |b| b as f64),
        DataType::Int16 => raw(2, |b| f64::from(b as i16)),
        DataType::Uint16 => raw(2, |b| b as f64),
        DataType::Int8 => raw(1, |b| f64::from(b as i8)),
        DataType::Uint8 | DataType::Bool => raw(1, |b| b as f64),
        other => panic!("{other:?}"),
    }
}
