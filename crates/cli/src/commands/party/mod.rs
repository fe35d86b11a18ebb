//! `subrosa party ...`: compute parties on machines of their own.

mod check;

use super::ending::end_when_told;
use crate::failure::{Failure, Result};
use crate::flags::PlanFlags;
use crate::print;
use crate::remote::ClusterFlags;
use clap::{Args, Subcommand};
use serde_json::json;
use std::path::PathBuf;
use subrosa::data::save;
use subrosa::deploy::{Identity, PartyOptions, PartyServer, SessionId, Validity, serve_metrics};
use subrosa::{Dataset, Error, InputSpec, Model, PlanOptions, Via, text};

/// What to do.
#[derive(Subcommand)]
pub(crate) enum Party {
    /// Make this machine's key and certificate, and print its fingerprint
    Init(Init),
    /// Ask every party how it is, and measure every way between them
    Check(check::Check),
    /// Be a compute party, until told to stop
    Run(Run),
    /// Give every party its share of a model, to keep
    Provision(Provision),
    /// Make every party forget a model
    Remove(Remove),
    /// Wait for results that a data owner elsewhere has computed for this machine
    Receive(Receive),
}

impl Party {
    pub(crate) fn run(self) -> Result<()> {
        match self {
            Self::Init(command) => command.run(),
            Self::Check(command) => command.run(),
            Self::Run(command) => command.run(),
            Self::Provision(command) => command.run(),
            Self::Remove(command) => command.run(),
            Self::Receive(command) => command.run(),
        }
    }
}

/// A new identity.
#[derive(Args)]
pub(crate) struct Init {
    /// What the others call this machine
    #[arg(long)]
    name: String,
    /// Where the key and the certificate go
    #[arg(long, value_name = "FOLDER", default_value = "identity")]
    identity: PathBuf,
    /// Where it will listen, if it is a compute party: host:port
    #[arg(long, value_name = "ADDRESS")]
    address: Option<String>,
    /// How long the certificate is valid
    #[arg(long, value_name = "DAYS", default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,
    /// Keep the key and its fingerprint, and make a new certificate
    #[arg(long)]
    renew: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Init {
    fn run(self) -> Result<()> {
        let io = |error: subrosa::deploy::IdentityError| Error::Io {
            message: error.to_string(),
            hint: (!self.renew).then(|| "--renew keeps the key and makes a new certificate".to_owned()),
        };
        let validity = Validity::days(self.days);
        let identity = match self.renew {
            true => Identity::load(&self.identity).and_then(|old| old.renew(&self.name, validity)),
            false => Identity::create(&self.name, validity),
        };
        let identity = identity.map_err(io)?;
        identity.save(&self.identity, self.renew).map_err(io)?;
        let fingerprint = identity.fingerprint();
        if self.json {
            return print::json(&json!({"name": self.name, "fingerprint": fingerprint.to_string()}));
        }
        let entry = match &self.address {
            Some(address) => format!("[[party]]\nname = \"{}\"\naddress = \"{address}\"\n", self.name),
            None => format!(
                "[[client]]\nname = \"{}\"\nroles = [\"model-owner\", \"data-owner\", \"receiver\"]\n",
                self.name
            ),
        };
        print::log(&format!("keep {} private; for everybody's subrosa.toml:", self.identity.join("key.pem").display()));
        print::out(&format!("{entry}fingerprint = \"{fingerprint}\"\n"))
    }
}

/// A compute party.
#[derive(Args)]
pub(crate) struct Run {
    #[command(flatten)]
    cluster: ClusterFlags,
    /// Where to listen, if not at this party's address in the configuration
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Where shares of models are kept, encrypted
    #[arg(long, value_name = "FOLDER", default_value = "state")]
    state: PathBuf,
    /// The key that encrypts them: 32 bytes [default: one made in the state folder]
    #[arg(long, value_name = "FILE")]
    store_key: Option<PathBuf>,
    /// Where the dealer is offline: the folder with what it has dealt for this party, which is used up
    #[arg(long, value_name = "FOLDER")]
    keys: Option<PathBuf>,
    /// Threads of a session
    #[arg(long, value_name = "T", default_value_t = 1)]
    threads: usize,
    /// Serve Prometheus metrics at this address
    #[arg(long, value_name = "ADDRESS")]
    metrics: Option<String>,
    /// Append OpenTelemetry spans, as OTLP JSON lines
    #[arg(long, value_name = "FILE")]
    traces: Option<PathBuf>,
}

impl Run {
    fn run(self) -> Result<()> {
        end_when_told()?;
        let (config, identity) = self.cluster.parts()?;
        let options = PartyOptions {
            listen: self.listen,
            state: self.state,
            store_key: self.store_key,
            keys: self.keys,
            threads: self.threads,
            traces: self.traces,
            log: Box::new(|line| print::log(&format!("{} {line}", subrosa::report_html::utc_now()))),
        };
        let server = PartyServer::bind(config, identity, options)?;
        if let Some(address) = &self.metrics {
            let at = serve_metrics(address, server.metrics())?;
            print::log(&format!("metrics at http://{at}/metrics"));
        }
        print::out(&format!("{} listens at {}\n", server.name(), server.address()?))?;
        Ok(server.run()?)
    }
}

/// A model for all parties.
#[derive(Args)]
pub(crate) struct Provision {
    /// An ONNX file
    model: PathBuf,
    /// What the parties call it [default: the file's name]
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    cluster: ClusterFlags,
    #[command(flatten)]
    flags: PlanFlags,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Provision {
    fn run(self) -> Result<()> {
        let cluster = self.cluster.connect()?;
        let model = Model::open(&self.model)?;
        let input = self.flags.range.spec(&model)?;
        if input == InputSpec::Auto {
            print::log(
                "note: the inputs' range is not given; --calibrate FILE or --input-range LO,HI makes results more exact",
            );
        }
        let plan = model.plan(&PlanOptions { ..self.flags.options(Via::from(cluster.config().protocol), 1, input) })?;
        let name = self.name.unwrap_or_else(|| model.name().to_owned());
        let version = cluster.provision(&plan, &name)?;
        if self.json {
            return print::json(&json!({"name": name, "version": version}));
        }
        print::out(&format!("every party keeps its share of {name} version {version}\n"))
    }
}

/// A model to forget.
#[derive(Args)]
pub(crate) struct Remove {
    /// Its name
    name: String,
    /// This version only [default: all]
    #[arg(long)]
    version: Option<u32>,
    #[command(flatten)]
    cluster: ClusterFlags,
}

impl Remove {
    fn run(self) -> Result<()> {
        let removed = self.cluster.connect()?.remove(&self.name, self.version)?;
        print::out(&format!("{} of {} removed\n", text::counted(removed as usize, "version"), self.name))?;
        if removed == 0 { Err(Failure::Negative) } else { Ok(()) }
    }
}

/// Results for this machine.
#[derive(Args)]
pub(crate) struct Receive {
    /// The session's code, as the data owner's terminal shows it
    session: SessionId,
    #[command(flatten)]
    cluster: ClusterFlags,
    /// Save the outputs: .npy, .json or .csv
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The right answers, to print the accuracy
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Receive {
    fn run(self) -> Result<()> {
        if let Some(path) = &self.output {
            save::Format::of(path)?;
            save::check_folder(path)?;
        }
        let truth = self.labels.as_ref().map(|path| Dataset::read(path)?.labels()).transpose()?;
        let output = self.cluster.connect()?.receive(self.session)?.run()?;
        if let Some(path) = &self.output {
            save::output(path, &output)?;
        }
        let labels = output.labels();
        let right = truth.map(|t| labels.iter().zip(&t).filter(|(a, b)| a == b).count());
        if self.json {
            let accuracy = right.map(|r| r as f64 / labels.len().max(1) as f64);
            return print::json(&json!({"output": output, "labels": labels, "accuracy": accuracy}));
        }
        let mut page = format!("received  {} of {}\n", text::counted(output.samples, "result"), output.model);
        let shown: Vec<_> = labels.iter().take(20).map(ToString::to_string).collect();
        page += &format!("labels    {}{}\n", shown.join(" "), if labels.len() > 20 { " ..." } else { "" });
        if let Some(right) = right {
            page += &format!("accuracy  {}\n", text::percent(right as f64 / labels.len().max(1) as f64));
        }
        print::out(&page)
    }
}
