//! Operators one by one, against tract, in the forms of several operator sets.

use crate::build::Setting::{Float, Int, Ints, Text};
use crate::build::{Attribute, Onnx};
use crate::evaluator::{Noise, largest_difference};
use subrosa_graph::{Error, Model, Op, supported_ops};

/// One operator `y = op(x, ...)` on a batched input, compared with tract on three
/// samples.
fn check(opset: i64, dims: &[i64], op: &str, inputs: &str, attributes: &[Attribute], add: impl Fn(Onnx) -> Onnx) {
    let model = Onnx::new(opset).input("x", dims);
    let model = add(model).node(op, inputs, "y", attributes).output("y");
    let difference = largest_difference(&model.bytes(), 3, 7);
    assert!(difference < 1e-4, "{op} at opset {opset}: {difference}");
}

fn noise(n: usize) -> Vec<f32> {
    Noise(3).floats(n)
}

#[test]
fn elementwise() {
    for op in ["Abs", "Relu", "Sigmoid", "Tanh", "Erf", "Exp", "Neg", "Identity", "HardSigmoid", "HardSwish"] {
        check(17, &[0, 3, 4], op, "x", &[], |m| m);
    }
    check(17, &[0, 3], "LeakyRelu", "x", &[("alpha", Float(0.2))], |m| m);
    check(9, &[0, 3], "Clip", "x", &[("min", Float(-0.5)), ("max", Float(0.25))], |m| m);
    check(13, &[0, 3], "Clip", "x _ c", &[], |m| m.weight("c", &[], &[0.25]));
    check(13, &[0, 3], "Clip", "x c", &[], |m| m.weight("c", &[], &[-0.25]));
    check(17, &[0, 3, 2], "PRelu", "x s", &[], |m| m.weight("s", &[3, 1], &[0.1, 0.2, -0.3]));
    check(17, &[0, 3], "Pow", "x e", &[], |m| m.weight("e", &[], &[3.0]));
}

#[test]
fn arithmetic_broadcasts() {
    for op in ["Add", "Sub", "Mul", "Div", "Max", "Min"] {
        check(17, &[0, 2, 3], op, "x c", &[], |m| m.weight("c", &[2, 1], &[0.5, -2.0]));
        check(17, &[0, 2, 3], op, "c x", &[], |m| m.weight("c", &[2, 1], &[0.5, -2.0]));
    }
    for op in ["Add", "Sub", "Mul", "Max", "Min"] {
        check(17, &[0, 5], op, "x x", &[], |m| m);
    }
    check(17, &[0, 5], "Sum", "x c x", &[], |m| m.weight("c", &[1], &[0.5]));
}

#[test]
fn products() {
    for (a, b) in [(1.0, 1.0), (0.5, 2.0)] {
        let scales = [("alpha", Float(a)), ("beta", Float(b)), ("transB", Int(1))];
        check(17, &[0, 4], "Gemm", "x w c", &scales, |m| {
            m.weight("w", &[3, 4], &noise(12)).weight("c", &[3], &noise(3))
        });
    }
    check(17, &[0, 4], "Gemm", "x w", &[], |m| m.weight("w", &[4, 3], &noise(12)));
    check(17, &[0, 2, 4], "MatMul", "x w", &[], |m| m.weight("w", &[4, 3], &noise(12)));
    check(17, &[0, 2, 4], "MatMul", "w x", &[], |m| m.weight("w", &[5, 2], &noise(10)));
    check(17, &[0, 4, 4], "MatMul", "x x", &[], |m| m);
}

#[test]
fn convolutions() {
    let weights = |m: Onnx| m.weight("w", &[6, 2, 3, 3], &noise(108)).weight("b", &[6], &noise(6));
    let (group, pads) = (("group", Int(2)), ("pads", Ints(&[1, 0, 2, 1])));
    check(17, &[0, 4, 7, 8], "Conv", "x w b", &[group, pads, ("strides", Ints(&[2, 1]))], weights);
    check(17, &[0, 4, 7, 8], "Conv", "x w", &[group, ("dilations", Ints(&[2, 1]))], weights);
    for mode in ["SAME_UPPER", "SAME_LOWER", "VALID"] {
        let attributes = [group, ("auto_pad", Text(mode)), ("strides", Ints(&[2, 3]))];
        check(17, &[0, 4, 7, 8], "Conv", "x w", &attributes, weights);
    }
    let line = |m: Onnx| m.weight("w", &[5, 3, 4], &noise(60)).weight("b", &[5], &noise(5));
    check(17, &[0, 3, 9], "Conv", "x w b", &[("pads", Ints(&[2, 1])), ("strides", Ints(&[2]))], line);
}

#[test]
fn pools() {
    let kernel = ("kernel_shape", Ints(&[3, 2]));
    let (strides, pads) = (("strides", Ints(&[2, 2])), ("pads", Ints(&[1, 1, 1, 0])));
    check(17, &[0, 2, 7, 8], "MaxPool", "x", &[kernel, strides, pads], |m| m);
    check(17, &[0, 2, 7, 8], "AveragePool", "x", &[kernel, strides, pads], |m| m);
    check(17, &[0, 2, 7, 8], "AveragePool", "x", &[kernel, strides, pads, ("count_include_pad", Int(1))], |m| m);
    check(17, &[0, 2, 8], "MaxPool", "x", &[("kernel_shape", Ints(&[3]))], |m| m);
    check(17, &[0, 2, 8], "AveragePool", "x", &[("kernel_shape", Ints(&[2])), ("strides", Ints(&[2]))], |m| m);
    check(17, &[0, 2, 7, 8], "GlobalAveragePool", "x", &[], |m| m);
    check(17, &[0, 2, 7, 8], "GlobalMaxPool", "x", &[], |m| m);
}

#[test]
fn shapes() {
    check(17, &[0, 2, 3, 4], "Flatten", "x", &[], |m| m);
    check(17, &[0, 2, 6], "Reshape", "x s", &[], |m| m.ints("s", &[0, 3, -1]));
    check(17, &[0, 2, 6], "Transpose", "x", &[("perm", Ints(&[0, 2, 1]))], |m| m);
    check(11, &[0, 2, 1], "Squeeze", "x", &[("axes", Ints(&[2]))], |m| m);
    check(13, &[0, 2, 1], "Squeeze", "x a", &[], |m| m.ints("a", &[-1]));
    check(11, &[0, 2], "Unsqueeze", "x", &[("axes", Ints(&[1, 3]))], |m| m);
    check(13, &[0, 2], "Unsqueeze", "x a", &[], |m| m.ints("a", &[1, -1]));
    check(9, &[0, 5, 4], "Slice", "x", &[("starts", Ints(&[1])), ("ends", Ints(&[-1])), ("axes", Ints(&[1]))], |m| m);
    check(13, &[0, 5, 4], "Slice", "x s e a t", &[], |m| {
        m.ints("s", &[-1, 0]).ints("e", &[i64::MIN, 3]).ints("a", &[1, 2]).ints("t", &[-2, 1])
    });
    check(17, &[0, 4, 3], "Gather", "x i", &[("axis", Int(1))], |m| m.ints("i", &[2, -1, 0, 2]));
    check(17, &[0, 3, 1], "Expand", "x s", &[], |m| m.ints("s", &[1, 3, 4]));
    check(17, &[0, 3], "Concat", "x x x", &[("axis", Int(1))], |m| m);
    check(10, &[0, 3, 3], "Pad", "x", &[("pads", Ints(&[0, 1, 0, 0, 2, 1])), ("value", Float(0.5))], |m| m);
    check(13, &[0, 3, 3], "Pad", "x p", &[("mode", Text("reflect"))], |m| m.ints("p", &[0, 1, 0, 0, 2, 1]));
    check(13, &[0, 3, 3], "Pad", "x p", &[("mode", Text("edge"))], |m| m.ints("p", &[0, 1, 0, 0, 2, 1]));
}

#[test]
fn reductions() {
    for op in ["ReduceSum", "ReduceMean", "ReduceMax"] {
        for keep in [0, 1] {
            let attributes = [("axes", Ints(&[-1, 1])), ("keepdims", Int(keep))];
            check(11, &[0, 2, 3, 4], op, "x", &attributes, |m| m);
        }
    }
    check(13, &[0, 2, 3], "ReduceSum", "x a", &[("keepdims", Int(0))], |m| m.ints("a", &[2]));
    check(17, &[0, 2, 3], "Softmax", "x", &[("axis", Int(1))], |m| m);
    check(11, &[0, 2, 3], "Softmax", "x", &[], |m| m);
    check(17, &[0, 6], "ArgMax", "x", &[("axis", Int(1)), ("keepdims", Int(0))], |m| m);
}

#[test]
fn split_has_several_outputs() {
    let model = Onnx::new(17).input("x", &[0, 5]).ints("s", &[2, 3]).node("Split", "x s", "a b", &[("axis", Int(1))]);
    let model = model.node("ReduceSum", "b", "c", &[]).node("Mul", "a c", "y", &[]).output("y").output("b");
    assert!(largest_difference(&model.bytes(), 1, 5) < 1e-5);
}

#[test]
fn shape_arithmetic_leaves_no_trace() {
    let model = Onnx::new(17).input("x", &[0, 2, 3]).ints("zero", &[0]).ints("rest", &[-1]);
    let model = model.node("Shape", "x", "s", &[]).node("Gather", "s zero", "n", &[]);
    let model = model.node("Concat", "n rest", "to", &[("axis", Int(0))]).node("Reshape", "x to", "y", &[]).output("y");
    assert!(largest_difference(&model.bytes(), 4, 5) < 1e-6);
    let model = Model::from_bytes(&model.bytes()).unwrap();
    assert_eq!(model.graph().nodes.len(), 2);
    model.check_batching().unwrap();
}

#[test]
fn an_output_may_be_an_input_or_a_constant() {
    let model = Onnx::new(17).input("x", &[0, 3]).weight("w", &[2], &[1.0, 2.0]).output("x").output("w");
    let model = Model::from_bytes(&model.bytes()).unwrap();
    assert!(matches!(model.graph().nodes[model.graph().outputs[0]].op, Op::Input));
    assert!(matches!(model.graph().nodes[model.graph().outputs[1]].op, Op::Weight(_)));
}

#[test]
fn several_inputs_and_initialised_inputs() {
    let model = Onnx::new(17).input("a", &[0, 3]).input("w", &[3]).input("b", &[0, 3]).weight("w", &[3], &noise(3));
    let model = model.node("Mul", "a w", "aw", &[]).node("Add", "aw b", "y", &[]).output("y");
    assert!(largest_difference(&model.bytes(), 2, 5) < 1e-5);
    let names: Vec<String> =
        Model::from_bytes(&model.bytes()).unwrap().inputs().iter().map(|p| p.name.clone()).collect();
    assert_eq!(names, ["a", "b"]);
}

#[test]
fn a_model_without_batch_axis_runs_sample_by_sample() {
    let model = Onnx::new(17).input("x", &[1, 3]).weight("w", &[3, 2], &noise(6)).node("MatMul", "x w", "y", &[]);
    assert!(largest_difference(&model.output("y").bytes(), 3, 5) < 1e-5);
}

#[test]
fn models_that_mix_samples_are_found() {
    let mixing = [
        Onnx::new(11).input("x", &[0, 3]).node("ReduceMean", "x", "m", &[("axes", Ints(&[0]))]).node(
            "Sub",
            "x m",
            "y",
            &[],
        ),
        Onnx::new(17).input("x", &[0, 3]).node("Transpose", "x", "t", &[]).node("MatMul", "x t", "y", &[]),
        Onnx::new(17).input("x", &[0, 3]).ints("s", &[1, 3]).node("Reshape", "x s", "y", &[]),
        Onnx::new(17).input("x", &[0, 4]).node("Softmax", "x", "y", &[("axis", Int(0))]),
    ];
    for model in mixing {
        let model = Model::from_bytes(&model.output("y").bytes()).unwrap();
        let error = model.check_batching().unwrap_err().to_string();
        assert!(error.contains("mixes the samples"), "{error}");
    }
}

#[test]
fn every_unsupported_node_is_listed_at_once() {
    let model = Onnx::new(17).input("x", &[0, 3, 8, 8]).weight("w", &[3, 3, 1, 1], &noise(9));
    let model = model.node("ConvTranspose", "x w", "up", &[]).node("Relu", "up", "r", &[]);
    let model = model.node("Elu", "r", "e", &[]).node("Resize", "e", "y", &[]);
    let model = model.node("LSTM", "x", "dead", &[]).output("y");
    let Err(Error::Unsupported(nodes)) = Model::from_bytes(&model.bytes()) else { panic!("imported") };
    let found: Vec<(&str, &str)> = nodes.iter().map(|n| (n.node.as_str(), n.op.as_str())).collect();
    assert_eq!(found, [("up", "ConvTranspose"), ("e", "Elu"), ("y", "Resize")]);
    assert!(nodes[1].hint.as_ref().unwrap().contains("LeakyRelu"));
    let inspection = Model::inspect(&model.bytes()).unwrap();
    assert_eq!(inspection.unsupported, nodes);
    assert_eq!(inspection.ops.len(), 5);
}

#[test]
fn an_index_cannot_be_computed_with() {
    let model = Onnx::new(17).input("x", &[0, 3]).node("ArgMax", "x", "i", &[("axis", Int(1))]);
    let cast = model.clone().node("Cast", "i", "y", &[("to", Int(6))]).output("y");
    assert!(Model::from_bytes(&cast.bytes()).is_ok());
    let computed = model.node("Cast", "i", "f", &[("to", Int(1))]).node("Add", "f f", "y", &[]).output("y");
    let Err(Error::Unsupported(nodes)) = Model::from_bytes(&computed.bytes()) else { panic!("imported") };
    assert!(nodes[0].why.contains("ArgMax"));
}

#[test]
fn the_table_is_in_order() {
    let names: Vec<&str> = supported_ops().iter().map(|op| op.name).collect();
    assert!(names.is_sorted());
    assert!(names.len() > 50);
}
