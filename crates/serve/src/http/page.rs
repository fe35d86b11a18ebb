//! What a browser is shown: all that is not the protocol's.

use super::App;
use super::reply::response;
use crate::catalogue::Way;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode};
use axum::routing::get;
use std::sync::Arc;

/// Paths outside `/v2`. They are open to everybody: nothing here is secret.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new().route("/", get(index))
}

async fn index(State(app): State<Arc<App>>) -> Response<Body> {
    let how = match app.catalogue().way() {
        Way::Clear => "in the clear: it sees inputs and outputs",
        Way::Attested(_) => "inside trusted hardware: clients verify that first",
        Way::Encrypted => "on ciphertexts: it sees neither inputs nor outputs",
    };
    let text = format!("subrosa: inference {how}\ncurl http://HOST/v2 says more; docs/serve.md all.\n");
    response(StatusCode::OK, "text/plain; charset=utf-8", text.into_bytes())
}
