//! Homomorphic inference: the client encrypts, one server computes on ciphertexts, only
//! the client can read the answer (CKKS; J. Cheon, A. Kim, M. Kim, Y. Song, 2016,
//! <https://eprint.iacr.org/2016/421>).
//!
//! 1. [`circuit`] turns the graph of a model into affine maps and polynomials.
//! 2. [`plan`] decides everything else from the circuit and samples of its input: packing,
//!    levels, scales, primes, ring degree, rotations. Its public half, [`PublicPlan`],
//!    tells no weight.
//! 3. [`Client`] makes keys, encrypts and decrypts; [`Server`] evaluates. The server's
//!    types cannot name a secret key, and the client needs no model.
//! 4. [`files`] are the bytes between them.
//!
//! **Invariant:** no network, no file system. Without the feature `server` this is the
//! client alone, and builds for wasm32.
//!
//! Not audited. See `docs/ckks.md`.

#[cfg(feature = "server")]
pub mod circuit;
pub mod client;
pub mod encoder;
pub mod error;
pub mod files;
#[cfg(feature = "server")]
pub mod incoming;
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

/// What this protection promises.
pub const CLAIM: Claim = Claim {
    adversary: Adversary::SemiHonest,
    parties: 2,
    threshold: 1,
    security_bits: subrosa_lattice::security::SECURITY_BITS,
    summary: "one server computes on ciphertexts that only the client can open",
    learns: &[
        "the server learns the shape of the computation; of inputs and outputs nothing",
        "the client learns the outputs, the public plan (layers' sizes, parameters) and, through the noise in the answer, perhaps something about the weights",
        "whoever else is shown decrypted values may learn about the key: keep them with the client",
    ],
};

/// Where the scheme is described.
pub const SOURCE: &str =
    "CKKS: Cheon, Kim, Kim, Song 2016/421; hybrid key switching 2019/688; double hoisting 2020/1203";

pub use client::{Client, EncryptedInput, EncryptedOutput, Published};
pub use error::Error;
#[cfg(feature = "server")]
pub use plan::{Plan, PlanOptions};
pub use public::{PublicPlan, Publish};
#[cfg(feature = "server")]
pub use server::Server;

use subrosa_core::{Adversary, Claim};
