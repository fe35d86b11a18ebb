//! Bit matrices transposed many at a time.
//!
//! A square block of `R` rows of `R` bits, `R` one of 8, 16, 32, 64, is transposed by
//! exchanging ever smaller off-diagonal quarters (Warren, *Hacker's Delight*, 2nd ed.,
//! section 7-3). Blocks of fewer than 64 bits lie side by side in the words of a row, and
//! [`LANES`] such rows, of as many independent groups of 64 elements, lie next to each
//! other, so that the compiler turns every exchange into vector instructions.
//!
//! Where a processor multiplies bit matrices, the planes are made eight at a time from one
//! byte of each element instead.

use crate::isa::{self, Isa, Loop, run};
use crate::word::{Word, mask};

/// Groups of 64 elements transposed together.
const LANES: usize = 8;

/// `[row][lane]`, of which the first `R * LANES` words are used.
type Block = [u64; 64 * LANES];

/// Rows of the smallest block that holds `width` bits.
fn block_rows(width: usize) -> usize {
    width.next_power_of_two().max(8)
}

/// Bits `low_bit..low_bit + width` of each word as planes: bit `j` of plane word `i` in
/// plane `p` is bit `low_bit + p` of word `64 i + j`. `planes` is plane-major.
pub(crate) struct ToPlanes<'a, W> {
    pub(crate) words: &'a [W],
    pub(crate) low_bit: u32,
    pub(crate) width: usize,
    pub(crate) planes: &'a mut [u64],
}

impl<W: Word> ToPlanes<'_, W> {
    pub(crate) fn run_on(self, isa: Isa) {
        if isa::has_bit_matrices(isa) { self.by_bytes(isa) } else { run(isa, self) }
    }

    /// Byte after byte of 512 words at a time.
    fn by_bytes(self, isa: Isa) {
        let plane_words = self.words.len().div_ceil(64);
        let mut bytes: Bytes = [[0; 64]; LANES];
        for (i, words) in self.words.chunks(64 * LANES).enumerate() {
            for first in (0..self.width).step_by(8) {
                run(isa, TakeBytes { words, shift: self.low_bit + first as u32, bytes: &mut bytes });
                isa::bytes_to_planes(&mut bytes);
                for p in 0..(self.width - first).min(8) {
                    let at = (first + p) * plane_words + i * LANES;
                    for (to, block) in self.planes[at..].iter_mut().zip(&bytes).take(words.len().div_ceil(64)) {
                        *to = u64::from_le_bytes(block.as_chunks::<8>().0[p]);
                    }
                }
            }
        }
    }
}

/// A byte of each of 512 elements, or eight planes of their bits.
type Bytes = [[u8; 64]; LANES];

/// Bits `shift..shift + 8` of each word, zeros where words are missing.
struct TakeBytes<'a, W> {
    words: &'a [W],
    shift: u32,
    bytes: &'a mut Bytes,
}

impl<W: Word> Loop for TakeBytes<'_, W> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let bytes = self.bytes.as_flattened_mut();
        let (bytes, rest) = bytes.split_at_mut(self.words.len());
        bytes.iter_mut().zip(self.words).for_each(|(byte, w)| *byte = w.shifted(self.shift));
        rest.fill(0);
    }
}

/// Adds to each word a byte, shifted.
struct PutBytes<'a, W> {
    words: &'a mut [W],
    shift: u32,
    bytes: &'a Bytes,
}

impl<W: Word> Loop for PutBytes<'_, W> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let bytes = self.bytes.as_flattened();
        self.words.iter_mut().zip(bytes).for_each(|(w, &byte)| *w = w.add(W::placed(byte, self.shift)));
    }
}

impl<W: Word> Loop for ToPlanes<'_, W> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let plane_words = self.words.len().div_ceil(64);
        let rows = block_rows(self.width);
        let mut block: Block = [0; 64 * LANES];
        for (i, words) in self.words.chunks(64 * LANES).enumerate() {
            let first = i * LANES;
            gather(words, self.low_bit, self.width as u32, rows, &mut block);
            transpose(&mut block, rows);
            let lanes = words.len().div_ceil(64);
            for (p, row) in block.chunks_exact(LANES).enumerate().take(self.width) {
                let at = p * plane_words + first;
                self.planes[at..at + lanes].copy_from_slice(&row[..lanes]);
            }
        }
    }
}

/// The inverse of [`ToPlanes`] for `low_bit = 0`: bit `p` of a word is its bit in plane
/// `p`, higher bits are zero. `words` are zero before.
pub(crate) struct ToWords<'a, W> {
    pub(crate) planes: &'a [u64],
    pub(crate) width: usize,
    pub(crate) words: &'a mut [W],
}

impl<W: Word> ToWords<'_, W> {
    pub(crate) fn run_on(self, isa: Isa) {
        if isa::has_bit_matrices(isa) { self.by_bytes(isa) } else { run(isa, self) }
    }

    /// Byte after byte of 512 words, which are zero before, at a time.
    fn by_bytes(self, isa: Isa) {
        let plane_words = self.words.len().div_ceil(64);
        for (i, words) in self.words.chunks_mut(64 * LANES).enumerate() {
            for first in (0..self.width).step_by(8) {
                let mut bytes: Bytes = [[0; 64]; LANES];
                for p in 0..(self.width - first).min(8) {
                    let at = (first + p) * plane_words + i * LANES;
                    for (from, block) in self.planes[at..].iter().zip(&mut bytes).take(words.len().div_ceil(64)) {
                        block.as_chunks_mut::<8>().0[p] = from.to_le_bytes();
                    }
                }
                isa::planes_to_bytes(&mut bytes);
                run(isa, PutBytes { words, shift: first as u32, bytes: &bytes });
            }
        }
    }
}

impl<W: Word> Loop for ToWords<'_, W> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let plane_words = self.words.len().div_ceil(64);
        let rows = block_rows(self.width);
        let mut block: Block = [0; 64 * LANES];
        for (i, words) in self.words.chunks_mut(64 * LANES).enumerate() {
            let first = i * LANES;
            let lanes = words.len().div_ceil(64);
            block.fill(0);
            for (p, row) in block.chunks_exact_mut(LANES).enumerate().take(self.width) {
                let at = p * plane_words + first;
                row[..lanes].copy_from_slice(&self.planes[at..at + lanes]);
            }
            transpose(&mut block, rows);
            scatter(&block, rows, words);
        }
    }
}

/// Lays `words` out for [`transpose`]: word `64 l + q rows + r` becomes part `q` of lane
/// `l` in row `r`. What is missing of the last lane is zero.
#[inline(always)]
fn gather<W: Word>(words: &[W], low_bit: u32, width: u32, rows: usize, block: &mut Block) {
    let mask = mask(width);
    block[..rows * LANES].fill(0);
    for (lane, words) in words.chunks(64).enumerate() {
        for (part, words) in words.chunks(rows).enumerate() {
            for (row, word) in block.chunks_exact_mut(LANES).zip(words) {
                row[lane] |= (word.to_u64() >> low_bit & mask) << (part * rows);
            }
        }
    }
}

/// The inverse of [`gather`] with `low_bit = 0` and `width = rows`.
#[inline(always)]
fn scatter<W: Word>(block: &Block, rows: usize, words: &mut [W]) {
    let mask = mask(rows as u32);
    for (lane, words) in words.chunks_mut(64).enumerate() {
        for (part, words) in words.chunks_mut(rows).enumerate() {
            for (row, word) in block.chunks_exact(LANES).zip(words) {
                *word = W::from_u64(row[lane] >> (part * rows) & mask);
            }
        }
    }
}

/// Transposes every block of `rows` by `rows` bits.
#[inline(always)]
fn transpose(block: &mut Block, rows: usize) {
    let mut size = rows / 2;
    while size > 0 {
        // The low half of every 2 * size bits.
        let low = u64::MAX / ((1 << size) + 1);
        for pair in block[..rows * LANES].chunks_exact_mut(2 * size * LANES) {
            let (upper, lower) = pair.split_at_mut(size * LANES);
            for (u, l) in upper.iter_mut().zip(lower) {
                let exchanged = (*u >> size ^ *l) & low;
                *u ^= exchanged << size;
                *l ^= exchanged;
            }
        }
        size /= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_size_is_transposed() {
        for rows in [8usize, 16, 32, 64] {
            let mut block = [0u64; 64 * LANES];
            let mut state = rows as u64;
            for word in &mut block[..rows * LANES] {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                *word = state ^ state >> 29;
            }
            let before = block;
            transpose(&mut block, rows);
            let bit = |b: &Block, row: usize, lane: usize, column: usize| b[row * LANES + lane] >> column & 1;
            for (r, lane, c) in (0..rows).flat_map(|r| (0..LANES).flat_map(move |l| (0..64).map(move |c| (r, l, c)))) {
                let part = c / rows * rows;
                assert_eq!(bit(&block, c - part, lane, part + r), bit(&before, r, lane, c), "{rows} rows");
            }
        }
    }
}
