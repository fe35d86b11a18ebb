//! Whom an owner trusts, and what is known of a program that was judged.

use super::open_policy;
use crate::{Error, Result};
use std::path::Path;
use subrosa_tee::channel::{Awaited, Standing, seal};
use subrosa_tee::{Attested, Bound, Policy, Reason, Stapled, Verdict, verify};

/// An owner's policy, and whether a flag lets simulated evidence pass where the policy does.
#[derive(Clone, Debug)]
pub struct Trust {
    policy: Policy,
    #[cfg_attr(not(feature = "simulation"), expect(dead_code, reason = "this build has no simulation to allow"))]
    allow_simulated: bool,
}

/// A program whose evidence was accepted.
#[derive(Clone, Debug)]
pub enum Peer {
    /// Hardware vouches for it.
    Attested(Box<Attested>),
    /// Nothing does.
    #[cfg(feature = "simulation")]
    Simulated(Box<subrosa_tee::simulation::Simulated>),
}

impl Trust {
    /// Reads a signed policy whose serial is `least_serial` or more: an owner's signature stays
    /// good on the policies that came before. `allow_simulated` is the flag, one of two switches;
    /// the other is in the policy.
    ///
    /// **Errors:** [`Error::Io`]; [`Error::Input`] for a policy that is not to be used;
    /// [`Error::Misuse`] for keys that are none, and for the flag in a build that cannot
    /// simulate.
    pub fn read(policy: &Path, signers: &[String], least_serial: u64, allow_simulated: bool) -> Result<Self> {
        if allow_simulated && !cfg!(feature = "simulation") {
            return Err(Error::misuse(
                "this build has no simulation of trusted hardware to allow",
                "leave --allow-simulated-tee out; a build that can simulate is a program of its own, \
                 subrosa-simulated (docs/tee.md)",
            ));
        }
        Ok(Self { policy: open_policy(policy, signers, least_serial)?, allow_simulated })
    }

    /// The policy.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Whether the program that `stapled` speaks of is trusted, and it is about `expected`.
    ///
    /// **Errors:** the [`Reason`] why not.
    pub fn judge(&self, stapled: &Stapled, expected: &Bound, now: u64) -> std::result::Result<Peer, Reason> {
        #[cfg(feature = "simulation")]
        if self.allow_simulated && matches!(stapled.evidence, subrosa_tee::Evidence::Simulated(_)) {
            use subrosa_tee::simulation::{AllowSimulated, admit};
            let flag = AllowSimulated::by_flag();
            return admit(&stapled.evidence, &self.policy, flag, expected, now).map(|s| Peer::Simulated(Box::new(s)));
        }
        match verify(&stapled.evidence, &stapled.collateral, &self.policy, expected, now) {
            Verdict::Attested(attested) => Ok(Peer::Attested(attested)),
            Verdict::Untrusted(reason) => Err(reason),
        }
    }
}

impl Peer {
    /// How outputs name it: `attested`, or in capitals that nothing is confidential.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Attested(_) => Attested::LABEL,
            #[cfg(feature = "simulation")]
            Self::Simulated(_) => subrosa_tee::simulation::LABEL,
        }
    }

    /// Whether hardware vouches for it.
    pub fn attested(&self) -> bool {
        match self {
            Self::Attested(_) => true,
            #[cfg(feature = "simulation")]
            Self::Simulated(_) => false,
        }
    }

    /// What its evidence is about.
    pub fn bound(&self) -> &Bound {
        match self {
            Self::Attested(peer) => peer.bound(),
            #[cfg(feature = "simulation")]
            Self::Simulated(peer) => peer.bound(),
        }
    }

    /// The last second (since 1970) at which something may be sent to it.
    pub fn usable_until(&self) -> u64 {
        match self {
            Self::Attested(peer) => peer.usable_until(),
            #[cfg(feature = "simulation")]
            Self::Simulated(peer) => peer.usable_until(),
        }
    }

    /// Encrypts a request to it.
    ///
    /// **Errors:** [`Error::Peer`] when the verdict is too old, or the system has no randomness.
    pub fn seal(&self, request: &[u8], now: u64) -> Result<(Vec<u8>, Awaited)> {
        let sealed = match self {
            Self::Attested(peer) => seal(&**peer, request, now),
            #[cfg(feature = "simulation")]
            Self::Simulated(peer) => seal(&**peer, request, now),
        };
        Ok(sealed?)
    }
}
