//! What a data owner or a model owner trusts: signed, versioned TOML that denies what it does
//! not name.

mod format;
mod rule;

pub(crate) use format::hex;

use crate::claims::Claims;
use crate::error::Error;
use crate::reason::Reason;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use rule::Rules;
use sha2::{Digest, Sha256};

/// The name of a policy: a hash of every byte of it, comments included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PolicyId(pub [u8; 32]);

/// What an owner trusts, signed by somebody who may say so.
#[derive(Debug, Clone)]
pub struct Policy {
    id: PolicyId,
    name: String,
    serial: u64,
    rules: Rules,
}

/// A policy that nobody has signed yet. It decides nothing.
#[derive(Debug, Clone)]
pub struct Draft {
    body: String,
    policy: Policy,
}

/// The Ed25519 key with which an owner signs policies. No `Debug`; wiped when dropped.
pub struct OwnerKey(SigningKey);

impl OwnerKey {
    /// From its 32 secret bytes.
    pub fn from_bytes(secret: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(secret))
    }

    /// What others list as a signer.
    pub fn public(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }
}

impl Policy {
    /// Reads a policy that one of `signers`, public keys of [`OwnerKey`]s, has signed.
    ///
    /// **Errors:** [`Error::PolicySignature`], before anything else is looked at;
    /// [`Error::Policy`].
    pub fn open(text: &str, signers: &[[u8; 32]]) -> Result<Self, Error> {
        if text.len() > MAX_BYTES {
            return Err(Error::Policy(format!("it has {} bytes, and {MAX_BYTES} are the most", text.len())));
        }
        let unsigned = Error::PolicySignature("its last line holds no signature; sign it with `subrosa attest sign`");
        let at = text.trim_end().rfind('\n').map_or(0, |at| at + 1);
        let (body, last) = text.split_at_checked(at).ok_or(unsigned.clone())?;
        let words = last.trim_end().strip_prefix(SIGNATURE).and_then(|rest| rest.split_once(' '));
        let (key, signature) = words.ok_or(unsigned)?;
        let form = Error::PolicySignature("the signature in its last line is not one");
        let key: [u8; 32] = format::unhex(key).ok_or(form.clone())?;
        let signature: [u8; 64] = format::unhex(signature).ok_or(form)?;
        if !signers.contains(&key) {
            return Err(Error::PolicySignature("it was signed with a key that you do not trust"));
        }
        VerifyingKey::from_bytes(&key)
            .map_err(|_| Error::PolicySignature("the key in its last line is none"))?
            .verify_strict(&message(body), &Signature::from_bytes(&signature))
            .map_err(|_| Error::PolicySignature("it was changed after it was signed"))?;
        Draft::read(body).map(|draft| draft.policy)
    }

    /// Its name in evidence.
    pub fn id(&self) -> PolicyId {
        self.id
    }

    /// What its author calls it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Grows with each version; whoever keeps the highest one seen can refuse an older one.
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// Whether a platform of which this is said is good enough at `now`.
    ///
    /// **Errors:** the first [`Reason`] why it is not.
    pub fn judge(&self, claims: &Claims, now: u64) -> Result<(), Reason> {
        self.rules.judge(claims, now)
    }

    /// Whether simulated evidence whose statement this key signed may be looked at: one of the
    /// two switches that simulation needs.
    #[cfg_attr(not(feature = "simulation"), expect(dead_code, reason = "release builds refuse simulation"))]
    pub(crate) fn simulators(&self) -> &[[u8; 32]] {
        &self.rules.simulators
    }
}

impl Draft {
    /// Reads a policy without a signature.
    ///
    /// **Errors:** [`Error::Policy`].
    pub fn read(body: &str) -> Result<Self, Error> {
        if body.len() > MAX_BYTES {
            return Err(Error::Policy(format!("it has {} bytes, and {MAX_BYTES} are the most", body.len())));
        }
        // One way to write the end, so that signing does not change the name.
        let body = format!("{}\n", body.trim_end());
        let (name, serial, rules) = format::parse(&body)?;
        let id = PolicyId(Sha256::digest(message(&body)).into());
        Ok(Self { policy: Policy { id, name, serial, rules }, body })
    }

    /// The signed policy, as a file.
    pub fn sign(&self, key: &OwnerKey) -> String {
        let signature = key.0.sign(&message(&self.body)).to_bytes();
        let signer = format::hex(&key.public());
        format!("{}{SIGNATURE}{signer} {}\n", self.body, format::hex(&signature))
    }
}

fn message(body: &str) -> Vec<u8> {
    [b"subrosa-tee/policy/1\0", body.as_bytes()].concat()
}

/// The signature stands in a comment, so that a signed policy is still TOML.
const SIGNATURE: &str = "# subrosa-policy-signature: ";

/// Longer policies are nobody's.
const MAX_BYTES: usize = 256 << 10;

#[cfg(test)]
mod tests;
