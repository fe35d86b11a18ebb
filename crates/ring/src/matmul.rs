//! Matrix products modulo 2^k.

use crate::gemm::product;
use crate::isa::{Isa, isa};
use crate::operand::{Grid, Left, Right, Sums, len_of};
use crate::threads;
use crate::word::{Ring, Word};
use subrosa_core::geometry::MatDims;

/// `dims.groups` products `a [groups, m, k] x b [groups, k, n]`, or `b [k, n]` shared by
/// all groups when it is that long, modulo 2^BITS; the result is `[groups, m, n]`.
///
/// **Panics** if an operand is not as long as `dims` says.
pub fn matmul<W: Word>(dims: MatDims, a: &[W], b: &[W]) -> Vec<W> {
    // A result that no vector can hold is refused with the operands.
    let mut out = vec![W::default(); len_of([dims.groups, dims.m, dims.n]).unwrap_or_default()];
    matmul_acc(dims, a, b, &mut out);
    out
}

/// Adds what [`matmul`] returns to `out`. A replicated product is two of these into one
/// `out`: `x0 y0 + x0 y1 + x1 y0 = (x0 + x1) y0 + x0 y1`.
///
/// **Panics** if an operand or `out` is not as long as `dims` says.
pub fn matmul_acc<W: Word>(dims: MatDims, a: &[W], b: &[W], out: &mut [W]) {
    matmul_acc_over::<W::Full>(dims, a, b, out);
}

/// [`matmul_acc`] over a ring: what lies above its bits in a word is unspecified, which is
/// faster for Z_2^48.
///
/// **Panics** if an operand or `out` is not as long as `dims` says.
pub fn matmul_acc_over<R: Ring>(dims: MatDims, a: &[R::Word], b: &[R::Word], out: &mut [R::Word]) {
    matmul_acc_on::<R>(isa(), dims, a, b, out);
}

fn matmul_acc_on<R: Ring>(isa: Isa, dims: MatDims, a: &[R::Word], b: &[R::Word], out: &mut [R::Word]) {
    let MatDims { groups, m, k, n } = dims;
    let expected = (len_of([groups, m, k]), len_of([groups, m, n]));
    assert_eq!((Some(a.len()), Some(out.len())), expected, "operands of a product {dims:?}");
    let shared = len_of([k, n]) == Some(b.len());
    assert!(shared || len_of([k, n, groups]) == Some(b.len()), "right operand of a product {dims:?}");
    // A shared right operand makes it one product of all rows.
    let (groups, m) = if shared { (1, groups * m) } else { (groups, m) };
    let offsets: Vec<usize> = (0..k).map(|p| p * n).collect();
    let (parts, whole) = (threads::parts(a.len().saturating_mul(n)), groups == 1);
    let product = |(g, out): (usize, &mut [R::Word])| {
        let left = Left::new(&a[g * m * k..(g + 1) * m * k], k);
        let right = Right::new(&b[g * k * n..(g + 1) * k * n], &offsets, Grid::row(n), n);
        let out = Sums { words: out, row: n, columns: Grid::row(n) };
        product::<R>(isa, if whole { parts } else { 1 }, m, left, right, out);
    };
    let outs = out.chunks_exact_mut((m * n).max(1)).enumerate();
    if whole || parts == 1 {
        return outs.for_each(product);
    }
    threads::each(chunked(outs, groups.div_ceil(parts)), |outs| outs.into_iter().for_each(product));
}

/// The items in vectors of `size`, the last one shorter if need be.
fn chunked<T>(items: impl Iterator<Item = T>, size: usize) -> impl Iterator<Item = Vec<T>> {
    let mut items = items;
    std::iter::from_fn(move || Some(items.by_ref().take(size).collect::<Vec<T>>()).filter(|part| !part.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operand::refusal;
    use crate::word::{Z32, Z48, Z64, mask};
    use proptest::prelude::*;
    use subrosa_core::Seed;

    fn naive<W: Word>(dims: MatDims, a: &[W], b: &[W], out: &mut [W]) {
        let MatDims { groups, m, k, n } = dims;
        for g in 0..groups {
            let b = if b.len() == k * n { b } else { &b[g * k * n..] };
            for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
                for p in 0..k {
                    let term = a[(g * m + i) * k + p].mul(b[p * n + j]);
                    out[(g * m + i) * n + j] = out[(g * m + i) * n + j].add(term);
                }
            }
        }
    }

    fn low<R: Ring>(words: &[R::Word]) -> Vec<u64> {
        words.iter().map(|w| w.to_u64() & mask(R::WIDTH.bits())).collect()
    }

    fn check<R: Ring>(dims: MatDims, shared: bool, seed: u8) {
        let mut prg = Seed::from_bytes([seed; 32]).stream("matmul");
        let mut words = |n: usize| prg.u64s(n).into_iter().map(R::Word::from_u64).collect::<Vec<_>>();
        let a = words(dims.groups * dims.m * dims.k);
        let b = words(if shared { 1 } else { dims.groups } * dims.k * dims.n);
        let start = words(dims.groups * dims.m * dims.n);
        let mut expected = start.clone();
        naive(dims, &a, &b, &mut expected);
        for isa in crate::isa::tested() {
            let mut out = start.clone();
            matmul_acc_on::<R>(isa, dims, &a, &b, &mut out);
            assert!(low::<R>(&out) == low::<R>(&expected), "{isa} differs at {dims:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn equals_the_naive_product(groups in 1usize..4, m in 0usize..20, k in 0usize..40, n in 0usize..70, shared: bool, seed: u8) {
            let dims = MatDims { groups, m, k, n };
            check::<Z32>(dims, shared, seed);
            check::<Z48>(dims, shared, seed);
            check::<Z64>(dims, shared, seed);
        }
    }

    #[test]
    fn blocks_meet_without_gaps() {
        for (m, k, n) in [(65, 257, 257), (130, 300, 513), (3, 513, 1030), (1, 5, 600), (64, 256, 256), (9, 1, 1)] {
            check::<Z32>(MatDims { groups: 1, m, k, n }, false, 1);
            check::<Z48>(MatDims { groups: 1, m, k, n }, false, 3);
            check::<Z64>(MatDims { groups: 1, m, k, n }, false, 2);
        }
    }

    #[test]
    fn sizes_whose_products_wrap_are_refused() {
        let refused = |m, k, n| {
            let dims = MatDims { groups: 2, m, k, n };
            refusal(|| matmul_acc(dims, &[0u32; 2], &[0u32; 2], &mut [0; 2]))
        };
        assert_eq!(refused(1, 1, 1), None);
        // Twice as many are two.
        let many = (1 << 63) + 1;
        for reason in [refused(many, 1, 1), refused(1, many, 1), refused(1, 1, many)] {
            assert!(reason.as_ref().is_some_and(|reason| reason.contains("operands of a product")), "{reason:?}");
        }
    }

    #[test]
    fn the_public_forms_agree() {
        let dims = MatDims { groups: 2, m: 2, k: 2, n: 1 };
        let (a, b) = ([1u32, 2, 3, 4, 5, 6, 7, 8], [1, u32::MAX, 1, 1]);
        assert_eq!(matmul(dims, &a, &b), [u32::MAX, u32::MAX, 11, 15]);
        let mut out = vec![1; 4];
        matmul_acc(dims, &a, &b[..2], &mut out);
        assert_eq!(out, [0, 0, 0, 0]);
    }
}
