//! What operations cost, in transforms of one residue row: the planner's currency.
//!
//! The weights were measured on one AVX-512 core (`cargo bench --bench ckks`); only their
//! ratios matter.

/// Costs at one level.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    /// Primes with the special ones.
    primes: f64,
    /// Digits of a ciphertext, each of as many primes as are special.
    digits: f64,
}

/// An inner product with a key, a row, relative to a transform.
const INNER: f64 = 0.3;
/// A plaintext product of a pair, a row: bound by memory.
const PRODUCT: f64 = 0.12;

impl Cost {
    pub(super) fn at(level: usize, special: usize) -> Self {
        let real = |x: usize| x as f64;
        Self { primes: real(level + special), digits: real(level.div_ceil(special)) }
    }

    /// One rotation by itself.
    pub(super) fn rotation(self) -> f64 {
        self.decompose() + self.switch() + 2.0 * self.mod_down()
    }

    /// Digits of a polynomial.
    pub(super) fn decompose(self) -> f64 {
        self.digits * self.primes
    }

    /// Digits times a key, and the permutation.
    pub(super) fn switch(self) -> f64 {
        2.0 * (INNER * self.digits + 0.2) * self.primes
    }

    /// One polynomial divided by the special primes.
    pub(super) fn mod_down(self) -> f64 {
        self.primes
    }

    /// A term of a linear stage.
    pub(super) fn product(self) -> f64 {
        2.0 * PRODUCT * self.primes
    }

    /// Babies by hoisting and giants by double hoisting.
    pub(super) fn steps(self, babies: usize, giants: usize) -> f64 {
        let first = if babies > 0 { self.decompose() + 2.0 * self.mod_down() } else { 0.0 };
        let giant = self.decompose() + self.switch() + if babies > 0 { self.mod_down() } else { 0.0 };
        let last = if giants > 0 && babies == 0 { 2.0 * self.mod_down() } else { 0.0 };
        first + babies as f64 * self.switch() + giants as f64 * giant + last
    }

    /// Sums of `2^bits` slots at a time.
    fn sum(self, bits: usize) -> f64 {
        self.summed((1 << bits) - 1)
    }

    /// A value plus so many rotations of it.
    pub(super) fn summed(self, rotations: usize) -> f64 {
        self.decompose() + rotations as f64 * self.switch() + 2.0 * self.mod_down()
    }

    /// The cheapest way to sum over `bits` doublings: bits a stage, and the cost.
    pub(super) fn sums(self, bits: usize) -> (Vec<usize>, f64) {
        let mut best: Vec<(Vec<usize>, f64)> = vec![(Vec::new(), 0.0)];
        for total in 1..=bits {
            let with = |last: usize| {
                let (stages, cost) = &best[total - last];
                (stages.iter().copied().chain([last]).collect::<Vec<_>>(), cost + self.sum(last))
            };
            let least = (1..=total.min(3)).map(with).min_by(|a, b| a.1.total_cmp(&b.1));
            best.extend(least);
        }
        best.pop().unwrap_or_default()
    }
}
