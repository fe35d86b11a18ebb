//! What a server counts, as Prometheus reads it: never a value.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::collections::HashSet;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    model: String,
    endpoint: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Which {
    model: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Who {
    key: String,
    status: u16,
}

/// A server's counters.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Kind, Counter>,
    asked: Family<Who, Counter>,
    /// Clients that are told apart.
    names: RwLock<HashSet<String>>,
    samples: Family<Which, Counter>,
    time: Family<Which, Histogram>,
    pub(crate) active: Gauge,
    pub(crate) connections: Gauge,
    pub(crate) key_bytes: Gauge,
}

impl Metrics {
    /// `standing` is a label of all of them.
    pub(crate) fn new(standing: &'static str) -> Self {
        let labels = [("standing".into(), standing.into())];
        let mut metrics = Self {
            registry: Registry::with_prefix_and_labels("subrosa_serve", labels.into_iter()),
            requests: Family::default(),
            asked: Family::default(),
            names: RwLock::default(),
            samples: Family::default(),
            time: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.000_25, 2.0, 18))),
            active: Gauge::default(),
            connections: Gauge::default(),
            key_bytes: Gauge::default(),
        };
        let r = &mut metrics.registry;
        r.register("requests", "Requests answered, by model, endpoint and status", metrics.requests.clone());
        r.register("key_requests", "Requests by client's name and status; no name: refused", metrics.asked.clone());
        r.register("samples", "Samples computed", metrics.samples.clone());
        r.register_with_unit("request_time", "From header to answer", Unit::Seconds, metrics.time.clone());
        r.register("requests_active", "Requests with a body at work", metrics.active.clone());
        r.register("connections", "Open connections", metrics.connections.clone());
        r.register("key_bytes", "Memory of evaluation keys", metrics.key_bytes.clone());
        metrics
    }

    /// The text that Prometheus reads; none if it cannot be written.
    pub(crate) fn text(&self) -> Option<String> {
        let mut text = String::new();
        encode(&mut text, &self.registry).ok().map(|()| text)
    }

    /// A request of the client of this name, or of none that is known.
    pub(crate) fn asked(&self, name: &str, status: u16) {
        let key = if self.is_named(name) { name.to_owned() } else { OTHERS.to_owned() };
        self.asked.get_or_create(&Who { key, status }).inc();
    }

    /// Whether a client is one of the first, which are told apart.
    fn is_named(&self, name: &str) -> bool {
        let known = self.names.read().unwrap_or_else(PoisonError::into_inner);
        if known.contains(name) || known.len() >= MOST_NAMES {
            return known.contains(name);
        }
        drop(known);
        let mut known = self.names.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() < MOST_NAMES {
            known.insert(name.to_owned());
        }
        known.contains(name)
    }

    /// `model` is one that there is, or none.
    pub(crate) fn answered(
        &self,
        model: Option<&str>,
        endpoint: &'static str,
        status: u16,
        samples: usize,
        took: Duration,
    ) {
        let model = model.unwrap_or_default().to_owned();
        self.requests.get_or_create(&Kind { model: model.clone(), endpoint, status }).inc();
        let which = Which { model };
        self.time.get_or_create(&which).observe(took.as_secs_f64());
        if samples > 0 {
            self.samples.get_or_create(&which).inc_by(samples as u64);
        }
    }
}

/// Clients that are told apart; the others are counted together.
const MOST_NAMES: usize = 1000;

/// What they are called: the name of none, which has other characters.
const OTHERS: &str = "(others)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_beyond_the_first_are_counted_together() {
        let metrics = Metrics::new("plain");
        for client in 0..MOST_NAMES + 5 {
            metrics.asked(&format!("sub:{client}"), 200);
        }
        metrics.asked("sub:7", 200);
        let text = metrics.text().unwrap();
        assert_eq!(
            text.lines().filter(|line| line.starts_with("subrosa_serve_key_requests_total")).count(),
            MOST_NAMES + 1
        );
        assert!(
            text.contains("key=\"(others)\",status=\"200\"} 5") && text.contains("key=\"sub:7\",status=\"200\"} 2")
        );
    }
}
