//! Trusted execution: evidence of hardware that isolates a program from its host, and what
//! may be built on it.
//!
//! [`authenticate`] says what [`Evidence`] says, or gives a [`Reason`] with a stable code.
//!
//! **Invariant:** no I/O, no threads, no clock: the time is an argument, so that a verdict can
//! be repeated. No cryptography of its own: signatures come from libraries.
//!
//! Start with [`evidence`] and [`claims`], then read the three platforms.

pub mod claims;
mod dcap;
pub mod evidence;
mod nitro;
mod reason;
mod snp;
#[cfg(test)]
mod vectors;
mod verify;
mod x509;

pub use claims::{Claims, Platform};
pub use evidence::{Collateral, Evidence, SnpCollateral, Stapled};
pub use reason::{Piece, Reason};
pub use verify::authenticate;
