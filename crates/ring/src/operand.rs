//! Where the elements of a product's operands and result lie in memory.

use crate::limbs::View;
use crate::span::Span;
use std::ops::Range;

/// Where the columns of a matrix lie when a row is not contiguous: lines of `line` words,
/// `line_step` apart, `lines` of them to a plane, planes `plane_step` apart.
#[derive(Clone, Copy)]
pub(crate) struct Grid {
    line: usize,
    line_step: usize,
    lines: usize,
    plane_step: usize,
}

impl Grid {
    /// Contiguous rows of `n` columns.
    pub(crate) fn row(n: usize) -> Self {
        Self::planes(n, 0)
    }

    /// Contiguous planes of `area` columns, `plane_step` words apart.
    pub(crate) fn planes(area: usize, plane_step: usize) -> Self {
        Self { line: area, line_step: area, lines: 1, plane_step }
    }

    /// Planes of `lines` lines of `line` columns.
    pub(crate) fn lines((lines, line): (usize, usize), line_step: usize, plane_step: usize) -> Self {
        if line_step == line {
            return Self::planes(lines * line, plane_step);
        }
        Self { line, line_step, lines, plane_step }
    }

    /// Columns that lie side by side.
    pub(crate) fn line(&self) -> usize {
        self.line
    }

    /// Words from a line to the next.
    pub(crate) fn line_step(&self) -> usize {
        self.line_step
    }

    /// Lines of a plane.
    pub(crate) fn lines_of_a_plane(&self) -> usize {
        self.lines
    }

    /// The columns `cols` in contiguous runs.
    pub(crate) fn runs(self, cols: Range<usize>) -> impl Iterator<Item = Run> {
        let (line, mut x) = (cols.start / self.line.max(1), cols.start % self.line.max(1));
        let (mut plane, mut y) = (line / self.lines.max(1), line % self.lines.max(1));
        let mut next = cols.start;
        std::iter::from_fn(move || {
            let len = (self.line - x).min(cols.end - next);
            let run = Run { col: next, at: plane * self.plane_step + y * self.line_step + x, len };
            (next, x, y) = (next + len, 0, y + 1);
            if y == self.lines {
                (plane, y) = (plane + 1, 0);
            }
            (len > 0).then_some(run)
        })
    }
}

/// The columns `0..n` in runs contiguous in both grids: where each lies in the first and in
/// the second, and its length.
pub(crate) fn common_runs(a: &Grid, b: &Grid, n: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    let (mut left, mut right) = (a.runs(0..n), b.runs(0..n));
    let (mut x, mut y) = (left.next(), right.next());
    std::iter::from_fn(move || {
        let (first, second) = (x.as_mut()?, y.as_mut()?);
        let common = (first.at, second.at, first.len.min(second.len));
        for (run, grid) in [(&mut x, &mut left as &mut dyn Iterator<Item = Run>), (&mut y, &mut right)] {
            *run = run.and_then(|run| run.after(common.2)).or_else(|| grid.next());
        }
        Some(common)
    })
}

/// Columns that lie side by side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Run {
    /// The first column.
    pub(crate) col: usize,
    /// Where it lies.
    pub(crate) at: usize,
    /// Columns.
    pub(crate) len: usize,
}

impl Run {
    /// What is left after `len` columns.
    fn after(self, len: usize) -> Option<Self> {
        (len < self.len).then(|| Self { col: self.col + len, at: self.at + len, len: self.len - len })
    }
}

/// The left operand, `[m, k]`.
#[derive(Clone, Copy)]
pub(crate) struct Left<'a, W> {
    /// Row-major.
    pub(crate) words: &'a [W],
    /// Columns.
    pub(crate) k: usize,
    /// What the values lie among.
    pub(crate) span: Span,
    /// The same in limbs, if they were made before.
    pub(crate) limbs: Option<View<'a>>,
}

impl<'a, W> Left<'a, W> {
    /// Of any values.
    pub(crate) fn new(words: &'a [W], k: usize) -> Self {
        Self { words, k, span: Span::Full, limbs: None }
    }

    /// Some of the rows.
    pub(crate) fn rows(&self, rows: Range<usize>) -> Self {
        let limbs = self.limbs.and_then(|limbs| limbs.at_row(rows.start));
        Self { words: &self.words[rows.start * self.k..rows.end * self.k], limbs, ..*self }
    }

    /// From element `(row, p)` on.
    pub(crate) fn from(&self, row: usize, p: usize) -> &'a [W] {
        &self.words[row * self.k + p..]
    }
}

/// The right operand, `[k, n]`: element `(p, j)` lies at `offsets[p]` plus where `columns`
/// puts `j`.
#[derive(Clone, Copy)]
pub(crate) struct Right<'a, W> {
    pub(crate) words: &'a [W],
    pub(crate) offsets: &'a [usize],
    pub(crate) columns: Grid,
    pub(crate) n: usize,
    /// What the values lie among.
    pub(crate) span: Span,
    /// The same in limbs, if they were made before.
    pub(crate) limbs: Option<View<'a>>,
}

impl<'a, W> Right<'a, W> {
    /// Of any values.
    pub(crate) fn new(words: &'a [W], offsets: &'a [usize], columns: Grid, n: usize) -> Self {
        Self { words, offsets, columns, n, span: Span::Full, limbs: None }
    }

    /// Some of the columns, which lie side by side.
    pub(crate) fn cols(&self, cols: Range<usize>) -> Self {
        Self { words: &self.words[cols.start..], n: cols.len(), limbs: None, ..*self }
    }
}

/// What a product is added to, `[m, n]`.
pub(crate) struct Sums<'a, W> {
    pub(crate) words: &'a mut [W],
    /// Distance between rows.
    pub(crate) row: usize,
    pub(crate) columns: Grid,
}

/// Words of an operand of this shape, or `None` where they cannot be counted: a product that
/// wraps would pass for a shorter operand's.
pub(crate) fn len_of(shape: impl IntoIterator<Item = usize>) -> Option<usize> {
    shape.into_iter().try_fold(1, usize::checked_mul)
}

/// `range` in consecutive parts of `size`, the last one shorter if need be.
pub(crate) fn blocks(range: Range<usize>, size: usize) -> impl Iterator<Item = Range<usize>> {
    let end = range.end;
    range.step_by(size.max(1)).map(move |start| start..end.min(start + size.max(1)))
}

/// The largest part if `n` is cut into as few equal parts of at most `most` as possible.
pub(crate) fn even(n: usize, most: usize) -> usize {
    n.div_ceil(n.div_ceil(most).max(1)).max(1)
}

/// What `work` panics with, if it does.
#[cfg(test)]
pub(crate) fn refusal(work: impl FnOnce()) -> Option<String> {
    let payload = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).err()?;
    let literal = payload.downcast_ref::<&str>().map(|&reason| reason.to_owned());
    literal.or_else(|| payload.downcast_ref::<String>().cloned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_follow_lines_and_planes() {
        let grid = Grid::lines((2, 3), 5, 20);
        let runs: Vec<_> = grid.runs(1..9).map(|r| (r.col, r.at, r.len)).collect();
        assert_eq!(runs, [(1, 1, 2), (3, 5, 3), (6, 20, 3)]);
        assert_eq!(Grid::lines((2, 3), 3, 20).runs(0..7).map(|r| r.len).collect::<Vec<_>>(), [6, 1]);
        assert_eq!(Grid::row(9).runs(4..4).count(), 0);
        assert_eq!(Grid::row(0).runs(0..0).count(), 0);
    }

    #[test]
    fn common_runs_end_where_either_ends() {
        let (lines, planes) = (Grid::lines((2, 3), 5, 20), Grid::planes(4, 100));
        let runs: Vec<_> = common_runs(&lines, &planes, 9).collect();
        assert_eq!(runs, [(0, 0, 3), (5, 3, 1), (6, 100, 2), (20, 102, 2), (22, 200, 1)]);
        assert_eq!(common_runs(&lines, &planes, 0).count(), 0);
    }

    #[test]
    fn lengths_of_shapes_do_not_wrap() {
        assert_eq!((len_of([]), len_of([3, 4, 5]), len_of([3, 0])), (Some(1), Some(60), Some(0)));
        assert_eq!((len_of([1 << 40, 1 << 40]), len_of([usize::MAX, 2, 0])), (None, None));
    }

    #[test]
    fn parts_are_even() {
        assert_eq!((even(20, 12), even(24, 12), even(25, 12), even(1, 12), even(0, 12)), (10, 12, 9, 1, 1));
        assert_eq!(blocks(2..9, 3).collect::<Vec<_>>(), [2..5, 5..8, 8..9]);
        assert_eq!(blocks(2..2, 3).count(), 0);
    }
}
