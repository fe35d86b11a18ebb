//! What clients are answered.

use super::App;
use crate::log;
use axum::body::Body;
use axum::http::header::{CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{Response, StatusCode};
use serde::Serialize;
use std::time::Duration;
use subrosa::oip::{ErrorBody, HEADER_LENGTH, Message};

/// Why a request is refused.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// There is no such model or version.
    NoModel,
    /// There are no such keys.
    NoKeys,
    /// No model has the plan of these keys.
    NoPlan,
    /// The request's keys are not here.
    KeysGone,
    /// The parties refuse the request as it is.
    Anew(String),
    /// The parties are not there.
    Away,
    /// There is no such endpoint, or not as this server runs.
    NotHere(&'static str),
    /// Who asks does not say so.
    Nameless,
    /// Nobody has the key that was given.
    Unknown,
    /// The token that was given does not hold.
    Invalid,
    /// The client asks too often; it may again after this.
    TooOften(Duration),
    /// Something is wrong with the request.
    Bad(subrosa::Error),
    /// The body is longer than the limit.
    TooLong(usize),
    /// The body did not come in time, or not whole.
    Cut,
    /// Too many ask for evidence.
    TooMany,
    /// Too many requests are at work, or wait.
    Busy,
    /// It took too long.
    Late,
    /// Something failed here. What, the log says.
    Failed,
}

impl Refusal {
    /// What the library says of a request: the client's fault where it is about what it sent, else
    /// ours, of which it is told no more than that.
    pub(crate) fn of(error: subrosa::Error, app: &App) -> Self {
        if matches!(error, subrosa::Error::Input { .. }) {
            return Self::Bad(error);
        }
        log::line("request-failed", app.warning(), &serde_json::json!({ "error": error.to_string() }));
        Self::Failed
    }

    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::NoModel | Self::NoKeys | Self::NoPlan => StatusCode::NOT_FOUND,
            Self::KeysGone | Self::Anew(_) => StatusCode::CONFLICT,
            Self::NotHere(_) => StatusCode::FORBIDDEN,
            Self::Nameless | Self::Unknown | Self::Invalid => StatusCode::UNAUTHORIZED,
            Self::Bad(_) => StatusCode::BAD_REQUEST,
            Self::TooLong(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Cut => StatusCode::REQUEST_TIMEOUT,
            Self::TooMany | Self::TooOften(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Busy | Self::Late | Self::Away => StatusCode::SERVICE_UNAVAILABLE,
            Self::Failed => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    pub(crate) fn body(&self) -> ErrorBody {
        let error = match self {
            Self::NoModel => "there is no such model or version".to_owned(),
            Self::NoKeys => "there are no such keys".to_owned(),
            Self::NoPlan => {
                "no model here has the plan of these keys; fetch the plan again and make new ones".to_owned()
            }
            Self::KeysGone => {
                "the request's evaluation keys are not here (any more); PUT them to /v2/keys/{id} and send it again"
                    .to_owned()
            }
            Self::Anew(why) => why.clone(),
            Self::Away => "the parties that compute cannot be reached, or stopped; make the request anew".to_owned(),
            Self::NotHere(why) => (*why).to_owned(),
            Self::Nameless => "this server answers clients with a key; send Authorization: Bearer KEY".to_owned(),
            Self::Unknown => "the key is not one that this server knows; ask whoever runs it".to_owned(),
            Self::Invalid => {
                "the token is not of this server's issuer, not for this server, or not of this time; get a new one"
                    .to_owned()
            }
            Self::TooOften(_) => "too many requests with this key; come again after Retry-After seconds".to_owned(),
            Self::Bad(error) => error.to_string(),
            Self::TooLong(limit) => format!("the body is longer than {limit} bytes; send less at a time"),
            Self::Cut => "the body did not come whole, or not in time; send it again".to_owned(),
            Self::TooMany => "too many clients ask for evidence; ask again, or for that of the epoch".to_owned(),
            Self::Busy => "the server is busy; send the request again".to_owned(),
            Self::Late => "the answer took too long; send fewer samples at a time".to_owned(),
            Self::Failed => "the server failed on this request".to_owned(),
        };
        // Nothing bounds what is not read: of clients' words there are few in it, and few of them.
        let error = match error.len() > MOST_SAID {
            true => format!("{}...", &error[..error.floor_char_boundary(MOST_SAID)]),
            false => error,
        };
        ErrorBody { error }
    }

    /// The same over gRPC: a code of <https://grpc.io/docs/guides/status-codes/>.
    pub(crate) fn grpc(&self) -> u8 {
        match self {
            Self::Bad(_) => 3,
            Self::Cut | Self::Late => 4,
            Self::NoModel | Self::NoKeys | Self::NoPlan => 5,
            Self::NotHere(_) => 7,
            Self::TooLong(_) | Self::TooMany | Self::TooOften(_) => 8,
            Self::KeysGone | Self::Anew(_) => 9,
            Self::Failed => 13,
            Self::Busy | Self::Away => 14,
            Self::Nameless | Self::Unknown | Self::Invalid => 16,
        }
    }

    pub(super) fn response(&self) -> Response<Body> {
        self.answer().map(Body::from)
    }

    pub(super) fn answer(&self) -> Response<Vec<u8>> {
        let mut response = answer(JSON, serde_json::to_vec(&self.body()).unwrap_or_default());
        *response.status_mut() = self.status();
        let header = match self {
            Self::TooMany | Self::Busy | Self::Late | Self::Away => Some((RETRY_AFTER, HeaderValue::from_static("1"))),
            Self::TooOften(after) => Some((RETRY_AFTER, HeaderValue::from(after.as_secs_f64().ceil() as u64))),
            Self::Nameless => Some((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
            Self::Unknown | Self::Invalid => {
                Some((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer error=\"invalid_token\"")))
            }
            // What is left of the body is not read: the connection is of no more use.
            Self::TooLong(_) | Self::Cut => Some((CONNECTION, HeaderValue::from_static("close"))),
            Self::NoModel
            | Self::NoKeys
            | Self::NoPlan
            | Self::KeysGone
            | Self::Anew(_)
            | Self::NotHere(_)
            | Self::Bad(_)
            | Self::Failed => None,
        };
        response.headers_mut().extend(header);
        response
    }
}

/// A path that is none.
pub(super) async fn no_endpoint() -> Response<Body> {
    let error = "there is no such endpoint; see the Open Inference Protocol, version 2".to_owned();
    json(StatusCode::NOT_FOUND, &ErrorBody { error })
}

/// A method that a path has not.
pub(super) async fn no_method() -> Response<Body> {
    let error = "this path is not asked in this way; see the Open Inference Protocol, version 2".to_owned();
    json(StatusCode::METHOD_NOT_ALLOWED, &ErrorBody { error })
}

/// A refusal that is not ours but the router's, as ours are: it cannot read a path.
pub(super) async fn in_json(response: Response<Body>) -> Response<Body> {
    let kind = response.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    match response.status().is_client_error() && kind != Some(JSON.as_bytes()) {
        true => json(response.status(), &ErrorBody { error: "the path cannot be read".to_owned() }),
        false => response,
    }
}

pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    let body = serde_json::to_vec(value).unwrap_or_default();
    response(status, JSON, body)
}

/// A message of the protocol.
pub(super) fn message(message: Message) -> Response<Vec<u8>> {
    let kind = if message.json.is_some() { BYTES } else { JSON };
    let mut out = answer(kind, message.body);
    if let Some(length) = message.json {
        out.headers_mut().insert(HEADER_LENGTH, HeaderValue::from(length));
    }
    out
}

/// What was asked for.
pub(super) fn answer(kind: &'static str, body: Vec<u8>) -> Response<Vec<u8>> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// The header that tells what an evaluation took.
const COMPUTE_MS: HeaderName = HeaderName::from_static("subrosa-compute-ms");

/// What was computed elsewhere or on ciphertexts, and what that took.
pub(super) fn timed(body: Vec<u8>, took: Duration) -> Response<Vec<u8>> {
    let mut response = answer(BYTES, body);
    let ms = HeaderValue::from_str(&format!("{:.3}", took.as_secs_f64() * 1e3));
    response.headers_mut().extend(ms.map(|ms| (COMPUTE_MS, ms)));
    response
}

pub(super) fn response(status: StatusCode, kind: &'static str, body: Vec<u8>) -> Response<Body> {
    let mut response = answer(kind, body).map(Body::from);
    *response.status_mut() = status;
    response
}

/// Bytes of an error's text.
const MOST_SAID: usize = 1 << 10;

pub(super) const JSON: &str = "application/json";
pub(super) const BYTES: &str = "application/octet-stream";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Catalogue;
    use crate::options::Limits;

    #[test]
    fn only_what_a_client_sent_is_its_fault() {
        let app = App::new(Catalogue::new(None), Limits::default());
        let (message, hint) = ("a word".to_owned(), None);
        let theirs = Refusal::of(subrosa::Error::Input { message: message.clone(), hint: None }, &app);
        assert_eq!((theirs.status(), theirs.body().error.as_str()), (StatusCode::BAD_REQUEST, "a word"));
        let ours = Refusal::of(subrosa::Error::Model { message, unsupported: Vec::new(), hint }, &app);
        assert_eq!(ours.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert!(!ours.body().error.contains("a word"));
    }

    #[test]
    fn a_refusal_is_short() {
        let long = Refusal::Bad(subrosa::Error::Input { message: "\u{e9}".repeat(1 << 20), hint: None });
        let said = long.body().error;
        assert!(said.len() <= MOST_SAID + 3 && said.ends_with("\u{e9}..."));
    }
}
