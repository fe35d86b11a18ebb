//! Every shipped model through the public interface: what a plan predicts is what a run
//! costs, exactly, and what comes out is what the clear gives.
#![expect(clippy::unwrap_used, reason = "the helpers of tests may panic")]

use subrosa::{Dataset, InputSpec, Model, Output, PlanOptions, Reveal, Samples, Via, verify};

const MODELS: [&str; 10] = [
    "mlp",
    "mlp_square",
    "cnn",
    "cnn_square",
    "lenet",
    "lenet_square",
    "lenet_poly",
    "lenet5",
    "breast_cancer_mlp",
    "breast_cancer_logreg",
];

/// Samples a model is run on, in batches of three: the last one is smaller.
const SAMPLES: usize = 4;
const BATCH: usize = 3;

fn path(relative: &str) -> String {
    format!("{}/../../{relative}", env!("CARGO_MANIFEST_DIR"))
}

fn setting(name: &str) -> (Model, Samples, InputSpec) {
    let model = Model::open(path(&format!("models/{name}.onnx"))).unwrap();
    let table = name.starts_with("breast_cancer");
    let (data, calibration) = if table {
        ("data/breast_cancer/standardised_test.csv", "data/breast_cancer/standardised_test.csv")
    } else {
        ("data/mnist/t10k-first100-images-idx3-ubyte.gz", "data/mnist/train-first1000-images-idx3-ubyte.gz")
    };
    let read = |file: &str| Dataset::read(path(file)).unwrap().fit(model.inputs()).unwrap();
    let mut samples = read(data);
    samples.keep(SAMPLES);
    let input = InputSpec::calibrate(&read(calibration)).unwrap();
    (model, samples, input)
}

fn run(model: &Model, samples: &Samples, options: &PlanOptions) -> Output {
    model.plan(options).unwrap().open().unwrap().run(&samples.inputs).unwrap()
}

#[test]
fn cost_is_predicted_exactly_and_answers_are_right() {
    for name in MODELS {
        let (model, samples, input) = setting(name);
        let options = PlanOptions { via: Via::Rep3, batch: BATCH, input, ..PlanOptions::default() };
        let plan = model.plan(&options).unwrap();
        let output = plan.open().unwrap().run(&samples.inputs).unwrap();
        let fixed = plan.sheet().fixed.clone().unwrap();
        assert_eq!(output.setup.cost, fixed.setup, "{name}: setup");
        assert_eq!(output.batches[0].offline.cost, fixed.offline, "{name}: offline");
        assert_eq!(output.batches[0].online.cost, fixed.online, "{name}: online");

        let rest = model.plan(&PlanOptions { batch: SAMPLES % BATCH, ..options.clone() }).unwrap();
        let rest = rest.sheet().fixed.clone().unwrap();
        assert_eq!(output.batches[1].online.cost, rest.online, "{name}: the smaller last batch");

        let plain = run(&model, &samples, &PlanOptions { batch: BATCH, ..PlanOptions::default() });
        let found = verify(&output, &plain);
        assert_eq!(found.same_labels, SAMPLES, "{name}: {found:?}");
    }
}

#[test]
fn the_protocol_is_within_its_bound_of_the_simulation() {
    for name in ["mlp", "breast_cancer_mlp", "lenet5"] {
        let (model, samples, input) = setting(name);
        let options = PlanOptions { via: Via::Rep3, batch: BATCH, input, ..PlanOptions::default() };
        let plan = model.plan(&options).unwrap();
        let protected = plan.open().unwrap().run(&samples.inputs).unwrap();
        let simulated = plan.simulate().unwrap().run(&samples.inputs).unwrap();
        let bound = plan.sheet().outputs[0].protocol_error.unwrap();
        let found = verify(&protected, &simulated).max_abs_err.unwrap();
        assert!(found <= bound, "{name}: {found} > {bound}");
    }
}

#[test]
fn labels_alone_are_opened() {
    let (model, samples, input) = setting("mlp");
    let options = PlanOptions { via: Via::Rep3, batch: BATCH, input, reveal: Reveal::Label, ..PlanOptions::default() };
    let output = run(&model, &samples, &options);
    assert_eq!((output.values[0].len(), output.labels_only), (SAMPLES, true));
    let plain = run(&model, &samples, &PlanOptions::default());
    assert_eq!(output.labels(), plain.labels());
    assert_eq!(verify(&output, &plain).max_abs_err, None);
    let plain_labels = run(&model, &samples, &PlanOptions { reveal: Reveal::Label, ..PlanOptions::default() });
    assert_eq!(plain_labels.values, output.values);
}

#[test]
fn public_weights_change_the_cost_and_not_the_answer() {
    let (model, samples, input) = setting("mlp");
    let secret = PlanOptions { via: Via::Rep3, batch: BATCH, input, ..PlanOptions::default() };
    let public = PlanOptions { public_weights: true, ..secret.clone() };
    let (a, b) = (run(&model, &samples, &secret), run(&model, &samples, &public));
    assert_eq!(a.labels(), b.labels());
    assert!(b.totals().1.bytes <= a.totals().1.bytes);
    let digests = [&secret, &public].map(|o| model.plan(o).unwrap().sheet().plan_digest.clone());
    assert_ne!(digests[0], digests[1], "parties with other options must not meet");
}

#[test]
fn an_input_outside_the_proven_range_is_refused() {
    let (model, mut samples, input) = setting("mlp");
    samples.inputs[0][784 + 5] = 1.5;
    let options = PlanOptions { via: Via::Rep3, input, ..PlanOptions::default() };
    let error = model.plan(&options).unwrap().open().unwrap().run(&samples.inputs).unwrap_err();
    assert!(error.to_string().contains("sample 2, value 6 is 1.5, outside the range [0, 1]"), "{error}");
}

#[test]
fn nothing_known_of_the_input_still_gives_a_plan() {
    for name in MODELS {
        let model = Model::open(path(&format!("models/{name}.onnx"))).unwrap();
        let plan = model.plan(&PlanOptions { via: Via::Rep3, ..PlanOptions::default() }).unwrap();
        let input = &plan.sheet().inputs[0];
        assert!(input.hi.unwrap() >= 1.0 && input.lo == input.hi.map(|h| -h), "{name}: {input:?}");
        assert!(plan.to_string().contains("who learns"));
    }
}
