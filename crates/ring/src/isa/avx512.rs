//! Tiles of 512-bit vectors: up to 24 sums, 2 vectors of `b` and one broadcast element of
//! `a` leave room to spare in 32 registers. What a tile lacks in columns is masked out.

use super::{Family, Kernel, Loop, Operands};
use std::arch::x86_64::{
    __m512i, __mmask8, __mmask16, _mm512_add_epi32, _mm512_add_epi64, _mm512_loadu_si512, _mm512_madd52lo_epu64,
    _mm512_mask_storeu_epi32, _mm512_mask_storeu_epi64, _mm512_maskz_loadu_epi32, _mm512_maskz_loadu_epi64,
    _mm512_mullo_epi32, _mm512_mullo_epi64, _mm512_set1_epi32, _mm512_set1_epi64, _mm512_setzero_si512,
    _mm512_storeu_si512,
};

macro_rules! tiles {
    ($name:ident, $word:ident, $features:literal, $lanes:literal, $mask:ident, $load:ident, $splat:ident, $store:ident,
     $add:ident, |$sum:ident, $x:ident, $y:ident| $step:expr) => {
        pub(super) fn $name() -> Kernel<$word> {
            use $name::tile;
            Kernel {
                lanes: $lanes,
                families: &[
                    Family {
                        vectors: 1,
                        tiles: &[
                            tile::<1, 1>,
                            tile::<2, 1>,
                            tile::<3, 1>,
                            tile::<4, 1>,
                            tile::<5, 1>,
                            tile::<6, 1>,
                            tile::<7, 1>,
                            tile::<8, 1>,
                            tile::<9, 1>,
                            tile::<10, 1>,
                            tile::<11, 1>,
                            tile::<12, 1>,
                        ],
                    },
                    Family {
                        vectors: 2,
                        tiles: &[
                            tile::<1, 2>,
                            tile::<2, 2>,
                            tile::<3, 2>,
                            tile::<4, 2>,
                            tile::<5, 2>,
                            tile::<6, 2>,
                            tile::<7, 2>,
                            tile::<8, 2>,
                            tile::<9, 2>,
                            tile::<10, 2>,
                            tile::<11, 2>,
                            tile::<12, 2>,
                        ],
                    },
                    Family {
                        vectors: 4,
                        tiles: &[tile::<1, 4>, tile::<2, 4>, tile::<3, 4>, tile::<4, 4>, tile::<5, 4>],
                    },
                    Family { vectors: 8, tiles: &[tile::<1, 8>, tile::<2, 8>] },
                ],
            }
        }

        mod $name {
            use super::*;

            /// # Safety
            /// As [`super::super::TileFn`] demands.
            #[target_feature(enable = $features)]
            pub(super) unsafe fn tile<const R: usize, const V: usize>(t: &Operands<'_, $word>, out: *mut $word) {
                // Some processors take several cycles for a masked read.
                if t.cols == V * $lanes {
                    // SAFETY: the caller's promise, passed on, and the columns were counted.
                    unsafe { columns::<R, V, true>(t, out) }
                } else {
                    // SAFETY: the caller's promise, passed on.
                    unsafe { columns::<R, V, false>(t, out) }
                }
            }

            /// # Safety
            /// A vector's words at `from`, or as many as `mask` has bits if not `FULL`.
            #[target_feature(enable = $features)]
            #[inline]
            unsafe fn load<const FULL: bool>(mask: $mask, from: *const $word) -> __m512i {
                // SAFETY: the caller's promise; neither read needs alignment.
                unsafe { if FULL { _mm512_loadu_si512(from.cast()) } else { $load(mask, from.cast()) } }
            }

            /// # Safety
            /// As [`super::super::TileFn`] demands, and `FULL` only for all `V` vectors'
            /// columns.
            #[target_feature(enable = $features)]
            unsafe fn columns<const R: usize, const V: usize, const FULL: bool>(
                t: &Operands<'_, $word>,
                out: *mut $word,
            ) {
                let mut masks = [0; V];
                for (v, mask) in masks.iter_mut().enumerate() {
                    *mask = lanes_mask(t.cols.saturating_sub(v * $lanes), $lanes) as $mask;
                }
                let mut sums = [[_mm512_setzero_si512(); V]; R];
                let (mut a, b) = (t.a.as_ptr(), t.b.as_ptr());
                for &offset in t.offsets.table {
                    let mut rows = [_mm512_setzero_si512(); V];
                    for v in 0..V {
                        // SAFETY: the caller vouches for `cols` words at every offset, and
                        // masked lanes are not read.
                        rows[v] = unsafe { load::<FULL>(masks[v], b.wrapping_add(offset + v * $lanes)) };
                    }
                    for i in 0..R {
                        // SAFETY: the caller vouches for an element of `a` in every row
                        // and step.
                        let $x = $splat(unsafe { *a.add(i * t.a_row) }.cast_signed());
                        for v in 0..V {
                            let ($sum, $y) = (sums[i][v], rows[v]);
                            sums[i][v] = $step;
                        }
                    }
                    a = a.wrapping_add(t.a_step);
                }
                for (i, sums) in sums.iter().enumerate() {
                    for (v, &sum) in sums.iter().enumerate() {
                        let at: *mut $word = out.wrapping_add(i * t.out_row + v * $lanes);
                        // SAFETY: the caller vouches for `cols` words in every row of
                        // `out`, and masked lanes are neither read nor written.
                        unsafe {
                            let sum = $add(load::<FULL>(masks[v], at), sum);
                            if FULL { _mm512_storeu_si512(at.cast(), sum) } else { $store(at.cast(), masks[v], sum) }
                        }
                    }
                }
            }
        }
    };
}

tiles!(
    u32,
    u32,
    "avx512f,avx512dq,avx512bw,avx512vl",
    16,
    __mmask16,
    _mm512_maskz_loadu_epi32,
    _mm512_set1_epi32,
    _mm512_mask_storeu_epi32,
    _mm512_add_epi32,
    |sum, x, y| _mm512_add_epi32(sum, _mm512_mullo_epi32(x, y))
);
tiles!(
    u64,
    u64,
    "avx512f,avx512dq,avx512bw,avx512vl",
    8,
    __mmask8,
    _mm512_maskz_loadu_epi64,
    _mm512_set1_epi64,
    _mm512_mask_storeu_epi64,
    _mm512_add_epi64,
    |sum, x, y| _mm512_add_epi64(sum, _mm512_mullo_epi64(x, y))
);
// The product of the low 52 bits of both, its low 52 bits added to a sum of 64 bits: right
// modulo 2^52 however often the sum wraps.
tiles!(
    u52,
    u64,
    "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma",
    8,
    __mmask8,
    _mm512_maskz_loadu_epi64,
    _mm512_set1_epi64,
    _mm512_mask_storeu_epi64,
    _mm512_add_epi64,
    |sum, x, y| _mm512_madd52lo_epu64(sum, x, y)
);

/// The lowest `n` of `lanes` lanes, all if there are fewer.
fn lanes_mask(n: usize, lanes: usize) -> u32 {
    (1 << n.min(lanes)) - 1
}

#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl")]
pub(super) fn run<L: Loop>(body: L) -> L::Out {
    body.run()
}
