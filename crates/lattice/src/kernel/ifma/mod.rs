//! AVX-512 with IFMA: eight products of 52 bits in one instruction.

mod combine;
mod ntt;

pub(super) use combine::combine;
pub(super) use ntt::{ntt_forward, ntt_inverse};

use super::Word;
use crate::modulus::{Factor, Modulus, WORD};
use crate::ntt::LANES;
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
///
/// # Safety
/// `x` has them.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
unsafe fn load<W: Word>(x: &[W], at: usize) -> __m512i {
    const { assert!(size_of::<W>() == size_of::<u32>() || size_of::<W>() == size_of::<u64>()) };
    debug_assert!(at + LANES <= x.len());
    // SAFETY: the caller's promise, and the size of a word; no read needs alignment.
    unsafe {
        let from = x.as_ptr().add(at);
        if size_of::<W>() == size_of::<u32>() {
            _mm512_cvtepu32_epi64(_mm256_loadu_si256(from.cast()))
        } else {
            _mm512_loadu_si512(from.cast())
        }
    }
}

/// Eight words from `at` on become `v`.
///
/// # Safety
/// `x` has them.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
unsafe fn store(x: &mut [u64], at: usize, v: __m512i) {
    debug_assert!(at + LANES <= x.len());
    // SAFETY: the caller's promise; the write needs no alignment.
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
}

/// At most 256 pairs.
///
/// # Safety
/// All slices are of one length, a multiple of eight.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) unsafe fn dot(m: &Modulus, out: &mut [u64], pairs: &[(&[u64], &[u64])]) {
    let prime = Prime::new(m);
    for at in (0..out.len()).step_by(LANES) {
        let (mut low, mut high) = (_mm512_setzero_si512(), _mm512_setzero_si512());
        for (a, b) in pairs {
            // SAFETY: whole vectors of slices as long as `out`, the caller promises.
            let (a, b) = unsafe { (load(a, at), load(b, at)) };
            low = _mm512_madd52lo_epu64(low, a, b);
            high = _mm512_madd52hi_epu64(high, a, b);
        }
        // SAFETY: whole vectors of `out`.
        unsafe { store(out, at, fold(prime, m, low, high)) }
    }
}

/// At most 256 terms.
///
/// # Safety
/// All slices are of one length, a multiple of eight.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) unsafe fn dot_pair<A: Word, Y: Word>(
    m: &Modulus,
    first: &mut [u64],
    second: &mut [u64],
    terms: &[(&[A], &[A], &[Y])],
) {
    // Two vectors at a time hide the latency of a chain of products.
    let pairs = first.len() / (2 * LANES) * (2 * LANES);
    for at in (0..pairs).step_by(2 * LANES) {
        // SAFETY: two vectors from `at` on end at `pairs` or before; the caller's promise.
        unsafe { dot_pair_tile::<A, Y, 2>(m, first, second, terms, at) }
    }
    if pairs < first.len() {
        // SAFETY: an odd vector is left of a whole number; the caller's promise.
        unsafe { dot_pair_tile::<A, Y, 1>(m, first, second, terms, pairs) }
    }
}

/// `VECTORS` vectors from `at` on.
///
/// # Safety
/// All slices have them.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
unsafe fn dot_pair_tile<A: Word, Y: Word, const VECTORS: usize>(
    m: &Modulus,
    first: &mut [u64],
    second: &mut [u64],
    terms: &[(&[A], &[A], &[Y])],
    at: usize,
) {
    let prime = Prime::new(m);
    let zero = _mm512_setzero_si512();
    let (mut low, mut high) = ([[zero; 2]; VECTORS], [[zero; 2]; VECTORS]);
    for (a, b, y) in terms {
        for v in 0..VECTORS {
            let at = at + v * LANES;
            // SAFETY: the caller's promise.
            let (y, both) = unsafe { (load(y, at), [load(a, at), load(b, at)]) };
            for (i, x) in both.into_iter().enumerate() {
                low[v][i] = _mm512_madd52lo_epu64(low[v][i], x, y);
                high[v][i] = _mm512_madd52hi_epu64(high[v][i], x, y);
            }
        }
    }
    for v in 0..VECTORS {
        // SAFETY: the caller's promise.
        unsafe {
            store(first, at + v * LANES, fold(prime, m, low[v][0], high[v][0]));
            store(second, at + v * LANES, fold(prime, m, low[v][1], high[v][1]));
        }
    }
}

/// `low + 2^52 high` modulo the prime, for sums of at most [`super::MAX_PAIRS`] products.
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

/// # Safety
/// The length is a multiple of eight.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) unsafe fn scale(m: &Modulus, x: &mut [u64], w: Factor) {
    let (prime, w) = (Prime::new(m), wide(w));
    for at in (0..x.len()).step_by(LANES) {
        // SAFETY: whole vectors, the caller promises.
        unsafe {
            let v = prime.mul(load(x, at), w);
            store(x, at, prime.below_p(v));
        }
    }
}

/// # Safety
/// Both slices are of one length, a multiple of eight.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) unsafe fn sub_scale(m: &Modulus, x: &mut [u64], y: &[u64], w: Factor) {
    let (prime, w) = (Prime::new(m), wide(w));
    for at in (0..x.len()).step_by(LANES) {
        // SAFETY: whole vectors of slices of one length, the caller promises.
        unsafe {
            let difference = _mm512_sub_epi64(_mm512_add_epi64(load(x, at), prime.p), load(y, at));
            store(x, at, prime.below_p(prime.mul(difference, w)));
        }
    }
}

/// # Safety
/// `out` is as long as `x`, a multiple of eight.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) unsafe fn convert(from: &Modulus, to: &Modulus, out: &mut [u64], x: &[u64]) {
    let (prime, one) = (Prime::new(to), wide(Factor { value: 1, quotient: to.one_quotient() }));
    let half = splat(from.value() / 2);
    let minus_from = splat(to.neg(to.reduce(from.value())));
    for at in (0..x.len()).step_by(LANES) {
        // SAFETY: whole vectors, the caller promises.
        let v = unsafe { load(x, at) };
        let negative = _mm512_cmpgt_epu64_mask(v, half);
        let r = prime.mul(v, one);
        let r = _mm512_mask_add_epi64(r, negative, r, minus_from);
        // SAFETY: `out` is as long, the caller promises.
        unsafe { store(out, at, prime.below_p(prime.below_2p(r))) }
    }
}
