//! Products of a public matrix and an encrypted vector of integers, without rotations: the
//! vector stands in coefficients, and a row's sum of products is one coefficient of a product
//! of polynomials.
//!
//! **Source:** Z. Huang, W. Lu, C. Hong, J. Ding, "Cheetah: Lean and fast secure two-party deep
//! neural network inference", 2022, <https://eprint.iacr.org/2022/207>, section 3.1.
//!
//! ```text
//! x  = x_0 + x_1 X + ... + x_(c-1) X^(c-1)
//! w  = sum over rows i, columns j of w_ij X^(i c + c-1-j)
//! coefficient i c + c-1 of w x  =  sum over j of w_ij x_j        while rows * c <= n
//! ```
//!
//! Integers are modulo `2^bits` and stand in the upper bits of the modulus, as in BFV.
//!
//! **Lacks:** whoever returns a product must first add a mask and noise that floods its error,
//! and send only the coefficients that are results: the error tells about the matrix.

use crate::Error;
use crate::ciphertext::Ciphertext;
use crate::packed::Packed;
use crate::params::Params;
use crate::poly::Poly;
use crate::sample::COINS;
use subrosa_core::Secret;
use subrosa_core::fixed::nearest;

/// Most bits of the integers: with more, doubles would not tell them from their error.
pub const MAX_INTEGER_BITS: u32 = 40;

/// How a matrix of a given shape is cut into polynomials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MatrixPacking {
    n: usize,
    rows: usize,
    cols: usize,
    /// Columns of a block: a ciphertext of the vector each.
    width: usize,
    /// Rows of a tile: a ciphertext of the result each.
    height: usize,
}

/// A matrix in that form, at a level.
pub struct PackedMatrix {
    packing: MatrixPacking,
    level: usize,
    /// `[tile of rows][block of columns]`.
    tiles: Vec<Vec<Packed>>,
    /// Largest sum of magnitudes of all coefficients of a tile's row of polynomials.
    norm: f64,
}

impl MatrixPacking {
    /// For `rows` times `cols` and ring degree `n`: as few ciphertexts as possible, of vector
    /// and result together.
    ///
    /// **Errors:** [`Error::Misuse`] for an empty matrix.
    pub fn new(n: usize, rows: usize, cols: usize) -> Result<Self, Error> {
        if rows == 0 || cols == 0 {
            return Err(Error::Misuse("a matrix without rows or columns cannot be packed".to_owned()));
        }
        let cut = |blocks: usize| {
            let width = cols.div_ceil(blocks);
            Self { n, rows, cols, width, height: (n / width).min(rows) }
        };
        let least = cols.div_ceil(n);
        let best = (least..=cols.min(least + 64)).map(cut).min_by_key(|p| p.inputs() + p.outputs());
        Ok(best.unwrap_or(cut(cols)))
    }

    /// Ciphertexts of the vector.
    pub fn inputs(&self) -> usize {
        self.cols.div_ceil(self.width)
    }

    /// Ciphertexts of the result.
    pub fn outputs(&self) -> usize {
        self.rows.div_ceil(self.height)
    }

    /// The ciphertext and the coefficient that hold a row of the result.
    pub fn position(&self, row: usize) -> (usize, usize) {
        (row / self.height, row % self.height * self.width + self.width - 1)
    }

    /// The vector's elements as coefficients, one polynomial a block.
    ///
    /// **Errors:** [`Error::Misuse`] for another length.
    pub fn vector(&self, x: &[u64]) -> Result<Vec<Vec<u64>>, Error> {
        if x.len() != self.cols {
            return Err(Error::Misuse(format!("{} elements are no vector of {}", x.len(), self.cols)));
        }
        let block = |part: &[u64]| part.iter().copied().chain(std::iter::repeat(0)).take(self.n).collect();
        Ok(x.chunks(self.width).map(block).collect())
    }

    /// The matrix, row-major.
    ///
    /// **Errors:** [`Error::Misuse`] for another shape.
    pub fn matrix(&self, params: &Params, w: &[i64], level: usize) -> Result<PackedMatrix, Error> {
        if w.len() != self.rows * self.cols || self.n != params.n() {
            return Err(Error::Misuse(format!("{} weights are no {} x {}", w.len(), self.rows, self.cols)));
        }
        let mut norm = 0f64;
        let tiles = (0..self.outputs()).map(|tile| {
            let rows = tile * self.height..((tile + 1) * self.height).min(self.rows);
            let entries = rows.clone().flat_map(|row| &w[row * self.cols..(row + 1) * self.cols]);
            norm = norm.max(entries.map(|&w| w.unsigned_abs() as f64).sum());
            (0..self.inputs()).map(|block| params.pack(&self.tile(params, w, rows.clone(), block, level))).collect()
        });
        let tiles = tiles.collect();
        Ok(PackedMatrix { packing: *self, level, tiles, norm })
    }

    fn tile(&self, params: &Params, w: &[i64], rows: std::ops::Range<usize>, block: usize, level: usize) -> Poly {
        let mut coefficients = vec![0; self.n];
        let columns = block * self.width..((block + 1) * self.width).min(self.cols);
        for (i, row) in rows.enumerate() {
            for (j, column) in columns.clone().enumerate() {
                coefficients[i * self.width + self.width - 1 - j] = w[row * self.cols + column];
            }
        }
        let mut x = params.from_signed(&coefficients, level, false);
        params.forward(&mut x);
        x
    }

    /// The result's elements among the decoded coefficients of its ciphertexts.
    pub fn result(&self, coefficients: &[Vec<u64>]) -> Vec<u64> {
        let at = |row| {
            let (output, coefficient) = self.position(row);
            coefficients[output][coefficient]
        };
        (0..self.rows).map(at).collect()
    }
}

impl PackedMatrix {
    /// How it is cut.
    pub fn packing(&self) -> &MatrixPacking {
        &self.packing
    }

    /// What the error of a result stays below, for a vector in fresh ciphertexts: their error
    /// is at most `COINS`, and encoding rounds by at most a half.
    pub fn error_bound(&self) -> f64 {
        (f64::from(COINS) + 0.5) * self.norm
    }

    /// The product with an encrypted vector, one ciphertext a tile of rows. Coefficients that
    /// hold no row are of no use to anybody: do not send them.
    ///
    /// **Errors:** [`Error::Misuse`] for ciphertexts of another number or level;
    /// [`Error::Parameters`] if integers of `bits` bits could be lost in the error.
    ///
    /// **Cost:** a product of polynomials for each tile and block; no key.
    pub fn times(&self, params: &Params, x: &[Ciphertext], bits: u32) -> Result<Vec<Ciphertext>, Error> {
        if x.len() != self.packing.inputs() || x.iter().any(|c| c.level() != self.level) {
            return Err(Error::Misuse(format!(
                "the vector must come in {} ciphertexts at level {}",
                self.packing.inputs(),
                self.level
            )));
        }
        let room = params.modulus_bits(self.level) - f64::from(bits) - 1.0;
        if self.error_bound().log2() >= room || bits > MAX_INTEGER_BITS {
            return Err(Error::Parameters(format!(
                "a product of {bits}-bit integers may be lost in its error: 2^{:.1} of at most 2^{room:.1}",
                self.error_bound().log2()
            )));
        }
        let groups: Vec<Vec<(&Poly, &Poly, &Packed)>> =
            self.tiles.iter().map(|tile| x.iter().zip(tile).map(|(c, w)| (&c.c0, &c.c1, w)).collect()).collect();
        let products = params.dot_pairs(self.level, false, &groups);
        Ok(products.into_iter().map(|(c0, c1)| Ciphertext { c0, c1 }).collect())
    }
}

/// Integers modulo `2^bits` as coefficients, in the upper bits of the modulus.
impl Params {
    /// log2 of the first `level` primes' product.
    fn modulus_bits(&self, level: usize) -> f64 {
        (0..level).map(|i| (self.modulus(i).value() as f64).log2()).sum()
    }

    /// Evaluations of `round(Q x / 2^bits)`, `Q` the product of the first `level` primes;
    /// `bits` at most [`MAX_INTEGER_BITS`]. Integers and result are the caller's to wipe.
    ///
    /// `Q x = 2^bits y + r` with `r` centred, hence `y = -r / 2^bits` modulo every prime.
    pub fn encode_integers(&self, x: &[u64], bits: u32, level: usize) -> Poly {
        let mask = (1u64 << bits.min(MAX_INTEGER_BITS)) - 1;
        let q = (0..level).fold(1u64, |q, i| q.wrapping_mul(self.modulus(i).value()) & mask);
        let half = mask / 2 + 1;
        let rest = |x: u64| {
            let r = (q.wrapping_mul(x) & mask) as i64;
            // No branch on the value.
            r - (((mask as i64) + 1) & -i64::from(r >= half as i64))
        };
        let rests: Secret<Vec<i64>> = Secret::new(x.iter().map(|&x| rest(x)).collect());
        let mut out = self.from_signed(rests.expose(), level, false);
        for i in 0..level {
            let m = *self.modulus(i);
            let factor = m.factor(m.neg(m.inverse(m.reduce(mask + 1))));
            out.row_mut(i).iter_mut().for_each(|v| *v = m.mul_factor(*v, factor));
        }
        self.forward(&mut out);
        out
    }

    /// The nearest integers of a decrypted polynomial, which is wiped.
    ///
    /// With `y_i = [m (Q/p_i)^-1]` modulo `p_i`, `m / Q` is the sum of the `y_i / p_i` up to an
    /// integer (the Chinese remainder theorem), which doubles hold to 50 bits.
    pub fn decode_integers(&self, m: Poly, bits: u32) -> Vec<u64> {
        let mut m = Secret::new(m);
        self.inverse(m.expose_mut());
        let m = m.expose();
        let level = m.level();
        let factors: Vec<_> = (0..level)
            .map(|i| {
                let p = self.modulus(i);
                let others = (0..level).filter(|&j| j != i).map(|j| p.reduce(self.modulus(j).value()));
                p.factor(p.inverse(others.fold(1, |a, b| p.mul(a, b))))
            })
            .collect();
        let size = f64::from(bits).exp2();
        let decode = |k: usize| {
            let share = |i: usize| {
                let p = self.modulus(i);
                p.mul_factor(m.row(i)[k], factors[i]).cast_signed() as f64 / p.value() as f64
            };
            let sum = (0..level).map(share).sum::<f64>();
            // No call into a library that branches on the value; the sum is not negative.
            let whole = sum as i64 as f64;
            nearest((sum - whole) * size).cast_unsigned() & ((1 << bits) - 1)
        };
        (0..self.n()).map(decode).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modulus::primes_below;
    use crate::{Attacker, ParamsLiteral, SecretKey};
    use subrosa_core::Seed;

    fn params() -> Params {
        let q = primes_below(12, 44, 2, &[]).unwrap();
        let special = primes_below(12, 18, 1, &[]).unwrap();
        Params::new(ParamsLiteral { log_n: 12, q, special, attacker: Attacker::Classical }).unwrap()
    }

    fn signed(seed: u8, n: usize, bits: u32) -> Vec<i64> {
        let words = Seed::from_bytes([seed; 32]).stream("weights").u64s(n);
        words.into_iter().map(|w| (w >> (64 - bits)) as i64 - (1 << (bits - 1))).collect()
    }

    #[test]
    fn integers_come_back() {
        let params = params();
        for bits in [1, 16, 32, 37, MAX_INTEGER_BITS] {
            let mask = (1u64 << bits) - 1;
            let mut x: Vec<u64> = Seed::from_bytes([1; 32]).stream("x").u64s(params.n());
            x.iter_mut().for_each(|x| *x &= mask);
            (x[0], x[1], x[2]) = (0, mask, mask / 2 + 1);
            for level in [1, 2].into_iter().filter(|&l| l == 2 || bits < 37) {
                assert_eq!(params.decode_integers(params.encode_integers(&x, bits, level), bits), x, "{bits} {level}");
            }
        }
    }

    /// Against the definition, with every cut that shapes lead to, and the error against its
    /// bound.
    #[test]
    fn products_are_those_of_the_matrix() {
        let params = params();
        let secret = SecretKey::from_stream(&params, &mut Seed::from_bytes([9; 32]).stream("secret"));
        for (rows, cols, bits) in [(1, 1, 8), (128, 784, 37), (10, 4096, 32), (3, 5000, 32), (700, 9, 37), (33, 64, 40)]
        {
            let packing = MatrixPacking::new(params.n(), rows, cols).unwrap();
            let mask = (1u64 << bits) - 1;
            let x: Vec<u64> = Seed::from_bytes([2; 32]).stream("x").u64s(cols).into_iter().map(|x| x & mask).collect();
            let w = signed(3, rows * cols, 12);
            let matrix = packing.matrix(&params, &w, 2).unwrap();
            let blocks = packing.vector(&x).unwrap();
            let encrypted = blocks.iter().enumerate().map(|(i, block)| {
                let seeds = (Seed::from_bytes([i as u8; 32]), Seed::from_bytes([100 + i as u8; 32]));
                secret.encrypt_from(&params.encode_integers(block, bits, 2), &seeds.0, &seeds.1).expand(&params)
            });
            let product = matrix.times(&params, &encrypted.collect::<Vec<_>>(), bits).unwrap();
            assert_eq!(product.len(), packing.outputs());
            let decrypted: Vec<Poly> = product.iter().map(|c| secret.decrypt(c)).collect();
            let decoded: Vec<Vec<u64>> = decrypted.iter().map(|m| params.decode_integers(m.clone(), bits)).collect();
            let expected: Vec<u64> = w
                .chunks(cols)
                .map(|row| {
                    row.iter().zip(&x).fold(0u64, |s, (&w, &x)| s.wrapping_add((w as u64).wrapping_mul(x))) & mask
                })
                .collect();
            assert_eq!(packing.result(&decoded), expected, "{rows} x {cols}, seeds 2 and 3");
            // The error of every result: decrypted minus what it should be.
            for (output, (mut m, values)) in decrypted.into_iter().zip(decoded).enumerate() {
                params.sub(&mut m, &params.encode_integers(&values, bits, 2));
                params.inverse(&mut m);
                for row in (0..rows).filter(|&r| packing.position(r).0 == output) {
                    let error = params.modulus(0).centred(m.row(0)[packing.position(row).1]) as f64;
                    assert!(error.abs() <= matrix.error_bound() + 1.0, "row {row}: {error}");
                }
            }
        }
    }

    #[test]
    fn what_would_be_lost_in_the_error_is_refused() {
        let params = params();
        let packing = MatrixPacking::new(params.n(), 1, 2).unwrap();
        let matrix = packing.matrix(&params, &[1 << 47, 1], 2).unwrap();
        let x: Vec<Ciphertext> =
            vec![Ciphertext { c0: params.zero(2, false), c1: params.zero(2, false) }; packing.inputs()];
        let refusal = |bits| matrix.times(&params, &x, bits).map(|_| ()).unwrap_err().to_string();
        assert!(matrix.times(&params, &x, 16).is_ok() && refusal(40).contains("lost in its error"));
        assert!(matrix.times(&params, &[], 16).is_err() && packing.matrix(&params, &[1], 2).is_err());
        assert!(packing.vector(&[1]).is_err() && MatrixPacking::new(4096, 0, 1).is_err());
    }

    #[test]
    fn few_ciphertexts_are_needed() {
        let packing = MatrixPacking::new(4096, 128, 784).unwrap();
        assert!(packing.inputs() + packing.outputs() <= 15, "{packing:?}");
    }
}
