//! Trusted execution: evidence of hardware that isolates a program from its host, and what
//! may be built on it.
//!
//! [`verify`] takes [`Evidence`], its [`Collateral`], a signed [`Policy`], what the evidence
//! has to be about ([`Bound`]) and the time, and gives an [`Attested`] or a [`Reason`] with a
//! stable code. Evidence travels with its collateral ([`Stapled`]), so that a verifier needs
//! no network.
//!
//! **Invariant:** no I/O, no threads, no clock: the time is an argument, so that a verdict can
//! be repeated. No cryptography of its own: signatures come from libraries.
//!
//! On a verdict rest the [`channel`] to the program, [`seal`]ed models and the [`broker`] of
//! their keys. [`outsource`] checks and blinds linear layers that somebody else computes.
//!
//! Start with [`evidence`] and [`claims`], then [`policy`] and [`binding`].

pub mod binding;
pub mod broker;
pub mod channel;
pub mod claims;
pub mod date;
mod dcap;
mod eif;
mod error;
pub mod evidence;
mod facts;
pub mod gramine;
mod import;
mod names;
mod nitro;
pub mod outsource;
pub mod policy;
mod reason;
pub mod seal;
pub mod simulation;
mod snp;
#[cfg(test)]
mod synthetic;
#[cfg(test)]
mod vectors;
mod verify;
mod x509;

pub use binding::Bound;
pub use claims::{Claims, Platform};
pub use eif::EifMeasurement;
pub use error::{Error, Refusal};
pub use evidence::{Collateral, Evidence, SnpCollateral, Stapled};
pub use names::{Flag, Level, Piece, Register};
pub use policy::{Policy, PolicyId};
pub use reason::Reason;
pub use verify::{Attested, Verdict, authenticate, verify};

/// 32 random bytes, for whoever wants to be shown evidence made for nobody else.
///
/// **Errors:** [`Error::Random`].
pub fn nonce() -> Result<[u8; 32], Error> {
    let mut nonce = [0; 32];
    getrandom::fill(&mut nonce).map_err(|_| Error::Random)?;
    Ok(nonce)
}

/// The hash by which evidence names a model and a configuration.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    use sha2::{Digest, Sha256};
    Sha256::digest(bytes).into()
}
