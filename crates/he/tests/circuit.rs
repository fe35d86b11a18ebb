//! A circuit computes what the model computes, for every shipped model it takes.
#![expect(clippy::unwrap_used, reason = "the helpers of tests may panic")]

use subrosa_graph::Model;
use subrosa_he::circuit::{Circuit, Kind, Sparse, Step};
use subrosa_he::{Client, Plan, PlanOptions, Published, Server};

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

/// Activations by polynomials: the labels stay. Encrypted, the outputs are those of the
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
    let found = circuit.approximated(&rows).unwrap();
    let (fitted, forecast) = (found.circuit, found.forecast.unwrap());
    assert!(!fitted.has_functions() && found.functions.len() == 2);
    assert!(forecast.samples >= rows.len() / 4 && forecast.agreement > 0.95 && forecast.error < 0.5, "{forecast:?}");
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
    let plan = Plan::latency(&fitted, &options).unwrap();
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

/// `base + sum of f x + b` on ciphertexts, in both packings, behind polynomials of every
/// degree: what [`Circuit::evaluate`] says.
#[test]
fn sums_of_multiples_are_computed_in_both_packings() {
    let wave = |i: usize| ((i * 37 % 101) as f64 / 50.0 - 1.0) * 0.9;
    let affine = |x, rows: usize, cols: usize| Kind::Affine {
        terms: vec![(
            x,
            Sparse::from_rows(cols, (0..rows).map(|r| (0..cols).map(|c| (c as u32, wave(r + 3 * c))).collect())),
        )],
        bias: (0..rows).map(wave).collect(),
    };
    let combine = |base, terms: &[usize]| Kind::Combine {
        base,
        terms: terms.iter().map(|&x| (x, (0..6).map(|i| wave(i + x)).collect())).collect(),
        bias: (0..6).map(|i| wave(2 * i)).collect(),
    };
    let kinds = [
        (8, Kind::Input),
        (6, affine(0, 6, 8)),
        (6, Kind::Square(1, 0.0)),
        (6, combine(2, &[])),
        (6, Kind::Square(3, 0.0)),
        (6, combine(4, &[1, 2])),
        (3, affine(5, 3, 6)),
    ];
    let steps = kinds.into_iter().map(|(len, kind)| Step { name: "s".to_owned(), len, shape: vec![1, len], kind });
    let circuit = Circuit { steps: steps.collect(), inputs: vec![0], outputs: vec![6] };
    let x: Vec<f64> = (0..8).map(|i| wave(5 * i)).collect();
    let expected = &circuit.evaluate(std::slice::from_ref(&x))[6];
    let input: Vec<f32> = x.iter().map(|&v| v as f32).collect();
    let options = PlanOptions { input_range: (-1.0, 1.0), samples: vec![x], ..PlanOptions::default() };
    // The last value of throughput mode stands in many ciphertexts, of latency mode in one.
    for plan in [Plan::latency(&circuit, &options).unwrap(), Plan::throughput(&circuit, &options).unwrap()] {
        let client = Client::new(plan.public.clone()).unwrap();
        let keys = client.evaluation_keys().unwrap();
        let mut server = Server::new(&plan).unwrap();
        let answer = server.evaluate(&keys, client.encrypt(&input).unwrap()).unwrap();
        let found = client.decrypt(&answer).unwrap();
        for (a, b) in found.iter().zip(expected) {
            assert!((f64::from(*a) - b).abs() < 2e-3 * b.abs().max(1.0), "{found:?} {expected:?}");
        }
        server.set_threads(3).unwrap();
        assert_eq!(answer.ciphertexts[0].c0.row(0).len(), plan.public.params.n());
    }
}

/// What is published is off by the noise that was asked for, the same each time, on its grid;
/// and refused without room.
#[test]
fn published_answers_are_flooded_and_rounded() {
    let model = model("breast_cancer_logreg");
    let circuit = Circuit::import(model.graph()).unwrap();
    let samples: Vec<Vec<f64>> = (0..4).map(|k| (0..30).map(|i| ((i * 7 + k) as f64).sin()).collect()).collect();
    let options = PlanOptions { input_range: (-16.0, 16.0), samples: samples.clone(), ..PlanOptions::default() };
    let plan = Plan::publishable(&circuit, &options, 13).unwrap();
    let room = plan.public.publish.unwrap();
    let client = Client::new(plan.public.clone()).unwrap();
    let keys = client.evaluation_keys().unwrap();
    let server = Server::new(&plan).unwrap();
    let (mut offs, mut independent) = (Vec::new(), false);
    for sample in samples.iter().cycle().take(24) {
        let input: Vec<f32> = sample.iter().map(|&v| v as f32).collect();
        let answer = server.evaluate(&keys, client.encrypt(&input).unwrap()).unwrap();
        let (own, shown) = (client.decrypt(&answer).unwrap(), client.decrypt_to_publish(&answer, 13).unwrap());
        assert_eq!(shown, client.decrypt_to_publish(&answer, 13).unwrap(), "nothing is learnt by asking twice");
        let less = client.decrypt_to_publish(&answer, 12).unwrap();
        let noises = |p: &Published| own.iter().zip(&p.values).map(|(a, b)| f64::from(a - b) / p.deviation).collect();
        let (noise, other): (Vec<f64>, Vec<f64>) = (noises(&shown), noises(&less));
        // Rounding moves each by at most half a deviation, twice that at the smaller step.
        independent |= noise.iter().zip(&other).any(|(a, b)| (a - b).abs() > 1.5);
        assert!((shown.deviation - room.deviation(13, 2)).abs() < 1e-12 && shown.step <= shown.deviation);
        assert!(shown.values.iter().all(|&v| (f64::from(v) / shown.step).fract() == 0.0));
        offs.extend(own.iter().zip(&shown.values).map(|(a, b)| f64::from(a - b) / shown.deviation));
        assert!(client.decrypt_to_publish(&answer, 14).unwrap_err().to_string().contains("room for 13 bits"));
        assert!(client.decrypt_to_publish(&answer, 11).is_err(), "too little to hide anything");
    }
    assert!(independent, "less noise on the same answer is not the same noise, scaled");
    // 48 numbers of deviation one, and rounding.
    let deviation = (offs.iter().map(|v| v * v).sum::<f64>() / offs.len() as f64).sqrt();
    assert!((0.5..1.7).contains(&deviation), "{deviation}: {offs:?}");
    assert!(Plan::publishable(&circuit, &options, 40).unwrap_err().to_string().contains("fewer"));
    let without = Client::new(Plan::latency(&circuit, &options).unwrap().public).unwrap();
    assert!(without.plan().publish.is_none());
}
