//! What a primitive consumes and how: products under new masks, truncation, sign, relu.
//!
//! **Truncation** by `f` bits of `x = c + m_0 + m_1 + m_2`, `|x| < 2^(k-2)`. Parties 1 and 2 know
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
//! **Relu**: with the sign `e + l` (bits), `relu(y) = (1 - l) y` where `e = 0`, `l y` where
//! `e = 1`, and `y = c + m`: the preprocessing puts `l` in the ring and `l m` into pieces.

use super::{Crew, Vouched};
use super::bilinear::Bilinear;
use super::deal::{self, ALL, Factors, Parts, Selection, Terms, Truncation};
use super::share::{HELD, HELPER, PUBLIC, Pieces, Product, Share, add_pieces, slot, sub_pieces};
use crate::Error;
use crate::masked::{add_into, narrow_words, zip};
use crate::protocol::{Primitive, Source};
use std::borrow::Cow;
use std::sync::Arc;
use subrosa_ring::bits::expand_bits;
use subrosa_ring::{BitPlanes, Ring, Word, mask};

/// Who has `r >> f` and `M`; who has `l M`.
const OF_LOW_PIECES: &[usize] = &[0];
const OF_TOP_MASK: &[usize] = &[1, 2];

/// A new mask, and what consumes or opens what it masks.
type WithMask<W, T> = Result<(Pieces<W>, T), Error>;
/// The masks of a value, and of a product what opens it.
type Opening<W> = (Vec<Arc<Vec<W>>>, Pieces<W>);

/// What a truncation is made of: see [`Truncation`], and `r >> f` and `M` in pieces.
struct Low<W> {
    offset: Pieces<W>,
    mask: Vec<W>,
    rho: Pieces<W>,
    top: Pieces<W>,
}

impl<R: Ring, C: Crew> Vouched<R, C> {
    /// Gives a product a mask, in the preprocessing: the mask, and what opens it.
    fn mask_product(&mut self, x: &Product<R::Word>) -> WithMask<R::Word, Pieces<R::Word>> {
        let mut offset = if C::HELPED { self.uncrossed(x)? } else { self.whole(x) };
        let mask = self.mask_words(x.n);
        sub_pieces(&mut offset, &mask);
        Ok((mask, offset))
    }

    /// All of a product in pieces, fresh given their sum. One round of the preprocessing.
    pub(super) fn scattered(&mut self, x: &Product<R::Word>) -> Result<Pieces<R::Word>, Error> {
        if C::HELPED {
            return self.uncrossed(x);
        }
        let mut pieces = self.multiply_one(Factors::whole(Bilinear::Zero { n: x.n }, &[], &[]))?;
        add_pieces(&mut pieces, &x.pieces);
        Ok(pieces)
    }

    /// As [`Vouched::scattered`], where the helper vouches for the terms of products.
    fn uncrossed(&mut self, x: &Product<R::Word>) -> Result<Pieces<R::Word>, Error> {
        let (n, bits) = (x.n, R::WIDTH.bits());
        let terms = match x.crossed.as_slice() {
            [] => vec![vec![R::Word::default(); n]; self.own_pairs().len()],
            crossed => crossed.to_vec(),
        };
        let mut pieces = self.deal_words(vec![Terms { from: ALL, n, bits, terms }])?.pop().unwrap_or_default();
        add_pieces(&mut pieces, &x.pieces);
        Ok(pieces)
    }

    /// All of a product in pieces.
    fn whole(&self, x: &Product<R::Word>) -> Pieces<R::Word> {
        let mut pieces = vec![vec![R::Word::default(); x.n]; deal::held(self.me)];
        add_pieces(&mut pieces, &x.pieces);
        pieces
    }

    /// The masks of what is truncated and, of a product, what opens it.
    fn prepare_source(&mut self, x: &Source<'_, Self>) -> Result<Opening<R::Word>, Error> {
        match x {
            Source::Share(x) => Ok((x.masks.clone(), Vec::new())),
            Source::Product(x) => {
                let (mask, offset) = self.mask_product(x)?;
                Ok((mask.into_iter().map(Arc::new).collect(), offset))
            }
        }
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

    fn open_product(&mut self, x: &Product<R::Word>, mut offset: Pieces<R::Word>) -> Result<Vec<R::Word>, Error> {
        add_pieces(&mut offset, &x.pieces);
        self.open(offset)
    }

    pub(super) fn reshare_product(&mut self, x: &Product<R::Word>) -> Result<Share<R::Word>, Error> {
        let call = Primitive::Reshare { n: x.n };
        if self.offline {
            let (mask, offset) = self.mask_product(x)?;
            self.keep(call, Parts { offset, ..Parts::default() });
            return Ok(Share::masked(mask));
        }
        let mut material = self.take(call)?;
        match self.me {
            HELPER => Ok(Share::absent(x.n)),
            _ => Ok(Share::opened(self.open_product(x, std::mem::take(&mut material.parts.offset))?)),
        }
    }

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

    pub(super) fn sign_in_ring(&mut self, x: &Share<R::Word>, width: u32) -> Result<Share<R::Word>, Error> {
        let call = Primitive::Ltz { n: x.n, width };
        if self.offline {
            let (compare, l) = self.prepare_sign(width, &x.masks)?;
            let slope = self.bits_in_ring(x.n, &l)?;
            let mask = self.mask_words(x.n);
            // e + (1 - 2e) l, less the new mask.
            let (mut zero, mut one) = (slope.clone(), negated(&slope));
            self.add_public_words(&mut one, &vec![R::Word::from_u64(1); x.n]);
            [&mut zero, &mut one].into_iter().for_each(|base| sub_pieces(base, &mask));
            let selection = Selection { compare, slope: Vec::new(), base: [zero, one] };
            self.keep(call, Parts { selection: Some(selection), ..Parts::default() });
            return Ok(Share::masked(mask));
        }
        self.select(call, x, width)
    }

    pub(super) fn rectify(&mut self, x: &Share<R::Word>, width: u32) -> Result<Share<R::Word>, Error> {
        let call = Primitive::Relu { n: x.n, width };
        if self.offline {
            let (mask, selection) = self.prepare_relu(&x.masks, width)?;
            self.keep(call, Parts { selection: Some(selection), ..Parts::default() });
            return Ok(Share::masked(mask));
        }
        self.select(call, x, width)
    }

    /// A truncation, then a relu.
    pub(super) fn truncate_and_rectify(
        &mut self,
        x: &Source<'_, Self>,
        shift: u32,
        width: u32,
    ) -> Result<Share<R::Word>, Error> {
        let n = x.len();
        let call = Primitive::TruncRelu { n, shift, width, form: x.form() };
        if self.offline {
            let (truncated, truncation) = self.prepare_truncation(x, shift)?;
            let truncated: Vec<_> = truncated.into_iter().map(Arc::new).collect();
            let (mask, selection) = self.prepare_relu(&truncated, width)?;
            let (truncation, selection) = (Some(truncation), Some(selection));
            self.keep(call, Parts { truncation, selection, ..Parts::default() });
            return Ok(Share::masked(mask));
        }
        let mut material = self.take(call)?;
        if self.me == HELPER {
            return Ok(Share::absent(n));
        }
        let truncation = material.parts.truncation.take().ok_or_else(missing)?;
        let y = self.truncate_masked(x, shift, truncation)?;
        let selection = material.parts.selection.take().ok_or_else(missing)?;
        Ok(Share::opened(self.choose(&y, width, selection)?))
    }

    fn prepare_truncation(
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
        let map = Bilinear::And { n, k, shift };
        let supports = [[false, true, false], [false, false, true]];
        let factors = Factors::of(me, map, OF_LOW_PIECES, [None, d_1.clone(), None], [None, None, d_2.clone()], supports);
        let both = self.multiply_one(factors)?;
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

    /// Values truncated, under their new mask. Two rounds, and one to open them.
    fn truncate_masked(
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

    fn prepare_relu(
        &mut self,
        masks: &[Arc<Vec<R::Word>>],
        width: u32,
    ) -> WithMask<R::Word, Selection<R::Word>> {
        let n = masks.first().map_or(0, |m| m.len());
        let (compare, l) = self.prepare_sign(width, masks)?;
        let slope = self.bits_in_ring(n, &l)?;
        let factors: Vec<_> = slope.iter().cloned().map(Arc::new).collect();
        let mut one = self.multiply_one(Factors::whole(Bilinear::Mul { n }, &factors, masks))?;
        let new = self.mask_words(n);
        // m - l m and l m, less the new mask.
        let mut zero: Pieces<R::Word> = masks.iter().map(|m| m.to_vec()).collect();
        sub_pieces(&mut zero, &one);
        [&mut zero, &mut one].into_iter().for_each(|base| sub_pieces(base, &new));
        Ok((new, Selection { compare, slope, base: [zero, one] }))
    }

    /// A bit's pieces as pieces of a word that is 0 or 1: two rounds.
    ///
    /// `q = l_0 xor l_1 = l_0 + l_1 - 2 l_0 l_1` has two pieces, with a term of party 2; `q l_2` has terms
    /// of the two others. Then `l = q + l_2 - 2 q l_2`.
    fn bits_in_ring(&mut self, n: usize, l: &[Vec<u64>]) -> Result<Pieces<R::Word>, Error> {
        let (me, map) = (self.me, Bilinear::Mul { n });
        let bit = |piece: usize| slot(me, piece).and_then(|at| l.get(at)).map(|l| expand_bits::<R::Word>(l, n));
        let supports = [[true, false, false], [false, true, false]];
        let factors = Factors::of(me, map, &[2], [bit(0), None, None], [None, bit(1), None], supports);
        let both = self.multiply_one(factors)?;
        let mut q = both;
        for (place, &piece) in HELD[me].iter().enumerate() {
            let l = if piece == 2 { None } else { bit(piece) };
            for (i, q) in q[place].iter_mut().enumerate() {
                let l = l.as_ref().and_then(|l| l.get(i)).copied().unwrap_or_default();
                *q = l.sub(q.add(*q));
            }
        }
        let at = |piece: usize| slot(me, piece).map(|at| q[at].clone());
        let supports = [[true, true, false], [false, false, true]];
        let factors = Factors::of(me, map, &[0, 1], [at(0), at(1), None], [None, None, bit(2)], supports);
        let product = self.multiply_one(factors)?;
        let mut word = q;
        for _ in 0..2 {
            sub_pieces(&mut word, &product);
        }
        if let (Some(l_2), Some(piece)) = (bit(2), slot(me, 2).and_then(|at| word.get_mut(at))) {
            add_into(piece, &l_2);
        }
        Ok(word)
    }

    fn select(&mut self, call: Primitive, x: &Share<R::Word>, width: u32) -> Result<Share<R::Word>, Error> {
        let mut material = self.take(call)?;
        if self.me == HELPER {
            return Ok(Share::absent(x.n));
        }
        let selection = material.parts.selection.take().ok_or_else(missing)?;
        Ok(Share::opened(self.choose(value(x)?, width, selection)?))
    }

    /// By the sign of masked values, under a new mask: of each piece `base_0 + c (p - slope)`, or
    /// `base_1 + c slope`, `p` being 1 in the public piece. Without a slope, the base alone.
    fn choose(&mut self, c: &[R::Word], width: u32, mut material: Selection<R::Word>) -> Result<Vec<R::Word>, Error> {
        let compare = std::mem::take(&mut material.compare);
        let e: Vec<R::Word> = expand_bits(&self.masked_sign(c, width, compare)?, c.len());
        let [zero, one] = &material.base;
        let mut out = Vec::with_capacity(zero.len());
        for (at, (zero, one)) in zero.iter().zip(one).enumerate() {
            let public = R::Word::from_u64(u64::from(slot(self.me, PUBLIC) == Some(at)));
            let bases = e.iter().zip(zero.iter().zip(one));
            out.push(match material.slope.get(at) {
                Some(slope) => (bases.zip(c.iter().zip(slope)))
                    .map(|((&e, (zero, one)), (c, &slope))| {
                        choose(e, zero.add(c.mul(public.sub(slope))), one.add(c.mul(slope)))
                    })
                    .collect(),
                None => bases.map(|(&e, (&zero, &one))| choose(e, zero, one)).collect(),
            });
        }
        self.open(out)
    }

    fn add_public_words(&self, pieces: &mut Pieces<R::Word>, words: &[R::Word]) {
        if let Some(piece) = slot(self.me, PUBLIC).and_then(|at| pieces.get_mut(at)) {
            add_into(piece, words);
        }
    }
}

fn value<W>(x: &Share<W>) -> Result<&[W], Error> {
    x.value
        .as_deref()
        .map(Vec::as_slice)
        .ok_or_else(|| Error::Misuse("a share of the preprocessing was used online".into()))
}

fn missing() -> Error {
    Error::Misuse("a primitive without material".into())
}

fn negated<W: Word>(pieces: &[Vec<W>]) -> Pieces<W> {
    pieces.iter().map(|p| p.iter().map(|&v| W::default().sub(v)).collect()).collect()
}

/// `one` where `e` is 1, `zero` where it is 0, without a branch.
#[inline(always)]
fn choose<W: Word>(e: W, zero: W, one: W) -> W {
    let set = e.to_u64().wrapping_neg();
    W::from_u64(zero.to_u64() & !set | one.to_u64() & set)
}
