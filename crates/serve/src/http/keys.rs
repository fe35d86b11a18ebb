//! `/v2/keys/{id}`: clients' evaluation keys, each under the digest that requests name it by.

use super::App;
use super::body::{Begun, begin};
use super::reply::{self, JSON, Refusal};
use crate::catalogue::{Catalogue, Served, Way};
use crate::keys::Admission;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Response, StatusCode};
use serde_json::json;
use std::sync::Arc;
use subrosa::ckks::service::{KeysId, Service};

/// `PUT`: 201, or 200 if they are here already.
pub(super) async fn put(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response<Body> {
    begin(&app, None, "keys", &headers, async |mut begun| {
        let done = keep(&app, &id, &mut begun, &headers, body).await;
        (begun, done)
    })
    .await
}

async fn keep(
    app: &Arc<App>,
    id: &str,
    begun: &mut Begun,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response<Vec<u8>>, Refusal> {
    let catalogue = here(app)?;
    let id = named(id)?;
    let longest = catalogue.ciphertexts().map(|(_, offer)| offer.service.key_file_bytes()).max().unwrap_or(0);
    let turn = Arc::clone(&app.uploads).try_acquire_owned().map_err(|_| Refusal::Busy)?;
    begun.allow(longest);
    let bytes = begun.read(longest, headers, body).await?;
    let (served, service) = planned(&catalogue, &bytes)?;
    begun.about(&served);
    let length = bytes.len();
    let (state, reader) = (Arc::clone(app), Arc::clone(&service));
    let status = begun.apart(move || {
        let status = keep_as(&state, id, &reader, &bytes);
        drop(turn);
        status
    });
    let status = status.await??;
    let about = json!({ "id": id.to_string(), "model": served.name, "bytes": length });
    let mut answer = reply::answer(JSON, serde_json::to_vec(&about).map_err(|_| Refusal::Failed)?);
    *answer.status_mut() = status;
    Ok(answer)
}

/// Long work: hashing and decoding.
fn keep_as(app: &App, id: KeysId, service: &Service, bytes: &Bytes) -> Result<StatusCode, Refusal> {
    if KeysId::of(bytes) != id {
        return Err(bad("the keys are not those that the path names", "PUT them under the BLAKE3 of their file"));
    }
    // Before they are decoded.
    let new = match app.keys.room(id, service.key_memory()) {
        Admission::Here => false,
        Admission::Full => return Err(Refusal::Busy),
        Admission::Room(room) => {
            let keys = service.read_keys(bytes).map_err(|error| Refusal::of(error, app))?;
            app.keys.keep(id, keys, service.plan_digest(), room)
        }
    };
    // Other models may have come since the request did, and nobody else would forget these.
    if !app.catalogue().ciphertexts().any(|(_, encrypted)| encrypted.service.is_for(bytes)) {
        app.keys.forget(id);
        return Err(Refusal::NoPlan);
    }
    Ok(if new { StatusCode::CREATED } else { StatusCode::OK })
}

/// `GET`: which model they are for, and how long they are.
pub(super) async fn about(State(app): State<Arc<App>>, Path(id): Path<String>) -> Response<Body> {
    match found(&app, &id) {
        Ok(about) => reply::json(StatusCode::OK, &about),
        Err(refusal) => refusal.response(),
    }
}

fn found(app: &App, id: &str) -> Result<serde_json::Value, Refusal> {
    let catalogue = here(app)?;
    let held = app.keys.find(named(id)?).ok_or(Refusal::NoKeys)?;
    let mut planned = catalogue.ciphertexts().filter(|(_, offer)| offer.service.plan_digest() == held.plan);
    let (served, _) = planned.next().ok_or(Refusal::NoKeys)?;
    Ok(json!({ "id": held.keys.id().to_string(), "model": served.name, "bytes": held.keys.file_bytes() }))
}

/// `DELETE`: they are not here afterwards, whether they were or not.
pub(super) async fn forget(State(app): State<Arc<App>>, Path(id): Path<String>) -> Response<Body> {
    match here(&app).and_then(|_| named(&id)) {
        Ok(id) => {
            app.keys.forget(id);
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NO_CONTENT;
            response
        }
        Err(refusal) => refusal.response(),
    }
}

fn here(app: &App) -> Result<Arc<Catalogue>, Refusal> {
    let catalogue = app.catalogue();
    match catalogue.way() {
        Way::Encrypted => Ok(catalogue),
        Way::Clear | Way::Attested(_) | Way::Relayed(_) => {
            Err(Refusal::NotHere("this server takes no keys: it does not compute on ciphertexts"))
        }
    }
}

/// The model whose plan the keys carry; any of several with the same plan.
fn planned(catalogue: &Catalogue, keys: &[u8]) -> Result<(Arc<Served>, Arc<Service>), Refusal> {
    let mut planned = catalogue.ciphertexts().filter(|(_, offer)| offer.service.is_for(keys));
    let (served, offer) = planned.next().ok_or(Refusal::NoPlan)?;
    Ok((Arc::clone(served), Arc::clone(&offer.service)))
}

fn named(id: &str) -> Result<KeysId, Refusal> {
    KeysId::parse(id)
        .ok_or_else(|| bad("this names no keys", "give the 64 hexadecimal digits, lower case, of their BLAKE3"))
}

fn bad(message: &str, hint: &str) -> Refusal {
    Refusal::Bad(subrosa::Error::Input { message: message.to_owned(), hint: Some(hint.to_owned()) })
}
