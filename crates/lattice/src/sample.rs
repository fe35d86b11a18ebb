//! Random polynomials: uniform from a public seed, ternary secrets, small errors.
//!
//! Errors are centred binomial with 21 coins a side: standard deviation
//! `sqrt(21/2) = 3.24`, not below the 3.19 of the security table, at most 21 in size, and
//! drawn without a branch (E. Alkim et al., "Post-quantum key exchange - a new hope",
//! <https://eprint.iacr.org/2015/1092>, section 4, argues that the shape does not matter).

use crate::params::Params;
use crate::poly::Poly;
use subrosa_core::{Prg, Secret, Seed};

/// Coins a side of an error coefficient.
pub(crate) const COINS: u32 = 21;

/// Standard deviation of an error coefficient.
pub fn error_deviation() -> f64 {
    (f64::from(COINS) / 2.0).sqrt()
}

/// Uniform evaluations from a public seed. Each prime has a stream of its own, so the
/// residues modulo a prime do not depend on the level.
pub(crate) fn uniform(params: &Params, seed: &Seed, level: usize, special: bool) -> Poly {
    let mut x = params.zero(level, special);
    for row in 0..x.rows() {
        let prime = params.prime_of(&x, row);
        let (p, bits) = (params.modulus(prime).value(), params.modulus(prime).bits());
        let mut stream = seed.stream(&format!("uniform {prime}"));
        fill_below(&mut stream, p, (1 << bits) - 1, x.row_mut(row));
    }
    x
}

/// Uniform below `p` by rejection; `mask` covers the bits of `p`, so at least half pass.
fn fill_below(stream: &mut Prg, p: u64, mask: u64, mut out: &mut [u64]) {
    while !out.is_empty() {
        let words = stream.u64s(out.len());
        let mut filled = 0;
        for word in words.into_iter().map(|w| w & mask).filter(|&w| w < p) {
            out[filled] = word;
            filled += 1;
        }
        out = &mut out[filled..];
    }
}

/// `n` uniform coefficients of -1, 0 and 1. Two bits each, `11` is drawn again: when that
/// happens says nothing about the values kept.
pub(crate) fn ternary(stream: &mut Prg, n: usize) -> Secret<Vec<i8>> {
    let mut out = Secret::new(Vec::with_capacity(n));
    while out.expose().len() < n {
        let words = Secret::new(stream.u64s(n.div_ceil(24)));
        let pairs = words.expose().iter().flat_map(|&w| (0..32).map(move |i| (w >> (2 * i) & 3) as i8));
        let missing = n - out.expose().len();
        out.expose_mut().extend(pairs.filter(|&v| v < 3).map(|v| v - 1).take(missing));
    }
    out
}

/// `n` error coefficients.
pub(crate) fn errors(stream: &mut Prg, n: usize) -> Secret<Vec<i8>> {
    let words = Secret::new(stream.u64s(n));
    let side = (1u64 << COINS) - 1;
    let error = |w: &u64| (w & side).count_ones() as i8 - (w >> COINS & side).count_ones() as i8;
    Secret::new(words.expose().iter().map(error).collect())
}

/// Small coefficients as evaluations.
pub(crate) fn lift(params: &Params, small: &Secret<Vec<i8>>, level: usize, special: bool) -> Poly {
    let small = small.expose();
    let mut x = params.from_small(|i| i64::from(small[i]), level, special);
    params.forward(&mut x);
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> Prg {
        Seed::from_bytes([3; 32]).stream("sample test")
    }

    #[test]
    fn ternary_values_are_balanced() {
        let n = 30_000;
        let drawn = ternary(&mut stream(), n);
        for value in [-1, 0, 1] {
            let count = drawn.expose().iter().filter(|&&v| v == value).count() as f64;
            // Five standard deviations of a binomial with a third of n.
            assert!((count - n as f64 / 3.0).abs() < 5.0 * (n as f64 * 2.0 / 9.0).sqrt(), "{value}: {count}");
        }
    }

    #[test]
    fn errors_have_their_deviation_and_bound() {
        let n = 100_000;
        let drawn = errors(&mut stream(), n);
        let (mut sum, mut squares) = (0.0, 0.0);
        for &e in drawn.expose() {
            assert!(e.unsigned_abs() <= COINS as u8);
            sum += f64::from(e);
            squares += f64::from(e) * f64::from(e);
        }
        assert!((sum / n as f64).abs() < 5.0 * error_deviation() / (n as f64).sqrt());
        assert!(((squares / n as f64).sqrt() - error_deviation()).abs() < 0.05);
        assert!(error_deviation() >= 3.19);
    }

    #[test]
    fn rejection_keeps_uniform_values_below_the_bound() {
        let mut out = vec![0; 60_000];
        fill_below(&mut stream(), 3, 3, &mut out);
        for value in 0..3 {
            let count = out.iter().filter(|&&v| v == value).count() as f64;
            assert!((count - 20_000.0).abs() < 600.0, "{value}: {count}");
        }
    }
}
