//! An inference server: the Open Inference Protocol, version 2, over HTTP and gRPC.
//!
//! [`Catalogue`] holds the models, each with its queue and its threads; [`Server`] listens,
//! answers and ends without losing what it has accepted; [`Handle`] gives it other models while it
//! runs, [`Clients`] say who may ask. In the clear (`plain`) any client of the protocol works. In
//! trusted hardware (`tee`) and on ciphertexts (`ckks`) the protocol's requests are refused, and
//! instead sealed ones answered over the attested channel of [`subrosa::attest`], or encrypted
//! ones with the evaluation keys that clients leave here. Before parties elsewhere (`rep3` and the
//! like) sealed shares are passed on that the server cannot open.
//!
//! **Invariant:** what a client sends is bounded in size, number and time before it is looked
//! at; a value of an input or an output is in no log, metric or error.
//!
//! Requests in the clear that wait at the same time are computed together ([`Limits::batch`]).
//! Ciphertexts of several clients cannot be; a client with many samples packs them itself, for a
//! plan of its own.

mod access;
mod catalogue;
mod clear;
mod encrypted;
mod error;
mod grpc;
mod handle;
mod http;
mod keys;
mod listen;
mod log;
mod metrics;
mod options;
mod paced;
mod place;
mod relayed;
mod tokens;
mod worker;

pub use access::{ApiKeys, Clients, NewKey};
pub use catalogue::{Catalogue, Entry};
pub use error::{Error, Result};
pub use handle::Handle;
pub use listen::Server;
pub use options::{Limits, Tls};
pub use tokens::Tokens;
