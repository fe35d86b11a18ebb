//! The first layer of a comparison: groups of bits against a dealt mask.
//!
//! Parties 0 and 1 know `u` in the clear, party 2 knows the mask `r`, and the sign of
//! `u - r` is wanted. Borrow and equality of a group of up to five bits are polynomials in
//! the bits of `r` whose coefficients depend on `u` only; party 2 has shared every product
//! of a group's mask bits between parties 0 and 1 ("monomials"), so they evaluate the
//! polynomials locally. A prefix tree then joins the groups ([`super::compare`]).

/// Mask bits a group may have: with five, 31 monomials, 26 of them dealt.
const LARGEST: u32 = 5;
/// The usual group: 11 dealt monomials. Larger ones only where they save a tree level.
const USUAL: u32 = 4;

/// Sizes of the groups, lowest bits first, for a signed comparison of `width` bits (the
/// sign bit is in no group).
pub(super) fn groups(width: u32) -> Vec<usize> {
    let bits = width.saturating_sub(1);
    let usual = bits.div_ceil(USUAL);
    let fewer = 1 << levels_of(usual).saturating_sub(1);
    let count = if usual > 1 && bits <= fewer * LARGEST { fewer } else { usual };
    (0..count).map(|g| ((bits * (g + 1)) / count - (bits * g) / count) as usize).collect()
}

/// Levels of the prefix tree over `groups` groups.
pub(super) fn levels(groups: usize) -> u32 {
    levels_of(groups as u32)
}

fn levels_of(groups: u32) -> u32 {
    groups.next_power_of_two().trailing_zeros()
}

/// Monomials of degree two and more of a group.
pub(super) fn dealt_monomials(group: usize) -> usize {
    (1 << group) - 1 - group
}

/// All `2^group` monomials of a group's mask bits from its bits (`bits[i]` is monomial
/// `{i}`) and the dealt ones in ascending order of their index set; `one` is the empty
/// product.
pub(super) fn monomials<'a>(one: &'a [u64], bits: &'a [Vec<u64>], dealt: &'a [Vec<u64>]) -> Vec<&'a [u64]> {
    let mut dealt = dealt.iter();
    (0..1usize << bits.len())
        .map(|set| match (set.count_ones(), bits.get(set.trailing_zeros() as usize)) {
            (0, _) => one,
            (1, Some(bit)) => bit.as_slice(),
            (_, _) => dealt.next().map_or(one, Vec::as_slice),
        })
        .collect()
}

/// The products of degree two and more of `bits`, in ascending order of their index set.
pub(super) fn products(bits: &[Vec<u64>]) -> Vec<Vec<u64>> {
    let higher = (0..1usize << bits.len()).filter(|set| set.count_ones() >= 2);
    higher.map(|set| product(bits, set)).collect()
}

fn product(bits: &[Vec<u64>], set: usize) -> Vec<u64> {
    let mut factors = bits.iter().enumerate().filter(|(i, _)| set >> i & 1 == 1).map(|(_, b)| b);
    let mut out = factors.next().cloned().unwrap_or_default();
    for bit in factors {
        out.iter_mut().zip(bit).for_each(|(o, &b)| *o &= b);
    }
    out
}

/// This party's part of `(u < r, u == r)` for one group: `u[i]` are the group's known
/// bits, `monomials` this party's parts.
///
/// With `e_i = (1 + u_i) + r_i` (mod 2, one where the bits agree):
/// `eq = e_0 e_1 ...` and `lt = sum_i (1 + u_i) r_i prod_(j>i) e_j`. Both are linear in the
/// monomials, so folding the bits from the highest down, `v'[S] = (1 + u_i) v[S] + v[S+i]`,
/// gives `eq` as the last entry and the summands of `lt` on the way.
pub(super) fn less_and_equal(u: &[&[u64]], monomials: &[&[u64]]) -> (Vec<u64>, Vec<u64>) {
    let words = monomials.first().map_or(0, |m| m.len());
    let (mut lt, mut eq) = (vec![0; words], vec![0; words]);
    for w in 0..words {
        let mut v = [0u64; 1 << LARGEST];
        for (v, m) in v.iter_mut().zip(monomials) {
            *v = m.get(w).copied().unwrap_or(0);
        }
        let mut less = 0;
        for (i, plane) in u.iter().enumerate().rev() {
            let (half, differs) = (1 << i, !plane.get(w).copied().unwrap_or(0));
            less ^= differs & v[half];
            for s in 0..half {
                v[s] = (differs & v[s]) ^ v[s + half];
            }
        }
        (lt[w], eq[w]) = (less, v[0]);
    }
    (lt, eq)
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
        let bit = |x: u64, i: usize| vec![(x >> i & 1).wrapping_neg()];
        let bits: Vec<_> = (0..size).map(|i| bit(r, i)).collect();
        let known: Vec<_> = (0..size).map(|i| bit(u, i)).collect();
        let known: Vec<&[u64]> = known.iter().map(Vec::as_slice).collect();
        let dealt = products(&bits);
        assert_eq!(dealt.len(), dealt_monomials(size));
        let noise = |x: &[Vec<u64>]| -> Vec<Vec<u64>> {
            x.iter()
                .enumerate()
                .map(|(i, _)| vec![0x9e37_79b9_7f4a_7c15u64.rotate_left(7 * i as u32 + size as u32)])
                .collect()
        };
        let xor = |x: &[Vec<u64>], y: &[Vec<u64>]| -> Vec<Vec<u64>> {
            x.iter().zip(y).map(|(x, y)| vec![x[0] ^ y[0]]).collect()
        };
        let (bits_0, dealt_0) = (noise(&bits), noise(&dealt));
        let (bits_1, dealt_1) = (xor(&bits, &bits_0), xor(&dealt, &dealt_0));
        let (lt_0, eq_0) = less_and_equal(&known, &monomials(&[!0], &bits_0, &dealt_0));
        let (lt_1, eq_1) = less_and_equal(&known, &monomials(&[0], &bits_1, &dealt_1));
        assert_eq!(lt_0[0] ^ lt_1[0], u64::from(u < r).wrapping_neg(), "{u} < {r}");
        assert_eq!(eq_0[0] ^ eq_1[0], u64::from(u == r).wrapping_neg(), "{u} == {r}");
    }
}
