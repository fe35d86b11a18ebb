//! The sign of a masked value: a comparison of two operands each of which somebody knows.
//!
//! `x = u - r` with `u = c`, known to the computing parties, and `r = -m`, known to the dealer, both
//! modulo 2^width (after a truncation by `f`: of the bits from `f` on). Then `msb(x) =
//! msb(u) + msb(r) + borrow`, and the borrow out of the lower bits comes from groups
//! ([`super::groups`], local) joined by a prefix tree: `(g, p) . (g', p') = (g + p g', p
//! p')`, high half first. Bits are masked like values: `b = e + l`, `e` known to parties 0
//! and 1, `l = l_0 + l_1 + ...`. The dealer knows the masks of every bit of the tree beforehand,
//! so it deals the products of masks, and the computing parties alone exchange a bit for each AND.
//!
//! Rounds: 1 with one group; else 1 + levels.

use super::Masked;
use super::cast::Cast;
use super::groups::{groups, less_and_equal, levels, monomial_count, products};
use super::tree::{Bits, and_levels, blocks_of, joined, operands};
use crate::Error;
use subrosa_core::Cost;
use subrosa_ring::bits::{and_xor_assign, plane_bytes, plane_words, planes_from_bytes, planes_to_bytes, xor_assign};
use subrosa_ring::{BitPlanes, Ring};
use zeroize::Zeroize;

/// What the computing parties need for one comparison.
pub(super) struct CompareMaterial {
    /// Parts of the mask bits' monomials, group by group, then of its top bit.
    monomials: Vec<u64>,
    /// Masks of what the groups give.
    groups: Vec<Vec<u64>>,
    /// For each AND: part of the product of its operands' masks.
    gamma: Vec<Vec<u64>>,
    /// For each AND but the last: mask of its result.
    masks: Vec<Vec<u64>>,
    /// Mask of the sign.
    sign: Vec<u64>,
}

impl Drop for CompareMaterial {
    fn drop(&mut self) {
        self.monomials.zeroize();
        self.groups.zeroize();
        self.gamma.zeroize();
        self.masks.zeroize();
        self.sign.zeroize();
    }
}

/// Planes that the dealer deals for a comparison.
pub(super) fn dealt_planes(width: u32) -> usize {
    let sizes = groups(width);
    sizes.iter().map(|&g| monomial_count(g)).sum::<usize>() + 1 + and_levels(sizes.len()).iter().sum::<usize>()
}

/// Declared cost of [`sign`].
pub(super) fn cost<C: Cast>(n: usize, width: u32) -> Cost {
    let between =
        |planes: usize| Cost::messages((C::COMPUTING * (C::COMPUTING - 1)) as u64, (planes * plane_bytes(n)) as u64);
    let blocks = groups(width).len();
    let ands = and_levels(blocks);
    let tree = ands.split_last().map_or(&[] as &[usize], |(_, tree)| tree);
    let first = if blocks > 1 { between(2 * blocks - 1) } else { Cost::FREE };
    first + tree.iter().map(|&ands| between(ands)).sum() + between(1)
}

#[derive(Clone)]
struct MaskedBits {
    bits: Vec<u64>,
    mask: Vec<u64>,
}

impl Bits for MaskedBits {
    fn xor(&mut self, other: &Self) {
        xor_assign(&mut self.bits, &other.bits);
        xor_assign(&mut self.mask, &other.mask);
    }
}

/// The preprocessing of `n` comparisons of `width` bits of masked values, from bit `low`
/// on; `r` at the dealer. Returns the sign's mask: a party's part, or at the dealer the sum.
pub(super) fn prepare<R: Ring, C: Cast>(
    party: &mut Masked<R, C>,
    n: usize,
    width: u32,
    r: Option<BitPlanes>,
) -> Result<(CompareMaterial, Vec<u64>), Error> {
    let sizes = groups(width);
    let count: usize = sizes.iter().map(|&g| monomial_count(g)).sum::<usize>() + 1;
    let monomials = party.deal_planes(n, count, r.map(|r| all_products(&r, &sizes)))?;
    let firsts = if sizes.len() > 1 { 2 * sizes.len() - 1 } else { 0 };
    let groups: Vec<Vec<u64>> = (0..firsts).map(|_| party.mask_plane(n)).collect();
    let (mut gamma, mut masks) = (Vec::new(), Vec::new());
    let mut blocks = blocks_of(groups.clone(), sizes.len());
    for _ in 1..levels(sizes.len()) {
        let mut ands = Vec::new();
        for (x, y) in operands(&blocks) {
            gamma.push(deal_and(party, n, x, y)?);
            ands.push(party.mask_plane(n));
        }
        masks.extend(ands.iter().cloned());
        blocks = joined(blocks, ands);
    }
    for (x, y) in operands(&blocks) {
        gamma.push(deal_and(party, n, x, y)?);
    }
    let sign = party.mask_plane(n);
    Ok((CompareMaterial { monomials, groups, gamma, masks, sign: sign.clone() }, sign))
}

/// Parts of the product of two masks, at the dealer given as they are.
fn deal_and<R: Ring, C: Cast>(party: &mut Masked<R, C>, n: usize, x: &[u64], y: &[u64]) -> Result<Vec<u64>, Error> {
    let product = (party.is_dealer()).then(|| x.iter().zip(y).map(|(x, y)| x & y).collect());
    party.deal_planes(n, 1, product)
}

/// At the dealer: every group's monomials, then the top bit.
fn all_products(r: &BitPlanes, sizes: &[usize]) -> Vec<u64> {
    let planes: Vec<&[u64]> = r.planes().collect();
    let count = sizes.iter().map(|&g| monomial_count(g)).sum::<usize>() + 1;
    let (mut rest, mut out) = (planes.as_slice(), Vec::with_capacity(count * r.words_per_plane()));
    for &size in sizes {
        let (now, later) = rest.split_at(size);
        rest = later;
        products(now, &mut out);
    }
    out.extend_from_slice(rest.first().unwrap_or(&[].as_slice()));
    out
}

/// At the computing parties: the masked sign bits `e`, from the masked values' bits `u`.
pub(super) fn sign<R: Ring, C: Cast>(
    party: &mut Masked<R, C>,
    n: usize,
    u: &BitPlanes,
    mut material: CompareMaterial,
) -> Result<Vec<u64>, Error> {
    let sizes = groups(u.width() as u32);
    let (mut less, equal, mut top) = evaluate(party.me, n, u, &sizes, &material.monomials);
    if let [borrow] = less.as_slice() {
        xor_assign(&mut top, borrow);
    }
    if sizes.len() > 1 {
        less.extend(equal.into_iter().skip(1));
        let bits = exchange(party, n, less, std::mem::take(&mut material.groups))?;
        let mut blocks = blocks_of(bits, sizes.len());
        let gamma = std::mem::take(&mut material.gamma);
        let (mut gamma, mut masks) = (gamma.into_iter(), std::mem::take(&mut material.masks).into_iter());
        for _ in 1..levels(sizes.len()) {
            let me = party.me;
            let parts: Vec<_> = operands(&blocks).into_iter().zip(&mut gamma).map(|(xy, g)| and(me, xy, g)).collect();
            let masks = masks.by_ref().take(parts.len()).collect();
            let ands = exchange(party, n, parts, masks)?;
            blocks = joined(blocks, ands);
        }
        // The last AND, not masked anew: borrow = g_high + p_high g_low.
        for (xy, g) in operands(&blocks).into_iter().zip(&mut gamma) {
            xor_assign(&mut top, &and(party.me, xy, g));
        }
        if let Some(high) = blocks.get(1) {
            xor_assign(&mut top, &high.less.mask);
            if party.me == 1 {
                xor_assign(&mut top, &high.less.bits);
            }
        }
    }
    let sign = std::mem::take(&mut material.sign);
    let opened = exchange(party, n, vec![top], vec![sign])?.pop();
    Ok(opened.map_or_else(Vec::new, |sign| sign.bits))
}

/// This party's parts of the groups' borrows and equalities, and of `msb(u) + msb(r)`.
fn evaluate(
    me: usize,
    n: usize,
    u: &BitPlanes,
    sizes: &[usize],
    monomials: &[u64],
) -> (Vec<Vec<u64>>, Vec<Vec<u64>>, Vec<u64>) {
    // The empty product is 1: party 0's part is 1, the others' are 0.
    let one = if me == 0 { u64::MAX } else { 0 };
    let planes: Vec<&[u64]> = u.planes().collect();
    let (mut u, mut dealt) = (planes.as_slice(), monomials);
    let (mut less, mut equal) = (Vec::new(), Vec::new());
    for &size in sizes {
        let ((u_now, u_rest), (now, rest)) = (u.split_at(size), dealt.split_at(monomial_count(size) * plane_words(n)));
        let (lt, eq) = less_and_equal(u_now, one, now, n);
        less.push(lt);
        equal.push(eq);
        (u, dealt) = (u_rest, rest);
    }
    let mut top = dealt.to_vec();
    if let (0, Some(sign)) = (me, u.first()) {
        xor_assign(&mut top, sign);
    }
    (less, equal, top)
}

/// This party's part of `x & y`: `(e + l)(e' + l') = e e' + e l' + e' l + l l'`.
fn and(me: usize, (x, y): (&MaskedBits, &MaskedBits), mut gamma: Vec<u64>) -> Vec<u64> {
    and_xor_assign(&mut gamma, &x.bits, &y.mask);
    and_xor_assign(&mut gamma, &y.bits, &x.mask);
    if me == 1 {
        and_xor_assign(&mut gamma, &x.bits, &y.bits);
    }
    gamma
}

/// Masks this party's parts of bits and adds the others'. One round.
fn exchange<R: Ring, C: Cast>(
    party: &mut Masked<R, C>,
    n: usize,
    mut parts: Vec<Vec<u64>>,
    masks: Vec<Vec<u64>>,
) -> Result<Vec<MaskedBits>, Error> {
    // Anything left over would leave unmasked.
    let covered = parts.len() == masks.len() && parts.iter().zip(&masks).all(|(part, mask)| part.len() == mask.len());
    if !covered {
        return Err(Error::Misuse(format!("{}: bits to be opened have not as many masks", C::NAME)));
    }
    parts.iter_mut().zip(&masks).for_each(|(part, mask)| xor_assign(part, mask));
    let message = planes_to_bytes(&parts.iter().map(Vec::as_slice).collect::<Vec<_>>(), n);
    for received in party.swap(message)? {
        let theirs = planes_from_bytes(&received, parts.len(), n);
        parts.iter_mut().zip(theirs.planes()).for_each(|(part, theirs)| xor_assign(part, theirs));
    }
    Ok(parts.into_iter().zip(masks).map(|(bits, mask)| MaskedBits { bits, mask }).collect())
}
