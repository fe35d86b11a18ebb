//! Requests on ciphertexts: the extension `subrosa_encrypted_inference`.

use super::body::{Begun, exchange};
use super::reply::{self, BYTES, Refusal};
use super::{App, Named};
use crate::catalogue::{Served, Work};
use crate::encrypted::{Encrypted, Request};
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH};
use axum::http::{HeaderMap, Response, StatusCode};
use std::sync::Arc;
use std::time::Duration;

/// Its name, as metadata tells it.
pub(super) const EXTENSION: &str = "subrosa_encrypted_inference";

/// `GET .../encryption-plan`: what a client makes its keys from.
pub(super) async fn plan(State(app): State<Arc<App>>, Path(named): Path<Named>, headers: HeaderMap) -> Response<Body> {
    let served = match app.find(&named) {
        Ok(served) => served,
        Err(refusal) => return refusal.response(),
    };
    let encrypted = match on_ciphertexts(&served) {
        Ok(encrypted) => encrypted,
        Err(refusal) => return refusal.response(),
    };
    let known = headers.get(IF_NONE_MATCH).is_some_and(|tag| tag == encrypted.tag.as_str());
    let body = if known { Bytes::new() } else { encrypted.plan.clone() };
    let mut response = Response::new(Body::from(body));
    if known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(BYTES));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.extend(HeaderValue::from_str(&encrypted.tag).map(|tag| (ETAG, tag)));
    response
}

/// `POST .../encrypted-infer`: a request whose keys are here.
pub(super) async fn infer(
    State(app): State<Arc<App>>,
    Path(named): Path<Named>,
    headers: HeaderMap,
    body: Body,
) -> Response<Body> {
    exchange(&app, &named, "encrypted-infer", async |served, mut begun| {
        let done = answer(&app, &served, &mut begun, &headers, body).await;
        (begun, done)
    })
    .await
}

async fn answer(
    app: &App,
    served: &Arc<Served>,
    begun: &mut Begun,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response<Vec<u8>>, Refusal> {
    let Encrypted { service, queue, .. } = on_ciphertexts(served)?;
    let bytes = begun.read(service.request_bytes(), headers, body).await?;
    let keys = service.keys_of(&bytes).map_err(|error| Refusal::of(error, app))?;
    let keys = app.keys.find(keys).ok_or(Refusal::KeysGone)?;
    let answer = begun.compute(queue, Request { keys, bytes }).await?;
    begun.computed(answer.samples);
    let mut response = reply::answer(BYTES, answer.bytes);
    response.headers_mut().extend(milliseconds(answer.took).map(|ms| (COMPUTE_MS, ms)));
    Ok(response)
}

fn on_ciphertexts(served: &Served) -> Result<&Encrypted, Refusal> {
    match &served.work {
        Work::Ciphertexts(encrypted) => Ok(encrypted),
        Work::Values(_) | Work::Shares(_) => {
            Err(Refusal::NotHere("this server does not compute on ciphertexts; it runs without --via ckks"))
        }
    }
}

pub(super) fn milliseconds(took: Duration) -> Option<HeaderValue> {
    HeaderValue::from_str(&format!("{:.3}", took.as_secs_f64() * 1e3)).ok()
}

/// The header that tells what an evaluation took.
pub(super) const COMPUTE_MS: axum::http::HeaderName = axum::http::HeaderName::from_static("subrosa-compute-ms");
