//! The protocol over gRPC, asked by another implementation of it (tonic).
#![allow(clippy::unwrap_used, clippy::panic, reason = "the helpers of tests may panic")]

mod support;

use axum::http::uri::PathAndQuery;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::time::Duration;
use subrosa::{Model, PlanOptions};
use subrosa_serve::{ApiKeys, Limits, NewKey};
use support::{Running, mlps, model, serve_as, start};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

/// The messages as the protocol has them, written down a second time.
mod wire {
    use prost::Message;
    use std::collections::HashMap;

    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct Empty {}

    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct Yes {
        #[prost(bool, tag = "1")]
        pub(crate) yes: bool,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct Name {
        #[prost(string, tag = "1")]
        pub(crate) name: String,
        #[prost(string, tag = "2")]
        pub(crate) version: String,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct Server {
        #[prost(string, tag = "1")]
        pub(crate) name: String,
        #[prost(string, tag = "2")]
        pub(crate) version: String,
        #[prost(string, repeated, tag = "3")]
        pub(crate) extensions: Vec<String>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct Metadata {
        #[prost(string, tag = "1")]
        pub(crate) name: String,
        #[prost(string, repeated, tag = "2")]
        pub(crate) versions: Vec<String>,
        #[prost(message, repeated, tag = "4")]
        pub(crate) inputs: Vec<Tensor>,
        #[prost(message, repeated, tag = "5")]
        pub(crate) outputs: Vec<Tensor>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct Parameter {
        #[prost(int64, tag = "2")]
        pub(crate) number: i64,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct Contents {
        #[prost(int64, repeated, tag = "3")]
        pub(crate) int64: Vec<i64>,
        #[prost(float, repeated, tag = "6")]
        pub(crate) fp32: Vec<f32>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct Tensor {
        #[prost(string, tag = "1")]
        pub(crate) name: String,
        #[prost(string, tag = "2")]
        pub(crate) datatype: String,
        #[prost(int64, repeated, tag = "3")]
        pub(crate) shape: Vec<i64>,
        #[prost(map = "string, message", tag = "4")]
        pub(crate) parameters: HashMap<String, Parameter>,
        #[prost(message, optional, tag = "5")]
        pub(crate) contents: Option<Contents>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct Infer {
        #[prost(string, tag = "1")]
        pub(crate) model: String,
        #[prost(string, tag = "2")]
        pub(crate) version: String,
        #[prost(string, tag = "3")]
        pub(crate) id: String,
        #[prost(map = "string, message", tag = "4")]
        pub(crate) parameters: HashMap<String, Parameter>,
        #[prost(message, repeated, tag = "5")]
        pub(crate) inputs: Vec<Tensor>,
        #[prost(message, repeated, tag = "6")]
        pub(crate) outputs: Vec<Name>,
        #[prost(bytes = "vec", repeated, tag = "7")]
        pub(crate) raw: Vec<Vec<u8>>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct Inferred {
        #[prost(string, tag = "1")]
        pub(crate) model: String,
        #[prost(string, tag = "2")]
        pub(crate) version: String,
        #[prost(string, tag = "3")]
        pub(crate) id: String,
        #[prost(message, repeated, tag = "5")]
        pub(crate) outputs: Vec<Tensor>,
        #[prost(bytes = "vec", repeated, tag = "6")]
        pub(crate) raw: Vec<Vec<u8>>,
    }
}

use wire::{Contents, Empty, Infer, Inferred, Metadata, Name, Parameter, Server, Tensor, Yes};

/// Calls over one connection.
struct Caller<'a> {
    server: &'a Running,
    channel: Channel,
    key: Option<String>,
}

impl<'a> Caller<'a> {
    fn new(server: &'a Running) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{}", server.grpc)).unwrap();
        let channel = server.runtime.block_on(endpoint.timeout(Duration::from_secs(20)).connect()).unwrap();
        Self { server, channel, key: None }
    }

    fn call<I, O>(&self, method: &str, message: I) -> Result<O, Status>
    where
        I: prost::Message + 'static,
        O: prost::Message + Default + 'static,
    {
        let path = PathAndQuery::try_from(format!("/inference.GRPCInferenceService/{method}")).unwrap();
        let mut request = Request::new(message);
        if let Some(key) = &self.key {
            request.metadata_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
        }
        self.server.runtime.block_on(async {
            let mut client = tonic::client::Grpc::new(self.channel.clone());
            client.ready().await.unwrap();
            client.unary(request, path, ProstCodec::<I, O>::default()).await.map(tonic::Response::into_inner)
        })
    }
}

fn images(count: usize) -> Vec<f32> {
    (0..count * 784).map(|i| (i * 7 % 31) as f32 / 31.0).collect()
}

/// What tract alone says of them.
fn plain(count: usize) -> Vec<f32> {
    let options = PlanOptions { batch: count, ..PlanOptions::default() };
    let plan = Model::open(model("mlp.onnx")).unwrap().plan(&options).unwrap();
    plan.open().unwrap().run(&[images(count)]).unwrap().values.remove(0)
}

fn request(count: usize) -> Infer {
    let name = Model::open(model("mlp.onnx")).unwrap().inputs()[0].name.clone();
    let tensor = Tensor {
        name,
        datatype: "FP32".to_owned(),
        shape: vec![count as i64, 1, 28, 28],
        contents: Some(Contents { fp32: images(count), ..Contents::default() }),
        ..Tensor::default()
    };
    Infer { model: "mlp".to_owned(), id: "a".to_owned(), inputs: vec![tensor], ..Infer::default() }
}

/// The same, its values as bytes.
fn raw(count: usize) -> Infer {
    let mut request = request(count);
    request.inputs[0].contents = None;
    request.raw = vec![images(count).iter().flat_map(|v| v.to_le_bytes()).collect()];
    request
}

fn close(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-4)
}

#[test]
fn another_implementation_is_answered() {
    let server = start(Limits::default(), None);
    let caller = Caller::new(&server);
    assert!(caller.call::<_, Yes>("ServerLive", Empty {}).unwrap().yes);
    assert!(caller.call::<_, Yes>("ServerReady", Empty {}).unwrap().yes);
    let about: Server = caller.call("ServerMetadata", Empty {}).unwrap();
    assert_eq!((about.name.as_str(), about.extensions), ("subrosa", vec!["binary_tensor_data".to_owned()]));
    assert!(!about.version.is_empty());
    let name = |version: &str| Name { name: "mlp".to_owned(), version: version.to_owned() };
    assert!(caller.call::<_, Yes>("ModelReady", name("3")).unwrap().yes);
    let about: Metadata = caller.call("ModelMetadata", name("")).unwrap();
    assert_eq!((about.name.as_str(), about.versions), ("mlp", vec!["1".to_owned(), "3".to_owned()]));
    assert_eq!((about.inputs[0].shape.as_slice(), about.inputs[0].datatype.as_str()), (&[-1, 1, 28, 28][..], "FP32"));
    assert_eq!(about.outputs[0].shape, [-1, 10]);

    // Values in the message; what is unknown is passed over.
    let mut asked = request(3);
    asked.version = "1".to_owned();
    asked.parameters = HashMap::from([("priority".to_owned(), Parameter { number: 1 })]);
    asked.inputs[0].parameters = asked.parameters.clone();
    let answer: Inferred = caller.call("ModelInfer", asked).unwrap();
    assert_eq!((answer.model.as_str(), answer.version.as_str(), answer.id.as_str()), ("mlp", "1", "a"));
    assert!(answer.raw.is_empty() && answer.outputs[0].shape == [3, 10]);
    assert!(close(&answer.outputs[0].contents.as_ref().unwrap().fp32, &plain(3)));

    // Raw, both ways.
    let answer: Inferred = caller.call("ModelInfer", raw(7)).unwrap();
    assert!(answer.outputs[0].contents.is_none() && answer.version == "3");
    let values: Vec<f32> = answer.raw[0].as_chunks::<4>().0.iter().map(|v| f32::from_le_bytes(*v)).collect();
    assert!(close(&values, &plain(7)));

    // Only what is wanted.
    let wanted = Infer { outputs: vec![Name { name: about.outputs[0].name.clone(), ..Name::default() }], ..raw(1) };
    assert_eq!(caller.call::<_, Inferred>("ModelInfer", wanted).unwrap().outputs.len(), 1);
    let metrics = server.get("/metrics").text();
    assert!(metrics.contains("endpoint=\"grpc-infer\",status=\"200\"} 3"), "{metrics}");
}

#[test]
fn what_is_wrong_has_its_code_and_the_server_lives() {
    let server = start(Limits { body: 1 << 16, samples: 4, ..Limits::default() }, None);
    let caller = Caller::new(&server);
    let mut other_type = request(1);
    other_type.inputs[0].datatype = "INT64".to_owned();
    let mut other_contents = request(1);
    other_contents.inputs[0].contents = Some(Contents { int64: vec![0; 784], ..Contents::default() });
    let mut both = raw(1);
    both.inputs[0].contents = Some(Contents::default());
    let mut negative = request(1);
    negative.inputs[0].shape[0] = -1;
    let mut flat = raw(1);
    flat.inputs[0].shape = vec![784];
    let mut cut = raw(1);
    cut.raw[0].pop();
    let mut short = raw(1);
    short.raw[0].truncate(400);
    let mut nan = request(1);
    nan.inputs[0].contents.as_mut().unwrap().fp32[5] = f32::NAN;
    let mut long_name = request(1);
    long_name.inputs[0].name = "%".repeat(30_000);
    long_name.inputs[0].datatype = "X".to_owned();
    let mut long_type = request(1);
    long_type.inputs[0].datatype = "\u{e9}".repeat(10_000);
    let mut unknown = request(1);
    unknown.outputs = vec![Name { name: "none".to_owned(), ..Name::default() }];
    for (asked, code, said) in [
        (Infer { model: "none".to_owned(), ..request(1) }, Code::NotFound, "no such model"),
        (Infer { version: "2".to_owned(), ..request(1) }, Code::NotFound, "no such model"),
        (Infer { version: "x".to_owned(), ..request(1) }, Code::NotFound, "no such model"),
        (Infer { inputs: vec![], ..request(1) }, Code::InvalidArgument, "is missing"),
        (Infer { id: "x".repeat(2000), ..request(1) }, Code::InvalidArgument, "id has more than"),
        (Infer { raw: vec![vec![]; 2], ..raw(1) }, Code::InvalidArgument, "1 inputs have 2 raw contents"),
        (Infer { inputs: vec![Tensor::default(); 300], ..request(1) }, Code::InvalidArgument, "more tensors"),
        (other_type, Code::InvalidArgument, "of the datatype INT64"),
        (other_contents, Code::InvalidArgument, "holds 0 values"),
        (both, Code::InvalidArgument, "raw contents and others"),
        (negative, Code::InvalidArgument, "which its shape does not"),
        (flat, Code::InvalidArgument, "has the shape [784]"),
        (cut, Code::InvalidArgument, "no whole values"),
        (short, Code::InvalidArgument, "which its shape does not"),
        (nan, Code::InvalidArgument, "sample 1, value 6 is not finite"),
        (long_name, Code::InvalidArgument, "is of the datatype X"),
        (long_type, Code::InvalidArgument, "is of the datatype "),
        (unknown, Code::InvalidArgument, "no output 'none'"),
        (raw(5), Code::InvalidArgument, "send 1 to 4"),
        (raw(30), Code::ResourceExhausted, "longer than 65541 bytes"),
    ] {
        let status = caller.call::<_, Inferred>("ModelInfer", asked).unwrap_err();
        assert!(status.code() == code && status.message().contains(said), "{said}: {status:?}");
        assert!(status.message().len() <= 1027, "{said}");
    }
    let status = caller.call::<_, Yes>("Repository", Empty {}).unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    // A message of another kind, and one that goes on for longer than a name does.
    let status = caller.call::<_, Inferred>("ModelReady", Name { name: "x".repeat(10_000), ..Name::default() });
    assert_ne!(status.unwrap_err().code(), Code::Ok);
    for garbage in
        [&b"GET /v2 HTTP/1.1\r\nhost: x\r\n\r\n"[..], &[0; 4096], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff"]
    {
        let mut stream = std::net::TcpStream::connect(&server.grpc).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let _ = stream.write_all(garbage);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
    }
    assert!(caller.call::<_, Inferred>("ModelInfer", raw(1)).is_ok());
}

#[test]
fn a_silent_connection_is_closed() {
    let idle = Duration::from_millis(300);
    let server = start(Limits { idle, ..Limits::default() }, None);
    let mut stream = std::net::TcpStream::connect(&server.grpc).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // A connection preface and empty settings: a client that then asks for nothing.
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    let mut answer = Vec::new();
    let ended = stream.read_to_end(&mut answer);
    assert!(ended.is_ok() || ended.is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset));
}

#[test]
fn keys_are_asked_for_as_over_http() {
    let key = NewKey::make("alice").unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &key.line).unwrap();
    let keys = ApiKeys::read(file.path(), Some(0.01)).unwrap();
    let limits = Limits::default();
    let server = serve_as(mlps(None, &limits), limits, |server| server.only_for(keys));
    let mut caller = Caller::new(&server);
    assert!(caller.call::<_, Yes>("ServerLive", Empty {}).is_ok());
    let code =
        |caller: &Caller<'_>| caller.call::<_, Inferred>("ModelInfer", raw(1)).map_or_else(|s| s.code(), |_| Code::Ok);
    assert_eq!(code(&caller), Code::Unauthenticated);
    caller.key = Some("subrosa_00".to_owned());
    assert_eq!(code(&caller), Code::Unauthenticated);
    caller.key = Some(key.key.clone());
    assert_eq!(code(&caller), Code::Ok);
    assert_eq!(code(&caller), Code::ResourceExhausted);
}

#[test]
fn what_a_key_was_told_is_counted() {
    let key = NewKey::make("alice").unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &key.line).unwrap();
    let keys = ApiKeys::read(file.path(), None).unwrap();
    let limits = Limits::default();
    let server = serve_as(mlps(None, &limits), limits, |server| server.only_for(keys));
    let mut caller = Caller::new(&server);
    caller.key = Some(key.key.clone());
    assert!(caller.call::<_, Inferred>("ModelInfer", raw(1)).is_ok());
    assert!(caller.call::<_, Inferred>("ModelInfer", Infer { model: "none".to_owned(), ..raw(1) }).is_err());
    assert!(caller.call::<_, Inferred>("ModelInfer", Infer { inputs: vec![], ..raw(1) }).is_err());
    let metrics = server.ask(&format!("GET /metrics HTTP/1.1\r\nauthorization: Bearer {}", key.key), b"").text();
    for status in [200, 400, 404] {
        assert!(metrics.contains(&format!("key=\"alice\",status=\"{status}\"}} 1")), "{status}: {metrics}");
    }
}

/// A call's header, as HTTP/2 and HPACK write it without compression.
fn header(stream: u32) -> Vec<u8> {
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "x"),
        (":path", "/inference.GRPCInferenceService/ModelInfer"),
        ("content-type", "application/grpc"),
    ];
    let mut block = Vec::new();
    for (name, value) in fields {
        block.extend([0, name.len() as u8]);
        block.extend(name.as_bytes());
        block.push(value.len() as u8);
        block.extend(value.as_bytes());
    }
    let length = (block.len() as u32).to_be_bytes();
    // HEADERS, all of them, and a body to come.
    [&length[1..], &[1, 4], &stream.to_be_bytes()[..], &block[..]].concat()
}

#[test]
fn one_connection_does_not_take_every_place() {
    let server = start(Limits { requests: 8, ..Limits::default() }, None);
    let mut stream = std::net::TcpStream::connect(&server.grpc).unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    // Two streams are its own; whoever opens more is refused.
    for number in 0..16 {
        stream.write_all(&header(2 * number + 1)).unwrap();
    }
    let active = || {
        let metrics = server.get("/metrics").text();
        let line = metrics.lines().find(|line| line.starts_with("subrosa_serve_requests_active{")).unwrap();
        line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
    };
    let start = std::time::Instant::now();
    while active() == 0 {
        assert!(start.elapsed() < Duration::from_secs(20), "it never took a place");
    }
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(active(), 2);
    assert!(Caller::new(&server).call::<_, Inferred>("ModelInfer", raw(1)).is_ok());
    // And they are free when it is gone.
    drop(stream);
    while active() > 0 {
        assert!(start.elapsed() < Duration::from_secs(20), "its places are not given back");
    }
}
