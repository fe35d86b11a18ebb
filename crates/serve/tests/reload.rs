//! Other models for a server that runs, and many clients at once.
#![allow(clippy::unwrap_used, clippy::panic, reason = "the helpers of tests may panic")]

mod support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use subrosa::client::{Client, ServedModel, Way};
use subrosa::oip::{InferRequest, Message, Tensor};
use subrosa::{Model, PlanOptions};
use subrosa_serve::{Catalogue, Entry, Limits};
use support::{Running, model, serve};

/// One model, called digits, from this file.
fn catalogue(file: &str, empty: Catalogue) -> Catalogue {
    let mut catalogue = empty;
    let model = Model::open(model(file)).unwrap();
    let entry = Entry { model, name: "digits".to_owned(), version: 1, policy: None, plans: Vec::new() };
    catalogue.add(entry, 1, &Limits::default()).unwrap();
    catalogue
}

fn image() -> Vec<f32> {
    (0..784).map(|i| (i * 7 % 31) as f32 / 31.0).collect()
}

fn plain(file: &str) -> Vec<f32> {
    let plan = Model::open(model(file)).unwrap().plan(&PlanOptions::default()).unwrap();
    plan.open().unwrap().run(&[image()]).unwrap().values.remove(0)
}

fn request(served: &ServedModel) -> InferRequest {
    let inputs = vec![Tensor { name: served.inputs[0].name.clone(), shape: vec![1, 1, 28, 28], values: image() }];
    InferRequest { inputs, binary: true, ..InferRequest::default() }
}

/// Batches of other sizes are summed in another order.
fn close(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-3)
}

fn client(server: &Running) -> Client {
    Client::new(&server.url(), None, Duration::from_secs(20)).unwrap()
}

#[test]
fn models_are_exchanged_under_requests_and_none_is_lost() {
    let server = serve(catalogue("mlp.onnx", Catalogue::new(None)), Limits::default());
    let (old, new) = (plain("mlp.onnx"), plain("mlp_square.onnx"));
    assert!(!close(&old, &new));
    let (ended, answers) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let client = client(&server);
                while !ended.load(Ordering::Relaxed) {
                    // Both take and give the same.
                    let served = client.model("digits", None).unwrap();
                    let (answer, _) = client.infer(&served, &Way::Plain, &request(&served)).unwrap();
                    let values = &answer.outputs[0].0.values;
                    assert!(close(values, &old) || close(values, &new));
                    answers.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for round in 0..6 {
            let file = if round % 2 == 0 { "mlp_square.onnx" } else { "mlp.onnx" };
            let next = catalogue(file, server.handle.catalogue().alike());
            let before = answers.load(Ordering::Relaxed);
            server.handle.replace(next);
            while answers.load(Ordering::Relaxed) < before + 8 {
                std::thread::yield_now();
            }
            let served = client(&server).model("digits", None).unwrap();
            let (answer, _) = client(&server).infer(&served, &Way::Plain, &request(&served)).unwrap();
            let expected = if round % 2 == 0 { &new } else { &old };
            assert!(close(&answer.outputs[0].0.values, expected), "the new one answers");
        }
        ended.store(true, Ordering::Relaxed);
    });
}

#[test]
fn only_the_same_file_is_kept() {
    let old = catalogue("mlp.onnx", Catalogue::new(None));
    let sha256 = |file: &str| Model::open(model(file)).unwrap().sha256();
    let mut next = old.alike();
    let mlp = sha256("mlp.onnx");
    assert!(!next.keep(&old, "digits", 1, sha256("mlp_square.onnx"), None));
    assert!(!next.keep(&old, "digits", 2, mlp, None) && !next.keep(&old, "other", 1, mlp, None));
    assert!(!next.keep(&old, "digits", 1, mlp, Some([1; 32])), "the same file, now sealed");
    assert!(next.keep(&old, "digits", 1, mlp, None));
    assert_eq!(next.names().collect::<Vec<_>>(), [("digits", 1)]);
}

#[test]
fn many_clients_are_answered_or_told_to_come_again() {
    let limits = Limits { requests: 8, queue: 4, ..Limits::default() };
    let server = serve(catalogue("mlp.onnx", Catalogue::new(None)), limits);
    let served = client(&server).model("digits", None).unwrap();
    let Message { body, json } = request(&served).encode().unwrap();
    let (expected, answered) = (plain("mlp.onnx"), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                for _ in 0..8 {
                    let head = format!(
                        "POST /v2/models/digits/infer HTTP/1.1\r\ninference-header-content-length: {}\r\n\
                         content-length: {}",
                        json.unwrap(),
                        body.len()
                    );
                    let reply = server.ask(&head, &body);
                    assert!([200, 429, 503].contains(&reply.status), "{}: {}", reply.status, reply.text());
                    if reply.status == 200 {
                        let values = &reply.body[reply.body.len() - 40..];
                        let values = values.as_chunks::<4>().0.iter().map(|v| f32::from_le_bytes(*v));
                        assert!(close(&values.collect::<Vec<_>>(), &expected));
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let answered = answered.into_inner();
    assert!(answered >= 8, "{answered}");
    let metrics = server.get("/metrics").text();
    let count = format!("endpoint=\"infer\",status=\"200\"}} {answered}");
    assert!(metrics.contains(&count), "{count}: {metrics}");
    assert!(metrics.contains("requests_active{standing=\"plain\"} 0"), "{metrics}");
}
