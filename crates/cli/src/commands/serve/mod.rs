//! `subrosa serve MODEL...`: an inference server.

mod clients;
mod key;
mod models;
mod reload;

pub(crate) use key::ServeKey;

use super::ending::told_to_end;
use crate::failure::Result;
use crate::print;
use crate::trust::AttesterFlags;
use clap::Args;
use clients::ClientFlags;
use models::ModelFlags;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use subrosa::attest::Enclave;
use subrosa::backends::Served;
use subrosa::trace::Tracer;
use subrosa::{Error, Via};
use subrosa_serve::{Catalogue, Clients, Limits, Server, Tls};

/// What to serve, and how.
#[derive(Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    models: ModelFlags,
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: String,
    /// Via plain: speak gRPC too, here
    #[arg(long, value_name = "ADDRESS")]
    grpc: Option<String>,
    /// Take changed models and keys of clients as their files change, as SIGHUP does once
    #[arg(long)]
    watch: bool,
    /// The service's name, which evidence names
    #[arg(long, default_value = "subrosa")]
    name: String,
    /// MiB of one request
    #[arg(long, value_name = "MIB", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1024))]
    max_request: u32,
    /// Samples of one request
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    max_samples: u32,
    /// Samples computed at once: via plain and tee, of requests that wait at the same time [default: 32;
    /// 1 for none]; via ckks, of one request, by a second plan for clients with many samples [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    batch: Option<u32>,
    /// Microseconds that a request waits for others to be computed with
    #[arg(long, value_name = "US", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=1_000_000))]
    batch_delay: u64,
    /// Requests at a time; the next ones are answered 503
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    max_requests: u32,
    /// Connections at a time; the next ones are closed
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    max_connections: u32,
    /// Via ckks: MiB of one client's evaluation keys
    #[arg(long, value_name = "MIB", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=8192))]
    max_keys: u32,
    /// Via ckks: MiB of all clients' evaluation keys in memory; the least recently used are forgotten
    #[arg(long, value_name = "MIB", default_value_t = 2048, value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    key_cache: u32,
    /// Seconds for one request
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    request_time: u64,
    /// Speak TLS with this certificate chain (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// And its key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// Write spans here, as OTLP JSON lines
    #[arg(long, value_name = "FILE")]
    traces: Option<PathBuf>,
    #[command(flatten)]
    clients: ClientFlags,
    #[command(flatten)]
    attester: AttesterFlags,
}

impl Serve {
    pub(crate) fn run(self) -> Result<()> {
        tell_only_where();
        let limits = self.limits();
        let empty = match (self.models.is_encrypted(), self.models.is_relayed()) {
            (true, _) => Catalogue::encrypted(),
            (_, true) => Catalogue::relayed(self.models.gateway()?),
            (false, false) => Catalogue::new(self.enclave()?),
        };
        let catalogue = self.models.fill(empty, None, &limits)?;
        let (clients, tracer) = (self.clients.read()?, Tracer::new(&self.name, self.traces.as_deref())?);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().max_blocking_threads(BLOCKING).build();
        let runtime = runtime.map_err(|e| Error::Io { message: format!("cannot start threads: {e}"), hint: None })?;
        let served = runtime.block_on(async {
            let server = self.bound(catalogue, limits, clients).await.map_err(library)?;
            let server = server.traced(tracer);
            self.announce(&server)?;
            let reloads = reload::reloads(Arc::new(self), server.handle());
            let end = async {
                tokio::select! {
                    () = told_to_end() => {}
                    () = reloads => {}
                }
            };
            match server.run(end).await {
                true => Ok(()),
                false => Err(misuse("the server ended before all requests were answered".to_owned(), "").into()),
            }
        });
        // What still reads a file or waits for hardware is not waited for.
        runtime.shutdown_background();
        served
    }

    async fn bound(
        &self,
        catalogue: Catalogue,
        limits: Limits,
        clients: Option<Clients>,
    ) -> subrosa_serve::Result<Server> {
        let files = self.tls_certificate.clone().zip(self.tls_key.clone());
        let tls = files.map(|(certificate, key)| Tls { certificate, key });
        let mut server = Server::bind(catalogue, limits, &self.listen, tls.as_ref()).await?;
        if let Some(address) = &self.grpc {
            server = server.with_grpc(address, tls.as_ref()).await?;
        }
        Ok(match clients {
            Some(clients) => server.only_for(clients),
            None => server,
        })
    }

    /// The URL on standard output; who learns what, and what to try, on standard error.
    fn announce(&self, server: &Server) -> Result<()> {
        let catalogue = server.handle().catalogue();
        let names: Vec<String> = catalogue.names().map(|(name, version)| format!("{name}@{version}")).collect();
        let scheme = if self.tls_certificate.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", server.address().map_err(library)?);
        let (via, standing) = (self.models.via, catalogue.standing());
        print::out(&format!("{} via {via} ({standing}) at {url}\n", names.join(", ")))?;
        if let Some(address) = server.grpc_address().map_err(library)? {
            print::log(&format!("gRPC at {address}"));
        }
        // In trusted hardware that depends on it: clients verify.
        if catalogue.enclave().is_none() {
            catalogue.learns().for_each(print::log);
        }
        print::log(&hint(&url, via, names.first(), self.clients.are_given()));
        Ok(())
    }

    fn limits(&self) -> Limits {
        let size = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
        let unasked = Limits::default();
        let batch = if self.models.is_encrypted() { 1 } else { unasked.batch };
        Limits {
            batch: self.batch.map_or(batch, size),
            batch_delay: Duration::from_micros(self.batch_delay),
            body: size(self.max_request) << 20,
            samples: size(self.max_samples),
            requests: size(self.max_requests),
            connections: size(self.max_connections),
            request: Duration::from_secs(self.request_time),
            key_file: size(self.max_keys) << 20,
            key_cache: u64::from(self.key_cache) << 20,
            ..unasked
        }
    }

    fn enclave(&self) -> Result<Option<Enclave>> {
        match self.models.via.served() {
            Some(Served::Plain | Served::Ckks | Served::Shares) => Ok(None),
            Some(Served::Tee) => Ok(Some(Enclave::start(Arc::new(self.attester.attester()?), &self.name)?)),
            None => {
                let message = format!("via {} the parties tell whoever gives an input its mask", self.models.via);
                let hint = "a server stands before parties via rep3, rep3-malicious or rep4; clients with keys of \
                            their own reach the others by `run --cluster`";
                Err(misuse(message, hint).into())
            }
        }
    }
}

/// Threads that decode long requests and wait for hardware.
const BLOCKING: usize = 16;

/// From here on a panic tells the error stream where it was and not its message, which may hold a
/// value: the stream belongs to whoever has the host.
fn tell_only_where() {
    std::panic::set_hook(Box::new(|info| match info.location() {
        Some(at) => print::log(&format!("a bug: panic at {}:{}; please report it", at.file(), at.line())),
        None => print::log("a bug: panic; please report it"),
    }));
}

/// Lines that work.
fn hint(url: &str, via: Via, model: Option<&String>, keyed: bool) -> String {
    let name = model.and_then(|m| m.split('@').next()).unwrap_or("MODEL");
    let header = if keyed { " -H \"Authorization: Bearer $SUBROSA_API_KEY\"" } else { "" };
    let curl = format!("curl{header} {url}/v2/models/{name}");
    match via.served() {
        Some(Served::Tee) => {
            format!("try: subrosa run {name} --url {url} --via tee --policy FILE --signer HEX --input FILE")
        }
        Some(Served::Ckks) => format!("try: {curl}\nand: subrosa run {name} --url {url} --via ckks --input FILE"),
        Some(Served::Shares) => {
            format!("try: {curl}\nand: subrosa run {name} --url {url} --via {via} --cluster subrosa.toml --input FILE")
        }
        Some(Served::Plain) | None => format!("try: {curl}"),
    }
}

fn library(error: subrosa_serve::Error) -> Error {
    use subrosa_serve::Error as Serve;
    match error {
        Serve::Library(error) => error,
        // It may grow; what is new there concerns files, addresses and flags.
        Serve::Misuse(_)
        | Serve::Io { .. }
        | Serve::Certificate { .. }
        | Serve::ApiKeys { .. }
        | Serve::Tokens { .. }
        | _ => misuse(error.to_string(), ""),
    }
}

fn misuse(message: String, hint: &str) -> Error {
    Error::Misuse { message, hint: (!hint.is_empty()).then(|| hint.to_owned()) }
}
