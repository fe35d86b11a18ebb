//! Whom the endpoints are open to.

use super::App;
use super::body::GONE;
use super::reply::Refusal;
use crate::access::{Denied, Known};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{Response, StatusCode};
use axum::middleware::Next;
use std::sync::Arc;

/// A request of somebody who may ask, counted when it is over: also where the client hangs up.
pub(crate) struct Client {
    app: Arc<App>,
    /// None where anybody may.
    known: Option<Arc<Known>>,
    status: u16,
}

/// What an answer says that is 200 to HTTP.
#[derive(Clone, Copy)]
pub(crate) struct Told(pub(crate) StatusCode);

/// Lets those in who are known, where anybody has to be.
pub(super) async fn admit(State(app): State<Arc<App>>, request: Request, next: Next) -> Response<Body> {
    match app.admit(request.headers().get(AUTHORIZATION).map(|value| value.as_bytes())) {
        Ok(client) => client.answered(next.run(request).await),
        Err(refusal) => refusal.response(),
    }
}

impl App {
    /// Whoever an `Authorization` header is of.
    pub(crate) fn admit(self: &Arc<Self>, header: Option<&[u8]>) -> Result<Client, Refusal> {
        let client = |known| Client { app: Arc::clone(self), known, status: GONE };
        let Some(clients) = self.clients() else { return Ok(client(None)) };
        match clients.admit(header) {
            Ok(known) => Ok(client(Some(known))),
            Err(denied) => {
                let refusal = Refusal::from(denied);
                self.metrics.asked("", refusal.status().as_u16());
                Err(refusal)
            }
        }
    }
}

impl Client {
    /// Takes note of an answer.
    pub(crate) fn answered(mut self, response: Response<Body>) -> Response<Body> {
        self.status = response.extensions().get::<Told>().map_or(response.status(), |told| told.0).as_u16();
        response
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(known) = &self.known {
            self.app.metrics.asked(&known.name, self.status);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{ApiKeys, NewKey};
    use crate::catalogue::Catalogue;
    use crate::options::Limits;

    #[test]
    fn a_request_is_counted_by_what_it_was_told_or_that_its_client_was_gone() {
        let (key, file) = (NewKey::make("alice").unwrap(), tempfile::NamedTempFile::new().unwrap());
        std::fs::write(file.path(), &key.line).unwrap();
        let app = Arc::new(App::new(Catalogue::new(None), Limits::default()));
        app.admit_only(ApiKeys::read(file.path(), None).unwrap().into());
        let header = format!("Bearer {}", key.key);
        let client = || app.admit(Some(header.as_bytes())).unwrap_or_else(|_| panic!("it has a key"));
        drop(client());
        drop(client().answered(Response::new(Body::empty())));
        let mut told = Response::new(Body::empty());
        told.extensions_mut().insert(Told(StatusCode::NOT_FOUND));
        drop(client().answered(told));
        let metrics = app.metrics.text().unwrap();
        for status in [499, 200, 404] {
            assert!(metrics.contains(&format!("key=\"alice\",status=\"{status}\"}} 1")), "{status}: {metrics}");
        }
    }
}
