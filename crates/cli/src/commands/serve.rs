//! `subrosa serve MODEL...`: an inference server.

use crate::failure::Result;
use crate::flags;
use crate::print;
use crate::trust::AttesterFlags;
use clap::Args;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use subrosa::attest::{BrokerAt, Enclave, is_sealed};
use subrosa::backends::Served;
use subrosa::deploy::{Fingerprint, Identity};
use subrosa::{Error, Model, Via};
use subrosa_serve::{Catalogue, Entry, Limits, Server, Tls};

/// What to serve, and how.
#[derive(Args)]
pub(crate) struct Serve {
    /// ONNX files, or sealed ones: FILE, NAME=FILE or NAME@VERSION=FILE
    #[arg(required = true, value_name = "MODEL")]
    models: Vec<String>,
    /// plain, where the server sees everything, or tee, inside trusted hardware
    #[arg(long, value_name = "BACKEND", value_parser = flags::via, default_value = "plain")]
    via: Via,
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: String,
    /// The service's name, which evidence names
    #[arg(long, default_value = "subrosa")]
    name: String,
    /// Threads of each model
    #[arg(long, value_name = "T", default_value_t = 1)]
    threads: usize,
    /// MiB of one request
    #[arg(long, value_name = "MIB", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1024))]
    max_request: u32,
    /// Samples of one request
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    max_samples: u32,
    /// Requests at a time; the next ones are answered 503
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    max_requests: u32,
    /// Connections at a time; the next ones are closed
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    max_connections: u32,
    /// Seconds for one request
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    request_time: u64,
    /// Speak TLS with this certificate chain (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// And its key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    #[command(flatten)]
    broker: BrokerFlags,
    #[command(flatten)]
    attester: AttesterFlags,
}

/// Where the keys of sealed models are.
#[derive(Args)]
struct BrokerFlags {
    /// The model owner's broker, for sealed models
    #[arg(long, value_name = "ADDRESS", requires = "broker_key")]
    broker: Option<String>,
    /// The broker's fingerprint
    #[arg(long, value_name = "FINGERPRINT", requires = "broker")]
    broker_key: Option<Fingerprint>,
    /// The folder that `party init` made for this machine
    #[arg(long, value_name = "FOLDER", default_value = "identity", requires = "broker")]
    identity: PathBuf,
}

impl Serve {
    pub(crate) fn run(self) -> Result<()> {
        let limits = self.limits();
        let enclave = self.enclave()?;
        let mut entries = Vec::new();
        for model in &self.models {
            entries.push(self.entry(model, enclave.as_ref())?);
        }
        let mut catalogue = Catalogue::new(enclave);
        for entry in entries {
            catalogue.add(entry, self.threads, &limits).map_err(library)?;
        }
        let names: Vec<String> = catalogue.names().map(|(name, version)| format!("{name}@{version}")).collect();
        let standing = catalogue.standing();
        let tls = self.tls_certificate.zip(self.tls_key).map(|(certificate, key)| Tls { certificate, key });
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().max_blocking_threads(BLOCKING).build();
        let runtime = runtime.map_err(|e| Error::Io { message: format!("cannot start threads: {e}"), hint: None })?;
        runtime.block_on(async {
            let server = Server::bind(catalogue, limits, &self.listen, tls.as_ref()).await.map_err(library)?;
            let scheme = if tls.is_some() { "https" } else { "http" };
            let url = format!("{scheme}://{}", server.address().map_err(library)?);
            print::out(&format!("{} via {} ({standing}) at {url}\n", names.join(", "), self.via))?;
            print::log(&hint(&url, self.via, names.first()));
            match server.run(told_to_end()).await {
                true => Ok(()),
                false => Err(misuse("the server ended before all requests were answered".to_owned(), "").into()),
            }
        })
    }

    fn limits(&self) -> Limits {
        let size = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
        Limits {
            body: size(self.max_request) << 20,
            samples: size(self.max_samples),
            requests: size(self.max_requests),
            connections: size(self.max_connections),
            request: Duration::from_secs(self.request_time),
            ..Limits::default()
        }
    }

    fn enclave(&self) -> Result<Option<Enclave>> {
        match self.via.served() {
            Some(Served::Plain) => Ok(None),
            Some(Served::Tee) => Ok(Some(Enclave::start(Arc::new(self.attester.attester()?), &self.name)?)),
            None => {
                let message = format!("a server answers via plain or tee, not via {}", self.via);
                Err(misuse(message, "`party run` serves protocols between parties, `evaluate` serves ckks").into())
            }
        }
    }

    fn entry(&self, text: &str, enclave: Option<&Enclave>) -> Result<Entry> {
        let (named, path) = text.split_once('=').map_or((None, text), |(name, path)| (Some(name), path));
        let (name, wanted) = match named.map(|named| (named, named.split_once('@'))) {
            None => (None, None),
            Some((name, None)) => (Some(name), None),
            Some((_, Some((name, version)))) => (Some(name), Some(number(version)?)),
        };
        let path = Path::new(path);
        let (model, version, policy) = match (is_sealed(path)?, wanted) {
            (false, wanted) => (Model::open(path)?, wanted.unwrap_or(1), None),
            (true, None) => self.unsealed(path, enclave)?,
            (true, Some(_)) => {
                return Err(misuse(format!("{text}: a sealed model has its own version"), "leave @VERSION out").into());
            }
        };
        let name = name.unwrap_or(model.name()).to_owned();
        Ok(Entry { model, name, version, policy })
    }

    /// Opens a sealed model with the broker's key.
    fn unsealed(&self, path: &Path, enclave: Option<&Enclave>) -> Result<(Model, u64, Option<[u8; 32]>)> {
        let BrokerFlags { broker, broker_key, identity } = &self.broker;
        let (Some(enclave), Some(address), Some(key)) = (enclave, broker, broker_key) else {
            let message = format!("{} is sealed", path.display());
            return Err(misuse(message, "serve it with --via tee, --broker and --broker-key").into());
        };
        let identity = Identity::load(identity).map_err(|error| Error::Io {
            message: error.to_string(),
            hint: Some("`subrosa party init` makes an identity; --identity names its folder".to_owned()),
        })?;
        let at = BrokerAt { address: address.clone(), fingerprint: *key, identity };
        let (model, version, policy) = at.open(path, enclave.attester(), enclave.service().as_bytes())?;
        Ok((model, version, Some(policy)))
    }
}

/// Threads that decode long requests and wait for hardware.
const BLOCKING: usize = 16;

fn number(version: &str) -> Result<u64> {
    let wrong =
        |_| misuse(format!("'{version}' is no version"), "give NAME@VERSION=FILE, for example lenet@2=lenet.onnx");
    Ok(version.parse().map_err(wrong)?)
}

/// A line that works.
fn hint(url: &str, via: Via, model: Option<&String>) -> String {
    let name = model.and_then(|m| m.split('@').next()).unwrap_or("MODEL");
    match via.served() {
        Some(Served::Tee) => {
            format!("try: subrosa run {name} --url {url} --via tee --policy FILE --signer HEX --input FILE")
        }
        Some(Served::Plain) | None => {
            format!("the server sees inputs and outputs; try: curl {url}/v2/models/{name}")
        }
    }
}

/// Ctrl-C, or what service managers send.
async fn told_to_end() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminated) = signal(SignalKind::terminate()) else {
        let _ = tokio::signal::ctrl_c().await;
        return;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminated.recv() => {}
    }
}

fn library(error: subrosa_serve::Error) -> Error {
    use subrosa_serve::Error as Serve;
    match error {
        Serve::Library(error) => error,
        // It may grow; what is new there concerns files, addresses and flags.
        Serve::Misuse(_) | Serve::Io { .. } | Serve::Certificate { .. } | _ => misuse(error.to_string(), ""),
    }
}

fn misuse(message: String, hint: &str) -> Error {
    Error::Misuse { message, hint: (!hint.is_empty()).then(|| hint.to_owned()) }
}
