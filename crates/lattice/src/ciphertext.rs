//! Encryption and decryption of polynomials.

use crate::keys::{PublicKey, SecretKey};
use crate::params::Params;
use crate::poly::Poly;
use crate::{Error, sample};
use subrosa_core::{Secret, Seed};

/// `(c0, c1)` with `c0 + c1 s = message + error`; evaluations at one level.
#[derive(Clone)]
pub struct Ciphertext {
    /// The part that carries the message.
    pub c0: Poly,
    /// The part that the secret multiplies.
    pub c1: Poly,
}

/// A product before relinearisation: `d0 + d1 s + d2 s^2`.
#[derive(Clone)]
pub struct Product {
    /// Free of the secret.
    pub d0: Poly,
    /// Times the secret.
    pub d1: Poly,
    /// Times its square.
    pub d2: Poly,
}

/// A fresh ciphertext whose `c1` is given by a seed: half the bytes.
#[derive(Clone)]
pub struct SeededCiphertext {
    pub(crate) c0: Poly,
    pub(crate) seed: [u8; 32],
}

impl SeededCiphertext {
    /// The ciphertext itself.
    pub fn expand(&self, params: &Params) -> Ciphertext {
        let c1 = sample::uniform(params, &Seed::from_bytes(self.seed), self.c0.level(), false);
        Ciphertext { c0: self.c0.clone(), c1 }
    }

    /// As [`SeededCiphertext::expand`], without a copy.
    pub fn into_expanded(self, params: &Params) -> Ciphertext {
        let c1 = sample::uniform(params, &Seed::from_bytes(self.seed), self.c0.level(), false);
        Ciphertext { c0: self.c0, c1 }
    }

    /// Primes it has residues for.
    pub fn level(&self) -> usize {
        self.c0.level()
    }
}

impl SecretKey {
    /// Encrypts evaluations at their level.
    ///
    /// **Errors:** [`Error::Entropy`].
    pub fn encrypt(&self, message: &Poly) -> Result<SeededCiphertext, Error> {
        Ok(self.encrypt_from(message, &Seed::random()?, &Seed::random()?))
    }

    /// The same from a public seed and a secret one, each used once.
    pub(crate) fn encrypt_from(&self, message: &Poly, seed: &Seed, noise: &Seed) -> SeededCiphertext {
        let (mut c0, _) = self.zero(seed, &mut noise.stream("encryption"), message.level(), false);
        self.params().add(&mut c0, message);
        SeededCiphertext { c0, seed: *seed.expose() }
    }

    /// `message + error`, as evaluations. Whoever sees the error learns about the key: see
    /// the crate's head.
    pub fn decrypt(&self, c: &Ciphertext) -> Poly {
        let level = c.c0.level();
        let mut m = self.params().dot(level, false, &[(&c.c1, self.s())]);
        self.params().add(&mut m, &c.c0);
        m
    }
}

impl PublicKey {
    /// Adds an encryption of zero: the result has nothing in common with `c` but what it
    /// decrypts to (and the sum of the errors).
    ///
    /// **Errors:** [`Error::Entropy`].
    pub fn rerandomise(&self, params: &Params, c: &mut Ciphertext) -> Result<(), Error> {
        self.rerandomise_from(params, c, &Seed::random()?);
        Ok(())
    }

    /// The same from a secret seed, used once.
    pub(crate) fn rerandomise_from(&self, params: &Params, c: &mut Ciphertext, noise: &Seed) {
        let level = c.c0.level();
        let n = params.n();
        let v = Secret::new(sample::lift(params, &sample::ternary(&mut noise.stream("ephemeral"), n), level, false));
        for (part, key, name) in [(&mut c.c0, &self.b, "error 0"), (&mut c.c1, &self.a, "error 1")] {
            let mut e = Secret::new(sample::lift(params, &sample::errors(&mut noise.stream(name), n), level, false));
            // With the public key, either product gives away `v`, and the message with it.
            let product = Secret::new(params.dot(level, false, &[(v.expose(), key)]));
            params.add(e.expose_mut(), product.expose());
            params.add(part, e.expose());
        }
    }

    /// Encrypts evaluations at their level.
    ///
    /// **Errors:** [`Error::Entropy`].
    pub fn encrypt(&self, params: &Params, message: &Poly) -> Result<Ciphertext, Error> {
        let noise = Seed::random()?;
        let mut c = Ciphertext { c0: message.clone(), c1: params.zero(message.level(), false) };
        self.rerandomise_from(params, &mut c, &noise);
        Ok(c)
    }
}

impl Ciphertext {
    /// Primes it has residues for.
    pub fn level(&self) -> usize {
        self.c0.level()
    }

    /// Forgets the primes from `level` on; the message stays what it is if it is small
    /// enough.
    pub fn truncate(&mut self, level: usize) {
        self.c0.truncate(level);
        self.c1.truncate(level);
    }
}
