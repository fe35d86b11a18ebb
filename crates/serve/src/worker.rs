//! The threads that compute one model, and the queue before them.

use crate::error::{Error, Result};
use crate::place::Place;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use subrosa::{Model, PlanOptions, Session, Via};
use tokio::sync::oneshot;

/// One flat array an output.
pub(crate) type Values = Vec<Vec<f32>>;

/// A model's queue. When it is dropped, its threads finish what is in it and end.
pub(crate) struct Queue {
    jobs: SyncSender<Job>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Unanswered {
    /// The queue is full.
    Busy,
    /// The model cannot compute it, or the client asked for what cannot be.
    Refused(subrosa::Error),
    /// The model's code failed; nothing of it is told.
    Failed,
}

struct Job {
    inputs: Values,
    samples: usize,
    until: Instant,
    /// Also of a job that nobody waits for: it takes memory until its turn.
    place: Place,
    reply: oneshot::Sender<std::result::Result<Values, Unanswered>>,
}

impl Queue {
    /// Starts `threads` threads behind a queue of `length`; the model is compiled once, so that
    /// one that cannot run is known now.
    ///
    /// **Errors:** [`Error::Library`] if the model cannot run, [`Error::Io`] if no thread can be
    /// started.
    pub(crate) fn start(model: &Model, threads: usize, length: usize, samples: usize) -> Result<Self> {
        let (jobs, waiting) = sync_channel(length);
        let waiting = Arc::new(Mutex::new(waiting));
        for number in 0..threads.max(1) {
            let mut sessions = Sessions::new(model, samples);
            sessions.of(1)?;
            let waiting = Arc::clone(&waiting);
            let name = format!("{}-{number}", model.name());
            let started = std::thread::Builder::new().name(name).spawn(move || work(&waiting, sessions));
            started.map_err(|source| Error::Io { what: "cannot start a thread".to_owned(), source })?;
        }
        Ok(Self { jobs })
    }

    /// Computes `samples` samples; gives up at `until`, when whoever waits does too.
    pub(crate) async fn compute(
        &self,
        inputs: Values,
        samples: usize,
        until: Instant,
        place: Place,
    ) -> std::result::Result<Values, Unanswered> {
        let (reply, answer) = oneshot::channel();
        self.jobs.try_send(Job { inputs, samples, until, place, reply }).map_err(|error| match error {
            TrySendError::Full(_) => Unanswered::Busy,
            TrySendError::Disconnected(_) => Unanswered::Failed,
        })?;
        answer.await.unwrap_or(Err(Unanswered::Failed))
    }
}

fn work(waiting: &Mutex<Receiver<Job>>, mut sessions: Sessions) {
    loop {
        // One thread waits at the queue, the others for it.
        let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = next else { return };
        // Nobody waits any more: the client is gone, or was told that it took too long.
        if job.reply.is_closed() || Instant::now() > job.until {
            continue;
        }
        let answer = catch_unwind(AssertUnwindSafe(|| sessions.compute(&job.inputs, job.samples)));
        let answer = answer.unwrap_or_else(|_| {
            // Whatever was half done is thrown away.
            sessions.by_size.clear();
            Err(Unanswered::Failed)
        });
        // First, so that whoever has the answer may ask again at once.
        drop((job.inputs, job.place));
        let _gone = job.reply.send(answer);
    }
}

/// The model compiled for powers of two, by size: a batch is cut into these, so that no client's
/// choice of sizes makes it grow.
struct Sessions {
    model: Model,
    by_size: BTreeMap<usize, Session>,
    largest: usize,
}

impl Sessions {
    fn new(model: &Model, samples: usize) -> Self {
        let largest = samples.clamp(1, LARGEST);
        let largest = 1 << largest.ilog2();
        Self { model: model.clone(), by_size: BTreeMap::new(), largest }
    }

    fn of(&mut self, size: usize) -> subrosa::Result<&mut Session> {
        use std::collections::btree_map::Entry;
        match self.by_size.entry(size) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => {
                let options = PlanOptions { via: Via::Plain, batch: size, ..PlanOptions::default() };
                Ok(entry.insert(self.model.plan(&options)?.open()?))
            }
        }
    }

    fn compute(&mut self, inputs: &[Vec<f32>], samples: usize) -> std::result::Result<Values, Unanswered> {
        let mut outputs = vec![Vec::new(); self.model.outputs().len()];
        let mut first = 0;
        while first < samples {
            let left = samples - first;
            let size = self.largest.min(1 << left.ilog2());
            let part = self.part(inputs, first, size);
            let output = self.of(size).and_then(|session| session.run(&part)).map_err(Unanswered::Refused)?;
            outputs.iter_mut().zip(output.values).for_each(|(all, new)| all.extend(new));
            first += size;
        }
        Ok(outputs)
    }

    fn part(&self, inputs: &[Vec<f32>], first: usize, size: usize) -> Values {
        let cut = |(values, port): (&Vec<f32>, &subrosa::Port)| {
            let len = port.sample_len();
            values.get(first * len..(first + size) * len).unwrap_or_default().to_vec()
        };
        inputs.iter().zip(self.model.inputs()).map(cut).collect()
    }
}

/// Larger batches are no faster a sample.
const LARGEST: usize = 256;
