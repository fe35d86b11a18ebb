//! Requests in the clear.

use super::body::{Begun, exchange};
use super::reply::{Refusal, message};
use super::{App, Named};
use crate::catalogue::{Served, Way, Work};
use crate::clear::{Inputs, Values};
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
    exchange(&app, &named, "infer", &headers, async |served, mut begun| {
        let done = answer(&app, &served, &mut begun, &headers, body).await;
        (begun, done)
    })
    .await
}

async fn answer(
    app: &App,
    served: &Arc<Served>,
    begun: &mut Begun,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response<Vec<u8>>, Refusal> {
    in_the_clear(app)?;
    let json = json_length(headers)?;
    let bytes = begun.read(app.limits.body, headers, body).await?;
    let (model, most) = (Arc::clone(served), app.limits.samples);
    let asked = begun.beside(bytes.len(), move || Asked::read(&model, &bytes, json, most)).await?;
    let asked = asked.map_err(|error| Refusal::of(error, app))?;
    let answer = counted(served, asked, begun).await?;
    Ok(message(written(answer, begun).await?))
}

/// Whether this server takes requests that it can read.
pub(crate) fn in_the_clear(app: &App) -> Result<(), Refusal> {
    match app.catalogue().way() {
        Way::Clear => Ok(()),
        Way::Attested(_) => Err(Refusal::NotHere(SEALED_ONLY)),
        Way::Encrypted => Err(Refusal::NotHere(ENCRYPTED_ONLY)),
        Way::Relayed(_) => Err(Refusal::NotHere(SHARED_ONLY)),
    }
}

/// A request that fits the model.
pub(crate) struct Asked {
    id: Option<String>,
    wanted: Vec<(usize, bool)>,
    inputs: Values,
    samples: usize,
    /// What a simulation adds to its answers.
    warning: Option<&'static str>,
}

impl Asked {
    pub(super) fn read(served: &Served, body: &[u8], json: Option<usize>, most: usize) -> subrosa::Result<Self> {
        Self::fit(served, InferRequest::decode(body, json)?, most)
    }

    pub(crate) fn fit(served: &Served, request: InferRequest, most: usize) -> subrosa::Result<Self> {
        let (id, wanted) = (request.id.clone(), request.wanted(&served.outputs)?);
        let (inputs, samples) = request.fit(&served.inputs, most)?;
        Ok(Self { id, wanted, inputs, samples, warning: None })
    }

    /// The same, whose answer says so.
    pub(super) fn warned(self, warning: Option<&'static str>) -> Self {
        Self { warning, ..self }
    }
}

/// The message of an answer.
pub(super) async fn written(answer: InferResponse, begun: &Begun) -> Result<Message, Refusal> {
    let message = begun.beside(size(&answer), move || answer.encode()).await?;
    message.map_err(|_| Refusal::Failed)
}

/// Bytes of an answer's values.
pub(crate) fn size(answer: &InferResponse) -> usize {
    answer.outputs.iter().map(|(tensor, _)| size_of_val(tensor.values.as_slice())).sum()
}

/// Computes what is asked, within the request's time.
pub(super) async fn compute(served: &Served, asked: Asked, begun: &Begun) -> Result<InferResponse, Refusal> {
    let Asked { id, wanted, inputs, samples, warning } = asked;
    let Work::Values(queue) = &served.work else { return Err(Refusal::NotHere(ENCRYPTED_ONLY)) };
    let waiting = Arc::new(());
    let inputs = Inputs { values: inputs, samples, waited_for: Arc::downgrade(&waiting) };
    let values = begun.compute(queue, inputs).await?;
    let mut values = values.into_iter().map(Some).collect::<Vec<_>>();
    let mut outputs = Vec::with_capacity(wanted.len());
    for (index, binary) in wanted {
        let (port, values) = served.outputs.get(index).zip(values.get_mut(index)).ok_or(Refusal::Failed)?;
        let mut shape = port.shape.clone();
        if let Some(batch) = shape.first_mut().filter(|_| port.batched) {
            *batch = samples;
        }
        let values = values.take().ok_or(Refusal::Failed)?;
        outputs.push((Tensor { name: port.name.clone(), shape, values }, binary));
    }
    Ok(InferResponse {
        model: served.name.clone(),
        version: Some(served.version.to_string()),
        id,
        warning: warning.map(str::to_owned),
        outputs,
    })
}

/// As [`compute`], taking note of how many samples it was.
pub(crate) async fn counted(served: &Served, asked: Asked, begun: &mut Begun) -> Result<InferResponse, Refusal> {
    let samples = asked.samples;
    let answer = compute(served, asked, begun).await?;
    begun.computed(samples);
    Ok(answer)
}

fn json_length(headers: &HeaderMap) -> Result<Option<usize>, Refusal> {
    let Some(value) = headers.get(HEADER_LENGTH) else { return Ok(None) };
    let length = value.to_str().ok().and_then(|v| v.parse().ok());
    length.map(Some).ok_or_else(|| {
        let message = format!("{HEADER_LENGTH} is no number");
        Refusal::Bad(subrosa::Error::Input { message, hint: Some("give the length of the JSON".to_owned()) })
    })
}

const ENCRYPTED_ONLY: &str = "this server answers encrypted requests only, so that it does not see them; use \
                              `subrosa run NAME --url URL --via ckks`, or see docs/serve.md";
const SHARED_ONLY: &str = "this server passes on shares that are sealed to the parties, so that it does not see \
                           inputs; use `subrosa run NAME --url URL --via rep3 --cluster subrosa.toml` (or as the \
                           server runs), or see docs/serve.md";
const SEALED_ONLY: &str = "this server answers sealed requests only, so that its host does not see them; use \
                           `subrosa run NAME --url URL --via tee`, or see docs/serve.md";
