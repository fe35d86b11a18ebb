//! One session at a compute party: put together, set up, and led by its client's orders.

use super::callers::Slot;
use super::card::Model;
use super::config::{Role, check_name};
use super::control::{MOST_PARTS, Open, Order, Reply, Request, Totals, Wanted, as_numbers, say};
use super::keys::Supply;
use super::metrics::Told;
use super::party::{Shared, as_len, told};
use super::relay::Relayed;
use super::rendezvous::Place;
use crate::trace::Span;
use crate::{Error, Result};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use subrosa_core::Phase;
use subrosa_mpc::{Job, Load, ModelShare, Options, Party, Seats};
use subrosa_net::tcp::{Channel, Fingerprint};
use subrosa_net::{EndpointId, Link, Session};
use zeroize::Zeroizing;

/// How long a session's connections are waited for.
const GATHERING: Duration = Duration::from_secs(20);

/// How often a party that waits for others looks whether its client is still there.
const GLANCE: Duration = Duration::from_millis(50);

/// What a party knows of a session before it meets the others.
struct Prepared {
    model: Model,
    sharing: [u8; 32],
    version: u32,
    share: Option<Zeroizing<Vec<u8>>>,
}

impl Shared {
    /// A whole session, from its opening to its end.
    pub(super) fn open(&self, channel: Channel, open: &Open) -> Result<()> {
        let limit = self.config.limits.sessions;
        let Some(slot) = Slot::take(&self.sessions, limit) else {
            channel.refuse(&format!("{limit} sessions are at work here already; try again later"));
            return Ok(());
        };
        let mut counted = self.metrics.opened();
        let client = channel.peer().to_owned();
        let trace = open.trace;
        let mut span = self.tracer.span(&trace, "session");
        let ended = self.run_session(channel, open, &span);
        counted.well = ended.is_ok();
        drop((slot, counted));
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

    fn run_session(&self, mut channel: Channel, open: &Open, span: &Span) -> Result<u64> {
        if self.me >= self.config.seats() {
            channel.refuse("the dealer has dealt ahead of time, and has no seat in sessions");
            return Err(Error::misuse("a session was opened with an offline dealer", ""));
        }
        let place = self.rendezvous.open(open.session, self.awaited(open));
        let prepared = match &place {
            None => Err(Error::misuse("this session is open already", "")),
            Some(_) => self.prepare(&mut channel, open),
        };
        let gathered = prepared.and_then(|kept| {
            let place = place.as_ref().ok_or_else(|| Error::misuse("this session is open already", ""))?;
            let others = self.gather(place, open, &kept, &mut channel)?;
            Ok((kept, others))
        });
        // Whoever comes now is too late.
        drop(place);
        let (kept, mut links) = match gathered {
            Ok(gathered) => gathered,
            Err(error) => {
                channel.refuse(&told(&error));
                return Err(error);
            }
        };
        let (n, client) = (self.config.parties.len(), channel.peer().to_owned());
        let context = self.context(open, channel.fingerprint(), &kept)?;
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
        self.work(session, open, kept, context, span)
    }

    /// Everything else that the parties have to see alike, beside the job.
    fn context(&self, open: &Open, client: Fingerprint, prepared: &Prepared) -> Result<[u8; 32]> {
        let mut hash = blake3::Hasher::new_derive_key("subrosa 2026-11 session context v1");
        hash.update(&self.config.digest()).update(&open.session.0).update(&client.0).update(&prepared.model.digest()?);
        hash.update(&[u8::from(prepared.share.is_some())]);
        let (rtt, bandwidth) = open.network().map_or((0, 0.0), as_numbers);
        hash.update(&rtt.to_le_bytes()).update(&bandwidth.to_le_bytes());
        hash.update(open.receiver.as_deref().unwrap_or_default().as_bytes());
        Ok(*hash.finalize().as_bytes())
    }

    /// What this party needs to know before it meets the others. Tells the client.
    fn prepare(&self, channel: &mut Channel, open: &Open) -> Result<Prepared> {
        self.demand(channel.fingerprint(), Role::DataOwner)?;
        match &open.receiver {
            None => self.demand(channel.fingerprint(), Role::Receiver)?,
            Some(name) => {
                // It is repeated below, and in the log.
                check_name(name)?;
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
                #[cfg(test)]
                let kept = super::choice::tests::perhaps_another(self, name, kept);
                let model = self.check_card(&kept.card)?;
                let (card, version) = (kept.card.len() as u64, kept.version);
                say(channel, &Reply::Go { card, version, sharing: kept.sharing })?;
                channel.send(kept.card)?;
                Ok(Prepared { model, sharing: kept.sharing, version, share: Some(kept.share) })
            }
            Wanted::Brought { .. } if self.stock.is_some() => Err(Error::misuse(
                "the dealer is offline, and knows no masks of a model that is brought",
                "provision it while the dealer is there",
            )),
            Wanted::Brought { card } => {
                self.demand(channel.fingerprint(), Role::ModelOwner)?;
                if *card > self.config.limits.card_bytes() {
                    return Err(Error::misuse("the model's card is beyond this party's limit", ""));
                }
                say(channel, &Reply::Go { card: 0, version: 0, sharing: open.session.sharing() })?;
                let bytes = channel.recv(as_len(*card), Instant::now() + self.config.limits.idle())?;
                let model = self.check_card(&bytes)?;
                Ok(Prepared { model, sharing: open.session.sharing(), version: 0, share: None })
            }
        }
    }

    /// Who joins a session here: the parties behind this one, and the receiver if that is not the client.
    fn awaited(&self, open: &Open) -> BTreeSet<String> {
        let later = self.config.parties.iter().take(self.config.seats()).skip(self.me + 1);
        later.map(|p| p.name.clone()).chain(open.receiver.clone()).collect()
    }

    /// Links to the other parties, and to the receiver if that is not the client: dials the
    /// parties before it, awaits those behind it.
    fn gather(
        &self,
        place: &Place<'_>,
        open: &Open,
        prepared: &Prepared,
        client: &mut Channel,
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
        let mut missing = self.awaited(open);
        while !missing.is_empty() {
            // A client that was refused elsewhere hangs up here, too.
            if client.is_closed() {
                return Err(Error::Peer { message: format!("{} left before the session began", client.peer()) });
            }
            // However many connections come.
            if Instant::now() >= until {
                let names: Vec<String> = missing.into_iter().collect();
                return Err(Error::Peer { message: format!("{} did not join the session", names.join(" and ")) });
            }
            let Some(mut channel) = place.next(until.min(Instant::now() + GLANCE)) else { continue };
            let name = channel.peer().to_owned();
            if !missing.remove(&name) {
                continue;
            }
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
    fn work(&self, session: Session, open: &Open, prepared: Prepared, context: [u8; 32], span: &Span) -> Result<u64> {
        let Prepared { model, sharing, version: _, share } = prepared;
        let client = self.config.parties.len();
        let receiver = if open.receiver.is_some() { client + 1 } else { client };
        let seats = Seats { data_owner: client, receiver };
        let options = Options { threads: self.threads, ..model.options };
        let dealt_ahead = self.stock.is_some();
        let job = Job { program: Arc::clone(&model.program), options, sharing, context, seats, dealt_ahead };
        let source = share.as_ref().map_or(ModelShare::Owner(client), |s| ModelShare::Kept(s));
        let setup = span.child("setup");
        let mut party = Party::join(model.protocol, session, job, source)?;
        // The party has it in a form of its own.
        drop((setup, share));
        let ahead = self.stock.as_ref().map(|stock| Supply::new(stock, model.purpose(sharing)));
        let followed = self.follow(&mut party, &model, Relayed::new(self.me, sharing, seats), ahead, span);
        if let Err(error) = &followed {
            party.session().stop(&told(error));
        }
        followed
    }

    /// The client's orders, until it ends the session.
    fn follow(
        &self,
        party: &mut Party,
        model: &Model,
        mut relayed: Relayed,
        mut ahead: Option<Supply<'_>>,
        span: &Span,
    ) -> Result<u64> {
        let Seats { data_owner: client, receiver } = relayed.seats;
        let limits = &self.config.limits;
        let (mut told, mut granted, mut samples) = (Told::default(), BTreeSet::new(), 0);
        loop {
            // A client or party that does not read stops its session, not this machine.
            party.session().flush(limits.deadline())?;
            let totals = Totals::of(party.session());
            self.metrics.traffic(party.session(), &mut told);
            party.session().control(vec![(client, totals.encode())], &[], limits.deadline())?;
            let order = party.session().control(vec![], &[(client, Order::BYTES)], limits.idle())?;
            let order = order.first().and_then(|o| Order::decode(o));
            if order != Some(Order::End) {
                relayed.goes_on()?;
            }
            match order {
                Some(Order::Prepare(load)) => {
                    let batch = self.grant(model, load, &mut granted)?;
                    let _span = span.child("prepare");
                    let start = Instant::now();
                    match &mut ahead {
                        Some(supply) if load.parts == 1 => supply.prepare(party, batch, self)?,
                        Some(_) => return Err(Error::misuse("keys dealt ahead are for one part, not several", "")),
                        None => party.prepare(load)?,
                    }
                    self.metrics.took(Phase::Offline, start.elapsed());
                }
                Some(Order::Run { samples: batch, opened }) => {
                    relayed.takes_inputs()?;
                    let batch = self.grant(model, Load::from(batch as usize), &mut granted)?;
                    let opened = opened as usize;
                    let _span = span.child("run");
                    let start = Instant::now();
                    if receiver != client {
                        let count = (opened as u64).to_le_bytes().to_vec();
                        party.session().control(vec![(receiver, count)], &[], limits.deadline())?;
                    }
                    party.run_filled(batch, opened)?;
                    samples += opened as u64;
                    self.metrics.took(Phase::Online, start.elapsed());
                    self.metrics.computed(opened);
                }
                Some(Order::RunRelayed(load)) => {
                    let batch = self.grant(model, load, &mut granted)?;
                    let _span = span.child("run");
                    let start = Instant::now();
                    if relayed.run(self, party, model, load)? {
                        samples += batch as u64;
                        self.metrics.took(Phase::Online, start.elapsed());
                        self.metrics.computed(batch);
                    }
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

    /// The samples of all parts of a batch, if this party's limits allow it.
    fn grant(&self, model: &Model, load: Load, granted: &mut BTreeSet<usize>) -> Result<usize> {
        let (samples, limits) = (load.batch(), &self.config.limits);
        if load.parts > MOST_PARTS {
            return Err(Error::misuse(
                format!("{} parts of one batch are beyond the limit of {MOST_PARTS}", load.parts),
                "",
            ));
        }
        if granted.contains(&samples) {
            return Ok(samples);
        }
        if samples == 0 || samples > limits.batch {
            return Err(Error::misuse(
                format!("a batch of {samples} is outside this party's limit of {}", limits.batch),
                "",
            ));
        }
        let granted_bytes = limits.memory_mib << 20;
        // Before the plan is made, which itself takes memory for constants.
        let fits = model.elements().saturating_mul(samples as u128 * 16) <= u128::from(granted_bytes);
        let memory = if fits { model.memory(samples)? } else { u64::MAX };
        if memory > granted_bytes {
            let message =
                format!("a batch of {samples} needs more than the {} MiB that this party grants", limits.memory_mib);
            return Err(Error::misuse(message, "choose a smaller --batch"));
        }
        granted.insert(samples);
        Ok(samples)
    }
}
