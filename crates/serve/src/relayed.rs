//! Models of parties elsewhere: sealed shares are passed on to them.

use crate::error::Result;
use crate::log;
use crate::options::Limits;
use crate::worker::{Queue, Unanswered, Worker};
use axum::body::Bytes;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use subrosa::deploy::{Gateway, Outline, Passed, Relay};

/// A model that parties hold.
pub(crate) struct Shared {
    pub(crate) gateway: Arc<Gateway>,
    /// What clients share and seal by.
    pub(crate) outline: Arc<Outline>,
    pub(crate) queue: Queue<Passing>,
}

/// A session with the parties, and how many samples of several requests are computed at once in it.
pub(crate) struct Passing {
    relay: Relay,
    together: usize,
}

/// What comes of a request.
pub(crate) struct Answer {
    pub(crate) bytes: Vec<u8>,
    pub(crate) samples: usize,
    pub(crate) took: Duration,
}

impl Shared {
    /// With so many sessions, of which the first is `relay`; the others are opened when they are needed.
    ///
    /// **Errors:** [`crate::Error::Io`] if no thread can be started.
    pub(crate) fn start(name: &str, mut relay: Relay, sessions: usize, limits: &Limits) -> Result<Self> {
        let (gateway, outline) = (Arc::clone(relay.gateway()), Arc::new(relay.outline().clone()));
        relay.rest();
        let others: Vec<Relay> = (1..sessions.max(1)).map(|_| relay.another()).collect();
        let together = limits.batch.max(1);
        let workers = [relay].into_iter().chain(others).map(|relay| Passing { relay, together }).collect();
        Ok(Self { gateway, outline, queue: Queue::start(name, workers, limits.waits())? })
    }
}

impl Worker for Passing {
    type Task = Bytes;
    /// Each its own: boxes that were computed on cannot be given to the parties again.
    type Done = std::result::Result<Answer, Unanswered>;

    fn most(&self) -> usize {
        self.together
    }

    fn weight(&self, request: &Bytes) -> usize {
        // One that is none is refused by itself.
        Outline::counted(request).unwrap_or(usize::MAX)
    }

    fn compute(&mut self, requests: &[Bytes]) -> std::result::Result<Vec<Self::Done>, Unanswered> {
        let requests: Vec<&[u8]> = requests.iter().map(|request| &request[..]).collect();
        Ok(self.relay.pass_together(&requests).into_iter().map(answered).collect())
    }

    fn recover(&mut self) {
        self.relay.close();
    }

    fn rest(&mut self) {
        self.relay.rest();
    }
}

fn answered(passed: subrosa::Result<Passed>) -> std::result::Result<Answer, Unanswered> {
    match passed {
        Ok(Passed::Answered { bytes, samples, took, online: _ }) => Ok(Answer { bytes, samples, took }),
        Ok(Passed::Refused(why)) => Err(Unanswered::Anew(why.to_string())),
        Err(error @ subrosa::Error::Input { .. }) => Err(Unanswered::Refused(error)),
        Err(error) => {
            log::line("parties-failed", None, &json!({ "error": error.to_string() }));
            Err(Unanswered::Away)
        }
    }
}
