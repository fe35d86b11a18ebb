//! The models of a server, from its flags.

use crate::commands::compare::shipped;
use crate::commands::run::named_version;
use crate::failure::Result;
use crate::flags::RangeFlags;
use crate::print;
use crate::remote;
use clap::Args;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use subrosa::attest::{BrokerAt, Enclave, is_sealed};
use subrosa::backends::Served;
use subrosa::deploy::{Cluster, ClusterConfig, Fingerprint, Gateway};
use subrosa::{Dataset, Error, InputSpec, Model, Plan, PlanOptions, Via};
use subrosa_serve::{Catalogue, Entry, Limits};

/// Which models, and where they come from.
#[derive(Args)]
pub(super) struct ModelFlags {
    /// ONNX files, or sealed ones: FILE, NAME=FILE or NAME@VERSION=FILE; in front of parties what these
    /// hold, NAME or NAME@VERSION
    #[arg(required_unless_present = "more", value_name = "MODEL")]
    models: Vec<String>,
    /// The same; may be repeated
    #[arg(long = "model", id = "more", value_name = "MODEL")]
    more: Vec<String>,
    /// plain, where the server sees everything; ckks, on ciphertexts; tee, inside trusted hardware; or rep3,
    /// rep3-malicious, rep4, which pass sealed shares on to the parties of --cluster
    #[arg(long, value_name = "BACKEND", value_parser = crate::flags::via, default_value = "plain")]
    pub(super) via: Via,
    /// Threads of each model; in front of parties, sessions with them
    #[arg(long, value_name = "T", default_value_t = 1)]
    threads: usize,
    /// In front of parties: who they are
    #[arg(long, value_name = "FILE")]
    cluster: Option<PathBuf>,
    // What models are planned on, via ckks.
    #[command(flatten)]
    range: RangeFlags,
    #[command(flatten)]
    broker: BrokerFlags,
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
    #[arg(long, value_name = "FOLDER", default_value = "identity")]
    identity: PathBuf,
}

/// A model's place: how it is called, and its file.
struct Placed<'a> {
    name: Option<&'a str>,
    version: Option<u64>,
    path: &'a Path,
}

/// A model that was read.
struct Read {
    model: Model,
    name: String,
    version: u64,
    policy: Option<[u8; 32]>,
    path: PathBuf,
}

impl ModelFlags {
    /// All of them, read and, via ckks, planned, into a catalogue that is `empty`. What has not
    /// changed since `old` stays as it is there.
    pub(super) fn fill(&self, empty: Catalogue, old: Option<&Catalogue>, limits: &Limits) -> Result<Catalogue> {
        let mut catalogue = empty;
        if self.is_relayed() {
            for text in self.texts() {
                let (name, version) = named_version(text)?;
                catalogue.relay(name, version, self.threads, limits, old).map_err(super::library)?;
            }
            return Ok(catalogue);
        }
        for text in self.texts() {
            let read = self.read(text, catalogue.enclave().map(Arc::as_ref))?;
            let Read { model, name, version, policy, .. } = &read;
            if !old.is_some_and(|old| catalogue.keep(old, name, *version, model.sha256(), *policy)) {
                catalogue.add(self.entry(read, limits)?, self.threads, limits).map_err(super::library)?;
            }
        }
        Ok(catalogue)
    }

    /// Their files.
    pub(super) fn paths(&self) -> impl Iterator<Item = PathBuf> {
        let files = self.texts().filter(|_| !self.is_relayed());
        files.filter_map(|text| placed(text).ok()).map(|placed| placed.path.to_owned())
    }

    fn texts(&self) -> impl Iterator<Item = &String> {
        self.models.iter().chain(&self.more)
    }

    /// Whether parties elsewhere hold the models.
    pub(super) fn is_relayed(&self) -> bool {
        self.via.served() == Some(Served::Shares)
    }

    /// The way to them.
    pub(super) fn gateway(&self) -> Result<Gateway> {
        let path = self.cluster.as_ref().ok_or_else(|| {
            let message = format!("via {} the parties of a deployment compute, and none is given", self.via);
            misuse(message, "give --cluster subrosa.toml and --identity FOLDER")
        })?;
        let config = ClusterConfig::read(path)?;
        let via = Via::from(config.protocol);
        if via != self.via {
            let message = format!("{}: its parties compute via {via}, not via {}", path.display(), self.via);
            return Err(misuse(message, &format!("give --via {via}")).into());
        }
        Ok(Gateway::new(Cluster::new(config, remote::identity(&self.broker.identity)?)?)?)
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.via.served() == Some(Served::Ckks)
    }

    fn read(&self, text: &str, enclave: Option<&Enclave>) -> Result<Read> {
        let Placed { name, version, path } = placed(text)?;
        let (model, version, policy) = match (is_sealed(path)?, version) {
            (false, wanted) => (Model::open(path)?, wanted.unwrap_or(1), None),
            (true, None) => self.broker.unsealed(path, enclave)?,
            (true, Some(_)) => {
                return Err(misuse(format!("{text}: a sealed model has its own version"), "leave @VERSION out").into());
            }
        };
        let name = name.unwrap_or(model.name()).to_owned();
        Ok(Read { model, name, version, policy, path: path.to_owned() })
    }

    fn entry(&self, read: Read, limits: &Limits) -> Result<Entry> {
        let Read { model, name, version, policy, path } = read;
        let plans = if self.is_encrypted() { self.plans(&model, &path, limits.batch)? } else { Vec::new() };
        Ok(Entry { model, name, version, policy, plans })
    }

    /// As `plan --via ckks` makes them: for one sample at a time, and for `batch` at once where
    /// that is many.
    fn plans(&self, model: &Model, path: &Path, batch: usize) -> Result<Vec<Plan>> {
        let digits = if self.range.is_given() { None } else { shipped::calibration_for(model, path) };
        let (input, calibration) = match digits {
            None => (self.range.spec(model)?, self.range.samples(model)?),
            Some(file) => {
                print::log(&format!(
                    "note: {} is planned on {}; --calibrate FILE takes others",
                    model.name(),
                    file.display()
                ));
                let samples = Dataset::read(&file)?.fit(model.inputs())?;
                (InputSpec::calibrate(&samples)?, samples.inputs)
            }
        };
        let single = PlanOptions { via: Via::Ckks, batch: 1, input, calibration, ..PlanOptions::default() };
        let mut plans = vec![model.plan(&single)?];
        if batch > 1 {
            let plan = model.plan(&PlanOptions { batch, ..single })?;
            if plan.sheet().ckks.as_ref().is_none_or(|sheet| sheet.samples <= 1) {
                let message = format!("{} cannot be computed on {batch} samples at once via ckks", model.name());
                return Err(
                    misuse(message, "leave --batch out, or give 64 and more where the plan has the memory").into()
                );
            }
            plans.push(plan);
        }
        Ok(plans)
    }
}

impl BrokerFlags {
    /// Opens a sealed model with the broker's key.
    fn unsealed(&self, path: &Path, enclave: Option<&Enclave>) -> Result<(Model, u64, Option<[u8; 32]>)> {
        let Self { broker, broker_key, identity } = self;
        let (Some(enclave), Some(address), Some(key)) = (enclave, broker, broker_key) else {
            let message = format!("{} is sealed", path.display());
            return Err(misuse(message, "serve it with --via tee, --broker and --broker-key").into());
        };
        let identity = remote::identity(identity)?;
        let at = BrokerAt { address: address.clone(), fingerprint: *key, identity };
        let (model, version, policy) = at.open(path, enclave.attester(), enclave.service().as_bytes())?;
        Ok((model, version, Some(policy)))
    }
}

fn placed(text: &str) -> Result<Placed<'_>> {
    let (named, path) = text.split_once('=').map_or((None, text), |(name, path)| (Some(name), path));
    let (name, version) = match named.map(|named| (named, named.split_once('@'))) {
        None => (None, None),
        Some((name, None)) => (Some(name), None),
        Some((_, Some((name, version)))) => (Some(name), Some(number(version)?)),
    };
    Ok(Placed { name, version, path: Path::new(path) })
}

fn number(version: &str) -> Result<u64> {
    let wrong =
        |_| misuse(format!("'{version}' is no version"), "give NAME@VERSION=FILE, for example lenet@2=lenet.onnx");
    Ok(version.parse().map_err(wrong)?)
}

fn misuse(message: String, hint: &str) -> Error {
    super::misuse(message, hint)
}
