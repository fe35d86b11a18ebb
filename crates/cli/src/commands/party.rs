//! `subrosa party ...`: compute parties on machines of their own.

use crate::failure::{Failure, Result};
use crate::flags::PlanFlags;
use crate::print::{self, Left, Right};
use crate::remote::ClusterFlags;
use clap::{Args, Subcommand};
use serde_json::json;
use std::path::PathBuf;
use subrosa::data::save;
use subrosa::deploy::{
    Identity, Measured, PartyOptions, PartyReport, PartyServer, SessionId, Status, Validity, serve_metrics,
};
use subrosa::{Dataset, Error, InputSpec, Model, PlanOptions, Via, text};

/// What to do.
#[derive(Subcommand)]
pub(crate) enum Party {
    /// Make this machine's key and certificate, and print its fingerprint
    Init(Init),
    /// Ask every party how it is, and measure every way between them
    Check(Check),
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

/// A look at all parties.
#[derive(Args)]
pub(crate) struct Check {
    #[command(flatten)]
    cluster: ClusterFlags,
    /// Imitate a network on parties of one machine: lan, wan, or RTT,BANDWIDTH
    #[arg(long, value_name = "SHAPE")]
    network: Option<subrosa::Network>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Check {
    fn run(self) -> Result<()> {
        let cluster = self.cluster.connect()?;
        let reports = cluster.check(self.network);
        let expected = cluster.config().digest();
        let healthy = reports.iter().all(|r| problems(r, &expected).is_empty());
        if self.json {
            let all: Vec<_> = reports.iter().map(|r| as_json(r, &expected)).collect();
            print::json(&json!({"healthy": healthy, "parties": all}))?;
        } else {
            print::out(&party_table(&reports, &expected))?;
            print::out(&way_table(&reports))?;
        }
        if healthy { Ok(()) } else { Err(Failure::Negative) }
    }
}

/// Clocks further apart than this are a problem: certificates have dates.
const CLOCK_TOLERANCE_S: f64 = 60.0;

/// Certificates that expire sooner are a problem.
const DAYS_LEFT: f64 = 14.0;

fn problems(report: &PartyReport, expected: &[u8; 32]) -> Vec<String> {
    let Ok(status) = &report.status else { return vec!["does not answer".to_owned()] };
    let mut problems = Vec::new();
    if status.cluster != *expected {
        problems.push("has another subrosa.toml".to_owned());
    }
    if status.version != env!("CARGO_PKG_VERSION") {
        problems.push(format!("runs version {}, here is {}", status.version, env!("CARGO_PKG_VERSION")));
    }
    if report.clock_offset_s.is_some_and(|s| s.abs() > CLOCK_TOLERANCE_S) {
        problems.push("its clock differs".to_owned());
    }
    if days_left(status) < DAYS_LEFT {
        problems.push("its certificate expires soon".to_owned());
    }
    let ways = report.links.iter().filter(|l| l.result.is_err());
    problems.extend(ways.map(|l| format!("does not reach {}", l.peer)));
    problems
}

fn days_left(status: &Status) -> f64 {
    (status.expires_s as f64 - status.clock_ns as f64 / 1e9) / 86_400.0
}

fn party_table(reports: &[PartyReport], expected: &[u8; 32]) -> String {
    let columns =
        [("party", Left), ("address", Left), ("clock", Right), ("certificate", Right), ("models", Left), ("", Left)];
    let row = |r: &PartyReport| {
        let (clock, days, models) = match &r.status {
            Ok(status) => {
                let models: Vec<_> = status.models.iter().map(|m| format!("{}@{}", m.name, m.version)).collect();
                let clock = format!("{:+.3} s", r.clock_offset_s.unwrap_or(0.0));
                (clock, format!("{:.0} days", days_left(status)), models.join(" "))
            }
            Err(_) => Default::default(),
        };
        let problems = problems(r, expected);
        let verdict = if problems.is_empty() { "well".to_owned() } else { problems.join(", ") };
        vec![r.name.clone(), r.address.clone(), clock, days, models, verdict]
    };
    let mut page = print::table(&columns, reports.iter().map(row).collect());
    for error in reports.iter().filter_map(|r| r.status.as_ref().err()) {
        page += &format!("{error}\n");
    }
    page
}

fn way_table(reports: &[PartyReport]) -> String {
    let columns = [("from", Left), ("to", Left), ("round trip", Right), ("bandwidth", Right)];
    let row = |from: &str, m: &Measured| {
        let (trip, rate) = match &m.result {
            Ok((nanos, rate)) => (format!("{:.3} ms", *nanos as f64 / 1e6), text::bytes(*rate) + "/s"),
            Err(_) => ("-".to_owned(), "-".to_owned()),
        };
        vec![from.to_owned(), m.peer.clone(), trip, rate]
    };
    let mut rows: Vec<_> = reports.iter().map(|r| row("here", &r.link)).collect();
    rows.extend(reports.iter().flat_map(|r| r.links.iter().map(|l| row(&r.name, l))));
    let mut page = print::table(&columns, rows);
    let failed = reports.iter().flat_map(|r| r.links.iter().map(move |l| (&r.name, l)));
    for (name, error) in failed.filter_map(|(n, l)| l.result.as_ref().err().map(|e| (n, e))) {
        page += &format!("{name}: {error}\n");
    }
    page
}

fn as_json(report: &PartyReport, expected: &[u8; 32]) -> serde_json::Value {
    let way = |m: &Measured| match &m.result {
        Ok((nanos, rate)) => json!({"to": m.peer, "round_trip_ms": *nanos as f64 / 1e6, "bytes_per_s": rate}),
        Err(error) => json!({"to": m.peer, "error": error}),
    };
    let mut value = json!({
        "name": report.name,
        "address": report.address,
        "problems": problems(report, expected),
        "way_from_here": way(&report.link),
        "ways": report.links.iter().map(way).collect::<Vec<_>>(),
    });
    match &report.status {
        Ok(status) => {
            let models: Vec<_> = status.models.iter().map(|m| json!({"name": m.name, "version": m.version})).collect();
            value["version"] = status.version.clone().into();
            value["clock_offset_s"] = report.clock_offset_s.into();
            value["certificate_days"] = days_left(status).into();
            value["sessions"] = status.sessions.into();
            value["models"] = models.into();
        }
        Err(error) => value["error"] = error.clone().into(),
    }
    value
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
        let (config, identity) = self.cluster.parts()?;
        let options = PartyOptions {
            listen: self.listen,
            state: self.state,
            store_key: self.store_key,
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
        let plan = model.plan(&PlanOptions { ..self.flags.options(Via::Rep3, 1, input) })?;
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
