//! Secret, public and switching keys.
//!
//! A switching key from `s'` to `s` holds, for each digit `j` of the decomposition, an
//! encryption under `s` of `P g_j s'`, where `P` is the product of the special primes and
//! `g_j` is 1 modulo the primes of the digit and 0 modulo the others (hybrid key
//! switching: K. Han, D. Ki, <https://eprint.iacr.org/2019/688>, section 3.2).

use crate::packed::Packed;
use crate::params::Params;
use crate::poly::Poly;
use crate::sample;
use crate::{Error, kernel};
use std::collections::BTreeMap;
use std::sync::Arc;
use subrosa_core::{Prg, Secret, Seed};
use zeroize::Zeroize;

/// A uniform ternary secret. No `Debug`, no `Clone`, wiped when dropped.
pub struct SecretKey {
    params: Params,
    coefficients: Secret<Vec<i8>>,
    /// Evaluations modulo every prime.
    s: Secret<Poly>,
}

/// An encryption of zero under all of `q`, with which anyone can encrypt.
#[derive(Clone)]
pub struct PublicKey {
    pub(crate) b: Poly,
    pub(crate) a: Poly,
    pub(crate) seed: [u8; 32],
}

/// Switches from one secret to another, for polynomials up to its level.
#[derive(Clone)]
pub struct SwitchKey {
    /// For each digit `(b_j, a_j)`, evaluations with the special primes.
    pub(crate) digits: Vec<(Packed, Packed)>,
    pub(crate) level: usize,
    pub(crate) seed: [u8; 32],
}

/// The switching key of one automorphism `X -> X^g`.
///
/// It is stored as the key from `s` to `s(X^(1/g))`: then the automorphism comes *after*
/// the inner product, on two polynomials rather than on every digit (hoisting: S. Halevi,
/// V. Shoup, <https://eprint.iacr.org/2018/244>).
#[derive(Clone)]
pub struct GaloisKey {
    pub(crate) key: SwitchKey,
    pub(crate) permutation: Arc<Vec<u32>>,
}

/// What a server needs to compute: it cannot decrypt.
#[derive(Clone, Default)]
pub struct EvaluationKeys {
    pub(crate) relin: Option<SwitchKey>,
    pub(crate) galois: BTreeMap<usize, GaloisKey>,
}

impl SecretKey {
    /// A fresh key from the operating system's randomness.
    ///
    /// **Errors:** [`Error::Entropy`].
    pub fn generate(params: &Params) -> Result<Self, Error> {
        Ok(Self::from_stream(params, &mut Seed::random()?.stream("secret key")))
    }

    pub(crate) fn from_stream(params: &Params, stream: &mut Prg) -> Self {
        Self::from_coefficients(params, sample::ternary(stream, params.n()))
    }

    pub(crate) fn from_coefficients(params: &Params, coefficients: Secret<Vec<i8>>) -> Self {
        let s = Secret::new(sample::lift(params, &coefficients, params.levels(), true));
        Self { params: params.clone(), coefficients, s }
    }

    /// The parameters it was made for.
    pub fn params(&self) -> &Params {
        &self.params
    }

    pub(crate) fn coefficients(&self) -> &[i8] {
        self.coefficients.expose()
    }

    pub(crate) fn s(&self) -> &Poly {
        self.s.expose()
    }

    /// A public key.
    ///
    /// **Errors:** [`Error::Entropy`].
    pub fn public_key(&self) -> Result<PublicKey, Error> {
        Ok(self.public_key_from(&Seed::random()?, &Seed::random()?))
    }

    pub(crate) fn public_key_from(&self, seed: &Seed, noise: &Seed) -> PublicKey {
        let (b, a) = self.zero(seed, &mut noise.stream("public key"), self.params.levels(), false);
        PublicKey { b, a, seed: *seed.expose() }
    }

    /// An encryption of zero `(-a s + e, a)` whose `a` comes from a public seed, used once.
    pub(crate) fn zero(&self, seed: &Seed, noise: &mut Prg, level: usize, special: bool) -> (Poly, Poly) {
        let params = &self.params;
        let a = sample::uniform(params, seed, level, special);
        let mut e = sample::lift(params, &sample::errors(noise, params.n()), level, special);
        let mut b = params.dot(level, special, &[(&a, self.s())]);
        params.neg(&mut b);
        params.add(&mut b, &e);
        e.zeroize();
        (b, a)
    }

    /// The key with which products are brought back to two parts, up to `level`.
    ///
    /// **Errors:** [`Error::Entropy`].
    pub fn relinearisation_key(&self, level: usize) -> Result<SwitchKey, Error> {
        self.relinearisation_key_from(level, &Seed::random()?, &Seed::random()?)
    }

    pub(crate) fn relinearisation_key_from(&self, level: usize, seed: &Seed, noise: &Seed) -> Result<SwitchKey, Error> {
        let mut square = self.params.dot(self.params.levels(), true, &[(self.s(), self.s())]);
        let key = self.switch_key(&square, self, level, seed, noise);
        square.zeroize();
        key
    }

    /// The key of `X -> X^g`, up to `level`.
    ///
    /// **Errors:** [`Error::Entropy`]; [`Error::Parameters`] for a `g` that is even or too
    /// large.
    pub fn galois_key(&self, g: usize, level: usize) -> Result<GaloisKey, Error> {
        self.galois_key_from(g, level, &Seed::random()?, &Seed::random()?)
    }

    pub(crate) fn galois_key_from(
        &self,
        g: usize,
        level: usize,
        seed: &Seed,
        noise: &Seed,
    ) -> Result<GaloisKey, Error> {
        let permutation = Arc::new(self.params.permutation(g)?);
        let to = self.turned(inverse_element(g, 2 * self.params.n()));
        Ok(GaloisKey { key: self.switch_key(self.s(), &to, level, seed, noise)?, permutation })
    }

    /// This secret under `X -> X^g`.
    fn turned(&self, g: usize) -> Self {
        let n = self.params.n();
        let mut turned = vec![0i8; n];
        for (i, &c) in self.coefficients.expose().iter().enumerate() {
            let at = i * g % (2 * n);
            turned[at % n] = if at < n { c } else { -c };
        }
        Self::from_coefficients(&self.params, Secret::new(turned))
    }

    /// The key from the secret with evaluations `from` to `to`; a public seed and a secret
    /// one, each used once.
    fn switch_key(&self, from: &Poly, to: &Self, level: usize, seed: &Seed, noise: &Seed) -> Result<SwitchKey, Error> {
        let params = &self.params;
        if level == 0 || level > params.levels() {
            return Err(Error::Misuse(format!("there is no level {level}")));
        }
        let digits = (0..params.digits(level)).map(|j| {
            let (mut b, a) = to.zero(&digit_seed(seed, j), &mut noise.stream(&format!("digit {j}")), level, true);
            for i in params.digit(j, level).from.clone() {
                let m = params.modulus(i);
                let special = (0..params.special()).map(|k| params.modulus(params.levels() + k).value());
                let p = special.fold(1, |p, q| m.mul(p, m.reduce(q)));
                let mut term = Secret::new(from.row(i).to_vec());
                kernel::scale(m, term.expose_mut(), m.factor(p));
                kernel::add(m, b.row_mut(i), term.expose());
            }
            (params.pack(&b), params.pack(&a))
        });
        let digits = digits.collect();
        Ok(SwitchKey { digits, level, seed: *seed.expose() })
    }
}

/// The public seed of one digit.
pub(crate) fn digit_seed(seed: &Seed, digit: usize) -> Seed {
    seed.derive(&(digit as u64).to_le_bytes())
}

/// `1/g` modulo a power of two (Newton).
pub(crate) fn inverse_element(g: usize, two_n: usize) -> usize {
    let mut x = g;
    for _ in 0..6 {
        x = x.wrapping_mul(2usize.wrapping_sub(g.wrapping_mul(x)));
    }
    x & (two_n - 1)
}

impl SwitchKey {
    /// The highest level it serves.
    pub fn level(&self) -> usize {
        self.level
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        self.digits.iter().map(|(b, a)| b.bytes() + a.bytes()).sum()
    }
}

impl EvaluationKeys {
    /// No keys.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the relinearisation key.
    pub fn set_relinearisation(&mut self, key: SwitchKey) {
        self.relin = Some(key);
    }

    /// Adds the key of `X -> X^g`.
    pub fn insert(&mut self, g: usize, key: GaloisKey) {
        self.galois.insert(g, key);
    }

    /// The key of `X -> X^g`, serving `level`.
    ///
    /// **Errors:** [`Error::Misuse`] naming the key that is missing.
    pub fn galois(&self, g: usize, level: usize) -> Result<&GaloisKey, Error> {
        self.galois.get(&g).filter(|k| k.key.level >= level).ok_or_else(|| {
            Error::Misuse(format!("the evaluation keys hold no key for the automorphism {g} at level {level}"))
        })
    }

    /// The relinearisation key, serving `level`.
    ///
    /// **Errors:** [`Error::Misuse`] if there is none.
    pub fn relinearisation(&self, level: usize) -> Result<&SwitchKey, Error> {
        let key = self.relin.as_ref().filter(|k| k.level >= level);
        key.ok_or_else(|| Error::Misuse(format!("the evaluation keys hold no relinearisation key at level {level}")))
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        let galois = self.galois.values().map(|k| k.key.bytes() + k.permutation.len() * 4);
        galois.sum::<usize>() + self.relin.as_ref().map_or(0, SwitchKey::bytes)
    }

    /// The automorphisms there are keys for, each with its level.
    pub fn elements(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.galois.iter().map(|(&g, k)| (g, k.key.level))
    }
}
