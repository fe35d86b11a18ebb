//! Polynomials that are read often and never changed: keys, encoded weights.

use crate::kernel::buffer::Buffer;
use crate::params::Params;
use crate::poly::Poly;

/// Evaluations whose residues modulo primes of at most 32 bits take half the memory: sums
/// of products with them are bound by reading it.
#[derive(Clone)]
pub struct Packed {
    rows: Vec<Row>,
    level: usize,
    n: usize,
}

#[derive(Clone)]
enum Row {
    Narrow(Buffer),
    Wide(Buffer),
}

/// The residues modulo one prime.
pub(crate) enum Words<'a> {
    Narrow(&'a [u32]),
    Wide(&'a [u64]),
}

/// Whether residues modulo `p` fit 32 bits.
pub(crate) fn is_narrow(p: u64) -> bool {
    p <= u64::from(u32::MAX)
}

impl Packed {
    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        let words = |row: &Row| match row {
            Row::Narrow(words) | Row::Wide(words) => words.len() * size_of::<u64>(),
        };
        self.rows.iter().map(words).sum()
    }

    /// The residues of prime `prime` of parameters with `levels` primes.
    pub(crate) fn row_of(&self, prime: usize, levels: usize) -> Words<'_> {
        match &self.rows[if prime < levels { prime } else { self.level + prime - levels }] {
            Row::Narrow(words) => Words::Narrow(&words.halves()[..self.n]),
            Row::Wide(words) => Words::Wide(words),
        }
    }
}

impl Params {
    /// The same residues, packed.
    pub fn pack(&self, x: &Poly) -> Packed {
        let row = |row: usize| {
            let residues = x.row(row);
            if is_narrow(self.modulus(self.prime_of(x, row)).value()) {
                let mut words = Buffer::scratch(self.n().div_ceil(2));
                words.halves_mut().iter_mut().zip(residues).for_each(|(out, &v)| *out = v as u32);
                Row::Narrow(words)
            } else {
                let mut words = Buffer::scratch(self.n());
                words.copy_from_slice(residues);
                Row::Wide(words)
            }
        };
        Packed { rows: (0..x.rows()).map(row).collect(), level: x.level(), n: self.n() }
    }

    /// The polynomial again.
    pub(crate) fn unpack(&self, x: &Packed) -> Poly {
        let mut out = self.scratch(x.level, x.rows.len() > x.level);
        for (row, from) in x.rows.iter().enumerate() {
            match from {
                Row::Narrow(words) => {
                    out.row_mut(row).iter_mut().zip(words.halves()).for_each(|(out, &v)| *out = v.into());
                }
                Row::Wide(words) => out.row_mut(row).copy_from_slice(words),
            }
        }
        out
    }

    /// Bytes that a packed polynomial takes.
    pub fn packed_bytes(&self, level: usize, special: bool) -> usize {
        let primes = (0..level).chain(self.levels()..self.levels() + if special { self.special() } else { 0 });
        let word = |i: usize| if is_narrow(self.modulus(i).value()) { size_of::<u32>() } else { size_of::<u64>() };
        primes.map(|i| self.n() * word(i)).sum()
    }
}
