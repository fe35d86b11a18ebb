//! A compute party as a service.

use super::card::{Card, Model};
use super::config::{ClusterConfig, Role};
use super::control::{self, Held, Open, Order, PATIENCE, Reply, Request, Status, Totals, Wanted, hear, say};
use super::metrics::{Metrics, Told};
use super::probe;
use super::rendezvous::Rendezvous;
use super::store::Store;
use super::trace::{Span, Tracer};
use crate::{Error, Result};
use std::collections::BTreeSet;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};
use subrosa_core::Phase;
use subrosa_mpc::{Job, ModelShare, Party, Seats};
use subrosa_net::tcp::{Channel, Endpoint, Fingerprint, Identity};
use subrosa_net::{EndpointId, Link, Network, Session, Spin};
use zeroize::Zeroizing;

/// Connections whose purpose is not known yet, at a time.
const MAX_STRANGERS: usize = 64;

/// How long a session's connections are waited for.
const GATHERING: Duration = Duration::from_secs(20);

/// How a party is run.
pub struct PartyOptions {
    /// Where to listen; the address in the configuration unless given.
    pub listen: Option<String>,
    /// Where shares and keys are kept.
    pub state: PathBuf,
    /// The key of the store, if not in `state`.
    pub store_key: Option<PathBuf>,
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

struct Shared {
    config: ClusterConfig,
    me: usize,
    endpoint: Endpoint,
    expires: SystemTime,
    store: Store,
    threads: usize,
    spin: Spin,
    rendezvous: Rendezvous,
    metrics: Arc<Metrics>,
    tracer: Tracer,
    log: Box<dyn Fn(&str) + Send + Sync>,
    strangers: AtomicUsize,
    sessions: AtomicUsize,
    stopping: AtomicBool,
}

impl PartyServer {
    /// Opens the store and listens.
    ///
    /// **Errors:** [`Error::Misuse`] if the identity is no party of the configuration, or
    /// its certificate has expired; [`Error::Io`].
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
        let address = options.listen.unwrap_or_else(|| config.parties[me].address.clone());
        let listener = TcpListener::bind(&address)
            .map_err(|e| Error::Io { message: format!("cannot listen on {address}: {e}"), hint: None })?;
        let shared = Shared {
            endpoint: Endpoint::new(identity, config.known())?,
            me,
            expires,
            store,
            threads: options.threads,
            spin: spin(&config, options.threads),
            rendezvous: Rendezvous::default(),
            metrics: Arc::new(Metrics::new(&config, me)),
            tracer: Tracer::new(&config.parties[me].name, options.traces.as_deref())?,
            log: options.log,
            strangers: AtomicUsize::new(0),
            sessions: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
            config,
        };
        Ok(Self { listener, shared: Arc::new(shared) })
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
            if shared.strangers.fetch_add(1, Ordering::SeqCst) >= MAX_STRANGERS {
                shared.strangers.fetch_sub(1, Ordering::SeqCst);
                continue;
            }
            std::thread::spawn(move || shared.serve(stream));
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
    fn name(&self) -> &str {
        &self.config.parties[self.me].name
    }

    fn log(&self, line: &str) {
        (self.log)(line);
    }

    fn serve(&self, stream: TcpStream) {
        let until = Instant::now() + PATIENCE;
        let accepted = self.endpoint.accept(stream, until);
        let heard = accepted.map_err(Error::from).and_then(|mut channel| {
            let request = hear::<Request>(&mut channel, PATIENCE)?;
            Ok((channel, request))
        });
        self.strangers.fetch_sub(1, Ordering::SeqCst);
        let outcome = heard.and_then(|(channel, request)| self.answer(channel, request));
        if let Err(error) = outcome {
            self.metrics.refused();
            self.log(&format!("refused: {error}"));
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
                let version = self.store.remove(&name, version)?;
                say(c, &Reply::Done { version })
            }),
            Request::Open(open) => self.open(channel, &open),
            Request::Join { session } => {
                let until = Instant::now() + GATHERING;
                self.rendezvous.deliver(session, channel, until).map_err(|channel| {
                    let peer = channel.peer().to_owned();
                    channel.refuse("this session was not opened here");
                    Error::Peer { message: format!("{peer} joined session {session}, which nobody opened here") }
                })
            }
        }
    }

    fn status(&self) -> Status {
        let since = |t: SystemTime| t.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            clock_ns: u64::try_from(since(SystemTime::now()).as_nanos()).unwrap_or(0),
            expires_s: since(self.expires).as_secs(),
            cluster: self.config.digest(),
            models: self.held(),
            sessions: u32::try_from(self.sessions.load(Ordering::SeqCst)).unwrap_or(u32::MAX),
        }
    }

    fn held(&self) -> Vec<Held> {
        let versions = self
            .store
            .list()
            .into_iter()
            .flat_map(|(name, versions)| versions.into_iter().map(move |version| (name.clone(), version)));
        let held = |(name, version): (String, u32)| {
            let sharing = self.store.load(&name, Some(version)).ok()?.sharing;
            Some(Held { name, version, sharing })
        };
        versions.filter_map(held).collect()
    }

    fn probe(&self, network: Option<Network>) -> Vec<control::Measured> {
        let others = self.config.parties.iter().enumerate().filter(|(i, _)| *i != self.me).map(|(_, p)| p);
        others.map(|p| probe::measure(&self.endpoint, &p.name, &p.address, p.fingerprint, network)).collect()
    }

    /// **Errors:** [`Error::Peer`] unless the client has the role.
    fn demand(&self, client: Fingerprint, role: Role) -> Result<()> {
        let entry = self.config.client(client);
        if entry.is_some_and(|c| c.roles.contains(&role)) {
            return Ok(());
        }
        let name = self.config.known().get(&client).cloned().unwrap_or_default();
        Err(Error::Peer { message: format!("{name} is no {role:?} in {}'s configuration", self.name()) })
    }

    fn provision(&self, channel: &mut Channel, name: &str, sharing: [u8; 32], card: u64, share: u64) -> Result<()> {
        self.demand(channel.fingerprint(), Role::ModelOwner)?;
        let limit = self.config.limits.model_bytes();
        if card.saturating_add(share) > limit {
            return Err(Error::misuse(
                format!("a model of {} MiB is beyond this party's limit", (card + share) >> 20),
                "",
            ));
        }
        say(channel, &Reply::Go { card: 0, version: 0, sharing })?;
        let until = Instant::now() + self.config.limits.idle();
        let card = channel.recv(as_len(card), until)?;
        let share = Zeroizing::new(channel.recv(as_len(share), until)?);
        let model = self.check_card(&card)?;
        if model.card.name != name || share.len() != model.share_bytes(self.me) {
            return Err(Error::input("the share is not one of the card's model", ""));
        }
        let version = self.store.keep(name, sharing, &card, &share)?;
        self.log(&format!("keeps {name} version {version}, from {}", channel.peer()));
        say(channel, &Reply::Done { version })
    }

    fn check_card(&self, bytes: &[u8]) -> Result<Model> {
        let model = Card::decode(bytes, self.config.limits.memory_mib << 20)?;
        if model.protocol != self.config.protocol {
            return Err(Error::input(
                format!("the model was planned for {}", model.protocol.name()),
                "plan it for this cluster's backend",
            ));
        }
        Ok(model)
    }

    /// A whole session, from its opening to its end.
    fn open(&self, channel: Channel, open: &Open) -> Result<()> {
        let limit = self.config.limits.sessions;
        if self.sessions.fetch_add(1, Ordering::SeqCst) >= limit {
            self.sessions.fetch_sub(1, Ordering::SeqCst);
            channel.refuse(&format!("{limit} sessions are at work here already; try again later"));
            return Ok(());
        }
        self.metrics.opened();
        let client = channel.peer().to_owned();
        let trace = open.trace;
        let mut span = self.tracer.span(&trace, "session");
        let ended = self.run_session(channel, open, &span);
        self.sessions.fetch_sub(1, Ordering::SeqCst);
        self.metrics.closed(ended.is_ok());
        let id = open.session;
        match &ended {
            Ok(samples) => self.log(&format!("session {id} for {client}: {samples} samples, ended")),
            Err(error) => {
                span.failed();
                self.log(&format!("session {id} for {client}: failed: {error}"));
            }
        }
        Ok(())
    }

    fn run_session(&self, mut channel: Channel, open: &Open, span: &Span<'_>) -> Result<u64> {
        let place = self.rendezvous.open(open.session);
        let prepared = match &place {
            None => Err(Error::misuse("this session is open already", "")),
            Some(_) => self.prepare(&mut channel, open),
        };
        let gathered = prepared.and_then(|kept| {
            let place = place.as_ref().ok_or_else(|| Error::misuse("this session is open already", ""))?;
            let others = self.gather(place, open, &kept)?;
            Ok((kept, others))
        });
        let (kept, mut links) = match gathered {
            Ok(gathered) => gathered,
            Err(error) => {
                channel.refuse(&format!("{error}"));
                return Err(error);
            }
        };
        let (n, client) = (self.config.parties.len(), channel.peer().to_owned());
        links.push((n, channel.into_link()));
        let mut names: Vec<String> = self.config.parties.iter().map(|p| p.name.clone()).collect();
        names.push(client);
        names.extend(open.receiver.clone());
        let mut session = Session::new(self.me, names, links);
        if let Some(network) = open.network() {
            session = session.shaped(network);
        }
        let limits = &self.config.limits;
        session.set_deadline(limits.deadline());
        session.set_spin(self.spin);
        session.set_limit(Some(Instant::now() + Duration::from_secs(limits.session_s)));
        self.work(session, open, kept, span)
    }

    /// What this party needs to know before it meets the others. Tells the client.
    fn prepare(&self, channel: &mut Channel, open: &Open) -> Result<Prepared> {
        self.demand(channel.fingerprint(), Role::DataOwner)?;
        match &open.receiver {
            None => self.demand(channel.fingerprint(), Role::Receiver)?,
            Some(name) => {
                let receiver = self.config.clients.iter().find(|c| c.name == *name);
                let known = receiver.filter(|c| c.roles.contains(&Role::Receiver));
                known.ok_or_else(|| Error::misuse(format!("'{name}' is no receiver here"), ""))?;
            }
        }
        if open.cluster != self.config.digest() {
            let message = format!("{} has another subrosa.toml: names, keys, roles or the backend differ", self.name());
            return Err(Error::misuse(message, "give everybody the same file"));
        }
        match &open.model {
            Wanted::Kept { name, version } => {
                let kept = self.store.load(name, *version)?;
                let model = self.check_card(&kept.card)?;
                let (card, version) = (kept.card.len() as u64, kept.version);
                say(channel, &Reply::Go { card, version, sharing: kept.sharing })?;
                channel.send(kept.card)?;
                Ok(Prepared { model, sharing: kept.sharing, version, share: Some(kept.share) })
            }
            Wanted::Brought { card } => {
                self.demand(channel.fingerprint(), Role::ModelOwner)?;
                if *card > self.config.limits.model_bytes() {
                    return Err(Error::misuse("the model's card is beyond this party's limit", ""));
                }
                say(channel, &Reply::Go { card: 0, version: 0, sharing: open.session.sharing() })?;
                let bytes = channel.recv(as_len(*card), Instant::now() + self.config.limits.idle())?;
                let model = self.check_card(&bytes)?;
                Ok(Prepared { model, sharing: open.session.sharing(), version: 0, share: None })
            }
        }
    }

    /// Links to the other parties, and to the receiver if that is not the client: dials the
    /// parties before it, awaits those behind it.
    fn gather(
        &self,
        place: &super::rendezvous::Place<'_>,
        open: &Open,
        prepared: &Prepared,
    ) -> Result<Vec<(EndpointId, Box<dyn Link>)>> {
        // Somebody has to type the receiver's command.
        let waits = if open.receiver.is_some() { self.config.limits.idle() } else { GATHERING };
        let until = Instant::now() + waits;
        let parties = &self.config.parties;
        let mut links: Vec<(EndpointId, Box<dyn Link>)> = Vec::new();
        for (i, party) in parties.iter().enumerate().take(self.me) {
            let mut channel = self.endpoint.dial(&party.name, &party.address, party.fingerprint, until)?;
            say(&mut channel, &Request::Join { session: open.session })?;
            links.push((i, channel.into_link()));
        }
        let mut missing: BTreeSet<&str> = parties.iter().skip(self.me + 1).map(|p| p.name.as_str()).collect();
        missing.extend(open.receiver.as_deref());
        while !missing.is_empty() {
            let Some(mut channel) = place.next(until) else {
                let names: Vec<&str> = missing.into_iter().collect();
                return Err(Error::Peer { message: format!("{} did not join the session", names.join(" and ")) });
            };
            // Whoever else sends a connection here is no part of this session.
            let Some(&name) = missing.iter().find(|n| **n == channel.peer()) else { continue };
            missing.remove(name);
            let number = parties.iter().position(|p| p.name == name);
            if number.is_none() {
                let card = prepared.model.card.encode()?;
                let (length, version) = (card.len() as u64, prepared.version);
                say(&mut channel, &Reply::Go { card: length, version, sharing: prepared.sharing })?;
                channel.send(card)?;
            }
            links.push((number.unwrap_or(parties.len() + 1), channel.into_link()));
        }
        Ok(links)
    }

    /// Joins the others and follows the client's orders.
    fn work(&self, session: Session, open: &Open, prepared: Prepared, span: &Span<'_>) -> Result<u64> {
        let Prepared { model, sharing, version: _, share } = prepared;
        let client = self.config.parties.len();
        let receiver = if open.receiver.is_some() { client + 1 } else { client };
        let seats = Seats { data_owner: client, receiver };
        let job = Job { program: Arc::clone(&model.program), options: model.options, sharing, seats };
        let source = share.as_ref().map_or(ModelShare::Owner(client), |s| ModelShare::Kept(s));
        let setup = span.child("setup");
        let mut party = Party::join(model.protocol, session, job, source)?;
        drop(setup);
        let followed = self.follow(&mut party, &model, seats, span);
        if let Err(error) = &followed {
            party.session().stop(&error.to_string());
        }
        followed
    }

    /// The client's orders, until it ends the session.
    fn follow(&self, party: &mut Party, model: &Model, seats: Seats, span: &Span<'_>) -> Result<u64> {
        let Seats { data_owner: client, receiver } = seats;
        let limits = &self.config.limits;
        let (mut told, mut granted, mut samples) = (Told::default(), BTreeSet::new(), 0);
        loop {
            let totals = Totals::of(party.session());
            self.metrics.traffic(party.session(), &mut told);
            party.session().control(vec![(client, totals.encode())], &[], limits.deadline())?;
            let order = party.session().control(vec![], &[(client, Order::BYTES)], limits.idle())?;
            let order = order.first().and_then(|o| Order::decode(o));
            match order {
                Some(Order::Prepare(batch)) => {
                    let batch = self.grant(model, batch, &mut granted)?;
                    let _span = span.child("prepare");
                    let start = Instant::now();
                    party.prepare(batch)?;
                    self.metrics.took(Phase::Offline, start.elapsed());
                }
                Some(Order::Run(batch)) => {
                    let batch = self.grant(model, batch, &mut granted)?;
                    let _span = span.child("run");
                    let start = Instant::now();
                    if receiver != client {
                        let count = (batch as u64).to_le_bytes().to_vec();
                        party.session().control(vec![(receiver, count)], &[], limits.deadline())?;
                    }
                    party.run(batch)?;
                    samples += batch as u64;
                    self.metrics.took(Phase::Online, start.elapsed());
                    self.metrics.computed(batch);
                }
                Some(Order::End) => {
                    if receiver != client {
                        party.session().control(vec![(receiver, vec![0; 8])], &[], limits.deadline())?;
                    }
                    return Ok(samples);
                }
                None => return Err(Error::Peer { message: "the client sent an order that does not exist".into() }),
            }
        }
    }

    /// The batch, if this party's limits allow it.
    fn grant(&self, model: &Model, batch: u32, granted: &mut BTreeSet<u32>) -> Result<usize> {
        let (samples, limits) = (batch as usize, &self.config.limits);
        if granted.contains(&batch) {
            return Ok(samples);
        }
        if samples == 0 || samples > limits.batch {
            return Err(Error::misuse(
                format!("a batch of {samples} is outside this party's limit of {}", limits.batch),
                "",
            ));
        }
        let memory = model.memory(samples)?;
        if memory > limits.memory_mib << 20 {
            let message = format!("a batch of {samples} needs about {} MiB, more than this party grants", memory >> 20);
            return Err(Error::misuse(message, "choose a smaller --batch"));
        }
        granted.insert(batch);
        Ok(samples)
    }
}

/// What a party knows of a session before it meets the others.
struct Prepared {
    model: Model,
    sharing: [u8; 32],
    version: u32,
    share: Option<Zeroizing<Vec<u8>>>,
}

/// Runs `body`, and tells the other end if it fails.
fn refusing(mut channel: Channel, body: impl FnOnce(&mut Channel) -> Result<()>) -> Result<()> {
    let done = body(&mut channel);
    if let Err(error) = &done {
        channel.refuse(&error.to_string());
    }
    done
}

fn as_len(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
