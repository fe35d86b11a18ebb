//! Clients that mean no good, below and in the protocol: the others are answered, and memory is not
//! taken for what is announced.
#![allow(clippy::unwrap_used, clippy::panic, reason = "the helpers of tests may panic")]

mod support;

use std::io::{Read, Write};
use std::time::{Duration, Instant};
use subrosa::client::Client;
use subrosa::oip::{InferRequest, Message, Tensor};
use subrosa_serve::Limits;
use support::{Running, start};

const INFER: &str = "POST /v2/models/mlp/infer HTTP/1.1";

/// A request of so many images, as binary tensors: the JSON's length, and all of it.
fn request(server: &Running, count: usize) -> (usize, Vec<u8>) {
    let client = Client::new(&server.url(), None, Duration::from_secs(20)).unwrap();
    let port = client.model("mlp", None).unwrap().inputs.remove(0);
    let shape = [&[count], &port.shape[1..]].concat();
    let inputs = vec![Tensor { name: port.name, shape, values: vec![0.25; count * 784] }];
    let request = InferRequest { inputs, binary: true, ..InferRequest::default() };
    let Message { body, json } = request.encode().unwrap();
    (json.unwrap(), body)
}

fn head(json: usize, length: usize) -> String {
    format!("{INFER}\r\nhost: x\r\ninference-header-content-length: {json}\r\ncontent-length: {length}\r\n\r\n")
}

/// All that comes until the connection is closed, and how long that took.
fn rest(stream: &mut std::net::TcpStream) -> (Vec<u8>, Duration) {
    let (start, mut all) = (Instant::now(), Vec::new());
    let _ = stream.read_to_end(&mut all);
    (all, start.elapsed())
}

#[test]
fn a_header_that_trickles_or_never_ends_is_cut_off() {
    let limits = Limits { idle: Duration::from_secs(1), ..Limits::default() };
    let server = start(limits, None);
    let mut slow = server.connect();
    let begun = Instant::now();
    // A byte now and then does not start the time again.
    for byte in b"GET /v2 HTTP/1.1\r\nhost: x\r\nx: ".iter().chain(std::iter::repeat(&b'a')) {
        if begun.elapsed() > Duration::from_secs(15) || slow.write_all(&[*byte]).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "it was listened to for {:?}", begun.elapsed());
    for headers in [
        // More than 64, longer than 32 KiB, and one name that is.
        (0..100).map(|i| format!("x{i}: y\r\n")).collect::<String>(),
        format!("x: {}\r\n", "y".repeat(64 << 10)),
        format!("{}: y\r\n", "x".repeat(64 << 10)),
    ] {
        let mut stream = server.connect();
        let _ = stream.write_all(format!("GET /v2 HTTP/1.1\r\nhost: x\r\n{headers}\r\n").as_bytes());
        let (answer, took) = rest(&mut stream);
        assert!(!answer.starts_with(b"HTTP/1.1 200") && took < Duration::from_secs(10));
    }
    assert_eq!(server.get(&format!("/v2/models/{}", "m".repeat(16 << 10))).status, 404);
    assert_eq!(server.get("/v2/health/live").status, 200);
}

#[test]
fn lengths_that_contradict_each_other_smuggle_nothing() {
    let server = start(Limits::default(), None);
    let inner = "GET /v2/models/other HTTP/1.1\r\nhost: x\r\n\r\n";
    for lengths in [
        "content-length: 2\r\ncontent-length: 44\r\n",
        "content-length: 2, 44\r\n",
        "content-length: +2\r\n",
        "content-length: -1\r\n",
        "content-length: 99999999999999999999999\r\n",
        "transfer-encoding: gzip, chunked, x\r\n",
        "transfer-encoding: xchunked\r\n",
    ] {
        let mut stream = server.connect();
        stream.write_all(format!("{INFER}\r\nhost: x\r\n{lengths}\r\n{{}}{inner}").as_bytes()).unwrap();
        let (answer, _) = rest(&mut stream);
        let text = String::from_utf8_lossy(&answer);
        assert!(!text.contains("onnx_tract"), "{lengths}: the inner request was answered: {text}");
    }
    // One after another on a connection, in one piece: both are answered, in order.
    let mut stream = server.connect();
    let two = "GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\nGET /v2 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(two.as_bytes()).unwrap();
    let text = String::from_utf8(rest(&mut stream).0).unwrap();
    assert_eq!(text.matches("HTTP/1.1 200").count(), 2, "{text}");
    assert!(text.find("\"live\"") < text.find("\"extensions\""));
}

#[test]
fn tensors_that_are_cut_or_announce_too_much_are_refused() {
    let server = start(Limits::default(), None);
    let (json, body) = request(&server, 2);
    let ask = |json: usize, body: &[u8]| {
        let head = format!("{INFER}\r\ninference-header-content-length: {json}\r\ncontent-length: {}", body.len());
        server.ask(&head, body)
    };
    assert_eq!(ask(json, &body).status, 200);
    for cut in (0..body.len()).step_by(97) {
        assert_eq!(ask(json, &body[..cut]).status, 400, "cut after {cut}");
    }
    for wrong in [0, 1, json - 1, json + 1, body.len(), usize::MAX] {
        assert_eq!(ask(wrong, &body).status, 400, "JSON of {wrong}");
    }
    let text = String::from_utf8(body[..json].to_vec()).unwrap();
    let size = format!("\"binary_data_size\":{}", 2 * 784 * 4);
    assert!(text.contains(&size), "{text}");
    for announced in ["18446744073709551615", "9223372036854775808", "4294967296", "6271", "-1", "1e9", "\"6272\""] {
        let text = text.replace(&size, &format!("\"binary_data_size\":{announced}"));
        let reply = ask(text.len(), &[text.as_bytes(), &body[json..]].concat());
        assert_eq!(reply.status, 400, "{announced}: {}", reply.text());
    }
    for shape in ["[18446744073709551615,2]", "[4294967296,4294967296,4294967296]", "[-1,1,28,28]", "[0,1,28,28]", "[]"]
    {
        let text = text.replace("[2,1,28,28]", shape);
        let reply = ask(text.len(), &[text.as_bytes(), &body[json..]].concat());
        assert_eq!(reply.status, 400, "{shape}: {}", reply.text());
    }
    for deep in ["[".repeat(100_000), "{\"a\":".repeat(50_000), format!("{{\"inputs\":{}", "[".repeat(100_000))] {
        assert_eq!(server.post("/v2/models/mlp/infer", deep.as_bytes()).status, 400);
    }
    assert_eq!(ask(json, &body).status, 200);
}

#[test]
fn who_hangs_up_or_does_not_read_leaves_the_place_to_others() {
    let second = Duration::from_secs(1);
    let limits = Limits { requests: 2, request: second, idle: second, ..Limits::default() };
    let server = start(limits, None);
    let (json, body) = request(&server, 1000);
    let head = head(json, body.len());
    for _ in 0..8 {
        // Half of it, and gone.
        let mut stream = server.connect();
        stream.write_all(&[head.as_bytes(), &body[..body.len() / 2]].concat()).unwrap();
        drop(stream);
        // All of it, again and again, and nothing of the answers is read.
        let mut stream = server.connect();
        stream.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
        for _ in 0..4 {
            let _ = stream.write_all(&[head.as_bytes(), &body].concat());
        }
        drop(stream);
    }
    let start = Instant::now();
    while !server.get("/metrics").text().contains("requests_active{standing=\"plain\"} 0") {
        assert!(start.elapsed() < Duration::from_secs(15), "a place is still taken");
        std::thread::sleep(Duration::from_millis(50));
    }
    let (json, body) = request(&server, 1);
    let head = format!("{INFER}\r\ninference-header-content-length: {json}\r\ncontent-length: {}", body.len());
    assert_eq!(server.ask(&head, &body).status, 200);
}
