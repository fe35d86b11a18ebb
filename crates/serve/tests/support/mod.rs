//! A server in this process, and raw HTTP to it.
#![allow(
    dead_code,
    clippy::panic,
    clippy::unwrap_used,
    reason = "each test file uses a part of this, and fails here if it must"
)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;
use subrosa::Model;
use subrosa::attest::Enclave;
use subrosa_serve::{Catalogue, Entry, Handle, Limits, Server};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

/// A server of mlp, and its end.
pub(crate) struct Running {
    pub(crate) runtime: Runtime,
    pub(crate) address: String,
    /// Where it speaks gRPC.
    pub(crate) grpc: String,
    pub(crate) handle: Handle,
    end: Option<oneshot::Sender<()>>,
    ended: Option<oneshot::Receiver<bool>>,
}

/// An answer.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

pub(crate) fn model(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models")).join(name)
}

pub(crate) fn start(limits: Limits, enclave: Option<Enclave>) -> Running {
    serve(mlps(enclave, &limits), limits)
}

/// Two versions of mlp, and it once more.
pub(crate) fn mlps(enclave: Option<Enclave>, limits: &Limits) -> Catalogue {
    let mut catalogue = Catalogue::new(enclave);
    for (name, version) in [("mlp", 1), ("mlp", 3), ("other", 1)] {
        let model = Model::open(model("mlp.onnx")).unwrap();
        catalogue
            .add(Entry { model, name: name.to_owned(), version, policy: None, plans: Vec::new() }, 1, limits)
            .unwrap();
    }
    catalogue
}

pub(crate) fn serve(catalogue: Catalogue, limits: Limits) -> Running {
    serve_as(catalogue, limits, |server| server)
}

/// The same, after `change`; it speaks gRPC too.
pub(crate) fn serve_as(catalogue: Catalogue, limits: Limits, change: impl FnOnce(Server) -> Server) -> Running {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let server = runtime.block_on(async {
        let server = Server::bind(catalogue, limits, "127.0.0.1:0", None).await.unwrap();
        change(server.with_grpc("127.0.0.1:0", None).await.unwrap())
    });
    let (address, grpc) = (server.address().unwrap().to_string(), server.grpc_address().unwrap().unwrap().to_string());
    let handle = server.handle();
    let (end, told) = oneshot::channel();
    let (done, ended) = oneshot::channel();
    runtime.spawn(async move {
        let finished = server.run(async { drop(told.await) }).await;
        done.send(finished).unwrap();
    });
    Running { runtime, address, grpc, handle, end: Some(end), ended: Some(ended) }
}

impl Running {
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// One request on a connection of its own.
    pub(crate) fn ask(&self, head: &str, body: &[u8]) -> Reply {
        let mut stream = self.connect();
        let length =
            if head.contains("ength:") { String::new() } else { format!("content-length: {}\r\n", body.len()) };
        let _ = stream.write_all(format!("{head}\r\nhost: x\r\nconnection: close\r\n{length}\r\n").as_bytes());
        let _ = stream.write_all(body);
        reply(&mut stream)
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        self.ask(&format!("GET {path} HTTP/1.1"), b"")
    }

    pub(crate) fn put(&self, path: &str, body: &[u8]) -> Reply {
        self.ask(&format!("PUT {path} HTTP/1.1"), body)
    }

    pub(crate) fn delete(&self, path: &str) -> Reply {
        self.ask(&format!("DELETE {path} HTTP/1.1"), b"")
    }

    pub(crate) fn post(&self, path: &str, body: &[u8]) -> Reply {
        self.ask(&format!("POST {path} HTTP/1.1"), body)
    }

    /// Tells it to end.
    pub(crate) fn end(&mut self) {
        drop(self.end.take());
    }

    /// Whether all that was accepted was answered.
    pub(crate) fn ended(&mut self) -> bool {
        self.runtime.block_on(self.ended.take().unwrap()).unwrap()
    }
}

/// All that comes until the end.
pub(crate) fn reply(stream: &mut TcpStream) -> Reply {
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all);
    let at = all.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or_else(|| panic!("no answer: {all:?}"));
    let head = String::from_utf8(all[..at].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Reply { status, head: head.to_ascii_lowercase(), body: all[at + 4..].to_vec() }
}

impl Reply {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}
