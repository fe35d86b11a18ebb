//! AVX2 with fused multiply-add: residues as doubles, which are exact integers below 2^53.
//!
//! **Source:** J. van der Hoeven, G. Lecerf, G. Quintin, "Modular SIMD arithmetic in
//! Mathemagix", 2014, section 3, <https://arxiv.org/abs/1407.3383>: a product is the pair
//! of its rounding and the rounding's error, which one fused operation gives, and the
//! quotient by the prime comes from the rounding alone.
//!
//! **Differs:** multipliers are centred and differences left unreduced, because doubles
//! have a sign and five bits of room above a prime of 48. Two multiplications, two fused
//! ones and two additions reduce a product; with integers, four multiplications of 32 bits
//! stand behind each of three products of 48.
//!
//! **Exact because:** see [`Prime::mul`]; the bounds on its argument stand where it is used.

mod combine;
mod ntt;

pub(super) use combine::combine;
pub(super) use ntt::{ntt_forward, ntt_inverse};

use super::Word;
use crate::modulus::{Factor, Modulus};
use std::arch::x86_64::*;

/// Words of a vector.
const LANES: usize = 4;

/// `2^52` as a double: its lowest mantissa bit is worth one.
const UNIT: f64 = (1u64 << 52) as f64;

/// `1.5 * 2^52`: added to a number below 2^51 in size and taken away again, it leaves the
/// nearest integer.
const ROUND: f64 = 1.5 * UNIT;

/// A prime with its inverse, in every lane.
#[derive(Clone, Copy)]
struct Prime {
    p: __m256d,
    inverse: __m256d,
    round: __m256d,
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn splat(x: f64) -> __m256d {
    _mm256_set1_pd(x)
}

/// Four words from `at` on.
///
/// # Safety
/// `x` has them.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn load<W: Word>(x: &[W], at: usize) -> __m256i {
    const { assert!(size_of::<W>() == size_of::<u32>() || size_of::<W>() == size_of::<u64>()) };
    debug_assert!(at + LANES <= x.len());
    // SAFETY: the caller's promise, and the size of a word; no read needs alignment.
    unsafe {
        let from = x.as_ptr().add(at);
        if size_of::<W>() == size_of::<u32>() {
            _mm256_cvtepu32_epi64(_mm_loadu_si128(from.cast()))
        } else {
            _mm256_loadu_si256(from.cast())
        }
    }
}

/// Four words from `at` on become `v`.
///
/// # Safety
/// `x` has them.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn store(x: &mut [u64], at: usize, v: __m256i) {
    debug_assert!(at + LANES <= x.len());
    // SAFETY: the caller's promise; the write needs no alignment.
    unsafe { _mm256_storeu_si256(x.as_mut_ptr().add(at).cast(), v) }
}

/// Words below 2^52 as doubles: put under the exponent of 2^52, which is then taken away.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn doubles(v: __m256i) -> __m256d {
    let unit = splat(UNIT);
    _mm256_sub_pd(_mm256_or_pd(_mm256_castsi256_pd(v), unit), unit)
}

/// The inverse of [`doubles`], for integers in `[0, 2^52)`.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn words(v: __m256d) -> __m256i {
    let unit = splat(UNIT);
    _mm256_castpd_si256(_mm256_xor_pd(_mm256_add_pd(v, unit), unit))
}

/// A residue in `(-p/2, p/2]` as a double.
pub(crate) fn centred(m: &Modulus, x: u64) -> f64 {
    m.centred(x) as f64
}

impl Prime {
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn new(m: &Modulus) -> Self {
        let p = m.value() as f64;
        Self { p: splat(p), inverse: splat(1.0 / p), round: splat(ROUND) }
    }

    /// `x w` modulo the prime, signed.
    ///
    /// **Bounds:** for integers with `|w| <= p/2` and `|x| = b p < 2^52`, the result is
    /// below `(1/2 + b/32) p` in size. The rounded product `h` and the inverse are each off
    /// by at most `2^-53` of their size, so the quotient by at most `1/2 + |x|/2 * 2^-52`;
    /// it is below 2^51, as [`ROUND`] needs. `h` is below 2^99, its error `l` at most 2^45;
    /// `h - q p` is an integer within that of the result, below 2^49, and both last steps
    /// are exact. The same holds for `0 <= w < p` if `0 <= x < p`: the result is then below
    /// `(1/2 + 1/16) p`.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn mul(self, x: __m256d, w: __m256d) -> __m256d {
        let h = _mm256_mul_pd(x, w);
        let l = _mm256_fmsub_pd(x, w, h);
        let q = _mm256_sub_pd(_mm256_fmadd_pd(h, self.inverse, self.round), self.round);
        _mm256_add_pd(_mm256_fnmadd_pd(q, self.p, h), l)
    }

    /// `x` modulo the prime, in `[-p/2 - 1, p/2 + 1]`, for `|x| < 2^53`: the quotient, below
    /// 2^36 because the prime is above 2^17, is off by at most `1/2 + |x/p| 2^-53`.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn reduce(self, x: __m256d) -> __m256d {
        let q = _mm256_sub_pd(_mm256_fmadd_pd(x, self.inverse, self.round), self.round);
        _mm256_fnmadd_pd(q, self.p, x)
    }

    /// The residue of an integer between `-p` and `p` as a word.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn residue(self, x: __m256d) -> __m256i {
        let negative = _mm256_cmp_pd::<_CMP_LT_OQ>(x, _mm256_setzero_pd());
        words(_mm256_add_pd(x, _mm256_and_pd(negative, self.p)))
    }
}

/// Products that [`dot`] sums before it reduces: each is below `0.57 p`, so that with what
/// was there before the sum stays below `10 p < 2^52`.
const SUMMED: usize = 16;

/// # Safety
/// All slices are of one length, a multiple of eight.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn dot(m: &Modulus, out: &mut [u64], pairs: &[(&[u64], &[u64])]) {
    let prime = Prime::new(m);
    for at in (0..out.len()).step_by(LANES) {
        let mut sum = _mm256_setzero_pd();
        for some in pairs.chunks(SUMMED) {
            for (a, b) in some {
                // SAFETY: whole vectors of slices as long as `out`, the caller promises.
                let (a, b) = unsafe { (load(a, at), load(b, at)) };
                sum = _mm256_add_pd(sum, prime.mul(doubles(a), doubles(b)));
            }
            sum = prime.reduce(sum);
        }
        // SAFETY: whole vectors of `out`.
        unsafe { store(out, at, prime.residue(sum)) }
    }
}

/// # Safety
/// All slices are of one length, a multiple of eight.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn dot_pair<A: Word, Y: Word>(
    m: &Modulus,
    first: &mut [u64],
    second: &mut [u64],
    terms: &[(&[A], &[A], &[Y])],
) {
    let prime = Prime::new(m);
    for at in (0..first.len()).step_by(LANES) {
        let (mut one, mut two) = (_mm256_setzero_pd(), _mm256_setzero_pd());
        for some in terms.chunks(SUMMED) {
            for (a, b, y) in some {
                // SAFETY: whole vectors of slices as long as `first`, the caller promises.
                let (a, b, y) = unsafe { (load(a, at), load(b, at), load(y, at)) };
                let y = doubles(y);
                one = _mm256_add_pd(one, prime.mul(doubles(a), y));
                two = _mm256_add_pd(two, prime.mul(doubles(b), y));
            }
            (one, two) = (prime.reduce(one), prime.reduce(two));
        }
        // SAFETY: whole vectors of `first`, and `second` is as long.
        unsafe {
            store(first, at, prime.residue(one));
            store(second, at, prime.residue(two));
        }
    }
}

/// # Safety
/// The length is a multiple of eight.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn scale(m: &Modulus, x: &mut [u64], w: Factor) {
    let (prime, w) = (Prime::new(m), splat(centred(m, w.value)));
    for at in (0..x.len()).step_by(LANES) {
        // SAFETY: whole vectors, the caller promises.
        unsafe {
            let v = prime.mul(doubles(load(x, at)), w);
            store(x, at, prime.residue(v));
        }
    }
}

/// # Safety
/// Both slices are of one length, a multiple of eight.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn sub_scale(m: &Modulus, x: &mut [u64], y: &[u64], w: Factor) {
    let (prime, w) = (Prime::new(m), splat(centred(m, w.value)));
    for at in (0..x.len()).step_by(LANES) {
        // SAFETY: whole vectors of slices of one length, the caller promises.
        unsafe {
            let difference = _mm256_sub_pd(doubles(load(x, at)), doubles(load(y, at)));
            store(x, at, prime.residue(prime.mul(difference, w)));
        }
    }
}

/// # Safety
/// `out` is as long as `x`, a multiple of eight.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn convert(from: &Modulus, to: &Modulus, out: &mut [u64], x: &[u64]) {
    let (prime, whole, half) = (Prime::new(to), splat(from.value() as f64), splat((from.value() / 2) as f64));
    for at in (0..x.len()).step_by(LANES) {
        // SAFETY: whole vectors, the caller promises.
        let v = doubles(unsafe { load(x, at) });
        let upper = _mm256_and_pd(_mm256_cmp_pd::<_CMP_GT_OQ>(v, half), whole);
        // SAFETY: `out` is as long, the caller promises.
        unsafe { store(out, at, prime.residue(prime.reduce(_mm256_sub_pd(v, upper)))) }
    }
}
