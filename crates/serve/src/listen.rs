//! Connections: how many, how long, with TLS or without, and an end that loses nothing.

use crate::access::Clients;
use crate::catalogue::Catalogue;
use crate::error::{Error, Result};
use crate::grpc::Patience;
use crate::handle::Handle;
use crate::http::{App, router};
use crate::log;
use crate::options::{Limits, Tls};
use crate::paced::Paced;
use crate::place::Share;
use axum::Router;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use subrosa::trace::Tracer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;

/// A server that listens.
pub struct Server {
    app: Arc<App>,
    http: Door,
    grpc: Option<Door>,
}

/// Where connections come in.
struct Door {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
}

/// What is spoken on a connection.
#[derive(Clone, Copy)]
enum Speech {
    /// HTTP/1.1: the protocol and its extensions.
    Http,
    /// HTTP/2: the protocol over gRPC.
    Grpc,
}

/// What connections share.
#[derive(Clone)]
struct Shared {
    app: Arc<App>,
    http: Router,
    grpc: Router,
    stopped: watch::Receiver<()>,
}

impl Server {
    /// Listens at `address`.
    ///
    /// **Errors:** [`Error::Io`] if it cannot, [`Error::Certificate`].
    pub async fn bind(catalogue: Catalogue, limits: Limits, address: &str, tls: Option<&Tls>) -> Result<Self> {
        let http = Door::open(address, tls, b"http/1.1").await?;
        Ok(Self { app: Arc::new(App::new(catalogue, limits)), http, grpc: None })
    }

    /// The same, that also speaks gRPC at another address.
    ///
    /// **Errors:** [`Error::Io`] if it cannot, [`Error::Certificate`].
    pub async fn with_grpc(mut self, address: &str, tls: Option<&Tls>) -> Result<Self> {
        self.grpc = Some(Door::open(address, tls, b"h2").await?);
        Ok(self)
    }

    /// The same, for these clients only.
    #[must_use]
    pub fn only_for(self, clients: impl Into<Clients>) -> Self {
        self.app.admit_only(clients.into());
        self
    }

    /// The same, whose requests with a body leave spans.
    #[must_use]
    pub fn traced(self, tracer: Tracer) -> Self {
        self.app.trace_to(tracer);
        self
    }

    /// The way to change what it has while it runs.
    pub fn handle(&self) -> Handle {
        Handle::new(Arc::clone(&self.app))
    }

    /// Where it listens.
    ///
    /// **Errors:** [`Error::Io`].
    pub fn address(&self) -> Result<SocketAddr> {
        self.http.address()
    }

    /// Where it speaks gRPC, if it does.
    ///
    /// **Errors:** [`Error::Io`].
    pub fn grpc_address(&self) -> Result<Option<SocketAddr>> {
        self.grpc.as_ref().map(Door::address).transpose()
    }

    /// Answers until `end` is done; then takes no more, finishes what it has accepted, and
    /// returns whether all of it was finished in time.
    pub async fn run(self, end: impl Future<Output = ()>) -> bool {
        let Self { app, http, grpc } = self;
        let places = Arc::new(Semaphore::new(app.limits.connections));
        let (stop, stopped) = watch::channel(());
        let (router, calls) = (router(Arc::clone(&app)), crate::grpc::router(Arc::clone(&app)));
        let shared = Shared { app: Arc::clone(&app), http: router, grpc: calls, stopped };
        let mut end = pin!(end);
        loop {
            let (accepted, door, speech) = tokio::select! {
                () = &mut end => break,
                accepted = http.listener.accept() => (accepted, &http, Speech::Http),
                (accepted, door) = accept(grpc.as_ref()) => (accepted, door, Speech::Grpc),
            };
            let Ok((stream, _)) = accepted else {
                // Out of descriptors: others must end first.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                log::line("connection-refused", app.warning(), &json!({ "limit": app.limits.connections }));
                continue;
            };
            let (shared, tls) = (shared.clone(), door.tls.clone());
            tokio::spawn(async move {
                shared.app.metrics.connections.inc();
                connection(&shared, speech, stream, tls).await;
                shared.app.metrics.connections.dec();
                drop(place);
            });
        }
        app.drain();
        drop((http, grpc));
        let _nobody_left = stop.send(());
        let all = u32::try_from(app.limits.connections).unwrap_or(u32::MAX);
        let finished = tokio::time::timeout(app.limits.drain, places.acquire_many(all)).await.is_ok();
        log::line("ended", app.warning(), &json!({ "finished": finished }));
        finished
    }
}

impl Door {
    async fn open(address: &str, tls: Option<&Tls>, protocol: &[u8]) -> Result<Self> {
        let tls = tls.map(|files| acceptor(files, protocol)).transpose()?;
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|source| Error::Io { what: format!("cannot listen at {address}"), source })?;
        Ok(Self { listener, tls })
    }

    fn address(&self) -> Result<SocketAddr> {
        self.listener.local_addr().map_err(|source| Error::Io { what: "cannot tell the address".to_owned(), source })
    }
}

/// Never, where there is no door.
async fn accept(door: Option<&Door>) -> (std::io::Result<(TcpStream, SocketAddr)>, &Door) {
    match door {
        Some(door) => (door.listener.accept().await, door),
        None => std::future::pending().await,
    }
}

async fn connection(shared: &Shared, speech: Speech, stream: TcpStream, tls: Option<TlsAcceptor>) {
    // Answers are small; they do not wait for more.
    let _ = stream.set_nodelay(true);
    match tls {
        None => talk(shared, speech, stream).await,
        Some(tls) => {
            let secured = tokio::time::timeout(shared.app.limits.idle, tls.accept(stream)).await;
            if let Ok(Ok(stream)) = secured {
                talk(shared, speech, stream).await;
            }
        }
    }
}

async fn talk<S>(shared: &Shared, speech: Speech, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // Who does not read the answer must not keep the connection.
    let stream = Paced::new(stream, shared.app.limits.idle);
    match speech {
        Speech::Http => requests(shared, stream).await,
        Speech::Grpc => calls(shared, stream).await,
    }
}

async fn requests<S>(shared: &Shared, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = TowerToHyperService::new(shared.http.clone());
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(shared.app.limits.idle)
        .max_buf_size(MAX_HEADER)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = pin!(serving);
    let mut stopped = shared.stopped.clone();
    // How a connection ends is the client's business.
    tokio::select! {
        _ = serving.as_mut() => return,
        _ = stopped.changed() => serving.as_mut().graceful_shutdown(),
    }
    let _ = serving.await;
}

async fn calls<S>(shared: &Shared, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = &shared.app.limits;
    // To read and compute, and again until the answer is read.
    let patience = Patience::new(limits.idle, 2 * limits.request);
    let (router, going) = (TowerToHyperService::new(shared.grpc.clone()), Arc::clone(&patience));
    let share = Share::of(limits.requests);
    // Who keeps to it waits at home, and is not refused.
    let streams = share.size() as u32;
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(share.clone());
        let (going, answer) = (going.begin(), router.call(request));
        async move {
            // Until the last of the answer is handed over.
            answer.await.map(|answer| answer.map(|body| body.map_frame(move |frame| going.through(frame))))
        }
    });
    let serving = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_header_list_size(MAX_HEADER as u32)
        .max_concurrent_streams(streams)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(2 * WINDOW)
        .max_send_buf_size(WINDOW as usize)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = pin!(serving);
    let mut stopped = shared.stopped.clone();
    tokio::select! {
        _ = serving.as_mut() => return,
        () = patience.over() => return,
        _ = stopped.changed() => serving.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        _ = serving => {}
        () = patience.over() => {}
    }
}

fn acceptor(files: &Tls, protocol: &[u8]) -> Result<TlsAcceptor> {
    let wrong = |path: &std::path::Path, reason: String| Error::Certificate { path: path.to_owned(), reason };
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>)
        .map_err(|e| wrong(&files.certificate, e.to_string()))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|e| wrong(&files.key, e.to_string()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map(|builder| builder.with_no_client_auth())
        .and_then(|builder| builder.with_single_cert(chain, key))
        .map_err(|e| wrong(&files.certificate, e.to_string()))?;
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Bytes of a request's line and headers.
const MAX_HEADER: usize = 32 << 10;

/// Headers of a request.
const MAX_HEADERS: usize = 64;

/// Bytes of a call, or of an answer, that may be on their way.
const WINDOW: u32 = 256 << 10;
