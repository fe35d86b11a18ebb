//! Spans of requests: whose trace they belong to, and what they say.
#![allow(clippy::unwrap_used, clippy::panic, reason = "the helpers of tests may panic")]

mod support;

use serde_json::Value;
use subrosa::trace::Tracer;
use subrosa_serve::Limits;
use support::{mlps, serve_as};

#[test]
fn a_request_leaves_spans_in_the_trace_of_its_sender() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let (limits, tracer) = (Limits::default(), Tracer::new("here", Some(file.path())).unwrap());
    let server = serve_as(mlps(None, &limits), limits, |server| server.traced(tracer));
    let (trace, span) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    let ask = |parent: &str, value: &str| {
        let data = vec![value; 784].join(",");
        let tensor = format!("{{\"name\":\"input\",\"shape\":[1,1,28,28],\"datatype\":\"FP32\",\"data\":[{data}]}}");
        let body = format!("{{\"inputs\":[{tensor}]}}");
        server.ask(&format!("POST /v2/models/mlp/infer HTTP/1.1\r\n{parent}x: y"), body.as_bytes()).status
    };
    assert_eq!(ask(&format!("traceparent: 00-{trace}-{span}-01\r\n"), "0.8125"), 200);
    assert_eq!(ask(&format!("traceparent: 00-{trace}-{span}-00\r\n"), "0.8125"), 200, "its sender records nothing");
    assert_eq!(ask("traceparent: 00-nonsense\r\n", "x"), 400);
    let text = std::fs::read_to_string(file.path()).unwrap();
    let spans: Vec<Value> = text
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).unwrap()["resourceSpans"][0]["scopeSpans"][0]["spans"][0].clone()
        })
        .collect();
    let names: Vec<_> = spans.iter().map(|span| span["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["read", "compute", "infer", "read", "infer"], "{text}");
    assert!(spans[..3].iter().all(|span| span["traceId"] == trace));
    assert_eq!((&spans[2]["parentSpanId"], &spans[0]["parentSpanId"]), (&span.into(), &spans[2]["spanId"]));
    assert_ne!(spans[4]["traceId"], trace);
    let told = |span: &Value, key: &str| {
        let found = span["attributes"].as_array().unwrap().iter().find(|attribute| attribute["key"] == key);
        found.map(|attribute| attribute["value"].clone())
    };
    assert_eq!(told(&spans[2], "subrosa.samples").unwrap()["intValue"], "1");
    assert_eq!(told(&spans[2], "subrosa.model").unwrap()["stringValue"], "mlp");
    assert_eq!(told(&spans[4], "http.response.status_code").unwrap()["intValue"], "400");
    assert_eq!(told(&spans[4], "subrosa.samples"), None);
    assert!(!text.contains("8125"), "a value is in a span");
}
