//! Tests that need fixed seeds or the inside of a polynomial.

mod exact;
mod golden;
mod noise;
mod wiped;

use crate::modulus::primes_below;
use crate::{Attacker, Params, ParamsLiteral, Poly};
use subrosa_core::Seed;

/// Distinct primes of these sizes.
fn params(log_n: u32, q_bits: &[u32], special_bits: &[u32]) -> Params {
    let mut taken = Vec::new();
    for &b in q_bits.iter().chain(special_bits) {
        taken.push(primes_below(log_n, b, 1, &taken).unwrap()[0]);
    }
    let special = taken.split_off(q_bits.len());
    Params::new(ParamsLiteral { log_n, q: taken, special, attacker: Attacker::Classical }).unwrap()
}

fn seed(from: u64, number: u8) -> Seed {
    let mut bytes = [number; 32];
    bytes[..8].copy_from_slice(&from.to_le_bytes());
    Seed::from_bytes(bytes)
}

/// Evaluations of a polynomial with coefficients up to `bound` in size.
fn message(params: &Params, from: u64, bound: i64, level: usize) -> (Vec<i64>, Poly) {
    let words = seed(from, 99).stream("message").u64s(params.n());
    let coefficients: Vec<i64> = words.into_iter().map(|w| (w % (2 * bound as u64 + 1)) as i64 - bound).collect();
    let mut x = params.from_signed(&coefficients, level, false);
    params.forward(&mut x);
    (coefficients, x)
}
