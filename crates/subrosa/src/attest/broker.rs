//! The model owner's broker as a process, and the program that asks it for a model's key.
//!
//! One connection, one key: mutual TLS between pinned keys; the broker sends a nonce; the
//! program answers with evidence about it, about this connection (its TLS exporter), the model
//! and a key of its own; the broker sends the model's key, sealed to that.
//!
//! What it releases is a decision on evidence alone: the TLS keys only keep strangers from
//! asking.

use super::attester::Attester;
use super::owner::read_sealed;
use super::{Trust, now, read, read_text};
use crate::{Error, Model, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use subrosa_net::tcp::{Channel, Endpoint, Fingerprint, Identity};
use subrosa_tee::binding::{Freshness, Role, Suite};
use subrosa_tee::broker::{Ask, Broker, KeyUse};
use subrosa_tee::channel::ChannelKey;
use subrosa_tee::evidence::{MAX_COLLATERAL, MAX_EVIDENCE};
use subrosa_tee::seal::{Header, ModelKey, header};
use subrosa_tee::{Bound, sha256};

/// What a broker's TOML file says.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BrokerConfig {
    /// Public keys (hexadecimal) that may sign policies.
    pub signers: Vec<String>,
    /// Who may ask.
    #[serde(rename = "client")]
    pub clients: Vec<ClientEntry>,
    /// The models.
    #[serde(rename = "model")]
    pub models: Vec<ModelEntry>,
}

/// A program that may ask.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientEntry {
    /// Its name in the log.
    pub name: String,
    /// Its TLS key, as `party init` prints it.
    pub fingerprint: String,
}

/// A model whose key is kept.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelEntry {
    /// Its name.
    pub name: String,
    /// The sealed model, of which the header is read.
    pub sealed: PathBuf,
    /// Its key, as `attest seal` wrote it.
    pub key: PathBuf,
    /// The signed policy that it was sealed for.
    pub policy: PathBuf,
    /// `production`, or `trial` for a model that is not worth protecting.
    #[serde(rename = "use")]
    pub key_use: KeyPurpose,
    /// The oldest version to give keys for. It never goes back, whatever this file says later.
    #[serde(default)]
    pub oldest: u64,
}

/// What a key may be released to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyPurpose {
    /// Attested programs.
    Production,
    /// Simulated ones too.
    Trial,
}

/// A broker that listens.
pub struct BrokerServer {
    endpoint: Endpoint,
    broker: Mutex<Broker>,
    /// Of the state file, as long as this broker lives.
    _lock: File,
    #[cfg_attr(not(feature = "simulation"), expect(dead_code, reason = "this build has no simulation to allow"))]
    allow_simulated: bool,
}

/// The oldest allowed version of each model: what must not be rolled back.
#[derive(Default, Serialize, Deserialize)]
#[serde(transparent)]
struct Oldest(BTreeMap<String, u64>);

impl BrokerConfig {
    /// Reads the file; the paths in it are relative to it.
    ///
    /// **Errors:** [`Error::Io`], [`Error::Input`].
    pub fn read(path: &Path) -> Result<Self> {
        let text = read_text(path)?;
        let mut config: Self =
            toml::from_str(&text).map_err(|e| Error::input(e.to_string().trim_end().to_owned(), "").in_file(path))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        for model in &mut config.models {
            for file in [&mut model.sealed, &mut model.key, &mut model.policy] {
                *file = folder.join(&*file);
            }
        }
        Ok(config)
    }

    fn known(&self) -> Result<BTreeMap<Fingerprint, String>> {
        let entry = |client: &ClientEntry| {
            let print = client.fingerprint.parse();
            let print = print.map_err(|e| Error::input(format!("client {}: {e}", client.name), ""))?;
            Ok((print, client.name.clone()))
        };
        self.clients.iter().map(entry).collect()
    }
}

impl BrokerServer {
    /// Reads keys and policies, and what `state` remembers of earlier runs. `allow_simulated` is
    /// the flag that simulated evidence needs beside the policy, and beside a key for trials.
    ///
    /// **Errors:** [`Error::Io`], [`Error::Input`]; [`Error::Misuse`] if another broker has the
    /// state; [`Error::Peer`] for a version that was retired before.
    pub fn new(config: &BrokerConfig, identity: Identity, state: &Path, allow_simulated: bool) -> Result<Self> {
        let mut broker = Broker::new();
        let lock = lock(state)?;
        let mut oldest = Oldest::read(state)?;
        for model in &config.models {
            let least = oldest.0.entry(model.name.clone()).or_default();
            *least = (*least).max(model.oldest);
        }
        // Before any key can leave.
        oldest.write(state)?;
        for (name, least) in &oldest.0 {
            broker.retire(name, *least);
        }
        for model in &config.models {
            model.keep(&mut broker, &config.signers, allow_simulated)?;
        }
        let endpoint = Endpoint::new(identity, config.known()?)?;
        Ok(Self { endpoint, broker: Mutex::new(broker), _lock: lock, allow_simulated })
    }

    /// This broker's TLS key, which programs pin.
    pub fn fingerprint(&self) -> Fingerprint {
        self.endpoint.fingerprint()
    }

    /// Answers whoever connects, as long as the process lives. `log` is told of each decision.
    /// A panic costs its connection.
    pub fn serve(self, listener: &TcpListener, log: &(dyn Fn(&str) + Sync)) {
        let busy = Arc::new(());
        std::thread::scope(|scope| {
            for stream in listener.incoming() {
                let Ok(stream) = stream else {
                    // Out of descriptors: others must end first.
                    std::thread::sleep(Duration::from_millis(100));
                    continue;
                };
                if Arc::strong_count(&busy) > MOST_CONNECTIONS {
                    log("refused a connection: too many are open");
                    continue;
                }
                let (server, place) = (&self, Arc::clone(&busy));
                let spawned = std::thread::Builder::new().spawn_scoped(scope, move || {
                    let outcome = catch_unwind(AssertUnwindSafe(|| server.answer(stream)));
                    let outcome =
                        outcome.unwrap_or_else(|_| Err(Error::misuse("the broker failed, which is a bug", "")));
                    log(&outcome.unwrap_or_else(|error| format!("refused: {error}")));
                    drop(place);
                });
                if spawned.is_err() {
                    log("refused a connection: no thread can be started");
                }
            }
        });
    }

    /// One connection, and what became of it.
    fn answer(&self, stream: TcpStream) -> Result<String> {
        let until = Instant::now() + PATIENCE;
        // Strangers do not get beyond the handshake, and hold a place no longer than it takes.
        let mut channel = self.endpoint.accept(stream, Instant::now() + HANDSHAKE)?;
        let nonce = self.broker().challenge(now())?;
        let answered = self.answer_to(&mut channel, nonce, until);
        self.broker().forget(&nonce);
        match answered {
            Ok((wrapped, said)) => {
                let peer = channel.peer().to_owned();
                channel.send(wrapped)?;
                // Until the other end has it and hangs up.
                while Instant::now() < until && !channel.is_closed() {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Ok(format!("{peer}: {said}"))
            }
            Err(error) => {
                let said = Error::Peer { message: format!("{}: {error}", channel.peer()) };
                channel.refuse(&error.to_string());
                Err(said)
            }
        }
    }

    fn answer_to(&self, channel: &mut Channel, nonce: [u8; 32], until: Instant) -> Result<(Vec<u8>, String)> {
        let exporter = exporter(channel)?;
        channel.send(nonce.to_vec())?;
        let message = channel.recv(MAX_ASK, until)?;
        let ask = Ask::from_bytes(&message).map_err(|reason| Error::input(reason.to_string(), ""))?;
        if ask.bound.tls_key != Some(channel.fingerprint().0) {
            let message = "its evidence names another TLS key than its connection's".to_owned();
            return Err(Error::Peer { message });
        }
        let (wrapped, warning) = self.release(&ask, exporter)?;
        let warning = warning.map(|text| format!(" ({text})")).unwrap_or_default();
        Ok((wrapped, format!("released the key of {} version {}{warning}", ask.model.escape_debug(), ask.version)))
    }

    fn release(&self, ask: &Ask, exporter: [u8; 32]) -> Result<(Vec<u8>, Option<&'static str>)> {
        #[cfg(feature = "simulation")]
        if self.allow_simulated && matches!(ask.stapled.evidence, subrosa_tee::Evidence::Simulated(_)) {
            use subrosa_tee::simulation::{AllowSimulated, LABEL};
            let flag = AllowSimulated::by_flag();
            let wrapped = self.broker().release_simulated(ask, Some(exporter), flag, now())?;
            return Ok((wrapped, Some(LABEL)));
        }
        Ok((self.broker().release(ask, Some(exporter), now())?, None))
    }

    fn broker(&self) -> std::sync::MutexGuard<'_, Broker> {
        self.broker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ModelEntry {
    fn keep(&self, broker: &mut Broker, signers: &[String], allow_simulated: bool) -> Result<()> {
        let trust = Trust::read(&self.policy, signers, 0, allow_simulated)?;
        let sealed = read_sealed(&self.sealed)?;
        let key = ModelKey::from_bytes(&*super::secret_key(&self.key)?);
        // That key and model belong together is found out here, not by the first who asks.
        let (header, _) = key.open(&sealed, 0).map_err(|e| Error::from(e).in_file(&self.sealed))?;
        let key_use = match self.key_use {
            KeyPurpose::Production => KeyUse::Production,
            KeyPurpose::Trial => KeyUse::Trial,
        };
        let kept = broker.keep(&self.name, header, key, trust.policy().clone(), key_use);
        kept.map_err(|e| Error::from(e).in_file(&self.sealed))
    }
}

impl Oldest {
    fn read(path: &Path) -> Result<Self> {
        // Only where there is none at all. What cannot be looked at is not forgotten.
        if std::fs::symlink_metadata(path).is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound) {
            return Ok(Self::default());
        }
        serde_json::from_slice(&read(path, MAX_STATE)?)
            .map_err(|e| Error::input(format!("it is no broker's state: {e}"), "restore it").in_file(path))
    }

    fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_vec_pretty(self).map_err(|e| Error::misuse(e.to_string(), ""))?;
        durably(path, &text).map_err(|e| Error::io("write", path, &e))
    }
}

/// Replaces a file. What was retired stays retired when the power fails: content, name and folder
/// are on the disk in this order.
fn durably(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let temporary = beside(path, "part");
    let mut file = File::create(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// Two brokers with one state would each forget what the other has retired. The state itself is
/// replaced at each write, so a file beside it is locked.
fn lock(state: &Path) -> Result<File> {
    let path = beside(state, "lock");
    let file = File::options().create(true).append(true).open(&path).map_err(|e| Error::io("write", &path, &e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let message = format!("another broker has the state {}", state.display());
            Err(Error::misuse(message, "end it, or give this one a state of its own"))
        }
        Err(TryLockError::Error(e)) => Err(Error::io("lock", &path, &e)),
    }
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{name}.{end}"))
}

/// A broker elsewhere, and who asks it.
pub struct BrokerAt {
    /// Where it listens.
    pub address: String,
    /// Its TLS key.
    pub fingerprint: Fingerprint,
    /// This program's.
    pub identity: Identity,
}

impl BrokerAt {
    /// Opens a sealed model with the key that the broker releases to this program; gives its version
    /// and its owner's policy too. The name asked for is the file's without extension.
    ///
    /// **Errors:** [`Error::Io`], [`Error::Input`]; [`Error::Peer`] with the broker's refusal.
    pub fn open(self, sealed: &Path, attester: &Attester, configuration: &[u8]) -> Result<(Model, u64, [u8; 32])> {
        let bytes = read_sealed(sealed)?;
        let announced = header(&bytes).map_err(|e| Error::from(e).in_file(sealed))?;
        let name = sealed.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let key = self.fetch(&name, &announced, attester, sha256(configuration))?;
        let (header, model) = key.open(&bytes, announced.version).map_err(|e| Error::from(e).in_file(sealed))?;
        Ok((Model::from_bytes(&name, &model)?, header.version, header.policy.0))
    }

    fn fetch(self, name: &str, sealed: &Header, attester: &Attester, configuration: [u8; 32]) -> Result<ModelKey> {
        let until = Instant::now() + PATIENCE;
        let known = BTreeMap::from([(self.fingerprint, "broker".to_owned())]);
        let endpoint = Endpoint::new(self.identity, known)?;
        let mut channel = endpoint.dial("broker", &self.address, self.fingerprint, until)?;
        let nonce = channel.recv(32, until)?;
        let nonce = nonce.as_slice().try_into().map_err(|_| Error::Peer { message: "broker sent no nonce".into() })?;
        let key = ChannelKey::generate()?;
        let bound = Bound {
            role: Role::FetchKey,
            suite: Suite::X25519ChaCha20,
            channel_key: key.public(),
            tls_key: Some(endpoint.fingerprint().0),
            freshness: Freshness::Nonce(nonce),
            data_policy: None,
            model_policy: Some(sealed.policy),
            model: sealed.model,
            configuration,
            exporter: Some(exporter(&channel)?),
        };
        let stapled = attester.attest(&bound)?;
        let ask = Ask { model: name.to_owned(), version: sealed.version, stapled, bound };
        channel.send(ask.to_bytes())?;
        let wrapped = channel.recv(MAX_WRAPPED, until)?;
        Ok(key.unwrap(&ask.bound, &wrapped)?)
    }
}

fn exporter(channel: &Channel) -> Result<[u8; 32]> {
    let missing = || Error::Peer { message: format!("the connection to {} has no exporter", channel.peer()) };
    channel.exporter().ok_or_else(missing)
}

/// The longest an exchange may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The longest a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(3);

/// Connections at a time; the next ones are hung up on.
const MOST_CONNECTIONS: usize = 64;

/// The longest message that asks.
const MAX_ASK: usize = MAX_EVIDENCE + MAX_COLLATERAL + (4 << 10);

/// The longest wrapped key.
const MAX_WRAPPED: usize = 1 << 10;

/// The longest state file.
const MAX_STATE: usize = 1 << 20;
