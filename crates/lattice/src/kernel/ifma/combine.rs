//! Many multiples of many stretches, summed before anything is reduced.

use super::super::{MAX_PAIRS, STRETCH};
use super::{Prime, fold, load, splat, store};
use crate::modulus::{Modulus, WORD};
use crate::ntt::LANES;
use std::arch::x86_64::*;

/// Rows that [`combine`] works on at once: 24 accumulators.
const COMBINED: usize = 3;
/// The same for [`combine_narrow`].
const COMBINED_NARROW: usize = 6;
/// Up to this many bits of a prime, 64 and more products fit one 64-bit word.
const NARROW: u32 = 29;

/// As many rows of `out` as of `w`; each row of `w` as long as `x`.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(crate) fn combine(m: &Modulus, out: &mut [[u64; STRETCH]], x: &[[u64; STRETCH]], w: &[&[u64]]) {
    if m.bits() <= NARROW {
        return combine_narrow(m, out, x, w);
    }
    for (out, w) in out.chunks_mut(COMBINED).zip(w.chunks(COMBINED)) {
        for at in (0..STRETCH).step_by(4 * LANES) {
            match *w {
                // SAFETY: here and below, `at` steps through a stretch by four vectors.
                [a, b, c] => unsafe { combine_tile(m, out, x, [a, b, c], at) },
                // SAFETY: as above.
                [a, b] => unsafe { combine_tile(m, out, x, [a, b], at) },
                // SAFETY: as above.
                [a, ..] => unsafe { combine_tile(m, out, x, [a], at) },
                [] => {}
            }
        }
    }
}

/// `ROWS` rows, four vectors from `at` on: 8 `ROWS` accumulators.
///
/// # Safety
/// A stretch has them.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
unsafe fn combine_tile<const ROWS: usize>(
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
            // SAFETY: the caller's promise.
            let v: [__m512i; 4] = std::array::from_fn(|i| unsafe { load(&x[k], at + i * LANES) });
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
            // SAFETY: the caller's promise.
            unsafe { store(&mut out[r], at + i * LANES, *sum) }
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
                // SAFETY: here and below, `at` steps through a stretch by four vectors.
                [a, b, c, d, e, f] => unsafe { narrow_tile(m, out, x, [a, b, c, d, e, f], at) },
                // SAFETY: as above.
                [a, b, c, d, e] => unsafe { narrow_tile(m, out, x, [a, b, c, d, e], at) },
                // SAFETY: as above.
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

/// As [`combine_tile`].
///
/// # Safety
/// As [`combine_tile`] demands.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
unsafe fn narrow_tile<const ROWS: usize>(
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
            // SAFETY: the caller's promise.
            let v: [__m512i; 4] = std::array::from_fn(|i| unsafe { load(&x[k], at + i * LANES) });
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
            // SAFETY: the caller's promise.
            unsafe { store(&mut out[r], at + i * LANES, *sum) }
        }
    }
}
