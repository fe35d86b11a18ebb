//! CKKS inference.
#[cfg(feature = "server")]
pub mod circuit;
pub mod client;
pub mod encoder;
pub mod error;
#[cfg(feature = "server")]
pub mod linear;
#[cfg(feature = "server")]
pub mod place;
#[cfg(feature = "server")]
pub mod plan;
pub mod public;
#[cfg(feature = "server")]
pub mod server;
pub mod slots;

pub use client::{Client, EncryptedInput, EncryptedOutput};
pub use error::Error;
#[cfg(feature = "server")]
pub use plan::{Plan, PlanOptions};
pub use public::PublicPlan;
#[cfg(feature = "server")]
pub use server::Server;
