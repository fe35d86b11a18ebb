//! The blocked product behind [`crate::matmul()`] and [`crate::conv2d()`].
//!
//! The right operand need not be a matrix in memory: a table of offsets, one for each of
//! its rows, and a [`Grid`] of its columns say where its elements lie. So the unrolled
//! input of a convolution never exists as a whole; its panels are copied straight from
//! the input.
//!
//! Blocking follows Goto and van de Geijn, *Anatomy of High-Performance Matrix
//! Multiplication*, ACM TOMS 34(3), 2008, except that the left operand is read in place:
//! its elements are broadcast one at a time, so a packed copy would gain little.

use crate::isa::{self, Isa, Kernel, Loop, Operands};
use crate::operand::{Left, Right, Run, Sums, blocks, even};
use crate::word::Ring;

/// Rows of `b` in a block: a panel of two 512-bit vectors times this fills two thirds of a
/// 48 KB first-level cache.
const K_BLOCK: usize = 256;
/// The same where `b` is read in place: bounded only by the table of offsets.
const K_BLOCK_IN_PLACE: usize = 2048;
/// Bytes in a row of a block of `b`; the block's 512 KB stay in the second-level cache.
const N_BLOCK_BYTES: usize = 2048;
/// Rows of `a` that go through every panel of a block of `b` together.
const M_BLOCK: usize = 96;
/// Up to this many rows, making panels of `b` costs more than it saves.
const FEW_ROWS: usize = 12;
/// Words that a copy into a panel may write beyond its end, or read beyond a run's.
const SLACK: usize = 8;

/// Adds `left [m, k]` times `right [k, n]` to `out`, modulo 2^k of the ring.
pub(crate) fn product<R: Ring>(isa: Isa, m: usize, left: Left<'_, R::Word>, right: Right<'_, R::Word>, out: Sums<'_, R::Word>) {
    let kernel = R::kernel(isa);
    let product = Product { kernel: &kernel, m, left, right };
    if product.reads_in_place() { product.in_place(out) } else { product.in_panels(isa, out) }
}

struct Product<'a, W: 'static> {
    kernel: &'a Kernel<W>,
    m: usize,
    left: Left<'a, W>,
    right: Right<'a, W>,
}

impl<W: crate::Word> Product<'_, W> {
    /// Whether few rows of sums use each element of `b`. The vectors of a tile cannot go on
    /// beyond a line of `b`, which wastes lanes where lines are short; making panels costs
    /// about as much as five rows of sums.
    fn reads_in_place(&self) -> bool {
        let line = self.right.columns.line().min(self.right.n);
        let wasted = line.next_multiple_of(self.kernel.lanes) - line;
        self.m <= FEW_ROWS && self.m * wasted <= 5 * line
    }

    fn in_place(&self, out: Sums<'_, W>) {
        for ps in blocks(0..self.right.offsets.len(), K_BLOCK_IN_PLACE) {
            for line in self.right.columns.runs(0..self.right.n) {
                for run in out.columns.runs(line.col..line.col + line.len) {
                    let (rows, cols) = self.kernel.shape(self.m, run.len);
                    for part in blocks(0..run.len, cols) {
                        let from = &self.right.words[line.at + (run.col - line.col) + part.start..];
                        for strip in blocks(0..self.m, even(self.m, rows)) {
                            let operands = Operands {
                                rows: strip.len(),
                                cols: part.len(),
                                a: self.left.from(strip.start, ps.start),
                                a_row: self.left.k,
                                a_step: 1,
                                b: from,
                                offsets: &self.right.offsets[ps.clone()],
                                out_row: out.row,
                            };
                            self.kernel.tile(&operands, &mut out.words[strip.start * out.row + run.at + part.start..]);
                        }
                    }
                }
            }
        }
    }

    fn in_panels(&self, isa: Isa, mut out: Sums<'_, W>) {
        let (k, n) = (self.right.offsets.len(), self.right.n);
        let (rows, width) = self.kernel.shape(self.m, usize::MAX);
        let (strip, depth) = (even(self.m, rows), even(k, K_BLOCK));
        // Few rows of `a` stay in the first-level cache, so one panel at a time can too.
        let m_block = M_BLOCK.next_multiple_of(strip);
        let n_block = if self.m <= m_block { width } else { N_BLOCK_BYTES / size_of::<W>() };
        let mut panels = Panels::new(width, depth, n.min(n_block));
        for ps in blocks(0..k, depth) {
            for js in blocks(0..n, n_block) {
                panels.fill(isa, &self.right, ps.clone(), js.clone());
                for is in blocks(0..self.m, m_block) {
                    for (i, cols) in blocks(js.clone(), width).enumerate() {
                        for rows in blocks(is.clone(), strip) {
                            let operands = Operands {
                                rows: rows.len(),
                                cols: cols.len(),
                                a: self.left.from(rows.start, ps.start),
                                a_row: self.left.k,
                                a_step: 1,
                                b: panels.panel(i, ps.len()),
                                offsets: &panels.offsets[..ps.len()],
                                out_row: 0,
                            };
                            add_tile(self.kernel, operands, cols.start, rows.start, &mut out);
                        }
                    }
                }
            }
        }
    }
}

/// Adds a tile to the columns from `col` and the rows from `row` on.
fn add_tile<W: crate::Word>(kernel: &Kernel<W>, operands: Operands<'_, W>, col: usize, row: usize, out: &mut Sums<'_, W>) {
    let (rows, cols) = (operands.rows, operands.cols);
    let mut runs = out.columns.runs(col..col + cols);
    let whole = runs.next().filter(|run| run.len == cols);
    if let Some(Run { at, .. }) = whole {
        let operands = Operands { out_row: out.row, ..operands };
        return kernel.tile(&operands, &mut out.words[row * out.row + at..]);
    }
    let mut tile = [W::default(); MAX_TILE];
    kernel.tile(&Operands { out_row: cols, ..operands }, &mut tile[..rows * cols]);
    for run in out.columns.runs(col..col + cols) {
        for i in 0..rows {
            let from = &tile[i * cols + run.col - col..][..run.len];
            let to = &mut out.words[(row + i) * out.row + run.at..][..run.len];
            to.iter_mut().zip(from).for_each(|(to, &from)| *to = to.add(from));
        }
    }
}

/// Words in the largest tile of any kernel: 12 rows of two vectors of 16.
const MAX_TILE: usize = 12 * 32;

/// A block of `b`, cut into panels of a tile's width, each panel stored row after row.
struct Panels<W> {
    words: Vec<W>,
    /// Where the rows of a panel start.
    offsets: Vec<usize>,
    width: usize,
    runs: Vec<Run>,
}

impl<W: crate::Word> Panels<W> {
    fn new(width: usize, depth: usize, cols: usize) -> Self {
        let words = vec![W::default(); cols.next_multiple_of(width) * depth + SLACK];
        Self { words, offsets: (0..depth).map(|p| p * width).collect(), width, runs: vec![] }
    }

    /// Takes rows `ps` and columns `js` of `b`. What the last panel lacks in columns is
    /// left as it was.
    fn fill(&mut self, isa: Isa, b: &Right<'_, W>, ps: std::ops::Range<usize>, js: std::ops::Range<usize>) {
        let offsets = &b.offsets[ps];
        let last = offsets.iter().max().copied().unwrap_or(0);
        for (i, cols) in blocks(js, self.width).enumerate() {
            self.runs.clear();
            self.runs.extend(b.columns.runs(cols));
            let end = self.runs.iter().map(|run| run.at + run.len.next_multiple_of(SLACK)).max().unwrap_or(0);
            let panel = &mut self.words[i * offsets.len() * self.width..];
            let fill = Fill { words: b.words, offsets, runs: &self.runs, width: self.width, panel };
            if end + last <= b.words.len() { isa::run(isa, fill) } else { fill.exactly() }
        }
    }

    fn panel(&self, i: usize, depth: usize) -> &[W] {
        &self.words[i * depth * self.width..(i + 1) * depth * self.width]
    }
}

/// Copies the runs of each row of `b` to a row of a panel.
struct Fill<'a, W> {
    words: &'a [W],
    offsets: &'a [usize],
    runs: &'a [Run],
    width: usize,
    panel: &'a mut [W],
}

impl<W: Copy> Fill<'_, W> {
    /// Without a word beyond the end of a run.
    fn exactly(self) {
        for (line, &offset) in self.panel.chunks_exact_mut(self.width).zip(self.offsets) {
            let mut line = line;
            for run in self.runs {
                let (to, rest) = line.split_at_mut(run.len);
                to.copy_from_slice(&self.words[offset + run.at..][..run.len]);
                line = rest;
            }
        }
    }
}

impl<W: Copy> Loop for Fill<'_, W> {
    type Out = ();

    /// Eight words at a time, whatever the length of a run: what is too much is written
    /// over by the next run or the next row, or lies beyond the last.
    #[inline(always)]
    fn run(self) {
        for (p, &offset) in self.offsets.iter().enumerate() {
            let mut to = p * self.width;
            for run in self.runs {
                let from = offset + run.at;
                for i in (0..run.len).step_by(SLACK) {
                    let chunk = &self.words[from + i..from + i + SLACK];
                    self.panel[to + i..to + i + SLACK].copy_from_slice(chunk);
                }
                to += run.len;
            }
        }
    }
}
