//! Links between machines: TCP with mutual TLS 1.3 and pinned certificates.
//!
//! - [`Identity`]: an endpoint's key and self-signed certificate, and its [`Fingerprint`];
//! - [`Endpoint`]: an identity together with the fingerprints it trusts; dials and accepts;
//! - [`Channel`]: an authenticated connection, for a few messages before a session begins,
//!   and then the session's [`Link`](crate::Link).
//!
//! There is no certificate authority: every endpoint's configuration names the others' keys,
//! so nobody else's compromise lets a stranger in. TLS 1.3 only, AES-128-GCM or
//! ChaCha20-Poly1305, with a hybrid post-quantum key exchange where both ends have it
//! (X25519MLKEM768): shares that are recorded today stay shares.

mod channel;
mod endpoint;
mod identity;
#[cfg(any(test, feature = "conformance"))]
pub mod loopback;
mod pin;
mod signature;
mod tls;

pub use channel::Channel;
pub use endpoint::{Endpoint, tune};
pub use identity::{Fingerprint, Identity, IdentityError, ParseFingerprintError, Validity, is_private};
pub use pin::CertificateFault;
pub use signature::SIGNATURE_BYTES;
