//! Truncation, sign and relu of masked values.
//!
//! A primitive's result is `y = f(c, e)` plus products of what the computing parties know (the
//! masked value `c`, the masked sign `e`) with functions of masks, of which the dealer has
//! dealt them additive parts. So each computes its part locally, adds its part of the
//! result's new mask, and both open the sum: one round.
//!
//! **Truncation** of `x = c - r` by `f` bits, `r = -m`. Let `x' = x + 2^(k-2)` and
//! `c' = c + 2^(k-2) = x' + r mod 2^k`, `M = msb(r)`, `mu = msb(c')`, `rho = r >> f`. Since
//! `x' < 2^(k-1)` the sum wrapped (`w = 1`) exactly when `M = 1` and `mu = 0`. So
//! `(c' >> f) - rho + w 2^(k-f)` is `floor(x' / 2^f)` plus the carry out of the dropped
//! bits, 0 or 1; no larger error exists. Requires `|x| < 2^(k-2)`. Dealt: `rho`, and `M`
//! modulo 2^f, which is enough as it is multiplied by 2^(k-f).
//!
//! **Relu**: with the sign `e + l mod 2`, `relu(y) = (1 - l) y` where `e = 0`, `l y` where
//! `e = 1`. Dealt: `l`, and `l` times what is dealt for `y`.

use super::Masked;
use super::cast::Cast;
use super::compare::{self, CompareMaterial};
use super::deal::{Parts, Stage};
use super::share::{Product, Share, zip};
use crate::Error;
use crate::protocol::{Primitive, Source};
use crate::sharing::{add_into, sub_from};
use std::borrow::Cow;
use std::sync::Arc;
use subrosa_ring::bits::expand_bits;
use subrosa_ring::isa::{Loop, isa, run};
use subrosa_ring::{BitPlanes, Ring, Word, mask};

/// A value's own mask (the dealer: all of it) and what opens it.
pub(super) struct Opening<'a, W: Word> {
    pub(super) mask: Cow<'a, [W]>,
    pub(super) offset: Vec<W>,
}

/// What a sign consumes, at the computing parties; its mask as words, at the dealer.
type SignMaterial<W> = (Option<CompareMaterial>, Option<Vec<W>>);

impl<R: Ring, C: Cast> Masked<R, C> {
    pub(super) fn is_offline(&self) -> bool {
        matches!(self.stage, Stage::Offline(_))
    }

    /// Gives a product a mask, in the preprocessing.
    fn mask_product(&mut self, x: &Product<R::Word>) -> Result<Opening<'static, R::Word>, Error> {
        let mask = self.mask_words(x.n);
        let mut offset = self.split_product(x.n, x.z.as_deref())?;
        if !self.is_dealer() {
            if let Some(z) = &x.z {
                add_into(&mut offset, z);
            }
            sub_from(&mut offset, &mask);
        }
        Ok(Opening { mask: Cow::Owned(mask), offset })
    }

    pub(super) fn prepare_source<'a>(&mut self, x: &'a Source<'_, Self>) -> Result<Opening<'a, R::Word>, Error> {
        match x {
            Source::Share(x) => Ok(Opening { mask: Cow::Borrowed(part(&x.mask)?), offset: Vec::new() }),
            Source::Product(x) => self.mask_product(x),
        }
    }

    /// The masked value, online.
    pub(super) fn open_source<'a>(
        &mut self,
        x: &'a Source<'_, Self>,
        offset: &[R::Word],
    ) -> Result<Cow<'a, [R::Word]>, Error> {
        match x {
            Source::Share(x) => Ok(Cow::Borrowed(part(&x.value)?)),
            Source::Product(x) => Ok(Cow::Owned(self.open_product(x, offset)?)),
        }
    }

    fn open_product(&mut self, x: &Product<R::Word>, offset: &[R::Word]) -> Result<Vec<R::Word>, Error> {
        let part = match &x.z {
            Some(z) => zip(z, offset, Word::add),
            None => offset.to_vec(),
        };
        self.open(part)
    }

    pub(super) fn reshare_product(&mut self, x: &Product<R::Word>) -> Result<Share<R::Word>, Error> {
        let call = Primitive::Reshare { n: x.n };
        if self.is_offline() {
            self.begin(call)?;
            let Opening { mask, offset } = self.mask_product(x)?;
            self.keep(call, Parts { offset, ..Parts::default() })?;
            return Ok(Share::masked(mask.into_owned()));
        }
        let material = self.take(call)?;
        if self.is_dealer() {
            return Ok(Share::absent(x.n));
        }
        Ok(Share::opened(self.open_product(x, &material.parts.offset)?))
    }

    /// `r = -m` modulo 2^k, at the dealer.
    pub(super) fn negated(&self, m: &[R::Word]) -> Option<Vec<R::Word>> {
        let low = mask(R::WIDTH.bits());
        let r = |m: &R::Word| R::Word::from_u64(m.to_u64().wrapping_neg() & low);
        (self.is_dealer()).then(|| m.iter().map(r).collect())
    }

    pub(super) fn truncate(&mut self, x: &Source<'_, Self>, shift: u32) -> Result<Share<R::Word>, Error> {
        let (n, k) = (x.len(), R::WIDTH.bits());
        let call = Primitive::Trunc { n, shift, form: x.form() };
        if self.is_offline() {
            self.begin(call)?;
            let Opening { mask, offset } = self.prepare_source(x)?;
            let r = self.negated(&mask);
            let rho = self.deal_words(n, k, r.as_deref().map(|r| shifted(r, shift)))?;
            let top = self.deal_words(n, shift, r.as_deref().map(|r| shifted(r, k - 1)))?;
            let (mask, base) = self.under_new_mask(n, rho);
            let (base, wrap) = ([base, Vec::new()], [top, Vec::new()]);
            self.keep(call, Parts { offset, base, wrap, ..Parts::default() })?;
            return Ok(Share::masked(mask));
        }
        let material = self.take(call)?;
        if self.is_dealer() {
            return Ok(Share::absent(n));
        }
        let c = self.open_source(x, &material.parts.offset)?;
        let mut out = vec![R::Word::default(); n];
        let public = self.public_part();
        run(isa(), Truncate { c: &c, shift, k, public, parts: &material.parts, out: &mut out });
        Ok(Share::opened(self.open(out)?))
    }

    pub(super) fn sign_in_ring(&mut self, x: &Share<R::Word>, width: u32) -> Result<Share<R::Word>, Error> {
        let (n, k) = (x.n, R::WIDTH.bits());
        let call = Primitive::Ltz { n, width };
        if self.is_offline() {
            let r = self.negated(part(&x.mask)?);
            let (compare, l) = self.prepare_sign(n, 0, width, r.as_deref())?;
            let slope = self.deal_words(n, k, l)?;
            let zeros = vec![R::Word::default(); if !self.is_dealer() { n } else { 0 }];
            let (mask, base) = self.under_new_mask(n, zeros);
            self.keep(call, Parts { compare, slope, base: [base, Vec::new()], ..Parts::default() })?;
            return Ok(Share::masked(mask));
        }
        let mut material = self.take(call)?;
        if self.is_dealer() {
            return Ok(Share::absent(n));
        }
        let e = self.masked_sign(part(&x.value)?, 0, width, material.parts.compare.take())?;
        let public = self.public_part();
        // e + (1 - 2e) l
        let bit = |(e, (l, base)): (&R::Word, (&R::Word, &R::Word))| {
            let el = e.mul(*l);
            e.mul(public).add(*l).sub(el).sub(el).add(*base)
        };
        let parts = e.iter().zip(material.parts.slope.iter().zip(&material.parts.base[0])).map(bit).collect();
        Ok(Share::opened(self.open(parts)?))
    }

    pub(super) fn rectify(&mut self, x: &Share<R::Word>, width: u32) -> Result<Share<R::Word>, Error> {
        let (n, k) = (x.n, R::WIDTH.bits());
        let call = Primitive::Relu { n, width };
        if self.is_offline() {
            let m = part(&x.mask)?;
            let r = self.negated(m);
            let (compare, l) = self.prepare_sign(n, 0, width, r.as_deref())?;
            let masked = l.as_deref().map(|l| zip(l, m, Word::mul));
            let slope = self.deal_words(n, k, l)?;
            let lm = self.deal_words(n, k, masked)?;
            let mask = self.mask_words(n);
            let base = match self.is_dealer() {
                true => Default::default(),
                false => {
                    let one = zip(&lm, &mask, Word::sub);
                    // m - l m, less the new mask.
                    let mut zero = zip(m, &lm, Word::sub);
                    sub_from(&mut zero, &mask);
                    [zero, one]
                }
            };
            self.keep(call, Parts { compare, slope, base, ..Parts::default() })?;
            return Ok(Share::masked(mask));
        }
        let mut material = self.take(call)?;
        if self.is_dealer() {
            return Ok(Share::absent(n));
        }
        let c = part(&x.value)?;
        let e = self.masked_sign(c, 0, width, material.parts.compare.take())?;
        let mut out = vec![R::Word::default(); n];
        run(isa(), Select { c, e: &e, public: self.public_part(), parts: &material.parts, out: &mut out });
        Ok(Share::opened(self.open(out)?))
    }

    pub(super) fn truncate_and_rectify(
        &mut self,
        call: Primitive,
        x: &Source<'_, Self>,
        shift: u32,
        width: u32,
    ) -> Result<Share<R::Word>, Error> {
        let (n, k) = (x.len(), R::WIDTH.bits());
        if self.is_offline() {
            let Opening { mask, offset } = self.prepare_source(x)?;
            let r = self.negated(&mask);
            let (compare, l) = self.prepare_sign(n, shift, width, r.as_deref())?;
            // The bits of r from `by` on where the sign's mask is `set`, else 0.
            let of_masks = |set: bool, by: u32| {
                let (l, r) = (l.as_deref()?, r.as_deref()?);
                let chosen = |l: R::Word, r: R::Word| (l.to_u64() ^ u64::from(!set)).wrapping_neg() & r.to_u64();
                Some(zip(l, r, |l, r| R::Word::from_u64(chosen(l, r) >> by)))
            };
            let rho = [self.deal_words(n, k, of_masks(false, shift))?, self.deal_words(n, k, of_masks(true, shift))?];
            let wrap =
                [self.deal_words(n, shift, of_masks(false, k - 1))?, self.deal_words(n, shift, of_masks(true, k - 1))?];
            let slope = self.deal_words(n, k, l)?;
            let mask = self.mask_words(n);
            let mut base = rho;
            base.iter_mut().for_each(|base| negate_with(base, &mask));
            self.keep(call, Parts { offset, compare, slope, base, wrap, ..Parts::default() })?;
            return Ok(Share::masked(mask));
        }
        let mut material = self.take(call)?;
        if self.is_dealer() {
            return Ok(Share::absent(n));
        }
        let c = self.open_source(x, &material.parts.offset)?;
        let e = self.masked_sign(&c, shift, width, material.parts.compare.take())?;
        let mut out = vec![R::Word::default(); n];
        let public = self.public_part();
        run(isa(), SelectTruncated { c: &c, e: &e, shift, k, public, parts: &material.parts, out: &mut out });
        Ok(Share::opened(self.open(out)?))
    }

    /// 1 at party 1, who adds what all know; 0 at the others.
    pub(super) fn public_part(&self) -> R::Word {
        R::Word::from_u64(u64::from(self.me == 1))
    }

    /// A new mask, and the negated part and mask (nothing at the dealer).
    pub(super) fn under_new_mask(&mut self, n: usize, mut part: Vec<R::Word>) -> (Vec<R::Word>, Vec<R::Word>) {
        let mask = self.mask_words(n);
        negate_with(&mut part, &mask);
        (mask, part)
    }

    /// The material of a sign, and at the dealer its mask as words.
    fn prepare_sign(
        &mut self,
        n: usize,
        low: u32,
        width: u32,
        r: Option<&[R::Word]>,
    ) -> Result<SignMaterial<R::Word>, Error> {
        let r = r.map(|r| BitPlanes::from_words(r, low, width as usize));
        let (material, sign) = compare::prepare(self, n, width, r)?;
        match self.is_dealer() {
            true => Ok((None, Some(expand_bits(&sign, n)))),
            false => Ok((Some(material), None)),
        }
    }

    /// The masked sign bits as words that are 0 or 1.
    fn masked_sign(
        &mut self,
        c: &[R::Word],
        low: u32,
        width: u32,
        material: Option<CompareMaterial>,
    ) -> Result<Vec<R::Word>, Error> {
        let material = material.ok_or_else(|| Error::Misuse(format!("{}: a comparison without material", C::NAME)))?;
        let u = BitPlanes::from_words(c, low, width as usize);
        let e = compare::sign(self, c.len(), &u, material)?;
        Ok(expand_bits(&e, c.len()))
    }
}

/// A share's part that this stage of the protocol has.
pub(super) fn part<W>(part: &Option<Arc<Vec<W>>>) -> Result<&[W], Error> {
    part.as_deref()
        .map(Vec::as_slice)
        .ok_or_else(|| Error::Misuse("a share of the preprocessing was used online".into()))
}

/// `x = -x - y`.
pub(super) fn negate_with<W: Word>(x: &mut [W], y: &[W]) {
    x.iter_mut().zip(y).for_each(|(x, &y)| *x = W::default().sub(*x).sub(y));
}

fn shifted<W: Word>(x: &[W], by: u32) -> Vec<W> {
    x.iter().map(|x| W::from_u64(x.to_u64() >> by)).collect()
}

/// `(c' >> f) - 2^(k-2-f)`, and all ones where `msb(c') = 0`.
#[inline(always)]
fn truncated<W: Word>(c: W, shift: u32, k: u32) -> (W, u64) {
    let c = c.to_u64().wrapping_add(1 << (k - 2)) & mask(k);
    (W::from_u64((c >> shift).wrapping_sub(1 << (k - 2 - shift))), (c >> (k - 1)).wrapping_sub(1))
}

struct Truncate<'a, W: Word> {
    c: &'a [W],
    shift: u32,
    k: u32,
    public: W,
    parts: &'a Parts<W>,
    out: &'a mut [W],
}

impl<W: Word> Loop for Truncate<'_, W> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let ([base, _], [wrap, _]) = (&self.parts.base, &self.parts.wrap);
        for (((out, &c), &base), &wrap) in self.out.iter_mut().zip(self.c).zip(base).zip(wrap) {
            let (y, wrapped) = truncated(c, self.shift, self.k);
            let wrap = W::from_u64(wrap.to_u64() << (self.k - self.shift) & wrapped);
            *out = y.mul(self.public).add(wrap).add(base);
        }
    }
}

struct Select<'a, W: Word> {
    c: &'a [W],
    e: &'a [W],
    public: W,
    parts: &'a Parts<W>,
    out: &'a mut [W],
}

impl<W: Word> Loop for Select<'_, W> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let Parts { slope, base: [zero, one], .. } = self.parts;
        let inputs = self.c.iter().zip(self.e).zip(slope).zip(zero.iter().zip(one));
        for (out, (((&c, &e), &slope), (&zero, &one))) in self.out.iter_mut().zip(inputs) {
            *out = choose(e, zero.add(c.mul(self.public.sub(slope))), one.add(c.mul(slope)));
        }
    }
}

struct SelectTruncated<'a, W: Word> {
    c: &'a [W],
    e: &'a [W],
    shift: u32,
    k: u32,
    public: W,
    parts: &'a Parts<W>,
    out: &'a mut [W],
}

impl<W: Word> Loop for SelectTruncated<'_, W> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let Parts { slope, base: [zero, one], wrap: [wrap_0, wrap_1], .. } = self.parts;
        let inputs = self.c.iter().zip(self.e).zip(slope);
        let inputs = inputs.zip(zero.iter().zip(one)).zip(wrap_0.iter().zip(wrap_1));
        for (out, ((((&c, &e), &slope), (&zero, &one)), (&wrap_0, &wrap_1))) in self.out.iter_mut().zip(inputs) {
            let (y, wrapped) = truncated(c, self.shift, self.k);
            let wrap = choose(e, wrap_0, wrap_1);
            let wrap = W::from_u64(wrap.to_u64() << (self.k - self.shift) & wrapped);
            *out = choose(e, zero.add(y.mul(self.public.sub(slope))), one.add(y.mul(slope))).add(wrap);
        }
    }
}

/// `one` where `e` is 1, `zero` where it is 0, without a branch.
#[inline(always)]
fn choose<W: Word>(e: W, zero: W, one: W) -> W {
    let set = e.to_u64().wrapping_neg();
    W::from_u64(zero.to_u64() & !set | one.to_u64() & set)
}
