//! What clients are answered.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use axum::http::{Response, StatusCode};
use serde::Serialize;
use subrosa::oip::{ErrorBody, HEADER_LENGTH, Message};

/// Why a request is refused.
#[derive(Debug)]
pub(super) enum Refusal {
    /// There is no such model or version.
    NoModel,
    /// There is no such endpoint, or not as this server runs.
    NotHere(&'static str),
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
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::NoModel => StatusCode::NOT_FOUND,
            Self::NotHere(_) => StatusCode::FORBIDDEN,
            Self::Bad(_) => StatusCode::BAD_REQUEST,
            Self::TooLong(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Cut => StatusCode::REQUEST_TIMEOUT,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Self::Busy | Self::Late => StatusCode::SERVICE_UNAVAILABLE,
            Self::Failed => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    pub(super) fn body(&self) -> ErrorBody {
        let error = match self {
            Self::NoModel => "there is no such model or version".to_owned(),
            Self::NotHere(why) => (*why).to_owned(),
            Self::Bad(error) => error.to_string(),
            Self::TooLong(limit) => format!("the body is longer than {limit} bytes; send fewer samples at a time"),
            Self::Cut => "the body did not come whole, or not in time; send it again".to_owned(),
            Self::TooMany => "too many clients ask for evidence; ask again, or for that of the epoch".to_owned(),
            Self::Busy => "the server is busy; send the request again".to_owned(),
            Self::Late => "the answer took too long; send fewer samples at a time".to_owned(),
            Self::Failed => "the server failed on this request".to_owned(),
        };
        ErrorBody { error }
    }

    pub(super) fn response(&self) -> Response<Body> {
        let mut response = json(self.status(), &self.body());
        match self {
            Self::TooMany | Self::Busy | Self::Late => {
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            // What is left of the body is not read: the connection is of no more use.
            Self::TooLong(_) | Self::Cut => {
                response.headers_mut().insert("connection", HeaderValue::from_static("close"));
            }
            Self::NoModel | Self::NotHere(_) | Self::Bad(_) | Self::Failed => {}
        }
        response
    }
}

/// A path that is none.
pub(super) async fn no_endpoint() -> Response<Body> {
    let error = "there is no such endpoint; see the Open Inference Protocol, version 2".to_owned();
    json(StatusCode::NOT_FOUND, &ErrorBody { error })
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

pub(super) fn response(status: StatusCode, kind: &'static str, body: Vec<u8>) -> Response<Body> {
    let mut response = answer(kind, body).map(Body::from);
    *response.status_mut() = status;
    response
}

pub(super) const JSON: &str = "application/json";
pub(super) const BYTES: &str = "application/octet-stream";
