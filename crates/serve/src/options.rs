//! What bounds a server.

use crate::worker::Waits;
use std::path::PathBuf;
use std::time::Duration;

/// Bounds on what clients may take of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one request's body. Requests at a time take up to seven times as much each while
    /// they are decoded.
    pub body: usize,
    /// Samples of one request.
    pub samples: usize,
    /// Requests with a body at a time, until their answers are written; the next ones are
    /// answered 503.
    pub requests: usize,
    /// Requests that wait for one model; the next ones are answered 503.
    pub queue: usize,
    /// Samples of several requests that are computed at once, in the clear or by parties; 1 for none.
    pub batch: usize,
    /// How long a request waits for others to be computed with.
    pub batch_delay: Duration,
    /// Connections at a time; the next ones are closed.
    pub connections: usize,
    /// From a request's header to its answer, and again until that is read.
    pub request: Duration,
    /// Without a whole request header, or until a piece of an answer, 64 KiB, is read.
    pub idle: Duration,
    /// For what was accepted, once the server is told to end.
    pub drain: Duration,
    /// Bytes of one client's file of evaluation keys.
    pub key_file: usize,
    /// Bytes of all evaluation keys in memory.
    pub key_cache: u64,
}

impl Limits {
    pub(crate) fn waits(&self) -> Waits {
        Waits { length: self.queue, delay: self.batch_delay }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 16 << 20,
            samples: 1024,
            requests: 64,
            queue: 128,
            batch: 32,
            batch_delay: Duration::ZERO,
            connections: 512,
            request: Duration::from_secs(30),
            idle: Duration::from_secs(30),
            drain: Duration::from_secs(30),
            key_file: 512 << 20,
            key_cache: 2048 << 20,
        }
    }
}

/// Files of a certificate and its key, PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The certificate, and those that lead to its authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}
