//! Evidence of nothing: for trying the software where there is no hardware.
//!
//! A simulated statement has its own magic and its own keys, and no layout of any platform.
//! [`crate::verify`] reads it and always answers [`crate::Reason::Simulated`]. To go on with
//! it takes the cargo feature `simulation`, which release builds lack, then an
//! `AllowSimulated` from a flag *and* `allow_simulated = true` in the signed policy; and
//! what comes of it is a `Simulated`, which no function turns into an
//! [`crate::Attested`].

/// How simulated evidence starts.
pub(crate) const MAGIC: &[u8; 14] = b"subrosa-sim/1\n";

#[cfg(feature = "simulation")]
pub use with_feature::{AllowSimulated, LABEL, Simulated, Simulator, admit};

#[cfg(feature = "simulation")]
mod with_feature {
    use super::MAGIC;
    use crate::binding::Bound;
    use crate::error::Error;
    use crate::evidence::Evidence;
    use crate::names::Piece;
    use crate::policy::{Policy, PolicyId};
    use crate::reason::Reason;
    use crate::verify::check_binding;
    use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
    use zeroize::Zeroizing;

    /// What every output that touches simulated evidence says.
    pub const LABEL: &str = "SIMULATED, NO CONFIDENTIALITY";

    /// The flag was given: one of the two switches.
    #[derive(Debug, Clone, Copy)]
    pub struct AllowSimulated(());

    impl AllowSimulated {
        /// To be called where a user's flag says so, and nowhere else.
        pub fn by_flag() -> Self {
            Self(())
        }
    }

    /// A program about which nothing is known. It is no [`crate::Attested`] and never
    /// becomes one.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Simulated {
        bound: Bound,
        policy: PolicyId,
        made_at: u64,
    }

    impl Simulated {
        /// What the statement is about.
        pub fn bound(&self) -> &Bound {
            &self.bound
        }

        /// The policy that let it pass.
        pub fn policy(&self) -> PolicyId {
            self.policy
        }

        /// The last second (since 1970) of its use.
        pub fn valid_until(&self) -> u64 {
            self.made_at.saturating_add(LASTS)
        }

        /// When it was made, seconds since 1970.
        pub fn made_at(&self) -> u64 {
            self.made_at
        }
    }

    /// Makes simulated evidence, with a key made for this machine.
    pub struct Simulator {
        key: SigningKey,
    }

    impl Simulator {
        /// With a new key.
        ///
        /// **Errors:** [`Error::Random`].
        pub fn generate() -> Result<Self, Error> {
            let mut seed = Zeroizing::new([0; 32]);
            getrandom::fill(&mut *seed).map_err(|_| Error::Random)?;
            Ok(Self { key: SigningKey::from_bytes(&seed) })
        }

        /// With the key of 32 secret bytes, so that a policy can list it beforehand.
        pub fn from_bytes(secret: &[u8; 32]) -> Self {
            Self { key: SigningKey::from_bytes(secret) }
        }

        /// What a policy lists under `simulators`.
        pub fn public_key(&self) -> [u8; 32] {
            self.key.verifying_key().to_bytes()
        }

        /// A statement about `bound`.
        pub fn attest(&self, bound: &Bound, now: u64) -> Evidence {
            let mut out = [&MAGIC[..], &self.public_key()].concat();
            out.extend(now.to_le_bytes());
            out.extend(bound.report_data());
            let signature = self.key.sign(&message(&out)).to_bytes();
            out.extend(signature);
            Evidence::Simulated(out)
        }
    }

    /// Goes on with simulated evidence, where the flag and the policy both say so.
    ///
    /// **Errors:** [`Reason::Simulated`] if the policy does not allow it, or the statement is
    /// by none of its simulators; [`Reason::Malformed`], [`Reason::Unsupported`] for real
    /// evidence, [`Reason::Signature`], [`Reason::Binding`], [`Reason::PolicyNotNamed`],
    /// [`Reason::Expired`], [`Reason::NotYetValid`].
    pub fn admit(
        evidence: &Evidence,
        policy: &Policy,
        _flag: AllowSimulated,
        expected: &Bound,
        now: u64,
    ) -> Result<Simulated, Reason> {
        let piece = Piece::Evidence;
        let bytes = match evidence {
            Evidence::Simulated(bytes) => bytes,
            Evidence::Dcap(_) | Evidence::Snp(_) | Evidence::Nitro(_) => {
                return Err(Reason::Unsupported { piece, detail: "it is not simulated" });
            }
        };
        if policy.simulators().is_empty() {
            return Err(Reason::Simulated);
        }
        let cut = Reason::Malformed { piece, detail: "it is no simulated statement" };
        let (signed, signature) = bytes.split_last_chunk::<64>().ok_or(cut.clone())?;
        let rest = signed.strip_prefix(MAGIC).ok_or(cut.clone())?;
        let (key, rest) = rest.split_first_chunk::<32>().ok_or(cut.clone())?;
        let (made_at, report_data) = rest.split_first_chunk::<8>().ok_or(cut.clone())?;
        let report_data: [u8; 64] = report_data.try_into().map_err(|_| cut)?;
        if !policy.simulators().contains(key) {
            return Err(Reason::Simulated);
        }
        let signed_by = VerifyingKey::from_bytes(key);
        let checked = signed_by.and_then(|k| k.verify_strict(&message(signed), &Signature::from_bytes(signature)));
        checked.map_err(|_| Reason::Signature { piece })?;
        let made_at = u64::from_le_bytes(*made_at);
        let end = made_at.saturating_add(LASTS);
        match () {
            () if now < made_at => return Err(Reason::NotYetValid { piece, from: made_at }),
            () if now > end => return Err(Reason::Expired { piece, at: end }),
            () => {}
        }
        check_binding(Some(report_data), policy, expected)?;
        Ok(Simulated { bound: expected.clone(), policy: policy.id(), made_at })
    }

    fn message(statement: &[u8]) -> Vec<u8> {
        // Release builds must not contain these words; CI looks for them.
        [b"SUBROSA-TEE-SIMULATOR: SIMULATED, NO CONFIDENTIALITY\0", statement].concat()
    }

    /// A statement's life, seconds.
    const LASTS: u64 = 3600;
}

#[cfg(test)]
#[cfg(feature = "simulation")]
mod tests;
