//! Whom the endpoints are open to.

use super::App;
use super::reply::Refusal;
use crate::access::{Denied, Known};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{Response, StatusCode};
use axum::middleware::Next;
use std::sync::Arc;

/// Who asks.
pub(crate) struct Client {
    /// None where anybody may.
    known: Option<Arc<Known>>,
}

/// Lets those in who are known, where anybody has to be.
pub(super) async fn admit(State(app): State<Arc<App>>, request: Request, next: Next) -> Response<Body> {
    match app.admit(request.headers().get(AUTHORIZATION).map(|value| value.as_bytes())) {
        Ok(client) => {
            let response = next.run(request).await;
            client.asked(&app, response.status());
            response
        }
        Err(refusal) => refusal.response(),
    }
}

impl App {
    /// Whoever an `Authorization` header is of.
    pub(crate) fn admit(&self, header: Option<&[u8]>) -> Result<Client, Refusal> {
        let Some(clients) = self.clients() else { return Ok(Client { known: None }) };
        match clients.admit(header) {
            Ok(known) => Ok(Client { known: Some(known) }),
            Err(denied) => {
                let refusal = Refusal::from(denied);
                self.metrics.asked("", refusal.status().as_u16());
                Err(refusal)
            }
        }
    }
}

impl Client {
    /// Takes note of what was answered.
    pub(crate) fn asked(&self, app: &App, status: StatusCode) {
        if let Some(known) = &self.known {
            app.metrics.asked(&known.name, status.as_u16());
        }
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Nameless => Self::Nameless,
            Denied::Unknown => Self::Unknown,
            Denied::Invalid => Self::Invalid,
            Denied::TooOften(after) => Self::TooOften(after),
        }
    }
}
