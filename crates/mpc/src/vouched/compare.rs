//! The sign of a masked value.
//!
//! `x = u - r` modulo 2^width: parties 0 to 2 know `u`, the bits of the masked value, and the
//! preprocessing has put the bits of `r = -(m_0 + m_1 + m_2)`, and their products group by group,
//! into pieces ([`super::circuit`]). So the first layer of the comparison is local
//! ([`crate::masked::groups`]), piece by piece; then the groups are joined by a prefix tree, each
//! AND an opening of bits under masks.
//!
//! Rounds: 1 with one group; else 1 + levels.

use super::circuit;
use super::deal;
use super::share::{HELD, PUBLIC, Pieces};
use super::vouch::DIGEST;
use super::{Crew, Vouched};
use crate::Error;
use crate::masked::groups::{groups, less_and_equal, levels, monomial_count};
use crate::masked::tree::{Bits, and_levels, blocks_of, joined, operands};
use subrosa_core::Cost;
use subrosa_ring::bits::{and_xor_assign, plane_bytes, plane_words, xor_assign};
use subrosa_ring::{BitPlanes, Ring};
use zeroize::Zeroize;

/// What one comparison consumes: planes in the pieces held.
#[derive(Default)]
pub(super) struct CompareMaterial {
    /// The products of each group's bits of `r`, then its top bit.
    monomials: Pieces<u64>,
    /// Masks of what the groups give.
    groups: Vec<Pieces<u64>>,
    /// For each AND: the product of its operands' masks.
    gamma: Vec<Pieces<u64>>,
    /// For each AND but the last: the mask of its result.
    masks: Vec<Pieces<u64>>,
    /// Mask of the sign.
    sign: Pieces<u64>,
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

impl Bits for Pieces<u64> {
    fn xor(&mut self, other: &Self) {
        self.iter_mut().zip(other).for_each(|(x, y)| xor_assign(x, y));
    }
}

/// A bit that is known masked, with its mask.
#[derive(Clone)]
struct MaskedBits {
    bits: Vec<u64>,
    mask: Pieces<u64>,
}

impl Bits for MaskedBits {
    fn xor(&mut self, other: &Self) {
        xor_assign(&mut self.bits, &other.bits);
        self.mask.xor(&other.mask);
    }
}

impl<R: Ring, C: Crew> Vouched<R, C> {
    /// The preprocessing of comparisons of `width` bits of values with these masks. Returns the
    /// sign's mask as well.
    pub(super) fn prepare_sign(
        &mut self,
        width: u32,
        masks: &[std::sync::Arc<Vec<R::Word>>],
    ) -> Result<(CompareMaterial, Pieces<u64>), Error> {
        let n = masks.first().map_or(0, |m| m.len());
        let negated =
            |m: &[R::Word]| m.iter().map(|&m| subrosa_ring::Word::sub(R::Word::default(), m)).collect::<Vec<_>>();
        let bits = |m: &[R::Word]| BitPlanes::from_words(&negated(m), 0, width as usize).words().to_vec();
        let pieces: Pieces<u64> = masks.iter().map(|m| bits(m)).collect();
        let r = self.sum_of_pieces(n, width as usize, &pieces)?;
        let monomials = self.monomials(n, &r)?;
        let count = groups(width).len();
        let firsts = if count > 1 { 2 * count - 1 } else { 0 };
        let groups: Vec<Pieces<u64>> = (0..firsts).map(|_| self.mask_plane(n)).collect();
        let (mut factors, mut results) = (Vec::new(), Vec::new());
        let mut blocks = blocks_of(groups.clone(), count);
        for _ in 1..levels(count) {
            let level: Vec<_> = operands(&blocks).into_iter().map(|(x, y)| (x.clone(), y.clone())).collect();
            let ands: Vec<_> = level.iter().map(|_| self.mask_plane(n)).collect();
            factors.extend(level);
            results.extend(ands.iter().cloned());
            blocks = joined(blocks, ands);
        }
        factors.extend(operands(&blocks).into_iter().map(|(x, y)| (x.clone(), y.clone())));
        let gamma = self.and_all(n, &factors.iter().map(|(x, y)| (x, y)).collect::<Vec<_>>())?;
        let sign = self.mask_plane(n);
        Ok((CompareMaterial { monomials, groups, gamma, masks: results, sign: sign.clone() }, sign))
    }

    /// At parties 0 to 2: the masked sign bits, from the masked values.
    pub(super) fn masked_sign(
        &mut self,
        c: &[R::Word],
        width: u32,
        mut material: CompareMaterial,
    ) -> Result<Vec<u64>, Error> {
        let n = c.len();
        let u = BitPlanes::from_words(c, 0, width as usize);
        let count = groups(width).len();
        let (mut firsts, mut top) = self.first_layer(n, &u, &material.monomials);
        if count == 1 {
            top.iter_mut()
                .zip(&firsts)
                .for_each(|(top, piece)| piece.iter().for_each(|borrow| xor_assign(top, borrow)));
        }
        if count > 1 {
            // Of the lowest group nobody needs to know whether it passes a borrow on.
            firsts.iter_mut().for_each(|piece| drop(piece.remove(count)));
            let bits = self.exchange_bits(n, firsts, std::mem::take(&mut material.groups))?;
            let mut blocks = blocks_of(bits, count);
            let mut gamma = std::mem::take(&mut material.gamma).into_iter();
            let mut masks = std::mem::take(&mut material.masks).into_iter();
            for _ in 1..levels(count) {
                let ands: Vec<_> =
                    operands(&blocks).into_iter().zip(&mut gamma).map(|(xy, g)| self.and_pieces(xy, g)).collect();
                let masks = masks.by_ref().take(ands.len()).collect();
                let pieces = (0..deal::held(self.me)).map(|p| ands.iter().map(|and| at(and, p)).collect()).collect();
                blocks = joined(blocks, self.exchange_bits(n, pieces, masks)?);
            }
            // The last AND, not masked anew: borrow = g_high + p_high g_low.
            for (xy, g) in operands(&blocks).into_iter().zip(&mut gamma) {
                top.xor(&self.and_pieces(xy, g));
            }
            if let Some(high) = blocks.get(1) {
                top.xor(&high.less.mask);
                self.add_public(&mut top, &high.less.bits);
            }
        }
        top.xor(&std::mem::take(&mut material.sign));
        self.open_planes(n, 1, top)
    }

    /// The pieces of the groups' borrows, then of their equalities, and of `msb(u) + msb(r)`.
    fn first_layer(&self, n: usize, u: &BitPlanes, monomials: &[Vec<u64>]) -> (Vec<Vec<Vec<u64>>>, Pieces<u64>) {
        let sizes = groups(u.width() as u32);
        let planes: Vec<&[u64]> = u.planes().collect();
        let (mut firsts, mut tops) = (Vec::new(), Vec::new());
        for (monomials, &piece) in monomials.iter().zip(HELD.get(self.me).copied().unwrap_or_default()) {
            // The empty product is 1, in the public piece.
            let one = if piece == PUBLIC { u64::MAX } else { 0 };
            let (mut u, mut dealt) = (planes.as_slice(), monomials.as_slice());
            let (mut less, mut equal) = (Vec::new(), Vec::new());
            for &size in &sizes {
                let ((u_now, u_rest), (now, rest)) =
                    (u.split_at(size), dealt.split_at(monomial_count(size) * plane_words(n)));
                let (lt, eq) = less_and_equal(u_now, one, now, n);
                less.push(lt);
                equal.push(eq);
                (u, dealt) = (u_rest, rest);
            }
            let mut top = dealt.to_vec();
            if let (PUBLIC, Some(sign)) = (piece, u.first()) {
                xor_assign(&mut top, sign);
            }
            if sizes.len() > 1 {
                less.extend(equal);
            }
            firsts.push(less);
            tops.push(top);
        }
        (firsts, tops)
    }

    /// The pieces of `x & y`: `(e + l)(e' + l') = e e' + e l' + e' l + l l'`.
    fn and_pieces(&self, (x, y): (&MaskedBits, &MaskedBits), mut gamma: Pieces<u64>) -> Pieces<u64> {
        for (gamma, (x_mask, y_mask)) in gamma.iter_mut().zip(x.mask.iter().zip(&y.mask)) {
            and_xor_assign(gamma, &x.bits, y_mask);
            and_xor_assign(gamma, &y.bits, x_mask);
        }
        let mut both = x.bits.clone();
        subrosa_ring::bits::and_assign(&mut both, &y.bits);
        self.add_public(&mut gamma, &both);
        gamma
    }

    fn add_public(&self, pieces: &mut Pieces<u64>, plane: &[u64]) {
        let public = super::share::slot(self.me, PUBLIC);
        if let Some(piece) = public.and_then(|at| pieces.get_mut(at)) {
            xor_assign(piece, plane);
        }
    }

    /// Masks bits and opens them: `pieces` by piece held, then by bit. One round.
    fn exchange_bits(
        &mut self,
        n: usize,
        pieces: Vec<Vec<Vec<u64>>>,
        masks: Vec<Pieces<u64>>,
    ) -> Result<Vec<MaskedBits>, Error> {
        let count = masks.len();
        // Anything left over would leave unmasked.
        let covered = pieces.iter().all(|bits| bits.len() == count);
        if !covered {
            return Err(Error::Misuse("bits to be opened have not as many masks".into()));
        }
        let masked = |(p, bits): (usize, Vec<Vec<u64>>)| {
            let mut all = Vec::with_capacity(count * plane_words(n));
            for (plane, mask) in bits.iter().zip(&masks) {
                let start = all.len();
                all.extend_from_slice(plane);
                if let (Some(plane), Some(mask)) = (all.get_mut(start..), mask.get(p)) {
                    xor_assign(plane, mask);
                }
            }
            all
        };
        let pieces: Pieces<u64> = pieces.into_iter().enumerate().map(masked).collect();
        let opened = self.open_planes(n, count, pieces)?;
        let bits = opened.chunks_exact(plane_words(n).max(1)).map(<[u64]>::to_vec);
        Ok(bits.zip(masks).map(|(bits, mask)| MaskedBits { bits, mask }).collect())
    }
}

fn at(pieces: &[Vec<u64>], piece: usize) -> Vec<u64> {
    pieces.get(piece).cloned().unwrap_or_default()
}

/// Planes in each layer of ANDs of [`Vouched::prepare_sign`], in order.
pub(super) fn layers_of(width: u32) -> Vec<usize> {
    let mut planes = circuit::layers_of(width);
    planes.push(and_levels(groups(width).len()).iter().sum());
    planes.retain(|&planes| planes > 0);
    planes
}

/// Declared cost of [`Vouched::masked_sign`].
pub(super) fn online_cost(n: usize, width: u32) -> Cost {
    let opened = |planes: usize| opening_cost(planes * plane_bytes(n));
    let blocks = groups(width).len();
    let ands = and_levels(blocks);
    let tree = ands.split_last().map_or(&[] as &[usize], |(_, tree)| tree);
    let first = if blocks > 1 { opened(2 * blocks - 1) } else { Cost::FREE };
    first + tree.iter().map(|&ands| opened(ands)).sum() + opened(1)
}

/// Declared cost of an opening of pieces of `bytes` each.
pub(super) fn opening_cost(bytes: usize) -> Cost {
    Cost::round([bytes as u64, DIGEST as u64].repeat(3))
}

/// About how many bytes a comparison's material takes, at a party with two pieces.
pub(super) fn memory(n: usize, width: u32) -> u64 {
    let sizes = groups(width);
    let dealt = sizes.iter().map(|&g| monomial_count(g)).sum::<usize>() + 2;
    let ands: usize = and_levels(sizes.len()).iter().sum();
    (2 * n * (dealt + 2 * sizes.len() + 2 * ands)) as u64 / 8
}
