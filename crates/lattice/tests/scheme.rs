//! Encryption, products, key switching and rescaling against their meaning, at secure
//! parameters, with the noise held against its bound.
#![expect(clippy::unwrap_used, reason = "the helpers of tests may panic")]

use subrosa_lattice::modulus::primes_below;
use subrosa_lattice::{Attacker, Ciphertext, EvaluationKeys, Params, ParamsLiteral, Poly, SecretKey};

fn params(log_n: u32, q_bits: &[u32], special_bits: &[u32]) -> Params {
    let mut taken = Vec::new();
    let mut pick = |bits: &[u32]| -> Vec<u64> {
        bits.iter()
            .map(|&b| {
                taken.push(primes_below(log_n, b, 1, &taken).unwrap()[0]);
                *taken.last().unwrap()
            })
            .collect()
    };
    let (q, special) = (pick(q_bits), pick(special_bits));
    Params::new(ParamsLiteral { log_n, q, special, attacker: Attacker::Classical }).unwrap()
}

/// One special prime and two, so that digits of one prime and of several are met.
fn sets() -> Vec<Params> {
    vec![params(12, &[36, 30], &[38]), params(13, &[40, 34, 34, 28], &[39, 39]), params(13, &[48, 45, 45], &[48])]
}

/// Small coefficients, different for each seed.
fn message(params: &Params, seed: i64, bound: i64) -> Vec<i64> {
    (0..params.n() as i64).map(|i| (i * i * 7 + i * seed * 31 + seed) % (2 * bound + 1) - bound).collect()
}

fn encrypt(key: &SecretKey, coefficients: &[i64], level: usize) -> Ciphertext {
    let mut m = key.params().from_signed(coefficients, level, false);
    key.params().forward(&mut m);
    key.encrypt(&m).unwrap().expand(key.params())
}

/// Centred coefficients modulo the first prime.
fn decrypt(key: &SecretKey, c: &Ciphertext) -> Vec<i64> {
    centred(key.params(), key.decrypt(c))
}

fn centred(params: &Params, mut x: Poly) -> Vec<i64> {
    params.inverse(&mut x);
    x.row(0).iter().map(|&v| params.modulus(0).centred(v)).collect()
}

fn largest_difference(a: &[i64], b: &[i64]) -> i64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).max().unwrap()
}

/// Negacyclic product by the schoolbook, in a few positions.
fn product_at(a: &[i64], b: &[i64], k: usize) -> i64 {
    let n = a.len();
    (0..n).map(|i| if i <= k { a[i] * b[k - i] } else { -a[i] * b[n + k - i] }).sum()
}

#[test]
fn fresh_ciphertexts_hold_their_message() {
    for params in sets() {
        let key = SecretKey::generate(&params).unwrap();
        for level in [1, params.levels()] {
            let m = message(&params, 3, 1 << 20);
            // Centred binomial errors are at most 21.
            assert!(largest_difference(&decrypt(&key, &encrypt(&key, &m, level)), &m) <= 21);
        }
    }
}

#[test]
fn public_key_ciphertexts_hold_theirs() {
    for params in sets() {
        let key = SecretKey::generate(&params).unwrap();
        let public = key.public_key().unwrap();
        let m = message(&params, 5, 1 << 20);
        let mut plain = params.from_signed(&m, params.levels(), false);
        params.forward(&mut plain);
        let c = public.encrypt(&params, &plain).unwrap();
        // v e + e0 + e1 s: deviation 3.24 sqrt(1 + 4/3 n); seven deviations.
        let bound = 7.0 * 3.24 * (1.0 + 4.0 / 3.0 * params.n() as f64).sqrt();
        assert!((largest_difference(&decrypt(&key, &c), &m) as f64) < bound);
    }
}

#[test]
fn products_relinearise() {
    for params in sets() {
        let key = SecretKey::generate(&params).unwrap();
        let level = params.levels();
        let mut keys = EvaluationKeys::new();
        keys.set_relinearisation(key.relinearisation_key(level).unwrap());
        let (a, b) = (message(&params, 1, 7), message(&params, 2, 7));
        let product = params.tensor(&encrypt(&key, &a, level), &encrypt(&key, &b, level));
        let found = decrypt(&key, &params.relinearise(product, &keys).unwrap());
        for k in [0, 1, 17, params.n() - 1] {
            // The errors of both factors, at most 21, meet messages of at most 7 in n terms,
            // and each other: deviation sqrt(n) (3.24 * 4.3 * sqrt 2 + 10.5); the key switch
            // adds less. Ten deviations.
            let bound = 10.0 * (params.n() as f64).sqrt() * 31.0 + key_switch_bound(&params);
            let error = (found[k] - product_at(&a, &b, k)).abs() as f64;
            assert!(error < bound, "error {error}, bound {bound}");
        }
    }
}

/// Seven deviations of a key switch: digits up to `D/2` times errors, over `P`, and the
/// rounding of the division.
fn key_switch_bound(params: &Params) -> f64 {
    let n = params.n() as f64;
    let special: f64 = params.literal().special.iter().map(|&p| p as f64).product();
    let digits = params.literal().q.chunks(params.special());
    let digit = digits.map(|d| d.iter().map(|&q| q as f64).product::<f64>()).fold(0.0, f64::max);
    let count = params.digits(params.levels()) as f64;
    // Base conversion adds up to one more `D` for each further prime of the digit.
    let size = digit * params.special() as f64 / 12f64.sqrt();
    7.0 * (size * 3.24 * (n * count).sqrt() / special + params.special() as f64 * (n / 18.0 + 1.0).sqrt())
}

#[test]
fn automorphisms_permute_coefficients() {
    for params in sets() {
        let key = SecretKey::generate(&params).unwrap();
        let (n, level) = (params.n(), params.levels());
        let m = message(&params, 4, 1 << 20);
        let c = encrypt(&key, &m, level);
        let mut keys = EvaluationKeys::new();
        for g in [5, 25, 2 * n - 1] {
            keys.insert(g, key.galois_key(g, level).unwrap());
            let mut expected = vec![0; n];
            for (i, &v) in m.iter().enumerate() {
                let at = i * g % (2 * n);
                expected[at % n] = if at < n { v } else { -v };
            }
            let bound = 21.0 + key_switch_bound(&params);
            let turned = params.automorphism(&c, g, &keys).unwrap();
            let error = largest_difference(&decrypt(&key, &turned), &expected) as f64;
            assert!(error < bound, "error {error}, bound {bound}");
            // The extended form is the same once it is divided.
            let digits = params.decompose(&c.c1);
            let late = params.automorphism_extended(&c, &digits, keys.galois(g, level).unwrap());
            let late = params.mod_down_pair(late);
            assert!((largest_difference(&decrypt(&key, &late), &expected) as f64) < bound);
            // A key of all primes serves lower levels too.
            if level > 1 {
                let mut low = c.clone();
                low.truncate(level - 1);
                let turned = params.automorphism(&low, g, &keys).unwrap();
                assert!((largest_difference(&decrypt(&key, &turned), &expected) as f64) < bound);
            }
        }
        assert!(params.automorphism(&c, 125, &keys).is_err(), "there is no such key");
        assert!(key.galois_key(4, level).is_err() && key.galois_key(5, 0).is_err());
    }
}

#[test]
fn rescaling_divides() {
    for params in sets() {
        let key = SecretKey::generate(&params).unwrap();
        let level = params.levels();
        let last = params.literal().q[level - 1] as i64;
        let m: Vec<i64> = message(&params, 6, 1 << 14);
        let scaled: Vec<i64> = m.iter().map(|v| v * last).collect();
        let mut c = encrypt(&key, &scaled, level);
        params.rescale(&mut c).unwrap();
        assert_eq!(c.level(), level - 1);
        // Rounding of both parts: 1/12 (1 + 2n/3); seven deviations.
        let bound = 7.0 * ((1.0 + 2.0 / 3.0 * params.n() as f64) / 12.0).sqrt() + 1.0;
        assert!((largest_difference(&decrypt(&key, &c), &m) as f64) < bound);
        while c.level() > 1 {
            params.rescale(&mut c).unwrap();
        }
        assert!(params.rescale(&mut c).is_err());
    }
}

#[test]
fn insecure_or_senseless_parameters_cannot_be_built() {
    let p = primes_below(13, 48, 6, &[]).unwrap();
    let literal = |q: &[u64], special: &[u64]| ParamsLiteral {
        log_n: 13,
        q: q.to_vec(),
        special: special.to_vec(),
        attacker: Attacker::Classical,
    };
    assert!(Params::new(literal(&p[..3], &p[3..4])).is_ok());
    assert!(Params::new(literal(&p[..4], &p[4..5])).unwrap_err().to_string().contains("214 bits"));
    assert!(Params::new(literal(&p[..3], &p[..1])).unwrap_err().to_string().contains("twice"));
    assert!(Params::new(literal(&p[..3], &[])).is_err() && Params::new(literal(&[], &p[..1])).is_err());
    assert!(Params::new(literal(&[1 << 40], &p[..1])).is_err(), "not a prime");
    let quantum = ParamsLiteral { attacker: Attacker::Quantum, ..literal(&p[..4], &p[4..5]) };
    assert!(Params::new(quantum).is_err());
}
