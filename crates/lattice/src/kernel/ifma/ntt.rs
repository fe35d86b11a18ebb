//! The transform: two stages a pass, the last three in registers.

use super::{Prime, Wide, load, store, wide};
use crate::ntt::{LANES, NttTable, TAIL, Twiddles};
use std::arch::x86_64::*;

impl Prime {
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn butterfly(self, a: &mut __m512i, b: &mut __m512i, w: Wide) {
        let u = self.below_2p(*a);
        let v = self.mul(*b, w);
        *a = _mm512_add_epi64(u, v);
        *b = _mm512_sub_epi64(_mm512_add_epi64(u, self.p2), v);
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn inverse_butterfly(self, a: &mut __m512i, b: &mut __m512i, w: Wide) {
        let (u, v) = (*a, *b);
        *a = self.below_2p(_mm512_add_epi64(u, v));
        *b = self.mul(_mm512_sub_epi64(_mm512_add_epi64(u, self.p2), v), w);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn twiddle(t: &Twiddles, i: usize) -> Wide {
    wide(t.factor(i))
}

/// # Safety
/// The table has that square of 64 evaluations.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
unsafe fn tail(t: &Twiddles, square: usize) -> [Wide; TAIL] {
    std::array::from_fn(|k| {
        let at = (square * TAIL + k) * LANES;
        // SAFETY: a table has `TAIL` vectors a square.
        unsafe { Wide { value: load(&t.tail_values, at), quotient: load(&t.tail_quotients, at) } }
    })
}

/// Transposes an 8 by 8 matrix of words.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn transpose(r: [__m512i; 8]) -> [__m512i; 8] {
    let lo = |a, b| _mm512_unpacklo_epi64(a, b);
    let hi = |a, b| _mm512_unpackhi_epi64(a, b);
    let t = [
        lo(r[0], r[1]),
        hi(r[0], r[1]),
        lo(r[2], r[3]),
        hi(r[2], r[3]),
        lo(r[4], r[5]),
        hi(r[4], r[5]),
        lo(r[6], r[7]),
        hi(r[6], r[7]),
    ];
    // Quarters 0, 2 and 1, 3 of two vectors.
    let even = |a, b| _mm512_shuffle_i64x2::<0x88>(a, b);
    let odd = |a, b| _mm512_shuffle_i64x2::<0xdd>(a, b);
    let (a, b) = ([even(t[0], t[2]), even(t[4], t[6])], [odd(t[0], t[2]), odd(t[4], t[6])]);
    let (c, d) = ([even(t[1], t[3]), even(t[5], t[7])], [odd(t[1], t[3]), odd(t[5], t[7])]);
    [pick_even(a), pick_even(c), pick_even(b), pick_even(d), pick_odd(a), pick_odd(c), pick_odd(b), pick_odd(d)]
}

/// From `a = [x0 x2 y0 y2]` and `b = [z0 z2 w0 w2]` (quarters): `[x0 y0 z0 w0]`.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn pick_even([a, b]: [__m512i; 2]) -> __m512i {
    _mm512_shuffle_i64x2::<0x88>(a, b)
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn pick_odd([a, b]: [__m512i; 2]) -> __m512i {
    _mm512_shuffle_i64x2::<0xdd>(a, b)
}

/// # Safety
/// `x` has the table's length.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(crate) unsafe fn ntt_forward(table: &NttTable, x: &mut [u64]) {
    let prime = Prime::new(table.modulus());
    let (mut blocks, mut stride) = (1, table.len() / 2);
    if table.len().trailing_zeros().is_multiple_of(2) {
        // An odd number of stages before the last three: one alone.
        // SAFETY: both halves of `x` are one block, of whole vectors: 64 words at least.
        unsafe { forward_stage(prime, &table.forward, x, blocks, stride) }
        (blocks, stride) = (blocks * 2, stride / 2);
    }
    while stride > LANES {
        for i in 0..blocks {
            // SAFETY: `blocks` blocks of `2 stride` words are `x`; the half of a stride beyond
            // `LANES` has whole vectors.
            unsafe { forward_pair(prime, &table.forward, x, blocks, i, stride / 2) }
        }
        (blocks, stride) = (blocks * 4, stride / 4);
    }
    for square in 0..table.len() / 64 {
        // SAFETY: `x` has the table's length.
        unsafe { forward_tail(prime, &table.forward, x, square) }
    }
}

/// # Safety
/// `x` has `blocks` blocks of twice `stride` words, which are whole vectors.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
unsafe fn forward_stage(prime: Prime, t: &Twiddles, x: &mut [u64], blocks: usize, stride: usize) {
    for i in 0..blocks {
        let w = twiddle(t, blocks + i);
        for at in (2 * i * stride..(2 * i + 1) * stride).step_by(LANES) {
            // SAFETY: vectors of the two halves of block `i`.
            unsafe {
                let (mut a, mut b) = (load(x, at), load(x, at + stride));
                prime.butterfly(&mut a, &mut b, w);
                store(x, at, a);
                store(x, at + stride, b);
            }
        }
    }
}

/// Two stages at once on block `i`: four values `quarter` apart.
///
/// # Safety
/// `x` has that block of four times `quarter` words, which are whole vectors.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
unsafe fn forward_pair(prime: Prime, t: &Twiddles, x: &mut [u64], blocks: usize, i: usize, quarter: usize) {
    let (w, w0, w1) = (twiddle(t, blocks + i), twiddle(t, 2 * (blocks + i)), twiddle(t, 2 * (blocks + i) + 1));
    let start = 4 * i * quarter;
    for at in (start..start + quarter).step_by(LANES) {
        // SAFETY: vectors of the four quarters of block `i`.
        let mut v: [__m512i; 4] = std::array::from_fn(|k| unsafe { load(x, at + k * quarter) });
        let [a, b, c, d] = &mut v;
        prime.butterfly(a, c, w);
        prime.butterfly(b, d, w);
        prime.butterfly(a, b, w0);
        prime.butterfly(c, d, w1);
        for (k, v) in v.into_iter().enumerate() {
            // SAFETY: as above.
            unsafe { store(x, at + k * quarter, v) }
        }
    }
}

/// # Safety
/// `x` and the table have that square of 64 words.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
unsafe fn forward_tail(prime: Prime, t: &Twiddles, x: &mut [u64], square: usize) {
    // SAFETY: the caller's promise.
    let w = unsafe { tail(t, square) };
    let at = square * 64;
    // SAFETY: the eight vectors of the square.
    let mut v = transpose(std::array::from_fn(|k| unsafe { load(x, at + k * LANES) }));
    let [a, b, c, d, e, f, g, h] = &mut v;
    for (lo, hi, w) in [(&mut *a, &mut *e, w[0]), (b, f, w[0]), (c, g, w[0]), (d, h, w[0])] {
        prime.butterfly(lo, hi, w);
    }
    let [a, b, c, d, e, f, g, h] = &mut v;
    for (lo, hi, w) in [(&mut *a, &mut *c, w[1]), (b, d, w[1]), (e, g, w[2]), (f, h, w[2])] {
        prime.butterfly(lo, hi, w);
    }
    let [a, b, c, d, e, f, g, h] = &mut v;
    for (lo, hi, w) in [(&mut *a, &mut *b, w[3]), (c, d, w[4]), (e, f, w[5]), (g, h, w[6])] {
        prime.butterfly(lo, hi, w);
    }
    for (k, v) in v.into_iter().enumerate() {
        // SAFETY: as above.
        unsafe { store(x, at + k * LANES, prime.below_p(prime.below_2p(v))) }
    }
}

/// # Safety
/// `x` has the table's length.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(crate) unsafe fn ntt_inverse(table: &NttTable, x: &mut [u64]) {
    let prime = Prime::new(table.modulus());
    for square in 0..table.len() / 64 {
        // SAFETY: `x` has the table's length.
        unsafe { inverse_tail(prime, &table.inverse, x, square) }
    }
    let (mut blocks, mut stride) = (table.len() / 16, LANES);
    // Stages left, without the last one.
    if blocks.trailing_zeros() % 2 == 1 {
        // SAFETY: `blocks` blocks of twice `LANES` words are `x`.
        unsafe { inverse_stage(prime, &table.inverse, x, blocks, stride) }
        (blocks, stride) = (blocks / 2, stride * 2);
    }
    while blocks > 1 {
        for i in 0..blocks / 2 {
            // SAFETY: `blocks` blocks of `2 stride` words are `x`, so half as many of twice the
            // size; a stride is a multiple of `LANES`.
            unsafe { inverse_pair(prime, &table.inverse, x, blocks, i, stride) }
        }
        (blocks, stride) = (blocks / 4, stride * 4);
    }
    // SAFETY: `x` has the table's length.
    unsafe { inverse_last(prime, table, x) }
}

/// # Safety
/// As [`forward_tail`] demands.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
unsafe fn inverse_tail(prime: Prime, t: &Twiddles, x: &mut [u64], square: usize) {
    // SAFETY: the caller's promise.
    let w = unsafe { tail(t, square) };
    let at = square * 64;
    // SAFETY: the eight vectors of the square.
    let mut v: [__m512i; 8] = std::array::from_fn(|k| unsafe { load(x, at + k * LANES) });
    let [a, b, c, d, e, f, g, h] = &mut v;
    for (lo, hi, w) in [(&mut *a, &mut *b, w[3]), (c, d, w[4]), (e, f, w[5]), (g, h, w[6])] {
        prime.inverse_butterfly(lo, hi, w);
    }
    let [a, b, c, d, e, f, g, h] = &mut v;
    for (lo, hi, w) in [(&mut *a, &mut *c, w[1]), (b, d, w[1]), (e, g, w[2]), (f, h, w[2])] {
        prime.inverse_butterfly(lo, hi, w);
    }
    let [a, b, c, d, e, f, g, h] = &mut v;
    for (lo, hi, w) in [(&mut *a, &mut *e, w[0]), (b, f, w[0]), (c, g, w[0]), (d, h, w[0])] {
        prime.inverse_butterfly(lo, hi, w);
    }
    for (k, v) in transpose(v).into_iter().enumerate() {
        // SAFETY: as above.
        unsafe { store(x, at + k * LANES, v) }
    }
}

/// # Safety
/// As [`forward_stage`] demands.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
unsafe fn inverse_stage(prime: Prime, t: &Twiddles, x: &mut [u64], blocks: usize, stride: usize) {
    for i in 0..blocks {
        let w = twiddle(t, blocks + i);
        for at in (2 * i * stride..(2 * i + 1) * stride).step_by(LANES) {
            // SAFETY: vectors of the two halves of block `i`.
            unsafe {
                let (mut a, mut b) = (load(x, at), load(x, at + stride));
                prime.inverse_butterfly(&mut a, &mut b, w);
                store(x, at, a);
                store(x, at + stride, b);
            }
        }
    }
}

/// The stages of `blocks` and of half as many blocks at once.
///
/// # Safety
/// `x` has block `i` of four times `stride` words, which are whole vectors.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
unsafe fn inverse_pair(prime: Prime, t: &Twiddles, x: &mut [u64], blocks: usize, i: usize, stride: usize) {
    let (w0, w1, w) = (twiddle(t, blocks + 2 * i), twiddle(t, blocks + 2 * i + 1), twiddle(t, blocks / 2 + i));
    let start = 4 * i * stride;
    for at in (start..start + stride).step_by(LANES) {
        // SAFETY: vectors of the four quarters of block `i`.
        let mut v: [__m512i; 4] = std::array::from_fn(|k| unsafe { load(x, at + k * stride) });
        let [a, b, c, d] = &mut v;
        prime.inverse_butterfly(a, b, w0);
        prime.inverse_butterfly(c, d, w1);
        prime.inverse_butterfly(a, c, w);
        prime.inverse_butterfly(b, d, w);
        for (k, v) in v.into_iter().enumerate() {
            // SAFETY: as above.
            unsafe { store(x, at + k * stride, v) }
        }
    }
}

/// # Safety
/// As [`ntt_inverse`] demands.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
unsafe fn inverse_last(prime: Prime, table: &NttTable, x: &mut [u64]) {
    let (n_inverse, last) = (wide(table.n_inverse), wide(table.last));
    let half = table.len() / 2;
    for at in (0..half).step_by(LANES) {
        // SAFETY: vectors of both halves of `x`.
        unsafe {
            let (u, v) = (load(x, at), load(x, at + half));
            let low = prime.mul(_mm512_add_epi64(u, v), n_inverse);
            let high = prime.mul(_mm512_sub_epi64(_mm512_add_epi64(u, prime.p2), v), last);
            store(x, at, prime.below_p(low));
            store(x, at + half, prime.below_p(high));
        }
    }
}
