//! `subrosa attest ...`: evidence of trusted hardware, and what its owners do with it.

use super::ending::end_when_told;
use crate::failure::{Failure, Result};
use crate::print;
use crate::remote;
use clap::{Args, Subcommand};
use std::path::PathBuf;
use std::time::SystemTime;
use subrosa::Error;
use subrosa::attest::measure::Measured;
use subrosa::attest::{self, BrokerConfig, BrokerServer, Case, Trust};

/// What to do with evidence.
#[derive(Subcommand)]
pub(crate) enum Attest {
    /// Say what an evidence file proves, and whether a policy accepts it
    Verify(Verify),
    /// Put evidence and its collateral into one file
    Staple(Staple),
    /// Sign a policy
    Sign(Sign),
    /// Measure files: what a build is expected to be attested as
    Measure(Measure),
    /// Write a manifest for Gramine, in which nothing undoes the enclave
    Manifest(Manifest),
    /// Encrypt a model for programs that a policy accepts
    Seal(Seal),
    /// Keep the keys of sealed models, and give them to attested programs
    Broker(Keep),
    /// Print the public key of a simulator, for a policy's `simulators`
    #[cfg(feature = "simulation")]
    Simulator(Simulator),
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
    /// Refuse a policy with a lower serial than this one, the highest that you saw
    #[arg(long, value_name = "N", default_value_t = 0, requires = "policy")]
    policy_serial: u64,
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
            Self::Measure(command) => command.run(),
            Self::Manifest(command) => command.run(),
            Self::Seal(command) => command.run(),
            Self::Broker(command) => command.run(),
            #[cfg(feature = "simulation")]
            Self::Simulator(command) => command.run(),
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
            least_serial: self.policy_serial,
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

/// What to measure.
#[derive(Args)]
pub(crate) struct Measure {
    /// A Nitro image, a Gramine manifest or signature, a program
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Measure {
    /// Fails, after printing, if something must be mended first.
    fn run(self) -> Result<()> {
        let measured = self.files.iter().map(|f| Measured::of(f)).collect::<subrosa::Result<Vec<_>>>()?;
        match self.json {
            true => print::json(&measured)?,
            false => print::out(&measured.iter().map(ToString::to_string).collect::<String>())?,
        }
        if measured.iter().all(|m| m.findings.is_empty()) { Ok(()) } else { Err(Failure::Negative) }
    }
}

/// What to run in an enclave.
#[derive(Args)]
pub(crate) struct Manifest {
    /// The program's file name, beside the manifest
    #[arg(default_value = "subrosa")]
    program: String,
    /// A file that it reads, beside the manifest; measured (repeatable)
    #[arg(long = "file", value_name = "NAME")]
    files: Vec<String>,
    /// It also reads collateral.json, which you renew while it runs; not measured
    #[arg(long)]
    renewed_collateral: bool,
    /// Memory of the enclave, MiB: a power of two
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    memory: u32,
    /// Threads, Gramine's own included
    #[arg(long, value_name = "T", default_value_t = 16)]
    threads: u32,
    /// The program's arguments; measured
    #[arg(last = true)]
    arguments: Vec<String>,
}

impl Manifest {
    fn run(self) -> Result<()> {
        print::out(&attest::manifest(&attest::Manifest {
            program: self.program,
            arguments: self.arguments,
            files: self.files,
            renewed: self.renewed_collateral,
            memory_mib: self.memory,
            threads: self.threads,
        })?)
    }
}

/// What to seal.
#[derive(Args)]
pub(crate) struct Seal {
    /// An ONNX file
    model: PathBuf,
    /// Its version: grows
    #[arg(long, value_name = "N")]
    version: u64,
    /// The owner's signed policy
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// The public key that signed it
    #[arg(long, value_name = "HEX")]
    signer: String,
    /// Where the sealed model goes
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Where its key goes: a new file, for the broker alone
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

impl Seal {
    fn run(self) -> Result<()> {
        let owner = Trust::read(&self.policy, &[self.signer], 0, false)?;
        attest::seal_model(&self.model, self.version, &owner, &self.output, &self.key)?;
        let (output, key) = (self.output.display(), self.key.display());
        print::out(&format!("sealed model: {output}\nits key, for the broker alone: {key}\n"))
    }
}

/// A broker.
#[derive(Args)]
pub(crate) struct Keep {
    /// Models, their keys and policies, and who may ask
    #[arg(long, value_name = "FILE", default_value = "broker.toml")]
    config: PathBuf,
    /// The folder that `party init` made for this machine
    #[arg(long, value_name = "FOLDER", default_value = "identity")]
    identity: PathBuf,
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7300")]
    listen: String,
    /// Remembers the oldest allowed versions: keep it where it cannot be rolled back
    #[arg(long, value_name = "FILE", default_value = "broker-state.json")]
    state: PathBuf,
    /// Let simulated evidence have keys for trials, where the policy does too
    #[arg(long)]
    allow_simulated_tee: bool,
}

impl Keep {
    fn run(self) -> Result<()> {
        end_when_told()?;
        let config = BrokerConfig::read(&self.config)?;
        let identity = remote::identity(&self.identity)?;
        let server = BrokerServer::new(&config, identity, &self.state, self.allow_simulated_tee)?;
        let listener = std::net::TcpListener::bind(&self.listen)
            .map_err(|e| Error::Io { message: format!("cannot listen at {}: {e}", self.listen), hint: None })?;
        print::out(&format!("broker {} listens at {}\n", server.fingerprint(), listener.local_addr()?))?;
        server.serve(&listener, &|line| print::log(&format!("{} {line}", subrosa::report_html::utc_now())));
        Ok(())
    }
}

/// A simulator.
#[cfg(feature = "simulation")]
#[derive(Args)]
pub(crate) struct Simulator {
    /// Its key: 32 random bytes
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

#[cfg(feature = "simulation")]
impl Simulator {
    fn run(self) -> Result<()> {
        print::out(&format!("{}\n", attest::simulator_public_key(&self.key)?))
    }
}

fn time(text: &str) -> std::result::Result<u64, String> {
    attest::time(text).ok_or_else(|| "give a date such as 2025-06-20T12:00:00Z, or seconds since 1970".to_owned())
}
