//! A circuit computes what the model computes, for every shipped model it takes.

use subrosa_graph::Model;
use subrosa_he::circuit::{Circuit, Kind};

fn model(name: &str) -> Model {
    let path = format!("{}/../../models/{name}.onnx", env!("CARGO_MANIFEST_DIR"));
    Model::from_bytes(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn circuits_equal_their_models() {
    for name in [
        "mlp_square",
        "cnn_square",
        "lenet_square",
        "lenet_poly",
        "lenet5",
        "breast_cancer_mlp",
        "breast_cancer_logreg",
    ] {
        let model = model(name);
        let circuit = Circuit::import(model.graph()).unwrap();
        let n = model.inputs()[0].shape.len();
        let x: Vec<f32> = (0..n).map(|i| ((i * 37 % 101) as f32) / 101.0).collect();
        let plain = model.plain(1).unwrap().run(&[&x]).unwrap().remove(0);
        let values = circuit.evaluate(&[x.iter().map(|&v| f64::from(v)).collect()]);
        let found = &values[circuit.outputs[0]];
        let largest = plain.iter().fold(0f32, |m, v| m.max(v.abs()));
        for (a, b) in plain.iter().zip(found) {
            assert!((f64::from(*a) - b).abs() < 1e-4 * f64::from(largest), "{name}: {a} {b}");
        }
    }
}

/// What is affine is one step: two non-linear steps never have more than one between them.
#[test]
fn affine_maps_are_multiplied_out() {
    for (name, steps) in [("mlp_square", 6), ("lenet_square", 8), ("lenet_poly", 8), ("lenet5", 10)] {
        let circuit = Circuit::import(model(name).graph()).unwrap();
        assert_eq!(circuit.steps.len(), steps, "{name}");
        assert!(circuit.steps.iter().all(|s| !matches!(s.kind, Kind::Product(..))));
    }
}

#[test]
fn max_pooling_is_refused_with_the_remedy() {
    let error = Circuit::import(model("lenet").graph()).unwrap_err().to_string();
    assert!(error.contains("MaxPool") && error.contains("average pooling"), "{error}");
}
