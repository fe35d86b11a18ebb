//! Who makes a program's evidence: the hardware that it runs in, or in builds that have it a
//! simulator.

use super::read;
use super::source::Source;
use crate::{Error, Result};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use subrosa_tee::evidence::MAX_COLLATERAL;
use subrosa_tee::{Bound, Collateral, Evidence, SnpCollateral, Stapled};

/// What can attest this program.
pub enum Attester {
    /// The hardware that it runs in.
    Hardware(Hardware),
    /// Nothing.
    #[cfg(feature = "simulation")]
    Simulated(subrosa_tee::simulation::Simulator),
}

/// Hardware, and where its collateral is kept up to date.
#[derive(Debug)]
pub struct Hardware {
    source: Source,
    collateral: Option<PathBuf>,
    revocation_list: Option<PathBuf>,
    /// What is written and what is read back are files that all threads share.
    one_at_a_time: Mutex<()>,
}

impl Attester {
    /// The hardware that this program runs in. `collateral` and `revocation_list` are files that
    /// somebody renews; they are read again for each piece of evidence.
    ///
    /// **Errors:** [`Error::Misuse`] where there is none, saying what was looked for.
    pub fn hardware(collateral: Option<PathBuf>, revocation_list: Option<PathBuf>) -> Result<Self> {
        let source = Source::detect().ok_or_else(unavailable)?;
        Ok(Self::Hardware(Hardware { source, collateral, revocation_list, one_at_a_time: Mutex::default() }))
    }

    /// A simulator with the 32 secret bytes in `key`: evidence of nothing.
    ///
    /// **Errors:** [`Error::Io`]; [`Error::Misuse`] for a file that is no key.
    #[cfg(feature = "simulation")]
    pub fn simulated(key: &std::path::Path) -> Result<Self> {
        Ok(Self::Simulated(subrosa_tee::simulation::Simulator::from_bytes(&*super::secret_key(key)?)))
    }

    /// What outputs say of its evidence, if it is evidence of nothing.
    pub fn warning(&self) -> Option<&'static str> {
        match self {
            Self::Hardware(_) => None,
            #[cfg(feature = "simulation")]
            Self::Simulated(_) => Some(subrosa_tee::simulation::LABEL),
        }
    }

    /// Evidence about `bound`, with its collateral.
    ///
    /// **Errors:** [`Error::Io`], [`Error::Misuse`]: the machine does not attest, or there is no
    /// collateral to staple.
    pub fn attest(&self, bound: &Bound) -> Result<Stapled> {
        match self {
            Self::Hardware(hardware) => hardware.attest(bound),
            #[cfg(feature = "simulation")]
            Self::Simulated(simulator) => Ok(Stapled {
                evidence: simulator.attest(bound, super::now()),
                collateral: subrosa_tee::Collateral::Simulated,
            }),
        }
    }
}

impl Hardware {
    fn attest(&self, bound: &Bound) -> Result<Stapled> {
        let turn = self.one_at_a_time.lock().unwrap_or_else(PoisonError::into_inner);
        let made = self.source.attest(bound)?;
        drop(turn);
        let file = |path: &Option<PathBuf>| path.as_deref().map(|path| read(path, MAX_COLLATERAL)).transpose();
        let (collateral, list) = (file(&self.collateral)?, file(&self.revocation_list)?);
        if let (Some(given), None) = (made.collateral, &collateral) {
            return Ok(Stapled { evidence: made.evidence, collateral: listing(given, list) });
        }
        let bytes = match &made.evidence {
            Evidence::Dcap(bytes) | Evidence::Snp(bytes) | Evidence::Nitro(bytes) | Evidence::Simulated(bytes) => bytes,
        };
        Stapled::import(bytes, collateral.as_deref(), list.as_deref()).map_err(|reason| {
            Error::misuse(
                format!("the evidence cannot be stapled: {reason}"),
                "give --collateral FILE, which a PCCS client or AMD's key service wrote for this machine",
            )
        })
    }
}

/// What the host gave, with the revocation list beside it if there is one: hosts give certificates
/// alone.
fn listing(given: Collateral, list: Option<Vec<u8>>) -> Collateral {
    match (given, list) {
        (Collateral::Snp(given), Some(list)) => Collateral::Snp(SnpCollateral { revocation_list: Some(list), ..given }),
        (given, _) => given,
    }
}

/// Why there is no run via tee on this machine: nobody said whom to trust, or there is nothing
/// that attests.
pub(crate) fn not_given() -> Error {
    match Source::detect() {
        None => unavailable(),
        Some(_) => Error::misuse("via tee takes a policy to judge the evidence by", "give --policy and --signer"),
    }
}

/// Why this program cannot be attested here.
fn unavailable() -> Error {
    let simulation = match cfg!(feature = "simulation") {
        true => "",
        false => ", and this build cannot simulate it",
    };
    Error::misuse(
        format!("this machine has no trusted hardware that could attest this program{simulation}"),
        "run it in SGX under Gramine, in a TDX or SEV-SNP machine with Linux 6.7, or in a Nitro enclave; \
         `subrosa doctor` says what is here",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_goes_beside_what_the_host_gives() {
        let given =
            || Collateral::Snp(SnpCollateral { certificate: vec![1], intermediate: None, revocation_list: None });
        let Collateral::Snp(both) = listing(given(), Some(vec![2])) else { unreachable!() };
        assert_eq!((both.certificate, both.revocation_list), (vec![1], Some(vec![2])));
        assert_eq!(listing(given(), None), given());
        assert_eq!(listing(Collateral::Nitro, Some(vec![2])), Collateral::Nitro, "it is AMD's list");
    }
}
