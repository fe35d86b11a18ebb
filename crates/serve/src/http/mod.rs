//! The endpoints.

mod body;
mod infer;
mod meta;
mod page;
mod reply;
mod sealed;
mod unread;

use crate::catalogue::{Catalogue, Served};
use crate::metrics::Metrics;
use crate::options::Limits;
use axum::Router;
use axum::routing::{get, post};
use reply::Refusal;
use serde::Deserialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Semaphore;

/// What all requests share.
pub(crate) struct App {
    pub(crate) catalogue: Catalogue,
    pub(crate) limits: Limits,
    pub(crate) metrics: Metrics,
    /// Until the server is told to end.
    ready: AtomicBool,
    /// One for each request with a body that may be at work.
    requests: Arc<Semaphore>,
    /// Those that wait for evidence, and the one that gets it: hardware makes one at a time.
    inquiries: Arc<Semaphore>,
    quoting: Arc<Semaphore>,
}

/// A model as a path names it.
#[derive(Deserialize)]
struct Named {
    name: String,
    #[serde(default)]
    version: Option<String>,
}

impl App {
    pub(crate) fn new(catalogue: Catalogue, limits: Limits) -> Self {
        Self {
            metrics: Metrics::new(catalogue.standing()),
            ready: AtomicBool::new(true),
            requests: Arc::new(Semaphore::new(limits.requests)),
            inquiries: Arc::new(Semaphore::new(MOST_INQUIRIES)),
            quoting: Arc::new(Semaphore::new(1)),
            catalogue,
            limits,
        }
    }

    /// From now on says that it takes no more.
    pub(crate) fn drain(&self) {
        self.ready.store(false, Ordering::Relaxed);
    }

    fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// What every line of a simulation says.
    pub(crate) fn warning(&self) -> Option<&'static str> {
        self.catalogue.enclave().and_then(|enclave| enclave.attester().warning())
    }

    fn find(&self, named: &Named) -> Result<&Arc<Served>, Refusal> {
        let version = named.version.as_deref().map(|text| text.parse().map_err(|_| Refusal::NoModel)).transpose()?;
        self.catalogue.find(&named.name, version).ok_or(Refusal::NoModel)
    }
}

/// All paths.
pub(crate) fn router(app: Arc<App>) -> Router {
    let mut router = Router::new()
        .route("/v2", get(meta::server))
        .route("/v2/health/live", get(meta::live))
        .route("/v2/health/ready", get(meta::ready))
        .route("/metrics", get(meta::metrics));
    for model in ["/v2/models/{name}", "/v2/models/{name}/versions/{version}"] {
        let path = |end: &str| format!("{model}{end}");
        router = router
            .route(model, get(meta::model))
            .route(&path("/ready"), get(meta::model_ready))
            .route(&path("/infer"), post(infer::infer))
            .route(&path("/attestation"), post(sealed::attestation))
            .route(&path("/sealed-infer"), post(sealed::infer));
    }
    router.merge(page::routes()).fallback(reply::no_endpoint).with_state(app)
}

/// Clients that wait for evidence; the next ones are told that they are too many.
const MOST_INQUIRIES: usize = 16;
