//! Arithmetic modulo a prime below 2^48, and the primes that a transform needs.
//!
//! Multipliers that are used often come as [`Factor`]: the word and its quotient by the
//! prime in 52 fraction bits, because 52 bits is what AVX-512 IFMA multiplies (Shoup's
//! method; D. Harvey, "Faster arithmetic for number-theoretic transforms", 2014, section
//! 2, <https://arxiv.org/abs/1205.2926>). Every kernel uses the same quotients, so all of
//! them give the same words.

use crate::Error;

/// Bits of a machine word in Shoup's method.
pub(crate) const WORD: u32 = 52;
/// Every prime is below `2^MAX_PRIME_BITS`: sums of 256 products then fit two 52-bit words.
pub const MAX_PRIME_BITS: u32 = 48;
/// And above this: smaller ones are too few for any ring degree we allow.
pub const MIN_PRIME_BITS: u32 = 18;

/// A prime with what is needed to reduce by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Modulus {
    p: u64,
    /// `floor(2^52 / p)`: the quotient of the factor 1.
    one_quotient: u64,
    /// `floor(2^64 / p)`, to reduce numbers of more than 52 bits.
    long_quotient: u64,
    /// `2^52 mod p`, to fold the upper word of a double word.
    word: Factor,
}

/// A multiplier modulo a prime with its quotient `floor(value * 2^52 / p)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Factor {
    /// The multiplier, below the prime.
    pub value: u64,
    /// `floor(value * 2^52 / p)`.
    pub quotient: u64,
}

impl Modulus {
    /// **Errors:** [`Error::Parameters`] unless `p` is a prime of
    /// [`MIN_PRIME_BITS`] to [`MAX_PRIME_BITS`] bits.
    pub fn new(p: u64) -> Result<Self, Error> {
        let bits = u64::BITS - p.leading_zeros();
        if !(MIN_PRIME_BITS..=MAX_PRIME_BITS).contains(&bits) || !is_prime(p) {
            return Err(Error::Parameters(format!("{p} is not a prime of {MIN_PRIME_BITS} to {MAX_PRIME_BITS} bits")));
        }
        let unset = Factor { value: 0, quotient: 0 };
        let long_quotient = ((1u128 << 64) / u128::from(p)) as u64;
        let mut modulus = Self { p, one_quotient: (1u64 << WORD) / p, long_quotient, word: unset };
        modulus.word = modulus.factor((1u64 << WORD) % p);
        Ok(modulus)
    }

    /// The prime.
    #[inline(always)]
    pub fn value(&self) -> u64 {
        self.p
    }

    /// Bits of the prime.
    pub fn bits(&self) -> u32 {
        u64::BITS - self.p.leading_zeros()
    }

    #[inline(always)]
    pub(crate) fn one_quotient(&self) -> u64 {
        self.one_quotient
    }

    #[inline(always)]
    pub(crate) fn word(&self) -> Factor {
        self.word
    }

    /// `value mod p` as a multiplier.
    pub fn factor(&self, value: u64) -> Factor {
        let value = value % self.p;
        Factor { value, quotient: ((u128::from(value) << WORD) / u128::from(self.p)) as u64 }
    }

    /// `x + y` of residues.
    #[inline(always)]
    pub fn add(&self, x: u64, y: u64) -> u64 {
        reduce_once(x + y, self.p)
    }

    /// `x - y` of residues.
    #[inline(always)]
    pub fn sub(&self, x: u64, y: u64) -> u64 {
        reduce_once(x + self.p - y, self.p)
    }

    /// `-x` of a residue.
    #[inline(always)]
    pub fn neg(&self, x: u64) -> u64 {
        reduce_once(self.p - x, self.p)
    }

    /// `x * y mod p`. Not for inner loops.
    #[inline(always)]
    pub fn mul(&self, x: u64, y: u64) -> u64 {
        (u128::from(x) * u128::from(y) % u128::from(self.p)) as u64
    }

    /// `x * w mod p` in `[0, 2p)`, for any `x` below 2^52.
    #[inline(always)]
    pub(crate) fn mul_lazy(&self, x: u64, w: Factor) -> u64 {
        let q = high(x, w.quotient);
        // The true difference lies in [0, 2p), so wrapping products give it exactly.
        x.wrapping_mul(w.value).wrapping_sub(q.wrapping_mul(self.p))
    }

    /// `x * w mod p`, for any `x` below 2^52.
    #[inline(always)]
    pub fn mul_factor(&self, x: u64, w: Factor) -> u64 {
        reduce_once(self.mul_lazy(x, w), self.p)
    }

    /// `x mod p`, for any `x` below 2^52.
    #[inline(always)]
    pub fn reduce(&self, x: u64) -> u64 {
        self.mul_factor(x, Factor { value: 1, quotient: self.one_quotient })
    }

    /// A signed integer modulo `p`, without a branch or a division: it may be secret.
    #[inline(always)]
    pub fn signed(&self, x: i64) -> u64 {
        let negative = (x >> 63).cast_unsigned();
        let size = (x.cast_unsigned() ^ negative).wrapping_sub(negative);
        // Barrett's: too small by one at most, since 2^64/p is by less than one and `size` at most 2^63.
        let quotient = ((u128::from(size) * u128::from(self.long_quotient)) >> 64) as u64;
        let residue = reduce_once(size - quotient * self.p, self.p);
        residue ^ (residue ^ self.neg(residue)) & negative
    }

    /// The residue in `(-p/2, p/2]`.
    #[inline(always)]
    pub fn centred(&self, x: u64) -> i64 {
        if x > self.p / 2 { x as i64 - self.p as i64 } else { x as i64 }
    }

    /// `x^e mod p`.
    pub fn pow(&self, mut x: u64, mut e: u64) -> u64 {
        let mut y = 1;
        while e > 0 {
            if e & 1 == 1 {
                y = self.mul(y, x);
            }
            x = self.mul(x, x);
            e >>= 1;
        }
        y
    }

    /// `1 / x`, for `x` not divisible by `p` (Fermat).
    pub fn inverse(&self, x: u64) -> u64 {
        self.pow(x % self.p, self.p - 2)
    }

    /// A primitive root of unity of order `2n`, `n` a power of two: the smallest power
    /// found, the same on every machine.
    pub(crate) fn root(&self, two_n: u64) -> Option<u64> {
        if !(self.p - 1).is_multiple_of(two_n) {
            return None;
        }
        (2..self.p).map(|g| self.pow(g, (self.p - 1) / two_n)).find(|&w| self.pow(w, two_n / 2) == self.p - 1)
    }
}

/// `x mod p` for `x` below `2p`, without a branch.
#[inline(always)]
pub(crate) fn reduce_once(x: u64, p: u64) -> u64 {
    // Where x < p, the difference wraps to a huge number.
    x.min(x.wrapping_sub(p))
}

/// `floor(x * y / 2^52)` for `x` and `y` below 2^52.
#[inline(always)]
pub(crate) fn high(x: u64, y: u64) -> u64 {
    // Where products of 64 bits are calls into a library, wasm among them, halves are faster.
    if cfg!(target_pointer_width = "32") {
        high_by_halves(x, y)
    } else {
        ((u128::from(x) * u128::from(y)) >> WORD) as u64
    }
}

/// The same, by products of 26 bits: their sums stay below 2^54.
#[inline(always)]
fn high_by_halves(x: u64, y: u64) -> u64 {
    const HALF: u32 = WORD / 2;
    let low = |v: u64| v & ((1 << HALF) - 1);
    let middle = (x >> HALF) * low(y) + low(x) * (y >> HALF) + ((low(x) * low(y)) >> HALF);
    (x >> HALF) * (y >> HALF) + (middle >> HALF)
}

/// The `count` primes `p = 1 mod 2n` nearest below `2^bits` that are not in `taken`.
///
/// **Errors:** [`Error::Parameters`] if there are too few of that size.
pub fn primes_below(log_n: u32, bits: u32, count: usize, taken: &[u64]) -> Result<Vec<u64>, Error> {
    let step = 2u64 << log_n;
    let top = 1u64 << bits.min(MAX_PRIME_BITS);
    let candidates = (1..top / step).map(|i| top - i * step + 1).take_while(|p| *p > top / 2);
    let found: Vec<u64> = candidates.filter(|p| !taken.contains(p) && is_prime(*p)).take(count).collect();
    if found.len() == count {
        return Ok(found);
    }
    Err(Error::Parameters(format!("there are not {count} primes of {bits} bits for ring degree 2^{log_n}")))
}

/// Deterministic Miller-Rabin for 64-bit numbers: the first twelve primes as bases (J.
/// Sorenson, J. Webster, "Strong pseudoprimes to twelve prime bases", 2015,
/// <https://arxiv.org/abs/1509.00864>).
pub fn is_prime(n: u64) -> bool {
    const BASES: [u64; 12] = [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37];
    if n < 2 {
        return false;
    }
    if let Some(p) = BASES.into_iter().find(|&p| n.is_multiple_of(p)) {
        return n == p;
    }
    let s = (n - 1).trailing_zeros();
    BASES.into_iter().all(|base| passes(n, s, base))
}

fn passes(n: u64, s: u32, base: u64) -> bool {
    let mul = |x: u64, y: u64| (u128::from(x) * u128::from(y) % u128::from(n)) as u64;
    let (mut x, mut b, mut e) = (1, base, (n - 1) >> s);
    while e > 0 {
        if e & 1 == 1 {
            x = mul(x, b);
        }
        b = mul(b, b);
        e >>= 1;
    }
    let squares = std::iter::successors(Some(x), |&x| Some(mul(x, x))).take(s as usize);
    x == 1 || squares.into_iter().any(|x| x == n - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn modulus() -> Modulus {
        Modulus::new(primes_below(13, 48, 1, &[]).unwrap()[0]).unwrap()
    }

    #[test]
    fn primality_is_known() {
        let small: Vec<u64> = (0..60).filter(|&n| is_prime(n)).collect();
        assert_eq!(small, [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59]);
        assert!(is_prime((1 << 61) - 1) && !is_prime(3_215_031_751) && !is_prime((1 << 61) + 1));
    }

    #[test]
    fn what_is_no_prime_of_the_size_is_refused() {
        for bad in [0, 1, 17, (1 << 47) + 1, (1 << 61) - 1] {
            assert!(Modulus::new(bad).is_err(), "{bad}");
        }
        assert!(primes_below(13, 20, 1000, &[]).is_err());
    }

    #[test]
    fn roots_have_their_order() {
        let m = modulus();
        let w = m.root(1 << 14).unwrap();
        assert_eq!(m.pow(w, 1 << 13), m.value() - 1);
        assert!(m.root(3 << 40).is_none());
    }

    proptest! {
        #[test]
        fn halves_give_the_upper_word(x in 0u64..1 << 52, y in 0u64..1 << 52) {
            for (x, y) in [(x, y), ((1 << 52) - 1, y), ((1 << 52) - 1, (1 << 52) - 1)] {
                let exact = ((u128::from(x) * u128::from(y)) >> 52) as u64;
                prop_assert_eq!((high(x, y), high_by_halves(x, y)), (exact, exact));
            }
        }

        #[test]
        fn signed_integers_are_reduced(bits in MIN_PRIME_BITS..=MAX_PRIME_BITS, x: i64, k: i64) {
            let m = Modulus::new(primes_below(6, bits, 1, &[]).unwrap()[0]).unwrap();
            let p = m.value().cast_signed();
            let multiple = k / p * p;
            let edges = [0, 1, p - 1, p, p + 1, 1 << WORD, (1 << WORD) - 1, 1 << 62, i64::MAX, i64::MIN, multiple];
            let signs = edges.into_iter().flat_map(|x| [x, x.wrapping_neg(), x.wrapping_sub(1)]);
            for x in signs.chain([x, x >> 8, x >> 16, x >> 40]) {
                prop_assert_eq!(m.signed(x), x.rem_euclid(p).cast_unsigned(), "{} modulo {}", x, p);
            }
        }

        #[test]
        fn products_are_exact(x in 0u64..1 << 52, w: u64, y: u64, s: i64) {
            let m = modulus();
            let p = m.value();
            let big = |a: u64, b: u64| (u128::from(a) * u128::from(b) % u128::from(p)) as u64;
            prop_assert_eq!(m.mul_factor(x, m.factor(w)), big(x, w % p));
            prop_assert!(m.mul_lazy(x, m.factor(w)) < 2 * p);
            prop_assert_eq!(m.reduce(x), x % p);
            let (a, b) = (w % p, y % p);
            prop_assert_eq!(m.add(m.sub(a, b), b), a);
            prop_assert_eq!(m.add(m.neg(a), a), 0);
            prop_assert_eq!(m.signed(m.centred(a)), a);
            prop_assert_eq!(i128::from(m.signed(s)), i128::from(s).rem_euclid(i128::from(p)));
            if a != 0 { prop_assert_eq!(m.mul(a, m.inverse(a)), 1); }
        }
    }
}
