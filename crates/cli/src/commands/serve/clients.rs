//! Who may ask a server, from its flags.

use crate::failure::Result;
use clap::{ArgGroup, Args};
use std::path::PathBuf;
use subrosa_serve::{ApiKeys, Clients, Tokens};

/// Who may ask, if not everybody.
#[derive(Args)]
#[command(group = ArgGroup::new("clients").multiple(true).args(["api_keys", "oidc_keys"]))]
pub(super) struct ClientFlags {
    /// Answer only clients with a key: a file of lines NAME SHA256, as `serve-key` makes them
    #[arg(long, value_name = "FILE")]
    api_keys: Option<PathBuf>,
    /// Answer only clients with a token of this OpenID Connect issuer (or a key)
    #[arg(long, value_name = "URL", requires_all = ["oidc_audience", "oidc_keys"])]
    oidc_issuer: Option<String>,
    /// The audience that tokens must be for: what the issuer calls this server
    #[arg(long, value_name = "NAME", requires = "oidc_issuer")]
    oidc_audience: Option<String>,
    /// The issuer's keys: a JSON Web Key Set, as its jwks_uri gives it; nothing is fetched
    #[arg(long, value_name = "FILE", requires = "oidc_issuer")]
    oidc_keys: Option<PathBuf>,
    /// Requests a second of each client; the next ones are answered 429
    #[arg(long, value_name = "N", value_parser = rate, requires = "clients")]
    rate: Option<f64>,
}

impl ClientFlags {
    /// Reads them; none where anybody may ask.
    pub(super) fn read(&self) -> Result<Option<Clients>> {
        self.given(|path| ApiKeys::read(path, self.rate))
    }

    /// The same while the server runs: an empty file of keys lets nobody in.
    pub(super) fn reread(&self) -> Result<Option<Clients>> {
        self.given(|path| ApiKeys::reread(path, self.rate))
    }

    fn given(&self, keys: impl Fn(&PathBuf) -> subrosa_serve::Result<ApiKeys>) -> Result<Option<Clients>> {
        let keys = self.api_keys.as_ref().map(|path| keys(path).map_err(super::library));
        let named = self.oidc_issuer.as_ref().zip(self.oidc_audience.as_ref()).zip(self.oidc_keys.as_ref());
        let tokens = named
            .map(|((issuer, audience), path)| Tokens::read(issuer, audience, path, self.rate).map_err(super::library));
        let (keys, tokens) = (keys.transpose()?, tokens.transpose()?);
        Ok((keys.is_some() || tokens.is_some()).then(|| Clients::new(keys, tokens)))
    }

    /// Whether a client has to say who it is.
    pub(super) fn are_given(&self) -> bool {
        self.api_keys.is_some() || self.oidc_keys.is_some()
    }

    /// Their files.
    pub(super) fn paths(&self) -> impl Iterator<Item = PathBuf> {
        self.api_keys.iter().chain(&self.oidc_keys).cloned()
    }
}

fn rate(text: &str) -> std::result::Result<f64, String> {
    let rate = text.parse::<f64>().ok().filter(|rate| (0.001..=1e6).contains(rate));
    rate.ok_or_else(|| "give a number of requests a second, 0.001 to 1000000".to_owned())
}
