//! What the commands print, word for word. Times and what belongs to the machine are
//! masked. After an intended change: `SUBROSA_BLESS=1 cargo test -p subrosa-cli`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "the helpers of tests may panic")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use support::{onnx, shipped, subrosa, succeed};

fn check(name: &str, arguments: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let ran = subrosa(folder.path(), arguments);
    let text =
        masked(&format!("exit code {}\n--- stdout\n{}--- stderr\n{}", ran.code.unwrap(), ran.stdout, ran.stderr));
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden")).join(format!("{name}.txt"));
    if std::env::var_os("SUBROSA_BLESS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    assert!(text == golden, "{name} differs from {}:\n{text}\nwhere it was:\n{golden}", path.display());
}

/// Times as `<time>`, the repository's place as `<repo>`.
fn masked(text: &str) -> String {
    let repository = PathBuf::from(shipped("models")).parent().unwrap().display().to_string();
    let text = text.replace(&repository, "<repo>");
    text.lines().map(|line| masked_times(line) + "\n").collect()
}

fn masked_times(line: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    for word in line.split(' ') {
        let unit = word.trim_end_matches([',', ';']);
        let follows_number =
            words.last().is_some_and(|w| w.ends_with(|c: char| c.is_ascii_digit()) && w.parse::<f64>().is_ok());
        if matches!(unit, "us" | "ms" | "s") && follows_number {
            words.pop();
            words.push(format!("<time>{}", &word[unit.len()..]));
        } else {
            words.push(word.to_owned());
        }
    }
    words.join(" ")
}

#[test]
fn help() {
    check("help", &["--help"]);
    for command in [
        "doctor",
        "inspect",
        "plan",
        "run",
        "compare",
        "serve",
        "serve-key",
        "keygen",
        "encrypt",
        "evaluate",
        "decrypt",
        "attest",
        "completions",
        "health",
    ] {
        check(&format!("help-{command}"), &[command, "--help"]);
    }
}

#[test]
fn inspect() {
    check("inspect-lenet", &["inspect", &shipped("models/lenet.onnx")]);
    check("inspect-breast-cancer", &["inspect", &shipped("models/breast_cancer_mlp.onnx")]);
}

#[test]
fn inspect_lists_every_unsupported_node() {
    let nodes = [("r1", "Relu", "x", "a"), ("d1", "Det", "a", "b"), ("n1", "NonZero", "b", "y")];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("odd.onnx");
    fs::write(&path, onnx::model(&nodes, &[])).unwrap();
    check("inspect-unsupported", &["inspect", path.to_str().unwrap()]);
}

#[test]
fn plan() {
    let mlp = shipped("models/mlp.onnx");
    check("plan-plain", &["plan", &mlp, "--via", "plain"]);
    check("plan-mlp", &["plan", &mlp, "--input-range", "0,1", "--batch", "128"]);
    check("plan-mlp-label", &["plan", &mlp, "--input-range", "0,1", "--reveal", "label", "--public-weights"]);
    let images = shipped("data/mnist/train-first1000-images-idx3-ubyte.gz");
    let square = shipped("models/mlp_square.onnx");
    check("plan-ckks", &["plan", &square, "--via", "ckks", "--calibrate", &images]);
    check("plan-ckks-batch", &["plan", &square, "--via", "ckks", "--calibrate", &images, "--batch", "4096"]);
    check("plan-lenet-per-layer", &["plan", &shipped("models/lenet.onnx"), "--calibrate", &images, "--per-layer"]);
}

#[test]
fn run() {
    let (mlp, images) = (shipped("models/mlp.onnx"), shipped("data/mnist/t10k-first100-images-idx3-ubyte.gz"));
    let labels = shipped("data/mnist/t10k-first100-labels-idx1-ubyte.gz");
    check("run-plain", &["run", &mlp, "--input", &images, "--via", "plain", "--labels", &labels]);
    check("run-simulate", &["run", &mlp, "--input", &images, "--simulate", "--images", "3"]);
    let table = shipped("data/breast_cancer/standardised_test.csv");
    let model = shipped("models/breast_cancer_mlp.onnx");
    check("run-label", &["run", &model, "--input", &table, "--reveal", "label", "--images", "4"]);
}

#[test]
fn doctor_reports_each_check() {
    let folder = tempfile::tempdir().unwrap();
    let text = succeed(folder.path(), &["doctor"]).stdout;
    let checks: Vec<_> = text.lines().map(|l| l.split_whitespace().nth(1).unwrap()).collect();
    assert_eq!(checks, ["processor", "cores", "memory", "randomness", "enclaves"]);
    assert!(text.lines().all(|l| ["ok", "note", "bad"].contains(&l.split_whitespace().next().unwrap())), "{text}");
    assert!(!text.contains('\u{1b}'), "no colours where NO_COLOR is set");
}

#[test]
fn masks_hide_times_and_nothing_else() {
    assert_eq!(masked_times("computed  via rep3, 5 samples in 498 ms"), "computed  via rep3, 5 samples in <time>");
    assert_eq!(masked_times("setup 1.5 s, 3 rounds"), "setup <time>, 3 rounds");
    assert_eq!(masked_times("10 us of them"), "<time> of them");
    assert_eq!(masked_times("Pos s 3.45 MB"), "Pos s 3.45 MB");
}
