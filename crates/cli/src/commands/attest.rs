//! `subrosa attest verify | staple | sign`: evidence of trusted hardware, without a network.

use crate::failure::{Failure, Result};
use crate::print;
use clap::{Args, Subcommand};
use std::path::PathBuf;
use std::time::SystemTime;
use subrosa::attest::{self, Case};

/// What to do with evidence.
#[derive(Subcommand)]
pub(crate) enum Attest {
    /// Say what an evidence file proves, and whether a policy accepts it
    Verify(Verify),
    /// Put evidence and its collateral into one file
    Staple(Staple),
    /// Sign a policy
    Sign(Sign),
}

/// What to verify.
#[derive(Args)]
pub(crate) struct Verify {
    /// An SGX or TDX quote, an SEV-SNP report or a Nitro document; bare or stapled
    evidence: PathBuf,
    #[command(flatten)]
    beside: Beside,
    /// A signed policy
    #[arg(long, value_name = "FILE", requires = "signer")]
    policy: Option<PathBuf>,
    /// A public key that may sign the policy (repeatable)
    #[arg(long, value_name = "HEX")]
    signer: Vec<String>,
    /// The 64 bytes that the program should have put into the evidence
    #[arg(long, value_name = "HEX")]
    report_data: Option<String>,
    /// The time to verify for: a date such as 2025-06-20T12:00:00Z, or seconds since 1970
    /// [default: now]
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<u64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What to staple.
#[derive(Args)]
pub(crate) struct Staple {
    /// The evidence
    evidence: PathBuf,
    #[command(flatten)]
    beside: Beside,
    /// Where to put both
    #[arg(long, value_name = "FILE", default_value = "evidence.sroevid")]
    output: PathBuf,
}

/// What to sign.
#[derive(Args)]
pub(crate) struct Sign {
    /// The policy, TOML
    policy: PathBuf,
    /// The owner's key: 32 random bytes
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Where to put the signed policy
    #[arg(long, value_name = "FILE", default_value = "signed-policy.toml")]
    output: PathBuf,
}

#[derive(Args)]
struct Beside {
    /// What belongs to it: JSON for SGX and TDX, certificates (PEM, DER) for SEV-SNP
    #[arg(long, value_name = "FILE")]
    collateral: Option<PathBuf>,
    /// AMD's revocation list (DER), for SEV-SNP
    #[arg(long, value_name = "FILE")]
    revocation_list: Option<PathBuf>,
}

impl Attest {
    pub(crate) fn run(self) -> Result<()> {
        match self {
            Self::Verify(command) => command.run(),
            Self::Staple(command) => command.run(),
            Self::Sign(command) => command.run(),
        }
    }
}

impl Verify {
    /// Fails, after printing, if the evidence is not trusted.
    fn run(self) -> Result<()> {
        let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let examination = attest::examine(&Case {
            evidence: self.evidence,
            collateral: self.beside.collateral,
            revocation_list: self.beside.revocation_list,
            policy: self.policy,
            signers: self.signer,
            report_data: self.report_data,
            at: self.at.unwrap_or_else(now),
        })?;
        if self.json {
            print::json(&examination)?;
        } else {
            print::out(&examination.to_string())?;
        }
        if examination.passed() { Ok(()) } else { Err(Failure::Negative) }
    }
}

impl Staple {
    fn run(self) -> Result<()> {
        let Beside { collateral, revocation_list } = &self.beside;
        attest::staple(&self.evidence, collateral.as_deref(), revocation_list.as_deref(), &self.output)?;
        print::out(&format!("evidence and collateral: {}\n", self.output.display()))
    }
}

impl Sign {
    fn run(self) -> Result<()> {
        let signer = attest::sign_policy(&self.policy, &self.key, &self.output)?;
        print::out(&format!("signed policy: {}\nsigner: {signer}\n", self.output.display()))
    }
}

fn time(text: &str) -> std::result::Result<u64, String> {
    attest::time(text).ok_or_else(|| "give a date such as 2025-06-20T12:00:00Z, or seconds since 1970".to_owned())
}
