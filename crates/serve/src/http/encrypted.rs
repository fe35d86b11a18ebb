//! Requests on ciphertexts: the extension `subrosa_encrypted_inference`.

use super::body::{Begun, exchange};
use super::reply::{self, BYTES, Refusal};
use super::{App, Named};
use crate::catalogue::{Served, Work};
use crate::encrypted::{Encrypted, Request};
use axum::body::{Body, Bytes};
use axum::extract::{Path, RawQuery, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH};
use axum::http::{HeaderMap, Response, StatusCode};
use std::sync::Arc;

/// Its name, as metadata tells it.
pub(super) const EXTENSION: &str = "subrosa_encrypted_inference";

/// `GET .../encryption-plan?samples=N`: what a client of `N` samples, or one, makes its keys from.
pub(super) async fn plan(
    State(app): State<Arc<App>>,
    Path(named): Path<Named>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response<Body> {
    let planned = app.find(&named).and_then(|served| {
        let offer = on_ciphertexts(&served)?.offer_for(samples(query.as_deref())?).ok_or(Refusal::Failed)?;
        Ok((offer.plan.clone(), offer.tag.clone()))
    });
    match planned {
        Ok((plan, tag)) => tagged(plan, &tag, &headers),
        Err(refusal) => refusal.response(),
    }
}

/// The plan, or that the client has it already.
fn tagged(plan: Bytes, tag: &str, headers: &HeaderMap) -> Response<Body> {
    let known = headers.get(IF_NONE_MATCH).is_some_and(|known| known == tag);
    let mut response = Response::new(Body::from(if known { Bytes::new() } else { plan }));
    if known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(BYTES));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.extend(HeaderValue::from_str(tag).map(|tag| (ETAG, tag)));
    response
}

/// `POST .../encrypted-infer`: a request whose keys are here.
pub(super) async fn infer(
    State(app): State<Arc<App>>,
    Path(named): Path<Named>,
    headers: HeaderMap,
    body: Body,
) -> Response<Body> {
    exchange(&app, &named, "encrypted-infer", &headers, async |served, mut begun| {
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
    let encrypted = on_ciphertexts(served)?;
    let longest = encrypted.request_bytes();
    begun.allow(longest);
    let bytes = begun.read(longest, headers, body).await?;
    let service = &encrypted.named_by(&bytes).map_err(|error| Refusal::of(error, app))?.service;
    let keys = service.keys_of(&bytes).map_err(|error| Refusal::of(error, app))?;
    let keys = app.keys.find(keys).ok_or(Refusal::KeysGone)?;
    if keys.plan != service.plan_digest() {
        return Err(bad("the request's keys are of another plan", "make keys for the request's plan"));
    }
    let request = Request { service: Arc::clone(service), keys, bytes };
    let answer = begun.compute(&encrypted.queue, request).await?;
    begun.computed(answer.samples);
    Ok(reply::timed(answer.bytes, answer.took))
}

fn on_ciphertexts(served: &Served) -> Result<&Encrypted, Refusal> {
    match &served.work {
        Work::Ciphertexts(encrypted) => Ok(encrypted),
        Work::Values(_) | Work::Shares(_) => {
            Err(Refusal::NotHere("this server does not compute on ciphertexts; it runs without --via ckks"))
        }
    }
}

/// How many samples a client says that it has; other parameters are passed over.
fn samples(query: Option<&str>) -> Result<usize, Refusal> {
    let given = query.unwrap_or_default().split('&').find_map(|part| part.strip_prefix("samples="));
    let wrong = |_| bad("the number of samples is none", "give ?samples=N, or leave it out");
    given.map_or(Ok(1), str::parse).map_err(wrong)
}

fn bad(message: &str, hint: &str) -> Refusal {
    Refusal::Bad(subrosa::Error::Input { message: message.to_owned(), hint: Some(hint.to_owned()) })
}
