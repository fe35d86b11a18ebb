//! How large a modulus a ring degree bears at 128-bit security.
//!
//! **Source:** of each figure the smaller one of two tables, for uniform ternary secrets and
//! errors of standard deviation 3.19. One is J.-P. Bossuat et al., "Security Guidelines for
//! Implementing Homomorphic Encryption", <https://eprint.iacr.org/2024/463>, as the tables that
//! its authors publish beside it (the cheaper of primal and hybrid dual attacks). The other is
//! the Homomorphic Encryption Standard (M. Albrecht et al., 2018,
//! <https://eprint.iacr.org/2019/939>, table 1) as recomputed and shipped by OpenFHE
//! (`src/core/lib/lattice/stdlatticeparms.cpp`, `HEStd_ternary`), which allows up to 1.8 %
//! more bits. The modulus counts the special primes of key switching: keys are encryptions under
//! all of them.

use crate::Error;

/// Against whom the 128 bits hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Attacker {
    /// The best known classical attacks.
    #[default]
    Classical,
    /// Lattice sieving on a quantum computer.
    Quantum,
}

/// Security of every parameter set that can be built, in bits.
pub const SECURITY_BITS: u32 = 128;

/// `(log2 of the ring degree, bits against classical, bits against quantum attackers)`.
pub const TABLE: [(u32, u32, u32); 7] =
    [(10, 26, 25), (11, 53, 50), (12, 106, 101), (13, 214, 202), (14, 430, 409), (15, 868, 825), (16, 1747, 1663)];

/// The most bits that the modulus of ring degree `2^log_n` may have, special primes
/// included; none outside the table.
pub fn max_modulus_bits(log_n: u32, attacker: Attacker) -> Option<u32> {
    let row = TABLE.iter().find(|row| row.0 == log_n)?;
    Some(match attacker {
        Attacker::Classical => row.1,
        Attacker::Quantum => row.2,
    })
}

/// **Errors:** [`Error::Insecure`] where the product of `primes` exceeds the table.
pub fn check(log_n: u32, primes: &[u64], attacker: Attacker) -> Result<(), Error> {
    // Of a prime below 2, which is none, the logarithm would be a gain.
    let bits = if primes.contains(&0) { f64::INFINITY } else { modulus_bits(primes) };
    let allowed = max_modulus_bits(log_n, attacker).unwrap_or(0);
    // The table is in whole bits: a product just below 2^214 passes.
    if bits <= f64::from(allowed) {
        return Ok(());
    }
    let table = match attacker {
        Attacker::Classical => "classical",
        Attacker::Quantum => "quantum",
    };
    Err(Error::Insecure { log_n, wanted: bits.ceil() as u32, allowed, table })
}

/// log2 of the product.
pub fn modulus_bits(primes: &[u64]) -> f64 {
    primes.iter().map(|&p| (p as f64).log2()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_a_bound() {
        let just = [(1u64 << 47) - 1; 4];
        assert_eq!(check(13, &just, Attacker::Classical), Ok(()));
        let over = [(1u64 << 47) - 1; 5];
        let error = check(13, &over, Attacker::Classical).unwrap_err();
        assert_eq!(error, Error::Insecure { log_n: 13, wanted: 235, allowed: 214, table: "classical" });
        assert!(check(13, &[0, 1 << 47], Attacker::Classical).is_err(), "zero is no prime");
        assert!(check(9, &[3], Attacker::Classical).is_err() && check(17, &[3], Attacker::Classical).is_err());
        assert!(check(13, &[1 << 47, 1 << 47, 1 << 47, 1 << 47, 1 << 20], Attacker::Quantum).is_err());
    }

    #[test]
    fn each_row_allows_twice_the_last_and_quantum_less_than_classical() {
        assert!(TABLE.iter().all(|row| row.2 < row.1));
        assert!(TABLE.windows(2).all(|w| w[1].0 == w[0].0 + 1 && w[1].1 >= 2 * w[0].1 - 20 && w[1].1 < 3 * w[0].1));
    }
}
