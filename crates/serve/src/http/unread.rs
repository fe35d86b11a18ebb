//! The body of an answer, until it is read.

use crate::place::Place;
use axum::body::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use std::convert::AsRef;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

/// An answer that keeps its request's place until the last of it is written, and ends in an error
/// if that is not begun in time.
pub(super) struct Unread {
    rest: Bytes,
    until: Instant,
}

/// What the bytes of an answer belong to.
struct Held {
    bytes: Vec<u8>,
    _place: Place,
}

/// It was not read in time.
#[derive(Debug, thiserror::Error)]
#[error("the answer was not read in time")]
pub(super) struct TooSlow;

impl Unread {
    pub(super) fn new(bytes: Vec<u8>, place: Place, until: Instant) -> Self {
        Self { rest: Bytes::from_owner(Held { bytes, _place: place }), until }
    }
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Body for Unread {
    type Data = Bytes;
    type Error = TooSlow;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, TooSlow>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        // Asked for whenever there is room; in between, the connection has a time of its own.
        if Instant::now() > self.until {
            return Poll::Ready(Some(Err(TooSlow)));
        }
        let length = self.rest.len().min(PIECE);
        // The last piece takes all that is left, and with it the place.
        let piece = self.rest.split_to(length);
        if self.rest.is_empty() {
            self.rest = Bytes::new();
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

/// So much is handed over at once: what the connection copies is never all of an answer.
const PIECE: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::tests::one;
    use http_body_util::BodyExt;
    use std::time::Duration;

    #[tokio::test]
    async fn an_answer_keeps_its_place_until_its_last_piece_is_gone() {
        let (places, place) = one();
        let answer: Vec<u8> = (0..2 * PIECE + 5).map(|i| i as u8).collect();
        let mut body = Unread::new(answer.clone(), place, Instant::now() + Duration::from_secs(60));
        assert_eq!(body.size_hint().exact(), Some(answer.len() as u64));
        let mut read = Vec::new();
        let mut last = Bytes::new();
        while let Some(frame) = body.frame().await {
            last = frame.unwrap().into_data().unwrap();
            read.extend_from_slice(&last);
            assert_eq!(places.available_permits(), 0);
        }
        assert!(read == answer && last.len() == 5);
        drop(body);
        assert_eq!(places.available_permits(), 0, "a piece is still to be written");
        drop(last);
        assert_eq!(places.available_permits(), 1);
    }

    #[tokio::test]
    async fn an_answer_that_is_not_read_in_time_ends() {
        let (places, place) = one();
        let mut body = Unread::new(vec![0; 5], place, Instant::now() - Duration::from_millis(1));
        assert!(body.frame().await.unwrap().is_err());
        drop(body);
        assert_eq!(places.available_permits(), 1);
    }
}
