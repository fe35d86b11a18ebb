//! Primes and ring degree from depth and range.

use super::cost::Cost;
use crate::Error;
use subrosa_lattice::modulus::{MAX_PRIME_BITS, primes_below};
use subrosa_lattice::security::max_modulus_bits;
use subrosa_lattice::{Attacker, Params, ParamsLiteral};

/// The least bits of a scale: below, errors of 2^11 (rescaling, at N = 8192) would leave
/// fewer than 14 good bits.
pub const MIN_SCALE_BITS: u32 = 26;
/// And the most that is of use to 32-bit results.
const MAX_SCALE_BITS: u32 = 34;
/// A scale that leaves 18 good bits at N = 16384: more is worth less than speed.
const GOOD_SCALE_BITS: u32 = 30;
/// Most special primes: a digit of more has no smaller keys at the levels there are.
const MOST_SPECIAL: usize = 4;
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

/// Every ring degree that serves, smallest first, each with the largest scale it allows, or
/// with a good one and the special primes that make key switching cheapest.
pub(super) fn choices(demand: Demand) -> impl Iterator<Item = Result<Choice, Error>> {
    DEGREES.filter(move |&d| 1 << (d - 1) >= demand.slots).filter_map(move |log_n| {
        let bits = max_modulus_bits(log_n, demand.attacker)?;
        let largest = |special: usize| {
            let scales = (MIN_SCALE_BITS..=MAX_SCALE_BITS).rev();
            let mut sizes = scales.map(|scale| Sizes { scale, last: scale + demand.headroom(), special });
            sizes.find(|s| s.total(demand.depth).is_some_and(|t| t <= bits))
        };
        let one = largest(1)?;
        let good = one.scale.min(GOOD_SCALE_BITS);
        let several = (2..=MOST_SPECIAL).filter_map(largest).filter(|s| s.scale >= good);
        let cost = |s: &Sizes| (1..=demand.depth + 1).map(|l| Cost::at(l, s.special).rotation()).sum::<f64>();
        let best = std::iter::once(one).chain(several).min_by(|a, b| cost(a).total_cmp(&cost(b)))?;
        // What is left over widens the last prime, and so the range of values.
        let wider = (0..=SPARE_BITS).rev().map(|spare| Sizes { last: best.last + spare, ..best });
        let sizes = wider.into_iter().find(|s| s.total(demand.depth).is_some_and(|t| t <= bits))?;
        Some(build(log_n, demand, sizes))
    })
}

/// Primes by their bits.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    /// Of those that rescaling drops.
    scale: u32,
    /// Of the one that is never dropped.
    last: u32,
    /// How many are special: as many as a digit of key switching has.
    special: usize,
}

impl Sizes {
    /// Bits of each special prime: their product is as large as the largest digit, so that
    /// key switching adds no more than rescaling does.
    fn special_bits(self) -> u32 {
        let others = self.special as u32 - 1;
        (self.last + others * self.scale).div_ceil(self.special as u32)
    }

    /// Bits of all primes; none if one would be too large.
    fn total(self, depth: usize) -> Option<u32> {
        let total = self.last + depth as u32 * self.scale + self.special as u32 * self.special_bits();
        (self.last <= MAX_PRIME_BITS).then_some(total)
    }
}

fn build(log_n: u32, demand: Demand, sizes: Sizes) -> Result<Choice, Error> {
    let special = primes_below(log_n, sizes.special_bits(), sizes.special, &[])?;
    let mut q = primes_below(log_n, sizes.last, 1, &special)?;
    let taken: Vec<u64> = special.iter().chain(&q).copied().collect();
    q.extend(primes_below(log_n, sizes.scale, demand.depth, &taken)?);
    let params = Params::new(ParamsLiteral { log_n, q, special, attacker: demand.attacker })?;
    Ok(Choice { params, scale_bits: sizes.scale })
}

/// The refusal where nothing serves.
pub(super) fn too_deep(demand: Demand) -> Error {
    Error::TooDeep(format!(
        "{} multiplications one after another on values up to {:.3} need a larger ring than 2^{}; use fewer layers or narrower activations, or another protection",
        demand.depth,
        demand.largest,
        DEGREES.end()
    ))
}
