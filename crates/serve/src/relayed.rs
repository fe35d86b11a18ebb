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

/// One request at a time, in a session with the parties.
pub(crate) struct Passing {
    relay: Relay,
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
        let workers = [relay].into_iter().chain(others).map(|relay| Passing { relay }).collect();
        Ok(Self { gateway, outline, queue: Queue::start(name, workers, limits.waits())? })
    }
}

impl Worker for Passing {
    type Task = Bytes;
    type Done = Answer;

    fn compute(&mut self, requests: &[Bytes]) -> std::result::Result<Vec<Answer>, Unanswered> {
        requests.iter().map(|request| self.pass(request)).collect()
    }

    fn recover(&mut self) {
        self.relay.close();
    }

    fn rest(&mut self) {
        self.relay.rest();
    }
}

impl Passing {
    fn pass(&mut self, request: &Bytes) -> std::result::Result<Answer, Unanswered> {
        match self.relay.pass(request) {
            Ok(Passed::Answered { bytes, samples, took, online: _ }) => Ok(Answer { bytes, samples, took }),
            Ok(Passed::Refused(why)) => Err(Unanswered::Anew(why.to_string())),
            Err(error @ subrosa::Error::Input { .. }) => Err(Unanswered::Refused(error)),
            Err(error) => {
                log::line("parties-failed", None, &json!({ "error": error.to_string() }));
                Err(Unanswered::Away)
            }
        }
    }
}
