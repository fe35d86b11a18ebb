//! Four commands in four folders: a client, a server, and the files between them.
#![allow(clippy::unwrap_used, reason = "the helpers of tests may panic")]

mod support;

use std::fs;
use std::path::Path;
use support::{shipped, subrosa, succeed};

fn copy(name: &str, from: &Path, to: &Path) {
    fs::copy(from.join(name), to.join(name)).unwrap();
}

/// Planner, client, server; each sees only what is sent to it.
struct Folders {
    owner: tempfile::TempDir,
    client: tempfile::TempDir,
    server: tempfile::TempDir,
}

fn prepared() -> Folders {
    let f = Folders {
        owner: tempfile::tempdir().unwrap(),
        client: tempfile::tempdir().unwrap(),
        server: tempfile::tempdir().unwrap(),
    };
    let table = shipped("data/breast_cancer/standardised_test.csv");
    let model = shipped("models/breast_cancer_logreg.onnx");
    succeed(f.owner.path(), &["plan", &model, "--via", "ckks", "--calibrate", &table, "--save", "plan.ckks"]);
    copy("plan.ckks", f.owner.path(), f.client.path());
    succeed(f.client.path(), &["keygen", "plan.ckks"]);
    copy("evaluation.keys", f.client.path(), f.server.path());
    f
}

#[test]
fn a_client_and_a_server_share_files_only() {
    let f = prepared();
    let table = shipped("data/breast_cancer/standardised_test.csv");
    let model = shipped("models/breast_cancer_logreg.onnx");
    succeed(f.client.path(), &["encrypt", "--input", &table, "--images", "1"]);
    copy("request.ckks", f.client.path(), f.server.path());
    succeed(f.server.path(), &["evaluate", &model]);
    copy("answer.ckks", f.server.path(), f.client.path());
    let found = succeed(f.client.path(), &["decrypt", "--output", "found.csv"]);
    assert!(found.stdout.contains("label"), "{}", found.stdout);
    let plain = ["run", &model, "--input", &table, "--via", "plain", "--images", "1", "--output", "plain.csv"];
    succeed(f.owner.path(), &plain);
    let values = |folder: &Path, name: &str| -> Vec<f64> {
        let text = fs::read_to_string(folder.join(name)).unwrap();
        text.lines().nth(1).unwrap().split(',').map(|v| v.parse().unwrap()).collect()
    };
    let (a, b) = (values(f.client.path(), "found.csv"), values(f.owner.path(), "plain.csv"));
    assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-3), "{a:?} {b:?}");
    // The server's folder holds no part of the secret key: its last 64 bytes are nowhere.
    let secret = fs::read(f.client.path().join("client.key")).unwrap();
    let tail = &secret[secret.len() - 64..];
    for entry in fs::read_dir(f.server.path()).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(tail.len()).any(|w| w == tail));
    }
}

#[test]
fn files_of_others_and_damaged_ones_are_refused_by_name() {
    let (f, other) = (prepared(), prepared());
    let table = shipped("data/breast_cancer/standardised_test.csv");
    let model = shipped("models/breast_cancer_logreg.onnx");
    let says = |folder: &Path, arguments: &[&str], words: &str| {
        let ran = subrosa(folder, arguments);
        assert!(ran.code != Some(0) && ran.stderr.contains(words), "{arguments:?}: {}", ran.stderr);
    };
    succeed(f.client.path(), &["encrypt", "--input", &table, "--images", "1"]);
    copy("request.ckks", f.client.path(), other.server.path());
    says(
        other.server.path(),
        &["evaluate", &model],
        "request.ckks: the request file is not valid: it belongs to another key",
    );
    says(f.client.path(), &["keygen", "plan.ckks"], "never overwritten");
    says(f.client.path(), &["keygen", "request.ckks", "--secret", "b.key"], "it is a request file");
    says(f.client.path(), &["decrypt", "--input", "request.ckks"], "it is a request file");
    copy("request.ckks", f.client.path(), f.server.path());
    let mut bytes = fs::read(f.server.path().join("request.ckks")).unwrap();
    bytes.truncate(bytes.len() / 2);
    fs::write(f.server.path().join("request.ckks"), bytes).unwrap();
    says(f.server.path(), &["evaluate", &model], "it is cut off");
    let mlp = shipped("models/breast_cancer_mlp.onnx");
    says(f.server.path(), &["plan", &shipped("models/lenet.onnx"), "--via", "ckks"], "average pooling");
    says(f.server.path(), &["plan", &mlp, "--save", "x"], "only a plan via ckks");
    says(f.server.path(), &["plan", &model, "--via", "ckks", "--reveal", "label"], "the client decrypts the outputs");
}
