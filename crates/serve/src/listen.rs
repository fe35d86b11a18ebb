//! Connections: how many, how long, with TLS or without, and an end that loses nothing.

use crate::catalogue::Catalogue;
use crate::error::{Error, Result};
use crate::http::{App, router};
use crate::log;
use crate::options::{Limits, Tls};
use crate::paced::Paced;
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;

/// A server that listens.
pub struct Server {
    app: Arc<App>,
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
}

impl Server {
    /// Listens at `address`.
    ///
    /// **Errors:** [`Error::Io`] if it cannot, [`Error::Certificate`].
    pub async fn bind(catalogue: Catalogue, limits: Limits, address: &str, tls: Option<&Tls>) -> Result<Self> {
        let tls = tls.map(acceptor).transpose()?;
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|source| Error::Io { what: format!("cannot listen at {address}"), source })?;
        Ok(Self { app: Arc::new(App::new(catalogue, limits)), listener, tls })
    }

    /// Where it listens.
    ///
    /// **Errors:** [`Error::Io`].
    pub fn address(&self) -> Result<SocketAddr> {
        self.listener.local_addr().map_err(|source| Error::Io { what: "cannot tell the address".to_owned(), source })
    }

    /// Answers until `end` is done; then takes no more, finishes what it has accepted, and
    /// returns whether all of it was finished in time.
    pub async fn run(self, end: impl Future<Output = ()>) -> bool {
        let Self { app, listener, tls } = self;
        let places = Arc::new(Semaphore::new(app.limits.connections));
        let (stop, stopped) = watch::channel(());
        let router = router(Arc::clone(&app));
        let mut end = pin!(end);
        loop {
            let accepted = tokio::select! {
                () = &mut end => break,
                accepted = listener.accept() => accepted,
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
            let (app, tls, stopped) = (Arc::clone(&app), tls.clone(), stopped.clone());
            let router = router.clone();
            tokio::spawn(async move {
                app.metrics.connections.inc();
                connection(&app.limits, router, stream, tls, stopped).await;
                app.metrics.connections.dec();
                drop(place);
            });
        }
        app.drain();
        drop(listener);
        let _nobody_left = stop.send(());
        let all = u32::try_from(app.limits.connections).unwrap_or(u32::MAX);
        let finished = tokio::time::timeout(app.limits.drain, places.acquire_many(all)).await.is_ok();
        log::line("ended", app.warning(), &json!({ "finished": finished }));
        finished
    }
}

async fn connection(
    limits: &Limits,
    router: Router,
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    stopped: watch::Receiver<()>,
) {
    // Answers are small; they do not wait for more.
    let _ = stream.set_nodelay(true);
    match tls {
        None => talk(limits, router, stream, stopped).await,
        Some(tls) => {
            let secured = tokio::time::timeout(limits.idle, tls.accept(stream)).await;
            if let Ok(Ok(stream)) = secured {
                talk(limits, router, stream, stopped).await;
            }
        }
    }
}

async fn talk<S>(limits: &Limits, router: Router, stream: S, mut stopped: watch::Receiver<()>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = TowerToHyperService::new(router);
    // Who does not read the answer must not keep the connection.
    let stream = Paced::new(stream, limits.idle);
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle)
        .max_buf_size(MAX_HEADER)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = pin!(serving);
    // How a connection ends is the client's business.
    tokio::select! {
        _ = serving.as_mut() => return,
        _ = stopped.changed() => serving.as_mut().graceful_shutdown(),
    }
    let _ = serving.await;
}

fn acceptor(files: &Tls) -> Result<TlsAcceptor> {
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
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Bytes of a request's line and headers.
const MAX_HEADER: usize = 32 << 10;

/// Headers of a request.
const MAX_HEADERS: usize = 64;
