//! The parties of a protocol as threads of this process, for evaluation on one machine.
//!
//! Each compute party is a thread with its own end of an in-process session; model owner,
//! data owner and result receiver are endpoints of their own, played by the caller. What
//! crosses a thread is what would cross a network.

use crate::execute::{Weights, execute};
use crate::predict::{demand, weight_elements};
use crate::protocol::{Linear, Primitive, Protocol, WordOf};
use crate::{Error, Options, ProtocolKind};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use subrosa_core::{Cost, Meter, Phase};
use subrosa_graph::{Program, WeightSet};
use subrosa_net::Session;
use subrosa_ring::{Ring, Word, pack, sign_extend, unpack};

/// A running cluster. Dropping it stops the parties.
pub struct LocalCluster {
    program: Arc<Program>,
    roles: Box<dyn Roles + Send>,
    parties: Vec<Party>,
    setup: Measured,
    /// Costs of all phases up to the last inference, to take differences.
    seen: BTreeMap<usize, Cost>,
}

/// Traffic and time of one phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// Rounds, and bytes sent by all endpoints.
    pub cost: Cost,
    /// Wall-clock time.
    pub time: Duration,
}

/// The result of one batch. No `Debug`: it holds what only the receiver may see.
#[derive(Clone)]
pub struct Inference {
    /// One flat tensor an output, as signed integers.
    pub outputs: Vec<Vec<i64>>,
    /// Preprocessing.
    pub offline: Measured,
    /// From sharing the input to reading the output.
    pub online: Measured,
}

impl LocalCluster {
    /// Starts the parties and shares the model among them.
    ///
    /// **Errors:** [`Error::Misuse`] if the weights do not fit the program; whatever the
    /// protocol's setup returns.
    pub fn start(
        kind: ProtocolKind,
        program: Arc<Program>,
        weights: WeightSet,
        options: &Options,
    ) -> Result<Self, Error> {
        with_protocol!(kind, program.ring, P => Self::with::<P>(program, weights, options))
    }

    /// What starting cost: keys agreed, the model shared.
    pub fn setup(&self) -> Measured {
        self.setup
    }

    /// Runs the program on `batch` samples of each input, encoded as integers.
    ///
    /// **Errors:** [`Error::Misuse`] when an input's length is not `batch` samples;
    /// otherwise what the first failing party reports. After an error the cluster is done.
    pub fn infer(&mut self, inputs: Vec<Vec<i64>>, batch: usize) -> Result<Inference, Error> {
        check_inputs(&self.program, &inputs, batch)?;
        let started = Instant::now();
        self.parties.iter().for_each(|p| p.order(Order::Prepare { batch }));
        let meters = self.meters()?;
        let offline = Measured { cost: self.since(Phase::Offline, &meters), time: started.elapsed() };
        let started = Instant::now();
        self.parties.iter().for_each(|p| p.order(Order::Run { batch }));
        let outputs = self.roles.infer(&inputs, batch);
        // A party's own error says more than what the roles saw of it.
        let mut meters = self.meters()?;
        let outputs = outputs?;
        meters.extend(self.roles.meters());
        let online = Measured { cost: self.since(Phase::Online, &meters), time: started.elapsed() };
        Ok(Inference { outputs, offline, online })
    }

    fn with<P: Protocol + 'static>(
        program: Arc<Program>,
        weights: WeightSet,
        options: &Options,
    ) -> Result<Self, Error> {
        let started = Instant::now();
        let names: Vec<String> = (0..P::PARTIES).map(|i| format!("party {i}")).chain(ROLES.map(String::from)).collect();
        let mut sessions = subrosa_net::local(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let ends = sessions.split_off(P::PARTIES);
        let mut roles = OwnersAndReceiver::<P>::new(program.clone(), ends)?;
        let parties = sessions.into_iter().map(|s| Party::spawn::<P>(s, program.clone(), *options)).collect();
        let shared = roles.share_model(&weights, options.public_weights);
        let mut cluster =
            Self { program, roles: Box::new(roles), parties, setup: Measured::default(), seen: BTreeMap::new() };
        let mut meters = cluster.meters()?;
        shared?;
        meters.extend(cluster.roles.meters());
        cluster.setup = Measured { cost: cluster.since(Phase::Setup, &meters), time: started.elapsed() };
        Ok(cluster)
    }

    /// Waits for every party and returns their meters, or the error to report.
    fn meters(&mut self) -> Result<Vec<Meter>, Error> {
        let answers: Vec<_> = self.parties.iter().enumerate().map(|(i, p)| p.answer(i)).collect();
        let (meters, mut errors): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
        // Of several errors the one that is not "a peer is gone" is the cause.
        errors.sort_by_key(|e| !matches!(e, Err(Error::Misuse(_) | Error::Entropy(_))));
        match errors.into_iter().next() {
            Some(Err(error)) => Err(error),
            Some(Ok(_)) | None => Ok(meters.into_iter().flatten().collect()),
        }
    }

    /// The cost of `phase` since the last call for it.
    fn since(&mut self, phase: Phase, meters: &[Meter]) -> Cost {
        let total = Meter::combine(phase, meters);
        let before = self.seen.insert(phase as usize, total).unwrap_or_default();
        Cost { rounds: total.rounds - before.rounds, bytes: total.bytes - before.bytes }
    }
}

impl Drop for LocalCluster {
    fn drop(&mut self) {
        for party in &mut self.parties {
            party.orders = None;
        }
        for party in &mut self.parties {
            if let Some(thread) = party.thread.take() {
                // A panic there was already reported as `Stopped`.
                let _ = thread.join();
            }
        }
    }
}

const ROLES: [&str; 3] = ["model owner", "data owner", "result receiver"];

/// Endpoint of the model owner in a session with `parties` compute parties.
const fn model_owner(parties: usize) -> usize {
    parties
}

const fn data_owner(parties: usize) -> usize {
    parties + 1
}

const fn receiver(parties: usize) -> usize {
    parties + 2
}

enum Order {
    Prepare { batch: usize },
    Run { batch: usize },
}

/// The caller's handle on one party.
struct Party {
    orders: Option<Sender<Order>>,
    answers: Receiver<Result<Meter, Error>>,
    thread: Option<JoinHandle<()>>,
}

impl Party {
    fn spawn<P: Protocol + 'static>(session: Session, program: Arc<Program>, options: Options) -> Self {
        let (orders, inbox) = channel();
        let (outbox, answers) = channel();
        let body = move || {
            let ended = serve::<P>(session, &program, &options, &inbox, &outbox);
            if let Err(error) = ended {
                // The caller may be gone; then nobody is left to tell.
                let _ = outbox.send(Err(error));
            }
        };
        Self { orders: Some(orders), answers, thread: Some(std::thread::spawn(body)) }
    }

    /// A party that is gone is noticed when its answer is awaited.
    fn order(&self, order: Order) {
        if let Some(orders) = &self.orders {
            let _ = orders.send(order);
        }
    }

    fn answer(&self, party: usize) -> Result<Meter, Error> {
        self.answers.recv().unwrap_or(Err(Error::Stopped { party }))
    }
}

/// How long a party waits for a message: parties of one machine share its cores, and a
/// large batch of a large model may keep one of them busy for minutes.
const PATIENCE: Duration = Duration::from_secs(600);

/// What all parties must agree on before anything secret flows.
fn agreement<P: Protocol>(program: &Program, options: &Options) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("subrosa 2026-11 session agreement");
    for part in [env!("CARGO_PKG_VERSION"), P::NAME, if options.public_weights { "public weights" } else { "" }] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.update(&program.digest());
    *hasher.finalize().as_bytes()
}

/// Declared cost of agreeing.
pub(crate) fn agreement_cost(parties: usize) -> Cost {
    Cost::messages((parties * (parties - 1)) as u64, 32)
}

/// One party's life: setup, then orders until the caller hangs up.
fn serve<P: Protocol>(
    session: Session,
    program: &Program,
    options: &Options,
    inbox: &Receiver<Order>,
    outbox: &Sender<Result<Meter, Error>>,
) -> Result<(), Error> {
    let mut session = session;
    session.set_deadline(PATIENCE);
    session.set_phase(Phase::Setup);
    let others: Vec<usize> = (0..P::PARTIES).filter(|&p| p != session.id()).collect();
    session.hello(&others, &agreement::<P>(program, options))?;
    let mut party = P::setup(session)?;
    let weights = receive_model(&mut party, program, options)?;
    let mut demands: BTreeMap<usize, Vec<Primitive>> = BTreeMap::new();
    let _ = outbox.send(Ok(party.session().meter().clone()));
    while let Ok(order) = inbox.recv() {
        match order {
            Order::Prepare { batch } => {
                if let Entry::Vacant(unknown) = demands.entry(batch) {
                    unknown.insert(demand::<P::Ring>(program, batch, options)?.0);
                }
                party.session().set_phase(Phase::Offline);
                let demand = demands.get(&batch).map_or(&[] as &[Primitive], Vec::as_slice);
                party.prepare(demand, |party| run(party, program, &weights, batch))?;
            }
            Order::Run { batch } => {
                party.session().set_phase(Phase::Online);
                run(&mut party, program, &weights, batch)?;
            }
        }
        let _ = outbox.send(Ok(party.session().meter().clone()));
    }
    Ok(())
}

fn run<P: Protocol>(party: &mut P, program: &Program, weights: &Weights<P>, batch: usize) -> Result<(), Error> {
    let mut inputs = Vec::new();
    for &id in &program.inputs {
        let n = program.insts.get(id).map_or(0, |i| i.shape.len()) * batch;
        inputs.push(party.input(data_owner(P::PARTIES), n)?);
    }
    for output in execute(party, program, weights, inputs, batch, |_, _| ())? {
        party.open_to(receiver(P::PARTIES), &output)?;
    }
    Ok(())
}

/// Receives all tensors as one vector and cuts it up.
fn receive_model<P: Protocol>(party: &mut P, program: &Program, options: &Options) -> Result<Weights<P>, Error> {
    let (n, owner) = (weight_elements(program), model_owner(P::PARTIES));
    let lens: Vec<usize> = program.weights.iter().map(|w| w.shape.len()).collect();
    let starts = lens.iter().scan(0, |at, len| Some(std::mem::replace(at, *at + len)));
    let ranges: Vec<_> = starts.zip(&lens).map(|(start, len)| start..start + len).collect();
    let cut = |all: &[WordOf<P>], r: &std::ops::Range<usize>| all.get(r.clone()).unwrap_or(&[]).to_vec();
    if options.public_weights {
        let bytes = if n == 0 { vec![] } else { party.session().round(vec![], &[(owner, P::opening_bytes(n))])? };
        let all = unpack(bytes.first().map_or(&[], Vec::as_slice), P::Ring::WIDTH.bits(), n);
        return Ok(Weights::Public(ranges.iter().map(|r| cut(&all, r)).collect()));
    }
    if n == 0 {
        return Ok(Weights::Shares(Vec::new()));
    }
    let all = party.input(owner, n)?;
    Ok(Weights::Shares(ranges.iter().map(|r| all.map(r.len(), |all| cut(all, r))).collect()))
}

/// What the three roles do, without naming the protocol.
trait Roles {
    fn infer(&mut self, inputs: &[Vec<i64>], batch: usize) -> Result<Vec<Vec<i64>>, Error>;
    fn meters(&self) -> Vec<Meter>;
}

/// Model owner, data owner and result receiver, each with its own end of the session.
struct OwnersAndReceiver<P> {
    program: Arc<Program>,
    model_owner: Session,
    data_owner: Session,
    receiver: Session,
    protocol: std::marker::PhantomData<fn() -> P>,
}

impl<P: Protocol> OwnersAndReceiver<P> {
    fn new(program: Arc<Program>, ends: Vec<Session>) -> Result<Self, Error> {
        let wrong = |_| Error::Misuse("a local session has one end for each role".into());
        let ends: [Session; 3] = ends.try_into().map_err(wrong)?;
        let [mut model_owner, mut data_owner, mut receiver] = ends;
        model_owner.set_phase(Phase::Setup);
        data_owner.set_phase(Phase::Online);
        receiver.set_phase(Phase::Online);
        Ok(Self { program, model_owner, data_owner, receiver, protocol: std::marker::PhantomData })
    }

    fn share_model(&mut self, weights: &WeightSet, public: bool) -> Result<(), Error> {
        let fits = |(w, t): (&subrosa_graph::program::WeightShape, &Vec<i64>)| w.shape.len() == t.len();
        let expected = &self.program.weights;
        if weights.tensors.len() != expected.len() || !expected.iter().zip(&weights.tensors).all(fits) {
            return Err(Error::Misuse("the weights are not those of the program".into()));
        }
        let words: Vec<WordOf<P>> = weights.tensors.iter().flatten().map(|&v| Word::from_i64(v)).collect();
        if words.is_empty() {
            return Ok(());
        }
        let messages = match public {
            true => vec![pack(&words, P::Ring::WIDTH.bits()); P::PARTIES],
            false => P::deal(&words)?,
        };
        self.model_owner.round(messages.into_iter().enumerate().collect(), &[])?;
        Ok(())
    }
}

impl<P: Protocol> Roles for OwnersAndReceiver<P> {
    fn infer(&mut self, inputs: &[Vec<i64>], batch: usize) -> Result<Vec<Vec<i64>>, Error> {
        for input in inputs {
            let words: Vec<WordOf<P>> = input.iter().map(|&v| Word::from_i64(v)).collect();
            self.data_owner.round(P::deal(&words)?.into_iter().enumerate().collect(), &[])?;
        }
        let mut outputs = Vec::new();
        for &id in &self.program.outputs {
            let n = self.program.insts.get(id).map_or(0, |i| i.shape.len()) * batch;
            let expected: Vec<_> = (0..P::PARTIES).map(|p| (p, P::opening_bytes(n))).collect();
            let messages = match n {
                0 => Vec::new(),
                _ => self.receiver.round(vec![], &expected)?,
            };
            let words = P::reconstruct(n, &messages);
            outputs.push(words.into_iter().map(|w| sign_extend(w, P::Ring::WIDTH.bits())).collect());
        }
        Ok(outputs)
    }

    fn meters(&self) -> Vec<Meter> {
        vec![self.model_owner.meter().clone(), self.data_owner.meter().clone(), self.receiver.meter().clone()]
    }
}

fn check_inputs(program: &Program, inputs: &[Vec<i64>], batch: usize) -> Result<(), Error> {
    let expected: Vec<usize> =
        program.inputs.iter().map(|&id| program.insts.get(id).map_or(0, |i| i.shape.len()) * batch).collect();
    if batch == 0 || expected != inputs.iter().map(Vec::len).collect::<Vec<_>>() {
        let got: Vec<usize> = inputs.iter().map(Vec::len).collect();
        return Err(Error::Misuse(format!("a batch of {batch} needs inputs of {expected:?} elements, got {got:?}")));
    }
    Ok(())
}
