//! What a protection promises, against whom, and who learns what.
//!
//! One [`Claim`] per protection is the single source for the docs, `plan`, the
//! comparison and the report.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How corrupted parties behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Adversary {
    /// No protection: whoever computes sees everything.
    None,
    /// Corrupted parties follow the protocol and try to learn from what they see.
    SemiHonest,
    /// Corrupted parties may do anything; honest ones then stop without an output.
    MaliciousAbort,
}

impl fmt::Display for Adversary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::SemiHonest => "semi-honest",
            Self::MaliciousAbort => "malicious (abort)",
        })
    }
}

/// The security claim of one protection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Claim {
    /// How corrupted parties behave.
    pub adversary: Adversary,
    /// Number of compute parties.
    pub parties: usize,
    /// How many compute parties may collude without learning anything.
    pub threshold: usize,
    /// Computational security in bits, 0 where there is none to state.
    pub security_bits: u32,
    /// One sentence: who computes and what must not happen.
    pub summary: &'static str,
    /// Who learns what, one plain sentence each.
    pub learns: &'static [&'static str],
}

/// On whom privacy rests. Two rows are compared at equal trust only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trust {
    /// On the machine that computes: there is no protection.
    #[default]
    Machine,
    /// On one party that all must trust: it deals the randomness, and can open everything.
    OneDealingParty,
    /// On the maker of the hardware, and on the program inside it.
    Hardware,
    /// On servers that do not collude, and that all follow the protocol.
    Majority,
    /// On servers that do not collude; one of them may cheat.
    MajorityCheating,
    /// On a dealer that colludes with nobody and on any one of the parties; all follow the
    /// protocol.
    Dealer,
    /// On any one of the parties; all follow the protocol.
    OneParty,
    /// On nobody who computes: the client alone holds the key; the server follows the protocol.
    Key,
}

impl Trust {
    /// Every setting, roughly from the most trust to the least.
    pub const ALL: [Self; 8] = [
        Self::Machine,
        Self::OneDealingParty,
        Self::Hardware,
        Self::Majority,
        Self::MajorityCheating,
        Self::Dealer,
        Self::OneParty,
        Self::Key,
    ];

    /// What a claim between parties rests on; `dealer`: whether somebody apart deals.
    pub fn between(claim: &Claim, dealer: bool) -> Self {
        match claim.adversary {
            Adversary::None => Self::Machine,
            Adversary::SemiHonest if dealer => Self::Dealer,
            Adversary::SemiHonest if claim.threshold + 1 >= claim.parties => Self::OneParty,
            Adversary::SemiHonest => Self::Majority,
            Adversary::MaliciousAbort => Self::MajorityCheating,
        }
    }

    /// In a few words, as the head of a group.
    pub fn short(self) -> &'static str {
        match self {
            Self::Machine => "the machine that computes",
            Self::OneDealingParty => "the party that deals",
            Self::Hardware => "the hardware's maker",
            Self::Majority => "servers: none collude",
            Self::MajorityCheating => "servers: none collude, one may cheat",
            Self::Dealer => "the dealer, and one of the parties",
            Self::OneParty => "any one of the parties",
            Self::Key => "nobody: the client has the key",
        }
    }

    /// Who must be trusted with what, for so many parties of whom `threshold` may collude.
    pub fn words(self, parties: usize, threshold: usize) -> String {
        let collude = threshold + 1;
        match self {
            Self::Machine => "the machine that computes: it sees everything".to_owned(),
            Self::OneDealingParty => "the party that deals: it can open everything".to_owned(),
            Self::Hardware => "the hardware's maker, and the program inside".to_owned(),
            Self::Majority => format!("{parties} servers: no {collude} collude, all follow the protocol"),
            Self::MajorityCheating => format!("{parties} servers: no {collude} collude, one may cheat"),
            Self::Dealer => {
                format!("the dealer colludes with none of {parties}; one party is honest, all follow the protocol")
            }
            Self::OneParty => format!("one of {parties} parties is honest, all follow the protocol"),
            Self::Key => "nobody with data; the server follows the protocol".to_owned(),
        }
    }

    /// Whether whoever accepts `other` can accept this as well.
    pub fn asks_no_more_than(self, other: Self) -> bool {
        self == other
            || match other {
                Self::Machine => true,
                Self::OneDealingParty => matches!(self, Self::Dealer | Self::OneParty),
                Self::Majority => self == Self::MajorityCheating,
                Self::Dealer => self == Self::OneParty,
                Self::Hardware | Self::MajorityCheating | Self::OneParty | Self::Key => false,
            }
    }
}
