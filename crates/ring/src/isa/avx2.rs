//! Tiles of 256-bit vectors, as many rows as 16 registers hold sums for.

use super::{Family, Kernel, Loop, Operands};
use std::arch::x86_64::{
    __m256i, _mm256_add_epi32, _mm256_add_epi64, _mm256_cmpgt_epi32, _mm256_cmpgt_epi64, _mm256_loadu_si256,
    _mm256_maskload_epi32, _mm256_maskload_epi64, _mm256_maskstore_epi32, _mm256_maskstore_epi64, _mm256_mul_epu32,
    _mm256_mullo_epi32, _mm256_set_epi64x, _mm256_set1_epi32, _mm256_set1_epi64x, _mm256_setr_epi32,
    _mm256_setzero_si256, _mm256_shuffle_epi32, _mm256_slli_epi64, _mm256_srli_epi64,
};

/// 12 sums, 2 vectors of `b`, one element of `a` and one product.
pub(super) fn u32() -> Kernel<u32> {
    Kernel {
        lanes: 8,
        families: &[
            Family {
                vectors: 1,
                tiles: &[
                    tile_u32::<1, 1>,
                    tile_u32::<2, 1>,
                    tile_u32::<3, 1>,
                    tile_u32::<4, 1>,
                    tile_u32::<5, 1>,
                    tile_u32::<6, 1>,
                ],
            },
            Family {
                vectors: 2,
                tiles: &[
                    tile_u32::<1, 2>,
                    tile_u32::<2, 2>,
                    tile_u32::<3, 2>,
                    tile_u32::<4, 2>,
                    tile_u32::<5, 2>,
                    tile_u32::<6, 2>,
                ],
            },
            Family { vectors: 4, tiles: &[tile_u32::<1, 4>, tile_u32::<2, 4>] },
        ],
    }
}

/// Two sums an element (see [`tile_u64`]): 8, 2 vectors of `b`, and what their products
/// take; a third row would not fit.
pub(super) fn u64() -> Kernel<u64> {
    Kernel {
        lanes: 4,
        families: &[
            Family { vectors: 1, tiles: &[tile_u64::<1, 1>, tile_u64::<2, 1>, tile_u64::<3, 1>, tile_u64::<4, 1>] },
            Family { vectors: 2, tiles: &[tile_u64::<1, 2>, tile_u64::<2, 2>] },
            Family { vectors: 4, tiles: &[tile_u64::<1, 4>] },
        ],
    }
}

/// # Safety
/// As [`super::TileFn`] demands.
#[target_feature(enable = "avx2")]
unsafe fn tile_u32<const R: usize, const V: usize>(t: &Operands<'_, u32>, out: *mut u32) {
    // Masks take registers; only what is not full pays for them.
    if t.cols == V * 8 {
        // SAFETY: the caller's promise, passed on, and the columns were counted.
        unsafe { columns_u32::<R, V, true>(t, out) }
    } else {
        // SAFETY: the caller's promise, passed on.
        unsafe { columns_u32::<R, V, false>(t, out) }
    }
}

/// # Safety
/// As [`super::TileFn`] demands, and `FULL` only if there are `8 V` columns.
#[target_feature(enable = "avx2")]
unsafe fn columns_u32<const R: usize, const V: usize, const FULL: bool>(t: &Operands<'_, u32>, out: *mut u32) {
    let mut masks = [_mm256_setzero_si256(); V];
    for (v, mask) in masks.iter_mut().enumerate() {
        *mask = mask_32(t.cols.saturating_sub(v * 8));
    }
    let mut sums = [[_mm256_setzero_si256(); V]; R];
    let (mut a, b) = (t.a.as_ptr(), t.b.as_ptr());
    for &offset in t.offsets.table {
        let mut rows = [_mm256_setzero_si256(); V];
        for v in 0..V {
            // SAFETY: the caller vouches for `cols` words at every offset.
            rows[v] = unsafe { load_32::<FULL>(b.wrapping_add(offset + v * 8), masks[v]) };
        }
        for (i, sums) in sums.iter_mut().enumerate() {
            // SAFETY: the caller vouches for an element of `a` in every row and step.
            let x = _mm256_set1_epi32(unsafe { *a.add(i * t.a_row) }.cast_signed());
            for (sum, &row) in sums.iter_mut().zip(&rows) {
                *sum = _mm256_add_epi32(*sum, _mm256_mullo_epi32(x, row));
            }
        }
        a = a.wrapping_add(t.a_step);
    }
    for (i, sums) in sums.iter().enumerate() {
        for (v, &sum) in sums.iter().enumerate() {
            let at = out.wrapping_add(i * t.out_row + v * 8);
            // SAFETY: the caller vouches for `cols` words in every row of `out`; what the
            // mask leaves out is neither read nor written.
            unsafe {
                let sum = _mm256_add_epi32(load_32::<FULL>(at, masks[v]), sum);
                _mm256_maskstore_epi32(at.cast(), masks[v], sum);
            }
        }
    }
}

/// # Safety
/// A vector's words at `from`, or as many as `mask` has lanes if not `FULL`.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn load_32<const FULL: bool>(from: *const u32, mask: __m256i) -> __m256i {
    // SAFETY: the caller's promise; neither load needs alignment.
    unsafe { if FULL { _mm256_loadu_si256(from.cast()) } else { _mm256_maskload_epi32(from.cast(), mask) } }
}

/// The lowest `n` of 8 lanes.
#[target_feature(enable = "avx2")]
#[inline]
fn mask_32(n: usize) -> __m256i {
    _mm256_cmpgt_epi32(_mm256_set1_epi32(n.min(8) as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))
}

/// There is no 64-bit product, so with `x = x1 2^32 + x0` and likewise `y`, two sums are
/// kept: `low` of `x0 y0` in 64 bits, and `cross` of `x1 y0` and `x0 y1`, each modulo
/// 2^32 in one half of its lane. `x y = low + 2^32 (cross_low + cross_high)`.
///
/// # Safety
/// As [`super::TileFn`] demands.
#[target_feature(enable = "avx2")]
unsafe fn tile_u64<const R: usize, const V: usize>(t: &Operands<'_, u64>, out: *mut u64) {
    if t.cols == V * 4 {
        // SAFETY: the caller's promise, passed on, and the columns were counted.
        unsafe { columns_u64::<R, V, true>(t, out) }
    } else {
        // SAFETY: the caller's promise, passed on.
        unsafe { columns_u64::<R, V, false>(t, out) }
    }
}

/// # Safety
/// As [`super::TileFn`] demands, and `FULL` only if there are `4 V` columns.
#[target_feature(enable = "avx2")]
unsafe fn columns_u64<const R: usize, const V: usize, const FULL: bool>(t: &Operands<'_, u64>, out: *mut u64) {
    let mut masks = [_mm256_setzero_si256(); V];
    for (v, mask) in masks.iter_mut().enumerate() {
        *mask = mask_64(t.cols.saturating_sub(v * 4));
    }
    let mut low = [[_mm256_setzero_si256(); V]; R];
    let mut cross = [[_mm256_setzero_si256(); V]; R];
    let (mut a, b) = (t.a.as_ptr(), t.b.as_ptr());
    for &offset in t.offsets.table {
        let mut rows = [_mm256_setzero_si256(); V];
        for v in 0..V {
            // SAFETY: the caller vouches for `cols` words at every offset.
            rows[v] = unsafe { load_64::<FULL>(b.wrapping_add(offset + v * 4), masks[v]) };
        }
        for i in 0..R {
            // SAFETY: the caller vouches for an element of `a` in every row and step.
            let x = _mm256_set1_epi64x(unsafe { *a.add(i * t.a_row) }.cast_signed());
            let swapped = _mm256_shuffle_epi32::<0b10_11_00_01>(x);
            for v in 0..V {
                cross[i][v] = _mm256_add_epi32(cross[i][v], _mm256_mullo_epi32(swapped, rows[v]));
                low[i][v] = _mm256_add_epi64(low[i][v], _mm256_mul_epu32(x, rows[v]));
            }
        }
        a = a.wrapping_add(t.a_step);
    }
    for i in 0..R {
        for v in 0..V {
            let at = out.wrapping_add(i * t.out_row + v * 4);
            let halves = _mm256_add_epi64(cross[i][v], _mm256_srli_epi64::<32>(cross[i][v]));
            let sum = _mm256_add_epi64(low[i][v], _mm256_slli_epi64::<32>(halves));
            // SAFETY: the caller vouches for `cols` words in every row of `out`; what the
            // mask leaves out is neither read nor written.
            unsafe {
                let sum = _mm256_add_epi64(load_64::<FULL>(at, masks[v]), sum);
                _mm256_maskstore_epi64(at.cast(), masks[v], sum);
            }
        }
    }
}

/// # Safety
/// A vector's words at `from`, or as many as `mask` has lanes if not `FULL`.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn load_64<const FULL: bool>(from: *const u64, mask: __m256i) -> __m256i {
    // SAFETY: the caller's promise; neither load needs alignment.
    unsafe { if FULL { _mm256_loadu_si256(from.cast()) } else { _mm256_maskload_epi64(from.cast(), mask) } }
}

/// The lowest `n` of 4 lanes.
#[target_feature(enable = "avx2")]
#[inline]
fn mask_64(n: usize) -> __m256i {
    _mm256_cmpgt_epi64(_mm256_set1_epi64x(n.min(4) as i64), _mm256_set_epi64x(3, 2, 1, 0))
}

#[target_feature(enable = "avx2")]
pub(super) fn run<L: Loop>(body: L) -> L::Out {
    body.run()
}
