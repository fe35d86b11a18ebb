//! Carry-less products by the processor's own instruction.

use crate::gf64::{portable, reduced};
use std::arch::x86_64::{
    __m128i, _mm_clmulepi64_si128, _mm_cvtsi64_si128, _mm_cvtsi128_si64, _mm_setzero_si128, _mm_unpackhi_epi64,
    _mm_xor_si128,
};

/// What makes these functions callable.
pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("pclmulqdq") && is_x86_feature_detected!("sse2")
}

#[target_feature(enable = "pclmulqdq,sse2")]
fn product(a: u64, b: u64) -> __m128i {
    _mm_clmulepi64_si128::<0>(_mm_cvtsi64_si128(a as i64), _mm_cvtsi64_si128(b as i64))
}

#[target_feature(enable = "pclmulqdq,sse2")]
fn halves(wide: __m128i) -> (u64, u64) {
    (_mm_cvtsi128_si64(wide) as u64, _mm_cvtsi128_si64(_mm_unpackhi_epi64(wide, wide)) as u64)
}

/// See [`crate::gf64::dot`].
#[target_feature(enable = "pclmulqdq,sse2")]
pub(super) fn dot(a: &[u64], b: &[u64]) -> u64 {
    // Two sums: the instruction takes several cycles, but a new one starts in each.
    let mut sums = [_mm_setzero_si128(); 2];
    let (a_pairs, a_rest) = a.as_chunks::<2>();
    let (b_pairs, b_rest) = b.as_chunks::<2>();
    for (a, b) in a_pairs.iter().zip(b_pairs) {
        sums[0] = _mm_xor_si128(sums[0], product(a[0], b[0]));
        sums[1] = _mm_xor_si128(sums[1], product(a[1], b[1]));
    }
    let (low, high) = halves(_mm_xor_si128(sums[0], sums[1]));
    let rest = a_rest.iter().zip(b_rest).fold(0, |sum, (&a, &b)| sum ^ portable::mul(a, b));
    reduced(low, high) ^ rest
}

/// See [`crate::gf64::add_scaled`].
#[target_feature(enable = "pclmulqdq,sse2")]
pub(super) fn add_scaled(sum: &mut [u64], by: u64, x: &[u64]) {
    for (sum, &x) in sum.iter_mut().zip(x) {
        let (low, high) = halves(product(by, x));
        *sum ^= reduced(low, high);
    }
}

/// See [`crate::gf64::products`].
#[target_feature(enable = "pclmulqdq,sse2")]
pub(super) fn products(x: &mut [u64], y: &[u64]) {
    for (x, &y) in x.iter_mut().zip(y) {
        let (low, high) = halves(product(*x, y));
        *x = reduced(low, high);
    }
}
