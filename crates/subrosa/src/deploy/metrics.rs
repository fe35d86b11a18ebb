//! What a party counts, as Prometheus reads it: never a value, never a secret.

use super::config::ClusterConfig;
use crate::{Error, Result};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use subrosa_core::Phase;
use subrosa_net::{Session, Traffic};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Link {
    peer: String,
    phase: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Which {
    phase: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

/// One party's counters.
pub struct Metrics {
    registry: Registry,
    peers: Vec<String>,
    active: Gauge,
    sessions: Family<Outcome, Counter>,
    inferences: Counter,
    samples: Counter,
    sent: Family<Link, Counter>,
    received: Family<Link, Counter>,
    waited: Family<Link, Counter<f64, AtomicU64>>,
    rounds: Family<Which, Counter>,
    time: Family<Which, Histogram>,
}

/// A session that is being counted.
pub(super) struct Counted<'a> {
    metrics: &'a Metrics,
    /// Whether it ended as it should.
    pub(super) well: bool,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let outcome = if self.well { "completed" } else { "failed" };
        self.metrics.active.dec();
        self.metrics.sessions.get_or_create(&Outcome { outcome }).inc();
    }
}

/// What of a session was counted already.
#[derive(Default)]
pub(super) struct Told {
    links: Vec<Traffic>,
    rounds: [u64; 3],
}

impl Metrics {
    pub(super) fn new(config: &ClusterConfig, me: usize) -> Self {
        let party = config.parties.get(me).map_or_else(String::new, |p| p.name.clone());
        let labels = [("party".into(), party.into()), ("backend".into(), config.protocol.name().into())];
        let mut metrics = Self {
            registry: Registry::with_prefix_and_labels("subrosa", labels.into_iter()),
            peers: config.parties.iter().map(|p| p.name.clone()).collect(),
            active: Gauge::default(),
            sessions: Family::default(),
            inferences: Counter::default(),
            samples: Counter::default(),
            sent: Family::default(),
            received: Family::default(),
            waited: Family::default(),
            rounds: Family::default(),
            time: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.000_25, 2.0, 20))),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let r = &mut self.registry;
        r.register("sessions_active", "Sessions at work", self.active.clone());
        r.register("sessions", "Sessions ended, and connections refused, by outcome", self.sessions.clone());
        r.register("inferences", "Batches computed", self.inferences.clone());
        r.register("samples", "Samples computed", self.samples.clone());
        r.register_with_unit("sent", "Sent, by peer and phase", Unit::Bytes, self.sent.clone());
        r.register_with_unit("received", "Received, by peer and phase", Unit::Bytes, self.received.clone());
        let waited = "Time in which a message of this peer was still to come";
        r.register_with_unit("waited", waited, Unit::Seconds, self.waited.clone());
        r.register("rounds", "Rounds of communication, by phase", self.rounds.clone());
        r.register_with_unit("batch_time", "Time of a batch, by phase", Unit::Seconds, self.time.clone());
    }

    /// The text that Prometheus reads.
    ///
    /// **Errors:** [`Error::Io`] if it cannot be formatted.
    pub fn text(&self) -> Result<String> {
        let mut text = String::new();
        encode(&mut text, &self.registry).map_err(|e| Error::Io { message: e.to_string(), hint: None })?;
        Ok(text)
    }

    pub(super) fn refused(&self) {
        self.sessions.get_or_create(&Outcome { outcome: "refused" }).inc();
    }

    /// Counts a session until what is returned is dropped.
    pub(super) fn opened(&self) -> Counted<'_> {
        self.active.inc();
        Counted { metrics: self, well: false }
    }

    pub(super) fn computed(&self, samples: usize) {
        self.inferences.inc();
        self.samples.inc_by(samples as u64);
    }

    pub(super) fn took(&self, phase: Phase, time: Duration) {
        self.time.get_or_create(&Which { phase: name(phase) }).observe(time.as_secs_f64());
    }

    /// Adds what `session` did since `told`.
    pub(super) fn traffic(&self, session: &Session, told: &mut Told) {
        told.links.resize(session.names().len(), Traffic::default());
        for (id, told) in told.links.iter_mut().enumerate() {
            let now = session.traffic(id);
            // Clients come and go; only parties have a label of their own.
            let peer = self.peers.get(id).map_or("clients", String::as_str);
            for phase in Phase::ALL.into_iter().filter(|&p| now.sent[p as usize] + now.received[p as usize] > 0) {
                let (i, link) = (phase as usize, Link { peer: peer.to_owned(), phase: name(phase) });
                self.sent.get_or_create(&link).inc_by(now.sent[i] - told.sent[i]);
                self.received.get_or_create(&link).inc_by(now.received[i] - told.received[i]);
                self.waited.get_or_create(&link).inc_by((now.waited[i] - told.waited[i]).as_secs_f64());
            }
            *told = now;
        }
        for phase in Phase::ALL {
            let rounds = session.meter().cost(phase).rounds;
            let new = rounds - std::mem::replace(&mut told.rounds[phase as usize], rounds);
            self.rounds.get_or_create(&Which { phase: name(phase) }).inc_by(new);
        }
    }
}

fn name(phase: Phase) -> &'static str {
    match phase {
        Phase::Setup => "setup",
        Phase::Offline => "offline",
        Phase::Online => "online",
    }
}
