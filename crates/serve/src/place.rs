//! The place of a request at work.

use prometheus_client::metrics::gauge::Gauge;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// One of so many places. Clones share it, and it is free when the last one is gone: whatever
/// goes on for a request holds one, also after its client hung up.
#[derive(Clone)]
pub(crate) struct Place {
    _taken: Arc<Taken>,
}

/// Those of the places that one connection may take. Over HTTP/2 a connection has many requests.
#[derive(Clone)]
pub(crate) struct Share {
    places: Arc<Semaphore>,
    size: usize,
}

struct Taken {
    _permit: OwnedSemaphorePermit,
    _shared: Option<OwnedSemaphorePermit>,
    active: Gauge,
}

impl Place {
    /// One of `places`, if any is free, also of `share` where there is one; `active` counts those
    /// that are not.
    pub(crate) fn take(places: &Arc<Semaphore>, share: Option<&Share>, active: &Gauge) -> Option<Self> {
        let shared = share.map(|share| Arc::clone(&share.places).try_acquire_owned()).transpose().ok()?;
        let permit = Arc::clone(places).try_acquire_owned().ok()?;
        active.inc();
        Some(Self { _taken: Arc::new(Taken { _permit: permit, _shared: shared, active: active.clone() }) })
    }
}

impl Share {
    /// A quarter of `requests` places, one at least.
    pub(crate) fn of(requests: usize) -> Self {
        let size = (requests / PARTS).clamp(1, MOST_SHARED);
        Self { places: Arc::new(Semaphore::new(size)), size }
    }

    /// How many these are: 64 at most.
    pub(crate) fn size(&self) -> usize {
        self.size
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.active.dec();
    }
}

/// So many connections take all places together.
const PARTS: usize = 4;

const MOST_SHARED: usize = 64;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// One place, and where it comes from.
    pub(crate) fn one() -> (Arc<Semaphore>, Place) {
        let places = Arc::new(Semaphore::new(1));
        let place = Place::take(&places, None, &Gauge::default()).unwrap();
        (places, place)
    }

    #[test]
    fn a_place_is_free_when_the_last_who_holds_it_is_gone() {
        let (places, active) = (Arc::new(Semaphore::new(1)), Gauge::default());
        let place = Place::take(&places, None, &active).unwrap();
        let other = place.clone();
        drop(place);
        assert!(Place::take(&places, None, &active).is_none());
        assert_eq!((places.available_permits(), active.get()), (0, 1));
        drop(other);
        assert_eq!((places.available_permits(), active.get()), (1, 0));
    }

    #[test]
    fn a_connection_takes_its_share_and_leaves_the_rest() {
        let (places, active, share) = (Arc::new(Semaphore::new(8)), Gauge::default(), Share::of(8));
        assert_eq!((share.size(), Share::of(1).size(), Share::of(100_000).size()), (2, 1, 64));
        let taken = [(); 2].map(|()| Place::take(&places, Some(&share), &active).unwrap());
        assert!(Place::take(&places, Some(&share), &active).is_none());
        assert_eq!((places.available_permits(), active.get()), (6, 2), "and a refused one takes none");
        let other = Place::take(&places, Some(&Share::of(8)), &active);
        assert!(other.is_some() && Place::take(&places, None, &active).is_some());
        drop(taken);
        assert!(Place::take(&places, Some(&share), &active).is_some());
    }
}
