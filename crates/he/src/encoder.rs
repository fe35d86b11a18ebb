//! Real numbers in slots: the canonical embedding.
//!
//! A polynomial with real coefficients is known by its values at the `n/2` primitive
//! roots `exp(i pi 5^j / n)`: slot `j`. Encoding evaluates backwards, multiplies by a
//! scale and rounds. The automorphism `X -> X^(5^r)` rotates the slots by `r` to the left.
//!
//! **Source:** J. Cheon, A. Kim, M. Kim, Y. Song, "Homomorphic encryption for arithmetic of
//! approximate numbers", 2016, section 3.2, <https://eprint.iacr.org/2016/421>; the fast
//! transform over the powers of 5 is that of its revised implementation.

use crate::Error;
use subrosa_core::Secret;
use subrosa_lattice::{Factor, Modulus, Params, Poly};
use zeroize::Zeroize;

/// Encodes and decodes for one ring degree.
#[derive(Clone, Debug)]
pub struct Encoder {
    n: usize,
    /// `5^j mod 2n`.
    powers: Vec<usize>,
    /// `exp(i pi k / n)`: cosine and sine.
    roots: Vec<Complex>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Complex {
    re: f64,
    im: f64,
}

impl Zeroize for Complex {
    fn zeroize(&mut self) {
        self.re.zeroize();
        self.im.zeroize();
    }
}

impl Complex {
    fn add(self, o: Self) -> Self {
        Self { re: self.re + o.re, im: self.im + o.im }
    }

    fn sub(self, o: Self) -> Self {
        Self { re: self.re - o.re, im: self.im - o.im }
    }

    fn mul(self, o: Self) -> Self {
        Self { re: self.re * o.re - self.im * o.im, im: self.re * o.im + self.im * o.re }
    }
}

/// Coefficients must stay below this, to be exact as integers with room for a sum.
const MAX_COEFFICIENT: f64 = (1u64 << 62) as f64;

impl Encoder {
    /// For ring degree `n`, a power of two.
    pub fn new(n: usize) -> Self {
        let two_n = 2 * n;
        let powers = std::iter::successors(Some(1), |p| Some(p * 5 % two_n)).take(n / 2).collect();
        let angle = |k: usize| std::f64::consts::PI * k as f64 / n as f64;
        let roots = (0..=two_n).map(|k| Complex { re: angle(k).cos(), im: angle(k).sin() }).collect();
        Self { n, powers, roots }
    }

    /// Numbers in one polynomial.
    pub fn slots(&self) -> usize {
        self.n / 2
    }

    /// The Galois element that rotates the slots by `r` to the left.
    pub fn rotation(&self, r: usize) -> usize {
        self.powers[r % self.slots()]
    }

    /// Integer coefficients of the polynomial whose slots hold `scale * values`; missing
    /// values are zero.
    ///
    /// **Errors:** [`Error::Input`] for more values than slots and for what is not finite
    /// or too large at this scale.
    pub fn coefficients(&self, values: &[f64], scale: f64) -> Result<Vec<i64>, Error> {
        if values.len() > self.slots() {
            return Err(Error::Input(format!("{} values do not fit {} slots", values.len(), self.slots())));
        }
        let mut v = Secret::new(vec![Complex::default(); self.slots()]);
        v.expose_mut().iter_mut().zip(values).for_each(|(v, &x)| v.re = x);
        self.to_coefficients(v.expose_mut());
        let half = self.n / 2;
        let v = v.expose();
        let real = |i: usize| if i < half { v[i].re } else { v[i - half].im };
        let scaled = |i: usize| real(i) * scale;
        // One comparison of the largest: no branch on a single value.
        let largest =
            (0..self.n).map(|i| scaled(i).abs()).fold(0.0, |m: f64, x| if x > m || x.is_nan() { x } else { m });
        if largest.is_nan() || largest >= MAX_COEFFICIENT {
            return Err(Error::Input("a value is not finite, or too large for the scale".to_owned()));
        }
        Ok((0..self.n).map(|i| (scaled(i) + 0.5f64.copysign(scaled(i))) as i64).collect())
    }

    /// The same as evaluations at `level`.
    ///
    /// **Errors:** as [`Encoder::coefficients`].
    pub fn encode(
        &self,
        params: &Params,
        values: &[f64],
        scale: f64,
        level: usize,
        special: bool,
    ) -> Result<Poly, Error> {
        let coefficients = Secret::new(self.coefficients(values, scale)?);
        let mut x = params.from_signed(coefficients.expose(), level, special);
        params.forward(&mut x);
        Ok(x)
    }

    /// The slots of a polynomial with these coefficients, divided by `scale`.
    pub fn slots_of(&self, coefficients: &[f64], scale: f64) -> Vec<f64> {
        let half = self.n / 2;
        let mut v: Vec<Complex> =
            (0..half).map(|i| Complex { re: coefficients[i], im: coefficients[i + half] }).collect();
        self.to_slots(&mut v);
        let out = v.iter().map(|c| c.re / scale).collect();
        v.zeroize();
        out
    }

    /// Slots to coefficients: `v[i].re` is coefficient `i`, `v[i].im` coefficient `i + n/2`.
    fn to_coefficients(&self, v: &mut [Complex]) {
        let size = v.len();
        let mut len = size;
        while len > 1 {
            let (half, turn) = (len / 2, 4 * len);
            let gap = 2 * self.n / turn;
            for block in v.chunks_exact_mut(len) {
                let (low, high) = block.split_at_mut(half);
                for (j, (a, b)) in low.iter_mut().zip(high).enumerate() {
                    let root = self.roots[(turn - self.powers[j] % turn) * gap];
                    (*a, *b) = (a.add(*b), a.sub(*b).mul(root));
                }
            }
            len = half;
        }
        bit_reverse(v);
        let scale = 1.0 / size as f64;
        v.iter_mut().for_each(|c| *c = Complex { re: c.re * scale, im: c.im * scale });
    }

    fn to_slots(&self, v: &mut [Complex]) {
        bit_reverse(v);
        let mut len = 2;
        while len <= v.len() {
            let (half, turn) = (len / 2, 4 * len);
            let gap = 2 * self.n / turn;
            for block in v.chunks_exact_mut(len) {
                let (low, high) = block.split_at_mut(half);
                for (j, (a, b)) in low.iter_mut().zip(high).enumerate() {
                    let w = b.mul(self.roots[self.powers[j] % turn * gap]);
                    (*a, *b) = (a.add(w), a.sub(w));
                }
            }
            len *= 2;
        }
    }
}

fn bit_reverse(v: &mut [Complex]) {
    let bits = v.len().trailing_zeros();
    for i in 0..v.len() {
        let j = i.reverse_bits() >> (usize::BITS - bits);
        if i < j {
            v.swap(i, j);
        }
    }
}

/// Centred coefficients of a polynomial at any level, as real numbers.
///
/// Garner's mixed radix: with digits `v_i` the value is `v_0 + v_1 q_0 + v_2 q_0 q_1 ...`;
/// it is negative where it exceeds half of the modulus. Nothing branches on a coefficient.
pub(crate) fn centred_coefficients(params: &Params, x: &mut Poly) -> Vec<f64> {
    params.inverse(x);
    let level = x.level();
    let primes: Vec<Modulus> = (0..level).map(|i| *params.modulus(i)).collect();
    let inverse = |i: usize, j: usize| primes[i].factor(primes[i].inverse(primes[j].value()));
    let inverses: Vec<Vec<Factor>> = (0..level).map(|i| (0..i).map(|j| inverse(i, j)).collect()).collect();
    let mut digits = Secret::new(vec![0; level]);
    let column = |k: usize| {
        let digits = digits.expose_mut();
        for (i, (m, inverses)) in primes.iter().zip(&inverses).enumerate() {
            let (below, rest) = digits.split_at_mut(i);
            let step = |v, (&d, &inverse): (&u64, &Factor)| m.mul_factor(m.sub(v, m.reduce(d)), inverse);
            rest[0] = below.iter().zip(inverses).fold(x.row(i)[k], step);
        }
        centred(&primes, digits)
    };
    (0..params.n()).map(column).collect()
}

/// The number with these digits, which are left as those of its size.
fn centred(primes: &[Modulus], digits: &mut [u64]) -> f64 {
    // The top digit tells on which side of the half the value lies: all ones for the upper one.
    let above = |(m, &top): (&Modulus, &u64)| ((m.value() / 2).wrapping_sub(top) >> 63).wrapping_neg();
    let negative = primes.iter().zip(&*digits).next_back().map_or(0, above);
    // The modulus less the value: the complement of every digit, and one.
    let mut carry = 1;
    for (m, digit) in primes.iter().zip(&mut *digits) {
        let opposite = m.add(m.value() - 1 - *digit, carry);
        // The carry goes on where the sum was the prime itself.
        carry &= opposite.wrapping_sub(1) >> 63;
        *digit ^= (*digit ^ opposite) & negative;
    }
    let digits = primes.iter().zip(&*digits).rev();
    let size: f64 = digits.fold(0.0, |sum, (m, &d)| sum * m.value() as f64 + d.cast_signed() as f64);
    f64::from_bits(size.to_bits() ^ negative << 63)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use subrosa_lattice::modulus::primes_below;

    /// The definition: slot `j` is the polynomial at `exp(i pi 5^j / n)`.
    #[test]
    fn slots_are_values_at_powers_of_five() {
        let e = Encoder::new(64);
        let values: Vec<f64> = (0..32).map(|i| f64::from(i) * 0.37 - 5.0).collect();
        let c = e.coefficients(&values, (1u64 << 40) as f64).unwrap();
        for (j, &value) in values.iter().enumerate() {
            let angle = std::f64::consts::PI * e.powers[j] as f64 / 64.0;
            let at = |i: usize| (angle * i as f64).cos();
            let sum: f64 = c.iter().enumerate().map(|(i, &c)| c as f64 * at(i)).sum();
            assert!((sum / (1u64 << 40) as f64 - value).abs() < 1e-9, "slot {j}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let e = Encoder::new(64);
        assert!(e.coefficients(&[0.0; 33], 1.0).is_err());
        assert!(e.coefficients(&[f64::NAN], 1.0).is_err() && e.coefficients(&[f64::INFINITY], 1.0).is_err());
        assert!(e.coefficients(&[1e18], 1e9).is_err());
    }

    /// Against whole numbers: every value near nothing, the half and the modulus, and some between.
    #[test]
    fn digits_give_the_centred_number() {
        for bits in [&[18][..], &[18, 20], &[20, 18, 19], &[48, 47], &[40, 40, 40]] {
            let mut taken = Vec::new();
            for &bits in bits {
                taken.push(primes_below(6, bits, 1, &taken).unwrap()[0]);
            }
            let primes: Vec<Modulus> = taken.iter().map(|&p| Modulus::new(p).unwrap()).collect();
            let modulus: u128 = taken.iter().map(|&p| u128::from(p)).product();
            let rest = modulus / u128::from(taken[bits.len() - 1]);
            // Where the top digit leaves its lower half: half a digit above the half.
            let half = u128::from(taken[bits.len() - 1] / 2 + 1) * rest;
            let near = |x: u128| (0..5).map(move |i| x + i).chain((1..5).map(move |i| x.wrapping_sub(i)));
            let between = (1..200).map(|i| modulus / 200 * i);
            for x in [0, rest, half, modulus].into_iter().flat_map(near).chain(between).filter(|&x| x < modulus) {
                let digits = |mut x: u128| -> Vec<u64> {
                    let digit = |&p: &u64| {
                        let digit = x % u128::from(p);
                        x /= u128::from(p);
                        digit as u64
                    };
                    taken.iter().map(digit).collect()
                };
                let real = |digits: &[u64]| {
                    digits.iter().zip(&taken).rev().fold(0.0, |sum, (&d, &p)| sum * p as f64 + d as f64)
                };
                let expected = if x < half { real(&digits(x)) } else { -real(&digits(modulus - x)) };
                let found = centred(&primes, &mut digits(x));
                assert_eq!(found.to_bits(), expected.to_bits(), "{x} modulo {modulus}");
            }
        }
    }

    proptest! {
        #[test]
        fn decoding_undoes_encoding(values in prop::collection::vec(-1e3f64..1e3, 0..128), bits in 20u32..45) {
            let e = Encoder::new(256);
            let scale = f64::from(bits).exp2();
            let c: Vec<f64> = e.coefficients(&values, scale).unwrap().iter().map(|&c| c as f64).collect();
            let back = e.slots_of(&c, scale);
            // Rounding: n coefficients off by at most one half.
            let bound = 128.0 / scale + 1e-9;
            for (i, b) in back.iter().enumerate() {
                prop_assert!((b - values.get(i).unwrap_or(&0.0)).abs() <= bound);
            }
        }
    }
}
