//! The negacyclic number-theoretic transform: products in `Z_p[X] / (X^n + 1)`.
//!
//! **Source:** P. Longa, M. Naehrig, "Speeding up the number theoretic transform", 2016,
//! algorithms 1 and 2, <https://eprint.iacr.org/2016/504>, with Harvey's lazy butterflies
//! (values stay below `4p` between stages).
//!
//! **Differs:** the order of the evaluations. Longa and Naehrig's is bit-reversed; here
//! each run of 64 of them is seen as an 8 by 8 matrix and transposed, so that the last
//! three stages work on whole vectors of eight. [`NttTable::exponent`] tells the order;
//! nothing else depends on it.

use crate::Error;
use crate::kernel;
use crate::modulus::{Factor, Modulus};
#[cfg(target_arch = "x86_64")]
use std::sync::OnceLock;

/// Lanes of the widest vector, and the side of the transposed squares.
pub(crate) const LANES: usize = 8;
/// Evaluations in a transposed square.
const SQUARE: usize = LANES * LANES;
/// Twiddle vectors a square needs for the last three stages: one, two and four.
#[cfg(target_arch = "x86_64")]
pub(crate) const TAIL: usize = 7;
/// The longest transform has `2^MAX_LOG_N` points: kernels that reduce late rely on it.
pub const MAX_LOG_N: u32 = 20;

/// Roots of unity and their quotients for one prime and one ring degree.
#[derive(Debug)]
pub struct NttTable {
    n: usize,
    modulus: Modulus,
    /// Powers of the root in bit-reversed order.
    pub(crate) forward: Twiddles,
    /// The inverses of the same.
    pub(crate) inverse: Twiddles,
    /// `1 / n`.
    pub(crate) n_inverse: Factor,
    /// `1 / n` times the twiddle of the inverse's last stage.
    pub(crate) last: Factor,
    /// Made when a kernel first asks.
    #[cfg(target_arch = "x86_64")]
    doubles: OnceLock<Doubles>,
}

/// The multipliers of a table as centred doubles.
#[cfg(target_arch = "x86_64")]
#[derive(Debug)]
pub(crate) struct Doubles {
    pub(crate) forward: Vec<f64>,
    pub(crate) forward_tail: Vec<f64>,
    pub(crate) inverse: Vec<f64>,
    pub(crate) inverse_tail: Vec<f64>,
    pub(crate) n_inverse: f64,
    pub(crate) last: f64,
}

/// Multipliers of one direction.
#[derive(Debug)]
pub(crate) struct Twiddles {
    pub(crate) values: Vec<u64>,
    pub(crate) quotients: Vec<u64>,
    /// For each square, [`TAIL`] vectors: the values of the stages of stride 4, 2 and 1.
    #[cfg(target_arch = "x86_64")]
    pub(crate) tail_values: Vec<u64>,
    #[cfg(target_arch = "x86_64")]
    pub(crate) tail_quotients: Vec<u64>,
}

impl Twiddles {
    fn new(modulus: &Modulus, n: usize, root: u64) -> Self {
        let log_n = n.trailing_zeros();
        let mut powers = vec![1u64; n];
        for i in 1..n {
            powers[i] = modulus.mul(powers[i - 1], root);
        }
        let factors: Vec<Factor> = (0..n).map(|i| modulus.factor(powers[bit_reverse(i, log_n)])).collect();
        let split = |f: &[Factor]| (f.iter().map(|f| f.value).collect(), f.iter().map(|f| f.quotient).collect());
        let (values, quotients) = split(&factors);
        #[cfg(target_arch = "x86_64")]
        let (tail_values, tail_quotients) =
            split(&(0..n / SQUARE).flat_map(|s| tail_indices(n, s)).map(|i| factors[i]).collect::<Vec<_>>());
        Self {
            values,
            quotients,
            #[cfg(target_arch = "x86_64")]
            tail_values,
            #[cfg(target_arch = "x86_64")]
            tail_quotients,
        }
    }

    #[inline(always)]
    pub(crate) fn factor(&self, i: usize) -> Factor {
        Factor { value: self.values[i], quotient: self.quotients[i] }
    }
}

/// The twiddles of square `s` in the stages of stride 4, 2, 1; lane `l` works on the
/// eight values from `64 s + 8 l` on.
#[cfg(target_arch = "x86_64")]
fn tail_indices(n: usize, s: usize) -> impl Iterator<Item = usize> {
    [(n / 8, 1), (n / 4, 2), (n / 2, 4)].into_iter().flat_map(move |(stage, per_lane)| {
        (0..per_lane).flat_map(move |h| (0..LANES).map(move |l| stage + (s * LANES + l) * per_lane + h))
    })
}

impl NttTable {
    /// **Errors:** [`Error::Parameters`] unless `n` is a power of two from 64 to
    /// `2^MAX_LOG_N` and `2n` divides `p - 1`.
    pub fn new(modulus: Modulus, n: usize) -> Result<Self, Error> {
        let root = (n.is_power_of_two() && (SQUARE..=1 << MAX_LOG_N).contains(&n))
            .then(|| modulus.root(2 * n as u64))
            .flatten();
        let Some(root) = root else {
            return Err(Error::Parameters(format!("{} has no transform of length {n}", modulus.value())));
        };
        let forward = Twiddles::new(&modulus, n, root);
        let inverse = Twiddles::new(&modulus, n, modulus.inverse(root));
        let n_inverse = modulus.inverse(n as u64);
        let last = modulus.factor(modulus.mul(n_inverse, inverse.values[1]));
        Ok(Self {
            n,
            modulus,
            forward,
            inverse,
            n_inverse: modulus.factor(n_inverse),
            last,
            #[cfg(target_arch = "x86_64")]
            doubles: OnceLock::new(),
        })
    }

    #[cfg(target_arch = "x86_64")]
    pub(crate) fn doubles(&self) -> &Doubles {
        let centred = |x: u64| self.modulus.centred(x) as f64;
        let all = |words: &[u64]| words.iter().map(|&x| centred(x)).collect();
        self.doubles.get_or_init(|| Doubles {
            forward: all(&self.forward.values),
            forward_tail: all(&self.forward.tail_values),
            inverse: all(&self.inverse.values),
            inverse_tail: all(&self.inverse.tail_values),
            n_inverse: centred(self.n_inverse.value),
            last: centred(self.last.value),
        })
    }

    /// Length of a polynomial.
    pub fn len(&self) -> usize {
        self.n
    }

    /// Never: a transform has at least 64 points.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The prime.
    pub fn modulus(&self) -> &Modulus {
        &self.modulus
    }

    /// Coefficients to evaluations, in place; residues in and out.
    ///
    /// **Cost:** `n/2 log2 n` butterflies.
    pub fn forward(&self, x: &mut [u64]) {
        kernel::ntt_forward(self, x);
    }

    /// Evaluations to coefficients, in place.
    pub fn inverse(&self, x: &mut [u64]) {
        kernel::ntt_inverse(self, x);
    }

    /// Position `i` holds the value at this (odd) power of the root.
    pub fn exponent(&self, i: usize) -> usize {
        exponent(self.n, i)
    }
}

/// See [`NttTable::exponent`]; it depends on nothing but the length.
pub(crate) fn exponent(n: usize, i: usize) -> usize {
    2 * bit_reverse(untransposed(i), n.trailing_zeros()) + 1
}

/// The bit-reversed-order index of position `i`.
fn untransposed(i: usize) -> usize {
    let within = i % SQUARE;
    i - within + (within % LANES) * LANES + within / LANES
}

/// Transposes each square in place.
pub(crate) fn transpose_squares(x: &mut [u64]) {
    for square in x.as_chunks_mut::<SQUARE>().0 {
        for i in 0..LANES {
            for j in 0..i {
                square.swap(i * LANES + j, j * LANES + i);
            }
        }
    }
}

pub(crate) fn bit_reverse(i: usize, bits: u32) -> usize {
    i.reverse_bits() >> (usize::BITS - bits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modulus::primes_below;
    use proptest::prelude::*;
    use subrosa_core::Seed;

    fn table(log_n: u32, bits: u32) -> NttTable {
        let p = primes_below(log_n, bits, 1, &[]).unwrap()[0];
        NttTable::new(Modulus::new(p).unwrap(), 1 << log_n).unwrap()
    }

    fn residues(t: &NttTable, seed: u8) -> Vec<u64> {
        let words = Seed::from_bytes([seed; 32]).stream("ntt test").u64s(t.len());
        words.into_iter().map(|w| w % t.modulus().value()).collect()
    }

    /// The definition: position `i` is the polynomial at `root^exponent(i)`.
    #[test]
    fn evaluations_are_at_the_stated_powers() {
        for log_n in [6, 7, 10] {
            let t = table(log_n, 40);
            let m = t.modulus();
            let root = m.root(2 << log_n).unwrap();
            let x = residues(&t, 1);
            let mut y = x.clone();
            t.forward(&mut y);
            for i in [0, 1, 2, 7, 8, 33, 63, t.len() - 1] {
                let at = m.pow(root, t.exponent(i) as u64);
                let value = x.iter().rev().fold(0, |acc, &c| m.add(m.mul(acc, at), c));
                assert_eq!(y[i], value, "log n {log_n}, position {i}");
            }
        }
    }

    #[test]
    fn products_are_negacyclic() {
        for (log_n, bits) in [(6, 48), (8, 18), (9, 30)] {
            let t = table(log_n, bits);
            let (m, n) = (t.modulus(), t.len());
            let (a, b) = (residues(&t, 2), residues(&t, 3));
            let mut schoolbook = vec![0u64; n];
            for (i, &x) in a.iter().enumerate() {
                for (j, &y) in b.iter().enumerate() {
                    let (k, xy) = ((i + j) % n, m.mul(x, y));
                    schoolbook[k] = m.add(schoolbook[k], if i + j < n { xy } else { m.neg(xy) });
                }
            }
            let (mut fa, mut fb) = (a, b);
            t.forward(&mut fa);
            t.forward(&mut fb);
            let mut c: Vec<u64> = fa.iter().zip(&fb).map(|(&x, &y)| m.mul(x, y)).collect();
            t.inverse(&mut c);
            assert_eq!(c, schoolbook);
        }
    }

    #[test]
    fn lengths_without_a_root_are_refused() {
        let p = Modulus::new(primes_below(10, 30, 1, &[]).unwrap()[0]).unwrap();
        assert!(NttTable::new(p, 1 << 20).is_err() && NttTable::new(p, 100).is_err() && NttTable::new(p, 32).is_err());
    }

    /// The inputs that grow most in kernels that reduce late, for the largest primes.
    #[test]
    fn extreme_residues_at_the_longest_lengths_agree_on_every_path() {
        for log_n in [6, 7, 13, 16, MAX_LOG_N] {
            let t = table(log_n, 48);
            let (m, n) = (t.modulus(), t.len());
            let p = m.value();
            // The last makes each butterfly of the first stage add two residues near p/2.
            let w = m.inverse(t.forward.values[1]);
            let lower_half = |i: usize| if i < n / 2 { p - 1 } else { m.mul(p / 2, w) };
            let inputs: [Vec<u64>; 4] = [
                vec![p - 1; n],
                vec![p / 2; n],
                (0..n).map(|i| if i % 2 == 0 { p - 1 } else { 0 }).collect(),
                (0..n).map(lower_half).collect(),
            ];
            for x in inputs {
                let mut portable = x.clone();
                kernel::ntt_forward_on(kernel::Isa::Portable, &t, &mut portable);
                let mut back = x.clone();
                kernel::ntt_inverse_on(kernel::Isa::Portable, &t, &mut back);
                for isa in kernel::Isa::ALL.into_iter().filter(|i| i.is_available()) {
                    let mut y = x.clone();
                    kernel::ntt_forward_on(isa, &t, &mut y);
                    assert!(y == portable, "forward, log n {log_n}, {}", isa.name());
                    let mut y = x.clone();
                    kernel::ntt_inverse_on(isa, &t, &mut y);
                    assert!(y == back, "inverse, log n {log_n}, {}", isa.name());
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn the_inverse_undoes_and_every_path_agrees(log_n in 6u32..15, bits in 24u32..=48, seed: u8) {
            let t = table(log_n, bits);
            let mut x = residues(&t, seed);
            x[0] = t.modulus().value() - 1;
            for isa in kernel::Isa::ALL.into_iter().filter(|i| i.is_available()) {
                let mut y = x.clone();
                kernel::ntt_forward_on(isa, &t, &mut y);
                let mut portable = x.clone();
                kernel::ntt_forward_on(kernel::Isa::Portable, &t, &mut portable);
                prop_assert_eq!(&y, &portable, "forward, {}", isa.name());
                kernel::ntt_inverse_on(isa, &t, &mut y);
                prop_assert_eq!(&y, &x, "inverse, {}", isa.name());
            }
        }
    }
}
