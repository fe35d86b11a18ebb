//! Where the connections of one session meet, whoever comes first.

use super::control::SessionId;
use std::collections::HashMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Instant;
use subrosa_net::tcp::Channel;

/// The sessions that are being put together.
#[derive(Default)]
pub(super) struct Rendezvous {
    waiting: Mutex<HashMap<SessionId, Sender<Channel>>>,
    opened: Condvar,
}

/// A place where a session's connections arrive; taken away when dropped.
pub(super) struct Place<'a> {
    rendezvous: &'a Rendezvous,
    session: SessionId,
    arrivals: Receiver<Channel>,
}

impl Rendezvous {
    /// Opens the place of `session`; none if it is open already.
    pub(super) fn open(&self, session: SessionId) -> Option<Place<'_>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.contains_key(&session) {
            return None;
        }
        let (sender, arrivals) = channel();
        waiting.insert(session, sender);
        self.opened.notify_all();
        Some(Place { rendezvous: self, session, arrivals })
    }

    /// Brings a connection to its session, waiting until `until` for that to be opened;
    /// gives it back when nobody came for it.
    pub(super) fn deliver(&self, session: SessionId, channel: Channel, until: Instant) -> Result<(), Channel> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(sender) = waiting.get(&session) {
                return sender.send(channel).map_err(|e| e.0);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(channel);
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
