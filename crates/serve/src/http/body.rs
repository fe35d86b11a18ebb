//! A request with a body, within its limits.

use super::reply::Refusal;
use super::unread::Unread;
use super::{App, Named};
use crate::catalogue::Served;
use crate::log;
use crate::place::{Place, Share};
use crate::worker::{Queue, Unanswered, Worker};
use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_LENGTH;
use axum::http::{HeaderMap, HeaderName, Response};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};
use subrosa::trace::{Parent, Span};

/// A request at work.
pub(crate) struct Begun {
    pub(super) until: Instant,
    /// Bytes of a body that bring time with them.
    granted: usize,
    /// What goes on for the request holds a clone.
    place: Place,
    record: Record,
}

/// A request that is refused, and its place if it had one.
pub(crate) struct Refused {
    pub(crate) refusal: Refusal,
    place: Option<Place>,
}

/// What log and metrics will say of a request, whatever becomes of it.
struct Record {
    app: Arc<App>,
    /// None where it is about no model, or about which one is not known yet.
    served: Option<Arc<Served>>,
    endpoint: &'static str,
    start: Instant,
    samples: usize,
    bytes_in: usize,
    bytes_out: usize,
    status: u16,
    span: Span,
}

impl Begun {
    /// Reads all of a body of up to `limit` bytes. Each piece has to come in time, and before the
    /// client is idle.
    pub(crate) async fn read(&mut self, limit: usize, headers: &HeaderMap, mut body: Body) -> Result<Bytes, Refusal> {
        let announced = headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<u64>().ok());
        if announced.is_some_and(|n| n > limit as u64) {
            return Err(Refusal::TooLong(limit));
        }
        let _span = self.record.span.child("read");
        let (begun, idle) = (self.until, self.record.app.limits.idle);
        let mut all = room(&body, limit);
        loop {
            let until = self.until.min(Instant::now() + idle);
            let more = tokio::time::timeout_at(until.into(), piece(&mut body, &mut all, limit)).await;
            if !more.map_err(|_| Refusal::Cut)?? {
                break;
            }
            self.until = begun + Duration::from_secs_f64(all.len().min(self.granted) as f64 / SLOWEST);
        }
        self.record.bytes_in = all.len();
        Ok(all.into())
    }

    /// Runs what takes processor time beside the connections, if it is long enough to matter.
    pub(crate) async fn beside<T: Send + 'static>(
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

    /// Gives time for a body that is long as a matter of course, up to so many bytes, as they come.
    pub(super) fn allow(&mut self, bytes: usize) {
        self.granted = bytes;
    }

    /// Takes note of the model that it turned out to be about.
    pub(crate) fn about(&mut self, served: &Arc<Served>) {
        self.record.served = Some(Arc::clone(served));
    }

    /// Has a queue compute a task, within the request's time.
    pub(super) async fn compute<W: Worker>(&self, queue: &Queue<W>, task: W::Task) -> Result<W::Done, Refusal> {
        let _span = self.record.span.child("compute");
        let computed = queue.compute(task, self.until, self.place.clone());
        let computed = tokio::time::timeout_at(self.until.into(), computed).await;
        computed.map_err(|_| Refusal::Late)?.map_err(|unanswered| self.unanswered(unanswered))
    }

    /// What the client is told where there is no answer.
    pub(super) fn unanswered(&self, why: Unanswered) -> Refusal {
        match why {
            Unanswered::Busy => Refusal::Busy,
            Unanswered::Refused(error) => Refusal::of(error, &self.record.app),
            Unanswered::Anew(why) => Refusal::Anew(why),
            Unanswered::Away => Refusal::Away,
            Unanswered::Failed => Refusal::Failed,
        }
    }

    /// Takes note that so many samples were computed.
    pub(super) fn computed(&mut self, samples: usize) {
        self.record.samples = samples;
    }
}

/// The bytes of a body.
pub(crate) async fn whole(mut body: Body, limit: usize) -> Result<Vec<u8>, Refusal> {
    let mut all = room(&body, limit);
    while piece(&mut body, &mut all, limit).await? {}
    Ok(all)
}

/// Room for a body, at once where its length is announced: what a growing vector leaves behind is in
/// many small pieces. Pages are taken as the body comes.
fn room(body: &Body, limit: usize) -> Vec<u8> {
    let announced = body.size_hint().exact().and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
    Vec::with_capacity(announced.min(limit))
}

/// The next piece of a body, if there is one. It is let go at once: a client may send one for each
/// byte, and each keeps alive what it was read into.
async fn piece(body: &mut Body, all: &mut Vec<u8>, limit: usize) -> Result<bool, Refusal> {
    let Some(frame) = body.frame().await else { return Ok(false) };
    // Trailers are none of it.
    let Ok(data) = frame.map_err(|_| Refusal::Cut)?.into_data() else { return Ok(true) };
    if data.len() > limit - all.len() {
        return Err(Refusal::TooLong(limit));
    }
    all.extend_from_slice(&data);
    Ok(true)
}

/// Does `work` on the model that a path names: see [`conduct`].
pub(super) async fn exchange<F>(
    app: &Arc<App>,
    named: &Named,
    endpoint: &'static str,
    headers: &HeaderMap,
    work: impl FnOnce(Arc<Served>, Begun) -> F,
) -> Response<Body>
where
    F: Future<Output = (Begun, Result<Response<Vec<u8>>, Refusal>)>,
{
    let served = match app.find(named) {
        Ok(served) => served,
        Err(refusal) => return refusal.response(),
    };
    begin(app, Some(Arc::clone(&served)), endpoint, headers, |begun| work(served, begun)).await
}

/// As [`conduct`], a refusal being answered as over HTTP.
pub(super) async fn begin<F>(
    app: &Arc<App>,
    served: Option<Arc<Served>>,
    endpoint: &'static str,
    headers: &HeaderMap,
    work: impl FnOnce(Begun) -> F,
) -> Response<Body>
where
    F: Future<Output = (Begun, Result<Response<Vec<u8>>, Refusal>)>,
{
    match conduct(app, served, endpoint, None, headers, work).await {
        Ok(answer) => answer,
        Err(Refused { refusal, place: None }) => refusal.response(),
        Err(Refused { refusal, place: Some(place) }) => kept(app, refusal.answer(), place),
    }
}

/// An answer that keeps its request's place until it is read.
fn kept(app: &App, answer: Response<Vec<u8>>, place: Place) -> Response<Body> {
    let until = Instant::now() + app.limits.request;
    answer.map(|bytes| Body::new(Unread::new(bytes, place, until)))
}

/// Does `work` if there is a place for it, also of the connection's `share` where it has one, and
/// tells log and metrics what became of it. The answer keeps the place until it is read.
pub(crate) async fn conduct<F>(
    app: &Arc<App>,
    served: Option<Arc<Served>>,
    endpoint: &'static str,
    share: Option<&Share>,
    headers: &HeaderMap,
    work: impl FnOnce(Begun) -> F,
) -> Result<Response<Body>, Refused>
where
    F: Future<Output = (Begun, Result<Response<Vec<u8>>, Refusal>)>,
{
    let mut record = Record::new(app, served, endpoint, headers);
    let Some(place) = Place::take(&app.requests, share, &app.metrics.active) else {
        return Err(Refused { refusal: record.refused(Refusal::Busy), place: None });
    };
    let until = record.start + app.limits.request;
    let (Begun { place, mut record, .. }, done) = work(Begun { until, granted: 0, place, record }).await;
    match done {
        Ok(answer) => {
            record.status = answer.status().as_u16();
            record.bytes_out = answer.body().len();
            Ok(kept(app, answer, place))
        }
        Err(refusal) => Err(Refused { refusal: record.refused(refusal), place: Some(place) }),
    }
}

impl Record {
    fn new(app: &Arc<App>, served: Option<Arc<Served>>, endpoint: &'static str, headers: &HeaderMap) -> Self {
        let sender = headers.get(TRACEPARENT).and_then(|header| Parent::read(header.as_bytes()));
        Self {
            span: app.tracer().request(sender, endpoint),
            app: Arc::clone(app),
            served,
            endpoint,
            start: Instant::now(),
            samples: 0,
            bytes_in: 0,
            bytes_out: 0,
            status: GONE,
        }
    }

    fn refused(&mut self, refusal: Refusal) -> Refusal {
        self.status = refusal.status().as_u16();
        refusal
    }
}

/// Also where a client hangs up, and nothing else of its request is left.
impl Drop for Record {
    fn drop(&mut self) {
        let took = self.start.elapsed();
        let Self { app, served, endpoint, samples, bytes_in, bytes_out, status, span, .. } = self;
        let model = served.as_ref().map(|served| served.name.as_str());
        span.count("http.response.status_code", u64::from(*status));
        model.iter().for_each(|name| span.tell("subrosa.model", name));
        if *samples > 0 {
            span.count("subrosa.samples", *samples as u64);
        }
        if *status >= 500 {
            span.failed();
        }
        app.metrics.answered(model, endpoint, *status, *samples, took);
        log::line(
            "request",
            app.warning(),
            &log::Request {
                endpoint,
                model,
                version: served.as_ref().map(|served| served.version),
                status: *status,
                samples: (*samples > 0).then_some(*samples),
                bytes_in: *bytes_in,
                bytes_out: *bytes_out,
                // To the microsecond.
                ms: (took.as_secs_f64() * 1e6).round() / 1e3,
                trace: span.trace(),
            },
        );
    }
}

/// From this many bytes on, decoding takes longer than a change of threads.
const LONG: usize = 64 << 10;

/// Bytes a second that a client with a long body is expected to send.
const SLOWEST: f64 = (1 << 20) as f64;

/// The header that tells of the trace that a request belongs to.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// What log and metrics call the status of an answer that nobody waited for, as others do.
pub(super) const GONE: u16 = 499;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Catalogue;
    use crate::options::Limits;
    use crate::place::tests::one;
    use hyper::body::Frame;
    use std::pin::Pin;
    use std::task::{Context, Poll};
    use tokio::time::{Interval, interval};

    /// So many pieces of a MiB, one at each tick, and then an end, or none.
    struct Pieces {
        left: usize,
        tick: Interval,
        ends: bool,
    }

    impl hyper::body::Body for Pieces {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            match (self.left, self.ends) {
                (0, true) => Poll::Ready(None),
                (0, false) => Poll::Pending,
                (_, _) => {
                    std::task::ready!(self.tick.poll_tick(cx));
                    self.left -= 1;
                    Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![0; 1 << 20])))))
                }
            }
        }
    }

    /// What becomes of a body that is given the time of many bytes.
    async fn read(left: usize, ends: bool) -> Result<Bytes, Refusal> {
        let (request, idle) = (Duration::from_millis(500), Duration::from_millis(500));
        let app = Arc::new(App::new(Catalogue::new(None), Limits { request, idle, ..Limits::default() }));
        let record = Record::new(&app, None, "keys", &HeaderMap::new());
        let mut begun = Begun { until: record.start + request, granted: 0, place: one().1, record };
        begun.allow(1 << 30);
        let body = Body::new(Pieces { left, tick: interval(Duration::from_millis(100)), ends });
        let headers = HeaderMap::new();
        let reading = begun.read(1 << 30, &headers, body);
        tokio::time::timeout(Duration::from_secs(60), reading).await.unwrap_or_else(|_| panic!("it goes on for ever"))
    }

    #[tokio::test]
    async fn a_long_body_has_the_time_of_what_has_come_of_it() {
        assert_eq!(read(10, true).await.unwrap().len(), 10 << 20);
        assert!(matches!(read(0, false).await, Err(Refusal::Cut)));
        assert!(matches!(read(1, false).await, Err(Refusal::Cut)));
    }
}
