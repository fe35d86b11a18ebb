//! Parameters: written down freely as [`ParamsLiteral`], usable only as [`Params`], which
//! nothing but its checking constructor makes.

use crate::modulus::{Factor, Modulus};
use crate::ntt::{NttTable, exponent};
use crate::poly::Poly;
use crate::security::{self, Attacker};
use crate::{Error, kernel, parallel};
use std::ops::Range;
use std::sync::Arc;

/// Unchecked parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParamsLiteral {
    /// log2 of the ring degree.
    pub log_n: u32,
    /// Primes of the ciphertext modulus; rescaling drops the last first.
    pub q: Vec<u64>,
    /// Special primes of key switching. Their number is also the number of primes in a
    /// digit of the decomposition.
    pub special: Vec<u64>,
    /// Against whom 128 bits must hold.
    pub attacker: Attacker,
}

/// Checked, immutable parameters with their precomputed tables. Cheap to clone.
///
/// Primes are numbered: those of `q` first, then the special ones.
#[derive(Clone, Debug)]
pub struct Params(Arc<Tables>);

#[derive(Debug)]
struct Tables {
    literal: ParamsLiteral,
    ntt: Vec<NttTable>,
    /// `[digit][primes of it, less one]`: from a digit to every prime.
    digits: Vec<Vec<BaseChange>>,
    /// From the special primes to every prime.
    down: BaseChange,
    /// From each prime of `q` alone to every prime.
    drop: Vec<BaseChange>,
    digest: [u8; 32],
}

/// Fast base conversion from a few primes with product `D` (J. Bajard et al., 2016/510,
/// section 2.2, with centred residues): `x -> sum of [x (D/p_i)^-1]_(p_i) * D/p_i`. It
/// equals `x` plus at most `primes / 2` times `D`.
#[derive(Debug)]
pub(crate) struct BaseChange {
    /// The primes converted from.
    pub(crate) from: Range<usize>,
    /// `(D/p_i)^-1 mod p_i`.
    pub(crate) gather: Vec<Factor>,
    /// For each prime `t`, each `i`: `D/p_i mod t`.
    pub(crate) spread: Vec<Vec<Factor>>,
    /// For each prime `t` not among `from`: `D^-1 mod t`.
    pub(crate) divide: Vec<Factor>,
}

impl BaseChange {
    fn new(ntt: &[NttTable], from: Range<usize>) -> Self {
        let product = |skip: Option<usize>, m: &Modulus| {
            from.clone().filter(|&i| Some(i) != skip).fold(1, |d, i| m.mul(d, m.reduce(ntt[i].modulus().value())))
        };
        let gather = from.clone().map(|i| {
            let m = ntt[i].modulus();
            m.factor(m.inverse(product(Some(i), m)))
        });
        let spread = ntt.iter().map(|t| {
            let m = t.modulus();
            from.clone().map(|i| m.factor(product(Some(i), m))).collect()
        });
        let divide = ntt.iter().map(|t| t.modulus().factor(t.modulus().inverse(product(None, t.modulus()))));
        Self { gather: gather.collect(), spread: spread.collect(), divide: divide.collect(), from: from.clone() }
    }
}

impl Params {
    /// **Errors:** [`Error::Insecure`] for what the security table does not allow,
    /// [`Error::Parameters`] for primes that are equal, unsuitable or missing.
    pub fn new(literal: ParamsLiteral) -> Result<Self, Error> {
        let primes: Vec<u64> = literal.q.iter().chain(&literal.special).copied().collect();
        security::check(literal.log_n, &primes, literal.attacker)?;
        if literal.q.is_empty() || literal.special.is_empty() {
            return Err(Error::Parameters("at least one prime and one special prime are needed".to_owned()));
        }
        if let Some(p) = primes.iter().enumerate().find_map(|(i, p)| primes[..i].contains(p).then_some(p)) {
            return Err(Error::Parameters(format!("the prime {p} occurs twice")));
        }
        let table = |&p: &u64| NttTable::new(Modulus::new(p)?, 1 << literal.log_n);
        let ntt: Vec<NttTable> = primes.iter().map(table).collect::<Result<_, _>>()?;
        let (q, digit) = (literal.q.len(), literal.special.len());
        let sizes = |first: usize| (1..=digit.min(q - first)).map(move |n| first..first + n);
        let digits = (0..q).step_by(digit).map(|first| sizes(first).map(|r| BaseChange::new(&ntt, r)).collect());
        let digits = digits.collect();
        let drop = (0..q).map(|i| BaseChange::new(&ntt, i..i + 1)).collect();
        let down = BaseChange::new(&ntt, q..primes.len());
        let digest = digest(&literal);
        Ok(Self(Arc::new(Tables { literal, ntt, digits, down, drop, digest })))
    }

    /// What they were made from.
    pub fn literal(&self) -> &ParamsLiteral {
        &self.0.literal
    }

    /// Ring degree.
    pub fn n(&self) -> usize {
        1 << self.0.literal.log_n
    }

    /// Primes of the ciphertext modulus: the level of a fresh ciphertext.
    pub fn levels(&self) -> usize {
        self.0.literal.q.len()
    }

    /// Special primes.
    pub fn special(&self) -> usize {
        self.0.literal.special.len()
    }

    /// Digits of the decomposition of a polynomial at `level`.
    pub fn digits(&self, level: usize) -> usize {
        level.div_ceil(self.special())
    }

    /// BLAKE3 of the parameters: objects made under others are refused by it.
    pub fn digest(&self) -> &[u8; 32] {
        &self.0.digest
    }

    /// Modulus of prime `i` (those of `q` first, then the special ones).
    pub fn modulus(&self, i: usize) -> &Modulus {
        self.0.ntt[i].modulus()
    }

    pub(crate) fn ntt(&self, i: usize) -> &NttTable {
        &self.0.ntt[i]
    }

    /// The conversion from digit `j` of a polynomial at `level`.
    pub(crate) fn digit(&self, j: usize, level: usize) -> &BaseChange {
        let primes = (level - j * self.special()).min(self.special());
        &self.0.digits[j][primes - 1]
    }

    pub(crate) fn down(&self) -> &BaseChange {
        &self.0.down
    }

    pub(crate) fn drop_prime(&self, i: usize) -> &BaseChange {
        &self.0.drop[i]
    }

    /// Evaluation position `i` reads position `result[i]` under `X -> X^g`.
    ///
    /// **Errors:** [`Error::Parameters`] for an even `g`, or one of `2n` and more.
    pub fn permutation(&self, g: usize) -> Result<Vec<u32>, Error> {
        let n = self.n();
        if g.is_multiple_of(2) || g >= 2 * n {
            return Err(Error::Parameters(format!("{g} is no Galois element of ring degree {n}")));
        }
        let mut position = vec![0u32; 2 * n];
        (0..n).for_each(|i| position[exponent(n, i)] = i as u32);
        Ok((0..n).map(|i| position[exponent(n, i) * g % (2 * n)]).collect())
    }

    /// Where the evaluation at the `e`-th power of the root stands, `e` odd.
    pub fn position_of_exponent(&self) -> impl Fn(usize) -> Option<usize> + use<> {
        let n = self.n();
        let mut position = vec![None; 2 * n];
        (0..n).for_each(|i| position[exponent(n, i)] = Some(i));
        move |e| position.get(e).copied().flatten()
    }
}

impl PartialEq for Params {
    fn eq(&self, other: &Self) -> bool {
        self.digest() == other.digest()
    }
}

fn digest(literal: &ParamsLiteral) -> [u8; 32] {
    let mut hash = blake3::Hasher::new_derive_key("subrosa 2026-11 lattice parameters v1");
    hash.update(&literal.log_n.to_le_bytes());
    for primes in [&literal.q, &literal.special] {
        hash.update(&(primes.len() as u64).to_le_bytes());
        primes.iter().for_each(|p| {
            hash.update(&p.to_le_bytes());
        });
    }
    *hash.finalize().as_bytes()
}

/// Arithmetic on polynomials. All operands of one operation have the same primes.
impl Params {
    /// Zero at `level`, with the special primes or without.
    pub fn zero(&self, level: usize, special: bool) -> Poly {
        Poly::zero(self.n(), level, if special { self.special() } else { 0 })
    }

    pub(crate) fn scratch(&self, level: usize, special: bool) -> Poly {
        Poly::scratch(self.n(), level, if special { self.special() } else { 0 })
    }

    /// The number of the prime behind residue row `row` of `x`.
    pub(crate) fn prime_of(&self, x: &Poly, row: usize) -> usize {
        if row < x.level() { row } else { self.levels() + row - x.level() }
    }

    fn each(&self, x: &mut Poly, f: impl Fn(&NttTable, &mut [u64]) + Send + Sync) {
        let primes: Vec<usize> = (0..x.rows()).map(|row| self.prime_of(x, row)).collect();
        parallel::map(primes.into_iter().zip(x.rows_mut()).collect(), |(prime, row)| f(self.ntt(prime), row));
    }

    fn each_with(&self, x: &mut Poly, y: &Poly, f: impl Fn(&Modulus, &mut [u64], &[u64]) + Send + Sync) {
        assert!(x.same_primes(y), "operands of one level");
        let primes: Vec<usize> = (0..x.rows()).map(|row| self.prime_of(x, row)).collect();
        let rows = primes.into_iter().zip(x.rows_mut()).enumerate().collect();
        parallel::map(rows, |(i, (prime, row))| f(self.modulus(prime), row, y.row(i)));
    }

    /// Coefficients to evaluations.
    pub fn forward(&self, x: &mut Poly) {
        self.each(x, |table, row| table.forward(row));
    }

    /// Evaluations to coefficients.
    pub fn inverse(&self, x: &mut Poly) {
        self.each(x, |table, row| table.inverse(row));
    }

    /// `x += y`.
    pub fn add(&self, x: &mut Poly, y: &Poly) {
        self.each_with(x, y, kernel::add);
    }

    /// `x -= y`.
    pub fn sub(&self, x: &mut Poly, y: &Poly) {
        self.each_with(x, y, kernel::sub);
    }

    /// `x = -x`.
    pub fn neg(&self, x: &mut Poly) {
        self.each(x, |table, row| kernel::neg(table.modulus(), row));
    }

    /// `x` times an integer.
    pub fn scale(&self, x: &mut Poly, by: i64) {
        self.each(x, |table, row| {
            let m = table.modulus();
            kernel::scale(m, row, m.factor(m.signed(by)));
        });
    }

    /// Small signed coefficients as residues, without a branch on them.
    ///
    /// **Panics:** in debug builds, unless every one is below every prime.
    pub fn from_small(&self, coefficients: impl Fn(usize) -> i64 + Send + Sync, level: usize, special: bool) -> Poly {
        let mut x = self.zero(level, special);
        self.each(&mut x, |table, row| {
            let p = table.modulus().value();
            for (i, out) in row.iter_mut().enumerate() {
                let c = coefficients(i);
                debug_assert!(c.unsigned_abs() < p);
                *out = crate::modulus::reduce_once(p.wrapping_add_signed(c), p);
            }
        });
        x
    }

    /// Signed coefficients of any size as residues.
    pub fn from_signed(&self, coefficients: &[i64], level: usize, special: bool) -> Poly {
        let mut x = self.zero(level, special);
        self.each(&mut x, |table, row| {
            let m = table.modulus();
            row.iter_mut().zip(coefficients).for_each(|(out, &c)| *out = m.signed(c));
        });
        x
    }

    /// Evaluations permuted: see [`Params::permutation`].
    pub fn permute(&self, x: &Poly, permutation: &[u32]) -> Poly {
        let mut out = x.like();
        parallel::map(out.rows_mut().enumerate().collect(), |(row, out)| {
            let from = x.row(row);
            out.iter_mut().zip(permutation).for_each(|(out, &i)| *out = from[i as usize]);
        });
        out
    }

    /// Adds an integer to every evaluation: to the constant coefficient.
    pub fn add_constant(&self, x: &mut Poly, value: i64) {
        self.each(x, |table, row| {
            let m = table.modulus();
            let v = m.signed(value);
            row.iter_mut().for_each(|x| *x = m.add(*x, v));
        });
    }
}
