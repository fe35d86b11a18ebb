//! The right operand of a product rearranged for a kernel's tiles.

use crate::isa::{self, Isa, Loop, Offsets};
use crate::operand::{Grid, Right, Run, blocks};
use crate::word::Word;
use std::ops::Range;
use zeroize::Zeroize;

/// Words that a copy into a panel may write beyond its end, or read beyond a run's.
const SLACK: usize = 8;

/// Bytes; a vector across two lines takes two reads.
const CACHE_LINE: usize = 64;

/// A block of `b`, cut into panels of a tile's width, each panel stored row after row.
pub(crate) struct Panels<W> {
    words: Vec<W>,
    /// The first word on a boundary of the cache's lines.
    start: usize,
    /// Where the rows of a panel start.
    offsets: Vec<usize>,
    /// Columns of a panel.
    pub(crate) width: usize,
    /// Rows of a panel.
    pub(crate) depth: usize,
    /// Columns taken last.
    pub(crate) n: usize,
    runs: Vec<Run>,
}

impl<W: Word> Panels<W> {
    /// Room for `depth` rows of `cols` columns.
    pub(crate) fn new(width: usize, depth: usize, cols: usize) -> Self {
        let line = CACHE_LINE / size_of::<W>();
        let words = vec![W::default(); cols.next_multiple_of(width) * depth + SLACK + line];
        let start = words.as_ptr().align_offset(CACHE_LINE).min(line);
        Self { words, start, offsets: (0..depth).map(|p| p * width).collect(), width, depth, n: 0, runs: vec![] }
    }

    /// Takes rows `ps` and columns `js` of `b`. What the last panel lacks in columns is
    /// left as it was.
    pub(crate) fn fill(&mut self, isa: Isa, b: &Right<'_, W>, ps: Range<usize>, js: Range<usize>) {
        (self.depth, self.n) = (ps.len(), js.len());
        let offsets = &b.offsets[ps];
        let last = offsets.iter().max().copied().unwrap_or(0);
        for (i, cols) in blocks(js, self.width).enumerate() {
            self.runs.clear();
            self.runs.extend(b.columns.runs(cols));
            let end = self.runs.iter().map(|run| run.at + run.len.next_multiple_of(SLACK)).max().unwrap_or(0);
            let panel = &mut self.words[self.start + i * offsets.len() * self.width..];
            let fill = Fill { words: b.words, offsets, runs: &self.runs, width: self.width, panel };
            if end + last <= b.words.len() { isa::run(isa, fill) } else { fill.exactly() }
        }
    }

    /// Rows `ps` of panel `i`, counted from the first row and column taken.
    pub(crate) fn panel(&self, i: usize, ps: Range<usize>) -> (&[W], Offsets<'_>) {
        let offsets = Offsets::new(&self.offsets[..ps.len()]);
        let row = |p| self.start + (i * self.depth + p) * self.width;
        (&self.words[row(ps.start)..row(ps.end)], offsets)
    }

    /// The panels as an operand: a panel is a plane of one line.
    pub(crate) fn operand(&self) -> Right<'_, W> {
        let columns = Grid::planes(self.width, self.depth * self.width);
        Right::new(&self.words[self.start..], &self.offsets[..self.depth], columns, self.n)
    }

    /// Overwrites every word with zeros.
    pub(crate) fn wipe(&mut self) {
        self.words.zeroize();
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
