//! A request with a body, within its limits.

use super::reply::Refusal;
use super::unread::Unread;
use super::{App, Named};
use crate::catalogue::Served;
use crate::log;
use crate::place::Place;
use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_LENGTH;
use axum::http::{HeaderMap, Response};
use http_body_util::BodyExt;
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

/// A request at work.
pub(super) struct Work {
    pub(super) until: Instant,
    /// What goes on for the request holds a clone.
    pub(super) place: Place,
    record: Record,
}

/// What log and metrics will say of a request, whatever becomes of it.
struct Record {
    app: Arc<App>,
    served: Arc<Served>,
    endpoint: &'static str,
    start: Instant,
    samples: usize,
    bytes_in: usize,
    bytes_out: usize,
    status: u16,
}

impl Work {
    /// Reads all of a body of up to `limit` bytes.
    pub(super) async fn read(&mut self, limit: usize, headers: &HeaderMap, body: Body) -> Result<Bytes, Refusal> {
        let announced = headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<u64>().ok());
        if announced.is_some_and(|n| n > limit as u64) {
            return Err(Refusal::TooLong(limit));
        }
        let reading = tokio::time::timeout_at(self.until.into(), whole(body, limit));
        let bytes = reading.await.map_err(|_| Refusal::Cut)??;
        self.record.bytes_in = bytes.len();
        Ok(bytes.into())
    }

    /// Runs what takes processor time beside the connections, if it is long enough to matter.
    pub(super) async fn beside<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        if bytes < LONG { Ok(work()) } else { self.apart(work).await }
    }

    /// Runs what may block. It keeps the place to its end, though nobody wait for it any more.
    pub(super) async fn apart<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let place = self.place.clone();
        let working = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(place);
            done
        });
        let done = tokio::time::timeout_at(self.until.into(), working).await;
        done.map_err(|_| Refusal::Late)?.map_err(|_| Refusal::Failed)
    }

    /// Takes note that so many samples were computed.
    pub(super) fn computed(&mut self, samples: usize) {
        self.record.samples = samples;
    }
}

/// The bytes of a body. Each piece is let go at once: a client may send one for each byte.
async fn whole(mut body: Body, limit: usize) -> Result<Vec<u8>, Refusal> {
    let mut all = Vec::new();
    while let Some(frame) = body.frame().await {
        // Trailers are none of it.
        let Ok(data) = frame.map_err(|_| Refusal::Cut)?.into_data() else { continue };
        if data.len() > limit - all.len() {
            return Err(Refusal::TooLong(limit));
        }
        all.extend_from_slice(&data);
    }
    Ok(all)
}

/// Does `work` on the model that a path names if there is a place for it, and tells log and metrics
/// what became of it.
pub(super) async fn exchange<F>(
    app: &Arc<App>,
    named: &Named,
    endpoint: &'static str,
    work: impl FnOnce(Arc<Served>, Work) -> F,
) -> Response<Body>
where
    F: Future<Output = (Work, Result<Response<Vec<u8>>, Refusal>)>,
{
    let served = match app.find(named) {
        Ok(served) => Arc::clone(served),
        Err(refusal) => return refusal.response(),
    };
    let mut record = Record::new(app, &served, endpoint);
    let Some(place) = Place::take(&app.requests, &app.metrics.active) else {
        return record.refused(&Refusal::Busy);
    };
    let until = record.start + app.limits.request;
    let (Work { place, mut record, .. }, done) = work(served, Work { until, place, record }).await;
    match done {
        Ok(answer) => {
            record.status = answer.status().as_u16();
            record.bytes_out = answer.body().len();
            let until = Instant::now() + app.limits.request;
            answer.map(|bytes| Body::new(Unread::new(bytes, place, until)))
        }
        Err(refusal) => record.refused(&refusal),
    }
}

impl Record {
    fn new(app: &Arc<App>, served: &Arc<Served>, endpoint: &'static str) -> Self {
        Self {
            app: Arc::clone(app),
            served: Arc::clone(served),
            endpoint,
            start: Instant::now(),
            samples: 0,
            bytes_in: 0,
            bytes_out: 0,
            status: GONE,
        }
    }

    fn refused(&mut self, refusal: &Refusal) -> Response<Body> {
        let response = refusal.response();
        self.status = response.status().as_u16();
        response
    }
}

/// Also where a client hangs up, and nothing else of its request is left.
impl Drop for Record {
    fn drop(&mut self) {
        let took = self.start.elapsed();
        let Self { app, served, endpoint, samples, bytes_in, bytes_out, status, .. } = self;
        app.metrics.answered(Some(&served.name), endpoint, *status, *samples, took);
        log::line(
            "request",
            app.warning(),
            &log::Request {
                endpoint,
                model: Some(&served.name),
                version: Some(served.version),
                status: *status,
                samples: (*samples > 0).then_some(*samples),
                bytes_in: *bytes_in,
                bytes_out: *bytes_out,
                // To the microsecond.
                ms: (took.as_secs_f64() * 1e6).round() / 1e3,
            },
        );
    }
}

/// From this many bytes on, decoding takes longer than a change of threads.
const LONG: usize = 64 << 10;

/// What log and metrics call the status of an answer that nobody waited for, as others do.
const GONE: u16 = 499;
