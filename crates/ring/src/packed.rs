//! Operands rearranged once for many products, such as the weights of a model.

use crate::conv::conv2d_acc_on;
use crate::gemm::product_packed;
use crate::isa::{Isa, isa};
use crate::operand::{Grid, Left, Right};
use crate::panels::Panels;
use crate::threads;
use crate::word::Ring;
use subrosa_core::geometry::{ConvGeometry, MatDims};
use zeroize::Zeroize;

/// The right operands of matrix products, laid out for the kernels of the instruction set
/// in use. Takes about as many bytes as the words; wiped when dropped.
pub struct PackedMatrix<R: Ring> {
    isa: Isa,
    k: usize,
    n: usize,
    /// One for each group.
    groups: Vec<Panels<R::Word>>,
}

impl<R: Ring> PackedMatrix<R> {
    /// Packs `b [groups, k, n]`, or `b [k, n]` shared by all groups when it is that long;
    /// `dims.m` does not matter.
    ///
    /// **Panics** if `b` is not as long as `dims` says.
    pub fn new(dims: MatDims, b: &[R::Word]) -> Self {
        Self::on(isa(), dims, b)
    }

    fn on(isa: Isa, MatDims { groups, k, n, .. }: MatDims, b: &[R::Word]) -> Self {
        let one = k * n;
        assert!(b.len() == one || b.len() == groups * one, "right operand of {groups} products [{k}, {n}]");
        let count = if b.len() == one { 1 } else { groups };
        let (_, width) = R::kernel(isa).shape(usize::MAX, n);
        let offsets: Vec<usize> = (0..k).map(|p| p * n).collect();
        let pack = |g: usize| {
            let mut panels = Panels::new(width, k, n);
            let words = &b[g * one..(g + 1) * one];
            panels.fill(isa, &Right { words, offsets: &offsets, columns: Grid::row(n), n }, 0..k, 0..n);
            panels
        };
        Self { isa, k, n, groups: (0..count).map(pack).collect() }
    }
}

impl<R: Ring> Drop for PackedMatrix<R> {
    fn drop(&mut self) {
        self.groups.iter_mut().for_each(Panels::wipe);
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
    assert_eq!((a.len(), out.len()), (groups * m * k, groups * m * n), "operands of a product {dims:?}");
    let shared = b.groups.len() == 1;
    assert!((k, n) == (b.k, b.n) && (shared || groups == b.groups.len()), "packed for another product than {dims:?}");
    let (groups, m) = if shared { (1, groups * m) } else { (groups, m) };
    let parts = threads::parts(m * k * n);
    for (g, panels) in b.groups.iter().enumerate().take(groups) {
        let left = Left { words: &a[g * m * k..(g + 1) * m * k], k };
        product_packed::<R>(b.isa, parts, m, left, panels, &mut out[g * m * n..(g + 1) * m * n]);
    }
}

/// The kernels of a convolution, laid out for the instruction set in use. Takes about as
/// many bytes as the words; wiped when dropped.
pub struct PackedKernels<R: Ring> {
    isa: Isa,
    geometry: ConvGeometry,
    /// As they were: the left operand of a product is read in place.
    words: Vec<R::Word>,
}

impl<R: Ring> PackedKernels<R> {
    /// Packs `w [o, c/groups, kh, kw]`.
    ///
    /// **Panics** if `w` is not as long as `geometry` says, or if `geometry.groups` does not
    /// divide both channel counts.
    pub fn new(geometry: &ConvGeometry, w: &[R::Word]) -> Self {
        Self::on(isa(), geometry, w)
    }

    fn on(isa: Isa, geometry: &ConvGeometry, w: &[R::Word]) -> Self {
        let ConvGeometry { c, o, groups, kernel, .. } = *geometry;
        assert!(groups > 0 && c % groups == 0 && o % groups == 0, "channel groups of a convolution {geometry:?}");
        assert_eq!(w.len(), o * (c / groups) * kernel.0 * kernel.1, "kernels of a convolution {geometry:?}");
        Self { isa, geometry: *geometry, words: w.to_vec() }
    }
}

impl<R: Ring> Drop for PackedKernels<R> {
    fn drop(&mut self) {
        self.words.zeroize();
    }
}

/// Adds the convolution of `batch` samples `x` with the packed kernels to `out`; the same
/// words as [`crate::conv2d_acc_over`] with the kernels that were packed.
///
/// **Panics** if `x` or `out` is not as long as the geometry says.
pub fn conv2d_packed_acc<R: Ring>(batch: usize, x: &[R::Word], w: &PackedKernels<R>, out: &mut [R::Word]) {
    conv2d_acc_on::<R>(w.isa, &w.geometry, batch, x, &w.words, out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::word::{Word, Z32, Z48, Z64, mask};
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
        for isa in Isa::ALL.into_iter().filter(|i| i.is_available()) {
            let mut out = start.clone();
            matmul_packed_acc(dims, &a, &PackedMatrix::<R>::on(isa, dims, &b), &mut out);
            assert!(low::<R>(&out) == low::<R>(&expected), "{isa} differs at {dims:?}");
        }
    }

    proptest! {
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
            o: 6,
            output: (5, 4),
            kernel: (3, 3),
            strides: (2, 2),
            dilations: (1, 1),
            pads: (1, 1),
            groups: 2,
        };
        let (x, w) = (words::<u64>(1, "x", 5 * 4 * 72), words::<u64>(1, "w", 6 * 2 * 9));
        let (mut expected, mut out) = (vec![7; 5 * 6 * 20], vec![7; 5 * 6 * 20]);
        conv2d_acc_over::<Z48>(&g, 5, &x, &w, &mut expected);
        conv2d_packed_acc(5, &x, &PackedKernels::<Z48>::new(&g, &w), &mut out);
        assert_eq!(low::<Z48>(&out), low::<Z48>(&expected));
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
