//! Transposed bits through products of 8 by 8 bit matrices.

use std::arch::x86_64::{
    __m512i, _mm512_gf2p8affine_epi64_epi8, _mm512_loadu_si512, _mm512_permutexvar_epi8, _mm512_set1_epi64,
    _mm512_storeu_si512,
};

/// What makes these functions callable.
pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vbmi")
        && is_x86_feature_detected!("gfni")
}

/// Matrix `i` of the eight in a vector is a 64-bit lane. `to[8 i + j]` is where byte `j` of
/// matrix `i` comes from.
const fn indices(rows: bool) -> [u8; 64] {
    let mut to = [0; 64];
    let mut at = 0;
    while at < 64 {
        let (i, j) = (at / 8, at % 8);
        // The instruction takes the last byte of a matrix as its first row.
        to[at] = if rows { (8 * (7 - j) + i) as u8 } else { (8 * i + 7 - j) as u8 };
        at += 1;
    }
    to
}

/// Byte `j` of each lane of the result goes to lane `j`.
const fn spread() -> [u8; 64] {
    let mut to = [0; 64];
    let mut at = 0;
    while at < 64 {
        to[at] = (8 * (at % 8) + at / 8) as u8;
        at += 1;
    }
    to
}

/// See [`super::bytes_to_planes`].
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,gfni")]
pub(super) fn bytes_to_planes(blocks: &mut [[u8; 64]]) {
    const REVERSED: [u8; 64] = indices(false);
    const SPREAD: [u8; 64] = spread();
    let (reversed, spread) = (load(&REVERSED), load(&SPREAD));
    for block in blocks {
        let matrices = _mm512_permutexvar_epi8(reversed, load(block));
        store(block, _mm512_permutexvar_epi8(spread, transposed(matrices)));
    }
}

/// See [`super::planes_to_bytes`].
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,gfni")]
pub(super) fn planes_to_bytes(blocks: &mut [[u8; 64]]) {
    const ROWS: [u8; 64] = indices(true);
    let rows = load(&ROWS);
    for block in blocks {
        let matrices = _mm512_permutexvar_epi8(rows, load(block));
        store(block, transposed(matrices));
    }
}

/// The transposed of every lane's matrix: its product with the unit vectors, bytes of one
/// bit each.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,gfni")]
#[inline]
fn transposed(matrices: __m512i) -> __m512i {
    let unit = _mm512_set1_epi64(0x8040_2010_0804_0201_u64.cast_signed());
    _mm512_gf2p8affine_epi64_epi8::<0>(unit, matrices)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn load(bytes: &[u8; 64]) -> __m512i {
    // SAFETY: one vector long, and the load needs no alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn store(bytes: &mut [u8; 64], vector: __m512i) {
    // SAFETY: one vector long, and the store needs no alignment.
    unsafe { _mm512_storeu_si512(bytes.as_mut_ptr().cast(), vector) }
}
