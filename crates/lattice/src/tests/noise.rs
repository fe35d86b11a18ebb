//! Errors against their stated bounds, for keys and messages from printed seeds.

use super::{message, params, seed};
use crate::sample::{COINS, error_deviation};
use crate::{Ciphertext, EvaluationKeys, Params, Poly, SecretKey};
use proptest::prelude::*;

/// Deviations that no coefficient of a sum of many small terms exceeds: of 2^15 normal ones,
/// more than seven once in 10^7 polynomials.
const DEVIATIONS: f64 = 7.0;

/// Digits of one prime and of two; primes of one size and of several.
fn sets() -> [Params; 3] {
    [params(12, &[36, 30], &[38]), params(13, &[40, 34, 34, 28], &[39, 39]), params(13, &[48, 45, 45], &[48])]
}

fn encrypt(secret: &SecretKey, m: &Poly, from: u64) -> Ciphertext {
    secret.encrypt_from(m, &seed(from, 8), &seed(from, 9)).expand(secret.params())
}

/// The largest coefficient of what `c` decrypts to less `m`, modulo the first prime.
fn error(secret: &SecretKey, c: &Ciphertext, m: &Poly) -> f64 {
    let params = secret.params();
    let mut m = m.clone();
    m.truncate(c.level());
    let mut rest = secret.decrypt(c);
    params.sub(&mut rest, &m);
    params.inverse(&mut rest);
    let first = params.modulus(0);
    rest.row(0).iter().map(|&v| first.centred(v).unsigned_abs()).max().unwrap_or(0) as f64
}

/// Digits below half of their product (and as much again for each further prime in them)
/// times errors, divided by the special primes, and the rounding of that division.
fn key_switch_bound(params: &Params) -> f64 {
    let n = params.n() as f64;
    let (count, special) = (params.digits(params.levels()) as f64, params.special() as f64);
    let product = |primes: &[u64]| primes.iter().map(|&p| p as f64).product::<f64>();
    let largest = params.literal().q.chunks(params.special()).map(product).fold(0.0, f64::max);
    let digit = largest * special / 12f64.sqrt();
    let sum = digit * error_deviation() * (n * count).sqrt() / product(&params.literal().special);
    // A rounding of deviation 1/sqrt(12) in each part, and the secret's two thirds of n terms.
    DEVIATIONS * (sum + special * (n / 18.0 + 1.0).sqrt())
}

fn within(what: &str, from: u64, params: &Params, error: f64, bound: f64) -> Result<(), TestCaseError> {
    println!("{what}: error 2^{:.1}, bound 2^{:.1} (n {}, seed {from})", error.log2(), bound.log2(), params.n());
    prop_assert!(error <= bound, "{what}: error {error}, bound {bound}, seed {from}");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]
    #[test]
    fn errors_stay_below_their_bounds(from: u64) {
        for params in sets() {
            let level = params.levels();
            let n = params.n() as f64;
            let secret = SecretKey::from_stream(&params, &mut seed(from, 1).stream("secret key"));
            let (coefficients, m) = message(&params, from, 1 << 20, level);
            let c = encrypt(&secret, &m, from);
            within("encryption", from, &params, error(&secret, &c, &m), f64::from(COINS))?;

            // v e + e0 + e1 s: two thirds of n terms twice, and one.
            let public = secret.public_key_from(&seed(from, 2), &seed(from, 3));
            let mut fresh = Ciphertext { c0: m.clone(), c1: params.zero(level, false) };
            public.rerandomise_from(&params, &mut fresh, &seed(from, 10));
            let bound = DEVIATIONS * error_deviation() * (4.0 / 3.0 * n + 1.0).sqrt();
            within("public-key encryption", from, &params, error(&secret, &fresh, &m), bound)?;

            let g = 5;
            let mut keys = EvaluationKeys::new();
            keys.insert(g, secret.galois_key_from(g, level, &seed(from, 6), &seed(from, 7)).unwrap());
            let turned = params.automorphism(&c, g, &keys).unwrap();
            let expected = params.permute(&m, &params.permutation(g).unwrap());
            let bound = f64::from(COINS) + key_switch_bound(&params);
            within("key switch", from, &params, error(&secret, &turned, &expected), bound)?;

            // The factor of the last prime is divided away; the error with it.
            let last = params.modulus(level - 1).value() as i64;
            let mut times_last = params.from_signed(&coefficients, level, false);
            params.forward(&mut times_last);
            params.scale(&mut times_last, last);
            let mut c = encrypt(&secret, &times_last, from ^ 1);
            params.rescale(&mut c).unwrap();
            let bound = 1.0 + DEVIATIONS * ((1.0 + 2.0 / 3.0 * n) / 12.0).sqrt();
            within("rescale", from, &params, error(&secret, &c, &m), bound)?;
        }
    }

    /// The relinearised product against the exact product of what was decrypted, so that the
    /// key switch alone is measured.
    #[test]
    fn relinearisation_adds_no_more_than_a_key_switch(from: u64) {
        for params in sets() {
            let level = params.levels();
            let secret = SecretKey::from_stream(&params, &mut seed(from, 1).stream("secret key"));
            let mut keys = EvaluationKeys::new();
            keys.set_relinearisation(secret.relinearisation_key_from(level, &seed(from, 4), &seed(from, 5)).unwrap());
            let x = encrypt(&secret, &message(&params, from, 100, level).1, from);
            let y = encrypt(&secret, &message(&params, from ^ 2, 100, level).1, from ^ 2);
            let exact = params.dot(level, false, &[(&secret.decrypt(&x), &secret.decrypt(&y))]);
            let product = params.relinearise(params.tensor(&x, &y), &keys).unwrap();
            within("relinearisation", from, &params, error(&secret, &product, &exact), key_switch_bound(&params))?;
        }
    }
}
