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

use crate::isa::{self, Isa, Kernel, Loop, Offsets, Operands};
use crate::operand::{Left, Right, Run, Sums, blocks, common_runs, even};
use crate::word::{Ring, Word};
use std::ops::Range;

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
/// Up to this many rows, a pass over the sums of a plane costs less than short lines.
const FLAT_ROWS: usize = 4;
/// Words that a copy into a panel may write beyond its end, or read beyond a run's.
const SLACK: usize = 8;

/// Adds `left [m, k]` times `right [k, n]` to `out`, modulo 2^k of the ring.
pub(crate) fn product<R: Ring>(isa: Isa, m: usize, left: Left<'_, R::Word>, right: Right<'_, R::Word>, out: Sums<'_, R::Word>) {
    let kernel = R::kernel(isa);
    let product = Product { kernel: &kernel, m, left, right };
    if product.is_flat(&out) {
        product.flat(out)
    } else if product.reads_in_place() {
        product.in_place(out)
    } else {
        product.in_panels(isa, out)
    }
}

struct Product<'a, W: 'static> {
    kernel: &'a Kernel<W>,
    m: usize,
    left: Left<'a, W>,
    right: Right<'a, W>,
}

impl<'a, W: Word> Product<'a, W> {
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
            let offsets = Offsets::new(&self.right.offsets[ps.clone()]);
            let (mut line, mut rows, mut cols) = (0, 1, 1);
            for (from, to, len) in common_runs(&self.right.columns, &out.columns, self.right.n) {
                if len != line {
                    (rows, cols) = self.kernel.shape(self.m, len);
                    (line, rows) = (len, even(self.m, rows));
                }
                for part in blocks(0..len, cols) {
                    let b = &self.right.words[from + part.start..];
                    for strip in blocks(0..self.m, rows) {
                        let operands = self.operands(strip.clone(), ps.start, part.len(), (b, offsets), out.row);
                        self.kernel.tile(&operands, &mut out.words[strip.start * out.row + to + part.start..]);
                    }
                }
            }
        }
    }

    /// Whether so few rows use a plane of `b` that it is fastest to go through it as one
    /// line, the gaps between its lines included.
    fn is_flat(&self, out: &Sums<'_, W>) -> bool {
        let b = &self.right.columns;
        let (lines, line, step) = (b.lines_of_a_plane(), b.line(), b.line_step());
        let gapless = out.columns.line() == lines * line && self.right.n.is_multiple_of(lines * line);
        lines > 1 && gapless && self.m <= FLAT_ROWS && 3 * step <= 4 * line.next_multiple_of(self.kernel.lanes)
    }

    fn flat(&self, out: Sums<'_, W>) {
        let b = &self.right.columns;
        let (lines, line, step) = (b.lines_of_a_plane(), b.line(), b.line_step());
        let len = (lines - 1) * step + line;
        let (rows, cols) = self.kernel.shape(self.m, len);
        let mut sums = vec![W::default(); self.m * len];
        for ps in blocks(0..self.right.offsets.len(), K_BLOCK_IN_PLACE) {
            let offsets = Offsets::new(&self.right.offsets[ps.clone()]);
            let planes = b.runs(0..self.right.n).step_by(lines).zip(out.columns.runs(0..self.right.n));
            for (from, to) in planes {
                sums.fill(W::default());
                for part in blocks(0..len, cols) {
                    let b = &self.right.words[from.at + part.start..];
                    for strip in blocks(0..self.m, even(self.m, rows)) {
                        let operands = self.operands(strip.clone(), ps.start, part.len(), (b, offsets), len);
                        self.kernel.tile(&operands, &mut sums[strip.start * len + part.start..]);
                    }
                }
                for (i, sums) in sums.chunks_exact(len).enumerate() {
                    let out = &mut out.words[i * out.row + to.at..][..lines * line];
                    out.chunks_exact_mut(line).zip(sums.chunks(step)).for_each(|(out, sums)| add(sums, out));
                }
            }
        }
    }

    /// Operands of a tile of the left operand's rows `strip` and `cols` columns of `b`, from
    /// row `p` of `b` on.
    fn operands<'b>(
        &self,
        strip: Range<usize>,
        p: usize,
        cols: usize,
        (b, offsets): (&'b [W], Offsets<'b>),
        out_row: usize,
    ) -> Operands<'b, W>
    where
        'a: 'b,
    {
        let (a, a_row) = (self.left.from(strip.start, p), self.left.k);
        Operands { rows: strip.len(), cols, a, a_row, a_step: 1, b, offsets, out_row }
    }

    fn in_panels(&self, isa: Isa, mut out: Sums<'_, W>) {
        let (k, n) = (self.right.offsets.len(), self.right.n);
        let (rows, width) = self.kernel.shape(self.m, usize::MAX);
        let (strip, depth) = (even(self.m, rows), even(k, K_BLOCK));
        let m_block = M_BLOCK.next_multiple_of(strip);
        let n_block = self.panels_at_a_time(m_block, width) * width;
        let mut panels = Panels::new(width, depth, n.min(n_block));
        for ps in blocks(0..k, depth) {
            for js in blocks(0..n, n_block) {
                panels.fill(isa, &self.right, ps.clone(), js.clone());
                for is in blocks(0..self.m, m_block) {
                    for (i, cols) in blocks(js.clone(), width).enumerate() {
                        let panel = panels.panel(i, ps.len());
                        for rows in blocks(is.clone(), strip) {
                            let operands = self.operands(rows.clone(), ps.start, cols.len(), panel, out.row);
                            add_tile(self.kernel, operands, cols.start, rows.start, &mut out);
                        }
                    }
                }
            }
        }
    }

    /// Where the rows of `a` fit into the second-level cache, a panel can be used before the
    /// next is made, and stays in the first-level cache. But where lines of `b` are long,
    /// reading a panel's width of each leaves most of what was fetched unused.
    fn panels_at_a_time(&self, m_block: usize, width: usize) -> usize {
        let one = self.m <= m_block && self.right.columns.line() < N_BLOCK_BYTES / size_of::<W>();
        if one { 1 } else { N_BLOCK_BYTES / size_of::<W>() / width }
    }
}

/// Adds a tile to the columns from `col` and the rows from `row` on.
fn add_tile<W: Word>(kernel: &Kernel<W>, operands: Operands<'_, W>, col: usize, row: usize, out: &mut Sums<'_, W>) {
    let (rows, cols) = (operands.rows, operands.cols);
    let first = out.columns.runs(col..col + cols).next();
    if let Some(run) = first.filter(|run| run.len == cols) {
        return kernel.tile(&operands, &mut out.words[row * out.row + run.at..]);
    }
    let mut tile = [W::default(); MAX_TILE];
    kernel.tile(&Operands { out_row: cols, ..operands }, &mut tile[..rows * cols]);
    for run in out.columns.runs(col..col + cols) {
        for i in 0..rows {
            add(&tile[i * cols + run.col - col..], &mut out.words[(row + i) * out.row + run.at..][..run.len]);
        }
    }
}

/// Adds the first words of `from` to all of `to`.
#[inline(always)]
fn add<W: Word>(from: &[W], to: &mut [W]) {
    to.iter_mut().zip(from).for_each(|(to, &from)| *to = to.add(from));
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

impl<W: Word> Panels<W> {
    fn new(width: usize, depth: usize, cols: usize) -> Self {
        let words = vec![W::default(); cols.next_multiple_of(width) * depth + SLACK];
        Self { words, offsets: (0..depth).map(|p| p * width).collect(), width, runs: vec![] }
    }

    /// Takes rows `ps` and columns `js` of `b`. What the last panel lacks in columns is
    /// left as it was.
    fn fill(&mut self, isa: Isa, b: &Right<'_, W>, ps: Range<usize>, js: Range<usize>) {
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

    /// Panel `i` of those that were filled with `depth` rows.
    fn panel(&self, i: usize, depth: usize) -> (&[W], Offsets<'_>) {
        let words = &self.words[i * depth * self.width..(i + 1) * depth * self.width];
        (words, Offsets::new(&self.offsets[..depth]))
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
