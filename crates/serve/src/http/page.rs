//! The page at `/`, and the package it is made of. Everything is in the program: the sources of
//! `web`, and the WebAssembly module that `web/build` made.

use super::App;
use super::meta::shape;
use super::reply::{self, json};
use crate::catalogue::Served;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, IF_NONE_MATCH,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, Response, StatusCode};
use axum::routing::get;
use serde_json::{Value, json as value};
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;
use subrosa::{Port, Via};

/// The page and its parts. They are open to everybody, and the same on every server.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new().route("/", get(page)).route("/web/{*path}", get(asset))
}

async fn page(headers: HeaderMap) -> Response<Body> {
    sent(&PAGE, &headers)
}

async fn asset(Path(path): Path<String>, headers: HeaderMap) -> Response<Body> {
    match ASSETS.iter().find(|asset| asset.path == path) {
        Some(asset) => sent(asset, &headers),
        None => reply::no_endpoint().await,
    }
}

/// `GET /page.json`: what the page can ask, and who learns what by it.
pub(super) async fn about(State(app): State<Arc<App>>) -> Response<Body> {
    let catalogue = app.catalogue();
    let via = catalogue.via();
    let names: BTreeSet<&str> = catalogue.names().map(|(name, _)| name).collect();
    let newest = names.into_iter().filter_map(|name| catalogue.find(name, None));
    let models: Vec<Value> = newest.map(|served| model(served, via)).collect();
    let protection = value!({ "via": via.name(), "learns": catalogue.learns().collect::<Vec<_>>() });
    json(StatusCode::OK, &value!({ "models": models, "protections": [protection] }))
}

fn model(served: &Served, via: Via) -> Value {
    let first = |ports: &[Port]| ports.first().map(|port| shape(port).collect::<Vec<_>>());
    value!({
        "name": served.name,
        "via": via.name(),
        "input_shape": first(&served.inputs),
        "output_shape": first(&served.outputs),
    })
}

/// The asset, or that the client has it already.
fn sent(asset: &Asset, request: &HeaderMap) -> Response<Body> {
    let tag = asset.tag();
    let known = request.get(IF_NONE_MATCH).is_some_and(|known| known == tag.as_str());
    let mut response = match known {
        true => Response::new(Body::empty()),
        false => Response::new(Body::from(asset.bytes)),
    };
    if known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(asset.kind));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(ETAG, tag);
    }
    response
}

/// A file of `web`.
struct Asset {
    path: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
}

impl Asset {
    /// Another one for other bytes: a browser asks each time whether its copy is still good.
    fn tag(&self) -> String {
        let mut hasher = DefaultHasher::new();
        hasher.write(self.bytes);
        format!("\"{:016x}\"", hasher.finish())
    }
}

/// On the page and on each part, as a worker has the policy of its own script.
const HEADERS: [(HeaderName, &str); 4] = [
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; object-src 'none'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
    ),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (CACHE_CONTROL, "no-cache"),
];

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

macro_rules! asset {
    ($path:literal, $kind:expr) => {
        Asset { path: $path, kind: $kind, bytes: include_bytes!(concat!("../../../../web/", $path)) }
    };
}

const PAGE: Asset = asset!("page/index.html", HTML);

const ASSETS: [Asset; 15] = [
    asset!("page/page.css", CSS),
    asset!("page/icon.svg", "image/svg+xml"),
    asset!("page/page.js", SCRIPT),
    asset!("page/pad.js", SCRIPT),
    asset!("page/view.js", SCRIPT),
    asset!("page/examples.js", SCRIPT),
    asset!("src/index.js", SCRIPT),
    asset!("src/client.js", SCRIPT),
    asset!("src/digit.js", SCRIPT),
    asset!("src/module.js", SCRIPT),
    asset!("src/parties.js", SCRIPT),
    asset!("src/server.js", SCRIPT),
    asset!("src/session.js", SCRIPT),
    asset!("src/worker.js", SCRIPT),
    asset!("dist/subrosa.wasm", "application/wasm"),
];
