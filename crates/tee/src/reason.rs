//! Why evidence is not trusted.

use std::fmt;

/// Why evidence is not trusted: one sentence for a human, one code for a machine.
///
/// The codes are stable: a released one keeps its meaning and its name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Bytes that are not what they should be.
    #[error("{piece} cannot be read ({detail}); fetch it again from the attester")]
    Malformed {
        /// What was read.
        piece: Piece,
        /// What is wrong with it.
        detail: &'static str,
    },
    /// Longer than any genuine one.
    #[error("{piece} has {bytes} bytes, more than the {limit} that a genuine one can have")]
    TooLong {
        /// What was read.
        piece: Piece,
        /// Its length, bytes.
        bytes: usize,
        /// The longest that is looked at, bytes.
        limit: usize,
    },
    /// Of a version or an algorithm that this program does not know.
    #[error("{piece} is of a kind that this version does not know ({detail}); a newer version of subrosa may")]
    Unsupported {
        /// What was read.
        piece: Piece,
        /// What is unknown.
        detail: &'static str,
    },
    /// Evidence of one platform with the collateral of another.
    #[error("the collateral belongs to another platform than the evidence; fetch the one for this evidence")]
    WrongCollateral,
    /// Too old at the time of verification.
    #[error("{piece} expired at {at} (seconds since 1970); ask the attester for fresh evidence and collateral")]
    Expired {
        /// What expired.
        piece: Piece,
        /// Its last second.
        at: u64,
    },
    /// From the future at the time of verification.
    #[error("{piece} is valid only from {from} (seconds since 1970); check this machine's clock")]
    NotYetValid {
        /// What is not valid yet.
        piece: Piece,
        /// Its first second.
        from: u64,
    },
    /// A signature that does not fit.
    #[error("the signature over {piece} is wrong: it was changed, or never signed by the platform")]
    Signature {
        /// What the signature should cover.
        piece: Piece,
    },
    /// Certificates that do not lead to the vendor's root.
    #[error("{piece} does not lead to the platform vendor's root certificate")]
    Issuer {
        /// The chain.
        piece: Piece,
    },
    /// On the vendor's revocation list.
    #[error("{piece} was revoked by the platform's vendor; the machine must not be trusted")]
    Revoked {
        /// What was revoked.
        piece: Piece,
    },
    /// The policy wants a revocation list and there is none.
    #[error("no revocation list came with the evidence and the policy requires one; staple it to the collateral")]
    NoRevocationList,
    /// A certificate of another chip than the report's.
    #[error("the certificate belongs to another chip than the report")]
    OtherChip,
    /// A certificate for another firmware level than the report's.
    #[error("the certificate is for another firmware level than the one that the report names")]
    OtherTcb,
    /// The collateral lists no level that this platform reaches.
    #[error("the platform's firmware is older than every level that its vendor lists; update it")]
    TcbUnknown,
    /// The vendor's rules refuse it, for a reason that is none of the others.
    #[error("the platform's rules refuse the evidence: {detail}")]
    Platform {
        /// The verifying library's words.
        detail: String,
    },
    /// The verifier itself failed; the evidence is not trusted.
    #[error("the verifier failed on this evidence, which is a bug; please report it together with the evidence")]
    Crashed,
}

impl Reason {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "malformed",
            Self::TooLong { .. } => "too-long",
            Self::Unsupported { .. } => "unsupported",
            Self::WrongCollateral => "wrong-collateral",
            Self::Expired { .. } => "expired",
            Self::NotYetValid { .. } => "not-yet-valid",
            Self::Signature { .. } => "signature",
            Self::Issuer { .. } => "issuer",
            Self::Revoked { .. } => "revoked",
            Self::NoRevocationList => "no-revocation-list",
            Self::OtherChip => "other-chip",
            Self::OtherTcb => "other-tcb",
            Self::TcbUnknown => "tcb-unknown",
            Self::Platform { .. } => "platform",
            Self::Crashed => "crashed",
        }
    }
}

/// A part of evidence or collateral, as reasons name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Piece {
    /// A file or message of unknown kind.
    Evidence,
    /// What travels with evidence.
    Collateral,
    /// An SGX or TDX quote.
    Quote,
    /// The quoting enclave's report inside a quote.
    QuotingEnclave,
    /// The certificates of an Intel platform's attestation key.
    PckChain,
    /// Intel's list of firmware levels.
    TcbInfo,
    /// Intel's statement on its quoting enclave.
    QeIdentity,
    /// The certificates over [`Piece::TcbInfo`] and [`Piece::QeIdentity`].
    SigningChain,
    /// A certificate revocation list.
    RevocationList,
    /// An SEV-SNP report.
    Report,
    /// The certificates of an AMD chip's attestation key.
    ChipChain,
    /// A Nitro attestation document.
    Document,
    /// The certificates inside a Nitro document.
    NitroChain,
}

impl fmt::Display for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Evidence => "the evidence",
            Self::Collateral => "the collateral",
            Self::Quote => "the quote",
            Self::QuotingEnclave => "the quoting enclave's report",
            Self::PckChain => "the platform's certificate chain",
            Self::TcbInfo => "Intel's list of firmware levels",
            Self::QeIdentity => "Intel's statement on its quoting enclave",
            Self::SigningChain => "the chain of Intel's signing certificate",
            Self::RevocationList => "the revocation list",
            Self::Report => "the SEV-SNP report",
            Self::ChipChain => "the chip's certificate chain",
            Self::Document => "the Nitro document",
            Self::NitroChain => "the Nitro document's certificate chain",
        })
    }
}
