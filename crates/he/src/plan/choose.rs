//! Primes and ring degree from depth and range.

use crate::Error;
use subrosa_lattice::modulus::{MAX_PRIME_BITS, primes_below};
use subrosa_lattice::security::max_modulus_bits;
use subrosa_lattice::{Attacker, Params, ParamsLiteral};

/// The least bits of a scale: below, errors of 2^11 (rescaling, at N = 8192) would leave
/// fewer than 14 good bits.
pub const MIN_SCALE_BITS: u32 = 26;
/// And the most that is of use to 32-bit results.
const MAX_SCALE_BITS: u32 = 34;
/// Bits of range beyond what was asked for, if they cost nothing.
const SPARE_BITS: u32 = 4;
/// Ring degrees tried, log2.
const DEGREES: std::ops::RangeInclusive<u32> = 12..=15;

/// Chosen parameters.
#[derive(Clone, Debug)]
pub struct Choice {
    /// The parameters.
    pub params: Params,
    /// log2 of the scale that affine steps return to.
    pub scale_bits: u32,
}

/// What parameters must allow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Demand {
    /// Rescalings.
    pub(super) depth: usize,
    /// Largest magnitude of any value.
    pub(super) largest: f64,
    /// Fewest slots.
    pub(super) slots: usize,
    /// Against whom.
    pub(super) attacker: Attacker,
}

impl Demand {
    /// Bits above the scale that the last prime must have: twice the largest value seen,
    /// and a sign.
    fn headroom(&self) -> u32 {
        (2.0 * self.largest.max(1.0)).log2().ceil() as u32 + 1
    }
}

/// Every ring degree that serves, smallest first, with the largest scale it allows.
pub(super) fn choices(demand: Demand) -> impl Iterator<Item = Result<Choice, Error>> {
    DEGREES.filter(move |&d| 1 << (d - 1) >= demand.slots).filter_map(move |log_n| {
        let bits = max_modulus_bits(log_n, demand.attacker)?;
        let scale = (MIN_SCALE_BITS..=MAX_SCALE_BITS).rev().find(|&s| total(demand, s).is_some_and(|t| t <= bits))?;
        // What is left over widens the last prime, and so the range of values.
        let spare = (bits - total(demand, scale)?) / 2;
        let last = (scale + demand.headroom() + spare.min(SPARE_BITS)).min(MAX_PRIME_BITS);
        Some(build(log_n, demand, scale, last))
    })
}

/// Bits of all primes: the last one, one a rescaling, and a special one as large as the
/// largest, so that key switching adds no more than rescaling does.
fn total(demand: Demand, scale: u32) -> Option<u32> {
    let last = scale + demand.headroom();
    (last <= MAX_PRIME_BITS).then_some(2 * last + demand.depth as u32 * scale)
}

fn build(log_n: u32, demand: Demand, scale: u32, last: u32) -> Result<Choice, Error> {
    let special = primes_below(log_n, last, 1, &[])?;
    let mut q = primes_below(log_n, last, 1, &special)?;
    let taken: Vec<u64> = special.iter().chain(&q).copied().collect();
    q.extend(primes_below(log_n, scale, demand.depth, &taken)?);
    let params = Params::new(ParamsLiteral { log_n, q, special, attacker: demand.attacker })?;
    Ok(Choice { params, scale_bits: scale })
}

/// The refusal where nothing serves.
pub(super) fn too_deep(demand: Demand) -> Error {
    Error::Plan(format!(
        "{} multiplications one after another on values up to {:.3} need a larger ring than 2^{}; use fewer layers or narrower activations, or another protection",
        demand.depth,
        demand.largest,
        DEGREES.end()
    ))
}
