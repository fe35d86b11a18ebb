//! How many callers are served at a time, so that none of them takes every place.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use subrosa_net::tcp::Fingerprint;

/// Connections whose purpose is not known yet: from everywhere, and from one address.
const MOST_STRANGERS: usize = 256;
const MOST_FROM_ONE: usize = 64;

/// Known callers that are no session: all of them, and one. Enough for a gateway's sessions, and few enough that
/// no client shuts the others out.
const MOST_ERRANDS: usize = 128;
const MOST_OF_ONE: usize = 16;

/// Another party's connections that look for their session.
const MOST_JOINS_OF_ONE: usize = 64;

/// Everybody who calls a party and is no session, which are counted by themselves.
pub(super) struct Everybody {
    /// By address, before their purpose is known.
    pub(super) strangers: Callers<IpAddr>,
    /// Clients and parties, by key.
    pub(super) errands: Callers<Fingerprint>,
    /// Other parties that join sessions. They are not counted with the errands, so that no client keeps sessions
    /// from coming together; nor does a party keep the others' away.
    pub(super) joins: Callers<Fingerprint>,
}

impl Default for Everybody {
    fn default() -> Self {
        Self {
            strangers: Callers::new(MOST_STRANGERS, MOST_FROM_ONE),
            errands: Callers::new(MOST_ERRANDS, MOST_OF_ONE),
            joins: Callers::new(usize::MAX, MOST_JOINS_OF_ONE),
        }
    }
}

/// Callers at work, by who or where they are: so many in all, and so many from one.
pub(super) struct Callers<K> {
    all: usize,
    each: usize,
    at_work: Mutex<HashMap<K, usize>>,
}

/// A caller's place; given back when dropped, also by a panic.
pub(super) struct Place<'a, K: Copy + Eq + Hash> {
    callers: &'a Callers<K>,
    who: K,
}

impl<K: Copy + Eq + Hash> Callers<K> {
    pub(super) fn new(all: usize, each: usize) -> Self {
        Self { all, each, at_work: Mutex::default() }
    }

    /// A place for `who`, unless it has too many, or all together do.
    pub(super) fn place(&self, who: K) -> Option<Place<'_, K>> {
        // Not `then_some`: one that is made and dropped lets go.
        self.enter(who).then(|| Place { callers: self, who })
    }

    /// The same, of a caller that does not outlive [`Callers::leave`].
    pub(super) fn enter(&self, who: K) -> bool {
        let mut at_work = self.at_work.lock().unwrap_or_else(PoisonError::into_inner);
        let (all, own) = (at_work.values().sum::<usize>(), at_work.get(&who).copied().unwrap_or(0));
        let free = all < self.all && own < self.each;
        if free {
            at_work.insert(who, own + 1);
        }
        free
    }

    pub(super) fn leave(&self, who: K) {
        let mut at_work = self.at_work.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = at_work.get_mut(&who) {
            *own -= 1;
            if *own == 0 {
                at_work.remove(&who);
            }
        }
    }
}

impl<K: Copy + Eq + Hash> Drop for Place<'_, K> {
    fn drop(&mut self) {
        self.callers.leave(self.who);
    }
}

/// One of a bounded number; given back when dropped, also by a panic.
pub(super) struct Slot<'a>(&'a AtomicUsize);

impl<'a> Slot<'a> {
    pub(super) fn take(taken: &'a AtomicUsize, limit: usize) -> Option<Self> {
        let slot = Self(taken);
        (taken.fetch_add(1, Ordering::SeqCst) < limit).then_some(slot)
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests;
