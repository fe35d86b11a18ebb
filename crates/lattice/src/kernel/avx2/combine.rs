//! Many multiples of many stretches, summed exactly before anything is reduced.

use super::super::STRETCH;
use super::{LANES, Prime, centred, doubles, load, splat, store};
use crate::modulus::Modulus;
use std::arch::x86_64::*;

/// Up to this many bits of a prime, 64 and more products fit one 64-bit word.
const NARROW: u32 = 29;
/// Vectors of a stretch that a tile covers.
const VECTORS: usize = 2;
/// Rows of a tile, wide and narrow: what sixteen registers hold.
const ROWS: usize = 2;
const ROWS_NARROW: usize = 4;

/// Products below this are added to it: they keep the exponent of 2^96, and leave a
/// mantissa in units of 2^44.
const SPLIT: f64 = (1u128 << 96) as f64;
const SPLIT_BITS: u32 = 44;
/// Products whose upper parts, below 2^52, fit one word and whose lower parts, at most
/// 2^43 in size, one double.
const SUMMED: usize = 512;

/// As many rows of `out` as of `w`; each row of `w` as long as `x`.
#[target_feature(enable = "avx2,fma")]
pub(crate) fn combine(m: &Modulus, out: &mut [[u64; STRETCH]], x: &[[u64; STRETCH]], w: &[&[u64]]) {
    if m.bits() <= NARROW {
        return combine_narrow(m, out, x, w);
    }
    for (out, w) in out.chunks_mut(ROWS).zip(w.chunks(ROWS)) {
        for at in (0..STRETCH).step_by(VECTORS * LANES) {
            match *w {
                // SAFETY: here and below, `at` steps through a stretch by [`VECTORS`].
                [a, b] => unsafe { tile(m, out, x, [a, b], at) },
                // SAFETY: as above.
                [a, ..] => unsafe { tile(m, out, x, [a], at) },
                [] => {}
            }
        }
    }
}

/// `R` rows, [`VECTORS`] vectors from `at` on.
///
/// # Safety
/// A stretch has them.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn tile<const R: usize>(
    m: &Modulus,
    out: &mut [[u64; STRETCH]],
    x: &[[u64; STRETCH]],
    w: [&[u64]; R],
    at: usize,
) {
    let (prime, split) = (Prime::new(m), splat(SPLIT));
    let units = UpperUnits::new(m);
    let mut sums = [[_mm256_setzero_pd(); VECTORS]; R];
    for start in (0..x.len()).step_by(SUMMED) {
        let end = x.len().min(start + SUMMED);
        // The exponents summed with the mantissas, taken away beforehand.
        let exponents = SPLIT.to_bits().wrapping_mul((end - start) as u64);
        let mut high = [[_mm256_set1_epi64x(exponents.wrapping_neg().cast_signed()); VECTORS]; R];
        let mut low = sums;
        for k in start..end {
            // SAFETY: the caller's promise.
            let v: [__m256d; VECTORS] = std::array::from_fn(|i| doubles(unsafe { load(&x[k], at + i * LANES) }));
            for r in 0..R {
                let by = splat(w[r][k].cast_signed() as f64);
                for i in 0..VECTORS {
                    let h = _mm256_fmadd_pd(v[i], by, split);
                    high[r][i] = _mm256_add_epi64(high[r][i], _mm256_castpd_si256(h));
                    let l = _mm256_fmsub_pd(v[i], by, _mm256_sub_pd(h, split));
                    low[r][i] = _mm256_add_pd(low[r][i], l);
                }
            }
        }
        for r in 0..R {
            for i in 0..VECTORS {
                sums[r][i] = prime.reduce(units.fold(prime, high[r][i], low[r][i]));
            }
        }
    }
    for r in 0..R {
        for (i, sum) in sums[r].iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe { store(&mut out[r], at + i * LANES, prime.residue(*sum)) }
        }
    }
}

/// `2^44` and `2^76` modulo the prime.
struct UpperUnits {
    lower: __m256d,
    upper: __m256d,
}

impl UpperUnits {
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn new(m: &Modulus) -> Self {
        let unit = |bits| splat(centred(m, m.pow(2, u64::from(bits))));
        Self { lower: unit(SPLIT_BITS), upper: unit(SPLIT_BITS + u32::BITS) }
    }

    /// `2^44 high + low` up to multiples of the prime, below 2^53 in size: `low` is at most
    /// `2^52 + p`, and each product below `p`.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn fold(&self, prime: Prime, high: __m256i, low: __m256d) -> __m256d {
        let (lower, upper) = halves(high);
        _mm256_add_pd(low, _mm256_add_pd(prime.mul(lower, self.lower), prime.mul(upper, self.upper)))
    }
}

/// The lower and upper 32 bits of each word.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn halves(v: __m256i) -> (__m256d, __m256d) {
    let lower = _mm256_and_si256(v, _mm256_set1_epi64x(i64::from(u32::MAX)));
    (doubles(lower), doubles(_mm256_srli_epi64::<32>(v)))
}

/// As [`combine`], for a prime of at most [`NARROW`] bits: one multiplication a product.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn combine_narrow(m: &Modulus, out: &mut [[u64; STRETCH]], x: &[[u64; STRETCH]], w: &[&[u64]]) {
    for (out, w) in out.chunks_mut(ROWS_NARROW).zip(w.chunks(ROWS_NARROW)) {
        for at in (0..STRETCH).step_by(VECTORS * LANES) {
            match *w {
                // SAFETY: here and below, `at` steps through a stretch by [`VECTORS`].
                [a, b, c, d] => unsafe { narrow_tile(m, out, x, [a, b, c, d], at) },
                // SAFETY: as above.
                [a, b, c] => unsafe { narrow_tile(m, out, x, [a, b, c], at) },
                // SAFETY: as above.
                [a, b] => unsafe { narrow_tile(m, out, x, [a, b], at) },
                // SAFETY: as above.
                [a, ..] => unsafe { narrow_tile(m, out, x, [a], at) },
                [] => {}
            }
        }
    }
}

/// As [`tile`].
///
/// # Safety
/// As [`tile`] demands.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn narrow_tile<const R: usize>(
    m: &Modulus,
    out: &mut [[u64; STRETCH]],
    x: &[[u64; STRETCH]],
    w: [&[u64]; R],
    at: usize,
) {
    let (prime, upper_unit) = (Prime::new(m), splat(centred(m, m.reduce(1 << u32::BITS))));
    let mut sums = [[_mm256_setzero_si256(); VECTORS]; R];
    // Products stay below 2^(2 bits), and the running sum below one of them.
    let most = (1usize << (64 - 2 * m.bits())) - 1;
    for start in (0..x.len()).step_by(most) {
        for k in start..x.len().min(start + most) {
            // SAFETY: the caller's promise.
            let v: [__m256i; VECTORS] = std::array::from_fn(|i| unsafe { load(&x[k], at + i * LANES) });
            for r in 0..R {
                let by = _mm256_set1_epi64x(w[r][k].cast_signed());
                for i in 0..VECTORS {
                    sums[r][i] = _mm256_add_epi64(sums[r][i], _mm256_mul_epu32(v[i], by));
                }
            }
        }
        for sum in sums.iter_mut().flatten() {
            let (lower, upper) = halves(*sum);
            *sum = prime.residue(prime.reduce(_mm256_add_pd(lower, prime.mul(upper, upper_unit))));
        }
    }
    for r in 0..R {
        for (i, sum) in sums[r].iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe { store(&mut out[r], at + i * LANES, *sum) }
        }
    }
}
