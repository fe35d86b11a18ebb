//! Sign and relu of masked values by comparison keys: two parties, one message each.
//!
//! `y = u - r mod 2^w`, a value of `w` signed bits, with `u = c` and `r = -m`; after a truncation by
//! `f` bits `u` and `r` are their bits from `f` on, and `y` is the floor or one more, by the carry
//! out of the dropped bits. With `u = u' + 2^(w-1) mu`, `r = r' + 2^(w-1) m` and
//! `b = 1{u' < r'}` (of which the key gives parts, as it gives parts of `b` times what the dealer
//! knows), the sign is `s = mu + m + b mod 2`. All that follows is linear in what was dealt.
//!
//! **Sign:** where `mu = 0`, `s = m + b (1 - 2m)`, else 1 less that. Payload: `P = b (1 - 2m)`.
//!
//! **Relu with truncation and extension to 2^k:** the window holds `y` modulo 2^w only, so
//! where `s = 0`, `y = u - r` plus 2^w if that is negative. Payloads `P` as above,
//! `Q = b (r' (1 - 2m) + 2^(w-1) m)`, `C = b`:
//!
//! - `mu = 0`: `(1 - s) y = u (1 - m) - r (1 - m) + Q - u' P`
//! - `mu = 1`: `(1 - s) y = u m - r m + u' P - Q + 2^(w-1) C`
//!
//! `docs/fss.md` checks all eight cases. Dealt beside the keys: `m`, `r (1 - m)`, `r m`. From the
//! sum each party subtracts its part of the new mask, and both open it.

use super::Masked;
use super::cast::Cast;
use super::deal::Parts;
use super::gates::{Opening, negate_with, part};
use super::keys::{Gate, Thresholds, no_hash};
use super::share::Share;
use crate::Error;
use crate::fss::FIELDS;
use crate::protocol::{Primitive, Source};
use subrosa_ring::isa::{Loop, isa, run};
use subrosa_ring::{Ring, Word, mask};
use zeroize::{Zeroize, Zeroizing};

/// The bits that are compared: `width` from bit `low` on.
#[derive(Clone, Copy)]
struct Window {
    low: u32,
    width: u32,
}

impl Window {
    /// All of them.
    #[inline(always)]
    fn of<W: Word>(self, x: W) -> u64 {
        x.to_u64() >> self.low & mask(self.width)
    }

    /// All ones if the highest is set.
    #[inline(always)]
    fn top(self, x: u64) -> u64 {
        (x >> (self.width - 1) & 1).wrapping_neg()
    }

    /// All but the highest.
    #[inline(always)]
    fn rest(self, x: u64) -> u64 {
        x & (mask(self.width) >> 1)
    }
}

impl<R: Ring, C: Cast> Masked<R, C> {
    pub(super) fn sign_by_keys(&mut self, x: &Share<R::Word>, width: u32) -> Result<Share<R::Word>, Error> {
        let (n, k) = (x.n, R::WIDTH.bits());
        let (call, window) = (Primitive::Ltz { n, width }, Window { low: 0, width });
        if self.is_offline() {
            self.begin(call)?;
            let r = self.negated(part(&x.mask)?);
            let top = |r: &R::Word| R::Word::from_u64(window.top(window.of(*r)) & 1);
            let slope = self.deal_words(n, k, r.as_deref().map(|r| r.iter().map(top).collect()))?;
            let zeros = vec![R::Word::default(); if self.is_dealer() { 0 } else { n }];
            let (mask, base) = self.under_new_mask(n, zeros);
            let keys = self.prepare_keys(call, window, r)?;
            self.store(call, Parts { keys, slope, base: [base, Vec::new()], ..Parts::default() });
            return Ok(Share::masked(mask));
        }
        let mut material = self.take(call)?;
        if self.is_dealer() {
            return Ok(Share::absent(n));
        }
        let c = part(&x.value)?;
        let payloads = self.compared(c, window, &mut material.parts)?;
        let mut out = vec![R::Word::default(); n];
        let public = self.public_part();
        run(isa(), Sign { c, window, payloads: &payloads, public, parts: &material.parts, out: &mut out });
        Ok(Share::opened(self.open(out)?))
    }

    /// `max(y, 0)` of the window from bit `shift` on.
    pub(super) fn rectify_by_keys(
        &mut self,
        call: Primitive,
        x: &Source<'_, Self>,
        shift: u32,
        width: u32,
    ) -> Result<Share<R::Word>, Error> {
        let (n, k) = (x.len(), R::WIDTH.bits());
        let window = Window { low: shift, width };
        if self.is_offline() {
            self.begin(call)?;
            let Opening { mask, offset } = self.prepare_source(x)?;
            let r = self.negated(&mask);
            let dealt = |f: &dyn Fn(u64) -> u64| -> Option<Vec<R::Word>> {
                Some(r.as_deref()?.iter().map(|&r| R::Word::from_u64(f(window.of(r)))).collect())
            };
            let slope = self.deal_words(n, k, dealt(&|r| window.top(r) & 1))?;
            let zero = self.deal_words(n, k, dealt(&|r| r & !window.top(r)))?;
            let one = self.deal_words(n, k, dealt(&|r| r & window.top(r)))?;
            let mask = self.mask_words(n);
            let mut base = [zero, one];
            base.iter_mut().for_each(|base| negate_with(base, &mask));
            let keys = self.prepare_keys(call, window, r)?;
            self.store(call, Parts { keys, offset, slope, base, ..Parts::default() });
            return Ok(Share::masked(mask));
        }
        let mut material = self.take(call)?;
        if self.is_dealer() {
            return Ok(Share::absent(n));
        }
        let c = self.open_source(x, &material.parts.offset)?;
        let payloads = self.compared(&c, window, &mut material.parts)?;
        let mut out = vec![R::Word::default(); n];
        let public = self.public_part();
        run(isa(), Rectify { c: &c, window, payloads: &payloads, public, parts: &material.parts, out: &mut out });
        Ok(Share::opened(self.open(out)?))
    }

    /// Sends and gets what was dealt for `call`, then its keys; `r` at the dealer.
    fn prepare_keys(
        &mut self,
        call: Primitive,
        window: Window,
        r: Option<Vec<R::Word>>,
    ) -> Result<Option<super::keys::Keys>, Error> {
        self.finish(call)?;
        let gate = Gate::of(&call, R::WIDTH.bits())
            .ok_or_else(|| Error::Misuse(format!("{}: {call:?} compares nothing", C::NAME)))?;
        let secrets = r.map(|mut r| {
            let thresholds = window.thresholds(&r);
            r.zeroize();
            thresholds
        });
        self.deal_keys(&gate, secrets)
    }

    /// This party's parts of what the keys give for masked values.
    fn compared(&self, c: &[R::Word], window: Window, parts: &mut Parts<R::Word>) -> Result<[Vec<u64>; FIELDS], Error> {
        let keys = parts.keys.take();
        let keys = keys.ok_or_else(|| Error::Misuse(format!("{}: a comparison without keys", C::NAME)))?;
        let x: Vec<u64> = c.iter().map(|&c| window.rest(window.of(c))).collect();
        keys.eval(self.cast.as_ref().and_then(Cast::hash).ok_or_else(no_hash::<C>)?, self.me, &x)
    }
}

impl Window {
    /// `r'`, and the payloads `1 - 2m`, `r' (1 - 2m) + 2^(w-1) m`, `1`.
    fn thresholds<W: Word>(self, r: &[W]) -> Thresholds {
        let half = mask(self.width) - (mask(self.width) >> 1);
        let windows: Zeroizing<Vec<u64>> = Zeroizing::new(r.iter().map(|&r| self.of(r)).collect());
        let signed = |r: u64| {
            let m = self.top(r);
            (self.rest(r) ^ m).wrapping_sub(m).wrapping_add(half & m)
        };
        Thresholds {
            alpha: windows.iter().map(|&r| self.rest(r)).collect(),
            beta: [
                windows.iter().map(|&r| self.top(r) | 1).collect(),
                windows.iter().map(|&r| signed(r)).collect(),
                vec![1; windows.len()],
            ],
        }
    }
}

struct Sign<'a, W: Word> {
    c: &'a [W],
    window: Window,
    payloads: &'a [Vec<u64>; FIELDS],
    public: W,
    parts: &'a Parts<W>,
    out: &'a mut [W],
}

impl<W: Word> Loop for Sign<'_, W> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let (Parts { slope, base: [base, _], .. }, [p, _, _]) = (self.parts, self.payloads);
        let dealt = slope.iter().zip(base).zip(p);
        for (out, (&c, ((&slope, &base), &p))) in self.out.iter_mut().zip(self.c.iter().zip(dealt)) {
            let mu = self.window.top(self.window.of(c));
            let s = slope.add(W::from_u64(p)).to_u64();
            let s = W::from_u64((s ^ mu).wrapping_sub(mu).wrapping_add(self.public.to_u64() & mu));
            *out = s.add(base);
        }
    }
}

struct Rectify<'a, W: Word> {
    c: &'a [W],
    window: Window,
    payloads: &'a [Vec<u64>; FIELDS],
    public: W,
    parts: &'a Parts<W>,
    out: &'a mut [W],
}

impl<W: Word> Loop for Rectify<'_, W> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let (Parts { slope, base: [zero, one], .. }, [p, q, b]) = (self.parts, self.payloads);
        let public = self.public.to_u64().wrapping_neg();
        let dealt = slope.iter().zip(zero).zip(one);
        let payloads = p.iter().zip(q).zip(b);
        let inputs = self.c.iter().zip(dealt).zip(payloads);
        for (out, ((&c, ((&m, &zero), &one)), ((&p, &q), &b))) in self.out.iter_mut().zip(inputs) {
            let u = self.window.of(c);
            let mu = self.window.top(u);
            let um = u.wrapping_mul(m.to_u64());
            let v = self.window.rest(u).wrapping_mul(p).wrapping_sub(q);
            let where_0 = (u & public).wrapping_sub(um).wrapping_sub(v).wrapping_add(zero.to_u64());
            let where_1 = um.wrapping_add(v).wrapping_add(b << (self.window.width - 1)).wrapping_add(one.to_u64());
            *out = W::from_u64(where_0 & !mu | where_1 & mu);
        }
    }
}
