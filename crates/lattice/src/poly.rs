//! A polynomial as residues modulo several primes.

use crate::kernel::buffer::Buffer;
use zeroize::Zeroize;

/// Residues modulo the first `level` primes of `q`, then perhaps modulo the special
/// primes: one row of `n` words a prime. Whether they are coefficients or evaluations is
/// the owner's to know; ciphertexts and keys hold evaluations.
#[derive(Clone)]
pub struct Poly {
    words: Buffer,
    n: usize,
    level: usize,
    special: usize,
}

impl Poly {
    pub(crate) fn zero(n: usize, level: usize, special: usize) -> Self {
        Self { words: Buffer::zeroed(n * (level + special)), n, level, special }
    }

    /// Residues of any value, to be overwritten.
    pub(crate) fn scratch(n: usize, level: usize, special: usize) -> Self {
        Self { words: Buffer::scratch(n * (level + special)), n, level, special }
    }

    /// The same primes, residues to be overwritten.
    pub(crate) fn like(&self) -> Self {
        Self::scratch(self.n, self.level, self.special)
    }

    /// Primes of `q` it has residues for.
    pub fn level(&self) -> usize {
        self.level
    }

    /// Whether it has residues for the special primes.
    pub fn is_extended(&self) -> bool {
        self.special > 0
    }

    /// All primes it has residues for.
    pub fn rows(&self) -> usize {
        self.level + self.special
    }

    /// Residues of one prime.
    pub fn row(&self, row: usize) -> &[u64] {
        &self.words[row * self.n..(row + 1) * self.n]
    }

    /// Residues of one prime, to be changed.
    pub fn row_mut(&mut self, row: usize) -> &mut [u64] {
        &mut self.words[row * self.n..(row + 1) * self.n]
    }

    /// The residues of every prime, to be changed.
    pub(crate) fn rows_mut(&mut self) -> std::slice::ChunksExactMut<'_, u64> {
        self.words.chunks_exact_mut(self.n)
    }

    pub(crate) fn same_primes(&self, other: &Self) -> bool {
        (self.n, self.level, self.special) == (other.n, other.level, other.special)
    }

    /// Forgets the special primes and all of `q` from prime `level` on.
    pub(crate) fn truncate(&mut self, level: usize) {
        assert!(level <= self.level, "a level can only fall");
        self.words.truncate(self.n * level);
        (self.level, self.special) = (level, 0);
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        self.words.len() * size_of::<u64>()
    }
}

impl Zeroize for Poly {
    fn zeroize(&mut self) {
        self.words.zeroize();
    }
}
