//! The blocked product behind [`crate::matmul()`] and [`crate::conv2d()`].
//!
//! The left operand is a plain matrix. The right one is anything that can produce its
//! rows (`Rows`), so that a convolution's unrolled input never exists as a whole, and
//! the result goes to anything that takes blocks of sums (`Sums`).
//!
//! Blocking follows Goto and van de Geijn, *Anatomy of High-Performance Matrix
//! Multiplication*, ACM TOMS 34(3), 2008, except that the left operand is read in place:
//! its elements are broadcast one at a time, so a packed copy would gain nothing.

use crate::isa::{self, Isa, Kernel, Loop};
use crate::word::Word;
use std::ops::Range;

/// The right operand of a product, `[k, n]`.
pub(crate) trait Rows<W> {
    /// Columns `cols` of row `p`: a part of the operand, or made in `scratch`, which is
    /// as long as `cols`.
    fn row<'s>(&'s self, p: usize, cols: Range<usize>, scratch: &'s mut [W]) -> &'s [W];
}

/// What a product is added to, `[m, n]`.
pub(crate) trait Sums<W> {
    /// Adds `tile`, rows of `stride` words of which the first `cols.len()` count, to the
    /// rows from `row` on.
    fn add(&mut self, row: usize, cols: Range<usize>, tile: &[W], stride: usize);
}

/// Sizes of one product.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub(crate) m: usize,
    pub(crate) k: usize,
    pub(crate) n: usize,
}

/// Rows of `b` in a block: a panel of two vectors times this fills two thirds of a
/// 48 KB first-level cache.
const K_BLOCK: usize = 256;
/// Bytes in a row of a block of `b`; the block's 512 KB stay in the second-level cache.
const N_BLOCK_BYTES: usize = 2048;
/// Rows of `a` that go through every panel of a block of `b` together.
const M_BLOCK: usize = 64;
/// Below this many rows, making panels of `b` costs more than it saves.
const FEW_ROWS: usize = 6;
/// The most rows any kernel's tile has.
const MAX_TILE_ROWS: usize = 8;

/// Adds `a [m, k]` times `b [k, n]` to `out`, modulo 2^BITS.
pub(crate) fn product<W: Word>(isa: Isa, size: Size, a: &[W], b: &impl Rows<W>, out: &mut impl Sums<W>) {
    if size.m < FEW_ROWS { few_rows(isa, size, a, b, out) } else { blocked(isa, size, a, b, out) }
}

fn blocked<W: Word>(isa: Isa, size: Size, a: &[W], b: &impl Rows<W>, out: &mut impl Sums<W>) {
    let kernel = W::kernel(isa);
    let mut panels = Panels::new(&kernel, size);
    let mut tile = vec![W::default(); kernel.rows * kernel.cols];
    for ps in blocks(0..size.k, K_BLOCK) {
        for js in blocks(0..size.n, panels.max_cols) {
            panels.fill(b, ps.clone(), js.clone());
            for is in blocks(0..size.m, M_BLOCK) {
                let columns = blocks(js.clone(), kernel.cols);
                for (cols, panel) in columns.zip(panels.packed.chunks(ps.len() * kernel.cols)) {
                    for rows in blocks(is.clone(), kernel.rows) {
                        let lines = lines(&kernel, a, size.k, &rows, &ps);
                        kernel.tile(&lines[..kernel.rows], panel, &mut tile);
                        out.add(rows.start, cols.clone(), &tile[..rows.len() * kernel.cols], kernel.cols);
                    }
                }
            }
        }
    }
}

/// The parts `ps` of `rows` of `a [.., k]`, one for each row of the kernel's tile. Missing
/// rows repeat the first; their sums are not used.
fn lines<'a, W>(
    kernel: &Kernel<W>,
    a: &'a [W],
    k: usize,
    rows: &Range<usize>,
    ps: &Range<usize>,
) -> [&'a [W]; MAX_TILE_ROWS] {
    let mut lines = [[].as_slice(); MAX_TILE_ROWS];
    for (i, line) in lines.iter_mut().enumerate().take(kernel.rows) {
        let row = if i < rows.len() { rows.start + i } else { rows.start };
        *line = &a[row * k + ps.start..row * k + ps.end];
    }
    lines
}

/// A block of `b`, cut into panels of a tile's width, each panel stored row after row.
struct Panels<W> {
    packed: Vec<W>,
    scratch: Vec<W>,
    panel_cols: usize,
    max_cols: usize,
}

impl<W: Word> Panels<W> {
    fn new(kernel: &Kernel<W>, size: Size) -> Self {
        let max_cols = N_BLOCK_BYTES / size_of::<W>();
        let cols = size.n.min(max_cols).next_multiple_of(kernel.cols);
        let packed = vec![W::default(); cols * size.k.min(K_BLOCK)];
        Self { packed, scratch: vec![W::default(); cols], panel_cols: kernel.cols, max_cols }
    }

    /// Takes rows `ps` and columns `js` of `b`; the last panel is filled up with zeros.
    fn fill(&mut self, b: &impl Rows<W>, ps: Range<usize>, js: Range<usize>) {
        let width = self.panel_cols;
        for (i, p) in ps.clone().enumerate() {
            let row = b.row(p, js.clone(), &mut self.scratch[..js.len()]);
            let panels = self.packed.chunks_mut(ps.len() * width);
            for (part, panel) in row.chunks(width).zip(panels) {
                let line = &mut panel[i * width..(i + 1) * width];
                copy(part, &mut line[..part.len()]);
                line[part.len()..].fill(W::default());
            }
        }
    }
}

/// Copies `from` to the first words of `to`. For the few dozen words at a time that occur
/// here this is faster than a call of the C library.
#[inline(always)]
pub(crate) fn copy<W: Copy>(from: &[W], to: &mut [W]) {
    let (to, to_rest) = to[..from.len()].as_chunks_mut::<8>();
    let (from, from_rest) = from.as_chunks::<8>();
    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
    let (to, to_rest) = to_rest.as_chunks_mut::<2>();
    let (from, from_rest) = from_rest.as_chunks::<2>();
    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
    to_rest.iter_mut().zip(from_rest).for_each(|(to, from)| *to = *from);
}

/// `range` in consecutive parts of `size`, the last one shorter if need be.
fn blocks(range: Range<usize>, size: usize) -> impl Iterator<Item = Range<usize>> {
    let end = range.end;
    range.step_by(size).map(move |start| start..end.min(start + size))
}

/// Rows of `b` added up in one pass over the sums.
const DEPTH: usize = 4;

/// The product for few rows: each row of the result is a sum of scaled rows of `b`, which
/// are read where they lie.
fn few_rows<W: Word>(isa: Isa, size: Size, a: &[W], b: &impl Rows<W>, out: &mut impl Sums<W>) {
    let width = size.n.min(N_BLOCK_BYTES / size_of::<W>());
    let mut sums = vec![W::default(); width * size.m];
    let mut scratch = vec![W::default(); width * DEPTH];
    for js in blocks(0..size.n, N_BLOCK_BYTES / size_of::<W>()) {
        let sums = &mut sums[..js.len() * size.m];
        sums.fill(W::default());
        for ps in blocks(0..size.k, DEPTH) {
            let mut spaces = scratch.chunks_mut(width);
            let mut lines = [[].as_slice(); DEPTH];
            for (i, (line, space)) in lines.iter_mut().zip(&mut spaces).enumerate() {
                // Beyond the last row any row will do: its factor is zero.
                let p = if i < ps.len() { ps.start + i } else { ps.start };
                *line = b.row(p, js.clone(), &mut space[..js.len()]);
            }
            for (i, sums) in sums.chunks_exact_mut(js.len()).enumerate() {
                let mut factors = [W::default(); DEPTH];
                factors[..ps.len()].copy_from_slice(&a[i * size.k + ps.start..i * size.k + ps.end]);
                isa::run(isa, AddScaled { factors, lines, sums });
            }
        }
        out.add(0, js.clone(), sums, js.len());
    }
}

/// Adds `factors[i]` times `lines[i]`, for each `i`, to `sums`.
struct AddScaled<'a, W> {
    factors: [W; DEPTH],
    lines: [&'a [W]; DEPTH],
    sums: &'a mut [W],
}

impl<W: Word> Loop for AddScaled<'_, W> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let [f0, f1, f2, f3] = self.factors;
        let [l0, l1, l2, l3] = self.lines;
        for ((((sum, &x0), &x1), &x2), &x3) in self.sums.iter_mut().zip(l0).zip(l1).zip(l2).zip(l3) {
            let first = f0.mul(x0).add(f1.mul(x1));
            let second = f2.mul(x2).add(f3.mul(x3));
            *sum = sum.add(first.add(second));
        }
    }
}
