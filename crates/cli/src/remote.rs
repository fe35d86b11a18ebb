//! Flags of whoever talks to compute parties elsewhere.

use crate::failure::Result;
use crate::print;
use clap::Args;
use std::path::{Path, PathBuf};
use subrosa::deploy::{Cluster, ClusterConfig, Identity, IdentityError, OpenOptions, SessionId};
use subrosa::{Error, Network};

/// The parties, and who asks.
#[derive(Args)]
pub(crate) struct ClusterFlags {
    /// Who takes part
    #[arg(long, value_name = "FILE", default_value = "subrosa.toml")]
    pub(crate) cluster: PathBuf,
    /// The folder that `party init` made for this machine
    #[arg(long, value_name = "FOLDER", default_value = "identity")]
    pub(crate) identity: PathBuf,
}

impl ClusterFlags {
    pub(crate) fn parts(&self) -> Result<(ClusterConfig, Identity)> {
        Ok((ClusterConfig::read(&self.cluster)?, identity(&self.identity)?))
    }

    pub(crate) fn connect(&self) -> Result<Cluster> {
        let (config, identity) = self.parts()?;
        Ok(Cluster::new(config, identity)?)
    }
}

/// The same where a cluster is one way of several.
#[derive(Args)]
pub(crate) struct RemoteFlags {
    /// Compute by the parties of this subrosa.toml, on their machines; with --url through the gateway there, to which
    /// this machine needs no identity
    #[arg(long, value_name = "FILE", conflicts_with = "simulate")]
    pub(crate) cluster: Option<PathBuf>,
    /// The folder that `party init` made for this machine
    #[arg(long, value_name = "FOLDER", default_value = "identity", requires = "cluster")]
    identity: PathBuf,
    /// Sessions at a time: one computes while another waits for the network
    #[arg(long, value_name = "N", default_value_t = 1, requires = "cluster", conflicts_with = "url")]
    lanes: usize,
    /// Who gets the results, if not this machine: a receiver's name
    #[arg(long, value_name = "NAME", requires = "cluster", conflicts_with_all = ["verify", "url"])]
    receiver: Option<String>,
    /// Imitate a network between parties of one machine: lan, wan, or RTT,BANDWIDTH
    #[arg(long, value_name = "SHAPE")]
    pub(crate) network: Option<Network>,
}

impl RemoteFlags {
    pub(crate) fn connect(&self) -> Result<Option<Cluster>> {
        let Some(path) = &self.cluster else { return Ok(None) };
        Ok(Some(Cluster::new(ClusterConfig::read(path)?, identity(&self.identity)?)?))
    }

    /// For `samples` in batches of `batch`. Prints the code that a receiver elsewhere needs.
    pub(crate) fn options(&self, batch: usize, samples: usize) -> Result<OpenOptions> {
        let receiver = match &self.receiver {
            None => None,
            Some(name) => {
                let code = SessionId::random()?;
                print::log(&format!("the results go to {name}, who runs now: subrosa party receive {code}"));
                Some((name.clone(), code))
            }
        };
        let lanes = self.lanes.clamp(1, samples.div_ceil(batch.max(1)).max(1));
        Ok(OpenOptions { lanes, batch, network: self.network, receiver })
    }
}

/// The identity in a folder.
///
/// **Errors:** [`Error::Io`], with a hint where there is none.
pub(crate) fn identity(folder: &Path) -> Result<Identity> {
    Identity::load(folder).map_err(|error| {
        // The others say themselves what to do.
        let missing = matches!(error, IdentityError::Io { .. });
        let hint = missing.then(|| "`subrosa party init` makes an identity; --identity names its folder".to_owned());
        Error::Io { message: error.to_string(), hint }.into()
    })
}
