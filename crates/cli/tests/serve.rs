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
    let hash = "11".repeat(32);
    let plain = labels(&["run", &model]);
    assert_eq!(labels(&["run", "digits", "--url", url]), plain);
    assert_eq!(labels(&["run", "digits@4", "--url", url, "--batch", "3"]), plain);
    for (arguments, said) in [
        (vec!["run", "digits@5", "--url", url, "--via", "plain"], "refuses (404): there is no such model"),
        (vec!["run", &model, "--url", url, "--via", "plain"], "refuses (404)"),
        (vec!["run", "digits", "--url", url, "--via", "rep3"], "give --cluster subrosa.toml"),
        (vec!["run", "digits", "--url", url, "--via", "plain", "--cluster", "x"], "no parties"),
        (
            vec!["run", "digits", "--url", url, "--via", "fss"],
            "a server answers via plain, ckks, tee, or before parties",
        ),
        (vec!["run", "digits", "--url", url, "--via", "tee"], "give --policy and --signer"),
        (vec!["run", "digits", "--url", url, "--via", "plain", "--service", "x"], "via plain nothing is verified"),
        (vec!["run", "digits", "--url", url, "--via", "plain", "--shared-evidence"], "via plain nothing is verified"),
        (vec!["run", "digits", "--url", url, "--via", "plain", "--signer", "00"], "via plain nothing is verified"),
        (vec!["run", "digits", "--url", url, "--via", "plain", "--model-hash", &hash], "via plain nothing is verified"),
        (vec!["run", "digits", "--url", url, "--via", "tee", "--model-hash", "00"], "64 hexadecimal digits"),
        (vec!["run", &model, "--url", url, "--via", "tee", "--model-hash", &hash], "has not the SHA-256"),
        (vec!["run", "digitz.onnx", "--url", url, "--via", "tee"], "cannot read digitz.onnx"),
        (vec!["run", "models/digits", "--url", url, "--via", "tee"], "cannot read models/digits"),
        (vec!["run", "digits", "--url", "ftp://x", "--via", "plain"], "is no URL"),
        (vec!["run", "digits", "--url", "https://127.0.0.1:1", "--via", "plain"], "give --ca FILE"),
        (vec!["run", "digits", "--url", "http://127.0.0.1:1", "--via", "plain"], "no answer from"),
    ] {
        let ran = subrosa(folder.path(), &[&arguments[..], &["--input", &input]].concat());
        assert!(ran.code != Some(0) && ran.stderr.contains(said), "{arguments:?}: {}", ran.stderr);
    }
}

#[test]
fn health_is_an_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let (_server, url, _said) = served(folder.path(), &[&shipped("models/mlp.onnx")]);
    let ran = succeed(folder.path(), &["health", &format!("{url}/v2/health/ready")]);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", ""));
    for (at, said) in
        [(format!("{url}/v2/models/none"), "refuses (404)"), ("http://127.0.0.1:1".to_owned(), "no answer")]
    {
        let ran = subrosa(folder.path(), &["health", &at]);
        assert!(ran.code == Some(1) && ran.stderr.contains(said), "{at}: {}", ran.stderr);
    }
}

/// A server with these arguments besides, its URL, and what it says on standard error.
fn served(folder: &std::path::Path, arguments: &[&str]) -> (Killed, String, BufReader<std::process::ChildStderr>) {
    let all = [&["serve", "--listen", "127.0.0.1:0"], arguments].concat();
    let mut server = Killed(command(folder, &all).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let url = line.trim().rsplit(' ').next().unwrap().to_owned();
    let said = BufReader::new(server.0.stderr.take().unwrap());
    assert!(url.starts_with("http://"), "{line}: {:?}", said.lines().collect::<Vec<_>>());
    (server, url, said)
}

/// The next line with this in it.
fn until(said: &mut BufReader<std::process::ChildStderr>, words: &str) -> String {
    loop {
        let mut line = String::new();
        assert_ne!(said.read_line(&mut line).unwrap(), 0, "it ended without saying {words}");
        if line.contains(words) {
            return line;
        }
    }
}

#[test]
fn a_server_that_sees_ciphertexts_answers_as_the_model_does() {
    let folder = tempfile::tempdir().unwrap();
    let (model, table) =
        (shipped("models/breast_cancer_logreg.onnx"), shipped("data/breast_cancer/standardised_test.csv"));
    let key = succeed(folder.path(), &["serve-key", "alice", "--append", "clients"]).stdout;
    std::fs::write(folder.path().join("alice.key"), &key).unwrap();
    let named = format!("risk={model}");
    let arguments =
        ["--model", &named, "--via", "ckks", "--calibrate", &table, "--api-keys", "clients", "--batch", "64"];
    let (_server, url, mut said) = served(folder.path(), &arguments);
    until(&mut said, "of inputs and outputs nothing");
    assert!(until(&mut said, "try: curl").contains(&format!("{url}/v2/models/risk")));
    let run = |more: &[&str]| {
        let ran = subrosa(folder.path(), &[&["run", "--input", &table, "--json"], more].concat());
        assert!(ran.code == Some(0), "{}", ran.stderr);
        serde_json::from_str::<serde_json::Value>(&ran.stdout).unwrap()
    };
    let plain = run(&[&model, "--via", "plain", "--images", "3"]);
    let encrypted = run(&["risk", "--url", &url, "--via", "ckks", "--api-key-file", "alice.key", "--images", "3"]);
    assert_eq!(plain["labels"], encrypted["labels"]);
    let output = &encrypted["output"];
    assert_eq!((&output["via"], &output["samples"]), (&"ckks".into(), &3.into()));
    assert!(output["setup"]["cost"]["bytes"].as_u64().unwrap() > 100_000);
    assert!(output["batches"][2]["online"]["cost"]["bytes"].as_u64().unwrap() > 10_000);
    // As many as one request of the second plan holds, and another plan's keys.
    let hundred = |more: &[&str]| run(&[&["--images", "100"], more].concat());
    let plain = hundred(&[&model, "--via", "plain"]);
    let packed = hundred(&["risk", "--url", &url, "--via", "ckks", "--api-key-file", "alice.key"]);
    assert_eq!((&plain["labels"], packed["output"]["batches"].as_array().unwrap().len()), (&packed["labels"], 1));
    for (arguments, words) in [
        (vec!["risk", "--url", &url, "--via", "ckks"], "refuses (401)"),
        (vec!["risk", "--url", &url, "--via", "plain", "--api-key-file", "alice.key"], "encrypted requests only"),
        (vec!["none", "--url", &url, "--via", "ckks", "--api-key-file", "alice.key"], "there is no such model"),
    ] {
        let ran = subrosa(folder.path(), &[&["run", "--input", &table], &arguments[..]].concat());
        assert!(ran.code == Some(1) && ran.stderr.contains(words), "{arguments:?}: {}", ran.stderr);
    }
}

#[test]
fn a_changed_model_is_taken_and_a_broken_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("digits.onnx");
    let put = |from: &str| {
        // Whole at once, as a careful owner does it.
        std::fs::copy(shipped(from), folder.path().join("new")).unwrap();
        std::fs::rename(folder.path().join("new"), &at).unwrap();
    };
    put("models/mlp.onnx");
    let (server, url, mut said) = served(folder.path(), &["digits.onnx", "--watch"]);
    let input = shipped("examples/digits.npy");
    let values = |arguments: &[&str]| {
        let all = [&["run", "--via", "plain", "--input", &input, "--json"], arguments].concat();
        let json: serde_json::Value = serde_json::from_str(&succeed(folder.path(), &all).stdout).unwrap();
        serde_json::from_value::<Vec<f64>>(json["output"]["values"][0].clone()).unwrap()
    };
    // Batches of other sizes are summed in another order.
    let close = |a: &[f64], b: &[f64]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-3);
    let (mlp, square) = (values(&[&shipped("models/mlp.onnx")]), values(&[&shipped("models/mlp_square.onnx")]));
    assert!(close(&values(&["digits", "--url", &url]), &mlp) && !close(&mlp, &square));
    put("models/mlp_square.onnx");
    until(&mut said, "\"event\":\"reloaded\"");
    assert!(close(&values(&["digits", "--url", &url]), &square));
    put("models/README.md");
    assert!(until(&mut said, "reload-refused").contains("digits.onnx"));
    assert!(close(&values(&["digits", "--url", &url]), &square), "the old one stays");
    // Told, it looks again.
    let told = std::process::Command::new("kill").args(["-HUP", &server.0.id().to_string()]).status().unwrap();
    assert!(told.success());
    until(&mut said, "reload-refused");
    assert!(close(&values(&["digits", "--url", &url]), &square));
}

/// What a server says to a client with this key.
fn asked(folder: &std::path::Path, url: &str, key: &str) -> Option<i32> {
    std::fs::write(folder.join("key"), key).unwrap();
    let input = shipped("examples/digits.npy");
    let arguments = ["run", "digits", "--url", url, "--via", "plain", "--input", &input, "--api-key-file", "key"];
    subrosa(folder, &arguments).code
}

#[test]
fn a_key_that_is_taken_away_opens_nothing_whatever_becomes_of_the_models() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::copy(shipped("models/mlp.onnx"), at("digits.onnx")).unwrap();
    let [alice, bob] = ["alice", "bob"].map(|name| {
        let made = succeed(folder.path(), &["serve-key", name, "--append", &format!("{name}.line")]).stdout;
        made.trim().to_owned()
    });
    let clients = |names: &[&str]| {
        let lines = names.iter().map(|name| std::fs::read_to_string(at(&format!("{name}.line"))).unwrap());
        std::fs::write(at("clients"), lines.collect::<String>()).unwrap();
    };
    clients(&["alice", "bob"]);
    let (server, url, mut said) = served(folder.path(), &["digits.onnx", "--api-keys", "clients"]);
    assert_eq!((asked(folder.path(), &url, &alice), asked(folder.path(), &url, &bob)), (Some(0), Some(0)));
    let mut told = || {
        let id = server.0.id().to_string();
        assert!(std::process::Command::new("kill").args(["-HUP", &id]).status().unwrap().success());
        // In either order.
        let (first, second) = (until(&mut said, "reload"), until(&mut said, "reload"));
        let refused = if first.contains("clients-reloaded") { second } else { first };
        assert!(refused.contains("reload-refused") && refused.contains("digits.onnx"), "{refused}");
    };
    std::fs::copy(shipped("models/README.md"), at("digits.onnx")).unwrap();
    clients(&["bob"]);
    told();
    assert_eq!((asked(folder.path(), &url, &alice), asked(folder.path(), &url, &bob)), (Some(1), Some(0)));
    clients(&[]);
    told();
    assert_eq!(asked(folder.path(), &url, &bob), Some(1), "nobody has a key");
}

#[test]
fn a_server_ends_though_it_waits_for_a_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(shipped("models/mlp.onnx"), folder.path().join("digits.onnx")).unwrap();
    let (mut server, _, mut said) = served(folder.path(), &["digits.onnx"]);
    until(&mut said, "try: curl");
    // Nobody ever writes into it: whoever opens it to read waits.
    std::fs::remove_file(folder.path().join("digits.onnx")).unwrap();
    let made = std::process::Command::new("mkfifo").arg(folder.path().join("digits.onnx")).status().unwrap();
    assert!(made.success());
    let id = server.0.id().to_string();
    for signal in ["-HUP", "-TERM"] {
        assert!(std::process::Command::new("kill").args([signal, &id]).status().unwrap().success());
        std::thread::sleep(std::time::Duration::from_millis(500));
    }
    until(&mut said, "\"event\":\"ended\"");
    let start = std::time::Instant::now();
    while server.0.try_wait().unwrap().is_none() {
        assert!(start.elapsed() < std::time::Duration::from_secs(20), "it does not end");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

#[test]
fn a_key_is_shown_once_and_its_file_has_a_digest() {
    let folder = tempfile::tempdir().unwrap();
    let made = succeed(folder.path(), &["serve-key", "alice"]).stdout;
    let (key, line) = made.trim().split_once('\n').unwrap();
    assert!(key.starts_with("subrosa_") && line.starts_with("alice ") && !line.contains(key));
    assert_eq!(subrosa(folder.path(), &["serve-key", "a b"]).code, Some(2));
    let model = shipped("models/mlp.onnx");
    std::fs::write(folder.path().join("clients"), "alice 00\n").unwrap();
    let ran = subrosa(folder.path(), &["serve", &model, "--api-keys", "clients", "--listen", "127.0.0.1:0"]);
    assert!(ran.code != Some(0) && ran.stderr.contains("clients: line 1: a SHA-256 has"), "{}", ran.stderr);
    assert_eq!(subrosa(folder.path(), &["serve", &model, "--rate", "1"]).code, Some(2));
}

#[test]
fn what_a_server_cannot_do_is_refused_when_it_starts() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("keys.json"), "{\"keys\":[]}").unwrap();
    let (mlp, logreg) = (shipped("models/mlp.onnx"), shipped("models/breast_cancer_logreg.onnx"));
    let oidc = ["--oidc-issuer", "https://x", "--oidc-audience", "y"];
    let with_keys = [&["serve", &mlp, "--oidc-keys", "keys.json"], &oidc[..]].concat();
    for (arguments, said) in [
        (with_keys, "keys.json: it has no key for RS256 or ES256"),
        ([&["serve", &mlp], &oidc[..]].concat(), "--oidc-keys"),
        (vec!["serve", &mlp, "--oidc-keys", "keys.json"], "--oidc-issuer"),
        (vec!["serve", &mlp, "--batch", "0"], "--batch"),
        (vec!["serve", &logreg, "--via", "ckks", "--batch", "2"], "give 64 and more"),
        (vec!["serve", &mlp, "--traces", "/none/traces"], "cannot write /none/traces"),
    ] {
        let ran = subrosa(folder.path(), &[&arguments[..], &["--listen", "127.0.0.1:0"]].concat());
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
