//! What a server can do to ciphertexts: products, rescaling, key switching.
//!
//! Key switching comes in its three steps, so that a circuit can share them: [`Params::decompose`]
//! once for many automorphisms (hoisting), [`Params::switch`] into polynomials that still
//! have the special primes, where plaintext products and sums may follow, and
//! [`Params::mod_down`] once for many of them (double hoisting: J.-P. Bossuat et al.,
//! <https://eprint.iacr.org/2020/1203>, section 4).

use crate::Error;
use crate::ciphertext::{Ciphertext, Product};
use crate::kernel;
use crate::kernel::buffer::Buffer;
use crate::keys::{EvaluationKeys, GaloisKey, SwitchKey};
use crate::packed::Packed;
use crate::parallel;
use crate::params::{BaseChange, Params};
use crate::poly::Poly;

/// The digits of a polynomial, each modulo every prime including the special ones.
pub struct Digits {
    digits: Vec<Poly>,
    level: usize,
}

#[cfg(test)]
impl Digits {
    pub(crate) fn polynomials(&self) -> &[Poly] {
        &self.digits
    }
}

/// A pair that still has the special primes: `P` times a ciphertext.
#[derive(Clone)]
pub struct Extended {
    /// As in [`Ciphertext`].
    pub c0: Poly,
    /// As in [`Ciphertext`].
    pub c1: Poly,
}

impl Params {
    /// `sum of x_i y_i` for pairs of ciphertexts, all at one level.
    pub fn tensor(&self, x: &Ciphertext, y: &Ciphertext) -> Product {
        let level = x.level();
        Product {
            d0: self.dot(level, false, &[(&x.c0, &y.c0)]),
            d1: self.dot(level, false, &[(&x.c0, &y.c1), (&x.c1, &y.c0)]),
            d2: self.dot(level, false, &[(&x.c1, &y.c1)]),
        }
    }

    /// `x^2` before relinearisation.
    pub fn tensor_square(&self, x: &Ciphertext) -> Product {
        self.tensor(x, x)
    }

    /// A product as a ciphertext.
    ///
    /// **Errors:** [`Error::Misuse`] without a relinearisation key for the level.
    ///
    /// **Cost:** one key switch.
    pub fn relinearise(&self, mut product: Product, keys: &EvaluationKeys) -> Result<Ciphertext, Error> {
        let level = product.d0.level();
        let switched = self.mod_down_pair(self.switch(&self.decompose(&product.d2), keys.relinearisation(level)?));
        self.add(&mut product.d0, &switched.c0);
        self.add(&mut product.d1, &switched.c1);
        Ok(Ciphertext { c0: product.d0, c1: product.d1 })
    }

    /// The ciphertext under `X -> X^g`.
    ///
    /// **Errors:** [`Error::Misuse`] without the key.
    ///
    /// **Cost:** one key switch.
    pub fn automorphism(&self, c: &Ciphertext, g: usize, keys: &EvaluationKeys) -> Result<Ciphertext, Error> {
        let key = keys.galois(g, c.level())?;
        let mut out = self.mod_down_pair(self.switch(&self.decompose(&c.c1), &key.key));
        self.add(&mut out.c0, &c.c0);
        Ok(Ciphertext { c0: self.permute(&out.c0, &key.permutation), c1: self.permute(&out.c1, &key.permutation) })
    }

    /// `P` times the ciphertext under `X -> X^g`, from its digits: nothing is divided by
    /// the special primes yet.
    pub fn automorphism_extended(&self, c: &Ciphertext, digits: &Digits, key: &GaloisKey) -> Extended {
        let mut out = self.switch(digits, &key.key);
        self.add_times_special(&mut out.c0, &c.c0);
        Extended { c0: self.permute(&out.c0, &key.permutation), c1: self.permute(&out.c1, &key.permutation) }
    }

    /// A pair that still has the special primes, under the automorphism of `key`: only its
    /// second part is divided before it is switched.
    pub fn rotate_extended(&self, mut x: Extended, key: &GaloisKey) -> Extended {
        self.mod_down(&mut x.c1);
        let mut out = self.switch(&self.decompose(&x.c1), &key.key);
        self.add(&mut out.c0, &x.c0);
        Extended { c0: self.permute(&out.c0, &key.permutation), c1: self.permute(&out.c1, &key.permutation) }
    }

    /// `P` times the ciphertext.
    pub fn extend(&self, c: &Ciphertext) -> Extended {
        let part = |x: &Poly| {
            let mut out = self.zero(x.level(), true);
            self.add_times_special(&mut out, x);
            out
        };
        Extended { c0: part(&c.c0), c1: part(&c.c1) }
    }

    /// `x += P y`; modulo the special primes that adds nothing.
    pub fn add_times_special(&self, x: &mut Poly, y: &Poly) {
        let rows = x.rows_mut().take(y.level()).enumerate().collect();
        parallel::map(rows, |(i, out)| {
            let m = self.modulus(i);
            let p = (self.levels()..self.levels() + self.special())
                .fold(1, |p, k| m.mul(p, m.reduce(self.modulus(k).value())));
            let mut row = Buffer::scratch(self.n());
            row.copy_from_slice(y.row(i));
            kernel::scale(m, &mut row, m.factor(p));
            kernel::add(m, out, &row);
        });
    }

    /// Evaluations as digits, each modulo every prime.
    ///
    /// **Cost:** for `l` primes, `d` digits and `k` special primes: `l + d (l + k) - l`
    /// transforms.
    pub fn decompose(&self, x: &Poly) -> Digits {
        let level = x.level();
        let changes: Vec<&BaseChange> = (0..self.digits(level)).map(|j| self.digit(j, level)).collect();
        let parts = self.gather(x, &changes, |i| i);
        let mut parts = parts.chunks(self.special());
        let mut digits: Vec<Poly> = changes.iter().map(|_| self.scratch(level, true)).collect();
        let mut rows = Vec::new();
        for (digit, change) in digits.iter_mut().zip(changes) {
            // Only the last digit may have fewer primes than there are special ones.
            let parts = parts.next().unwrap_or_default();
            let primes: Vec<usize> = (0..digit.rows()).map(|row| self.prime_of(digit, row)).collect();
            rows.extend(primes.into_iter().zip(digit.rows_mut()).map(|(prime, row)| (change, parts, prime, row)));
        }
        parallel::map(rows, |(change, parts, prime, row)| {
            if change.from.contains(&prime) {
                // Modulo its own primes, the digit is the polynomial.
                row.copy_from_slice(x.row(prime));
            } else {
                self.spread(parts, change, prime, row);
                self.ntt(prime).forward(row);
            }
        });
        Digits { digits, level }
    }

    /// Coefficients `[x (D/p_i)^-1]` for the primes of each of `changes`; `row` tells where
    /// in `x` a prime stands.
    fn gather(&self, x: &Poly, changes: &[&BaseChange], row: impl Fn(usize) -> usize + Send + Sync) -> Vec<Buffer> {
        let primes = changes.iter().flat_map(|c| c.from.clone().zip(&c.gather).map(|(i, f)| (i, f, c.gather.len())));
        parallel::map(primes.collect(), |(i, &factor, primes)| {
            let mut part = Buffer::scratch(self.n());
            part.copy_from_slice(x.row(row(i)));
            self.ntt(i).inverse(&mut part);
            if primes > 1 {
                kernel::scale(self.modulus(i), &mut part, factor);
            }
            part
        })
    }

    /// `sum of part_i D/p_i` modulo prime `to`, as coefficients.
    fn spread(&self, parts: &[Buffer], change: &BaseChange, to: usize, out: &mut [u64]) {
        let m = self.modulus(to);
        let mut term = Buffer::scratch(if parts.len() > 1 { self.n() } else { 0 });
        for ((i, part), (from, &factor)) in parts.iter().enumerate().zip(change.from.clone().zip(&change.spread[to])) {
            if i == 0 {
                kernel::convert(self.modulus(from), m, out, part);
                if parts.len() > 1 {
                    kernel::scale(m, out, factor);
                }
            } else {
                kernel::convert(self.modulus(from), m, &mut term, part);
                kernel::scale(m, &mut term, factor);
                kernel::add(m, out, &term);
            }
        }
    }

    /// The inner product of digits and key: `P` times an encryption of the decomposed
    /// polynomial times the key's first secret, under its second.
    pub fn switch(&self, digits: &Digits, key: &SwitchKey) -> Extended {
        let terms: Vec<(&Packed, &Packed, &Poly)> =
            digits.digits.iter().zip(&key.digits).map(|(digit, (k0, k1))| (k0, k1, digit)).collect();
        let (c0, c1) = self.dot_keys(digits.level, &terms);
        Extended { c0, c1 }
    }

    /// Divides by the product of the special primes and rounds.
    ///
    /// **Cost:** `k + l` transforms.
    pub fn mod_down(&self, x: &mut Poly) {
        let (level, levels) = (x.level(), self.levels());
        self.divide(x, self.down(), |prime| level + prime - levels, level);
    }

    /// Both parts of [`Params::mod_down`].
    pub fn mod_down_pair(&self, mut x: Extended) -> Ciphertext {
        parallel::map(vec![&mut x.c0, &mut x.c1], |part| self.mod_down(part));
        Ciphertext { c0: x.c0, c1: x.c1 }
    }

    /// Divides by the last prime and rounds.
    ///
    /// **Cost:** `l` transforms for a polynomial of `l` primes.
    pub fn rescale_poly(&self, x: &mut Poly) {
        let last = x.level() - 1;
        self.divide(x, self.drop_prime(last), |prime| prime, last);
    }

    /// Divides by the last prime and rounds.
    ///
    /// **Errors:** [`Error::Misuse`] at level 1.
    pub fn rescale(&self, c: &mut Ciphertext) -> Result<(), Error> {
        if c.level() < 2 {
            return Err(Error::Misuse("a ciphertext at its last prime cannot be rescaled".to_owned()));
        }
        parallel::map(vec![&mut c.c0, &mut c.c1], |part| self.rescale_poly(part));
        Ok(())
    }

    /// `(x - [x]_D) / D` modulo the first `level` primes.
    fn divide(&self, x: &mut Poly, change: &BaseChange, row: impl Fn(usize) -> usize + Send + Sync, level: usize) {
        let parts = self.gather(x, &[change], row);
        parallel::map(x.rows_mut().take(level).enumerate().collect(), |(i, row)| {
            let mut rest = Buffer::scratch(self.n());
            self.spread(&parts, change, i, &mut rest);
            self.ntt(i).forward(&mut rest);
            kernel::sub_scale(self.modulus(i), row, &rest, change.divide[i]);
        });
        x.truncate(level);
    }
}
