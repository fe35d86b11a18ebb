//! One message each way, as gRPC frames it over HTTP/2.
//!
//! **Source:** <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>. Compression is not
//! offered, and a message that is compressed all the same is refused.

use crate::http::{Refusal, Told};
use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Response, StatusCode};
use hyper::body::{Frame, SizeHint};
use prost::Message;
use std::pin::Pin;
use std::task::{Context, Poll};

/// What stands before a message: whether it is compressed, and its length.
pub(super) const PREFIX: usize = 5;

/// The message in a request's body.
pub(super) fn message(body: &Bytes) -> Result<Bytes, Refusal> {
    let (prefix, rest) = body.split_first_chunk::<PREFIX>().ok_or_else(|| bad("the call holds no message"))?;
    let [compressed, a, b, c, d] = *prefix;
    if compressed != 0 {
        return Err(bad("the message is compressed, which this server does not read"));
    }
    match usize::try_from(u32::from_be_bytes([a, b, c, d])) {
        Ok(length) if length == rest.len() => Ok(body.slice(PREFIX..)),
        Ok(_) | Err(_) => Err(bad("the call holds no whole message, or more than one")),
    }
}

/// A message as a body.
pub(super) fn framed(message: &impl Message) -> Result<Vec<u8>, Refusal> {
    let length = u32::try_from(message.encoded_len()).map_err(|_| Refusal::Failed)?;
    let mut bytes = Vec::with_capacity(PREFIX + message.encoded_len());
    bytes.push(0);
    bytes.extend(length.to_be_bytes());
    message.encode(&mut bytes).map_err(|_| Refusal::Failed)?;
    Ok(bytes)
}

/// A call that succeeds.
pub(super) fn succeeded(body: Body) -> Response<Body> {
    typed(Response::new(Body::new(Trailed { body, told: false })))
}

/// A call that fails: all of it is in the header.
pub(super) fn failed(refusal: &Refusal) -> Response<Body> {
    let mut response = status(refusal.grpc(), &refusal.body().error);
    response.extensions_mut().insert(Told(refusal.status()));
    response
}

/// A call of what there is not.
pub(super) fn no_method() -> Response<Body> {
    status(UNIMPLEMENTED, "there is no such method; see the Open Inference Protocol, version 2")
}

/// A request that is no call.
pub(super) fn no_grpc() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    response
}

fn status(code: u8, message: &str) -> Response<Body> {
    let mut response = typed(Response::new(Body::empty()));
    let headers = response.headers_mut();
    headers.insert(STATUS, HeaderValue::from(u16::from(code)));
    headers.extend(HeaderValue::from_str(&escaped(message)).map(|text| (MESSAGE, text)));
    response
}

fn typed(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// All but printable ASCII, and the percent sign, as percent and two digits.
fn escaped(message: &str) -> String {
    let mut out = String::with_capacity(message.len());
    for byte in message.bytes() {
        match byte {
            b' '..=b'$' | b'&'..=b'~' => out.push(char::from(byte)),
            _ => out.extend(['%', digit(byte >> 4), digit(byte & 15)]),
        }
    }
    out
}

fn digit(value: u8) -> char {
    char::from_digit(u32::from(value), 16).unwrap_or('0').to_ascii_uppercase()
}

fn bad(message: &str) -> Refusal {
    Refusal::Bad(subrosa::Error::Input { message: message.to_owned(), hint: None })
}

/// A body, and after it that the call succeeded.
struct Trailed {
    body: Body,
    told: bool,
}

impl hyper::body::Body for Trailed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        if frame.is_some() || self.told {
            return Poll::Ready(frame);
        }
        self.told = true;
        let trailers = HeaderMap::from_iter([(STATUS, HeaderValue::from_static("0"))]);
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.told
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Of <https://grpc.io/docs/guides/status-codes/>.
const UNIMPLEMENTED: u8 = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_holds_one_whole_message() {
        let read = |bytes: &'static [u8]| message(&Bytes::from_static(bytes)).map_err(|r| r.body().error);
        assert_eq!(read(b"\0\0\0\0\x02ab").unwrap(), "ab");
        assert_eq!(read(b"\0\0\0\0\0").unwrap(), "");
        for (bytes, said) in [
            (&b""[..], "no message"),
            (b"\0\0\0\0", "no message"),
            (b"\x01\0\0\0\x02ab", "compressed"),
            (b"\0\0\0\0\x03ab", "no whole message"),
            (b"\0\0\0\0\x01ab", "more than one"),
            (b"\0\xff\xff\xff\xffab", "no whole message"),
        ] {
            assert!(read(bytes).unwrap_err().contains(said), "{bytes:?}");
        }
    }

    #[test]
    fn words_fit_a_header() {
        assert_eq!(escaped("a b%\n\u{e9}"), "a b%25%0A%C3%A9");
        let response = failed(&Refusal::Busy);
        assert_eq!(response.headers()["grpc-status"], "14");
    }
}
