//! Work split over the threads of the pool that the caller stands in.
//!
//! Nothing here starts a thread: outside of a pool (`rayon::ThreadPool::install`), and
//! without the feature `threads`, everything is done by the caller, in order. Work is cut
//! into independent parts of the result, so every number of threads gives the same words.

/// Threads that work for the caller, its own included.
#[cfg(feature = "threads")]
pub fn threads() -> usize {
    rayon::current_thread_index().map_or(1, |_| rayon::current_num_threads())
}

/// Threads that work for the caller, its own included.
#[cfg(not(feature = "threads"))]
pub fn threads() -> usize {
    1
}

/// `work` on each item; the results in the items' order.
#[cfg(feature = "threads")]
pub fn map<T: Send, R: Send>(items: Vec<T>, work: impl Fn(T) -> R + Sync + Send) -> Vec<R> {
    use rayon::prelude::*;
    if threads() > 1 && items.len() > 1 {
        return items.into_par_iter().with_max_len(1).map(work).collect();
    }
    items.into_iter().map(work).collect()
}

/// `work` on each item; the results in the items' order.
#[cfg(not(feature = "threads"))]
pub fn map<T, R>(items: Vec<T>, work: impl Fn(T) -> R) -> Vec<R> {
    items.into_iter().map(work).collect()
}

#[cfg(all(test, feature = "threads"))]
mod tests {
    use super::*;

    #[test]
    fn results_stand_in_order_inside_and_outside_of_a_pool() {
        let squares = || map((0..100u64).collect(), |x| x * x);
        let expected: Vec<u64> = (0..100).map(|x| x * x).collect();
        assert_eq!(squares(), expected);
        for threads in [1, 2, 5] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            assert_eq!(pool.install(squares), expected);
            assert_eq!(pool.install(super::threads), threads);
        }
    }
}
