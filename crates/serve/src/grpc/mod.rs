//! The Open Inference Protocol over gRPC: the same models, limits and refusals as over HTTP.
//!
//! For models in the clear. Each call takes one message and gives one; the framing is
//! [`frame`]'s, so that a call is read, counted and answered by the same code as a request over
//! HTTP, within the same places.

mod bounds;
mod frame;
mod messages;
mod patience;

pub(crate) use patience::Patience;

use crate::http::infer::{self, Asked};
use crate::http::{App, Begun, Named, Refusal, Refused, conduct, meta, whole};
use crate::place::Share;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Response;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::middleware::Next;
use axum::routing::post;
use messages::{Contents, Empty, InferRequest, InferResponse, ModelMetadata, ModelName, ServerMetadata, Tensor};
use messages::{TensorMetadata, Yes};
use prost::Message;
use prost::bytes::Bytes;
use std::sync::Arc;
use subrosa::oip::{self, words};

/// All methods. Health is open to everybody.
pub(crate) fn router(app: Arc<App>) -> Router {
    let path = |method: &str| format!("/inference.GRPCInferenceService/{method}");
    let open = Router::new().route(&path("ServerLive"), post(live)).route(&path("ServerReady"), post(ready));
    let gate = axum::middleware::from_fn_with_state(Arc::clone(&app), admit);
    let known = Router::new()
        .route(&path("ModelReady"), post(model_ready))
        .route(&path("ServerMetadata"), post(server))
        .route(&path("ModelMetadata"), post(model))
        .route(&path("ModelInfer"), post(infer))
        .route_layer(gate);
    let all = open.merge(known).fallback(|| async { frame::no_method() });
    all.layer(axum::middleware::from_fn(calls_only)).with_state(app)
}

async fn calls_only(request: Request, next: Next) -> Response<Body> {
    let kind = request.headers().get(CONTENT_TYPE).map(|value| value.as_bytes());
    match kind.is_some_and(|kind| kind.starts_with(b"application/grpc")) {
        true => next.run(request).await,
        false => frame::no_grpc(),
    }
}

/// As [`crate::http`] lets clients in.
async fn admit(State(app): State<Arc<App>>, request: Request, next: Next) -> Response<Body> {
    let header = request.headers().get(AUTHORIZATION).map(|value| value.as_bytes().to_vec());
    match app.admit(header.as_deref()) {
        Ok(client) => client.answered(next.run(request).await),
        Err(refusal) => frame::failed(&refusal),
    }
}

async fn live(State(app): State<Arc<App>>, request: Request) -> Response<Body> {
    short(&app, request, |Empty {}| Ok(Yes { yes: true })).await
}

async fn ready(State(app): State<Arc<App>>, request: Request) -> Response<Body> {
    short(&app, request, |Empty {}| Ok(Yes { yes: app.is_ready() })).await
}

async fn model_ready(State(app): State<Arc<App>>, request: Request) -> Response<Body> {
    short(&app, request, |name: ModelName| app.find(&name.into()).map(|_| Yes { yes: app.is_ready() })).await
}

async fn server(State(app): State<Arc<App>>, request: Request) -> Response<Body> {
    let about = |Empty {}| {
        let extensions = vec![meta::extension(app.catalogue().way()).to_owned()];
        Ok(ServerMetadata { name: meta::NAME.to_owned(), version: env!("CARGO_PKG_VERSION").to_owned(), extensions })
    };
    short(&app, request, about).await
}

async fn model(State(app): State<Arc<App>>, request: Request) -> Response<Body> {
    let about = |name: ModelName| {
        let served = app.find(&name.into())?;
        let ports = |ports: &[subrosa::Port]| ports.iter().map(TensorMetadata::from).collect();
        Ok(ModelMetadata {
            name: served.name.clone(),
            versions: app.catalogue().versions(&served.name),
            platform: meta::platform(&served).to_owned(),
            inputs: ports(&served.inputs),
            outputs: ports(&served.outputs),
        })
    };
    short(&app, request, about).await
}

/// A call that is answered at once.
async fn short<I: Message + Default, O: Message>(
    app: &App,
    request: Request,
    answer: impl FnOnce(I) -> Result<O, Refusal>,
) -> Response<Body> {
    let reading = tokio::time::timeout(app.limits.idle, whole(request.into_body(), MOST_SHORT));
    let answered = match reading.await {
        Ok(Ok(bytes)) => read(&bytes.into()).and_then(answer).and_then(|message| frame::framed(&message)),
        Ok(Err(refusal)) => Err(refusal),
        Err(_) => Err(Refusal::Cut),
    };
    match answered {
        Ok(bytes) => frame::succeeded(Body::from(bytes)),
        Err(refusal) => frame::failed(&refusal),
    }
}

async fn infer(State(app): State<Arc<App>>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let share = parts.extensions.get::<Share>();
    let done = conduct(&app, None, "grpc-infer", share, &parts.headers, async |mut begun| {
        let read = begun.read(app.limits.body.saturating_add(frame::PREFIX), &parts.headers, body).await;
        let done = match read {
            Ok(bytes) => compute(&app, &mut begun, bytes).await,
            Err(refusal) => Err(refusal),
        };
        (begun, done.map(Response::new))
    });
    match done.await {
        Ok(answer) => frame::succeeded(answer.into_body()),
        Err(Refused { refusal, .. }) => frame::failed(&refusal),
    }
}

async fn compute(app: &App, begun: &mut Begun, body: Bytes) -> Result<Vec<u8>, Refusal> {
    let message = frame::message(&body)?;
    let length = message.len();
    let mut request = begun.beside(length, move || InferRequest::bounded(message)).await??;
    let name = ModelName {
        name: std::mem::take(&mut request.model_name),
        version: std::mem::take(&mut request.model_version),
    };
    let served = app.find(&name.into())?;
    begun.about(&served);
    infer::in_the_clear(app)?;
    let raw = !request.raw_inputs.is_empty();
    let (model, most) = (Arc::clone(&served), app.limits.samples);
    let asked = begun.beside(length, move || request.plain(raw).and_then(|request| Asked::fit(&model, request, most)));
    let asked = asked.await?.map_err(|error| Refusal::of(error, app))?;
    let answer = infer::counted(&served, asked, begun).await?;
    begun.beside(infer::size(&answer), move || frame::framed(&InferResponse::of(answer))).await?
}

fn read<I: Message + Default>(body: &Bytes) -> Result<I, Refusal> {
    I::decode(frame::message(body)?).map_err(|_| bad("the message is not of this method's kind".to_owned()))
}

impl From<ModelName> for Named {
    fn from(ModelName { name, version }: ModelName) -> Self {
        Self { name, version: (!version.is_empty()).then_some(version) }
    }
}

impl From<&subrosa::Port> for TensorMetadata {
    fn from(port: &subrosa::Port) -> Self {
        let shape = meta::shape(port).collect();
        Self { name: port.name.clone(), datatype: FP32.to_owned(), shape }
    }
}

impl InferRequest {
    /// Reads a request that holds no more than a model could take.
    fn bounded(message: Bytes) -> Result<Self, Refusal> {
        if !bounds::is_bounded(&message) {
            return Err(bad("the request holds more tensors or dimensions than any model takes".to_owned()));
        }
        Self::decode(message).map_err(|_| bad("the message is no ModelInferRequest".to_owned()))
    }

    /// As the protocol has it over HTTP; its tensors are in `raw_inputs` if `raw`.
    fn plain(self, raw: bool) -> subrosa::Result<oip::InferRequest> {
        let Self { id, inputs, outputs, raw_inputs, .. } = self;
        if raw && raw_inputs.len() != inputs.len() {
            let message = format!("{} inputs have {} raw contents", inputs.len(), raw_inputs.len());
            return Err(input(message, "give one for each, or none"));
        }
        let mut raw_inputs = raw_inputs.into_iter();
        let inputs = inputs.into_iter().map(|tensor| tensor.plain(raw_inputs.next())).collect::<Result<_, _>>()?;
        let outputs = outputs.into_iter().map(|wanted| oip::Wanted { name: wanted.name, binary: None }).collect();
        let id = (!id.is_empty()).then_some(id);
        oip::InferRequest { id, inputs, outputs, binary: raw }.checked()
    }
}

impl Tensor {
    fn plain(self, raw: Option<Bytes>) -> subrosa::Result<oip::Tensor> {
        let Self { name, datatype, shape, contents } = self;
        if datatype != FP32 {
            let message = format!("the tensor '{}' is of the datatype {}", words(&name), words(&datatype));
            return Err(input(message, "this server takes FP32"));
        }
        let values = match (raw, contents) {
            (Some(bytes), None) => values(&name, &bytes)?,
            (None, Some(contents)) => contents.fp32,
            (None, None) => Vec::new(),
            (Some(_), Some(_)) => {
                let message = format!("the tensor '{}' has raw contents and others", words(&name));
                return Err(input(message, "give one of them"));
            }
        };
        oip::Tensor::checked(name, shape.into_iter().map(|d| u64::try_from(d).unwrap_or(u64::MAX)), values)
    }
}

fn values(name: &str, bytes: &[u8]) -> subrosa::Result<Vec<f32>> {
    let (values, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        let message = format!("the raw contents of '{}' are no whole values", words(name));
        return Err(input(message, "give 4 bytes each, little-endian"));
    }
    Ok(values.iter().map(|v| f32::from_le_bytes(*v)).collect())
}

impl InferResponse {
    /// The answer, its values as the request's were.
    fn of(answer: oip::InferResponse) -> Self {
        let mut raw_outputs = Vec::new();
        let outputs = answer.outputs.into_iter().map(|(tensor, raw)| {
            let shape = tensor.shape.iter().map(|&d| i64::try_from(d).unwrap_or(i64::MAX)).collect();
            let contents = match raw {
                true => {
                    raw_outputs.push(tensor.values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>().into());
                    None
                }
                false => Some(Contents { fp32: tensor.values }),
            };
            Tensor { name: tensor.name, datatype: FP32.to_owned(), shape, contents }
        });
        Self {
            model_name: answer.model,
            model_version: answer.version.unwrap_or_default(),
            id: answer.id.unwrap_or_default(),
            outputs: outputs.collect(),
            raw_outputs,
        }
    }
}

fn bad(message: String) -> Refusal {
    Refusal::Bad(input(message, "see the Open Inference Protocol, version 2"))
}

fn input(message: String, hint: &str) -> subrosa::Error {
    subrosa::Error::Input { message, hint: Some(hint.to_owned()) }
}

const FP32: &str = "FP32";

/// Bytes of a call that names a model at most.
const MOST_SHORT: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Catalogue;
    use crate::options::Limits;
    use hyper::body::Frame;
    use std::pin::Pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll};

    /// A body that comes a byte at a time, each in a buffer of its own.
    struct Pieces {
        left: usize,
        alive: Arc<AtomicUsize>,
        most: Arc<AtomicUsize>,
    }

    struct Buffer(Arc<AtomicUsize>);

    impl AsRef<[u8]> for Buffer {
        fn as_ref(&self) -> &[u8] {
            &[0]
        }
    }

    impl Drop for Buffer {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }

    impl hyper::body::Body for Pieces {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            if self.left == 0 {
                return Poll::Ready(None);
            }
            self.left -= 1;
            let alive = self.alive.fetch_add(1, Ordering::Relaxed) + 1;
            self.most.fetch_max(alive, Ordering::Relaxed);
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_owner(Buffer(Arc::clone(&self.alive)))))))
        }
    }

    #[tokio::test]
    async fn a_short_call_keeps_none_of_the_pieces_that_it_comes_in() {
        let app = App::new(Catalogue::new(None), Limits::default());
        for (left, status) in [(frame::PREFIX, None), (MOST_SHORT + 1, Some("8"))] {
            let (alive, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            let body = Pieces { left, alive, most: Arc::clone(&most) };
            let answer = short(&app, Request::new(Body::new(body)), |Empty {}| Ok(Yes { yes: true })).await;
            assert_eq!(answer.headers().get("grpc-status").map(|v| v.to_str().unwrap()), status);
            assert!(most.load(Ordering::Relaxed) < 3, "{most:?} at a time");
        }
    }
}
