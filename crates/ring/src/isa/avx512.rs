//! Tiles of 8 rows by two 512-bit vectors: 16 sums, 2 vectors of `b` and one broadcast
//! element of `a` leave room to spare in 32 registers.

use super::{Kernel, Loop, steps};
use std::arch::x86_64::{
    __m512i, _mm512_add_epi32, _mm512_add_epi64, _mm512_loadu_epi32, _mm512_loadu_epi64, _mm512_mullo_epi32,
    _mm512_mullo_epi64, _mm512_set1_epi32, _mm512_set1_epi64, _mm512_setzero_si512, _mm512_storeu_epi32,
    _mm512_storeu_epi64,
};

const ROWS: usize = 8;

macro_rules! tile {
    ($word:ident, $lanes:literal, $load:ident, $splat:ident, $mul:ident, $add:ident, $store:ident) => {
        pub(super) fn $word() -> Kernel<$word> {
            Kernel { rows: ROWS, cols: 2 * $lanes, tile: $word::tile }
        }

        mod $word {
            use super::*;

            #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl")]
            pub(super) fn tile(a: &[&[$word]], b: &[$word], out: &mut [$word]) {
                let a: [&[$word]; ROWS] = steps::<_, ROWS, { 2 * $lanes }>(a, b);
                let mut acc = [[_mm512_setzero_si512(); 2]; ROWS];
                for (p, b) in b.as_chunks::<{ 2 * $lanes }>().0.iter().enumerate() {
                    let (b0, b1) = (load(&b[..$lanes]), load(&b[$lanes..]));
                    for (sum, line) in acc.iter_mut().zip(a) {
                        let x = $splat(line[p].cast_signed());
                        sum[0] = $add(sum[0], $mul(x, b0));
                        sum[1] = $add(sum[1], $mul(x, b1));
                    }
                }
                for (out, &sum) in out.as_chunks_mut::<$lanes>().0.iter_mut().zip(acc.as_flattened()) {
                    // SAFETY: `out` is exactly one vector long, and the store needs no alignment.
                    unsafe { $store(out.as_mut_ptr().cast(), sum) }
                }
            }

            #[target_feature(enable = "avx512f")]
            #[inline]
            fn load(words: &[$word]) -> __m512i {
                assert!(words.len() == $lanes);
                // SAFETY: just checked to be one vector long, and the load needs no alignment.
                unsafe { $load(words.as_ptr().cast()) }
            }
        }
    };
}

tile!(u32, 16, _mm512_loadu_epi32, _mm512_set1_epi32, _mm512_mullo_epi32, _mm512_add_epi32, _mm512_storeu_epi32);
tile!(u64, 8, _mm512_loadu_epi64, _mm512_set1_epi64, _mm512_mullo_epi64, _mm512_add_epi64, _mm512_storeu_epi64);

#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl")]
pub(super) fn run<L: Loop>(body: L) -> L::Out {
    body.run()
}
