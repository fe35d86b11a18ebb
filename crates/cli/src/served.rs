//! Flags of whoever asks a server, and the asking.

use crate::failure::Result;
use crate::print;
use crate::progress::Bar;
use crate::trust::TrustFlags;
use clap::Args;
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use subrosa::attest::{Expected, Inquiry};
use subrosa::backends::Served;
use subrosa::client::{Client, ServedModel, Shares, Way};
use subrosa::deploy::ClusterConfig;
use subrosa::output::{Output, Phase};
use subrosa::{Error, Model, Samples, Secret, Via};

/// A server that answers.
#[derive(Args)]
pub(crate) struct ServedFlags {
    /// Ask the server at this URL, such as http://HOST:8080, via plain, ckks or tee; or the parties of --cluster
    /// through it, which then sees no input, via rep3, rep3-malicious or rep4
    #[arg(long, value_name = "URL", conflicts_with = "simulate")]
    url: Option<String>,
    /// What an https URL rests on: certificates, PEM
    #[arg(long, value_name = "FILE", requires = "url")]
    ca: Option<PathBuf>,
    /// Via tee: the name that the service must be attested to have
    #[arg(long, value_name = "NAME", requires = "url")]
    service: Option<String>,
    /// Via tee: the SHA-256 that the model's file must be attested to have
    #[arg(long, value_name = "HEX", requires = "url", value_parser = sha256)]
    model_hash: Option<Sha256>,
    /// Via tee: take the evidence that all clients of this hour share
    #[arg(long, requires = "url")]
    shared_evidence: bool,
    /// The key that the server asks for, if it does; else that of the variable SUBROSA_API_KEY
    #[arg(long, value_name = "FILE", requires = "url")]
    api_key_file: Option<PathBuf>,
    /// How long to wait for an answer
    #[arg(long, value_name = "SECONDS", requires = "url", default_value_t = 60)]
    patience: u64,
}

/// 32 bytes, from 64 hexadecimal digits.
#[derive(Clone, Copy)]
struct Sha256([u8; 32]);

/// A server's model, found and if need be verified.
pub(crate) struct Found {
    client: Client,
    pub(crate) served: ServedModel,
    asked: Asked,
    setup: Duration,
}

/// How it is asked.
enum Asked {
    Openly(Way),
    Encrypted,
    Shared(RefCell<Box<Shares>>),
}

impl ServedFlags {
    pub(crate) fn is_asked(&self) -> bool {
        self.url.is_some()
    }

    /// The model called `model`: a name, NAME@VERSION, or the file that is expected.
    /// Through a gateway `cluster` says who the parties behind it are.
    pub(crate) fn find(
        &self,
        model: &Path,
        via: Via,
        trust: &TrustFlags,
        cluster: Option<&Path>,
    ) -> Result<Option<Found>> {
        let Some(url) = &self.url else { return Ok(None) };
        let start = Instant::now();
        if via != Via::Tee && (trust.is_given() || self.asks_for_evidence()) {
            let message =
                format!("via {via} nothing is verified, so no policy, signer, service, hash or evidence has a use");
            return Err(misuse(message, "leave these flags out, or add --via tee").into());
        }
        if cluster.is_some() && via.served() != Some(Served::Shares) {
            let message = format!("via {via} one server answers, and no parties");
            return Err(misuse(message, "leave --cluster out, or add --via rep3").into());
        }
        let expected = self.expected(model)?;
        let client = self.client(url)?;
        let (served, asked) = match via.served() {
            Some(Served::Plain) => (client.model(&expected.model, expected.version)?, Asked::Openly(Way::Plain)),
            Some(Served::Tee) => {
                let (served, way) = self.verified(&client, &expected, trust)?;
                (served, Asked::Openly(way))
            }
            Some(Served::Ckks) => (client.model(&expected.model, expected.version)?, Asked::Encrypted),
            Some(Served::Shares) => {
                let shares = client.shares(&expected.model, expected.version, &parties(cluster)?)?;
                print::log(&shares.terms());
                (shares.model(expected.version), Asked::Shared(RefCell::new(Box::new(shares))))
            }
            None => {
                return Err(misuse(
                    format!("a server answers via plain, ckks, tee, or before parties, not via {via}"),
                    "add --via ckks or --via tee, or --via plain where the server may see everything",
                )
                .into());
            }
        };
        Ok(Some(Found { client, served, asked, setup: start.elapsed() }))
    }

    fn client(&self, url: &str) -> Result<Client> {
        let client = Client::new(url, self.ca.as_deref(), Duration::from_secs(self.patience))?;
        let Some(key) = self.api_key()? else { return Ok(client) };
        if url.starts_with("http://") {
            print::log("note: over http the API key can be read on the way; use https beyond this machine");
        }
        Ok(client.with_api_key(&key)?)
    }

    fn api_key(&self) -> Result<Option<Secret<String>>> {
        let key = match &self.api_key_file {
            Some(path) => std::fs::read_to_string(path).map(Some).map_err(|e| Error::Io {
                message: format!("cannot read {}: {e}", path.display()),
                hint: Some("`subrosa serve-key` makes a key".to_owned()),
            })?,
            None => std::env::var("SUBROSA_API_KEY").ok().filter(|key| !key.is_empty()),
        };
        let key = key.map(Secret::new);
        Ok(key.map(|key| Secret::new(key.expose().trim().to_owned())))
    }

    fn asks_for_evidence(&self) -> bool {
        self.service.is_some() || self.model_hash.is_some() || self.shared_evidence
    }

    fn verified(&self, client: &Client, expected: &Expected, trust: &TrustFlags) -> Result<(ServedModel, Way)> {
        let trust = trust.read()?.ok_or_else(|| {
            misuse("via tee takes a policy to judge the server's evidence by".to_owned(), "give --policy and --signer")
        })?;
        let inquiry = match self.shared_evidence {
            true => Inquiry::of_this_epoch(&trust),
            false => Inquiry::fresh(&trust)?,
        };
        let (served, link) = client.verify(inquiry, expected, &trust)?;
        let about = link.configuration();
        print::log(&format!(
            "verified: '{}', {}, serves {} version {}, SHA-256 {}: {}",
            about.service.escape_debug(),
            about.program.escape_debug(),
            about.model.escape_debug(),
            about.version,
            link.model_hash(),
            link.peer().label()
        ));
        Ok((served, Way::Attested(Box::new(link))))
    }

    fn expected(&self, model: &Path) -> Result<Expected> {
        let service = self.service.clone();
        let hash = self.model_hash.map(|Sha256(hash)| hash);
        let text = model.to_string_lossy();
        // What looks like a file has to be one: a mistyped path must not become a name that pins no
        // hash.
        if model.exists() || text.ends_with(".onnx") || text.contains('/') {
            let model = Model::open(model)?;
            let (name, found) = (model.name().to_owned(), model.sha256());
            if hash.is_some_and(|hash| hash != found) {
                return Err(misuse(format!("{text} has not the SHA-256 of --model-hash"), "give one of them").into());
            }
            return Ok(Expected { model: name, version: None, hash: Some(found), service });
        }
        let Some((name, version)) = text.split_once('@') else {
            return Ok(Expected { model: text.into_owned(), version: None, hash, service });
        };
        let version = version
            .parse()
            .map_err(|_| misuse(format!("'{version}' is no version"), "give NAME@VERSION, for example lenet@2"))?;
        Ok(Expected { model: name.to_owned(), version: Some(version), hash, service })
    }
}

impl Found {
    /// Computes all samples with a progress bar.
    pub(crate) fn run(&self, samples: &Samples, batch: usize) -> Result<Output> {
        let mut bar = Bar::new();
        let watch = &mut |done: usize, total: usize| bar.set(done as u64, total as u64, "by the server".to_owned());
        match &self.asked {
            Asked::Encrypted => {
                let own = self.client.encryption(&self.served, samples.count)?;
                print::log(&format!("encrypted here: {}; the secret key stays in this process", own.terms()));
                Ok(self.client.run_encrypted(&self.served, &own, samples, watch)?)
            }
            Asked::Shared(shares) => {
                let shares = &mut shares.borrow_mut();
                Ok(self.client.run_shared(&self.served, shares, samples, batch, watch)?)
            }
            Asked::Openly(way) => {
                let mut output = self.client.run(&self.served, way, samples, batch, watch)?;
                output.setup = Phase { ms: self.setup.as_secs_f64() * 1e3, ..Phase::default() };
                Ok(output)
            }
        }
    }

    /// What results are marked with.
    pub(crate) fn marks(&self) -> Vec<String> {
        match &self.asked {
            Asked::Openly(Way::Plain) | Asked::Encrypted => Vec::new(),
            Asked::Shared(shares) if shares.borrow().public_weights() => vec!["public-weights".to_owned()],
            Asked::Shared(_) => Vec::new(),
            Asked::Openly(Way::Attested(link)) if link.peer().attested() => Vec::new(),
            Asked::Openly(Way::Attested(link)) => vec![link.peer().label().to_owned()],
        }
    }
}

/// Who is behind a gateway: that is not for the gateway to say.
fn parties(cluster: Option<&Path>) -> Result<ClusterConfig> {
    let path = cluster.ok_or_else(|| {
        let message = "through a gateway shares are sealed to the parties, and nothing says who they are".to_owned();
        misuse(message, "give --cluster subrosa.toml, which has their fingerprints")
    })?;
    Ok(ClusterConfig::read(path)?)
}

fn sha256(text: &str) -> std::result::Result<Sha256, String> {
    let wrong = || "a SHA-256 has 64 hexadecimal digits".to_owned();
    let digits: &[u8] = (text.len() == 64).then_some(text.as_bytes()).ok_or_else(wrong)?;
    let digit = |c: u8| char::from(c).to_digit(16).map(|v| v as u8).ok_or_else(wrong);
    let mut hash = [0; 32];
    for (byte, pair) in hash.iter_mut().zip(digits.as_chunks::<2>().0) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Ok(Sha256(hash))
}

fn misuse(message: String, hint: &str) -> Error {
    Error::Misuse { message, hint: Some(hint.to_owned()) }
}
