//! A compute party as a service.

use super::callers::{Everybody, Place};
use super::card::{Card, Model};
use super::config::{ClusterConfig, Role};
use super::control::{self, Held, Reply, Request, Status, hear, say};
use super::keys::Stock;
use super::metrics::Metrics;
use super::probe;
use super::rendezvous::Rendezvous;
use super::sealing::Sealing;
use super::store::Store;
use crate::trace::Tracer;
use crate::{Error, Result};
use std::collections::HashMap;
use std::net::{IpAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use subrosa_mpc::relayed::Outline;
use subrosa_net::tcp::{Channel, Endpoint, Fingerprint, Identity};
use subrosa_net::{Network, Spin};
use zeroize::Zeroizing;

/// How long a stranger may take to say who it is, and what it wants.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// Models whose outline is kept once their card was read.
const MOST_OUTLINES: usize = 256;

/// How long a connection waits for its session to be opened here.
const JOINING: Duration = Duration::from_secs(20);

/// How a party is run.
pub struct PartyOptions {
    /// Where to listen; the address in the configuration unless given.
    pub listen: Option<String>,
    /// Where shares and keys are kept.
    pub state: PathBuf,
    /// The key of the store, if not in `state`.
    pub store_key: Option<PathBuf>,
    /// Where the files are that an offline dealer has dealt for this party; they are used up.
    pub keys: Option<PathBuf>,
    /// Threads of a session.
    pub threads: usize,
    /// Where spans are written, as OTLP JSON lines.
    pub traces: Option<PathBuf>,
    /// Where a line of log goes. Never given a value or a secret.
    pub log: Box<dyn Fn(&str) + Send + Sync>,
}

/// A compute party that listens.
pub struct PartyServer {
    listener: TcpListener,
    shared: Arc<Shared>,
}

/// Ends a [`PartyServer::run`].
#[derive(Clone)]
pub struct Stop(Arc<Shared>);

pub(super) struct Shared {
    pub(super) config: ClusterConfig,
    pub(super) me: usize,
    pub(super) endpoint: Endpoint,
    pub(super) expires: SystemTime,
    pub(super) store: Store,
    /// What owners behind a gateway seal to.
    pub(super) sealing: Sealing,
    /// What an offline dealer has dealt.
    pub(super) stock: Option<Stock>,
    pub(super) threads: usize,
    pub(super) spin: Spin,
    pub(super) rendezvous: Rendezvous,
    pub(super) metrics: Arc<Metrics>,
    pub(super) tracer: Tracer,
    pub(super) log: Box<dyn Fn(&str) + Send + Sync>,
    callers: Everybody,
    /// By dealing: what cards say. Locked while one is read, with the share that lies beside it.
    outlines: Mutex<HashMap<[u8; 32], Outline>>,
    /// One model is taken at a time.
    pub(super) provisioning: Mutex<()>,
    pub(super) sessions: AtomicUsize,
    pub(super) stopping: AtomicBool,
    #[cfg(test)]
    pub(super) lies: std::sync::OnceLock<Lie>,
}

/// How a party deviates, in tests.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lie {
    /// It tells the party of the highest number that it refuses what it tells the others it opened.
    Verdict,
    /// It calls the oldest dealing of a model by the numbers of the newer ones, and opens it for them.
    OldAsNew,
    /// It says that it opened another version than it was asked for.
    AnotherOpened,
}

impl PartyServer {
    /// Opens the store, and the keys where the dealer is offline, and listens.
    ///
    /// **Errors:** [`Error::Misuse`] if the identity is no party of the configuration, its
    /// certificate has expired, or keys are given where none are used or the other way round;
    /// [`Error::Io`].
    pub fn bind(config: ClusterConfig, identity: Identity, options: PartyOptions) -> Result<Self> {
        let print = identity.fingerprint();
        let me = config.party_number(print).ok_or_else(|| {
            Error::misuse(
                format!("no party of the configuration has this identity's key, {print}"),
                "put its fingerprint there",
            )
        })?;
        let expires = identity.validity().until;
        if expires < SystemTime::now() {
            return Err(Error::misuse("this party's own certificate has expired", "subrosa party init --renew"));
        }
        let store = Store::open(&options.state, options.store_key.as_deref(), me)?;
        let stock = Stock::of(options.keys.as_deref(), &options.state, &config, me)?;
        let address = options.listen.unwrap_or_else(|| config.parties[me].address.clone());
        let listener = TcpListener::bind(&address)
            .map_err(|e| Error::Io { message: format!("cannot listen on {address}: {e}"), hint: None })?;
        let shared = Shared {
            endpoint: Endpoint::new(identity, config.known())?,
            me,
            expires,
            store,
            sealing: Sealing::default(),
            stock,
            threads: options.threads,
            spin: spin(&config, options.threads),
            rendezvous: Rendezvous::default(),
            metrics: Arc::new(Metrics::new(&config, me)),
            tracer: Tracer::new(&config.parties[me].name, options.traces.as_deref())?,
            log: options.log,
            callers: Everybody::default(),
            outlines: Mutex::default(),
            provisioning: Mutex::default(),
            sessions: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
            #[cfg(test)]
            lies: std::sync::OnceLock::new(),
            config,
        };
        let shared = Arc::new(shared);
        Sealing::forget_in_time(&shared, |shared| &shared.sealing)?;
        Ok(Self { listener, shared })
    }

    /// Where it listens.
    ///
    /// **Errors:** [`Error::Io`].
    pub fn address(&self) -> Result<std::net::SocketAddr> {
        self.listener.local_addr().map_err(|e| Error::Io { message: e.to_string(), hint: None })
    }

    /// This party's name.
    pub fn name(&self) -> &str {
        self.shared.name()
    }

    /// Has it lie.
    #[cfg(test)]
    pub(super) fn lie(&self, lie: Lie) {
        self.shared.lies.set(lie).unwrap();
    }

    /// What it counts.
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.shared.metrics)
    }

    /// Ends [`PartyServer::run`], from another thread.
    pub fn stop_handle(&self) -> Stop {
        Stop(Arc::clone(&self.shared))
    }

    /// Serves until stopped. A session that fails is logged and leaves the others alone.
    ///
    /// **Errors:** [`Error::Io`] if listening itself fails.
    pub fn run(&self) -> Result<()> {
        for stream in self.listener.incoming() {
            if self.shared.stopping.load(Ordering::SeqCst) {
                break;
            }
            let Ok(stream) = stream else {
                // Out of file descriptors, or the caller left: later ones may succeed.
                std::thread::sleep(Duration::from_millis(20));
                continue;
            };
            let shared = Arc::clone(&self.shared);
            let Some(address) = shared.admit(&stream) else { continue };
            // Without a thread the caller is dropped, and may try again.
            let spawned = std::thread::Builder::new().spawn(move || shared.serve(stream, address));
            if spawned.is_err() {
                self.shared.callers.strangers.leave(address);
            }
        }
        Ok(())
    }
}

impl Stop {
    /// No more connections are taken; sessions at work end by themselves.
    pub fn stop(&self, address: std::net::SocketAddr) {
        self.0.stopping.store(true, Ordering::SeqCst);
        // Wakes the loop that waits for connections.
        let _ = TcpStream::connect_timeout(&address, Duration::from_secs(1));
    }
}

/// Spins only where each party has cores of its own: not if several of them listen on
/// this machine's loopback interface.
fn spin(config: &ClusterConfig, threads: usize) -> Spin {
    let loopback = |a: &str| a.starts_with("127.") || a.starts_with("localhost") || a.starts_with("[::1]");
    let here = config.parties.iter().filter(|p| loopback(&p.address)).count().max(1);
    Spin::for_threads(here * threads.max(1))
}

impl Shared {
    pub(super) fn name(&self) -> &str {
        &self.config.parties[self.me].name
    }

    pub(super) fn log(&self, line: &str) {
        (self.log)(line);
    }

    /// Counts a caller, unless there are too many, from everywhere or from its address.
    fn admit(&self, stream: &TcpStream) -> Option<IpAddr> {
        let address = stream.peer_addr().ok()?.ip();
        self.callers.strangers.enter(address).then_some(address)
    }

    fn serve(&self, stream: TcpStream, address: IpAddr) {
        let until = Instant::now() + HANDSHAKE;
        let accepted = self.endpoint.accept(stream, until);
        let heard = accepted.map_err(Error::from).and_then(|mut channel| {
            let request = hear::<Request>(&mut channel, HANDSHAKE)?;
            Ok((channel, request))
        });
        self.callers.strangers.leave(address);
        let outcome = heard.and_then(|(channel, request)| match self.place(&channel, &request) {
            Some(_place) => self.answer(channel, request),
            None => {
                channel.refuse("too many callers at a time; try again later");
                Ok(())
            }
        });
        if let Err(error) = outcome {
            self.metrics.refused();
            self.log(&format!("refused: {error}"));
        }
    }

    /// A place among callers, if there is one; sessions are counted by themselves.
    fn place(&self, channel: &Channel, request: &Request) -> Option<Option<Place<'_, Fingerprint>>> {
        let caller = channel.fingerprint();
        match request {
            Request::Open(_) => Some(None),
            Request::Join { .. } if self.config.party_number(caller).is_some() => {
                self.callers.joins.place(caller).map(Some)
            }
            Request::Join { .. }
            | Request::Status
            | Request::Ping
            | Request::Bulk { .. }
            | Request::Shape { .. }
            | Request::Probe { .. }
            | Request::Provision { .. }
            | Request::Remove { .. }
            | Request::SealingKey { .. } => self.callers.errands.place(caller).map(Some),
        }
    }

    fn answer(&self, mut channel: Channel, request: Request) -> Result<()> {
        match request {
            Request::Status => say(&mut channel, &Reply::Status(self.status())),
            Request::Ping | Request::Bulk { .. } | Request::Shape { .. } => probe::answer(channel, request),
            Request::Probe { network } => {
                let measured = self.probe(network.and_then(control::network));
                say(&mut channel, &Reply::Probed(measured))
            }
            Request::Provision { name, sharing, card, share } => {
                refusing(channel, |c| self.provision(c, &name, sharing, card, share))
            }
            Request::Remove { name, version } => refusing(channel, |c| {
                self.demand(c.fingerprint(), Role::ModelOwner)?;
                let version = self.store.remove(&name, version, c.fingerprint())?;
                say(c, &Reply::Done { version })
            }),
            Request::SealingKey { model, dealing } => refusing(channel, |c| {
                self.demand(c.fingerprint(), Role::DataOwner)?;
                let statement = self.sealing.statement(&self.endpoint, &self.outline(&model, dealing)?)?;
                say(c, &Reply::SealingKey(statement))
            }),
            Request::Open(open) => self.open(channel, &open),
            Request::Join { session } => {
                let until = Instant::now() + JOINING;
                self.rendezvous.deliver(session, channel, until).map_err(|(channel, turned)| {
                    let peer = channel.peer().to_owned();
                    channel.refuse(&format!("this session {turned}"));
                    Error::Peer { message: format!("{peer} joined session {session}, which {turned}") }
                })
            }
        }
    }

    fn status(&self) -> Status {
        let since = |t: SystemTime| t.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let models = self.held();
        #[cfg(test)]
        let models = super::choice::tests::perhaps_old(self, models);
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            clock_ns: u64::try_from(since(SystemTime::now()).as_nanos()).unwrap_or(0),
            expires_s: since(self.expires).as_secs(),
            cluster: self.config.digest(),
            models,
            sessions: u32::try_from(self.sessions.load(Ordering::SeqCst)).unwrap_or(u32::MAX),
        }
    }

    /// The outline of a model that is kept here, from its card. Cards lie with shares: one is read at a time, and
    /// once.
    fn outline(&self, name: &str, dealing: [u8; 32]) -> Result<Outline> {
        let mut outlines = self.outlines.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = self.store.list().into_iter().find(|(n, _, sharing)| n == name && *sharing == dealing);
        let (_, version, _) =
            kept.ok_or_else(|| Error::input("no such dealing of the model is kept here", "provision the model again"))?;
        if let Some(known) = outlines.get(&dealing) {
            return Ok(known.clone());
        }
        let kept = self.store.load(name, Some(version))?;
        let outline = self.check_card(&kept.card)?.outline(kept.sharing)?;
        if outlines.len() >= MOST_OUTLINES {
            outlines.clear();
        }
        outlines.insert(kept.sharing, outline.clone());
        Ok(outline)
    }

    fn held(&self) -> Vec<Held> {
        let held = |(name, version, sharing)| Held { name, version, sharing };
        self.store.list().into_iter().map(held).collect()
    }

    fn probe(&self, network: Option<Network>) -> Vec<control::Measured> {
        let parties = self.config.parties.iter().take(self.config.seats());
        let others = parties.enumerate().filter(|(i, _)| *i != self.me).map(|(_, p)| p);
        others.map(|p| probe::measure(&self.endpoint, &p.name, &p.address, p.fingerprint, network)).collect()
    }

    /// **Errors:** [`Error::Peer`] unless the client has the role.
    pub(super) fn demand(&self, client: Fingerprint, role: Role) -> Result<()> {
        let entry = self.config.client(client);
        if entry.is_some_and(|c| c.roles.contains(&role)) {
            return Ok(());
        }
        let name = self.config.known().get(&client).cloned().unwrap_or_default();
        Err(Error::Peer { message: format!("{name} is no {role:?} in {}'s configuration", self.name()) })
    }

    fn provision(&self, channel: &mut Channel, name: &str, sharing: [u8; 32], card: u64, share: u64) -> Result<()> {
        self.demand(channel.fingerprint(), Role::ModelOwner)?;
        let limits = &self.config.limits;
        if card > limits.card_bytes() || share > limits.model_bytes() {
            let message = format!("a model of {} MiB is beyond this party's limit", card.saturating_add(share) >> 20);
            return Err(Error::misuse(message, ""));
        }
        let Ok(_alone) = self.provisioning.try_lock() else {
            return Err(Error::misuse("another model is being taken", "try again"));
        };
        say(channel, &Reply::Go { card: 0, version: 0, sharing })?;
        let until = Instant::now() + limits.idle();
        let card = channel.recv(as_len(card), until)?;
        let share = Zeroizing::new(channel.recv(as_len(share), until)?);
        let model = self.check_card(&card)?;
        if model.card.name != name || share.len() != model.share_bytes(self.me) {
            return Err(Error::input("the share is not one of the card's model", ""));
        }
        let owner = channel.fingerprint();
        let sharing = sharing_of(owner, &sharing, &card);
        let version = self.store.keep(name, owner, sharing, &card, &share)?;
        self.log(&format!("keeps {name} version {version}, from {}", channel.peer()));
        say(channel, &Reply::Done { version })
    }

    pub(super) fn check_card(&self, bytes: &[u8]) -> Result<Model> {
        let model = Card::decode(bytes, self.config.limits.memory_mib << 20)?;
        if model.protocol != self.config.protocol {
            return Err(Error::input(
                format!("the model was planned for {}", model.protocol.name()),
                "plan it for this cluster's backend",
            ));
        }
        Ok(model)
    }
}

/// The id of a dealing: its owner's key, the owner's nonce, and the model. The owner alone
/// can make parties hold shares under the same id, so shares of two owners, or of two
/// models, never meet in a session.
fn sharing_of(owner: Fingerprint, nonce: &[u8; 32], card: &[u8]) -> [u8; 32] {
    let mut hash = blake3::Hasher::new_derive_key("subrosa 2026-11 sharing of a model v1");
    hash.update(&owner.0).update(nonce).update(blake3::hash(card).as_bytes());
    *hash.finalize().as_bytes()
}

/// Runs `body`, and tells the other end if it fails.
fn refusing(mut channel: Channel, body: impl FnOnce(&mut Channel) -> Result<()>) -> Result<()> {
    let done = body(&mut channel);
    if let Err(error) = &done {
        channel.refuse(&told(error));
    }
    done
}

/// What others may know of an error: what the system said of this machine's files is for its own log.
pub(super) fn told(error: &Error) -> String {
    match matches!(error, Error::Io { .. }) {
        true => "this party's machine failed; its log says how".to_owned(),
        false => error.to_string(),
    }
}

pub(super) fn as_len(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
