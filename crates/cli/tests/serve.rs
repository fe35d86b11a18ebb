//! A server and its client as two processes, in the clear; and what a machine without trusted
//! hardware refuses.
#![allow(clippy::unwrap_used, clippy::panic, reason = "the helpers of tests may panic")]

mod support;

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use support::{command, shipped, subrosa, succeed};

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_server_answers_its_client_as_tract_does() {
    let folder = tempfile::tempdir().unwrap();
    let model = shipped("models/mlp.onnx");
    let arguments = ["serve", &format!("digits@4={model}"), "--listen", "127.0.0.1:0"];
    let mut server =
        Killed(command(folder.path(), &arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("digits@4 via plain (plain) at http://127.0.0.1:"), "{line}");
    let url = line.trim().rsplit(' ').next().unwrap();
    let input = shipped("examples/digits.npy");
    let labels = |arguments: &[&str]| {
        let ran = succeed(folder.path(), &[arguments, &["--via", "plain", "--input", &input, "--json"]].concat());
        let json: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        json["labels"].clone()
    };
    let plain = labels(&["run", &model]);
    assert_eq!(labels(&["run", "digits", "--url", url]), plain);
    assert_eq!(labels(&["run", "digits@4", "--url", url, "--batch", "3"]), plain);
    for (arguments, said) in [
        (vec!["run", "digits@5", "--url", url, "--via", "plain"], "refuses (404): there is no such model"),
        (vec!["run", &model, "--url", url, "--via", "plain"], "refuses (404)"),
        (vec!["run", "digits", "--url", url, "--via", "rep3"], "a server answers via plain or tee"),
        (vec!["run", "digits", "--url", url, "--via", "tee"], "give --policy and --signer"),
        (vec!["run", "digits", "--url", "ftp://x", "--via", "plain"], "is no URL"),
        (vec!["run", "digits", "--url", "https://127.0.0.1:1", "--via", "plain"], "give --ca FILE"),
        (vec!["run", "digits", "--url", "http://127.0.0.1:1", "--via", "plain"], "no answer from"),
    ] {
        let ran = subrosa(folder.path(), &[&arguments[..], &["--input", &input]].concat());
        assert!(ran.code != Some(0) && ran.stderr.contains(said), "{arguments:?}: {}", ran.stderr);
    }
}

#[cfg(not(feature = "simulation"))]
#[test]
fn without_hardware_and_simulation_tee_is_refused_and_said_so() {
    let folder = tempfile::tempdir().unwrap();
    let (model, input) = (shipped("models/mlp.onnx"), shipped("examples/digits.npy"));
    let why = "no trusted hardware that could attest this program, and this build cannot simulate it";
    for arguments in [
        vec!["serve", &model, "--via", "tee", "--listen", "127.0.0.1:0"],
        vec!["run", &model, "--via", "tee", "--input", &input],
    ] {
        let ran = subrosa(folder.path(), &arguments);
        assert!(ran.code != Some(0) && ran.stderr.contains(why), "{arguments:?}: {}", ran.stderr);
    }
    let compare = ["compare", "--model", &model, "--via", "plain", "--via", "tee", "--images", "8"];
    let ran = succeed(folder.path(), &[&compare[..], &["--html", "page.html"]].concat());
    assert!(ran.stdout.contains("no row for via tee: this machine has no trusted hardware"), "{}", ran.stdout);
    let page = std::fs::read_to_string(folder.path().join("page.html")).unwrap();
    assert!(page.contains("this machine has no trusted hardware"));
    assert!(!subrosa(folder.path(), &["serve", "--help"]).stdout.contains("simulate"));
}
