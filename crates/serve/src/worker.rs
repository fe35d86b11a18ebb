//! The threads that compute one model, and the queue before them.

use crate::error::{Error, Result};
use crate::place::Place;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::sync::oneshot;

/// What computes, one task after another.
pub(crate) trait Worker: Send + 'static {
    /// What is computed on.
    type Task: Send + 'static;
    /// What comes of it.
    type Done: Send + 'static;

    /// Computes a task.
    fn compute(&mut self, task: Self::Task) -> std::result::Result<Self::Done, Unanswered>;

    /// Throws away whatever a panic left half done.
    fn recover(&mut self);

    /// What can be done before anybody asks: after each task, once its answer is gone.
    fn rest(&mut self) {}
}

/// A model's queue. When it is dropped, its threads finish what is in it and end.
pub(crate) struct Queue<W: Worker> {
    jobs: SyncSender<Job<W>>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Unanswered {
    /// The queue is full.
    Busy,
    /// The model cannot compute it, or the client asked for what cannot be.
    Refused(subrosa::Error),
    /// Those who compute refuse it as it is, for a reason of its own; made anew it may pass.
    Anew(String),
    /// Those who compute are not there.
    Away,
    /// The model's code failed; nothing of it is told.
    Failed,
}

struct Job<W: Worker> {
    task: W::Task,
    until: Instant,
    /// Also of a job that nobody waits for: it takes memory until its turn.
    place: Place,
    reply: oneshot::Sender<std::result::Result<W::Done, Unanswered>>,
}

impl<W: Worker> Queue<W> {
    /// Starts a thread for each of `workers` behind a queue of `length`; `name` is the model's.
    ///
    /// **Errors:** [`Error::Io`] if no thread can be started.
    pub(crate) fn start(name: &str, workers: Vec<W>, length: usize) -> Result<Self> {
        let (jobs, waiting) = sync_channel(length);
        let waiting = Arc::new(Mutex::new(waiting));
        for (number, worker) in workers.into_iter().enumerate() {
            let waiting = Arc::clone(&waiting);
            let thread = std::thread::Builder::new().name(format!("{name}-{number}"));
            let started = thread.spawn(move || work(&waiting, worker));
            started.map_err(|source| Error::Io { what: "cannot start a thread".to_owned(), source })?;
        }
        Ok(Self { jobs })
    }

    /// Computes a task; gives up at `until`, when whoever waits does too.
    pub(crate) async fn compute(
        &self,
        task: W::Task,
        until: Instant,
        place: Place,
    ) -> std::result::Result<W::Done, Unanswered> {
        let (reply, answer) = oneshot::channel();
        self.jobs.try_send(Job { task, until, place, reply }).map_err(|error| match error {
            TrySendError::Full(_) => Unanswered::Busy,
            TrySendError::Disconnected(_) => Unanswered::Failed,
        })?;
        answer.await.unwrap_or(Err(Unanswered::Failed))
    }
}

fn work<W: Worker>(waiting: &Mutex<Receiver<Job<W>>>, mut worker: W) {
    loop {
        // One thread waits at the queue, the others for it.
        let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { task, until, place, reply }) = next else { return };
        // Nobody waits any more: the client is gone, or was told that it took too long.
        if reply.is_closed() || Instant::now() > until {
            continue;
        }
        let answer = catch_unwind(AssertUnwindSafe(|| worker.compute(task)));
        let answer = answer.unwrap_or_else(|_| {
            worker.recover();
            Err(Unanswered::Failed)
        });
        // First, so that whoever has the answer may ask again at once.
        drop(place);
        let _gone = reply.send(answer);
        if catch_unwind(AssertUnwindSafe(|| worker.rest())).is_err() {
            worker.recover();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::tests::one;
    use std::time::Duration;

    /// Halves even numbers, refuses no others but panics.
    struct Halves(usize);

    impl Worker for Halves {
        type Task = usize;
        type Done = usize;

        fn compute(&mut self, task: usize) -> std::result::Result<usize, Unanswered> {
            assert!(task.is_multiple_of(2), "a bug");
            Ok(task / 2 + self.0)
        }

        fn recover(&mut self) {
            self.0 += 1;
        }
    }

    #[tokio::test]
    async fn a_panic_costs_one_request() {
        let queue = Queue::start("halves", vec![Halves(0)], 4).unwrap();
        let until = Instant::now() + Duration::from_secs(60);
        let (places, place) = one();
        assert_eq!(queue.compute(6, until, place.clone()).await.unwrap(), 3);
        assert!(matches!(queue.compute(7, until, place.clone()).await, Err(Unanswered::Failed)));
        assert_eq!(queue.compute(6, until, place).await.unwrap(), 4, "and it recovered");
        assert_eq!(places.available_permits(), 1);
    }
}
