//! The attested channel, as endpoints beside the protocol's.

use super::body::{Begun, exchange};
use super::infer::{Asked, compute, written};
use super::reply::{self, BYTES, JSON, Refusal};
use super::{App, Named};
use crate::catalogue::Served;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Response};
use std::sync::Arc;
use subrosa::attest::enclave::Wish;
use subrosa::attest::{Enclave, Hosted, Owed};
use subrosa::client::Inner;
use subrosa::oip::Message;

/// `POST .../attestation`: evidence for a nonce and a policy, or of the epoch.
pub(super) async fn attestation(
    State(app): State<Arc<App>>,
    Path(named): Path<Named>,
    headers: HeaderMap,
    body: Body,
) -> Response<Body> {
    exchange(&app, &named, "attestation", &headers, async |served, mut begun| {
        let done = attest(&app, &served, &mut begun, &headers, body).await;
        (begun, done)
    })
    .await
}

async fn attest(
    app: &App,
    served: &Arc<Served>,
    begun: &mut Begun,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response<Vec<u8>>, Refusal> {
    let (enclave, _) = inside(app, served)?;
    let bytes = begun.read(MOST_WISH, headers, body).await?;
    let wish: Wish = serde_json::from_slice(&bytes).map_err(|_| bad("the wish for evidence is none"))?;
    let waiting = Arc::clone(&app.inquiries).try_acquire_owned().map_err(|_| Refusal::TooMany)?;
    let turn = tokio::time::timeout_at(begun.until.into(), Arc::clone(&app.quoting).acquire_owned());
    let turn = turn.await.map_err(|_| Refusal::TooMany)?.map_err(|_| Refusal::Failed)?;
    let model = Arc::clone(served);
    // The hardware may take its time, and takes one turn at a time, though the client be gone.
    let offer = begun.apart(move || {
        let offer = model.hosted.as_ref().map(|hosted| enclave.offer(hosted, &wish));
        drop((waiting, turn));
        offer
    });
    let offer = offer.await?.ok_or(Refusal::Failed)?.map_err(|error| {
        if matches!(error, subrosa::Error::Input { .. }) {
            return Refusal::Bad(error);
        }
        crate::log::line("attestation-failed", app.warning(), &serde_json::json!({ "error": error.to_string() }));
        Refusal::Failed
    })?;
    Ok(reply::answer(JSON, serde_json::to_vec(&offer).map_err(|_| Refusal::Failed)?))
}

/// `POST .../sealed-infer`: a request that only this program can read.
pub(super) async fn infer(
    State(app): State<Arc<App>>,
    Path(named): Path<Named>,
    headers: HeaderMap,
    body: Body,
) -> Response<Body> {
    exchange(&app, &named, "sealed-infer", &headers, async |served, mut begun| {
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
    let (enclave, _) = inside(app, served)?;
    let bytes = begun.read(app.limits.body, headers, body).await?;
    let (model, most, warning) = (Arc::clone(served), app.limits.samples, app.warning());
    let length = bytes.len();
    let opened = begun.beside(length, move || open(&enclave, &model, &bytes, most)).await?;
    let (asked, owed) = opened.map_err(|error| Refusal::of(error, app))?;
    // What is wrong inside is told inside: the host learns that there was an answer.
    let (status, message) = match asked {
        Ok(asked) => match compute(served, asked.warned(warning), begun).await {
            // Not counted: the host reads log and metrics.
            Ok(answer) => (200, written(answer, begun).await?),
            Err(refusal @ Refusal::Bad(_)) => refused(&refusal)?,
            Err(refusal) => return Err(refusal),
        },
        Err(error) => refused(&Refusal::Bad(error))?,
    };
    let sealed = begun.beside(message.body.len(), move || owed.seal(&Inner::answer(status, &message))).await?;
    Ok(reply::answer(BYTES, sealed.map_err(|_| Refusal::Failed)?))
}

/// What was asked, or what is wrong with it, and what seals the answer.
type Opened = (subrosa::Result<Asked>, Owed);

fn open(enclave: &Enclave, served: &Served, body: &[u8], most: usize) -> subrosa::Result<Opened> {
    let hosted = served.hosted.as_ref().ok_or_else(|| error("this server has no attested channel"))?;
    let (opened, owed) = enclave.open(hosted, body)?;
    let asked = Inner::read_request(&opened).and_then(|inner| Asked::read(served, inner.body, inner.json, most));
    Ok((asked, owed))
}

fn refused(refusal: &Refusal) -> Result<(u16, Message), Refusal> {
    let body = serde_json::to_vec(&refusal.body()).map_err(|_| Refusal::Failed)?;
    Ok((refusal.status().as_u16(), Message { body, json: None }))
}

fn inside<'a>(app: &App, served: &'a Served) -> Result<(Arc<Enclave>, &'a Hosted), Refusal> {
    let enclave = app.enclave().zip(served.hosted.as_ref());
    enclave.ok_or(Refusal::NotHere("this server has no attested channel: it does not run in trusted hardware"))
}

fn bad(message: &str) -> Refusal {
    Refusal::Bad(error(message))
}

fn error(message: &str) -> subrosa::Error {
    subrosa::Error::Input { message: message.to_owned(), hint: Some("see docs/serve.md".to_owned()) }
}

/// A wish for evidence is two hashes and their names.
const MOST_WISH: usize = 1 << 10;
