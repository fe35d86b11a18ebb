//! What a primitive consumes and how: products under new masks, sign, relu. Truncation is in
//! [`super::truncate`].
//!
//! **Relu**: with the sign `e + l` (bits), `relu(y) = (1 - l) y` where `e = 0`, `l y` where
//! `e = 1`, and `y = c + m`: the preprocessing puts `l` in the ring and `l m` into pieces.

use super::bilinear::Bilinear;
use super::deal::{self, ALL, Factors, Terms};
use super::material::{Parts, Selection};
use super::share::{HELD, HELPER, PUBLIC, Pieces, Product, Share, add_pieces, slot, sub_pieces};
use super::{Crew, Vouched};
use crate::Error;
use crate::masked::add_into;
use crate::protocol::{Primitive, Source};
use std::sync::Arc;
use subrosa_ring::bits::expand_bits;
use subrosa_ring::{Ring, Word};

/// A new mask, and what consumes or opens what it masks.
pub(super) type WithMask<W, T> = Result<(Pieces<W>, T), Error>;
/// The masks of a value, and of a product what opens it.
type Opening<W> = (Vec<Arc<Vec<W>>>, Pieces<W>);

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
    pub(super) fn prepare_source(&mut self, x: &Source<'_, Self>) -> Result<Opening<R::Word>, Error> {
        match x {
            Source::Share(x) => Ok((x.masks.clone(), Vec::new())),
            Source::Product(x) => {
                let (mask, offset) = self.mask_product(x)?;
                Ok((mask.into_iter().map(Arc::new).collect(), offset))
            }
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

    fn prepare_relu(&mut self, masks: &[Arc<Vec<R::Word>>], width: u32) -> WithMask<R::Word, Selection<R::Word>> {
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

    pub(super) fn add_public_words(&self, pieces: &mut Pieces<R::Word>, words: &[R::Word]) {
        if let Some(piece) = slot(self.me, PUBLIC).and_then(|at| pieces.get_mut(at)) {
            add_into(piece, words);
        }
    }
}

pub(super) fn value<W>(x: &Share<W>) -> Result<&[W], Error> {
    x.value
        .as_deref()
        .map(Vec::as_slice)
        .ok_or_else(|| Error::Misuse("a share of the preprocessing was used online".into()))
}

pub(super) fn missing() -> Error {
    Error::Misuse("a primitive without material".into())
}

pub(super) fn negated<W: Word>(pieces: &[Vec<W>]) -> Pieces<W> {
    pieces.iter().map(|p| p.iter().map(|&v| W::default().sub(v)).collect()).collect()
}

/// `one` where `e` is 1, `zero` where it is 0, without a branch.
#[inline(always)]
pub(super) fn choose<W: Word>(e: W, zero: W, one: W) -> W {
    let set = e.to_u64().wrapping_neg();
    W::from_u64(zero.to_u64() & !set | one.to_u64() & set)
}
