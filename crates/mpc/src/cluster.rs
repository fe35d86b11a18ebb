//! The parties of a protocol as threads of this process, for evaluation on one machine.
//!
//! Each compute party is a thread with its own end of a session; model owner, data owner
//! and result receiver are endpoints of their own, played by the caller. What crosses a
//! thread is what would cross a network.

use crate::party::{Job, ModelShare, Party, Seats};
use crate::roles::{check_inputs, give_inputs, give_model, hear_told, take_outputs};
use crate::{Error, Options, ProtocolKind};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use subrosa_core::{Cost, Meter, Phase};
use subrosa_graph::{Program, WeightSet};
use subrosa_net::{PeerFault, Session};

/// A running cluster. Dropping it stops the parties.
pub struct LocalCluster {
    kind: ProtocolKind,
    program: Arc<Program>,
    roles: RoleEnds,
    parties: Vec<PartyThread>,
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

/// The endpoints that are no compute parties, in the order in which they follow these.
const ROLES: [&str; 3] = ["model owner", "data owner", "result receiver"];

/// How long a party waits for a message: parties of one machine share its cores, and a
/// large batch of a large model may keep one of them busy for minutes.
const PATIENCE: Duration = Duration::from_secs(600);

impl LocalCluster {
    /// Starts the parties over in-process links and shares the model among them.
    ///
    /// **Errors:** [`Error::Misuse`] if the weights do not fit the program; whatever the
    /// protocol's setup returns.
    pub fn start(
        kind: ProtocolKind,
        program: Arc<Program>,
        weights: WeightSet,
        options: &Options,
    ) -> Result<Self, Error> {
        let names = endpoint_names(kind, options);
        let sessions = subrosa_net::local(&names.iter().map(String::as_str).collect::<Vec<_>>());
        Self::over(sessions, kind, program, &weights, options)
    }

    /// As [`LocalCluster::start`], over any sessions between [`endpoint_names`].
    ///
    /// **Errors:** as for [`LocalCluster::start`]; [`Error::Misuse`] for another number of
    /// sessions.
    pub fn over(
        mut sessions: Vec<Session>,
        kind: ProtocolKind,
        program: Arc<Program>,
        weights: &WeightSet,
        options: &Options,
    ) -> Result<Self, Error> {
        let started = Instant::now();
        let n = kind.parties();
        let mut roles = RoleEnds::new(sessions.split_off(n.min(sessions.len())))?;
        sessions.iter_mut().chain([&mut roles.data_owner, &mut roles.receiver]).for_each(|s| s.set_deadline(PATIENCE));
        let seats = Seats { data_owner: n + 1, receiver: n + 2 };
        let (sharing, context) = ([0; 32], [0; 32]);
        let job = Job { program: program.clone(), options: *options, sharing, context, seats, dealt_ahead: false };
        let parties = sessions.into_iter().map(|s| PartyThread::spawn(kind, s, job.clone(), n)).collect();
        let shared = give_model(kind, &mut roles.model_owner, &program, weights, options);
        let mut cluster = Self { kind, program, roles, parties, setup: Measured::default(), seen: BTreeMap::new() };
        let mut meters = cluster.meters()?;
        shared?;
        meters.extend(cluster.roles.meters());
        cluster.setup = Measured { cost: cluster.since(Phase::Setup, &meters), time: started.elapsed() };
        Ok(cluster)
    }

    /// What starting cost: keys agreed, the model shared.
    pub fn setup(&self) -> Measured {
        self.setup
    }

    /// Runs the program on `batch` samples of each input, encoded as integers.
    ///
    /// **Errors:** [`Error::Misuse`] when an input's length is not `batch` samples;
    /// otherwise what the first failing party reports. After an error the cluster is done.
    pub fn infer(&mut self, inputs: &[Vec<i64>], batch: usize) -> Result<Inference, Error> {
        check_inputs(&self.program, inputs, batch)?;
        let started = Instant::now();
        self.parties.iter().for_each(|p| p.order(Order::Prepare { batch }));
        let meters = self.meters()?;
        let told = hear_told(self.kind, &mut self.roles.data_owner, &self.program)?;
        let offline = Measured { cost: self.since(Phase::Offline, &meters), time: started.elapsed() };
        let started = Instant::now();
        self.parties.iter().for_each(|p| p.order(Order::Run { batch }));
        let outputs = give_inputs(self.kind, &mut self.roles.data_owner, &self.program, inputs, batch, told)
            .and_then(|()| take_outputs(self.kind, &mut self.roles.receiver, &self.program, batch));
        // A party's own error says more than what the roles saw of it.
        let mut meters = self.meters()?;
        let outputs = outputs?;
        meters.extend(self.roles.meters());
        let online = Measured { cost: self.since(Phase::Online, &meters), time: started.elapsed() };
        Ok(Inference { outputs, offline, online })
    }

    /// Waits for every party and returns their meters, or the error to report.
    fn meters(&mut self) -> Result<Vec<Meter>, Error> {
        let answers: Vec<_> = self.parties.iter().enumerate().map(|(i, p)| p.answer(i)).collect();
        let (meters, mut errors): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
        errors.sort_by_key(|e| e.as_ref().err().map_or(Hearsay::Own, hearsay));
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

/// Names of a cluster's endpoints in their order: compute parties, their dealer if they have
/// one, then the three roles.
pub fn endpoint_names(kind: ProtocolKind, options: &Options) -> Vec<String> {
    let name = |i| match (kind.dealer() == Some(i), options.insecure_self_dealer) {
        (true, false) => "dealer".to_owned(),
        (true, true) => "party 0, dealing for itself".to_owned(),
        (false, _) => format!("party {i}"),
    };
    (0..kind.parties()).map(name).chain(ROLES.map(String::from)).collect()
}

/// How far an error is from its cause: of several, the nearest is reported.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Hearsay {
    /// The party's own.
    Own,
    /// What it noticed of a peer.
    Noticed,
    /// What a peer told it, or that one left.
    Told,
}

fn hearsay(error: &Error) -> Hearsay {
    match error {
        Error::Misuse(_) | Error::Entropy(_) | Error::Disk(_) | Error::Keys(_) => Hearsay::Own,
        Error::Peer(subrosa_net::Error::Peer { kind: PeerFault::Aborted(_) | PeerFault::Gone, .. }) => Hearsay::Told,
        Error::Peer(_) => Hearsay::Noticed,
        Error::Stopped { .. } => Hearsay::Told,
    }
}

/// The roles' ends of the session.
struct RoleEnds {
    model_owner: Session,
    data_owner: Session,
    receiver: Session,
}

impl RoleEnds {
    fn new(ends: Vec<Session>) -> Result<Self, Error> {
        let wrong = |_| Error::Misuse("a cluster has one endpoint for each party and each role".into());
        let ends: [Session; 3] = ends.try_into().map_err(wrong)?;
        let [mut model_owner, mut data_owner, mut receiver] = ends;
        model_owner.set_phase(Phase::Setup);
        data_owner.set_phase(Phase::Online);
        receiver.set_phase(Phase::Online);
        Ok(Self { model_owner, data_owner, receiver })
    }

    fn meters(&self) -> Vec<Meter> {
        [&self.model_owner, &self.data_owner, &self.receiver].map(|s| s.meter().clone()).to_vec()
    }
}

enum Order {
    Prepare { batch: usize },
    Run { batch: usize },
}

/// The caller's handle on one party.
struct PartyThread {
    orders: Option<Sender<Order>>,
    answers: Receiver<Result<Meter, Error>>,
    thread: Option<JoinHandle<()>>,
}

impl PartyThread {
    fn spawn(kind: ProtocolKind, session: Session, job: Job, model_owner: usize) -> Self {
        let (orders, inbox) = channel();
        let (outbox, answers) = channel();
        let body = move || {
            if let Err(error) = serve(kind, session, job, model_owner, &inbox, &outbox) {
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

/// One party's life: setup, then orders until the caller hangs up.
fn serve(
    kind: ProtocolKind,
    session: Session,
    job: Job,
    model_owner: usize,
    inbox: &Receiver<Order>,
    outbox: &Sender<Result<Meter, Error>>,
) -> Result<(), Error> {
    let mut party = Party::join(kind, session, job, ModelShare::Owner(model_owner))?;
    let _ = outbox.send(Ok(party.session().meter().clone()));
    while let Ok(order) = inbox.recv() {
        match order {
            Order::Prepare { batch } => party.prepare(batch)?,
            Order::Run { batch } => party.run(batch)?,
        }
        let _ = outbox.send(Ok(party.session().meter().clone()));
    }
    Ok(())
}
