//! How large a modulus a ring degree bears at 128-bit security.
//!
//! **Source:** the tables of the Homomorphic Encryption Standard (M. Albrecht et al.,
//! 2018, <https://eprint.iacr.org/2019/939>, table 1) as recomputed and shipped by
//! OpenFHE (`src/core/lib/lattice/stdlatticeparms.cpp`, `HEStd_ternary`, 128 bits,
//! classical and quantum). They hold for uniform ternary secrets and errors of standard
//! deviation 3.19; J.-P. Bossuat et al., "Security Guidelines for Implementing
//! Homomorphic Encryption", <https://eprint.iacr.org/2024/463>, confirms them. The
//! modulus counts the special primes of key switching: keys are encryptions under all of
//! them.

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
    [(10, 27, 25), (11, 54, 51), (12, 109, 101), (13, 218, 202), (14, 438, 411), (15, 881, 827), (16, 1747, 1663)];

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
    let bits = modulus_bits(primes);
    let allowed = max_modulus_bits(log_n, attacker).unwrap_or(0);
    // The table is in whole bits: a product just below 2^218 passes.
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
        assert_eq!(error, Error::Insecure { log_n: 13, wanted: 235, allowed: 218, table: "classical" });
        assert!(check(9, &[3], Attacker::Classical).is_err() && check(17, &[3], Attacker::Classical).is_err());
        assert!(check(13, &[1 << 47, 1 << 47, 1 << 47, 1 << 47, 1 << 20], Attacker::Quantum).is_err());
    }

    #[test]
    fn each_row_allows_twice_the_last_and_quantum_less_than_classical() {
        assert!(TABLE.iter().all(|row| row.2 < row.1));
        assert!(TABLE.windows(2).all(|w| w[1].0 == w[0].0 + 1 && w[1].1 >= 2 * w[0].1 - 20 && w[1].1 < 3 * w[0].1));
    }
}
