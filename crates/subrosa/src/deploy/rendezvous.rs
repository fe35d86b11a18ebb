//! Where the connections of one session meet, whoever comes first.

use super::control::SessionId;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Instant;
use subrosa_net::tcp::Channel;

/// The sessions that are being put together.
#[derive(Default)]
pub(super) struct Rendezvous {
    waiting: Mutex<HashMap<SessionId, Waiting>>,
    opened: Condvar,
}

/// Who is still to come, and where to. So no more come than belong there.
struct Waiting {
    missing: BTreeSet<String>,
    arrivals: Sender<Channel>,
}

/// A place where a session's connections arrive; taken away when dropped.
pub(super) struct Place<'a> {
    rendezvous: &'a Rendezvous,
    session: SessionId,
    arrivals: Receiver<Channel>,
}

/// Why a connection does not get to its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turned {
    /// Nobody opened it.
    Unopened,
    /// It waits for others, or had this one already.
    Unexpected,
}

impl fmt::Display for Turned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unopened => "was not opened here",
            Self::Unexpected => "does not wait for this connection",
        })
    }
}

impl Rendezvous {
    /// Opens the place of `session`, which `missing` join, each once; none if it is open already.
    pub(super) fn open(&self, session: SessionId, missing: BTreeSet<String>) -> Option<Place<'_>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.contains_key(&session) {
            return None;
        }
        let (sender, arrivals) = channel();
        waiting.insert(session, Waiting { missing, arrivals: sender });
        self.opened.notify_all();
        Some(Place { rendezvous: self, session, arrivals })
    }

    /// Brings a connection to its session, waiting until `until` for that to be opened; gives it back when
    /// nobody waits for it there.
    pub(super) fn deliver(
        &self,
        session: SessionId,
        channel: Channel,
        until: Instant,
    ) -> Result<(), (Channel, Turned)> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(place) = waiting.get_mut(&session) {
                if !place.missing.remove(channel.peer()) {
                    return Err((channel, Turned::Unexpected));
                }
                return place.arrivals.send(channel).map_err(|e| (e.0, Turned::Unopened));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err((channel, Turned::Unopened));
            }
            waiting = self.opened.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Place<'_> {
    /// The next connection, until `until`.
    pub(super) fn next(&self, until: Instant) -> Option<Channel> {
        self.arrivals.recv_timeout(until.saturating_duration_since(Instant::now())).ok()
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.rendezvous.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.session);
    }
}

#[cfg(test)]
mod tests;
