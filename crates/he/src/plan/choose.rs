//! Primes and ring degree from depth and range.

use super::cost::Cost;
use crate::Error;
use crate::public::{MAX_LOG_N, Mark};
use subrosa_lattice::modulus::{MAX_PRIME_BITS, primes_below};
use subrosa_lattice::security::max_modulus_bits;
use subrosa_lattice::{Attacker, Params, ParamsLiteral};

/// The least bits of a scale: below, errors of 2^11 (rescaling, at N = 8192) would leave
/// fewer than 14 good bits.
pub const MIN_SCALE_BITS: u32 = 26;
/// And the most: 18 good bits at N = 16384. With more, primes would not fit 32 bits, and
/// weights and keys take twice the memory.
const MAX_SCALE_BITS: u32 = 30;
/// Most special primes: a digit of more has no smaller keys at the levels there are.
const MOST_SPECIAL: usize = 4;
/// Bits of range beyond what was asked for, if they cost nothing.
const SPARE_BITS: u32 = 4;
/// Ring degrees tried, log2.
const DEGREES: std::ops::RangeInclusive<u32> = 12..=MAX_LOG_N;
/// log2 of the error that sending fewer bits may add to a slot: below that of the
/// computation itself.
const ROUNDING_BITS: i32 = -12;

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
    /// The least bits of the scale, if more are needed than usual.
    pub(super) least_scale: u32,
}

impl Demand {
    fn scales(&self) -> std::ops::RangeInclusive<u32> {
        let least = MIN_SCALE_BITS.max(self.least_scale);
        least..=least.max(MAX_SCALE_BITS)
    }

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
        let fits = |s: &Sizes| s.total().is_some_and(|t| t <= bits);
        let largest = |special: usize| {
            let mut sizes = demand.scales().rev().map(|scale| Sizes {
                scale,
                base: scale + demand.headroom(),
                depth: demand.depth,
                special,
            });
            sizes.find(fits)
        };
        let one = largest(1)?;
        let several = (2..=MOST_SPECIAL).filter_map(largest).filter(|s| s.scale >= one.scale);
        let cost = |s: &Sizes| (1..=demand.depth + 1).map(|l| Cost::at(l, s.special).rotation()).sum::<f64>();
        let best = std::iter::once(one).chain(several).min_by(|a, b| cost(a).total_cmp(&cost(b)))?;
        // What is left over widens the base, and so the range of values; not at the price of
        // special primes that no longer fit 32 bits.
        let narrow = |s: &Sizes| s.special == 1 || s.special_bits() <= u32::BITS || best.special_bits() > u32::BITS;
        let wider = (0..=SPARE_BITS).rev().map(|spare| Sizes { base: best.base + spare, ..best });
        Some(build(log_n, demand, wider.into_iter().find(|s| fits(s) && narrow(s))?))
    })
}

/// Primes by their bits.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    /// Of those that rescaling drops.
    scale: u32,
    /// Of what is never dropped: one prime, or two where one would be too large.
    base: u32,
    /// How many are dropped.
    depth: usize,
    /// How many are special: as many as a digit of key switching has.
    special: usize,
}

impl Sizes {
    /// Bits of the primes that are never dropped.
    fn bases(self) -> Vec<u32> {
        match self.base {
            one if one <= MAX_PRIME_BITS => vec![one],
            two => vec![two.div_ceil(2), two / 2],
        }
    }

    /// Bits of each special prime: their product is as large as the largest digit, so that
    /// key switching adds no more than rescaling does.
    fn special_bits(self) -> u32 {
        let mut primes = self.bases();
        primes.resize(primes.len() + self.depth, self.scale);
        let largest = primes.chunks(self.special).map(|digit| digit.iter().sum::<u32>()).max();
        largest.unwrap_or(self.base).div_ceil(self.special as u32)
    }

    /// Bits of all primes; none if one would be too large.
    fn total(self) -> Option<u32> {
        let total = self.base + self.depth as u32 * self.scale + self.special as u32 * self.special_bits();
        let largest = self.bases().into_iter().chain([self.scale, self.special_bits()]).max();
        largest.is_some_and(|bits| bits <= MAX_PRIME_BITS).then_some(total)
    }
}

fn build(log_n: u32, demand: Demand, sizes: Sizes) -> Result<Choice, Error> {
    let special = primes_below(log_n, sizes.special_bits(), sizes.special, &[])?;
    let mut q = Vec::new();
    let mut taken = special.clone();
    let bases = sizes.bases().into_iter().map(|bits| (bits, 1));
    for (bits, count) in bases.chain([(sizes.scale, demand.depth)]) {
        let primes = primes_below(log_n, bits, count, &taken)?;
        taken.extend(&primes);
        q.extend(primes);
    }
    let params = Params::new(ParamsLiteral { log_n, q, special, attacker: demand.attacker })?;
    Ok(Choice { params, scale_bits: sizes.scale })
}

/// Lowest bits of an answer's coefficients that need not be sent. Dropping `d` adds an error
/// of deviation `2^d n / 4` to a slot before it is divided by the scale: see
/// `Params::round_coefficients`, and `sqrt(n)` from coefficients to slots.
pub(super) fn droppable(params: &Params, answer: Mark) -> u32 {
    let bits = answer.scale.log2().floor() as i32 + ROUNDING_BITS + 2 - params.n().ilog2() as i32;
    if answer.level == 1 { u32::try_from(bits).unwrap_or(0) } else { 0 }
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
