//! Flags of whoever trusts hardware, or runs in it.

use crate::failure::Result;
use clap::Args;
use std::path::PathBuf;
use subrosa::attest::{Attester, Local, Trust};

/// Whom a client trusts.
#[derive(Args, Default)]
pub(crate) struct TrustFlags {
    /// Via tee: the signed policy that says which programs to trust
    #[arg(long, value_name = "FILE", requires = "signer")]
    policy: Option<PathBuf>,
    /// Via tee: a public key that may sign the policy (repeatable)
    #[arg(long, value_name = "HEX")]
    signer: Vec<String>,
    /// Via tee: refuse a policy with a lower serial than this one, the highest that you saw
    #[arg(long, value_name = "N", default_value_t = 0, requires = "policy")]
    policy_serial: u64,
    /// Via tee: let simulated evidence pass where the policy does too: NO CONFIDENTIALITY
    #[arg(long)]
    allow_simulated_tee: bool,
}

/// What attests a program that runs here.
#[derive(Args, Default)]
pub(crate) struct AttesterFlags {
    /// In trusted hardware: Intel's collateral or AMD's certificates for this machine, renewed by
    /// you
    #[arg(long, value_name = "FILE")]
    collateral: Option<PathBuf>,
    /// In trusted hardware: AMD's revocation list (DER)
    #[arg(long, value_name = "FILE")]
    revocation_list: Option<PathBuf>,
    /// Simulate trusted hardware with this key of 32 bytes: NO CONFIDENTIALITY
    #[cfg(feature = "simulation")]
    #[arg(long, value_name = "FILE")]
    simulate_tee: Option<PathBuf>,
}

/// Both, where client and program are one process.
#[derive(Args, Default)]
pub(crate) struct LocalFlags {
    #[command(flatten)]
    pub(crate) trust: TrustFlags,
    #[command(flatten)]
    attester: AttesterFlags,
}

impl TrustFlags {
    /// Whether anything was said of it.
    pub(crate) fn is_given(&self) -> bool {
        self.policy.is_some() || !self.signer.is_empty() || self.allow_simulated_tee
    }

    /// Whom to trust; none if nothing was said of it.
    pub(crate) fn read(&self) -> Result<Option<Trust>> {
        let read = |policy: &PathBuf| Trust::read(policy, &self.signer, self.policy_serial, self.allow_simulated_tee);
        Ok(self.policy.as_ref().map(read).transpose()?)
    }
}

impl AttesterFlags {
    pub(crate) fn attester(&self) -> Result<Attester> {
        #[cfg(feature = "simulation")]
        if let Some(key) = &self.simulate_tee {
            return Ok(Attester::simulated(key)?);
        }
        Ok(Attester::hardware(self.collateral.clone(), self.revocation_list.clone())?)
    }
}

impl LocalFlags {
    /// None if nothing was said of it.
    pub(crate) fn local(&self) -> Result<Option<Local>> {
        let Some(trust) = self.trust.read()? else { return Ok(None) };
        Ok(Some(Local::new(trust, self.attester.attester()?)))
    }
}
