//! An inference server: the Open Inference Protocol, version 2, over HTTP.
//!
//! [`Catalogue`] holds the models, each with its queue and its threads; [`Server`] listens,
//! answers and ends without losing what it has accepted. In the clear (`plain`) any client of
//! the protocol works. In trusted hardware (`tee`) the protocol's requests are refused, and
//! instead sealed ones answered over the attested channel of [`subrosa::attest`].
//!
//! **Invariant:** what a client sends is bounded in size, number and time before it is looked
//! at; a value of an input or an output is in no log, metric or error.
//!
//! Lacking: gRPC, dynamic batching, hot reload, API keys.

mod catalogue;
mod error;
mod http;
mod listen;
mod log;
mod metrics;
mod options;
mod paced;
mod place;
mod worker;

pub use catalogue::{Catalogue, Entry};
pub use error::{Error, Result};
pub use listen::Server;
pub use options::{Limits, Tls};
