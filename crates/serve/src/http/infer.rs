//! Requests in the clear.

use super::body::{Work, exchange};
use super::reply::{Refusal, message};
use super::{App, Named};
use crate::catalogue::Served;
use crate::worker::{Unanswered, Values};
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Response};
use std::sync::Arc;
use subrosa::oip::{HEADER_LENGTH, InferRequest, InferResponse, Message, Tensor};

pub(super) async fn infer(
    State(app): State<Arc<App>>,
    Path(named): Path<Named>,
    headers: HeaderMap,
    body: Body,
) -> Response<Body> {
    exchange(&app, &named, "infer", async |served, mut work| {
        let done = answer(&app, &served, &mut work, &headers, body).await;
        (work, done)
    })
    .await
}

async fn answer(
    app: &App,
    served: &Arc<Served>,
    work: &mut Work,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response<Vec<u8>>, Refusal> {
    if app.catalogue.enclave().is_some() {
        return Err(Refusal::NotHere(SEALED_ONLY));
    }
    let json = json_length(headers)?;
    let bytes = work.read(app.limits.body, headers, body).await?;
    let (model, most) = (Arc::clone(served), app.limits.samples);
    let asked = work.beside(bytes.len(), move || Asked::read(&model, &bytes, json, most)).await?;
    Ok(message(compute(served, asked.map_err(Refusal::Bad)?, work).await?))
}

/// A request that fits the model.
pub(super) struct Asked {
    id: Option<String>,
    wanted: Vec<(usize, bool)>,
    inputs: Values,
    samples: usize,
    /// What a simulation adds to its answers.
    warning: Option<&'static str>,
}

impl Asked {
    pub(super) fn read(served: &Served, body: &[u8], json: Option<usize>, most: usize) -> subrosa::Result<Self> {
        let request = InferRequest::decode(body, json)?;
        let (id, wanted) = (request.id.clone(), request.wanted(served.model.outputs())?);
        let (inputs, samples) = request.fit(served.model.inputs(), most)?;
        Ok(Self { id, wanted, inputs, samples, warning: None })
    }

    /// The same, whose answer says so.
    pub(super) fn warned(self, warning: Option<&'static str>) -> Self {
        Self { warning, ..self }
    }
}

/// Computes what is asked, within the request's time.
pub(super) async fn compute(served: &Served, asked: Asked, work: &mut Work) -> Result<Message, Refusal> {
    let Asked { id, wanted, inputs, samples, warning } = asked;
    let computed = served.queue.compute(inputs, samples, work.until, work.place.clone());
    let computed = tokio::time::timeout_at(work.until.into(), computed).await;
    let values = computed.map_err(|_| Refusal::Late)?.map_err(|unanswered| match unanswered {
        Unanswered::Busy => Refusal::Busy,
        Unanswered::Refused(error) => Refusal::Bad(error),
        Unanswered::Failed => Refusal::Failed,
    })?;
    work.computed(samples);
    let mut values = values.into_iter().map(Some).collect::<Vec<_>>();
    let mut outputs = Vec::with_capacity(wanted.len());
    for (index, binary) in wanted {
        let (port, values) = served.model.outputs().get(index).zip(values.get_mut(index)).ok_or(Refusal::Failed)?;
        let mut shape = port.shape.clone();
        if let Some(batch) = shape.first_mut().filter(|_| port.batched) {
            *batch = samples;
        }
        let values = values.take().ok_or(Refusal::Failed)?;
        outputs.push((Tensor { name: port.name.clone(), shape, values }, binary));
    }
    let response = InferResponse {
        model: served.name.clone(),
        version: Some(served.version.to_string()),
        id,
        warning: warning.map(str::to_owned),
        outputs,
    };
    response.encode().map_err(|_| Refusal::Failed)
}

fn json_length(headers: &HeaderMap) -> Result<Option<usize>, Refusal> {
    let Some(value) = headers.get(HEADER_LENGTH) else { return Ok(None) };
    let length = value.to_str().ok().and_then(|v| v.parse().ok());
    length.map(Some).ok_or_else(|| {
        let message = format!("{HEADER_LENGTH} is no number");
        Refusal::Bad(subrosa::Error::Input { message, hint: Some("give the length of the JSON".to_owned()) })
    })
}

const SEALED_ONLY: &str = "this server answers sealed requests only, so that its host does not see them; use \
                           `subrosa run NAME --url URL --via tee`, or see docs/serve.md";
