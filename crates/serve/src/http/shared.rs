//! Requests on shares: the extension `subrosa_shared_inference`.

use super::body::{Begun, exchange};
use super::reply::{self, JSON, Refusal};
use super::{App, Named};
use crate::catalogue::{Served, Work};
use crate::log;
use crate::relayed::Shared;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Response};
use std::sync::Arc;

/// Its name, as metadata tells it.
pub(super) const EXTENSION: &str = "subrosa_shared_inference";

/// `GET .../sharing`: what a client shares and seals its input by.
pub(super) async fn offer(State(app): State<Arc<App>>, Path(named): Path<Named>, headers: HeaderMap) -> Response<Body> {
    exchange(&app, &named, "sharing", &headers, async |served, begun| {
        let done = offered(&app, &served, &begun).await;
        (begun, done)
    })
    .await
}

async fn offered(app: &App, served: &Arc<Served>, begun: &Begun) -> Result<Response<Vec<u8>>, Refusal> {
    let shared = on_shares(served)?;
    let (gateway, outline) = (Arc::clone(&shared.gateway), Arc::clone(&shared.outline));
    // Now and then the parties are asked.
    let offer = begun.apart(move || gateway.offer(&outline)).await?.map_err(|error| {
        log::line("parties-failed", app.warning(), &serde_json::json!({ "error": error.to_string() }));
        Refusal::Away
    })?;
    Ok(reply::answer(JSON, serde_json::to_vec(&offer).map_err(|_| Refusal::Failed)?))
}

/// `POST .../shared-infer`: boxes for the parties, which answer with boxes for the client.
pub(super) async fn infer(
    State(app): State<Arc<App>>,
    Path(named): Path<Named>,
    headers: HeaderMap,
    body: Body,
) -> Response<Body> {
    exchange(&app, &named, "shared-infer", &headers, async |served, mut begun| {
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
    let shared = on_shares(served)?;
    let bytes = begun.read(app.limits.body, headers, body).await?;
    let answer = begun.compute(&shared.queue, bytes).await?.map_err(|why| begun.unanswered(why))?;
    begun.computed(answer.samples);
    Ok(reply::timed(answer.bytes, answer.took))
}

fn on_shares(served: &Served) -> Result<&Shared, Refusal> {
    match &served.work {
        Work::Shares(shared) => Ok(shared),
        Work::Values(_) | Work::Ciphertexts(_) => {
            Err(Refusal::NotHere("this server passes no shares on; it runs without --via rep3 or the like"))
        }
    }
}
