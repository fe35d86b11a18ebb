//! CKKS inference.
#[cfg(feature = "server")]
pub mod circuit;
pub mod encoder;
pub mod error;
pub use error::Error;
