//! The input of a convolution laid out so that neighbouring outputs see neighbouring words.
//!
//! Padding becomes zeros in memory. With a horizontal stride of `s` the columns are dealt
//! to `s` phases, column `x` to phase `x % s`, so that what one tap of the kernel sees
//! along a line of outputs lies side by side.

use crate::operand::Grid;
use crate::word::Word;
use subrosa_core::geometry::ConvGeometry;

/// Layout `[sample][channel][phase][row][column]` of the padded input. Where it is the
/// layout of the input itself, nothing is copied.
pub(crate) struct Frame {
    geometry: ConvGeometry,
    rows: usize,
    /// Columns of a phase.
    cols: usize,
    phases: usize,
    is_input: bool,
}

/// Bytes of samples laid out at a time: what a second-level cache keeps.
const BLOCK_BYTES: usize = 256 << 10;
/// At least so many columns of a product at a time, or its other operand is read too often.
const MIN_COLS: usize = 512;

/// Words of a plane that never are too many.
const SMALL: usize = 1 << 10;

impl Frame {
    /// For a convolution with outputs and taps.
    pub(crate) fn new(geometry: &ConvGeometry) -> Self {
        let g = *geometry;
        let seen = |outputs: usize, stride: usize, kernel: usize, dilation: usize| {
            ((outputs - 1).saturating_mul(stride))
                .saturating_add((kernel - 1).saturating_mul(dilation))
                .saturating_add(1)
        };
        let rows = seen(g.output.0, g.strides.0, g.kernel.0, g.dilations.0);
        let cols = seen(g.output.1, g.strides.1, g.kernel.1, g.dilations.1);
        let inside = g.pads == (0, 0) && rows <= g.input.0 && cols <= g.input.1;
        if inside && g.strides.1 == 1 {
            return Self { geometry: g, rows: g.input.0, cols: g.input.1, phases: 1, is_input: true };
        }
        let phases = g.strides.1;
        Self { geometry: g, rows, cols: cols.div_ceil(phases), phases, is_input: false }
    }

    /// Whether the layout takes memory in proportion to what goes in and comes out. Padding
    /// and dilations come from a file and may ask for any amount.
    pub(crate) fn is_modest(&self) -> bool {
        let area = |(height, width): (usize, usize)| height.saturating_mul(width);
        let plane = self.phases.saturating_mul(self.rows).saturating_mul(self.cols);
        plane / 4 <= area(self.geometry.input).saturating_add(area(self.geometry.output)).saturating_add(SMALL)
    }

    /// Samples to lay out and work on together.
    pub(crate) fn samples_at_a_time<W>(&self, batch: usize) -> usize {
        if self.is_input {
            return batch;
        }
        let area = self.geometry.output.0 * self.geometry.output.1;
        MIN_COLS.div_ceil(area).max(BLOCK_BYTES / (self.sample() * size_of::<W>()))
    }

    /// `samples` samples `x [samples, c, h, w]` in this layout, made in `buffer` if need be.
    pub(crate) fn of<'a, W: Word>(&self, samples: usize, x: &'a [W], buffer: &'a mut Vec<W>) -> &'a [W] {
        if self.is_input {
            return x;
        }
        // Padding was zeroed when the buffer grew and is never written to.
        buffer.resize(samples * self.sample(), W::default());
        let input = self.geometry.input.0 * self.geometry.input.1;
        for (plane, x) in buffer.chunks_exact_mut(self.plane()).zip(x.chunks_exact(input.max(1))) {
            self.lay_out(x, plane);
        }
        buffer
    }

    fn lay_out<W: Word>(&self, x: &[W], plane: &mut [W]) {
        let g = &self.geometry;
        for (iy, line) in x.chunks_exact(g.input.1).enumerate().take(self.rows.saturating_sub(g.pads.0)) {
            let row = (iy + g.pads.0) * self.cols;
            if self.phases == 1 {
                let len = line.len().min(self.cols.saturating_sub(g.pads.1));
                let start = row + g.pads.1.min(self.cols);
                plane[start..start + len].copy_from_slice(&line[..len]);
                continue;
            }
            for phase in 0..self.phases {
                // The phase's first column at or after the padding, and the input there.
                let first = g.pads.1.saturating_sub(phase).div_ceil(self.phases).min(self.cols);
                let from = (first * self.phases + phase).saturating_sub(g.pads.1);
                let start = phase * self.rows * self.cols + row;
                let values = line.iter().skip(from).step_by(self.phases);
                plane[start + first..start + self.cols].iter_mut().zip(values).for_each(|(to, &v)| *to = v);
            }
        }
    }

    /// Words of a channel.
    pub(crate) fn plane(&self) -> usize {
        self.phases * self.rows * self.cols
    }

    /// Words of a sample.
    fn sample(&self) -> usize {
        self.geometry.c * self.plane()
    }

    /// Where the taps of one group lie, relative to its first channel.
    pub(crate) fn taps(&self) -> Vec<usize> {
        let g = &self.geometry;
        let mut taps = Vec::with_capacity(g.c / g.groups * g.kernel.0 * g.kernel.1);
        for channel in 0..g.c / g.groups {
            for (dy, dx) in (0..g.kernel.0).flat_map(|dy| (0..g.kernel.1).map(move |dx| (dy, dx))) {
                let (y, x) = (dy * g.dilations.0, dx * g.dilations.1);
                let phase = (channel * self.phases + x % self.phases) * self.rows;
                taps.push((phase + y) * self.cols + x / self.phases);
            }
        }
        taps
    }

    /// Where the outputs of any number of samples lie, relative to a tap.
    pub(crate) fn outputs(&self) -> Grid {
        // Where there is one line, its step may be any number.
        Grid::lines(self.geometry.output, self.geometry.strides.0.saturating_mul(self.cols), self.sample())
    }
}
