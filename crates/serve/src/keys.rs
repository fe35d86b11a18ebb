//! Clients' evaluation keys: so much memory, and no more.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use subrosa::ckks::service::{Keys, KeysId};

/// Keys by name. There is no list of them: who does not know a name learns nothing.
pub(crate) struct KeyCache<K = Keys> {
    most: u64,
    kept: Mutex<Kept<K>>,
    taken: Arc<AtomicU64>,
}

struct Kept<K> {
    by_id: HashMap<KeysId, Entry<K>>,
    /// Grows with each use.
    turn: u64,
}

struct Entry<K> {
    held: Arc<Held<K>>,
    used: u64,
}

/// Keys, and the memory that they take until the last request lets go of them.
pub(crate) struct Held<K = Keys> {
    pub(crate) keys: K,
    /// The plan that they are for.
    pub(crate) plan: String,
    _room: Room,
}

/// Memory of the cache that is taken.
pub(crate) struct Room {
    bytes: u64,
    taken: Arc<AtomicU64>,
}

impl<K> KeyCache<K> {
    /// Of `most` bytes.
    pub(crate) fn new(most: u64) -> Self {
        Self { most, kept: Mutex::new(Kept { by_id: HashMap::new(), turn: 0 }), taken: Arc::default() }
    }

    /// Room for keys, before they are decoded: the least recently used make way, but none that a
    /// request works with. None if that is not enough.
    pub(crate) fn room(&self, bytes: u64) -> Option<Room> {
        let mut kept = self.kept();
        while self.taken().saturating_add(bytes) > self.most {
            let idle = kept.by_id.iter().filter(|(_, entry)| Arc::strong_count(&entry.held) == 1);
            let oldest = idle.min_by_key(|(_, entry)| entry.used).map(|(id, _)| *id)?;
            kept.by_id.remove(&oldest);
        }
        self.taken.fetch_add(bytes, Ordering::Relaxed);
        Some(Room { bytes, taken: Arc::clone(&self.taken) })
    }

    /// Keeps keys; returns whether they are new.
    pub(crate) fn keep(&self, id: KeysId, keys: K, plan: String, room: Room) -> bool {
        let mut kept = self.kept();
        kept.turn += 1;
        let used = kept.turn;
        kept.by_id.insert(id, Entry { held: Arc::new(Held { keys, plan, _room: room }), used }).is_none()
    }

    /// Keys, for as long as they are held.
    pub(crate) fn find(&self, id: KeysId) -> Option<Arc<Held<K>>> {
        let mut kept = self.kept();
        kept.turn += 1;
        let turn = kept.turn;
        let entry = kept.by_id.get_mut(&id)?;
        entry.used = turn;
        Some(Arc::clone(&entry.held))
    }

    /// Forgets keys; a request that works with them goes on.
    pub(crate) fn forget(&self, id: KeysId) {
        self.kept().by_id.remove(&id);
    }

    /// Forgets those of plans that there are no more.
    pub(crate) fn retain(&self, is_planned: impl Fn(&str) -> bool) {
        self.kept().by_id.retain(|_, entry| is_planned(&entry.held.plan));
    }

    /// Bytes that are taken.
    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    fn kept(&self) -> MutexGuard<'_, Kept<K>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> KeysId {
        KeysId::of(name.as_bytes())
    }

    /// Room for two.
    fn full() -> KeyCache<&'static str> {
        let cache = KeyCache::new(20);
        for name in ["a", "b"] {
            let room = cache.room(10).unwrap();
            assert!(cache.keep(id(name), name, "plan".to_owned(), room));
        }
        cache
    }

    #[test]
    fn the_least_recently_used_make_way() {
        let cache = full();
        assert_eq!(cache.find(id("a")).unwrap().keys, "a");
        let room = cache.room(10).unwrap();
        assert!(cache.find(id("b")).is_none() && cache.find(id("a")).is_some());
        assert!(cache.keep(id("c"), "c", "other".to_owned(), room));
        cache.retain(|plan| plan == "plan");
        assert!(cache.find(id("c")).is_none());
        assert_eq!(cache.taken(), 10);
        assert!(cache.room(21).is_none(), "more than all of it");
    }

    #[test]
    fn what_is_in_use_takes_its_room_until_it_is_let_go() {
        let cache = full();
        let (a, b) = (cache.find(id("a")).unwrap(), cache.find(id("b")).unwrap());
        assert!(cache.room(10).is_none(), "a request works with either");
        cache.forget(id("a"));
        assert!(cache.find(id("a")).is_none() && cache.room(10).is_none());
        assert_eq!((a.keys, cache.taken()), ("a", 20));
        drop(a);
        assert!(cache.room(10).is_some());
        drop(b);
        assert_eq!(cache.taken(), 10, "the room was given back unused");
    }

    #[test]
    fn the_same_keys_are_kept_once() {
        let cache = full();
        cache.forget(id("b"));
        let room = cache.room(10).unwrap();
        assert!(!cache.keep(id("a"), "a", "plan".to_owned(), room));
        assert_eq!(cache.taken(), 10);
    }
}
