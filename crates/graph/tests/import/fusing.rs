//! What is absorbed or recognised computes the same, and nothing else is left of it.

use crate::build::Onnx;
use crate::build::Setting::{Float, Int, Ints};
use crate::evaluator::{Noise, largest_difference};
use subrosa_graph::{Model, Op};

/// Names of the operations but inputs and weights, in order.
fn ops(model: &Onnx) -> Vec<String> {
    let model = Model::from_bytes(&model.bytes()).unwrap();
    let nodes = model.graph().nodes.iter().filter(|n| !matches!(n.op, Op::Input | Op::Weight(_)));
    let name = |op: &Op| format!("{op:?}").split([' ', '(']).next().unwrap().to_owned();
    nodes.map(|n| name(&n.op)).collect()
}

fn same(model: &Onnx) {
    let difference = largest_difference(&model.bytes(), 2, 11);
    assert!(difference < 1e-4, "{difference}");
}

fn noise(n: usize) -> Vec<f32> {
    Noise(4).floats(n)
}

fn batch_norm(model: Onnx, channels: usize, x: &str, y: &str) -> Onnx {
    let n = channels as i64;
    let variance: Vec<f32> = noise(channels).iter().map(|v| v.abs() + 0.1).collect();
    let model = model.weight("scale", &[n], &noise(channels)).weight("shift", &[n], &noise(channels));
    let model = model.weight("mean", &[n], &noise(channels)).weight("variance", &[n], &variance);
    model.node("BatchNormalization", &format!("{x} scale shift mean variance"), y, &[("epsilon", Float(1e-3))])
}

#[test]
fn batch_norm_goes_into_the_convolution_before_it() {
    let model = Onnx::new(17).input("x", &[0, 2, 5, 5]).weight("w", &[3, 2, 3, 3], &noise(54));
    let model = batch_norm(model.node("Conv", "x w", "c", &[]), 3, "c", "y").output("y");
    assert_eq!(ops(&model), ["Conv"]);
    same(&model);
    let line = Onnx::new(17).input("x", &[0, 2, 7]).weight("w", &[3, 2, 3], &noise(18)).weight("b", &[3], &noise(3));
    let line = batch_norm(line.node("Conv", "x w b", "c", &[]), 3, "c", "y").output("y");
    assert_eq!(ops(&line), ["Reshape", "Conv", "Reshape"]);
    same(&line);
}

#[test]
fn batch_norm_goes_into_the_product_before_it() {
    let model = Onnx::new(17).input("x", &[0, 4]).weight("w", &[4, 3], &noise(12)).weight("b", &[3], &noise(3));
    let biased = batch_norm(model.clone().node("Gemm", "x w b", "g", &[]), 3, "g", "y").output("y");
    assert_eq!(ops(&biased), ["MatMul", "Add"]);
    same(&biased);
    let plain = batch_norm(model.node("MatMul", "x w", "g", &[]), 3, "g", "y").output("y");
    assert_eq!(ops(&plain), ["MatMul", "Add"]);
    same(&plain);
}

#[test]
fn nothing_is_absorbed_into_what_others_read() {
    let model = Onnx::new(17).input("x", &[0, 2, 5, 5]).weight("w", &[3, 2, 3, 3], &noise(54));
    let model = batch_norm(model.node("Conv", "x w", "c", &[]), 3, "c", "n").node("Add", "c n", "y", &[]).output("y");
    assert_eq!(ops(&model), ["Conv", "Mul", "Add", "Add"]);
    same(&model);
}

#[test]
fn batch_norm_elsewhere_is_a_product_and_a_sum() {
    let model = batch_norm(Onnx::new(17).input("x", &[0, 3, 2, 2]), 3, "x", "y").output("y");
    assert_eq!(ops(&model), ["Mul", "Add"]);
    same(&model);
}

#[test]
fn a_factor_along_another_axis_stays() {
    let model =
        Onnx::new(17).input("x", &[0, 2, 3, 3]).weight("w", &[3, 2, 1, 1], &noise(6)).weight("f", &[3], &noise(3));
    let model = model.node("Conv", "x w", "c", &[]).node("Mul", "c f", "y", &[]).output("y");
    assert_eq!(ops(&model), ["Conv", "Mul"]);
    same(&model);
}

#[test]
fn gelu_is_recognised_in_any_order() {
    let start = || {
        let model = Onnx::new(17).input("x", &[0, 5]).weight("half", &[], &[0.5]).weight("one", &[], &[1.0]);
        let model = model.weight("root", &[], &[std::f32::consts::SQRT_2]);
        model.node("Div", "x root", "d", &[]).node("Erf", "d", "e", &[]).node("Add", "e one", "g", &[])
    };
    let orders = [
        start().node("Mul", "x g", "m", &[]).node("Mul", "m half", "y", &[]),
        start().node("Mul", "half x", "m", &[]).node("Mul", "m g", "y", &[]),
        start().node("Mul", "g half", "m", &[]).node("Mul", "x m", "y", &[]),
    ];
    for model in orders {
        let model = model.output("y");
        assert_eq!(ops(&model), ["Gelu"]);
        same(&model);
    }
    let other = start().weight("third", &[], &[0.3]).node("Mul", "x g", "m", &[]).node("Mul", "m third", "y", &[]);
    assert_eq!(ops(&other.output("y")).last().unwrap(), "Mul");
}

#[test]
fn the_tanh_form_of_gelu_is_recognised() {
    let c = (2.0 / std::f32::consts::PI).sqrt();
    let model = Onnx::new(17).input("x", &[0, 5]).weight("half", &[], &[0.5]).weight("one", &[], &[1.0]);
    let model = model.weight("k", &[], &[0.044715]).weight("c", &[], &[c]).weight("three", &[], &[3.0]);
    let model = model.node("Pow", "x three", "p", &[]).node("Mul", "p k", "kp", &[]).node("Add", "x kp", "s", &[]);
    let model = model.node("Mul", "s c", "cs", &[]).node("Tanh", "cs", "t", &[]).node("Add", "t one", "g", &[]);
    let model = model.node("Mul", "x half", "h", &[]).node("Mul", "h g", "y", &[]).output("y");
    assert_eq!(ops(&model), ["Gelu"]);
    same(&model);
}

#[test]
fn what_changes_nothing_leaves_nothing() {
    let model = Onnx::new(17).input("x", &[0, 3]).node("Identity", "x", "a", &[]).node("Dropout", "a", "b", &[]);
    let model = model.node("Cast", "b", "c", &[("to", Int(1))]).node("Transpose", "c", "d", &[("perm", Ints(&[0, 1]))]);
    let model = model.ints("s", &[-1, 3]).node("Reshape", "d s", "e", &[]).node("Relu", "e", "y", &[]).output("y");
    assert_eq!(ops(&model), ["Relu"]);
    same(&model);
}
