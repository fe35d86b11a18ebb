//! Sessions with parties elsewhere: computing, and receiving what others had computed.

use super::card::{Card, Model};
use super::control::{Order, SessionId, Totals, refused};
use crate::backends::Via;
use crate::output::{Batch, Output, Phase as Spent};
use crate::session::{check_values, sample_count, slice};
use crate::{Error, Result};
use std::sync::mpsc::channel;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use subrosa_core::{Cost, Meter, Phase};
use subrosa_mpc::Load;
use subrosa_mpc::relayed::Refused;
use subrosa_mpc::roles::{give_inputs, hear_told, take_outputs};
use subrosa_net::Session;

/// Of each request why it is refused, if it is.
type Refusals = Vec<Option<Refused>>;

/// One session of a [`Remote`].
pub(super) struct Lane {
    pub(super) session: Session,
    /// Parties that have a seat.
    parties: usize,
    /// Costs counted so far, by phase.
    seen: [Cost; 3],
    /// The parties' totals, as last heard.
    totals: Vec<Totals>,
}

impl Lane {
    pub(super) fn new(session: Session, parties: usize) -> Self {
        Self { session, parties, seen: [Cost::FREE; 3], totals: Vec::new() }
    }

    /// Hears the parties' totals: they have done what they were told.
    pub(super) fn listen(&mut self, deadline: Duration) -> Result<()> {
        let expected: Vec<_> = (0..self.parties).map(|p| (p, Totals::BYTES)).collect();
        let answers = self.session.control(vec![], &expected, deadline)?;
        self.totals = answers.iter().map(|a| Totals::decode(a)).collect();
        Ok(())
    }

    pub(super) fn order(&mut self, order: Order, deadline: Duration) -> Result<()> {
        let orders = (0..self.parties).map(|p| (p, order.encode())).collect();
        self.session.control(orders, &[], deadline)?;
        Ok(())
    }

    /// The cost of `phase` since the last call for it.
    pub(super) fn since(&mut self, phase: Phase) -> Cost {
        let meters = self.totals.iter().map(|t| &t.meter).chain([self.session.meter()]);
        let total = Meter::combine(phase, meters);
        let before = std::mem::replace(&mut self.seen[phase as usize], total);
        Cost { rounds: total.rounds.saturating_sub(before.rounds), bytes: total.bytes.saturating_sub(before.bytes) }
    }

    /// Has the parties make the preprocessing for a batch, which the next inference of such a one uses.
    pub(super) fn prepare(&mut self, load: Load, deadline: Duration) -> Result<()> {
        self.session.set_phase(Phase::Offline);
        self.order(Order::Prepare(load), deadline)?;
        self.listen(deadline)
    }

    /// Passes on owners' parcels (to each party those of all parts in one message), and gives the boxes of the
    /// answers, of these lengths a party; or of each part why the parties refuse it, if they do, after which the
    /// session can only be ended.
    pub(super) fn relay(
        &mut self,
        load: Load,
        parcels: Vec<Vec<u8>>,
        answers: &[usize],
        deadline: Duration,
    ) -> Result<std::result::Result<Vec<Vec<u8>>, Refusals>> {
        self.session.set_phase(Phase::Online);
        self.order(Order::RunRelayed(load), deadline)?;
        self.session.control(parcels.into_iter().enumerate().collect(), &[], deadline)?;
        let expected: Vec<_> = (0..self.parties).map(|p| (p, load.parts)).collect();
        let told = self.session.control(vec![], &expected, deadline)?;
        let refuses = |party: &Vec<u8>| party.iter().any(|&number| number != 0);
        if told.iter().all(refuses) {
            self.listen(deadline)?;
            let why = |part: usize| {
                let reasons = || told.iter().filter_map(|party| refused(*party.get(part)?));
                // A party that says why comes before one that only heard of it.
                reasons().find(|reason| *reason != Refused::Elsewhere).or(reasons().next())
            };
            return Ok(Err((0..load.parts).map(why).collect()));
        }
        if told.iter().any(refuses) {
            return Err(Error::Peer { message: "the parties disagree on whether to compute".to_owned() });
        }
        let expected: Vec<_> = answers.iter().copied().enumerate().collect();
        let boxes = self.session.control(vec![], &expected, deadline)?;
        self.listen(deadline)?;
        Ok(Ok(boxes))
    }

    /// One batch of `whole` samples, of which the first `count` are opened: their outputs (none if somebody else
    /// gets them), and what it took.
    fn infer(
        &mut self,
        run: &Running<'_>,
        inputs: &[Vec<i64>],
        whole: usize,
        count: usize,
    ) -> Result<(Vec<Vec<i64>>, Batch)> {
        let (model, deadline) = (run.model, run.deadline);
        let order = Order::Run { samples: counted(whole)?, opened: counted(count)? };
        let start = Instant::now();
        self.session.set_phase(Phase::Offline);
        self.order(Order::Prepare(whole.into()), deadline)?;
        let told = hear_told(model.protocol, &mut self.session, &model.program)?;
        self.listen(deadline)?;
        let offline = Spent { cost: self.since(Phase::Offline), ms: start.elapsed().as_secs_f64() * 1e3 };
        let start = Instant::now();
        self.session.set_phase(Phase::Online);
        self.order(order, deadline)?;
        give_inputs(model.protocol, &mut self.session, &model.program, inputs, whole, told)?;
        let outputs = match run.opens {
            true => take_outputs(model.protocol, &mut self.session, &model.program, count)?,
            false => Vec::new(),
        };
        let time = start.elapsed();
        self.listen(deadline)?;
        let online = Spent { cost: self.since(Phase::Online), ms: time.as_secs_f64() * 1e3 };
        Ok((outputs, Batch { samples: count, offline, online }))
    }
}

fn counted(samples: usize) -> Result<u32> {
    u32::try_from(samples).map_err(|_| Error::misuse("a batch of that size is not possible", ""))
}

/// What all lanes of a run share.
struct Running<'a> {
    model: &'a Model,
    deadline: Duration,
    opens: bool,
    /// Keys were dealt for batches of this many samples and no others.
    filled: Option<usize>,
}

/// Parties elsewhere that hold the model and wait for inputs.
pub struct Remote {
    pub(super) model: Model,
    /// What the first party calls it, and which dealing of it the parties hold.
    pub(super) version: u32,
    pub(super) dealing: [u8; 32],
    pub(super) lanes: Vec<Lane>,
    pub(super) batch: usize,
    pub(super) setup: Spent,
    pub(super) trace: [u8; 16],
    pub(super) deadline: Duration,
    /// Whether this client gets the results.
    pub(super) opens: bool,
    /// Whether a batch of fewer samples is filled up: keys were dealt for full ones.
    pub(super) fills: bool,
}

/// What a lane reports of one batch: its number, and what came of it.
type Done = (usize, Result<(Vec<Vec<f32>>, Batch)>);

impl Remote {
    /// What may be known of the model.
    pub fn card(&self) -> &Card {
        &self.model.card
    }

    /// Opening all lanes.
    pub fn setup(&self) -> Spent {
        self.setup
    }

    /// The id of all parties' traces, in hexadecimal.
    pub fn trace(&self) -> String {
        SessionId(self.trace).to_string()
    }

    /// The largest memory of any party so far, bytes.
    pub fn peak_bytes(&self) -> u64 {
        self.lanes.iter().flat_map(|l| &l.totals).map(|t| t.peak).max().unwrap_or(0)
    }

    /// Time that each party has waited online so far, milliseconds.
    pub fn waited_ms(&self) -> Vec<f64> {
        let parties = self.lanes.first().map_or(0, |l| l.totals.len());
        let of =
            |p: usize| self.lanes.iter().filter_map(move |l| l.totals.get(p)).map(|t| t.waited[Phase::Online as usize]);
        // A party says what it likes.
        (0..parties).map(|p| of(p).fold(0, u64::saturating_add) as f64 / 1e6).collect()
    }

    /// Computes all samples; as [`crate::Session::run_watched`].
    ///
    /// **Errors:** [`Error::Input`]; [`Error::Peer`] naming the party at fault, after which
    /// the session is over.
    pub fn run_watched(&mut self, inputs: &[Vec<f32>], watch: &mut dyn FnMut(usize, usize)) -> Result<Output> {
        let samples = sample_count(&self.model.card.inputs, inputs)?;
        for ((values, port), range) in inputs.iter().zip(&self.model.card.inputs).zip(&self.model.ranges) {
            check_values(values, port, Some(range), 0)?;
        }
        let starts: Vec<usize> = (0..samples).step_by(self.batch).collect();
        let mut results: Vec<Option<(Vec<Vec<f32>>, Batch)>> = vec![None; starts.len()];
        let next = Mutex::new(starts.iter().copied().enumerate());
        let filled = self.fills.then_some(self.batch);
        let run = Running { model: &self.model, deadline: self.deadline, opens: self.opens, filled };
        let (batch, mut failed, mut finished) = (self.batch, None, 0);
        std::thread::scope(|scope| {
            let (report, reports) = channel::<Done>();
            for lane in &mut self.lanes {
                let (report, next, run) = (report.clone(), &next, &run);
                scope.spawn(move || {
                    let take = || next.lock().unwrap_or_else(PoisonError::into_inner).next();
                    while let Some((i, start)) = take() {
                        let count = batch.min(samples - start);
                        let done = run.batch(lane, inputs, start, count);
                        let over = done.is_err();
                        if report.send((i, done)).is_err() || over {
                            return;
                        }
                    }
                });
            }
            drop(report);
            for (i, done) in reports {
                match done {
                    Ok((values, record)) => {
                        finished += record.samples;
                        results[i] = Some((values, record));
                        watch(finished, samples);
                    }
                    Err(error) => {
                        // The other lanes finish what they are at, and take nothing more.
                        next.lock().unwrap_or_else(PoisonError::into_inner).by_ref().for_each(drop);
                        failed.get_or_insert(error);
                    }
                }
            }
        });
        match failed {
            Some(error) => Err(error),
            None => Ok(self.output(samples, results)),
        }
    }

    fn output(&self, samples: usize, results: Vec<Option<(Vec<Vec<f32>>, Batch)>>) -> Output {
        let mut output = empty_output(&self.model, self.setup);
        output.samples = samples;
        for (values, record) in results.into_iter().flatten() {
            output.values.iter_mut().zip(values).for_each(|(all, new)| all.extend(new));
            output.batches.push(record);
        }
        output
    }

    /// Whether the results come here; otherwise [`Output::values`] stay empty.
    pub fn opens(&self) -> bool {
        self.opens
    }
}

impl Running<'_> {
    fn batch(
        &self,
        lane: &mut Lane,
        inputs: &[Vec<f32>],
        start: usize,
        count: usize,
    ) -> Result<(Vec<Vec<f32>>, Batch)> {
        let whole = self.filled.unwrap_or(count).max(count);
        let ports = self.model.card.inputs.iter();
        let encode = |(i, (values, port)): (usize, (&Vec<f32>, &crate::Port))| {
            let part = slice(values, port, start, count);
            let mut encoded = subrosa_graph::encode_input(&self.model.program, &self.model.ranges, i, part)?;
            refill(&mut encoded, count, whole);
            Ok(encoded)
        };
        let encoded = inputs.iter().zip(ports).enumerate().map(encode).collect::<Result<Vec<_>>>()?;
        let (outputs, record) = lane.infer(self, &encoded, whole, count)?;
        Ok((decode(self.model, &outputs), record))
    }
}

/// Repeats the last of `count` samples until there are `whole`. The parties open none of these: whoever got so
/// many results of one sample, each rounded at random anew, would learn weights from them.
fn refill(samples: &mut Vec<i64>, count: usize, whole: usize) {
    let last = samples.len() - samples.len() / count.max(1);
    let last = samples.split_at(last).1.to_vec();
    (count..whole).for_each(|_| samples.extend(&last));
}

impl Drop for Remote {
    fn drop(&mut self) {
        for lane in &mut self.lanes {
            // A session that failed is over anyway.
            let _ = lane.order(Order::End, Duration::from_secs(1));
        }
    }
}

fn decode(model: &Model, outputs: &[Vec<i64>]) -> Vec<Vec<f32>> {
    outputs.iter().enumerate().map(|(i, v)| subrosa_graph::decode_output(&model.program, i, v)).collect()
}

fn empty_output(model: &Model, setup: Spent) -> Output {
    let card = &model.card;
    Output {
        model: card.name.clone(),
        via: Via::from(model.protocol),
        labels_only: card.labels_only,
        samples: 0,
        ports: card.outputs.clone(),
        values: vec![Vec::new(); card.outputs.len()],
        setup,
        batches: Vec::new(),
    }
}

/// A receiver's end of a session that somebody else opened.
pub struct Receiving {
    pub(super) model: Model,
    pub(super) session: Session,
    pub(super) parties: usize,
    pub(super) idle: Duration,
}

impl Receiving {
    /// What may be known of the model.
    pub fn card(&self) -> &Card {
        &self.model.card
    }

    /// Takes all results until the data owner ends the session. Bytes and rounds are those
    /// that this endpoint took part in.
    ///
    /// **Errors:** [`Error::Peer`] naming the party.
    pub fn run(mut self) -> Result<Output> {
        let mut output = empty_output(&self.model, Spent::default());
        let expected: Vec<_> = (0..self.parties).map(|p| (p, 8)).collect();
        self.session.set_phase(Phase::Online);
        loop {
            let counts = self.session.control(vec![], &expected, self.idle)?;
            let Some(first) = counts.first() else { return Ok(output) };
            if counts.iter().any(|c| c != first) {
                return Err(Error::Peer { message: "the parties announce results of different sizes".into() });
            }
            let count = first.first_chunk().map_or(0, |b| u64::from_le_bytes(*b));
            let count = usize::try_from(count).ok().filter(|&n| n <= crate::plan::MAX_BATCH);
            match count {
                Some(0) => return Ok(output),
                Some(count) => self.take(count, &mut output)?,
                None => return Err(Error::Peer { message: "the parties announce results beyond any batch".into() }),
            }
        }
    }

    fn take(&mut self, count: usize, output: &mut Output) -> Result<()> {
        let start = Instant::now();
        let outputs = take_outputs(self.model.protocol, &mut self.session, &self.model.program, count)?;
        let values = decode(&self.model, &outputs);
        output.values.iter_mut().zip(values).for_each(|(all, new)| all.extend(new));
        output.samples += count;
        let online = Spent { cost: Cost::FREE, ms: start.elapsed().as_secs_f64() * 1e3 };
        output.batches.push(Batch { samples: count, offline: Spent::default(), online });
        Ok(())
    }
}
