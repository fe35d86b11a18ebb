//! Operations on residues against the same on whole integers (128 bits; the parameters are
//! small enough for it).

use super::{params, seed};
use crate::modulus::Modulus;
use crate::{Params, Poly};
use proptest::prelude::*;

/// The product of these primes of a polynomial.
fn modulus(params: &Params, primes: impl Iterator<Item = usize>) -> i128 {
    primes.map(|i| i128::from(params.modulus(i).value())).product()
}

/// Coefficients as integers in `(-D/2, D/2]`, from the residues in these rows
/// `(row, prime)` with product `D`: the Chinese remainder theorem.
fn integers(params: &Params, x: &Poly, rows: &[(usize, usize)]) -> Vec<i128> {
    let d = modulus(params, rows.iter().map(|r| r.1));
    let idempotent = |m: &Modulus| {
        let rest = d / i128::from(m.value());
        rest * i128::from(m.inverse((rest % i128::from(m.value())) as u64)) % d
    };
    let terms: Vec<(&[u64], i128)> = rows.iter().map(|&(row, i)| (x.row(row), idempotent(params.modulus(i)))).collect();
    let wide = |a: u64, b: i128| {
        // Twelve bits at a time, from the top: a product is below 2^12 d.
        (0..4).rev().fold(0, |acc, k| ((acc << 12) + i128::from(a >> (12 * k) & 0xfff) * b) % d)
    };
    let centred = |v: i128| if v > d / 2 { v - d } else { v };
    (0..params.n()).map(|k| centred(terms.iter().fold(0, |sum, (row, e)| (sum + wide(row[k], *e)) % d))).collect()
}

/// Uniform evaluations and the integers of their coefficients, over all rows.
fn random(params: &Params, from: u64, level: usize, special: bool) -> (Poly, Vec<i128>) {
    let x = crate::sample::uniform(params, &seed(from, 1), level, special);
    let integers = integers_of(params, &x);
    (x, integers)
}

fn integers_of(params: &Params, x: &Poly) -> Vec<i128> {
    let mut x = x.clone();
    params.inverse(&mut x);
    let rows: Vec<_> = (0..x.rows()).map(|row| (row, params.prime_of(&x, row))).collect();
    integers(params, &x, &rows)
}

/// `x / d` rounded; `d` is odd, so nothing lies half way.
fn rounded(x: i128, d: i128) -> i128 {
    (2 * x + d).div_euclid(2 * d)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4))]
    #[test]
    fn rescaling_rounds(from: u64) {
        let params = params(12, &[32, 27, 20], &[27]);
        let (mut x, whole) = random(&params, from, 3, false);
        let last = i128::from(params.modulus(2).value());
        params.rescale_poly(&mut x);
        let d = modulus(&params, 0..2);
        let found = integers_of(&params, &x);
        // A quotient of half the modulus may come back with the other sign.
        prop_assert!(found.iter().zip(&whole).all(|(f, w)| (f - rounded(*w, last)) % d == 0));
    }

    #[test]
    fn dividing_by_one_special_prime_rounds_and_by_two_nearly(from: u64) {
        for (params, slack) in [(params(12, &[34, 27], &[36]), 0), (params(12, &[26, 24], &[27, 28]), 1)] {
            let (mut x, whole) = random(&params, from, 2, true);
            let special = modulus(&params, 2..2 + params.special());
            let d = modulus(&params, 0..2);
            params.mod_down(&mut x);
            let found = integers_of(&params, &x);
            for (f, w) in found.iter().zip(&whole) {
                let off = (f - rounded(*w, special)).rem_euclid(d);
                prop_assert!(off <= slack || off >= d - slack, "off by {off}");
            }
        }
    }

    /// Each digit is one small integer modulo every prime, and congruent to the polynomial
    /// modulo the primes of the digit.
    #[test]
    fn digits_are_small_and_make_up_the_polynomial(from: u64) {
        for params in [params(12, &[28, 27], &[30]), params(12, &[20, 21, 20], &[22, 23])] {
            let level = params.levels();
            let (x, _) = random(&params, from, level, false);
            let mut coefficients = x.clone();
            params.inverse(&mut coefficients);
            for (j, digit) in params.decompose(&x).polynomials().iter().enumerate() {
                let change = params.digit(j, level);
                let d = modulus(&params, change.from.clone());
                // Half of D for one prime, and half of it again for each further one.
                let most = d * change.from.len() as i128 / 2;
                let whole = integers_of(&params, digit);
                prop_assert!(whole.iter().all(|v| v.abs() <= most), "a digit is small");
                for i in change.from.clone() {
                    let m = params.modulus(i);
                    let residue = |v: i128| v.rem_euclid(i128::from(m.value())) as u64;
                    prop_assert!(whole.iter().zip(coefficients.row(i)).all(|(v, &x)| residue(*v) == x));
                }
            }
        }
    }
}
