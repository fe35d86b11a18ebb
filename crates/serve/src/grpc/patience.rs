//! How long a connection over HTTP/2 is kept: its streams have no times of their own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A connection's requests, and since when.
pub(crate) struct Patience {
    /// Without any request.
    idle: Duration,
    /// For one request, until its answer is read.
    request: Duration,
    seen: Mutex<Seen>,
}

struct Seen {
    next: u64,
    begun: BTreeMap<u64, Instant>,
    /// Since when there is none.
    quiet: Instant,
}

/// A request that is not over.
pub(crate) struct Going {
    patience: Arc<Patience>,
    number: u64,
}

impl Patience {
    pub(crate) fn new(idle: Duration, request: Duration) -> Arc<Self> {
        let seen = Seen { next: 0, begun: BTreeMap::new(), quiet: Instant::now() };
        Arc::new(Self { idle, request, seen: Mutex::new(seen) })
    }

    /// Takes note of a request, until what is given back is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> Going {
        let mut seen = self.seen();
        let number = seen.next;
        seen.next += 1;
        seen.begun.insert(number, Instant::now());
        Going { patience: Arc::clone(self), number }
    }

    /// Done when the connection is of no more use.
    pub(crate) async fn over(&self) {
        while let Some(left) = self.left(Instant::now()) {
            tokio::time::sleep(left.max(Duration::from_millis(10))).await;
        }
    }

    fn left(&self, now: Instant) -> Option<Duration> {
        let seen = self.seen();
        let until = match seen.begun.values().next() {
            Some(oldest) => *oldest + self.request,
            None => seen.quiet + self.idle,
        };
        until.checked_duration_since(now).filter(|left| !left.is_zero())
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Going {
    /// Lets a piece of the answer through, and is held by what does so.
    pub(crate) fn through<T>(&self, piece: T) -> T {
        piece
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        let mut seen = self.patience.seen();
        seen.begun.remove(&self.number);
        if seen.begun.is_empty() {
            seen.quiet = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_has_time_for_its_oldest_request_and_between_them() {
        let second = Duration::from_secs(1);
        let patience = Patience::new(second, 5 * second);
        let now = Instant::now();
        assert!(patience.left(now).is_some() && patience.left(now + 2 * second).is_none());
        let first = patience.begin();
        let later = patience.begin();
        assert!(patience.left(now + 4 * second).is_some() && patience.left(now + 6 * second).is_none());
        drop(later);
        assert!(patience.left(now + 4 * second).is_some(), "the first goes on");
        drop(first);
        assert!(patience.left(Instant::now() + 2 * second).is_none());
    }
}
