//! `subrosa health URL`: for whoever supervises a container without a shell.

use crate::failure::Result;
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;
use subrosa::client::Client;

/// Whom to ask.
#[derive(Args)]
pub(crate) struct Health {
    /// What to fetch: http://HOST:PORT/v2/health/ready of a server, /metrics of a party
    url: String,
    /// What an https URL rests on: certificates, PEM
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// How long to wait for an answer
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60))]
    patience: u64,
}

impl Health {
    pub(crate) fn run(self) -> Result<()> {
        let client = Client::new(&self.url, self.ca.as_deref(), Duration::from_secs(self.patience))?;
        Ok(client.health()?)
    }
}
