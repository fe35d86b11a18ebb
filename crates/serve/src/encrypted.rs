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
    pub(crate) service: Arc<Service>,
    /// What clients make their keys from.
    pub(crate) plan: Bytes,
    /// The plan's digest, quoted.
    pub(crate) tag: String,
    pub(crate) queue: Queue<Evaluations>,
}

/// One evaluation at a time, on the service's threads: the memory of one, and the least latency.
pub(crate) struct Evaluations {
    service: Arc<Service>,
}

/// A request, with the keys that it names.
pub(crate) struct Request {
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
    /// Encodes the model's weights for `plan`.
    ///
    /// **Errors:** [`Error::Library`]; [`Error::Misuse`] for a plan whose requests or keys are
    /// beyond the limits.
    pub(crate) fn start(name: &str, plan: &Plan, threads: usize, limits: &Limits) -> Result<Self> {
        let service = Arc::new(Service::new(plan, threads)?);
        let wants = [
            ("a request", service.request_bytes() as u64, limits.body as u64, "--max-request"),
            ("a client's keys", service.key_file_bytes() as u64, limits.key_file as u64, "--max-keys"),
            ("a client's keys in memory", service.key_memory(), limits.key_cache, "--key-cache"),
        ];
        if let Some((what, bytes, most, flag)) = wants.into_iter().find(|(_, bytes, most, _)| bytes > most) {
            let (takes, most) = (bytes.div_ceil(1 << 20), most >> 20);
            return Err(Error::Misuse(format!(
                "{what} of {name} takes {takes} MiB, and {flag} allows {most}; raise it"
            )));
        }
        let worker = Evaluations { service: Arc::clone(&service) };
        Ok(Self {
            plan: Bytes::copy_from_slice(service.plan_file()),
            tag: format!("\"{}\"", service.plan_digest()),
            queue: Queue::start(name, vec![worker], limits.queue)?,
            service,
        })
    }
}

impl Worker for Evaluations {
    type Task = Request;
    type Done = Answer;

    fn compute(&mut self, Request { keys, bytes }: Request) -> std::result::Result<Answer, Unanswered> {
        let start = Instant::now();
        let (bytes, samples) = self.service.evaluate(&keys.keys, &bytes).map_err(Unanswered::Refused)?;
        Ok(Answer { bytes, samples, took: start.elapsed() })
    }

    /// Nothing is changed by an evaluation.
    fn recover(&mut self) {}
}
