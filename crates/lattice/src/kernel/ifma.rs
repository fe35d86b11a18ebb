//! AVX-512 with IFMA: eight products of 52 bits in one instruction.

use super::{MAX_PAIRS, STRETCH};
use crate::modulus::{Factor, Modulus, WORD};
use crate::ntt::{LANES, NttTable, TAIL, Twiddles};
use std::arch::x86_64::*;

/// Prime, its double, and the mask of a 52-bit word, in every lane.
#[derive(Clone, Copy)]
struct Prime {
    p: __m512i,
    /// `2^52 - p`: adding its products subtracts those of `p`, modulo 2^52.
    minus_p: __m512i,
    p2: __m512i,
    mask: __m512i,
}

/// A multiplier in every lane, or one a lane.
#[derive(Clone, Copy)]
struct Wide {
    value: __m512i,
    quotient: __m512i,
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn splat(x: u64) -> __m512i {
    _mm512_set1_epi64(x.cast_signed())
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn wide(w: Factor) -> Wide {
    Wide { value: splat(w.value), quotient: splat(w.quotient) }
}

/// Eight words from `at` on.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn load(x: &[u64], at: usize) -> __m512i {
    debug_assert!(at + LANES <= x.len());
    // SAFETY: every caller steps through whole vectors of a slice whose length it has
    // checked (`ntt`) or takes `at` from a slice of that length.
    unsafe { _mm512_loadu_si512(x.as_ptr().add(at).cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn store(x: &mut [u64], at: usize, v: __m512i) {
    debug_assert!(at + LANES <= x.len());
    // SAFETY: as for `load`.
    unsafe { _mm512_storeu_si512(x.as_mut_ptr().add(at).cast(), v) }
}

impl Prime {
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn new(m: &Modulus) -> Self {
        let p = m.value();
        Self { p: splat(p), minus_p: splat((1 << WORD) - p), p2: splat(2 * p), mask: splat((1 << WORD) - 1) }
    }

    /// `x mod 2p` for `x` below `4p`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn below_2p(self, x: __m512i) -> __m512i {
        _mm512_min_epu64(x, _mm512_sub_epi64(x, self.p2))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn below_p(self, x: __m512i) -> __m512i {
        _mm512_min_epu64(x, _mm512_sub_epi64(x, self.p))
    }

    /// `x w mod p` below `2p`, for `x` below 2^52.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn mul(self, x: __m512i, w: Wide) -> __m512i {
        let zero = _mm512_setzero_si512();
        let q = _mm512_madd52hi_epu64(zero, x, w.quotient);
        let low = _mm512_madd52lo_epu64(zero, x, w.value);
        _mm512_and_si512(_mm512_madd52lo_epu64(low, q, self.minus_p), self.mask)
    }

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

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn tail(t: &Twiddles, square: usize) -> [Wide; TAIL] {
    std::array::from_fn(|k| {
        let at = (square * TAIL + k) * LANES;
        Wide { value: load(&t.tail_values, at), quotient: load(&t.tail_quotients, at) }
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

/// The caller has checked that `x` has the table's length, a multiple of 64.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn ntt_forward(table: &NttTable, x: &mut [u64]) {
    let prime = Prime::new(table.modulus());
    let (mut blocks, mut stride) = (1, table.len() / 2);
    if table.len().trailing_zeros().is_multiple_of(2) {
        // An odd number of stages before the last three: one alone.
        forward_stage(prime, &table.forward, x, blocks, stride);
        (blocks, stride) = (blocks * 2, stride / 2);
    }
    while stride > LANES {
        for i in 0..blocks {
            forward_pair(prime, &table.forward, x, blocks, i, stride / 2);
        }
        (blocks, stride) = (blocks * 4, stride / 4);
    }
    for square in 0..table.len() / 64 {
        forward_tail(prime, &table.forward, x, square);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn forward_stage(prime: Prime, t: &Twiddles, x: &mut [u64], blocks: usize, stride: usize) {
    for i in 0..blocks {
        let w = twiddle(t, blocks + i);
        for at in (2 * i * stride..(2 * i + 1) * stride).step_by(LANES) {
            let (mut a, mut b) = (load(x, at), load(x, at + stride));
            prime.butterfly(&mut a, &mut b, w);
            store(x, at, a);
            store(x, at + stride, b);
        }
    }
}

/// Two stages at once on block `i`: four values `quarter` apart.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn forward_pair(prime: Prime, t: &Twiddles, x: &mut [u64], blocks: usize, i: usize, quarter: usize) {
    let (w, w0, w1) = (twiddle(t, blocks + i), twiddle(t, 2 * (blocks + i)), twiddle(t, 2 * (blocks + i) + 1));
    let start = 4 * i * quarter;
    for at in (start..start + quarter).step_by(LANES) {
        let mut v: [__m512i; 4] = std::array::from_fn(|k| load(x, at + k * quarter));
        let [a, b, c, d] = &mut v;
        prime.butterfly(a, c, w);
        prime.butterfly(b, d, w);
        prime.butterfly(a, b, w0);
        prime.butterfly(c, d, w1);
        for (k, v) in v.into_iter().enumerate() {
            store(x, at + k * quarter, v);
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn forward_tail(prime: Prime, t: &Twiddles, x: &mut [u64], square: usize) {
    let w = tail(t, square);
    let at = square * 64;
    let mut v = transpose(std::array::from_fn(|k| load(x, at + k * LANES)));
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
        store(x, at + k * LANES, prime.below_p(prime.below_2p(v)));
    }
}

/// The caller has checked that `x` has the table's length, a multiple of 64.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn ntt_inverse(table: &NttTable, x: &mut [u64]) {
    let prime = Prime::new(table.modulus());
    for square in 0..table.len() / 64 {
        inverse_tail(prime, &table.inverse, x, square);
    }
    let (mut blocks, mut stride) = (table.len() / 16, LANES);
    // Stages left, without the last one.
    if blocks.trailing_zeros() % 2 == 1 {
        inverse_stage(prime, &table.inverse, x, blocks, stride);
        (blocks, stride) = (blocks / 2, stride * 2);
    }
    while blocks > 1 {
        for i in 0..blocks / 2 {
            inverse_pair(prime, &table.inverse, x, blocks, i, stride);
        }
        (blocks, stride) = (blocks / 4, stride * 4);
    }
    inverse_last(prime, table, x);
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn inverse_tail(prime: Prime, t: &Twiddles, x: &mut [u64], square: usize) {
    let w = tail(t, square);
    let at = square * 64;
    let mut v: [__m512i; 8] = std::array::from_fn(|k| load(x, at + k * LANES));
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
        store(x, at + k * LANES, v);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn inverse_stage(prime: Prime, t: &Twiddles, x: &mut [u64], blocks: usize, stride: usize) {
    for i in 0..blocks {
        let w = twiddle(t, blocks + i);
        for at in (2 * i * stride..(2 * i + 1) * stride).step_by(LANES) {
            let (mut a, mut b) = (load(x, at), load(x, at + stride));
            prime.inverse_butterfly(&mut a, &mut b, w);
            store(x, at, a);
            store(x, at + stride, b);
        }
    }
}

/// The stages of `blocks` and of half as many blocks at once.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn inverse_pair(prime: Prime, t: &Twiddles, x: &mut [u64], blocks: usize, i: usize, stride: usize) {
    let (w0, w1, w) = (twiddle(t, blocks + 2 * i), twiddle(t, blocks + 2 * i + 1), twiddle(t, blocks / 2 + i));
    let start = 4 * i * stride;
    for at in (start..start + stride).step_by(LANES) {
        let mut v: [__m512i; 4] = std::array::from_fn(|k| load(x, at + k * stride));
        let [a, b, c, d] = &mut v;
        prime.inverse_butterfly(a, b, w0);
        prime.inverse_butterfly(c, d, w1);
        prime.inverse_butterfly(a, c, w);
        prime.inverse_butterfly(b, d, w);
        for (k, v) in v.into_iter().enumerate() {
            store(x, at + k * stride, v);
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn inverse_last(prime: Prime, table: &NttTable, x: &mut [u64]) {
    let (n_inverse, last) = (wide(table.n_inverse), wide(table.last));
    let half = table.len() / 2;
    for at in (0..half).step_by(LANES) {
        let (u, v) = (load(x, at), load(x, at + half));
        let low = prime.mul(_mm512_add_epi64(u, v), n_inverse);
        let high = prime.mul(_mm512_sub_epi64(_mm512_add_epi64(u, prime.p2), v), last);
        store(x, at, prime.below_p(low));
        store(x, at + half, prime.below_p(high));
    }
}

/// Slices of equal length, a multiple of eight; at most 256 pairs.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn dot(m: &Modulus, out: &mut [u64], pairs: &[(&[u64], &[u64])]) {
    let prime = Prime::new(m);
    for at in (0..out.len()).step_by(LANES) {
        let (mut low, mut high) = (_mm512_setzero_si512(), _mm512_setzero_si512());
        for (a, b) in pairs {
            let (a, b) = (load(a, at), load(b, at));
            low = _mm512_madd52lo_epu64(low, a, b);
            high = _mm512_madd52hi_epu64(high, a, b);
        }
        store(out, at, fold(prime, m, low, high));
    }
}

/// Rows that [`combine`] works on at once: 24 accumulators.
const COMBINED: usize = 3;
/// The same for [`combine_narrow`].
const COMBINED_NARROW: usize = 6;
/// Up to this many bits of a prime, 64 and more products fit one 64-bit word.
const NARROW: u32 = 29;

/// As many rows of `out` as of `w`; each row of `w` as long as `x`.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn combine(m: &Modulus, out: &mut [[u64; STRETCH]], x: &[[u64; STRETCH]], w: &[&[u64]]) {
    if m.bits() <= NARROW {
        return combine_narrow(m, out, x, w);
    }
    for (out, w) in out.chunks_mut(COMBINED).zip(w.chunks(COMBINED)) {
        for at in (0..STRETCH).step_by(4 * LANES) {
            match *w {
                [a, b, c] => combine_tile(m, out, x, [a, b, c], at),
                [a, b] => combine_tile(m, out, x, [a, b], at),
                [a, ..] => combine_tile(m, out, x, [a], at),
                [] => {}
            }
        }
    }
}

/// `ROWS` rows, four vectors from `at` on: 8 `ROWS` accumulators.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn combine_tile<const ROWS: usize>(
    m: &Modulus,
    out: &mut [[u64; STRETCH]],
    x: &[[u64; STRETCH]],
    w: [&[u64]; ROWS],
    at: usize,
) {
    let prime = Prime::new(m);
    let zero = _mm512_setzero_si512();
    let mut sums = [[zero; 4]; ROWS];
    // Both words stay within what `fold` takes; one term is left for the running sum.
    for start in (0..x.len()).step_by(MAX_PAIRS - 1) {
        let end = x.len().min(start + MAX_PAIRS - 1);
        let mut low = sums;
        let mut high = [[zero; 4]; ROWS];
        for k in start..end {
            let v: [__m512i; 4] = std::array::from_fn(|i| load(&x[k], at + i * LANES));
            for r in 0..ROWS {
                let by = splat(w[r][k]);
                for i in 0..4 {
                    low[r][i] = _mm512_madd52lo_epu64(low[r][i], v[i], by);
                    high[r][i] = _mm512_madd52hi_epu64(high[r][i], v[i], by);
                }
            }
        }
        for r in 0..ROWS {
            for i in 0..4 {
                sums[r][i] = fold(prime, m, low[r][i], high[r][i]);
            }
        }
    }
    for r in 0..ROWS {
        for (i, sum) in sums[r].iter().enumerate() {
            store(&mut out[r], at + i * LANES, *sum);
        }
    }
}

/// As [`combine`], for a prime of at most [`NARROW`] bits: one multiplication a product.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn combine_narrow(m: &Modulus, out: &mut [[u64; STRETCH]], x: &[[u64; STRETCH]], w: &[&[u64]]) {
    for (out, w) in out.chunks_mut(COMBINED_NARROW).zip(w.chunks(COMBINED_NARROW)) {
        for at in (0..STRETCH).step_by(4 * LANES) {
            match *w {
                [a, b, c, d, e, f] => narrow_tile(m, out, x, [a, b, c, d, e, f], at),
                [a, b, c, d, e] => narrow_tile(m, out, x, [a, b, c, d, e], at),
                [a, b, c, d] => narrow_tile(m, out, x, [a, b, c, d], at),
                [a, b, c] => narrow_tile(m, out, x, [a, b, c], at),
                [a, b] => narrow_tile(m, out, x, [a, b], at),
                [a, ..] => narrow_tile(m, out, x, [a], at),
                [] => {}
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn narrow_tile<const ROWS: usize>(
    m: &Modulus,
    out: &mut [[u64; STRETCH]],
    x: &[[u64; STRETCH]],
    w: [&[u64]; ROWS],
    at: usize,
) {
    let prime = Prime::new(m);
    let mut sums = [[_mm512_setzero_si512(); 4]; ROWS];
    // Products stay below 2^(2 bits), and the running sum below one of them.
    let most = (1usize << (64 - 2 * m.bits())) - 1;
    for start in (0..x.len()).step_by(most) {
        for k in start..x.len().min(start + most) {
            let v: [__m512i; 4] = std::array::from_fn(|i| load(&x[k], at + i * LANES));
            for r in 0..ROWS {
                let by = splat(w[r][k]);
                for i in 0..4 {
                    sums[r][i] = _mm512_add_epi64(sums[r][i], _mm512_mul_epu32(v[i], by));
                }
            }
        }
        for sums in &mut sums {
            for sum in sums {
                let low = _mm512_and_si512(*sum, prime.mask);
                *sum = fold(prime, m, low, _mm512_srli_epi64::<WORD>(*sum));
            }
        }
    }
    for r in 0..ROWS {
        for (i, sum) in sums[r].iter().enumerate() {
            store(&mut out[r], at + i * LANES, *sum);
        }
    }
}

/// `low + 2^52 high` modulo the prime, for sums of at most [`MAX_PAIRS`] products.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn fold(prime: Prime, m: &Modulus, low: __m512i, high: __m512i) -> __m512i {
    let (word, one) = (wide(m.word()), wide(Factor { value: 1, quotient: m.one_quotient() }));
    // Both words below 2^52 again: high was below 256 * 2^44.
    let high = _mm512_add_epi64(high, _mm512_srli_epi64::<WORD>(low));
    let low = _mm512_and_si512(low, prime.mask);
    let sum = _mm512_add_epi64(prime.mul(high, word), prime.mul(low, one));
    prime.below_p(prime.below_2p(sum))
}

/// A length that is a multiple of eight.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn scale(m: &Modulus, x: &mut [u64], w: Factor) {
    let (prime, w) = (Prime::new(m), wide(w));
    for at in (0..x.len()).step_by(LANES) {
        let v = prime.mul(load(x, at), w);
        store(x, at, prime.below_p(v));
    }
}

/// Slices of equal length, a multiple of eight.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn sub_scale(m: &Modulus, x: &mut [u64], y: &[u64], w: Factor) {
    let (prime, w) = (Prime::new(m), wide(w));
    for at in (0..x.len()).step_by(LANES) {
        let difference = _mm512_sub_epi64(_mm512_add_epi64(load(x, at), prime.p), load(y, at));
        store(x, at, prime.below_p(prime.mul(difference, w)));
    }
}

/// Slices of equal length, a multiple of eight.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn convert(from: &Modulus, to: &Modulus, out: &mut [u64], x: &[u64]) {
    let (prime, one) = (Prime::new(to), wide(Factor { value: 1, quotient: to.one_quotient() }));
    let half = splat(from.value() / 2);
    let minus_from = splat(to.neg(to.reduce(from.value())));
    for at in (0..x.len()).step_by(LANES) {
        let v = load(x, at);
        let negative = _mm512_cmpgt_epu64_mask(v, half);
        let r = prime.mul(v, one);
        let r = _mm512_mask_add_epi64(r, negative, r, minus_from);
        store(out, at, prime.below_p(prime.below_2p(r)));
    }
}
