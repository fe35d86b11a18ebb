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

struct Taken {
    _permit: OwnedSemaphorePermit,
    active: Gauge,
}

impl Place {
    /// One of `places`, if any is free; `active` counts those that are not.
    pub(crate) fn take(places: &Arc<Semaphore>, active: &Gauge) -> Option<Self> {
        let permit = Arc::clone(places).try_acquire_owned().ok()?;
        active.inc();
        Some(Self { _taken: Arc::new(Taken { _permit: permit, active: active.clone() }) })
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.active.dec();
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// One place, and where it comes from.
    pub(crate) fn one() -> (Arc<Semaphore>, Place) {
        let places = Arc::new(Semaphore::new(1));
        let place = Place::take(&places, &Gauge::default()).unwrap();
        (places, place)
    }

    #[test]
    fn a_place_is_free_when_the_last_who_holds_it_is_gone() {
        let (places, active) = (Arc::new(Semaphore::new(1)), Gauge::default());
        let place = Place::take(&places, &active).unwrap();
        let other = place.clone();
        drop(place);
        assert!(Place::take(&places, &active).is_none());
        assert_eq!((places.available_permits(), active.get()), (0, 1));
        drop(other);
        assert_eq!((places.available_permits(), active.get()), (1, 0));
    }
}
