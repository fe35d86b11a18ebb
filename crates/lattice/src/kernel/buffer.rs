//! Words on cache-line boundaries: a vector load that straddles two lines costs two.
//!
//! Freed buffers wait in a pool: given back to the system, a polynomial costs more in page
//! faults than in arithmetic. Threads share it, as one frees what another has made. Keys, errors and
//! messages are wiped before they are freed ([`Zeroize`]), so the pool holds none. It may hold a model's
//! weights, which whoever encodes them has in memory anyway.

use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use zeroize::Zeroize;

/// Words of one cache line.
const LINE: usize = 8;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u64; LINE]);

/// Most memory the pool may hold (words): 512 MiB.
const MAX_POOLED: usize = 1 << 26;

#[derive(Default)]
struct Pool {
    /// Free buffers by their number of lines.
    free: HashMap<usize, Vec<Vec<Line>>>,
    words: usize,
}

static POOL: LazyLock<Mutex<Pool>> = LazyLock::new(Mutex::default);

/// The pool; its own code never panics while it is locked.
fn pool() -> MutexGuard<'static, Pool> {
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    fn take(&mut self, lines: usize) -> Option<Vec<Line>> {
        let found = self.free.get_mut(&lines)?.pop()?;
        self.words -= lines * LINE;
        Some(found)
    }

    fn put(&mut self, lines: Vec<Line>) {
        if self.words + lines.len() * LINE <= MAX_POOLED {
            self.words += lines.len() * LINE;
            self.free.entry(lines.len()).or_default().push(lines);
        }
    }
}

/// The words of every free buffer of `len` words.
#[cfg(test)]
pub(crate) fn freed(len: usize) -> Vec<u64> {
    let pool = pool();
    let buffers = pool.free.get(&len.div_ceil(LINE)).into_iter().flatten();
    buffers.flatten().flat_map(|line| line.0).collect()
}

/// A fixed number of words, a multiple of eight, aligned to 64 bytes.
#[derive(Default)]
pub(crate) struct Buffer(Vec<Line>);

impl Buffer {
    /// `len` zeros, rounded up to whole lines.
    pub(crate) fn zeroed(len: usize) -> Self {
        let mut buffer = Self::scratch(len);
        buffer.fill(0);
        buffer
    }

    /// `len` words, rounded up to whole lines, of any value: to be overwritten.
    pub(crate) fn scratch(len: usize) -> Self {
        let lines = len.div_ceil(LINE);
        let pooled = pool().take(lines);
        Self(pooled.unwrap_or_else(|| vec![Line([0; LINE]); lines]))
    }

    /// Keeps the first `len` words, a multiple of eight.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.0.truncate(len / LINE);
    }
}

impl Buffer {
    /// The same memory as words of 32 bits.
    pub(crate) fn halves(&self) -> &[u32] {
        // SAFETY: `u32` has a lower alignment, no invalid values, and half the size.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), self.0.len() * LINE * 2) }
    }

    /// The same memory as words of 32 bits, to be changed.
    pub(crate) fn halves_mut(&mut self) -> &mut [u32] {
        // SAFETY: as above; the borrow of `self` is unique.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), self.0.len() * LINE * 2) }
    }
}

impl Clone for Buffer {
    fn clone(&self) -> Self {
        let mut copy = Self::scratch(self.len());
        copy.copy_from_slice(self);
        copy
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut lines = std::mem::take(&mut self.0);
        if !lines.is_empty() {
            // A truncated buffer has more room than its length says.
            lines.resize(lines.capacity(), Line([0; LINE]));
            pool().put(lines);
        }
    }
}

impl Deref for Buffer {
    type Target = [u64];

    fn deref(&self) -> &[u64] {
        // SAFETY: `Line` is eight words without padding (`repr(C)`, 64 bytes, alignment
        // 64), so `len` lines are `8 len` initialised words.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), self.0.len() * LINE) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u64] {
        // SAFETY: as above; the borrow of `self` is unique.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), self.0.len() * LINE) }
    }
}

impl Zeroize for Buffer {
    fn zeroize(&mut self) {
        self.deref_mut().zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_aligned_and_kept() {
        let mut b = Buffer::zeroed(64);
        b.iter_mut().enumerate().for_each(|(i, w)| *w = i as u64);
        assert_eq!((b.len(), b[63], b.as_ptr() as usize % 64), (64, 63, 0));
        b.truncate(16);
        assert_eq!((b.len(), b[15]), (16, 15));
        b.halves_mut().fill(3);
        assert_eq!((b.halves().len(), b[0]), (32, 3 << 32 | 3));
        b.zeroize();
        assert!(b.iter().all(|&w| w == 0));
    }

    #[test]
    fn buffers_come_back_and_zeros_are_zeros() {
        let mut b = Buffer::zeroed(4096);
        b.fill(7);
        let at = b.as_ptr();
        drop(b);
        let again = Buffer::zeroed(4096);
        assert_eq!((again.as_ptr(), again[0], again[4095]), (at, 0, 0));
        let copy = again.clone();
        assert_eq!(&copy[..], &again[..]);
    }
}
