//! The sign of a shared value: one opening under a mask, then a comparison of two operands
//! each of which somebody knows.
//!
//! `x + r` is opened modulo 2^width to parties 0 and 1; party 2 knows `r`. Then
//! `msb(x) = msb(u) + msb(r) + borrow` for `u - r = x`, and the borrow out of the lower
//! bits comes from groups ([`super::groups`], local) joined by a prefix tree:
//! `(g, p) . (g', p') = (g + p g', p p')`, high half first. The tree's last AND is never
//! reshared: its parts are opened under a daBit, which gives the bit in the ring.
//!
//! Rounds after the opening: 1 with one group; else 1 + levels.

use super::Rep3;
use super::dabits::DaBits;
use super::groups::{groups, less_and_equal, levels, monomials};
use super::prep::{CompareMaterial, Material, round};
use super::share::{BitShare, Share, xor_into, zip};
use super::streams::plane;
use super::trunc::{expect_dabits, known, open_masked};
use crate::Error;
use crate::protocol::{Evaluator, Linear, Source};
use subrosa_core::Cost;
use subrosa_ring::bits::{expand_bits, mask_tail, planes_from_bytes, planes_to_bytes};
use subrosa_ring::{BitPlanes, Ring, Word};

/// What parties 0 and 1 compare.
pub(super) struct Known {
    /// The opened value's bits.
    pub(super) u: BitPlanes,
    pub(super) material: CompareMaterial,
}

/// 1 where `x < 0`, for `x` of `width` signed bits; at least one element.
pub(super) fn ltz<R: Ring>(
    party: &mut Rep3<R>,
    mut material: Material<R::Word>,
    x: &Share<R::Word>,
    width: u32,
) -> Result<Share<R::Word>, Error> {
    let u = open_masked(party, Source::Share(x), &material.mask, width, 0)?;
    let known = known(material.compare.take(), &u, width);
    let (negative, _) = sign(party, x.a.len(), width, known, expect_dabits(material.dabits.take())?, &[], 0)?;
    Ok(negative)
}

/// Declared cost of [`sign`] with `extra` bytes each way between parties 0 and 1.
pub(super) fn cost(n: usize, width: u32, extra: u64) -> Cost {
    let plane = n.div_ceil(8) as u64;
    let mut blocks = groups(width).len() as u64;
    // Everybody opens one plane to the two others; 0 and 1 add the extra bytes if this is
    // their first message.
    let last = |extra: u64| {
        let between = plane + extra;
        Cost::round([between, between, plane, plane, plane, plane])
    };
    if blocks <= 1 {
        return last(extra);
    }
    let first = (2 * blocks - 1) * plane + extra;
    let mut total = Cost::messages(2, first);
    while blocks > 2 {
        let pairs = blocks / 2;
        total += Cost::messages(3, (2 * pairs - 1) * plane);
        blocks -= pairs;
    }
    total + last(0)
}

/// The sign bit of `u - r` in the ring, and what the other of parties 0 and 1 sent along.
pub(super) fn sign<R: Ring>(
    party: &mut Rep3<R>,
    n: usize,
    width: u32,
    known: Option<Known>,
    dabits: DaBits<R::Word>,
    extra: &[u8],
    extra_len: usize,
) -> Result<(Share<R::Word>, Vec<u8>), Error> {
    let sizes = groups(width);
    let parts = known.map(|known| Parts::evaluate(&known, &sizes, party.me, n));
    let mut top = parts.as_ref().map_or_else(|| vec![0; n.div_ceil(64)], |p| p.top.clone());
    if sizes.len() <= 1 {
        if let Some(borrow) = parts.as_ref().and_then(|p| p.less.first()) {
            xor_into(&mut top, borrow);
        }
        let (opened, extra) = open_under(party, n, top, &dabits, extra, extra_len)?;
        return Ok((to_ring(party, n, &opened, dabits), extra));
    }
    let (mut blocks, extra) = share_blocks(party, n, sizes.len(), parts, extra, extra_len)?;
    for _ in 1..levels(sizes.len()) {
        blocks = join_level(party, n, blocks)?;
    }
    if let [low, high] = blocks.as_slice() {
        // The last AND, not reshared: borrow = g_high + p_high g_low.
        xor_into(&mut top, &high.less.a);
        if let Some(equal) = &high.equal {
            xor_into(&mut top, &and_local(equal, &low.less));
        }
    }
    let (opened, _) = open_under(party, n, top, &dabits, &[], 0)?;
    Ok((to_ring(party, n, &opened, dabits), extra))
}

/// Parties 0's and 1's two-party parts of the groups' results.
struct Parts {
    less: Vec<Vec<u64>>,
    equal: Vec<Vec<u64>>,
    /// Part of `msb(u) + msb(r)`.
    top: Vec<u64>,
}

impl Parts {
    fn evaluate(known: &Known, sizes: &[usize], me: usize, n: usize) -> Self {
        // The empty product is 1: party 0's part is 1, party 1's is 0.
        let mut one = vec![if me == 0 { u64::MAX } else { 0 }; n.div_ceil(64)];
        // Lanes beyond n stay zero in everything that is sent.
        mask_tail(&mut one, n);
        let planes: Vec<&[u64]> = (0..known.u.width()).map(|i| known.u.plane(i)).collect();
        let (mut u, mut r) = (planes.as_slice(), known.material.bits.as_slice());
        let (mut less, mut equal) = (Vec::new(), Vec::new());
        for (&size, dealt) in sizes.iter().zip(&known.material.monomials) {
            let ((u_now, u_rest), (r_now, r_rest)) = (u.split_at(size), r.split_at(size));
            let (lt, eq) = less_and_equal(u_now, &monomials(&one, r_now, dealt));
            less.push(lt);
            equal.push(eq);
            (u, r) = (u_rest, r_rest);
        }
        let mut top = r.first().cloned().unwrap_or_default();
        if let (0, Some(sign)) = (me, u.first()) {
            xor_into(&mut top, sign);
        }
        Self { less, equal, top }
    }
}

/// A run of groups in the prefix tree: its borrow, and whether it passes a borrow on
/// (never needed of the lowest).
struct Block {
    less: BitShare,
    equal: Option<BitShare>,
}

/// Turns the evaluators' two-party parts into replicated shares: slots 0 and 2 are their
/// masks, slot 1 the sum of what they exchange. One round.
fn share_blocks<R: Ring>(
    party: &mut Rep3<R>,
    n: usize,
    count: usize,
    parts: Option<Parts>,
    extra: &[u8],
    extra_len: usize,
) -> Result<(Vec<Block>, Vec<u8>), Error> {
    let total = 2 * count - 1;
    let shares = match (parts, party.me) {
        (Some(parts), me) => {
            // Lowest group: borrow only; every other: borrow, then equality.
            let equals = parts.equal.into_iter().skip(1);
            let planes: Vec<Vec<u64>> = parts.less.into_iter().chain(equals).collect();
            exchange_parts(party, me, n, planes, extra, extra_len)?
        }
        (None, _) => {
            round(&mut party.session, vec![], &[])?;
            let draw = |p: &mut Rep3<R>| BitShare { a: plane(&mut p.a.bits_mask, n), b: plane(&mut p.b.bits_mask, n) };
            ((0..total).map(|_| draw(party)).collect(), Vec::new())
        }
    };
    let (shares, extra) = shares;
    let mut shares: Vec<BitShare> = shares;
    let equals = shares.split_off(count.min(shares.len()));
    let equals = std::iter::once(None).chain(equals.into_iter().map(Some));
    Ok((shares.into_iter().zip(equals).map(|(less, equal)| Block { less, equal }).collect(), extra))
}

fn exchange_parts<R: Ring>(
    party: &mut Rep3<R>,
    me: usize,
    n: usize,
    mut planes: Vec<Vec<u64>>,
    extra: &[u8],
    extra_len: usize,
) -> Result<(Vec<BitShare>, Vec<u8>), Error> {
    let own = if me == 0 { &mut party.a } else { &mut party.b };
    let masks: Vec<Vec<u64>> = planes.iter().map(|_| plane(&mut own.bits_mask, n)).collect();
    planes.iter_mut().zip(&masks).for_each(|(p, m)| xor_into(p, m));
    let mut message = planes_to_bytes(&planes.iter().map(Vec::as_slice).collect::<Vec<_>>(), n);
    let bytes = message.len();
    message.extend(extra);
    let received = round(&mut party.session, vec![(1 - me, message)], &[(1 - me, bytes + extra_len)])?;
    let received = received.first().map_or(&[] as &[u8], Vec::as_slice);
    let (theirs, extra) = received.split_at_checked(bytes).unwrap_or((&[], &[]));
    let theirs = planes_from_bytes(theirs, planes.len(), n);
    planes.iter_mut().zip(theirs.planes()).for_each(|(p, t)| xor_into(p, t));
    let join = |(sum, mask): (Vec<u64>, Vec<u64>)| match me {
        0 => BitShare { a: mask, b: sum },
        _ => BitShare { a: sum, b: mask },
    };
    Ok((planes.into_iter().zip(masks).map(join).collect(), extra.to_vec()))
}

/// Joins neighbouring blocks, lowest first; an odd one out at the top waits. One round.
fn join_level<R: Ring>(party: &mut Rep3<R>, n: usize, blocks: Vec<Block>) -> Result<Vec<Block>, Error> {
    let mut products = Vec::new();
    for pair in blocks.chunks_exact(2) {
        if let [low, Block { less: _, equal: Some(equal) }] = pair {
            products.push(and_local(equal, &low.less));
            products.extend(low.equal.as_ref().map(|low| and_local(equal, low)));
        }
    }
    let mut shares = reshare_bits(party, n, products)?.into_iter();
    let mut joined = Vec::new();
    let mut blocks = blocks.into_iter();
    while let Some(low) = blocks.next() {
        let Some(high) = blocks.next() else {
            joined.push(low);
            break;
        };
        let mut less = high.less;
        if let Some(carried) = shares.next() {
            xor_into(&mut less.a, &carried.a);
            xor_into(&mut less.b, &carried.b);
        }
        let equal = low.equal.and_then(|_| shares.next());
        joined.push(Block { less, equal });
    }
    Ok(joined)
}

/// This party's part of `x & y`, before masking.
fn and_local(x: &BitShare, y: &BitShare) -> Vec<u64> {
    let terms = x.a.iter().zip(&x.b).zip(y.a.iter().zip(&y.b));
    terms.map(|((xa, xb), (ya, yb))| (xa & (ya ^ yb)) ^ (xb & ya)).collect()
}

/// `n` bits of this party's part of a boolean sharing of zero.
fn zero_bits<R: Ring>(party: &mut Rep3<R>, n: usize) -> Vec<u64> {
    let mut zero = plane(&mut party.a.zero_bits, n);
    xor_into(&mut zero, &plane(&mut party.b.zero_bits, n));
    zero
}

/// Products of bits as shares: masks each part and passes it on. One round.
fn reshare_bits<R: Ring>(party: &mut Rep3<R>, n: usize, mut parts: Vec<Vec<u64>>) -> Result<Vec<BitShare>, Error> {
    for part in &mut parts {
        xor_into(part, &zero_bits(party, n));
    }
    let message = planes_to_bytes(&parts.iter().map(Vec::as_slice).collect::<Vec<_>>(), n);
    let (prev, next, len) = (party.prev(), party.next(), message.len());
    let received = round(&mut party.session, vec![(prev, message)], &[(next, len)])?;
    let theirs = planes_from_bytes(received.first().map_or(&[], Vec::as_slice), parts.len(), n);
    Ok(parts.into_iter().zip(theirs.planes()).map(|(a, b)| BitShare { a, b: b.to_vec() }).collect())
}

/// Opens `x + d` to everybody, given this party's additive part of `x` and daBits `d`. One
/// round; parties 0 and 1 may send `extra` bytes to each other along with it.
fn open_under<R: Ring>(
    party: &mut Rep3<R>,
    n: usize,
    mut part: Vec<u64>,
    dabits: &DaBits<R::Word>,
    extra: &[u8],
    extra_len: usize,
) -> Result<(Vec<u64>, Vec<u8>), Error> {
    xor_into(&mut part, &dabits.bits);
    xor_into(&mut part, &zero_bits(party, n));
    let message = planes_to_bytes(&[&part], n);
    let (me, bytes) = (party.me, message.len());
    let others: Vec<usize> = (0..3).filter(|&p| p != me).collect();
    let between = |p: usize| p < 2 && me < 2;
    let send = |&p: &usize| (p, if between(p) { [&message, extra].concat() } else { message.clone() });
    let expect = |&p: &usize| (p, if between(p) { bytes + extra_len } else { bytes });
    let expected: Vec<_> = others.iter().map(expect).collect();
    let received = round(&mut party.session, others.iter().map(send).collect(), &expected)?;
    let mut along = Vec::new();
    for (message, &from) in received.iter().zip(&others) {
        let (theirs, rest) = message.split_at_checked(bytes).unwrap_or((&[], &[]));
        xor_into(&mut part, planes_from_bytes(theirs, 1, n).plane(0));
        if between(from) {
            along = rest.to_vec();
        }
    }
    Ok((part, along))
}

/// The bit `e + d mod 2` in the ring, for `e` known to all: `e + d - 2 e d`.
fn to_ring<R: Ring>(party: &Rep3<R>, n: usize, e: &[u64], dabits: DaBits<R::Word>) -> Share<R::Word> {
    let e = expand_bits::<R::Word>(e, n);
    // 1 - 2e is 1 or -1.
    let flip = |d: R::Word, e: R::Word| d.sub(e.mul(d)).sub(e.mul(d));
    let flipped = Share { a: zip(&dabits.ring.a, &e, flip), b: zip(&dabits.ring.b, &e, flip) };
    flipped.add(&party.public(&e))
}
