//! The field of 2^64 elements: polynomials over the bits modulo `X^64 + X^4 + X^3 + X + 1`.
//!
//! Bit `i` of a word is the coefficient of `X^i`, so a sum is an exclusive or, and 64 bits are
//! one element. No branch and no index depends on an element.

use crate::isa::{self, Loop, isa, run};

/// The product of two elements.
pub fn mul(a: u64, b: u64) -> u64 {
    dot(&[a], &[b])
}

/// The sum of the products of elements at the same place, up to the shorter length.
pub fn dot(a: &[u64], b: &[u64]) -> u64 {
    let n = a.len().min(b.len());
    let (a, b) = (&a[..n], &b[..n]);
    isa::carryless_dot(a, b).unwrap_or_else(|| portable::dot(a, b))
}

/// `sum += by x`, up to the shorter length.
pub fn add_scaled(sum: &mut [u64], by: u64, x: &[u64]) {
    if !isa::carryless_add_scaled(sum, by, x) {
        sum.iter_mut().zip(x).for_each(|(sum, &x)| *sum ^= portable::mul(by, x));
    }
}

/// `x = x y`, element by element, up to the shorter length.
pub fn products(x: &mut [u64], y: &[u64]) {
    if !isa::carryless_products(x, y) {
        x.iter_mut().zip(y).for_each(|(x, &y)| *x = portable::mul(*x, y));
    }
}

/// Of slices of `slice` words: element `64 w + l` of the result is the sum of `by[s slice + w]` over
/// all `s` for which bit `l` of `words[s slice + w]` is set.
///
/// **Panics** if `by` and `words` are not whole slices of equal number.
pub fn sums_where_set(slice: usize, by: &[u64], words: &[u64]) -> Vec<u64> {
    assert!(by.len() == words.len() && (slice == 0 || by.len().is_multiple_of(slice)), "slices of {slice} words");
    let mut sums = vec![0; 64 * slice];
    run(isa(), SumsWhereSet { slice, sums: &mut sums, by, words });
    sums
}

struct SumsWhereSet<'a> {
    slice: usize,
    sums: &'a mut [u64],
    by: &'a [u64],
    words: &'a [u64],
}

impl Loop for SumsWhereSet<'_> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let (lanes, _) = self.sums.as_chunks_mut::<64>();
        // Word by word, so that the sums stay in the cache.
        for (w, lanes) in lanes.iter_mut().enumerate() {
            let by = self.by.iter().skip(w).step_by(self.slice);
            for (&by, &word) in by.zip(self.words.iter().skip(w).step_by(self.slice)) {
                for (l, sum) in lanes.iter_mut().enumerate() {
                    *sum ^= by & (word >> l & 1).wrapping_neg();
                }
            }
        }
    }
}

/// The remainder of a product of 128 bits.
#[inline(always)]
pub(crate) fn reduced(low: u64, high: u64) -> u64 {
    // X^64 = X^4 + X^3 + X + 1; what that carries over the top again is at most four bits.
    let over = (high >> 63) ^ (high >> 61) ^ (high >> 60);
    let high = high ^ over;
    low ^ high ^ (high << 1) ^ (high << 3) ^ (high << 4)
}

/// Without an instruction for it.
pub(crate) mod portable {
    /// See [`super::dot`].
    pub(crate) fn dot(a: &[u64], b: &[u64]) -> u64 {
        a.iter().zip(b).fold(0, |sum, (&a, &b)| sum ^ mul(a, b))
    }

    /// See [`super::mul`].
    pub(crate) fn mul(a: u64, b: u64) -> u64 {
        // The upper half is the lower one of the operands read backwards.
        let high = low_half(a.reverse_bits(), b.reverse_bits()).reverse_bits() >> 1;
        super::reduced(low_half(a, b), high)
    }

    /// The product modulo X^64. Every fourth bit at a time, an integer product's carries do not
    /// reach the next one: at most 16 ones meet.
    fn low_half(a: u64, b: u64) -> u64 {
        const EACH: [u64; 4] =
            [0x1111_1111_1111_1111, 0x2222_2222_2222_2222, 0x4444_4444_4444_4444, 0x8888_8888_8888_8888];
        let (a, b) = (EACH.map(|m| a & m), EACH.map(|m| b & m));
        (0..4).fold(0, |sum, of| {
            let part = (0..4).fold(0u64, |part, i| part ^ a[i].wrapping_mul(b[(of + 4 - i) % 4]));
            sum | part & EACH[of]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use subrosa_core::Seed;

    /// As it is done by hand.
    fn by_hand(a: u64, b: u64) -> u64 {
        let mut product = (0..64).filter(|i| b >> i & 1 == 1).fold(0u128, |sum, i| sum ^ u128::from(a) << i);
        for i in (64..128).rev().filter(|&i| i < 128) {
            if product >> i & 1 == 1 {
                product ^= (1 << i) ^ (0b11011 << (i - 64));
            }
        }
        product as u64
    }

    fn samples() -> Vec<u64> {
        let edges = [0, 1, 2, 1 << 63, u64::MAX, 0x1111_1111_1111_1111, 0x8888_8888_8888_8888];
        edges.into_iter().chain(Seed::from_bytes([7; 32]).stream("gf64").u64s(200)).collect()
    }

    #[test]
    fn products_are_those_by_hand() {
        let x = samples();
        for (i, &a) in x.iter().enumerate() {
            for &b in &x[i..] {
                let expected = by_hand(a, b);
                assert_eq!((portable::mul(a, b), mul(a, b)), (expected, expected), "{a:x} {b:x}");
            }
        }
    }

    #[test]
    fn every_element_but_zero_has_an_inverse() {
        // a^(2^64 - 2): the polynomial is irreducible only if this inverts everything.
        for a in samples().into_iter().filter(|&a| a != 0) {
            let (mut power, mut inverse) = (a, 1);
            for _ in 1..64 {
                power = mul(power, power);
                inverse = mul(inverse, power);
            }
            assert_eq!(mul(a, inverse), 1, "{a:x}");
        }
    }

    #[test]
    fn sums_of_products() {
        let x = samples();
        let y: Vec<u64> = x.iter().rev().copied().collect();
        for n in [0, 1, 2, 3, x.len()] {
            let each: Vec<u64> = x[..n].iter().zip(&y).map(|(&x, &y)| by_hand(x, y)).collect();
            assert_eq!(dot(&x[..n], &y[..n]), each.iter().fold(0, |sum, z| sum ^ z));
            let mut multiplied = x[..n].to_vec();
            products(&mut multiplied, &y[..n]);
            assert_eq!(multiplied, each);
            let mut sum = y[..n].to_vec();
            add_scaled(&mut sum, 0x9e37_79b9_7f4a_7c15, &x[..n]);
            let scaled = |(y, &x): (&u64, &u64)| y ^ by_hand(x, 0x9e37_79b9_7f4a_7c15);
            assert_eq!(sum, y[..n].iter().zip(&x[..n]).map(scaled).collect::<Vec<_>>());
        }
    }

    #[test]
    fn set_bits_select() {
        let (by, words) = (samples(), samples().into_iter().rev().collect::<Vec<_>>());
        for slice in [1, 3, by.len()] {
            let len = by.len() / slice * slice;
            let sums = sums_where_set(slice, &by[..len], &words[..len]);
            assert_eq!(sums.len(), 64 * slice);
            for (i, sum) in sums.iter().enumerate() {
                let set = (i / 64..len).step_by(slice).filter(|&w| words[w] >> (i % 64) & 1 == 1);
                assert_eq!(*sum, set.fold(0, |sum, w| sum ^ by[w]));
            }
        }
    }
}
