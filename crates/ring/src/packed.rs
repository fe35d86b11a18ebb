//! Operands rearranged once for many products, such as the weights of a model.

use crate::conv::conv2d_acc_on;
use crate::gemm::product_packed;
use crate::isa::{Isa, isa};
use crate::limbs::{Limbs, View};
use crate::operand::{Grid, Left, Right, len_of};
use crate::panels::Panels;
use crate::span::{OutsideSpan, Span};
use crate::threads;
use crate::word::Ring;
use subrosa_core::geometry::{ConvGeometry, MatDims};
use zeroize::Zeroize;

/// The right operands of matrix products, laid out for the kernels of the instruction set
/// in use. Takes about as many bytes as the words, with the tile unit twice as many; wiped
/// when dropped.
pub struct PackedMatrix<R: Ring> {
    isa: Isa,
    k: usize,
    n: usize,
    span: Span,
    groups: Vec<PackedGroup<R::Word>>,
}

struct PackedGroup<W> {
    panels: Panels<W>,
    /// For the tile unit.
    limbs: Option<Limbs>,
}

impl<R: Ring> PackedMatrix<R> {
    /// Packs `b [groups, k, n]`, or `b [k, n]` shared by all groups when it is that long;
    /// `dims.m` does not matter.
    ///
    /// **Panics** if `b` is not as long as `dims` says.
    pub fn new(dims: MatDims, b: &[R::Word]) -> Self {
        Self::on(isa(), dims, b, Span::Full)
    }

    /// As [`PackedMatrix::new`], of values that are all in `span`, or [`OutsideSpan`].
    ///
    /// **Panics** if `b` is not as long as `dims` says.
    pub fn within(dims: MatDims, b: &[R::Word], span: Span) -> Result<Self, OutsideSpan> {
        span.check::<R>(b)?;
        Ok(Self::on(isa(), dims, b, span.of::<R>()))
    }

    fn on(isa: Isa, MatDims { groups, k, n, .. }: MatDims, b: &[R::Word], span: Span) -> Self {
        let shared = len_of([k, n]) == Some(b.len());
        let fits = shared || len_of([k, n, groups]) == Some(b.len());
        assert!(fits, "right operand of {groups} products [{k}, {n}]");
        let (one, count) = (k * n, if shared { 1 } else { groups });
        let (_, width) = R::kernel(isa).shape(usize::MAX, n);
        let offsets: Vec<usize> = (0..k).map(|p| p * n).collect();
        let pack = |g: usize| {
            let words = Right { span, ..Right::new(&b[g * one..(g + 1) * one], &offsets, Grid::row(n), n) };
            let mut panels = Panels::new(width, k, n);
            panels.fill(isa, &words, 0..k, 0..n);
            PackedGroup { panels, limbs: (isa == Isa::Amx).then(|| Limbs::of_right::<R>(&words, 0..k, 0..n)) }
        };
        Self { isa, k, n, span, groups: (0..count).map(pack).collect() }
    }
}

impl<R: Ring> Drop for PackedMatrix<R> {
    fn drop(&mut self) {
        for group in &mut self.groups {
            group.panels.wipe();
            group.limbs.iter_mut().for_each(Limbs::wipe);
        }
    }
}

/// Adds `dims.groups` products `a [groups, m, k]` times the packed operand to
/// `out [groups, m, n]`; the same words as [`crate::matmul_acc_over`] with the operand that
/// was packed.
///
/// **Panics** if `a` or `out` is not as long as `dims` says, or if `dims` is not what the
/// operand was packed for.
pub fn matmul_packed_acc<R: Ring>(dims: MatDims, a: &[R::Word], b: &PackedMatrix<R>, out: &mut [R::Word]) {
    let MatDims { groups, m, k, n } = dims;
    let expected = (len_of([groups, m, k]), len_of([groups, m, n]));
    assert_eq!((Some(a.len()), Some(out.len())), expected, "operands of a product {dims:?}");
    let shared = b.groups.len() == 1;
    assert!((k, n) == (b.k, b.n) && (shared || groups == b.groups.len()), "packed for another product than {dims:?}");
    let (groups, m) = if shared { (1, groups * m) } else { (groups, m) };
    let parts = threads::parts(m.saturating_mul(k).saturating_mul(n));
    for (g, PackedGroup { panels, limbs }) in b.groups.iter().enumerate().take(groups) {
        let left = Left::new(&a[g * m * k..(g + 1) * m * k], k);
        let right = (panels, b.span, limbs.as_ref().map(View::new));
        product_packed::<R>(b.isa, parts, m, left, right, &mut out[g * m * n..(g + 1) * m * n]);
    }
}

/// The kernels of a convolution, laid out for the instruction set in use. Takes about as
/// many bytes as the words, with the tile unit twice as many; wiped when dropped.
pub struct PackedKernels<R: Ring> {
    isa: Isa,
    geometry: ConvGeometry,
    span: Span,
    /// As they were: vectors read the left operand of a product in place.
    words: Vec<R::Word>,
    /// Each group's, for the tile unit.
    limbs: Vec<Limbs>,
}

impl<R: Ring> PackedKernels<R> {
    /// Packs `w [o, c/groups, kh, kw]`.
    ///
    /// **Panics** if `w` is not as long as `geometry` says, or if `geometry.groups` does not
    /// divide both channel counts.
    pub fn new(geometry: &ConvGeometry, w: &[R::Word]) -> Self {
        Self::on(isa(), geometry, w, Span::Full)
    }

    /// As [`PackedKernels::new`], of values that are all in `span`, or [`OutsideSpan`].
    ///
    /// **Panics** as [`PackedKernels::new`].
    pub fn within(geometry: &ConvGeometry, w: &[R::Word], span: Span) -> Result<Self, OutsideSpan> {
        span.check::<R>(w)?;
        Ok(Self::on(isa(), geometry, w, span.of::<R>()))
    }

    fn on(isa: Isa, geometry: &ConvGeometry, w: &[R::Word], span: Span) -> Self {
        let ConvGeometry { c, o, groups, kernel, .. } = *geometry;
        assert!(groups > 0 && c % groups == 0 && o % groups == 0, "channel groups of a convolution {geometry:?}");
        let expected = len_of([c / groups, kernel.0, kernel.1, o]);
        assert_eq!(Some(w.len()), expected, "kernels of a convolution {geometry:?}");
        let (m, k) = (o / groups, c / groups * kernel.0 * kernel.1);
        let pack = |w: &[R::Word]| Limbs::of_left::<R>(&Left { span, ..Left::new(w, k) }, 0..m, 0..k);
        let limbs = match isa {
            Isa::Amx => w.chunks_exact((m * k).max(1)).map(pack).collect(),
            Isa::Portable | Isa::Avx2 | Isa::Avx512 => vec![],
        };
        Self { isa, geometry: *geometry, span, words: w.to_vec(), limbs }
    }
}

impl<R: Ring> Drop for PackedKernels<R> {
    fn drop(&mut self) {
        self.words.zeroize();
        self.limbs.iter_mut().for_each(Limbs::wipe);
    }
}

/// Adds the convolution of `batch` samples `x` with the packed kernels to `out`; the same
/// words as [`crate::conv2d_acc_over`] with the kernels that were packed.
///
/// **Panics** if `x` or `out` is not as long as the geometry says.
pub fn conv2d_packed_acc<R: Ring>(batch: usize, x: &[R::Word], w: &PackedKernels<R>, out: &mut [R::Word]) {
    conv2d_acc_on::<R>(w.isa, &w.geometry, batch, x, (&w.words, w.span, &w.limbs), out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operand::refusal;
    use crate::word::{Word, Z32, Z48, Z64, mask, sign_extend};
    use crate::{Threads, conv2d_acc_over, matmul_acc_over};
    use proptest::prelude::*;
    use subrosa_core::Seed;

    fn words<W: Word>(seed: u8, label: &'static str, n: usize) -> Vec<W> {
        Seed::from_bytes([seed; 32]).stream(label).u64s(n).into_iter().map(W::from_u64).collect()
    }

    fn low<R: Ring>(words: &[R::Word]) -> Vec<u64> {
        words.iter().map(|w| w.to_u64() & mask(R::WIDTH.bits())).collect()
    }

    fn check_matrix<R: Ring>(dims: MatDims, shared: bool, seed: u8) {
        let a = words::<R::Word>(seed, "a", dims.groups * dims.m * dims.k);
        let b = words::<R::Word>(seed, "b", if shared { 1 } else { dims.groups } * dims.k * dims.n);
        let start = words::<R::Word>(seed, "out", dims.groups * dims.m * dims.n);
        let mut expected = start.clone();
        matmul_acc_over::<R>(dims, &a, &b, &mut expected);
        for isa in crate::isa::tested() {
            let mut out = start.clone();
            matmul_packed_acc(dims, &a, &PackedMatrix::<R>::on(isa, dims, &b, Span::Full), &mut out);
            assert!(low::<R>(&out) == low::<R>(&expected), "{isa} differs at {dims:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_packed_matrix_gives_the_same_product(groups in 1usize..4, m in 0usize..20, k in 0usize..40, n in 0usize..70, shared: bool, seed: u8) {
            let dims = MatDims { groups, m, k, n };
            check_matrix::<Z32>(dims, shared, seed);
            check_matrix::<Z48>(dims, shared, seed);
            check_matrix::<Z64>(dims, shared, seed);
        }
    }

    #[test]
    fn packed_blocks_meet_without_gaps() {
        for (m, k, n) in [(65, 257, 257), (130, 300, 513), (1, 2050, 40), (13, 600, 33)] {
            check_matrix::<Z32>(MatDims { groups: 1, m, k, n }, false, 1);
            check_matrix::<Z64>(MatDims { groups: 1, m, k, n }, false, 2);
        }
    }

    #[test]
    fn packed_kernels_give_the_same_convolution() {
        let g = ConvGeometry {
            c: 4,
            input: (9, 8),
            o: 36,
            output: (5, 4),
            kernel: (3, 3),
            strides: (2, 2),
            dilations: (1, 1),
            pads: (1, 1),
            groups: 2,
        };
        let (x, mut w) = (words::<u64>(1, "x", 5 * 4 * 72), words::<u64>(1, "w", 36 * 2 * 9));
        for span in [Span::Full, Span::Unsigned { bits: 16 }, Span::Signed { bits: 11 }] {
            into_span(&mut w, span);
            let mut expected = vec![7; 5 * 36 * 20];
            conv2d_acc_over::<Z48>(&g, 5, &x, &w, &mut expected);
            for isa in crate::isa::tested() {
                let mut out = vec![7; expected.len()];
                conv2d_packed_acc(5, &x, &PackedKernels::<Z48>::on(isa, &g, &w, span), &mut out);
                assert_eq!(low::<Z48>(&out), low::<Z48>(&expected), "{isa}, {span:?}");
            }
        }
    }

    #[test]
    fn small_weights_give_the_same_product() {
        let dims = MatDims { groups: 2, m: 18, k: 70, n: 35 };
        let (a, mut b) = (words::<u32>(1, "a", 2 * 18 * 70), words::<u32>(1, "b", 70 * 35));
        for span in [Span::Unsigned { bits: 12 }, Span::Signed { bits: 8 }, Span::Signed { bits: 30 }] {
            into_span(&mut b, span);
            let expected = crate::matmul(dims, &a, &b);
            for isa in crate::isa::tested() {
                let mut out = vec![0; expected.len()];
                matmul_packed_acc(dims, &a, &PackedMatrix::<Z32>::on(isa, dims, &b, span.of::<Z32>()), &mut out);
                assert!(out == expected, "{isa}, {span:?}");
            }
        }
        assert!(PackedMatrix::<Z32>::within(dims, &b, Span::Signed { bits: 8 }).is_ok());
        assert!(PackedMatrix::<Z32>::within(dims, &b, Span::Signed { bits: 7 }).is_err());
    }

    fn into_span<W: Word>(words: &mut [W], span: Span) {
        for word in words {
            *word = match span {
                Span::Full => *word,
                Span::Unsigned { bits } => W::from_u64(word.to_u64() & mask(bits)),
                Span::Signed { bits } => W::from_i64(sign_extend(*word, bits)),
            };
        }
    }

    #[test]
    fn sizes_whose_products_wrap_are_refused() {
        // Twice as many are two.
        let many = (1 << 63) + 1;
        let dims = |m, k| MatDims { groups: 2, m, k, n: 1 };
        let pack = |k| PackedMatrix::<Z32>::new(dims(1, k), &[0; 2]);
        let refused = refusal(|| drop(pack(many))).unwrap();
        assert!(refused.contains("right operand"), "{refused}");
        let refused = refusal(|| matmul_packed_acc(dims(many, 1), &[0; 2], &pack(1), &mut [0; 2])).unwrap();
        assert!(refused.contains("operands of a product"), "{refused}");
        let g = ConvGeometry {
            c: 1,
            input: (1, 1),
            o: 2,
            output: (1, 1),
            kernel: (many, 1),
            strides: (1, 1),
            dilations: (1, 1),
            pads: (0, 0),
            groups: 1,
        };
        let refused = refusal(|| drop(PackedKernels::<Z32>::new(&g, &[0; 2]))).unwrap();
        assert!(refused.contains("kernels of a convolution"), "{refused}");
    }

    #[test]
    #[should_panic(expected = "packed for another product")]
    fn packed_for_another_product() {
        let packed = PackedMatrix::<Z32>::new(MatDims { groups: 1, m: 1, k: 2, n: 3 }, &[0; 6]);
        matmul_packed_acc(MatDims { groups: 1, m: 1, k: 3, n: 2 }, &[0; 3], &packed, &mut [0; 2]);
    }

    /// Large enough to be cut: by rows, by columns, by groups, by samples, by planes.
    #[test]
    fn every_number_of_threads_gives_the_same_words() {
        let products = [(1, 200, 300, 200), (1, 3, 900, 3000), (1, 1, 2000, 2001), (6, 20, 300, 200)];
        let conv = |groups| ConvGeometry {
            c: 16,
            input: (24, 24),
            o: 32,
            output: (24, 24),
            kernel: (5, 5),
            strides: (1, 1),
            dilations: (1, 1),
            pads: (2, 2),
            groups,
        };
        let run = |n: usize| {
            Threads::new(n).unwrap().enter(|| {
                let mut results = vec![];
                for (groups, m, k, n) in products {
                    let dims = MatDims { groups, m, k, n };
                    let (a, b) = (words(3, "a", groups * m * k), words(3, "b", groups * k * n));
                    results.push(crate::matmul::<u64>(dims, &a, &b));
                    let mut out = vec![0; groups * m * n];
                    matmul_packed_acc(dims, &a, &PackedMatrix::<Z64>::new(dims, &b), &mut out);
                    assert!(results.last() == Some(&out));
                }
                for (batch, groups) in [(1, 1), (5, 1), (2, 16)] {
                    let x = words(3, "x", batch * 16 * 576);
                    let w = words(3, "w", 32 * (16 / groups) * 25);
                    results.push(crate::conv2d::<u64>(&conv(groups), batch, &x, &w));
                }
                results
            })
        };
        let expected = run(1);
        assert!([2, 3, 8].into_iter().all(|n| run(n) == expected));
    }
}
