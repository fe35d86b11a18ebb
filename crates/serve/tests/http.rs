//! The protocol in the clear: what is answered, what is refused, and that the server lives.
#![allow(clippy::unwrap_used, clippy::panic, reason = "the helpers of tests may panic")]

mod support;

use std::io::{Read, Write};
use std::time::{Duration, Instant};
use subrosa::client::{Client, Way};
use subrosa::oip::{InferRequest, Message, Tensor};
use subrosa::{Model, PlanOptions};
use subrosa_serve::Limits;
use support::{Running, model, reply, start};

fn images(count: usize) -> Vec<f32> {
    (0..count * 784).map(|i| (i * 7 % 31) as f32 / 31.0).collect()
}

/// What tract alone says of them.
fn plain(count: usize) -> Vec<f32> {
    let options = PlanOptions { batch: count, ..PlanOptions::default() };
    let plan = Model::open(model("mlp.onnx")).unwrap().plan(&options).unwrap();
    plan.open().unwrap().run(&[images(count)]).unwrap().values.remove(0)
}

fn request(server: &Running, count: usize) -> InferRequest {
    let client = Client::new(&server.url(), None, Duration::from_secs(20)).unwrap();
    let port = client.model("mlp", None).unwrap().inputs.remove(0);
    let shape = [&[count], &port.shape[1..]].concat();
    InferRequest {
        inputs: vec![Tensor { name: port.name, shape, values: images(count) }],
        binary: true,
        ..InferRequest::default()
    }
}

fn close(a: &[f32], b: &[f32]) -> bool {
    // One sample at a time and many at once add in different orders.
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-4)
}

#[test]
fn any_client_of_the_protocol_is_answered() {
    let server = start(Limits::default(), None);
    assert_eq!((server.get("/v2/health/live").status, server.get("/v2/health/ready").status), (200, 200));
    assert!(server.get("/v2").text().contains("binary_tensor_data"));
    assert_eq!(server.get("/v2/models/mlp/versions/3/ready").status, 200);
    let about: serde_json::Value = serde_json::from_slice(&server.get("/v2/models/mlp").body).unwrap();
    assert_eq!(about["versions"], serde_json::json!(["1", "3"]));
    let input = &about["inputs"][0];
    assert_eq!((&input["datatype"], &input["shape"][0]), (&serde_json::json!("FP32"), &serde_json::json!(-1)));

    // As JSON, flat, to a version.
    let request = request(&server, 3);
    let tensor = &request.inputs[0];
    let json = serde_json::json!({"id": "a", "inputs": [{
        "name": tensor.name, "shape": tensor.shape, "datatype": "FP32", "data": tensor.values }]});
    let reply = server.post("/v2/models/mlp/versions/1/infer", &serde_json::to_vec(&json).unwrap());
    let answer: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!((reply.status, &answer["id"], &answer["model_version"]), (200, &"a".into(), &"1".into()));
    let values: Vec<f32> = serde_json::from_value(answer["outputs"][0]["data"].clone()).unwrap();
    assert!(close(&values, &plain(3)));

    // As bytes, in sizes that are cut into powers of two.
    let client = Client::new(&server.url(), None, Duration::from_secs(20)).unwrap();
    let served = client.model("mlp", None).unwrap();
    for count in [1, 7, 300] {
        let (answer, _) = client.infer(&served, &Way::Plain, &self::request(&server, count)).unwrap();
        assert_eq!((answer.version.as_deref(), answer.outputs[0].1), (Some("3"), true));
        assert!(close(&answer.outputs[0].0.values, &plain(count)), "{count} samples");
    }
    let metrics = server.get("/metrics").text();
    assert!(metrics.contains("subrosa_serve_samples_total{standing=\"plain\",model=\"mlp\"} 311"), "{metrics}");
}

#[test]
fn requests_that_wait_together_are_answered_as_alone() {
    let limits = Limits { batch: 16, batch_delay: Duration::from_millis(5), ..Limits::default() };
    let server = start(limits, None);
    let client = || Client::new(&server.url(), None, Duration::from_secs(20)).unwrap();
    let served = client().model("mlp", None).unwrap();
    // Of each client another number of samples, up to more than are computed at once.
    let sizes = [1, 1, 2, 3, 5, 8, 17];
    std::thread::scope(|scope| {
        for count in sizes {
            let (client, expected, request) = (client(), plain(count), request(&server, count));
            let served = &served;
            scope.spawn(move || {
                for _ in 0..20 {
                    let (answer, _) = client.infer(served, &Way::Plain, &request).unwrap();
                    assert!(close(&answer.outputs[0].0.values, &expected), "{count} samples");
                }
            });
        }
        let (client, mut bad, served) = (client(), request(&server, 2), &served);
        bad.inputs[0].values[784 + 5] = f32::NAN;
        scope.spawn(move || {
            for _ in 0..20 {
                let refused = client.infer(served, &Way::Plain, &bad).unwrap_err().to_string();
                assert!(
                    refused.contains("refuses (400)") && refused.contains("sample 2, value 6 is not finite"),
                    "{refused}"
                );
            }
        });
    });
    let all = 20 * sizes.iter().sum::<usize>();
    let metrics = server.get("/metrics").text();
    assert!(metrics.contains(&format!("samples_total{{standing=\"plain\",model=\"mlp\"}} {all}")), "{metrics}");
}

#[test]
fn what_is_wrong_is_told_and_the_server_lives() {
    let limits = Limits { body: 1 << 16, samples: 4, ..Limits::default() };
    let server = start(limits, None);
    let Message { body, json } = request(&server, 1).encode().unwrap();
    let length = json.unwrap();
    let infer = "POST /v2/models/mlp/infer HTTP/1.1";
    let with = |n: &str, body: &[u8]| {
        let head = format!("{infer}\r\ninference-header-content-length: {n}\r\ncontent-length: {}", body.len());
        server.ask(&head, body)
    };
    assert_eq!(with(&length.to_string(), &body).status, 200);
    for (reply, status, said) in [
        (server.get("/v2/models/none"), 404, "no such model"),
        (server.get("/v2/models/mlp/versions/2"), 404, "no such model"),
        (server.get("/v2/models/mlp/versions/-1"), 404, "no such model"),
        (server.get("/v3"), 404, "no such endpoint"),
        (server.get("/v2/models/mlp/infer"), 405, "not asked in this way"),
        (server.get("/v2/models/%ff"), 400, "the path cannot be read"),
        (server.post("/v2/models/mlp/infer", b"{"), 400, "cut off"),
        (server.post("/v2/models/mlp/infer", b"{\"inputs\":[]}"), 400, "is missing"),
        (with("99999999", &body), 400, "beyond the end"),
        (with("x", &body), 400, "is no number"),
        (with(&length.to_string(), &body[..body.len() - 1]), 400, "are not there"),
        (with(&length.to_string(), &[&body[..], &[0]].concat()), 400, "follow the last tensor"),
        (server.post("/v2/models/mlp/infer", &vec![b' '; (1 << 16) + 1]), 413, "longer than 65536"),
        (
            server.post("/v2/models/mlp/infer", &[&b"{\"id\":\""[..], &[b'a'; 1025], b"\",\"inputs\":[]}"].concat()),
            400,
            "id has more",
        ),
        (server.post("/v2/models/mlp/attestation", b"{}"), 403, "no attested channel"),
        (server.post("/v2/models/mlp/sealed-infer", b"x"), 403, "no attested channel"),
    ] {
        assert_eq!(reply.status, status, "{}", reply.text());
        let error: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
        assert!(error["error"].is_string());
        assert!(reply.text().contains(said), "{}", reply.text());
    }
    let Message { body, json } = request(&server, 5).encode().unwrap();
    assert!(with(&json.unwrap().to_string(), &body).text().contains("send 1 to 4"));
    // NaN, as bytes: named by its place.
    let mut bad = request(&server, 2);
    bad.inputs[0].values[784 + 5] = f32::NAN;
    let Message { body, json } = bad.encode().unwrap();
    let reply = with(&json.unwrap().to_string(), &body);
    assert!(reply.status == 400 && reply.text().contains("sample 2, value 6 is not finite"), "{}", reply.text());
    // Words that are as long as a request may be.
    let name = "n\u{7}".repeat(5_000);
    for tensor in [
        serde_json::json!({ "name": name, "shape": [1], "datatype": "X", "data": [1] }),
        serde_json::json!({ "name": "x", "shape": [1], "datatype": name, "data": [1] }),
        serde_json::json!({ "name": name, "shape": [1], "datatype": "FP32", "data": [1] }),
    ] {
        let body = serde_json::to_vec(&serde_json::json!({ "inputs": [tensor] })).unwrap();
        let reply = server.post("/v2/models/mlp/infer", &body);
        assert!(reply.status == 400 && reply.body.len() < 1100, "{} bytes", reply.body.len());
    }
    // A body without an announced length, longer than the limit.
    let chunk = format!("8000\r\n{}\r\n", " ".repeat(0x8000));
    let head = format!("{infer}\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n");
    let mut stream = server.connect();
    stream.write_all(head.as_bytes()).unwrap();
    for _ in 0..3 {
        let _ = stream.write_all(chunk.as_bytes());
    }
    assert_eq!(reply_of(&mut stream).status, 413);
    // One in chunks of a byte.
    let mut stream = server.connect();
    let bytes: Vec<u8> = b"{\"inputs\":[]}".iter().flat_map(|b| [b'1', b'\r', b'\n', *b, b'\r', b'\n']).collect();
    let last = b"0\r\n\r\n";
    let head = head.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n");
    stream.write_all(&[head.as_bytes(), &bytes, last].concat()).unwrap();
    let reply = reply_of(&mut stream);
    assert!(reply.status == 400 && reply.text().contains("is missing"), "{}", reply.text());
    for garbage in [&b"\0\0\0\0\r\n\r\n"[..], b"GET / HTTP/9.9\r\n\r\n", b"GET /v2 HTTP/1.1\r\nx: \x01\r\n\r\n"] {
        let mut stream = server.connect();
        stream.write_all(garbage).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP/1.1 200"));
    }
    // A header without end.
    let mut stream = server.connect();
    let _ = stream.write_all(b"GET /v2 HTTP/1.1\r\nx: ");
    let _ = stream.write_all(&vec![b'a'; 1 << 20]);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
    assert_eq!(server.get("/v2/health/live").status, 200);
}

fn reply_of(stream: &mut std::net::TcpStream) -> support::Reply {
    reply(stream)
}

#[test]
fn the_slow_and_the_many_do_not_hold_up_the_others() {
    let second = Duration::from_secs(1);
    let limits = Limits { requests: 1, connections: 3, request: second, idle: second, ..Limits::default() };
    let server = start(limits, None);
    let head = "POST /v2/models/mlp/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n";
    let mut slow = server.connect();
    slow.write_all(head.as_bytes()).unwrap();
    let start = Instant::now();
    // Its head may still be on its way.
    while !server.get("/metrics").text().contains("requests_active{standing=\"plain\"} 1") {
        assert!(start.elapsed() < second, "it never took its place");
    }
    let busy = server.post("/v2/models/mlp/infer", b"{}");
    assert!(busy.status == 503 && busy.head.contains("retry-after: 1"), "{}", busy.head);
    assert_eq!(server.get("/v2/health/live").status, 200, "health has no body and needs no place");
    assert_eq!(reply_of(&mut slow).status, 408);
    assert_eq!(server.post("/v2/models/mlp/infer", b"{}").status, 400, "its place is free again");
    // Connections that say nothing are closed, first those beyond the limit.
    let idle: Vec<_> = (0..3).map(|_| server.connect()).collect();
    std::thread::sleep(Duration::from_millis(200));
    let mut answer = Vec::new();
    let _ = server.connect().read_to_end(&mut answer);
    assert!(answer.is_empty());
    for mut stream in idle {
        let start = Instant::now();
        let _ = stream.read_to_end(&mut Vec::new());
        assert!(start.elapsed() < Duration::from_secs(10));
    }
    assert_eq!(server.get("/v2/health/live").status, 200);
}

#[test]
fn an_end_loses_nothing_that_was_accepted() {
    let mut server = start(Limits::default(), None);
    let Message { body, json } = request(&server, 1).encode().unwrap();
    let head = format!(
        "POST /v2/models/mlp/infer HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\
         inference-header-content-length: {}\r\n\r\n",
        body.len(),
        json.unwrap()
    );
    let mut accepted = server.connect();
    accepted.write_all(head.as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    server.end();
    std::thread::sleep(Duration::from_millis(200));
    assert!(std::net::TcpStream::connect(&server.address).is_err(), "it takes no more");
    accepted.write_all(&body).unwrap();
    let reply = reply(&mut accepted);
    assert_eq!(reply.status, 200);
    assert!(reply.head.contains("inference-header-content-length"));
    assert!(server.ended());
    // Who never finishes is not waited for.
    let mut server = start(Limits { drain: Duration::from_millis(300), ..Limits::default() }, None);
    let mut stuck = server.connect();
    stuck.write_all(head.as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    server.end();
    assert!(!server.ended());
}
