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
    Right {
        inputs: usize,
    },
    Unsupported(String),
    Wrong(String),
    /// Imported rightly, but tract disagrees or cannot run it.
    NotPlain(String),
}

#[test]
fn supported_operators_agree_with_the_onnx_project() {
    let Some(dir) = std::env::var_os("SUBROSA_ONNX_NODE_TESTS") else { return };
    let supported: HashSet<&str> = supported_ops().iter().map(|op| op.name).collect();
    let mut cases: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    cases.sort();
    let (mut right, mut constant) = (0, 0);
    let (mut unsupported, mut wrong, mut not_plain) = (Vec::new(), Vec::new(), Vec::new());
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
            Verdict::NotPlain(why) => not_plain.push(format!("{name}: {why}")),
        }
    }
    println!(
        "{right} right, {constant} right but for constants alone, {} unsupported, {} wrong",
        unsupported.len(),
        wrong.len()
    );
    unsupported.iter().for_each(|line| println!("unsupported {line}"));
    not_plain.iter().for_each(|line| println!("not plain {line}"));
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
            (Verdict::Right { .. } | Verdict::NotPlain(_), _) => {}
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
        let Some(tensor) = data.get(&i) else {
            graph.input.push(info);
            continue;
        };
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
    let ours = evaluate(model.graph(), &inputs);
    for (i, got) in ours.iter().enumerate() {
        let dims: Vec<usize> = expected[&i].dims.iter().map(|&d| d as usize).collect();
        if got.dims != dims {
            return Verdict::Wrong(format!("shape {:?}, expected {dims:?}", got.dims));
        }
    }
    let ours: Vec<Vec<f64>> = ours.into_iter().map(|v| v.data).collect();
    if let Err(why) = agree(&ours, expected) {
        return Verdict::Wrong(why);
    }
    if let Err(why) = plain(&model, &inputs).and_then(|plain| agree(&plain, expected)) {
        return Verdict::NotPlain(why);
    }
    Verdict::Right { inputs: inputs.len() }
}

/// Half-precision results carry ten bits; ours are exact.
fn coarse(t: &TensorProto) -> bool {
    t.data_type == DataType::Float16 as i32 || t.data_type == DataType::Bfloat16 as i32
}

/// What tract makes of the model.
fn plain(model: &Model, inputs: &[Vec<f64>]) -> Result<Vec<Vec<f64>>, String> {
    let inputs: Vec<Vec<f32>> = inputs.iter().map(|x| x.iter().map(|&v| v as f32).collect()).collect();
    let slices: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
    let outputs = model.plain(1).and_then(|p| p.run(&slices)).map_err(|e| e.to_string())?;
    Ok(outputs.into_iter().map(|x| x.into_iter().map(f64::from).collect()).collect())
}

fn agree(got: &[Vec<f64>], expected: &BTreeMap<usize, TensorProto>) -> Result<(), String> {
    for (i, got) in got.iter().enumerate() {
        let relative = |(a, b): (&f64, f64)| match () {
            () if *a == b || a.is_nan() && b.is_nan() => 0.0,
            () if a.is_nan() || b.is_nan() => f64::INFINITY,
            () => (a - b).abs() / b.abs().max(1.0),
        };
        let worst = got.iter().zip(floats(&expected[&i])).map(relative).fold(0.0, f64::max);
        if worst > 1e-4 && !coarse(&expected[&i]) {
            return Err(format!("off by {worst}"));
        }
    }
    Ok(())
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
    #[expect(clippy::wildcard_enum_match_arm, reason = "what is left are bytes")]
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
        _ => raw(1, |b| b as f64),
    }
}
