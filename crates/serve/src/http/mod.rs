//! The endpoints.

mod body;
mod encrypted;
mod gate;
pub(crate) mod infer;
mod keys;
pub(crate) mod meta;
mod page;
mod reply;
mod sealed;
mod shared;
mod unread;

pub(crate) use body::{Begun, Refused, conduct, whole};
pub(crate) use gate::Told;
pub(crate) use reply::Refusal;

use crate::access::Clients;
use crate::catalogue::{Catalogue, Served};
use crate::keys::KeyCache;
use crate::metrics::Metrics;
use crate::options::Limits;
use axum::Router;
use axum::routing::{get, post};
use serde::Deserialize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use subrosa::attest::Enclave;
use subrosa::trace::Tracer;
use tokio::sync::Semaphore;

/// What all requests share.
pub(crate) struct App {
    catalogue: RwLock<Arc<Catalogue>>,
    /// Who may ask, if not everybody.
    clients: RwLock<Option<Arc<Clients>>>,
    pub(crate) limits: Limits,
    pub(crate) metrics: Metrics,
    /// Where spans go; nowhere until it is told.
    tracer: OnceLock<Tracer>,
    /// Clients' evaluation keys, and those that may be on their way here.
    keys: KeyCache,
    uploads: Arc<Semaphore>,
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
pub(crate) struct Named {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) version: Option<String>,
}

impl App {
    pub(crate) fn new(catalogue: Catalogue, limits: Limits) -> Self {
        Self {
            metrics: Metrics::new(catalogue.standing()),
            tracer: OnceLock::new(),
            keys: KeyCache::new(limits.key_cache),
            uploads: Arc::new(Semaphore::new(MOST_UPLOADS)),
            ready: AtomicBool::new(true),
            requests: Arc::new(Semaphore::new(limits.requests)),
            inquiries: Arc::new(Semaphore::new(MOST_INQUIRIES)),
            quoting: Arc::new(Semaphore::new(1)),
            catalogue: RwLock::new(Arc::new(catalogue)),
            clients: RwLock::new(None),
            limits,
        }
    }

    /// The models as they are now.
    pub(crate) fn catalogue(&self) -> Arc<Catalogue> {
        Arc::clone(&self.catalogue.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on has these models.
    pub(crate) fn replace(&self, catalogue: Catalogue) {
        let catalogue = Arc::new(catalogue);
        *self.catalogue.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&catalogue);
        self.keys.retain(|plan| catalogue.ciphertexts().any(|(_, offer)| offer.service.plan_digest() == plan));
    }

    /// From now on answers these clients only.
    pub(crate) fn admit_only(&self, clients: Clients) {
        *self.clients.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(clients));
    }

    /// Spans go here, unless it was told before.
    pub(crate) fn trace_to(&self, tracer: Tracer) {
        let _told = self.tracer.set(tracer);
    }

    fn tracer(&self) -> &Tracer {
        self.tracer.get_or_init(Tracer::off)
    }

    fn clients(&self) -> Option<Arc<Clients>> {
        self.clients.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn enclave(&self) -> Option<Arc<Enclave>> {
        self.catalogue().enclave().map(Arc::clone)
    }

    /// From now on says that it takes no more.
    pub(crate) fn drain(&self) {
        self.ready.store(false, Ordering::Relaxed);
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// What every line of a simulation says.
    pub(crate) fn warning(&self) -> Option<&'static str> {
        self.enclave().and_then(|enclave| enclave.attester().warning())
    }

    pub(crate) fn find(&self, named: &Named) -> Result<Arc<Served>, Refusal> {
        let version = named.version.as_deref().map(|text| text.parse().map_err(|_| Refusal::NoModel)).transpose()?;
        self.catalogue().find(&named.name, version).map(Arc::clone).ok_or(Refusal::NoModel)
    }
}

/// All paths. Health and what a browser is shown are open to everybody.
pub(crate) fn router(app: Arc<App>) -> Router {
    let open = Router::new().route("/v2/health/live", get(meta::live)).route("/v2/health/ready", get(meta::ready));
    let gate = axum::middleware::from_fn_with_state(Arc::clone(&app), gate::admit);
    let router = open.merge(page::routes()).merge(endpoints().route_layer(gate));
    let router = router.fallback(reply::no_endpoint).method_not_allowed_fallback(reply::no_method);
    router.layer(axum::middleware::map_response(reply::in_json)).with_state(app)
}

fn endpoints() -> Router<Arc<App>> {
    let mut router = Router::new()
        .route("/v2", get(meta::server))
        .route("/metrics", get(meta::metrics))
        .route("/page.json", get(page::about))
        .route("/v2/keys/{id}", get(keys::about).put(keys::put).delete(keys::forget));
    for model in ["/v2/models/{name}", "/v2/models/{name}/versions/{version}"] {
        let path = |end: &str| format!("{model}{end}");
        router = router
            .route(model, get(meta::model))
            .route(&path("/ready"), get(meta::model_ready))
            .route(&path("/infer"), post(infer::infer))
            .route(&path("/encryption-plan"), get(encrypted::plan))
            .route(&path("/encrypted-infer"), post(encrypted::infer))
            .route(&path("/sharing"), get(shared::offer))
            .route(&path("/shared-infer"), post(shared::infer))
            .route(&path("/attestation"), post(sealed::attestation))
            .route(&path("/sealed-infer"), post(sealed::infer));
    }
    router
}

/// Files of keys that are on their way at a time: each takes memory besides the cache's.
const MOST_UPLOADS: usize = 4;

/// Clients that wait for evidence; the next ones are told that they are too many.
const MOST_INQUIRIES: usize = 16;
