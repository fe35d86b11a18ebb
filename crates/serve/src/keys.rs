//! Clients' evaluation keys: so much memory, and no more.

use std::collections::{HashMap, hash_map};
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
    room: Room,
}

/// Whether there is room for keys.
pub(crate) enum Admission {
    /// They are here already, and need none.
    Here,
    /// It is taken.
    Room(Room),
    /// Not now.
    Full,
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
    /// request works with, and none at all if that is not enough.
    pub(crate) fn room(&self, id: KeysId, bytes: u64) -> Admission {
        let mut kept = self.kept();
        if kept.use_of(id).is_some() {
            return Admission::Here;
        }
        let mut idle: Vec<_> = kept.by_id.iter().filter(|(_, entry)| Arc::strong_count(&entry.held) == 1).collect();
        idle.sort_by_key(|(_, entry)| entry.used);
        let mut over = self.taken().saturating_add(bytes).saturating_sub(self.most);
        let mut leave = Vec::new();
        for (id, entry) in idle {
            if over == 0 {
                break;
            }
            over = over.saturating_sub(entry.held.room.bytes);
            leave.push(*id);
        }
        if over > 0 {
            return Admission::Full;
        }
        for id in leave {
            kept.by_id.remove(&id);
        }
        self.taken.fetch_add(bytes, Ordering::Relaxed);
        Admission::Room(Room { bytes, taken: Arc::clone(&self.taken) })
    }

    /// Keeps keys; returns whether they are new. Those that came in between stay.
    pub(crate) fn keep(&self, id: KeysId, keys: K, plan: String, room: Room) -> bool {
        let mut kept = self.kept();
        kept.turn += 1;
        let used = kept.turn;
        match kept.by_id.entry(id) {
            hash_map::Entry::Occupied(_) => false,
            hash_map::Entry::Vacant(entry) => {
                entry.insert(Entry { held: Arc::new(Held { keys, plan, room }), used });
                true
            }
        }
    }

    /// Keys, for as long as they are held.
    pub(crate) fn find(&self, id: KeysId) -> Option<Arc<Held<K>>> {
        self.kept().use_of(id).map(Arc::clone)
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

impl<K> Kept<K> {
    /// Keys, that are the last to make way from now on.
    fn use_of(&mut self, id: KeysId) -> Option<&Arc<Held<K>>> {
        self.turn += 1;
        let entry = self.by_id.get_mut(&id)?;
        entry.used = self.turn;
        Some(&entry.held)
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

    /// Room for new keys.
    fn room(cache: &KeyCache<&'static str>, bytes: u64) -> Option<Room> {
        match cache.room(id("new"), bytes) {
            Admission::Room(room) => Some(room),
            Admission::Full => None,
            Admission::Here => panic!("they are not"),
        }
    }

    /// Room for two.
    fn full() -> KeyCache<&'static str> {
        let cache = KeyCache::new(20);
        for name in ["a", "b"] {
            let room = room(&cache, 10).unwrap();
            assert!(cache.keep(id(name), name, "plan".to_owned(), room));
        }
        cache
    }

    #[test]
    fn the_least_recently_used_make_way() {
        let cache = full();
        assert_eq!(cache.find(id("a")).unwrap().keys, "a");
        let space = room(&cache, 10).unwrap();
        assert!(cache.find(id("b")).is_none() && cache.find(id("a")).is_some());
        assert!(cache.keep(id("c"), "c", "other".to_owned(), space));
        cache.retain(|plan| plan == "plan");
        assert!(cache.find(id("c")).is_none());
        assert_eq!(cache.taken(), 10);
        assert!(room(&cache, 21).is_none(), "more than all of it");
        assert!(cache.find(id("a")).is_some(), "and nobody made way for nothing");
    }

    #[test]
    fn what_is_in_use_takes_its_room_until_it_is_let_go() {
        let cache = full();
        let (a, b) = (cache.find(id("a")).unwrap(), cache.find(id("b")).unwrap());
        assert!(room(&cache, 10).is_none(), "a request works with either");
        cache.forget(id("a"));
        assert!(cache.find(id("a")).is_none() && room(&cache, 10).is_none());
        assert_eq!((a.keys, cache.taken()), ("a", 20));
        drop(a);
        assert!(room(&cache, 10).is_some());
        drop(b);
        assert_eq!(cache.taken(), 10, "the room was given back unused");
    }

    #[test]
    fn the_same_keys_are_kept_once() {
        let cache = full();
        assert!(matches!(cache.room(id("a"), 10), Admission::Here));
        cache.forget(id("b"));
        let space = room(&cache, 10).unwrap();
        let first = cache.find(id("a")).unwrap();
        assert!(!cache.keep(id("a"), "a", "plan".to_owned(), space));
        assert!(Arc::ptr_eq(&first, &cache.find(id("a")).unwrap()));
        assert_eq!(cache.taken(), 10);
    }

    #[test]
    fn nobody_makes_way_where_it_is_not_enough() {
        let cache = full();
        let _at_work = cache.find(id("a")).unwrap();
        assert!(room(&cache, 11).is_none());
        assert!(cache.find(id("b")).is_some() && cache.taken() == 20);
    }
}
