//! The table of protections: one row each, from which the command line, the plan, the
//! comparison and the documentation take name, claim and source.

use crate::{Error, Result};
use std::fmt;
use std::str::FromStr;
use subrosa_core::{Adversary, Claim, Row, Trust};
use subrosa_mpc::ProtocolKind;

/// How a model is computed, as `--via` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Via {
    /// On one machine, in the clear: the reference.
    Plain,
    /// By three parties over replicated secret shares.
    Rep3,
    /// By three parties over replicated secret shares, one of whom may deviate.
    Rep3Malicious,
    /// By four parties over replicated secret shares, one of whom may deviate.
    Rep4,
    /// By two parties over secret shares, with a dealer.
    Beaver2,
    /// By three parties over secret shares, with a dealer.
    Beaver3,
    /// By four parties over secret shares, with a dealer.
    Beaver4,
    /// By five parties over secret shares, with a dealer.
    Beaver5,
    /// By two parties on masked values, with a dealer of comparison keys.
    Fss,
    /// By one server on ciphertexts that only the client can open.
    Ckks,
    /// On one machine, inside hardware that keeps the program's memory from its host.
    Tee,
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

/// What `tee` promises, where hardware vouches for the program.
const TEE: Claim = Claim {
    adversary: Adversary::Host,
    parties: 1,
    threshold: 0,
    security_bits: 128,
    summary: "one machine computes inside trusted hardware: its host sees neither model, inputs nor outputs, as far \
              as the hardware's maker is right",
    learns: &[
        "the program inside learns the model, the inputs and the outputs; its evidence says which program it is",
        "the host learns sizes and times, and whatever attacks on the hardware give (docs/tee.md)",
        "the client learns the outputs, and the hash of the model",
    ],
};

/// What `tee` promises where nothing vouches for the program.
pub(crate) const SIMULATED_TEE: Claim = Claim {
    adversary: Adversary::None,
    parties: 1,
    threshold: 0,
    security_bits: 0,
    summary: "SIMULATED, NO CONFIDENTIALITY: one machine computes in the clear, behind evidence of nothing",
    learns: &["the machine learns the model, the inputs and the outputs: no hardware protects them"],
};

/// What a protocol with a dealer promises where party 0 deals for itself.
const SELF_DEALT: Claim = Claim {
    adversary: Adversary::None,
    parties: 0,
    threshold: 0,
    security_bits: 0,
    summary: "SELF-DEALT, NO PROTECTION FROM PARTY 0: it deals the random numbers itself and can open everything; for \
              measuring only",
    learns: &[
        "party 0, by --insecure-self-dealer: everything, as it knows the masks that it deals",
        "each other party: what it would learn with a dealer apart, unless party 0 tells it more",
        "result receiver: the output, and what it would learn with a dealer apart",
    ],
};

impl Via {
    /// Every backend.
    pub const ALL: [Self; 11] = [
        Self::Plain,
        Self::Rep3,
        Self::Rep3Malicious,
        Self::Rep4,
        Self::Beaver2,
        Self::Beaver3,
        Self::Beaver4,
        Self::Beaver5,
        Self::Fss,
        Self::Ckks,
        Self::Tee,
    ];

    /// Those that take any model: what is compared unless others are named. Homomorphic
    /// encryption takes polynomial models only.
    pub const ANY_MODEL: [Self; 2] = [Self::Plain, Self::Rep3];

    /// Its name.
    pub fn name(self) -> &'static str {
        self.about().0
    }

    /// Against whom it protects, and who learns what.
    pub fn claim(self) -> Claim {
        self.about().1
    }

    /// What is left of the claim where party 0 deals for itself.
    pub(crate) fn self_dealt(self) -> Claim {
        Claim { parties: self.claim().parties, ..SELF_DEALT }
    }

    /// What is left of the claim in these rows, by what was asked for in any that is of this backend.
    pub fn claim_in(self, rows: &[Row]) -> Claim {
        let any = |of: fn(&Row) -> bool| rows.iter().any(|r| r.backend == self.name() && of(r));
        match (any(Row::simulated), any(Row::self_dealt)) {
            (true, _) => SIMULATED_TEE,
            (false, true) => self.self_dealt(),
            (false, false) => self.claim(),
        }
    }

    /// On whom its privacy rests.
    pub fn trust(self) -> Trust {
        match self.kind() {
            Kind::Plain => Trust::Machine,
            Kind::Ckks => Trust::Key,
            Kind::Tee => Trust::Hardware,
            Kind::Parties(protocol) => Trust::between(&protocol.claim(), protocol.dealer().is_some()),
        }
    }

    /// Where it is described.
    pub fn source(self) -> &'static str {
        self.about().2
    }

    /// The protocol behind it; none where there are no parties.
    pub fn protocol(self) -> Option<ProtocolKind> {
        match self.kind() {
            Kind::Plain | Kind::Ckks | Kind::Tee => None,
            Kind::Parties(protocol) => Some(protocol),
        }
    }

    /// Name, claim, source.
    fn about(self) -> (&'static str, Claim, &'static str) {
        match self.kind() {
            Kind::Plain => ("plain", PLAIN, "tract, on 32-bit floating point"),
            Kind::Ckks => ("ckks", subrosa_he::CLAIM, subrosa_he::SOURCE),
            Kind::Tee => ("tee", TEE, "RFC 9180 (HPKE) to a key in the evidence; tract inside"),
            Kind::Parties(protocol) => (protocol.name(), protocol.claim(), protocol.source()),
        }
    }

    /// How one server answers for it over HTTP, if one does.
    pub fn served(self) -> Option<Served> {
        match self.kind() {
            Kind::Plain => Some(Served::Plain),
            Kind::Tee => Some(Served::Tee),
            Kind::Ckks => Some(Served::Ckks),
            // Where an owner needs to be told nothing by the parties.
            Kind::Parties(protocol) => protocol.sharing().map(|_| Served::Shares),
        }
    }

    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::Plain => Kind::Plain,
            Self::Ckks => Kind::Ckks,
            Self::Tee => Kind::Tee,
            Self::Rep3 => Kind::Parties(ProtocolKind::Rep3),
            Self::Rep3Malicious => Kind::Parties(ProtocolKind::Rep3Malicious),
            Self::Rep4 => Kind::Parties(ProtocolKind::Rep4),
            Self::Beaver2 => Kind::Parties(ProtocolKind::Beaver2),
            Self::Beaver3 => Kind::Parties(ProtocolKind::Beaver3),
            Self::Beaver4 => Kind::Parties(ProtocolKind::Beaver4),
            Self::Beaver5 => Kind::Parties(ProtocolKind::Beaver5),
            Self::Fss => Kind::Parties(ProtocolKind::Fss),
        }
    }
}

/// What an inference server offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// It sees inputs and outputs.
    Plain,
    /// Inputs and outputs are encrypted to a program inside trusted hardware.
    Tee,
    /// It computes on ciphertexts that only the client can open.
    Ckks,
    /// It passes sealed shares on to parties.
    Shares,
}

/// The families of protections: what code that differs between them matches on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// In the clear.
    Plain,
    /// A protocol between parties.
    Parties(ProtocolKind),
    /// Homomorphic encryption.
    Ckks,
    /// Trusted hardware.
    Tee,
}

impl From<ProtocolKind> for Via {
    fn from(protocol: ProtocolKind) -> Self {
        match protocol {
            ProtocolKind::Rep3 => Self::Rep3,
            ProtocolKind::Rep3Malicious => Self::Rep3Malicious,
            ProtocolKind::Rep4 => Self::Rep4,
            ProtocolKind::Beaver2 => Self::Beaver2,
            ProtocolKind::Beaver3 => Self::Beaver3,
            ProtocolKind::Beaver4 => Self::Beaver4,
            ProtocolKind::Beaver5 => Self::Beaver5,
            ProtocolKind::Fss => Self::Fss,
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
        let error = "rep5".parse::<Via>().unwrap_err();
        let choices = "plain, rep3, rep3-malicious, rep4, beaver, beaver3, beaver4, beaver5, fss, ckks, tee";
        assert_eq!(error.to_string(), format!("unknown backend 'rep5': choose one of {choices}"));
    }

    #[test]
    fn each_rests_on_whom_its_claim_says() {
        let expected = [
            (Via::Plain, Trust::Machine),
            (Via::Rep3, Trust::Majority),
            (Via::Rep3Malicious, Trust::MajorityCheating),
            (Via::Rep4, Trust::MajorityCheating),
            (Via::Beaver2, Trust::Dealer),
            (Via::Beaver5, Trust::Dealer),
            (Via::Fss, Trust::Dealer),
            (Via::Ckks, Trust::Key),
            (Via::Tee, Trust::Hardware),
        ];
        for (via, trust) in expected {
            assert_eq!(via.trust(), trust, "{via}");
        }
    }

    #[test]
    fn a_plan_whose_party_deals_for_itself_claims_nothing() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/breast_cancer_logreg.onnx");
        let options = crate::PlanOptions { via: Via::Beaver3, insecure_self_dealer: true, ..Default::default() };
        let plan = crate::Model::open(path).unwrap().plan(&options).unwrap();
        let sheet = plan.sheet();
        assert_eq!((sheet.claim, sheet.claim.parties), (Via::Beaver3.self_dealt(), 3));
        assert_eq!((sheet.claim.adversary, sheet.claim.security_bits), (Adversary::None, 0));
        assert!(plan.to_string().contains("NO PROTECTION FROM PARTY 0") && !plan.to_string().contains("128-bit"));
        assert!(sheet.learns.iter().any(|s| s.contains("party 0, by --insecure-self-dealer: everything")));
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
