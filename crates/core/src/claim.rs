//! What a protection promises, against whom, and who learns what.
//!
//! One [`Claim`] per protection is the single source for the docs, `plan`, the
//! comparison and the report.

use serde::Serialize;
use std::fmt;

/// How corrupted parties behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Adversary {
    /// No protection: whoever computes sees everything.
    None,
    /// Whoever runs the machine, by software: its hardware is trusted to keep the program's memory
    /// from them.
    Host,
    /// Corrupted parties follow the protocol and try to learn from what they see.
    SemiHonest,
    /// Corrupted parties may do anything; honest ones then stop without an output.
    MaliciousAbort,
}

impl fmt::Display for Adversary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Host => "the machine's host, by software alone",
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
