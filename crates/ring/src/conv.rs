//! Two-dimensional convolutions modulo 2^k.
//!
//! For each channel group a convolution is the product of the kernels
//! `[o/groups, c/groups kh kw]` with the unrolled input `[c/groups kh kw, batch oh ow]`,
//! whose wide dimension is the columns. The unrolled input is never made: its elements are
//! found in the input, or, where there is padding or a horizontal stride, in a `Frame`.

use crate::frame::Frame;
use crate::gemm::product;
use crate::isa::{Isa, isa};
use crate::limbs::{Limbs, View};
use crate::operand::{Grid, Left, Right, Sums, blocks, len_of};
use crate::span::Span;
use crate::threads;
use crate::word::{Ring, Word};
use subrosa_core::geometry::ConvGeometry;

/// Convolution of `batch` samples `[c, h, w]` with `w [o, c/groups, kh, kw]`, modulo
/// 2^BITS; the result is `[batch, o, oh, ow]`. Outside the input there are zeros.
///
/// **Panics** if an operand is not as long as `geometry` says, or if `geometry.groups`
/// does not divide both channel counts.
pub fn conv2d<W: Word>(geometry: &ConvGeometry, batch: usize, x: &[W], w: &[W]) -> Vec<W> {
    let ConvGeometry { o, output: (height, width), .. } = *geometry;
    // A result that no vector can hold is refused with the operands.
    let mut out = vec![W::default(); len_of([batch, o, height, width]).unwrap_or_default()];
    conv2d_acc(geometry, batch, x, w, &mut out);
    out
}

/// Adds what [`conv2d`] returns to `out`.
///
/// **Panics** as [`conv2d`], or if `out` is not as long as its result.
pub fn conv2d_acc<W: Word>(geometry: &ConvGeometry, batch: usize, x: &[W], w: &[W], out: &mut [W]) {
    conv2d_acc_over::<W::Full>(geometry, batch, x, w, out);
}

/// [`conv2d_acc`] over a ring: what lies above its bits in a word is unspecified, which is
/// faster for Z_2^48.
///
/// **Panics** as [`conv2d_acc`].
pub fn conv2d_acc_over<R: Ring>(
    geometry: &ConvGeometry,
    batch: usize,
    x: &[R::Word],
    w: &[R::Word],
    out: &mut [R::Word],
) {
    conv2d_acc_on::<R>(isa(), geometry, batch, x, (w, Span::Full, &[]), out);
}

pub(crate) fn conv2d_acc_on<R: Ring>(
    isa: Isa,
    geometry: &ConvGeometry,
    batch: usize,
    x: &[R::Word],
    (w, span, limbs): (&[R::Word], Span, &[Limbs]),
    out: &mut [R::Word],
) {
    let ConvGeometry { c, o, groups, input, output, kernel, .. } = *geometry;
    assert!(groups > 0 && c % groups == 0 && o % groups == 0, "channel groups of a convolution {geometry:?}");
    let expected = (
        len_of([batch, c, input.0, input.1]),
        len_of([o, c / groups, kernel.0, kernel.1]),
        len_of([batch, o, output.0, output.1]),
    );
    let lengths = (Some(x.len()), Some(w.len()), Some(out.len()));
    assert_eq!(lengths, expected, "operands of a convolution {geometry:?}");
    if x.is_empty() || w.is_empty() || out.is_empty() {
        return;
    }
    // Parts of products that did not wrap.
    let (k, planes) = (c / groups * area(kernel), o * area(output));
    let frame = Frame::new(geometry);
    if !frame.is_modest() {
        return direct(geometry, batch, x, w, out);
    }
    let conv = Conv { isa, geometry, frame, w, span, limbs };
    match (batch, threads::parts(out.len().saturating_mul(k))) {
        (_, 1) => conv.samples::<R>(batch, 1, x, out),
        // The rows of one sample's result are whole planes.
        (1, parts) => conv.samples::<R>(1, parts, x, out),
        (_, parts) => {
            let samples = batch.div_ceil(parts);
            let input = c * area(geometry.input);
            let x = |first: usize, n: usize| &x[first * input..(first + n) * input];
            let outs = out.chunks_mut(samples * planes).enumerate();
            threads::each(outs, |(i, out)| {
                let n = out.len() / planes;
                conv.samples::<R>(n, 1, x(i * samples, n), out);
            });
        }
    }
}

/// A convolution to be done on some samples.
struct Conv<'a, W> {
    isa: Isa,
    geometry: &'a ConvGeometry,
    frame: Frame,
    w: &'a [W],
    /// What the kernels' values lie among.
    span: Span,
    /// Each group's kernels in limbs, if they were made before.
    limbs: &'a [Limbs],
}

impl<W: Word> Conv<'_, W> {
    fn samples<R: Ring<Word = W>>(&self, batch: usize, parts: usize, x: &[W], out: &mut [W]) {
        let ConvGeometry { c, o, input, output, .. } = *self.geometry;
        let (input, planes) = (c * area(input), o * area(output));
        let mut buffer = vec![];
        for some in blocks(0..batch, self.frame.samples_at_a_time::<W>(batch)) {
            let x = self.frame.of(some.len(), &x[some.start * input..some.end * input], &mut buffer);
            self.grouped::<R>(parts, x, &mut out[some.start * planes..some.end * planes]);
        }
    }

    /// The convolution of samples laid out by the frame.
    fn grouped<R: Ring<Word = W>>(&self, parts: usize, x: &[W], out: &mut [W]) {
        let ConvGeometry { c, o, groups, output, .. } = *self.geometry;
        let (m, taps, planes) = (o / groups, self.frame.taps(), o * area(output));
        let (n, columns) = (out.len() / planes * area(output), self.frame.outputs());
        for (g, kernels) in self.w.chunks_exact(m * taps.len()).enumerate() {
            let right = Right::new(&x[g * (c / groups) * self.frame.plane()..], &taps, columns, n);
            let words = &mut out[g * m * area(output)..];
            // For one sample, what follows the group's planes is not the group's.
            let words = if n == area(output) { &mut words[..m * n] } else { words };
            let sums = Sums { words, row: area(output), columns: Grid::planes(area(output), planes) };
            let limbs = self.limbs.get(g).map(View::new);
            let left = Left { words: kernels, k: taps.len(), span: self.span, limbs };
            product::<R>(self.isa, parts, m, left, right, sums);
        }
    }
}

/// The convolution by its definition, in no memory but its operands: for padding or
/// dilations that dwarf the input.
fn direct<W: Word>(g: &ConvGeometry, batch: usize, x: &[W], w: &[W], out: &mut [W]) {
    let (cg, og) = (g.c / g.groups, g.o / g.groups);
    let pairs = |(height, width): (usize, usize)| (0..height).flat_map(move |y| (0..width).map(move |x| (y, x)));
    let mut sums = out.iter_mut();
    for (sample, o) in (0..batch).flat_map(|sample| (0..g.o).map(move |o| (sample, o))) {
        for ((oy, ox), sum) in pairs(g.output).zip(&mut sums) {
            let taps = (0..cg).flat_map(|c| pairs(g.kernel).map(move |tap| (c, tap)));
            for ((c, (dy, dx)), &tap) in taps.zip(&w[o * cg * area(g.kernel)..]) {
                let y = seen(oy, g.strides.0, dy, g.dilations.0, g.pads.0, g.input.0);
                let x_ = seen(ox, g.strides.1, dx, g.dilations.1, g.pads.1, g.input.1);
                if let (Some(y), Some(x_)) = (y, x_) {
                    let channel = sample * g.c + o / og * cg + c;
                    *sum = sum.add(tap.mul(x[(channel * g.input.0 + y) * g.input.1 + x_]));
                }
            }
        }
    }
}

/// The input that a tap sees from an output along one axis, if it is not padding.
fn seen(output: usize, stride: usize, tap: usize, dilation: usize, pad: usize, input: usize) -> Option<usize> {
    let at = output.checked_mul(stride)?.checked_add(tap.checked_mul(dilation)?)?.checked_sub(pad)?;
    (at < input).then_some(at)
}

fn area((height, width): (usize, usize)) -> usize {
    height * width
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operand::refusal;
    use crate::word::{Z32, Z48, Z64, mask};
    use proptest::prelude::*;
    use std::ops::Range;
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

    fn low<R: Ring>(words: &[R::Word]) -> Vec<u64> {
        words.iter().map(|w| w.to_u64() & mask(R::WIDTH.bits())).collect()
    }

    fn check<R: Ring>(g: &ConvGeometry, batch: usize, seed: u8) {
        let mut prg = Seed::from_bytes([seed; 32]).stream("conv");
        let mut words = |n: usize| prg.u64s(n).into_iter().map(R::Word::from_u64).collect::<Vec<_>>();
        let x = words(batch * g.c * area(g.input));
        let w = words(g.o * g.c / g.groups * area(g.kernel));
        let start = words(batch * g.o * area(g.output));
        let mut expected = start.clone();
        naive(g, batch, &x, &w, &mut expected);
        for isa in crate::isa::tested() {
            let mut out = start.clone();
            conv2d_acc_on::<R>(isa, g, batch, &x, (&w, Span::Full, &[]), &mut out);
            assert!(low::<R>(&out) == low::<R>(&expected), "{isa} differs at {g:?}, batch {batch}");
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
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn equals_the_naive_convolution(g in geometry(), batch in 0usize..4, seed: u8) {
            check::<Z32>(&g, batch, seed);
            check::<Z48>(&g, batch, seed);
            check::<Z64>(&g, batch, seed);
        }
    }

    #[test]
    fn padding_that_dwarfs_the_input_takes_no_memory() {
        let far = 1 << 40;
        let g = ConvGeometry {
            c: 2,
            input: (3, 4),
            o: 2,
            output: (3, 2),
            kernel: (2, 2),
            strides: (1, 2),
            dilations: (far, far),
            pads: (far, far),
            groups: 2,
        };
        check::<Z32>(&g, 2, 1);
    }

    /// Every product of sizes wraps to the length that the operand has. In the tile, row 2 of
    /// the result would begin far outside of it.
    #[test]
    fn sizes_whose_products_wrap_are_refused() {
        let g = ConvGeometry {
            c: 3,
            input: (1, 1),
            o: 12,
            output: (6_148_914_691_236_517_206, 1),
            kernel: (1, 1),
            strides: (0, 1),
            dilations: (1, 1),
            pads: (0, 0),
            groups: 3,
        };
        let (x, w) = (vec![1u32; 48], vec![1u32; 12]);
        for isa in crate::isa::tested() {
            let mut out = vec![0u32; 128];
            let refused = refusal(|| conv2d_acc_on::<Z32>(isa, &g, 16, &x, (&w, Span::Full, &[]), &mut out)).unwrap();
            assert!(refused.contains("operands of a convolution"), "{isa}: {refused}");
        }
        let refused = refusal(|| drop(conv2d(&g, 16, &x, &w))).unwrap();
        assert!(refused.contains("operands of a convolution"), "{refused}");
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
        check::<Z32>(&g, 7, 3);
        check::<Z48>(&g, 7, 5);
        check::<Z64>(&g, 7, 4);
        assert_eq!(conv2d(&g, 0, &[0u64; 0], &vec![1; 3 * 9 * 9]), []);
    }
}
