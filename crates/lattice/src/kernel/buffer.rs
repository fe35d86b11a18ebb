//! Words on cache-line boundaries: a vector load that straddles two lines costs two.

use std::ops::{Deref, DerefMut};
use zeroize::Zeroize;

/// Words of one cache line.
const LINE: usize = 8;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u64; LINE]);

/// A fixed number of words, a multiple of eight, aligned to 64 bytes.
#[derive(Clone, Default)]
pub(crate) struct Buffer(Vec<Line>);

impl Buffer {
    /// `len` zeros, rounded up to whole lines.
    pub(crate) fn zeroed(len: usize) -> Self {
        Self(vec![Line([0; LINE]); len.div_ceil(LINE)])
    }

    /// Keeps the first `len` words, a multiple of eight.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.0.truncate(len / LINE);
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
        b.zeroize();
        assert!(b.iter().all(|&w| w == 0));
    }
}
