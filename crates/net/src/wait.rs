//! Waiting for any of several links at once.
//!
//! A wake-up from the kernel costs about 20 us, far more than a small message. So a
//! session first spins for a bounded time, where there is a core to spin on, and parks
//! then.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What wakes the owner of a link.
pub enum Wake<'a> {
    /// A counter in this process.
    Event(&'a std::sync::Arc<Event>),
    /// A socket that becomes readable or writable.
    #[cfg(unix)]
    Socket {
        /// The socket.
        fd: std::os::fd::BorrowedFd<'a>,
        /// Wait for bytes to read.
        read: bool,
        /// Wait for room to write.
        write: bool,
    },
    /// Nothing: the link has no more to say until it is asked for a message.
    Never,
}

/// Counts what happened; threads wait for the count to move on.
#[derive(Default)]
pub struct Event {
    count: Mutex<u64>,
    moved: Condvar,
}

impl Event {
    /// Counts one happening and wakes whoever waits.
    pub fn notify(&self) {
        *self.count.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.moved.notify_all();
    }

    /// Happenings so far.
    pub fn count(&self) -> u64 {
        *self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the count has left `seen`, at most for `timeout`.
    pub fn wait_past(&self, seen: u64, timeout: Duration) {
        let count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        // Whether it moved or time is up: the caller looks again either way.
        drop(self.moved.wait_timeout_while(count, timeout, |count| *count == seen));
    }
}

/// Parks until one of `wakes` fires or `timeout` is over. `seen` is the event's count from
/// before the links were last polled, so that nothing in between is missed.
pub(crate) fn park(wakes: &[Wake<'_>], seen: u64, timeout: Duration) {
    let event = wakes.iter().find_map(|w| match w {
        Wake::Event(event) => Some(event),
        #[cfg(unix)]
        Wake::Socket { .. } => None,
        Wake::Never => None,
    });
    #[cfg(unix)]
    {
        let mut fds = sockets(wakes);
        if !fds.is_empty() {
            // A session with links of both kinds looks at its events every millisecond.
            let timeout = if event.is_some() { timeout.min(MIXED) } else { timeout };
            let timeout = rustix::event::Timespec {
                tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(timeout.subsec_nanos()),
            };
            // Interrupted or not: the caller looks at every link again.
            let _ = rustix::event::poll(&mut fds, Some(&timeout));
            return;
        }
    }
    match event {
        Some(event) => event.wait_past(seen, timeout),
        None => std::thread::sleep(timeout),
    }
}

#[cfg(unix)]
const MIXED: Duration = Duration::from_millis(1);

#[cfg(unix)]
fn sockets<'a>(wakes: &[Wake<'a>]) -> Vec<rustix::event::PollFd<'a>> {
    use rustix::event::{PollFd, PollFlags};
    let interest = |w: &Wake<'a>| match *w {
        Wake::Socket { fd, read, write } if read || write => {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, read);
            flags.set(PollFlags::OUT, write);
            Some(PollFd::from_borrowed_fd(fd, flags))
        }
        Wake::Socket { .. } | Wake::Event(_) | Wake::Never => None,
    };
    wakes.iter().filter_map(interest).collect()
}

/// How long a session spins before it parks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spin(pub Duration);

impl Spin {
    /// No spinning: for parties that share their cores with others.
    pub const NONE: Self = Self(Duration::ZERO);

    /// About two wake-ups, on a machine with a core for each of `busy` threads; none
    /// elsewhere, where spinning would take the core from whoever has to answer.
    pub fn for_threads(busy: usize) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        if cores > busy { Self(Duration::from_micros(40)) } else { Self::NONE }
    }

    /// Whether to look again at once, in a wait that began at `start`.
    pub(crate) fn again(self, start: Instant) -> bool {
        !self.0.is_zero() && start.elapsed() < self.0
    }
}
