//! Ring learning with errors in residue number systems, without a scheme on top: number
//! theoretic transforms, keys, encryption, hybrid key switching, wire formats.
//!
//! Start with [`Params`]: written down as [`ParamsLiteral`], checked against the
//! [`security`] table. Then [`SecretKey`], [`Ciphertext`], and `evaluate` for what a
//! server can do.
//!
//! Messages are whatever polynomials mean to the caller. A decrypted polynomial still
//! contains the error of its ciphertext, and whoever sees it can solve for the secret key
//! (B. Li, D. Micciancio, <https://eprint.iacr.org/2020/1533>): callers must not hand it on.
//!
//! [`coefficients`] multiplies public matrices with encrypted vectors of integers.
//!
//! **Invariant:** no slots and no scales, no network, no files; builds for wasm32. `unsafe` only in `kernel`, whose every path gives the same words.
//!
//! Not audited.

mod ciphertext;
pub mod coefficients;
pub mod error;
mod evaluate;
pub mod kernel;
mod keys;
pub mod modulus;
pub mod ntt;
mod packed;
pub mod parallel;
mod params;
mod poly;
pub mod sample;
pub mod security;
mod sums;
#[cfg(test)]
mod tests;
pub mod wire;

pub use ciphertext::{Ciphertext, Product, SeededCiphertext};
pub use error::Error;
pub use evaluate::{Digits, Extended};
pub use kernel::Isa;
pub use keys::{EvaluationKeys, GaloisKey, PublicKey, SecretKey, SwitchKey};
pub use modulus::{Factor, Modulus};
pub use ntt::NttTable;
pub use packed::Packed;
pub use params::{Params, ParamsLiteral};
pub use poly::Poly;
pub use security::Attacker;
pub use sums::Combination;
