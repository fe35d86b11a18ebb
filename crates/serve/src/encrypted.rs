//! Models on ciphertexts.

use crate::error::{Error, Result};
use crate::keys::Held;
use crate::options::Limits;
use crate::worker::{Queue, Unanswered, Worker};
use axum::body::Bytes;
use std::sync::Arc;
use std::time::{Duration, Instant};
use subrosa::Plan;
use subrosa::ckks::service::Service;

/// A model that only sees ciphertexts.
pub(crate) struct Encrypted {
    /// At least one, by samples in one evaluation.
    offers: Vec<Offer>,
    pub(crate) queue: Queue<Evaluations>,
}

/// A way to compute it: what a client makes its keys and requests for.
pub(crate) struct Offer {
    pub(crate) service: Arc<Service>,
    /// What clients make their keys from.
    pub(crate) plan: Bytes,
    /// The plan's digest, quoted.
    pub(crate) tag: String,
}

/// One evaluation at a time, on the service's threads: the memory of one, and the least latency.
/// Samples that are computed at once were packed by their client, into the slots of its
/// ciphertexts.
pub(crate) struct Evaluations;

/// A request, with the plan and the keys that it names.
pub(crate) struct Request {
    pub(crate) service: Arc<Service>,
    pub(crate) keys: Arc<Held>,
    pub(crate) bytes: Bytes,
}

/// What comes of a request.
pub(crate) struct Answer {
    pub(crate) bytes: Vec<u8>,
    pub(crate) samples: usize,
    pub(crate) took: Duration,
}

impl Encrypted {
    /// Encodes the model's weights for each of `plans`.
    ///
    /// **Errors:** [`Error::Library`]; [`Error::Misuse`] without a plan, and for one whose requests
    /// or keys are beyond the limits.
    pub(crate) fn start(name: &str, plans: &[Plan], threads: usize, limits: &Limits) -> Result<Self> {
        let mut offers =
            plans.iter().map(|plan| Offer::new(name, plan, threads, limits)).collect::<Result<Vec<_>>>()?;
        if offers.is_empty() {
            return Err(Error::Misuse(format!("{name} has no plan via ckks; plan it first")));
        }
        offers.sort_by_key(|offer| offer.service.batch());
        Ok(Self { queue: Queue::start(name, vec![Evaluations], limits.waits())?, offers })
    }

    /// The one for so many samples of one client: one after another, or, where that is faster, as
    /// many at once as a request holds.
    pub(crate) fn offer_for(&self, samples: usize) -> Option<&Offer> {
        let fits = |offer: &&Offer| offer.service.batch() == 1 || samples >= subrosa::ckks::THROUGHPUT_FROM;
        self.offers.iter().rfind(fits).or(self.offers.first())
    }

    /// All of them.
    pub(crate) fn offers(&self) -> &[Offer] {
        &self.offers
    }

    /// Bytes of the longest request.
    pub(crate) fn request_bytes(&self) -> usize {
        self.offers.iter().map(|offer| offer.service.request_bytes()).max().unwrap_or(0)
    }

    /// The one that a request names.
    ///
    /// **Errors:** [`subrosa::Error::Input`] for what is no request, or one of another plan.
    pub(crate) fn named_by(&self, request: &[u8]) -> subrosa::Result<&Offer> {
        let mut refused = None;
        for offer in &self.offers {
            match offer.service.keys_of(request) {
                Ok(_) => return Ok(offer),
                Err(error) => refused = Some(error),
            }
        }
        Err(refused.unwrap_or(subrosa::Error::Input { message: "the model has no plan".to_owned(), hint: None }))
    }
}

impl Offer {
    fn new(name: &str, plan: &Plan, threads: usize, limits: &Limits) -> Result<Self> {
        let service = Arc::new(Service::new(plan, threads)?);
        let wants = [
            ("a request", service.request_bytes() as u64, limits.body as u64, "--max-request"),
            ("a client's keys", service.key_file_bytes() as u64, limits.key_file as u64, "--max-keys"),
            ("a client's keys in memory", service.key_memory(), limits.key_cache, "--key-cache"),
        ];
        if let Some((what, bytes, most, flag)) = wants.into_iter().find(|(_, bytes, most, _)| bytes > most) {
            let (takes, most) = (bytes.div_ceil(1 << 20), most >> 20);
            let of = counted(service.batch());
            return Err(Error::Misuse(format!(
                "{what} of {name}{of} takes {takes} MiB, and {flag} allows {most}; raise it"
            )));
        }
        Ok(Self {
            plan: Bytes::copy_from_slice(service.plan_file()),
            tag: format!("\"{}\"", service.plan_digest()),
            service,
        })
    }
}

/// Which of a model's plans, in words.
fn counted(samples: usize) -> String {
    if samples > 1 { format!(", {samples} samples at once,") } else { String::new() }
}

impl Worker for Evaluations {
    type Task = Request;
    type Done = Answer;

    fn compute(&mut self, tasks: &[Request]) -> std::result::Result<Vec<Answer>, Unanswered> {
        tasks.iter().map(Request::answer).collect()
    }

    /// Nothing is changed by an evaluation.
    fn recover(&mut self) {}
}

impl Request {
    fn answer(&self) -> std::result::Result<Answer, Unanswered> {
        let start = Instant::now();
        let answer = self.service.evaluate(&self.keys.keys, &self.bytes);
        let (bytes, samples) = answer.map_err(Unanswered::Refused)?;
        Ok(Answer { bytes, samples, took: start.elapsed() })
    }
}
