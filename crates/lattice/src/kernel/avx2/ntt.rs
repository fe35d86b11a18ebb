//! The transform on doubles: words only where a polynomial comes in and goes out.

use super::{LANES, Prime, doubles, load, splat, store};
use crate::ntt::{Doubles, NttTable, TAIL};
use std::arch::x86_64::*;

/// Side of the transposed squares (`crate::ntt`): two vectors.
const SIDE: usize = 2 * LANES;

/// What stands in a polynomial: residues as words, or integers as doubles.
const WORDS: bool = true;
const DOUBLES: bool = false;

/// # Safety
/// `x` has four words from `at` on.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn get<const KIND: bool>(x: &[u64], at: usize) -> __m256d {
    // SAFETY: the caller's promise.
    let v = unsafe { load(x, at) };
    if KIND == WORDS { doubles(v) } else { _mm256_castsi256_pd(v) }
}

/// # Safety
/// `x` has four words from `at` on.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn put(x: &mut [u64], at: usize, v: __m256d) {
    // SAFETY: the caller's promise.
    unsafe { store(x, at, _mm256_castpd_si256(v)) }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn tail(twiddles: &[f64], square: usize, half: usize) -> [__m256d; TAIL] {
    std::array::from_fn(|k| {
        let at = (square * TAIL + k) * SIDE + half * LANES;
        // A slice of four is checked here, once for the load.
        let four: &[f64] = &twiddles[at..at + LANES];
        // SAFETY: four doubles, of any alignment.
        unsafe { _mm256_loadu_pd(four.as_ptr()) }
    })
}

/// Transposes a 4 by 4 matrix of doubles.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn transpose(r: [__m256d; 4]) -> [__m256d; 4] {
    let (a, b) = (_mm256_unpacklo_pd(r[0], r[1]), _mm256_unpackhi_pd(r[0], r[1]));
    let (c, d) = (_mm256_unpacklo_pd(r[2], r[3]), _mm256_unpackhi_pd(r[2], r[3]));
    [
        _mm256_permute2f128_pd::<0x20>(a, c),
        _mm256_permute2f128_pd::<0x20>(b, d),
        _mm256_permute2f128_pd::<0x31>(a, c),
        _mm256_permute2f128_pd::<0x31>(b, d),
    ]
}

/// Butterflies of one stage on pairs of vectors.
macro_rules! stage {
    ($prime:expr, $butterfly:ident, $v:ident, $w:ident: $(($i:literal, $j:literal, $k:literal)),*) => {
        $(
            let (a, b) = $prime.$butterfly($v[$i], $v[$j], $w[$k]);
            ($v[$i], $v[$j]) = (a, b);
        )*
    };
}

impl Prime {
    /// Nothing is reduced: from values below `b p`, values below `(33/32 b + 1/2) p`. A
    /// residue is below `p`, so before stage `k` they are below `(17 (33/32)^k - 16) p`:
    /// `15 p < 2^52` before stage 20, the last of the longest transform.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn forward(self, a: __m256d, b: __m256d, w: __m256d) -> (__m256d, __m256d) {
        let v = self.mul(b, w);
        (_mm256_add_pd(a, v), _mm256_sub_pd(a, v))
    }

    /// From values below `b p`, a sum below `2 b p` and a product below
    /// `(1/2 + b/16) p`, for `b` up to 8.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn backward(self, a: __m256d, b: __m256d, w: __m256d) -> (__m256d, __m256d) {
        (_mm256_add_pd(a, b), self.mul(_mm256_sub_pd(a, b), w))
    }
}

/// # Safety
/// `x` has the table's length.
#[target_feature(enable = "avx2,fma")]
pub(crate) unsafe fn ntt_forward(table: &NttTable, x: &mut [u64]) {
    let (prime, t) = (Prime::new(table.modulus()), table.doubles());
    let n = table.len();
    // The first pass, of one stage or of two, takes words; at least one more follows.
    let (mut blocks, mut stride) = if n.trailing_zeros().is_multiple_of(2) {
        // SAFETY: `x` has 64 words at least, a power of two.
        unsafe { forward_stage(prime, t, x) }
        (2, n / 4)
    } else {
        // SAFETY: `x` is one block, and its quarters are whole vectors.
        unsafe { forward_pair::<WORDS>(prime, t, x, 1, 0, n / 4) }
        (4, n / 8)
    };
    while stride > SIDE {
        for i in 0..blocks {
            // SAFETY: `blocks` blocks of `2 stride` words are `x`; the half of a stride beyond
            // `SIDE` has whole vectors.
            unsafe { forward_pair::<DOUBLES>(prime, t, x, blocks, i, stride / 2) }
        }
        (blocks, stride) = (blocks * 4, stride / 4);
    }
    for square in 0..n / (SIDE * SIDE) {
        // SAFETY: `x` has the table's length.
        unsafe { forward_tail(prime, t, x, square) }
    }
}

/// The first stage alone.
///
/// # Safety
/// The halves of `x` are whole vectors.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn forward_stage(prime: Prime, t: &Doubles, x: &mut [u64]) {
    let (w, half) = (splat(t.forward[1]), x.len() / 2);
    for at in (0..half).step_by(LANES) {
        // SAFETY: vectors of both halves.
        unsafe {
            let (a, b) = prime.forward(get::<WORDS>(x, at), get::<WORDS>(x, at + half), w);
            put(x, at, a);
            put(x, at + half, b);
        }
    }
}

/// Two stages at once on block `i`: four values `quarter` apart.
///
/// # Safety
/// `x` has that block of four times `quarter` words, which are whole vectors.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn forward_pair<const KIND: bool>(
    prime: Prime,
    t: &Doubles,
    x: &mut [u64],
    blocks: usize,
    i: usize,
    quarter: usize,
) {
    let block = blocks + i;
    let w = [splat(t.forward[block]), splat(t.forward[2 * block]), splat(t.forward[2 * block + 1])];
    let start = 4 * i * quarter;
    for at in (start..start + quarter).step_by(LANES) {
        // SAFETY: vectors of the four quarters of block `i`.
        let mut v: [__m256d; 4] = std::array::from_fn(|k| unsafe { get::<KIND>(x, at + k * quarter) });
        stage!(prime, forward, v, w: (0, 2, 0), (1, 3, 0), (0, 1, 1), (2, 3, 2));
        for (k, v) in v.into_iter().enumerate() {
            // SAFETY: as above.
            unsafe { put(x, at + k * quarter, v) }
        }
    }
}

/// The last three stages of a square, and its transpose.
///
/// # Safety
/// `x` has that square of 64 words.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn forward_tail(prime: Prime, t: &Doubles, x: &mut [u64], square: usize) {
    let at = square * SIDE * SIDE;
    let halves: [[__m256d; SIDE]; 2] = std::array::from_fn(|half| {
        let w = tail(&t.forward_tail, square, half);
        let row = |l: usize, c: usize| at + (half * LANES + l) * SIDE + c * LANES;
        // SAFETY: half a row of the square, `c` the half and `l` the row below `LANES`.
        let rows = |c: usize| std::array::from_fn(|l| unsafe { get::<DOUBLES>(x, row(l, c)) });
        let ([a, b, c, d], [e, f, g, h]) = (transpose(rows(0)), transpose(rows(1)));
        let mut v = [a, b, c, d, e, f, g, h];
        stage!(prime, forward, v, w: (0, 4, 0), (1, 5, 0), (2, 6, 0), (3, 7, 0));
        stage!(prime, forward, v, w: (0, 2, 1), (1, 3, 1), (4, 6, 2), (5, 7, 2));
        stage!(prime, forward, v, w: (0, 1, 3), (2, 3, 4), (4, 5, 5), (6, 7, 6));
        v
    });
    for (half, v) in halves.into_iter().enumerate() {
        for (k, v) in v.into_iter().enumerate() {
            // SAFETY: half of row `k` of the square.
            unsafe { store(x, at + k * SIDE + half * LANES, prime.residue(prime.reduce(v))) }
        }
    }
}

/// # Safety
/// `x` has the table's length.
#[target_feature(enable = "avx2,fma")]
pub(crate) unsafe fn ntt_inverse(table: &NttTable, x: &mut [u64]) {
    let (prime, t) = (Prime::new(table.modulus()), table.doubles());
    let n = table.len();
    for square in 0..n / (SIDE * SIDE) {
        // SAFETY: `x` has the table's length.
        unsafe { inverse_tail(prime, t, x, square) }
    }
    let (mut blocks, mut stride) = (n / (2 * SIDE), SIDE);
    // Stages left, without the last one.
    if blocks.trailing_zeros() % 2 == 1 {
        for i in 0..blocks {
            // SAFETY: `blocks` blocks of twice `SIDE` words are `x`.
            unsafe { inverse_stage(prime, t, x, blocks, i, stride) }
        }
        (blocks, stride) = (blocks / 2, stride * 2);
    }
    while blocks > 1 {
        for i in 0..blocks / 2 {
            // SAFETY: `blocks` blocks of `2 stride` words are `x`, so half as many of twice the
            // size; a stride is a multiple of `SIDE`.
            unsafe { inverse_pair(prime, t, x, blocks, i, stride) }
        }
        (blocks, stride) = (blocks / 4, stride * 4);
    }
    // SAFETY: `x` has 64 words at least, a power of two.
    unsafe { inverse_last(prime, t, x) }
}

/// The transpose of a square and its first three stages. From residues, sums are below
/// `8 p`, `2.3 p` and `1.3 p`, and products below `0.8 p`; the largest is reduced.
///
/// # Safety
/// `x` has that square of 64 words.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn inverse_tail(prime: Prime, t: &Doubles, x: &mut [u64], square: usize) {
    let at = square * SIDE * SIDE;
    let halves: [[__m256d; SIDE]; 2] = std::array::from_fn(|half| {
        let w = tail(&t.inverse_tail, square, half);
        // SAFETY: half of row `k` of the square.
        let column = |k| unsafe { get::<WORDS>(x, at + k * SIDE + half * LANES) };
        let mut v: [__m256d; SIDE] = std::array::from_fn(column);
        stage!(prime, backward, v, w: (0, 1, 3), (2, 3, 4), (4, 5, 5), (6, 7, 6));
        stage!(prime, backward, v, w: (0, 2, 1), (1, 3, 1), (4, 6, 2), (5, 7, 2));
        stage!(prime, backward, v, w: (0, 4, 0), (1, 5, 0), (2, 6, 0), (3, 7, 0));
        v[0] = prime.reduce(v[0]);
        v
    });
    for (half, [a, b, c, d, e, f, g, h]) in halves.into_iter().enumerate() {
        for (c, rows) in [transpose([a, b, c, d]), transpose([e, f, g, h])].into_iter().enumerate() {
            for (l, v) in rows.into_iter().enumerate() {
                // SAFETY: half a row of the square.
                unsafe { put(x, at + (half * LANES + l) * SIDE + c * LANES, v) }
            }
        }
    }
}

/// One stage on block `i`, where the others are even in number. From `2.3 p` to `0.7 p`.
///
/// # Safety
/// `x` has that block of twice `stride` words, which are whole vectors.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn inverse_stage(prime: Prime, t: &Doubles, x: &mut [u64], blocks: usize, i: usize, stride: usize) {
    let w = splat(t.inverse[blocks + i]);
    for at in (2 * i * stride..(2 * i + 1) * stride).step_by(LANES) {
        // SAFETY: vectors of the two halves of block `i`.
        unsafe {
            let (a, b) = prime.backward(get::<DOUBLES>(x, at), get::<DOUBLES>(x, at + stride), w);
            put(x, at, prime.reduce(a));
            put(x, at + stride, b);
        }
    }
}

/// The stages of `blocks` and of half as many blocks at once. From at most `2.3 p`, the sum
/// of four is below `9.2 p < 2^52` and is reduced, the sum of two products stays below
/// `1.3 p`, and the products are below `0.8 p`.
///
/// # Safety
/// `x` has block `i` of four times `stride` words, which are whole vectors.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn inverse_pair(prime: Prime, t: &Doubles, x: &mut [u64], blocks: usize, i: usize, stride: usize) {
    let w = [blocks + 2 * i, blocks + 2 * i + 1, blocks / 2 + i].map(|k| splat(t.inverse[k]));
    let start = 4 * i * stride;
    for at in (start..start + stride).step_by(LANES) {
        // SAFETY: vectors of the four quarters of block `i`.
        let mut v: [__m256d; 4] = std::array::from_fn(|k| unsafe { get::<DOUBLES>(x, at + k * stride) });
        stage!(prime, backward, v, w: (0, 1, 0), (2, 3, 1), (0, 2, 2), (1, 3, 2));
        v[0] = prime.reduce(v[0]);
        for (k, v) in v.into_iter().enumerate() {
            // SAFETY: as above.
            unsafe { put(x, at + k * stride, v) }
        }
    }
}

/// The last stage and the division by the length.
///
/// # Safety
/// The halves of `x` are whole vectors.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn inverse_last(prime: Prime, t: &Doubles, x: &mut [u64]) {
    let (n_inverse, last, half) = (splat(t.n_inverse), splat(t.last), x.len() / 2);
    for at in (0..half).step_by(LANES) {
        // SAFETY: vectors of both halves.
        unsafe {
            let (u, v) = (get::<DOUBLES>(x, at), get::<DOUBLES>(x, at + half));
            let low = prime.mul(_mm256_add_pd(u, v), n_inverse);
            let high = prime.mul(_mm256_sub_pd(u, v), last);
            store(x, at, prime.residue(low));
            store(x, at + half, prime.residue(high));
        }
    }
}
