//! A request with a body, within its limits.

use super::reply::Refusal;
use super::{App, Named};
use crate::catalogue::Served;
use crate::log;
use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_LENGTH;
use axum::http::{HeaderMap, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

/// A request at work: what the log will say of it.
pub(super) struct Work {
    pub(super) endpoint: &'static str,
    pub(super) start: Instant,
    pub(super) until: Instant,
    pub(super) samples: usize,
    bytes_in: usize,
}

/// An answer.
pub(super) struct Answer {
    pub(super) response: Response<Body>,
    pub(super) bytes: usize,
}

impl Work {
    /// Reads all of a body.
    pub(super) async fn read(&mut self, app: &App, headers: &HeaderMap, body: Body) -> Result<Bytes, Refusal> {
        let limit = app.limits.body;
        let announced = headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<u64>().ok());
        if announced.is_some_and(|n| n > limit as u64) {
            return Err(Refusal::TooLong(limit));
        }
        let reading = tokio::time::timeout_at(self.until.into(), Limited::new(body, limit).collect());
        let read = reading.await.map_err(|_| Refusal::Cut)?.map_err(|error| {
            if error.downcast_ref::<LengthLimitError>().is_some() { Refusal::TooLong(limit) } else { Refusal::Cut }
        })?;
        let bytes = read.to_bytes();
        self.bytes_in = bytes.len();
        Ok(bytes)
    }
}

/// Does `work` on the model that a path names if there is a place for it, and tells log and metrics
/// what became of it.
pub(super) async fn exchange<F>(
    app: &App,
    named: &Named,
    endpoint: &'static str,
    work: impl FnOnce(Arc<Served>, Work) -> F,
) -> Response<Body>
where
    F: Future<Output = (Work, Result<Answer, Refusal>)>,
{
    let served = match app.find(named) {
        Ok(served) => Arc::clone(served),
        Err(refusal) => return refusal.response(),
    };
    let start = Instant::now();
    let fresh = Work { endpoint, start, until: start + app.limits.request, samples: 0, bytes_in: 0 };
    let (work, done) = match app.requests.try_acquire() {
        Ok(_place) => {
            app.metrics.active.inc();
            let done = work(Arc::clone(&served), fresh).await;
            app.metrics.active.dec();
            done
        }
        Err(_) => (fresh, Err(Refusal::Busy)),
    };
    let (response, bytes_out) = match done {
        Ok(answer) => (answer.response, answer.bytes),
        Err(refusal) => (refusal.response(), 0),
    };
    let (status, took) = (response.status().as_u16(), work.start.elapsed());
    app.metrics.answered(Some(&served.name), work.endpoint, status, work.samples, took);
    log::line(
        "request",
        app.warning(),
        &log::Request {
            endpoint: work.endpoint,
            model: Some(&served.name),
            version: Some(served.version),
            status,
            samples: (work.samples > 0).then_some(work.samples),
            bytes_in: work.bytes_in,
            bytes_out,
            // To the microsecond.
            ms: (took.as_secs_f64() * 1e6).round() / 1e3,
        },
    );
    response
}

/// Runs what takes processor time beside the connections, if it is long enough to matter.
pub(super) async fn beside<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    if bytes < LONG {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(|_| Refusal::Failed)
}

/// From this many bytes on, decoding takes longer than a change of threads.
const LONG: usize = 64 << 10;
