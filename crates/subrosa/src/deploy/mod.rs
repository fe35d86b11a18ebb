//! Compute parties on machines of their own.
//!
//! - [`ClusterConfig`]: `subrosa.toml`, who takes part; public, the same for all;
//! - [`PartyServer`]: a compute party as a service: holds its share of models, encrypted at
//!   rest, and computes in sessions;
//! - [`Cluster`]: a client of all parties, as model owner, data owner or receiver;
//! - [`Gateway`]: the same in front of owners who are no clients, and whose shares it cannot read;
//! - [`deal`]: the dealer's part ahead of time, where it is not there in sessions;
//! - [`Metrics`]: what a party counts, for Prometheus.
//!
//! A session is opened by a data owner, has connections of its own, and serves any number
//! of inferences; several run at a time. Between its endpoints flow protocol messages, and
//! outside the meter the client's orders (16 bytes) and the parties' totals (80 bytes); through a
//! gateway also owners' boxes, and the parties' verdicts on them (33 bytes).

mod callers;
mod card;
mod choice;
mod client;
mod config;
mod control;
mod dealer;
mod gateway;
mod keys;
mod metrics;
mod party;
mod probe;
mod relay;
mod remote;
mod rendezvous;
mod scraped;
mod sealing;
mod serving;
mod store;
#[cfg(test)]
#[path = "../../tests/support/mod.rs"]
mod support;

pub use card::Card;
pub use client::{Cluster, OpenOptions, PartyReport};
pub use config::{ClientEntry, ClusterConfig, Dealer, Limits, PartyEntry, Role};
pub use control::{Held, Measured, SessionId, Status};
pub use dealer::{DealOptions, Dealt, DealtFolder, deal};
pub(crate) use gateway::port;
pub use gateway::{Gateway, Offer, Offered, Passed, Relay};
pub use keys::key_file_bytes;
pub use metrics::Metrics;
pub use party::{PartyOptions, PartyServer, Stop};
pub use remote::{Receiving, Remote};
pub use scraped::serve_metrics;
pub use sealing::SealingStatement;
pub use subrosa_mpc::relayed::Outline;
pub use subrosa_net::Network;
pub use subrosa_net::tcp::{Fingerprint, Identity, IdentityError, Validity};
