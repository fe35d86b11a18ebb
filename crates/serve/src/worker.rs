//! The threads that compute one model, and the queue before them.

use crate::error::{Error, Result};
use crate::place::Place;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// What computes, one task after another or several at once.
pub(crate) trait Worker: Send + 'static {
    /// What is computed on.
    type Task: Send + 'static;
    /// What comes of it.
    type Done: Send + 'static;

    /// The most that tasks computed at once may weigh together.
    fn most(&self) -> usize {
        1
    }

    /// What a task weighs; one may be heavier than all that is computed at once, and then is alone.
    fn weight(&self, _task: &Self::Task) -> usize {
        1
    }

    /// Computes tasks at once: at least one, and as many answers.
    fn compute(&mut self, tasks: &[Self::Task]) -> std::result::Result<Vec<Self::Done>, Unanswered>;

    /// Throws away whatever a panic left half done.
    fn recover(&mut self);

    /// What can be done before anybody asks: once answers are gone and no task waits.
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

/// Bounds of a queue.
#[derive(Clone, Copy)]
pub(crate) struct Waits {
    /// Tasks in it at a time.
    pub(crate) length: usize,
    /// How long a worker with a task waits for others to compute with it.
    pub(crate) delay: Duration,
}

struct Job<W: Worker> {
    task: W::Task,
    wanted: Wanted<W::Done>,
}

/// Who waits for a task.
struct Wanted<D> {
    until: Instant,
    /// Also of a job that nobody waits for: it takes memory until its turn.
    place: Place,
    reply: oneshot::Sender<std::result::Result<D, Unanswered>>,
}

/// The workers' end of a queue.
struct Waiting<W: Worker> {
    jobs: Receiver<Job<W>>,
    /// One that was too heavy for those before it: the next.
    aside: Option<Job<W>>,
    delay: Duration,
}

impl<W: Worker> Queue<W> {
    /// Starts a thread for each of `workers` behind a queue; `name` is the model's.
    ///
    /// **Errors:** [`Error::Io`] if no thread can be started.
    pub(crate) fn start(name: &str, workers: Vec<W>, Waits { length, delay }: Waits) -> Result<Self> {
        let (jobs, waiting) = sync_channel(length);
        let waiting = Arc::new(Mutex::new(Waiting { jobs: waiting, aside: None, delay }));
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
        let job = Job { task, wanted: Wanted { until, place, reply } };
        self.jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => Unanswered::Busy,
            TrySendError::Disconnected(_) => Unanswered::Failed,
        })?;
        answer.await.unwrap_or(Err(Unanswered::Failed))
    }
}

impl<W: Worker> Waiting<W> {
    /// Whether no task is there.
    fn is_idle(&mut self) -> bool {
        if self.aside.is_none() {
            self.aside = self.jobs.try_recv().ok();
        }
        self.aside.is_none()
    }

    /// The next tasks, in their order: as many as are there and may be computed at once. None when
    /// there will be no more.
    fn next(&mut self, worker: &W) -> Option<Vec<Job<W>>> {
        let first = loop {
            let job = match self.aside.take() {
                Some(job) => job,
                None => self.jobs.recv().ok()?,
            };
            if job.wanted.is_waited_for() {
                break job;
            }
        };
        let mut room = worker.most().saturating_sub(worker.weight(&first.task));
        let mut jobs = vec![first];
        let until = (!self.delay.is_zero()).then(|| Instant::now() + self.delay);
        while room > 0
            && let Some(job) = self.another(until)
        {
            if !job.wanted.is_waited_for() {
                continue;
            }
            let weight = worker.weight(&job.task);
            if weight > room {
                self.aside = Some(job);
                break;
            }
            room -= weight;
            jobs.push(job);
        }
        Some(jobs)
    }

    /// One that is there, or comes before `until`.
    fn another(&self, until: Option<Instant>) -> Option<Job<W>> {
        match (self.jobs.try_recv(), until) {
            (Ok(job), _) => Some(job),
            (Err(TryRecvError::Disconnected), _) | (Err(TryRecvError::Empty), None) => None,
            (Err(TryRecvError::Empty), Some(until)) => {
                self.jobs.recv_timeout(until.saturating_duration_since(Instant::now())).ok()
            }
        }
    }
}

impl<D> Wanted<D> {
    /// Whether the client is still there, and was not told that it took too long.
    fn is_waited_for(&self) -> bool {
        !self.reply.is_closed() && Instant::now() <= self.until
    }

    fn answer(self, answer: std::result::Result<D, Unanswered>) {
        let Self { place, reply, .. } = self;
        // First, so that whoever has the answer may ask again at once.
        drop(place);
        let _gone = reply.send(answer);
    }
}

fn work<W: Worker>(waiting: &Mutex<Waiting<W>>, mut worker: W) {
    loop {
        // One thread waits at the queue, the others for it.
        let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).next(&worker);
        let Some(jobs) = next else { return };
        let (tasks, mut wanted): (Vec<W::Task>, Vec<_>) = jobs.into_iter().map(|job| (job.task, job.wanted)).unzip();
        let done = attempt(&mut worker, &tasks);
        if done.is_err() && tasks.len() > 1 {
            // One of them is to blame, and the others shall not pay for it.
            wanted.into_iter().zip(tasks).for_each(|(wanted, task)| alone(&mut worker, task, wanted));
        } else {
            // What they hold is free for whoever has the answer.
            drop(tasks);
            match done {
                Ok(done) => wanted.into_iter().zip(done).for_each(|(wanted, done)| wanted.answer(Ok(done))),
                Err(why) => {
                    if let Some(only) = wanted.pop() {
                        only.answer(Err(why));
                    }
                }
            }
        }
        // Who holds the queue waits at it: then it is empty.
        let idle = match waiting.try_lock() {
            Ok(mut waiting) => waiting.is_idle(),
            Err(TryLockError::Poisoned(waiting)) => waiting.into_inner().is_idle(),
            Err(TryLockError::WouldBlock) => true,
        };
        if idle && catch_unwind(AssertUnwindSafe(|| worker.rest())).is_err() {
            worker.recover();
        }
    }
}

fn alone<W: Worker>(worker: &mut W, task: W::Task, wanted: Wanted<W::Done>) {
    if wanted.is_waited_for() {
        let task = [task];
        let done = attempt(worker, &task).and_then(|mut done| done.pop().ok_or(Unanswered::Failed));
        drop(task);
        wanted.answer(done);
    }
}

/// Computes tasks; a panic is a failure of theirs.
fn attempt<W: Worker>(worker: &mut W, tasks: &[W::Task]) -> std::result::Result<Vec<W::Done>, Unanswered> {
    let done = catch_unwind(AssertUnwindSafe(|| worker.compute(tasks)));
    let done = done.unwrap_or_else(|_| {
        worker.recover();
        Err(Unanswered::Failed)
    });
    done.and_then(|done| if done.len() == tasks.len() { Ok(done) } else { Err(Unanswered::Failed) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::tests::one;
    use proptest::prelude::*;
    use std::sync::mpsc::{Sender, channel};

    /// Halves even numbers, refuses multiples of five and panics at what else is odd. A number
    /// weighs one, from a hundred on a hundred.
    struct Halves {
        recovered: usize,
        /// What was computed at once, told before it is computed: whoever reads it lets it go on.
        seen: Option<Sender<Vec<usize>>>,
        go: Option<Receiver<()>>,
    }

    impl Halves {
        fn alone() -> Self {
            Self { recovered: 0, seen: None, go: None }
        }
    }

    const MOST: usize = 8;

    impl Worker for Halves {
        type Task = usize;
        type Done = usize;

        fn most(&self) -> usize {
            MOST
        }

        fn weight(&self, task: &usize) -> usize {
            if *task < 100 { 1 } else { 100 }
        }

        fn compute(&mut self, tasks: &[usize]) -> std::result::Result<Vec<usize>, Unanswered> {
            if let (Some(seen), Some(go)) = (&self.seen, &self.go) {
                seen.send(tasks.to_vec()).unwrap();
                let _ = go.recv();
            }
            if tasks.iter().any(|task| task.is_multiple_of(5)) {
                let message = "a multiple of five".to_owned();
                return Err(Unanswered::Refused(subrosa::Error::Input { message, hint: None }));
            }
            let half = |task: &usize| {
                assert!(task.is_multiple_of(2), "a bug");
                task / 2
            };
            Ok(tasks.iter().map(half).collect())
        }

        fn recover(&mut self) {
            self.recovered += 1;
        }
    }

    fn waits(delay: Duration) -> Waits {
        Waits { length: 64, delay }
    }

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[tokio::test]
    async fn a_panic_costs_one_request() {
        let queue = Queue::start("halves", vec![Halves::alone()], waits(Duration::ZERO)).unwrap();
        let (places, place) = one();
        assert_eq!(queue.compute(6, later(), place.clone()).await.unwrap(), 3);
        assert!(matches!(queue.compute(7, later(), place.clone()).await, Err(Unanswered::Failed)));
        assert_eq!(queue.compute(6, later(), place).await.unwrap(), 3);
        assert_eq!(places.available_permits(), 1);
    }

    /// A queue whose worker is held at a first task while `tasks` come, and what it then does.
    async fn held(tasks: &[usize]) -> (Vec<Vec<usize>>, Vec<std::result::Result<usize, Unanswered>>) {
        let (seen, at) = channel();
        let (go, wait) = channel();
        let worker = Halves { recovered: 0, seen: Some(seen), go: Some(wait) };
        let queue = Queue::start("halves", vec![worker], waits(Duration::ZERO)).unwrap();
        let (_places, place) = one();
        let first = queue.compute(2, later(), place.clone());
        let rest = tasks.iter().map(|task| queue.compute(*task, later(), place.clone()));
        // Polled once each, in this order: then all of them are in the queue.
        let mut all: Vec<_> = std::iter::once(first).chain(rest).map(Box::pin).collect();
        for (i, one) in all.iter_mut().enumerate() {
            let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(one.as_mut().poll(cx))).await;
            assert!(polled.is_pending());
            // The first is taken alone.
            if i == 0 {
                assert_eq!(at.recv().unwrap(), [2]);
            }
        }
        drop(go);
        let mut answers = Vec::new();
        for one in all {
            answers.push(one.await);
        }
        drop(queue);
        (at.iter().collect(), answers.split_off(1))
    }

    #[tokio::test]
    async fn what_waits_is_computed_at_once_in_its_order() {
        let tasks: Vec<usize> = (0..20).map(|i| 2 * i + 2).filter(|i: &usize| !i.is_multiple_of(5)).collect();
        let (seen, answers) = held(&tasks).await;
        assert_eq!(seen, tasks.chunks(MOST).map(<[usize]>::to_vec).collect::<Vec<_>>());
        assert!(answers.iter().zip(&tasks).all(|(answer, task)| matches!(answer, Ok(half) if *half == task / 2)));
    }

    #[tokio::test]
    async fn what_is_too_heavy_comes_next_and_alone() {
        let (seen, answers) = held(&[4, 202, 6, 8, 204]).await;
        assert_eq!(seen, [vec![4], vec![202], vec![6, 8], vec![204]]);
        assert!(answers.iter().all(std::result::Result::is_ok));
    }

    #[tokio::test]
    async fn a_bad_neighbour_costs_nobody_else() {
        let (seen, answers) = held(&[4, 7, 15, 6]).await;
        assert_eq!(seen, [vec![4, 7, 15, 6], vec![4], vec![7], vec![15], vec![6]]);
        assert!(matches!(&answers[..], [Ok(2), Err(Unanswered::Failed), Err(Unanswered::Refused(_)), Ok(3)]));
    }

    #[tokio::test]
    async fn a_delay_lets_others_join_and_ends() {
        let (seen, at) = channel();
        let (go, wait) = channel();
        drop(go);
        let worker = Halves { recovered: 0, seen: Some(seen), go: Some(wait) };
        let queue = Queue::start("halves", vec![worker], waits(Duration::from_millis(300))).unwrap();
        let (_places, place) = one();
        let (first, second) = tokio::join!(queue.compute(2, later(), place.clone()), async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            queue.compute(4, later(), place.clone()).await
        });
        assert_eq!((first.unwrap(), second.unwrap()), (1, 2));
        assert_eq!(at.recv().unwrap(), [2, 4]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever waits together: each gets the answer that it gets alone.
        #[test]
        fn answers_are_those_of_one_at_a_time(tasks in prop::collection::vec(1usize..210, 1..40)) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let (_, answers) = runtime.block_on(held(&tasks));
            for (task, answer) in tasks.iter().zip(answers) {
                match answer {
                    Ok(half) => prop_assert!(!task.is_multiple_of(5) && half * 2 == *task),
                    Err(Unanswered::Refused(_)) => prop_assert!(task.is_multiple_of(5)),
                    Err(Unanswered::Failed) => prop_assert!(!task.is_multiple_of(5) && !task.is_multiple_of(2)),
                    Err(Unanswered::Busy | Unanswered::Anew(_) | Unanswered::Away) => {
                        return Err(TestCaseError::fail("there was room"));
                    }
                }
            }
        }
    }
}
