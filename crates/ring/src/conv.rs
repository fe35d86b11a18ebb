//! Two-dimensional convolutions modulo 2^BITS.
//!
//! For each channel group a convolution is the product of the kernels
//! `[o/groups, c/groups kh kw]` with the unrolled input `[c/groups kh kw, batch oh ow]`.
//! The unrolled input is made row by row where `gemm` asks for it, so that
//! scratch space does not grow with the batch, and the wide dimension is the columns.

use crate::gemm::{Rows, Size, Sums, copy, product};
use crate::isa::{Isa, isa};
use crate::word::Word;
use std::ops::Range;
use subrosa_core::geometry::ConvGeometry;

/// Convolution of `batch` samples `[c, h, w]` with `w [o, c/groups, kh, kw]`, modulo
/// 2^BITS; the result is `[batch, o, oh, ow]`. Outside the input there are zeros.
///
/// **Panics** if an operand is not as long as `geometry` says, or if `geometry.groups`
/// does not divide both channel counts.
pub fn conv2d<W: Word>(geometry: &ConvGeometry, batch: usize, x: &[W], w: &[W]) -> Vec<W> {
    let mut out = vec![W::default(); batch * geometry.o * area(geometry.output)];
    conv2d_acc(geometry, batch, x, w, &mut out);
    out
}

/// Adds what [`conv2d`] returns to `out`.
///
/// **Panics** as [`conv2d`], or if `out` is not as long as its result.
pub fn conv2d_acc<W: Word>(geometry: &ConvGeometry, batch: usize, x: &[W], w: &[W], out: &mut [W]) {
    conv2d_acc_on(isa(), geometry, batch, x, w, out);
}

fn conv2d_acc_on<W: Word>(isa: Isa, geometry: &ConvGeometry, batch: usize, x: &[W], w: &[W], out: &mut [W]) {
    let ConvGeometry { c, o, groups, .. } = *geometry;
    assert!(groups > 0 && c % groups == 0 && o % groups == 0, "channel groups of a convolution {geometry:?}");
    let k = c / groups * area(geometry.kernel);
    let n = batch * area(geometry.output);
    let expected = (batch * c * area(geometry.input), o * k, o * n);
    assert_eq!((x.len(), w.len(), out.len()), expected, "operands of a convolution {geometry:?}");
    let size = Size { m: o / groups, k, n };
    for g in 0..groups {
        let kernels = &w[g * size.m * k..(g + 1) * size.m * k];
        let unrolled = Unrolled { geometry, x, first_channel: g * (c / groups) };
        let mut sums = Planes { out, o, first: g * size.m, area: area(geometry.output) };
        product(isa, size, kernels, &unrolled, &mut sums);
    }
}

fn area((height, width): (usize, usize)) -> usize {
    height * width
}

/// The unrolled input of one channel group, made on demand: row `(channel, dy, dx)`,
/// column `(sample, oy, ox)`.
struct Unrolled<'a, W> {
    geometry: &'a ConvGeometry,
    x: &'a [W],
    first_channel: usize,
}

impl<W: Word> Rows<W> for Unrolled<'_, W> {
    fn row<'s>(&'s self, p: usize, cols: Range<usize>, scratch: &'s mut [W]) -> &'s [W] {
        let g = self.geometry;
        let (channel, tap) = (self.first_channel + p / area(g.kernel), p % area(g.kernel));
        let (dy, dx) = (tap / g.kernel.1, tap % g.kernel.1);
        let down = Reach::new(g.strides.0, dy * g.dilations.0, g.pads.0, g.input.0, g.output.0);
        let right = Reach::new(g.strides.1, dx * g.dilations.1, g.pads.1, g.input.1, g.output.1);
        let (line, mut ox) = (cols.start / g.output.1, cols.start % g.output.1);
        let (mut sample, mut oy) = (line / g.output.0, line % g.output.0);
        let mut rest = &mut *scratch;
        // One line of one sample's output at a time.
        while !rest.is_empty() {
            let (now, later) = rest.split_at_mut((g.output.1 - ox).min(rest.len()));
            match down.input(oy) {
                Some(iy) => {
                    let start = ((sample * g.c + channel) * g.input.0 + iy) * g.input.1;
                    right.take(&self.x[start..start + g.input.1], ox, now);
                }
                None => now.fill(W::default()),
            }
            (rest, ox, oy) = (later, 0, oy + 1);
            if oy == g.output.0 {
                (sample, oy) = (sample + 1, 0);
            }
        }
        scratch
    }
}

/// What one tap of a kernel sees along one axis: outputs in `first..end` see the input at
/// `output * stride + shift - pad`, the others see padding.
struct Reach {
    first: usize,
    end: usize,
    stride: usize,
    shift: usize,
    pad: usize,
}

impl Reach {
    fn new(stride: usize, shift: usize, pad: usize, input: usize, output: usize) -> Self {
        let first = pad.saturating_sub(shift).div_ceil(stride).min(output);
        let end = (input + pad).saturating_sub(shift).div_ceil(stride).clamp(first, output);
        Self { first, end, stride, shift, pad }
    }

    /// The index `output` sees, if it is not padding.
    #[inline(always)]
    fn input(&self, output: usize) -> Option<usize> {
        (self.first..self.end).contains(&output).then(|| output * self.stride + self.shift - self.pad)
    }

    /// What the outputs from `start` on see of the line `input`.
    #[inline(always)]
    fn take<W: Word>(&self, input: &[W], start: usize, out: &mut [W]) {
        let end = start + out.len();
        let (first, last) = (self.first.clamp(start, end), self.end.clamp(start, end));
        out[..first - start].fill(W::default());
        out[last - start..].fill(W::default());
        let middle = &mut out[first - start..last - start];
        let Some(offset) = self.input(first).filter(|_| !middle.is_empty()) else { return };
        if self.stride == 1 {
            copy(&input[offset..offset + middle.len()], middle);
        } else {
            middle.iter_mut().zip(input[offset..].iter().step_by(self.stride)).for_each(|(m, &v)| *m = v);
        }
    }
}

/// The output planes of one channel group.
struct Planes<'a, W> {
    out: &'a mut [W],
    /// Planes a sample.
    o: usize,
    /// This group's first plane.
    first: usize,
    area: usize,
}

impl<W: Word> Sums<W> for Planes<'_, W> {
    fn add(&mut self, row: usize, cols: Range<usize>, tile: &[W], stride: usize) {
        let mut col = cols.start;
        while col < cols.end {
            // The columns of one sample at a time.
            let (sample, at) = (col / self.area, col % self.area);
            let len = (self.area - at).min(cols.end - col);
            let first = (sample * self.o + self.first + row) * self.area;
            let planes = self.out[first..].chunks_mut(self.area);
            for (plane, values) in planes.zip(tile.chunks(stride)) {
                let values = &values[col - cols.start..][..len];
                plane[at..at + len].iter_mut().zip(values).for_each(|(sum, &v)| *sum = sum.add(v));
            }
            col += len;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use subrosa_core::Seed;

    fn naive<W: Word>(g: &ConvGeometry, batch: usize, x: &[W], w: &[W], out: &mut [W]) {
        let (cg, og) = (g.c / g.groups, g.o / g.groups);
        let at = |s: usize, c: usize, y: usize, x_: usize| ((s * g.c + c) * g.input.0 + y) * g.input.1 + x_;
        let mut next = out.iter_mut();
        for s in 0..batch {
            for o in 0..g.o {
                for (oy, ox) in (0..g.output.0).flat_map(|y| (0..g.output.1).map(move |x| (y, x))) {
                    let sum = next.next().unwrap();
                    for c in 0..cg {
                        for (dy, dx) in (0..g.kernel.0).flat_map(|y| (0..g.kernel.1).map(move |x| (y, x))) {
                            let iy = (oy * g.strides.0 + dy * g.dilations.0) as i64 - g.pads.0 as i64;
                            let ix = (ox * g.strides.1 + dx * g.dilations.1) as i64 - g.pads.1 as i64;
                            if (0..g.input.0 as i64).contains(&iy) && (0..g.input.1 as i64).contains(&ix) {
                                let tap = w[((o * cg + c) * g.kernel.0 + dy) * g.kernel.1 + dx];
                                *sum = sum.add(tap.mul(x[at(s, o / og * cg + c, iy as usize, ix as usize)]));
                            }
                        }
                    }
                }
            }
        }
    }

    fn check<W: Word>(g: &ConvGeometry, batch: usize, seed: u8) {
        let mut prg = Seed::from_bytes([seed; 32]).stream("conv");
        let mut words = |n: usize| prg.u64s(n).into_iter().map(W::from_u64).collect::<Vec<W>>();
        let x = words(batch * g.c * area(g.input));
        let w = words(g.o * g.c / g.groups * area(g.kernel));
        let start = words(batch * g.o * area(g.output));
        let mut expected = start.clone();
        naive(g, batch, &x, &w, &mut expected);
        for isa in Isa::ALL.into_iter().filter(|i| i.is_available()) {
            let mut out = start.clone();
            conv2d_acc_on(isa, g, batch, &x, &w, &mut out);
            assert!(out == expected, "{isa} differs at {g:?}, batch {batch}");
        }
    }

    fn pair(range: Range<usize>) -> impl Strategy<Value = (usize, usize)> {
        (range.clone(), range)
    }

    prop_compose! {
        /// Padding on the far side is whatever the output size implies, and may be more
        /// than the input has.
        fn geometry()(
            groups in 1usize..4, cg in 1usize..4, og in 1usize..6, input in pair(1..11), output in pair(1..11),
            kernel in pair(1..5), strides in pair(1..4), dilations in pair(1..4), pads in pair(0..5),
        ) -> ConvGeometry {
            ConvGeometry { c: cg * groups, input, o: og * groups, output, kernel, strides, dilations, pads, groups }
        }
    }

    proptest! {
        #[test]
        fn equals_the_naive_convolution(g in geometry(), batch in 0usize..4, seed: u8) {
            check::<u32>(&g, batch, seed);
            check::<u64>(&g, batch, seed);
        }
    }

    #[test]
    fn many_samples_share_blocks() {
        let g = ConvGeometry {
            c: 3,
            input: (12, 13),
            o: 9,
            output: (10, 11),
            kernel: (3, 3),
            strides: (1, 1),
            dilations: (1, 1),
            pads: (0, 0),
            groups: 1,
        };
        check::<u32>(&g, 7, 3);
        check::<u64>(&g, 7, 4);
        assert_eq!(conv2d(&g, 0, &[0u64; 0], &vec![1; 3 * 9 * 9]), []);
    }
}
