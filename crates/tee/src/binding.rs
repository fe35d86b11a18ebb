//! What evidence is about: one function for the attester and the verifier.

use crate::policy::PolicyId;
use sha2::{Digest, Sha512};

/// Everything that evidence is bound to.
///
/// Whoever holds good evidence can show it to anybody; what makes it evidence about *this*
/// connection is that the attested program put the hash of these fields into it. The channel
/// key is made inside at each boot and never leaves, so evidence relayed from another machine
/// leads to a channel that ends there and not with the relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// What the program does.
    pub role: Role,
    /// How messages to it are encrypted.
    pub suite: Suite,
    /// Its public key for that.
    pub channel_key: [u8; 32],
    /// SHA-256 of its TLS key (SubjectPublicKeyInfo), if it speaks TLS.
    pub tls_key: Option<[u8; 32]>,
    /// What makes the evidence new.
    pub freshness: Freshness,
    /// The data owner's policy that it was asked to satisfy.
    pub data_policy: Option<PolicyId>,
    /// The model owner's policy that it was asked to satisfy.
    pub model_policy: Option<PolicyId>,
    /// SHA-256 of the model's manifest.
    pub model: [u8; 32],
    /// SHA-256 of the configuration that it runs with.
    pub configuration: [u8; 32],
    /// Exported secret of the TLS connection (RFC 9266), between servers.
    pub exporter: Option<[u8; 32]>,
}

/// What an attested program does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// It answers inference requests.
    Serve,
    /// It asks a broker for a model's key.
    FetchKey,
}

/// How messages to an attested program are encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Suite {
    /// HPKE with X25519, HKDF-SHA256 and ChaCha20-Poly1305 (RFC 9180: 0x0020, 0x0001, 0x0003).
    X25519ChaCha20,
}

/// What makes evidence new.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Freshness {
    /// Random bytes that the verifier drew.
    Nonce([u8; 32]),
    /// A number that the attester counts up, for evidence shared by many clients: such
    /// evidence can be replayed until its epoch ends.
    Epoch(u64),
}

impl Bound {
    /// The 64 bytes for `report_data` (SGX, TDX, SEV-SNP) or `user_data` (Nitro):
    /// SHA-512 of `subrosa-tee/1` and each field, preceded by its length in 4 bytes,
    /// little-endian, in the order of this structure. Absent fields are empty.
    pub fn report_data(&self) -> [u8; 64] {
        let mut hash = Sha512::new_with_prefix(DOMAIN);
        let mut field = |bytes: &[u8]| {
            hash.update((bytes.len() as u32).to_le_bytes());
            hash.update(bytes);
        };
        field(self.role.name());
        field(self.suite.identifier());
        field(&self.channel_key);
        field(self.tls_key.as_ref().map_or(&[], |key| &key[..]));
        match self.freshness {
            Freshness::Nonce(nonce) => field(&[&[0], &nonce[..]].concat()),
            Freshness::Epoch(epoch) => field(&[&[1], &epoch.to_le_bytes()[..]].concat()),
        }
        field(self.data_policy.as_ref().map_or(&[], |id| &id.0[..]));
        field(self.model_policy.as_ref().map_or(&[], |id| &id.0[..]));
        field(&self.model);
        field(&self.configuration);
        field(self.exporter.as_ref().map_or(&[], |secret| &secret[..]));
        hash.finalize().into()
    }
}

impl Role {
    fn name(self) -> &'static [u8] {
        match self {
            Self::Serve => b"serve",
            Self::FetchKey => b"fetch-key",
        }
    }
}

impl Suite {
    fn identifier(self) -> &'static [u8] {
        match self {
            Self::X25519ChaCha20 => &[0x00, 0x20, 0x00, 0x01, 0x00, 0x03],
        }
    }
}

const DOMAIN: &[u8] = b"subrosa-tee/1";

#[cfg(test)]
mod tests;
