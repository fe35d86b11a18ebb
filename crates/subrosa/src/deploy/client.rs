//! Model owners, data owners and receivers, from machines of their own.

use super::card::{Card, Model};
use super::choice::{Choice, Which, choose};
use super::config::{ClusterConfig, Dealer, check_name};
use super::control::{Held, Measured, Open, PATIENCE, Reply, Request, SessionId, Status, Wanted};
use super::control::{as_numbers, hear, say};
use super::probe;
use super::remote::{Lane, Receiving, Remote};
use super::sealing::SealingStatement;
use crate::output::Phase as Spent;
use crate::plan::Plan;
use crate::{Error, Result};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use subrosa_core::Phase;
use subrosa_graph::WeightSet;
use subrosa_mpc::relayed::Outline;
use subrosa_mpc::roles::{deal_model, give_model};
use subrosa_net::tcp::{Channel, Endpoint, Fingerprint, Identity};
use subrosa_net::{EndpointId, Link, Network, Session, Spin};

/// How long parties may take to meet, beyond the deadline of a round.
const GATHERING: Duration = Duration::from_secs(25);

/// A client of a deployment.
pub struct Cluster {
    pub(super) config: ClusterConfig,
    endpoint: Endpoint,
    /// How long a party is tried before it counts as unreachable.
    reach: Duration,
}

/// How to open a session.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// Sessions at a time, so that one computes while another waits for the network.
    pub lanes: usize,
    /// Samples in one inference.
    pub batch: usize,
    /// A network to imitate.
    pub network: Option<Network>,
    /// Who gets the results, if not this client, and the code by which that one finds the
    /// session. One lane only.
    pub receiver: Option<(String, SessionId)>,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self { lanes: 1, batch: 1, network: None, receiver: None }
    }
}

/// What there is to know of one party.
pub struct PartyReport {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: String,
    /// What it says of itself, or why it does not.
    pub status: std::result::Result<Status, String>,
    /// Its clock against ours, seconds; positive where it is ahead.
    pub clock_offset_s: Option<f64>,
    /// The way from here.
    pub link: Measured,
    /// Its ways to the other parties.
    pub links: Vec<Measured>,
}

impl Cluster {
    /// A client with this identity.
    ///
    /// **Errors:** [`Error::Misuse`] if the configuration does not name it, or its
    /// certificate has expired.
    pub fn new(config: ClusterConfig, identity: Identity) -> Result<Self> {
        let print = identity.fingerprint();
        if !config.known().contains_key(&print) {
            let message = format!("nobody in the configuration has this identity's key, {print}");
            return Err(Error::misuse(message, "put it under [[client]], at every party"));
        }
        if identity.validity().until < SystemTime::now() {
            return Err(Error::misuse("this client's certificate has expired", "subrosa party init --renew"));
        }
        let endpoint = Endpoint::new(identity, config.known())?;
        Ok(Self { config, endpoint, reach: Duration::from_secs(10) })
    }

    /// How long a party that does not answer is tried; 10 seconds at first.
    pub fn set_reach(&mut self, reach: Duration) {
        self.reach = reach;
    }

    /// This client's key.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        self.endpoint.fingerprint()
    }

    /// The configuration.
    pub fn config(&self) -> &ClusterConfig {
        &self.config
    }

    pub(super) fn dial(&self, party: usize) -> Result<Channel> {
        let entry = &self.config.parties[party];
        let until = Instant::now() + self.reach;
        Ok(self.endpoint.dial(&entry.name, &entry.address, entry.fingerprint, until)?)
    }

    fn status(&self, party: usize) -> Result<(Status, f64)> {
        let mut channel = self.dial(party)?;
        let before = SystemTime::now();
        say(&mut channel, &Request::Status)?;
        let Reply::Status(mut status) = hear(&mut channel, PATIENCE)? else { return Err(odd(&channel)) };
        // What a party says is printed: plain names only.
        status.models.retain(|m| check_name(&m.name).is_ok());
        status.version.retain(|c| c.is_ascii_graphic());
        let trip = before.elapsed().unwrap_or_default();
        let here = before.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64() + trip.as_secs_f64() / 2.0;
        let offset = status.clock_ns as f64 / 1e9 - here;
        Ok((status, offset))
    }

    /// What each party with a seat says that may be sealed to for a model, for whose outline it vouches.
    ///
    /// **Errors:** [`Error::Peer`] naming the party that does not answer, or does not vouch.
    pub(super) fn sealing_keys(&self, outline: &Outline) -> Result<Vec<SealingStatement>> {
        let encoded = outline.encode()?;
        let one = |party: usize| {
            let mut channel = self.dial(party)?;
            say(&mut channel, &Request::SealingKey { model: outline.model.clone(), dealing: outline.dealing })?;
            match hear(&mut channel, PATIENCE)? {
                Reply::SealingKey(statement) if statement.is_of(channel.fingerprint(), &encoded) => Ok(statement),
                Reply::SealingKey(_) => {
                    let what = "has another sealing key or model than it vouches for; compare both clocks";
                    let message = format!("{} {what}", channel.peer());
                    Err(Error::Peer { message })
                }
                Reply::Status(_) | Reply::Pong | Reply::Probed(_) | Reply::Go { .. } | Reply::Done { .. } => {
                    Err(odd(&channel))
                }
            }
        };
        (0..self.config.seats()).map(one).collect()
    }

    /// Asks every party that has a seat in sessions how it is, and measures every way between
    /// them, imitating a network if one is given.
    pub fn check(&self, network: Option<Network>) -> Vec<PartyReport> {
        let report = |i: usize| {
            let entry = &self.config.parties[i];
            let status = self.status(i);
            let link = probe::measure(&self.endpoint, &entry.name, &entry.address, entry.fingerprint, network);
            let links = self.dial(i).and_then(|mut channel| {
                say(&mut channel, &Request::Probe { network: network.map(as_numbers) })?;
                match hear(&mut channel, PATIENCE * 3)? {
                    Reply::Probed(links) => Ok(links.into_iter().map(printable).collect()),
                    Reply::Status(_) | Reply::Pong | Reply::Go { .. } | Reply::Done { .. } | Reply::SealingKey(_) => {
                        Err(odd(&channel))
                    }
                }
            });
            PartyReport {
                name: entry.name.clone(),
                address: entry.address.clone(),
                clock_offset_s: status.as_ref().ok().map(|s| s.1),
                status: status.map(|s| s.0).map_err(|e| e.to_string()),
                link,
                links: links.unwrap_or_default(),
            }
        };
        (0..self.config.seats()).map(report).collect()
    }

    /// Gives every party its share of the planned model, to keep under `name`. Returns the
    /// version that the first party gave it. A failure at one leaves it at none.
    ///
    /// **Errors:** [`Error::Peer`] naming the party; [`Error::Misuse`].
    pub fn provision(&self, plan: &Plan, name: &str) -> Result<u32> {
        let card = Card::of(plan, name)?.encode()?;
        let fixed = plan.inner.fixed.as_ref().ok_or_else(|| Error::misuse("'plain' has no parties", ""))?;
        let (program, options) = (&fixed.lowered.program, &fixed.options);
        let mut shares = deal_model(fixed.protocol, program, &fixed.lowered.weights, options)?;
        shares.resize(self.config.parties.len(), Vec::new());
        let mut sharing = [0; 32];
        sharing.copy_from_slice(subrosa_core::Seed::random().map_err(subrosa_mpc::Error::from)?.expose());
        let mut kept: Vec<u32> = Vec::new();
        for (party, share) in shares.into_iter().enumerate() {
            match self.provision_one(party, name, sharing, card.clone(), share) {
                Ok(version) => kept.push(version),
                Err(error) => {
                    for (party, &version) in kept.iter().enumerate() {
                        // The error that matters is the first one.
                        let _ = self.remove_one(party, name, Some(version));
                    }
                    return Err(error);
                }
            }
        }
        Ok(kept.first().copied().unwrap_or(0))
    }

    fn provision_one(&self, party: usize, name: &str, sharing: [u8; 32], card: Vec<u8>, share: Vec<u8>) -> Result<u32> {
        let mut channel = self.dial(party)?;
        let (card_len, share_len) = (card.len() as u64, share.len() as u64);
        say(&mut channel, &Request::Provision { name: name.to_owned(), sharing, card: card_len, share: share_len })?;
        let Reply::Go { .. } = hear(&mut channel, PATIENCE)? else { return Err(odd(&channel)) };
        channel.send(card)?;
        channel.send(share)?;
        done(&mut channel, self.config.limits.idle())
    }

    /// Makes every party forget a model: one version, or all.
    ///
    /// **Errors:** [`Error::Peer`] naming the party.
    pub fn remove(&self, name: &str, version: Option<u32>) -> Result<u32> {
        (0..self.config.parties.len()).map(|p| self.remove_one(p, name, version)).try_fold(0, |n, r| Ok(n.max(r?)))
    }

    fn remove_one(&self, party: usize, name: &str, version: Option<u32>) -> Result<u32> {
        let mut channel = self.dial(party)?;
        say(&mut channel, &Request::Remove { name: name.to_owned(), version })?;
        done(&mut channel, PATIENCE)
    }

    /// Opens a session on a model that the parties keep: of `name` the newest dealing that
    /// all of them hold, or the one that every one of them calls `version`.
    ///
    /// **Errors:** [`Error::Peer`] naming the party, also one that calls another dealing so;
    /// [`Error::Input`] for an unknown model.
    pub fn open(&self, name: &str, version: Option<u32>, options: &OpenOptions) -> Result<Remote> {
        self.open_dealing(name, version.into(), options)
    }

    pub(super) fn open_dealing(&self, name: &str, which: Which, options: &OpenOptions) -> Result<Remote> {
        let statuses = (0..self.config.seats()).map(|p| Ok(self.status(p)?.0)).collect::<Result<Vec<_>>>()?;
        let parties = self.config.parties.iter().zip(&statuses);
        let held: Vec<(&str, &[Held])> = parties.map(|(p, s)| (p.name.as_str(), s.models.as_slice())).collect();
        let choice = choose(&held, name, which)?;
        self.remote(options, |_| Source::Kept { name, choice: &choice })
    }

    /// Opens a session on a planned model that this client brings: its weights are dealt in
    /// the session, and forgotten with it.
    ///
    /// **Errors:** [`Error::Peer`] naming the party; [`Error::Misuse`].
    pub fn open_plan(&self, plan: &Plan, options: &OpenOptions) -> Result<Remote> {
        if self.config.dealer == Dealer::Offline {
            let message = "the dealer has dealt ahead of time, for models whose masks it knows";
            return Err(Error::misuse(
                message,
                "provision the model while the dealer is there, and run it by its name",
            ));
        }
        let card = Card::of(plan, plan.inner.model.name())?;
        let fixed = plan.inner.fixed.as_ref().ok_or_else(|| Error::misuse("'plain' has no parties", ""))?;
        let card = card.encode()?;
        self.remote(options, |_| Source::Brought { card: &card, weights: &fixed.lowered.weights })
    }

    fn remote<'a>(&self, options: &OpenOptions, source: impl Fn(usize) -> Source<'a>) -> Result<Remote> {
        let lanes = if options.receiver.is_some() { 1 } else { options.lanes.max(1) };
        let started = Instant::now();
        let mut trace = [0; 16];
        trace.copy_from_slice(&SessionId::random()?.0);
        let opened = (0..lanes).map(|i| self.lane(options, &source(i), trace)).collect::<Result<Vec<_>>>()?;
        let (mut lanes, mut models): (Vec<Lane>, Vec<Going>) = opened.into_iter().unzip();
        let cost = lanes.iter_mut().map(|lane| lane.since(Phase::Setup)).sum();
        let going = models.pop().ok_or_else(|| Error::misuse("a session needs a lane", ""))?;
        let Going { model, version, dealing } = going;
        let setup = Spent { cost, ms: started.elapsed().as_secs_f64() * 1e3 };
        let deadline = self.config.limits.deadline();
        let (opens, fills) = (options.receiver.is_none(), self.config.dealer == Dealer::Offline);
        let batch = options.batch.max(1);
        Ok(Remote { model, version, dealing, lanes, batch, setup, trace, deadline, opens, fills })
    }

    fn lane(&self, options: &OpenOptions, source: &Source<'_>, trace: [u8; 16]) -> Result<(Lane, Going)> {
        let session = options.receiver.as_ref().map_or_else(SessionId::random, |r| Ok(r.1))?;
        let mut channels = (0..self.config.seats()).map(|p| self.dial(p)).collect::<Result<Vec<_>>>()?;
        for (party, channel) in channels.iter_mut().enumerate() {
            let network = options.network.map(as_numbers);
            let open = Open {
                session,
                trace,
                cluster: self.config.digest(),
                model: source.wanted(party),
                receiver: options.receiver.as_ref().map(|r| r.0.clone()),
                network,
            };
            say(channel, &Request::Open(open))?;
        }
        let mut going: Option<Going> = None;
        for (party, channel) in channels.iter_mut().enumerate() {
            let got = self.go(channel, source, source.expected(party, session))?;
            match &going {
                Some(first) if first.model.digest()? != got.model.digest()? || first.dealing != got.dealing => {
                    let message = format!("{} holds another model of that name", channel.peer());
                    return Err(Error::Peer { message });
                }
                Some(_) => {}
                None => going = Some(got),
            }
        }
        let going = going.ok_or_else(|| Error::misuse("a cluster has parties", ""))?;
        let session = self.session(channels, options, self.config.parties.len());
        let mut lane = Lane::new(session, self.config.seats());
        lane.session.set_phase(Phase::Setup);
        if let Source::Brought { weights, .. } = source {
            let model = &going.model;
            give_model(model.protocol, &mut lane.session, &model.program, weights, &model.options)?;
        }
        let wait = if options.receiver.is_some() { self.config.limits.idle() } else { GATHERING };
        lane.listen(wait + self.config.limits.deadline())?;
        Ok((lane, going))
    }

    /// Hears that a session goes on, and its model, which is the version and dealing that was asked for.
    fn go(&self, channel: &mut Channel, source: &Source<'_>, asked: (u32, [u8; 32])) -> Result<Going> {
        let Reply::Go { card, version, sharing: dealing } = hear(channel, PATIENCE)? else { return Err(odd(channel)) };
        if (version, dealing) != asked {
            let message = format!("{} opens another version of the model than it was asked for", channel.peer());
            return Err(Error::Peer { message });
        }
        let bytes = match source {
            Source::Brought { card, .. } => {
                channel.send(card.to_vec())?;
                card.to_vec()
            }
            Source::Kept { .. } => self.card(channel, card)?,
        };
        let model = Card::decode(&bytes, self.config.limits.memory_mib << 20)?;
        match model.protocol == self.config.protocol {
            true => Ok(Going { model, version, dealing }),
            false => Err(Error::Peer { message: format!("{} holds a model for another protocol", channel.peer()) }),
        }
    }

    fn card(&self, channel: &mut Channel, length: u64) -> Result<Vec<u8>> {
        if length > self.config.limits.card_bytes() {
            return Err(Error::Peer { message: format!("{} announces a card of {length} bytes", channel.peer()) });
        }
        Ok(channel.recv(usize::try_from(length).unwrap_or(0), Instant::now() + PATIENCE)?)
    }

    fn session(&self, channels: Vec<Channel>, options: &OpenOptions, me: EndpointId) -> Session {
        let mut names: Vec<String> = self.config.parties.iter().map(|p| p.name.clone()).collect();
        names.extend(["data owner".to_owned(), "receiver".to_owned()]);
        let links: Vec<(EndpointId, Box<dyn Link>)> =
            channels.into_iter().enumerate().map(|(i, c)| (i, c.into_link())).collect();
        let mut session = Session::new(me, names, links);
        if let Some(network) = options.network {
            session = session.shaped(network);
        }
        session.set_deadline(self.config.limits.deadline());
        session.set_spin(Spin::NONE);
        session
    }

    /// Waits for the results of a session that a data owner opened for this client, who
    /// gave out its code.
    ///
    /// **Errors:** [`Error::Peer`] naming the party.
    pub fn receive(&self, code: SessionId) -> Result<Receiving> {
        let (n, seats) = (self.config.parties.len(), self.config.seats());
        let mut channels = (0..seats).map(|p| self.dial(p)).collect::<Result<Vec<_>>>()?;
        for channel in &mut channels {
            say(channel, &Request::Join { session: code })?;
        }
        let mut first: Option<(Vec<u8>, [u8; 32])> = None;
        for channel in &mut channels {
            let Reply::Go { card, sharing, .. } = hear(channel, GATHERING + PATIENCE)? else {
                return Err(odd(channel));
            };
            let got = (self.card(channel, card)?, sharing);
            if first.as_ref().is_some_and(|first| *first != got) {
                return Err(Error::Peer {
                    message: format!("{} computes another model in this session", channel.peer()),
                });
            }
            first.get_or_insert(got);
        }
        let (card, _) = first.ok_or_else(|| Error::misuse("a cluster has parties", ""))?;
        let model = Card::decode(&card, self.config.limits.memory_mib << 20)?;
        if model.protocol != self.config.protocol {
            return Err(Error::Peer { message: "the session's model is for another protocol".into() });
        }
        let session = self.session(channels, &OpenOptions::default(), n + 1);
        Ok(Receiving { model, session, parties: seats, idle: self.config.limits.idle() })
    }
}

/// The model of a session that goes on, as a party told it.
struct Going {
    model: Model,
    /// What the party calls it.
    version: u32,
    /// Which dealing of it the party holds.
    dealing: [u8; 32],
}

/// Where the parties have the model from.
enum Source<'a> {
    /// They keep it, each under its own version number.
    Kept { name: &'a str, choice: &'a Choice },
    /// From this client.
    Brought { card: &'a [u8], weights: &'a WeightSet },
}

impl Source<'_> {
    fn wanted(&self, party: usize) -> Wanted {
        match self {
            Self::Kept { name, choice } => {
                Wanted::Kept { name: (*name).to_owned(), version: choice.versions.get(party).copied() }
            }
            Self::Brought { card, .. } => Wanted::Brought { card: card.len() as u64 },
        }
    }

    /// The version and dealing that a party says it opened.
    fn expected(&self, party: usize, session: SessionId) -> (u32, [u8; 32]) {
        match self {
            Self::Kept { choice, .. } => (choice.versions.get(party).copied().unwrap_or(0), choice.sharing),
            Self::Brought { .. } => (0, session.sharing()),
        }
    }
}

/// What another party reports, as text that is safe to print.
fn printable(measured: Measured) -> Measured {
    let plain =
        |text: String| -> String { text.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(400).collect() };
    Measured { peer: plain(measured.peer), result: measured.result.map_err(plain) }
}

fn odd(channel: &Channel) -> Error {
    Error::Peer { message: format!("{} answers another question than was asked", channel.peer()) }
}

fn done(channel: &mut Channel, within: Duration) -> Result<u32> {
    match hear(channel, within)? {
        Reply::Done { version } => Ok(version),
        Reply::Status(_) | Reply::Pong | Reply::Probed(_) | Reply::Go { .. } | Reply::SealingKey(_) => {
            Err(odd(channel))
        }
    }
}
