//! A circuit computes what the model computes, for every shipped model it takes.
#![expect(clippy::unwrap_used, reason = "the helpers of tests may panic")]

use subrosa_graph::Model;
use subrosa_he::circuit::{Circuit, Kind};
use subrosa_he::{Client, Plan, PlanOptions, Server};

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

/// Activations by quartics: the labels stay. Encrypted, the outputs are those of the
/// approximated circuit.
#[test]
fn approximated_activations_keep_the_labels() {
    let model = model("breast_cancer_mlp");
    let circuit = Circuit::import(model.graph()).unwrap();
    let path = format!("{}/../../data/breast_cancer/standardised_test.csv", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let numbers = |line: &str| line.split(',').filter_map(|v| v.parse().ok()).take(30).collect::<Vec<f64>>();
    let rows: Vec<Vec<f64>> = text.lines().skip(1).map(numbers).filter(|r| r.len() == 30).collect();
    assert!(rows.len() > 100);
    let (fitted, found) = circuit.approximated(&rows).unwrap();
    assert!(!fitted.has_functions() && found.len() == 2);
    let label = |c: &Circuit, x: &Vec<f64>| {
        let y = &c.evaluate(std::slice::from_ref(x))[c.outputs[0]];
        y[1] > y[0]
    };
    let same = rows.iter().filter(|x| label(&circuit, x) == label(&fitted, x)).count();
    assert!(same + 3 >= rows.len(), "{same} of {}", rows.len());
    let options = PlanOptions {
        input_range: (-32.0, 32.0),
        samples: rows.clone(),
        model: "breast_cancer_mlp".to_owned(),
        ..PlanOptions::default()
    };
    let plan = Plan::latency(&circuit, &options).unwrap();
    let client = Client::new(plan.public.clone()).unwrap();
    let keys = client.evaluation_keys().unwrap();
    let server = Server::new(&plan).unwrap();
    for x in &rows[..3] {
        let input: Vec<f32> = x.iter().map(|&v| v as f32).collect();
        let answer = server.evaluate(&keys, client.encrypt(&input).unwrap()).unwrap();
        let expected = &fitted.evaluate(std::slice::from_ref(x))[fitted.outputs[0]];
        for (a, b) in client.decrypt(&answer).unwrap().iter().zip(expected) {
            assert!((f64::from(*a) - b).abs() < 0.02, "{a} {b}");
        }
    }
    assert!(circuit.approximated(&[]).is_err(), "there is nothing to fit to");
}
