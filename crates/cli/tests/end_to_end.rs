//! Whole commands on shipped models and data.
#![allow(clippy::unwrap_used, clippy::panic, reason = "the helpers of tests may panic")]

mod support;

use serde_json::Value;
use std::io::Read;
use std::path::Path;
use std::process::Stdio;
use support::{command, shipped, succeed};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

fn saved(folder: &Path, name: &str) -> Value {
    json(&std::fs::read_to_string(folder.join(name)).unwrap())
}

#[test]
fn a_table_a_picture_and_an_array_are_computed_under_protection() {
    let folder = tempfile::tempdir().unwrap();
    let digit = folder.path().join("digit.png");
    std::fs::write(&digit, digit_png()).unwrap();
    let cases = [
        ("models/breast_cancer_mlp.onnx", shipped("data/breast_cancer/standardised_test.csv"), "in the clear"),
        ("models/lenet.onnx", digit.to_str().unwrap().to_owned(), "1 of 1 sample with the plain label"),
    ];
    for (model, input, said) in cases {
        let ran = succeed(folder.path(), &["run", &shipped(model), "--input", &input, "--via", "rep3", "--verify"]);
        assert!(ran.stdout.contains(said), "{}", ran.stdout);
    }
}

/// A seven, white on black, 28 x 28.
fn digit_png() -> Vec<u8> {
    let stroke = |x: usize, y: usize| {
        (6..9).contains(&y) && (7..21).contains(&x)
            || (8..24).contains(&y) && (26 - y..29 - y).contains(&(x.max(8) - 8 + (y - 8) / 3))
    };
    let pixels: Vec<u8> = (0..784).map(|i| if stroke(i % 28, i / 28) { 255 } else { 0 }).collect();
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, 28, 28);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
    out
}

#[test]
fn outputs_saved_can_be_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let (model, input) =
        (shipped("models/breast_cancer_mlp.onnx"), shipped("data/breast_cancer/standardised_test.csv"));
    for name in ["y.npy", "y.json", "y.csv"] {
        succeed(folder.path(), &["run", &model, "--input", &input, "--via", "plain", "--output", name]);
    }
    let values = saved(folder.path(), "y.json");
    assert_eq!(values["values"][0].as_array().unwrap().len(), 114 * 2);
    let lines = std::fs::read_to_string(folder.path().join("y.csv")).unwrap().lines().count();
    assert_eq!(lines, 115);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
}

#[test]
fn verification_and_accuracy_are_in_the_json() {
    let folder = tempfile::tempdir().unwrap();
    let (model, input) =
        (shipped("models/breast_cancer_mlp.onnx"), shipped("data/breast_cancer/standardised_test.csv"));
    let ran =
        succeed(folder.path(), &["run", &model, "--input", &input, "--verify", "--json", "--input-range", "-16,16"]);
    let document = json(&ran.stdout);
    assert_eq!(document["agreement"], 1.0);
    assert!(document["accuracy"].as_f64().unwrap() > 0.9);
    assert!(document["verification"]["max_abs_err"].as_f64().unwrap() < 0.05);
    assert_eq!(document["labels"].as_array().unwrap().len(), 114);
}

#[test]
fn what_a_plan_predicts_is_what_a_run_costs() {
    let folder = tempfile::tempdir().unwrap();
    let (model, input) =
        (shipped("models/breast_cancer_mlp.onnx"), shipped("data/breast_cancer/standardised_test.csv"));
    let range = ["--input-range", "-16,16", "--json"];
    let plan = json(&succeed(folder.path(), &[&["plan", &model, "--batch", "57"][..], &range].concat()).stdout);
    let run = ["run", &model, "--input", &input, "--batch", "57"];
    let run = json(&succeed(folder.path(), &[&run[..], &range].concat()).stdout);
    assert_eq!(run["output"]["setup"]["cost"], plan["fixed"]["setup"]);
    for batch in run["output"]["batches"].as_array().unwrap() {
        assert_eq!(batch["offline"]["cost"], plan["fixed"]["offline"]);
        assert_eq!(batch["online"]["cost"], plan["fixed"]["online"]);
    }
}

#[test]
fn a_comparison_writes_rows_and_a_page() {
    let folder = tempfile::tempdir().unwrap();
    let (mlp, cnn) = (shipped("models/mlp.onnx"), shipped("models/cnn.onnx"));
    let arguments = [
        "compare", "--model", &mlp, "--model", &cnn, "--images", "48", "--batch", "32", "--json", "r.json", "--html",
        "r.html",
    ];
    let ran = succeed(folder.path(), &arguments);
    assert!(ran.stdout.contains("rep3") && ran.stderr.contains("wrote r.html and r.json"), "{ran:?}");
    let report = saved(folder.path(), "r.json");
    let rows = report["rows"].as_array().unwrap();
    let names: Vec<_> = rows.iter().map(|r| (r["model"].as_str().unwrap(), r["backend"].as_str().unwrap())).collect();
    assert_eq!(names, [("mlp", "plain"), ("mlp", "rep3"), ("cnn", "plain"), ("cnn", "rep3")]);
    for row in rows {
        assert_eq!((row["images"].as_u64(), row["batch"].as_u64()), (Some(48), Some(32)));
        assert!(row["agreement"].as_f64().unwrap() > 0.97 && row["plain_accuracy"].as_f64().unwrap() > 0.9, "{row}");
        assert!(row["latency_ms_p50"].as_f64().unwrap() > 0.0 && row["throughput_per_s"].as_f64().unwrap() > 0.0);
    }
    let page = std::fs::read_to_string(folder.path().join("r.html")).unwrap();
    for id in ["slowdown", "latency", "throughput", "bytes", "accuracy"] {
        assert!(page.contains(&format!("<figure id=\"{id}\">")), "{id}");
    }
    assert!(page.contains("compare --model"), "the command is stated");
}

#[test]
fn a_comparison_of_ones_own_data() {
    let folder = tempfile::tempdir().unwrap();
    let (model, data) = (shipped("models/breast_cancer_mlp.onnx"), shipped("data/breast_cancer/standardised_test.csv"));
    let ran = succeed(
        folder.path(),
        &["compare", "--model", &model, "--data", &data, "--input-range", "-16,16", "--batch", "100", "--json", "-"],
    );
    let report = json(&ran.stdout);
    assert_eq!(report["rows"][1]["images"], 114);
    assert!(report["rows"][1]["accuracy"].as_f64().unwrap() > 0.9, "labels are the table's last column");
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut child =
        command(folder.path(), &["completions", "bash"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!((child.wait().unwrap().code(), stderr.as_str()), (Some(0), ""));
}

#[test]
fn completions_know_the_commands() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = succeed(folder.path(), &["completions", shell]).stdout;
        assert!(script.contains("inspect") && script.contains("public-weights"), "{shell}");
    }
}
