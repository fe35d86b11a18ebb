//! One file a command.

mod attest;
mod ckks;
pub(crate) mod compare;
mod completions;
mod dealer;
mod doctor;
mod ending;
mod health;
mod inspect;
mod man;
mod party;
mod plan;
mod run;
mod serve;

use crate::failure::Result;
use clap::Subcommand;

/// The commands.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Check what on this machine helps or hinders
    Doctor(doctor::Doctor),
    /// Describe a model and what each backend can do with it
    Inspect(inspect::Inspect),
    /// Decide how to compute a model: ring, proven ranges, exact cost, who learns what
    Plan(plan::PlanCommand),
    /// Compute a model on inputs from a file
    Run(run::Run),
    /// Serve models over HTTP: the Open Inference Protocol
    Serve(serve::Serve),
    /// Make a key for a client of `serve --api-keys`
    ServeKey(serve::ServeKey),
    /// Ask a server or a party whether it is well: exit code 0 if it is
    Health(health::Health),
    /// Measure models under several protections, side by side
    Compare(compare::Compare),
    /// Make a client's keys for a plan via ckks
    Keygen(ckks::Keygen),
    /// Encrypt samples with a client's key
    Encrypt(ckks::Encrypt),
    /// Compute a model on a client's request, without its secret key
    Evaluate(ckks::Evaluate),
    /// Decrypt an answer with the client's key
    Decrypt(ckks::Decrypt),
    /// Run compute parties on machines of their own, and give them models
    #[command(subcommand)]
    Party(party::Party),
    /// Deal keys ahead of time, for servers whose dealer is not there (via fss, beaver)
    #[command(subcommand)]
    Dealer(dealer::Dealer),
    /// Trusted hardware: verify evidence, sign policies, seal models and keep their keys
    #[command(subcommand)]
    Attest(attest::Attest),
    /// Print completions for a shell
    Completions(completions::Completions),
    /// Write manual pages
    Man(man::Man),
}

impl Command {
    pub(crate) fn run(self) -> Result<()> {
        match self {
            Self::Doctor(command) => command.run(),
            Self::Inspect(command) => command.run(),
            Self::Plan(command) => command.run(),
            Self::Run(command) => command.run(),
            Self::Serve(command) => command.run(),
            Self::ServeKey(command) => command.run(),
            Self::Health(command) => command.run(),
            Self::Compare(command) => command.run(),
            Self::Keygen(command) => command.run(),
            Self::Encrypt(command) => command.run(),
            Self::Evaluate(command) => command.run(),
            Self::Decrypt(command) => command.run(),
            Self::Party(command) => command.run(),
            Self::Dealer(command) => command.run(),
            Self::Attest(command) => command.run(),
            Self::Completions(command) => command.run(),
            Self::Man(command) => command.run(),
        }
    }
}
