//! Homomorphic inference through the public interface.
#![expect(clippy::unwrap_used, reason = "the helpers of tests may panic")]

use subrosa::{Comparison, Dataset, InputSpec, Model, PlanOptions, Samples, Via, compare, verify};

fn path(relative: &str) -> String {
    format!("{}/../../{relative}", env!("CARGO_MANIFEST_DIR"))
}

fn model(name: &str) -> Model {
    Model::open(path(&format!("models/{name}.onnx"))).unwrap()
}

fn digits(model: &Model) -> Samples {
    Dataset::read(path("data/mnist/t10k-first100-images-idx3-ubyte.gz")).unwrap().fit(model.inputs()).unwrap()
}

/// Options with calibration data.
fn options(samples: &Samples) -> PlanOptions {
    PlanOptions {
        via: Via::Ckks,
        input: InputSpec::given(0.0, 1.0).unwrap(),
        calibration: samples.inputs.clone(),
        ..PlanOptions::default()
    }
}

#[test]
fn outputs_are_those_in_the_clear() {
    let model = model("mlp_square");
    let mut samples = digits(&model);
    let options = options(&samples);
    samples.keep(2);
    let plan = model.plan(&options).unwrap();
    let sheet = plan.sheet().ckks.clone().unwrap();
    assert_eq!((sheet.packing, sheet.ring_degree, sheet.levels), ("latency", 8192, 5));
    assert!(sheet.request_bytes < 1_500_000 && sheet.answer_bytes < 150_000);
    let output = plan.open().unwrap().run(&samples.inputs).unwrap();
    let plain = model.plan(&PlanOptions::default()).unwrap().open().unwrap().run(&samples.inputs).unwrap();
    let found = verify(&output, &plain);
    assert!(found.same_labels == 2 && found.max_abs_err.unwrap() < 0.5, "{found:?}");
    assert_eq!(output.batches[0].online.cost, sheet.online);
    assert!(plan.simulate().is_err());
}

#[test]
fn a_comparison_has_a_row_with_its_bytes() {
    let model = model("breast_cancer_mlp");
    let table = Dataset::read(path("data/breast_cancer/standardised_test.csv")).unwrap();
    let samples = table.fit(model.inputs()).unwrap();
    let input = InputSpec::calibrate(&samples).unwrap();
    let entry = subrosa::compare::Entry { model, samples, input };
    let options = Comparison {
        vias: vec![Via::Plain, Via::Ckks],
        workloads: vec![subrosa::compare::Workload { batch: 1, images: Some(4) }],
        threads: 1,
        public_weights: false,
        exact: false,
        insecure_self_dealer: false,
        budget: None,
        network: None,
        tee: None,
    };
    let report = compare(&[entry], &options, &mut |_| ()).unwrap();
    let row = &report.rows[1];
    assert_eq!((row.backend.as_str(), row.security_bits, row.images), ("ckks", 128, 4));
    assert!(row.bytes_up.unwrap() > 0 && row.bytes_down.unwrap() > 0 && row.bytes_keys.unwrap() > 0);
    assert!(row.agreement > 0.7, "{}", row.agreement);
}

#[test]
fn what_cannot_be_computed_is_refused_with_a_remedy() {
    let (lenet, relu) = (model("lenet"), model("mlp"));
    let text = |m: &Model, o: &PlanOptions| m.plan(o).err().unwrap().to_string();
    let none = PlanOptions { via: Via::Ckks, ..PlanOptions::default() };
    assert!(text(&lenet, &none).contains("average pooling"));
    assert!(text(&relu, &none).contains("--calibrate"));
    assert!(text(&relu, &PlanOptions { public_weights: true, ..none.clone() }).contains("'ckks' has neither"));
    let samples = digits(&model("mlp_square"));
    let outside = model("mlp_square").plan(&options(&samples)).unwrap().open().unwrap().run(&[vec![2.0; 784]]);
    assert!(outside.err().unwrap().to_string().contains("outside the range"));
}
