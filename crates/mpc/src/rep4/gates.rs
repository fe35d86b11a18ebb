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

use super::Rep4;
use super::deal::{ALL, Parts, Selection, Terms, Truncation};
use super::share::{HELPER, PUBLIC, Pieces, Product, Share, add_pieces, slot, sub_pieces};
use crate::Error;
use crate::masked::zip;
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

impl<R: Ring> Rep4<R> {
    /// Gives a product a mask, in the preprocessing: the mask, and what opens it.
    fn mask_product(&mut self, x: &Product<R::Word>) -> WithMask<R::Word, Pieces<R::Word>> {
        let mut offset = self.uncrossed(x)?;
        let mask = self.mask_words(x.n);
        sub_pieces(&mut offset, &mask);
        Ok((mask, offset))
    }

    /// All of a product in pieces, fresh given their sum. One round of the preprocessing.
    pub(super) fn uncrossed(&mut self, x: &Product<R::Word>) -> Result<Pieces<R::Word>, Error> {
        let (n, bits) = (x.n, R::WIDTH.bits());
        let terms = match x.crossed.as_slice() {
            [] => vec![vec![R::Word::default(); n]; self.own_pairs().len()],
            crossed => crossed.to_vec(),
        };
        let mut pieces = self.deal_words(vec![Terms { from: ALL, n, bits, terms }])?.pop().unwrap_or_default();
        add_pieces(&mut pieces, &x.pieces);
        Ok(pieces)
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

    /// The masked value, online.
    fn open_source<'a>(
        &mut self,
        x: &'a Source<'_, Self>,
        offset: Pieces<R::Word>,
    ) -> Result<Cow<'a, [R::Word]>, Error> {
        match x {
            Source::Share(x) => Ok(Cow::Borrowed(value(x)?)),
            Source::Product(x) => Ok(Cow::Owned(self.open_product(x, offset)?)),
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
            let (masks, offset) = self.prepare_source(x)?;
            let (mask, truncation) = self.prepare_truncation(&masks, shift)?;
            self.keep(call, Parts { offset, truncation: Some(truncation), ..Parts::default() });
            return Ok(Share::masked(mask));
        }
        let mut material = self.take(call)?;
        if self.me == HELPER {
            return Ok(Share::absent(n));
        }
        let c = self.open_source(x, std::mem::take(&mut material.parts.offset))?;
        let truncation = material.parts.truncation.take().ok_or_else(missing)?;
        Ok(Share::opened(self.truncate_masked(&c, shift, truncation)?))
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
            let (masks, offset) = self.prepare_source(x)?;
            let (truncated, truncation) = self.prepare_truncation(&masks, shift)?;
            let (mask, selection) = self.prepare_relu(&truncated, width)?;
            let (truncation, selection) = (Some(truncation), Some(selection));
            self.keep(call, Parts { offset, truncation, selection, ..Parts::default() });
            return Ok(Share::masked(mask));
        }
        let mut material = self.take(call)?;
        if self.me == HELPER {
            return Ok(Share::absent(n));
        }
        let c = self.open_source(x, std::mem::take(&mut material.parts.offset))?;
        let truncation = material.parts.truncation.take().ok_or_else(missing)?;
        let y = self.truncate_masked(&c, shift, truncation)?;
        let selection = material.parts.selection.take().ok_or_else(missing)?;
        Ok(Share::opened(self.choose(&y, width, selection)?))
    }

    fn prepare_truncation(
        &mut self,
        masks: &[impl AsRef<Vec<R::Word>>],
        shift: u32,
    ) -> WithMask<R::Word, Truncation<R::Word>> {
        let (me, k) = (self.me, R::WIDTH.bits());
        let n = masks.first().map_or(0, |m| m.as_ref().len());
        let held = |piece: usize| slot(me, piece).and_then(|at| masks.get(at)).map(|m| m.as_ref().as_slice());
        // r, where both pieces are held.
        let r: Option<Vec<u64>> = held(1).zip(held(2)).map(|(m_1, m_2)| {
            m_1.iter().zip(m_2).map(|(x, y)| x.to_u64().wrapping_add(y.to_u64()).wrapping_neg() & mask(k)).collect()
        });
        let from = |by: u32| r.iter().map(|r| r.iter().map(|r| R::Word::from_u64(r >> by)).collect()).collect();
        let rho = Terms { from: OF_LOW_PIECES, n, bits: k, terms: from(shift) };
        let top = Terms { from: OF_LOW_PIECES, n, bits: shift, terms: from(k - 1) };
        let mut dealt = self.deal_words(vec![rho, top])?;
        let (top, rho) = (dealt.pop().unwrap_or_default(), dealt.pop().unwrap_or_default());
        let top_mask = self.public_piece_plane(n);
        let terms = self.masked_tops(n, &top, &top_mask);
        let flipped = Terms { from: OF_TOP_MASK, n, bits: shift, terms };
        let flipped = self.deal_words(vec![flipped])?.pop().unwrap_or_default();
        let mut not_flipped = top;
        sub_pieces(&mut not_flipped, &flipped);
        let new = self.mask_words(n);
        let mut base = negated(&rho);
        sub_pieces(&mut base, &new);
        let mask = held(PUBLIC).map_or_else(Vec::new, <[R::Word]>::to_vec);
        Ok((new, Truncation { mask, top_mask, base, wrap: [not_flipped, flipped] }))
    }

    /// `l M`: of party 1 with piece 2 of `M`, of party 2 with piece 1; at the helper both.
    fn masked_tops(&self, n: usize, top: &[Vec<R::Word>], l: &[u64]) -> Vec<Vec<R::Word>> {
        if l.is_empty() {
            return Vec::new();
        }
        let l: Vec<R::Word> = expand_bits(l, n);
        let piece = |of: usize| slot(self.me, of).and_then(|at| top.get(at));
        let pieces = match self.me {
            1 => vec![piece(2)],
            2 => vec![piece(1)],
            _ => vec![piece(2), piece(1)],
        };
        pieces.into_iter().flatten().map(|m| zip(&l, m, Word::mul)).collect()
    }

    /// Masked values truncated, under their new mask. Two rounds.
    fn truncate_masked(
        &mut self,
        c: &[R::Word],
        shift: u32,
        material: Truncation<R::Word>,
    ) -> Result<Vec<R::Word>, Error> {
        let (n, k) = (c.len(), R::WIDTH.bits());
        let half = 1u64 << (k - 2);
        let shifted = |(c, m): (&R::Word, &R::Word)| c.add(*m).to_u64().wrapping_add(half) & mask(k);
        // Empty at party 0, which holds no piece 0.
        let u: Vec<R::Word> = c.iter().zip(&material.mask).map(|cm| R::Word::from_u64(shifted(cm))).collect();
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
        masks: &[impl AsRef<Vec<R::Word>>],
        width: u32,
    ) -> WithMask<R::Word, Selection<R::Word>> {
        let (n, bits) = (masks.first().map_or(0, |m| m.as_ref().len()), R::WIDTH.bits());
        let (compare, l) = self.prepare_sign(width, masks)?;
        let slope = self.bits_in_ring(n, &l)?;
        let multiply = |x: &[R::Word], y: &[R::Word], z: &mut [R::Word]| {
            z.iter_mut().zip(x.iter().zip(y)).for_each(|(z, (&x, &y))| *z = z.add(x.mul(y)));
        };
        let terms = self.crossed(&slope, masks, n, &multiply);
        let mut one = self.deal_words(vec![Terms { from: ALL, n, bits, terms }])?.pop().unwrap_or_default();
        let new = self.mask_words(n);
        // m - l m and l m, less the new mask.
        let mut zero: Pieces<R::Word> = masks.iter().map(|m| m.as_ref().to_vec()).collect();
        sub_pieces(&mut zero, &one);
        [&mut zero, &mut one].into_iter().for_each(|base| sub_pieces(base, &new));
        Ok((new, Selection { compare, slope, base: [zero, one] }))
    }

    /// A bit's pieces as pieces of a word that is 0 or 1: two rounds.
    ///
    /// `q = l_0 + l_1` modulo 2 is known to party 2 and the helper; of `q = q_0 + q_1` in the
    /// ring, `q_0 l_2` is known to party 1 and `q_1 l_2` to party 0, each with the helper. Then
    /// `l = q + l_2 - 2 q l_2`.
    fn bits_in_ring(&mut self, n: usize, l: &[Vec<u64>]) -> Result<Pieces<R::Word>, Error> {
        let (me, bits) = (self.me, R::WIDTH.bits());
        let plane = |piece: usize| slot(me, piece).and_then(|at| l.get(at));
        let both = |(l_0, l_1): (&Vec<u64>, &Vec<u64>)| {
            let plane: Vec<u64> = l_0.iter().zip(l_1).map(|(x, y)| x ^ y).collect();
            expand_bits::<R::Word>(&plane, n)
        };
        let terms = plane(0).zip(plane(1)).map(both).into_iter().collect();
        let q = self.deal_words(vec![Terms { from: &[2], n, bits, terms }])?.pop().unwrap_or_default();
        let l_2: Option<Vec<R::Word>> = plane(2).map(|plane| expand_bits(plane, n));
        let times = |piece: usize| {
            let q = slot(me, piece).and_then(|at| q.get(at))?;
            l_2.as_deref().map(|l_2| zip(q, l_2, Word::mul))
        };
        let terms = [times(1), times(0)].into_iter().flatten().collect();
        let product = self.deal_words(vec![Terms { from: &[0, 1], n, bits, terms }])?.pop().unwrap_or_default();
        let mut word = q;
        for _ in 0..2 {
            sub_pieces(&mut word, &product);
        }
        if let (Some(l_2), Some(piece)) = (l_2, slot(me, 2).and_then(|at| word.get_mut(at))) {
            crate::masked::add_into(piece, &l_2);
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
            crate::masked::add_into(piece, words);
        }
    }
}

fn value<W>(x: &Share<W>) -> Result<&[W], Error> {
    x.value
        .as_deref()
        .map(Vec::as_slice)
        .ok_or_else(|| Error::Misuse("rep4: a share of the preprocessing was used online".into()))
}

fn missing() -> Error {
    Error::Misuse("rep4: a primitive without material".into())
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
