//! The table of protections: one row each, from which the command line, the plan, the
//! comparison and the documentation take name, claim and source.

use crate::{Error, Result};
use std::fmt;
use std::str::FromStr;
use subrosa_core::{Adversary, Claim};
use subrosa_mpc::ProtocolKind;

/// How a model is computed, as `--via` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Via {
    /// On one machine, in the clear: the reference.
    Plain,
    /// By three parties over replicated secret shares.
    Rep3,
    /// By one server on ciphertexts that only the client can open.
    Ckks,
}

/// What `plain` promises: nothing.
const PLAIN: Claim = Claim {
    adversary: Adversary::None,
    parties: 1,
    threshold: 0,
    security_bits: 0,
    summary: "one machine computes in the clear: no protection, the reference for all others",
    learns: &["the machine learns the model, the inputs and the outputs"],
};

impl Via {
    /// Every backend.
    pub const ALL: [Self; 3] = [Self::Plain, Self::Rep3, Self::Ckks];

    /// Those that take any model: what is compared unless others are named. Homomorphic
    /// encryption takes polynomial models only.
    pub const ANY_MODEL: [Self; 2] = [Self::Plain, Self::Rep3];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Ckks => "ckks",
            Self::Rep3 => ProtocolKind::Rep3.name(),
        }
    }

    /// Against whom it protects, and who learns what.
    pub fn claim(self) -> Claim {
        match self {
            Self::Plain => PLAIN,
            Self::Ckks => subrosa_he::CLAIM,
            Self::Rep3 => ProtocolKind::Rep3.claim(),
        }
    }

    /// Where it is described.
    pub fn source(self) -> &'static str {
        match self {
            Self::Plain => "tract, on 32-bit floating point",
            Self::Ckks => subrosa_he::SOURCE,
            Self::Rep3 => ProtocolKind::Rep3.source(),
        }
    }

    /// The protocol behind it; none for [`Via::Plain`] and [`Via::Ckks`].
    pub fn protocol(self) -> Option<ProtocolKind> {
        match self {
            Self::Plain | Self::Ckks => None,
            Self::Rep3 => Some(ProtocolKind::Rep3),
        }
    }
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Via {
    type Err = Error;

    /// **Errors:** [`Error::Misuse`] listing the names there are.
    fn from_str(name: &str) -> Result<Self> {
        let wanted = name.to_ascii_lowercase();
        Self::ALL.into_iter().find(|via| via.name() == wanted).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|via| via.name()).collect();
            Error::misuse(format!("unknown backend '{name}': choose one of {}", names.join(", ")), "")
        })
    }
}

impl serde::Serialize for Via {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_unknown_ones_list_the_choices() {
        for via in Via::ALL {
            assert_eq!(via.name().parse::<Via>().unwrap(), via);
        }
        let error = "rep4".parse::<Via>().unwrap_err();
        assert_eq!(error.to_string(), "unknown backend 'rep4': choose one of plain, rep3, ckks");
    }

    #[test]
    fn every_claim_says_who_learns_what() {
        for via in Via::ALL {
            let claim = via.claim();
            assert!(!claim.learns.is_empty() && !claim.summary.is_empty() && !via.source().is_empty());
            assert!(claim.threshold < claim.parties);
        }
    }
}
