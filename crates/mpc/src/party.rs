//! One compute party: joins a session, holds its share of a model, computes batches.

use crate::execute::{Weights, execute};
use crate::predict::{demand, weight_elements};
use crate::protocol::{Linear, Load, Primitive, Protocol, WordOf};
use crate::{Error, Options, ProtocolKind};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use subrosa_core::{Cost, Phase};
use subrosa_graph::Program;
use subrosa_net::{EndpointId, Link, Session};
use subrosa_ring::{Ring, Threads, packed_len, unpack};

/// A compute party at work, whatever its protocol.
pub struct Party {
    at_work: Box<dyn AtWork>,
    threads: Threads,
}

/// What a session is about: all parties have to give the same.
#[derive(Clone)]
pub struct Job {
    /// What is executed.
    pub program: Arc<Program>,
    /// How.
    pub options: Options,
    /// Which sharing of the model, where parties keep one; part of what they agree on, as
    /// shares of two sharings do not fit together.
    pub sharing: [u8; 32],
    /// A digest of all else that the parties have to see alike: who the endpoints are, which
    /// session this is.
    pub context: [u8; 32],
    /// Who gives and who gets.
    pub seats: Seats,
    /// The dealer is not there: each batch is prepared from what it dealt [`ahead`](crate::ahead).
    pub dealt_ahead: bool,
}

/// The endpoints of the roles. Data owner and receiver may be one endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seats {
    /// Gives the inputs.
    pub data_owner: EndpointId,
    /// Gets the outputs.
    pub receiver: EndpointId,
}

/// Where a party has its share of the model from.
#[derive(Clone, Copy)]
pub enum ModelShare<'a> {
    /// This endpoint deals it during setup.
    Owner(EndpointId),
    /// It was dealt before: the message that [`deal_model`](crate::roles::deal_model) made
    /// for this party.
    Kept(&'a [u8]),
}

impl Party {
    /// Joins `session` as party `session.id()`: agrees with the other parties on the job,
    /// sets keys up, takes its share of the model.
    ///
    /// **Errors:** [`subrosa_net::PeerFault::Disagrees`]; [`Error::Misuse`] for a kept share
    /// that is not one of the program's weights; whatever the protocol's setup returns.
    pub fn join(kind: ProtocolKind, session: Session, job: Job, model: ModelShare<'_>) -> Result<Self, Error> {
        let threads = Threads::new(job.options.threads.max(1)).map_err(|e| Error::Misuse(e.to_string()))?;
        let at_work = threads.enter(|| -> Result<Box<dyn AtWork>, Error> {
            Ok(with_protocol!(kind, job.program.ring, P => Box::new(Working::<P>::join(session, job, model)?)))
        })?;
        Ok(Self { at_work, threads })
    }

    /// Makes what a batch (a number of samples, or a [`Load`]) will consume, before its input is known.
    ///
    /// **Errors:** those of the protocol; [`Error::Misuse`] for a job that is dealt ahead, and for several
    /// parts where an input's owner is told masks.
    pub fn prepare(&mut self, batch: impl Into<Load>) -> Result<(), Error> {
        let (Self { at_work, threads }, load) = (self, batch.into());
        threads.enter(|| at_work.prepare(load, None))
    }

    /// As [`Party::prepare`], of a job that is dealt ahead: `keys` says what the dealer said of
    /// this one batch. It must never have been used before, at any party.
    ///
    /// **Errors:** those of the protocol; [`Error::Misuse`] for any other job.
    pub fn prepare_from(&mut self, batch: usize, keys: Box<dyn Link>) -> Result<(), Error> {
        let Self { at_work, threads } = self;
        threads.enter(|| at_work.prepare(batch.into(), Some(keys)))
    }

    /// Takes the inputs, computes, and opens the outputs to the receiver.
    ///
    /// **Errors:** those of the protocol; [`Error::Misuse`] if this was not prepared.
    pub fn run(&mut self, batch: impl Into<Load>) -> Result<(), Error> {
        let (Self { at_work, threads }, load) = (self, batch.into());
        threads.enter(|| at_work.run(load, load.batch()))
    }

    /// As [`Party::run`], of a batch that was filled up because keys were dealt ahead for full ones: of each
    /// output the first `opened` samples are opened, and no more.
    ///
    /// **Errors:** as [`Party::run`]; [`Error::Misuse`] for more samples than the batch has, or with a protocol that
    /// cannot be dealt ahead.
    pub fn run_filled(&mut self, batch: usize, opened: usize) -> Result<(), Error> {
        if opened > batch {
            return Err(Error::Misuse(format!("of a batch of {batch} samples {opened} cannot be opened")));
        }
        let Self { at_work, threads } = self;
        threads.enter(|| at_work.run(batch.into(), opened))
    }

    /// The session, for control messages and metering.
    pub fn session(&mut self) -> &mut Session {
        self.at_work.session()
    }
}

trait AtWork {
    fn prepare(&mut self, load: Load, keys: Option<Box<dyn Link>>) -> Result<(), Error>;
    fn run(&mut self, load: Load, opened: usize) -> Result<(), Error>;
    fn session(&mut self) -> &mut Session;
}

/// How many sizes of batches it is remembered of what they consume.
const MOST_DEMANDS: usize = 64;

pub(crate) struct Working<P: Protocol> {
    party: P,
    job: Job,
    weights: Weights<P>,
    /// What batches consume.
    demands: BTreeMap<Load, Vec<Primitive>>,
}

impl<P: Protocol> Working<P> {
    fn join(mut session: Session, job: Job, model: ModelShare<'_>) -> Result<Self, Error> {
        session.set_phase(Phase::Setup);
        let there = if job.dealt_ahead { P::ONLINE } else { P::PARTIES };
        let others: Vec<usize> = (0..there).filter(|&p| p != session.id()).collect();
        session.hello(&others, &agreement::<P>(&job))?;
        let party = if job.dealt_ahead { P::setup_without_dealer(session)? } else { P::setup(session)? };
        Self::with_model(party, job, model)
    }

    /// The dealer's seat, where nobody answers.
    pub(crate) fn alone(mut session: Session, job: Job, model: ModelShare<'_>) -> Result<Self, Error> {
        session.set_phase(Phase::Setup);
        Self::with_model(P::setup(session)?, job, model)
    }

    fn with_model(mut party: P, job: Job, model: ModelShare<'_>) -> Result<Self, Error> {
        let weights = take_model(&mut party, &job, model)?;
        Ok(Self { party, job, weights, demands: BTreeMap::new() })
    }

    /// What a batch will consume is made, and at a dealer said.
    pub(crate) fn make(&mut self, load: Load) -> Result<(), Error> {
        // Whoever orders batches chooses their sizes.
        if self.demands.len() >= MOST_DEMANDS && !self.demands.contains_key(&load) {
            self.demands.clear();
        }
        if let Entry::Vacant(unknown) = self.demands.entry(load) {
            unknown.insert(demand::<P::Ring>(&self.job.program, load, &self.job.options)?.0);
        }
        self.party.session().set_phase(Phase::Offline);
        let demand = self.demands.get(&load).map_or(&[] as &[Primitive], Vec::as_slice);
        let (job, weights) = (&self.job, &self.weights);
        self.party.prepare(demand, |party| evaluate(party, job, weights, load, load.batch()))
    }
}

impl<P: Protocol> AtWork for Working<P> {
    fn prepare(&mut self, load: Load, keys: Option<Box<dyn Link>>) -> Result<(), Error> {
        if keys.is_some() != self.job.dealt_ahead {
            return Err(Error::Misuse(
                "a batch is prepared from a file of keys just where they are dealt ahead".into(),
            ));
        }
        let Some(keys) = keys else { return self.make(load) };
        let session = self.party.session();
        session.set_phase(Phase::Offline);
        session.attach(P::ONLINE, Some(keys));
        self.party.take_dealt()?;
        self.make(load)?;
        self.party.session().attach(P::ONLINE, None);
        Ok(())
    }

    fn run(&mut self, load: Load, opened: usize) -> Result<(), Error> {
        self.party.session().set_phase(Phase::Online);
        evaluate(&mut self.party, &self.job, &self.weights, load, opened)
    }

    fn session(&mut self) -> &mut Session {
        self.party.session()
    }
}

/// From the inputs to the outputs, of which so many samples are opened.
fn evaluate<P: Protocol>(
    party: &mut P,
    job: &Job,
    weights: &Weights<P>,
    load: Load,
    opened: usize,
) -> Result<(), Error> {
    let Job { program, seats, .. } = job;
    let mut inputs = Vec::new();
    for &id in &program.inputs {
        let n = program.insts.get(id).map_or(0, |i| i.shape.len()) * load.samples;
        inputs.push(party.input(seats.data_owner, load.parts, n)?);
    }
    let outputs = execute(party, program, weights, inputs, load.batch(), job.options.exact, |_, _| ())?;
    outputs.iter().try_for_each(|output| match opened == load.batch() {
        true => party.open_to(seats.receiver, load.parts, output),
        false => party.open_first(seats.receiver, output, output.len() / load.batch().max(1) * opened),
    })
}

/// What all parties must agree on before anything secret flows.
fn agreement<P: Protocol>(job: &Job) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("subrosa 2026-11 session agreement v5");
    let public = if job.options.public_weights { "public weights" } else { "" };
    let dealer = if job.options.insecure_self_dealer { "insecure self dealer" } else { "" };
    let exact = if job.options.exact { "exact" } else { "" };
    let ahead = if job.dealt_ahead { "dealt ahead" } else { "" };
    for part in [env!("CARGO_PKG_VERSION"), P::NAME, public, dealer, exact, ahead] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    for seat in [job.seats.data_owner, job.seats.receiver] {
        hasher.update(&(seat as u64).to_le_bytes());
    }
    hasher.update(&job.sharing).update(&job.context);
    hasher.update(&job.program.digest());
    *hasher.finalize().as_bytes()
}

/// Declared cost of agreeing.
pub(crate) fn agreement_cost(parties: usize) -> Cost {
    Cost::messages((parties * (parties - 1)) as u64, 32)
}

/// Takes all tensors as one vector and cuts it up.
fn take_model<P: Protocol>(party: &mut P, job: &Job, model: ModelShare<'_>) -> Result<Weights<P>, Error> {
    let program = &job.program;
    let (n, me) = (weight_elements(program), party.session().id());
    let lens: Vec<usize> = program.weights.iter().map(|w| w.shape.len()).collect();
    let starts = lens.iter().scan(0, |at, len| Some(std::mem::replace(at, *at + len)));
    let ranges: Vec<_> = starts.zip(&lens).map(|(start, len)| start..start + len).collect();
    let cut = |all: &[WordOf<P>], r: &std::ops::Range<usize>| all.get(r.clone()).unwrap_or(&[]).to_vec();
    if n == 0 {
        return Ok(if job.options.public_weights { Weights::Public(vec![]) } else { Weights::Shares(vec![]) });
    }
    let expected = match job.options.public_weights {
        true => packed_len(n, P::Ring::WIDTH.bits()),
        false => P::dealt_bytes(me, n),
    };
    let heard;
    let message = match model {
        ModelShare::Owner(owner) => {
            heard = party.session().round(vec![], &[(owner, expected)])?.pop().unwrap_or_default();
            heard.as_slice()
        }
        ModelShare::Kept(message) => message,
    };
    if message.len() != expected {
        return Err(Error::Misuse("the share of the model kept here is not one of this program".into()));
    }
    if job.options.public_weights {
        let all = unpack(message, P::Ring::WIDTH.bits(), n);
        return Ok(Weights::Public(ranges.iter().map(|r| cut(&all, r)).collect()));
    }
    let all = party.dealt(n, message);
    Ok(Weights::Shares(ranges.iter().map(|r| all.map(r.len(), |all| cut(all, r))).collect()))
}
