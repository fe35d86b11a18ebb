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

impl Bound {
    /// The length of [`Bound::to_bytes`].
    pub const BYTES: usize = 2 + 33 + 3 * 32 + 4 * 33;

    /// All of it, for a peer that cannot know every field: role and suite in a byte each, what
    /// makes it new as its kind and 32 bytes, key, model and configuration, then the fields that
    /// may be absent, each preceded by a byte that says so.
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let role = match self.role {
            Role::Serve => 0,
            Role::FetchKey => 1,
        };
        let suite = match self.suite {
            Suite::X25519ChaCha20 => 0,
        };
        let mut fields: Vec<u8> = vec![role, suite];
        fields.extend(self.freshness.to_bytes());
        for field in [&self.channel_key, &self.model, &self.configuration] {
            fields.extend(field);
        }
        let policies = [self.data_policy, self.model_policy].map(|id| id.map(|id| id.0));
        for field in policies.into_iter().chain([self.tls_key, self.exporter]) {
            fields.extend(optional(field));
        }
        let mut out = [0; Self::BYTES];
        out.copy_from_slice(&fields);
        out
    }

    /// Reads it again; none for what [`Bound::to_bytes`] does not write.
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Option<Self> {
        let (&[role, suite], rest) = bytes.split_first_chunk::<2>()?;
        let (freshness, mut rest) = rest.split_first_chunk::<33>()?;
        let mut next = || {
            let (field, tail) = rest.split_first_chunk::<32>()?;
            rest = tail;
            Some(*field)
        };
        let (channel_key, model, configuration) = (next()?, next()?, next()?);
        let mut next = || {
            let (field, tail) = rest.split_first_chunk::<33>()?;
            rest = tail;
            if_present(field)
        };
        Some(Self {
            role: match role {
                0 => Role::Serve,
                1 => Role::FetchKey,
                _ => return None,
            },
            suite: match suite {
                0 => Suite::X25519ChaCha20,
                _ => return None,
            },
            freshness: Freshness::from_bytes(freshness)?,
            channel_key,
            model,
            configuration,
            data_policy: next()?.map(PolicyId),
            model_policy: next()?.map(PolicyId),
            tls_key: next()?,
            exporter: next()?,
        })
    }
}

impl Freshness {
    /// Its kind and 32 bytes; an epoch fills the first 8, little-endian.
    pub fn to_bytes(self) -> [u8; 33] {
        let mut out = [0; 33];
        match self {
            Self::Nonce(nonce) => out[1..].copy_from_slice(&nonce),
            Self::Epoch(epoch) => {
                out[0] = 1;
                out[1..9].copy_from_slice(&epoch.to_le_bytes());
            }
        }
        out
    }

    /// Reads it again; none for what [`Freshness::to_bytes`] does not write.
    pub fn from_bytes(bytes: &[u8; 33]) -> Option<Self> {
        let (kind, rest) = bytes.split_first_chunk::<1>()?;
        let (epoch, padding) = rest.split_first_chunk::<8>()?;
        match kind {
            [0] => rest.try_into().ok().map(Self::Nonce),
            [1] if padding.iter().all(|&b| b == 0) => Some(Self::Epoch(u64::from_le_bytes(*epoch))),
            _ => None,
        }
    }
}

/// Whether it is there, and 32 bytes.
fn optional(field: Option<[u8; 32]>) -> [u8; 33] {
    let mut out = [0; 33];
    if let Some(field) = field {
        out[0] = 1;
        out[1..].copy_from_slice(&field);
    }
    out
}

/// None for bytes that [`optional`] does not write.
fn if_present(bytes: &[u8; 33]) -> Option<Option<[u8; 32]>> {
    let (kind, rest) = bytes.split_first_chunk::<1>()?;
    match kind {
        [1] => rest.try_into().ok().map(Some),
        [0] if rest.iter().all(|&b| b == 0) => Some(None),
        _ => None,
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
