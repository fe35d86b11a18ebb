//! Bytes of polynomials, ciphertexts and keys: packed to the bits of each prime, uniform
//! halves as seeds, everything checked on the way in.
//!
//! An object is its fields one after another; the file around it (magic, version,
//! parameter digest) is the caller's. A reader knows from parameters and level how many
//! bytes an object has, and allocates only what it then finds: hostile bytes are refused
//! by name, never obeyed.

use crate::ciphertext::{Ciphertext, SeededCiphertext};
use crate::keys::{GaloisKey, PublicKey, SecretKey, SwitchKey, digit_seed};
use crate::params::Params;
use crate::poly::Poly;
use crate::{Error, sample};
use std::sync::Arc;
use subrosa_core::{Secret, Seed};

/// Bytes being written.
#[derive(Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What was written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// Appends bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Appends a little-endian word.
    pub fn u32(&mut self, v: u32) {
        self.bytes(&v.to_le_bytes());
    }

    /// Appends a little-endian word.
    pub fn u64(&mut self, v: u64) {
        self.bytes(&v.to_le_bytes());
    }

    fn packed(&mut self, words: &[u64], bits: u32) {
        let (mut buffer, mut filled) = (0u128, 0);
        for &w in words {
            buffer |= u128::from(w) << filled;
            filled += bits;
            while filled >= 8 {
                self.0.push(buffer as u8);
                buffer >>= 8;
                filled -= 8;
            }
        }
        if filled > 0 {
            self.0.push(buffer as u8);
        }
    }
}

/// Bytes being read.
pub struct Reader<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Reader<'a> {
    /// Reads `bytes`; `what` names them in errors.
    pub fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { rest: bytes, what }
    }

    /// An error about these bytes.
    pub fn wrong<T>(&self, why: impl Into<String>) -> Result<T, Error> {
        Err(Error::Wire { what: self.what, why: why.into() })
    }

    /// The next `n` bytes.
    ///
    /// **Errors:** [`Error::Wire`] if there are fewer.
    pub fn bytes(&mut self, n: usize) -> Result<&'a [u8], Error> {
        let Some((now, rest)) = self.rest.split_at_checked(n) else {
            return self.wrong(format!("it is cut off ({n} bytes expected, {} left)", self.rest.len()));
        };
        self.rest = rest;
        Ok(now)
    }

    /// The next `N` bytes.
    ///
    /// **Errors:** [`Error::Wire`] if there are fewer.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut out = [0; N];
        out.copy_from_slice(self.bytes(N)?);
        Ok(out)
    }

    /// A little-endian word.
    ///
    /// **Errors:** [`Error::Wire`] at the end.
    pub fn u32(&mut self) -> Result<u32, Error> {
        self.array().map(u32::from_le_bytes)
    }

    /// A little-endian word.
    ///
    /// **Errors:** [`Error::Wire`] at the end.
    pub fn u64(&mut self) -> Result<u64, Error> {
        self.array().map(u64::from_le_bytes)
    }

    /// Bytes not yet read.
    pub fn left(&self) -> usize {
        self.rest.len()
    }

    /// **Errors:** [`Error::Wire`] if bytes are left over.
    pub fn finish(self) -> Result<(), Error> {
        match self.rest.len() {
            0 => Ok(()),
            n => self.wrong(format!("{n} bytes follow its end")),
        }
    }

    /// Residues below `p` into `out`.
    fn packed(&mut self, out: &mut [u64], p: u64) -> Result<(), Error> {
        self.packed_bits(out, u64::BITS - p.leading_zeros(), p)
    }

    /// Words of `bits` bits, below `p`, into `out`.
    fn packed_bits(&mut self, out: &mut [u64], bits: u32, p: u64) -> Result<(), Error> {
        let bytes = self.bytes((out.len() * bits as usize).div_ceil(8))?;
        let (mut buffer, mut filled, mut next) = (0u128, 0, bytes.iter());
        let mask = (1u128 << bits) - 1;
        for out in out {
            while filled < bits {
                buffer |= u128::from(next.next().copied().unwrap_or(0)) << filled;
                filled += 8;
            }
            *out = (buffer & mask) as u64;
            if *out >= p {
                return self.wrong(format!("it holds {out}, which is no residue modulo {p}"));
            }
            buffer >>= bits;
            filled -= bits;
        }
        if buffer != 0 { self.wrong("its padding is not zero") } else { Ok(()) }
    }
}

/// The middle of the values with these upper bits; the topmost are fewer.
fn rounded(upper: u64, drop: u32, p: u64) -> u64 {
    ((upper << drop) + (1u64 << drop >> 1)).min(p - 1)
}

impl Params {
    fn write_poly(&self, w: &mut Writer, x: &Poly) {
        for row in 0..x.rows() {
            w.packed(x.row(row), self.modulus(self.prime_of(x, row)).bits());
        }
    }

    fn read_poly(&self, r: &mut Reader<'_>, level: usize, special: bool) -> Result<Poly, Error> {
        let rows = (0..level).chain(self.levels()..self.levels() + if special { self.special() } else { 0 });
        let bytes: usize = rows.map(|i| (self.n() * self.modulus(i).bits() as usize).div_ceil(8)).sum();
        if r.left() < bytes {
            return r.wrong(format!("it is cut off ({bytes} bytes expected, {} left)", r.left()));
        }
        let mut x = self.zero(level, special);
        for row in 0..x.rows() {
            let p = self.modulus(self.prime_of(&x, row)).value();
            r.packed(x.row_mut(row), p)?;
        }
        Ok(x)
    }

    /// Writes a fresh ciphertext of a level that the reader knows.
    pub fn write_seeded(&self, w: &mut Writer, c: &SeededCiphertext) {
        w.bytes(&c.seed);
        self.write_poly(w, &c.c0);
    }

    /// Reads a fresh ciphertext of this level.
    ///
    /// **Errors:** [`Error::Wire`].
    pub fn read_seeded(&self, r: &mut Reader<'_>, level: usize) -> Result<SeededCiphertext, Error> {
        Ok(SeededCiphertext { seed: r.array()?, c0: self.read_poly(r, level, false)? })
    }

    /// Writes a ciphertext of a level that the reader knows.
    pub fn write_ciphertext(&self, w: &mut Writer, c: &Ciphertext) {
        self.write_poly(w, &c.c0);
        self.write_poly(w, &c.c1);
    }

    /// Reads a ciphertext of this level.
    ///
    /// **Errors:** [`Error::Wire`].
    pub fn read_ciphertext(&self, r: &mut Reader<'_>, level: usize) -> Result<Ciphertext, Error> {
        Ok(Ciphertext { c0: self.read_poly(r, level, false)?, c1: self.read_poly(r, level, false)? })
    }

    /// Writes a ciphertext at its last prime without the lowest `drop` bits of each coefficient:
    /// see [`Params::round_coefficients`].
    pub fn write_rounded(&self, w: &mut Writer, c: &Ciphertext, drop: u32) {
        for part in [&c.c0, &c.c1] {
            let mut x = part.clone();
            self.inverse(&mut x);
            let words: Vec<u64> = x.row(0).iter().map(|v| v >> drop).collect();
            w.packed(&words, self.modulus(0).bits() - drop);
        }
    }

    /// Reads what [`Params::write_rounded`] wrote.
    ///
    /// **Errors:** [`Error::Wire`].
    pub fn read_rounded(&self, r: &mut Reader<'_>, drop: u32) -> Result<Ciphertext, Error> {
        Ok(Ciphertext { c0: self.read_rounded_poly(r, drop)?, c1: self.read_rounded_poly(r, drop)? })
    }

    fn read_rounded_poly(&self, r: &mut Reader<'_>, drop: u32) -> Result<Poly, Error> {
        let p = self.modulus(0).value();
        let bytes = (self.n() * (self.modulus(0).bits() - drop) as usize).div_ceil(8);
        if r.left() < bytes {
            return r.wrong(format!("it is cut off ({bytes} bytes expected, {} left)", r.left()));
        }
        let mut x = self.zero(1, false);
        r.packed_bits(x.row_mut(0), self.modulus(0).bits() - drop, ((p - 1) >> drop) + 1)?;
        x.row_mut(0).iter_mut().for_each(|v| *v = rounded(*v, drop, p));
        self.forward(&mut x);
        Ok(x)
    }

    /// Makes each coefficient of a ciphertext at its last prime the middle of the `2^drop`
    /// values that share its upper bits.
    ///
    /// **Cost:** an error below `2^(drop - 1)` in each coefficient of both parts; with a
    /// ternary secret, one of deviation `2^drop sqrt((1 + 2n/3) / 12)` in each coefficient of
    /// the message.
    pub fn round_coefficients(&self, c: &mut Ciphertext, drop: u32) {
        let p = self.modulus(0).value();
        for part in [&mut c.c0, &mut c.c1] {
            self.inverse(part);
            part.row_mut(0).iter_mut().for_each(|v| *v = rounded(*v >> drop, drop, p));
            self.forward(part);
        }
    }

    /// Writes a switching key of a level that the reader knows.
    pub fn write_switch_key(&self, w: &mut Writer, key: &SwitchKey) {
        w.bytes(&key.seed);
        key.digits.iter().for_each(|(b, _)| self.write_poly(w, &self.unpack(b)));
    }

    /// Reads a switching key of this level.
    ///
    /// **Errors:** [`Error::Wire`].
    pub fn read_switch_key(&self, r: &mut Reader<'_>, level: usize) -> Result<SwitchKey, Error> {
        let bytes: [u8; 32] = r.array()?;
        let seed = Seed::from_bytes(bytes);
        let digit = |j| {
            let b = self.read_poly(r, level, true)?;
            Ok((self.pack(&b), self.pack(&sample::uniform(self, &digit_seed(&seed, j), level, true))))
        };
        let digits = (0..self.digits(level)).map(digit).collect::<Result<_, Error>>()?;
        Ok(SwitchKey { digits, level, seed: bytes })
    }

    /// Writes the key of an automorphism that the reader knows.
    pub fn write_galois_key(&self, w: &mut Writer, key: &GaloisKey) {
        self.write_switch_key(w, &key.key);
    }

    /// Reads the key of `X -> X^g`.
    ///
    /// **Errors:** [`Error::Wire`]; [`Error::Parameters`] for a senseless `g`.
    pub fn read_galois_key(&self, r: &mut Reader<'_>, g: usize, level: usize) -> Result<GaloisKey, Error> {
        let permutation = Arc::new(self.permutation(g)?);
        Ok(GaloisKey { key: self.read_switch_key(r, level)?, permutation })
    }

    /// Writes a public key.
    pub fn write_public_key(&self, w: &mut Writer, key: &PublicKey) {
        w.bytes(&key.seed);
        self.write_poly(w, &key.b);
    }

    /// Reads a public key.
    ///
    /// **Errors:** [`Error::Wire`].
    pub fn read_public_key(&self, r: &mut Reader<'_>) -> Result<PublicKey, Error> {
        let seed = r.array()?;
        let b = self.read_poly(r, self.levels(), false)?;
        Ok(PublicKey { b, a: sample::uniform(self, &Seed::from_bytes(seed), self.levels(), false), seed })
    }

    /// Reads a secret key.
    ///
    /// **Errors:** [`Error::Wire`].
    pub fn read_secret_key(&self, r: &mut Reader<'_>) -> Result<SecretKey, Error> {
        let bytes = r.bytes(self.n() / 4)?;
        let two_bits = |i: usize| (bytes[i / 4] >> (2 * (i % 4)) & 3) as i8;
        let coefficients = Secret::new((0..self.n()).map(|i| two_bits(i) - 1).collect::<Vec<_>>());
        if coefficients.expose().contains(&2) {
            return r.wrong("a coefficient is not -1, 0 or 1");
        }
        Ok(SecretKey::from_coefficients(self, coefficients))
    }
}

impl SecretKey {
    /// Its bytes, for a file that only its owner can read.
    pub fn write(&self) -> Secret<Vec<u8>> {
        let byte = |four: &[i8]| four.iter().rev().fold(0u8, |b, &c| b << 2 | (c + 1) as u8);
        Secret::new(self.coefficients().chunks(4).map(byte).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modulus::primes_below;
    use crate::{Attacker, ParamsLiteral};

    fn params() -> Params {
        let p = primes_below(12, 35, 3, &[]).unwrap();
        let literal =
            ParamsLiteral { log_n: 12, q: p[..2].to_vec(), special: p[2..].to_vec(), attacker: Attacker::Classical };
        Params::new(literal).unwrap()
    }

    fn key(params: &Params) -> SecretKey {
        SecretKey::generate(params).unwrap()
    }

    fn message(params: &Params) -> Poly {
        let coefficients: Vec<i64> = (0..params.n() as i64).collect();
        let mut m = params.from_signed(&coefficients, 2, false);
        params.forward(&mut m);
        m
    }

    #[test]
    fn everything_comes_back() {
        let params = params();
        let secret = key(&params);
        let bytes = secret.write();
        let again = params.read_secret_key(&mut Reader::new(bytes.expose(), "secret key")).unwrap();
        assert_eq!(again.coefficients(), secret.coefficients());
        let c = secret.encrypt(&message(&params)).unwrap();
        let mut w = Writer::new();
        params.write_seeded(&mut w, &c);
        params.write_ciphertext(&mut w, &c.expand(&params));
        params.write_switch_key(&mut w, &secret.relinearisation_key(2).unwrap());
        params.write_galois_key(&mut w, &secret.galois_key(5, 1).unwrap());
        params.write_public_key(&mut w, &secret.public_key().unwrap());
        let bytes = w.into_bytes();
        let mut r = Reader::new(&bytes, "test");
        let seeded = params.read_seeded(&mut r, 2).unwrap();
        let plain = params.read_ciphertext(&mut r, 2).unwrap();
        let same = |a: &Poly, b: &Poly| (0..a.rows()).all(|i| a.row(i) == b.row(i));
        assert!(same(&seeded.expand(&params).c0, &plain.c0) && same(&seeded.expand(&params).c1, &plain.c1));
        let relin = params.read_switch_key(&mut r, 2).unwrap();
        assert_eq!(relin.digits.len(), 2);
        params.read_galois_key(&mut r, 5, 1).unwrap();
        let public = params.read_public_key(&mut r).unwrap();
        r.finish().unwrap();
        let mut sum = secret.decrypt(&public.encrypt(&params, &message(&params)).unwrap());
        params.sub(&mut sum, &message(&params));
        params.inverse(&mut sum);
        assert!(sum.row(0).iter().all(|&v| params.modulus(0).centred(v).abs() < 4000));
    }

    #[test]
    fn rounded_ciphertexts_come_back_and_decrypt_nearly() {
        let params = params();
        let secret = key(&params);
        let mut c = secret.encrypt(&message(&params)).unwrap().expand(&params);
        c.truncate(1);
        let plain = |c: &Ciphertext| {
            let mut m = secret.decrypt(c);
            params.inverse(&mut m);
            m.row(0).iter().map(|&v| params.modulus(0).centred(v)).collect::<Vec<_>>()
        };
        let before = plain(&c);
        let drop = 7;
        let mut w = Writer::new();
        params.write_rounded(&mut w, &c, drop);
        let bytes = w.into_bytes();
        assert_eq!(bytes.len(), 2 * params.n() * (params.modulus(0).bits() - drop) as usize / 8);
        let mut r = Reader::new(&bytes, "answer");
        let read = params.read_rounded(&mut r, drop).unwrap();
        r.finish().unwrap();
        params.round_coefficients(&mut c, drop);
        assert_eq!((read.c0.row(0), read.c1.row(0)), (c.c0.row(0), c.c1.row(0)));
        let n = params.n() as f64;
        let deviation = f64::from(1 << drop) * ((1.0 + 2.0 * n / 3.0) / 12.0).sqrt();
        let errors: Vec<f64> = plain(&read).iter().zip(before).map(|(a, b)| (a - b) as f64).collect();
        let found = (errors.iter().map(|e| e * e).sum::<f64>() / n).sqrt();
        assert!(found < 1.2 * deviation && errors.iter().all(|e| e.abs() < 6.5 * deviation), "{found} {deviation}");
        let wrong = vec![0xff; bytes.len()];
        assert!(params.read_rounded(&mut Reader::new(&wrong, "answer"), drop).is_err());
        assert!(params.read_rounded(&mut Reader::new(&bytes[1..], "answer"), drop).is_err());
    }

    #[test]
    fn bytes_that_are_no_residues_are_refused_by_name() {
        let params = params();
        let c = key(&params).encrypt(&message(&params)).unwrap();
        let mut w = Writer::new();
        params.write_seeded(&mut w, &c);
        let bytes = w.into_bytes();
        let read = |bytes: &[u8]| {
            params.read_seeded(&mut Reader::new(bytes, "input"), 2).map(|_| ()).map_err(|e| e.to_string())
        };
        assert!(read(&bytes).is_ok());
        for cut in [0, 31, 32, 100, bytes.len() - 1] {
            assert!(read(&bytes[..cut]).unwrap_err().contains("cut off"), "{cut}");
        }
        let mut wrong = bytes.clone();
        wrong[32..37].fill(0xff);
        assert!(read(&wrong).unwrap_err().contains("no residue"));
        let mut longer = bytes;
        longer.push(0);
        let mut r = Reader::new(&longer, "input");
        params.read_seeded(&mut r, 2).unwrap();
        assert!(r.finish().is_err());
        let three = vec![0xff; params.n() / 4];
        assert!(params.read_secret_key(&mut Reader::new(&three, "secret key")).is_err());
    }
}
