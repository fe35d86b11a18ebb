//! Threads that the kernels of one party may use.
//!
//! There is no pool for the whole process: [`Threads::enter`] lends a pool to whatever the
//! calling thread does meanwhile, so that several parties in one process each keep to
//! their own bound. Work is cut into independent parts of the result, hence every number
//! of threads gives the same words.

use rayon::{ThreadPool, ThreadPoolBuilder};
use std::cell::RefCell;
use std::sync::Arc;

/// A bound on the threads that work at a time, the caller's included.
#[derive(Clone)]
pub struct Threads {
    /// One thread less than the bound, since the caller works too; `None` for one thread.
    pool: Option<Arc<ThreadPool>>,
}

/// Why [`Threads::new`] made no threads.
#[derive(Debug, thiserror::Error)]
pub enum ThreadsError {
    /// Not even the caller's thread was allowed.
    #[error("at least one thread is needed")]
    None,
    /// The system refused.
    #[error("{asked} threads: {source}")]
    Refused {
        /// Threads asked for.
        asked: usize,
        /// The pool's own error.
        source: rayon::ThreadPoolBuildError,
    },
}

thread_local! {
    static CURRENT: RefCell<Option<Arc<ThreadPool>>> = const { RefCell::new(None) };
}

impl Threads {
    /// `n >= 1` threads. For `n = 1` nothing is started, and the kernels call no pool.
    pub fn new(n: usize) -> Result<Self, ThreadsError> {
        let workers = n.checked_sub(1).ok_or(ThreadsError::None)?;
        if workers == 0 {
            return Ok(Self { pool: None });
        }
        let builder = ThreadPoolBuilder::new().num_threads(workers).thread_name(|i| format!("ring-{i}"));
        let pool = builder.build().map_err(|source| ThreadsError::Refused { asked: n, source })?;
        Ok(Self { pool: Some(Arc::new(pool)) })
    }

    /// The bound.
    pub fn count(&self) -> usize {
        1 + self.pool.as_ref().map_or(0, |pool| pool.current_num_threads())
    }

    /// Does `work` on the calling thread; kernels that it calls there use these threads.
    /// May be nested, and the innermost bound holds.
    pub fn enter<T>(&self, work: impl FnOnce() -> T) -> T {
        let _restored = Entered { outer: CURRENT.replace(self.pool.clone()) };
        work()
    }
}

/// Puts back what was current before, also if the work panics.
struct Entered {
    outer: Option<Arc<ThreadPool>>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.outer.take());
    }
}

/// Products a thread must have to do before waking it pays: 10 to 100 microseconds' worth.
const MIN_PRODUCTS: usize = 1 << 20;

/// Into how many parts to cut a kernel of that many products.
pub(crate) fn parts(products: usize) -> usize {
    let threads = CURRENT.with_borrow(|pool| 1 + pool.as_ref().map_or(0, |pool| pool.current_num_threads()));
    threads.min(products / MIN_PRODUCTS).max(1)
}

/// Does `work` on each part, the first on the calling thread.
pub(crate) fn each<T: Send>(parts: impl IntoIterator<Item = T>, work: impl Fn(T) + Sync) {
    let pool = CURRENT.with_borrow(Clone::clone);
    let mut parts = parts.into_iter();
    let Some(pool) = pool else { return parts.for_each(work) };
    let first = parts.next();
    pool.in_place_scope(|scope| {
        let work = &work;
        parts.for_each(|part| scope.spawn(move |_| work(part)));
        first.map(work);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::AssertUnwindSafe;

    #[test]
    fn bounds_are_entered_and_left() {
        let (one, three) = (Threads::new(1).unwrap(), Threads::new(3).unwrap());
        assert_eq!((one.count(), three.count()), (1, 3));
        assert_eq!(parts(usize::MAX), 1);
        three.enter(|| {
            assert_eq!((parts(0), parts(2 * MIN_PRODUCTS), parts(usize::MAX)), (1, 2, 3));
            one.enter(|| assert_eq!(parts(usize::MAX), 1));
            assert_eq!(parts(usize::MAX), 3);
        });
        assert_eq!(parts(usize::MAX), 1);
        assert!(std::panic::catch_unwind(AssertUnwindSafe(|| three.enter(|| panic!("work fails")))).is_err());
        assert_eq!(parts(usize::MAX), 1);
        assert!(matches!(Threads::new(0), Err(ThreadsError::None)));
    }

    #[test]
    fn every_part_is_done_once() {
        for n in [1, 2, 5] {
            let mut done = [0; 17];
            Threads::new(n).unwrap().enter(|| each(done.iter_mut().enumerate(), |(i, d)| *d += i));
            assert_eq!(done, std::array::from_fn(|i| i));
        }
    }
}
