//! Why evidence is not trusted.

use crate::claims::{Platform, TcbStatus};
use crate::date;
use crate::names::{Flag, Level, Piece, Register};

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
    #[error("{piece} expired at {}; ask the attester for fresh evidence and collateral", date::text(*at))]
    Expired {
        /// What expired.
        piece: Piece,
        /// Its last second, since 1970.
        at: u64,
    },
    /// From the future at the time of verification.
    #[error("{piece} is valid only from {}; check this machine's clock", date::text(*from))]
    NotYetValid {
        /// What is not valid yet.
        piece: Piece,
        /// Its first second, since 1970.
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
    /// Made without any hardware. No verdict makes it more than that.
    #[error("the evidence is SIMULATED: no hardware protects anything, and nothing is confidential")]
    Simulated,
    /// The policy says nothing of this platform, and what it does not name it denies.
    #[error("the policy has no rule for {platform}, so it denies it; add a section if you mean to trust it")]
    NoRule {
        /// The platform.
        platform: Platform,
    },
    /// A debugger can look into it.
    #[error("it runs in debug mode, where its host can read everything; run a production build")]
    Debug,
    /// The host can move it to a machine that nobody has verified.
    #[error("a migration agent may move it to another machine; launch it without one")]
    Migration,
    /// Not the program that the policy names.
    #[error("its {register} is {found}, which the policy does not list: another program, build or configuration")]
    Measurement {
        /// What differs.
        register: Register,
        /// What the evidence says, in hexadecimal.
        found: String,
    },
    /// Older than the policy allows.
    #[error("its {level} is {found} and the policy wants {least} at least; update it")]
    BelowLevel {
        /// What is too old.
        level: Level,
        /// What the evidence says.
        found: u32,
        /// What the policy asks for.
        least: u32,
    },
    /// Not as current as the policy allows.
    #[error("the platform's status is {status}, which the policy does not list")]
    TcbStatus {
        /// The vendor's word.
        status: TcbStatus,
    },
    /// A known weakness that the policy does not accept by name.
    #[error("advisory {id} concerns the platform and the policy does not accept it by name")]
    Advisory {
        /// The vendor's number.
        id: String,
    },
    /// A property of the platform that the policy does not allow.
    #[error("{flag}, which the policy does not allow")]
    Flag {
        /// The property.
        flag: Flag,
    },
    /// The evidence was made under another policy.
    #[error("the evidence was not made for this policy; give both ends the same policy")]
    PolicyNotNamed,
    /// The evidence is about another key, nonce, model, configuration or policy.
    #[error(
        "the evidence is genuine but not about this connection: another key, nonce, model, configuration \
         or policy is bound into it, as in a replay or a relay"
    )]
    Binding,
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
            Self::Simulated => "simulated",
            Self::NoRule { .. } => "no-rule",
            Self::Debug => "debug",
            Self::Migration => "migration",
            Self::Measurement { .. } => "measurement",
            Self::BelowLevel { .. } => "below-level",
            Self::TcbStatus { .. } => "tcb-status",
            Self::Advisory { .. } => "advisory",
            Self::Flag { .. } => "flag",
            Self::PolicyNotNamed => "policy-not-named",
            Self::Binding => "binding",
            Self::Crashed => "crashed",
        }
    }
}
