//! The first layer of a comparison: groups of bits against a dealt mask.
//!
//! The computing parties know `u` in the clear, the dealer knows the mask `r`, and the sign of
//! `u - r` is wanted. Borrow and equality of a group of up to five bits are polynomials in
//! the bits of `r` whose coefficients depend on `u` only; the dealer has shared every product
//! of a group's mask bits between the computing parties ("monomials"), so they evaluate the
//! polynomials locally. A prefix tree then joins the groups ([`super::compare`]).

use subrosa_ring::bits::{and_assign, mask_tail};
use subrosa_ring::isa::{Loop, isa, run};

/// Mask bits a group may have: with five, 31 monomials.
const LARGEST: u32 = 5;
/// The usual group: 15 monomials. Larger ones only where they save a tree level.
const USUAL: u32 = 4;

/// Sizes of the groups, lowest bits first, for a signed comparison of `width` bits (the
/// sign bit is in no group).
pub(crate) fn groups(width: u32) -> Vec<usize> {
    let bits = width.saturating_sub(1);
    let usual = bits.div_ceil(USUAL);
    let fewer = 1 << levels_of(usual).saturating_sub(1);
    let count = if usual > 1 && bits <= fewer * LARGEST { fewer } else { usual };
    (0..count).map(|g| ((bits * (g + 1)) / count - (bits * g) / count) as usize).collect()
}

/// Levels of the prefix tree over `groups` groups.
pub(crate) fn levels(groups: usize) -> u32 {
    levels_of(groups as u32)
}

fn levels_of(groups: u32) -> u32 {
    groups.next_power_of_two().trailing_zeros()
}

/// Monomials of degree one and more of a group.
pub(crate) fn monomial_count(group: usize) -> usize {
    (1 << group) - 1
}

/// The products of `bits`, by index set from `{0}` on, one plane after another.
pub(crate) fn products(bits: &[&[u64]], out: &mut Vec<u64>) {
    let (start, len) = (out.len(), bits.first().map_or(0, |b| b.len()));
    for set in 1..1usize << bits.len() {
        let rest = set & (set - 1);
        let at = out.len();
        out.extend_from_slice(bits.get(set.trailing_zeros() as usize).unwrap_or(&[].as_slice()));
        if rest > 0 {
            let (before, product) = out.split_at_mut(at);
            and_assign(product, &before[start + (rest - 1) * len..][..len]);
        }
    }
}

/// This party's part of `(u < r, u == r)` for one group of `n` comparisons: `u[i]` are the
/// group's known bits, `monomials` this party's parts as [`products`] lays them out, `one`
/// its part of the empty product.
///
/// With `e_i = (1 + u_i) + r_i` (mod 2, one where the bits agree):
/// `eq = e_0 e_1 ...` and `lt = sum_i (1 + u_i) r_i prod_(j>i) e_j`. Both are linear in the
/// monomials, so folding the bits from the highest down, `v'[S] = (1 + u_i) v[S] + v[S+i]`,
/// gives `eq` as the last entry and the summands of `lt` on the way.
pub(crate) fn less_and_equal(u: &[&[u64]], one: u64, monomials: &[u64], n: usize) -> (Vec<u64>, Vec<u64>) {
    let words = n.div_ceil(64);
    let (mut lt, mut eq) = (vec![0; words], vec![0; words]);
    run(isa(), Fold { u, one, monomials, lt: &mut lt, eq: &mut eq });
    // Lanes beyond n stay zero in everything that is sent.
    mask_tail(&mut lt, n);
    mask_tail(&mut eq, n);
    (lt, eq)
}

/// Words folded at once.
const LANES: usize = 8;

struct Fold<'a> {
    u: &'a [&'a [u64]],
    one: u64,
    monomials: &'a [u64],
    lt: &'a mut [u64],
    eq: &'a mut [u64],
}

impl Loop for Fold<'_> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let words = self.lt.len();
        for (block, (lt, eq)) in self.lt.chunks_mut(LANES).zip(self.eq.chunks_mut(LANES)).enumerate() {
            let (at, len) = (block * LANES, lt.len());
            let mut v = [[0u64; LANES]; 1 << LARGEST];
            v[0] = [self.one; LANES];
            for (v, plane) in v[1..].iter_mut().zip(self.monomials.chunks_exact(words)) {
                v[..len].copy_from_slice(&plane[at..at + len]);
            }
            let mut less = [0u64; LANES];
            for (i, plane) in self.u.iter().enumerate().rev() {
                let half = 1 << i;
                let mut differs = [0u64; LANES];
                differs[..len].copy_from_slice(&plane[at..at + len]);
                for (l, differs) in differs.iter_mut().enumerate() {
                    *differs = !*differs;
                    less[l] ^= *differs & v[half][l];
                }
                for s in 0..half {
                    for l in 0..LANES {
                        v[s][l] = (differs[l] & v[s][l]) ^ v[s + half][l];
                    }
                }
            }
            lt.copy_from_slice(&less[..len]);
            eq.copy_from_slice(&v[0][..len]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_cover_every_bit() {
        for width in 1..=64 {
            let g = groups(width);
            assert_eq!(g.iter().sum::<usize>() as u32, width - 1, "width {width}");
            assert!(g.iter().all(|&s| (1..=LARGEST as usize).contains(&s)), "width {width}: {g:?}");
        }
        assert_eq!(levels(groups(21).len()), 2);
        assert_eq!(levels(groups(32).len()), 3);
    }

    /// Exhaustive: all u and r of up to five bits, the mask's monomials split at random.
    #[test]
    fn polynomials_compare() {
        for size in 1..=LARGEST as usize {
            for u in 0..1u64 << size {
                for r in 0..1u64 << size {
                    check(size, u, r);
                }
            }
        }
    }

    fn check(size: usize, u: u64, r: u64) {
        // 700 equal lanes: more than one block of words, and a last one that is not full.
        const N: usize = 700;
        let bit = |x: u64, i: usize| vec![(x >> i & 1).wrapping_neg(); N.div_ceil(64)];
        let planes = |x: u64| -> Vec<Vec<u64>> { (0..size).map(|i| bit(x, i)).collect() };
        let (bits, known) = (planes(r), planes(u));
        let known: Vec<&[u64]> = known.iter().map(Vec::as_slice).collect();
        let mut dealt = Vec::new();
        products(&bits.iter().map(Vec::as_slice).collect::<Vec<_>>(), &mut dealt);
        assert_eq!(dealt.len(), monomial_count(size) * N.div_ceil(64));
        let part_0: Vec<u64> =
            (0..dealt.len()).map(|i| 0x9e37_79b9_7f4a_7c15u64.rotate_left(7 * i as u32 + size as u32)).collect();
        let part_1: Vec<u64> = part_0.iter().zip(&dealt).map(|(p, d)| p ^ d).collect();
        let (lt_0, eq_0) = less_and_equal(&known, !0, &part_0, N);
        let (lt_1, eq_1) = less_and_equal(&known, 0, &part_1, N);
        for lane in [0, 63, 64, 575, 576, N - 1] {
            let at = |x: &[u64], y: &[u64]| (x[lane / 64] ^ y[lane / 64]) >> (lane % 64) & 1 == 1;
            assert_eq!(at(&lt_0, &lt_1), u < r, "{u} < {r}");
            assert_eq!(at(&eq_0, &eq_1), u == r, "{u} == {r}");
        }
        assert_eq!(lt_0.last().map(|w| w >> (N % 64)), Some(0));
    }
}
