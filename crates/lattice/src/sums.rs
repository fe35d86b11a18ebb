//! Sums of products: of polynomials with keys, with weights, and with integers.

use crate::kernel::{self, MAX_PAIRS, STRETCH, Word};
use crate::modulus::Modulus;
use crate::packed::{Packed, Words};
use crate::parallel;
use crate::params::Params;
use crate::poly::Poly;

/// Words of a row that sums of pairs work on at a time: of fifty operands they fit the
/// second-level cache, where every sum that reads them then finds them.
const BLOCK: usize = 1024;

/// One sum's rows modulo a prime, and its terms there.
type Sum<'a, A, Y> = ((&'a mut [u64], &'a mut [u64]), Vec<(&'a [A], &'a [A], &'a [Y])>);

impl Params {
    /// The sum of products of evaluations, all at one level; empty gives zero at `level`.
    pub fn dot(&self, level: usize, special: bool, pairs: &[(&Poly, &Poly)]) -> Poly {
        let mut out = self.scratch(level, special);
        let mut batches = pairs.chunks(kernel::MAX_PAIRS);
        self.dot_into(&mut out, batches.next().unwrap_or_default());
        for batch in batches {
            let mut part = self.scratch(level, special);
            self.dot_into(&mut part, batch);
            self.add(&mut out, &part);
        }
        out
    }

    /// For each group of terms `(a, b, y)` two sums of products with the same second factors,
    /// `(sum of a y, sum of b y)`; an empty group gives zeros.
    ///
    /// **Cost:** one pass over the second factors, and one over the first ones however many
    /// groups read them.
    pub fn dot_pairs(&self, level: usize, special: bool, groups: &[Vec<(&Poly, &Poly, &Packed)>]) -> Vec<(Poly, Poly)> {
        let mut out: Vec<(Poly, Poly)> =
            groups.iter().map(|_| (self.scratch(level, special), self.scratch(level, special))).collect();
        parallel::map(self.rows_by_prime(&mut out), |(prime, rows)| {
            let m = self.modulus(prime);
            let (mut narrow, mut wide) = (Vec::new(), Vec::new());
            for (rows, group) in rows.into_iter().zip(groups) {
                let (mut short, mut long) = (Vec::new(), Vec::new());
                for (a, b, y) in group {
                    let (a, b) = (self.row_of(a, prime), self.row_of(b, prime));
                    match y.row_of(prime, self.levels()) {
                        Words::Narrow(y) => short.push((a, b, y)),
                        Words::Wide(y) => long.push((a, b, y)),
                    }
                }
                // Residues of one prime are all of one width.
                if long.is_empty() { narrow.push((rows, short)) } else { wide.push((rows, long)) }
            }
            block_by_block(m, narrow);
            block_by_block(m, wide);
        });
        out
    }

    /// `(sum of a y, sum of b y)` for terms `(a, b, y)`.
    pub(crate) fn dot_keys(&self, level: usize, terms: &[(&Packed, &Packed, &Poly)]) -> (Poly, Poly) {
        let mut out = [(self.scratch(level, true), self.scratch(level, true))];
        parallel::map(self.rows_by_prime(&mut out), |(prime, rows)| {
            let m = self.modulus(prime);
            let (mut short, mut long) = (Vec::new(), Vec::new());
            for (a, b, y) in terms {
                let y = self.row_of(y, prime);
                match (a.row_of(prime, self.levels()), b.row_of(prime, self.levels())) {
                    (Words::Narrow(a), Words::Narrow(b)) => short.push((a, b, y)),
                    (Words::Wide(a), Words::Wide(b)) => long.push((a, b, y)),
                    (Words::Narrow(_), Words::Wide(_)) | (Words::Wide(_), Words::Narrow(_)) => {
                        debug_assert!(false, "residues of one prime are of one width");
                    }
                }
            }
            for rows in rows {
                if long.is_empty() {
                    block_by_block(m, vec![(rows, std::mem::take(&mut short))]);
                } else {
                    block_by_block(m, vec![(rows, std::mem::take(&mut long))]);
                }
            }
        });
        let [out] = out;
        out
    }

    /// For each prime, its rows of every pair.
    #[expect(clippy::type_complexity, reason = "told in words")]
    fn rows_by_prime<'a>(&self, pairs: &'a mut [(Poly, Poly)]) -> Vec<(usize, Vec<(&'a mut [u64], &'a mut [u64])>)> {
        let Some((first, _)) = pairs.first() else { return Vec::new() };
        let mut primes: Vec<_> = (0..first.rows()).map(|row| (self.prime_of(first, row), Vec::new())).collect();
        for (a, b) in pairs {
            primes.iter_mut().zip(a.rows_mut().zip(b.rows_mut())).for_each(|(prime, rows)| prime.1.push(rows));
        }
        primes
    }

    fn dot_into(&self, out: &mut Poly, pairs: &[(&Poly, &Poly)]) {
        let primes: Vec<usize> = (0..out.rows()).map(|row| self.prime_of(out, row)).collect();
        parallel::map(primes.into_iter().zip(out.rows_mut()).collect(), |(prime, out)| {
            // Operands may have more primes than the result: rows are told by prime.
            let rows: Vec<(&[u64], &[u64])> =
                pairs.iter().map(|(a, b)| (self.row_of(a, prime), self.row_of(b, prime))).collect();
            kernel::dot(self.modulus(prime), out, &rows);
        });
    }

    /// The residues of `x` modulo prime `prime`.
    fn row_of<'a>(&self, x: &'a Poly, prime: usize) -> &'a [u64] {
        if prime < self.levels() { x.row(prime) } else { x.row(x.level() + prime - self.levels()) }
    }

    /// For each row of each group, in order, `sum over k of w[k] x[columns[k]]`; all of `x`
    /// at `level` or above, without special primes; the result is at `level`. A group that
    /// is alone has all of `x` as its columns, in order.
    ///
    /// **Cost:** rows times columns times residues multiply-adds, and one pass over `x`; a
    /// stretch of every operand at a time, which the second-level cache holds for some
    /// 1,500 operands.
    pub fn combine(&self, x: &[&Poly], groups: &[Combination], level: usize) -> Vec<Poly> {
        let rows = groups.iter().map(|g| g.weights.len()).sum();
        let mut out: Vec<Poly> = (0..rows).map(|_| self.scratch(level, false)).collect();
        let mut stretches = vec![[0u64; STRETCH]; x.len()];
        let mut picked = Vec::new();
        let mut sums = vec![[0u64; STRETCH]; rows];
        for row in 0..level {
            let m = self.modulus(row);
            let residues: Vec<Vec<Vec<u64>>> = groups.iter().map(|g| g.residues(m)).collect();
            let residues: Vec<Vec<&[u64]>> = residues.iter().map(|g| g.iter().map(Vec::as_slice).collect()).collect();
            for at in (0..self.n()).step_by(STRETCH) {
                for (stretch, x) in stretches.iter_mut().zip(x) {
                    stretch.copy_from_slice(&x.row(row)[at..at + STRETCH]);
                }
                let mut rest = &mut sums[..];
                for (group, residues) in groups.iter().zip(&residues) {
                    let (sums, others) = rest.split_at_mut(residues.len());
                    rest = others;
                    // A copy within the cache is cheap beside the products of several rows.
                    if groups.len() > 1 {
                        picked.clear();
                        picked.extend(group.columns.iter().map(|&k| stretches[k]));
                    }
                    let x = if groups.len() > 1 { &picked } else { &stretches };
                    kernel::combine(m, sums, x, residues);
                }
                for (out, sum) in out.iter_mut().zip(&sums) {
                    out.row_mut(row)[at..at + STRETCH].copy_from_slice(sum);
                }
            }
        }
        out
    }
}

/// The sums, all of them for a block before any of the next.
fn block_by_block<A: Word, Y: Word>(m: &Modulus, mut sums: Vec<Sum<'_, A, Y>>) {
    let n = sums.first().map_or(0, |s| s.0.0.len());
    let block = BLOCK.min(n).max(1);
    let mut part = [vec![0; block], vec![0; block]];
    for start in (0..n).step_by(block) {
        let at = start..start + block;
        for ((first, second), terms) in &mut sums {
            let terms: Vec<_> =
                terms.iter().map(|(a, b, y)| (&a[at.clone()], &b[at.clone()], &y[at.clone()])).collect();
            let (first, second) = (&mut first[at.clone()], &mut second[at.clone()]);
            let mut batches = terms.chunks(MAX_PAIRS);
            kernel::dot_pair(m, first, second, batches.next().unwrap_or_default());
            for batch in batches {
                let [one, two] = &mut part;
                kernel::dot_pair(m, one, two, batch);
                kernel::add(m, first, one);
                kernel::add(m, second, two);
            }
        }
    }
}

/// Rows of integers that combine the same operands: see [`Params::combine`].
pub struct Combination {
    /// The operands, by their number.
    pub columns: Vec<usize>,
    /// For each row, one weight a column.
    pub weights: Vec<Vec<i64>>,
}

impl Combination {
    fn residues(&self, m: &Modulus) -> Vec<Vec<u64>> {
        self.weights.iter().map(|w| w.iter().map(|&w| m.signed(w)).collect()).collect()
    }
}
