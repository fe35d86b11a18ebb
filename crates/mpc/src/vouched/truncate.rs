//! Truncation.
//!
//! By `f` bits, of `x = c + m_0 + m_1 + m_2`, `|x| < 2^(k-2)`. Parties 1 and 2 know
//! `u = c + m_0 + 2^(k-2)`; party 0 and the helper know `r = -(m_1 + m_2)` in the preprocessing. So
//! `u = x' + r` modulo 2^k with `x' = x + 2^(k-2) < 2^(k-1)`, and the sum wrapped exactly when
//! `M = msb(r)` is 1 and `mu = msb(u)` is 0:
//!
//! ```text
//! (u >> f) - (r >> f) + 2^(k-f) M (1 - mu) - 2^(k-2-f)  =  floor(x / 2^f) + (0 or 1)
//! ```
//!
//! Party 0 and the helper put `r >> f` and `M` into pieces. `mu` is told to party 0 as `e = mu + l`,
//! `l` a bit that the holders of piece 0 draw; `l M` is put into pieces by the parties 1 and 2
//! (each has `l` and one piece of `M`) with the helper. Then `M (1 - mu)` is `M - l M` where `e = 0`
//! and `l M` where `e = 1`. As it is multiplied by 2^(k-f), all of it is modulo 2^f.
//!
//! Without a helper, `r` is made of bits that are drawn (`low_parts_made`), and `u` is opened to
//! parties 1 and 2.

use super::bilinear::Bilinear;
use super::deal::{self, Factors, Terms};
use super::gates::{WithMask, choose, missing, negated, value};
use super::material::{Parts, Truncation};
use super::share::{HELD, HELPER, PUBLIC, Pieces, Share, add_pieces, slot, sub_pieces};
use super::{Crew, Vouched};
use crate::Error;
use crate::masked::{add_into, narrow_words, zip};
use crate::protocol::{Primitive, Source};
use std::borrow::Cow;
use subrosa_ring::bits::expand_bits;
use subrosa_ring::{BitPlanes, Ring, Word, mask};

/// Who has `r >> f` and `M`; who has `l M`.
const OF_LOW_PIECES: &[usize] = &[0];
const OF_TOP_MASK: &[usize] = &[1, 2];
/// Truncations whose bits are proven at once: what their proof takes is k wide words each.
pub(super) const PROVEN_AT_ONCE: usize = 1 << 14;

/// What a truncation is made of: see [`Truncation`], and `r >> f` and `M` in pieces.
struct Low<W> {
    offset: Pieces<W>,
    mask: Vec<W>,
    rho: Pieces<W>,
    top: Pieces<W>,
}

impl<R: Ring, C: Crew> Vouched<R, C> {
    pub(super) fn truncate(&mut self, x: &Source<'_, Self>, shift: u32) -> Result<Share<R::Word>, Error> {
        let n = x.len();
        let call = Primitive::Trunc { n, shift, form: x.form() };
        if self.offline {
            let (mask, truncation) = self.prepare_truncation(x, shift)?;
            self.keep(call, Parts { truncation: Some(truncation), ..Parts::default() });
            return Ok(Share::masked(mask));
        }
        let mut material = self.take(call)?;
        if self.me == HELPER {
            return Ok(Share::absent(n));
        }
        let truncation = material.parts.truncation.take().ok_or_else(missing)?;
        Ok(Share::opened(self.truncate_masked(x, shift, truncation)?))
    }

    pub(super) fn prepare_truncation(
        &mut self,
        x: &Source<'_, Self>,
        shift: u32,
    ) -> WithMask<R::Word, Truncation<R::Word>> {
        let n = x.len();
        let Low { offset, mask, rho, top } = match C::HELPED {
            true => self.low_parts_known(x, shift)?,
            false => self.low_parts_made(x, shift)?,
        };
        let top_mask = self.public_piece_plane(n);
        let l = (!top_mask.is_empty()).then(|| expand_bits::<R::Word>(&top_mask, n));
        let at = |piece: usize| slot(self.me, piece).and_then(|at| top.get(at)).cloned();
        let map = Bilinear::Mul { n };
        let supports = [[false, true, true], [true, false, false]];
        let factors = Factors::of(self.me, map, OF_TOP_MASK, [None, at(1), at(2)], [l, None, None], supports);
        let flipped = self.multiply_one(factors.low(shift))?;
        let mut not_flipped = top;
        sub_pieces(&mut not_flipped, &flipped);
        let new = self.mask_words(n);
        let mut base = negated(&rho);
        sub_pieces(&mut base, &new);
        Ok((new, Truncation { offset, mask, top_mask, base, wrap: [not_flipped, flipped] }))
    }

    /// With a helper: `r = -(m_1 + m_2)` of the value's mask, which party 0 and the helper know.
    fn low_parts_known(&mut self, x: &Source<'_, Self>, shift: u32) -> Result<Low<R::Word>, Error> {
        let (me, n, k) = (self.me, x.len(), R::WIDTH.bits());
        let (masks, offset) = self.prepare_source(x)?;
        let held = |piece: usize| slot(me, piece).and_then(|at| masks.get(at)).map(|m| m.as_slice());
        // r, where both pieces are held.
        let r: Option<Vec<u64>> = held(1).zip(held(2)).map(|(m_1, m_2)| {
            m_1.iter().zip(m_2).map(|(x, y)| x.to_u64().wrapping_add(y.to_u64()).wrapping_neg() & mask(k)).collect()
        });
        let from = |by: u32| r.iter().map(|r| r.iter().map(|r| R::Word::from_u64(r >> by)).collect()).collect();
        let rho = Terms { from: OF_LOW_PIECES, n, bits: k, terms: from(shift) };
        let top = Terms { from: OF_LOW_PIECES, n, bits: shift, terms: from(k - 1) };
        let mut dealt = self.deal_words(vec![rho, top])?;
        let (top, rho) = (dealt.pop().unwrap_or_default(), dealt.pop().unwrap_or_default());
        let mask = held(PUBLIC).map_or_else(Vec::new, <[R::Word]>::to_vec);
        Ok(Low { offset, mask, rho, top })
    }

    /// Without one: `r` of the bits of two draws, `r = d_1 xor d_2 = d_1 + d_2 - 2 (d_1 and d_2)`, of the
    /// streams of pieces 1 and 2; and so `r >> f` and `M`, of products of bits that party 0 knows.
    fn low_parts_made(&mut self, x: &Source<'_, Self>, shift: u32) -> Result<Low<R::Word>, Error> {
        let (me, n, k) = (self.me, x.len(), R::WIDTH.bits());
        let mut draw = |piece: usize| -> Option<Vec<R::Word>> {
            let streams = self.streams.get_mut(slot(me, piece)?)?;
            let drawn = narrow_words::<R::Word>(&mut streams.mask, n, R::Word::BITS);
            Some(drawn.into_iter().map(|d| R::Word::from_u64(d.to_u64() & mask(k))).collect())
        };
        let (d_1, d_2) = (draw(1), draw(2));
        let both = self.ands_of_bits(n, shift, &d_1, &d_2)?;
        let drawn = [None, d_1, d_2];
        let part = |at: usize, by: u32| -> Pieces<R::Word> {
            let of_piece = |(place, piece): (usize, &usize)| {
                let both = both.get(place).and_then(|both| both.get(at * n..(at + 1) * n)).unwrap_or(&[]);
                let of = |(i, both): (usize, &R::Word)| {
                    let d = drawn[*piece].as_ref().and_then(|d| d.get(i)).map_or(0, |d| d.to_u64() >> by);
                    R::Word::from_u64(d).sub(both.add(*both))
                };
                both.iter().enumerate().map(of).collect()
            };
            HELD[me].iter().enumerate().map(of_piece).collect()
        };
        let (mut offset, rho, top) = (part(0, 0), part(1, shift), part(2, k - 1));
        match x {
            Source::Share(x) => x.masks.iter().zip(&mut offset).for_each(|(m, r)| add_into(r, m)),
            Source::Product(x) => add_pieces(&mut offset, &x.pieces),
        }
        Ok(Low { offset, mask: Vec::new(), rho, top })
    }

    /// The products of the bits of what is drawn, as [`Bilinear::And`] has them, in parts that bound the
    /// memory of their proofs.
    fn ands_of_bits(
        &mut self,
        n: usize,
        shift: u32,
        d_1: &Option<Vec<R::Word>>,
        d_2: &Option<Vec<R::Word>>,
    ) -> Result<Pieces<R::Word>, Error> {
        let (me, k) = (self.me, R::WIDTH.bits());
        let mut both: Vec<[Vec<R::Word>; 3]> = (0..deal::held(me)).map(|_| Default::default()).collect();
        for start in (0..n).step_by(PROVEN_AT_ONCE) {
            let part = PROVEN_AT_ONCE.min(n - start);
            let of = |d: &Option<Vec<R::Word>>| d.as_ref().and_then(|d| d.get(start..start + part)).map(<[_]>::to_vec);
            let map = Bilinear::And { n: part, k, shift };
            let supports = [[false, true, false], [false, false, true]];
            let factors = Factors::of(me, map, OF_LOW_PIECES, [None, of(d_1), None], [None, None, of(d_2)], supports);
            for (all, now) in both.iter_mut().zip(self.multiply_one(factors)?) {
                all.iter_mut().zip(now.chunks(part)).for_each(|(all, now)| all.extend_from_slice(now));
            }
        }
        Ok(both.into_iter().map(|all| all.concat()).collect())
    }

    /// Values truncated, under their new mask. Two rounds, and one to open them.
    pub(super) fn truncate_masked(
        &mut self,
        x: &Source<'_, Self>,
        shift: u32,
        material: Truncation<R::Word>,
    ) -> Result<Vec<R::Word>, Error> {
        let opened = self.open_for_truncation(x, &material)?;
        let (n, k) = (x.len(), R::WIDTH.bits());
        let half = 1u64 << (k - 2);
        // Empty at party 0.
        let u: Vec<R::Word> =
            opened.iter().map(|u| R::Word::from_u64(u.to_u64().wrapping_add(half) & mask(k))).collect();
        let mut plane = match self.me {
            0 => Vec::new(),
            _ => BitPlanes::from_words(&u, k - 1, 1).words().to_vec(),
        };
        plane.iter_mut().zip(&material.top_mask).for_each(|(mu, l)| *mu ^= l);
        let e: Vec<R::Word> = expand_bits(&self.tell_party_0(n, plane)?, n);
        let mut out = material.base.clone();
        let [zero, one] = &material.wrap;
        for (out, (zero, one)) in out.iter_mut().zip(zero.iter().zip(one)) {
            for ((out, e), (&zero, &one)) in out.iter_mut().zip(&e).zip(zero.iter().zip(one)) {
                let wrap = choose(*e, zero, one).to_u64() << (k - shift);
                *out = out.add(R::Word::from_u64(wrap));
            }
        }
        let whole: Vec<R::Word> =
            u.iter().map(|u| R::Word::from_u64((u.to_u64() >> shift).wrapping_sub(half >> shift))).collect();
        self.add_public_words(&mut out, &whole);
        self.open(out)
    }

    /// At parties 1 and 2: `x + r` modulo 2^k, `r` being what party 0 knows. One round, or none.
    fn open_for_truncation(
        &mut self,
        x: &Source<'_, Self>,
        material: &Truncation<R::Word>,
    ) -> Result<Vec<R::Word>, Error> {
        let mut pieces = material.offset.clone();
        let opened = match x {
            // Known already, and its mask is r.
            Source::Share(x) if C::HELPED => Cow::Borrowed(value(x)?),
            Source::Share(x) => {
                self.add_public_words(&mut pieces, value(x)?);
                Cow::Owned(self.open_without_party_0(pieces)?)
            }
            Source::Product(x) => {
                add_pieces(&mut pieces, &x.pieces);
                Cow::Owned(self.open_without_party_0(pieces)?)
            }
        };
        match C::HELPED {
            // c + m_0 = x - (m_1 + m_2); empty at party 0, which holds no m_0.
            true => Ok(zip(&opened, &material.mask, Word::add)),
            false => Ok(opened.into_owned()),
        }
    }
}
