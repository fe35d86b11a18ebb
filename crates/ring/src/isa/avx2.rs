//! Tiles of two 256-bit vectors, as many rows as 16 registers hold sums for.

use super::{Kernel, Loop, steps};
use crate::word::Word;
use std::arch::x86_64::{
    __m256i, _mm256_add_epi32, _mm256_add_epi64, _mm256_loadu_si256, _mm256_mul_epu32, _mm256_mullo_epi32,
    _mm256_set1_epi32, _mm256_set1_epi64x, _mm256_setzero_si256, _mm256_shuffle_epi32, _mm256_slli_epi64,
    _mm256_srli_epi64, _mm256_storeu_si256,
};

/// 12 sums, 2 vectors of `b`, one element of `a` and one product.
const ROWS_32: usize = 6;
const LANES_32: usize = 8;

pub(super) fn u32() -> Kernel<u32> {
    Kernel { rows: ROWS_32, cols: 2 * LANES_32, tile: tile_u32 }
}

#[target_feature(enable = "avx2")]
fn tile_u32(a: &[&[u32]], b: &[u32], out: &mut [u32]) {
    let a: [&[u32]; ROWS_32] = steps::<_, ROWS_32, { 2 * LANES_32 }>(a, b);
    let mut acc = [[_mm256_setzero_si256(); 2]; ROWS_32];
    for (p, b) in b.as_chunks::<{ 2 * LANES_32 }>().0.iter().enumerate() {
        let b = [load(&b[..LANES_32]), load(&b[LANES_32..])];
        for (sum, line) in acc.iter_mut().zip(a) {
            let x = _mm256_set1_epi32(line[p].cast_signed());
            sum[0] = _mm256_add_epi32(sum[0], _mm256_mullo_epi32(x, b[0]));
            sum[1] = _mm256_add_epi32(sum[1], _mm256_mullo_epi32(x, b[1]));
        }
    }
    for (out, &sum) in out.as_chunks_mut::<LANES_32>().0.iter_mut().zip(acc.as_flattened()) {
        store(out, sum);
    }
}

/// Two sums an element (see [`tile_u64`]): 8, 2 vectors of `b`, and what their products
/// take; a third row would not fit.
const ROWS_64: usize = 2;
const LANES_64: usize = 4;

pub(super) fn u64() -> Kernel<u64> {
    Kernel { rows: ROWS_64, cols: 2 * LANES_64, tile: tile_u64 }
}

/// There is no 64-bit product, so with `x = x1 2^32 + x0` and likewise `y`, two sums are
/// kept: `low` of `x0 y0` in 64 bits, and `cross` of `x1 y0` and `x0 y1`, each modulo
/// 2^32 in one half of its lane. `x y = low + 2^32 (cross_low + cross_high)`.
#[target_feature(enable = "avx2")]
fn tile_u64(a: &[&[u64]], b: &[u64], out: &mut [u64]) {
    let a: [&[u64]; ROWS_64] = steps::<_, ROWS_64, { 2 * LANES_64 }>(a, b);
    let mut low = [[_mm256_setzero_si256(); 2]; ROWS_64];
    let mut cross = [[_mm256_setzero_si256(); 2]; ROWS_64];
    for (p, b) in b.as_chunks::<{ 2 * LANES_64 }>().0.iter().enumerate() {
        let b = [load(&b[..LANES_64]), load(&b[LANES_64..])];
        for ((low, cross), line) in low.iter_mut().zip(&mut cross).zip(a) {
            let x = _mm256_set1_epi64x(line[p].cast_signed());
            let swapped = _mm256_shuffle_epi32::<0b10_11_00_01>(x);
            for j in 0..2 {
                cross[j] = _mm256_add_epi32(cross[j], _mm256_mullo_epi32(swapped, b[j]));
                low[j] = _mm256_add_epi64(low[j], _mm256_mul_epu32(x, b[j]));
            }
        }
    }
    let sums = low.as_flattened().iter().zip(cross.as_flattened());
    for (out, (&low, &cross)) in out.as_chunks_mut::<LANES_64>().0.iter_mut().zip(sums) {
        let cross = _mm256_add_epi64(cross, _mm256_srli_epi64::<32>(cross));
        store(out, _mm256_add_epi64(low, _mm256_slli_epi64::<32>(cross)));
    }
}

#[target_feature(enable = "avx2")]
#[inline]
fn load<W: Word>(words: &[W]) -> __m256i {
    assert!(size_of_val(words) == size_of::<__m256i>());
    // SAFETY: just checked to be one vector long, and the load needs no alignment.
    unsafe { _mm256_loadu_si256(words.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
#[inline]
fn store<W: Word>(words: &mut [W], vector: __m256i) {
    assert!(size_of_val(words) == size_of::<__m256i>());
    // SAFETY: just checked to be one vector long, and the store needs no alignment.
    unsafe { _mm256_storeu_si256(words.as_mut_ptr().cast(), vector) }
}

#[target_feature(enable = "avx2")]
pub(super) fn run<L: Loop>(body: L) -> L::Out {
    body.run()
}
