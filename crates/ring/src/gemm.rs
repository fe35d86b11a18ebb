//! The blocked product behind [`crate::matmul()`] and [`crate::conv2d()`].
//!
//! The right operand need not be a matrix in memory: a table of offsets, one for each of
//! its rows, and a [`Grid`] of its columns say where its elements lie. So the unrolled
//! input of a convolution never exists as a whole; its panels are copied straight from
//! the input.
//!
//! Blocking follows Goto and van de Geijn, *Anatomy of High-Performance Matrix
//! Multiplication*, ACM TOMS 34(3), 2008, except that the left operand is read in place
//! where few panels use it: its elements are broadcast one at a time.

use crate::isa::amx::{self, Tiles};
use crate::isa::{Isa, Kernel, Offsets, Operands};
use crate::limbs::{self, View};
use crate::operand::{Grid, Left, Right, Sums, blocks, common_runs, even};
use crate::panels::Panels;
use crate::span::Span;
use crate::threads;
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
/// At least so many panels must use a block of `a` before a copy of it is made.
const MANY_PANELS: usize = 8;
/// Up to this many rows, making panels of `b` costs more than it saves.
const FEW_ROWS: usize = 12;
/// Up to this many rows, a pass over the sums of a plane costs less than short lines.
const FLAT_ROWS: usize = 4;

/// Adds `left [m, k]` times `right [k, n]` to `out`, modulo 2^k of the ring, in `parts` parts
/// at a time if they can be told apart in memory.
pub(crate) fn product<R: Ring>(
    isa: Isa,
    parts: usize,
    m: usize,
    left: Left<'_, R::Word>,
    right: Right<'_, R::Word>,
    out: Sums<'_, R::Word>,
) {
    let whole_rows = out.columns.line() >= right.n && out.row == right.n;
    if parts == 1 || !whole_rows {
        return one::<R>(isa, m, left, right, out);
    }
    let can_cut_columns = right.columns.line() >= right.n;
    split(parts, (m, right.n), can_cut_columns, out.words, |rows, cols, out| {
        let right = if cols.len() < right.n { right.cols(cols) } else { right };
        one::<R>(isa, rows.len(), left.rows(rows), right, out);
    });
}

/// Adds `left [m, k]` times a packed right operand to the matrix `out`, modulo 2^k of the
/// ring, in `parts` parts at a time.
pub(crate) fn product_packed<R: Ring>(
    isa: Isa,
    parts: usize,
    m: usize,
    left: Left<'_, R::Word>,
    (right, span, limbs): (&Panels<R::Word>, Span, Option<View<'_>>),
    out: &mut [R::Word],
) {
    let kernel = R::kernel(isa);
    split(parts, (m, right.n), false, out, |rows, cols, out| {
        let left = left.rows(rows.clone());
        let words = Right { span, limbs, ..right.operand() };
        if let Some(mut tiles) = tiles::<R>(isa, rows.len(), left.k, &words) {
            return limbs::product::<R, _>(&mut tiles, rows.len(), &left, &words, out);
        }
        Product { kernel: &kernel, m: rows.len(), left, n: cols.len() }.packed(right, out);
    });
}

/// Fewest rows or panels' columns worth a part of their own.
const MIN_ROWS: usize = 8;
const MIN_COLS: usize = 64;

/// Cuts the matrix `out [m, n]` into blocks of rows, or of columns where there are too few
/// rows and `columns` allows it, and calls `work` with each on a thread of its own.
fn split<W: Word>(
    parts: usize,
    (m, n): (usize, usize),
    columns: bool,
    out: &mut [W],
    work: impl Fn(Range<usize>, Range<usize>, Sums<'_, W>) + Sync,
) {
    let matrix = |words, n| Sums { words, row: n, columns: Grid::row(n) };
    if parts > 1 && m >= 2 * MIN_ROWS {
        // Sixteen rows are a tile's.
        let rows = m.div_ceil(parts).next_multiple_of(16);
        let blocks = blocks(0..m, rows).zip(out.chunks_mut(rows * n));
        threads::each(blocks, |(rows, out)| work(rows, 0..n, matrix(out, n)));
    } else if parts > 1 && columns && n >= 2 * MIN_COLS {
        let cols = n.div_ceil(parts).next_multiple_of(MIN_COLS);
        let mut sums: Vec<_> = blocks(0..n, cols).map(|js| (vec![W::default(); m * js.len()], js)).collect();
        threads::each(&mut sums, |(sums, js)| work(0..m, js.clone(), matrix(sums, js.len())));
        for (sums, js) in sums {
            let rows = out.chunks_exact_mut(n).zip(sums.chunks_exact(js.len()));
            rows.for_each(|(out, sums)| add(sums, &mut out[js.clone()]));
        }
    } else {
        work(0..m, 0..n, matrix(out, n));
    }
}

/// The product on the calling thread.
fn one<R: Ring>(isa: Isa, m: usize, left: Left<'_, R::Word>, right: Right<'_, R::Word>, out: Sums<'_, R::Word>) {
    if let Some(mut tiles) = tiles::<R>(isa, m, left.k, &right) {
        return limbs::product::<R, _>(&mut tiles, m, &left, &right, out);
    }
    let kernel = R::kernel(isa);
    let product = Product { kernel: &kernel, m, left, n: right.n };
    if product.is_flat(&right, &out) {
        product.flat(&right, out)
    } else if product.reads_in_place(&right) {
        product.in_place(&right, out)
    } else {
        product.in_panels(isa, &right, out)
    }
}

/// The tile unit, where it is to be used for an `[m, k] x [k, n]` product; in tests wherever tiles
/// fit, so that small products see it too.
fn tiles<R: Ring>(isa: Isa, m: usize, k: usize, right: &Right<'_, R::Word>) -> Option<impl Tiles + use<R>> {
    let worth = || limbs::fits(m, k, right.n) && (cfg!(test) || limbs::pays::<R>(m, right));
    if isa == Isa::Amx { amx::unit(worth()) } else { None }
}

struct Product<'a, W: 'static> {
    kernel: &'a Kernel<W>,
    m: usize,
    left: Left<'a, W>,
    n: usize,
}

impl<'a, W: Word> Product<'a, W> {
    /// Whether few rows of sums use each element of `b`. The vectors of a tile cannot go on
    /// beyond a line of `b`, which wastes lanes where lines are short; making panels costs
    /// about as much as five rows of sums.
    fn reads_in_place(&self, right: &Right<'_, W>) -> bool {
        let line = right.columns.line().min(self.n);
        let wasted = line.next_multiple_of(self.kernel.lanes) - line;
        self.m <= FEW_ROWS && self.m * wasted <= 5 * line
    }

    fn in_place(&self, right: &Right<'_, W>, out: Sums<'_, W>) {
        for ps in blocks(0..right.offsets.len(), K_BLOCK_IN_PLACE) {
            let offsets = Offsets::new(&right.offsets[ps.clone()]);
            let (mut line, mut rows, mut cols) = (0, 1, 1);
            for (from, to, len) in common_runs(&right.columns, &out.columns, self.n) {
                if len != line {
                    (rows, cols) = self.kernel.shape(self.m, len);
                    (line, rows) = (len, even(self.m, rows));
                }
                for part in blocks(0..len, cols) {
                    let b = &right.words[from + part.start..];
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
    fn is_flat(&self, right: &Right<'_, W>, out: &Sums<'_, W>) -> bool {
        let b = &right.columns;
        let (lines, line, step) = (b.lines_of_a_plane(), b.line(), b.line_step());
        let gapless = out.columns.line() == lines * line && self.n.is_multiple_of(lines * line);
        lines > 1 && gapless && self.m <= FLAT_ROWS && 3 * step <= 4 * line.next_multiple_of(self.kernel.lanes)
    }

    fn flat(&self, right: &Right<'_, W>, out: Sums<'_, W>) {
        let b = &right.columns;
        let (lines, line, step) = (b.lines_of_a_plane(), b.line(), b.line_step());
        let len = (lines - 1) * step + line;
        let (rows, cols) = self.kernel.shape(self.m, len);
        let mut sums = vec![W::default(); self.m * len];
        for ps in blocks(0..right.offsets.len(), K_BLOCK_IN_PLACE) {
            let offsets = Offsets::new(&right.offsets[ps.clone()]);
            let planes = b.runs(0..self.n).step_by(lines).zip(out.columns.runs(0..self.n));
            for (from, to) in planes {
                sums.fill(W::default());
                for part in blocks(0..len, cols) {
                    let b = &right.words[from.at + part.start..];
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

    fn in_panels(&self, isa: Isa, right: &Right<'_, W>, mut out: Sums<'_, W>) {
        let cut = Cut::new(self.kernel, self.m, usize::MAX);
        let depth = even(right.offsets.len(), K_BLOCK);
        let n_block = self.panels_at_a_time(right, &cut) * cut.width;
        let mut panels = Panels::new(cut.width, depth, self.n.min(n_block));
        for ps in blocks(0..right.offsets.len(), depth) {
            for js in blocks(0..self.n, n_block) {
                panels.fill(isa, right, ps.clone(), js.clone());
                self.block(&cut, &panels, (ps.start, 0..ps.len()), js, &mut out);
            }
        }
    }

    fn packed(&self, panels: &Panels<W>, mut out: Sums<'_, W>) {
        let cut = Cut { width: panels.width, ..Cut::new(self.kernel, self.m, panels.width) };
        let depth = if self.m <= FEW_ROWS { K_BLOCK_IN_PLACE } else { K_BLOCK };
        for ps in blocks(0..panels.depth, even(panels.depth, depth)) {
            self.block(&cut, panels, (ps.start, ps), 0..self.n, &mut out);
        }
    }

    /// All rows of `a` times the panels of the columns `js`, of which rows `ps` are row `p`
    /// and those after it of `b`.
    fn block(
        &self,
        cut: &Cut,
        panels: &Panels<W>,
        (p, ps): (usize, Range<usize>),
        js: Range<usize>,
        out: &mut Sums<'_, W>,
    ) {
        // A packed copy of `a` pays where many panels use it.
        let mut strips = vec![];
        let copies = js.len() >= MANY_PANELS * cut.width && self.m > cut.strip;
        for is in blocks(0..self.m, cut.m_block) {
            if copies {
                strips.clear();
                blocks(is.clone(), cut.strip).for_each(|rows| self.copy_strip(rows, p, ps.len(), &mut strips));
            }
            for (i, cols) in blocks(js.clone(), cut.width).enumerate() {
                let panel = panels.panel(i, ps.clone());
                for rows in blocks(is.clone(), cut.strip) {
                    let mut operands = self.operands(rows.clone(), p, cols.len(), panel, out.row);
                    if copies {
                        let a = &strips[(rows.start - is.start) * ps.len()..];
                        operands = Operands { a, a_row: 1, a_step: rows.len(), ..operands };
                    }
                    add_tile(self.kernel, operands, cols.start, rows.start, out);
                }
            }
        }
    }

    /// Appends rows `rows` and `depth` columns from `p` on, column after column.
    fn copy_strip(&self, rows: Range<usize>, p: usize, depth: usize, strips: &mut Vec<W>) {
        let start = strips.len();
        strips.resize(start + rows.len() * depth, W::default());
        for (i, row) in rows.clone().enumerate() {
            let to = strips[start + i..].iter_mut().step_by(rows.len());
            to.zip(&self.left.from(row, p)[..depth]).for_each(|(to, &from)| *to = from);
        }
    }

    /// Where the rows of `a` fit into the second-level cache, a panel can be used before the
    /// next is made, and stays in the first-level cache. But where lines of `b` are long,
    /// reading a panel's width of each leaves most of what was fetched unused.
    fn panels_at_a_time(&self, right: &Right<'_, W>, cut: &Cut) -> usize {
        let one = self.m <= cut.m_block && right.columns.line() < N_BLOCK_BYTES / size_of::<W>();
        if one { 1 } else { N_BLOCK_BYTES / size_of::<W>() / cut.width }
    }
}

/// Sizes of the blocks of a product.
struct Cut {
    /// Rows of a tile.
    strip: usize,
    /// Columns of a tile and a panel.
    width: usize,
    /// Rows that go through a block of panels together.
    m_block: usize,
}

impl Cut {
    fn new<W>(kernel: &Kernel<W>, m: usize, n: usize) -> Self {
        let (rows, width) = kernel.shape(m, n);
        let strip = even(m, rows);
        Self { strip, width, m_block: M_BLOCK.next_multiple_of(strip) }
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
